//! Send queues: what connections still have to send.
//!
//! Purpose: order of bytes per connection, pieces without copies, no heap for an idle connection, no
//! allocation per piece in the steady state.
//! Never: call the kernel.
//!
//! All queues of a driver are lists in one shared array of nodes. Bytes handed over for copying go
//! into one shared arena that is emptied when the turn's sends are over; what the kernel did not take
//! by then is *spilled*: copied to heap memory of its connection, so that neither the arena nor the
//! small receive buffers are held by a slow reader.

use std::mem;

use crate::io::buf::Chunk;

/// One connection's queue: a list in [`Out`].
#[derive(Debug)]
pub(super) struct Queue {
    first: u32,
    last: u32,
    count: u32,
    /// Pieces at the front that the kernel is reading: they must neither move nor grow.
    sealed: u32,
    bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// An empty queue.
    pub(super) const fn new() -> Self {
        Self { first: NONE, last: NONE, count: 0, sealed: 0, bytes: 0 }
    }

    /// Bytes queued.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Pieces queued.
    pub(super) const fn count(&self) -> usize {
        self.count as usize
    }

    /// Freezes the first `count` pieces until [`Out::consume`].
    pub(super) fn seal(&mut self, count: usize) {
        self.sealed = u32::try_from(count).unwrap_or(u32::MAX);
    }
}

/// The memory of all send queues of a driver.
#[derive(Debug)]
pub(super) struct Out {
    nodes: Vec<Node>,
    free: u32,
    arena: Vec<u8>,
    spilled_bytes: usize,
}

#[derive(Debug)]
struct Node {
    piece: Piece,
    next: u32,
}

#[derive(Debug)]
enum Piece {
    /// The node is on the free list.
    None,
    /// Received memory, sent without copying.
    Chunk(Chunk),
    /// Bytes in the arena.
    Arena { start: usize, len: usize },
    /// Spilled bytes, from `start` on.
    Heap(Box<Spill>),
}

#[derive(Debug)]
struct Spill {
    bytes: Vec<u8>,
    start: usize,
}

const NONE: u32 = u32::MAX;
/// A spilled piece is appended to up to this size, then a new one begins: few allocations, and no
/// long copies when the memory grows.
const SPILL_BYTES: usize = 64 * 1024;
/// Arena memory kept from turn to turn.
const ARENA_BYTES_KEPT: usize = 1024 * 1024;

impl Default for Out {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: NONE, arena: Vec::new(), spilled_bytes: 0 }
    }
}

impl Out {
    /// Appends received memory.
    pub(super) fn push_chunk(&mut self, queue: &mut Queue, chunk: Chunk) {
        if !chunk.is_empty() {
            let len = chunk.len();
            self.push(queue, Piece::Chunk(chunk), len);
        }
    }

    /// Appends a copy of `bytes` that lives until [`Out::end_turn`].
    pub(super) fn push_copy(&mut self, queue: &mut Queue, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        if queue.count > queue.sealed
            && let Some(Node { piece: Piece::Arena { start: begin, len }, .. }) =
                self.nodes.get_mut(queue.last as usize)
            && *begin + *len == start
        {
            *len += bytes.len();
            queue.bytes += bytes.len();
            return;
        }
        self.push(queue, Piece::Arena { start, len: bytes.len() }, bytes.len());
    }

    /// Appends to a queue whose front the kernel did not take: small buffers are copied at once.
    pub(super) fn push_chunk_blocked(&mut self, queue: &mut Queue, chunk: Chunk) {
        if chunk.is_large() {
            self.push_chunk(queue, chunk);
        } else {
            self.push_spilled(queue, &chunk);
        }
    }

    /// Appends a copy of `bytes` on the heap.
    pub(super) fn push_spilled(&mut self, queue: &mut Queue, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if queue.count > queue.sealed
            && let Some(Node { piece: Piece::Heap(spill), .. }) =
                self.nodes.get_mut(queue.last as usize)
            && spill.bytes.len() + bytes.len() <= SPILL_BYTES
        {
            spill.bytes.extend_from_slice(bytes);
            queue.bytes += bytes.len();
            self.spilled_bytes += bytes.len();
            return;
        }
        self.push_owned(queue, bytes.to_vec());
    }

    /// Appends memory that is handed over: it counts as spilled from the start.
    pub(super) fn push_owned(&mut self, queue: &mut Queue, bytes: Vec<u8>) {
        let len = bytes.len();
        if len > 0 {
            self.spilled_bytes += len;
            self.push(queue, Piece::Heap(Box::new(Spill { bytes, start: 0 })), len);
        }
    }

    /// Moves what lies in small buffers and in the arena to the heap. Nothing may be sealed.
    pub(super) fn spill(&mut self, queue: &mut Queue) {
        assert_eq!(queue.sealed, 0, "memory the kernel is reading was to be moved");
        let mut from = mem::take(queue);
        while let Some(piece) = self.pop(&mut from) {
            match piece {
                Piece::Chunk(chunk) => self.push_chunk_blocked(queue, chunk),
                Piece::Arena { start, len } => {
                    let arena = mem::take(&mut self.arena);
                    if let Some(bytes) = arena.get(start..start + len) {
                        self.push_spilled(queue, bytes);
                    }
                    self.arena = arena;
                }
                Piece::Heap(spill) => {
                    let len = spill.bytes.len() - spill.start;
                    self.spilled_bytes += len;
                    self.push(queue, Piece::Heap(spill), len);
                }
                Piece::None => {}
            }
        }
    }

    /// Shows the pieces at the front, at most `pieces_max`, as memory ranges.
    pub(super) fn front<'a>(
        &'a self,
        queue: &Queue,
        pieces_max: usize,
    ) -> impl Iterator<Item = &'a [u8]> {
        let mut at = queue.first;
        (0..pieces_max.min(queue.count())).map_while(move |_| {
            let node = self.nodes.get(at as usize)?;
            at = node.next;
            match &node.piece {
                Piece::Chunk(chunk) => Some(&chunk[..]),
                Piece::Arena { start, len } => self.arena.get(*start..*start + *len),
                Piece::Heap(spill) => spill.bytes.get(spill.start..),
                Piece::None => None,
            }
        })
    }

    /// Drops the first `count` bytes: the kernel took them. Unseals the queue.
    pub(super) fn consume(&mut self, queue: &mut Queue, count: usize) {
        assert!(count <= queue.bytes, "the kernel took {count} of {} bytes", queue.bytes);
        queue.sealed = 0;
        let mut left = count;
        while left > 0 {
            let Some(node) = self.nodes.get_mut(queue.first as usize) else { return };
            let len = node.piece.len();
            if left >= len {
                left -= len;
                drop(self.pop(queue));
                continue;
            }
            queue.bytes -= left;
            match &mut node.piece {
                Piece::Chunk(chunk) => chunk.advance(left),
                Piece::Arena { start, len } => {
                    *start += left;
                    *len -= left;
                }
                Piece::Heap(spill) => {
                    spill.start += left;
                    self.spilled_bytes -= left;
                }
                Piece::None => {}
            }
            return;
        }
    }

    /// Drops everything; the kernel must not be reading it.
    pub(super) fn clear(&mut self, queue: &mut Queue) {
        queue.sealed = 0;
        while self.pop(queue).is_some() {}
    }

    /// Empties the arena: no queue may hold bytes in it any more.
    pub(super) fn end_turn(&mut self) {
        self.arena.clear();
        self.arena.shrink_to(ARENA_BYTES_KEPT);
    }

    /// Bytes on the heap, all queues together.
    pub(super) const fn spilled_bytes(&self) -> usize {
        self.spilled_bytes
    }

    fn push(&mut self, queue: &mut Queue, piece: Piece, len: usize) {
        let node = Node { piece, next: NONE };
        let index = if let Some(slot) = self.nodes.get_mut(self.free as usize) {
            let index = mem::replace(&mut self.free, slot.next);
            *slot = node;
            index
        } else {
            let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
            assert!(index < NONE, "four billion pieces queued");
            self.nodes.push(node);
            index
        };
        match self.nodes.get_mut(queue.last as usize) {
            Some(last) => last.next = index,
            None => queue.first = index,
        }
        queue.last = index;
        queue.count += 1;
        queue.bytes += len;
    }

    fn pop(&mut self, queue: &mut Queue) -> Option<Piece> {
        let index = queue.first;
        let node = self.nodes.get_mut(index as usize)?;
        let piece = mem::replace(&mut node.piece, Piece::None);
        queue.first = mem::replace(&mut node.next, self.free);
        self.free = index;
        queue.count -= 1;
        queue.bytes -= piece.len();
        if queue.first == NONE {
            queue.last = NONE;
        }
        if let Piece::Heap(spill) = &piece {
            self.spilled_bytes -= spill.bytes.len() - spill.start;
        }
        Some(piece)
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Chunk(chunk) => chunk.len(),
            Self::Arena { len, .. } => *len,
            Self::Heap(spill) => spill.bytes.len() - spill.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::buf::{BufferSizes, Pool};

    fn content(out: &Out, queue: &Queue) -> Vec<u8> {
        out.front(queue, usize::MAX).flatten().copied().collect()
    }

    fn filled(pool: &Pool, bytes: &[u8]) -> Chunk {
        let mut chunk = pool.take_small().unwrap();
        chunk[..bytes.len()].copy_from_slice(bytes);
        chunk.truncate(bytes.len());
        chunk
    }

    #[test]
    fn keeps_order_and_merges_neighbouring_copies() {
        let pool = Pool::new(BufferSizes::default()).unwrap();
        let (mut out, mut a, mut b) = (Out::default(), Queue::default(), Queue::default());
        out.push_copy(&mut a, b"he");
        out.push_copy(&mut a, b"ad ");
        out.push_copy(&mut b, b"other");
        out.push_chunk(&mut a, filled(&pool, b"payload"));
        out.push_copy(&mut a, b" tail");
        assert_eq!((a.count(), a.bytes()), (3, 17));
        assert_eq!(content(&out, &a), b"head payload tail");
        out.consume(&mut a, 7);
        assert_eq!(content(&out, &a), b"yload tail");
        assert_eq!(content(&out, &b), b"other");
        out.consume(&mut a, 10);
        assert_eq!((a.count(), a.bytes(), pool.small_free()), (0, 0, 256));
        out.consume(&mut b, 5);
        let nodes = out.nodes.len();
        out.end_turn();
        out.push_copy(&mut b, b"again");
        assert_eq!((content(&out, &b), out.nodes.len()), (b"again".to_vec(), nodes));
    }

    #[test]
    fn spilling_frees_small_buffers_and_keeps_large_ones() {
        let pool = Pool::new(BufferSizes::default()).unwrap();
        let (mut out, mut queue) = (Out::default(), Queue::default());
        out.push_copy(&mut queue, b"1");
        out.push_chunk(&mut queue, filled(&pool, b"2"));
        let mut large = pool.take_large().unwrap();
        large.truncate(3);
        large.copy_from_slice(b"345");
        out.push_chunk(&mut queue, large);
        out.push_copy(&mut queue, b"6");
        out.spill(&mut queue);
        out.end_turn();
        assert_eq!(content(&out, &queue), b"123456");
        out.spill(&mut queue);
        assert_eq!((pool.small_free(), pool.large_used(), out.spilled_bytes()), (256, 1, 3));
        queue.seal(3);
        out.push_spilled(&mut queue, b"7");
        assert_eq!(queue.count(), 4, "a sealed piece must not grow");
        out.push_chunk_blocked(&mut queue, filled(&pool, b"8"));
        assert_eq!((queue.count(), pool.small_free()), (4, 256));
        out.consume(&mut queue, 1);
        assert_eq!((content(&out, &queue), out.spilled_bytes()), (b"2345678".to_vec(), 4));
        out.push_owned(&mut queue, b"90".to_vec());
        assert_eq!((content(&out, &queue), out.spilled_bytes()), (b"234567890".to_vec(), 6));
        out.clear(&mut queue);
        assert_eq!((queue.bytes(), out.spilled_bytes(), pool.large_used()), (0, 0, 0));
    }
}
