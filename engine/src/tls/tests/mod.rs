//! Both sides of Weir against each other, in memory.
//!
//! Purpose: certificates made on the spot, a pair of streams, and what carries bytes between them.
//! Never: use a file, a socket, or a certificate of somebody's.

mod bytes;
mod certificates;
mod contexts;

use std::sync::Arc;

use ::bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::ServerName;

use super::*;
use crate::base::{BackendId, EndpointId};
use crate::config::{
    BackendTls, Certificates, Config, EndpointTls, Identity, Offline, PrivateKey, TlsMode, parse,
};

/// Who signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = subject(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn certificates(&self) -> Certificates {
        Certificates::of_pem("ca.pem", &self.0.pem()).unwrap()
    }

    /// A certificate with a common name and other ones.
    pub(super) fn issue(&self, common: &str, names: &[&str]) -> Identity {
        self.sign(&subject(common, names))
    }

    pub(super) fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        identity(&certificate.pem(), &key.serialize_pem())
    }

    /// One that was valid in other days: before or after ours.
    pub(super) fn issue_for(&self, from: i32, to: i32) -> Identity {
        let mut params = subject("db", &["db"]);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        self.sign(&params)
    }
}

pub(super) fn subject(common: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params
}

pub(super) fn identity(certificate: &str, key: &str) -> Identity {
    Identity {
        chain: Certificates::of_pem("cert.pem", certificate).unwrap(),
        key: PrivateKey::of_pem("key.pem", key).unwrap(),
    }
}

pub(super) fn endpoint(mode: TlsMode, identities: Vec<Identity>) -> EndpointTls {
    EndpointTls { mode, identities, client_ca: None }
}

pub(super) fn backend(mode: TlsMode, name: &str) -> BackendTls {
    let server_name = ServerName::try_from(name.to_owned()).unwrap();
    BackendTls { mode, ca: None, identity: None, server_name }
}

pub(super) fn config(endpoint: EndpointTls, backend: BackendTls) -> Config {
    let text = "[[cluster]]\nname = \"main\"\nmonitor = { user = \"m\", password = \"\" }\n\
                backend = [{ name = \"db\", address = \"127.0.0.1:1\", role = \"primary\" }]\n\
                [[endpoint]]\nname = \"app\"\nlisten = \"127.0.0.1:2\"\ncluster = \"main\"\n\
                [[user]]\nname = \"u\"\npassword = \"p\"\n";
    let mut config = parse(text, &Offline).unwrap();
    config.endpoints[0].tls = endpoint;
    config.backends[0].tls = backend;
    config
}

/// Both contexts, for several connections.
pub(super) struct Sides {
    pub(super) server: Arc<ServerContext>,
    pub(super) client: Arc<ClientContext>,
}

impl Sides {
    pub(super) fn new(endpoint: EndpointTls, backend: BackendTls) -> Self {
        let contexts = Contexts::build(&config(endpoint, backend), None).unwrap();
        Self {
            server: contexts.endpoint(EndpointId(0)).unwrap().clone(),
            client: contexts.backend(BackendId(0)).unwrap().clone(),
        }
    }

    /// Sides that look at no certificate.
    pub(super) fn plain() -> Self {
        let server = Authority::new("ca").issue("db", &["db"]);
        Self::new(endpoint(TlsMode::Preferred, vec![server]), backend(TlsMode::Required, "db"))
    }

    pub(super) fn pair(&self) -> Pair {
        let client = Stream::client(&self.client).unwrap();
        Pair { client: Side::new(client), server: Side::new(Stream::server(&self.server).unwrap()) }
    }

    /// A connection that got through its handshake, with what comes after it.
    pub(super) fn connect(&self) -> Pair {
        let mut pair = self.pair();
        assert_eq!(pair.run(usize::MAX), (Ok(()), Ok(())));
        pair
    }
}

/// One stream and what it made of its bytes.
pub(super) struct Side {
    pub(super) stream: Stream,
    pub(super) plain: BytesMut,
    pub(super) out: BytesMut,
    pub(super) end: Result<(), TlsError>,
}

impl Side {
    fn new(stream: Stream) -> Self {
        Self { stream, plain: BytesMut::new(), out: BytesMut::new(), end: Ok(()) }
    }

    pub(super) fn read(&mut self, input: &[u8]) {
        self.end = self.stream.read(input, &mut self.plain, &mut self.out);
    }

    pub(super) fn write(&mut self, plain: &[u8]) {
        self.stream.write(plain, &mut self.out).unwrap();
    }
}

/// A connection.
pub(super) struct Pair {
    pub(super) client: Side,
    pub(super) server: Side,
}

impl Pair {
    /// Carries bytes, in pieces of at most so many, until there are none.
    /// Gives how it stands with the client and the server.
    pub(super) fn run(&mut self, piece: usize) -> (Result<(), TlsError>, Result<(), TlsError>) {
        self.run_cut(|| piece)
    }

    pub(super) fn run_cut(
        &mut self,
        mut piece: impl FnMut() -> usize,
    ) -> (Result<(), TlsError>, Result<(), TlsError>) {
        if self.client.stream.is_handshaking() {
            self.client.read(&[]);
        }
        loop {
            let to_server = self.client.out.split();
            for bytes in pieces(&to_server, &mut piece) {
                self.server.read(bytes);
            }
            let to_client = self.server.out.split();
            for bytes in pieces(&to_client, &mut piece) {
                self.client.read(bytes);
            }
            if to_server.is_empty() && to_client.is_empty() {
                return (self.client.end.clone(), self.server.end.clone());
            }
        }
    }
}

fn pieces<'b>(mut bytes: &'b [u8], piece: &mut impl FnMut() -> usize) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (head, tail) = bytes.split_at(piece().clamp(1, bytes.len()));
        pieces.push(head);
        bytes = tail;
    }
    pieces
}
