//! Answers as bytes, in the dialect of one connection.
//!
//! Purpose: what a server with these capabilities sends; Weir's translation must come to the same.
//! Never: share code with that translation.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};
use weir::wire::{
    Capabilities, ErrPacket, OkPacket, PrepareOk, Status, encode_eof, frame, put_lenenc_int,
    sqlstate,
};

use crate::script::{Ask, End, FRAME_MAX, Part, pattern};

/// What says something about the session rather than about a statement.
const OF_THE_SESSION: u16 = Status::IN_TRANS.0
    | Status::AUTOCOMMIT.0
    | Status::IN_TRANS_READONLY.0
    | Status::NO_BACKSLASH_ESCAPES.0;

/// Writes answers one after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    capabilities: Capabilities,
    /// Flags of the last OK or EOF.
    pub(crate) status: Status,
    seed: u64,
    /// Sequence id of the next frame.
    pub(crate) seq: u8,
    parts: VecDeque<Part>,
}

impl Writer {
    pub(crate) const fn new(capabilities: Capabilities) -> Self {
        let status = Status::AUTOCOMMIT;
        Self { capabilities, status, seed: 0, seq: 0, parts: VecDeque::new() }
    }

    /// Starts the answer to a command.
    pub(crate) fn begin(&mut self, ask: &Ask) {
        self.seed = ask.seed;
        self.seq = ask.answer_seq();
        self.parts = ask.answer().into();
    }

    /// Writes up to the end of the answer, or up to and with a request for a file.
    /// Whether a file was asked for.
    pub(crate) fn write(&mut self, out: &mut BytesMut) -> bool {
        while let Some(part) = self.parts.pop_front() {
            self.part(part, out);
            if part == Part::Infile {
                return true;
            }
        }
        false
    }

    fn part(&mut self, part: Part, out: &mut BytesMut) {
        let modern = self.capabilities.contains(Capabilities::DEPRECATE_EOF);
        let start = out.len();
        let (seq, seed) = (self.seq, self.seed);
        match part {
            Part::Ok(end) => self.ok(OkPacket::OK, end, out),
            Part::End(end) if modern => self.ok(OkPacket::END, end, out),
            Part::End(end) => {
                self.status = end.status;
                encode_eof(end.status, end.warnings, seq, out);
            }
            Part::Middle if modern => return,
            Part::Middle => {
                // Without rows in between the end is known when this is written.
                if let Some(Part::End(end)) = self.parts.front() {
                    self.status = end.status;
                }
                encode_eof(Status(self.status.0 & OF_THE_SESSION), 0, seq, out);
            }
            Part::Err(code) => err(code, seq, out),
            Part::Count(columns) => frame(out, seq, |out| out.put_u8(columns)),
            Part::Column(bytes) => frame(out, seq, |out| {
                out.put_slice(b"\x03def");
                out.extend(pattern(seed, bytes));
            }),
            Part::Row(bytes) => frame(out, seq, |out| {
                put_lenenc_int(out, bytes as u64);
                out.extend(pattern(seed, bytes));
            }),
            Part::Infile => frame(out, seq, |out| out.put_slice(b"\xFBfile.csv")),
            Part::Prepared { columns, params } => {
                PrepareOk { statement_id: 1, columns, params, warnings: 0 }.encode(seq, out);
            }
            Part::Text(bytes) => frame(out, seq, |out| out.extend(pattern(seed, bytes))),
        }
        let frames = (out.len() - start) / (FRAME_MAX + 4) + 1;
        self.seq = self.seq.wrapping_add(u8::try_from(frames).expect("few frames"));
    }

    fn ok(&mut self, header: u8, end: End, out: &mut BytesMut) {
        self.status = end.status;
        let info: Vec<u8> = pattern(self.seed, end.info_bytes).collect();
        let packet = OkPacket {
            header,
            affected_rows: end.affected_rows,
            last_insert_id: self.seed % 1000,
            status: end.status,
            warnings: end.warnings,
            info: &info,
            trackers: if end.tracked { b"\x01\x05\x04shop\x05\x09\x08T_R_WsS_" } else { b"" },
        };
        packet.encode(self.capabilities, self.seq, out);
    }
}

/// An error of a server.
pub(crate) fn err(code: u16, seq: u8, out: &mut BytesMut) {
    let message = format!("the model's error {code}");
    ErrPacket { code, sqlstate: sqlstate(code), message: message.as_bytes() }.encode(seq, out);
}

/// The file a client was asked for, up to and with its empty frame; the next sequence id.
pub(crate) fn upload(ask: &Ask, seq: u8, out: &mut BytesMut) -> u8 {
    let mut seq = seq;
    for bytes in ask.upload() {
        frame(out, seq, |out| out.extend(pattern(ask.seed, bytes)));
        seq = seq.wrapping_add(1);
    }
    frame(out, seq, |_| {});
    seq.wrapping_add(1)
}
