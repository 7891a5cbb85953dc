//! Making a backend connection as good as new.
//!
//! Purpose: undo what one client did, so that the next of the same account finds what a login would
//! have given it.
//! Never: call a connection clean whose server did not say so, or hold more than a few packets.
//!
//! COM_RESET_CONNECTION rolls back, releases locks, drops temporary tables and prepared statements,
//! and restores variables. What it keeps, on MariaDB 10.11 as on MySQL 9.7, is the schema and the
//! roles that SET ROLE made active. So the schema of the login is chosen again, and the server is
//! asked for both: the answer has to be the one it gave right after the login.

use bytes::BytesMut;

use crate::pool::login::LOGIN_PACKET_BYTES_MAX;
use crate::wire::frame::{Assembler, HEADER_BYTES};
use crate::wire::{Capabilities, Command, OkPacket, Status, frame};

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

/// What a server says of a session that no reset touches: schema and roles, as it wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    row: BytesMut,
    has_roles: bool,
}

/// What is said to a new connection before its client may use it.
#[derive(Debug)]
pub struct Opening {
    awaits_fence: bool,
    answer: Answer,
    /// If the server was asked who the session is, whether also for its roles.
    has_roles: Option<bool>,
}

/// One connection on its way back.
#[derive(Debug)]
pub struct Recycle {
    wanted: Identity,
    stage: Stage,
    /// What the server says of the session after the reset.
    status: Status,
    capabilities: Capabilities,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reset { has_schema: bool },
    Schema,
    Identity,
}

impl Opening {
    /// Says what has to be said; it is appended to `out`, to leave in one piece. The server of that
    /// version is asked for its [`Identity`].
    #[must_use]
    pub fn begin(read_only: bool, version: Option<&[u8]>, out: &mut BytesMut) -> Self {
        if read_only {
            fence(out);
        }
        let has_roles = version.map(has_roles);
        if let Some(has_roles) = has_roles {
            ask(has_roles, out);
        }
        Self { awaits_fence: read_only, answer: Answer::new(), has_roles }
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
        match self.has_roles {
            None if self.answer.assembler.is_empty() => Ok(Some(None)),
            None => Err(NoAnswer),
            Some(has_roles) => {
                let row = self.answer.row()?;
                Ok(row.map(|row| Some(Identity { row, has_roles })))
            }
        }
    }
}

/// From here on the server refuses what the session writes, until it is reset.
pub(super) fn fence(out: &mut BytesMut) {
    frame(out, 0, |out| {
        out.extend_from_slice(&[Command::Query.as_byte()]);
        out.extend_from_slice(b"SET SESSION TRANSACTION READ ONLY");
    });
}

impl Recycle {
    /// Begins on a connection that negotiated `capabilities`, was logged in with `schema` and was
    /// `wanted` then; what is to be sent is appended to `out`, to leave in one piece.
    #[must_use]
    pub fn begin(
        schema: Option<&[u8]>,
        wanted: &Identity,
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
        ask(wanted.has_roles, out);
        Self {
            wanted: wanted.clone(),
            stage: Stage::Reset { has_schema: schema.is_some() },
            status: Status::default(),
            capabilities,
            answer: Answer::new(),
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
            let ok = OkPacket::parse(&payload, self.capabilities).map_err(|_| NoAnswer)?;
            if ok.header != OkPacket::OK {
                return Err(NoAnswer);
            }
            self.stage = match self.stage {
                Stage::Reset { has_schema } => {
                    self.status = ok.status;
                    if has_schema { Stage::Schema } else { Stage::Identity }
                }
                Stage::Schema | Stage::Identity => Stage::Identity,
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

/// The answer to a question for two values.
#[derive(Debug)]
struct Answer {
    assembler: Assembler,
    /// Packets of it so far.
    packets: u8,
    row: BytesMut,
}

impl Answer {
    /// Behind the count of columns and two definitions.
    const ROW: u8 = 3;

    fn new() -> Self {
        Self { assembler: Assembler::new(LOGIN_PACKET_BYTES_MAX), packets: 0, row: BytesMut::new() }
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
                Self::ROW => self.row = payload,
                place if place < Self::ROW && !is_end => {}
                _ if is_end && place > Self::ROW && self.assembler.is_empty() => {
                    return Ok(Some(std::mem::take(&mut self.row)));
                }
                _ => return Err(NoAnswer),
            }
        }
        Ok(None)
    }
}

const ERR: u8 = 0xFF;

fn ask(has_roles: bool, out: &mut BytesMut) {
    frame(out, 0, |out| {
        out.extend_from_slice(&[Command::Query.as_byte()]);
        let roles: &[u8] = if has_roles { b"CURRENT_ROLE()" } else { b"NULL" };
        out.extend_from_slice(b"SELECT DATABASE(), ");
        out.extend_from_slice(roles);
    });
}

/// MariaDB has roles since 10.0.5, MySQL since 8.0.
fn has_roles(version: &[u8]) -> bool {
    let is_mariadb = version.windows(b"MariaDB".len()).any(|part| part == b"MariaDB");
    is_mariadb || !version.starts_with(b"5.")
}

/// What a server says when a login is over.
fn login_ok(status: Status, capabilities: Capabilities) -> BytesMut {
    let ok = OkPacket {
        header: OkPacket::OK,
        affected_rows: 0,
        last_insert_id: 0,
        status: status.without(Status::SESSION_STATE_CHANGED),
        warnings: 0,
        info: &[],
        trackers: &[],
    };
    let mut packet = BytesMut::new();
    ok.encode(capabilities, 0, &mut packet);
    packet.split_off(HEADER_BYTES)
}

#[cfg(test)]
mod tests;
