//! Folders for one run, and the removal of those whose run ended without tidying up.
//!
//! Purpose: state of tests under the target folder, gone when its owner is gone.
//! Never: remove a folder whose owner is alive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::paths::target_dir;
use crate::process::{is_running, recorded_pid, stop_recorded};

/// A folder that is removed when dropped; a killed owner's folders go at the next run's start.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A fresh folder below the target folder; `name` helps a person who looks inside.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        let runs = target_dir().join("weir-runs");
        SWEEP.call_once(|| sweep(&runs));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = runs.join(process::id().to_string()).join(format!("{number}-{name}"));
        let mut created = fs::create_dir_all(&path);
        // Another one, the last of this process, may have taken the folder above away just now.
        for _ in 0..10 {
            match &created {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    created = fs::create_dir_all(&path);
                }
                Ok(()) | Err(_) => break,
            }
        }
        created.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Left-overs are swept by the next run, so a failure here is not worth a message.
        drop(fs::remove_dir_all(&self.path));
        // Succeeds only for the last folder of this process.
        if let Some(parent) = self.path.parent() {
            drop(fs::remove_dir(parent));
        }
    }
}

/// Ends every program recorded below `folder` (pid files are called `pid`, one level down) and
/// removes the folder. Gives how many programs still ran.
///
/// # Errors
/// When a program cannot be ended or the folder cannot be removed.
pub fn remove_stopped(folder: &Path) -> Result<usize> {
    if !folder.exists() {
        return Ok(0);
    }
    let mut stopped = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && stop_recorded(&path.join("pid"), &path.to_string_lossy())? {
            stopped += 1;
        }
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(stopped)
}

/// Whether the program recorded in `folder` (its pid file is called `pid`) runs.
#[must_use]
pub fn is_recorded_running(folder: &Path) -> bool {
    recorded_pid(&folder.join("pid")).is_some_and(|pid| is_running(pid, &folder.to_string_lossy()))
}

/// Removes folders of processes that are gone; their children died with them.
fn sweep(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let owner_alive = Path::new("/proc").join(entry.file_name()).exists();
        if !owner_alive {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_the_programs_are_removed_with_them() {
        let folder = RunFolder::create("stopped").unwrap();
        let home = folder.path().join("servers");
        fs::create_dir_all(home.join("gone")).unwrap();
        fs::write(home.join("gone/pid"), "99999999").unwrap();
        fs::write(home.join("addresses.txt"), "here").unwrap();
        assert!(!is_recorded_running(&home.join("gone")));
        assert_eq!(remove_stopped(&home).unwrap(), 0);
        assert!(!home.exists());
    }

    #[test]
    fn a_run_folder_is_removed_and_a_dead_owners_too() {
        let folder = RunFolder::create("folder").unwrap();
        let runs = folder.path().ancestors().nth(2).unwrap().to_owned();
        // Larger than any pid Linux gives.
        let orphan = runs.join("99999999");
        fs::create_dir_all(orphan.join("0-x")).unwrap();
        sweep(&runs);
        assert!(!orphan.exists());
        assert!(folder.path().exists());
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
