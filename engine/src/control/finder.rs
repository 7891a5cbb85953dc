//! Replicas that become backends.
//!
//! Purpose: look at what the primaries list, resolve the hosts, and have the configuration with
//! them take effect as a reload does.
//! Never: make probes wait for a name server, or decide who is wanted.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use crate::control::reload::State;
use crate::topology::{Look, Wanted};

/// How long one host name may take.
const LOOKUP: Duration = Duration::from_secs(5);

type Resolved = Vec<(Wanted, Result<SocketAddr, String>)>;

/// Hosts that are being resolved.
#[derive(Default)]
pub(super) struct Finder {
    running: Option<JoinHandle<Resolved>>,
}

impl Finder {
    /// Looks at the lists there are now.
    pub(super) fn look(&mut self, state: &mut State) {
        if state.is_between() || self.running.is_some() {
            return;
        }
        let now = state.desk.now();
        let Look { wanted, forgotten, remarks } =
            state.discovery.look(&state.config, &state.topology, now);
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        for backend in &forgotten {
            tracing::info!(backend, "forgotten: the primary does not know it, nor does it answer");
        }
        if !forgotten.is_empty() {
            state.apply_found();
        }
        if !wanted.is_empty() {
            self.running = Some(spawn_local(resolve_all(wanted)));
        }
    }

    /// What was resolved; for ever pending while nothing is.
    pub(super) async fn resolved(&mut self) -> Resolved {
        let Some(running) = &mut self.running else { return pending().await };
        let resolved = running.await;
        self.running = None;
        resolved.unwrap_or_default()
    }
}

/// Makes backends of those whose addresses are known now.
pub(super) fn on_resolved(state: &mut State, resolved: Resolved) {
    let mut is_any_new = false;
    for (wanted, address) in resolved {
        let server = format!("{}:{}", wanted.host, wanted.port);
        match address {
            Ok(address) => {
                if state.discovery.add(&state.base, wanted, address) {
                    tracing::info!(server, %address, "a replica was found");
                    is_any_new = true;
                } else if !is_backend(state, address) {
                    remark(
                        state,
                        format!(
                            "the replica {server} is left out: discover_max others \
                         were found, or its name or address is taken"
                        ),
                    );
                }
            }
            Err(error) => {
                remark(state, format!("the replica {server} cannot be resolved: {error}"))
            }
        }
    }
    if is_any_new {
        state.apply_found();
    }
}

fn is_backend(state: &State, address: SocketAddr) -> bool {
    state.config.backends.iter().any(|backend| backend.address.tcp() == Some(address))
}

fn remark(state: &mut State, remark: String) {
    if state.discovery.is_new(&remark) {
        tracing::warn!("{remark}");
    }
}

async fn resolve_all(wanted: Vec<Wanted>) -> Resolved {
    let mut resolved = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let address = resolve(&wanted.host, wanted.port).await;
        resolved.push((wanted, address));
    }
    resolved
}

/// An IPv4 address is preferred, as in the file.
async fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((ip, port).into());
    }
    let found = timeout(LOOKUP, lookup_host((host, port))).await;
    let found = found.map_err(|_| "no answer in time".to_owned())?;
    let all: Vec<SocketAddr> = found.map_err(|error| error.to_string())?.collect();
    let preferred = all.iter().find(|it| it.is_ipv4()).or_else(|| all.first());
    preferred.copied().ok_or_else(|| "it has no address".to_owned())
}
