//! The suite on the simulated network, perfect and unkind, and what only a simulation promises.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Fake, FakeNet, FakePeer, Faults, PeerRead};
use crate::base::{Address, Time};
use crate::io::suite::{Harness, Peer, Read};
use crate::io::{BufferSizes, CloseMode, Driver, Event, RecvMode, Token};

/// Peers on the simulated network; `SEED` 0 is a network without faults.
struct Simulated<const SEED: u64> {
    driver: Fake,
    other: Option<Fake>,
    buffers: BufferSizes,
    net: FakeNet,
    peers: Vec<FakePeer>,
    ports: u16,
}

impl<const SEED: u64> Simulated<SEED> {
    fn add(&mut self, peer: FakePeer) -> Peer {
        self.peers.push(peer);
        Peer(self.peers.len() - 1)
    }

    fn address(&mut self) -> SocketAddr {
        self.ports += 1;
        SocketAddr::from(([127, 0, 0, 1], self.ports))
    }
}

impl<const SEED: u64> Harness for Simulated<SEED> {
    type Driver = Fake;

    fn new(buffers: BufferSizes) -> Self {
        let faults = if SEED == 0 { Faults::none() } else { Faults::all() };
        let (driver, net) = Fake::new(buffers, SEED, faults).unwrap();
        Self { driver, other: None, buffers, net, peers: Vec::new(), ports: 0 }
    }

    fn driver(&mut self) -> &mut Fake {
        &mut self.driver
    }

    fn swap(&mut self) {
        let other = self.other.take();
        let other = other.unwrap_or_else(|| Fake::beside(&self.net, self.buffers).unwrap());
        self.other = Some(std::mem::replace(&mut self.driver, other));
    }

    fn listen(&mut self, token: Token) -> Address {
        let address = self.address();
        self.driver.listen(address, token).unwrap();
        address.into()
    }

    fn dial(&mut self, address: &Address) -> Peer {
        let peer = self.net.dial(address.tcp().unwrap()).unwrap();
        self.add(peer)
    }

    fn serve(&mut self) -> Address {
        let address = self.address();
        self.net.serve(address);
        address.into()
    }

    fn accept(&mut self, address: &Address) -> Option<Peer> {
        let peer = self.net.accept(address.tcp().unwrap())?;
        Some(self.add(peer))
    }

    fn write(&mut self, peer: Peer, bytes: &[u8]) -> usize {
        self.net.write(self.peers[peer.0], bytes)
    }

    fn read(&mut self, peer: Peer, into: &mut [u8]) -> Read {
        match self.net.read(self.peers[peer.0], into) {
            PeerRead::Bytes(count) => Read::Bytes(count),
            PeerRead::Nothing => Read::Nothing,
            PeerRead::Eof => Read::Eof,
            PeerRead::Reset => Read::Reset,
        }
    }

    fn fin(&mut self, peer: Peer) {
        self.net.fin(self.peers[peer.0]);
    }

    fn reset(&mut self, peer: Peer) {
        self.net.reset(self.peers[peer.0]);
    }

    fn refusing(&mut self) -> Address {
        self.address().into()
    }

    fn crowded(&mut self) -> (Address, usize) {
        unreachable!("only unix sockets refuse to wait")
    }

    fn black_hole(&mut self) -> Address {
        let address = self.address();
        self.net.black_hole(address);
        address.into()
    }
}

mod without_faults {
    crate::io::suite::suite!(super::Simulated<0>);
}

mod with_faults_seed_1 {
    crate::io::suite::suite!(super::Simulated<1>);
}

mod with_faults_seed_2 {
    crate::io::suite::suite!(super::Simulated<2>);
}

/// What an echoing worker saw, in words, and the time it took.
fn story(seed: u64) -> (Vec<String>, Time) {
    let sizes = BufferSizes { small_count: 4, small_bytes: 64, ..BufferSizes::default() };
    let (mut driver, net) = Fake::new(sizes, seed, Faults::all()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    driver.listen(address, Token(1)).unwrap();
    let clients: Vec<_> = (0..5).map(|_| net.dial(address).unwrap()).collect();
    for client in &clients {
        assert_eq!(net.write(*client, &[b'x'; 500]), 500);
        net.fin(*client);
    }
    let (mut story, mut events, mut conns) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        driver.turn(Time::NEVER, &mut events).unwrap();
        if events.is_empty() {
            break;
        }
        for event in events.drain(..) {
            story.push(format!("{event:?}"));
            match event {
                Event::Accepted { conn, .. } => {
                    driver.set_token(conn, Token(conns.len() as u64));
                    driver.set_recv(conn, RecvMode::Small);
                    conns.push(conn);
                }
                Event::Received { token, chunk } => {
                    driver.send(conns[usize::try_from(token.0).unwrap()], chunk);
                }
                Event::Ended { token, .. } => {
                    let conn = conns[usize::try_from(token.0).unwrap()];
                    driver.close(conn, CloseMode::Flush(Duration::from_secs(1)));
                }
                Event::AcceptFailed { .. }
                | Event::Connected { .. }
                | Event::Drained { .. }
                | Event::Detached { .. }
                | Event::Woken => {}
            }
        }
    }
    for client in clients {
        assert_eq!(net.readable(client), 500);
        net.close(client);
    }
    assert_eq!(driver.stats().connections, 0);
    (story, driver.now())
}

#[test]
fn a_seed_tells_the_same_story_and_others_tell_others() {
    let stories = [1, 2, 3].map(story);
    assert_eq!(stories, [1, 2, 3].map(story));
    assert!(stories[0] != stories[1] && stories[1] != stories[2]);
    assert!(stories.iter().any(|(story, _)| story.iter().any(|line| line.contains("Drained"))));
}

#[test]
fn time_jumps_to_the_deadline_and_no_further() {
    let (mut driver, net) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
    let mut events = Vec::new();
    let hour = Duration::from_secs(3600);
    driver.turn(Time::ZERO + hour, &mut events).unwrap();
    assert_eq!(driver.now(), Time::ZERO + hour);
    net.advance(hour);
    assert_eq!(driver.now(), Time::ZERO + hour + hour);
    driver.turn(Time::NEVER, &mut events).unwrap();
    assert_eq!((events.len(), driver.now()), (0, Time::ZERO + hour + hour));
}

#[test]
fn links_are_forgotten_when_both_sides_are_done() {
    let (mut driver, net) = Fake::new(BufferSizes::default(), 1, Faults::none()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    driver.listen(address, Token(1)).unwrap();
    for _ in 0..100 {
        let peer = net.dial(address).unwrap();
        let mut events = Vec::new();
        driver.turn(Time::NEVER, &mut events).unwrap();
        let [Event::Accepted { conn, .. }] = events[..] else { panic!("{events:?}") };
        driver.close(conn, CloseMode::Now);
        net.close(peer);
    }
    assert_eq!(net.net.borrow().links.len(), 0);
}
