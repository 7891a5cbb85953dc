//! `cargo xtask test`: everything CI runs, in order, stopping at the first failure.
//!
//! Purpose: one list of steps for people and CI.
//! Never: skip a step silently; leaving steps out is asked for and said.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::packages::{CLIENTS, COUNTING, SERVERS, ensure};
use crate::shell::{FEATURES, build_weir, cargo, run as run_command, say};
use crate::{clients, docs, fuzz, real, tidy};

/// Enough to reach every branch a seed corpus reaches; long runs are for `cargo xtask fuzz`.
const FUZZ_SMOKE_SECONDS: u32 = 10;

/// Flags of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Begin at this step.
    #[arg(long)]
    from: Option<String>,
    /// Run only this step.
    #[arg(long, conflicts_with = "from")]
    only: Option<String>,
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&mut NotRun) -> Result<()>,
}

/// What a step could not do here, for the summary: nobody may take it for passed.
type NotRun = Vec<String>;

const STEPS: [Step; 9] = [
    Step { name: "packages", what: "programs of the distribution", run: |_| packages() },
    Step { name: "tidy", what: "house rules", run: |_| tidy::run() },
    Step { name: "fmt", what: "formatting", run: |_| formatting() },
    Step { name: "clippy", what: "lints, warnings denied", run: |_| clippy() },
    Step { name: "docs", what: "generated pages are up to date", run: |_| generated_docs() },
    Step { name: "unit", what: "unit, property, driver and simulation tests", run: |_| unit() },
    Step { name: "real", what: "real MariaDB and MySQL, both drivers", run: on_real_servers },
    Step { name: "fuzz", what: "a moment of every fuzz target", run: |_| fuzz_smoke() },
    Step { name: "instructions", what: "instructions per relayed query", run: |_| instructions() },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let steps = chosen(args.from.as_deref(), args.only.as_deref())?;
    let start = Instant::now();
    let mut done: Vec<(&str, Duration)> = Vec::new();
    let mut not_run = NotRun::new();
    for step in steps {
        say(format!("\n=== {}: {}", step.name, step.what));
        let began = Instant::now();
        let result = (step.run)(&mut not_run);
        done.push((step.name, began.elapsed()));
        if result.is_err() {
            summary(&done, start.elapsed());
        }
        result.with_context(|| format!("step `{}`", step.name))?;
    }
    summary(&done, start.elapsed());
    for what in not_run {
        say(format!("NOT RUN: {what}"));
    }
    match steps.len() {
        n if n == STEPS.len() => say("all steps passed"),
        n => say(format!("{n} of {} steps passed, the others were not asked for", STEPS.len())),
    }
    Ok(())
}

fn chosen(from: Option<&str>, only: Option<&str>) -> Result<&'static [Step]> {
    let Some(name) = from.or(only) else { return Ok(&STEPS) };
    let names = || STEPS.map(|step| step.name).join(" ");
    let Some(first) = STEPS.iter().position(|step| step.name == name) else {
        bail!("no step `{name}`; there are: {}", names());
    };
    let last = if only.is_some() { first + 1 } else { STEPS.len() };
    STEPS.get(first..last).context("steps")
}

fn summary(done: &[(&str, Duration)], total: Duration) {
    say("\n=== summary");
    for (name, time) in done {
        say(format!("{name:<14}{:>8.1} s", time.as_secs_f64()));
    }
    say(format!("{:<14}{:>8.1} s", "total", total.as_secs_f64()));
}

fn packages() -> Result<()> {
    ensure(&[SERVERS, CLIENTS, COUNTING])?;
    clients::ensure()
}

fn formatting() -> Result<()> {
    run_command(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run_command(cargo().arg("clippy").args(FEATURES).args([
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn generated_docs() -> Result<()> {
    docs::run(&docs::Args { check: true })
}

fn unit() -> Result<()> {
    let mut command = cargo();
    command.env("WEIR_BIN", build_weir()?).arg("test").args(FEATURES);
    run_command(command.args(["--lib", "--bins", "--test", "it", "--test", "sim"]))
}

fn on_real_servers(not_run: &mut NotRun) -> Result<()> {
    not_run.extend(real::run_on_both()?);
    Ok(())
}

fn fuzz_smoke() -> Result<()> {
    fuzz::smoke(FUZZ_SMOKE_SECONDS)
}

fn instructions() -> Result<()> {
    run_command(cargo().args(["run", "--release", "-p", "weir-benches", "--bin", "instructions"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(|step| step.name).collect()
    }

    #[test]
    fn steps_are_chosen_by_name() {
        assert_eq!(chosen(None, None).unwrap().len(), STEPS.len());
        assert_eq!(names(chosen(Some("fuzz"), None).unwrap()), ["fuzz", "instructions"]);
        assert_eq!(names(chosen(None, Some("fmt")).unwrap()), ["fmt"]);
        assert!(chosen(None, Some("nonsense")).is_err());
    }
}
