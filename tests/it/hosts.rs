//! Addresses that only break handshakes.
//!
//! Purpose: they are turned away for a while, as servers do it, and nobody else is.

use weir_tests::RawClient;

use crate::fixture::{Bed, Setting, account, wait};

on_both_drivers!(
    too_many_in_a_row_block,
    a_block_ends,
    a_login_that_succeeds_forgives,
    wrong_passwords_do_not_count,
    zero_blocks_nobody,
);

/// Handshakes that end in every way but well.
fn abort(bed: &Bed, count: usize) {
    for way in 0..count {
        let mut client = bed.connect();
        let greeting = client.greeting().unwrap();
        let request = account().request(&greeting);
        match way % 4 {
            0 => drop(client),
            1 => client.reset().unwrap(),
            2 => client.send(&request[..20]).unwrap(),
            _ => {
                // Out of order.
                client.send_packet(7, b"?").unwrap();
                drop(client.rest());
            }
        }
    }
    bed.wait_descriptors();
}

fn is_blocked(bed: &Bed) -> bool {
    let mut client = bed.connect();
    let (seq, payload) = client.packet().unwrap();
    let blocked = payload.first() == Some(&0xFF);
    if blocked {
        // In place of a greeting: no SQLSTATE.
        let text = b"\xFF\x69\x04Host '127.0.0.1' is blocked because of many connection errors";
        assert_eq!((seq, payload.as_slice()), (0, &text[..]));
        client.closed().unwrap();
    }
    blocked
}

fn too_many_in_a_row_block(driver: &str) {
    let bed = Setting::default().limit("host_errors_max", 8).start(driver);
    abort(&bed, 8);
    for _ in 0..3 {
        assert!(is_blocked(&bed));
    }
    assert_eq!(bed.server.counts().logins, 1, "none of it reached the server");
    bed.finish(&[("hosts_blocked", 1), ("clients_refused", 3), ("backend_connects", 1)]);
}

fn a_block_ends(driver: &str) {
    let setting = Setting::default().limit("host_errors_max", 8).limit("host_block_ms", 200);
    let bed = setting.start(driver);
    for _ in 0..2 {
        abort(&bed, 8);
        wait("the block to end", || RawClient::log_in(bed.weir.address(), &account()).is_ok());
    }
    bed.finish(&[("hosts_blocked", 2), ("bugs", 0)]);
}

fn a_login_that_succeeds_forgives(driver: &str) {
    let bed = Setting::default().limit("host_errors_max", 8).start(driver);
    for _ in 0..4 {
        abort(&bed, 7);
        bed.client().echo("SELECT 1").unwrap();
    }
    bed.finish(&[("hosts_blocked", 0), ("clients_refused", 0)]);
}

fn wrong_passwords_do_not_count(driver: &str) {
    let bed = Setting::default().limit("host_errors_max", 3).start(driver);
    for _ in 0..10 {
        let mut login = account();
        login.password = "wrong".to_owned();
        assert!(RawClient::log_in(bed.weir.address(), &login).is_err());
    }
    assert!(!is_blocked(&bed));
    bed.finish(&[("hosts_blocked", 0), ("logins_denied", 10)]);
}

fn zero_blocks_nobody(driver: &str) {
    let bed = Setting::default().limit("host_errors_max", 0).start(driver);
    abort(&bed, 120);
    assert!(!is_blocked(&bed));
    bed.finish(&[("hosts_blocked", 0)]);
}
