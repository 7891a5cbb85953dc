//! What reads are told to see, by hand and against a model of servers that lag, crash and are polled
//! at any time.

use proptest::prelude::*;

use super::*;
use crate::route::{Polled, Wish};

fn positions() -> Arc<Positions> {
    let positions = Arc::new(Positions::default());
    for name in ["primary", "r1", "r2"] {
        positions.set_poll(&Arc::from(name), Arc::new(Nobody));
    }
    positions
}

#[derive(Debug)]
struct Nobody;

impl crate::route::Poll for Nobody {
    fn poll(&self) {}
}

fn at(number: u64) -> Gtids {
    Gtids::MariaDb(MariaDbPosition::parse(&format!("0-1-{number}")).unwrap())
}

fn poll(positions: &Positions, name: &str, number: u64) {
    let begun = positions.begin();
    positions.polled(name, Polled { has: Some(at(number)), applied: Some(at(number)) }, begun);
}

fn session(positions: &Arc<Positions>, level: Consistency) -> Causal {
    let mut causal = Causal::default();
    causal.set_positions(Arc::clone(positions));
    causal.set_default(level);
    causal
}

fn going(why: Reason) -> Going<'static> {
    Going {
        command: Command::Query,
        payload: b"\x03x",
        why: Why::of(why),
        is_first: true,
        in_transaction: false,
    }
}

impl Causal {
    /// A statement on the primary, which writes that if anything.
    fn on_primary(&mut self, why: Reason, wrote: Option<u64>) {
        self.on_attached(&Aim::Primary, Arc::from("primary"), None);
        self.on_goes(going(why));
        if let Some(number) = wrote {
            let mut out = bytes::BytesMut::new();
            let value = format!("0-1-{number}");
            Tracker::SystemVariable { name: b"last_gtid", value: value.as_bytes() }.put(&mut out);
            self.on_trackers(&out, true);
        }
        self.on_answered(false, 1, true);
    }

    fn on_replica(&mut self, name: &str) {
        self.on_attached(&Aim::Reads, Arc::from(name), None);
        self.on_goes(going(Reason::PlainRead));
        self.on_answered(true, 1, true);
    }

    fn asks(&mut self) -> Demand {
        self.on_came();
        self.asks_again(&|_| true)
    }

    fn asks_again(&mut self, fits: &dyn Fn(&str) -> bool) -> Demand {
        self.demand(&Aim::Reads, Some("primary"), fits, &mut Ledger::default())
    }
}

/// On which server, and what it has to have.
fn told(demand: Demand) -> (Option<String>, Option<String>) {
    match demand {
        Demand::Have { on, gtids } => {
            (on.map(|name| name.to_string()), gtids.map(|it| it.to_string()))
        }
        Demand::Fresh(_) => (Some("fresh".to_owned()), None),
        Demand::Primary => (Some("primary".to_owned()), None),
    }
}

fn anywhere(gtids: Option<&str>) -> (Option<String>, Option<String>) {
    (None, gtids.map(str::to_owned))
}

fn on(name: &str, gtids: Option<&str>) -> (Option<String>, Option<String>) {
    (Some(name.to_owned()), gtids.map(str::to_owned))
}

#[test]
fn a_session_sees_what_it_wrote_and_keeps_its_replica() {
    let positions = positions();
    let mut session = session(&positions, Consistency::Session);
    assert_eq!(told(session.asks()), anywhere(None), "it has written nothing");
    session.on_primary(Reason::Write, Some(5));
    assert_eq!(told(session.asks()), anywhere(Some("0-1-5")));
    session.on_replica("r1");
    assert_eq!(told(session.asks()), on("r1", None), "it has seen that there");
    session.on_primary(Reason::Write, Some(7));
    assert_eq!(told(session.asks()), anywhere(Some("0-1-7")), "which is behind what it has read");
    // What says nothing changes nothing.
    session.on_primary(Reason::Transaction, None);
    assert_eq!(told(session.asks()), anywhere(Some("0-1-7")));
}

#[test]
fn what_was_read_on_the_primary_is_seen_from_then_on() {
    let positions = positions();
    let mut session = session(&positions, Consistency::Session);
    poll(&positions, "primary", 3);
    let begun = positions.begin();
    session.on_primary(Reason::LockingRead, None);
    assert_eq!(told(session.asks()), on("fresh", None), "the poll was before that");
    let polled = Polled { has: Some(at(4)), applied: Some(at(4)) };
    positions.polled("primary", polled, begun);
    assert_eq!(told(session.asks()), on("fresh", None), "it had begun before that");
    poll(&positions, "primary", 5);
    assert_eq!(told(session.asks()), anywhere(Some("0-1-5")));
    session.on_replica("r2");
    assert_eq!(told(session.asks()), on("r2", None));
    // Behind a procedure, or several results, something else may have been read.
    session.on_primary(Reason::Call, Some(9));
    assert_eq!(told(session.asks()), on("fresh", None));
}

#[test]
fn a_replica_is_left_for_one_that_is_as_far() {
    let positions = positions();
    let mut session = session(&positions, Consistency::Session);
    session.on_replica("r1");
    let without = |name: &str| name != "r1";
    assert_eq!(told(session.asks_again(&without)), on("fresh", None));
    poll(&positions, "r1", 8);
    assert_eq!(told(session.asks_again(&without)), anywhere(Some("0-1-8")), "as it was later");
    session.on_replica("r2");
    poll(&positions, "r2", 9);
    positions.doubt("r1");
    positions.doubt("primary");
    assert_eq!(told(session.asks()), on("r2", None), "others may come and go");
    positions.doubt("r2");
    assert_eq!(told(session.asks()), on("fresh", None), "it may have lost what it had");
    poll(&positions, "primary", 12);
    assert_eq!(told(session.asks()), anywhere(Some("0-1-12")));
}

#[test]
fn an_instance_sees_what_others_wrote() {
    let positions = positions();
    let mut writer = session(&positions, Consistency::Eventual);
    let mut reader = session(&positions, Consistency::Instance);
    for name in ["primary", "r1", "r2"] {
        poll(&positions, name, 1);
    }
    assert_eq!(told(reader.asks()), anywhere(None));
    reader.on_replica("r1");
    writer.on_primary(Reason::Write, Some(2));
    assert_eq!(told(reader.asks()), on("r1", Some("0-1-2")));
    positions.on_untold();
    assert_eq!(told(reader.asks()), on("fresh", None), "somebody may have written more");
    poll(&positions, "primary", 4);
    assert_eq!(told(reader.asks()), anywhere(Some("0-1-4")));
    assert_eq!(told(writer.asks()), anywhere(None), "at its level nothing has to be seen");
}

#[test]
fn a_global_read_sees_what_the_primary_had_when_it_came() {
    let positions = positions();
    let mut reader = session(&positions, Consistency::Global);
    poll(&positions, "primary", 3);
    assert_eq!(told(reader.asks()), on("fresh", None));
    poll(&positions, "primary", 4);
    assert_eq!(told(reader.asks_again(&|_| true)), anywhere(Some("0-1-4")));
    reader.on_replica("r1");
    assert_eq!(
        told(reader.asks()),
        on("fresh", None),
        "each needs a poll that began after it came"
    );
    positions.doubt("primary");
    let begun = positions.begin();
    positions.polled("primary", Polled::default(), begun);
    assert_eq!(told(reader.asks()), on("primary", None), "there is nothing to compare");
}

#[test]
fn a_write_that_is_gone_is_told_of_once() {
    let positions = positions();
    let mut session = session(&positions, Consistency::Session);
    poll(&positions, "primary", 3);
    session.on_primary(Reason::Write, Some(9));
    // Another primary, that has not got it.
    session.on_primary(Reason::LockingRead, None);
    poll(&positions, "primary", 7);
    let mut ledger = Ledger::default();
    let fits = |_: &str| true;
    let demand = session.demand(&Aim::Reads, Some("primary"), fits, &mut ledger);
    assert_eq!(told(demand), anywhere(Some("0-1-7")));
    assert_eq!(ledger.entries(), [(Entry::PositionLost, 1)]);
    ledger.clear();
    let demand = session.demand(&Aim::Reads, Some("primary"), fits, &mut ledger);
    assert_eq!((told(demand), ledger.entries()), (anywhere(Some("0-1-7")), &[][..]));
}

#[test]
fn a_hint_comes_before_the_client_and_that_before_the_configuration() {
    let mut session = session(&positions(), Consistency::Session);
    let hinted = |level| Aim::Wished(Box::new(Wish { consistency: level, ..Wish::default() }));
    assert_eq!(session.level(&Aim::Reads), Consistency::Session);
    session.set_level(Some(Consistency::Global));
    assert_eq!(session.level(&hinted(None)), Consistency::Global);
    assert_eq!(session.level(&hinted(Some(Consistency::Eventual))), Consistency::Eventual);
    session.set_level(None);
    assert_eq!(session.level_set(), Consistency::Session);
}

#[test]
fn what_reads_and_writes_no_data_is_told_from_what_may() {
    let says_nothing = |why: Reason, text: &str| {
        let payload = [b"\x03", text.as_bytes()].concat();
        Going { payload: &payload, ..going(why) }.says_nothing()
    };
    for (why, text) in [
        (Reason::Transaction, "COMMIT"),
        (Reason::Session, "SET NAMES utf8mb4"),
        (Reason::SystemVariable, "SELECT @@version"),
        (Reason::Empty, ""),
    ] {
        assert!(says_nothing(why, text), "{text}");
    }
    for (why, text) in [
        (Reason::PlainRead, "SELECT 1"),
        (Reason::Session, "SET @a = (SELECT MAX(a) FROM t)"),
        (Reason::Session, "SET @a = 1; SELECT * FROM t"),
        (Reason::SystemVariable, "SELECT @@version, a from t"),
        (Reason::Write, "INSERT INTO t VALUES (1)"),
        (Reason::Session, &format!("SET @a = '{}'", "x".repeat(300))),
    ] {
        assert!(!says_nothing(why, text), "{text}");
    }
}

/// What happens to a session and the servers.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// The session writes.
    Write,
    /// Somebody writes through this Weir, or past it.
    Others { through: bool },
    /// The session reads on the primary.
    ReadPrimary,
    /// It reads where it may.
    Read { choice: usize },
    /// A replica applies so many.
    Apply { replica: usize, count: u64 },
    /// A server is polled.
    Poll { server: usize },
    /// A poll begins that ends at some other time.
    PollLater,
    /// A replica crashes, and loses so many.
    Crash { replica: usize, count: u64 },
    /// A replica is not fit for a while, or is again.
    Fit { replica: usize },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Write),
        any::<bool>().prop_map(|through| Happens::Others { through }),
        Just(Happens::ReadPrimary),
        (0..4_usize).prop_map(|choice| Happens::Read { choice }),
        (0..4_usize).prop_map(|choice| Happens::Read { choice }),
        (0..2_usize, 1..4_u64).prop_map(|(replica, count)| Happens::Apply { replica, count }),
        (0..3_usize).prop_map(|server| Happens::Poll { server }),
        Just(Happens::PollLater),
        (0..2_usize, 1..6_u64).prop_map(|(replica, count)| Happens::Crash { replica, count }),
        (0..2_usize).prop_map(|replica| Happens::Fit { replica }),
    ]
}

const NAMES: [&str; 3] = ["r1", "r2", "primary"];

/// One session and the servers, where each number is a transaction.
struct Model {
    positions: Arc<Positions>,
    session: Causal,
    level: Consistency,
    primary: u64,
    replicas: [u64; 2],
    fit: [bool; 2],
    /// What the next read has to see.
    own: u64,
    through: u64,
    later: Option<(Stamp, u64)>,
}

impl Model {
    fn new(level: Consistency) -> Self {
        let positions = positions();
        let session = session(&positions, level);
        Self {
            positions,
            session,
            level,
            primary: 1,
            replicas: [1, 1],
            fit: [true, true],
            own: 0,
            through: 0,
            later: None,
        }
    }

    fn has(&self, server: usize) -> u64 {
        self.replicas.get(server).copied().unwrap_or(self.primary)
    }

    fn poll(&self, server: usize) {
        poll(&self.positions, NAMES[server], self.has(server));
    }

    fn on(&mut self, what: Happens) {
        match what {
            Happens::Write => {
                self.primary += 1;
                self.session.on_primary(Reason::Write, Some(self.primary));
                (self.own, self.through) = (self.primary, self.primary);
            }
            Happens::Others { through } => {
                self.primary += 1;
                if through {
                    self.positions.on_written(&at(self.primary));
                    self.through = self.primary;
                }
            }
            Happens::ReadPrimary => {
                self.session.on_primary(Reason::LockingRead, None);
                self.own = self.primary;
            }
            Happens::Read { choice } => self.read(choice),
            Happens::Apply { replica, count } => {
                self.replicas[replica] = self.primary.min(self.replicas[replica] + count);
            }
            Happens::Poll { server } => self.poll(server),
            Happens::PollLater => match self.later.take() {
                None => self.later = Some((self.positions.begin(), self.primary)),
                Some((begun, number)) => {
                    let polled = Polled { has: Some(at(number)), applied: Some(at(number)) };
                    self.positions.polled("primary", polled, begun);
                }
            },
            Happens::Crash { replica, count } => {
                self.replicas[replica] = self.replicas[replica].saturating_sub(count).max(1);
                self.positions.doubt(NAMES[replica]);
                // Of what was never known of it nothing can be lost: it is polled at first.
                self.poll(replica);
            }
            Happens::Fit { replica } => self.fit[replica] ^= true,
        }
    }

    /// A replica gets there, if it is not known to be.
    fn wait_for(&mut self, server: usize, gtids: &Arc<Gtids>) {
        if self.positions.has(NAMES[server], gtids) {
            return;
        }
        while !at(self.replicas[server]).contains(gtids) {
            assert!(self.replicas[server] < self.primary, "{gtids} is nowhere");
            self.replicas[server] += 1;
        }
        let doubts = self.positions.doubts(NAMES[server]);
        self.positions.learn(NAMES[server], gtids, doubts);
    }

    /// A read goes where it may: a wait is as long as replication takes.
    fn read(&mut self, choice: usize) {
        let before = self.primary;
        self.session.on_came();
        let server = loop {
            let fit = self.fit;
            let fits = |name: &str| fit.iter().zip(NAMES).any(|(fit, own)| *fit && own == name);
            match self.session.asks_again(&fits) {
                Demand::Fresh(_) => self.poll(2),
                Demand::Primary => break 2,
                Demand::Have { on, gtids } => {
                    let server = match on {
                        Some(on) => NAMES.iter().position(|name| **name == *on).unwrap(),
                        None => {
                            (choice..choice + 2).map(|it| it % 2).find(|it| fit[*it]).unwrap_or(2)
                        }
                    };
                    if let Some(gtids) = gtids.filter(|_| server < 2) {
                        self.wait_for(server, &gtids);
                    }
                    break server;
                }
            }
        };
        let seen = self.has(server);
        let wanted = match self.level {
            Consistency::Eventual => 0,
            Consistency::Session => self.own,
            Consistency::Instance => self.own.max(self.through),
            Consistency::Global => before,
        };
        assert!(seen >= wanted, "{} had {seen} and not {wanted}", NAMES[server]);
        if server == 2 {
            self.session.on_primary(Reason::PlainRead, None);
        } else {
            self.session.on_replica(NAMES[server]);
        }
        self.own = self.own.max(seen);
    }
}

proptest! {
    #[test]
    fn no_read_is_staler_than_its_level(
        level in prop::sample::select(&Consistency::ALL[1..]),
        all in prop::collection::vec(happens(), 1..120),
    ) {
        let mut model = Model::new(level);
        for server in 0..3 {
            model.poll(server);
        }
        for what in all {
            model.on(what);
        }
    }
}
