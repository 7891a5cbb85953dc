//! What a worker keeps of itself besides counters.
//!
//! Purpose: figures that have a name: by endpoint, by backend, by error number.
//! Never: be shared: a worker owns its figures and hands out copies.

use std::sync::Arc;

use super::errors::ErrorCodes;
use super::latency::Latency;
use crate::base::{BackendId, EndpointId};

/// One endpoint's times.
#[derive(Clone, Debug)]
pub struct EndpointFigures {
    /// Its name.
    pub name: Arc<str>,
    /// From a command's first byte to its answer's end.
    pub commands: Latency,
    /// From accept to the end of the login.
    pub logins: Latency,
    /// Commands of a split that went to the primary, and to replicas, by reason.
    pub routed: [[u64; ROUTES_MAX]; 2],
    /// Reads that had to see what was written, by [`ReadOutcome`].
    pub consistent: [u64; ReadOutcome::ALL.len()],
    /// How long replicas were waited for.
    pub waits: Latency,
}

/// What came of a read that has to see what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Its server was known to have it.
    Current,
    /// A replica was waited for, and had it in time.
    Waited,
    /// The primary was asked.
    Primary,
}

impl ReadOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Current, Self::Waited, Self::Primary];

    /// For labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Waited => "waited",
            Self::Primary => "primary",
        }
    }
}

/// Room for reasons why commands go where they go.
pub const ROUTES_MAX: usize = 64;

/// One backend's connections.
#[derive(Clone, Debug)]
pub struct BackendFigures {
    /// Its name.
    pub name: Arc<str>,
    /// Connections to it that are open, those still logging in included.
    pub connections: u64,
    /// Those of them that no session uses.
    pub idle: u64,
    /// Times one was lent to a session.
    pub leases: u64,
    /// Times one went to another worker.
    pub shipped: u64,
    /// From connect to the end of the login.
    pub logins: Latency,
}

/// One reason to keep a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct PinFigures {
    /// Sessions that have it now.
    pub held: u64,
    /// Times it began.
    pub begun: u64,
}

/// Figures of one worker, or the sum of several.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// In the configuration's order.
    pub endpoints: Vec<EndpointFigures>,
    /// In the configuration's order.
    pub backends: Vec<BackendFigures>,
    /// Reasons for which sessions keep their shared connections, by the bits of their sets.
    pub pins: [PinFigures; u32::BITS as usize],
    /// Errors of backends that clients were shown.
    pub backend_errors: ErrorCodes,
    /// Weir's own errors.
    pub own_errors: ErrorCodes,
}

impl Figures {
    /// Takes the names of a configuration, by position. What has the same name as before keeps its
    /// figures; what is not listed any more is forgotten.
    pub fn adopt<'n>(
        &mut self,
        endpoints: impl Iterator<Item = &'n str>,
        backends: impl Iterator<Item = &'n str>,
    ) {
        let mut old = std::mem::take(self);
        self.endpoints = endpoints
            .map(|name| match old.endpoints.iter().position(|known| *known.name == *name) {
                Some(place) => old.endpoints.swap_remove(place),
                None => EndpointFigures::new(name.into()),
            })
            .collect();
        self.backends = backends
            .map(|name| match old.backends.iter().position(|known| *known.name == *name) {
                Some(place) => old.backends.swap_remove(place),
                None => BackendFigures::new(name.into()),
            })
            .collect();
        self.pins = old.pins;
        self.backend_errors = old.backend_errors;
        self.own_errors = old.own_errors;
    }

    /// Sets everything to the sum of these. Names appear in the order they are first met.
    pub fn set_to_sum<'f>(&mut self, parts: impl Iterator<Item = &'f Self> + Clone) {
        self.endpoints.clear();
        self.backends.clear();
        for part in parts.clone() {
            for other in &part.endpoints {
                let known = self.endpoints.iter_mut().find(|known| known.name == other.name);
                let Some(sum) = known else {
                    self.endpoints.push(other.clone());
                    continue;
                };
                sum.commands.add(&other.commands);
                for (sums, others) in sum.routed.iter_mut().zip(&other.routed) {
                    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
                }
                sum.logins.add(&other.logins);
                sum.waits.add(&other.waits);
                let counts = sum.consistent.iter_mut().zip(&other.consistent);
                counts.for_each(|(sum, other)| *sum += other);
            }
            for other in &part.backends {
                let known = self.backends.iter_mut().find(|known| known.name == other.name);
                let Some(sum) = known else {
                    self.backends.push(other.clone());
                    continue;
                };
                sum.connections += other.connections;
                sum.idle += other.idle;
                sum.leases += other.leases;
                sum.shipped += other.shipped;
                sum.logins.add(&other.logins);
            }
        }
        for (place, sum) in self.pins.iter_mut().enumerate() {
            let of_parts = parts.clone().filter_map(|part| part.pins.get(place));
            *sum = of_parts.fold(PinFigures::default(), |sum, part| PinFigures {
                held: sum.held + part.held,
                begun: sum.begun + part.begun,
            });
        }
        self.backend_errors.set_to_sum(parts.clone().map(|part| &part.backend_errors));
        self.own_errors.set_to_sum(parts.map(|part| &part.own_errors));
    }

    /// So many times a session got this set of reasons to keep its connection.
    pub fn pinned(&mut self, pins: u32, times: u32) {
        for figures in self.pins_of(pins) {
            figures.held += u64::from(times);
            figures.begun += u64::from(times);
        }
    }

    /// So many times a session lost these reasons.
    pub fn unpinned(&mut self, pins: u32, times: u32) {
        for figures in self.pins_of(pins) {
            figures.held = figures.held.saturating_sub(u64::from(times));
        }
    }

    fn pins_of(&mut self, pins: u32) -> impl Iterator<Item = &mut PinFigures> {
        let all = (0..u32::BITS).zip(&mut self.pins);
        all.filter(move |(place, _)| pins >> place & 1 != 0).map(|(_, figures)| figures)
    }

    /// So many commands of a client were answered, each after so many nanoseconds.
    pub fn commands(&mut self, endpoint: EndpointId, nanos: u64, times: u32) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint.index()) {
            endpoint.commands.record(nanos, times);
        }
    }

    /// So many commands went to a replica, or to the primary, for that reason.
    pub fn routed(&mut self, endpoint: EndpointId, replica: bool, why: usize, times: u32) {
        let endpoint = self.endpoints.get_mut(endpoint.index());
        let count = endpoint.and_then(|it| it.routed.get_mut(usize::from(replica))?.get_mut(why));
        if let Some(count) = count {
            *count += u64::from(times);
        }
    }

    /// A read that has to see what was written has found its server.
    pub fn consistent_read(&mut self, endpoint: EndpointId, outcome: ReadOutcome) {
        self.consistent_reads(endpoint, outcome, 1);
    }

    fn consistent_reads(&mut self, endpoint: EndpointId, outcome: ReadOutcome, times: u32) {
        let endpoint = self.endpoints.get_mut(endpoint.index());
        if let Some(count) = endpoint.and_then(|it| it.consistent.get_mut(outcome as usize)) {
            *count += u64::from(times);
        }
    }

    /// So many reads have waited for a replica, each so many nanoseconds.
    pub fn waited(&mut self, endpoint: EndpointId, in_time: bool, nanos: u64, times: u32) {
        let outcome = if in_time { ReadOutcome::Waited } else { ReadOutcome::Primary };
        self.consistent_reads(endpoint, outcome, times);
        if let Some(endpoint) = self.endpoints.get_mut(endpoint.index()) {
            endpoint.waits.record(nanos, times);
        }
    }

    /// A connection to a backend was lent to a session.
    pub fn backend_lent(&mut self, backend: BackendId) {
        if let Some(backend) = self.backends.get_mut(backend.index()) {
            backend.leases += 1;
        }
    }

    /// A client was logged in, after so many nanoseconds.
    pub fn login(&mut self, endpoint: EndpointId, nanos: u64) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint.index()) {
            endpoint.logins.record(nanos, 1);
        }
    }

    /// A connection to a backend was begun.
    pub fn backend_opened(&mut self, backend: BackendId) {
        if let Some(backend) = self.backends.get_mut(backend.index()) {
            backend.connections += 1;
        }
    }

    /// One more connection to a backend is idle, or one less.
    pub fn backend_idle(&mut self, backend: BackendId, is_idle: bool) {
        if let Some(backend) = self.backends.get_mut(backend.index()) {
            backend.idle = if is_idle { backend.idle + 1 } else { backend.idle.saturating_sub(1) };
        }
    }

    /// A connection to a backend that was idle is another worker's now.
    pub fn backend_shipped(&mut self, backend: BackendId) {
        if let Some(backend) = self.backends.get_mut(backend.index()) {
            backend.connections = backend.connections.saturating_sub(1);
            backend.idle = backend.idle.saturating_sub(1);
            backend.shipped += 1;
        }
    }

    /// A connection to a backend was logged in, after so many nanoseconds.
    pub fn backend_login(&mut self, backend: BackendId, nanos: u64) {
        if let Some(backend) = self.backends.get_mut(backend.index()) {
            backend.logins.record(nanos, 1);
        }
    }

    /// A connection to a backend was closed.
    pub fn backend_closed(&mut self, backend: BackendId) {
        if let Some(backend) = self.backends.get_mut(backend.index()) {
            backend.connections = backend.connections.saturating_sub(1);
        }
    }
}

impl EndpointFigures {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            commands: Latency::default(),
            logins: Latency::default(),
            routed: [[0; ROUTES_MAX]; 2],
            consistent: [0; ReadOutcome::ALL.len()],
            waits: Latency::default(),
        }
    }
}

impl BackendFigures {
    fn new(name: Arc<str>) -> Self {
        let logins = Latency::default();
        Self { name, connections: 0, idle: 0, leases: 0, shipped: 0, logins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn named(endpoints: &[&str], backends: &[&str]) -> Figures {
        let mut figures = Figures::default();
        figures.adopt(endpoints.iter().copied(), backends.iter().copied());
        figures
    }

    #[test]
    fn a_new_configuration_keeps_what_has_the_same_name() {
        let mut figures = named(&["a", "b"], &["x", "y"]);
        figures.commands(EndpointId(1), MS, 1);
        figures.backend_opened(BackendId(0));
        figures.own_errors.count(1040, 1);
        figures.adopt(["c", "b"].into_iter(), ["y", "x"].into_iter());
        let names: Vec<_> = figures.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
        assert_eq!(names, ["c", "b"]);
        assert_eq!(figures.endpoints[1].commands.count(), 1);
        assert_eq!(figures.endpoints[0].commands.count(), 0);
        assert_eq!(figures.backends[1].connections, 1);
        assert_eq!(figures.own_errors.iter().count(), 1);
    }

    #[test]
    fn workers_are_added_by_name() {
        let (mut one, mut two) = (named(&["a", "b"], &["x"]), named(&["b"], &["x"]));
        one.commands(EndpointId(1), MS, 1);
        two.commands(EndpointId(0), MS, 1);
        two.login(EndpointId(0), MS);
        for figures in [&mut one, &mut two] {
            figures.backend_opened(BackendId(0));
            figures.backend_login(BackendId(0), MS);
            figures.backend_idle(BackendId(0), true);
            figures.backend_errors.count(1064, 1);
        }
        two.backend_closed(BackendId(0));
        two.backend_idle(BackendId(0), false);
        for figures in [&mut one, &mut two] {
            figures.backend_opened(BackendId(0));
            figures.backend_idle(BackendId(0), true);
            figures.backend_shipped(BackendId(0));
        }
        let mut sum = Figures::default();
        // Twice: what was there before is replaced.
        for _ in 0..2 {
            sum.set_to_sum([&one, &two].into_iter());
        }
        assert_eq!(sum.endpoints.len(), 2);
        let b = &sum.endpoints[1];
        assert_eq!((&*b.name, b.commands.count(), b.logins.count()), ("b", 2, 1));
        let x = &sum.backends[0];
        assert_eq!((x.connections, x.idle, x.shipped, x.logins.count()), (1, 1, 2, 2));
        assert_eq!(sum.backend_errors.iter().collect::<Vec<_>>(), [(Some(1064), 2)]);
    }

    #[test]
    fn what_no_configuration_names_is_counted_nowhere() {
        let mut figures = named(&[], &[]);
        figures.commands(EndpointId(3), MS, 1);
        figures.backend_closed(BackendId(3));
        assert!(figures.endpoints.is_empty() && figures.backends.is_empty());
    }
}
