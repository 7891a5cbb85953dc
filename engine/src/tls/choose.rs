//! Which of several certificates a client is shown.
//!
//! Purpose: by the name the client asks for, and by the signatures it understands.
//! Never: refuse a client for asking for an unknown name: most ask for an address, or for nothing.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::CertificateNames;

/// The certificates of one endpoint.
#[derive(Debug)]
pub(super) struct Choice {
    /// The usual one first.
    certificates: Vec<(CertificateNames, Arc<CertifiedKey>)>,
}

impl Choice {
    pub(super) fn new(keys: Vec<CertifiedKey>) -> Self {
        let named = |key: CertifiedKey| {
            let names = key.cert.first().map(CertificateNames::of).unwrap_or_default();
            (names, Arc::new(key))
        };
        Self { certificates: keys.into_iter().map(named).collect() }
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |key: &Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let named = hello.server_name().and_then(|server| {
            let mut all = self.certificates.iter();
            all.find(|(names, key)| names.include_server(server) && usable(key))
        });
        named.or_else(|| self.certificates.first()).map(|(_, key)| key.clone())
    }
}
