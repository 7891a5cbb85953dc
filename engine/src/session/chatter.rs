//! Commands of a session that shares backend connections and has none, which Weir itself answers.
//!
//! Purpose: the answers, as the server would give them.
//! Never: answer what a server has to have heard of.

use std::sync::Arc;

use bytes::BytesMut;

use crate::base::Time;
use crate::session::ledger::{Entry, Ledger};
use crate::session::relay::Relay;
use crate::share::{Chatter, Circumstances, Settings, Traits, chatter};
use crate::wire::reply::Tracked;
use crate::wire::{
    Capabilities, Command, Edits, ErrPacket, Side, Status, Tracker, code, query_text_at,
};

/// MySQL's words for whether a transaction is open; only the first of them is Weir's to know.
const OPEN: &[u8] = b"T_______";
const NOT_OPEN: &[u8] = b"________";

impl Relay {
    /// Whether a command of a session without a connection was answered.
    pub(super) fn answers(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> bool {
        if command == Command::Ping {
            self.send_ok(1, &[], edits);
            self.is_answered(ledger);
            return true;
        }
        let Some(sharing) = self.sharing.as_deref().filter(|_| command == Command::Query) else {
            return false;
        };
        let (traits, settings) =
            (Arc::clone(&sharing.traits), Arc::clone(&sharing.carried.settings));
        let client = self.reply.dialect().client;
        match self.chatter(payload, &traits, &settings) {
            None => return false,
            Some(Chatter::VersionComment(answer)) => {
                let has_metadata = client.contains(Capabilities::OPTIONAL_RESULTSET_METADATA);
                if sharing.begins || has_metadata {
                    return false;
                }
                self.send_result(&[&answer.definition], &[&[&answer.value]], edits);
            }
            Some(done) => {
                let mut trackers = BytesMut::new();
                if !self.does(&done, &traits, &settings, &mut trackers) {
                    return false;
                }
                self.send_ok(1, &trackers, edits);
            }
        }
        self.is_answered(ledger);
        true
    }

    /// Whether a statement is done with an OK, which has these trackers then.
    fn does(
        &mut self,
        what: &Chatter<'_>,
        traits: &Traits,
        settings: &Settings,
        trackers: &mut BytesMut,
    ) -> bool {
        let begins = self.sharing.as_deref().is_some_and(|sharing| sharing.begins);
        match what {
            // The transaction that is open would end first.
            Chatter::Begin if !begins => {
                self.set_begins(true);
                self.put_transaction(OPEN, trackers);
            }
            Chatter::End => {
                self.set_begins(false);
                if begins {
                    self.put_transaction(NOT_OPEN, trackers);
                }
            }
            Chatter::Set(names) if !begins => {
                put_variables(names, &traits.tracked, settings, trackers);
            }
            Chatter::Begin | Chatter::Set(_) | Chatter::VersionComment(_) => return false,
        }
        true
    }

    fn chatter<'a>(
        &self,
        payload: &[u8],
        traits: &'a Traits,
        settings: &'a Settings,
    ) -> Option<Chatter<'a>> {
        let sharing = self.sharing.as_deref()?;
        let client = self.reply.dialect().client;
        let of = Circumstances {
            settings,
            charsets: sharing.carried.charsets,
            reports: client.contains(Capabilities::SESSION_TRACK),
            mode: sharing.mode,
        };
        let text_at = query_text_at(payload, client).ok()?;
        chatter(payload.get(text_at..)?, traits, of)
    }

    /// A command was answered without the backend.
    pub(super) fn is_answered(&mut self, ledger: &mut Ledger) {
        ledger.answered(self.command_since);
        ledger.enter(Entry::Local);
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.silent_since = ledger.now();
        }
    }

    fn set_begins(&mut self, begins: bool) {
        let status = self.reply.status();
        let status =
            if begins { status.with(Status::IN_TRANS) } else { status.without(Status::IN_TRANS) };
        self.reply.set_status(status);
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.begins = begins;
        }
    }

    /// MySQL reports that to whoever gets to know of changes.
    fn put_transaction(&self, state: &[u8], out: &mut BytesMut) {
        if self.sharing.as_deref().is_some_and(|sharing| !sharing.is_mariadb) {
            Tracker::TransactionState(state).put(out);
        }
    }

    /// When its client will have been silent for too long: only where no server sees to it.
    pub(super) fn silent_until(&self, now: Time) -> Time {
        let Some(sharing) = self.sharing.as_deref().filter(|it| it.lent.is_none()) else {
            return Time::NEVER;
        };
        let is_between = self.request.is_between_commands() && !self.request.is_cut();
        let is_silent = is_between && sharing.action.is_none() && sharing.since.is_none();
        let last = sharing.silent_since.max(self.command_since);
        if is_silent { last + sharing.silence_max } else { now + sharing.silence_max }
    }

    /// What the server says to a client that was silent for too long: MariaDB nothing.
    pub(super) fn tell_silent(&self, edits: &mut Edits) {
        const TEXT: &str = "The client was disconnected by the server because of inactivity. See \
                            wait_timeout and interactive_timeout for configuring this behavior.";
        if !self.is_mariadb {
            let code = code::CLIENT_INTERACTION_TIMEOUT;
            let packet = ErrPacket { code, sqlstate: *b"HY000", message: TEXT.as_bytes() };
            edits.send(Side::Client, |out| packet.encode(0, out));
        }
    }
}

fn put_variables(names: &[&[u8]], tracked: &Tracked, settings: &Settings, out: &mut BytesMut) {
    for name in names.iter().filter(|name| tracked.has(name)) {
        let value = settings.variable(name).unwrap_or_default();
        Tracker::SystemVariable { name, value }.put(out);
    }
}
