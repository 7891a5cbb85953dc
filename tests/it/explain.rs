//! `weir explain`.
//!
//! Purpose: what it prints for a statement, from the command line and from standard input.
//! Never: need a server; nor do its users.

use std::io::Write;
use std::process::{Command, Stdio};

use weir_tests::weir_binary;

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
