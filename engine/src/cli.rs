//! The command line.
//!
//! Purpose: say what `weir` accepts and print its own version.
//! Never: act on it; that is `main`.

use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};
use weir::sql::Server;

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
    /// Say where a statement would go behind an endpoint that splits reads and writes, and why. With
    /// --admin or --config, a running Weir is asked: by the settings of its endpoint, and its
    /// servers as they are now. No server is asked: temporary tables, open transactions and views
    /// are not known.
    Explain(Explain),
    /// Print a commented configuration file with every key and its default.
    Sample,
    /// Print the configuration's reference page, in Markdown.
    Reference,
    /// Print the metrics' reference page, in Markdown.
    #[command(hide = true)]
    MetricsReference,
}

/// Flags of `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct Explain {
    /// The statement; `-` reads it from standard input.
    pub(crate) sql: String,
    /// Who would read it: `mysql` or `mariadb`, perhaps with a version as in `mysql=8.0.36`.
    /// Without it, only what is true of both counts.
    #[arg(long, value_name = "NAME[=VERSION]", value_parser = server, conflicts_with = "live")]
    pub(crate) server: Option<Server>,
    /// The session's `sql_mode`, for ANSI_QUOTES and NO_BACKSLASH_ESCAPES.
    #[arg(long, value_name = "MODES", default_value = "")]
    pub(crate) sql_mode: String,
    /// Ask the Weir whose admin pages are there, as in `127.0.0.1:6032`.
    #[arg(long, value_name = "HOST:PORT", group = "live")]
    pub(crate) admin: Option<String>,
    /// Ask the Weir that runs with this configuration file.
    #[arg(long, value_name = "FILE", group = "live")]
    pub(crate) config: Option<PathBuf>,
    /// The endpoint that is asked about; needed if there are several.
    #[arg(long, value_name = "NAME", requires = "live")]
    pub(crate) endpoint: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads `--server`. A name without a version stands for a version of today.
fn server(text: &str) -> Result<Server, String> {
    let (name, version) = text.split_once('=').unwrap_or((text, ""));
    let (version, mark) = match (name, version) {
        ("mysql", "") => ("9.7.4", ""),
        ("mysql", version) => (version, ""),
        ("mariadb", "") => ("10.11.19", "-MariaDB"),
        ("mariadb", version) => (version, "-MariaDB"),
        _ => return Err("it is mysql or mariadb".to_owned()),
    };
    match Server::from_version(&format!("{version}{mark}")) {
        Server::Unknown => Err("a version has three numbers, as in 8.0.36".to_owned()),
        known @ (Server::MySql(_) | Server::MariaDb(_)) => Ok(known),
    }
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
        let explain = |sql: &str, server, sql_mode: &str| {
            Some(Command::Explain(Explain {
                sql: sql.to_owned(),
                server,
                sql_mode: sql_mode.to_owned(),
                admin: None,
                config: None,
                endpoint: None,
                json: false,
            }))
        };
        assert_eq!(parse("weir explain BEGIN"), explain("BEGIN", None, ""));
        let mysql = Some(Server::MySql(80_036));
        assert_eq!(
            parse("weir explain --server mysql=8.0.36 --sql-mode ANSI_QUOTES -"),
            explain("-", mysql, "ANSI_QUOTES")
        );
        let maria = Some(Server::MariaDb(101_119));
        assert_eq!(parse("weir explain --server=mariadb -"), explain("-", maria, ""));
        let Some(Command::Explain(live)) =
            parse("weir explain --admin h:1 --endpoint app --json BEGIN")
        else {
            panic!("it is not understood")
        };
        assert_eq!((live.admin.as_deref(), live.endpoint.as_deref()), (Some("h:1"), Some("app")));
        assert!(live.json && live.config.is_none() && live.server.is_none());
        assert!(parse("weir explain --config a.toml BEGIN").is_some());
        let wrong = [
            "weir explain",
            "weir explain --admin h:1 --config a.toml BEGIN",
            "weir explain --admin h:1 --server mysql BEGIN",
            "weir explain --endpoint app BEGIN",
            "weir explain --server oracle -",
            "weir explain --server mysql=8 -",
            "weir",
            "weir check",
            "weir check a b",
            "weir dance",
        ];
        for wrong in wrong {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
