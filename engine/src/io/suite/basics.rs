//! Bytes in, bytes out, wake-ups.

use std::time::Duration;

use super::{Harness, Policy, World, pattern};
use crate::base::{Address, Time};
use crate::io::{Driver, RecvMode, Token};

pub(in crate::io) fn echo<H: Harness>() {
    let mut world = World::<H>::new();
    world.policy = Policy::Echo;
    let (_, _, client) = world.open(RecvMode::Small);
    let (_, _, server) = world.connect(RecvMode::Large);
    for round in 0..20 {
        let bytes = pattern(1 + round * 37, round as u64);
        for peer in [client, server] {
            world.write_all(peer, &bytes);
            world.read_exact(peer, &bytes);
        }
    }
    world.finish();
}

pub(in crate::io) fn pieces_keep_their_order<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.open(RecvMode::Small);
    world.policy = Policy::Hold;
    let payload = pattern(5000, 1);
    world.write_all(peer, &payload);
    world.expect(token, &payload);
    let mut sent = Vec::new();
    for (n, chunk) in std::mem::take(&mut world.held).into_iter().enumerate() {
        let header = pattern(4 + n, 100 + n as u64);
        sent.extend_from_slice(&header);
        sent.extend_from_slice(&chunk);
        sent.extend_from_slice(b"tail");
        world.driver().send_copy(conn, &header);
        world.driver().send(conn, chunk);
        world.driver().send_copy(conn, b"ta");
        world.driver().send_copy(conn, b"il");
        let owned = pattern(3000 + n, 200 + n as u64);
        sent.extend_from_slice(&owned);
        world.driver().send_owned(conn, owned);
    }
    world.driver().send_copy(conn, b"");
    world.driver().send_owned(conn, Vec::new());
    assert_eq!(world.driver().unsent_bytes(conn), sent.len());
    world.read_exact(peer, &sent);
    assert_eq!(world.driver().unsent_bytes(conn), 0);
    world.finish();
}

pub(in crate::io) fn many_pieces_in_one_turn<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.open(RecvMode::Small);
    world.policy = Policy::Hold;
    let payload = pattern(7000, 3);
    world.write_all(peer, &payload);
    world.expect(token, &payload);
    let mut sent = Vec::new();
    // More than fit into one scatter list, and small ones before and after.
    for mut chunk in std::mem::take(&mut world.held) {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(10));
            sent.extend_from_slice(&piece);
            sent.push(b'.');
            world.driver().send(conn, piece);
            world.driver().send_copy(conn, b".");
        }
    }
    world.read_exact(peer, &sent);
    let few = pattern(30, 4);
    for piece in few.chunks(7) {
        world.driver().send_copy(conn, piece);
    }
    world.read_exact(peer, &few);
    world.finish();
}

pub(in crate::io) fn edited_in_place_and_split<H: Harness>() {
    let mut world = World::<H>::new();
    let (token, conn, peer) = world.open(RecvMode::Small);
    world.policy = Policy::Hold;
    world.write_all(peer, b"headerpayload");
    world.expect(token, b"headerpayload");
    let mut whole: Vec<_> = std::mem::take(&mut world.held);
    // Arrives in one piece or several; edit the byte that is the `p` wherever it lies.
    let mut at = 0;
    for mut chunk in whole.drain(..) {
        let len = chunk.len();
        if (at..at + len).contains(&6) {
            let head = chunk.split_to(6 - at);
            chunk[0] = b'P';
            world.driver().send(conn, head);
        }
        at += len;
        world.driver().send(conn, chunk);
    }
    world.read_exact(peer, b"headerPayload");
    world.finish();
}

pub(in crate::io) fn tokens_can_change<H: Harness>() {
    let mut world = World::<H>::new();
    let (old, conn, peer) = world.open(RecvMode::Small);
    world.write_all(peer, b"one");
    world.expect(old, b"one");
    let new = Token(77_777);
    world.driver().set_token(conn, new);
    world.write_all(peer, b"two");
    world.expect(new, b"two");
    world.finish();
}

pub(in crate::io) fn the_peer_has_an_address<H: Harness>() {
    let mut world = World::<H>::new();
    let (_, client, _) = world.open(RecvMode::Paused);
    let address = world.driver().peer_address(client).expect("a peer that is there");
    assert!(address.ip().is_loopback() && address.port() != 0, "{address}");
    let own = world.driver().local_address(client).expect("an address of its own");
    assert_eq!(Some(Address::Tcp(own)), world.address);
    world.finish();
}

pub(in crate::io) fn a_unix_peer_has_no_address<H: Harness>() {
    let mut world = World::<H>::new();
    let (_, client, _) = world.open(RecvMode::Paused);
    assert_eq!(world.driver().peer_address(client), None);
    assert_eq!(world.driver().local_address(client), None);
    world.finish();
}

pub(in crate::io) fn woken_from_another_thread<H: Harness>() {
    let mut world = World::<H>::new();
    for round in 1..=20 {
        let waker = world.driver().waker();
        let mut thread = Some(std::thread::spawn(move || waker.wake()));
        let mut turns = 0;
        world.until("woken", |world| {
            // The wake meets a sleeping driver if there is one; simulated turns do not sleep.
            turns += 1;
            if turns > 3
                && let Some(thread) = thread.take()
            {
                thread.join().unwrap();
            }
            world.woken == round
        });
    }
    world.finish();
}

pub(in crate::io) fn wakes_before_a_turn_count_once<H: Harness>() {
    let mut world = World::<H>::new();
    let waker = world.driver().waker();
    for _ in 0..100 {
        waker.clone().wake();
    }
    world.until("woken", |world| world.woken > 0);
    world.settle();
    assert_eq!(world.woken, 1);
    waker.wake();
    world.until("woken again", |world| world.woken == 2);
    world.finish();
}

pub(in crate::io) fn a_turn_ends_at_its_deadline<H: Harness>() {
    let mut world = World::<H>::new();
    let mut events = Vec::new();
    for wait in [0, 1, 300, 2500] {
        let deadline = world.driver().now() + Duration::from_micros(wait);
        world.driver().turn(deadline, &mut events).unwrap();
        assert!(world.driver().now() >= deadline, "woke early");
    }
    assert!(events.is_empty());
    world.finish();
}

pub(in crate::io) fn sends_before_connected_go_out_after_it<H: Harness>() {
    let mut world = World::<H>::new();
    let address = world.h.serve();
    let token = world.token();
    let conn = world.driver().connect(&address, token, Time::NEVER);
    world.conns.insert(token.0, conn);
    world.driver().send_copy(conn, b"first ");
    world.until("connected", |world| world.connected.contains(&token.0));
    world.driver().send_copy(conn, b"second");
    let mut peer = None;
    world.until("the peer accepts", |world| {
        peer = world.h.accept(&address);
        peer.is_some()
    });
    world.read_exact(peer.unwrap(), b"first second");
    world.until("all is taken", |world| world.driver().unsent_bytes(conn) == 0);
    world.finish();
}
