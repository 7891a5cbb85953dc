//! Login requests as connectors of many ages send them, and ones nobody may send.

use bytes::BytesMut;

use crate::wire::{
    Capabilities, ChangeUser, Greeting, LoginRequest, SslRequest, ZSTD_LEVEL_DEFAULT,
};

/// A login request's fixed part with `capabilities`, then `tail`.
fn payload(capabilities: Capabilities, tail: &[u8]) -> Vec<u8> {
    let base = capabilities.union(Capabilities::PROTOCOL_41).base();
    let extended = capabilities.extended();
    [&base.to_le_bytes()[..], &[0, 0, 0, 1, 45], &[0; 19], &extended.to_le_bytes(), tail].concat()
}

fn parse(capabilities: Capabilities, tail: &[u8]) -> LoginRequest {
    LoginRequest::parse(&payload(capabilities, tail)).unwrap()
}

const MYSQL: Capabilities = Capabilities::LONG_PASSWORD.union(Capabilities::SECURE_CONNECTION);
const PLUGIN: Capabilities = MYSQL.union(Capabilities::PLUGIN_AUTH);
const ALL: Capabilities =
    PLUGIN.union(Capabilities::CONNECT_WITH_DB).union(Capabilities::CONNECT_ATTRS);

#[test]
fn three_forms_of_the_response() {
    let one_byte = parse(MYSQL, b"app\0\x03abc");
    let lenenc = parse(MYSQL.union(Capabilities::PLUGIN_AUTH_LENENC), b"app\0\x03abc");
    let nul = parse(Capabilities::LONG_PASSWORD, b"app\0abc\0");
    // Without SECURE_CONNECTION servers do not look at PLUGIN_AUTH_LENENC.
    let old = Capabilities::LONG_PASSWORD.union(Capabilities::PLUGIN_AUTH_LENENC);
    for login in [one_byte, lenenc, nul, parse(old, b"app\0abc\0")] {
        assert_eq!(login.user, b"app");
        assert_eq!(login.auth_response, b"abc");
        assert_eq!((login.database, login.plugin, login.connect_attrs), (None, None, None));
    }
    let long = [b"app\0\xFC\x2C\x01", &[7; 300][..]].concat();
    let login = parse(MYSQL.union(Capabilities::PLUGIN_AUTH_LENENC), &long);
    assert_eq!(login.auth_response, [7; 300]);
    let long = [b"app\0\xFB", &[7; 251][..]].concat();
    assert_eq!(parse(MYSQL, &long).auth_response, [7; 251]);
}

#[test]
fn the_level_of_zstd_comes_last() {
    let zstd = ALL.union(Capabilities::ZSTD);
    let tail = |level: &[u8]| [b"app\0\x01xshop\0plug\0\x04\x01k\x01v", level].concat();
    for (tail, level) in [
        (tail(&[1]), 1),
        (tail(&[22]), 22),
        (tail(&[]), ZSTD_LEVEL_DEFAULT),
        (tail(&[0]), ZSTD_LEVEL_DEFAULT),
        (tail(&[23]), ZSTD_LEVEL_DEFAULT),
    ] {
        let login = parse(zstd, &tail);
        assert_eq!((login.zstd_level, login.user), (level, b"app".to_vec()));
    }
    assert_eq!(parse(ALL, &tail(&[9])).zstd_level, ZSTD_LEVEL_DEFAULT);
}

#[test]
fn what_connectors_leave_out_at_the_end() {
    let full = parse(ALL, b"app\0\x01xshop\0plug\0\x04\x01k\x01v");
    assert_eq!(full.database.as_deref(), Some(&b"shop"[..]));
    assert_eq!(full.plugin.as_deref(), Some(&b"plug"[..]));
    assert_eq!(full.connect_attrs.as_deref(), Some(&b"\x01k\x01v"[..]));

    let no_attrs = parse(ALL, b"app\0\x01xshop\0plug\0");
    assert_eq!((no_attrs.plugin, no_attrs.connect_attrs), (full.plugin.clone(), None));
    let no_last_nul = parse(ALL, b"app\0\x01xshop\0plug");
    assert_eq!(no_last_nul.plugin, full.plugin);
    let no_plugin = parse(ALL, b"app\0\x01xshop");
    assert_eq!((no_plugin.database, no_plugin.plugin), (full.database, None));
    let nothing = parse(ALL, b"app\0");
    assert_eq!((nothing.auth_response, nothing.database), (vec![], None));
    // An empty name is none.
    let empty = parse(ALL, b"app\0\0\0\0");
    assert_eq!((empty.database, empty.plugin), (None, None));
}

/// Connector/J writes an empty database although it did not announce one, so the plugin reads as
/// empty and what follows as no attributes: a switch then sorts it out, as on a real server.
#[test]
fn an_empty_database_nobody_announced() {
    let login =
        parse(PLUGIN.union(Capabilities::CONNECT_ATTRS), b"app\0\0\0mysql_native_password\0");
    assert_eq!((login.database, login.plugin, login.connect_attrs), (None, None, None));
}

#[test]
fn attributes_that_are_not_whole_are_dropped() {
    for attrs in [&b"\x09\x01k\x01v"[..], b"\x03\x01k\x05", b"\x02\x01k", b"\xFE\xFF", b""] {
        let login = parse(ALL, &[b"app\0\0shop\0plug\0", attrs].concat());
        assert_eq!(login.connect_attrs, None, "{attrs:?}");
        assert!(login.plugin.is_some());
    }
    assert_eq!(parse(ALL, b"app\0\0shop\0plug\0\0").connect_attrs, Some(vec![]));
}

#[test]
fn mariadb_clients_have_extended_capabilities() {
    let capabilities = Capabilities::SECURE_CONNECTION
        .union(Capabilities::MARIADB_STMT_BULK_OPERATIONS)
        .union(Capabilities::MARIADB_CACHE_METADATA);
    let login = parse(capabilities, b"app\0\0");
    assert!(login.capabilities.contains(capabilities));
    // A MySQL client's reserved bytes are not capabilities, whatever they hold.
    let login = parse(capabilities.union(Capabilities::LONG_PASSWORD), b"app\0\0");
    assert_eq!(login.capabilities.extended(), 0);
}

#[test]
fn refused_logins() {
    let what = |payload: &[u8]| LoginRequest::parse(payload).unwrap_err().what;
    assert_eq!(what(b"\x05\xA6\0\0\0root\0"), "a login request ends early");
    assert_eq!(what(b"\x05\xA4\0\0\0root\0"), "the client speaks a protocol before 4.1");
    let tls = payload(MYSQL.union(Capabilities::SSL), b"");
    assert_eq!(what(&tls), "the client asks for TLS, which was not offered");
    assert_eq!(what(&payload(MYSQL, b"")), "a login request ends early");
    assert_eq!(what(&payload(MYSQL, b"app")), "a login request ends early");
    assert_eq!(what(&payload(MYSQL, b"app\0\x09abc")), "a login request ends early");
    assert_eq!(what(b""), "a login request ends early");
}

#[test]
fn refused_greetings() {
    let what = |payload: &[u8]| Greeting::parse(payload).unwrap_err().what;
    assert_eq!(what(b"\x09"), "a greeting is not of protocol version 10");
    assert_eq!(what(b"\x0a5.5"), "a greeting ends early");
    let old = [b"\x0a4.0.1\0".as_slice(), &[0; 60]].concat();
    assert_eq!(what(&old), "the server speaks a protocol before 4.1");
}

#[test]
fn change_user_and_what_it_leaves_out() {
    let parse = |capabilities, payload: &[u8]| ChangeUser::parse(payload, capabilities);
    let full = parse(ALL, b"\x11app\0\x03abcshop\0\x2d\0plug\0\x04\x01k\x01v").unwrap();
    let expected = ChangeUser {
        user: b"app".to_vec(),
        database: Some(b"shop".to_vec()),
        collation: 45,
        plugin: Some(b"plug".to_vec()),
        connect_attrs: Some(b"\x01k\x01v".to_vec()),
    };
    assert_eq!(full, expected);
    let no_attrs = ChangeUser { connect_attrs: None, ..expected };
    assert_eq!(parse(ALL, b"\x11app\0\0shop\0\x2d\0plug\0\x09\x01k\x01v"), Ok(no_attrs.clone()));
    let no_plugin = ChangeUser { plugin: None, ..no_attrs };
    assert_eq!(parse(MYSQL, b"\x11app\0\0shop\0\x2d\0plug\0"), Ok(no_plugin.clone()));
    let no_collation = ChangeUser { collation: 0, ..no_plugin };
    assert_eq!(parse(ALL, b"\x11app\0\0shop"), Ok(no_collation.clone()));
    let old = parse(Capabilities::LONG_PASSWORD, b"\x11app\0abc\0shop\0");
    assert_eq!(old, Ok(no_collation.clone()));
    let no_database = ChangeUser { database: None, ..no_collation };
    assert_eq!(parse(ALL, b"\x11app\0\0"), Ok(no_database));
    for broken in [&b""[..], b"\x03app\0\0", b"\x11app", b"\x11app\0", b"\x11app\0\x03ab"] {
        assert!(parse(ALL, broken).is_err(), "{broken:?}");
    }
}

#[test]
fn the_wish_for_tls_is_the_beginning_of_a_login() {
    let wish = payload(ALL.union(Capabilities::SSL), b"");
    let request = SslRequest::parse(&wish).unwrap();
    assert_eq!((wish.len(), request.packet_bytes_max, request.collation), (32, 1 << 24, 45));
    let mut out = BytesMut::new();
    request.encode(1, &mut out);
    assert_eq!(&out[..], [&[32, 0, 0, 1][..], &wish].concat());
    // MariaDB's clients have more to say.
    let mariadb = ALL.without(Capabilities::LONG_PASSWORD).union(Capabilities::SSL);
    let mariadb = mariadb.union(Capabilities::MARIADB_STMT_BULK_OPERATIONS);
    let request = SslRequest::parse(&payload(mariadb, b"")).unwrap();
    assert!(request.capabilities.contains(mariadb));
    // No wish: a login, one without the flag, a shorter one.
    assert_eq!(SslRequest::parse(&payload(ALL.union(Capabilities::SSL), b"app\0\0")), None);
    assert_eq!(SslRequest::parse(&payload(ALL, b"")), None);
    for length in 0..wish.len() {
        assert_eq!(SslRequest::parse(&wish[..length]), None);
    }
}
