//! Probes: one task per backend, each keeping one connection.
//!
//! Purpose: tell the topology, as often as configured, whether a backend answers and what it is.
//! Never: judge; what an observation means is decided in `topology`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::auth::{Proof, Seed};
use crate::base::{Address, BackendId, ClusterId, Consistency};
use crate::bus::Resources;
use crate::config::{BackendTls, Config, Endpoint, EndpointMode, Monitor, User};
use crate::control::link::Link;
use crate::io::random;
use crate::pool::{BackendLogin, Established, LoginStep, TlsWish};
use crate::route::{Poll, Polled, Positions, Stamp};
use crate::tls::ClientContext;
use crate::topology::{Facts, Observation, Probe, ProbeStep, Wishes};
use crate::wire::proxy::{self, Origin};
use crate::wire::{Capabilities, ErrPacket, Greeting, LoginRequest, ZSTD_LEVEL_DEFAULT};

/// utf8mb4_general_ci, known to every supported server.
const COLLATION: u8 = 45;

/// An observation of a backend, named by what stays the same across reloads.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) name: Arc<str>,
    pub(super) address: Address,
    pub(super) observation: Observation,
}

/// A prober for every backend of the configuration in force.
pub(super) struct Probers {
    running: BTreeMap<Arc<str>, Running>,
    sightings: Sender<Sighting>,
}

struct Running {
    /// Somebody of the cluster's endpoints may want to know what it has.
    positions: Option<Arc<Positions>>,
    /// Reads of its cluster have to see what was written.
    is_causal: Rc<Cell<bool>>,
    address: Address,
    monitor: Monitor,
    tls: BackendTls,
    proxy_protocol: bool,
    wishes: Wishes,
    task: JoinHandle<()>,
}

impl Probers {
    pub(super) fn new(sightings: Sender<Sighting>) -> Self {
        Self { running: BTreeMap::new(), sightings }
    }

    /// Ends the probers of backends that are gone or are probed otherwise now, and starts those
    /// that are missing. The others go on with their connections.
    pub(super) fn follow(&mut self, config: &Config, resources: &Resources) {
        let mut before = std::mem::take(&mut self.running);
        for (backend, id) in config.backends.iter().zip((0..).map(BackendId)) {
            let Some(cluster) = config.cluster(backend.cluster) else { continue };
            let name = Arc::from(backend.name.as_str());
            let wishes = Wishes::of(cluster);
            let positions = resources.positions(backend.cluster).cloned();
            let is_causal = is_causal(config, backend.cluster);
            let same = before.remove(&name).filter(|running| {
                let same = running.address == backend.address
                    && running.monitor == cluster.monitor
                    && running.tls == backend.tls
                    && running.proxy_protocol == backend.proxy_protocol
                    && running.wishes == wishes
                    && is_same(running.positions.as_ref(), positions.as_ref());
                if !same {
                    running.task.abort();
                }
                same
            });
            let running = same.unwrap_or_else(|| {
                let (address, monitor) = (backend.address.clone(), cluster.monitor.clone());
                let proxy_protocol = backend.proxy_protocol;
                let wanted = Arc::new(Wanted::default());
                let is_causal = Rc::new(Cell::new(is_causal));
                if let Some(positions) = &positions {
                    positions.set_poll(&name, Arc::clone(&wanted) as Arc<dyn Poll>);
                }
                let prober = Prober {
                    name: Arc::clone(&name),
                    address: address.clone(),
                    monitor: monitor.clone(),
                    tls: resources.tls.backend(id).cloned(),
                    proxy_protocol,
                    wishes: wishes.clone(),
                    sightings: self.sightings.clone(),
                    positions: positions.clone(),
                    wanted,
                    is_causal: Rc::clone(&is_causal),
                    lacked: Cell::new(None),
                };
                let task = spawn_local(prober.run());
                let tls = backend.tls.clone();
                Running {
                    positions,
                    is_causal,
                    address,
                    monitor,
                    tls,
                    proxy_protocol,
                    wishes,
                    task,
                }
            });
            running.is_causal.set(is_causal);
            self.running.insert(name, running);
        }
        for gone in before.into_values() {
            gone.task.abort();
        }
    }
}

struct Prober {
    name: Arc<str>,
    address: Address,
    monitor: Monitor,
    tls: Option<Arc<ClientContext>>,
    /// Connections begin with a PROXY header.
    proxy_protocol: bool,
    wishes: Wishes,
    sightings: Sender<Sighting>,
    positions: Option<Arc<Positions>>,
    wanted: Arc<Wanted>,
    is_causal: Rc<Cell<bool>>,
    /// What was said to be missing for its GTIDs to be told.
    lacked: Cell<Option<&'static str>>,
}

/// Somebody waits for what the server has.
#[derive(Debug, Default)]
struct Wanted(Notify);

impl Poll for Wanted {
    fn poll(&self) {
        self.0.notify_one();
    }
}

/// Whether reads on replicas of a cluster have to see what was written.
fn is_causal(config: &Config, cluster: ClusterId) -> bool {
    let users = config.users.iter().filter_map(|user| user.rules.consistency);
    let of_users = users.max().unwrap_or(Consistency::Eventual);
    let splits = |it: &&Endpoint| it.cluster == cluster && it.mode == EndpointMode::ReadWrite;
    let mut levels = config.endpoints.iter().filter(splits).map(|it| it.routing.consistency);
    levels.any(|level| level.max(of_users) > Consistency::Eventual)
}

fn is_same(one: Option<&Arc<Positions>>, other: Option<&Arc<Positions>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Prober {
    /// Probes until nobody listens any more.
    async fn run(self) {
        let mut last_reason = String::new();
        loop {
            let outcome = timeout(self.monitor.timeout, self.log_in()).await;
            match outcome.unwrap_or_else(|_| Err("it does not answer in time".to_owned())) {
                Ok((link, probe, greeting)) => {
                    last_reason.clear();
                    if !self.report(Observation::LoggedIn(Arc::new(greeting))).await {
                        return;
                    }
                    if self.watch(link, probe).await {
                        continue;
                    }
                }
                // Said once, not at every probe.
                Err(reason) if reason != last_reason => {
                    tracing::warn!(backend = &*self.name, reason, "the probe cannot log in");
                    last_reason = reason;
                }
                Err(_) => {}
            }
            if let Some(positions) = &self.positions {
                positions.doubt(&self.name);
            }
            if !self.report(Observation::Unreachable).await {
                return;
            }
            sleep(self.monitor.interval).await;
        }
    }

    /// Asks on one connection until it fails. True when it works and another one is worth a try.
    async fn watch(&self, mut link: Link, mut probe: Probe) -> bool {
        loop {
            let begun = self.positions.as_deref().map(Positions::begin);
            let asked = timeout(self.monitor.timeout, ask(&mut link, &mut probe)).await;
            let Ok(Some(facts)) = asked else { return false };
            self.note(&facts, begun);
            self.note_lack(&facts);
            if !self.report(Observation::Answered(facts)).await {
                return false;
            }
            let next = Instant::now() + self.monitor.interval;
            while timeout_at(next, self.wanted.0.notified()).await.is_ok() {
                if !self.poll(&mut link, &mut probe).await {
                    return false;
                }
            }
            if probe.is_stale() {
                return true;
            }
        }
    }

    /// Asks for what the server has. False when the connection has failed.
    async fn poll(&self, link: &mut Link, probe: &mut Probe) -> bool {
        let begun = self.positions.as_deref().map(Positions::begin);
        let mut out = BytesMut::new();
        if !probe.ask_position(&mut out) {
            // It is known to have none, once it was asked.
            self.note(&Facts::default(), begun);
            return true;
        }
        let asked = timeout(self.monitor.timeout, answer(link, probe, out)).await;
        let Ok(Some(facts)) = asked else { return false };
        self.note(&facts, begun);
        true
    }

    fn note(&self, facts: &Facts, begun: Option<Stamp>) {
        if let (Some(positions), Some(begun)) = (&self.positions, begun) {
            let (has, applied) = (facts.position().cloned(), facts.applied.clone());
            positions.polled(&self.name, Polled { has, applied }, begun);
        }
    }

    /// Says once what a server is without.
    fn note_lack(&self, facts: &Facts) {
        let lacks = facts.lacks_gtids().filter(|_| self.is_causal.get());
        if let Some(lacks) = lacks.filter(|_| self.lacked.get() != lacks) {
            tracing::warn!(
                backend = &*self.name,
                lacks,
                "it tells no GTIDs: reads that have to see what was written go to the primary"
            );
        }
        self.lacked.set(lacks);
    }

    async fn report(&self, observation: Observation) -> bool {
        let (name, address) = (self.name.clone(), self.address.clone());
        self.sightings.send(Sighting { name, address, observation }).await.is_ok()
    }

    async fn log_in(&self) -> Result<(Link, Probe, Greeting), String> {
        let mut link = Link::connect(&self.address).await?;
        let mut out = BytesMut::new();
        if self.proxy_protocol {
            // For nobody but Weir.
            proxy::encode(Origin::Itself, &mut out);
            link.send(&out).await?;
            out.clear();
        }
        let user = User::new(self.monitor.user.clone(), self.monitor.secret.clone());
        let request = LoginRequest {
            capabilities: Capabilities::from_bits(0),
            packet_bytes_max: 1 << 24,
            collation: COLLATION,
            user: user.name.clone().into_bytes(),
            auth_response: Vec::new(),
            database: None,
            plugin: None,
            connect_attrs: None,
            zstd_level: ZSTD_LEVEL_DEFAULT,
        };
        let wish = self.tls.as_ref().map_or(TlsWish::No, |tls| TlsWish::of(tls.mode()));
        let mut seed = [0; Seed::BYTES];
        random(&mut seed);
        let proof = Proof::Clear(Arc::new(user));
        let mut login = BackendLogin::new(request, proof, wish, Seed::new(seed))
            .with_secure_link(self.address.is_unix());
        loop {
            let step = login.on_bytes(link.receive().await?, &mut out);
            link.send(&out).await?;
            out.clear();
            match step {
                LoginStep::Wait => {}
                LoginStep::StartTls => {
                    if let Some(tls) = &self.tls {
                        link.start_tls(tls).await?;
                    }
                    login.on_tls(&mut out);
                    link.send(&out).await?;
                    out.clear();
                }
                LoginStep::Ready(established) => {
                    let Established { greeting, capabilities, .. } = *established;
                    let probe = Probe::new(&greeting, capabilities, self.wishes.clone());
                    return Ok((link, probe, greeting));
                }
                LoginStep::Refused(err) => {
                    let text = ErrPacket::parse(&err).map(|packet| packet.message.to_vec());
                    let text = text.unwrap_or_default();
                    let text = String::from_utf8_lossy(&text);
                    return Err(format!("it refused the monitor account: {text}"));
                }
                LoginStep::Failed(error) => return Err(error.to_string()),
            }
        }
    }
}

/// One probe; `None` when the connection is of no more use.
async fn ask(link: &mut Link, probe: &mut Probe) -> Option<Box<Facts>> {
    let mut out = BytesMut::new();
    probe.ask(&mut out);
    answer(link, probe, out).await
}

/// Sends what is asked, and takes the answer.
async fn answer(link: &mut Link, probe: &mut Probe, mut out: BytesMut) -> Option<Box<Facts>> {
    loop {
        if !out.is_empty() {
            link.send(&out).await.ok()?;
            out.clear();
        }
        let bytes = link.receive().await.ok()?;
        match probe.on_bytes(bytes, &mut out) {
            ProbeStep::Wait => {}
            ProbeStep::Answered(facts) => return Some(facts),
            ProbeStep::Failed => return None,
        }
    }
}
