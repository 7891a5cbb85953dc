//! The fuzz bodies on recordings, cuts and mutations of them, and random bytes.

use proptest::prelude::*;

use crate::fuzz::session::login;
use crate::fuzz::{
    answer, classify, command, compress, frames, handshake, lex, probe, proxy, reply, session,
};
use crate::testdata::{Recording, recordings};
use crate::wire::{Capabilities, frame};

fn all(data: &[u8]) {
    handshake(data);
    command(data);
    answer(data);
    classify(data);
    compress(data);
    frames(data);
    lex(data);
    probe(data);
    proxy(data);
    reply(data);
    session(data);
}

/// Flags of an exchange that begins logged in, both sides new.
const NEW: u8 = 0x1F;
/// The same with an old client.
const OLD_CLIENT: u8 = 0x13;
/// An exchange that begins with the greeting.
const FROM_GREETING: u8 = 0x0F;
/// One that begins with a PROXY header.
const FROM_HEADER: u8 = 0x07;

/// A step of an exchange, in as many as its bytes need.
fn step(out: &mut Vec<u8>, what: u8, bytes: &[u8]) {
    for bytes in bytes.chunks(255) {
        out.extend_from_slice(&[what, u8::try_from(bytes.len()).unwrap()]);
        out.extend_from_slice(bytes);
    }
    if bytes.is_empty() {
        out.extend_from_slice(&[what, 0]);
    }
}

fn client_says(out: &mut Vec<u8>, payload: &[u8]) {
    let mut bytes = bytes::BytesMut::new();
    frame(&mut bytes, 0, |body| body.extend_from_slice(payload));
    step(out, 0, &bytes);
}

/// An exchange around a recorded reply: the command, the reply, a command Weir refuses, an end.
fn exchange(recording: &Recording, flags: u8, piece: u8) -> Vec<u8> {
    let mut data = vec![piece, flags];
    if flags == FROM_HEADER {
        step(&mut data, 0, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    }
    if matches!(flags, FROM_GREETING | FROM_HEADER) {
        let forms = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
        step(&mut data, 0, &login(forms));
        step(&mut data, 4, &[0, 0, 0, 2, 0, 0, 0]);
    }
    client_says(&mut data, &[recording.command.unwrap_or(3), b'x', b'y']);
    client_says(&mut data, &[0x1D]);
    step(&mut data, 2, &recording.bytes);
    step(&mut data, 6 + piece % 2, &[]);
    step(&mut data, 2, &recording.bytes);
    data
}

/// Whole exchanges, in pieces of several sizes.
#[test]
fn recorded_replies_in_a_session() {
    let recordings = recordings();
    let short = recordings.iter().filter(|recording| recording.bytes.len() < 10_000);
    let mut count = 0;
    for recording in short {
        for flags in [NEW, OLD_CLIENT, FROM_GREETING, FROM_HEADER] {
            for piece in [1, 2, 3, 5, 18] {
                session(&exchange(recording, flags, piece));
                count += 1;
            }
        }
        for (expect, dialect) in (0..8).flat_map(|expect| [(expect, 15), (expect, 12)]) {
            for piece in [1, 4, 7] {
                reply(&[&[piece, expect, dialect], recording.bytes.as_slice()].concat());
            }
        }
        for piece in 1..8 {
            frames(&[&[piece], recording.bytes.as_slice()].concat());
        }
    }
    assert!(count > 4000, "only {count} exchanges");
}

/// The bodies are worth nothing if their exchanges end before they begin.
#[test]
fn an_exchange_gets_through() {
    let select = crate::testdata::recording("select-rows-new");
    for (flags, piece) in [(NEW, 255), (FROM_GREETING, 254), (FROM_HEADER, 254), (NEW, 1)] {
        let data = exchange(&select, flags, piece);
        let came = crate::fuzz::session::outcome(&data);
        assert_eq!((came.commands, came.replies), (2, 1));
        assert!(came.over && came.sides.client.len() > select.bytes.len());
    }
}

/// Every payload recorded, and the same cut at every byte (for the long ones, near both ends).
#[test]
fn recordings_and_their_cuts() {
    let mut payloads = 0;
    for recording in recordings() {
        for (_, payload) in recording.frames() {
            payloads += 1;
            let near_an_end = |cut: &usize| *cut < 300 || payload.len() - cut < 300;
            for cut in (0..=payload.len()).filter(near_an_end) {
                all(&payload[..cut]);
            }
        }
    }
    assert!(payloads > 1000, "only {payloads} payloads");
}

proptest! {
    #[test]
    fn any_bytes(data in any::<Vec<u8>>()) {
        all(&data);
    }

    /// Near misses go deeper than noise.
    #[test]
    fn recordings_with_changed_bytes(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        before in proptest::option::of(any::<u8>()),
    ) {
        thread_local! {
            static SHORT: Vec<Vec<u8>> = recordings()
                .iter()
                .flat_map(|recording| {
                    recording.frames().into_iter().map(|(_, p)| p.to_vec()).collect::<Vec<_>>()
                })
                .filter(|payload| (1..500).contains(&payload.len()))
                .collect();
        }
        let mut data = SHORT.with(|payloads| which.get(payloads).clone());
        for (at, byte) in changes {
            *at.get_mut(&mut data) = byte;
        }
        // The bodies that feed machines begin with a length.
        data.splice(0..0, before);
        all(&data);
    }
}

/// A session's exchange with bytes changed anywhere, steps and lengths included.
fn changed(which: prop::sample::Index, flags: u8, changes: Vec<(prop::sample::Index, u8)>) {
    thread_local! {
        static SHORT: Vec<Recording> =
            recordings().into_iter().filter(|recording| recording.bytes.len() < 400).collect();
    }
    let mut data = SHORT.with(|short| exchange(which.get(short), flags, 3));
    for (at, byte) in changes {
        *at.get_mut(&mut data) = byte;
    }
    session(&data);
    reply(&data);
    frames(&data);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn exchanges_with_changed_bytes(
        which in any::<prop::sample::Index>(),
        flags in prop_oneof![
            Just(NEW),
            Just(OLD_CLIENT),
            Just(FROM_GREETING),
            Just(FROM_HEADER),
            any::<u8>()
        ],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        changed(which, flags, changes);
    }

    /// Short frames with likely first bytes: deeper into the machines than noise.
    #[test]
    fn likely_frames(
        flags in any::<u8>(),
        piece in 1_u8..9,
        steps in proptest::collection::vec(
            (0_u8..4, proptest::collection::vec(likely_frame(), 0..4)),
            0..12,
        ),
    ) {
        let mut data = vec![piece, flags | 0x10];
        for (what, frames) in &steps {
            step(&mut data, *what, &frames.concat());
        }
        session(&data);
        let frames: Vec<u8> = steps.into_iter().flat_map(|(_, frames)| frames.concat()).collect();
        reply(&[&[piece, flags, flags >> 4], frames.as_slice()].concat());
        super::frames(&[&[piece], frames.as_slice()].concat());
    }
}

fn likely_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(vec![]),
        Just(vec![0, 0, 0, 2, 0, 0, 0]),
        Just(vec![0, 0, 0, 0x0A, 0, 0, 0]),
        Just(vec![0xFE, 0, 0, 2, 0]),
        Just(vec![0xFE, 0, 0, 0x42, 0]),
        Just(vec![0xFE, 0, 0, 0x0A, 0, 0, 0]),
        Just(vec![0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]),
        Just(vec![0xFB, b'f']),
        Just(b"\xFF\x1D\x04#08S01x".to_vec()),
        (0_u8..33).prop_map(|code| vec![code, b'a', b'b']),
    ];
    let seq = prop_oneof![4 => Just(0_u8), 4 => 1_u8..6, 1 => any::<u8>()];
    (first, seq).prop_map(|(payload, seq)| {
        let mut out = bytes::BytesMut::new();
        frame(&mut out, seq, |body| body.extend_from_slice(&payload));
        out.to_vec()
    })
}

/// Statements under all settings, in pieces of several sizes.
#[test]
fn statement_texts() {
    for text in [
        "SELECT a, -1.5e3, 'it''s', \"x\" FROM `t` WHERE b IN (1, 2, 3) /* c */ -- d",
        "/*!40101 SET @a := _utf8mb4'x' COLLATE utf8mb4_bin, @@session.b = 0x1F */; KILL 5",
        "CREATE PROCEDURE p() BEGIN IF a THEN SELECT 1; END IF; END; SELECT CONNECTION_ID()",
        "SELECT '\u{96e8}\\' /*M!100100 /* b */ c */ # d\n; SET STATEMENT a=1 FOR COMMIT AND CHAIN",
    ] {
        for piece in [1, 2, 3, 5, 60] {
            for settings in 0..64 {
                lex(&[&[piece, settings], text.as_bytes()].concat());
                classify(&[&[settings], text.as_bytes()].concat());
            }
        }
    }
}
