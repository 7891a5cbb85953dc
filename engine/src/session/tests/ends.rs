//! How sessions end: in order, in the middle, by either side.

use super::*;

#[test]
fn a_quit_is_relayed_and_ends_the_session() {
    let mut pair = Pair::logged_in(NEW);
    pair.client(&command(&[1]));
    assert_eq!(pair.backend_got(), command(&[1]));
    assert!(pair.closed && pair.fault.is_none() && pair.client_got().is_empty());

    // One that comes in pieces ends it with its last byte.
    let bytes = command(&[1, 2, 3]);
    for cut in 1..bytes.len() {
        let mut pair = Pair::logged_in(NEW);
        pair.client(&bytes[..cut]);
        assert!(!pair.closed);
        pair.client(&bytes[cut..]);
        assert!(pair.closed);
        assert_eq!(pair.backend_got(), bytes);
        // Or it never comes whole.
        let mut pair = Pair::logged_in(NEW);
        pair.client(&bytes[..cut]);
        pair.client_ends();
        assert!(pair.closed);
    }
}

#[test]
fn a_quit_behind_commands_waits_for_their_answers() {
    for client in [NEW, OLD] {
        let tail: [&[u8]; 4] = [b"", &query(), &[9, 9, 9], &[0, 0, 0, 9, 9]];
        for behind in tail {
            let mut pair = Pair::logged_in(client);
            let bytes = [query(), command(&[0x1D]), query(), command(&[1])].concat();
            pair.client(&bytes);
            pair.client(behind);
            assert_eq!(pair.backend_got(), [query(), query(), command(&[1])].concat());
            assert!(!pair.closed);
            // The end of the stream says nothing new.
            pair.client_ends();
            assert!(!pair.closed && pair.backend_got().is_empty());
            pair.backend(&rows(1));
            assert!(!pair.closed);
            let last = [rows(1), b"never to be seen".to_vec()].concat();
            pair.backend(&last);
            assert!(pair.closed && pair.fault.is_none());
            let want = if client == NEW { 4 + 1 + 4 } else { 5 + 1 + 5 };
            assert_eq!(pair.client_got().len(), want);
        }
    }
}

#[test]
fn a_client_that_goes_away_is_said_goodbye_for() {
    let mut pair = Pair::logged_in(NEW);
    pair.client_ends();
    assert_eq!(pair.backend_got(), command(&[1]));
    assert!(pair.closed && pair.fault.is_none());

    // It may have shut down its sending side only: what it is owed still comes.
    let mut pair = Pair::logged_in(NEW);
    pair.client(&[query(), query()].concat());
    pair.backend_got();
    pair.client_ends();
    assert_eq!(pair.backend_got(), command(&[1]));
    pair.backend(&rows(1));
    assert!(!pair.closed);
    pair.backend(&rows(1));
    assert!(pair.closed);
    assert_eq!(pair.client_got().len(), 8);

    // The backend may go first.
    let mut pair = Pair::logged_in(NEW);
    pair.client(&query());
    pair.client_ends();
    pair.backend_ends();
    assert!(pair.closed && pair.fault.is_none());
}

#[test]
fn half_a_command_is_not_waited_for() {
    let long = command(&[3; 0xFF_FFFF]);
    let cases = [query()[..2].to_vec(), query()[..5].to_vec(), query()[..8].to_vec()];
    // A full frame is followed by another.
    for half in cases.into_iter().chain([long[..long.len() - 4].to_vec()]) {
        let mut pair = Pair::logged_in(NEW);
        pair.client(&[query(), half].concat());
        pair.backend_got();
        pair.client_ends();
        assert!(pair.closed && pair.fault.is_none());
        assert!(pair.backend_got().is_empty(), "nothing may complete the command");
    }
    // Nor is half a file.
    let mut pair = Pair::logged_in(NEW);
    pair.client(&query());
    pair.backend(&packet(1, b"\xFBf"));
    pair.client(&packet(2, b"1,2\n"));
    pair.backend_got();
    pair.client_ends();
    assert!(pair.closed && pair.backend_got().is_empty(), "a file cut short is not a file");
}

/// As after 1153, for which servers end the session.
#[test]
fn an_answer_before_the_end_of_its_command_is_the_only_one() {
    // More than is held back to be looked at.
    let long = command(&[3; 20_000]);
    let refusal = packet(1, b"\xFF\x81\x04#08S01too long");
    for cut in [5, 6, 999] {
        for more in [0, 1, 1000] {
            let mut pair = Pair::logged_in(NEW);
            pair.client(&long[..cut]);
            pair.backend(&refusal);
            assert_eq!(pair.client_error(), (1, 0x481, "too long".to_owned()));
            pair.client(&long[cut..(cut + more).min(long.len())]);
            pair.backend_ends();
            assert!(pair.closed && pair.fault.is_none(), "cut at {cut}, {more} more");
            assert!(pair.client_got().is_empty());
        }
    }
    // Without an answer there has to be one.
    let mut pair = Pair::logged_in(NEW);
    pair.client(&long[..500]);
    pair.backend_ends();
    assert_eq!(pair.client_error().1, 1053);
}

/// A dump has no end, so waiting for it would be for ever.
#[test]
fn a_binlog_dump_is_not_waited_for() {
    for code in [0x12, 0x1E] {
        for quits in [true, false] {
            let mut pair = Pair::logged_in(NEW);
            pair.client(&command(&[code, 0, 0]));
            pair.backend(&packet(1, &[0; 20]));
            assert!(!pair.closed && !pair.session.is_at_rest());
            if quits {
                pair.client(&command(&[1]))
            } else {
                pair.client_ends()
            }
            assert!(pair.closed);
        }
    }
}

#[test]
fn a_backend_that_closes_at_rest_closes_the_session() {
    let mut pair = Pair::logged_in(NEW);
    pair.client(&query());
    pair.backend(&rows(1));
    pair.client_got();
    pair.backend_ends();
    assert!(pair.closed && pair.fault.is_none() && pair.client_got().is_empty());
}

/// What the client sent, what came of the answer, and the sequence id an error then has for a new
/// client and for an old one; none inside a frame.
type Interrupted = (Vec<u8>, Vec<u8>, Option<(u8, u8)>);

#[test]
fn a_backend_that_closes_while_it_is_waited_for_is_an_error() {
    let mut boundary = rows(2);
    boundary.truncate(boundary.len() - 11);
    let in_frame = boundary[..boundary.len() - 1].to_vec();
    let in_header = [boundary.clone(), vec![7, 0]].concat();
    let table: [Interrupted; 11] = [
        (query(), vec![], Some((1, 1))),
        (query()[..6].to_vec(), vec![], Some((1, 1))),
        ([query(), query()].concat(), vec![], Some((1, 1))),
        (query(), boundary.clone(), Some((5, 6))),
        ([query(), query()].concat(), boundary, Some((5, 6))),
        // The two bytes were not passed on.
        (query(), in_header, Some((5, 6))),
        (query(), in_frame, None),
        (query(), rows(0)[..5].to_vec(), Some((2, 2))),
        // The old client is owed an EOF here; the error takes its place.
        (query(), rows(3)[..5 + 15].to_vec(), Some((3, 3))),
        ([query(), query()].concat(), rows(0), Some((1, 1))),
        ([query(), query()].concat(), [rows(0), rows(0)[..5].to_vec()].concat(), Some((2, 2))),
    ];
    for (sent, came, want) in table {
        for client in [NEW, OLD] {
            let mut pair = Pair::logged_in(client);
            pair.client(&sent);
            if !came.is_empty() {
                pair.backend(&came);
            }
            let before = pair.sides.client.clone();
            pair.backend_ends();
            assert!(pair.closed);
            assert_eq!(pair.fault.as_ref().unwrap().blame, Blame::Backend);
            let after = pair.sides.client.split_off(before.len());
            let Some((new, old)) = want else {
                assert!(after.is_empty(), "an error in the middle of a frame");
                continue;
            };
            pair.sides.client = after;
            let (seq, code, text) = pair.client_error();
            assert_eq!((seq, code), (if client == NEW { new } else { old }, 1053), "{came:?}");
            assert!(text.starts_with("weir: backend 'db1' closed the connection"), "{text}");
        }
    }
}

/// A server that shuts down, or whose `wait_timeout` is over, says so unasked.
#[test]
fn an_unasked_error_reaches_the_client() {
    let error = packet(0, b"\xFF\x1D\x04#08S01Server shutdown in progress");
    for piece in 1..=error.len() {
        let mut pair = Pair::logged_in(NEW);
        for bytes in error.chunks(piece) {
            pair.backend(bytes);
        }
        assert_eq!(pair.sides.client, error);
        assert!(pair.session.is_at_rest());
        pair.backend_ends();
        assert!(pair.closed && pair.fault.is_none());
    }
    // It crosses a command, which it then answers; the close behind it ends the session.
    let mut pair = Pair::logged_in(NEW);
    pair.backend(&error[..6]);
    assert!(!pair.session.is_at_rest());
    pair.client(&query());
    pair.backend(&error[6..]);
    assert_eq!(pair.client_error().1, 1053);
    pair.backend_ends();
    let (seq, code, _) = pair.client_error();
    assert_eq!((seq, code), (1, 1053));
    // It never comes whole.
    let mut pair = Pair::logged_in(NEW);
    pair.backend(&error[..6]);
    pair.backend_ends();
    assert_eq!(pair.client_error().0, 1);
}

/// Anything else unasked would be taken for the answer to the next command.
#[test]
fn unasked_results_end_the_session() {
    for bytes in [ok(1, Status::AUTOCOMMIT), rows(1), packet(0, &[0xFE, 0, 0, 2, 0])] {
        let mut pair = Pair::logged_in(NEW);
        pair.client(&query());
        pair.backend(&rows(1));
        pair.client_got();
        pair.backend(&bytes);
        let (seq, code, _) = pair.client_error();
        assert_eq!((seq, code), (1, 1835));
        assert_eq!(pair.fault.unwrap().blame, Blame::Backend);
    }
}

#[test]
fn bytes_that_are_no_reply_end_the_session() {
    let endless = vec![0xFF, 0xFF, 0x1F, 1, 0];
    let table: [(Vec<u8>, Vec<u8>, &str); 5] = [
        (query(), packet(1, &[0]), "an OK packet ends early"),
        (query(), packet(1, &[]), "first frame"),
        (query(), packet(1, &[0xFE, 0, 0, 0, 0]), "first frame"),
        (command(&[0x16]), packet(1, &[0, 1]), "malformed"),
        (query(), endless, "above 1 MiB"),
    ];
    for (sent, came, text) in table {
        let mut pair = Pair::logged_in(NEW);
        pair.client(&sent);
        pair.backend(&came);
        let error = pair.client_error();
        assert_eq!((error.0, error.1), (1, 1835));
        assert!(
            error.2.starts_with("weir: the backend sent ") && error.2.contains(text),
            "{error:?}"
        );
    }
}

#[test]
fn packets_of_the_client_out_of_order_end_the_session() {
    let mut pair = Pair::logged_in(NEW);
    pair.client(&[query(), packet(4, b"\x03SELECT 1")].concat());
    assert_eq!(pair.backend_got(), query());
    let (_, code, _) = pair.client_error();
    assert_eq!((code, pair.fault.unwrap().blame), (1156, Blame::Client));
}

/// The sequence id the client waits for, whatever went before.
#[test]
fn errors_of_weir_are_numbered_as_the_client_counts() {
    let stop = || fault(Blame::Limit, 1053, "Server shutdown in progress");
    let long = command(&[3; 0xFF_FFFF]);
    let seq = |pair: &mut Pair| {
        pair.client_got();
        pair.fail(stop());
        pair.client_error().0
    };
    // Waiting for the answer to a command of two frames.
    let mut pair = Pair::logged_in(NEW);
    pair.client(&long);
    assert_eq!(seq(&mut pair), 2);
    // Also with others behind it, or cut; and when it is the second.
    let mut pair = Pair::logged_in(NEW);
    pair.client(&[long.clone(), query(), query()].concat());
    assert_eq!(seq(&mut pair), 2);
    let mut pair = Pair::logged_in(NEW);
    pair.client(&long[..long.len() - 2]);
    assert_eq!(seq(&mut pair), 1, "one frame of it has come");
    let mut pair = Pair::logged_in(NEW);
    pair.client(&[query(), long.clone(), query()].concat());
    pair.backend(&ok(1, Status::AUTOCOMMIT));
    assert_eq!(seq(&mut pair), 2);
    // A silent one in between has no answer.
    let mut pair = Pair::logged_in(NEW);
    let silent = command(&[0x18; 0xFF_FFFF]);
    pair.client(&[query(), silent, query()].concat());
    assert_eq!(seq(&mut pair), 1);
    // At rest after it, the client's next command has one.
    let mut pair = Pair::logged_in(NEW);
    pair.client(&long);
    pair.backend(&ok(2, Status::AUTOCOMMIT));
    assert_eq!(seq(&mut pair), 1);
    for (client, shift) in [(NEW, 0), (OLD, 1)] {
        let upload = || {
            let mut pair = Pair::logged_in(client);
            pair.client(&query());
            let more = [packet(1, &[1]), packet(2, b"\x03def")].concat();
            pair.backend(&more);
            pair.backend(&packet(3, &[0xFE, 0, 0, 0x0A, 0, 0, 0]));
            pair.backend(&packet(4, b"\xFBf"));
            pair
        };
        // A client that sends a file listens only when it has sent all of it, and counts its own
        // packets too.
        for (before, after) in [(0, 0), (1, 0), (0, 2), (2, 2)] {
            let mut pair = upload();
            pair.client_got();
            let data = |seq: u8| packet(5 + shift + seq, b"1");
            (0..before).for_each(|seq| pair.client(&data(seq)));
            pair.fail(stop());
            assert!(!pair.closed && pair.client_got().is_empty(), "nobody listens yet");
            assert_eq!(pair.session.deadline(), PARTING_OVER);
            let sent = pair.backend_got().len();
            (before..before + after).for_each(|seq| pair.client(&data(seq)));
            pair.client(&packet(5 + shift + before + after, b""));
            assert_eq!(pair.client_error().0, 6 + shift + before + after);
            assert!(pair.closed && sent > 0);
            assert!(pair.backend_got().is_empty(), "the rest of the file goes nowhere");
        }
        let mut pair = upload();
        pair.fail(stop());
        pair.client_ends();
        assert!(pair.closed);
        let mut pair = upload();
        pair.client(&[packet(5 + shift, b"1"), packet(6 + shift, b"")].concat());
        assert_eq!(seq(&mut pair), 7 + shift, "after the file");
        pair = upload();
        pair.client(&packet(5 + shift, b""));
        pair.backend(&ok(6, Status::AUTOCOMMIT));
        assert_eq!(seq(&mut pair), 1, "at rest");
    }
    // Nobody is spoken to twice.
    pair = Pair::logged_in(NEW);
    pair.fail(stop());
    assert_eq!(pair.client_got().len(), 1);
    pair.fail(stop());
    assert!(pair.client_got().is_empty());
}
