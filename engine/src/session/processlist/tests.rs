//! Lists of threads, row by row.

use super::*;
use crate::wire::{Status, encode_eof};

const LONGLONG: u8 = 8;
const TEXT: u8 = 0xFD;

/// The columns of MySQL's list, with what Percona has besides.
const MYSQL: &[(&str, u8)] = &[
    ("Id", LONGLONG),
    ("User", TEXT),
    ("Host", TEXT),
    ("db", TEXT),
    ("Command", TEXT),
    ("Time", 3),
    ("State", TEXT),
    ("Info", TEXT),
    ("Rows_sent", LONGLONG),
    ("Wit", TEXT),
];

fn values(row: &[Option<&str>], out: &mut BytesMut) {
    for value in row {
        put_or_null(out, value.map(str::as_bytes));
    }
}

/// A list in the form a client of `capabilities` gets it.
fn list(columns: &[(&str, u8)], rows: &[&[Option<&str>]], client: Capabilities) -> Vec<u8> {
    let (mut out, mut seq) = (BytesMut::new(), 0);
    let mut put_packet = |write: &dyn Fn(&mut BytesMut)| {
        seq += 1;
        frame(&mut out, seq, write);
    };
    put_packet(&|out| out.put_u8(u8::try_from(columns.len()).unwrap()));
    for (name, kind) in columns {
        put_packet(&|out| {
            for field in ["def", "", "", "", name, ""] {
                put(out, field.as_bytes());
            }
            out.put_slice(&[0x0C, 45, 0, 0, 1, 0, 0, *kind, 1, 0, 0, 0, 0]);
        });
    }
    let has_eof = !client.contains(Capabilities::DEPRECATE_EOF);
    if has_eof {
        put_packet(&|out| out.put_slice(&[0xFE, 0, 0, 2, 0]));
    }
    for row in rows {
        put_packet(&|out| values(row, out));
    }
    let end: &[u8] = if has_eof { &[0xFE, 1, 0, 2, 0] } else { &[0xFE, 0, 0, 2, 0, 1, 0] };
    put_packet(&|out| out.put_slice(end));
    out.to_vec()
}

/// The rows of a rewritten list, each as words with spaces between; `-` for NULL.
fn shown(reply: &[u8], columns: usize, client: Capabilities, threads: &Threads) -> Vec<String> {
    let mut out = BytesMut::new();
    rewrite(reply, client, threads, &mut out).unwrap();
    let (mut packets, mut all, mut rest) = (Packets(&out), Vec::new(), &out[..]);
    let mut seq = 0;
    while let Ok(packet) = packets.next_packet() {
        seq += 1;
        assert_eq!(rest[3], seq, "in order");
        rest = packets.0;
        all.push(packet);
    }
    assert!(rest.is_empty());
    let head = 1 + columns + usize::from(!client.contains(Capabilities::DEPRECATE_EOF));
    let end = all.pop().unwrap();
    assert!(reply.ends_with(end), "its flags and warnings are kept");
    let usual = Columns(vec![Column::Other; columns]);
    let words = |row: &[u8]| {
        let fields = usual.fields(row).unwrap();
        let word =
            |it: &Option<&[u8]>| it.map_or("-".to_owned(), |it| String::from_utf8_lossy(it).into());
        fields.iter().map(word).collect::<Vec<_>>().join(" ")
    };
    all[head..].iter().map(|row| words(row)).collect()
}

fn seated(id: u32) -> Seated {
    Seated { id, host: format!("192.0.2.{id}:5") }
}

fn apart(id: u32, thread: Option<u32>, user: &str, schema: &str) -> Apart {
    let (user, schema) = (user.into(), schema.into());
    Apart { seated: seated(id), thread, user, schema, seconds: 60 + u64::from(id) }
}

fn known() -> Threads {
    Threads {
        seated: [(11, seated(3)), (12, seated(1))].into(),
        own: [11, 12, 13].into(),
        apart: vec![
            apart(3, Some(11), "app", ""),
            apart(4, None, "app", "shop"),
            apart(2, None, "other", ""),
            // It has got its connection since.
            apart(5, Some(99), "app", ""),
        ],
        asker: b"app".to_vec(),
    }
}

fn row<'a>(id: &'a str, user: &'a str) -> Vec<Option<&'a str>> {
    let rest = [Some("10.0.0.1:9"), None, Some("Query"), Some("0"), Some(""), Some("x")];
    [&[Some(id), Some(user)][..], &rest, &[Some("7"), Some("w")]].concat()
}

#[test]
fn rows_become_those_of_clients() {
    let own = [row("11", "app"), row("12", "app"), row("13", "app"), row("14", "app")];
    let own: Vec<_> = own.iter().map(Vec::as_slice).collect();
    for client in [Capabilities::NONE, Capabilities::DEPRECATE_EOF] {
        let reply = list(MYSQL, &own, client);
        // One who may see only its own: of sessions without a connection, too.
        let got = shown(&reply, MYSQL.len(), client, &known());
        let want = [
            "1 app 192.0.2.1:5 - Query 0  x 7 w",
            "3 app 192.0.2.3:5 - Query 0  x 7 w",
            "4 app 192.0.2.4:5 shop Sleep 64  - 0 -",
            "5 app 192.0.2.5:5 - Sleep 65  - 0 -",
            "14 app 10.0.0.1:9 - Query 0  x 7 w",
        ];
        assert_eq!(got, want);
        // One who may see all, as another's thread shows, if only an idle one.
        for other in ["13", "15"] {
            let others = row(other, "root");
            let all = [own.as_slice(), &[others.as_slice()]].concat();
            let got = shown(&list(MYSQL, &all, client), MYSQL.len(), client, &known());
            assert_eq!(got[1], "2 other 192.0.2.2:5 - Sleep 62  - 0 -");
            assert_eq!(got.len(), if other == "15" { 7 } else { 6 });
        }
    }
}

/// Without PROCESS a proxied account sees another name's threads, and no others.
#[test]
fn one_other_name_is_no_sign_of_a_privilege() {
    let proxied = row("11", "proxied");
    let reply = list(MYSQL, &[&proxied, &proxied], Capabilities::NONE);
    let got = shown(&reply, MYSQL.len(), Capabilities::NONE, &known());
    assert!(got.iter().all(|row| !row.starts_with('2')), "{got:?}");
    let reply = list(MYSQL, &[], Capabilities::NONE);
    assert_eq!(shown(&reply, MYSQL.len(), Capabilities::NONE, &known()).len(), 3);
}

#[test]
fn long_lists_are_numbered_around() {
    let row = row("14", "app");
    let rows = vec![row.as_slice(); 700];
    let reply = {
        let (mut out, mut seq) = (BytesMut::new(), 0u8);
        let short = list(MYSQL, &[], Capabilities::NONE);
        let mut packets = Packets(&short);
        let mut all = Vec::new();
        while let Ok(packet) = packets.next_packet() {
            all.push(packet.to_vec());
        }
        let end = all.pop().unwrap();
        for row in &rows {
            let mut bytes = BytesMut::new();
            values(row, &mut bytes);
            all.push(bytes.to_vec());
        }
        all.push(end);
        for packet in &all {
            seq = seq.wrapping_add(1);
            frame(&mut out, seq, |out| out.put_slice(packet));
        }
        out
    };
    let mut out = BytesMut::new();
    rewrite(&reply, Capabilities::NONE, &Threads::default(), &mut out).unwrap();
    assert!(out == reply, "nothing of it is Weir's");
}

/// Whoever wants no definitions gets none; then the columns are the usual ones.
#[test]
fn columns_without_names_are_the_usual_ones() {
    for (count, progress) in [(8, ""), (9, " 0.000"), (7, "")] {
        let mut reply = BytesMut::new();
        frame(&mut reply, 1, |out| out.put_slice(&[count, DEFINITIONS_LEFT_OUT]));
        encode_eof(Status::AUTOCOMMIT, 0, 2, &mut reply);
        encode_eof(Status::AUTOCOMMIT, 0, 3, &mut reply);
        let mut out = BytesMut::new();
        let rewritten = rewrite(&reply, Capabilities::NONE, &known(), &mut out);
        assert_eq!(rewritten.is_ok(), count > 7);
        if count > 7 {
            let mut packets = Packets(&out);
            let rows = std::iter::from_fn(|| packets.next_packet().ok()).nth(3).unwrap();
            let fields = Columns(vec![Column::Other; usize::from(count)]).fields(rows).unwrap();
            assert_eq!(fields[4], Some(&b"Sleep"[..]));
            assert_eq!(
                fields.get(8).copied().flatten().unwrap_or_default(),
                progress.trim().as_bytes()
            );
        }
    }
}

#[test]
fn what_is_no_list_is_odd_at_every_cut() {
    let rows = [row("11", "app"), row("x", "app")];
    let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
    let reply = list(MYSQL, &rows, Capabilities::NONE);
    let rewritten = |reply: &[u8]| {
        let mut out = BytesMut::new();
        let done = rewrite(reply, Capabilities::NONE, &known(), &mut out);
        assert!(done.is_ok() || out.is_empty(), "nothing is left of it");
        done
    };
    for cut in 0..reply.len() {
        assert_eq!(rewritten(&reply[..cut]), Err(Odd), "cut at {cut}");
    }
    assert_eq!(rewritten(&reply), Ok(()));
    assert_eq!(rewritten(&[&reply[..], &reply].concat()), Err(Odd), "a second result");
    let unnamed = [("Id", LONGLONG), ("User", TEXT), ("Address", TEXT)];
    assert_eq!(rewritten(&list(&unnamed, &[], Capabilities::NONE)), Err(Odd));
    let twice = [("Id", LONGLONG), ("Id", LONGLONG), ("User", TEXT), ("Host", TEXT)];
    assert_eq!(rewritten(&list(&twice, &[], Capabilities::NONE)), Err(Odd));
}
