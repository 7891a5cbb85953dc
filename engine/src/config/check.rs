//! From tables to a [`Config`].
//!
//! Purpose: judge what one key alone does not show: what is missing, doubled, or contradicts.
//! Never: stop at the first problem, or return a configuration while one is open.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::Lookup;
use super::address;
use super::default::{
    ADMIN_LISTEN, CPU_MAX, ITEMS_MAX, NAME, NAME_CHARS_MAX, RULES_MAX, STATE_DIR, USER_CHARS_MAX,
    USER_NAME, WORKERS_MAX,
};
use super::init_query;
use super::network::{self, Network};
use super::problem::{Place, Problem, nearest};
use super::raw::{At, Document, Number, Table};
use super::routing;
use super::rule::{Known, Rule};
use super::secret;
use super::tls;
use super::types::{
    Admin, Backend, BackendCompression, ClientCompression, Cluster, Config, DriverChoice, Endpoint,
    EndpointAuth, EndpointMode, Limits, Log, LogFormat, LogLevel, Monitor, Pool, Pooling, Role,
    Secret, User, Workers,
};
use super::user;
use crate::base::{Address, BackendId, ClusterId};

/// The configuration a text describes, or everything that is wrong with it, by line.
///
/// # Errors
/// At least one [`Problem`]. A text that is not TOML is judged no further than that.
pub fn parse(text: &str, lookup: &dyn Lookup) -> Result<Config, Vec<Problem>> {
    let document = Document::read(text, lookup)?;
    let config = Checker::new(&document).config();
    let problems = document.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The lists under construction, and who already took which name.
struct Checker<'d> {
    document: &'d Document<'d>,
    clusters: Vec<Cluster>,
    cluster_ids: BTreeMap<String, ClusterId>,
    backends: Vec<Backend>,
    backend_names: Taken<String>,
    backend_places: Vec<(Address, Place)>,
    listeners: Taken<Address>,
}

/// Where a name or address was used first.
type Taken<T> = BTreeMap<T, Place>;

impl<'d> Checker<'d> {
    fn new(document: &'d Document<'d>) -> Self {
        Self {
            document,
            clusters: Vec::new(),
            cluster_ids: BTreeMap::new(),
            backends: Vec::new(),
            backend_names: Taken::new(),
            backend_places: Vec::new(),
            listeners: Taken::new(),
        }
    }

    /// The whole file. With problems open, holes are filled with defaults and nobody sees it.
    fn config(mut self) -> Config {
        let root = self.document.root();
        let weir = root.one("weir");
        let log = root.one("log");
        let limits = self.limits(&root.one("limits"));
        let pool = self.pool(&root.one("pool"));
        self.read_clusters(&root);
        let endpoints = self.endpoints(&root);
        let admin = self.admin(&root.one("admin"));
        self.reject_loops();
        Config {
            workers: self.workers(&weir),
            driver: weir.word("driver").unwrap_or(DriverChoice::Auto),
            drain_timeout: milliseconds(&weir, "drain_timeout_ms"),
            state_dir: self.state_dir(&weir),
            rsa_key: tls::private_key(self.document, &weir, "rsa_key_file"),
            log: Log {
                format: log.word("format").unwrap_or(LogFormat::Text),
                level: log.word("level").unwrap_or(LogLevel::Info),
            },
            admin,
            limits,
            pool,
            users: self.users(&root, &endpoints),
            rules: self.rules(&root, &endpoints),
            endpoints,
            clusters: self.clusters,
            backends: self.backends,
        }
    }

    fn workers(&self, weir: &Table<'_>) -> Workers {
        let Some(At { value, place }) = weir.mixed("workers") else { return Workers::Auto };
        let read = match value {
            DeValue::String(text) => {
                // Absent means the text itself was rejected, and that is noted already.
                let Some(text) = weir.expanded(text, place.clone()) else { return Workers::Auto };
                (text.value == "auto").then_some(Workers::Auto)
            }
            DeValue::Integer(_) => {
                number(value).filter(|count| (1..=WORKERS_MAX).contains(count)).map(Workers::Count)
            }
            DeValue::Array(items) => {
                let cpus: Option<Vec<usize>> =
                    items.iter().map(|item| number(item.get_ref())).collect();
                cpus.filter(|cpus| are_cpus(cpus)).map(Workers::Cpus)
            }
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
                None
            }
        };
        read.unwrap_or_else(|| {
            weir.reject_value("workers", &place);
            Workers::Auto
        })
    }

    fn state_dir(&self, weir: &Table<'_>) -> PathBuf {
        let Some(At { value, place }) = weir.text("state_dir") else { return STATE_DIR.into() };
        // Where a service is started says nothing about where its files are.
        if !Path::new(&value).is_absolute() {
            weir.reject_value("state_dir", &place);
        }
        value.into()
    }

    fn pool(&self, pool: &Table<'_>) -> Pool {
        let (idle_min, idle_max) = (pool.integer("idle_min"), pool.integer("idle_max"));
        self.order(&idle_min, &idle_max, "must be no less than idle_min", |min, max| min <= max);
        Pool {
            idle_time_max: milliseconds(pool, "idle_ms_max"),
            idle_min: idle_min.value,
            idle_max: idle_max.value,
            ping_idle: milliseconds(pool, "ping_idle_ms"),
            age_max: milliseconds(pool, "age_ms_max"),
            auth_cache_ttl: milliseconds(pool, "auth_cache_ttl_ms"),
            statements_per_session_max: pool.integer("statements_per_session_max").value,
            statements_per_connection_max: pool.integer("statements_per_connection_max").value,
            statements_max: pool.integer("statements_max").value,
        }
    }

    fn limits(&self, limits: &Table<'_>) -> Limits {
        let session = limits.integer("session_buffer_bytes");
        let worker = limits.integer("worker_buffer_bytes");
        let small = limits.integer("receive_buffer_bytes");
        let large = limits.integer("large_buffer_bytes");
        self.order(&small, &large, "must be more than receive_buffer_bytes", |s, l| s < l);
        self.order(&large, &session, "must be no less than large_buffer_bytes", |l, s| l <= s);
        self.order(&session, &worker, "must be no less than session_buffer_bytes", |s, w| s <= w);
        Limits {
            login_timeout: milliseconds(limits, "login_timeout_ms"),
            connect_timeout: milliseconds(limits, "connect_timeout_ms"),
            handshakes_max: limits.integer("handshakes_max").value,
            clients_max: limits.integer("clients_max").value,
            clients_total_max: limits.integer("clients_total_max").value,
            clients_per_address_max: limits.integer("clients_per_address_max").value,
            host_errors_max: limits.integer("host_errors_max").value,
            host_block: milliseconds(limits, "host_block_ms"),
            sealed_passwords_max: limits.integer("sealed_passwords_max").value,
            remembered_users_max: limits.integer("remembered_users_max").value,
            remembered_users_keep: milliseconds(limits, "remembered_users_ms"),
            backend_handshakes_max: limits.integer("backend_handshakes_max").value,
            lease_wait: milliseconds(limits, "lease_wait_ms"),
            lease_waiters_max: limits.integer("lease_waiters_max").value,
            pipelined_commands_max: limits.integer("pipelined_commands_max").value,
            session_buffer_bytes: session.value,
            worker_buffer_bytes: worker.value,
            receive_buffers: limits.integer("receive_buffers").value,
            receive_buffer_bytes: small.value,
            large_buffer_bytes: large.value,
            large_buffers_max: limits.integer("large_buffers_max").value,
            listen_backlog: limits.integer("listen_backlog").value,
        }
    }

    /// Rejects the one of two numbers that the file gives, unless they are in order.
    fn order(
        &self,
        low: &Number<usize>,
        high: &Number<usize>,
        message: &str,
        in_order: fn(usize, usize) -> bool,
    ) {
        if low.good && high.good && !in_order(low.value, high.value) {
            let message = format!("{message}: {} against {}", high.value, low.value);
            // The one not given is the default; the line to mend is the other one's.
            let absent = high.place.found.is_empty();
            let line = if absent { low.place.line } else { high.place.line };
            self.document.reject(&Place { line, ..high.place.clone() }, message);
        }
    }

    fn read_clusters(&mut self, root: &Table<'_>) {
        let tables = self.items(root, "cluster");
        let mut names = Taken::new();
        for table in &tables {
            let name = table.required("name").filter(|name| self.is_name(name));
            let id = ClusterId(id(self.clusters.len()));
            if let Some(name) = &name
                && take(self.document, &mut names, name.value.clone(), &name.place)
            {
                self.cluster_ids.insert(name.value.clone(), id);
            }
            let monitor = self.monitor(&table.one("monitor"));
            let backends = self.read_backends(table, id);
            let name = name.map(|name| name.value).unwrap_or_default();
            self.clusters.push(Cluster {
                name,
                monitor,
                backends,
                heartbeat_table: heartbeat_table(table),
                discover: table.flag("discover"),
                discover_max: table.integer("discover_max").value,
                discover_forget: milliseconds(table, "discover_forget_ms"),
            });
        }
    }

    fn monitor(&self, table: &Table<'_>) -> Monitor {
        let user = table.required("user").filter(|user| self.is_user_name(user));
        Monitor {
            user: user.map(|user| user.value).unwrap_or_default(),
            secret: secret::of_monitor(self.document, table).unwrap_or(Secret::Empty),
            interval: milliseconds(table, "interval_ms"),
            timeout: milliseconds(table, "timeout_ms"),
        }
    }

    fn read_backends(&mut self, cluster_table: &Table<'_>, cluster: ClusterId) -> Vec<BackendId> {
        let mut ids = Vec::new();
        let mut addresses = Taken::new();
        let mut roles = Vec::new();
        for table in self.items(cluster_table, "backend") {
            let name = table.required("name").filter(|name| self.is_name(name));
            if let Some(name) = &name {
                take(self.document, &mut self.backend_names, name.value.clone(), &name.place);
            }
            let address = self.address(&table, "address").filter(|address| {
                let usable = !address.value.tcp().is_some_and(|it| it.ip().is_unspecified());
                if !usable {
                    self.document.reject(&address.place, "is no server's address");
                }
                usable
            });
            if let Some(address) = &address {
                // Another cluster may look at the same server; in one it would have two roles.
                take(self.document, &mut addresses, address.value.clone(), &address.place);
                self.backend_places.push((address.value.clone(), address.place.clone()));
            }
            let role: Option<Option<Role>> = table.word("role");
            roles.push(role);
            let id = BackendId(id(self.backends.len()));
            ids.push(id);
            self.backends.push(Backend {
                name: name.map(|name| name.value).unwrap_or_default(),
                cluster,
                address: address.map_or(UNKNOWN_ADDRESS, |address| address.value),
                role: role.flatten(),
                compression: table.word("compression").unwrap_or(BackendCompression::None),
                tls: tls::of_backend(self.document, &table, table.text("address").as_ref()),
                connections_max: table.integer("connections_max").value,
                init_query: init_query::of_backend(self.document, &table),
                weight: table.integer("weight").value,
                drain: table.flag("drain"),
                proxy_protocol: table.flag("proxy_protocol"),
            });
        }
        let primaries = roles.iter().filter(|role| **role == Some(Some(Role::Primary))).count();
        if primaries > 1 {
            let message = format!("can have one backend with role = \"primary\", has {primaries}");
            self.document.reject(&cluster_table.place(), message);
        }
        if !roles.is_empty() && roles.iter().all(|role| *role == Some(Some(Role::Replica))) {
            let message = "has only backends with role = \"replica\": none can be the primary";
            self.document.reject(&cluster_table.place(), message);
        }
        if self.backends.len() > ITEMS_MAX {
            let message = format!("takes the file past {ITEMS_MAX} backends");
            self.document.reject(&cluster_table.place(), message);
        }
        ids
    }

    fn endpoints(&mut self, root: &Table<'_>) -> Vec<Endpoint> {
        let mut names = Taken::new();
        let mut endpoints = Vec::new();
        for table in self.items(root, "endpoint") {
            let name = table.required("name").filter(|name| self.is_name(name));
            if let Some(name) = &name {
                take(self.document, &mut names, name.value.clone(), &name.place);
            }
            let listen = self.address(&table, "listen");
            if let Some(listen) = &listen {
                take(self.document, &mut self.listeners, listen.value.clone(), &listen.place);
            }
            let proxy_protocol_networks = self.proxy_networks(&table, listen.as_ref());
            let cluster = self.cluster_of(&table);
            let backends = self.endpoint_backends(&table, cluster);
            let mode = table.word("mode").unwrap_or(EndpointMode::Primary);
            let pooling = table.word("pooling").unwrap_or(Pooling::Transaction);
            endpoints.push(Endpoint {
                name: name.map(|name| name.value).unwrap_or_default(),
                listen: listen.map_or(UNKNOWN_ADDRESS, |listen| listen.value),
                unix_mode: Self::unix_mode(&table),
                cluster: cluster.unwrap_or(ClusterId(0)),
                mode,
                routing: routing::of_endpoint(self.document, &table, mode, pooling, backends),
                pooling,
                match_client_address: table.flag("match_client_address"),
                compression: client_compression(&table),
                tls: tls::of_endpoint(self.document, &table),
                proxy_protocol_networks,
                auth: table.word("auth").unwrap_or(EndpointAuth::Listed),
            });
        }
        endpoints
    }

    /// Each backend that an endpoint names has to be one of its cluster.
    fn endpoint_backends(
        &self,
        endpoint: &Table<'_>,
        cluster: Option<ClusterId>,
    ) -> Option<Vec<String>> {
        let names = routing::names(endpoint)?;
        let own = self.backends.iter().filter(|backend| cluster == Some(backend.cluster));
        let own: Vec<&str> = own.map(|backend| backend.name.as_str()).collect();
        // Of a cluster that is not known nothing is said.
        for At { value, place } in names.iter().filter(|_| cluster.is_some()) {
            if !own.contains(&value.as_str()) {
                let guess = nearest(value, &own);
                let guess = guess.map(|it| format!("; did you mean {it}?")).unwrap_or_default();
                self.document.reject(place, format!("is no backend of its cluster{guess}"));
            }
        }
        Some(names.into_iter().map(|it| it.value).collect())
    }

    fn proxy_networks(&self, endpoint: &Table<'_>, listen: Option<&At<Address>>) -> Vec<Network> {
        let key = "proxy_protocol_networks";
        let networks = network::list(self.document, endpoint, key);
        if !networks.is_empty() && listen.is_some_and(|listen| listen.value.is_unix()) {
            let message = "says nothing here: clients of a unix socket are in no network";
            self.document.reject(&endpoint.place_of(key), message);
        }
        networks
    }

    fn admin(&mut self, table: &Table<'_>) -> Admin {
        // Absent may also mean rejected: then nobody sees what it is replaced by.
        let listen = match table.text("listen") {
            None => {
                ADMIN_LISTEN.parse().ok().map(|value| At { value, place: table.place_of("listen") })
            }
            Some(text) if matches!(text.value.as_str(), "" | "disabled") => None,
            Some(_) => self.address(table, "listen").and_then(|listen| self.over_tcp(listen)),
        };
        if let Some(listen) = &listen {
            take(self.document, &mut self.listeners, listen.value.into(), &listen.place);
        }
        Admin { listen: listen.map(|listen| listen.value) }
    }

    fn over_tcp(&self, address: At<Address>) -> Option<At<SocketAddr>> {
        let At { value, place } = address;
        if value.is_unix() {
            self.document.reject(&place, "must be HOST:PORT");
        }
        value.tcp().map(|value| At { value, place })
    }

    fn cluster_of(&self, endpoint: &Table<'_>) -> Option<ClusterId> {
        let wanted = endpoint.required("cluster")?;
        let id = self.cluster_ids.get(&wanted.value).copied();
        if id.is_none() {
            let names: Vec<&str> = self.cluster_ids.keys().map(String::as_str).collect();
            let guess = nearest(&wanted.value, &names);
            let guess = guess.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            self.document.reject(&wanted.place, format!("is no cluster of this file{guess}"));
        }
        id
    }

    /// A backend that is one of our own listeners would make every login connect to itself.
    fn reject_loops(&self) {
        for (target, place) in &self.backend_places {
            let mut listeners = self.listeners.iter();
            if let Some((_, listener)) =
                listeners.find(|(listen, _)| address::reaches(target, listen))
            {
                let message = format!("is where Weir itself listens, by {}", listener.path);
                self.document.reject(place, message);
            }
        }
    }

    fn users(&self, root: &Table<'_>, endpoints: &[Endpoint]) -> Vec<Arc<User>> {
        let mut names = Taken::new();
        let mut users = Vec::new();
        let may_be_none = endpoints.iter().any(|it| it.auth == EndpointAuth::PassThrough);
        let tables = if may_be_none && !root.has_items("user") {
            root.many("user")
        } else {
            self.items(root, "user")
        };
        for table in tables {
            let name = table.required("name").filter(|name| self.is_user_name(name));
            if let Some(name) = &name {
                take(self.document, &mut names, name.value.clone(), &name.place);
            }
            let secret = secret::of_user(self.document, &table).unwrap_or(Secret::Empty);
            let rules = user::rules(&table);
            let name = name.map(|name| name.value).unwrap_or_default();
            users.push(Arc::new(User { name, secret, rules }));
        }
        users
    }

    fn rules(&self, root: &Table<'_>, endpoints: &[Endpoint]) -> Vec<Arc<Rule>> {
        let tables = root.many("rule");
        if tables.len() > RULES_MAX {
            self.document.reject(&root.place_of("rule"), format!("at most {RULES_MAX} fit"));
        }
        let discovers = self.clusters.iter().any(|cluster| cluster.discover);
        let known =
            Known { document: self.document, endpoints, backends: &self.backends, discovers };
        let mut names = Taken::new();
        let rules = tables.iter().take(RULES_MAX).map(|table| {
            let name = table.required("name").filter(|name| self.is_name(name));
            if let Some(name) = &name {
                take(self.document, &mut names, name.value.clone(), &name.place);
            }
            Arc::new(known.rule(table, name.map(|name| name.value).unwrap_or_default()))
        });
        rules.collect()
    }

    /// The tables of a list that must have one and cannot have more than ids.
    fn items<'t>(&self, parent: &Table<'t>, name: &str) -> Vec<Table<'t>> {
        let tables = parent.many(name);
        if !parent.has_items(name) {
            self.document.reject(&parent.place_of(name), "at least one is needed");
        }
        if tables.len() > ITEMS_MAX {
            self.document.reject(&parent.place_of(name), format!("at most {ITEMS_MAX} fit"));
        }
        tables
    }

    fn address(&self, table: &Table<'_>, key: &str) -> Option<At<Address>> {
        let At { value, place } = table.required(key)?;
        match address::parse(&value, self.document.lookup) {
            Ok(value) => Some(At { value, place }),
            Err(message) => {
                self.document.reject(&place, message);
                None
            }
        }
    }

    /// The permission bits of a socket's file; the servers' own default, everybody.
    fn unix_mode(endpoint: &Table<'_>) -> u32 {
        let Some(At { value, place }) = endpoint.text("unix_mode") else { return UNIX_MODE };
        let digits = if value.len() == 4 { value.strip_prefix('0').unwrap_or("") } else { &value };
        let good = digits.len() == 3 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        if !good {
            endpoint.reject_value("unix_mode", &place);
        }
        u32::from_str_radix(digits, 8).unwrap_or(UNIX_MODE)
    }

    /// Names go into metrics, log lines and admin commands: nothing there that needs quoting.
    fn is_name(&self, name: &At<String>) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let length = name.value.len();
        let good = (1..=NAME_CHARS_MAX).contains(&length) && name.value.bytes().all(allowed);
        if !good {
            self.document.reject(&name.place, format!("must be {NAME}"));
        }
        good
    }

    fn is_user_name(&self, name: &At<String>) -> bool {
        let length = name.value.chars().count();
        let good =
            (1..=USER_CHARS_MAX).contains(&length) && !name.value.chars().any(char::is_control);
        if !good {
            self.document.reject(&name.place, format!("must be {USER_NAME}"));
        }
        good
    }
}

/// Takes a name or an address for the value at `place`; a second taker is rejected.
fn take<T: Ord>(document: &Document<'_>, taken: &mut Taken<T>, value: T, place: &Place) -> bool {
    match taken.entry(value) {
        Entry::Vacant(vacant) => {
            vacant.insert(place.clone());
            true
        }
        Entry::Occupied(first) => {
            let Place { line, path, .. } = first.get();
            document.reject(place, format!("is already {path} on line {line}"));
            false
        }
    }
}

/// `schema.table`, in names that need no more than backticks.
fn heartbeat_table(cluster: &Table<'_>) -> Option<(String, String)> {
    let At { value, place } = cluster.text("heartbeat_table")?;
    let is_name = |name: &str| {
        (1..=TABLE_CHARS_MAX).contains(&name.chars().count())
            && !name.contains('.')
            && !name.chars().any(char::is_control)
    };
    let names = value.split_once('.').filter(|(schema, table)| is_name(schema) && is_name(table));
    if names.is_none() {
        cluster.reject_value("heartbeat_table", &place);
    }
    names.map(|(schema, table)| (schema.to_owned(), table.to_owned()))
}

fn client_compression(endpoint: &Table<'_>) -> ClientCompression {
    let all = ClientCompression { zlib: true, zstd: true };
    let known = |words: &[&str]| words.iter().all(|word| matches!(*word, "zlib" | "zstd"));
    let Some(At { value: words, .. }) = endpoint.texts("compression", known) else { return all };
    ClientCompression { zlib: words.contains(&"zlib"), zstd: words.contains(&"zstd") }
}

pub(super) fn milliseconds(table: &Table<'_>, name: &str) -> Duration {
    Duration::from_millis(table.integer(name).value)
}

/// A number in a value of several possible kinds.
fn number<T: TryFrom<u64>>(value: &DeValue<'_>) -> Option<T> {
    let integer = value.as_integer()?;
    T::try_from(u64::from_str_radix(integer.as_str(), integer.radix()).ok()?).ok()
}

/// At least one CPU, none twice: two workers on one CPU would only take turns.
fn are_cpus(cpus: &[usize]) -> bool {
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    (1..=usize::from(WORKERS_MAX)).contains(&cpus.len())
        && sorted.len() == cpus.len()
        && sorted.last().is_some_and(|cpu| *cpu <= CPU_MAX)
}

/// A position as an id. Past the last id the file is rejected anyway.
fn id(position: usize) -> u16 {
    u16::try_from(position).unwrap_or(u16::MAX)
}

const UNIX_MODE: u32 = 0o777;
/// Names of schemas and tables are no longer in any server.
const TABLE_CHARS_MAX: usize = 64;

/// Stands for an address that was rejected, until the file as a whole is.
const UNKNOWN_ADDRESS: Address =
    Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
