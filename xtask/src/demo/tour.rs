//! What the demo shows.
//!
//! Purpose: a client session and a short load through Weir, with what they did in figures.
//! Never: say that something worked without having looked.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weir_tests::{PsMode, Report, Sysbench, cpu_time};

use super::Progress;
use super::causal::read_back;
use super::interrupt::Interrupt;
use super::split::{Counts, split};
use super::stage::{ACCOUNT, CONNECTIONS_MAX, REPLICATION_PATIENCE, Stage};
use crate::shell::say;

const LOAD_THREADS: u32 = 16;
const LOAD_SECONDS: u32 = 5;

pub(super) fn run(stage: &Stage, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    session(stage, progress)?;
    interrupt.check()?;
    denied(stage, progress)?;
    interrupt.check()?;
    split(stage, progress)?;
    interrupt.check()?;
    read_back(stage, progress)?;
    interrupt.check()?;
    load(stage, progress, interrupt)?;
    interrupt.check()?;
    replicas_agree(stage, progress)
}

/// A person's session: what was sent and what came back.
fn session(stage: &Stage, progress: &Progress) -> Result<()> {
    progress.say("statements with the mariadb client through weir");
    let primary = stage.topology.primary.port().to_string();
    let statements: [(&str, Option<&str>); 7] = [
        ("SELECT @@version", None),
        ("SELECT @@port", Some(&primary)),
        ("CREATE TABLE greeting (id INT PRIMARY KEY, word VARCHAR(20))", Some("")),
        ("INSERT INTO greeting VALUES (1, 'hello'), (2, 'weir')", Some("")),
        ("BEGIN; UPDATE greeting SET word = 'world' WHERE id = 2; ROLLBACK", Some("")),
        ("BEGIN; UPDATE greeting SET word = 'goodbye' WHERE id = 1; COMMIT", Some("")),
        // Each of these is a session, which need not see what another one did.
        (
            "/* weir:consistency=instance */ SELECT GROUP_CONCAT(word ORDER BY id) FROM greeting",
            Some("goodbye,weir"),
        ),
    ];
    for (statement, expected) in statements {
        let began = Instant::now();
        // The client leaves out comments, and so hints, unless told not to.
        let answer = stage.client().arg("--comments").query(statement)?;
        let answer = answer.trim();
        let time = began.elapsed().as_secs_f64() * 1000.0;
        let shown = if answer.is_empty() { "ok" } else { answer };
        say(format!(
            "           {statement}\n             -> {shown}   ({time:.0} ms with client start)"
        ));
        if let Some(expected) = expected.filter(|expected| *expected != answer) {
            bail!("{statement}: expected {expected:?}, got {answer:?}");
        }
    }
    Ok(())
}

/// A wrong password is refused with the server's own words.
fn denied(stage: &Stage, progress: &Progress) -> Result<()> {
    let answer = stage.weir.client(ACCOUNT.0, "wrong").query("SELECT 1");
    let Err(error) = answer else { bail!("a wrong password was accepted") };
    let text = error.to_string();
    if !text.contains("ERROR 1045") {
        bail!("a wrong password was refused with {text:?}");
    }
    progress.say(format!("a wrong password: {text}"));
    Ok(())
}

fn load(stage: &Stage, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    let mut sysbench = Sysbench::read_write(stage.client(), super::stage::DATABASE);
    sysbench.threads = LOAD_THREADS;
    sysbench.seconds = LOAD_SECONDS;
    progress.say(format!(
        "sysbench creates {} tables of {} rows through weir",
        sysbench.tables, sysbench.rows
    ));
    sysbench.prepare()?;
    let loads = [
        ("oltp_read_write", PsMode::Disable, "text, all of it in transactions"),
        ("oltp_read_write", PsMode::Auto, "prepared statements"),
        ("oltp_point_select", PsMode::Auto, "reads outside of transactions, prepared"),
    ];
    for (script, mode, name) in loads {
        interrupt.check()?;
        // Who is behind is left out of reads.
        stage.topology.wait_replicated(REPLICATION_PATIENCE)?;
        sysbench.script = script.to_owned();
        sysbench.ps_mode = mode;
        progress
            .say(format!("sysbench {script}, {name}: {LOAD_THREADS} clients, {LOAD_SECONDS} s"));
        let (before, counts) = (Figures::of(stage)?, Counts::of(stage)?);
        let report = sysbench.run()?;
        let after = Figures::of(stage)?;
        tell(&report, &before, &after);
        let counts = Counts::of(stage)?.since(&counts);
        counts.tell();
        counts.check_writes()?;
        if report.reconnects > 0 {
            bail!("{} connections were lost", report.reconnects);
        }
        if script == "oltp_point_select" {
            counts.check_reads(report.queries * 9 / 10)?;
        }
    }
    shared(stage, progress)?;
    progress.say(format!("weir uses {:.1} MiB of memory", mebibytes(stage.weir.resident_kib()?)));
    Ok(())
}

/// Clients were more than connections.
fn shared(stage: &Stage, progress: &Progress) -> Result<()> {
    let metrics = stage.weir.metrics()?;
    let connections = metrics.value("weir_backend_connections", &[("backend", "primary")])?;
    if connections > f64::from(u32::try_from(CONNECTIONS_MAX)?) {
        bail!(
            "{connections} connections to the primary, and no more than {CONNECTIONS_MAX} allowed"
        );
    }
    let tunings = metrics.value("weir_backend_tunings_total", &[])?;
    progress.say(format!(
        "{LOAD_THREADS} clients shared {connections} connections to the primary \
         (connections_max = {CONNECTIONS_MAX}), which were set to another client's settings \
         {tunings} times"
    ));
    Ok(())
}

fn tell(report: &Report, before: &Figures, after: &Figures) {
    let indent = "           ";
    say(format!(
        "{indent}{:.0} queries/s, {} transactions, 95 % within {:.1} ms, {} errors, {} deadlocks retried",
        report.queries_per_second,
        report.transactions,
        report.p95_ms,
        report.reconnects,
        report.ignored_errors
    ));
    let queries = after.questions.saturating_sub(before.questions);
    let cpu = after.weir_cpu.saturating_sub(before.weir_cpu);
    if let Ok(queries) = u32::try_from(queries) {
        let each = cpu.as_secs_f64() * 1e6 / f64::from(queries.max(1));
        say(format!("{indent}weir: {:.1} s of CPU, {each:.1} us per query", cpu.as_secs_f64()));
    }
    say(format!(
        "{indent}servers: {queries} questions, {} commits, {} connections",
        after.commits.saturating_sub(before.commits),
        after.connections.saturating_sub(before.connections)
    ));
}

/// What the servers count together, and what Weir has used.
struct Figures {
    questions: u64,
    commits: u64,
    connections: u64,
    weir_cpu: Duration,
}

impl Figures {
    fn of(stage: &Stage) -> Result<Self> {
        let statuses: Vec<String> = stage
            .servers()
            .into_iter()
            .map(|(_, server)| {
                server.sql(
                    "SHOW GLOBAL STATUS \
                     WHERE Variable_name IN ('Questions', 'Com_commit', 'Connections')",
                )
            })
            .collect::<Result<_>>()?;
        let one = |text: &String, name: &str| -> Result<u64> {
            text.lines()
                .filter_map(|line| line.split_once('\t'))
                .find(|(found, _)| *found == name)
                .and_then(|(_, value)| value.trim().parse().ok())
                .with_context(|| format!("no status {name}"))
        };
        let sum = |name: &str| statuses.iter().map(|text| one(text, name)).sum::<Result<u64>>();
        // Replicas count the primary's commits again.
        let primary = statuses.first().context("no servers")?;
        Ok(Self {
            questions: sum("Questions")?,
            commits: one(primary, "Com_commit")?,
            connections: sum("Connections")?,
            weir_cpu: cpu_time(stage.weir.pid())?,
        })
    }
}

/// Everything written through Weir is on the replicas.
fn replicas_agree(stage: &Stage, progress: &Progress) -> Result<()> {
    let began = Instant::now();
    stage.topology.wait_replicated(REPLICATION_PATIENCE)?;
    let checksum = "SELECT COUNT(*), SUM(k), SUM(CRC32(c)) FROM demo.sbtest1";
    let expected = stage.topology.primary.sql(checksum)?;
    for replica in &stage.topology.replicas {
        let found = replica.sql(checksum)?;
        if found != expected {
            bail!("the replica on port {} differs: {found} instead of {expected}", replica.port());
        }
    }
    progress.say(format!(
        "both replicas had everything {:.1} s later: same rows, same checksums, at {}",
        began.elapsed().as_secs_f64(),
        stage.topology.primary.sql("SELECT @@gtid_binlog_pos")?.trim()
    ));
    Ok(())
}

fn mebibytes(kib: u64) -> f64 {
    u32::try_from(kib).map_or(f64::INFINITY, |kib| f64::from(kib) / 1024.0)
}
