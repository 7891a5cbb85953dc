//! Backends that misbehave.
//!
//! Purpose: the client learns what happened where the protocol has a place for it, and only it.

use std::time::Duration;

use weir_tests::{Admit, End, Greet, Next, Packets, RawClient, Script, ServerError, echo};

use crate::fixture::{BACKEND, Bed, Setting, account, gate, wait};

on_both_drivers!(
    garbage_greeting,
    error_instead_of_greeting,
    closes_instead_of_greeting,
    slow_greeting,
    never_greets,
    never_answers_the_login,
    black_hole,
    nobody_listens,
    refuses_the_login,
    unsupported_plugin,
    full_sha2_exchange,
    garbage_in_the_login,
    dies_between_rows,
    dies_inside_a_row,
    dies_before_its_answer,
    resets_while_idle,
    says_goodbye_unasked,
    garbage_reply,
    oversized_control_frame,
    wrong_sequence_ids,
    several_results,
);

/// A client whose login at the backend fails: its error, after which the connection ends.
fn refused(bed: &Bed) -> ServerError {
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    client.send(&account().request(&greeting)).unwrap();
    let error = client.error().unwrap();
    client.closed().unwrap();
    assert_eq!(error.seq, 2);
    error
}

/// The error Weir gives when its backend cannot be had.
fn assert_unavailable(bed: &Bed, error: &ServerError, why: &str) {
    let start = format!("weir: backend '{BACKEND}' ({}): ", bed.server.address());
    assert_eq!(error.code, 1105, "{error:?}");
    assert!(error.text.starts_with(&start), "{error:?}");
    assert!(error.text.contains(why), "{error:?} does not say {why}");
}

fn greeted_by(driver: &str, greet: Greet, limits: &[(&'static str, u64)]) -> (Bed, ServerError) {
    let setting = Setting { limits: limits.to_vec(), ..Setting::default() };
    let bed = setting.start(driver);
    bed.server.change(|script| script.greet = greet);
    let error = refused(&bed);
    (bed, error)
}

fn garbage_greeting(driver: &str) {
    for (bytes, why) in [
        (&b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..], "too long"),
        (&[3, 0, 0, 0, 9, b'x', 0], "version 10"),
        (&[3, 0, 0, 0, 10, b'x', b'y'], "greeting"),
    ] {
        let (bed, error) = greeted_by(driver, Greet::Bytes(bytes.to_vec()), &[]);
        assert_unavailable(&bed, &error, why);
        bed.finish(&[("backend_faults", 1), ("backend_login_failures", 1)]);
    }
}

fn error_instead_of_greeting(driver: &str) {
    // As servers send it: without SQLSTATE.
    let bytes = [b"\x17\0\0\0\xFF\x10\x04", &b"Too many connections"[..]].concat();
    let (bed, error) = greeted_by(driver, Greet::Bytes(bytes), &[]);
    assert_eq!((error.code, error.text.as_str()), (1040, "Too many connections"));
    bed.finish(&[("backend_login_failures", 1)]);
}

fn closes_instead_of_greeting(driver: &str) {
    let (bed, error) = greeted_by(driver, Greet::Bytes(Vec::new()), &[]);
    assert_unavailable(&bed, &error, "closed the connection");
    bed.finish(&[("backend_faults", 1), ("backend_connect_failures", 1)]);
}

fn slow_greeting(driver: &str) {
    let bed = Bed::start(driver);
    bed.server.change(|script| script.greet = Greet::Slowly(Duration::from_millis(2)));
    let mut client = bed.client();
    client.echo("SELECT 1").unwrap();
    drop(client);
    bed.finish(&[("backend_faults", 0), ("backend_logins", 2)]);
}

fn never_greets(driver: &str) {
    let (bed, error) = greeted_by(driver, Greet::Never, &[("connect_timeout_ms", 2000)]);
    assert_unavailable(&bed, &error, "took too long");
    bed.finish(&[("backend_faults", 1), ("login_timeouts", 1)]);
}

fn never_answers_the_login(driver: &str) {
    let bed = Setting::default().limit("connect_timeout_ms", 2000).start(driver);
    bed.server.change(|script| script.admit = Admit::Never);
    let error = refused(&bed);
    assert_unavailable(&bed, &error, "took too long");
    bed.finish(&[("backend_faults", 1), ("login_timeouts", 1)]);
}

fn black_hole(driver: &str) {
    let mut bed = Setting::default().limit("connect_timeout_ms", 2000).start(driver);
    bed.server.become_black_hole().unwrap();
    let error = refused(&bed);
    assert_unavailable(&bed, &error, "cannot connect to it: timed out");
    bed.finish(&[("backend_faults", 1), ("backend_connect_failures", 1)]);
}

fn nobody_listens(driver: &str) {
    let bed = Bed::start(driver);
    bed.server.stop_listening().unwrap();
    let error = refused(&bed);
    assert_unavailable(&bed, &error, "connection refused");
    bed.finish(&[("backend_faults", 1), ("backend_connect_failures", 1)]);
}

fn admitted_by(driver: &str, admit: Admit) -> (Bed, ServerError) {
    let bed = Bed::start(driver);
    bed.server.change(|script| script.admit = admit);
    let error = refused(&bed);
    (bed, error)
}

fn refuses_the_login(driver: &str) {
    let text = "Connections using insecure transport are prohibited";
    let (bed, error) = admitted_by(driver, Admit::Refuse(3159, text));
    assert_eq!(error, ServerError { seq: 2, code: 3159, text: text.to_owned() });
    bed.finish(&[("backend_login_failures", 1)]);
}

fn unsupported_plugin(driver: &str) {
    let (bed, error) = admitted_by(driver, Admit::Switch("mysql_clear_password"));
    assert_unavailable(&bed, &error, "plugin mysql_clear_password");
    bed.finish(&[("backend_faults", 1), ("backend_login_failures", 1)]);
}

/// A server that has not cached the password.
fn full_sha2_exchange(driver: &str) {
    let mut setting = Setting::default();
    setting.script.plugin = "caching_sha2_password";
    let bed = setting.start(driver);
    bed.server.change(|script| script.admit = Admit::FullExchange);
    let mut login = account();
    login.plugin = "caching_sha2_password";
    let mut client = RawClient::log_in(bed.weir.address(), &login).unwrap();
    client.echo("SELECT 1").unwrap();
    drop(client);

    bed.server.change(|script| script.admit = Admit::FullExchangeWithout(b"no key"));
    let error = refused(&bed);
    assert_unavailable(&bed, &error, "RSA key");
    bed.finish(&[("backend_faults", 1), ("backend_logins", 2), ("backend_login_failures", 1)]);
}

fn garbage_in_the_login(driver: &str) {
    for bytes in [&[1, 0, 0, 2, 0x77][..], &[0, 0, 0, 2], &[1, 0, 2, 2, 0]] {
        let (bed, error) = admitted_by(driver, Admit::Bytes(bytes.to_vec()));
        assert_unavailable(&bed, &error, "");
        bed.finish(&[("backend_faults", 1), ("backend_login_failures", 1)]);
    }
}

/// A server that echoes, but answers the query `x` like this.
fn answering(
    answer: impl Fn(&mut weir_tests::Talk<'_>) -> std::io::Result<Next> + Send + Sync + 'static,
) -> Setting {
    Setting::default().script(Script::default().responding(move |talk, command| {
        if command == b"\x03x" { answer(talk) } else { echo(talk, command) }
    }))
}

fn dies_between_rows(driver: &str) {
    for end in [Next::Close, Next::Reset] {
        let (gate, opened) = gate();
        let bed = answering(move |talk| {
            talk.send(&talk.reply().rows(["1", "2"]).bytes())?;
            // A reset would overtake what was sent before it.
            opened();
            Ok(end)
        })
        .start(driver);
        let mut client = bed.client();
        client.send_query("x").unwrap();
        let rows = Packets::new(1, client.capabilities).rows(["1", "2"]);
        let seq = rows.next_seq();
        client.expect(&rows.bytes()).unwrap();
        gate.send(()).unwrap();
        let error = client.error().unwrap();
        assert_eq!((error.seq, error.code), (seq, 1053), "{error:?}");
        assert!(error.text.starts_with("weir: backend 'db' closed"), "{error:?}");
        client.closed().unwrap();
        bed.finish(&[("backend_faults", 1)]);
    }
}

fn dies_inside_a_row(driver: &str) {
    // Inside the header, inside the payload, and inside one that streams.
    for (row_bytes, cut) in [(10, 2), (10, 9), (1 << 20, 300_000)] {
        let bed = answering(move |talk| {
            let row = vec![b'r'; row_bytes];
            let head = talk.reply().rows(["1"]).bytes().len();
            let all = talk.reply().rows([&b"1"[..], &row]).bytes();
            talk.send(&all[..head + cut])?;
            Ok(Next::Close)
        })
        .start(driver);
        let mut client = bed.client();
        client.send_query("x").unwrap();
        let head = Packets::new(1, client.capabilities).rows(["1"]);
        let seq = head.next_seq();
        client.expect(&head.bytes()).unwrap();
        let (rest, _) = client.rest().unwrap();
        if cut < 5 {
            // No byte of that row has left, so there is a place for an error.
            assert_eq!(rest.get(3..7), Some(&[seq, 0xFF, 0x1D, 0x04][..]), "{rest:02x?}");
        } else {
            assert_eq!(rest.len(), cut, "a part of a row, and no error inside it");
        }
        bed.finish(&[("backend_faults", 1)]);
    }
}

fn dies_before_its_answer(driver: &str) {
    for end in [Next::Close, Next::Reset] {
        let bed = answering(move |_| Ok(end)).start(driver);
        let mut client = bed.client();
        client.send_query("x").unwrap();
        let error = client.error().unwrap();
        assert_eq!((error.seq, error.code), (1, 1053), "{error:?}");
        client.closed().unwrap();
        bed.finish(&[("backend_faults", 1)]);
    }
}

fn resets_while_idle(driver: &str) {
    for end in [Next::Close, Next::Reset] {
        // The answer goes first, then the connection, with nothing owed.
        let (gate, opened) = gate();
        let bed = answering(move |talk| {
            talk.send(&talk.reply().ok().bytes())?;
            opened();
            Ok(end)
        })
        .start(driver);
        let mut client = bed.client();
        client.send_query("x").unwrap();
        let ok = Packets::new(1, client.capabilities).ok().bytes();
        client.expect(&ok).unwrap();
        gate.send(()).unwrap();
        assert_eq!(client.closed().unwrap(), End::Eof);
        bed.finish(&[("client_faults", 0)]);
    }
}

fn says_goodbye_unasked(driver: &str) {
    let bed = answering(|talk| {
        talk.send(&talk.reply().ok().bytes())?;
        let goodbye = Packets::new(0, talk.capabilities).error(1927, "Connection was killed");
        talk.send(&goodbye.bytes())?;
        Ok(Next::Close)
    })
    .start(driver);
    let mut client = bed.client();
    client.send_query("x").unwrap();
    let ok = Packets::new(1, client.capabilities).ok().bytes();
    client.expect(&ok).unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.code, error.text.as_str()), (1927, "Connection was killed"));
    client.closed().unwrap();
    bed.finish(&[("client_faults", 0), ("bugs", 0)]);
}

fn garbage_reply(driver: &str) {
    // An empty frame, an EOF where a reply begins, an OK and a column count that end early.
    for bytes in [&[0, 0, 0, 1][..], &[1, 0, 0, 1, 0xFE], &[2, 0, 0, 1, 0, 0], &[1, 0, 0, 1, 0xFC]]
    {
        let bed = answering(|talk| {
            talk.send(bytes)?;
            talk.hang()
        })
        .start(driver);
        let mut client = bed.client();
        client.send_query("x").unwrap();
        let error = client.error().unwrap();
        assert_eq!(error.code, 1835, "{error:?}");
        assert!(error.text.starts_with("weir: the backend sent a "), "{error:?}");
        client.closed().unwrap();
        bed.finish(&[("backend_faults", 1)]);
    }
}

fn oversized_control_frame(driver: &str) {
    let bed = answering(|talk| {
        // The header of an OK of 2 MiB, and its first byte.
        talk.send(&[0, 0, 0x20, 1, 0])?;
        talk.hang()
    })
    .start(driver);
    let mut client = bed.client();
    client.send_query("x").unwrap();
    let error = client.error().unwrap();
    assert_eq!(error.code, 1835, "{error:?}");
    assert!(error.text.contains("above 1 MiB"), "{error:?}");
    client.closed().unwrap();
    bed.finish(&[("backend_faults", 1)]);
}

/// Where the frame behind a column count begins.
const SECOND_FRAME: usize = 5;

fn wrong_sequence_ids(driver: &str) {
    let bed = answering(|talk| {
        let mut bytes = talk.reply().result_set(["1"]).bytes();
        bytes[SECOND_FRAME + 3] = 77;
        talk.send(&bytes)
    })
    .start(driver);
    let mut client = bed.client();
    client.send_query("x").unwrap();
    let whole = Packets::new(1, client.capabilities).result_set(["1"]).bytes();
    client.expect(&whole[..SECOND_FRAME]).unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.code, error.seq), (1835, 2), "{error:?}");
    assert!(error.text.contains("out of order"), "{error:?}");
    client.closed().unwrap();
    bed.finish(&[("backend_faults", 1), ("bugs", 0)]);
}

fn several_results(driver: &str) {
    use weir::wire::Status;
    let more = Status::AUTOCOMMIT.with(Status::MORE_RESULTS);
    let results = move |first: Packets| first.rows(["a", "b"]).end(more).result_set(["c"]).bytes();
    let bed = answering(move |talk| {
        let bytes = results(talk.reply());
        talk.send_pieces(&bytes, 1)
    })
    .start(driver);
    let mut client: RawClient = bed.client();
    client.send_query("x").unwrap();
    let expected = results(Packets::new(1, client.capabilities));
    client.expect(&expected).unwrap();
    client.echo("SELECT 'goes on'").unwrap();
    drop(client);
    wait("the session to end", || bed.server.counts().open == 1);
    bed.finish(&[("replies", 4), ("reply_errors", 0)]);
}
