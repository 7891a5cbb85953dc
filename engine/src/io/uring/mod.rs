//! The io_uring driver: one ring per worker thread, one system call a turn.
//!
//! Purpose: the fewest kernel operations and wake-ups per request.
//! Never: a system call per operation in the steady state, or memory the kernel may still touch freed.
//!
//! Calls of the [`Driver`] only note what is wanted and mark the connection dirty. A turn looks at
//! each dirty connection once, turns wants into submissions, enters the kernel once, takes all
//! completions, and settles the sends (see `send`). Minimum kernel: 5.19; each operation states its
//! own.

mod buf_ring;
mod conn;
mod lifecycle;
mod probe;
mod recv;
mod ring;
mod send;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::CancelBuilder;
use io_uring::{opcode, types};

use crate::base::{Address, Key, Slab, Time};
use crate::io::buf::{Chunk, Pool};
use crate::io::driver::{
    CloseMode, ConnId, Driver, DriverStats, EndReason, Event, RecvMode, Token,
};
use crate::io::options::DriverOptions;
use crate::io::out::Out;
use crate::io::socket::{Kind, Leaving, Socket};
use crate::io::sys::RawAddress;
use crate::io::timer::Timers;
use crate::io::wake::Waker;
use crate::io::{clock, sys};

use buf_ring::BufRing;
use conn::{Closing, Conn, Op, Phase, Send, decode, user_data};
use ring::Ring;

pub use probe::{Features, Unavailable, probe_uring};

/// The driver on io_uring. Belongs to the thread that made it.
pub struct Uring {
    // Dropped first: afterwards the kernel touches neither buffers nor the slots' memory.
    ring: Ring,
    buf_ring: BufRing,
    pool: Pool,
    features: Features,
    conns: Slab<Conn>,
    listeners: Slab<Listener>,
    out: Out,
    timers: Timers<Due>,
    /// Connections with something to start or cancel.
    dirty: Vec<Key>,
    /// The list of the turn at work; swapped with `dirty`.
    working: Vec<Key>,
    /// Connections whose attempt to send is part of the current submission.
    trials: Vec<Key>,
    /// A connection of `trials` sends its last bytes: its FIN follows, or it leaves, as soon as they
    /// are settled.
    finishing: bool,
    /// Connections that wait for small buffers.
    starved: VecDeque<Key>,
    /// Listeners to arm.
    accepts: Vec<Key>,
    /// Listeners whose accept is to be cancelled.
    stops: Vec<Key>,
    connects: Vec<(Key, RawAddress)>,
    /// Where connects to unix sockets go, until they are over: a full backlog does not keep them.
    local_connects: HashMap<Key, RawAddress>,
    /// Connections that failed before the kernel saw them.
    failed: Vec<(Key, EndReason)>,
    waker: Waker,
    /// What the eventfd is read into; boxed because the kernel has its address.
    wake_count: Box<u64>,
    wake_armed: bool,
    now: Time,
    starvations: u64,
    turns: u64,
}

struct Listener {
    socket: OwnedFd,
    token: Token,
    armed: bool,
    stopped: bool,
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

impl Uring {
    /// Makes a ring for the calling thread.
    ///
    /// # Errors
    /// Why io_uring cannot be used here; epoll can.
    pub fn new(options: &DriverOptions) -> Result<Self, Unavailable> {
        let pool = Pool::new(options.buffers)?;
        let (io, features) = probe::build(options.entries, options.allowed)?;
        let buf_ring = BufRing::register(&io, options.buffers.small_count)
            .map_err(|_einval| Unavailable::TooOld("buffer rings (IORING_REGISTER_PBUF_RING)"))?;
        Ok(Self {
            ring: Ring::new(io, features),
            buf_ring,
            pool,
            features,
            conns: Slab::default(),
            listeners: Slab::default(),
            out: Out::default(),
            timers: Timers::default(),
            dirty: Vec::new(),
            working: Vec::new(),
            trials: Vec::new(),
            finishing: false,
            starved: VecDeque::new(),
            accepts: Vec::new(),
            stops: Vec::new(),
            connects: Vec::new(),
            local_connects: HashMap::new(),
            failed: Vec::new(),
            waker: Waker::with_eventfd()?,
            wake_count: Box::new(0),
            wake_armed: false,
            now: clock::now(),
            starvations: 0,
            turns: 0,
        })
    }

    /// What the ring uses.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Puts a connection on the list for the next look.
    fn mark_dirty(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(key);
        }
    }

    /// The connection, unless the worker has closed it.
    fn open_mut(&mut self, key: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(key).filter(|conn| conn.closing == Closing::No)
    }

    /// Turns wants into submissions.
    fn prepare(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.buf_ring.refill(&self.pool);
        self.arm_wake()?;
        while let Some(key) = self.accepts.pop() {
            self.arm_accept(key)?;
        }
        while let Some(key) = self.stops.pop() {
            self.cancel(user_data(Op::Accept, key))?;
        }
        while let Some((key, address)) = self.connects.pop() {
            self.push_connect(key, address)?;
        }
        while let Some((key, reason)) = self.failed.pop() {
            self.end(key, reason, events);
        }
        self.revive_starved()?;
        std::mem::swap(&mut self.dirty, &mut self.working);
        let mut working = std::mem::take(&mut self.working);
        for key in working.drain(..) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.dirty = false;
            if conn.closing != Closing::No {
                self.update_close(key)?;
                if self.conns.get(key).is_none_or(|conn| conn.closing == Closing::Now) {
                    continue;
                }
            }
            self.update_send(key)?;
            self.update_recv(key)?;
            self.update_leave(key, events);
        }
        self.working = working;
        Ok(())
    }

    /// Works off completions.
    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let mut cqes = std::mem::take(&mut self.ring.cqes);
        for cqe in cqes.drain(..) {
            let (op, key) = decode(cqe.user_data);
            match op {
                Op::Recv => self.on_recv(key, cqe, events),
                Op::Trial => self.on_trial(key, cqe),
                Op::Send => self.on_send(key, cqe, events),
                Op::Accept => self.on_accept(key, cqe, events),
                Op::Connect => self.on_connect(key, cqe, events),
                Op::Wake => {
                    self.wake_armed = false;
                    if self.waker.take() {
                        events.push(Event::Woken);
                    }
                }
                Op::Ignored => {}
            }
        }
        self.ring.cqes = cqes;
    }

    /// Reads the eventfd. Minimum kernel: 5.6.
    fn arm_wake(&mut self) -> io::Result<()> {
        if self.wake_armed {
            return Ok(());
        }
        let Some(eventfd) = self.waker.eventfd() else { return Ok(()) };
        let target = std::ptr::from_mut(&mut *self.wake_count).cast();
        let entry = opcode::Read::new(types::Fd(eventfd.as_raw_fd()), target, 8)
            .build()
            .user_data(user_data(Op::Wake, Key { index: 0, generation: 0 }));
        self.ring.make_room()?;
        self.wake_armed = true;
        // SAFETY: the box lives until the driver is dropped, which waits for this operation.
        unsafe { self.ring.push(&entry) }
    }

    /// Operations whose completions the kernel still owes.
    fn operations(&self) -> usize {
        let conns: usize = self.conns.iter().map(|(_, conn)| usize::from(conn.ops)).sum();
        let unsent = self.connects.len();
        conns - unsent + usize::from(self.wake_armed)
    }

    /// Makes the kernel let go of all memory. `false` when it did not within a second or so.
    fn quiesce(&mut self) -> bool {
        let ignored = user_data(Op::Ignored, Key { index: 0, generation: 0 });
        let mut events = Vec::new();
        for _ in 0..10 {
            self.dispatch(&mut events);
            self.settle(&mut events);
            if self.operations() == 0 {
                return true;
            }
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(ignored);
            // SAFETY: the operation names no memory.
            let push = |ring: &mut Ring| unsafe { ring.push(&cancel) };
            let wait = Duration::from_millis(100);
            let entered = self.ring.make_room().and_then(|()| push(&mut self.ring));
            if entered.and_then(|()| self.ring.enter(1, Some(wait))).is_err() {
                return false;
            }
        }
        false
    }
}

impl Driver for Uring {
    type Listener = OwnedFd;

    fn listen(&mut self, listener: OwnedFd, token: Token) -> io::Result<()> {
        // The ring polls before it accepts; TCP_NODELAY is inherited by accepted sockets.
        sys::with_stream(listener.as_fd(), |socket| socket.set_nonblocking(false))?;
        sys::send_at_once(listener.as_fd())?;
        let listener = Listener { socket: listener, token, armed: false, stopped: false };
        self.accepts.extend(self.listeners.insert(listener));
        Ok(())
    }

    fn stop_listening(&mut self) {
        let keys: Vec<Key> = self.listeners.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(listener) = self.listeners.get_mut(key) else { continue };
            if listener.armed {
                // The operation holds the socket open until its completion.
                listener.stopped = true;
                self.stops.push(key);
            } else {
                self.listeners.remove(key);
            }
        }
    }

    fn connect(&mut self, address: &Address, token: Token, deadline: Time) -> ConnId {
        self.start_connect(address, token, deadline)
    }

    fn set_token(&mut self, conn: ConnId, token: Token) {
        if let Some(conn) = self.open_mut(conn) {
            conn.token = token;
        }
    }

    fn peer_address(&self, conn: ConnId) -> Option<SocketAddr> {
        let conn = self.conns.get(conn).filter(|conn| conn.fd >= 0)?;
        sys::with_stream(conn.socket(), |stream| stream.peer_addr().ok())
    }

    fn local_address(&self, conn: ConnId) -> Option<SocketAddr> {
        let conn = self.conns.get(conn).filter(|conn| conn.fd >= 0)?;
        sys::with_stream(conn.socket(), |stream| stream.local_addr().ok())
    }

    fn set_recv(&mut self, conn: ConnId, mode: RecvMode) {
        let key = conn;
        if let Some(conn) = self.open_mut(key)
            && conn.desired != mode
        {
            conn.desired = mode;
            self.mark_dirty(key);
        }
    }

    fn send(&mut self, conn: ConnId, chunk: Chunk) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.accepts_sends()) else {
            return;
        };
        if conn.send == Send::Idle {
            self.out.push_chunk(&mut conn.out, chunk);
            self.mark_dirty(key);
        } else {
            self.out.push_chunk_blocked(&mut conn.out, chunk);
        }
    }

    fn send_copy(&mut self, conn: ConnId, bytes: &[u8]) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.accepts_sends()) else {
            return;
        };
        if conn.send == Send::Idle {
            self.out.push_copy(&mut conn.out, bytes);
            self.mark_dirty(key);
        } else {
            self.out.push_spilled(&mut conn.out, bytes);
        }
    }

    fn send_owned(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let key = conn;
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.accepts_sends()) else {
            return;
        };
        self.out.push_owned(&mut conn.out, bytes);
        if conn.send == Send::Idle {
            self.mark_dirty(key);
        }
    }

    fn unsent_bytes(&self, conn: ConnId) -> usize {
        let conn = self.conns.get(conn).filter(|conn| conn.closing == Closing::No);
        conn.map_or(0, |conn| conn.out.bytes())
    }

    fn close(&mut self, conn: ConnId, mode: CloseMode) {
        let key = conn;
        let now = self.now;
        let Some(conn) = self.open_mut(key) else { return };
        let old = conn.timer.take();
        conn.leaving = Leaving::No;
        conn.closing = match mode {
            CloseMode::Now => Closing::Now,
            CloseMode::Flush(_) => Closing::Flush,
        };
        if let Some(old) = old {
            self.timers.cancel(old);
        }
        if let CloseMode::Flush(limit) = mode {
            let timer = self.timers.add(now + limit, Due::Conn(key));
            if let Some(conn) = self.conns.get_mut(key) {
                conn.timer = timer;
            }
        }
        self.mark_dirty(key);
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
        Some(self.insert(Conn::new(socket.into_raw_fd(), Phase::Open, token)))
    }

    fn turn(&mut self, deadline: Time, events: &mut Vec<Event>) -> io::Result<()> {
        self.turns += 1;
        loop {
            self.prepare(events)?;
            let until = deadline.min(self.timers.first());
            // The attempts of this submission return buffers that starved connections wait for, or
            // let a connection go on to its FIN: neither must wait for the next event.
            let follows = self.finishing || !self.starved.is_empty() && !self.trials.is_empty();
            let want = u32::from(events.is_empty() && until > self.now && !follows);
            let timeout = (until != Time::NEVER).then(|| until - self.now);
            self.ring.enter(want, timeout)?;
            self.dispatch(events);
            self.settle(events);
            self.now = clock::now();
            self.run_timers()?;
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
        self.conns.iter().all(|(_, conn)| conn.closing == Closing::No || conn.out.bytes() == 0)
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

impl Drop for Uring {
    fn drop(&mut self) {
        // A ring is torn down asynchronously: memory may be freed only once the kernel let go.
        assert!(self.quiesce(), "the kernel kept operations of a ring that was cancelled");
        let unregistered = self.ring.io.submitter().unregister_buf_ring(buf_ring::GROUP);
        debug_assert!(unregistered.is_ok(), "{unregistered:?}");
        for (_, conn) in self.conns.iter() {
            if conn.fd >= 0 {
                sys::close(conn.fd);
            }
        }
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("features", &self.features)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
