//! Tests of both sides, alone and against each other.

use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;

use crate::auth::scramble::{
    native_answer, native_check, native_stage1, native_stage2, sha2_answer, sha2_check,
    sha2_stage1, sha2_stage2,
};
use crate::auth::{
    AuthError, BackendAuth, BackendStep, Claim, ClientAuth, ClientStep, Plugin, Proof, Seed,
};
use crate::config::{Secret, User};
use crate::wire::{AuthSwitch, Capabilities, Greeting, LoginRequest, Status, ZSTD_LEVEL_DEFAULT};

mod asked;
mod full;

const NATIVE: &[u8] = b"mysql_native_password";
const SHA2: &[u8] = b"caching_sha2_password";

/// As in the tests of go-sql-driver.
const NONCE: [u8; 20] =
    [10, 47, 74, 111, 75, 73, 34, 48, 88, 76, 114, 74, 37, 13, 3, 80, 82, 2, 23, 21];

/// The plugin a client names, if any.
type Named = Option<&'static [u8]>;

/// Secret, greeting, what the client names and sends, what it is switched to.
type Switched = (Option<Secret>, Plugin, Named, Vec<u8>, Plugin);

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let byte = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap();
    assert_eq!(text.len(), N * 2);
    std::array::from_fn(byte)
}

fn seed() -> Seed {
    Seed::new([5; Seed::BYTES])
}

fn user(secret: Secret) -> Option<Arc<User>> {
    Some(Arc::new(User::new("app".into(), secret)))
}

fn clear(password: &str) -> Secret {
    Secret::Clear(password.into())
}

fn native_hash(password: &str) -> Secret {
    Secret::NativeHash(native_stage2(&native_stage1(password.as_bytes())))
}

fn sha2_hash(password: &str) -> Secret {
    Secret::Sha2Hash(sha2_stage2(&sha2_stage1(password.as_bytes())))
}

fn native_of(password: &str) -> Vec<u8> {
    native_answer(&native_stage1(password.as_bytes()), &NONCE).to_vec()
}

fn sha2_of(password: &str) -> Vec<u8> {
    sha2_answer(&sha2_stage1(password.as_bytes()), &NONCE).to_vec()
}

fn request(plugin: Option<&[u8]>, auth_response: &[u8]) -> LoginRequest {
    LoginRequest {
        capabilities: Capabilities::PROTOCOL_41.union(Capabilities::PLUGIN_AUTH),
        packet_bytes_max: 1 << 24,
        collation: 45,
        user: b"app".to_vec(),
        auth_response: auth_response.to_vec(),
        database: None,
        plugin: plugin.map(<[u8]>::to_vec),
        connect_attrs: None,
        zstd_level: ZSTD_LEVEL_DEFAULT,
    }
}

/// The payload of the one frame in `out`, which is emptied; its sequence id must be `seq`.
fn payload(out: &mut BytesMut, seq: u8) -> Vec<u8> {
    let frame = out.split();
    let length = frame.len() - 4;
    assert_eq!(frame[..4], [u8::try_from(length).unwrap(), 0, 0, seq]);
    frame[4..].to_vec()
}

fn start(
    request: &LoginRequest,
    user: Option<Arc<User>>,
    greeting: Plugin,
) -> (ClientAuth, ClientStep, BytesMut) {
    let mut out = BytesMut::new();
    let claim = Claim::of(user);
    let (auth, step) = ClientAuth::start(request, claim, NONCE, greeting, 2, &mut out);
    (auth, step, out)
}

#[test]
fn known_answers() {
    let of = |password: &str| -> [u8; 32] { sha2_of(password).try_into().unwrap() };
    let secret = hex("f490e76f66d9d86665ce54d98c78d0acfe2fb0b08b423da807144873d30b312c");
    assert_eq!(of("secret"), secret);
    let secret2 = hex("abc3934a012cf342e876071c8ee202de51785b430258a7a0138bc79c4d800bc6");
    assert_eq!(of("secret2"), secret2);
    assert_eq!(native_of("secret"), hex::<20>("6a149bdd80bda1ebf0fa2bd2cf2e9717fecc34bb"));
    // SELECT PASSWORD('secret') on MariaDB.
    let stored = hex("14e65567abdb5135d0cfd9a70b3032c179a49ee7");
    assert_eq!(native_stage2(&native_stage1(b"secret")), stored);
}

/// Logins a MariaDB took, and what Weir answers to the same nonces.
#[test]
fn recorded_logins() {
    let greeting =
        Greeting::parse(&include_bytes!("../../../testdata/mariadb-10.11/greeting.bin")[4..])
            .unwrap();
    let login =
        LoginRequest::parse(&include_bytes!("../../../testdata/mariadb-10.11/login.bin")[4..])
            .unwrap();
    let mut auth = BackendAuth::new(Proof::Clear(user(clear("secret")).unwrap()), false, seed());
    let plugin = auth.plugin_for(&greeting).name().as_bytes();
    assert_eq!(auth.first_response(plugin, &greeting.nonce).unwrap(), login.auth_response);

    let switch = include_bytes!("../../../testdata/mariadb-10.11/login-switch.bin");
    let expected = include_bytes!("../../../testdata/mariadb-10.11/login-switch-answer.bin");
    let mut out = BytesMut::new();
    assert_eq!(auth.on_packet(&switch[4..], 3, &mut out), BackendStep::Continue);
    assert_eq!(out[..], expected[..]);
    let ok = include_bytes!("../../../testdata/mariadb-10.11/login-switch-ok.bin");
    assert_eq!(auth.on_packet(&ok[4..], 5, &mut out), BackendStep::Ready);
    let denied = include_bytes!("../../../testdata/mariadb-10.11/login-denied.bin");
    assert_eq!(auth.on_packet(&denied[4..], 5, &mut out), BackendStep::Refused);

    let (_, step) = ClientAuth::start(
        &login,
        Claim::of(user(native_hash("secret"))),
        greeting.nonce,
        Plugin::NativePassword,
        2,
        &mut out,
    );
    assert_eq!(step, ClientStep::Accepted(Proof::NativeStage1(native_stage1(b"secret"))));
}

#[test]
fn a_right_answer_gives_a_proof() {
    let app = user(clear("s")).unwrap();
    let table: [(Secret, Named, Vec<u8>, Proof); 8] = [
        (Secret::Empty, Some(NATIVE), vec![], Proof::Empty),
        (Secret::Empty, Some(SHA2), vec![0], Proof::Empty),
        (Secret::Empty, Some(SHA2), vec![], Proof::Empty),
        (clear(""), Some(NATIVE), vec![], Proof::Empty),
        (clear("s"), Some(NATIVE), native_of("s"), Proof::Clear(Arc::clone(&app))),
        (clear("s"), Some(SHA2), sha2_of("s"), Proof::Clear(app)),
        (native_hash("s"), Some(NATIVE), native_of("s"), Proof::NativeStage1(native_stage1(b"s"))),
        (sha2_hash("s"), Some(SHA2), sha2_of("s"), Proof::Sha2Stage1(sha2_stage1(b"s"))),
    ];
    for (secret, plugin, answer, proof) in table {
        let (auth, step, mut out) =
            start(&request(plugin, &answer), user(secret), Plugin::NativePassword);
        let fast = plugin == Some(SHA2) && answer.len() == 32;
        assert_eq!(step, ClientStep::Accepted(proof), "{plugin:?}");
        assert_eq!(auth.next_seq(), if fast { 3 } else { 2 });
        if fast {
            assert_eq!(payload(&mut out, 2), [1, 3]);
        }
        assert!(out.is_empty());
    }
}

#[test]
fn a_wrong_answer_is_denied() {
    let table: [(Option<Secret>, &[u8], Vec<u8>); 11] = [
        (Some(Secret::Empty), NATIVE, native_of("s")),
        (Some(Secret::Empty), SHA2, sha2_of("s")),
        (Some(clear("s")), NATIVE, native_of("t")),
        (Some(clear("s")), NATIVE, vec![]),
        (Some(clear("s")), SHA2, sha2_of("t")),
        (Some(clear("s")), SHA2, vec![0]),
        (Some(native_hash("s")), NATIVE, native_of("t")),
        (Some(sha2_hash("s")), SHA2, sha2_of("t")),
        (None, NATIVE, native_of("s")),
        (None, NATIVE, native_of("no such user")),
        (None, NATIVE, vec![]),
    ];
    for (secret, plugin, answer) in table {
        let (auth, step, out) =
            start(&request(Some(plugin), &answer), secret.and_then(user), Plugin::NativePassword);
        assert_eq!((step, auth.next_seq()), (ClientStep::Denied, 2));
        assert_eq!(auth.used_password(), answer.len() > 1);
        assert!(out.is_empty());
    }
    let (_, step, _) =
        start(&request(Some(SHA2), &sha2_of("no such user")), None, Plugin::CachingSha2);
    assert_eq!(step, ClientStep::Denied);
}

#[test]
fn a_plugin_that_does_not_fit_is_switched() {
    let (sha2, native) = (Plugin::CachingSha2, Plugin::NativePassword);
    let table: [Switched; 9] = [
        (Some(native_hash("s")), sha2, Some(SHA2), sha2_of("s"), native),
        (Some(sha2_hash("s")), native, Some(NATIVE), native_of("s"), sha2),
        (Some(native_hash("s")), sha2, Some(SHA2), vec![], native),
        (Some(clear("s")), sha2, Some(b"client_ed25519"), vec![1; 64], sha2),
        (Some(clear("s")), native, None, vec![], native),
        // Named one, answered by the other.
        (Some(clear("s")), native, Some(SHA2), native_of("s"), native),
        (Some(clear("s")), sha2, Some(b"mysql_clear_password"), b"s\0".to_vec(), sha2),
        // Nobody of that name.
        (None, sha2, Some(b"client_ed25519"), vec![1; 64], sha2),
        (None, native, None, vec![], native),
    ];
    for (secret, greeting, named, answer, to) in table {
        let known = secret.is_some();
        for right in [true, false] {
            let request = request(named, &answer);
            let (mut auth, step, mut out) =
                start(&request, secret.clone().and_then(user), greeting);
            assert_eq!((step, auth.next_seq()), (ClientStep::Continue, 3), "{named:?}");
            let switch = payload(&mut out, 2);
            let switch = AuthSwitch::parse(&switch).unwrap();
            assert_eq!(switch.plugin, to.name().as_bytes());
            assert_eq!(switch.data, [NONCE.as_slice(), &[0]].concat());
            let password = if right { "s" } else { "wrong" };
            let answer = if to == sha2 { sha2_of(password) } else { native_of(password) };
            let step = auth.on_packet(&answer, 4, &mut out);
            assert!(auth.used_password());
            assert_eq!(matches!(step, ClientStep::Accepted(_)), right && known);
            assert_eq!(step == ClientStep::Denied, !(right && known));
            assert_eq!(!out.is_empty(), right && known && to == sha2);
            // Whatever comes after the end changes nothing.
            assert_eq!(auth.on_packet(&answer, 6, &mut out), ClientStep::Denied);
        }
    }
}

/// Whatever a client names and sends, it cannot tell "nobody of that name" from "wrong password of
/// a user with a password in clear".
#[test]
fn an_unknown_user_looks_like_a_wrong_password() {
    let (sha2, native) = (Plugin::CachingSha2, Plugin::NativePassword);
    let names: [Named; 4] = [None, Some(NATIVE), Some(SHA2), Some(b"client_ed25519")];
    let answers = [vec![], vec![0], native_of("wrong"), sha2_of("wrong"), vec![1; 64]];
    for (greeting, named) in [sha2, native].into_iter().flat_map(|g| names.map(|n| (g, n))) {
        for can_switch in [true, false] {
            for (first, second) in answers.iter().flat_map(|a| answers.iter().map(move |b| (a, b)))
            {
                let mut request = request(named, first);
                if !can_switch {
                    request.capabilities = Capabilities::PROTOCOL_41;
                }
                let outcome = |user| {
                    let (mut auth, step, mut out) = start(&request, user, greeting);
                    let next = auth.on_packet(second, 4, &mut out);
                    (step, next, out, auth.used_password(), auth.next_seq())
                };
                assert_eq!(outcome(None), outcome(user(clear("s"))), "{request:?} {second:?}");
            }
        }
    }
}

#[test]
fn a_client_without_plugins_is_not_switched() {
    let mut request = request(None, &native_of("s"));
    request.capabilities = Capabilities::PROTOCOL_41;
    let accepted = |secret| {
        let (_, step, out) = start(&request, user(secret), Plugin::CachingSha2);
        assert!(out.is_empty());
        matches!(step, ClientStep::Accepted(_))
    };
    assert!(accepted(clear("s")));
    assert!(accepted(native_hash("s")));
    assert!(!accepted(sha2_hash("s")));
    assert!(!accepted(clear("t")));
}

#[test]
fn backend_side_failures() {
    let failed = |proof: &Proof, plugin: &[u8], packet: &[u8]| {
        let mut auth = BackendAuth::new(proof.clone(), false, seed());
        auth.first_response(plugin, &NONCE).unwrap();
        let mut out = BytesMut::new();
        let step = auth.on_packet(packet, 3, &mut out);
        assert!(out.is_empty());
        let BackendStep::Failed(error) = step else { panic!("{step:?}") };
        error
    };
    let clear = Proof::Clear(user(clear("s")).unwrap());
    let native = Proof::NativeStage1(native_stage1(b"s"));
    let sha2 = Proof::Sha2Stage1(sha2_stage1(b"s"));

    assert_eq!(failed(&sha2, SHA2, &[1, 4]), AuthError::FullExchangeNeeded);
    let unsupported = |name: &str| AuthError::UnsupportedPlugin(name.into());
    assert_eq!(failed(&clear, SHA2, &[0xFE]), unsupported("mysql_old_password"));
    let ask_clear = b"\xFEmysql_clear_password\0\0";
    assert_eq!(failed(&clear, SHA2, ask_clear), unsupported("mysql_clear_password"));
    assert_eq!(failed(&clear, SHA2, b"\xFE\x1B[31mred\0"), unsupported("\\x1b[31mred"));
    let switch = |plugin: &[u8]| [b"\xFE", plugin, b"\0", &NONCE, b"\0"].concat();
    let no_fit = AuthError::SecretDoesNotFit;
    assert_eq!(failed(&native, NATIVE, &switch(SHA2)), no_fit(Plugin::CachingSha2));
    assert_eq!(failed(&sha2, SHA2, &switch(NATIVE)), no_fit(Plugin::NativePassword));
    assert_eq!(failed(&clear, SHA2, &[2, 1]), AuthError::SeveralFactors);
    for broken in [b"".as_slice(), b"\x05", b"\x01", b"\x01\x09", b"\xFEmysql_native", &[1, 3, 3]] {
        assert!(matches!(failed(&clear, SHA2, broken), AuthError::Malformed(_)), "{broken:?}");
    }
    let short_nonce = [b"\xFE", NATIVE, b"\x00123"].concat();
    assert!(matches!(failed(&clear, NATIVE, &short_nonce), AuthError::Malformed(_)));
    // A step of caching_sha2_password while the other plugin is in use.
    assert!(matches!(failed(&clear, NATIVE, &[1, 4]), AuthError::Malformed(_)));

    let fault = AuthError::FullExchangeNeeded.fault();
    assert_eq!((fault.code, &fault.sqlstate), (1105, b"HY000"));
    assert!(fault.message.starts_with("weir: ") && fault.message.contains("log in"));

    let mut endless = BackendAuth::new(clear, false, seed());
    let mut out = BytesMut::new();
    let steps: Vec<_> = (0..9).map(|_| endless.on_packet(&switch(NATIVE), 3, &mut out)).collect();
    assert_eq!(steps[7], BackendStep::Continue);
    assert_eq!(steps[8], BackendStep::Failed(AuthError::TooManySwitches));
}

#[test]
fn the_login_names_a_plugin_the_proof_can_answer() {
    let greeting = |plugin: &[u8]| Greeting {
        version: b"8.0.40".to_vec(),
        connection_id: 1,
        nonce: NONCE,
        capabilities: Capabilities::PLUGIN_AUTH,
        collation: 255,
        status: Status::AUTOCOMMIT,
        plugin: plugin.to_vec(),
    };
    let named = |proof: &Proof, plugin| {
        BackendAuth::new(proof.clone(), false, seed()).plugin_for(&greeting(plugin))
    };
    let clear = Proof::Clear(user(clear("s")).unwrap());
    assert_eq!(named(&clear, NATIVE), Plugin::NativePassword);
    assert_eq!(named(&clear, SHA2), Plugin::CachingSha2);
    assert_eq!(named(&clear, b"client_ed25519"), Plugin::NativePassword);
    assert_eq!(named(&Proof::NativeStage1([1; 20]), SHA2), Plugin::NativePassword);
    assert_eq!(named(&Proof::Sha2Stage1([1; 32]), NATIVE), Plugin::CachingSha2);
    assert_eq!(named(&Proof::Empty, SHA2), Plugin::CachingSha2);
}

#[test]
fn secrets_are_not_printed() {
    let app = user(clear("hunter2")).unwrap();
    let login = request(Some(NATIVE), b"scramble");
    let (auth, _, _) = start(&login, Some(Arc::clone(&app)), Plugin::NativePassword);
    let backend = BackendAuth::new(Proof::Clear(app), false, seed());
    let proofs = [Proof::NativeStage1([0xAB; 20]), Proof::Sha2Stage1([0xAB; 32])];
    let text = format!("{auth:?} {backend:?} {proofs:?} {login:?}");
    for secret in ["hunter2", "scramble\"", "171", "AB", "ab,"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

/// How a login over both machines went: the client side's step, and the backend side's.
fn talk(secret: Option<Secret>, proof: Proof, greeting: Plugin) -> (ClientStep, BackendStep) {
    let mut client = BackendAuth::new(proof, false, seed());
    let greeting_packet = Greeting {
        version: b"11.4.2-MariaDB".to_vec(),
        connection_id: 7,
        nonce: NONCE,
        capabilities: Capabilities::PLUGIN_AUTH,
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: greeting.name().as_bytes().to_vec(),
    };
    let plugin = client.plugin_for(&greeting_packet).name().as_bytes();
    let response = client.first_response(plugin, &NONCE).unwrap();
    let (mut server, mut step, mut out) =
        start(&request(Some(plugin), &response), secret.and_then(user), greeting);
    let mut seq = 2;
    let mut heard = BackendStep::Continue;
    while !out.is_empty() {
        let packet = payload(&mut out, seq);
        heard = client.on_packet(&packet, seq + 1, &mut out);
        if out.is_empty() {
            break;
        }
        let answer = payload(&mut out, seq + 1);
        seq += 2;
        step = server.on_packet(&answer, seq, &mut out);
    }
    (step, heard)
}

fn any_secret(kind: u8, password: &str) -> Secret {
    match kind {
        0 => Secret::Empty,
        1 => clear(password),
        2 => native_hash(password),
        _ => sha2_hash(password),
    }
}

fn any_plugin() -> impl Strategy<Value = Plugin> {
    prop_oneof![Just(Plugin::NativePassword), Just(Plugin::CachingSha2)]
}

proptest! {
    /// Who knows the password gets in, whatever Weir has stored and the greeting says, and the
    /// proof left behind gets in again, at anything that stores the same.
    #[test]
    fn the_right_password_opens_twice(
        password in "[ -~]{1,40}",
        kind in 0_u8..4,
        (first, second) in (any_plugin(), any_plugin()),
    ) {
        let secret = any_secret(kind, &password);
        let typed = if kind == 0 { Proof::Empty } else { Proof::Clear(user(clear(&password)).unwrap()) };
        let (step, heard) = talk(Some(secret.clone()), typed, first);
        prop_assert_eq!(heard, BackendStep::Continue);
        let ClientStep::Accepted(proof) = step else { panic!("{step:?}") };
        let (step, _) = talk(Some(secret), proof.clone(), second);
        prop_assert_eq!(step, ClientStep::Accepted(proof));
    }

    #[test]
    fn a_wrong_password_never_opens(
        password in "[ -~]{0,40}",
        other in "[ -~]{0,40}",
        kind in 0_u8..5,
        greeting in any_plugin(),
    ) {
        prop_assume!(password != other && (kind != 0 || !other.is_empty()));
        let secret = (kind < 4).then(|| any_secret(kind, &password));
        let typed = Proof::Clear(user(clear(&other)).unwrap());
        prop_assert_eq!(talk(secret, typed, greeting).0, ClientStep::Denied);
    }

    #[test]
    fn stage_one_comes_out_of_a_right_answer_only(
        password in any::<Vec<u8>>(),
        nonce in any::<[u8; 20]>(),
        flip in 0_usize..160,
    ) {
        let native = native_stage1(&password);
        let mut answer = native_answer(&native, &nonce);
        prop_assert_eq!(native_check(&native_stage2(&native), &nonce, &answer), Some(native));
        answer[flip / 8] ^= 1 << (flip % 8);
        prop_assert_eq!(native_check(&native_stage2(&native), &nonce, &answer), None);

        let sha2 = sha2_stage1(&password);
        let mut answer = sha2_answer(&sha2, &nonce);
        prop_assert_eq!(sha2_check(&sha2_stage2(&sha2), &nonce, &answer), Some(sha2));
        answer[flip / 8] ^= 1 << (flip % 8);
        prop_assert_eq!(sha2_check(&sha2_stage2(&sha2), &nonce, &answer), None);
    }

    #[test]
    fn no_bytes_harm_either_side(
        packets in proptest::collection::vec(any::<Vec<u8>>(), 0..6),
        kind in 0_u8..4,
        greeting in any_plugin(),
    ) {
        let mut out = BytesMut::new();
        let mut backend = BackendAuth::new(Proof::Clear(user(clear("s")).unwrap()), false, seed());
        let login = request(Some(b"none"), &[]);
        let (mut client, _, _) = start(&login, user(any_secret(kind, "s")), greeting);
        for packet in &packets {
            backend.on_packet(packet, 1, &mut out);
            let step = client.on_packet(packet, 1, &mut out);
            if kind != 0 {
                prop_assert_eq!(step, ClientStep::Denied);
            }
        }
    }
}
