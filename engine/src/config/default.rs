//! Every key, with its default, its range and its text: the one table.
//!
//! Purpose: the reader, the sample file and the reference page all come from here, so none of
//! them can disagree.
//! Never: hold a rule between two keys; those are in `check`.

mod endpoint;
mod limits;
mod rule;

use self::endpoint::{CERTIFICATE, ENDPOINT};
use self::limits::{LIMITS, POOL};
use self::rule::RULE;
use super::init_query;
use super::tls::OfBackend;
use super::types::{BackendCompression, DriverChoice, LogFormat, LogLevel, Role};
use super::user::{PASSWORD, PASSWORD_ENV, PASSWORD_FILE, USER};
use super::words::{Words, words};
use crate::base::ConnectionId;

/// As a macro, to stand in other literals.
macro_rules! admin_listen {
    () => {
        "127.0.0.1:6032"
    };
}

/// A table of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// Name as in the header: `limits`, `cluster.backend`.
    pub(super) path: &'static str,
    /// Whether it may stand several times, as `[[name]]`.
    pub(super) many: bool,
    /// What it is for.
    pub(super) doc: &'static str,
    /// Its keys, in the order they are explained.
    pub(super) keys: &'static [Key],
    /// The tables below it.
    pub(super) children: &'static [&'static str],
    /// The occurrences in the sample file: keys that differ from their example, or are not required
    /// and yet shown in use. None: shown once, as a comment.
    pub(super) samples: &'static [&'static [(&'static str, &'static str)]],
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) doc: &'static str,
}

/// What a key accepts.
#[derive(Debug)]
pub(super) enum Kind {
    /// A whole number from `min` to `max`.
    Integer { default: u64, min: u64, max: u64, power_of_two: bool },
    /// One of a few words.
    Word(fn() -> Words),
    /// Anything else, read by code of its own; `example` and `default` are written as in TOML.
    Other {
        accepted: &'static str,
        default: Option<&'static str>,
        example: &'static str,
        required: bool,
    },
    /// Like `Other`, never shown.
    Secret { accepted: &'static str, example: &'static str },
}

impl Key {
    pub(super) const fn integer(
        name: &'static str,
        default: u64,
        range: (u64, u64),
        doc: &'static str,
    ) -> Self {
        let (min, max) = range;
        Self { name, kind: Kind::Integer { default, min, max, power_of_two: false }, doc }
    }

    pub(super) const fn word(name: &'static str, words: fn() -> Words, doc: &'static str) -> Self {
        Self { name, kind: Kind::Word(words), doc }
    }

    pub(super) const fn required(
        name: &'static str,
        accepted: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Other { accepted, default: None, example, required: true }, doc }
    }

    /// A switch that is off by default.
    pub(super) const fn flag(name: &'static str, doc: &'static str) -> Self {
        let kind = Kind::Other {
            accepted: "true or false",
            default: Some("false"),
            example: "false",
            required: false,
        };
        Self { name, kind, doc }
    }

    /// One of several ways to say the same.
    pub(super) const fn alternative(
        name: &'static str,
        accepted: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Other { accepted, default: None, example, required: false }, doc }
    }

    pub(super) const fn secret(
        name: &'static str,
        accepted: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Secret { accepted, example }, doc }
    }

    /// What the key accepts, in words.
    pub(super) fn accepted(&self) -> String {
        match self.kind {
            Kind::Integer { min, max, power_of_two: false, .. } => {
                format!("a whole number from {min} to {max}")
            }
            Kind::Integer { min, max, power_of_two: true, .. } => {
                format!("a power of two from {min} to {max}")
            }
            Kind::Word(words) => {
                let quoted = words().names.into_iter().map(|name| format!("\"{name}\""));
                let quoted: Vec<String> = quoted.collect();
                match quoted.split_last() {
                    Some((last, [])) => last.clone(),
                    Some((last, others)) => format!("{} or {last}", others.join(", ")),
                    None => String::new(),
                }
            }
            Kind::Other { accepted, .. } | Kind::Secret { accepted, .. } => accepted.to_owned(),
        }
    }

    /// Whether a file without the key is rejected.
    pub(super) fn is_required(&self) -> bool {
        match self.kind {
            Kind::Integer { .. } | Kind::Secret { .. } => false,
            Kind::Word(words) => words().required,
            Kind::Other { required, .. } => required,
        }
    }

    /// A value that a file may have, written as in TOML; the default if there is one.
    pub(super) fn example(&self) -> String {
        match self.kind {
            Kind::Integer { default, .. } => default.to_string(),
            Kind::Word(words) => {
                let Words { names, default, .. } = words();
                let name = default.or_else(|| names.first().copied()).unwrap_or_default();
                format!("\"{name}\"")
            }
            Kind::Other { example, .. } | Kind::Secret { example, .. } => example.to_owned(),
        }
    }

    /// What holds without the key, written as in TOML; `None` if nothing does.
    pub(super) fn default(&self) -> Option<String> {
        match self.kind {
            Kind::Integer { default, .. } => Some(default.to_string()),
            Kind::Word(words) => words().default.map(|name| format!("\"{name}\"")),
            Kind::Other { default, .. } => default.map(str::to_owned),
            Kind::Secret { .. } => None,
        }
    }
}

pub(super) static SECTIONS: &[Section] = &[
    Section {
        path: "weir",
        many: false,
        doc: "The process. On SIGHUP Weir reads this file again: what is right takes effect at once and \
              ends no session, but for the keys that say otherwise; a file with a problem changes \
              nothing. The log says what changed.",
        keys: WEIR,
        children: &[],
        samples: &[&[]],
    },
    Section {
        path: "log",
        many: false,
        doc: "Logging, to standard error.",
        keys: LOG,
        children: &[],
        samples: &[&[]],
    },
    Section {
        path: "admin",
        many: false,
        doc: "Pages for operators and their programs: see docs/metrics.md. There is no password.",
        keys: ADMIN,
        children: &[],
        samples: &[&[]],
    },
    Section {
        path: "limits",
        many: false,
        doc: "Bounds of time, number and memory. Buffers and clients are counted per worker.",
        keys: LIMITS,
        children: &[],
        samples: &[&[]],
    },
    Section {
        path: "pool",
        many: false,
        doc: "Backend connections of endpoints with pooling, kept for the next client.",
        keys: POOL,
        children: &[],
        samples: &[&[]],
    },
    Section {
        path: "cluster",
        many: true,
        doc: "A replication topology: one primary and any number of replicas. At least one. Who is what \
              is observed.",
        keys: CLUSTER,
        children: &["monitor", "backend"],
        samples: &[&[]],
    },
    Section {
        path: "cluster.monitor",
        many: false,
        doc: "The account Weir itself logs in with on every backend of the cluster above.",
        keys: MONITOR,
        children: &[],
        samples: &[&[("password", "\"change-me\"")]],
    },
    Section {
        path: "cluster.backend",
        many: true,
        doc: "A server of the cluster above. At most one is fixed to be the primary.",
        keys: BACKEND,
        children: &[],
        samples: &[
            &[],
            &[("name", "\"db2\""), ("address", "\"127.0.0.1:3307\"")],
            &[("name", "\"db3\""), ("address", "\"127.0.0.1:3308\"")],
        ],
    },
    Section {
        path: "endpoint",
        many: true,
        doc: "An address clients connect to. At least one. One more or one less needs a restart.",
        keys: ENDPOINT,
        children: &["certificate"],
        samples: &[&[]],
    },
    Section {
        path: "endpoint.certificate",
        many: true,
        doc: "A further certificate of the endpoint above, shown to clients that ask for one of \
              its names (SNI). Others get the endpoint's own.",
        keys: CERTIFICATE,
        children: &[],
        samples: &[],
    },
    Section {
        path: "user",
        many: true,
        doc: "An account clients log in with, to Weir, and Weir for them to the backends. \
              At least one, unless an endpoint has auth = \"pass-through\". Exactly one of the \
              password keys. Sessions of a user whom a reload removes \
              or changes go on.",
        keys: USER,
        children: &[],
        samples: &[&[("password", "\"change-me\"")]],
    },
    Section {
        path: "rule",
        many: true,
        doc: "What becomes of certain statements: see docs/rules.md. Rules are tried in their order, \
              and the first one of which everything holds that it names is the one, unless it has \
              continue. They look at statements of sessions that share connections (pooling = \
              \"transaction\").",
        keys: RULE,
        children: &[],
        samples: &[],
    },
];

/// The file as a whole: a table without a name.
pub(super) static ROOT: Section = Section {
    path: "",
    many: false,
    doc: "",
    keys: &[],
    children: &["weir", "log", "admin", "limits", "pool", "cluster", "endpoint", "user", "rule"],
    samples: &[],
};

const WEIR: &[Key] = &[
    Key {
        name: "workers",
        kind: Kind::Other {
            accepted: "\"auto\", a number of threads from 1 to 256, or a list of different CPU \
                       numbers such as [0, 2, 3]",
            default: Some("\"auto\""),
            example: "\"auto\"",
            required: false,
        },
        doc: "Threads of the data path: one per CPU this process may use, so many on its first \
              CPUs, or one on each CPU listed. Each is pinned to its CPU. A change needs a restart.",
    },
    Key::word(
        "driver",
        words::<DriverChoice>,
        "How sockets are driven. \"auto\" takes io_uring where the kernel has and allows it. A change \
         needs a restart.",
    ),
    Key::integer(
        "drain_timeout_ms",
        30_000,
        (0, HOUR_MS),
        "How long a stopping Weir waits for work in progress, in milliseconds.",
    ),
    Key {
        name: "state_dir",
        kind: Kind::Other {
            accepted: "an absolute path",
            default: Some(STATE_DIR_TOML),
            example: STATE_DIR_TOML,
            required: false,
        },
        doc: "Folder of what Weir makes for itself and uses again after a restart: the certificate \
              of endpoints that have none, and the RSA key.",
    },
    Key::alternative(
        "rsa_key_file",
        PEM_FILE,
        "\"rsa-key.pem\"",
        "RSA key of 2048 bits or more. Clients of caching_sha2_password that are asked for their \
         password, and use neither TLS nor a unix socket, seal it for this key. Without it, Weir \
         makes one when there may be such clients, and keeps it in state_dir.",
    ),
];

const LOG: &[Key] = &[
    Key::word("format", words::<LogFormat>, "Lines for people or JSON objects for machines."),
    Key::word("level", words::<LogLevel>, "Least severity written."),
];

const ADMIN: &[Key] = &[Key {
    name: "listen",
    kind: Kind::Other {
        accepted: "\"HOST:PORT\", or \"\" or \"disabled\" for nowhere",
        default: Some(concat!("\"", admin_listen!(), "\"")),
        example: concat!("\"", admin_listen!(), "\""),
        required: false,
    },
    doc: "Where metrics, histograms and health are served over HTTP.",
}];

const CLUSTER: &[Key] = &[
    Key::required("name", NAME, "\"main\"", "Name in logs, metrics and endpoints."),
    Key::alternative(
        "heartbeat_table",
        TABLE,
        "\"percona.heartbeat\"",
        "Table whose newest ts tells how far a replica is behind, in the layout of pt-heartbeat: \
         something writes the time to it on the primary, as the servers' own clocks and time zone \
         have it. Without it, the replicas' own whole seconds tell.",
    ),
    Key::flag(
        "discover",
        "Whether servers that replicate from the primary, and tell it their report_host and \
         report_port, become backends. Each has the settings of the primary's, and a name made of \
         host and port.",
    ),
    Key::integer("discover_max", 32, (1, 1000), "Most backends that are found so."),
    Key::integer(
        "discover_forget_ms",
        600_000,
        (1_000, 24 * HOUR_MS),
        "How long a backend that was found so stays after the primary has ceased to know it and it \
         does not answer, in milliseconds.",
    ),
];

const MONITOR: &[Key] = &[
    Key::required("user", USER_NAME, "\"weir\"", "Account name."),
    PASSWORD,
    PASSWORD_ENV,
    PASSWORD_FILE,
    Key::integer(
        "interval_ms",
        250,
        (10, 60_000),
        "Time between two probes of one backend, in milliseconds.",
    ),
    Key::integer("timeout_ms", 1_000, (10, 60_000), "Time a probe may take, in milliseconds."),
];

const BACKEND: &[Key] = &[
    Key::required("name", NAME, "\"db1\"", "Name in logs and metrics, different from all others."),
    Key::required(
        "address",
        ADDRESS,
        "\"127.0.0.1:3306\"",
        "Where the server listens, \"HOST:PORT\" or \"unix:PATH\". A host name is resolved at start \
         and at each reload; an IPv4 address is preferred.",
    ),
    Key::word(
        "role",
        words::<Option<Role>>,
        "What the server is. \"auto\" is what it shows: the primary is the one that takes writes and \
         replicates from no other of the cluster, or that Group Replication or Galera says. The other \
         words hold whatever it shows: see docs/topology.md.",
    ),
    Key::word(
        "compression",
        words::<BackendCompression>,
        "How connections to the server are compressed, if it can: worth its CPU only over a slow \
         or dear network. \"zstd\" is MySQL's, from 8.0.18 on. What clients use does not depend \
         on it.",
    ),
    Key::word(
        "tls",
        words::<OfBackend>,
        "TLS toward the server: none; where the server can; or it fails; and the server's \
         certificate must be from the authority of tls_ca_file; and be for tls_server_name.",
    ),
    Key::alternative(
        "tls_ca_file",
        PEM_FILE,
        "\"backend-ca.pem\"",
        "Certificates of the authority that \"verify-ca\" and \"verify-identity\" trust.",
    ),
    Key::alternative(
        "tls_certificate_file",
        PEM_FILE,
        "\"weir-client.pem\"",
        "Certificate shown to a server that asks for one, followed by those between it and its \
         authority.",
    ),
    Key::alternative("tls_key_file", PEM_FILE, "\"weir-client-key.pem\"", TLS_KEY),
    Key::alternative(
        "tls_server_name",
        "a DNS name or an IP address",
        "\"db1.example\"",
        "Name sent to the server (SNI), and looked for in its certificate by \"verify-identity\". \
         Without it, the host in address.",
    ),
    Key::integer(
        "connections_max",
        0,
        (0, CLIENTS_MAX * WORKERS_MAX as u64),
        "Connections of sessions to the server's address, over all workers; further sessions wait \
         up to lease_wait_ms. 0 is no bound. Leave room below the server's max_connections for the \
         probe and for connections that are closing.",
    ),
    Key::integer(
        "weight",
        100,
        (0, 10_000),
        "Its share of reads against the other servers' of an endpoint. 0 is none, as long as another \
         one is fit.",
    ),
    Key::flag(
        "drain",
        "It gets nothing new: what runs there comes to its end, and connections that nobody uses are \
         closed. The primary still gets what only it can do.",
    ),
    Key::alternative(
        "init_query",
        init_query::ACCEPTED,
        "\"SET SESSION wait_timeout = 28800\"",
        "Said on every connection of sessions before it is used, whatever the endpoint's pooling, and \
         again after each reset of its session (COM_RESET_CONNECTION, COM_CHANGE_USER). What it sets \
         of system variables is what clients find after their login. A result of up to 64 KiB is \
         dropped. If the server refuses it, the connection is closed and the client told why. \
         Connections made before a change of it serve no new client.",
    ),
    Key::flag(
        "proxy_protocol",
        "Whether each connection to the server begins with a PROXY header (version 2) that names \
         the client and the address it reached, so that the server's grants, logs and process list \
         show the client's host and not Weir's. Probes, and clients of a unix socket, are sent as \
         Weir's own. MariaDB takes it from Weir's address if that is in its \
         proxy_protocol_networks; MySQL never does, and the login fails.",
    ),
];

/// What `admin.listen` is without being set.
pub(super) const ADMIN_LISTEN: &str = admin_listen!();
/// Most clusters, backends, endpoints or users: their ids have 16 bits.
pub(super) const ITEMS_MAX: usize = u16::MAX as usize;
/// Most workers: the connection id has that many bits for them.
pub(super) const WORKERS_MAX: u16 = ConnectionId::WORKERS_MAX;
/// Highest CPU number: the kernel's usual CPU_SETSIZE.
pub(super) const CPU_MAX: usize = 1023;
/// Most rules.
pub(super) const RULES_MAX: usize = 1000;
/// Longest name, in ASCII characters, of a cluster, backend or endpoint.
pub(super) const NAME_CHARS_MAX: usize = 64;
/// Longest account name: MariaDB's, and longer than MySQL's 32.
pub(super) const USER_CHARS_MAX: usize = 128;

pub(super) const NAME: &str = "1 to 64 letters, digits, dots, dashes or underscores";
pub(super) const USER_NAME: &str = "1 to 128 characters";
/// Folder of what Weir makes for itself.
pub(super) const STATE_DIR: &str = "/var/lib/weir";
const STATE_DIR_TOML: &str = "\"/var/lib/weir\"";
const PEM_FILE: &str = "the path of a PEM file";
const TLS_KEY: &str = "The certificate's private key, not encrypted.";
const ADDRESS: &str = "\"HOST:PORT\" (an IPv6 address stands in brackets) or \"unix:PATH\"";
const TABLE: &str = "\"SCHEMA.TABLE\"";
const HOUR_MS: u64 = 3_600_000;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Connection ids of one worker: every client needs one.
const CLIENTS_MAX: u64 = ConnectionId::SEQUENCES as u64;
/// Of all workers.
pub(super) const CONNECTIONS_MAX: u64 = CLIENTS_MAX * WORKERS_MAX as u64;
