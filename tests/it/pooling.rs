//! Connections between two clients, before servers that misbehave.
//!
//! Purpose: what is not surely as good as new is closed, and the next client gets another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weir::wire::{Capabilities, Status};
use weir_tests::{Login, Next, Packets, Script, Talk, echo};

use crate::fixture::{Bed, Setting, account, check_counters, wait};

on_both_drivers!(
    a_client_that_logs_in_alike_gets_it,
    never_resets,
    refuses_to_reset,
    says_goodbye_while_nobody_listens,
    says_goodbye_a_while_later,
    a_kill_on_its_way_hits_no_next_client,
    closes_while_it_is_reset,
    a_client_that_leaves_in_the_middle_spoils_it,
    an_idle_connection_is_asked_whether_it_is_there,
    an_idle_connection_that_does_not_answer_is_closed,
    nobody_waits_for_a_connection_that_is_being_asked,
    a_permit_is_free_when_the_server_has_ended_its_connection,
);

pub(crate) const RESET: u8 = 0x1F;

/// Echoes, and says who it is.
pub(crate) fn answer(talk: &mut Talk<'_>, command: &[u8]) -> std::io::Result<Next> {
    if command == b"\x03SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'" {
        return talk.send(&talk.reply().ok().bytes());
    }
    let question = "SELECT DATABASE(), CURRENT_ROLE(), @@character_set_client, \
                    @@collation_connection";
    if command != [b"\x03", question.as_bytes()].concat() {
        return echo(talk, command);
    }
    let mut answer = talk.reply().payload(&[4]);
    for _ in 0..4 {
        answer = answer.payload(b"\x03def");
    }
    let row = b"\x04shop\xFB\x07utf8mb4\x0Butf8mb4_bin";
    talk.send(&answer.payload(row).end(Status::AUTOCOMMIT).bytes())
}

fn in_schema() -> Login {
    Login { database: Some("shop".to_owned()), ..account() }
}

/// A bed whose server answers a reset like this.
fn bed(
    driver: &str,
    reset: impl Fn(&mut Talk<'_>) -> std::io::Result<Next> + Send + Sync + 'static,
) -> Bed {
    let script = Script::default().responding(move |talk, command| {
        if command == [RESET] { reset(talk) } else { answer(talk, command) }
    });
    let mut setting = Setting::default().script(script).limit("connect_timeout_ms", 1_000);
    setting.pool.push(("idle_max", 4));
    setting.start(driver)
}

fn serve(bed: &Bed) {
    let mut client = bed.client_as(&in_schema());
    client.echo("SELECT 1").unwrap();
    client.send_packet(0, &[1]).unwrap();
    client.closed().unwrap();
}

fn done(mut bed: Bed, counters: &[(&str, u64)]) {
    bed.check_witness();
    drop(bed.witness);
    bed.weir.stop().unwrap();
    check_counters(&bed.weir, counters);
}

fn a_client_that_logs_in_alike_gets_it(driver: &str) {
    let bed = bed(driver, |talk| talk.send(&talk.reply().ok().bytes()));
    for count in 1..=3 {
        serve(&bed);
        wait("a connection that is as good as new", || {
            bed.server.counts().commands >= 4 * count + 2
        });
    }
    // Rows that are found and not changed are counted for this one.
    let other = in_schema().without(Capabilities::FOUND_ROWS);
    let mut client = bed.client_as(&other);
    client.echo("SELECT 2").unwrap();
    drop(client);
    done(bed, &[("backend_reuses", 2), ("backend_logins", 3), ("backend_faults", 0)]);
}

fn never_resets(driver: &str) {
    let bed = bed(driver, |talk| talk.hang());
    serve(&bed);
    wait("the end of its patience", || bed.server.counts().open <= 1);
    serve(&bed);
    done(bed, &[("backend_reuses", 0), ("backend_logins", 3), ("backend_recycled", 0)]);
}

fn refuses_to_reset(driver: &str) {
    let bed = bed(driver, |talk| {
        let refusal = Packets::new(1, Capabilities::NONE).error(1047, "Unknown command");
        talk.send(&refusal.bytes())
    });
    serve(&bed);
    wait("its end", || bed.server.counts().open <= 1);
    serve(&bed);
    wait("its end", || bed.server.counts().open <= 1);
    done(bed, &[("backend_reuses", 0), ("backend_logins", 3), ("backend_recycled", 0)]);
}

fn closes_while_it_is_reset(driver: &str) {
    let bed = bed(driver, |_| Ok(Next::Close));
    serve(&bed);
    wait("its end", || bed.server.counts().open <= 1);
    serve(&bed);
    wait("its end", || bed.server.counts().open <= 1);
    done(bed, &[("backend_reuses", 0), ("backend_logins", 3), ("backend_faults", 0)]);
}

/// The connection is as good as new, and then says that it is being shut down.
fn says_goodbye_while_nobody_listens(driver: &str) {
    let resets = Arc::new(AtomicUsize::new(0));
    let count = resets.clone();
    let bed = bed(driver, move |talk| {
        count.fetch_add(1, Ordering::Relaxed);
        let ok = talk.reply().ok().bytes();
        talk.send(&ok)?;
        talk.send(&ok)?;
        let bye = Packets::new(0, Capabilities::NONE).error(1053, "Server shutdown in progress");
        talk.send(&bye.bytes())?;
        Ok(Next::Close)
    });
    serve(&bed);
    wait("its end", || bed.server.counts().open <= 1);
    serve(&bed);
    wait("its end", || bed.server.counts().open <= 1);
    assert_eq!(resets.load(Ordering::Relaxed), 2);
    done(bed, &[("backend_reuses", 0), ("backend_logins", 3)]);
}

/// As above, but it has been idle for a while.
fn says_goodbye_a_while_later(driver: &str) {
    let identities = Arc::new(AtomicUsize::new(0));
    let script = Script::default().responding(move |talk, command| {
        answer(talk, command)?;
        // The witness, then the first client: at its login, and after it has left.
        if command.starts_with(b"\x03SELECT DATABASE()")
            && identities.fetch_add(1, Ordering::Relaxed) == 2
        {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let bye =
                Packets::new(0, Capabilities::NONE).error(1053, "Server shutdown in progress");
            talk.send(&bye.bytes())?;
            return talk.hang();
        }
        Ok(Next::Go)
    });
    let mut setting = Setting::default().script(script);
    setting.pool.push(("idle_max", 4));
    let bed = setting.start(driver);
    serve(&bed);
    wait("its end", || bed.server.counts().open <= 1);
    serve(&bed);
    done(bed, &[("backend_reuses", 0), ("backend_logins", 3), ("backend_faults", 0)]);
}

/// Whoever was told where a client's connection is may send a KILL there when it is another's.
fn a_kill_on_its_way_hits_no_next_client(driver: &str) {
    let mut bed = bed(driver, |talk| talk.send(&talk.reply().ok().bytes()));
    let mut target = bed.client_as(&in_schema());
    target.echo("SELECT 1").unwrap();
    // What comes back is the statement the server was sent, with its own id.
    bed.witness.send_query(&format!("KILL QUERY {}", target.connection_id)).unwrap();
    for _ in 0..4 {
        bed.witness.packet().unwrap();
    }
    target.send_packet(0, &[1]).unwrap();
    target.closed().unwrap();
    wait("its end", || bed.server.counts().open <= 1);
    serve(&bed);
    done(bed, &[("backend_reuses", 0), ("backend_logins", 3), ("backend_faults", 0)]);
}

/// Half a command, or one whose answer is still to come.
fn a_client_that_leaves_in_the_middle_spoils_it(driver: &str) {
    let script = Script::default().responding(|talk, command| {
        if command == b"\x03wait" { talk.hang() } else { answer(talk, command) }
    });
    let mut setting = Setting::default().script(script);
    setting.pool.push(("idle_max", 4));
    let bed = setting.start(driver);
    for sent in [&b"\x20\0\0\0\x03SELECT"[..], b"\x05\0\0\0\x03wait"] {
        let mut client = bed.client_as(&in_schema());
        client.echo("SELECT 1").unwrap();
        client.send(sent).unwrap();
        client.reset().unwrap();
        wait("its end", || bed.server.counts().open <= 1);
    }
    done(bed, &[("backend_reuses", 0), ("backend_logins", 3)]);
}

pub(crate) const PING: u8 = 0x0E;

/// A bed whose server answers a COM_PING like this, which comes when a connection is idle for 100 ms.
fn pinged(
    driver: &str,
    connections_max: u64,
    ping: impl Fn(&mut Talk<'_>) -> std::io::Result<Next> + Send + Sync + 'static,
) -> Bed {
    let script = Script::default().responding(move |talk, command| match command {
        [PING] => ping(talk),
        [RESET] => talk.send(&talk.reply().ok().bytes()),
        command => answer(talk, command),
    });
    let mut setting = Setting::default().script(script).limit("connect_timeout_ms", 1_000);
    setting.pool.extend([("idle_max", 4), ("ping_idle_ms", 100)]);
    setting.backend_keys.push(("connections_max", connections_max));
    setting.start(driver)
}

fn counted(bed: &Bed, what: &str) -> f64 {
    let metrics = bed.weir.metrics().unwrap();
    metrics.value(&format!("weir_backend_{what}_total"), &[]).unwrap()
}

fn an_idle_connection_is_asked_whether_it_is_there(driver: &str) {
    let bed = pinged(driver, 0, |talk| talk.send(&talk.reply().ok().bytes()));
    serve(&bed);
    wait("three answers", || counted(&bed, "pings") >= 3.0);
    serve(&bed);
    done(bed, &[("backend_reuses", 1), ("backend_logins", 2), ("backend_ping_failures", 0)]);
}

fn an_idle_connection_that_does_not_answer_is_closed(driver: &str) {
    let wrong = || Packets::new(1, Capabilities::NONE).error(1053, "Server shutdown in progress");
    for hangs in [true, false] {
        let bed = pinged(
            driver,
            0,
            move |talk| {
                if hangs { talk.hang() } else { talk.send(&wrong().bytes()) }
            },
        );
        serve(&bed);
        wait("its end", || bed.server.counts().open <= 1);
        serve(&bed);
        wait("its end as well", || bed.server.counts().open <= 1);
        done(bed, &[("backend_reuses", 0), ("backend_logins", 3), ("backend_ping_failures", 2)]);
    }
}

/// It is idle all the same: whoever waits for its permit has it closed.
fn nobody_waits_for_a_connection_that_is_being_asked(driver: &str) {
    let bed = pinged(driver, 2, |talk| talk.hang());
    serve(&bed);
    wait("it to be asked", || counted(&bed, "pings") >= 1.0);
    let start = std::time::Instant::now();
    let mut client = bed.client();
    client.echo("SELECT 2").unwrap();
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    drop(client);
    let counters = [("backend_yielded", 1), ("backend_logins", 3), ("backend_wait_timeouts", 0)];
    done(bed, &counters);
}

/// Two pools take turns; what one gives up is there until its server says that it is not.
fn a_permit_is_free_when_the_server_has_ended_its_connection(driver: &str) {
    let script = Script { lingers: Duration::from_millis(50), ..Script::default() };
    let script = script.responding(|talk, command| match command {
        [RESET] => talk.send(&talk.reply().ok().bytes()),
        command => answer(talk, command),
    });
    let mut setting = Setting::default().script(script);
    setting.pool.push(("idle_max", 4));
    // One of them is the witness's.
    setting.backend_keys.push(("connections_max", 2));
    let bed = setting.start(driver);
    for _ in 0..3 {
        serve(&bed);
        let mut client = bed.client();
        client.echo("SELECT 2").unwrap();
        client.send_packet(0, &[1]).unwrap();
        client.closed().unwrap();
    }
    assert_eq!(bed.server.counts().open_max, 2);
    done(bed, &[("backend_yielded", 5), ("backend_logins", 7), ("backend_wait_timeouts", 0)]);
}
