//! Much data, slow readers, modes.

use super::{Harness, Policy, Read, World, pattern};
use crate::io::{BufferSizes, Driver, RecvMode};

/// Bytes the driver may queue for one side before the test's worker pauses the other.
const UNSENT_MAX: usize = 1024 * 1024;

pub(in crate::io) fn much_data_in_small_buffers<H: Harness>() {
    relay::<H>(RecvMode::Small);
}

pub(in crate::io) fn much_data_in_large_buffers<H: Harness>() {
    relay::<H>(RecvMode::Large);
}

/// 64 MiB from a client through the driver to a server, with back-pressure.
fn relay<H: Harness>(mode: RecvMode) {
    let mut world = World::<H>::new();
    let (from, source, client) = world.open(mode);
    let (to, sink, server) = world.connect(RecvMode::Paused);
    // Everything that comes from the client goes to the server.
    world.policy = Policy::Echo;
    world.conns.insert(from.0, sink);
    let block = pattern(1024 * 1024, 9);
    let total = 64 * block.len();
    let (mut written, mut read, mut sum) = (0, 0, 0u64);
    let mut into = vec![0; 256 * 1024];
    world.until("everything went through", |world| {
        let at = written % block.len();
        if written < total {
            written += world.h.write(client, &block[at..]);
        }
        // The server reads slower than the client writes, now and then.
        while let Read::Bytes(count) = world.h.read(server, &mut into) {
            for (offset, byte) in into[..count].iter().enumerate() {
                sum += u64::from(*byte != block[(read + offset) % block.len()]);
            }
            read += count;
        }
        let paused = world.driver().unsent_bytes(sink) > UNSENT_MAX;
        world.driver().set_recv(source, if paused { RecvMode::Paused } else { mode });
        read == total
    });
    assert_eq!(sum, 0, "bytes were changed or moved");
    assert!(!world.ended.contains_key(&to.0));
    world.conns.insert(from.0, source);
    world.conns.insert(to.0, sink);
    world.finish();
}

pub(in crate::io) fn a_slow_reader_blocks_and_drains<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.open(RecvMode::Small);
    let block = pattern(256 * 1024, 5);
    let mut sent = Vec::new();
    world.until("the send queue is full", |world| {
        if world.driver().unsent_bytes(conn) == 0 {
            world.driver().send_copy(conn, &block);
            sent.extend_from_slice(&block);
        }
        world.turn();
        world.driver().unsent_bytes(conn) > 0
    });
    assert!(world.stats().spilled_bytes > 0);
    for n in 0..100u8 {
        let piece = pattern(usize::from(n) * 50, u64::from(n));
        world.driver().send_copy(conn, &piece);
        sent.extend_from_slice(&piece);
        if n % 7 == 0 {
            world.driver().send_owned(conn, piece.clone());
            sent.extend_from_slice(&piece);
        }
        if n % 10 == 0 {
            world.turn();
        }
    }
    world.settle();
    assert!(world.drained.is_empty(), "drained although the peer has not read");
    world.read_exact(peer, &sent);
    world.until("drained", |world| world.drained == [token.0]);
    assert_eq!((world.driver().unsent_bytes(conn), world.stats().spilled_bytes), (0, 0));
    // Usable as before.
    world.driver().send_copy(conn, b"after");
    world.read_exact(peer, b"after");
    world.finish();
}

pub(in crate::io) fn stalled_readers_hold_no_small_buffers<H: Harness>() {
    let mut world = World::<H>::new();
    let readers: Vec<_> = (0..50).map(|_| world.open(RecvMode::Small)).collect();
    let (feeder, _, feed) = world.connect(RecvMode::Small);
    world.policy = Policy::Hold;
    let block = pattern(8192, 6);
    let mut sent = vec![0; readers.len()];
    // Fill every socket, sending received memory.
    let filler = pattern(512 * 1024, 7);
    for (n, (_, conn, _)) in readers.iter().enumerate() {
        world.until("the send queue is full", |world| {
            if world.driver().unsent_bytes(*conn) == 0 {
                world.driver().send_copy(*conn, &filler);
                sent[n] += filler.len();
            }
            world.turn();
            world.driver().unsent_bytes(*conn) > 0
        });
        world.write_all(feed, &block);
        world.expect(feeder, &block);
        for chunk in std::mem::take(&mut world.held) {
            sent[n] += chunk.len();
            world.driver().send(*conn, chunk);
        }
    }
    world.settle();
    let stats = world.stats();
    assert_eq!(stats.small_buffers_free, stats.small_buffers);
    assert!(stats.spilled_bytes > 0);
    // Others are served as if nothing was the matter.
    world.policy = Policy::Echo;
    world.write_all(feed, b"still there?");
    world.read_exact(feed, b"still there?");
    let (_, conn, peer) = readers[17];
    let mut total = 0;
    let mut into = vec![0; 65536];
    world.until("one of them reads after all", |world| {
        while let Read::Bytes(count) = world.h.read(peer, &mut into) {
            total += count;
        }
        total == sent[17]
    });
    world.until("its queue is empty", |world| world.driver().unsent_bytes(conn) == 0);
    assert_eq!(world.drained.last(), Some(&readers[17].0.0));
    world.finish();
}

pub(in crate::io) fn paused_receives_no_more_than_overshoot<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.open(RecvMode::Small);
    world.write_all(peer, b"before");
    world.expect(token, b"before");
    world.driver().set_recv(conn, RecvMode::Paused);
    world.settle();
    let much = pattern(300_000, 8);
    let mut written = world.h.write(peer, &much);
    world.settle();
    // The pause had taken effect: nothing is overshoot.
    assert_eq!(world.received(token).len(), 0);
    world.driver().set_recv(conn, RecvMode::Small);
    world.until("the rest arrived", |world| {
        written += world.h.write(peer, &much[written..]);
        world.received(token).len() == much.len()
    });
    assert!(world.received(token) == much);
    world.finish();
}

pub(in crate::io) fn every_change_of_mode<H: Harness>() {
    const MODES: [RecvMode; 3] = [RecvMode::Paused, RecvMode::Small, RecvMode::Large];
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.open(RecvMode::Paused);
    let mut sent = Vec::new();
    for first in MODES {
        for second in MODES {
            for third in MODES {
                // Turns between changes or none; bytes before, between and after.
                for turns in 0..8 {
                    let mut step = |world: &mut World<H>, mode, bit: usize| {
                        world.driver().set_recv(conn, mode);
                        if turns & bit != 0 {
                            world.turn();
                        }
                        let bytes = pattern(bit * 11 + turns, sent.len() as u64);
                        let written = world.h.write(peer, &bytes);
                        sent.extend_from_slice(&bytes[..written]);
                    };
                    step(&mut world, first, 1);
                    step(&mut world, second, 2);
                    step(&mut world, third, 4);
                }
            }
        }
        world.driver().set_recv(conn, RecvMode::Small);
        let all = sent.len();
        world.until("the bytes arrived", |world| world.received(token).len() == all);
    }
    assert!(world.received(token) == sent);
    world.finish();
}

pub(in crate::io) fn large_falls_back_to_small<H: Harness>() {
    let sizes = BufferSizes { large_count_max: 1, ..BufferSizes::default() };
    let mut world = World::<H>::with_buffers(sizes);
    world.policy = Policy::Hold;
    let conns = [0; 3].map(|_| world.open(RecvMode::Large));
    let bytes = pattern(100_000, 10);
    for (token, _, peer) in conns {
        world.write_all(peer, &bytes);
        world.expect(token, &bytes);
    }
    assert!(world.stats().large_buffers_used <= 1);
    world.held.clear();
    for (token, _, peer) in conns {
        world.write_all(peer, &bytes);
        world.expect(token, &bytes);
    }
    world.finish();
}
