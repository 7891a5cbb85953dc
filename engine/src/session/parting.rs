//! A session that has failed while its client sends a file.
//!
//! Purpose: read the file to its end and drop it, then tell the client what happened, numbered as it
//! expects: a client listens only then.
//! Never: wait longer than the deadline it was given, or hold a byte of the file.

use crate::base::{Fault, Time};
use crate::wire::request::{RequestEvent, RequestWalk};
use crate::wire::{Edits, ErrPacket, Side};

/// What is left of such a session.
#[derive(Debug)]
pub(super) struct Parting {
    request: RequestWalk,
    fault: Fault,
    deadline: Time,
}

impl Parting {
    /// `request` is inside an upload.
    pub(super) const fn new(request: RequestWalk, fault: Fault, deadline: Time) -> Self {
        Self { request, fault, deadline }
    }

    pub(super) const fn deadline(&self) -> Time {
        self.deadline
    }

    /// Bytes of the client; true when it is over. What is left of the file is for a backend that is
    /// no longer there.
    pub(super) fn on_client(&mut self, input: &mut [u8], edits: &mut Edits) -> bool {
        let mut dropped = Edits::default();
        let walked = self.request.feed(input, &mut dropped);
        edits.discard(input.len());
        match walked.map(|walked| walked.event) {
            Ok(Some(RequestEvent::UploadEnd)) => {
                let seq = self.request.answer_seq();
                edits.send(Side::Client, |out| ErrPacket::from(&self.fault).encode(seq, out));
                true
            }
            // A client that breaks the protocol is not told anything.
            Err(_) => true,
            Ok(_) => false,
        }
    }
}
