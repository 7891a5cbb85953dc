//! Sequence ids of packets and of the envelopes around them.
//!
//! Purpose: know where packets, commands and answers begin in both directions, and which numbers
//! they have for the far side of a compressed connection and for the machines of Weir.
//! Never: hold bytes.

use crate::wire::Side;
use crate::wire::frame::{self, Header};

/// Both directions of one connection.
#[derive(Debug)]
pub(super) struct Order {
    /// Who is at the other end of the connection.
    far: Side,
    input: Walk,
    output: Walk,
    /// Sequence id of the next envelope to the far side, and of the one awaited from it.
    next_out: u8,
    next_in: u8,
    /// The number Weir's answer to what was read last would have.
    answer_seq: u8,
    /// Something went the other way since the last look: the next packet may be its answer.
    turned: bool,
    /// The envelope being read begins a reply.
    reply_begins: bool,
}

/// A place in one direction's stream of packets, and what is known of the packet there.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// The bytes of a header that was cut, or of the last one.
    head: [u8; frame::HEADER_BYTES],
    head_bytes: usize,
    body_bytes: usize,
    last: Last,
}

/// The packet that began last.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Its number for Weir's machines, and for the far side.
    inside: u8,
    outside: u8,
    is_empty: bool,
    /// The next one continues it.
    is_full: bool,
    /// It is data or a password the other side asked for, which may go on in the next one.
    is_answer: bool,
}

impl Last {
    fn new(header: Header, inside: u8, outside: u8, is_answer: bool) -> Self {
        let (is_empty, is_full) = (header.payload_bytes == 0, header.is_continued());
        Self { inside, outside, is_empty, is_full, is_answer }
    }

    /// Whether a client's packet with number `seq` belongs to the packet before it. A command begins
    /// with 0; after 255 so does the next packet of an upload, unless the empty one has ended it.
    fn goes_on(&self, before: u8, seq: u8) -> bool {
        self.is_full || self.is_answer && !self.is_empty && seq == before.wrapping_add(1)
    }
}

impl Order {
    pub(super) fn new(far: Side) -> Self {
        Self {
            far,
            input: Walk::default(),
            output: Walk::default(),
            next_out: 0,
            next_in: 1,
            // What is said unasked is taken for the answer to the command that comes next.
            answer_seq: 1,
            turned: true,
            reply_begins: false,
        }
    }

    /// An envelope begins that has this number.
    pub(super) fn on_envelope(&mut self, seq: u8) {
        if self.far == Side::Backend && self.input.is_between() {
            let follows = seq == self.next_in;
            self.reply_begins |= !follows || self.turned && seq == self.next_out;
            self.turned = false;
        }
        self.next_in = seq.wrapping_add(1);
    }

    /// Plain bytes of the current envelope: their packets get the numbers Weir's machines expect.
    pub(super) fn on_plain(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let skipped = self.input.body_bytes.min(bytes.len());
            self.input.body_bytes -= skipped;
            bytes = bytes.get_mut(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first_mut() else { break };
            if let Some(header) = self.input.head_byte(*byte) {
                let inside = self.number_in(header);
                *byte = inside;
                self.input.body_bytes = header.payload_bytes;
            }
            bytes = rest;
        }
        if self.far == Side::Client {
            self.answer_seq = self.input.last.inside.wrapping_add(1);
            self.turned = true;
        }
    }

    fn number_in(&mut self, header: Header) -> u8 {
        let last = self.input.last;
        let mut is_answer = false;
        let inside = match self.far {
            Side::Client if last.goes_on(last.outside, header.seq) => {
                is_answer = last.is_answer;
                last.inside.wrapping_add(1)
            }
            Side::Client if header.seq == 0 => 0,
            Side::Client => {
                is_answer = true;
                self.output.last.inside.wrapping_add(1)
            }
            Side::Backend if self.reply_begins && !last.is_full => {
                self.output.last.inside.wrapping_add(1)
            }
            Side::Backend => last.inside.wrapping_add(1),
        };
        self.reply_begins = false;
        self.input.last = Last::new(header, inside, header.seq, is_answer);
        inside
    }

    /// Takes what belongs to the current packet's header off the front of `plain`. `Some` when the
    /// header is complete.
    pub(super) fn take_head(&mut self, plain: &mut &[u8]) -> Option<Header> {
        while let Some((byte, rest)) = plain.split_first() {
            *plain = rest;
            if let Some(header) = self.output.head_byte(*byte) {
                self.output.body_bytes = header.payload_bytes;
                return Some(header);
            }
        }
        None
    }

    /// Bytes of the current packet to the far side that are still to come, of which `count` at most
    /// are taken now.
    pub(super) fn take_body(&mut self, count: usize) -> usize {
        let taken = self.output.body_bytes.min(count);
        self.output.body_bytes -= taken;
        taken
    }

    /// If a packet begins a command or an answer: the number of the envelope it has to begin.
    pub(super) fn begins(&mut self, header: Header) -> Option<u8> {
        let last = self.output.last;
        let turned = std::mem::replace(&mut self.turned, self.far == Side::Backend);
        match self.far {
            Side::Client => {
                let follows = header.seq == last.inside.wrapping_add(1);
                let begins = !last.is_full && (!follows || turned && header.seq == self.answer_seq);
                begins.then_some(self.next_in)
            }
            Side::Backend if last.goes_on(last.inside, header.seq) => None,
            Side::Backend => {
                let is_answer = header.seq != 0;
                self.output.last.is_answer = is_answer;
                Some(if is_answer { self.next_in } else { 0 })
            }
        }
    }

    /// The header of a packet as the far side wants it. `begins`: see [`Order::begins`].
    /// `is_whole`: the packet begins an envelope and ends in it.
    pub(super) fn number_out(
        &mut self,
        header: Header,
        begins: Option<u8>,
        is_whole: bool,
    ) -> [u8; frame::HEADER_BYTES] {
        let last = self.output.last;
        self.next_out = begins.unwrap_or(self.next_out);
        let outside = match self.far {
            Side::Client if begins.is_some() || is_whole && !last.is_full => self.next_out,
            Side::Client => last.outside.wrapping_add(1),
            Side::Backend => header.seq,
        };
        self.output.last = Last::new(header, header.seq, outside, last.is_answer);
        let [a, b, c, _] = self.output.head;
        [a, b, c, outside]
    }

    /// The number of the next envelope to the far side.
    pub(super) fn envelope(&mut self) -> u8 {
        let seq = self.next_out;
        self.next_out = seq.wrapping_add(1);
        seq
    }
}

impl Walk {
    fn is_between(&self) -> bool {
        self.body_bytes == 0 && self.head_bytes == 0
    }

    /// Adds a byte to the header; the header, when this was its last.
    fn head_byte(&mut self, byte: u8) -> Option<Header> {
        if let Some(place) = self.head.get_mut(self.head_bytes) {
            *place = byte;
        }
        self.head_bytes += 1;
        if self.head_bytes < frame::HEADER_BYTES {
            return None;
        }
        self.head_bytes = 0;
        Header::peek(&self.head)
    }
}
