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
use crate::workload::{OWN_ROWS, ROWS};

/// What a MariaDB is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// It is alone.
    Alone,
    /// Replicas follow it.
    Primary,
    /// The one of that number, which follows the primary at that address.
    Replica(u32, SocketAddr),
}

/// A running MariaDB with the benchmark's table.
#[derive(Debug)]
pub(crate) struct Database {
    server: Server,
    socket: PathBuf,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Database {
    /// Makes a new data directory below `work` and starts on it.
    pub(crate) fn start(work: &Path, part: Part) -> anyhow::Result<Self> {
        let name = match part {
            Part::Alone => "mariadb".to_owned(),
            Part::Primary => "mariadb-primary".to_owned(),
            Part::Replica(number, _) => format!("mariadb-replica-{number}"),
        };
        let data = work.join(&name);
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
        let temporary = work.join(format!("{name}-tmp"));
        std::fs::create_dir_all(&temporary)?;
        let address = free_address()?;
        let socket = data.join(SOCKET);
        let program = find("mariadbd", PACKAGE)?;
        let mut server = Server::start(&name, &program, work, |command| {
            command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
            command.args([&data_arg, &user]);
            // A server that starts deletes every temporary table it finds in this folder.
            command.arg(format!("--tmpdir={}", temporary.display()));
            command.arg(format!("--socket={}", socket.display()));
            command.arg(format!("--pid-file={}", data.join("server.pid").display()));
            command.arg(format!("--port={}", address.port()));
            // All in memory, no statistics: the server should be as fast as it can be.
            command.args(["--innodb-buffer-pool-size=128M", "--performance-schema=OFF"]);
            command.args(["--max-connections=3000", "--thread-cache-size=300"]);
            command.args(log_args(part));
        })?;
        server.wait_until(START, || run_sql(&socket, "SELECT 1").map(drop))?;
        run_sql(&socket, &set_up(part))?;
        Ok(Self { server, socket, address })
    }

    /// A primary with two replicas, which have all it has.
    pub(crate) fn start_replicated(work: &Path) -> anyhow::Result<(Self, [Self; 2])> {
        let primary = Self::start(work, Part::Primary)?;
        let replica = |number| Self::start(work, Part::Replica(number, primary.address));
        let replicas = [replica(1)?, replica(2)?];
        primary.wait_replicated(&replicas)?;
        Ok((primary, replicas))
    }

    /// Waits until `replicas` have all that it has.
    pub(crate) fn wait_replicated(&self, replicas: &[Self]) -> anyhow::Result<()> {
        let position = run_sql(&self.socket, "SELECT @@gtid_binlog_pos")?;
        let seconds = REPLICATED.as_secs();
        let wait = format!("SELECT MASTER_GTID_WAIT('{}', {seconds})", position.trim());
        for replica in replicas {
            if run_sql(&replica.socket, &wait)?.trim() != "0" {
                let status = run_sql(&replica.socket, "SHOW REPLICA STATUS\\G")?;
                bail!("a replica is not at {} after {seconds} s:\n{status}", position.trim());
            }
        }
        Ok(())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }
}

/// The unix socket of the server that is alone.
pub(crate) fn socket(work: &Path) -> PathBuf {
    work.join("mariadb").join(SOCKET)
}

/// What is logged, and of what clients are told: Weir reads what changed in a session from it.
fn log_args(part: Part) -> Vec<String> {
    let server_id = match part {
        Part::Alone => {
            return vec![
                "--skip-log-bin".to_owned(),
                "--session-track-system-variables=autocommit,character_set_client".to_owned(),
            ];
        }
        Part::Primary => 1,
        Part::Replica(number, _) => 1 + number,
    };
    // No disk is to be measured: what a crash of the machine would lose is synced once a second.
    let args = [
        "--log-bin=binlog",
        "--binlog-format=ROW",
        "--log-slave-updates",
        "--gtid-strict-mode=ON",
        "--sync-binlog=0",
        "--innodb-flush-log-at-trx-commit=2",
        "--session-track-system-variables=autocommit,character_set_client,last_gtid",
    ];
    let mut args: Vec<String> = args.map(str::to_owned).into();
    args.push(format!("--server-id={server_id}"));
    args
}

/// The table, shaped like sysbench's, and the account; a replica gets them from its primary.
fn set_up(part: Part) -> String {
    if let Part::Replica(_, primary) = part {
        return format!(
            "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='bench', \
               MASTER_PASSWORD='bench', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; \
             START SLAVE; SET GLOBAL read_only=1",
            primary.port()
        );
    }
    format!(
        "CREATE DATABASE bench; \
         CREATE TABLE bench.sbtest1 (id INT UNSIGNED PRIMARY KEY, k INT NOT NULL DEFAULT 0, \
           c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL DEFAULT '', KEY k_1 (k)) ENGINE=InnoDB; \
         INSERT INTO bench.sbtest1 (id, c) \
           SELECT seq, REPEAT(LPAD(seq, 10, '0'), 12) FROM bench.seq_1_to_{ROWS}; \
         INSERT INTO bench.sbtest1 (id, c) \
           SELECT {ROWS} + seq, '' FROM bench.seq_1_to_{OWN_ROWS}; \
         CREATE USER bench@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('bench'); \
         GRANT ALL ON *.* TO bench@'%'; \
         ANALYZE TABLE bench.sbtest1;"
    )
}

fn run_sql(socket: &Path, sql: &str) -> anyhow::Result<String> {
    let mut child = Command::new(find("mariadb", PACKAGE)?)
        .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
        .arg(format!("--socket={}", socket.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the mariadb client")?;
    child.stdin.take().context("no pipe")?.write_all(sql.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the mariadb client failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

const SOCKET: &str = "server.sock";
/// How long replicas may take to catch up.
const REPLICATED: Duration = Duration::from_secs(30);
const PACKAGE: &str = "mariadb-server";
const START: Duration = Duration::from_secs(30);
