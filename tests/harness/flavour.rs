//! The servers tests run on.
//!
//! Purpose: everything in which MariaDB and MySQL differ for whoever starts, fills and asks them.
//! Never: install anything; `cargo xtask` does, and a program that is missing is an error.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir::wire::compress::Algorithm;

use crate::paths::target_dir;
use crate::process::Spec;

/// Whose server, whose command-line programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// MariaDB, as the distribution installs it.
    #[default]
    MariaDb,
    /// Oracle's MySQL, unpacked below the target folder.
    MySql,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::MariaDb, Self::MySql];

    /// Name for people and for folders.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }

    /// What the server calls its version.
    ///
    /// # Errors
    /// When it is not there.
    pub fn version(self) -> Result<String> {
        let mut command = self.server()?.command();
        let output = command.args(["--no-defaults", "--version"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let words = text.split_once("Ver ").map(|(_, rest)| rest.split_whitespace());
        words.and_then(|mut words| words.next()).map(str::to_owned).context("no version")
    }

    /// The server.
    pub(crate) fn server(self) -> Result<Program> {
        match self {
            Self::MariaDb => Program::installed("mariadbd"),
            Self::MySql => Program::unpacked("sbin/mysqld"),
        }
    }

    /// The command-line client.
    ///
    /// # Errors
    /// When it is not there.
    pub fn client(self) -> Result<Program> {
        match self {
            Self::MariaDb => Program::installed("mariadb").map(Program::without_option_files),
            Self::MySql => Program::unpacked("bin/mysql"),
        }
    }

    /// The program that writes a database as SQL.
    ///
    /// # Errors
    /// When it is not there.
    pub fn dump(self) -> Result<Program> {
        match self {
            Self::MariaDb => Program::installed("mariadb-dump").map(Program::without_option_files),
            Self::MySql => Program::unpacked("bin/mysqldump"),
        }
    }

    /// Arguments of a command-line program that keep it off TLS, where an account's first login
    /// proves itself by the server's RSA key instead.
    #[must_use]
    pub const fn plain_args(self) -> &'static [&'static str] {
        match self {
            Self::MariaDb => &["--skip-ssl"],
            Self::MySql => &["--ssl-mode=DISABLED", "--get-server-public-key"],
        }
    }

    /// Arguments of a command-line program that takes nothing but TLS with a server that is who it
    /// should be, by the authority in this file.
    #[must_use]
    pub fn tls_args(self, ca: &str) -> [String; 2] {
        let verify = match self {
            Self::MariaDb => "--ssl-verify-server-cert",
            Self::MySql => "--ssl-mode=VERIFY_IDENTITY",
        };
        [verify.to_owned(), format!("--ssl-ca={ca}")]
    }

    /// The argument that makes a command-line program compress, if the server can.
    ///
    /// # Errors
    /// When the program does not know the algorithm.
    pub fn compression_arg(self, algorithm: Algorithm) -> Result<&'static str> {
        match (self, algorithm) {
            (Self::MariaDb, Algorithm::Zlib) => Ok("--compress"),
            (Self::MariaDb, Algorithm::Zstd { .. }) => bail!("MariaDB's programs know no zstd"),
            (Self::MySql, Algorithm::Zlib) => Ok("--compression-algorithms=zlib"),
            (Self::MySql, Algorithm::Zstd { .. }) => Ok("--compression-algorithms=zstd"),
        }
    }

    /// Arguments a server needs to run here at all, as whoever we are.
    pub(crate) fn place_args(self) -> Result<Vec<String>> {
        // Both refuse root unless told by name.
        let root = rustix::process::getuid().is_root();
        let mut args = vec!["--no-defaults".to_owned()];
        args.extend(root.then(|| "--user=root".to_owned()));
        if self == Self::MySql {
            let usr = mysql_home()?.join("usr");
            args.push(format!("--basedir={}", usr.display()));
            args.push(format!("--lc-messages-dir={}", usr.join("share/mysql").display()));
            args.push(format!("--plugin-dir={}", usr.join(MYSQL_PLUGINS).display()));
            // Its default is a folder that only the package's installation makes.
            args.push("--secure-file-priv=NULL".to_owned());
        }
        Ok(args)
    }

    /// Arguments of a server that is small, quick to start and careless of a crash of the machine.
    pub(crate) const fn speed_args(self) -> &'static [&'static str] {
        match self {
            Self::MariaDb => &[
                "--innodb-flush-log-at-trx-commit=2",
                "--sync-binlog=0",
                "--innodb-doublewrite=OFF",
                "--innodb-buffer-pool-size=64M",
                "--key-buffer-size=1M",
                "--aria-pagecache-buffer-size=8M",
                "--innodb-log-file-size=16M",
                "--innodb-fast-shutdown=2",
                "--log-slave-updates",
            ],
            Self::MySql => &[
                "--innodb-flush-log-at-trx-commit=2",
                "--sync-binlog=0",
                "--innodb-doublewrite=OFF",
                "--innodb-buffer-pool-size=64M",
                "--innodb-redo-log-capacity=64M",
                "--innodb-fast-shutdown=2",
                "--mysqlx=OFF",
            ],
        }
    }

    /// Arguments for replication by GTID and for what Weir reads from the server's OK packets.
    pub(crate) const fn session_args(self) -> &'static [&'static str] {
        match self {
            Self::MariaDb => &[
                "--gtid-strict-mode=ON",
                "--slave-parallel-threads=2",
                "--session-track-schema=ON",
                "--session-track-system-variables=autocommit,character_set_client,\
                 character_set_connection,character_set_results,time_zone,last_gtid",
            ],
            Self::MySql => &[
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--session-track-schema=ON",
                "--session-track-gtids=OWN_GTID",
                // Functions that write are tested; without this they need SUPER under a binary log.
                "--log-bin-trust-function-creators=ON",
            ],
        }
    }

    /// Fills an empty folder with the data of a server nobody has used.
    pub(crate) fn initialise(self, data: &Path) -> Result<()> {
        let mut command = match self {
            Self::MariaDb => {
                let mut command = Program::installed("mariadb-install-db")?.command();
                command.args(self.place_args()?);
                command.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
                command.args(["--skip-name-resolve", "--innodb-log-file-size=16M"]);
                command
            }
            Self::MySql => {
                let mut command = self.server()?.command();
                // Without a binary log, so that the account of root is nobody's transaction.
                command.args(self.place_args()?).args(["--initialize-insecure", "--skip-log-bin"]);
                command.args(["--innodb-redo-log-capacity=64M", "--innodb-flush-method=nosync"]);
                command
            }
        };
        command.arg(format!("--datadir={}", data.display())).current_dir(data);
        let output = command.output()?;
        if !output.status.success() {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            bail!(
                "{self} cannot make a data folder: {}\n{}",
                text(&output.stdout),
                text(&output.stderr)
            );
        }
        Ok(())
    }

    /// Statements that make an account with all privileges, in the server's usual way to prove
    /// who one is.
    #[must_use]
    pub(crate) fn account_sql(self, name: &str, password: &str) -> String {
        let create = match self {
            Self::MariaDb => format!(
                "CREATE OR REPLACE USER '{name}'@'%' \
                 IDENTIFIED VIA mysql_native_password USING PASSWORD('{password}');"
            ),
            Self::MySql => format!(
                "DROP USER IF EXISTS '{name}'@'%'; CREATE USER '{name}'@'%' \
                 IDENTIFIED WITH caching_sha2_password BY '{password}';"
            ),
        };
        format!("{create} GRANT ALL PRIVILEGES ON *.* TO '{name}'@'%' WITH GRANT OPTION;")
    }

    /// Statements that make a server follow another by GTID, and refuse writes of its own.
    pub(crate) fn follow_sql(self, port: u16, user: &str, password: &str) -> String {
        match self {
            Self::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, \
                 MASTER_USER='{user}', MASTER_PASSWORD='{password}', \
                 MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; \
                 START SLAVE; SET GLOBAL read_only=1"
            ),
            Self::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
                 SOURCE_USER='{user}', SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, \
                 SOURCE_CONNECT_RETRY=1, GET_SOURCE_PUBLIC_KEY=1; \
                 START REPLICA; SET GLOBAL read_only=1"
            ),
        }
    }

    /// The statement that gives what a primary has committed.
    pub(crate) const fn position_sql(self) -> &'static str {
        match self {
            Self::MariaDb => "SELECT @@gtid_binlog_pos",
            // A set of several servers is shown on several lines.
            Self::MySql => "SELECT REPLACE(@@gtid_executed, '\\n', '')",
        }
    }

    /// The statement that waits for a position and gives 0 when it is reached.
    pub(crate) fn wait_sql(self, position: &str, seconds: f64) -> String {
        match self {
            Self::MariaDb => format!("SELECT MASTER_GTID_WAIT('{position}', {seconds})"),
            Self::MySql => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds})"),
        }
    }

    /// The statement that says how replication is doing.
    pub(crate) const fn replica_status_sql(self) -> &'static str {
        match self {
            Self::MariaDb => "SHOW SLAVE STATUS\\G",
            Self::MySql => "SHOW REPLICA STATUS\\G",
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program and the arguments it is started by.
#[derive(Clone, Debug)]
pub struct Program {
    file: PathBuf,
    /// Before its own arguments.
    args: Vec<String>,
}

impl Program {
    /// The installed program of that name; Debian keeps servers outside a user's `PATH`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn installed(name: &str) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let file = std::env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from))
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
            .with_context(|| format!("{name} is not installed; `cargo xtask real` installs it"))?;
        Ok(Self { file, args: Vec::new() })
    }

    /// A program of the unpacked MySQL. It was linked against a newer C library than this machine
    /// may have, so it is started by the dynamic loader that was unpacked beside it.
    fn unpacked(name: &str) -> Result<Self> {
        let home = mysql_home()?;
        let (loader, libraries) = loader(&home)?;
        let program = home.join("usr").join(name);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut args = vec!["--library-path".to_owned(), text(&libraries), text(&program)];
        if name.starts_with("bin/") {
            args.push("--no-defaults".to_owned());
            // Where the client's half of `mysql_native_password` is, for servers that have it.
            args.push(format!("--plugin-dir={}", text(&home.join("usr").join(MYSQL_PLUGINS))));
        }
        Ok(Self { file: loader, args })
    }

    /// With the argument that has to come before all others.
    fn without_option_files(mut self) -> Self {
        self.args.push("--no-defaults".to_owned());
        self
    }

    /// To be run.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.args(&self.args);
        command
    }

    /// To be started in `folder`, with what it prints in `log`.
    pub(crate) fn spec(&self, folder: &Path, log: &Path) -> Spec {
        Spec::new(&self.file, folder, log).args(self.args.iter().cloned())
    }
}

const MYSQL_PLUGINS: &str = "lib/mysql/plugin";

/// Where MySQL is to be unpacked, in a folder per version.
#[must_use]
pub fn unpacked_servers() -> PathBuf {
    target_dir().join("servers")
}

/// Where MySQL is unpacked. `WEIR_MYSQL` names another folder.
///
/// # Errors
/// When there is none.
pub fn mysql_home() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("WEIR_MYSQL") {
        return Ok(folder.into());
    }
    let mut found: Vec<PathBuf> = fs::read_dir(unpacked_servers())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("usr/sbin/mysqld").is_file())
        .collect();
    found.sort();
    found.pop().context("MySQL is not unpacked; `cargo xtask real --server mysql` fetches it")
}

/// The dynamic loader and the folder of the libraries that belong to it.
fn loader(home: &Path) -> Result<(PathBuf, PathBuf)> {
    // The folder is named for the machine: `usr/lib/x86_64-linux-gnu`.
    for folder in fs::read_dir(home.join("usr/lib")).context("no libraries of MySQL")?.flatten() {
        for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with("ld-linux") {
                return Ok((file.path(), folder.path()));
            }
        }
    }
    bail!("no dynamic loader in {}", home.display())
}
