//! What a session carries from one connection to the next, and why it cannot.
//!
//! Purpose: keep settings and pins true after every answer, from the effects of the text and the
//! server's trackers.
//! Never: let go of a pin on the word of a statement that failed.

use std::sync::Arc;

use crate::share::chatter::Charsets;
use crate::share::effects::{ASKS_DIAGNOSTICS, Change, EXPLAINS, Effects};
use crate::share::pins::{Pin, Pins};
use crate::share::question::Asked;
use crate::share::settings::Settings;
use crate::share::traits::base;
use crate::sql::{Flags, Server};
use crate::wire::{Malformed, Tracker, Trackers, code};

/// What a session carries.
#[derive(Clone, Debug)]
pub struct Carried {
    /// What it has set.
    pub settings: Arc<Settings>,
    /// What a reset makes of a connection.
    pub base: Arc<Settings>,
    /// Why it keeps its connection.
    pub pins: Pins,
    /// What has to be asked for before the connection can be given away.
    asked: Vec<Asked>,
    /// Names of texts prepared in SQL that do nothing to their connection.
    harmless: Vec<Box<[u8]>>,
    /// LAST_INSERT_ID().
    pub last_insert_id: u64,
    /// The session ends: COMMIT RELEASE.
    pub ends: bool,
    /// What its character sets come from.
    pub charsets: Charsets,
    server: Server,
}

/// How an answer ended, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answered {
    /// In an ERR, with this number; 0 if it did not.
    pub error: u16,
    /// Warnings the last packet told of.
    pub warnings: u16,
    /// An id may have been generated.
    pub may_have_inserted: bool,
    /// The command was a statement, of text or prepared.
    pub is_statement: bool,
    /// The command was a COM_INIT_DB.
    pub chooses_schema: bool,
}

impl Carried {
    /// At the beginning of a session.
    #[must_use]
    pub fn new(settings: Arc<Settings>, server: Server) -> Self {
        Self {
            base: Arc::clone(&settings),
            settings,
            pins: Pins::default(),
            asked: Vec::new(),
            harmless: Vec::new(),
            last_insert_id: 0,
            ends: false,
            charsets: Charsets::Login,
            server,
        }
    }

    /// The session was reset, by its client. What the server makes of that has to be asked for.
    pub fn reset(&mut self) {
        self.settings = Arc::new(self.settings.reset_to(&self.base));
        self.pins.reset();
        self.asked = base(self.server, false);
        // MySQL's go back to the server's own, and not to those of the login.
        self.charsets = if self.is_mariadb() { Charsets::Login } else { Charsets::Other };
        self.harmless.clear();
        self.last_insert_id = 0;
    }

    const fn is_mariadb(&self) -> bool {
        matches!(self.server, Server::MariaDb(_))
    }

    /// What has to be asked for now; it will be known then.
    pub fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// Whether that has to be asked for; it will be known then.
    pub fn take_question(&mut self, asked: &Asked) -> bool {
        let before = self.asked.len();
        self.asked.retain(|other| other != asked);
        self.asked.len() < before
    }

    /// Whether that has to be asked for.
    #[must_use]
    pub fn is_asking(&self, asked: &Asked) -> bool {
        self.asked.contains(asked)
    }

    /// Whether anything has to be asked for.
    #[must_use]
    pub const fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The server's word on what was asked for.
    pub fn on_answer(&mut self, asked: &Asked, answer: Option<&[u8]>) {
        match asked {
            Asked::Variable(name) | Asked::Switch(name) => {
                Arc::make_mut(&mut self.settings).set_variable(name, answer.unwrap_or_default());
            }
            // As if it had never been set.
            Asked::User(name)
                if answer == Some(b"NULL") && self.settings.user_variable(name).is_none() => {}
            Asked::User(name) => {
                let fits =
                    answer.is_some_and(|it| Arc::make_mut(&mut self.settings).set_user(name, it));
                if !fits {
                    self.pins.add(Pin::UserVariable);
                }
            }
            Asked::Warnings => {
                if answer.is_some_and(|it| it != b"0") {
                    self.pins.add(Pin::Diagnostics);
                }
            }
            Asked::Schema => {
                Arc::make_mut(&mut self.settings).set_schema(answer.unwrap_or_default());
            }
            // They are their owner's to keep.
            Asked::LastInsertId | Asked::FoundRows | Asked::Roles => {}
            // They are the server's.
            Asked::Utf8mb4Collation | Asked::VersionComment | Asked::Applied { .. } => {}
        }
    }

    /// An answer is complete. `trackers` are all it had, one list behind the other.
    ///
    /// # Errors
    /// The trackers do not parse.
    pub fn on_answered(
        &mut self,
        effects: Option<&Effects>,
        trackers: &[u8],
        answered: Answered,
    ) -> Result<(), Malformed> {
        let flags = effects.map_or(Flags::NONE, |effects| effects.flags);
        let failed = answered.error != 0;
        if answered.is_statement && !flags.intersects(ASKS_DIAGNOSTICS) {
            self.pins.remove(Pin::FoundRows);
            let had_diagnostics = self.pins.has(Pin::Diagnostics);
            self.pins.remove(Pin::Diagnostics);
            if failed || answered.warnings > 0 {
                self.pins.add(Pin::Diagnostics);
            } else if had_diagnostics && self.is_mariadb() {
                self.ask(Asked::Warnings);
            }
        }
        // What came before the question may have left some.
        let asks_behind =
            effects.is_some_and(|it| !it.single && it.flags.intersects(ASKS_DIAGNOSTICS));
        if failed && !answered.is_statement || asks_behind {
            self.pins.add(Pin::Diagnostics);
        }
        // The id may be one that was given, and a statement that fails may have generated some.
        if answered.may_have_inserted && answered.is_statement {
            self.ask(Asked::LastInsertId);
        }
        if let Some(effects) = effects {
            self.apply(effects, answered.error);
        }
        if !trackers.is_empty() {
            self.on_trackers(trackers, effects, answered.chooses_schema)?;
        } else if let Some(effects) = effects
            && !failed
        {
            self.check_reported(effects, &[]);
        }
        Ok(())
    }

    /// That has to be asked for.
    pub fn ask(&mut self, asked: Asked) {
        if !self.asked.contains(&asked) {
            self.asked.push(asked);
        }
    }

    fn apply(&mut self, effects: &Effects, error: u16) {
        let failed = error != 0;
        for change in &effects.changes {
            let happens = match change {
                // Its parser refused it.
                Change::Add(Pin::Unread) => error != code::PARSE_ERROR,
                _ if !failed => true,
                // What came before the failure may have happened.
                Change::Add(pin) => {
                    !effects.single
                        || matches!(pin, Pin::NamedLock | Pin::Procedure | Pin::UserVariable)
                }
                Change::Hold(pin, _) => !effects.single || *pin == Pin::NamedLock,
                Change::User(_, value) => !effects.single || value.is_none(),
                Change::Execute(_) | Change::Prepare(..) => true,
                Change::AskCollation | Change::AskInsertId => true,
                Change::Remove(_)
                | Change::Rename
                | Change::Free(..)
                | Change::FreeAllOf(..)
                | Change::FreeAll(_)
                | Change::Default(_)
                | Change::Set(_)
                | Change::Close => false,
            };
            if happens {
                self.apply_one(change, failed);
            }
        }
    }

    fn apply_one(&mut self, change: &Change, failed: bool) {
        match change {
            Change::Add(pin) => self.pins.add(*pin),
            Change::Remove(pin) => self.pins.remove(*pin),
            Change::Hold(pin, name) => self.pins.hold(*pin, name),
            // If it was a temporary one, its name is not known any more.
            Change::Rename => {
                if self.pins.has(Pin::TemporaryTable) {
                    self.pins.add(Pin::TemporaryTable);
                }
            }
            Change::Free(pin, name) => self.pins.free(*pin, name),
            Change::FreeAllOf(pin, name) => self.pins.free_all_of(*pin, name),
            Change::FreeAll(pin) => self.pins.free_all(*pin),
            Change::User(name, value) => {
                let known = value.as_ref().filter(|_| !failed);
                let fits =
                    known.is_some_and(|it| Arc::make_mut(&mut self.settings).set_user(name, it));
                if fits {
                    self.asked.retain(|asked| !matches!(asked, Asked::User(own) if own == name));
                } else {
                    self.ask(Asked::User(name.clone()));
                }
            }
            // The server's word is behind it.
            Change::Default(_) | Change::Set(_) => {}
            Change::Prepare(name, harmless) => {
                self.harmless.retain(|own| own != name);
                if *harmless && !failed {
                    self.harmless.push(name.clone());
                }
                self.pins.free_all_of(Pin::TextStatement, name);
                self.pins.hold(Pin::TextStatement, name);
            }
            Change::Execute(name) => {
                if !self.harmless.contains(name) {
                    self.pins.add(Pin::UnseenText);
                }
            }
            Change::AskCollation => self.ask(Asked::Variable(b"collation_connection")),
            Change::AskInsertId => self.ask(Asked::LastInsertId),
            Change::Close => self.ends = true,
        }
    }

    fn on_trackers(
        &mut self,
        trackers: &[u8],
        effects: Option<&Effects>,
        chooses_schema: bool,
    ) -> Result<(), Malformed> {
        let flags = effects.map_or(Flags::NONE, |effects| effects.flags);
        // Reported as if they lasted.
        let passing = flags.contains(Flags::SET_STATEMENT);
        let mut reported: Vec<Box<[u8]>> = Vec::new();
        let mut changed = false;
        for tracker in Trackers::new(trackers) {
            match tracker? {
                Tracker::SystemVariable { name, value } => {
                    reported.push(name.to_ascii_lowercase().into());
                    if !passing {
                        self.on_variable(name, value);
                    }
                    if name.starts_with(b"character_set_") || name == b"collation_connection" {
                        let is_named = flags == Flags::SET_NAMES;
                        self.charsets = if is_named { Charsets::Named } else { Charsets::Other };
                    }
                }
                Tracker::Schema(schema) => {
                    Arc::make_mut(&mut self.settings).set_schema(schema);
                }
                Tracker::StateChange(_) => changed = true,
                Tracker::Gtids(_)
                | Tracker::TransactionCharacteristics(_)
                | Tracker::TransactionState(_)
                | Tracker::Unknown { .. } => {}
            }
        }
        let alters = effects.is_some_and(|effects| effects.alters);
        let calls = effects.is_some_and(|effects| effects.calls);
        let explained = flags.intersects(EXPLAINS) && !calls
            || chooses_schema
            || alters && self.pins.has(Pin::TemporaryTable);
        if changed && !explained {
            self.pins.add(Pin::Unexplained);
        }
        if let Some(effects) = effects {
            self.check_reported(effects, &reported);
        }
        Ok(())
    }

    fn on_variable(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"last_insert_id" | b"identity" => {
                let digits = std::str::from_utf8(value).ok();
                self.last_insert_id = digits.and_then(|it| it.parse().ok()).unwrap_or(0);
                self.asked.retain(|asked| *asked != Asked::LastInsertId);
            }
            b"insert_id" | b"rand_seed1" | b"rand_seed2" | b"pseudo_thread_id" | b"gtid_next" => {
                self.pins.add(Pin::OneShot);
            }
            // They follow the schema, and whatever else a server reports of itself.
            b"character_set_database" | b"collation_database" | b"last_gtid" | b"statement_id" => {}
            _ => {
                let settings = Arc::make_mut(&mut self.settings);
                settings.set_variable(name, value);
                // Each changes with the other, of which only one is reported.
                if name == b"character_set_connection" {
                    self.ask(Asked::Variable(b"collation_connection"));
                } else if name == b"collation_connection" {
                    self.ask(Asked::Variable(b"character_set_connection"));
                }
            }
        }
    }

    /// Each variable that a SET named has to have been reported, or it cannot be carried.
    fn check_reported(&mut self, effects: &Effects, reported: &[Box<[u8]>]) {
        if effects.flags.intersects(Flags::SET_STATEMENT | Flags::SET_TRANSACTION_ONCE) {
            return;
        }
        for change in &effects.changes {
            match change {
                Change::Set(name) if !reported.contains(name) => self.pins.add(Pin::Unexplained),
                // MySQL 9.7 makes OFF of their DEFAULT.
                Change::Default(name)
                    if matches!(&**name, b"foreign_key_checks" | b"unique_checks") => {}
                Change::Default(name) => {
                    let base = Arc::clone(&self.base);
                    Arc::make_mut(&mut self.settings).forget_variable(name, &base);
                }
                Change::Add(_)
                | Change::Remove(_)
                | Change::Hold(..)
                | Change::Rename
                | Change::Free(..)
                | Change::FreeAllOf(..)
                | Change::FreeAll(_)
                | Change::User(..)
                | Change::Set(_)
                | Change::Prepare(..)
                | Change::Execute(_)
                | Change::AskCollation
                | Change::AskInsertId
                | Change::Close => {}
            }
        }
    }
}
