//! A first-in, first-out queue that refuses to grow past its bound.
//!
//! Purpose: make "every queue has a bound" a type.
//! Never: block, or drop an element silently.

use std::collections::VecDeque;

/// The queue was at its bound; the element comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// FIFO with a fixed maximum length. Allocates only when first used.
#[derive(Debug)]
pub struct BoundedQueue<T> {
    items: VecDeque<T>,
    len_max: usize,
}

impl<T> BoundedQueue<T> {
    /// An empty queue that holds at most `len_max` elements.
    #[must_use]
    pub const fn new(len_max: usize) -> Self {
        Self { items: VecDeque::new(), len_max }
    }

    /// Appends an element.
    ///
    /// # Errors
    /// [`Full`] with the element when the queue is at its bound.
    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if self.is_full() {
            return Err(Full(item));
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Removes the oldest element.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// The oldest element.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.items.front()
    }

    /// The oldest element, to change in place.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.items.front_mut()
    }

    /// The newest element, to change in place.
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.items.back_mut()
    }

    /// Elements held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// No elements held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// At its bound.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.items.len() >= self.len_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_past_its_bound_and_keeps_order() {
        let mut queue = BoundedQueue::new(2);
        assert_eq!(queue.push('a'), Ok(()));
        assert_eq!(queue.push('b'), Ok(()));
        assert_eq!(queue.push('c'), Err(Full('c')));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some('a'), Some('b'), None));
    }
}
