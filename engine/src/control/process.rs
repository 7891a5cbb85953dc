//! What the kernel knows of this process.
//!
//! Purpose: memory and CPU time for the metrics page, read when it is asked for.
//! Never: fail: what /proc does not say is left out.

use std::fs;

/// Resident memory, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    resident_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// CPU time of one of this process's threads, in nanoseconds, as the scheduler counts it.
pub(super) fn cpu_nanos(thread: u32) -> Option<u64> {
    cpu_of(&fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?)
}

/// `time on a CPU, time waiting for one, slices`
fn cpu_of(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::thread_number;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(resident_of("Name:\tweir\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(resident_of("Name:\tweir\n"), None);
        assert_eq!(cpu_of("123456789 42 7\n"), Some(123_456_789));
        assert_eq!(cpu_of(""), None);
    }

    #[test]
    fn this_process_has_figures() {
        assert!(resident_bytes().unwrap() > 100 << 10);
        let thread = thread_number().unwrap();
        let before = cpu_nanos(thread).unwrap();
        let mut sum = 0_u64;
        while cpu_nanos(thread).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_nanos(thread).unwrap() > before);
        assert_eq!(cpu_nanos(u32::MAX), None);
    }
}
