//! What lies between a socket and MySQL's packets: TLS, the compressed protocol, or both.
//!
//! Purpose: bytes of a socket to packets and back, for the connections that are not plain.
//! Never: touch a socket, or decode more than was asked for.
//!
//! ```text
//! socket  ⇄  TLS records  ⇄  compressed envelopes  ⇄  packets
//! ```
//!
//! A plain connection has no transport at all, and pays for this module by looking whether it has.

use bytes::BytesMut;

use crate::io::{ConnId, Driver, EndReason};
use crate::tls::{CertificateNames, Stream, TlsError};
use crate::wire::Malformed;
use crate::wire::compress::{Codec, Engines};

/// Most that is decoded before it is looked at whether the other side keeps up.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Encoded pieces from here on are handed over to the driver instead of copied.
const OWNED_BYTES_MIN: usize = 32 << 10;

/// Memory that a worker keeps for decoding from one connection to the next.
const KEPT_BYTES: usize = 1 << 20;

/// The encodings of one connection.
#[derive(Debug, Default)]
pub(super) struct Transport {
    tls: Option<Stream>,
    codec: Option<Codec>,
    /// The connection ended behind input that is not decoded yet.
    ended: Option<EndReason>,
    /// The end that TLS says has been told.
    end_told: bool,
}

/// Why a connection with a transport cannot go on.
#[derive(Debug)]
pub(super) enum TransportError {
    Tls(TlsError),
    Compression(Malformed),
}

/// What all transports of a worker share: memory and machinery for as long as a piece takes.
#[derive(Debug, Default)]
pub(super) struct Coder {
    pub(super) engines: Engines,
    /// To be sent, as the socket gets it.
    pub(super) out: BytesMut,
    /// Compressed, not yet encrypted.
    packed: BytesMut,
    /// Plain pieces on their way into one record or envelope.
    pub(super) gathered: BytesMut,
    /// Decrypted, and decompressed.
    pub(super) plain: BytesMut,
    pub(super) piece: BytesMut,
}

impl Transport {
    /// With TLS, whose handshake is still to come.
    pub(super) fn new(tls: Stream) -> Self {
        Self { tls: Some(tls), ..Self::default() }
    }

    /// From here on packets are compressed, in both directions.
    pub(super) fn compress(&mut self, codec: Codec) {
        self.codec = Some(codec);
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) const fn is_compressed(&self) -> bool {
        self.codec.is_some()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(Stream::is_handshaking)
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(Stream::is_resumed)
    }

    pub(super) fn peer_names(&self) -> Option<CertificateNames> {
        self.tls.as_ref().and_then(Stream::peer_names)
    }

    /// Takes bytes of the socket in. What they came to is appended to `plain`, or, with
    /// compression, kept for [`Transport::next_piece`]. What is to be sent is in `out` then.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<(), TransportError> {
        match (&mut self.tls, &mut self.codec) {
            (None, Some(codec)) => codec.push(bytes),
            (None, None) => plain.extend_from_slice(bytes),
            (Some(tls), codec) => {
                tls.read(bytes, plain, out)?;
                if let Some(codec) = codec {
                    codec.push(plain);
                    plain.clear();
                }
            }
        }
        Ok(())
    }

    /// Takes in what was received ahead of the compression's begin, and is compressed.
    pub(super) fn receive_early(&mut self, early: &[u8]) {
        if let Some(codec) = &mut self.codec {
            codec.push(early);
        }
    }

    /// Decodes one more piece. Whether there may be more.
    pub(super) fn next_piece(
        &mut self,
        engines: &mut Engines,
        piece: &mut BytesMut,
    ) -> Result<bool, TransportError> {
        match &mut self.codec {
            Some(codec) => {
                codec.next_plain(engines, PIECE_BYTES, piece).map_err(TransportError::Compression)
            }
            None => Ok(false),
        }
    }

    /// Encodes packets for the socket; they are in the coder's `out` then.
    pub(super) fn send(&mut self, plain: &[u8], coder: &mut Coder) -> Result<(), TransportError> {
        let Some(codec) = &mut self.codec else { return self.encrypt(plain, &mut coder.out) };
        if self.tls.is_none() {
            codec.compress(&mut coder.engines, plain, &mut coder.out);
            return Ok(());
        }
        coder.packed.clear();
        codec.compress(&mut coder.engines, plain, &mut coder.packed);
        self.encrypt(&coder.packed, &mut coder.out)
    }

    fn encrypt(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), TransportError> {
        match &mut self.tls {
            Some(tls) => Ok(tls.write(plain, out)?),
            None => {
                out.extend_from_slice(plain);
                Ok(())
            }
        }
    }

    /// Says in the other side's terms that nothing more will be sent.
    pub(super) fn close(&mut self, out: &mut BytesMut) {
        if let Some(tls) = &mut self.tls {
            tls.close(out);
        }
    }

    /// The other side has said inside TLS that it sends no more. True once.
    pub(super) fn has_ended(&mut self) -> bool {
        let ended = self.tls.as_ref().is_some_and(Stream::is_peer_closed);
        ended && !std::mem::replace(&mut self.end_told, true)
    }

    /// Keeps the connection's end until what came before it is decoded.
    pub(super) fn end_later(&mut self, reason: EndReason) {
        self.ended = Some(reason);
    }

    pub(super) const fn take_end(&mut self) -> Option<EndReason> {
        self.ended.take()
    }
}

impl Coder {
    /// Hands what was encoded to the driver. How much that was.
    pub(super) fn flush(&mut self, driver: &mut impl Driver, conn: ConnId) -> usize {
        let count = self.out.len();
        if count >= OWNED_BYTES_MIN {
            driver.send_owned(conn, std::mem::take(&mut self.out).into());
        } else if count > 0 {
            driver.send_copy(conn, &self.out);
            self.out.clear();
        }
        count
    }
}

/// Empties memory for the next use, and lets go of it when one use made it large.
pub(super) fn reuse(mut memory: BytesMut) -> BytesMut {
    memory.clear();
    if memory.capacity() > KEPT_BYTES { BytesMut::new() } else { memory }
}

impl From<TlsError> for TransportError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl std::fmt::Display for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(f),
            Self::Compression(malformed) => malformed.fmt(f),
        }
    }
}
