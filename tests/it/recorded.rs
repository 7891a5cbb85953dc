//! What a real MariaDB said, said again by the scripted server in small pieces.
//!
//! Purpose: whatever the cut, a client with the server's capabilities gets the server's bytes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use weir::wire::Capabilities;
use weir_tests::{RawClient, Script, Talk, echo, workspace_root};

use crate::fixture::{Setting, account};

on_both_drivers!(
    new_protocol,
    old_protocol,
    mixed_protocol,
    extended_new_protocol,
    extended_old_protocol,
);

/// Commands Weir does not relay as they are, by their first byte.
const REFUSED: [u8; 3] = [0x0C, 0x11, 0x2F];

/// What MariaDB's recordings of the folder `-extended` were made with.
const EXTENDED: Capabilities = Capabilities::MARIADB_PROGRESS
    .union(Capabilities::MARIADB_STMT_BULK_OPERATIONS)
    .union(Capabilities::MARIADB_EXTENDED_METADATA)
    .union(Capabilities::MARIADB_CACHE_METADATA);

fn new_protocol(driver: &str) {
    relay_all(driver, "", "new", Capabilities::NONE);
}

fn old_protocol(driver: &str) {
    let missing = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
    relay_all(driver, "", "old", missing);
}

fn extended_new_protocol(driver: &str) {
    relay_all(driver, "-extended", "new", Capabilities::LONG_PASSWORD);
}

fn extended_old_protocol(driver: &str) {
    let missing = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
    relay_all(driver, "-extended", "old", missing.union(Capabilities::LONG_PASSWORD));
}

fn mixed_protocol(driver: &str) {
    relay_all(driver, "", "mixed", Capabilities::DEPRECATE_EOF);
}

/// The recorded reply to one command.
struct Recording {
    command: u8,
    bytes: Vec<u8>,
}

/// Replies recorded with these capabilities, by name.
fn recordings(folder: &str, dialect: &str) -> BTreeMap<String, Recording> {
    let folder = workspace_root().join(format!("engine/testdata/mariadb-10.11{folder}"));
    let table = fs::read_to_string(folder.join("index.txt")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    let of_row = |row: &str| {
        let mut columns = row.split_whitespace();
        let (name, command) = (columns.next()?, columns.nth(1)?);
        let command = u8::from_str_radix(command, 16).ok()?;
        let wanted = name.ends_with(&format!("-{dialect}")) && !REFUSED.contains(&command);
        let bytes = fs::read(folder.join(format!("{name}.bin"))).unwrap();
        wanted.then(|| (name.to_owned(), Recording { command, bytes }))
    };
    rows.filter_map(of_row).collect()
}

/// The ways a reply is sent: the length of pieces.
const CUTS: [usize; 5] = [1, 2, 5, 11, 4096];

/// Longer replies have their middle sent in larger pieces: it is all rows.
const BYTEWISE_MAX: usize = 3000;

fn send_cut(talk: &mut Talk<'_>, bytes: &[u8], piece_bytes: usize) -> std::io::Result<()> {
    let ends = bytes.len().min(BYTEWISE_MAX) / 2;
    let (head, rest) = bytes.split_at(ends);
    let (middle, tail) = rest.split_at(rest.len() - ends.min(rest.len()));
    talk.send_pieces(head, piece_bytes)?;
    talk.send_pieces(middle, 1000)?;
    talk.send_pieces(tail, piece_bytes)?;
    Ok(())
}

fn relay_all(driver: &str, folder: &str, dialect: &str, missing: Capabilities) {
    let recordings = Arc::new(recordings(folder, dialect));
    let extended = !folder.is_empty();
    let least = if extended { 18 } else { 70 };
    assert!(recordings.len() > least, "only {} recordings", recordings.len());
    let replies = recordings.clone();
    let script = Script::default().responding(move |talk, command| {
        // A command's argument is "length of pieces, name".
        let text = String::from_utf8_lossy(command.get(1..).unwrap_or_default()).into_owned();
        let Some((cut, name)) = text.split_once(',') else { return echo(talk, command) };
        let Some(recording) = replies.get(name) else { return echo(talk, command) };
        send_cut(talk, &recording.bytes, cut.parse().unwrap())?;
        if name.starts_with("load-local-request") {
            while !talk.packet()?.is_empty() {}
            let done = &replies[&name.replace("request", "done")];
            send_cut(talk, &done.bytes, cut.parse().unwrap())?;
        }
        Ok(weir_tests::Next::Go)
    });
    let mut setting = Setting::default().script(script);
    setting.script.capabilities = setting.script.capabilities.without(missing);
    let mut login = account();
    if extended {
        setting.script.capabilities = setting.script.capabilities.union(EXTENDED);
        login = login.with(EXTENDED);
    }
    let bed = setting.start(driver);
    let mut client = RawClient::log_in(bed.weir.address(), &login).unwrap();
    assert_eq!(client.capabilities.intersection(EXTENDED) == EXTENDED, extended);
    assert_eq!(client.capabilities.intersection(missing), Capabilities::NONE);
    let mut count = 0;
    for (name, recording) in &*recordings {
        if name.starts_with("load-local-done") {
            continue;
        }
        for cut in CUTS {
            let argument = format!("{cut},{name}");
            client.send_packet(0, &[&[recording.command], argument.as_bytes()].concat()).unwrap();
            client
                .expect(&recording.bytes)
                .unwrap_or_else(|error| panic!("{name} in pieces of {cut}: {error:#}"));
            if name.starts_with("load-local-request") {
                let done = &recordings[&name.replace("request", "done")].bytes;
                // The server counts on from the client's last packet.
                let last = done[3] - 1;
                client.send_packet(2, b"1\tone\n").unwrap();
                client.send_packet(last, b"").unwrap();
                client.expect(done).unwrap();
            }
            count += 1;
        }
    }
    client.echo("SELECT 'goes on'").unwrap();
    drop(client);
    // The witness's two statements, and the one just now.
    bed.finish(&[("replies", count + 3), ("backend_faults", 0), ("client_faults", 0)]);
}
