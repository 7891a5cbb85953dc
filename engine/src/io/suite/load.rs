//! Many connections, few buffers.

use super::{Harness, Policy, Read, World, pattern};
use crate::io::{BufferSizes, CloseMode, Driver, RecvMode};

pub(in crate::io) fn a_tiny_pool_starves_and_recovers<H: Harness>() {
    let sizes = BufferSizes { small_count: 8, small_bytes: 512, ..BufferSizes::default() };
    let mut world = World::<H>::with_buffers(sizes);
    world.policy = Policy::Hold;
    let conns: Vec<_> = (0..200).map(|_| world.open(RecvMode::Small)).collect();
    let bytes = pattern(1500, 1);
    for (_, _, peer) in &conns {
        assert_eq!(world.h.write(*peer, &bytes), bytes.len());
    }
    world.until("the pool is dry", |world| world.stats().starvations > 0);
    world.settle();
    assert_eq!(world.stats().small_buffers_free, 0, "held chunks cannot be free");
    world.policy = Policy::Collect;
    world.until("everybody's bytes arrived", |world| {
        world.held.pop();
        conns.iter().all(|(token, _, _)| world.received(*token).len() == bytes.len())
    });
    for (token, _, _) in &conns {
        assert!(world.received(*token) == bytes);
    }
    // Forwarding under starvation: the buffers come back with the sends.
    world.policy = Policy::Echo;
    for (_, _, peer) in &conns {
        assert_eq!(world.h.write(*peer, &bytes), bytes.len());
    }
    for (_, _, peer) in &conns {
        world.read_exact(*peer, &bytes);
    }
    world.finish();
}

pub(in crate::io) fn a_thousand_connections<H: Harness>() {
    let mut world = World::<H>::new();
    world.policy = Policy::Echo;
    let conns: Vec<_> = (0..1000).map(|_| world.open(RecvMode::Small)).collect();
    for round in 0..3u64 {
        let questions: Vec<Vec<u8>> =
            (0..1000).map(|n| pattern(40 + n % 300, round * 1000 + n as u64)).collect();
        for ((_, _, peer), question) in conns.iter().zip(&questions) {
            assert_eq!(world.h.write(*peer, question), question.len());
        }
        for ((_, _, peer), question) in conns.iter().zip(&questions) {
            world.read_exact(*peer, question);
        }
    }
    assert_eq!(world.stats().connections, 1000);
    world.finish();
}

pub(in crate::io) fn slots_are_reused<H: Harness>() {
    let mut world = World::<H>::new();
    let mut index_max = 0;
    for round in 0..300u64 {
        let (token, conn, peer) = world.open(RecvMode::Small);
        index_max = index_max.max(conn.index);
        let bytes = pattern(100, round);
        world.write_all(peer, &bytes);
        world.expect(token, &bytes);
        world.driver().send_copy(conn, &bytes);
        let close = if round % 2 == 0 {
            world.read_exact(peer, &bytes);
            CloseMode::Now
        } else {
            CloseMode::Flush(std::time::Duration::from_secs(60))
        };
        world.driver().close(conn, close);
        world.conns.remove(&token.0);
        assert!(matches!(world.read_end(peer), Read::Eof | Read::Reset));
        world.h.reset(peer);
    }
    assert!(index_max < 20, "{index_max} slots for one connection at a time");
    world.finish();
}

pub(in crate::io) fn busy_peers_share<H: Harness>() {
    let mut world = World::<H>::new();
    let (flood, _, flooder) = world.open(RecvMode::Small);
    let (token, _, peer) = world.open(RecvMode::Small);
    let block = pattern(64 * 1024, 2);
    for _ in 0..50 {
        // The flooder's socket is never empty; the other one gets through nevertheless.
        world.h.write(flooder, &block);
        world.write_all(peer, b"me too");
        let before = world.received(token).len();
        let mut turns = 0;
        world.until("the other one is heard", |world| {
            world.h.write(flooder, &block);
            turns += 1;
            world.received(token).len() > before
        });
        assert!(turns < 100, "{turns} turns");
    }
    assert!(!world.received(flood).is_empty());
    world.finish();
}
