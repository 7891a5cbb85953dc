//! Logins that ask for TLS or for compression.

use super::*;
use crate::wire::SslRequest;
use crate::wire::compress::Algorithm;

const ZLIB: Capabilities = Capabilities::COMPRESS;
const ZSTD: Capabilities = Capabilities::ZSTD;

/// What the endpoint says.
#[derive(Clone, Copy)]
struct Endpoint {
    tls: bool,
    required: bool,
    zlib: bool,
    zstd: bool,
}

const ALL: Endpoint = Endpoint { tls: true, required: false, zlib: true, zstd: true };

/// A session that has greeted, and what it offered.
fn greeted(endpoint: Endpoint) -> (Pair, Capabilities) {
    let mut pair = Pair::with_context(LoginContext {
        offers_tls: endpoint.tls,
        requires_tls: endpoint.required,
        compression: ClientCompression { zlib: endpoint.zlib, zstd: endpoint.zstd },
        ..context(&server(NATIVE), NONCE)
    });
    let greeting = Greeting::parse(&pair.client_got()[0].1).unwrap();
    (pair, greeting.capabilities)
}

/// A client's wish for TLS.
fn wish() -> Vec<u8> {
    let mut out = BytesMut::new();
    let capabilities = NEW.union(Capabilities::SSL);
    SslRequest { capabilities, packet_bytes_max: 1 << 24, collation: 45 }.encode(1, &mut out);
    out.to_vec()
}

/// The login of a client with TLS: the sequence ids go on.
fn secured(capabilities: Capabilities, user: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    let capabilities = capabilities.union(Capabilities::SSL);
    request(capabilities, user, Some(NATIVE), &[]).encode(2, &mut out);
    out.to_vec()
}

#[test]
fn what_is_offered_is_the_endpoints() {
    for (tls, zlib, zstd) in [(true, true, true), (false, true, false), (true, false, true)] {
        let (_, offered) = greeted(Endpoint { tls, required: false, zlib, zstd });
        let has = |capability| offered.contains(capability);
        assert_eq!((has(Capabilities::SSL), has(ZLIB), has(ZSTD)), (tls, zlib, zstd));
    }
}

#[test]
fn a_wish_for_tls_hands_over_what_came_behind_it() {
    let hello = b"\x16\x03\x01\x00\x05hello";
    let bytes = [&wish()[..], hello].concat();
    for cut in 1..=bytes.len() {
        let (mut pair, _) = greeted(ALL);
        pair.client(&bytes[..cut]);
        let at_first = pair.tls.take();
        assert_eq!(at_first.is_some(), cut >= wish().len());
        let rest = if let Some(rest) = at_first {
            [&rest[..], &bytes[cut..]].concat()
        } else {
            pair.client(&bytes[cut..]);
            pair.tls.take().unwrap().to_vec()
        };
        assert_eq!(rest, hello);
        pair.session.on_tls(None);
        pair.client(&secured(NEW, "open"));
        pair.grant(NEW, LOGIN_OK);
        assert_eq!(pair.client_got(), [(3, LOGIN_OK.to_vec())]);
    }
}

#[test]
fn tls_is_refused_where_it_is_not_offered_and_inside_of_tls() {
    let (mut pair, _) = greeted(Endpoint { tls: false, ..ALL });
    pair.client(&wish());
    let (seq, code, text) = pair.client_error();
    assert_eq!((seq, code), (2, 1043));
    assert!(text.contains("TLS"), "{text}");

    let (mut pair, _) = greeted(ALL);
    pair.client(&wish());
    pair.session.on_tls(None);
    let mut again = wish();
    again[3] = 2;
    pair.client(&again);
    assert_eq!((pair.client_error().1, pair.closed), (1043, true));
}

/// As servers with require_secure_transport do, and before the password is looked at.
#[test]
fn a_login_without_tls_is_refused_where_tls_is_required() {
    let required = Endpoint { required: true, ..ALL };
    let (mut pair, _) = greeted(required);
    pair.client(&login(NEW, "open", Some(NATIVE), &[]));
    let (seq, code, text) = pair.client_error();
    assert_eq!((seq, code), (2, 3159));
    assert!(text.starts_with("Connections using insecure transport are prohibited"), "{text}");
    assert!(pair.lease.is_none() && pair.closed);

    let (mut pair, _) = greeted(required);
    pair.client(&wish());
    pair.session.on_tls(None);
    pair.client(&secured(NEW, "open"));
    assert!(pair.lease.is_some());
}

#[test]
fn a_certificate_is_good_for_the_accounts_it_names() {
    for (accounts, good) in [
        (None, true),
        (Some(vec![]), false),
        (Some(vec!["other".to_owned()]), false),
        (Some(vec!["other".to_owned(), "open".to_owned()]), true),
    ] {
        let (mut pair, _) = greeted(ALL);
        pair.client(&wish());
        pair.session.on_tls(accounts);
        pair.client(&secured(NEW, "open"));
        assert_eq!(pair.lease.is_some(), good);
        if !good {
            let (seq, code, text) = pair.client_error();
            assert_eq!((seq, code), (3, 1045));
            assert!(text.contains("'open'@'127.0.0.1' (using password: NO)"), "{text}");
        }
    }
}

#[test]
fn how_packets_are_compressed() {
    let none = Endpoint { zlib: false, zstd: false, ..ALL };
    let zstd_only = Endpoint { zlib: false, ..ALL };
    let zstd = Algorithm::Zstd { level: ZSTD_LEVEL_DEFAULT };
    for (endpoint, asked, agreed) in [
        (ALL, Capabilities::NONE, None),
        (ALL, ZLIB, Some(Algorithm::Zlib)),
        (ALL, ZSTD, Some(zstd)),
        // With both, servers take zlib.
        (ALL, ZLIB.union(ZSTD), Some(Algorithm::Zlib)),
        (zstd_only, ZLIB.union(ZSTD), Some(zstd)),
        (none, ZLIB.union(ZSTD), None),
    ] {
        let (mut pair, _) = greeted(endpoint);
        pair.client(&login(NEW.union(asked), "open", Some(NATIVE), &[]));
        assert_eq!(pair.session.compression(), None, "not before the OK");
        pair.grant(NEW, LOGIN_OK);
        assert_eq!(pair.session.compression(), agreed);
    }
}
