//! The control thread: start, probes, signals, stop.
//!
//! Purpose: everything that is not the data path, on one thread with an async runtime.
//! Never: touch a client's bytes, or make a worker wait.
//!
//! Reading order: this file (start and stop), `fleet` (the workers), `prober` and its `link`, `news` (what the
//! topology noticed), `certificate`, `rsa_key`, `state_file`, `reload`, `finder` (replicas that become backends), `desk` (what can be said about the process), `scrape` (the workers'
//! figures), `process`, `http`, `runtime`.

mod certificate;
mod desk;
mod finder;
mod fleet;
mod http;
mod link;
mod news;
mod prober;
mod process;
mod reload;
mod rsa_key;
mod runtime;
mod scrape;
mod state_file;

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::base::{Address, WorkerId};
use crate::bus::{FromWorker, Resources, Seed, Spawned, ToWorker};
use crate::config::Config;
use crate::control::desk::Desk;
use crate::control::finder::Finder;
use crate::control::fleet::Fleet;
use crate::control::prober::{Probers, Sighting};
use crate::control::reload::{Loader, State};
use crate::io;
use crate::topology::{Discovery, Topology};

pub use reload::{Load, log_settings};

/// Observations that may wait for the control thread; probes are a few a second.
const SIGHTINGS_MAX: usize = 1024;

/// How often workers that were too busy to take a message are told again.
const RETRY: Duration = Duration::from_millis(100);

/// How often the primaries' lists of replicas are looked at.
const FIND: Duration = Duration::from_secs(1);

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
        address: Address,
        /// The operating system's error.
        error: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("TLS cannot be offered: {0}")]
    Tls(String),
    /// The RSA key cannot be used.
    #[error("passwords cannot be sealed: {0}")]
    Key(String),
    /// The admin pages' address cannot be had.
    #[error("cannot listen on {0} (admin.listen): {1}; another address or \"disabled\" is needed")]
    Admin(SocketAddr, std::io::Error),
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
/// On SIGHUP the configuration is loaded again.
///
/// # Errors
/// [`StartError`] when it cannot start, or a worker fails.
pub fn run(config: Config, spawn: Spawn, load: Load) -> Result<(), StartError> {
    let config = Arc::new(config);
    io::raise_open_files();
    let driver = fleet::choose_driver(config.driver)?;
    let cpus = fleet::choose_cpus(&config.workers)?;
    let tls = certificate::contexts(&config);
    let tls = tls.map_err(|problems| StartError::Tls(problems.join("; ")))?;
    let rsa_key = rsa_key::rsa_key(&config).map_err(StartError::Key)?;
    let resources = Arc::new(Resources::new(&config, tls, rsa_key));
    let fleet = Fleet::bind(config.clone(), driver, cpus, spawn)?;
    let admin = config.admin.listen.map(bind_admin).transpose()?;
    let state = move |sightings| {
        let topology = Topology::new(&config);
        let desk = Rc::new(Desk::new(
            config.clone(),
            driver,
            topology.current(),
            Arc::clone(&resources.remembered),
            resources.rules.clone(),
        ));
        let probers = Probers::new(sightings);
        let base = (*config).clone();
        let discovery = Discovery::default();
        let announced = None;
        State { config, base, discovery, resources, topology, probers, fleet, desk, announced }
    };
    let control = control(state, admin, Loader::new(load));
    runtime::block_on(driver, control).map_err(StartError::Control)?
}

async fn control(
    state: impl FnOnce(mpsc::Sender<Sighting>) -> State,
    admin: Option<TcpListener>,
    mut loader: Loader,
) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Control)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Control)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Control)?;
    let (sightings, mut seen) = mpsc::channel(SIGHTINGS_MAX);
    let mut state = state(sightings);
    if let Some(listener) = admin {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(StartError::Control)?;
        tokio::task::spawn_local(http::serve(listener, state.desk.clone()));
    }
    state.probers.follow(&state.config, &state.resources);
    let mut reports = start(&mut state, &mut seen).await?;

    let mut retry = tokio::time::interval(RETRY);
    let mut find = tokio::time::interval(FIND);
    let mut finder = Finder::default();
    let mut stopping: Option<tokio::time::Instant> = None;
    loop {
        tokio::select! {
            Some(sighting) = seen.recv() => on_sighting(&mut state, sighting),
            Some(report) = reports.recv() => match report {
                FromWorker::Drained(worker, last) => {
                    state.desk.ended(last);
                    if state.fleet.ended(worker) {
                        state.fleet.log_totals();
                        return Ok(());
                    }
                }
                FromWorker::Failed(worker, error) => {
                    return Err(StartError::Failed(worker, error));
                }
            },
            // Further signals are kept as one until this one is done.
            Some(()) = hangup.recv(), if !loader.is_busy() => loader.begin(),
            loaded = loader.loaded() => state.reload(loaded),
            _ = find.tick() => finder.look(&mut state),
            resolved = finder.resolved() => finder::on_resolved(&mut state, resolved),
            _ = terminate.recv() => begin_stop(&mut state, &mut stopping),
            _ = interrupt.recv() => begin_stop(&mut state, &mut stopping),
            _ = retry.tick() => {
                state.fleet.retry();
                if stopping.is_some_and(|deadline| tokio::time::Instant::now() > deadline) {
                    return Err(StartError::Stuck);
                }
            }
        }
    }
}

/// Workers start once every primary was seen, so that the first client already finds the real
/// version in its greeting; a primary that is down delays the start by one probe only.
async fn start(
    state: &mut State,
    seen: &mut mpsc::Receiver<Sighting>,
) -> Result<mpsc::Receiver<FromWorker>, StartError> {
    while state.topology.awaits_a_primary()
        && let Some(sighting) = seen.recv().await
    {
        state.observe(sighting);
    }
    let reports = state.fleet.start(&state.topology.current(), &state.resources)?;
    state.desk.publish(state.topology.current());
    state.desk.serving(state.fleet.sources());
    for endpoint in &state.config.endpoints {
        tracing::info!(endpoint = endpoint.name, address = %endpoint.listen, "ready for clients");
    }
    Ok(reports)
}

fn on_sighting(state: &mut State, sighting: Sighting) {
    if let Some(snapshot) = state.observe(sighting)
        && !state.is_between()
    {
        state.fleet.publish(&snapshot);
        state.desk.publish(snapshot);
    }
    state.publish_when_seen();
}

fn bind_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| StartError::Admin(address, error))?;
    if address.ip().is_loopback() {
        tracing::info!(%address, "admin pages");
    } else {
        tracing::warn!(%address, "admin pages: other machines reach them, and no password is asked");
    }
    Ok(listener)
}

/// The first signal drains with the configured deadline, the second ends at once.
fn begin_stop(state: &mut State, stopping: &mut Option<tokio::time::Instant>) {
    state.desk.draining();
    let within = if stopping.is_none() { state.config.drain_timeout } else { Duration::ZERO };
    tracing::info!(within_ms = within.as_millis(), "stopping: sessions end when at rest");
    *stopping = Some(tokio::time::Instant::now() + within + STOP_SLACK);
    state.fleet.drain(&ToWorker::Drain(within));
}
