//! SIGHUP: the configuration again.
//!
//! Purpose: what is right takes effect and ends no session, what is wrong changes nothing, and the
//! log says which it was.

use weir_tests::{Login, Next, RawClient, Script, ScriptedServer, echo};

use crate::fixture::{BACKEND, Bed, Setting, account, wait};

on_both_drivers!(
    users_and_limits_change,
    what_needs_a_restart_is_named,
    a_file_with_problems_changes_nothing,
    the_primary_moves,
    the_primary_changes_place_with_a_replica,
    the_monitor_gets_another_account,
    a_lease_keeps_the_name_of_its_backend,
    a_higher_bound_lets_waiting_sessions_in,
    the_log_changes,
);

/// The file of a bed.
fn file(bed: &Bed) -> String {
    std::fs::read_to_string(bed.weir.config()).unwrap()
}

/// Puts a changed file in its place; what the log says of it.
fn reload(bed: &mut Bed, changes: &[(&str, &str)]) -> String {
    let mut text = file(bed);
    for (from, to) in changes {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text = text.replacen(from, to, 1);
    }
    let said = bed.weir.reload(&text).unwrap();
    bed.check_witness();
    said
}

fn logs_in(bed: &Bed, user: &str) -> bool {
    RawClient::log_in(bed.weir.address(), &Login::new(user, "secret")).is_ok()
}

fn users_and_limits_change(driver: &str) {
    let mut bed = Setting::default().limit("clients_max", 50).start(driver);
    let said = reload(
        &mut bed,
        &[
            ("name = \"app\"\npassword", "name = \"new\"\npassword"),
            ("clients_max = 50", "clients_max = 2"),
            ("drain_timeout_ms = 10000", "drain_timeout_ms = 9999"),
        ],
    );
    let expected = "INFO reloaded: live: weir.drain_timeout_ms, limits.clients_max, \
                    user[new] added, user[app] removed\n";
    assert!(said.contains(expected), "{said}");
    wait("the new user", || logs_in(&bed, "new"));
    // The witness is one of the removed user's sessions and goes on; others find the door shut.
    assert!(!logs_in(&bed, "app"));
    let new = RawClient::log_in(bed.weir.address(), &Login::new("new", "secret")).unwrap();
    let mut third = bed.connect();
    assert_eq!(third.packet().unwrap().1, b"\xFF\x10\x04Too many connections");
    drop((new, third));
    let said = reload(&mut bed, &[]);
    assert!(said.contains("INFO reloaded: nothing changed\n"), "{said}");
    bed.finish(&[("backend_faults", 0), ("client_faults", 0)]);
}

fn what_needs_a_restart_is_named(driver: &str) {
    let mut bed = Setting::default().limit("receive_buffers", 256).start(driver);
    let endpoint = "[[endpoint]]\nname = \"more\"\nlisten = \"127.0.0.1:1\"\ncluster = \"main\"\n";
    let changes = [
        ("workers = 1", "workers = 2"),
        ("receive_buffers = 256", "receive_buffers = 512\nclients_max = 9"),
    ];
    let mut changes = changes.to_vec();
    let user = format!("{endpoint}\n[[user]]");
    changes.push(("[[user]]", &user));
    let said = reload(&mut bed, &changes);
    let expected = "INFO reloaded: live: limits.clients_max; needs a restart: weir.workers, \
                    limits.receive_buffers, endpoint[more] added\n";
    assert!(said.contains(expected), "{said}");
    // Still so.
    let said = reload(&mut bed, &[("clients_max = 9", "clients_max = 8")]);
    assert!(said.contains("live: limits.clients_max; needs a restart: weir.workers, "), "{said}");
    bed.client().echo("SELECT 1").unwrap();
    bed.finish(&[("bugs", 0)]);
}

fn a_file_with_problems_changes_nothing(driver: &str) {
    let mut bed = Bed::start(driver);
    let good = file(&bed);
    let said = reload(
        &mut bed,
        &[
            ("name = \"app\"\npassword", "name = \"new\"\npassword"),
            ("mode = \"primary\"", "mode = \"sideways\""),
            ("drain_timeout_ms = 10000", "drain_timeout_ms = -1"),
        ],
    );
    assert!(said.contains("ERROR not reloaded, the previous configuration stays: "), "{said}");
    for problem in ["has 2 problems:", "endpoint[0].mode = \"sideways\"", "weir.drain_timeout_ms"] {
        assert!(said.contains(problem), "{problem}:\n{said}");
    }
    assert!(!said.contains("secret"), "{said}");
    assert!(logs_in(&bed, "app") && !logs_in(&bed, "new"));
    // A file that is gone, and one that is back.
    let said = bed.weir.reload("not TOML").unwrap();
    assert!(said.contains("not reloaded") && said.contains("not TOML"), "{said}");
    let said = bed.weir.reload(&good).unwrap();
    assert!(said.contains("reloaded: nothing changed"), "{said}");
    bed.finish(&[("bugs", 0)]);
}

fn the_primary_moves(driver: &str) {
    let mut bed = Bed::start(driver);
    let mut old = bed.client();
    let other = ScriptedServer::start(Script::default()).unwrap();
    let (from, to) = (bed.server.address().to_string(), other.address().to_string());
    let said = reload(&mut bed, &[(&from, &to)]);
    let expected = format!("reloaded: live: cluster[main].backend[{BACKEND}].address\n");
    assert!(said.contains(&expected), "{said}");
    // From now on clients come to the other one; no client is turned away in between.
    wait("a client of the other server", || {
        bed.client().echo("SELECT 'new'").unwrap();
        other.counts().logins > 0
    });
    let before = bed.server.counts().logins;
    let mut new = bed.client();
    new.echo("SELECT 'new'").unwrap();
    old.echo("SELECT 'old'").unwrap();
    assert_eq!(bed.server.counts().logins, before);
    // Nobody probes the old one any more.
    wait("the end of the old probe", || bed.server.counts().monitors_open == 0);
    drop((old, new));
    wait("the end of the other server's sessions", || other.counts().open == 0);
    bed.finish(&[("backend_faults", 0), ("clients_refused", 0)]);
}

/// Positions in the file change, so that ids do.
fn the_primary_changes_place_with_a_replica(driver: &str) {
    let other = ScriptedServer::start(Script::default()).unwrap();
    let mut bed = Bed::start(driver);
    let original = file(&bed);
    let mut old = bed.client();
    let first =
        format!("[[cluster.backend]]\nname = \"first\"\naddress = \"{}\"\n", other.address());
    let said = reload(
        &mut bed,
        &[("[[cluster.backend]]", &format!("{first}role = \"replica\"\n[[cluster.backend]]"))],
    );
    assert!(said.contains("live: cluster[main].backend[first] added\n"), "{said}");
    old.echo("SELECT 'old'").unwrap();
    bed.client().echo("SELECT 'new'").unwrap();
    wait("a probe of the new one", || other.counts().monitors_open == 1);
    assert_eq!(other.counts().logins, 0);
    // Now they change roles.
    let said = reload(
        &mut bed,
        &[
            ("role = \"replica\"", "role = \"_\""),
            ("role = \"primary\"", "role = \"replica\""),
            ("role = \"_\"", "role = \"primary\""),
        ],
    );
    let expected =
        format!("live: cluster[main].backend[{BACKEND}].role, cluster[main].backend[first].role\n");
    assert!(said.contains(&expected), "{said}");
    wait("a client of the other server", || {
        bed.client().echo("SELECT 'new'").unwrap();
        other.counts().logins > 0
    });
    old.echo("SELECT 'old'").unwrap();
    assert_eq!(other.counts().monitors, 1, "the probe went on with its connection");
    drop(old);
    bed.weir.reload(&original).unwrap();
    wait("the end of its probe", || other.counts().monitors_open == 0);
    bed.finish(&[("backend_faults", 0), ("clients_refused", 0)]);
}

fn the_monitor_gets_another_account(driver: &str) {
    let mut bed = Bed::start(driver);
    let said = reload(
        &mut bed,
        &[("user = \"monitor\"\npassword = \"secret\"", "user = \"other\"\npassword = \"secret\"")],
    );
    assert!(said.contains("live: cluster[main].monitor.user\n"), "{said}");
    // To the scripted server any other account is a client.
    bed.wait_counts("a probe of the other account", |counts| {
        counts.logins == 2 && counts.monitors_open == 0
    });
    bed.client().echo("SELECT 1").unwrap();
    let said = reload(&mut bed, &[("user = \"other\"", "user = \"monitor\"")]);
    assert!(said.contains("live: cluster[main].monitor.user\n"), "{said}");
    bed.finish(&[("backend_faults", 0), ("clients_refused", 0)]);
}

fn a_lease_keeps_the_name_of_its_backend(driver: &str) {
    let script = Script::default().responding(|talk, command| {
        if command == b"\x03die" { Ok(Next::Close) } else { echo(talk, command) }
    });
    let mut bed = Setting::default().script(script).start(driver);
    let mut client = bed.client();
    let named = format!("name = \"{BACKEND}\"");
    let said = reload(&mut bed, &[(&named, "name = \"renamed\"")]);
    let expected = format!(
        "live: cluster[main].backend[renamed] added, cluster[main].backend[{BACKEND}] removed\n"
    );
    assert!(said.contains(&expected), "{said}");
    client.send_query("die").unwrap();
    let error = client.error().unwrap();
    assert!(error.text.starts_with(&format!("weir: backend '{BACKEND}' closed")), "{error:?}");
    wait("clients of the new name", || {
        let mut client = bed.client();
        client.send_query("die").unwrap();
        client.error().unwrap().text.starts_with("weir: backend 'renamed' closed")
    });
    bed.finish(&[("bugs", 0)]);
}

fn a_higher_bound_lets_waiting_sessions_in(driver: &str) {
    let mut setting = Setting::default();
    setting.backend_keys.push(("connections_max", 1));
    let mut bed = setting.limit("backend_handshakes_max", 1).start(driver);
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    client.capabilities = account().capabilities.intersection(greeting.capabilities);
    client.send(&account().request(&greeting)).unwrap();
    let said = reload(&mut bed, &[("connections_max = 1", "connections_max = 2")]);
    let expected = format!("live: cluster[main].backend[{BACKEND}].connections_max\n");
    assert!(said.contains(&expected), "{said}");
    assert_eq!(client.packet().unwrap().1[0], 0);
    client.echo("SELECT 'in'").unwrap();
    drop(client);
    bed.finish(&[("backend_wait_timeouts", 0)]);
}

fn the_log_changes(driver: &str) {
    let mut bed = Bed::start(driver);
    let changes = [("format = \"text\"", "format = \"json\""), ("\"info\"", "\"debug\"")];
    let said = reload(&mut bed, &changes);
    assert!(said.contains(r#""message":"reloaded: live: log.format, log.level""#), "{said}");
    drop(bed.client());
    wait("a line of a session", || {
        bed.weir.log_text().contains(r#""level":"DEBUG","message":"client connected""#)
    });
    let changes = [("format = \"json\"", "format = \"text\""), ("\"debug\"", "\"info\"")];
    let said = reload(&mut bed, &changes);
    assert!(said.contains(" INFO reloaded: live: log.format, log.level\n"), "{said}");
    bed.finish(&[("bugs", 0)]);
}
