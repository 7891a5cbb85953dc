//! Tables and verdicts.
//!
//! Purpose: show what was measured, losses first.
//! Never: hide a failed row or a wide spread.

use std::fmt::Write;

use weir_benches::stats::Summary;

use crate::consistent;
use crate::idle::Idle;
use crate::plan::{Results, Series};
use crate::slice::{Figures, ProxyFigures};
use crate::target::Kind;
use crate::workload::{MIXED, SCRAPED, Workload};

/// Of one figure over all rounds.
pub(crate) fn summary(
    series: &Series,
    figure: impl Fn(&Figures) -> Option<f64>,
) -> Option<Summary> {
    Summary::of(series.rounds.iter().filter_map(figure))
}

/// Of one of the proxy's figures over all rounds.
pub(crate) fn proxy(series: &Series, figure: impl Fn(&ProxyFigures) -> f64) -> Option<Summary> {
    summary(series, |figures| figures.proxy.as_ref().map(&figure))
}

/// Median CPU time per query of the proxy, over that of the workload's reference.
pub(crate) fn cpu_ratio(results: &Results, workload: &Workload, kind: Kind) -> Option<f64> {
    let median = |kind| Some(proxy(results.of(workload, kind)?, |figures| figures.cpu_us)?.median);
    Some(median(kind)? / median(workload.reference)?)
}

/// Median queries per second, over that of the workload's reference.
pub(crate) fn rate_ratio(results: &Results, workload: &Workload, kind: Kind) -> Option<f64> {
    let median =
        |kind| Some(summary(results.of(workload, kind)?, |f| Some(f.queries_per_s))?.median);
    Some(median(kind)? / median(workload.reference)?)
}

/// The table of one workload.
pub(crate) fn table(workload: &Workload, results: &Results) -> String {
    let mut out = format!("\n{} [{}]\n", workload.title, workload.name);
    line(&mut out, &COLUMNS.map(str::to_owned));
    for kind in workload.targets {
        if let Some(series) = results.of(workload, *kind) {
            line(&mut out, &cells(workload, results, *kind, series));
        }
    }
    for kind in workload.targets {
        let Some(series) = results.of(workload, *kind) else { continue };
        let mut errors = series.rounds.iter().filter_map(|figures| figures.first_error.as_ref());
        if let Some(text) = series.failure.as_ref().or_else(|| errors.next()) {
            say(&mut out, &format!("  {} FAILED: {text}", kind.name()));
        }
    }
    out
}

fn cells(
    workload: &Workload,
    results: &Results,
    kind: Kind,
    series: &Series,
) -> [String; COLUMNS.len()] {
    let rate = summary(series, |figures| Some(figures.queries_per_s));
    let p50 = summary(series, |figures| Some(figures.p50_us));
    let p99 = summary(series, |figures| Some(figures.p99_us));
    let cpu = proxy(series, |figures| figures.cpu_us);
    let switches = proxy(series, |figures| figures.switches);
    let memory = proxy(series, |figures| figures.resident_mib);
    let errors: u64 = series.rounds.iter().map(|figures| figures.errors).sum();
    let median = |summary: Option<Summary>, decimals| number(summary.map(|s| s.median), decimals);
    let spread = |summary: Option<Summary>| number(summary.map(|s| s.spread_percent()), 1);
    [
        kind.name().to_owned(),
        median(rate, 0),
        spread(rate),
        number(rate_ratio(results, workload, kind), 2),
        median(p50, 0),
        median(p99, 0),
        median(cpu, 2),
        spread(cpu),
        number(cpu_ratio(results, workload, kind), 2),
        number(series.syscalls, 2),
        median(switches, 2),
        median(memory, 1),
        errors.to_string(),
    ]
}

/// The table of idle clients.
pub(crate) fn idle_table(idle: &[Idle]) -> String {
    let Some(first) = idle.first() else { return String::new() };
    let mut out = format!("\nmemory of {} idle clients [idle]\n", first.clients);
    say(
        &mut out,
        &format!(
            "  {:<16}{:>14}{:>14}{:>22}{:>22}",
            "target", "RSS MiB before", "RSS MiB with", "KiB/client (anon)", "KiB/client (RSS)"
        ),
    );
    for row in idle {
        let mib = |kib: u64| crate::slice::as_f64(kib) / 1024.0;
        say(
            &mut out,
            &format!(
                "  {:<16}{:>14.1}{:>14.1}{:>22.2}{:>22.2}",
                row.kind.name(),
                mib(row.before.resident_kib),
                mib(row.with.resident_kib),
                row.anonymous_kib(),
                row.resident_kib()
            ),
        );
    }
    out
}

/// One goal and what became of it.
struct Verdict {
    /// Measured over wanted; above 1 is a loss.
    excess: f64,
    line: String,
}

/// The goals, losses first, then every other place where Weir is behind HAProxy.
pub(crate) fn verdicts(workloads: &[Workload], results: &Results, idle: &[Idle]) -> String {
    let mut list = goals(workloads, results, idle);
    list.sort_by(|a, b| b.excess.total_cmp(&a.excess));
    let mut out = "\ngoals (Weir on io_uring), losses first\n".to_owned();
    for verdict in &list {
        let word = if verdict.excess > 1.0 { "MISSED" } else { "met" };
        say(&mut out, &format!("  {word:<8}{}", verdict.line));
    }
    if list.is_empty() {
        say(&mut out, "  nothing to judge: Weir or HAProxy was not measured");
    }
    let behind = behind(workloads, results);
    if !behind.is_empty() {
        say(&mut out, "\nbehind HAProxy (CPU per query or queries/s), worst first");
    }
    for verdict in &behind {
        say(&mut out, &format!("  {}", verdict.line));
    }
    out
}

fn goals(workloads: &[Workload], results: &Results, idle: &[Idle]) -> Vec<Verdict> {
    let mut list = Vec::new();
    for (name, kind, wanted) in CPU_GOALS {
        let Some(workload) = workloads.iter().find(|workload| workload.name == *name) else {
            continue;
        };
        let Some(ratio) = cpu_ratio(results, workload, *kind) else { continue };
        let reference = workload.reference.name();
        let line = format!(
            "{}, {}: CPU {ratio:.2} x {reference}, wanted <= {wanted:.2}",
            workload.title,
            kind.name()
        );
        list.push(Verdict { excess: ratio / wanted, line });
    }
    for (name, wanted) in RATE_GOALS {
        let named = workloads.iter().find(|workload| workload.name == *name);
        let Some(workload) = named else { continue };
        let rate = |kind| {
            let series = results.of(workload, kind)?;
            Some(summary(series, |figures| Some(figures.queries_per_s))?.median)
        };
        let Some((own, direct)) = rate(Kind::WeirTransaction).zip(rate(Kind::Direct)) else {
            continue;
        };
        let ratio = own / direct.max(f64::MIN_POSITIVE);
        let title = &workload.title;
        let line = format!(
            "{title}, {}: {ratio:.2} x direct per second, wanted >= {wanted:.2}",
            Kind::WeirTransaction.name()
        );
        list.push(Verdict { excess: wanted / ratio.max(f64::MIN_POSITIVE), line });
    }
    list.extend(scraped(workloads, results));
    list.extend(mixed(workloads, results));
    for row in idle.iter().filter(|row| matches!(row.kind, Kind::WeirUring | Kind::WeirTransaction))
    {
        let kib = row.anonymous_kib();
        let is_shared = row.kind == Kind::WeirTransaction;
        let wanted = if is_shared { SHARED_IDLE_KIB_GOAL } else { IDLE_KIB_GOAL };
        let line = format!(
            "{} idle clients, {}: {kib:.2} KiB each, wanted <= {wanted:.2}",
            row.clients,
            row.kind.name()
        );
        list.push(Verdict { excess: kib / wanted, line });
    }
    list
}

/// What being watched costs.
fn scraped(workloads: &[Workload], results: &Results) -> Option<Verdict> {
    let named = |name| workloads.iter().find(|workload| workload.name == name);
    let workload = named(SCRAPED.0)?;
    let rate = |workload| {
        let series = results.of(workload, Kind::WeirUring)?;
        Some(summary(series, |figures| Some(figures.queries_per_s))?.median)
    };
    let kept = rate(workload)? / rate(named(SCRAPED.1)?)?;
    let line = format!(
        "{}: {kept:.3} x the queries/s without, wanted >= {SCRAPED_RATE_GOAL:.2}",
        workload.title
    );
    Some(Verdict { excess: SCRAPED_RATE_GOAL / kept.max(f64::MIN_POSITIVE), line })
}

/// What it costs that sessions see what they have written.
fn mixed(workloads: &[Workload], results: &Results) -> Vec<Verdict> {
    let mut list = Vec::new();
    let Some(workload) = workloads.iter().find(|it| it.name == MIXED) else { return list };
    let (title, kind) = (&workload.title, Kind::WeirSession);
    if let Some(kept) = rate_ratio(results, workload, kind) {
        let line = format!(
            "{title}, {}: {kept:.2} x {} per second, wanted >= {SESSION_RATE_GOAL:.2}",
            kind.name(),
            workload.reference.name()
        );
        list.push(Verdict { excess: SESSION_RATE_GOAL / kept.max(f64::MIN_POSITIVE), line });
    }
    let series = results.of(workload, kind);
    let share = series.and_then(|series| consistent::reads(series, |it| Some(it.on_replicas)));
    if let Some(Summary { median, .. }) = share {
        let line = format!(
            "{title}, {}: {median:.2} of reads on replicas, wanted >= {REPLICAS_GOAL:.2}",
            kind.name()
        );
        list.push(Verdict { excess: REPLICAS_GOAL / median.max(f64::MIN_POSITIVE), line });
    }
    list
}

fn behind(workloads: &[Workload], results: &Results) -> Vec<Verdict> {
    let mut list = Vec::new();
    for workload in workloads.iter().filter(|workload| !workload.reference.is_weir()) {
        for kind in workload.targets.iter().filter(|kind| kind.is_weir()) {
            let cpu = cpu_ratio(results, workload, *kind).unwrap_or(0.0);
            let rate = rate_ratio(results, workload, *kind).unwrap_or(1.0);
            let excess = cpu.max(1.0 / rate.max(f64::MIN_POSITIVE));
            if excess > BEHIND {
                let line = format!(
                    "{}, {}: CPU {cpu:.2} x, queries/s {rate:.2} x {}",
                    workload.title,
                    kind.name(),
                    workload.reference.name()
                );
                list.push(Verdict { excess, line });
            }
        }
    }
    list.sort_by(|a, b| b.excess.total_cmp(&a.excess));
    list
}

pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

fn line(out: &mut String, cells: &[String; COLUMNS.len()]) {
    let mut text = String::from("  ");
    for (cell, width) in cells.iter().zip(WIDTHS) {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        if width == NAME_WIDTH {
            text.extend([cell.as_str(), &padding]);
        } else {
            text.extend([padding.as_str(), cell]);
        }
    }
    say(out, &text);
}

/// Writing to a `String` cannot fail.
pub(crate) fn say(out: &mut String, text: &str) {
    if writeln!(out, "{text}").is_err() {
        out.push('\n');
    }
}

const COLUMNS: [&str; 13] = [
    "target",
    "queries/s",
    "±%",
    "×ref",
    "p50 µs",
    "p99 µs",
    "CPU µs/q",
    "±%",
    "×ref",
    "syscalls/q",
    "switches/q",
    "RSS MiB",
    "errors",
];
const NAME_WIDTH: usize = 16;
const WIDTHS: [usize; COLUMNS.len()] = [NAME_WIDTH, 10, 6, 6, 8, 8, 10, 6, 6, 11, 11, 9, 7];

/// Workloads and the CPU per query, in units of their reference's, that is wanted of Weir.
const CPU_GOALS: &[(&str, Kind, f64)] = &[
    ("text-64", Kind::WeirUring, 0.80),
    ("text-1", Kind::WeirUring, 0.85),
    ("text-1m-8", Kind::WeirUring, 0.80),
    ("paced-64", Kind::WeirUring, 0.85),
    ("prepared-64", Kind::WeirUring, 0.85),
    ("mariadb-text-64", Kind::WeirTransaction, 0.85),
    ("mariadb-prepared-64", Kind::WeirTransaction, 0.85),
    ("mariadb-text-64", Kind::WeirSplit, 0.80),
    ("mariadb-prepared-64", Kind::WeirSplit, 0.80),
];
/// Workloads, and how much of what clients get from the server directly they are to get from shared
/// connections.
const RATE_GOALS: &[(&str, f64)] = &[("mariadb-connect-16", 1.3)];
/// Queries per second left while metrics are read, of those without.
const SCRAPED_RATE_GOAL: f64 = 0.99;
/// Queries per second left where sessions see what they have written, of those without.
const SESSION_RATE_GOAL: f64 = 0.9;
/// Reads left on replicas there.
const REPLICAS_GOAL: f64 = 0.8;
/// User-space memory per idle client.
const IDLE_KIB_GOAL: f64 = 4.0;
/// The same where clients share connections.
const SHARED_IDLE_KIB_GOAL: f64 = 2.0;
/// Differences up to this are noise.
const BEHIND: f64 = 1.02;
