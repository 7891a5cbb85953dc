//! What control can say about the process.
//!
//! Purpose: put the pages together from workers' figures, the topology and the kernel's.
//! Never: touch a socket; `http` does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::admin::{Answer, Page, Phase, explain, readiness};
use crate::auth::Remembered;
use crate::base::Time;
use crate::bus::{DriverKind, Report};
use crate::config::{Config, Found, Role};
use crate::control::process::{cpu_nanos, resident_bytes};
use crate::control::scrape::{PATIENCE, Scraper, Source};
use crate::io;
use crate::observe::{
    self, Counters, EndpointFigures, Figures, INTERVAL_LOG_TYPE, Metric, MetricsPage, ROUTES_MAX,
    ReadOutcome, Seconds, interval_log,
};
use crate::route::{Rules, Why};
use crate::share::Pin;
use crate::topology::{Snapshot, Status};

/// Sessions of one worker on a page.
const SESSIONS_MAX: usize = 1000;

/// Everything a page is made of.
#[derive(Debug)]
pub(super) struct Desk {
    driver: DriverKind,
    started: SystemTime,
    began: Instant,
    /// The control thread's number.
    thread: Option<u32>,
    remembered: Arc<Remembered>,
    view: RefCell<View>,
    /// What probes saw of each backend; of the snapshot's at least.
    statuses: RefCell<BTreeMap<Arc<str>, Status>>,
    /// Backends that the file does not name.
    found: RefCell<Vec<Found>>,
    scraper: Scraper,
}

/// What changes from outside.
#[derive(Clone, Debug)]
struct View {
    phase: Phase,
    config: Arc<Config>,
    snapshot: Arc<Snapshot>,
    rules: Option<Arc<Rules>>,
}

impl Desk {
    /// A desk on the control thread, which knows what is configured and no more.
    pub(super) fn new(
        config: Arc<Config>,
        driver: DriverKind,
        snapshot: Arc<Snapshot>,
        remembered: Arc<Remembered>,
        rules: Option<Arc<Rules>>,
    ) -> Self {
        Self {
            driver,
            started: SystemTime::now(),
            began: Instant::now(),
            thread: io::thread_number(),
            remembered,
            view: RefCell::new(View { phase: Phase::Starting, config, snapshot, rules }),
            statuses: RefCell::default(),
            found: RefCell::default(),
            scraper: Scraper::new(PATIENCE),
        }
    }

    /// Workers accept clients.
    pub(super) fn serving(&self, workers: Vec<Source>) {
        self.scraper.set_sources(workers);
        self.view.borrow_mut().phase = Phase::Serving;
    }

    /// Workers accept no more clients.
    pub(super) fn draining(&self) {
        self.view.borrow_mut().phase = Phase::Draining;
    }

    /// The picture changed.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>) {
        self.view.borrow_mut().snapshot = snapshot;
    }

    /// A backend was probed.
    pub(super) fn probed(&self, name: Arc<str>, status: Status) {
        self.statuses.borrow_mut().insert(name, status);
    }

    /// Backends that a configuration does not name are probed no more.
    pub(super) fn forget_backends(&self, config: &Config) {
        let is_named = |name: &str| config.backends.iter().any(|backend| backend.name == name);
        self.statuses.borrow_mut().retain(|name, _| is_named(name));
    }

    /// The backends that the file does not name are others.
    pub(super) fn found(&self, found: Vec<Found>) {
        self.found.replace(found);
    }

    /// Workers have another configuration, and the picture that belongs to it.
    pub(super) fn reloaded(
        &self,
        config: Arc<Config>,
        snapshot: Arc<Snapshot>,
        rules: Option<Arc<Rules>>,
    ) {
        let mut view = self.view.borrow_mut();
        (view.config, view.snapshot, view.rules) = (config, snapshot, rules);
    }

    /// A worker has ended.
    pub(super) fn ended(&self, last: Box<Report>) {
        self.scraper.take(last);
    }

    /// Time for [`log_limited!`](crate::log_limited): since the desk was made.
    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    pub(super) async fn answer(&self, page: Page) -> Answer {
        match page {
            Page::Healthz => Answer::healthz(),
            Page::Readyz => Answer::readyz(&self.readiness()),
            Page::Explain(ask) => {
                let View { config, snapshot, .. } = &*self.view.borrow();
                explain(&ask, config, snapshot)
            }
            Page::Sessions(id) => {
                let sessions = self.scraper.sessions(id, SESSIONS_MAX).await;
                match serde_json::to_vec_pretty(&sessions) {
                    Ok(text) => Answer::page("application/json", text),
                    Err(error) => Answer::line(500, &format!("weir: {error}")),
                }
            }
            Page::Metrics => {
                self.scraper.refresh(Instant::now()).await;
                Answer::page(MetricsPage::CONTENT_TYPE, self.metrics().into_bytes())
            }
            Page::Histograms => {
                self.scraper.refresh(Instant::now()).await;
                let uptime = self.began.elapsed();
                match interval_log(&self.scraper.figures(), self.started, uptime) {
                    Ok(log) => Answer::page(INTERVAL_LOG_TYPE, log),
                    Err(error) => Answer::line(500, &format!("weir: {error}")),
                }
            }
        }
    }

    fn readiness(&self) -> Result<(), String> {
        let View { phase, config, snapshot, .. } = &*self.view.borrow();
        readiness(*phase, config, snapshot)
    }

    fn metrics(&self) -> String {
        let mut page = MetricsPage::default();
        let view = self.view.borrow().clone();
        let sources = self.scraper.sources();
        self.process(&mut page, &sources);
        workers(&mut page, &sources);
        let (remembered, evicted) = self.remembered.counts();
        page.single(Metric::RememberedUsers, remembered as u64);
        page.single(Metric::RememberedUsersEvicted, evicted);
        backends(&mut page, &view);
        probes(&mut page, &view.snapshot, &self.statuses.borrow());
        let found = self.found.borrow();
        let finding = view.config.clusters.iter().filter(|cluster| cluster.discover);
        let counts = finding.map(|cluster| {
            let name = cluster.name.as_str();
            ([name], found.iter().filter(|it| it.cluster == name).count())
        });
        page.family(Metric::BackendsFound, counts);
        rules(&mut page, view.rules.as_deref());
        figures(&mut page, &self.scraper.figures());
        drivers(&mut page, &sources);
        let counters: Vec<Arc<Counters>> =
            sources.iter().map(|source| source.counters.clone()).collect();
        page.counters(&observe::sum(&counters));
        page.finish()
    }

    fn process(&self, page: &mut MetricsPage, sources: &[Source]) {
        let commit = option_env!("WEIR_GIT_HASH").unwrap_or("unknown");
        let driver = match self.driver {
            DriverKind::IoUring => "io_uring",
            DriverKind::Epoll => "epoll",
        };
        page.family(Metric::BuildInfo, [([env!("CARGO_PKG_VERSION"), commit, driver], 1)]);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let nanos = u64::try_from(started.as_nanos()).unwrap_or(u64::MAX);
        page.single(Metric::StartTime, Seconds(nanos));
        page.family(Metric::Resident, resident_bytes().map(|bytes| (NO_LABELS, bytes)));
        let control = self.thread.map(|thread| ("control".to_owned(), thread));
        let workers = sources.iter().enumerate();
        let workers = workers.filter_map(|(id, it)| Some((format!("worker-{id}"), it.thread?)));
        let cpu = control.into_iter().chain(workers);
        let cpu = cpu.filter_map(|(name, thread)| Some(([name], Seconds(cpu_nanos(thread)?))));
        page.family(Metric::ThreadCpu, cpu);
        page.single(Metric::Ready, u8::from(self.readiness().is_ok()));
        page.single(Metric::LogSuppressed, observe::log_lines_suppressed());
        page.single(Metric::LogDropped, observe::log_lines_dropped());
    }
}

fn workers(page: &mut MetricsPage, sources: &[Source]) {
    let mut family = |metric, read: fn(&Source) -> u64| {
        let rows = sources.iter().enumerate().map(|(id, it)| ([id.to_string()], read(it)));
        page.family(metric, rows);
    };
    family(Metric::WorkerResponsive, |it| u64::from(it.responsive));
    family(Metric::ScrapeTimeouts, |it| it.timeouts);
    family(Metric::Sessions, |it| last(it, |report| report.sessions as u64));
    family(Metric::SessionsLoggingIn, |it| last(it, |report| report.logging_in as u64));
}

fn last(source: &Source, read: fn(&Report) -> u64) -> u64 {
    source.last.as_deref().map_or(0, read)
}

fn backends(page: &mut MetricsPage, view: &View) {
    let rows = view.snapshot.backends.iter().map(|backend| {
        let cluster = view.config.cluster(backend.cluster).map_or("", |it| &it.name);
        let role = match backend.role {
            Role::Primary => "primary",
            Role::Replica => "replica",
        };
        ([&*backend.name, cluster, role], u8::from(backend.reachable))
    });
    page.family(Metric::BackendUp, rows);
}

const _: () = assert!(Why::COUNT <= ROUTES_MAX, "each reason has a place of its own");

/// What an endpoint's commands were routed by, as far as it happened.
fn routed(endpoint: &EndpointFigures) -> impl Iterator<Item = ([&str; 3], u64)> {
    let nodes = ["primary", "replicas"].into_iter().zip(&endpoint.routed);
    nodes.flat_map(move |(nodes, counts)| {
        let counts = counts.iter().copied().enumerate().filter(|(_, count)| *count > 0);
        counts.map(move |(why, count)| ([&*endpoint.name, nodes, Why::name_of(why)], count))
    })
}

fn probes(page: &mut MetricsPage, snapshot: &Snapshot, statuses: &BTreeMap<Arc<str>, Status>) {
    let reads = snapshot.backends.iter();
    page.family(
        Metric::BackendServesReads,
        reads.map(|it| ([&*it.name], u8::from(it.serves_reads))),
    );
    let mut family = |metric, read: fn(&Status) -> Option<u64>| {
        let rows = snapshot.backends.iter().filter_map(|backend| {
            let status = statuses.get(&backend.name).copied().unwrap_or_default();
            Some(([&*backend.name], read(&status)?))
        });
        page.family(metric, rows);
    };
    family(Metric::BackendReadOnly, |it| it.is_read_only.map(u64::from));
    family(Metric::BackendReplicates, |it| it.replicates.map(u64::from));
    family(Metric::BackendGtidBehind, |it| it.behind);
    family(Metric::BackendProbes, |it| Some(it.probes));
    family(Metric::BackendProbesFailed, |it| Some(it.probes_failed));
    family(Metric::BackendRoleChanges, |it| Some(it.role_changes));
    let lags = snapshot.backends.iter().filter_map(|backend| {
        let lag_ms = statuses.get(&backend.name)?.lag_ms?;
        Some(([&*backend.name], Seconds(u64::from(lag_ms) * NANOS_PER_MS)))
    });
    page.family(Metric::BackendLag, lags);
}

fn figures(page: &mut MetricsPage, figures: &Figures) {
    let Figures { endpoints, backends, pins, backend_errors, own_errors } = figures;
    let reasons = || Pin::ALL.iter().map(|(_, name)| [*name]).zip(pins);
    page.family(Metric::SessionPins, reasons().map(|(reason, it)| (reason, it.held)));
    page.family(Metric::SessionPinsBegun, reasons().map(|(reason, it)| (reason, it.begun)));
    let connections = backends.iter().map(|it| ([&*it.name], it.connections));
    page.family(Metric::BackendConnections, connections);
    let idle = backends.iter().map(|it| ([&*it.name], it.idle));
    page.family(Metric::BackendIdle, idle);
    let leases = backends.iter().map(|it| ([&*it.name], it.leases));
    page.family(Metric::BackendLeases, leases);
    page.family(Metric::CommandsRouted, endpoints.iter().flat_map(routed));
    let outcomes = |it: &EndpointFigures| ReadOutcome::ALL.into_iter().zip(it.consistent);
    let reads = endpoints
        .iter()
        .flat_map(|it| outcomes(it).map(|(outcome, count)| ([&*it.name, outcome.name()], count)));
    page.family(Metric::ConsistentReads, reads);
    let shipped = backends.iter().map(|it| ([&*it.name], it.shipped));
    page.family(Metric::BackendShipped, shipped);
    let sides = [("backend", backend_errors), ("weir", own_errors)];
    let errors = sides.into_iter().flat_map(|(side, errors)| {
        errors.iter().map(move |(code, count)| {
            let code = code.map_or_else(|| "other".to_owned(), |code| code.to_string());
            ([side.to_owned(), code], count)
        })
    });
    page.family(Metric::Errors, errors);
    let commands = endpoints.iter().map(|it| ([&*it.name], &it.commands));
    page.histograms(Metric::CommandDuration, commands);
    page.histograms(Metric::LoginDuration, endpoints.iter().map(|it| ([&*it.name], &it.logins)));
    let waits = endpoints.iter().map(|it| ([&*it.name], &it.waits));
    page.histograms(Metric::CausalWaitDuration, waits);
    let logins = backends.iter().map(|it| ([&*it.name], &it.logins));
    page.histograms(Metric::BackendLoginDuration, logins);
}

fn rules(page: &mut MetricsPage, rules: Option<&Rules>) {
    let all = || rules.into_iter().flat_map(Rules::iter);
    let counters = [Metric::RuleMatches, Metric::RuleRejected, Metric::RuleWaits];
    for (metric, place) in counters.into_iter().zip(0..) {
        let rows = all().filter_map(|it| Some(([it.name()], *it.counts().get(place)?)));
        page.family(metric, rows);
    }
    let limits = || all().filter(|it| it.limit().is_some_and(|limit| limit.concurrent > 0));
    let running = limits().map(|it| ([it.name()], u64::from(it.gate().inside())));
    page.family(Metric::RuleRunning, running);
    let waiting = limits().map(|it| ([it.name()], it.gate().waiting() as u64));
    page.family(Metric::RuleWaiting, waiting);
}

fn drivers(page: &mut MetricsPage, sources: &[Source]) {
    let sum = |read: fn(&Report) -> u64| sources.iter().map(|it| last(it, read)).sum::<u64>();
    page.single(Metric::DriverConnections, sum(|it| it.driver.connections as u64));
    let all = sum(|it| it.driver.small_buffers as u64);
    let free = sum(|it| it.driver.small_buffers_free as u64);
    let states = [(["free"], free), (["used"], all.saturating_sub(free))];
    page.family(Metric::SmallBuffers, states);
    page.single(Metric::LargeBuffersUsed, sum(|it| it.driver.large_buffers_used as u64));
    page.single(Metric::SpilledBytes, sum(|it| it.driver.spilled_bytes as u64));
    page.single(Metric::BufferStarvations, sum(|it| it.driver.starvations));
    page.single(Metric::Turns, sum(|it| it.driver.turns));
}

const NO_LABELS: [&str; 0] = [];
const NANOS_PER_MS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::{Offline, parse, sample};
    use crate::observe::Counter;
    use crate::topology::Topology;

    #[test]
    fn the_page_has_every_metric_of_the_table_once_and_no_other() {
        let config = Arc::new(parse(&sample(), &Offline).unwrap());
        let snapshot = Topology::new(&config).current();
        let desk = Desk::new(config, DriverKind::Epoll, snapshot, Arc::default(), None);
        let text = desk.metrics();
        let heads: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let counters = Counter::ALL.map(|counter| format!("{} counter", counter.name()));
        let metrics =
            Metric::ALL.map(|metric| format!("{} {}", metric.name(), metric.kind().word()));
        let expected: BTreeSet<&str> =
            counters.iter().chain(&metrics).map(String::as_str).collect();
        assert_eq!(heads.len(), expected.len());
        assert_eq!(heads.into_iter().collect::<BTreeSet<_>>(), expected);
        assert!(text.contains("weir_ready 0\n"), "{text}");
        let up = "weir_backend_up{backend=\"db1\",cluster=\"main\",role=\"replica\"} 0\n";
        assert!(text.contains(up), "{text}");
    }
}
