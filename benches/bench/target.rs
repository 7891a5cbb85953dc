//! What the load is sent to.
//!
//! Purpose: start each proxy with its committed configuration in front of one server.
//! Never: tune a peer here; its file in `peers/` says what is set and why.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_benches::answers::Encoding;
use weir_benches::client::{Script, Value};
use weir_benches::generator::Fleet;
use weir_benches::login::Profile;
use weir_benches::machine;

use crate::backend::Backend;
use crate::child::{Server, find, free_address};
use crate::database;
use crate::slow;
use crate::workload::account;

/// The kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The server itself.
    Direct,
    /// HAProxy, 16 KiB buffers.
    Haproxy,
    /// HAProxy, 64 KiB buffers.
    HaproxyLarge,
    /// HAProxy, 16 KiB buffers and splice.
    HaproxySplice,
    /// Weir on io_uring.
    WeirUring,
    /// Weir on epoll.
    WeirEpoll,
    /// Weir on io_uring, with backend connections that outlive their client.
    WeirPooling,
    /// Weir on io_uring, with backend connections that clients share, 16 of them.
    WeirTransaction,
    /// The same, which sends reads to a replica: the server, which is its primary by another way.
    WeirSplit,
    /// The same with a second replica, which is slow, by turns.
    WeirRoundRobin,
    /// The same to the one that has less to do.
    WeirOutstanding,
    /// Weir on io_uring with a primary and two replicas that follow it; reads see what is there.
    WeirEventual,
    /// The same; reads see what their session has written.
    WeirSession,
    /// Reads see what was written through this Weir.
    WeirInstance,
    /// Reads see what was written.
    WeirGlobal,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 15] = [
        Self::Direct,
        Self::Haproxy,
        Self::HaproxyLarge,
        Self::HaproxySplice,
        Self::WeirUring,
        Self::WeirEpoll,
        Self::WeirPooling,
        Self::WeirTransaction,
        Self::WeirSplit,
        Self::WeirRoundRobin,
        Self::WeirOutstanding,
        Self::WeirEventual,
        Self::WeirSession,
        Self::WeirInstance,
        Self::WeirGlobal,
    ];

    /// Name in tables, the record, and for `--targets`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::HaproxyLarge => "haproxy-64k",
            Self::HaproxySplice => "haproxy-splice",
            Self::WeirUring => "weir-io_uring",
            Self::WeirEpoll => "weir-epoll",
            Self::WeirPooling => "weir-pooling",
            Self::WeirTransaction => "weir-transaction",
            Self::WeirSplit => "weir-split",
            Self::WeirRoundRobin => "weir-round-robin",
            Self::WeirOutstanding => "weir-outstanding",
            Self::WeirEventual => "weir-eventual",
            Self::WeirSession => "weir-session",
            Self::WeirInstance => "weir-instance",
            Self::WeirGlobal => "weir-global",
        }
    }

    /// It is Weir.
    pub(crate) fn is_weir(self) -> bool {
        match self {
            Self::Direct | Self::Haproxy | Self::HaproxyLarge | Self::HaproxySplice => false,
            Self::WeirUring
            | Self::WeirEpoll
            | Self::WeirPooling
            | Self::WeirTransaction
            | Self::WeirSplit
            | Self::WeirRoundRobin
            | Self::WeirOutstanding
            | Self::WeirEventual
            | Self::WeirSession
            | Self::WeirInstance
            | Self::WeirGlobal => true,
        }
    }

    /// The policy of one that has two replicas, of which one is slow.
    fn slow_policy(self) -> Option<&'static str> {
        match self {
            Self::WeirRoundRobin => Some("round-robin"),
            Self::WeirOutstanding => Some("least-outstanding"),
            Self::Direct
            | Self::Haproxy
            | Self::HaproxyLarge
            | Self::HaproxySplice
            | Self::WeirUring
            | Self::WeirEpoll
            | Self::WeirPooling
            | Self::WeirTransaction
            | Self::WeirSplit
            | Self::WeirEventual
            | Self::WeirSession
            | Self::WeirInstance
            | Self::WeirGlobal => None,
        }
    }

    /// What reads see through one that has replicas which follow a primary.
    pub(crate) fn consistency(self) -> Option<&'static str> {
        match self {
            Self::WeirEventual => Some("eventual"),
            Self::WeirSession => Some("session"),
            Self::WeirInstance => Some("instance"),
            Self::WeirGlobal => Some("global"),
            Self::Direct
            | Self::Haproxy
            | Self::HaproxyLarge
            | Self::HaproxySplice
            | Self::WeirUring
            | Self::WeirEpoll
            | Self::WeirPooling
            | Self::WeirTransaction
            | Self::WeirSplit
            | Self::WeirRoundRobin
            | Self::WeirOutstanding => None,
        }
    }
}

/// Where programs and files are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// `benches/peers`.
    pub(crate) peers: PathBuf,
    /// Logs and data of this run.
    pub(crate) work: PathBuf,
    /// The binary `weir`.
    pub(crate) weir: PathBuf,
    /// Descriptors a process may open.
    pub(crate) descriptors: u64,
}

/// Something to send load to.
#[derive(Debug)]
pub(crate) struct Target {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where its metrics are, if it is Weir.
    pub(crate) admin: Option<SocketAddr>,
    server: Option<Server>,
}

impl Target {
    /// Starts a target in front of the server at `backend`; returns when it can be logged in to.
    pub(crate) fn start(kind: Kind, servers: &Backend, places: &Places) -> anyhow::Result<Self> {
        let (listen, admin) = (free_address()?, free_address()?);
        let backend = servers.address;
        let (mut server, address) = match kind {
            Kind::Direct => {
                return Ok(Self { kind, address: backend, admin: None, server: None });
            }
            Kind::Haproxy => (haproxy(kind, "16384", false, (listen, backend), places)?, listen),
            Kind::HaproxyLarge => {
                (haproxy(kind, "65536", false, (listen, backend), places)?, listen)
            }
            Kind::HaproxySplice => {
                (haproxy(kind, "16384", true, (listen, backend), places)?, listen)
            }
            Kind::WeirUring
            | Kind::WeirEpoll
            | Kind::WeirPooling
            | Kind::WeirTransaction
            | Kind::WeirSplit
            | Kind::WeirRoundRobin
            | Kind::WeirOutstanding
            | Kind::WeirEventual
            | Kind::WeirSession
            | Kind::WeirInstance
            | Kind::WeirGlobal => (weir(kind, (listen, admin, servers), places)?, listen),
        };
        server.wait_until(START, || {
            let script = Script::new(account(), Profile::Modern, Encoding::Text, Value::Small);
            Fleet::connect(address, script, 1).map(drop)
        })?;
        let admin = kind.is_weir().then_some(admin);
        Ok(Self { kind, address, admin, server: Some(server) })
    }

    /// Its process; none for the server itself.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// The last lines it printed.
    pub(crate) fn log_tail(&self) -> String {
        self.server.as_ref().map(Server::log_tail).unwrap_or_default()
    }
}

fn haproxy(
    kind: Kind,
    buffer: &str,
    splice: bool,
    (listen, backend): (SocketAddr, SocketAddr),
    places: &Places,
) -> anyhow::Result<Server> {
    let program = find("haproxy", "haproxy")?;
    // Pipes come out of the same limit.
    let clients = clients_max(places.descriptors) / if splice { 2 } else { 1 };
    let start = || {
        Server::start(kind.name(), &program, &places.work, |command| {
            command.args(["-db", "-f"]).arg(places.peers.join("haproxy.cfg"));
            command.env("BENCH_LISTEN", listen.port().to_string());
            command.env("BENCH_BACKEND", backend.port().to_string());
            command.env("BENCH_MAXCONN", clients.to_string());
            command.env("BENCH_BUFSIZE", buffer);
            command.env_remove("BENCH_SPLICE");
            if splice {
                command.env("BENCH_SPLICE", "1");
            }
        })
    };
    // Its own `cpu-map` is without effect for a single thread (2.6), and Weir's worker is pinned.
    machine::pinned(0, start)
}

fn weir(
    kind: Kind,
    (listen, admin, servers): (SocketAddr, SocketAddr, &Backend),
    places: &Places,
) -> anyhow::Result<Server> {
    let driver = if kind == Kind::WeirEpoll { "epoll" } else { "io_uring" };
    let pooling = if kind == Kind::WeirPooling { "session" } else { "none" };
    let file = match kind {
        Kind::WeirTransaction => "weir-transaction.toml",
        Kind::WeirSplit => "weir-split.toml",
        Kind::WeirRoundRobin | Kind::WeirOutstanding => "weir-slow.toml",
        Kind::WeirEventual | Kind::WeirSession | Kind::WeirInstance | Kind::WeirGlobal => {
            "weir-replicas.toml"
        }
        Kind::Direct
        | Kind::Haproxy
        | Kind::HaproxyLarge
        | Kind::HaproxySplice
        | Kind::WeirUring
        | Kind::WeirEpoll
        | Kind::WeirPooling => "weir.toml",
    };
    let backend = servers.address;
    let slow = match kind.slow_policy() {
        Some(_) => Some(slow::start(backend, SLOW_ANSWER)?),
        None => None,
    };
    Server::start(kind.name(), Path::new(&places.weir), &places.work, |command| {
        command.arg("run").arg(places.peers.join(file));
        command.env("BENCH_LISTEN", listen.port().to_string());
        command.env("BENCH_BACKEND", backend.port().to_string());
        command.env("BENCH_ADMIN", admin.port().to_string());
        command.env("BENCH_DRIVER", driver);
        command.env("BENCH_POOLING", pooling);
        command.env("BENCH_STATE", &places.work);
        command.env("BENCH_SOCKET", database::socket(&places.work));
        command.env("BENCH_POLICY", kind.slow_policy().unwrap_or_default());
        command.env("BENCH_CONSISTENCY", kind.consistency().unwrap_or_default());
        for (number, replica) in (1..).zip(&servers.replicas) {
            command.env(format!("BENCH_REPLICA_{number}"), replica.port().to_string());
        }
        command.env("BENCH_SLOW", slow.map_or(0, |slow| slow.port()).to_string());
    })
}

/// Clients a proxy can serve with that many descriptors: two each, and some for itself.
pub(crate) fn clients_max(descriptors: u64) -> u64 {
    (descriptors / 2).saturating_sub(DESCRIPTORS_OWN)
}

/// What each answer of the slow replica takes, one after the other.
const SLOW_ANSWER: Duration = Duration::from_micros(500);
const START: Duration = Duration::from_secs(15);
/// Pairs of descriptors a proxy needs for itself: listeners, rings, log, health checks.
const DESCRIPTORS_OWN: u64 = 100;
