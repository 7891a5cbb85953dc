//! The program whose instructions `instructions` counts: one session, as many queries as asked for.
//!
//! Purpose: nothing but the worker at work. Everything a query needs is built before the first one,
//! and a query allocates nothing here.
//! Never: measure, print, or do work that grows with the number of queries.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use clap::{Parser, ValueEnum};
use weir::auth::{BackendAuth, Plugin, Proof, Seed};
use weir::base::{BackendId, EndpointId, Time, WorkerId};
use weir::bus::{self, Outbox};
use weir::config::{self, Config, Offline};
use weir::io::{
    BufferSizes, Driver, Event, Fake, FakeNet, FakePeer, Faults, PeerRead, RecvMode, Token,
};
use weir::observe::Counters;
use weir::topology::{Observation, Topology};
use weir::wire::{
    Capabilities, Command, Greeting, LoginRequest, OkPacket, Status, ZSTD_LEVEL_DEFAULT, frame,
    put_lenenc_bytes,
};
use weir::worker::{NonceSource, Parts, Worker};

/// Relays a number of text point selects through one worker on the fake driver.
#[derive(Parser)]
struct Options {
    /// How many.
    queries: u64,
    /// Who relays, and for whom.
    #[arg(value_enum, default_value_t = Kind::Modern)]
    kind: Kind,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// The worker, for a client that reads replies as backends write them.
    Modern,
    /// The worker, for a client without DEPRECATE_EOF and SESSION_TRACK.
    Classic,
    /// No worker: the same bytes through the same driver, to subtract its share and the peers'.
    Driver,
}

fn main() -> anyhow::Result<()> {
    let Options { queries, kind } = Options::parse();
    match kind {
        Kind::Modern => relay(queries, CLIENT.union(MODERN)),
        Kind::Classic => relay(queries, CLIENT),
        Kind::Driver => drive(queries),
    }
}

fn relay(queries: u64, capabilities: Capabilities) -> anyhow::Result<()> {
    let mut relay = Relay::start()?;
    let (client, backend) = relay.log_in(capabilities)?;
    let (command, reply) = (command(), reply());
    let reply_bytes = match capabilities.contains(Capabilities::DEPRECATE_EOF) {
        true => reply.len(),
        // One EOF more; the last OK becomes an EOF two bytes shorter.
        false => reply.len() + 9 - 2,
    };
    ensure!(reply.len() == REPLY_BYTES, "the reply has {} bytes", reply.len());
    let mut scratch = [0; 1024];
    for _ in 0..queries {
        relay.net.write(client, &command);
        relay.worker.turn()?;
        relay.worker.turn()?;
        take(&relay.net, backend, &mut scratch, command.len())?;
        relay.net.write(backend, &reply);
        relay.worker.turn()?;
        relay.worker.turn()?;
        take(&relay.net, client, &mut scratch, reply_bytes)?;
    }
    Ok(())
}

/// What [`relay`] does, with a loop in the worker's place that looks at nothing.
fn drive(queries: u64) -> anyhow::Result<()> {
    let (mut driver, net) = Fake::new(BufferSizes::default(), SEED, Faults::none())?;
    let config = config()?;
    let (endpoint, primary) = addresses(&config)?;
    net.serve(primary);
    driver.listen(endpoint, Token(0))?;
    let client = net.dial(endpoint).context("nobody listens")?;
    let mut events = Vec::new();
    driver.turn(Time::NEVER, &mut events)?;
    let Some(Event::Accepted { conn: from, .. }) = events.pop() else {
        bail!("the client was not accepted");
    };
    let to = driver.connect(&primary.into(), Token(1), Time::NEVER);
    for conn in [from, to] {
        driver.set_recv(conn, RecvMode::Small);
    }
    driver.turn(Time::NEVER, &mut events)?;
    events.clear();
    let backend = net.accept(primary).context("the backend was not asked")?;
    let (command, reply) = (command(), reply());
    let mut scratch = [0; 1024];
    let mut turn = |to| -> anyhow::Result<()> {
        driver.turn(Time::NEVER, &mut events)?;
        for event in events.drain(..) {
            if let Event::Received { chunk, .. } = event {
                driver.send(to, chunk);
            }
        }
        Ok(())
    };
    for _ in 0..queries {
        net.write(client, &command);
        turn(to)?;
        turn(to)?;
        take(&net, backend, &mut scratch, command.len())?;
        net.write(backend, &reply);
        turn(from)?;
        turn(from)?;
        take(&net, client, &mut scratch, reply.len())?;
    }
    Ok(())
}

/// Reads exactly `bytes`, which have to be there.
fn take(net: &FakeNet, peer: FakePeer, into: &mut [u8], bytes: usize) -> anyhow::Result<()> {
    let read = net.read(peer, into);
    ensure!(read == PeerRead::Bytes(bytes), "{read:?} instead of {bytes} bytes");
    Ok(())
}

/// One worker, its network, and the two peers.
struct Relay {
    worker: Worker<Fake>,
    net: FakeNet,
    endpoint: SocketAddr,
    primary: SocketAddr,
    /// Keeps the worker's mail open.
    _outbox: Outbox,
}

impl Relay {
    fn start() -> anyhow::Result<Self> {
        let config = Arc::new(config()?);
        let (endpoint, primary) = addresses(&config)?;
        let (driver, net) = Fake::new(BufferSizes::default(), SEED, Faults::none())?;
        let mut topology = Topology::new(&config);
        topology.observe(BackendId(0), Observation::LoggedIn(Arc::new(greeting())));
        let (outbox, inbox) = bus::mail(driver.waker());
        let mut worker = Worker::new(Parts {
            id: WorkerId(0),
            driver,
            config,
            resources: Arc::default(),
            snapshot: topology.current(),
            counters: Arc::new(Counters::default()),
            inbox,
            nonces: NonceSource::new(Box::new(|bytes| bytes.fill(0x41))),
        });
        worker.listen(EndpointId(0), endpoint)?;
        net.serve(primary);
        Ok(Self { worker, net, endpoint, primary, _outbox: outbox })
    }

    /// Logs a client in and returns both ends of its session.
    fn log_in(&mut self, capabilities: Capabilities) -> anyhow::Result<(FakePeer, FakePeer)> {
        let client = self.net.dial(self.endpoint).context("nobody listens")?;
        let hello = Greeting::parse(&self.packet(client)?)?;
        let mut auth = BackendAuth::new(Proof::Empty, false, Seed::new([0; Seed::BYTES]));
        let plugin = auth.plugin_for(&hello).name().as_bytes();
        let request = LoginRequest {
            capabilities,
            packet_bytes_max: 1 << 24,
            collation: 45,
            user: b"app".to_vec(),
            auth_response: auth.first_response(plugin, &hello.nonce)?,
            database: None,
            plugin: Some(plugin.to_vec()),
            connect_attrs: None,
            zstd_level: ZSTD_LEVEL_DEFAULT,
        };
        self.write(client, |out| request.encode(1, out));
        let backend = loop {
            match self.net.accept(self.primary) {
                Some(backend) => break backend,
                None => self.worker.turn()?,
            }
        };
        self.write(backend, |out| greeting().encode(0, out));
        let request = LoginRequest::parse(&self.packet(backend)?)?;
        let ok = ok(OkPacket::OK);
        self.write(backend, |out| ok.encode(request.capabilities, 2, out));
        let answer = self.packet(client)?;
        ensure!(answer.first() == Some(&OkPacket::OK), "the login was refused");
        Ok((client, backend))
    }

    fn write(&self, peer: FakePeer, body: impl FnOnce(&mut BytesMut)) {
        let mut bytes = BytesMut::new();
        body(&mut bytes);
        self.net.write(peer, &bytes);
    }

    /// The payload of the one packet the worker sends next.
    fn packet(&mut self, peer: FakePeer) -> anyhow::Result<Vec<u8>> {
        let mut bytes = [0; 1024];
        for _ in 0..TURNS_MAX {
            if let PeerRead::Bytes(count) = self.net.read(peer, &mut bytes) {
                return Ok(bytes.get(4..count).context("a packet is cut")?.to_vec());
            }
            self.worker.turn()?;
        }
        bail!("no packet comes")
    }
}

fn config() -> anyhow::Result<Config> {
    config::parse(CONFIG, &Offline).map_err(|problems| {
        anyhow::Error::msg(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// Where clients connect, and where the primary is.
fn addresses(config: &Config) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let endpoint = config.endpoint(EndpointId(0)).and_then(|it| it.listen.tcp());
    let backend = config.backend(BackendId(0)).and_then(|it| it.address.tcp());
    Ok((endpoint.context("no endpoint")?, backend.context("no backend")?))
}

fn greeting() -> Greeting {
    Greeting {
        version: b"8.4.0".to_vec(),
        connection_id: 7,
        nonce: [0x42; 20],
        capabilities: CLIENT.union(MODERN),
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: Plugin::NativePassword.name().as_bytes().to_vec(),
    }
}

/// A text point select, 103 bytes with its header.
fn command() -> BytesMut {
    let mut out = BytesMut::new();
    frame(&mut out, 0, |out| {
        out.extend_from_slice(&[Command::Query.as_byte()]);
        out.extend_from_slice(
            b"SELECT id, name, email, created_at FROM accounts WHERE tenant = 42 AND id = 12345678 \
              AND active = 1",
        );
    });
    out
}

/// One column, one row: [`REPLY_BYTES`] as a backend sends them.
fn reply() -> BytesMut {
    let mut out = BytesMut::new();
    frame(&mut out, 1, |out| out.extend_from_slice(&[1]));
    frame(&mut out, 2, |out| {
        for text in [&b"def"[..], b"shop", b"accounts", b"accounts", b"name", b"name"] {
            put_lenenc_bytes(out, text);
        }
        // Character set 45, length 480, VAR_STRING, no flags, no decimals.
        out.extend_from_slice(&[0x0C, 45, 0, 0xE0, 1, 0, 0, 0xFD, 0, 0, 0, 0, 0]);
    });
    frame(&mut out, 3, |out| {
        put_lenenc_bytes(out, b"A value of forty-five bytes, as text, no NUL.")
    });
    ok(OkPacket::END).encode(CLIENT.union(MODERN), 4, &mut out);
    out
}

const fn ok(header: u8) -> OkPacket<'static> {
    OkPacket {
        header,
        affected_rows: 0,
        last_insert_id: 0,
        status: Status::AUTOCOMMIT,
        warnings: 0,
        info: b"",
        trackers: b"",
    }
}

const SEED: u64 = 1;
const REPLY_BYTES: usize = 120;
const TURNS_MAX: usize = 16;
const CLIENT: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PLUGIN_AUTH);
const MODERN: Capabilities = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);
const CONFIG: &str = r#"
[[cluster]]
name = "main"
monitor = { user = "monitor", password = "" }
[[cluster.backend]]
name = "db1"
address = "127.0.0.1:3306"
role = "primary"
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "main"
pooling = "none"
[[user]]
name = "app"
password = ""
"#;
