//! Why a session keeps its backend connection.
//!
//! Purpose: reasons with names, each with its end.
//! Never: forget a reason before what it stands for has ended.

/// A reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pin {
    /// SET TRANSACTION for the next transaction. Ends with that.
    NextTransaction,
    /// LOCK TABLES. Ends with UNLOCK TABLES.
    TableLock,
    /// FLUSH TABLES WITH READ LOCK and FOR EXPORT, LOCK INSTANCE, BACKUP. Ends with what undoes it.
    GlobalLock,
    /// GET_LOCK. Ends with RELEASE_LOCK of the same name, or RELEASE_ALL_LOCKS.
    NamedLock,
    /// CREATE TEMPORARY TABLE. Ends with DROP TABLE.
    TemporaryTable,
    /// HANDLER … OPEN. Ends with HANDLER … CLOSE.
    Handler,
    /// PREPARE in SQL. Ends with DEALLOCATE PREPARE.
    TextStatement,
    /// EXECUTE in SQL ran a text that was not seen. Ends with a reset of the session.
    UnseenText,
    /// XA START. Ends with XA COMMIT or XA ROLLBACK.
    Xa,
    /// A user variable has a value that cannot be carried to another connection. Ends when it is
    /// set to one that can be.
    UserVariable,
    /// CALL: what a procedure does to its connection is not all reported. Ends with a reset of the
    /// session.
    Procedure,
    /// SQL_CALC_FOUND_ROWS. Ends with the next statement.
    FoundRows,
    /// Warnings or an error that may be asked for. Ends with the next statement.
    Diagnostics,
    /// A prepared statement that has an open cursor or long data, or asks for the answers of the
    /// statement before it, or cannot be prepared elsewhere. Ends with the cursor or the execution,
    /// or when the statement is closed.
    Statement,
    /// A variable that holds for one statement or cannot be carried. Ends with a reset of the session.
    OneShot,
    /// SET ROLE. Ends with a reset of the session.
    Role,
    /// The client has set session_track_*. Ends with a reset of the session.
    Tracking,
    /// A text that could not be read for sure. Ends with a reset of the session.
    Unread,
    /// The server reported a change that nothing explains. Ends with a reset of the session.
    Unexplained,
    /// Replication, COM_SET_OPTION, COM_CHANGE_USER. Does not end.
    Protocol,
    /// A transaction is open, as the server says. Ends with that.
    Transaction,
}

impl Pin {
    /// All of them, with their names in metrics.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::NextTransaction, "next_transaction"),
        (Self::TableLock, "table_lock"),
        (Self::GlobalLock, "global_lock"),
        (Self::NamedLock, "named_lock"),
        (Self::TemporaryTable, "temporary_table"),
        (Self::Handler, "handler"),
        (Self::TextStatement, "text_statement"),
        (Self::UnseenText, "unseen_text"),
        (Self::Xa, "xa"),
        (Self::UserVariable, "user_variable"),
        (Self::Procedure, "procedure"),
        (Self::FoundRows, "found_rows"),
        (Self::Diagnostics, "diagnostics"),
        (Self::Statement, "statement"),
        (Self::OneShot, "one_shot"),
        (Self::Role, "role"),
        (Self::Tracking, "tracking"),
        (Self::Unread, "unread"),
        (Self::Unexplained, "unexplained"),
        (Self::Protocol, "protocol"),
        (Self::Transaction, "transaction"),
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, name)| name)
    }

    /// Its place in a set of them.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Names held at once; more are one that has no name, and no end.
const NAMED_MAX: usize = 64;

/// The reasons a session has at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Those without names.
    set: u32,
    /// Those that end when all their names are gone. One that was taken twice is there twice.
    named: Vec<(Pin, Box<[u8]>)>,
}

impl Pins {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set == 0 && self.named.is_empty()
    }

    /// Whether there is that one.
    #[must_use]
    pub fn has(&self, pin: Pin) -> bool {
        self.set & pin.bit() != 0 || self.named.iter().any(|(held, _)| *held == pin)
    }

    /// Those there are, by [`Pin::bit`].
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.named.iter().fold(self.set, |bits, (pin, _)| bits | pin.bit())
    }

    /// Those there are, each once.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = Pin> {
        Pin::ALL.iter().map(|(pin, _)| *pin).filter(|pin| self.has(*pin))
    }

    /// It holds.
    pub const fn add(&mut self, pin: Pin) {
        self.set |= pin.bit();
    }

    /// It has ended.
    pub const fn remove(&mut self, pin: Pin) {
        self.set &= !pin.bit();
    }

    /// One more of that name.
    pub fn hold(&mut self, pin: Pin, name: &[u8]) {
        if self.named.len() < NAMED_MAX {
            self.named.push((pin, name.into()));
        } else {
            self.add(pin);
        }
    }

    /// One less of that name. It may not be there.
    pub fn free(&mut self, pin: Pin, name: &[u8]) {
        let held = self.named.iter().position(|(held, own)| *held == pin && **own == *name);
        if let Some(place) = held {
            self.named.swap_remove(place);
        }
    }

    /// As many as there are of that name.
    pub fn free_all_of(&mut self, pin: Pin, name: &[u8]) {
        self.named.retain(|(held, own)| *held != pin || **own != *name);
    }

    /// All of that reason have ended.
    pub fn free_all(&mut self, pin: Pin) {
        self.remove(pin);
        self.named.retain(|(held, _)| *held != pin);
    }

    /// The session was reset: what is left does not end.
    pub fn reset(&mut self) {
        self.set &= Pin::Protocol.bit();
        self.named.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_has_its_name() {
        for (place, (pin, name)) in Pin::ALL.iter().enumerate() {
            assert_eq!((*pin as usize, pin.name()), (place, *name));
        }
    }

    #[test]
    fn a_named_pin_ends_with_its_last_name() {
        let mut pins = Pins::default();
        for name in ["a", "a", "b"] {
            pins.hold(Pin::NamedLock, name.as_bytes());
        }
        pins.hold(Pin::TemporaryTable, b"a");
        pins.free(Pin::NamedLock, b"c");
        pins.free(Pin::NamedLock, b"b");
        pins.free(Pin::NamedLock, b"a");
        assert!(pins.has(Pin::NamedLock), "it was taken twice");
        pins.free(Pin::NamedLock, b"a");
        assert_eq!(pins.iter().collect::<Vec<_>>(), [Pin::TemporaryTable]);
        pins.free_all_of(Pin::TemporaryTable, b"a");
        assert!(pins.is_empty());
    }

    #[test]
    fn too_many_names_are_one_without_end() {
        let mut pins = Pins::default();
        for number in 0..=NAMED_MAX {
            pins.hold(Pin::Handler, number.to_string().as_bytes());
        }
        for number in 0..=NAMED_MAX {
            pins.free(Pin::Handler, number.to_string().as_bytes());
        }
        assert!(pins.has(Pin::Handler));
        pins.add(Pin::Protocol);
        pins.reset();
        assert_eq!(pins.iter().collect::<Vec<_>>(), [Pin::Protocol]);
    }
}
