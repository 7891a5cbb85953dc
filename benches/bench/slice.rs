//! One measurement: one workload, one target, a second or so.
//!
//! Purpose: load and accounting over the same span of time, and what disturbed it.
//! Never: compare.

use std::time::Duration;

use anyhow::{Context, bail};
use weir_benches::generator::{Drive, Edge, Fleet, Tally};
use weir_benches::machine::Busy;
use weir_benches::process::{Memory, Usage};
use weir_benches::syscalls::{Counter, Tool};
use weir_benches::tls::Security;

use crate::consistent::{Consistent, Counted};
use crate::scrape::Scraping;
use crate::target::Target;
use crate::workload::{Effort, Workload};

/// What one slice showed.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Answered in a second.
    pub(crate) queries_per_s: f64,
    /// Latencies in microseconds.
    pub(crate) p50_us: f64,
    /// 99 of 100 were faster.
    pub(crate) p99_us: f64,
    /// 999 of 1000 were faster.
    pub(crate) p999_us: f64,
    /// What the proxy's process used; none without a proxy.
    pub(crate) proxy: Option<ProxyFigures>,
    /// What clients saw of their writes; none where they do not write.
    pub(crate) consistent: Option<Consistent>,
    /// Clients that failed.
    pub(crate) errors: u64,
    /// What the first said.
    pub(crate) first_error: Option<String>,
    /// Share of all CPUs used by processes that have no part in this.
    pub(crate) foreign_share: f64,
}

/// What the proxy's process used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxyFigures {
    /// CPU time per query, in microseconds.
    pub(crate) cpu_us: f64,
    /// Context switches per query.
    pub(crate) switches: f64,
    /// Resident memory at the end, in MiB.
    pub(crate) resident_mib: f64,
}

/// The accounts at one edge of the measured time.
#[derive(Clone, Copy, Debug)]
struct Books {
    busy: Busy,
    /// This process and the server behind the proxies.
    ends: Usage,
    proxy: Usage,
}

impl Books {
    fn read(servers: &[u32], target: &Target) -> anyhow::Result<Self> {
        let mut ends = Usage::of(std::process::id())?;
        for server in servers {
            let server = Usage::of(*server)?;
            ends.cpu_ns += server.cpu_ns;
            ends.switches += server.switches;
        }
        let proxy = target.pid().map_or(Ok(Usage::default()), Usage::of)?;
        Ok(Self { busy: Busy::now()?, ends, proxy })
    }
}

/// Measures one slice; `servers` are the processes behind the proxies.
pub(crate) fn measure(
    workload: &Workload,
    target: &Target,
    servers: &[u32],
    effort: Effort,
) -> anyhow::Result<Figures> {
    let mut fleet = Fleet::connect(target.address, workload.script()?, workload.clients)?;
    let drive = Drive { pace: workload.pace, warmup: effort.warmup, measure: effort.slice };
    let mut books = Vec::with_capacity(2);
    let admin = target.admin.filter(|_| workload.scraped);
    let scraping = admin.map(|address| Scraping::start(address, effort.warmup + INTO_SLICE));
    let counted = Counted::read_for(workload, target)?;
    let tally = fleet.drive(drive, &mut |_: Edge| books.push(Books::read(servers, target)))?;
    scraping.map(Scraping::stop).transpose()?;
    let consistent = match counted {
        Some(before) => Some(Consistent::of(&tally, before, target)?),
        None => None,
    };
    check_resumptions(workload, &tally)?;
    let mut books = books.into_iter();
    let start = books.next().context("the measured time never began")??;
    let stop = books.next().context("the measured time never ended")??;
    let resident_kib = match target.pid() {
        Some(pid) => Some(Memory::of(pid)?.resident_kib),
        None => None,
    };
    Ok(Figures { consistent, ..figures(&tally, start, stop, resident_kib) })
}

/// A row of resumed handshakes is one, and no other is.
fn check_resumptions(workload: &Workload, tally: &Tally) -> anyhow::Result<()> {
    let Tally { connections, resumed, .. } = *tally;
    let wanted = match workload.security {
        Security::Plain | Security::Full => resumed == 0,
        Security::Resumed => resumed * 100 >= connections.saturating_sub(1) * 99,
    };
    if !wanted {
        bail!("{resumed} of {connections} connections were resumed");
    }
    Ok(())
}

fn figures(tally: &Tally, start: Books, stop: Books, resident_kib: Option<u64>) -> Figures {
    let used = stop.proxy.since(start.proxy);
    let ours_ns = used.cpu_ns + stop.ends.since(start.ends).cpu_ns;
    let us = |quantile| as_f64(tally.latency_ns.value_at_quantile(quantile)) / 1000.0;
    let queries = as_f64(tally.queries.max(1));
    Figures {
        queries_per_s: as_f64(tally.queries) / tally.elapsed.as_secs_f64(),
        p50_us: us(0.5),
        p99_us: us(0.99),
        p999_us: us(0.999),
        proxy: resident_kib.map(|kib| ProxyFigures {
            cpu_us: as_f64(used.cpu_ns) / 1000.0 / queries,
            switches: as_f64(used.switches) / queries,
            resident_mib: as_f64(kib) / 1024.0,
        }),
        consistent: None,
        errors: tally.errors,
        first_error: tally.first_error.clone(),
        foreign_share: stop.busy.share_since(start.busy, Duration::from_nanos(ours_ns)),
    }
}

/// Counts the system calls of the target's process per query, in a pass of its own.
pub(crate) fn count_syscalls(
    workload: &Workload,
    target: &Target,
    tool: Tool,
) -> anyhow::Result<Option<f64>> {
    let Some(pid) = target.pid() else { return Ok(None) };
    let mut fleet = Fleet::connect(target.address, workload.script()?, workload.clients)?;
    let counter = Counter::attach(tool, pid)?;
    let drive = Drive { pace: workload.pace, warmup: Duration::ZERO, measure: COUNTED };
    let tally = fleet.drive(drive, &mut |_| {})?;
    let calls = counter.finish()?;
    Ok((tally.queries_all > 0).then(|| as_f64(calls) / as_f64(tally.queries_all)))
}

/// Exact up to 2^53, which no counter here reaches.
#[expect(clippy::cast_precision_loss, reason = "counters stay far below 2^53")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// When the first scrape comes.
const INTO_SLICE: Duration = Duration::from_millis(100);
const COUNTED: Duration = Duration::from_millis(150);
