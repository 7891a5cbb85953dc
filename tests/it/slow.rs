//! Clients that do not read.
//!
//! Purpose: what they do not read waits in the backend, not in Weir, and nobody else waits with it.

use std::sync::OnceLock;
use std::time::Instant;

use weir_tests::{End, PATIENCE, Packets, RawClient, Script, echo};

use crate::fixture::{Bed, Setting, check_counters, wait};

on_both_drivers!(
    never_reads_64_mib,
    a_reset_stops_the_reply_at_the_server,
    never_reads_refusals,
    reads_64_mib_slowly,
    stalled_clients_stall_nobody,
    stalled_clients_go_away,
    half_closes_and_then_resets,
);

/// A server that answers the query `large` by one value of that many bytes.
fn large(bytes: usize) -> Script {
    // Built once: hundreds of sessions send it.
    let built: OnceLock<Vec<u8>> = OnceLock::new();
    Script::default().responding(move |talk, command| {
        if command != b"\x03large" {
            return echo(talk, command);
        }
        talk.send_counted(built.get_or_init(|| reply(talk.reply(), bytes)))
    })
}

fn reply(packets: Packets, bytes: usize) -> Vec<u8> {
    packets.result_set([vec![b'v'; bytes]]).bytes()
}

fn never_reads_64_mib(driver: &str) {
    let mut bed = Setting::default().script(large(64 << 20)).start(driver);
    let before = bed.weir.resident_kib().unwrap();
    let mut client = bed.narrow_client();
    client.send_query("large").unwrap();
    wait_until_stalled(&mut bed, 1 << 20);
    let grown = bed.weir.resident_kib().unwrap().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more for one client that does not read");
    assert!(bed.server.counts().sent < 32 << 20, "the rest waits at the server");
    drop(client);
    let totals = bed.finish(&[("client_faults", 1), ("backend_faults", 0)]);
    assert!(totals["back_pressure_pauses"] > 0, "{totals:?}");
}

fn a_reset_stops_the_reply_at_the_server(driver: &str) {
    let mut bed = Setting::default().script(large(64 << 20)).start(driver);
    let mut client = bed.narrow_client();
    client.send_query("large").unwrap();
    wait_until_stalled(&mut bed, 1 << 20);
    client.reset().unwrap();
    bed.wait_counts("the server to give up", |counts| counts.open == 1);
    let sent = bed.server.counts().sent;
    assert!(sent < 32 << 20, "{sent} bytes were taken for nobody");
    bed.finish(&[("client_faults", 1), ("backend_faults", 0)]);
}

fn never_reads_refusals(driver: &str) {
    const SENT_MAX: usize = 64 << 20;
    let mut bed = Bed::start(driver);
    let before = bed.weir.resident_kib().unwrap();
    let mut client = bed.narrow_client();
    // Each is answered by an error six times as long.
    let commands = [1, 0, 0, 0, 0x2F].repeat(10_000);
    let sent = client.send_until_stalled(&commands, SENT_MAX).unwrap();
    assert!(sent < SENT_MAX, "{sent} bytes of commands were taken");
    bed.check_witness();
    let grown = bed.weir.resident_kib().unwrap().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more for one client that does not read");
    client.reset().unwrap();
    bed.finish(&[("backend_faults", 0)]);
}

fn half_closes_and_then_resets(driver: &str) {
    let mut bed = Setting::default().script(large(8 << 20)).start(driver);
    let mut client = bed.narrow_client();
    client.send_query("large").unwrap();
    // Weir has been told that this client sends no more; nothing more will be.
    client.finish_sending().unwrap();
    wait_until_stalled(&mut bed, 1 << 20);
    client.reset().unwrap();
    bed.finish(&[("backend_faults", 0)]);
}

/// Their resets reach Weir while a send waits and a receive is armed, in either order.
fn stalled_clients_go_away(driver: &str) {
    const CLIENTS: usize = 200;
    let mut bed = Setting::default().script(large(1 << 20)).start(driver);
    let mut clients: Vec<RawClient> = (0..CLIENTS).map(|_| bed.narrow_client()).collect();
    for client in &mut clients {
        client.send_query("large").unwrap();
    }
    wait_until_stalled(&mut bed, CLIENTS * (64 << 10));
    drop(clients);
    bed.finish(&[("client_faults", CLIENTS as u64), ("backend_faults", 0)]);
}

fn reads_64_mib_slowly(driver: &str) {
    let bytes = 64 << 20;
    let bed = Setting::default().script(large(bytes)).start(driver);
    let before = bed.weir.resident_kib().unwrap();
    let mut client = bed.client();
    client.send_query("large").unwrap();
    let expected = reply(Packets::new(1, client.capabilities), bytes);
    let mut most = 0;
    for piece in expected.chunks(1 << 20) {
        client.expect(piece).unwrap();
        most = most.max(bed.weir.resident_kib().unwrap());
    }
    let grown = most.saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB more for one large result");
    drop(client);
    bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
}

fn stalled_clients_stall_nobody(driver: &str) {
    const CLIENTS: usize = 500;
    let setting = Setting::default()
        .script(large(1 << 20))
        .limit("worker_buffer_bytes", 8 << 20)
        .limit("large_buffers_max", 16);
    let mut bed = setting.start(driver);
    let before = bed.weir.resident_kib().unwrap();
    let mut clients: Vec<RawClient> = (0..CLIENTS).map(|_| bed.narrow_client()).collect();
    for client in &mut clients {
        client.send_query("large").unwrap();
    }
    // The witness is answered all the while.
    wait_until_stalled(&mut bed, CLIENTS * (64 << 10));
    // What a session gets in before it can be held back: a multishot receive takes up to 32
    // buffers of 8 KiB at once, the other driver reads four times in each of two turns. Then there
    // are the budget of 8 MiB, 16 large buffers of 256 KiB, and the sessions themselves.
    let overshoot_kib = if driver == "io_uring" { 32 * 8 } else { 2 * 4 * 8 };
    let allowed_kib = CLIENTS as u64 * overshoot_kib + (8 << 10) + 16 * 256 + (16 << 10);
    let grown = bed.weir.resident_kib().unwrap().saturating_sub(before);
    assert!(grown < allowed_kib, "{grown} KiB more for {CLIENTS} clients that do not read");
    // One of them changes its mind and gets everything.
    let mut client = clients.pop().unwrap();
    let expected = reply(Packets::new(1, client.capabilities), 1 << 20);
    client.expect(&expected).unwrap();
    client.echo("SELECT 'goes on'").unwrap();
    // The others still do not read, and are cut.
    bed.weir.terminate().unwrap();
    assert_eq!(bed.witness.closed().unwrap(), End::Eof);
    bed.weir.terminate().unwrap();
    drop((client, clients));
    bed.weir.wait_clean(PATIENCE).unwrap();
    let totals = check_counters(&bed.weir, &[("backend_faults", 0)]);
    assert_eq!(totals["sessions_closed"], totals["clients_accepted"]);
    assert!(totals["back_pressure_pauses"] >= 400, "{totals:?}");
}

/// Statements of the witness, each answered in bounded time, until the server has sent `sent_min`
/// bytes and can send no more.
fn wait_until_stalled(bed: &mut Bed, sent_min: usize) {
    let mut last = 0;
    let mut same = 0;
    wait("the server to be held back", || {
        for _ in 0..10 {
            let start = Instant::now();
            bed.check_witness();
            assert!(start.elapsed() < PATIENCE / 6, "the witness waited {:?}", start.elapsed());
        }
        let sent = bed.server.counts().sent;
        same = if sent == last && sent >= sent_min { same + 1 } else { 0 };
        last = sent;
        same > 20
    });
}
