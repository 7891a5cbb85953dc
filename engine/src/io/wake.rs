//! Ending another thread's wait.
//!
//! Purpose: a small handle any thread may use to make a driver return from its turn.
//! Never: carry data; the bus does. Never more than one system call until the driver saw the wake.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::io::sys;

/// Wakes the driver it came from: its turn ends with [`Event::Woken`](crate::io::Event::Woken).
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Set from the first wake until the driver takes it: later wakes cost no system call.
    pending: AtomicBool,
    /// Counter the driver waits on; a simulated driver looks at `pending` only.
    eventfd: Option<File>,
}

impl Waker {
    /// Ends the driver's wait. Calls before the driver's next look count as one.
    pub fn wake(&self) {
        if self.shared.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(mut eventfd) = self.shared.eventfd.as_ref() {
            // Fails only when 2⁶⁴ − 2 wakes are unread, which `pending` rules out.
            let written = eventfd.write(&1u64.to_ne_bytes());
            debug_assert!(written.is_ok(), "eventfd refused a wake");
        }
    }

    /// A waker with an eventfd. It blocks on read: the ring polls it before reading (an
    /// `O_NONBLOCK` file would fail at once with `EAGAIN`).
    pub(super) fn with_eventfd() -> io::Result<Self> {
        let eventfd = Some(File::from(sys::eventfd()?));
        Ok(Self { shared: Arc::new(Shared { pending: AtomicBool::new(false), eventfd }) })
    }

    /// A waker for a driver that does not sleep.
    pub(super) fn simulated() -> Self {
        Self { shared: Arc::new(Shared { pending: AtomicBool::new(false), eventfd: None }) }
    }

    /// What to wait on, if not simulated.
    pub(super) fn eventfd(&self) -> Option<BorrowedFd<'_>> {
        self.shared.eventfd.as_ref().map(File::as_fd)
    }

    /// Empties the counter; only when it is known to be readable.
    pub(super) fn clear_eventfd(&self) -> io::Result<()> {
        match self.shared.eventfd.as_ref() {
            Some(mut eventfd) => eventfd.read_exact(&mut [0; 8]),
            None => Ok(()),
        }
    }

    /// Takes the wake. Called before [`Event::Woken`](crate::io::Event::Woken) is handed out: a
    /// wake that comes earlier is covered by that event, a later one writes again.
    pub(super) fn take(&self) -> bool {
        self.shared.pending.swap(false, Ordering::AcqRel)
    }
}
