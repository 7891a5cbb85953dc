//! How bytes travel: plain, inside of TLS, compressed, or both.
//!
//! Purpose: a server that offers all of it, Weirs that use one way behind and offer all before, and
//! proof that a connection really travels as the test's name says.
//! Never: take a way for granted: clients and servers fall back to plain without a word.

use std::net::SocketAddr;
use std::sync::OnceLock;

use weir::wire::compress::Algorithm;
use weir::wire::{Capabilities, Command, Reader};
use weir_tests::{
    Client, Flavour, Login, RawClient, RunFolder, Server, ServerOptions, TestCertificates, Weir,
    WeirConfig, trusting_tls,
};

use crate::fixture::{Database, On, PASSWORD, Proxy, USER, config, database, on_every_server};

on_every_server!(
    capability_ssl_on_either_side,
    capability_compress_on_either_side,
    capability_zstd_on_either_side
);

fn capability_ssl_on_either_side(on: On) {
    check_sides(on, Transport::TLS);
}

fn capability_compress_on_either_side(on: On) {
    check_sides(on, Transport::ZLIB);
}

/// MariaDB's clients and servers know none, so there it is between MySQL's clients and Weir only.
fn capability_zstd_on_either_side(on: On) {
    check_sides(on, Transport::ZSTD);
}

/// Each side has it or has it not, whatever the other has.
fn check_sides(on: On, way: Transport) {
    let secured = Secured::shared(on);
    // So that MySQL knows the password: these clients have only the short exchange.
    secured.server().client(USER, PASSWORD).query("SELECT 1").unwrap();
    for behind in [Transport::PLAIN, way] {
        if behind.unknown_to(on.flavour).is_some() {
            continue;
        }
        let proxy = Proxy::start_with(on, &secured.config(on, behind));
        for before in [Transport::PLAIN, way] {
            let earlier = Used::of(&proxy.weir);
            let login = before.login(account());
            let mut client = RawClient::log_in(proxy.weir.address(), &login).unwrap();
            behind.check_of_server(on.flavour, &mut client);
            assert_eq!(client.value("SELECT REPEAT('x', 5000)").unwrap(), "x".repeat(5000));
            let now = Used::of(&proxy.weir);
            assert_eq!(now.handshakes > earlier.handshakes, before.tls);
            let compresses = before.compression.or(behind.compression).is_some();
            assert_eq!(now.compressed > earlier.compressed, compresses);
        }
        proxy.finish();
    }
}

/// A client that speaks neither of attributes nor of definitions that are left out, and asks for
/// what MariaDB keeps in a schema.
fn account() -> Login {
    Login::new(USER, PASSWORD)
        .without(Capabilities::NO_SCHEMA)
        .without(Capabilities::QUERY_ATTRIBUTES)
        .without(Capabilities::OPTIONAL_RESULTSET_METADATA)
}

/// A way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transport {
    pub(crate) tls: bool,
    pub(crate) compression: Option<Algorithm>,
}

const ZLIB: Option<Algorithm> = Some(Algorithm::Zlib);
const ZSTD: Option<Algorithm> = Some(Algorithm::Zstd { level: 3 });

impl Transport {
    pub(crate) const PLAIN: Self = Self { tls: false, compression: None };
    pub(crate) const TLS: Self = Self { tls: true, compression: None };
    pub(crate) const ZLIB: Self = Self { tls: false, compression: ZLIB };
    pub(crate) const ZSTD: Self = Self { tls: false, compression: ZSTD };
    pub(crate) const TLS_ZLIB: Self = Self { tls: true, compression: ZLIB };
    pub(crate) const TLS_ZSTD: Self = Self { tls: true, compression: ZSTD };
    pub(crate) const ALL: [Self; 6] =
        [Self::PLAIN, Self::TLS, Self::ZLIB, Self::ZSTD, Self::TLS_ZLIB, Self::TLS_ZSTD];

    /// Why neither this server nor the programs that come with it know this way, if so.
    pub(crate) const fn unknown_to(self, flavour: Flavour) -> Option<&'static str> {
        match (flavour, self.compression) {
            (Flavour::MariaDb, Some(Algorithm::Zstd { .. })) => {
                Some("zstd is MySQL's, from 8.0.18 on")
            }
            _ => None,
        }
    }

    /// The ways that a server and its programs know.
    pub(crate) fn known_to(flavour: Flavour) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |way| way.unknown_to(flavour).is_none())
    }

    /// A login that comes this way.
    pub(crate) fn login(self, login: Login) -> Login {
        let login = if self.tls { login.with_tls(&trusting_tls()) } else { login };
        match self.compression {
            Some(algorithm) => login.with_compression(algorithm),
            None => login,
        }
    }

    /// A command-line client that comes this way, to whoever has a certificate of this authority's.
    pub(crate) fn client(self, client: Client, ca: &str) -> Client {
        let client = if self.tls { client.tls(ca) } else { client };
        match self.compression {
            Some(algorithm) => client.compression(algorithm),
            None => client,
        }
    }

    /// As the server shows it to the session whose connection it is.
    fn shown(self, flavour: Flavour) -> Vec<(&'static str, &'static str)> {
        let tls = ("Ssl_version", if self.tls { "TLSv1.3" } else { "" });
        let compressed = ("Compression", if self.compression.is_some() { "ON" } else { "OFF" });
        let name = match self.compression {
            None => "",
            Some(Algorithm::Zlib) => "zlib",
            Some(Algorithm::Zstd { .. }) => "zstd",
        };
        match flavour {
            Flavour::MariaDb => vec![tls, compressed],
            Flavour::MySql => vec![tls, compressed, ("Compression_algorithm", name)],
        }
    }

    /// The server itself says that it is reached this way by the session of `client`.
    pub(crate) fn check_of_server(self, flavour: Flavour, client: &mut RawClient) {
        for (name, value) in self.shown(flavour) {
            assert_eq!(status(client, name), value, "{name} of a session that came by {self:?}");
        }
    }
}

/// A variable of SHOW STATUS, by the text protocol without extensions.
fn status(client: &mut RawClient, name: &str) -> String {
    let mut command = vec![Command::Query.as_byte()];
    if client.capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
        command.extend([0, 1]);
    }
    command.extend(format!("SHOW SESSION STATUS LIKE '{name}'").into_bytes());
    let reply = client.ask(&command).unwrap();
    let row = if client.capabilities.contains(Capabilities::DEPRECATE_EOF) { 3 } else { 4 };
    let (_, row) = reply.get(row).unwrap_or_else(|| panic!("no {name}: {reply:02x?}"));
    let mut fields = Reader::new(row);
    assert_eq!(fields.lenenc_bytes().unwrap(), name.as_bytes());
    String::from_utf8(fields.lenenc_bytes().unwrap().to_vec()).unwrap()
}

/// Clients of a Weir, whose backend is plain, come by this way while `run` runs.
pub(crate) fn check_clients(weir: &Weir, way: Transport, run: impl FnOnce()) {
    let before = Used::of(weir);
    run();
    let after = Used::of(weir);
    let (tls, compressed) =
        (after.handshakes > before.handshakes, after.compressed > before.compressed);
    assert_eq!((tls, compressed), (way.tls, way.compression.is_some()), "what clients really used");
}

/// Where a client comes to, and how.
#[derive(Clone, Debug)]
pub(crate) struct To {
    pub(crate) address: SocketAddr,
    pub(crate) way: Transport,
    /// File of the authority both sides' certificates are from.
    pub(crate) ca: String,
    /// Empty.
    pub(crate) database: String,
}

/// Runs the same on a server and through a Weir before it, over each of these ways.
pub(crate) fn directly_and_through(
    on: On,
    test: &str,
    ways: &[Transport],
    assertions: impl Fn(To),
) {
    let secured = Secured::shared(on);
    let proxy = Proxy::start_with(on, &secured.config(on, Transport::PLAIN));
    for way in ways.iter().copied() {
        let again = |address| {
            let database = database(secured.server(), test, on);
            assertions(To { address, way, ca: secured.ca(), database });
        };
        again(secured.server().address());
        check_clients(&proxy.weir, way, || again(proxy.weir.address()));
    }
    proxy.finish();
}

/// What was used so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Used {
    /// TLS handshakes of clients.
    pub(crate) handshakes: f64,
    /// Bytes that came compressed, from either side.
    pub(crate) compressed: f64,
}

impl Used {
    pub(crate) fn of(weir: &Weir) -> Self {
        let metrics = weir.metrics().unwrap();
        let count = |name: &str| metrics.value(name, &[]).unwrap();
        Self {
            handshakes: count("weir_tls_client_handshakes_total"),
            compressed: count("weir_compressed_bytes_received_total"),
        }
    }
}

/// A server that speaks TLS as well, and the certificates of everybody.
pub(crate) struct Secured {
    database: Database,
    pub(crate) certificates: TestCertificates,
    _folder: RunFolder,
}

impl Secured {
    fn start(flavour: Flavour) -> Self {
        let folder = RunFolder::create("certificates").unwrap();
        let certificates = TestCertificates::create(folder.path(), USER).unwrap();
        let extra = certificates.server_args();
        let options = ServerOptions { flavour, extra, ..ServerOptions::default() };
        Self { database: Database::start_with(options), certificates, _folder: folder }
    }

    /// The one of all tests that do not harm it.
    pub(crate) fn shared(on: On) -> &'static Self {
        static MARIADB: OnceLock<Secured> = OnceLock::new();
        static MYSQL: OnceLock<Secured> = OnceLock::new();
        let shared = match on.flavour {
            Flavour::MariaDb => &MARIADB,
            Flavour::MySql => &MYSQL,
        };
        shared.get_or_init(|| Self::start(on.flavour))
    }

    pub(crate) const fn server(&self) -> &Server {
        &self.database.server
    }

    /// The authority of its certificate, and of Weir's.
    pub(crate) fn ca(&self) -> String {
        self.certificates.path("ca.pem")
    }

    /// A Weir that offers clients every way, and comes to the server by one.
    pub(crate) fn config(&self, on: On, behind: Transport) -> WeirConfig {
        let mut config = config(on, self.server());
        let file = |key: &str, name| format!("{key} = \"{}\"", self.certificates.path(name));
        config.endpoint_lines.push(file("tls_certificate_file", "server.pem"));
        config.endpoint_lines.push(file("tls_key_file", "server-key.pem"));
        if behind.tls {
            config.backend_lines.push("tls = \"verify-identity\"".to_owned());
            config.backend_lines.push(file("tls_ca_file", "ca.pem"));
        }
        let compression = match behind.compression {
            None => "none",
            Some(Algorithm::Zlib) => "zlib",
            Some(Algorithm::Zstd { .. }) => "zstd",
        };
        config.backend_lines.push(format!("compression = \"{compression}\""));
        config
    }
}
