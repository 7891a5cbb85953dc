//! Many clients in one event loop.
//!
//! Purpose: keep a proxy as busy as asked, count and time every reply, stop cleanly.
//! Never: wait for one client while another could go on, or time a query from later than the
//! moment it was due.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::client::{Client, Outcome, Script};
use crate::pace::{Pace, Schedule};

/// How long and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Drive {
    /// Closed loop or fixed rate.
    pub pace: Pace,
    /// Load before the measured time.
    pub warmup: Duration,
    /// The measured time.
    pub measure: Duration,
}

/// The borders of the measured time, told as they are crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Measuring begins.
    Start,
    /// Measuring ended; queries on their way are still answered.
    Stop,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Replies completed in the measured time.
    pub queries: u64,
    /// Replies completed altogether.
    pub queries_all: u64,
    /// Connections opened for one query each.
    pub connections: u64,
    /// Of these, with TLS that was resumed.
    pub resumed: u64,
    /// Replies with the client's own row, which it had changed just before.
    pub own_rows: u64,
    /// Of these, the ones that were not what it had written.
    pub stale: u64,
    /// The measured time as it really was.
    pub elapsed: Duration,
    /// Latencies of the measured replies, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Clients that ended with an error, or without their last answer.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// Queries that were due but for which no client was free at the end.
    pub overdue: u64,
}

/// Connected clients.
#[derive(Debug)]
pub struct Fleet {
    poll: Poll,
    events: Events,
    clients: Vec<Option<Client>>,
    script: Script,
    scratch: Vec<u8>,
    address: SocketAddr,
}

/// What a client is asked by, and opened anew.
struct Means<'a> {
    registry: &'a Registry,
    script: &'a Script,
    address: SocketAddr,
}

impl Means<'_> {
    /// A client on a new connection, with the token of its place.
    fn open(&self, index: usize) -> anyhow::Result<Client> {
        let address = self.address;
        let mut stream =
            TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, Token(index), interest)?;
        let seed = u32::try_from(index)?.wrapping_add(1);
        Ok(Client::new(stream, self.script, seed))
    }
}

impl Fleet {
    /// Connects and logs in `count` clients, at most [`LOGINS_MAX`] at a time.
    ///
    /// # Errors
    /// Any of them fails, or it takes longer than a minute.
    pub fn connect(address: SocketAddr, script: Script, count: usize) -> anyhow::Result<Self> {
        let mut fleet = Self {
            poll: Poll::new().context("cannot create an epoll instance")?,
            events: Events::with_capacity(1024),
            clients: Vec::with_capacity(count),
            script,
            scratch: vec![0; SCRATCH],
            address,
        };
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut ready = 0;
        while ready < count {
            while fleet.clients.len() < count && fleet.clients.len() - ready < LOGINS_MAX {
                let client = fleet.means().open(fleet.clients.len())?;
                fleet.clients.push(Some(client));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("only {ready} of {count} clients logged in to {address} in time");
            }
            fleet.wait(left)?;
            for event in &fleet.events {
                let Some(Some(client)) = fleet.clients.get_mut(event.token().0) else { continue };
                let outcome = client
                    .on_ready(&fleet.script, &mut fleet.scratch)
                    .with_context(|| format!("client {} at {address}", event.token().0))?;
                ready += usize::from(outcome == Outcome::Ready);
            }
        }
        Ok(fleet)
    }

    fn means(&self) -> Means<'_> {
        Means { registry: self.poll.registry(), script: &self.script, address: self.address }
    }

    fn wait(&mut self, timeout: Duration) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other.context("cannot wait for events"),
        }
    }

    /// Asks queries for as long as `drive` says. `observe` is called at both [`Edge`]s.
    ///
    /// # Errors
    /// The event loop itself fails. Errors of clients are counted, not returned.
    pub fn drive(&mut self, drive: Drive, observe: &mut dyn FnMut(Edge)) -> anyhow::Result<Tally> {
        let timer = Timer::start(&self.poll, drive.pace)?;
        let run = Run::new(drive, self.clients.len())?.go(self, timer.as_ref(), observe);
        if let Some(timer) = timer {
            timer.stop(&self.poll)?;
        }
        run
    }
}

/// One drive in progress.
struct Run {
    drive: Drive,
    begin: Instant,
    phase: Phase,
    phase_at: Instant,
    schedule: Schedule,
    /// Clients that may ask.
    idle: VecDeque<usize>,
    /// When the query of each client was due.
    due: Vec<Instant>,
    waiting: usize,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Warmup,
    Measure,
    Drain,
}

impl Run {
    fn new(drive: Drive, clients: usize) -> anyhow::Result<Self> {
        let begin = Instant::now();
        Ok(Self {
            drive,
            begin,
            phase: Phase::Warmup,
            phase_at: begin,
            schedule: Schedule::new(drive.pace, begin),
            idle: (0..clients).collect(),
            due: vec![begin; clients],
            waiting: 0,
            tally: Tally {
                queries: 0,
                queries_all: 0,
                connections: 0,
                resumed: 0,
                own_rows: 0,
                stale: 0,
                elapsed: Duration::ZERO,
                latency_ns: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)?,
                errors: 0,
                first_error: None,
                overdue: 0,
            },
        })
    }

    fn go(
        mut self,
        fleet: &mut Fleet,
        timer: Option<&Timer>,
        observe: &mut dyn FnMut(Edge),
    ) -> anyhow::Result<Tally> {
        loop {
            self.on_time(Instant::now(), observe);
            let now = Instant::now();
            if self.phase != Phase::Drain {
                self.ask_due(fleet, now);
            } else if self.waiting == 0 || now > self.phase_at + DRAIN {
                return Ok(self.end());
            }
            if self.waiting == 0 && self.idle.is_empty() {
                bail!("no client is left: {}", self.tally.first_error.unwrap_or_default());
            }
            fleet.wait(TICK)?;
            let Fleet { events, clients, script, scratch, poll, address } = fleet;
            let means = Means { registry: poll.registry(), script, address: *address };
            for event in &*events {
                if let Some(slot) = clients.get_mut(event.token().0) {
                    self.on_event(slot, &means, scratch, event.token().0);
                } else if let Some(timer) = timer {
                    timer.clear();
                }
            }
        }
    }

    fn on_event(
        &mut self,
        slot: &mut Option<Client>,
        means: &Means<'_>,
        scratch: &mut [u8],
        index: usize,
    ) {
        let Some(client) = slot else { return };
        let was_waiting = client.is_waiting();
        match client.on_ready(means.script, scratch) {
            Ok(Outcome::Pending) => {}
            // A connection of its own: what it was opened for.
            Ok(Outcome::Ready) => {
                self.tally.resumed += u64::from(client.is_resumed());
                if let Err(error) = client.ask(means.script) {
                    self.waiting -= 1;
                    self.drop_client(slot, &error);
                }
            }
            Ok(Outcome::Answered) => {
                let now = Instant::now();
                self.tally.own_rows += u64::from(client.has_read_own());
                self.tally.stale += u64::from(client.is_stale());
                self.on_answer(index, now);
                // Not at the end of the batch: a saturated client asks again at once.
                if self.phase != Phase::Drain && self.schedule.interval().is_none() {
                    self.ask(slot, means, index, now);
                } else {
                    self.idle.push_back(index);
                }
            }
            Err(error) => {
                self.waiting -= usize::from(was_waiting);
                self.drop_client(slot, &error);
            }
        }
    }

    fn end(mut self) -> Tally {
        if self.waiting > 0 {
            self.tally.errors += self.waiting as u64;
            let text = format!("{} queries unanswered", self.waiting);
            self.tally.first_error.get_or_insert(text);
        }
        self.tally
    }

    fn on_time(&mut self, now: Instant, observe: &mut dyn FnMut(Edge)) {
        if self.phase == Phase::Warmup && now >= self.begin + self.drive.warmup {
            self.phase = Phase::Measure;
            observe(Edge::Start);
            self.phase_at = Instant::now();
        } else if self.phase == Phase::Measure && now >= self.phase_at + self.drive.measure {
            self.tally.elapsed = now - self.phase_at;
            observe(Edge::Stop);
            self.phase = Phase::Drain;
            self.phase_at = Instant::now();
            self.tally.overdue = self.schedule.overdue(now);
        }
    }

    fn ask_due(&mut self, fleet: &mut Fleet, now: Instant) {
        while !self.idle.is_empty() {
            let Some(due) = self.schedule.take(now) else { return };
            let Some(index) = self.idle.pop_front() else { return };
            let Fleet { clients, script, poll, address, .. } = &mut *fleet;
            let Some(slot) = clients.get_mut(index) else { continue };
            let means = Means { registry: poll.registry(), script, address: *address };
            self.ask(slot, &means, index, due);
        }
    }

    fn ask(&mut self, slot: &mut Option<Client>, means: &Means<'_>, index: usize, due: Instant) {
        let Some(client) = slot else { return };
        if let Some(cell) = self.due.get_mut(index) {
            *cell = due;
        }
        let asked = if means.script.reconnects {
            client.quit();
            self.tally.connections += 1;
            means.open(index).map(|fresh| *client = fresh)
        } else {
            client.ask(means.script)
        };
        match asked {
            Ok(()) => self.waiting += 1,
            Err(error) => self.drop_client(slot, &error),
        }
    }

    fn on_answer(&mut self, index: usize, now: Instant) {
        self.waiting -= 1;
        self.tally.queries_all += 1;
        if self.phase == Phase::Measure {
            let due = self.due.get(index).copied().unwrap_or(now);
            let ns = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
            self.tally.queries += 1;
            self.tally.latency_ns.saturating_record(ns);
        }
    }

    fn drop_client(&mut self, slot: &mut Option<Client>, error: &anyhow::Error) {
        *slot = None;
        self.tally.errors += 1;
        self.tally.first_error.get_or_insert_with(|| format!("{error:#}"));
    }
}

/// Wakes the event loop when queries are due. A timer descriptor, because epoll's own timeout
/// counts milliseconds, and spinning would take the CPU from the responder beside it.
struct Timer(OwnedFd);

impl Timer {
    fn start(poll: &Poll, pace: Pace) -> anyhow::Result<Option<Self>> {
        let Some(interval) = Schedule::new(pace, Instant::now()).interval() else {
            return Ok(None);
        };
        let interval = interval.max(TIMER_MIN);
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)
            .context("cannot create a timer")?;
        let period = Timespec {
            tv_sec: i64::try_from(interval.as_secs())?,
            tv_nsec: interval.subsec_nanos().into(),
        };
        let spec = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&fd, TimerfdTimerFlags::empty(), &spec).context("cannot set a timer")?;
        poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Some(Self(fd)))
    }

    /// The kernel starts the next period only when the last expiry was read.
    fn clear(&self) {
        // Nothing to read means nothing expired: either way the timer runs.
        let _nothing = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }

    fn stop(self, poll: &Poll) -> anyhow::Result<()> {
        Ok(poll.registry().deregister(&mut SourceFd(&self.0.as_raw_fd()))?)
    }
}

/// Clients logging in at once.
pub const LOGINS_MAX: usize = 128;
/// The timer's token; clients count from 0.
const TIMER: Token = Token(usize::MAX >> 1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(5);
/// How often the borders of the measured time are looked at when nothing happens.
const TICK: Duration = Duration::from_millis(5);
const TIMER_MIN: Duration = Duration::from_micros(20);
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// Large enough that a 1 MiB reply takes few reads, small enough to stay in the cache.
const SCRATCH: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Encoding;
    use crate::client::Value;
    use crate::login::{Account, Profile};
    use crate::responder::Responder;
    use crate::tls::Security;

    fn script(profile: Profile, encoding: Encoding, value: Value) -> Script {
        let account = Account { user: "u".into(), password: "p".into(), database: None };
        Script::new(account, profile, encoding, value)
    }

    fn serve() -> SocketAddr {
        let responder = Responder::bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = responder.address();
        std::thread::spawn(move || responder.run());
        address
    }

    fn drive(pace: Pace) -> Drive {
        let (warmup, measure) = (Duration::from_millis(20), Duration::from_millis(200));
        Drive { pace, warmup, measure }
    }

    #[test]
    fn every_kind_of_load_is_answered() {
        let address = serve();
        for profile in [Profile::Modern, Profile::Classic] {
            for encoding in [Encoding::Text, Encoding::Binary] {
                for value in [Value::Small, Value::Bytes(16384), Value::Bytes(1 << 20)] {
                    let script = script(profile, encoding, value);
                    let mut fleet = Fleet::connect(address, script, 5).unwrap();
                    let mut edges = Vec::new();
                    let tally =
                        fleet.drive(drive(Pace::Saturated), &mut |edge| edges.push(edge)).unwrap();
                    assert_eq!(edges, [Edge::Start, Edge::Stop]);
                    assert_eq!((tally.errors, tally.first_error), (0, None));
                    assert_eq!(tally.latency_ns.len(), tally.queries);
                    assert!(tally.queries > 0 && tally.queries_all >= tally.queries);
                }
            }
        }
    }

    #[test]
    fn every_query_has_a_connection_of_its_own_if_asked() {
        for encoding in [Encoding::Text, Encoding::Binary] {
            let script = script(Profile::Modern, encoding, Value::Small).reconnecting(true);
            let mut fleet = Fleet::connect(serve(), script, 5).unwrap();
            let tally = fleet.drive(drive(Pace::Saturated), &mut |_| {}).unwrap();
            assert_eq!((tally.errors, tally.first_error), (0, None));
            assert!(tally.queries > 0);
            assert_eq!(tally.connections, tally.queries_all);
        }
    }

    #[test]
    fn tls_is_resumed_where_it_is_to_be() {
        let address = serve();
        for (security, resumes) in
            [(Security::Plain, false), (Security::Full, false), (Security::Resumed, true)]
        {
            let script = script(Profile::Modern, Encoding::Text, Value::Small);
            let script = script.reconnecting(true).secured(security).unwrap();
            let mut fleet = Fleet::connect(address, script, 5).unwrap();
            let tally = fleet.drive(drive(Pace::Saturated), &mut |_| {}).unwrap();
            assert_eq!((tally.errors, tally.first_error), (0, None), "{security:?}");
            assert!(tally.queries > 0);
            assert_eq!(tally.resumed, if resumes { tally.connections } else { 0 }, "{security:?}");
        }
    }

    #[test]
    fn large_values_come_through_tls() {
        let script = script(Profile::Modern, Encoding::Text, Value::Bytes(1 << 20));
        let script = script.secured(Security::Full).unwrap();
        let mut fleet = Fleet::connect(serve(), script, 3).unwrap();
        let tally = fleet.drive(drive(Pace::Saturated), &mut |_| {}).unwrap();
        assert_eq!((tally.errors, tally.first_error), (0, None));
        assert!(tally.queries > 0);
    }

    #[test]
    fn a_rate_is_kept() {
        let script = script(Profile::Modern, Encoding::Text, Value::Small);
        let mut fleet = Fleet::connect(serve(), script, 8).unwrap();
        let tally = fleet.drive(drive(Pace::PerSecond(500)), &mut |_| {}).unwrap();
        assert_eq!(tally.errors, 0);
        // What a busy machine delays is still sent: only the last few may fall past the end.
        assert!((60..=140).contains(&tally.queries), "{} queries", tally.queries);
    }

    /// The responder is not a database: rows it cannot know must be reported, not accepted.
    #[test]
    fn wrong_rows_are_errors() {
        let script = script(Profile::Modern, Encoding::Text, Value::RowOf(10));
        let mut fleet = Fleet::connect(serve(), script, 3).unwrap();
        let error = fleet.drive(drive(Pace::Saturated), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("another row than asked for"), "{error}");
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let script = script(Profile::Modern, Encoding::Text, Value::Small);
        Fleet::connect(address, script, 1).unwrap_err();
    }
}
