//! What is to happen to the bytes a machine was fed.
//!
//! Purpose: let pure machines relay without touching memory they do not own: they say which of
//! their input goes on, which is dropped, and what is put in between.
//! Never: copy payload.

use bytes::BytesMut;
use std::ops::Range;

/// A side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The application.
    Client,
    /// The database server.
    Backend,
}

/// One step through the input, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The next bytes of the input go to the other side.
    Forward(usize),
    /// The next bytes of the input are dropped.
    Discard(usize),
    /// Bytes of [`Edits::bytes`] go to a side.
    Send(Side, Range<usize>),
}

/// The edits of one input, in order. Lent by the worker and used again for the next input, so the
/// steady state allocates nothing.
#[derive(Debug, Default)]
pub struct Edits {
    list: Vec<Edit>,
    bytes: BytesMut,
}

impl Edits {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
    }

    /// Lets the next `count` bytes of the input go on.
    #[inline]
    pub fn forward(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if let Some(Edit::Forward(run)) = self.list.last_mut() {
            *run += count;
        } else {
            self.list.push(Edit::Forward(count));
        }
    }

    /// Drops the next `count` bytes of the input.
    pub fn discard(&mut self, count: usize) {
        if count > 0 {
            self.list.push(Edit::Discard(count));
        }
    }

    /// Puts what `write` appends between what went before and what comes after.
    pub fn send(&mut self, side: Side, write: impl FnOnce(&mut BytesMut)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        if end > start {
            self.list.push(Edit::Send(side, start..end));
        }
    }

    /// The edits so far.
    #[must_use]
    pub fn list(&self) -> &[Edit] {
        &self.list
    }

    /// The bytes of an [`Edit::Send`].
    #[must_use]
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}
