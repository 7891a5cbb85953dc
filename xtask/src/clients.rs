//! The client libraries the tests on real servers use, beside the distribution's programs.
//!
//! Purpose: Python's and Node's drivers in folders of their own below the target folder.
//! Never: install into the machine's Python or Node, or go on without a client.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use weir_tests::{Driver, workspace_root};

use crate::packages::{CLIENTS, ensure as ensure_packages};
use crate::shell::{find_program, run, say};

/// Makes sure that every client is there.
pub(crate) fn ensure() -> Result<()> {
    ensure_packages(&[CLIENTS])?;
    for driver in Driver::ALL {
        install(driver)
            .with_context(|| format!("the clients of {driver:?} cannot be installed"))?;
    }
    Ok(())
}

/// Installs what a list in the repository names, if that has not been done for this very list.
fn install(driver: Driver) -> Result<()> {
    let list = workspace_root().join("tests/real/clients").join(driver.list());
    let wanted = fs::read_to_string(&list)?;
    let folder = driver.folder();
    let done = folder.join("installed");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    say(format!("installing {} below {}", driver.list(), folder.display()));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    match driver {
        Driver::Python => {
            let mut command = Command::new("python3");
            command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            command.args(["--no-warn-script-location", "--target"]).arg(&folder);
            run(command.arg("--requirement").arg(&list))?;
        }
        Driver::Node => {
            fs::copy(&list, folder.join("package.json"))?;
            let npm = find_program("npm").context("no npm")?;
            let mut command = Command::new(npm);
            command.args(["install", "--silent", "--no-audit", "--no-fund"]);
            run(command.current_dir(&folder))?;
        }
    }
    Ok(fs::write(done, wanted)?)
}
