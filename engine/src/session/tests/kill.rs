//! Statements that name connections: the client's own, and others'.

use super::*;

fn said(text: &str) -> Vec<u8> {
    command(&[b"\x03", text.as_bytes()].concat())
}

fn own() -> String {
    OWN_ID.to_string()
}

/// What the backend gets for a text, however it is cut.
fn relayed(text: &[u8]) -> Vec<u8> {
    let bytes = command(text);
    let mut whole = Pair::logged_in(NEW);
    whole.client(&bytes);
    assert!(whole.client_got().is_empty() && !whole.session.is_at_rest());
    let want = whole.backend_got();
    for cut in 1..bytes.len() {
        let mut pair = Pair::logged_in(NEW);
        pair.client(&bytes[..cut]);
        pair.client(&bytes[cut..]);
        assert_eq!(pair.backend_got(), want, "cut at {cut}");
        assert_eq!(pair.tally.commands, 1);
    }
    want
}

#[test]
fn command_query_connection_id_is_the_one_of_the_greeting() {
    let want = format!("SELECT {} AS `CONNECTION_ID()`, 2", own());
    assert_eq!(relayed(b"\x03SELECT CONNECTION_ID(), 2"), said(&want));
    let prepared = command(&[b"\x16", want.as_bytes()].concat());
    assert_eq!(relayed(b"\x16SELECT CONNECTION_ID(), 2"), prepared);
    // Others go on byte by byte.
    for text in [&b"\x03SELECT connection_id"[..], b"\x03SELECT 'CONNECTION_ID()'", b"\x03SELECT 1"]
    {
        assert_eq!(relayed(text), command(text));
    }
}

#[test]
fn command_query_kill_names_the_servers_thread() {
    assert_eq!(relayed(b"\x03KILL QUERY 5"), said("KILL QUERY 1005"));
    assert_eq!(relayed(b"\x03DO 1; KILL 5; KILL 99"), said("DO 1; KILL 1005; KILL 0"));
    assert_eq!(relayed(b"\x16KILL 5"), command(b"\x16KILL 1005"));
    for text in ["KILL CONNECTION_ID()", "KILL USER app", "KILL QUERY ID 5"] {
        assert_eq!(relayed(&[b"\x03", text.as_bytes()].concat()), said(text));
    }
}

#[test]
fn command_process_kill_becomes_a_statement() {
    assert_eq!(relayed(b"\x0C\x05\0\0\0"), said("KILL 1005"));
    let mut pair = Pair::logged_in(NEW);
    pair.client(&command(b"\x0C\xE7\x03\0\0"));
    assert_eq!(pair.client_error(), (1, 1094, "Unknown thread id: 999".to_owned()));
    assert!(pair.backend_got().is_empty() && pair.session.is_at_rest());
}

#[test]
fn kills_that_cannot_be_sent_are_answered() {
    for (text, code, said) in [
        ("KILL 99", 1094, "Unknown thread id: 99"),
        ("KILL QUERY 4000000000", 1094, "Unknown thread id: 4000000000"),
        ("KILL 15", 1105, "weir: connection 15 is on another backend"),
        ("KILL @a", 1105, "weir: KILL takes the number"),
    ] {
        let bytes = command(&[b"\x03", text.as_bytes()].concat());
        for piece in [1, 7, 100] {
            let mut pair = Pair::logged_in(NEW);
            // In their turn, and with something behind them.
            pair.client(&query());
            let behind = [bytes.clone(), query()].concat();
            behind.chunks(piece).for_each(|bytes| pair.client(bytes));
            assert_eq!(pair.backend_got(), [query(), query()].concat());
            assert!(pair.client_got().is_empty());
            pair.backend(&ok(1, Status::AUTOCOMMIT));
            let got = pair.client_got();
            let error = ErrPacket::parse(&got[1].1).unwrap();
            assert_eq!((got[1].0, error.code), (1, code), "{text}");
            assert!(error.message.starts_with(said.as_bytes()), "{error:?}");
            pair.backend(&ok(1, Status::AUTOCOMMIT));
            assert!(pair.session.is_at_rest());
            assert_eq!(pair.tally, Tally { commands: 3, replies: 2, errors: 0 });
        }
    }
}

/// The attributes before the text are left as they are.
#[test]
fn capability_query_attributes_stand_before_the_text() {
    let attributes = Capabilities::QUERY_ATTRIBUTES;
    let mut server = server(NATIVE);
    server.capabilities = server.capabilities.union(attributes);
    let mut pair = Pair::greeted(server);
    pair.client(&login(NEW.union(attributes), "open", Some(NATIVE), &[]));
    assert!(pair.lease.as_ref().unwrap().login.capabilities.contains(attributes));
    pair.grant(NEW.union(attributes), LOGIN_OK);
    pair.backend_got();
    let one = b"\x03\x01\x01\0\x01\xFE\0\x01k\x0fCONNECTION_ID()";
    for head in [&b"\x03\0\x01"[..], one] {
        pair.client(&command(&[head, b"DO CONNECTION_ID()"].concat()));
        let want = command(&[head, b"DO ", own().as_bytes()].concat());
        assert_eq!(pair.backend_got(), want);
    }
    // Nonsense goes on, for the server to say so.
    let nonsense = command(b"\x03\x01\x01\0\x07CONNECTION_ID()");
    pair.client(&nonsense);
    assert_eq!(pair.backend_got(), nonsense);
    pair.client(&command(b"\x0C\x05\0\0\0"));
    assert_eq!(pair.backend_got(), command(b"\x03\0\x01KILL 1005"));
    // A statement to be prepared has none.
    pair.client(&command(b"\x16DO CONNECTION_ID()"));
    assert_eq!(pair.backend_got(), command(&[b"\x16DO ", own().as_bytes()].concat()));
}

#[test]
fn under_no_backslash_escapes_a_backslash_ends_no_string() {
    let mut pair = Pair::logged_in(NEW);
    let text = [b"\x03", &br"DO '\', CONNECTION_ID(), '\'"[..]].concat();
    pair.client(&command(&text));
    assert_eq!(pair.backend_got(), command(&text), "a string that does not end");
    pair.backend(&ok(1, Status::AUTOCOMMIT.with(Status::NO_BACKSLASH_ESCAPES)));
    pair.client(&command(&text));
    let want = [b"\x03", &br"DO '\', "[..], own().as_bytes(), br", '\'"].concat();
    assert_eq!(pair.backend_got(), command(&want));
}

#[test]
fn long_statements_go_on_unseen() {
    let mut text = b"\x03DO CONNECTION_ID(), '".to_vec();
    text.resize(20_000, b'x');
    text.push(b'\'');
    let bytes = command(&text);
    let mut pair = Pair::logged_in(NEW);
    pair.client(&bytes[..100]);
    assert_eq!(pair.backend_got(), bytes[..100], "at once");
    pair.client(&bytes[100..]);
    assert_eq!(pair.backend_got(), bytes[100..]);
}
