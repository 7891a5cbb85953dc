//! One connection of a [`ScriptedServer`](crate::ScriptedServer).
//!
//! Purpose: greet, let in and answer, honestly or as the script says.
//! Never: misbehave toward the monitor's account after its greeting: probes see a healthy server.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use weir::auth::{RsaKey, Seed};
use weir::wire::compress::Algorithm;
use weir::wire::proxy::{self, Origin};
use weir::wire::{
    AuthMoreData, AuthSwitch, Capabilities, Command, Greeting, LoginRequest, NONCE_LEN, Side,
    Status, ZSTD_LEVEL_DEFAULT,
};

use crate::layers::Layers;
use crate::password::{self, NATIVE, SHA2};
use crate::replies::Packets;
use crate::scripted::{Shared, locked};

/// The account that always finds a healthy server.
pub const MONITOR: &str = "monitor";

const NONCE: [u8; NONCE_LEN] = *b"abcdefghijklmnopqrst";

/// The key passwords are sealed for.
const KEY: &str = include_str!("../../engine/testdata/rsa-key.pem");

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Go,
    /// It is closed.
    Close,
    /// It is reset.
    Reset,
}

/// Answers one command.
pub type Responder = dyn Fn(&mut Talk<'_>, &[u8]) -> io::Result<Next> + Send + Sync;

/// How a connection begins.
#[derive(Clone, Debug)]
pub enum Greet {
    /// With a greeting.
    Normal,
    /// With a greeting, one byte at a time and this long between two.
    Slowly(Duration),
    /// With these bytes, and then its end.
    Bytes(Vec<u8>),
    /// Not at all; it stays open.
    Never,
}

/// How a login is answered.
#[derive(Clone, Debug)]
pub enum Admit {
    /// As its password deserves, by the script's plugin; clients that chose another are switched.
    Check,
    /// As with [`Self::Check`], once the flag is set.
    Held(Arc<AtomicBool>),
    /// By a switch to another plugin first.
    Switch(&'static str),
    /// By the full exchange of `caching_sha2_password`: as its password deserves, once it came
    /// sealed for the server's key.
    FullExchange,
    /// By asking for that exchange with something that is no key.
    FullExchangeWithout(&'static [u8]),
    /// By an error.
    Refuse(u16, &'static str),
    /// By these bytes, and then its end.
    Bytes(Vec<u8>),
    /// Not at all.
    Never,
}

/// How connections are treated.
#[derive(Clone)]
pub struct Script {
    /// Version in the greeting.
    pub version: &'static str,
    /// What the server can do.
    pub capabilities: Capabilities,
    /// Plugin in the greeting.
    pub plugin: &'static str,
    /// Password of every account.
    pub password: &'static str,
    /// Where the PROXY headers are noted that connections have to begin with; `None`: they do not.
    pub headers: Option<Arc<Mutex<Vec<Origin>>>>,
    /// How a connection begins.
    pub greet: Greet,
    /// How a login is answered.
    pub admit: Admit,
    /// What answers commands.
    pub respond: Arc<Responder>,
    /// How long a connection takes to end that was told to.
    pub lingers: Duration,
}

impl Default for Script {
    /// A healthy server with everything Weir knows, whose answers are [`echo`].
    fn default() -> Self {
        let known = [
            Capabilities::LONG_PASSWORD,
            Capabilities::FOUND_ROWS,
            Capabilities::LONG_FLAG,
            Capabilities::CONNECT_WITH_DB,
            Capabilities::LOCAL_FILES,
            Capabilities::PROTOCOL_41,
            Capabilities::INTERACTIVE,
            Capabilities::TRANSACTIONS,
            Capabilities::SECURE_CONNECTION,
            Capabilities::MULTI_STATEMENTS,
            Capabilities::MULTI_RESULTS,
            Capabilities::PS_MULTI_RESULTS,
            Capabilities::PLUGIN_AUTH,
            Capabilities::PLUGIN_AUTH_LENENC,
            Capabilities::CONNECT_ATTRS,
            Capabilities::SESSION_TRACK,
            Capabilities::DEPRECATE_EOF,
        ];
        Self {
            version: "8.0.99-scripted",
            capabilities: known.into_iter().fold(Capabilities::NONE, Capabilities::union),
            plugin: NATIVE,
            password: "secret",
            headers: None,
            greet: Greet::Normal,
            admit: Admit::Check,
            respond: Arc::new(echo),
            lingers: Duration::ZERO,
        }
    }
}

impl Script {
    /// With another answer to commands.
    #[must_use]
    pub fn responding(
        mut self,
        respond: impl Fn(&mut Talk<'_>, &[u8]) -> io::Result<Next> + Send + Sync + 'static,
    ) -> Self {
        self.respond = Arc::new(respond);
        self
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script")
            .field("greet", &self.greet)
            .field("admit", &self.admit)
            .finish_non_exhaustive()
    }
}

/// A connection, from the server's end.
pub struct Talk<'a> {
    stream: &'a TcpStream,
    layers: Option<Layers>,
    shared: &'a Shared,
    /// What was negotiated.
    pub capabilities: Capabilities,
    user: Vec<u8>,
    /// Sequence id of the next packet.
    pub seq: u8,
}

impl std::fmt::Debug for Talk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Talk<'_> {
    /// A reply to the packet read last.
    #[must_use]
    pub fn reply(&self) -> Packets {
        Packets::new(self.seq, self.capabilities)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<Next> {
        self.write_all(bytes)?;
        Ok(Next::Go)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.layers {
            None => self.stream.write_all(bytes),
            Some(layers) => layers.send(self.stream, bytes),
        }
    }

    /// Sends bytes that are in compressed packets already, and counts them as
    /// [`Self::send_counted`] does.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send_compressed(&mut self, bytes: &[u8]) -> io::Result<Next> {
        self.stream.write_all(bytes)?;
        self.shared.count(|counts| counts.sent += bytes.len());
        Ok(Next::Go)
    }

    /// Sends a step of an authentication.
    fn send_more(&mut self, data: &[u8]) -> io::Result<Next> {
        let mut out = BytesMut::new();
        AuthMoreData { data }.encode(self.seq, &mut out);
        self.send(&out)
    }

    /// Sends many bytes, and lets [`Counts::sent`](crate::Counts) say how far that is.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send_counted(&mut self, bytes: &[u8]) -> io::Result<Next> {
        for piece in bytes.chunks(64 << 10) {
            self.write_all(piece)?;
            self.shared.count(|counts| counts.sent += piece.len());
        }
        Ok(Next::Go)
    }

    /// Sends bytes in pieces of that length, each in a packet of its own as far as TCP allows.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send_pieces(&mut self, bytes: &[u8], piece_bytes: usize) -> io::Result<Next> {
        for piece in bytes.chunks(piece_bytes) {
            self.write_all(piece)?;
        }
        Ok(Next::Go)
    }

    /// Reads a whole packet; the next one sent has the sequence id after its own.
    ///
    /// # Errors
    /// When the connection ends.
    pub fn packet(&mut self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.read_exact(&mut header)?;
            let [a, b, c, seq] = header;
            let length = u32::from_le_bytes([a, b, c, 0]);
            let start = payload.len();
            io::copy(&mut self.take(length.into()), &mut payload)?;
            let complete = payload.len() - start == usize::try_from(length).unwrap_or(usize::MAX);
            self.seq = seq.wrapping_add(1);
            match (complete, length) {
                (false, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (true, 0xFF_FFFF) => {}
                (true, _) => return Ok(payload),
            }
        }
    }

    /// From here on compressed, if that was agreed.
    fn compress(&mut self) {
        let algorithm = if self.capabilities.contains(Capabilities::COMPRESS) {
            Algorithm::Zlib
        } else if self.capabilities.contains(Capabilities::ZSTD) {
            Algorithm::Zstd { level: ZSTD_LEVEL_DEFAULT }
        } else {
            return;
        };
        self.layers.get_or_insert_default().compress(algorithm, Side::Client);
    }

    /// Waits, without a word, until the other side is gone.
    ///
    /// # Errors
    /// When it goes by a reset.
    pub fn hang(&mut self) -> io::Result<Next> {
        io::copy(&mut self.stream, &mut io::sink())?;
        Ok(Next::Close)
    }
}

impl Read for Talk<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.stream.read(into),
            Some(layers) => layers.read(self.stream, into),
        }
    }
}

/// Answers a query by one row that is its own text, everything else by OK.
///
/// # Errors
/// When the connection is gone.
pub fn echo(talk: &mut Talk<'_>, command: &[u8]) -> io::Result<Next> {
    let reply = match command.split_first() {
        Some((byte, text)) if *byte == Command::Query.as_byte() => talk.reply().result_set([text]),
        _ => talk.reply().ok(),
    };
    talk.send(&reply.bytes())
}

/// Serves one connection until its end; how it is to end.
pub(crate) fn serve(stream: &TcpStream, script: &Script, shared: &Shared) -> io::Result<Next> {
    stream.set_nodelay(true)?;
    let mut talk = Talk {
        stream,
        layers: None,
        shared,
        capabilities: script.capabilities,
        user: Vec::new(),
        seq: 0,
    };
    match log_in(&mut talk, script) {
        Ok(Next::Go) => {}
        Ok(other @ (Next::Close | Next::Reset)) => return Ok(other),
        Err(error) => {
            shared.count(|counts| counts.aborted += 1);
            return Err(error);
        }
    }
    talk.compress();
    if talk.user == MONITOR.as_bytes() {
        shared.count(|counts| {
            counts.monitors += 1;
            counts.monitors_open += 1;
        });
        let end = answer(&mut talk, &Script::default(), &|| ());
        shared.count(|counts| counts.monitors_open -= 1);
        return end;
    }
    shared.count(|counts| {
        counts.logins += 1;
        counts.open += 1;
        counts.open_max = counts.open_max.max(counts.open);
    });
    let end = answer(&mut talk, script, &|| shared.count(|counts| counts.commands += 1));
    shared.count(|counts| counts.open -= 1);
    end
}

fn answer(talk: &mut Talk<'_>, script: &Script, counted: &dyn Fn()) -> io::Result<Next> {
    loop {
        let command = talk.packet()?;
        counted();
        if command.first() == Some(&Command::Quit.as_byte()) {
            thread::sleep(script.lingers);
            return Ok(Next::Close);
        }
        match (script.respond)(talk, &command)? {
            Next::Go => {}
            end @ (Next::Close | Next::Reset) => return Ok(end),
        }
    }
}

/// Reads a PROXY header, and not a byte more.
fn header(talk: &mut Talk<'_>) -> io::Result<Origin> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        talk.read_exact(&mut byte)?;
        bytes.extend_from_slice(&byte);
        if let Some((origin, _)) = proxy::parse(&bytes).map_err(io::Error::other)? {
            return Ok(origin);
        }
    }
}

/// From the greeting to the OK.
fn log_in(talk: &mut Talk<'_>, script: &Script) -> io::Result<Next> {
    if let Some(headers) = &script.headers {
        let origin = header(talk)?;
        locked(headers).push(origin);
    }
    let mut greeting = BytesMut::new();
    Greeting {
        version: script.version.as_bytes().to_vec(),
        connection_id: 7,
        nonce: NONCE,
        capabilities: script.capabilities,
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: script.plugin.as_bytes().to_vec(),
    }
    .encode(0, &mut greeting);
    match &script.greet {
        Greet::Normal => talk.send(&greeting)?,
        Greet::Slowly(pause) => {
            for byte in greeting.chunks(1) {
                talk.send(byte)?;
                thread::sleep(*pause);
            }
            Next::Go
        }
        Greet::Bytes(bytes) => {
            talk.send(bytes)?;
            return Ok(Next::Close);
        }
        Greet::Never => return talk.hang(),
    };
    let packet = talk.packet()?;
    let request = LoginRequest::parse(&packet).map_err(io::Error::other)?;
    talk.capabilities = request.capabilities.intersection(script.capabilities);
    talk.user.clone_from(&request.user);
    let monitor = talk.user == MONITOR.as_bytes();
    if monitor {
        return admit(talk, script, true, request);
    }
    talk.shared.count(|counts| {
        counts.logging_in += 1;
        counts.logging_in_max = counts.logging_in_max.max(counts.logging_in);
    });
    let end = admit(talk, script, false, request);
    talk.shared.count(|counts| counts.logging_in -= 1);
    end
}

fn admit(
    talk: &mut Talk<'_>,
    script: &Script,
    monitor: bool,
    request: LoginRequest,
) -> io::Result<Next> {
    let plugin = match &script.admit {
        _ if monitor => script.plugin,
        Admit::Check => script.plugin,
        Admit::Held(open) => {
            while !open.load(Ordering::SeqCst) && !talk.shared.is_stopping() {
                thread::sleep(Duration::from_millis(1));
            }
            script.plugin
        }
        Admit::Switch(plugin) => plugin,
        Admit::FullExchange => {
            let key = RsaKey::from_pem(KEY).map_err(io::Error::other)?;
            return full_exchange(talk, script, key.public_pem().as_bytes(), &key);
        }
        Admit::FullExchangeWithout(key) => {
            let real = RsaKey::from_pem(KEY).map_err(io::Error::other)?;
            return full_exchange(talk, script, key, &real);
        }
        Admit::Refuse(code, text) => {
            let refusal = talk.reply().error(*code, text).bytes();
            talk.send(&refusal)?;
            return Ok(Next::Close);
        }
        Admit::Bytes(bytes) => {
            talk.send(bytes)?;
            return Ok(Next::Close);
        }
        Admit::Never => return talk.hang(),
    };
    check_password(talk, script, plugin, request)
}

/// A password that comes in another way than sealed is refused: this link is not encrypted.
fn full_exchange(
    talk: &mut Talk<'_>,
    script: &Script,
    shown_key: &[u8],
    key: &RsaKey,
) -> io::Result<Next> {
    talk.send_more(&[4])?;
    if talk.packet()? == [2] {
        talk.send_more(shown_key)?;
        let sealed = talk.packet()?;
        let opened = key.open(&sealed, &NONCE, &Seed::new([1; Seed::BYTES]));
        let expected = [script.password.as_bytes(), &[0]].concat();
        if opened.is_some_and(|opened| *opened == expected) {
            let ok = talk.reply().ok().bytes();
            return talk.send(&ok);
        }
    }
    let refusal = talk.reply().error(1045, "Access denied by the scripted server").bytes();
    talk.send(&refusal)?;
    Ok(Next::Close)
}

fn check_password(
    talk: &mut Talk<'_>,
    script: &Script,
    plugin: &str,
    request: LoginRequest,
) -> io::Result<Next> {
    let mut given = request.auth_response;
    if request.plugin.as_deref() != Some(plugin.as_bytes()) {
        let mut out = BytesMut::new();
        let data = [&NONCE[..], &[0]].concat();
        AuthSwitch { plugin: plugin.as_bytes(), data: &data }.encode(talk.seq, &mut out);
        talk.send(&out)?;
        given = talk.packet()?;
    }
    if given != password::answer(plugin, script.password, &NONCE) {
        let refusal = talk.reply().error(1045, "Access denied by the scripted server").bytes();
        talk.send(&refusal)?;
        return Ok(Next::Close);
    }
    if plugin == SHA2 {
        talk.send_more(&[3])?;
        talk.seq = talk.seq.wrapping_add(1);
    }
    let ok = talk.reply().ok().bytes();
    talk.send(&ok)
}
