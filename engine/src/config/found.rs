//! Backends that no file names.
//!
//! Purpose: a configuration with servers that were found from a cluster's primary, made as if the
//! file had named them.
//! Never: displace what the file names, or make a configuration that the file could not have.

use std::net::SocketAddr;

use rustls::pki_types::ServerName;

use super::address;
use super::default::{ITEMS_MAX, NAME_CHARS_MAX};
use super::types::{Backend, Config};
use crate::base::{Address, BackendId, ClusterId};

/// A server that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name of the cluster it replicates in.
    pub cluster: String,
    /// The backend whose settings it has; if that is gone, the cluster's first one.
    pub like: String,
    /// Its host as it reports it.
    pub host: String,
    /// Where that is.
    pub address: SocketAddr,
}

impl Found {
    /// The backend's name: host and port, in characters that names may have.
    #[must_use]
    pub fn name(&self) -> String {
        let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
        let host = self.host.chars().map(|it| if plain(it) { it } else { '_' });
        let port = format!("-{}", self.address.port());
        let host: String = host.take(NAME_CHARS_MAX - port.len()).collect();
        host + &port
    }
}

/// The configuration with those of `found` that fit it, behind the file's own backends. Clusters
/// without `discover` have none, and none have more than `discover_max`.
#[must_use]
pub fn with_found(file: &Config, found: &[Found]) -> Config {
    let mut config = file.clone();
    for (index, cluster) in file.clusters.iter().enumerate().filter(|(_, it)| it.discover) {
        let of_cluster = found.iter().filter(|it| it.cluster == cluster.name);
        for found in of_cluster.take(cluster.discover_max) {
            add(&mut config, index, found);
        }
    }
    config
}

fn add(config: &mut Config, index: usize, found: &Found) {
    let address = Address::Tcp(found.address);
    let name = found.name();
    let Some(cluster) = config.clusters.get(index) else { return };
    let mut own = cluster.backends.iter().filter_map(|id| config.backend(*id));
    let is_known = own.clone().any(|backend| backend.address == address);
    let like = own.clone().find(|backend| backend.name == found.like).or_else(|| own.next());
    let is_taken = config.backends.iter().any(|backend| backend.name == name);
    let is_weir = config.endpoints.iter().any(|it| address::reaches(&address, &it.listen));
    let (Some(like), Ok(id)) = (like, u16::try_from(config.backends.len())) else { return };
    if is_known || is_taken || is_weir || config.backends.len() >= ITEMS_MAX {
        return;
    }
    let cluster = ClusterId(u16::try_from(index).unwrap_or(u16::MAX));
    let mut backend = Backend { name, cluster, address, role: None, ..like.clone() };
    // Its certificate is for itself.
    if let Ok(name) = ServerName::try_from(found.host.clone()) {
        backend.tls.server_name = name;
    }
    config.backends.push(backend);
    if let Some(cluster) = config.clusters.get_mut(index) {
        cluster.backends.push(BackendId(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Offline, parse};

    const FILE: &str = r#"
[[cluster]]
name = "one"
discover = true
discover_max = 2
monitor = { user = "m", password = "" }
[[cluster.backend]]
name = "a"
address = "10.0.0.1:3306"
role = "primary"
connections_max = 7
tls = "required"
[[cluster]]
name = "two"
monitor = { user = "m", password = "" }
[[cluster.backend]]
name = "10.0.0.9-3306"
address = "10.0.0.9:3306"
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "one"
[[user]]
name = "u"
password = "p"
"#;

    fn found(cluster: &str, host: &str, address: &str) -> Found {
        let address = address.parse().unwrap();
        Found { cluster: cluster.into(), like: "a".into(), host: host.into(), address }
    }

    #[test]
    fn what_fits_becomes_a_backend_and_nothing_else_does() {
        let file = parse(FILE, &Offline).unwrap();
        for (found, fits) in [
            (found("one", "db2.example", "10.0.0.2:3307"), true),
            (found("one", "a", "10.0.0.1:3306"), false),
            (found("one", "10.0.0.9", "10.0.0.9:3306"), false),
            (found("one", "weir", "127.0.0.1:6033"), false),
            (found("two", "db2", "10.0.0.2:3307"), false),
            (found("three", "db2", "10.0.0.2:3307"), false),
        ] {
            let config = with_found(&file, std::slice::from_ref(&found));
            assert_eq!(config != file, fits, "{found:?}");
        }
        let config = with_found(&file, &[found("one", "db2.example", "10.0.0.2:3307")]);
        let new = config.backends.last().unwrap();
        assert_eq!((&*new.name, new.role, new.connections_max), ("db2.example-3307", None, 7));
        assert_eq!(new.tls.server_name.to_str(), "db2.example");
        assert_eq!(new.tls.mode, config.backends[0].tls.mode);
        assert_eq!(config.clusters[0].backends, [BackendId(0), BackendId(2)]);
        assert_eq!((new.cluster, &config.backends[..2]), (ClusterId(0), &file.backends[..]));
    }

    #[test]
    fn their_number_and_names_are_bounded() {
        let file = parse(FILE, &Offline).unwrap();
        let all: Vec<_> =
            (2..9).map(|it| found("one", &format!("db{it}"), &format!("10.0.1.{it}:1"))).collect();
        assert_eq!(with_found(&file, &all).backends.len(), file.backends.len() + 2);
        let long = found("one", &format!("{}é%", "x".repeat(70)), "10.0.0.3:65535");
        assert_eq!(long.name(), format!("{}-65535", "x".repeat(58)));
        assert_eq!(found("one", "::1", "[::1]:1").name(), "__1-1");
    }
}
