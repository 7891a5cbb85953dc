//! The workers, as the control thread holds them.
//!
//! Purpose: bind the listeners, start one pinned thread per CPU, and pass messages to all of them.
//! Never: wait for a worker; one that is busy is told again later.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::base::{ConnectionId, WorkerId};
use crate::bus::{
    DriverKind, FromWorker, NewConfig, Outbox, Resources, Seed, SendError, Spawned, ToWorker,
};
use crate::config::{Config, DriverChoice, Workers};
use crate::control::scrape::Source;
use crate::control::{Spawn, StartError};
use crate::io;
use crate::observe::{self, Counters, Metric};
use crate::topology::Snapshot;

/// Decides the driver and logs why when it is not the best one.
pub(super) fn choose_driver(choice: DriverChoice) -> Result<DriverKind, StartError> {
    let preference = match choice {
        DriverChoice::Auto => io::Preference::Auto,
        DriverChoice::IoUring => io::Preference::Uring,
        DriverChoice::Epoll => io::Preference::Epoll,
    };
    let choice = io::choose(preference).map_err(StartError::NoRing)?;
    match &choice {
        io::Choice::Epoll(Some(_)) => tracing::warn!("driver: {choice}; it costs more CPU"),
        io::Choice::Epoll(None) | io::Choice::Uring(_) => tracing::info!("driver: {choice}"),
    }
    Ok(match choice {
        io::Choice::Uring(_) => DriverKind::IoUring,
        io::Choice::Epoll(_) => DriverKind::Epoll,
    })
}

/// Decides which CPU each worker is pinned to; `None` where pinning is not possible.
pub(super) fn choose_cpus(workers: &Workers) -> Result<Vec<Option<usize>>, StartError> {
    let usable = core_affinity::get_core_ids().unwrap_or_default();
    let usable: Vec<usize> = usable.into_iter().map(|cpu| cpu.id).collect();
    match workers {
        Workers::Auto if usable.is_empty() => Ok(vec![None]),
        Workers::Auto => {
            let most = usize::from(ConnectionId::WORKERS_MAX);
            Ok(usable.into_iter().take(most).map(Some).collect())
        }
        Workers::Count(count) => {
            // More workers than CPUs share CPUs; that is for tests of many workers.
            let cpus = usable.iter().copied().map(Some).cycle();
            let cpus: Vec<_> = cpus.take(usize::from(*count)).collect();
            Ok(if cpus.is_empty() { vec![None; usize::from(*count)] } else { cpus })
        }
        Workers::Cpus(ids) => ids
            .iter()
            .map(|id| usable.contains(id).then_some(Some(*id)).ok_or(StartError::NoCpu(*id)))
            .collect(),
    }
}

/// Files of unix sockets go with the workers that accepted on them.
impl Drop for Fleet {
    fn drop(&mut self) {
        self.listeners.clear();
        for endpoint in &self.config.endpoints {
            io::unbind(&endpoint.listen);
        }
    }
}

/// The kernel cuts a backlog without a word; beyond it, connects of a storm are tried again after a
/// second.
fn log_backlog(backlog: u32) {
    let cap = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    let cap = cap.ok().and_then(|text| text.trim().parse::<u32>().ok());
    if let Some(cap) = cap.filter(|cap| *cap < backlog) {
        tracing::info!(listen_backlog = backlog, somaxconn = cap, "the kernel keeps fewer waiting");
    }
}

struct WorkerHandle {
    outbox: Outbox,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    thread_number: Option<u32>,
    /// Messages that found the worker's queue full, oldest first; only the last of each kind counts.
    config: Option<NewConfig>,
    snapshot: Option<Arc<Snapshot>>,
    drain: Option<ToWorker>,
}

/// All workers of this process.
pub(super) struct Fleet {
    config: Arc<Config>,
    driver: DriverKind,
    cpus: Vec<Option<usize>>,
    spawn: Spawn,
    /// Per endpoint, one bound socket per worker.
    listeners: Vec<Vec<OwnedFd>>,
    workers: Vec<WorkerHandle>,
}

impl Fleet {
    /// Binds every endpoint's sockets, before any thread exists.
    pub(super) fn bind(
        config: Arc<Config>,
        driver: DriverKind,
        cpus: Vec<Option<usize>>,
        spawn: Spawn,
    ) -> Result<Self, StartError> {
        let backlog = config.limits.listen_backlog;
        log_backlog(backlog);
        let bind = |endpoint: &crate::config::Endpoint| {
            let (address, mode) = (&endpoint.listen, endpoint.unix_mode);
            io::bind(address, mode, cpus.len(), backlog).map_err(|error| StartError::Listen {
                endpoint: endpoint.name.clone(),
                address: address.clone(),
                error,
            })
        };
        let listeners = config.endpoints.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { config, driver, cpus, spawn, listeners, workers: Vec::new() })
    }

    /// Starts the threads; returns where their reports arrive.
    pub(super) fn start(
        &mut self,
        snapshot: &Arc<Snapshot>,
        resources: &Arc<Resources>,
    ) -> Result<mpsc::Receiver<FromWorker>, StartError> {
        let (reports, receiver) = mpsc::channel(2 * self.cpus.len().max(1));
        for (cpu, index) in self.cpus.clone().into_iter().zip(0..) {
            let id = WorkerId(index);
            let counters = Arc::new(Counters::default());
            let seed = Seed {
                id,
                driver: self.driver,
                cpu,
                config: self.config.clone(),
                snapshot: snapshot.clone(),
                resources: resources.clone(),
                counters: counters.clone(),
                listeners: self.listeners.iter_mut().filter_map(Vec::pop).collect(),
                reports: reports.clone(),
            };
            let Spawned { outbox, thread_number, thread } =
                (self.spawn)(seed).map_err(|error| StartError::Worker(id, error))?;
            let thread = Some(thread);
            self.workers.push(WorkerHandle {
                outbox,
                thread,
                counters,
                thread_number,
                config: None,
                snapshot: None,
                drain: None,
            });
        }
        tracing::info!(workers = self.workers.len(), "workers started");
        Ok(receiver)
    }

    pub(super) fn publish(&mut self, snapshot: &Arc<Snapshot>) {
        for worker in &mut self.workers {
            worker.snapshot = Some(snapshot.clone());
        }
        self.retry();
    }

    /// The snapshot belongs to the configuration: earlier ones are void.
    pub(super) fn publish_config(&mut self, new: NewConfig) {
        for worker in &mut self.workers {
            worker.config = Some(new.clone());
            worker.snapshot = None;
        }
        self.retry();
    }

    pub(super) fn drain(&mut self, message: &ToWorker) {
        for worker in &mut self.workers {
            worker.drain = Some(message.clone());
        }
        self.retry();
    }

    /// Sends what has not been taken yet.
    pub(super) fn retry(&mut self) {
        for worker in &mut self.workers {
            if let Some(new) = worker.config.take()
                && worker.outbox.send(ToWorker::Config(new.clone())) == Err(SendError::Busy)
            {
                worker.config = Some(new);
            }
            // A picture must not overtake its configuration.
            if worker.config.is_none()
                && let Some(snapshot) = worker.snapshot.take()
                && worker.outbox.send(ToWorker::Snapshot(snapshot.clone())) == Err(SendError::Busy)
            {
                worker.snapshot = Some(snapshot);
            }
            if let Some(message) = worker.drain.take()
                && worker.outbox.send(message.clone()) == Err(SendError::Busy)
            {
                worker.drain = Some(message);
            }
        }
    }

    /// A worker has ended; waits for its thread. True when it was the last.
    pub(super) fn ended(&mut self, id: WorkerId) -> bool {
        if let Some(thread) =
            self.workers.get_mut(id.index()).and_then(|worker| worker.thread.take())
            && thread.join().is_err()
        {
            tracing::error!(worker = id.0, "the worker's thread panicked");
        }
        self.workers.iter().all(|worker| worker.thread.is_none())
    }

    /// Where the figures of the workers come from, by worker id.
    pub(super) fn sources(&self) -> Vec<Source> {
        let source = |worker: &WorkerHandle| {
            Source::new(worker.outbox.clone(), worker.counters.clone(), worker.thread_number)
        };
        self.workers.iter().map(source).collect()
    }

    /// Writes every counter that is not zero to the log.
    pub(super) fn log_totals(&self) {
        let counters: Vec<_> = self.workers.iter().map(|worker| worker.counters.clone()).collect();
        for (counter, total) in observe::sum(&counters).iter().filter(|(_, total)| *total > 0) {
            tracing::info!(total, "{}", counter.name());
        }
        let suppressed = observe::log_lines_suppressed();
        if suppressed > 0 {
            tracing::info!(total = suppressed, "{}", Metric::LogSuppressed.name());
        }
    }
}
