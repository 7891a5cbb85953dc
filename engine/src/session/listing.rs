//! SHOW PROCESSLIST and COM_PROCESS_INFO: a list of connections under the ids clients know.
//!
//! Purpose: let the command go on alone, keep its answer until it is whole, have the worker say
//! whose the threads are, and let the session go on.
//! Never: keep more than [`LIST_BYTES_MAX`], or let the client see an id of the server for one of
//! Weir's.

use bytes::BytesMut;

use crate::base::Fault;
use crate::session::faults::{not_a_reply, out_of_order, unexpected};
use crate::session::ledger::{Entry, Ledger};
use crate::session::processlist::{Threads, rewrite};
use crate::session::relay::{Relay, Wait, What, send_whole};
use crate::session::sharing::{Kind, Of};
use crate::session::state::{Action, Tally};
use crate::session::text::Refusal;
use crate::wire::reply::{Expect, ReplyEvent};
use crate::wire::{Command, Edit, Edits, ErrPacket, Side};

/// The longest list of a server that is kept: some ten thousand threads. A longer one is answered
/// with an error.
const LIST_BYTES_MAX: usize = 4 << 20;

/// Why a server's list cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoList {
    /// It is longer than [`LIST_BYTES_MAX`].
    TooLong,
    /// It does not look like one.
    Odd,
}

impl NoList {
    pub(super) fn text(self) -> String {
        match self {
            Self::TooLong => format!(
                "weir: the server's process list is longer than {LIST_BYTES_MAX} bytes; ask \
                 without FULL, or the server itself"
            ),
            Self::Odd => "weir: the server's process list has no rows with Id, User and Host; ask \
                          the server itself"
                .to_owned(),
        }
    }
}

/// An answer that is being kept.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// As its client would have got it.
    bytes: BytesMut,
    is_too_long: bool,
    /// It is whole; whether it ended in an ERR.
    ended: Option<bool>,
    /// What came behind it in the same input, unasked: a server that is about to close says so.
    behind: BytesMut,
}

impl Listing {
    /// Keeps what would go on of `input`.
    fn keep(&mut self, input: &[u8], edits: &Edits) {
        let mut at = 0;
        for edit in edits.list() {
            let piece = match edit {
                Edit::Forward(count) => {
                    at += count;
                    input.get(at - count..at).unwrap_or_default()
                }
                Edit::Discard(count) => {
                    at += count;
                    continue;
                }
                Edit::Send(Side::Client, range) => edits.bytes(range),
                Edit::Send(Side::Backend, _) => continue,
            };
            if self.bytes.len() + piece.len() > LIST_BYTES_MAX {
                self.is_too_long = true;
                self.bytes = BytesMut::new();
            }
            if !self.is_too_long {
                self.bytes.extend_from_slice(piece);
            }
        }
    }
}

impl Relay {
    /// Sends a command whose answer is a list of threads. What the client sends behind it waits.
    pub(super) fn begin_list(
        &mut self,
        command: Option<Command>,
        payload: &[u8],
        edits: &mut Edits,
    ) -> Result<(), Fault> {
        let is_text = command == Some(Command::Query);
        let kind = if is_text { Kind::STATEMENT } else { Kind::Other };
        self.issue(Expect::Query, kind, None, Of::Nothing)?;
        send_whole(payload, edits);
        let what = What::List(Listing::default());
        self.wait = Some(Box::new(Wait::new(what, None)));
        Ok(())
    }

    /// Whether a list of threads is what a command waits for.
    pub(super) fn lists(&self) -> bool {
        matches!(self.wait.as_deref(), Some(Wait { what: What::List(_), .. }))
    }

    /// Whether what comes from the backend now is a list of threads.
    pub(super) fn is_list_next(&self) -> bool {
        self.owed.len() == 1 && !self.unasked && self.lists()
    }

    /// Bytes of a list of threads. Returns how many were used.
    #[cold]
    pub(super) fn collect(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
        (tally, ledger): (&mut Tally, &mut Ledger),
    ) -> Result<usize, Fault> {
        let Some(Wait { what: What::List(listing), action, .. }) = self.wait.as_deref_mut() else {
            return Err(unexpected("a list"));
        };
        if listing.ended.is_some() {
            listing.behind.extend_from_slice(input);
            edits.discard(input.len());
            return Ok(input.len());
        }
        let mut wanted = Edits::default();
        let walked = self.reply.feed(input, &mut wanted).map_err(not_a_reply)?;
        listing.keep(input, &wanted);
        edits.discard(walked.used);
        match walked.event {
            None => {}
            Some(ReplyEvent::LocalInfile) => return Err(out_of_order()),
            Some(ReplyEvent::End { failed }) => {
                tally.replies += 1;
                tally.errors += u32::from(failed);
                if failed {
                    ledger.enter(Entry::BackendError(self.reply.error_code()));
                }
                listing.ended = Some(failed);
                *action = Some(Action::ListThreads);
            }
        }
        Ok(walked.used)
    }

    /// Whose the threads are: the client gets its list. Returns what it sent behind the command, and
    /// what the backend did behind the list.
    pub(super) fn on_list(
        &mut self,
        threads: &Threads,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<(BytesMut, BytesMut), Fault> {
        let wait = self.wait.take().map(|wait| *wait);
        let Some(Wait { what: What::List(listing), mut rest, .. }) = wait else {
            return Err(unexpected("a list"));
        };
        let failed = listing.ended.unwrap_or(true);
        let client = self.reply.dialect().client;
        let mut refused = listing.is_too_long.then_some(NoList::TooLong);
        edits.send(Side::Client, |out| {
            if failed {
                out.extend_from_slice(&listing.bytes);
            } else if refused.is_none() {
                refused = rewrite(&listing.bytes, client, threads, out).err().map(|_| NoList::Odd);
            }
        });
        if let Some(why) = refused {
            let (code, sqlstate, message) = Refusal::NoList(why).error();
            ledger.enter(Entry::OwnError(code));
            edits.send(Side::Client, |out| {
                ErrPacket { code, sqlstate, message: message.as_bytes() }.encode(1, out);
            });
        }
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.ahead.extend_from_slice(&std::mem::take(&mut rest));
        }
        self.reply_over(failed, edits, ledger)?;
        if let Some(sharing) = self.sharing.as_deref_mut()
            && (!sharing.ahead.is_empty() || sharing.client_ended)
        {
            sharing.action = Some(Action::Resume);
        }
        Ok((rest, listing.behind))
    }
}
