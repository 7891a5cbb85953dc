//! Every kind of write, however little is to be seen of it.
//!
//! Purpose: a position is found wherever a server tells of it: in an answer in the middle, in one
//! that ends rows, in front of an error; for clients that are told of none of that.
//! Never: let a replica have it by chance: they apply everything an hour later.

use anyhow::Result;
use weir::wire::Capabilities;
use weir_tests::{Login, RawClient};

use crate::causal_held::{Held, config, delay, restart_counting};
use crate::fixture::{On, PASSWORD, Proxy, USER, on_each_server};

on_each_server!(every_kind_of_write_is_seen);

const ID: usize = 32;

/// Texts, one command each, and by how much they count up. `{}` stands for the update.
const WRITES: &[(&[&str], i64)] = &[
    (&["{}"], 1),
    (&["BEGIN", "{}", "COMMIT"], 1),
    (&["BEGIN", "{}", "BEGIN", "ROLLBACK"], 1),
    (&["BEGIN", "{}", "CREATE TABLE IF NOT EXISTS shop.counter (id INT)"], 1),
    (&["BEGIN", "{}", "COMMIT AND CHAIN", "{}", "ROLLBACK"], 1),
    (&["BEGIN; {}; COMMIT"], 1),
    (&["SET autocommit = 0", "{}", "COMMIT", "SET autocommit = 1"], 1),
    (&["SET autocommit = 0", "{}", "SET autocommit = 1"], 1),
    (&["SELECT shop.bump(32)"], 1),
    (&["SELECT n FROM shop.bumping WHERE id = 32"], 1),
    (&["SELECT shop.bump(32); SELECT 1"], 1),
    (&["{}; SELECT 1; {}; SELECT 2"], 2),
    (&["{}; SELECT none FROM shop.counter"], 1),
    (&["SELECT 1; SELECT shop.bump(32); SELECT none FROM shop.counter"], 1),
    (&["INSERT INTO shop.counter VALUES (32, 0) ON DUPLICATE KEY UPDATE n = n + 1"], 1),
    (&["REPLACE INTO shop.counter SELECT id, n + 1 FROM shop.counter WHERE id = 32"], 1),
    (&["XA START 'a'", "{}", "XA END 'a'", "XA COMMIT 'a' ONE PHASE"], 1),
    (&["PREPARE p FROM '{}'", "EXECUTE p", "DEALLOCATE PREPARE p", "\x1f"], 1),
    (&["CALL shop.bumps(32)", "\x1f"], 1),
    (&["{}", "\x1f"], 1),
];

fn every_kind_of_write_is_seen(on: On) {
    let cluster = Held::take(on.flavour);
    restart_counting(&cluster);
    let mut config = config(&cluster, on, "session");
    config.endpoint_lines.push("causal_wait_ms = 10".to_owned());
    // Not by a lock: a function behind a view is run on a replica up to where that refuses it.
    cluster.topology.replicas.iter().for_each(|it| delay(it, 3600));
    let proxy = Proxy::start_with(on, &config);
    check(&proxy);
    proxy.finish();
}

/// Sends a command, and COM_PING when its answer has begun: nothing is behind a read that a replica
/// may refuse.
fn ask(client: &mut RawClient, command: &[u8]) -> Result<()> {
    client.send_packet(0, command)?;
    client.packet()?;
    client.send_packet(0, b"\x0e")?;
    while client.packet()?.0 != 1 {}
    Ok(())
}

fn check(proxy: &Proxy) {
    let old = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
    let unusual = Capabilities::QUERY_ATTRIBUTES.union(Capabilities::NO_SCHEMA);
    let usual = Login::new(USER, PASSWORD)
        .without(unusual.union(Capabilities::OPTIONAL_RESULTSET_METADATA));
    let read = format!("SELECT n FROM shop.counter WHERE id = {ID}");
    let mut n = 0;
    for login in [usual.clone(), usual.without(old)] {
        for (texts, count) in WRITES {
            let mut client = RawClient::log_in(proxy.weir.address(), &login).unwrap();
            for text in *texts {
                let update = format!("UPDATE shop.counter SET n = n + 1 WHERE id = {ID}");
                let command = match *text {
                    "\x1f" => vec![0x1f],
                    text => [b"\x03", text.replace("{}", &update).as_bytes()].concat(),
                };
                let answer = ask(&mut client, &command);
                assert!(answer.is_ok(), "{text} of {texts:?}: {answer:?}");
            }
            n += count;
            // Behind an error the first one is where the error was.
            for _ in 0..2 {
                assert_eq!(client.value(&read).unwrap(), n.to_string(), "{texts:?}");
            }
        }
        let mut client = RawClient::log_in(proxy.weir.address(), &login).unwrap();
        ask(&mut client, b"\x03SELECT shop.bump(32)").unwrap();
        n += 1;
        client.change_user(USER, PASSWORD, None).unwrap().1.unwrap();
        assert_eq!(client.value(&read).unwrap(), n.to_string());
        // Who has written nothing sees nothing.
        let mut other = RawClient::log_in(proxy.weir.address(), &login).unwrap();
        assert_eq!(other.value(&read).unwrap(), "0");
    }
}
