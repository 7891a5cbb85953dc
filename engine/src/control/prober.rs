//! Probes: one task per backend, each keeping one connection.
//!
//! Purpose: tell the topology, as often as configured, whether a backend answers and what it is.
//! Never: judge; what an observation means is decided in `topology`.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use crate::auth::{Proof, Seed};
use crate::base::BackendId;
use crate::config::{Config, Monitor, User};
use crate::control::link::Link;
use crate::io::random;
use crate::pool::{BackendLogin, LoginStep, TlsWish};
use crate::tls::{ClientContext, Contexts};
use crate::topology::{Observation, Probe, ProbeStep};
use crate::wire::{Capabilities, ErrPacket, Greeting, LoginRequest};

/// utf8mb4_general_ci, known to every supported server.
const COLLATION: u8 = 45;

/// An observation of a backend.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) backend: BackendId,
    pub(super) observation: Observation,
}

/// Starts a prober for every backend. They end with the runtime.
pub(super) fn start_all(config: &Config, tls: &Contexts, sightings: &Sender<Sighting>) {
    for (backend, index) in config.backends.iter().zip(0..) {
        let Some(cluster) = config.cluster(backend.cluster) else { continue };
        let prober = Prober {
            backend: BackendId(index),
            name: backend.name.clone(),
            address: backend.address,
            monitor: cluster.monitor.clone(),
            tls: tls.backend(BackendId(index)).cloned(),
            sightings: sightings.clone(),
        };
        tokio::task::spawn_local(prober.run());
    }
}

struct Prober {
    backend: BackendId,
    name: String,
    address: SocketAddr,
    monitor: Monitor,
    tls: Option<Arc<ClientContext>>,
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
                    tracing::warn!(backend = self.name, reason, "the probe cannot log in");
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
        self.sightings.send(Sighting { backend: self.backend, observation }).await.is_ok()
    }

    async fn log_in(&self) -> Result<(Link, Greeting), String> {
        let mut link = Link::connect(self.address).await?;
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
        };
        let wish = self.tls.as_ref().map_or(TlsWish::No, |tls| TlsWish::of(tls.mode()));
        let mut seed = [0; Seed::BYTES];
        random(&mut seed);
        let proof = Proof::Clear(Arc::new(user));
        let mut login = BackendLogin::new(request, proof, wish, Seed::new(seed));
        let mut out = BytesMut::new();
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
