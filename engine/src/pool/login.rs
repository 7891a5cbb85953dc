//! Logging in to a backend.
//!
//! Purpose: drive one new backend connection from the server's greeting to its first OK.
//! Never: show a client's bytes to the server before the login is done.

use bytes::BytesMut;

use crate::auth::{AuthError, BackendAuth, BackendStep, Proof, Seed};
use crate::config::{BackendCompression, TlsMode};
use crate::pool::init::InitError;
use crate::wire::frame::{Assembler, FrameError, Packet};
use crate::wire::{
    Capabilities, Greeting, LoginRequest, Malformed, SslRequest, ZSTD_LEVEL_DEFAULT,
};

/// The longest packet a server may send during a login: an error text or an RSA key fits easily.
pub(super) const LOGIN_PACKET_BYTES_MAX: usize = 64 << 10;

/// The greeting has 0, the wish for TLS 1.
const SEQ_INSIDE_TLS: u8 = 2;

/// Always asked of a backend, whatever the client can do: replies are translated for clients, and
/// state the server does not report cannot be recovered later.
const ALWAYS: Capabilities = Capabilities::LONG_FLAG
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::DEPRECATE_EOF);

/// Asked of a backend when the client asked for them: they change what the server does.
const AS_CLIENT: Capabilities = Capabilities::FOUND_ROWS
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::ODBC)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS)
    .union(Capabilities::OPTIONAL_RESULTSET_METADATA)
    .union(Capabilities::QUERY_ATTRIBUTES)
    .union(MARIADB);

/// MariaDB's extensions, which can be asked for only with LONG_PASSWORD unset.
const MARIADB: Capabilities = Capabilities::MARIADB_PROGRESS
    .union(Capabilities::MARIADB_STMT_BULK_OPERATIONS)
    .union(Capabilities::MARIADB_EXTENDED_METADATA)
    .union(Capabilities::MARIADB_CACHE_METADATA)
    .union(Capabilities::MARIADB_BULK_UNIT_RESULTS);

/// What of a client's wishes makes a backend connection another one to its client.
pub(super) const fn that_matter(wished: Capabilities) -> Capabilities {
    wished.intersection(AS_CLIENT).without(Capabilities::CONNECT_ATTRS)
}

/// Whether a login goes on in TLS after the server's greeting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsWish {
    /// It does not.
    #[default]
    No,
    /// Where the server offers it.
    IfOffered,
    /// Or it fails.
    Required,
}

impl TlsWish {
    /// The wish of a backend's mode; the checks of its certificate are TLS's own.
    #[must_use]
    pub const fn of(mode: TlsMode) -> Self {
        match mode {
            TlsMode::Disabled => Self::No,
            TlsMode::Preferred => Self::IfOffered,
            TlsMode::Required | TlsMode::VerifyCa | TlsMode::VerifyIdentity => Self::Required,
        }
    }
}

/// Why a login came to nothing, apart from the server's own refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginError {
    /// The server's bytes are no packets.
    Frame(FrameError),
    /// A packet does not parse.
    Malformed(Malformed),
    /// The server cannot speak protocol 4.1 with authentication plugins.
    TooOld,
    /// The server does not offer TLS, without which there is to be no login.
    NoTls,
    /// The account cannot be proven to this server.
    Auth(AuthError),
    /// The server speaks on after its OK, before it was asked anything.
    Unasked,
    /// What comes first on every connection came to nothing.
    Init(InitError),
}

impl std::fmt::Display for LoginError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Frame(FrameError::TooLong) => f.write_str("its login packet is too long"),
            Self::Frame(FrameError::OutOfOrder) => f.write_str("its packets are out of order"),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::TooOld => f.write_str("it does not speak protocol 4.1 with plugins"),
            Self::NoTls => f.write_str(
                "it does not offer TLS; give it a certificate, or this backend tls = \"preferred\"",
            ),
            Self::Auth(error) => error.fmt(f),
            Self::Init(error) => error.fmt(f),
            Self::Unasked => f.write_str("it closes the connection, or speaks out of turn"),
        }
    }
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct Established {
    /// What the server said of itself.
    pub greeting: Greeting,
    /// What was negotiated.
    pub capabilities: Capabilities,
    /// Payload of the server's OK.
    pub ok: BytesMut,
}

/// What to do after bytes were fed.
#[derive(Debug)]
pub enum LoginStep {
    /// Send what was written, wait for more.
    Wait,
    /// Send what was written, then go on in TLS: call [`BackendLogin::on_tls`], and feed what the
    /// server says inside of it. What it says outside is not for this login.
    StartTls,
    /// Logged in.
    Ready(Box<Established>),
    /// The server refused: payload of its ERR.
    Refused(BytesMut),
    /// The login cannot go on.
    Failed(LoginError),
}

/// One login in progress.
#[derive(Debug)]
pub struct BackendLogin {
    assembler: Assembler,
    request: LoginRequest,
    auth: BackendAuth,
    greeting: Option<Greeting>,
    tls: TlsWish,
    /// The capability that is asked for, if any.
    compression: Capabilities,
}

impl BackendLogin {
    /// A login as the account, schema and character set of `request`; its password answer is
    /// replaced by one made from `proof`. `seed` is for this login alone.
    #[must_use]
    pub fn new(request: LoginRequest, proof: Proof, tls: TlsWish, seed: Seed) -> Self {
        Self {
            assembler: Assembler::new(LOGIN_PACKET_BYTES_MAX),
            request,
            auth: BackendAuth::new(proof, false, seed),
            greeting: None,
            tls,
            compression: Capabilities::NONE,
        }
    }

    /// A login on a link that nobody can listen to, as through a unix socket: the password itself
    /// may be sent if the server wants it.
    #[must_use]
    pub const fn with_secure_link(mut self, secure: bool) -> Self {
        if secure {
            self.auth.set_secure();
        }
        self
    }

    /// A login that asks for compression, which the server need not have.
    #[must_use]
    pub fn with_compression(self, compression: BackendCompression) -> Self {
        let compression = match compression {
            BackendCompression::None => Capabilities::NONE,
            BackendCompression::Zlib => Capabilities::COMPRESS,
            BackendCompression::Zstd => Capabilities::ZSTD,
        };
        Self { compression, ..self }
    }

    /// Feeds bytes of the server; what is to be sent is appended to `out`.
    pub fn on_bytes(&mut self, bytes: &[u8], out: &mut BytesMut) -> LoginStep {
        self.assembler.push(bytes);
        loop {
            let packet = match self.assembler.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return LoginStep::Wait,
                Err(error) => return LoginStep::Failed(LoginError::Frame(error)),
            };
            match self.on_packet(packet, out) {
                LoginStep::Wait => {}
                step @ (LoginStep::StartTls
                | LoginStep::Ready(_)
                | LoginStep::Refused(_)
                | LoginStep::Failed(_)) => return step,
            }
        }
    }

    fn on_packet(&mut self, packet: Packet, out: &mut BytesMut) -> LoginStep {
        let seq = packet.seq.wrapping_add(1);
        if self.greeting.is_none() {
            // A server that wants nobody says so instead of greeting.
            if packet.payload.first() == Some(&0xFF) {
                return LoginStep::Refused(packet.payload);
            }
            return match self.on_greeting(&packet.payload, seq, out) {
                Ok(step) => step,
                Err(error) => LoginStep::Failed(error),
            };
        }
        match self.auth.on_packet(&packet.payload, seq, out) {
            BackendStep::Continue => LoginStep::Wait,
            // Part of a packet would be lost on the way to the session, which then could not tell
            // where the next one begins. Only a server that goes away says more here.
            BackendStep::Ready if !self.assembler.is_empty() => {
                LoginStep::Failed(LoginError::Unasked)
            }
            BackendStep::Ready => match self.greeting.take() {
                Some(greeting) => LoginStep::Ready(Box::new(Established {
                    greeting,
                    capabilities: self.request.capabilities,
                    ok: packet.payload,
                })),
                None => LoginStep::Failed(LoginError::TooOld),
            },
            BackendStep::Refused => LoginStep::Refused(packet.payload),
            BackendStep::Failed(error) => LoginStep::Failed(LoginError::Auth(error)),
        }
    }

    fn on_greeting(
        &mut self,
        payload: &[u8],
        seq: u8,
        out: &mut BytesMut,
    ) -> Result<LoginStep, LoginError> {
        let greeting = Greeting::parse(payload).map_err(LoginError::Malformed)?;
        let offered = greeting.capabilities;
        let needed = Capabilities::PROTOCOL_41.union(Capabilities::PLUGIN_AUTH);
        if !offered.contains(needed) {
            return Err(LoginError::TooOld);
        }
        let wished = ALWAYS.union(self.request.capabilities.intersection(AS_CLIENT));
        let negotiated = wished.union(self.compression).intersection(offered);
        self.request.capabilities =
            negotiated.set(Capabilities::LONG_PASSWORD, !negotiated.intersects(MARIADB));
        self.request.zstd_level = ZSTD_LEVEL_DEFAULT;
        let plugin = self.auth.plugin_for(&greeting).name().as_bytes();
        self.request.auth_response =
            self.auth.first_response(plugin, &greeting.nonce).map_err(LoginError::Auth)?;
        self.request.plugin = Some(plugin.to_vec());
        self.greeting = Some(greeting);
        match (self.tls, offered.contains(Capabilities::SSL)) {
            (TlsWish::No, _) | (TlsWish::IfOffered, false) => {
                self.request.encode(seq, out);
                Ok(LoginStep::Wait)
            }
            (TlsWish::Required, false) => Err(LoginError::NoTls),
            // Whoever put bytes behind the greeting wants them to pass for what TLS protects.
            (TlsWish::IfOffered | TlsWish::Required, true) if !self.assembler.is_empty() => {
                Err(LoginError::Unasked)
            }
            (TlsWish::IfOffered | TlsWish::Required, true) => {
                self.request.capabilities = self.request.capabilities.union(Capabilities::SSL);
                let LoginRequest { capabilities, packet_bytes_max, collation, .. } = self.request;
                SslRequest { capabilities, packet_bytes_max, collation }.encode(seq, out);
                Ok(LoginStep::StartTls)
            }
        }
    }

    /// After [`LoginStep::StartTls`]: appends to `out` what is to be sent first inside of TLS,
    /// which may be given to it before its handshake is over.
    pub fn on_tls(&mut self, out: &mut BytesMut) {
        self.auth.set_secure();
        self.request.encode(SEQ_INSIDE_TLS, out);
    }
}

#[cfg(test)]
mod tests;
