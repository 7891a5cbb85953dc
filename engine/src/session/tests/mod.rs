//! A session between a client and a backend in memory, with fake time.
//!
//! `Pair` does what a worker does and nothing else: it carries out edits, hands over the lease,
//! ends the session on faults and deadlines. The tests look at the bytes each side gets.

mod change;
mod ends;
mod header;
mod kill;
mod list;
mod login;
mod model;
mod recorded;
mod relay;
mod times;
mod told;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use crate::auth::{BackendAuth, Proof, Remembered, RsaKey, Sealed, Seed};
use crate::base::{Blame, ClusterId, ConnectionId, Fault, Time, WorkerId};
use crate::config::{ClientCompression, Config, Offline, Pooling, Secret, User, parse};
use crate::fuzz::Sides;
use crate::session::{
    Action, ChangeRequest, LeaseRequest, Ledger, LoginContext, Seated, Session, Tally, Thread,
    Threads,
};
use crate::wire::frame::{Assembler, Header};
use crate::wire::proxy::Origin;
use crate::wire::{
    Capabilities, Edits, ErrPacket, Greeting, LoginRequest, Side, Status, ZSTD_LEVEL_DEFAULT,
    fault, frame,
};

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";
const NONCE: [u8; 20] = *b"abcdefghijklmnopqrst";
const SEED: Seed = Seed::new([6; Seed::BYTES]);
const PIPELINED_MAX: usize = 8;
const LOGIN_OVER: Time = Time::from_nanos(10_000_000_000);

const PARTING_OVER: Time = Time::from_nanos(20_000_000_000);
/// The nonce of a change of account.
const NEW_NONCE: [u8; 20] = *b"ABCDEFGHIJKLMNOPQRST";

/// What a current client asks for.
const NEW: Capabilities = OLD.union(Capabilities::SESSION_TRACK).union(Capabilities::DEPRECATE_EOF);

/// What an old client asks for.
const OLD: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::MULTI_RESULTS);

/// A backend's OK to a login.
const LOGIN_OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

const CONFIG: &str = r#"
[[cluster]]
name = "main"
monitor = { user = "m", password = "" }
[[cluster.backend]]
name = "db1"
address = "127.0.0.1:3306"
role = "primary"
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "main"
[[user]]
name = "open"
password = ""
"#;

/// `open` has no password; `clear`, `native` and `sha2` have "secret", kept in three ways.
fn config() -> Config {
    let mut config = parse(CONFIG, &Offline).unwrap();
    config.limits.pipelined_commands_max = PIPELINED_MAX;
    let native = "14e65567abdb5135d0cfd9a70b3032c179a49ee7";
    let sha2 = "3881219d087dd9c634373fd33dfa33a2cb6bfc6c520b64b8bb60ef2ceb534ae7";
    for (name, secret) in [
        ("clear", Secret::Clear("secret".into())),
        ("native", Secret::NativeHash(hex(native))),
        ("sha2", Secret::Sha2Hash(hex(sha2))),
    ] {
        config.users.push(Arc::new(User::new(name.into(), secret)));
    }
    config
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
}

fn server(plugin: &str) -> Greeting {
    Greeting {
        version: b"8.4.3".to_vec(),
        connection_id: 99,
        nonce: [9; 20],
        capabilities: NEW
            .union(Capabilities::COMPRESS)
            .union(Capabilities::SSL)
            .union(Capabilities::CONNECT_WITH_DB),
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: plugin.as_bytes().to_vec(),
    }
}

fn context(server: &Greeting, nonce: [u8; 20]) -> LoginContext {
    LoginContext {
        config: Arc::new(config()),
        id: OWN_ID,
        server: Arc::new(server.clone()),
        nonce,
        client: Some([127, 0, 0, 1].into()),
        is_local: false,
        is_secure: false,
        cluster: ClusterId(0),
        remembered: Arc::default(),
        pass_through: false,
        rsa_key: None,
        now: Time::ZERO,
        deadline: LOGIN_OVER,
        offers_tls: false,
        accounts: None,
        pooling: Pooling::None,
        reads_only: false,
        requires_tls: false,
        compression: ClientCompression { zlib: false, zstd: false },
    }
}

/// Where other connections are: 1 to 9 here, 10 to 19 elsewhere.
fn thread_of(id: u32) -> Thread {
    match id {
        1..10 => Thread::Here(id + 1000),
        10..20 => Thread::Elsewhere,
        _ => Thread::Unknown,
    }
}

/// Whose the threads of the server are: 5 is a session's, 6 nobody's, 23 to 25 are the asker's.
fn threads_of_clients() -> Threads {
    let seated = |id: u32, port: u16| Seated { id, host: format!("192.0.2.1:{port}") };
    Threads {
        seated: [(5, seated(70, 1)), (23, seated(71, 2)), (24, seated(71, 2)), (25, seated(71, 2))]
            .into(),
        own: [5, 6, 23, 24, 25].into(),
        apart: Vec::new(),
        asker: b"root".to_vec(),
    }
}

/// A client, a session, a backend.
struct Pair {
    session: Session,
    edits: Edits,
    ledger: Ledger,
    /// What the sides got and the tests have not taken yet.
    sides: Sides,
    lease: Option<LeaseRequest>,
    /// A password that waits to be opened.
    sealed: Option<Box<Sealed>>,
    /// Change of account the backend is asked for.
    change: Option<ChangeRequest>,
    server: Greeting,
    /// What a change of account is judged by, if not by the usual.
    new_context: Option<LoginContext>,
    /// What came behind a wish for TLS.
    tls: Option<BytesMut>,
    /// Whom a balancer has named.
    named: Option<Origin>,
    tally: Tally,
    fault: Option<Fault>,
    closed: bool,
}

impl Pair {
    /// A session that has greeted.
    fn greeted(server: Greeting) -> Self {
        Self::with_context(context(&server, NONCE))
    }

    fn with_context(context: LoginContext) -> Self {
        let server = Greeting::clone(&context.server);
        let mut edits = Edits::default();
        let session = Session::new(context, &mut edits);
        let mut sides = Sides::default();
        sides.carry_out(&edits, Side::Client, &[]);
        Self {
            session,
            edits,
            ledger: Ledger::default(),
            sides,
            lease: None,
            sealed: None,
            change: None,
            server,
            new_context: None,
            tls: None,
            named: None,
            tally: Tally::default(),
            fault: None,
            closed: false,
        }
    }

    /// A session whose client has yet to be named.
    fn unnamed() -> Self {
        let session = Session::unnamed(OWN_ID, LOGIN_OVER);
        Self { session, sides: Sides::default(), ..Self::greeted(server(NATIVE)) }
    }

    /// A session past its login, with nothing to be seen of it.
    fn logged_in(client: Capabilities) -> Self {
        let mut pair = Self::greeted(server(NATIVE));
        pair.client(&login(client, "open", Some(NATIVE), &[]));
        pair.grant(NEW, LOGIN_OK);
        assert!(!pair.session.is_logging_in() && pair.session.is_at_rest());
        pair.sides = Sides::default();
        pair
    }

    fn client(&mut self, bytes: &[u8]) {
        self.feed(Side::Client, bytes);
    }

    fn backend(&mut self, bytes: &[u8]) {
        self.feed(Side::Backend, bytes);
    }

    fn feed(&mut self, from: Side, bytes: &[u8]) {
        assert!(!self.closed, "fed after its end");
        let mut input = bytes.to_vec();
        self.edits.clear();
        let fed = match from {
            Side::Client => self.session.on_client(&mut input, &mut self.edits, &mut self.ledger),
            Side::Backend => self.session.on_backend(&mut input, &mut self.edits, &mut self.ledger),
        };
        let covered = self.sides.carry_out(&self.edits, from, &input);
        match fed {
            Ok(tally) => {
                assert_eq!(covered, input.len(), "every byte has one edit");
                self.tally.commands += tally.commands;
                self.tally.replies += tally.replies;
                self.tally.errors += tally.errors;
                self.act();
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// The backend let the account in.
    fn grant(&mut self, backend: Capabilities, ok: &[u8]) {
        assert!(self.lease.is_some(), "nobody asked for a lease");
        self.edits.clear();
        let early = self.session.on_lease(backend, ok, &mut self.edits);
        self.sides.carry_out(&self.edits, Side::Client, &[]);
        match early {
            Ok(early) => self.client(&early),
            Err(fault) => self.fail(fault),
        }
    }

    /// The password that waits is opened.
    fn open(&mut self) {
        let password = self.sealed.take().expect("a sealed password").open(&SEED);
        self.answer(|session, _, _| session.on_opened(password.as_ref()).map(|()| BytesMut::new()));
    }

    fn refuse(&mut self, err: &[u8]) {
        self.edits.clear();
        self.session.on_lease_refused(err, &mut self.edits);
        self.sides.carry_out(&self.edits, Side::Client, &[]);
        self.act();
    }

    fn client_ends(&mut self) {
        self.edits.clear();
        self.session.on_client_end(&mut self.edits);
        self.sides.carry_out(&self.edits, Side::Client, &[]);
        self.act();
    }

    fn backend_ends(&mut self) {
        match self.session.on_backend_end("db1") {
            Ok(()) => self.act(),
            Err(fault) => self.fail(fault),
        }
    }

    /// The clock shows `now`.
    fn at(&mut self, now: Time) {
        if now >= self.session.deadline() {
            self.fail(fault(Blame::Client, 1159, "Got timeout reading communication packets"));
        }
    }

    fn act(&mut self) {
        match self.session.next_action() {
            Some(Action::Name(origin)) => {
                self.named = Some(origin);
                let context = context(&self.server, NONCE);
                self.answer(|session, edits, _| Ok(session.on_named(context, edits)));
            }
            Some(Action::Hold(_) | Action::Acquire | Action::Release | Action::Resume) => {
                unreachable!("it does not share connections");
            }
            Some(Action::StartTls(rest)) => self.tls = Some(rest),
            Some(Action::Open(sealed)) => self.sealed = Some(sealed),
            Some(Action::Lease(request)) => self.lease = Some(*request),
            Some(Action::FindThreads) => {
                let ids = self.session.threads_asked_for();
                let threads: Vec<_> = ids.iter().map(|id| thread_of(*id)).collect();
                self.answer(|session, edits, ledger| {
                    session.on_threads(&threads, edits, ledger).map(|(rest, _)| rest)
                });
            }
            Some(Action::ListThreads) => {
                let threads = threads_of_clients();
                let mut behind = BytesMut::new();
                self.answer(|session, edits, ledger| {
                    let (rest, unasked) = session.on_list(&threads, edits, ledger)?;
                    behind = unasked;
                    Ok(rest)
                });
                if !behind.is_empty() {
                    self.backend(&behind);
                }
            }
            Some(Action::Identify) => {
                let new = self.new_context.take();
                let context = new.unwrap_or_else(|| context(&self.server, NEW_NONCE));
                self.answer(|session, edits, _| {
                    session.on_identity(context, edits).map(|()| BytesMut::new())
                });
            }
            Some(Action::ChangeUser(request)) => self.change = Some(*request),
            Some(Action::Close) => self.closed = true,
            None => {}
        }
    }

    /// What the session asked for is there.
    fn answer(
        &mut self,
        give: impl FnOnce(&mut Session, &mut Edits, &mut Ledger) -> Result<BytesMut, Fault>,
    ) {
        self.edits.clear();
        let rest = give(&mut self.session, &mut self.edits, &mut self.ledger);
        self.sides.carry_out(&self.edits, Side::Client, &[]);
        match rest {
            Ok(rest) => {
                self.act();
                if !rest.is_empty() {
                    self.client(&rest);
                }
            }
            Err(fault) => self.fail(fault),
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.edits.clear();
        self.session.fail(&fault, PARTING_OVER, &mut self.edits);
        self.sides.carry_out(&self.edits, Side::Client, &[]);
        self.fault = Some(fault);
        self.act();
        assert!(self.closed || self.session.is_parting(), "a failed session ends");
    }

    /// What the client got since the last look: sequence ids and payloads.
    fn client_got(&mut self) -> Vec<(u8, Vec<u8>)> {
        packets(&std::mem::take(&mut self.sides.client))
    }

    /// The one packet the client got since the last look: an ERR.
    fn client_error(&mut self) -> (u8, u16, String) {
        let got = self.client_got();
        let [(seq, payload)] = &got[..] else { panic!("not one packet: {got:?}") };
        let error = ErrPacket::parse(payload).unwrap();
        (*seq, error.code, String::from_utf8(error.message.to_vec()).unwrap())
    }

    /// The bytes the backend got since the last look.
    fn backend_got(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sides.backend)
    }
}

/// Whole packets of at most one frame.
fn packets(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut packets = Vec::new();
    while let Some(header) = Header::peek(bytes) {
        bytes.advance(4);
        packets.push((header.seq, bytes[..header.payload_bytes].to_vec()));
        bytes.advance(header.payload_bytes);
    }
    assert!(bytes.is_empty(), "half a packet");
    packets
}

/// A packet.
fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame(&mut out, seq, |body| body.extend_from_slice(payload));
    out.to_vec()
}

/// A command.
fn command(payload: &[u8]) -> Vec<u8> {
    packet(0, payload)
}

fn query() -> Vec<u8> {
    command(b"\x03SELECT 1")
}

/// A login request without its frame.
fn request(
    capabilities: Capabilities,
    user: &str,
    plugin: Option<&str>,
    answer: &[u8],
) -> LoginRequest {
    LoginRequest {
        capabilities,
        packet_bytes_max: 1 << 24,
        collation: 45,
        user: user.as_bytes().to_vec(),
        auth_response: answer.to_vec(),
        database: None,
        plugin: plugin.map(|plugin| plugin.as_bytes().to_vec()),
        connect_attrs: None,
        zstd_level: ZSTD_LEVEL_DEFAULT,
    }
}

/// A login request as it is sent.
fn login(capabilities: Capabilities, user: &str, plugin: Option<&str>, answer: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    request(capabilities, user, plugin, answer).encode(1, &mut out);
    out.to_vec()
}

/// The answer of a client that has this password.
fn answer(plugin: &str, password: &str) -> Vec<u8> {
    let user = User::new(String::new(), Secret::Clear(password.into()));
    let mut auth = BackendAuth::new(Proof::Clear(Arc::new(user)), false, SEED);
    auth.first_response(plugin.as_bytes(), &NONCE).unwrap()
}

/// OK, as a backend says it.
fn ok(seq: u8, status: Status) -> Vec<u8> {
    let [low, high] = status.0.to_le_bytes();
    packet(seq, &[0, 0, 0, low, high, 0, 0])
}

/// A result set of some rows, as a new backend sends it.
fn rows(count: u8) -> Vec<u8> {
    let mut bytes = packet(1, &[1]);
    bytes.extend(packet(2, b"\x03def\x00\x00\x00\x01a\x00\x0c"));
    for row in 0..count {
        bytes.extend(packet(3 + row, b"\x01r"));
    }
    bytes.extend(packet(3 + count, &[0xFE, 0, 0, 2, 0, 0, 0]));
    bytes
}

/// How many packets are in there.
fn count(bytes: &[u8]) -> usize {
    let mut assembler = Assembler::new(usize::MAX);
    assembler.push(bytes);
    std::iter::from_fn(|| assembler.next_packet().unwrap()).count()
}

const OWN_ID: ConnectionId = ConnectionId::new(WorkerId(1), 7);

const UNKNOWN_COMMAND: &str = "Unknown command";

/// A long time.
const HOUR: Duration = Duration::from_secs(3600);
