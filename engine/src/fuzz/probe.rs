//! A server's answers to probes.
//!
//! Purpose: the dialogue of a probe, and the decisions made of what it finds out.
//! Never: judge what is decided.

use bytes::BytesMut;

use crate::base::BackendId;
use crate::config::{Offline, parse, sample};
use crate::topology::{Observation, Probe, ProbeStep, Topology, Wishes};
use crate::wire::{Capabilities, Greeting, NONCE_LEN, Status};

/// Answers to one probe after the other, of a server of either family and age. The first two bytes
/// say which, and the size of the pieces.
///
/// # Panics
/// More is refused than was asked, or a cluster has two primaries.
pub fn probe(data: &[u8]) {
    let [kind, piece, answers @ ..] = data else { return };
    let versions: [&[u8]; 4] = [b"5.7.44", b"8.0.36", b"9.7.4", b"5.5.5-10.11.19-MariaDB"];
    let version = versions.get(usize::from(kind % 4)).copied().unwrap_or_default();
    let capabilities = Capabilities::SESSION_TRACK.set(Capabilities::DEPRECATE_EOF, kind & 4 != 0);
    let heartbeat = Some(("a".to_owned(), "b".to_owned()));
    let greeting = Greeting {
        version: version.to_vec(),
        connection_id: 1,
        nonce: [1; NONCE_LEN],
        capabilities,
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: Vec::new(),
    };
    let mut probe = Probe::new(&greeting, capabilities, Wishes { heartbeat, followers: true });
    let Ok(config) = parse(&sample(), &Offline) else { return };
    let mut topology = Topology::new(&config);
    let mut out = BytesMut::new();
    probe.ask(&mut out);
    let mut backends = (0..3).map(BackendId).cycle();
    for bytes in answers.chunks(usize::from(*piece).max(1)) {
        match probe.on_bytes(bytes, &mut out) {
            ProbeStep::Wait => {}
            ProbeStep::Failed => return,
            ProbeStep::Answered(facts) => {
                assert!(facts.refused.len() <= QUESTIONS_MAX, "more is refused than was asked");
                let Some(backend) = backends.next() else { return };
                topology.observe(backend, Observation::Answered(facts));
                check(&topology);
                out.clear();
                probe.ask(&mut out);
            }
        }
    }
}

fn check(topology: &Topology) {
    let snapshot = topology.current();
    let primaries = snapshot.backends.iter().filter(|it| it.role == crate::config::Role::Primary);
    assert!(primaries.count() <= 1, "two primaries");
}

const QUESTIONS_MAX: usize = 6;
