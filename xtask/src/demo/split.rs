//! Reads on replicas, writes on the primary.
//!
//! Purpose: statements of one client, and where they ran by the servers' own count.
//! Never: take Weir's word for it; its figures are beside the servers', not instead of them.

use anyhow::{Context, Result, bail};
use weir_tests::Metrics;

use super::Progress;
use super::stage::{ACCOUNT, REPLICATION_PATIENCE, Stage};
use crate::shell::say;

const READS: u64 = 60;
const WRITES: u64 = 20;
const INDENT: &str = "           ";

/// One client reads and writes, and it is shown who did what.
pub(super) fn split(stage: &Stage, progress: &Progress) -> Result<()> {
    stage.topology.wait_replicated(REPLICATION_PATIENCE)?;
    let read = "SELECT word FROM greeting WHERE id = 1";
    progress.say(format!("weir explain --admin {} '{read}'", stage.weir.admin()));
    for line in stage.explain(read)?.lines() {
        say(format!("{INDENT}{line}"));
    }
    progress.say(format!(
        "mode = \"read-write\": one client sends {READS} reads and {WRITES} writes through weir, \
         none of them in a transaction"
    ));
    let before = Counts::of(stage)?;
    let mut text = String::new();
    for number in 0..WRITES {
        let id = 100 + number;
        text.push_str(&format!("INSERT INTO greeting VALUES ({id}, 'more'); "));
        for _ in 0..READS / WRITES {
            text.push_str(&format!("{read}; "));
        }
    }
    let answer = stage.client().query(&text)?;
    let answers = u64::try_from(answer.lines().filter(|line| *line == "goodbye").count())?;
    if answers != READS {
        bail!("{READS} reads had {answers} answers:\n{answer}");
    }
    let counts = Counts::of(stage)?.since(&before);
    counts.tell();
    reasons(&stage.weir.metrics()?)?;
    counts.check_writes()?;
    // One that a replica did not have in time may be among them.
    counts.check_reads(READS * 9 / 10)?;
    if counts.0.iter().any(|it| it.name == "primary" && it.writes < WRITES) {
        bail!("the primary has not seen {WRITES} writes");
    }
    Ok(())
}

/// Why commands went where they went, by Weir's count since its start.
fn reasons(metrics: &Metrics) -> Result<()> {
    let mut rows: Vec<(String, f64)> = metrics
        .iter()
        .filter(|((name, _), _)| name == "weir_commands_routed_total")
        .map(|((_, labels), count)| {
            let label = |name| labels.get(name).map_or("", String::as_str);
            (format!("{} for {}", label("nodes"), label("reason")), count)
        })
        .collect();
    if rows.is_empty() {
        bail!("weir has counted no routed commands");
    }
    rows.sort_by(|one, other| other.1.total_cmp(&one.1));
    let rows: Vec<String> = rows.iter().map(|(what, count)| format!("{what} {count}")).collect();
    say(format!("{INDENT}so far weir sent to: {}", rows.join(", ")));
    Ok(())
}

/// What each server counts of the demo's account, and Weir of the server.
pub(super) struct Counts(Vec<Count>);

struct Count {
    name: String,
    /// SELECT and the like.
    reads: u64,
    /// INSERT, UPDATE, DELETE and the like.
    writes: u64,
    /// BEGIN, COMMIT, SET and the like.
    others: u64,
    /// Times that Weir has lent a connection to it.
    leases: u64,
}

impl Counts {
    pub(super) fn of(stage: &Stage) -> Result<Self> {
        let metrics = stage.weir.metrics()?;
        let counts = stage.servers().into_iter().map(|(name, server)| {
            // Of an account: what replication writes there is another's.
            let text = server.sql(&format!(
                "SELECT SELECT_COMMANDS, UPDATE_COMMANDS, OTHER_COMMANDS \
                 FROM information_schema.USER_STATISTICS WHERE USER = '{}'",
                ACCOUNT.0
            ))?;
            let mut numbers = text.split_whitespace();
            let mut next = || -> Result<u64> {
                // Who has done nothing there has no row.
                numbers.next().map_or(Ok(0), |number| number.parse().context("a count"))
            };
            let (reads, writes, others) = (next()?, next()?, next()?);
            let labels = [("backend", name.as_str())];
            let leases = metrics.get("weir_backend_leases_total", &labels).unwrap_or(0.0);
            let leases = format!("{leases:.0}").parse()?;
            Ok(Count { name, reads, writes, others, leases })
        });
        Ok(Self(counts.collect::<Result<_>>()?))
    }

    /// What came since.
    pub(super) fn since(self, before: &Self) -> Self {
        let pairs = self.0.into_iter().zip(&before.0);
        let since = pairs.map(|(after, before)| Count {
            name: after.name,
            reads: after.reads.saturating_sub(before.reads),
            writes: after.writes.saturating_sub(before.writes),
            others: after.others.saturating_sub(before.others),
            leases: after.leases.saturating_sub(before.leases),
        });
        Self(since.collect())
    }

    pub(super) fn tell(&self) {
        say(format!(
            "{INDENT}{:<10}{:>10}{:>10}{:>10}   {:>10}",
            "by servers", "reads", "writes", "others", "weir: lent"
        ));
        for Count { name, reads, writes, others, leases } in &self.0 {
            say(format!("{INDENT}{name:<10}{reads:>10}{writes:>10}{others:>10}   {leases:>10}"));
        }
    }

    /// An error if a replica was written to.
    pub(super) fn check_writes(&self) -> Result<()> {
        match self.replicas().find(|it| it.writes > 0) {
            Some(it) => bail!("{} writes have reached {}", it.writes, it.name),
            None => Ok(()),
        }
    }

    /// An error if the replicas have not read so much, each of them a part of it.
    pub(super) fn check_reads(&self, reads: u64) -> Result<()> {
        let on_replicas: u64 = self.replicas().map(|it| it.reads).sum();
        if on_replicas < reads || self.replicas().any(|it| it.reads == 0) {
            bail!("of {reads} reads {on_replicas} were on replicas");
        }
        Ok(())
    }

    fn replicas(&self) -> impl Iterator<Item = &Count> {
        self.0.iter().filter(|it| it.name != "primary")
    }
}
