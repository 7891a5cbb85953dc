//! The keys of `[limits]` and `[pool]`.
//!
//! Purpose: every bound in one place.
//! Never: hold a rule between two of them; those are in `check`.

use super::{CLIENTS_MAX, HOUR_MS, KIB, Key, Kind, MIB, WORKERS_MAX};

pub(super) const LIMITS: &[Key] = &[
    Key::integer(
        "login_timeout_ms",
        10_000,
        (1, HOUR_MS),
        "From accept to the end of the login, in milliseconds, before the client is dropped.",
    ),
    Key::integer(
        "connect_timeout_ms",
        5_000,
        (1, HOUR_MS),
        "From connect to the end of the login on a backend, in milliseconds.",
    ),
    Key::integer(
        "handshakes_max",
        16_384,
        (1, CLIENTS_MAX),
        "Clients per worker that may be logging in at once; more get error 1040.",
    ),
    Key::integer(
        "clients_max",
        100_000,
        (1, CLIENTS_MAX),
        "Clients per worker; more get error 1040.",
    ),
    Key::integer(
        "clients_total_max",
        0,
        (0, CLIENTS_MAX * WORKERS_MAX as u64),
        "Clients of all workers together; more get error 1040. 0 is no bound but clients_max.",
    ),
    Key::integer(
        "clients_per_address_max",
        0,
        (0, CLIENTS_MAX * WORKERS_MAX as u64),
        "Clients of one IP address, over all workers; more get error 1040. 0 is no bound.",
    ),
    Key::integer(
        "host_errors_max",
        100,
        (0, 1_000_000_000),
        "Handshakes in a row that one IP address may abort, break or leave unfinished before it is \
         blocked and gets error 1129; a login that succeeds begins the count anew, a wrong password \
         is not counted. 0 is never.",
    ),
    Key::integer(
        "host_block_ms",
        60_000,
        (1, 24 * HOUR_MS),
        "How long an address stays blocked, in milliseconds.",
    ),
    Key::integer(
        "sealed_passwords_max",
        256,
        (1, 65_536),
        "Passwords sealed for rsa_key_file that may wait to be opened, over all workers; a thread of \
         its own opens about a thousand a second. More get error 1040. TLS does without.",
    ),
    Key::integer(
        "remembered_users_max",
        10_000,
        (0, 1_000_000),
        "Users whose password is kept in memory, because a client has told it and a backend has \
         taken it; others of them are not asked for it again. The one not seen for longest makes \
         room. 0 keeps none.",
    ),
    Key::integer(
        "remembered_users_ms",
        24 * HOUR_MS,
        (1, 365 * 24 * HOUR_MS),
        "How long such a password is kept, in milliseconds, before the next client is asked for it \
         again.",
    ),
    Key::integer(
        "backend_handshakes_max",
        64,
        (1, CLIENTS_MAX),
        "Logins in progress per worker on one backend. Further sessions wait in order, so that a \
         storm of clients is none for the server.",
    ),
    Key::integer(
        "lease_wait_ms",
        10_000,
        (1, HOUR_MS),
        "How long a session that has logged in to Weir may wait, in milliseconds, for its turn to \
         connect to a backend and for one of connections_max to become free; then it gets error \
         1040. connect_timeout_ms begins after that.",
    ),
    Key::integer(
        "lease_waiters_max",
        100_000,
        (1, CLIENTS_MAX * WORKERS_MAX as u64),
        "Sessions that may wait at once for one server, over all workers: for their turn to connect, \
         and for one of connections_max. One more gets error 1040 at once.",
    ),
    Key::integer(
        "pipelined_commands_max",
        1_024,
        (1, 65_536),
        "Commands one client may have sent ahead of their answers.",
    ),
    Key::integer(
        "session_buffer_bytes",
        512 * KIB,
        (4 * KIB, 1024 * MIB),
        "Bytes queued towards one side of a session before receiving from the other side stops. \
         No less than large_buffer_bytes, so that one receive cannot overrun it.",
    ),
    Key::integer(
        "worker_buffer_bytes",
        64 * MIB,
        (64 * KIB, 1024 * 1024 * MIB),
        "Bytes queued in one worker before its sessions lose their own allowance. No less than \
         session_buffer_bytes.",
    ),
    Key {
        name: "receive_buffers",
        kind: Kind::Integer { default: 256, min: 8, max: 32_768, power_of_two: true },
        doc: "Small receive buffers per worker. More than are in use at once only makes memory \
              colder. A change needs a restart.",
    },
    Key::integer(
        "receive_buffer_bytes",
        8 * KIB,
        (512, 64 * KIB),
        "Size of a small receive buffer. A change needs a restart.",
    ),
    Key::integer(
        "large_buffer_bytes",
        512 * KIB,
        (4 * KIB, 16 * MIB),
        "Size of a large receive buffer, used for large results and statements. More than \
         receive_buffer_bytes. A change needs a restart.",
    ),
    Key::integer(
        "large_buffers_max",
        64,
        (1, 32_768),
        "Large receive buffers per worker. A change needs a restart.",
    ),
    Key::integer(
        "listen_backlog",
        16_384,
        (1, 65_535),
        "Connections the kernel keeps that are not yet accepted, per worker and endpoint. The \
         kernel caps it at net.core.somaxconn. A change needs a restart.",
    ),
];

pub(super) const POOL: &[Key] = &[
    Key::integer(
        "idle_ms_max",
        60_000,
        (1, 24 * HOUR_MS),
        "How long a connection is kept that nobody uses, in milliseconds.",
    ),
    Key::integer(
        "idle_min",
        0,
        (0, CLIENTS_MAX),
        "Connections that nobody uses and that stay for longer than idle_ms_max, per pool (server, \
         user and what clients have negotiated) and worker. Where connections are shared (pooling = \
         \"transaction\") they are made ahead of need, for users who have clients on the worker.",
    ),
    Key::integer(
        "idle_max",
        1_000,
        (0, CLIENTS_MAX),
        "Connections that nobody uses, per worker; one more is closed at once.",
    ),
    Key::integer(
        "ping_idle_ms",
        60_000,
        (0, 24 * HOUR_MS),
        "After how long, in milliseconds, the server of a connection that nobody uses is asked whether \
         it is still there (COM_PING), so that neither its wait_timeout nor a firewall ends the \
         connection; without an answer within connect_timeout_ms it is closed. 0 is never.",
    ),
    Key::integer(
        "age_ms_max",
        HOUR_MS,
        (1, 24 * HOUR_MS),
        "How long after its login a connection may still be kept, in milliseconds.",
    ),
    Key::integer(
        "auth_cache_ttl_ms",
        60_000,
        (0, 24 * HOUR_MS),
        "How long after its login on the server, in milliseconds, a connection may be given to \
         further clients that log in alike: so late may they notice that the server's account or \
         its rights on the schema have changed. 0 is never: every client's login is one on the \
         server.",
    ),
    Key::integer(
        "statements_per_session_max",
        16_382,
        (1, 4_194_304),
        "Prepared statements a client may have open where connections are shared (pooling = \
         \"transaction\"); one more gets error 1461.",
    ),
    Key::integer(
        "statements_per_connection_max",
        256,
        (1, 65_536),
        "Prepared statements a shared connection keeps for whoever executes them next. The one not \
         used for longest makes room for another, and is prepared again when it is executed.",
    ),
    Key::integer(
        "statements_max",
        8_192,
        (0, 4_194_304),
        "The same for all shared connections together; each may keep one all the same. Servers have \
         a bound of their own, max_prepared_stmt_count, for all their clients.",
    ),
];
