//! `cargo xtask real`: the tests against real servers.
//!
//! Purpose: real MariaDB and MySQL, a real Weir, real clients.
//! Never: pass without having run against a server, or hide that one could not be had.

use anyhow::Result;
use clap::ValueEnum;
use weir_tests::Flavour;

use crate::clients;
use crate::mysql::ensure_mysql;
use crate::packages::{SERVERS, ensure};
use crate::shell::{FEATURES, build_weir, cargo, run as run_command, say};

/// Flags of `real`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only on this server; otherwise on both.
    #[arg(long, value_enum)]
    server: Option<Kind>,
    /// Run sysbench for 30 seconds per case, as releases do.
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// A server by the name a person gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Mariadb,
    Mysql,
}

impl Kind {
    pub(crate) const fn flavour(self) -> Flavour {
        match self {
            Self::Mariadb => Flavour::MariaDb,
            Self::Mysql => Flavour::MySql,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure(&[SERVERS])?;
    match args.server.map(Kind::flavour) {
        Some(Flavour::MySql) => {
            say(format!("on MySQL {}", ensure_mysql()?));
            tests(args, Some("mariadb"))
        }
        Some(Flavour::MariaDb) => {
            say(format!("on MariaDB {}", Flavour::MariaDb.version()?));
            tests(args, Some("mysql"))
        }
        None => run_both(args).map(drop),
    }
}

/// Runs the tests on both servers; gives why those on MySQL did not run, if they did not.
pub(crate) fn run_on_both() -> Result<Option<String>> {
    ensure(&[SERVERS])?;
    run_both(&Args { server: None, long: false, filter: None })
}

fn run_both(args: &Args) -> Result<Option<String>> {
    say(format!("on MariaDB {}", Flavour::MariaDb.version()?));
    match ensure_mysql() {
        Ok(version) => {
            say(format!("on MySQL {version}"));
            tests(args, None)?;
            Ok(None)
        }
        Err(error) => {
            let why = format!("the tests on MySQL did not run: {error:#}");
            say(&why);
            tests(args, Some("mysql"))?;
            say(&why);
            Ok(Some(why))
        }
    }
}

/// Runs the tests but those on the server of this module name.
fn tests(args: &Args, without: Option<&str>) -> Result<()> {
    clients::ensure()?;
    let mut command = cargo();
    command.env("WEIR_BIN", build_weir()?).arg("test").args(FEATURES);
    command.args(["--test", "real", "--"]);
    if args.long {
        command.env("WEIR_SYSBENCH_SECONDS", "30");
    }
    if let Some(server) = without {
        command.args(["--skip", &format!("::{server}::")]);
    }
    run_command(command.args(&args.filter))
}
