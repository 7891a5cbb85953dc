//! What came of Weir's own words on a session's connection.
//!
//! Purpose: take the answers into what the session carries and what its connection is set to.
//! Never: go on with a command whose connection is not as it has to be.

use std::sync::Arc;

use crate::route::Why;
use crate::session::faults::told;
use crate::session::sharing::{Sharing, Topic};
use crate::session::statements::Statement;
use crate::share::{Asked, Exchange, Pin, Variant};

impl Sharing {
    pub(super) fn on_exchanged(&mut self, topic: Topic, exchange: &Exchange) {
        if !matches!(topic, Topic::Prepare { is_tuned: false, .. }) {
            // What the session said last is not what the connection heard last.
            self.is_fresh = true;
            self.knows_found_rows = false;
        }
        if let Some(question) = exchange.question() {
            for (asked, answer) in question.answers() {
                match asked {
                    Asked::Applied { .. } => {
                        if !self.router.causal.on_waited(answer.as_deref()) {
                            self.router.distrust(Why::BEHIND);
                        }
                    }
                    Asked::LastInsertId => self.on_insert_id(number(answer.as_deref())),
                    Asked::FoundRows => self.found_rows = Some(number(answer.as_deref())),
                    Asked::Schema
                    | Asked::Roles
                    | Asked::Warnings
                    | Asked::Variable(_)
                    | Asked::Switch(_)
                    | Asked::Utf8mb4Collation
                    | Asked::VersionComment
                    | Asked::User(_) => self.carried.on_answer(asked, answer.as_deref()),
                }
            }
            self.adopt_settings();
        }
        let Some(lent) = &mut self.lent else { return };
        if let Some(answer) = exchange.prepared() {
            if let Topic::Prepare { id, .. } = topic
                && let Some(source) = self.statements.get(id).and_then(Statement::source)
            {
                lent.prepared.put(source, Variant::new(answer.statement_id));
            } else {
                lent.prepared.close(answer.statement_id);
            }
            return;
        }
        lent.settings = Arc::clone(&self.carried.settings);
        if topic == Topic::Tune && !self.router.at_replica() {
            self.was_in_transaction |= std::mem::take(&mut self.begins);
        }
        if topic == Topic::InsertId && exchange.question().is_none() {
            lent.last_insert_id = Some(self.carried.last_insert_id);
        }
    }

    /// What the connection says of LAST_INSERT_ID(). Where that is what it said before, the
    /// session's is another one's, of another connection.
    fn on_insert_id(&mut self, value: u64) {
        let seen = std::mem::take(&mut self.insert_id_seen);
        let Some(lent) = &mut self.lent else { return };
        let before = lent.last_insert_id.replace(value);
        if before != Some(value) || seen == value && seen != 0 {
            self.carried.last_insert_id = value;
        }
    }

    pub(super) fn on_refused(&mut self, topic: Topic, exchange: &Exchange, err: &[u8]) {
        match topic {
            // Another server may be of another mind.
            Topic::Tune | Topic::InsertId | Topic::Prepare { .. } | Topic::Refused
                if self.router.at_replica() =>
            {
                self.router.distrust(Why::REFUSED);
                if let Some(lent) = &mut self.lent {
                    lent.is_unknown |= !exchange.is_prepare_refused();
                }
            }
            Topic::Prepare { .. } if exchange.is_prepare_refused() => {
                self.carried.pins.add(Pin::Diagnostics);
                self.row_count = -1;
                self.denied = Some(told(err));
            }
            Topic::Settle => self.carried.pins.add(Pin::Unexplained),
            Topic::Refused => {}
            Topic::InsertId => {
                if let Some(lent) = &mut self.lent {
                    lent.last_insert_id = None;
                }
                self.denied = Some(told(err));
            }
            Topic::Tune | Topic::Prepare { .. } => {
                if let Some(lent) = &mut self.lent {
                    lent.is_unknown = true;
                }
                self.denied = Some(told(err));
            }
        }
    }
}

fn number(answer: Option<&[u8]>) -> u64 {
    let digits = answer.and_then(|it| std::str::from_utf8(it).ok());
    digits.and_then(|it| it.parse().ok()).unwrap_or(0)
}
