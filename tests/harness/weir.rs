//! Weir itself, as a process.
//!
//! Purpose: build it once, start it with a configuration, look at it from outside, end it.
//! Never: reach into it; tests here see what an operator sees.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::client::Client;
use crate::http::http_get;
use crate::paths::{profile_folder, target_dir, workspace_root};
use crate::ports::free_port;
use crate::process::{Lifetime, Process, Spec, descriptors, resident_kib};
use crate::prometheus::Metrics;
use crate::server::greets;

const START_PATIENCE: Duration = Duration::from_secs(20);

/// A server Weir connects to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Name in Weir's configuration.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it takes writes.
    pub primary: bool,
}

/// A configuration file for one cluster and one endpoint.
#[derive(Clone, Debug)]
pub struct WeirConfig {
    /// `auto`, `io_uring` or `epoll`.
    pub driver: String,
    /// `workers` as TOML: `"auto"`, a number, or a list of CPUs.
    pub workers: String,
    /// Time a stopping Weir waits for work in progress, in milliseconds.
    pub drain_timeout_ms: u32,
    /// Servers of the cluster, exactly one of them primary.
    pub backends: Vec<Upstream>,
    /// Who is what is left to Weir to find out.
    pub observes_roles: bool,
    /// Further lines of the cluster.
    pub cluster_lines: Vec<String>,
    /// Accounts: name and password.
    pub users: Vec<(String, String)>,
    /// Account of the probes: name and password.
    pub monitor: (String, String),
    /// Lines of `[limits]`: key and value.
    pub limits: Vec<(String, u64)>,
    /// Lines of `[pool]`: key and value.
    pub pool: Vec<(String, u64)>,
    /// `none`, `session` or `transaction`.
    pub pooling: &'static str,
    /// `primary`, `read-write` or `read-only`.
    pub mode: &'static str,
    /// Folder of the certificate that Weir makes for itself; shared by all tests unless one is
    /// about it.
    pub state_dir: PathBuf,
    /// Further lines of every backend.
    pub backend_lines: Vec<String>,
    /// Further lines of the endpoint.
    pub endpoint_lines: Vec<String>,
    /// Further tables of the file.
    pub more: String,
    /// Further lines of every `[[cluster.backend]]`: key and value.
    pub backend_keys: Vec<(String, u64)>,
    /// Loopback port of the admin pages; `None`: none, and one that is free for [`Weir::start`].
    pub admin_port: Option<u16>,
    /// `text` or `json`.
    pub log_format: String,
    /// Least severity logged.
    pub log_level: String,
}

impl WeirConfig {
    /// One worker in front of these servers, for one account that is also the monitor's.
    #[must_use]
    pub fn new(driver: &str, backends: Vec<Upstream>, user: &str, password: &str) -> Self {
        let account = (user.to_owned(), password.to_owned());
        Self {
            driver: driver.to_owned(),
            workers: "1".to_owned(),
            drain_timeout_ms: 10_000,
            backends,
            observes_roles: false,
            cluster_lines: Vec::new(),
            users: vec![account.clone()],
            monitor: account,
            limits: Vec::new(),
            pool: Vec::new(),
            pooling: "none",
            mode: "primary",
            state_dir: target_dir().join("weir-state"),
            backend_lines: Vec::new(),
            endpoint_lines: Vec::new(),
            more: String::new(),
            backend_keys: Vec::new(),
            admin_port: None,
            log_format: "text".to_owned(),
            log_level: "info".to_owned(),
        }
    }

    /// The file's text, listening on a loopback port.
    ///
    /// # Errors
    /// Never in practice; writing to a `String` cannot fail.
    pub fn to_toml(&self, port: u16) -> Result<String> {
        let mut out = String::new();
        let text = &mut out;
        writeln!(text, "[weir]\nworkers = {}\ndriver = \"{}\"", self.workers, self.driver)?;
        writeln!(text, "drain_timeout_ms = {}", self.drain_timeout_ms)?;
        writeln!(text, "state_dir = \"{}\"\n", self.state_dir.display())?;
        let (format, level) = (&self.log_format, &self.log_level);
        writeln!(text, "[log]\nformat = \"{format}\"\nlevel = \"{level}\"\n")?;
        let admin = self.admin_port.map(|port| format!("127.0.0.1:{port}"));
        writeln!(text, "[admin]\nlisten = \"{}\"\n", admin.as_deref().unwrap_or("disabled"))?;
        writeln!(text, "[limits]")?;
        for (key, value) in &self.limits {
            writeln!(text, "{key} = {value}")?;
        }
        writeln!(text, "[pool]")?;
        for (key, value) in &self.pool {
            writeln!(text, "{key} = {value}")?;
        }
        let (user, password) = &self.monitor;
        writeln!(text, "\n[[cluster]]\nname = \"main\"\n{}\n", self.cluster_lines.join("\n"))?;
        writeln!(text, "[cluster.monitor]\nuser = \"{user}\"\npassword = \"{password}\"\n")?;
        for Upstream { name, address, primary } in &self.backends {
            let role = if *primary { "primary" } else { "replica" };
            writeln!(text, "[[cluster.backend]]\nname = \"{name}\"")?;
            writeln!(text, "address = \"{address}\"")?;
            if !self.observes_roles {
                writeln!(text, "role = \"{role}\"")?;
            }
            writeln!(text, "{}", self.backend_lines.join("\n"))?;
            for (key, value) in &self.backend_keys {
                writeln!(text, "{key} = {value}")?;
            }
            writeln!(text)?;
        }
        writeln!(text, "[[endpoint]]\nname = \"main\"\nlisten = \"127.0.0.1:{port}\"")?;
        let (mode, pooling) = (self.mode, self.pooling);
        writeln!(text, "cluster = \"main\"\nmode = \"{mode}\"\npooling = \"{pooling}\"")?;
        writeln!(text, "{}\n", self.endpoint_lines.join("\n"))?;
        for (name, password) in &self.users {
            writeln!(text, "[[user]]\nname = \"{name}\"\npassword = \"{password}\"\n")?;
        }
        text.push_str(&self.more);
        Ok(out)
    }
}

/// A running Weir.
#[derive(Debug)]
pub struct Weir {
    process: Process,
    port: u16,
    admin_port: u16,
    config: PathBuf,
    log: PathBuf,
}

impl Weir {
    /// Starts `binary` with its configuration, log and pid file in `folder`; returns when a client
    /// is greeted.
    ///
    /// # Errors
    /// When it does not come up; its log is part of the error.
    pub fn start(
        binary: &Path,
        folder: &Path,
        config: &WeirConfig,
        lifetime: Lifetime,
    ) -> Result<Self> {
        let mut weir = Self::start_unready(binary, folder, config, lifetime)?;
        match weir.wait_ready() {
            Ok(()) => Ok(weir),
            Err(error) => Err(error).with_context(|| format!("weir says:\n{}", weir.log_text())),
        }
    }

    /// As [`Self::start`], but returns at once.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_unready(
        binary: &Path,
        folder: &Path,
        config: &WeirConfig,
        lifetime: Lifetime,
    ) -> Result<Self> {
        let port = free_port()?;
        let admin_port = config.admin_port.map_or_else(free_port, Ok)?;
        let config = WeirConfig { admin_port: Some(admin_port), ..config.clone() };
        let (file, log) = (folder.join("weir.toml"), folder.join("weir.log"));
        fs::write(&file, config.to_toml(port)?)?;
        let spec = Spec::new(binary, folder, &log).arg("run").arg(file.to_string_lossy());
        let process = Process::start(&spec, &folder.join("pid"), lifetime)?;
        Ok(Self { process, port, admin_port, config: file, log })
    }

    /// Port of the endpoint.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Address of the endpoint.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Address of the admin pages.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.admin_port).into()
    }

    /// The metrics as they are now.
    ///
    /// # Errors
    /// When the page is not there, or is not what it should be.
    pub fn metrics(&self) -> Result<Metrics> {
        let answer = http_get(self.admin(), "/metrics")?;
        if answer.status != 200 {
            bail!("/metrics answers {}: {}", answer.status, answer.body);
        }
        Metrics::parse(&answer.body)
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// A client of the endpoint.
    #[must_use]
    pub fn client(&self, user: &str, password: &str) -> Client {
        Client::tcp(self.address(), user, password)
    }

    /// What it has logged.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory, in KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_kib(&self) -> Result<u64> {
        resident_kib(self.pid())
    }

    /// Number of open descriptors.
    ///
    /// # Errors
    /// When it has ended.
    pub fn descriptors(&self) -> Result<usize> {
        descriptors(self.pid())
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.exit_status()?.is_none())
    }

    /// Asks it to drain and end (SIGTERM); does not wait.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Gives it another configuration (SIGHUP); returns what it logs from then on up to its verdict.
    ///
    /// # Errors
    /// When it has ended, or says nothing.
    pub fn reload(&mut self, toml: &str) -> Result<String> {
        fs::write(&self.config, toml)?;
        let before = self.log_text().len();
        self.process.signal(Signal::HUP)?;
        let start = Instant::now();
        loop {
            let log = self.log_text();
            let said = log.get(before..).unwrap_or_default();
            // A verdict is complete when its line is.
            if let Some(at) = said.find("reloaded")
                && said.get(at..).is_some_and(|rest| rest.contains('\n'))
            {
                return Ok(said.to_owned());
            }
            if start.elapsed() > START_PATIENCE {
                bail!("it says nothing of the reload:\n{log}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end and checks that it was orderly: exit code 0, no panic, no bug in the log.
    ///
    /// # Errors
    /// When it still runs after `patience`, or ended otherwise.
    pub fn wait_clean(&mut self, patience: Duration) -> Result<()> {
        let status = self.process.wait(patience)?;
        let log = self.log_text();
        if !status.success() || log.contains("panicked at") {
            bail!("weir ended with {status}:\n{log}");
        }
        Ok(())
    }

    /// Asks it to end and checks that it does so in order.
    ///
    /// # Errors
    /// As [`Self::wait_clean`].
    pub fn stop(&mut self) -> Result<()> {
        self.terminate()?;
        self.wait_clean(Duration::from_secs(20))
    }

    fn wait_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !greets(self.address()) {
            if let Some(status) = self.process.exit_status()? {
                bail!("it ended with {status}");
            }
            if start.elapsed() > START_PATIENCE {
                bail!("it does not greet clients on port {} after {START_PATIENCE:?}", self.port);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Builds Weir in the running profile, once per process, and gives the binary's path.
///
/// # Errors
/// When it does not build.
pub fn weir_binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build_weir(profile_folder()).map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(anyhow::Error::msg)
}

/// Builds Weir in the profile `debug` or `release`, with cargo's progress on standard error, and
/// gives the binary's path. `WEIR_BIN` names a binary to use instead.
///
/// # Errors
/// When it does not build.
pub fn build_weir(profile: &str) -> Result<PathBuf> {
    if let Some(binary) = env::var_os("WEIR_BIN") {
        return Ok(binary.into());
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "-p", "weir", "--bin", "weir", "--target-dir"]);
    command.arg(target_dir()).current_dir(workspace_root());
    if profile == "release" {
        command.arg("--release");
    }
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo cannot build weir");
    }
    Ok(target_dir().join(profile).join("weir"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_lists_everything_it_was_given() {
        let upstream = |name: &str, port: u16, primary| Upstream {
            name: name.to_owned(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            primary,
        };
        let mut config = WeirConfig::new(
            "epoll",
            vec![upstream("one", 1, true), upstream("two", 2, false)],
            "app",
            "secret",
        );
        config.limits.push(("clients_max".to_owned(), 10));
        config.backend_lines.push("tls = \"required\"".to_owned());
        config.endpoint_lines.push("tls = \"disabled\"".to_owned());
        let text = config.to_toml(4006).unwrap();
        for part in [
            "driver = \"epoll\"",
            "[limits]\nclients_max = 10",
            "[admin]\nlisten = \"disabled\"",
            "name = \"one\"\naddress = \"127.0.0.1:1\"\nrole = \"primary\"",
            "name = \"two\"\naddress = \"127.0.0.1:2\"\nrole = \"replica\"\ntls = \"required\"",
            "pooling = \"none\"\ntls = \"disabled\"",
            "listen = \"127.0.0.1:4006\"",
            "[[user]]\nname = \"app\"\npassword = \"secret\"",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
