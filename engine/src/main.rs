//! The `weir` program: flags, start, exit code.
//!
//! Purpose: turn a command line into a running proxy or a clear error.
//! Never: hold logic that a test would want to call.

mod ask;
mod cli;
mod explain;
mod lookup;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;
use weir::config::{self, Config};
use weir::control;
use weir::observe;
use weir::tls::Contexts;
use weir::worker;

use crate::cli::{Cli, Command, Explain};
use crate::lookup::{System, read_config};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { file } => run(file),
        Command::Check { file } => load(&file).and_then(|_| print("OK\n")),
        Command::Explain(args) => explain(&args).and_then(|text| print(&text)),
        Command::Sample => print(&config::sample()),
        Command::Reference => print(&config::reference()),
        Command::MetricsReference => print(&observe::reference()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error gone as well, the exit code is all that is left to say it.
            let written = writeln!(std::io::stderr().lock(), "weir: {error:#}");
            drop(written);
            ExitCode::from(FAILED)
        }
    }
}

/// The checked configuration of a file.
fn load(file: &Path) -> anyhow::Result<Config> {
    let shown = file.display();
    let text = read_config(file).with_context(|| format!("{shown} cannot be read"))?;
    let problems = match config::parse(&text, &System::of(file)) {
        Ok(config) => match Contexts::build(&config, None) {
            Ok(_) => return Ok(config),
            Err(problems) => problems,
        },
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    let lines: String = problems.iter().map(|problem| format!("\n{problem}")).collect();
    let plural = if problems.len() == 1 { "" } else { "s" };
    bail!("{shown} has {} problem{plural}:{lines}", problems.len())
}

/// Runs until told to stop.
fn run(file: PathBuf) -> anyhow::Result<()> {
    let config = load(&file)?;
    let (format, level) = control::log_settings(&config.log);
    // Dropped last, and before an error is printed: then every line has been written.
    let _log = observe::start_log(format, level)?;
    let again = move || load(&file).map_err(|error| format!("{error:#}"));
    Ok(control::run(config, worker::spawn, Arc::new(again))?)
}

/// What is said of a statement, by a running Weir if one is named.
fn explain(args: &Explain) -> anyhow::Result<String> {
    let Some(file) = &args.config else { return explain::read(args, args.admin.as_deref()) };
    let admin = load(file)?.admin.listen;
    let admin = admin.with_context(|| format!("{} has no admin pages", file.display()))?;
    explain::read(args, Some(&admin.to_string()))
}

/// Writes text to standard output. A reader that has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output cannot be written")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Exit code of everything but a wrong command line, which is clap's 2.
const FAILED: u8 = 1;
