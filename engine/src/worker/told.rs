//! What a shared connection is set to, by its server's word.
//!
//! Purpose: the words that make a server report and tell it, and what its answers come to.
//! Never: hold a connection.

use std::sync::Arc;

use bytes::BytesMut;

use crate::share::{
    Asked, Exchange, Question, Settings, Step, Traits, Words, asked_of_server, base, track,
};
use crate::sql::Server;
use crate::wire::{Capabilities, Tracker, Trackers};

/// What a connection is set to, by its server's word.
pub(super) struct Told {
    pub(super) settings: Settings,
    pub(super) roles: Option<Vec<u8>>,
    pub(super) traits: Arc<Traits>,
    pub(super) last_insert_id: u64,
}

impl Told {
    /// `initial` is what the server reported of an `init_query` before.
    pub(super) fn of(server: Server, exchange: &Exchange, initial: &[u8]) -> Self {
        let Some(question) = exchange.question() else {
            let traits = Arc::new(Traits::of(server));
            let settings = Settings::default();
            return Self { settings, roles: None, traits, last_insert_id: 0 };
        };
        let of = |wanted: &Asked| question.answer_to(wanted);
        let answers: Vec<_> = question.answers().collect();
        let schema = of(&Asked::Schema).unwrap_or_default();
        let reported = variables_of(initial);
        let variables = answers.iter().filter_map(|(asked, answer)| match asked {
            Asked::Variable(name) | Asked::Switch(name) if name.starts_with(b"GLOBAL.") => None,
            Asked::Variable(name) | Asked::Switch(name) => {
                Some((*name, answer.as_deref().unwrap_or_default()))
            }
            Asked::Schema
            | Asked::Roles
            | Asked::LastInsertId
            | Asked::FoundRows
            | Asked::Warnings
            | Asked::User(_)
            | Asked::Utf8mb4Collation
            | Asked::VersionComment
            | Asked::Applied { .. } => None,
        });
        // What was asked for is truer than what was reported before.
        let settings = Settings::new(&schema, reported.chain(variables));
        let last_insert_id = of(&Asked::LastInsertId);
        let last_insert_id = last_insert_id.and_then(|it| str::from_utf8(&it).ok()?.parse().ok());
        let last_insert_id = last_insert_id.unwrap_or(0);
        let traits = Arc::new(Traits::told(server, question));
        Self { settings, roles: of(&Asked::Roles), traits, last_insert_id }
    }
}

/// Variables that an `init_query` has set, as far as they make a session what it is.
fn variables_of(trackers: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    Trackers::new(trackers).filter_map(|tracker| match tracker {
        Ok(Tracker::SystemVariable { name, value }) if !PASSING.contains(&name) => {
            Some((name, value))
        }
        Ok(_) | Err(_) => None,
    })
}

/// Variables that say something of the last statement or the schema, or that are Weir's own.
const PASSING: [&[u8]; 13] = [
    b"last_insert_id",
    b"identity",
    b"insert_id",
    b"rand_seed1",
    b"rand_seed2",
    b"timestamp",
    b"pseudo_thread_id",
    b"gtid_next",
    b"last_gtid",
    b"statement_id",
    b"character_set_database",
    b"collation_database",
    b"session_track_system_variables",
];

/// What is said to a connection before sessions use it, behind its `init_query`.
pub(super) fn introduction(
    server: Server,
    capabilities: Capabilities,
    resets: bool,
    has_init: bool,
    out: &mut BytesMut,
) -> Exchange {
    let is_mariadb = matches!(server, Server::MariaDb(_));
    let has_roles = !matches!(server, Server::MySql(version) if version < 80_000);
    let mut words = Words::default();
    if resets {
        words.say(Step::Reset, capabilities);
    }
    words.say(Step::Statement(&track(is_mariadb)), capabilities);
    let mut asked = base(server, has_roles);
    asked.extend(asked_of_server(server));
    if has_init {
        asked.push(Asked::LastInsertId);
    }
    words.send(Some(Question::new(asked, capabilities)), out)
}
