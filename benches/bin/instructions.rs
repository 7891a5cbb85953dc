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
    /// A program that takes `relay_count`'s arguments, instead of building that one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The record.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/record/instructions.txt"))]
    record: PathBuf,
}

/// One recorded figure.
struct Figure {
    /// Its name in the record.
    name: &'static str,
    /// What `relay_count` is told to do.
    kind: &'static str,
}

const FIGURES: [Figure; 3] = [
    Figure { name: "relayed_query", kind: "modern" },
    Figure { name: "relayed_query_classic", kind: "classic" },
    Figure { name: "driver_alone", kind: "driver" },
];

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let program = match options.program {
        Some(program) => program,
        None => build()?,
    };
    let counts = FIGURES
        .iter()
        .map(|figure| Ok((figure.name, per_query(&program, figure.kind)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    if options.update {
        let lines: String =
            counts.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
        std::fs::write(&options.record, format!("{HEADING}{lines}"))
            .with_context(|| format!("cannot write {}", options.record.display()))?;
        return say(&format!("recorded in {}:\n{lines}", options.record.display()));
    }
    let text = std::fs::read_to_string(&options.record)
        .with_context(|| format!("cannot read {}; --update writes it", options.record.display()))?;
    let mut failed = false;
    for (name, now) in counts {
        let recorded = recorded(&text, name)
            .with_context(|| format!("{} has no line `{name} N`", options.record.display()))?;
        let verdict = judge(name, now, recorded);
        failed |= verdict.is_err();
        say(&verdict.unwrap_or_else(|text| text))?;
    }
    if failed {
        bail!(
            "more instructions than recorded. Find the cause, or, if it is worth it, say why in \
             the commit and run: {UPDATE}"
        );
    }
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// The difference of two runs is free of start-up and tear-down.
fn per_query(program: &Path, kind: &str) -> anyhow::Result<u64> {
    let few = count(program, FEW, kind)?;
    let many = count(program, MANY, kind)?;
    Ok(many.checked_sub(few).context("more queries took fewer instructions")? / (MANY - FEW))
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
fn count(program: &Path, queries: u64, kind: &str) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([&queries.to_string(), kind])
        // The C library picks its memcpy by the CPU, and their counts differ.
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
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

fn recorded(text: &str, name: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, number) = lines.into_iter().find(|(found, _)| *found == name)?;
    number.trim().parse().ok()
}

/// What to say about a count: an error if it rose by more than [`TOLERANCE_PERCENT`].
fn judge(name: &str, now: u64, recorded: u64) -> Result<String, String> {
    let figures = format!("{name}: {now} instructions, recorded {recorded}");
    if now * 100 > recorded * (100 + TOLERANCE_PERCENT) {
        return Err(format!("{figures}: more than {TOLERANCE_PERCENT} % above"));
    }
    if now * 100 < recorded * (100 - TOLERANCE_PERCENT) {
        return Ok(format!(
            "{figures}: more than {TOLERANCE_PERCENT} % below; keep the gain: {UPDATE}"
        ));
    }
    Ok(figures)
}

const UPDATE: &str = "cargo run --release -p weir-benches --bin instructions -- --update";
const HEADING: &str = "\
# User-space instructions of one relayed query, release build, counted by callgrind: a text point
# select of 101 bytes and its reply of 120, one at a time, in four turns.
# relayed_query has the simulated driver and both peers in it, driver_alone is their share: the
# budget of 3,000 is for the difference. _classic is a client without DEPRECATE_EOF.
# Compilers differ by a few instructions: a rise of more than 3 % fails `cargo xtask test`.
# Written by `instructions --update`.
";
const FEW: u64 = 1_000;
const MANY: u64 = 11_000;
const TOLERANCE_PERCENT: u64 = 3;

/// What is common to all x86-64; other CPUs' libraries do not know these names and ignore them.
const PLAIN_COPIES: &str =
    "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSSE3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        let text = "==5== Events    : Ir\n==5== Collected : 1234567\n==5== \n";
        assert_eq!(collected(text), Some(1_234_567));
        assert_eq!(collected("==5== I   refs: 12"), None);
        let record = format!("{HEADING}query 2950\nquery_classic 3100\n");
        assert_eq!(recorded(&record, "query"), Some(2950));
        assert_eq!(recorded(&record, "query_classic"), Some(3100));
        assert_eq!(recorded(HEADING, "query"), None);
    }

    #[test]
    fn verdicts() {
        assert!(judge("q", 1031, 1000).unwrap_err().contains("above"));
        assert!(!judge("q", 1030, 1000).unwrap().contains("above"));
        assert!(!judge("q", 970, 1000).unwrap().contains("below"));
        assert!(judge("q", 969, 1000).unwrap().contains("--update"));
    }
}
