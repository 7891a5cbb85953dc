//! The command line.
//!
//! Purpose: say what `weir` accepts and print its own version.
//! Never: act on it; that is `main`.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};

/// MySQL and MariaDB proxy.
#[derive(Debug, Parser)]
#[command(name = "weir", version = VERSION.as_str(), after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Run until SIGTERM or SIGINT, which end sessions when they are at rest; a second one ends
    /// them at once. SIGHUP reads the file again and ends none.
    Run {
        /// The configuration file, in TOML.
        file: PathBuf,
    },
    /// Print OK, or everything that is wrong with a configuration file.
    Check {
        /// The configuration file, in TOML.
        file: PathBuf,
    },
    /// Print a commented configuration file with every key and its default.
    Sample,
    /// Print the configuration's reference page, in Markdown.
    Reference,
    /// Print the metrics' reference page, in Markdown.
    #[command(hide = true)]
    MetricsReference,
}

/// The package's version, and the commit it was built from where the build said so.
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("WEIR_GIT_HASH") {
    Some(hash) => format!("{} ({hash})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").to_owned(),
});

const EXIT_CODES: &str = "\
Exit codes:
  0  done; after run: every session was ended in good order
  1  the configuration cannot be read or is wrong, Weir cannot start or a worker failed, or the
     output cannot be written
  2  the command line is wrong";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn takes_a_command_and_its_file() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command).ok();
        assert_eq!(parse("weir check a.toml"), Some(Command::Check { file: "a.toml".into() }));
        assert_eq!(parse("weir sample"), Some(Command::Sample));
        assert_eq!(parse("weir run a.toml"), Some(Command::Run { file: "a.toml".into() }));
        for wrong in ["weir", "weir check", "weir check a b", "weir dance"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
