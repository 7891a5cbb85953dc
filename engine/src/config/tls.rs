//! What a configuration says about TLS.
//!
//! Purpose: modes, certificates and keys as checked values, and their reading from PEM files.
//! Never: judge a certificate beyond its being one; whether key and certificate belong together is
//! found out by `tls`, which can sign. Never show a key.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use zeroize::Zeroizing;

use super::raw::{At, Document, Table};

/// How much TLS one side of a connection asks of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// None: TLS is not offered to a client, not asked of a server.
    Disabled,
    /// Used where the other side can.
    Preferred,
    /// Nothing without it; certificates are not looked at.
    Required,
    /// And the other side's certificate must come from the authority given.
    VerifyCa,
    /// And be its own: a server's name, a client's account.
    VerifyIdentity,
}

impl TlsMode {
    /// Whether a connection without TLS is refused.
    #[must_use]
    pub const fn is_required(self) -> bool {
        match self {
            Self::Disabled | Self::Preferred => false,
            Self::Required | Self::VerifyCa | Self::VerifyIdentity => true,
        }
    }

    /// Whether the other side's certificate is checked against an authority.
    #[must_use]
    pub const fn verifies(self) -> bool {
        match self {
            Self::Disabled | Self::Preferred | Self::Required => false,
            Self::VerifyCa | Self::VerifyIdentity => true,
        }
    }
}

/// TLS toward the clients of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTls {
    /// What is asked of clients.
    pub mode: TlsMode,
    /// Certificates shown to clients, the usual one first; empty for one made by Weir itself.
    pub identities: Vec<Identity>,
    /// The authority of clients' certificates; there in the modes that verify.
    pub client_ca: Option<Certificates>,
}

/// TLS toward a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// What is asked of the server.
    pub mode: TlsMode,
    /// The authority of the server's certificate; there in the modes that verify.
    pub ca: Option<Certificates>,
    /// What is shown to a server that wants a certificate.
    pub identity: Option<Identity>,
    /// Name the server is asked for, and must have in its certificate.
    pub server_name: ServerName<'static>,
}

/// A certificate and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and an authority.
    pub chain: Certificates,
    /// Its key.
    pub key: PrivateKey,
}

/// The certificates of one file: at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The file, as the configuration names it.
    pub file: String,
    /// In the file's order.
    pub der: Vec<CertificateDer<'static>>,
}

/// What proves a certificate. Never shown: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    /// The file, as the configuration names it.
    pub file: String,
    der: Arc<Zeroizing<PrivateKeyDer<'static>>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({:?}, {})", self.file, self.der.len())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?}, …)", self.file)
    }
}

impl Certificates {
    /// Reads the certificates of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the text, for the person who named the file.
    pub fn of_pem(file: &str, text: &str) -> Result<Self, String> {
        let der: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match der {
            Err(_) => Err(format!("is damaged: it is not whole PEM; {CERTIFICATES}")),
            Ok(der) if der.is_empty() => Err(format!("holds no certificate; {CERTIFICATES}")),
            Ok(der) => Ok(Self { file: file.to_owned(), der }),
        }
    }
}

impl PrivateKey {
    /// Reads the key of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the text, for the person who named the file; never a part of it.
    pub fn of_pem(file: &str, text: &str) -> Result<Self, String> {
        // PEM's own errors quote the file.
        match PrivateKeyDer::pem_slice_iter(text.as_bytes()).next() {
            Some(Ok(der)) => Ok(Self { file: file.to_owned(), der: Arc::new(Zeroizing::new(der)) }),
            Some(Err(_)) => Err(format!("is damaged: it is not whole PEM; {KEY}")),
            None if text.contains("ENCRYPTED") => {
                Err("is encrypted; Weir needs the key without a passphrase".to_owned())
            }
            None => Err(format!("holds no private key; {KEY}")),
        }
    }

    /// The key itself.
    #[must_use]
    pub fn der(&self) -> &PrivateKeyDer<'static> {
        &self.der
    }
}

/// The keys of an endpoint.
pub(super) fn of_endpoint(document: &Document<'_>, table: &Table<'_>) -> EndpointTls {
    let mode = table.word("tls").map_or(TlsMode::Preferred, |OfEndpoint(mode)| mode);
    let keys = ["tls_certificate_file", "tls_key_file"];
    let mut identities: Vec<_> = identity(document, table, keys).into_iter().collect();
    let further = table.many("certificate");
    if let Some(first) = further.first()
        && table.mixed(keys[0]).is_none()
    {
        let message = "needs a usual certificate beside it: the endpoint's tls_certificate_file";
        document.reject(&first.place(), message);
    }
    for table in further {
        let keys = ["certificate_file", "key_file"];
        if keys.iter().all(|key| table.mixed(key).is_none()) {
            document.reject(&table.place_of(keys[0]), "is missing: the path of a PEM file");
        }
        identities.extend(identity(document, &table, keys));
    }
    let client_ca = authority(document, table, mode, "tls_client_ca_file");
    EndpointTls { mode, identities, client_ca }
}

/// The keys of a backend, whose address is given as it is written.
pub(super) fn of_backend(
    document: &Document<'_>,
    table: &Table<'_>,
    address: Option<&At<String>>,
) -> BackendTls {
    let mode = table.word("tls").map_or(TlsMode::Disabled, |OfBackend(mode)| mode);
    BackendTls {
        mode,
        ca: authority(document, table, mode, "tls_ca_file"),
        identity: identity(document, table, ["tls_certificate_file", "tls_key_file"]),
        server_name: server_name(document, table, mode, address),
    }
}

fn server_name(
    document: &Document<'_>,
    table: &Table<'_>,
    mode: TlsMode,
    address: Option<&At<String>>,
) -> ServerName<'static> {
    let given = table.text("tls_server_name");
    let is_given = given.is_some();
    let name = given.or_else(|| {
        let host = address?.value.rsplit_once(':')?.0;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(At { value: host.to_owned(), place: table.place_of("tls_server_name") })
    });
    if let Some(At { value, place }) = name {
        match ServerName::try_from(value) {
            Ok(name) => return name,
            Err(_) if is_given => document.reject(&place, "must be a DNS name or an IP address"),
            // A host name that only this machine understands does not matter without TLS.
            Err(_) if mode == TlsMode::Disabled => {}
            Err(_) => document.reject(
                &place,
                "is needed: the host in address is neither a DNS name nor an IP address",
            ),
        }
    }
    // Stands for a name that was rejected, or is not needed.
    ServerName::from(Ipv4Addr::UNSPECIFIED)
}

/// The authority's certificates, where the mode looks at them.
fn authority(
    document: &Document<'_>,
    table: &Table<'_>,
    mode: TlsMode,
    key: &str,
) -> Option<Certificates> {
    let given = table.text(key);
    match &given {
        None if mode.verifies() && table.mixed(key).is_none() => {
            let message =
                "is missing: verifying needs the PEM file of the authority's certificates";
            document.reject(&table.place_of(key), message);
        }
        // Whoever names an authority counts on its being asked.
        Some(At { place, .. }) if !mode.verifies() => {
            let message = "is not looked at without tls = \"verify-ca\" or \"verify-identity\"";
            document.reject(place, message);
        }
        Some(_) | None => {}
    }
    read(document, given?, Certificates::of_pem)
}

/// A certificate and its key, which come together.
fn identity(document: &Document<'_>, table: &Table<'_>, keys: [&str; 2]) -> Option<Identity> {
    let [certificate, key] = keys;
    let is_there = keys.map(|key| table.mixed(key).is_some());
    for (given, absent) in [(certificate, key), (key, certificate)] {
        if let Some(given) = table.mixed(given)
            && table.mixed(absent).is_none()
        {
            document.reject(&given.place, format!("needs {absent} as well"));
        }
    }
    let chain = table.text(certificate).and_then(|at| read(document, at, Certificates::of_pem));
    let key = table.text(key).and_then(|at| read(document, at, PrivateKey::of_pem));
    (is_there == [true; 2]).then_some(())?;
    Some(Identity { chain: chain?, key: key? })
}

/// A key without a certificate.
pub(super) fn private_key(
    document: &Document<'_>,
    table: &Table<'_>,
    key: &str,
) -> Option<PrivateKey> {
    table.text(key).and_then(|at| read(document, at, PrivateKey::of_pem))
}

fn read<T>(
    document: &Document<'_>,
    file: At<String>,
    of_pem: fn(&str, &str) -> Result<T, String>,
) -> Option<T> {
    let At { value: path, place } = file;
    let text = document.lookup.file(&path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("cannot be read: {error}"));
    let read = text.and_then(|text| of_pem(&path, &text));
    read.map_err(|message| document.reject(&place, message)).ok()
}

/// A mode where it is an endpoint's: TLS is offered unless told otherwise.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct OfEndpoint(pub(super) TlsMode);

/// A mode where it is a backend's: TLS is not asked for unless told so.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct OfBackend(pub(super) TlsMode);

const CERTIFICATES: &str = "PEM is needed, with -----BEGIN CERTIFICATE-----";
const KEY: &str = "PEM is needed, with -----BEGIN PRIVATE KEY-----";

#[cfg(test)]
mod tests;
