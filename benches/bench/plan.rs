//! The order of a run.
//!
//! Purpose: interleave targets so that whatever changes on the machine meets all of them alike,
//! and keep slices that strangers disturbed out of the results.
//! Never: run two loads at once.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use weir_benches::machine::wait_idle;
use weir_benches::syscalls::Tool;

use crate::backend::Backend;
use crate::slice::{self, Figures};
use crate::target::{Kind, Target};
use crate::workload::{Effort, Workload};

/// Everything measured of one workload on one target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// One per round.
    pub(crate) rounds: Vec<Figures>,
    /// Per query, if they could be counted.
    pub(crate) syscalls: Option<f64>,
    /// Why there is nothing, or less.
    pub(crate) failure: Option<String>,
}

/// Results by workload and target.
#[derive(Debug, Default)]
pub(crate) struct Results {
    series: HashMap<(String, Kind), Series>,
    /// Slices that count although strangers used more than [`FOREIGN_SHARE`] of the CPUs.
    disturbed: usize,
    /// The most they used.
    worst_share: f64,
    /// Slices begun although the machine was not idle.
    not_idle: usize,
}

impl Results {
    /// Of one workload on one target.
    pub(crate) fn of(&self, workload: &Workload, kind: Kind) -> Option<&Series> {
        self.series.get(&(workload.name.clone(), kind))
    }

    fn entry(&mut self, workload: &Workload, kind: Kind) -> &mut Series {
        self.series.entry((workload.name.clone(), kind)).or_default()
    }

    /// What readers of the tables should know about the machine.
    pub(crate) fn notes(&self) -> String {
        let slices: usize = self.series.values().map(|series| series.rounds.len()).sum();
        let mut notes = String::new();
        if self.not_idle > 0 {
            notes += &format!(
                "\nnote: the machine was busy before {} of {slices} slices: \
                 run again when it is idle",
                self.not_idle
            );
        }
        if self.disturbed > 0 {
            notes += &format!(
                "\nnote: others used up to {:.0} % of the CPUs during {} of {slices} slices: \
                 do not trust small differences",
                self.worst_share * 100.0,
                self.disturbed
            );
        }
        notes
    }

    /// Something failed or answered wrongly.
    pub(crate) fn failed(&self) -> bool {
        self.series.values().any(|series| {
            series.failure.is_some() || series.rounds.iter().any(|figures| figures.errors > 0)
        })
    }
}

/// Runs workloads over running targets.
pub(crate) struct Plan<'a> {
    /// How long and how often.
    pub(crate) effort: Effort,
    /// What counts system calls.
    pub(crate) tool: Option<Tool>,
    /// What is behind the proxies.
    pub(crate) backend: &'a Backend,
    /// Waits until nothing is left there of the slice before.
    pub(crate) settle: Option<&'a dyn Fn() -> anyhow::Result<()>>,
    /// What is running.
    pub(crate) targets: &'a [Target],
    /// Left of the effort's patience.
    pub(crate) patience: &'a mut Duration,
}

impl<'a> Plan<'a> {
    /// Runs every workload that is asked of the running targets.
    pub(crate) fn run(
        &mut self,
        workloads: &[Workload],
        results: &mut Results,
    ) -> anyhow::Result<()> {
        for round in 0..self.effort.rounds {
            for workload in workloads {
                progress(&format!(
                    "round {} of {}: {}",
                    round + 1,
                    self.effort.rounds,
                    workload.title
                ))?;
                let targets = self.targets_of(workload);
                // Another target goes first in each round.
                let split = round % targets.len().max(1);
                let (later, first) = targets.split_at(split);
                for target in first.iter().chain(later) {
                    self.slice(workload, target, results)?;
                }
            }
        }
        let Some(tool) = self.tool else { return Ok(()) };
        for workload in workloads {
            progress(&format!("system calls: {}", workload.title))?;
            for target in self.targets_of(workload) {
                let series = results.entry(workload, target.kind);
                if series.failure.is_some() {
                    continue;
                }
                match slice::count_syscalls(workload, target, tool) {
                    Ok(count) => series.syscalls = count,
                    Err(error) => series.failure = Some(failure(target, &error)),
                }
            }
        }
        Ok(())
    }

    fn targets_of(&self, workload: &Workload) -> Vec<&'a Target> {
        let wanted = workload.targets;
        self.targets.iter().filter(|target| wanted.contains(&target.kind)).collect()
    }

    /// One slice, repeated while strangers disturb it and patience lasts.
    fn slice(
        &mut self,
        workload: &Workload,
        target: &Target,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        if results.entry(workload, target.kind).failure.is_some() {
            return Ok(());
        }
        loop {
            if let Some(settle) = self.settle {
                settle()?;
            }
            self.wait_idle(results)?;
            let begin = Instant::now();
            let figures = match slice::measure(workload, target, &self.backend.pids, self.effort) {
                Ok(figures) => figures,
                Err(error) => {
                    let series = results.entry(workload, target.kind);
                    series.failure = Some(failure(target, &error));
                    return Ok(());
                }
            };
            let disturbed = figures.foreign_share > FOREIGN_SHARE;
            if disturbed && !self.patience.is_zero() {
                *self.patience = self.patience.saturating_sub(begin.elapsed());
                continue;
            }
            if disturbed {
                results.disturbed += 1;
                results.worst_share = results.worst_share.max(figures.foreign_share);
            }
            results.entry(workload, target.kind).rounds.push(figures);
            return Ok(());
        }
    }

    fn wait_idle(&mut self, results: &mut Results) -> anyhow::Result<()> {
        let begin = Instant::now();
        let waited = wait_idle(*self.patience)?;
        if waited != Some(Duration::ZERO) {
            *self.patience = self.patience.saturating_sub(begin.elapsed());
        }
        results.not_idle += usize::from(waited.is_none());
        Ok(())
    }
}

fn failure(target: &Target, error: &anyhow::Error) -> String {
    let log = target.log_tail();
    if log.is_empty() { format!("{error:#}") } else { format!("{error:#}; its log ends:\n{log}") }
}

/// One line about what is going on.
pub(crate) fn progress(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr().lock(), "bench: {line}")?)
}

/// Share of all CPUs strangers may use during a slice.
const FOREIGN_SHARE: f64 = 0.10;
