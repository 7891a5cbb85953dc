//! A driver, its peers, and a worker simple enough to be obviously right.

use std::collections::HashMap;
use std::time::Duration;

use super::{Harness, Peer, Read};
use crate::base::{Address, Time};
use crate::io::{
    BufferSizes, Chunk, CloseMode, ConnId, Driver, DriverStats, EndReason, Event, RecvMode, Socket,
    Token,
};

/// What the worker does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Policy {
    /// Note them and drop the chunk.
    Collect,
    /// Send them back.
    Echo,
    /// Note them and keep the chunk.
    Hold,
}

/// Turns after which a condition is given up: the wait is bounded only to fail.
const TURNS_MAX: usize = 100_000;
/// Longest wait of one turn.
const TURN: Duration = Duration::from_micros(500);

pub(in crate::io) struct World<H: Harness> {
    pub(in crate::io) h: H,
    pub(in crate::io) policy: Policy,
    /// Bytes by token.
    pub(in crate::io) got: HashMap<u64, Vec<u8>>,
    pub(in crate::io) accepted: Vec<ConnId>,
    pub(in crate::io) connected: Vec<u64>,
    pub(in crate::io) drained: Vec<u64>,
    pub(in crate::io) ended: HashMap<u64, EndReason>,
    pub(in crate::io) held: Vec<Chunk>,
    pub(in crate::io) detached: HashMap<u64, Option<Socket>>,
    pub(in crate::io) woken: usize,
    /// Connections by token; only what [`World::open`] or [`World::connect`] made.
    pub(in crate::io) conns: HashMap<u64, ConnId>,
    next_token: u64,
    /// Where the driver listens, once somebody dialled.
    pub(in crate::io) address: Option<Address>,
    events: Vec<Event>,
}

impl<H: Harness> World<H> {
    pub(in crate::io) fn new() -> Self {
        Self::with_buffers(BufferSizes::default())
    }

    pub(in crate::io) fn with_buffers(buffers: BufferSizes) -> Self {
        Self {
            h: H::new(buffers),
            policy: Policy::Collect,
            got: HashMap::new(),
            accepted: Vec::new(),
            connected: Vec::new(),
            drained: Vec::new(),
            ended: HashMap::new(),
            held: Vec::new(),
            detached: HashMap::new(),
            woken: 0,
            conns: HashMap::new(),
            next_token: 1,
            address: None,
            events: Vec::new(),
        }
    }

    pub(in crate::io) fn driver(&mut self) -> &mut H::Driver {
        self.h.driver()
    }

    pub(in crate::io) fn stats(&mut self) -> DriverStats {
        self.driver().stats()
    }

    /// A client's connection: its name, the driver's key, and the peer.
    pub(in crate::io) fn open(&mut self, mode: RecvMode) -> (Token, ConnId, Peer) {
        if self.address.is_none() {
            self.address = Some(self.h.listen(Token(1_000_000)));
        }
        let peer = self.h.dial(self.address.as_ref().unwrap());
        self.until("a client is accepted", |world| !world.accepted.is_empty());
        let conn = self.accepted.remove(0);
        let token = self.token();
        self.conns.insert(token.0, conn);
        self.driver().set_token(conn, token);
        self.driver().set_recv(conn, mode);
        (token, conn, peer)
    }

    /// A connection of the driver's own to a peer.
    pub(in crate::io) fn connect(&mut self, mode: RecvMode) -> (Token, ConnId, Peer) {
        let address = self.h.serve();
        let token = self.token();
        let conn = self.driver().connect(&address, token, Time::NEVER);
        self.driver().set_recv(conn, mode);
        self.conns.insert(token.0, conn);
        self.until("connected", |world| world.connected.contains(&token.0));
        let mut peer = None;
        self.until("the peer accepts", |world| {
            peer = peer.or_else(|| world.h.accept(&address));
            peer.is_some()
        });
        (token, conn, peer.unwrap())
    }

    pub(in crate::io) fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Takes turns until a condition holds.
    pub(in crate::io) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if holds(self) {
                return;
            }
            self.turn();
        }
        let stats = self.stats();
        panic!("gave up waiting until {what}: {stats:?}, ended {:?}", self.ended);
    }

    /// A few turns in which nothing particular needs to happen.
    pub(in crate::io) fn settle(&mut self) {
        for _ in 0..5 {
            self.turn();
        }
    }

    pub(in crate::io) fn turn(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        let deadline = self.driver().now() + TURN;
        self.driver().turn(deadline, &mut events).unwrap();
        for event in events.drain(..) {
            self.on_event(event);
        }
        self.events = events;
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Accepted { conn, .. } => self.accepted.push(conn),
            Event::AcceptFailed { errno, .. } => panic!("accepting failed: {errno}"),
            Event::Connected { token } => self.connected.push(token.0),
            Event::Drained { token } => self.drained.push(token.0),
            Event::Ended { token, reason } => {
                let before = self.ended.insert(token.0, reason);
                assert_eq!(before, None, "{token:?} ended twice");
            }
            Event::Detached { token, socket } => {
                if socket.is_some() {
                    self.conns.remove(&token.0);
                }
                let before = self.detached.insert(token.0, socket);
                assert!(before.is_none(), "{token:?} left twice");
            }
            Event::Woken => self.woken += 1,
            Event::Received { token, chunk } => {
                assert!(!chunk.is_empty(), "an empty chunk");
                assert!(!self.ended.contains_key(&token.0), "bytes after the end");
                self.on_bytes(token, chunk);
            }
        }
    }

    fn on_bytes(&mut self, token: Token, chunk: Chunk) {
        match self.policy {
            Policy::Echo => {
                let conn = self.conns[&token.0];
                self.driver().send(conn, chunk);
            }
            Policy::Collect => self.got.entry(token.0).or_default().extend_from_slice(&chunk),
            Policy::Hold => {
                self.got.entry(token.0).or_default().extend_from_slice(&chunk);
                self.held.push(chunk);
            }
        }
    }

    /// Gives a connection up; what came of it.
    pub(in crate::io) fn detach(&mut self, token: Token, conn: ConnId) -> Option<Socket> {
        self.driver().detach(conn);
        self.until("it is decided", |world| world.detached.contains_key(&token.0));
        self.detached.remove(&token.0).unwrap()
    }

    /// Bytes received so far.
    pub(in crate::io) fn received(&self, token: Token) -> &[u8] {
        self.got.get(&token.0).map_or(&[], Vec::as_slice)
    }

    /// Waits for the bytes a peer sent, no more and no fewer.
    pub(in crate::io) fn expect(&mut self, token: Token, bytes: &[u8]) {
        self.until("the bytes arrived", |world| world.received(token).len() >= bytes.len());
        assert!(self.received(token) == bytes, "other bytes arrived than were sent");
        self.got.remove(&token.0);
    }

    /// Writes all, taking turns while the peer's socket is full.
    pub(in crate::io) fn write_all(&mut self, peer: Peer, bytes: &[u8]) {
        let mut written = 0;
        self.until("the peer has written", |world| {
            written += world.h.write(peer, &bytes[written..]);
            written == bytes.len()
        });
    }

    /// Reads what the driver sent, and checks it.
    pub(in crate::io) fn read_exact(&mut self, peer: Peer, bytes: &[u8]) {
        let mut into = vec![0; bytes.len()];
        let mut filled = 0;
        self.until("the peer has read", |world| {
            while filled < into.len() {
                match world.h.read(peer, &mut into[filled..]) {
                    Read::Bytes(count) => filled += count,
                    Read::Nothing => break,
                    end @ (Read::Eof | Read::Reset) => panic!("{end:?} after {filled} bytes"),
                }
            }
            filled == into.len()
        });
        assert!(into == bytes, "the peer read other bytes than were sent");
    }

    /// Reads until the end; how the connection ended for the peer.
    pub(in crate::io) fn read_end(&mut self, peer: Peer) -> Read {
        let mut end = Read::Nothing;
        self.until("the peer sees the end", |world| {
            let mut sink = [0; 65536];
            end = world.h.read(peer, &mut sink);
            matches!(end, Read::Eof | Read::Reset)
        });
        end
    }

    /// Closes everything and checks that the driver holds nothing any more.
    pub(in crate::io) fn finish(mut self) {
        for (_, conn) in std::mem::take(&mut self.conns) {
            self.driver().close(conn, CloseMode::Now);
        }
        for conn in std::mem::take(&mut self.accepted) {
            self.driver().close(conn, CloseMode::Now);
        }
        self.held.clear();
        self.until("nothing is left", |world| {
            let stats = world.stats();
            stats.connections == 0
                && stats.small_buffers_free == stats.small_buffers
                && stats.large_buffers_used == 0
                && stats.spilled_bytes == 0
        });
    }
}
