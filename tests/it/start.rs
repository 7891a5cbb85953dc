//! Starts that fail.
//!
//! Purpose: exit code 1 and every reason, on standard error, at once.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use weir_tests::{Lifetime, RunFolder, Script, ScriptedServer, Weir, WeirConfig, weir_binary};

use crate::fixture::{config, wait};

on_both_drivers!(
    wrong_configuration,
    port_in_use,
    no_backend_yet,
    a_certificate_is_made_once,
    a_certificate_that_cannot_be_kept,
);

/// Runs `weir run` with a configuration that must not work: what it said.
pub(crate) fn failed_run(folder: &Path, toml: &str) -> String {
    let file = folder.join("weir.toml");
    fs::write(&file, toml).unwrap();
    let mut child = Command::new(weir_binary().unwrap())
        .args(["run", "weir.toml"])
        .current_dir(folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut status = None;
    wait("weir to give up", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn wrong_configuration(driver: &str) {
    let folder = RunFolder::create("start").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let good = config(driver, &server, "secret", &[("clients_max", 5)], 1000).to_toml(1).unwrap();
    let bad = good
        .replace("clients_max = 5", "clients_max = 0\nclients_min = 1")
        .replace("mode = \"primary\"", "mode = \"sideways\"");
    let said = failed_run(folder.path(), &bad);
    assert!(said.contains("weir.toml has 3 problems:"), "{said}");
    for (line, text) in bad.lines().zip(1..).filter_map(|(text, line)| {
        let part =
            ["clients_max", "clients_min", "sideways"].into_iter().find(|p| text.contains(p));
        part.map(|part| (line, part))
    }) {
        let line = format!("line {line}");
        assert!(said.contains(&line) && said.contains(text), "{line}, {text}:\n{said}");
    }
    assert_eq!(server.counts().connections, 0, "nothing is probed for a wrong configuration");
}

fn port_in_use(driver: &str) {
    let folder = RunFolder::create("start").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let toml = config(driver, &server, "secret", &[], 1000).to_toml(port).unwrap();
    let said = failed_run(folder.path(), &toml);
    let expected = format!("weir: cannot listen on 127.0.0.1:{port} (endpoint 'main'): ");
    assert!(said.contains(&expected) && said.contains("in use"), "{said}");
}

fn no_backend_yet(driver: &str) {
    let folder = RunFolder::create("start").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    server.stop_listening().unwrap();
    let port = weir_tests::free_port().unwrap();
    fs::write(
        folder.path().join("weir.toml"),
        config(driver, &server, "secret", &[], 1000).to_toml(port).unwrap(),
    )
    .unwrap();
    let log = folder.path().join("log");
    let spec = weir_tests::Spec::new(weir_binary().unwrap(), folder.path(), &log);
    let spec = spec.args(["run", "weir.toml"]);
    let lifetime = weir_tests::Lifetime::WithParent;
    let mut weir = weir_tests::Process::start(&spec, &folder.path().join("pid"), lifetime).unwrap();
    // It runs, and says to clients what is missing.
    wait("weir to listen", || {
        fs::read_to_string(&log).unwrap_or_default().contains("ready for clients")
    });
    let mut client = weir_tests::RawClient::connect((Ipv4Addr::LOCALHOST, port).into()).unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.seq, error.code), (0, 1105));
    assert!(error.text.starts_with("weir: the primary has not been reached yet"), "{error:?}");
    client.closed().unwrap();
    weir.stop().unwrap();
}

/// Starts Weir, ends it, and gives what it said.
fn run(config: &WeirConfig) -> String {
    let folder = RunFolder::create("start").unwrap();
    let binary = weir_binary().unwrap();
    let mut weir = Weir::start(&binary, folder.path(), config, Lifetime::WithParent).unwrap();
    weir.stop().unwrap();
    weir.log_text()
}

const MADE: &str = "a certificate made by Weir";

fn a_certificate_is_made_once(driver: &str) {
    let folder = RunFolder::create("state").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let mut config = config(driver, &server, "secret", &[], 1000);
    config.state_dir = folder.path().join("below/weir");
    config.endpoint_lines = vec!["tls = \"disabled\"".to_owned()];
    let said = run(&config);
    assert!(!said.contains(MADE) && !config.state_dir.exists(), "{said}");
    config.endpoint_lines.clear();
    let mut kept = None;
    for _ in 0..2 {
        let said = run(&config);
        assert!(said.contains("WARN") && said.contains(MADE), "{said}");
        let files = ["weir-cert.pem", "weir-key.pem"]
            .map(|name| fs::read_to_string(config.state_dir.join(name)).unwrap());
        assert_eq!(kept.get_or_insert_with(|| files.clone()), &files);
    }
    // One that somebody broke is named, and not replaced.
    fs::write(config.state_dir.join("weir-key.pem"), "no key").unwrap();
    let port = weir_tests::free_port().unwrap();
    let said = failed_run(folder.path(), &config.to_toml(port).unwrap());
    assert!(said.contains("weir-key.pem holds no private key"), "{said}");
}

fn a_certificate_that_cannot_be_kept(driver: &str) {
    let folder = RunFolder::create("state").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let mut config = config(driver, &server, "secret", &[], 1000);
    config.state_dir = folder.path().join("file");
    fs::write(&config.state_dir, "no folder").unwrap();
    let said = run(&config);
    assert!(said.contains(MADE) && said.contains("cannot be kept in state_dir"), "{said}");
}
