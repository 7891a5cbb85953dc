//! A server that answers every query at once.
//!
//! Purpose: take the database out of the measurement: one thread, one event loop, one read and
//! one write per query, tens of thousands of connections.
//! Never: check passwords, execute anything, or allocate for a query in the steady state.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;

use crate::answers::{Answers, Encoding};
use crate::login::{Profile, TLS_WISH};
use crate::protocol::{Fields, HEADER, PAYLOAD_MAX, capability, first_frame, header};
use crate::tls::{self, Wire};

/// A responder that listens.
pub struct Responder {
    server: Server,
    address: SocketAddr,
}

impl Responder {
    /// Listens on `address`; port 0 takes any. `tls`: clients are offered TLS.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(address: SocketAddr, tls: bool) -> anyhow::Result<Self> {
        let mut listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let poll = Poll::new().context("cannot create an epoll instance")?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let tls = tls.then(tls::server).transpose()?;
        Ok(Self { server: Server::new(poll, listener, tls)?, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process ends.
    ///
    /// # Errors
    /// The kernel refuses a descriptor.
    pub fn run(mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.server.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.context("cannot wait for events")?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.server.accept()?;
                } else {
                    self.server.on_ready(event.token());
                }
            }
        }
    }
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    scratch: Vec<u8>,
    shared: Shared,
    accepted: u32,
}

/// What all connections answer with.
struct Shared {
    tls: Option<Arc<ServerConfig>>,
    answers: Answers,
    ok: Arc<[u8]>,
    unknown: Arc<[u8]>,
    too_long: Arc<[u8]>,
    no_statement: Arc<[u8]>,
}

struct Conn {
    stream: Wire,
    /// Sequence id of the answer to the login.
    login_seq: u8,
    /// Bytes of a command not yet whole.
    partial: Vec<u8>,
    /// Replies the socket did not take yet, and how much of the first it took.
    out: VecDeque<Arc<[u8]>>,
    out_at: usize,
    /// `None` until the login request has come.
    profile: Option<Profile>,
    /// Value bytes of each prepared statement.
    statements: HashMap<u32, usize>,
    statements_made: u32,
}

/// The connection is over.
struct Closed;

impl Server {
    fn new(
        poll: Poll,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
    ) -> anyhow::Result<Self> {
        let shared = Shared {
            tls,
            answers: Answers::default(),
            ok: Answers::ok(1)?.into(),
            unknown: Answers::err(1, 1047, "Unknown command")?.into(),
            too_long: Answers::err(1, 1153, "The responder takes one frame per command")?.into(),
            no_statement: Answers::err(1, 1243, "Unknown prepared statement handler")?.into(),
        };
        Ok(Self {
            poll,
            listener,
            conns: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; 64 << 10],
            shared,
            accepted: 0,
        })
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client gave up while it was queued.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("cannot accept; descriptors run out?"),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.conns.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(index), interest)?;
            self.accepted = self.accepted.wrapping_add(1);
            let mut conn = Conn::new(stream);
            let alive = conn
                .send(Answers::greeting(self.accepted, self.shared.tls.is_some())?.into())
                .is_ok();
            let entry = alive.then_some(conn);
            match self.conns.get_mut(index) {
                Some(slot) => *slot = entry,
                None => self.conns.push(entry),
            }
            if !alive {
                self.free.push(index);
            }
        }
    }

    fn on_ready(&mut self, token: Token) {
        let Some(slot) = self.conns.get_mut(token.0) else { return };
        let Some(conn) = slot else { return };
        let flushed = conn.flush();
        if flushed.and_then(|()| conn.read(&mut self.scratch, &mut self.shared)).is_err() {
            *slot = None;
            self.free.push(token.0);
        }
    }
}

impl Conn {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream: Wire::new(stream),
            login_seq: 2,
            partial: Vec::new(),
            out: VecDeque::new(),
            out_at: 0,
            profile: None,
            statements: HashMap::new(),
            statements_made: 0,
        }
    }

    fn read(&mut self, scratch: &mut [u8], shared: &mut Shared) -> Result<(), Closed> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(Closed),
                Ok(count) => {
                    self.on_bytes(scratch.get(..count).unwrap_or_default(), shared)?;
                    // epoll is edge-triggered; asking again for nothing would be a second system
                    // call.
                    if !self.stream.may_have_more(count, scratch.len()) {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Closed),
            }
        }
    }

    fn on_bytes(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<(), Closed> {
        if self.partial.is_empty() {
            let used = self.on_frames(bytes, shared)?;
            self.partial.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.on_frames(&partial, shared)?;
        partial.drain(..used);
        self.partial = partial;
        Ok(())
    }

    /// Answers every whole frame; returns the bytes they took.
    fn on_frames(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<usize, Closed> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some((_, range)) = first_frame(rest) else {
                let length = rest.first_chunk::<HEADER>().map_or(0, |bytes| header(*bytes).0);
                if length == PAYLOAD_MAX {
                    self.send(Arc::clone(&shared.too_long))?;
                    return Err(Closed);
                }
                return Ok(used);
            };
            used += range.end;
            let payload = rest.get(range).unwrap_or_default();
            match self.profile {
                None if payload.len() == TLS_WISH => {
                    let tls = shared.tls.as_ref().ok_or(Closed)?;
                    self.login_seq = 3;
                    let early = bytes.get(used..).unwrap_or_default();
                    self.stream.start_server(tls, early).map_err(|_| Closed)?;
                    return Ok(bytes.len());
                }
                None => self.on_login(payload)?,
                Some(profile) => self.on_command(payload, profile, shared)?,
            }
        }
    }

    fn on_login(&mut self, payload: &[u8]) -> Result<(), Closed> {
        let capabilities = Fields(payload).u32().ok_or(Closed)?;
        let modern = capabilities & capability::DEPRECATE_EOF != 0;
        self.profile = Some(if modern { Profile::Modern } else { Profile::Classic });
        self.send(Answers::ok(self.login_seq).map_err(|_| Closed)?.into())
    }

    fn on_command(
        &mut self,
        payload: &[u8],
        profile: Profile,
        shared: &mut Shared,
    ) -> Result<(), Closed> {
        let Some((command, body)) = payload.split_first() else {
            return self.send(Arc::clone(&shared.unknown));
        };
        let reply = match *command {
            COM_QUIT => return Err(Closed),
            COM_QUERY if wants_ok(body) => Some(Arc::clone(&shared.ok)),
            COM_QUERY => {
                let size = size_wanted(body).unwrap_or(Answers::small(Encoding::Text));
                shared.answers.cached(Encoding::Text, profile, size)
            }
            COM_STMT_EXECUTE => match Fields(body).u32().and_then(|id| self.statements.get(&id)) {
                Some(size) => shared.answers.cached(Encoding::Binary, profile, *size),
                None => Some(Arc::clone(&shared.no_statement)),
            },
            COM_STMT_PREPARE => {
                self.statements_made = self.statements_made.wrapping_add(1);
                let size = size_wanted(body).unwrap_or(Answers::small(Encoding::Binary));
                self.statements.insert(self.statements_made, size);
                let params = body.iter().filter(|byte| **byte == b'?').count();
                let params = u16::try_from(params).map_err(|_| Closed)?;
                Answers::prepared(profile, self.statements_made, params).ok().map(Into::into)
            }
            COM_STMT_CLOSE => {
                let id = Fields(body).u32().ok_or(Closed)?;
                self.statements.remove(&id);
                return Ok(());
            }
            COM_INIT_DB | COM_PING | COM_RESET_CONNECTION | COM_STMT_RESET => {
                Some(Arc::clone(&shared.ok))
            }
            _ => Some(Arc::clone(&shared.unknown)),
        };
        self.send(reply.unwrap_or_else(|| Arc::clone(&shared.too_long)))
    }

    fn send(&mut self, reply: Arc<[u8]>) -> Result<(), Closed> {
        if self.out.len() >= OUT_MAX {
            return Err(Closed);
        }
        self.out.push_back(reply);
        if self.out.len() == 1 {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Closed> {
        self.stream.push().map_err(|_| Closed)?;
        while let Some(reply) = self.out.front() {
            let rest = reply.get(self.out_at..).unwrap_or_default();
            let left = rest.len();
            match self.stream.write(rest) {
                Ok(count) if count == left => {
                    self.out.pop_front();
                    self.out_at = 0;
                }
                Ok(count) => self.out_at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Closed),
            }
        }
        Ok(())
    }
}

/// Statements without rows: what proxies and monitors send besides queries.
fn wants_ok(sql: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] =
        [b"SET ", b"USE ", b"BEGIN", b"START ", b"COMMIT", b"ROLLBACK", b"KILL "];
    WORDS
        .iter()
        .any(|word| sql.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

/// The number after `size `, anywhere in the text.
fn size_wanted(sql: &[u8]) -> Option<usize> {
    const WORD: &[u8] = b"size ";
    let at = sql.windows(WORD.len()).position(|window| window == WORD)?;
    let digits = sql.get(at + WORD.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// The listener's token; connections count from 0.
const LISTENER: Token = Token(usize::MAX >> 1);
/// Replies queued for a client that does not read, before it is dropped.
const OUT_MAX: usize = 65_536;

const COM_QUIT: u8 = 0x01;
const COM_INIT_DB: u8 = 0x02;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0e;
const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;
const COM_STMT_RESET: u8 = 0x1a;
const COM_RESET_CONNECTION: u8 = 0x1f;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_the_text() {
        assert_eq!(size_wanted(b"SELECT c /* size 16384 */"), Some(16384));
        assert_eq!(size_wanted(b"SELECT size 7"), Some(7));
        assert_eq!(size_wanted(b"SELECT c FROM t"), None);
        assert_eq!(size_wanted(b"size "), None);
        assert_eq!(size_wanted(b"size 99999999999999999999999"), None);
    }

    #[test]
    fn statements_without_rows_are_known() {
        assert!(wants_ok(b"set names utf8mb4"));
        assert!(wants_ok(b"COMMIT"));
        assert!(!wants_ok(b"SELECT 1"));
        assert!(!wants_ok(b"SE"));
    }
}
