//! Round trips at every cut, against the libraries' own one-call functions, and what must be
//! refused.

use std::io::{Read, Write};

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::{Malformed, Side, frame};

const BOTH: [Algorithm; 2] = [Algorithm::Zlib, Algorithm::Zstd { level: 3 }];

/// A packet as plain connections have it.
fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame(&mut out, seq, |body| body.extend_from_slice(payload));
    out.to_vec()
}

/// Bytes that compress to about half.
fn text(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"0123456789abcdef"[(state >> 28) as usize]
    };
    (0..length).map(step).collect()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 9_u64;
    let step = move |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..length).map(step).collect()
}

/// An envelope of one's own making.
fn envelope(bytes: &[u8], seq: u8, plain: usize) -> Vec<u8> {
    let [a, b, c, ..] = bytes.len().to_le_bytes();
    let [x, y, z, ..] = plain.to_le_bytes();
    [&[a, b, c, seq, x, y, z], bytes].concat()
}

/// The libraries' own way.
fn packed(algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Zlib => {
            let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        Algorithm::Zstd { level } => zstd::bulk::compress(plain, i32::from(level)).unwrap(),
    }
}

fn unpacked(algorithm: Algorithm, bytes: &[u8], plain: usize) -> Vec<u8> {
    match algorithm {
        Algorithm::Zlib => {
            let mut out = Vec::new();
            flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut out).unwrap();
            assert_eq!(out.len(), plain);
            out
        }
        Algorithm::Zstd { .. } => zstd::bulk::decompress(bytes, plain).unwrap(),
    }
}

/// The envelopes in `bytes`: sequence id, whether compressed, content.
fn envelopes(algorithm: Algorithm, mut bytes: &[u8]) -> Vec<(u8, bool, Vec<u8>)> {
    let mut list = Vec::new();
    while let [a, b, c, seq, x, y, z, rest @ ..] = bytes {
        let length = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
        let plain = u32::from_le_bytes([*x, *y, *z, 0]) as usize;
        let (content, after) = rest.split_at(length);
        bytes = after;
        let content =
            if plain == 0 { content.to_vec() } else { unpacked(algorithm, content, plain) };
        list.push((*seq, plain > 0, content));
    }
    assert!(bytes.is_empty(), "an envelope is cut");
    list
}

/// Sequence ids of the packets in `bytes`.
fn seqs(mut bytes: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    while let [a, b, c, seq, rest @ ..] = bytes {
        list.push(*seq);
        bytes = &rest[u32::from_le_bytes([*a, *b, *c, 0]) as usize..];
    }
    list
}

struct End {
    codec: Codec,
    engines: Engines,
}

impl End {
    fn new(algorithm: Algorithm, far: Side) -> Self {
        Self { codec: Codec::new(algorithm, far), engines: Engines::default() }
    }

    fn send(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.codec.compress(&mut self.engines, plain, &mut out);
        out.to_vec()
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        self.codec.push(bytes);
        let mut out = BytesMut::new();
        while self.codec.next_plain(&mut self.engines, 1 << 20, &mut out)? {}
        Ok(out.to_vec())
    }
}

/// What a client says reaches a server as it was, in any pieces, however little is asked for.
#[test]
fn commands_come_through_every_cut() {
    let command = [packet(0, &text(700)), packet(0, b"\x0e"), packet(0, &noise(300))].concat();
    for algorithm in BOTH {
        let mut client = End::new(algorithm, Side::Backend);
        let bytes = client.send(&command);
        let found = envelopes(algorithm, &bytes);
        let kinds: Vec<_> = found.iter().map(|(seq, packed, _)| (*seq, *packed)).collect();
        assert_eq!(kinds, [(0, true), (0, false), (0, false)]);
        let contents: Vec<u8> = found.into_iter().flat_map(|(_, _, content)| content).collect();
        assert_eq!(contents, command);
        for cut in 0..=bytes.len() {
            let mut server = End::new(algorithm, Side::Client);
            let first = server.receive(&bytes[..cut]).unwrap();
            assert_eq!([first, server.receive(&bytes[cut..]).unwrap()].concat(), command);
            assert_eq!(server.codec.waiting_bytes(), 0);
        }
        for bytes_max in [1, 2, 7, 50, 700, 1013] {
            let mut server = End::new(algorithm, Side::Client);
            let mut plain = BytesMut::new();
            server.codec.push(&bytes);
            loop {
                let before = plain.len();
                let more = server.codec.next_plain(&mut server.engines, bytes_max, &mut plain);
                let came = plain.len() - before;
                assert!(came <= bytes_max);
                if !more.unwrap() {
                    break;
                }
                assert_eq!(came, bytes_max);
            }
            assert_eq!(plain, command);
        }
        for cut in 0..=command.len() {
            let mut client = End::new(algorithm, Side::Backend);
            let sent = [client.send(&command[..cut]), client.send(&command[cut..])].concat();
            let mut server = End::new(algorithm, Side::Client);
            assert_eq!(server.receive(&sent).unwrap(), command);
        }
    }
}

/// What servers and clients put into one envelope, made by the libraries' one-call functions.
#[test]
fn large_envelopes_stream() {
    for algorithm in BOTH {
        let plain = packet(0, &text((1 << 24) - 6));
        assert_eq!(plain.len(), (1 << 24) - 2);
        let bytes = envelope(&packed(algorithm, &plain), 0, plain.len());
        let mut server = End::new(algorithm, Side::Client);
        let (mut at, mut out, mut largest) = (0, BytesMut::new(), 0);
        for piece in bytes.chunks(8 << 10) {
            server.codec.push(piece);
            while server.codec.next_plain(&mut server.engines, 32 << 10, &mut out).unwrap() {
                assert_eq!(out[..], plain[at..at + out.len()]);
                at += out.len();
                out.clear();
            }
            largest = largest.max(server.codec.waiting_bytes());
        }
        assert_eq!(out[..], plain[at..]);
        assert!(largest < 16 << 10, "{largest} bytes kept");
    }
}

#[test]
fn a_long_packet_leaves_in_pieces() {
    for algorithm in BOTH {
        let command = [packet(0, &text(200_000)), packet(0, b"\x01")].concat();
        let bytes = End::new(algorithm, Side::Backend).send(&command);
        let found = envelopes(algorithm, &bytes);
        let list: Vec<_> = found.iter().map(|(seq, _, content)| (*seq, content.len())).collect();
        assert_eq!(list, [(0, 65_536), (1, 65_536), (2, 65_536), (3, 3_396), (0, 5)]);
    }
}

/// Nothing gets longer than its header.
#[test]
fn what_does_not_shrink_is_stored() {
    for algorithm in BOTH {
        for length in [45, 46, 47, 1_000, 65_532] {
            let bytes = End::new(algorithm, Side::Backend).send(&packet(0, &noise(length)));
            assert_eq!(bytes.len(), 7 + 4 + length);
            let short = End::new(algorithm, Side::Backend).send(&packet(0, &vec![7; length]));
            // Both servers' MIN_COMPRESS_LENGTH.
            assert_eq!(short[4..7] != [0, 0, 0], 4 + length >= 50, "{length}");
        }
    }
}

/// Numbers of envelopes and packets in a dialogue, as a server of any kind has it.
#[test]
fn answers_go_on_from_the_commands_last_number() {
    let mut server = End::new(Algorithm::Zlib, Side::Client);
    let ask = |end: &mut End, envelope_seqs: &[u8], packets: &[u8]| {
        let mut plain = Vec::new();
        for seq in envelope_seqs {
            plain.extend(end.receive(&envelope(packets, *seq, 0)).unwrap());
        }
        plain
    };
    // A command of three envelopes: half a packet, nothing, the rest.
    let command = packet(0, b"\x03SELECT 1");
    assert!(server.receive(&envelope(&command[..6], 0, 0)).unwrap().len() == 6);
    assert!(ask(&mut server, &[1], b"").is_empty());
    assert_eq!(server.receive(&envelope(&command[6..], 2, 0)).unwrap(), command[6..]);
    let reply = [packet(1, b"\x01"), packet(2, b"def"), packet(3, b"x")].concat();
    let numbers = |bytes: &[u8]| -> Vec<(u8, Vec<u8>)> {
        let found = envelopes(Algorithm::Zlib, bytes).into_iter();
        found.map(|(seq, _, content)| (seq, seqs(&content))).collect()
    };
    let out = server.send(&reply);
    assert_eq!(numbers(&out), [(3, vec![3, 4, 5])]);
    // The reply goes on: packets that begin an envelope have its number.
    let out = server.send(&[packet(4, b"y"), packet(5, b"z")].concat());
    assert_eq!(numbers(&out), [(4, vec![4, 5])]);
    let out = server.send(&packet(6, b"z"));
    assert_eq!(numbers(&out), [(5, vec![5])]);
    // Two commands at once, and their replies at once.
    let ping = packet(0, b"\x0e");
    assert_eq!(
        server.receive(&[envelope(&ping, 0, 0), envelope(&ping, 0, 0)].concat()).unwrap(),
        [ping.clone(), ping.clone()].concat()
    );
    let out = server.send(&[packet(1, b"\0"), packet(1, b"\0")].concat());
    assert_eq!(numbers(&out), [(1, vec![1]), (1, vec![1])]);
    // What nobody asked for.
    assert_eq!(numbers(&server.send(&packet(1, b"\xff"))), [(1, vec![1])]);
}

/// A reply of exactly 256 packets ends with number 0, and the next one begins with 1.
#[test]
fn a_new_answer_is_known_after_any_number() {
    for count in [255, 256, 257, 511, 512] {
        let mut server = End::new(Algorithm::Zlib, Side::Client);
        let ping = packet(0, b"\x0e");
        server.receive(&envelope(&ping, 0, 0)).unwrap();
        let mut seq = 0_u8;
        for _ in 0..count {
            seq = seq.wrapping_add(1);
            server.send(&packet(seq, b"row"));
        }
        server.receive(&envelope(&ping, 0, 0)).unwrap();
        let found = envelopes(Algorithm::Zlib, &server.send(&packet(1, b"\0")));
        assert_eq!((found[0].0, seqs(&found[0].2)), (1, vec![1]), "after {count}");
    }
}

/// The other end of the same: a backend's numbers, set back at each flush, become those of a plain
/// connection.
#[test]
fn a_backends_packets_are_counted_through() {
    for envelopes_before in [1_usize, 2, 255, 256, 257] {
        let mut client = End::new(Algorithm::Zlib, Side::Backend);
        client.send(&packet(0, b"\x03"));
        // One envelope per row; the server flushed after each.
        let mut plain = Vec::new();
        let mut seq = 0_u8;
        for _ in 0..envelopes_before {
            seq = seq.wrapping_add(1);
            let rows = [packet(seq, b"row"), packet(seq.wrapping_add(1), b"row")].concat();
            plain.extend(client.receive(&envelope(&rows, seq, 0)).unwrap());
        }
        let expected: Vec<u8> =
            (1..=2 * envelopes_before).map(|number| number.to_le_bytes()[0]).collect();
        assert_eq!(seqs(&plain), expected, "after {envelopes_before}");
        // The next reply begins with 1 again; its command took two envelopes.
        assert_eq!(envelopes(Algorithm::Zlib, &client.send(&packet(0, &text(70_000)))).len(), 2);
        let reply = [packet(2, b"\x01"), packet(3, b"x")].concat();
        assert_eq!(seqs(&client.receive(&envelope(&reply, 2, 0)).unwrap()), [1, 2]);
        assert_eq!(seqs(&client.receive(&envelope(&packet(3, b"y"), 3, 0)).unwrap()), [3]);
    }
}

/// The envelopes of a recorded dialogue, whole: who sent them, and the bytes.
fn recorded() -> Vec<(Side, Vec<u8>)> {
    let mut bytes = &include_bytes!("../../../testdata/mariadb-10.11-compressed.bin")[..];
    let (mut list, mut cut) = (Vec::new(), [Vec::new(), Vec::new()]);
    while let [mark, a, b, c, d, rest @ ..] = bytes {
        let (stretch, after) = rest.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        bytes = after;
        let side = if *mark == 0 { Side::Client } else { Side::Backend };
        let received = &mut cut[usize::from(*mark)];
        received.extend_from_slice(stretch);
        while let [a, b, c, _, _, _, _, ..] = received[..] {
            let end = 7 + u32::from_le_bytes([a, b, c, 0]) as usize;
            if received.len() < end {
                break;
            }
            let after = received.split_off(end);
            list.push((side, std::mem::replace(received, after)));
        }
    }
    assert!(cut.iter().all(Vec::is_empty) && list.len() > 40);
    list
}

/// MariaDB and its client through a pair as Weir has it: each gets the envelopes it got from the
/// other, and between them everything is numbered as on a plain connection.
#[test]
fn a_recorded_dialogue_goes_through() {
    let algorithm = Algorithm::Zlib;
    let mut to_client = End::new(algorithm, Side::Client);
    let mut to_server = End::new(algorithm, Side::Backend);
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for (from, bytes) in recorded() {
        let (near, far, all) = match from {
            Side::Client => (&mut to_client, &mut to_server, &mut asked),
            Side::Backend => (&mut to_server, &mut to_client, &mut answered),
        };
        let plain = near.receive(&bytes).unwrap();
        all.extend_from_slice(&plain);
        let sent = far.send(&plain);
        let (before, after) = (envelopes(algorithm, &bytes), envelopes(algorithm, &sent));
        assert_eq!((before.len(), after.len()), (1, 1));
        assert_eq!(before[0].0, after[0].0, "an envelope's number");
        assert_eq!(before[0].2.len(), after[0].2.len());
    }
    // Commands begin with 0; the file goes on from the packet that asked for it.
    let (asked, answered) = (seqs(&asked), seqs(&answered));
    let commands = asked.iter().filter(|seq| **seq == 0).count();
    assert_eq!(commands, 18);
    let file: Vec<_> = asked.iter().copied().filter(|seq| *seq > 0).collect();
    assert_eq!(file, (2..2 + file.len()).map(|seq| seq.to_le_bytes()[0]).collect::<Vec<_>>());
    // Replies begin with 1, but for the one that follows the file, and go on by one.
    let mut begins = 0;
    for (last, seq) in answered.iter().zip(&answered[1..]) {
        if *seq != last.wrapping_add(1) {
            begins += 1;
            let after_file = *file.last().unwrap() + 1;
            assert!(*seq == 1 || *seq == after_file, "{last} is followed by {seq}");
        }
    }
    // All commands but COM_QUIT, and the end of the file's; the first reply has none before it.
    assert_eq!(begins, commands - 1 + 1 - 1);
}

/// A file or a password goes on from the number of the packet that asked for it, on both sides.
#[test]
fn answers_of_a_client_keep_their_place() {
    let (algorithm, rows) = (Algorithm::Zlib, 300);
    let mut server = End::new(algorithm, Side::Client);
    let mut client = End::new(algorithm, Side::Backend);
    let command = packet(0, &text(70_000));
    assert_eq!(server.receive(&client.send(&command)).unwrap(), command);
    let wish = server.send(&packet(1, b"\xfbfile"));
    // The command had two envelopes, so a server asks with 2; the machine that reads sees 1.
    assert_eq!(envelopes(algorithm, &wish)[0].0, 2);
    assert_eq!(seqs(&envelopes(algorithm, &wish)[0].2), [2]);
    assert_eq!(seqs(&client.receive(&wish).unwrap()), [1]);
    let mut seq = 1_u8;
    for row in 0..=rows {
        seq = seq.wrapping_add(1);
        let data = packet(seq, if row == rows { b"" } else { b"1,2,3" });
        let bytes = client.send(&data);
        assert_eq!(envelopes(algorithm, &bytes)[0].0, seq.wrapping_add(1), "row {row}");
        assert_eq!(server.receive(&bytes).unwrap(), data);
    }
    seq = seq.wrapping_add(1);
    let ok = server.send(&packet(seq, b"\0"));
    assert_eq!(envelopes(algorithm, &ok)[0].0, seq.wrapping_add(1));
    assert_eq!(client.receive(&ok).unwrap(), packet(seq, b"\0"));
    // And a real client's numbers: it goes on from the envelope's.
    let mut server = End::new(algorithm, Side::Client);
    server.receive(&envelope(&packet(0, b"\x11x"), 0, 0)).unwrap();
    server.send(&[packet(1, b"a"), packet(2, b"b"), packet(3, b"switch")].concat());
    let password = envelope(&packet(2, b"secret"), 2, 0);
    assert_eq!(server.receive(&password).unwrap(), packet(4, b"secret"));
    assert_eq!(envelopes(algorithm, &server.send(&packet(5, b"\0")))[0].0, 3);
    assert_eq!(server.receive(&envelope(&packet(0, b"\x0e"), 0, 0)).unwrap(), packet(0, b"\x0e"));
}

#[test]
fn lies_are_refused() {
    let plain = text(1_000);
    for algorithm in BOTH {
        let good = packed(algorithm, &plain);
        let mut broken = good.clone();
        broken[9] ^= 0x55;
        let mut trailing = good.clone();
        trailing.push(0);
        let cases: [(&str, Vec<u8>); 8] = [
            ("fewer plain bytes", envelope(&good, 0, plain.len() + 1)),
            ("far fewer", envelope(&good, 0, 0xFF_FFFF)),
            ("more plain bytes", envelope(&good, 0, plain.len() - 1)),
            ("far more", envelope(&good, 0, 1)),
            ("cut", envelope(&good[..good.len() - 1], 0, plain.len())),
            ("something behind", envelope(&trailing, 0, plain.len())),
            ("nothing", envelope(&[], 0, 50)),
            ("noise", envelope(&noise(100), 0, 1_000)),
        ];
        for (name, bytes) in cases {
            let whole = End::new(algorithm, Side::Client).receive(&bytes);
            assert!(whole.is_err(), "{name}: {algorithm:?}");
            let mut server = End::new(algorithm, Side::Client);
            let cut = bytes.iter().map(|byte| server.receive(&[*byte]));
            assert_eq!(cut.filter(Result::is_err).count().min(1), 1, "{name}: {algorithm:?}");
        }
        // Changed bytes are an error or other bytes of the same length, never more.
        if let Ok(found) =
            End::new(algorithm, Side::Client).receive(&envelope(&broken, 0, plain.len()))
        {
            assert_eq!(found.len(), plain.len());
        }
    }
}

/// A little input that stands for very much yields only what is asked for.
#[test]
fn bombs_are_defused() {
    for algorithm in BOTH {
        let plain = vec![0; 0xFF_FFFF];
        let bytes = envelope(&packed(algorithm, &plain), 0, plain.len());
        assert!(bytes.len() < 20_000);
        let mut server = End::new(algorithm, Side::Client);
        let mut out = BytesMut::new();
        server.codec.push(&bytes);
        assert!(server.codec.next_plain(&mut server.engines, 4_096, &mut out).unwrap());
        assert!(out.len() == 4_096 && out.capacity() < 128 << 10);
    }
    // A frame that wants a window of 128 MiB.
    let frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x88, 0x01, 0x00, 0x00];
    let mut server = End::new(Algorithm::Zstd { level: 3 }, Side::Client);
    assert!(server.receive(&envelope(&frame, 0, 100)).is_err());
}

/// Decoders are lent for an envelope and come back; compressors are made once.
#[test]
fn engines_are_shared_and_used_again() {
    let mut engines = Engines::default();
    for algorithm in BOTH {
        for round in 0..50 {
            let command = packet(0, &text(500 + round));
            let mut client = Codec::new(algorithm, Side::Backend);
            let mut bytes = BytesMut::new();
            client.compress(&mut engines, &command, &mut bytes);
            let (first, second) = bytes.split_at(bytes.len() / 2);
            let mut servers = [(); 3].map(|()| Codec::new(algorithm, Side::Client));
            let mut plain = [(); 3].map(|()| BytesMut::new());
            for piece in [first, second] {
                for (server, plain) in servers.iter_mut().zip(&mut plain) {
                    server.push(piece);
                    server.next_plain(&mut engines, 1 << 20, plain).unwrap();
                }
            }
            assert!(plain.iter().all(|plain| plain[..] == command));
        }
    }
    assert_eq!(format!("{engines:?}"), "Engines { zlib_decoders: 3, zstd_decoders: 3, .. }");
    assert!(size_of::<Codec>() < 320, "{} bytes per connection", size_of::<Codec>());
}

proptest! {
    /// Both directions, any packets, any cuts, any demand.
    #[test]
    fn any_dialogue_comes_through(
        zstd in any::<bool>(),
        turns in prop::collection::vec(
            (prop::collection::vec(prop::collection::vec(0_u8..4, 0..400), 1..5), any::<bool>()),
            1..12,
        ),
        piece in 1_usize..300,
        bytes_max in 1_usize..300,
    ) {
        let algorithm = if zstd { Algorithm::Zstd { level: 1 } } else { Algorithm::Zlib };
        let mut client = End::new(algorithm, Side::Backend);
        let mut server = End::new(algorithm, Side::Client);
        let across = |from: &mut End, to: &mut End, plain: &[u8]| {
            let mut came = BytesMut::new();
            for plain in plain.chunks(piece) {
                for bytes in from.send(plain).chunks(piece) {
                    to.codec.push(bytes);
                    while to.codec.next_plain(&mut to.engines, bytes_max, &mut came).unwrap() {}
                }
            }
            came.to_vec()
        };
        for (reply, wide) in turns {
            let command = packet(0, &text(if wide { 500 } else { 5 }));
            prop_assert_eq!(&across(&mut client, &mut server, &command), &command);
            let mut plain = Vec::new();
            for (payload, seq) in reply.iter().zip(1..) {
                plain.extend(packet(seq, payload));
            }
            prop_assert_eq!(&across(&mut server, &mut client, &plain), &plain);
        }
    }

    /// Nothing that comes is a panic, and cuts do not change what it means.
    #[test]
    fn any_bytes(data in any::<Vec<u8>>()) {
        crate::fuzz::compress(&data);
    }
}
