//! Memory of clients that do nothing.
//!
//! Purpose: a proxy's memory before and with thousands of logged-in clients.
//! Never: reuse a process whose memory earlier load has shaped.

use std::time::Duration;

use weir_benches::answers::Encoding;
use weir_benches::client::{Script, Value};
use weir_benches::generator::Fleet;
use weir_benches::login::Profile;
use weir_benches::process::Memory;

use crate::backend::Backend;
use crate::slice::as_f64;
use crate::target::{Kind, Places, Target, clients_max};
use crate::workload::account;

/// A proxy's memory with idle clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// What was measured.
    pub(crate) kind: Kind,
    /// Clients connected.
    pub(crate) clients: usize,
    /// Before any client.
    pub(crate) before: Memory,
    /// With all of them.
    pub(crate) with: Memory,
}

impl Idle {
    /// Anonymous memory each client added, in KiB.
    pub(crate) fn anonymous_kib(&self) -> f64 {
        per(self.with.anonymous_kib, self.before.anonymous_kib, self.clients)
    }

    /// Resident memory each client added, in KiB.
    pub(crate) fn resident_kib(&self) -> f64 {
        per(self.with.resident_kib, self.before.resident_kib, self.clients)
    }
}

fn per(with: u64, before: u64, clients: usize) -> f64 {
    as_f64(with.saturating_sub(before)) / as_f64(clients.max(1) as u64)
}

/// Clients that can be connected: [`CLIENTS`], or what the limit of descriptors leaves.
pub(crate) fn clients(places: &Places) -> usize {
    usize::try_from(clients_max(places.descriptors)).map_or(CLIENTS, |max| max.min(CLIENTS))
}

/// Starts a fresh `kind` in front of `backend` and fills it with idle clients.
pub(crate) fn measure(kind: Kind, backend: &Backend, places: &Places) -> anyhow::Result<Idle> {
    let target = Target::start(kind, backend, places)?;
    let pid = target.pid().unwrap_or_default();
    std::thread::sleep(SETTLE);
    let before = Memory::of(pid)?;
    let script = Script::new(account(), Profile::Modern, Encoding::Text, Value::Small);
    let clients = clients(places);
    let fleet = Fleet::connect(target.address, script, clients)
        .map_err(|error| error.context(target.log_tail()))?;
    std::thread::sleep(SETTLE);
    let with = Memory::of(pid)?;
    drop(fleet);
    Ok(Idle { kind, clients, before, with })
}

/// Proxies whose clients have a connection each, which the responder gives them.
pub(crate) const KINDS: [Kind; 3] = [Kind::Haproxy, Kind::WeirUring, Kind::WeirEpoll];
/// The one whose clients share connections, which a server has to be behind.
pub(crate) const SHARED: Kind = Kind::WeirTransaction;
/// Clients wanted.
pub(crate) const CLIENTS: usize = 10_000;
const SETTLE: Duration = Duration::from_millis(300);
