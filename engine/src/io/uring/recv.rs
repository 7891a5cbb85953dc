//! Receiving: from the wanted mode to operations, from completions to events.
//!
//! Purpose: one receive per connection in the kernel at most, of the right kind, re-armed whenever
//! the kernel ended it.
//! Never: arm while an older receive of the connection can still complete.

use std::io;

use io_uring::squeue::Flags;
use io_uring::{cqueue, opcode, types};

use super::Uring;
use super::buf_ring;
use super::conn::{Armed, Closing, Op, user_data};
use super::ring::Cqe;
use crate::base::Key;
use crate::io::buf::Chunk;
use crate::io::sys::end_reason;
use crate::io::{EndReason, Event, RecvMode};

impl Uring {
    /// Arms or cancels so that what the kernel does comes closer to what is wanted. Called again
    /// when an operation in between completes.
    pub(super) fn update_recv(&mut self, key: Key) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        match (conn.armed, conn.wanted()) {
            (Armed::No, RecvMode::Small) => self.arm_small(key),
            (Armed::No | Armed::Starved, RecvMode::Large) => {
                if let Some(chunk) = self.pool.take_large() {
                    self.arm_large(key, chunk)
                } else if conn.armed == Armed::No {
                    self.arm_small(key)
                } else {
                    Ok(())
                }
            }
            (Armed::Small, RecvMode::Large) if !self.pool.has_large() => Ok(()),
            (Armed::Small, RecvMode::Paused | RecvMode::Large) => {
                conn.armed = Armed::SmallCancelled;
                self.cancel(user_data(Op::Recv, key))
            }
            (Armed::Large, RecvMode::Paused | RecvMode::Small) => {
                conn.armed = Armed::LargeCancelled;
                self.cancel(user_data(Op::Recv, key))
            }
            (Armed::Starved, RecvMode::Paused) => {
                conn.armed = Armed::No;
                Ok(())
            }
            (Armed::SmallCancelled | Armed::LargeCancelled, _)
            | (Armed::No, RecvMode::Paused)
            | (Armed::Small | Armed::Starved, RecvMode::Small)
            | (Armed::Large, RecvMode::Large) => Ok(()),
        }
    }

    /// Receives from the buffer ring. Minimum kernel: 5.19, multishot 6.0.
    fn arm_small(&mut self, key: Key) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        conn.armed = Armed::Small;
        conn.ops += 1;
        let fd = types::Fd(conn.fd);
        let entry = if self.features.multishot_recv {
            opcode::RecvMulti::new(fd, buf_ring::GROUP).build()
        } else {
            // Length 0: as much as the buffer holds.
            opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(buf_ring::GROUP)
                .build()
                .flags(Flags::BUFFER_SELECT)
        };
        self.ring.make_room()?;
        // SAFETY: the operation names no memory; the buffer group lives as long as the ring.
        unsafe { self.ring.push(&entry.user_data(user_data(Op::Recv, key))) }
    }

    /// Receives once into a large buffer. Minimum kernel: 5.6.
    fn arm_large(&mut self, key: Key, mut chunk: Chunk) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        assert!(conn.large.is_none(), "a large buffer the kernel has would be dropped");
        conn.armed = Armed::Large;
        conn.ops += 1;
        let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let entry = opcode::Recv::new(types::Fd(conn.fd), chunk.as_mut_ptr(), len).build();
        conn.large = Some(chunk);
        self.ring.make_room()?;
        // SAFETY: the slot owns the chunk until the operation's completion, and is itself kept until
        // then (`ops`).
        unsafe { self.ring.push(&entry.user_data(user_data(Op::Recv, key))) }
    }

    /// Asks the kernel to end an operation; its completion comes in any case. Minimum kernel: 5.5.
    pub(super) fn cancel(&mut self, target: u64) -> io::Result<()> {
        let ignored = user_data(Op::Ignored, Key { index: 0, generation: 0 });
        let entry = self.quiet(opcode::AsyncCancel::new(target).build()).user_data(ignored);
        self.ring.make_room()?;
        // SAFETY: the operation names no memory.
        unsafe { self.ring.push(&entry) }
    }

    pub(super) fn on_recv(&mut self, key: Key, cqe: Cqe, events: &mut Vec<Event>) {
        let small = cqueue::buffer_select(cqe.flags).map(|index| {
            self.buf_ring.took_one();
            self.pool.reclaim(index, usize::try_from(cqe.result).unwrap_or(0))
        });
        let Some(conn) = self.conns.get_mut(key) else {
            debug_assert!(false, "a receive outlived its connection");
            return;
        };
        let mut chunk = small;
        if !cqueue::more(cqe.flags) {
            if let Some(mut large) = conn.large.take() {
                large.truncate(usize::try_from(cqe.result).unwrap_or(0));
                chunk = Some(large);
            }
            conn.ops -= 1;
            conn.armed = Armed::No;
            self.mark_dirty(key);
        } else if conn.desired == RecvMode::Large && self.pool.has_large() {
            // Small was the makeshift while no large buffer was free.
            self.mark_dirty(key);
        }
        match (cqe.result, chunk) {
            (1.., Some(chunk)) => self.deliver(key, chunk, events),
            (0, _) => self.end(key, EndReason::Eof, events),
            (errno, _) => self.on_recv_error(key, -errno, events),
        }
    }

    fn on_recv_error(&mut self, key: Key, errno: i32, events: &mut Vec<Event>) {
        match errno {
            // Ended to change mode, or for no reason of the connection's: armed again if wanted.
            libc::ECANCELED | libc::EAGAIN | libc::EINTR => {}
            // Re-arm later: the buffer ring ran dry.
            libc::ENOBUFS => self.starve(key),
            errno => self.end(key, end_reason(errno), events),
        }
    }

    fn deliver(&mut self, key: Key, chunk: Chunk, events: &mut Vec<Event>) {
        if let Some(conn) = self.conns.get_mut(key)
            && conn.closing == Closing::No
            && !conn.ended
        {
            conn.leaving.disturb();
            events.push(Event::Received { token: conn.token, chunk });
        }
    }

    /// Nothing more will be received.
    pub(super) fn end(&mut self, key: Key, reason: EndReason, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.ended {
            return;
        }
        conn.ended = true;
        conn.leaving.disturb();
        if conn.closing == Closing::No {
            // A send that failed in the same turn has taken the socket's error with it: all that is
            // left for the receive is an end of stream.
            let gone = conn.broken || conn.send_result.is_some_and(is_gone);
            let reason = if gone { EndReason::Reset } else { reason };
            events.push(Event::Ended { token: conn.token, reason });
        }
        self.mark_dirty(key);
    }

    /// The buffer ring was empty. If the pool has more, the ring grows and the connection tries again
    /// at once; else it waits until enough buffers came back.
    fn starve(&mut self, key: Key) {
        let spare = self.pool.small_free() > usize::from(self.buf_ring.lent());
        if spare && (self.buf_ring.grow() || self.buf_ring.lent() == 0) {
            return;
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        self.starvations += 1;
        conn.armed = Armed::Starved;
        if !conn.queued_starved {
            conn.queued_starved = true;
            self.starved.push_back(key);
        }
    }

    /// Lets starved connections try again once an eighth of the buffers is back: each at most once a
    /// turn, and not more than there are buffers, or all of them would run dry again.
    pub(super) fn revive_starved(&mut self) -> io::Result<()> {
        let low_water = (self.buf_ring.count() / 8).max(1);
        if self.starved.is_empty() || self.buf_ring.lent() < low_water {
            return Ok(());
        }
        let attempts = usize::from(self.buf_ring.lent()).min(self.starved.len());
        for _ in 0..attempts {
            let Some(key) = self.starved.pop_front() else { break };
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.queued_starved = false;
            if conn.armed == Armed::Starved {
                conn.armed = Armed::No;
                self.update_recv(key)?;
            }
        }
        Ok(())
    }
}

fn is_gone(send_result: i32) -> bool {
    matches!(-send_result, libc::EPIPE | libc::ECONNRESET)
}
