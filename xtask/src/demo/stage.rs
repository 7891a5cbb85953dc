//! The demo's servers and its Weir.
//!
//! Purpose: set them up in order, say where they are, take them down in order.
//! Never: show a server that does not replicate or a Weir that does not answer.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use weir_tests::{
    Client, Flavour, Lifetime, Server, Topology, Upstream, Weir, WeirConfig, build_weir,
};

use super::Progress;
use super::interrupt::Interrupt;

/// Account of the demo's clients and probes.
pub(super) const ACCOUNT: (&str, &str) = ("demo", "demo-secret");
/// Database of the demo.
pub(super) const DATABASE: &str = "demo";
/// Connections to the primary that Weir's clients share.
pub(super) const CONNECTIONS_MAX: u64 = 8;

/// A primary, two replicas, and Weir in front. Dropping it ends them all at once.
pub(super) struct Stage {
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
        topology.primary.create_account(user, password)?;
        topology.primary.sql(&format!("CREATE DATABASE {DATABASE}"))?;
        interrupt.check()?;
        let home = folder.join("weir");
        fs::create_dir_all(&home)?;
        let mut config = WeirConfig::new("auto", upstreams(&topology), user, password);
        config.workers = "\"auto\"".to_owned();
        config.pooling = "transaction";
        config.backend_keys.push(("connections_max".to_owned(), CONNECTIONS_MAX));
        let weir = Weir::start(&binary, &home, &config, Lifetime::WithParent)?;
        progress.say(format!("weir is up on {} (pid {})", weir.address(), weir.pid()));
        for line in weir.log_text().lines().take(6) {
            progress.say(format!("  weir: {line}"));
        }
        Ok(Self { weir, topology })
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
             metrics:  curl http://{admin}/metrics   (/sessions /histograms /healthz /readyz)\n",
            self.weir.address(),
            self.topology.primary.address(),
            self.weir.config().display(),
            self.weir.port(),
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

fn upstreams(topology: &Topology) -> Vec<Upstream> {
    let primary = ("primary".to_owned(), topology.primary.address());
    let replicas = topology.replicas.iter().enumerate();
    std::iter::once(primary)
        .chain(replicas.map(|(index, server)| (format!("replica{}", index + 1), server.address())))
        .map(|(name, address)| Upstream { primary: name == "primary", name, address })
        .collect()
}
