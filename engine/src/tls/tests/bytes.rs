//! Bytes in, bytes out: any cuts, any amounts, any nonsense.

use std::io::{Read, Write};

use ::bytes::BytesMut;
use proptest::prelude::*;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};

use super::*;
use crate::tls::verify::Anybody;

/// Another client's configuration, for one version only.
fn client(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

/// A client that is not of Weir's making: rustls' usual connection.
struct Other(ClientConnection);

impl Other {
    fn new(config: &Arc<ClientConfig>) -> Self {
        Self(ClientConnection::new(config.clone(), "db".try_into().unwrap()).unwrap())
    }

    /// Carries everything both ways until nobody has anything to say.
    fn run(&mut self, server: &mut Side) {
        loop {
            let mut out = Vec::new();
            while self.0.wants_write() {
                self.0.write_tls(&mut out).unwrap();
            }
            let back = server.out.split();
            if out.is_empty() && back.is_empty() {
                return;
            }
            for byte in out.chunks(100) {
                server.read(byte);
            }
            let mut back = back.as_ref();
            while !back.is_empty() {
                self.0.read_tls(&mut back).unwrap();
                self.0.process_new_packets().unwrap();
            }
        }
    }
}

#[test]
fn pieces_of_any_size_are_put_together() {
    let sides = Sides::plain();
    for piece in (1..=40).chain([100, 1000, 5000]) {
        let mut pair = sides.pair();
        // Written before there was a handshake.
        pair.client.write(b"early");
        pair.server.write(b"early too");
        assert_eq!(pair.run(piece), (Ok(()), Ok(())), "{piece}");
        pair.client.write(b", and late");
        pair.server.write(b", and late");
        assert_eq!(pair.run(piece), (Ok(()), Ok(())), "{piece}");
        assert_eq!(pair.server.plain, "early, and late", "{piece}");
        assert_eq!(pair.client.plain, "early too, and late", "{piece}");
        assert!(!pair.client.stream.is_handshaking() && !pair.server.stream.is_handshaking());
    }
}

#[test]
fn the_plaintext_is_not_on_the_wire() {
    let mut pair = Sides::plain().connect();
    pair.client.write(b"the secret word");
    assert!(!pair.client.out.windows(6).any(|bytes| bytes == b"secret"));
}

#[test]
fn much_goes_both_ways() {
    let mut pair = Sides::plain().connect();
    let much: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    pair.client.write(&much);
    for part in much.chunks(100_000) {
        pair.server.write(part);
    }
    assert_eq!(pair.run(9_000), (Ok(()), Ok(())));
    assert!(pair.server.plain == much && pair.client.plain == much);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_cuts_and_amounts(
        cuts in proptest::collection::vec(1_usize..3000, 1..20),
        sent in proptest::collection::vec((any::<bool>(), 0_usize..40_000), 0..8),
    ) {
        let mut pair = Sides::plain().pair();
        let mut cuts = cuts.into_iter().cycle();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for ((by_client, length), number) in sent.into_iter().zip(0_u8..) {
            let bytes = vec![number; length];
            // At first they are still at their handshake.
            if by_client {
                pair.client.write(&bytes);
                to_server.extend(bytes);
            } else {
                pair.server.write(&bytes);
                to_client.extend(bytes);
            }
            let ends = pair.run_cut(|| cuts.next().unwrap());
            prop_assert_eq!(ends, (Ok(()), Ok(())));
        }
        prop_assert!(pair.server.plain == to_server && pair.client.plain == to_client);
    }

    #[test]
    fn any_bytes_instead_of_a_handshake(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let sides = Sides::plain();
        for stream in [Stream::server(&sides.server).unwrap(), Stream::client(&sides.client).unwrap()] {
            let mut side = Side::new(stream);
            for byte in bytes.chunks(7) {
                side.read(byte);
            }
            prop_assert!(side.plain.is_empty() && side.stream.is_handshaking());
        }
    }

    #[test]
    fn any_damage_ends_the_connection(at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let mut pair = Sides::plain().connect();
        pair.client.write(b"some words that matter");
        let mut bytes = pair.client.out.split();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        pair.server.read(&bytes);
        if at < HEADER_BYTES {
            // Type and version mean nothing any more, and a length that grew makes it wait.
            let plain = &pair.server.plain;
            prop_assert!(plain.is_empty() || plain == "some words that matter");
        } else {
            prop_assert!(pair.server.plain.is_empty() && pair.server.end.is_err());
        }
    }
}

/// Of a record: type 1 | version 2 | length 2.
const HEADER_BYTES: usize = 5;

#[test]
fn what_is_no_tls_is_called_so_and_answered_by_an_alert() {
    let sides = Sides::plain();
    // A login request of a client that did not ask for TLS, and a request of a browser.
    for said in [&b"\x20\0\0\x01\x85\xa6\xff\x01\0\0\0\x01-"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut server = Side::new(Stream::server(&sides.server).unwrap());
        server.read(said);
        assert_eq!(server.end, Err(TlsError::NotTls));
        assert_eq!(server.out.first(), Some(&0x15), "an alert");
        // It stays so.
        let alert = server.out.split();
        server.read(said);
        assert_eq!(server.end, Err(TlsError::NotTls));
        assert_eq!(server.stream.write(b"x", &mut BytesMut::new()), Err(TlsError::NotTls));
        server.stream.close(&mut server.out);
        assert!(server.out.is_empty() && !alert.is_empty());
    }
    let mut pair = sides.pair();
    pair.client.read(b"\x07\0\0\x02\0\0\0\x02\0\0\0");
    assert_eq!(pair.client.end, Err(TlsError::NotTls));
}

#[test]
fn the_other_side_learns_why_it_ended() {
    let mut pair = Sides::plain().connect();
    pair.client.write(b"words");
    let mut bytes = pair.client.out.split();
    *bytes.last_mut().unwrap() ^= 1;
    pair.server.read(&bytes);
    assert!(matches!(pair.server.end, Err(TlsError::Broken(_))), "{:?}", pair.server.end);
    let (client, _) = pair.run(usize::MAX);
    assert_eq!(client, Err(TlsError::Refused("BadRecordMac".into())));
}

#[test]
fn early_words_are_bounded() {
    let mut pair = Sides::plain().pair();
    pair.client.write(&[1; 128 << 10]);
    let error = pair.client.stream.write(&[1], &mut BytesMut::new());
    assert_eq!(error, Err(TlsError::TooMuchTooEarly));
    // Up to there they arrive.
    let mut pair = Sides::plain().pair();
    pair.client.write(&[1; 128 << 10]);
    assert_eq!(pair.run(usize::MAX), (Ok(()), Ok(())));
    assert_eq!(pair.server.plain.len(), 128 << 10);
}

#[test]
fn a_closed_side_can_still_be_told_things() {
    let mut pair = Sides::plain().connect();
    pair.client.write(b"last words");
    pair.client.stream.close(&mut pair.client.out);
    pair.client.stream.close(&mut pair.client.out);
    assert_eq!(pair.run(3), (Ok(()), Ok(())));
    assert!(pair.server.stream.is_peer_closed() && !pair.client.stream.is_peer_closed());
    assert_eq!(pair.server.plain, "last words");
    pair.server.write(b"an answer");
    pair.server.stream.close(&mut pair.server.out);
    assert_eq!(pair.run(3), (Ok(()), Ok(())));
    assert_eq!(pair.client.plain, "an answer");
    assert!(pair.client.stream.is_peer_closed());
    // Whatever comes behind its end is not looked at.
    pair.client.read(b"more");
    assert_eq!((pair.client.end.clone(), pair.client.plain.len()), (Ok(()), 9));
    // Nothing is said in a handshake.
    let mut pair = Sides::plain().pair();
    pair.server.stream.close(&mut pair.server.out);
    assert!(pair.server.out.is_empty());
}

#[test]
fn clients_of_both_versions_are_served_and_may_change_keys() {
    let sides = Sides::plain();
    for version in [&TLS12, &TLS13] {
        let config = client(version);
        for connection in 0..2 {
            let mut other = Other::new(&config);
            let mut server = Side::new(Stream::server(&sides.server).unwrap());
            other.run(&mut server);
            for round in 0..3 {
                other.0.writer().write_all(b"question").unwrap();
                server.write(b"answer");
                other.run(&mut server);
                let mut answer = [0; 6];
                other.0.reader().read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"answer");
                assert_eq!(
                    (&server.plain.split()[..], server.end.clone()),
                    (&b"question"[..], Ok(()))
                );
                if version.version == TLS13.version && round < 2 {
                    other.0.refresh_traffic_keys().unwrap();
                }
            }
            assert_eq!(server.stream.is_resumed(), connection > 0, "{version:?}");
            other.0.send_close_notify();
            other.run(&mut server);
            assert!(server.stream.is_peer_closed());
        }
    }
}

#[test]
fn later_connections_to_a_backend_are_resumed() {
    let sides = Sides::plain();
    let first = sides.connect();
    assert!(!first.client.stream.is_resumed() && !first.server.stream.is_resumed());
    for _ in 0..3 {
        let later = sides.connect();
        assert!(later.client.stream.is_resumed() && later.server.stream.is_resumed());
    }
}
