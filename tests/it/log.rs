//! The log.
//!
//! Purpose: lines say whom they are about, a flood of them is cut and counted, and a log that nobody
//! reads stops nobody.
//! Never: decide by the order of lines of different threads.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use weir_tests::{
    Lifetime, Login, Metrics, Process, RawClient, RunFolder, Script, ScriptedServer, Spec, Weir,
    free_port, http_get, weir_binary,
};

use crate::fixture::{BACKEND, account, config, wait};

on_both_drivers!(json_lines_say_whom, a_flood_is_cut_and_counted, a_log_nobody_reads_stops_nobody);

fn denied(address: SocketAddr) {
    let mut client = RawClient::connect(address).unwrap();
    let greeting = client.greeting().unwrap();
    let wrong = Login { password: "wrong".to_owned(), ..account() };
    client.send(&wrong.request(&greeting)).unwrap();
    assert_eq!(client.error().unwrap().code, 1045);
    client.closed().unwrap();
}

fn json_lines_say_whom(driver: &str) {
    let folder = RunFolder::create("log").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let mut config = config(driver, &server, "secret", &[], 1000);
    config.log_format = "json".to_owned();
    let binary = weir_binary().unwrap();
    let mut weir = Weir::start(&binary, folder.path(), &config, Lifetime::WithParent).unwrap();
    denied(weir.address());
    // A session that loses its backend.
    server.change(|script| {
        *script = script.clone().responding(|_, _| Ok(weir_tests::Next::Close));
    });
    let mut client = RawClient::log_in(weir.address(), &account()).unwrap();
    client.send_query("SELECT 1").unwrap();
    assert_eq!(client.error().unwrap().code, 1053);
    weir.stop().unwrap();
    let log = weir.log_text();
    for line in log.lines() {
        assert!(line.starts_with("{\"timestamp\":\"") && line.ends_with('}'), "{line}");
    }
    let find = |text: &str| {
        log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text}:\n{log}"))
    };
    let denied = find("Access denied");
    for field in ["\"level\":\"WARN\"", "\"session\":", "\"endpoint\":\"main\"", "\"code\":1045"] {
        assert!(denied.contains(field), "{field}: {denied}");
    }
    let lost = find("closed the connection before its reply");
    for field in [&format!("\"backend\":\"{BACKEND}\""), "\"endpoint\":\"main\"", "\"code\":1053"] {
        assert!(lost.contains(field), "{field}: {lost}");
    }
    // Flushed at exit: the totals are the last that is said.
    find("weir_clients_accepted_total");
}

fn a_flood_is_cut_and_counted(driver: &str) {
    let folder = RunFolder::create("log").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let config = config(driver, &server, "secret", &[], 1000);
    let binary = weir_binary().unwrap();
    let mut weir = Weir::start(&binary, folder.path(), &config, Lifetime::WithParent).unwrap();
    let suppressed =
        |metrics: &Metrics| metrics.value("weir_log_lines_suppressed_total", &[]).unwrap();
    // Ten lines a second are written; a second takes far more than ten of these.
    let mut clients = 0_usize;
    wait("suppressed lines", || {
        (0..20).for_each(|_| denied(weir.address()));
        clients += 20;
        suppressed(&weir.metrics().unwrap()) > 0.0
    });
    let left_out = suppressed(&weir.metrics().unwrap());
    weir.stop().unwrap();
    let log = weir.log_text();
    let lines = log.lines().filter(|line| line.contains("Access denied")).count();
    assert_eq!((clients - lines).to_string(), left_out.to_string(), "{log}");
    assert!(log.contains(&format!("weir_log_lines_suppressed_total total={left_out}")), "{log}");
}

fn a_log_nobody_reads_stops_nobody(driver: &str) {
    let folder = RunFolder::create("log").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let (port, admin) = (free_port().unwrap(), free_port().unwrap());
    let mut config = config(driver, &server, "secret", &[], 1000);
    config.admin_port = Some(admin);
    // Several lines for every session.
    config.log_level = "debug".to_owned();
    let file = folder.path().join("weir.toml");
    fs::write(&file, config.to_toml(port).unwrap()).unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Both ends are open, so that Weir's does not wait for a reader; nobody reads.
    let mut reader: File = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let spec = Spec::new(weir_binary().unwrap(), folder.path(), &pipe);
    let spec = spec.arg("run").arg(file.to_string_lossy());
    let mut weir = Process::start(&spec, &folder.path().join("pid"), Lifetime::WithParent).unwrap();
    let (client, pages) = ((Ipv4Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, admin).into());
    wait("weir", || RawClient::log_in(client, &account()).is_ok());
    wait("lines that are lost", || {
        for _ in 0..50 {
            RawClient::log_in(client, &account()).unwrap().echo("SELECT 1").unwrap();
        }
        let answer = http_get(pages, "/metrics").unwrap();
        let metrics = Metrics::parse(&answer.body).unwrap();
        metrics.value("weir_log_lines_dropped_total", &[]).unwrap() > 0.0
    });
    // It ends although its last lines have nowhere to go.
    weir.signal(rustix::process::Signal::TERM).unwrap();
    assert!(weir.wait(weir_tests::PATIENCE).unwrap().success());
    let mut first = [0; 4096];
    let count = reader.read(&mut first).unwrap();
    assert!(String::from_utf8_lossy(&first[..count]).contains(" INFO "));
}
