//! Measures Weir beside HAProxy: `cargo xtask bench`.
//!
//! Purpose: start everything, run the plan, print the tables, write the record.
//! Never: compare figures of different runs or machines.

mod backend;
mod child;
mod consistent;
mod database;
mod idle;
mod plan;
mod record;
mod report;
mod scrape;
mod slice;
mod slow;
mod target;
mod workload;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use weir_benches::machine;
use weir_benches::responder::Responder;
use weir_benches::syscalls::Tool;

use crate::backend::Backend;
use crate::child::{Server, free_address};
use crate::database::{Database, Part};
use crate::idle::Idle;
use crate::plan::{Plan, Results, progress};
use crate::target::{Kind, Places, Target};
use crate::workload::{Behind, Effort, Workload};

/// Load through Weir and HAProxy, interleaved, with the proxies' own accounting.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// Two short rounds, done within two minutes.
    #[arg(long)]
    quick: bool,
    /// Write benches/record/<date>-<machine>.csv.
    #[arg(long, conflicts_with_all = ["only", "targets"])]
    record: bool,
    /// Rounds, instead of 5 (quick: 2).
    #[arg(long)]
    rounds: Option<usize>,
    /// Only workloads whose name contains one of these, or is it after a `=` (idle is one of them).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only targets whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    targets: Vec<String>,
    /// A Weir binary, instead of building one.
    #[arg(long)]
    weir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Role {
    /// The server behind the proxies; started by the benchmark itself.
    #[command(hide = true)]
    Responder {
        /// Where to listen.
        address: SocketAddr,
        /// Offer TLS.
        #[arg(long)]
        tls: bool,
    },
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(Role::Responder { address, tls }) = options.role {
        return Responder::bind(address, tls)?.run();
    }
    let begin = Instant::now();
    let bench = Bench::prepare(&options)?;
    let (report, failed) = bench.run()?;
    writeln!(std::io::stdout().lock(), "{report}\ntook {:.0?}", begin.elapsed())?;
    if failed {
        bail!("some rows failed or saw wrong answers; see the tables");
    }
    Ok(())
}

/// A benchmark about to run.
struct Bench {
    effort: Effort,
    places: Places,
    kinds: Vec<Kind>,
    workloads: Vec<Workload>,
    idle: bool,
    record: Option<PathBuf>,
    tool: Option<Tool>,
}

impl Bench {
    fn prepare(options: &Options) -> anyhow::Result<Self> {
        if cfg!(debug_assertions) {
            bail!("build the benchmark with --release: a slow generator measures itself");
        }
        let mut effort = if options.quick { Effort::QUICK } else { Effort::FULL };
        effort.rounds = options.rounds.unwrap_or(effort.rounds).max(1);
        let wanted = |list: &[String], name: &str| {
            let fits = |part: &String| match part.strip_prefix('=') {
                Some(exact) => name == exact,
                None => name.contains(part.as_str()),
            };
            list.is_empty() || list.iter().any(fits)
        };
        let kinds: Vec<Kind> =
            Kind::ALL.into_iter().filter(|kind| wanted(&options.targets, kind.name())).collect();
        let workloads: Vec<Workload> = workload::all(options.quick)
            .into_iter()
            .filter(|workload| wanted(&options.only, &workload.name))
            .collect();
        let idle = wanted(&options.only, "idle");
        if kinds.is_empty() || (workloads.is_empty() && !idle) {
            bail!("nothing is left to measure: {}", names(options.quick));
        }
        let places = places(options, &kinds)?;
        let tool = Tool::find();
        if tool.is_none() {
            progress("neither perf (linux-perf) nor strace works here: no system calls counted")?;
        }
        let record = options.record.then(|| places.peers.with_file_name("record"));
        Ok(Self { effort, places, kinds, workloads, idle, record, tool })
    }

    /// Measures everything; returns the tables, and whether any row failed.
    fn run(&self) -> anyhow::Result<(String, bool)> {
        let mut results = Results::default();
        let mut patience = self.effort.patience;
        let mut report = self.heading();
        let mut idle = Vec::new();
        if self.has(Behind::Responder) || self.idle {
            let (server, address) = start_responder(&self.places, false)?;
            let backend = Backend::one(server.pid(), address);
            self.group(Behind::Responder, &backend, None, &mut patience, &mut results)?;
            idle = self.idle(&idle::KINDS, &backend)?;
        }
        if self.has(Behind::TlsResponder) {
            let (server, address) = start_responder(&self.places, true)?;
            let backend = Backend::one(server.pid(), address);
            self.group(Behind::TlsResponder, &backend, None, &mut patience, &mut results)?;
        }
        let shares = self.idle && self.kinds.contains(&idle::SHARED);
        if self.has(Behind::MariaDb) || shares {
            progress("starting MariaDB")?;
            let database = Database::start(&self.places.work, Part::Alone)?;
            let backend = Backend::one(database.pid(), database.address);
            self.group(Behind::MariaDb, &backend, None, &mut patience, &mut results)?;
            idle.extend(self.idle(&[idle::SHARED], &backend)?);
        }
        if self.has(Behind::Replicas) {
            progress("starting MariaDB and two replicas")?;
            let (primary, replicas) = Database::start_replicated(&self.places.work)?;
            let backend = Backend::replicated(&primary, &replicas);
            let settle = || primary.wait_replicated(&replicas);
            self.group(Behind::Replicas, &backend, Some(&settle), &mut patience, &mut results)?;
        }
        for workload in &self.workloads {
            report += &report::table(workload, &results);
            report += &consistent::table(workload, &results);
        }
        report += &report::idle_table(&idle);
        report += &report::verdicts(&self.workloads, &results, &idle);
        report += &results.notes();
        if let Some(dir) = &self.record {
            let path = record::write(dir, &self.workloads, &results, &idle)?;
            report += &format!("\nrecorded in {}", path.display());
        }
        Ok((report, results.failed()))
    }

    fn heading(&self) -> String {
        format!(
            "{}: {} rounds of {:?}\nproxies: one thread on CPU 0; generator, responder and \
             MariaDB: any CPU\n±%: half the distance of the extremes; ×ref: against \
             haproxy (1 MiB: haproxy-64k); system calls counted by {}\n",
            machine::name(),
            self.effort.rounds,
            self.effort.slice,
            self.tool.map_or("nothing", Tool::name),
        )
    }

    fn has(&self, behind: Behind) -> bool {
        self.workloads.iter().any(|workload| workload.behind == behind)
    }

    /// Measures all workloads with the same server behind.
    fn group(
        &self,
        behind: Behind,
        backend: &Backend,
        settle: Option<&dyn Fn() -> anyhow::Result<()>>,
        patience: &mut Duration,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        let workloads: Vec<Workload> =
            self.workloads.iter().filter(|workload| workload.behind == behind).cloned().collect();
        let kinds = self
            .kinds
            .iter()
            .filter(|kind| workloads.iter().any(|workload| workload.targets.contains(kind)));
        let targets = kinds
            .map(|kind| Target::start(*kind, backend, &self.places))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut plan = Plan {
            effort: self.effort,
            tool: self.tool,
            backend,
            settle,
            targets: &targets,
            patience,
        };
        plan.run(&workloads, results)
    }

    fn idle(&self, kinds: &[Kind], backend: &Backend) -> anyhow::Result<Vec<Idle>> {
        let mut list = Vec::new();
        if !self.idle {
            return Ok(list);
        }
        let count = idle::clients(&self.places);
        if count < idle::CLIENTS {
            progress(&format!(
                "only {count} idle clients: the limit is {} open files and may not be raised",
                self.places.descriptors
            ))?;
        }
        for kind in kinds.iter().copied().filter(|kind| self.kinds.contains(kind)) {
            progress(&format!("memory of {count} idle clients: {}", kind.name()))?;
            list.push(idle::measure(kind, backend, &self.places)?);
        }
        Ok(list)
    }
}

fn start_responder(places: &Places, tls: bool) -> anyhow::Result<(Server, SocketAddr)> {
    let address = free_address()?;
    let program = std::env::current_exe()?;
    let mut server = Server::start("responder", &program, &places.work, |command| {
        command.arg("responder").arg(address.to_string()).args(tls.then_some("--tls"));
    })?;
    server.wait_until(Duration::from_secs(5), || {
        Ok(std::net::TcpStream::connect(address).map(drop)?)
    })?;
    Ok((server, address))
}

fn places(options: &Options, kinds: &[Kind]) -> anyhow::Result<Places> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let exe = std::env::current_exe()?;
    let profile = exe.parent().context("the program is nowhere")?;
    let target = profile.parent().context("the program is not in a target directory")?;
    let work = target.join("bench");
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let weir = match &options.weir {
        Some(path) => std::path::absolute(path)?,
        None => profile.join("weir"),
    };
    if options.weir.is_none() && kinds.iter().any(|kind| kind.is_weir()) {
        progress("building weir")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--quiet", "--package", "weir", "--target-dir"])
            .arg(target)
            .current_dir(package)
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            bail!("weir does not build");
        }
    }
    let descriptors = machine::raise_descriptors(machine::DESCRIPTORS);
    Ok(Places { peers: package.join("peers"), work, weir, descriptors })
}

fn names(quick: bool) -> String {
    let workloads: Vec<String> =
        workload::all(quick).into_iter().map(|workload| workload.name).collect();
    let targets = Kind::ALL.map(Kind::name);
    format!("workloads are {}, idle; targets are {}", workloads.join(", "), targets.join(", "))
}
