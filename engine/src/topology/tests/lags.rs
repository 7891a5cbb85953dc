//! Who serves reads, how far behind, and when workers hear of it.

use super::roles::{
    cluster, config_of, falls_silent, from, id, primary, replica_of, says, writable,
};
use super::*;

/// What routing is told of a server.
fn told(topology: &Topology, name: char) -> (bool, Option<u32>, bool) {
    let snapshot = topology.current();
    let view = snapshot.backend(id(name)).unwrap();
    (view.serves_reads, view.lag_ms, view.is_fenced)
}

/// A primary called a and what a second server says.
fn beside_a_primary(facts: Facts) -> (bool, Option<u32>, bool) {
    let mut topology = cluster(2);
    says(&mut topology, 'b', facts);
    says(&mut topology, 'a', writable());
    assert_eq!(primary(&topology).as_deref(), Some("a"));
    assert_eq!(told(&topology, 'a'), (true, Some(0), false));
    told(&topology, 'b')
}

fn with(channels: Vec<Channel>) -> Facts {
    Facts { channels: Some(channels), ..replica_of('a') }
}

#[test]
fn a_replica_serves_reads_while_its_threads_run() {
    let (io, sql) = (Thread::Stopped, Thread::Stopped);
    let seconds = |behind_s| Channel { behind_s, ..from('a') };
    assert_eq!(beside_a_primary(replica_of('a')), (true, Some(0), false));
    assert_eq!(beside_a_primary(with(vec![seconds(Some(7))])), (true, Some(7000), false));
    assert_eq!(beside_a_primary(with(vec![seconds(None)])), (true, None, false));
    assert_eq!(beside_a_primary(with(vec![Channel { sql, ..from('a') }])), (false, None, false));
    assert_eq!(beside_a_primary(with(vec![Channel { io, ..from('a') }])), (false, None, false));
    // The primary is away: what was fetched is read, but how old it is nobody knows.
    let io = Thread::Connecting;
    assert_eq!(beside_a_primary(with(vec![Channel { io, ..from('a') }])), (true, None, false));
    // Not set up, or nobody may see whether it is.
    assert_eq!(beside_a_primary(with(Vec::new())), (false, None, false));
    let blind = Facts { channels: None, ..replica_of('a') };
    assert_eq!(beside_a_primary(blind), (false, None, false));
}

#[test]
fn of_several_channels_those_of_the_cluster_count() {
    let other = Channel { host: "elsewhere".into(), sql: Thread::Stopped, ..from('x') };
    let late = Channel { behind_s: Some(3), ..from('a') };
    let both = with(vec![other.clone(), late.clone()]);
    assert_eq!(beside_a_primary(both), (true, Some(3000), false));
    let twice = with(vec![late, Channel { behind_s: Some(5), ..from('a') }]);
    assert_eq!(beside_a_primary(twice), (true, Some(5000), false));
    assert_eq!(beside_a_primary(with(vec![other])), (false, None, false));
}

#[test]
fn groups_and_nodes_serve_while_they_are_current() {
    let member = |is_online, lag_ms| {
        let group = Member { is_online, is_primary: false, has_quorum: true, lag_ms };
        Facts { group: Some(group), super_read_only: Some(true), ..writable() }
    };
    assert_eq!(beside_a_primary(member(true, Some(120))), (true, Some(120), true));
    assert_eq!(beside_a_primary(member(false, Some(120))), (false, None, true));
    let node = |is_desynced| {
        let galera = Some(Node { is_synced: true, is_desynced });
        Facts { galera, read_only: Some(true), is_mariadb: true, ..writable() }
    };
    assert_eq!(beside_a_primary(node(false)), (true, Some(0), true));
    assert_eq!(beside_a_primary(node(true)), (false, None, true));
}

#[test]
fn a_server_that_is_called_a_replica_serves_without_replication() {
    let config = config_of(2, |index| if index == 1 { "replica" } else { "auto" }, "");
    let mut topology = Topology::new(&config);
    says(&mut topology, 'a', writable());
    assert_eq!(told(&topology, 'b'), (false, None, false));
    says(&mut topology, 'b', writable());
    assert_eq!(told(&topology, 'b'), (true, None, false));
    // What is set up has to run all the same.
    says(&mut topology, 'b', with(vec![Channel { sql: Thread::Stopped, ..from('a') }]));
    assert_eq!(told(&topology, 'b'), (false, None, false));
}

#[test]
fn a_heartbeat_takes_the_place_of_seconds() {
    let lines = "heartbeat_table = \"percona.heartbeat\"";
    let mut topology = Topology::new(&config_of(2, |_| "auto", lines));
    says(&mut topology, 'a', writable());
    let heartbeat_ms = Some(345);
    says(&mut topology, 'b', Facts { heartbeat_ms, ..replica_of('a') });
    assert_eq!(told(&topology, 'b'), (true, Some(345), false));
    says(&mut topology, 'b', replica_of('a'));
    assert_eq!(told(&topology, 'b'), (true, None, false));
    let stopped = with(vec![Channel { io: Thread::Stopped, ..from('a') }]);
    says(&mut topology, 'b', Facts { heartbeat_ms, ..stopped });
    assert_eq!(told(&topology, 'b'), (false, None, false));
}

#[test]
fn fences_are_each_familys_own_and_outlast_silence() {
    let read_only = Some(true);
    let mysql = Facts { super_read_only: Some(false), ..replica_of('a') };
    assert_eq!(beside_a_primary(mysql), (true, Some(0), false));
    let mysql = Facts { super_read_only: Some(true), ..replica_of('a') };
    assert_eq!(beside_a_primary(mysql), (true, Some(0), true));
    let aurora = Facts { innodb_read_only: Some(true), ..replica_of('a') };
    assert_eq!(beside_a_primary(aurora), (true, Some(0), true));
    let mut topology = cluster(2);
    says(&mut topology, 'a', writable());
    says(&mut topology, 'b', Facts { is_mariadb: true, read_only, ..replica_of('a') });
    assert_eq!(told(&topology, 'b'), (true, Some(0), true));
    falls_silent(&mut topology, 'b');
    assert_eq!(told(&topology, 'b'), (false, None, true));
    falls_silent(&mut topology, 'a');
    assert_eq!(told(&topology, 'a'), (false, Some(0), false));
}

/// Lags in milliseconds one after the other, and whether workers hear of each.
#[test]
fn small_changes_of_lag_wake_nobody() {
    let lines = "heartbeat_table = \"percona.heartbeat\"";
    let mut topology = Topology::new(&config_of(2, |_| "auto", lines));
    says(&mut topology, 'a', writable());
    let mut lag = |heartbeat_ms| {
        let facts = Facts { heartbeat_ms, ..replica_of('a') };
        let news = topology.observe(id('b'), Observation::Answered(Box::new(facts))).is_some();
        (news, told(&topology, 'b').1, topology.status(id('b')).lag_ms)
    };
    for (now, news, routing) in [
        (Some(0), true, Some(0)),
        (Some(99), false, Some(0)),
        (Some(100), true, Some(100)),
        (Some(199), false, Some(100)),
        (Some(1), false, Some(100)),
        (Some(0), true, Some(0)),
        (Some(10_000), true, Some(10_000)),
        (Some(10_999), false, Some(10_000)),
        (Some(9_001), false, Some(10_000)),
        (Some(11_000), true, Some(11_000)),
        (None, true, None),
        (None, false, None),
        (Some(u32::MAX), true, Some(u32::MAX)),
    ] {
        // Metrics show what is, whatever routing was told.
        assert_eq!(lag(now), (news, routing, now));
    }
}

#[test]
fn transactions_behind_are_counted_from_the_primarys_last_probe() {
    let at = |facts: Facts, text: &str| {
        let position = crate::base::MariaDbPosition::parse(text).unwrap();
        Facts { gtids: Some(crate::base::Gtids::MariaDb(position)), ..facts }
    };
    let mut topology = cluster(2);
    let behind = |topology: &Topology| topology.status(id('b')).behind;
    says(&mut topology, 'b', at(replica_of('a'), "0-1-90"));
    assert_eq!(behind(&topology), None);
    says(&mut topology, 'a', at(writable(), "0-1-100"));
    says(&mut topology, 'b', at(replica_of('a'), "0-1-93"));
    assert_eq!((behind(&topology), topology.status(id('a')).behind), (Some(7), Some(0)));
    says(&mut topology, 'b', at(replica_of('a'), "0-1-101"));
    assert_eq!(behind(&topology), Some(0));
    says(&mut topology, 'b', replica_of('a'));
    assert_eq!(behind(&topology), None);
}
