//! What a file says about TLS, and what is said about a wrong one.

use std::sync::LazyLock;

use expect_test::{Expect, expect};

use crate::config::{Config, Lookup, Offline, parse};

/// A certificate and its key, in PEM.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
});

struct World;

impl Lookup for World {
    fn variable(&self, _: &str) -> Option<String> {
        Some("cert".to_owned())
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let (certificate, key) = &*PAIR;
        match path {
            "cert.pem" => Ok(certificate.clone()),
            "key.pem" => Ok(key.clone()),
            "all.pem" => Ok(format!("{key}{}", certificate.repeat(2))),
            "cut.pem" => Ok(format!("{certificate}{key}").replace("-----END", "")),
            "locked.pem" => Ok(key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
            "empty.pem" => Ok(String::new()),
            _ => Err("No such file or directory".to_owned()),
        }
    }

    fn resolve(&self, host: &str) -> Result<Vec<std::net::IpAddr>, String> {
        Offline.resolve(if host == "db_1-" { "localhost" } else { host })
    }
}

/// A file with one backend, one endpoint, and further lines of each.
fn text(address: &str, backend: &str, endpoint: &str) -> String {
    format!(
        "[[cluster]]\nname = \"main\"\nmonitor = {{ user = \"m\", password = \"\" }}\n\
         [[user]]\nname = \"u\"\npassword = \"p\"\n\
         [[cluster.backend]]\nname = \"db\"\nrole = \"primary\"\naddress = \"{address}\"\n{backend}\n\
         [[endpoint]]\nname = \"app\"\nlisten = \"127.0.0.1:6033\"\ncluster = \"main\"\n{endpoint}\n"
    )
}

fn accepted(address: &str, backend: &str, endpoint: &str) -> Config {
    parse(&text(address, backend, endpoint), &World).unwrap()
}

fn check(backend: &str, endpoint: &str, expected: Expect) {
    check_at("127.0.0.1:3306", backend, endpoint, expected);
}

fn check_at(address: &str, backend: &str, endpoint: &str, expected: Expect) {
    let problems = parse(&text(address, backend, endpoint), &World).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(!lines.concat().contains(PAIR.1.lines().nth(1).unwrap()), "a key is shown");
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn without_a_word_clients_are_offered_it_and_servers_not_asked() {
    let config = accepted("localhost:3306", "", "");
    expect![[r#"
        EndpointTls {
            mode: Preferred,
            identities: [],
            client_ca: None,
        }
    "#]]
    .assert_debug_eq(&config.endpoints[0].tls);
    expect![[r#"
        BackendTls {
            mode: Disabled,
            ca: None,
            identity: None,
            server_name: DnsName(
                "localhost",
            ),
        }
    "#]]
    .assert_debug_eq(&config.backends[0].tls);
}

#[test]
fn every_key_has_an_effect_and_no_key_is_shown() {
    let backend = "tls = \"verify-identity\"\ntls_ca_file = \"all.pem\"\n\
                   tls_certificate_file = \"${X}.pem\"\ntls_key_file = \"key.pem\"\n\
                   tls_server_name = \"db.example\"";
    let endpoint = "tls = \"verify-ca\"\ntls_client_ca_file = \"cert.pem\"\n\
                    tls_certificate_file = \"all.pem\"\ntls_key_file = \"all.pem\"\n\
                    [[endpoint.certificate]]\ncertificate_file = \"cert.pem\"\nkey_file = \"key.pem\"";
    let config = accepted("127.0.0.1:3306", backend, endpoint);
    expect![[r#"
        EndpointTls {
            mode: VerifyCa,
            identities: [
                Identity {
                    chain: Certificates("all.pem", 2),
                    key: PrivateKey("all.pem", …),
                },
                Identity {
                    chain: Certificates("cert.pem", 1),
                    key: PrivateKey("key.pem", …),
                },
            ],
            client_ca: Some(
                Certificates("cert.pem", 1),
            ),
        }
    "#]]
    .assert_debug_eq(&config.endpoints[0].tls);
    expect![[r#"
        BackendTls {
            mode: VerifyIdentity,
            ca: Some(
                Certificates("all.pem", 2),
            ),
            identity: Some(
                Identity {
                    chain: Certificates("cert.pem", 1),
                    key: PrivateKey("key.pem", …),
                },
            ),
            server_name: DnsName(
                "db.example",
            ),
        }
    "#]]
    .assert_debug_eq(&config.backends[0].tls);
}

#[test]
fn the_name_is_the_host_of_the_address() {
    let name = |address: &str| {
        let config = accepted(address, "tls = \"required\"", "");
        config.backends[0].tls.server_name.to_str().into_owned()
    };
    assert_eq!(name("localhost:3306"), "localhost");
    assert_eq!(name("127.0.0.1:3306"), "127.0.0.1");
    assert_eq!(name("[::1]:3306"), "::1");
    // A name only this machine understands does without TLS.
    accepted("db_1-:3306", "", "");
    check_at(
        "db_1-:3306",
        "tls = \"preferred\"",
        "",
        expect![[r#"
        line 7: cluster[0].backend[0].tls_server_name: is needed: the host in address is neither a DNS name nor an IP address
    "#]],
    );
}

#[test]
fn modes_need_what_they_look_at_and_nothing_else() {
    check(
        "tls = \"verify-ca\"",
        "tls = \"verify-identity\"",
        expect![[r#"
        line 7: cluster[0].backend[0].tls_ca_file: is missing: verifying needs the PEM file of the authority's certificates
        line 12: endpoint[0].tls_client_ca_file: is missing: verifying needs the PEM file of the authority's certificates
    "#]],
    );
    let authority = "tls_ca_file = \"cert.pem\"";
    check(
        authority,
        "tls = \"required\"\ntls_client_ca_file = \"cert.pem\"",
        expect![[r#"
        line 11: cluster[0].backend[0].tls_ca_file = "cert.pem": is not looked at without tls = "verify-ca" or "verify-identity"
        line 17: endpoint[0].tls_client_ca_file = "cert.pem": is not looked at without tls = "verify-ca" or "verify-identity"
    "#]],
    );
    check(
        "tls = \"on\"\ntls_server_name = \"a b\"",
        "tls = true",
        expect![[r#"
        line 11: cluster[0].backend[0].tls = "on": must be "disabled", "preferred", "required", "verify-ca" or "verify-identity"
        line 12: cluster[0].backend[0].tls_server_name = "a b": must be a DNS name or an IP address
        line 17: endpoint[0].tls = true: must be "disabled", "preferred", "required", "verify-ca" or "verify-identity"
    "#]],
    );
}

#[test]
fn certificates_and_keys_come_together() {
    check(
        "tls_certificate_file = \"cert.pem\"",
        "tls_key_file = \"key.pem\"\n[[endpoint.certificate]]\nkey_file = \"key.pem\"\n\
         [[endpoint.certificate]]\ncertificate_file = \"cert.pem\"\n[[endpoint.certificate]]",
        expect![[r#"
            line 11: cluster[0].backend[0].tls_certificate_file = "cert.pem": needs tls_key_file as well
            line 16: endpoint[0].tls_key_file = "key.pem": needs tls_certificate_file as well
            line 17: endpoint[0].certificate[0]: needs a usual certificate beside it: the endpoint's tls_certificate_file
            line 18: endpoint[0].certificate[0].key_file = "key.pem": needs certificate_file as well
            line 20: endpoint[0].certificate[1].certificate_file = "cert.pem": needs key_file as well
            line 21: endpoint[0].certificate[2].certificate_file: is missing: the path of a PEM file
        "#]],
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let pair = |certificate: &str, key: &str| {
        format!("tls_certificate_file = \"{certificate}\"\ntls_key_file = \"{key}\"")
    };
    check(
        &pair("missing.pem", "missing.pem"),
        &pair("key.pem", "cert.pem"),
        expect![[r#"
        line 11: cluster[0].backend[0].tls_certificate_file = "missing.pem": cannot be read: No such file or directory
        line 12: cluster[0].backend[0].tls_key_file = "missing.pem": cannot be read: No such file or directory
        line 17: endpoint[0].tls_certificate_file = "key.pem": holds no certificate; PEM is needed, with -----BEGIN CERTIFICATE-----
        line 18: endpoint[0].tls_key_file = "cert.pem": holds no private key; PEM is needed, with -----BEGIN PRIVATE KEY-----
    "#]],
    );
    check(
        &pair("cut.pem", "cut.pem"),
        &pair("empty.pem", "locked.pem"),
        expect![[r#"
        line 11: cluster[0].backend[0].tls_certificate_file = "cut.pem": is damaged: it is not whole PEM; PEM is needed, with -----BEGIN CERTIFICATE-----
        line 12: cluster[0].backend[0].tls_key_file = "cut.pem": is damaged: it is not whole PEM; PEM is needed, with -----BEGIN PRIVATE KEY-----
        line 17: endpoint[0].tls_certificate_file = "empty.pem": holds no certificate; PEM is needed, with -----BEGIN CERTIFICATE-----
        line 18: endpoint[0].tls_key_file = "locked.pem": is encrypted; Weir needs the key without a passphrase
    "#]],
    );
    check(
        "tls = \"verify-ca\"\ntls_ca_file = \"key.pem\"",
        "",
        expect![[r#"
        line 12: cluster[0].backend[0].tls_ca_file = "key.pem": holds no certificate; PEM is needed, with -----BEGIN CERTIFICATE-----
    "#]],
    );
}
