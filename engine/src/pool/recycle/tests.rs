//! Which connections come back, at every cut of what their servers say.

use super::*;
use crate::wire::Capabilities;

const TRACKING: Capabilities = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);

fn packets(payloads: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (payload, seq) in payloads.iter().zip(1..) {
        frame(&mut out, seq, |out| out.extend_from_slice(payload));
    }
    out.to_vec()
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
/// With a tracker of the schema, which a login's OK does not have.
const TRACKED: &[u8] = &[0, 0, 0, 2, 0x40, 0, 0, 0, 7, 1, 5, 4, b's', b'h', b'o', b'p'];
const REFUSED: &[u8] = b"\xFF\x19\x04#42000Unknown database 'shop'";
const COUNT: &[u8] = &[2];
const DEFINITION: &[u8] = b"\x03def";
const IN_SHOP: &[u8] = b"\x04shop\xFB";
const WITH_ROLE: &[u8] = b"\x04shop\x05admin";
const NOWHERE: &[u8] = &[0xFB, 0xFB];
const END: &[u8] = &[0xFE, 0, 0, 2, 0, 0, 0];

fn identity(row: &[u8]) -> Identity {
    Identity { row: row.into(), question: Question { has_roles: true, has_names: false } }
}

/// Of MySQL, which is asked for its character set as well.
const IN_LATIN: &[u8] = b"\x04shop\xFB\x06latin1\x0elatin1_swedish";

fn answer(row: &'static [u8]) -> [&'static [u8]; 5] {
    [COUNT, DEFINITION, DEFINITION, row, END]
}

/// How it ends when the connection was `wanted` right after its login.
fn check(schema: Option<&[u8]>, wanted: &[u8], said: &[&[u8]], expected: &RecycleStep) {
    let said = packets(said);
    for piece in 1..=said.len() {
        let wanted = identity(wanted);
        let mut recycle = Recycle::begin(schema, &wanted, None, TRACKING, &mut BytesMut::new());
        let mut last = RecycleStep::Wait;
        for bytes in said.chunks(piece) {
            assert_eq!(last, RecycleStep::Wait, "over before its end, in pieces of {piece}");
            last = recycle.on_bytes(bytes);
            if last == RecycleStep::Spoiled {
                break;
            }
        }
        assert_eq!(last, *expected, "in pieces of {piece}");
    }
}

fn clean() -> RecycleStep {
    RecycleStep::Clean(OK.into())
}

#[test]
fn everything_leaves_in_one_piece() {
    let mut out = BytesMut::new();
    drop(Recycle::begin(Some(b"shop"), &identity(IN_SHOP), None, TRACKING, &mut out));
    let question = b"\x22\0\0\0\x03SELECT DATABASE(), CURRENT_ROLE()";
    assert_eq!(out[..], [&b"\x01\0\0\0\x1F\x05\0\0\0\x02shop"[..], question].concat());
    out.clear();
    drop(Recycle::begin(None, &identity(NOWHERE), None, TRACKING, &mut out));
    assert_eq!(out[..], [&b"\x01\0\0\0\x1F"[..], question].concat());
}

#[test]
fn a_connection_is_clean_when_it_is_what_it_was_after_its_login() {
    let said = |row| [&[OK, OK][..], &answer(row)].concat();
    check(Some(b"shop"), IN_SHOP, &said(IN_SHOP), &clean());
    check(Some(b"shop"), WITH_ROLE, &said(WITH_ROLE), &clean());
    check(Some(b"shop"), IN_SHOP, &said(WITH_ROLE), &RecycleStep::Spoiled);
    check(Some(b"shop"), WITH_ROLE, &said(IN_SHOP), &RecycleStep::Spoiled);
    let tracked = [&[TRACKED, TRACKED][..], &answer(IN_SHOP)].concat();
    check(Some(b"shop"), IN_SHOP, &tracked, &clean());
    check(Some(b"shop"), IN_SHOP, &[OK, OK, COUNT], &RecycleStep::Wait);
}

#[test]
fn a_connection_whose_schema_is_gone_is_spoiled() {
    check(Some(b"shop"), IN_SHOP, &[OK, REFUSED], &RecycleStep::Spoiled);
    check(Some(b"shop"), IN_SHOP, &[REFUSED], &RecycleStep::Spoiled);
}

#[test]
fn a_schema_that_was_chosen_cannot_be_unchosen() {
    let said = |row| [&[OK][..], &answer(row)].concat();
    check(None, NOWHERE, &said(NOWHERE), &clean());
    check(None, NOWHERE, &said(IN_SHOP), &RecycleStep::Spoiled);
}

#[test]
fn a_server_that_says_something_else_is_not_understood() {
    check(None, NOWHERE, &[END], &RecycleStep::Spoiled);
    check(None, NOWHERE, &[OK, REFUSED], &RecycleStep::Spoiled);
    check(None, NOWHERE, &[OK, COUNT, DEFINITION, END], &RecycleStep::Spoiled);
    check(
        None,
        NOWHERE,
        &[OK, COUNT, DEFINITION, DEFINITION, NOWHERE, NOWHERE],
        &RecycleStep::Spoiled,
    );
    let wanted = identity(NOWHERE);
    let mut recycle = Recycle::begin(None, &wanted, None, TRACKING, &mut BytesMut::new());
    let more = [&[OK][..], &answer(NOWHERE), &[OK]].concat();
    assert_eq!(recycle.on_bytes(&packets(&more)), RecycleStep::Spoiled);
}

#[test]
fn a_new_connection_is_asked_who_it_is() {
    for (version, has_roles) in [
        (&b"5.5.5-10.11.19-MariaDB-0+deb12u1"[..], true),
        (b"11.8.2-MariaDB", true),
        (b"9.7.4", true),
        (b"8.0.42", true),
        (b"5.7.44-log", false),
    ] {
        let mut out = BytesMut::new();
        let has_names = !version.ends_with(b"MariaDB") && !version.ends_with(b"deb12u1");
        let row = if has_names { IN_LATIN } else { IN_SHOP };
        let said = if has_names {
            packets(&[COUNT, DEFINITION, DEFINITION, DEFINITION, DEFINITION, row, END])
        } else {
            packets(&answer(row))
        };
        for piece in 1..=said.len() {
            out.clear();
            let mut opening = Opening::begin(false, Some(version), TRACKING, &mut out);
            let mut answers = said.chunks(piece).map(|bytes| opening.on_bytes(bytes).unwrap());
            let question = Question { has_roles, has_names };
            let expected = Identity { row: row.into(), question };
            assert_eq!(answers.find_map(|answer| answer), Some(Some(expected)));
        }
        let asked = |what: &[u8]| out.windows(what.len()).any(|it| it == what);
        assert_eq!(asked(b"CURRENT_ROLE()"), has_roles, "{version:?}");
        assert_eq!(asked(b"@@collation_connection"), has_names, "{version:?}");
    }
    let mut opening = Opening::begin(false, Some(b"9.7.4"), TRACKING, &mut BytesMut::new());
    assert_eq!(opening.on_bytes(&packets(&[REFUSED])), Err(NoAnswer));
}

#[test]
fn a_session_that_may_only_read_is_told_so_first() {
    let mut out = BytesMut::new();
    let said = packets(&[OK]);
    for piece in 1..=said.len() {
        out.clear();
        let mut opening = Opening::begin(true, None, TRACKING, &mut out);
        let mut answers = said.chunks(piece).map(|bytes| opening.on_bytes(bytes).unwrap());
        assert_eq!(answers.find_map(|answer| answer), Some(None));
    }
    assert_eq!(out[..], *b"\x22\0\0\0\x03SET SESSION TRANSACTION READ ONLY");
    for said in [&[REFUSED][..], &[END], &[OK, OK]] {
        let mut opening = Opening::begin(true, None, TRACKING, &mut BytesMut::new());
        assert_eq!(opening.on_bytes(&packets(said)), Err(NoAnswer), "{said:?}");
    }
}

#[test]
fn mysql_is_told_the_character_set_of_the_login_again() {
    let question = Question { has_roles: true, has_names: true };
    let wanted = Identity { row: IN_LATIN.into(), question };
    let mut out = BytesMut::new();
    let mut recycle = Recycle::begin(Some(b"shop"), &wanted, None, TRACKING, &mut out);
    let names = b"SET NAMES 'latin1' COLLATE 'latin1_swedish'";
    assert!(out.windows(names.len()).any(|it| it == names));
    let rows = [COUNT, DEFINITION, DEFINITION, DEFINITION, DEFINITION, IN_LATIN, END];
    let said = packets(&[&[OK, OK, OK][..], &rows].concat());
    assert_eq!(recycle.on_bytes(&said), clean());
    let mut recycle = Recycle::begin(Some(b"shop"), &wanted, None, TRACKING, &mut out);
    let other = b"\x04shop\xFB\x07utf8mb4\x12utf8mb4_0900_ai_ci";
    let rows = [COUNT, DEFINITION, DEFINITION, DEFINITION, DEFINITION, &other[..], END];
    let said = packets(&[&[OK, OK, OK][..], &rows].concat());
    assert_eq!(recycle.on_bytes(&said), RecycleStep::Spoiled);
}

#[test]
fn words_have_the_form_that_was_negotiated() {
    let negotiated = TRACKING.union(Capabilities::QUERY_ATTRIBUTES);
    let mut out = BytesMut::new();
    drop(Opening::begin(true, Some(b"8.4.0"), negotiated, &mut out));
    assert!(out[4..].starts_with(b"\x03\0\x01SET SESSION TRANSACTION READ ONLY"));
    out.clear();
    drop(Recycle::begin(None, &identity(NOWHERE), None, negotiated, &mut out));
    assert!(out.ends_with(b"\x03\0\x01SELECT DATABASE(), CURRENT_ROLE()"));
}

#[test]
fn an_init_query_comes_behind_the_reset_and_before_the_question() {
    let recycle = |out: &mut BytesMut| {
        Recycle::begin(Some(b"shop"), &identity(IN_SHOP), Some("DO 1"), TRACKING, out)
    };
    let mut out = BytesMut::new();
    drop(recycle(&mut out));
    let head = b"\x01\0\0\0\x1F\x05\0\0\0\x02shop\x05\0\0\0\x03DO 1\x22\0\0\0\x03SELECT";
    assert!(out.starts_with(head), "{out:?}");
    let result: &[&[u8]] = &[&[1], DEFINITION, b"\x011", END];
    for (init, ends) in
        [(&[OK][..], clean()), (result, clean()), (&[REFUSED][..], RecycleStep::Spoiled)]
    {
        let said = packets(&[&[OK, OK][..], init, &answer(IN_SHOP)].concat());
        let mut recycle = recycle(&mut BytesMut::new());
        assert_eq!(recycle.on_bytes(&said), ends);
    }
}
