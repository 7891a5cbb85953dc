//! A connection of the control thread to a backend, encrypted or not.
//!
//! Purpose: let probes speak to servers as sessions do.
//! Never: wait without the caller's timeout around it.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::base::Address;
use crate::tls;

const READ_BYTES: usize = 4 << 10;

/// A connection; errors are texts for the log.
pub(super) struct Link {
    socket: Box<dyn Socket>,
    tls: Option<tls::Stream>,
    received: BytesMut,
    plain: BytesMut,
    out: BytesMut,
}

impl Link {
    pub(super) async fn connect(address: &Address) -> Result<Self, String> {
        let socket = open(address).await.map_err(|error| error.to_string())?;
        let received = BytesMut::with_capacity(READ_BYTES);
        Ok(Self { socket, tls: None, received, plain: BytesMut::new(), out: BytesMut::new() })
    }

    /// Goes on in TLS. What is sent from now on waits for the handshake, which is over at the
    /// latest when something is received.
    pub(super) async fn start_tls(&mut self, context: &tls::ClientContext) -> Result<(), String> {
        self.tls = Some(tls::Stream::client(context).map_err(|error| error.to_string())?);
        self.received.clear();
        self.decrypt().await
    }

    /// The next bytes, at least one.
    pub(super) async fn receive(&mut self) -> Result<&[u8], String> {
        loop {
            self.received.clear();
            let read = self.socket.read_buf(&mut self.received).await;
            if read.map_err(|error| error.to_string())? == 0 {
                return Err("it closed the connection".to_owned());
            }
            if self.tls.is_none() {
                return Ok(&self.received);
            }
            self.plain.clear();
            self.decrypt().await?;
            if !self.plain.is_empty() {
                return Ok(&self.plain);
            }
        }
    }

    /// Feeds TLS what was received, and sends what it has to say.
    async fn decrypt(&mut self) -> Result<(), String> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let read = tls.read(&self.received, &mut self.plain, &mut self.out);
        let is_over = tls.is_peer_closed() && self.plain.is_empty();
        self.flush().await?;
        read.map_err(|error| error.to_string())?;
        if is_over { Err("it closed the connection".to_owned()) } else { Ok(()) }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &mut self.tls {
            None => self.out.extend_from_slice(bytes),
            Some(tls) => tls.write(bytes, &mut self.out).map_err(|error| error.to_string())?,
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), String> {
        let written = self.socket.write_all(&self.out).await;
        self.out.clear();
        written.map_err(|error| error.to_string())
    }
}

/// TCP or unix.
trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket for T {}

async fn open(address: &Address) -> std::io::Result<Box<dyn Socket>> {
    Ok(match address {
        Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}
