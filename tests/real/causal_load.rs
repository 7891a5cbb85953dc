//! Sessions that count up and look at once.
//!
//! Purpose: find every read that is older than what its session, or another one, has been told is
//! written; and every read that is older than the one before it.
//! Never: forgive one, or believe anybody but the servers on where a read ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};

use crate::causal_held::{ROWS, SHARED};
use crate::fixture::{eventually, run};
use crate::split::{Dice, PATIENCE};

/// How a session writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Write {
    Text,
    Prepared,
    Transaction,
    WithoutAutocommit,
    /// In a function, of which nothing is to be seen but that it has rows.
    Function,
    /// In a procedure that has results after it.
    Procedure,
    /// With others in one text.
    Several,
    /// In a function behind a view, which looks like a read of a table.
    View,
}

impl Write {
    pub(crate) const ALL: &[Self] = &[
        Self::Text,
        Self::Prepared,
        Self::Transaction,
        Self::WithoutAutocommit,
        Self::Function,
        Self::Procedure,
        Self::Several,
        Self::View,
    ];
    /// Those that are never taken for a read.
    pub(crate) const PLAIN: &[Self] = &[
        Self::Text,
        Self::Prepared,
        Self::Transaction,
        Self::WithoutAutocommit,
        Self::Function,
        Self::Procedure,
        Self::Several,
    ];

    /// Counts up; by how much.
    pub(crate) async fn run(self, conn: &mut Conn, id: usize) -> Result<i64, mysql_async::Error> {
        let update = format!("UPDATE shop.counter SET n = n + 1 WHERE id = {id}");
        match self {
            Self::Text => conn.query_drop(update).await?,
            Self::Prepared => {
                let sql = "UPDATE shop.counter SET n = n + ? WHERE id = ?";
                conn.exec_drop(sql, (1, id)).await?;
            }
            Self::Transaction => {
                conn.query_drop("BEGIN").await?;
                conn.query_drop(update).await?;
                conn.query_drop("COMMIT").await?;
            }
            Self::WithoutAutocommit => {
                conn.query_drop("SET autocommit = 0").await?;
                conn.query_drop(update).await?;
                conn.query_drop("COMMIT").await?;
                conn.query_drop("SET autocommit = 1").await?;
            }
            Self::Function => conn.query_drop(format!("SELECT shop.bump({id})")).await?,
            Self::Procedure => conn.query_drop(format!("CALL shop.bumps({id})")).await?,
            Self::Several => {
                conn.query_drop(format!("{update}; SELECT 1; {update}; SELECT 2")).await?;
                return Ok(2);
            }
            Self::View => {
                conn.query_drop(format!("SELECT n FROM shop.bumping WHERE id = {id}")).await?;
            }
        }
        Ok(1)
    }
}

/// How a session reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    Text,
    Prepared,
    /// The second of two in one text.
    Several,
    /// In a transaction that only reads.
    Transaction,
}

/// Who answers, the session's own counter, and everybody's.
type Seen = (String, i64, i64);

impl Read {
    pub(crate) const ALL: &[Self] = &[Self::Text, Self::Prepared, Self::Several, Self::Transaction];
    /// Those a hint is for.
    pub(crate) const SINGLE: &[Self] = &[Self::Text, Self::Prepared, Self::Several];
    /// Those that another server answers when one dies.
    pub(crate) const REPEATED: &[Self] = &[Self::Text, Self::Prepared];

    async fn run(
        self,
        conn: &mut Conn,
        hint: &str,
        id: usize,
    ) -> Result<Option<Seen>, mysql_async::Error> {
        let sql = |id: &str| {
            format!(
                "SELECT (SELECT name FROM node.who), (SELECT n FROM shop.counter WHERE id = {id}), \
                 (SELECT n FROM shop.counter WHERE id = {SHARED})"
            )
        };
        let text = sql(&id.to_string());
        match self {
            Self::Text => conn.query_first(format!("{hint}{text}")).await,
            Self::Prepared => conn.exec_first(format!("{hint}{}", sql("?")), (id,)).await,
            Self::Several => {
                let mut results = conn.query_iter(format!("{hint}SELECT 1; {text}")).await?;
                results.collect::<u32>().await?;
                Ok(results.collect().await?.pop())
            }
            Self::Transaction => {
                conn.query_drop("START TRANSACTION READ ONLY").await?;
                let seen = conn.query_first(text).await;
                conn.query_drop("COMMIT").await?;
                seen
            }
        }
    }
}

/// What one session does.
pub(crate) struct Plan {
    pub(crate) reads: OptsBuilder,
    /// Who writes what it reads; itself, if nobody else does.
    pub(crate) writes: Option<OptsBuilder>,
    /// What it says before all.
    pub(crate) first: Option<&'static str>,
    /// What is before each read.
    pub(crate) hint: &'static str,
    pub(crate) how_to_write: &'static [Write],
    pub(crate) how_to_read: &'static [Read],
}

impl Plan {
    /// A session that reads what it has written.
    pub(crate) fn alone(reads: OptsBuilder) -> Self {
        Self {
            reads,
            writes: None,
            first: None,
            hint: "",
            how_to_write: Write::ALL,
            how_to_read: Read::ALL,
        }
    }
}

/// What was seen in one phase.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) reads: usize,
    pub(crate) on_replicas: usize,
    /// Older than what was written before.
    pub(crate) stale: usize,
    /// Older than what was read before.
    pub(crate) backwards: usize,
}

/// By phase.
pub(crate) type Tallies = [Tally; 5];

/// What several sessions saw.
pub(crate) fn sum<'t>(of: impl IntoIterator<Item = &'t Tallies>) -> Tallies {
    let mut sums = Tallies::default();
    for (phase, tally) in of.into_iter().flat_map(|it| it.iter().enumerate()) {
        sums[phase].add(tally);
    }
    sums
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.on_replicas += other.on_replicas;
        self.stale += other.stale;
        self.backwards += other.backwards;
    }
}

/// Sessions at work, each with a counter of its own, and one that counts for all.
pub(crate) struct Load {
    plans: Vec<Plan>,
    ticks: OptsBuilder,
    pub(crate) seed: u64,
    phase: AtomicUsize,
    /// Reads of each phase so far.
    reads: [AtomicUsize; 5],
    over: AtomicBool,
}

/// Fewer reads of a phase say nothing of it.
pub(crate) const READS_MIN: usize = 50;

impl Load {
    pub(crate) fn new(plans: Vec<Plan>, ticks: OptsBuilder) -> Arc<Self> {
        assert!(plans.len() < ROWS);
        let seed = std::env::var("WEIR_CAUSAL_SEED").ok().and_then(|it| it.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        let (phase, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { plans, ticks, seed, phase, reads: Default::default(), over })
    }

    /// Runs while something is done to the servers; what each session saw in each phase of it.
    pub(crate) fn while_doing(self: &Arc<Self>, meanwhile: impl FnOnce(&Self)) -> Vec<Tallies> {
        /// Also when that fails: the sessions are waited for.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        eprintln!("WEIR_CAUSAL_SEED={}", self.seed);
        thread::scope(|scope| {
            let sessions = scope.spawn(|| run(self.clone().all()));
            let ends = Ends(&self.over);
            meanwhile(self);
            drop(ends);
            sessions.join().unwrap()
        })
    }

    /// What follows is so for a while, and until enough has been read.
    pub(crate) fn phase(&self, number: usize, lasts: Duration) {
        self.phase.store(number, Ordering::Relaxed);
        thread::sleep(lasts);
        let count = || self.reads[number].load(Ordering::Relaxed);
        eventually("reads of a phase", PATIENCE, || count() > READS_MIN);
    }

    async fn all(self: Arc<Self>) -> Vec<Tallies> {
        let ticker = tokio::spawn(self.clone().tick());
        let sessions: Vec<_> =
            (0..self.plans.len()).map(|number| tokio::spawn(self.clone().one(number))).collect();
        let mut tallies = Vec::new();
        for session in sessions {
            tallies.push(session.await.unwrap());
        }
        ticker.await.unwrap();
        tallies
    }

    async fn tick(self: Arc<Self>) {
        let mut conn = Conn::new(self.ticks.clone()).await.unwrap();
        while !self.over.load(Ordering::Relaxed) {
            Write::Text.run(&mut conn, SHARED).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        conn.disconnect().await.unwrap();
    }

    async fn one(self: Arc<Self>, number: usize) -> Tallies {
        let plan = &self.plans[number];
        let (id, seed) = (number + 1, self.seed);
        let mut dice = Dice(seed.wrapping_mul(1009).wrapping_add(u64::try_from(id).unwrap()));
        let mut conn = Conn::new(plan.reads.clone()).await.unwrap();
        let mut other = match &plan.writes {
            Some(options) => Some(Conn::new(options.clone()).await.unwrap()),
            None => None,
        };
        if let Some(sql) = plan.first {
            conn.query_drop(sql).await.unwrap();
        }
        let (mut written, mut shared) = (0, 0);
        let mut tallies = Tallies::default();
        while !self.over.load(Ordering::Relaxed) {
            let write = pick(&mut dice, plan.how_to_write);
            let reads = dice.roll(3) + 1;
            written += match write.run(other.as_mut().unwrap_or(&mut conn), id).await {
                Ok(count) => count,
                Err(error) => panic!("{seed} {number} {write:?}: {error}"),
            };
            // A session that begins anew has still written what it has; and behind a procedure it
            // keeps its connection until then.
            let anew = other.is_none()
                && (matches!(write, Write::Procedure)
                    || plan.first.is_none() && dice.roll(16) == 0);
            if anew {
                assert!(conn.reset().await.unwrap());
            }
            for _ in 0..reads {
                let read = pick(&mut dice, plan.how_to_read);
                let (who, own, everybodys) = match read.run(&mut conn, plan.hint, id).await {
                    Ok(Some(seen)) => seen,
                    other => panic!("{seed} {number} {read:?} after {write:?}: {other:?}"),
                };
                let what = format!("{seed} {number}: {read:?} of {who} after {write:?} {anew}");
                assert!(own <= written, "{what}: {own}, and written was {written}");
                let phase = self.phase.load(Ordering::Relaxed);
                self.reads[phase].fetch_add(1, Ordering::Relaxed);
                let tally = &mut tallies[phase];
                tally.reads += 1;
                tally.on_replicas += usize::from(who != "primary");
                tally.stale += usize::from(own < written);
                tally.backwards += usize::from(everybodys < shared);
                if (own < written || everybodys < shared) && tally.stale + tally.backwards < 4 {
                    eprintln!("{what}: {own} of {written}, {everybodys} after {shared}");
                }
                shared = everybodys;
            }
        }
        for conn in [Some(conn), other].into_iter().flatten() {
            conn.disconnect().await.unwrap();
        }
        tallies
    }
}

fn pick<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    of[usize::try_from(dice.roll(u64::try_from(of.len()).unwrap())).unwrap()]
}
