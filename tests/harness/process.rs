//! Child processes that cannot be left behind.
//!
//! Purpose: start a program with its output in a file and its pid in another, signal it, end it.
//! Never: signal a pid without knowing that it is still the program that was started.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to end after SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// How long a started program lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until dropped, and not longer than this process even if that is killed.
    WithParent,
    /// Until somebody calls [`stop_recorded`] on its pid file.
    Detached,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    program: PathBuf,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    folder: PathBuf,
    log: PathBuf,
}

impl Spec {
    /// A program that runs in `folder` and appends what it prints to `log`.
    pub fn new(program: impl Into<PathBuf>, folder: &Path, log: &Path) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            envs: Vec::new(),
            folder: folder.to_owned(),
            log: log.to_owned(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    fn command(&self, lifetime: Lifetime) -> Result<Command> {
        let mut command = match lifetime {
            Lifetime::Detached => Command::new(&self.program),
            // The kernel then kills the program when our thread ends, even after SIGKILL; doing it
            // in the child between fork and exec would need unsafe code.
            Lifetime::WithParent => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
        };
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        command
            .args(&self.args)
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C at the terminal is for us: we stop programs in order.
            .process_group(0);
        Ok(command)
    }
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Child,
    lifetime: Lifetime,
    pid_file: PathBuf,
    exited: Option<ExitStatus>,
}

impl Process {
    /// Starts a program and records its pid in `pid_file`.
    ///
    /// # Errors
    /// When the program cannot be started or its files cannot be written.
    pub fn start(spec: &Spec, pid_file: &Path, lifetime: Lifetime) -> Result<Self> {
        let name = spec.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let child = spawn(spec.command(lifetime)?)
            .with_context(|| format!("cannot start {}", spec.program.display()))?;
        let pid = Pid::from_child(&child);
        fs::write(pid_file, format!("{}\n", child.id()))
            .with_context(|| format!("cannot write {}", pid_file.display()))?;
        Ok(Self { name, pid, child, lifetime, pid_file: pid_file.to_owned(), exited: None })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // The child is not reaped before `try_wait`, so its pid cannot belong to another program.
        if let Some(status) = self.exit_status()? {
            bail!("{} has already ended: {status}", self.name);
        }
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait()?;
        }
        Ok(self.exited)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                bail!("{} (pid {}) still runs after {patience:?}", self.name, self.pid());
            }
            thread::sleep(POLL);
        }
    }

    /// Asks it to end, and kills it when it does not listen.
    ///
    /// # Errors
    /// When it cannot be signalled or had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        if self.exit_status()?.is_none() {
            self.signal(Signal::TERM)?;
            if let Err(slow) = self.wait(STOP_PATIENCE) {
                self.kill()?;
                return Err(slow);
            }
        }
        remove_if_there(&self.pid_file)
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        if self.exit_status()?.is_none() {
            self.signal(Signal::KILL)?;
            self.wait(STOP_PATIENCE)?;
        }
        remove_if_there(&self.pid_file)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::WithParent
            && let Err(error) = self.kill()
        {
            eprintln!("cannot end {}: {error:#}", self.name);
        }
    }
}

/// Ends the program a pid file names, if it is still the one that mentions `mark` in its command
/// line, and removes the file. Gives whether there was something to end.
///
/// # Errors
/// When the program survives SIGKILL or the file cannot be removed.
pub fn stop_recorded(pid_file: &Path, mark: &str) -> Result<bool> {
    let running = recorded_pid(pid_file).filter(|pid| is_running(*pid, mark));
    if let Some(pid) = running {
        for (signal, patience) in [
            (Signal::CONT, Duration::ZERO),
            (Signal::TERM, STOP_PATIENCE),
            (Signal::KILL, STOP_PATIENCE),
        ] {
            if !is_running(pid, mark) {
                break;
            }
            let handle = i32::try_from(pid).ok().and_then(Pid::from_raw);
            kill_process(handle.ok_or_else(|| anyhow!("pid {pid} is out of range"))?, signal)
                .with_context(|| format!("cannot signal pid {pid}"))?;
            let start = Instant::now();
            while start.elapsed() < patience && is_running(pid, mark) {
                thread::sleep(POLL);
            }
        }
        if is_running(pid, mark) {
            bail!("pid {pid} does not end");
        }
    }
    remove_if_there(pid_file)?;
    Ok(running.is_some())
}

/// Resident memory of a process, in KiB.
///
/// # Errors
/// When the process is gone.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .with_context(|| format!("no VmRSS of pid {pid}"))
}

/// CPU time all threads of a process have used so far, those that ended included.
///
/// # Errors
/// When the process is gone.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name is in parentheses and may contain anything; user time and system time are
    // the 12th and 13th field after it.
    let fields = stat.rsplit_once(')').context("unexpected /proc/pid/stat")?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// Number of open descriptors of a process.
///
/// # Errors
/// When the process is gone or belongs to somebody else.
pub fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The pid a file holds.
pub(crate) fn recorded_pid(pid_file: &Path) -> Option<u32> {
    fs::read_to_string(pid_file).ok()?.trim().parse().ok()
}

/// Whether a process runs whose command line mentions `mark`. A zombie has no command line.
pub(crate) fn is_running(pid: u32, mark: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

type Job = (Command, Sender<io::Result<Child>>);

/// Starts a program from a thread that lives as long as this process.
///
/// The kernel sends the parent-death signal when the *thread* that forked ends, and a test's thread
/// ends before the servers other tests share.
fn spawn(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The asker waits for the answer; it cannot be gone.
                drop(answer.send(command.spawn()));
            }
        });
        jobs
    });
    let (answer, result) = mpsc::channel();
    spawner.send((command, answer)).map_err(|_| anyhow!("the spawning thread is gone"))?;
    Ok(result.recv()??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::RunFolder;

    fn sleeper(folder: &Path, lifetime: Lifetime) -> Process {
        let spec = Spec::new("sleep", folder, &folder.join("log")).arg("1000.25");
        let process = Process::start(&spec, &folder.join("pid"), lifetime).unwrap();
        // The new program's command line appears a moment after the fork returns.
        while !is_running(process.pid(), "sleep\u{0}1000.25") {
            thread::sleep(POLL);
        }
        process
    }

    #[test]
    fn dropping_an_owned_program_ends_it() {
        let folder = RunFolder::create("process-drop").unwrap();
        let process = sleeper(folder.path(), Lifetime::WithParent);
        let pid = process.pid();
        drop(process);
        assert!(!is_running(pid, "1000.25"));
    }

    #[test]
    fn an_owned_program_outlives_the_thread_that_asked_for_it() {
        let folder = RunFolder::create("process-thread").unwrap();
        let path = folder.path().to_owned();
        let mut process =
            thread::spawn(move || sleeper(&path, Lifetime::WithParent)).join().unwrap();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(process.exit_status().unwrap(), None);
    }

    #[test]
    fn a_recorded_program_is_stopped_only_if_it_is_the_same_program() {
        let folder = RunFolder::create("process-recorded").unwrap();
        let mut process = sleeper(folder.path(), Lifetime::Detached);
        let (pid, pid_file) = (process.pid(), folder.path().join("pid"));
        assert!(!stop_recorded(&pid_file, "another program").unwrap());
        assert!(is_running(pid, "1000.25"), "it was somebody else's");
        fs::write(&pid_file, pid.to_string()).unwrap();
        assert!(stop_recorded(&pid_file, "1000.25").unwrap());
        assert!(!pid_file.exists());
        process.wait(Duration::from_secs(5)).unwrap();
    }
}
