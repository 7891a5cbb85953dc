//! Records of runs.
//!
//! Purpose: one CSV per day and machine, to be committed and compared on that machine.
//! Never: name the host.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use weir_benches::machine;
use weir_benches::stats::Summary;

use crate::consistent::{reads, summary as seen};
use crate::idle::Idle;
use crate::plan::Results;
use crate::report::{proxy, summary};
use crate::workload::Workload;

/// Writes `<date>-<machine>.csv` into `dir`.
pub(crate) fn write(
    dir: &Path,
    workloads: &[Workload],
    results: &Results,
    idle: &[Idle],
) -> anyhow::Result<PathBuf> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let path = dir.join(format!("{}-{}.csv", date(days), machine::name()));
    std::fs::create_dir_all(dir)?;
    std::fs::write(&path, text(workloads, results, idle))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn text(workloads: &[Workload], results: &Results, idle: &[Idle]) -> String {
    let mut lines = vec!["workload,target,figure,rounds,median,min,max".to_owned()];
    for workload in workloads {
        for kind in workload.targets {
            let Some(series) = results.of(workload, *kind) else { continue };
            let figures = [
                ("queries_per_s", summary(series, |f| Some(f.queries_per_s))),
                ("p50_us", summary(series, |f| Some(f.p50_us))),
                ("p99_us", summary(series, |f| Some(f.p99_us))),
                ("p999_us", summary(series, |f| Some(f.p999_us))),
                ("proxy_cpu_us_per_query", proxy(series, |f| f.cpu_us)),
                ("proxy_switches_per_query", proxy(series, |f| f.switches)),
                ("proxy_resident_mib", proxy(series, |f| f.resident_mib)),
                ("proxy_syscalls_per_query", Summary::of(series.syscalls)),
                ("reads_on_replicas", reads(series, |reads| Some(reads.on_replicas))),
                ("waits_per_read", reads(series, |reads| Some(reads.waits))),
                ("mean_wait_us", reads(series, |reads| reads.wait_us)),
                ("reads_fallen_back", reads(series, |reads| Some(reads.fell_back))),
                ("stale_own_rows", seen(series, |seen| Some(seen.stale_share))),
                ("errors", summary(series, |f| Some(crate::slice::as_f64(f.errors)))),
            ];
            for (figure, summary) in figures {
                let Some(s) = summary else { continue };
                let rounds =
                    if figure == "proxy_syscalls_per_query" { 1 } else { series.rounds.len() };
                lines.push(format!(
                    "{},{},{figure},{rounds},{:.3},{:.3},{:.3}",
                    workload.name,
                    kind.name(),
                    s.median,
                    s.min,
                    s.max
                ));
            }
        }
    }
    for row in idle {
        let figures = [
            ("anonymous_kib_per_client", row.anonymous_kib()),
            ("resident_kib_per_client", row.resident_kib()),
        ];
        for (figure, value) in figures {
            let name = row.kind.name();
            lines.push(format!(
                "idle-{},{name},{figure},1,{value:.3},{value:.3},{value:.3}",
                row.clients
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The civil date of a day counted from 1970-01-01, for years 1970 to 2099: every fourth is a
/// leap year.
fn date(days: u64) -> String {
    const CYCLE: u64 = 3 * 365 + 366;
    let mut year = 1970 + days / CYCLE * 4;
    let mut left = days % CYCLE;
    let leap = |year: u64| year.is_multiple_of(4);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        let cases = [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (790, "1972-03-01"),
            (1_095, "1972-12-31"),
            (19_722, "2023-12-31"),
            (19_723, "2024-01-01"),
            (20_088, "2024-12-31"),
            (20_454, "2026-01-01"),
        ];
        for (days, expected) in cases {
            assert_eq!(date(days), expected);
        }
    }
}
