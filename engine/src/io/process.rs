//! What a process asks of the kernel once: descriptors and random bytes.
//!
//! Purpose: the two calls the data path needs beside its sockets.
//! Never: fail loudly; without them Weir serves fewer clients, or none, and says so elsewhere.

/// Raises the soft limit of open files to the hard one: each session takes two.
/// Returns the limit in force.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call, which only writes to it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: `raised` outlives the call, which only reads it.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
        raised.rlim_cur
    } else {
        limit.rlim_cur
    }
}

/// The kernel's number of the calling thread; `None` where /proc is not mounted.
#[must_use]
pub fn thread_number() -> Option<u32> {
    // `self/task/NUMBER`, as it was when the link was read.
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// Fills `bytes` from the kernel's generator (`getrandom`, Linux 3.17).
///
/// # Panics
/// When the kernel gives no random bytes: a guessable nonce would let a login be replayed.
pub fn random(bytes: &mut [u8]) {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..)
        && !rest.is_empty()
    {
        // SAFETY: the pointer and length are those of `rest`, which outlives the call.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) => {
                let interrupted =
                    std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
                assert!(interrupted, "the kernel gives no random bytes");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ_and_files_are_allowed() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        random(&mut one);
        random(&mut two);
        assert_ne!(one, two);
        assert!(raise_open_files() >= 256);
    }

    #[test]
    fn threads_have_numbers() {
        let own = thread_number().unwrap();
        let other = std::thread::spawn(thread_number).join().unwrap().unwrap();
        assert_ne!(own, other);
        assert_eq!(thread_number(), Some(own));
    }
}
