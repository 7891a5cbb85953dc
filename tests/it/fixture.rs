//! A Weir before a scripted server, with a session that must not notice anything.
//!
//! Purpose: what every case starts from and is judged by: the witness's session works, the process
//! lives, its descriptors come back, the fault is counted, and it stops in order.
//! Never: decide by timing; every wait ends when its condition holds, or fails after a long time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use weir_tests::{
    Counts, Lifetime, Login, MONITOR, PATIENCE, RawClient, RunFolder, Script, ScriptedServer,
    Upstream, Weir, WeirConfig, echo, weir_binary,
};

/// Name of the backend in Weir's configuration.
pub(crate) const BACKEND: &str = "db";

/// A running pair.
pub(crate) struct Bed {
    pub(crate) server: ScriptedServer,
    pub(crate) weir: Weir,
    pub(crate) witness: RawClient,
    descriptors: usize,
    _folder: RunFolder,
}

/// What is not at its default.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) script: Script,
    pub(crate) limits: Vec<(&'static str, u64)>,
    /// Lines of `[pool]`; with any, connections are pooled by session.
    pub(crate) pool: Vec<(&'static str, u64)>,
    pub(crate) drain_timeout_ms: u32,
    pub(crate) workers: usize,
    /// Further keys of the backend.
    pub(crate) backend_keys: Vec<(&'static str, u64)>,
    /// Further lines of the endpoint and of the backend.
    pub(crate) endpoint_lines: Vec<String>,
    pub(crate) backend_lines: Vec<String>,
    /// Further tables.
    pub(crate) more: String,
    /// How the witness logs in.
    pub(crate) witness: Login,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            script: Script::default(),
            limits: Vec::new(),
            pool: Vec::new(),
            drain_timeout_ms: 10_000,
            workers: 1,
            backend_keys: Vec::new(),
            endpoint_lines: Vec::new(),
            backend_lines: Vec::new(),
            more: String::new(),
            witness: account(),
        }
    }
}

impl Setting {
    pub(crate) fn limit(mut self, key: &'static str, value: u64) -> Self {
        self.limits.push((key, value));
        self
    }

    pub(crate) fn endpoint(mut self, line: &str) -> Self {
        self.endpoint_lines.push(line.to_owned());
        self
    }

    pub(crate) fn backend(mut self, line: &str) -> Self {
        self.backend_lines.push(line.to_owned());
        self
    }

    pub(crate) fn more(mut self, tables: &str) -> Self {
        self.more.push_str(tables);
        self
    }

    pub(crate) fn witness(mut self, login: Login) -> Self {
        self.witness = login;
        self
    }

    pub(crate) fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    pub(crate) fn start(self, driver: &str) -> Bed {
        let mut bed = self.start_without_check(driver);
        bed.check_witness();
        bed.descriptors = bed.settled_descriptors();
        bed
    }

    /// For servers that do not echo.
    pub(crate) fn start_without_check(self, driver: &str) -> Bed {
        let folder = RunFolder::create("it").unwrap();
        let password = self.script.password;
        let server = ScriptedServer::start(self.script).unwrap();
        let mut config = config(driver, &server, password, &self.limits, self.drain_timeout_ms);
        config.workers = self.workers.to_string();
        let keys = self.backend_keys.iter();
        config.backend_keys = keys.map(|(key, value)| ((*key).to_owned(), *value)).collect();
        if !self.pool.is_empty() {
            config.pooling = "session";
        }
        let pool = self.pool.iter();
        config.pool = pool.map(|(key, value)| ((*key).to_owned(), *value)).collect();
        config.endpoint_lines = self.endpoint_lines;
        config.backend_lines = self.backend_lines;
        config.more = self.more;
        let binary = weir_binary().unwrap();
        let weir = Weir::start(&binary, folder.path(), &config, Lifetime::WithParent).unwrap();
        let witness = RawClient::log_in(weir.address(), &self.witness).unwrap();
        Bed { server, weir, witness, descriptors: 0, _folder: folder }
    }
}

/// A configuration with one backend.
pub(crate) fn config(
    driver: &str,
    server: &ScriptedServer,
    password: &str,
    limits: &[(&str, u64)],
    drain_timeout_ms: u32,
) -> WeirConfig {
    let upstream = Upstream { name: BACKEND.to_owned(), address: server.address(), primary: true };
    let mut config = WeirConfig::new(driver, vec![upstream], "app", "secret");
    config.monitor = (MONITOR.to_owned(), password.to_owned());
    config.drain_timeout_ms = drain_timeout_ms;
    config.limits = limits.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    config
}

/// The account all clients use.
pub(crate) fn account() -> Login {
    Login::new("app", "secret")
}

impl Bed {
    pub(crate) fn start(driver: &str) -> Self {
        Setting::default().start(driver)
    }

    /// A client that has connected, and read nothing.
    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(self.weir.address()).unwrap()
    }

    /// A client that has logged in.
    pub(crate) fn client(&self) -> RawClient {
        self.client_as(&account())
    }

    /// A client that has logged in like this.
    pub(crate) fn client_as(&self, login: &Login) -> RawClient {
        RawClient::log_in(self.weir.address(), login).unwrap()
    }

    /// A client that has logged in and whose kernel holds next to nothing.
    pub(crate) fn narrow_client(&self) -> RawClient {
        let mut client = RawClient::connect_narrow(self.weir.address()).unwrap();
        client.authenticate(&account()).unwrap();
        client
    }

    /// The witness's session works.
    pub(crate) fn check_witness(&mut self) {
        self.witness.echo("SELECT 'still here'").unwrap();
    }

    /// Waits until the server's counts are so.
    pub(crate) fn wait_counts(&self, what: &str, good: impl Fn(Counts) -> bool) {
        wait(what, || good(self.server.counts()));
    }

    /// Waits until Weir has noticed the end of every connection but the witness's.
    pub(crate) fn wait_descriptors(&self) {
        wait("descriptors to be closed", || self.weir.descriptors().unwrap() <= self.descriptors);
    }

    /// Judges: see the top of this file. `counters` are the ones the case is about, by what stands
    /// between `weir_` and `_total`.
    pub(crate) fn finish(mut self, counters: &[(&str, u64)]) -> BTreeMap<String, u64> {
        self.check_witness();
        wait("sessions other than the witness's to leave the server", || {
            self.server.counts().open <= 1
        });
        self.wait_descriptors();
        drop(self.witness);
        self.weir.stop().unwrap();
        check_counters(&self.weir, counters)
    }

    /// Number of descriptors once it no longer changes: the check that Weir is up has just ended.
    fn settled_descriptors(&self) -> usize {
        let mut last = self.weir.descriptors().unwrap();
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(30));
            let now = self.weir.descriptors().unwrap();
            if now == last {
                break;
            }
            last = now;
        }
        last
    }
}

/// Checks counters of a Weir that has ended, and that it found no bug in itself.
/// Gives all of them.
pub(crate) fn check_counters(weir: &Weir, expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let log = weir.log_text();
    let totals = totals(&log);
    for (name, count) in expected.iter().chain(&[("bugs", 0)]) {
        let total = totals.get(*name).copied().unwrap_or(0);
        assert_eq!(total, *count, "weir_{name}_total; the log:\n{log}");
    }
    totals
}

/// Lines like `… INFO weir_commands_total total=7`, by what stands in the middle of the name.
fn totals(log: &str) -> BTreeMap<String, u64> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once("INFO weir_")?;
        let (name, total) = rest.split_once("_total total=")?;
        Some((name.to_owned(), total.trim().parse().ok()?))
    };
    log.lines().filter_map(of_line).collect()
}

/// Waits until something holds.
pub(crate) fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server that echoes, but answers the query `wait` only when something comes through the gate.
pub(crate) fn gated() -> (Script, Sender<()>) {
    let (gate, opened) = gate();
    let script = Script::default().responding(move |talk, command| {
        if command == b"\x03wait" {
            opened();
        }
        echo(talk, command)
    });
    (script, gate)
}

/// Something to send through, and what waits for it: for one step of a script after one of a test.
pub(crate) fn gate() -> (Sender<()>, impl Fn() + Send + Sync) {
    let (gate, opened): (_, Receiver<()>) = channel();
    let opened = Mutex::new(opened);
    // The end of a test that failed is gone; the script then goes on.
    (gate, move || opened.lock().unwrap().recv_timeout(PATIENCE).unwrap_or_default())
}
