//! A database written as SQL and read back.
//!
//! Purpose: what a dump through Weir holds is what a dump without holds, and reading it through
//! Weir makes the same database again.

use std::net::SocketAddr;
use std::process::Stdio;

use weir_tests::{Flavour, Server};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, database, on_every_server};

on_every_server!(a_dump_is_the_same_and_restores_the_same);

fn a_dump_is_the_same_and_restores_the_same(on: On) {
    let server = Database::shared(on);
    let name = database(server, "dump", on);
    let copy = database(server, "dump_copy", on);
    let proxy = Proxy::start(on, server);
    server.client(USER, PASSWORD).database(&name).query(CONTENT).unwrap();
    let direct = dump(on.flavour, server.address(), &name);
    for part in ["CREATE TABLE `blobs`", "PROCEDURE `twice`", "TRIGGER", "EVENT", "VIEW", "0xFF00"]
    {
        assert!(contains(&direct, part), "no {part} in the dump");
    }
    let through = dump(on.flavour, proxy.weir.address(), &name);
    assert!(through == direct, "the dumps differ");
    // Reading it back.
    let text = String::from_utf8(through).unwrap();
    proxy.client().database(&copy).query(&text).unwrap();
    assert_eq!(content(server, &copy), content(server, &name));
    assert!(dump(on.flavour, server.address(), &copy).len() >= direct.len());
    proxy.finish();
}

/// Tables with large and odd values, and everything else a schema has.
const CONTENT: &str = "\
     CREATE TABLE blobs (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB, w VARCHAR(50), KEY (w)); \
     INSERT INTO blobs (b, w) VALUES (x'FF00', 'wörd'), ('', ''), (NULL, NULL), \
       (REPEAT(x'00A5FF0D0A27', 500000), '''\"\\\\'), (REPEAT('y', 70000), 'y'); \
     CREATE TABLE rows_ AS SELECT seq, SHA2(seq, 256) AS hash FROM numbers.n; \
     CREATE TABLE log (entry VARCHAR(100)); \
     CREATE VIEW seen AS SELECT w, LENGTH(b) AS bytes FROM blobs WHERE w IS NOT NULL; \
     CREATE TRIGGER logged AFTER INSERT ON blobs FOR EACH ROW INSERT INTO log VALUES (NEW.w); \
     CREATE EVENT never ON SCHEDULE EVERY 100 YEAR STARTS '2037-01-01 00:00:00' DISABLE \
       DO DELETE FROM log;\n\
     DELIMITER //\n\
     CREATE PROCEDURE twice(IN a INT, OUT b INT) BEGIN SET b = a * 2; SELECT 'in between'; END//\n\
     CREATE FUNCTION more(a INT) RETURNS INT DETERMINISTIC RETURN a + 1//\n\
     DELIMITER ;\n";

/// The dump of a database by the server's own program.
fn dump(flavour: Flavour, address: SocketAddr, database: &str) -> Vec<u8> {
    let mut command = flavour.dump().unwrap().command();
    command.args(flavour.plain_args());
    command.arg(format!("--host={}", address.ip())).arg(format!("--port={}", address.port()));
    command.args(["--protocol=tcp", &format!("--user={USER}")]).env("MYSQL_PWD", PASSWORD);
    command.args(["--single-transaction", "--routines", "--triggers", "--events", "--hex-blob"]);
    command.args(["--skip-dump-date", "--max-allowed-packet=256M"]);
    if flavour == Flavour::MySql {
        // Other tests write meanwhile.
        command.arg("--set-gtid-purged=OFF");
    }
    let output = command.arg(database).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What a database holds, as checksums and as the server describes it.
fn content(server: &Server, database: &str) -> String {
    server
        .sql(&format!(
            "USE {database}; \
             CHECKSUM TABLE blobs, rows_, log; SELECT * FROM seen ORDER BY w; \
             SELECT routine_name, routine_definition FROM information_schema.routines \
               WHERE routine_schema = DATABASE() ORDER BY 1; \
             SELECT trigger_name, action_statement FROM information_schema.triggers \
               WHERE trigger_schema = DATABASE(); \
             SELECT event_name, event_definition, starts FROM information_schema.events \
               WHERE event_schema = DATABASE(); SELECT more(41)"
        ))
        .unwrap()
        .replace(database, "DATABASE")
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}
