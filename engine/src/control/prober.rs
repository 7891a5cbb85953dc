//! Probes: one task per backend, each keeping one connection.
//!
//! Purpose: tell the topology, as often as configured, whether a backend answers and what it is.
//! Never: judge; what an observation means is decided in `topology`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::auth::{Proof, Seed};
use crate::base::{Address, BackendId};
use crate::config::{BackendTls, Config, Monitor, Role, User};
use crate::control::link::Link;
use crate::io::random;
use crate::pool::{BackendLogin, LoginStep, TlsWish};
use crate::tls::{ClientContext, Contexts};
use crate::topology::{Observation, Probe, ProbeStep};
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
    address: Address,
    monitor: Monitor,
    tls: BackendTls,
    proxy_protocol: bool,
    task: JoinHandle<()>,
    /// Whether its first probe has come to something.
    has_seen: bool,
}

impl Probers {
    pub(super) fn new(sightings: Sender<Sighting>) -> Self {
        Self { running: BTreeMap::new(), sightings }
    }

    /// Ends the probers of backends that are gone or are probed otherwise now, and starts those
    /// that are missing. The others go on with their connections.
    pub(super) fn follow(&mut self, config: &Config, contexts: &Contexts) {
        let mut before = std::mem::take(&mut self.running);
        for (backend, id) in config.backends.iter().zip((0..).map(BackendId)) {
            let Some(cluster) = config.cluster(backend.cluster) else { continue };
            let name = Arc::from(backend.name.as_str());
            let same = before.remove(&name).filter(|running| {
                let same = running.address == backend.address
                    && running.monitor == cluster.monitor
                    && running.tls == backend.tls
                    && running.proxy_protocol == backend.proxy_protocol;
                if !same {
                    running.task.abort();
                }
                same
            });
            let running = same.unwrap_or_else(|| {
                let (address, monitor) = (backend.address.clone(), cluster.monitor.clone());
                let proxy_protocol = backend.proxy_protocol;
                let prober = Prober {
                    name: Arc::clone(&name),
                    address: address.clone(),
                    monitor: monitor.clone(),
                    tls: contexts.backend(id).cloned(),
                    proxy_protocol,
                    sightings: self.sightings.clone(),
                };
                let task = spawn_local(prober.run());
                let tls = backend.tls.clone();
                Running { address, monitor, tls, proxy_protocol, task, has_seen: false }
            });
            self.running.insert(name, running);
        }
        for gone in before.into_values() {
            gone.task.abort();
        }
    }

    /// A sighting came.
    pub(super) fn saw(&mut self, name: &str, address: &Address) {
        if let Some(running) = self.running.get_mut(name)
            && running.address == *address
        {
            running.has_seen = true;
        }
    }

    /// Whether the first probe of a primary is still under way.
    pub(super) fn await_a_primary(&self, config: &Config) -> bool {
        let mut primaries = config.backends.iter().filter(|it| it.role == Role::Primary);
        primaries.any(|primary| {
            self.running.get(primary.name.as_str()).is_some_and(|running| !running.has_seen)
        })
    }
}

struct Prober {
    name: Arc<str>,
    address: Address,
    monitor: Monitor,
    tls: Option<Arc<ClientContext>>,
    /// Connections begin with a PROXY header.
    proxy_protocol: bool,
    sightings: Sender<Sighting>,
}

impl Prober {
    /// Probes until nobody listens any more.
    async fn run(self) {
        let mut last_reason = String::new();
        loop {
            let outcome = timeout(self.monitor.timeout, self.log_in()).await;
            match outcome.unwrap_or_else(|_| Err("it does not answer in time".to_owned())) {
                Ok((link, greeting)) => {
                    last_reason.clear();
                    if !self.report(Observation::LoggedIn(Arc::new(greeting))).await {
                        return;
                    }
                    self.watch(link).await;
                }
                // Said once, not at every probe.
                Err(reason) if reason != last_reason => {
                    tracing::warn!(backend = &*self.name, reason, "the probe cannot log in");
                    last_reason = reason;
                }
                Err(_) => {}
            }
            if !self.report(Observation::Unreachable).await {
                return;
            }
            sleep(self.monitor.interval).await;
        }
    }

    /// Pings on one connection until it fails.
    async fn watch(&self, mut link: Link) {
        loop {
            sleep(self.monitor.interval).await;
            let answered = matches!(timeout(self.monitor.timeout, ping(&mut link)).await, Ok(true));
            if !answered || !self.report(Observation::Answered).await {
                return;
            }
        }
    }

    async fn report(&self, observation: Observation) -> bool {
        let (name, address) = (self.name.clone(), self.address.clone());
        self.sightings.send(Sighting { name, address, observation }).await.is_ok()
    }

    async fn log_in(&self) -> Result<(Link, Greeting), String> {
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
                LoginStep::Ready(established) => return Ok((link, established.greeting)),
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

async fn ping(link: &mut Link) -> bool {
    let mut out = BytesMut::new();
    let mut probe = Probe::ping(&mut out);
    if link.send(&out).await.is_err() {
        return false;
    }
    loop {
        let Ok(bytes) = link.receive().await else { return false };
        match probe.on_bytes(bytes) {
            ProbeStep::Wait => {}
            ProbeStep::Answered => return true,
            ProbeStep::Failed => return false,
        }
    }
}
