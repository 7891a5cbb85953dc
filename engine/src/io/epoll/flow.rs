//! Moving bytes and changing states of connections under epoll.
//!
//! Purpose: bounded reads per connection and turn, sends only at the start of a turn.
//! Never: wait.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};

use super::conn::{Phase, Source};
use super::poller::Ready;
use super::{Due, Epoll};
use crate::base::Key;
use crate::io::buf::Chunk;
use crate::io::socket::{Kind, Leaving, Socket};
use crate::io::sys::{self, SEND_PIECES_MAX, connect_reason, end_reason};
use crate::io::{EndReason, Event, RecvMode};

/// Reads of one connection in one turn: the others get theirs before it goes on.
const READS_MAX: usize = 4;

/// What came of one read.
enum Outcome {
    /// Bytes, and perhaps more.
    More(Chunk),
    /// Bytes, and nothing more for now.
    Last(Chunk),
    /// Nothing now.
    Empty,
    /// No buffer.
    Starved,
    End(EndReason),
}

impl Epoll {
    /// Sends what is queued on connections that have something new, and advances their closing.
    pub(super) fn flush_dirty(&mut self, events: &mut Vec<Event>) {
        std::mem::swap(&mut self.dirty, &mut self.working);
        let mut working = std::mem::take(&mut self.working);
        for key in working.drain(..) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.dirty = false;
            if !conn.blocked {
                self.flush(key, events);
            }
            self.advance_close(key);
            self.advance_leave(key, events);
        }
        self.working = working;
        self.out.end_turn();
    }

    /// Sends until the queue is empty or the kernel takes no more.
    fn flush(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.is_connected() {
            // The arena is emptied at the end of the turn, and small buffers are not for waiting.
            conn.blocked |= conn.out.bytes() > 0;
            self.out.spill(&mut conn.out);
            return;
        }
        let Some(socket) = conn.socket.as_ref() else { return };
        while conn.out.bytes() > 0 {
            let front = self.out.front(&conn.out, SEND_PIECES_MAX);
            match sys::send_pieces(socket.as_fd(), front) {
                Ok(taken) => self.out.consume(&mut conn.out, taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => return self.block(key, events),
                Err(_) => return self.fail_send(key, events),
            }
        }
    }

    /// Waits for room to send.
    fn block(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.blocked = true;
        self.out.spill(&mut conn.out);
        if conn.watches_write {
            return;
        }
        conn.watches_write = true;
        let Some(socket) = conn.socket.as_ref() else { return };
        if self.poller.watch_write(socket.as_fd(), Source::Conn(key).encode()).is_err() {
            self.fail_send(key, events);
        }
    }

    /// A send found the connection gone. What arrived before may still be received; then the
    /// connection ends.
    fn fail_send(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.broken = true;
        conn.blocked = false;
        conn.readable = true;
        conn.hung_up = true;
        self.out.clear(&mut conn.out);
        if let Some(socket) = conn.socket.as_ref() {
            sys::shutdown(socket.as_fd(), Shutdown::Both);
        }
        if conn.wanted() == RecvMode::Paused {
            // Nobody is receiving who could notice.
            self.end(key, EndReason::Reset, events);
        }
        // After `Ended`, this is the only sign that nothing waits any more.
        if let Some(conn) = self.conns.get(key).filter(|conn| conn.ended && conn.is_open()) {
            events.push(Event::Drained { token: conn.token });
        }
        self.mark_ready(key);
    }

    /// Acts on what epoll said about a connection.
    pub(super) fn on_ready(&mut self, key: Key, ready: Ready, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if matches!(conn.phase, Phase::Connecting | Phase::ConnectingFlush) {
            if ready.write || ready.hung_up {
                self.on_connected(key, events);
            }
        } else if conn.blocked && (ready.write || ready.hung_up) {
            conn.blocked = false;
            self.flush(key, events);
            self.after_blocked(key, events);
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.readable |= ready.read || ready.hung_up;
        conn.hung_up |= ready.hung_up;
        self.mark_ready(key);
    }

    fn after_blocked(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Open && !conn.blocked && !conn.broken {
            events.push(Event::Drained { token: conn.token });
        }
        self.mark_dirty(key);
    }

    fn on_connected(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(socket) = conn.socket.as_ref() else { return };
        let error = sys::with_stream(socket.as_fd(), |stream| stream.take_error());
        if conn.phase == Phase::ConnectingFlush {
            // The flush deadline stays.
            conn.phase = Phase::Flush;
        } else {
            conn.phase = Phase::Open;
            if let Some(timer) = conn.timer.take() {
                self.timers.cancel(timer);
            }
        }
        let errno = match error {
            Ok(None) => 0,
            Ok(Some(error)) | Err(error) => error.raw_os_error().unwrap_or(0),
        };
        if errno != 0 {
            self.out.clear(&mut conn.out);
            return self.end(key, connect_reason(errno), events);
        }
        if conn.phase == Phase::Open {
            events.push(Event::Connected { token: conn.token });
        }
        if conn.out.bytes() > 0 {
            conn.blocked = false;
            self.flush(key, events);
            self.after_blocked(key, events);
        }
        self.mark_dirty(key);
    }

    /// Reads from connections that have bytes, each a bounded number of times.
    pub(super) fn read_ready(&mut self, events: &mut Vec<Event>) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.queued_ready = false;
            for _ in 0..READS_MAX {
                if !self.read_once(key, events) {
                    break;
                }
            }
            self.mark_ready(key);
        }
    }

    /// Reads once; whether to go on.
    fn read_once(&mut self, key: Key, events: &mut Vec<Event>) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let wanted = conn.wanted();
        if wanted == RecvMode::Paused || !conn.readable || conn.queued_starved {
            return false;
        }
        let Some(socket) = conn.socket.as_ref() else { return false };
        let large = (wanted == RecvMode::Large).then(|| self.pool.take_large()).flatten();
        let outcome = match large.or_else(|| self.pool.take_small()) {
            Some(chunk) => read(socket.as_fd(), chunk, conn.hung_up),
            None => Outcome::Starved,
        };
        let (chunk, more) = match outcome {
            Outcome::More(chunk) => (chunk, true),
            Outcome::Last(chunk) => {
                conn.readable = false;
                (chunk, false)
            }
            Outcome::Empty => {
                conn.readable = false;
                return false;
            }
            Outcome::Starved => {
                self.starvations += 1;
                conn.queued_starved = true;
                self.starved.push_back(key);
                return false;
            }
            Outcome::End(reason) => {
                self.end(key, reason, events);
                return false;
            }
        };
        if conn.phase == Phase::Open {
            events.push(Event::Received { token: conn.token, chunk });
            conn.leaving.disturb();
            if conn.leaving != Leaving::No {
                self.mark_dirty(key);
            }
        }
        more
    }

    /// Lets starved connections read again once an eighth of the buffers is back, not more of them
    /// than there are buffers.
    pub(super) fn revive_starved(&mut self) {
        let free = self.pool.small_free();
        if free < (self.pool.small_count() / 8).max(1) {
            return;
        }
        for _ in 0..free.min(self.starved.len()) {
            let Some(key) = self.starved.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.queued_starved = false;
            self.mark_ready(key);
        }
    }

    /// Nothing more will be received.
    pub(super) fn end(&mut self, key: Key, reason: EndReason, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.ended {
            return;
        }
        conn.ended = true;
        conn.readable = false;
        conn.leaving.disturb();
        if conn.is_open() {
            // A connection that never was cannot be reset; its own reason says more.
            let reason = if conn.broken { EndReason::Reset } else { reason };
            conn.phase = Phase::Open;
            events.push(Event::Ended { token: conn.token, reason });
        }
        self.mark_dirty(key);
    }

    /// One step nearer to closed.
    pub(super) fn advance_close(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Flush && (conn.broken || conn.out.bytes() == 0) {
            conn.phase = Phase::Drain;
            if let Some(socket) = conn.socket.as_ref() {
                sys::shutdown(socket.as_fd(), Shutdown::Write);
            }
            self.mark_ready(key);
        }
        if self
            .conns
            .get(key)
            .is_some_and(|conn| matches!(conn.phase, Phase::Drain) && (conn.ended || conn.broken))
        {
            self.remove(key);
        }
    }

    /// Lets a connection go that is to leave, once what was queued has left.
    fn advance_leave(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let is_still = conn.phase == Phase::Open && conn.out.bytes() == 0;
        let is_over = conn.ended || conn.broken;
        let Some(is_undisturbed) = conn.leaving.take(is_still, is_over) else { return };
        let token = conn.token;
        let socket = conn.socket.as_ref().filter(|_| is_undisturbed);
        let is_clean = socket.is_some_and(|socket| {
            sys::is_quiet(socket.as_fd()) && self.poller.remove(socket.as_fd()).is_ok()
        });
        let left = if is_clean { self.conns.remove(key) } else { None };
        let socket = left.and_then(|conn| conn.socket).map(|socket| Socket(Kind::Os(socket)));
        events.push(Event::Detached { token, socket });
    }

    /// Closes at once.
    pub(super) fn remove(&mut self, key: Key) {
        if let Some(mut conn) = self.conns.remove(key) {
            self.out.clear(&mut conn.out);
            if let Some(timer) = conn.timer.take() {
                self.timers.cancel(timer);
            }
        }
    }

    /// Acts on deadlines that have passed.
    pub(super) fn run_timers(&mut self, events: &mut Vec<Event>) {
        while let Some(due) = self.timers.pop_due(self.now) {
            match due {
                Due::Accept(key) => self.resume_accept(key),
                Due::Connect(key) => {
                    if let Some(address) = self.crowded.remove(&key) {
                        self.start_connect(key, address);
                    }
                }
                Due::Conn(key) => {
                    let Some(conn) = self.conns.get_mut(key) else { continue };
                    conn.timer = None;
                    if conn.is_open() {
                        self.time_out(key, events);
                    } else {
                        self.remove(key);
                    }
                }
            }
        }
    }

    fn time_out(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.phase == Phase::Connecting {
            // Drops the attempt; the connection stays for the worker to close.
            conn.socket = None;
            self.out.clear(&mut conn.out);
            self.end(key, EndReason::ConnectTimeout, events);
        }
    }
}

fn read(socket: BorrowedFd<'_>, mut chunk: Chunk, hung_up: bool) -> Outcome {
    loop {
        return match sys::with_stream(socket, |mut stream| stream.read(&mut chunk)) {
            Ok(0) => Outcome::End(EndReason::Eof),
            Ok(count) => {
                // A short read has emptied a stream socket, unless its end follows.
                let more = count == chunk.len() || hung_up;
                chunk.truncate(count);
                if more { Outcome::More(chunk) } else { Outcome::Last(chunk) }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Empty,
            Err(error) => Outcome::End(end_reason(error.raw_os_error().unwrap_or(0))),
        };
    }
}

/// No room now, or no memory: waiting helps.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}
