//! Every key of the table, and what it does.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::base::{BackendId, ClusterId, Consistency};

/// Every key of the table, with other values than its default wherever there are others.
const ALL: &str = r#"
[weir]
workers = [0, 2]
driver = "epoll"
drain_timeout_ms = 0
state_dir = "/srv/weir"
rsa_key_file = "key.pem"
[log]
format = "json"
level = "trace"
[limits]
login_timeout_ms = 1
connect_timeout_ms = 2
handshakes_max = 3
clients_max = 4
clients_total_max = 8
clients_per_address_max = 9
host_errors_max = 10
host_block_ms = 11
sealed_passwords_max = 15
remembered_users_max = 16
remembered_users_ms = 17
backend_handshakes_max = 12
lease_wait_ms = 13
lease_waiters_max = 19
pipelined_commands_max = 5
session_buffer_bytes = 0x10_0000
worker_buffer_bytes = 134217728
receive_buffers = 512
receive_buffer_bytes = 4096
large_buffer_bytes = 65536
large_buffers_max = 6
listen_backlog = 7
[pool]
idle_ms_max = 25
idle_min = 21
idle_max = 26
age_ms_max = 27
ping_idle_ms = 32
auth_cache_ttl_ms = 28
statements_per_session_max = 29
statements_per_connection_max = 30
statements_max = 31
[[cluster]]
name = "one"
heartbeat_table = "percona.heartbeat"
discover = true
discover_max = 33
discover_forget_ms = 1000
[cluster.monitor]
user = "m"
password_env = "SECRET"
interval_ms = 20
timeout_ms = 30
[[cluster.backend]]
name = "db1"
address = "db:${PORT}"
role = "replica"
compression = "zstd"
tls = "verify-identity"
tls_ca_file = "cert.pem"
tls_certificate_file = "pair.pem"
tls_key_file = "pair.pem"
tls_server_name = "db.example"
[[cluster.backend]]
name = "db2"
address = "[::1]:3307"
role = "primary"
connections_max = 14
init_query = "SET SESSION wait_timeout = 9;"
weight = 34
drain = true
proxy_protocol = true
[[cluster]]
name = "two"
monitor = { user = "m", password_file = "secret" }
backend = [{ name = "db3", address = "db:3306", role = "primary" }]
[[endpoint]]
name = "app"
listen = "0.0.0.0:6033"
unix_mode = "0700"
auth = "pass-through"
cluster = "two"
mode = "read-only"
consistency = "eventual"
causal_wait_ms = 42
backends = ["db3"]
policy = "least-lag"
primary_reads = "never"
max_lag_ms = 33
transaction_split = true
functions_on_replicas = true
pooling = "session"
match_client_address = true
proxy_protocol_networks = ["10.0.0.0/8", "::1"]
compression = ["zstd"]
tls = "verify-ca"
tls_certificate_file = "cert.pem"
tls_key_file = "key.pem"
tls_client_ca_file = "pair.pem"
[[endpoint.certificate]]
certificate_file = "pair.pem"
key_file = "key.pem"
[[user]]
name = "a"
password_native = "*6D8E7CA2D13CBEBC74BE7EF3A2976000952DCE92"
[[user]]
name = "b"
password_sha2 = "2ba9f15fcdcd7c3d2fa6bac0f2c78b5a9c583c9f345187eb117e004715dafafc"
[[user]]
name = "c"
password = "${SECRET}$${"
networks = ["10.1.2.3/8", "::1"]
schemas = ["shop"]
connections_max = 18
read_only = true
consistency = "global"
[[rule]]
name = "first"
user = "c"
schema = "shop"
network = ["10.0.0.0/8"]
digest = "00000000000000fF"
regex = "^DROP"
action = "reject"
code = 1142
message = "no"
[[rule]]
name = "second"
endpoint = "more"
action = "route"
to = "backend db3"
continue = true
[[rule]]
name = "third"
regex = "a"
action = "rewrite"
replace = "b"
[[rule]]
name = "fourth"
action = "limit"
per_second = 35
burst = 36
concurrent = 37
wait_ms = 38
waiters_max = 39
[[rule]]
name = "fifth"
action = "delay"
delay_ms = 40
[[rule]]
name = "sixth"
action = "timeout"
timeout_ms = 41
[[endpoint]]
name = "more"
listen = "0.0.0.0:6034"
cluster = "two"
"#;

#[test]
fn every_key_of_rules_has_an_effect() {
    let rules = accepted(ALL).rules;
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["first", "second", "third", "fourth", "fifth", "sixth"]);
    let about = RuleMatch {
        user: Some("c".to_owned()),
        schema: Some("shop".to_owned()),
        networks: accepted(ALL).endpoints[0].proxy_protocol_networks[..1].to_vec(),
        endpoint: None,
        digest: Some(255),
        regex: Some(Pattern::new("^DROP").unwrap()),
    };
    assert_eq!(rules[0].about, about);
    assert_eq!(rules[1].about.endpoint.as_deref(), Some("more"));
    assert_eq!(rules.iter().map(|it| it.continues).filter(|it| *it).count(), 1);
    let limit = RuleLimit {
        per_second: 35,
        burst: 36,
        concurrent: 37,
        wait: Duration::from_millis(38),
        waiters_max: 39,
    };
    let actions = [
        RuleAction::Reject { code: 1142, message: Some("no".to_owned()) },
        RuleAction::Route(RuleTarget::Backend("db3".to_owned())),
        RuleAction::Rewrite { replace: "b".to_owned() },
        RuleAction::Limit(limit),
        RuleAction::Delay(Duration::from_millis(40)),
        RuleAction::Timeout(Duration::from_millis(41)),
    ];
    assert_eq!(rules.iter().map(|rule| rule.action.clone()).collect::<Vec<_>>(), actions);
}

#[test]
fn every_key_is_in_the_test_below() {
    for section in crate::config::default::SECTIONS {
        for key in section.keys {
            let line = format!("{} =", key.name);
            assert!(ALL.contains(&line), "{}.{} is not in ALL", section.path, key.name);
        }
    }
}

#[test]
fn every_key_of_the_process_has_an_effect() {
    let config = accepted(ALL);
    assert_eq!(config.workers, Workers::Cpus(vec![0, 2]));
    assert_eq!(config.driver, DriverChoice::Epoll);
    assert_eq!(config.drain_timeout, Duration::ZERO);
    assert_eq!(config.state_dir, Path::new("/srv/weir"));
    assert_eq!(config.rsa_key.as_ref().map(|key| key.file.as_str()), Some("key.pem"));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Trace });
    let limits = Limits {
        login_timeout: Duration::from_millis(1),
        connect_timeout: Duration::from_millis(2),
        handshakes_max: 3,
        clients_max: 4,
        clients_total_max: 8,
        clients_per_address_max: 9,
        host_errors_max: 10,
        host_block: Duration::from_millis(11),
        sealed_passwords_max: 15,
        remembered_users_max: 16,
        remembered_users_keep: Duration::from_millis(17),
        backend_handshakes_max: 12,
        lease_wait: Duration::from_millis(13),
        lease_waiters_max: 19,
        pipelined_commands_max: 5,
        session_buffer_bytes: 1 << 20,
        worker_buffer_bytes: 1 << 27,
        receive_buffers: 512,
        receive_buffer_bytes: 4096,
        large_buffer_bytes: 65536,
        large_buffers_max: 6,
        listen_backlog: 7,
    };
    assert_eq!(config.limits, limits);
    let pool = Pool {
        idle_time_max: Duration::from_millis(25),
        idle_min: 21,
        idle_max: 26,
        ping_idle: Duration::from_millis(32),
        age_max: Duration::from_millis(27),
        auth_cache_ttl: Duration::from_millis(28),
        statements_per_session_max: 29,
        statements_per_connection_max: 30,
        statements_max: 31,
    };
    assert_eq!(config.pool, pool);
}

#[test]
fn every_key_of_the_lists_has_an_effect() {
    let config = accepted(ALL);
    let monitor = |secret: &str, interval, timeout| Monitor {
        user: "m".to_owned(),
        secret: Secret::Clear(secret.into()),
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
    };
    let monitors: Vec<&Monitor> = config.clusters.iter().map(|cluster| &cluster.monitor).collect();
    assert_eq!(monitors, [&monitor("hunter2", 20, 30), &monitor("from file", 250, 1000)]);
    let one = &config.clusters[0];
    assert_eq!(one.heartbeat_table, Some(("percona".to_owned(), "heartbeat".to_owned())));
    assert!(one.discover && !config.clusters[1].discover);
    assert_eq!((one.discover_max, one.discover_forget), (33, Duration::from_secs(1)));
    let backends = config.backends.iter();
    let backends: Vec<_> = backends
        .map(|it| (it.name.as_str(), it.cluster, it.address.to_string(), it.role))
        .collect();
    assert_eq!(
        backends,
        [
            ("db1", ClusterId(0), "10.0.0.1:3306".to_owned(), Some(Role::Replica)),
            ("db2", ClusterId(0), "[::1]:3307".to_owned(), Some(Role::Primary)),
            ("db3", ClusterId(1), "10.0.0.1:3306".to_owned(), Some(Role::Primary)),
        ]
    );
    assert_eq!(config.backends[1].connections_max, 14);
    let init_query = config.backends[1].init_query.as_deref();
    assert_eq!(init_query, Some("SET SESSION wait_timeout = 9"));
    assert_eq!(config.clusters[0].backends, [BackendId(0), BackendId(1)]);
    assert_eq!(config.clusters[1].backends, [BackendId(2)]);
    let compressions = config.backends.iter().map(|backend| backend.compression);
    let none = BackendCompression::None;
    assert_eq!(compressions.collect::<Vec<_>>(), [BackendCompression::Zstd, none, none]);
    assert_eq!(config.endpoints[0].cluster, ClusterId(1));
    let zstd_only = ClientCompression { zlib: false, zstd: true };
    assert_eq!(config.endpoints[0].compression, zstd_only);
    assert_eq!(config.endpoints[0].auth, EndpointAuth::PassThrough);
    assert_eq!(config.endpoints[0].pooling, Pooling::Session);
    assert!(config.endpoints[0].match_client_address && config.backends[1].proxy_protocol);
    assert_eq!(config.endpoints[0].proxy_protocol_networks.len(), 2);
    let routing = Routing {
        consistency: Consistency::Eventual,
        causal_wait: Duration::from_millis(42),
        backends: Some(vec!["db3".to_owned()]),
        policy: Policy::LeastLag,
        primary_reads: PrimaryReads::Never,
        max_lag: Duration::from_millis(33),
        transaction_split: true,
        functions_on_replicas: true,
    };
    assert_eq!(config.endpoints[0].routing, routing);
    assert_eq!(config.endpoints[0].mode, EndpointMode::ReadOnly);
    assert_eq!((config.backends[1].weight, config.backends[1].drain), (34, true));
    let secret = |name: &[u8]| config.user(name).unwrap().secret.clone();
    assert!(matches!(secret(b"a"), Secret::NativeHash([0x6d, .., 0x92])));
    assert!(matches!(secret(b"b"), Secret::Sha2Hash([0x2b, .., 0xfc])));
    let rules = UserRules {
        networks: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        schemas: Some(vec!["shop".to_owned()]),
        connections_max: 18,
        read_only: true,
        consistency: Some(Consistency::Global),
    };
    assert_eq!(config.user(b"c").unwrap().rules, rules);
    assert_eq!(secret(b"c"), Secret::Clear("hunter2${".into()));
}
