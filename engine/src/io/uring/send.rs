//! Sending: one attempt per connection and turn, a waiting send only after that failed.
//!
//! Purpose: no completion for the ordinary send. An attempt carries `MSG_DONTWAIT`, so the kernel
//! finishes it inside the submission; `MSG_WAITALL` makes a short send count as failed; success posts
//! no completion (`IOSQE_CQE_SKIP_SUCCESS`, 5.17). So once the submission has returned, silence means
//! that everything was taken, and the buffers return at once.
//! Never: two sends of one connection in the kernel at once.

use std::io;
use std::net::Shutdown;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::Uring;
use super::conn::{Closing, Op, Phase, Send, user_data};
use super::ring::{COPY_BYTES_MAX, Cqe, PIECES_MAX};
use crate::base::Key;
use crate::io::{EndReason, Event, RecvMode, sys};

const WAITING: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
const TRIAL: i32 = WAITING | libc::MSG_DONTWAIT;

impl Uring {
    /// Starts what the queue needs: an attempt, or after a failed one a send that waits.
    pub(super) fn update_send(&mut self, key: Key) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        if conn.out.bytes() == 0 {
            return Ok(());
        }
        if conn.phase != Phase::Open {
            // The arena is emptied at the end of the turn, and small buffers are not for waiting.
            self.out.spill(&mut conn.out);
            conn.send = Send::Blocked;
            return Ok(());
        }
        match conn.send {
            Send::Idle => self.push_send(key, Op::Trial, TRIAL),
            Send::Blocked => self.push_send(key, Op::Send, WAITING),
            Send::Trial { .. } | Send::Waiting => Ok(()),
        }
    }

    fn push_send(&mut self, key: Key, op: Op, flags: i32) -> io::Result<()> {
        self.ring.make_room()?;
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let fd = types::Fd(conn.fd);
        let copied = op == Op::Trial && conn.out.bytes() <= COPY_BYTES_MAX;
        let (entry, bytes, count) = if conn.out.count() > 1 && !copied {
            let front = self.out.front(&conn.out, PIECES_MAX);
            let Some((message, bytes, count)) = self.ring.message(front) else { return full() };
            let flags = u32::try_from(flags).unwrap_or(0);
            (opcode::SendMsg::new(fd, message).flags(flags).build(), bytes, count)
        } else {
            let mut front = self.out.front(&conn.out, usize::MAX);
            let range = if conn.out.count() > 1 {
                self.ring.copy(front)
            } else {
                front.next().and_then(|piece| Some((piece.as_ptr(), length(piece)?)))
            };
            let Some((data, len)) = range else { return full() };
            (opcode::Send::new(fd, data, len).flags(flags).build(), len as usize, 1)
        };
        let entry = entry.user_data(user_data(op, key));
        let entry = if op == Op::Trial {
            conn.send = Send::Trial { bytes };
            conn.send_result = None;
            self.finishing |= conn.is_going();
            self.trials.push(key);
            self.quiet(entry)
        } else {
            conn.send = Send::Waiting;
            conn.out.seal(count);
            conn.ops += 1;
            entry
        };
        // SAFETY: the pieces stay in the queue, unmoved, until `settle` or the completion; headers and
        // copies are scratch memory that lasts until `enter` returns, when the kernel has copied the
        // headers (IORING_FEAT_SUBMIT_STABLE) and finished with the copies (attempts only).
        unsafe { self.ring.push(&entry) }
    }

    /// Asks for no completion of success, where the kernel can.
    pub(super) fn quiet(&self, entry: Entry) -> Entry {
        if self.features.skip_success { entry.flags(Flags::SKIP_SUCCESS) } else { entry }
    }

    pub(super) fn on_trial(&mut self, key: Key, cqe: Cqe) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.send_result = Some(cqe.result);
        }
    }

    /// Ends this turn's attempts, all of which the kernel has finished: what was taken is dropped,
    /// what was not is made to wait.
    pub(super) fn settle(&mut self, events: &mut Vec<Event>) {
        let mut trials = std::mem::take(&mut self.trials);
        for key in trials.drain(..) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            let Send::Trial { bytes: offered } = conn.send else { continue };
            conn.send = Send::Idle;
            let errno = match conn.send_result.take() {
                None => {
                    self.out.consume(&mut conn.out, offered);
                    0
                }
                Some(taken @ 0..) => {
                    self.out.consume(&mut conn.out, usize::try_from(taken).unwrap_or(0));
                    0
                }
                Some(error) => -error,
            };
            match errno {
                0 if conn.out.bytes() == 0 => {}
                0 | libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM => {
                    self.out.spill(&mut conn.out);
                    conn.send = Send::Blocked;
                }
                _ => self.fail_send(key, events),
            }
            if self.conns.get(key).is_some_and(|conn| conn.send == Send::Blocked || conn.is_going())
            {
                self.mark_dirty(key);
            }
        }
        self.trials = trials;
        self.finishing = false;
        self.out.end_turn();
    }

    /// A waiting send ended.
    pub(super) fn on_send(&mut self, key: Key, cqe: Cqe, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else {
            debug_assert!(false, "a send outlived its connection");
            return;
        };
        conn.ops -= 1;
        conn.send = Send::Idle;
        self.out.consume(&mut conn.out, usize::try_from(cqe.result).unwrap_or(0));
        match -cqe.result {
            ..=0 | libc::EAGAIN | libc::EINTR | libc::ECANCELED if conn.out.bytes() > 0 => {
                conn.send = Send::Blocked;
            }
            ..=0 if conn.closing == Closing::No => {
                events.push(Event::Drained { token: conn.token });
            }
            ..=0 => {}
            _ => self.fail_send(key, events),
        }
        self.mark_dirty(key);
    }

    /// A send found the connection gone. What arrived before may still be received; then the
    /// connection ends.
    fn fail_send(&mut self, key: Key, events: &mut Vec<Event>) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.send = Send::Idle;
        conn.broken = true;
        self.out.clear(&mut conn.out);
        // Whatever the error was, the receive side comes to its end now.
        sys::shutdown(conn.socket(), Shutdown::Both);
        if conn.wanted() == RecvMode::Paused {
            // Nobody is receiving who could notice.
            self.end(key, EndReason::Reset, events);
        }
        // After `Ended`, this is the only sign that nothing waits any more.
        let conn = self.conns.get(key).filter(|conn| conn.ended && conn.closing == Closing::No);
        if let Some(conn) = conn {
            events.push(Event::Drained { token: conn.token });
        }
        self.mark_dirty(key);
    }
}

fn length(piece: &[u8]) -> Option<u32> {
    u32::try_from(piece.len()).ok()
}

/// `make_room` promised room for any send.
fn full() -> io::Result<()> {
    debug_assert!(false, "no room for a send");
    Err(io::Error::other("no room for a send after making room"))
}
