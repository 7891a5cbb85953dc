//! What may lie between a socket and packets: TLS, the compressed protocol, or both.
//!
//! Purpose: tests talk in packets whatever lies below.
//! Never: check a certificate; tests about a server's use real clients, or look at it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::Result;
use bytes::{Buf, BytesMut};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct, Error, SignatureScheme,
};
use weir::wire::Side;
use weir::wire::compress::{Algorithm, Codec, Engines};

/// The layers of one connection, none at first.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    tls: Option<Box<ClientConnection>>,
    codec: Option<Codec>,
    engines: Engines,
    /// Packets received and not read.
    plain: BytesMut,
}

impl Layers {
    /// TLS with `host` from here on. Its first bytes, which are to be sent; the rest of the handshake takes
    /// place when something is sent or read.
    pub(crate) fn start_tls(&mut self, config: Arc<ClientConfig>, host: &str) -> Result<Vec<u8>> {
        let name = ServerName::try_from(host.to_owned())?;
        let mut tls = Box::new(ClientConnection::new(config, name)?);
        let mut hello = Vec::new();
        tls.write_tls(&mut hello)?;
        self.tls = Some(tls);
        Ok(hello)
    }

    /// Compression from here on, with `far` at the other end.
    pub(crate) fn compress(&mut self, algorithm: Algorithm, far: Side) {
        self.codec = Some(Codec::new(algorithm, far));
    }

    pub(crate) const fn tls(&self) -> Option<&ClientConnection> {
        match &self.tls {
            Some(tls) => Some(tls),
            None => None,
        }
    }

    /// Sends packets.
    pub(crate) fn send(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        if self.codec.is_none() {
            return self.send_below(stream, bytes);
        }
        let packed = self.packed(bytes);
        self.send_below(stream, &packed)
    }

    /// Packets in compressed form.
    pub(crate) fn packed(&mut self, bytes: &[u8]) -> BytesMut {
        let mut packed = BytesMut::new();
        if let Some(codec) = &mut self.codec {
            codec.compress(&mut self.engines, bytes, &mut packed);
        }
        packed
    }

    /// Sends bytes that are compressed already.
    pub(crate) fn send_below(&mut self, mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut stream).write_all(bytes),
            None => stream.write_all(bytes),
        }
    }

    /// Reads packets' bytes; none at the end.
    pub(crate) fn read(&mut self, stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        while self.plain.is_empty() {
            if self.codec.is_none() {
                return self.read_below(stream, into);
            }
            let mut bytes = vec![0; 16 << 10];
            let count = self.read_below(stream, &mut bytes)?;
            if count == 0 {
                return Ok(0);
            }
            let Some(codec) = &mut self.codec else { continue };
            codec.push(bytes.get(..count).unwrap_or_default());
            while codec
                .next_plain(&mut self.engines, 1 << 20, &mut self.plain)
                .map_err(io::Error::other)?
            {}
        }
        let count = into.len().min(self.plain.len());
        self.plain.split_to(count).copy_to_slice(into.get_mut(..count).unwrap_or_default());
        Ok(count)
    }

    fn read_below(&mut self, mut stream: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut stream).read(into),
            None => stream.read(into),
        }
    }
}

/// A TLS client that accepts any server; clones of it share their sessions.
#[must_use]
pub fn trusting_tls() -> Arc<ClientConfig> {
    Arc::new(trusting().with_no_client_auth())
}

/// As [`trusting_tls`], with a certificate and its key in PEM files.
///
/// # Errors
/// When they cannot be used.
pub fn trusting_tls_as(certificate: &str, key: &str) -> Result<Arc<ClientConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    Ok(Arc::new(trusting().with_client_auth_cert(chain, key)?))
}

fn trusting() -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    #[expect(clippy::expect_used, reason = "rustls' own defaults fit each other")]
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let verifier = Arc::new(Anybody(provider));
    builder.dangerous().with_custom_certificate_verifier(verifier)
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
