//! The ring itself: filling the submission queue, entering the kernel, taking completions.
//!
//! Purpose: one system call a turn, and memory that stays put until the kernel has read it.
//! Never: know what operations mean.

use std::io;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring};

use super::probe::Features;
use crate::io::sys::{EMPTY_IOVEC, EMPTY_MESSAGE, RawAddress};

/// A completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cqe {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// Ring plus the memory that queued submissions point to.
pub(super) struct Ring {
    pub(super) io: IoUring,
    enter_flags: u32,
    /// Completions taken and not yet worked off.
    pub(super) cqes: Vec<Cqe>,
    /// Small pieces copied together.
    bytes: Box<[u8]>,
    bytes_used: usize,
    iovecs: Box<[libc::iovec]>,
    iovecs_used: usize,
    messages: Box<[libc::msghdr]>,
    messages_used: usize,
    /// Never grows past its capacity: submissions point at the elements.
    addresses: Vec<RawAddress>,
}

/// Pieces of one scatter send.
pub(super) const PIECES_MAX: usize = 256;
/// Several pieces of at most this many bytes together are copied into one: cheaper than letting the
/// kernel walk a list of pieces.
pub(super) const COPY_BYTES_MAX: usize = 2048;

const SCRATCH_BYTES: usize = 64 * 1024;
const SCRATCH_IOVECS: usize = 4 * PIECES_MAX;
const SCRATCH_MESSAGES: usize = 128;
const SCRATCH_ADDRESSES: usize = 32;
/// Times submitting is tried again when the kernel is short of memory.
const ATTEMPTS_MAX: u32 = 1000;

impl Ring {
    pub(super) fn new(io: IoUring, features: Features) -> Self {
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if features.no_iowait {
            flags |= EnterFlags::NO_IOWAIT;
        }
        Self {
            io,
            enter_flags: flags.bits(),
            cqes: Vec::new(),
            bytes: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            bytes_used: 0,
            iovecs: vec![EMPTY_IOVEC; SCRATCH_IOVECS].into_boxed_slice(),
            iovecs_used: 0,
            messages: (0..SCRATCH_MESSAGES).map(|_| EMPTY_MESSAGE).collect(),
            messages_used: 0,
            addresses: Vec::with_capacity(SCRATCH_ADDRESSES),
        }
    }

    /// Makes room for one more submission and its scratch memory, by submitting what is queued when
    /// something is full. To be called before preparing a submission: entering frees all scratch.
    pub(super) fn make_room(&mut self) -> io::Result<()> {
        let full = self.io.submission().is_full()
            || self.bytes_used + COPY_BYTES_MAX > self.bytes.len()
            || self.iovecs_used + PIECES_MAX > self.iovecs.len()
            || self.messages_used == self.messages.len()
            || self.addresses.len() == SCRATCH_ADDRESSES;
        if full { self.enter(0, None) } else { Ok(()) }
    }

    /// Queues a submission; [`Ring::make_room`] was called.
    ///
    /// # Safety
    /// What `entry` points to must stay valid: parameters (addresses, message headers) until the next
    /// [`Ring::enter`] returns, the bytes themselves until the operation's last completion, or for
    /// operations that end inside the submission, until `enter` returns.
    pub(super) unsafe fn push(&mut self, entry: &Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.io.submission().push(entry) };
        pushed.map_err(|_full| io::Error::other("the submission queue stayed full"))
    }

    /// Submits everything queued and waits for `want` completions or the timeout, then takes all
    /// completions there are into [`Ring::cqes`].
    ///
    /// # Errors
    /// When the ring is broken.
    pub(super) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        let mut attempts = 0;
        loop {
            let queued = u32::try_from(self.io.submission().len()).unwrap_or(u32::MAX);
            let timespec;
            let mut args = SubmitArgs::new();
            if let Some(timeout) = timeout {
                timespec = Timespec::from(timeout);
                args = args.timespec(&timespec);
            }
            // Completions taken on the way (the queue was full) are events: do not sleep on them.
            let want = if self.cqes.is_empty() { want } else { 0 };
            let submitter = self.io.submitter();
            // SAFETY: `args` is the structure that EXT_ARG announces and outlives the call; queued
            // entries are valid by the promise of `push`.
            let entered = unsafe { submitter.enter(queued, want, self.enter_flags, Some(&args)) };
            self.collect()?;
            if let Err(error) = entered {
                match error.raw_os_error() {
                    // The wait ended without an event; submissions were all taken.
                    Some(libc::ETIME | libc::EINTR) => {}
                    // No memory, or completions overflowed: taking them helps.
                    Some(libc::EBUSY | libc::EAGAIN) if attempts < ATTEMPTS_MAX => {
                        attempts += 1;
                        std::thread::yield_now();
                    }
                    Some(_) | None => return Err(error),
                }
            }
            if self.io.submission().is_empty() {
                break;
            }
        }
        self.bytes_used = 0;
        self.iovecs_used = 0;
        self.messages_used = 0;
        self.addresses.clear();
        Ok(())
    }

    /// Copies pieces into one range of scratch memory; `None` when there is no room before the next
    /// [`Ring::enter`].
    pub(super) fn copy<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(*const u8, u32)> {
        let start = self.bytes_used;
        let mut end = start;
        for piece in pieces {
            let room = self.bytes.get_mut(end..end + piece.len())?;
            room.copy_from_slice(piece);
            end += piece.len();
        }
        self.bytes_used = end;
        let range = self.bytes.get(start..end)?;
        Some((range.as_ptr(), u32::try_from(range.len()).ok()?))
    }

    /// Describes pieces in a message header in scratch memory, with their bytes and number; `None`
    /// when there is no room before the next [`Ring::enter`].
    pub(super) fn message<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(*const libc::msghdr, usize, usize)> {
        let message = self.messages.get_mut(self.messages_used)?;
        let room = self.iovecs.get_mut(self.iovecs_used..self.iovecs_used + PIECES_MAX)?;
        let (mut bytes, mut count) = (0, 0);
        for (slot, piece) in room.iter_mut().zip(pieces) {
            *slot =
                libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            bytes += piece.len();
            count += 1;
        }
        message.msg_iov = room.as_mut_ptr();
        message.msg_iovlen = count;
        self.iovecs_used += count;
        self.messages_used += 1;
        Some((std::ptr::from_ref(message), bytes, count))
    }

    /// Keeps an address until the next [`Ring::enter`] returned.
    pub(super) fn keep_address(&mut self, address: RawAddress) -> (*const libc::sockaddr, u32) {
        assert!(self.addresses.len() < SCRATCH_ADDRESSES, "an address in use would move");
        self.addresses.push(address);
        let kept = self.addresses.last();
        kept.map_or((std::ptr::null(), 0), |kept| (kept.as_ptr(), kept.len()))
    }

    /// Takes every completion, those that did not fit into the queue included.
    fn collect(&mut self) -> io::Result<()> {
        loop {
            let completions = self.io.completion().map(|cqe| Cqe {
                user_data: cqe.user_data(),
                result: cqe.result(),
                flags: cqe.flags(),
            });
            self.cqes.extend(completions);
            if !self.io.submission().cq_overflow() {
                return Ok(());
            }
            // "No completion means success" holds for sends only when none is left in the kernel.
            let flags = EnterFlags::GETEVENTS.bits();
            let submitter = self.io.submitter();
            // SAFETY: no argument is passed.
            let flushed = unsafe { submitter.enter::<libc::sigset_t>(0, 0, flags, None) };
            match flushed {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
