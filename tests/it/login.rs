//! Clients that do not manage to log in.
//!
//! Purpose: whatever comes instead of a login ends that connection with the error servers give for
//! it, and never reaches a backend.

use weir_tests::{RawClient, ServerError};

use crate::fixture::{Bed, Setting, account};

on_both_drivers!(
    garbage,
    truncated_then_silent,
    before_4_1,
    asks_for_tls,
    oversized,
    wrong_sequence_id,
    wrong_password,
    unknown_user,
    byte_by_byte,
    caching_sha2_and_switch,
    aborted_handshakes_stay_here,
);

/// An error and then the end, on a connection whose greeting was read.
fn refused(client: &mut RawClient) -> ServerError {
    let error = client.error().unwrap();
    client.closed().unwrap();
    error
}

fn garbage(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.connect();
    client.greeting().unwrap();
    client.send(b"GET / HTTP/1.1\r\nHost: weir\r\n\r\n").unwrap();
    let error = refused(&mut client);
    assert_eq!(error.code, 1153, "{error:?}");
    assert!(error.text.starts_with("weir: "), "{error:?}");

    // A frame of the right form whose payload means nothing.
    let mut client = bed.connect();
    client.greeting().unwrap();
    client.send_packet(1, &[0xFF; 9]).unwrap();
    assert_eq!(refused(&mut client).code, 1043);
    bed.finish(&[("client_faults", 2), ("logins_ok", 1)]);
}

fn truncated_then_silent(driver: &str) {
    let bed = Setting::default().limit("login_timeout_ms", 2000).start(driver);
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    let request = account().request(&greeting);
    client.send(&request[..request.len() / 2]).unwrap();
    let error = refused(&mut client);
    assert_eq!(error.code, 1159, "{error:?}");
    assert_eq!(error.text, "Got timeout reading communication packets");
    bed.finish(&[("login_timeouts", 1), ("client_faults", 1)]);
}

fn before_4_1(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.connect();
    client.greeting().unwrap();
    // Two bytes of capabilities, three of packet size, user, password scramble.
    client.send_packet(1, b"\x85\x24\x00\x00\x00old\0aBcDeFgH\0").unwrap();
    let error = refused(&mut client);
    assert_eq!(error.code, 1043, "{error:?}");
    assert!(error.text.contains("4.1"), "{error:?}");
    bed.finish(&[("client_faults", 1)]);
}

fn asks_for_tls(driver: &str) {
    let endpoint_lines = vec!["tls = \"disabled\"".to_owned()];
    let bed = Setting { endpoint_lines, ..Setting::default() }.start(driver);
    let mut client = bed.connect();
    client.greeting().unwrap();
    let mut request = vec![0; 32];
    // PROTOCOL_41, SSL, SECURE_CONNECTION.
    request[1] = 0x02 | 0x08 | 0x80;
    client.send_packet(1, &request).unwrap();
    let error = refused(&mut client);
    assert_eq!(error.code, 1043, "{error:?}");
    assert!(error.text.contains("TLS"), "{error:?}");
    bed.finish(&[("client_faults", 1)]);
}

fn oversized(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.connect();
    client.greeting().unwrap();
    // The header alone: nobody waits for 200 KiB that may never come.
    client.send(&[0x00, 0x20, 0x03, 1]).unwrap();
    let error = refused(&mut client);
    assert_eq!(error.code, 1153, "{error:?}");
    bed.finish(&[("client_faults", 1)]);
}

fn wrong_sequence_id(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    let mut request = account().request(&greeting);
    request[3] = 5;
    client.send(&request).unwrap();
    assert_eq!(refused(&mut client).code, 1156);
    bed.finish(&[("client_faults", 1)]);
}

/// The error of a login that is refused, and which sequence id it has.
fn denied(bed: &Bed, user: &str, password: &str) -> ServerError {
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    let mut login = account();
    login.user = user.to_owned();
    login.password = password.to_owned();
    client.send(&login.request(&greeting)).unwrap();
    refused(&mut client)
}

fn wrong_password(driver: &str) {
    let bed = Bed::start(driver);
    let expected = |using: &str| ServerError {
        seq: 2,
        code: 1045,
        text: format!("Access denied for user 'app'@'127.0.0.1' (using password: {using})"),
    };
    assert_eq!(denied(&bed, "app", "wrong"), expected("YES"));
    bed.finish(&[("logins_denied", 1), ("logins_ok", 1)]);
}

fn unknown_user(driver: &str) {
    let bed = Bed::start(driver);
    let error = denied(&bed, "nobody", "secret");
    assert_eq!(error.code, 1045);
    assert_eq!(error.text, "Access denied for user 'nobody'@'127.0.0.1' (using password: YES)");
    bed.finish(&[("logins_denied", 1), ("logins_ok", 1)]);
}

fn byte_by_byte(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    let login = account();
    client.capabilities = login.capabilities.intersection(greeting.capabilities);
    client.send_bytewise(&login.request(&greeting)).unwrap();
    let (seq, payload) = client.packet().unwrap();
    assert_eq!((seq, payload[0]), (2, 0));
    for sql in ["SELECT 1", "SELECT 'two'", ""] {
        client.send_bytewise(&RawClient::query_packet(sql)).unwrap();
        let expected = client.echoed(sql);
        client.expect(&expected).unwrap();
    }
    client.send_bytewise(&[1, 0, 0, 0, 1]).unwrap();
    client.closed().unwrap();
    bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
}

fn caching_sha2_and_switch(driver: &str) {
    // The server's plugin, the client's first choice.
    let (native, sha2) = ("mysql_native_password", "caching_sha2_password");
    for (theirs, ours) in [(sha2, sha2), (sha2, native), (native, sha2), (native, "dialog")] {
        let mut setting = Setting::default();
        setting.script.plugin = theirs;
        let bed = setting.start(driver);
        let mut login = account();
        login.plugin = ours;
        let mut client = RawClient::log_in(bed.weir.address(), &login).unwrap();
        client.echo("SELECT 1").unwrap();
        drop(client);
        bed.finish(&[("logins_ok", 2), ("backend_logins", 2), ("backend_login_failures", 0)]);
    }
}

fn aborted_handshakes_stay_here(driver: &str) {
    let bed = Bed::start(driver);
    for stage in 0..40 {
        let mut client = bed.connect();
        if stage % 4 >= 1 {
            let greeting = client.greeting().unwrap();
            let mut login = account();
            login.password = "wrong".to_owned();
            let request = login.request(&greeting);
            match stage % 4 {
                1 => {}
                2 => client.send(&request[..20]).unwrap(),
                _ => client.send(&request).unwrap(),
            }
        }
        if stage % 8 >= 4 { client.reset().unwrap() } else { drop(client) }
    }
    // All of them have been seen when a later one is served.
    bed.client().echo("SELECT 1").unwrap();
    let counts = bed.server.counts();
    assert_eq!(counts.logins, 2, "the witness and the last one: {counts:?}");
    assert_eq!(counts.connections, counts.monitors + counts.logins, "{counts:?}");
    assert_eq!(counts.aborted, 0, "{counts:?}");
    bed.finish(&[("logins_ok", 2), ("backend_connects", 2)]);
}
