//! SHOW PROCESSLIST and COM_PROCESS_INFO through a session.

use super::*;
use crate::testdata::recordings;
use crate::wire::encode_eof;

const SHOW: &[u8] = b"\x03SHOW PROCESSLIST";

/// The first two values of the rows a client got, whose packets have to be in order from `first`.
fn rows(packets: &[(u8, Vec<u8>)], first: u8, has_eof: bool) -> Vec<(String, String)> {
    for (packet, seq) in packets.iter().zip(first..) {
        assert_eq!(packet.0, seq, "in order");
    }
    let columns = usize::from(packets[0].1[0]);
    let head = 1 + columns + usize::from(has_eof);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = packets[head..packets.len() - 1].iter().map(|(_, row)| {
        let mut reader = crate::wire::Reader::new(row);
        let mut next = || text(reader.lenenc_bytes().unwrap());
        let (id, _user, host) = (next(), next(), next());
        (id, host)
    });
    all.collect()
}

/// The recorded answers of a real server: two threads, both of sessions.
#[test]
fn recorded_lists_at_every_cut() {
    const FORMS: Capabilities = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);
    let of_lists = |recording: &crate::testdata::Recording| recording.name.contains("process-info");
    let lists: Vec<_> = recordings().into_iter().filter(of_lists).collect();
    assert_eq!(lists.len(), 3);
    for recording in lists {
        let form = recording.capabilities;
        for client in [OLD.union(form), OLD.union(form.without(FORMS))] {
            for asks in [SHOW, b"\x0a"] {
                for cut in 1..=recording.bytes.len() {
                    let mut server = server(NATIVE);
                    server.capabilities = OLD.union(form);
                    let mut pair = Pair::greeted(server);
                    pair.client(&login(client, "open", Some(NATIVE), &[]));
                    pair.grant(OLD.union(form), LOGIN_OK);
                    pair.sides = Sides::default();
                    pair.client(&command(asks));
                    assert_eq!(pair.backend_got(), command(asks));
                    pair.backend(&recording.bytes[..cut]);
                    if cut < recording.bytes.len() {
                        assert!(pair.client_got().is_empty(), "not before it is whole");
                        pair.backend(&recording.bytes[cut..]);
                    }
                    let got = pair.client_got();
                    let has_eof = !client.contains(Capabilities::DEPRECATE_EOF);
                    let want = [("70", "192.0.2.1:1"), ("71", "192.0.2.1:2")];
                    let want = want.map(|(id, host)| (id.to_owned(), host.to_owned()));
                    assert_eq!(rows(&got, 1, has_eof), want, "{} cut at {cut}", recording.name);
                    assert!(pair.session.is_at_rest());
                }
            }
        }
    }
}

/// A list of the old protocol with those rows.
fn list(rows: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame(&mut out, 1, |out| out.extend_from_slice(&[3]));
    for (name, seq) in ["Id", "User", "Host"].into_iter().zip(2..) {
        frame(&mut out, seq, |out| definition(name, 0xFD, out));
    }
    encode_eof(Status::AUTOCOMMIT, 0, 5, &mut out);
    let mut seq = 6;
    for row in rows {
        frame(&mut out, seq, |out| out.extend_from_slice(row));
        seq += 1;
    }
    encode_eof(Status::AUTOCOMMIT.with(Status::IN_TRANS), 3, seq, &mut out);
    out.to_vec()
}

fn definition(name: &str, kind: u8, out: &mut BytesMut) {
    for field in ["def", "", "", "", name, ""] {
        crate::wire::put_lenenc_bytes(out, field.as_bytes());
    }
    out.extend_from_slice(&[0x0C, 45, 0, 0, 1, 0, 0, kind, 1, 0, 0, 0, 0]);
}

fn old() -> Pair {
    let mut server = server(NATIVE);
    server.capabilities = OLD;
    let mut pair = Pair::greeted(server);
    pair.client(&login(OLD, "open", Some(NATIVE), &[]));
    pair.grant(OLD, LOGIN_OK);
    pair.sides = Sides::default();
    pair
}

#[test]
fn what_is_sent_behind_it_waits_for_its_answer() {
    let bytes = [command(SHOW), query(), command(SHOW), query()].concat();
    for piece in [1, 9, 1000] {
        let mut pair = old();
        pair.client(&query());
        bytes.chunks(piece).for_each(|bytes| pair.client(bytes));
        assert_eq!(pair.backend_got(), [query(), command(SHOW)].concat());
        pair.backend(&ok(1, Status::AUTOCOMMIT));
        let answer = list(&[b"\x015\x01a\x01h", b"\x0299\x01b\x01h"]);
        pair.backend(&answer);
        // What came before it is answered first, and the list's own flags are kept.
        let got = pair.client_got();
        assert_eq!(got[0].1[0], 0);
        let want = [("70", "192.0.2.1:1"), ("99", "h")];
        let want = want.map(|(id, host)| (id.to_owned(), host.to_owned()));
        assert_eq!(rows(&got[1..], 1, true), want);
        assert_eq!(got.last().unwrap().1, b"\xFE\x03\x00\x03\x00");
        assert_eq!(pair.backend_got(), [query(), command(SHOW)].concat());
        pair.backend(&[ok(1, Status::AUTOCOMMIT), answer].concat());
        assert_eq!(pair.client_got().len(), 1 + 8);
        assert_eq!(pair.backend_got(), query());
        pair.backend(&ok(1, Status::AUTOCOMMIT));
        assert!(pair.session.is_at_rest());
        assert_eq!(pair.tally, Tally { commands: 5, replies: 5, errors: 0 });
    }
}

#[test]
fn what_is_no_list_is_told_as_an_error() {
    let long = [&b"\x015\x01a\xFD\x40\x42\x0F"[..], &[b'h'; 1_000_000]].concat();
    let refused = |answer: &[u8], says: &str| {
        let mut pair = old();
        pair.client(&command(SHOW));
        answer.chunks(70_000).for_each(|bytes| pair.backend(bytes));
        let got = pair.client_got();
        let error = ErrPacket::parse(&got[0].1).unwrap();
        assert_eq!((got.len(), got[0].0, error.code), (1, 1, 1105));
        assert!(String::from_utf8_lossy(error.message).contains(says), "{error:?}");
        pair.client(&query());
        pair.backend(&ok(1, Status::AUTOCOMMIT));
        assert!(pair.session.is_at_rest());
    };
    refused(&list(&[&long[..]; 5]), "longer than 4194304 bytes");
    refused(&list(&[b"\x015\x01a"]), "no rows with Id, User and Host");
    refused(&list(&[b"\x015\x01a\x02h"]), "no rows with Id, User and Host");
    refused(&list(&[b"\x015\x01a\x01hh"]), "no rows with Id, User and Host");
    refused(&ok(1, Status::AUTOCOMMIT), "no rows with Id, User and Host");
    // As long as it may be.
    let mut pair = old();
    pair.client(&command(SHOW));
    pair.backend(&list(&[&long[..]; 4]));
    assert_eq!(rows(&pair.client_got(), 1, true).len(), 4);
}

#[test]
fn a_servers_refusal_is_passed_on() {
    let mut pair = old();
    pair.client(&command(b"\x0a"));
    let mut error = BytesMut::new();
    let message = b"Unknown command";
    ErrPacket { code: 1047, sqlstate: *b"08S01", message }.encode(1, &mut error);
    pair.backend(&error);
    let got = pair.client_got();
    assert_eq!((got[0].0, ErrPacket::parse(&got[0].1).unwrap().code), (1, 1047));
    assert_eq!(pair.tally.errors, 1);
    assert!(pair.session.is_at_rest());
}

/// Nothing of a list has reached the client when its backend goes away.
#[test]
fn a_list_that_is_cut_off_is_an_error_in_its_place() {
    let answer = list(&[b"\x015\x01a\x01h"]);
    for cut in 1..answer.len() {
        let mut pair = old();
        pair.client(&command(SHOW));
        pair.backend(&answer[..cut]);
        pair.backend_ends();
        let got = pair.client_got();
        assert_eq!((got.len(), got[0].0, got[0].1[0]), (1, 1, 0xFF), "cut at {cut}");
        assert!(pair.closed);
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_list() {
    let mut pair = old();
    pair.client(&command(SHOW));
    pair.client_ends();
    pair.backend(&list(&[b"\x015\x01a\x01h"]));
    assert_eq!(rows(&pair.client_got(), 1, true).len(), 1);
    assert!(pair.closed);
}

/// A server that is shut down says so when it likes.
#[test]
fn words_behind_a_list_do_not_come_before_it() {
    let mut pair = old();
    pair.client(&command(SHOW));
    let mut error = BytesMut::new();
    let message = b"Shutdown";
    ErrPacket { code: 1053, sqlstate: *b"08S01", message }.encode(0, &mut error);
    pair.backend(&[&list(&[b"\x015\x01a\x01h"]), &error[..]].concat());
    let got = pair.client_got();
    assert_eq!(ErrPacket::parse(&got.last().unwrap().1).unwrap().code, 1053);
    assert_eq!(rows(&got[..got.len() - 1], 1, true).len(), 1);
    pair.backend_ends();
    assert!(pair.closed);
}

/// In several statements, or prepared, it is the server's own.
#[test]
fn other_forms_go_on_as_they_are() {
    for text in [&b"\x16SHOW PROCESSLIST"[..], b"\x03DO 1; SHOW PROCESSLIST"] {
        let mut pair = old();
        pair.client(&[command(text), query()].concat());
        assert_eq!(pair.backend_got(), [command(text), query()].concat());
    }
}
