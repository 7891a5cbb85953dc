//! Whether clients should be sent here.
//!
//! Purpose: one answer and its reason, for load balancers.
//! Never: turn clients away; whoever connects all the same is served as well as can be.

use crate::config::Config;
use crate::topology::Snapshot;

/// How far the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Workers do not accept clients yet.
    Starting,
    /// They do.
    Serving,
    /// They do no more.
    Draining,
}

/// Whether the primary of every cluster has been reached, and clients are accepted.
///
/// A primary that was reached once counts: while it is away this Weir is no worse a place for
/// clients than any other.
///
/// # Errors
/// What is missing.
pub fn readiness(phase: Phase, config: &Config, snapshot: &Snapshot) -> Result<(), String> {
    match phase {
        Phase::Starting => return Err("starting: workers do not accept clients yet".to_owned()),
        Phase::Draining => return Err("draining: no new clients are accepted".to_owned()),
        Phase::Serving => {}
    }
    for (cluster, index) in config.clusters.iter().zip(0..) {
        let primary = snapshot.primary(crate::base::ClusterId(index));
        if primary.is_none_or(|primary| primary.greeting.is_none()) {
            return Err(format!("the primary of cluster '{}' was not reached yet", cluster.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::BackendId;
    use crate::config::{Offline, parse};
    use crate::topology::{Observation, Topology};
    use crate::wire::{Capabilities, Greeting, Status};

    const CONFIG: &str = r#"
        cluster = [
            { name = "one", monitor = { user = "m", password = "" }, backend = [
                { name = "a", address = "127.0.0.1:1", role = "primary" },
                { name = "b", address = "127.0.0.1:2", role = "replica" },
            ] },
            { name = "two", monitor = { user = "m", password = "" }, backend = [
                { name = "c", address = "127.0.0.1:3", role = "primary" },
            ] },
        ]
        endpoint = [{ name = "app", listen = "127.0.0.1:4", cluster = "one" }]
        user = [{ name = "u", password = "" }]
    "#;

    fn logged_in() -> Observation {
        Observation::LoggedIn(Arc::new(Greeting {
            version: b"8.4.0".to_vec(),
            connection_id: 1,
            nonce: [1; 20],
            capabilities: Capabilities::PROTOCOL_41,
            collation: 45,
            status: Status::AUTOCOMMIT,
            plugin: Vec::new(),
        }))
    }

    #[test]
    fn every_primary_must_have_been_reached_once() {
        let config = parse(CONFIG, &Offline).unwrap();
        let mut topology = Topology::new(&config);
        let mut after = |backend: u16, observation| {
            topology.observe(BackendId(backend), observation);
            readiness(Phase::Serving, &config, &topology.current())
        };
        let missing = |name| Err(format!("the primary of cluster '{name}' was not reached yet"));
        assert_eq!(after(0, Observation::Unreachable), missing("one"));
        assert_eq!(after(1, logged_in()), missing("one"));
        assert_eq!(after(0, logged_in()), missing("two"));
        assert_eq!(after(2, logged_in()), Ok(()));
        assert_eq!(after(0, Observation::Unreachable), Ok(()));
        for phase in [Phase::Starting, Phase::Draining] {
            let refused = readiness(phase, &config, &topology.current()).unwrap_err();
            assert!(refused.contains(": "), "{refused}");
        }
    }
}
