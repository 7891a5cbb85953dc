//! Counters without locks: one set per worker, added up by whoever reads.
//!
//! Purpose: count every query for the price of two moves and an addition.
//! Never: let two threads write one set, or hand out a sum that goes backwards.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Blame;

macro_rules! counters {
    ($($name:ident, $metric:literal, $help:literal;)+) => {
        /// What is counted. Each only ever grows while the process lives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Counter {
            $(#[doc = $help] $name,)+
        }

        impl Counter {
            /// All counters, in the order they are printed.
            pub const ALL: [Self; [$($metric),+].len()] = [$(Self::$name),+];

            /// The name in Prometheus' text format.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("weir_", $metric, "_total"),)+
                }
            }

            /// What it counts, as a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self {
                    $(Self::$name => $help,)+
                }
            }
        }
    };
}

counters! {
    ClientsAccepted, "clients_accepted", "Client connections accepted.";
    ClientsRefused, "clients_refused", "Client connections refused before their login, for a limit or without a primary.";
    LoginsOk, "logins_ok", "Clients that logged in.";
    LoginsDenied, "logins_denied", "Clients whose account or password was wrong.";
    SealedPasswordsOpened, "sealed_passwords_opened", "Passwords that clients sealed for Weir's RSA key, opened.";
    SealedPasswordsRefused, "sealed_passwords_refused", "Logins refused because sealed_passwords_max passwords waited to be opened.";
    LoginTimeouts, "login_timeouts", "Clients dropped for login_timeout_ms.";
    HostsBlocked, "hosts_blocked", "Addresses blocked for host_errors_max.";
    ProxyHeaders, "proxy_headers", "PROXY headers taken from balancers.";
    ProxyHeadersMalformed, "proxy_headers_malformed", "Connections ended because they began with something else than a PROXY header, which was expected of their address, or with a malformed one.";
    ProxyHeadersIncomplete, "proxy_headers_incomplete", "Connections that ended inside of their PROXY header, or were ended because none came within login_timeout_ms.";
    SessionsClosed, "sessions_closed", "Sessions that ended, for whatever reason.";
    ClientFaults, "client_faults", "Sessions ended because the client broke the protocol or went away.";
    BackendFaults, "backend_faults", "Sessions ended because the backend broke the protocol, refused or went away.";
    LimitFaults, "limit_faults", "Sessions ended because a limit of the configuration was reached.";
    Bugs, "bugs", "Sessions ended by an impossible state of Weir itself: please report them.";
    Commands, "commands", "Commands received from clients.";
    Replies, "replies", "Replies completely received from backends.";
    ReplyErrors, "reply_errors", "Replies that ended in an error of the backend.";
    BytesFromClients, "bytes_from_clients", "Bytes received from clients.";
    BytesFromBackends, "bytes_from_backends", "Bytes received from backends.";
    BackendConnects, "backend_connects", "Connections to backends that were established.";
    BackendConnectFailures, "backend_connect_failures", "Connections to backends that failed or took too long.";
    BackendLogins, "backend_logins", "Logins on backends that succeeded.";
    BackendLoginFailures, "backend_login_failures", "Logins on backends that failed or took too long.";
    BackendMadeAhead, "backend_made_ahead", "Connections made for idle_min, before anybody needed them.";
    BackendInitFailures, "backend_init_failures", "Connections closed because their init_query failed.";
    BackendReuses, "backend_reuses", "Logins of clients that got a connection which was there already.";
    BackendTunings, "backend_tunings", "Times a shared connection was set to what its next session had set.";
    BackendDenials, "backend_denials", "Commands answered with an error because their session could not have a shared connection.";
    SessionsSilent, "sessions_silent", "Sessions ended because their client was silent for longer than wait_timeout, without a backend connection.";
    ReadsRepeated, "reads_repeated", "Reads that a replica refused, or did not answer because its connection ended, and that another server was asked.";
    PositionsLost, "positions_lost", "Times a session's position, acknowledged by a primary, was missing on the primary that came after it: writes were lost.";
    CommandsLocal, "commands_local", "Commands of clients without a backend connection that Weir answered itself: COM_PING, COMMIT outside of a transaction, SETs of what is so already, and the like.";
    BackendPrepares, "backend_prepares", "Prepared statements that Weir prepared again, on a connection that did not have them.";
    BackendRecycled, "backend_recycled", "Connections made as good as new after their client left.";
    BackendSpoiled, "backend_spoiled", "Connections closed because they could not be made as good as new.";
    BackendExpired, "backend_expired", "Idle connections closed for idle_backend_ms_max or backend_age_ms_max.";
    BackendPings, "backend_pings", "Times the server of an idle connection was asked whether it is still there.";
    BackendPingFailures, "backend_ping_failures", "Idle connections closed because their server did not answer that, or not in time.";
    BackendYielded, "backend_yielded", "Idle connections closed because somebody waited for connections_max.";
    BackendLostIdle, "backend_lost_idle", "Idle connections that their server closed.";
    BackendWaits, "backend_waits", "Times a session had to wait for connections_max or backend_handshakes_max.";
    BackendWaitsRefused, "backend_waits_refused", "Sessions and commands answered with error 1040 at once because lease_waiters_max others waited.";
    BackendWaitTimeouts, "backend_wait_timeouts", "Sessions ended because they waited longer than lease_wait_ms.";
    BackPressurePauses, "back_pressure_pauses", "Times one side was not read because the other was slower.";
    TlsClientHandshakes, "tls_client_handshakes", "TLS handshakes with clients that succeeded.";
    TlsClientResumptions, "tls_client_resumptions", "TLS handshakes with clients that resumed an earlier session.";
    TlsClientFailures, "tls_client_failures", "TLS handshakes with clients that failed or were broken off.";
    TlsBackendHandshakes, "tls_backend_handshakes", "TLS handshakes with backends that succeeded.";
    TlsBackendResumptions, "tls_backend_resumptions", "TLS handshakes with backends that resumed an earlier session.";
    TlsBackendFailures, "tls_backend_failures", "TLS handshakes with backends that failed or were broken off.";
    CompressedBytesReceived, "compressed_bytes_received", "Bytes received on compressed connections, as they came.";
    UncompressedBytesReceived, "uncompressed_bytes_received", "Bytes received on compressed connections, decompressed.";
    CompressedBytesSent, "compressed_bytes_sent", "Bytes sent on compressed connections, as they left.";
    UncompressedBytesSent, "uncompressed_bytes_sent", "Bytes sent on compressed connections, before they were compressed.";
    DrainClosed, "drain_closed", "Sessions closed because Weir was stopping.";
}

impl From<Blame> for Counter {
    fn from(blame: Blame) -> Self {
        match blame {
            Blame::Client => Self::ClientFaults,
            Blame::Backend => Self::BackendFaults,
            Blame::Limit => Self::LimitFaults,
            Blame::Bug => Self::Bugs,
        }
    }
}

/// One worker's counters. Only that worker adds; anyone reads.
// Two cache lines: the neighbour line is fetched along, and another worker's set may lie there.
#[repr(align(128))]
pub struct Counters {
    values: [AtomicU64; Counter::ALL.len()],
}

impl Counters {
    /// All at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { values: [const { AtomicU64::new(0) }; Counter::ALL.len()] }
    }

    /// Counts `amount` more. Only the worker that owns the set may call it: it is a load and a
    /// store, not a locked addition, and of two threads one would lose its count.
    pub fn add(&self, counter: Counter, amount: u64) {
        if let Some(value) = self.values.get(counter as usize) {
            value.store(value.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        }
    }

    /// Counts one more; as [`Counters::add`].
    pub fn increment(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// The count so far. Counters read one after the other may be some events apart.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        self.values.get(counter as usize).map_or(0, |value| value.load(Ordering::Relaxed))
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        sum_of(std::iter::once(self)).fmt(f)
    }
}

/// Counts at one moment, added up over workers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    values: [u64; Counter::ALL.len()],
}

impl Totals {
    /// The count of one counter.
    #[must_use]
    pub fn read(&self, counter: Counter) -> u64 {
        self.values.get(counter as usize).copied().unwrap_or(0)
    }

    /// All counts, in the order they are printed.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.into_iter().zip(self.values)
    }
}

impl fmt::Debug for Totals {
    /// Only what was counted: most of a short life is zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().filter(|(_, count)| *count != 0)).finish()
    }
}

/// The counts of all workers together.
#[must_use]
pub fn sum(workers: &[Arc<Counters>]) -> Totals {
    sum_of(workers.iter().map(AsRef::as_ref))
}

fn sum_of<'c>(workers: impl Iterator<Item = &'c Counters>) -> Totals {
    let mut values = [0_u64; Counter::ALL.len()];
    for worker in workers {
        for (total, value) in values.iter_mut().zip(&worker.values) {
            *total = total.wrapping_add(value.load(Ordering::Relaxed));
        }
    }
    Totals { values }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_counter_has_a_place_and_a_name_of_its_own() {
        let counters = Counters::new();
        for (counter, amount) in Counter::ALL.into_iter().zip(1..) {
            counters.add(counter, amount);
        }
        for (counter, amount) in Counter::ALL.into_iter().zip(1..) {
            assert_eq!(counters.read(counter), amount, "{counter:?}");
        }
        let names: BTreeSet<&str> = Counter::ALL.into_iter().map(Counter::name).collect();
        assert_eq!(names.len(), Counter::ALL.len());
        for counter in Counter::ALL {
            let name = counter.name();
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}");
            assert!(name.starts_with("weir_") && name.ends_with("_total"), "{name}");
            assert!(counter.help().ends_with('.') && !counter.help().contains('\n'), "{name}");
        }
    }

    #[test]
    fn workers_are_added_up_while_they_count() {
        const EVENTS: u64 = 10_000;
        let workers = [Arc::new(Counters::new()), Arc::new(Counters::new())];
        let threads = workers.clone().map(|counters| {
            std::thread::spawn(move || {
                for _ in 0..EVENTS {
                    counters.increment(Counter::Commands);
                    counters.add(Counter::BytesFromClients, 100);
                }
            })
        });
        let mut before = sum(&workers);
        while threads.iter().any(|thread| !thread.is_finished()) {
            let now = sum(&workers);
            for (counter, count) in now.iter() {
                assert!(count >= before.read(counter), "{counter:?} went backwards");
            }
            before = now;
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let totals = sum(&workers);
        assert_eq!(totals.read(Counter::Commands), 2 * EVENTS);
        assert_eq!(totals.read(Counter::BytesFromClients), 200 * EVENTS);
        assert_eq!(totals.read(Counter::Bugs), 0);
        assert_eq!(
            format!("{totals:?}"),
            format!("{{Commands: {}, BytesFromClients: {}}}", 2 * EVENTS, 200 * EVENTS)
        );
    }

    #[test]
    fn sets_share_no_cache_line() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>() % 128, 0);
    }

    #[test]
    fn every_blame_is_counted_apart() {
        let blames = [Blame::Client, Blame::Backend, Blame::Limit, Blame::Bug];
        let counters: BTreeSet<Counter> = blames.into_iter().map(Counter::from).collect();
        assert_eq!(counters.len(), blames.len());
    }
}
