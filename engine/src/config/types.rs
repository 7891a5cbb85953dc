//! The checked configuration: values that cannot be wrong.
//!
//! Purpose: what the rest of Weir is built from after `check` accepted a file.
//! Never: hold text that still needs parsing, or a reference to something that does not exist.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::network::Network;
use super::routing::Routing;
use super::rule::Rule;
use super::tls::{BackendTls, EndpointTls, PrivateKey};
use crate::base::{Address, BackendId, ClusterId, Consistency, EndpointId};

/// Everything a configuration file says, checked. Shared by all threads, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Threads of the data path.
    pub workers: Workers,
    /// How sockets are driven.
    pub driver: DriverChoice,
    /// How long a stopping Weir waits for work in progress.
    pub drain_timeout: Duration,
    /// Folder of what Weir makes for itself and uses again after a restart.
    pub state_dir: PathBuf,
    /// RSA key that clients seal their passwords for; `None` for one of Weir's own.
    pub rsa_key: Option<PrivateKey>,
    /// Logging.
    pub log: Log,
    /// Pages for operators and their programs.
    pub admin: Admin,
    /// Bounds of time, number and memory.
    pub limits: Limits,
    /// How backend connections are kept.
    pub pool: Pool,
    /// Replication topologies, in file order.
    pub clusters: Vec<Cluster>,
    /// Servers of all clusters, in file order.
    pub backends: Vec<Backend>,
    /// Addresses clients connect to, in file order.
    pub endpoints: Vec<Endpoint>,
    /// Accounts clients log in with, by name.
    pub users: Vec<Arc<User>>,
    /// What becomes of certain statements, in the order they are tried.
    pub rules: Vec<Arc<Rule>>,
}

impl Config {
    /// The user of that name.
    #[must_use]
    pub fn user(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.iter().find(|user| user.name.as_bytes() == name)
    }

    /// The cluster with that id.
    #[must_use]
    pub fn cluster(&self, id: ClusterId) -> Option<&Cluster> {
        self.clusters.get(id.index())
    }

    /// The backend with that id.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.backends.get(id.index())
    }

    /// The endpoint with that id.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(id.index())
    }
}

/// Which threads carry the data path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per CPU this process may use, each pinned.
    Auto,
    /// That many, pinned to the first CPUs this process may use.
    Count(u16),
    /// One pinned to each of these CPUs.
    Cpus(Vec<usize>),
}

/// How sockets are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring where the kernel has and allows it, otherwise epoll.
    Auto,
    /// io_uring, or Weir does not start.
    IoUring,
    /// epoll.
    Epoll,
}

/// Pages for operators and their programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where they are served over HTTP; `None` for nowhere.
    pub listen: Option<SocketAddr>,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text for people or JSON for machines.
    pub format: LogFormat,
    /// Least severity written.
    pub level: LogLevel,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

/// Least severity written to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may need one.
    Warn,
    /// And what an operator wants to know afterwards.
    Info,
    /// And every session's start and end.
    Debug,
    /// And every decision.
    Trace,
}

/// Bounds of time, number and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the login, before the client is dropped.
    pub login_timeout: Duration,
    /// From connect to the end of the login on a backend.
    pub connect_timeout: Duration,
    /// Clients per worker that may be logging in at once; more get ERR 1040.
    pub handshakes_max: usize,
    /// Sessions per worker; more get ERR 1040.
    pub clients_max: usize,
    /// Clients of the whole process; 0 is no further bound.
    pub clients_total_max: usize,
    /// Clients of one address, over all workers; 0 is no bound.
    pub clients_per_address_max: usize,
    /// Failed handshakes in a row after which an address is blocked; 0 is never.
    pub host_errors_max: u32,
    /// How long an address stays blocked.
    pub host_block: Duration,
    /// Sealed passwords waiting to be opened, over all workers.
    pub sealed_passwords_max: usize,
    /// Accounts whose password is kept in memory; 0 is none.
    pub remembered_users_max: usize,
    /// How long they are kept.
    pub remembered_users_keep: Duration,
    /// Logins in progress per worker on one backend.
    pub backend_handshakes_max: usize,
    /// How long a session waits for its turn to connect and for a free connection.
    pub lease_wait: Duration,
    /// Sessions that may wait for connections to one server, over all workers.
    pub lease_waiters_max: usize,
    /// Commands one client may have sent ahead of their answers.
    pub pipelined_commands_max: usize,
    /// Bytes queued towards one side of a session before receiving from the other side stops.
    pub session_buffer_bytes: usize,
    /// Bytes queued in one worker before sessions lose their own allowance.
    pub worker_buffer_bytes: usize,
    /// Small receive buffers per worker; a power of two.
    pub receive_buffers: u16,
    /// Size of a small receive buffer.
    pub receive_buffer_bytes: usize,
    /// Size of a large receive buffer.
    pub large_buffer_bytes: usize,
    /// Large receive buffers per worker.
    pub large_buffers_max: usize,
    /// Kernel queue of connections not yet accepted, per listener.
    pub listen_backlog: u32,
}

/// How backend connections are kept for the next client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How long one is kept that nobody uses.
    pub idle_time_max: Duration,
    /// How many of a pool stay although nobody uses them, on each worker.
    pub idle_min: usize,
    /// How many that nobody uses a worker keeps.
    pub idle_max: usize,
    /// After how long its server is asked whether it is still there; zero is never.
    pub ping_idle: Duration,
    /// How old one may get and still be kept.
    pub age_max: Duration,
    /// How long a backend's yes to an account and its schema holds for further logins.
    pub auth_cache_ttl: Duration,
    /// Prepared statements a session may have open on shared connections.
    pub statements_per_session_max: usize,
    /// Prepared statements a shared connection keeps.
    pub statements_per_connection_max: usize,
    /// The same for all of them together.
    pub statements_max: usize,
}

/// One replication topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Name in logs and metrics.
    pub name: String,
    /// Account the probes log in with.
    pub monitor: Monitor,
    /// Its servers; at most one is fixed to [`Role::Primary`], and one may be it.
    pub backends: Vec<BackendId>,
    /// Schema and table of a heartbeat that lag is told by; `None` for the servers' own seconds.
    pub heartbeat_table: Option<(String, String)>,
    /// Servers that replicate from the primary become backends.
    pub discover: bool,
    /// How many of them.
    pub discover_max: usize,
    /// How long one stays that the primary does not know any more and that does not answer.
    pub discover_forget: Duration,
}

/// How a cluster is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Account name.
    pub user: String,
    /// What proves the account.
    pub secret: Secret,
    /// Time between probes of one backend.
    pub interval: Duration,
    /// Time a probe may take.
    pub timeout: Duration,
}

/// One server of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name in logs and metrics.
    pub name: String,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Where it listens.
    pub address: Address,
    /// What it is in the topology, whatever is observed; `None`: what is observed.
    pub role: Option<Role>,
    /// How connections to it are compressed.
    pub compression: BackendCompression,
    /// How connections to it are encrypted.
    pub tls: BackendTls,
    /// Connections of sessions to its address, over all workers; 0 is no bound.
    pub connections_max: usize,
    /// What is said first on each connection of sessions.
    pub init_query: Option<Arc<str>>,
    /// Its share of reads.
    pub weight: u32,
    /// It gets nothing new.
    pub drain: bool,
    /// Connections to it begin with a PROXY header.
    pub proxy_protocol: bool,
}

/// How connections to a backend are compressed, where the server can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendCompression {
    /// Not at all.
    None,
    /// By zlib.
    Zlib,
    /// By zstd: MySQL from 8.0.18 on.
    Zstd,
}

/// What a backend is in its topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Replicates from the primary.
    Replica,
}

/// An address clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name in logs and metrics.
    pub name: String,
    /// Where Weir listens.
    pub listen: Address,
    /// Who may use the socket's file, if it is one: its permission bits.
    pub unix_mode: u32,
    /// The cluster it serves.
    pub cluster: ClusterId,
    /// Where statements go.
    pub mode: EndpointMode,
    /// How statements find their servers.
    pub routing: Routing,
    /// How backend connections are shared.
    pub pooling: Pooling,
    /// A connection that is kept serves clients of one address only.
    pub match_client_address: bool,
    /// What its clients may compress with.
    pub compression: ClientCompression,
    /// How connections of clients are encrypted.
    pub tls: EndpointTls,
    /// Where those are who say by a PROXY header who the client is, and have to.
    pub proxy_protocol_networks: Vec<Network>,
    /// Who may log in.
    pub auth: EndpointAuth,
}

/// Who may log in to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointAuth {
    /// The users of the file.
    Listed,
    /// And whoever the backend lets in.
    PassThrough,
}

/// What clients are offered to compress with; they choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCompression {
    /// zlib.
    pub zlib: bool,
    /// zstd.
    pub zstd: bool,
}

/// Where an endpoint's statements go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointMode {
    /// Everything to the primary.
    Primary,
    /// Reads to replicas, everything else to the primary.
    ReadWrite,
    /// Everything to replicas.
    ReadOnly,
}

/// How an endpoint's backend connections are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Each client session has a backend connection of its own.
    None,
    /// As [`Self::None`], but a connection outlives its client: it is reset, and kept for the next
    /// one that logs in alike.
    Session,
    /// A connection is lent for a statement or a transaction.
    Transaction,
}

/// An account clients log in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Account name, as clients send it.
    pub name: String,
    /// What proves the account, to Weir and by Weir to backends.
    pub secret: Secret,
    /// What it may not do although its backend would let it.
    pub rules: UserRules,
}

/// Bounds of a user; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRules {
    /// Where its clients may come from; empty is everywhere.
    pub networks: Vec<IpNet>,
    /// The schemas it may enter; `None` is all.
    pub schemas: Option<Vec<String>>,
    /// Its sessions, over all workers; 0 is no bound.
    pub connections_max: usize,
    /// The backend refuses its writes.
    pub read_only: bool,
    /// How fresh its sessions' reads are, instead of what the endpoint says.
    pub consistency: Option<Consistency>,
}

impl User {
    /// An account without bounds.
    #[must_use]
    pub fn new(name: String, secret: Secret) -> Self {
        Self { name, secret, rules: UserRules::default() }
    }

    /// Whether its clients may come from there. A unix socket is `127.0.0.1`.
    #[must_use]
    pub fn may_come_from(&self, client: Option<IpAddr>, is_local: bool) -> bool {
        let networks = &self.rules.networks;
        let client = if is_local { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { client };
        networks.is_empty()
            || client.is_some_and(|client| networks.iter().any(|net| net.contains(&client)))
    }
}

/// What proves an account. Never shown: `Debug` hides it. Wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum Secret {
    /// No password.
    Empty,
    /// The password itself, in the client's bytes: every plugin works on both sides.
    Clear(Vec<u8>),
    /// `SHA1(SHA1(password))`, as in `mysql.user`: checks `mysql_native_password`.
    NativeHash([u8; 20]),
    /// `SHA256(SHA256(password))`: checks `caching_sha2_password`.
    Sha2Hash([u8; 32]),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Secret::Empty",
            Self::Clear(_) => "Secret::Clear(…)",
            Self::NativeHash(_) => "Secret::NativeHash(…)",
            Self::Sha2Hash(_) => "Secret::Sha2Hash(…)",
        })
    }
}
