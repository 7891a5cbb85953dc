//! Keys of endpoints.
//!
//! Purpose: their names, defaults and texts.
//! Never: hold a rule between two keys.

use super::{ADDRESS, Key, Kind, NAME, PEM_FILE, TLS_KEY};
use crate::base::Consistency;
use crate::config::routing::{Policy, PrimaryReads};
use crate::config::tls::OfEndpoint;
use crate::config::types::{EndpointAuth, EndpointMode, Pooling};
use crate::config::words::words;

pub(super) const ENDPOINT: &[Key] = &[
    Key::required("name", NAME, "\"app\"", "Name in logs and metrics."),
    Key::required(
        "listen",
        ADDRESS,
        "\"127.0.0.1:6033\"",
        "Where Weir listens. \"0.0.0.0:6033\" is every IPv4 address of the machine, \
         \"unix:/run/weir/weir.sock\" a unix socket, whose clients are 'localhost'. A change needs \
         a restart.",
    ),
    Key {
        name: "unix_mode",
        kind: Kind::Other {
            accepted: "three octal digits such as \"0770\"",
            default: Some("\"0777\""),
            example: "\"0777\"",
            required: false,
        },
        doc: "Who may use the file of a unix socket: its permission bits. Says nothing where \
              Weir listens on TCP. A change needs a restart.",
    },
    Key::required("cluster", "the name of a cluster", "\"main\"", "The cluster it serves."),
    Key::word(
        "mode",
        words::<EndpointMode>,
        "Where statements go. \"primary\": all to the primary. \"read-write\": reads to replicas, \
         everything else, and whatever might not be a read, to the primary; needs pooling = \
         \"transaction\". \"read-only\": all to replicas; what writes gets error 1290. A change needs a restart.",
    ),
    Key::word(
        "consistency",
        words::<Consistency>,
        "How fresh reads of mode = \"read-write\" are. \"eventual\": as fresh as the replica that \
         answers. \"session\": a session sees what it has written itself, and never goes back in time. \
         \"instance\": it sees every write acknowledged through this Weir. \"global\": it sees every \
         write that the primary acknowledged before the read began, whoever made it. With mode = \
         \"read-only\" it is always \"eventual\", without being said: there is no primary to fall \
         back on.",
    ),
    Key::integer(
        "causal_wait_ms",
        50,
        (0, 60_000),
        "How long a read waits, in milliseconds, for a replica to have what consistency has it see, \
         before the primary is asked. With 0 it does not wait.",
    ),
    Key::alternative(
        "backends",
        "a list of backends of the cluster such as [\"db1\", \"db2\"]",
        "[\"db2\", \"db3\"]",
        "The servers that its reads may go to. Without it, all of the cluster.",
    ),
    Key::word(
        "policy",
        words::<Policy>,
        "Which of the servers that are fit answers a read. \"least-outstanding\": the one with the \
         fewest statements under way. \"least-connections\": with the fewest connections of this \
         Weir. \"fastest\": whose answers take least, times those under way. \"least-lag\": the one \
         least behind. \"weighted-random\" and \"round-robin\": whichever. All of them go by weight. \
         What is under way, and how long answers take, each worker knows of itself.",
    ),
    Key::word(
        "primary_reads",
        words::<PrimaryReads>,
        "Whether the primary takes reads that could go to a replica. \"fallback\": when no replica is \
         fit. \"always\": as one server among the others. \"never\": they get an error then.",
    ),
    Key::integer(
        "max_lag_ms",
        10_000,
        (0, 86_400_000),
        "How far behind the primary, in milliseconds, a replica may be to be fit. One of which that is \
         not known is not fit. 0 is no bound.",
    ),
    Key::flag(
        "transaction_split",
        "Whether reads of a transaction go to replicas as long as it has written nothing, where its \
         isolation is READ COMMITTED or less.",
    ),
    Key::flag(
        "functions_on_replicas",
        "Whether reads that call functions Weir does not know go to replicas that are read-only, and \
         to the primary only if the replica refuses. Not for functions that set user variables, and \
         not for accounts that may write on a read-only server.",
    ),
    Key::word(
        "pooling",
        words::<Pooling>,
        "How backend connections are shared. \"transaction\": a client has a connection for a \
         statement or a transaction only, set to what the client has set; users with schemas are \
         pooled as with \"session\", and those with read_only not at all. \"session\": each client has \
         one of its own, and when it leaves, the connection is reset (COM_RESET_CONNECTION) and kept \
         for the next client with the same user, schema, character set and capabilities, whose \
         login then costs the server nothing. \"none\": each client has one of its own, which ends \
         with it.",
    ),
    Key::flag(
        "match_client_address",
        "A connection that was kept goes to clients of the same IP address only, for servers that \
         tell accounts apart by it.",
    ),
    Key::word(
        "auth",
        words::<EndpointAuth>,
        "Who may log in. \"listed\": the users of this file. \"pass-through\": also users of the \
         backend that are not in this file; they tell their password by caching_sha2_password, over \
         TLS, a unix socket or sealed for rsa_key_file, the backend judges it, and it is remembered \
         (remembered_users_max). Clients with mysql_native_password are switched; those that cannot \
         get error 1251.",
    ),
    Key {
        name: "compression",
        kind: Kind::Other {
            accepted: "a list of \"zlib\" and \"zstd\", or []",
            default: Some("[\"zlib\", \"zstd\"]"),
            example: "[\"zlib\", \"zstd\"]",
            required: false,
        },
        doc: "What clients may compress with, whether the backend can or not; they choose, and \
              most do not compress.",
    },
    Key::word(
        "tls",
        words::<OfEndpoint>,
        "TLS toward clients: none; where the client wants; or it is refused; and the client must \
         have a certificate from the authority of tls_client_ca_file; and one that names its \
         account, as common name, DNS name or e-mail address (or the part of it before the @).",
    ),
    Key::alternative(
        "tls_certificate_file",
        PEM_FILE,
        "\"server.pem\"",
        "Certificate shown to clients, followed by those between it and its authority. Without it, \
         Weir makes one that no client can verify, and keeps it in state_dir.",
    ),
    Key::alternative("tls_key_file", PEM_FILE, "\"server-key.pem\"", TLS_KEY),
    Key::alternative(
        "tls_client_ca_file",
        PEM_FILE,
        "\"client-ca.pem\"",
        "Certificates of the authority that \"verify-ca\" and \"verify-identity\" trust.",
    ),
    Key {
        name: "proxy_protocol_networks",
        kind: Kind::Other {
            accepted: "a list of networks such as \"10.0.0.0/8\", \"192.0.2.7\" and \"fd00::/8\", \
                       or []",
            default: Some("[]"),
            example: "[]",
            required: false,
        },
        doc: "Networks of the balancers in front of Weir. Whoever connects from one must send a \
              PROXY header (version 1 or 2, up to 4096 bytes) before anything else, within \
              login_timeout_ms, and is greeted only then; the address it names is the client's in \
              limits, host blocking, errors and logs. With version 2's LOCAL or version 1's \
              UNKNOWN it stays the sender's own, as for health checks; those may leave when they \
              like, and nothing that goes wrong before a client is named is held against a \
              balancer's address. From anywhere else such a header breaks the handshake. A change \
              holds for new connections.",
    },
];

pub(super) const CERTIFICATE: &[Key] = &[
    Key::required(
        "certificate_file",
        PEM_FILE,
        "\"other.pem\"",
        "The certificate, followed by those between it and its authority.",
    ),
    Key::required("key_file", PEM_FILE, "\"other-key.pem\"", TLS_KEY),
];
