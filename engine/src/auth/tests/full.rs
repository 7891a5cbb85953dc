//! The full exchange of `caching_sha2_password`, on both sides.

use super::*;
use crate::auth::{KeyError, RsaKey};
use crate::wire::AuthMoreData;

/// A key pair made by OpenSSL, and its public half as OpenSSL writes it.
const KEY: &str = include_str!("../../../testdata/rsa-key.pem");
const PUBLIC: &str = include_str!("../../../testdata/rsa-key.pub.pem");

fn key() -> RsaKey {
    RsaKey::from_pem(KEY).unwrap()
}

/// A login that was asked for the password itself.
fn asked(proof: Proof, secure: bool) -> (BackendAuth, BackendStep, BytesMut) {
    let mut auth = BackendAuth::new(proof, false, seed());
    auth.first_response(SHA2, &NONCE).unwrap();
    if secure {
        auth.set_secure();
    }
    let mut out = BytesMut::new();
    let step = auth.on_packet(&[1, 4], 3, &mut out);
    (auth, step, out)
}

fn more(data: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    AuthMoreData { data }.encode(4, &mut out);
    out[4..].to_vec()
}

#[test]
fn a_key_is_written_as_openssl_does_and_read_again() {
    assert_eq!(key().public_pem(), PUBLIC);
    assert_eq!(RsaKey::from_pem(&key().to_pem().unwrap()).unwrap().public_pem(), PUBLIC);
    assert_eq!(&**key().to_pem().unwrap(), KEY);
    for wrong in ["", "hello", PUBLIC, &KEY[..KEY.len() / 2]] {
        assert_eq!(RsaKey::from_pem(wrong).unwrap_err(), KeyError::NotPem);
    }
    let text = format!("{:?} {:?}", key(), seed());
    assert_eq!(text, "RsaKey(…) Seed(…)");
}

#[test]
fn a_secure_link_gets_the_password_and_another_gets_it_sealed() {
    let app = || Proof::Clear(user(clear("pass\u{e4}word")).unwrap());
    let plain = "pass\u{e4}word\0".as_bytes();
    let (_, step, mut out) = asked(app(), true);
    assert_eq!(step, BackendStep::Continue);
    assert_eq!(payload(&mut out, 3), plain);

    let (mut auth, step, mut out) = asked(app(), false);
    assert_eq!(step, BackendStep::Continue);
    assert_eq!(payload(&mut out, 3), [2]);
    // Files of keys end in a line end, or in several.
    for end in ["", "\n\n", "\0"] {
        let (mut auth, ..) = asked(app(), false);
        let step = auth.on_packet(&more(format!("{PUBLIC}{end}").as_bytes()), 5, &mut out);
        assert_eq!(step, BackendStep::Continue);
        let sealed = out.split();
        assert_eq!((&sealed[..4], sealed.len()), (&[0, 1, 0, 5][..], 4 + 256));
        assert_eq!(**key().open(&sealed[4..], &NONCE, &seed()).unwrap(), *plain);
        // Another nonce, another text; a changed byte, none.
        assert_ne!(**key().open(&sealed[4..], &[7; 20], &seed()).unwrap(), *plain);
        let mut changed = sealed[4..].to_vec();
        changed[100] ^= 1;
        assert!(key().open(&changed, &NONCE, &seed()).is_none());
    }
    assert_eq!(auth.on_packet(&more(PUBLIC.as_bytes()), 5, &mut out), BackendStep::Continue);
    assert_eq!(auth.on_packet(&[0, 0, 0, 2, 0, 0, 0], 7, &mut out), BackendStep::Ready);
}

/// The nonce in use is that of the last switch.
#[test]
fn a_switch_changes_the_nonce() {
    let mut auth = BackendAuth::new(Proof::Clear(user(clear("s")).unwrap()), false, seed());
    auth.first_response(NATIVE, &NONCE).unwrap();
    let mut out = BytesMut::new();
    let switch = [b"\xFE", SHA2, b"\0", &[9; 20], b"\0"].concat();
    auth.on_packet(&switch, 3, &mut out);
    auth.on_packet(&[1, 4], 5, &mut out);
    out.clear();
    auth.on_packet(&more(PUBLIC.as_bytes()), 7, &mut out);
    assert_eq!(**key().open(&out[4..], &[9; 20], &seed()).unwrap(), *b"s\0");
}

#[test]
fn keys_that_cannot_be_used() {
    let long = Proof::Clear(user(clear(&"x".repeat(300))).unwrap());
    let app = Proof::Clear(user(clear("s")).unwrap());
    for (proof, pem) in [(&app, "no key"), (&app, KEY), (&app, ""), (&long, PUBLIC)] {
        let (mut auth, _, mut out) = asked(proof.clone(), false);
        out.clear();
        let step = auth.on_packet(&more(pem.as_bytes()), 5, &mut out);
        assert_eq!(step, BackendStep::Failed(AuthError::UnusableKey));
        assert!(out.is_empty());
    }
    // A key nobody asked for.
    let mut auth = BackendAuth::new(app, false, seed());
    auth.first_response(SHA2, &NONCE).unwrap();
    let step = auth.on_packet(&more(PUBLIC.as_bytes()), 3, &mut BytesMut::new());
    assert!(matches!(step, BackendStep::Failed(AuthError::Malformed(_))));
}

#[test]
fn a_hash_cannot_be_sent_as_a_password() {
    for secure in [true, false] {
        let (_, step, out) = asked(Proof::Sha2Stage1(sha2_stage1(b"s")), secure);
        assert_eq!(step, BackendStep::Failed(AuthError::FullExchangeNeeded));
        assert!(out.is_empty());
    }
}

/// Seeds repeat what they did, and no two do the same.
#[test]
fn a_seed_stands_for_its_stream() {
    use rsa::rand_core::RngCore;
    let bytes = |seed: u8| {
        let mut bytes = [0; 100];
        Seed::new([seed; Seed::BYTES]).stream().fill_bytes(&mut bytes);
        bytes
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
    assert_ne!(bytes(1)[..32], bytes(1)[32..64]);
    let mut stream = seed().stream();
    assert_ne!((stream.next_u32(), stream.next_u64()), (stream.next_u32(), stream.next_u64()));
}
