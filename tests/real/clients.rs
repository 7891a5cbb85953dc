//! Client libraries of other languages, and the command lines.
//!
//! Purpose: every one of them sees through Weir what it sees of the server itself, and that is
//! what it should see. Their scripts print the same lines, so one table says what those are.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use weir_tests::{Client, Driver, Flavour, RunFolder};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, database, on_every_server};

on_every_server!(python_pymysql, python_connector, node_mysql2, either_command_line);

/// Rows of the file that is loaded.
const FILE_ROWS: u32 = 50_000;

fn python_pymysql(on: On) {
    script(on, "pymysql", Driver::Python, &["pymysql"]);
}

fn python_connector(on: On) {
    script(on, "connector", Driver::Python, &["connector"]);
}

fn node_mysql2(on: On) {
    script(on, "mysql2", Driver::Node, &[]);
}

/// Runs a script directly and through Weir.
fn script(on: On, test: &str, driver: Driver, args: &[&str]) {
    let server = Database::shared(on);
    let folder = RunFolder::create(test).unwrap();
    let file = folder.path().join("rows.tsv");
    let rows: String = (0..FILE_ROWS).map(|row| format!("{row}\tword {row}\n")).collect();
    fs::write(&file, rows).unwrap();
    let proxy = Proxy::start(on, server);
    let see = |address: SocketAddr| {
        let name = database(server, test, on);
        (sights(driver, args, address, &name, &file), name)
    };
    let (direct, name) = see(server.address());
    assert_eq!(direct, expected(&name), "what the library sees of {} itself", on.flavour);
    let (through, _) = see(proxy.weir.address());
    assert_eq!(through, direct);
    proxy.finish();
}

fn sights(
    driver: Driver,
    args: &[&str],
    address: SocketAddr,
    database: &str,
    file: &Path,
) -> Vec<String> {
    let name = match driver {
        Driver::Python => "tests/real/clients/client.py",
        Driver::Node => "tests/real/clients/client.mjs",
    };
    let output = driver
        .script(name)
        .unwrap()
        .args(args)
        .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--user", USER, "--password", PASSWORD, "--database", database])
        .arg("--file")
        .arg(file)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (seen, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name} {args:?} fails after\n{seen}\n{errors}");
    seen.lines().map(str::to_owned).collect()
}

/// What a library should see, line by line.
fn expected(database: &str) -> Vec<String> {
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
        ("blob", format!(r#""length":20971520,"same":true,"sha256":"{BLOB_SHA256}""#)),
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

/// Of the 20 MiB both scripts make by the same rule.
const BLOB_SHA256: &str = "8d65cf9add0a47c9a29876981fb9f086c3c8f4939a6138e1673889275090fec0";

/// MariaDB's program on MySQL and the other way round: each proves itself by the other's plugin.
fn either_command_line(on: On) {
    let server = Database::shared(on);
    let name = database(server, "either", on);
    let proxy = Proxy::start(on, server);
    let statements = "CREATE OR REPLACE VIEW v AS SELECT 'wörd' AS w, 1.50 AS d, NULL AS n; \
                      SELECT * FROM v; SELECT USER(), DATABASE(); SELECT * FROM absent";
    // MySQL's program is fetched with the server; without it this is among the tests not run.
    let programs: &[Flavour] = match on.flavour {
        Flavour::MariaDb => &[Flavour::MariaDb],
        Flavour::MySql => &Flavour::ALL,
    };
    for program in programs {
        same_by_command_line(*program, &name, statements, server.address(), proxy.weir.address());
    }
    proxy.finish();
}

/// Asks by one program directly and through Weir.
fn same_by_command_line(
    program: Flavour,
    database: &str,
    statements: &str,
    direct: SocketAddr,
    through: SocketAddr,
) {
    let ask = |address| {
        let client = Client::tcp(address, USER, PASSWORD).program(program).database(database);
        let output = client.arg("--default-character-set=utf8mb4").run(statements).unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (rows, error) = ask(direct);
    assert_eq!(rows, format!("wörd\t1.50\tNULL\n{USER}@127.0.0.1\t{database}\n"), "{error}");
    assert!(error.contains("ERROR 1146 (42S02)"), "{error}");
    assert_eq!(ask(through), (rows, error), "by the program of {program}");
}
