//! `cargo xtask docs`: pages generated from the program's own tables.
//!
//! Purpose: `docs/config.md`, `docs/weir.sample.toml` and `docs/metrics.md` say what the program
//! does.
//! Never: edit them by hand; the program prints them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir_tests::workspace_root;

use crate::shell::{build_weir, read, say};

/// Generated pages and the sub-command of `weir` that prints each.
const PAGES: [(&str, &str); 3] = [
    ("docs/weir.sample.toml", "sample"),
    ("docs/config.md", "reference"),
    ("docs/metrics.md", "metrics-reference"),
];

/// Flags of `docs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if a page is out of date.
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let weir = build_weir()?;
    let mut stale = Vec::new();
    for (page, subcommand) in PAGES {
        let text = read(Command::new(&weir).arg(subcommand))?;
        let path = workspace_root().join(page);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if args.check {
            stale.push(page);
        } else {
            fs::write(&path, text).with_context(|| format!("cannot write {page}"))?;
            say(format!("{page} written"));
        }
    }
    if !stale.is_empty() {
        bail!("out of date: {}; run `cargo xtask docs`", stale.join(", "));
    }
    Ok(())
}
