//! One worker on the simulated network, among model clients and servers.
//!
//! Purpose: let virtual time pass until everybody is done, and judge what is left.
//! Never: act between the lines of the completion contract: actors and turns alternate.

mod judge;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir::base::{BackendId, EndpointId, Time, WorkerId};
use weir::bus::{self, Outbox, ToWorker};
use weir::config::{Config, Role};
use weir::io::{BufferSizes, Driver, Fake, FakeNet, Waker};
use weir::observe::Counters;
use weir::topology::{Snapshot, Topology};
use weir::wire::Greeting;
use weir::worker::{NonceSource, Parts, Worker};

use crate::check::{Checked, Fate, Trace, Who, violation};
use crate::client::{Around, Talk};
use crate::login::{Entered, Entering};
use crate::plan::{Act, Scheme};
use crate::rng::Rng;
use crate::server::Server;

/// How far a client is.
#[derive(Debug)]
enum Stage {
    Waiting,
    Entering(Box<Entering>),
    Talking(Box<Talk>),
    Gone,
}

#[derive(Debug)]
struct Client {
    stage: Stage,
    wakes: Time,
    idle: Duration,
}

#[derive(Debug)]
struct Serving {
    server: Server,
    wakes: Time,
    idle: Duration,
}

/// Everything there is.
pub(crate) struct World {
    rng: Rng,
    scheme: Scheme,
    config: Arc<Config>,
    greeting: Greeting,
    net: FakeNet,
    worker: Worker<Fake>,
    waker: Waker,
    outbox: Outbox,
    counters: Arc<Counters>,
    snapshot: Snapshot,
    listen: SocketAddr,
    addresses: Vec<SocketAddr>,
    clients: Vec<Client>,
    servers: Vec<Serving>,
    accepted: usize,
    fates: Vec<Fate>,
    pub(crate) trace: Trace,
    drain: Option<(Time, Time)>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let scheme = Scheme::draw(&mut rng);
        let config = Arc::new(scheme.config());
        let limits = &config.limits;
        let sizes = BufferSizes {
            small_count: limits.receive_buffers,
            small_bytes: u32::try_from(limits.receive_buffer_bytes).expect("small"),
            large_count_max: u16::try_from(limits.large_buffers_max).expect("few"),
            large_bytes: u32::try_from(limits.large_buffer_bytes).expect("not that large"),
        };
        let (driver, net) = Fake::new(sizes, rng.next(), scheme.faults()).expect("memory");
        let greeting = scheme.greeting();
        let mut snapshot = Snapshot::clone(&Topology::new(&config).current());
        if !scheme.unreached_at_first {
            show(&mut snapshot, &greeting);
        }
        let waker = driver.waker();
        let (outbox, inbox) = bus::mail(driver.waker());
        let counters = Arc::new(Counters::default());
        let mut nonces = rng.fork();
        let mut worker = Worker::new(Parts {
            id: WorkerId(0),
            driver,
            config: config.clone(),
            resources: Arc::default(),
            snapshot: Arc::new(snapshot.clone()),
            counters: counters.clone(),
            inbox,
            nonces: NonceSource::new(Box::new(move |bytes| {
                bytes.fill_with(|| nonces.next().to_le_bytes()[1]);
            })),
        });
        let listen = config.endpoint(EndpointId(0)).and_then(|it| it.listen.tcp()).expect("one");
        worker.listen(EndpointId(0), listen).expect("a free address");
        let backends = config.backends.iter();
        let addresses: Vec<_> = backends.filter_map(|backend| backend.address.tcp()).collect();
        for address in &addresses {
            net.serve(*address);
        }
        let clients = scheme.clients.iter().map(|client| Client {
            stage: Stage::Waiting,
            wakes: Time::ZERO + client.arrives,
            idle: IDLE_MIN,
        });
        let clients: Vec<_> = clients.collect();
        let fates = scheme.clients.iter().map(|client| scheme.fate(client)).collect();
        Self {
            rng,
            scheme,
            config,
            greeting,
            net,
            worker,
            waker,
            outbox,
            counters,
            snapshot,
            listen,
            addresses,
            clients,
            servers: Vec::new(),
            accepted: 0,
            fates,
            trace: Trace::new(),
            drain: None,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Checked {
        while !self.clients.iter().all(|client| matches!(client.stage, Stage::Gone)) {
            self.round()?;
            if self.net.now() > Time::ZERO + GONE_BY {
                return violation(format!("waits for ever: {}", self.describe()));
            }
        }
        let until = self.net.now() + CLOSED_WITHIN;
        while self.worker.driver_stats().connections > 0 || !self.servers.is_empty() {
            self.round()?;
            if self.net.now() > until {
                return violation(format!("connections stay: {}", self.describe()));
            }
        }
        self.judge_rest()
    }

    /// Everybody who is awake acts once, then the worker takes a turn, then time passes.
    fn round(&mut self) -> Checked {
        let now = self.net.now();
        self.control(now);
        let mut order: Vec<usize> = (0..self.clients.len() + self.servers.len()).collect();
        for at in 1..order.len() {
            order.swap(at, self.rng.between(0, at + 1));
        }
        for actor in order {
            match actor.checked_sub(self.clients.len()) {
                None => self.client(actor, now)?,
                Some(server) => self.server(server, now)?,
            }
        }
        self.servers.retain(|serving| serving.wakes != Time::NEVER);
        // The turn must not jump over what actors are about to do.
        self.waker.wake();
        if self.worker.turn().is_err() {
            return violation("the driver gave up");
        }
        self.accept();
        self.judge_memory()?;
        let wakes = self.clients.iter().map(|client| client.wakes);
        let next = wakes.chain(self.servers.iter().map(|serving| serving.wakes)).min();
        let rest = next.map_or(ROUND_MAX, |next| next.since(now));
        self.net.advance(rest.clamp(ROUND_MIN, ROUND_MAX));
        Ok(())
    }

    fn client(&mut self, index: usize, now: Time) -> Checked {
        let client = &mut self.clients[index];
        if client.wakes > now {
            return Ok(());
        }
        let mut around = Around {
            net: &self.net,
            fates: &mut self.fates,
            trace: &mut self.trace,
            now,
            healed: now > Time::ZERO + HEALED_FROM,
            drain: self.drain,
        };
        let moved = match &mut client.stage {
            Stage::Waiting => {
                let plan = &self.scheme.clients[index];
                client.stage = match self.net.dial(self.listen) {
                    None => Stage::Gone,
                    Some(peer) => Stage::Entering(Box::new(Entering::new(
                        index,
                        peer,
                        plan.way,
                        plan.plan,
                        self.rng.fork(),
                    ))),
                };
                true
            }
            Stage::Entering(entering) => match entering.step(&mut around)? {
                Entered::Not { moved } => moved,
                Entered::In(talk) => {
                    client.stage = Stage::Talking(talk);
                    true
                }
                Entered::Over => {
                    client.stage = Stage::Gone;
                    true
                }
            },
            Stage::Talking(talk) => match talk.step(&mut around)? {
                Some(moved) => moved,
                None => {
                    client.stage = Stage::Gone;
                    true
                }
            },
            Stage::Gone => false,
        };
        client.idle = if moved { IDLE_MIN } else { (client.idle * 2).min(IDLE_MAX) };
        client.wakes = now + client.idle * u32::try_from(self.rng.between(1, 5)).expect("few");
        if matches!(client.stage, Stage::Gone) {
            client.wakes = Time::NEVER;
        }
        Ok(())
    }

    fn server(&mut self, index: usize, now: Time) -> Checked {
        let serving = &mut self.servers[index];
        if serving.wakes > now {
            return Ok(());
        }
        let mut around = Around {
            net: &self.net,
            fates: &mut self.fates,
            trace: &mut self.trace,
            now,
            healed: now > Time::ZERO + HEALED_FROM,
            drain: self.drain,
        };
        let Some(moved) = serving.server.step(&mut around)? else {
            serving.wakes = Time::NEVER;
            return Ok(());
        };
        serving.idle = if moved { IDLE_MIN } else { (serving.idle * 2).min(IDLE_MAX) };
        serving.wakes = now + serving.idle * u32::try_from(self.rng.between(1, 5)).expect("few");
        Ok(())
    }

    /// Takes the worker's connects.
    fn accept(&mut self) {
        for address in self.addresses.clone() {
            while let Some(peer) = self.net.accept(address) {
                let trouble = self.scheme.trouble(&mut self.rng);
                let (config, greeting) = (self.config.clone(), self.greeting.clone());
                let rng = self.rng.fork();
                let server = Server::new(self.accepted, peer, config, greeting, trouble, rng);
                self.accepted += 1;
                self.servers.push(Serving { server, wakes: self.net.now(), idle: IDLE_MIN });
            }
        }
    }

    /// What control does at its time.
    fn control(&mut self, now: Time) {
        while let Some((at, act)) = self.scheme.acts.front().copied() {
            if Time::ZERO + at > now {
                break;
            }
            self.scheme.acts.pop_front();
            self.trace.note(now, Who::Control, "acts", 0);
            let address = |index: usize| self.addresses[index];
            match act {
                Act::Publish => self.publish(),
                Act::Refuse(index) => self.net.refuse(address(index)),
                Act::BlackHole(index) => self.net.black_hole(address(index)),
                Act::Heal(index) => {
                    self.net.refuse(address(index));
                    self.net.serve(address(index));
                }
                Act::Drain(within) => {
                    self.drain = Some((now, now + within));
                    self.outbox.send(ToWorker::Drain(within)).expect("an empty queue");
                }
            }
        }
        if self.drain.is_some_and(|(_, cut)| now >= cut) {
            for fate in &mut self.fates {
                fate.allow(&[1053]);
            }
        }
    }

    /// The other server becomes the primary.
    fn publish(&mut self) {
        self.snapshot.generation += 1;
        for view in &mut self.snapshot.backends {
            view.role = match view.role {
                Role::Primary => Role::Replica,
                Role::Replica => Role::Primary,
            };
        }
        show(&mut self.snapshot, &self.greeting);
        let snapshot = Arc::new(self.snapshot.clone());
        self.outbox.send(ToWorker::Snapshot(snapshot)).expect("an empty queue");
    }
}

/// All backends were reached and said this of themselves.
fn show(snapshot: &mut Snapshot, greeting: &Greeting) {
    for view in &mut snapshot.backends {
        view.reachable = true;
        view.greeting = Some(Arc::new(greeting.clone()));
    }
    debug_assert!(snapshot.backend(BackendId(1)).is_some(), "two backends");
}

const IDLE_MIN: Duration = Duration::from_micros(20);
const IDLE_MAX: Duration = Duration::from_millis(10);
const ROUND_MIN: Duration = Duration::from_micros(5);
const ROUND_MAX: Duration = Duration::from_millis(50);
/// Nothing hangs, stalls or breaks any more.
const HEALED_FROM: Duration = Duration::from_secs(20);
/// Then everybody has to come to an end.
const GONE_BY: Duration = Duration::from_secs(60);
/// As long as a close in good order may take; a server that hangs in a login wakes up later.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
