//! A line that one can leave from anywhere.
//!
//! Purpose: whoever waits is served in the order of coming, and goes away in logarithmic time.
//! Never: grow past its owner's bound: each member stands in it once.

use std::collections::BTreeMap;

/// Somebody's place in a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Those who wait, in the order they came.
#[derive(Debug)]
pub struct Line<T> {
    places: BTreeMap<Ticket, T>,
    next: u64,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), next: 0 }
    }
}

impl<T> Line<T> {
    /// Goes to the end.
    pub fn join(&mut self, who: T) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.places.insert(ticket, who);
        ticket
    }

    /// Takes the first one out.
    pub fn call(&mut self) -> Option<T> {
        self.places.pop_first().map(|(_, who)| who)
    }

    /// Who is first.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.places.first_key_value().map(|(_, who)| who)
    }

    /// Goes away; `None` when called already.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        self.places.remove(&ticket)
    }

    /// Everybody, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &T)> {
        self.places.iter().map(|(ticket, who)| (*ticket, who))
    }

    /// Whoever has that place; `None` when called already.
    #[must_use]
    pub fn get(&self, ticket: Ticket) -> Option<&T> {
        self.places.get(&ticket)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.places.get_mut(&ticket)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_order_whoever_has_not_left() {
        let mut line = Line::default();
        let [_, b, c] = ['a', 'b', 'c'].map(|who| line.join(who));
        assert_eq!((line.leave(b), line.len()), (Some('b'), 2));
        assert_eq!(line.get_mut(b), None);
        assert_eq!(line.iter().map(|(_, who)| *who).collect::<String>(), "ac");
        assert_eq!((line.call(), line.call(), line.call()), (Some('a'), Some('c'), None));
        assert_eq!(line.leave(c), None, "called already");
        assert!(line.is_empty());
    }
}
