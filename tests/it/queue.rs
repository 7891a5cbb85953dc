//! Sessions that wait for their backend.
//!
//! Purpose: a storm of clients reaches the server a few at a time, nobody is lost in the line, and
//! nobody stands in it for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_tests::{Admit, RawClient};

use crate::fixture::{Bed, Setting, account, wait};

on_both_drivers!(
    logins_on_a_server_take_turns,
    a_turn_that_does_not_come,
    connections_of_a_server_are_bounded,
    a_connection_that_does_not_become_free,
    who_leaves_the_line_takes_nothing_along,
    too_many_wait_for_a_connection,
    too_many_wait_for_their_turn,
);

/// The server answers no login until the flag is set.
fn hold(bed: &Bed) -> Arc<AtomicBool> {
    let open = Arc::new(AtomicBool::new(false));
    let flag = open.clone();
    bed.server.change(|script| script.admit = Admit::Held(flag));
    open
}

/// A client that has sent its login and has no answer yet.
fn entering(bed: &Bed) -> RawClient {
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    client.capabilities = account().capabilities.intersection(greeting.capabilities);
    client.send(&account().request(&greeting)).unwrap();
    client
}

fn enter(client: &mut RawClient) {
    let (seq, payload) = client.packet().unwrap();
    assert_eq!((seq, payload.first()), (2, Some(&0)), "{payload:02x?}");
    client.echo("SELECT 'in'").unwrap();
}

fn logins_on_a_server_take_turns(driver: &str) {
    let bed = Setting::default().limit("backend_handshakes_max", 4).start(driver);
    let open = hold(&bed);
    let mut clients: Vec<RawClient> = (0..20).map(|_| entering(&bed)).collect();
    bed.wait_counts("as many logins as may be", |counts| counts.logging_in == 4);
    open.store(true, Ordering::SeqCst);
    clients.iter_mut().for_each(enter);
    assert_eq!(bed.server.counts().logging_in_max, 4);
    drop(clients);
    let counters = bed.finish(&[("logins_ok", 21), ("backend_logins", 21), ("limit_faults", 0)]);
    // The last ones may have come when there was room again.
    assert!(counters["backend_waits"] <= 16, "{counters:?}");
    assert!(counters["backend_waits"] > 0, "{counters:?}");
}

fn a_turn_that_does_not_come(driver: &str) {
    let limits = [("backend_handshakes_max", 1), ("lease_wait_ms", 300)];
    let setting = Setting { limits: limits.to_vec(), ..Setting::default() };
    let bed = setting.limit("connect_timeout_ms", 60_000).start(driver);
    let open = hold(&bed);
    let mut first = entering(&bed);
    bed.wait_counts("a login in progress", |counts| counts.logging_in == 1);
    let mut second = entering(&bed);
    let error = second.error().unwrap();
    assert_eq!((error.seq, error.code), (2, 1040));
    assert_eq!(
        error.text,
        format!(
            "weir: backend {}: too many logins are in progress (backend_handshakes_max) within 300 \
             ms; try again",
            bed.server.address()
        )
    );
    second.closed().unwrap();
    open.store(true, Ordering::SeqCst);
    enter(&mut first);
    bed.client().echo("SELECT 1").unwrap();
    drop(first);
    bed.finish(&[("backend_wait_timeouts", 1), ("backend_waits", 1), ("limit_faults", 1)]);
}

/// Three connections, of which the witness has one.
fn three_connections() -> Setting {
    let backend_keys = vec![("connections_max", 3)];
    Setting { workers: 2, backend_keys, ..Setting::default() }
}

fn connections_of_a_server_are_bounded(driver: &str) {
    let bed = three_connections().start(driver);
    let mut served = vec![bed.client(), bed.client()];
    let mut waiting: Vec<RawClient> = (0..10).map(|_| entering(&bed)).collect();
    // Whichever worker they are on: each one that leaves lets one in, and never more.
    for _ in 0..10 {
        drop(served.remove(0));
        let mut entered = None;
        wait("somebody to be let in", || {
            entered = waiting.iter_mut().position(|client| client.has_answer().unwrap());
            entered.is_some()
        });
        let mut client = waiting.remove(entered.unwrap());
        enter(&mut client);
        served.push(client);
        let counts = bed.server.counts();
        // The server may not have noticed yet that the one before has left.
        assert!(counts.logins <= 13, "{counts:?}");
    }
    assert_eq!(bed.server.counts().logins, 13);
    drop(served);
    bed.finish(&[("backend_waits", 10), ("backend_wait_timeouts", 0), ("limit_faults", 0)]);
}

fn a_connection_that_does_not_become_free(driver: &str) {
    let bed = three_connections().limit("lease_wait_ms", 300).start(driver);
    let mut served = vec![bed.client(), bed.client()];
    for _ in 0..3 {
        let mut client = entering(&bed);
        let error = client.error().unwrap();
        assert_eq!((error.seq, error.code), (2, 1040));
        let expected = format!(
            "weir: backend {}: no connection of connections_max became free within 300 ms; try again",
            bed.server.address()
        );
        assert_eq!(error.text, expected);
        client.closed().unwrap();
    }
    served.pop();
    wait("room", || RawClient::log_in(bed.weir.address(), &account()).is_ok());
    for client in &mut served {
        client.echo("SELECT 1").unwrap();
    }
    drop(served);
    bed.finish(&[("backend_faults", 0), ("bugs", 0)]);
}

fn who_leaves_the_line_takes_nothing_along(driver: &str) {
    let bed = three_connections().limit("backend_handshakes_max", 1).start(driver);
    let served = [bed.client(), bed.client()];
    // Some wait for a permit and go away, in order and not.
    for n in 0..8 {
        let client = entering(&bed);
        if n % 2 == 0 { drop(client) } else { client.reset().unwrap() }
    }
    drop(served);
    // Two permits are free again. Now some wait for their turn and go away.
    wait("room", || RawClient::log_in(bed.weir.address(), &account()).is_ok());
    let open = hold(&bed);
    let mut first = entering(&bed);
    bed.wait_counts("a login in progress", |counts| counts.logging_in == 1);
    for n in 0..8 {
        let client = entering(&bed);
        if n % 2 == 0 { drop(client) } else { client.reset().unwrap() }
    }
    open.store(true, Ordering::SeqCst);
    enter(&mut first);
    drop(first);
    let mut clients = [bed.client(), bed.client()];
    for client in &mut clients {
        client.echo("SELECT 1").unwrap();
    }
    drop(clients);
    bed.finish(&[("backend_wait_timeouts", 0), ("bugs", 0)]);
}

fn check_full(bed: &Bed, client: &mut RawClient, max: usize) {
    let error = client.error().unwrap();
    assert_eq!((error.seq, error.code), (2, 1040));
    let expected = format!(
        "weir: backend {}: {max} others wait for a connection (lease_waiters_max); try again",
        bed.server.address()
    );
    assert_eq!(error.text, expected);
    client.closed().unwrap();
}

/// At once, although those who wait could do so for a minute.
fn too_many_wait_for_a_connection(driver: &str) {
    let limits = vec![("lease_waiters_max", 2), ("lease_wait_ms", 60_000)];
    let bed = Setting { limits, ..three_connections() }.start(driver);
    let mut served = vec![bed.client(), bed.client()];
    let mut first = vec![entering(&bed), entering(&bed)];
    wait("both to wait", || {
        let metrics = bed.weir.metrics().unwrap();
        metrics.value("weir_backend_waits_total", &[]).unwrap() >= 2.0
    });
    for _ in 0..3 {
        check_full(&bed, &mut entering(&bed), 2);
    }
    // One who is served makes room for one who waits.
    served.pop();
    let mut entered = None;
    wait("somebody to be let in", || {
        entered = first.iter_mut().position(|client| client.has_answer().unwrap());
        entered.is_some()
    });
    enter(&mut first.remove(entered.unwrap()));
    drop((served, first));
    let counters = bed.finish(&[("backend_waits_refused", 3), ("backend_wait_timeouts", 0)]);
    assert!(counters["limit_faults"] == 3, "{counters:?}");
}

fn too_many_wait_for_their_turn(driver: &str) {
    let limits =
        vec![("lease_waiters_max", 1), ("lease_wait_ms", 60_000), ("backend_handshakes_max", 1)];
    let bed = Setting { limits, ..Setting::default() }.start(driver);
    let open = hold(&bed);
    let mut first = entering(&bed);
    bed.wait_counts("a login in progress", |counts| counts.logging_in == 1);
    let mut second = entering(&bed);
    wait("the second to wait", || {
        let metrics = bed.weir.metrics().unwrap();
        metrics.value("weir_backend_waits_total", &[]).unwrap() >= 1.0
    });
    check_full(&bed, &mut entering(&bed), 1);
    open.store(true, Ordering::SeqCst);
    enter(&mut first);
    enter(&mut second);
    drop((first, second));
    bed.finish(&[("backend_waits_refused", 1), ("limit_faults", 1)]);
}
