//! Runs of `sysbench` and what they report.
//!
//! Purpose: the usual OLTP load against an address, as figures.
//! Never: hide an error of the load in an average.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::client::Client;

/// How sysbench uses prepared statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsMode {
    /// Server-side prepared statements.
    Auto,
    /// Text protocol.
    Disable,
}

/// One sysbench workload.
#[derive(Clone, Debug)]
pub struct Sysbench {
    /// Whom it connects to; the database must exist.
    pub client: Client,
    /// Database of its tables.
    pub database: String,
    /// Script, such as `oltp_read_write`.
    pub script: String,
    /// Number of tables.
    pub tables: u32,
    /// Rows per table.
    pub rows: u32,
    /// Concurrent connections.
    pub threads: u32,
    /// Length of a run, in seconds.
    pub seconds: u32,
    /// Prepared statements or text.
    pub ps_mode: PsMode,
    /// Whether each event is a transaction.
    pub transactions: bool,
}

/// What a run reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Transactions done.
    pub transactions: u64,
    /// Statements done.
    pub queries: u64,
    /// Statements per second.
    pub queries_per_second: f64,
    /// Errors that sysbench retried (deadlocks).
    pub ignored_errors: u64,
    /// Connections it had to open again.
    pub reconnects: u64,
    /// 95th percentile of a transaction's time, in milliseconds.
    pub p95_ms: f64,
}

impl Sysbench {
    /// `oltp_read_write` on a few small tables.
    #[must_use]
    pub fn read_write(client: Client, database: &str) -> Self {
        Self {
            client,
            database: database.to_owned(),
            script: "oltp_read_write".to_owned(),
            tables: 4,
            rows: 5_000,
            threads: 8,
            seconds: 5,
            ps_mode: PsMode::Auto,
            transactions: true,
        }
    }

    /// Creates and fills its tables.
    ///
    /// # Errors
    /// When sysbench fails.
    pub fn prepare(&self) -> Result<()> {
        self.call("prepare").map(drop)
    }

    /// Drops its tables.
    ///
    /// # Errors
    /// When sysbench fails.
    pub fn cleanup(&self) -> Result<()> {
        self.call("cleanup").map(drop)
    }

    /// Runs the load.
    ///
    /// # Errors
    /// When sysbench stops at an error it does not retry.
    pub fn run(&self) -> Result<Report> {
        let text = self.call("run")?;
        parse(&text).with_context(|| format!("cannot read sysbench's report:\n{text}"))
    }

    fn call(&self, action: &str) -> Result<String> {
        let Output { status, stdout, stderr } = self
            .command(action)?
            .output()
            .context("cannot start sysbench (apt-get install sysbench)")?;
        let text = String::from_utf8_lossy(&stdout).into_owned();
        if !status.success() {
            bail!("sysbench {action} failed: {text}{}", String::from_utf8_lossy(&stderr));
        }
        Ok(text)
    }

    fn command(&self, action: &str) -> Result<Command> {
        let address = self.client.address().context("sysbench needs a TCP address")?;
        let mut command = Command::new("sysbench");
        command
            .arg(&self.script)
            .arg("--db-driver=mysql")
            .arg(format!("--mysql-host={}", address.ip()))
            .arg(format!("--mysql-port={}", address.port()))
            .arg(format!("--mysql-user={}", self.client.user()))
            .arg(format!("--mysql-password={}", self.client.password()))
            .arg(format!("--mysql-db={}", self.database))
            .arg(format!("--tables={}", self.tables))
            .arg(format!("--table-size={}", self.rows))
            .arg(format!("--threads={}", self.threads))
            .arg(format!("--time={}", self.seconds))
            .arg(if self.transactions { "--skip-trx=off" } else { "--skip-trx=on" })
            .arg(match self.ps_mode {
                PsMode::Auto => "--db-ps-mode=auto",
                PsMode::Disable => "--db-ps-mode=disable",
            })
            .arg(action);
        Ok(command)
    }
}

fn parse(text: &str) -> Option<Report> {
    Some(Report {
        transactions: number(text, "transactions:")?,
        queries: number(text, "queries:")?,
        queries_per_second: text
            .lines()
            .find(|line| line.trim_start().starts_with("queries:"))?
            .split_once('(')?
            .1
            .split_whitespace()
            .next()?
            .parse()
            .ok()?,
        ignored_errors: number(text, "ignored errors:")?,
        reconnects: number(text, "reconnects:")?,
        p95_ms: number(text, "95th percentile:")?,
    })
}

/// First word after a label that begins a line.
fn number<T: std::str::FromStr>(text: &str, label: &str) -> Option<T> {
    text.lines()
        .find_map(|line| line.trim_start().strip_prefix(label))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
SQL statistics:
    queries performed:
        read:                            14042
        write:                           4012
        other:                           2006
        total:                           20060
    transactions:                        1003   (199.57 per sec.)
    queries:                             20060  (3991.46 per sec.)
    ignored errors:                      2      (0.00 per sec.)
    reconnects:                          1      (0.00 per sec.)

Latency (ms):
         min:                                    2.08
         95th percentile:                        9.22
";

    #[test]
    fn a_report_is_read_from_sysbench_s_text() {
        let report = parse(TEXT).unwrap();
        let expected = Report {
            transactions: 1003,
            queries: 20060,
            queries_per_second: 3991.46,
            ignored_errors: 2,
            reconnects: 1,
            p95_ms: 9.22,
        };
        assert_eq!(report, expected);
        assert_eq!(parse("FATAL: unable to connect"), None);
    }
}
