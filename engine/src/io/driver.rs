//! The completion contract between a worker and the kernel.
//!
//! Purpose: the one interface all drivers (`uring`, `epoll`, `fake`) implement and workers stand on.
//! Never: know about MySQL, sessions or policy.
//!
//! # The contract
//! - **One thread.** A driver lives on the thread that made it; only [`Waker`]s leave it.
//! - **Nothing happens between turns.** Calls queue work; [`Driver::turn`] submits all of it, waits
//!   for the first event or the deadline, and appends every event there is. A worker handles them
//!   all, then calls `turn` again.
//! - **Connections are keys.** A [`ConnId`] is valid until the worker calls [`Driver::close`]; after
//!   that no event for it is delivered and calls with it do nothing. A driver never closes a
//!   connection by itself: it reports [`Event::Ended`] once and waits for `close`.
//! - **Receiving is a mode, not a call** ([`RecvMode`]). It starts `Paused`. A paused connection may
//!   still deliver what the kernel had already taken in (overshoot); callers count it.
//! - **Bytes arrive in order**, in [`Chunk`]s of pool memory that the worker may edit in place, split,
//!   drop, or pass to [`Driver::send`]. Chunk memory returns to the pool when the last piece drops.
//! - **Sending is a queue.** `send` appends; the order of calls is the order of bytes, per
//!   connection. Everything queued in a turn leaves in one system call where possible. If the
//!   socket takes it all, nothing more is heard of it. If not, [`Driver::unsent_bytes`] is above zero
//!   after the turn, the driver copies what still lies in *small* receive buffers to memory of its
//!   own (so a slow reader never drains the receive buffers), and reports [`Event::Drained`] once
//!   the queue is empty. The queue's bound is the worker's duty: it stops receiving from the other
//!   side.
//! - **End of stream comes after the data**: `Ended` is the last event of the receiving side. What
//!   is queued for sending is still sent until `close`. When a send fails after `Ended`, `Drained`
//!   tells that nothing waits any more.
//! - **A connection can change drivers** ([`Driver::detach`], [`Driver::adopt`]) while nobody says
//!   anything on it: it goes only when nothing of it is in flight, and not when anything has arrived.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::base::{Address, Key, Time};
use crate::io::buf::Chunk;
use crate::io::socket::Socket;
use crate::io::wake::Waker;

/// A connection of a driver.
pub type ConnId = Key;

/// What the owner wants to be called in events: opaque to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// How a connection receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvMode {
    /// Not at all: back-pressure.
    Paused,
    /// Into small shared buffers taken only when bytes arrive: queries, idle connections.
    Small,
    /// Into large buffers of the connection's own: big results and uploads. Falls back to `Small`
    /// while the worker's large buffers are used up.
    Large,
}

/// How to close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Send what is queued first, for at most this long, then FIN.
    Flush(Duration),
    /// At once; what is queued is dropped.
    Now,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer finished sending (FIN).
    Eof,
    /// The peer reset the connection, or a send found it gone.
    Reset,
    /// Nobody listens at the address.
    Refused,
    /// Connecting took longer than allowed.
    ConnectTimeout,
    /// Another error of the operating system (`errno`).
    Os(i32),
}

/// What happened during a turn.
#[derive(Debug)]
pub enum Event {
    /// A client connected to a listener.
    Accepted {
        /// The listener's token.
        listener: Token,
        /// The new connection: `Paused`, with a zero token until [`Driver::set_token`].
        conn: ConnId,
    },
    /// Accepting failed for now (for example no descriptors left: `EMFILE`). The driver tries
    /// again by itself after a short delay.
    AcceptFailed {
        /// The listener's token.
        listener: Token,
        /// The operating system's error number.
        errno: i32,
    },
    /// A connection asked for with [`Driver::connect`] is established.
    Connected {
        /// The connection's token.
        token: Token,
    },
    /// Bytes arrived.
    Received {
        /// The connection's token.
        token: Token,
        /// The bytes; never empty.
        chunk: Chunk,
    },
    /// A send queue that had not been taken at once is empty now.
    Drained {
        /// The connection's token.
        token: Token,
    },
    /// Nothing more will be received, or connecting failed. Reported once.
    Ended {
        /// The connection's token.
        token: Token,
        /// Why.
        reason: EndReason,
    },
    /// What came of [`Driver::detach`].
    Detached {
        /// The connection's token.
        token: Token,
        /// The connection, which is the driver's no longer: its id is stale. `None` if it is not
        /// clean, because bytes or its end have arrived: it stays, for the worker to close.
        socket: Option<Socket>,
    },
    /// A [`Waker`] of this driver was used since the last turn.
    Woken,
}

/// What a worker asks of the kernel. See the module's contract.
pub trait Driver {
    /// What [`Driver::listen`] takes: a bound socket, or a plain address in simulation.
    type Listener;

    /// Starts accepting on a listener.
    ///
    /// # Errors
    /// The operating system's error when the listener cannot be used.
    fn listen(&mut self, listener: Self::Listener, token: Token) -> io::Result<()>;

    /// Stops accepting on every listener and closes them.
    fn stop_listening(&mut self);

    /// Opens a connection. [`Event::Connected`] or [`Event::Ended`] follows, the latter with
    /// [`EndReason::ConnectTimeout`] at `deadline`.
    fn connect(&mut self, address: &Address, token: Token, deadline: Time) -> ConnId;

    /// Changes the name a connection has in events.
    fn set_token(&mut self, conn: ConnId, token: Token);

    /// Address of the other side; `None` when it is already gone, or came through a unix socket.
    fn peer_address(&self, conn: ConnId) -> Option<SocketAddr>;

    /// Address of this side, as [`Driver::peer_address`].
    fn local_address(&self, conn: ConnId) -> Option<SocketAddr>;

    /// Changes how a connection receives.
    fn set_recv(&mut self, conn: ConnId, mode: RecvMode);

    /// Appends received memory to the send queue, without copying it.
    fn send(&mut self, conn: ConnId, chunk: Chunk);

    /// Appends a copy of `bytes` to the send queue: headers, errors, built packets.
    fn send_copy(&mut self, conn: ConnId, bytes: &[u8]);

    /// Appends memory of the caller's to the send queue, without copying it: large pieces that were
    /// made, not received. What the kernel does not take counts as spilled.
    fn send_owned(&mut self, conn: ConnId, bytes: Vec<u8>);

    /// Bytes queued and not yet taken by the kernel.
    fn unsent_bytes(&self, conn: ConnId) -> usize;

    /// Closes a connection; its id is stale at once.
    fn close(&mut self, conn: ConnId, mode: CloseMode);

    /// Gives an established connection up, for another driver to [adopt](Driver::adopt): receiving
    /// stops, and when what is queued has left and nothing of it is in flight, [`Event::Detached`]
    /// follows; unless it is closed before. Bytes that arrive meanwhile are delivered, and keep it
    /// here. Nothing is to be sent on it until then.
    fn detach(&mut self, conn: ConnId);

    /// Takes a connection that another driver of the same kind gave up: `Paused`. `None`, and it is
    /// closed, if it is not clean: bytes or its end have arrived since.
    #[must_use]
    fn adopt(&mut self, socket: Socket, token: Token) -> Option<ConnId>;

    /// Submits everything queued, waits until `deadline` or the first event, and appends events.
    /// Returns without waiting when `events` is not empty or there is something to deliver.
    ///
    /// # Errors
    /// Only when the driver itself cannot go on (the ring is broken); connections' errors are events.
    fn turn(&mut self, deadline: Time, events: &mut Vec<Event>) -> io::Result<()>;

    /// Time now. Simulated in the fake driver.
    fn now(&self) -> Time;

    /// A handle other threads use to end a turn's wait.
    fn waker(&self) -> Waker;

    /// Whether everything queued for connections that were closed has left. Some may still wait for
    /// their peer's FIN.
    fn is_flushed(&self) -> bool;

    /// Figures of the driver's own resources.
    fn stats(&self) -> DriverStats;
}

/// Resources a driver holds now, and what it did since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// Connections open, those flushing before close included.
    pub connections: usize,
    /// Small receive buffers there are.
    pub small_buffers: usize,
    /// Small receive buffers not holding bytes.
    pub small_buffers_free: usize,
    /// Large receive buffers handed out.
    pub large_buffers_used: usize,
    /// Bytes in driver-owned copies of what slow readers have not taken.
    pub spilled_bytes: usize,
    /// Times receiving stopped because no small buffer was free.
    pub starvations: u64,
    /// Turns taken.
    pub turns: u64,
}
