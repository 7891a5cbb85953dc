//! PROXY headers to a server that takes them, and from a balancer in front of Weir.
//!
//! Purpose: the server sees the clients' own addresses, in its grants, process list and errors.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use weir::wire::Capabilities;
use weir::wire::proxy::{Origin, encode};
use weir_tests::{Login, RawClient, ServerOptions, TestCertificates, trusting_tls};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, eventually};

// MySQL takes no such header; that it says so is tested below.
mod mariadb {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MariaDb,
        the_server_sees_the_clients_addresses,
        grants_are_those_of_the_clients_host,
        a_kept_connection_is_for_clients_of_its_address,
        what_a_balancer_says_reaches_the_server,
        the_header_comes_before_tls,
        a_server_that_does_not_trust_weir_lets_nobody_in
    );
}
mod mysql {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MySql,
        a_server_without_the_protocol_is_not_reached
    );
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A server that takes headers from Weir.
fn trusting(on: On, more: &[String]) -> Database {
    let mut extra = vec!["--proxy-protocol-networks=127.0.0.1".to_owned()];
    extra.extend_from_slice(more);
    Database::start_with(ServerOptions { extra, flavour: on.flavour, ..Default::default() })
}

fn telling(on: On, database: &Database, endpoint: &[&str], backend: &[&str]) -> Proxy {
    let mut config = config(on, &database.server);
    config.backend_lines.push("proxy_protocol = true".to_owned());
    config.backend_lines.extend(backend.iter().map(|line| (*line).to_owned()));
    config.endpoint_lines = endpoint.iter().map(|line| (*line).to_owned()).collect();
    Proxy::start_with(on, &config)
}

/// One that may say in whose schema a table is.
fn account() -> Login {
    Login::new(USER, PASSWORD).without(Capabilities::NO_SCHEMA)
}

fn connect(from: [u8; 4], address: SocketAddr) -> RawClient {
    RawClient::connect_from(IpAddr::from(from), address).unwrap()
}

fn log_in(from: [u8; 4], address: SocketAddr) -> RawClient {
    let mut client = connect(from, address);
    client.authenticate(&account()).unwrap();
    client
}

fn the_server_sees_the_clients_addresses(on: On) {
    let database = trusting(on, &[]);
    let proxy = telling(on, &database, &[], &[]);
    for from in [[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 1]] {
        let mut client = log_in(from, proxy.weir.address());
        let ip = IpAddr::from(from);
        assert_eq!(client.value("SELECT USER()").unwrap(), format!("{USER}@{ip}"));
        let (source, _) = client.ends().unwrap();
        let of_process =
            "SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()";
        // Host and port, as of a client that is connected directly.
        let host = database.server.sql(&format!(
            "SELECT host FROM information_schema.processlist WHERE host = '{source}'"
        ));
        assert_eq!(host.unwrap().trim(), source.to_string());
        let mut direct = log_in(from, database.server.address());
        let direct_host = direct.value(of_process).unwrap();
        assert_eq!(direct_host, direct.ends().unwrap().0.to_string());
    }
    // Probes come as Weir itself.
    let probe = "SELECT SUBSTRING_INDEX(host, ':', 1) FROM information_schema.processlist \
                 WHERE user = 'monitor'";
    assert_eq!(database.server.sql(probe).unwrap(), "127.0.0.1\n");
    proxy.finish();
}

fn grants_are_those_of_the_clients_host(on: On) {
    let database = trusting(on, &[]);
    let server = &database.server;
    let create = |host: &str, database: &str| {
        server
            .sql(&format!(
                "CREATE USER '{USER}'@'{host}' IDENTIFIED BY '{PASSWORD}'; \
                 CREATE DATABASE {database}; GRANT SELECT ON {database}.* TO '{USER}'@'{host}'"
            ))
            .unwrap();
    };
    create("127.0.0.2", "of_two");
    create("127.0.0.3", "of_three");
    server.sql(&format!("DROP USER '{USER}'@'%'")).unwrap();
    let proxy = telling(on, &database, &[], &[]);
    for (from, own, other) in
        [([127, 0, 0, 2], "of_two", "of_three"), ([127, 0, 0, 3], "of_three", "of_two")]
    {
        let mut client = log_in(from, proxy.weir.address());
        let current = format!("{USER}@{}", IpAddr::from(from));
        assert_eq!(client.value("SELECT CURRENT_USER()").unwrap(), current);
        // An account's host holds for a change of account, too.
        for _ in 0..2 {
            client.send_packet(0, &[&[2], own.as_bytes()].concat()).unwrap();
            assert_eq!(client.packet().unwrap().1[0], 0);
            client.send_packet(0, &[&[2], other.as_bytes()].concat()).unwrap();
            assert_eq!(client.error().unwrap().code, 1044);
            client.change_user(USER, PASSWORD, None).unwrap().1.unwrap();
        }
    }
    // From elsewhere there is no such account; the words are the server's.
    let through = connect([127, 0, 0, 4], proxy.weir.address()).authenticate(&account());
    let direct = connect([127, 0, 0, 4], server.address()).authenticate(&account());
    let (through, direct) = (through.unwrap_err(), direct.unwrap_err());
    assert!(direct.to_string().contains("Access denied for user 'app'@'127.0.0.4'"), "{direct}");
    assert_eq!(through.to_string(), direct.to_string());
    proxy.finish();
}

fn a_kept_connection_is_for_clients_of_its_address(on: On) {
    let database = trusting(on, &[]);
    let mut settings = config(on, &database.server);
    settings.pooling = "session";
    settings.backend_lines.push("proxy_protocol = true".to_owned());
    let proxy = Proxy::start_with(on, &settings);
    let counted = |what: &str| {
        let metrics = proxy.weir.metrics().unwrap();
        metrics.value(&format!("weir_backend_{what}_total"), &[]).unwrap()
    };
    for (from, number) in [(2, 1), (3, 2), (2, 3), (3, 4)] {
        let mut client = log_in([127, 0, 0, from], proxy.weir.address());
        let user = format!("{USER}@127.0.0.{from}");
        assert_eq!(client.value("SELECT USER()").unwrap(), user);
        client.send_packet(0, &[1]).unwrap();
        client.closed().unwrap();
        eventually("the connection is kept", PATIENCE, || counted("recycled") == f64::from(number));
    }
    assert_eq!((counted("logins"), counted("reuses")), (2.0, 2.0));
    proxy.finish();
}

fn what_a_balancer_says_reaches_the_server(on: On) {
    let database = trusting(on, &[]);
    let proxy = telling(on, &database, &["proxy_protocol_networks = [\"127.0.0.2\"]"], &[]);
    let named = |source: SocketAddr, destination: SocketAddr| {
        let mut client = connect([127, 0, 0, 2], proxy.weir.address());
        let mut header = BytesMut::new();
        encode(Origin::Tcp { source, destination }, &mut header);
        client.send(&header).unwrap();
        client.authenticate(&account()).unwrap();
        client.value("SELECT USER()").unwrap()
    };
    let four = named(([192, 0, 2, 7], 50_000).into(), ([198, 51, 100, 1], 3306).into());
    assert_eq!(four, format!("{USER}@192.0.2.7"));
    let six = named("[2001:db8::7]:5".parse().unwrap(), "[2001:db8::1]:3306".parse().unwrap());
    assert_eq!(six, format!("{USER}@2001:db8::7"));
    // Not through the balancer: as it is.
    let mut client = log_in([127, 0, 0, 3], proxy.weir.address());
    assert_eq!(client.value("SELECT USER()").unwrap(), format!("{USER}@127.0.0.3"));
    proxy.finish();
}

fn the_header_comes_before_tls(on: On) {
    let folder = weir_tests::RunFolder::create("proxy").unwrap();
    let certificates = TestCertificates::create(folder.path(), USER).unwrap();
    let database = trusting(on, &certificates.server_args());
    let backend = ["tls = \"required\"", "compression = \"zlib\""];
    let endpoint = ["proxy_protocol_networks = [\"127.0.0.2\"]"];
    let proxy = telling(on, &database, &endpoint, &backend);
    let mut client = connect([127, 0, 0, 2], proxy.weir.address());
    client.send(b"PROXY TCP4 192.0.2.9 192.0.2.1 1234 3306\r\n").unwrap();
    client.authenticate(&account().with_tls(&trusting_tls())).unwrap();
    assert_eq!(client.value("SELECT USER()").unwrap(), format!("{USER}@192.0.2.9"));
    let cipher = "SELECT variable_value FROM information_schema.session_status \
                  WHERE variable_name = 'Ssl_cipher'";
    assert!(!client.value(cipher).unwrap().is_empty());
    drop(client);
    proxy.finish();
}

/// It takes the header for a login, and ends the connection.
fn a_server_that_does_not_trust_weir_lets_nobody_in(on: On) {
    unreached(on);
}

fn a_server_without_the_protocol_is_not_reached(on: On) {
    unreached(on);
}

/// Weir says why its probes fail, and never greets.
fn unreached(on: On) {
    let server = Database::shared(on);
    let mut config = config(on, server);
    config.backend_lines.push("proxy_protocol = true".to_owned());
    let folder = weir_tests::RunFolder::create("weir").unwrap();
    let binary = weir_tests::weir_binary().unwrap();
    let lifetime = weir_tests::Lifetime::WithParent;
    let mut weir =
        weir_tests::Weir::start_unready(&binary, folder.path(), &config, lifetime).unwrap();
    eventually("the reason", PATIENCE, || weir.log_text().contains("cannot log in"));
    // Nobody is greeted: there is no primary.
    let mut client = RawClient::connect(weir.address()).unwrap();
    assert_eq!(client.packet().unwrap().1.first(), Some(&0xFF));
    weir.stop().unwrap();
}
