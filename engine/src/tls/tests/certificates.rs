//! Whose certificates are taken, and what is said about the others.

use rcgen::ExtendedKeyUsagePurpose;

use super::*;

type Ends = (Result<(), TlsError>, Result<(), TlsError>);

/// A client in `mode`, which trusts `ca` and looks for `name`, meets a server.
fn to_server(mode: TlsMode, ca: &Authority, name: &str, server: Identity) -> Ends {
    let mut client = backend(mode, name);
    client.ca = mode.verifies().then(|| ca.certificates());
    Sides::new(endpoint(TlsMode::Required, vec![server]), client).pair().run(usize::MAX)
}

const MODES: [TlsMode; 4] =
    [TlsMode::Preferred, TlsMode::Required, TlsMode::VerifyCa, TlsMode::VerifyIdentity];

#[test]
fn a_server_that_is_who_it_should_be_is_taken_in_every_mode() {
    let ca = Authority::new("ca");
    for mode in MODES {
        for (name, common, names) in [
            ("db.example", "x", &["other", "db.example"][..]),
            ("DB.a.example", "x", &["*.a.example"]),
            ("127.0.0.1", "x", &["127.0.0.1"]),
            ("::1", "x", &["::1"]),
            // As older certificates have it.
            ("db.example", "db.example", &[]),
            ("127.0.0.1", "127.0.0.1", &[]),
        ] {
            let ends = to_server(mode, &ca, name, ca.issue(common, names));
            assert_eq!(ends, (Ok(()), Ok(())), "{mode:?} {name} {common} {names:?}");
        }
    }
}

#[test]
fn a_server_of_another_name_is_told_apart_by_verify_identity_only() {
    let ca = Authority::new("ca");
    for mode in MODES {
        for (name, common, names, text) in [
            ("db", "db", &["other"][..], "other"),
            ("db", "other", &[], "other"),
            ("db.b.a.example", "x", &["*.a.example"], "*.a.example"),
            ("10.0.0.1", "10.0.0.1", &["127.0.0.1"], "127.0.0.1"),
        ] {
            let (client, server) = to_server(mode, &ca, name, ca.issue(common, names));
            if mode != TlsMode::VerifyIdentity {
                assert_eq!((client, server), (Ok(()), Ok(())), "{mode:?} {name}");
                continue;
            }
            let error = client.unwrap_err();
            assert!(matches!(error, TlsError::WrongName(..)), "{error}");
            let said = error.to_string();
            let expected = format!("its certificate is for {text}, and should be for {name}");
            assert_eq!(said, expected);
            let said = server.unwrap_err().to_string();
            assert!(said.contains("does not accept Weir's certificate"), "{said}");
        }
    }
}

#[test]
fn a_server_of_no_authority_is_told_apart() {
    let (ca, other) = (Authority::new("ca"), Authority::new("ca"));
    for mode in MODES {
        let (client, server) = to_server(mode, &ca, "db", other.issue("db", &["db"]));
        if mode.verifies() {
            // The other authority has the same name: only the signature differs.
            let said = client.unwrap_err().to_string();
            assert!(said.starts_with("its certificate"), "{said}");
            assert!(server.is_err());
        } else {
            assert_eq!((client, server), (Ok(()), Ok(())), "{mode:?}");
        }
    }
    let other = Authority::new("another");
    let (client, server) = to_server(TlsMode::VerifyCa, &ca, "db", other.issue("db", &["db"]));
    assert_eq!(client, Err(TlsError::Untrusted));
    let said = server.unwrap_err().to_string();
    assert!(said.contains("does not trust the authority"), "{said}");
}

#[test]
fn certificates_of_other_days_are_told_apart() {
    let ca = Authority::new("ca");
    for (from, to, expected) in
        [(2001, 2002, TlsError::Expired), (2200, 2201, TlsError::NotYetValid)]
    {
        let (client, _) = to_server(TlsMode::VerifyCa, &ca, "db", ca.issue_for(from, to));
        assert_eq!(client, Err(expected));
        let (client, _) = to_server(TlsMode::Required, &ca, "db", ca.issue_for(from, to));
        assert_eq!(client, Ok(()), "not looked at");
    }
}

#[test]
fn a_certificate_for_clients_is_no_servers() {
    let ca = Authority::new("ca");
    let mut params = subject("db", &["db"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (client, _) = to_server(TlsMode::VerifyCa, &ca, "db", ca.sign(&params));
    assert!(matches!(client, Err(TlsError::BadCertificate(_))), "{client:?}");
}

/// An endpoint in `mode` that trusts `ca` meets a client; also whom it takes the client for.
fn to_client(
    mode: TlsMode,
    ca: &Authority,
    client: Option<Identity>,
) -> (Result<(), TlsError>, Result<(), TlsError>, Option<CertificateNames>) {
    let mut server = endpoint(mode, vec![Authority::new("other").issue("weir", &[])]);
    server.client_ca = mode.verifies().then(|| ca.certificates());
    let wish = BackendTls { identity: client, ..backend(TlsMode::Required, "db") };
    let mut pair = Sides::new(server, wish).pair();
    let (client, server) = pair.run(usize::MAX);
    (client, server, pair.server.stream.peer_names())
}

#[test]
fn clients_show_who_they_are_where_that_is_asked() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyIdentity] {
        let (client, server, names) =
            to_client(mode, &ca, Some(ca.issue("app", &["ann@example.com", "host.example"])));
        assert_eq!((client, server), (Ok(()), Ok(())));
        let names = names.unwrap();
        for account in ["app", "ann", "ann@example.com", "host.example"] {
            assert!(names.include_account(account.as_bytes()), "{account}");
        }
        for account in ["", "App", "an", "example.com", "host", "bob", "@example.com"] {
            assert!(!names.include_account(account.as_bytes()), "{account}");
        }
        let (client, server, names) = to_client(mode, &ca, None);
        assert_eq!((server, names), (Err(TlsError::NoCertificate), None));
        assert!(client.unwrap_err().to_string().contains("wants a certificate of Weir's"));
        let (_, server, _) = to_client(mode, &ca, Some(other.issue("app", &[])));
        assert_eq!(server, Err(TlsError::Untrusted));
        let (_, server, _) = to_client(mode, &ca, Some(ca.issue_for(2001, 2002)));
        assert_eq!(server, Err(TlsError::Expired));
    }
    // Not asked: not shown.
    let (client, server, names) = to_client(TlsMode::Required, &ca, Some(ca.issue("app", &[])));
    assert_eq!((client, server, names), (Ok(()), Ok(()), None));
}

#[test]
fn a_resumed_client_is_still_known() {
    let ca = Authority::new("ca");
    let mut server = endpoint(TlsMode::VerifyIdentity, vec![ca.issue("weir", &[])]);
    server.client_ca = Some(ca.certificates());
    let identity = Some(ca.issue("app", &[]));
    let sides = Sides::new(server, BackendTls { identity, ..backend(TlsMode::Required, "db") });
    for is_resumed in [false, true] {
        let pair = sides.connect();
        assert_eq!(pair.server.stream.is_resumed(), is_resumed);
        assert!(pair.server.stream.peer_names().unwrap().include_account(b"app"));
    }
}

#[test]
fn clients_are_shown_the_certificate_they_ask_for() {
    let ca = Authority::new("ca");
    let identities =
        vec![ca.issue("usual", &["usual"]), ca.issue("x", &["a.example", "*.b.example"])];
    for (asked, shown) in [
        ("usual", "usual"),
        ("a.example", "x"),
        ("c.b.example", "x"),
        ("10.0.0.1", "usual"),
        ("unknown", "usual"),
    ] {
        let server = endpoint(TlsMode::Required, identities.clone());
        let pair = Sides::new(server, backend(TlsMode::Required, asked)).connect();
        let names = pair.client.stream.peer_names().unwrap();
        assert_eq!(names.common.as_deref(), Some(shown), "{asked}");
    }
}
