//! How long commands took, and which errors clients were told.

use super::*;
use crate::session::Entry::{self, Answered, BackendError, OwnError};

fn ms(milliseconds: u64) -> Time {
    Time::from_nanos(milliseconds * 1_000_000)
}

impl Pair {
    fn client_at(&mut self, milliseconds: u64, bytes: &[u8]) {
        self.ledger.set_now(ms(milliseconds));
        self.client(bytes);
    }

    fn backend_at(&mut self, milliseconds: u64, bytes: &[u8]) {
        self.ledger.set_now(ms(milliseconds));
        self.backend(bytes);
    }

    /// What was entered since the last look: milliseconds, and errors.
    fn entered(&mut self) -> Vec<Entry> {
        let whole = |(entry, times): &(Entry, u32)| {
            let entry = match *entry {
                Entry::Answered(nanos) => Entry::Answered(nanos / 1_000_000),
                other @ (Entry::BackendError(_)
                | Entry::OwnError(_)
                | Entry::Prepared
                | Entry::Routed { .. }
                | Entry::Repeated
                | Entry::Waited { .. }
                | Entry::PositionLost
                | Entry::Pinned(_)
                | Entry::Unpinned(_)
                | Entry::Local) => other,
            };
            std::iter::repeat_n(entry, *times as usize)
        };
        let entries = self.ledger.entries().iter().flat_map(whole).collect();
        self.ledger.clear();
        entries
    }
}

fn error(code: u16) -> Vec<u8> {
    let mut out = BytesMut::new();
    ErrPacket { code, sqlstate: *b"HY000", message: b"no" }.encode(1, &mut out);
    out.to_vec()
}

#[test]
fn pipelined_commands_have_times_of_their_own() {
    let mut pair = Pair::logged_in(NEW);
    pair.client_at(10, &[query(), query()].concat());
    pair.client_at(20, &query());
    assert!(pair.entered().is_empty());
    let done = ok(1, Status::AUTOCOMMIT);
    pair.backend_at(30, &done);
    assert_eq!(pair.entered(), [Answered(20)]);
    pair.backend_at(50, &[done.clone(), done].concat());
    assert_eq!(pair.entered(), [Answered(40), Answered(30)]);
}

#[test]
fn a_reply_counts_when_it_is_complete() {
    let mut pair = Pair::logged_in(OLD);
    pair.client_at(5, &query());
    let reply = rows(3);
    let (head, tail) = reply.split_at(reply.len() - 1);
    pair.backend_at(7, head);
    assert!(pair.entered().is_empty());
    pair.backend_at(9, tail);
    assert_eq!(pair.entered(), [Answered(4)]);
}

#[test]
fn a_command_begins_with_its_first_byte_however_it_is_cut() {
    let bytes = [query(), query()].concat();
    for cut in 1..bytes.len() {
        let mut pair = Pair::logged_in(NEW);
        let (early, late) = bytes.split_at(cut);
        pair.client_at(100, early);
        pair.client_at(200, late);
        pair.backend_at(300, &ok(1, Status::AUTOCOMMIT));
        pair.backend_at(300, &ok(1, Status::AUTOCOMMIT));
        let second = if cut > query().len() { 200 } else { 100 };
        assert_eq!(pair.entered(), [Answered(200), Answered(second)], "cut at {cut}");
    }
}

#[test]
fn a_refusal_is_timed_and_its_error_is_weirs() {
    // Of three bytes, so that the next head is cut as well.
    let unknown = command(&[0x1D, 1, 2]);
    for cut in 1..unknown.len() {
        let mut pair = Pair::logged_in(NEW);
        let (early, late) = unknown.split_at(cut);
        pair.client_at(1, early);
        assert!(pair.entered().is_empty());
        pair.client_at(6, &[late, &query()].concat());
        assert_eq!(pair.entered(), [Answered(5), OwnError(1047)], "cut at {cut}");
        pair.backend_at(8, &ok(1, Status::AUTOCOMMIT));
        assert_eq!(pair.entered(), [Answered(2)]);
    }
}

#[test]
fn errors_of_the_backend_carry_their_number() {
    let mut pair = Pair::logged_in(NEW);
    pair.client_at(1, &[query(), query()].concat());
    pair.backend_at(2, &[error(1064), error(1205)].concat());
    // The same time twice is kept once.
    assert_eq!(pair.entered(), [BackendError(1064), Answered(1), Answered(1), BackendError(1205)]);
}

#[test]
fn a_flood_of_refusals_is_two_entries() {
    let mut pair = Pair::logged_in(NEW);
    pair.client_at(1, &command(&[0x1D]).repeat(50_000));
    let entries = [(Answered(0), 50_000), (OwnError(1047), 50_000)];
    assert_eq!(pair.ledger.entries(), entries);
}

#[test]
fn what_nobody_asked_for_has_no_time() {
    let mut pair = Pair::logged_in(NEW);
    // Silent commands, and a server that says goodbye.
    pair.client_at(1, &command(&[0x19, 1, 0, 0, 0]));
    pair.backend_at(2, &error(1053));
    assert_eq!(pair.entered(), [BackendError(1053)]);
}
