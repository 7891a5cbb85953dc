//! TLS between Weir and a server.
//!
//! Purpose: probes and sessions log in over TLS as the configuration says, spare themselves half of
//! the handshake where they can, and say what is wrong if they cannot log in.
//! Never: use a certificate that somebody else has.

use std::fs;

use weir_tests::{
    Lifetime, Process, RunFolder, Server, ServerOptions, Spec, TestCertificates, Upstream, Weir,
    WeirConfig, free_port, weir_binary,
};

use crate::fixture::{Database, On, PASSWORD, USER, eventually};

mod mariadb {
    crate::fixture::on_both_drivers!(
        weir_tests::Flavour::MariaDb,
        probes_log_in_over_tls,
        probes_come_back_over_tls,
        sessions_come_back_over_tls,
        probes_say_why_they_cannot,
        a_server_without_tls_is_probed_unless_it_is_required
    );
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A server with TLS whose accounts differ in what they ask for.
struct Secure {
    server: Server,
    certificates: TestCertificates,
    folder: RunFolder,
}

impl Secure {
    fn start() -> Self {
        let folder = RunFolder::create("tls").unwrap();
        let certificates = TestCertificates::create(folder.path(), USER).unwrap();
        let options = ServerOptions { extra: certificates.server_args(), ..Default::default() };
        let server = Server::start(folder.path(), options).unwrap();
        server.create_account(USER, PASSWORD).unwrap();
        Self { server, certificates, folder }
    }

    fn require(&self, what: &str) {
        self.server.sql(&format!("ALTER USER '{USER}'@'%' REQUIRE {what}")).unwrap();
    }

    fn config(&self, driver: &str, lines: &[(&str, &str)]) -> WeirConfig {
        let path = |value: &str| match value.strip_suffix(".pem") {
            Some(_) => self.certificates.path(value),
            None => value.to_owned(),
        };
        let lines = lines.iter().map(|(key, value)| format!("{key} = \"{}\"", path(value)));
        WeirConfig { backend_lines: lines.collect(), ..config(driver, &self.server) }
    }
}

fn config(driver: &str, server: &Server) -> WeirConfig {
    let primary = Upstream { name: "db".to_owned(), address: server.address(), primary: true };
    WeirConfig::new(driver, vec![primary], USER, PASSWORD)
}

/// Weir greets clients once a probe has logged in.
fn greets(config: &WeirConfig) {
    let folder = RunFolder::create("weir").unwrap();
    let binary = weir_binary().unwrap();
    let mut weir = Weir::start(&binary, folder.path(), config, Lifetime::WithParent).unwrap();
    weir.stop().unwrap();
    assert!(!weir.log_text().contains("cannot log in"), "{}", weir.log_text());
}

/// Weir runs, and logs this.
fn says(config: &WeirConfig, text: &str) {
    let folder = RunFolder::create("weir").unwrap();
    let (file, log) = (folder.path().join("weir.toml"), folder.path().join("log"));
    fs::write(&file, config.to_toml(free_port().unwrap()).unwrap()).unwrap();
    let spec = Spec::new(weir_binary().unwrap(), folder.path(), &log);
    let spec = spec.args(["run", "weir.toml"]);
    let pid = folder.path().join("pid");
    let mut weir = Process::start(&spec, &pid, Lifetime::WithParent).unwrap();
    eventually(text, PATIENCE, || fs::read_to_string(&log).unwrap_or_default().contains(text));
    weir.stop().unwrap();
}

fn probes_log_in_over_tls(On { driver, .. }: On) {
    let secure = Secure::start();
    secure.require("SSL");
    for mode in ["preferred", "required"] {
        greets(&secure.config(driver, &[("tls", mode)]));
    }
    for mode in ["verify-ca", "verify-identity"] {
        greets(&secure.config(driver, &[("tls", mode), ("tls_ca_file", "ca.pem")]));
    }
    let named = ("tls_server_name", "localhost");
    let lines = [("tls", "verify-identity"), ("tls_ca_file", "ca.pem"), named];
    greets(&secure.config(driver, &lines));
    secure.require("X509");
    let keys = [("tls_certificate_file", "client.pem"), ("tls_key_file", "client-key.pem")];
    greets(&secure.config(driver, &[&[("tls", "required")], &keys[..]].concat()));
    drop(secure.folder);
}

/// A later connection shows the server the session of an earlier one; it must be taken, with the
/// client's certificate and without.
fn probes_come_back_over_tls(On { driver, .. }: On) {
    let secure = Secure::start();
    let keys = [("tls_certificate_file", "client.pem"), ("tls_key_file", "client-key.pem")];
    for (needed, keys) in [("SSL", &keys[..0]), ("X509", &keys)] {
        secure.require(needed);
        let folder = RunFolder::create("weir").unwrap();
        let config = secure.config(driver, &[&[("tls", "required")], keys].concat());
        let binary = weir_binary().unwrap();
        let mut weir = Weir::start(&binary, folder.path(), &config, Lifetime::WithParent).unwrap();
        let probe = || {
            let of_user =
                format!("SELECT id FROM information_schema.processlist WHERE user='{USER}'");
            secure.server.sql(&of_user).unwrap().trim().to_owned()
        };
        for _ in 0..3 {
            let before = probe();
            secure.server.sql(&format!("KILL {before}")).unwrap();
            eventually("the probe to come back", PATIENCE, || {
                let now = probe();
                !now.is_empty() && now != before && !now.contains('\n')
            });
        }
        weir.stop().unwrap();
        assert!(!weir.log_text().contains("cannot log in"), "{}", weir.log_text());
    }
}

/// Every client's session is a connection of its own, which goes on with the TLS session of an earlier
/// one, whichever worker has it.
fn sessions_come_back_over_tls(On { driver, .. }: On) {
    const CLIENTS: u32 = 20;
    let secure = Secure::start();
    let keys = [("tls_certificate_file", "client.pem"), ("tls_key_file", "client-key.pem")];
    let lines = [("tls", "verify-identity"), ("tls_ca_file", "ca.pem")];
    for (needed, keys) in [("SSL", &keys[..0]), ("X509", &keys)] {
        secure.require(needed);
        let folder = RunFolder::create("weir").unwrap();
        let mut config = secure.config(driver, &[&lines[..], keys].concat());
        config.workers = "2".to_owned();
        let binary = weir_binary().unwrap();
        let mut weir = Weir::start(&binary, folder.path(), &config, Lifetime::WithParent).unwrap();
        let ask = || weir.client(USER, PASSWORD).query("SELECT USER()").unwrap();
        ask();
        let before = handshakes(&weir);
        for _ in 0..CLIENTS {
            assert_eq!(ask(), format!("{USER}@127.0.0.1\n"));
        }
        let (all, resumed) = handshakes(&weir);
        let expected = f64::from(CLIENTS);
        assert_eq!((all - before.0, resumed - before.1), (expected, expected));
        weir.stop().unwrap();
    }
}

/// Handshakes with servers so far, and how many of them went on with an earlier session.
fn handshakes(weir: &Weir) -> (f64, f64) {
    let metrics = weir.metrics().unwrap();
    let value = |what: &str| metrics.value(&format!("weir_tls_backend_{what}_total"), &[]).unwrap();
    (value("handshakes"), value("resumptions"))
}

fn probes_say_why_they_cannot(On { driver, .. }: On) {
    let secure = Secure::start();
    let [ca, other] = ["ca.pem", "other-ca.pem"].map(|file| ("tls_ca_file", file));
    let lines = [("tls", "verify-ca"), other];
    says(&secure.config(driver, &lines), "its certificate is from no authority in the CA file");
    let lines = [("tls", "verify-identity"), ca, ("tls_server_name", "db.example")];
    let text = "its certificate is for localhost, 127.0.0.1, and should be for db.example";
    says(&secure.config(driver, &lines), text);
    secure.require("SSL");
    says(&secure.config(driver, &[("tls", "disabled")]), "it refused the monitor account");
}

fn a_server_without_tls_is_probed_unless_it_is_required(on: On) {
    let server = Database::shared(on);
    let with = |mode: &str| WeirConfig {
        backend_lines: vec![format!("tls = \"{mode}\"")],
        ..config(on.driver, server)
    };
    greets(&with("preferred"));
    says(&with("required"), "it does not offer TLS");
}
