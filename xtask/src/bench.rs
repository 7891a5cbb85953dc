//! `cargo xtask bench`: Weir, its peers and no proxy at all, under the same load.
//!
//! Purpose: have the tools, then hand over to the benchmark program.
//! Never: measure anything itself.

use anyhow::Result;

use crate::packages::{BENCH, SERVERS, ensure};
use crate::shell::{cargo, run as run_command};

/// Flags of `bench`; all go to the benchmark program.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For example `--quick`, `--record`, or `--help` after `--`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure(&[SERVERS, BENCH])?;
    let mut command = cargo();
    command.args(["run", "--release", "-p", "weir-benches", "--bin", "bench", "--"]);
    run_command(command.args(&args.rest))
}
