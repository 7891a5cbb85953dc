//! Instructions per relayed query, checked against the recorded figure.
//!
//! Purpose: notice a change that makes the relay dearer, on any machine however busy: callgrind
//! counts instructions, which do not depend on what else runs.
//! Never: say anything about time; `bench` does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Parser;

/// Counts the instructions of `relay_count` per query and compares them with the record.
#[derive(Parser)]
struct Options {
    /// Rewrite the record instead of comparing with it.
    #[arg(long)]
    update: bool,
    /// A program that does its work as often as its one argument says, instead of building
    /// `relay_count`.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The record.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/record/instructions.txt"))]
    record: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let program = match options.program {
        Some(program) => program,
        None => build()?,
    };
    // The difference of two runs is free of start-up and tear-down.
    let few = count(&program, FEW)?;
    let many = count(&program, MANY)?;
    let per_query =
        many.checked_sub(few).context("more queries took fewer instructions")? / (MANY - FEW);
    let line = if options.update {
        let text = format!("{HEADING}{NAME} {per_query}\n");
        std::fs::write(&options.record, text)
            .with_context(|| format!("cannot write {}", options.record.display()))?;
        format!("{NAME}: {per_query} instructions, recorded in {}", options.record.display())
    } else {
        let text = std::fs::read_to_string(&options.record).with_context(|| {
            format!("cannot read {}; --update writes it", options.record.display())
        })?;
        let recorded = recorded(&text)
            .with_context(|| format!("{} has no line `{NAME} N`", options.record.display()))?;
        judge(per_query, recorded).map_err(anyhow::Error::msg)?
    };
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// Builds `relay_count` as a release would be, beside this program.
fn build() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.parent().and_then(Path::parent).context("not in a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "weir-benches"])
        .args(["--bin", "relay_count", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("relay_count does not build");
    }
    Ok(target.join("release/relay_count"))
}

/// Instructions of one run.
fn count(program: &Path, queries: u64) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg(queries.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .context(
            "cannot run valgrind; `cargo xtask test` installs it as root, or run: \
             apt-get install --no-install-recommends valgrind",
        )?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{} {queries} failed under valgrind:\n{text}", program.display());
    }
    collected(&text).with_context(|| format!("callgrind gave no count:\n{text}"))
}

/// `==123== Collected : 456`
fn collected(text: &str) -> Option<u64> {
    let (_, number) = text.lines().find_map(|line| line.split_once("Collected :"))?;
    number.trim().parse().ok()
}

fn recorded(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(NAME))?;
    line.trim().parse().ok()
}

/// What to say about a count: an error if it rose by more than [`TOLERANCE_PERCENT`].
fn judge(now: u64, recorded: u64) -> Result<String, String> {
    let figures = format!("{NAME}: {now} instructions, recorded {recorded}");
    if now * 100 > recorded * (100 + TOLERANCE_PERCENT) {
        return Err(format!(
            "{figures}: more than {TOLERANCE_PERCENT} % above. Find the cause, or, if it is worth \
             it, say why in the commit and run: \
             cargo run --release -p weir-benches --bin instructions -- --update"
        ));
    }
    if now * 100 < recorded * (100 - TOLERANCE_PERCENT) {
        return Ok(format!(
            "{figures}: more than {TOLERANCE_PERCENT} % below. Keep the gain: \
             cargo run --release -p weir-benches --bin instructions -- --update"
        ));
    }
    Ok(figures)
}

const NAME: &str = "relayed_query";
const HEADING: &str = "# User-space instructions of one relayed query on the fake driver, release \
                       build, counted by callgrind.\n# Written by `instructions --update`; a rise \
                       of more than 3 % fails `cargo xtask test`.\n";
const FEW: u64 = 1_000;
const MANY: u64 = 11_000;
const TOLERANCE_PERCENT: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let text = "==5== Events    : Ir\n==5== Collected : 1234567\n==5== \n";
        assert_eq!(collected(text), Some(1_234_567));
        assert_eq!(collected("==5== I   refs: 12"), None);
        assert_eq!(recorded(&format!("{HEADING}{NAME} 2950\n")), Some(2950));
        assert_eq!(recorded(HEADING), None);
    }

    #[test]
    fn verdicts() {
        assert!(judge(1031, 1000).unwrap_err().contains("above"));
        assert!(!judge(1030, 1000).unwrap().contains("above"));
        assert!(!judge(970, 1000).unwrap().contains("below"));
        assert!(judge(969, 1000).unwrap().contains("--update"));
    }
}
