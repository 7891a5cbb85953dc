//! Greeting and login.
//!
//! Purpose: a client cannot tell Weir from the server by how it is greeted or refused.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use weir_tests::{Client, Flavour};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, database, on_every_server};

on_every_server!(
    queries_by_command_line,
    refusals_are_the_servers_own,
    greeting_has_the_servers_version_and_a_unique_id,
    a_silent_client_is_dropped_in_time,
    garbage_ends_only_its_own_session,
    the_server_is_what_it_is_called,
);

fn queries_by_command_line(on: On) {
    let server = Database::shared(on);
    let name = database(server, "command_line", on);
    let proxy = Proxy::start(on, server);
    let client = proxy.client().database(&name);
    assert_eq!(client.query("SELECT DATABASE()").unwrap(), format!("{name}\n"));
    assert_eq!(client.query("SELECT USER()").unwrap(), format!("{USER}@127.0.0.1\n"));
    client.query("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)").unwrap();
    assert_eq!(client.query("SELECT SUM(a) FROM t; SELECT 'x'").unwrap(), "3\nx\n");
    assert_eq!(proxy.client().query(&format!("USE {name}; SELECT a FROM t")).unwrap(), "1\n2\n");
    proxy.finish();
}

fn refusals_are_the_servers_own(on: On) {
    let server = Database::shared(on);
    let proxy = Proxy::start(on, server);
    for (user, password, database, code) in [
        (USER, "wrong", None, "ERROR 1045 (28000)"),
        (USER, "", None, "ERROR 1045 (28000)"),
        ("nobody", "secret", None, "ERROR 1045 (28000)"),
        ("nobody", "", None, "ERROR 1045 (28000)"),
        (USER, PASSWORD, Some("no_such_database"), "ERROR 1049 (42000)"),
    ] {
        let ask = |address: SocketAddr| {
            let client = Client::tcp(address, user, password).program(on.flavour);
            let client = match database {
                Some(name) => client.database(name),
                None => client,
            };
            client.query("SELECT 1").unwrap_err().to_string()
        };
        let (direct, through) = (ask(server.address()), ask(proxy.weir.address()));
        assert!(through.starts_with(code), "{user} {database:?}: {through}");
        assert_eq!(through, direct, "{user} {database:?}");
    }
    proxy.finish();
}

fn greeting_has_the_servers_version_and_a_unique_id(on: On) {
    let server = Database::shared(on);
    let mut settings = config(on, server);
    settings.workers = "2".to_owned();
    let proxy = Proxy::start_with(on, &settings);
    let (version, _) = greeting(server.address());
    let mut ids = HashSet::new();
    let mut open = Vec::new();
    for _ in 0..50 {
        let stream = connect(proxy.weir.address());
        let (found, id) = read_greeting(&stream);
        assert_eq!(found, version);
        assert!(ids.insert(id), "connection id {id} twice");
        open.push(stream);
    }
    drop(open);
    proxy.finish();
}

fn a_silent_client_is_dropped_in_time(on: On) {
    let mut settings = config(on, Database::shared(on));
    settings.limits.push(("login_timeout_ms".to_owned(), 500));
    let proxy = Proxy::start_with(on, &settings);
    let mut stream = connect(proxy.weir.address());
    let began = Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(400), "dropped after {waited:?}");
    assert!(waited < Duration::from_secs(5), "dropped after {waited:?}");
    proxy.finish();
}

fn garbage_ends_only_its_own_session(on: On) {
    let proxy = Proxy::start(on, Database::shared(on));
    let packets: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 64],
        &[0x00, 0x00, 0x00, 0x01],
        &[0x01, 0x00, 0x00, 0x07, 0x03],
        &[0xff, 0xff, 0xff, 0x01],
    ];
    for packet in packets {
        let mut stream = connect(proxy.weir.address());
        read_greeting(&stream);
        stream.write_all(packet).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // A reset is as good an end as a close.
        let ended = stream.read_to_end(&mut rest);
        assert!(
            !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "still open after {packet:02x?}"
        );
        assert_eq!(proxy.client().query("SELECT 7").unwrap(), "7\n");
    }
    proxy.finish();
}

fn greeting(address: SocketAddr) -> (String, u32) {
    read_greeting(&connect(address))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Server version and connection id of a handshake v10.
fn read_greeting(mut stream: &TcpStream) -> (String, u32) {
    let mut header = [0_u8; 4];
    stream.read_exact(&mut header).unwrap();
    let [a, b, c, sequence] = header;
    assert_eq!(sequence, 0);
    let mut payload = vec![0_u8; u32::from_le_bytes([a, b, c, 0]) as usize];
    stream.read_exact(&mut payload).unwrap();
    assert_eq!(payload.first(), Some(&0x0a));
    let mut parts = payload.get(1..).unwrap().splitn(2, |byte| *byte == 0);
    let version = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
    let id = parts.next().unwrap().first_chunk::<4>().unwrap();
    (version, u32::from_le_bytes(*id))
}

/// The tests' names say which server they ran on.
fn the_server_is_what_it_is_called(on: On) {
    let (version, _) = greeting(Database::shared(on).address());
    assert_eq!(version.contains("MariaDB"), on.flavour == Flavour::MariaDb, "{version}");
}
