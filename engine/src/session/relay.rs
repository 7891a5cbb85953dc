//! The session after its login: commands one way, replies the other.
//!
//! Purpose: know for every byte of a backend which command it answers.
//! Never: hold a statement or a result; both stream through.

use crate::base::{Blame, BoundedQueue, Fault};
use crate::session::state::Tally;
use crate::wire::reply::{Dialect, Expect, ReplyError, ReplyEvent, ReplyWalk};
use crate::wire::request::{RequestEvent, RequestWalk};
use crate::wire::{Command, Edits, ErrPacket, Side, Status, code, fault, frame};

/// An answer the client is owed, oldest first.
#[derive(Clone, Copy, Debug)]
enum Owed {
    /// By the backend.
    Reply(Expect),
    /// By Weir: the command was not one it relays.
    Refusal { seq: u8 },
}

/// Both directions of a logged-in session.
#[derive(Debug)]
pub(super) struct Relay {
    request: RequestWalk,
    reply: ReplyWalk,
    owed: BoundedQueue<Owed>,
    /// The client sends no more, and did not say so with a COM_QUIT.
    gone: bool,
    /// The backend speaks without being asked (it is being shut down, or killed the connection).
    unasked: bool,
}

impl Relay {
    pub(super) fn new(dialect: Dialect, status: Status, pipelined_commands_max: usize) -> Self {
        Self {
            request: RequestWalk::default(),
            reply: ReplyWalk::new(dialect, status),
            owed: BoundedQueue::new(pipelined_commands_max),
            gone: false,
            unasked: false,
        }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.owed.is_empty()
            && self.request.is_idle()
            && !self.unasked
            && !self.reply.status().contains(Status::IN_TRANS)
    }

    /// The client quit or went away: the session is over when nothing is owed any more. Nobody
    /// waits for the end of a binlog dump: it has none.
    pub(super) fn is_done(&self) -> bool {
        self.is_leaving() && matches!(self.owed.front(), None | Some(Owed::Reply(Expect::Stream)))
    }

    fn is_leaving(&self) -> bool {
        self.gone || self.request.is_over()
    }

    pub(super) fn waits_for_backend(&self) -> bool {
        let idle = self.owed.is_empty() && self.request.is_idle() && !self.unasked;
        !self.is_leaving() && !idle
    }

    pub(super) const fn bytes_ahead(&self, side: Side) -> usize {
        match side {
            Side::Client => self.request.bytes_ahead(),
            Side::Backend => self.reply.bytes_ahead(),
        }
    }

    /// The sequence id an ERR would have that ends what is going on; `None` inside a frame.
    pub(super) fn interruption_seq(&self) -> Option<u8> {
        if self.request.is_uploading() {
            return Some(self.request.answer_seq());
        }
        if self.owed.is_empty() && self.request.is_between_commands() {
            // The client takes it for the answer to the command it sends next.
            return Some(1);
        }
        if self.owed.is_empty() || self.owed.len() == 1 && !self.reply.has_begun() {
            return Some(self.request.answer_seq());
        }
        self.reply.interruption_seq()
    }

    pub(super) fn on_client(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
    ) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        let mut at = 0;
        loop {
            let rest = input.get_mut(at..).unwrap_or_default();
            let walked = self.request.feed(rest, edits).map_err(|_| out_of_order())?;
            at += walked.used;
            match walked.event {
                None => return Ok(tally),
                Some(RequestEvent::Command(command)) => {
                    tally.commands += 1;
                    self.on_command(command)?;
                }
                Some(RequestEvent::Refused { seq }) => {
                    self.owe(Owed::Refusal { seq })?;
                    self.refuse_what_is_next(edits);
                }
                Some(RequestEvent::UploadEnd) => {
                    self.reply.uploaded(self.request.answer_seq().wrapping_sub(1));
                }
            }
        }
    }

    fn on_command(&mut self, command: Option<Command>) -> Result<(), Fault> {
        match command.map_or(Route::Refuse, route) {
            Route::Refuse => {
                self.request.refuse();
                return Ok(());
            }
            Route::Quit => {
                self.request.relay_last();
                return Ok(());
            }
            Route::Silent => {}
            Route::Relay(expect) => {
                let begins = self.owed.is_empty();
                self.owe(Owed::Reply(expect))?;
                if begins && !self.unasked {
                    self.reply.begin(expect);
                }
            }
        }
        self.request.relay();
        Ok(())
    }

    fn owe(&mut self, owed: Owed) -> Result<(), Fault> {
        self.owed.push(owed).map_err(|_| {
            fault(
                Blame::Limit,
                code::UNKNOWN_ERROR,
                "weir: too many commands sent ahead of their answers \
                      (limits.pipelined_commands_max)",
            )
        })
    }

    pub(super) fn on_backend(
        &mut self,
        input: &mut [u8],
        edits: &mut Edits,
    ) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        let mut at = 0;
        while at < input.len() {
            if self.is_done() {
                edits.discard(input.len() - at);
                break;
            }
            if self.owed.is_empty() && !self.unasked {
                self.unasked = true;
                self.reply.begin(Expect::Unasked);
            }
            let rest = input.get_mut(at..).unwrap_or_default();
            let walked = self.reply.feed(rest, edits).map_err(not_a_reply)?;
            at += walked.used;
            match walked.event {
                None => {}
                Some(ReplyEvent::LocalInfile) => {
                    // The backend would take what was pipelined behind the statement for the file,
                    // and a client that has left for one that goes on.
                    if self.is_leaving() || self.owed.len() > 1 || !self.request.is_idle() {
                        return Err(out_of_order());
                    }
                    self.request.begin_upload(self.reply.shift(), self.reply.last_seq());
                }
                Some(ReplyEvent::End { failed }) => {
                    tally.replies += 1;
                    tally.errors += u32::from(failed);
                    self.reply_over(edits);
                }
            }
        }
        Ok(tally)
    }

    fn reply_over(&mut self, edits: &mut Edits) {
        if self.unasked {
            self.unasked = false;
        } else {
            self.owed.pop();
        }
        self.refuse_what_is_next(edits);
        if let Some(&Owed::Reply(expect)) = self.owed.front() {
            self.reply.begin(expect);
        }
    }

    /// Sends the refusals whose turn has come.
    fn refuse_what_is_next(&mut self, edits: &mut Edits) {
        while let Some(&Owed::Refusal { seq }) = self.owed.front() {
            self.owed.pop();
            edits.send(Side::Client, |out| {
                ErrPacket {
                    code: code::UNKNOWN_COM_ERROR,
                    sqlstate: *b"08S01",
                    message: b"Unknown command",
                }
                .encode(seq, out);
            });
        }
    }

    pub(super) fn on_client_end(&mut self, edits: &mut Edits) {
        if self.is_leaving() {
            return;
        }
        self.gone = true;
        if self.request.is_idle() {
            edits.send(Side::Backend, |out| {
                frame(out, 0, |payload| {
                    payload.extend_from_slice(&[Command::Quit.as_byte()]);
                });
            });
        } else {
            // Half a command will never be answered.
            self.owed = BoundedQueue::new(0);
        }
    }
}

/// What becomes of a command.
enum Route {
    /// To the backend, which answers like this.
    Relay(Expect),
    /// To the backend, which does not answer.
    Silent,
    /// To the backend, and the session ends.
    Quit,
    /// ERR 1047.
    Refuse,
}

const fn route(command: Command) -> Route {
    match command {
        Command::Quit => Route::Quit,
        Command::Query | Command::StmtExecute | Command::StmtBulkExecute | Command::ProcessInfo => {
            Route::Relay(Expect::Query)
        }
        Command::StmtPrepare => Route::Relay(Expect::Prepare),
        Command::StmtFetch => Route::Relay(Expect::Fetch),
        Command::FieldList => Route::Relay(Expect::FieldList),
        Command::Statistics => Route::Relay(Expect::Statistics),
        Command::InitDb
        | Command::Ping
        | Command::StmtReset
        | Command::SetOption
        | Command::ResetConnection
        | Command::RegisterReplica
        | Command::Refresh
        | Command::Debug => Route::Relay(Expect::Ok),
        Command::BinlogDump | Command::BinlogDumpGtid => Route::Relay(Expect::Stream),
        Command::StmtClose | Command::StmtSendLongData => Route::Silent,
        Command::ProcessKill | Command::ChangeUser | Command::Daemon | Command::Clone => {
            Route::Refuse
        }
    }
}

/// The client numbered a packet wrongly, before or after its login.
pub(super) fn out_of_order() -> Fault {
    fault(Blame::Client, code::NET_PACKETS_OUT_OF_ORDER, "Got packets out of order")
}

fn not_a_reply(error: ReplyError) -> Fault {
    let text = match error {
        ReplyError::TooLong => "weir: the backend sent a status packet above 1 MiB".to_owned(),
        ReplyError::Malformed(malformed) => format!("weir: the backend sent a {malformed}"),
        ReplyError::OutOfOrder => "weir: the backend sent packets out of order".to_owned(),
    };
    fault(Blame::Backend, code::MALFORMED_PACKET, text)
}
