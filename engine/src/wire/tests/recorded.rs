//! What a real server sent, read and written again: the bytes must be the same.

use bytes::BytesMut;
use expect_test::{Expect, expect};

use crate::testdata::{recording, recordings};
use crate::wire::{
    AuthSwitch, Capabilities, Command, EofPacket, ErrPacket, Greeting, LoginRequest, OkPacket,
    PrepareOk, encode_eof,
};

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out);
    out
}

/// The last frame of each reply, written again from what was read of it.
#[test]
fn ends_of_replies_are_written_as_servers_do() {
    let mut seen = [0; 5];
    for reply in recordings().iter().filter(|r| r.command.is_some()) {
        let frames = reply.frames();
        let (seq, payload) = *frames.last().unwrap();
        let prepare = reply.command == Some(Command::StmtPrepare.as_byte());
        let deprecate_eof = reply.capabilities.contains(Capabilities::DEPRECATE_EOF);
        let (kind, out) = match payload {
            [0xFF, ..] => {
                let packet = ErrPacket::parse(payload).unwrap();
                (0, encoded(|out| packet.encode(seq, out)))
            }
            [0x00, ..] if prepare && frames.len() == 1 => {
                let packet = PrepareOk::parse(payload).unwrap();
                (1, encoded(|out| packet.encode(seq, out)))
            }
            [0xFE, _, _, _, _] if !deprecate_eof => {
                let packet = EofPacket::parse(payload).unwrap();
                (2, encoded(|out| encode_eof(packet.status, packet.warnings, seq, out)))
            }
            [0x00 | 0xFE, ..] if payload.len() >= 7 && !payload.starts_with(b"\xFEmysql_") => {
                let packet = OkPacket::parse(payload, reply.capabilities).unwrap();
                let kind = if packet.header == OkPacket::END { 3 } else { 4 };
                (kind, encoded(|out| packet.encode(reply.capabilities, seq, out)))
            }
            // A definition ends a prepare under DEPRECATE_EOF; text answers statistics; FB asks
            // for a file; FE and a name switches the plugin.
            _ => continue,
        };
        seen[kind] += 1;
        assert_eq!(out[4..], *payload, "{}", reply.name);
        assert_eq!(out[3], seq, "{}", reply.name);
    }
    assert!(seen.iter().all(|count| *count >= 3), "{seen:?}");
}

#[test]
fn logins_are_written_as_recorded() {
    let check = |name: &str, encode: &dyn Fn(&[u8], u8, &mut BytesMut)| {
        let recording = recording(name);
        let (seq, payload) = recording.frames()[0];
        assert_eq!(encoded(|out| encode(payload, seq, out))[..], recording.bytes[..], "{name}");
    };
    check("greeting", &|p, seq, out| Greeting::parse(p).unwrap().encode(seq, out));
    for name in ["login", "login-other-plugin"] {
        check(name, &|p, seq, out| LoginRequest::parse(p).unwrap().encode(seq, out));
    }
    for name in ["login-switch", "change-user-switch-new"] {
        check(name, &|p, seq, out| AuthSwitch::parse(p).unwrap().encode(seq, out));
    }
    check("login-ok", &|p, seq, out| {
        let capabilities = Capabilities::SESSION_TRACK;
        OkPacket::parse(p, capabilities).unwrap().encode(capabilities, seq, out);
    });
    check("greeting-too-many", &|p, _, out| ErrPacket::parse(p).unwrap().encode_as_greeting(out));
    for name in ["login-denied", "login-no-grant", "login-unknown-database", "login-too-many"] {
        check(name, &|p, seq, out| ErrPacket::parse(p).unwrap().encode(seq, out));
    }
}

#[test]
fn the_greeting() {
    let mut greeting = Greeting::parse(recording("greeting").payload()).unwrap();
    // The only field that differs each time the bytes are recorded.
    greeting.nonce = [0; 20];
    greeting.connection_id = 0;
    let shown = (
        String::from_utf8(greeting.version).unwrap(),
        String::from_utf8(greeting.plugin).unwrap(),
        (greeting.collation, greeting.status),
        format!("{:?}", greeting.capabilities),
    );
    expect![[r#"
        (
            "5.5.5-10.11.19-MariaDB-0+deb12u1-log",
            "mysql_native_password",
            (
                8,
                [
                    AUTOCOMMIT,
                ],
            ),
            "[FOUND_ROWS, LONG_FLAG, CONNECT_WITH_DB, NO_SCHEMA, COMPRESS, ODBC, LOCAL_FILES, IGNORE_SPACE, PROTOCOL_41, INTERACTIVE, IGNORE_SIGPIPE, TRANSACTIONS, RESERVED, SECURE_CONNECTION, MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS, PLUGIN_AUTH, CONNECT_ATTRS, PLUGIN_AUTH_LENENC, CAN_HANDLE_EXPIRED_PASSWORDS, SESSION_TRACK, DEPRECATE_EOF, REMEMBER_OPTIONS, MARIADB_PROGRESS, MARIADB_STMT_BULK_OPERATIONS, MARIADB_EXTENDED_METADATA, MARIADB_CACHE_METADATA]",
        )
    "#]].assert_debug_eq(&shown);
}

#[test]
fn the_login() {
    let mut login = LoginRequest::parse(recording("login").payload()).unwrap();
    assert_eq!(login.auth_response.len(), 20);
    assert_eq!(login.connect_attrs.take().unwrap(), b"\x0c_client_name\x0acapture.py");
    expect![[r#"LoginRequest { capabilities: [LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, LOCAL_FILES, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS, PLUGIN_AUTH, CONNECT_ATTRS, SESSION_TRACK, DEPRECATE_EOF], packet_bytes_max: 16777216, collation: 45, user: "weir", auth_response_len: 20, database: Some("weir"), plugin: Some("mysql_native_password"), .. }"#]].assert_eq(&format!("{login:?}"));
}

#[test]
fn errors() {
    let shown = |name: &str| {
        let recording = recording(name);
        let error = ErrPacket::parse(recording.payload()).unwrap();
        let text = String::from_utf8_lossy(error.message).into_owned();
        (error.code, String::from_utf8(error.sqlstate.to_vec()).unwrap(), text)
    };
    let names = [
        "greeting-too-many",
        "login-denied",
        "login-no-grant",
        "login-unknown-database",
        "unknown-command-new",
        "fetch-4-new",
        "syntax-error-new",
    ];
    expect![[r#"
        [
            (
                1040,
                "08004",
                "Too many connections",
            ),
            (
                1045,
                "28000",
                "Access denied for user 'weir'@'127.0.0.1' (using password: YES)",
            ),
            (
                1044,
                "42000",
                "Access denied for user 'weir'@'%' to database 'nowhere'",
            ),
            (
                1049,
                "42000",
                "Unknown database 'nowhere'",
            ),
            (
                1047,
                "08S01",
                "Unknown command",
            ),
            (
                1421,
                "HY000",
                "The statement (2) has no open cursor",
            ),
            (
                1064,
                "42000",
                "You have an error in your SQL syntax; check the manual that corresponds to your MariaDB server version for the right syntax to use near 'SELEC 1' at line 1",
            ),
        ]
    "#]].assert_debug_eq(&names.map(shown));
}

/// Status, info and trackers at the end of a reply. Sorted: MariaDB reports variables in no order.
fn tracked(name: &str) -> String {
    use crate::wire::Tracker::{
        Gtids, Schema, StateChange, SystemVariable, TransactionCharacteristics, TransactionState,
        Unknown,
    };
    let recording = recording(name);
    let frames = recording.frames();
    let ok = OkPacket::parse(frames.last().unwrap().1, recording.capabilities).unwrap();
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut lines: Vec<_> = ok
        .trackers()
        .map(|tracker| match tracker.unwrap() {
            SystemVariable { name, value } => format!("{} = {}", shown(name), shown(value)),
            Schema(name) => format!("schema {}", shown(name)),
            StateChange(what) => format!("state change {}", shown(what)),
            Gtids(set) => format!("gtids {}", shown(set)),
            TransactionCharacteristics(sql) => format!("characteristics {:?}", shown(sql)),
            TransactionState(state) => format!("transaction {}", shown(state)),
            Unknown { kind, data } => format!("unknown {kind} {}", shown(data)),
        })
        .collect();
    lines.sort();
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("{name}: {:?} {:?}\n{lines}", ok.status, shown(ok.info))
}

fn check_trackers(names: &[&str], expected: &Expect) {
    expected.assert_eq(&names.iter().map(|name| tracked(name)).collect::<String>());
}

#[test]
fn trackers_of_session_state() {
    let names = [
        "login-ok",
        "insert-new",
        "insert-old",
        "update-info-new",
        "set-names-new",
        "use-new",
        "create-temporary-new",
    ];
    check_trackers(
        &names,
        &expect![[r#"
        login-ok: [AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          schema weir
        insert-new: [AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          last_gtid = 0-11-11
        insert-old: [AUTOCOMMIT] ""
        update-info-new: [AUTOCOMMIT, SESSION_STATE_CHANGED] "Rows matched: 2  Changed: 2  Warnings: 0"
          last_gtid = 0-11-13
        set-names-new: [AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          character_set_client = latin1
          character_set_connection = latin1
          character_set_results = latin1
          state change 1
        use-new: [AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          schema weir
          state change 1
        create-temporary-new: [AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          last_gtid = 0-11-18
          state change 1
    "#]],
    );
}

#[test]
fn trackers_of_transactions() {
    let names =
        ["begin-new", "begin-insert-new", "begin-select-new", "commit-new", "lock-tables-new"];
    check_trackers(
        &names,
        &expect![[r#"
        begin-new: [IN_TRANS, AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          characteristics "START TRANSACTION READ WRITE;"
          transaction T_______
        begin-insert-new: [IN_TRANS, AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          transaction T___W___
        begin-select-new: [IN_TRANS, AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          transaction T_R_W_S_
        commit-new: [AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          characteristics ""
          last_gtid = 0-11-14
          transaction ________
        lock-tables-new: [AUTOCOMMIT, SESSION_STATE_CHANGED] ""
          transaction _______L
    "#]],
    );
}

/// The manuals' form of `info` without SESSION_TRACK, also where its first letter could be a length.
#[test]
fn info_without_a_length() {
    for info in [&b"Rows matched: 2"[..], b"\x02abc", b""] {
        let payload = [b"\0\x02\0\x02\0\0\0", info].concat();
        let ok = OkPacket::parse(&payload, Capabilities::NONE).unwrap();
        assert_eq!((ok.affected_rows, ok.info), (2, info));
    }
}

/// Exactly what the same server says to a client without SESSION_TRACK.
#[test]
fn trackers_are_stripped_for_clients_without_them() {
    for (name, without) in [
        ("begin-new", "begin-old"),
        ("commit-new", "commit-old"),
        ("set-names-new", "set-names-old"),
        ("update-info-new", "update-info-old"),
        ("load-local-done-new", "load-local-done-old"),
        ("ping-new", "ping-old"),
    ] {
        let tracked = recording(name);
        let (seq, payload) = tracked.frames()[0];
        let ok = OkPacket::parse(payload, tracked.capabilities).unwrap();
        let out = encoded(|out| ok.encode(Capabilities::NONE, seq, out));
        assert_eq!(out[..], recording(without).bytes[..], "{name}");
    }
}
