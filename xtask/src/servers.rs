//! `cargo xtask servers`: a primary and two replicas that stay up.
//!
//! Purpose: real servers for trying things by hand.
//! Never: end a process that is not the recorded server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use weir_tests::{
    Flavour, Lifetime, Server, Topology, is_recorded_running, remove_stopped, workspace_root,
};

use crate::mysql::ensure_mysql;
use crate::packages::{SERVERS, ensure};
use crate::real::Kind;
use crate::shell::say;

/// Account for trying things.
const ACCOUNT: (&str, &str) = ("app", "app-secret");
const NAMES: [&str; 3] = ["primary", "replica1", "replica2"];

/// Flags of `servers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Action {
    /// Start them, or say where they are.
    Start {
        /// Which server.
        #[arg(long, value_enum, default_value_t = Kind::Mariadb)]
        server: Kind,
    },
    /// Stop them and remove their data.
    Stop,
    /// Say which run and where.
    Status,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let state = workspace_root().join(".weir");
    fs::create_dir_all(&state)?;
    // Two of us at once would start six servers; the lock ends with its holder.
    let lock = File::create(state.join("servers.lock"))?;
    lock.try_lock().context("another `cargo xtask servers` is at work")?;
    let folder = state.join("servers");
    match args.action {
        Action::Start { server } => start(&folder, server.flavour()),
        Action::Stop => stop(&folder),
        Action::Status => status(&folder),
    }
}

fn start(folder: &Path, flavour: Flavour) -> Result<()> {
    if NAMES.iter().all(|name| runs(folder, name)) {
        say("already running");
        return status(folder);
    }
    ensure(&[SERVERS])?;
    if flavour == Flavour::MySql {
        ensure_mysql()?;
    }
    // What is left of a crash or of an incomplete start.
    remove_stopped(folder)?;
    fs::create_dir_all(folder)?;
    let started = Topology::start(flavour, folder, 2, Lifetime::Detached).and_then(|topology| {
        topology.primary.create_account(ACCOUNT.0, ACCOUNT.1)?;
        topology.primary.sql("CREATE DATABASE test")?;
        fs::write(addresses(folder), describe(&topology))?;
        Ok(())
    });
    if let Err(error) = started {
        remove_stopped(folder)?;
        return Err(error);
    }
    status(folder)
}

fn stop(folder: &Path) -> Result<()> {
    match remove_stopped(folder)? {
        0 => say("nothing runs"),
        count => say(format!("{count} servers stopped, their data removed")),
    }
    Ok(())
}

fn status(folder: &Path) -> Result<()> {
    let running: Vec<&str> = NAMES.into_iter().filter(|name| runs(folder, name)).collect();
    if running.is_empty() {
        say("nothing runs");
        return Ok(());
    }
    if running.len() < NAMES.len() {
        bail!("only {} still run; `cargo xtask servers start` begins anew", running.join(", "));
    }
    say(fs::read_to_string(addresses(folder))?.trim_end());
    Ok(())
}

fn runs(folder: &Path, name: &str) -> bool {
    is_recorded_running(&folder.join(name))
}

fn addresses(folder: &Path) -> PathBuf {
    folder.join("addresses.txt")
}

fn describe(topology: &Topology) -> String {
    let line = |name: &str, server: &Server| {
        format!("{name:<10}{}  (pid {})\n", server.address(), server.pid())
    };
    let mut text = line("primary", &topology.primary);
    for (index, replica) in topology.replicas.iter().enumerate() {
        text.push_str(&line(&format!("replica {}", index + 1), replica));
    }
    let (user, password) = ACCOUNT;
    text.push_str(&format!(
        "connect:  mariadb --host 127.0.0.1 --port {} --user {user} --password={password} test\n\
         stop:     cargo xtask servers stop\n",
        topology.primary.port()
    ));
    text
}
