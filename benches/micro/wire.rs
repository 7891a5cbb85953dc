//! What each query costs in `wire`: `cargo bench -p weir-benches`.
//!
//! Purpose: nanoseconds of the codecs on the path of a query, on bytes captured from a server.
//! Never: stand in for `bench`; user-space work is a small part of a query.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::wire::{Capabilities, Command, LoginRequest, OkPacket, frame};

/// The OK of an INSERT with its session trackers, as MariaDB 10.11 sends it.
const INSERT_OK: &[u8] = include_bytes!("../../engine/testdata/mariadb-10.11/insert-new.bin");
/// The login of a current client.
const LOGIN: &[u8] = include_bytes!("../../engine/testdata/mariadb-10.11/login.bin");

/// A capture's only payload.
fn payload(capture: &[u8]) -> &[u8] {
    capture.get(4..).unwrap_or_default()
}

fn commands(criterion: &mut Criterion) {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    let mut group = criterion.benchmark_group("command");
    group.throughput(Throughput::Elements(256));
    group.bench_function("from_byte, all 256", |bencher| {
        bencher
            .iter(|| black_box(&bytes).iter().filter_map(|byte| Command::from_byte(*byte)).count());
    });
    group.finish();
}

fn packets(criterion: &mut Criterion) {
    let modern = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);
    let classic = modern.without(modern);
    // A refusal would be fast, and not what is to be measured.
    assert!(OkPacket::parse(payload(INSERT_OK), modern).is_ok_and(|ok| !ok.trackers.is_empty()));
    assert!(LoginRequest::parse(payload(LOGIN)).is_ok());
    let mut group = criterion.benchmark_group("packet");
    group.bench_function("OK with trackers, parse", |bencher| {
        bencher.iter(|| OkPacket::parse(black_box(payload(INSERT_OK)), modern));
    });
    group.bench_function("OK with trackers, parse and walk them", |bencher| {
        bencher.iter(|| {
            let ok = OkPacket::parse(black_box(payload(INSERT_OK)), modern);
            ok.map_or(0, |ok| ok.trackers().filter(Result::is_ok).count())
        });
    });
    let mut out = BytesMut::with_capacity(4096);
    group.bench_function("OK with trackers, rewrite for a client without them", |bencher| {
        bencher.iter(|| {
            out.clear();
            if let Ok(ok) = OkPacket::parse(black_box(payload(INSERT_OK)), modern) {
                ok.encode(classic, 1, &mut out);
            }
            out.len()
        });
    });
    group.bench_function("login request, parse", |bencher| {
        bencher.iter(|| LoginRequest::parse(black_box(payload(LOGIN))));
    });
    group.bench_function("frame of 100 bytes, write", |bencher| {
        bencher.iter(|| {
            out.clear();
            frame(&mut out, 0, |body| body.extend_from_slice(black_box(&[7; 100])));
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, commands, packets);
criterion_main!(benches);
