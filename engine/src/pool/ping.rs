//! Whether a connection that nobody uses still has a server behind it.
//!
//! Purpose: ask, so that neither the server nor a firewall takes it for forgotten.
//! Never: take anything but a plain OK for a yes.

use bytes::BytesMut;

use crate::pool::recycle::NoAnswer;
use crate::wire::frame::Assembler;
use crate::wire::{Command, OkPacket, frame};

/// An OK is short.
const ANSWER_BYTES_MAX: usize = 1024;

/// A COM_PING on its way.
#[derive(Debug)]
pub struct Ping(Assembler);

impl Ping {
    /// Asks; what is to be sent is appended to `out`.
    #[must_use]
    pub fn begin(out: &mut BytesMut) -> Self {
        frame(out, 0, |out| out.extend_from_slice(&[Command::Ping.as_byte()]));
        Self(Assembler::new(ANSWER_BYTES_MAX))
    }

    /// Feeds bytes of the server; whether it has said yes.
    ///
    /// # Errors
    /// It said something else.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<bool, NoAnswer> {
        self.0.push(bytes);
        let Some(packet) = self.0.next_packet().map_err(|_| NoAnswer)? else { return Ok(false) };
        let is_ok = packet.payload.first() == Some(&OkPacket::OK);
        if is_ok && self.0.is_empty() { Ok(true) } else { Err(NoAnswer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ok_is_an_answer() {
        let ok: &[u8] = b"\x07\0\0\x01\0\0\0\x02\0\0\0";
        for piece in 1..=ok.len() {
            let mut out = BytesMut::new();
            let mut ping = Ping::begin(&mut out);
            assert_eq!(out[..], [1, 0, 0, 0, 0x0E]);
            let answers: Vec<_> = ok.chunks(piece).map(|it| ping.on_bytes(it).unwrap()).collect();
            assert_eq!(answers.iter().filter(|it| **it).count(), 1);
            assert_eq!(answers.last(), Some(&true));
        }
        let bye: &[u8] = b"\x0b\0\0\0\xFF\x1d\x04#08S01no";
        for said in [bye, &[ok, ok].concat(), &[ok, b"x"].concat(), b"\0\x10\0\x01"] {
            assert_eq!(Ping::begin(&mut BytesMut::new()).on_bytes(said), Err(NoAnswer));
        }
    }
}
