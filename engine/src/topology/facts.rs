//! What a server says of itself.
//!
//! Purpose: one value per probe, in words that are the same for every server.
//! Never: conclude; what follows from it is decided in `role` and `health`.

use crate::base::Gtids;
use crate::topology::survey::Question;

/// Everything one probe found out. What could not be found out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether it is MariaDB.
    pub is_mariadb: bool,
    /// `read_only`.
    pub read_only: Option<bool>,
    /// MySQL's `super_read_only`.
    pub super_read_only: Option<bool>,
    /// `innodb_read_only`: a reader of Aurora, or a server on read-only files.
    pub innodb_read_only: Option<bool>,
    /// MySQL's `server_uuid`.
    pub uuid: Option<Box<str>>,
    /// `server_id`.
    pub server_id: Option<u32>,
    /// What it has committed and applied.
    pub gtids: Option<Gtids>,
    /// What it has applied as a replica.
    pub applied: Option<Gtids>,
    /// MySQL's `gtid_mode`; only ON leaves no write without a GTID.
    pub gtid_mode: Option<bool>,
    /// `log_bin`: what is written there has GTIDs.
    pub log_bin: Option<bool>,
    /// The servers it is set up to replicate from.
    pub channels: Option<Vec<Channel>>,
    /// What it is in its Group Replication group, unless it is in none.
    pub group: Option<Member>,
    /// What it is in its Galera cluster, unless it is in none.
    pub galera: Option<Node>,
    /// Age of the newest row of the heartbeat table.
    pub heartbeat_ms: Option<u32>,
    /// The servers that replicate from it.
    pub followers: Option<Vec<Follower>>,
    /// What it did not answer, and why.
    pub refused: Vec<Refusal>,
}

impl Facts {
    /// Whether it takes writes; `None` if it does not say.
    #[must_use]
    pub fn is_writable(&self) -> Option<bool> {
        let flags = [self.read_only, self.super_read_only, self.innodb_read_only];
        let is_read_only = flags.into_iter().flatten().reduce(|one, other| one || other);
        is_read_only.map(|it| !it)
    }

    /// What it has, if nothing can be written there that is not in it.
    #[must_use]
    pub fn position(&self) -> Option<&Gtids> {
        self.gtids.as_ref().filter(|_| self.has_gtid_mode() && self.log_bin == Some(true))
    }

    /// Why what is written or applied there cannot be told by GTIDs, if that is so.
    #[must_use]
    pub fn lacks_gtids(&self) -> Option<&'static str> {
        let is_replica = self.channels.as_ref().is_none_or(|channels| !channels.is_empty());
        if self.gtids.is_none() {
            Some("it says no position")
        } else if !self.has_gtid_mode() {
            Some("gtid_mode has to be ON")
        } else if self.log_bin != Some(true) && !is_replica {
            Some("log_bin has to be ON")
        } else {
            None
        }
    }

    fn has_gtid_mode(&self) -> bool {
        self.is_mariadb || self.gtid_mode == Some(true)
    }

    /// Whether even a user with every privilege but an administrator's cannot write.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        let flag = if self.is_mariadb { self.read_only } else { self.super_read_only };
        flag == Some(true) || self.innodb_read_only == Some(true)
    }
}

/// A server it replicates from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// The channel's or connection's name; empty for the default one.
    pub name: Box<str>,
    /// The source's host, as it was set up.
    pub host: Box<str>,
    /// The source's port.
    pub port: Option<u16>,
    /// The source's `server_uuid`, once it was reached.
    pub uuid: Option<Box<str>>,
    /// The source's `server_id`, once it was reached.
    pub server_id: Option<u32>,
    /// The thread that fetches.
    pub io: Thread,
    /// The thread that applies.
    pub sql: Thread,
    /// How far behind it is, as the server reckons.
    pub behind_s: Option<u32>,
    /// Why a thread stopped.
    pub error: Box<str>,
}

impl Channel {
    /// Whether it applies what there is, and fetches or tries to.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.sql == Thread::Running && self.io != Thread::Stopped
    }
}

/// What a thread of replication does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thread {
    /// Nothing.
    #[default]
    Stopped,
    /// It tries to reach the source.
    Connecting,
    /// Its work.
    Running,
}

/// What a server is in its Group Replication group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// `ONLINE`, not `RECOVERING`, `ERROR` or such.
    pub is_online: bool,
    /// A primary of the group, by its own view.
    pub is_primary: bool,
    /// It reaches most of the members it knows.
    pub has_quorum: bool,
    /// Age of the oldest transaction that is being applied.
    pub lag_ms: Option<u32>,
}

/// What a server is in its Galera cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `Synced`, and in the part of the cluster that goes on.
    pub is_synced: bool,
    /// Taken out of flow control by `wsrep_desync`.
    pub is_desynced: bool,
}

impl Node {
    /// Whether its data are the cluster's.
    #[must_use]
    pub const fn is_current(self) -> bool {
        self.is_synced && !self.is_desynced
    }
}

/// A server that replicates from the one asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Follower {
    /// Its `server_id`.
    pub server_id: Option<u32>,
    /// Its `server_uuid`, from MySQL.
    pub uuid: Option<Box<str>>,
    /// Its `report_host`; empty if it has none.
    pub host: Box<str>,
    /// Its `report_port`.
    pub port: u16,
}

/// A question that was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub question: Question,
    /// The server's error number; 0 for an answer that could not be read.
    pub code: u16,
    /// The server's text, shortened.
    pub message: String,
}

impl Refusal {
    /// Whether the account lacks a privilege.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        DENIED.contains(&self.code)
    }
}

/// Access denied: to a schema, a command on a table, a column, a privilege of the server.
const DENIED: [u16; 4] = [1044, 1142, 1143, 1227];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MariaDbPosition, MySqlGtids};

    /// What a server says: MariaDB or not, `gtid_mode`, `log_bin`, whether it replicates; whether
    /// what it has is all that can be written there; what it lacks.
    #[test]
    fn a_position_counts_if_nothing_is_written_besides() {
        let mode = "gtid_mode has to be ON";
        let log = "log_bin has to be ON";
        for (is_mariadb, gtid_mode, log_bin, replicates, counts, lacks) in [
            (false, Some(true), true, false, true, None),
            (false, Some(true), true, true, true, None),
            (false, Some(true), false, false, false, Some(log)),
            // What it applies has GTIDs, and what is written there matters once it is the primary.
            (false, Some(true), false, true, false, None),
            (false, Some(false), true, false, false, Some(mode)),
            (false, Some(false), true, true, false, Some(mode)),
            (false, None, true, false, false, Some(mode)),
            (true, None, true, false, true, None),
            (true, None, false, false, false, Some(log)),
            (true, None, false, true, false, None),
        ] {
            let gtids = if is_mariadb {
                Gtids::MariaDb(MariaDbPosition::parse("0-1-5").unwrap())
            } else {
                Gtids::MySql(MySqlGtids::parse("").unwrap())
            };
            let channels = if replicates { vec![Channel::default()] } else { Vec::new() };
            let facts = Facts {
                is_mariadb,
                gtid_mode,
                log_bin: Some(log_bin),
                gtids: Some(gtids),
                channels: Some(channels),
                ..Facts::default()
            };
            assert_eq!(
                (facts.position().is_some(), facts.lacks_gtids()),
                (counts, lacks),
                "{facts:?}"
            );
            let none = Facts { gtids: None, ..facts };
            assert_eq!(none.lacks_gtids(), Some("it says no position"));
        }
        assert!(Facts::default().position().is_none());
    }
}
