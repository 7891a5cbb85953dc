//! `cargo xtask fuzz`: coverage-guided garbage for the parsers.
//!
//! Purpose: run one target for a while, or all of them briefly.
//! Never: install anything outside the target folder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir_tests::{target_dir, workspace_root};

use crate::shell::{cargo, find_program, read, run as run_command, say};

const CARGO_FUZZ_VERSION: &str = "0.13.1";

/// Flags of `fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Target: one of `engine/fuzz`.
    target: String,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let known = targets(&workspace_root())?;
    if !known.contains(&args.target) {
        bail!("no target {:?}; there are: {}", args.target, known.join(" "));
    }
    fuzz(&cargo_fuzz()?, &args.target, args.seconds)
}

/// Every target for a few seconds.
pub(crate) fn smoke(seconds: u32) -> Result<()> {
    let program = cargo_fuzz()?;
    let known = targets(&workspace_root())?;
    if known.is_empty() {
        bail!("engine/fuzz has no targets");
    }
    for target in known {
        say(format!("-- {target}, {seconds} s"));
        fuzz(&program, &target, seconds)?;
    }
    Ok(())
}

/// Names of the fuzz targets, from the manifest of their workspace.
pub(crate) fn targets(root: &Path) -> Result<Vec<String>> {
    let manifest = root.join("engine/fuzz/Cargo.toml");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}", manifest.display()))?;
    Ok(bin_names(&text))
}

/// Names in the `[[bin]]` tables of a manifest.
pub(crate) fn bin_names(manifest: &str) -> Vec<String> {
    manifest
        .split("[[bin]]")
        .skip(1)
        .filter_map(|table| {
            let table = table.split("\n[").next()?;
            let line = table.lines().find(|line| line.trim_start().starts_with("name"))?;
            Some(line.split('"').nth(1)?.to_owned())
        })
        .collect()
}

fn fuzz(program: &Path, target: &str, seconds: u32) -> Result<()> {
    let mut command = Command::new(program);
    // The parsers are safe Rust (tidy checks), so the address sanitizer would only slow them down.
    command
        .args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir", "engine/fuzz", target, "--"])
        .args([format!("-max_total_time={seconds}"), "-timeout=10".to_owned()])
        .args(["-rss_limit_mb=1024", "-print_final_stats=1"])
        .current_dir(workspace_root());
    // Coverage instrumentation needs flags that only nightly takes without this variable.
    match find_program("rustup").map(|_| has_nightly()) {
        Some(true) => command.env("RUSTUP_TOOLCHAIN", "nightly"),
        Some(false) | None => command.env("RUSTC_BOOTSTRAP", "1"),
    };
    run_command(&mut command)
}

fn has_nightly() -> bool {
    read(Command::new("rustup").args(["toolchain", "list"]))
        .is_ok_and(|list| list.lines().any(|line| line.starts_with("nightly")))
}

/// The cargo-fuzz program, installed into the target folder if the machine has none.
fn cargo_fuzz() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let tools = target_dir().join("tools");
    let own = tools.join("bin/cargo-fuzz");
    let there = find_program("cargo-fuzz")
        .or_else(|| home.map(|home| home.join("bin/cargo-fuzz")))
        .filter(|file| file.is_file());
    if let Some(program) = there.or_else(|| own.is_file().then(|| own.clone())) {
        return Ok(program);
    }
    say(format!("installing cargo-fuzz {CARGO_FUZZ_VERSION} into {}", tools.display()));
    run_command(
        cargo()
            .args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ_VERSION, "--root"])
            .arg(&tools),
    )?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_bin_tables_only() {
        let manifest = "[package]\nname = \"weir-fuzz\"\n\n[[bin]]\npath = \"a.rs\"\nname = \"frame\"\n\
                        \n[[bin]]\nname = \"reply\"\n[profile.release]\nname = \"no\"\n";
        assert_eq!(bin_names(manifest), ["frame", "reply"]);
    }
}
