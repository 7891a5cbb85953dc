//! A process's own accounting, from `/proc`.
//!
//! Purpose: what a proxy cost: CPU time, context switches, memory.
//! Never: sample; all figures are counters the kernel keeps anyway.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// CPU time and context switches of all threads since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and kernel time, in nanoseconds.
    pub cpu_ns: u64,
    /// Times a thread gave its CPU up or lost it.
    pub switches: u64,
}

impl Usage {
    /// Of the process `pid`. Threads that ended are missing: proxies keep theirs.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let mut sum = Self::default();
        let mut has_schedstat = true;
        for task in tasks(pid)? {
            if let Some(cpu_ns) = read(&task.join("schedstat")).as_deref().and_then(run_ns) {
                sum.cpu_ns += cpu_ns;
            } else {
                has_schedstat = false;
            }
            sum.switches += read(&task.join("status")).as_deref().map_or(0, switches);
        }
        if !has_schedstat {
            // A kernel without CONFIG_SCHED_INFO: ticks, which is coarse but complete.
            let stat = read(&proc_dir(pid).join("stat")).context("cannot read /proc/PID/stat")?;
            sum.cpu_ns = ticks_ns(&stat).context("malformed /proc/PID/stat")?;
        }
        Ok(sum)
    }

    /// What was used between `earlier` and this.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// Resident memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it, in KiB.
    pub resident_kib: u64,
    /// Without files, in KiB: heap, stacks, buffers.
    pub anonymous_kib: u64,
}

impl Memory {
    /// Of the process `pid`.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = read(&proc_dir(pid).join("status"))
            .with_context(|| format!("cannot read the status of process {pid}"))?;
        Ok(Self {
            resident_kib: field(&status, "VmRSS:").unwrap_or_default(),
            anonymous_kib: field(&status, "RssAnon:").unwrap_or_default(),
        })
    }
}

fn proc_dir(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn tasks(pid: u32) -> anyhow::Result<Vec<PathBuf>> {
    let dir = proc_dir(pid).join("task");
    let entries = std::fs::read_dir(&dir)
        .with_context(|| format!("process {pid} is gone: cannot read {}", dir.display()))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// First field of `schedstat`: nanoseconds on a CPU.
fn run_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn switches(status: &str) -> u64 {
    field(status, "voluntary_ctxt_switches:").unwrap_or_default()
        + field(status, "nonvoluntary_ctxt_switches:").unwrap_or_default()
}

/// The number on the line that begins with `name`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// utime and stime of a `stat` line. They count in USER_HZ, which is 100 on every Linux.
fn ticks_ns(stat: &str) -> Option<u64> {
    const TICK_NS: u64 = 10_000_000;
    // The name may hold spaces; fields are counted from after its closing parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let status = "VmRSS:\t  1234 kB\nRssAnon:\t 99 kB\nvoluntary_ctxt_switches:\t5\n\
                      nonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234));
        assert_eq!(field(status, "Missing:"), None);
        assert_eq!(switches(status), 12);
        assert_eq!(run_ns("502910823 108922 7\n"), Some(502_910_823));
        let stat = "1 (a b) c) S 1 1 1 0 -1 4194560 1 2 3 4 30 20 0 0 20 0 1 0 5";
        assert_eq!(ticks_ns(stat), Some(500_000_000));
    }

    #[test]
    fn own_usage_grows() {
        let pid = std::process::id();
        let before = Usage::of(pid).unwrap();
        let mut sum = 0_u64;
        while Usage::of(pid).unwrap().since(before).cpu_ns < 1_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(Memory::of(pid).unwrap().resident_kib > 0);
        Usage::of(u32::MAX >> 1).unwrap_err();
    }
}
