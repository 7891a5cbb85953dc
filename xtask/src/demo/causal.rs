//! A write that is read back at once, from a replica.
//!
//! Purpose: no read misses what its session has just written, though replicas answer.
//! Never: wait for replication in between, or show an answer that was not checked.

use anyhow::{Result, bail};
use weir_tests::Metrics;

use super::Progress;
use super::split::Counts;
use super::stage::Stage;
use crate::shell::say;

const WRITES: u64 = 100;
const INDENT: &str = "           ";

/// One client writes rows and reads each back with its next statement, at two levels.
pub(super) fn read_back(stage: &Stage, progress: &Progress) -> Result<()> {
    stage.client().query("CREATE TABLE note (id INT PRIMARY KEY)")?;
    progress.say(format!(
        "consistency = \"session\", the default: one client writes {WRITES} rows and reads each back \
         with its next statement"
    ));
    let (before, outcomes) = (Counts::of(stage)?, Outcomes::of(&stage.weir.metrics()?)?);
    let seen = seen(stage, "", 0)?;
    if seen != WRITES {
        bail!("only {seen} of {WRITES} rows were seen by the session that had written them");
    }
    let counts = Counts::of(stage)?.since(&before);
    let outcomes = Outcomes::of(&stage.weir.metrics()?)?.since(&outcomes);
    counts.tell();
    say(format!("{INDENT}all {WRITES} rows were seen (servers count a wait as a read as well);"));
    say(format!(
        "{INDENT}by weir_consistent_reads_total {} reads found a replica that was known to have \
         the row, {} waited for one, {} went to the primary",
        outcomes.current, outcomes.waited, outcomes.primary
    ));
    counts.check_writes()?;
    // On a machine that is busy replicas may take longer than causal_wait_ms now and then.
    counts.check_reads(WRITES / 2)?;
    outcomes.check(WRITES / 2)?;
    let seen = self::seen(stage, "SET weir_consistency = 'eventual'; ", WRITES)?;
    progress.say(format!(
        "the same with SET weir_consistency = 'eventual': {seen} of {WRITES} rows were seen"
    ));
    Ok(())
}

/// How many rows a session sees of those it writes.
fn seen(stage: &Stage, first: &str, from: u64) -> Result<u64> {
    let mut text = first.to_owned();
    for id in from..from + WRITES {
        text.push_str(&format!(
            "INSERT INTO note VALUES ({id}); SELECT COUNT(*) FROM note WHERE id = {id}; "
        ));
    }
    let answer = stage.client().query(&text)?;
    let (seen, all) = (answer.lines().filter(|line| *line == "1").count(), answer.lines().count());
    if u64::try_from(all)? != WRITES {
        bail!("{WRITES} reads had {all} answers:\n{answer}");
    }
    Ok(u64::try_from(seen)?)
}

/// Weir's count of reads that had to see something.
struct Outcomes {
    current: f64,
    waited: f64,
    primary: f64,
}

impl Outcomes {
    fn of(metrics: &Metrics) -> Result<Self> {
        let of = |outcome| {
            let labels = [("endpoint", "main"), ("outcome", outcome)];
            metrics.value("weir_consistent_reads_total", &labels)
        };
        Ok(Self { current: of("current")?, waited: of("waited")?, primary: of("primary")? })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            current: self.current - before.current,
            waited: self.waited - before.waited,
            primary: self.primary - before.primary,
        }
    }

    /// An error if not every read was counted, or more than that on the primary.
    fn check(&self, primary_max: u64) -> Result<()> {
        let counted = self.current + self.waited + self.primary;
        if counted < f64::from(u32::try_from(WRITES)?) {
            bail!("weir has counted {counted} of {WRITES} reads");
        }
        if self.primary > f64::from(u32::try_from(primary_max)?) {
            bail!("{} of {WRITES} reads went to the primary", self.primary);
        }
        Ok(())
    }
}
