//! What is asked of every target.
//!
//! Purpose: the list of workloads, each with a name for the record and one for people.
//! Never: know how a target is started.

use std::time::Duration;

use weir_benches::answers::Encoding;
use weir_benches::client::{Script, Value};
use weir_benches::login::{Account, Profile};
use weir_benches::pace::Pace;
use weir_benches::tls::Security;

use crate::target::Kind;

/// What stands behind the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The instant responder.
    Responder,
    /// The same, with TLS for those who want it: HAProxy passes it through, Weir ends it and asks
    /// the responder without.
    TlsResponder,
    /// A real MariaDB.
    MariaDb,
    /// The same with two replicas that follow it.
    Replicas,
}

/// One workload.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// Name in the record and for `--only`.
    pub(crate) name: String,
    /// One line for people.
    pub(crate) title: String,
    /// What stands behind the proxies.
    pub(crate) behind: Behind,
    /// Connections.
    pub(crate) clients: usize,
    /// Their capabilities.
    pub(crate) profile: Profile,
    /// Text or prepared.
    pub(crate) encoding: Encoding,
    /// Asked for.
    pub(crate) value: Value,
    /// Every query on a connection of its own.
    pub(crate) reconnects: bool,
    /// With TLS or without.
    pub(crate) security: Security,
    /// Closed loop or rate.
    pub(crate) pace: Pace,
    /// Weir's metrics are read every second meanwhile.
    pub(crate) scraped: bool,
    /// What it is asked of, in the order of the table.
    pub(crate) targets: &'static [Kind],
    /// What ratios are taken against.
    pub(crate) reference: Kind,
}

impl Workload {
    /// What its clients do.
    pub(crate) fn script(&self) -> anyhow::Result<Script> {
        Script::new(account(), self.profile, self.encoding, self.value)
            .reconnecting(self.reconnects)
            .secured(self.security)
    }

    fn small(name: &str, title: &str, clients: usize) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            behind: Behind::Responder,
            clients,
            profile: Profile::Modern,
            encoding: Encoding::Text,
            value: Value::Small,
            reconnects: false,
            security: Security::Plain,
            pace: Pace::Saturated,
            scraped: false,
            targets: SMALL,
            reference: Kind::Haproxy,
        }
    }

    fn database(kind: &str, encoding: Encoding, clients: usize) -> Self {
        let title = format!("MariaDB, {kind} point select, {}", people(clients));
        let name = format!("mariadb-{kind}-{clients}");
        Self {
            behind: Behind::MariaDb,
            encoding,
            value: Value::RowOf(ROWS),
            targets: DATABASE,
            ..Self::small(&name, &title, clients)
        }
    }
}

/// The account everything logs in with.
pub(crate) fn account() -> Account {
    let bench = || "bench".to_owned();
    Account { user: bench(), password: bench(), database: Some(bench()) }
}

/// All workloads, in the order they are run and shown.
pub(crate) fn all(quick: bool) -> Vec<Workload> {
    let mut list: Vec<Workload> = [1, 8, 64, 256]
        .into_iter()
        .map(|clients| {
            let title = format!("text, 120-byte replies, {}", people(clients));
            Workload::small(&format!("text-{clients}"), &title, clients)
        })
        .collect();
    // Next to what it is compared with.
    list.insert(
        3,
        Workload {
            scraped: true,
            targets: WEIR,
            reference: Kind::WeirUring,
            ..Workload::small(
                SCRAPED.0,
                "text, 120-byte replies, 64 clients, metrics read every second",
                64,
            )
        },
    );
    list.push(Workload {
        profile: Profile::Classic,
        ..Workload::small(
            "text-64-classic",
            "text, 127-byte replies, 64 clients without DEPRECATE_EOF and SESSION_TRACK",
            64,
        )
    });
    list.push(Workload {
        encoding: Encoding::Binary,
        ..Workload::small("prepared-64", "prepared, 120-byte replies, 64 clients", 64)
    });
    list.push(Workload {
        pace: Pace::PerSecond(20_000),
        ..Workload::small("paced-64", "text, 120-byte replies, 64 clients, 20,000 queries/s", 64)
    });
    list.push(Workload {
        value: Value::Bytes(16 << 10),
        targets: LARGE,
        ..Workload::small("text-16k-64", "text, 16 KiB values, 64 clients", 64)
    });
    list.push(Workload {
        value: Value::Bytes(1 << 20),
        targets: LARGE,
        reference: Kind::HaproxyLarge,
        ..Workload::small("text-1m-8", "text, 1 MiB values, 8 clients", 8)
    });
    list.push(Workload {
        reconnects: true,
        ..Workload::small("connect-16", "connect, log in, one query, close: 16 clients", 16)
    });
    list.extend(over_tls());
    list.extend(on_mariadb(quick));
    list
}

/// Against a real server.
fn on_mariadb(quick: bool) -> Vec<Workload> {
    let mut list = Vec::new();
    let database: &[usize] = if quick { &[1, 64] } else { &[1, 16, 64] };
    for (kind, encoding) in [("text", Encoding::Text), ("prepared", Encoding::Binary)] {
        list.extend(database.iter().map(|clients| Workload::database(kind, encoding, *clients)));
    }
    list.push(Workload {
        targets: CROWDED,
        reference: Kind::Direct,
        ..Workload::database("text", Encoding::Text, 2_000)
    });
    list.push(Workload {
        name: "mariadb-slow-64".to_owned(),
        title: "MariaDB, text point select, 64 clients, one of two replicas slow".to_owned(),
        targets: SLOW,
        reference: Kind::WeirRoundRobin,
        ..Workload::database("text", Encoding::Text, 64)
    });
    list.push(Workload {
        name: MIXED.to_owned(),
        title: "MariaDB and two replicas, text, 90 % point selects and 10 % updates, each read \
                back at once: 64 clients"
            .to_owned(),
        behind: Behind::Replicas,
        value: Value::RowOrOwn(ROWS),
        targets: CONSISTENT,
        reference: Kind::WeirEventual,
        ..Workload::database("text", Encoding::Text, 64)
    });
    list.push(Workload {
        name: "mariadb-connect-16".to_owned(),
        title: "MariaDB, connect, log in, one point select, close: 16 clients".to_owned(),
        reconnects: true,
        targets: CONNECTING,
        ..Workload::database("text", Encoding::Text, 16)
    });
    list
}

/// Clients with TLS; the servers' own where there is no Weir.
fn over_tls() -> [Workload; 3] {
    let behind = Behind::TlsResponder;
    let connect = |name, title, security| Workload {
        behind,
        reconnects: true,
        security,
        ..Workload::small(name, title, 16)
    };
    [
        connect(
            "connect-tls-16",
            "TLS, full handshakes: connect, log in, one query, close: 16 clients",
            Security::Full,
        ),
        connect(
            "connect-tls-resumed-16",
            "TLS, resumed: connect, log in, one query, close: 16 clients",
            Security::Resumed,
        ),
        Workload {
            behind,
            security: Security::Full,
            value: Value::Bytes(1 << 20),
            targets: LARGE,
            reference: Kind::HaproxyLarge,
            ..Workload::small(
                "tls-1m-8",
                "TLS, text, 1 MiB values, 8 clients (HAProxy passes TLS through)",
                8,
            )
        },
    ]
}

fn people(clients: usize) -> String {
    if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") }
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds over all targets.
    pub(crate) rounds: usize,
    /// Load before each measured slice.
    pub(crate) warmup: Duration,
    /// A measured slice.
    pub(crate) slice: Duration,
    /// Time that may be spent on waiting for an idle machine and on repeating slices.
    pub(crate) patience: Duration,
}

impl Effort {
    /// The whole run within two minutes.
    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        warmup: Duration::from_millis(80),
        slice: Duration::from_millis(300),
        patience: Duration::from_secs(10),
    };
    /// Figures for a record.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        warmup: Duration::from_millis(300),
        slice: Duration::from_millis(1500),
        patience: Duration::from_secs(300),
    };
}

/// The workload with scrapes, and the same without.
pub(crate) const SCRAPED: (&str, &str) = ("text-64-scraped", "text-64");
const WEIR: &[Kind] = &[Kind::WeirUring, Kind::WeirEpoll];
const SMALL: &[Kind] = &[Kind::Direct, Kind::Haproxy, Kind::WeirUring, Kind::WeirEpoll];
/// The responder could not be reset.
const CONNECTING: &[Kind] = &[
    Kind::Direct,
    Kind::Haproxy,
    Kind::WeirUring,
    Kind::WeirEpoll,
    Kind::WeirPooling,
    Kind::WeirTransaction,
];
/// Whether a database stays fast when thousands of clients ask it.
const CROWDED: &[Kind] = &[Kind::Direct, Kind::Haproxy, Kind::WeirUring, Kind::WeirTransaction];
/// Nor could it say what its sessions set.
const DATABASE: &[Kind] = &[
    Kind::Direct,
    Kind::Haproxy,
    Kind::WeirUring,
    Kind::WeirEpoll,
    Kind::WeirTransaction,
    Kind::WeirSplit,
];
/// One of two replicas is slow.
const SLOW: &[Kind] = &[Kind::WeirRoundRobin, Kind::WeirOutstanding];
/// What it costs that reads see what was written; without a split there is nothing to see to.
const CONSISTENT: &[Kind] = &[
    Kind::Direct,
    Kind::Haproxy,
    Kind::WeirEventual,
    Kind::WeirSession,
    Kind::WeirInstance,
    Kind::WeirGlobal,
];
/// The workload that writes.
pub(crate) const MIXED: &str = "mariadb-mixed-64";
const LARGE: &[Kind] = &[
    Kind::Direct,
    Kind::Haproxy,
    Kind::HaproxyLarge,
    Kind::HaproxySplice,
    Kind::WeirUring,
    Kind::WeirEpoll,
];
/// Rows of the table in MariaDB.
pub(crate) const ROWS: u32 = 10_000;
/// Rows behind these that belong to one client each.
pub(crate) const OWN_ROWS: u32 = 64;
