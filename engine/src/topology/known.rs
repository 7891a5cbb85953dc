//! What is known of one backend.
//!
//! Purpose: the last observation and what was made of it, kept as long as name and address are.
//! Never: decide; `role` and `health` do.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::{Backend, Role};
use crate::topology::facts::{Facts, Refusal};
use crate::topology::role::Member;
use crate::topology::survey::{Question, Wishes};
use crate::topology::{BackendView, Event};

/// What metrics show of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it refuses writes; `None` until it said so.
    pub is_read_only: Option<bool>,
    /// Whether replication runs, where it is set up.
    pub replicates: Option<bool>,
    /// How far behind it is.
    pub lag_ms: Option<u32>,
    /// Transactions of the primary it has not, as of the primary's last probe.
    pub behind: Option<u64>,
    /// Probes.
    pub probes: u64,
    /// Of them, those without an answer.
    pub probes_failed: u64,
    /// Changes of its role in force.
    pub role_changes: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) fixed: Option<Role>,
    pub(super) is_seen: bool,
    /// The last probe was answered.
    pub(super) answers: bool,
    pub(super) facts: Option<Box<Facts>>,
    pub(super) was_beside: bool,
    pub(super) status: Status,
    /// What it refused and was spoken of.
    told: BTreeSet<Question>,
}

impl Known {
    pub(super) fn new(backend: &Backend) -> Self {
        Self { fixed: backend.role, ..Self::default() }
    }

    pub(super) fn member<'t>(&'t self, view: &'t BackendView) -> Member<'t> {
        Member {
            fixed: self.fixed,
            address: &view.address,
            is_seen: self.is_seen,
            answers: self.answers,
            facts: self.facts.as_deref(),
            was_beside: self.was_beside,
        }
    }

    /// It answered a probe. What it refuses is spoken of until it is answered again.
    pub(super) fn on_facts(
        &mut self,
        facts: Box<Facts>,
        name: &Arc<str>,
        wishes: &Wishes,
        events: &mut Vec<Event>,
    ) {
        self.is_seen = true;
        self.answers = true;
        self.status.probes += 1;
        self.status.is_read_only = facts.is_writable().map(|it| !it);
        self.told.retain(|question| facts.refused.iter().any(|it| it.question == *question));
        for refusal in &facts.refused {
            if self.told.insert(refusal.question) {
                events.push(Event::Refused {
                    backend: Arc::clone(name),
                    question: refusal.question,
                    grant: grant(refusal, facts.is_mariadb, wishes),
                    message: refusal.message.clone(),
                });
            }
        }
        self.facts = Some(facts);
    }

    pub(super) fn on_silence(&mut self) {
        self.is_seen = true;
        self.answers = false;
        self.status.probes += 1;
        self.status.probes_failed += 1;
    }
}

/// What the monitor account lacks.
fn grant(refusal: &Refusal, is_mariadb: bool, wishes: &Wishes) -> Option<String> {
    if !refusal.is_denial() {
        return None;
    }
    let grant = match (refusal.question, is_mariadb) {
        (Question::Inventory | Question::Variables | Question::Position | Question::Galera, _) => {
            return None;
        }
        (Question::Channels, false) => "REPLICATION CLIENT ON *.*".to_owned(),
        (Question::Channels, true) => "REPLICA MONITOR ON *.*".to_owned(),
        (Question::Group, _) => "SELECT ON performance_schema.*".to_owned(),
        (Question::Heartbeat, _) => {
            let (schema, table) = wishes.heartbeat.as_ref()?;
            format!("SELECT ON {schema}.{table}")
        }
        (Question::Followers, false) => "REPLICATION SLAVE ON *.*".to_owned(),
        (Question::Followers, true) => "REPLICATION MASTER ADMIN ON *.*".to_owned(),
    };
    Some(grant)
}
