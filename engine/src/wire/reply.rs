//! Finding the end of a reply by walking frame headers, and making it readable for its client.
//!
//! Purpose: relay replies of any size while decoding only the frames that begin them, end them or
//! change state; translate for clients that lack DEPRECATE_EOF or SESSION_TRACK.
//! Never: hold a row, decode a row, or keep more than one short frame.
//!
//! A frame is *plain* (rows, column definitions: it goes on cut-through, whatever its size) or
//! *control* (OK, ERR, EOF, column count, statement header, file request: decided on when whole;
//! at most [`CONTROL_BYTES_MAX`]). Backends always negotiate DEPRECATE_EOF where they can; for a
//! client without it the walk puts the EOF after column definitions back in and turns the final OK
//! into an EOF, so all later frames of that reply get higher sequence ids (`shift`), rewritten in
//! place.

mod control;
mod kinds;
mod notes;
mod prepare;
mod refusal;

use bytes::BytesMut;

pub use kinds::{Dialect, Expect, ReplyError, ReplyEvent, Walked};
pub use notes::{Notes, Tracked};
pub use refusal::refusal;

use self::control::{FLAGGED_COUNT, Frame};
use crate::wire::edit::{Edits, Side};
use crate::wire::error::ErrPacket;
use crate::wire::frame::{self, HEADER_BYTES, Header, PAYLOAD_BYTES_MAX};
use crate::wire::ok::{self, EofPacket, OkPacket};
use crate::wire::prepared::DEFINITIONS_LEFT_OUT;
use crate::wire::reader::{Malformed, Reader};
use crate::wire::{Capabilities, Status};

/// The longest control frame accepted. Trackers of a large GTID set are the longest known.
pub const CONTROL_BYTES_MAX: usize = 1 << 20;

const OK: u8 = 0x00;
const INFILE: u8 = 0xFB;
const EOF: u8 = 0xFE;
const ERR: u8 = 0xFF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first frame of the reply, or of the next result in it.
    First,
    Columns {
        left: u64,
    },
    /// Backends without DEPRECATE_EOF only.
    ColumnsEof,
    Rows,
    PrepareParams {
        left: u16,
        columns: u16,
    },
    PrepareParamsEof {
        columns: u16,
    },
    PrepareColumns {
        left: u16,
    },
    PrepareColumnsEof,
    Stream,
}

/// Walks one reply after the other of one backend connection.
#[derive(Debug)]
pub struct ReplyWalk {
    dialect: Dialect,
    expect: Expect,
    state: State,
    /// Bytes of the current plain frame still to come.
    body_bytes: usize,
    /// The next frame continues a plain payload of 16 MiB or more.
    continued: bool,
    /// The reply ends with the current plain frame.
    last_plain: bool,
    /// An EOF the client is owed before the next frame.
    owes_eof: bool,
    /// A byte of this reply has gone to the client.
    begun: bool,
    /// Frames inserted so far: what is added to sequence ids.
    shift: u8,
    /// The backend's sequence id of the next frame; any, when it is the first.
    next_backend_seq: Option<u8>,
    /// Sequence id of the last frame as the client sees it.
    last_seq: u8,
    status: Status,
    /// Flags that the client sees besides the server's.
    added: Status,
    /// Of the last ERR.
    error_code: u16,
    /// The head of a frame that was cut before it could be decided on.
    partial: BytesMut,
    /// Kept for a session that shares its connection; then the client gets only those trackers that
    /// it would get by default.
    notes: Option<Box<Notes>>,
}

impl ReplyWalk {
    /// A walk that waits for its first [`ReplyWalk::begin`].
    #[must_use]
    pub fn new(dialect: Dialect, status: Status) -> Self {
        Self {
            dialect,
            expect: Expect::Ok,
            state: State::First,
            body_bytes: 0,
            continued: false,
            last_plain: false,
            owes_eof: false,
            begun: false,
            shift: 0,
            next_backend_seq: None,
            last_seq: 0,
            status,
            added: Status::default(),
            error_code: 0,
            partial: BytesMut::new(),
            notes: None,
        }
    }

    /// From now on the client sees these flags besides the server's.
    pub const fn add_status(&mut self, flags: Status) {
        self.added = flags;
    }

    /// The backend connection is another one.
    pub const fn set_backend(&mut self, backend: Capabilities) {
        self.dialect.backend = backend;
    }

    /// Starts the reply to the next command.
    pub fn begin(&mut self, expect: Expect) {
        self.expect = expect;
        self.state = match expect {
            Expect::Fetch | Expect::FieldList => State::Rows,
            Expect::Stream => State::Stream,
            Expect::Ok | Expect::Query | Expect::Prepare | Expect::Statistics | Expect::Unasked => {
                State::First
            }
        };
        self.continued = false;
        self.last_plain = false;
        self.owes_eof = false;
        self.begun = false;
        self.shift = 0;
        self.next_backend_seq = None;
        self.last_seq = 0;
        if let Some(notes) = &mut self.notes {
            notes.begin();
        }
    }

    /// What the two sides negotiated.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The session begins anew, with these flags.
    pub const fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// The status flags of the last OK or EOF.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The error number of the last [`ReplyEvent::End`] that failed; 0 when it had none.
    #[must_use]
    pub const fn error_code(&self) -> u16 {
        self.error_code
    }

    /// Bytes the current frame is known to have still.
    #[must_use]
    pub const fn bytes_ahead(&self) -> usize {
        self.body_bytes
    }

    /// What is added to the backend's sequence ids on the way to the client, and must be taken off
    /// the client's ids on the way back (file upload inside a multi-result reply).
    #[must_use]
    pub const fn shift(&self) -> u8 {
        self.shift
    }

    /// Where an ERR of Weir's own can end this reply: the sequence id to use, or `None` in the
    /// middle of a frame.
    #[must_use]
    pub const fn interruption_seq(&self) -> Option<u8> {
        if self.body_bytes > 0 || self.continued {
            return None;
        }
        Some(self.last_seq.wrapping_add(1))
    }

    /// Sequence id of the last frame as the client saw it.
    #[must_use]
    pub const fn last_seq(&self) -> u8 {
        self.last_seq
    }

    /// A file upload ended inside this reply, at this sequence id of the client: the reply goes on
    /// after it.
    pub const fn uploaded(&mut self, client_seq: u8) {
        self.last_seq = client_seq;
    }

    /// Whether bytes of the current reply have reached the client.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Walks input up to its end or the next event. Call again with the rest after an event.
    ///
    /// # Errors
    /// [`ReplyError`] when the bytes are no reply; the connection cannot be used any more.
    pub fn feed(&mut self, input: &mut [u8], edits: &mut Edits) -> Result<Walked, ReplyError> {
        let mut used = 0;
        loop {
            if self.body_bytes > 0 {
                let count = self.body_bytes.min(input.len() - used);
                edits.forward(count);
                self.body_bytes -= count;
                used += count;
            }
            if self.body_bytes == 0 && self.last_plain && !self.continued {
                self.last_plain = false;
                self.pay_eof(edits);
                return Ok(Walked { used, event: Some(ReplyEvent::End { failed: false }) });
            }
            let rest = input.get_mut(used..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(Walked { used, event: None });
            }
            let (count, event) = if self.partial.is_empty() {
                self.frame_in_place(rest, edits)?
            } else {
                self.frame_in_pieces(rest, edits)?
            };
            used += count;
            if event.is_some() {
                return Ok(Walked { used, event });
            }
        }
    }

    /// Takes the frame that starts at `input`, or saves its head when it is cut too early.
    /// Returns the bytes used.
    #[inline]
    fn frame_in_place(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
    ) -> Result<(usize, Option<ReplyEvent>), ReplyError> {
        let available = input.len();
        let Some((header, first)) = frame::peek(input) else {
            return Ok((self.save(input, edits), None));
        };
        let frame_bytes = HEADER_BYTES + header.payload_bytes;
        if self.is_plain(header, first) {
            self.check_order(header)?;
            self.pay_eof_before_packet(edits);
            let in_input = frame_bytes.min(available);
            self.patch_seq(input, header.seq);
            edits.forward(in_input);
            self.plain(header, frame_bytes - in_input);
            return Ok((in_input, None));
        }
        if header.payload_bytes > CONTROL_BYTES_MAX {
            return Err(ReplyError::TooLong);
        }
        let Some(frame) = input.get_mut(..frame_bytes) else {
            return Ok((self.save(input, edits), None));
        };
        self.check_order(header)?;
        let event = self.control(&mut Frame { bytes: frame, in_input: true }, edits)?;
        Ok((frame_bytes, event))
    }

    /// Goes on with a frame whose head was saved. Returns the bytes used.
    fn frame_in_pieces(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
    ) -> Result<(usize, Option<ReplyEvent>), ReplyError> {
        // The first byte of the payload comes after the header, unless the payload is empty: the
        // next byte is then the next frame's.
        let mut used = self.save_up_to(HEADER_BYTES, input);
        if Header::peek(&self.partial).is_some_and(|header| header.payload_bytes > 0) {
            used += self.save_up_to(HEADER_BYTES + 1, input.get(used..).unwrap_or_default());
        }
        let Some((header, first)) = frame::peek(&self.partial) else {
            edits.discard(used);
            return Ok((used, None));
        };
        let frame_bytes = HEADER_BYTES + header.payload_bytes;
        if self.is_plain(header, first) {
            edits.discard(used);
            self.check_order(header)?;
            self.pay_eof_before_packet(edits);
            let mut head = std::mem::take(&mut self.partial);
            self.patch_seq(&mut head, header.seq);
            edits.send(Side::Client, |out| out.extend_from_slice(&head));
            self.plain(header, frame_bytes - head.len());
            return Ok((used, None));
        }
        if header.payload_bytes > CONTROL_BYTES_MAX {
            return Err(ReplyError::TooLong);
        }
        used += self.save_up_to(frame_bytes, input.get(used..).unwrap_or_default());
        edits.discard(used);
        if self.partial.len() < frame_bytes {
            return Ok((used, None));
        }
        self.check_order(header)?;
        let mut frame = std::mem::take(&mut self.partial);
        let event = self.control(&mut Frame { bytes: &mut frame, in_input: false }, edits)?;
        Ok((used, event))
    }

    /// Within a reply each frame's sequence id is the one after the last.
    #[inline]
    fn check_order(&mut self, header: Header) -> Result<(), ReplyError> {
        match self.next_backend_seq.replace(header.seq.wrapping_add(1)) {
            Some(expected) if expected != header.seq => Err(ReplyError::OutOfOrder),
            Some(_) | None => Ok(()),
        }
    }

    /// Adds input to the saved head until that has `head_bytes`. Returns the bytes used.
    fn save_up_to(&mut self, head_bytes: usize, input: &[u8]) -> usize {
        let used = head_bytes.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(input.get(..used).unwrap_or_default());
        used
    }

    /// Keeps the head of a frame until more of it arrives.
    fn save(&mut self, head: &[u8], edits: &mut Edits) -> usize {
        self.partial.extend_from_slice(head);
        edits.discard(head.len());
        head.len()
    }

    /// Whether a frame may go on without being looked at as a whole.
    #[inline]
    fn is_plain(&self, header: Header, first: u8) -> bool {
        if self.continued {
            return true;
        }
        match self.state {
            State::Rows => {
                // A row may begin with 0xFE (a value of 16 MiB or more), but is then that long.
                !(first == ERR || first == EOF && header.payload_bytes < PAYLOAD_BYTES_MAX)
            }
            State::Columns { .. } | State::PrepareParams { .. } | State::PrepareColumns { .. } => {
                first != ERR
            }
            State::Stream => !(first == ERR || first == EOF && header.payload_bytes < 9),
            State::First
            | State::ColumnsEof
            | State::PrepareParamsEof { .. }
            | State::PrepareColumnsEof => false,
        }
    }

    /// A plain frame began, with `body_bytes` of it still to come.
    #[inline]
    fn plain(&mut self, header: Header, body_bytes: usize) {
        self.begun = true;
        self.body_bytes = body_bytes;
        let continues = std::mem::replace(&mut self.continued, header.is_continued());
        if continues {
            return;
        }
        if self.state == State::Rows
            && let Some(notes) = &mut self.notes
        {
            notes.counted += 1;
        }
        let eof_follows = !self.dialect.backend.contains(Capabilities::DEPRECATE_EOF);
        let client_wants_eof = !self.dialect.client.contains(Capabilities::DEPRECATE_EOF);
        self.state = match self.state {
            State::Columns { left: 0 | 1 } => self.after_definitions(),
            State::Columns { left } => State::Columns { left: left - 1 },
            State::PrepareParams { left: 0 | 1, columns } if eof_follows => {
                State::PrepareParamsEof { columns }
            }
            State::PrepareParams { left: 0 | 1, columns } => {
                self.owes_eof = client_wants_eof;
                self.last_plain = columns == 0;
                State::PrepareColumns { left: columns }
            }
            State::PrepareParams { left, columns } => {
                State::PrepareParams { left: left - 1, columns }
            }
            State::PrepareColumns { left: 0 | 1 } if eof_follows => State::PrepareColumnsEof,
            State::PrepareColumns { left: 0 | 1 } => {
                self.owes_eof = client_wants_eof;
                self.last_plain = true;
                State::PrepareColumns { left: 0 }
            }
            State::PrepareColumns { left } => State::PrepareColumns { left: left - 1 },
            same @ (State::First
            | State::ColumnsEof
            | State::Rows
            | State::PrepareParamsEof { .. }
            | State::PrepareColumnsEof
            | State::Stream) => same,
        };
    }

    /// The definitions of a result's columns are over, or there are none.
    fn after_definitions(&mut self) -> State {
        if !self.dialect.backend.contains(Capabilities::DEPRECATE_EOF) {
            return State::ColumnsEof;
        }
        self.owes_eof = !self.dialect.client.contains(Capabilities::DEPRECATE_EOF);
        State::Rows
    }

    /// Decides on a control frame, whole.
    fn control(
        &mut self,
        frame: &mut Frame<'_>,
        edits: &mut Edits,
    ) -> Result<Option<ReplyEvent>, ReplyError> {
        let first = frame.payload().first().copied();
        self.begun = true;
        if first == Some(ERR) && self.expect != Expect::Statistics {
            if self.is_progress(frame.payload()) {
                self.pass(frame, edits);
                return Ok(None);
            }
            // What follows the first byte is the client's to judge.
            self.error_code = ErrPacket::parse(frame.payload()).map_or(0, |error| error.code);
            self.pay_eof(edits);
            self.pass(frame, edits);
            return Ok(Some(ReplyEvent::End { failed: true }));
        }
        match self.state {
            State::First => self.first_frame(frame, edits),
            State::Rows | State::Stream => self.end_of_rows(frame, edits),
            State::ColumnsEof => {
                let eof = EofPacket::parse(frame.payload())?;
                self.status = eof.status.with(self.added);
                self.pass_eof(frame, eof, edits);
                if eof.status.contains(Status::CURSOR_EXISTS) {
                    return Ok(Some(ReplyEvent::End { failed: false }));
                }
                self.state = State::Rows;
                Ok(None)
            }
            State::PrepareParamsEof { columns } => {
                self.pass(frame, edits);
                self.state = State::PrepareColumns { left: columns };
                Ok((columns == 0).then_some(ReplyEvent::End { failed: false }))
            }
            State::PrepareColumnsEof => {
                self.pass(frame, edits);
                Ok(Some(ReplyEvent::End { failed: false }))
            }
            State::Columns { .. } | State::PrepareParams { .. } | State::PrepareColumns { .. } => {
                Err(Malformed::new("control frame among column definitions").into())
            }
        }
    }

    fn first_frame(
        &mut self,
        frame: &mut Frame<'_>,
        edits: &mut Edits,
    ) -> Result<Option<ReplyEvent>, ReplyError> {
        let first = frame.payload().first().copied();
        match (self.expect, first) {
            (Expect::Statistics, _) => {
                self.pass(frame, edits);
                Ok(Some(ReplyEvent::End { failed: false }))
            }
            (Expect::Prepare, Some(OK)) => self.prepare_header(frame, edits),
            (Expect::Ok | Expect::Query, Some(OK)) => self.ok(frame, edits),
            (Expect::Ok, Some(EOF)) => self.end_of_rows(frame, edits),
            (Expect::Query, Some(INFILE)) => {
                self.pass(frame, edits);
                // The ids go on from wherever the upload, or the server's patience, ends.
                self.next_backend_seq = None;
                Ok(Some(ReplyEvent::LocalInfile))
            }
            (Expect::Query, Some(count)) if count != EOF => {
                let mut reader = Reader::new(frame.payload());
                let left = reader.lenenc_int()?;
                let left_out = self.dialect.backend.intersects(FLAGGED_COUNT)
                    && reader.u8() == Ok(DEFINITIONS_LEFT_OUT);
                self.pass(frame, edits);
                self.state =
                    if left_out { self.after_definitions() } else { State::Columns { left } };
                Ok(None)
            }
            _ => Err(Malformed::new("first frame of a reply").into()),
        }
    }

    /// An OK that is not the end of rows.
    fn ok(
        &mut self,
        frame: &mut Frame<'_>,
        edits: &mut Edits,
    ) -> Result<Option<ReplyEvent>, ReplyError> {
        let packet = OkPacket::parse(frame.payload(), self.dialect.backend)?;
        let packet = OkPacket { status: packet.status.with(self.added), ..packet };
        self.status = packet.status;
        if let Some(notes) = &mut self.notes {
            notes.on_ok(&packet);
        }
        if self.reads_as_is(&packet) {
            self.pass(frame, edits);
        } else {
            let seq = self.next_seq(frame);
            frame.leave_out(edits);
            self.write_for_client(packet, seq, edits)?;
        }
        Ok(self.after_result())
    }

    /// The OK or EOF that ends rows, or the EOF that is a whole answer.
    fn end_of_rows(
        &mut self,
        frame: &mut Frame<'_>,
        edits: &mut Edits,
    ) -> Result<Option<ReplyEvent>, ReplyError> {
        // Some answers are plain EOFs whatever was negotiated; an OK is at least seven bytes.
        if frame.payload().len() < 7 {
            let eof = EofPacket::parse(frame.payload())?;
            self.status = eof.status.with(self.added);
            if let Some(notes) = &mut self.notes {
                notes.on_end_of_old_rows(eof.warnings);
            }
            self.pay_eof(edits);
            self.pass_eof(frame, eof, edits);
            return Ok(self.after_result());
        }
        let packet = OkPacket::parse(frame.payload(), self.dialect.backend)?;
        let packet = OkPacket { status: packet.status.with(self.added), ..packet };
        self.status = packet.status;
        if let Some(notes) = &mut self.notes {
            notes.on_end_of_rows(&packet);
        }
        // An opened cursor has no rows here: in the old protocol the EOF after the column
        // definitions is then the only one.
        if self.owes_eof && packet.status.contains(Status::CURSOR_EXISTS) {
            self.owes_eof = false;
        }
        self.pay_eof(edits);
        let client = self.dialect.client;
        if client.contains(Capabilities::DEPRECATE_EOF) && self.reads_as_is(&packet) {
            self.pass(frame, edits);
            return Ok(self.after_result());
        }
        let seq = self.next_seq(frame);
        frame.leave_out(edits);
        if client.contains(Capabilities::DEPRECATE_EOF) {
            self.write_for_client(packet, seq, edits)?;
        } else {
            let status = packet.status.without(Status::SESSION_STATE_CHANGED);
            edits.send(Side::Client, |out| ok::encode_eof(status, packet.warnings, seq, out));
        }
        Ok(self.after_result())
    }

    /// Writes an OK packet as the client expects it.
    fn write_for_client(
        &self,
        packet: OkPacket<'_>,
        seq: u8,
        edits: &mut Edits,
    ) -> Result<(), ReplyError> {
        let client = self.dialect.client;
        let mut trackers = BytesMut::new();
        let packet = if let Some(notes) = &self.notes {
            notes::by_default(packet.trackers, &notes.tracked, notes.is_asked, &mut trackers)?;
            OkPacket { trackers: &trackers, ..packet }
        } else {
            packet
        };
        edits.send(Side::Client, |out| packet.encode(client, seq, out));
        Ok(())
    }

    /// Only statements have several results; elsewhere the flag is a stale one, and waiting for
    /// more would be waiting for ever.
    fn after_result(&mut self) -> Option<ReplyEvent> {
        if self.expect == Expect::Query && self.status.contains(Status::MORE_RESULTS) {
            self.state = State::First;
            return None;
        }
        Some(ReplyEvent::End { failed: false })
    }

    /// A report of MariaDB on a statement that still runs: it looks like an ERR and ends nothing.
    fn is_progress(&self, payload: &[u8]) -> bool {
        self.dialect.backend.contains(Capabilities::MARIADB_PROGRESS)
            && payload.get(1..3) == Some(&[0xFF, 0xFF])
    }

    /// Whether the client can read an OK packet as the backend wrote it.
    fn reads_as_is(&self, packet: &OkPacket<'_>) -> bool {
        self.added == Status::default() && self.knows_trackers(packet)
    }

    fn knows_trackers(&self, packet: &OkPacket<'_>) -> bool {
        self.dialect.client.contains(Capabilities::SESSION_TRACK) && self.notes.is_none()
            || !packet.status.contains(Status::SESSION_STATE_CHANGED)
    }

    /// As [`Self::pay_eof`], for a frame that may go on with the packet before it.
    #[inline]
    fn pay_eof_before_packet(&mut self, edits: &mut Edits) {
        if !self.continued {
            self.pay_eof(edits);
        }
    }

    /// Inserts the EOF the client is owed before the frame that comes now.
    #[inline]
    fn pay_eof(&mut self, edits: &mut Edits) {
        if self.owes_eof {
            self.owes_eof = false;
            self.shift = self.shift.wrapping_add(1);
            self.last_seq = self.last_seq.wrapping_add(1);
            // What the statement did is not known yet, and a CURSOR_EXISTS left over from another one
            // would make a client fetch rows that come by themselves.
            let (status, seq) = (self.status.of_the_session(), self.last_seq);
            edits.send(Side::Client, |out| ok::encode_eof(status, 0, seq, out));
        }
    }

    /// Lets an EOF go on, with the flags that are added.
    fn pass_eof(&mut self, frame: &mut Frame<'_>, eof: EofPacket, edits: &mut Edits) {
        if self.added == Status::default() {
            return self.pass(frame, edits);
        }
        let seq = self.next_seq(frame);
        frame.leave_out(edits);
        let status = eof.status.with(self.added);
        edits.send(Side::Client, |out| ok::encode_eof(status, eof.warnings, seq, out));
    }

    /// Lets a control frame go on as it is, but for its sequence id.
    fn pass(&mut self, frame: &mut Frame<'_>, edits: &mut Edits) {
        if let Some(header) = Header::peek(frame.bytes) {
            self.patch_seq(frame.bytes, header.seq);
        }
        if frame.in_input {
            edits.forward(frame.bytes.len());
        } else {
            edits.send(Side::Client, |out| out.extend_from_slice(frame.bytes));
        }
    }

    #[inline]
    fn patch_seq(&mut self, frame: &mut [u8], backend_seq: u8) {
        self.last_seq = backend_seq.wrapping_add(self.shift);
        if self.shift != 0
            && let Some(seq) = frame.get_mut(HEADER_BYTES - 1)
        {
            *seq = self.last_seq;
        }
    }

    /// The sequence id a packet written instead of `frame` has.
    fn next_seq(&mut self, frame: &Frame<'_>) -> u8 {
        let backend_seq = Header::peek(frame.bytes).map_or(0, |header| header.seq);
        self.last_seq = backend_seq.wrapping_add(self.shift);
        self.last_seq
    }
}

#[cfg(test)]
mod tests;
