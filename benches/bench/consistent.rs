//! Whether reads saw what was written, and what that took.
//!
//! Purpose: by Weir's own counters where reads were answered and how long they waited, and by the
//! clients' own eyes which of them were stale.
//! Never: let a stale read pass where none may be.

use anyhow::ensure;
use weir_benches::generator::Tally;
use weir_benches::stats::Summary;

use crate::plan::{Results, Series};
use crate::report::{number, say};
use crate::scrape;
use crate::slice::as_f64;
use crate::target::{Kind, Target};
use crate::workload::{Behind, Workload};

/// What one slice showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consistent {
    /// Of the reads of what was written just before, those that did not see it.
    pub(crate) stale_share: f64,
    /// By Weir's counters, if it is Weir.
    pub(crate) reads: Option<Reads>,
}

/// What became of reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reads {
    /// Share that replicas answered.
    pub(crate) on_replicas: f64,
    /// Share that waited on a replica.
    pub(crate) waits: f64,
    /// Share that went to the primary because no replica had what they had to see.
    pub(crate) fell_back: f64,
    /// How long a wait took, in microseconds; none without one.
    pub(crate) wait_us: Option<f64>,
}

/// Weir's counters, or zeros.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    reads: f64,
    on_replicas: f64,
    waited: f64,
    fell_back: f64,
    waits: f64,
    wait_s: f64,
}

impl Counted {
    /// Before a slice of a workload in which clients write.
    pub(crate) fn read_for(workload: &Workload, target: &Target) -> anyhow::Result<Option<Self>> {
        if workload.behind != Behind::Replicas {
            return Ok(None);
        }
        Self::read(target).map(Some)
    }

    fn read(target: &Target) -> anyhow::Result<Self> {
        match target.admin {
            Some(address) => Ok(Self::of(&scrape::page(address)?)),
            None => Ok(Self::default()),
        }
    }

    fn of(page: &str) -> Self {
        let routed = |part| sum(page, "weir_commands_routed_total", part);
        let on_replicas = routed("nodes=\"replicas\"");
        let read = READS.iter().map(|reason| routed(reason)).sum::<f64>();
        Self {
            reads: read,
            on_replicas,
            waited: sum(page, "weir_consistent_reads_total", "outcome=\"waited\""),
            fell_back: sum(page, "weir_consistent_reads_total", "outcome=\"primary\""),
            waits: sum(page, "weir_causal_wait_duration_seconds_count", ""),
            wait_s: sum(page, "weir_causal_wait_duration_seconds_sum", ""),
        }
    }

    fn since(self, start: Self) -> Self {
        Self {
            reads: self.reads - start.reads,
            on_replicas: self.on_replicas - start.on_replicas,
            waited: self.waited - start.waited,
            fell_back: self.fell_back - start.fell_back,
            waits: self.waits - start.waits,
            wait_s: self.wait_s - start.wait_s,
        }
    }
}

impl Consistent {
    /// Of the load that is over, before which that was counted.
    ///
    /// # Errors
    /// Reads did not see what they had to, or none looked.
    pub(crate) fn of(tally: &Tally, before: Counted, target: &Target) -> anyhow::Result<Self> {
        let Tally { own_rows, stale, .. } = *tally;
        ensure!(own_rows > 0, "nobody has read what it had written");
        let may_be_stale = target.kind == Kind::WeirEventual;
        ensure!(may_be_stale || stale == 0, "{stale} of {own_rows} reads were stale");
        let reads = match target.admin {
            Some(_) => Some(Reads::of(Counted::read(target)?.since(before))?),
            None => None,
        };
        Ok(Self { stale_share: as_f64(stale) / as_f64(own_rows), reads })
    }
}

impl Reads {
    fn of(counted: Counted) -> anyhow::Result<Self> {
        let Counted { reads, on_replicas, waited, fell_back, waits, wait_s } = counted;
        ensure!(reads > 0.0, "Weir has counted no reads");
        Ok(Self {
            on_replicas: on_replicas / reads,
            waits: waited / reads,
            fell_back: fell_back / reads,
            wait_us: (waits > 0.0).then(|| wait_s / waits * 1e6),
        })
    }
}

/// Of a figure over all rounds.
pub(crate) fn summary(
    series: &Series,
    figure: impl Fn(&Consistent) -> Option<f64>,
) -> Option<Summary> {
    Summary::of(series.rounds.iter().filter_map(|round| figure(&round.consistent?)))
}

/// The same of what became of reads.
pub(crate) fn reads(series: &Series, figure: impl Fn(&Reads) -> Option<f64>) -> Option<Summary> {
    summary(series, |consistent| figure(&consistent.reads?))
}

/// What follows the table of a workload in which clients write; empty for others.
pub(crate) fn table(workload: &Workload, results: &Results) -> String {
    let mut out = String::new();
    if workload.behind != Behind::Replicas {
        return out;
    }
    let heads = ["% on replicas", "waits/read", "mean wait µs", "% fell back", "% stale own rows"];
    row(&mut out, "reads", heads.map(str::to_owned));
    for kind in workload.targets {
        let Some(series) = results.of(workload, *kind) else { continue };
        let median = |summary: Option<Summary>, factor: f64, decimals| {
            number(summary.map(|summary| summary.median * factor), decimals)
        };
        let cells = [
            median(reads(series, |reads| Some(reads.on_replicas)), 100.0, 1),
            median(reads(series, |reads| Some(reads.waits)), 1.0, 3),
            median(reads(series, |reads| reads.wait_us), 1.0, 0),
            median(reads(series, |reads| Some(reads.fell_back)), 100.0, 1),
            median(summary(series, |it| Some(it.stale_share)), 100.0, 1),
        ];
        row(&mut out, kind.name(), cells);
    }
    out
}

fn row(out: &mut String, name: &str, cells: [String; 5]) {
    let [a, b, c, d, e] = cells;
    say(out, &format!("  {name:<16}{a:>16}{b:>16}{c:>16}{d:>16}{e:>18}"));
}

/// The sum over all series of a metric whose labels contain `part`.
fn sum(page: &str, metric: &str, part: &str) -> f64 {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        (is_it && labels.contains(part)).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

/// Why a command of the load is a read, wherever it went.
const READS: [&str; 3] =
    ["reason=\"plain-read\"", "reason=\"replica-behind\"", "reason=\"refused-by-replica\""];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_become_shares() {
        let page = "\
            weir_commands_routed_total{endpoint=\"bench\",nodes=\"replicas\",reason=\"plain-read\"} 70\n\
            weir_commands_routed_total{endpoint=\"bench\",nodes=\"primary\",reason=\"plain-read\"} 10\n\
            weir_commands_routed_total{endpoint=\"bench\",nodes=\"primary\",reason=\"replica-behind\"} 20\n\
            weir_commands_routed_total{endpoint=\"bench\",nodes=\"primary\",reason=\"write\"} 900\n\
            weir_consistent_reads_total{endpoint=\"bench\",outcome=\"current\"} 75\n\
            weir_consistent_reads_total{endpoint=\"bench\",outcome=\"waited\"} 5\n\
            weir_consistent_reads_total{endpoint=\"bench\",outcome=\"primary\"} 20\n\
            weir_causal_wait_duration_seconds_bucket{endpoint=\"bench\",le=\"1\"} 4\n\
            weir_causal_wait_duration_seconds_sum{endpoint=\"bench\"} 0.002\n\
            weir_causal_wait_duration_seconds_count{endpoint=\"bench\"} 4\n";
        let reads = Reads::of(Counted::of(page).since(Counted::default())).unwrap();
        let near = |value: f64, wanted: f64| assert!((value - wanted).abs() < 1e-9, "{value}");
        near(reads.on_replicas, 0.7);
        near(reads.waits, 0.05);
        near(reads.fell_back, 0.2);
        near(reads.wait_us.unwrap(), 500.0);
        assert!(Reads::of(Counted::default()).is_err());
    }
}
