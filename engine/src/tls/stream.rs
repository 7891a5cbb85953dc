//! The encryption of one connection.
//!
//! Purpose: what a socket received in, what the protocol above sees out, and the other way round.
//! Never: keep more than a part of a record, and what waits for the end of the handshake.

use std::fmt;
use std::ops::Deref;

use bytes::Buf;
use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, HandshakeKind};

use super::context::{ClientContext, ServerContext};
use super::error::TlsError;
use super::names::CertificateNames;

/// TLS on one connection, after what both sides said before it.
///
/// Everything to be sent is appended to a buffer of the caller's, also when a call fails: then it
/// is the alert that tells the other side why.
pub struct Stream {
    conn: Conn,
    /// What was received and is no whole record yet.
    input: BytesMut,
    /// What was to be sent before the handshake was over.
    early: BytesMut,
    /// Why there is no more to come.
    failed: Option<TlsError>,
    is_peer_closed: bool,
    is_closed: bool,
}

/// Which side Weir is.
enum Conn {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.conn {
            Conn::Server(_) => "server",
            Conn::Client(_) => "client",
        };
        f.debug_struct("Stream")
            .field("side", &side)
            .field("is_handshaking", &self.is_handshaking())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Toward a client, which begins.
    ///
    /// # Errors
    /// rustls cannot start, which its configuration rules out.
    pub fn server(context: &ServerContext) -> Result<Self, TlsError> {
        let conn = UnbufferedServerConnection::new(context.config.clone());
        let conn = conn.map_err(|error| TlsError::of(&error, false))?;
        Ok(Self::new(Conn::Server(Box::new(conn))))
    }

    /// Toward a server: the first [`Self::read`], with nothing received, begins.
    ///
    /// # Errors
    /// rustls cannot start, which its configuration rules out.
    pub fn client(context: &ClientContext) -> Result<Self, TlsError> {
        let conn = UnbufferedClientConnection::new(context.config.clone(), context.name.clone());
        let conn = conn.map_err(|error| TlsError::of(&error, false))?;
        Ok(Self::new(Conn::Client(Box::new(conn))))
    }

    fn new(conn: Conn) -> Self {
        Self {
            conn,
            input: BytesMut::new(),
            early: BytesMut::new(),
            failed: None,
            is_peer_closed: false,
            is_closed: false,
        }
    }

    /// Takes in what was received: what is meant for the protocol above is appended to `plain`,
    /// what is to be sent to `out`.
    ///
    /// # Errors
    /// The connection is at its end; the same error from then on.
    pub fn read(
        &mut self,
        input: &[u8],
        plain: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.is_peer_closed {
            return Ok(());
        }
        self.input.extend_from_slice(input);
        loop {
            match self.step(plain, out) {
                Step::Again => {}
                Step::Wait => break,
                Step::Failed(error) => return Err(self.fail(error, out)),
            }
        }
        // A quiet connection holds no more than it needs.
        if self.is_peer_closed || self.input.is_empty() && self.input.capacity() > KEPT_BYTES_MAX {
            self.input = BytesMut::new();
        }
        Ok(())
    }

    /// Encrypts what is to be sent. During the handshake it is kept until that is over.
    ///
    /// # Errors
    /// The connection is at its end, or too much is kept already.
    pub fn write(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.is_handshaking() {
            if self.early.len() + plain.len() > EARLY_BYTES_MAX {
                return Err(self.fail(TlsError::TooMuchTooEarly, out));
            }
            self.early.extend_from_slice(plain);
            return Ok(());
        }
        let written = match &mut self.conn {
            Conn::Server(conn) => {
                traffic(conn.process_tls_records(&mut self.input), |it| encrypt(it, plain, out))
            }
            Conn::Client(conn) => {
                traffic(conn.process_tls_records(&mut self.input), |it| encrypt(it, plain, out))
            }
        };
        written.map_err(|error| self.fail(error, out))
    }

    /// Says that nothing more will be sent; what the other side still sends can be read.
    pub fn close(&mut self, out: &mut BytesMut) {
        if self.is_closed || self.failed.is_some() || self.is_handshaking() {
            return;
        }
        self.is_closed = true;
        let closed = match &mut self.conn {
            Conn::Server(conn) => {
                traffic(conn.process_tls_records(&mut self.input), |it| say_closed(it, out))
            }
            Conn::Client(conn) => {
                traffic(conn.process_tls_records(&mut self.input), |it| say_closed(it, out))
            }
        };
        self.failed = closed.err();
    }

    /// Whether the handshake is not over.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// Whether the other side has said that it sends no more.
    #[must_use]
    pub const fn is_peer_closed(&self) -> bool {
        self.is_peer_closed
    }

    /// Whether the handshake was cut short because the two sides knew each other.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The names in the certificate that the other side proved to be its own; `None` without one.
    #[must_use]
    pub fn peer_names(&self) -> Option<CertificateNames> {
        self.state().peer_certificates()?.first().map(CertificateNames::of)
    }

    fn state(&self) -> &CommonState {
        match &self.conn {
            Conn::Server(conn) => conn.deref(),
            Conn::Client(conn) => conn.deref(),
        }
    }

    fn step(&mut self, plain: &mut BytesMut, out: &mut BytesMut) -> Step {
        let (used, step) = match &mut self.conn {
            Conn::Server(conn) => {
                let status = conn.process_tls_records(&mut self.input);
                step(status, &mut self.early, &mut self.is_peer_closed, plain, out)
            }
            Conn::Client(conn) => {
                let status = conn.process_tls_records(&mut self.input);
                step(status, &mut self.early, &mut self.is_peer_closed, plain, out)
            }
        };
        self.input.advance(used.min(self.input.len()));
        step.unwrap_or_else(|error| Step::Failed(TlsError::of(&error, self.is_handshaking())))
    }

    /// Ends the connection, with the alert that rustls has for it.
    fn fail(&mut self, error: TlsError, out: &mut BytesMut) -> TlsError {
        self.failed = Some(error.clone());
        self.early = BytesMut::new();
        // No further: what the error came from is still in the input, and rustls would see it again.
        while self.state().wants_write() {
            let used = match &mut self.conn {
                Conn::Server(conn) => alert(conn.process_tls_records(&mut self.input), out),
                Conn::Client(conn) => alert(conn.process_tls_records(&mut self.input), out),
            };
            let Some(used) = used else { break };
            self.input.advance(used.min(self.input.len()));
        }
        self.input = BytesMut::new();
        error
    }
}

/// What to do after a state of rustls' was dealt with.
enum Step {
    /// Ask for the next.
    Again,
    /// Wait for more input.
    Wait,
    /// End.
    Failed(TlsError),
}

type Stepped = (usize, Result<Step, rustls::Error>);

/// Deals with one state. Also says how much of the input was used up.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    early: &mut BytesMut,
    is_peer_closed: &mut bool,
    plain: &mut BytesMut,
    out: &mut BytesMut,
) -> Stepped {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut step = Ok(Step::Again);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    Err(error) => step = Err(error),
                }
            }
            step
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(&mut data, out);
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => {
            *is_peer_closed = true;
            Ok(Step::Again)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let early = std::mem::take(early);
            Ok(match encrypt(&mut traffic, &early, out) {
                Ok(()) => Step::Wait,
                Err(error) => Step::Failed(error),
            })
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(Step::Wait),
        // Early data, which is not allowed anywhere.
        Ok(_) => Ok(Step::Failed(out_of_turn())),
    };
    (discard, step)
}

/// Hands the state in which data may be sent to `act`; after a handshake there is no other, for
/// reading has dealt with them.
fn traffic<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    act: impl FnOnce(&mut WriteTraffic<'_, Data>) -> Result<(), TlsError>,
) -> Result<(), TlsError> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => act(&mut traffic),
        Ok(_) => Err(out_of_turn()),
        Err(error) => Err(TlsError::of(&error, false)),
    }
}

fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    plain: &[u8],
    out: &mut BytesMut,
) -> Result<(), TlsError> {
    if plain.is_empty() {
        return Ok(());
    }
    let records = plain.len().div_ceil(RECORD_BYTES_MAX);
    let room = plain.len() + records * RECORD_OVERHEAD_MAX + KEY_UPDATE_BYTES_MAX;
    append(out, room, |to| traffic.encrypt(plain, to))
}

fn say_closed<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    out: &mut BytesMut,
) -> Result<(), TlsError> {
    append(out, RECORD_OVERHEAD_MAX + KEY_UPDATE_BYTES_MAX, |to| traffic.queue_close_notify(to))
}

/// Lets `write` fill the end of `out`; with more room if rustls knows better how much it takes.
fn append(
    out: &mut BytesMut,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), TlsError> {
    let start = out.len();
    loop {
        out.resize(start + room, 0);
        let written = write(out.get_mut(start..).unwrap_or_default());
        out.truncate(start + *written.as_ref().unwrap_or(&0));
        match written {
            Ok(_) => return Ok(()),
            Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(error) => return Err(TlsError::Broken(error.to_string().into())),
        }
    }
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut BytesMut) {
    let start = out.len();
    // Asked with no room, it says how much it takes.
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else { return };
    out.resize(start + size.required_size, 0);
    let written = data.encode(out.get_mut(start..).unwrap_or_default());
    out.truncate(start + written.unwrap_or(0));
}

/// Takes out what is to be sent last. Gives how much of the input was used up.
fn alert<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut BytesMut) -> Option<usize> {
    if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
        encode(&mut data, out);
        return Some(status.discard);
    }
    None
}

fn out_of_turn() -> TlsError {
    TlsError::Broken("it is in no state to send data".into())
}

/// Most that is kept until the handshake is over: a login, and what is pipelined behind it.
const EARLY_BYTES_MAX: usize = 128 << 10;
/// Most memory that waits for the next record when nothing of it has come.
const KEPT_BYTES_MAX: usize = 1 << 10;
/// Longest plaintext of one record.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// Most that a record adds: header, nonce, type and tag.
const RECORD_OVERHEAD_MAX: usize = 5 + 8 + 1 + 16;
/// A change of keys may come before it.
const KEY_UPDATE_BYTES_MAX: usize = 64;
