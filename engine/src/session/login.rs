//! The session before its first command: greeting, account, schema.
//!
//! Purpose: find out who the client is and what it can do, then ask for a backend as that account.
//! Never: let an aborted client handshake become a backend handshake, or tell apart an unknown
//! user and a wrong password.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use zeroize::{Zeroize, Zeroizing};

use crate::auth::{ClientAuth, ClientStep, Plugin, Proof, Remembered, RsaKey, Sealed};
use crate::base::{Blame, ClusterId, ConnectionId, Fault, Time};
use crate::config::{ClientCompression, Config, Pooling};
use crate::session::faults::out_of_order;
use crate::session::guard::Guard;
use crate::session::stake::Stake;
use crate::wire::compress::Algorithm;
use crate::wire::frame::{Assembler, FrameError, Packet};
use crate::wire::reply::Dialect;
use crate::wire::{
    Capabilities, Edits, ErrPacket, Greeting, LoginRequest, Malformed, OkPacket, Side, SslRequest,
    Status, code, fault,
};

/// The longest packet a client may send before it is logged in (connection attributes: 64 KiB).
pub(super) const LOGIN_PACKET_BYTES_MAX: usize = 68 << 10;

/// Bytes a client may send ahead while its backend is being connected.
pub(super) const EARLY_BYTES_MAX: usize = 128 << 10;

/// Characters of a user's name that an error shows: the longest name servers allow.
const USER_CHARS_SHOWN: usize = 128;

/// What changes the form of packets. A client that has one of these gets a backend that has it:
/// replies are translated for clients that can do less, never for those that can do more.
const FORMS: Capabilities = Capabilities::SESSION_TRACK
    .union(Capabilities::DEPRECATE_EOF)
    .union(Capabilities::OPTIONAL_RESULTSET_METADATA)
    .union(Capabilities::QUERY_ATTRIBUTES)
    .union(MARIADB);

/// MariaDB's own, of those that exist outside withdrawn versions.
const MARIADB: Capabilities = Capabilities::MARIADB_PROGRESS
    .union(Capabilities::MARIADB_STMT_BULK_OPERATIONS)
    .union(Capabilities::MARIADB_EXTENDED_METADATA)
    .union(Capabilities::MARIADB_CACHE_METADATA)
    .union(Capabilities::MARIADB_BULK_UNIT_RESULTS);

/// What Weir can relay; a client is offered those the primary has too.
const OFFERED: Capabilities = Capabilities::FOUND_ROWS
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::ODBC)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::IGNORE_SIGPIPE)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS)
    .union(FORMS);

/// What every client is offered: Weir itself does these.
const OWN: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::RESERVED)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC);

/// What a login needs to know.
#[derive(Debug)]
pub struct LoginContext {
    /// Users and limits.
    pub config: Arc<Config>,
    /// The id the client is told.
    pub id: ConnectionId,
    /// What the primary says of itself.
    pub server: Arc<Greeting>,
    /// Random, never used before, without NUL bytes.
    pub nonce: [u8; 20],
    /// The client's address, for its error texts.
    pub client: Option<IpAddr>,
    /// The client came through a unix socket: it is `localhost`.
    pub is_local: bool,
    /// Nobody else can read what the client sends: it came through a unix socket, or in TLS.
    pub is_secure: bool,
    /// The cluster it is to be served by.
    pub cluster: ClusterId,
    /// Passwords that clients have told before.
    pub remembered: Arc<Remembered>,
    /// Users that the configuration does not have are the backend's to judge.
    pub pass_through: bool,
    /// What a password can be sealed for where others may read.
    pub rsa_key: Option<Arc<RsaKey>>,
    /// The time.
    pub now: Time,
    /// When the login has to be over.
    pub deadline: Time,
    /// TLS is offered.
    pub offers_tls: bool,
    /// Who does not come by TLS is refused.
    pub requires_tls: bool,
    /// What is offered to compress with.
    pub compression: ClientCompression,
    /// The only accounts the client may log in as, where the certificate it showed decides that.
    pub accounts: Option<Vec<String>>,
    /// How backend connections are shared.
    pub pooling: Pooling,
    /// The endpoint is for reading.
    pub reads_only: bool,
}

impl LoginContext {
    /// Whether the client's certificate, where it decides, is good for that account.
    pub(super) fn admits(&self, user: &[u8]) -> bool {
        let accounts = self.accounts.as_ref();
        accounts.is_none_or(|names| names.iter().any(|name| name.as_bytes() == user))
    }
}

/// A wish for a backend connection.
#[derive(Debug)]
pub struct LeaseRequest {
    /// What the client asked for: account, schema, character set, attributes, capabilities.
    pub login: LoginRequest,
    /// What proves the account to a backend.
    pub proof: Proof,
    /// Weir itself knows that it does; otherwise a login on the backend has to tell.
    pub is_proven: bool,
}

/// What a feed came to.
#[derive(Debug)]
pub(super) enum Verdict {
    Wait,
    /// Go on in TLS; it begins with these bytes.
    StartTls(BytesMut),
    /// Open this password.
    Open(Box<Sealed>),
    Lease(Box<LeaseRequest>),
}

#[derive(Debug)]
enum Step {
    AwaitRequest,
    Authenticate(Box<LoginRequest>, ClientAuth),
    /// The client has sealed its password, which is being opened.
    AwaitPassword(Box<LoginRequest>, ClientAuth),
    AwaitLease,
}

impl Step {
    /// Nothing the client sends belongs to its login.
    const fn is_deaf(&self) -> bool {
        matches!(self, Self::AwaitPassword(..) | Self::AwaitLease)
    }
}

/// One login in progress.
#[derive(Debug)]
pub(super) struct Login {
    context: LoginContext,
    offered: Capabilities,
    client: Capabilities,
    plugin: Plugin,
    assembler: Assembler,
    early_bytes: usize,
    /// Sequence id of the next packet to the client.
    next_seq: u8,
    step: Step,
    /// The client came by TLS.
    has_tls: bool,
    compression: Option<Algorithm>,
    /// What the backend's verdict means for the memory of passwords.
    stake: Option<Box<Stake>>,
    /// What the user may not do.
    guard: Option<Box<Guard>>,
}

impl Login {
    pub(super) fn greet(context: LoginContext, edits: &mut Edits) -> Self {
        let server = &context.server;
        // MariaDB leaves LONG_PASSWORD unset, which tells its connectors of its extensions; others
        // take no notice.
        let own = OWN.union(server.capabilities.intersection(Capabilities::LONG_PASSWORD));
        // TLS and compression do not depend on what the server can: they are between the client and
        // Weir.
        // Definitions are left out of what a server has sent once, to whichever session that was.
        let shares = context.pooling == Pooling::Transaction;
        let left_out =
            if shares { Capabilities::MARIADB_CACHE_METADATA } else { Capabilities::NONE };
        let offered = OFFERED
            .intersection(server.capabilities)
            .without(left_out)
            .union(own)
            .set(Capabilities::SSL, context.offers_tls)
            .set(Capabilities::COMPRESS, context.compression.zlib)
            .set(Capabilities::ZSTD, context.compression.zstd);
        let plugin = Plugin::from_name(&server.plugin).unwrap_or(Plugin::NativePassword);
        let greeting = Greeting {
            version: server.version.clone(),
            connection_id: context.id.get(),
            nonce: context.nonce,
            capabilities: offered,
            collation: server.collation,
            status: Status::AUTOCOMMIT,
            plugin: plugin.name().as_bytes().to_vec(),
        };
        edits.send(Side::Client, |out| greeting.encode(0, out));
        Self {
            context,
            offered,
            client: Capabilities::from_bits(0),
            plugin,
            assembler: Assembler::new(LOGIN_PACKET_BYTES_MAX),
            early_bytes: 0,
            next_seq: 1,
            step: Step::AwaitRequest,
            has_tls: false,
            compression: None,
            stake: None,
            guard: None,
        }
    }

    pub(super) const fn deadline(&self) -> Time {
        self.context.deadline
    }

    pub(super) const fn next_seq(&self) -> u8 {
        self.next_seq
    }

    pub(super) fn pipelined_commands_max(&self) -> usize {
        self.context.config.limits.pipelined_commands_max
    }

    pub(super) const fn keeps_backend(&self) -> bool {
        !matches!(self.context.pooling, Pooling::None)
    }

    /// MariaDB leaves LONG_PASSWORD unset; MySQL never does.
    pub(super) fn is_mariadb(&self) -> bool {
        !self.context.server.capabilities.contains(Capabilities::LONG_PASSWORD)
    }

    pub(super) fn on_bytes(&mut self, input: &[u8], edits: &mut Edits) -> Result<Verdict, Fault> {
        self.early_bytes += input.len();
        if self.early_bytes > EARLY_BYTES_MAX {
            return Err(too_long());
        }
        self.assembler.push(input);
        while !self.step.is_deaf() {
            let mut packet = match self.assembler.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(Verdict::Wait),
                Err(FrameError::TooLong) => {
                    // The answer to the frame that was too long.
                    self.next_seq = self.next_seq.wrapping_add(1);
                    return Err(too_long());
                }
                Err(FrameError::OutOfOrder) => return Err(out_of_order()),
            };
            if packet.seq != self.next_seq {
                return Err(out_of_order());
            }
            self.next_seq = packet.seq.wrapping_add(1);
            let verdict = self.on_packet(&packet, edits);
            // It may have been a password.
            packet.payload.zeroize();
            match verdict? {
                Verdict::Wait => {}
                verdict @ (Verdict::StartTls(_) | Verdict::Open(_) | Verdict::Lease(_)) => {
                    return Ok(verdict);
                }
            }
        }
        Ok(Verdict::Wait)
    }

    fn on_packet(&mut self, packet: &Packet, edits: &mut Edits) -> Result<Verdict, Fault> {
        let seq = self.next_seq;
        let mut answer = BytesMut::new();
        let (request, auth, step) = match std::mem::replace(&mut self.step, Step::AwaitLease) {
            Step::AwaitRequest => {
                if SslRequest::parse(&packet.payload).is_some() {
                    return self.start_tls();
                }
                let request = self.read_request(&packet.payload)?;
                let claim = self.context.claim(&request.user);
                let nonce = self.context.nonce;
                let (auth, step) =
                    ClientAuth::start(&request, claim, nonce, self.plugin, seq, &mut answer);
                (request, auth, step)
            }
            Step::Authenticate(request, mut auth) => {
                let step = auth.on_packet(&packet.payload, seq, &mut answer);
                (request, auth, step)
            }
            deaf @ (Step::AwaitPassword(..) | Step::AwaitLease) => {
                self.step = deaf;
                return Ok(Verdict::Wait);
            }
        };
        if !answer.is_empty() {
            self.next_seq = seq.wrapping_add(1);
            edits.send(Side::Client, |out| out.extend_from_slice(&answer));
        }
        self.after_step(request, auth, step)
    }

    fn after_step(
        &mut self,
        request: Box<LoginRequest>,
        auth: ClientAuth,
        step: ClientStep,
    ) -> Result<Verdict, Fault> {
        match step {
            ClientStep::Continue => {
                self.step = Step::Authenticate(request, auth);
                Ok(Verdict::Wait)
            }
            ClientStep::Open(sealed) => {
                self.step = Step::AwaitPassword(request, auth);
                Ok(Verdict::Open(sealed))
            }
            ClientStep::Accepted(proof) => {
                self.guard = Guard::of(&self.context, &request.user);
                let guard = self.guard.as_deref();
                if let Some(fault) = guard.and_then(|it| it.denied(request.database.as_deref())) {
                    return Err(fault);
                }
                self.stake = Stake::of(&self.context, &auth, &request.user, &proof);
                let is_proven = !auth.is_unjudged();
                Ok(Verdict::Lease(Box::new(LeaseRequest { login: *request, proof, is_proven })))
            }
            ClientStep::CannotTell => Err(cannot_tell()),
            ClientStep::Denied => {
                Err(access_denied(&self.context, &request.user, auth.used_password()))
            }
        }
    }

    /// The client's password was opened, or could not be.
    pub(super) fn on_opened(
        &mut self,
        password: Option<&Zeroizing<Vec<u8>>>,
    ) -> Result<Verdict, Fault> {
        match std::mem::replace(&mut self.step, Step::AwaitLease) {
            Step::AwaitPassword(request, mut auth) => {
                let step = auth.on_opened(password.map(|password| password.as_slice()));
                self.after_step(request, auth, step)
            }
            other @ (Step::AwaitRequest | Step::Authenticate(..) | Step::AwaitLease) => {
                self.step = other;
                Ok(Verdict::Wait)
            }
        }
    }

    fn start_tls(&mut self) -> Result<Verdict, Fault> {
        if self.has_tls || !self.offered.contains(Capabilities::SSL) {
            let what = "the client asks for TLS, which was not offered";
            return Err(bad_handshake(Malformed::new(what)));
        }
        self.has_tls = true;
        self.step = Step::AwaitRequest;
        self.early_bytes = 0;
        // What came behind the wish is TLS or nothing: taken for packets, it could be anybody's.
        Ok(Verdict::StartTls(self.assembler.take_rest()))
    }

    /// The TLS that was started is there.
    pub(super) fn on_tls(&mut self, accounts: Option<Vec<String>>) {
        self.context.is_secure = true;
        self.context.accounts = accounts;
    }

    fn read_request(&mut self, payload: &[u8]) -> Result<Box<LoginRequest>, Fault> {
        let mut request = Box::new(LoginRequest::parse(payload).map_err(bad_handshake)?);
        if self.context.requires_tls && !self.has_tls {
            return Err(fault(
                Blame::Client,
                code::SECURE_TRANSPORT_REQUIRED,
                "Connections using insecure transport are prohibited while \
                 --require_secure_transport=ON.",
            ));
        }
        if !self.context.admits(&request.user) {
            let used_password = !request.auth_response.is_empty();
            return Err(access_denied(&self.context, &request.user, used_password));
        }
        self.client = request.capabilities.intersection(self.offered);
        request.capabilities = self.client;
        // With both, servers take zlib.
        self.compression = if self.client.contains(Capabilities::COMPRESS) {
            Some(Algorithm::Zlib)
        } else if self.client.contains(Capabilities::ZSTD) {
            Some(Algorithm::Zstd { level: request.zstd_level })
        } else {
            None
        };
        Ok(request)
    }

    /// How packets are compressed once the login is over.
    pub(super) const fn compression(&self) -> Option<Algorithm> {
        self.compression
    }

    /// The backend let the account in: OK to the client.
    pub(super) fn finish(
        &self,
        backend: Capabilities,
        ok: &[u8],
        edits: &mut Edits,
    ) -> Result<(Dialect, Status), Fault> {
        if !backend.contains(self.client.intersection(FORMS)) {
            return Err(fault(
                Blame::Backend,
                code::UNKNOWN_ERROR,
                "weir: the backend can do less than when it was last probed; connect again",
            ));
        }
        let packet = OkPacket::parse(ok, backend).map_err(|malformed| {
            fault(
                Blame::Backend,
                code::MALFORMED_PACKET,
                format!("weir: the backend sent a {malformed}"),
            )
        })?;
        if let Some(stake) = &self.stake {
            stake.accepted();
        }
        edits.send(Side::Client, |out| packet.encode(self.client, self.next_seq, out));
        Ok((Dialect { client: self.client, backend }, packet.status))
    }

    pub(super) fn stake(&self) -> Option<&Stake> {
        self.stake.as_deref()
    }

    /// What the user may not do.
    pub(super) fn take_guard(&mut self) -> Option<Box<Guard>> {
        self.guard.take()
    }

    /// What the client sent behind its login.
    pub(super) fn take_early(&mut self) -> BytesMut {
        self.assembler.take_rest()
    }

    /// Passes on a backend's ERR, numbered for this client.
    pub(super) fn pass_error(&self, err: &[u8], edits: &mut Edits) {
        let parsed = ErrPacket::parse(err);
        let own = match (&self.stake, &parsed) {
            (Some(stake), Ok(packet)) => stake.refused(packet.code),
            (Some(_) | None, _) => None,
        };
        edits.send(Side::Client, |out| match parsed {
            Ok(packet) => own.map_or(packet, ErrPacket::from).encode(self.next_seq, out),
            Err(malformed) => bad_handshake_packet(&malformed).encode(self.next_seq, out),
        });
    }
}

/// A name as errors show it.
pub(super) fn shown_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(USER_CHARS_SHOWN).collect()
}

/// The client's host as errors show it.
pub(super) fn host_of(context: &LoginContext) -> String {
    match context.client {
        Some(address) => address.to_string(),
        None if context.is_local => "localhost".to_owned(),
        None => "unknown".to_owned(),
    }
}

/// The server's own words, so that applications which read them keep working.
pub(super) fn access_denied(context: &LoginContext, user: &[u8], used_password: bool) -> Fault {
    let (user, host) = (shown_name(user), host_of(context));
    let password = if used_password { "YES" } else { "NO" };
    fault(
        Blame::Client,
        code::ACCESS_DENIED_ERROR,
        format!("Access denied for user '{user}'@'{host}' (using password: {password})"),
    )
}

/// The server's words for a client without the plugin it would need.
pub(super) fn cannot_tell() -> Fault {
    fault(
        Blame::Client,
        code::NOT_SUPPORTED_AUTH_MODE,
        "Client does not support authentication protocol requested by server; consider upgrading \
         MySQL client",
    )
}

fn bad_handshake_packet(malformed: &Malformed) -> ErrPacket<'static> {
    ErrPacket {
        code: code::HANDSHAKE_ERROR,
        sqlstate: *b"08S01",
        message: malformed.what.as_bytes(),
    }
}

fn bad_handshake(malformed: Malformed) -> Fault {
    fault(Blame::Client, code::HANDSHAKE_ERROR, format!("Bad handshake ({malformed})"))
}

pub(super) fn too_long() -> Fault {
    fault(
        Blame::Client,
        code::NET_PACKET_TOO_LARGE,
        "weir: too many bytes before the login was over",
    )
}
