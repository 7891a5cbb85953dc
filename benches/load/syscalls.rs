//! Counting a process's system calls.
//!
//! Purpose: one number for a short pass of its own; counting slows the process down, so it never
//! runs inside a timed slice.
//! Never: estimate. Without a tool there is no figure.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `perf stat` on the raw_syscalls tracepoint: cheap.
    Perf,
    /// `strace -c`: stops the process twice per call, but needs no tracepoints.
    Strace,
}

impl Tool {
    /// The best tool that works here: it is tried on this process.
    #[must_use]
    pub fn find() -> Option<Self> {
        let pid = std::process::id();
        [Self::Perf, Self::Strace].into_iter().find(|tool| {
            let Ok(counter) = Counter::attach(*tool, pid) else { return false };
            // Something to count while it watches.
            for _ in 0..100 {
                std::thread::sleep(Duration::from_micros(100));
            }
            counter.finish().is_ok_and(|calls| calls >= 100)
        })
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf stat",
            Self::Strace => "strace -c",
        }
    }
}

/// A tool watching a process.
#[derive(Debug)]
pub struct Counter {
    tool: Tool,
    child: Child,
}

impl Counter {
    /// Begins to count the system calls of all threads of `pid`.
    ///
    /// # Errors
    /// The tool cannot be started.
    pub fn attach(tool: Tool, pid: u32) -> anyhow::Result<Self> {
        let pid = pid.to_string();
        let mut command = match tool {
            Tool::Perf => {
                let mut command = Command::new("perf");
                command.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &pid]);
                command
            }
            Tool::Strace => {
                let mut command = Command::new("strace");
                command.args(["-c", "-f", "-p", &pid]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot start {}", tool.name()))?;
        let counter = Self { tool, child };
        std::thread::sleep(ATTACH);
        Ok(counter)
    }

    /// Stops; returns the number of calls.
    ///
    /// # Errors
    /// The tool said nothing that is a count.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process id")?, Signal::INT).context("cannot stop the tool")?;
        let mut text = String::new();
        let pipe = self.child.stderr.as_mut().context("no pipe")?;
        pipe.read_to_string(&mut text).context("cannot read the tool's report")?;
        self.child.wait()?;
        let calls = match self.tool {
            Tool::Perf => perf_count(&text),
            Tool::Strace => strace_count(&text),
        };
        calls.with_context(|| format!("{} gave no count: {}", self.tool.name(), text.trim()))
    }
}

/// `774087,,raw_syscalls:sys_enter,302578529,100.00,,`
fn perf_count(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

/// The line that ends in `total`; its last number is errors if there were any, so the column
/// is counted from the left: percent, seconds, microseconds per call, calls.
fn strace_count(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.trim_end().ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Until the tool has attached: it gives no sign.
const ATTACH: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        assert_eq!(
            perf_count("774087,,raw_syscalls:sys_enter,302578529,100.00,,\n"),
            Some(774_087)
        );
        assert_eq!(perf_count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n\
                      ------ ----------- ----------- --------- --------- ------\n\
                      100.00    0.000094           3        30         2 total\n";
        assert_eq!(strace_count(strace), Some(30));
        assert_eq!(strace_count("strace: attach: no"), None);
    }
}
