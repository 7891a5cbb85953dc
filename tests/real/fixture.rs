//! What the tests start from.
//!
//! Purpose: a server shared by tests, a Weir per test, clients of both.
//! Never: share a Weir; what one test does to it must not reach another.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use mysql_async::{Conn, OptsBuilder};
use weir_tests::{
    Client, Flavour, Lifetime, RunFolder, Server, ServerOptions, Upstream, Weir, WeirConfig,
    weir_binary,
};

/// Account of the tests' clients.
pub(crate) const USER: &str = "app";
pub(crate) const PASSWORD: &str = "app-secret";
/// Account of Weir's probes, another one so that the server can tell them apart.
const MONITOR: (&str, &str) = ("monitor", "monitor-secret");

/// Held by tests that open ten thousand connections: a process may not have twice as many.
pub(crate) static CROWD: Mutex<()> = Mutex::new(());

/// No test takes longer; a hang is a failure.
const TEST_PATIENCE: Duration = Duration::from_secs(180);

/// What a test runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On {
    pub(crate) flavour: Flavour,
    /// Of Weir.
    pub(crate) driver: &'static str,
}

/// One `#[test]` per server and driver for each of these functions, which take an [`On`]. The
/// servers' modules are named so that `cargo xtask real` can leave one out.
macro_rules! on_every_server {
    ($($name:ident),+ $(,)?) => {
        mod mariadb {
            crate::fixture::on_both_drivers!(weir_tests::Flavour::MariaDb, $($name),+);
        }
        mod mysql {
            crate::fixture::on_both_drivers!(weir_tests::Flavour::MySql, $($name),+);
        }
    };
}
pub(crate) use on_every_server;

/// One `#[test]` per driver, on one server.
macro_rules! on_both_drivers {
    ($flavour:expr, $($name:ident),+) => {
        mod io_uring {
            use crate::fixture::On;
            $(#[test] fn $name() {
                super::super::$name(On { flavour: $flavour, driver: "io_uring" });
            })+
        }
        mod epoll {
            use crate::fixture::On;
            $(#[test] fn $name() {
                super::super::$name(On { flavour: $flavour, driver: "epoll" });
            })+
        }
    };
}
pub(crate) use on_both_drivers;

/// One `#[test]` per server, each with one of the drivers: for what is the same on both, or takes
/// several servers.
macro_rules! on_each_server {
    ($($name:ident),+ $(,)?) => {
        mod mariadb {
            use crate::fixture::On;
            $(#[test] fn $name() {
                super::$name(On { flavour: weir_tests::Flavour::MariaDb, driver: "io_uring" });
            })+
        }
        mod mysql {
            use crate::fixture::On;
            $(#[test] fn $name() {
                super::$name(On { flavour: weir_tests::Flavour::MySql, driver: "epoll" });
            })+
        }
    };
}
pub(crate) use on_each_server;

/// A server with the tests' account, in a folder that goes away with it.
pub(crate) struct Database {
    pub(crate) server: Server,
    _folder: RunFolder,
}

impl Database {
    pub(crate) fn start(flavour: Flavour) -> Self {
        Self::start_with(ServerOptions { flavour, ..ServerOptions::default() })
    }

    pub(crate) fn start_with(options: ServerOptions) -> Self {
        let folder = RunFolder::create("server").unwrap();
        let server = Server::start(folder.path(), options).unwrap();
        server.sql(NUMBERS).unwrap();
        for (name, password) in [(USER, PASSWORD), MONITOR] {
            server.create_account(name, password).unwrap();
        }
        Self { server, _folder: folder }
    }

    /// The server of all tests that do not harm it.
    pub(crate) fn shared(on: On) -> &'static Server {
        static MARIADB: OnceLock<Database> = OnceLock::new();
        static MYSQL: OnceLock<Database> = OnceLock::new();
        let shared = match on.flavour {
            Flavour::MariaDb => &MARIADB,
            Flavour::MySql => &MYSQL,
        };
        &shared.get_or_init(|| Self::start(on.flavour)).server
    }
}

/// A table of the numbers from 1 to 100,000: MySQL has no sequence tables.
const NUMBERS: &str = "CREATE DATABASE numbers; USE numbers; \
     CREATE TABLE digits (d INT); INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9); \
     CREATE TABLE n (seq INT PRIMARY KEY); \
     INSERT INTO n SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d \
       FROM digits a, digits b, digits c, digits d, digits e";

/// A Weir in front of a server, in a folder that goes away with it.
pub(crate) struct Proxy {
    pub(crate) weir: Weir,
    on: On,
    _folder: RunFolder,
}

impl Proxy {
    pub(crate) fn start(on: On, server: &Server) -> Self {
        Self::start_with(on, &config(on, server))
    }

    pub(crate) fn start_with(on: On, config: &WeirConfig) -> Self {
        let folder = RunFolder::create("weir").unwrap();
        let binary = weir_binary().unwrap();
        let weir = Weir::start(&binary, folder.path(), config, Lifetime::WithParent).unwrap();
        Self { weir, on, _folder: folder }
    }

    /// The server's own command-line client, of Weir.
    pub(crate) fn client(&self) -> Client {
        self.weir.client(USER, PASSWORD).program(self.on.flavour)
    }

    /// Ends Weir; it must do so in order and without a word about a bug.
    pub(crate) fn finish(mut self) {
        self.weir.stop().unwrap();
        let log = self.weir.log_text();
        assert!(!log.contains("ERROR"), "weir logged an error:\n{log}");
    }
}

/// Configuration in front of a server.
pub(crate) fn config(on: On, server: &Server) -> WeirConfig {
    let primary = Upstream { name: "primary".to_owned(), address: server.address(), primary: true };
    let mut config = WeirConfig::new(on.driver, vec![primary], USER, PASSWORD);
    config.monitor = (MONITOR.0.to_owned(), MONITOR.1.to_owned());
    config
}

/// Creates an empty database on the server.
pub(crate) fn database(server: &Server, test: &str, on: On) -> String {
    let name = format!("{test}_{}", on.driver);
    server.sql(&format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}")).unwrap();
    name
}

/// Options of an asynchronous client.
pub(crate) fn options(address: SocketAddr, database: Option<&str>) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(USER))
        .pass(Some(PASSWORD))
        .db_name(database)
        .prefer_socket(false)
}

/// Logs an asynchronous client in.
pub(crate) async fn connect(address: SocketAddr, database: Option<&str>) -> Conn {
    Conn::new(options(address, database)).await.unwrap()
}

/// Runs an asynchronous test to its end, or fails it when it hangs.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    run_for(TEST_PATIENCE, test)
}

/// As [`run`], with a patience of its own.
pub(crate) fn run_for<T>(patience: Duration, test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(patience, test).await.unwrap() })
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
