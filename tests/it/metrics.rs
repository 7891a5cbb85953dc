//! Metrics and histograms.
//!
//! Purpose: what the pages count is what happened, in bounded number, and never goes back.
//! Never: judge how long anything took.

use std::collections::BTreeSet;

use weir_tests::{Login, Metrics, RawClient, Script, Series, echo, http_get, read_interval_log};

use crate::fixture::{BACKEND, Bed, Setting, account, wait};

on_both_drivers!(
    counts_equal_what_clients_did,
    scrapes_among_working_clients_never_go_back,
    histograms_are_read_and_added_by_others,
    error_numbers_are_counted_apart_up_to_a_bound,
    clients_make_no_series,
);

const ENDPOINT: [(&str, &str); 1] = [("endpoint", "main")];
const COMMANDS: &str = "weir_command_duration_seconds_count";

/// Answers `fail N` by error N.
fn failing() -> Script {
    Script::default().responding(|talk, command| {
        let number = command.strip_prefix(b"\x03fail ").map(String::from_utf8_lossy);
        match number.and_then(|number| number.parse().ok()) {
            Some(code) => {
                let error = talk.reply().error(code, "as wished").bytes();
                talk.send(&error)
            }
            None => echo(talk, command),
        }
    })
}

/// A client asks for an error and gets it.
fn fail(client: &mut RawClient, code: u16) {
    client.send_query(&format!("fail {code}")).unwrap();
    assert_eq!(client.error().unwrap().code, code);
}

fn counts_equal_what_clients_did(driver: &str) {
    let mut bed = Setting::default().script(failing()).start(driver);
    let before = bed.weir.metrics().unwrap();
    let mut clients: Vec<RawClient> = (0..3).map(|_| bed.client()).collect();
    for client in &mut clients {
        for _ in 0..10 {
            client.echo("SELECT 1").unwrap();
        }
        fail(client, 1064);
        // Refused by Weir itself.
        client.send_packet(0, &[0x1D]).unwrap();
        assert_eq!(client.error().unwrap().code, 1047);
    }
    let mut denied = bed.connect();
    let greeting = denied.greeting().unwrap();
    let wrong = Login { password: "wrong".to_owned(), ..account() };
    denied.send(&wrong.request(&greeting)).unwrap();
    assert_eq!(denied.error().unwrap().code, 1045);
    denied.closed().unwrap();
    bed.check_witness();

    let after = bed.weir.metrics().unwrap();
    let grown = |name: &str, labels: &[(&str, &str)]| {
        after.value(name, labels).unwrap() - before.get(name, labels).unwrap_or(0.0)
    };
    for (name, count) in [
        ("weir_logins_ok_total", 3.0),
        ("weir_logins_denied_total", 1.0),
        ("weir_commands_total", 3.0 * 12.0 + 1.0),
        ("weir_replies_total", 3.0 * 11.0 + 1.0),
        ("weir_reply_errors_total", 3.0),
        ("weir_backend_logins_total", 3.0),
        ("weir_bugs_total", 0.0),
    ] {
        assert_eq!(grown(name, &[]), count, "{name}");
    }
    assert_eq!(grown(COMMANDS, &ENDPOINT), 3.0 * 12.0 + 1.0);
    assert!(grown("weir_command_duration_seconds_sum", &ENDPOINT) > 0.0);
    assert_eq!(grown("weir_login_duration_seconds_count", &ENDPOINT), 3.0);
    let backend = [("backend", BACKEND)];
    assert_eq!(grown("weir_backend_login_duration_seconds_count", &backend), 3.0);
    for (side, code, count) in
        [("backend", "1064", 3.0), ("weir", "1047", 3.0), ("weir", "1045", 1.0)]
    {
        assert_eq!(grown("weir_errors_total", &[("side", side), ("code", code)]), count, "{code}");
    }
    // Gauges: the witness is there as well.
    let worker = [("worker", "0")];
    assert_eq!(after.value("weir_sessions", &worker).unwrap(), 4.0);
    assert_eq!(after.value("weir_sessions_logging_in", &worker).unwrap(), 0.0);
    assert_eq!(after.value("weir_worker_responsive", &worker).unwrap(), 1.0);
    assert_eq!(after.value("weir_backend_connections", &backend).unwrap(), 4.0);
    let up = [("backend", BACKEND), ("cluster", "main"), ("role", "primary")];
    assert_eq!(after.value("weir_backend_up", &up).unwrap(), 1.0);
    for thread in ["control", "worker-0"] {
        assert!(after.value("weir_thread_cpu_seconds_total", &[("thread", thread)]).unwrap() > 0.0);
    }
    assert!(after.value("process_resident_memory_bytes", &[]).unwrap() > f64::from(1 << 20));
    drop(clients);
    wait("the gauges to go down", || {
        let now = bed.weir.metrics().unwrap();
        now.value("weir_sessions", &worker).unwrap() == 1.0
            && now.value("weir_backend_connections", &backend).unwrap() == 1.0
    });
    bed.finish(&[("logins_denied", 1), ("backend_faults", 0)]);
}

fn scrapes_among_working_clients_never_go_back(driver: &str) {
    const CLIENTS: u32 = 4;
    const QUERIES: u32 = 200;
    let bed = Bed::start(driver);
    let mut last = bed.weir.metrics().unwrap();
    let first = last.value(COMMANDS, &ENDPOINT).unwrap();
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..QUERIES / 10 {
                        let mut client = bed.client();
                        (0..10).for_each(|_| client.echo("SELECT 1").unwrap());
                    }
                })
            })
            .collect();
        while working.iter().any(|client| !client.is_finished()) {
            let now = bed.weir.metrics().unwrap();
            never_back(&last, &now);
            last = now;
        }
    });
    let now = bed.weir.metrics().unwrap();
    never_back(&last, &now);
    let commands = now.value(COMMANDS, &ENDPOINT).unwrap() - first;
    assert_eq!(commands, f64::from(CLIENTS * QUERIES));
    bed.finish(&[("backend_faults", 0), ("client_faults", 0)]);
}

fn never_back(before: &Metrics, after: &Metrics) {
    for ((name, labels), value) in before.iter().filter(|((name, _), _)| before.grows(name)) {
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let now = after.value(name, &labels).unwrap();
        assert!(now >= value, "{name} {labels:?} went from {value} to {now}");
    }
}

fn histograms_are_read_and_added_by_others(driver: &str) {
    let mut bed = Bed::start(driver);
    for _ in 0..20 {
        bed.check_witness();
    }
    let log = || {
        let answer = http_get(bed.weir.admin(), "/histograms").unwrap();
        assert_eq!(answer.status, 200);
        read_interval_log(answer.body.as_bytes()).unwrap()
    };
    let (one, two) = (log(), log());
    let metrics = bed.weir.metrics().unwrap();
    let commands = metrics.value(COMMANDS, &ENDPOINT).unwrap();
    let tags: Vec<&str> = one.keys().map(String::as_str).collect();
    let backend = format!("backend-login:{BACKEND}");
    assert_eq!(tags, [backend.as_str(), "command:main", "login:main"]);
    let mut sum = one["command:main"].clone();
    sum.add(&two["command:main"]).unwrap();
    assert_eq!(sum.len().to_string(), (2.0 * commands).to_string());
    assert_eq!(sum.max(), one["command:main"].max());
    let seconds = metrics.value("weir_command_duration_seconds_sum", &ENDPOINT).unwrap();
    // Values are microseconds, rounded up by at most 1 % and never past the slowest.
    assert!(seconds <= sum.mean() * 1.01 / 1e6 * commands + 1e-6 * commands, "{seconds}");
    bed.finish(&[]);
}

fn error_numbers_are_counted_apart_up_to_a_bound(driver: &str) {
    const FIRST: u16 = 20_000;
    const NUMBERS: u16 = 200;
    let bed = Setting::default().script(failing()).start(driver);
    let mut client = bed.client();
    for number in 0..NUMBERS {
        fail(&mut client, FIRST + number);
    }
    let metrics = bed.weir.metrics().unwrap();
    let errors: Vec<(&Series, f64)> = metrics
        .iter()
        .filter(|((name, labels), _)| name == "weir_errors_total" && labels["side"] == "backend")
        .collect();
    assert_eq!(errors.len(), 65, "64 numbers and the others");
    assert_eq!(errors.iter().map(|(_, count)| count).sum::<f64>(), f64::from(NUMBERS));
    let other = metrics.value("weir_errors_total", &[("side", "backend"), ("code", "other")]);
    assert_eq!(other.unwrap(), f64::from(NUMBERS - 64));
    drop(client);
    bed.finish(&[("backend_faults", 0)]);
}

fn clients_make_no_series(driver: &str) {
    let bed = Bed::start(driver);
    let names = |metrics: &Metrics| -> BTreeSet<Series> {
        metrics.iter().map(|(series, _)| series.clone()).collect()
    };
    let before = names(&bed.weir.metrics().unwrap());
    let clients: Vec<RawClient> = (0..30).map(|_| bed.client()).collect();
    for (mut client, number) in clients.into_iter().zip(0..) {
        client.echo(&format!("SELECT {number}")).unwrap();
    }
    assert_eq!(names(&bed.weir.metrics().unwrap()), before);
    bed.finish(&[("backend_faults", 0)]);
}
