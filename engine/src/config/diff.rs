//! What a new configuration changes, and what of it can take effect now.
//!
//! Purpose: name every change by its path as live or as one that needs a restart, and make the
//! configuration that holds until then.
//! Never: show a value: a change of a secret is named, not told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::address;
use super::routing::Routing;
use super::rule::Rule;
use super::types::{
    Backend, Cluster, Config, Endpoint, Limits, Log, Monitor, Pool, User, UserRules,
};

/// A new configuration against the one in force.
#[derive(Clone, Debug)]
pub struct Diff {
    /// The new one, with what only a restart changes as it was.
    pub effective: Config,
    /// Paths of what takes effect.
    pub live: Vec<String>,
    /// Paths of what needs a restart.
    pub restart: Vec<String>,
}

impl Diff {
    /// The changes in one line, whatever their number.
    #[must_use]
    pub fn summary(&self) -> String {
        match (self.live.as_slice(), self.restart.as_slice()) {
            ([], []) => "nothing changed".to_owned(),
            (live, []) => format!("live: {}", listed(live)),
            ([], restart) => format!("live: nothing; needs a restart: {}", listed(restart)),
            (live, restart) => {
                format!("live: {}; needs a restart: {}", listed(live), listed(restart))
            }
        }
    }
}

fn listed(paths: &[String]) -> String {
    let (shown, more) = paths.split_at_checked(SHOWN_MAX).unwrap_or((paths, &[]));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", shown.join(", "))
}

/// Paths that one line names; a file may have thousands of users.
const SHOWN_MAX: usize = 50;

/// Compares two configurations.
///
/// # Errors
/// The new one cannot hold beside what only a restart changes: why, one line each.
pub fn diff(old: &Config, new: &Config) -> Result<Diff, Vec<String>> {
    let mut changes = Changes::default();
    let mut effective = new.clone();
    changes.process(old, &mut effective);
    changes.log(&old.log, &mut effective.log);
    changes.limits(&old.limits, &mut effective.limits);
    changes.pool(&old.pool, &effective.pool);
    changes.clusters(old, new);
    changes.backends(old, &mut effective);
    effective.endpoints = changes.endpoints(old, new);
    changes.users(old, &mut effective);
    changes.rules(old, new);
    changes.reject_loops(&effective);
    let Changes { live, restart, problems } = changes;
    if problems.is_empty() { Ok(Diff { effective, live, restart }) } else { Err(problems) }
}

#[derive(Default)]
struct Changes {
    live: Vec<String>,
    restart: Vec<String>,
    problems: Vec<String>,
}

/// Compares the fields of two values of one type. Each field is `live`, needs a `restart` and keeps
/// its old value until then, or is looked at `apart`. A field that is not named does not compile.
macro_rules! compare {
    ($changes:ident, $path:expr, $type:ident, $old:expr, $new:expr,
     $($how:ident $field:ident $key:literal;)+) => {{
        let $type { $($field),+ } = $old;
        $(compare!(@$how $changes, $path, $field, $new.$field, $key);)+
    }};
    (@live $changes:ident, $path:expr, $old:expr, $new:expr, $key:literal) => {
        if *$old != $new {
            $changes.live.push(format!("{}.{}", $path, $key));
        }
    };
    (@restart $changes:ident, $path:expr, $old:expr, $new:expr, $key:literal) => {
        if *$old != $new {
            $changes.restart.push(format!("{}.{}", $path, $key));
            $new.clone_from($old);
        }
    };
    (@apart $changes:ident, $path:expr, $old:expr, $new:expr, $key:literal) => {
        let _: (&_, &_) = ($old, &$new);
    };
}

impl Changes {
    fn process(&mut self, old: &Config, new: &mut Config) {
        compare!(self, "weir", Config, old, new,
            restart workers "workers";
            restart driver "driver";
            live drain_timeout "drain_timeout_ms";
            live state_dir "state_dir";
            live rsa_key "rsa_key_file";
            restart admin "admin.listen";
            apart log "";
            apart limits "";
            apart pool "";
            apart clusters "";
            apart backends "";
            apart endpoints "";
            apart users "";
            apart rules "";
        );
    }

    fn log(&mut self, old: &Log, new: &mut Log) {
        compare!(self, "log", Log, old, new,
            live format "format";
            live level "level";
        );
    }

    fn limits(&mut self, old: &Limits, new: &mut Limits) {
        compare!(self, "limits", Limits, old, new,
            live login_timeout "login_timeout_ms";
            live connect_timeout "connect_timeout_ms";
            live handshakes_max "handshakes_max";
            live clients_max "clients_max";
            live clients_total_max "clients_total_max";
            live clients_per_address_max "clients_per_address_max";
            live host_errors_max "host_errors_max";
            live host_block "host_block_ms";
            live sealed_passwords_max "sealed_passwords_max";
            live remembered_users_max "remembered_users_max";
            live remembered_users_keep "remembered_users_ms";
            live backend_handshakes_max "backend_handshakes_max";
            live lease_wait "lease_wait_ms";
            live lease_waiters_max "lease_waiters_max";
            live pipelined_commands_max "pipelined_commands_max";
            apart session_buffer_bytes "";
            apart worker_buffer_bytes "";
            restart receive_buffers "receive_buffers";
            restart receive_buffer_bytes "receive_buffer_bytes";
            restart large_buffer_bytes "large_buffer_bytes";
            restart large_buffers_max "large_buffers_max";
            restart listen_backlog "listen_backlog";
        );
        // These two stand above large_buffer_bytes. Below the one that stays until a restart they
        // have to wait for it.
        let in_order = new.large_buffer_bytes <= new.session_buffer_bytes;
        let (session, worker) = ("limits.session_buffer_bytes", "limits.worker_buffer_bytes");
        let fate = if in_order { &mut self.live } else { &mut self.restart };
        if old.session_buffer_bytes != new.session_buffer_bytes {
            fate.push(session.to_owned());
        }
        if old.worker_buffer_bytes != new.worker_buffer_bytes {
            fate.push(worker.to_owned());
        }
        if !in_order {
            new.session_buffer_bytes = old.session_buffer_bytes;
            new.worker_buffer_bytes = old.worker_buffer_bytes;
        }
    }

    fn pool(&mut self, old: &Pool, new: &Pool) {
        compare!(self, "pool", Pool, old, new,
            live idle_time_max "idle_ms_max";
            live idle_min "idle_min";
            live idle_max "idle_max";
            live ping_idle "ping_idle_ms";
            live age_max "age_ms_max";
            live auth_cache_ttl "auth_cache_ttl_ms";
            live statements_per_session_max "statements_per_session_max";
            live statements_per_connection_max "statements_per_connection_max";
            live statements_max "statements_max";
        );
    }

    fn clusters(&mut self, old: &Config, new: &Config) {
        let known = by_name(&old.clusters, |cluster| &cluster.name);
        let named = by_name(&new.clusters, |cluster| &cluster.name);
        self.came_and_went(&known, &named, "cluster");
        for (name, old, new) in pairs(&known, &named) {
            let path = format!("cluster[{name}]");
            compare!(self, path, Cluster, old, new,
                apart name "";
                apart monitor "";
                apart backends "";
                live heartbeat_table "heartbeat_table";
                live discover "discover";
                live discover_max "discover_max";
                live discover_forget "discover_forget_ms";
            );
            let path = format!("{path}.monitor");
            compare!(self, path, Monitor, &old.monitor, new.monitor,
                live user "user";
                live secret "password";
                live interval "interval_ms";
                live timeout "timeout_ms";
            );
        }
    }

    fn backends(&mut self, old: &Config, new: &mut Config) {
        // A backend that moves to another cluster leaves one and comes to the other.
        let full_name = |config: &Config, backend: &Backend| {
            format!("cluster[{}].backend[{}]", cluster_name(config, backend.cluster), backend.name)
        };
        let paths = |config: &Config| -> BTreeMap<String, Backend> {
            let backends = config.backends.iter();
            backends.map(|backend| (full_name(config, backend), backend.clone())).collect()
        };
        let (known, named) = (paths(old), paths(new));
        self.live.extend(missing(&named, &known).map(|path| format!("{path} added")));
        self.live.extend(missing(&known, &named).map(|path| format!("{path} removed")));
        for (path, old, new) in pairs(&known, &named) {
            compare!(self, path, Backend, old, new,
                apart name "";
                apart cluster "";
                live address "address";
                live role "role";
                live compression "compression";
            live tls "tls";
            live connections_max "connections_max";
            live init_query "init_query";
            live weight "weight";
            live drain "drain";
            live proxy_protocol "proxy_protocol";
            );
        }
    }

    /// The endpoints there are, in their order: sessions know them by it.
    fn endpoints(&mut self, old: &Config, new: &Config) -> Vec<Endpoint> {
        let known = by_name(&old.endpoints, |endpoint| &endpoint.name);
        let named = by_name(&new.endpoints, |endpoint| &endpoint.name);
        self.restart.extend(missing(&named, &known).map(|name| format!("endpoint[{name}] added")));
        let mut endpoints = Vec::new();
        for old_endpoint in &old.endpoints {
            let path = format!("endpoint[{}]", old_endpoint.name);
            let old_cluster = cluster_name(old, old_endpoint.cluster);
            let mut endpoint = if let Some(endpoint) = named.get(old_endpoint.name.as_str()) {
                (*endpoint).clone()
            } else {
                self.restart.push(format!("{path} removed"));
                let mut stays = old_endpoint.clone();
                let mut clusters = new.clusters.iter().zip(0..);
                match clusters.find(|(cluster, _)| cluster.name == old_cluster) {
                    Some((_, index)) => stays.cluster = crate::base::ClusterId(index),
                    None => self.problems.push(format!(
                        "{path} stays until a restart, but its cluster[{old_cluster}] is gone"
                    )),
                }
                stays
            };
            let mode_waits = old_endpoint.mode != endpoint.mode;
            compare!(self, path, Endpoint, old_endpoint, endpoint,
                apart name "";
                restart listen "listen";
                restart unix_mode "unix_mode";
                apart cluster "";
                restart mode "mode";
                apart routing "";
                live pooling "pooling";
                live match_client_address "match_client_address";
            live auth "auth";
            live compression "compression";
            live tls "tls";
            live proxy_protocol_networks "proxy_protocol_networks";
            );
            compare!(self, path, Routing, &old_endpoint.routing, endpoint.routing,
                apart consistency "";
                live causal_wait "causal_wait_ms";
                live backends "backends";
                live policy "policy";
                live primary_reads "primary_reads";
                live max_lag "max_lag_ms";
                live transaction_split "transaction_split";
                live functions_on_replicas "functions_on_replicas";
            );
            // What the one mode allows is not what the other needs: it waits for its mode.
            let (level, new_level) =
                (old_endpoint.routing.consistency, endpoint.routing.consistency);
            if level != new_level {
                let fate = if mode_waits { &mut self.restart } else { &mut self.live };
                fate.push(format!("{path}.consistency"));
            }
            if mode_waits {
                endpoint.routing.consistency = level;
            }
            if cluster_name(new, endpoint.cluster) != old_cluster {
                self.live.push(format!("{path}.cluster"));
            }
            endpoints.push(endpoint);
        }
        endpoints
    }

    fn users(&mut self, old: &Config, new: &mut Config) {
        let known = by_name(&old.users, |user| &user.name);
        let named = by_name(&new.users, |user| &user.name);
        self.came_and_went(&known, &named, "user");
        for (name, old, new) in pairs(&known, &named) {
            let path = format!("user[{name}]");
            compare!(self, path, User, old.as_ref(), new,
                apart name "";
                live secret "password";
                apart rules "";
            );
            let UserRules { networks, schemas, connections_max, read_only, consistency } =
                &old.rules;
            let rules = [
                ("networks", *networks != new.rules.networks),
                ("schemas", *schemas != new.rules.schemas),
                ("connections_max", *connections_max != new.rules.connections_max),
                ("read_only", *read_only != new.rules.read_only),
                ("consistency", *consistency != new.rules.consistency),
            ];
            let changed = rules.iter().filter(|(_, changed)| *changed);
            self.live.extend(changed.map(|(key, _)| format!("{path}.{key}")));
        }
    }

    fn rules(&mut self, old: &Config, new: &Config) {
        let known = by_name(&old.rules, |rule| &rule.name);
        let named = by_name(&new.rules, |rule| &rule.name);
        self.came_and_went(&known, &named, "rule");
        let changed = pairs(&known, &named).filter(|(_, old, new)| old != new);
        self.live.extend(changed.map(|(name, ..)| format!("rule[{name}]")));
        let common = |rule: &&Arc<Rule>| {
            let name = rule.name.as_str();
            known.contains_key(name) && named.contains_key(name)
        };
        let order = |rules: &'_ [Arc<Rule>]| -> Vec<String> {
            rules.iter().filter(common).map(|rule| rule.name.clone()).collect()
        };
        if order(&old.rules) != order(&new.rules) {
            self.live.push("order of rules".to_owned());
        }
    }

    /// A backend that is where an endpoint still listens would make every login connect to itself.
    fn reject_loops(&mut self, effective: &Config) {
        for backend in &effective.backends {
            let mut endpoints = effective.endpoints.iter();
            if let Some(endpoint) =
                endpoints.find(|endpoint| address::reaches(&backend.address, &endpoint.listen))
            {
                self.problems.push(format!(
                    "backend '{}' is where endpoint '{}' listens until a restart",
                    backend.name, endpoint.name
                ));
            }
        }
    }

    fn came_and_went<T>(
        &mut self,
        known: &BTreeMap<&str, T>,
        named: &BTreeMap<&str, T>,
        what: &str,
    ) {
        self.live.extend(missing(named, known).map(|name| format!("{what}[{name}] added")));
        self.live.extend(missing(known, named).map(|name| format!("{what}[{name}] removed")));
    }
}

fn by_name<T>(items: &[T], name: impl Fn(&T) -> &str) -> BTreeMap<&str, &T> {
    items.iter().map(|item| (name(item), item)).collect()
}

/// Keys of `these` that are not in `those`.
fn missing<'k, K: Ord, T, U>(
    these: &'k BTreeMap<K, T>,
    those: &'k BTreeMap<K, U>,
) -> impl Iterator<Item = &'k K> {
    these.keys().filter(|key| !those.contains_key(*key))
}

/// What both have.
fn pairs<'k, K: Ord, T>(
    old: &'k BTreeMap<K, T>,
    new: &'k BTreeMap<K, T>,
) -> impl Iterator<Item = (&'k K, &'k T, &'k T)> {
    old.iter().filter_map(|(key, old)| Some((key, old, new.get(key)?)))
}

fn cluster_name(config: &Config, id: crate::base::ClusterId) -> &str {
    config.cluster(id).map_or("", |cluster| &cluster.name)
}

#[cfg(test)]
mod tests;
