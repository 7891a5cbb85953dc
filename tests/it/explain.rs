//! `weir explain`.
//!
//! Purpose: what it prints for a statement, from the command line and from standard input, and how a
//! running Weir is asked, well or badly.
//! Never: judge what is said of servers; the unit tests and those with real servers do.

use std::io::Write;
use std::process::{Command, Stdio};

use weir_tests::{Script, ScriptedServer, free_port, http, http_get, weir_binary};

use crate::fixture::Bed;

on_both_drivers!(a_running_weir_is_asked, odd_questions_have_clear_answers,);

/// What `weir explain` prints, and whether it succeeded.
fn explained(args: &[&str], input: &str) -> (String, bool) {
    let mut child = Command::new(weir_binary().unwrap())
        .arg("explain")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.success())
}

#[test]
fn a_read_with_hints() {
    let sql = "SELECT a, @b FROM t WHERE id = 5 /* weir:replica weir:max_lag_ms=50 */";
    let (said, done) = explained(&[sql], "");
    assert!(done, "{said}");
    assert_eq!(
        said,
        "class       read\n\
         nodes       replicas\n\
         reason      plain-read (it reads, and nothing in it writes, locks or depends on a server)\n\
         flags       user-variable\n\
         hints       replica, max_lag_ms=50\n\
         statements  1\n\
         digest      DIGEST\n\
         text        SELECT a, @b FROM t WHERE id = ?\n"
            .replace("DIGEST", digest_of(&said))
    );
}

/// The value of the line, which has to be 16 hexadecimal digits.
fn digest_of(said: &str) -> &str {
    let digest = said.lines().find_map(|line| line.strip_prefix("digest      ")).unwrap();
    assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{said}");
    digest
}

#[test]
fn the_same_digest_for_the_same_statement() {
    let one = explained(&["select a from t where id in (1, 2)"], "").0;
    let other = explained(&["-"], "SELECT a FROM t -- x\nWHERE id IN (3)").0;
    assert_eq!(digest_of(&one), digest_of(&other));
}

#[test]
fn several_statements_from_standard_input() {
    let (said, done) = explained(&["-"], "SELECT 1;\nDELETE FROM t;\n");
    assert!(done);
    for line in [
        "class       write",
        "nodes       primary",
        "reason      write (it writes)",
        "flags       multi-statement",
        "hints       none",
        "statements  2",
        "text        SELECT ?; DELETE FROM t",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}:\n{said}");
    }
}

#[test]
fn the_server_and_the_mode_decide() {
    let nodes = |args: &[&str]| {
        let (said, done) = explained(args, "");
        assert!(done, "{said}");
        said.contains("nodes       replicas")
    };
    assert!(nodes(&["--server", "mysql", "SELECT UUID_TO_BIN('x')"]));
    assert!(nodes(&["--server", "mysql=8.0.36", "SELECT UUID_TO_BIN('x')"]));
    assert!(!nodes(&["--server", "mariadb", "SELECT UUID_TO_BIN('x')"]));
    assert!(!nodes(&["SELECT UUID_TO_BIN('x')"]));
    let sql = r"SELECT '\' FOR UPDATE -- '";
    assert!(nodes(&["--server", "mysql", &sql.replace("-- '", "# ' -- x")]));
    assert!(!nodes(&["--server", "mysql", "--sql-mode", "NO_BACKSLASH_ESCAPES", sql]));
}

#[test]
fn a_wrong_command_line() {
    let (said, done) = explained(&["--server", "oracle", "SELECT 1"], "");
    assert!(!done && said.contains("it is mysql or mariadb"), "{said}");
}

fn a_running_weir_is_asked(driver: &str) {
    let bed = Bed::start(driver);
    let admin = bed.weir.admin().to_string();
    let config = bed.weir.config().to_str().unwrap();
    let sql = "SELECT 'a%&+ü', 1";
    for args in [
        ["--admin", &admin, "--endpoint", "main", sql].as_slice(),
        &["--config", config, sql],
        &["--admin", &admin, "-"],
    ] {
        let (said, done) = explained(args, sql);
        assert!(done, "{said}");
        for line in [
            "class       read",
            "nodes       primary",
            "text        SELECT ?, ?",
            "settings    policy least-outstanding, primary_reads fallback, max_lag_ms 10000, \
             consistency session, causal_wait_ms 50",
        ] {
            assert!(said.lines().any(|said| said == line), "{line}:\n{said}");
        }
        assert!(said.contains("\nreason      mode (everything goes to the primary of"), "{said}");
        assert!(said.contains("\nendpoint    main (mode primary, cluster main of "), "{said}");
    }
    // More than a Weir reads.
    let long = format!("SELECT '{}'", "x".repeat(1 << 20));
    let (said, done) = explained(&["--admin", &admin, "-"], &long);
    assert!(done && !said.contains("class") && said.contains("goes to"), "{said}");
    let (said, done) = explained(&["--admin", &admin, "--json", sql], "");
    assert!(done && said.contains("\"mode\": \"primary\""), "{said}");
    // The same of the page.
    let page = http_get(bed.weir.admin(), "/explain?sql=SELECT%20%27a%25%26+%27,+1").unwrap();
    assert_eq!(page.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(page.status == 200 && page.body.contains("SELECT ?, ?\n"), "{page:?}");
    bed.finish(&[("client_faults", 0)]);
}

fn odd_questions_have_clear_answers(driver: &str) {
    let bed = Bed::start(driver);
    let admin = bed.weir.admin().to_string();
    let refused = |args: &[&str], reason: &str| {
        let (said, done) = explained(args, "");
        assert!(!done && said.starts_with("weir: ") && said.contains(reason), "{args:?}: {said}");
    };
    let unknown = "says: there is no endpoint 'x', but main";
    refused(&["--admin", &admin, "--endpoint", "x", "DO 1"], unknown);
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    refused(&["--admin", &nobody, "DO 1"], &format!("no Weir answers on {nobody}: Connection re"));
    refused(&["--admin", "nowhere", "DO 1"], "'nowhere' is no address such as 127.0.0.1:6032");
    let server = ScriptedServer::start(Script::default()).unwrap();
    let other = server.address().to_string();
    refused(
        &["--admin", &other, "DO 1"],
        &format!("what listens on {other} is not the admin page"),
    );
    refused(&["--config", "/nowhere.toml", "DO 1"], "/nowhere.toml cannot be read");
    let folder = bed.weir.config().parent().unwrap();
    let text = std::fs::read_to_string(bed.weir.config()).unwrap();
    let without = folder.join("without.toml");
    std::fs::write(&without, text.replace(&admin, "disabled")).unwrap();
    refused(&["--config", without.to_str().unwrap(), "DO 1"], "without.toml has no admin pages");

    let ask = |request: &str| {
        let answer = http(bed.weir.admin(), request).unwrap();
        (answer.status, answer.body)
    };
    let post = |head: &str, body: &str| ask(&format!("POST /explain HTTP/1.1\r\n{head}\r\n{body}"));
    assert_eq!(ask("GET /explain HTTP/1.1\r\n\r\n").0, 400);
    assert_eq!(ask("GET /explain?sql=%g HTTP/1.1\r\n\r\n").0, 400);
    assert_eq!(ask("DELETE /explain?sql=a HTTP/1.1\r\n\r\n").0, 405);
    assert_eq!(post("", "").0, 400);
    assert_eq!(post("Content-Length: 4\r\n", "DO 1").0, 200);
    assert_eq!(post("Transfer-Encoding: chunked\r\n", "4\r\nDO 1\r\n0\r\n\r\n").0, 200);
    let (most, more) = (65_537, 65_538);
    let long = "x".repeat(more);
    assert_eq!(post(&format!("Content-Length: {most}\r\n"), &long[1..]).0, 200);
    let (status, said) = post(&format!("Content-Length: {more}\r\n"), &long);
    assert!(status == 413 && said.starts_with("texts of more than 65536 bytes"), "{said}");
    bed.finish(&[("client_faults", 0)]);
}
