//! Clients that tell their password, at the login and at a change of account.

use super::*;
use crate::wire::{AuthSwitch, ChangeUser};

const KEY: &str = include_str!("../../../testdata/rsa-key.pem");
const DENIED: &[u8] = b"\xFF\x15\x04#28000Access denied for user 'sha2'@'weir'";

/// What several sessions share.
struct Shared {
    remembered: Arc<Remembered>,
    rsa_key: Arc<RsaKey>,
    pass_through: bool,
}

impl Shared {
    fn new() -> Self {
        let rsa_key = Arc::new(RsaKey::from_pem(KEY).unwrap());
        Self { remembered: Arc::default(), rsa_key, pass_through: false }
    }

    fn context(&self, secure: bool) -> LoginContext {
        LoginContext {
            remembered: Arc::clone(&self.remembered),
            rsa_key: Some(Arc::clone(&self.rsa_key)),
            is_secure: secure,
            pass_through: self.pass_through,
            ..context(&server(SHA2), NONCE)
        }
    }

    fn greeted(&self, secure: bool) -> Pair {
        let mut pair = Pair::with_context(self.context(secure));
        pair.client_got();
        pair
    }

    fn known(&self) -> usize {
        self.remembered.counts().0
    }
}

/// A client of `caching_sha2_password`, as Weir is one toward backends.
struct Client {
    auth: BackendAuth,
    piece: usize,
}

impl Client {
    fn new(password: &str, secure: bool, nonce: [u8; 20], piece: usize) -> (Self, Vec<u8>) {
        let user = User::new(String::new(), Secret::Clear(password.into()));
        let mut auth = BackendAuth::new(Proof::Clear(Arc::new(user)), secure, SEED);
        let first = auth.first_response(SHA2.as_bytes(), &nonce).unwrap();
        (Self { auth, piece }, first)
    }

    /// Answers what the session says until it says nothing; its first bytes and sequence ids.
    fn answer(&mut self, pair: &mut Pair) -> Vec<(u8, u8)> {
        let mut said = Vec::new();
        loop {
            let got = pair.client_got();
            if got.is_empty() {
                return said;
            }
            for (seq, payload) in got {
                said.push((seq, payload[0]));
                let mut out = BytesMut::new();
                self.auth.on_packet(&payload, seq + 1, &mut out);
                for bytes in out.chunks(self.piece) {
                    pair.client(bytes);
                }
            }
            if pair.sealed.is_some() {
                pair.open();
            }
        }
    }
}

/// A login up to where a backend is asked for.
fn log_in(
    shared: &Shared,
    user: &str,
    password: &str,
    secure: bool,
    piece: usize,
) -> (Pair, Vec<(u8, u8)>) {
    let mut pair = shared.greeted(secure);
    let (mut client, first) = Client::new(password, secure, NONCE, piece);
    for bytes in login(NEW, user, Some(SHA2), &first).chunks(piece) {
        pair.client(bytes);
    }
    let said = client.answer(&mut pair);
    (pair, said)
}

fn password_of(proof: &Proof) -> Vec<u8> {
    let Secret::Clear(password) = &proof.account().expect("a password").secret else {
        panic!("no password: {proof:?}")
    };
    password.clone()
}

#[test]
fn who_has_told_its_password_is_not_asked_again() {
    for user in ["sha2", "native"] {
        for (secure, asked) in [
            (true, &[(2, 1)][..]),
            // 01 04, then the key.
            (false, &[(2, 1), (4, 1)]),
        ] {
            if user == "native" && !secure {
                continue;
            }
            for piece in [1, 2, 3, 7, 100, usize::MAX] {
                let shared = Shared::new();
                let (mut pair, said) = log_in(&shared, user, "secret", secure, piece);
                assert_eq!(said, asked, "{user} {secure} in pieces of {piece}");
                assert_eq!(password_of(&pair.lease.as_ref().unwrap().proof), b"secret");
                assert_eq!(shared.known(), 0, "no backend has taken it");
                pair.grant(NEW, LOGIN_OK);
                let seq = if secure { 4 } else { 6 };
                assert_eq!(pair.client_got(), [(seq, LOGIN_OK.to_vec())]);
                assert_eq!(shared.known(), 1);
                // On any channel, and by a stranger not at all.
                for secure in [true, false] {
                    let (pair, said) = log_in(&shared, user, "secret", secure, piece);
                    assert_eq!(said, [(2, 1)], "01 03");
                    assert_eq!(password_of(&pair.lease.unwrap().proof), b"secret");
                    let (pair, said) = log_in(&shared, user, "wrong", secure, piece);
                    assert_eq!((said, pair.closed), (vec![(2, 0xFF)], true));
                }
            }
        }
    }
}

/// Cut at every byte, and with a command behind it.
#[test]
fn an_exchange_may_be_cut_anywhere() {
    let (mut client, first) = Client::new("secret", true, NONCE, usize::MAX);
    let mut rest = BytesMut::new();
    client.auth.on_packet(&[1, 4], 3, &mut rest);
    rest.extend_from_slice(&query());
    for cut in 0..=rest.len() {
        let shared = Shared::new();
        let mut pair = shared.greeted(true);
        pair.client(&login(NEW, "sha2", Some(SHA2), &first));
        assert_eq!(pair.client_got(), [(2, vec![1, 4])]);
        pair.client(&rest[..cut]);
        pair.client(&rest[cut..]);
        pair.grant(NEW, LOGIN_OK);
        assert_eq!(pair.backend_got(), query());
        // Or the client goes away there.
        let shared = Shared::new();
        let mut pair = shared.greeted(true);
        pair.client(&login(NEW, "sha2", Some(SHA2), &first));
        pair.client(&rest[..cut.min(10)]);
        pair.client_ends();
        assert!(pair.closed && pair.lease.is_none());
    }
}

#[test]
fn what_comes_while_a_password_is_opened_waits() {
    let shared = Shared::new();
    let mut pair = shared.greeted(false);
    let (mut client, first) = Client::new("secret", false, NONCE, usize::MAX);
    pair.client(&login(NEW, "sha2", Some(SHA2), &first));
    let mut out = BytesMut::new();
    client.auth.on_packet(&[1, 4], 3, &mut out);
    pair.client(&out.split());
    let key = pair.client_got().pop().unwrap();
    client.auth.on_packet(&key.1, 5, &mut out);
    pair.client(&[&out[..], &query()].concat());
    pair.client(&query());
    assert!(pair.lease.is_none() && pair.client_got().is_empty());
    pair.open();
    pair.grant(NEW, LOGIN_OK);
    assert_eq!(pair.backend_got(), [query(), query()].concat());
    // One that is opened too late is nobody's.
    let mut pair = shared.greeted(false);
    pair.client_ends();
    assert!(pair.session.on_opened(None).is_ok() && pair.closed);
}

#[test]
fn a_wrong_password_is_denied_however_it_is_told() {
    let denied = "Access denied for user 'sha2'@'127.0.0.1' (using password: YES)";
    for secure in [true, false] {
        let shared = Shared::new();
        let mut pair = shared.greeted(secure);
        let (_, first) = Client::new("secret", secure, NONCE, usize::MAX);
        pair.client(&login(NEW, "sha2", Some(SHA2), &first));
        pair.client_got();
        if secure {
            pair.client(&packet(3, b"wrong\0"));
        } else {
            pair.client(&packet(3, &[9; 256]));
            pair.open();
        }
        assert_eq!(pair.client_error(), (4, 1045, denied.to_owned()));
        assert!(pair.closed && pair.lease.is_none() && shared.known() == 0);
    }
}

#[test]
fn a_backend_that_refuses_a_password_makes_it_forgotten() {
    let shared = Shared::new();
    let (mut pair, _) = log_in(&shared, "sha2", "secret", true, usize::MAX);
    pair.refuse(DENIED);
    assert_eq!((pair.client_error().1, shared.known()), (1045, 0), "it was never right");
    let (mut pair, _) = log_in(&shared, "sha2", "secret", true, usize::MAX);
    pair.grant(NEW, LOGIN_OK);
    for (err, known) in [(&b"\xFF\x19\x04#42000Unknown database"[..], 1), (DENIED, 0)] {
        let (mut pair, said) = log_in(&shared, "sha2", "secret", true, usize::MAX);
        assert_eq!(said, [(2, 1)]);
        pair.refuse(err);
        assert_eq!(shared.known(), known);
    }
}

/// A logged-in session that wants another account; what came of the exchange.
fn change(shared: &Shared, password: &str, secure: bool) -> (Pair, Vec<(u8, u8)>) {
    let mut pair = shared.greeted(secure);
    pair.client(&login(NEW, "open", Some(SHA2), &[0]));
    pair.grant(NEW, LOGIN_OK);
    pair.client_got();
    pair.new_context = Some(LoginContext { nonce: NEW_NONCE, ..shared.context(secure) });
    let mut wish = BytesMut::new();
    ChangeUser {
        user: b"sha2".to_vec(),
        database: None,
        collation: 45,
        plugin: Some(SHA2.as_bytes().to_vec()),
        connect_attrs: None,
    }
    .encode(NEW, &mut wish);
    pair.client(&wish);
    let got = pair.client_got();
    let switch = AuthSwitch::parse(&got[0].1).unwrap();
    assert_eq!(switch.plugin, SHA2.as_bytes());
    let (mut client, first) = Client::new(password, secure, NEW_NONCE, 3);
    pair.client(&packet(2, &first));
    let said = client.answer(&mut pair);
    (pair, said)
}

#[test]
fn a_change_of_account_may_need_the_password_too() {
    for (secure, asked) in [(true, &[(3, 1)][..]), (false, &[(3, 1), (5, 1)])] {
        let shared = Shared::new();
        let (mut pair, said) = change(&shared, "secret", secure);
        assert_eq!(said, asked);
        let (user, proof) = pair.change.take().unwrap().user.unwrap();
        assert_eq!((user.user, password_of(&proof)), (b"sha2".to_vec(), b"secret".to_vec()));
        assert_eq!(shared.known(), 0);
        pair.answer(|session, edits, ledger| session.on_user_changed(LOGIN_OK, edits, ledger));
        let seq = if secure { 5 } else { 7 };
        assert_eq!(pair.client_got(), [(seq, LOGIN_OK.to_vec())]);
        assert_eq!(shared.known(), 1);
        let (mut pair, said) = change(&shared, "secret", secure);
        assert_eq!(said, [(3, 1)], "01 03");
        pair.answer(|session, edits, ledger| session.on_user_refused(DENIED, edits, ledger));
        assert_eq!((pair.client_error().1, shared.known()), (1045, 0));
    }
}

#[test]
fn a_stranger_is_remembered_once_a_backend_has_taken_its_password() {
    for (secure, asked) in [(true, &[(2, 1)][..]), (false, &[(2, 1), (4, 1)])] {
        let shared = Shared { pass_through: true, ..Shared::new() };
        let log_in = |password: &str| log_in(&shared, "stranger", password, secure, 5);
        let (mut pair, said) = log_in("first");
        assert_eq!(said, asked);
        pair.refuse(DENIED);
        let text = "Access denied for user 'stranger'@'127.0.0.1' (using password: YES)";
        let seq = if secure { 4 } else { 6 };
        assert_eq!(
            pair.client_error(),
            (seq, 1045, text.to_owned()),
            "by the client's own address"
        );
        assert_eq!(shared.known(), 0);
        let (mut pair, _) = log_in("first");
        pair.grant(NEW, LOGIN_OK);
        assert_eq!(shared.known(), 1);
        assert_eq!(log_in("first").1, [(2, 1)], "01 03");
        // A new password is asked for, and takes the old one's place.
        let (mut pair, said) = log_in("second");
        assert_eq!(said, asked);
        pair.grant(NEW, LOGIN_OK);
        assert_eq!((shared.known(), log_in("second").1), (1, vec![(2, 1)]));
        // The old one is asked for then, and is the backend's to refuse: the new one stays.
        let (mut pair, said) = log_in("first");
        assert_eq!(said, asked);
        pair.refuse(DENIED);
        assert_eq!(shared.known(), 1);
        let (mut pair, _) = log_in("second");
        pair.refuse(DENIED);
        assert_eq!(shared.known(), 0, "a remembered one that is refused is forgotten");
    }
}

#[test]
fn a_stranger_without_a_password_is_the_backends_to_judge() {
    let shared = Shared { pass_through: true, ..Shared::new() };
    for (refuse, known) in [(false, 0), (true, 0)] {
        let mut pair = shared.greeted(false);
        pair.client(&login(NEW, "stranger", Some(SHA2), &[0]));
        assert_eq!(pair.lease.as_ref().unwrap().proof, Proof::Empty);
        if refuse {
            pair.refuse(DENIED);
            let text = "Access denied for user 'stranger'@'127.0.0.1' (using password: NO)";
            assert_eq!(pair.client_error(), (2, 1045, text.to_owned()));
        } else {
            pair.grant(NEW, LOGIN_OK);
        }
        assert_eq!(shared.known(), known);
    }
}

#[test]
fn a_client_too_old_to_tell_is_told_so() {
    let shared = Shared { pass_through: true, ..Shared::new() };
    let mut pair = shared.greeted(false);
    let old = OLD.without(Capabilities::PLUGIN_AUTH);
    pair.client(&login(old, "stranger", None, &[7; 20]));
    let (seq, code, text) = pair.client_error();
    assert_eq!((seq, code, pair.closed), (2, 1251, true));
    assert!(text.starts_with("Client does not support authentication protocol"), "{text}");
}
