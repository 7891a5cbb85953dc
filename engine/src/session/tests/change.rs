//! COM_CHANGE_USER: who the client is now, and what the backend makes of it.

use super::*;
use crate::wire::{AuthSwitch, ChangeUser};

const ALL: Capabilities = NEW.union(Capabilities::CONNECT_ATTRS);

fn change(user: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    wish(user).encode(ALL, &mut out);
    out.to_vec()
}

fn wish(user: &str) -> ChangeUser {
    ChangeUser {
        user: user.as_bytes().to_vec(),
        database: Some(b"shop".to_vec()),
        collation: 33,
        plugin: Some(b"mysql_native_password".to_vec()),
        connect_attrs: Some(b"\x01a\x01b".to_vec()),
    }
}

/// The answer to a nonce.
fn proof(password: &str, nonce: &[u8]) -> Vec<u8> {
    let user = User::new(String::new(), Secret::Clear(password.into()));
    let mut auth = BackendAuth::new(Proof::Clear(Arc::new(user)), false, SEED);
    auth.first_response(NATIVE.as_bytes(), nonce).unwrap()
}

/// A session on MySQL or MariaDB, logged in.
fn session(is_mariadb: bool) -> Pair {
    let mut server = server(NATIVE);
    server.capabilities =
        server.capabilities.union(ALL).set(Capabilities::LONG_PASSWORD, !is_mariadb);
    let mut pair = Pair::greeted(server);
    let mut request = request(ALL, "open", Some(NATIVE), &[]);
    request.connect_attrs = Some(Vec::new());
    let mut out = BytesMut::new();
    request.encode(1, &mut out);
    pair.client(&out);
    pair.grant(ALL, LOGIN_OK);
    pair.sides = Sides::default();
    pair
}

impl Pair {
    /// Takes the switch the client got; gives its answer, made with `password`.
    fn switched(&mut self, password: &str) -> Vec<u8> {
        let got = self.client_got();
        let [(1, payload)] = &got[..] else { panic!("no switch: {got:?}") };
        let switch = AuthSwitch::parse(payload).unwrap();
        assert_eq!(switch.plugin, NATIVE.as_bytes());
        assert_eq!(&switch.data[..20], NEW_NONCE);
        packet(2, &proof(password, &NEW_NONCE))
    }

    fn changed(&mut self, ok: &[u8]) {
        self.change = None;
        self.answer(|session, edits, ledger| session.on_user_changed(ok, edits, ledger));
    }

    fn refused(&mut self, err: &[u8]) {
        self.change = None;
        self.answer(|session, edits, ledger| session.on_user_refused(err, edits, ledger));
    }
}

#[test]
fn command_change_user_proves_the_account_and_carries_everything() {
    for client_pieces in [1, 6, 1000] {
        let mut pair = session(true);
        change("clear").chunks(client_pieces).for_each(|bytes| pair.client(bytes));
        assert!(!pair.session.is_at_rest());
        assert_eq!(pair.session.deadline(), LOGIN_OVER);
        let answer = pair.switched("secret");
        assert!(pair.change.is_none() && pair.backend_got().is_empty());
        answer.chunks(client_pieces).for_each(|bytes| pair.client(bytes));
        let (command, proof) = pair.change.take().unwrap().user.unwrap();
        assert_eq!(command, wish("clear"));
        assert!(matches!(proof, Proof::Clear(_) | Proof::NativeStage1(_)));
        assert!(!pair.session.is_at_rest() && pair.client_got().is_empty());
        pair.changed(&[0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(pair.client_got(), [(3, vec![0, 0, 0, 2, 0, 0, 0])]);
        assert!(pair.session.is_at_rest() && pair.session.deadline() == Time::NEVER);
        pair.client(&query());
        assert_eq!(pair.backend_got(), query());
    }
}

#[test]
fn trackers_of_the_new_session_go_to_clients_that_know_them() {
    let ok = b"\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04shop";
    for (client, want) in [(NEW, &ok[..]), (OLD, &[0, 0, 0, 2, 0, 0, 0])] {
        let mut pair = Pair::logged_in(client);
        pair.client(&change("open"));
        let answer = pair.switched("");
        pair.client(&answer);
        pair.changed(ok);
        assert_eq!(pair.client_got(), [(3, want.to_vec())]);
    }
}

/// What is before it is answered first; what is behind it waits.
#[test]
fn command_change_user_keeps_its_place_among_pipelined_commands() {
    for piece in [1, 5, 1000] {
        let mut pair = session(true);
        let bytes = [query(), query(), change("open")].concat();
        bytes.chunks(piece).for_each(|bytes| pair.client(bytes));
        assert_eq!(pair.backend_got(), [query(), query()].concat());
        pair.backend(&ok(1, Status::AUTOCOMMIT));
        assert_eq!(pair.client_got().len(), 1, "one more is owed");
        pair.backend(&ok(1, Status::AUTOCOMMIT));
        assert_eq!(pair.client_got()[0].1[0], 0);
        // The switch came with the second answer.
        let mut pair = session(true);
        pair.client(&change("open"));
        let answer = pair.switched("");
        let bytes = [answer, query(), command(&[0x1D]), query()].concat();
        bytes.chunks(piece).for_each(|bytes| pair.client(bytes));
        assert!(pair.backend_got().is_empty() && pair.client_got().is_empty());
        pair.changed(LOGIN_OK);
        assert_eq!(pair.backend_got(), [query(), query()].concat());
        pair.backend(&[ok(1, Status::AUTOCOMMIT), ok(1, Status::AUTOCOMMIT)].concat());
        let firsts: Vec<_> = pair.client_got().iter().map(|(s, p)| (*s, p[0])).collect();
        assert_eq!(firsts, [(3, 0), (1, 0), (1, 0xFF), (1, 0)]);
        assert!(pair.session.is_at_rest());
    }
}

/// As MariaDB 10.11 does: the session is reset, the old account goes on, and after three failures
/// the command is unknown.
#[test]
fn command_change_user_that_fails_leaves_the_old_account_on_mariadb() {
    let mut pair = session(true);
    for (user, password) in [("clear", "wrong"), ("nobody", "x"), ("native", "")] {
        pair.client(&change(user));
        let answer = pair.switched(password);
        pair.client(&[answer, query()].concat());
        assert!(pair.change.take().unwrap().user.is_none(), "only a reset");
        assert!(pair.client_got().is_empty() && pair.backend_got().is_empty());
        pair.changed(LOGIN_OK);
        let used = if password.is_empty() { "NO" } else { "YES" };
        let text = format!("Access denied for user '{user}'@'127.0.0.1' (using password: {used})");
        let (seq, code, said) = pair.client_error();
        assert_eq!((seq, code, said), (3, 1045, text));
        assert_eq!(pair.backend_got(), query());
        pair.backend(&ok(1, Status::AUTOCOMMIT));
        pair.client_got();
    }
    pair.client(&change("open"));
    assert!(pair.change.take().unwrap().user.is_none(), "it is reset all the same");
    pair.changed(LOGIN_OK);
    assert_eq!(pair.client_error(), (1, 1047, UNKNOWN_COMMAND.to_owned()));
    assert!(pair.session.is_at_rest());
}

/// As MySQL 9.7 does.
#[test]
fn command_change_user_that_fails_ends_the_session_on_mysql() {
    let mut pair = session(false);
    pair.client(&change("clear"));
    let answer = pair.switched("wrong");
    pair.client(&answer);
    let (seq, code, _) = pair.client_error();
    assert_eq!((seq, code), (3, 1045));
    assert!(pair.closed && pair.change.is_none());
    let mut pair = session(false);
    pair.client(&change("open"));
    let answer = pair.switched("");
    pair.client(&answer);
    pair.refused(b"\xFF\x14\x04#42000Access denied to database");
    assert_eq!(pair.client_error().1, 1044);
    assert!(pair.closed);
}

#[test]
fn a_backends_refusal_is_passed_on_and_counted() {
    let mut pair = session(true);
    for _ in 0..3 {
        pair.client(&change("open"));
        let answer = pair.switched("");
        pair.client(&answer);
        pair.refused(b"\xFF\x14\x04#42000Access denied to database");
        let (seq, code, text) = pair.client_error();
        assert_eq!((seq, code, text.as_str()), (3, 1044, "Access denied to database"));
        assert!(pair.session.is_at_rest());
    }
    pair.client(&change("open"));
    pair.changed(LOGIN_OK);
    assert_eq!(pair.client_error().1, 1047);
}

#[test]
fn exchanges_that_break_off() {
    let begun = |answered: bool| {
        let mut pair = session(true);
        pair.client(&change("open"));
        let answer = pair.switched("");
        if answered {
            pair.client(&answer);
        }
        pair
    };
    // The backend goes.
    for (answered, seq) in [(false, 2), (true, 3)] {
        let mut pair = begun(answered);
        pair.backend_ends();
        let error = pair.client_error();
        assert_eq!((error.0, error.1), (seq, 1053));
    }
    // Time is over.
    let mut pair = begun(false);
    pair.at(LOGIN_OVER);
    assert!(pair.closed);
    // The client goes: nothing may complete what was begun.
    for answered in [false, true] {
        let mut pair = begun(answered);
        pair.client_ends();
        assert!(pair.closed && pair.backend_got().is_empty());
    }
    // The client says something else.
    let mut pair = begun(false);
    pair.client(&query());
    assert_eq!(pair.client_error().1, 1156);
    // Or too much.
    let mut pair = begun(true);
    pair.client(&query().repeat(20_000));
    assert_eq!(pair.client_error().1, 1153);
    // A command that does not parse.
    let mut pair = session(true);
    pair.client(&command(b"\x11app"));
    assert_eq!(pair.client_error(), (1, 1047, UNKNOWN_COMMAND.to_owned()));
    assert!(pair.session.is_at_rest());
}
