//! One server in a folder of its own.
//!
//! Purpose: start, question, stall, crash and stop a real server, quickly.
//! Never: read a configuration file of the machine, listen beyond loopback, or keep data safe: the
//! settings survive a killed server (committed data is in the page cache), not a crashed machine.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::client::Client;
use crate::flavour::Flavour;
use crate::ports::free_port;
use crate::process::{Lifetime, Process, Spec};
use crate::template::copy_to;

const START_PATIENCE: Duration = Duration::from_secs(60);
/// Somebody may take the port between our look and the server's bind.
const START_ATTEMPTS: u32 = 3;

/// What distinguishes one server from another.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// MariaDB or MySQL.
    pub flavour: Flavour,
    /// `server_id`, unique within a replication topology.
    pub server_id: u32,
    /// Further arguments for the server, after ours, so they win.
    pub extra: Vec<String>,
    /// How long the server lives.
    pub lifetime: Lifetime,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            flavour: Flavour::MariaDb,
            server_id: 1,
            extra: Vec::new(),
            lifetime: Lifetime::WithParent,
        }
    }
}

/// A running server with an empty `root` password on its unix socket.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    options: ServerOptions,
    port: u16,
    process: Process,
}

impl Server {
    /// Starts an empty server whose data, log and pid file are in `folder`.
    ///
    /// # Errors
    /// When it is not installed or does not come up; its log is part of the error.
    pub fn start(folder: &Path, options: ServerOptions) -> Result<Self> {
        copy_to(options.flavour, &folder.join("data"))?;
        let (port, process) = launch(folder, &options, None)?;
        Ok(Self { folder: folder.to_owned(), options, port, process })
    }

    /// MariaDB or MySQL.
    #[must_use]
    pub const fn flavour(&self) -> Flavour {
        self.options.flavour
    }

    /// TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// TCP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The server's own command-line client, of its TCP port.
    #[must_use]
    pub fn client(&self, user: &str, password: &str) -> Client {
        Client::tcp(self.address(), user, password).program(self.options.flavour)
    }

    /// Runs statements as `root` through the unix socket; gives rows as tab-separated lines.
    ///
    /// # Errors
    /// When a statement fails.
    pub fn sql(&self, statements: &str) -> Result<String> {
        root_client(self.options.flavour, &self.folder).query(statements)
    }

    /// Creates an account with all privileges that proves itself in the server's usual way:
    /// `mysql_native_password` on MariaDB, `caching_sha2_password` on MySQL.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn create_account(&self, name: &str, password: &str) -> Result<()> {
        self.sql(&self.options.flavour.account_sql(name, password)).map(drop)
    }

    /// Ends it as a crash would (SIGKILL).
    ///
    /// # Errors
    /// When it has already ended.
    pub fn crash(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Makes it stop answering without closing anything (SIGSTOP).
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on after [`Self::pause`] (SIGCONT).
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&mut self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Starts it again on its old port and data after [`Self::crash`] or [`Self::stop`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.process.stop()?;
        (self.port, self.process) = launch(&self.folder, &self.options, Some(self.port))?;
        Ok(())
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.exit_status()?.is_none())
    }

    /// Shuts it down in order.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop()
    }
}

fn root_client(flavour: Flavour, folder: &Path) -> Client {
    Client::socket(&folder.join("data"), "sock", "root").program(flavour)
}

fn launch(folder: &Path, options: &ServerOptions, port: Option<u16>) -> Result<(u16, Process)> {
    let log = folder.join("server.log");
    let mut last = None;
    for _ in 0..START_ATTEMPTS {
        let port = port.map_or_else(free_port, Ok)?;
        let spec = spec(folder, options, port, &log)?;
        let mut process = Process::start(&spec, &folder.join("pid"), options.lifetime)?;
        match wait_ready(folder, port, options, &mut process) {
            Ok(()) => return Ok((port, process)),
            Err(error) => {
                process.kill()?;
                last = Some(error);
            }
        }
    }
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    let tail: Vec<&str> = lines.into_iter().rev().collect();
    Err(last.context("not tried")?).with_context(|| {
        format!("{} does not start; it says:\n{}", options.flavour, tail.join("\n"))
    })
}

fn spec(folder: &Path, options: &ServerOptions, port: u16, log: &Path) -> Result<Spec> {
    let data = folder.join("data");
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary)?;
    let flavour = options.flavour;
    let own = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    Ok(flavour
        .server()?
        .spec(&data, log)
        .args(flavour.place_args()?)
        .arg(format!("--datadir={}", data.display()))
        // A server that starts deletes every temporary table it finds in this folder.
        .arg(format!("--tmpdir={}", temporary.display()))
        // Relative to the data folder: a full path may exceed the 108 bytes a socket address has.
        .args(["--socket=sock", "--pid-file=server.pid"])
        .args([format!("--port={port}"), format!("--server-id={}", options.server_id)])
        .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=4000"])
        .args(["--back-log=1024", "--table-open-cache=400", "--performance-schema=OFF"])
        .args(["--log-bin=binlog", "--binlog-format=ROW", "--max-allowed-packet=256M"])
        .args(["--local-infile=ON"])
        .args(own(flavour.session_args()))
        .args(own(flavour.speed_args()))
        .args(options.extra.iter().cloned()))
}

fn wait_ready(
    folder: &Path,
    port: u16,
    options: &ServerOptions,
    process: &mut Process,
) -> Result<()> {
    let start = Instant::now();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    loop {
        if let Some(status) = process.exit_status()? {
            bail!("it ended with {status}");
        }
        // A greeting means that logins work; a mere connect succeeds earlier. So does a refusal:
        // a new MySQL has no account for anybody who comes by TCP.
        if matches!(first_byte(address), Some(GREETING | ERROR)) {
            break;
        }
        if start.elapsed() > START_PATIENCE {
            bail!("it does not listen on {address} after {START_PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let id = root_client(options.flavour, folder).query("SELECT @@port, @@server_id")?;
    if id.trim() != format!("{port}\t{}", options.server_id) {
        bail!("another server answers on {address}: {id}");
    }
    Ok(())
}

/// Whether a MySQL server says hello there.
pub(crate) fn greets(address: SocketAddr) -> bool {
    first_byte(address) == Some(GREETING)
}

/// What the first packet begins with: protocol version 10, or an error.
const GREETING: u8 = 0x0A;
const ERROR: u8 = 0xFF;

/// First byte of the packet that a server there sends first.
fn first_byte(address: SocketAddr) -> Option<u8> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    let mut header = [0_u8; 5];
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.read_exact(&mut header).ok()?;
    header.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::RunFolder;
    use crate::process::is_running;

    #[test]
    fn a_server_starts_answers_crashes_restarts_and_goes_away() {
        let folder = RunFolder::create("server").unwrap();
        let mut server = Server::start(folder.path(), ServerOptions::default()).unwrap();
        server.create_account("app", "secret").unwrap();
        assert_eq!(server.client("app", "secret").query("SELECT 6*7").unwrap(), "42\n");
        let denied = server.client("app", "wrong").query("SELECT 1").unwrap_err().to_string();
        assert!(denied.contains("ERROR 1045"), "{denied}");
        server
            .sql("CREATE DATABASE d; CREATE TABLE d.t (a INT); INSERT INTO d.t VALUES (5)")
            .unwrap();
        server.crash().unwrap();
        assert!(!greets(server.address()));
        server.restart().unwrap();
        assert_eq!(server.sql("SELECT a FROM d.t").unwrap(), "5\n");
        server.pause().unwrap();
        server.resume().unwrap();
        let pid = server.pid();
        drop(server);
        assert!(!is_running(pid, "mariadbd"));
    }
}
