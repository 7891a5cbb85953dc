//! Commands and their answers, in order.

use super::*;

#[test]
fn a_refused_command_is_answered_in_its_turn() {
    for client in [NEW, OLD] {
        let bytes =
            [query(), command(&[0x1D, 1, 2]), command(&[]), query(), command(&[0x0E])].concat();
        for piece in 1..=bytes.len() {
            let mut pair = Pair::logged_in(client);
            for bytes in bytes.chunks(piece) {
                pair.client(bytes);
            }
            assert_eq!(pair.backend_got(), [query(), query(), command(&[0x0E])].concat());
            assert!(pair.client_got().is_empty(), "no answer before its turn");
            pair.backend(&ok(1, Status::AUTOCOMMIT));
            let got = pair.client_got();
            let firsts: Vec<_> = got.iter().map(|(seq, payload)| (*seq, payload[0])).collect();
            assert_eq!(firsts, [(1, 0), (1, 0xFF), (1, 0xFF)]);
            let error = ErrPacket::parse(&got[1].1).unwrap();
            assert_eq!((error.code, &error.sqlstate), (1047, b"08S01"));
            assert_eq!(error.message, UNKNOWN_COMMAND.as_bytes());
            pair.backend(&[rows(2), ok(1, Status::AUTOCOMMIT)].concat());
            // For an old client there is an EOF more.
            let want = if client == NEW { 6 } else { 7 };
            assert_eq!(pair.client_got().len(), want);
            assert!(pair.session.is_at_rest());
            assert_eq!(pair.tally, Tally { commands: 5, replies: 3, errors: 0 });
        }
    }
}

#[test]
fn commands_are_relayed_or_refused_by_their_code() {
    // Those that change or kill connections come with the pieces that can do it.
    let refused = [0x0C, 0x11, 0x1D, 0x20, 0x00, 0x08, 0x2F, 0x99];
    let silent = [0x18, 0x19];
    let answered = [
        2, 3, 4, 7, 9, 0x0A, 0x0D, 0x0E, 0x12, 0x15, 0x16, 0x17, 0x1A, 0x1B, 0x1C, 0x1E, 0x1F, 0xFA,
    ];
    for code in refused {
        let mut pair = Pair::logged_in(NEW);
        pair.client(&command(&[code, 1, 1, 1]));
        assert_eq!(pair.client_error(), (1, 1047, UNKNOWN_COMMAND.to_owned()));
        assert!(pair.backend_got().is_empty() && pair.session.is_at_rest(), "{code:#x}");
    }
    for (codes, rests) in [(&silent[..], true), (&answered[..], false)] {
        for &code in codes {
            let bytes = command(&[code, 1, 0, 0, 0]);
            let mut pair = Pair::logged_in(NEW);
            pair.client(&bytes);
            assert_eq!(pair.backend_got(), bytes);
            assert_eq!(pair.session.is_at_rest(), rests, "{code:#x}");
            assert!(pair.client_got().is_empty() && !pair.closed);
        }
    }
}

/// The answer to a command of several frames is numbered after them.
#[test]
fn a_long_refused_command_is_dropped_whole() {
    let mut body = vec![0x1D; 0xFF_FFFF + 10];
    body[0xFF_FFFF..].fill(3);
    let bytes = command(&body);
    let mut pair = Pair::logged_in(NEW);
    for piece in bytes.chunks(1 << 20) {
        pair.client(piece);
        assert_eq!(pair.session.bytes_ahead(Side::Backend), 0);
    }
    assert_eq!(pair.client_error().0, 2);
    assert!(pair.backend_got().is_empty() && pair.session.is_at_rest());
}

#[test]
fn too_many_commands_ahead_end_the_session() {
    let mut pair = Pair::logged_in(NEW);
    pair.client(&query().repeat(PIPELINED_MAX));
    assert!(!pair.closed);
    pair.backend(&rows(0));
    pair.client(&query());
    assert!(!pair.closed, "one was answered, one more fits");
    pair.client_got();
    pair.client(&command(&[0x1D]));
    let (seq, code, text) = pair.client_error();
    assert_eq!((seq, code), (1, 1105));
    assert!(text.contains("limits.pipelined_commands_max"), "{text}");
    assert_eq!(pair.fault.unwrap().blame, Blame::Limit);
}

/// A first result, then the wish for a file, then its result: an old client counts one more for
/// the EOF it was given, in both directions.
#[test]
fn a_file_goes_up_and_its_result_comes_down() {
    let data =
        |seq: u8| [packet(seq, b"1,2\n"), packet(seq + 1, b"3,4\n"), packet(seq + 2, b"")].concat();
    for (client, shift) in [(NEW, 0), (OLD, 1)] {
        for piece in [1, 3, 4, 7, 1000] {
            let mut pair = Pair::logged_in(client);
            pair.client(&query());
            pair.backend_got();
            let more = Status::AUTOCOMMIT.with(Status::MORE_RESULTS).0.to_le_bytes();
            let end = packet(4, &[0xFE, 0, 0, more[0], more[1], 0, 0]);
            let first = [packet(1, &[1]), packet(2, b"\x03def"), packet(3, b"\x01r"), end].concat();
            for bytes in [first, packet(5, b"\xFBfile.csv")].concat().chunks(piece) {
                pair.backend(bytes);
            }
            let got = pair.client_got();
            assert_eq!(*got.last().unwrap(), (5 + shift, b"\xFBfile.csv".to_vec()));
            assert!(pair.session.is_logging_in() || !pair.session.is_at_rest());

            let bytes = [data(6 + shift), query()].concat();
            for bytes in bytes.chunks(piece) {
                pair.client(bytes);
            }
            assert_eq!(pair.backend_got(), [data(6), query()].concat());
            pair.backend(&[ok(9, Status::AUTOCOMMIT), ok(1, Status::AUTOCOMMIT)].concat());
            let seqs: Vec<_> = pair.client_got().iter().map(|(seq, _)| *seq).collect();
            assert_eq!(seqs, [9 + shift, 1]);
            assert!(pair.session.is_at_rest());
            assert_eq!(pair.tally, Tally { commands: 2, replies: 2, errors: 0 });
        }
    }
}

/// What is pipelined behind the statement would be taken for the file.
#[test]
fn a_file_is_not_wanted_from_a_client_that_goes_on() {
    let wish = packet(1, b"\xFBfile.csv");
    for behind in [query(), query()[..2].to_vec(), command(&[1])] {
        let mut pair = Pair::logged_in(NEW);
        pair.client(&[query(), behind].concat());
        pair.backend(&wish);
        assert!(pair.closed);
        assert_eq!(pair.fault.unwrap().code, 1156);
    }
    let mut pair = Pair::logged_in(NEW);
    pair.client(&query());
    pair.client_ends();
    assert!(!pair.closed, "the reply is still owed");
    pair.backend(&wish);
    assert!(pair.closed);
}

/// A server may refuse a file before it has all of it; the client sends on all the same.
#[test]
fn an_upload_outlives_its_reply() {
    let mut pair = Pair::logged_in(NEW);
    pair.client(&query());
    pair.backend(&packet(1, b"\xFBf"));
    pair.client(&packet(2, b"1"));
    pair.client_got();
    pair.backend(&packet(3, b"\xFF\x26\x04#42000no"));
    assert_eq!(pair.client_error().1, 1062);
    assert!(!pair.session.is_at_rest(), "a file is on its way");
    pair.client(&packet(3, b"2"));
    pair.client(&packet(4, b""));
    assert!(pair.session.is_at_rest());
    pair.client(&query());
    pair.backend(&rows(1));
    assert_eq!(pair.tally, Tally { commands: 2, replies: 2, errors: 1 });
}

#[test]
fn rest_is_neither_asked_nor_open() {
    let mut pair = Pair::logged_in(NEW);
    pair.client(&query()[..3]);
    assert!(!pair.session.is_at_rest(), "half a header");
    pair.client(&query()[3..7]);
    assert!(!pair.session.is_at_rest(), "half a command");
    pair.client(&query()[7..]);
    assert!(!pair.session.is_at_rest(), "not answered");
    pair.backend(&ok(1, Status::AUTOCOMMIT.with(Status::IN_TRANS)));
    assert!(!pair.session.is_at_rest(), "in a transaction");
    pair.client(&query());
    pair.backend(&packet(1, b"\xFF\x26\x04#42000no"));
    assert!(!pair.session.is_at_rest(), "an error says nothing of it");
    pair.client(&query());
    pair.backend(&ok(1, Status::AUTOCOMMIT));
    assert!(pair.session.is_at_rest());

    // The login may begin in one (autocommit off and a statement in init_connect).
    let mut pair = Pair::greeted(server(NATIVE));
    pair.client(&login(NEW, "open", Some(NATIVE), &[]));
    pair.grant(NEW, &[0, 0, 0, 1, 0, 0, 0]);
    assert!(!pair.session.is_at_rest());
}

#[test]
fn what_is_still_to_come_is_known() {
    let mut pair = Pair::logged_in(NEW);
    let bytes = command(&[3; 1000]);
    pair.client(&bytes[..10]);
    assert_eq!(pair.session.bytes_ahead(Side::Client), bytes.len() - 10);
    pair.client(&bytes[10..]);
    assert_eq!(pair.session.bytes_ahead(Side::Client), 0);
    let reply = [packet(1, &[1]), packet(2, b"\x03def"), packet(3, &[b'x'; 1000])].concat();
    pair.backend(&reply[..reply.len() - 100]);
    assert_eq!(pair.session.bytes_ahead(Side::Backend), 100);
}
