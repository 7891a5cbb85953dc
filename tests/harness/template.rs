//! An empty MariaDB data folder, made once and copied per server.
//!
//! Purpose: `mariadb-install-db` takes seconds, a copy of its 34 MB takes milliseconds.
//! Never: hand out a half-made folder; it gets its name when it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::target_dir;

/// Size of the redo log in the template and of every server started from it: small, because
/// copying it is most of a start.
pub(crate) const LOG_FILE_SIZE: &str = "--innodb-log-file-size=16M";

/// Copies the template to `data`, making the template first if this is the first time.
pub(crate) fn copy_to(data: &Path) -> Result<()> {
    copy_tree(&template()?, data)
        .with_context(|| format!("cannot copy the data folder to {}", data.display()))
}

/// Arguments that let MariaDB run as whoever we are: it refuses root unless told by name.
pub(crate) fn user_args() -> Vec<String> {
    if rustix::process::getuid().is_root() { vec!["--user=root".to_owned()] } else { Vec::new() }
}

/// The MariaDB program of that name; Debian keeps servers outside a user's `PATH`.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed (apt-get install mariadb-server)"))
}

fn template() -> Result<PathBuf> {
    let target = target_dir();
    let version =
        Command::new(program("mariadbd")?).args(["--no-defaults", "--version"]).output()?;
    let version: String = String::from_utf8_lossy(&version.stdout)
        .split_whitespace()
        .find(|word| word.contains("MariaDB"))
        .unwrap_or("unknown")
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c))
        .collect();
    let done = target.join(format!("weir-template-{version}"));
    // Two test runs at once must not make it twice; the lock ends with its holder.
    let lock = File::create(target.join("weir-template.lock"))?;
    lock.lock()?;
    if done.is_dir() {
        return Ok(done);
    }
    let unfinished = target.join("weir-template-unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    let output = Command::new(program("mariadb-install-db")?)
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(["--skip-name-resolve", LOG_FILE_SIZE, "--innodb-buffer-pool-size=16M"])
        .arg(format!("--datadir={}", unfinished.display()))
        .args(user_args())
        .output()?;
    if !output.status.success() {
        bail!(
            "mariadb-install-db failed: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
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
