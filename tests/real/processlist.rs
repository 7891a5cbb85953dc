//! SHOW PROCESSLIST through Weir: its own ids, its clients' addresses, all of its sessions.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir::wire::{Capabilities, Command, Reader};
use weir_tests::{Flavour, Login, RawClient, WeirConfig};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, eventually, on_every_server};

on_every_server!(
    every_session_is_listed_once_as_its_client_knows_it,
    columns_and_flags_are_the_servers,
    an_account_without_the_privilege_sees_its_own,
    idle_connections_are_nobodys,
    sessions_in_every_state_are_listed,
);

const POOLING: [&str; 3] = ["transaction", "session", "none"];
const PATIENCE: Duration = Duration::from_secs(30);
const SHOW: &str = "SHOW PROCESSLIST";

/// Two workers, and an account without privileges besides the usual one.
fn settings(on: On, own: &Database, pooling: &'static str) -> WeirConfig {
    let mut settings = config(on, &own.server);
    (settings.pooling, settings.workers) = (pooling, "2".to_owned());
    settings.users.push(("plain".to_owned(), PASSWORD.to_owned()));
    settings
}

fn start(on: On) -> Database {
    let own = Database::start(on.flavour);
    own.server.create_account("plain", PASSWORD).unwrap();
    own.server.sql("REVOKE ALL PRIVILEGES, GRANT OPTION FROM plain@'%'").unwrap();
    own.server.sql("CREATE DATABASE shop").unwrap();
    own
}

/// One whose packets of text are all alike, and that MySQL does not warn at every statement: a
/// warning keeps a connection.
fn account(user: &str) -> Login {
    Login::new(user, PASSWORD)
        .without(Capabilities::QUERY_ATTRIBUTES)
        .without(Capabilities::OPTIONAL_RESULTSET_METADATA)
        .without(Capabilities::NO_SCHEMA)
}

fn log_in(from: u8, address: SocketAddr, user: &str) -> RawClient {
    let mut client = RawClient::connect_from(IpAddr::from([127, 0, 0, from]), address).unwrap();
    let login = account(user);
    let database = (user == USER).then(|| "shop".to_owned());
    client.authenticate(&Login { database, ..login }).unwrap();
    client
}

/// A row: its values by the columns' names, NULL left out.
type Row = HashMap<String, String>;

/// Asks for a list, and checks that it is one whole result.
fn ask(client: &mut RawClient, command: &[u8]) -> Vec<Row> {
    let packets = client.ask(command).unwrap();
    for (packet, seq) in packets.iter().zip(1..=u8::MAX) {
        assert_eq!(packet.0, seq, "{packets:02x?}");
    }
    let count = usize::from(packets[0].1[0]);
    let name = |definition: &(u8, Vec<u8>)| {
        let mut reader = Reader::new(&definition.1);
        let name = (0..5).map(|_| reader.lenenc_bytes().unwrap()).last().unwrap();
        String::from_utf8_lossy(name).into_owned()
    };
    let names: Vec<String> = packets[1..=count].iter().map(name).collect();
    let has_eof = !client.capabilities.contains(Capabilities::DEPRECATE_EOF);
    let rows = &packets[1 + count + usize::from(has_eof)..packets.len() - 1];
    let row = |(_, payload): &(u8, Vec<u8>)| {
        let mut reader = Reader::new(payload);
        let mut row = Row::new();
        for name in &names {
            if reader.remaining().first() == Some(&0xFB) {
                reader.u8().unwrap();
            } else {
                let value = String::from_utf8_lossy(reader.lenenc_bytes().unwrap()).into_owned();
                row.insert(name.clone(), value);
            }
        }
        row
    };
    rows.iter().map(row).collect()
}

fn show(client: &mut RawClient, sql: &str) -> Vec<Row> {
    ask(client, &[&[Command::Query.as_byte()], sql.as_bytes()].concat())
}

fn ids_of(rows: &[Row], user: &str) -> Vec<u32> {
    let own = rows.iter().filter(|row| row["User"] == user);
    let mut ids: Vec<u32> = own.map(|row| row["Id"].parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn ids(clients: &[RawClient]) -> Vec<u32> {
    let mut ids: Vec<u32> = clients.iter().map(|client| client.connection_id).collect();
    ids.sort_unstable();
    ids
}

fn every_session_is_listed_once_as_its_client_knows_it(on: On) {
    let own = start(on);
    let mut direct = log_in(9, own.server.address(), "plain");
    for pooling in POOLING {
        let proxy = Proxy::start_with(on, &settings(on, &own, pooling));
        let mut clients: Vec<_> =
            (1..=8).map(|from| log_in(from, proxy.weir.address(), USER)).collect();
        for client in &mut clients {
            let id: u32 = client.value("SELECT CONNECTION_ID()").unwrap().parse().unwrap();
            assert_eq!(id, client.connection_id);
        }
        let forms = [SHOW, "show full processlist;", "/* all */ SHOW\tPROCESSLIST -- of them"];
        for (asker, sql) in [0, 7].into_iter().zip(forms.into_iter().cycle()) {
            let rows = show(&mut clients[asker], sql);
            assert_eq!(ids_of(&rows, USER), ids(&clients), "{pooling}: {rows:?}");
            for client in &clients {
                let id = client.connection_id.to_string();
                // A thread of the server's own may have the same.
                let of_client = |row: &&Row| row["Id"] == id && row["User"] == USER;
                let row = rows.iter().find(of_client).unwrap();
                assert_eq!(row["Host"], client.ends().unwrap().0.to_string());
                assert_eq!((row["User"].as_str(), row["db"].as_str()), (USER, "shop"));
                let is_own = client.connection_id == clients[asker].connection_id;
                assert_eq!(row["Command"], if is_own { "Query" } else { "Sleep" }, "{pooling}");
                assert_eq!(row.contains_key("Info"), is_own);
                assert!(row["Time"].parse::<u32>().unwrap() < 60);
                assert!(is_own || row["State"].is_empty());
            }
            // Those of others are as they are on the server.
            let of_probe = rows.iter().filter(|row| row["User"] == "monitor");
            assert!(of_probe.count() >= 1);
            let host = direct.ends().unwrap().0.to_string();
            let foreign = rows.iter().find(|row| row["Host"] == host).unwrap();
            assert_eq!(foreign["Id"], direct.connection_id.to_string());
        }
        kill_one(on, &mut clients, pooling);
        drop(clients);
        proxy.finish();
    }
    direct.value("SELECT 1").unwrap();
}

/// An id from the list is one for KILL.
fn kill_one(on: On, clients: &mut Vec<RawClient>, pooling: &str) {
    let mut victim = clients.remove(3);
    let host = victim.ends().unwrap().0.to_string();
    let rows = show(&mut clients[0], SHOW);
    let id = &rows.iter().find(|row| row["Host"] == host).unwrap()["Id"];
    clients[0]
        .ask(&[&[Command::Query.as_byte()], format!("KILL {id}").as_bytes()].concat())
        .unwrap();
    eventually("its end", PATIENCE, || victim.value("SELECT 1").is_err());
    eventually("it is on the list no more", PATIENCE, || {
        ids_of(&show(&mut clients[0], SHOW), USER) == ids(clients)
    });
    // As a command of its own; MySQL 9 knows it no more.
    let info = [Command::ProcessInfo.as_byte()];
    if on.flavour == Flavour::MariaDb {
        let rows = ask(&mut clients[2], &info);
        assert_eq!(ids_of(&rows, USER), ids(clients), "{pooling}");
    } else {
        clients[2].send_packet(0, &info).unwrap();
        assert_eq!(clients[2].error().unwrap().code, 1047);
    }
}

/// What a client reads of a list besides its rows is what it reads of the server's.
fn columns_and_flags_are_the_servers(on: On) {
    let own = start(on);
    let command = [&[Command::Query.as_byte()], SHOW.as_bytes()].concat();
    for pooling in POOLING {
        let proxy = Proxy::start_with(on, &settings(on, &own, pooling));
        let old =
            account(USER).without(Capabilities::DEPRECATE_EOF).without(Capabilities::SESSION_TRACK);
        for login in [account(USER), old] {
            let [direct, through] = [own.server.address(), proxy.weir.address()].map(|address| {
                let mut client = RawClient::log_in(address, &login).unwrap();
                let has_eof = !client.capabilities.contains(Capabilities::DEPRECATE_EOF);
                let begins: &[u8] = &[&[3u8][..], b"BEGIN"].concat();
                client.ask(begins).unwrap();
                let mut packets = client.ask(&command).unwrap();
                let end = packets.pop().unwrap().1;
                let head = 1 + usize::from(packets[0].1[0]) + usize::from(has_eof);
                // Whoever puts an EOF before the rows does not know their warnings yet.
                packets.truncate(head - usize::from(has_eof));
                (packets, end)
            });
            assert_eq!(through.0, direct.0, "{pooling}");
            // Of an OK the trackers may differ; flags and warnings are before them.
            let bytes = direct.1.len().min(7);
            assert_eq!(through.1[..bytes], direct.1[..bytes], "{pooling}");
        }
        proxy.finish();
    }
}

fn an_account_without_the_privilege_sees_its_own(on: On) {
    let own = start(on);
    for pooling in POOLING {
        let proxy = Proxy::start_with(on, &settings(on, &own, pooling));
        let log_in = |user: &str| log_in(1, proxy.weir.address(), user);
        let mut all: Vec<_> = (0..3).map(|_| log_in(USER)).collect();
        let mut few: Vec<_> = (0..3).map(|_| log_in("plain")).collect();
        for client in all.iter_mut().chain(&mut few) {
            client.value("SELECT 1").unwrap();
        }
        let rows = show(&mut few[0], SHOW);
        assert_eq!(ids_of(&rows, "plain"), ids(&few), "{pooling}: {rows:?}");
        assert_eq!(rows.len(), few.len(), "{rows:?}");
        let rows = show(&mut all[0], SHOW);
        assert_eq!(ids_of(&rows, "plain"), ids(&few), "{pooling}: {rows:?}");
        assert_eq!(ids_of(&rows, USER), ids(&all), "{pooling}: {rows:?}");
        drop((all, few));
        proxy.finish();
    }
}

fn idle_connections_are_nobodys(on: On) {
    let own = start(on);
    for pooling in ["transaction", "session"] {
        let proxy = Proxy::start_with(on, &settings(on, &own, pooling));
        let mut asker = log_in(1, proxy.weir.address(), USER);
        // In a transaction, so that it uses none of theirs.
        let begin = b"\x03START TRANSACTION WITH CONSISTENT SNAPSHOT";
        asker.ask(begin).unwrap();
        for from in 2..5 {
            let mut client = log_in(from, proxy.weir.address(), USER);
            client.value("SELECT 1").unwrap();
            client.send_packet(0, &[Command::Quit.as_byte()]).unwrap();
            client.closed().unwrap();
        }
        let idle = || {
            let metrics = proxy.weir.metrics().unwrap();
            metrics.value("weir_backend_connections_idle", &[("backend", "primary")]).unwrap()
        };
        eventually("they are kept", PATIENCE, || idle() > 0.0);
        eventually("nobody is left but the asker", PATIENCE, || {
            ids_of(&show(&mut asker, SHOW), USER) == [asker.connection_id]
        });
        assert!(idle() > 0.0);
        let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'";
        assert!(own.server.sql(sql).unwrap().trim().parse::<usize>().unwrap() > 1);
        drop(asker);
        proxy.finish();
    }
}

/// Of shared connections: in a transaction, in a statement, in another schema.
fn sessions_in_every_state_are_listed(on: On) {
    let own = start(on);
    own.server.sql("CREATE DATABASE other").unwrap();
    let proxy = Proxy::start_with(on, &settings(on, &own, "transaction"));
    let mut clients: Vec<_> =
        (1..=4).map(|from| log_in(from, proxy.weir.address(), USER)).collect();
    let query = |sql: &str| [&[Command::Query.as_byte()], sql.as_bytes()].concat();
    clients[1].ask(&query("BEGIN")).unwrap();
    clients[1].ask(&query("SELECT 1")).unwrap();
    clients[2].send_packet(0, &query("SELECT SLEEP(20)")).unwrap();
    clients[3].ask(&query("USE other")).unwrap();
    let states = [
        ("shop", "Query", "SHOW PROCESSLIST"),
        ("shop", "Sleep", ""),
        ("shop", "Query", "SELECT SLEEP(20)"),
        ("other", "Sleep", ""),
    ];
    let matches = |rows: &[Row], clients: &[RawClient]| {
        clients.iter().zip(states).all(|(client, (schema, command, info))| {
            let id = client.connection_id.to_string();
            let row = rows.iter().find(|row| row["Id"] == id && row["User"] == USER).unwrap();
            let of = |name: &str| row.get(name).map_or("", String::as_str).to_owned();
            [of("db"), of("Command"), of("Info")] == [schema, command, info]
        })
    };
    eventually("the statement runs", PATIENCE, || {
        let rows = show(&mut clients[0], SHOW);
        matches(&rows, &clients)
    });
    // Inside a transaction.
    let me = &mut clients[1];
    me.ask(&query("SET @a = 5")).unwrap();
    assert_eq!(ids_of(&show(me, SHOW), USER).len(), 4);
    assert_eq!(me.value("SELECT @a").unwrap(), "5");
    me.ask(&query("COMMIT")).unwrap();
    assert_eq!(ids_of(&show(me, SHOW), USER).len(), 4);
    drop(clients);
    let mut client = log_in(1, proxy.weir.address(), USER);
    eventually("those that left are gone", PATIENCE, || {
        let listed = ids_of(&show(&mut client, SHOW), USER);
        listed.contains(&client.connection_id) && listed.len() <= 2
    });
    proxy.finish();
}
