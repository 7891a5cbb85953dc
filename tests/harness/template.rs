//! An empty data folder per server, made once and copied.
//!
//! Purpose: to make one takes seconds, a copy of its tens of megabytes takes milliseconds.
//! Never: hand out a half-made folder; it gets its name when it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::flavour::Flavour;
use crate::paths::target_dir;

/// Copies the template to `data`, making the template first if this is the first time.
pub(crate) fn copy_to(flavour: Flavour, data: &Path) -> Result<()> {
    copy_tree(&template(flavour)?, data)
        .with_context(|| format!("cannot copy the data folder to {}", data.display()))
}

fn template(flavour: Flavour) -> Result<PathBuf> {
    let target = target_dir();
    let version = flavour.version()?.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    let name = format!("weir-template-{flavour}-{version}");
    let done = target.join(&name);
    // Two test runs at once must not make it twice; the lock ends with its holder.
    let lock = File::create(target.join(format!("weir-template-{flavour}.lock")))?;
    lock.lock()?;
    if done.is_dir() {
        return Ok(done);
    }
    let unfinished = target.join(format!("{name}-unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    flavour.initialise(&unfinished)?;
    // MySQL's identity in replication: every copy finds its own at its first start.
    let identity = unfinished.join("auto.cnf");
    if identity.exists() {
        fs::remove_file(identity)?;
    }
    fs::rename(&unfinished, &done)?;
    Ok(done)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
