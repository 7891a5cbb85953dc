//! What walking the frames of a query and its reply costs: `cargo bench -p weir-benches`.
//!
//! Purpose: nanoseconds per command and per reply of the code every relayed byte passes.
//! Never: measure a walk that ended early; each one is checked before it is timed.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir::wire::reply::{Dialect, Expect, ReplyEvent, ReplyWalk};
use weir::wire::request::{RequestEvent, RequestWalk};
use weir::wire::{Capabilities, Command, Edits, Status};
use weir_benches::answers::{Answers, Encoding};
use weir_benches::login::Profile;
use weir_benches::protocol::put_frame;

/// Walks one whole reply; true if it ended exactly at its end.
fn walk_reply(walk: &mut ReplyWalk, reply: &mut [u8], edits: &mut Edits) -> bool {
    edits.clear();
    walk.begin(Expect::Query);
    let length = reply.len();
    walk.feed(reply, edits).is_ok_and(|walked| {
        walked.used == length && walked.event == Some(ReplyEvent::End { failed: false })
    })
}

fn replies(criterion: &mut Criterion) {
    let modern = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);
    let classic = modern.without(modern);
    let mut group = criterion.benchmark_group("reply");
    for (name, client) in [("relayed", modern), ("translated to EOF", classic)] {
        for size in [Answers::small(Encoding::Text), 4096, 16 << 10, 1 << 20] {
            let Ok(reply) = Answers::result(Encoding::Text, Profile::Modern, size) else {
                continue;
            };
            let mut walk = ReplyWalk::new(Dialect { client, backend: modern }, Status(2));
            let mut edits = Edits::default();
            let mut input = reply.clone();
            assert!(walk_reply(&mut walk, &mut input, &mut edits), "{name}, {size} bytes");
            group.throughput(Throughput::Bytes(reply.len() as u64));
            let id = BenchmarkId::new(name, reply.len());
            // Translating rewrites sequence ids in place: every walk gets the headers as they came.
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    restore(&mut input, &reply);
                    walk_reply(&mut walk, black_box(&mut input), &mut edits)
                });
            });
        }
    }
    group.finish();
}

/// Undoes what a walk rewrote: only the ends of a reply hold headers.
fn restore(input: &mut [u8], reply: &[u8]) {
    const ENDS: usize = 64;
    let tail = reply.len().saturating_sub(ENDS);
    for range in [0..ENDS.min(reply.len()), tail..reply.len()] {
        if let (Some(to), Some(from)) = (input.get_mut(range.clone()), reply.get(range)) {
            to.copy_from_slice(from);
        }
    }
}

/// Walks as many commands as `input` holds; returns how many.
fn walk_commands(walk: &mut RequestWalk, input: &mut [u8], edits: &mut Edits) -> usize {
    edits.clear();
    let mut rest = input;
    let mut commands = 0;
    while !rest.is_empty() {
        let Ok(walked) = walk.feed(rest, edits) else { return 0 };
        if walked.event == Some(RequestEvent::Command(Some(Command::Query))) {
            commands += 1;
            walk.relay();
        }
        rest = rest.get_mut(walked.used..).unwrap_or_default();
    }
    commands
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    for pipelined in [1, 16] {
        let mut input = Vec::new();
        for _ in 0..pipelined {
            let sql = b"\x03SELECT c FROM sbtest1 WHERE id=4711";
            assert!(put_frame(&mut input, 0, sql).is_ok());
        }
        let mut walk = RequestWalk::default();
        let mut edits = Edits::default();
        assert_eq!(walk_commands(&mut walk, &mut input, &mut edits), pipelined);
        group.throughput(Throughput::Elements(pipelined as u64));
        group.bench_function(BenchmarkId::new("point select, pipelined", pipelined), |bencher| {
            bencher.iter(|| walk_commands(&mut walk, black_box(&mut input), &mut edits));
        });
    }
    group.finish();
}

criterion_group!(benches, replies, requests);
criterion_main!(benches);
