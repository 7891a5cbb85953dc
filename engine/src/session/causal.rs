//! What a session has written and read, so that its reads see it.
//!
//! ```text
//! write, with a GTID ──────────► own ∪ it, and nothing seen besides: what it read before, it wrote behind
//! read on a replica ───────────► seen there: the next one stays, or needs a position polled later
//! anything else on the primary ► seen there: the next one needs the primary's position, polled later
//! ```
//!
//! Purpose: for each read what a server has to have, before it is asked.
//! Never: ask a server, or forget what a session saw because its connection went.

use std::sync::Arc;

use crate::base::{Consistency, Gtids, MariaDbPosition, MySqlGtids, Time};
use crate::route::{Aim, Fresh, Positions, Stamp, WRITTEN_PARTS_MAX, Why};
use crate::session::ledger::{Entry, Ledger};
use crate::session::relay::Relay;
use crate::share::{Asked, Pin};
use crate::sql::Reason;
use crate::wire::{Command, Tracker, Trackers};

/// What a replica has to have before a read is sent there.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// That much.
    pub gtids: Arc<Gtids>,
    /// How long the replica may take to get there, in milliseconds.
    pub wait_ms: u64,
    /// From when on that counts.
    pub since: Time,
}

/// What a read has to see.
#[derive(Clone, Debug)]
pub enum Demand {
    /// Nothing, or what `gtids` says, on any server, or on the one of that name.
    Have {
        /// The only one that will do without more.
        on: Option<Arc<str>>,
        /// What it has to have.
        gtids: Option<Arc<Gtids>>,
    },
    /// The primary's position is needed, polled after that.
    Fresh(Stamp),
    /// Only the primary has it for sure.
    Primary,
}

/// Where a session has read since it has written.
#[derive(Clone, Debug, Default)]
enum Seen {
    #[default]
    Nothing,
    /// On the primary, or it may have.
    Primary(Stamp),
    Replica {
        name: Arc<str>,
        doubts: u64,
        at: Stamp,
    },
}

/// A command that goes to a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Going<'a> {
    pub(super) command: Command,
    pub(super) payload: &'a [u8],
    pub(super) why: Why,
    /// Nothing else is under way there.
    pub(super) is_first: bool,
    pub(super) in_transaction: bool,
}

/// The memory of a session of an endpoint that splits.
#[derive(Debug, Default)]
pub(super) struct Causal {
    positions: Option<Arc<Positions>>,
    /// Of its endpoint and account.
    default: Option<Consistency>,
    /// By its client.
    set: Option<Consistency>,
    /// What has to be there.
    own: Option<Arc<Gtids>>,
    /// When it wrote last.
    wrote: Stamp,
    seen: Seen,
    /// When the command came that waits for a connection.
    came: Stamp,
    /// The level that the connection there is was chosen for.
    got: Option<Consistency>,
    /// Where it leads to.
    server: Option<Arc<str>>,
    awaited: Option<Box<Awaited>>,
    /// How often that server had been doubted when it came, if reads there are to be remembered.
    doubts: u64,
    /// Nothing under way there reads or writes.
    is_quiet: bool,
    /// What is under way there may read behind its last write.
    reads_behind: bool,
    /// The answer under way has told of a position.
    is_told: bool,
}

impl Causal {
    /// The level of a read.
    pub(super) fn level(&self, aim: &Aim) -> Consistency {
        let hinted = aim.wish().and_then(|wish| wish.consistency);
        hinted.unwrap_or_else(|| self.level_set())
    }

    /// The level of reads without a hint.
    pub(super) fn level_set(&self) -> Consistency {
        self.set.or(self.default).unwrap_or(Consistency::Eventual)
    }

    /// The client wants another level, or the default again.
    pub(super) const fn set_level(&mut self, level: Option<Consistency>) {
        self.set = level;
    }

    /// That of its endpoint and account is another one.
    pub(super) const fn set_default(&mut self, level: Consistency) {
        self.default = Some(level);
    }

    pub(super) fn set_positions(&mut self, positions: Arc<Positions>) {
        self.positions = Some(positions);
    }

    /// A command waits for a connection.
    pub(super) fn on_came(&mut self) {
        if let Some(positions) = &self.positions {
            self.came = positions.now();
        }
    }

    /// What a read of that aim has to see. `fits`: whether a server may be asked.
    pub(super) fn demand(
        &mut self,
        aim: &Aim,
        primary: Option<&str>,
        fits: impl Fn(&str) -> bool,
        ledger: &mut Ledger,
    ) -> Demand {
        let anywhere = Demand::Have { on: None, gtids: None };
        let level = self.level(aim);
        let Some(positions) = self.positions.clone().filter(|_| level > Consistency::Eventual)
        else {
            return anywhere;
        };
        let (mut on, mut after) = (None, None);
        match &self.seen {
            Seen::Nothing => {}
            Seen::Primary(at) => after = Some(*at),
            // What it has now may be less than what was read there.
            Seen::Replica { name, doubts, at } if positions.doubts(name) != *doubts => {
                after = Some(*at);
            }
            Seen::Replica { name, .. } if fits(name) => on = Some(Arc::clone(name)),
            Seen::Replica { name, at, .. } => match positions.fresh(name, *at) {
                Fresh::Known(there) => {
                    self.keep(&there);
                    self.seen = Seen::Nothing;
                }
                Fresh::Stale | Fresh::Never => after = Some(*at),
            },
        }
        let mut others = None;
        match level {
            Consistency::Eventual | Consistency::Session => {}
            Consistency::Instance => {
                let (written, untold) = positions.written();
                (others, after) = (written, after.max(untold));
            }
            Consistency::Global => after = after.max(Some(self.came)),
        }
        if let Some(after) = after {
            let Some(primary) = primary else { return Demand::Primary };
            match positions.fresh(primary, after) {
                Fresh::Stale => return Demand::Fresh(after),
                Fresh::Never => return Demand::Primary,
                Fresh::Known(has) => {
                    self.check_lost(&has, primary, &positions, ledger);
                    self.keep(&has);
                    // Read where it may, it comes behind what was read before.
                    if !matches!(&self.seen, Seen::Replica { at, .. } if *at > after) {
                        on = None;
                    }
                }
            }
        }
        let gtids = match (&self.own, others) {
            (Some(own), Some(others)) if !own.contains(&others) => {
                let mut all = (**own).clone();
                match all.merge(&others) {
                    Ok(()) => Some(Arc::new(all)),
                    // Too much to be told.
                    Err(_) => return Demand::Primary,
                }
            }
            (None, others) => others,
            (Some(own), _) => Some(Arc::clone(own)),
        };
        if on.is_some() && level == Consistency::Session {
            // It has read there, so what it has written is there.
            return Demand::Have { on, gtids: None };
        }
        Demand::Have { on, gtids }
    }

    /// The primary lacks what it, or the one before it, has acknowledged.
    fn check_lost(
        &mut self,
        has: &Arc<Gtids>,
        primary: &str,
        positions: &Positions,
        ledger: &mut Ledger,
    ) {
        let is_missing = self.own.as_ref().is_some_and(|own| !has.contains(own));
        if is_missing && matches!(positions.fresh(primary, self.wrote), Fresh::Known(_)) {
            ledger.enter(Entry::PositionLost);
            self.own = None;
        }
    }

    /// What reads see from now on has this in it.
    fn keep(&mut self, gtids: &Arc<Gtids>) {
        match &mut self.own {
            Some(own) if !gtids.contains(own) => {
                if Arc::make_mut(own).merge(gtids).is_err() {
                    self.own = Some(Arc::clone(gtids));
                }
            }
            Some(_) | None => self.own = Some(Arc::clone(gtids)),
        }
    }

    /// A connection is there.
    pub(super) fn on_attached(&mut self, aim: &Aim, server: Arc<str>, awaited: Option<Awaited>) {
        let level = self.level(aim);
        self.got = Some(level);
        self.doubts = match &self.positions {
            Some(positions) if level > Consistency::Eventual && !aim.is_primary() => {
                positions.doubts(&server)
            }
            Some(_) | None => 0,
        };
        self.server = Some(server);
        self.awaited = awaited.map(Box::new);
        (self.is_quiet, self.reads_behind) = (true, false);
    }

    /// What has to be waited for on the connection first, as a question.
    pub(super) fn question(&self, is_mariadb: bool) -> Option<Asked> {
        let awaited = self.awaited.as_ref()?;
        let gtids = awaited.gtids.to_string().into_bytes().into_boxed_slice();
        Some(Asked::Applied { gtids, wait_ms: awaited.wait_ms, is_mariadb })
    }

    /// The server's answer to that. Whether it has what a read has to see.
    pub(super) fn on_waited(&mut self, answer: Option<&[u8]>) -> bool {
        let is_there = answer == Some(b"0");
        if is_there
            && let (Some(awaited), Some(positions)) = (&self.awaited, &self.positions)
            && let Some(name) = &self.server
        {
            positions.learn(name, &awaited.gtids, self.doubts);
        }
        is_there
    }

    /// How long that took, once.
    pub(super) fn take_awaited(&mut self) -> Option<Time> {
        Some(self.awaited.take()?.since)
    }

    /// Whether the replica's connection there is will do for a read of that aim.
    pub(super) fn holds(&self, aim: &Aim) -> bool {
        let level = self.level(aim);
        level <= Consistency::Session && self.got.is_some_and(|got| got >= level)
    }

    /// A command goes to its connection.
    pub(super) fn on_goes(&mut self, going: Going<'_>) {
        let Going { why, is_first, in_transaction, .. } = going;
        self.is_quiet = going.says_nothing() && (is_first || self.is_quiet);
        // A procedure commits more than once; in a transaction, once at its end.
        let may_call = why == Why::KEPT || why == Why::of(Reason::Call);
        self.reads_behind = !is_first || may_call && !in_transaction;
    }

    /// A command goes there that was not looked at.
    pub(super) const fn on_unread(&mut self) {
        (self.is_quiet, self.reads_behind) = (false, true);
    }

    /// What an answer of the primary has reported, before its client hears of it.
    fn on_trackers(&mut self, trackers: &[u8], is_mariadb: bool) {
        let Some(positions) = &self.positions else { return };
        for tracker in Trackers::new(trackers) {
            let text = match tracker {
                Ok(Tracker::Gtids(text)) => text,
                Ok(Tracker::SystemVariable { name: b"last_gtid", value }) => value,
                Ok(_) => continue,
                Err(_) => return,
            };
            let Some(mut gtids) = read(text, is_mariadb) else { continue };
            if let Some(server) = &self.server
                && let Some(known) = positions.last(server)
            {
                gtids.fill(&known);
            }
            positions.on_written(&gtids);
            self.wrote = positions.now();
            self.is_told = true;
            match &mut self.own {
                None => self.own = Some(Arc::new(gtids)),
                Some(own) => {
                    let own_set = Arc::make_mut(own);
                    if own_set.merge(&gtids).is_err() || own_set.parts() > WRITTEN_PARTS_MAX {
                        // The primary's whole position takes its place.
                        (self.own, self.is_told) = (None, false);
                    }
                }
            }
        }
    }

    /// An answer is over.
    fn on_answered(&mut self, is_replica: bool, results: u32, is_tracked: bool) {
        let Some(positions) = &self.positions else { return };
        let is_told = std::mem::take(&mut self.is_told);
        if is_replica {
            if self.got.is_some_and(|got| got > Consistency::Eventual)
                && let Some(name) = &self.server
            {
                let name = Arc::clone(name);
                self.seen = Seen::Replica { name, doubts: self.doubts, at: positions.now() };
            }
            return;
        }
        if !(is_told || self.is_quiet || is_tracked && positions.all_tell()) {
            positions.on_untold();
        }
        // Of several results the later ones may have read what came behind the write.
        if is_told && results <= 1 && !self.reads_behind {
            self.seen = Seen::Nothing;
        } else if is_told || !self.is_quiet {
            self.seen = Seen::Primary(positions.now());
        }
    }
}

impl Relay {
    /// Takes in what the backend has reported so far.
    #[inline]
    pub(super) fn note_positions(&mut self) {
        if let Some(notes) = self.reply.notes_mut()
            && let Some(sharing) = self.sharing.as_deref_mut()
            && let Some(trackers) = notes.take_new()
            && !sharing.router.reached.is_replica
        {
            sharing.router.causal.on_trackers(trackers, sharing.is_mariadb);
        }
    }

    /// An answer of the backend is complete.
    pub(super) fn note_answer(&mut self) {
        let Some(sharing) = self.sharing.as_deref_mut() else {
            // Nobody knows what that was.
            if let Some(positions) = &self.positions {
                positions.on_untold();
            }
            return;
        };
        let results = self.reply.notes().map_or(0, |notes| notes.results);
        let is_tracked = !sharing.carried.pins.has(Pin::Tracking);
        let is_replica = sharing.router.reached.is_replica;
        sharing.router.causal.on_answered(is_replica, results, is_tracked);
    }

    /// The positions of its cluster's servers.
    pub(super) fn set_positions(&mut self, positions: &Arc<Positions>) {
        match self.sharing.as_deref_mut() {
            Some(sharing) => sharing.router.causal.set_positions(Arc::clone(positions)),
            None => self.positions = Some(Arc::clone(positions)),
        }
    }
}

impl Going<'_> {
    /// Whether it reads and writes no data.
    fn says_nothing(self) -> bool {
        const SHORT: usize = 256;
        const NOTHING: [Reason; 4] =
            [Reason::Transaction, Reason::Session, Reason::Empty, Reason::SystemVariable];
        let is_from = |word: &[u8]| word.eq_ignore_ascii_case(b"FROM");
        let Self { command, payload, why, .. } = self;
        match command {
            Command::Ping
            | Command::InitDb
            | Command::ResetConnection
            | Command::StmtPrepare
            | Command::StmtClose
            | Command::StmtReset
            | Command::StmtSendLongData
            | Command::SetOption => true,
            // A subquery, or a statement behind it, may read.
            Command::Query => {
                NOTHING.iter().any(|reason| why == Why::of(*reason))
                    && payload.len() <= SHORT
                    && !payload.iter().any(|byte| matches!(byte, b'(' | b';'))
                    && !payload.windows(4).any(is_from)
            }
            Command::Quit
            | Command::FieldList
            | Command::Refresh
            | Command::Statistics
            | Command::ProcessInfo
            | Command::ProcessKill
            | Command::Debug
            | Command::ChangeUser
            | Command::BinlogDump
            | Command::BinlogDumpGtid
            | Command::RegisterReplica
            | Command::StmtExecute
            | Command::StmtBulkExecute
            | Command::StmtFetch
            | Command::Daemon
            | Command::Clone => false,
        }
    }
}

fn read(text: &[u8], is_mariadb: bool) -> Option<Gtids> {
    let text = std::str::from_utf8(text).ok()?;
    let gtids = if is_mariadb {
        Gtids::MariaDb(MariaDbPosition::parse(text).ok()?)
    } else {
        Gtids::MySql(MySqlGtids::parse(text).ok()?)
    };
    Some(gtids).filter(|gtids| !gtids.is_empty())
}

#[cfg(test)]
mod tests;
