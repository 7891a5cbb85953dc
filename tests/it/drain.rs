//! Stopping.
//!
//! Purpose: SIGTERM loses no work that fits in the deadline, and a second one does not wait.

use std::time::{Duration, Instant};

use weir_tests::{End, PATIENCE, RawClient};

use crate::fixture::{Bed, Setting, account, check_counters, gated};

on_both_drivers!(
    idle_sessions_close_and_busy_ones_finish,
    an_open_transaction_finishes,
    the_deadline_cuts,
    a_second_signal_ends_at_once,
);

const LONG_MS: u32 = 600_000;

/// A Weir that was told to stop while a client waits for an answer.
fn stopping(driver: &str, drain_timeout_ms: u32) -> (Bed, RawClient, std::sync::mpsc::Sender<()>) {
    let (script, gate) = gated();
    let mut setting = Setting::default().script(script);
    setting.drain_timeout_ms = drain_timeout_ms;
    let mut bed = setting.start(driver);
    let mut busy = bed.client();
    busy.send_query("wait").unwrap();
    bed.wait_counts("the command", |counts| counts.commands >= 2);
    bed.weir.terminate().unwrap();
    // The witness is idle.
    assert_eq!(bed.witness.closed().unwrap(), End::Eof);
    (bed, busy, gate)
}

/// Checks that it ends with exit code 0.
fn ended(mut bed: Bed, counters: &[(&str, u64)]) {
    bed.weir.wait_clean(PATIENCE).unwrap();
    check_counters(&bed.weir, counters);
}

fn idle_sessions_close_and_busy_ones_finish(driver: &str) {
    let (mut bed, mut busy, gate) = stopping(driver, LONG_MS);
    assert!(RawClient::log_in(bed.weir.address(), &account()).is_err(), "nobody new comes in");
    assert!(bed.weir.is_running().unwrap());
    gate.send(()).unwrap();
    let expected = busy.echoed("wait");
    busy.expect(&expected).unwrap();
    assert_eq!(busy.closed().unwrap(), End::Eof);
    ended(bed, &[("drain_closed", 2), ("limit_faults", 0), ("backend_faults", 0)]);
}

fn an_open_transaction_finishes(driver: &str) {
    use weir::wire::Status;
    use weir_tests::{Packets, Script};
    // `BEGIN` opens a transaction, everything else ends it.
    let status = |sql: &[u8]| match sql {
        b"\x03BEGIN" | b"\x03work" => Status::AUTOCOMMIT.with(Status::IN_TRANS),
        _ => Status::AUTOCOMMIT,
    };
    let answer = move |packets: Packets, sql: &[u8]| packets.rows([sql]).end(status(sql)).bytes();
    let script =
        Script::default().responding(move |talk, sql| talk.send(&answer(talk.reply(), sql)));
    let mut setting = Setting::default().script(script);
    setting.drain_timeout_ms = LONG_MS;
    // The witness's check expects an echo; here answers carry the command's byte as well.
    let mut bed = setting.start_without_check(driver);
    let mut client = bed.client();
    let mut run = |sql: &str| {
        client.send_query(sql).unwrap();
        let command = [b"\x03", sql.as_bytes()].concat();
        let expected = answer(Packets::new(1, client.capabilities), &command);
        client.expect(&expected).unwrap();
    };
    run("BEGIN");
    bed.weir.terminate().unwrap();
    assert_eq!(bed.witness.closed().unwrap(), End::Eof);
    run("work");
    run("COMMIT");
    assert_eq!(client.closed().unwrap(), End::Eof);
    ended(bed, &[("drain_closed", 2), ("limit_faults", 0)]);
}

fn the_deadline_cuts(driver: &str) {
    let (bed, mut busy, _gate) = stopping(driver, 500);
    let error = busy.error().unwrap();
    assert_eq!((error.seq, error.code), (1, 1053));
    assert_eq!(error.text, "Server shutdown in progress");
    assert_eq!(busy.closed().unwrap(), End::Eof);
    ended(bed, &[("drain_closed", 1), ("limit_faults", 1)]);
}

fn a_second_signal_ends_at_once(driver: &str) {
    let (mut bed, mut busy, _gate) = stopping(driver, LONG_MS);
    bed.weir.terminate().unwrap();
    let start = Instant::now();
    assert_eq!(busy.error().unwrap().code, 1053);
    busy.closed().unwrap();
    ended(bed, &[("drain_closed", 1), ("limit_faults", 1)]);
    assert!(start.elapsed() < Duration::from_millis(LONG_MS.into()) / 10);
}
