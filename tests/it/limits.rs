//! Limits of number and time.
//!
//! Purpose: who comes after the last one is told so as servers tell it, and room that becomes free
//! is used again.

use weir_tests::{Login, RawClient};

use crate::fixture::{Bed, Setting, account, wait};

on_both_drivers!(
    clients,
    clients_of_all_workers,
    clients_of_one_address,
    handshakes,
    half_open_handshakes_give_way,
    pipelining_before_the_login,
);

/// The next client is turned away.
fn turned_away(bed: &Bed) {
    let mut client = bed.connect();
    let (seq, payload) = client.packet().unwrap();
    // In place of a greeting: no SQLSTATE, which clients would show as text.
    assert_eq!(payload, b"\xFF\x10\x04Too many connections");
    assert_eq!(seq, 0);
    client.closed().unwrap();
}

fn clients(driver: &str) {
    let bed = Setting::default().limit("clients_max", 3).start(driver);
    let mut first = bed.client();
    let second = bed.client();
    for _ in 0..5 {
        turned_away(&bed);
    }
    drop(second);
    wait("room", || RawClient::log_in(bed.weir.address(), &account()).is_ok());
    first.echo("SELECT 1").unwrap();
    drop(first);
    bed.finish(&[("backend_faults", 0), ("client_faults", 0)]);
}

/// As many clients as fit log in, whichever worker they come to; a place that becomes free is used
/// again, and those who never log in hold one as well.
fn clients_of_all_workers(driver: &str) {
    let mut setting = Setting::default().limit("clients_total_max", 8);
    setting.workers = 3;
    let bed = setting.start(driver);
    let mut clients: Vec<RawClient> = (0..5).map(|_| bed.client()).collect();
    let mut half_open: Vec<RawClient> = (0..2).map(|_| bed.connect()).collect();
    for client in &mut half_open {
        client.greeting().unwrap();
    }
    for _ in 0..12 {
        turned_away(&bed);
    }
    half_open.pop();
    wait("room", || RawClient::log_in(bed.weir.address(), &account()).is_ok());
    for client in &mut clients {
        client.echo("SELECT 1").unwrap();
    }
    drop((clients, half_open));
    bed.finish(&[("backend_faults", 0)]);
}

fn clients_of_one_address(driver: &str) {
    let mut setting = Setting::default().limit("clients_per_address_max", 3);
    setting.workers = 3;
    let bed = setting.start(driver);
    let first = bed.client();
    let mut second = bed.client();
    for _ in 0..12 {
        let mut client = bed.connect();
        let (_, payload) = client.packet().unwrap();
        assert_eq!(payload, b"\xFF\x10\x04Too many connections from '127.0.0.1'");
        client.closed().unwrap();
    }
    drop(first);
    wait("room", || RawClient::log_in(bed.weir.address(), &account()).is_ok());
    second.echo("SELECT 1").unwrap();
    drop(second);
    bed.finish(&[("backend_faults", 0), ("client_faults", 0)]);
}

fn handshakes(driver: &str) {
    let bed = Setting::default().limit("handshakes_max", 4).start(driver);
    let mut half_open: Vec<RawClient> = (0..4).map(|_| bed.connect()).collect();
    let greetings: Vec<_> = half_open.iter_mut().map(|client| client.greeting().unwrap()).collect();
    turned_away(&bed);
    // One finishes its login, which makes room for one.
    let (client, greeting) = (&mut half_open[0], &greetings[0]);
    client.send(&account().request(greeting)).unwrap();
    assert_eq!(client.packet().unwrap().1[0], 0);
    let mut fourth = bed.connect();
    fourth.greeting().unwrap();
    turned_away(&bed);
    // One gives up.
    drop(half_open.pop());
    wait("room", || RawClient::log_in(bed.weir.address(), &account()).is_ok());
    drop((half_open, fourth));
    bed.finish(&[("backend_faults", 0), ("client_faults", 0)]);
}

fn half_open_handshakes_give_way(driver: &str) {
    let bed =
        Setting::default().limit("handshakes_max", 4).limit("login_timeout_ms", 2000).start(driver);
    let mut half_open: Vec<RawClient> = (0..4).map(|_| bed.connect()).collect();
    for client in &mut half_open {
        client.greeting().unwrap();
    }
    // Every one of them ends by itself; nobody has to leave.
    for client in &mut half_open {
        assert_eq!(client.error().unwrap().code, 1159);
        client.closed().unwrap();
    }
    bed.client().echo("SELECT 1").unwrap();
    bed.finish(&[("login_timeouts", 4), ("client_faults", 4)]);
}

fn pipelining_before_the_login(driver: &str) {
    let bed = Bed::start(driver);
    // What comes with the login request is answered after it, up to a bound.
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    let login: Login = account();
    client.capabilities = login.capabilities.intersection(greeting.capabilities);
    let mut bytes = login.request(&greeting).to_vec();
    bytes.extend(RawClient::query_packet("SELECT 'early'"));
    client.send(&bytes).unwrap();
    assert_eq!(client.packet().unwrap().1[0], 0);
    let expected = client.echoed("SELECT 'early'");
    client.expect(&expected).unwrap();
    drop(client);

    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    let mut bytes = login.request(&greeting).to_vec();
    bytes.resize(1 << 20, 0);
    // The rest may not be taken any more.
    drop(client.send(&bytes));
    drop(client.rest());
    bed.finish(&[("client_faults", 1)]);
}
