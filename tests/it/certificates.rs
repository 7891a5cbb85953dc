//! Certificates that endpoints show, and those they ask for.
//!
//! Purpose: which one a client sees, whom it lets in, and that new ones come without anybody
//! having to go.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use weir_tests::{
    Login, RawClient, RunFolder, ServerError, TestCertificates, trusting_tls, trusting_tls_as,
};

use crate::fixture::{Bed, Setting, account, wait};

on_both_drivers!(
    a_reload_shows_new_ones_and_drops_nobody,
    a_reload_of_a_wrong_key_changes_nothing,
    the_one_a_client_asks_for,
    clients_have_to_show_one,
    clients_have_to_show_their_own,
);

/// Files of an endpoint.
struct Files {
    made: TestCertificates,
    folder: RunFolder,
}

impl Files {
    fn make() -> Self {
        let folder = RunFolder::create("certificates").unwrap();
        Self { made: TestCertificates::create(folder.path(), "app").unwrap(), folder }
    }

    /// Others, of another authority, in their place.
    fn replace(&self) {
        TestCertificates::create(self.folder.path(), "app").unwrap();
    }

    fn line(&self, key: &str, file: &str) -> String {
        format!("{key} = \"{}\"", self.made.path(file))
    }

    /// An endpoint's certificate.
    fn on(&self, setting: Setting, name: &str) -> Setting {
        setting
            .endpoint(&self.line("tls_certificate_file", &format!("{name}.pem")))
            .endpoint(&self.line("tls_key_file", &format!("{name}-key.pem")))
    }

    fn der(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.made.path(&format!("{name}.pem"))).unwrap()
    }

    /// A client with one of them.
    fn client(&self, name: &str) -> Login {
        let path = |file: &str| self.made.path(&format!("{name}{file}"));
        account().with_tls(&trusting_tls_as(&path(".pem"), &path("-key.pem")).unwrap())
    }
}

fn log_in(bed: &Bed, tls: &Arc<ClientConfig>) -> RawClient {
    RawClient::log_in(bed.weir.address(), &account().with_tls(tls)).unwrap()
}

/// What Weir shows a client.
fn shown(client: &RawClient) -> CertificateDer<'static> {
    client.tls().unwrap().peer_certificates().unwrap()[0].clone().into_owned()
}

/// The same file again.
fn reload(bed: &mut Bed) -> String {
    let text = std::fs::read_to_string(bed.weir.config()).unwrap();
    bed.weir.reload(&text).unwrap()
}

fn a_reload_shows_new_ones_and_drops_nobody(driver: &str) {
    let files = Files::make();
    let mut bed = files.on(Setting::default(), "server").start(driver);
    let tls = trusting_tls();
    let mut old = log_in(&bed, &tls);
    let (first, mut resumed) = (shown(&old), log_in(&bed, &tls));
    assert_eq!(first, files.der("server"));
    // Someone is between the greeting and TLS.
    let mut greeted = bed.connect();
    let greeting = greeted.greeting().unwrap();
    files.replace();
    let said = reload(&mut bed);
    assert!(said.contains("INFO reloaded: live: endpoint[main].tls\n"), "{said}");
    wait("the new certificate", || shown(&log_in(&bed, &trusting_tls())) != first);
    assert_eq!(shown(&log_in(&bed, &trusting_tls())), files.der("server"));
    old.echo("SELECT 'old'").unwrap();
    resumed.echo("SELECT 'resumed'").unwrap();
    let login = account().with_tls(&tls);
    greeted.capabilities = login.capabilities.intersection(greeting.capabilities);
    greeted.start_tls(&tls, &login.ssl_request(&greeting)).unwrap();
    greeted.send(&login.request(&greeting)).unwrap();
    assert_eq!(greeted.prove("secret").unwrap().1, Ok(()));
    greeted.echo("SELECT 'greeted'").unwrap();
    // A session from before is not known any more, and that is no failure.
    log_in(&bed, &tls).echo("SELECT 'again'").unwrap();
    drop((old, resumed, greeted));
    bed.finish(&[("client_faults", 0), ("tls_client_failures", 0), ("backend_faults", 0)]);
}

fn a_reload_of_a_wrong_key_changes_nothing(driver: &str) {
    let files = Files::make();
    let mut bed = files.on(Setting::default(), "server").start(driver);
    let first = files.der("server");
    let key = files.made.path("server-key.pem");
    std::fs::copy(files.made.path("client-key.pem"), &key).unwrap();
    let said = reload(&mut bed);
    let problem = format!("endpoint 'main': {key}: is not the key of the first certificate in ");
    assert!(said.contains("ERROR not reloaded, the previous configuration stays: "), "{said}");
    assert!(said.contains(&problem), "{said}");
    std::fs::remove_file(Path::new(&key)).unwrap();
    let said = reload(&mut bed);
    assert!(said.contains("not reloaded") && said.contains(&key), "{said}");
    let mut client = log_in(&bed, &trusting_tls());
    client.echo("SELECT 1").unwrap();
    assert_eq!(shown(&client), first);
    drop(client);
    bed.finish(&[("client_faults", 0), ("tls_client_failures", 0)]);
}

fn the_one_a_client_asks_for(driver: &str) {
    let files = Files::make();
    // The client's is for no host, the server's for localhost.
    let further = format!(
        "[[endpoint.certificate]]\n{}\n{}",
        files.line("certificate_file", "server.pem"),
        files.line("key_file", "server-key.pem")
    );
    let bed = files.on(Setting::default(), "client").endpoint(&further).start(driver);
    let login = account().with_tls(&trusting_tls());
    for (host, name) in [("localhost", "server"), ("db.example", "client"), ("127.0.0.1", "client")]
    {
        let mut client = bed.connect();
        let greeting = client.greeting().unwrap();
        let wish = login.ssl_request(&greeting);
        client.start_tls_with(host, login.tls.as_ref().unwrap(), &wish).unwrap();
        client.send(&login.request(&greeting)).unwrap();
        assert_eq!(client.prove("secret").unwrap().1, Ok(()));
        assert_eq!(shown(&client), files.der(name), "{host}");
    }
    bed.finish(&[("tls_client_handshakes", 3), ("client_faults", 0)]);
}

/// A client that is not let in; the error, if TLS got that far.
fn refused(bed: &Bed, login: &Login) -> Option<ServerError> {
    let mut client = bed.connect();
    let greeting = client.greeting().unwrap();
    client.capabilities = login.capabilities.intersection(greeting.capabilities);
    if let Some(tls) = &login.tls {
        client.start_tls(tls, &login.ssl_request(&greeting)).unwrap();
    }
    client.send(&login.request(&greeting)).ok()?;
    client.error().ok()
}

fn clients_have_to_show_one(driver: &str) {
    let files = Files::make();
    let bed = files
        .on(Setting::default(), "server")
        .endpoint("tls = \"verify-ca\"")
        .endpoint(&files.line("tls_client_ca_file", "ca.pem"))
        // Whose name it has does not matter.
        .witness(files.client("server"))
        .start(driver);
    RawClient::log_in(bed.weir.address(), &files.client("client")).unwrap().echo("a").unwrap();
    assert_eq!(refused(&bed, &account()).unwrap().code, 3159);
    assert_eq!(refused(&bed, &account().with_tls(&trusting_tls())), None);
    // Of an authority nobody asked for.
    let stranger = Files::make().client("client");
    assert_eq!(refused(&bed, &stranger), None);
    let failures = [("tls_client_failures", 2), ("client_faults", 3)];
    bed.finish(&[&failures[..], &[("logins_ok", 2), ("backend_faults", 0)]].concat());
}

fn clients_have_to_show_their_own(driver: &str) {
    let files = Files::make();
    let bed = files
        .on(Setting::default(), "server")
        .endpoint("tls = \"verify-identity\"")
        .endpoint(&files.line("tls_client_ca_file", "ca.pem"))
        .witness(files.client("client"))
        .start(driver);
    let error = refused(&bed, &files.client("server")).unwrap();
    assert_eq!(error.code, 1045, "{error:?}");
    bed.finish(&[("logins_ok", 1), ("logins_denied", 1), ("backend_faults", 0)]);
}
