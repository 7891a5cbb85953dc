//! What an answer said besides its rows.
//!
//! Purpose: keep it until the answer is over, for a session that shares its backend connection.
//! Never: keep a row.

use std::sync::Arc;

use bytes::BytesMut;

use crate::wire::ok::OkPacket;
use crate::wire::prepared::PrepareOk;
use crate::wire::reader::Malformed;
use crate::wire::reply::ReplyWalk;
use crate::wire::tracker::{Tracker, Trackers};

/// Of all results of one answer.
#[derive(Debug, Default)]
pub struct Notes {
    /// Rows changed, if the last result had no rows.
    pub affected_rows: Option<u64>,
    /// The last id that was generated or given.
    pub last_insert_id: u64,
    /// Of the last result.
    pub warnings: u16,
    /// Rows of the last result that had any.
    pub rows: Option<u64>,
    /// All trackers, one list behind the other.
    pub trackers: BytesMut,
    /// Bytes of them that were taken as new ones.
    taken: usize,
    /// Results so far.
    pub results: u32,
    /// The client has said itself what it wants to be told.
    pub is_asked: bool,
    /// What the server said of the statement it prepared.
    pub prepared: Option<PrepareOk>,
    /// The id that the client got for the last statement that was prepared.
    pub statement_id: u32,
    /// Rows so far of the result that is coming.
    pub(super) counted: u64,
    /// What the client gets to know.
    pub(super) tracked: Arc<Tracked>,
}

impl Notes {
    /// The next answer begins.
    pub(super) fn begin(&mut self) {
        self.affected_rows = None;
        self.last_insert_id = 0;
        self.warnings = 0;
        self.rows = None;
        self.counted = 0;
        self.prepared = None;
        self.trackers.clear();
        self.taken = 0;
        self.results = 0;
    }

    /// Trackers that have come since this was asked last, if any have.
    pub fn take_new(&mut self) -> Option<&[u8]> {
        let new = self.trackers.get(self.taken..).filter(|new| !new.is_empty())?;
        self.taken = self.trackers.len();
        Some(new)
    }

    /// A statement was prepared. Returns the id it has for the client.
    pub(super) const fn on_prepared(&mut self, answer: PrepareOk) -> u32 {
        self.prepared = Some(answer);
        self.statement_id = self.statement_id.wrapping_add(1);
        self.statement_id
    }

    pub(super) fn on_ok(&mut self, packet: &OkPacket<'_>) {
        self.affected_rows = Some(packet.affected_rows);
        self.results = self.results.saturating_add(1);
        self.on_any(packet);
    }

    pub(super) fn on_end_of_rows(&mut self, packet: &OkPacket<'_>) {
        self.on_end_of_old_rows(packet.warnings);
        self.on_any(packet);
    }

    pub(super) const fn on_end_of_old_rows(&mut self, warnings: u16) {
        self.affected_rows = None;
        self.results = self.results.saturating_add(1);
        self.rows = Some(self.counted);
        self.counted = 0;
        self.warnings = warnings;
    }

    fn on_any(&mut self, packet: &OkPacket<'_>) {
        if packet.last_insert_id != 0 {
            self.last_insert_id = packet.last_insert_id;
        }
        self.warnings = packet.warnings;
        self.trackers.extend_from_slice(packet.trackers);
    }
}

impl ReplyWalk {
    /// Keeps what answers say, and takes off what only Weir has asked servers for.
    pub fn keep_notes(&mut self, tracked: Arc<Tracked>) {
        self.notes = Some(Box::new(Notes { tracked, ..Notes::default() }));
    }

    /// What the answer said that is over.
    #[must_use]
    pub fn notes(&self) -> Option<&Notes> {
        self.notes.as_deref()
    }

    /// The same, to take from.
    pub fn notes_mut(&mut self) -> Option<&mut Notes> {
        self.notes.as_deref_mut()
    }
}

/// What a server reports to clients that have not said what they want to know: its global
/// `session_track_*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// `session_track_system_variables`.
    pub variables: Vec<u8>,
    /// `session_track_schema`.
    pub schema: bool,
    /// `session_track_state_change`.
    pub state_change: bool,
    /// `session_track_gtids`, of MySQL.
    pub gtids: bool,
}

impl Tracked {
    /// Whether clients are told of changes of that variable.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        let mut names = self.variables.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|own| own == b"*" || own.eq_ignore_ascii_case(name))
    }
}

/// Appends those trackers that a client gets which has not asked for more.
///
/// # Errors
/// They do not parse.
pub(super) fn by_default(
    trackers: &[u8],
    tracked: &Tracked,
    is_asked: bool,
    out: &mut BytesMut,
) -> Result<(), Malformed> {
    for tracker in Trackers::new(trackers) {
        let tracker = tracker?;
        let is_told = match &tracker {
            Tracker::SystemVariable { name, .. } => tracked.has(name),
            Tracker::Schema(_) => tracked.schema,
            Tracker::StateChange(_) => tracked.state_change,
            // MySQL sends these whether they are asked for or not.
            Tracker::TransactionState(_) | Tracker::TransactionCharacteristics(_) => true,
            Tracker::Gtids(_) => tracked.gtids || is_asked,
            Tracker::Unknown { .. } => false,
        };
        if is_told {
            tracker.put(out);
        }
    }
    Ok(())
}
