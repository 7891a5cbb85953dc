//! Recorded replies through a whole session, cut everywhere.

use super::*;
use crate::testdata::{Recording, recordings};
use crate::wire::Command;
use crate::wire::reply::{Dialect, Expect, ReplyWalk};

const FORMS: Capabilities = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);

/// The replies that are more than an OK.
const SHAPES: [(Command, Expect); 7] = [
    (Command::Query, Expect::Query),
    (Command::StmtBulkExecute, Expect::Query),
    (Command::StmtExecute, Expect::Query),
    (Command::StmtPrepare, Expect::Prepare),
    (Command::StmtFetch, Expect::Fetch),
    (Command::FieldList, Expect::FieldList),
    (Command::Statistics, Expect::Statistics),
];

/// Weir answers these itself, or with other than what the client asked.
const OTHERS: [Command; 3] = [Command::ProcessKill, Command::ChangeUser, Command::ProcessInfo];

/// Recorded replies to commands that are relayed, with what was asked.
fn replies() -> Vec<(Recording, Command, Expect)> {
    let replies: Vec<_> = recordings()
        .into_iter()
        .filter_map(|recording| {
            let command = Command::from_byte(recording.command?)?;
            // The second half of an upload is no reply by itself.
            let relayed = !OTHERS.contains(&command) && !recording.name.contains("load-local");
            let expect = SHAPES.iter().find(|(of, _)| *of == command);
            relayed.then(|| (recording, command, expect.map_or(Expect::Ok, |(_, e)| *e)))
        })
        .collect();
    assert!(replies.len() > 200, "only {}", replies.len());
    replies
}

/// A session whose backend has what was negotiated when this was recorded.
fn session(recording: &Recording, client: Capabilities) -> Pair {
    let mut server = server(NATIVE);
    server.capabilities = OLD.union(recording.capabilities);
    let mut pair = Pair::greeted(server);
    pair.client(&login(client, "open", Some(NATIVE), &[]));
    pair.grant(OLD.union(recording.capabilities), LOGIN_OK);
    pair.sides = Sides::default();
    pair
}

/// What the walk alone makes of a reply.
fn walked(recording: &Recording, expect: Expect, client: Capabilities) -> Vec<u8> {
    let dialect = Dialect { client, backend: recording.capabilities };
    let mut walk = ReplyWalk::new(dialect, Status::AUTOCOMMIT);
    walk.begin(expect);
    let mut edits = Edits::default();
    let mut input = recording.bytes.clone();
    walk.feed(&mut input, &mut edits).unwrap();
    let mut sides = Sides::default();
    sides.carry_out(&edits, Side::Backend, &input);
    sides.client
}

#[test]
fn every_recorded_reply_at_every_cut() {
    for (recording, asked, expect) in replies() {
        let form = recording.capabilities;
        for client in [OLD.union(form), OLD.union(form.without(FORMS))] {
            let want = walked(&recording, expect, client);
            let bytes = &recording.bytes;
            // Long rows are all alike: cuts around their ends are what matters.
            let cuts = (1..bytes.len()).filter(|cut| *cut < 600 || bytes.len() - cut < 100);
            for cut in cuts {
                let mut pair = session(&recording, client);
                pair.client(&command(&[asked.as_byte(), 1, 0, 0, 0]));
                pair.backend(&bytes[..cut]);
                assert!(!pair.session.is_at_rest());
                pair.backend(&bytes[cut..]);
                assert!(pair.sides.client == want, "{} cut at {cut}", recording.name);
                assert_eq!(pair.tally.replies, 1, "{}", recording.name);
            }
        }
    }
}

/// All of them on one connection, asked for in batches: each is told from the next.
#[test]
fn all_recorded_replies_one_after_the_other() {
    let all = replies();
    let mut forms: Vec<_> = all.iter().map(|(recording, ..)| recording.capabilities).collect();
    forms.sort_by_key(|form| form.bits());
    forms.dedup();
    assert_eq!(forms.len(), 5);
    for form in forms {
        let of_form = |r: &&(Recording, Command, Expect)| r.0.capabilities == form;
        let all: Vec<_> = all.iter().filter(of_form).collect();
        for client in [OLD.union(form), OLD.union(form.without(FORMS))] {
            let mut pair = session(&all[0].0, client);
            for batch in all.chunks(PIPELINED_MAX) {
                let ask = |asked: &Command| command(&[asked.as_byte(), 1, 0, 0, 0]);
                let asked: Vec<u8> = batch.iter().flat_map(|(_, asked, _)| ask(asked)).collect();
                pair.client(&asked);
                let came: Vec<u8> = batch.iter().flat_map(|(r, ..)| r.bytes.clone()).collect();
                let (mut whole, mut got) = (Vec::new(), Vec::new());
                for bytes in came.chunks(1000) {
                    pair.backend(bytes);
                    got.append(&mut pair.sides.client);
                }
                for (recording, _, expect) in batch {
                    whole.extend(walked(recording, *expect, client));
                }
                // The status word of an EOF put in depends on what went before.
                assert_eq!(count(&got), count(&whole));
                assert_eq!(got.len(), whole.len());
            }
            assert_eq!(pair.tally.replies as usize, all.len());
        }
    }
}
