//! `cargo xtask sim`: the worker on the seeded in-memory driver.
//!
//! Purpose: run the simulation, or repeat one seed exactly.
//! Never: choose a seed itself; the simulation does and prints it.

use anyhow::Result;

use crate::shell::{cargo, run as run_command};

/// Variable the simulation reads its seed from.
const SEED_VARIABLE: &str = "WEIR_SIM_SEED";

/// Flags of `sim`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Repeat this seed instead of drawing one.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = cargo();
    command.args(["test", "-p", "weir-tests", "--test", "sim"]);
    if let Some(seed) = args.seed {
        command.args(["--", "--nocapture"]).env(SEED_VARIABLE, seed.to_string());
    }
    run_command(&mut command)
}
