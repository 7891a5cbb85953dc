//! Clients that are logged in and send what they should not, or go when they should not.
//!
//! Purpose: refusals leave the session usable where servers do, and end it where servers do.

use weir::wire::Capabilities;
use weir_tests::{Packets, RawClient, Script, ServerError, echo};

use crate::fixture::{Bed, Setting, account, gated};

on_both_drivers!(
    wrong_sequence_id,
    out_of_order_after_pipelining,
    empty_packet,
    unknown_commands,
    closes_inside_a_command,
    closes_inside_a_header,
    resets_while_a_result_comes,
    half_close_still_gets_the_reply,
    pipelined_in_one_write,
    too_many_pipelined,
    local_infile,
    local_infile_cut_by_the_server,
    quits,
    command_query_attributes_are_relayed,
    command_stmt_bulk_execute_is_answered_as_an_execute,
    command_change_user_on_the_sessions_own_connection,
    command_process_kill_names_the_servers_thread,
);

fn unknown_command(seq: u8) -> ServerError {
    ServerError { seq, code: 1047, text: "Unknown command".to_owned() }
}

fn wrong_sequence_id(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    let mut packet = RawClient::query_packet("SELECT 1");
    packet[3] = 3;
    client.send(&packet).unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.code, error.text.as_str()), (1156, "Got packets out of order"));
    client.closed().unwrap();
    bed.finish(&[("client_faults", 1), ("commands", 2)]);
}

fn out_of_order_after_pipelining(driver: &str) {
    let (script, gate) = gated();
    let bed = Setting::default().script(script).start(driver);
    let mut client = bed.client();
    client.send_query("wait").unwrap();
    bed.wait_counts("the command", |counts| counts.commands >= 2);
    // The first answer is still owed: its place is where the error goes.
    client.send_packet(9, b"\x0E").unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.seq, error.code), (1, 1156));
    client.closed().unwrap();
    gate.send(()).unwrap();
    bed.finish(&[("client_faults", 1)]);
}

fn empty_packet(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    client.send_packet(0, b"").unwrap();
    assert_eq!(client.error().unwrap(), unknown_command(1));
    client.echo("SELECT 'goes on'").unwrap();
    drop(client);
    bed.finish(&[("client_faults", 0)]);
}

fn unknown_commands(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    // Two that do not exist, one internal to servers, and one longer than a receive buffer.
    for command in [&b"\x2F"[..], b"\xF0abc", b"\x1D", &[0x2F; 100_000]] {
        client.send_packet(0, command).unwrap();
        assert_eq!(client.error().unwrap(), unknown_command(1));
        client.echo("SELECT 'goes on'").unwrap();
    }
    // Answered in its place among others.
    let mut bytes = RawClient::query_packet("SELECT 'before'").to_vec();
    bytes.extend([1, 0, 0, 0, 0x2F]);
    bytes.extend(RawClient::query_packet("SELECT 'after'"));
    client.send(&bytes).unwrap();
    let (before, after) = (client.echoed("SELECT 'before'"), client.echoed("SELECT 'after'"));
    client.expect(&before).unwrap();
    assert_eq!(client.error().unwrap(), unknown_command(1));
    client.expect(&after).unwrap();
    drop(client);
    bed.finish(&[("client_faults", 0)]);
}

fn closes_inside_a_command(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    client.send(&RawClient::query_packet("SELECT 'never finished'")[..12]).unwrap();
    drop(client);
    bed.finish(&[("client_faults", 1)]);
}

fn closes_inside_a_header(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    client.send(&[9, 0]).unwrap();
    client.finish_sending().unwrap();
    client.closed().unwrap();
    bed.finish(&[("backend_faults", 0)]);
}

fn resets_while_a_result_comes(driver: &str) {
    let script = Script::default().responding(|talk, command| {
        if command != b"\x03large" {
            return echo(talk, command);
        }
        // The reset comes somewhere in the middle; from then on sending fails.
        let row = vec![b'r'; 1 << 20];
        let mut packets = talk.reply().rows([&row]);
        for _ in 0..64 {
            talk.send(&packets.clone().bytes())?;
            packets = Packets::new(packets.next_seq(), talk.capabilities).row(&row);
        }
        talk.hang()
    });
    let bed = Setting::default().script(script).start(driver);
    let mut client = bed.client();
    client.send_query("large").unwrap();
    client.bytes(3 << 20).unwrap();
    client.reset().unwrap();
    bed.finish(&[("client_faults", 1), ("backend_faults", 0)]);
}

fn half_close_still_gets_the_reply(driver: &str) {
    let (script, gate) = gated();
    let bed = Setting::default().script(script).start(driver);
    let mut client = bed.client();
    client.send_query("wait").unwrap();
    client.send_query("SELECT 'second'").unwrap();
    client.finish_sending().unwrap();
    bed.wait_counts("the command", |counts| counts.commands >= 2);
    gate.send(()).unwrap();
    for sql in ["wait", "SELECT 'second'"] {
        let expected = client.echoed(sql);
        client.expect(&expected).unwrap();
    }
    client.closed().unwrap();
    bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
}

fn pipelined_in_one_write(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    let statements: Vec<String> = (0..200).map(|n| format!("SELECT {n}")).collect();
    let mut bytes = Vec::new();
    for sql in &statements {
        bytes.extend(RawClient::query_packet(sql));
        bytes.extend([1, 0, 0, 0, 0x0E]);
    }
    client.send(&bytes).unwrap();
    let ok = Packets::new(1, client.capabilities).ok().bytes();
    for sql in &statements {
        let expected = client.echoed(sql);
        client.expect(&expected).unwrap();
        client.expect(&ok).unwrap();
    }
    drop(client);
    // 400 here, one of the witness at the start and one at the end.
    bed.finish(&[("commands", 402), ("replies", 402)]);
}

fn too_many_pipelined(driver: &str) {
    let (script, gate) = gated();
    let setting = Setting::default().script(script).limit("pipelined_commands_max", 4);
    let bed = setting.start(driver);
    let mut client = bed.client();
    client.send_query("wait").unwrap();
    for n in 1..=4 {
        client.send_query(&format!("SELECT {n}")).unwrap();
    }
    let error = client.error().unwrap();
    assert!(error.text.contains("pipelined_commands_max"), "{error:?}");
    client.closed().unwrap();
    gate.send(()).unwrap();
    bed.finish(&[("limit_faults", 1)]);
}

fn local_infile(driver: &str) {
    let script = Script::default().responding(|talk, command| {
        if command != b"\x03load" {
            return echo(talk, command);
        }
        let request = talk.reply().payload(b"\xFBfile.csv").bytes();
        talk.send(&request)?;
        let mut lines = Vec::new();
        loop {
            let piece = talk.packet()?;
            if piece.is_empty() {
                break;
            }
            lines.extend(piece);
        }
        // What arrived comes back, so that the client can compare.
        let reply = talk.reply().error(1234, &String::from_utf8_lossy(&lines)).bytes();
        talk.send(&reply)
    });
    let bed = Setting::default().script(script).start(driver);
    let mut client = bed.client();
    for pieces in [&["1,one\n", "2,two\n"][..], &[]] {
        client.send_query("load").unwrap();
        assert_eq!(client.packet().unwrap(), (1, b"\xFBfile.csv".to_vec()));
        let mut seq = 2;
        for piece in pieces {
            client.send_packet(seq, piece.as_bytes()).unwrap();
            seq += 1;
        }
        client.send_packet(seq, b"").unwrap();
        let expected = ServerError { seq: seq + 1, code: 1234, text: pieces.concat() };
        assert_eq!(client.error().unwrap(), expected);
    }
    client.echo("SELECT 'goes on'").unwrap();
    drop(client);
    bed.finish(&[("client_faults", 0), ("backend_faults", 0), ("reply_errors", 2)]);
}

/// The server dies in the middle of a file. A client listens only at the file's end, and then finds
/// an error with the number it counts to.
fn local_infile_cut_by_the_server(driver: &str) {
    let script = Script::default().responding(|talk, command| {
        if command != b"\x03load" {
            return echo(talk, command);
        }
        let request = talk.reply().payload(b"\xFBfile.csv").bytes();
        talk.send(&request)?;
        talk.packet()?;
        Ok(weir_tests::Next::Close)
    });
    let bed = Setting::default().script(script).start(driver);
    let mut client = bed.client();
    client.send_query("load").unwrap();
    assert_eq!(client.packet().unwrap(), (1, b"\xFBfile.csv".to_vec()));
    client.send_packet(2, b"1,one\n").unwrap();
    // Only the witness is left there; then comes the rest of the file.
    bed.wait_counts("the server to close", |counts| counts.open == 1);
    for seq in 3..200 {
        client.send_packet(seq, &[b'x'; 5000]).unwrap();
    }
    client.send_packet(200, b"").unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.seq, error.code), (201, 1053), "{error:?}");
    client.closed().unwrap();
    bed.finish(&[("backend_faults", 1)]);
}

/// Attributes reach a server that knows them, byte for byte.
fn command_query_attributes_are_relayed(driver: &str) {
    let script = Script::default().responding(|talk, command| {
        if !command.starts_with(b"\x03\x01") {
            return echo(talk, command);
        }
        let reply = talk.reply().error(1234, &command.escape_ascii().to_string()).bytes();
        talk.send(&reply)
    });
    let mut setting = Setting::default().script(script);
    setting.script.capabilities = setting.script.capabilities.union(Capabilities::QUERY_ATTRIBUTES);
    let bed = setting.start_without_check(driver);
    let mut client = bed.client();
    let command = b"\x03\x01\x01\0\x01\xFE\0\x04name\x05valueSELECT 1";
    client.send_packet(0, command).unwrap();
    assert_eq!(client.error().unwrap().text, command.escape_ascii().to_string());
}

fn command_stmt_bulk_execute_is_answered_as_an_execute(driver: &str) {
    let bulk = Capabilities::MARIADB_STMT_BULK_OPERATIONS;
    let script = Script::default().responding(|talk, command| {
        if command.first() != Some(&0xFA) {
            return echo(talk, command);
        }
        let reply = talk.reply().result_set([&command[1..]]).bytes();
        talk.send(&reply)
    });
    let mut setting = Setting::default().script(script);
    setting.script.capabilities =
        setting.script.capabilities.without(Capabilities::LONG_PASSWORD).union(bulk);
    let bed = setting.start(driver);
    let login = account().with(bulk);
    let mut client = RawClient::log_in(bed.weir.address(), &login).unwrap();
    client.send_packet(0, b"\xFAparameters").unwrap();
    let expected = Packets::new(1, client.capabilities).result_set(["parameters"]).bytes();
    client.expect(&expected).unwrap();
    client.echo("SELECT 'behind it'").unwrap();
    drop(client);
    bed.finish(&[("backend_faults", 0)]);
}

/// A server that switches plugins for COM_CHANGE_USER, as real ones do, and then answers by name.
fn changing() -> Script {
    Script::default().responding(|talk, command| {
        let Some((0x11, rest)) = command.split_first() else { return echo(talk, command) };
        let switch =
            [b"\xFEmysql_native_password\0".as_slice(), b"12345678901234567890\0"].concat();
        let switch = talk.reply().payload(&switch).bytes();
        talk.send(&switch)?;
        let answer = talk.packet()?;
        assert_eq!(answer.len(), 20);
        let reply = match rest.split(|byte| *byte == 0).next() {
            Some(b"app") => talk.reply().ok(),
            _ => talk.reply().error(1044, "Access denied to database"),
        };
        talk.send(&reply.bytes())
    })
}

fn command_change_user_on_the_sessions_own_connection(driver: &str) {
    let mut setting = Setting::default().script(changing());
    // As MariaDB, which lets the session go on after a failure.
    setting.script.capabilities = setting.script.capabilities.without(Capabilities::LONG_PASSWORD);
    let bed = setting.start(driver);
    let mut client = bed.client();
    client.echo("SELECT 'counted by now'").unwrap();
    let logins = bed.server.counts().logins;
    assert_eq!(client.change_user("app", "secret", None).unwrap(), (2, Ok(())));
    client.echo("SELECT 'goes on'").unwrap();
    let (_, outcome) = client.change_user("app", "wrong", None).unwrap();
    let error = outcome.unwrap_err();
    assert_eq!((error.seq, error.code), (3, 1045));
    assert_eq!(error.text, "Access denied for user 'app'@'127.0.0.1' (using password: YES)");
    client.echo("SELECT 'as before'").unwrap();
    assert_eq!(bed.server.counts().logins, logins, "no other connection was made");
    drop(client);
    bed.finish(&[("client_faults", 0), ("backend_faults", 0), ("logins_denied", 1)]);
}

fn command_process_kill_names_the_servers_thread(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    // The scripted server calls every connection 7.
    let id = bed.witness.connection_id;
    client.send_packet(0, &[&[0x0C][..], &id.to_le_bytes()].concat()).unwrap();
    let expected = client.echoed("KILL 7");
    client.expect(&expected).unwrap();
    client.send_query(&format!("KILL QUERY {id}")).unwrap();
    let expected = client.echoed("KILL QUERY 7");
    client.expect(&expected).unwrap();
    client.send_query("KILL 1000000").unwrap();
    let error = client.error().unwrap();
    assert_eq!((error.code, error.text.as_str()), (1094, "Unknown thread id: 1000000"));
    drop(client);
    bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
}

fn quits(driver: &str) {
    let bed = Bed::start(driver);
    let mut client = bed.client();
    // What is pipelined before COM_QUIT is answered, what follows it is not.
    let mut bytes = RawClient::query_packet("SELECT 'last'").to_vec();
    bytes.extend([1, 0, 0, 0, 0x01]);
    bytes.extend(RawClient::query_packet("SELECT 'too late'"));
    client.send(&bytes).unwrap();
    let expected = client.echoed("SELECT 'last'");
    client.expect(&expected).unwrap();
    client.closed().unwrap();
    bed.finish(&[("client_faults", 0), ("backend_faults", 0)]);
}
