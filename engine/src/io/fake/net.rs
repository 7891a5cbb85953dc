//! The simulated network: two bounded pipes per connection, and the peers' side of them.
//!
//! Purpose: let a test or a simulator play clients and backends.
//! Never: sleep, or allocate past the pipes' bounds.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Weak;
use std::time::Duration;

use super::rng::Rng;
use crate::base::{Key, Slab, Time};

/// What the simulated network does to make life hard. The seed decides when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Bytes arrive cut at any place.
    pub cut_reads: bool,
    /// Sends are taken partly though there is room.
    pub short_sends: bool,
    /// Connections of one turn are served in any order.
    pub reorder: bool,
    /// Longest time until something that was sent, or a connect, takes effect.
    pub delay_max: Duration,
    /// Receives in a hundred that find no buffer.
    pub starve_percent: u8,
    /// Bytes each direction of a connection holds before the writer must wait.
    pub pipe_bytes: usize,
}

impl Faults {
    /// A perfect network that costs as few instructions as possible.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            cut_reads: false,
            short_sends: false,
            reorder: false,
            delay_max: Duration::ZERO,
            starve_percent: 0,
            pipe_bytes: 256 * 1024,
        }
    }

    /// Everything at once.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            cut_reads: true,
            short_sends: true,
            reorder: true,
            delay_max: Duration::from_micros(500),
            starve_percent: 5,
            pipe_bytes: 64 * 1024,
        }
    }
}

/// The other end of one of the driver's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FakePeer(Key);

/// What a peer's read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRead {
    /// Bytes read.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The driver finished sending.
    Eof,
    /// The driver closed with input unread, or the peer is gone itself.
    Reset,
}

/// Handle for the peers' side of the network. Clones are the same network.
#[derive(Clone, Debug)]
pub struct FakeNet {
    pub(super) net: Rc<RefCell<Net>>,
}

#[derive(Debug)]
pub(super) struct Net {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) links: Slab<Link>,
    /// Where the driver listens.
    listeners: HashMap<SocketAddr, Listening>,
    /// Where peers listen, with connections not yet taken.
    serving: HashMap<SocketAddr, VecDeque<Key>>,
    black_holes: Vec<SocketAddr>,
    /// For each driver.
    pub(super) notes: Vec<Notes>,
    /// Connections that no driver has.
    pub(super) loose: Vec<(Key, Weak<()>)>,
}

/// What peers did that one driver has not taken over yet.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Connections of the driver to look at, and when.
    pub(super) touched: Vec<(Time, Key)>,
    /// Listeners to look at, and when.
    pub(super) dialled: Vec<(Time, SocketAddr)>,
}

/// An address that drivers listen at.
#[derive(Debug, Default)]
struct Listening {
    /// Connections not yet taken.
    backlog: VecDeque<Key>,
    drivers: Vec<usize>,
}

/// What awaits a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Link(Key),
    Refused,
    Never,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Which driver has it, and its key there, once it has one.
    pub(super) conn: Option<(usize, Key)>,
    /// Peer to driver.
    pub(super) inbound: Pipe,
    /// Driver to peer.
    pub(super) outbound: VecDeque<u8>,
    pub(super) outbound_max: usize,
    /// The driver sent FIN.
    pub(super) driver_fin: bool,
    pub(super) driver_closed: bool,
    /// The driver closed with input unread: a reset.
    pub(super) driver_reset: bool,
    /// The peer is gone: sends find a reset.
    pub(super) peer_gone: bool,
    /// A reset came from the peer.
    pub(super) peer_reset: bool,
    pub(super) address: SocketAddr,
    /// Where the driver listens, if the peer came to it.
    pub(super) dialled: Option<SocketAddr>,
}

/// Bytes on their way, visible from a time on.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) bytes: VecDeque<u8>,
    max: usize,
    visible: usize,
    pending: VecDeque<(Time, usize)>,
    fin_at: Option<Time>,
    /// When everything written so far will be visible.
    pub(super) last: Time,
}

impl FakeNet {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let net = Net {
            now: Time::ZERO,
            rng: Rng::new(seed),
            faults,
            links: Slab::default(),
            listeners: HashMap::new(),
            serving: HashMap::new(),
            black_holes: Vec::new(),
            notes: Vec::new(),
            loose: Vec::new(),
        };
        Self { net: Rc::new(RefCell::new(net)) }
    }

    /// Connects a client to the driver; `None` when it does not listen there.
    #[must_use]
    pub fn dial(&self, address: SocketAddr) -> Option<FakePeer> {
        let mut net = self.net.borrow_mut();
        if !net.listeners.contains_key(&address) {
            return None;
        }
        let link = net.new_link()?;
        net.links.get_mut(link)?.dialled = Some(address);
        net.listeners.get_mut(&address)?.backlog.push_back(link);
        let at = net.soon();
        net.announce(address, at);
        Some(FakePeer(link))
    }

    /// Lets connections of the driver to `address` succeed. Unknown addresses refuse.
    pub fn serve(&self, address: SocketAddr) {
        self.net.borrow_mut().serving.entry(address).or_default();
    }

    /// Stops [`FakeNet::serve`]: `address` refuses.
    pub fn refuse(&self, address: SocketAddr) {
        let mut net = self.net.borrow_mut();
        net.serving.remove(&address);
        net.black_holes.retain(|hole| *hole != address);
    }

    /// Lets connections to `address` hang.
    pub fn black_hole(&self, address: SocketAddr) {
        self.net.borrow_mut().black_holes.push(address);
    }

    /// The peer's end of the driver's oldest connection to `address` not yet taken.
    #[must_use]
    pub fn accept(&self, address: SocketAddr) -> Option<FakePeer> {
        self.net.borrow_mut().serving.get_mut(&address)?.pop_front().map(FakePeer)
    }

    /// Writes as much as the connection holds; how much that was.
    pub fn write(&self, peer: FakePeer, bytes: &[u8]) -> usize {
        let mut net = self.net.borrow_mut();
        let at = net.soon();
        let Some(link) = net.links.get_mut(peer.0) else { return 0 };
        if link.driver_closed || link.peer_gone {
            return 0;
        }
        let (count, at) = link.inbound.write(bytes, at);
        if count > 0 {
            net.touch(peer.0, at);
        }
        count
    }

    /// Reads what the driver sent.
    #[must_use]
    pub fn read(&self, peer: FakePeer, into: &mut [u8]) -> PeerRead {
        let mut net = self.net.borrow_mut();
        let Some(link) = net.links.get_mut(peer.0) else { return PeerRead::Reset };
        if link.driver_reset || link.peer_gone {
            return PeerRead::Reset;
        }
        let count = take(&mut link.outbound, into);
        if count > 0 {
            let at = net.now;
            net.touch(peer.0, at);
            return PeerRead::Bytes(count);
        }
        if link.driver_fin { PeerRead::Eof } else { PeerRead::Nothing }
    }

    /// Bytes the driver sent that the peer has not read.
    #[must_use]
    pub fn readable(&self, peer: FakePeer) -> usize {
        self.net.borrow().links.get(peer.0).map_or(0, |link| link.outbound.len())
    }

    /// Finishes sending.
    pub fn fin(&self, peer: FakePeer) {
        let mut net = self.net.borrow_mut();
        let at = net.soon();
        let Some(link) = net.links.get_mut(peer.0) else { return };
        let at = link.inbound.finish(at);
        net.touch(peer.0, at);
    }

    /// Goes away with a reset; the peer's handle is stale from now on.
    pub fn reset(&self, peer: FakePeer) {
        let mut net = self.net.borrow_mut();
        let (at, lose) = (net.soon(), net.faults.cut_reads && net.rng.percent(50));
        let Some(link) = net.links.get_mut(peer.0) else { return };
        link.peer_gone = true;
        link.peer_reset = true;
        link.outbound.clear();
        if lose {
            link.inbound.clear();
        }
        let at = link.inbound.finish(at);
        net.touch(peer.0, at);
        net.drop_if_over(peer.0);
    }

    /// Goes away in order: FIN, and what the driver sends from now on finds a reset.
    pub fn close(&self, peer: FakePeer) {
        self.fin(peer);
        let mut net = self.net.borrow_mut();
        if let Some(link) = net.links.get_mut(peer.0) {
            link.peer_gone = true;
            link.outbound.clear();
        }
        net.drop_if_over(peer.0);
    }

    /// Lets time pass outside of turns.
    pub fn advance(&self, by: Duration) {
        let mut net = self.net.borrow_mut();
        net.now = net.now + by;
    }

    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.net.borrow().now
    }
}

impl Net {
    /// A time within the longest delay from now.
    pub(super) fn soon(&mut self) -> Time {
        let max = u64::try_from(self.faults.delay_max.as_nanos()).unwrap_or(u64::MAX);
        if max == 0 {
            return self.now;
        }
        self.now + Duration::from_nanos(self.rng.next() % max)
    }

    /// What a connect to `address` will find.
    pub(super) fn answer(&mut self, address: SocketAddr) -> Answer {
        if self.black_holes.contains(&address) {
            return Answer::Never;
        }
        if !self.serving.contains_key(&address) {
            return Answer::Refused;
        }
        let Some(link) = self.new_link() else { return Answer::Refused };
        if let Some(backlog) = self.serving.get_mut(&address) {
            backlog.push_back(link);
        }
        Answer::Link(link)
    }

    /// The driver is done with a link.
    pub(super) fn driver_close(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.driver_closed = true;
        link.driver_fin = true;
        if !link.inbound.bytes.is_empty() {
            link.driver_reset = true;
        }
        link.inbound.clear();
        self.drop_if_over(key);
    }

    pub(super) fn touch(&mut self, link: Key, at: Time) {
        let conn = self.links.get(link).and_then(|link| link.conn);
        if let Some((place, conn)) = conn
            && let Some(notes) = self.notes.get_mut(place)
        {
            notes.touched.push((at, conn));
        }
    }

    pub(super) fn add_driver(&mut self) -> usize {
        self.notes.push(Notes::default());
        self.notes.len() - 1
    }

    /// A driver listens. False if it does so already.
    pub(super) fn listen(&mut self, address: SocketAddr, place: usize) -> bool {
        let drivers = &mut self.listeners.entry(address).or_default().drivers;
        let is_new = !drivers.contains(&place);
        if is_new {
            drivers.push(place);
        }
        is_new
    }

    /// A driver listens no more. The others take what it has not taken.
    pub(super) fn stop_listening(&mut self, address: SocketAddr, place: usize) {
        let Some(listening) = self.listeners.get_mut(&address) else { return };
        listening.drivers.retain(|other| *other != place);
        if listening.drivers.is_empty() {
            let closed = self.listeners.remove(&address);
            for link in closed.into_iter().flat_map(|listening| listening.backlog) {
                self.driver_close(link);
            }
            return;
        }
        for _ in 0..listening.backlog.len() {
            self.announce(address, self.now);
        }
    }

    /// Tells one of the drivers that listen there that somebody came.
    fn announce(&mut self, address: SocketAddr, at: Time) {
        let Some(listening) = self.listeners.get(&address) else { return };
        let count = listening.drivers.len();
        let which = if count > 1 { self.rng.below(count) } else { 0 };
        let notes = listening.drivers.get(which).and_then(|place| self.notes.get_mut(*place));
        if let Some(notes) = notes {
            notes.dialled.push((at, address));
        }
    }

    pub(super) fn next_dialled(&mut self, address: SocketAddr) -> Option<Key> {
        self.listeners.get_mut(&address)?.backlog.pop_front()
    }

    pub(super) fn drop_if_over(&mut self, key: Key) {
        if self.links.get(key).is_some_and(|link| link.driver_closed && link.peer_gone) {
            self.links.remove(key);
        }
    }

    fn new_link(&mut self) -> Option<Key> {
        let max = self.faults.pipe_bytes;
        let port = u16::try_from(1024 + self.links.len() % 60_000).unwrap_or(1024);
        self.links.insert(Link {
            conn: None,
            inbound: Pipe::new(max),
            outbound: VecDeque::new(),
            outbound_max: max,
            driver_fin: false,
            driver_closed: false,
            driver_reset: false,
            peer_gone: false,
            peer_reset: false,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            dialled: None,
        })
    }
}

impl Pipe {
    fn new(max: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            max,
            visible: 0,
            pending: VecDeque::new(),
            fin_at: None,
            last: Time::ZERO,
        }
    }

    /// Appends what there is room for; how much, and when it will be visible.
    fn write(&mut self, bytes: &[u8], at: Time) -> (usize, Time) {
        if self.fin_at.is_some() {
            return (0, at);
        }
        let room = self.max.saturating_sub(self.bytes.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend(taken);
        // In order, whatever the delays are.
        self.last = self.last.max(at);
        self.pending.push_back((self.last, taken.len()));
        (taken.len(), self.last)
    }

    fn finish(&mut self, at: Time) -> Time {
        self.last = self.last.max(at);
        self.fin_at.get_or_insert(self.last);
        self.last
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.pending.clear();
        self.visible = 0;
    }

    /// Bytes that can be read at `now`.
    pub(super) fn visible(&mut self, now: Time) -> usize {
        while let Some((at, count)) = self.pending.front().copied()
            && at <= now
        {
            self.visible += count;
            self.pending.pop_front();
        }
        self.visible
    }

    /// Whether the end has come, all bytes read.
    pub(super) fn is_over(&mut self, now: Time) -> bool {
        self.visible(now) == 0 && self.bytes.is_empty() && self.fin_at.is_some_and(|at| at <= now)
    }

    /// Reads visible bytes.
    pub(super) fn read(&mut self, into: &mut [u8], now: Time) -> usize {
        let count = self.visible(now).min(into.len());
        let Some(into) = into.get_mut(..count) else { return 0 };
        self.visible -= count;
        take(&mut self.bytes, into)
    }
}

/// Moves bytes from the front of a queue.
fn take(from: &mut VecDeque<u8>, into: &mut [u8]) -> usize {
    let count = from.len().min(into.len());
    let (front, back) = from.as_slices();
    let (first, second) = into.split_at_mut(front.len().min(count));
    if let Some(front) = front.get(..first.len()) {
        first.copy_from_slice(front);
    }
    let rest = count - first.len();
    if let (Some(second), Some(back)) = (second.get_mut(..rest), back.get(..rest)) {
        second.copy_from_slice(back);
    }
    from.drain(..count);
    count
}
