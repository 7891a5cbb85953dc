//! The system calls of epoll.
//!
//! Purpose: registrations and waits with typed results.
//! Never: know what a descriptor is for.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::io::sys::check;

/// One epoll instance with room for the events of a wait.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// 5.11: `epoll_pwait2`, timeouts in nanoseconds.
    precise: bool,
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) data: u64,
    pub(super) read: bool,
    pub(super) write: bool,
    /// The peer finished sending, or the connection is gone: read on until the end.
    pub(super) hung_up: bool,
}

impl Poller {
    pub(super) fn new(entries: u32) -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and nobody else knows it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let capacity = usize::try_from(entries.max(1)).unwrap_or(1);
        Ok(Self { epoll, events: Vec::with_capacity(capacity), precise: true })
    }

    /// Watches for input (and hang-up), level-triggered: listeners, the eventfd.
    pub(super) fn add_level(&self, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, data)
    }

    /// Watches a connection, edge-triggered; for room to send only when asked.
    pub(super) fn add_edge(&self, fd: BorrowedFd<'_>, data: u64, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, edge(write), data)
    }

    /// Watches for room to send from now on. Reports at once when there is some already.
    pub(super) fn watch_write(&self, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, edge(true), data)
    }

    /// Stops watching.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    /// Waits for events, at most `timeout` (`None`: without end), and appends them to `ready`.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        self.events.clear();
        let count = match self.wait_raw(timeout) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => return Ok(()),
            other => other?,
        };
        // SAFETY: the kernel filled in that many entries, within the capacity it was told.
        unsafe { self.events.set_len(count) };
        ready.extend(self.events.iter().map(|event| {
            let bits = event.events;
            let has = |flags: i32| bits & flags.cast_unsigned() != 0;
            Ready {
                data: event.u64,
                read: has(libc::EPOLLIN),
                write: has(libc::EPOLLOUT),
                hung_up: has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR),
            }
        }));
        Ok(())
    }

    fn wait_raw(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let fd = self.epoll.as_raw_fd();
        let events = self.events.as_mut_ptr();
        let capacity = i32::try_from(self.events.capacity()).unwrap_or(i32::MAX);
        if self.precise {
            match wait_precise(fd, events, capacity, timeout) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => self.precise = false,
                other => return other,
            }
        }
        // Rounded up: waking early would spin until the deadline.
        let ms = timeout.map_or(-1, |timeout| {
            i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: `events` has room for `capacity` entries.
        let count = check(unsafe { libc::epoll_wait(fd, events, capacity, ms) })?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn control(&self, action: i32, fd: BorrowedFd<'_>, flags: i32, data: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags.cast_unsigned(), u64: data };
        let event = &raw mut event;
        // SAFETY: `event` outlives the call.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), action, fd.as_raw_fd(), event) };
        check(result).map(drop)
    }
}

/// By number: older C libraries lack the name.
fn wait_precise(
    fd: i32,
    events: *mut libc::epoll_event,
    capacity: i32,
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let timespec = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    });
    let timespec = timespec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let no_mask = std::ptr::null::<libc::sigset_t>();
    let number = libc::SYS_epoll_pwait2;
    // SAFETY: `events` has room for `capacity` entries; `timespec` is null or outlives the call.
    let count = unsafe { libc::syscall(number, fd, events, capacity, timespec, no_mask, 0usize) };
    usize::try_from(count).map_err(|_negative| io::Error::last_os_error())
}

const fn edge(write: bool) -> i32 {
    let read = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;
    if write { read | libc::EPOLLOUT } else { read }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Waker;

    #[test]
    fn both_ways_to_wait_end_at_the_timeout_and_see_events() {
        for precise in [true, false] {
            let mut poller = Poller::new(4).unwrap();
            poller.precise &= precise;
            let waker = Waker::with_eventfd().unwrap();
            poller.add_level(waker.eventfd().unwrap(), 7).unwrap();
            let mut ready = Vec::new();
            poller.wait(Some(Duration::from_micros(300)), &mut ready).unwrap();
            assert!(ready.is_empty());
            waker.wake();
            poller.wait(None, &mut ready).unwrap();
            assert!(matches!(ready[..], [Ready { data: 7, read: true, .. }]), "{ready:?}");
        }
    }
}
