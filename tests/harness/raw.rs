//! A client that can do everything wrong.
//!
//! Purpose: send any bytes in any cut, and see exactly what comes back and how the connection ends.
//! Never: wait for ever: every wait has the same generous bound.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, BytesMut};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, SockRef, Socket, Type};
use weir::wire::compress::Algorithm;
use weir::wire::{
    AuthSwitch, Capabilities, ChangeUser, Command, ErrPacket, Greeting, LoginRequest, Side,
    SslRequest, ZSTD_LEVEL_DEFAULT, frame,
};

use crate::layers::Layers;
use crate::password::{self, NATIVE};
use crate::replies::Packets;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Who logs in, and how.
#[derive(Clone, Debug)]
pub struct Login {
    /// Account name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// What the client asks for, of what it is offered.
    pub capabilities: Capabilities,
    /// The plugin its first answer is made by.
    pub plugin: &'static str,
    /// With TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// How it compresses, if it is offered.
    pub compression: Option<Algorithm>,
    /// Schema to begin in.
    pub database: Option<String>,
    /// Number of the collation to begin with.
    pub collation: u8,
}

impl Login {
    /// As a current client with `mysql_native_password`.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            capabilities: Capabilities::from_bits(u64::from(u32::MAX))
                .without(Capabilities::SSL)
                .without(Capabilities::COMPRESS)
                .without(Capabilities::ZSTD),
            plugin: NATIVE,
            tls: None,
            compression: None,
            database: None,
            collation: 45,
        }
    }

    /// With TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: &Arc<ClientConfig>) -> Self {
        self.capabilities = self.capabilities.union(Capabilities::SSL);
        self.tls = Some(tls.clone());
        self
    }

    /// With compression.
    #[must_use]
    pub fn with_compression(mut self, algorithm: Algorithm) -> Self {
        self.capabilities = self.capabilities.union(match algorithm {
            Algorithm::Zlib => Capabilities::COMPRESS,
            Algorithm::Zstd { .. } => Capabilities::ZSTD,
        });
        self.compression = Some(algorithm);
        self
    }

    /// With these capabilities; any of MariaDB's own takes LONG_PASSWORD away.
    #[must_use]
    pub const fn with(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = self.capabilities.union(capabilities);
        if capabilities.extended() != 0 {
            self.capabilities = self.capabilities.without(Capabilities::LONG_PASSWORD);
        }
        self
    }

    /// Without these capabilities.
    #[must_use]
    pub const fn without(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = self.capabilities.without(capabilities);
        self
    }

    /// The login request that answers a greeting, as a packet.
    #[must_use]
    pub fn request(&self, greeting: &Greeting) -> BytesMut {
        let mut out = BytesMut::new();
        LoginRequest {
            capabilities: self.capabilities.intersection(greeting.capabilities),
            packet_bytes_max: 1 << 24,
            collation: self.collation,
            user: self.user.clone().into_bytes(),
            auth_response: password::answer(self.plugin, &self.password, &greeting.nonce),
            database: self.database.clone().map(String::into_bytes),
            plugin: Some(self.plugin.as_bytes().to_vec()),
            connect_attrs: None,
            zstd_level: match self.compression {
                Some(Algorithm::Zstd { level }) => level,
                Some(Algorithm::Zlib) | None => ZSTD_LEVEL_DEFAULT,
            },
        }
        .encode(if self.tls.is_some() { 2 } else { 1 }, &mut out);
        out
    }

    /// The wish for TLS that comes before the login request, as a packet.
    #[must_use]
    pub fn ssl_request(&self, greeting: &Greeting) -> BytesMut {
        let mut out = BytesMut::new();
        SslRequest {
            capabilities: self.capabilities.intersection(greeting.capabilities),
            packet_bytes_max: 1 << 24,
            collation: self.collation,
        }
        .encode(1, &mut out);
        out
    }
}

/// An ERR packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Sequence id.
    pub seq: u8,
    /// Error number.
    pub code: u16,
    /// Text.
    pub text: String,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Eof,
    /// By a reset.
    Reset,
}

/// A client's connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    layers: Option<Box<Layers>>,
    /// What was negotiated.
    pub capabilities: Capabilities,
    /// Its id, as the greeting said.
    pub connection_id: u32,
    /// The nonce its last answer was made of.
    nonce: Vec<u8>,
    /// Of its login.
    collation: u8,
}

impl RawClient {
    /// Connects; nothing is read yet.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// Connects from an address of this machine; all of 127.0.0.0/8 are.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::over(socket.into())
    }

    /// Both ends of the connection: this one, and the other.
    ///
    /// # Errors
    /// When it is gone.
    pub fn ends(&self) -> Result<(SocketAddr, SocketAddr)> {
        Ok((self.stream.local_addr()?, self.stream.peer_addr()?))
    }

    /// Connects with buffers and segments so small that the kernel holds little of what is not
    /// read. (With loopback's 64 KiB segments the sender's kernel takes megabytes.)
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect_narrow(address: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_recv_buffer_size(4096)?;
        socket.set_tcp_mss(536)?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            layers: None,
            capabilities: Capabilities::NONE,
            connection_id: 0,
            nonce: Vec::new(),
            collation: 45,
        })
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn log_in(address: SocketAddr, login: &Login) -> Result<Self> {
        let mut client = Self::connect(address)?;
        client.authenticate(login)?;
        Ok(client)
    }

    /// Reads the greeting.
    ///
    /// # Errors
    /// When an error or garbage comes in its place.
    pub fn greeting(&mut self) -> Result<Greeting> {
        let (seq, payload) = self.packet()?;
        if payload.first() == Some(&0xFF) {
            bail!("refused: {:?}", error_of(seq, &payload)?);
        }
        ensure!(seq == 0, "a greeting with sequence id {seq}");
        let greeting = Greeting::parse(&payload).context("greeting")?;
        self.nonce = greeting.nonce.to_vec();
        Ok(greeting)
    }

    /// From the greeting to the OK.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn authenticate(&mut self, login: &Login) -> Result<()> {
        let greeting = self.greeting()?;
        self.connection_id = greeting.connection_id;
        self.capabilities = login.capabilities.intersection(greeting.capabilities);
        self.collation = login.collation;
        if let Some(tls) = &login.tls {
            ensure!(self.capabilities.contains(Capabilities::SSL), "TLS is not offered");
            self.start_tls(tls, &login.ssl_request(&greeting))?;
        }
        self.send(&login.request(&greeting))?;
        match self.prove(&login.password)? {
            (_, Ok(())) => login.compression.map_or(Ok(()), |algorithm| self.compress(algorithm)),
            (_, Err(error)) => bail!("refused: {error:?}"),
        }
    }

    /// Answers what a server asks to prove the account, up to its OK or ERR: how many packets of
    /// it that took, and the outcome.
    ///
    /// # Errors
    /// When something else comes.
    pub fn prove(&mut self, password: &str) -> Result<(u32, Result<(), ServerError>)> {
        for packets in 1.. {
            let (seq, payload) = self.packet()?;
            match payload.split_first() {
                Some((0x00, _)) => return Ok((packets, Ok(()))),
                Some((0x01, [3])) => {}
                Some((0x01, [4])) => self.tell(seq.wrapping_add(1), password)?,
                Some((0x01, key)) => {
                    let sealed = password::seal(key, password, &self.nonce)?;
                    self.send_packet(seq.wrapping_add(1), &sealed)?;
                }
                Some((0xFE, _)) => {
                    let switch = AuthSwitch::parse(&payload)?;
                    let plugin = std::str::from_utf8(switch.plugin)?;
                    let nonce = switch.data.get(..20).context("nonce")?;
                    let answer = password::answer(plugin, password, nonce);
                    self.nonce = nonce.to_vec();
                    self.send_packet(seq.wrapping_add(1), &answer)?;
                }
                Some((0xFF, _)) => return Ok((packets, Err(error_of(seq, &payload)?))),
                _ => break,
            }
        }
        bail!("unexpected packet in a login")
    }

    /// Sends the password itself through TLS; elsewhere asks for a key to seal it for.
    fn tell(&mut self, seq: u8, password: &str) -> Result<()> {
        if self.tls().is_some() {
            self.send_packet(seq, &[password.as_bytes(), &[0]].concat())
        } else {
            self.send_packet(seq, &[2])
        }
    }

    /// Sends COM_CHANGE_USER and proves the account; as [`Self::prove`].
    ///
    /// # Errors
    /// As [`Self::prove`].
    pub fn change_user(
        &mut self,
        user: &str,
        password: &str,
        database: Option<&str>,
    ) -> Result<(u32, Result<(), ServerError>)> {
        let mut out = BytesMut::new();
        ChangeUser {
            user: user.as_bytes().to_vec(),
            database: database.map(|name| name.as_bytes().to_vec()),
            collation: self.collation.into(),
            plugin: Some(NATIVE.as_bytes().to_vec()),
            connect_attrs: None,
        }
        .encode(self.capabilities, &mut out);
        self.send(&out)?;
        self.prove(password)
    }

    /// Sends a command and a COM_PING behind it; gives the packets of the command's reply. A reply
    /// ends where another one begins, so this knows nothing of replies.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn ask(&mut self, command: &[u8]) -> Result<Vec<(u8, Vec<u8>)>> {
        self.send_packet(0, command)?;
        self.send_packet(0, &[Command::Ping.as_byte()])?;
        let mut packets = vec![self.packet()?];
        loop {
            let packet = self.packet()?;
            if packet.0 == 1 {
                ensure!(packet.1.first() == Some(&0), "no answer to the ping: {packet:02x?}");
                return Ok(packets);
            }
            packets.push(packet);
        }
    }

    /// The text protocol's answer of one column and one row.
    ///
    /// # Errors
    /// When another answer comes.
    pub fn value(&mut self, sql: &str) -> Result<String> {
        let reply = self.ask(&[&[Command::Query.as_byte()], sql.as_bytes()].concat())?;
        let row = if self.capabilities.contains(Capabilities::DEPRECATE_EOF) { 2 } else { 3 };
        let (_, payload) = reply.get(row).with_context(|| format!("no row: {reply:02x?}"))?;
        let value = weir::wire::Reader::new(payload).lenenc_bytes()?;
        Ok(String::from_utf8_lossy(value).into_owned())
    }

    /// Goes on in TLS, whose first bytes are in one segment with the wish for it.
    ///
    /// # Errors
    /// When rustls does not take the configuration, or the connection is gone.
    pub fn start_tls(&mut self, config: &Arc<ClientConfig>, wish: &[u8]) -> Result<()> {
        self.start_tls_with("localhost", config, wish)
    }

    /// As [`Self::start_tls`], asking for a server of that name (SNI).
    ///
    /// # Errors
    /// As [`Self::start_tls`].
    pub fn start_tls_with(
        &mut self,
        host: &str,
        config: &Arc<ClientConfig>,
        wish: &[u8],
    ) -> Result<()> {
        let hello = self.layers.get_or_insert_default().start_tls(config.clone(), host)?;
        self.send_raw(&[wish, &hello].concat())
    }

    /// Goes on compressed.
    ///
    /// # Errors
    /// When that was not offered.
    pub fn compress(&mut self, algorithm: Algorithm) -> Result<()> {
        let needed = match algorithm {
            Algorithm::Zlib => Capabilities::COMPRESS,
            Algorithm::Zstd { .. } => Capabilities::ZSTD,
        };
        ensure!(self.capabilities.contains(needed), "{algorithm:?} is not offered");
        self.layers.get_or_insert_default().compress(algorithm, Side::Backend);
        Ok(())
    }

    /// The TLS of the connection.
    #[must_use]
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.layers.as_ref()?.tls()
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is gone or the other side does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.layers {
            None => self.stream.write_all(bytes).context("sending"),
            Some(layers) => layers.send(&self.stream, bytes).context("sending"),
        }
    }

    /// Sends packets compressed before [`Self::compress`]: behind a login that is not answered yet.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_ahead(&mut self, algorithm: Algorithm, bytes: &[u8]) -> Result<()> {
        let mut ahead = Layers::default();
        ahead.compress(algorithm, Side::Backend);
        let packed = ahead.packed(bytes);
        self.send_compressed(&packed)
    }

    /// Sends bytes that are in compressed packets already.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_compressed(&mut self, bytes: &[u8]) -> Result<()> {
        let layers = self.layers.get_or_insert_default();
        layers.send_below(&self.stream, bytes).context("sending")
    }

    /// Sends bytes as they are, whatever the connection's form.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// Sends copies of `bytes` until the other side has taken nothing for half a second, or
    /// `bytes_max` are gone. How many bytes that were.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send_until_stalled(&mut self, bytes: &[u8], bytes_max: usize) -> Result<usize> {
        self.stream.set_write_timeout(Some(Duration::from_millis(500)))?;
        let mut sent = 0;
        while sent < bytes_max {
            // Goes on inside a copy, where the last write ended.
            match self.stream.write(bytes.get(sent % bytes.len()..).unwrap_or_default()) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("sending"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE))?;
        Ok(sent)
    }

    /// Sends bytes one by one.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_bytewise(&mut self, bytes: &[u8]) -> Result<()> {
        bytes.chunks(1).try_for_each(|byte| self.send(byte))
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_packet(&mut self, seq: u8, payload: &[u8]) -> Result<()> {
        self.send(&packet_of(seq, payload))
    }

    /// Sends COM_QUERY.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_query(&mut self, sql: &str) -> Result<()> {
        self.send(&Self::query_packet(sql))
    }

    /// The packet of a COM_QUERY.
    #[must_use]
    pub fn query_packet(sql: &str) -> BytesMut {
        packet_of(0, &[&[Command::Query.as_byte()], sql.as_bytes()].concat())
    }

    /// The reply a server that echoes gives to a query.
    #[must_use]
    pub fn echoed(&self, sql: &str) -> Vec<u8> {
        Packets::new(1, self.capabilities).result_set([sql]).bytes()
    }

    /// Runs a query on a server that echoes, and checks the answer.
    ///
    /// # Errors
    /// When another answer comes.
    pub fn echo(&mut self, sql: &str) -> Result<()> {
        self.send_query(sql)?;
        self.expect(&self.echoed(sql))
    }

    /// Reads a packet: sequence id and payload.
    ///
    /// # Errors
    /// When the connection ends or nothing comes.
    pub fn packet(&mut self) -> Result<(u8, Vec<u8>)> {
        let header = self.bytes(4)?;
        let [a, b, c, seq] = header.as_slice().try_into()?;
        let length = u32::from_le_bytes([a, b, c, 0]);
        Ok((seq, self.bytes(usize::try_from(length)?)?))
    }

    /// Whether something has come, or the end has; does not wait.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn has_answer(&self) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        match peeked {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("looking for an answer"),
        }
    }

    /// Reads an ERR packet.
    ///
    /// # Errors
    /// When something else comes.
    pub fn error(&mut self) -> Result<ServerError> {
        let (seq, payload) = self.packet()?;
        error_of(seq, &payload)
    }

    /// Reads that many bytes.
    ///
    /// # Errors
    /// When the connection ends or nothing comes.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes).with_context(|| format!("reading {count} bytes"))?;
        Ok(bytes)
    }

    /// Reads exactly these bytes.
    ///
    /// # Errors
    /// When others come, or too few.
    pub fn expect(&mut self, expected: &[u8]) -> Result<()> {
        let bytes = self.bytes(expected.len())?;
        if bytes != expected {
            let at = bytes.iter().zip(expected).take_while(|(a, b)| a == b).count();
            bail!("byte {at} differs: {} instead of {}", shown(&bytes, at), shown(expected, at));
        }
        Ok(())
    }

    /// Reads up to the end: what came, and how it ended. Then ends this side as well.
    ///
    /// # Errors
    /// When it does not end.
    pub fn rest(&mut self) -> Result<(Vec<u8>, End)> {
        let mut rest = Vec::new();
        let end = match self.read_to_end(&mut rest) {
            Ok(_) => End::Eof,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Err(error) => return Err(error).context("waiting for the end"),
        };
        // A reset has ended it already.
        drop(self.stream.shutdown(Shutdown::Write));
        Ok((rest, end))
    }

    /// Checks that the connection ends with nothing more to read.
    ///
    /// # Errors
    /// When something comes, or it does not end.
    pub fn closed(&mut self) -> Result<End> {
        let (rest, end) = self.rest()?;
        ensure!(rest.is_empty(), "{} bytes before the end: {}", rest.len(), shown(&rest, 0));
        Ok(end)
    }

    /// Sends no more; replies can still be read.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn finish_sending(&mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("half-close")
    }

    /// Ends the connection by a reset.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub fn reset(self) -> Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).context("linger")
    }
}

impl Read for RawClient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.stream.read(into),
            Some(layers) => layers.read(&self.stream, into),
        }
    }
}

fn packet_of(seq: u8, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    frame(&mut out, seq, |out| out.put_slice(payload));
    out
}

fn error_of(seq: u8, payload: &[u8]) -> Result<ServerError> {
    let packet = ErrPacket::parse(payload)
        .with_context(|| format!("not an error: {}", shown(payload, 0)))?;
    let text = String::from_utf8_lossy(packet.message).into_owned();
    Ok(ServerError { seq, code: packet.code, text })
}

/// Some bytes from an index on.
fn shown(bytes: &[u8], at: usize) -> String {
    bytes
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take(64)
        .copied()
        .collect::<Vec<_>>()
        .escape_ascii()
        .to_string()
}
