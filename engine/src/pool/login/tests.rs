//! Logins as a MariaDB recorded them, and as no server should do them.

use std::sync::Arc;

use super::*;
use crate::config::{Secret, User};
use crate::testdata::recording;
use crate::wire::{AuthSwitch, ErrPacket, OkPacket, Status, ZSTD_LEVEL_DEFAULT, frame};

/// What the connection that was recorded asked for.
const RECORDED: Capabilities = Capabilities::MULTI_STATEMENTS
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::LOCAL_FILES);

const SEED: Seed = Seed::new([4; Seed::BYTES]);

fn secret() -> Proof {
    let secret = Secret::Clear("secret".into());
    Proof::Clear(Arc::new(User::new("weir".into(), secret)))
}

fn request(capabilities: Capabilities) -> LoginRequest {
    LoginRequest {
        capabilities,
        packet_bytes_max: 1 << 24,
        collation: 45,
        user: b"weir".to_vec(),
        // What the client said to Weir must not reach a backend.
        auth_response: b"the client's own".to_vec(),
        database: Some(b"weir".to_vec()),
        plugin: Some(b"of the client".to_vec()),
        connect_attrs: None,
        zstd_level: ZSTD_LEVEL_DEFAULT,
    }
}

/// How a dialogue went: what was sent, and the step after the last byte.
struct Talk {
    sent: BytesMut,
    step: LoginStep,
}

/// Feeds what the server says, in pieces that end wherever an answer is due.
fn talk(proof: Proof, capabilities: Capabilities, server: &[&[u8]], piece: usize) -> Talk {
    let mut login = BackendLogin::new(request(capabilities), proof, TlsWish::No, SEED);
    let mut talk = Talk { sent: BytesMut::new(), step: LoginStep::Wait };
    for said in server {
        for bytes in said.chunks(piece) {
            assert!(matches!(talk.step, LoginStep::Wait), "over too early: {:?}", talk.step);
            talk.step = login.on_bytes(bytes, &mut talk.sent);
        }
    }
    talk
}

fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame(&mut out, seq, |body| body.extend_from_slice(payload));
    out.to_vec()
}

fn greeting(plugin: &str, capabilities: Capabilities) -> Vec<u8> {
    let mut out = BytesMut::new();
    let greeting = Greeting {
        version: b"8.0.40".to_vec(),
        connection_id: 5,
        nonce: *b"abcdefghijklmnopqrst",
        capabilities,
        collation: 255,
        status: Status::AUTOCOMMIT,
        plugin: plugin.as_bytes().to_vec(),
    };
    greeting.encode(0, &mut out);
    out.to_vec()
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const SHA2: &str = "caching_sha2_password";
const NATIVE: &str = "mysql_native_password";

/// A server of today.
fn modern() -> Capabilities {
    let all = ALWAYS.union(AS_CLIENT).union(Capabilities::COMPRESS).union(Capabilities::SSL);
    all.union(Capabilities::LONG_PASSWORD)
}

#[test]
fn the_recorded_login_in_any_pieces() {
    let (hello, login, ok) = (recording("greeting"), recording("login"), recording("login-ok"));
    let recorded = LoginRequest::parse(login.payload()).unwrap();
    for piece in 1..200 {
        let said = [hello.bytes.as_slice(), &ok.bytes];
        let talk = talk(secret(), RECORDED, &said, piece);
        let LoginStep::Ready(established) = talk.step else { panic!("{:?}", talk.step) };
        assert_eq!(established.ok, ok.payload());
        assert_eq!(established.greeting, Greeting::parse(hello.payload()).unwrap());
        assert_eq!(talk.sent[3], 1);
        let sent = LoginRequest::parse(&talk.sent[4..]).unwrap();
        assert_eq!(sent.auth_response, recorded.auth_response);
        assert_eq!(sent.plugin, recorded.plugin);
        assert_eq!((sent.user, sent.database), (b"weir".to_vec(), Some(b"weir".to_vec())));
        let said = Capabilities::CONNECT_WITH_DB.union(established.capabilities);
        assert_eq!(sent.capabilities, said);
        OkPacket::parse(&established.ok, established.capabilities).unwrap();
    }
}

#[test]
fn the_recorded_switch_in_any_pieces() {
    let hello = recording("greeting");
    let (switch, answer) = (recording("login-switch"), recording("login-switch-answer"));
    let ok = recording("login-switch-ok");
    for piece in 1..60 {
        let said = [hello.bytes.as_slice(), &switch.bytes, &ok.bytes];
        let talk = talk(secret(), RECORDED, &said, piece);
        assert!(matches!(talk.step, LoginStep::Ready(_)), "{:?}", talk.step);
        assert!(talk.sent.ends_with(&answer.bytes));
    }
}

#[test]
fn a_server_that_refuses_is_passed_on() {
    let hello = recording("greeting");
    for name in [
        "login-denied",
        "login-unknown-user",
        "login-no-grant",
        "login-unknown-database",
        "login-too-many",
    ] {
        let refusal = recording(name);
        for piece in [1, 3, 1000] {
            let said = [hello.bytes.as_slice(), &refusal.bytes];
            let talk = talk(secret(), RECORDED, &said, piece);
            let LoginStep::Refused(err) = talk.step else { panic!("{name}: {:?}", talk.step) };
            assert_eq!(err, refusal.payload(), "{name}");
        }
    }
    let refusal = recording("greeting-too-many");
    let talk = talk(secret(), RECORDED, &[&refusal.bytes], 2);
    let LoginStep::Refused(err) = talk.step else { panic!("{:?}", talk.step) };
    assert_eq!(ErrPacket::parse(&err).unwrap().code, 1040);
    assert!(talk.sent.is_empty());
}

/// The two plugins, in the greeting and by a switch, with each proof that can answer them.
#[test]
fn every_way_in() {
    let hash = |plugin: &str| match plugin {
        SHA2 => Proof::Sha2Stage1([3; 32]),
        _ => Proof::NativeStage1([3; 20]),
    };
    for (first, second) in [(SHA2, NATIVE), (NATIVE, SHA2), (NATIVE, NATIVE), (SHA2, SHA2)] {
        for proof in [secret(), hash(second), Proof::Empty] {
            let mut switch = BytesMut::new();
            let data = b"ABCDEFGHIJKLMNOPQRST\0";
            AuthSwitch { plugin: second.as_bytes(), data }.encode(2, &mut switch);
            let mut said = vec![greeting(first, modern()), switch.to_vec()];
            if second == SHA2 {
                said.push(packet(4, &[1, 3]));
            }
            said.push(packet(5, OK));
            let said: Vec<&[u8]> = said.iter().map(Vec::as_slice).collect();
            for piece in [1, 7, 1000] {
                let talk = talk(proof.clone(), RECORDED, &said, piece);
                assert!(matches!(talk.step, LoginStep::Ready(_)), "{first} {second}");
                let request_bytes = 4 + usize::from(talk.sent[0]);
                let answer = &talk.sent[request_bytes..];
                assert_eq!(answer[3], 3, "numbered after the switch");
                let want = match (&proof, second) {
                    (Proof::Empty, SHA2) => 1,
                    (Proof::Empty, _) => 0,
                    (_, SHA2) => 32,
                    _ => 20,
                };
                assert_eq!(answer.len() - 4, want);
            }
        }
    }
}

#[test]
fn what_is_asked_for_is_what_weir_needs_and_the_client_asked_for() {
    let asked = |client: Capabilities, server: Capabilities| {
        let talk = talk(secret(), client, &[&greeting(NATIVE, server), &packet(2, OK)], 1000);
        let LoginStep::Ready(established) = talk.step else { panic!("{:?}", talk.step) };
        established.capabilities
    };
    let always = ALWAYS.union(Capabilities::LONG_PASSWORD);
    let of_mysql = always.union(AS_CLIENT).without(MARIADB);
    assert_eq!(asked(Capabilities::NONE, modern()), always);
    let all = Capabilities::from_bits(u64::MAX);
    assert_eq!(asked(all, modern()), of_mysql, "and nothing Weir cannot do");
    assert_eq!(asked(Capabilities::FOUND_ROWS, modern()), always.union(Capabilities::FOUND_ROWS));
    // A server that can do less gets asked less.
    let new = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
    let older = modern().without(new).without(Capabilities::MULTI_STATEMENTS);
    let want = of_mysql.without(new).without(Capabilities::MULTI_STATEMENTS);
    assert_eq!(asked(all, older), want);
    // MariaDB leaves the first bit out to say that it has extended ones; so does Weir when its
    // client asks for one.
    let mariadb = Capabilities::from_bits(u64::MAX).without(Capabilities::LONG_PASSWORD);
    assert_eq!(asked(Capabilities::NONE, mariadb), always);
    assert_eq!(asked(all, mariadb), ALWAYS.union(AS_CLIENT));
    let bulk = Capabilities::MARIADB_STMT_BULK_OPERATIONS;
    assert_eq!(asked(bulk, mariadb), ALWAYS.union(bulk));
}

#[test]
fn logins_that_cannot_go_on() {
    let hello = greeting(NATIVE, modern());
    let mut old = Greeting::parse(&hello[4..]).unwrap();
    old.plugin.clear();
    let mut too_old = BytesMut::new();
    old.encode(0, &mut too_old);
    let malformed = "malformed packet";
    let table: [(Vec<u8>, &str); 13] = [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian".to_vec(), "too long"),
        (packet(0, b"hello"), malformed),
        (packet(0, &[]), malformed),
        (packet(0, &hello[4..40]), malformed),
        (too_old.to_vec(), "does not speak protocol 4.1 with plugins"),
        ([0xFF, 0xFF, 0xFF, 0].to_vec(), "too long"),
        ([0, 0, 2, 0].to_vec(), "too long"),
        ([hello.clone(), packet(2, b"")].concat(), malformed),
        ([hello.clone(), packet(2, &[7])].concat(), malformed),
        ([hello.clone(), packet(2, &[1, 4])].concat(), malformed),
        ([hello.clone(), packet(2, b"\xFEdialog\0")].concat(), "dialog"),
        ([greeting(SHA2, modern()), packet(2, &[1, 4]), packet(4, b"\x01key")].concat(), "RSA key"),
        // A word after the OK, whole or not, would be lost on the way to the session.
        ([hello, packet(2, OK), vec![9]].concat(), "out of turn"),
    ];
    for (said, text) in table {
        let mut login = BackendLogin::new(request(RECORDED), secret(), TlsWish::No, SEED);
        let step = login.on_bytes(&said, &mut BytesMut::new());
        let LoginStep::Failed(error) = step else { panic!("{step:?} instead of {text}") };
        assert!(error.to_string().contains(text), "{error} instead of {text}");
    }
}

/// A server that has not cached the password gets it sealed for its key.
#[test]
fn the_full_exchange_in_any_pieces() {
    let key = include_str!("../../../testdata/rsa-key.pub.pem");
    let ask = packet(4, &[b"\x01", key.as_bytes()].concat());
    for piece in [1, 7, 1000] {
        let said = [&greeting(SHA2, modern())[..], &packet(2, &[1, 4]), &ask, &packet(6, OK)];
        let talk = talk(secret(), RECORDED, &said, piece);
        assert!(matches!(talk.step, LoginStep::Ready(_)), "{:?}", talk.step);
        let request_bytes = 4 + usize::from(talk.sent[0]);
        let rest = &talk.sent[request_bytes..];
        assert_eq!(rest[..5], [1, 0, 0, 3, 2]);
        assert_eq!((&rest[5..9], rest.len()), (&[0, 1, 0, 5][..], 5 + 4 + 256));
    }
}

/// Through a unix socket nobody is there to seal the password from.
#[test]
fn a_secure_link_needs_no_key() {
    let mut login =
        BackendLogin::new(request(RECORDED), secret(), TlsWish::No, SEED).with_secure_link(true);
    let mut out = BytesMut::new();
    assert!(matches!(login.on_bytes(&greeting(SHA2, modern()), &mut out), LoginStep::Wait));
    out.clear();
    assert!(matches!(login.on_bytes(&packet(2, &[1, 4]), &mut out), LoginStep::Wait));
    assert_eq!(out[3], 3);
    assert_eq!(out[4..].split_last(), Some((&0, &b"secret"[..])));
}

/// An account kept as a hash of one plugin cannot answer the other.
#[test]
fn a_hash_of_the_other_plugin() {
    for (proof, plugin) in
        [(Proof::NativeStage1([1; 20]), SHA2), (Proof::Sha2Stage1([1; 32]), NATIVE)]
    {
        let mut switch = BytesMut::new();
        AuthSwitch { plugin: plugin.as_bytes(), data: &[1; 20] }.encode(2, &mut switch);
        let talk = talk(proof, RECORDED, &[&greeting(plugin, modern()), &switch], 1000);
        let LoginStep::Failed(LoginError::Auth(error)) = talk.step else { panic!() };
        assert!(matches!(error, AuthError::SecretDoesNotFit(_)), "{error}");
    }
}

/// A login that wishes for TLS, up to the end of the server's greeting.
fn begin_tls(wish: TlsWish, server: Capabilities) -> (BackendLogin, LoginStep, BytesMut) {
    let mut login = BackendLogin::new(request(RECORDED), secret(), wish, SEED);
    let (mut step, mut out) = (LoginStep::Wait, BytesMut::new());
    for byte in greeting(NATIVE, server).chunks(1) {
        assert!(matches!(step, LoginStep::Wait) && out.is_empty());
        step = login.on_bytes(byte, &mut out);
    }
    (login, step, out)
}

#[test]
fn a_login_goes_on_inside_of_tls() {
    for wish in [TlsWish::IfOffered, TlsWish::Required] {
        let (mut login, step, mut out) = begin_tls(wish, modern());
        assert!(matches!(step, LoginStep::StartTls), "{step:?}");
        assert_eq!((out.len(), &out[..4]), (36, &[32, 0, 0, 1][..]));
        let asked = SslRequest::parse(&out[4..]).unwrap();
        assert!(asked.capabilities.contains(Capabilities::SSL));
        out.clear();
        login.on_tls(&mut out);
        assert_eq!(out[3], 2, "numbered on");
        let sent = LoginRequest::parse(&out[4..]).unwrap();
        assert_eq!(
            (sent.user.as_slice(), sent.capabilities),
            (&b"weir"[..], asked.capabilities.set(Capabilities::CONNECT_WITH_DB, true))
        );
        // As without TLS: the answer to the greeting's nonce.
        let plain = talk(secret(), RECORDED, &[&greeting(NATIVE, modern())], 1000);
        let plain = LoginRequest::parse(&plain.sent[4..]).unwrap();
        assert_eq!(sent.auth_response, plain.auth_response);
        out.clear();
        let mut switch = BytesMut::new();
        AuthSwitch { plugin: SHA2.as_bytes(), data: b"ABCDEFGHIJKLMNOPQRST\0" }
            .encode(3, &mut switch);
        assert!(matches!(login.on_bytes(&switch, &mut out), LoginStep::Wait));
        assert_eq!(out[3], 4);
        let said = [packet(5, &[1, 3]), packet(6, OK)].concat();
        let LoginStep::Ready(established) = login.on_bytes(&said, &mut out) else { panic!() };
        assert!(established.capabilities.contains(Capabilities::SSL));
    }
}

#[test]
fn a_server_without_tls_is_taken_or_not() {
    let without = modern().without(Capabilities::SSL);
    let (_, step, out) = begin_tls(TlsWish::IfOffered, without);
    assert!(matches!(step, LoginStep::Wait), "{step:?}");
    assert_eq!(out[3], 1);
    assert!(!LoginRequest::parse(&out[4..]).unwrap().capabilities.contains(Capabilities::SSL));
    let (_, step, out) = begin_tls(TlsWish::Required, without);
    let LoginStep::Failed(LoginError::NoTls) = step else { panic!("{step:?}") };
    assert!(out.is_empty(), "neither user nor password leaves");
    let (_, step, out) = begin_tls(TlsWish::No, modern());
    assert!(matches!(step, LoginStep::Wait), "{step:?}");
    assert!(!LoginRequest::parse(&out[4..]).unwrap().capabilities.contains(Capabilities::SSL));
}

/// Bytes that somebody on the way put behind the greeting must not pass for the server's.
#[test]
fn nothing_said_before_tls_counts_inside_of_it() {
    for behind in [&packet(2, OK)[..], &[7]] {
        let mut login = BackendLogin::new(request(RECORDED), secret(), TlsWish::IfOffered, SEED);
        let said = [&greeting(NATIVE, modern())[..], behind].concat();
        let mut out = BytesMut::new();
        let step = login.on_bytes(&said, &mut out);
        assert!(matches!(step, LoginStep::Failed(LoginError::Unasked)), "{step:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn modes_become_wishes() {
    for (mode, wish) in [
        (TlsMode::Disabled, TlsWish::No),
        (TlsMode::Preferred, TlsWish::IfOffered),
        (TlsMode::Required, TlsWish::Required),
        (TlsMode::VerifyCa, TlsWish::Required),
        (TlsMode::VerifyIdentity, TlsWish::Required),
    ] {
        assert_eq!(TlsWish::of(mode), wish);
    }
}
