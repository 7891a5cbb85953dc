//! The demo's servers and its Weir.
//!
//! Purpose: set them up in order, say where they are, take them down in order.
//! Never: show a server that does not replicate or a Weir that does not answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_tests::{
    Client, Flavour, Lifetime, Server, Topology, Upstream, Weir, WeirConfig, build_weir,
};

use super::Progress;
use super::interrupt::Interrupt;

/// Account of the demo's clients, of nobody else, so that servers can tell what they did.
pub(super) const ACCOUNT: (&str, &str) = ("demo", "demo-secret");
/// Account of Weir's probes.
const MONITOR: (&str, &str) = ("monitor", "monitor-secret");
/// Database of the demo.
pub(super) const DATABASE: &str = "demo";
/// Connections to each server that Weir's clients share.
pub(super) const CONNECTIONS_MAX: u64 = 8;

/// A primary, two replicas, and Weir in front. Dropping it ends them all at once.
pub(super) struct Stage {
    binary: PathBuf,
    pub(super) weir: Weir,
    pub(super) topology: Topology,
}

impl Stage {
    pub(super) fn set(folder: &Path, progress: &Progress, interrupt: &Interrupt) -> Result<Self> {
        progress.say("building weir in release mode (the first time takes a minute or two)");
        let binary = build_weir("release")?;
        interrupt.check()?;
        progress.say("starting a primary and two replicas with GTID replication");
        let began = Instant::now();
        let topology = Topology::start(Flavour::MariaDb, folder, 2, Lifetime::WithParent)?;
        progress.say(format!(
            "  up in {:.1} s: {} on {}, replicas on {}; a row written on the primary was read on both",
            began.elapsed().as_secs_f64(),
            topology.primary.sql("SELECT @@version")?.trim(),
            topology.primary.address(),
            topology.replicas.iter().map(|r| r.address().to_string()).collect::<Vec<_>>().join(", "),
        ));
        let (user, password) = ACCOUNT;
        for (name, password) in [ACCOUNT, MONITOR] {
            topology.primary.create_account(name, password)?;
        }
        topology.primary.sql(&format!("CREATE DATABASE {DATABASE}"))?;
        topology.wait_replicated(REPLICATION_PATIENCE)?;
        for server in servers(&topology) {
            // Each counts what an account did.
            server.sql("SET GLOBAL userstat = 1")?;
        }
        interrupt.check()?;
        let home = folder.join("weir");
        fs::create_dir_all(&home)?;
        let mut config = WeirConfig::new("auto", upstreams(&topology), user, password);
        config.workers = "\"auto\"".to_owned();
        config.pooling = "transaction";
        config.mode = "read-write";
        config.observes_roles = true;
        config.monitor = (MONITOR.0.to_owned(), MONITOR.1.to_owned());
        config.backend_keys.push(("connections_max".to_owned(), CONNECTIONS_MAX));
        let weir = Weir::start(&binary, &home, &config, Lifetime::WithParent)?;
        progress.say(format!("weir is up on {} (pid {})", weir.address(), weir.pid()));
        for line in weir.log_text().lines().take(6) {
            progress.say(format!("  weir: {line}"));
        }
        let stage = Self { binary, weir, topology };
        stage.wait_for_roles()?;
        progress.say("weir has found out who is the primary, and that both replicas serve reads");
        Ok(stage)
    }

    /// Waits until Weir knows what its configuration does not say.
    fn wait_for_roles(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let metrics = self.weir.metrics()?;
            let serves = |name: &str| {
                metrics.get("weir_backend_serves_reads", &[("backend", name)]) == Some(1.0)
            };
            let labels = [("backend", "primary"), ("cluster", "main"), ("role", "primary")];
            let is_led = metrics.get("weir_backend_up", &labels) == Some(1.0);
            if is_led && self.servers().iter().all(|(name, _)| serves(name)) {
                return Ok(());
            }
            if began.elapsed() > ROLES_PATIENCE {
                bail!("weir does not see the servers as they are:\n{}", self.weir.log_text());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All servers by the names that Weir has for them.
    pub(super) fn servers(&self) -> Vec<(String, &Server)> {
        names(&self.topology).zip(servers(&self.topology)).collect()
    }

    /// What `weir explain` says of a statement with the servers as they are.
    pub(super) fn explain(&self, sql: &str) -> Result<String> {
        let output = Command::new(&self.binary)
            .args(["explain", "--admin", &self.weir.admin().to_string(), sql])
            .output()
            .context("weir explain cannot be started")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("weir explain failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(said)
    }

    /// A client of Weir.
    pub(super) fn client(&self) -> Client {
        self.weir.client(ACCOUNT.0, ACCOUNT.1).database(DATABASE)
    }

    /// Addresses, and commands to paste.
    pub(super) fn how_to_connect(&self) -> String {
        let (user, password) = ACCOUNT;
        let replicas = self.topology.replicas.iter().map(Server::address);
        let replicas = replicas.map(|address| address.to_string()).collect::<Vec<_>>().join(" ");
        let admin = self.weir.admin();
        format!(
            "weir      {}\nprimary   {}\nreplicas  {replicas}\nconfig    {}\n\
             connect:  mariadb --host 127.0.0.1 --port {} --user {user} --password={password} {DATABASE}\n\
             metrics:  curl http://{admin}/metrics   (/sessions /histograms /healthz /readyz)\n\
             explain:  {} explain --admin {admin} 'SELECT 1'\n",
            self.weir.address(),
            self.topology.primary.address(),
            self.weir.config().display(),
            self.weir.port(),
            self.binary.display(),
        )
    }

    /// An error if Weir or a server has ended by itself.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        if !self.weir.is_running()? {
            bail!("weir has ended by itself; its log:\n{}", self.weir.log_text());
        }
        let servers =
            std::iter::once(&mut self.topology.primary).chain(&mut self.topology.replicas);
        for server in servers {
            if !server.is_running()? {
                bail!("the server on port {} has ended by itself", server.port());
            }
        }
        Ok(())
    }

    /// Stops everything in order and checks that it was orderly.
    pub(super) fn strike(mut self, progress: &Progress) -> Result<()> {
        self.weir.stop()?;
        progress.say("weir drained and ended with exit code 0");
        self.topology.stop()?;
        progress.say("the servers have shut down");
        Ok(())
    }
}

/// The primary first.
fn servers(topology: &Topology) -> impl Iterator<Item = &Server> {
    std::iter::once(&topology.primary).chain(&topology.replicas)
}

fn names(topology: &Topology) -> impl Iterator<Item = String> {
    let replicas = (1..=topology.replicas.len()).map(|number| format!("replica{number}"));
    std::iter::once("primary".to_owned()).chain(replicas)
}

/// Who is the primary is Weir's to find out.
fn upstreams(topology: &Topology) -> Vec<Upstream> {
    let all = names(topology).zip(servers(topology));
    all.map(|(name, server)| Upstream { name, address: server.address(), primary: false }).collect()
}

pub(super) const REPLICATION_PATIENCE: Duration = Duration::from_secs(60);
const ROLES_PATIENCE: Duration = Duration::from_secs(20);
