//! How a server's certificate is checked.
//!
//! Purpose: the three degrees that MySQL's clients know: not at all, its authority, its name too.
//! Never: accept more than the mode in force says.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::names::CertificateNames;

/// Takes every certificate: `preferred` and `required` only keep listeners out.
#[derive(Debug)]
pub(super) struct Anybody(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    // Whoever could forge a signature could as well sign with a certificate of their own. And to
    // check it would mean to read the certificate, which fails for the version 1 ones that
    // `openssl x509` makes and MySQL's manual tells people to use.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes certificates of an authority.
#[derive(Debug)]
pub(super) struct OfAuthority {
    pub(super) inner: Arc<WebPkiServerVerifier>,
    /// Whether the name must fit as well.
    pub(super) by_name: bool,
}

impl ServerCertVerifier for OfAuthority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(certificate, between, name, ocsp, now);
        match verified {
            // rustls looks at the name last: all else was found in order.
            Err(Error::InvalidCertificate(error)) if is_about_name(&error) => {
                if !self.by_name {
                    return Ok(ServerCertVerified::assertion());
                }
                let names = CertificateNames::of(certificate);
                // As MySQL's and MariaDB's clients take it, for older certificates.
                if names.common_counts() && names.include_server(&name.to_str()) {
                    return Ok(ServerCertVerified::assertion());
                }
                let (expected, presented) = (name.to_owned(), names.of_server());
                let error = CertificateError::NotValidForNameContext { expected, presented };
                Err(Error::InvalidCertificate(error))
            }
            Ok(_) | Err(_) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn is_about_name(error: &CertificateError) -> bool {
    matches!(
        error,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    )
}
