//! Connections with a transport: TLS, the compressed protocol, or both.
//!
//! Purpose: start encodings, decode what comes in pieces the other side can take, encode what goes
//! out in few large ones.
//! Never: be called for a plain connection.
//!
//! A few compressed bytes may stand for megabytes. So input is decoded piece by piece, and not at
//! all while the other side is behind; its socket is not read meanwhile.

use bytes::BytesMut;

use crate::base::{Blame, Key};
use crate::config::TlsMode;
use crate::io::{Driver, EndReason, RecvMode};
use crate::observe::{Counter, Counters};
use crate::tls::{Stream, TlsError};
use crate::wire::compress::{Algorithm, Codec};
use crate::wire::{Capabilities, Edit, Side, ZSTD_LEVEL_DEFAULT, code, fault};
use crate::worker::Worker;
use crate::worker::entry::{Entry, Link};
use crate::worker::traffic::{Ending, Input, other};
use crate::worker::transport::{Coder, PIECE_BYTES, Transport, TransportError, reuse};

/// Pieces of one connection decoded in a turn: a bomb must not keep the others waiting.
const PIECES_PER_TURN_MAX: usize = 16;

/// Pieces from here on are encoded where they are; shorter ones are put together first.
const GATHERED_BYTES_MAX: usize = 4 << 10;

/// A connection that cannot go on.
#[derive(Debug)]
pub(super) struct Broken {
    side: Side,
    error: TransportError,
}

impl<D: Driver> Worker<D> {
    /// Goes on in TLS with a client that asked for it; `rest` came behind its wish.
    pub(super) fn start_client_tls(&mut self, key: Key, rest: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let stream = match self.resources.tls.endpoint(entry.endpoint) {
            Some(context) => Stream::server(context).map_err(TransportError::from),
            None => Err(gone()),
        };
        match stream {
            Ok(stream) => {
                entry.client.transport = Some(Box::new(Transport::new(stream)));
                self.on_coded(key, Side::Client, rest);
            }
            Err(error) => self.break_off(key, &Broken { side: Side::Client, error }),
        }
    }

    /// Goes on in TLS with a backend that was asked for it: `login` is the first thing to say.
    pub(super) fn start_backend_tls(&mut self, key: Key, login: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        let stream = match self.resources.tls.backend(backend.id) {
            Some(context) => Stream::client(context).map_err(TransportError::from),
            None => Err(gone()),
        };
        let (link, coder) = (&mut backend.link, &mut self.coder);
        let started = stream.and_then(|stream| begin_tls(link, stream, login, coder));
        self.coder.flush(&mut self.driver, backend.link.conn);
        if let Err(error) = started {
            self.break_off(key, &Broken { side: Side::Backend, error });
        }
    }

    /// The client has been told that it is logged in: from here on it compresses if it said so.
    pub(super) fn start_client_compression(&mut self, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if let Some(algorithm) = entry.session.compression() {
            compress(&mut entry.client, algorithm, Side::Client);
        }
    }

    /// The backend's OK has come: compressed from here on, if that was agreed.
    pub(super) fn start_backend_compression(&mut self, key: Key, agreed: Capabilities) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(link) = entry.link_mut(Side::Backend) else { return };
        compress_backend(link, agreed);
    }

    /// Feeds what a client sent before it was told that it is logged in.
    pub(super) fn feed_early(&mut self, key: Key, mut early: BytesMut) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        match &mut entry.client.transport {
            Some(transport) if transport.is_compressed() => {
                transport.receive_early(&early);
                self.decode(key, Side::Client);
            }
            Some(_) | None => self.feed(key, Side::Client, Input::Decoded(&mut early)),
        }
    }

    /// Bytes of a socket whose connection has a transport.
    pub(super) fn on_coded(&mut self, key: Key, side: Side, bytes: &[u8]) {
        let Some(link) = self.sessions.get_mut(key).and_then(|entry| entry.link_mut(side)) else {
            return;
        };
        let Some(transport) = &mut link.transport else { return };
        let mut plain = std::mem::take(&mut self.coder.plain);
        let was_handshaking = transport.is_handshaking();
        let received = transport.receive(bytes, &mut plain, &mut self.coder.out);
        let is_compressed = transport.is_compressed();
        let is_secured = was_handshaking && !transport.is_handshaking();
        let sent = self.coder.flush(&mut self.driver, link.conn);
        if is_compressed {
            self.counters.add(Counter::CompressedBytesReceived, bytes.len() as u64);
        }
        if sent > 0 {
            self.touched.push(key);
        }
        match received {
            Ok(()) if is_secured => self.on_secured(key, side),
            Ok(()) => {}
            Err(error) => return self.break_off(key, &Broken { side, error }),
        }
        if is_compressed {
            self.decode(key, side);
        } else if !plain.is_empty() {
            self.feed(key, side, Input::Decoded(&mut plain));
        }
        self.coder.plain = reuse(plain);
        let link = self.sessions.get_mut(key).and_then(|entry| entry.link_mut(side));
        if link.and_then(|link| link.transport.as_mut()).is_some_and(|it| it.has_ended()) {
            self.on_ended(key, side, EndReason::Eof);
        }
    }

    /// The TLS handshake is over.
    fn on_secured(&mut self, key: Key, side: Side) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(transport) = entry.link(side).and_then(|link| link.transport.as_ref()) else {
            return;
        };
        let (done, resumed) = match side {
            Side::Client => (Counter::TlsClientHandshakes, Counter::TlsClientResumptions),
            Side::Backend => (Counter::TlsBackendHandshakes, Counter::TlsBackendResumptions),
        };
        self.counters.increment(done);
        if transport.is_resumed() {
            self.counters.increment(resumed);
        }
        if side == Side::Client {
            let accounts = self.accounts_of(key);
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.session.on_tls(accounts);
            }
        }
    }

    /// The only accounts the client may log in as, where its certificate decides that.
    pub(super) fn accounts_of(&self, key: Key) -> Option<Vec<String>> {
        let entry = self.sessions.get(key)?;
        let context = self.resources.tls.endpoint(entry.endpoint)?;
        if context.mode() != TlsMode::VerifyIdentity {
            return None;
        }
        let names = entry.client.transport.as_ref().and_then(|it| it.peer_names());
        Some(names.unwrap_or_default().accounts().map(str::to_owned).collect())
    }

    /// Decodes what a compressed connection received, as far as the other side keeps up.
    pub(super) fn decode(&mut self, key: Key, side: Side) {
        let mut piece = std::mem::take(&mut self.coder.piece);
        let decoded = self.decode_pieces(key, side, &mut piece);
        self.coder.piece = reuse(piece);
        match decoded {
            Ok(true) => self.on_decoded(key, side),
            Ok(false) => {}
            Err(error) => self.break_off(key, &Broken { side, error }),
        }
    }

    /// Whether nothing is left to decode. If something is, its connection is not read.
    fn decode_pieces(
        &mut self,
        key: Key,
        side: Side,
        piece: &mut BytesMut,
    ) -> Result<bool, TransportError> {
        for _ in 0..PIECES_PER_TURN_MAX {
            let Some(entry) = self.sessions.get(key) else { return Ok(false) };
            if self.is_behind(entry, side) {
                break;
            }
            let link = self.sessions.get_mut(key).and_then(|entry| entry.link_mut(side));
            let Some(transport) = link.and_then(|link| link.transport.as_mut()) else {
                return Ok(false);
            };
            piece.clear();
            let more = transport.next_piece(&mut self.coder.engines, piece)?;
            self.counters.add(Counter::UncompressedBytesReceived, piece.len() as u64);
            if !piece.is_empty() {
                self.feed(key, side, Input::Decoded(piece));
            }
            if !more {
                return Ok(self.sessions.get(key).is_some());
            }
        }
        let Some(link) = self.sessions.get_mut(key).and_then(|entry| entry.link_mut(side)) else {
            return Ok(false);
        };
        if link.held_by.is_empty() {
            self.driver.set_recv(link.conn, RecvMode::Paused);
        }
        link.held_by.set_input(true);
        self.undecoded.push((key, side));
        // So that it is looked whether what is behind has caught up by then.
        self.touched.push(key);
        Ok(false)
    }

    /// Whether those who get what `source` sends are behind with what they were sent.
    fn is_behind(&self, entry: &Entry, source: Side) -> bool {
        let unsent = |side| entry.link(side).map_or(0, |link| self.driver.unsent_bytes(link.conn));
        let held = entry.link(source).is_some_and(|link| link.held_by.is_by_queue());
        held || self.is_too_much(unsent(Side::Client))
            || source == Side::Client && self.is_too_much(unsent(Side::Backend))
    }

    /// Nothing is left to decode: the connection is read again, or its end is dealt with.
    fn on_decoded(&mut self, key: Key, side: Side) {
        let Some(link) = self.sessions.get_mut(key).and_then(|entry| entry.link_mut(side)) else {
            return;
        };
        if !link.held_by.is_by_input() {
            return;
        }
        link.held_by.set_input(false);
        if link.held_by.is_empty() {
            self.driver.set_recv(link.conn, link.mode);
        }
        if let Some(reason) = link.transport.as_mut().and_then(|transport| transport.take_end()) {
            self.on_ended(key, side, reason);
        }
    }

    /// Goes on decoding where the last turn stopped.
    pub(super) fn decode_on(&mut self) {
        let mut undecoded = std::mem::take(&mut self.undecoded);
        for (key, side) in undecoded.drain(..) {
            let link = self.sessions.get(key).and_then(|entry| entry.link(side));
            // What a queue holds back goes on when that queue is empty.
            if link.is_some_and(|link| link.held_by.is_by_input() && !link.held_by.is_by_queue()) {
                self.decode(key, side);
            }
        }
        if self.undecoded.is_empty() {
            self.undecoded = undecoded;
        }
    }

    /// Carries out the edits of one input where one of the two connections is not plain.
    pub(super) fn carry_out_coded(
        &mut self,
        key: Key,
        from: Side,
        input: &mut Input<'_>,
    ) -> Result<(), Broken> {
        let Some(entry) = self.sessions.get_mut(key) else { return Ok(()) };
        let mut sender = Sender {
            entry,
            coder: &mut self.coder,
            driver: &mut self.driver,
            counters: &self.counters,
            target: other(from),
        };
        for edit in self.edits.list() {
            match edit {
                Edit::Forward(count) => sender.forward(other(from), input.take(*count))?,
                Edit::Discard(count) => input.discard(*count),
                Edit::Send(side, range) => sender.send(*side, self.edits.bytes(range))?,
            }
        }
        sender.flush()
    }

    /// Sends bytes to a backend, in whatever its connection is encoded.
    pub(super) fn send_to_backend(&mut self, key: Key, bytes: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let mut sender = Sender {
            entry,
            coder: &mut self.coder,
            driver: &mut self.driver,
            counters: &self.counters,
            target: Side::Backend,
        };
        if let Err(broken) = sender.encode(Side::Backend, bytes) {
            self.break_off(key, &broken);
        }
    }

    /// Says goodbye where that is part of the encoding.
    pub(super) fn close_transports(&mut self, key: Key, ending: Ending) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        for side in [Side::Client, Side::Backend] {
            let Some(link) = entry.link_mut(side) else { continue };
            let Some(transport) = &mut link.transport else { continue };
            if transport.is_handshaking() {
                self.counters.increment(match side {
                    Side::Client => Counter::TlsClientFailures,
                    Side::Backend => Counter::TlsBackendFailures,
                });
            }
            if side == Side::Client || ending == Ending::InOrder {
                transport.close(&mut self.coder.out);
                self.coder.flush(&mut self.driver, link.conn);
            }
        }
    }

    /// Ends a session one of whose connections cannot be decoded, or not be encrypted.
    pub(super) fn break_off(&mut self, key: Key, broken: &Broken) {
        let Some(entry) = self.sessions.get(key) else { return };
        let Broken { side, error } = broken;
        let in_login = entry.backend.as_ref().is_some_and(|backend| backend.is_logging_in());
        match (side, error) {
            (Side::Client, TransportError::Tls(error)) => {
                let text = format!("the client's TLS failed: {error}");
                self.fail(key, &fault(Blame::Client, code::HANDSHAKE_ERROR, text));
            }
            (Side::Client, TransportError::Compression(malformed)) => {
                let text = format!("Couldn't uncompress communication packet ({malformed})");
                self.fail(key, &fault(Blame::Client, code::NET_UNCOMPRESS_ERROR, text));
            }
            (Side::Backend, error) => {
                if in_login {
                    self.counters.increment(Counter::BackendLoginFailures);
                }
                self.fail_backend(key, code::UNKNOWN_ERROR, &error.to_string());
            }
        }
    }
}

/// Sends pieces to the two sides of a session: short ones for the same side together.
struct Sender<'w, D> {
    entry: &'w mut Entry,
    coder: &'w mut Coder,
    driver: &'w mut D,
    counters: &'w Counters,
    /// Whom the pieces are for that were put together so far.
    target: Side,
}

impl<D: Driver> Sender<'_, D> {
    /// Sends a piece of input.
    fn forward(&mut self, side: Side, mut piece: Input<'_>) -> Result<(), Broken> {
        match self.entry.link(side) {
            Some(link) if link.transport.is_none() => {
                piece.send(self.driver, link.conn);
                Ok(())
            }
            Some(_) => self.send(side, piece.bytes()),
            None => Ok(()),
        }
    }

    fn send(&mut self, side: Side, bytes: &[u8]) -> Result<(), Broken> {
        let is_plain = self.entry.link(side).is_none_or(|link| link.transport.is_none());
        if is_plain {
            return self.encode(side, bytes);
        }
        let is_long = bytes.len() >= GATHERED_BYTES_MAX;
        let gathered = self.coder.gathered.len();
        if side != self.target || is_long || gathered + bytes.len() > PIECE_BYTES {
            self.flush()?;
        }
        self.target = side;
        if is_long {
            return self.encode(side, bytes);
        }
        self.coder.gathered.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what was put together.
    fn flush(&mut self) -> Result<(), Broken> {
        let gathered = std::mem::take(&mut self.coder.gathered);
        let sent = self.encode(self.target, &gathered);
        self.coder.gathered = reuse(gathered);
        sent
    }

    fn encode(&mut self, side: Side, bytes: &[u8]) -> Result<(), Broken> {
        let Some(link) = self.entry.link_mut(side).filter(|_| !bytes.is_empty()) else {
            return Ok(());
        };
        encode(link, bytes, self.coder, self.driver, self.counters)
            .map_err(|error| Broken { side, error })
    }
}

/// Sends bytes on a connection, in whatever it is encoded.
pub(super) fn encode(
    link: &mut Link,
    bytes: &[u8],
    coder: &mut Coder,
    driver: &mut impl Driver,
    counters: &Counters,
) -> Result<(), TransportError> {
    let Some(transport) = &mut link.transport else {
        driver.send_copy(link.conn, bytes);
        return Ok(());
    };
    let encoded = transport.send(bytes, coder);
    let sent = coder.flush(driver, link.conn);
    if transport.is_compressed() {
        counters.add(Counter::UncompressedBytesSent, bytes.len() as u64);
        counters.add(Counter::CompressedBytesSent, sent as u64);
    }
    encoded
}

/// Goes on in TLS on a backend's link: `login` is the first thing to say. What is to be sent is in
/// the coder's `out` then.
pub(super) fn begin_tls(
    link: &mut Link,
    stream: Stream,
    login: &[u8],
    coder: &mut Coder,
) -> Result<(), TransportError> {
    let mut transport = Transport::new(stream);
    transport.receive(&[], &mut BytesMut::new(), &mut coder.out)?;
    transport.send(login, coder)?;
    link.transport = Some(Box::new(transport));
    Ok(())
}

/// A backend's link is compressed from here on, if that was agreed.
pub(super) fn compress_backend(link: &mut Link, agreed: Capabilities) {
    if agreed.contains(Capabilities::COMPRESS) {
        compress(link, Algorithm::Zlib, Side::Backend);
    } else if agreed.contains(Capabilities::ZSTD) {
        compress(link, Algorithm::Zstd { level: ZSTD_LEVEL_DEFAULT }, Side::Backend);
    }
}

/// A reload took the certificates away after TLS was agreed on.
fn gone() -> TransportError {
    TransportError::Tls(TlsError::Broken("it is configured no longer".into()))
}

fn compress(link: &mut Link, algorithm: Algorithm, far: Side) {
    let transport = link.transport.get_or_insert_default();
    transport.compress(Codec::new(algorithm, far));
}
