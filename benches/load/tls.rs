//! A stream that may be encrypted.
//!
//! Purpose: both ends of the load over TLS 1.3, with sessions resumed or not.
//! Never: check a certificate: what is measured is the proxy, not trust.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use mio::net::TcpStream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, HandshakeKind, NamedGroup,
    ServerConfig, ServerConnection, SignatureScheme,
};

/// How clients connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Without TLS.
    #[default]
    Plain,
    /// With a full handshake each time.
    Full,
    /// Resuming a session of an earlier connection, where there is one.
    Resumed,
}

impl Security {
    /// What clients need for it.
    ///
    /// # Errors
    /// Never in practice: rustls' own defaults fit each other.
    pub fn client(self) -> anyhow::Result<Option<Arc<ClientConfig>>> {
        let resumption = match self {
            Self::Plain => return Ok(None),
            Self::Full => Resumption::disabled(),
            Self::Resumed => Resumption::store(Arc::new(Tickets::default())),
        };
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        config.resumption = resumption;
        Ok(Some(Arc::new(config)))
    }
}

/// What a server needs: a certificate of its own, and tickets like Weir's.
///
/// # Errors
/// No certificate can be made.
pub fn server() -> anyhow::Result<Arc<ServerConfig>> {
    let own = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key =
        PrivateKeyDer::try_from(own.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    config.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// A socket, and the TLS on it once that was started.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

#[derive(Debug)]
struct Tls {
    connection: Connection,
    /// Received and not yet decrypted, from `at` on.
    received: Vec<u8>,
    at: usize,
}

impl Wire {
    /// A plain one.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    /// Goes on in TLS, as the client. Nothing may have been received that was not read.
    ///
    /// # Errors
    /// Never in practice.
    pub fn start_client(&mut self, config: &Arc<ClientConfig>) -> anyhow::Result<()> {
        let name = ServerName::try_from(NAME)?;
        self.start(ClientConnection::new(config.clone(), name)?.into());
        Ok(())
    }

    /// Goes on in TLS, as the server; `early` was received already.
    ///
    /// # Errors
    /// Never in practice.
    pub fn start_server(
        &mut self,
        config: &Arc<ServerConfig>,
        early: &[u8],
    ) -> Result<(), rustls::Error> {
        self.start(ServerConnection::new(config.clone())?.into());
        if let Some(tls) = &mut self.tls {
            tls.received.extend_from_slice(early);
        }
        Ok(())
    }

    fn start(&mut self, connection: Connection) {
        self.tls = Some(Box::new(Tls { connection, received: Vec::new(), at: 0 }));
    }

    /// Its handshake was short.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.connection.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// Whether there may be more to read after a read of `count` bytes into `room`: a short read of
    /// a plain stream means that it was drained.
    #[must_use]
    pub fn may_have_more(&self, count: usize, room: usize) -> bool {
        self.tls.is_some() || count == room
    }

    /// Reads what the other side sent, decrypted.
    ///
    /// # Errors
    /// As a socket that does not wait; or the TLS is broken.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(into) };
        loop {
            match tls.connection.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.at == tls.received.len() {
                tls.at = 0;
                tls.received.resize(RECEIVED_MAX, 0);
                let received = self.stream.read(&mut tls.received);
                tls.received.truncate(*received.as_ref().unwrap_or(&0));
                if received? == 0 {
                    return Ok(0);
                }
            }
            let mut rest = tls.received.get(tls.at..).unwrap_or_default();
            tls.at += tls.connection.read_tls(&mut rest)?;
            tls.connection.process_new_packets().map_err(io::Error::other)?;
            push(&mut tls.connection, &mut self.stream)?;
        }
    }

    /// Sends bytes, encrypted; how many of them were taken.
    ///
    /// # Errors
    /// As a socket that does not wait.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        push(&mut tls.connection, &mut self.stream)?;
        match tls.connection.writer().write(bytes)? {
            // Only before the end of a handshake.
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            count => push(&mut tls.connection, &mut self.stream).map(|()| count),
        }
    }

    /// Sends what was taken and did not leave yet.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn push(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => push(&mut tls.connection, &mut self.stream),
            None => Ok(()),
        }
    }
}

/// Sends as much as the socket takes.
fn push(connection: &mut Connection, stream: &mut TcpStream) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(stream) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tickets of all clients together. rustls' own store keeps eight, which clients that connect at
/// the same time use up.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() == TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }
}

/// Takes any certificate; the signature made with it is checked, for that is work, too.
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
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const NAME: &str = "localhost";
/// Bytes received with one call.
const RECEIVED_MAX: usize = 64 << 10;
/// More than clients connect at a time.
const TICKETS_MAX: usize = 1024;
