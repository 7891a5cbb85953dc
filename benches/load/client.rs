//! One client connection of the load.
//!
//! Purpose: log in, prepare, then ask one query at a time and check its reply.
//! Never: read the clock or decide when to ask.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use mio::net::TcpStream;
use rustls::ClientConfig;

use crate::answers::{Answers, Encoding};
use crate::check::{Checker, Kind, Progress};
use crate::login::{Account, Login, Profile, Step};
use crate::protocol::{first_frame, put_frame};
use crate::tls::{Security, Wire};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The responder's smallest reply: 120 bytes to a modern client.
    Small,
    /// One value of that many bytes from the responder.
    Bytes(usize),
    /// A row of the table `sbtest1`, ids 1 to this, chosen at random.
    RowOf(u32),
    /// The same nine times of ten; else the client's own row, whose id comes behind these, is
    /// changed, and the next thing asked for is that row.
    RowOrOwn(u32),
}

/// What every client of a run does.
#[derive(Debug)]
pub struct Script {
    /// Who logs in.
    pub account: Account,
    /// With which capabilities.
    pub profile: Profile,
    /// Text or prepared queries.
    pub encoding: Encoding,
    /// For what.
    pub value: Value,
    /// Every query on a connection of its own: connect, log in, ask, leave.
    pub reconnects: bool,
    /// What clients encrypt with.
    tls: Option<Arc<ClientConfig>>,
    /// The row every reply must have, if it is always the same.
    row: Rc<[u8]>,
}

impl Script {
    /// A script; builds what its clients share.
    #[must_use]
    pub fn new(account: Account, profile: Profile, encoding: Encoding, value: Value) -> Self {
        let row = match value {
            Value::Small => {
                Answers::row(encoding, &Answers::value(encoding, Answers::small(encoding)))
            }
            Value::Bytes(size) => Answers::row(encoding, &Answers::value(encoding, size)),
            Value::RowOf(_) | Value::RowOrOwn(_) => Vec::new(),
        };
        Self { account, profile, encoding, value, reconnects: false, tls: None, row: row.into() }
    }

    /// With every query on a connection of its own, or not.
    #[must_use]
    pub fn reconnecting(mut self, reconnects: bool) -> Self {
        self.reconnects = reconnects;
        self
    }

    /// With TLS, or not.
    ///
    /// # Errors
    /// Never in practice.
    pub fn secured(mut self, security: Security) -> anyhow::Result<Self> {
        self.tls = security.client()?;
        Ok(self)
    }

    fn sql(&self, id: &str) -> String {
        match self.value {
            Value::Small | Value::RowOf(_) | Value::RowOrOwn(_) => {
                format!("SELECT c FROM sbtest1 WHERE id={id}")
            }
            Value::Bytes(size) => {
                format!("SELECT c FROM sbtest1 WHERE id={id} /* size {size} */")
            }
        }
    }

    /// What is asked for next, of which `last` was before.
    fn next(&self, last: Asked, random: u32) -> Asked {
        match (self.value, last) {
            (Value::RowOrOwn(_), Asked::Change) => Asked::Own,
            // One read of its own row and eight others on average: one change in ten.
            (Value::RowOrOwn(_), _) if random.is_multiple_of(9) => Asked::Change,
            _ => Asked::Row,
        }
    }
}

/// What a client has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Row,
    /// Its own row is to change.
    Change,
    /// Its own row, which it has changed.
    Own,
}

/// The value of column `c` in row `id` of the benchmark's table: as long as sysbench's, and
/// different in every row, so that an answer to somebody else's question is seen.
#[must_use]
pub fn table_value(id: u32) -> Vec<u8> {
    format!("{id:010}").into_bytes().repeat(12)
}

/// What a client is waiting for.
#[derive(Debug)]
enum State {
    Login(Login),
    Preparing,
    Idle,
    Waiting,
}

/// What came of feeding a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to act on yet.
    Pending,
    /// Logged in and prepared; queries may be asked.
    Ready,
    /// The reply of a query is complete.
    Answered,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: Wire,
    state: State,
    checker: Checker,
    /// Login packets not yet whole.
    partial: Vec<u8>,
    request: Vec<u8>,
    /// `request` is a query, and may be sent again where queries do not differ.
    asked: bool,
    /// How much of `request` the socket took.
    sent: usize,
    /// The row the next reply must have, where rows differ.
    row: Vec<u8>,
    last: Asked,
    /// Its own row is that far behind the ones of all.
    own: u32,
    random: u32,
}

impl Client {
    /// A client on a connection that may still be connecting; `seed` must differ between clients.
    #[must_use]
    pub fn new(stream: TcpStream, script: &Script, seed: u32) -> Self {
        Self {
            stream: Wire::new(stream),
            state: State::Login(Login::Greeting { tls: script.tls.is_some() }),
            checker: Checker::new(script.profile),
            partial: Vec::new(),
            request: Vec::new(),
            asked: false,
            sent: 0,
            row: Vec::new(),
            last: Asked::Row,
            own: seed,
            random: seed.wrapping_mul(0x9E37_79B9) | 1,
        }
    }

    /// Its TLS goes on with the session of an earlier connection.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.stream.is_resumed()
    }

    /// It was asked for something, be it to log in, and that is not complete.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// The last reply was that of its own row.
    #[must_use]
    pub fn has_read_own(&self) -> bool {
        self.last == Asked::Own
    }

    /// And it was not what the client had written.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.has_read_own() && self.checker.is_older()
    }

    /// Takes leave, as libraries do before they close.
    pub fn quit(&mut self) {
        // Whoever is gone already needs no farewell.
        let _gone = self.stream.write(&QUIT);
    }

    /// Sends the next query.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn ask(&mut self, script: &Script) -> anyhow::Result<()> {
        self.build_request(script)?;
        self.checker.begin(match self.last {
            Asked::Row => Kind::Row,
            Asked::Change => Kind::Changed,
            Asked::Own => Kind::RowOrOlder,
        });
        self.state = State::Waiting;
        self.sent = 0;
        self.flush()
    }

    /// Takes what the socket has; `scratch` is a buffer to read into.
    ///
    /// # Errors
    /// The connection is gone, the server refused, or the reply is not the one asked for.
    pub fn on_ready(&mut self, script: &Script, scratch: &mut [u8]) -> anyhow::Result<Outcome> {
        self.flush()?;
        let mut outcome = Outcome::Pending;
        loop {
            match self.stream.read(scratch) {
                Ok(0) => bail!("connection closed while {}", self.doing()),
                Ok(count) => {
                    let bytes = scratch.get(..count).unwrap_or_default();
                    let news = self.on_bytes(script, bytes)?;
                    if news != Outcome::Pending {
                        outcome = news;
                    }
                    // Edge-triggered.
                    if !self.stream.may_have_more(count, scratch.len()) {
                        return Ok(outcome);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(outcome),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot read while {}", self.doing()));
                }
            }
        }
    }

    fn doing(&self) -> &'static str {
        match self.state {
            State::Login(_) => "logging in",
            State::Preparing => "preparing",
            State::Idle => "idle",
            State::Waiting => "waiting for a reply",
        }
    }

    fn on_bytes(&mut self, script: &Script, bytes: &[u8]) -> anyhow::Result<Outcome> {
        let (row, done): (&[u8], _) = match self.state {
            State::Login(_) => return self.on_login_bytes(script, bytes),
            State::Idle => bail!("unexpected bytes: {} after the reply", bytes.len()),
            State::Preparing => (&[], Outcome::Ready),
            State::Waiting if self.row.is_empty() => (&script.row, Outcome::Answered),
            State::Waiting => (&self.row, Outcome::Answered),
        };
        match self.checker.feed(bytes, row)? {
            Progress::More => Ok(Outcome::Pending),
            Progress::Done(used) if used == bytes.len() => {
                self.state = State::Idle;
                Ok(done)
            }
            Progress::Done(used) => {
                bail!("unexpected bytes: {} after the reply", bytes.len() - used)
            }
        }
    }

    fn on_login_bytes(&mut self, script: &Script, bytes: &[u8]) -> anyhow::Result<Outcome> {
        self.partial.extend_from_slice(bytes);
        while let Some((seq, range)) = first_frame(&self.partial) {
            let State::Login(login) = &mut self.state else { break };
            let end = range.end;
            let packet = (seq, self.partial.get(range).unwrap_or_default());
            self.request.clear();
            self.sent = 0;
            let step =
                login.on_packet(&script.account, script.profile, packet, &mut self.request)?;
            self.partial.drain(..end);
            self.flush()?;
            match step {
                Step::Continue => {}
                _ if !self.partial.is_empty() => {
                    bail!("unexpected bytes: {} in the login", self.partial.len())
                }
                Step::Done => return self.after_login(script),
                Step::StartTls(inside) => self.start_tls(script, inside)?,
            }
        }
        Ok(Outcome::Pending)
    }

    fn start_tls(&mut self, script: &Script, inside: Vec<u8>) -> anyhow::Result<()> {
        if self.sent < self.request.len() {
            bail!("the socket does not take {} bytes", self.request.len());
        }
        let config = script.tls.as_ref().context("no TLS is asked for")?;
        self.stream.start_client(config)?;
        self.request = inside;
        self.sent = 0;
        self.flush()
    }

    fn after_login(&mut self, script: &Script) -> anyhow::Result<Outcome> {
        self.partial = Vec::new();
        if script.encoding == Encoding::Text {
            self.state = State::Idle;
            return Ok(Outcome::Ready);
        }
        let mut payload = vec![COM_STMT_PREPARE];
        payload.extend(script.sql("?").as_bytes());
        self.request.clear();
        put_frame(&mut self.request, 0, &payload)?;
        self.sent = 0;
        self.checker.begin(Kind::Prepared);
        self.state = State::Preparing;
        self.flush()?;
        Ok(Outcome::Pending)
    }

    fn build_request(&mut self, script: &Script) -> anyhow::Result<()> {
        let id = match script.value {
            Value::Small | Value::Bytes(_) if self.asked => return Ok(()),
            Value::Small | Value::Bytes(_) => 4711,
            Value::RowOf(rows) | Value::RowOrOwn(rows) => {
                self.last = script.next(self.last, self.random());
                match self.last {
                    Asked::Row => {
                        let id = self.random() % rows.max(1) + 1;
                        self.row = Answers::row(script.encoding, &table_value(id));
                        id
                    }
                    Asked::Change => return self.build_change(script, rows + self.own),
                    // As it was written.
                    Asked::Own => rows + self.own,
                }
            }
        };
        let mut payload = Vec::with_capacity(64);
        match script.encoding {
            Encoding::Text => {
                payload.push(COM_QUERY);
                payload.extend(script.sql(&id.to_string()).as_bytes());
            }
            Encoding::Binary => {
                payload.push(COM_STMT_EXECUTE);
                payload.extend(self.checker.statement().to_le_bytes());
                // No cursor; one iteration; no NULL; types follow; one signed LONGLONG.
                payload.extend([0, 1, 0, 0, 0, 0, 1, LONGLONG, 0]);
                payload.extend(u64::from(id).to_le_bytes());
            }
        }
        self.request.clear();
        put_frame(&mut self.request, 0, &payload)?;
        self.asked = true;
        Ok(())
    }

    /// Gives row `id` a value that none has had.
    fn build_change(&mut self, script: &Script, id: u32) -> anyhow::Result<()> {
        let value = table_value(CHANGES.fetch_add(1, Ordering::Relaxed));
        let mut payload = vec![COM_QUERY];
        payload.extend(b"UPDATE sbtest1 SET c='");
        payload.extend(&value);
        payload.extend(format!("' WHERE id={id}").as_bytes());
        self.row = Answers::row(script.encoding, &value);
        self.request.clear();
        put_frame(&mut self.request, 0, &payload)?;
        Ok(())
    }

    fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.push().with_context(|| format!("cannot send while {}", self.doing()))?;
        loop {
            let rest = self.request.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            match self.stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
                {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot send while {}", self.doing()));
                }
            }
        }
    }
}

/// Of all clients of this process: behind every id there is.
static CHANGES: AtomicU32 = AtomicU32::new(1_000_000);
/// The packet of COM_QUIT.
const QUIT: [u8; 5] = [1, 0, 0, 0, 1];
const COM_QUERY: u8 = 0x03;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const LONGLONG: u8 = 0x08;
