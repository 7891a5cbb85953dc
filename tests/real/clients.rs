//! Client libraries of other languages, and the command lines.
//!
//! Purpose: every one of them sees through Weir what it sees of the server itself, and that is
//! what it should see. Their scripts print the same lines, so one table says what those are.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use weir_tests::{Client, Driver, Flavour, RunFolder};

use crate::fixture::{On, PASSWORD, USER, on_every_server};
use crate::transport::{To, Transport, directly_and_through};

on_every_server!(
    python_pymysql,
    python_pymysql_over_tls,
    python_connector,
    python_connector_over_tls_and_compressed,
    node_mysql2,
    node_mysql2_over_tls_and_compressed,
    either_command_line,
);

/// Rows of the file that is loaded.
const FILE_ROWS: u32 = 50_000;

fn python_pymysql(on: On) {
    script(on, "pymysql", Driver::Python, &["pymysql"], &[Transport::PLAIN]);
}

/// It cannot compress.
fn python_pymysql_over_tls(on: On) {
    script(on, "pymysql_tls", Driver::Python, &["pymysql"], &[Transport::TLS]);
}

fn python_connector(on: On) {
    script(on, "connector", Driver::Python, &["connector"], &[Transport::PLAIN]);
}

fn python_connector_over_tls_and_compressed(on: On) {
    // Compressed it reads no packet that lies in more than two envelopes: servers send the rest of
    // a long one in a single envelope, which they can because they hold it whole. Weir does not.
    let args = ["connector", "--small"];
    script(on, "connector_ways", Driver::Python, &args, ways(on));
}

fn node_mysql2(on: On) {
    script(on, "mysql2", Driver::Node, &[], &[Transport::PLAIN]);
}

fn node_mysql2_over_tls_and_compressed(on: On) {
    script(on, "mysql2_ways", Driver::Node, &[], ways(on));
}

/// Of a library that knows TLS and zlib, shared out between the drivers.
fn ways(on: On) -> &'static [Transport] {
    if on.driver == "epoll" { &[Transport::TLS, Transport::ZLIB] } else { &[Transport::TLS_ZLIB] }
}

/// Runs a script directly and through Weir over these ways.
fn script(on: On, test: &str, driver: Driver, args: &[&str], ways: &[Transport]) {
    let folder = RunFolder::create(test).unwrap();
    let file = folder.path().join("rows.tsv");
    let rows: String = (0..FILE_ROWS).map(|row| format!("{row}\tword {row}\n")).collect();
    fs::write(&file, rows).unwrap();
    directly_and_through(on, test, ways, |to| {
        let seen = sights(driver, args, &to, &file);
        let blob = if args.contains(&"--small") { SMALL_BLOB } else { BLOB };
        assert_eq!(seen, expected(&to.database, blob), "{on:?}, {to:?}");
    });
}

fn sights(driver: Driver, args: &[&str], to: &To, file: &Path) -> Vec<String> {
    let name = match driver {
        Driver::Python => "tests/real/clients/client.py",
        Driver::Node => "tests/real/clients/client.mjs",
    };
    let mut command = driver.script(name).unwrap();
    let (host, port) = (to.address.ip().to_string(), to.address.port().to_string());
    command.args(args).args(["--host", &host, "--port", &port]);
    command.args(["--user", USER, "--password", PASSWORD, "--database", &to.database]);
    if to.way.tls {
        command.args(["--tls", &to.ca]);
    }
    if to.way.compression.is_some() {
        command.arg("--compress");
    }
    let output = command.arg("--file").arg(file).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (seen, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name} {args:?} fails after\n{seen}\n{errors}");
    seen.lines().map(str::to_owned).collect()
}

/// What a library should see, line by line. `blob`: length and SHA-256 of the value that is large.
fn expected(database: &str, (length, sha256): (u32, &str)) -> Vec<String> {
    let sum = u64::from(FILE_ROWS) * u64::from(FILE_ROWS - 1) / 2;
    let denied = "Access denied for user 'app'@'127.0.0.1' (using password:";
    [
        ("refused", format!(r#""code":1045,"text":"{denied} YES)""#)),
        ("refused", format!(r#""code":1045,"text":"{denied} NO)""#)),
        ("login", format!(r#""seen":["{database}","app@127.0.0.1"]"#)),
        ("charset", r#""seen":["wörd 🎉 漢字","77C3B6726420F09F8E8920E6BCA2E5AD97",9]"#.to_owned()),
        ("prepared", r#""seen":[[[48,"w48",48.5],[49,"w49",49.5],[50,null,null]],[]]"#.to_owned()),
        ("transactions", r#""seen":[2,1,2]"#.to_owned()),
        ("results", r#""seen":[[[1]],[],[["two",2]],[]]"#.to_owned()),
        ("call", r#""seen":[[[21]],[],[[42]]]"#.to_owned()),
        ("file", format!(r#""seen":[{FILE_ROWS},{FILE_ROWS},{sum}]"#)),
        ("blob", format!(r#""length":{length},"same":true,"sha256":"{sha256}""#)),
        ("errors", r#""seen":[1146,1062,1064,5555]"#.to_owned()),
        (
            "warnings",
            r#""seen":["Warning",1264,"Out of range value for column 'a' at row 1"]"#.to_owned(),
        ),
        (
            "kinds",
            r#""seen":["2024-02-29","1.25",null,"18446744073709551615","-10:11:12",1]"#.to_owned(),
        ),
        ("after", r#""seen":["after"]"#.to_owned()),
    ]
    .map(|(check, seen)| format!(r#"{{"check":"{check}",{seen}}}"#))
    .to_vec()
}

/// 20 MiB and 4 KiB that the scripts make by the same rule.
const BLOB: (u32, &str) =
    (20 << 20, "8d65cf9add0a47c9a29876981fb9f086c3c8f4939a6138e1673889275090fec0");
const SMALL_BLOB: (u32, &str) =
    (4 << 10, "7a1b1b70db282916205638614614805f21dae4b8220376c9de8db6b59c0eb234");

/// MariaDB's program on MySQL and the other way round: each proves itself by the other's plugin.
fn either_command_line(on: On) {
    // MySQL's program is fetched with the server; without it this is among the tests not run.
    let programs: &[Flavour] = match on.flavour {
        Flavour::MariaDb => &[Flavour::MariaDb],
        Flavour::MySql => &Flavour::ALL,
    };
    for program in programs {
        let ways: Vec<Transport> = Transport::known_to(*program).collect();
        let errors = RefCell::new(BTreeSet::new());
        directly_and_through(on, "either", &ways, |to| {
            let (rows, error) = by_command_line(*program, &to);
            let seen = format!("wörd\t1.50\tNULL\n{USER}@127.0.0.1\t{}\n", to.database);
            assert_eq!(rows, seen, "{program}, {to:?}: {error}");
            assert!(error.contains("ERROR 1146 (42S02)"), "{error}");
            errors.borrow_mut().insert(error);
        });
        assert_eq!(errors.take().len(), 1, "the same error everywhere");
    }
}

/// What a program prints as rows and as errors.
fn by_command_line(program: Flavour, to: &To) -> (String, String) {
    let statements = "CREATE OR REPLACE VIEW v AS SELECT 'wörd' AS w, 1.50 AS d, NULL AS n; \
                      SELECT * FROM v; SELECT USER(), DATABASE(); SELECT * FROM absent";
    let client = Client::tcp(to.address, USER, PASSWORD).program(program).database(&to.database);
    let client = to.way.client(client, &to.ca);
    let output = client.arg("--default-character-set=utf8mb4").run(statements).unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
