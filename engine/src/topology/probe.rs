//! The dialogue of a probe on a connection that is logged in.
//!
//! Purpose: ask the server a question and tell an answer from a failure.
//! Never: log in, wait, or decide what the answer means.

use bytes::BytesMut;

use crate::wire::frame::Assembler;
use crate::wire::{Command, frame};

const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What to do after bytes were fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeStep {
    /// The answer is not complete.
    Wait,
    /// The server answered.
    Answered,
    /// The server answered with an error or with bytes that are no answer.
    Failed,
}

/// One question.
#[derive(Debug)]
pub struct Probe {
    assembler: Assembler,
}

impl Probe {
    /// Asks; the question is appended to `out`.
    #[must_use]
    pub fn ping(out: &mut BytesMut) -> Self {
        frame(out, 0, |payload| payload.extend_from_slice(&[Command::Ping.as_byte()]));
        Self { assembler: Assembler::new(ANSWER_BYTES_MAX) }
    }

    /// Feeds bytes of the server.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> ProbeStep {
        self.assembler.push(bytes);
        match self.assembler.next_packet() {
            Ok(None) => ProbeStep::Wait,
            Ok(Some(packet)) if packet.payload.first() == Some(&0) => ProbeStep::Answered,
            Ok(Some(_)) | Err(_) => ProbeStep::Failed,
        }
    }
}
