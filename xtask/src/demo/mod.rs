//! `cargo xtask demo`: Weir at work in front of a real primary and two replicas.
//!
//! Purpose: one command from a fresh clone to a proxy a person can connect to.
//! Never: leave anything running or lying about, whatever ended the last run.

mod causal;
mod interrupt;
mod split;
mod stage;
mod tour;

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_tests::{remove_stopped, workspace_root};

use interrupt::Interrupt;
use stage::Stage;

use crate::packages::{SERVERS, ensure};
use crate::shell::say;

/// Flags of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End after the tour instead of waiting for Ctrl-C.
    #[arg(long)]
    exit: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let state = workspace_root().join(".weir");
    fs::create_dir_all(&state)?;
    let folder = state.join("demo");
    // Held while we live, also released by SIGKILL: so "locked" means "a demo is up".
    let lock = File::create(state.join("demo.lock"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return already_up(&folder),
        Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the demo"),
    }
    let progress = Progress::begin();
    let interrupt = Interrupt::install()?;
    if folder.exists() {
        let stopped = remove_stopped(&folder)?;
        progress.say(format!("removed what an earlier demo left ({stopped} processes still ran)"));
    }
    fs::create_dir_all(&folder)?;
    let result = show(&folder, args, &progress, &interrupt);
    // Whatever happened, nothing may stay: processes were ended when the stage was dropped.
    let left = remove_stopped(&folder)?;
    match result {
        Err(_) if interrupt.seen() => {
            progress.say("everything is stopped and removed");
            bail!("interrupted before the tour was over");
        }
        Err(error) => return Err(error),
        Ok(()) => progress.say("everything is stopped and removed"),
    }
    if left > 0 {
        bail!("{left} processes had not ended with the demo");
    }
    Ok(())
}

fn show(folder: &Path, args: &Args, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    say("Weir demo: a MariaDB primary, two replicas, Weir in front, and clients\n");
    ensure(&[SERVERS])?;
    progress.say("programs: mariadbd, mariadb and sysbench are there");
    let mut stage = Stage::set(folder, progress, interrupt)?;
    tour::run(&stage, progress, interrupt)?;
    let how = stage.how_to_connect();
    fs::write(folder.join("addresses.txt"), &how)?;
    say(format!("\n{how}"));
    if args.exit {
        progress.say("the tour is over (--exit)");
    } else {
        say("Weir stays up until Ctrl-C.");
        while !interrupt.wait(Duration::from_secs(1)) {
            stage.check_alive()?;
        }
        progress.say("stopping");
    }
    stage.strike(progress)
}

fn already_up(folder: &Path) -> Result<()> {
    match fs::read_to_string(folder.join("addresses.txt")) {
        Ok(how) => bail!("a demo is already up; end it with Ctrl-C in its terminal\n\n{how}"),
        Err(_) => bail!("a demo is just starting or stopping in another terminal"),
    }
}

/// Lines with the time since the start, so that a watcher sees what takes long.
struct Progress {
    start: Instant,
}

impl Progress {
    fn begin() -> Self {
        Self { start: Instant::now() }
    }

    fn say(&self, text: impl AsRef<str>) {
        say(format!("[{:6.1} s] {}", self.start.elapsed().as_secs_f64(), text.as_ref()));
    }
}
