//! The `mariadb` and `mysql` command-line clients.
//!
//! Purpose: run statements the way a person would, and give what it printed.
//! Never: read the user's option files or show a password on a command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use weir::wire::compress::Algorithm;

use crate::flavour::Flavour;

/// Where and as whom a command-line client connects.
#[derive(Clone, Debug)]
pub struct Client {
    program: Flavour,
    target: Target,
    user: String,
    password: String,
    database: Option<String>,
    /// File of the authority whose certificate a server shows.
    tls: Option<String>,
    compression: Option<Algorithm>,
    args: Vec<String>,
}

#[derive(Clone, Debug)]
enum Target {
    Tcp(SocketAddr),
    /// A socket file by name in a folder, because its full path may be too long for an address.
    Socket(PathBuf, String),
}

impl Client {
    /// A client of a TCP address.
    #[must_use]
    pub fn tcp(address: SocketAddr, user: &str, password: &str) -> Self {
        Self::new(Target::Tcp(address), user, password)
    }

    /// A client without a password of the unix socket `name` in `folder`.
    #[must_use]
    pub fn socket(folder: &Path, name: &str, user: &str) -> Self {
        Self::new(Target::Socket(folder.to_owned(), name.to_owned()), user, "")
    }

    fn new(target: Target, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        let program = Flavour::MariaDb;
        let (database, tls, compression, args) = (None, None, None, Vec::new());
        Self { program, target, user, password, database, tls, compression, args }
    }

    /// Whose program it is; MariaDB's unless one says otherwise.
    #[must_use]
    pub const fn program(mut self, program: Flavour) -> Self {
        self.program = program;
        self
    }

    /// Takes another password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.password = password.to_owned();
        self
    }

    /// Chooses a database at login.
    #[must_use]
    pub fn database(mut self, name: &str) -> Self {
        self.database = Some(name.to_owned());
        self
    }

    /// Inside of TLS, with a server that has a certificate of the authority in this file for its
    /// address.
    #[must_use]
    pub fn tls(mut self, ca: &str) -> Self {
        self.tls = Some(ca.to_owned());
        self
    }

    /// Compressed.
    #[must_use]
    pub const fn compression(mut self, algorithm: Algorithm) -> Self {
        self.compression = Some(algorithm);
        self
    }

    /// Adds an argument of the program.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Where it connects, if that is a TCP address.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match self.target {
            Target::Tcp(address) => Some(address),
            Target::Socket(..) => None,
        }
    }

    /// Account name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Runs statements; gives rows as tab-separated lines without column names.
    ///
    /// # Errors
    /// When the client fails; what it wrote to standard error is the message.
    pub fn query(&self, statements: &str) -> Result<String> {
        let output = self.run(statements)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("{}", text.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs statements; gives status, rows and errors as the client left them.
    ///
    /// # Errors
    /// When the client cannot be started.
    pub fn run(&self, statements: &str) -> Result<Output> {
        let mut child = self
            .command()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the command-line client")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let text = statements.to_owned();
        // From another thread, because the client may fill our pipe before it has read everything.
        let feeder = thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = child.wait_with_output()?;
        // A client that ended early closes the pipe; its own error says why.
        drop(feeder.join());
        Ok(output)
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.program.client()?.command();
        command.args(["--batch", "--skip-column-names"]);
        match &self.tls {
            Some(ca) => command.args(self.program.tls_args(ca)),
            None => command.args(self.program.plain_args()),
        };
        if let Some(algorithm) = self.compression {
            command.arg(self.program.compression_arg(algorithm)?);
        }
        command.arg("--max-allowed-packet=256M").arg(format!("--user={}", self.user));
        match &self.target {
            Target::Tcp(address) => {
                command.arg("--protocol=tcp");
                command.arg(format!("--host={}", address.ip()));
                command.arg(format!("--port={}", address.port()));
            }
            Target::Socket(folder, name) => {
                command.current_dir(folder).arg(format!("--socket={name}"));
            }
        }
        command.env("MYSQL_PWD", &self.password);
        command.args(&self.args).args(&self.database);
        Ok(command)
    }
}
