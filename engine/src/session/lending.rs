//! A session that shares backend connections, as its worker sees it.
//!
//! Purpose: what is lent to it and taken back, what it keeps meanwhile, and what can be said of it.
//! Never: be asked anything by a session that has its connection to itself.

use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Consistency, Fault, Time};
use crate::route::{Aim, Asker, Positions, Slot, Splits};
use crate::session::causal::Demand;
use crate::session::ledger::Ledger;
use crate::session::routing::{Arrival, Router};
use crate::session::sharing::Sharing;
#[cfg(doc)]
use crate::session::state::Action;
use crate::session::state::{Phase, Session};
use crate::share::{Lent, Settings, Traits};
use crate::wire::{Capabilities, Edits, Status};

/// What a session that shares backend connections begins with.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What a connection is set to after a login.
    pub settings: Arc<Settings>,
    /// What its server said of itself.
    pub traits: Arc<Traits>,
    /// How many prepared statements it may have open.
    pub statements_max: usize,
    /// Where its statements go.
    pub splits: Splits,
    /// Who it is, for rules.
    pub asker: Asker,
}

impl Session {
    /// A login that shares backend connections is over: the client is told so, with `ok`, the payload
    /// of a server's OK.
    /// Returns what the client sent ahead of that, as [`Self::on_lease`].
    ///
    /// # Errors
    /// As [`Self::on_lease`].
    pub fn on_shared_login(
        &mut self,
        backend: Capabilities,
        ok: &[u8],
        terms: Terms,
        edits: &mut Edits,
    ) -> Result<BytesMut, Fault> {
        let early = self.on_lease(backend, ok, edits)?;
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.phase = match phase {
            Phase::Relay(relay) => {
                let tracked = Arc::clone(&terms.traits.tracked);
                let sharing = Sharing::new(terms);
                Phase::Relay(relay.shared(Box::new(sharing), tracked))
            }
            other @ (Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over) => other,
        };
        Ok(early)
    }

    /// What it has set, if it shares backend connections.
    #[must_use]
    pub fn settings(&self) -> Option<&Arc<Settings>> {
        Some(&self.sharing()?.carried.settings)
    }

    /// What it would have after a reset, if it shares backend connections.
    #[must_use]
    pub fn base_settings(&self) -> Option<&Arc<Settings>> {
        Some(&self.sharing()?.carried.base)
    }

    /// Prepared statements that are open, if it shares backend connections.
    #[must_use]
    pub fn prepared_statements(&self) -> usize {
        self.sharing().map_or(0, |sharing| sharing.statements.len())
    }

    /// Its client is in a transaction, as far as it was told.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        matches!(&self.phase, Phase::Relay(relay) if relay.reply.status().contains(Status::IN_TRANS))
    }

    fn sharing(&self) -> Option<&Sharing> {
        match &self.phase {
            Phase::Relay(relay) => relay.sharing.as_deref(),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => None,
        }
    }

    /// Whether a reset of the session on its connection is the worker's to carry out, because more is
    /// said behind it.
    pub const fn set_initialized(&mut self, has_init: bool) {
        if let Phase::Relay(relay) = &mut self.phase {
            relay.has_init = has_init;
        }
    }

    /// What the connection of [`Action::Acquire`] is for.
    #[must_use]
    pub fn aim(&self) -> &Aim {
        self.sharing().map_or(&Aim::Primary, |sharing| &sharing.router.aim)
    }

    /// What its reads have to see, and of whom that is known.
    pub fn set_positions(&mut self, positions: &Arc<Positions>, consistency: Consistency) {
        if let Phase::Relay(relay) = &mut self.phase {
            relay.set_positions(positions);
        }
        self.set_consistency(consistency);
    }

    /// How fresh its reads are, unless its client says otherwise.
    pub fn set_consistency(&mut self, consistency: Consistency) {
        if let Some(sharing) = self.sharing_mut() {
            sharing.router.causal.set_default(consistency);
        }
    }

    /// What the command of [`Action::Acquire`] has to see. `fits`: whether a replica may be asked.
    pub fn demand(
        &mut self,
        primary: Option<&str>,
        fits: impl Fn(&str) -> bool,
        ledger: &mut Ledger,
    ) -> Demand {
        let anywhere = Demand::Have { on: None, gtids: None };
        let Some(sharing) = self.sharing_mut() else { return anywhere };
        let Router { aim, causal, .. } = &mut sharing.router;
        causal.demand(aim, primary, fits, ledger)
    }

    /// Whether the command of [`Action::Acquire`] is a read that has to see more than a replica may
    /// have.
    #[must_use]
    pub fn demands(&self) -> bool {
        self.sharing().is_some_and(|sharing| {
            let Router { aim, causal, .. } = &sharing.router;
            !aim.is_primary() && causal.level(aim) > Consistency::Eventual
        })
    }

    /// The command of [`Action::Acquire`] goes to the primary, as no replica has what it has to see.
    pub fn fall_back(&mut self) {
        if let Some(sharing) = self.sharing_mut() {
            sharing.router.fall_back();
        }
    }

    /// The connection of [`Action::Acquire`] can be had of no replica: the primary is asked.
    pub fn aim_at_primary(&mut self) {
        if let Some(sharing) = self.sharing_mut() {
            sharing.router.aim = Aim::Primary;
        }
    }

    /// Its connection has ended. Whether it goes on without: feed it [`Self::take_ahead`] then.
    pub fn survives_end(&mut self, ledger: &mut Ledger) -> bool {
        match &mut self.phase {
            Phase::Relay(relay) => relay.survives_end(ledger),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => false,
        }
    }

    /// The connection of [`Action::Acquire`], and what it leads to. Feed it
    /// [`Self::take_ahead`] then. Whether it has to be set to something else first.
    pub fn on_attached(&mut self, arrival: Arrival, edits: &mut Edits) -> bool {
        match &mut self.phase {
            Phase::Relay(relay) => relay.on_attached(arrival, edits),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => false,
        }
    }

    /// There is no connection for [`Action::Acquire`], and why: said to the client in answer to the
    /// command that needs one. Feed it [`Self::take_ahead`] then.
    pub fn deny_backend(&mut self, fault: Fault) {
        if let Some(sharing) = self.sharing_mut() {
            sharing.denied = Some(fault);
        }
    }

    /// [`Action::Hold`] is over: a place among those who run at the same time. Feed it
    /// [`Self::take_ahead`] then.
    pub fn admit(&mut self, slot: Slot) {
        if let Some(sharing) = self.sharing_mut() {
            sharing.ruled.admit(slot);
        }
    }

    /// Its client is another account now.
    pub fn set_user(&mut self, user: &[u8]) {
        if let Some(sharing) = self.sharing_mut() {
            sharing.ruled.set_user(user);
        }
    }

    /// Gives its connection back.
    pub fn release(&mut self) -> Option<Box<Lent>> {
        let sharing = self.sharing_mut()?;
        sharing.since = None;
        sharing.lent.take()
    }

    /// Reasons why it keeps a shared connection, as they were entered in the ledger: by [`crate::share::Pin::bit`].
    #[must_use]
    pub fn pins(&self) -> u32 {
        self.sharing().map_or(self.pins_left, |sharing| sharing.pins_told)
    }

    fn sharing_mut(&mut self) -> Option<&mut Sharing> {
        match &mut self.phase {
            Phase::Relay(relay) => relay.sharing.as_deref_mut(),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => None,
        }
    }

    /// Its client has been silent since then, without a connection. Returns when that will have been
    /// too long.
    pub fn set_silent_since(&mut self, since: Time) -> Time {
        let Some(sharing) = self.sharing_mut() else { return Time::NEVER };
        sharing.silent_since = since;
        sharing.silent_since + sharing.silence_max
    }

    /// When its client will have been silent for too long (`wait_timeout`): only while it has no
    /// connection of which the server itself sees to that.
    #[must_use]
    pub fn silent_until(&self, now: Time) -> Time {
        match &self.phase {
            Phase::Relay(relay) => relay.silent_until(now),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => Time::NEVER,
        }
    }

    /// Its client was silent for too long: what a server says to that. The session is over.
    pub fn end_silent(&mut self, edits: &mut Edits) {
        if let Phase::Relay(relay) = &self.phase {
            relay.tell_silent(edits);
        }
        self.close();
    }

    /// Keeps input for later, while it waits for a connection.
    ///
    /// # Errors
    /// There is too much of it.
    pub fn set_ahead(&mut self, input: &[u8]) -> Result<(), Fault> {
        match &mut self.phase {
            Phase::Relay(relay) => relay.set_ahead(input),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => Ok(()),
        }
    }

    /// Whether its client has sent anything ahead.
    #[must_use]
    pub fn has_ahead(&self) -> bool {
        self.sharing().is_some_and(|sharing| !sharing.ahead.is_empty())
    }

    /// What its client sent ahead.
    pub fn take_ahead(&mut self) -> BytesMut {
        match &mut self.phase {
            Phase::Relay(relay) => relay.take_ahead(),
            Phase::Header(_) | Phase::Login(_) | Phase::Parting(_) | Phase::Over => BytesMut::new(),
        }
    }

    /// So much waits that its client is not to be read.
    #[must_use]
    pub fn is_far_ahead(&self) -> bool {
        matches!(&self.phase, Phase::Relay(relay) if relay.is_far_ahead())
    }

    /// What it waited for is dealt with: if its client has sent no more behind that, says so.
    pub fn after_ahead(&mut self, edits: &mut Edits) {
        if let Phase::Relay(relay) = &mut self.phase
            && let Some(sharing) = &mut relay.sharing
            && std::mem::take(&mut sharing.client_ended)
        {
            relay.on_client_end(edits);
            self.close_when_done();
        }
    }
}
