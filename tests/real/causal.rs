//! Sessions read what they have written, whatever their replicas have.
//!
//! Purpose: no read of many sessions is older than their writes or their reads before, while
//! replicas are late, stand still, or die; and where that is allowed, such reads are found.
//! Never: take it for granted that a replica is late: `eventual` has to show it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::causal_held::{
    ALL_ARE_LATE, Held, ONE_STANDS_STILL, config, counting, outcomes, phases, restart_counting,
    wait_function,
};
use crate::causal_load::{Load, Plan, READS_MIN, Read, Tally, Write, sum};
use crate::fixture::{On, Proxy, connect, eventually, on_each_server, options, run};
use crate::split::{PATIENCE, who};

on_each_server!(
    a_session_reads_its_own_writes,
    what_eventual_reads_miss_is_found,
    a_replica_restarts_meanwhile,
    reads_go_on_while_the_primary_is_away,
);

/// Sessions that read what they write.
fn load(proxy: &Proxy, sessions: usize) -> Arc<Load> {
    let here = || options(proxy.weir.address(), Some("shop"));
    Load::new((0..sessions).map(|_| Plan::alone(here())).collect(), here())
}

fn a_session_reads_its_own_writes(on: On) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    let proxy = Proxy::start_with(on, &config(&cluster, on, "session"));
    let mut logs = cluster.logs();
    let load = load(&proxy, 16);
    let tallies = sum(&load.while_doing(|load| phases(&cluster, load)));
    for (phase, tally) in tallies.iter().enumerate().take(ALL_ARE_LATE + 1) {
        let Tally { reads, stale, backwards, .. } = *tally;
        assert!(
            stale == 0 && backwards == 0 && reads >= READS_MIN,
            "{}: {phase} {tallies:?}",
            load.seed
        );
    }
    let on_replicas: usize = tallies.iter().map(|tally| tally.on_replicas).sum();
    assert!(on_replicas > 30, "{}: {tallies:?}", load.seed);
    let counts = outcomes(&proxy);
    assert!(counts.iter().all(|count| *count > 0.5), "{counts:?}");
    let metrics = proxy.weir.metrics().unwrap();
    let lost = metrics.value("weir_positions_lost_total", &[]).unwrap();
    assert!(lost.abs() < 0.1, "{lost}");
    for (name, log) in logs.news() {
        let asked = log.contains(wait_function(on.flavour));
        assert_eq!(asked, name != "primary", "{name}");
    }
    proxy.finish();
}

/// The same sessions, where it is allowed.
fn what_eventual_reads_miss_is_found(on: On) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    let proxy = Proxy::start_with(on, &config(&cluster, on, "eventual"));
    let load = load(&proxy, 16);
    let tallies = sum(&load.while_doing(|load| phases(&cluster, load)));
    for phase in [ONE_STANDS_STILL, ALL_ARE_LATE] {
        let Tally { reads, on_replicas, stale, .. } = tallies[phase];
        let what = format!("{}: {phase} {tallies:?}", load.seed);
        assert!(reads >= READS_MIN && stale > reads / 10 && on_replicas > reads / 2, "{what}");
    }
    let Tally { reads, backwards, .. } = tallies[ONE_STANDS_STILL];
    assert!(backwards > reads / 10, "{}: {tallies:?}", load.seed);
    proxy.finish();
}

/// Also those whose replica goes away while they wait for it.
fn a_replica_restarts_meanwhile(on: On) {
    let mut cluster = counting(on.flavour);
    let proxy = Proxy::start_with(on, &config(&cluster, on, "session"));
    let here = || options(proxy.weir.address(), Some("shop"));
    let plans = (0..12).map(|_| Plan {
        // A server that has restarted would take a write for a moment.
        how_to_write: Write::PLAIN,
        how_to_read: Read::REPEATED,
        ..Plan::alone(here())
    });
    let load = Load::new(plans.collect(), here());
    let tallies = load.while_doing(|load| {
        load.phase(0, Duration::from_millis(300));
        cluster.topology.replicas[0].crash().unwrap();
        load.phase(1, Duration::from_millis(300));
        cluster.topology.replicas[0].restart().unwrap();
        load.phase(2, Duration::from_millis(600));
        cluster.topology.replicas[1].stop().unwrap();
        load.phase(3, Duration::from_millis(300));
        cluster.topology.replicas[1].restart().unwrap();
        load.phase(4, Duration::from_millis(600));
    });
    let tallies = sum(&tallies);
    for (phase, tally) in tallies.iter().enumerate().take(5) {
        let Tally { reads, stale, backwards, .. } = *tally;
        assert!(
            stale == 0 && backwards == 0 && reads >= READS_MIN,
            "{}: {phase} {tallies:?}",
            load.seed
        );
    }
    // They are used again.
    run(async {
        let (mut seen, start) = (BTreeSet::new(), Instant::now());
        while !(seen.contains("r1") && seen.contains("r2")) {
            assert!(start.elapsed() < PATIENCE, "{seen:?}");
            let mut conn = connect(proxy.weir.address(), Some("shop")).await;
            seen.insert(who(&mut conn).await);
            conn.disconnect().await.unwrap();
        }
    });
    proxy.finish();
}

/// A session that reads on a replica needs nobody else for that.
fn reads_go_on_while_the_primary_is_away(on: On) {
    let mut cluster = counting(on.flavour);
    let proxy = Proxy::start_with(on, &config(&cluster, on, "session"));
    run(async {
        let mut sessions = Vec::new();
        for id in 1..=4 {
            let mut conn = connect(proxy.weir.address(), Some("shop")).await;
            Write::Text.run(&mut conn, id).await.unwrap();
            let start = Instant::now();
            let name = loop {
                let name = who(&mut conn).await;
                if name != "primary" {
                    break name;
                }
                assert!(start.elapsed() < PATIENCE);
            };
            sessions.push((conn, name));
        }
        cluster.topology.primary.crash().unwrap();
        eventually("its end to be seen", PATIENCE, || {
            let metrics = proxy.weir.metrics().unwrap();
            let labels = [("backend", "primary"), ("cluster", "main"), ("role", "primary")];
            metrics.value("weir_backend_up", &labels).is_ok_and(|up| up < 0.5)
        });
        for (conn, name) in &mut sessions {
            for _ in 0..5 {
                assert_eq!(who(conn).await, *name);
            }
        }
        for (conn, _) in sessions {
            conn.disconnect().await.unwrap();
        }
    });
    proxy.finish();
}
