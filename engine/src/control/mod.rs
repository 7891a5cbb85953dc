//! The control thread: start, probes, signals, stop.
//!
//! Purpose: everything that is not the data path, on one thread with an async runtime.
//! Never: touch a client's bytes, or make a worker wait.
//!
//! Reading order: this file (start and stop), `fleet` (the workers), `prober` and its `link`,
//! `certificate`, `runtime`.

mod certificate;
mod fleet;
mod link;
mod prober;
mod runtime;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::base::{BackendId, WorkerId};
use crate::bus::{FromWorker, Resources, Seed, Spawned, ToWorker};
use crate::config::{Config, Role};
use crate::control::fleet::Fleet;
use crate::control::prober::Sighting;
use crate::io;
use crate::topology::Topology;

/// Observations that may wait for the control thread; probes are a few a second.
const SIGHTINGS_MAX: usize = 1024;

/// How often workers that were too busy to take a message are told again.
const RETRY: Duration = Duration::from_millis(100);

/// How long a worker may take to close its sockets after its drain's deadline.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// Why Weir does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// An endpoint's address cannot be had.
    #[error("cannot listen on {address} (endpoint '{endpoint}'): {error}")]
    Listen {
        /// The endpoint's name.
        endpoint: String,
        /// Its address.
        address: SocketAddr,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("TLS cannot be offered: {0}")]
    Tls(String),
    /// `driver = "io_uring"` was asked for and cannot be had.
    #[error("driver = \"io_uring\" cannot be used here: {0}; use \"auto\" or \"epoll\"")]
    NoRing(io::Unavailable),
    /// A CPU of `workers` is not among those this process may use.
    #[error("workers: CPU {0} is not among those this process may use")]
    NoCpu(usize),
    /// A worker did not start.
    #[error("worker {0} cannot start: {1}")]
    Worker(WorkerId, std::io::Error),
    /// The control thread's own runtime.
    #[error("the control thread cannot start: {0}")]
    Control(std::io::Error),
    /// A worker ended although nobody asked it to.
    #[error("worker {0} failed: {1}")]
    Failed(WorkerId, std::io::Error),
    /// Workers did not end within their deadline.
    #[error("not all workers ended in time")]
    Stuck,
}

/// Starts a worker's thread and returns when it accepts clients.
pub type Spawn = fn(Seed) -> std::io::Result<Spawned>;

/// Runs Weir, with workers made by `spawn`, until it is told to stop and every session has ended.
///
/// # Errors
/// [`StartError`] when it cannot start, or a worker fails.
pub fn run(config: Config, spawn: Spawn) -> Result<(), StartError> {
    let config = Arc::new(config);
    io::raise_open_files();
    let driver = fleet::choose_driver(config.driver)?;
    let cpus = fleet::choose_cpus(&config.workers)?;
    let resources = Arc::new(certificate::resources(&config)?);
    let fleet = Fleet::bind(config.clone(), driver, cpus, spawn)?;
    runtime::block_on(driver, control(config, resources, fleet)).map_err(StartError::Control)?
}

async fn control(
    config: Arc<Config>,
    resources: Arc<Resources>,
    mut fleet: Fleet,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Control)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Control)?;
    let mut topology = Topology::new(&config);
    let (sightings, mut seen) = mpsc::channel(SIGHTINGS_MAX);
    prober::start_all(&config, &resources.tls, &sightings);

    // Workers start once every primary was seen, so that the first client already finds the real
    // version in its greeting; a primary that is down delays the start by one probe only.
    let mut waiting = primaries(&config);
    while !waiting.is_empty()
        && let Some(Sighting { backend, observation }) = seen.recv().await
    {
        waiting.retain(|id| *id != backend);
        topology.observe(backend, observation);
    }
    let mut reports = fleet.start(&topology.current(), &resources)?;
    for endpoint in &config.endpoints {
        tracing::info!(endpoint = endpoint.name, address = %endpoint.listen, "ready for clients");
    }

    let mut retry = tokio::time::interval(RETRY);
    let mut stopping: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            Some(Sighting { backend, observation }) = seen.recv() => {
                if let Some(snapshot) = topology.observe(backend, observation) {
                    log_change(&snapshot, backend);
                    fleet.publish(&snapshot);
                }
            }
            Some(report) = reports.recv() => match report {
                FromWorker::Drained(worker) => {
                    if fleet.ended(worker) {
                        fleet.log_totals();
                        return Ok(());
                    }
                }
                FromWorker::Failed(worker, error) => {
                    return Err(StartError::Failed(worker, error));
                }
            },
            _ = terminate.recv() => begin_stop(&mut fleet, &config, &mut stopping),
            _ = interrupt.recv() => begin_stop(&mut fleet, &config, &mut stopping),
            _ = retry.tick() => {
                fleet.retry();
                if stopping.is_some_and(|deadline| tokio::time::Instant::now() > deadline) {
                    return Err(StartError::Stuck);
                }
            }
        }
    }
}

/// The first signal drains with the configured deadline, the second ends at once.
fn begin_stop(fleet: &mut Fleet, config: &Config, stopping: &mut Option<tokio::time::Instant>) {
    let within = if stopping.is_none() { config.drain_timeout } else { Duration::ZERO };
    tracing::info!(within_ms = within.as_millis(), "stopping: sessions end when at rest");
    *stopping = Some(tokio::time::Instant::now() + within + STOP_SLACK);
    fleet.drain(&ToWorker::Drain(within));
}

fn primaries(config: &Config) -> Vec<BackendId> {
    let ids = (0..).map(BackendId);
    let backends = config.backends.iter().zip(ids);
    backends.filter(|(backend, _)| backend.role == Role::Primary).map(|(_, id)| id).collect()
}

fn log_change(snapshot: &crate::topology::Snapshot, backend: BackendId) {
    let Some(view) = snapshot.backend(backend) else { return };
    if view.reachable {
        tracing::info!(backend = &*view.name, address = %view.address, "backend answers");
    } else {
        tracing::warn!(backend = &*view.name, address = %view.address, "backend does not answer");
    }
}
