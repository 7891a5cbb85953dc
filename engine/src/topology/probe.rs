//! The dialogue of a probe on a connection that is logged in.
//!
//! Purpose: ask the server what it is, in one round trip, and tell an answer from a failure.
//! Never: log in, wait, or decide what the answers mean.

use bytes::BytesMut;

use crate::topology::answer::{Answer, Answers};
use crate::topology::facts::{Facts, Refusal};
use crate::topology::survey::{Question, Survey, Wishes};
use crate::wire::{Capabilities, Command, Greeting, frame};

/// After so many probes what a server has is asked again: plugins come and go.
const INVENTORY_PROBES: u32 = 240;

/// A server looks at the privileges of an account when it logs in. After so many probes with one
/// missing, a new connection may have it.
const BLIND_PROBES_MAX: u32 = 40;

/// What to do after bytes were fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeStep {
    /// Send what was written, if anything was; the answers are not complete.
    Wait,
    /// The server answered.
    Answered(Box<Facts>),
    /// These are no answers; the connection is of no more use.
    Failed,
}

/// Probes on one connection, one after the other.
#[derive(Debug)]
pub struct Probe {
    survey: Survey,
    answers: Answers,
    asked: Vec<Question>,
    /// Probes until the next inventory.
    probes_left: u32,
    /// Probes in a row that the account had not the privileges for.
    blind_probes: u32,
}

impl Probe {
    /// For a connection to a server that greeted so.
    #[must_use]
    pub fn new(greeting: &Greeting, capabilities: Capabilities, wishes: Wishes) -> Self {
        Self {
            survey: Survey::new(greeting, wishes),
            answers: Answers::new(capabilities),
            asked: Vec::new(),
            probes_left: 0,
            blind_probes: 0,
        }
    }

    /// Whether a new connection may see more.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.blind_probes >= BLIND_PROBES_MAX
    }

    /// Asks; the questions are appended to `out`. What was asked before has to be answered.
    pub fn ask(&mut self, out: &mut BytesMut) {
        let needs_inventory = self.probes_left == 0;
        self.probes_left = if needs_inventory { INVENTORY_PROBES } else { self.probes_left - 1 };
        self.put(self.survey.questions(needs_inventory), out);
    }

    /// Asks for what the server has, and nothing else. False if it has no position, or that is not
    /// known yet. What was asked before has to be answered.
    pub fn ask_position(&mut self, out: &mut BytesMut) -> bool {
        let has_position = self.survey.has_position();
        if has_position {
            self.put(vec![Question::Position], out);
        }
        has_position
    }

    /// Feeds bytes of the server. Further questions may be appended to `out`.
    pub fn on_bytes(&mut self, bytes: &[u8], out: &mut BytesMut) -> ProbeStep {
        let answers = match self.answers.on_bytes(bytes, self.asked.len()) {
            Ok(Some(answers)) => answers,
            Ok(None) => return ProbeStep::Wait,
            Err(_) => return ProbeStep::Failed,
        };
        if self.asked.first() == Some(&Question::Inventory) {
            self.survey.on_inventory(answers.first());
            self.put(self.survey.questions(false), out);
            return ProbeStep::Wait;
        }
        if self.asked.first() == Some(&Question::Position) {
            return ProbeStep::Answered(Box::new(self.survey.facts(&self.asked, &answers)));
        }
        let mut questions = self.asked.iter().zip(&answers);
        // A variable went with its plugin.
        if questions.any(|(question, answer)| {
            *question == Question::Variables && matches!(answer, Answer::Refused { .. })
        }) {
            self.probes_left = 0;
        }
        let facts = Box::new(self.survey.facts(&self.asked, &answers));
        let is_blind = facts.refused.iter().any(Refusal::is_denial);
        self.blind_probes = if is_blind { self.blind_probes + 1 } else { 0 };
        ProbeStep::Answered(facts)
    }

    fn put(&mut self, questions: Vec<Question>, out: &mut BytesMut) {
        for question in &questions {
            let statement = self.survey.statement(*question);
            frame(out, 0, |payload| {
                payload.extend_from_slice(&[Command::Query.as_byte()]);
                payload.extend_from_slice(statement.as_bytes());
            });
        }
        self.asked = questions;
    }
}
