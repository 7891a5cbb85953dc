//! Connections that change drivers.

use super::{Harness, Policy, Read, World, pattern};
use crate::io::{CloseMode, Driver, RecvMode};

/// And come back, with nothing lost in between.
pub(in crate::io) fn a_connection_changes_drivers<H: Harness>() {
    for mode in [RecvMode::Small, RecvMode::Large, RecvMode::Paused] {
        let mut world = World::<H>::new();
        world.policy = Policy::Echo;
        let (mut token, mut conn, peer) = world.connect(mode);
        for number in 0..4 {
            let bytes = pattern(30_000, number);
            world.driver().set_recv(conn, RecvMode::Small);
            world.write_all(peer, &bytes);
            world.read_exact(peer, &bytes);
            world.driver().set_recv(conn, mode);
            let socket = world.detach(token, conn).expect("nothing arrived");
            assert_eq!(world.stats().connections, 0);
            world.driver().send_copy(conn, b"not its own any more");
            world.driver().close(conn, CloseMode::Now);
            world.settle();
            world.h.swap();
            token = world.token();
            conn = world.driver().adopt(socket, token).expect("nothing arrived");
            world.conns.insert(token.0, conn);
        }
        world.driver().set_recv(conn, mode);
        world.h.fin(peer);
        if mode != RecvMode::Paused {
            world.until("it ended", |world| world.ended.contains_key(&token.0));
        }
        world.finish();
    }
}

pub(in crate::io) fn what_has_left_is_all_that_was_queued<H: Harness>() {
    for bytes in [pattern(10, 1), pattern(5 * 1024 * 1024, 2)] {
        let mut world = World::<H>::new();
        let (token, conn, peer) = world.connect(RecvMode::Small);
        world.driver().send_copy(conn, &bytes);
        world.driver().detach(conn);
        world.read_exact(peer, &bytes);
        world.until("it left", |world| world.detached.contains_key(&token.0));
        assert!(world.detached[&token.0].is_some());
        world.finish();
    }
}

pub(in crate::io) fn what_arrives_keeps_a_connection_here<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.connect(RecvMode::Small);
    // It cannot go before this has left.
    let bytes = pattern(16 * 1024 * 1024, 3);
    world.driver().send_copy(conn, &bytes);
    world.until("it is stuck", |world| {
        world.turn();
        world.driver().unsent_bytes(conn) > 0
    });
    world.driver().detach(conn);
    world.settle();
    world.write_all(peer, b"too early");
    world.settle();
    world.read_exact(peer, &bytes);
    world.until("it is decided", |world| world.detached.contains_key(&token.0));
    assert!(world.detached.remove(&token.0).unwrap().is_none());
    world.expect(token, b"too early");
    // It works as before, and may go later.
    world.policy = Policy::Echo;
    world.write_all(peer, b"again");
    world.read_exact(peer, b"again");
    let socket = world.detach(token, conn);
    assert!(socket.is_some());
    // The same for an end.
    let token = world.token();
    let conn = world.driver().adopt(socket.unwrap(), token).expect("nothing arrived");
    world.conns.insert(token.0, conn);
    world.driver().set_recv(conn, RecvMode::Small);
    world.h.fin(peer);
    world.until("it ended", |world| world.ended.contains_key(&token.0));
    assert!(world.detach(token, conn).is_none());
    world.finish();
}

pub(in crate::io) fn what_arrives_on_the_way_closes_it<H: Harness>() {
    for ends in [false, true] {
        let mut world = World::<H>::new();
        let (token, conn, peer) = world.connect(RecvMode::Small);
        let socket = world.detach(token, conn).expect("nothing arrived");
        if ends {
            world.h.fin(peer);
        } else {
            world.write_all(peer, b"too late");
        }
        world.settle();
        world.h.swap();
        let token = world.token();
        assert!(world.driver().adopt(socket, token).is_none());
        assert_eq!(world.stats().connections, 0);
        assert!(matches!(world.read_end(peer), Read::Eof | Read::Reset));
        world.settle();
        assert!(world.got.is_empty() && world.ended.is_empty());
        world.finish();
    }
}

pub(in crate::io) fn nobody_takes_it<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.connect(RecvMode::Small);
    drop(world.detach(token, conn).expect("nothing arrived"));
    assert!(matches!(world.read_end(peer), Read::Eof | Read::Reset));
    world.finish();
}

pub(in crate::io) fn closing_while_leaving<H: Harness>() {
    for close in [CloseMode::Now, CloseMode::Flush(std::time::Duration::from_secs(60))] {
        for queued in [&b""[..], b"farewell"] {
            let mut world = World::<H>::new();
            let (_, conn, peer) = world.connect(RecvMode::Small);
            world.driver().send_copy(conn, queued);
            world.driver().detach(conn);
            world.driver().close(conn, close);
            if close != CloseMode::Now {
                world.read_exact(peer, queued);
                assert_eq!(world.read_end(peer), Read::Eof);
                world.h.fin(peer);
            }
            world.until("it is closed", |world| world.stats().connections == 0);
            assert!(world.detached.is_empty(), "an event after close");
            world.finish();
        }
    }
}
