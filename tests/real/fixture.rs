//! What the tests start from.
//!
//! Purpose: a server shared by tests, a Weir per test, clients of both.
//! Never: share a Weir; what one test does to it must not reach another.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mysql_async::{Conn, OptsBuilder};
use weir_tests::{
    Client, Lifetime, RunFolder, Server, ServerOptions, Upstream, Weir, WeirConfig, weir_binary,
};

/// Account of the tests' clients.
pub(crate) const USER: &str = "app";
pub(crate) const PASSWORD: &str = "app-secret";
/// Account of Weir's probes, another one so that the server can tell them apart.
const MONITOR: (&str, &str) = ("monitor", "monitor-secret");

/// No test takes longer; a hang is a failure.
const TEST_PATIENCE: Duration = Duration::from_secs(180);

/// One `#[test]` per driver for each of these functions, which take the driver's name.
macro_rules! on_both_drivers {
    ($($name:ident),+ $(,)?) => {
        mod io_uring {
            $(#[test] fn $name() { super::$name("io_uring"); })+
        }
        mod epoll {
            $(#[test] fn $name() { super::$name("epoll"); })+
        }
    };
}
pub(crate) use on_both_drivers;

/// A server with the tests' account, in a folder that goes away with it.
pub(crate) struct Database {
    pub(crate) server: Server,
    _folder: RunFolder,
}

impl Database {
    pub(crate) fn start() -> Self {
        let folder = RunFolder::create("server").unwrap();
        let server = Server::start(folder.path(), ServerOptions::default()).unwrap();
        server.create_account(USER, PASSWORD).unwrap();
        server.create_account(MONITOR.0, MONITOR.1).unwrap();
        Self { server, _folder: folder }
    }

    /// The server of all tests that do not harm it.
    pub(crate) fn shared() -> &'static Server {
        static SHARED: OnceLock<Database> = OnceLock::new();
        &SHARED.get_or_init(Self::start).server
    }
}

/// A Weir in front of a server, in a folder that goes away with it.
pub(crate) struct Proxy {
    pub(crate) weir: Weir,
    _folder: RunFolder,
}

impl Proxy {
    pub(crate) fn start(driver: &str, server: &Server) -> Self {
        Self::start_with(&config(driver, server))
    }

    pub(crate) fn start_with(config: &WeirConfig) -> Self {
        let folder = RunFolder::create("weir").unwrap();
        let binary = weir_binary().unwrap();
        let weir = Weir::start(&binary, folder.path(), config, Lifetime::WithParent).unwrap();
        Self { weir, _folder: folder }
    }

    /// The `mariadb` client of Weir.
    pub(crate) fn client(&self) -> Client {
        self.weir.client(USER, PASSWORD)
    }

    /// Ends Weir; it must do so in order and without a word about a bug.
    pub(crate) fn finish(mut self) {
        self.weir.stop().unwrap();
        let log = self.weir.log_text();
        assert!(!log.contains("ERROR"), "weir logged an error:\n{log}");
    }
}

/// Configuration in front of a server.
pub(crate) fn config(driver: &str, server: &Server) -> WeirConfig {
    let primary = Upstream { name: "primary".to_owned(), address: server.address(), primary: true };
    let mut config = WeirConfig::new(driver, vec![primary], USER, PASSWORD);
    config.monitor = (MONITOR.0.to_owned(), MONITOR.1.to_owned());
    config
}

/// Creates an empty database on the server.
pub(crate) fn database(server: &Server, test: &str, driver: &str) -> String {
    let name = format!("{test}_{driver}");
    server.sql(&format!("CREATE OR REPLACE DATABASE {name}")).unwrap();
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(TEST_PATIENCE, test).await.unwrap() })
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
