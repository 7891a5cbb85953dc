//! The shapes all packets are made of.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use crate::wire::frame::PAYLOAD_BYTES_MAX;
use crate::wire::{
    Capabilities, Command, Malformed, Reader, Status, frame, put_lenenc_bytes, put_lenenc_int,
    put_nul_bytes, put_u24, sqlstate,
};

#[test]
fn lenenc_int_forms() {
    let table: [(u64, &[u8]); 9] = [
        (0, &[0]),
        (0xFA, &[0xFA]),
        (0xFB, &[0xFC, 0xFB, 0]),
        (0xFFFF, &[0xFC, 0xFF, 0xFF]),
        (0x1_0000, &[0xFD, 0, 0, 1]),
        (0xFF_FFFF, &[0xFD, 0xFF, 0xFF, 0xFF]),
        (0x100_0000, &[0xFE, 0, 0, 0, 1, 0, 0, 0, 0]),
        (u64::MAX, &[0xFE, 255, 255, 255, 255, 255, 255, 255, 255]),
        (250, &[250]),
    ];
    for (value, bytes) in table {
        let mut out = BytesMut::new();
        put_lenenc_int(&mut out, value);
        assert_eq!(out[..], *bytes);
        assert_eq!(Reader::new(bytes).lenenc_int(), Ok(value));
        // A failed read takes nothing.
        for cut in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..cut]);
            assert!(reader.lenenc_int().is_err());
            assert_eq!(reader.remaining(), &bytes[..cut]);
        }
    }
    assert!(Reader::new(&[0xFB, 0, 0]).lenenc_int().is_err());
    assert!(Reader::new(&[0xFF, 0, 0]).lenenc_int().is_err());
}

#[test]
fn lenenc_bytes_longer_than_the_payload() {
    for bytes in [&[5, 1, 2][..], &[0xFE, 255, 255, 255, 255, 255, 255, 255, 255, 1]] {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.lenenc_bytes(), Err(Malformed::new("a field runs past the end")));
        assert_eq!(reader.remaining(), bytes);
    }
}

#[test]
fn fixed_fields() {
    let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, b'a', 0, b'b', 7, 8]);
    assert_eq!(reader.u8(), Ok(1));
    assert_eq!(reader.u16(), Ok(0x0302));
    assert_eq!(reader.u24(), Ok(0x06_0504));
    assert_eq!(reader.nul_bytes(), Ok(&b"a"[..]));
    assert!(reader.nul_bytes().is_err());
    assert_eq!(reader.bytes(1), Ok(&b"b"[..]));
    assert!(reader.u32().is_err() && reader.u64().is_err() && reader.bytes(3).is_err());
    assert_eq!(reader.nul_bytes_or_rest(), [7, 8]);
    assert!(reader.is_empty() && reader.rest().is_empty());
    assert_eq!(Reader::new(&[1, 0, 0, 0]).u32(), Ok(1));
    assert_eq!(Reader::new(&[2, 0, 0, 0, 0, 0, 0, 1]).u64(), Ok(0x0100_0000_0000_0002));
    let error = Reader::named(&[], "a test ends early").u8().unwrap_err();
    assert_eq!(error.to_string(), "malformed packet: a test ends early");
}

#[test]
fn nul_bytes_cannot_smuggle_a_field() {
    let mut out = BytesMut::new();
    put_nul_bytes(&mut out, b"root\0evil");
    put_u24(&mut out, 0x03_0201);
    assert_eq!(out[..], *b"root\0\x01\x02\x03");
}

/// Header bytes of each frame that a payload of `payload_len` becomes.
fn headers(payload_len: usize, seq: u8) -> Vec<[u8; 4]> {
    let mut out = BytesMut::from(&b"before"[..]);
    frame(&mut out, seq, |out| out.put_bytes(7, payload_len));
    let mut rest = out.strip_prefix(b"before").unwrap();
    let mut headers = Vec::new();
    while let [a, b, c, seq, after @ ..] = rest {
        let (payload, tail) = after.split_at(u32::from_le_bytes([*a, *b, *c, 0]) as usize);
        assert!(payload.iter().all(|byte| *byte == 7));
        headers.push([*a, *b, *c, *seq]);
        rest = tail;
    }
    assert!(rest.is_empty());
    headers
}

#[test]
fn long_payloads_are_split() {
    const FULL: [u8; 3] = [0xFF; 3];
    let [full_254, full_255, full_0] = [254, 255, 0].map(|seq| [FULL[0], FULL[1], FULL[2], seq]);
    assert_eq!(headers(0, 5), [[0, 0, 0, 5]]);
    assert_eq!(headers(300, 5), [[44, 1, 0, 5]]);
    assert_eq!(headers(PAYLOAD_BYTES_MAX - 1, 5), [[0xFE, 0xFF, 0xFF, 5]]);
    assert_eq!(headers(PAYLOAD_BYTES_MAX, 255), [full_255, [0, 0, 0, 0]]);
    assert_eq!(headers(PAYLOAD_BYTES_MAX + 1, 255), [full_255, [1, 0, 0, 0]]);
    let twice = headers(2 * PAYLOAD_BYTES_MAX, 254);
    assert_eq!(twice, [full_254, full_255, [0, 0, 0, 0]]);
    assert_eq!(headers(2 * PAYLOAD_BYTES_MAX + 9, 255), [full_255, full_0, [9, 0, 0, 1]]);
}

#[test]
fn sets_show_their_names() {
    let flags = Capabilities::LONG_PASSWORD.union(Capabilities::MFA);
    assert_eq!(format!("{flags:?}"), "[LONG_PASSWORD, MFA]");
    assert_eq!(format!("{:?}", Capabilities::from_bits(1 << 63)), "[0x8000000000000000]");
    let status = Status::AUTOCOMMIT.with(Status::MORE_RESULTS);
    assert_eq!(format!("{status:?}"), "[AUTOCOMMIT, MORE_RESULTS]");
    assert!(status.contains(Status::AUTOCOMMIT) && !status.contains(Status::IN_TRANS));
    assert_eq!(status.without(Status::MORE_RESULTS), Status::AUTOCOMMIT);
}

#[test]
fn capability_sets() {
    let both = Capabilities::SSL.union(Capabilities::COMPRESS);
    assert!(both.contains(Capabilities::SSL) && !Capabilities::SSL.contains(both));
    assert_eq!(both.without(Capabilities::SSL), Capabilities::COMPRESS);
    assert_eq!(both.intersection(Capabilities::SSL), Capabilities::SSL);
    assert_eq!(both.set(Capabilities::SSL, false), Capabilities::COMPRESS);
    // The extended half exists only between MariaDB peers.
    assert_eq!(Capabilities::from_halves(1, 0x1D).bits(), 1);
    let extended = Capabilities::from_halves(2, 0x1D);
    assert_eq!((extended.base(), extended.extended()), (2, 0x1D));
    assert!(extended.contains(Capabilities::MARIADB_PROGRESS));
}

#[test]
fn commands_and_their_codes() {
    let known: Vec<u8> = (0..=255).filter(|b| Command::from_byte(*b).is_some()).collect();
    assert_eq!(known, Command::ALL.iter().map(|c| c.as_byte()).collect::<Vec<_>>());
    assert_eq!(Command::from_byte(0x03), Some(Command::Query));
    assert_eq!(Command::Query.name(), "COM_QUERY");
    assert_eq!(Command::from_byte(0x00), None);
}

#[test]
fn sqlstates() {
    let table = [(1040, b"08004"), (1045, b"28000"), (1049, b"42000"), (1153, b"08S01")];
    for (code, expected) in table {
        assert_eq!(sqlstate(code), *expected);
    }
    assert_eq!(sqlstate(54_321), *b"HY000");
}

proptest! {
    #[test]
    fn lenenc_round_trip(value in any::<u64>(), shift in 0_u32..64, bytes in any::<Vec<u8>>()) {
        let mut out = BytesMut::new();
        put_lenenc_int(&mut out, value >> shift);
        put_lenenc_bytes(&mut out, &bytes);
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.lenenc_int(), Ok(value >> shift));
        prop_assert_eq!(reader.lenenc_bytes(), Ok(&bytes[..]));
        prop_assert!(reader.is_empty());
    }
}
