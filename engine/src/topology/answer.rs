//! Answers of a server to questions that were sent together.
//!
//! Purpose: rows of text results from loose bytes, one answer after the other.
//! Never: hold more than a bounded number of columns, rows and bytes: what is longer is walked over
//! to its end, and counts as an answer that cannot be read.

use bytes::{Buf, BytesMut};

use crate::wire::frame::{HEADER_BYTES, Header, PAYLOAD_BYTES_MAX};
use crate::wire::{Capabilities, EofPacket, ErrPacket, Malformed, OkPacket, Reader, Status};

/// One packet that is read. The longest is a GTID set with many holes.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// All that is kept of one answer.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// The widest answer known is a replica's status, of some 65 columns.
const COLUMNS_MAX: usize = 256;
/// The longest are lists of servers.
const ROWS_MAX: usize = 1024;

const ERR: u8 = 0xFF;
const NULL: u8 = 0xFB;

/// What came back for one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Rows, or none.
    Rows(Rows),
    /// An error.
    Refused {
        /// Its number.
        code: u16,
        /// Its text, shortened.
        message: String,
    },
    /// More than is kept, or no rows that can be made out.
    Unreadable,
}

/// Rows of text by the names of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    columns: Vec<Box<[u8]>>,
    rows: Vec<Vec<Option<Box<[u8]>>>>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'r> {
    columns: &'r [Box<[u8]>],
    values: &'r [Option<Box<[u8]>>],
}

impl Rows {
    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }
}

impl<'r> Row<'r> {
    /// The value of the first column there is of these names, in whatever case, unless it is NULL
    /// or no text.
    pub(super) fn text(&self, names: &[&str]) -> Option<&'r str> {
        let at = names.iter().find_map(|name| {
            let mut columns = self.columns.iter();
            columns.position(|column| column.eq_ignore_ascii_case(name.as_bytes()))
        })?;
        std::str::from_utf8(self.values.get(at)?.as_deref()?).ok()
    }

    /// The same as a number.
    pub(super) fn number<T: std::str::FromStr>(&self, names: &[&str]) -> Option<T> {
        self.text(names)?.trim().parse().ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    Definitions(u64),
    EndOfDefinitions,
    Rows,
}

/// The answers to come on one connection.
#[derive(Debug)]
pub(super) struct Answers {
    capabilities: Capabilities,
    received: BytesMut,
    /// Bytes of a packet that is walked over.
    skipped_bytes: usize,
    /// The next frame continues a packet that is walked over.
    continued: bool,
    stage: Stage,
    rows: Rows,
    kept_bytes: usize,
    /// Something of this answer was left out.
    is_cut: bool,
    /// It belongs to an answer that was complete: a server that says more than it was asked.
    is_extra: bool,
    done: Vec<Answer>,
}

impl Answers {
    pub(super) fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            received: BytesMut::new(),
            skipped_bytes: 0,
            continued: false,
            stage: Stage::First,
            rows: Rows::default(),
            kept_bytes: 0,
            is_cut: false,
            is_extra: false,
            done: Vec::new(),
        }
    }

    /// Feeds bytes; returns the answers once there are `expected`.
    ///
    /// # Errors
    /// These are no answers: where one ends cannot be told any more.
    pub(super) fn on_bytes(
        &mut self,
        bytes: &[u8],
        expected: usize,
    ) -> Result<Option<Vec<Answer>>, Malformed> {
        self.received.extend_from_slice(bytes);
        while self.done.len() < expected {
            let skipped = self.skipped_bytes.min(self.received.len());
            self.received.advance(skipped);
            self.skipped_bytes -= skipped;
            let Some(header) = Header::peek(&self.received) else { return Ok(None) };
            if self.skipped_bytes > 0 {
                return Ok(None);
            }
            let is_long = self.continued || header.payload_bytes > PACKET_BYTES_MAX;
            if is_long {
                self.received.advance(HEADER_BYTES);
                self.skipped_bytes = header.payload_bytes;
                self.continued = header.payload_bytes == PAYLOAD_BYTES_MAX;
                self.on_long_packet()?;
                continue;
            }
            if self.received.len() < HEADER_BYTES + header.payload_bytes {
                return Ok(None);
            }
            self.received.advance(HEADER_BYTES);
            let payload = self.received.split_to(header.payload_bytes);
            self.on_packet(&payload)?;
        }
        if self.received.is_empty() {
            Ok(Some(std::mem::take(&mut self.done)))
        } else {
            Err(Malformed::new("more was answered than asked"))
        }
    }

    /// Only definitions and rows are that long; neither ends anything.
    fn on_long_packet(&mut self) -> Result<(), Malformed> {
        self.is_cut = true;
        match self.stage {
            Stage::Rows => Ok(()),
            Stage::First | Stage::Definitions(_) | Stage::EndOfDefinitions => {
                Err(Malformed::new("a packet of an answer is too long"))
            }
        }
    }

    fn on_packet(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let first = *payload.first().ok_or(Malformed::new("an answer has an empty packet"))?;
        if first == ERR {
            let ErrPacket { code, message, .. } = ErrPacket::parse(payload)?;
            self.end(Some(Answer::Refused { code, message: shortened(message) }));
            return Ok(());
        }
        let has_eof = !self.capabilities.contains(Capabilities::DEPRECATE_EOF);
        match self.stage {
            Stage::First if first == OkPacket::OK => {
                let status = OkPacket::parse(payload, self.capabilities)?.status;
                self.on_end(status);
            }
            Stage::First => {
                let count = Reader::new(payload).lenenc_int()?;
                self.is_cut |= count > COLUMNS_MAX as u64;
                self.stage = Stage::Definitions(count);
            }
            Stage::Definitions(left) => {
                if !self.is_cut {
                    let name = column_name(payload)?;
                    self.rows.columns.push(name.into());
                }
                let end = if has_eof { Stage::EndOfDefinitions } else { Stage::Rows };
                let left = left.saturating_sub(1);
                self.stage = if left > 0 { Stage::Definitions(left) } else { end };
            }
            Stage::EndOfDefinitions => self.stage = Stage::Rows,
            Stage::Rows if first == OkPacket::END && has_eof && payload.len() < EOF_BYTES_END => {
                let status = EofPacket::parse(payload)?.status;
                self.on_end(status);
            }
            Stage::Rows if first == OkPacket::END && !has_eof => {
                let status = OkPacket::parse(payload, self.capabilities)?.status;
                self.on_end(status);
            }
            Stage::Rows => self.on_row(payload)?,
        }
        Ok(())
    }

    fn on_row(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        self.kept_bytes = self.kept_bytes.saturating_add(payload.len());
        self.is_cut |= self.rows.rows.len() >= ROWS_MAX || self.kept_bytes > ANSWER_BYTES_MAX;
        if self.is_cut {
            return Ok(());
        }
        let mut reader = Reader::new(payload);
        let mut values = Vec::with_capacity(self.rows.columns.len());
        for _ in &self.rows.columns {
            if reader.remaining().first() == Some(&NULL) {
                reader.u8()?;
                values.push(None);
            } else {
                values.push(Some(reader.lenenc_bytes()?.into()));
            }
        }
        self.rows.rows.push(values);
        Ok(())
    }

    fn on_end(&mut self, status: Status) {
        let rows = std::mem::take(&mut self.rows);
        let answer = if self.is_cut { Answer::Unreadable } else { Answer::Rows(rows) };
        let goes_on = status.contains(Status::MORE_RESULTS);
        self.end(Some(answer));
        self.is_extra = goes_on;
    }

    /// Another answer is complete, unless it only goes on from the one before.
    fn end(&mut self, answer: Option<Answer>) {
        self.done.extend(answer.filter(|_| !self.is_extra));
        self.is_extra = false;
        self.stage = Stage::First;
        self.rows = Rows::default();
        self.kept_bytes = 0;
        self.is_cut = false;
    }
}

/// `catalog, schema, table, original table, name, …`
fn column_name(definition: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(definition);
    for _ in 0..4 {
        reader.lenenc_bytes()?;
    }
    reader.lenenc_bytes()
}

/// An error's text as it is shown.
fn shortened(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.chars().filter(|it| !it.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

/// A row may begin as an EOF does, but is longer.
const EOF_BYTES_END: usize = 9;
const MESSAGE_CHARS_MAX: usize = 200;
