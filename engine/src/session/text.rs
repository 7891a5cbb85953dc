//! Statement texts that name connections.
//!
//! Purpose: say what becomes of a statement whose ids are Weir's and not the server's.
//! Never: look at texts longer than [`TEXT_BYTES_MAX`], or change one that is not surely understood.

use bytes::{BufMut, BytesMut};

use crate::base::ConnectionId;
use crate::session::listing::NoList;
use crate::sql::{
    Finding, Known, LexMode, Place, Previous, Put, Unsure, find, find_with, may_name_connections,
    render,
};
use crate::wire::reply::Dialect;
use crate::wire::{Capabilities, Command, Status, code, query_text_at};

/// The longest command that is looked at; longer ones go on as they are, unseen.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 10;

/// Where the server's thread of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thread {
    /// On the asker's own backend, with this id.
    Here(u32),
    /// On another backend, of which a KILL here would hit a stranger.
    Elsewhere,
    /// Nowhere at the moment: it is a session between two backend connections, of the same account
    /// as the one that asks, or of another.
    Apart {
        /// The same.
        is_own: bool,
    },
    /// Nowhere.
    Unknown,
}

/// What becomes of a command that names other connections.
#[derive(Debug)]
pub(super) enum Decision {
    /// This payload goes on.
    Send(BytesMut),
    /// It is done; this session is to end.
    Done { kills: Option<u32> },
}

/// Why a command is answered by Weir, with an error, and not by the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownCommand,
    UnknownThread(u32),
    ThreadElsewhere(u32),
    OddKill,
    /// KILL of another account's session that has no connection, where no server can say whether
    /// that is allowed.
    NotOwner(u32),
    /// FOUND_ROWS() of a statement on a connection that was given away.
    FoundRows,
    /// GET DIAGNOSTICS of ROW_COUNT, on such a connection.
    Diagnostics,
    /// The server's list of threads cannot be shown.
    NoList(NoList),
    /// COM_STMT_FETCH without a cursor; MariaDB has no full stop there.
    NoCursor(u32, bool),
    /// It has as many prepared statements as it may.
    TooManyStatements(usize),
    /// Parameters of 16 MiB without their types.
    HugeParameters,
    /// The session's guard has number and text.
    Guarded,
    /// A write, where everything goes to replicas.
    ReadOnlyEndpoint,
    /// What might end a transaction that only reads, and write, on a replica.
    ReadOnlyTransaction,
}

const IN_READ_ONLY: &str = "weir: this statement cannot run in a READ ONLY transaction, which is on a \
                            replica here; COMMIT first, or begin it with /* weir:primary */";

const READ_ONLY: &str = "weir: this endpoint is for reading (mode = \"read-only\"); write through \
                         another endpoint of the cluster";

impl Refusal {
    /// Error number, SQLSTATE and text.
    #[expect(clippy::too_many_lines, reason = "one arm for each")]
    pub(super) fn error(self) -> (u16, [u8; 5], String) {
        match self {
            Self::UnknownCommand => {
                (code::UNKNOWN_COM_ERROR, *b"08S01", "Unknown command".to_owned())
            }
            Self::UnknownThread(id) => {
                (code::NO_SUCH_THREAD, *b"HY000", format!("Unknown thread id: {id}"))
            }
            Self::ThreadElsewhere(id) => (
                code::UNKNOWN_ERROR,
                *b"HY000",
                format!(
                    "weir: connection {id} is on another backend than this one; kill it from a \
                     connection to that backend"
                ),
            ),
            Self::NoCursor(id, is_mariadb) => (
                code::STMT_HAS_NO_OPEN_CURSOR,
                *b"HY000",
                format!(
                    "The statement ({id}) has no open cursor{}",
                    if is_mariadb { "" } else { "." }
                ),
            ),
            Self::TooManyStatements(count) => (
                code::MAX_PREPARED_STMT_COUNT_REACHED,
                *b"42000",
                format!(
                    "Can't create more than max_prepared_stmt_count statements (current value: \
                     {count})"
                ),
            ),
            Self::HugeParameters => (
                code::UNKNOWN_ERROR,
                *b"HY000",
                "weir: parameters of 16 MiB and more need their types with them on another \
                 connection; execute the statement in the transaction that executed it before"
                    .to_owned(),
            ),
            Self::ReadOnlyTransaction => {
                (code::CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, *b"25006", IN_READ_ONLY.to_owned())
            }
            Self::ReadOnlyEndpoint => {
                (code::OPTION_PREVENTS_STATEMENT, *b"HY000", READ_ONLY.to_owned())
            }
            Self::Guarded => {
                (code::DBACCESS_DENIED_ERROR, *b"42000", "Access denied to database".to_owned())
            }
            Self::FoundRows => (
                code::UNKNOWN_ERROR,
                *b"HY000",
                "weir: FOUND_ROWS() is not known after a statement with LIMIT or UNION, or one \
                 that is no SELECT; say SQL_CALC_FOUND_ROWS there, or ask in the same transaction"
                    .to_owned(),
            ),
            Self::Diagnostics => (
                code::UNKNOWN_ERROR,
                *b"HY000",
                "weir: GET DIAGNOSTICS of ROW_COUNT needs the connection of the statement before; \
                 ask ROW_COUNT(), or in the same transaction"
                    .to_owned(),
            ),
            Self::NoList(why) => (code::UNKNOWN_ERROR, *b"HY000", why.text()),
            Self::NotOwner(id) => {
                (code::KILL_DENIED_ERROR, *b"HY000", format!("You are not owner of thread {id}"))
            }
            Self::OddKill => (
                code::UNKNOWN_ERROR,
                *b"HY000",
                "weir: KILL takes the number of a connection, or CONNECTION_ID(), here".to_owned(),
            ),
        }
    }
}

/// What becomes of a command.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on as it is.
    AsIs,
    /// This payload goes on.
    Instead(BytesMut),
    /// It depends on where these connections are.
    Ask(Naming),
    /// It goes on as it is, and its answer, a list of connections, is to be changed.
    List,
    /// It is answered with an error.
    Refuse(Refusal),
}

/// A command that names other connections.
#[derive(Debug)]
pub(super) struct Naming {
    payload: BytesMut,
    text_at: usize,
    places: Vec<Place>,
    /// ROW_COUNT() and FOUND_ROWS(), where it asks for them.
    previous: (i64, u64),
}

/// Whether the payload of a COM_QUERY or COM_STMT_PREPARE has to be looked at closely.
#[inline]
pub(super) fn may_matter(payload: &[u8], client: Capabilities) -> bool {
    let at = match payload.first() {
        Some(&first) if first == Command::Query.as_byte() => query_text_at(payload, client),
        Some(_) | None => Ok(1),
    };
    at.is_ok_and(|at| may_name_connections(payload.get(at..).unwrap_or_default()))
}

/// Decides on the payload of a COM_QUERY or COM_STMT_PREPARE.
pub(super) fn judge(
    payload: &BytesMut,
    dialect: Dialect,
    status: Status,
    own: ConnectionId,
) -> Verdict {
    let is_query = payload.first() == Some(&Command::Query.as_byte());
    let text_at = if is_query { query_text_at(payload, dialect.client) } else { Ok(1) };
    let Ok(text_at) = text_at else { return Verdict::AsIs };
    let text = payload.get(text_at..).unwrap_or_default();
    if !may_name_connections(text) {
        return Verdict::AsIs;
    }
    let backslash_escapes = !status.contains(Status::NO_BACKSLASH_ESCAPES);
    verdict_of(find(text, LexMode::unknown(backslash_escapes)), payload, text_at, own, (0, 0))
}

/// The same for a session that shares its connection. `previous`: what the connection does not know
/// any more of ROW_COUNT() and FOUND_ROWS(), which are `known`.
pub(super) fn judge_shared(
    payload: &[u8],
    text_at: usize,
    mode: LexMode,
    previous: Previous,
    known: (i64, Option<u64>),
    own: ConnectionId,
) -> Verdict {
    let text = payload.get(text_at..).unwrap_or_default();
    let found = find_with(text, mode, previous);
    let (row_count, found_rows) = known;
    if found_rows.is_none()
        && let Ok(Finding::Places(places)) = &found
        && places.iter().any(|place| place.put == Put::FoundRows)
    {
        return Verdict::Refuse(Refusal::FoundRows);
    }
    verdict_of(found, payload, text_at, own, (row_count, found_rows.unwrap_or(0)))
}

fn verdict_of(
    found: Result<Finding, Unsure>,
    payload: &[u8],
    text_at: usize,
    own: ConnectionId,
    previous: (i64, u64),
) -> Verdict {
    match found {
        Err(Unsure) | Ok(Finding::Nothing) => Verdict::AsIs,
        Ok(Finding::OddKill) => Verdict::Refuse(Refusal::OddKill),
        // Of one that is prepared the answer comes in another form.
        Ok(Finding::Threads) if payload.first() != Some(&Command::Query.as_byte()) => Verdict::AsIs,
        Ok(Finding::Threads) => Verdict::List,
        Ok(Finding::Places(places)) => {
            let naming = Naming { payload: payload.into(), text_at, places, previous };
            if naming.ids().next().is_some() {
                Verdict::Ask(naming)
            } else {
                Verdict::Instead(naming.filled_in(own, &[]))
            }
        }
    }
}

/// Decides on a COM_PROCESS_KILL: it becomes a KILL, which every server knows.
pub(super) fn judge_process_kill(payload: &[u8], dialect: Dialect) -> Verdict {
    let Some(id) = payload.get(1..).and_then(|rest| rest.first_chunk()) else {
        return Verdict::Refuse(Refusal::UnknownCommand);
    };
    let id = u32::from_le_bytes(*id);
    let mut statement = BytesMut::new();
    statement.put_u8(Command::Query.as_byte());
    if dialect.backend.contains(Capabilities::QUERY_ATTRIBUTES) {
        // No attributes, in one set.
        statement.put_slice(&[0, 1]);
    }
    let text_at = statement.len();
    statement.put_slice(b"KILL ");
    let at = statement.len() - text_at;
    let places = vec![Place { range: at..at, put: Put::ThreadOf(id) }];
    Verdict::Ask(Naming { payload: statement, text_at, places, previous: (0, 0) })
}

impl Naming {
    /// The connections it names, in its order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.places.iter().filter_map(|place| match place.put {
            Put::ThreadOf(id) => Some(id),
            Put::OwnId | Put::RowCount | Put::FoundRows | Put::Alias(_) => None,
        })
    }

    /// With the threads of [`Self::ids`] known: what goes on, or the error in its place. Of several
    /// statements each has its own answer, and an unknown thread is the server's to report.
    pub(super) fn decide(
        &self,
        own: ConnectionId,
        threads: &[Thread],
    ) -> Result<Decision, Refusal> {
        let mut found = Vec::with_capacity(threads.len());
        for (id, thread) in self.ids().zip(threads) {
            found.push(match thread {
                Thread::Here(thread) => *thread,
                Thread::Elsewhere => return Err(Refusal::ThreadElsewhere(id)),
                Thread::Unknown if self.places.len() == 1 => {
                    return Err(Refusal::UnknownThread(id));
                }
                Thread::Apart { is_own: false } => return Err(Refusal::NotOwner(id)),
                // It runs no statement that could be ended.
                Thread::Apart { is_own: true } if self.places.len() == 1 => {
                    return Ok(Decision::Done { kills: (!self.is_of_query()).then_some(id) });
                }
                // No connection has it.
                Thread::Apart { is_own: true } | Thread::Unknown => 0,
            });
        }
        Ok(Decision::Send(self.filled_in(own, &found)))
    }

    /// KILL QUERY.
    fn is_of_query(&self) -> bool {
        let text = self.payload.get(self.text_at..).unwrap_or_default();
        text.windows(5).any(|it| it.eq_ignore_ascii_case(b"QUERY"))
    }

    fn filled_in(&self, own: ConnectionId, threads: &[u32]) -> BytesMut {
        let (head, text) = self.payload.split_at_checked(self.text_at).unwrap_or_default();
        let mut out = BytesMut::from(head);
        let (row_count, found_rows) = self.previous;
        let known = Known { own_id: own.get(), threads, row_count, found_rows };
        out.extend_from_slice(&render(text, &self.places, known));
        out
    }

    /// The command it was, or became.
    pub(super) fn command(&self) -> Option<Command> {
        self.payload.first().and_then(|byte| Command::from_byte(*byte))
    }
}
