//! Programs on a server, directly or through Weir.
//!
//! Purpose: a session that takes step after step and tells what came of each.
//! Never: compare.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use weir::wire::Capabilities;
use weir_tests::{Flavour, Login, RawClient, Server};

use super::generate::Program;
use super::schema::{left_sql, start_sql};
use super::step::{SLOTS, Step};
use super::told::told;
use crate::differential::dialogue::{self, Dialogue};
use crate::fixture::{PASSWORD, USER};

/// What a step led to.
pub(super) type Outcome = Vec<String>;

/// A program's connection.
pub(super) struct Session {
    dialogue: Dialogue,
    capabilities: Capabilities,
    id: u32,
    slots: [Option<usize>; SLOTS],
    /// Statements prepared so far.
    prepared: usize,
}

impl Session {
    pub(super) fn begin(address: SocketAddr, program: &Program) -> Result<Self> {
        let Program { capabilities, collation, .. } = *program;
        let database = program.database.clone();
        let login = Login { capabilities, collation, database, ..Login::new(USER, PASSWORD) };
        let client = RawClient::log_in(address, &login)?;
        let id = client.connection_id;
        let dialogue = Dialogue::new(client);
        Ok(Self { dialogue, capabilities, id, slots: [None; SLOTS], prepared: 0 })
    }

    /// The same connection for another program.
    pub(super) fn of_another(self) -> Self {
        Self { slots: [None; SLOTS], ..self }
    }

    /// What a step leads to; also the end of the connection is an outcome.
    pub(super) fn take(&mut self, step: &Step) -> Outcome {
        self.try_take(step).unwrap_or_else(|error| vec![format!("broken: {error:#}")])
    }

    fn try_take(&mut self, step: &Step) -> Result<Outcome> {
        if let Step::ChangeUser(schema) = step {
            let client = self.dialogue.client();
            let (_, changed) = client.change_user(USER, PASSWORD, schema.as_deref())?;
            return Ok(vec![format!("changed: {changed:?}")]);
        }
        let mut commands = step.asked(&self.slots);
        for asked in &mut commands {
            replace(&mut asked.payload, b"%i", self.id.to_string().as_bytes());
        }
        let kinds: Vec<u8> = commands.iter().map(|asked| asked.payload[0]).collect();
        let asked = dialogue::Step { what: String::new(), commands };
        let replies = self.dialogue.run(&asked)?;
        if let Step::Prepare { slot, .. } = step {
            let is_prepared = replies.concat().first().is_some_and(|(_, ok)| ok[0] == 0);
            self.slots[*slot] = is_prepared.then_some(self.prepared);
            self.prepared += usize::from(is_prepared);
        }
        let mut lines = Vec::new();
        for (kind, reply) in kinds.into_iter().zip(&replies) {
            lines.extend(told(kind, reply, self.capabilities)?);
        }
        Ok(lines)
    }
}

fn replace(text: &mut Vec<u8>, what: &[u8], by: &[u8]) {
    while let Some(at) = text.windows(what.len()).position(|window| window == what) {
        text.splice(at..at + what.len(), by.iter().copied());
    }
}

/// A program that is alone on the server.
pub(super) struct Model {
    /// Of each step.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) left: Outcome,
}

impl Model {
    pub(super) fn of(server: &Server, program: &Program) -> Self {
        start(server, program);
        let mut session = Session::begin(server.address(), program).unwrap();
        let outcomes = program.steps.iter().map(|step| session.take(step)).collect();
        drop(session);
        let model = Self { outcomes, left: left(server, program) };
        let is_broken = |told: &Outcome| told.iter().any(|line| line.starts_with("broken"));
        if let Some(at) = model.outcomes.iter().position(is_broken) {
            panic!("alone, at step {at}, {:?}, of {program}", model.outcomes[at]);
        }
        model
    }
}

/// Makes a program's schemas as they are at its start.
pub(super) fn start(server: &Server, program: &Program) {
    let flavour: Flavour = server.flavour();
    let mut session = aside(server, program);
    let told = session.take(&Step::Query(start_sql(&program.own, flavour)));
    let failed = told.iter().any(|line| line.contains("ERROR") || line.contains("broken"));
    assert!(!failed, "{told:#?}");
}

/// What a program has left.
pub(super) fn left(server: &Server, program: &Program) -> Outcome {
    let mut session = aside(server, program);
    left_sql(&program.own).into_iter().flat_map(|sql| session.take(&Step::Query(sql))).collect()
}

/// A session that is not the program's.
fn aside(server: &Server, program: &Program) -> Session {
    let database = None;
    let program = Program {
        database,
        own: program.own.clone(),
        steps: Vec::new(),
        pauses: Vec::new(),
        ..*program
    };
    Session::begin(server.address(), &program).unwrap()
}

/// Thinks for as long as a program does before a step.
pub(super) fn pause(program: &Program, at: usize) {
    match program.pauses[at] {
        0 => {}
        ms => thread::sleep(Duration::from_millis(ms.into())),
    }
}
