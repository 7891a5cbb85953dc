//! The reader as a whole: what a file means, and what is said about a wrong one.

mod addresses;
mod admin;
mod compression;
mod consistency;
mod every_key;
mod proxy;
mod rules;
mod users;

use std::net::IpAddr;
use std::sync::LazyLock;

use expect_test::{Expect, expect};

use super::*;

/// Two variables, two files and one host.
struct World;

impl Lookup for World {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "SECRET" => Some("hunter2".to_owned()),
            "EMPTY" => Some(String::new()),
            "PORT" => Some("3306".to_owned()),
            _ => None,
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        match path {
            "secret" => Ok("from file\r\n".to_owned()),
            "cert.pem" => Ok(PAIR.0.clone()),
            "key.pem" => Ok(PAIR.1.clone()),
            "pair.pem" => Ok(format!("{}{}", PAIR.1, PAIR.0.repeat(2))),
            "empty" => Ok("\n".to_owned()),
            _ => Err("No such file or directory".to_owned()),
        }
    }

    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if host == "db" { Ok(vec![IpAddr::from([10, 0, 0, 1])]) } else { Err("unknown".to_owned()) }
    }
}

/// A certificate and its key, in PEM.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
});

const MINIMAL: &str = r#"
[[cluster]]
name = "main"
monitor = { user = "m", password = "" }
[[cluster.backend]]
name = "db1"
address = "db:3306"
role = "primary"
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "main"
[[user]]
name = "u"
password = "p"
"#;

fn accepted(text: &str) -> Config {
    parse(text, &World).unwrap_or_else(|problems| panic!("{}", lines(&problems)))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// What is said about a wrong file.
fn check(text: &str, expected: Expect) {
    match parse(text, &World) {
        Ok(config) => panic!("accepted as {config:#?}"),
        Err(problems) => expected.assert_eq(&lines(&problems)),
    }
}

/// What is said about text put before the minimal file, whose first line is empty.
fn check_before(text: &str, expected: Expect) {
    check(&format!("{text}{MINIMAL}"), expected);
}

/// What is said about a file with one piece replaced.
fn check_replaced(from: &str, to: &str, expected: Expect) {
    assert!(MINIMAL.contains(from), "{from}");
    check(&MINIMAL.replacen(from, to, 1), expected);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one picture of everything")]
fn a_minimal_file_takes_all_defaults() {
    let config = accepted(MINIMAL);
    expect![[r#"
        Config {
            workers: Auto,
            driver: Auto,
            drain_timeout: 30s,
            state_dir: "/var/lib/weir",
            rsa_key: None,
            log: Log {
                format: Text,
                level: Info,
            },
            admin: Admin {
                listen: Some(
                    127.0.0.1:6032,
                ),
            },
            limits: Limits {
                login_timeout: 10s,
                connect_timeout: 5s,
                handshakes_max: 16384,
                clients_max: 100000,
                clients_total_max: 0,
                clients_per_address_max: 0,
                host_errors_max: 100,
                host_block: 60s,
                sealed_passwords_max: 256,
                remembered_users_max: 10000,
                remembered_users_keep: 86400s,
                backend_handshakes_max: 64,
                lease_wait: 10s,
                lease_waiters_max: 100000,
                pipelined_commands_max: 1024,
                session_buffer_bytes: 524288,
                worker_buffer_bytes: 67108864,
                receive_buffers: 256,
                receive_buffer_bytes: 8192,
                large_buffer_bytes: 524288,
                large_buffers_max: 64,
                listen_backlog: 16384,
            },
            pool: Pool {
                idle_time_max: 60s,
                idle_min: 0,
                idle_max: 1000,
                ping_idle: 60s,
                age_max: 3600s,
                auth_cache_ttl: 60s,
                statements_per_session_max: 16382,
                statements_per_connection_max: 256,
                statements_max: 8192,
            },
            clusters: [
                Cluster {
                    name: "main",
                    monitor: Monitor {
                        user: "m",
                        secret: Secret::Empty,
                        interval: 250ms,
                        timeout: 1s,
                    },
                    backends: [
                        BackendId(
                            0,
                        ),
                    ],
                    heartbeat_table: None,
                    discover: false,
                    discover_max: 32,
                    discover_forget: 600s,
                },
            ],
            backends: [
                Backend {
                    name: "db1",
                    cluster: ClusterId(
                        0,
                    ),
                    address: Tcp(
                        10.0.0.1:3306,
                    ),
                    role: Some(
                        Primary,
                    ),
                    compression: None,
                    tls: BackendTls {
                        mode: Disabled,
                        ca: None,
                        identity: None,
                        server_name: DnsName(
                            "db",
                        ),
                    },
                    connections_max: 0,
                    init_query: None,
                    weight: 100,
                    drain: false,
                    proxy_protocol: false,
                },
            ],
            endpoints: [
                Endpoint {
                    name: "app",
                    listen: Tcp(
                        127.0.0.1:6033,
                    ),
                    unix_mode: 511,
                    cluster: ClusterId(
                        0,
                    ),
                    mode: Primary,
                    routing: Routing {
                        consistency: Session,
                        causal_wait: 50ms,
                        backends: None,
                        policy: LeastOutstanding,
                        primary_reads: Fallback,
                        max_lag: 10s,
                        transaction_split: false,
                        functions_on_replicas: false,
                    },
                    pooling: Transaction,
                    match_client_address: false,
                    compression: ClientCompression {
                        zlib: true,
                        zstd: true,
                    },
                    tls: EndpointTls {
                        mode: Preferred,
                        identities: [],
                        client_ca: None,
                    },
                    proxy_protocol_networks: [],
                    auth: Listed,
                },
            ],
            users: [
                User {
                    name: "u",
                    secret: Secret::Clear(…),
                    rules: UserRules {
                        networks: [],
                        schemas: None,
                        connections_max: 0,
                        read_only: false,
                        consistency: None,
                    },
                },
            ],
            rules: [],
        }
    "#]]
    .assert_debug_eq(&config);
}

#[test]
fn the_sample_is_accepted_and_shows_the_defaults() {
    let config = parse(&sample(), &Offline).unwrap();
    let sample = sample();
    let mut header = "";
    let uncommented = sample.lines().map(|line| {
        if line.starts_with('[') {
            header = line.trim_matches(['[', ']']);
        }
        line.strip_prefix('#').filter(|rest| has_default(header, rest)).unwrap_or(line)
    });
    let uncommented: Vec<&str> = uncommented.collect();
    let text = uncommented.join("\n");
    assert!(text.contains("\nlogin_timeout_ms = 10000\n"), "{text}");
    assert_eq!(parse(&text, &Offline), Ok(config));
}

/// Whether a line of the sample that is commented out says what holds without it.
fn has_default(header: &str, line: &str) -> bool {
    let name = line.split_once(" = ").map(|(name, _)| name);
    let sections = super::default::SECTIONS.iter().filter(|section| section.path == header);
    let mut keys = sections.flat_map(|section| section.keys);
    keys.any(|key| Some(key.name) == name && key.default().is_some())
}

#[test]
fn committed_pages_are_fresh() {
    let pages = [
        ("weir.sample.toml", include_str!("../../../docs/weir.sample.toml"), sample()),
        ("config.md", include_str!("../../../docs/config.md"), reference()),
    ];
    for (name, committed, text) in pages {
        assert!(committed == text, "docs/{name} is stale: run `cargo xtask docs`");
    }
}

#[test]
fn workers_may_be_a_number() {
    assert_eq!(accepted(&format!("[weir]\nworkers = 4{MINIMAL}")).workers, Workers::Count(4));
}

#[test]
fn an_empty_file_says_what_is_needed() {
    check(
        "",
        expect![[r#"
        line 1: cluster: at least one is needed
        line 1: endpoint: at least one is needed
        line 1: user: at least one is needed
    "#]],
    );
}

#[test]
fn what_is_not_toml_is_all_reported() {
    check(
        "[limits]\nclients_max = \nx = 1 2\n= 3\n[[user]]\npassword = \"hunter2\n[log\n",
        expect![[r#"
            line 2: not TOML: string values must be quoted, expected literal string
            line 3: not TOML: string values must be quoted, expected literal string
            line 4: not TOML: unquoted keys cannot be empty, expected letters, numbers, `-`, `_`
            line 6: not TOML: invalid basic string, expected `"`
            line 7: not TOML: unclosed table, expected `]`
        "#]],
    );
    check(
        "[weir]\n[weir]\nworkers = 1\nworkers = 2\n",
        expect![[r#"
        line 2: not TOML: duplicate key
        line 4: not TOML: duplicate key
    "#]],
    );
}

#[test]
fn unknown_keys_are_all_reported() {
    check_before(
        "[limit]\nx = 1\n[limits]\nlogin_timout_ms = 5\ncolour = \"red\"\n[weir]\n\"a\\nb\" = 1\n",
        expect![[r#"
            line 1: limit: unknown key; did you mean limits? accepted here: weir, log, admin, limits, pool, cluster, endpoint, user, rule
            line 4: limits.login_timout_ms: unknown key; did you mean login_timeout_ms? accepted here: login_timeout_ms, connect_timeout_ms, handshakes_max, clients_max, clients_total_max, clients_per_address_max, host_errors_max, host_block_ms, sealed_passwords_max, remembered_users_max, remembered_users_ms, backend_handshakes_max, lease_wait_ms, lease_waiters_max, pipelined_commands_max, session_buffer_bytes, worker_buffer_bytes, receive_buffers, receive_buffer_bytes, large_buffer_bytes, large_buffers_max, listen_backlog
            line 5: limits.colour: unknown key; accepted here: login_timeout_ms, connect_timeout_ms, handshakes_max, clients_max, clients_total_max, clients_per_address_max, host_errors_max, host_block_ms, sealed_passwords_max, remembered_users_max, remembered_users_ms, backend_handshakes_max, lease_wait_ms, lease_waiters_max, pipelined_commands_max, session_buffer_bytes, worker_buffer_bytes, receive_buffers, receive_buffer_bytes, large_buffer_bytes, large_buffers_max, listen_backlog
            line 7: weir.a\nb: unknown key; accepted here: workers, driver, drain_timeout_ms, state_dir, rsa_key_file
        "#]],
    );
}

#[test]
fn tables_and_lists_are_told_apart() {
    check(
        "log = 1\nuser = { name = \"u\" }\ncluster = []\n[[limits]]\n[endpoint.x]\n",
        expect![[r#"
            line 1: log = 1: must be a table, [log]
            line 2: user = {…}: must be a list, [[user]]
            line 4: limits = [{…}]: must be a table, [limits]
            line 5: endpoint = {…}: must be a list, [[endpoint]]
            line 6: cluster: at least one is needed
        "#]],
    );
    check(
        "cluster = [1]\nendpoint = []\nuser = [[]]\n",
        expect![[r#"
            line 1: cluster[0] = 1: must be a table, [[cluster]]
            line 3: user[0] = []: must be a table, [[user]]
            line 4: endpoint: at least one is needed
        "#]],
    );
}

#[test]
fn values_out_of_range_are_all_reported() {
    check_before(
        "[weir]\nworkers = 0\ndriver = \"uring\"\ndrain_timeout_ms = 3600001\n\
         [log]\nformat = true\nlevel = \"${NOT_SET}\"\n\
         [limits]\nlogin_timeout_ms = 0\nconnect_timeout_ms = -1\nhandshakes_max = 1.5\n\
         clients_max = \"many\"\npipelined_commands_max = 99999999999999999999999\n\
         receive_buffers = 100\nreceive_buffer_bytes = 2024-01-01\nlisten_backlog = [1, [2]]",
        expect![[r#"
            line 2: weir.workers = 0: must be "auto", a number of threads from 1 to 256, or a list of different CPU numbers such as [0, 2, 3]
            line 3: weir.driver = "uring": must be "auto", "io_uring" or "epoll"
            line 4: weir.drain_timeout_ms = 3600001: must be between 0 and 3600000
            line 6: log.format = true: must be "text" or "json"
            line 7: log.level = "${NOT_SET}": needs environment variable NOT_SET, which is not set
            line 9: limits.login_timeout_ms = 0: must be between 1 and 3600000
            line 10: limits.connect_timeout_ms = -1: must be between 1 and 3600000
            line 11: limits.handshakes_max = 1.5: must be a whole number from 1 to 262144
            line 12: limits.clients_max = "many": must be a whole number from 1 to 262144
            line 13: limits.pipelined_commands_max = 99999999999999999999999: must be between 1 and 65536
            line 14: limits.receive_buffers = 100: must be a power of two from 8 to 32768
            line 15: limits.receive_buffer_bytes = 2024-01-01: must be a whole number from 512 to 65536
            line 16: limits.listen_backlog = [1, […]]: must be a whole number from 1 to 65535
        "#]],
    );
    for workers in ["[]", "[1, 1]", "[1024]", "[-1]", "257", "\"all\"", "{}"] {
        let text = format!("[weir]\nworkers = {workers}{MINIMAL}");
        let problems = parse(&text, &World).unwrap_err();
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "weir.workers"), "{workers}");
    }
}

#[test]
fn buffers_must_fit_into_each_other() {
    check_before(
        "[limits]\nlarge_buffer_bytes = 8192\nreceive_buffer_bytes = 8192",
        expect![[r#"
        line 2: limits.large_buffer_bytes = 8192: must be more than receive_buffer_bytes: 8192 against 8192
    "#]],
    );
    check_before(
        "[limits]\nlarge_buffer_bytes = 1048576",
        expect![[r#"
            line 2: limits.session_buffer_bytes: must be no less than large_buffer_bytes: 524288 against 1048576
        "#]],
    );
    check_before(
        "[limits]\nsession_buffer_bytes = 134217728",
        expect![[r#"
        line 2: limits.worker_buffer_bytes: must be no less than session_buffer_bytes: 67108864 against 134217728
    "#]],
    );
}

#[test]
fn secrets_are_exactly_one_and_never_shown() {
    let cases = [
        ("password = \"p\"", ""),
        ("password = \"p\"", "password = 1234\npassword_file = \"secret\""),
        ("password = \"p\"", "password = \"${EMPTY}\""),
        ("password = \"p\"", "password_env = \"not set\""),
        ("password = \"p\"", "password_env = \"NOT_SET\""),
        ("password = \"p\"", "password_env = \"EMPTY\""),
        ("password = \"p\"", "password_file = \"empty\""),
        ("password = \"p\"", "password_file = \"missing\""),
        ("password = \"p\"", "password_native = \"hunter2\""),
        ("password = \"p\"", "password_sha2 = \"hunter2\""),
        ("password = \"\" }", "password_native = \"hunter2\" }"),
    ];
    let said: String = cases
        .iter()
        .map(|(from, to)| {
            assert!(MINIMAL.contains(from), "{from}");
            let problems = parse(&MINIMAL.replacen(from, to, 1), &World).unwrap_err();
            format!("{}\n{}\n", to.replace('\n', " and "), lines(&problems))
        })
        .collect();
    expect![[r#"

        line 13: user[0]: needs one of password, password_native, password_sha2, password_env, password_file

        password = 1234 and password_file = "secret"
        line 15: user[0].password: must be a string
        line 16: user[0].password_file = "secret": a second secret: user[0].password on line 15 is one

        password = "${EMPTY}"
        line 15: user[0].password: gives an empty password; an account without one says password = ""

        password_env = "not set"
        line 15: user[0].password_env: must be the name of an environment variable

        password_env = "NOT_SET"
        line 15: user[0].password_env = "NOT_SET": names an environment variable that is not set

        password_env = "EMPTY"
        line 15: user[0].password_env = "EMPTY": gives an empty password; an account without one says password = ""

        password_file = "empty"
        line 15: user[0].password_file = "empty": gives an empty password; an account without one says password = ""

        password_file = "missing"
        line 15: user[0].password_file = "missing": cannot be read: No such file or directory

        password_native = "hunter2"
        line 15: user[0].password_native: must be "*" and 40 hexadecimal digits

        password_sha2 = "hunter2"
        line 15: user[0].password_sha2: must be 64 hexadecimal digits

        password_native = "hunter2" }
        line 4: cluster[0].monitor: needs one of password, password_env, password_file
        line 4: cluster[0].monitor.password_native: unknown key; did you mean password_file? accepted here: user, password, password_env, password_file, interval_ms, timeout_ms

    "#]].assert_eq(&said);
    assert!(!said.replace("= \"hunter2\"", "").contains("hunter2"), "{said}");
}

#[test]
fn names_and_addresses_are_used_once() {
    let doubled = format!(
        "{MINIMAL}{}",
        MINIMAL.replace("role = \"primary\"", "role = \"replica\"\n[[cluster.backend]]\nname = \"db2\"\naddress = \"db:3306\"\nrole = \"primary\"")
    );
    check(
        &doubled,
        expect![[r#"
        line 18: cluster[1].name = "main": is already cluster[0].name on line 3
        line 21: cluster[1].backend[0].name = "db1": is already cluster[0].backend[0].name on line 6
        line 26: cluster[1].backend[1].address = "db:3306": is already cluster[1].backend[0].address on line 22
        line 29: endpoint[1].name = "app": is already endpoint[0].name on line 10
        line 30: endpoint[1].listen = "127.0.0.1:6033": is already endpoint[0].listen on line 11
        line 33: user[1].name = "u": is already user[0].name on line 14
    "#]],
    );
}

#[test]
fn references_must_lead_somewhere() {
    check_replaced(
        "cluster = \"main\"",
        "cluster = \"mian\"",
        expect![[r#"
            line 12: endpoint[0].cluster = "mian": is no cluster of this file; did you mean main?
        "#]],
    );
    check_replaced(
        "role = \"primary\"",
        "role = \"replica\"",
        expect![[r#"
            line 2: cluster[0]: has only backends with role = "replica": none can be the primary
        "#]],
    );
    check_replaced(
        "role = \"primary\"",
        "role = \"master\"",
        expect![[r#"
            line 8: cluster[0].backend[0].role = "master": must be "auto", "primary" or "replica"
        "#]],
    );
    check_replaced(
        "name = \"db1\"",
        "name = \"db 1\"",
        expect![[r#"
        line 6: cluster[0].backend[0].name = "db 1": must be 1 to 64 letters, digits, dots, dashes or underscores
    "#]],
    );
    check_replaced(
        "name = \"u\"",
        "name = \"\"",
        expect![[r#"
        line 14: user[0].name = "": must be 1 to 128 characters
    "#]],
    );
    check_replaced(
        "db:3306",
        "nowhere:3306",
        expect![[r#"
        line 7: cluster[0].backend[0].address = "nowhere:3306": cannot be resolved: unknown
    "#]],
    );
    check_replaced(
        "db:3306",
        "0.0.0.0:3306",
        expect![[r#"
        line 7: cluster[0].backend[0].address = "0.0.0.0:3306": is no server's address
    "#]],
    );
    check_replaced(
        "db:3306",
        "127.0.0.1:6033",
        expect![[r#"
        line 7: cluster[0].backend[0].address = "127.0.0.1:6033": is where Weir itself listens, by endpoint[0].listen
    "#]],
    );
}

#[test]
fn roles_and_heartbeats_are_words_that_make_sense() {
    let roles = |role| accepted(&MINIMAL.replacen("role = \"primary\"", role, 1)).backends[0].role;
    assert_eq!([roles(""), roles("role = \"auto\"")], [None, None]);
    let second = "role = \"primary\"\n[[cluster.backend]]\nname = \"db2\"\n\
                  address = \"db:3307\"\nrole = \"primary\"";
    check_replaced(
        "role = \"primary\"",
        second,
        expect![[r#"
        line 2: cluster[0]: can have one backend with role = "primary", has 2
    "#]],
    );
    for table in ["heartbeat", "a.b.c", ".b", "a."] {
        let lines = format!("name = \"main\"\nheartbeat_table = \"{table}\"");
        let problems = parse(&MINIMAL.replacen("name = \"main\"", &lines, 1), &World).unwrap_err();
        let expected =
            format!("line 4: cluster[0].heartbeat_table = \"{table}\": must be \"SCHEMA.TABLE\"");
        assert_eq!(problems[0].to_string(), expected);
    }
}

#[test]
fn an_endpoint_that_splits_shares_connections() {
    check_replaced(
        "cluster = \"main\"",
        "cluster = \"main\"\nmode = \"read-write\"\npooling = \"session\"\nbackends = [\"db1\", \"db0\"]",
        expect![[r#"
            line 14: endpoint[0].pooling = "session": must be "transaction" with mode = "read-write"
            line 15: endpoint[0].backends = "db0": is no backend of its cluster; did you mean db1?
        "#]],
    );
    check_replaced(
        "cluster = \"main\"",
        "cluster = \"main\"\nmode = \"read-only\"\npooling = \"session\"\nbackends = []",
        expect![[r#"
            line 15: endpoint[0].backends = []: must be a list of backends of the cluster such as ["db1", "db2"]
        "#]],
    );
}

#[test]
fn problems_are_sorted_by_line() {
    let problems = parse("[weir]\nx = 1\n[limits]\ny = 1\n[log]\nz = 1\n", &World).unwrap_err();
    assert!(problems.is_sorted_by_key(|problem| problem.line), "{}", lines(&problems));
    assert_eq!(problems.len(), 6);
}

mod any_text;

#[test]
fn an_init_query_is_one_statement() {
    let said = |text: &str| {
        let key = format!("role = \"primary\"\ninit_query = '{text}'");
        let file = MINIMAL.replacen("role = \"primary\"", &key, 1);
        parse(&file, &World).map(|config| config.backends[0].init_query.clone().unwrap())
    };
    assert_eq!(said(" SET time_zone = \"+00:00\" ; ").unwrap()[..], *"SET time_zone = \"+00:00\"");
    assert_eq!(said("CALL useful.start()").unwrap()[..], *"CALL useful.start()");
    let long = format!("SET @a = {}", "1".repeat(4096));
    for bad in ["", " ; ", "DO 1; DO 2", "USE shop", "use`shop`", &long] {
        let problems = said(bad).unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{bad}: {problems:?}") };
        assert!(problem.to_string().contains("must be one SQL statement"), "{problem}");
    }
}

#[test]
fn more_idle_connections_than_may_be_cannot_stay() {
    check_before(
        "[pool]\nidle_min = 1001",
        expect![[r#"
        line 2: pool.idle_max: must be no less than idle_min: 1000 against 1001
    "#]],
    );
}
