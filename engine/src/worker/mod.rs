//! One core, one driver, one loop.
//!
//! Purpose: join the pure machines to sockets: feed what arrives, carry out what they want.
//! Never: decide what a byte means, share mutable state with another worker, or wait anywhere but
//! in the driver's turn.
//!
//! Reading order: this file (the loop), `entry` (what is kept per session), `accept`, `traffic`
//! (bytes and back-pressure), `transport` and `coded` (bytes that are encrypted or compressed),
//! `lease` (backend connections), `init` (what they are told first), `idle` (between two clients), `keep` (while
//! there is none), `make` (before there is one), `queue` (waiting for them), `hold` (waiting
//! because of a rule), `ship` (from one worker
//! to another), `change` (what a session asks for after its login), `password` (those that clients seal), `seat` (sessions
//! of a user), `reload`, `drain`, `thread`.

mod accept;
mod causal;
mod change;
mod coded;
mod dealer;
mod drain;
mod entry;
mod hold;
mod idle;
mod init;
mod keep;
mod lease;
mod listing;
mod make;
mod nonce;
mod password;
mod queue;
mod reload;
mod seat;
mod share;
mod ship;
mod silence;
mod thread;
mod told;
mod traffic;
mod transport;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Address, EndpointId, Key, Line, Slab, Time, WorkerId};
use crate::bus::{Desk, Inbox, Report, Resources, ToWorker};
use crate::config::Config;
use crate::io::{Driver, DriverStats, Event, Token};
use crate::observe::{Counters, Figures};
use crate::pool::{PoolKey, Shelf};
use crate::session::Ledger;
use crate::topology::Snapshot;
use crate::wire::{Edits, Side};
use crate::worker::dealer::Dealer;
use crate::worker::entry::{Entry, Holder};
use crate::worker::queue::Lane;
use crate::worker::share::SharedLogin;
use crate::worker::transport::Coder;

pub use nonce::NonceSource;
pub use thread::spawn;

/// How often logins in progress are checked against their deadlines.
const LOGIN_CHECK: Duration = Duration::from_millis(100);

/// How often it is looked whether idle backend connections were kept long enough.
const IDLE_CHECK: Duration = Duration::from_millis(500);

/// How often a drained worker looks whether its last bytes have left.
const LAST_BYTES_CHECK: Duration = Duration::from_millis(5);

/// How long what is queued may take to leave when a connection is closed in good order.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts<D> {
    /// Which worker it is.
    pub id: WorkerId,
    /// Its sockets and clock.
    pub driver: D,
    /// The configuration.
    pub config: Arc<Config>,
    /// The picture to start with.
    pub snapshot: Arc<Snapshot>,
    /// What it shares with the other workers.
    pub resources: Arc<Resources>,
    /// Its counters; it alone writes them.
    pub counters: Arc<Counters>,
    /// Messages from control.
    pub inbox: Inbox,
    /// Where nonces come from.
    pub nonces: NonceSource,
}

/// The loop of one core.
#[derive(Debug)]
pub struct Worker<D: Driver> {
    id: WorkerId,
    driver: D,
    config: Arc<Config>,
    snapshot: Arc<Snapshot>,
    resources: Arc<Resources>,
    counters: Arc<Counters>,
    figures: Figures,
    ledger: Ledger,
    inbox: Inbox,
    nonces: NonceSource,
    sessions: Slab<Entry>,
    /// Which servers they are sent to.
    dealer: Dealer,
    /// Backend connections, by the key in their tokens.
    slots: Slab<Holder>,
    /// Those of them that lie idle.
    shelf: Shelf,
    /// Those that are being made as good as new, and until when that has to be done.
    recycling: VecDeque<(Time, Key)>,
    next_idle_check: Time,
    /// When a client may have been silent for too long.
    next_silence_check: Time,
    /// Sessions whose commands a rule makes wait, by when that is over and their slots.
    holds: BTreeMap<(Time, u32), Key>,
    /// Sessions that a connection of their pool would serve, besides a new one.
    wanting: HashMap<PoolKey, Line<Key>>,
    /// What is known of logins whose connections change hands between two commands.
    logins: HashMap<PoolKey, SharedLogin>,
    /// Connections that were let go in this event, to be given to whoever waits after it.
    freed: VecDeque<Key>,
    /// Connection ids in use, to find a session by what clients call it.
    ids: HashMap<u32, Key>,
    next_sequence: u32,
    /// Sessions that are logging in, changing their account or parting, in no order.
    logging_in: Vec<Key>,
    next_login_check: Time,
    /// Where sessions of this worker are called when they waited for a permit.
    desk: Arc<Desk>,
    /// Logins in progress and waiting, by server.
    lanes: HashMap<Address, Lane>,
    /// Sessions something was sent for in the last turn, to look for back-pressure after it.
    touched: Vec<Key>,
    draining: bool,
    /// When sessions are cut while draining; once.
    drain_deadline: Time,
    events: Vec<Event>,
    edits: Edits,
    /// What encoding and decoding takes.
    coder: Coder,
    /// Connections with input that was not decoded in the last turn, to go on with after it.
    undecoded: Vec<(Key, Side)>,
}

impl<D: Driver> Worker<D> {
    /// A worker that has not taken a turn yet.
    #[must_use]
    pub fn new(parts: Parts<D>) -> Self {
        let desk = Arc::new(Desk::new(parts.driver.waker()));
        let mut figures = Figures::default();
        figures.adopt(
            parts.config.endpoints.iter().map(|endpoint| endpoint.name.as_str()),
            parts.config.backends.iter().map(|backend| backend.name.as_str()),
        );
        let mut dealer = Dealer::default();
        dealer.adopt(&parts.config, &parts.snapshot);
        let mut ledger = Ledger::default();
        ledger.set_rules(parts.resources.rules.clone());
        Self {
            id: parts.id,
            driver: parts.driver,
            config: parts.config,
            snapshot: parts.snapshot,
            resources: parts.resources,
            counters: parts.counters,
            figures,
            ledger,
            inbox: parts.inbox,
            nonces: parts.nonces,
            sessions: Slab::default(),
            dealer,
            slots: Slab::default(),
            shelf: Shelf::default(),
            recycling: VecDeque::new(),
            next_idle_check: Time::NEVER,
            next_silence_check: Time::NEVER,
            holds: BTreeMap::new(),
            wanting: HashMap::new(),
            logins: HashMap::new(),
            freed: VecDeque::new(),
            ids: HashMap::new(),
            next_sequence: 0,
            logging_in: Vec::new(),
            next_login_check: Time::NEVER,
            desk,
            lanes: HashMap::new(),
            touched: Vec::new(),
            draining: false,
            drain_deadline: Time::NEVER,
            events: Vec::new(),
            edits: Edits::default(),
            coder: Coder::default(),
            undecoded: Vec::new(),
        }
    }

    /// Starts accepting clients of an endpoint.
    ///
    /// # Errors
    /// The operating system's, when the socket cannot be used.
    pub fn listen(&mut self, endpoint: EndpointId, listener: D::Listener) -> io::Result<()> {
        self.driver.listen(listener, Token(u64::from(endpoint.0)))
    }

    /// Takes turns until the worker is drained; its last report.
    ///
    /// # Errors
    /// When the driver cannot go on.
    pub fn run(mut self) -> io::Result<Report> {
        while !self.is_drained() {
            self.turn()?;
        }
        self.desk.close();
        Ok(self.report())
    }

    /// One turn: submit, wait, take everything in, decide, queue.
    ///
    /// # Errors
    /// When the driver cannot go on.
    pub fn turn(&mut self) -> io::Result<()> {
        self.driver.turn(self.next_deadline(), &mut self.events)?;
        // The one look at the clock per turn.
        let now = self.driver.now();
        self.ledger.set_now(now);
        self.check_back_pressure();
        if !self.undecoded.is_empty() {
            self.decode_on();
        }
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            self.on_event(event);
            if !self.freed.is_empty() {
                self.pass_on();
            }
        }
        self.events = events;
        if now >= self.next_login_check {
            self.check_logins(now);
        }
        if now >= self.next_idle_check {
            self.tend_idle(now);
        }
        if now >= self.next_silence_check {
            self.check_silence(now);
        }
        if now >= self.next_hold() {
            self.end_holds(now);
        }
        if now >= self.drain_deadline {
            self.end_all_sessions();
        }
        self.pass_on();
        Ok(())
    }

    /// Sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The driver's figures.
    #[must_use]
    pub fn driver_stats(&self) -> DriverStats {
        self.driver.stats()
    }

    /// How things stand.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            worker: self.id,
            sessions: self.sessions.len(),
            logging_in: self.logging_in.len(),
            driver: self.driver.stats(),
            figures: self.figures.clone(),
        }
    }

    fn next_deadline(&self) -> Time {
        if !self.undecoded.is_empty() {
            return self.driver.now();
        }
        if self.draining && self.sessions.is_empty() {
            // No event tells that the last bytes have left.
            return self.driver.now() + LAST_BYTES_CHECK;
        }
        let checks = self.next_login_check.min(self.next_idle_check).min(self.next_silence_check);
        checks.min(self.drain_deadline).min(self.next_hold())
    }

    // A call of its own would move each event into it once more.
    #[inline(always)]
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Received { token, chunk } => match self.whose(token) {
                Ok((key, side)) => self.on_received(key, side, chunk),
                Err(slot) => self.on_idle_received(slot, &chunk),
            },
            Event::Accepted { listener, conn } => {
                let endpoint = EndpointId(u16::try_from(listener.0).unwrap_or(u16::MAX));
                self.on_accepted(endpoint, conn);
            }
            Event::AcceptFailed { errno, .. } => self.on_accept_failed(errno),
            Event::Connected { token } => {
                if let Ok((key, _)) = self.whose(token) {
                    self.on_connected(key);
                }
            }
            Event::Drained { token } => {
                if let Ok((key, side)) = self.whose(token) {
                    self.on_drained(key, side);
                }
            }
            Event::Ended { token, reason } => match self.whose(token) {
                Ok((key, side)) => self.on_ended(key, side, reason),
                Err(slot) => self.on_idle_ended(slot),
            },
            Event::Detached { token, socket } => {
                let (slot, _) = unpack(token);
                self.on_detached(slot, socket);
            }
            Event::Woken => self.on_mail(),
        }
    }

    /// The session whose connection a token names, and which of its two that is; or the slot of a
    /// backend connection that no session has.
    #[inline]
    fn whose(&self, token: Token) -> Result<(Key, Side), Key> {
        let (key, side) = unpack(token);
        match side {
            Side::Client => Ok((key, side)),
            Side::Backend => match self.slots.get(key) {
                Some(Holder::Session(session)) => Ok((*session, side)),
                Some(
                    Holder::Making(_)
                    | Holder::Recycling(..)
                    | Holder::Restoring(..)
                    | Holder::Idle(_)
                    | Holder::Pinging(..)
                    | Holder::Leaving(_)
                    | Holder::Quitting(_),
                )
                | None => Err(key),
            },
        }
    }

    fn on_mail(&mut self) {
        while let Some(message) = self.inbox.next() {
            match message {
                ToWorker::Snapshot(snapshot) => {
                    self.snapshot = snapshot;
                    self.dealer.adopt(&self.config, &self.snapshot);
                }
                ToWorker::Config(new) => self.on_config(new),
                ToWorker::Drain(within) => self.begin_drain(within),
                // Who asked may have stopped waiting.
                ToWorker::Sessions(question) => self.describe(&question),
                ToWorker::Report(to) => drop(to.try_send(Box::new(self.report()))),
            }
        }
        self.on_called();
        self.on_opened();
    }
}

/// Names a client's connection by its session's key, or a backend's by its slot's:
/// `generation (31) | side (1) | index (32)`.
fn pack(key: Key, side: Side) -> Token {
    let side = match side {
        Side::Client => 0,
        Side::Backend => 1,
    };
    Token(u64::from(key.generation) << 33 | side << 32 | u64::from(key.index))
}

fn unpack(token: Token) -> (Key, Side) {
    let [a, b, c, d, rest @ ..] = token.0.to_le_bytes();
    let high = u32::from_le_bytes(rest);
    let side = if high & 1 == 0 { Side::Client } else { Side::Backend };
    (Key { index: u32::from_le_bytes([a, b, c, d]), generation: high >> 1 }, side)
}
