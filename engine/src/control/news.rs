//! What the topology noticed, as log lines.
//!
//! Purpose: one clear line per change, and what to do about it.
//! Never: repeat itself; the topology says each thing once.

use crate::config::Role;
use crate::topology::{Event, Question};

/// Writes everything that changed.
pub(super) fn log(events: Vec<Event>) {
    for event in events {
        log_one(&event);
    }
}

fn log_one(event: &Event) {
    match event {
        Event::Answers(backend) => tracing::info!(backend = &**backend, "backend answers"),
        Event::Silent(backend) => tracing::warn!(backend = &**backend, "backend does not answer"),
        Event::Role(backend, role) => {
            let role = match role {
                Role::Primary => "primary",
                Role::Replica => "replica",
            };
            tracing::info!(backend = &**backend, role, "backend has another role");
        }
        Event::Replicates(backend) => {
            tracing::info!(backend = &**backend, "replication runs again");
        }
        Event::Stopped(backend, error) => tracing::warn!(
            backend = &**backend,
            error = &**error,
            "replication does not run: no reads go there"
        ),
        Event::Refused { backend, question, grant, message } => {
            let (backend, what) = (&**backend, asked(*question));
            match grant {
                Some(grant) => tracing::warn!(
                    backend,
                    grant,
                    message,
                    "the monitor account may not ask for {what}: GRANT {grant} to it"
                ),
                None => tracing::warn!(backend, message, "the probe cannot ask for {what}"),
            }
        }
        Event::NoPrimary(cluster) => tracing::warn!(
            cluster = &**cluster,
            "no primary: no server takes writes and replicates from no other of the cluster"
        ),
        Event::TwoPrimaries { cluster, primary, other } => tracing::warn!(
            cluster = &**cluster,
            primary = &**primary,
            other = &**other,
            "two primaries: both servers take writes and replicate from no other of the cluster; \
             the first is kept"
        ),
    }
}

const fn asked(question: Question) -> &'static str {
    match question {
        Question::Inventory | Question::Variables | Question::Position => "its variables",
        Question::Channels => "the state of replication",
        Question::Group => "the state of Group Replication",
        Question::Galera => "the state of Galera",
        Question::Heartbeat => "the heartbeat table",
        Question::Followers => "its replicas",
    }
}
