//! The walks over frames: commands one way, replies the other, packets of dialogues.
//!
//! Purpose: any bytes, in any pieces, come out as they do in one piece; every byte is dealt with
//! once; what comes out is bounded by what went in.
//! Never: expect an outcome; a walk may refuse anything.

use bytes::BytesMut;

use crate::fuzz::Sides;
use crate::wire::frame::{Assembler, FrameError, Packet};
use crate::wire::reply::{Dialect, Expect, ReplyError, ReplyEvent, ReplyWalk};
use crate::wire::request::{RequestEvent, RequestWalk};
use crate::wire::{Capabilities, Edits, Side, Status};

/// Longest packet of the dialogues, small so that a fuzzer finds it.
const PACKET_BYTES_MAX: usize = 300;

/// Replies and uploads walked before the rest is left alone: a walk of nothing must end.
const EVENTS_MAX: usize = 10_000;

/// Frames put together for dialogues, and commands as they are relayed. The first byte is the size
/// of the pieces.
///
/// # Panics
/// Pieces come to something else than the whole, or a byte is dealt with twice or never.
pub fn frames(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let piece = usize::from(*piece).max(1);
    assert_eq!(assembled(data, data.len()), assembled(data, piece), "packets differ by the cut");
    let whole = commands(data, data.len());
    assert_eq!(whole, commands(data, piece), "commands differ by the cut");
    assert!(whole.sides.backend.len() <= data.len(), "a backend gets more than was sent");
    assert!(whole.sides.client.is_empty(), "the walk speaks to the client");
}

/// Replies, in each dialect. The first bytes are the size of the pieces, the first answer expected
/// and the dialect.
///
/// # Panics
/// Pieces come to something else than the whole, or a byte is dealt with twice or never.
pub fn reply(data: &[u8]) {
    let [piece, expect, dialect, data @ ..] = data else { return };
    let piece = usize::from(*piece).max(1);
    let shared = optional(dialect >> 4);
    let dialect =
        Dialect { client: form(*dialect).union(shared), backend: form(dialect >> 2).union(shared) };
    let expect = usize::from(*expect);
    let whole = replies(dialect, expect, data, data.len());
    assert_eq!(whole, replies(dialect, expect, data, piece), "replies differ by the cut");
    // An EOF of nine bytes for a count and its definitions, of nine at least; two for a statement's
    // header of seventeen when the definitions are left out.
    assert!(whole.sides.client.len() <= 3 * data.len() + 64, "a reply grows without bound");
    assert!(whole.sides.backend.is_empty(), "the walk speaks to the backend");
}

/// What the two bits say of DEPRECATE_EOF and SESSION_TRACK.
pub(super) const fn form(bits: u8) -> Capabilities {
    Capabilities::PROTOCOL_41
        .set(Capabilities::DEPRECATE_EOF, bits & 1 != 0)
        .set(Capabilities::SESSION_TRACK, bits & 2 != 0)
}

/// What the bits say of capabilities that both sides have or neither.
pub(super) const fn optional(bits: u8) -> Capabilities {
    Capabilities::NONE
        .set(Capabilities::OPTIONAL_RESULTSET_METADATA, bits & 1 != 0)
        .set(Capabilities::MARIADB_CACHE_METADATA, bits & 2 != 0)
        .set(Capabilities::MARIADB_PROGRESS, bits & 4 != 0)
        .set(Capabilities::QUERY_ATTRIBUTES, bits & 8 != 0)
}

type Assembled = (Vec<Packet>, Option<FrameError>, BytesMut);

fn assembled(data: &[u8], piece: usize) -> Assembled {
    let mut assembler = Assembler::new(PACKET_BYTES_MAX);
    let mut packets = Vec::new();
    for bytes in data.chunks(piece.max(1)) {
        assembler.push(bytes);
        loop {
            match assembler.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                // What is left then depends on how much had come.
                Err(error) => return (packets, Some(error), BytesMut::new()),
            }
        }
    }
    assert!(assembler.is_empty() || packets.len() < data.len(), "packets out of nothing");
    (packets, None, assembler.take_rest())
}

#[derive(Debug, PartialEq)]
struct Commands {
    sides: Sides,
    events: Vec<RequestEvent>,
    error: Option<FrameError>,
}

fn commands(data: &[u8], piece: usize) -> Commands {
    let mut walk = RequestWalk::default();
    let mut edits = Edits::default();
    let mut came = Commands { sides: Sides::default(), events: Vec::new(), error: None };
    for bytes in data.chunks(piece.max(1)) {
        let mut input = bytes.to_vec();
        edits.clear();
        let mut at = 0;
        loop {
            let rest = input.get_mut(at..).unwrap_or_default();
            let walked = match walk.feed(rest, &mut edits) {
                Ok(walked) => walked,
                Err(error) => {
                    came.sides.carry_out(&edits, Side::Client, &input);
                    came.error = Some(error);
                    return came;
                }
            };
            at += walked.used;
            let Some(event) = walked.event else { break };
            decide(&mut walk, event);
            came.events.push(event);
        }
        assert_eq!(at, input.len(), "input is left without an event");
        let covered = came.sides.carry_out(&edits, Side::Client, &input);
        assert_eq!(covered, input.len(), "a byte without an edit, or with two");
    }
    came
}

/// Each of the ways a command can go, by its code; an upload after each refusal.
fn decide(walk: &mut RequestWalk, event: RequestEvent) {
    match event {
        RequestEvent::Command(None) => walk.refuse(),
        RequestEvent::Command(Some(command)) => match command.as_byte() {
            1 => walk.relay_last(),
            code if code % 3 == 0 => walk.relay(),
            code if code % 3 == 1 && walk.command_bytes() < PACKET_BYTES_MAX => walk.hold(),
            _ => walk.refuse(),
        },
        RequestEvent::Held | RequestEvent::Head => {
            assert!(!walk.take_held().is_empty(), "nothing was held")
        }
        RequestEvent::Refused { seq } if seq % 2 == 1 && walk.is_between_commands() => {
            walk.begin_upload(seq, seq);
        }
        RequestEvent::Refused { .. } | RequestEvent::Long { .. } | RequestEvent::UploadEnd => {}
    }
}

#[derive(Debug, PartialEq)]
struct Replies {
    sides: Sides,
    events: Vec<ReplyEvent>,
    error: Option<ReplyError>,
    interruption: Option<u8>,
}

const EXPECTED: [Expect; 8] = [
    Expect::Query,
    Expect::Ok,
    Expect::Prepare,
    Expect::Fetch,
    Expect::FieldList,
    Expect::Statistics,
    Expect::Stream,
    Expect::Unasked,
];

fn replies(dialect: Dialect, first: usize, data: &[u8], piece: usize) -> Replies {
    let expected = |nth: usize| EXPECTED.get((first + nth) % EXPECTED.len());
    let mut walk = ReplyWalk::new(dialect, Status::AUTOCOMMIT);
    walk.begin(expected(0).copied().unwrap_or(Expect::Query));
    let mut edits = Edits::default();
    let mut came =
        Replies { sides: Sides::default(), events: Vec::new(), error: None, interruption: None };
    for bytes in data.chunks(piece.max(1)) {
        let mut input = bytes.to_vec();
        edits.clear();
        let mut at = 0;
        while at < input.len() && came.error.is_none() {
            match walk.feed(input.get_mut(at..).unwrap_or_default(), &mut edits) {
                Ok(walked) => {
                    at += walked.used;
                    came.events.extend(walked.event);
                    if let Some(ReplyEvent::End { .. }) = walked.event {
                        walk.begin(expected(came.events.len()).copied().unwrap_or(Expect::Query));
                    }
                    assert!(walked.event.is_some() || at == input.len(), "input is left");
                    assert!(came.events.len() < EVENTS_MAX.max(data.len()), "replies of nothing");
                }
                Err(error) => came.error = Some(error),
            }
        }
        let covered = came.sides.carry_out(&edits, Side::Backend, &input);
        if came.error.is_some() {
            break;
        }
        assert_eq!(covered, input.len(), "a byte without an edit, or with two");
    }
    came.interruption = walk.interruption_seq();
    came
}
