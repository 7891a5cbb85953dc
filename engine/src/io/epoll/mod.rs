//! The epoll driver: the same contract where io_uring is forbidden or too old.
//!
//! Purpose: readiness turned into the completions that workers expect.
//! Never: block outside the one wait of a turn. Minimum kernel: 4.5; timeouts in nanoseconds 5.11.
//!
//! Connections are watched edge-triggered, so watching costs one call per connection, not per read.
//! What is ready and wanted stands on a list; a connection that could deliver more than its share in
//! one turn stays on it.

mod conn;
mod flow;
mod poller;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::base::{Address, Key, Slab, Time};
use crate::io::buf::{Chunk, Pool};
use crate::io::driver::{
    CloseMode, ConnId, Driver, DriverStats, EndReason, Event, RecvMode, Token,
};
use crate::io::options::DriverOptions;
use crate::io::out::Out;
use crate::io::socket::{Kind, Leaving, Socket};
use crate::io::sys::{BACKLOG_PAUSE, RawAddress};
use crate::io::timer::Timers;
use crate::io::wake::Waker;
use crate::io::{clock, sys};

use conn::{Conn, Phase, Source};
use poller::{Poller, Ready};

/// How long accepting pauses after it failed, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections taken from one listener in one turn: established ones get their share.
const ACCEPTS_MAX: usize = 64;

/// The driver on epoll. Belongs to the thread that made it.
pub struct Epoll {
    poller: Poller,
    pool: Pool,
    conns: Slab<Conn>,
    listeners: Slab<Listener>,
    out: Out,
    timers: Timers<Due>,
    /// Connections with bytes to send or a close to advance.
    dirty: Vec<Key>,
    /// The list of the turn at work; swapped with `dirty`.
    working: Vec<Key>,
    /// Connections to read from.
    ready: VecDeque<Key>,
    /// Connections that wait for small buffers.
    starved: VecDeque<Key>,
    /// Connections that failed before epoll saw them.
    failed: Vec<(Key, EndReason)>,
    /// Connections that found a full backlog, and where they go.
    crowded: HashMap<Key, RawAddress>,
    polled: Vec<Ready>,
    waker: Waker,
    now: Time,
    starvations: u64,
    turns: u64,
}

struct Listener {
    socket: OwnedFd,
    token: Token,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Accept again.
    Accept(Key),
    /// Connecting or flushing took too long.
    Conn(Key),
    /// Connect again.
    Connect(Key),
}

impl Epoll {
    /// Makes an epoll instance for the calling thread.
    ///
    /// # Errors
    /// The operating system's, when it has no descriptors or memory left.
    pub fn new(options: &DriverOptions) -> io::Result<Self> {
        let poller = Poller::new(options.entries)?;
        let waker = Waker::with_eventfd()?;
        if let Some(eventfd) = waker.eventfd() {
            poller.add_level(eventfd, Source::Wake.encode())?;
        }
        Ok(Self {
            poller,
            pool: Pool::new(options.buffers)?,
            conns: Slab::default(),
            listeners: Slab::default(),
            out: Out::default(),
            timers: Timers::default(),
            dirty: Vec::new(),
            working: Vec::new(),
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            failed: Vec::new(),
            crowded: HashMap::new(),
            polled: Vec::new(),
            waker,
            now: clock::now(),
            starvations: 0,
            turns: 0,
        })
    }

    fn mark_dirty(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(key);
        }
    }

    /// Puts a connection on the list to read from, if there is and may be something to read.
    fn mark_ready(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && conn.readable
            && !conn.queued_ready
            && !conn.queued_starved
            && conn.wanted() != RecvMode::Paused
        {
            conn.queued_ready = true;
            self.ready.push_back(key);
        }
    }

    fn accept(&mut self, key: Key, events: &mut Vec<Event>) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listeners.get(key) else { return };
            let token = listener.token;
            // TCP_NODELAY is inherited from the listener.
            match sys::accept(listener.socket.as_fd()) {
                Ok(socket) => {
                    let conn = self.insert(Conn::new(Some(socket), Phase::Open, Token(0)));
                    events.push(Event::Accepted { listener: token, conn });
                    self.watch(conn, false);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return,
                    // The client gave up before we got to it.
                    Some(libc::ECONNABORTED | libc::EINTR) => {}
                    errno => {
                        let errno = errno.unwrap_or(0);
                        events.push(Event::AcceptFailed { listener: token, errno });
                        return self.pause_accept(key);
                    }
                },
            }
        }
    }

    fn pause_accept(&mut self, key: Key) {
        let Some(listener) = self.listeners.get(key) else { return };
        if self.poller.remove(listener.socket.as_fd()).is_ok() {
            self.timers.add(self.now + ACCEPT_PAUSE, Due::Accept(key));
        }
    }

    fn resume_accept(&mut self, key: Key) {
        let Some(listener) = self.listeners.get(key) else { return };
        let source = Source::Listener(key).encode();
        if self.poller.add_level(listener.socket.as_fd(), source).is_err() {
            self.timers.add(self.now + ACCEPT_PAUSE, Due::Accept(key));
        }
    }

    fn start_connect(&mut self, key: Key, address: RawAddress) {
        let Some(socket) = self.conns.get(key).and_then(|conn| conn.socket.as_ref()) else {
            return;
        };
        match sys::start_connect(socket.as_fd(), &address) {
            Ok(()) => self.watch(key, true),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                self.crowded.insert(key, address);
                self.timers.add(self.now + BACKLOG_PAUSE, Due::Connect(key));
            }
            Err(error) => self.fail_connect(key, &error),
        }
    }

    fn fail_connect(&mut self, key: Key, error: &io::Error) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.is_open() {
            // Closed meanwhile: there is nobody to tell.
            return self.remove(key);
        }
        if let Some(timer) = conn.timer.take() {
            self.timers.cancel(timer);
        }
        self.out.clear(&mut conn.out);
        let reason = sys::connect_reason(error.raw_os_error().unwrap_or(0));
        self.failed.push((key, reason));
    }

    /// Registers a connection; it ends when that fails.
    fn watch(&mut self, key: Key, write: bool) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.watches_write = write;
        let Some(socket) = conn.socket.as_ref() else { return };
        if let Err(error) = self.poller.add_edge(socket.as_fd(), Source::Conn(key).encode(), write)
        {
            self.failed.push((key, EndReason::Os(error.raw_os_error().unwrap_or(0))));
        }
    }

    fn insert(&mut self, conn: Conn) -> Key {
        let key = self.conns.insert(conn);
        assert!(key.is_some(), "more connections than descriptors can exist");
        key.unwrap_or(Key { index: 0, generation: 0 })
    }

    fn open_mut(&mut self, key: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(key).filter(|conn| conn.is_open())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let mut polled = std::mem::take(&mut self.polled);
        for ready in polled.drain(..) {
            match Source::decode(ready.data) {
                Source::Conn(key) => self.on_ready(key, ready, events),
                Source::Listener(key) => self.accept(key, events),
                Source::Wake => {
                    // Readable, so it does not block; the event counts even if reading failed.
                    drop(self.waker.clear_eventfd());
                    if self.waker.take() {
                        events.push(Event::Woken);
                    }
                }
            }
        }
        self.polled = polled;
    }
}

impl Driver for Epoll {
    type Listener = OwnedFd;

    fn listen(&mut self, listener: OwnedFd, token: Token) -> io::Result<()> {
        sys::with_stream(listener.as_fd(), |socket| socket.set_nonblocking(true))?;
        sys::send_at_once(listener.as_fd())?;
        let listener = Listener { socket: listener, token };
        let Some(key) = self.listeners.insert(listener) else { return Ok(()) };
        let source = Source::Listener(key).encode();
        match self.listeners.get(key) {
            Some(listener) => self.poller.add_level(listener.socket.as_fd(), source),
            None => Ok(()),
        }
    }

    fn stop_listening(&mut self) {
        self.listeners = Slab::default();
    }

    fn connect(&mut self, address: &Address, token: Token, deadline: Time) -> ConnId {
        let (socket, raw) = match sys::connecting(address) {
            Ok((socket, raw)) => (Some(socket), Ok(raw)),
            Err(error) => (None, Err(error)),
        };
        let key = self.insert(Conn::new(socket, Phase::Connecting, token));
        let timer = self.timers.add(deadline, Due::Conn(key));
        if let Some(conn) = self.conns.get_mut(key) {
            conn.timer = timer;
        }
        match raw {
            Ok(raw) => self.start_connect(key, raw),
            Err(error) => self.fail_connect(key, &error),
        }
        key
    }

    fn set_token(&mut self, conn: ConnId, token: Token) {
        if let Some(conn) = self.open_mut(conn) {
            conn.token = token;
        }
    }

    fn peer_address(&self, conn: ConnId) -> Option<SocketAddr> {
        let socket = self.conns.get(conn)?.socket.as_ref()?;
        sys::with_stream(socket.as_fd(), |stream| stream.peer_addr().ok())
    }

    fn local_address(&self, conn: ConnId) -> Option<SocketAddr> {
        let socket = self.conns.get(conn)?.socket.as_ref()?;
        sys::with_stream(socket.as_fd(), |stream| stream.local_addr().ok())
    }

    fn set_recv(&mut self, conn: ConnId, mode: RecvMode) {
        let key = conn;
        if let Some(conn) = self.open_mut(key) {
            conn.desired = mode;
            self.mark_ready(key);
        }
    }

    fn send(&mut self, conn: ConnId, chunk: Chunk) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.accepts_sends()) else {
            return;
        };
        if conn.blocked {
            self.out.push_chunk_blocked(&mut conn.out, chunk);
        } else {
            self.out.push_chunk(&mut conn.out, chunk);
            self.mark_dirty(key);
        }
    }

    fn send_copy(&mut self, conn: ConnId, bytes: &[u8]) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.accepts_sends()) else {
            return;
        };
        if conn.blocked {
            self.out.push_spilled(&mut conn.out, bytes);
        } else {
            self.out.push_copy(&mut conn.out, bytes);
            self.mark_dirty(key);
        }
    }

    fn send_owned(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.accepts_sends()) else {
            return;
        };
        self.out.push_owned(&mut conn.out, bytes);
        if !conn.blocked {
            self.mark_dirty(key);
        }
    }

    fn unsent_bytes(&self, conn: ConnId) -> usize {
        let conn = self.conns.get(conn).filter(|conn| conn.is_open());
        conn.map_or(0, |conn| conn.out.bytes())
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        let key = conn;
        let now = self.now;
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
        let timer = self.timers.add(now + limit, Due::Conn(key));
        if let Some(conn) = self.conns.get_mut(key) {
            conn.timer = timer;
        }
        self.mark_dirty(key);
        self.mark_ready(key);
    }

    fn detach(&mut self, conn: ConnId) {
        let key = conn;
        if let Some(conn) = self.open_mut(key) {
            conn.leaving = Leaving::Asked;
            self.mark_dirty(key);
        }
    }

    fn adopt(&mut self, socket: Socket, token: Token) -> Option<ConnId> {
        let Kind::Os(socket) = socket.0 else { return None };
        if !sys::is_quiet(socket.as_fd()) {
            return None;
        }
        let key = self.insert(Conn::new(Some(socket), Phase::Open, token));
        self.watch(key, false);
        Some(key)
    }

    fn turn(&mut self, deadline: Time, events: &mut Vec<Event>) -> io::Result<()> {
        self.turns += 1;
        loop {
            while let Some((key, reason)) = self.failed.pop() {
                self.end(key, reason, events);
            }
            self.flush_dirty(events);
            self.revive_starved();
            let until = deadline.min(self.timers.first());
            let busy = !events.is_empty() || !self.ready.is_empty() || !self.dirty.is_empty();
            let timeout = match until {
                _ if busy => Some(Duration::ZERO),
                Time::NEVER => None,
                until => Some(until - self.now),
            };
            self.poller.wait(timeout, &mut self.polled)?;
            self.dispatch(events);
            self.read_ready(events);
            self.now = clock::now();
            self.run_timers(events);
            if !events.is_empty() || self.now >= deadline {
                return Ok(());
            }
        }
    }

    fn now(&self) -> Time {
        self.now
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

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoll").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
