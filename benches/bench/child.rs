//! Processes the benchmark starts.
//!
//! Purpose: start a server, know its pid, see its log when it fails, and end it with the run.
//! Never: end a process it did not start.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A running server; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program`; what it prints goes to `<name>.log` in `dir`.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        dir: &Path,
        set_up: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // The kernel kills the server when this process dies, however it dies: a benchmark that
        // was interrupted must not leave load behind for the next.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        set_up(&mut command);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {} through setpriv", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its process id: setpriv replaces itself by the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Calls `attempt` until it succeeds; fails when the server ends or `patience` does.
    pub(crate) fn wait_until(
        &mut self,
        patience: Duration,
        mut attempt: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let Err(error) = attempt() else { return Ok(()) };
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", self.name, self.log_tail());
            }
            if Instant::now() >= deadline {
                let tail = self.log_tail();
                return Err(error.context(format!("{} is not ready:\n{tail}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines it printed.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// A loopback address nobody listens on.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Where `program` is installed, or what to do about it.
pub(crate) fn find(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]).map(Path::new);
    let Some(found) = dirs.map(|dir| dir.join(program)).find(|path| path.is_file()) else {
        bail!(
            "{program} is not installed; `cargo xtask bench` installs it as root, or run: \
             apt-get install --no-install-recommends {package}"
        );
    };
    Ok(found)
}
