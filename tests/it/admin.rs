//! The admin pages' HTTP.
//!
//! Purpose: health as load balancers need it, and clients of any kind that disturb nobody.
//! Never: look at what a metric says; `metrics` does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::thread;

use weir_tests::{
    End, HttpAnswer, Lifetime, PATIENCE, RawClient, RunFolder, Script, ScriptedServer, Upstream,
    Weir, WeirConfig, free_port, http, http_get, weir_binary,
};

use crate::fixture::{Bed, Setting, gated, wait};
use crate::start::failed_run;

on_both_drivers!(
    ready_when_the_primary_was_reached,
    not_ready_while_draining,
    requests_for_anything_else_are_refused,
    hostile_clients_disturb_nobody,
    a_taken_address_is_said,
);

fn get(weir: &Weir, path: &str) -> HttpAnswer {
    http_get(weir.admin(), path).unwrap()
}

/// Status and text of a page of one line.
fn line(weir: &Weir, path: &str) -> (u16, String) {
    let answer = get(weir, path);
    (answer.status, answer.body.trim_end().to_owned())
}

/// Hands connections to `port` on to `server`, until the process ends.
fn forward(port: u16, server: SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    thread::spawn(move || {
        for near in listener.incoming() {
            let near = near.unwrap();
            let far = TcpStream::connect(server).unwrap();
            for (mut from, mut to) in
                [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)]
            {
                thread::spawn(move || {
                    std::io::copy(&mut from, &mut to).unwrap_or_default();
                    to.shutdown(Shutdown::Write).unwrap_or_default();
                });
            }
        }
    });
}

fn ready_when_the_primary_was_reached(driver: &str) {
    let folder = RunFolder::create("admin").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let port = free_port().unwrap();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let upstream = Upstream { name: "db".to_owned(), address, primary: true };
    let mut config = WeirConfig::new(driver, vec![upstream], "app", "secret");
    config.monitor = (weir_tests::MONITOR.to_owned(), "secret".to_owned());
    let mut weir =
        Weir::start_unready(&weir_binary().unwrap(), folder.path(), &config, Lifetime::WithParent)
            .unwrap();
    wait("the pages", || http_get(weir.admin(), "/healthz").is_ok());
    assert_eq!(line(&weir, "/healthz"), (200, "ok".to_owned()));
    let starting = "starting: workers do not accept clients yet";
    wait("the start", || line(&weir, "/readyz").1 != starting);
    let missing = "the primary of cluster 'main' was not reached yet";
    assert_eq!(line(&weir, "/readyz"), (503, missing.to_owned()));
    assert_eq!(weir.metrics().unwrap().value("weir_ready", &[]).unwrap(), 0.0);

    forward(port, server.address());
    wait("readiness", || line(&weir, "/readyz") == (200, "ok".to_owned()));
    assert_eq!(weir.metrics().unwrap().value("weir_ready", &[]).unwrap(), 1.0);
    weir.stop().unwrap();
}

fn not_ready_while_draining(driver: &str) {
    let (script, gate): (Script, Sender<()>) = gated();
    let mut setting = Setting::default().script(script);
    setting.drain_timeout_ms = 600_000;
    let mut bed = setting.start(driver);
    let mut busy = bed.client();
    busy.send_query("wait").unwrap();
    bed.wait_counts("the command", |counts| counts.commands >= 2);
    assert_eq!(line(&bed.weir, "/readyz").0, 200);
    bed.weir.terminate().unwrap();
    assert_eq!(bed.witness.closed().unwrap(), End::Eof);
    let draining = (503, "draining: no new clients are accepted".to_owned());
    assert_eq!(line(&bed.weir, "/readyz"), draining);
    assert_eq!(line(&bed.weir, "/healthz").0, 200);
    let metrics = bed.weir.metrics().unwrap();
    assert_eq!(metrics.value("weir_sessions", &[("worker", "0")]).unwrap(), 1.0);
    assert_eq!(metrics.value("weir_drain_closed_total", &[]).unwrap(), 1.0);
    gate.send(()).unwrap();
    bed.weir.wait_clean(PATIENCE).unwrap();
    assert!(http_get(bed.weir.admin(), "/healthz").is_err());
}

fn requests_for_anything_else_are_refused(driver: &str) {
    let bed = Bed::start(driver);
    let ask = |request: &str| http(bed.weir.admin(), request).unwrap();
    for page in ["/metrics", "/histograms", "/healthz", "/readyz"] {
        let whole = get(&bed.weir, page);
        let head = ask(&format!("HEAD {page} HTTP/1.1\r\nHost: weir\r\n\r\n"));
        assert_eq!((whole.status, head.status, head.body.as_str()), (200, 200, ""), "{page}");
        assert_eq!(whole.header("content-type"), head.header("content-type"));
        let length = whole.header("content-length").unwrap();
        assert_eq!(length, whole.body.len().to_string());
        assert!(head.header("content-length").is_some());
    }
    let kind = get(&bed.weir, "/metrics").header("content-type").map(str::to_owned);
    assert_eq!(kind.as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(get(&bed.weir, "/").status, 404);
    assert_eq!(get(&bed.weir, "/metrics?x=1").status, 200);
    let post = ask("POST /metrics HTTP/1.1\r\nHost: weir\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    let body = ask("GET /metrics HTTP/1.1\r\nHost: weir\r\nContent-Length: 999999999\r\n\r\nabc");
    assert_eq!(body.status, 413);
    let long = format!("GET /metrics HTTP/1.1\r\nHost: weir\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(ask(&long).status, 431);
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert_eq!(ask(&many).status, 431);
    assert_eq!(ask("this is no HTTP\r\n\r\n").status, 400);
    bed.finish(&[("client_faults", 0)]);
}

/// What the clients that wait sent.
const HALVES: [&str; 5] = [
    "",
    "GET /met",
    "GET /metrics HTTP/1.1\r\nHost: weir\r\n",
    "GET /metrics HTTP/1.1\r\nHost: weir\r\nContent-Length: 10\r\nX-",
    "POST /explain HTTP/1.1\r\nHost: weir\r\nContent-Length: 10\r\n\r\nSELEC",
];

fn hostile_clients_disturb_nobody(driver: &str) {
    let mut bed = Bed::start(driver);
    let connect = || TcpStream::connect(bed.weir.admin()).unwrap();
    // Three times as many as there is room for, all of which wait for ever.
    let mut waiting: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    for (stream, half) in waiting.iter_mut().zip(HALVES.iter().cycle()) {
        // The oldest have been sent away already.
        stream.write_all(half.as_bytes()).unwrap_or_default();
    }
    // As many that ask and do not read, and as many that are gone before the answer.
    let request = b"GET /metrics HTTP/1.1\r\nHost: weir\r\n\r\n";
    for _ in 0..70 {
        let mut unread = connect();
        unread.write_all(request).unwrap_or_default();
        waiting.push(unread);
        connect().write_all(request).unwrap_or_default();
    }
    for _ in 0..5 {
        // While the last of them are still being let in, a connection may be turned away: whoever
        // scrapes asks again.
        wait("the metrics", || {
            let metrics = bed.weir.metrics();
            metrics.is_ok_and(|it| it.get("weir_bugs_total", &[]) == Some(0.0))
        });
        wait("a word that it is ready", || {
            http_get(bed.weir.admin(), "/readyz").is_ok_and(|answer| answer.status == 200)
        });
        bed.check_witness();
    }
    // The oldest were closed for newer ones.
    let mut oldest = waiting.swap_remove(0);
    oldest.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(oldest.read(&mut [0; 1]).unwrap_or(0), 0);
    let mut client = bed.client();
    client.echo("SELECT 'MySQL still works'").unwrap();
    drop((client, waiting, oldest));
    bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
}

fn a_taken_address_is_said(driver: &str) {
    let folder = RunFolder::create("admin").unwrap();
    let server = ScriptedServer::start(Script::default()).unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut config = crate::fixture::config(driver, &server, "secret", &[], 1000);
    config.admin_port = Some(port);
    let said = failed_run(folder.path(), &config.to_toml(free_port().unwrap()).unwrap());
    let expected = format!("weir: cannot listen on 127.0.0.1:{port} (admin.listen): ");
    assert!(said.contains(&expected) && said.contains("in use"), "{said}");
    drop(RawClient::connect(server.address()));
}
