//! Every metric, with its type, its labels and its text: the one table.
//!
//! Purpose: the page Prometheus reads and the reference page both come from here and from the
//! counters' table, so neither can disagree.
//! Never: hold a value.

use super::counters::Counter;
use super::latency::BUCKETS;

/// How a metric's values are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, by upper bound.
    Histogram,
}

impl MetricKind {
    /// The word of the text format.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($($metric:ident, $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)+) => {
        /// What is shown besides [`Counter`]s.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $help] $metric,)+
        }

        impl Metric {
            /// All of them, in the order they are printed.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$metric),+];

            /// The name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$metric => $name,)+
                }
            }

            /// The type.
            #[must_use]
            pub const fn kind(self) -> MetricKind {
                match self {
                    $(Self::$metric => MetricKind::$kind,)+
                }
            }

            /// The labels each value has.
            #[must_use]
            pub const fn labels(self) -> &'static [&'static str] {
                match self {
                    $(Self::$metric => &[$($label),*],)+
                }
            }

            /// What it means, as sentences.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$metric => $help,)+
                }
            }
        }
    };
}

metrics! {
    BuildInfo, "weir_build_info", Gauge, ["version", "commit", "driver"], "Always 1; the labels say what runs.";
    StartTime, "process_start_time_seconds", Gauge, [], "When the process started, in seconds since 1970.";
    Resident, "process_resident_memory_bytes", Gauge, [], "Memory of the process that is in RAM.";
    ThreadCpu, "weir_thread_cpu_seconds_total", Counter, ["thread"], "CPU time of the control thread and of each worker. A worker near 1 per second has no CPU left.";
    Ready, "weir_ready", Gauge, [], "1 if /readyz says 200.";
    WorkerResponsive, "weir_worker_responsive", Gauge, ["worker"], "1 if the worker gave its figures for this page; 0 if it has ended or was busy for 2 s: then those of an earlier page are shown.";
    Sessions, "weir_sessions", Gauge, ["worker"], "Client sessions open, those logging in included.";
    SessionPins, "weir_session_pins", Gauge, ["reason"], "Sessions that keep a shared connection, by reason: docs/pooling.md.";
    SessionPinsBegun, "weir_session_pins_total", Counter, ["reason"], "Times sessions got a reason to keep a shared connection.";
    SessionsLoggingIn, "weir_sessions_logging_in", Gauge, ["worker"], "Client sessions that are logging in.";
    RememberedUsers, "weir_remembered_users", Gauge, [], "Accounts whose password a client has told and a backend has taken.";
    RememberedUsersEvicted, "weir_remembered_users_evicted_total", Counter, [], "Accounts no longer remembered because remembered_users_max others came.";
    BackendUp, "weir_backend_up", Gauge, ["backend", "cluster", "role"], "1 if the last probe reached the backend. The role is the one in force.";
    BackendsFound, "weir_backends_found", Gauge, ["cluster"], "Backends that were found from the primary, up to discover_max, where discover is on.";
    BackendServesReads, "weir_backend_serves_reads", Gauge, ["backend"], "1 if reads may go to the backend: it is reached and, unless it is the primary, its replication runs.";
    BackendReadOnly, "weir_backend_read_only", Gauge, ["backend"], "1 if the backend refuses writes, as it said last.";
    BackendReplicates, "weir_backend_replication_running", Gauge, ["backend"], "1 if replication runs on the backend, 0 if it does not; absent where none is set up.";
    BackendLag, "weir_backend_lag_seconds", Gauge, ["backend"], "How far the backend is behind the primary; absent while nobody knows, as when replication stands still.";
    BackendGtidBehind, "weir_backend_gtid_behind", Gauge, ["backend"], "Transactions of the primary, as of its last probe, that the backend did not have in its own; absent without GTIDs.";
    BackendProbes, "weir_backend_probes_total", Counter, ["backend"], "Probes of the backend, since its address was configured.";
    BackendProbesFailed, "weir_backend_probes_failed_total", Counter, ["backend"], "Probes of the backend that it did not answer in time, or not at all.";
    BackendRoleChanges, "weir_backend_role_changes_total", Counter, ["backend"], "Changes of the backend's role.";
    BackendConnections, "weir_backend_connections", Gauge, ["backend"], "Connections to the backend besides the probe's, those logging in and idle ones included.";
    BackendIdle, "weir_backend_connections_idle", Gauge, ["backend"], "Connections to the backend that wait for the next client, or are made as good as new for it.";
    BackendLeases, "weir_backend_leases_total", Counter, ["backend"], "Times a shared connection to the backend was lent to a session: for a statement or a transaction.";
    CommandsRouted, "weir_commands_routed_total", Counter, ["endpoint", "nodes", "reason"], "Commands of endpoints that split, by where they went (primary or replicas) and why: docs/routing.md.";
    ConsistentReads, "weir_consistent_reads_total", Counter, ["endpoint", "outcome"], "Times a server was chosen for reads that have to see what was written: it was known to have that (current), it was waited for (waited), or the primary was asked instead (primary): docs/consistency.md.";
    RuleMatches, "weir_rule_matches_total", Counter, ["rule"], "Statements a rule had a say in: docs/rules.md.";
    RuleRejected, "weir_rule_rejected_total", Counter, ["rule"], "Statements refused because of a rule: by reject, or over its limit.";
    RuleWaits, "weir_rule_waits_total", Counter, ["rule"], "Statements that had to wait because of a rule.";
    RuleRunning, "weir_rule_running", Gauge, ["rule"], "Statements under way that count for a rule's concurrent.";
    RuleWaiting, "weir_rule_waiting", Gauge, ["rule"], "Statements that wait for a rule's concurrent.";
    BackendShipped, "weir_backend_connections_shipped_total", Counter, ["backend"], "Times an idle connection to the backend went to another worker, where a session waited for connections_max.";
    Errors, "weir_errors_total", Counter, ["side", "code"], "Errors clients were shown, by MySQL error number, of the backend or of Weir itself. Numbers past the first 64 of a side are other.";
    CommandDuration, "weir_command_duration_seconds", Histogram, ["endpoint"], "Time of commands as clients see it, from a command's first byte to the last byte of its answer, without the network to the client.";
    LoginDuration, "weir_login_duration_seconds", Histogram, ["endpoint"], "Time of client logins that succeeded, from accept to the answer.";
    CausalWaitDuration, "weir_causal_wait_duration_seconds", Histogram, ["endpoint"], "Time reads waited on a replica for what they have to see.";
    BackendLoginDuration, "weir_backend_login_duration_seconds", Histogram, ["backend"], "Time of logins on the backend that succeeded, from connect to the answer.";
    DriverConnections, "weir_driver_connections", Gauge, [], "Sockets of workers, client and backend, those flushing before close included.";
    SmallBuffers, "weir_small_buffers", Gauge, ["state"], "Small receive buffers, free or used.";
    LargeBuffersUsed, "weir_large_buffers_used", Gauge, [], "Large receive buffers handed out.";
    SpilledBytes, "weir_spilled_bytes", Gauge, [], "Bytes waiting for peers that read slowly.";
    BufferStarvations, "weir_buffer_starvations_total", Counter, [], "Times receiving stopped because no small buffer was free: raise receive_buffers.";
    Turns, "weir_turns_total", Counter, [], "Turns of the workers' loops; each waits at most once.";
    LogSuppressed, "weir_log_lines_suppressed_total", Counter, [], "Log lines left out because more than 10 a second came from one place.";
    LogDropped, "weir_log_lines_dropped_total", Counter, [], "Log lines lost because standard error was not read fast enough.";
    ScrapeTimeouts, "weir_scrape_timeouts_total", Counter, ["worker"], "Times a worker did not give its figures for a page within 2 s.";
}

/// The reference page, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    let bounds: Vec<&str> = BUCKETS.iter().map(|(seconds, _)| *seconds).collect();
    text.push_str(&format!("Buckets of histograms end at {} seconds.\n", bounds.join(", ")));
    text.push_str("\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for metric in Metric::ALL {
        let labels: Vec<String> =
            metric.labels().iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (metric.kind().word(), labels.join(", "));
        text.push_str(&format!(
            "| `{}` | {kind} | {labels} | {} |\n",
            metric.name(),
            metric.help()
        ));
    }
    for counter in Counter::ALL {
        text.push_str(&format!("| `{}` | counter | | {} |\n", counter.name(), counter.help()));
    }
    text
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from the table of metrics by `cargo xtask docs`; do not edit. -->

Weir serves these pages on `[admin]` `listen`, http://127.0.0.1:6032 unless configured otherwise:

| Page | Content |
|---|---|
| `/metrics` | Everything below, in Prometheus' text format 0.0.4. |
| `/explain?sql=STATEMENT` | Where a statement would go now, and why: docs/routing.md. Also POST with the statement as the body; `endpoint=NAME`, `sql_mode=MODES`, `format=json`. |
| `/histograms` | Every latency histogram since the start, in the HDR V2 log format, in microseconds with two significant digits. Intervals of several nodes with the same tag can be added: `command:ENDPOINT`, `login:ENDPOINT`, `backend-login:BACKEND`. |
| `/sessions` | What sessions there are, up to 1,000 of each worker, in JSON: who, from where, on which backend connection, what they have set and why they keep their connection. `/sessions?id=NUMBER` shows one. No values of user variables, no statements. |
| `/healthz` | 200 while the process serves. |
| `/readyz` | 200 when the primary of every cluster has been reached and Weir is not draining, otherwise 503 and the reason. |

```sh
curl http://127.0.0.1:6032/metrics
```

There is no password: the pages show names of backends, endpoints and accounts, addresses of clients and backends, and counts.
Whoever reads `/metrics` never stops a worker: each copies its figures in its next turn, at most 20 times a second.
Counts and histograms are those of the process since its start, over all workers.
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let counters = Counter::ALL.into_iter().map(Counter::name);
        let names: BTreeSet<&str> =
            Metric::ALL.map(Metric::name).into_iter().chain(counters).collect();
        assert_eq!(names.len(), Metric::ALL.len() + Counter::ALL.len());
        for metric in Metric::ALL {
            let name = metric.name();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}");
            assert!(name.starts_with("weir_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == MetricKind::Counter, "{name}");
            let in_seconds = metric.kind() == MetricKind::Histogram;
            assert!(!in_seconds || name.ends_with("_seconds"), "{name}");
            assert!(metric.help().ends_with('.') && !metric.help().contains(['\n', '|']), "{name}");
            assert!(metric.labels().iter().all(|label| label.bytes().all(plain)), "{name}");
            assert!(!metric.labels().contains(&"le"), "{name}");
        }
    }

    #[test]
    fn the_committed_page_is_up_to_date() {
        let committed = include_str!("../../../docs/metrics.md");
        assert!(committed == reference(), "docs/metrics.md is stale; run: cargo xtask docs");
    }
}
