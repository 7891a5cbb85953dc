//! Clients that are asked for their password itself.

use zeroize::Zeroizing;

use super::*;
use crate::auth::{Account, Channel, RsaKey};

const KEY: &str = include_str!("../../../testdata/rsa-key.pem");

fn key() -> Arc<RsaKey> {
    Arc::new(RsaKey::from_pem(KEY).unwrap())
}

fn claim(secret: Secret, channel: Channel) -> Claim {
    Claim { channel, ..Claim::of(user(secret)) }
}

/// A login by `caching_sha2_password` with the right answer to `password`.
fn log_in(claim: Claim, password: &str) -> (ClientAuth, ClientStep, BytesMut) {
    let mut out = BytesMut::new();
    let request = request(Some(SHA2), &sha2_of(password));
    let (auth, step) = ClientAuth::start(&request, claim, NONCE, Plugin::CachingSha2, 2, &mut out);
    (auth, step, out)
}

/// One that was asked.
fn asked(claim: Claim, password: &str) -> ClientAuth {
    let (auth, step, mut out) = log_in(claim, password);
    assert_eq!((step, auth.next_seq()), (ClientStep::Continue, 3));
    assert_eq!(payload(&mut out, 2), [1, 4]);
    auth
}

/// The password of an account that was let in by telling it.
fn told(auth: &ClientAuth, step: &ClientStep) -> Vec<u8> {
    let ClientStep::Accepted(Proof::Clear(account)) = step else { panic!("{step:?}") };
    assert!(auth.has_told() && auth.used_password());
    assert_eq!(account.name, "app");
    let Secret::Clear(password) = &account.secret else { panic!() };
    password.clone()
}

fn opened(step: ClientStep) -> Option<Zeroizing<Vec<u8>>> {
    let ClientStep::Open(sealed) = step else { panic!("{step:?}") };
    assert_eq!(format!("{sealed:?}"), "Sealed(…)");
    sealed.open(&seed())
}

/// The client's side, by the machine that is Weir's toward backends.
fn sealed(password: &str) -> Vec<u8> {
    let mut client = BackendAuth::new(Proof::Clear(user(clear(password)).unwrap()), false, seed());
    client.first_response(SHA2, &NONCE).unwrap();
    let mut out = BytesMut::new();
    client.on_packet(&[1, 4], 3, &mut out);
    assert_eq!(payload(&mut out, 3), [2]);
    let pem = [&[1], key().public_pem().as_bytes()].concat();
    client.on_packet(&pem, 5, &mut out);
    out[4..].to_vec()
}

#[test]
fn a_hash_is_not_enough_where_the_password_can_be_had() {
    for (secret, first) in [(sha2_hash("s"), "s"), (native_hash("s"), "s"), (native_hash("s"), "x")]
    {
        let mut auth = asked(claim(secret.clone(), Channel::Secure), first);
        let mut out = BytesMut::new();
        let step = auth.on_packet(b"s\0", 4, &mut out);
        assert_eq!(told(&auth, &step), b"s");
        assert!(out.is_empty());
        // Whatever comes after the end changes nothing.
        assert_eq!(auth.on_packet(b"s\0", 6, &mut out), ClientStep::Denied);
        for wrong in [b"t\0".as_slice(), b"s", b"", b"\0", b"s\0s\0", b"\x02", &[b'x'; 256]] {
            let mut auth = asked(claim(secret.clone(), Channel::Secure), first);
            assert_eq!(auth.on_packet(wrong, 4, &mut out), ClientStep::Denied, "{wrong:?}");
            assert!(out.is_empty() && !auth.has_told() && auth.used_password());
        }
    }
}

#[test]
fn where_others_may_read_it_is_sealed() {
    let (sha2, password) = (sha2_hash("pass\u{e4}"), "pass\u{e4}");
    let mut out = BytesMut::new();
    let mut auth = asked(claim(sha2.clone(), Channel::Sealed(key())), password);
    for seq in [4, 6] {
        // Asked again, it is said again.
        assert_eq!(auth.on_packet(&[2], seq, &mut out), ClientStep::Continue);
        assert_eq!(auth.next_seq(), seq + 1);
        let packet = out.split();
        assert_eq!(packet[3..5], [seq, 1]);
        assert_eq!(packet[5..], *key().public_pem().as_bytes());
    }
    let password = opened(auth.on_packet(&sealed(password), 8, &mut out)).unwrap();
    assert_eq!(auth.next_seq(), 8);
    let step = auth.on_opened(Some(&password));
    assert_eq!(told(&auth, &step), "pass\u{e4}".as_bytes());
    assert_eq!(auth.on_opened(Some(&password)), ClientStep::Denied, "that was over");

    // A client that has the key in a file does not ask for it.
    let mut auth = asked(claim(sha2.clone(), Channel::Sealed(key())), "pass\u{e4}");
    let password = opened(auth.on_packet(&sealed("wrong"), 4, &mut out)).unwrap();
    assert_eq!(**password, *b"wrong\0");
    assert_eq!(auth.on_packet(b"more", 6, &mut out), ClientStep::Denied, "it waits");
    let mut auth = asked(claim(sha2.clone(), Channel::Sealed(key())), "pass\u{e4}");
    let password = opened(auth.on_packet(&sealed("wrong"), 4, &mut out)).unwrap();
    assert_eq!(auth.on_opened(Some(&password)), ClientStep::Denied);
    let mut auth = asked(claim(sha2.clone(), Channel::Sealed(key())), "pass\u{e4}");
    assert_eq!(opened(auth.on_packet(&[7; 256], 4, &mut out)), None);
    assert_eq!(auth.on_opened(None), ClientStep::Denied);
    // In clear it is not taken, and an ERR says nothing about it.
    for readable in ["pass\u{e4}\0".as_bytes(), b"", &[7; 255], &[7; 257], &[2, 2]] {
        let mut auth = asked(claim(sha2.clone(), Channel::Sealed(key())), "pass\u{e4}");
        assert_eq!(auth.on_packet(readable, 4, &mut out), ClientStep::Denied);
    }
    assert!(out.is_empty());
}

#[test]
fn nobody_is_asked_in_vain() {
    let channels = [Channel::Open, Channel::Secure, Channel::Sealed(key())];
    for channel in channels {
        let wrong = |secret| log_in(claim(secret, channel.clone()), "wrong").1;
        assert_eq!(wrong(sha2_hash("s")), ClientStep::Denied);
        assert_eq!(wrong(clear("s")), ClientStep::Denied);
        let nobody = Claim { channel: channel.clone(), ..Claim::of(None) };
        assert!(matches!(nobody.account, Account::Nobody));
        assert_eq!(log_in(nobody, "no such user").1, ClientStep::Denied);
        let (auth, step, mut out) = log_in(claim(clear("s"), channel), "s");
        assert!(matches!(step, ClientStep::Accepted(Proof::Clear(_))), "{step:?}");
        assert!(!auth.has_told());
        assert_eq!(payload(&mut out, 2), [1, 3]);
    }
}

/// Older clients do not seal, and know both plugins; newer ones use TLS.
#[test]
fn a_native_hash_is_asked_about_by_its_own_plugin_unless_nobody_listens() {
    let switched = |channel, remembered: Option<Arc<User>>| {
        let claim = Claim { remembered, ..claim(native_hash("s"), channel) };
        let (_, step, mut out) = log_in(claim, "s");
        let packet = payload(&mut out, 2);
        (step, packet[0] == 0xFE && packet[1..].starts_with(NATIVE))
    };
    for channel in [Channel::Open, Channel::Sealed(key())] {
        assert_eq!(switched(channel.clone(), None), (ClientStep::Continue, true));
        let app = user(clear("s")).unwrap();
        let accepted = ClientStep::Accepted(Proof::Clear(Arc::clone(&app)));
        assert_eq!(switched(channel, Some(app)), (accepted, false));
    }
    assert_eq!(switched(Channel::Secure, None), (ClientStep::Continue, false));
}

#[test]
fn a_remembered_password_is_not_asked_for_again() {
    let app = user(clear("s")).unwrap();
    for secret in [native_hash("s"), sha2_hash("s")] {
        let known = || Claim {
            remembered: Some(Arc::clone(&app)),
            ..claim(secret.clone(), Channel::Secure)
        };
        let (auth, step, mut out) = log_in(known(), "s");
        assert_eq!(step, ClientStep::Accepted(Proof::Clear(Arc::clone(&app))));
        assert!(!auth.has_told());
        assert_eq!(payload(&mut out, 2), [1, 3]);
        assert_eq!(log_in(known(), "wrong").1, ClientStep::Denied);
    }
    // The other plugin's right answer gives the password as well.
    let claim =
        Claim { remembered: Some(Arc::clone(&app)), ..claim(native_hash("s"), Channel::Open) };
    let native = request(Some(NATIVE), &native_of("s"));
    let mut out = BytesMut::new();
    let (_, step) = ClientAuth::start(&native, claim, NONCE, Plugin::NativePassword, 2, &mut out);
    assert_eq!(step, ClientStep::Accepted(Proof::Clear(app)));
}

fn stranger(remembered: Option<&Arc<User>>, channel: Channel) -> Claim {
    let remembered = remembered.cloned();
    Claim { account: Account::PassThrough, remembered, channel, asks_all: true }
}

#[test]
fn an_account_of_the_backends_tells_its_password_for_the_backend_to_judge() {
    let mut auth = asked(stranger(None, Channel::Secure), "s");
    let step = auth.on_packet(b"s\0", 4, &mut BytesMut::new());
    assert_eq!(told(&auth, &step), b"s");
    assert!(auth.is_unjudged());
    let mut auth = asked(stranger(None, Channel::Sealed(key())), "s");
    let password = opened(auth.on_packet(&sealed("s"), 4, &mut BytesMut::new())).unwrap();
    let step = auth.on_opened(Some(&password));
    assert_eq!(told(&auth, &step), b"s");

    let app = user(clear("s")).unwrap();
    let (auth, step, mut out) = log_in(stranger(Some(&app), Channel::Secure), "s");
    assert_eq!(step, ClientStep::Accepted(Proof::Clear(Arc::clone(&app))));
    assert!(!auth.has_told() && !auth.is_unjudged());
    assert_eq!(payload(&mut out, 2), [1, 3]);
    // Another password than the remembered one may be a new one.
    let mut auth = asked(stranger(Some(&app), Channel::Secure), "new");
    let step = auth.on_packet(b"new\0", 4, &mut BytesMut::new());
    assert_eq!(told(&auth, &step), b"new");
    // None at all is for the backend as well.
    let none = request(Some(SHA2), &[0]);
    let (mut out, claim) = (BytesMut::new(), stranger(None, Channel::Secure));
    let (auth, step) = ClientAuth::start(&none, claim, NONCE, Plugin::CachingSha2, 2, &mut out);
    assert_eq!(step, ClientStep::Accepted(Proof::Empty));
    assert!(auth.is_unjudged());
    assert!(!log_in(claim_of_listed(), "s").0.is_unjudged());
}

fn claim_of_listed() -> Claim {
    claim(clear("s"), Channel::Secure)
}

/// Who must not come in looks like who gives a wrong password.
#[test]
fn where_strangers_are_asked_everybody_is() {
    let nobody = Claim { asks_all: true, channel: Channel::Secure, ..Claim::of(None) };
    let listed = Claim { asks_all: true, ..claim(clear("s"), Channel::Secure) };
    for claim in [nobody, listed] {
        let mut auth = asked(claim, "wrong");
        assert_eq!(auth.on_packet(b"wrong\0", 4, &mut BytesMut::new()), ClientStep::Denied);
        assert!(auth.used_password());
    }
}

#[test]
fn a_client_that_cannot_tell_is_switched_or_told_so() {
    let native = request(Some(NATIVE), &native_of("s"));
    let (mut out, claim) = (BytesMut::new(), stranger(None, Channel::Secure));
    let (mut auth, step) =
        ClientAuth::start(&native, claim.clone(), NONCE, Plugin::NativePassword, 2, &mut out);
    assert_eq!(step, ClientStep::Continue);
    assert!(payload(&mut out, 2)[1..].starts_with(SHA2));
    assert_eq!(auth.on_packet(&sha2_of("s"), 4, &mut out), ClientStep::Continue);
    assert_eq!(payload(&mut out, 4), [1, 4]);
    let step = auth.on_packet(b"s\0", 6, &mut out);
    assert_eq!(told(&auth, &step), b"s");

    let mut old = request(None, &native_of("s"));
    old.capabilities = Capabilities::PROTOCOL_41;
    for account in [Account::PassThrough, Account::Nobody] {
        let claim = Claim { account, ..claim.clone() };
        let (_, step) = ClientAuth::start(&old, claim, NONCE, Plugin::NativePassword, 2, &mut out);
        assert_eq!(step, ClientStep::CannotTell);
    }
    assert_eq!(log_in(stranger(None, Channel::Open), "s").1, ClientStep::CannotTell);
}
