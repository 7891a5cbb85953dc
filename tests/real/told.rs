//! Clients that tell their password to Weir.
//!
//! Purpose: users that Weir knows by a hash, or not at all, log in to a server that wants the
//! password itself, with every client, on every kind of connection.

use std::process::Output;
use std::time::Duration;

use sha2::{Digest, Sha256};
use weir_tests::{Client, Driver, Flavour, Server, WeirConfig};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, eventually};

mod mysql {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MySql,
        a_cold_server_is_told_the_password,
        users_of_the_server,
        libraries_tell_it_too
    );
}
mod mariadb {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MariaDb,
        users_of_the_server,
        a_kept_connection_is_for_those_who_have_proven_themselves
    );
}

/// The account is known by a hash.
fn by_hash(on: On, server: &Server) -> WeirConfig {
    let hash = Sha256::digest(Sha256::digest(PASSWORD));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut config = config(on, server);
    config.users.clear();
    config.more = format!("[[user]]\nname = \"{USER}\"\npassword_sha2 = \"{hash}\"\n");
    config
}

/// The account is not known.
fn pass_through(on: On, server: &Server) -> WeirConfig {
    let mut config = config(on, server);
    config.users.clear();
    config.endpoint_lines.push("auth = \"pass-through\"".to_owned());
    config
}

/// A client that uses TLS, or seals its password.
fn client(on: On, proxy: &Proxy, user: &str, password: &str, tls: bool) -> Client {
    let client = Client::tcp(proxy.weir.address(), user, password).program(on.flavour);
    match (on.flavour, tls) {
        (Flavour::MySql, true) => client.arg("--ssl-mode=REQUIRED"),
        (Flavour::MySql, false) => client.arg("--ssl-mode=DISABLED").arg("--get-server-public-key"),
        (Flavour::MariaDb, true) => client.arg("--ssl"),
        (Flavour::MariaDb, false) => client.arg("--skip-ssl"),
    }
}

fn a_cold_server_is_told_the_password(on: On) {
    // A server of its own: others keep the password in the shared one's cache.
    let database = Database::start(on.flavour);
    for tls in [true, false] {
        let proxy = Proxy::start_with(on, &by_hash(on, &database.server));
        for _ in 0..2 {
            database.server.sql("FLUSH PRIVILEGES").unwrap();
            let client = client(on, &proxy, USER, PASSWORD, tls);
            assert_eq!(client.query("SELECT 7").unwrap(), "7\n", "tls: {tls}");
        }
        let wrong = client(on, &proxy, USER, "wrong", tls).query("SELECT 7").unwrap_err();
        assert!(wrong.to_string().contains("ERROR 1045 (28000)"), "{wrong}");
        proxy.finish();
    }
}

fn users_of_the_server(on: On) {
    let database = Database::start(on.flavour);
    let server = &database.server;
    server.create_account("stranger", "first").unwrap();
    for tls in [true, false] {
        let proxy = Proxy::start_with(on, &pass_through(on, server));
        let ask = |user: &str, password: &str| {
            client(on, &proxy, user, password, tls)
                .query("SELECT USER()")
                .map_err(|it| it.to_string())
        };
        let denied = |user: &str, password: &str| {
            let error = ask(user, password).unwrap_err();
            assert!(error.starts_with("ERROR 1045 (28000)"), "{error}");
            error.replace(user, "USER")
        };
        assert_eq!(denied("stranger", "wrong"), denied("nobody", "wrong"));
        for _ in 0..2 {
            assert_eq!(ask("stranger", "first").unwrap(), "stranger@127.0.0.1\n");
        }
        let rotate = |password: &str| {
            server.sql(&format!("ALTER USER 'stranger'@'%' IDENTIFIED BY '{password}'")).unwrap();
        };
        rotate("second");
        denied("stranger", "first");
        for _ in 0..2 {
            assert_eq!(ask("stranger", "second").unwrap(), "stranger@127.0.0.1\n");
        }
        denied("stranger", "first");
        rotate("first");
        assert_eq!(ask("stranger", "first").unwrap(), "stranger@127.0.0.1\n");
        proxy.finish();
    }
}

/// A connection that the account's last client left behind is no reason to let anybody in.
fn a_kept_connection_is_for_those_who_have_proven_themselves(on: On) {
    let database = Database::start(on.flavour);
    database.server.create_account("stranger", "first").unwrap();
    let settings = WeirConfig { pooling: "session", ..pass_through(on, &database.server) };
    let proxy = Proxy::start_with(on, &settings);
    let counted = |what: &str| {
        let metrics = proxy.weir.metrics().unwrap();
        metrics.value(&format!("weir_backend_{what}_total"), &[]).unwrap()
    };
    let ask = |password: &str| client(on, &proxy, "stranger", password, true).query("SELECT 7");
    for round in 1..=2 {
        assert_eq!(ask("first").unwrap(), "7\n");
        eventually("the connection is kept", Duration::from_secs(20), || {
            counted("recycled") == f64::from(round)
        });
        let refused = ask("wrong").unwrap_err().to_string();
        assert!(refused.contains("ERROR 1045 (28000)"), "{refused}");
    }
    assert_eq!((counted("logins"), counted("reuses")), (1.0, 1.0));
    proxy.finish();
}

fn libraries_tell_it_too(on: On) {
    let database = Database::start(on.flavour);
    for (driver, script, args) in [
        (Driver::Python, "tests/real/clients/told.py", &["pymysql"][..]),
        (Driver::Python, "tests/real/clients/told.py", &["connector"]),
        (Driver::Node, "tests/real/clients/told.mjs", &[]),
    ] {
        let proxy = Proxy::start_with(on, &by_hash(on, &database.server));
        let address = proxy.weir.address();
        let output = driver
            .script(script)
            .unwrap()
            .args(args)
            .args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()])
            .args(["--user", USER, "--password", PASSWORD])
            .output()
            .unwrap();
        let Output { status, stdout, stderr } = output;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(status.success(), "{args:?}: {}", text(&stderr));
        assert_eq!(text(&stdout), "app@127.0.0.1\n", "{args:?}");
        proxy.finish();
    }
}
