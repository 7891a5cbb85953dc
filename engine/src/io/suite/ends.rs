//! How connections end, from either side.

use std::path::Path;
use std::time::Duration;

use super::{Harness, Policy, Read, World, pattern};
use crate::base::{Address, Time};
use crate::io::{CloseMode, Driver, EndReason, RecvMode};

const LONG: CloseMode = CloseMode::Flush(Duration::from_secs(60));

pub(in crate::io) fn eof_comes_after_the_data<H: Harness>() {
    for mode in [RecvMode::Small, RecvMode::Large] {
        let mut world = World::<H>::new();
        let (token, _, peer) = world.open(mode);
        let bytes = pattern(50_000, 1);
        world.write_all(peer, &bytes);
        world.h.fin(peer);
        world.until("it ended", |world| world.ended.contains_key(&token.0));
        assert_eq!(world.ended[&token.0], EndReason::Eof);
        assert!(world.received(token) == bytes, "the end came before the data");
        world.settle();
        world.finish();
    }
}

pub(in crate::io) fn after_eof_one_can_still_send<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.open(RecvMode::Small);
    world.h.fin(peer);
    world.until("it ended", |world| world.ended.contains_key(&token.0));
    let bytes = pattern(20_000, 2);
    world.driver().send_copy(conn, &bytes);
    world.read_exact(peer, &bytes);
    world.driver().close(conn, LONG);
    assert_eq!(world.read_end(peer), Read::Eof);
    world.finish();
}

pub(in crate::io) fn reset_is_reported<H: Harness>() {
    for mode in [RecvMode::Small, RecvMode::Large] {
        let mut world = World::<H>::new();
        let (token, _, peer) = world.open(mode);
        world.settle();
        world.h.reset(peer);
        world.until("it ended", |world| world.ended.contains_key(&token.0));
        assert_eq!(world.ended[&token.0], EndReason::Reset);
        world.finish();
    }
}

pub(in crate::io) fn refused_is_reported<H: Harness>() {
    let mut world = World::<H>::new();
    let address = world.h.refusing();
    let token = world.token();
    let conn = world.driver().connect(&address, token, Time::NEVER);
    world.conns.insert(token.0, conn);
    world.driver().set_recv(conn, RecvMode::Small);
    world.driver().send_copy(conn, b"into the void");
    world.until("it ended", |world| world.ended.contains_key(&token.0));
    assert_eq!(world.ended[&token.0], EndReason::Refused);
    assert!(world.connected.is_empty());
    world.finish();
}

/// Connects to a unix socket do not wait in the kernel, and a server is not always quick to accept.
pub(in crate::io) fn a_full_backlog_is_waited_for<H: Harness>() {
    let mut world = World::<H>::new();
    let (address, fillers) = world.h.crowded();
    let connect = |world: &mut World<H>, deadline| {
        let token = world.token();
        let conn = world.driver().connect(&address, token, deadline);
        world.driver().send_copy(conn, b"patient");
        (token, conn)
    };
    let now = world.driver().now();
    let (patient, conn) = connect(&mut world, Time::NEVER);
    world.conns.insert(patient.0, conn);
    let (hasty, conn) = connect(&mut world, now + Duration::from_millis(30));
    world.conns.insert(hasty.0, conn);
    let (_, closed) = connect(&mut world, Time::NEVER);
    world.driver().close(closed, CloseMode::Now);
    let (_, flushed) = connect(&mut world, Time::NEVER);
    world.driver().close(flushed, LONG);
    world.until("one gave up", |world| world.ended.contains_key(&hasty.0));
    assert_eq!(world.ended[&hasty.0], EndReason::ConnectTimeout);
    assert!(world.connected.is_empty());
    let mut peers = Vec::new();
    world.until("all others arrived", |world| {
        peers.extend(world.h.accept(&address));
        peers.len() == fillers + 2
    });
    world.until("the one is connected", |world| world.connected == [patient.0]);
    for peer in peers.split_off(fillers) {
        world.read_exact(peer, b"patient");
        world.h.fin(peer);
    }
    assert_eq!(world.ended.len(), 1);
    world.finish();
}

pub(in crate::io) fn a_missing_file_is_reported<H: Harness>() {
    let mut world = World::<H>::new();
    let missing = Address::Unix(Path::new("/nowhere/at/all.sock").into());
    let long = Address::Unix(Path::new(&format!("/{}", "x".repeat(200))).into());
    for (address, errno) in [(missing, libc::ENOENT), (long, libc::ENAMETOOLONG)] {
        let token = world.token();
        let conn = world.driver().connect(&address, token, Time::NEVER);
        world.conns.insert(token.0, conn);
        world.until("it ended", |world| world.ended.contains_key(&token.0));
        assert_eq!(world.ended[&token.0], EndReason::Os(errno));
    }
    world.finish();
}

pub(in crate::io) fn connecting_times_out<H: Harness>() {
    let mut world = World::<H>::new();
    let address = world.h.black_hole();
    let token = world.token();
    let start = world.driver().now();
    let deadline = start + Duration::from_millis(80);
    let conn = world.driver().connect(&address, token, deadline);
    world.conns.insert(token.0, conn);
    world.driver().send_copy(conn, b"into the void");
    world.until("it ended", |world| world.ended.contains_key(&token.0));
    assert_eq!(world.ended[&token.0], EndReason::ConnectTimeout);
    assert!(world.driver().now() >= deadline, "gave up early");
    world.finish();
}

pub(in crate::io) fn a_send_to_a_gone_peer_ends<H: Harness>() {
    for mode in [RecvMode::Small, RecvMode::Large, RecvMode::Paused] {
        let mut world = World::<H>::new();
        let (token, conn, peer) = world.open(mode);
        world.h.reset(peer);
        world.until("it ended", |world| {
            world.driver().send_copy(conn, b"anybody?");
            world.ended.contains_key(&token.0)
        });
        assert_eq!(world.ended[&token.0], EndReason::Reset);
        world.driver().send_copy(conn, b"still?");
        world.settle();
        assert_eq!(world.driver().unsent_bytes(conn), 0);
        world.finish();
    }
}

pub(in crate::io) fn close_now_with_everything_in_flight<H: Harness>() {
    for mode in [RecvMode::Small, RecvMode::Large] {
        let mut world = World::<H>::new();
        let (_, conn, peer) = world.open(mode);
        let block = pattern(256 * 1024, 3);
        world.until("the send queue is full", |world| {
            if world.driver().unsent_bytes(conn) == 0 {
                world.driver().send_copy(conn, &block);
            }
            world.turn();
            world.driver().unsent_bytes(conn) > 0
        });
        world.driver().send_copy(conn, b"never seen");
        world.driver().close(conn, CloseMode::Now);
        assert_eq!(world.driver().unsent_bytes(conn), 0);
        world.until("it is closed", |world| world.stats().connections == 0);
        assert!(matches!(world.read_end(peer), Read::Eof | Read::Reset));
        assert!(world.ended.is_empty() && world.drained.is_empty());
        world.finish();
    }
}

pub(in crate::io) fn close_is_final<H: Harness>() {
    for close in [CloseMode::Now, LONG] {
        let mut world = World::<H>::new();
        let (token, conn, peer) = world.open(RecvMode::Small);
        world.write_all(peer, b"too late");
        world.driver().close(conn, close);
        world.driver().send_copy(conn, b"not sent");
        world.driver().set_recv(conn, RecvMode::Large);
        world.driver().close(conn, CloseMode::Now);
        world.settle();
        assert_eq!(world.received(token), b"");
        if close == LONG {
            assert_eq!(world.read_end(peer), Read::Eof);
        }
        world.h.reset(peer);
        world.until("it is closed", |world| world.stats().connections == 0);
        assert!(world.ended.is_empty());
        world.finish();
    }
}

pub(in crate::io) fn flush_delivers_everything<H: Harness>() {
    for len in [0, 10, 5 * 1024 * 1024] {
        let mut world = World::<H>::new();
        let (_, conn, peer) = world.open(RecvMode::Small);
        let bytes = pattern(len, 4);
        world.driver().send_copy(conn, &bytes);
        world.driver().close(conn, LONG);
        world.settle();
        assert_eq!(world.stats().connections, 1);
        world.read_exact(peer, &bytes);
        assert_eq!(world.read_end(peer), Read::Eof);
        world.h.fin(peer);
        world.until("it is closed", |world| world.stats().connections == 0);
        world.finish();
    }
}

pub(in crate::io) fn flush_survives_unread_input<H: Harness>() {
    let mut world = World::<H>::new();
    let (_, conn, peer) = world.open(RecvMode::Paused);
    // Closing with this unread would reset the connection, and the error could be lost.
    let question = pattern(200_000, 5);
    let mut asked = world.h.write(peer, &question);
    world.driver().send_copy(conn, b"the error");
    world.driver().close(conn, LONG);
    world.until("the peer has written", |world| {
        asked += world.h.write(peer, &question[asked..]);
        asked == question.len()
    });
    world.settle();
    world.read_exact(peer, b"the error");
    assert_eq!(world.read_end(peer), Read::Eof);
    world.h.fin(peer);
    world.until("it is closed", |world| world.stats().connections == 0);
    world.finish();
}

pub(in crate::io) fn flush_gives_up_at_its_limit<H: Harness>() {
    let mut world = World::<H>::new();
    // One peer does not read, the other does not close.
    for block in [pattern(16 * 1024 * 1024, 6), Vec::new()] {
        let (_, conn, _) = world.open(RecvMode::Small);
        world.driver().send_copy(conn, &block);
        world.driver().close(conn, CloseMode::Flush(Duration::from_millis(30)));
    }
    world.until("both are closed", |world| world.stats().connections == 0);
    world.finish();
}

pub(in crate::io) fn stopping_to_listen_refuses_clients<H: Harness>() {
    let mut world = World::<H>::new();
    let address = world.h.listen(crate::io::Token(5));
    let client = world.h.dial(&address);
    world.until("a client is accepted", |world| !world.accepted.is_empty());
    let conn = world.accepted.remove(0);
    let token = world.token();
    world.driver().set_token(conn, token);
    world.driver().set_recv(conn, RecvMode::Small);
    world.conns.insert(token.0, conn);
    world.driver().stop_listening();
    world.until("clients are refused", |world| {
        let token = world.token();
        let conn = world.driver().connect(&address, token, Time::NEVER);
        world.until("it is decided", |world| {
            world.connected.contains(&token.0) || world.ended.contains_key(&token.0)
        });
        world.driver().close(conn, CloseMode::Now);
        world.ended.get(&token.0) == Some(&EndReason::Refused)
    });
    world.policy = Policy::Echo;
    world.write_all(client, b"still served");
    world.read_exact(client, b"still served");
    world.finish();
}

pub(in crate::io) fn closing_while_connecting<H: Harness>() {
    let mut world = World::<H>::new();
    let hole = world.h.black_hole();
    let server = world.h.serve();
    for close in [CloseMode::Now, CloseMode::Flush(Duration::from_millis(20))] {
        for turns in [0, 3] {
            for bytes in [0, 50_000] {
                let token = world.token();
                let conn = world.driver().connect(&hole, token, Time::NEVER);
                world.driver().send_copy(conn, &pattern(bytes, 7));
                for _ in 0..turns {
                    world.turn();
                }
                world.driver().close(conn, close);
            }
        }
    }
    world.until("all are closed", |world| world.stats().connections == 0);
    assert!(world.ended.is_empty() && world.connected.is_empty());
    // With somebody there, what was queued still arrives.
    let token = world.token();
    let conn = world.driver().connect(&server, token, Time::NEVER);
    world.driver().send_copy(conn, b"farewell");
    world.driver().close(conn, LONG);
    let mut peer = None;
    world.until("the peer accepts", |world| {
        peer = world.h.accept(&server);
        peer.is_some()
    });
    let peer = peer.unwrap();
    world.read_exact(peer, b"farewell");
    assert_eq!(world.read_end(peer), Read::Eof);
    assert!(world.connected.is_empty(), "an event after close");
    world.h.fin(peer);
    world.finish();
}
