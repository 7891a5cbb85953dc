//! Client libraries of other languages.
//!
//! Purpose: where they are installed, and how a script that uses them is run.
//! Never: install them; `cargo xtask real` does.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::paths::{target_dir, workspace_root};

/// A language whose client libraries are installed for the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `PyMySQL` and `mysql-connector-python`.
    Python,
    /// `mysql2`.
    Node,
}

impl Driver {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    /// The file, beside the scripts, that says what to install.
    #[must_use]
    pub const fn list(self) -> &'static str {
        match self {
            Self::Python => "requirements.txt",
            Self::Node => "package.json",
        }
    }

    /// Where that is installed.
    #[must_use]
    pub fn folder(self) -> PathBuf {
        target_dir().join("clients").join(match self {
            Self::Python => "python",
            Self::Node => "node",
        })
    }

    /// Runs a script of the repository, named from its root.
    ///
    /// # Errors
    /// When the libraries are not installed.
    pub fn script(self, path: &str) -> Result<Command> {
        let folder = self.folder();
        if !folder.join("installed").is_file() {
            bail!("{} is not installed; `cargo xtask real` installs it", self.list());
        }
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new("python3");
                // No compiled copies of our scripts in the repository.
                command.env("PYTHONPATH", folder).arg("-B");
                command
            }
            Self::Node => {
                let mut command = Command::new("node");
                // Modules are not found by a path in the environment; the script asks for it.
                command.env("WEIR_NODE_MODULES", folder);
                command
            }
        };
        command.arg(workspace_root().join(path));
        Ok(command)
    }
}
