//! Oracle's MySQL, which stable Debian does not have.
//!
//! Purpose: fetch server and client from Debian's unstable suite with the libraries they need, and
//! unpack them below the target folder.
//! Never: install anything, touch the machine's own package lists, or fetch what is there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use weir_tests::{Flavour, mysql_home, unpacked_servers};

use crate::shell::{find_program, read, say};

const SUITE: &str = "sid";
const PACKAGES: [&str; 2] = ["mysql-server-core", "mysql-client-core"];
/// What those packages' scripts need, and the programs do not.
const NOT_NEEDED: [&str; 5] = ["perl", "libperl", "libgdbm", "libdb5", "libc-gconv"];
/// Debian's signatures; apt refuses packages that do not carry them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SOURCES: &str = "/etc/apt/sources.list";

/// Makes sure that MySQL is there, and gives its version.
pub(crate) fn ensure_mysql() -> Result<String> {
    if mysql_home().is_err() {
        fetch().context("MySQL cannot be had here")?;
    }
    Flavour::MySql.version().context("MySQL is unpacked but does not run here")
}

fn fetch() -> Result<()> {
    for program in ["apt-get", "dpkg"] {
        if find_program(program).is_none() {
            bail!("it is fetched from Debian, and there is no {program}");
        }
    }
    if !Path::new(KEYRING).is_file() {
        bail!("it is fetched from Debian, whose keys ({KEYRING}) are not here");
    }
    let mirror = mirror(&machine_sources())
        .context("it is fetched from Debian, and no package list of this machine names a mirror")?;
    let home = unpacked_servers();
    fs::create_dir_all(&home)?;
    // Two of us at once must not unpack into each other; the lock ends with its holder.
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    if mysql_home().is_ok() {
        return Ok(());
    }
    say(format!("fetching MySQL from {mirror}, suite {SUITE} (70 MB)"));
    let private = home.join("apt");
    let result = unpack(&private, &home, &mirror);
    // The packages are of no more use, and a failed attempt is better begun anew.
    fs::remove_dir_all(&private)?;
    result
}

/// Downloads into `private` and unpacks into a folder of `home`.
fn unpack(private: &Path, home: &Path, mirror: &str) -> Result<()> {
    if private.exists() {
        fs::remove_dir_all(private)?;
    }
    for folder in ["lists/partial", "cache/archives/partial", "etc/preferences.d"] {
        fs::create_dir_all(private.join(folder))?;
    }
    // No package counts as installed, so that all libraries come along.
    fs::write(private.join("status"), "")?;
    let line = format!("deb [signed-by={KEYRING}] {mirror} {SUITE} main\n");
    fs::write(private.join("etc/sources.list"), line)?;
    read(apt(private).arg("update"))?;
    read(apt(private).args(["--yes", "--download-only", "install"]).args(PACKAGES))?;
    let mut version = None;
    let unfinished = private.join("root");
    for entry in fs::read_dir(private.join("cache/archives"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".deb") || NOT_NEEDED.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        if let Some(rest) = name.strip_prefix("mysql-server-core_") {
            version = rest.split(['_', '-']).next().map(str::to_owned);
        }
        read(Command::new("dpkg").arg("--extract").arg(&path).arg(&unfinished))?;
    }
    let version = version.context("the download has no mysql-server-core")?;
    for folder in ["doc", "man", "locale", "lintian", "gdb"] {
        let path = unfinished.join("usr/share").join(folder);
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
    }
    // It gets its name when it is complete.
    fs::rename(unfinished, home.join(format!("mysql-{version}")))?;
    Ok(())
}

/// apt with lists, cache and state of its own; the machine's proxy settings hold.
fn apt(private: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    for (key, value) in [
        ("Dir::State", ""),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
        ("Dir::Etc", "etc"),
        ("Dir::Etc::sourcelist", "etc/sources.list"),
        ("Dir::Etc::sourceparts", "-"),
    ] {
        let value = if value == "-" { PathBuf::from("/dev/null") } else { private.join(value) };
        command.arg("-o").arg(format!("{key}={}", value.display()));
    }
    // The folders are ours alone, so there is no other user to download as, and nobody to lock out.
    command.args(["-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1"]);
    command.args(["-o", "APT::Install-Recommends=false"]);
    command
}

/// The machine's package lists, in one text.
fn machine_sources() -> String {
    let parts = fs::read_dir(format!("{SOURCES}.d")).into_iter().flatten().flatten();
    let files = std::iter::once(PathBuf::from(SOURCES)).chain(parts.map(|entry| entry.path()));
    files.filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n")
}

/// The mirror of Debian's main archive that package lists of either format name.
fn mirror(sources: &str) -> Option<String> {
    let lines = sources.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(str::split_whitespace);
    words.map(|word| word.trim_end_matches('/')).find(|word| is_mirror(word)).map(str::to_owned)
}

fn is_mirror(word: &str) -> bool {
    (word.starts_with("http://") || word.starts_with("https://")) && word.ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_found_in_both_formats() {
        for (sources, expected) in [
            (
                "deb http://deb.debian.org/debian bookworm main",
                Some("http://deb.debian.org/debian"),
            ),
            (
                "deb [arch=amd64] https://m.example/debian/ trixie main",
                Some("https://m.example/debian"),
            ),
            (
                "Types: deb\n# http://old.example/debian\nURIs: http://new.example/debian\nSuites: x",
                Some("http://new.example/debian"),
            ),
            ("deb http://deb.debian.org/debian-security bookworm-security main", None),
            ("deb http://archive.ubuntu.com/ubuntu noble main", None),
            ("", None),
        ] {
            assert_eq!(mirror(sources).as_deref(), expected, "{sources}");
        }
    }
}
