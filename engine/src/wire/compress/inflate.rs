//! Envelopes to plain bytes.
//!
//! Purpose: decode as much as is wanted now, at any cut of the input, and find lies about lengths.
//! Never: decode more than the caller asked for.

use bytes::{Buf, BytesMut};

use super::engines::{Decoder, Engines};
use super::{Algorithm, HEADER_BYTES, KEPT_BYTES};
use crate::wire::{Malformed, Reader};

/// The reading half of a connection.
#[derive(Debug)]
pub(super) struct Inflate {
    algorithm: Algorithm,
    /// Received, not decoded.
    input: BytesMut,
    envelope: Option<Envelope>,
}

/// An envelope whose header was read.
#[derive(Debug)]
struct Envelope {
    /// Bytes of it not read yet.
    packed: usize,
    /// Plain bytes it still has to yield.
    plain: usize,
    /// `None`: it is stored as it is.
    decoder: Option<Decoder>,
    /// The decoder filled all the room it had, so it may hold more.
    holds: bool,
    /// All of it was read.
    over: bool,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Input is missing.
    Short,
    /// An envelope begins; its sequence id.
    Begin(u8),
    /// Went on, perhaps with bytes.
    Went,
}

impl Inflate {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, input: BytesMut::new(), envelope: None }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Received bytes not decoded yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    /// Goes one step on: a header, or at most `room` plain bytes, appended to `out`. `room` is not
    /// zero.
    pub(super) fn step(
        &mut self,
        engines: &mut Engines,
        room: usize,
        out: &mut BytesMut,
    ) -> Result<Step, Malformed> {
        let Some(envelope) = &mut self.envelope else { return self.begin(engines) };
        let step = match &mut envelope.decoder {
            None => envelope.copy(&mut self.input, room, out),
            Some(_) => envelope.decode(&mut self.input, room, out)?,
        };
        if envelope.over {
            self.end(engines);
        }
        if self.input.is_empty() && self.input.capacity() > KEPT_BYTES {
            self.input = BytesMut::new();
        }
        Ok(step)
    }

    fn begin(&mut self, engines: &mut Engines) -> Result<Step, Malformed> {
        let Some(header) = self.input.get(..HEADER_BYTES) else { return Ok(Step::Short) };
        let mut header = Reader::new(header);
        let (packed, seq, plain) = (header.u24()? as usize, header.u8()?, header.u24()? as usize);
        self.input.advance(HEADER_BYTES);
        let decoder = if plain == 0 { None } else { Some(engines.decoder(self.algorithm)?) };
        let plain = if plain == 0 { packed } else { plain };
        // Nothing at all in an envelope is nothing to wait for.
        if plain > 0 {
            self.envelope = Some(Envelope { packed, plain, decoder, holds: false, over: false });
        }
        Ok(Step::Begin(seq))
    }

    fn end(&mut self, engines: &mut Engines) {
        if let Some(decoder) = self.envelope.take().and_then(|envelope| envelope.decoder) {
            engines.give_back(decoder);
        }
    }
}

impl Envelope {
    fn copy(&mut self, input: &mut BytesMut, room: usize, out: &mut BytesMut) -> Step {
        let count = room.min(self.plain).min(input.len());
        out.extend_from_slice(input.get(..count).unwrap_or_default());
        input.advance(count);
        self.plain -= count;
        self.over = self.plain == 0;
        if count == 0 { Step::Short } else { Step::Went }
    }

    fn decode(
        &mut self,
        input: &mut BytesMut,
        room: usize,
        out: &mut BytesMut,
    ) -> Result<Step, Malformed> {
        let Some(decoder) = &mut self.decoder else { return Ok(Step::Went) };
        let available = input.get(..self.packed).unwrap_or(input);
        if available.is_empty() && !self.holds {
            return if self.packed == 0 { Err(TOO_SHORT) } else { Ok(Step::Short) };
        }
        // When all is there, a byte of room shows whether the stream has more than it announced.
        let room = room.min(self.plain).max(1);
        let start = out.len();
        out.resize(start + room, 0);
        let went = decoder.run(available, out.get_mut(start..).unwrap_or_default())?;
        out.truncate(start + went.written);
        let stuck = went.read == 0 && went.written == 0 && !available.is_empty();
        self.plain = self.plain.checked_sub(went.written).ok_or(TOO_LONG)?;
        input.advance(went.read);
        self.packed -= went.read;
        self.holds = went.written == room;
        self.over = went.ended;
        match (went.ended, self.plain, self.packed) {
            (true, 0, 0) => Ok(Step::Went),
            (true, 0, _) => Err(TOO_LONG),
            (true, ..) => Err(TOO_SHORT),
            // Asked again, it would say the same for ever.
            (false, ..) if stuck => Err(Malformed::new("a compressed packet cannot be decoded")),
            (false, ..) => Ok(Step::Went),
        }
    }
}

const TOO_LONG: Malformed = Malformed::new("a compressed packet is longer than it says");
const TOO_SHORT: Malformed = Malformed::new("a compressed packet is shorter than it says");
