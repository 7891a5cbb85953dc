//! What is made of a configuration.

use std::time::Duration;

use super::*;

fn problems(endpoint: EndpointTls, backend: BackendTls) -> Vec<String> {
    Contexts::build(&config(endpoint, backend), None).unwrap_err()
}

#[test]
fn who_is_told_disabled_gets_nothing() {
    let config = config(endpoint(TlsMode::Disabled, Vec::new()), backend(TlsMode::Disabled, "db"));
    let contexts = Contexts::build(&config, None).unwrap();
    assert!(contexts.endpoint(EndpointId(0)).is_none() && contexts.backend(BackendId(0)).is_none());
    assert!(contexts.endpoint(EndpointId(9)).is_none() && contexts.backend(BackendId(9)).is_none());
}

#[test]
fn modes_are_passed_on() {
    let sides = Sides::plain();
    assert_eq!(sides.server.mode(), TlsMode::Preferred);
    assert_eq!(sides.client.mode(), TlsMode::Required);
}

#[test]
fn an_endpoint_without_a_certificate_shows_weirs_own() {
    let config = config(endpoint(TlsMode::Preferred, Vec::new()), backend(TlsMode::Required, "db"));
    assert!(Contexts::build(&config, None).unwrap().endpoint(EndpointId(0)).is_none());
    // Counted from 1970: now is somewhere in the ten years after it.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - Duration::from_secs(3600);
    let made = SelfSigned::make(Some("db.example"), None, now).unwrap();
    let own = made.identity("cert", "key").unwrap();
    let mut with_ca = config.clone();
    for name in ["localhost", "db.example", "127.0.0.1", "::1"] {
        let mut client = backend(TlsMode::VerifyIdentity, name);
        client.ca = Some(own.chain.clone());
        with_ca.backends[0].tls = client;
        let contexts = Contexts::build(&with_ca, Some(&own)).unwrap();
        let sides = Sides {
            server: contexts.endpoint(EndpointId(0)).unwrap().clone(),
            client: contexts.backend(BackendId(0)).unwrap().clone(),
        };
        // Whoever pins it can verify it, as with servers' own.
        sides.connect();
    }
    // The same key makes another certificate, which works as well.
    let again = SelfSigned::make(None, Some(&made.key), now).unwrap();
    assert!(again.key == made.key && again.certificate != made.certificate);
    Contexts::build(&config, Some(&again.identity("cert", "key").unwrap())).unwrap();
    assert!(SelfSigned::make(None, Some("no key"), now).is_err());
    assert!(!format!("{made:?} {own:?}").contains("PRIVATE"));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let ca = Authority::new("ca");
    let (one, other) = (ca.issue("one", &[]), ca.issue("other", &[]));
    let mixed = Identity { key: other.key.clone(), ..one.clone() };
    // PEM around anything.
    let damaged = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let damaged = Certificates::of_pem("bad.pem", damaged).unwrap();
    let nonsense = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
    let key = PrivateKey::of_pem("bad-key.pem", nonsense).unwrap();
    let no_key = Identity { key, ..one.clone() };
    let broken = Identity { chain: damaged.clone(), ..one.clone() };
    let mut server = endpoint(TlsMode::VerifyCa, vec![mixed, no_key, broken]);
    server.client_ca = Some(damaged.clone());
    let mut client = backend(TlsMode::VerifyCa, "db");
    client.ca = Some(damaged);
    client.identity = Some(Identity { key: one.key.clone(), ..other });
    let said = problems(server, client);
    for text in [
        "endpoint 'app': key.pem: is not the key of the first certificate in cert.pem",
        "endpoint 'app': bad-key.pem: holds a key that Weir cannot use; RSA from 2048",
        "endpoint 'app': bad.pem: certificate 1 is damaged",
        "endpoint 'app': bad.pem: certificate 1 is no authority's: ",
        "backend 'db': bad.pem: certificate 1 is no authority's: ",
        "backend 'db': key.pem: is not the key of the first certificate in cert.pem",
    ] {
        assert!(said.iter().any(|problem| problem.starts_with(text)), "{text}\n{said:#?}");
    }
}
