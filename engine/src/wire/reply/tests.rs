//! Replies recorded from real servers, walked whole, in pieces, and translated.

use super::*;
use crate::testdata::{Recording, recordings};
use crate::wire::edit::Edit;
use crate::wire::{Command, frame};

const NEW: Capabilities = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
const OLD: Capabilities = Capabilities::from_bits(0);

/// The replies that are more than an OK.
const SHAPES: [(Command, Expect); 8] = [
    (Command::Query, Expect::Query),
    (Command::StmtBulkExecute, Expect::Query),
    (Command::StmtExecute, Expect::Query),
    (Command::ProcessInfo, Expect::Query),
    (Command::StmtPrepare, Expect::Prepare),
    (Command::StmtFetch, Expect::Fetch),
    (Command::FieldList, Expect::FieldList),
    (Command::Statistics, Expect::Statistics),
];

struct Capture {
    name: String,
    expect: Expect,
    negotiated: Capabilities,
    bytes: Vec<u8>,
}

/// Every recorded reply to a command that Weir relays.
fn captures() -> Vec<Capture> {
    let captures: Vec<_> = recordings()
        .into_iter()
        .filter_map(|recording| {
            let command = Command::from_byte(recording.command?)?;
            if command == Command::ChangeUser {
                return None;
            }
            let shape = SHAPES.iter().find(|(of, _)| *of == command);
            let expect = shape.map_or(Expect::Ok, |(_, expect)| *expect);
            let Recording { name, capabilities: negotiated, bytes, .. } = recording;
            Some(Capture { name, expect, negotiated, bytes })
        })
        .collect();
    assert!(captures.len() > 290, "only {} captures", captures.len());
    captures
}

/// What the client gets when the reply arrives in these pieces, and the event after the last byte.
fn walk(
    dialect: Dialect,
    expect: Expect,
    pieces: &mut dyn Iterator<Item = &[u8]>,
) -> (Vec<u8>, Option<ReplyEvent>) {
    let mut walk = ReplyWalk::new(dialect, Status(0));
    walk.begin(expect);
    let mut edits = Edits::default();
    let (mut out, mut last) = (Vec::new(), None);
    for piece in pieces {
        let mut input = piece.to_vec();
        edits.clear();
        assert_eq!(last, None, "bytes after the end");
        let walked = walk.feed(&mut input, &mut edits).unwrap();
        assert_eq!(walked.used, input.len());
        last = walked.event;
        let mut at = 0;
        for edit in edits.list() {
            match edit {
                Edit::Forward(count) => {
                    out.extend_from_slice(&input[at..at + count]);
                    at += count;
                }
                Edit::Discard(count) => at += count,
                Edit::Send(side, range) => {
                    assert_eq!(*side, Side::Client);
                    out.extend_from_slice(edits.bytes(range));
                }
            }
        }
        assert_eq!(at, input.len(), "every byte has an edit");
    }
    (out, last)
}

fn ends(capture: &Capture) -> ReplyEvent {
    if capture.name.starts_with("load-local-request") {
        return ReplyEvent::LocalInfile;
    }
    let last = frames(&capture.bytes).last().unwrap().1.clone();
    ReplyEvent::End { failed: last[0] == ERR && capture.expect != Expect::Statistics }
}

/// Sequence ids and payloads.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::peek(bytes) {
        let end = HEADER_BYTES + header.payload_bytes;
        frames.push((header.seq, bytes[HEADER_BYTES..end].to_vec()));
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty());
    frames
}

#[test]
fn a_reply_in_the_clients_own_dialect_goes_on_unchanged() {
    for capture in captures() {
        let dialect = Dialect { client: capture.negotiated, backend: capture.negotiated };
        let whole = walk(dialect, capture.expect, &mut [&capture.bytes[..]].into_iter());
        assert_eq!(whole, (capture.bytes.clone(), Some(ends(&capture))), "{}", capture.name);
    }
}

#[test]
fn any_cut_gives_the_same_bytes() {
    for capture in captures() {
        for client in [capture.negotiated, capture.negotiated.without(NEW)] {
            if client != capture.negotiated && !capture.negotiated.contains(NEW) {
                continue;
            }
            let dialect = Dialect { client, backend: capture.negotiated };
            let bytes = &capture.bytes[..];
            let whole = walk(dialect, capture.expect, &mut [bytes].into_iter());
            // Long rows are all alike: cuts around their ends are what matters.
            let cuts = (1..bytes.len()).filter(|at| *at < 4000 || bytes.len() - at < 400);
            for at in cuts {
                let (head, tail) = bytes.split_at(at);
                let pieces = walk(dialect, capture.expect, &mut [head, tail].into_iter());
                assert!(pieces == whole, "{} cut at {at}", capture.name);
            }
            if bytes.len() < 10_000 {
                let pieces = walk(dialect, capture.expect, &mut bytes.chunks(1));
                assert!(pieces == whole, "{} byte by byte", capture.name);
            }
        }
    }
}

/// A reply translated for an old client has the frames the server sends to old clients itself.
#[test]
fn translation_gives_what_the_server_sends_to_old_clients() {
    let all = captures();
    let mut compared = 0;
    for capture in &all {
        let Some(stem) = capture.name.strip_suffix("-new") else { continue };
        let old = all.iter().find(|other| other.name == format!("{stem}-old")).unwrap();
        // The servers put an error that comes while a cursor opens in the place of an EOF; here
        // the EOF comes first. Clients take both.
        // Process lists, figures and random order differ from run to run.
        if ["execute-error-cursor", "process-info", "statistics"].contains(&stem) {
            continue;
        }
        let client = capture.negotiated.without(NEW);
        let dialect = Dialect { client, backend: capture.negotiated };
        let (bytes, _) = walk(dialect, capture.expect, &mut [&capture.bytes[..]].into_iter());
        let (got, want) = (frames(&bytes), frames(&old.bytes));
        assert_eq!(shape(&got), shape(&want), "{stem}");
        compared += 1;
    }
    assert!(compared > 95, "compared only {compared}");
}

/// Sequence id, first byte, and length where it says something; status words differ harmlessly.
fn shape(frames: &[(u8, Vec<u8>)]) -> Vec<(u8, u8, bool)> {
    frames.iter().map(|(seq, payload)| (*seq, payload[0], payload.len() < 6)).collect()
}

#[test]
fn a_row_of_sixteen_mebibytes_is_not_taken_for_an_end() {
    // A first column of 16 MiB begins with FE, like an EOF; its frame is full.
    let mut bytes = bytes::BytesMut::new();
    frame(&mut bytes, 1, |out| out.extend_from_slice(&[1]));
    frame(&mut bytes, 2, |out| out.extend_from_slice(b"\x03def"));
    frame(&mut bytes, 3, |out| {
        out.extend_from_slice(&[0xFE, 0, 0, 0, 1, 0, 0, 0, 0]);
        out.extend_from_slice(&vec![ERR; 1 << 24]);
    });
    frame(&mut bytes, 5, |out| out.extend_from_slice(&[0xFE, 0, 0, 2, 0, 0, 0]));
    let dialect = Dialect { client: NEW, backend: NEW };
    let end = Some(ReplyEvent::End { failed: false });
    for piece_bytes in [1 << 20, 4099, bytes.len()] {
        let (out, event) = walk(dialect, Expect::Query, &mut bytes.chunks(piece_bytes));
        assert_eq!(event, end);
        assert!(out == bytes);
    }
    let dialect = Dialect { client: OLD, backend: NEW };
    let (out, event) = walk(dialect, Expect::Query, &mut bytes.chunks(65_536));
    assert_eq!(event, end);
    let seqs: Vec<_> = frames(&out).iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_endless_control_frame_is_refused() {
    let dialect = Dialect { client: NEW, backend: NEW };
    let mut walk = ReplyWalk::new(dialect, Status(0));
    walk.begin(Expect::Query);
    let mut head = [0xFF, 0xFF, 0x1F, 1, OK];
    assert_eq!(walk.feed(&mut head, &mut Edits::default()), Err(ReplyError::TooLong));
}

/// An answer of result sets, as a server writes them.
fn result(rows: &[&[u8]], status: u16) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame(&mut bytes, 1, |out| out.extend_from_slice(&[1]));
    frame(&mut bytes, 2, |out| out.extend_from_slice(b"\x03def"));
    let mut seq = 3;
    for row in rows {
        frame(&mut bytes, seq, |out| out.extend_from_slice(row));
        seq += u8::try_from(1 + row.len() / PAYLOAD_BYTES_MAX).unwrap();
    }
    let [low, high] = status.to_le_bytes();
    frame(&mut bytes, seq, |out| out.extend_from_slice(&[0xFE, 0, 0, low, high, 0, 0]));
    bytes
}

/// The header of an empty frame, when cut, is completed by four bytes and not by five.
#[test]
fn an_empty_frame_takes_no_byte_of_the_next() {
    let full = vec![b'x'; PAYLOAD_BYTES_MAX];
    for client in [NEW, OLD] {
        let dialect = Dialect { client, backend: NEW };
        for row in [&full[..], &[]] {
            let bytes = result(&[row, b"\x01y"], 2);
            let want = walk(dialect, Expect::Query, &mut [&bytes[..]].into_iter());
            assert_eq!(want.1, Some(ReplyEvent::End { failed: false }));
            // Around the row's last header: one row, the OK, and some.
            for cut in bytes.len() - 30..bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                let got = walk(dialect, Expect::Query, &mut [head, tail].into_iter());
                assert!(got == want, "cut {} before the end", bytes.len() - cut);
            }
        }
    }
}

/// Nobody has such columns, but what goes on must not be taken for what comes next.
#[test]
fn a_continued_column_definition_is_one_packet() {
    let mut bytes = BytesMut::new();
    // A statement with one column and no parameter.
    frame(&mut bytes, 1, |out| out.extend_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
    frame(&mut bytes, 2, |out| out.extend_from_slice(&vec![3; PAYLOAD_BYTES_MAX + 1]));
    for (client, want) in [(NEW, vec![1, 2, 3]), (OLD, vec![1, 2, 3, 4])] {
        let dialect = Dialect { client, backend: NEW };
        for piece_bytes in [PAYLOAD_BYTES_MAX + HEADER_BYTES + 16, 1 << 20] {
            let (out, event) = walk(dialect, Expect::Prepare, &mut bytes.chunks(piece_bytes));
            assert_eq!(event, Some(ReplyEvent::End { failed: false }));
            let frames = frames(&out);
            assert_eq!(frames.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), want);
            assert_eq!(frames[2].1.len(), 1, "the rest of the definition comes first");
        }
    }
}

/// MORE_RESULTS where no more can come would be a wait for ever.
#[test]
fn only_statements_have_several_results() {
    let dialect = Dialect { client: NEW, backend: NEW };
    let end = Some(ReplyEvent::End { failed: false });
    let mut ok = BytesMut::new();
    frame(&mut ok, 1, |out| out.extend_from_slice(&[0, 0, 0, 0x0A, 0, 0, 0]));
    let mut eof = BytesMut::new();
    frame(&mut eof, 1, |out| out.extend_from_slice(&[0xFE, 0, 0, 0x0A, 0]));
    for (expect, bytes, event) in [
        (Expect::Ok, &ok, end),
        (Expect::Ok, &eof, end),
        (Expect::Fetch, &eof, end),
        (Expect::FieldList, &eof, end),
        (Expect::Stream, &eof, end),
        (Expect::Query, &ok, None),
    ] {
        assert_eq!(walk(dialect, expect, &mut [&bytes[..]].into_iter()).1, event, "{expect:?}");
    }
}

#[test]
fn only_an_error_comes_unasked() {
    let dialect = Dialect { client: NEW, backend: NEW };
    let mut error = BytesMut::new();
    frame(&mut error, 0, |out| out.extend_from_slice(b"\xFF\x1D\x04#08S01shutdown"));
    let end = Some(ReplyEvent::End { failed: true });
    assert_eq!(walk(dialect, Expect::Unasked, &mut error.chunks(3)), (error.to_vec(), end),);
    for first in [OK, EOF, 1, INFILE] {
        let mut walk = ReplyWalk::new(dialect, Status(0));
        walk.begin(Expect::Unasked);
        let mut edits = Edits::default();
        let mut frame = [7, 0, 0, 0, first, 0, 0, 2, 0, 0, 0];
        let error = walk.feed(&mut frame, &mut edits);
        assert!(matches!(error, Err(ReplyError::Malformed(_))), "{first}");
        assert!(edits.list().is_empty(), "nothing of it goes on");
    }
}

#[test]
fn flags_of_one_statement_are_not_in_the_eof_put_in_for_the_next() {
    let mut walk = ReplyWalk::new(Dialect { client: OLD, backend: NEW }, Status(0));
    let mut edits = Edits::default();
    let rows = |status: Status| {
        let mut out = BytesMut::new();
        frame(&mut out, 1, |out| out.extend_from_slice(&[1]));
        frame(&mut out, 2, |out| out.extend_from_slice(b"\x03def"));
        frame(&mut out, 3, |out| out.extend_from_slice(b"\x01x"));
        frame(&mut out, 4, |out| {
            out.extend_from_slice(&[0xFE, 0, 0]);
            out.extend_from_slice(&status.0.to_le_bytes());
            out.extend_from_slice(&[0, 0]);
        });
        out
    };
    let fetched = Status::AUTOCOMMIT.with(Status::IN_TRANS).with(Status::LAST_ROW_SENT);
    for status in [fetched.with(Status::CURSOR_EXISTS), Status::AUTOCOMMIT] {
        walk.begin(Expect::Query);
        edits.clear();
        assert!(walk.feed(&mut rows(status), &mut edits).unwrap().event.is_some());
    }
    let Some(Edit::Send(Side::Client, range)) =
        edits.list().iter().find(|edit| matches!(edit, Edit::Send(..)))
    else {
        panic!("no EOF was put in: {:?}", edits.list());
    };
    assert_eq!(edits.bytes(range), [5, 0, 0, 3, 0xFE, 0, 0, 3, 0]);
}

/// As MySQL 9.7.4 sends them with `resultset_metadata` FULL and NONE, to a new client and to an old
/// one.
#[test]
fn capability_optional_resultset_metadata_definitions_may_be_missing() {
    const DEFINITION: &[u8] = b"\x03def\0\0\0\x011\0\x0c?\0\x02\0\0\0\x08\x81\0\0\0\0";
    const STATEMENT: &[u8] = &[0, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0];
    const END: &[u8] = &[0xFE, 0, 0, 2, 0, 0, 0];
    const OLD_END: &[u8] = &[0xFE, 0, 0, 2, 0];
    const CURSOR: &[u8] = &[0xFE, 0, 0, 0x42, 0, 0, 0];
    const OLD_CURSOR: &[u8] = &[0xFE, 0, 0, 0x42, 0];
    const MORE: &[u8] = &[0xFE, 0, 0, 0x0A, 0, 0, 0];
    const OLD_MORE: &[u8] = &[0xFE, 0, 0, 0x0A, 0];
    /// What was asked, the frames for a new client, and those for an old one.
    type Case<'a> = (Expect, &'a [&'a [u8]], &'a [&'a [u8]]);
    let cases: [Case<'_>; 6] = [
        (
            Expect::Query,
            &[b"\x01\x01", DEFINITION, b"\x011", END],
            &[b"\x01\x01", DEFINITION, OLD_END, b"\x011", OLD_END],
        ),
        (
            Expect::Query,
            &[b"\x02\x00", b"\x011\x012", END],
            &[b"\x02\x00", OLD_END, b"\x011\x012", OLD_END],
        ),
        (Expect::Query, &[b"\x01\x00", END], &[b"\x01\x00", OLD_END, OLD_END]),
        (Expect::Query, &[b"\x02\x00", CURSOR], &[b"\x02\x00", OLD_CURSOR]),
        (Expect::Prepare, &[STATEMENT], &[STATEMENT, OLD_END, OLD_END]),
        (
            Expect::Query,
            &[b"\x01\x00", b"\x011", MORE, b"\x01\x00", b"\x012", END],
            &[b"\x01\x00", OLD_END, b"\x011", OLD_MORE, b"\x01\x00", OLD_END, b"\x012", OLD_END],
        ),
    ];
    let optional = Capabilities::OPTIONAL_RESULTSET_METADATA;
    for (expect, new, old) in cases {
        let packets = |payloads: &[&[u8]]| {
            let mut bytes = BytesMut::new();
            for (payload, seq) in payloads.iter().zip(1..) {
                frame(&mut bytes, seq, |out| out.extend_from_slice(payload));
            }
            bytes
        };
        let (sent, old) = (packets(new), packets(old));
        let end = Some(ReplyEvent::End { failed: false });
        for (client, want) in [(NEW, &sent), (OLD, &old)] {
            let dialect = Dialect { client: client.union(optional), backend: NEW.union(optional) };
            for piece_bytes in [1, 5, sent.len()] {
                let (got, event) = walk(dialect, expect, &mut sent.chunks(piece_bytes));
                assert_eq!(event, end);
                if got != *want {
                    let differ = |got: &[u8], want: &[u8]| {
                        // The status of an EOF put in is the session's, not the statement's.
                        shape(&frames(got)) != shape(&frames(want))
                    };
                    assert!(!differ(&got, want), "{:?} {:?}", frames(&got), frames(want));
                }
            }
        }
    }
}

/// Where it was not negotiated, a byte behind the count means nothing.
#[test]
fn a_report_of_progress_needs_its_capability() {
    let mut bytes = BytesMut::new();
    frame(&mut bytes, 1, |out| out.extend_from_slice(b"\xFF\xFF\xFF\x01\x01\x02\0\0\0\0"));
    for (backend, event) in [
        (NEW, Some(ReplyEvent::End { failed: true })),
        (NEW.union(Capabilities::MARIADB_PROGRESS), None),
    ] {
        let dialect = Dialect { client: backend, backend };
        let got = walk(dialect, Expect::Query, &mut [&bytes[..]].into_iter());
        assert_eq!(got, (bytes.to_vec(), event));
    }
}
