//! Unix sockets on either side.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_tests::{Client, Lifetime, RunFolder, Server, Weir, weir_binary};

use crate::fixture::{Database, On, PASSWORD, USER, config, eventually};

// What a socket is does not depend on the server behind it.
mod mariadb {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MariaDb,
        both_sides_are_unix_sockets,
        a_socket_left_behind_is_taken_over
    );
}

/// A name short enough for the address of a unix socket, for a folder whose own may not be.
struct ShortName(PathBuf);

impl ShortName {
    fn of(folder: &Path, what: &str) -> Self {
        let name = format!("weir-real-{}-{what}", std::process::id());
        let short = std::env::temp_dir().join(name);
        drop(fs::remove_file(&short));
        symlink(folder, &short).unwrap();
        Self(short)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for ShortName {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// A Weir of two workers with a second endpoint and cluster, both on unix sockets.
fn start(on: On, folder: &Path, listen: &str, server: &Server, address: &str) -> Weir {
    let mut config = config(on, server);
    config.workers = "2".to_owned();
    let (user, password) = config.monitor.clone();
    config.endpoint_lines.push(format!(
        r#"
[[cluster]]
name = "local"
monitor = {{ user = "{user}", password = "{password}" }}
backend = [{{ name = "near", address = "unix:{address}", role = "primary" }}]
[[endpoint]]
name = "local"
listen = "unix:{listen}"
unix_mode = "0700"
cluster = "local"
"#
    ));
    Weir::start(&weir_binary().unwrap(), folder, &config, Lifetime::WithParent).unwrap()
}

fn both_sides_are_unix_sockets(on: On) {
    let server = Database::shared(on);
    let folder = RunFolder::create("local").unwrap();
    let here = ShortName::of(folder.path(), &format!("both-{}", on.driver));
    let data = server.sql("SELECT @@datadir").unwrap();
    let there = ShortName::of(Path::new(data.trim()), &format!("data-{}", on.driver));
    let listen = here.file("weir.sock");
    let mut weir = start(on, folder.path(), &listen, server, &there.file("sock"));
    assert_eq!(fs::metadata(&listen).unwrap().permissions().mode() & 0o777, 0o700);

    let client = Client::socket(folder.path(), "weir.sock", USER).with_password(PASSWORD);
    assert_eq!(client.query("SELECT USER()").unwrap(), format!("{USER}@localhost\n"));
    let long = client.query("SELECT LENGTH(REPEAT('x', 3000000)), REPEAT('x', 3000000)").unwrap();
    assert_eq!(long.len(), "3000000\t".len() + 3_000_000 + 1);
    // Both workers accept from the one socket; whoever is asked answers.
    std::thread::scope(|scope| {
        let ask = || assert_eq!(client.query("SELECT SLEEP(0.05), 7").unwrap(), "0\t7\n");
        let clients: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    let denied = client.clone().with_password("wrong").query("SELECT 1").unwrap_err().to_string();
    assert!(denied.contains(&format!("Access denied for user '{USER}'@'localhost'")), "{denied}");
    // The other endpoint is not disturbed.
    assert_eq!(weir.client(USER, PASSWORD).query("SELECT 1").unwrap(), "1\n");
    weir.stop().unwrap();
    assert!(!Path::new(&listen).exists(), "the socket's file stays behind");
}

fn a_socket_left_behind_is_taken_over(on: On) {
    let mut database = Database::start(on.flavour);
    let folder = RunFolder::create("stale").unwrap();
    let here = ShortName::of(folder.path(), &format!("stale-{}", on.driver));
    let data = database.server.sql("SELECT @@datadir").unwrap();
    let there = ShortName::of(Path::new(data.trim()), &format!("gone-{}", on.driver));
    let (listen, address) = (here.file("weir.sock"), there.file("sock"));
    let first = start(on, folder.path(), &listen, &database.server, &address);
    // Dropped is killed.
    drop(first);
    assert!(Path::new(&listen).exists(), "a killed process cannot tidy up");
    // The kernel takes its time with the rings of a killed process, and their listeners.
    eventually("nobody listens", Duration::from_secs(20), || UnixStream::connect(&listen).is_err());
    let mut weir = start(on, folder.path(), &listen, &database.server, &address);
    let client = Client::socket(folder.path(), "weir.sock", USER).with_password(PASSWORD);
    assert_eq!(client.query("SELECT 1").unwrap(), "1\n");

    // A server that is gone leaves its file behind, too: nobody listens there.
    database.server.crash().unwrap();
    let error = client.query("SELECT 1").unwrap_err().to_string();
    assert!(error.contains("cannot connect to it: connection refused"), "{error}");
    assert!(error.contains("'near' (unix:"), "{error}");
    database.server.restart().unwrap();
    eventually("the server is found again", Duration::from_secs(20), || {
        client.query("SELECT 2").is_ok_and(|rows| rows == "2\n")
    });
    weir.stop().unwrap();
}
