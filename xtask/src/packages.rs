//! The programs we need from the distribution.
//!
//! Purpose: have them, by installing what is missing when allowed, or say the exact command.
//! Never: start a service, upgrade what is there, or go on without a program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{find_program, run, say};

/// A program and the Debian package it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// A server and clients. The `-core` packages are the programs without a service.
pub(crate) const SERVERS: &[Need] = &[
    need("mariadbd", "mariadb-server-core"),
    need("mariadb-install-db", "mariadb-server-core"),
    need("my_print_defaults", "mariadb-client-core"),
    need("mariadb", "mariadb-client-core"),
    need("sysbench", "sysbench"),
    need("setpriv", "util-linux"),
];

/// Clients, and what installs further ones.
pub(crate) const CLIENTS: &[Need] = &[
    need("mariadb-dump", "mariadb-client"),
    need("python3", "python3"),
    need("pip3", "python3-pip"),
    need("node", "nodejs"),
    need("npm", "npm"),
];

/// Counting instructions.
pub(crate) const COUNTING: &[Need] = &[need("valgrind", "valgrind")];

/// Peers and measuring.
pub(crate) const BENCH: &[Need] = &[
    need("haproxy", "haproxy"),
    need("perf", "linux-perf"),
    need("strace", "strace"),
    need("prlimit", "util-linux"),
];

/// Debian asks this script before it starts a service; 101 means "no".
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes sure that these programs are there.
pub(crate) fn ensure(needs: &[&[Need]]) -> Result<()> {
    let missing = missing(needs, |program| find_program(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if find_program("apt-get").is_none() {
        bail!("missing Debian packages (or your system's equivalents): {}", missing.join(" "));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("packages are missing; run: sudo apt-get update && sudo {install}");
    }
    say(format!("installing {}", missing.join(" ")));
    let _policy = NoServices::begin()?;
    run(apt().arg("update"))?;
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))?;
    let still = self::missing(needs, |program| find_program(program).is_some());
    if !still.is_empty() {
        bail!("installed, but programs of these packages are still not found: {}", still.join(" "));
    }
    Ok(())
}

/// Packages of the programs that are not there, each once.
fn missing(needs: &[&[Need]], there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<&str> = needs
        .iter()
        .copied()
        .flatten()
        .filter(|need| !there(need.program))
        .map(|need| need.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// While it lives, Debian does not start services of packages being installed.
struct NoServices {
    /// Whether the script is ours to remove; a machine's own policy stays as it is.
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("remove {POLICY} by hand, it keeps services from starting: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_of_absent_programs_are_named_and_once() {
        let absent = ["mariadbd", "mariadb-install-db", "perf"];
        let found = missing(&[SERVERS, BENCH], |program| !absent.contains(&program));
        assert_eq!(found, ["linux-perf", "mariadb-server-core"]);
        assert!(missing(&[SERVERS, COUNTING, BENCH], |_| true).is_empty());
    }
}
