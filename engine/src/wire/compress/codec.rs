//! One compressed connection.
//!
//! Purpose: what a transport holds and calls.
//! Never: decode ahead of what was asked for; what is not decoded stays compressed.

use bytes::BytesMut;

use super::deflate::deflate;
use super::inflate::{Inflate, Step};
use super::order::Order;
use super::{Algorithm, Engines, PIECE_BYTES};
use crate::wire::{Malformed, Side};

/// Both directions of a connection whose two ends agreed to compress.
#[derive(Debug)]
pub struct Codec {
    algorithm: Algorithm,
    inflate: Inflate,
    order: Order,
}

impl Codec {
    /// A connection right after its login, with `far` at its other end.
    #[must_use]
    pub fn new(algorithm: Algorithm, far: Side) -> Self {
        Self { algorithm, inflate: Inflate::new(algorithm), order: Order::new(far) }
    }

    /// Adds bytes received from the far side. They are kept until [`Codec::next_plain`] took them:
    /// the caller does not receive while much waits.
    pub fn push(&mut self, bytes: &[u8]) {
        self.inflate.push(bytes);
    }

    /// Bytes received and not decoded.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.inflate.waiting_bytes()
    }

    /// Decodes at most `bytes_max` bytes, appended to `out`. The packets among them are numbered as
    /// on a connection that does not compress. True when that bound ended it, and more may follow;
    /// false when it needs further input.
    ///
    /// # Errors
    /// What came is not the compressed protocol; the connection cannot be used any more.
    pub fn next_plain(
        &mut self,
        engines: &mut Engines,
        bytes_max: usize,
        out: &mut BytesMut,
    ) -> Result<bool, Malformed> {
        let end = out.len().saturating_add(bytes_max);
        loop {
            let start = out.len();
            let room = end.saturating_sub(start).min(PIECE_BYTES);
            if room == 0 {
                return Ok(true);
            }
            match self.inflate.step(engines, room, out)? {
                Step::Short => return Ok(false),
                Step::Begin(seq) => self.order.on_envelope(seq),
                Step::Went => self.order.on_plain(out.get_mut(start..).unwrap_or_default()),
            }
        }
    }

    /// Puts packets, cut anywhere, into envelopes for the far side, appended to `out`. Each call
    /// ends an envelope, so larger pieces compress better. A header that is cut waits for its rest.
    pub fn compress(&mut self, engines: &mut Engines, plain: &[u8], out: &mut BytesMut) {
        deflate(self.algorithm, &mut self.order, engines, plain, out);
    }
}
