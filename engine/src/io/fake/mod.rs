//! The simulated driver: the same contract without a kernel.
//!
//! Purpose: run workers in memory, in virtual time, under a seed that decides every cut, delay and
//! order; and, without faults, count instructions.
//! Never: touch the operating system (but for buffer memory), or behave differently for one seed.
//!
//! When nothing can happen before the deadline, virtual time jumps to it. A turn without a deadline
//! returns without events when nothing ever will.

mod flow;
mod loose;
mod net;
mod rng;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::base::{Address, Key, Slab, Time};
use crate::io::buf::{BufferSizes, Chunk, Pool};
use crate::io::driver::{CloseMode, ConnId, Driver, DriverStats, Event, RecvMode, Token};
use crate::io::out::{Out, Queue};
use crate::io::socket::{Kind, Leaving, Socket};
use crate::io::timer::{TimerId, Timers};
use crate::io::wake::Waker;

pub use net::{FakeNet, FakePeer, Faults, PeerRead};

pub(super) use loose::Loose;

use net::{Answer, Net, Notes};

/// The driver on a simulated network.
#[derive(Debug)]
pub struct Fake {
    net: Rc<RefCell<Net>>,
    /// Its place among the drivers of the network.
    place: usize,
    pool: Pool,
    conns: Slab<Conn>,
    listeners: Vec<(SocketAddr, Token)>,
    out: Out,
    timers: Timers<Due>,
    /// Connections to look at.
    ready: VecDeque<Key>,
    /// Connections that wait for small buffers.
    starved: VecDeque<Key>,
    waker: Waker,
    starvations: u64,
    turns: u64,
}

#[derive(Debug)]
struct Conn {
    link: Option<Key>,
    phase: Phase,
    desired: RecvMode,
    /// The last send was not taken whole.
    blocked: bool,
    ended: bool,
    /// A send found the connection gone.
    broken: bool,
    leaving: Leaving,
    queued: bool,
    queued_starved: bool,
    token: Token,
    out: Queue,
    timer: Option<TimerId>,
}

/// Life of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Open,
    /// Closed by the worker while connecting, with bytes to flush.
    ConnectingFlush,
    /// Closed by the worker; sending what is queued, input is thrown away.
    Flush,
    /// FIN sent; input is thrown away until the peer's FIN.
    Drain,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Something about the connection became visible.
    Look(Key),
    /// Clients arrived.
    Dialled(SocketAddr),
    /// The answer to a connect came.
    Answer(Key, Answer),
    /// Connecting or flushing took too long.
    Limit(Key),
}

impl Conn {
    const fn new(link: Option<Key>, phase: Phase, token: Token) -> Self {
        Self {
            link,
            phase,
            desired: RecvMode::Paused,
            blocked: false,
            ended: false,
            broken: false,
            leaving: Leaving::No,
            queued: false,
            queued_starved: false,
            token,
            out: Queue::new(),
            timer: None,
        }
    }

    const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Open)
    }

    const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Flush | Phase::Drain)
    }

    const fn wanted(&self) -> RecvMode {
        match self.phase {
            _ if self.ended => RecvMode::Paused,
            Phase::Connecting | Phase::ConnectingFlush => RecvMode::Paused,
            Phase::Open => self.desired,
            Phase::Flush | Phase::Drain => RecvMode::Small,
        }
    }
}

impl Fake {
    /// A driver and its network.
    ///
    /// # Errors
    /// When buffer memory cannot be had.
    pub fn new(buffers: BufferSizes, seed: u64, faults: Faults) -> io::Result<(Self, FakeNet)> {
        let net = FakeNet::new(seed, faults);
        let driver = Self::beside(&net, buffers)?;
        Ok((driver, net))
    }

    /// One more driver on a network: for a second worker.
    ///
    /// # Errors
    /// When buffer memory cannot be had.
    pub fn beside(net: &FakeNet, buffers: BufferSizes) -> io::Result<Self> {
        Ok(Self {
            place: net.net.borrow_mut().add_driver(),
            net: Rc::clone(&net.net),
            pool: Pool::new(buffers)?,
            conns: Slab::default(),
            listeners: Vec::new(),
            out: Out::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            waker: Waker::simulated(),
            starvations: 0,
            turns: 0,
        })
    }

    fn mark_ready(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.queued
        {
            conn.queued = true;
            self.ready.push_back(key);
        }
    }

    fn open_mut(&mut self, key: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(key).filter(|conn| conn.is_open())
    }

    fn insert(&mut self, conn: Conn) -> Key {
        let key = self.conns.insert(conn);
        assert!(key.is_some(), "four billion connections");
        key.unwrap_or(Key { index: 0, generation: 0 })
    }

    /// Takes over what the peers did since the last look.
    fn take_touched(&mut self) {
        let mut net = self.net.borrow_mut();
        let now = net.now;
        net.close_lost();
        let Some(notes) = net.notes.get_mut(self.place) else { return };
        let Notes { mut touched, mut dialled } = std::mem::take(notes);
        drop(net);
        for (at, key) in touched.drain(..) {
            if at <= now {
                self.mark_ready(key);
            } else {
                self.timers.add(at, Due::Look(key));
            }
        }
        for (at, address) in dialled.drain(..) {
            self.timers.add(at, Due::Dialled(address));
        }
        if let Some(notes) = self.net.borrow_mut().notes.get_mut(self.place) {
            *notes = Notes { touched, dialled };
        }
    }

    /// Jumps to the next moment at which something happens; whether there is one.
    fn jump(&mut self, deadline: Time) -> bool {
        let next = deadline.min(self.timers.first());
        if next == Time::NEVER {
            return false;
        }
        let mut net = self.net.borrow_mut();
        net.now = net.now.max(next);
        true
    }
}

impl Driver for Fake {
    type Listener = SocketAddr;

    fn listen(&mut self, listener: SocketAddr, token: Token) -> io::Result<()> {
        let mut net = self.net.borrow_mut();
        if !net.listen(listener, self.place) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.push((listener, token));
        Ok(())
    }

    fn stop_listening(&mut self) {
        let mut net = self.net.borrow_mut();
        for (address, _) in self.listeners.drain(..) {
            net.stop_listening(address, self.place);
        }
    }

    fn connect(&mut self, address: &Address, token: Token, deadline: Time) -> ConnId {
        let key = self.insert(Conn::new(None, Phase::Connecting, token));
        let timer = self.timers.add(deadline, Due::Limit(key));
        if let Some(conn) = self.conns.get_mut(key) {
            conn.timer = timer;
        }
        let mut net = self.net.borrow_mut();
        // Nothing but TCP is simulated.
        let answer = address.tcp().map_or(Answer::Refused, |address| net.answer(address));
        let at = if answer == Answer::Never { Time::NEVER } else { net.soon() };
        drop(net);
        self.timers.add(at, Due::Answer(key, answer));
        key
    }

    fn set_token(&mut self, conn: ConnId, token: Token) {
        if let Some(conn) = self.open_mut(conn) {
            conn.token = token;
        }
    }

    fn peer_address(&self, conn: ConnId) -> Option<SocketAddr> {
        let link = self.conns.get(conn)?.link?;
        self.net.borrow().links.get(link).map(|link| link.address)
    }

    /// Those the driver opened have none.
    fn local_address(&self, conn: ConnId) -> Option<SocketAddr> {
        let link = self.conns.get(conn)?.link?;
        self.net.borrow().links.get(link)?.dialled
    }

    fn set_recv(&mut self, conn: ConnId, mode: RecvMode) {
        let key = conn;
        if let Some(conn) = self.open_mut(key)
            && conn.desired != mode
        {
            conn.desired = mode;
            self.mark_ready(key);
        }
    }

    fn send(&mut self, conn: ConnId, chunk: Chunk) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.is_open() && !conn.broken)
        else {
            return;
        };
        if conn.blocked {
            self.out.push_chunk_blocked(&mut conn.out, chunk);
        } else {
            self.out.push_chunk(&mut conn.out, chunk);
            self.mark_ready(key);
        }
    }

    fn send_copy(&mut self, conn: ConnId, bytes: &[u8]) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.is_open() && !conn.broken)
        else {
            return;
        };
        if conn.blocked {
            self.out.push_spilled(&mut conn.out, bytes);
        } else {
            self.out.push_copy(&mut conn.out, bytes);
            self.mark_ready(key);
        }
    }

    fn send_owned(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.is_open() && !conn.broken)
        else {
            return;
        };
        self.out.push_owned(&mut conn.out, bytes);
        if !conn.blocked {
            self.mark_ready(key);
        }
    }

    fn unsent_bytes(&self, conn: ConnId) -> usize {
        let conn = self.conns.get(conn).filter(|conn| conn.is_open());
        conn.map_or(0, |conn| conn.out.bytes())
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        let key = conn;
        let now = self.now();
        let Some(conn) = self.open_mut(key) else { return };
        conn.leaving = Leaving::No;
        let CloseMode::Flush(limit) = mode else { return self.remove(key) };
        conn.phase = match conn.phase {
            Phase::Connecting if conn.out.bytes() == 0 => return self.remove(key),
            Phase::Connecting => Phase::ConnectingFlush,
            Phase::Open | Phase::ConnectingFlush | Phase::Flush | Phase::Drain => Phase::Flush,
        };
        if let Some(old) = conn.timer.take() {
            self.timers.cancel(old);
        }
        let timer = self.timers.add(now + limit, Due::Limit(key));
        if let Some(conn) = self.conns.get_mut(key) {
            conn.timer = timer;
        }
        self.mark_ready(key);
    }

    fn detach(&mut self, conn: ConnId) {
        let key = conn;
        if let Some(conn) = self.open_mut(key) {
            conn.leaving = Leaving::Asked;
            self.mark_ready(key);
        }
    }

    fn adopt(&mut self, socket: Socket, token: Token) -> Option<ConnId> {
        let Kind::Fake(loose) = socket.0 else { return None };
        let link = self.net.borrow_mut().take_loose(&loose)?;
        let conn = self.insert(Conn::new(Some(link), Phase::Open, token));
        self.attach(link, conn);
        Some(conn)
    }

    fn turn(&mut self, deadline: Time, events: &mut Vec<Event>) -> io::Result<()> {
        self.turns += 1;
        loop {
            self.take_touched();
            self.revive_starved();
            self.run_timers(events);
            self.serve_ready(events);
            if self.waker.take() {
                events.push(Event::Woken);
            }
            if !events.is_empty() || self.now() >= deadline {
                return Ok(());
            }
            // What peers do is noted by the network; what connections still want is on the list.
            if self.ready.is_empty() && !self.has_relief() && !self.jump(deadline) {
                return Ok(());
            }
        }
    }

    fn now(&self) -> Time {
        self.net.borrow().now
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn is_flushed(&self) -> bool {
        let flushing = |conn: &Conn| matches!(conn.phase, Phase::Flush | Phase::ConnectingFlush);
        !self.conns.iter().any(|(_, conn)| flushing(conn))
    }

    fn stats(&self) -> DriverStats {
        DriverStats {
            connections: self.conns.len(),
            small_buffers: self.pool.small_count(),
            small_buffers_free: self.pool.small_free(),
            large_buffers_used: self.pool.large_used(),
            spilled_bytes: self.out.spilled_bytes(),
            starvations: self.starvations,
            turns: self.turns,
        }
    }
}
