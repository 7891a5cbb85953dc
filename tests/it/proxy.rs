//! PROXY headers: from balancers in front of Weir, and to servers behind it.
//!
//! Purpose: the client that a balancer names is the client everywhere; what is no header ends one
//! connection; servers that want a header get the client's addresses first of all.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use weir::wire::Greeting;
use weir::wire::proxy::{Origin, encode};
use weir_tests::{Login, RawClient, RunFolder, Script, trusting_tls};

use crate::fixture::{Bed, Setting, account, wait};

on_both_drivers!(
    the_greeting_waits_for_the_header,
    a_header_may_come_in_any_pieces,
    tls_follows_behind_the_header,
    others_are_not_asked_for_a_header,
    what_is_no_header_ends_the_connection,
    a_header_has_to_come_in_time,
    health_checks_may_leave,
    the_named_client_is_blocked_and_nobody_else,
    the_named_client_is_counted,
    a_reload_changes_who_is_asked,
    a_server_is_told_who_the_client_is,
    a_server_is_told_what_a_balancer_said,
    a_client_of_a_unix_socket_is_told_as_nobody,
    a_reload_changes_who_is_told,
);

/// Balancers connect from there; the witness and the harness do not.
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const NETWORK: &str = "proxy_protocol_networks = [\"127.0.0.2\", \"10.0.0.0/8\"]";
/// No first byte of a greeting comes within that, if none is to come.
const SILENCE: Duration = Duration::from_millis(100);

fn behind_a_balancer() -> Setting {
    Setting::default().endpoint(NETWORK)
}

impl Bed {
    /// A balancer that has connected and said nothing.
    fn balancer(&self) -> RawClient {
        RawClient::connect_from(BALANCER, self.weir.address()).unwrap()
    }

    /// A balancer that has said whom it connects for.
    fn named(&self, origin: Origin) -> RawClient {
        let mut client = self.balancer();
        client.send(&header(origin)).unwrap();
        client
    }
}

/// A client of that number, and where it connected to.
fn origin(client: u8) -> Origin {
    Origin::Tcp {
        source: ([192, 0, 2, client], 50_000 + u16::from(client)).into(),
        destination: ([198, 51, 100, 1], 3306).into(),
    }
}

fn header(origin: Origin) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(origin, &mut out);
    out.to_vec()
}

/// Version 2, for a client of the balancer's own unix socket: two paths.
fn of_a_unix_socket() -> Vec<u8> {
    let mut header = header(Origin::Itself);
    header[12..16].copy_from_slice(&[0x21, 0x31, 0, 216]);
    header.resize(16 + 216, 0);
    header
}

fn line(origin: Origin) -> Vec<u8> {
    let Origin::Tcp { source, destination } = origin else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY TCP4 {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// Its address in the server's own words.
fn denied(client: &mut RawClient) -> String {
    let login = Login { password: "wrong".to_owned(), ..account() };
    let error = client.authenticate(&login).unwrap_err().to_string();
    let (_, rest) = error.split_once("Access denied for user 'app'@'").unwrap();
    rest.split_once('\'').unwrap().0.to_owned()
}

fn the_greeting_waits_for_the_header(driver: &str) {
    let bed = behind_a_balancer().start(driver);
    for header in [line(origin(7)), header(origin(7))] {
        let mut client = bed.balancer();
        std::thread::sleep(SILENCE);
        assert!(!client.has_answer().unwrap(), "greeted before the header");
        client.send(&header).unwrap();
        client.authenticate(&account()).unwrap();
        client.echo("SELECT 'named'").unwrap();
        let mut client = bed.balancer();
        client.send(&header).unwrap();
        assert_eq!(denied(&mut client), "192.0.2.7");
    }
    // An IPv4 client of an IPv6 listener is an IPv4 client.
    let Origin::Tcp { destination, .. } = origin(1) else { panic!() };
    let source: SocketAddr = "[::ffff:192.0.2.9]:5".parse().unwrap();
    assert_eq!(denied(&mut bed.named(Origin::Tcp { source, destination })), "192.0.2.9");
    let log = bed.weir.log_text();
    assert!(log.contains("client=192.0.2.7") && log.contains("client=192.0.2.9"), "{log}");
    bed.finish(&[("proxy_headers", 5), ("logins_denied", 3), ("proxy_headers_malformed", 0)]);
}

fn a_header_may_come_in_any_pieces(driver: &str) {
    let bed = behind_a_balancer().start(driver);
    let both = [line(origin(8)), header(origin(8))];
    for header in &both {
        for cut in 1..header.len() {
            let mut client = bed.balancer();
            let (first, second) = header.split_at(cut);
            client.send(first).unwrap();
            std::thread::sleep(Duration::from_millis(2));
            client.send(second).unwrap();
            client.greeting().unwrap();
        }
        let mut client = bed.balancer();
        client.send_bytewise(header).unwrap();
        assert_eq!(denied(&mut client), "192.0.2.8");
    }
    // Extras behind the addresses, up to a bound.
    let mut long = header(origin(8));
    long.resize(4096, 0);
    long[14..16].copy_from_slice(&(4096_u16 - 16).to_be_bytes());
    let mut client = bed.balancer();
    client.send(&long).unwrap();
    assert_eq!(denied(&mut client), "192.0.2.8");
    let headers = both.iter().map(|header| header.len() as u64).sum::<u64>() + 1;
    bed.finish(&[("proxy_headers", headers), ("client_faults", 0)]);
}

fn tls_follows_behind_the_header(driver: &str) {
    let bed = behind_a_balancer().endpoint("tls = \"required\"");
    let tls = account().with_tls(&trusting_tls());
    let bed = bed.witness(tls.clone()).start(driver);
    let mut client = bed.named(origin(3));
    client.authenticate(&tls).unwrap();
    client.echo("SELECT 'in TLS'").unwrap();
    drop(client);
    bed.finish(&[("proxy_headers", 1), ("tls_client_handshakes", 2)]);
}

fn others_are_not_asked_for_a_header(driver: &str) {
    let bed = behind_a_balancer().start(driver);
    let mut client = bed.connect();
    assert_eq!(denied(&mut client), "127.0.0.1");
    // From them it is a login that is none.
    for header in [line(origin(7)), header(origin(7))] {
        let mut client = bed.connect();
        client.greeting().unwrap();
        client.send(&header).unwrap();
        let error = client.error().unwrap();
        assert!(matches!(error.code, 1043 | 1153 | 1156), "{error:?}");
        client.closed().unwrap();
    }
    bed.finish(&[("proxy_headers", 0), ("proxy_headers_malformed", 0), ("client_faults", 2)]);
}

fn what_is_no_header_ends_the_connection(driver: &str) {
    let bed = behind_a_balancer().limit("host_errors_max", 3).start(driver);
    let mut too_long = header(origin(7));
    too_long[14..16].copy_from_slice(&(4096_u16 - 15).to_be_bytes());
    let mut other_version = header(origin(7));
    other_version[12] = 0x11;
    let long_line = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    let wrong: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"\x16\x03\x01\x02\x00",
        &long_line,
        &too_long,
        &other_version,
    ];
    for bytes in wrong {
        let mut client = bed.balancer();
        client.send(bytes).unwrap();
        let (_, payload) = client.packet().unwrap();
        // In place of a greeting: no SQLSTATE.
        assert!(payload.starts_with(b"\xFF\x13\x04Bad handshake (a"), "{payload:?}");
        client.closed().unwrap();
    }
    // A second header is no login, and that is the fault of the client that the first one names.
    for second in [line(origin(6)), header(origin(6))] {
        let mut client = bed.named(origin(5));
        client.send(&second).unwrap();
        client.greeting().unwrap();
        assert!(matches!(client.error().unwrap().code, 1043 | 1153 | 1156));
        client.closed().unwrap();
    }
    // Left in the middle of it.
    let mut client = bed.balancer();
    client.send(&header(origin(7))[..20]).unwrap();
    drop(client);
    bed.wait_descriptors();
    assert!(bed.weir.log_text().contains("client=127.0.0.2"), "{}", bed.weir.log_text());
    // None of it was held against the balancer.
    bed.named(origin(7)).authenticate(&account()).unwrap();
    bed.finish(&[
        ("proxy_headers", 3),
        ("proxy_headers_malformed", wrong.len() as u64),
        ("proxy_headers_incomplete", 1),
        ("client_faults", wrong.len() as u64 + 3),
        ("hosts_blocked", 0),
    ]);
}

fn a_header_has_to_come_in_time(driver: &str) {
    let setting = behind_a_balancer().limit("login_timeout_ms", 1000);
    let bed = setting.limit("host_errors_max", 2).start(driver);
    let mut silent = bed.balancer();
    let mut slow = bed.balancer();
    slow.send(b"PROXY ").unwrap();
    // The time goes on behind the header.
    let mut named = [bed.named(origin(1)), bed.named(origin(1))];
    for client in &mut named {
        client.greeting().unwrap();
    }
    for client in [&mut silent, &mut slow] {
        let (_, payload) = client.packet().unwrap();
        assert!(payload.starts_with(b"\xFF\x87\x04weir: no PROXY header came in time"));
        client.closed().unwrap();
    }
    for client in &mut named {
        assert_eq!(client.error().unwrap().code, 1159);
    }
    bed.named(origin(2)).authenticate(&account()).unwrap();
    // Only who was named is blamed.
    bed.finish(&[("proxy_headers_incomplete", 2), ("login_timeouts", 4), ("hosts_blocked", 1)]);
}

fn health_checks_may_leave(driver: &str) {
    let bed = behind_a_balancer().limit("host_errors_max", 2).start(driver);
    for round in 0..12 {
        let mut client = bed.balancer();
        match round % 4 {
            0 => {}
            1 => client.send(&header(Origin::Itself)).unwrap(),
            2 => client.send(b"PROXY UNKNOWN\r\n").unwrap(),
            _ => client.send(&of_a_unix_socket()).unwrap(),
        }
        if round % 4 > 0 {
            client.greeting().unwrap();
        }
        if round % 2 == 0 { drop(client) } else { client.reset().unwrap() }
    }
    bed.wait_descriptors();
    // Its own address is the client's.
    assert_eq!(denied(&mut bed.named(Origin::Itself)), "127.0.0.2");
    bed.finish(&[("hosts_blocked", 0), ("client_faults", 0), ("clients_refused", 0)]);
}

fn the_named_client_is_blocked_and_nobody_else(driver: &str) {
    let bed = behind_a_balancer().limit("host_errors_max", 2).start(driver);
    for _ in 0..2 {
        bed.named(origin(4)).greeting().unwrap();
        bed.wait_descriptors();
    }
    let mut blocked = bed.named(origin(4));
    let text = b"\xFF\x69\x04Host '192.0.2.4' is blocked because of many connection errors";
    assert_eq!(blocked.packet().unwrap(), (0, text.to_vec()));
    blocked.closed().unwrap();
    bed.named(origin(5)).authenticate(&account()).unwrap();
    bed.named(Origin::Itself).authenticate(&account()).unwrap();
    bed.client().echo("SELECT 1").unwrap();
    bed.finish(&[("hosts_blocked", 1), ("clients_refused", 1)]);
}

fn the_named_client_is_counted(driver: &str) {
    let mut setting = behind_a_balancer().limit("clients_per_address_max", 2);
    setting.workers = 2;
    let bed = setting.start(driver);
    // Who is not named yet is of no address.
    let waiting: Vec<RawClient> = (0..4).map(|_| bed.balancer()).collect();
    let clients = [1, 1, 2, 2].map(|client| {
        let mut client = bed.named(origin(client));
        client.authenticate(&account()).unwrap();
        client
    });
    let mut third = bed.named(origin(1));
    let text = b"\xFF\x10\x04Too many connections from '192.0.2.1'";
    assert_eq!(third.packet().unwrap(), (0, text.to_vec()));
    third.closed().unwrap();
    drop(clients);
    wait("room", || bed.named(origin(1)).authenticate(&account()).is_ok());
    drop(waiting);
    bed.finish(&[("client_faults", 0), ("proxy_headers_incomplete", 0)]);
}

fn a_reload_changes_who_is_asked(driver: &str) {
    let mut bed = behind_a_balancer().start(driver);
    let mut before = bed.balancer();
    let file = std::fs::read_to_string(bed.weir.config()).unwrap();
    let said = bed.weir.reload(&file.replace("127.0.0.2", "127.0.0.3")).unwrap();
    assert!(said.contains("live: endpoint[main].proxy_protocol_networks\n"), "{said}");
    bed.balancer().authenticate(&account()).unwrap();
    let mut other = RawClient::connect_from([127, 0, 0, 3].into(), bed.weir.address()).unwrap();
    other.send(&header(origin(1))).unwrap();
    other.authenticate(&account()).unwrap();
    // Who was asked before still is.
    before.send(&header(origin(2))).unwrap();
    assert_eq!(denied(&mut before), "192.0.2.2");
    drop(other);
    bed.finish(&[("proxy_headers", 2), ("client_faults", 0)]);
}

type Headers = Arc<Mutex<Vec<Origin>>>;

/// A server that wants headers, and those it got.
fn told() -> (Script, Headers) {
    let headers = Headers::default();
    (Script { headers: Some(headers.clone()), ..Script::default() }, headers)
}

/// The header that came last.
fn last(headers: &Headers) -> Option<Origin> {
    headers.lock().unwrap().last().copied()
}

fn a_server_is_told_who_the_client_is(driver: &str) {
    let (script, headers) = told();
    let setting = Setting::default().script(script).backend("proxy_protocol = true");
    let bed = setting.start(driver);
    // The probe's is nobody's, the witness's has its addresses.
    let (source, destination) = bed.witness.ends().unwrap();
    let of_witness = Origin::Tcp { source, destination };
    assert_eq!(*headers.lock().unwrap(), [Origin::Itself, of_witness]);
    for source in [[127, 0, 0, 4], [127, 0, 0, 5]] {
        let mut client = RawClient::connect_from(source.into(), bed.weir.address()).unwrap();
        client.authenticate(&account()).unwrap();
        client.echo("SELECT 'told'").unwrap();
        let (source, destination) = client.ends().unwrap();
        assert_eq!(last(&headers), Some(Origin::Tcp { source, destination }));
    }
    bed.finish(&[("backend_login_failures", 0)]);
}

fn a_server_is_told_what_a_balancer_said(driver: &str) {
    let (script, headers) = told();
    let setting = behind_a_balancer().script(script).backend("proxy_protocol = true");
    let bed = setting.start(driver);
    let mut client = bed.named(origin(9));
    client.authenticate(&account()).unwrap();
    assert_eq!(last(&headers), Some(origin(9)));
    drop(client);
    let mut client = bed.named(Origin::Itself);
    client.authenticate(&account()).unwrap();
    let (source, destination) = client.ends().unwrap();
    assert_eq!(last(&headers), Some(Origin::Tcp { source, destination }));
    drop(client);
    bed.finish(&[("backend_login_failures", 0)]);
}

fn a_client_of_a_unix_socket_is_told_as_nobody(driver: &str) {
    let folder = RunFolder::create("proxy").unwrap();
    let socket = folder.path().join("weir.sock");
    let (script, headers) = told();
    let setting = Setting::default().script(script).backend("proxy_protocol = true");
    let listen = format!("listen = \"unix:{}\"", socket.display());
    let endpoint =
        format!("[[endpoint]]\nname = \"local\"\n{listen}\ncluster = \"main\"\npooling = \"none\"");
    let bed = setting.endpoint(&endpoint).start(driver);
    let mut client = UnixStream::connect(&socket).unwrap();
    let greeting = Greeting::parse(&packet(&mut client)).unwrap();
    client.write_all(&account().request(&greeting)).unwrap();
    assert_eq!(packet(&mut client)[0], 0);
    assert_eq!(last(&headers), Some(Origin::Itself));
    assert_eq!(headers.lock().unwrap().len(), 3, "the probe's, the witness's, this one");
    drop(client);
    bed.finish(&[("backend_login_failures", 0)]);
}

fn packet(stream: &mut UnixStream) -> Vec<u8> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    let mut payload = vec![0; usize::from(header[0])];
    stream.read_exact(&mut payload).unwrap();
    payload
}

fn a_reload_changes_who_is_told(driver: &str) {
    let mut bed = Setting::default().backend("proxy_protocol = false").start(driver);
    let (script, headers) = told();
    bed.server.change(|old| *old = script);
    let file = std::fs::read_to_string(bed.weir.config()).unwrap();
    let new = file.replace("proxy_protocol = false", "proxy_protocol = true");
    let said = bed.weir.reload(&new).unwrap();
    assert!(said.contains("live: cluster[main].backend[db].proxy_protocol\n"), "{said}");
    // The probe begins anew.
    wait("the probe's header", || last(&headers) == Some(Origin::Itself));
    let mut client = bed.client();
    client.echo("SELECT 'told'").unwrap();
    let (source, destination) = client.ends().unwrap();
    assert_eq!(last(&headers), Some(Origin::Tcp { source, destination }));
    drop(client);
    bed.finish(&[("backend_login_failures", 0)]);
}
