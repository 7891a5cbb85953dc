//! Probes: one task per backend, each keeping one connection.
//!
//! Purpose: tell the topology, as often as configured, whether a backend answers and what it is.
//! Never: judge; what an observation means is decided in `topology`.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use crate::auth::{Proof, Seed};
use crate::base::BackendId;
use crate::config::{Config, Monitor, User};
use crate::io::random;
use crate::pool::{BackendLogin, LoginStep};
use crate::topology::{Observation, Probe, ProbeStep};
use crate::wire::{Capabilities, ErrPacket, Greeting, LoginRequest};

const READ_BYTES: usize = 4 << 10;

/// utf8mb4_general_ci, known to every supported server.
const COLLATION: u8 = 45;

/// An observation of a backend.
#[derive(Debug)]
pub(super) struct Sighting {
    pub(super) backend: BackendId,
    pub(super) observation: Observation,
}

/// Starts a prober for every backend. They end with the runtime.
pub(super) fn start_all(config: &Config, sightings: &Sender<Sighting>) {
    for (backend, index) in config.backends.iter().zip(0..) {
        let Some(cluster) = config.cluster(backend.cluster) else { continue };
        let prober = Prober {
            backend: BackendId(index),
            name: backend.name.clone(),
            address: backend.address,
            monitor: cluster.monitor.clone(),
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
    sightings: Sender<Sighting>,
}

impl Prober {
    /// Probes until nobody listens any more.
    async fn run(self) {
        let mut last_reason = String::new();
        loop {
            let outcome = timeout(self.monitor.timeout, self.log_in()).await;
            match outcome.unwrap_or_else(|_| Err("it does not answer in time".to_owned())) {
                Ok((stream, greeting)) => {
                    last_reason.clear();
                    if !self.report(Observation::LoggedIn(Arc::new(greeting))).await {
                        return;
                    }
                    self.watch(stream).await;
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
    async fn watch(&self, mut stream: TcpStream) {
        loop {
            sleep(self.monitor.interval).await;
            let answered =
                matches!(timeout(self.monitor.timeout, ping(&mut stream)).await, Ok(true));
            if !answered || !self.report(Observation::Answered).await {
                return;
            }
        }
    }

    async fn report(&self, observation: Observation) -> bool {
        self.sightings.send(Sighting { backend: self.backend, observation }).await.is_ok()
    }

    async fn log_in(&self) -> Result<(TcpStream, Greeting), String> {
        let mut stream =
            TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
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
        let mut seed = [0; Seed::BYTES];
        random(&mut seed);
        let mut login = BackendLogin::new(request, Proof::Clear(Arc::new(user)), Seed::new(seed));
        let mut out = BytesMut::new();
        let mut input = BytesMut::with_capacity(READ_BYTES);
        loop {
            input.clear();
            if stream.read_buf(&mut input).await.map_err(|error| error.to_string())? == 0 {
                return Err("it closed the connection during the login".to_owned());
            }
            let step = login.on_bytes(&input, &mut out);
            if !out.is_empty() {
                stream.write_all(&out).await.map_err(|error| error.to_string())?;
                out.clear();
            }
            match step {
                LoginStep::Wait => {}
                LoginStep::Ready(established) => return Ok((stream, established.greeting)),
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

async fn ping(stream: &mut TcpStream) -> bool {
    let mut out = BytesMut::new();
    let mut probe = Probe::ping(&mut out);
    if stream.write_all(&out).await.is_err() {
        return false;
    }
    let mut input = BytesMut::with_capacity(READ_BYTES);
    loop {
        input.clear();
        match stream.read_buf(&mut input).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        match probe.on_bytes(&input) {
            ProbeStep::Wait => {}
            ProbeStep::Answered => return true,
            ProbeStep::Failed => return false,
        }
    }
}
