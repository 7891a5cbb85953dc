//! The ring of buffers the kernel receives into.
//!
//! Purpose: lend small buffers to the kernel, which takes one only when bytes have arrived.
//! Never: hold more than the pool has. Minimum kernel: 5.19 (`IORING_REGISTER_PBUF_RING`).
//!
//! The kernel takes buffers first in, first out, the pool gives them last in, first out. So the ring
//! is kept short (`target`): a short ring turns over warm memory. When it ran dry although the pool
//! had more, it was too short for this load and grows.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::io::buf::{Pool, map, unmap};

/// The one buffer group of a driver's ring.
pub(super) const GROUP: u16 = 0;

/// Buffers lent at first; see the module's text.
const TARGET_START: u16 = 64;

pub(super) struct BufRing {
    entries: NonNull<BufRingEntry>,
    count: u16,
    tail: u16,
    lent: u16,
    target: u16,
}

impl BufRing {
    /// Registers an empty ring of `count` entries (a power of two) with the kernel.
    pub(super) fn register(ring: &IoUring, count: u16) -> io::Result<Self> {
        let memory = map(bytes(count))?;
        let address = memory.as_ptr() as u64;
        // SAFETY: the memory is page-aligned, zeroed, of the size the kernel expects, and unmapped
        // only after the kernel let go of it (`drop` of this type, after the ring's).
        let registered =
            unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0) };
        if let Err(error) = registered {
            unmap(memory, bytes(count));
            return Err(error);
        }
        let target = TARGET_START.min(count);
        Ok(Self { entries: memory.cast(), count, tail: 0, lent: 0, target })
    }

    /// Lends free buffers up to the target, publishing all of them at once.
    pub(super) fn refill(&mut self, pool: &Pool) {
        let before = self.tail;
        while self.lent < self.target {
            let Some((index, data, len)) = pool.lend() else { break };
            let slot = usize::from(self.tail & (self.count - 1));
            // SAFETY: `slot` is below the ring's `count` entries.
            let entry = unsafe { self.entries.add(slot) };
            // SAFETY: the kernel does not read entries past the published tail, and this thread has
            // the only reference. The tail itself shares bytes with entry 0, which none of the
            // setters touches.
            let entry = unsafe { &mut *entry.as_ptr() };
            entry.set_addr(data.as_ptr() as u64);
            entry.set_len(len);
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            self.lent += 1;
        }
        if self.tail != before {
            self.publish();
        }
    }

    /// Notes that the kernel used one buffer.
    pub(super) fn took_one(&mut self) {
        assert!(self.lent > 0, "the kernel used a buffer it was not lent");
        self.lent -= 1;
    }

    /// Grows the target after the ring ran dry; whether that helps, because the pool has more.
    pub(super) fn grow(&mut self) -> bool {
        if self.target >= self.count {
            return false;
        }
        self.target = self.target.saturating_mul(2).min(self.count);
        true
    }

    /// Buffers the kernel has.
    pub(super) const fn lent(&self) -> u16 {
        self.lent
    }

    /// Buffers there are at most.
    pub(super) const fn count(&self) -> u16 {
        self.count
    }

    fn publish(&self) {
        // SAFETY: the memory holds at least one entry, zeroed when mapped.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned 16-bit number that the kernel only reads, in memory that
        // lives as long as `self`.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: entries are written before the kernel can see them.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufRing {
    /// The ring must be gone, or the group unregistered, before this.
    fn drop(&mut self) {
        unmap(self.entries.cast(), bytes(self.count));
    }
}

fn bytes(count: u16) -> usize {
    usize::from(count) * size_of::<BufRingEntry>()
}
