//! Where things are in the working copy.
//!
//! Purpose: one answer to "where is the repository, where are its build products".
//! Never: guess from the current directory.

use std::env;
use std::path::{Path, PathBuf};

/// The repository's root folder.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target folder, found from the running binary because `CARGO_TARGET_DIR` and
/// `build.target-dir` may have moved it.
#[must_use]
pub fn target_dir() -> PathBuf {
    env::current_exe()
        .ok()
        .and_then(|exe| {
            // Cargo marks its target folder for backup programs.
            exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
        })
        .unwrap_or_else(|| workspace_root().join("target"))
}

/// Name of the folder in the target folder that holds binaries of the running profile.
#[must_use]
pub const fn profile_folder() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}
