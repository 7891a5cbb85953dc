//! What changes are called, and what holds until a restart.

use expect_test::{Expect, expect};

use super::*;
use crate::base::{BackendId, ClusterId};
use crate::config::{Offline, parse};

const OLD: &str = r#"
[[cluster]]
name = "one"
monitor = { user = "m", password = "a" }
[[cluster.backend]]
name = "db1"
address = "127.0.0.1:3306"
role = "primary"
[[cluster.backend]]
name = "db2"
address = "127.0.0.1:3307"
role = "replica"
[[cluster]]
name = "two"
monitor = { user = "m", password = "a" }
[[cluster.backend]]
name = "db3"
address = "127.0.0.1:3308"
role = "primary"
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "one"
[[endpoint]]
name = "reports"
listen = "127.0.0.1:6034"
cluster = "two"
[[user]]
name = "app"
password = "old secret"
[[user]]
name = "gone"
password = ""
"#;

fn config(text: &str) -> Config {
    parse(text, &Offline).unwrap()
}

/// Replaces parts of OLD and compares.
fn changed(parts: &[(&str, &str)]) -> Result<Diff, Vec<String>> {
    let mut text = OLD.to_owned();
    for (from, to) in parts {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    diff(&config(OLD), &config(&text))
}

fn check(parts: &[(&str, &str)], expected: Expect) {
    let shown = match changed(parts) {
        Ok(diff) => diff.summary(),
        Err(problems) => problems.join("\n"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn nothing_is_no_change() {
    check(&[], expect!["nothing changed"]);
    assert_eq!(changed(&[]).unwrap().effective, config(OLD));
}

#[test]
fn limits_and_the_log_change_live_buffers_do_not() {
    let process = "[weir]\nworkers = 3\ndriver = \"epoll\"\ndrain_timeout_ms = 1\n\
         [log]\nformat = \"json\"\nlevel = \"debug\"\n\
         [limits]\nclients_max = 7\nlogin_timeout_ms = 8\nreceive_buffers = 512\n\
         listen_backlog = 9\nlarge_buffer_bytes = 131072\n";
    let text = format!("{process}{OLD}");
    let diff = diff(&config(OLD), &config(&text)).unwrap();
    expect!["live: weir.drain_timeout_ms, log.format, log.level, limits.login_timeout_ms, limits.clients_max; needs a restart: weir.workers, weir.driver, limits.receive_buffers, limits.large_buffer_bytes, limits.listen_backlog"]
    .assert_eq(&diff.summary());
    let (old, effective) = (config(OLD), diff.effective);
    assert_eq!(effective.workers, old.workers);
    assert_eq!(effective.limits.listen_backlog, old.limits.listen_backlog);
    assert_eq!(effective.limits.clients_max, 7);
    // What waits for a restart is named until there was one.
    let again = super::diff(&effective, &config(&text)).unwrap();
    assert!(again.live.is_empty(), "{again:?}");
    assert_eq!(again.restart, diff.restart);
}

#[test]
fn buffers_that_no_longer_fit_wait_for_the_ones_they_belong_to() {
    let small = "[limits]\nlarge_buffer_bytes = 16384\nsession_buffer_bytes = 16384\n\
                 worker_buffer_bytes = 65536\n";
    let small = diff(&config(OLD), &config(&format!("{small}{OLD}"))).unwrap();
    expect!["live: nothing; needs a restart: limits.large_buffer_bytes, limits.session_buffer_bytes, limits.worker_buffer_bytes"]
    .assert_eq(&small.summary());
    assert_eq!(small.effective, config(OLD));
    let large = "[limits]\nsession_buffer_bytes = 1048576\n";
    let large = diff(&config(OLD), &config(&format!("{large}{OLD}"))).unwrap();
    expect!["live: limits.session_buffer_bytes"].assert_eq(&large.summary());
    assert_eq!(large.effective.limits.session_buffer_bytes, 1 << 20);
}

#[test]
fn clusters_backends_and_users_come_change_and_go() {
    check(
        &[
            ("password = \"a\" }", "password = \"b\", interval_ms = 99 }"),
            ("127.0.0.1:3307", "127.0.0.1:4407"),
            ("role = \"replica\"", "role = \"replica\"\nconnections_max = 5"),
            ("name = \"db3\"", "name = \"db4\""),
            ("old secret", "new secret"),
            ("name = \"gone\"", "name = \"new\""),
            (
                "[[endpoint]]",
                "[[cluster]]\nname = \"three\"\nmonitor = { user = \"m\", password = \"\" }\n\
                 backend = [{ name = \"db5\", address = \"127.0.0.1:1\", role = \"primary\" }]\n\
                 [[endpoint]]",
            ),
        ],
        expect![
            "live: cluster[three] added, cluster[one].monitor.password, cluster[one].monitor.interval_ms, cluster[three].backend[db5] added, cluster[two].backend[db4] added, cluster[two].backend[db3] removed, cluster[one].backend[db2].address, cluster[one].backend[db2].connections_max, user[new] added, user[gone] removed, user[app].password"
        ],
    );
}

#[test]
fn endpoints_keep_their_places() {
    // The second one goes, a third comes first, and the first one moves.
    let parts = [
        (
            "[[endpoint]]",
            "[[endpoint]]\nname = \"new\"\nlisten = \"127.0.0.1:1\"\ncluster = \"one\"\n[[endpoint]]",
        ),
        ("127.0.0.1:6033\"\ncluster = \"one\"", "127.0.0.1:6035\"\ncluster = \"two\""),
        ("[[endpoint]]\nname = \"reports\"\nlisten = \"127.0.0.1:6034\"\ncluster = \"two\"\n", ""),
    ];
    check(
        &parts,
        expect![
            "live: endpoint[app].cluster; needs a restart: endpoint[new] added, endpoint[app].listen, endpoint[reports] removed"
        ],
    );
    let effective = changed(&parts).unwrap().effective;
    let listen: Vec<_> =
        effective.endpoints.iter().filter_map(|it| Some(it.listen.tcp()?.port())).collect();
    assert_eq!(listen, [6033, 6034]);
    assert_eq!(effective.endpoints[0].cluster, ClusterId(1));
    assert_eq!(effective.endpoints[1].cluster, ClusterId(1));
}

#[test]
fn an_endpoint_follows_its_cluster_to_another_place() {
    let (head, rest) = OLD.split_at(OLD.find("[[cluster]]\nname = \"two\"").unwrap());
    let (two, rest) = rest.split_at(rest.find("[[endpoint]]").unwrap());
    let swapped = diff(&config(OLD), &config(&format!("{two}{head}{rest}"))).unwrap();
    assert_eq!(swapped.summary(), "nothing changed");
    let endpoints = &swapped.effective.endpoints;
    assert_eq!((endpoints[0].cluster, endpoints[1].cluster), (ClusterId(1), ClusterId(0)));
    assert_eq!(swapped.effective.clusters[1].backends, [BackendId(1), BackendId(2)]);
}

#[test]
fn what_cannot_hold_beside_what_stays_is_refused() {
    // Removing an endpoint and its cluster, while the endpoint stays.
    let from = OLD.find("[[cluster]]\nname = \"two\"").unwrap();
    let to = OLD.find("[[endpoint]]").unwrap();
    let text = [&OLD[..from], &OLD[to..]].concat().replace(
        "[[endpoint]]\nname = \"reports\"\nlisten = \"127.0.0.1:6034\"\ncluster = \"two\"\n",
        "",
    );
    let problems = diff(&config(OLD), &config(&text)).unwrap_err();
    expect!["endpoint[reports] stays until a restart, but its cluster[two] is gone"]
        .assert_eq(&problems.join("\n"));
    // A backend where an endpoint was that has moved away in the file only.
    check(
        &[
            ("127.0.0.1:3307", "127.0.0.1:7000"),
            ("listen = \"127.0.0.1:6033\"", "listen = \"127.0.0.1:6036\""),
            ("127.0.0.1:7000", "127.0.0.1:6033"),
        ],
        expect!["backend 'db2' is where endpoint 'app' listens until a restart"],
    );
}

#[test]
fn a_line_names_a_bounded_number() {
    let users: String =
        (0..1000).map(|n| format!("[[user]]\nname = \"u{n}\"\npassword = \"\"\n")).collect();
    let many = diff(&config(OLD), &config(&format!("{OLD}{users}"))).unwrap().summary();
    assert!(many.ends_with(" and 950 more") && many.len() < 2000, "{many}");
}

#[test]
fn rules_change_live() {
    let rule = |name: &str, delay_ms: u32| {
        format!("[[rule]]\nname = \"{name}\"\naction = \"delay\"\ndelay_ms = {delay_ms}\n")
    };
    let file = |rules: &[String]| config(&format!("{OLD}{}", rules.concat()));
    let old = file(&[rule("a", 1), rule("b", 1), rule("c", 1)]);
    let new = file(&[rule("b", 2), rule("a", 1), rule("d", 1)]);
    let diff = diff(&old, &new).unwrap();
    expect!["live: rule[d] added, rule[c] removed, rule[b], order of rules"]
        .assert_eq(&diff.summary());
    assert_eq!(diff.effective.rules, new.rules);
}
