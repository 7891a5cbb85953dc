//! A client that comes through a balancer, until its PROXY header is whole.
//!
//! Purpose: keep what came of the header, and say whom it names.
//! Never: greet before that, or keep more than a header may have.

use bytes::BytesMut;

use crate::base::{Blame, Fault, Time};
use crate::wire::proxy::{self, Origin};
use crate::wire::{code, fault};

/// A header in progress.
#[derive(Debug)]
pub(super) struct Header {
    deadline: Time,
    received: BytesMut,
    is_whole: bool,
}

impl Header {
    pub(super) fn new(deadline: Time) -> Self {
        Self { deadline, received: BytesMut::new(), is_whole: false }
    }

    pub(super) const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Whether it has begun and is not whole.
    pub(super) fn is_partial(&self) -> bool {
        !self.is_whole && !self.received.is_empty()
    }

    /// Whether its client is not named yet.
    pub(super) const fn is_awaited(&self) -> bool {
        !self.is_whole
    }

    /// Whom it names, once it is whole.
    ///
    /// # Errors
    /// It is malformed.
    pub(super) fn on_bytes(&mut self, input: &[u8]) -> Result<Option<Origin>, Fault> {
        self.received.extend_from_slice(input);
        if self.is_whole {
            return Ok(None);
        }
        let parsed = proxy::parse(&self.received).map_err(|malformed| {
            let text = format!("Bad handshake ({})", malformed.what);
            fault(Blame::Client, code::HANDSHAKE_ERROR, text)
        })?;
        Ok(parsed.map(|(origin, length)| {
            drop(self.received.split_to(length));
            self.is_whole = true;
            origin
        }))
    }

    /// What came behind it.
    pub(super) fn take_rest(&mut self) -> BytesMut {
        std::mem::take(&mut self.received)
    }
}
