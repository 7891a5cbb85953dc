//! What an operator hears, and how often.

use super::roles::{cluster, config_of, falls_silent, from, id, replica_of, says, writable};
use super::*;

fn names(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn each_change_is_told_once() {
    let mut topology = cluster(2);
    let heard = |topology: &mut Topology, expected: &[&str]| {
        assert_eq!(names(&topology.take_events()), expected);
    };
    says(&mut topology, 'b', replica_of('a'));
    heard(&mut topology, &["Answers(\"b\")"]);
    says(&mut topology, 'a', writable());
    heard(&mut topology, &["Answers(\"a\")", "Role(\"a\", Primary)"]);
    says(&mut topology, 'a', writable());
    says(&mut topology, 'b', replica_of('a'));
    heard(&mut topology, &[]);
    let stopped = Channel { sql: Thread::Stopped, error: "duplicate".into(), ..from('a') };
    let stopped = Facts { channels: Some(vec![stopped]), ..replica_of('a') };
    says(&mut topology, 'b', stopped.clone());
    says(&mut topology, 'b', stopped.clone());
    heard(&mut topology, &["Stopped(\"b\", \"duplicate\")"]);
    falls_silent(&mut topology, 'b');
    falls_silent(&mut topology, 'b');
    says(&mut topology, 'b', stopped);
    heard(&mut topology, &["Silent(\"b\")", "Answers(\"b\")"]);
    says(&mut topology, 'b', replica_of('a'));
    heard(&mut topology, &["Replicates(\"b\")"]);
    // A second primary, once for each time.
    let two = "TwoPrimaries { cluster: \"main\", primary: \"a\", other: \"b\" }";
    for _ in 0..2 {
        says(&mut topology, 'b', writable());
        says(&mut topology, 'a', writable());
        heard(&mut topology, &[two]);
        says(&mut topology, 'b', replica_of('a'));
        heard(&mut topology, &[]);
    }
    let read_only = Facts { read_only: Some(true), ..writable() };
    says(&mut topology, 'a', read_only.clone());
    says(&mut topology, 'a', read_only);
    heard(&mut topology, &["NoPrimary(\"main\")", "Role(\"a\", Replica)"]);
    says(&mut topology, 'b', writable());
    heard(&mut topology, &["Role(\"b\", Primary)"]);
    let status = |name| topology.status(id(name));
    assert_eq!((status('a').role_changes, status('b').role_changes), (2, 1));
    assert_eq!((status('b').probes, status('b').probes_failed), (13, 2));
    assert_eq!((status('a').is_read_only, status('b').is_read_only), (Some(true), Some(false)));
}

#[test]
fn a_missing_privilege_is_named_once_until_it_was_there() {
    let refused = |question, code| {
        let refusal = Refusal { question, code, message: "denied".to_owned() };
        Facts { refused: vec![refusal], ..writable() }
    };
    let lines = "heartbeat_table = \"h.beat\"";
    for (question, code, is_mariadb, expected) in [
        (Question::Channels, 1227, false, Some("REPLICATION CLIENT ON *.*")),
        (Question::Channels, 1227, true, Some("REPLICA MONITOR ON *.*")),
        (Question::Followers, 1227, false, Some("REPLICATION SLAVE ON *.*")),
        (Question::Followers, 1227, true, Some("REPLICATION MASTER ADMIN ON *.*")),
        (Question::Heartbeat, 1142, true, Some("SELECT ON h.beat")),
        (Question::Heartbeat, 1146, true, None),
        (Question::Group, 1142, false, Some("SELECT ON performance_schema.*")),
        (Question::Variables, 1227, false, None),
    ] {
        let facts = Facts { is_mariadb, ..refused(question, code) };
        let mut topology = Topology::new(&config_of(1, |_| "auto", lines));
        let mut heard = Vec::new();
        for facts in [facts.clone(), facts.clone(), writable(), facts] {
            says(&mut topology, 'a', facts);
            let events = topology.take_events();
            heard.push(events.iter().filter(|it| matches!(it, Event::Refused { .. })).count());
            for event in events {
                if let Event::Refused { backend, question: told, grant, message } = event {
                    assert_eq!((&*backend, told, &*message), ("a", question, "denied"));
                    assert_eq!(grant.as_deref(), expected);
                }
            }
        }
        assert_eq!(heard, [1, 0, 0, 1], "{question:?}");
    }
}
