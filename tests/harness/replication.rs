//! A primary and its replicas.
//!
//! Purpose: GTID replication that is known to work before anybody relies on it.
//! Never: report a replica as ready that has not shown the primary's data.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::flavour::Flavour;
use crate::process::Lifetime;
use crate::server::{Server, ServerOptions};

/// Account replicas log in with on the primary.
pub const REPLICATION_USER: &str = "replication";
const REPLICATION_PASSWORD: &str = "replication-secret";

/// A primary with replicas that follow it by GTID.
#[derive(Debug)]
pub struct Topology {
    /// Takes writes; `server_id` 1.
    pub primary: Server,
    /// Read-only followers; `server_id` 2 and up.
    pub replicas: Vec<Server>,
}

impl Topology {
    /// Starts a primary and `replicas` replicas in folders of their own below `folder`.
    ///
    /// # Errors
    /// When a server does not start or does not replicate.
    pub fn start(
        flavour: Flavour,
        folder: &Path,
        replicas: u32,
        lifetime: Lifetime,
    ) -> Result<Self> {
        let mut servers = start_all(flavour, folder, replicas + 1, lifetime)?.into_iter();
        let primary = servers.next().context("no primary")?;
        let topology = Self { primary, replicas: servers.collect() };
        topology.primary.create_account(REPLICATION_USER, REPLICATION_PASSWORD)?;
        for replica in &topology.replicas {
            follow(replica, &topology.primary)?;
        }
        topology.check()?;
        Ok(topology)
    }

    /// Waits until every replica has everything the primary has committed so far.
    ///
    /// # Errors
    /// When a replica does not get there within `patience`.
    pub fn wait_replicated(&self, patience: Duration) -> Result<()> {
        let flavour = self.primary.flavour();
        let position = self.primary.sql(flavour.position_sql())?;
        for replica in &self.replicas {
            let wait = flavour.wait_sql(position.trim(), patience.as_secs_f64());
            if replica.sql(&wait)?.trim() != "0" {
                bail!(
                    "the replica on port {} is not at {} after {patience:?}: {}",
                    replica.port(),
                    position.trim(),
                    replica.sql(flavour.replica_status_sql())?
                );
            }
        }
        Ok(())
    }

    /// Stops all servers, replicas first.
    ///
    /// # Errors
    /// When one has to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.replicas.iter_mut().try_for_each(Server::stop)?;
        self.primary.stop()
    }

    /// Writes on the primary and reads the same on every replica.
    fn check(&self) -> Result<()> {
        self.primary.sql(
            "CREATE DATABASE weir_check; CREATE TABLE weir_check.t (a INT PRIMARY KEY); \
             INSERT INTO weir_check.t VALUES (42)",
        )?;
        self.wait_replicated(Duration::from_secs(20))?;
        for replica in &self.replicas {
            let seen = replica.sql("SELECT a FROM weir_check.t")?;
            if seen.trim() != "42" {
                bail!("the replica on port {} shows {seen:?} instead of 42", replica.port());
            }
        }
        self.primary.sql("DROP DATABASE weir_check").map(drop)
    }
}

/// Starts servers side by side: most of a start is waiting.
fn start_all(
    flavour: Flavour,
    folder: &Path,
    count: u32,
    lifetime: Lifetime,
) -> Result<Vec<Server>> {
    thread::scope(|scope| {
        let starts: Vec<_> = (1..=count)
            .map(|server_id| {
                let name = if server_id == 1 {
                    "primary".to_owned()
                } else {
                    format!("replica{}", server_id - 1)
                };
                let home = folder.join(name);
                scope.spawn(move || {
                    std::fs::create_dir_all(&home)?;
                    // Each tells its primary where it is; the port is its own unless told.
                    let extra = vec!["--report-host=127.0.0.1".to_owned()];
                    let options = ServerOptions { flavour, server_id, extra, lifetime };
                    Server::start(&home, options)
                })
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().map_err(|_| anyhow!("a starting thread panicked"))?)
            .collect()
    })
}

/// Makes a server follow another one, which has the account for it, and refuse writes.
///
/// # Errors
/// When a statement fails.
pub fn follow(replica: &Server, primary: &Server) -> Result<()> {
    let flavour = replica.flavour();
    let sql = flavour.follow_sql(primary.port(), REPLICATION_USER, REPLICATION_PASSWORD);
    replica.sql(&sql).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::RunFolder;

    #[test]
    fn replicas_follow_and_refuse_writes() {
        let folder = RunFolder::create("replication").unwrap();
        let mut topology =
            Topology::start(Flavour::MariaDb, folder.path(), 2, Lifetime::WithParent).unwrap();
        topology.primary.create_account("plain", "p").unwrap();
        topology.primary.sql("REVOKE READ_ONLY ADMIN, SUPER ON *.* FROM plain").unwrap();
        topology.primary.sql("CREATE DATABASE d; CREATE TABLE d.t (a INT)").unwrap();
        topology.wait_replicated(Duration::from_secs(20)).unwrap();
        for replica in &topology.replicas {
            let client = replica.client("plain", "p");
            assert_eq!(client.query("SELECT COUNT(*) FROM d.t").unwrap(), "0\n");
            let refused = client.query("INSERT INTO d.t VALUES (1)").unwrap_err().to_string();
            assert!(refused.contains("ERROR 1290"), "{refused}");
        }
        topology.stop().unwrap();
    }
}
