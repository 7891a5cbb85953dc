//! Clients that come by TLS, compress, or both.
//!
//! Purpose: every combination carries everything; what is no TLS, no compressed protocol, or not
//! allowed ends its own session and is counted.

use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
use weir::wire::Capabilities;
use weir::wire::compress::Algorithm;
use weir_tests::{End, Login, RawClient, Script, trusting_tls};

use crate::fixture::{Bed, Setting, account};

on_both_drivers!(
    every_client_on_every_backend,
    sessions_are_resumed,
    tls_that_is_required,
    tls_that_is_not_offered,
    what_is_no_tls,
    commands_behind_the_login,
    what_cannot_be_decompressed,
    compression_that_is_not_offered,
    a_client_that_leaves,
    stopping_says_goodbye,
);

const ZSTD: Algorithm = Algorithm::Zstd { level: 3 };
const COMPRESSIONS: [Option<Algorithm>; 3] = [None, Some(Algorithm::Zlib), Some(ZSTD)];

fn login(tls: Option<&Arc<ClientConfig>>, compression: Option<Algorithm>) -> Login {
    let login = account();
    let login = tls.map_or(login.clone(), |tls| login.with_tls(tls));
    compression.map_or(login.clone(), |algorithm| login.with_compression(algorithm))
}

fn log_in(bed: &Bed, login: &Login) -> RawClient {
    RawClient::log_in(bed.weir.address(), login).unwrap()
}

/// A statement of that many bytes, which no compression makes much shorter.
fn statement(bytes: usize) -> String {
    let mut state = 7_u32;
    let step = move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + u8::try_from(state >> 26).unwrap())
    };
    (0..bytes).map(step).collect()
}

/// A server that can compress.
fn compressing() -> Script {
    let script = Script::default();
    let all = script.capabilities.union(Capabilities::COMPRESS).union(Capabilities::ZSTD);
    Script { capabilities: all, ..script }
}

fn every_client_on_every_backend(driver: &str) {
    let tls = trusting_tls();
    let long = statement(300_000);
    let repeated = "SELECT 'the same again and again' ".repeat(20_000);
    for backend in ["none", "zlib", "zstd"] {
        let line = format!("compression = \"{backend}\"");
        let bed = Setting::default().script(compressing()).backend(&line).start(driver);
        for tls in [None, Some(&tls)] {
            for compression in COMPRESSIONS {
                let mut client = log_in(&bed, &login(tls, compression));
                client.echo("SELECT 1").unwrap();
                client.echo(&long).unwrap();
                client.echo(&repeated).unwrap();
                // Several commands at once are answered in their order.
                let ahead: Vec<_> = ["SELECT 2", &long, "SELECT 3"]
                    .iter()
                    .flat_map(|sql| RawClient::query_packet(sql).to_vec())
                    .collect();
                client.send(&ahead).unwrap();
                for sql in ["SELECT 2", &long, "SELECT 3"] {
                    client.expect(&client.echoed(sql)).unwrap();
                }
                client.send_packet(0, b"\x01").unwrap();
                assert_eq!(client.closed().unwrap(), End::Eof);
            }
        }
        let totals = bed.finish(&[("logins_ok", 7), ("client_faults", 0), ("backend_faults", 0)]);
        assert_eq!(totals["tls_client_handshakes"], 3);
        let shorter = totals["compressed_bytes_sent"] * 2 < totals["uncompressed_bytes_sent"];
        assert!(shorter || backend == "none", "{totals:?}");
        assert!(totals["compressed_bytes_received"] < totals["uncompressed_bytes_received"]);
    }
}

fn sessions_are_resumed(driver: &str) {
    let bed = Bed::start(driver);
    let tls = trusting_tls();
    let kinds: Vec<_> = (0..3)
        .map(|_| {
            let mut client = log_in(&bed, &login(Some(&tls), None));
            client.echo("SELECT 1").unwrap();
            client.tls().unwrap().handshake_kind().unwrap()
        })
        .collect();
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
    bed.finish(&[("tls_client_handshakes", 3), ("tls_client_resumptions", 2)]);
}

fn tls_that_is_required(driver: &str) {
    let secured = login(Some(&trusting_tls()), None);
    let bed = Setting::default().endpoint("tls = \"required\"").witness(secured).start(driver);
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    assert!(greeting.capabilities.contains(Capabilities::SSL));
    client.send(&account().request(&greeting)).unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.seq, error.code), (2, 3159));
    let text = "Connections using insecure transport are prohibited while \
                --require_secure_transport=ON.";
    assert_eq!(error.text, text);
    client.closed().unwrap();
    bed.finish(&[("client_faults", 1), ("logins_ok", 1), ("tls_client_handshakes", 1)]);
}

fn tls_that_is_not_offered(driver: &str) {
    let bed = Setting::default().endpoint("tls = \"disabled\"").start(driver);
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    assert!(!greeting.capabilities.contains(Capabilities::SSL));
    let wish = login(Some(&trusting_tls()), None).ssl_request(&greeting);
    client.send(&wish).unwrap();
    let error = client.error().unwrap();
    assert_eq!(error.code, 1043);
    assert!(error.text.contains("TLS"), "{error:?}");
    client.closed().unwrap();
    bed.finish(&[("client_faults", 1)]);
}

/// Above all a login request behind the wish must not pass for one inside of TLS.
fn what_is_no_tls(driver: &str) {
    let bed = Bed::start(driver);
    let login = login(Some(&trusting_tls()), None);
    let mut failures = 0;
    for at_once in [false, true] {
        for garbage in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"]
        {
            let mut client = bed.connect();
            let greeting = client.greeting().unwrap();
            let request = login.request(&greeting);
            let garbage = if garbage.is_empty() { &request[..] } else { garbage };
            let wish = login.ssl_request(&greeting);
            if at_once {
                client.send(&[&wish[..], garbage].concat()).unwrap();
            } else {
                client.send(&wish).unwrap();
                client.send(garbage).unwrap();
            }
            // At most an alert, and the end; nothing in MySQL's protocol.
            let rest = client.rest().unwrap().0;
            assert!(matches!(rest.first(), None | Some(0x15)), "{rest:02x?}");
            failures += 1;
        }
    }
    let faults = [("client_faults", failures), ("tls_client_failures", failures)];
    bed.finish(&[&faults[..], &[("logins_ok", 1), ("tls_client_handshakes", 0)]].concat());
}

/// A client may send its first commands without waiting for the OK: they are compressed already.
fn commands_behind_the_login(driver: &str) {
    let bed = Bed::start(driver);
    for tls in [None, Some(&trusting_tls())] {
        for compression in COMPRESSIONS {
            let login = login(tls, compression);
            let mut client = bed.connect();
            let greeting = client.greeting().unwrap();
            client.capabilities = login.capabilities.intersection(greeting.capabilities);
            if let Some(tls) = tls {
                client.start_tls(tls, &login.ssl_request(&greeting)).unwrap();
            }
            client.send(&login.request(&greeting)).unwrap();
            let mut ok = None;
            if let Some(algorithm) = compression {
                // Its OK is not compressed, so it is read before, but for the bytes sent.
                let sql =
                    [RawClient::query_packet("SELECT 1"), RawClient::query_packet("SELECT 2")];
                client.send_ahead(algorithm, &sql.concat()).unwrap();
                ok = Some(client.packet().unwrap());
                client.compress(algorithm).unwrap();
            } else {
                client.send(&RawClient::query_packet("SELECT 1")).unwrap();
                client.send(&RawClient::query_packet("SELECT 2")).unwrap();
            }
            let (_, ok) = ok.unwrap_or_else(|| client.packet().unwrap());
            assert_eq!(ok[0], 0, "OK");
            client.expect(&client.echoed("SELECT 1")).unwrap();
            client.expect(&client.echoed("SELECT 2")).unwrap();
            client.echo("SELECT 3").unwrap();
        }
    }
    bed.finish(&[("client_faults", 0), ("logins_ok", 7)]);
}

fn what_cannot_be_decompressed(driver: &str) {
    let bed = Bed::start(driver);
    for algorithm in [Algorithm::Zlib, ZSTD] {
        for tls in [None, Some(&trusting_tls())] {
            let mut client = log_in(&bed, &login(tls, Some(algorithm)));
            client.echo("SELECT 1").unwrap();
            // 20 bytes that are said to be 100.
            client.send_compressed(&[&[20, 0, 0, 0, 100, 0, 0][..], &[0xAA; 20]].concat()).unwrap();
            let error = client.error().unwrap();
            assert_eq!(error.code, 1157, "{error:?}");
            assert!(
                error.text.starts_with("Couldn't uncompress communication packet"),
                "{error:?}"
            );
            client.closed().unwrap();
        }
    }
    bed.finish(&[("client_faults", 4)]);
}

fn compression_that_is_not_offered(driver: &str) {
    for (line, zlib, zstd) in [
        ("compression = []", false, false),
        ("compression = [\"zlib\"]", true, false),
        ("compression = [\"zstd\"]", false, true),
    ] {
        let bed = Setting::default().endpoint(line).start(driver);
        let mut client = bed.connect();
        let offered = client.greeting().unwrap().capabilities;
        let has = |capability| offered.contains(capability);
        assert_eq!((has(Capabilities::COMPRESS), has(Capabilities::ZSTD)), (zlib, zstd));
        drop(client);
        bed.finish(&[]);
    }
}

/// In the middle of everything.
fn a_client_that_leaves(driver: &str) {
    let bed = Bed::start(driver);
    let tls = trusting_tls();
    let tls_login = login(Some(&tls), Some(ZSTD));
    // After its wish for TLS, after half a hello, after the handshake, inside a command.
    let mut client = bed.connect();
    let wish = tls_login.ssl_request(&client.greeting().unwrap());
    client.send(&wish).unwrap();
    client.finish_sending().unwrap();
    client.closed().unwrap();
    let mut client = bed.connect();
    client.greeting().unwrap();
    client.send(&[&wish[..], &[0x16, 3, 1, 0, 200, 1]].concat()).unwrap();
    client.finish_sending().unwrap();
    client.closed().unwrap();
    let mut client = bed.connect();
    client.greeting().unwrap();
    client.start_tls(&tls, &wish).unwrap();
    client.reset().unwrap();
    let mut client = log_in(&bed, &tls_login);
    client.send(&RawClient::query_packet(&statement(5000))[..3000]).unwrap();
    client.finish_sending().unwrap();
    client.rest().unwrap();
    let client = log_in(&bed, &tls_login);
    client.reset().unwrap();
    let handshakes = [("tls_client_handshakes", 2), ("tls_client_failures", 3)];
    bed.finish(&[&handshakes[..], &[("backend_faults", 0), ("logins_ok", 3)]].concat());
}

/// Clients are told inside of TLS that nothing more comes: to them a bare FIN is an attack.
fn stopping_says_goodbye(driver: &str) {
    let mut bed = Bed::start(driver);
    let tls = trusting_tls();
    let mut clients: Vec<_> = COMPRESSIONS
        .into_iter()
        .map(|compression| log_in(&bed, &login(Some(&tls), compression)))
        .collect();
    for client in &mut clients {
        client.echo("SELECT 1").unwrap();
    }
    bed.weir.terminate().unwrap();
    for client in &mut clients {
        assert_eq!(client.closed().unwrap(), End::Eof);
    }
    assert_eq!(bed.witness.closed().unwrap(), End::Eof);
}
