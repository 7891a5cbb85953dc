//! `cargo xtask real`: the tests against real servers.
//!
//! Purpose: a real MariaDB, a real Weir, real clients.
//! Never: pass without having run against a server.

use anyhow::Result;
use clap::ValueEnum;

use crate::packages::{SERVERS, ensure};
use crate::shell::{cargo, run as run_command};

/// Flags of `real`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which server.
    #[arg(long, value_enum, default_value_t = Kind::Mariadb)]
    server: Kind,
    /// Run sysbench for 30 seconds per case, as releases do.
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Mariadb,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match args.server {
        Kind::Mariadb => ensure(&[SERVERS])?,
    }
    let mut command = cargo();
    command.args(["test", "-p", "weir-tests", "--features", "real", "--test", "real"]);
    if args.long {
        command.env("WEIR_SYSBENCH_SECONDS", "30");
    }
    if let Some(filter) = &args.filter {
        command.args(["--", filter]);
    }
    run_command(&mut command)
}
