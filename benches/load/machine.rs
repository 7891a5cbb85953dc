//! The machine the load runs on.
//!
//! Purpose: a name records are compared under, CPU pinning, descriptor limits, and whether
//! anybody else is using the CPUs.
//! Never: put a host name or an address into a record.

use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// CPU model, number of CPUs and kernel, in characters fit for a file name.
#[must_use]
pub fn name() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("unknown-cpu", |(_, model)| model);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    sanitized(model, cpus(), &kernel)
}

fn sanitized(model: &str, cpus: usize, kernel: &str) -> String {
    // Of the kernel only the numbers: local suffixes may name people and places.
    let kernel: String = kernel.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let text = format!("{} {cpus}cpu linux-{kernel}", model.trim());
    let mut name = String::with_capacity(text.len());
    for c in text.to_ascii_lowercase().chars() {
        if c.is_ascii_alphanumeric() || c == '.' {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_matches('-').to_owned()
}

/// CPUs this process may use.
#[must_use]
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Pins the calling thread, and what it starts from here on, to one CPU.
///
/// # Errors
/// The CPU does not exist or may not be used.
pub fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot pin to CPU {cpu}"))
}

/// Runs `work` with the calling thread, and so the processes it starts, pinned to one CPU.
///
/// # Errors
/// Pinning fails, or `work` does.
pub fn pinned<T>(cpu: usize, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let before = sched_getaffinity(None).context("cannot ask for the CPUs of this thread")?;
    pin(cpu)?;
    let result = work();
    sched_setaffinity(None, &before).context("cannot undo the pinning")?;
    result
}

/// Lets this process, and those it starts, open `wanted` descriptors, or as many as it may;
/// returns how many that are.
#[must_use]
pub fn raise_descriptors(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let soft = now.current.unwrap_or(u64::MAX);
    // First the hard limit too, which root without CAP_SYS_RESOURCE (containers) may not raise.
    for limit in [wanted, wanted.min(hard)] {
        let raised = Rlimit { current: Some(limit), maximum: Some(hard.max(limit)) };
        if soft < limit && setrlimit(Resource::Nofile, raised).is_ok() {
            return limit;
        }
    }
    soft
}

/// CPU time of the whole machine since it started, in ticks of 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    busy: u64,
    all: u64,
}

impl Busy {
    /// Now.
    ///
    /// # Errors
    /// `/proc/stat` is missing or malformed.
    pub fn now() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&stat).context("malformed /proc/stat")
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Vec<u64> = line.split_whitespace().map_while(|f| f.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests are counted in user already.
        let all = fields.iter().take(8).sum();
        let idle: u64 = fields.get(3..5)?.iter().sum();
        Some(Self { busy: all - idle, all })
    }

    /// CPU seconds used, by anybody or taken by the hypervisor, since `earlier`.
    fn seconds_since(self, earlier: Self) -> f64 {
        Duration::from_millis(10 * (self.busy - earlier.busy)).as_secs_f64()
    }

    /// Share of all CPUs since `earlier`, 0 to 1, used by others than those known to have used
    /// `known` of it.
    #[must_use]
    pub fn share_since(self, earlier: Self, known: Duration) -> f64 {
        let all = Duration::from_millis(10 * (self.all - earlier.all)).as_secs_f64();
        let others = self.seconds_since(earlier) - known.as_secs_f64();
        if all == 0.0 { 0.0 } else { (others / all).max(0.0) }
    }
}

/// Waits until the machine is idle; returns the time that took beyond the first look, or `None`
/// if it was still busy after `patience`.
///
/// # Errors
/// `/proc/stat` is missing or malformed.
pub fn wait_idle(patience: Duration) -> anyhow::Result<Option<Duration>> {
    let begin = Instant::now();
    let mut waited = Duration::ZERO;
    loop {
        let before = Busy::now()?;
        std::thread::sleep(LOOK);
        if Busy::now()?.share_since(before, Duration::ZERO) <= IDLE_SHARE {
            return Ok(Some(waited));
        }
        waited = begin.elapsed();
        if waited >= patience {
            return Ok(None);
        }
    }
}

/// Descriptors asked for: a proxy needs two per client.
pub const DESCRIPTORS: u64 = 65_536;
/// How long the CPUs are watched before they count as idle: ten ticks each.
const LOOK: Duration = Duration::from_millis(100);
/// Busy share up to which the machine counts as idle: one tick of CPU time is 5 % of a look at
/// two CPUs, and one is always lost to the kernel's own chores.
const IDLE_SHARE: f64 = 0.11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_clean() {
        let name = sanitized(" AMD EPYC(tm) 9R14 ", 2, "6.18.44-build@host #1\n");
        assert_eq!(name, "amd-epyc-tm-9r14-2cpu-linux-6.18.44");
    }

    #[test]
    fn busy_counts_steal_but_not_iowait() {
        let before = Busy::parse("cpu  100 0 50 1000 10 0 5 1 0 0\n").unwrap();
        let after = Busy::parse("cpu  130 0 60 1040 20 0 5 11 0 0\n").unwrap();
        assert!((after.seconds_since(before) - 0.5).abs() < 1e-9);
        assert!((after.share_since(before, Duration::ZERO) - 0.5).abs() < 1e-9);
        assert!((after.share_since(before, Duration::from_millis(300)) - 0.2).abs() < 1e-9);
        assert_eq!(Busy::parse("intr 1\n"), None);
    }

    #[test]
    fn pinning_ends_with_the_work() {
        let before = sched_getaffinity(None).unwrap().count();
        let inside = pinned(0, || Ok(sched_getaffinity(None)?.count())).unwrap();
        assert_eq!(inside, 1);
        assert_eq!(sched_getaffinity(None).unwrap().count(), before);
    }
}
