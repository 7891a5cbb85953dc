//! What probes make of the bytes of real servers, and of any bytes.

use std::path::Path;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::base::Gtids;
use crate::wire::{ErrPacket, frame, put_lenenc_bytes, put_lenenc_int};

const NEW: Capabilities = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);
const MARIADB: &str = "mariadb-10.11";
const MYSQL: &str = "mysql-9.7";

/// A recorded answer.
fn bytes_of(family: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/topology");
    std::fs::read(folder.join(family).join(format!("{name}.bin"))).unwrap()
}

fn greeting_of(version: &str) -> Greeting {
    Greeting { version: version.as_bytes().to_vec(), ..greeting() }
}

/// The statements in frames that were sent.
fn statements(mut sent: &[u8]) -> Vec<String> {
    let mut statements = Vec::new();
    while let [a, b, c, 0, 3, rest @ ..] = sent {
        let (text, after) = rest.split_at(u32::from_le_bytes([*a, *b, *c, 0]) as usize - 1);
        statements.push(String::from_utf8(text.to_vec()).unwrap());
        sent = after;
    }
    assert!(sent.is_empty());
    statements
}

/// A probe that asks for everything.
fn probe_of(version: &str, capabilities: Capabilities) -> Probe {
    let heartbeat = Some(("weir_capture".to_owned(), "heartbeat".to_owned()));
    let wishes = Wishes { heartbeat, followers: true };
    Probe::new(&greeting_of(version), capabilities, wishes)
}

/// What a server says that answers so, fed in pieces, and what it was asked the second time.
fn facts(family: &str, inventory: &str, answers: &[&str], piece: usize) -> (Facts, Vec<String>) {
    let version = if family == MYSQL { "9.7.4" } else { "5.5.5-10.11.19-MariaDB-log" };
    let mut probe = probe_of(version, NEW);
    let mut out = BytesMut::new();
    probe.ask(&mut out);
    let asked = statements(&out);
    assert!(asked[0].starts_with("SHOW GLOBAL VARIABLES") && asked.len() == 1);
    out.clear();
    for bytes in bytes_of(family, inventory).chunks(piece) {
        assert_eq!(probe.on_bytes(bytes, &mut out), ProbeStep::Wait);
    }
    let asked = statements(&out);
    assert_eq!(asked.len(), answers.len(), "{asked:?}");
    let all: Vec<u8> = answers.iter().flat_map(|name| bytes_of(family, name)).collect();
    let mut steps = all.chunks(piece).map(|bytes| probe.on_bytes(bytes, &mut BytesMut::new()));
    let step = steps.find(|step| *step != ProbeStep::Wait).unwrap();
    assert!(steps.next().is_none(), "not before the last byte");
    let ProbeStep::Answered(facts) = step else { panic!("{step:?}") };
    (*facts, asked)
}

const ALL: [&str; 4] = ["variables", "channels", "heartbeat", "followers"];

fn of(role: &str) -> [String; 4] {
    ALL.map(|name| format!("{role}-{name}"))
}

fn everything(family: &str, role: &str) -> Facts {
    let names = of(role);
    let names = names.each_ref().map(String::as_str);
    let inventory = format!("{role}-inventory");
    let (whole, _) = facts(family, &inventory, &names, usize::MAX);
    for piece in [1, 2, 3, 7, 100] {
        assert_eq!(facts(family, &inventory, &names, piece).0, whole, "in pieces of {piece}");
    }
    whole
}

#[test]
fn mariadb_says_what_it_is() {
    let primary = everything(MARIADB, "primary");
    assert!(primary.is_mariadb && primary.refused.is_empty());
    assert_eq!((primary.is_writable(), primary.is_fenced()), (Some(true), false));
    assert_eq!((primary.server_id, primary.channels.as_deref()), (Some(1), Some(&[][..])));
    assert_eq!(primary.gtids.as_ref().map(Gtids::to_string).as_deref(), Some("0-1-16"));
    let followers = primary.followers.as_deref().unwrap();
    let ids: Vec<_> = followers.iter().map(|it| (it.server_id, &*it.host, it.port)).collect();
    assert_eq!(ids, [(Some(3), "127.0.0.1", 22473), (Some(2), "127.0.0.1", 22475)]);
    assert!((2000..60_000).contains(&primary.heartbeat_ms.unwrap()));

    let replica = everything(MARIADB, "replica");
    assert_eq!((replica.is_writable(), replica.is_fenced()), (Some(false), true));
    let [channel] = replica.channels.as_deref().unwrap() else { panic!("one channel") };
    assert_eq!((&*channel.host, channel.port), ("127.0.0.1", Some(22474)));
    assert_eq!(
        (channel.server_id, channel.behind_s, channel.is_running()),
        (Some(1), Some(0), true)
    );
    let gtids = (replica.gtids.unwrap(), primary.gtids.unwrap());
    assert_eq!(gtids.0.missing(&gtids.1), Some(0));
    assert_eq!((replica.galera, replica.group), (None, None));
}

#[test]
fn mysql_says_what_it_is() {
    let primary = everything(MYSQL, "primary");
    assert!(!primary.is_mariadb && primary.refused.is_empty());
    assert_eq!((primary.is_writable(), primary.is_fenced()), (Some(true), false));
    assert_eq!(primary.channels.as_deref(), Some(&[][..]));
    // No report_host.
    let followers = primary.followers.as_deref().unwrap();
    assert!(followers.iter().all(|it| it.host.is_empty() && it.port > 0 && it.uuid.is_some()));

    let replica = everything(MYSQL, "replica");
    // read_only alone lets administrators write.
    assert_eq!((replica.is_writable(), replica.is_fenced()), (Some(false), false));
    let [channel] = replica.channels.as_deref().unwrap() else { panic!("one channel") };
    assert_eq!(channel.uuid, primary.uuid);
    assert_eq!((channel.behind_s, channel.is_running()), (Some(0), true));
    assert!(followers.iter().any(|it| it.uuid == replica.uuid));
    assert_eq!(replica.gtids.unwrap().missing(&primary.gtids.unwrap()), Some(0));
}

#[test]
fn a_member_of_a_group_says_so() {
    let answers = [
        "group-variables",
        "group-channels",
        "group-members",
        "primary-heartbeat",
        "primary-followers",
    ];
    let (facts, asked) = facts(MYSQL, "group-inventory", &answers, 5);
    assert!(asked[2].contains("replication_group_members") && asked[2].contains("MEMBER_ROLE"));
    let lag_ms = Some(0);
    let leads = Member { is_online: true, is_primary: true, has_quorum: true, lag_ms };
    assert_eq!(facts.group, Some(leads));
    assert_eq!(facts.channels.as_deref(), Some(&[][..]));
}

#[test]
fn what_is_stopped_or_refused_is_known_for_that() {
    for (family, grant) in [(MARIADB, "SLAVE MONITOR"), (MYSQL, "REPLICATION CLIENT")] {
        let names =
            ["replica-variables", "stopped-channels", "replica-heartbeat", "replica-followers"];
        let (stopped, _) = facts(family, "replica-inventory", &names, 9);
        let [channel] = stopped.channels.as_deref().unwrap() else { panic!("one channel") };
        assert_eq!((channel.io, channel.sql), (Thread::Running, Thread::Stopped));
        assert_eq!((channel.behind_s, channel.is_running()), (None, false));

        let names =
            ["replica-variables", "denied-channels", "denied-heartbeat", "denied-followers"];
        let (denied, _) = facts(family, "replica-inventory", &names, 9);
        assert_eq!((denied.is_writable(), denied.channels), (Some(false), None));
        assert_eq!((denied.heartbeat_ms, denied.followers), (None, None));
        let refused: Vec<_> = denied.refused.iter().map(|it| (it.question, it.code)).collect();
        let (channels, followers) = (Question::Channels, Question::Followers);
        assert_eq!(refused, [(channels, 1227), (Question::Heartbeat, 1142), (followers, 1227)]);
        assert!(denied.refused[0].message.contains(grant), "{:?}", denied.refused);
    }
}

#[test]
fn a_connection_without_privileges_is_replaced_after_a_while() {
    let mut probe = probe_of("9.7.4", NEW);
    let denials = |count: usize, code| {
        (0..count).map(|_| refusal(code, "denied").to_vec()).collect::<Vec<_>>().concat()
    };
    let mut ask = |code| {
        let mut out = BytesMut::new();
        probe.ask(&mut out);
        if statements(&out).len() == 1 {
            assert_eq!(probe.on_bytes(&denials(1, 1064), &mut out), ProbeStep::Wait);
        }
        let step = probe.on_bytes(&denials(3, code), &mut out);
        assert!(matches!(step, ProbeStep::Answered(_)), "{step:?}");
        probe.is_stale()
    };
    assert!((0..39).all(|_| !ask(1227)));
    // An answer in between begins anew; another error is not about privileges.
    assert!(!ask(1146));
    assert_eq!((0..40).map(|_| ask(1142)).filter(|stale| *stale).count(), 1);
}

#[test]
fn each_version_is_asked_in_its_own_words() {
    let asked = |version: &str| {
        let mut probe = probe_of(version, NEW);
        let mut out = BytesMut::new();
        probe.ask(&mut out);
        out.clear();
        // It has no variables that we know.
        let refusal = refusal(1064, "no");
        assert_eq!(probe.on_bytes(&refusal, &mut out), ProbeStep::Wait);
        let asked = statements(&out);
        (asked[0].clone(), asked[2].clone())
    };
    for (version, channels, followers) in [
        ("5.7.44-log", "SHOW SLAVE STATUS", "SHOW SLAVE HOSTS"),
        ("8.0.21", "SHOW SLAVE STATUS", "SHOW SLAVE HOSTS"),
        ("8.0.22", "SHOW REPLICA STATUS", "SHOW REPLICAS"),
        ("9.7.4-commercial", "SHOW REPLICA STATUS", "SHOW REPLICAS"),
        ("5.5.5-10.5.1-MariaDB", "SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS"),
        ("11.8.2-MariaDB-ubu2404", "SHOW ALL SLAVES STATUS", "SHOW SLAVE HOSTS"),
        ("", "SHOW SLAVE STATUS", "SHOW SLAVE HOSTS"),
    ] {
        assert_eq!(asked(version), (channels.to_owned(), followers.to_owned()), "{version}");
    }
}

#[test]
fn servers_without_deprecate_eof_are_understood() {
    let mut probe =
        Probe::new(&greeting_of("8.4.0"), Capabilities::SESSION_TRACK, Wishes::default());
    let mut out = BytesMut::new();
    probe.ask(&mut out);
    assert_eq!(probe.on_bytes(&refusal(1064, "no"), &mut out), ProbeStep::Wait);
    let answer = bytes_of(MYSQL, "replica-channels-old");
    let ProbeStep::Answered(facts) = probe.on_bytes(&answer, &mut out) else { panic!("no end") };
    assert!(facts.channels.unwrap()[0].is_running());
    // The questions are asked again on the same connection, without another inventory.
    out.clear();
    probe.ask(&mut out);
    assert_eq!(statements(&out), ["SHOW REPLICA STATUS"]);
}

#[test]
fn huge_and_odd_answers_are_bounded() {
    let ask = |answer: &[u8]| {
        let mut probe = Probe::new(&greeting_of("8.4.0"), NEW, Wishes::default());
        let mut out = BytesMut::new();
        probe.ask(&mut out);
        assert_eq!(probe.on_bytes(&refusal(1064, "no"), &mut out), ProbeStep::Wait);
        let mut steps = answer.chunks(8 << 10).map(|bytes| probe.on_bytes(bytes, &mut out));
        steps.find(|step| *step != ProbeStep::Wait)
    };
    let unreadable = |answer: &[u8]| {
        let Some(ProbeStep::Answered(facts)) = ask(answer) else { return false };
        facts.channels.is_none() && facts.refused[0].question == Question::Channels
    };
    // A value of 20 MiB takes two frames, and may say anything.
    let huge = table(&[&"\u{fe}".repeat(10 << 20)], 1);
    assert!(unreadable(&huge));
    // Many rows, many bytes, many columns.
    assert!(unreadable(&table(&["x"], 1025)) && !unreadable(&table(&["x"], 1024)));
    assert!(unreadable(&table(&[&"x".repeat(900 << 10)], 3)));
    let wide: Vec<&str> = vec!["x"; 257];
    assert!(unreadable(&table(&wide, 1)) && !unreadable(&table(&wide[1..], 1)));
    // Neither an answer nor the beginning of one.
    for bytes in
        [&[0, 0, 0, 1][..], &[1, 0, 0, 1, 0xFB], &[0xFF, 0xFF, 0xFF, 1], &[2, 0, 0, 1, 0, 0]]
    {
        assert_eq!(ask(bytes), Some(ProbeStep::Failed), "{bytes:?}");
    }
    let extra = [table(&["x"], 1), table(&["x"], 1)].concat();
    assert_eq!(ask(&extra), Some(ProbeStep::Failed));
}

/// An error, as its server sends it.
fn refusal(code: u16, message: &str) -> BytesMut {
    let mut out = BytesMut::new();
    ErrPacket { code, sqlstate: *b"HY000", message: message.as_bytes() }.encode(1, &mut out);
    out
}

/// A result of equal rows.
fn table(row: &[&str], rows: usize) -> BytesMut {
    let mut out = BytesMut::new();
    frame(&mut out, 1, |out| put_lenenc_int(out, row.len() as u64));
    for _ in row {
        frame(&mut out, 2, |out| {
            for text in [&b"def"[..], b"", b"", b"", b"c", b""] {
                put_lenenc_bytes(out, text);
            }
        });
    }
    for _ in 0..rows {
        frame(&mut out, 3, |out| {
            row.iter().for_each(|text| put_lenenc_bytes(out, text.as_bytes()))
        });
    }
    frame(&mut out, 4, |out| out.extend_from_slice(&[0xFE, 0, 0, 2, 0, 0, 0]));
    out
}

proptest! {
    /// Recorded answers with bytes changed, cut and put together anyhow.
    #[test]
    fn any_bytes_are_survived(
        mariadb in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..200),
        piece in 1..500_usize,
    ) {
        let (family, version) = if mariadb { (MARIADB, "10.11-MariaDB") } else { (MYSQL, "9.7.4") };
        let mut all = bytes_of(family, "replica-inventory");
        for name in of("replica") {
            all.extend(bytes_of(family, &name));
        }
        for (at, byte) in changes {
            let at = at.index(all.len());
            all[at] = byte;
        }
        all.extend(tail);
        let mut probe = probe_of(version, NEW);
        let mut out = BytesMut::new();
        probe.ask(&mut out);
        for bytes in all.chunks(piece) {
            match probe.on_bytes(bytes, &mut out) {
                ProbeStep::Wait => {}
                ProbeStep::Answered(_) => probe.ask(&mut out),
                ProbeStep::Failed => break,
            }
        }
    }
}
