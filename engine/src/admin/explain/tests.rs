//! The page, for endpoints of every mode and servers in every state.

use std::sync::Arc;

use super::*;
use crate::config::{Offline, parse};
use crate::topology::Topology;
use crate::wire::{Capabilities, Greeting, Status};

const CONFIG: &str = r#"
    cluster = [
        { name = "main", monitor = { user = "m", password = "" }, backend = [
            { name = "a", address = "127.0.0.1:1" },
            { name = "b", address = "127.0.0.1:2" },
            { name = "c", address = "127.0.0.1:3", weight = 0 },
        ] },
        { name = "other", monitor = { user = "m", password = "" }, backend = [
            { name = "z", address = "127.0.0.1:9" },
        ] },
    ]
    endpoint = [
        { name = "app", listen = "127.0.0.1:4", cluster = "main", mode = "read-write",
          consistency = "eventual", functions_on_replicas = true },
        { name = "ro", listen = "127.0.0.1:5", cluster = "main", mode = "read-only",
          primary_reads = "never" },
        { name = "rw", listen = "127.0.0.1:6", cluster = "main" },
    ]
    user = [{ name = "u", password = "" }]
"#;

fn picture(config: &Config) -> Snapshot {
    let greeting = Arc::new(Greeting {
        version: b"10.11.6-MariaDB".to_vec(),
        connection_id: 1,
        nonce: [1; 20],
        capabilities: Capabilities::PROTOCOL_41,
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: Vec::new(),
    });
    let mut snapshot = Snapshot::clone(&Topology::new(config).current());
    for view in &mut snapshot.backends {
        let is_primary = matches!(&*view.name, "a" | "z");
        view.role = if is_primary { Role::Primary } else { Role::Replica };
        (view.reachable, view.serves_reads, view.lag_ms) = (true, true, Some(0));
        view.greeting = Some(Arc::clone(&greeting));
        view.is_fenced = !is_primary;
    }
    snapshot
}

/// The page as programs see it, with the servers changed by `change`.
fn asked(endpoint: &str, sql: &str, change: Change) -> serde_json::Value {
    let config = parse(CONFIG, &Offline).unwrap();
    let mut snapshot = picture(&config);
    change(&mut snapshot);
    let ask = Ask {
        endpoint: Some(endpoint.to_owned()),
        sql: Some(sql.into()),
        json: true,
        ..Ask::default()
    };
    let answer = explain(&ask, &config, &snapshot);
    assert_eq!((answer.status, answer.content_type), (200, JSON));
    serde_json::from_slice(&answer.body).unwrap()
}

/// What is decided, who would do, and what is said of each server.
fn decided(endpoint: &str, sql: &str, change: Change) -> String {
    let page = asked(endpoint, sql, change);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("taken").to_owned();
    let decision = &page["decision"];
    let candidates: Vec<_> = decision["candidates"].as_array().unwrap().iter().map(text).collect();
    let servers = page["servers"].as_array().unwrap().iter();
    let servers: Vec<_> = servers
        .map(|it| {
            assert_eq!(it["takes"].as_bool().unwrap(), it["misses"].is_null(), "{page}");
            format!("{}={}", text(&it["name"]), text(&it["misses"]))
        })
        .collect();
    format!(
        "{} {} {} [{}] {}",
        text(&decision["nodes"]),
        text(&decision["reason"]),
        text(&decision["by"]),
        candidates.join(","),
        servers.join(" ")
    )
}

const AS_IT_IS: Change = |_| {};

/// What happens to the servers.
type Change = fn(&mut Snapshot);

/// Endpoint, statement, servers, and what is decided.
const CASES: &[(&str, &str, Change, &str)] = &[
    ("app", "SELECT 1", AS_IT_IS, "replicas plain-read policy [b] a=fallback b=taken c=no-weight"),
    (
        "app",
        "SELECT 1",
        |it| it.backends[1].lag_ms = Some(20_000),
        "replicas plain-read policy [c] a=fallback b=lags c=taken",
    ),
    (
        "app",
        "SELECT 1",
        |it| it.backends[1].serves_reads = false,
        "replicas plain-read policy [c] a=fallback b=not-replicating c=taken",
    ),
    (
        "app",
        "SELECT 1",
        |it| it.backends[1..].iter_mut().for_each(|it| it.reachable = false),
        "replicas plain-read fallback [a] a=taken b=unreachable c=unreachable",
    ),
    (
        "app",
        "SELECT 1",
        |it| it.backends[1].lag_ms = None,
        "replicas plain-read policy [c] a=fallback b=lag-unknown c=taken",
    ),
    (
        "app",
        "/* weir:backend=c */ SELECT 1",
        AS_IT_IS,
        "replicas plain-read named [c] a=fallback b=not-named c=taken",
    ),
    (
        "app",
        "/* weir:max_lag_ms=5 */ SELECT 1",
        |it| it.backends[1].lag_ms = Some(6),
        "replicas plain-read policy [c] a=fallback b=hinted-lag c=taken",
    ),
    (
        "app",
        "/* weir:primary */ SELECT 1",
        AS_IT_IS,
        "primary plain-read primary [a] a=taken b=replica c=replica",
    ),
    (
        "app",
        "SELECT f(1)",
        AS_IT_IS,
        "replicas unknown-function policy [b] a=fallback b=taken c=no-weight",
    ),
    (
        "app",
        "SELECT f(1)",
        |it| it.backends[1].is_fenced = false,
        "replicas unknown-function policy [c] a=fallback b=not-fenced c=taken",
    ),
    ("app", "DELETE FROM t", AS_IT_IS, "primary write primary [a] a=taken b=replica c=replica"),
    (
        "app",
        "DELETE FROM t",
        |it| it.backends[0].role = Role::Replica,
        "primary write nobody [] a=replica b=replica c=replica",
    ),
    ("ro", "SELECT 1", AS_IT_IS, "replicas plain-read policy [b] a=primary b=taken c=no-weight"),
    (
        "ro",
        "SELECT 1",
        |it| it.backends[1..].iter_mut().for_each(|it| it.reachable = false),
        "replicas plain-read nobody [] a=primary b=unreachable c=unreachable",
    ),
    ("ro", "DELETE FROM t", AS_IT_IS, "none write refused [] a=refused b=refused c=refused"),
    ("ro", "CALL p()", AS_IT_IS, "replicas call policy [b] a=primary b=taken c=no-weight"),
    ("rw", "SELECT 1", AS_IT_IS, "primary mode primary [a] a=taken b=replica c=replica"),
    ("rw", "", AS_IT_IS, "primary mode primary [a] a=taken b=replica c=replica"),
    (
        "app",
        "START TRANSACTION READ ONLY",
        AS_IT_IS,
        "replicas read-only-transaction policy [b] a=fallback b=taken c=no-weight",
    ),
];

#[test]
fn the_decision_is_that_of_routing() {
    for (endpoint, sql, change, expected) in CASES {
        assert_eq!(decided(endpoint, sql, *change), *expected, "{endpoint} {sql}");
    }
}

#[test]
fn the_page_for_people() {
    let config = parse(CONFIG, &Offline).unwrap();
    let mut snapshot = picture(&config);
    snapshot.backends[2].lag_ms = Some(1500);
    let sql = "/* weir:max_lag_ms=50 */ SELECT a FROM t WHERE id = 5";
    let ask = Ask { endpoint: Some("app".to_owned()), sql: Some(sql.into()), ..Ask::default() };
    let answer = explain(&ask, &config, &snapshot);
    let text = String::from_utf8(answer.body.into_owned()).unwrap();
    let digest = Explained::of(sql.as_bytes(), LexMode::usual(Server::Unknown)).digest;
    let expected = "class       read\n\
        nodes       replicas\n\
        reason      plain-read (it reads, and nothing in it writes, locks or depends on a server)\n\
        flags       none\n\
        hints       max_lag_ms=50\n\
        statements  1\n\
        digest      DIGEST\n\
        text        SELECT a FROM t WHERE id = ?\n\
        endpoint    app (mode read-write, cluster main of 10.11.6-MariaDB)\n\
        settings    policy least-outstanding, primary_reads fallback, max_lag_ms 10000, \
        consistency eventual, causal_wait_ms 50\n\
        wanted      no more than 50 ms behind\n\
        has to see  nothing but what its server happens to have (eventual)\n\
        goes to     b\n\
        supposing   a session outside of a transaction, with autocommit on and nothing that keeps \
        it where it is, which has chosen no consistency of its own\n\
        \n\
        server  role     reachable  lag      read-only  weight  address      taken\n\
        a       primary  yes        0 ms     no         100     127.0.0.1:1  no: fallback (it is \
        the primary, which takes reads when no replica is fit)\n\
        b       replica  yes        0 ms     yes        100     127.0.0.1:2  yes\n\
        c       replica  yes        1500 ms  yes        0       127.0.0.1:3  no: hinted-lag (it is \
        further behind than the hint allows, or nobody knows how far)\n";
    assert_eq!(text, expected.replace("DIGEST", &digest));
}

#[test]
fn what_a_read_has_to_see_is_said() {
    let said = |endpoint: &str, consistency: &str, sql: &str| {
        let file = CONFIG.replace("\"eventual\"", &format!("\"{consistency}\""));
        let config = parse(&file, &Offline).unwrap();
        let (endpoint, sql) = (Some(endpoint.to_owned()), Some(sql.into()));
        let ask = Ask { endpoint, sql, ..Ask::default() };
        let answer = explain(&ask, &config, &picture(&config));
        let text = String::from_utf8(answer.body.into_owned()).unwrap();
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or("").trim().to_owned()
        };
        (line("has to see"), line("settings"))
    };
    let read = "SELECT 1";
    let nothing = "nothing but what its server happens to have (eventual)";
    let fallback = ", or the primary is asked after causal_wait_ms";
    let session = format!("what its session has written and seen (session){fallback}");
    let instance = format!("what was acknowledged through this Weir (instance){fallback}");
    let global = format!("what the primary had acknowledged before (global){fallback}");
    for (level, expected) in [
        ("eventual", nothing),
        ("session", &*session),
        ("instance", &*instance),
        ("global", &*global),
    ] {
        let (seen, settings) = said("app", level, read);
        assert_eq!(seen, expected);
        assert!(
            settings.ends_with(&format!("consistency {level}, causal_wait_ms 50")),
            "{settings}"
        );
    }
    let hinted = "/* weir:consistency=global */ SELECT 1";
    assert_eq!(said("app", "eventual", hinted).0, global);
    assert_eq!(said("app", "global", "/* weir:consistency=eventual */ SELECT 1").0, nothing);
    // There is no primary to ask, or nothing else.
    assert_eq!(said("ro", "session", hinted).0, nothing);
    for (endpoint, sql) in [("rw", read), ("app", "DELETE FROM t"), ("ro", "DELETE FROM t")] {
        assert_eq!(said(endpoint, "global", sql).0, "", "{endpoint} {sql}");
    }
    assert_eq!(asked("app", read, AS_IT_IS)["decision"]["consistency"], "eventual");
    assert!(asked("rw", read, AS_IT_IS)["decision"]["consistency"].is_null());
}

#[test]
fn how_a_text_is_read_is_the_servers_way_and_the_sessions() {
    let nodes = |sql: &str, sql_mode: &str, version: Option<&str>| {
        let config = parse(CONFIG, &Offline).unwrap();
        let mut snapshot = picture(&config);
        for view in &mut snapshot.backends {
            let greeting = view.greeting.take().map(Arc::unwrap_or_clone);
            let told = greeting.zip(version);
            let told = told.map(|(it, version)| Greeting { version: version.into(), ..it });
            view.greeting = told.map(Arc::new);
        }
        let endpoint = Some("ro".to_owned());
        let (sql, sql_mode) = (Some(sql.into()), sql_mode.into());
        let answer = explain(&Ask { endpoint, sql, sql_mode, json: true }, &config, &snapshot);
        let page: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        page["statement"]["nodes"].as_str().unwrap().to_owned()
    };
    let sql = "SELECT UUID_TO_BIN('x')";
    assert_eq!(nodes(sql, "", Some("8.4.0")), "replicas");
    assert_eq!(nodes(sql, "", Some("10.11.6-MariaDB")), "primary");
    assert_eq!(nodes(sql, "", None), "primary");
    let sql = r"SELECT '\' FOR UPDATE # ' -- x";
    assert_eq!(nodes(sql, "", Some("8.4.0")), "replicas");
    assert_eq!(nodes(sql, "NO_BACKSLASH_ESCAPES", Some("8.4.0")), "primary");
}

#[test]
fn a_text_that_is_too_long_is_not_read() {
    let long = format!("SELECT '{}'", "x".repeat(CLASSIFY_BYTES_MAX - 8));
    assert_eq!(long.len(), CLASSIFY_BYTES_MAX + 1);
    assert!(long.len() <= STATEMENT_BYTES_MAX);
    let primary = "primary long-text primary [a] a=taken b=replica c=replica";
    assert_eq!(decided("app", &long, AS_IT_IS), primary);
    assert!(asked("app", &long, AS_IT_IS)["statement"].is_null());
    let fenced = "replicas long-text policy [b] a=primary b=taken c=no-weight";
    assert_eq!(decided("ro", &long, AS_IT_IS), fenced);
    let shorter = long.replace("xx'", "x'");
    assert!(decided("app", &shorter, AS_IT_IS).starts_with("replicas plain-read"));
}

#[test]
fn what_is_missing_is_said() {
    let said = |ask: Ask, config: &str| {
        let config = parse(config, &Offline).unwrap();
        let answer = explain(&ask, &config, &picture(&config));
        (answer.status, String::from_utf8(answer.body.into_owned()).unwrap())
    };
    let ask = |endpoint: Option<&str>, sql: Option<&str>| Ask {
        endpoint: endpoint.map(Into::into),
        sql: sql.map(Into::into),
        ..Ask::default()
    };
    let (status, text) = said(ask(Some("app"), None), CONFIG);
    assert!(status == 400 && text.starts_with("there is no statement"), "{text}");
    let which = "which endpoint? there are app, ro, rw\n".to_owned();
    assert_eq!(said(ask(None, Some("DO 1")), CONFIG), (400, which));
    let unknown = "there is no endpoint 'a\\n', but app, ro, rw\n".to_owned();
    assert_eq!(said(ask(Some("a\n"), Some("DO 1")), CONFIG), (404, unknown));
    let from = CONFIG.find("{ name = \"ro\"").unwrap();
    let to = CONFIG.find("    ]\n    user").unwrap();
    let single = [&CONFIG[..from], &CONFIG[to..]].concat();
    assert_eq!(said(ask(None, Some("DO 1")), &single).0, 200);
}
