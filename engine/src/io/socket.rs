//! A connection that no driver has, on its way from one to another.
//!
//! Purpose: a connection can be given to another thread whole: it is closed when nobody takes it.
//! Never: have anything of it in the kernel's or a driver's hands but the socket itself.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::io::fake::Loose;

/// What [`Event::Detached`](crate::io::Event::Detached) hands out and
/// [`Driver::adopt`](crate::io::Driver::adopt) takes. Dropping it closes the connection.
pub struct Socket(pub(super) Kind);

/// Whose kind of driver it is for.
pub(super) enum Kind {
    /// `uring` and `epoll`.
    Os(OwnedFd),
    /// Simulated ones of one network.
    Fake(Loose),
}

/// How far a connection is on its way out of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It stays.
    No,
    /// It goes when nothing of it is in flight.
    Asked,
    /// Something arrived meanwhile: it stays, and the worker is to be told so.
    Disturbed,
}

impl Leaving {
    /// Bytes or its end have arrived.
    pub(super) fn disturb(&mut self) {
        if *self == Self::Asked {
            *self = Self::Disturbed;
        }
    }

    /// Whether it is time to leave, or to say that it stays: `None` before that, and whether nothing
    /// has arrived meanwhile then. `is_still`: nothing of it is in flight. `is_over`: its peer has
    /// ended it.
    pub(super) fn take(&mut self, is_still: bool, is_over: bool) -> Option<bool> {
        let is_undisturbed = match self {
            Self::No => return None,
            Self::Asked if !is_still => return None,
            Self::Asked => !is_over,
            Self::Disturbed => false,
        };
        *self = Self::No;
        Some(is_undisturbed)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}
