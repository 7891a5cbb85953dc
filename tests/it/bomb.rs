//! A few hundred bytes that stand for many megabytes.
//!
//! Purpose: what is compressed is decoded no faster than the other side takes it, in bounded memory,
//! and all of it arrives when that side goes on.

use weir::wire::compress::Algorithm;
use weir::wire::{Capabilities, Status};
use weir_tests::{Next, Packets, RawClient, Script, Talk, echo};

use crate::fixture::{Bed, Setting, account, gate};

on_both_drivers!(a_clients_bomb_waits_for_the_server, a_servers_bomb_waits_for_the_client);

/// Payload of one packet: with its header the most that one envelope can hold.
const PAYLOAD_BYTES: usize = 0xFF_FFFF - 4;
const BOMBS: usize = 8;
/// What buffers explain, on each side of Weir; the bombs together are 128 MiB.
const GROWTH_KIB_MAX: u64 = 16 << 10;
const ZSTD: Algorithm = Algorithm::Zstd { level: 3 };

/// An envelope that holds `head`, zeros up to `plain_bytes` without the tail, and `tail`.
fn envelope(seq: u8, head: &[u8], plain_bytes: usize, tail: &[u8]) -> Vec<u8> {
    // Magic number, a frame of unknown size, a window of 128 KiB.
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x38];
    let header = |last: usize, kind: usize, bytes: usize| {
        let [a, b, c, ..] = (last | kind << 1 | bytes << 3).to_le_bytes();
        [a, b, c]
    };
    frame.extend(header(0, 0, head.len()));
    frame.extend(head);
    let mut zeros = plain_bytes - head.len() - tail.len();
    while zeros > 0 {
        // A run of one byte: four bytes for 128 KiB.
        let run = zeros.min(128 << 10);
        frame.extend(header(0, 1, run));
        frame.push(0);
        zeros -= run;
    }
    frame.extend(header(1, 0, tail.len()));
    frame.extend(tail);
    let [a, b, c, ..] = frame.len().to_le_bytes();
    let [x, y, z, ..] = plain_bytes.to_le_bytes();
    [&[a, b, c, seq, x, y, z], &frame[..]].concat()
}

/// Memory of Weir while a witness is answered again and again, compared to before.
fn check_growth(bed: &mut Bed, before: u64) {
    for _ in 0..200 {
        bed.check_witness();
        let grown = bed.weir.resident_kib().unwrap().saturating_sub(before);
        assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more");
    }
}

fn a_clients_bomb_waits_for_the_server(driver: &str) {
    let (open, opened) = gate();
    let script = Script::default().responding(move |talk, command| {
        if command == b"\x03wait" {
            opened();
        }
        if command.len() < PAYLOAD_BYTES {
            return echo(talk, command);
        }
        assert!(command[1..].iter().all(|byte| *byte == 0));
        let ok = talk.reply().ok().bytes();
        talk.send(&ok)
    });
    let mut bed = Setting::default().script(script).start(driver);
    let login = account().with_compression(ZSTD);
    let mut client = RawClient::log_in(bed.weir.address(), &login).unwrap();
    let commands = bed.server.counts().commands;
    client.send_query("wait").unwrap();
    bed.wait_counts("the command that waits", |counts| counts.commands > commands);
    let before = bed.weir.resident_kib().unwrap();
    let [a, b, c, ..] = PAYLOAD_BYTES.to_le_bytes();
    let bomb = envelope(0, &[a, b, c, 0, 3], PAYLOAD_BYTES + 4, &[]);
    assert!(bomb.len() < 1000, "{} bytes", bomb.len());
    client.send_compressed(&bomb.repeat(BOMBS)).unwrap();
    // Its end comes behind them, and is not seen before they are.
    client.send_packet(0, b"\x01").unwrap();
    client.finish_sending().unwrap();
    check_growth(&mut bed, before);
    open.send(()).unwrap();
    client.expect(&client.echoed("wait")).unwrap();
    let ok = Packets::new(1, client.capabilities).ok().bytes();
    for _ in 0..BOMBS {
        client.expect(&ok).unwrap();
    }
    client.closed().unwrap();
    let totals = bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
    assert!(totals["uncompressed_bytes_received"] > (BOMBS * PAYLOAD_BYTES) as u64);
    assert!(totals["compressed_bytes_received"] < 64 << 10);
}

/// Rows of zeros, each in one envelope.
fn bombs(talk: &mut Talk<'_>) -> std::io::Result<Next> {
    let head = Packets::new(1, talk.capabilities).rows([b""; 0]);
    let mut seq = head.next_seq();
    talk.send(&head.bytes())?;
    let mut envelope_seq = 2;
    let [a, b, c, ..] = PAYLOAD_BYTES.to_le_bytes();
    for _ in 0..BOMBS {
        talk.send_compressed(&envelope(envelope_seq, &[a, b, c, seq], PAYLOAD_BYTES + 4, &[]))?;
        (seq, envelope_seq) = (seq + 1, envelope_seq + 1);
    }
    let end = Packets::new(seq, talk.capabilities).end(Status::AUTOCOMMIT).bytes();
    talk.send_compressed(&envelope(envelope_seq, &end, end.len(), &[]))
}

fn a_servers_bomb_waits_for_the_client(driver: &str) {
    let script = Script::default();
    let capabilities = script.capabilities.union(Capabilities::ZSTD);
    let script = Script { capabilities, ..script }.responding(move |talk, command| {
        if command == b"\x03bombs" { bombs(talk) } else { echo(talk, command) }
    });
    let mut bed = Setting::default().script(script).backend("compression = \"zstd\"").start(driver);
    let mut client = bed.narrow_client();
    let before = bed.weir.resident_kib().unwrap();
    client.send_query("bombs").unwrap();
    bed.wait_counts("the bombs to be sent", |counts| counts.sent > BOMBS * 512);
    check_growth(&mut bed, before);
    let head = Packets::new(1, client.capabilities).rows([b""; 0]);
    let mut seq = head.next_seq();
    client.expect(&head.bytes()).unwrap();
    for _ in 0..BOMBS {
        let (found, payload) = client.packet().unwrap();
        assert_eq!((found, payload.len()), (seq, PAYLOAD_BYTES));
        assert!(payload.iter().all(|byte| *byte == 0));
        seq += 1;
    }
    let end = Packets::new(seq, client.capabilities).end(Status::AUTOCOMMIT);
    client.expect(&end.bytes()).unwrap();
    client.echo("SELECT 'goes on'").unwrap();
    drop(client);
    let totals = bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
    assert!(totals["back_pressure_pauses"] > 0, "{totals:?}");
}
