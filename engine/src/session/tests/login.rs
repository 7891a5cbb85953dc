//! From the greeting to the OK, and every way not to get there.

use super::*;
use crate::testdata::recording;
use crate::wire::{AuthSwitch, OkPacket};

/// A plugin nobody speaks here: its client is switched.
const ODD: &str = "client_ed25519";

#[test]
fn the_greeting_is_the_servers_and_offers_what_both_can_do() {
    let mut pair = Pair::greeted(server(SHA2));
    let [(0, payload)] = &pair.client_got()[..] else { panic!() };
    let greeting = Greeting::parse(payload).unwrap();
    assert_eq!(greeting.version, b"8.4.3");
    assert_eq!(greeting.plugin, SHA2.as_bytes());
    assert_eq!((greeting.connection_id, greeting.nonce), (pair.session.id().get(), NONCE));
    let has = |capability| greeting.capabilities.contains(capability);
    assert!(has(NEW) && has(Capabilities::CONNECT_WITH_DB));
    // This endpoint does not offer the first two, whatever the server can, nor this server the last.
    for absent in [Capabilities::COMPRESS, Capabilities::SSL, Capabilities::FOUND_ROWS] {
        assert!(!has(absent), "{absent:?}");
    }

    let mut old = server(ODD);
    old.capabilities = OLD;
    let mut pair = Pair::greeted(old);
    let greeting = Greeting::parse(&pair.client_got()[0].1).unwrap();
    assert_eq!(greeting.plugin, NATIVE.as_bytes(), "a plugin that Weir speaks");
    assert!(!greeting.capabilities.contains(Capabilities::DEPRECATE_EOF));
}

/// Logs in as `user`, in pieces; returns the packets after the greeting up to the OK.
fn log_in(
    client: Capabilities,
    user: &str,
    greeting: &str,
    named: &str,
    piece: usize,
) -> (Pair, Vec<(u8, Vec<u8>)>) {
    let mut pair = Pair::greeted(server(greeting));
    pair.client_got();
    let password = if user == "open" { "" } else { "secret" };
    let first = if named == ODD { vec![1; 64] } else { answer(named, password) };
    for bytes in login(client, user, Some(named), &first).chunks(piece) {
        pair.client(bytes);
    }
    let mut got = pair.client_got();
    if let Some((seq, payload)) = got.last()
        && payload[0] == 0xFE
    {
        let switch = AuthSwitch::parse(payload).unwrap();
        assert_eq!(switch.data, [&NONCE[..], &[0]].concat());
        let plugin = std::str::from_utf8(switch.plugin).unwrap();
        for bytes in packet(seq + 1, &answer(plugin, password)).chunks(piece) {
            pair.client(bytes);
        }
    }
    got.extend(pair.client_got());
    let ok = recording("login-ok");
    pair.grant(NEW, ok.payload());
    got.extend(pair.client_got());
    (pair, got)
}

/// Who, the greeting's plugin, the plugin named; what comes, as sequence ids and first bytes.
type WayIn = (&'static str, &'static str, &'static str, &'static [(u8, u8)]);

#[test]
fn every_way_in() {
    let table: [WayIn; 12] = [
        ("open", NATIVE, NATIVE, &[(2, 0)]),
        ("open", SHA2, SHA2, &[(2, 0)]),
        ("clear", NATIVE, NATIVE, &[(2, 0)]),
        ("clear", NATIVE, SHA2, &[(2, 1), (3, 0)]),
        ("clear", SHA2, SHA2, &[(2, 1), (3, 0)]),
        ("clear", SHA2, ODD, &[(2, 0xFE), (4, 1), (5, 0)]),
        ("clear", NATIVE, ODD, &[(2, 0xFE), (4, 0)]),
        ("native", NATIVE, NATIVE, &[(2, 0)]),
        ("native", SHA2, SHA2, &[(2, 0xFE), (4, 0)]),
        ("sha2", SHA2, SHA2, &[(2, 1), (3, 0)]),
        ("sha2", NATIVE, NATIVE, &[(2, 0xFE), (4, 1), (5, 0)]),
        ("sha2", NATIVE, ODD, &[(2, 0xFE), (4, 1), (5, 0)]),
    ];
    for (user, greeting, named, want) in table {
        for client in [NEW, OLD] {
            let (pair, whole) = log_in(client, user, greeting, named, usize::MAX);
            let got: Vec<_> = whole.iter().map(|(seq, payload)| (*seq, payload[0])).collect();
            assert_eq!(got, want, "{user} {greeting} {named}");
            assert!(pair.session.is_at_rest() && !pair.closed);
            let asked = pair.lease.unwrap();
            assert_eq!(asked.login.user, user.as_bytes());
            assert_eq!(asked.login.capabilities, client);
            for piece in 1..40 {
                let (pair, got) = log_in(client, user, greeting, named, piece);
                assert_eq!(got, whole, "in pieces of {piece}");
                assert_eq!(pair.lease.unwrap().proof, asked.proof);
            }
        }
    }
}

/// Only a client that asked for trackers is told of them.
#[test]
fn the_ok_is_for_this_client() {
    let recorded = recording("login-ok");
    let sent = OkPacket::parse(recorded.payload(), NEW).unwrap();
    assert!(!sent.trackers.is_empty());
    for (client, trackers) in [(NEW, sent.trackers), (OLD, &[])] {
        let (_, got) = log_in(client, "open", NATIVE, NATIVE, usize::MAX);
        let ok = OkPacket::parse(&got[0].1, client).unwrap();
        assert_eq!(ok.trackers, trackers);
        let flagged = ok.status.contains(Status::SESSION_STATE_CHANGED);
        assert_eq!(flagged, !trackers.is_empty());
    }
}

#[test]
fn the_wrong_password_and_the_unknown_user_are_told_the_same() {
    let denied = |user: &str, named: &str, first: &[u8], second: Option<&[u8]>| {
        let mut pair = Pair::greeted(server(NATIVE));
        pair.client_got();
        pair.client(&login(OLD, user, Some(named), first));
        if let Some(second) = second {
            assert_eq!(pair.client_got()[0].1[0], 0xFE);
            pair.client(&packet(3, second));
        }
        assert!(pair.lease.is_none() && pair.closed);
        pair.client_error()
    };
    let wrong = answer(NATIVE, "wrong");
    for user in ["clear", "open", "native", "nobody"] {
        let yes = format!("Access denied for user '{user}'@'127.0.0.1' (using password: YES)");
        let (seq, code, text) = denied(user, NATIVE, &wrong, None);
        assert_eq!((seq, code, text), (2, 1045, yes.clone()));
        let switched = denied(user, ODD, &wrong, Some(&wrong));
        assert_eq!(switched, (4, 1045, yes.clone()), "switched");
        // The first answer was empty, the one that counts was not.
        assert_eq!(denied(user, ODD, &[], Some(&wrong)), (4, 1045, yes));
    }
    for user in ["clear", "native", "nobody"] {
        let no = format!("Access denied for user '{user}'@'127.0.0.1' (using password: NO)");
        assert_eq!(denied(user, NATIVE, &[], None), (2, 1045, no.clone()));
        assert_eq!(denied(user, ODD, &wrong, Some(&[])), (4, 1045, no));
    }
    let long = "ü".repeat(5000);
    let (_, _, text) = denied(&long, NATIVE, &wrong, None);
    assert!(text.chars().count() < 256, "{} characters", text.chars().count());
}

#[test]
fn bad_logins_get_an_error_and_no_lease() {
    let whole = login(NEW, "open", Some(NATIVE), &[]);
    let with_seq = |seq: u8| [&whole[..3], &[seq], &whole[4..]].concat();
    let mut tls = whole.clone();
    tls.truncate(4 + 32);
    tls[0] = 32;
    tls[5] |= 0x08;
    let old_protocol = packet(1, &[5, 0, 0, 0, 0, b'a', 0]);
    let table: [(Vec<u8>, u8, u16, &str); 8] = [
        (packet(1, b"GET / HTTP/1.1"), 2, 1043, "Bad handshake"),
        (packet(1, &[]), 2, 1043, "Bad handshake"),
        (packet(1, &whole[4..20]), 2, 1043, "Bad handshake"),
        (old_protocol, 2, 1043, "Bad handshake"),
        (tls, 2, 1043, "TLS"),
        (with_seq(0), 1, 1156, "Got packets out of order"),
        (with_seq(9), 1, 1156, "Got packets out of order"),
        // Two MiB are announced: that is enough to know.
        (vec![0, 0, 0x20, 1, 0x85], 2, 1153, "too many bytes"),
    ];
    for (bytes, seq, code, text) in table {
        for piece in [1, 5, 1000] {
            let mut pair = Pair::greeted(server(NATIVE));
            pair.client_got();
            for bytes in bytes.chunks(piece) {
                if !pair.closed {
                    pair.client(bytes);
                }
            }
            assert!(pair.lease.is_none() && pair.closed);
            let error = pair.client_error();
            assert!(error.2.contains(text), "{error:?}");
            assert_eq!((error.0, error.1), (seq, code), "{error:?}");
        }
    }
}

#[test]
fn what_is_sent_ahead_waits_for_the_lease() {
    let bytes =
        [login(OLD, "open", Some(NATIVE), &[]), query(), command(&[0x1D]), query()].concat();
    for cut in 1..bytes.len() {
        let mut pair = Pair::greeted(server(NATIVE));
        pair.client_got();
        pair.client(&bytes[..cut]);
        pair.client(&bytes[cut..]);
        assert!(pair.backend_got().is_empty() && pair.client_got().is_empty());
        pair.grant(NEW, LOGIN_OK);
        assert_eq!(pair.client_got(), [(2, LOGIN_OK.to_vec())]);
        assert_eq!(pair.backend_got(), [query(), query()].concat());
        pair.backend(&[ok(1, Status::AUTOCOMMIT), ok(1, Status::AUTOCOMMIT)].concat());
        let firsts: Vec<_> = pair.client_got().iter().map(|(_, payload)| payload[0]).collect();
        assert_eq!(firsts, [0, 0xFF, 0]);
    }
    // There is an end to it.
    let mut pair = Pair::greeted(server(NATIVE));
    pair.client(&login(OLD, "open", Some(NATIVE), &[]));
    pair.client_got();
    for _ in 0..5 {
        if !pair.closed {
            pair.client(&[0; 60_000]);
        }
    }
    let (seq, code, _) = pair.client_error();
    assert_eq!((seq, code), (2, 1153));
}

#[test]
fn a_refused_lease_is_the_backends_refusal() {
    for name in ["login-unknown-database", "login-denied", "greeting-too-many"] {
        for (user, plugin, seq) in [("open", NATIVE, 2), ("clear", SHA2, 3)] {
            let refusal = recording(name);
            let mut pair = Pair::greeted(server(plugin));
            let password = if user == "open" { "" } else { "secret" };
            pair.client(&login(NEW, user, Some(plugin), &answer(plugin, password)));
            pair.client_got();
            pair.refuse(refusal.payload());
            let error = ErrPacket::parse(refusal.payload()).unwrap();
            let text = String::from_utf8(error.message.to_vec()).unwrap();
            assert_eq!(pair.client_error(), (seq, error.code, text));
            assert!(pair.closed);
        }
    }
    let mut pair = Pair::greeted(server(NATIVE));
    pair.client(&login(NEW, "open", Some(NATIVE), &[]));
    pair.client_got();
    pair.refuse(&[0xFF, 1]);
    let (seq, code, _) = pair.client_error();
    assert_eq!((seq, code), (2, 1043));
}

/// A lease that cannot be used is an error to the client, not silence.
#[test]
fn a_lease_that_cannot_be_used() {
    let asked = || {
        let mut pair = Pair::greeted(server(NATIVE));
        pair.client(&login(NEW, "open", Some(NATIVE), &[]));
        pair.client_got();
        pair
    };
    let mut pair = asked();
    pair.grant(NEW, &[0, 0]);
    let (seq, code, text) = pair.client_error();
    assert_eq!((seq, code), (2, 1835));
    assert!(text.starts_with("weir: the backend sent a malformed packet"), "{text}");

    // The greeting promised what this backend has not.
    let mut pair = asked();
    pair.grant(OLD, LOGIN_OK);
    let (seq, code, text) = pair.client_error();
    assert_eq!((seq, code), (2, 1105));
    assert!(text.contains("connect again"), "{text}");
    assert_eq!(pair.fault.unwrap().blame, Blame::Backend);
}

#[test]
fn a_client_that_leaves_during_its_login_gets_no_lease() {
    let bytes = login(NEW, "open", Some(NATIVE), &[]);
    for cut in 0..bytes.len() {
        let mut pair = Pair::greeted(server(NATIVE));
        if cut > 0 {
            pair.client(&bytes[..cut]);
        }
        pair.client_ends();
        assert!(pair.closed && pair.lease.is_none());
        assert!(pair.backend_got().is_empty());
    }
    // Or leaves while it is being connected: then nothing is left to be leased for.
    let mut pair = Pair::greeted(server(NATIVE));
    pair.client(&bytes);
    pair.client_ends();
    assert!(pair.closed && pair.session.is_at_rest());
    let late = pair.session.on_lease(NEW, LOGIN_OK, &mut Edits::default());
    assert_eq!(late.unwrap_err().blame, Blame::Bug);
}

#[test]
fn a_login_has_a_deadline_and_a_session_has_none() {
    let mut pair = Pair::greeted(server(NATIVE));
    pair.client_got();
    pair.at(Time::ZERO);
    assert!(pair.session.is_logging_in() && !pair.session.is_at_rest());
    pair.at(LOGIN_OVER);
    assert_eq!((pair.client_error().0, pair.closed), (1, true));

    let mut pair = Pair::logged_in(NEW);
    pair.at(LOGIN_OVER + HOUR);
    assert_eq!((pair.session.deadline(), pair.closed), (Time::NEVER, false));
}
