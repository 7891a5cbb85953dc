//! Addresses of endpoints and backends that are paths.

use std::path::Path;

use expect_test::expect;

use super::{MINIMAL, accepted, check_replaced};
use crate::base::Address;

const LISTEN: &str = "listen = \"127.0.0.1:6033\"";
const ADDRESS: &str = "address = \"db:3306\"";

#[test]
fn both_sides_may_be_unix_sockets() {
    let text = MINIMAL.replacen(LISTEN, "listen = \"unix:/run/weir.sock\"", 1);
    let text = text.replacen(ADDRESS, "address = \"unix:/run/mysqld.sock\"", 1);
    let config = accepted(&text);
    let unix = |path| Address::Unix(Path::new(path).into());
    assert_eq!(config.endpoints[0].listen, unix("/run/weir.sock"));
    assert_eq!(config.endpoints[0].unix_mode, 0o777);
    assert_eq!(config.backends[0].address, unix("/run/mysqld.sock"));
}

#[test]
fn a_mode_has_three_octal_digits() {
    for (mode, bits) in [("0660", 0o660), ("700", 0o700), ("0000", 0), ("007", 0o007)] {
        let listen = format!("listen = \"unix:/a\"\nunix_mode = \"{mode}\"");
        assert_eq!(accepted(&MINIMAL.replacen(LISTEN, &listen, 1)).endpoints[0].unix_mode, bits);
    }
    for mode in ["\"77\"", "\"01777\"", "\"0o777\"", "\"888\"", "\"rwx\"", "777"] {
        let listen = format!("listen = \"unix:/a\"\nunix_mode = {mode}");
        let text = MINIMAL.replacen(LISTEN, &listen, 1);
        let problems = crate::config::parse(&text, &super::World).unwrap_err();
        assert_eq!(problems.len(), 1, "{mode}");
        assert_eq!(problems[0].path, "endpoint[0].unix_mode", "{mode}");
    }
}

#[test]
fn paths_are_absolute_and_used_once() {
    check_replaced(
        LISTEN,
        "listen = \"unix:weir.sock\"",
        expect![[r#"
        line 11: endpoint[0].listen = "unix:weir.sock": must be unix: and the absolute path of a socket
    "#]],
    );
    check_replaced(
        ADDRESS,
        "address = \"unix:\"",
        expect![[r#"
        line 7: cluster[0].backend[0].address = "unix:": must be unix: and the absolute path of a socket
    "#]],
    );
    let text = MINIMAL.replacen(LISTEN, "listen = \"unix:/a\"", 1);
    let text = text.replacen(ADDRESS, "address = \"unix:/a\"", 1);
    let problems = crate::config::parse(&text, &super::World).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].message, "is where Weir itself listens, by endpoint[0].listen");
}
