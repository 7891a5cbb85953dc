//! Frames: the 4-byte header every MySQL packet starts with, and whole packets from loose bytes.
//!
//! Purpose: one place that knows lengths, sequence ids and the 16 MiB split.
//! Never: look at a payload.
//!
//! ```text
//! 0         3     4                  4+n
//! | n (LE)  | seq | payload, n bytes  |      n = 0xFFFFFF: the payload goes on in the next frame
//! ```

use bytes::{Buf, BytesMut};

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 4;

/// The longest payload of one frame; a frame this long is followed by a continuation, which may be
/// empty.
pub const PAYLOAD_BYTES_MAX: usize = 0xFF_FFFF;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub payload_bytes: usize,
    /// Sequence id: 0 for a command, then one more for each frame of either direction, modulo 256.
    pub seq: u8,
}

impl Header {
    /// Reads the first four bytes; `None` while there are fewer.
    #[inline]
    #[must_use]
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, seq] = bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self { payload_bytes: u32::from_le_bytes([a, b, c, 0]) as usize, seq })
    }

    /// Whether another frame continues this one's payload.
    #[inline]
    #[must_use]
    pub const fn is_continued(self) -> bool {
        self.payload_bytes == PAYLOAD_BYTES_MAX
    }
}

/// A frame's header and first payload byte; `None` while either is missing. An empty payload counts
/// as a first byte of 1, which means nothing anywhere.
#[inline]
pub(crate) fn peek(bytes: &[u8]) -> Option<(Header, u8)> {
    let header = Header::peek(bytes)?;
    match bytes.get(HEADER_BYTES) {
        Some(&first) if header.payload_bytes > 0 => Some((header, first)),
        _ if header.payload_bytes == 0 => Some((header, 1)),
        _ => None,
    }
}

/// Why loose bytes do not make a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The packet is longer than its reader allows.
    TooLong,
    /// A sequence id is not the one that had to follow.
    OutOfOrder,
}

/// A whole packet: its payload, reassembled, and the sequence id of its last frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// Sequence id of the last frame; an answer takes the next one.
    pub seq: u8,
    /// The payload.
    pub payload: BytesMut,
}

/// Turns bytes cut anywhere into whole packets. For dialogues of small packets (logins, probes);
/// relayed traffic is walked in place instead.
#[derive(Debug)]
pub struct Assembler {
    bytes: BytesMut,
    packet_bytes_max: usize,
}

impl Assembler {
    /// An assembler that refuses packets above `packet_bytes_max` bytes of payload.
    #[must_use]
    pub fn new(packet_bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), packet_bytes_max }
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole packet; `None` while bytes are missing.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] as soon as a header promises too much, [`FrameError::OutOfOrder`]
    /// when a continuation has the wrong sequence id.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, FrameError> {
        let mut frames = 0;
        let mut total = 0;
        let mut at = 0;
        let mut expected_seq = None;
        let seq = loop {
            let Some(header) = self.bytes.get(at..).and_then(Header::peek) else {
                return Ok(None);
            };
            if expected_seq.is_some_and(|expected| expected != header.seq) {
                return Err(FrameError::OutOfOrder);
            }
            total += header.payload_bytes;
            if total > self.packet_bytes_max {
                return Err(FrameError::TooLong);
            }
            at += HEADER_BYTES + header.payload_bytes;
            if at > self.bytes.len() {
                return Ok(None);
            }
            frames += 1;
            if !header.is_continued() {
                break header.seq;
            }
            expected_seq = Some(header.seq.wrapping_add(1));
        };
        let mut whole = self.bytes.split_to(at);
        if frames == 1 {
            whole.advance(HEADER_BYTES);
            return Ok(Some(Packet { seq, payload: whole }));
        }
        let mut payload = BytesMut::with_capacity(total);
        while let Some(header) = Header::peek(&whole) {
            whole.advance(HEADER_BYTES);
            payload.extend_from_slice(&whole.split_to(header.payload_bytes));
        }
        Ok(Some(Packet { seq, payload }))
    }

    /// Bytes received beyond the packets taken so far; they are gone from here then.
    pub fn take_rest(&mut self) -> BytesMut {
        std::mem::take(&mut self.bytes)
    }

    /// No bytes were received beyond the packets taken so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests;
