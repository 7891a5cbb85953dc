//! A whole session, fed by a client and a backend that say anything.
//!
//! Purpose: the same exchange in other pieces comes to the same; no bytes make a bug, a byte that
//! is lost or doubled, or an output without bound.
//! Never: judge what a session answers; that is for its unit tests.

use std::iter::repeat_n;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::base::{Blame, ClusterId, ConnectionId, Fault, Time, WorkerId};
use crate::config::{
    Admin, ClientCompression, Config, DriverChoice, Limits, Log, LogFormat, LogLevel, Pool,
    Pooling, Secret, User, Workers,
};
use crate::fuzz::Sides;
use crate::fuzz::walks::{form, optional};
use crate::session::{
    Action, Entry, Ledger, LoginContext, Seated, Session, Tally, Thread, Threads,
};
use crate::wire::{Capabilities, Edits, Greeting, LoginRequest, Side, Status, ZSTD_LEVEL_DEFAULT};

/// Longer inputs reach the limit of bytes sent ahead of a login, which counts pieces.
const DATA_BYTES_MAX: usize = 100 << 10;

/// Everything up to bit 22 but LONG_PASSWORD, COMPRESS and SSL.
const BACKEND: Capabilities = Capabilities::from_bits(0x007F_F7DE);

/// A session from a PROXY header on, from its greeting, or from its first command. The first bytes are the size of the
/// pieces and what the sides can do; then come steps: what happens, a length, that many bytes.
///
/// # Panics
/// Pieces come to something else than the whole, or the session calls itself faulty.
pub fn session(data: &[u8]) {
    if data.len() > DATA_BYTES_MAX {
        return;
    }
    let Sides { client, backend } = outcome(data).sides;
    // An ERR for each command of four bytes is the most that is answered, and an id with an alias
    // the most that is put into a statement.
    assert!(client.len() <= 20 * data.len() + 4096, "a client gets more than was said");
    assert!(backend.len() <= 4 * data.len() + 4096, "a backend gets more than was sent");
}

/// What such an exchange comes to.
pub(super) fn outcome(data: &[u8]) -> Came {
    let [piece, flags, steps @ ..] = data else { return Came::default() };
    let whole = Exchange::run(*flags, usize::MAX, steps).came;
    let pieces = Exchange::run(*flags, usize::from(*piece).max(1), steps).came;
    assert_eq!(whole, pieces, "the exchange differs by the cut");
    whole
}

/// What an exchange came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Came {
    pub(super) sides: Sides,
    pub(super) commands: u32,
    pub(super) replies: u32,
    errors: u32,
    /// Each as often as it happened, sorted: neighbours differ by the cut.
    entered: Vec<Entry>,
    leases: u32,
    fault: Option<Fault>,
    pub(super) over: bool,
    at_rest: bool,
}

struct Exchange {
    session: Session,
    edits: Edits,
    ledger: Ledger,
    piece: usize,
    backend: Capabilities,
    awaits_lease: bool,
    leased: bool,
    /// The backend is changing the account; its bytes are not the session's.
    changing: bool,
    came: Came,
}

impl Exchange {
    fn run(flags: u8, piece: usize, mut steps: &[u8]) -> Self {
        let backend = BACKEND.union(form(flags)).union(optional(flags >> 5));
        let mut edits = Edits::default();
        let session = if flags & 0x18 == 0 {
            Session::unnamed(ConnectionId::new(WorkerId(0), 1), Time::NEVER)
        } else {
            Session::new(context(backend), &mut edits)
        };
        let mut exchange = Self {
            session,
            edits,
            ledger: Ledger::default(),
            piece,
            backend,
            awaits_lease: false,
            leased: false,
            changing: false,
            came: Came::default(),
        };
        exchange.came.sides.carry_out(&exchange.edits, Side::Client, &[]);
        if flags & 0x10 != 0 {
            exchange.log_in(form(flags >> 2).union(optional(flags >> 5)));
        }
        while let [step, length, rest @ ..] = steps {
            let (bytes, rest) = rest.split_at_checked(usize::from(*length)).unwrap_or((rest, &[]));
            exchange.step(*step, bytes);
            steps = rest;
        }
        exchange.came.entered.sort();
        exchange.came.at_rest = exchange.session.is_at_rest();
        exchange
    }

    fn log_in(&mut self, client: Capabilities) {
        self.feed(Side::Client, &login(client));
        self.lease(&[0, 0, 0, 2, 0, 0, 0]);
    }

    fn step(&mut self, step: u8, bytes: &[u8]) {
        if self.came.over {
            return;
        }
        match step % 8 {
            0 | 1 => self.feed(Side::Client, bytes),
            2 | 3 if self.leased && !self.changing => self.feed(Side::Backend, bytes),
            4 if self.changing => {
                self.changed(|session, edits, ledger| session.on_user_changed(bytes, edits, ledger))
            }
            5 if self.changing => {
                self.changed(|session, edits, ledger| session.on_user_refused(bytes, edits, ledger))
            }
            4 if self.awaits_lease => self.lease(bytes),
            5 if self.awaits_lease => self.free(|session, edits, _| {
                session.on_lease_refused(bytes, edits);
                Ok(())
            }),
            6 => self.free(|session, edits, _| {
                session.on_client_end(edits);
                Ok(())
            }),
            7 if self.leased => self.free(|session, _, _| session.on_backend_end("db1")),
            _ => {}
        }
    }

    fn feed(&mut self, from: Side, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            if self.came.over {
                return;
            }
            let mut input = piece.to_vec();
            self.edits.clear();
            let fed = match from {
                Side::Client => {
                    self.session.on_client(&mut input, &mut self.edits, &mut self.ledger)
                }
                Side::Backend => {
                    self.session.on_backend(&mut input, &mut self.edits, &mut self.ledger)
                }
            };
            let covered = self.came.sides.carry_out(&self.edits, from, &input);
            match fed {
                Ok(Tally { commands, replies, errors }) => {
                    assert_eq!(covered, input.len(), "a byte without an edit, or with two");
                    self.came.commands += commands;
                    self.came.replies += replies;
                    self.came.errors += errors;
                    self.book();
                    self.act();
                }
                Err(fault) => self.fail(fault),
            }
            assert!(self.session.bytes_ahead(from) <= 0xFF_FFFF, "no frame is that long");
        }
    }

    /// Something happens that is not bytes of a relayed stream.
    fn free(
        &mut self,
        happens: impl FnOnce(&mut Session, &mut Edits, &mut Ledger) -> Result<(), Fault>,
    ) {
        self.edits.clear();
        let result = happens(&mut self.session, &mut self.edits, &mut self.ledger);
        self.came.sides.carry_out(&self.edits, Side::Client, &[]);
        match result {
            Ok(()) => {
                self.book();
                self.act();
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// Takes what was entered.
    fn book(&mut self) {
        let entries = self.ledger.entries().iter();
        let each = entries.flat_map(|(entry, times)| repeat_n(*entry, *times as usize));
        self.came.entered.extend(each);
        self.ledger.clear();
    }

    fn lease(&mut self, ok: &[u8]) {
        self.awaits_lease = false;
        let backend = self.backend;
        let mut early = BytesMut::new();
        self.free(|session, edits, _| {
            early = session.on_lease(backend, ok, edits)?;
            Ok(())
        });
        if !self.came.over {
            self.leased = true;
            self.feed(Side::Client, &early);
        }
    }

    /// The first of some threads is here, the others are elsewhere or nowhere.
    fn find(&mut self, ids: &[u32]) {
        let thread = |id: &u32| match id % 3 {
            0 => Thread::Elsewhere,
            1 => Thread::Here(77),
            _ => Thread::Unknown,
        };
        let threads: Vec<Thread> = ids.iter().map(thread).collect();
        self.changed(|session, edits, ledger| {
            session.on_threads(&threads, edits, ledger).map(|(rest, _)| rest)
        });
    }

    /// A command can go on, and what was sent behind it.
    fn changed(
        &mut self,
        happens: impl FnOnce(&mut Session, &mut Edits, &mut Ledger) -> Result<BytesMut, Fault>,
    ) {
        self.changing = false;
        let mut rest = BytesMut::new();
        self.free(|session, edits, ledger| {
            rest = happens(session, edits, ledger)?;
            Ok(())
        });
        self.feed(Side::Client, &rest);
    }

    fn act(&mut self) {
        match self.session.next_action() {
            Some(Action::Name(_)) => {
                let context = context(self.backend);
                self.changed(|session, edits, _| Ok(session.on_named(context, edits)));
            }
            // Without the encryption the same bytes go on.
            Some(Action::StartTls(rest)) => {
                self.session.on_tls(None);
                self.feed(Side::Client, &rest);
            }
            Some(Action::Open(_)) => self.free(|session, _, _| session.on_opened(None)),
            Some(Action::Lease(_)) => {
                self.awaits_lease = true;
                self.came.leases += 1;
            }
            Some(Action::FindThreads) => self.find(&self.session.threads_asked_for()),
            Some(Action::ListThreads) => {
                let seated = Seated { id: 3, host: "192.0.2.1:50000".to_owned() };
                let threads = Threads { seated: [(1, seated)].into(), ..Threads::default() };
                let mut behind = BytesMut::new();
                self.changed(|session, edits, ledger| {
                    let (rest, unasked) = session.on_list(&threads, edits, ledger)?;
                    behind = unasked;
                    Ok(rest)
                });
                self.feed(Side::Backend, &behind);
            }
            Some(Action::Identify) => {
                let context = context(self.backend);
                self.free(|session, edits, _| session.on_identity(context, edits));
            }
            Some(Action::ChangeUser(request)) => {
                self.changing = true;
                let proof = request.user.is_none_or(|(user, _)| user.user == b"open");
                assert!(proof, "a change of account without a password");
            }
            Some(Action::Acquire | Action::Release | Action::Resume | Action::Hold(_)) => {
                unreachable!("a session that shares connections");
            }
            Some(Action::Close) => self.came.over = true,
            None => {}
        }
    }

    fn fail(&mut self, fault: Fault) {
        assert_ne!(fault.blame, Blame::Bug, "{fault:?}");
        self.edits.clear();
        self.session.fail(&fault, Time::NEVER, &mut self.edits);
        self.came.sides.carry_out(&self.edits, Side::Client, &[]);
        self.came.fault = Some(fault);
        self.came.over = true;
        // What the last feed had counted is lost, and how much that is depends on the cut.
        (self.came.commands, self.came.replies, self.came.errors) = (0, 0, 0);
        self.came.entered.clear();
    }
}

/// The login of the account that needs no password.
pub(super) fn login(client: Capabilities) -> BytesMut {
    let mut out = BytesMut::new();
    let request = LoginRequest {
        capabilities: BACKEND.union(client),
        packet_bytes_max: 1 << 24,
        collation: 45,
        user: b"open".to_vec(),
        auth_response: Vec::new(),
        database: None,
        plugin: Some(b"mysql_native_password".to_vec()),
        connect_attrs: None,
        zstd_level: ZSTD_LEVEL_DEFAULT,
    };
    request.encode(1, &mut out);
    out
}

fn context(backend: Capabilities) -> LoginContext {
    LoginContext {
        config: Arc::new(config()),
        id: ConnectionId::new(WorkerId(0), 1),
        server: Arc::new(Greeting {
            version: b"8.4.0".to_vec(),
            connection_id: 9,
            nonce: [1; 20],
            capabilities: backend,
            collation: 45,
            status: Status::AUTOCOMMIT,
            plugin: b"mysql_native_password".to_vec(),
        }),
        nonce: [1; 20],
        client: None,
        is_local: false,
        is_secure: true,
        cluster: ClusterId(0),
        remembered: Arc::default(),
        pass_through: false,
        rsa_key: None,
        now: Time::ZERO,
        deadline: Time::NEVER,
        offers_tls: true,
        accounts: None,
        pooling: Pooling::None,
        reads_only: false,
        requires_tls: false,
        compression: ClientCompression { zlib: true, zstd: true },
    }
}

fn config() -> Config {
    let user = |name: &str, secret| Arc::new(User::new(name.into(), secret));
    Config {
        workers: Workers::Auto,
        driver: DriverChoice::Auto,
        drain_timeout: Duration::ZERO,
        state_dir: PathBuf::new(),
        rsa_key: None,
        admin: Admin { listen: None },
        log: Log { format: LogFormat::Text, level: LogLevel::Error },
        limits: Limits {
            login_timeout: Duration::ZERO,
            connect_timeout: Duration::ZERO,
            handshakes_max: 1,
            clients_max: 1,
            clients_total_max: 0,
            clients_per_address_max: 0,
            host_errors_max: 0,
            host_block: Duration::ZERO,
            sealed_passwords_max: 1,
            remembered_users_max: 1,
            remembered_users_keep: Duration::ZERO,
            backend_handshakes_max: 1,
            lease_waiters_max: 1,
            lease_wait: Duration::ZERO,
            pipelined_commands_max: 8,
            session_buffer_bytes: 1,
            worker_buffer_bytes: 1,
            receive_buffers: 1,
            receive_buffer_bytes: 1,
            large_buffer_bytes: 1,
            large_buffers_max: 1,
            listen_backlog: 1,
        },
        pool: Pool {
            ping_idle: Duration::ZERO,
            idle_min: 0,
            idle_time_max: Duration::ZERO,
            idle_max: 0,
            age_max: Duration::ZERO,
            auth_cache_ttl: Duration::ZERO,
            statements_per_session_max: 1,
            statements_per_connection_max: 1,
            statements_max: 1,
        },
        clusters: Vec::new(),
        backends: Vec::new(),
        endpoints: Vec::new(),
        rules: Vec::new(),
        users: vec![
            user("open", Secret::Empty),
            user("shut", Secret::Clear("correct horse".into())),
        ],
    }
}
