//! Commands cut at every byte, refused commands, uploads, wrong sequence ids.

use super::*;
use crate::wire::{Edit, frame as put_frame};

/// What reached the backend, and the events; commands 0x1D are refused, the rest relayed.
fn walk(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, Vec<RequestEvent>) {
    walk_with(&mut RequestWalk::default(), pieces)
}

fn walk_with(
    walk: &mut RequestWalk,
    pieces: &mut dyn Iterator<Item = &[u8]>,
) -> (Vec<u8>, Vec<RequestEvent>) {
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let mut edits = Edits::default();
    for piece in pieces {
        let mut input = piece.to_vec();
        edits.clear();
        let mut at = 0;
        loop {
            let walked = walk.feed(&mut input[at..], &mut edits).unwrap();
            at += walked.used;
            let Some(event) = walked.event else { break };
            if let RequestEvent::Command(command) = event {
                if command == Some(Command::Daemon) { walk.refuse() } else { walk.relay() }
            }
            events.push(event);
        }
        out.extend(relayed_of(&input, &edits));
    }
    (out, events)
}

/// What the backend gets of an input.
fn relayed_of(input: &[u8], edits: &Edits) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    for edit in edits.list() {
        match edit {
            Edit::Forward(count) => {
                out.extend_from_slice(&input[at..at + count]);
                at += count;
            }
            Edit::Discard(count) => at += count,
            Edit::Send(side, range) => {
                assert_eq!(*side, Side::Backend);
                out.extend_from_slice(edits.bytes(range));
            }
        }
    }
    assert_eq!(at, input.len(), "every byte has an edit");
    out
}

fn command(bytes: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    put_frame(&mut out, 0, |payload| payload.extend_from_slice(bytes));
    out
}

#[test]
fn commands_are_reported_and_relayed_at_any_cut() {
    let mut bytes = command(b"\x03SELECT 1");
    bytes.extend_from_slice(&command(b"\x0E"));
    bytes.extend_from_slice(&command(b"\x1Dsecret"));
    bytes.extend_from_slice(&command(b""));
    bytes.extend_from_slice(&command(b"\x16SELECT ?"));
    let relayed =
        [command(b"\x03SELECT 1"), command(b"\x0E"), command(b""), command(b"\x16SELECT ?")]
            .concat();
    let events = vec![
        RequestEvent::Command(Some(Command::Query)),
        RequestEvent::Command(Some(Command::Ping)),
        RequestEvent::Command(Some(Command::Daemon)),
        RequestEvent::Refused { seq: 1 },
        RequestEvent::Command(None),
        RequestEvent::Command(Some(Command::StmtPrepare)),
    ];
    let want = (relayed, events);
    assert_eq!(walk(&mut [&bytes[..]].into_iter()), want);
    assert_eq!(walk(&mut bytes.chunks(1)), want);
    for at in 1..bytes.len() {
        let (head, tail) = bytes.split_at(at);
        assert_eq!(walk(&mut [head, tail].into_iter()), want, "cut at {at}");
    }
}

#[test]
fn a_statement_above_16_mebibytes_is_one_command() {
    let mut statement = vec![b'x'; 2 * frame::PAYLOAD_BYTES_MAX];
    statement[0] = 3;
    let bytes = command(&statement);
    let (out, events) = walk(&mut bytes.chunks(100_000));
    assert!(out == bytes);
    let long = RequestEvent::Long { seq: 3 };
    assert_eq!(events, [RequestEvent::Command(Some(Command::Query)), long]);
}

/// Whole in the input, in any two pieces, byte by byte: the payload is the same, and nothing of it
/// goes on.
#[test]
fn a_held_command_is_given_whole() {
    let bytes = [command(b"\x11app\0rest"), command(b"\x0E")].concat();
    let first = bytes.len() - 5;
    let pieces = (1..bytes.len()).map(|at| vec![at, bytes.len()]);
    for ends in pieces.chain([(1..=bytes.len()).collect(), vec![bytes.len()]]) {
        let mut walk = RequestWalk::default();
        let (mut forwarded, mut held, mut start) = (0, Vec::new(), 0);
        for end in ends {
            let mut input = bytes[start..end].to_vec();
            let mut edits = Edits::default();
            let mut at = 0;
            loop {
                let walked = walk.feed(&mut input[at..], &mut edits).unwrap();
                at += walked.used;
                match walked.event {
                    None => break,
                    Some(RequestEvent::Command(Some(Command::ChangeUser))) => {
                        assert_eq!(walk.command_bytes(), first - 4);
                        walk.hold();
                    }
                    Some(RequestEvent::Held) => held.push(walk.take_held()),
                    Some(_) => walk.relay(),
                }
            }
            for edit in edits.list() {
                forwarded += match edit {
                    Edit::Forward(count) => *count,
                    Edit::Discard(_) => 0,
                    Edit::Send(_, range) => range.len(),
                };
            }
            start = end;
        }
        assert_eq!(held, [&b"\x11app\0rest"[..]]);
        assert_eq!(forwarded, 5);
    }
}

#[test]
fn a_head_is_given_and_the_rest_goes_on() {
    let bytes = [command(b"\x17head and rest"), command(b"\x0E")].concat();
    let pieces = (1..bytes.len()).map(|at| vec![at, bytes.len()]);
    for ends in pieces.chain([(1..=bytes.len()).collect(), vec![bytes.len()]]) {
        let mut walk = RequestWalk::default();
        let (mut heads, mut forwarded, mut start) = (Vec::new(), Vec::new(), 0);
        for end in ends {
            let mut input = bytes[start..end].to_vec();
            let (mut edits, mut at) = (Edits::default(), 0);
            loop {
                let walked = walk.feed(&mut input[at..], &mut edits).unwrap();
                at += walked.used;
                match walked.event {
                    None => break,
                    Some(RequestEvent::Command(Some(Command::StmtExecute))) => walk.hold_head(5),
                    Some(RequestEvent::Head) => {
                        heads.push(walk.take_held());
                        walk.relay();
                    }
                    Some(_) => walk.relay(),
                }
            }
            forwarded.extend(relayed_of(&input, &edits));
            start = end;
        }
        assert_eq!(heads, [&b"\x17head"[..]]);
        assert_eq!(forwarded, [&b" and rest"[..], &command(b"\x0E")].concat());
    }
}

/// The short way is taken for nothing that needs the long one.
#[test]
fn whole_commands_are_told_from_others() {
    let ping = command(b"\x0E");
    let mut walk = RequestWalk::default();
    assert_eq!(walk.whole_command(&ping), Some((Command::Ping, &b"\x0E"[..])));
    let mut edits = Edits::default();
    assert_eq!(walk.relay_whole(1, &mut edits), 5);
    assert_eq!(edits.list(), [Edit::Forward(5)]);
    assert_eq!(walk.answer_seq(), 1);
    let mut misnumbered = ping.clone();
    misnumbered[3] = 1;
    for bytes in [&ping[..4], &misnumbered, &command(b""), &command(b"\x55"), b""] {
        assert_eq!(walk.whole_command(bytes), None, "{bytes:02x?}");
    }
    assert_eq!(walk.whole_command(&command(&vec![3; frame::PAYLOAD_BYTES_MAX])), None);
    walk.feed(&mut [1, 0], &mut edits).unwrap();
    assert_eq!(walk.whole_command(&ping), None, "after half a header");
    let mut walk = RequestWalk::default();
    walk.begin_upload(0, 1);
    assert_eq!(walk.whole_command(&ping), None, "in an upload");
}

#[test]
fn an_upload_is_renumbered_and_ends_at_its_empty_frame() {
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, 4, |out| out.extend_from_slice(b"1,2\n"));
    put_frame(&mut bytes, 5, |out| out.extend_from_slice(b"3,4\n"));
    put_frame(&mut bytes, 6, |_| ());
    for piece_bytes in [1, 3, 5, 9, 100] {
        let mut walk = RequestWalk::default();
        walk.begin_upload(1, 3);
        assert!(walk.is_uploading());
        assert_eq!(walk.answer_seq(), 4, "before the first frame");
        let (out, events) = walk_with(&mut walk, &mut bytes.chunks(piece_bytes));
        assert_eq!(events, [RequestEvent::UploadEnd]);
        assert!(walk.is_idle());
        let seqs = [out[3], out[11], out[19]];
        assert_eq!(seqs, [3, 4, 5]);
        assert_eq!(walk.answer_seq(), 7, "as the client counts");
    }
}

#[test]
fn wrong_sequence_ids_are_refused() {
    let mut first = command(b"\x03SELECT 1");
    first[3] = 1;
    let mut edits = Edits::default();
    let error = RequestWalk::default().feed(&mut first, &mut edits);
    assert_eq!(error, Err(FrameError::OutOfOrder));

    let mut long = command(&vec![3; frame::PAYLOAD_BYTES_MAX]);
    let follower = long.len() - 1;
    long[follower] = 9;
    let mut walk = RequestWalk::default();
    let head = walk.feed(&mut long, &mut edits).unwrap();
    assert_eq!((head.used, head.event), (0, Some(RequestEvent::Command(Some(Command::Query)))));
    walk.relay();
    assert_eq!(walk.feed(&mut long, &mut edits), Err(FrameError::OutOfOrder));
}

#[test]
fn nothing_follows_the_last_command() {
    let mut bytes = command(b"\x01");
    bytes.extend_from_slice(&command(b"\x03DROP TABLE t"));
    // Not even a frame that cannot be one.
    bytes.extend_from_slice(&[1, 0, 0, 77, 3]);
    for piece_bytes in 1..=bytes.len() {
        let mut walk = RequestWalk::default();
        let (mut relayed, mut commands) = (0, 0);
        for piece in bytes.chunks(piece_bytes) {
            let mut input = piece.to_vec();
            let mut edits = Edits::default();
            let mut at = 0;
            loop {
                let walked = walk.feed(&mut input[at..], &mut edits).unwrap();
                at += walked.used;
                if walked.event.is_none() {
                    break;
                }
                commands += 1;
                walk.relay_last();
            }
            assert_eq!(at, input.len());
            for edit in edits.list() {
                relayed += match edit {
                    Edit::Forward(count) => *count,
                    Edit::Discard(_) => 0,
                    Edit::Send(_, range) => range.len(),
                };
            }
        }
        assert_eq!((relayed, commands), (5, 1), "pieces of {piece_bytes}");
    }
}
