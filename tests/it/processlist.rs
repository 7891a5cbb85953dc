//! Process lists of servers that misbehave.
//!
//! Purpose: a list that is none, is too long or is cut off costs its client an error, and nobody
//! else anything.

use std::io;

use weir::wire::{Reader, Status};
use weir_tests::{Next, RawClient, Script, Talk, echo};

use crate::fixture::{Bed, Setting};

on_both_drivers!(
    lists_of_any_kind,
    a_list_without_end_is_not_kept,
    a_list_that_breaks_off_ends_its_session,
);

fn definition(name: &str) -> Vec<u8> {
    let mut out = b"\x03def\0\0\0".to_vec();
    out.push(u8::try_from(name.len()).unwrap());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\0\x0C\x2D\0\0\x01\0\0\xFD\x01\0\0\0\0");
    out
}

/// Answers `/* case */ SHOW PROCESSLIST`.
fn answer(talk: &mut Talk<'_>, command: &[u8]) -> io::Result<Next> {
    let text = String::from_utf8_lossy(command.get(1..).unwrap_or_default()).into_owned();
    let Some(case) = text.strip_suffix(" SHOW PROCESSLIST") else { return echo(talk, command) };
    let head = |names: &[&str]| {
        let count = [u8::try_from(names.len()).unwrap()];
        let packets = talk.reply().payload(&count);
        names.iter().fold(packets, |packets, name| packets.payload(&definition(name)))
    };
    let list = || head(&["Id", "User", "Host"]);
    let reply = match case {
        // The thread of another client, and one that says nothing of itself.
        "/* good */" => list().payload(b"\x09999999999\x01a\x01h").payload(b"\xFB\xFB\xFB"),
        "/* unnamed */" => head(&["Id", "User", "Address"]).payload(b"\x011\x01a\x01h"),
        "/* short */" => list().payload(b"\x011\x01a"),
        "/* long */" => list().payload(b"\x011\x01a\x01h\x01h"),
        "/* beyond */" => list().payload(b"\x011\x01a\xFDhhh"),
        "/* empty */" => list().payload(b""),
        "/* ok */" => return talk.send(&talk.reply().ok().bytes()),
        "/* error */" => return talk.send(&talk.reply().error(1227, "Access denied").bytes()),
        "/* several */" => {
            list().end(Status::AUTOCOMMIT.with(Status::MORE_RESULTS)).result_set(["a"])
        }
        "/* endless */" => {
            talk.send(&list().bytes())?;
            let row = [&b"\x011\x01a\xFD\0\0\x08"[..], &vec![b'h'; 512 << 10]].concat();
            let mut seq = 5;
            for _ in 0..100 {
                let packets = weir_tests::Packets::new(seq, talk.capabilities).payload(&row);
                seq = packets.next_seq();
                talk.send(&packets.bytes())?;
            }
            let packets = weir_tests::Packets::new(seq, talk.capabilities);
            return talk.send(&packets.end(Status::AUTOCOMMIT).bytes());
        }
        "/* broken */" => {
            let bytes = list().payload(b"\x011\x01a\x01h").bytes();
            talk.send(&bytes[..bytes.len() - 2])?;
            return Ok(Next::Close);
        }
        "/* numbered */" => {
            talk.send(&list().bytes())?;
            let packets = weir_tests::Packets::new(77, talk.capabilities);
            return talk.send(&packets.payload(b"\x011\x01a\x01h").bytes());
        }
        other => unreachable!("{other}"),
    };
    let reply = if case == "/* several */" { reply } else { reply.end(Status::AUTOCOMMIT) };
    talk.send(&reply.bytes())
}

fn bed(driver: &str) -> Bed {
    Setting::default().script(Script::default().responding(answer)).start(driver)
}

fn ask(client: &mut RawClient, case: &str) -> Vec<(u8, Vec<u8>)> {
    client.ask(format!("\x03/* {case} */ SHOW PROCESSLIST").as_bytes()).unwrap()
}

fn refusal(client: &mut RawClient, case: &str) -> String {
    let packets = ask(client, case);
    let [(1, error)] = packets.as_slice() else { unreachable!("{case}: {packets:02x?}") };
    assert_eq!(error[0], 0xFF, "{case}");
    String::from_utf8_lossy(&error[9..]).into_owned()
}

fn lists_of_any_kind(driver: &str) {
    let bed = bed(driver);
    let mut client = bed.client();
    let good = ask(&mut client, "good");
    let ids: Vec<_> = good[4..good.len() - 1]
        .iter()
        .map(|(_, row)| Reader::new(row).lenenc_bytes().unwrap_or(b"NULL").to_vec())
        .collect();
    assert_eq!(ids, [&b"NULL"[..], b"999999999"]);
    for case in ["unnamed", "short", "long", "beyond", "empty", "ok", "several"] {
        let text = refusal(&mut client, case);
        assert!(text.contains("weir: the server's process list has no rows"), "{case}: {text}");
        client.echo("SELECT 1").unwrap();
    }
    assert_eq!(refusal(&mut client, "error"), "Access denied");
    client.echo("SELECT 1").unwrap();
    drop(client);
    bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
}

fn a_list_without_end_is_not_kept(driver: &str) {
    let bed = bed(driver);
    let mut client = bed.client();
    let before = bed.weir.resident_kib().unwrap();
    let text = refusal(&mut client, "endless");
    assert!(text.contains("longer than 4194304 bytes"), "{text}");
    let grown = bed.weir.resident_kib().unwrap().saturating_sub(before);
    assert!(grown < 24 << 10, "{grown} KiB for a list of 50 MiB");
    client.echo("SELECT 1").unwrap();
    drop(client);
    bed.finish(&[("backend_faults", 0)]);
}

fn a_list_that_breaks_off_ends_its_session(driver: &str) {
    let bed = bed(driver);
    for (case, code) in [("broken", 1053), ("numbered", 1835)] {
        let mut client = bed.client();
        let command = format!("\x03/* {case} */ SHOW PROCESSLIST");
        client.send_packet(0, command.as_bytes()).unwrap();
        let error = client.error().unwrap();
        assert_eq!((error.seq, error.code), (1, code), "{}", error.text);
        client.closed().unwrap();
    }
    bed.finish(&[("backend_faults", 2)]);
}
