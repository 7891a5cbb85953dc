//! A MariaDB of the benchmark's own.
//!
//! Purpose: the same point selects against a real server.
//! Never: touch an installed server's data or configuration.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::child::{Server, find, free_address};
use crate::workload::ROWS;

/// A running MariaDB with the benchmark's table.
#[derive(Debug)]
pub(crate) struct Database {
    server: Server,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Database {
    /// Makes a new data directory below `work` and starts on it.
    pub(crate) fn start(work: &Path) -> anyhow::Result<Self> {
        let data = work.join("mariadb");
        if data.exists() {
            std::fs::remove_dir_all(&data)
                .with_context(|| format!("cannot remove {}", data.display()))?;
        }
        let user = String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?;
        let user = format!("--user={}", user.trim());
        let data_arg = format!("--datadir={}", data.display());
        let made = Command::new(find("mariadb-install-db", PACKAGE)?)
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args([&data_arg, &user])
            .stdin(Stdio::null())
            .output()
            .context("cannot run mariadb-install-db")?;
        if !made.status.success() {
            bail!("mariadb-install-db failed:\n{}", String::from_utf8_lossy(&made.stderr));
        }
        let temporary = work.join("mariadb-tmp");
        std::fs::create_dir_all(&temporary)?;
        let address = free_address()?;
        let socket = socket(work);
        let program = find("mariadbd", PACKAGE)?;
        let mut server = Server::start("mariadb", &program, work, |command| {
            command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
            command.args([&data_arg, &user]);
            // A server that starts deletes every temporary table it finds in this folder.
            command.arg(format!("--tmpdir={}", temporary.display()));
            command.arg(format!("--socket={}", socket.display()));
            command.arg(format!("--pid-file={}", data.join("server.pid").display()));
            command.arg(format!("--port={}", address.port()));
            // All in memory, no statistics: the server should be as fast as it can be.
            command.args(["--innodb-buffer-pool-size=128M", "--performance-schema=OFF"]);
            command.args(["--max-connections=3000", "--thread-cache-size=300", "--skip-log-bin"]);
            // Weir reads what changed in a session from these.
            command.arg("--session-track-system-variables=autocommit,character_set_client");
        })?;
        server.wait_until(START, || run_sql(&socket, "SELECT 1"))?;
        run_sql(&socket, &set_up())?;
        Ok(Self { server, address })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// The server's unix socket.
pub(crate) fn socket(work: &Path) -> PathBuf {
    work.join("mariadb").join("server.sock")
}

/// The table, shaped like sysbench's, and the account.
fn set_up() -> String {
    format!(
        "CREATE DATABASE bench; \
         CREATE TABLE bench.sbtest1 (id INT UNSIGNED PRIMARY KEY, k INT NOT NULL DEFAULT 0, \
           c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL DEFAULT '', KEY k_1 (k)) ENGINE=InnoDB; \
         INSERT INTO bench.sbtest1 (id, c) \
           SELECT seq, REPEAT(LPAD(seq, 10, '0'), 12) FROM bench.seq_1_to_{ROWS}; \
         CREATE USER bench@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('bench'); \
         GRANT ALL ON *.* TO bench@'%'; \
         ANALYZE TABLE bench.sbtest1;"
    )
}

fn run_sql(socket: &Path, sql: &str) -> anyhow::Result<()> {
    let mut child = Command::new(find("mariadb", PACKAGE)?)
        .args(["--no-defaults", "--user=root", "--batch"])
        .arg(format!("--socket={}", socket.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the mariadb client")?;
    child.stdin.take().context("no pipe")?.write_all(sql.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the mariadb client failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

const PACKAGE: &str = "mariadb-server";
const START: Duration = Duration::from_secs(30);
