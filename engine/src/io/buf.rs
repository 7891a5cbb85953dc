//! Receive memory: pieces the worker owns, buffers the driver gets back.
//!
//! Purpose: zero-copy bytes. The kernel writes into a buffer, the worker splits and edits the bytes in
//! place and hands the pieces to sends; the last piece to drop returns the buffer.
//! Never: copy, cross threads, or grow past the sizes it was made with.
//!
//! ```text
//! small: one mapping     |  buffer 0  |  buffer 1  | … |  buffer n-1 |     n a power of two
//! a buffer               |--- Chunk ---|-- Chunk --|      unused     |     chunks never overlap
//! large: each allocated when first needed, at most `large_count_max`, then kept for reuse
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

/// Number and size of a driver's receive buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// Small buffers; a power of two, at most 32,768 (the kernel's limit for a buffer ring).
    pub small_count: u16,
    /// Bytes of a small buffer.
    pub small_bytes: u32,
    /// Most large buffers ever allocated.
    pub large_count_max: u16,
    /// Bytes of a large buffer.
    pub large_bytes: u32,
}

impl Default for BufferSizes {
    /// 256 × 8 KiB (a buffer ring larger than needed cycles through cold memory) and up to
    /// 64 × 256 KiB.
    fn default() -> Self {
        Self { small_count: 256, small_bytes: 8192, large_count_max: 64, large_bytes: 256 * 1024 }
    }
}

/// A piece of a receive buffer. Owns its range of bytes alone: pieces of one buffer never overlap.
pub struct Chunk {
    data: NonNull<u8>,
    header: NonNull<Header>,
    len: u32,
}

impl Chunk {
    /// Takes the first `count` bytes off as a chunk of their own.
    ///
    /// # Panics
    /// If the chunk is shorter.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        let head_len = self.checked(count);
        let refs = &self.header().refs;
        refs.set(refs.get() + 1);
        let head = Self { data: self.data, header: self.header, len: head_len };
        self.advance(count);
        head
    }

    /// Forgets all but the first `count` bytes; does nothing when the chunk is shorter.
    pub fn truncate(&mut self, count: usize) {
        self.len = u32::try_from(count).map_or(self.len, |count| self.len.min(count));
    }

    /// Forgets the first `count` bytes.
    ///
    /// # Panics
    /// If the chunk is shorter.
    pub fn advance(&mut self, count: usize) {
        self.len -= self.checked(count);
        // SAFETY: `count` is at most the chunk's length, so the result is inside the buffer or one
        // past its end.
        self.data = unsafe { self.data.add(count) };
    }

    /// Whether the bytes lie in a large buffer, which a slow reader may keep.
    pub(super) fn is_large(&self) -> bool {
        self.header().is_large
    }

    fn checked(&self, count: usize) -> u32 {
        assert!(count <= self.len as usize, "{count} bytes of a chunk of {}", self.len);
        u32::try_from(count).unwrap_or(self.len)
    }

    fn header(&self) -> &Header {
        // SAFETY: headers live as long as the pool, which each buffer handed out keeps alive.
        unsafe { self.header.as_ref() }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range lies inside a live buffer, was initialised when the buffer was mapped,
        // and belongs to this chunk alone.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Chunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; ranges of chunks are disjoint and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len as usize) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let header = self.header();
        let refs = header.refs.get();
        debug_assert!(refs != FREE && refs != IN_KERNEL, "a chunk of a buffer nobody owns");
        header.refs.set(refs - 1);
        if refs == 1 {
            Inner::give_back(self.header);
        }
    }
}

impl fmt::Debug for Chunk {
    /// Length only: statements and rows do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The buffers of one driver. Clones are the same pool.
#[derive(Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

struct Inner {
    sizes: BufferSizes,
    memory: NonNull<u8>,
    small: Box<[Header]>,
    /// Indexes of small buffers nobody has; last in, first out, so that memory stays warm.
    free: RefCell<Vec<u16>>,
    small_used: Cell<usize>,
    /// Every large buffer there is.
    #[expect(clippy::vec_box, reason = "chunks hold the headers' addresses")]
    large: RefCell<Vec<Box<Header>>>,
    large_free: RefCell<Vec<NonNull<Header>>>,
}

struct Header {
    data: NonNull<u8>,
    /// Chunks of the buffer, or [`FREE`], or [`IN_KERNEL`].
    refs: Cell<u32>,
    index: u16,
    is_large: bool,
    /// Set when the buffer is handed out: one strong count of the pool belongs to it until it returns.
    pool: Cell<*const Inner>,
}

const FREE: u32 = 0;
const IN_KERNEL: u32 = u32::MAX;

impl Pool {
    /// Maps the small buffers.
    ///
    /// # Errors
    /// When memory cannot be mapped, or the sizes are zero or not as [`BufferSizes`] demands.
    pub fn new(sizes: BufferSizes) -> io::Result<Self> {
        let count = sizes.small_count;
        if !count.is_power_of_two() || sizes.small_bytes == 0 || sizes.large_bytes == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let memory = map(sizes.small_bytes as usize * usize::from(count))?;
        let small = (0..count)
            .map(|index| Header {
                // SAFETY: the offset is below the mapping's length.
                data: unsafe { memory.add(usize::from(index) * sizes.small_bytes as usize) },
                refs: Cell::new(FREE),
                index,
                is_large: false,
                pool: Cell::new(std::ptr::null()),
            })
            .collect();
        let inner = Inner {
            sizes,
            memory,
            small,
            free: RefCell::new((0..count).rev().collect()),
            small_used: Cell::new(0),
            large: RefCell::default(),
            large_free: RefCell::default(),
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// A whole small buffer, unless none is free.
    #[must_use]
    pub fn take_small(&self) -> Option<Chunk> {
        let index = self.inner.free.borrow_mut().pop()?;
        let header = self.inner.small.get(usize::from(index))?;
        assert_eq!(header.refs.get(), FREE, "a free buffer that somebody has");
        Some(self.hand_out(NonNull::from(header), self.inner.sizes.small_bytes))
    }

    /// A whole large buffer, unless as many as allowed are in use.
    #[must_use]
    pub fn take_large(&self) -> Option<Chunk> {
        let recycled = self.inner.large_free.borrow_mut().pop();
        let header = match recycled {
            Some(header) => header,
            None => self.allocate_large()?,
        };
        Some(self.hand_out(header, self.inner.sizes.large_bytes))
    }

    /// Whether [`Pool::take_large`] would succeed.
    pub(super) fn has_large(&self) -> bool {
        self.large_used() < usize::from(self.inner.sizes.large_count_max)
    }

    /// Small buffers there are.
    #[must_use]
    pub fn small_count(&self) -> usize {
        self.inner.small.len()
    }

    /// Small buffers that hold no bytes: free ones and those lent to the kernel.
    #[must_use]
    pub fn small_free(&self) -> usize {
        self.small_count() - self.inner.small_used.get()
    }

    /// Large buffers handed out.
    #[must_use]
    pub fn large_used(&self) -> usize {
        self.inner.large.borrow().len() - self.inner.large_free.borrow().len()
    }

    /// Lends a free small buffer to the kernel: number, address and bytes for a buffer ring entry.
    pub(super) fn lend(&self) -> Option<(u16, NonNull<u8>, u32)> {
        let index = self.inner.free.borrow_mut().pop()?;
        let header = self.inner.small.get(usize::from(index))?;
        assert_eq!(header.refs.replace(IN_KERNEL), FREE, "a free buffer that somebody has");
        Some((index, header.data, self.inner.sizes.small_bytes))
    }

    /// Takes a lent buffer back with the first `len` bytes filled in.
    ///
    /// # Panics
    /// If the kernel names a buffer it was not lent, or a length past its end.
    pub(super) fn reclaim(&self, index: u16, len: usize) -> Chunk {
        let header = self.inner.small.get(usize::from(index));
        assert!(
            header.is_some_and(|header| header.refs.get() == IN_KERNEL),
            "the kernel filled buffer {index}, which it did not have"
        );
        assert!(len <= self.inner.sizes.small_bytes as usize, "the kernel overran a buffer");
        let header = header.map_or(NonNull::dangling(), NonNull::from);
        let mut chunk = self.hand_out(header, self.inner.sizes.small_bytes);
        chunk.truncate(len);
        chunk
    }

    /// Makes a free buffer a chunk; the buffer keeps the pool alive from here on.
    fn hand_out(&self, header: NonNull<Header>, len: u32) -> Chunk {
        // SAFETY: the header belongs to this pool, which is alive.
        let buffer = unsafe { header.as_ref() };
        buffer.refs.set(1);
        buffer.pool.set(Rc::into_raw(Rc::clone(&self.inner)));
        if !buffer.is_large {
            self.inner.small_used.set(self.inner.small_used.get() + 1);
        }
        Chunk { data: buffer.data, header, len }
    }

    fn allocate_large(&self) -> Option<NonNull<Header>> {
        let mut large = self.inner.large.borrow_mut();
        if large.len() >= usize::from(self.inner.sizes.large_count_max) {
            return None;
        }
        let header = Box::new(Header {
            data: map(self.inner.sizes.large_bytes as usize).ok()?,
            refs: Cell::new(FREE),
            index: 0,
            is_large: true,
            pool: Cell::new(std::ptr::null()),
        });
        let address = NonNull::from(&*header);
        large.push(header);
        Some(address)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("small_free", &self.small_free())
            .field("large_used", &self.large_used())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Puts a buffer without chunks on its free list and drops its hold on the pool, maybe the last.
    fn give_back(header: NonNull<Header>) {
        // SAFETY: the buffer still holds the pool, hence its own header.
        let buffer = unsafe { header.as_ref() };
        // SAFETY: the pointer came from `Rc::into_raw` in `hand_out`, once per hand-out, and a buffer
        // is given back once per hand-out.
        let inner = unsafe { Rc::from_raw(buffer.pool.get()) };
        if buffer.is_large {
            inner.large_free.borrow_mut().push(header);
        } else {
            inner.small_used.set(inner.small_used.get() - 1);
            inner.free.borrow_mut().push(buffer.index);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let small_bytes = self.sizes.small_bytes as usize * self.small.len();
        unmap(self.memory, small_bytes);
        for header in self.large.get_mut() {
            unmap(header.data, self.sizes.large_bytes as usize);
        }
    }
}

/// Zeroed, page-aligned memory, given by the system when first touched.
pub(super) fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping touches no existing memory.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Returns memory of [`map`]; nobody may use it any more.
pub(super) fn unmap(address: NonNull<u8>, bytes: usize) {
    // SAFETY: callers pass what `map` returned, once, when the last user is gone.
    let result = unsafe { libc::munmap(address.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "munmap of our own mapping");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use super::*;

    fn pool(small_count: u16, large_count_max: u16) -> Pool {
        Pool::new(BufferSizes { small_count, small_bytes: 64, large_count_max, large_bytes: 4096 })
            .unwrap()
    }

    #[test]
    fn sizes() {
        assert_eq!(size_of::<Option<Chunk>>(), 24);
        assert!(size_of::<crate::io::Event>() <= 40);
        assert!(Pool::new(BufferSizes { small_count: 3, ..BufferSizes::default() }).is_err());
    }

    #[test]
    fn the_last_piece_returns_the_buffer_and_it_is_the_next_taken() {
        let pool = pool(4, 1);
        let mut rest = pool.take_small().unwrap();
        rest.copy_from_slice(&[7; 64]);
        let address = rest.as_ptr();
        let mut head = rest.split_to(10);
        head[9] = 1;
        rest[0] = 2;
        assert_eq!((head[8], head[9], rest[0], rest[1]), (7, 1, 2, 7));
        assert_eq!((head.len(), rest.len()), (10, 54));
        drop(rest);
        assert_eq!(pool.small_free(), 3);
        drop(head);
        assert_eq!(pool.small_free(), 4);
        assert_eq!(pool.take_small().unwrap().as_ptr(), address);
    }

    #[test]
    fn both_classes_are_bounded_and_reused() {
        let pool = pool(2, 1);
        let (a, b) = (pool.take_small().unwrap(), pool.take_small().unwrap());
        assert!(pool.take_small().is_none());
        let large = pool.take_large().unwrap();
        assert!(large.is_large() && !a.is_large() && !pool.has_large());
        assert!(pool.take_large().is_none());
        let address = large.as_ptr();
        drop((a, b, large));
        assert_eq!((pool.small_free(), pool.large_used()), (2, 0));
        assert_eq!(pool.take_large().unwrap().as_ptr(), address);
    }

    #[test]
    fn chunks_outlive_the_pool() {
        let pool = pool(2, 1);
        let mut chunks = [pool.take_small().unwrap(), pool.take_large().unwrap()];
        drop(pool);
        chunks[1].fill(3);
        chunks[0].fill(4);
        assert!(chunks[1].iter().all(|byte| *byte == 3));
    }

    #[test]
    #[should_panic(expected = "bytes of a chunk of 64")]
    fn a_piece_cannot_be_longer_than_the_chunk() {
        drop(pool(2, 0).take_small().unwrap().split_to(65));
    }

    #[test]
    #[should_panic(expected = "which it did not have")]
    fn the_kernel_returns_only_what_it_was_lent() {
        drop(pool(2, 0).reclaim(1, 5));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(bool),
        Split(usize, usize),
        Advance(usize, usize),
        Truncate(usize, usize),
        Drop(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0u8..5, any::<usize>(), any::<usize>()).prop_map(|(kind, a, b)| match kind {
            0 => Step::Take(a % 3 == 0),
            1 => Step::Split(a, b),
            2 => Step::Advance(a, b),
            3 => Step::Truncate(a, b),
            _ => Step::Drop(a),
        });
        vec(step, 0..200)
    }

    proptest! {
        /// Pieces keep their own bytes whatever happens to others, and every buffer comes back.
        #[test]
        fn pieces_never_overlap(steps in steps()) {
            let pool = pool(4, 2);
            let mut live: Vec<(Chunk, Vec<u8>)> = Vec::new();
            let mut stamp = 0u8;
            for step in steps {
                match step {
                    Step::Take(large) => {
                        let taken = if large { pool.take_large() } else { pool.take_small() };
                        if let Some(chunk) = taken {
                            let copy = chunk.to_vec();
                            live.push((chunk, copy));
                        }
                    }
                    Step::Split(at, n) if !live.is_empty() => {
                        let at = at % live.len();
                        let n = n % (live[at].0.len() + 1);
                        let head = live[at].0.split_to(n);
                        let tail = live[at].1.split_off(n);
                        let head_copy = std::mem::replace(&mut live[at].1, tail);
                        live.push((head, head_copy));
                    }
                    Step::Advance(at, n) if !live.is_empty() => {
                        let at = at % live.len();
                        let n = n % (live[at].0.len() + 1);
                        live[at].0.advance(n);
                        live[at].1.drain(..n);
                    }
                    Step::Truncate(at, n) if !live.is_empty() => {
                        let at = at % live.len();
                        let n = n % (live[at].0.len() + 1);
                        live[at].0.truncate(n);
                        live[at].1.truncate(n);
                    }
                    Step::Drop(at) if !live.is_empty() => {
                        let at = at % live.len();
                        drop(live.swap_remove(at));
                    }
                    Step::Split(..) | Step::Advance(..) | Step::Truncate(..) | Step::Drop(_) => {}
                }
                if let Some((chunk, copy)) = live.last_mut() {
                    stamp = stamp.wrapping_add(1);
                    chunk.fill(stamp);
                    copy.fill(stamp);
                }
                for (chunk, copy) in &live {
                    prop_assert_eq!(&chunk[..], &copy[..]);
                }
            }
            drop(live);
            prop_assert_eq!((pool.small_free(), pool.large_used()), (4, 0));
        }
    }
}
