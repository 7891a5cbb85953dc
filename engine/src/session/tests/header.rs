//! Clients that come through a balancer.

use super::*;
use crate::wire::proxy::{HEADER_BYTES_MAX, encode};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 50123 3306\r\n";

fn origin() -> Origin {
    Origin::Tcp {
        source: ([192, 0, 2, 7], 50_123).into(),
        destination: ([198, 51, 100, 1], 3306).into(),
    }
}

fn header(origin: Origin) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(origin, &mut out);
    out.to_vec()
}

/// The client was greeted and has asked to be let in.
fn check_named(pair: &mut Pair, named: Origin) {
    assert_eq!(pair.named, Some(named));
    let greeting = Greeting::parse(&pair.client_got()[0].1).unwrap();
    assert_eq!(greeting.connection_id, OWN_ID.get());
    let lease = pair.lease.as_ref().expect("its login was read");
    assert_eq!(lease.login.user, b"open");
}

#[test]
fn the_greeting_comes_when_the_header_is_whole_wherever_it_is_cut() {
    let login = login(NEW, "open", Some(NATIVE), &[]);
    for head in [LINE.to_vec(), header(origin())] {
        let bytes = [&head[..], &login].concat();
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let mut pair = Pair::unnamed();
            assert!(pair.session.is_logging_in() && pair.session.awaits_header());
            pair.client(first);
            let is_whole = cut >= head.len();
            assert_eq!(pair.named.is_some(), is_whole, "cut at {cut}");
            assert_eq!(pair.sides.client.is_empty(), !is_whole, "cut at {cut}");
            assert_eq!(pair.session.is_inside_header(), !is_whole && cut > 0, "cut at {cut}");
            assert_eq!(pair.session.awaits_header(), !is_whole, "cut at {cut}");
            pair.client(second);
            check_named(&mut pair, origin());
        }
    }
}

#[test]
fn a_balancer_may_speak_for_itself() {
    let login = login(NEW, "open", Some(NATIVE), &[]);
    for head in [b"PROXY UNKNOWN\r\n".to_vec(), header(Origin::Itself)] {
        let mut pair = Pair::unnamed();
        pair.client(&[&head[..], &login].concat());
        check_named(&mut pair, Origin::Itself);
    }
}

#[test]
fn what_is_no_header_ends_the_session_in_place_of_a_greeting() {
    let login = login(NEW, "open", Some(NATIVE), &[]);
    let mut too_long = header(origin());
    too_long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    let mut other_version = header(origin());
    other_version[12] = 0x31;
    let endless = [b"PROXY UNKNOWN", &[b'x'; HEADER_BYTES_MAX][..]].concat();
    let wrong: [&[u8]; 7] = [
        &login,
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        &endless,
        &too_long,
        &other_version,
    ];
    for bytes in wrong {
        for piece in [bytes.len(), 1] {
            let mut pair = Pair::unnamed();
            for piece in bytes.chunks(piece) {
                if !pair.closed {
                    pair.client(piece);
                }
            }
            let fault = pair.fault.as_ref().expect("a fault");
            assert_eq!((fault.blame, fault.code), (Blame::Client, 1043), "{bytes:?}");
            let [(0, error)] = &pair.client_got()[..] else { panic!("{bytes:?}") };
            // No SQLSTATE.
            assert!(error.starts_with(b"\xFF\x13\x04Bad handshake (a"), "{bytes:?}");
            assert!(pair.closed);
        }
    }
}

#[test]
fn a_second_header_breaks_the_handshake() {
    for second in [LINE.to_vec(), header(origin())] {
        let mut pair = Pair::unnamed();
        pair.client(&[&header(origin())[..], &second].concat());
        assert_eq!(pair.named, Some(origin()));
        assert_eq!(pair.fault.as_ref().map(|fault| fault.blame), Some(Blame::Client));
        assert!(pair.lease.is_none() && pair.closed);
    }
}

#[test]
fn a_header_has_as_long_as_a_login() {
    let mut pair = Pair::unnamed();
    pair.client(&LINE[..20]);
    assert_eq!(pair.session.deadline(), LOGIN_OVER);
    pair.at(LOGIN_OVER);
    assert!(pair.closed);
    assert!(pair.client_got()[0].1.starts_with(b"\xFF\x87\x04"));
}

#[test]
fn a_client_may_leave_before_it_is_named() {
    let mut pair = Pair::unnamed();
    pair.client_ends();
    assert!(pair.closed && pair.fault.is_none() && pair.sides.client.is_empty());
}
