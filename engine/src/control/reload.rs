//! Reading the configuration again (SIGHUP).
//!
//! Purpose: all of a new configuration that can change while Weir runs takes effect at once; with
//! one problem, nothing does.
//! Never: end a session, or make probes wait for a slow file or name server.

use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use crate::bus::{NewConfig, Resources};
use crate::config::{self, Config, Diff, Log, LogFormat, LogLevel, with_found};
use crate::control::certificate;
use crate::control::desk::Desk;
use crate::control::fleet::Fleet;
use crate::control::news;
use crate::control::prober::{Probers, Sighting};
use crate::control::rsa_key;
use crate::observe;
use crate::topology::{Discovery, Snapshot, Topology};

/// Reads and checks the file Weir was started with; the error is everything that is wrong with it,
/// one line each.
pub type Load = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// The file as it is read by a thread that may wait for it.
pub(super) struct Loader {
    load: Load,
    running: Option<JoinHandle<Result<Config, String>>>,
}

impl Loader {
    pub(super) fn new(load: Load) -> Self {
        Self { load, running: None }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn begin(&mut self) {
        let load = self.load.clone();
        self.running = Some(spawn_blocking(move || load()));
    }

    /// What was read; for ever pending while nothing is being read.
    pub(super) async fn loaded(&mut self) -> Result<Config, String> {
        let Some(running) = &mut self.running else { return pending().await };
        let loaded = running.await;
        self.running = None;
        loaded.unwrap_or_else(|error| Err(format!("reading it failed: {error}")))
    }
}

/// What the control thread knows and publishes.
pub(super) struct State {
    pub(super) config: Arc<Config>,
    /// The same without the backends that were found.
    pub(super) base: Config,
    pub(super) discovery: Discovery,
    pub(super) resources: Arc<Resources>,
    pub(super) topology: Topology,
    pub(super) probers: Probers,
    pub(super) fleet: Fleet,
    pub(super) desk: Rc<Desk>,
    /// Changes of a new configuration that workers will get as soon as its primaries were seen, and
    /// the word for what brought it.
    pub(super) announced: Option<(Diff, &'static str)>,
}

impl State {
    /// Takes in what a probe saw. Returns the new picture if it is another one.
    pub(super) fn observe(&mut self, sighting: Sighting) -> Option<Arc<Snapshot>> {
        let Sighting { name, address, observation } = sighting;
        // A prober that was ended may have left one behind.
        let backend = self.topology.find(&name, &address)?;
        let snapshot = self.topology.observe(backend, observation);
        news::log(self.topology.take_events());
        self.desk.probed(name, self.topology.status(backend));
        snapshot
    }

    /// Takes a configuration that was read, or says why not.
    pub(super) fn reload(&mut self, loaded: Result<Config, String>) {
        self.take(loaded, "reloaded");
    }

    /// Backends were found or forgotten.
    pub(super) fn apply_found(&mut self) {
        self.take(Ok(self.base.clone()), "found");
    }

    fn take(&mut self, loaded: Result<Config, String>, why: &'static str) {
        let diff = loaded.and_then(|file| {
            let count = file.backends.len();
            let new = with_found(&file, &self.discovery.found());
            let diff = config::diff(&self.config, &new).map_err(|problems| problems.join("\n"))?;
            // Also without a change: the certificate of `state_dir` may be another one.
            let tls = certificate::contexts(&diff.effective);
            let tls = tls.map_err(|problems| problems.join("\n"))?;
            let rsa_key = rsa_key::rsa_key(&diff.effective)?;
            Ok((diff, tls, rsa_key, count))
        });
        let (diff, tls, rsa_key, count) = match diff {
            Ok(good) => good,
            Err(problems) => {
                tracing::error!("not reloaded, the previous configuration stays: {problems}");
                return;
            }
        };
        let (format, level) = log_settings(&diff.effective.log);
        observe::change_log(format, level);
        self.config = Arc::new(diff.effective.clone());
        self.base = without_found(&diff.effective, count);
        self.discovery.settle(&self.base);
        self.resources = Arc::new(self.resources.renewed(&self.config, tls, rsa_key));
        self.topology.reload(&self.config);
        news::log(self.topology.take_events());
        self.desk.forget_backends(&self.config);
        self.probers.follow(&self.config, &self.resources);
        self.desk.found(self.discovery.found());
        self.announced = Some((diff, why));
        self.publish_when_seen();
    }

    /// Hands a new configuration to the workers once every new primary answered or failed a probe,
    /// so that no client comes between and finds a primary nobody has seen yet. A probe ends within
    /// its timeout.
    pub(super) fn publish_when_seen(&mut self) {
        if self.topology.awaits_a_primary() {
            return;
        }
        let Some((diff, why)) = self.announced.take() else { return };
        self.fleet.publish_config(NewConfig {
            config: self.config.clone(),
            snapshot: self.topology.current(),
            resources: self.resources.clone(),
        });
        let rules = self.resources.rules.clone();
        self.desk.reloaded(self.config.clone(), self.topology.current(), rules);
        tracing::info!("{why}: {}", diff.summary());
    }

    /// Whether workers still have the configuration before: they must not get a picture of the new.
    pub(super) fn is_between(&self) -> bool {
        self.announced.is_some()
    }
}

/// The configuration as its file has it, which names so many backends.
fn without_found(config: &Config, count: usize) -> Config {
    let mut file = config.clone();
    file.backends.truncate(count);
    for cluster in &mut file.clusters {
        cluster.backends.retain(|id| id.index() < count);
    }
    file
}

/// The configuration's words as the log's.
#[must_use]
pub fn log_settings(log: &Log) -> (observe::LogFormat, observe::LogLevel) {
    let format = match log.format {
        LogFormat::Text => observe::LogFormat::Text,
        LogFormat::Json => observe::LogFormat::Json,
    };
    let level = match log.level {
        LogLevel::Error => observe::LogLevel::Error,
        LogLevel::Warn => observe::LogLevel::Warn,
        LogLevel::Info => observe::LogLevel::Info,
        LogLevel::Debug => observe::LogLevel::Debug,
        LogLevel::Trace => observe::LogLevel::Trace,
    };
    (format, level)
}
