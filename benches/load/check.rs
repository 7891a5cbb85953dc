//! Follows a reply to its end and checks it on the way.
//!
//! Purpose: know when a reply is complete, and that it is the one asked for: frame lengths,
//! sequence ids, packet kinds, and every byte of the row.
//! Never: keep a copy of the reply, or trust a proxy to have counted right.

use crate::login::{Profile, error_text};
use crate::protocol::{Fields, HEADER, MORE_RESULTS, PAYLOAD_MAX, header};

/// Which reply a command is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A result set with exactly one row.
    Row,
    /// The same, whose row may also be an older one of the same length.
    RowOrOlder,
    /// The reply to `COM_STMT_PREPARE`.
    Prepared,
    /// The OK of a statement that has changed one row.
    Changed,
}

/// How far a reply has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were taken, more are to come.
    More,
    /// The reply ended after that many of the bytes.
    Done(usize),
}

/// Why a reply is not the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server, or the proxy in its name, answered ERR.
    Refused(String),
    /// Bytes that do not belong here.
    Unexpected(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(text) => f.write_str(text),
            Self::Unexpected(what) => write!(f, "unexpected bytes: {what}"),
        }
    }
}

impl std::error::Error for Fault {}

/// The state of one reply. Accepts any cut of it.
#[derive(Debug)]
pub struct Checker {
    profile: Profile,
    kind: Kind,
    phase: Phase,
    /// Sequence id the next frame must have.
    seq: u8,
    /// Header bytes of the current frame, and how many of them have come.
    header: [u8; HEADER],
    header_len: usize,
    /// Payload length of the current frame, and how much of it has come.
    length: usize,
    taken: usize,
    /// The payload's first bytes: enough to tell packets apart and to read an OK's flags.
    head: [u8; HEAD],
    /// The payload so far equals the expected row.
    row_matches: bool,
    rows: u32,
    /// The row is an older one.
    is_older: bool,
    /// Statement id of the last `Prepared` reply.
    statement: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    First,
    Definitions { left: u64, next: Next },
    Eof { next: Next },
    Rows,
}

/// What follows a group of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Rows,
    Columns(u64),
    End,
}

impl Checker {
    /// A checker for replies to a client of that profile.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            kind: Kind::Row,
            phase: Phase::First,
            seq: 1,
            header: [0; HEADER],
            header_len: 0,
            length: 0,
            taken: 0,
            head: [0; HEAD],
            row_matches: true,
            rows: 0,
            is_older: false,
            statement: 0,
        }
    }

    /// Expects a reply of that kind from here on.
    pub fn begin(&mut self, kind: Kind) {
        *self = Self { kind, statement: self.statement, ..Self::new(self.profile) };
    }

    /// The statement id of the last `Prepared` reply.
    #[must_use]
    pub fn statement(&self) -> u32 {
        self.statement
    }

    /// The row of the last reply was an older one.
    #[must_use]
    pub fn is_older(&self) -> bool {
        self.is_older
    }

    /// Feeds received bytes; `row` is the payload the one row must have.
    ///
    /// # Errors
    /// The reply is an ERR, or not what the protocol or `row` says.
    pub fn feed(&mut self, bytes: &[u8], row: &[u8]) -> Result<Progress, Fault> {
        let mut rest = bytes;
        loop {
            if self.header_len < HEADER {
                let wanted = (HEADER - self.header_len).min(rest.len());
                let (now, later) = rest.split_at(wanted);
                let room = self.header.iter_mut().skip(self.header_len);
                room.zip(now).for_each(|(to, from)| *to = *from);
                self.header_len += wanted;
                rest = later;
                if self.header_len < HEADER {
                    return Ok(Progress::More);
                }
                self.on_header()?;
            }
            let wanted = (self.length - self.taken).min(rest.len());
            let (now, later) = rest.split_at(wanted);
            self.on_payload(now, row);
            rest = later;
            if self.taken < self.length {
                return Ok(Progress::More);
            }
            self.header_len = 0;
            if self.on_frame(row.len())? {
                return Ok(Progress::Done(bytes.len() - rest.len()));
            }
        }
    }

    fn on_header(&mut self) -> Result<(), Fault> {
        let (length, seq) = header(self.header);
        if seq != self.seq {
            return Err(Fault::Unexpected("sequence id"));
        }
        if length == 0 || length == PAYLOAD_MAX {
            return Err(Fault::Unexpected("frame length"));
        }
        self.seq = seq.wrapping_add(1);
        self.length = length;
        self.taken = 0;
        self.row_matches = true;
        Ok(())
    }

    fn on_payload(&mut self, now: &[u8], row: &[u8]) {
        if self.taken < HEAD {
            let room = self.head.iter_mut().skip(self.taken);
            room.zip(now).for_each(|(to, from)| *to = *from);
        }
        if self.phase == Phase::Rows && self.row_matches {
            self.row_matches = row.get(self.taken..self.taken + now.len()) == Some(now);
        }
        self.taken += now.len();
    }

    /// A frame is complete; true if it was the reply's last.
    fn on_frame(&mut self, row_len: usize) -> Result<bool, Fault> {
        let head = self.head;
        let payload = head.get(..self.length).unwrap_or(&head);
        let first = head.first().copied().unwrap_or_default();
        if first == 0xFF {
            return Err(Fault::Refused(error_text(payload)));
        }
        match self.phase {
            Phase::First => self.on_first(payload),
            Phase::Definitions { left: 1, next } if self.profile == Profile::Modern => {
                Ok(self.advance(next))
            }
            Phase::Definitions { left: 1, next } => {
                self.phase = Phase::Eof { next };
                Ok(false)
            }
            Phase::Definitions { left, next } => {
                self.phase = Phase::Definitions { left: left - 1, next };
                Ok(false)
            }
            Phase::Eof { next } if first == 0xFE && self.length == EOF => Ok(self.advance(next)),
            Phase::Eof { .. } => Err(Fault::Unexpected("no EOF after the columns")),
            Phase::Rows if first == 0xFE && self.length < HEAD => self.on_end(payload),
            Phase::Rows if self.row_matches && self.length == row_len => {
                self.rows += 1;
                Ok(false)
            }
            Phase::Rows if self.kind == Kind::RowOrOlder && self.length == row_len => {
                self.rows += 1;
                self.is_older = true;
                Ok(false)
            }
            Phase::Rows => Err(Fault::Unexpected("another row than asked for")),
        }
    }

    fn on_first(&mut self, payload: &[u8]) -> Result<bool, Fault> {
        let mut fields = Fields(payload);
        if self.kind == Kind::Changed {
            let mut read =
                || Some((fields.u8()?, fields.lenenc()?, fields.lenenc()?, fields.u16()?));
            return match read() {
                Some((0, 1, _, status)) if status & MORE_RESULTS == 0 => Ok(true),
                Some((0, ..)) => Err(Fault::Unexpected("not one row changed")),
                _ => Err(Fault::Unexpected("no OK")),
            };
        }
        if self.kind != Kind::Prepared {
            let left = fields.lenenc().unwrap_or_default();
            if left == 0 || !fields.0.is_empty() {
                return Err(Fault::Unexpected("no column count"));
            }
            self.phase = Phase::Definitions { left, next: Next::Rows };
            return Ok(false);
        }
        let mut read = || {
            let zero = fields.u8()?;
            Some((zero, fields.u32()?, u64::from(fields.u16()?), u64::from(fields.u16()?)))
        };
        let Some((0, statement, columns, params)) = read() else {
            return Err(Fault::Unexpected("no reply to a prepare"));
        };
        self.statement = statement;
        let next = if columns == 0 { Next::End } else { Next::Columns(columns) };
        if params == 0 {
            return Ok(self.advance(next));
        }
        self.phase = Phase::Definitions { left: params, next };
        Ok(false)
    }

    /// Enters what follows a group of definitions; true if nothing does.
    fn advance(&mut self, next: Next) -> bool {
        self.phase = match next {
            Next::Rows => Phase::Rows,
            Next::Columns(left) => Phase::Definitions { left, next: Next::End },
            Next::End => return true,
        };
        false
    }

    /// The OK or EOF after the rows.
    fn on_end(&self, payload: &[u8]) -> Result<bool, Fault> {
        let mut fields = Fields(payload);
        fields.u8();
        let status = match self.profile {
            Profile::Modern => {
                fields.lenenc();
                fields.lenenc();
                fields.u16()
            }
            Profile::Classic if self.length == EOF => {
                fields.u16();
                fields.u16()
            }
            Profile::Classic => None,
        };
        match status {
            None => Err(Fault::Unexpected("malformed end of rows")),
            Some(status) if status & MORE_RESULTS != 0 => Err(Fault::Unexpected("more results")),
            Some(_) if self.rows != 1 => Err(Fault::Unexpected("not one row")),
            Some(_) => Ok(true),
        }
    }
}

/// Bytes kept of each payload: an OK's flags are within the first 21, the rest is for error texts.
const HEAD: usize = 128;
/// Payload bytes of an EOF packet.
const EOF: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{Answers, Encoding};

    fn row(encoding: Encoding, size: usize) -> Vec<u8> {
        Answers::row(encoding, &Answers::value(encoding, size))
    }

    #[test]
    fn every_cut_of_every_reply_ends_at_its_end() {
        for profile in [Profile::Modern, Profile::Classic] {
            for encoding in [Encoding::Text, Encoding::Binary] {
                let reply = Answers::result(encoding, profile, 300).unwrap();
                let row = row(encoding, 300);
                for cut in 0..reply.len() {
                    let mut checker = Checker::new(profile);
                    checker.begin(Kind::Row);
                    assert_eq!(checker.feed(&reply[..cut], &row), Ok(Progress::More));
                    let rest = reply.len() - cut;
                    assert_eq!(checker.feed(&reply[cut..], &row), Ok(Progress::Done(rest)));
                }
            }
        }
    }

    #[test]
    fn prepare_replies_end_at_their_end() {
        for profile in [Profile::Modern, Profile::Classic] {
            for params in [0, 1, 3] {
                let mut reply = Answers::prepared(profile, 9, params).unwrap();
                let end = reply.len();
                reply.push(0xEE);
                let mut checker = Checker::new(profile);
                checker.begin(Kind::Prepared);
                assert_eq!(checker.feed(&reply, &[]), Ok(Progress::Done(end)));
                assert_eq!(checker.statement(), 9);
            }
        }
    }

    /// A flipped bit inside a column definition cannot be told from another definition; anywhere
    /// else it must be noticed or leave the reply unfinished.
    #[test]
    fn damage_is_seen() {
        let reply = Answers::result(Encoding::Text, Profile::Modern, 68).unwrap();
        let row = row(Encoding::Text, 68);
        let definition = 9..36;
        let end_counts = reply.len() - 6..reply.len() - 4;
        let warnings = reply.len() - 4..reply.len();
        for at in 0..reply.len() {
            if definition.contains(&at) || end_counts.contains(&at) || warnings.contains(&at) {
                continue;
            }
            let mut damaged = reply.clone();
            damaged[at] ^= 0x01;
            let mut checker = Checker::new(Profile::Modern);
            checker.begin(Kind::Row);
            let result = checker.feed(&damaged, &row);
            assert_ne!(result, Ok(Progress::Done(reply.len())), "byte {at}");
        }
    }

    #[test]
    fn older_rows_are_told_apart_where_they_may_come() {
        let reply = Answers::result(Encoding::Text, Profile::Modern, 68).unwrap();
        let same = row(Encoding::Text, 68);
        let mut other = same.clone();
        *other.last_mut().unwrap() ^= 0x01;
        for (row, is_older) in [(&same, false), (&other, true)] {
            let mut checker = Checker::new(Profile::Modern);
            checker.begin(Kind::RowOrOlder);
            assert_eq!(checker.feed(&reply, row), Ok(Progress::Done(reply.len())));
            assert_eq!(checker.is_older(), is_older);
            checker.begin(Kind::Row);
            assert_eq!(checker.feed(&reply, row).is_err(), is_older);
        }
    }

    #[test]
    fn changes_change_one_row() {
        let cases: [(&[u8], Result<Progress, Fault>); 4] = [
            (b"\0\x01\0\x02\0\0\0", Ok(Progress::Done(11))),
            (b"\0\0\0\x02\0\0\0", Err(Fault::Unexpected("not one row changed"))),
            (b"\0\x01\0\x0a\0\0\0", Err(Fault::Unexpected("not one row changed"))),
            (b"\x01", Err(Fault::Unexpected("no OK"))),
        ];
        for (payload, expected) in cases {
            let mut reply = Vec::new();
            crate::protocol::put_frame(&mut reply, 1, payload).unwrap();
            let mut checker = Checker::new(Profile::Modern);
            checker.begin(Kind::Changed);
            assert_eq!(checker.feed(&reply, &[]), expected);
        }
    }

    #[test]
    fn refusals_keep_their_text() {
        let mut reply = Vec::new();
        crate::protocol::put_frame(&mut reply, 1, b"\xff\x28\x04#42000nope").unwrap();
        let mut checker = Checker::new(Profile::Classic);
        checker.begin(Kind::Row);
        let fault = checker.feed(&reply, &[]).unwrap_err();
        assert_eq!(fault.to_string(), "ERR 1064: #42000nope");
    }

    #[test]
    fn missing_and_doubled_rows_are_seen() {
        let size = 68;
        let whole = Answers::result(Encoding::Text, Profile::Modern, size).unwrap();
        let row = row(Encoding::Text, size);
        let rows_at = whole.len() - 11 - HEADER - row.len();
        let mut missing = whole[..rows_at].to_vec();
        crate::protocol::put_frame(&mut missing, 3, b"\xfe\0\0\x02\0\0\0").unwrap();
        let mut checker = Checker::new(Profile::Modern);
        checker.begin(Kind::Row);
        assert_eq!(checker.feed(&missing, &row), Err(Fault::Unexpected("not one row")));
    }
}
