//! The server's own limits, and what a broken handshake costs it.
//!
//! Purpose: `max_allowed_packet` and the timeouts of idle clients are the server's, byte for byte;
//! a client that does not log in never reaches it.

use std::net::SocketAddr;

use weir::wire::Capabilities;
use weir_tests::{Login, RawClient, ServerOptions};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER};

// The raw client that compares the bytes has no caching_sha2_password.
mod mariadb {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MariaDb,
        a_packet_larger_than_the_server_takes,
        an_idle_client_is_ended_as_by_the_server,
        an_idle_interactive_client_has_its_own_timeout,
        aborted_handshakes_never_reach_the_server
    );
}

fn log_in(address: SocketAddr, login: &Login) -> RawClient {
    RawClient::log_in(address, login).unwrap()
}

fn account() -> Login {
    Login::new(USER, PASSWORD)
}

/// Packets that answer a query with one row; the row's only value.
fn value(client: &mut RawClient, sql: &str) -> String {
    client.send_query(sql).unwrap();
    let mut packets = Vec::new();
    loop {
        let (_, payload) = client.packet().unwrap();
        assert_ne!(payload.first(), Some(&0xFF), "{}", String::from_utf8_lossy(&payload));
        let end = payload.first() == Some(&0xFE);
        packets.push(payload);
        if end {
            // Count, definition, row, end.
            assert_eq!(packets.len(), 4, "{packets:02x?}");
            return String::from_utf8(packets[2][1..].to_vec()).unwrap();
        }
    }
}

fn set(client: &mut RawClient, sql: &str) {
    client.send_query(sql).unwrap();
    assert_eq!(client.packet().unwrap().1.first(), Some(&0), "{sql}");
}

fn a_packet_larger_than_the_server_takes(on: On) {
    let options = ServerOptions {
        extra: vec!["--max-allowed-packet=64K".to_owned()],
        flavour: on.flavour,
        ..ServerOptions::default()
    };
    let database = Database::start_with(options);
    let proxy = Proxy::start(on, &database.server);
    let ask = |address: SocketAddr| {
        let mut client = log_in(address, &account());
        set(&mut client, "DO 1");
        // Small enough to be on its way as a whole before the server refuses it and closes: what
        // the server has not read then makes it reset the connection.
        let sql = format!("SELECT LENGTH('{}')", "x".repeat(100 << 10));
        client.send_query(&sql).unwrap();
        let error = client.error().unwrap();
        let (rest, _) = client.rest().unwrap();
        (error, rest)
    };
    let (direct, through) = (ask(database.server.address()), ask(proxy.weir.address()));
    assert_eq!(direct.0.code, 1153, "{direct:?}");
    assert_eq!(through, direct);
    // As large as it may be, it passes.
    let mut client = log_in(proxy.weir.address(), &account());
    let sql = format!("SELECT LENGTH('{}')", "x".repeat(60 << 10));
    assert_eq!(value(&mut client, &sql), (60 << 10).to_string());
    drop(client);
    proxy.finish();
}

fn an_idle_client_is_ended_as_by_the_server(on: On) {
    let server = Database::shared(on);
    let proxy = Proxy::start(on, server);
    let idle = |address: SocketAddr, login: &Login| {
        let mut client = log_in(address, login);
        set(&mut client, "SET wait_timeout = 1");
        // The bytes; MariaDB resets the connection then, Weir ends it in order.
        client.rest().unwrap().0
    };
    for login in [account(), account().without(Capabilities::INTERACTIVE)] {
        assert_eq!(idle(proxy.weir.address(), &login), idle(server.address(), &login));
    }
    proxy.finish();
}

fn an_idle_interactive_client_has_its_own_timeout(on: On) {
    let options = ServerOptions {
        extra: vec!["--interactive-timeout=1".to_owned(), "--wait-timeout=500".to_owned()],
        flavour: on.flavour,
        ..ServerOptions::default()
    };
    let database = Database::start_with(options);
    let proxy = Proxy::start(on, &database.server);
    let other = account().without(Capabilities::INTERACTIVE);
    for address in [database.server.address(), proxy.weir.address()] {
        assert_eq!(value(&mut log_in(address, &account()), "SELECT @@wait_timeout"), "1");
        assert_eq!(value(&mut log_in(address, &other), "SELECT @@wait_timeout"), "500");
    }
    let idle = |address: SocketAddr| log_in(address, &account()).rest().unwrap().0;
    let mut patient = log_in(proxy.weir.address(), &other);
    let direct = idle(database.server.address());
    assert_eq!(idle(proxy.weir.address()), direct);
    assert_eq!(value(&mut patient, "SELECT 'still here'"), "still here");
    drop(patient);
    proxy.finish();
}

fn aborted_handshakes_never_reach_the_server(on: On) {
    let database = Database::start(on.flavour);
    let server = &database.server;
    let proxy = Proxy::start(on, server);
    let status = |name: &str| -> u64 {
        let text = server.sql(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).unwrap();
        text.trim().split('\t').next_back().unwrap().parse().unwrap()
    };
    let before = ["Aborted_connects", "Aborted_clients"].map(status);
    let connections = status("Connections");
    for way in 0..80 {
        let mut client = RawClient::connect(proxy.weir.address()).unwrap();
        if way % 4 > 0 {
            let greeting = client.greeting().unwrap();
            let mut login = account();
            login.password = "wrong".to_owned();
            let request = login.request(&greeting);
            match way % 4 {
                1 => {}
                2 => client.send(&request[..30]).unwrap(),
                _ => client.send(&request).unwrap(),
            }
        }
        if way % 8 < 4 { drop(client) } else { client.reset().unwrap() }
    }
    // All of them have been seen when a later one is served.
    assert_eq!(proxy.client().query("SELECT 3").unwrap(), "3\n");
    assert_eq!(["Aborted_connects", "Aborted_clients"].map(status), before);
    // The client just now, and our four looks; none of the others.
    assert_eq!(status("Connections") - connections, 4);
    proxy.finish();
}
