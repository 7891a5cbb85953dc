//! Who becomes the primary, one cluster after the other.

use super::*;

/// A cluster of servers called a, b, c, … with nothing fixed.
pub(super) fn cluster(count: u8) -> Topology {
    topology(count, |_| "auto")
}

/// The same with roles, and lines for the cluster.
pub(super) fn topology(count: u8, role: fn(u8) -> &'static str) -> Topology {
    Topology::new(&config_of(count, role, ""))
}

pub(super) fn config_of(count: u8, role: fn(u8) -> &'static str, lines: &str) -> Config {
    let mut text = format!(
        "[[endpoint]]\nname = \"app\"\nlisten = \"127.0.0.1:6033\"\ncluster = \"main\"\n\
         [[user]]\nname = \"u\"\npassword = \"p\"\n[[cluster]]\nname = \"main\"\n{lines}\n\
         monitor = {{ user = \"m\", password = \"\" }}\n"
    );
    for index in 0..count {
        let (name, role) = (char::from(b'a' + index), role(index));
        text.push_str(&format!(
            "[[cluster.backend]]\nname = \"{name}\"\naddress = \"10.0.0.{}:3306\"\nrole = \"{role}\"\n",
            index + 1
        ));
    }
    parse(&text, &Offline).unwrap()
}

/// A server that takes writes and replicates from nobody.
pub(super) fn writable() -> Facts {
    Facts {
        read_only: Some(false),
        super_read_only: Some(false),
        channels: Some(Vec::new()),
        ..Facts::default()
    }
}

/// A channel from the server with that letter.
pub(super) fn from(source: char) -> Channel {
    Channel {
        host: format!("10.0.0.{}", source as u8 - b'a' + 1).into(),
        port: Some(3306),
        io: Thread::Running,
        sql: Thread::Running,
        behind_s: Some(0),
        ..Channel::default()
    }
}

/// A server that refuses writes and replicates.
pub(super) fn replica_of(source: char) -> Facts {
    Facts { read_only: Some(true), channels: Some(vec![from(source)]), ..Facts::default() }
}

/// One that nobody told to refuse writes.
fn careless_replica_of(source: char) -> Facts {
    Facts { channels: Some(vec![from(source)]), ..writable() }
}

fn stopped_replica_of(source: char) -> Facts {
    let (io, sql) = (Thread::Stopped, Thread::Stopped);
    let channel = Channel { io, sql, behind_s: None, ..from(source) };
    Facts { channels: Some(vec![channel]), ..writable() }
}

fn read_only() -> Facts {
    Facts { read_only: Some(true), ..writable() }
}

pub(super) fn id(name: char) -> BackendId {
    BackendId(u16::from(name as u8 - b'a'))
}

/// A server answers.
pub(super) fn says(topology: &mut Topology, name: char, facts: Facts) {
    topology.observe(id(name), Observation::Answered(Box::new(facts)));
}

pub(super) fn falls_silent(topology: &mut Topology, name: char) {
    topology.observe(id(name), Observation::Unreachable);
}

pub(super) fn primary(topology: &Topology) -> Option<String> {
    topology.current().primary(ClusterId(0)).map(|view| view.name.to_string())
}

/// Each server says something; who is the primary then.
fn check(said: &[(char, Facts)], expected: Option<&str>) {
    let count = said.iter().map(|(name, _)| *name as u8 - b'a' + 1).max().unwrap();
    let mut topology = cluster(count);
    for (name, facts) in said {
        says(&mut topology, *name, facts.clone());
    }
    assert_eq!(primary(&topology).as_deref(), expected, "{said:#?}");
}

#[test]
fn the_one_that_takes_writes_is_the_primary() {
    check(&[('a', writable())], Some("a"));
    check(&[('a', read_only())], None);
    check(&[('a', replica_of('b')), ('b', writable()), ('c', replica_of('b'))], Some("b"));
    check(&[('a', careless_replica_of('b')), ('b', writable())], Some("b"));
    check(&[('a', stopped_replica_of('b')), ('b', writable())], Some("b"));
    check(&[('a', read_only()), ('b', read_only())], None);
    // Of Aurora.
    let reader = Facts { innodb_read_only: Some(true), read_only: Some(false), ..writable() };
    check(&[('a', reader), ('b', writable())], Some("b"));
    let fenced = Facts { super_read_only: Some(true), read_only: None, ..writable() };
    check(&[('a', fenced), ('b', writable())], Some("b"));
    // Something that says nothing is no primary among others, but alone it is.
    check(&[('a', Facts::default()), ('b', writable())], Some("b"));
    check(&[('a', Facts::default())], Some("a"));
    // From outside the cluster: still the primary of this one.
    let of_another = Channel { host: "db.example".into(), ..from('x') };
    check(
        &[('a', Facts { channels: Some(vec![of_another]), ..writable() }), ('b', replica_of('a'))],
        Some("a"),
    );
    // Nobody may see who replicates from whom: the only one that takes writes.
    let blind = |facts: Facts| Facts { channels: None, ..facts };
    check(&[('a', blind(replica_of('b'))), ('b', blind(writable()))], Some("b"));
    check(&[('a', blind(writable())), ('b', blind(writable()))], None);
    // Two that replicate from each other.
    check(&[('a', replica_of('b')), ('b', careless_replica_of('a'))], Some("b"));
    check(&[('a', careless_replica_of('b')), ('b', careless_replica_of('a'))], Some("a"));
}

#[test]
fn a_source_is_known_by_its_uuid_or_its_number_whatever_its_host_is_called() {
    let uuid = |text: &str| Some(Box::from(text));
    let named =
        |host: &str, uuid, server_id| Channel { host: host.into(), uuid, server_id, ..from('z') };
    for channel in [named("db2.example", uuid("U-2"), None), named("db2.example", None, Some(2))] {
        let a = Facts {
            channels: Some(vec![channel]),
            server_id: Some(1),
            uuid: uuid("u-1"),
            ..writable()
        };
        let b = Facts { server_id: Some(2), uuid: uuid("u-2"), ..writable() };
        check(&[('a', a), ('b', b)], Some("b"));
    }
}

#[test]
fn nobody_is_before_all_were_probed() {
    let mut topology = cluster(3);
    assert!(topology.awaits_a_primary());
    says(&mut topology, 'c', writable());
    says(&mut topology, 'b', writable());
    assert_eq!((primary(&topology), topology.awaits_a_primary()), (None, true));
    falls_silent(&mut topology, 'a');
    assert_eq!((primary(&topology).as_deref(), topology.awaits_a_primary()), (Some("b"), false));
    // Having logged in is not yet having said what it is.
    let mut topology = cluster(1);
    topology.observe(id('a'), Observation::LoggedIn(Arc::new(greeting())));
    assert_eq!((primary(&topology), topology.awaits_a_primary()), (None, true));
    // A replica of a server that has never answered is not promoted by that.
    let mut topology = cluster(2);
    falls_silent(&mut topology, 'a');
    let of_somebody = Channel { host: "db1".into(), io: Thread::Connecting, ..from('x') };
    says(&mut topology, 'b', Facts { channels: Some(vec![of_somebody]), ..writable() });
    assert_eq!(primary(&topology), None);
}

#[test]
fn of_two_the_known_one_stays() {
    let mut topology = cluster(2);
    says(&mut topology, 'a', replica_of('b'));
    says(&mut topology, 'b', writable());
    says(&mut topology, 'a', writable());
    assert_eq!(primary(&topology).as_deref(), Some("b"));
    // And when it falls silent beside one that took writes all the time.
    says(&mut topology, 'b', writable());
    falls_silent(&mut topology, 'b');
    assert_eq!(primary(&topology).as_deref(), Some("b"));
    // Unless that one stopped, and began again.
    says(&mut topology, 'a', read_only());
    says(&mut topology, 'a', writable());
    assert_eq!(primary(&topology).as_deref(), Some("a"));
    // The old one comes back as if nothing had been.
    says(&mut topology, 'b', writable());
    assert_eq!(primary(&topology).as_deref(), Some("a"));
}

#[test]
fn one_that_has_everything_is_followed_although_it_took_writes_before() {
    let with = |text: &str| {
        let position = crate::base::MariaDbPosition::parse(text).unwrap();
        Facts { gtids: Some(crate::base::Gtids::MariaDb(position)), ..writable() }
    };
    for (has, expected) in [("0-1-9", "a"), ("0-2-10", "b"), ("0-2-11", "b")] {
        let mut topology = cluster(2);
        says(&mut topology, 'b', Facts { read_only: Some(true), ..with("0-1-9") });
        says(&mut topology, 'a', with("0-1-10"));
        says(&mut topology, 'b', with(has));
        says(&mut topology, 'a', with("0-1-10"));
        falls_silent(&mut topology, 'a');
        assert_eq!(primary(&topology).as_deref(), Some(expected), "{has}");
    }
}

#[test]
fn a_primary_that_is_silent_stays_until_another_was_made_one() {
    let mut topology = cluster(3);
    for name in ['b', 'c'] {
        says(&mut topology, name, replica_of('a'));
    }
    says(&mut topology, 'a', writable());
    falls_silent(&mut topology, 'a');
    // The others lose it and try to reach it.
    let lost = Channel { io: Thread::Connecting, ..from('a') };
    says(&mut topology, 'b', Facts { channels: Some(vec![lost]), ..replica_of('a') });
    assert_eq!(primary(&topology).as_deref(), Some("a"));
    // Stopped, and even writable, but not yet made a primary.
    says(&mut topology, 'b', stopped_replica_of('a'));
    assert_eq!(primary(&topology).as_deref(), Some("a"));
    says(&mut topology, 'b', writable());
    assert_eq!(primary(&topology).as_deref(), Some("b"));
}

#[test]
fn a_primary_that_refuses_writes_is_none() {
    let mut topology = cluster(3);
    for name in ['b', 'c'] {
        says(&mut topology, name, replica_of('a'));
    }
    says(&mut topology, 'a', writable());
    says(&mut topology, 'a', read_only());
    assert_eq!(primary(&topology), None);
    // By hand: writable before its old channel is gone.
    says(&mut topology, 'b', stopped_replica_of('a'));
    assert_eq!(primary(&topology).as_deref(), Some("b"));
    says(&mut topology, 'a', replica_of('b'));
    says(&mut topology, 'b', writable());
    assert_eq!(primary(&topology).as_deref(), Some("b"));
    // Made a replica while it takes writes, which it should not.
    says(&mut topology, 'b', careless_replica_of('a'));
    says(&mut topology, 'a', writable());
    assert_eq!(primary(&topology).as_deref(), Some("a"));
    // A probe that could not read the variables changes nothing.
    says(&mut topology, 'a', Facts::default());
    assert_eq!(primary(&topology).as_deref(), Some("a"));
}

#[test]
fn groups_and_nodes_name_their_own() {
    let member = |is_primary, has_quorum| {
        let group = Member { is_online: true, is_primary, has_quorum, lag_ms: Some(0) };
        Facts { group: Some(group), read_only: Some(!is_primary), ..writable() }
    };
    check(&[('a', member(false, true)), ('b', member(true, true))], Some("b"));
    check(&[('a', member(true, false)), ('b', member(true, true))], Some("b"));
    check(&[('a', member(true, false))], None);
    // One that left the group and takes writes is no match for it.
    check(&[('a', writable()), ('b', member(true, true))], Some("b"));
    let node = |is_synced, is_desynced| Facts {
        galera: Some(Node { is_synced, is_desynced }),
        ..writable()
    };
    check(
        &[('a', node(false, false)), ('b', node(true, false)), ('c', node(true, false))],
        Some("b"),
    );
    check(&[('a', node(true, true)), ('b', node(true, false))], Some("b"));
    // It stays when the first comes back.
    let mut topology = cluster(2);
    says(&mut topology, 'a', node(false, false));
    says(&mut topology, 'b', node(true, false));
    says(&mut topology, 'a', node(true, false));
    assert_eq!(primary(&topology).as_deref(), Some("b"));
    falls_silent(&mut topology, 'b');
    assert_eq!(primary(&topology).as_deref(), Some("a"));
}

#[test]
fn the_configuration_has_the_last_word() {
    let mut topology = topology(2, |index| if index == 0 { "primary" } else { "auto" });
    assert_eq!((primary(&topology).as_deref(), topology.awaits_a_primary()), (Some("a"), true));
    falls_silent(&mut topology, 'a');
    assert!(!topology.awaits_a_primary());
    says(&mut topology, 'a', read_only());
    says(&mut topology, 'b', writable());
    assert_eq!(primary(&topology).as_deref(), Some("a"));
    // A reload frees it: it refuses writes.
    topology.reload(&config_of(2, |_| "auto", ""));
    assert_eq!(primary(&topology).as_deref(), Some("b"));
    topology.reload(&config_of(2, |index| if index == 1 { "replica" } else { "auto" }, ""));
    assert_eq!(primary(&topology), None);
    topology.reload(&config_of(2, |_| "auto", ""));
    assert_eq!(primary(&topology).as_deref(), Some("b"));
    // Another place in the file, the same server.
    let swapped = config_of(3, |_| "auto", "");
    topology.reload(&swapped);
    assert_eq!(primary(&topology).as_deref(), Some("b"));
}
