//! Accepting, connecting, closing.
//!
//! Purpose: sockets come and go without a system call of their own where the ring can do it, and no
//! slot is reused while the kernel may still name it.
//! Never: close a connection the worker has not closed.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::CancelBuilder;
use io_uring::{cqueue, opcode, types};

use super::conn::{Closing, Conn, Op, Phase, SLOTS_MAX, Send, user_data};
use super::ring::Cqe;
use super::{Due, Listener, Uring};
use crate::base::{Address, Key, Time};
use crate::io::socket::{Kind, Socket};
use crate::io::sys::{self, BACKLOG_PAUSE, RawAddress, connect_reason};
use crate::io::{ConnId, EndReason, Event, Token};

/// How long accepting pauses after it failed, for example for want of descriptors.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const SOCKET_FLAGS: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

impl Uring {
    /// Accepts until cancelled. Minimum kernel: 5.5, multishot 5.19. Multishot accept carries no
    /// address: ask the socket.
    pub(super) fn arm_accept(&mut self, key: Key) -> io::Result<()> {
        let multishot = self.features.multishot_accept;
        let Some(listener) = self.listeners.get_mut(key) else { return Ok(()) };
        if listener.armed || listener.stopped {
            return Ok(());
        }
        listener.armed = true;
        let fd = types::Fd(listener.socket.as_raw_fd());
        let entry = if multishot {
            opcode::AcceptMulti::new(fd).flags(SOCKET_FLAGS).build()
        } else {
            let nowhere = std::ptr::null_mut();
            opcode::Accept::new(fd, nowhere, nowhere.cast()).flags(SOCKET_FLAGS).build()
        };
        self.ring.make_room()?;
        // SAFETY: the operation names no memory.
        unsafe { self.ring.push(&entry.user_data(user_data(Op::Accept, key))) }
    }

    pub(super) fn on_accept(&mut self, key: Key, cqe: Cqe, events: &mut Vec<Event>) {
        let accepted = (cqe.result >= 0).then(|| {
            // SAFETY: the kernel made the descriptor for this completion alone.
            unsafe { OwnedFd::from_raw_fd(cqe.result) }
        });
        let Some(listener) = self.listeners.get_mut(key) else { return };
        if !cqueue::more(cqe.flags) {
            listener.armed = false;
        }
        if listener.stopped {
            // A connection accepted after the stop is closed again by dropping it.
            if !listener.armed {
                self.listeners.remove(key);
            }
            return;
        }
        let token = listener.token;
        let mut pause = false;
        match accepted {
            Some(socket) => {
                // TCP_NODELAY is inherited from the listener.
                let conn = Conn::new(socket.into_raw_fd(), Phase::Open, Token(0));
                let conn = self.insert(conn);
                events.push(Event::Accepted { listener: token, conn });
            }
            // The client gave up before we got to it.
            None if matches!(-cqe.result, libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) => {}
            None => {
                events.push(Event::AcceptFailed { listener: token, errno: -cqe.result });
                pause = true;
            }
        }
        if !listener_armed(self, key) {
            if pause {
                self.timers.add(self.now + ACCEPT_PAUSE, Due::Accept(key));
            } else {
                self.accepts.push(key);
            }
        }
    }

    /// Makes the socket and queues its connect for the next turn.
    pub(super) fn start_connect(
        &mut self,
        address: &Address,
        token: Token,
        deadline: Time,
    ) -> ConnId {
        match sys::connecting(address) {
            Ok((socket, address)) => {
                let key = self.insert(Conn::new(socket.into_raw_fd(), Phase::Connecting, token));
                let timer = self.timers.add(deadline, Due::Conn(key));
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.timer = timer;
                    conn.ops = 1;
                }
                if matches!(address, RawAddress::Unix(_)) {
                    self.local_connects.insert(key, address);
                }
                self.connects.push((key, address));
                key
            }
            Err(error) => {
                // No socket: the connection exists only to be reported and closed.
                let key = self.insert(Conn::new(-1, Phase::Open, token));
                let reason = EndReason::Os(error.raw_os_error().unwrap_or(0));
                self.failed.push((key, reason));
                key
            }
        }
    }

    /// Minimum kernel: 5.5.
    pub(super) fn push_connect(&mut self, key: Key, address: RawAddress) -> io::Result<()> {
        self.ring.make_room()?;
        let Some(conn) = self.conns.get(key) else { return Ok(()) };
        let (data, len) = self.ring.keep_address(address);
        let entry = opcode::Connect::new(types::Fd(conn.fd), data, len).build();
        // SAFETY: the ring keeps the address until the kernel has copied it.
        unsafe { self.ring.push(&entry.user_data(user_data(Op::Connect, key))) }
    }

    pub(super) fn on_connect(&mut self, key: Key, cqe: Cqe, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else {
            debug_assert!(false, "a connect outlived its connection");
            return;
        };
        conn.ops -= 1;
        let is_open = conn.closing != Closing::Now && conn.phase == Phase::Connecting;
        if -cqe.result == libc::EAGAIN && is_open && self.local_connects.contains_key(&key) {
            self.timers.add(self.now + BACKLOG_PAUSE, Due::Connect(key));
            return;
        }
        self.local_connects.remove(&key);
        let timed_out = conn.phase == Phase::TimedOut;
        conn.phase = Phase::Open;
        // A flush deadline of a connection closed meanwhile stays.
        if conn.closing == Closing::No
            && let Some(timer) = conn.timer.take()
        {
            self.timers.cancel(timer);
        }
        match -cqe.result {
            0 if conn.closing == Closing::No => {
                events.push(Event::Connected { token: conn.token });
            }
            0 => {}
            errno => {
                let timed_out = timed_out && matches!(errno, libc::ECANCELED | libc::EAGAIN);
                let reason =
                    if timed_out { EndReason::ConnectTimeout } else { connect_reason(errno) };
                conn.broken = true;
                self.out.clear(&mut conn.out);
                // `broken` means a reset connection; this one never was.
                self.end_connect(key, reason, events);
            }
        }
        self.mark_dirty(key);
    }

    fn end_connect(&mut self, key: Key, reason: EndReason, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.ended = true;
        if conn.closing == Closing::No {
            events.push(Event::Ended { token: conn.token, reason });
        }
    }

    /// One step nearer to closed.
    pub(super) fn update_close(&mut self, key: Key) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        if conn.closing == Closing::Flush && conn.phase == Phase::Open {
            if conn.broken {
                conn.closing = Closing::Now;
            } else if conn.out.bytes() == 0 {
                sys::shutdown(conn.socket(), Shutdown::Write);
                conn.closing = Closing::Drain;
            }
        }
        if conn.closing == Closing::Drain && conn.ended {
            conn.closing = Closing::Now;
        }
        if conn.closing == Closing::Now { self.update_close_now(key) } else { Ok(()) }
    }

    /// Ends the operations of a connection, then its descriptor and slot.
    fn update_close_now(&mut self, key: Key) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        if matches!(conn.send, Send::Idle | Send::Blocked) {
            self.out.clear(&mut conn.out);
        }
        if conn.ops > 0 {
            if conn.cancelled {
                return Ok(());
            }
            conn.cancelled = true;
            // All operations of the descriptor with one submission. Minimum kernel: 5.19.
            let target = CancelBuilder::fd(types::Fd(conn.fd)).all();
            let entry = opcode::AsyncCancel2::new(target).build();
            return self.push_ignored(entry);
        }
        if matches!(conn.send, Send::Trial { .. }) {
            // Settled when this turn's submission is over.
            return Ok(());
        }
        let Some(mut conn) = self.conns.remove(key) else { return Ok(()) };
        self.out.clear(&mut conn.out);
        if let Some(timer) = conn.timer.take() {
            self.timers.cancel(timer);
        }
        if conn.fd < 0 {
            return Ok(());
        }
        // Minimum kernel: 5.6. Sockets close inside the submission.
        self.push_ignored(opcode::Close::new(types::Fd(conn.fd)).build())
    }

    /// Lets a connection go that is to leave, once nothing of it is in flight.
    pub(super) fn update_leave(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let (is_still, is_over) = (conn.is_still(), conn.ended || conn.broken);
        let Some(is_undisturbed) = conn.leaving.take(is_still, is_over) else { return };
        let is_clean = is_undisturbed && sys::is_quiet(conn.socket());
        let token = conn.token;
        let left = if is_clean { self.conns.remove(key) } else { None };
        let socket = left.map(|conn| {
            // SAFETY: the slot owned the descriptor, and is gone.
            Socket(Kind::Os(unsafe { OwnedFd::from_raw_fd(conn.fd) }))
        });
        events.push(Event::Detached { token, socket });
        // What is wanted of one that stays is wanted again.
        self.mark_dirty(key);
    }

    fn push_ignored(&mut self, entry: io_uring::squeue::Entry) -> io::Result<()> {
        let ignored = user_data(Op::Ignored, Key { index: 0, generation: 0 });
        let entry = self.quiet(entry).user_data(ignored);
        self.ring.make_room()?;
        // SAFETY: the operation names no memory.
        unsafe { self.ring.push(&entry) }
    }

    /// Acts on deadlines that have passed.
    pub(super) fn run_timers(&mut self) -> io::Result<()> {
        while let Some(due) = self.timers.pop_due(self.now) {
            match due {
                Due::Accept(key) => self.accepts.push(key),
                Due::Conn(key) => {
                    let Some(conn) = self.conns.get_mut(key) else { continue };
                    conn.timer = None;
                    if conn.closing != Closing::No {
                        conn.closing = Closing::Now;
                        self.mark_dirty(key);
                    } else if conn.phase == Phase::Connecting {
                        conn.phase = Phase::TimedOut;
                        if conn.ops > 0 {
                            self.cancel(user_data(Op::Connect, key))?;
                        } else if let Some(address) = self.local_connects.get(&key) {
                            // In a pause: the last attempt tells how it ended.
                            conn.ops += 1;
                            self.connects.push((key, *address));
                        }
                    }
                }
                Due::Connect(key) => self.connect_again(key),
            }
        }
        Ok(())
    }

    /// A pause is over after which a connect is tried again; unless the time for it is, too.
    fn connect_again(&mut self, key: Key) {
        let Some(address) = self.local_connects.get(&key).copied() else { return };
        match self.conns.get_mut(key) {
            Some(conn) if conn.phase == Phase::Connecting && conn.closing != Closing::Now => {
                conn.ops += 1;
                self.connects.push((key, address));
            }
            Some(_) | None => {
                self.local_connects.remove(&key);
            }
        }
    }

    pub(super) fn insert(&mut self, conn: Conn) -> Key {
        let key = self.conns.insert(conn).filter(|key| key.index < SLOTS_MAX);
        assert!(key.is_some(), "more connections than descriptors can exist");
        key.unwrap_or(Key { index: 0, generation: 0 })
    }
}

fn listener_armed(uring: &Uring, key: Key) -> bool {
    uring.listeners.get(key).is_none_or(|listener: &Listener| listener.armed)
}
