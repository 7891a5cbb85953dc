//! Programs of statements, many sessions at once over few backend connections.
//!
//! Purpose: whatever a session does, and whoever used its connections before and between, it gets
//! to the last flag what it gets alone on a connection of its own, and leaves the same behind.
//!
//! A program (`generate`, of `statements`) works in schemas of its own (`schema`), so that programs
//! feel nothing of each other. It is run alone directly, and then with all others through Weir
//! (`run`), and what each step leads to (`told`) is compared.
//!
//! `WEIR_PROGRAM_SEED=n` repeats the programs of a seed, `WEIR_PROGRAMS=n` makes so many of them,
//! `WEIR_PROGRAM_ONLY=n` leaves out all but one.

mod dice;
mod generate;
mod noticed;
mod run;
mod schema;
mod statements;
mod step;
mod told;

use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use weir_tests::{Server, WeirConfig};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, on_every_server};
use generate::{COMMON, Program};
use run::{Model, Outcome, Session, left, pause, start};

on_every_server!(
    programs_over_connections_of_sessions_are_as_if_alone,
    programs_over_connections_of_transactions_are_as_if_alone,
);

/// What all sessions share. With `pooling = "session"` each keeps one for its time, and who comes
/// when all are taken waits for the end of another; with "transaction" while it is pinned.
const CONNECTIONS_MAX: u64 = 4;
/// Programs at a time.
const SESSIONS: usize = 12;
/// The programs that are run in every run with `pooling = "transaction"`.
const SEED_OF_TRANSACTIONS: u64 = 7;
/// Programs of a test, if nobody wants another number of them.
const PROGRAMS: u64 = 60;
/// A session waits for those that keep their connections: less than the patience of the client.
const LEASE_WAIT_MS: u64 = 25_000;

fn programs_over_connections_of_sessions_are_as_if_alone(on: On) {
    programs_are_as_if_alone(on, "session");
}

fn programs_over_connections_of_transactions_are_as_if_alone(on: On) {
    programs_are_as_if_alone(on, "transaction");
}

fn programs_are_as_if_alone(on: On, pooling: &'static str) {
    let own = Database::start(on.flavour);
    let server = &own.server;
    // What is still told differently after a transaction (docs/pooling.md) must not stop others.
    let usual = || if pooling == "transaction" { SEED_OF_TRANSACTIONS } else { drawn() };
    let seed = number_of("WEIR_PROGRAM_SEED").unwrap_or_else(usual);
    let count = number_of("WEIR_PROGRAMS").unwrap_or(PROGRAMS);
    let mut programs = programs(server, seed, count);
    if let Some(only) = number_of("WEIR_PROGRAM_ONLY") {
        programs.retain(|program| program.own == format!("prog_{only}"));
    }
    let models: Vec<Model> = programs.iter().map(|program| Model::of(server, program)).collect();

    let proxy = Proxy::start_with(on, &shared_by_all(on, server, pooling));
    let address = proxy.weir.address();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some(program), Some(model)) = (programs.get(number), models.get(number)) else {
                return found;
            };
            found.extend(difference(address, server, program, model));
        }
    };
    let mut differences: Vec<Difference<'_>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..SESSIONS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });

    differences.sort_by_key(|it| it.at);
    if let Some(shortest) = differences.first() {
        let names: Vec<_> = differences.iter().map(|it| it.program.own.as_str()).collect();
        panic!(
            "WEIR_PROGRAM_SEED={seed} repeats it: {} of {count} programs had other answers than \
             alone: {}. The one that came to that first:\n{shortest}\n{}",
            names.len(),
            names.join(", "),
            differences.iter().skip(1).take(9).map(|it| format!("{it}\n")).collect::<String>(),
        );
    }
    if programs.len() > SESSIONS {
        let metrics = proxy.weir.metrics().unwrap();
        let counted = |name: &str| metrics.value(name, &[]).unwrap();
        let logins = counted("weir_backend_logins_total");
        // Set to what another session had set.
        let tuned = counted("weir_backend_tunings_total") > 0.0;
        let used_by_two = if pooling == "transaction" { tuned } else { logins < count as f64 };
        assert!(used_by_two, "{logins} logins: no connection was used by two");
    }
    proxy.finish();
}

fn programs(server: &Server, seed: u64, count: u64) -> Vec<Program> {
    // So that MySQL knows the password: these clients have only the short exchange.
    server.client(USER, PASSWORD).query("SELECT 1").unwrap();
    server.sql(&format!("CREATE DATABASE {COMMON}")).unwrap();
    (0..count).map(|number| Program::new(seed, number, server.flavour())).collect()
}

fn shared_by_all(on: On, server: &Server, pooling: &'static str) -> WeirConfig {
    let mut settings = WeirConfig { pooling, ..config(on, server) };
    settings.limits.push(("lease_wait_ms".to_owned(), LEASE_WAIT_MS));
    settings.backend_keys.push(("connections_max".to_owned(), CONNECTIONS_MAX));
    // Shared by workers on one driver, by sessions of one worker on the other.
    settings.workers = if on.driver == "io_uring" { "2" } else { "1" }.to_owned();
    settings
}

fn number_of(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn drawn() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos())
}

/// The first answer that is not the one a program gets alone.
struct Difference<'a> {
    program: &'a Program,
    /// The step; behind the last one, what the program left.
    at: usize,
    alone: &'a Outcome,
    among: Outcome,
}

fn difference<'a>(
    address: SocketAddr,
    server: &Server,
    program: &'a Program,
    model: &'a Model,
) -> Option<Difference<'a>> {
    start(server, program);
    let mut session = match Session::begin(address, program) {
        Ok(session) => session,
        Err(error) => panic!("{} is not let in: {error:#}", program.own),
    };
    for (at, (step, alone)) in program.steps.iter().zip(&model.outcomes).enumerate() {
        pause(program, at);
        let among = session.take(step);
        if among != *alone {
            return Some(Difference { program, at, alone, among });
        }
    }
    drop(session);
    let among = left(server, program);
    let at = program.steps.len();
    (among != model.left).then_some(Difference { program, at, alone: &model.left, among })
}

impl std::fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { program, at, alone, among } = self;
        program.show(f, at + 1)?;
        let same = alone.iter().zip(among).take_while(|(a, b)| a == b).count();
        let mut tell = |what: &str, lines: &Outcome| {
            writeln!(f, "{what}, from line {same} of its answer:")?;
            let lines = lines.iter().skip(same).take(LINES_SHOWN);
            lines.into_iter().try_for_each(|line| writeln!(f, "      {line}"))
        };
        tell("alone", alone)?;
        tell("among others", among)
    }
}

const LINES_SHOWN: usize = 8;
