//! `cargo xtask`: everything people and CI call.
//!
//! Purpose: one program for the repository's chores.
//! Never: link the engine, or guess silently when a tool is missing.

mod bench;
mod clients;
mod demo;
mod docs;
mod fuzz;
mod mysql;
mod packages;
mod real;
mod servers;
mod shell;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Weir's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show Weir at work in front of a real primary and two replicas.
    Demo(demo::Args),
    /// Run everything CI runs.
    #[command(visible_alias = "ci")]
    Test(test::Args),
    /// Check the house rules.
    Tidy,
    /// Run the tests against real servers.
    Real(real::Args),
    /// Start, stop or show a primary and two replicas that stay up.
    Servers(servers::Args),
    /// Run the seeded simulation.
    Sim(sim::Args),
    /// Fuzz one target.
    Fuzz(fuzz::Args),
    /// Compare Weir with its peers under load.
    Bench(bench::Args),
    /// Write the generated pages of `docs/` again.
    Docs(docs::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Tidy => tidy::run(),
        Command::Real(args) => real::run(&args),
        Command::Servers(args) => servers::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Docs(args) => docs::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
