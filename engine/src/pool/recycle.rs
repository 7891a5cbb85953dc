//! Making a backend connection as good as new.
//!
//! Purpose: undo what one client did, so that the next of the same account finds what a login would
//! have given it.
//! Never: call a connection clean whose server did not say so, or hold more than a few packets.
//!
//! COM_RESET_CONNECTION rolls back, releases locks, drops temporary tables and prepared statements,
//! and restores variables. What it keeps, on MariaDB 10.11 as on MySQL 9.7, is the schema and the
//! roles that SET ROLE made active. So the schema of the login is chosen again, and the server is
//! asked for both: the answer has to be the one it gave right after the login. MySQL goes back to its
//! own default character set and not the login's, so there that is said and asked for as well.

use bytes::BytesMut;

use crate::pool::init::InitReply;
use crate::pool::login::LOGIN_PACKET_BYTES_MAX;
use crate::share::query;
use crate::wire::frame::{Assembler, HEADER_BYTES};
use crate::wire::{Capabilities, Command, OkPacket, Reader, Status, frame};

/// What to do after bytes were fed.
#[derive(Debug, PartialEq, Eq)]
pub enum RecycleStep {
    /// Wait for more.
    Wait,
    /// As good as new; payload of the OK that ends a new client's login.
    Clean(BytesMut),
    /// It cannot be used again.
    Spoiled,
}

/// What a server says of a session that a reset does not bring back: schema and roles, and on MySQL
/// character set and collation, as it wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    row: BytesMut,
    question: Question,
}

/// What a server can be asked, by its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    has_roles: bool,
    /// It forgets the character set of the login.
    has_names: bool,
}

/// What is said to a new connection before its client may use it.
#[derive(Debug)]
pub struct Opening {
    awaits_fence: bool,
    answer: Answer,
    /// What the server was asked, if it was.
    question: Option<Question>,
}

/// One connection on its way back.
#[derive(Debug)]
pub struct Recycle {
    wanted: Identity,
    stage: Stage,
    /// How many words come between the reset and the question.
    words: u8,
    /// Behind the words.
    init: Option<InitReply>,
    /// What the server says of the session after the reset.
    status: Status,
    capabilities: Capabilities,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reset,
    /// Words that are answered by an OK, so many.
    Words(u8),
    /// The answer to the backend's `init_query`.
    Init,
    Identity,
}

impl Opening {
    /// Says what has to be said to a connection with `capabilities`; it is appended to `out`, to
    /// leave in one piece. The server of that version is asked for its [`Identity`].
    #[must_use]
    pub fn begin(
        read_only: bool,
        version: Option<&[u8]>,
        capabilities: Capabilities,
        out: &mut BytesMut,
    ) -> Self {
        if read_only {
            fence(capabilities, out);
        }
        let question = version.map(Question::of);
        if let Some(question) = question {
            question.ask(capabilities, out);
        }
        let answer =
            Answer::new(question.unwrap_or(Question { has_roles: false, has_names: false }));
        Self { awaits_fence: read_only, answer, question }
    }

    /// Feeds bytes of the server: `None` while more have to come, then what was asked for.
    ///
    /// # Errors
    /// What came is no answer, or a refusal: the connection cannot be used.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<Option<Option<Identity>>, NoAnswer> {
        self.answer.assembler.push(bytes);
        if self.awaits_fence {
            let Some(payload) = self.answer.packet()? else { return Ok(None) };
            if payload.first() != Some(&OkPacket::OK) {
                return Err(NoAnswer);
            }
            self.awaits_fence = false;
        }
        match self.question {
            None if self.answer.assembler.is_empty() => Ok(Some(None)),
            None => Err(NoAnswer),
            Some(question) => {
                let row = self.answer.row()?;
                Ok(row.map(|row| Some(Identity { row, question })))
            }
        }
    }
}

/// From here on the server refuses what the session writes, until it is reset.
pub(super) fn fence(capabilities: Capabilities, out: &mut BytesMut) {
    query(out, capabilities, b"SET SESSION TRANSACTION READ ONLY");
}

impl Recycle {
    /// Begins on a connection that negotiated `capabilities`, was logged in with `schema` and was
    /// `wanted` after its `init_query`, if it has one; what is to be sent is appended to `out`, to
    /// leave in one piece.
    #[must_use]
    pub fn begin(
        schema: Option<&[u8]>,
        wanted: &Identity,
        init: Option<&str>,
        capabilities: Capabilities,
        out: &mut BytesMut,
    ) -> Self {
        frame(out, 0, |out| out.extend_from_slice(&[Command::ResetConnection.as_byte()]));
        if let Some(schema) = schema {
            frame(out, 0, |out| {
                out.extend_from_slice(&[Command::InitDb.as_byte()]);
                out.extend_from_slice(schema);
            });
        }
        let mut words = u8::from(schema.is_some());
        if let Some(names) = wanted.names() {
            query(out, capabilities, &names);
            words += 1;
        }
        if let Some(init) = init {
            query(out, capabilities, init.as_bytes());
        }
        wanted.question.ask(capabilities, out);
        Self {
            wanted: wanted.clone(),
            stage: Stage::Reset,
            words,
            init: init.map(|_| InitReply::new(capabilities, BytesMut::new())),
            status: Status::default(),
            capabilities,
            answer: Answer::new(wanted.question),
        }
    }

    /// Feeds bytes of the server.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> RecycleStep {
        self.answer.assembler.push(bytes);
        self.step().unwrap_or(RecycleStep::Spoiled)
    }

    fn step(&mut self) -> Result<RecycleStep, NoAnswer> {
        while self.stage != Stage::Identity {
            let Some(payload) = self.answer.packet()? else { return Ok(RecycleStep::Wait) };
            if self.stage == Stage::Init {
                let init = self.init.as_mut().ok_or(NoAnswer)?;
                if init.on_packet(&payload).map_err(|_| NoAnswer)? {
                    self.stage = Stage::Identity;
                }
                continue;
            }
            let ok = OkPacket::parse(&payload, self.capabilities).map_err(|_| NoAnswer)?;
            if ok.header != OkPacket::OK {
                return Err(NoAnswer);
            }
            let left = match self.stage {
                Stage::Reset => {
                    self.status = ok.status;
                    self.words
                }
                Stage::Words(left) => left - 1,
                Stage::Init | Stage::Identity => 0,
            };
            self.stage = match (left, &self.init) {
                (0, None) => Stage::Identity,
                (0, Some(_)) => Stage::Init,
                (left, _) => Stage::Words(left),
            };
        }
        Ok(match self.answer.row()? {
            None => RecycleStep::Wait,
            Some(row) if row == self.wanted.row => {
                RecycleStep::Clean(login_ok(self.status, self.capabilities))
            }
            Some(_) => RecycleStep::Spoiled,
        })
    }
}

/// The server said something else than what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

/// The answer to a question for a few values.
#[derive(Debug)]
struct Answer {
    assembler: Assembler,
    /// Packets of it so far.
    packets: u8,
    /// Behind the count of columns and their definitions.
    row_at: u8,
    row: BytesMut,
}

impl Answer {
    fn new(question: Question) -> Self {
        let row_at = if question.has_names { 5 } else { 3 };
        let assembler = Assembler::new(LOGIN_PACKET_BYTES_MAX);
        Self { assembler, packets: 0, row_at, row: BytesMut::new() }
    }

    fn packet(&mut self) -> Result<Option<BytesMut>, NoAnswer> {
        let packet = self.assembler.next_packet().map_err(|_| NoAnswer)?;
        let payload = packet.map(|packet| packet.payload);
        match payload.as_ref().and_then(|payload| payload.first()) {
            Some(&ERR) => Err(NoAnswer),
            Some(_) | None => Ok(payload),
        }
    }

    /// The one row, when all of the answer is there, and nothing else.
    fn row(&mut self) -> Result<Option<BytesMut>, NoAnswer> {
        while let Some(payload) = self.packet()? {
            let place = self.packets;
            self.packets += 1;
            let is_end = payload.first() == Some(&OkPacket::END);
            match place {
                place if place == self.row_at => self.row = payload,
                place if place < self.row_at && !is_end => {}
                _ if is_end && place > self.row_at && self.assembler.is_empty() => {
                    return Ok(Some(std::mem::take(&mut self.row)));
                }
                _ => return Err(NoAnswer),
            }
        }
        Ok(None)
    }
}

const ERR: u8 = 0xFF;

impl Question {
    /// MariaDB has roles since 10.0.5, MySQL since 8.0.
    fn of(version: &[u8]) -> Self {
        let is_mariadb = version.windows(b"MariaDB".len()).any(|part| part == b"MariaDB");
        Self { has_roles: is_mariadb || !version.starts_with(b"5."), has_names: !is_mariadb }
    }

    fn ask(self, capabilities: Capabilities, out: &mut BytesMut) {
        let roles: &[u8] = if self.has_roles { b"CURRENT_ROLE()" } else { b"NULL" };
        let mut text = [b"SELECT DATABASE(), ", roles].concat();
        if self.has_names {
            text.extend_from_slice(b", @@character_set_client, @@collation_connection");
        }
        query(out, capabilities, &text);
    }
}

impl Identity {
    /// What makes the character set again what it was.
    fn names(&self) -> Option<Vec<u8>> {
        const NULL: u8 = 0xFB;
        if !self.question.has_names {
            return None;
        }
        let mut reader = Reader::new(&self.row);
        for _ in [(), ()] {
            if reader.remaining().first() == Some(&NULL) {
                reader.u8().ok()?;
            } else {
                reader.lenenc_bytes().ok()?;
            }
        }
        let (charset, collation) = (reader.lenenc_bytes().ok()?, reader.lenenc_bytes().ok()?);
        Some([b"SET NAMES '", charset, b"' COLLATE '", collation, b"'"].concat())
    }
}

/// What a server says when a login is over.
fn login_ok(status: Status, capabilities: Capabilities) -> BytesMut {
    let ok = OkPacket::nothing(status.without(Status::SESSION_STATE_CHANGED));
    let mut packet = BytesMut::new();
    ok.encode(capabilities, 0, &mut packet);
    packet.split_off(HEADER_BYTES)
}

#[cfg(test)]
mod tests;
