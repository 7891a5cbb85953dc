//! Two workers on one network that share few backend connections.
//!
//! Purpose: under seeds, every client is answered by whichever connection there is on whichever
//! worker; the server never has more than it may; and when all is over, no permit is missing.
//! Never: look at what crosses the workers' desks: only at what clients and servers see of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use weir::base::{Address, EndpointId, Time, WorkerId};
use weir::bus::{self, Outbox, Resources, ToWorker};
use weir::config::{self, Config, Offline};
use weir::io::{BufferSizes, Driver, Fake, FakeNet, FakePeer, Faults, PeerRead, Waker};
use weir::observe::{Counter, Counters};
use weir::topology::{Snapshot, Topology};
use weir::wire::{
    Capabilities, Command, ErrPacket, Greeting, LoginRequest, OkPacket, Status, ZSTD_LEVEL_DEFAULT,
    frame, put_lenenc_bytes,
};
use weir::worker::{NonceSource, Parts, Worker};

use crate::login::take_packet;
use crate::rng::Rng;

const CONNECTIONS_MAX: usize = 2;
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 6033);
const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 3306);
const SEEDS: u64 = 300;
const SETTLES: Duration = Duration::from_millis(50);
const GONE_BY: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[[cluster]]
name = "main"
monitor = { user = "monitor", password = "" }
[[cluster.backend]]
name = "db1"
address = "127.0.0.1:3306"
role = "primary"
connections_max = 2
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "main"
pooling = "transaction"
[[user]]
name = "empty"
password = ""
"#;

/// A worker and what its thread would have.
struct Core {
    worker: Worker<Fake>,
    waker: Waker,
    outbox: Outbox,
    counters: Arc<Counters>,
}

/// Asks one thing after the other.
struct Client {
    peer: FakePeer,
    input: BytesMut,
    output: BytesMut,
    /// What is still to be asked, last first.
    asks: Vec<Ask>,
    state: Asking,
    wakes: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Begin,
    /// For this number.
    Number(usize),
    Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Greeting,
    Login,
    Nothing,
    /// Packets of the answer so far.
    Answer(Ask, usize),
    Gone,
}

/// One connection of the server.
struct Serving {
    peer: FakePeer,
    input: BytesMut,
    output: BytesMut,
    logged_in: bool,
    in_transaction: bool,
}

struct World {
    rng: Rng,
    net: FakeNet,
    resources: Arc<Resources>,
    address: Address,
    cores: Vec<Core>,
    clients: Vec<Client>,
    servers: Vec<Serving>,
    /// The server ends connections, or says something unasked.
    is_troubled: bool,
    /// When one of the workers is drained.
    drains: Option<Time>,
    /// Neither.
    is_calm: bool,
    failed: usize,
    logins: usize,
}

fn capabilities() -> Capabilities {
    Capabilities::from_bits(0x00FF_F7DF)
        .without(Capabilities::SSL)
        .without(Capabilities::COMPRESS)
        .without(Capabilities::CONNECT_WITH_DB)
        .without(Capabilities::CONNECT_ATTRS)
        .union(Capabilities::DEPRECATE_EOF)
}

fn greeting() -> Greeting {
    Greeting {
        version: b"8.0.40-model".to_vec(),
        connection_id: 7,
        nonce: *b"01234567890123456789",
        capabilities: capabilities(),
        collation: 45,
        status: Status::AUTOCOMMIT,
        plugin: b"mysql_native_password".to_vec(),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = Arc::new(parsed());
        let faults = Faults { pipe_bytes: 16 << 10, ..Faults::all() };
        let (first, net) = Fake::new(BufferSizes::default(), rng.next(), faults).expect("memory");
        let second = Fake::beside(&net, BufferSizes::default()).expect("memory");
        net.serve(SocketAddr::from(SERVER));
        let resources = Arc::new(Resources::default().renewed(&config, Default::default(), None));
        let mut snapshot = Snapshot::clone(&Topology::new(&config).current());
        for view in &mut snapshot.backends {
            view.reachable = true;
            view.greeting = Some(Arc::new(greeting()));
        }
        let snapshot = Arc::new(snapshot);
        let cores = [first, second].into_iter().zip(0..).map(|(driver, id)| {
            let waker = driver.waker();
            let (outbox, inbox) = bus::mail(driver.waker());
            let counters = Arc::new(Counters::default());
            let mut nonces = rng.fork();
            let mut worker = Worker::new(Parts {
                id: WorkerId(id),
                driver,
                config: config.clone(),
                resources: resources.clone(),
                snapshot: snapshot.clone(),
                counters: counters.clone(),
                inbox,
                nonces: NonceSource::new(Box::new(move |bytes| {
                    bytes.fill_with(|| nonces.next().to_le_bytes()[1]);
                })),
            });
            worker.listen(EndpointId(0), SocketAddr::from(LISTEN)).expect("a free address");
            Core { worker, waker, outbox, counters }
        });
        let cores: Vec<Core> = cores.collect();
        let is_troubled = rng.percent(50);
        let drains = rng.percent(30).then(|| Time::ZERO + millis(rng.between(1, 300)));
        let address = config.backends[0].address.clone();
        let clients = (0..rng.between(3, 9)).map(|_| Client::new(&net, &mut rng)).collect();
        Self {
            rng,
            net,
            resources,
            address,
            cores,
            clients,
            servers: Vec::new(),
            is_troubled,
            drains,
            is_calm: !is_troubled && drains.is_none(),
            failed: 0,
            logins: 0,
        }
    }

    /// Runs to the end; connections that changed workers.
    fn run(&mut self) -> u64 {
        let is_in = |client: &Client| !matches!(client.state, Asking::Greeting | Asking::Login);
        let (mut settled, mut logins) = (Time::NEVER, None);
        while self.clients.iter().any(|client| client.state != Asking::Gone) {
            self.round();
            let waiting: Vec<_> = self.clients.iter().map(|it| (it.state, it.wakes)).collect();
            assert!(self.net.now() < Time::ZERO + GONE_BY, "waits for ever: {waiting:?}");
            if self.clients.iter().all(is_in) {
                // What was closed for their logins is replaced when its server has ended it.
                settled = settled.min(self.net.now() + SETTLES);
            }
            if self.net.now() >= settled {
                logins.get_or_insert(self.logins);
            }
        }
        if self.is_calm {
            assert_eq!(self.failed, 0, "nobody had cause to fail");
            assert_eq!(
                logins.unwrap_or(self.logins),
                self.logins,
                "once all clients are in there are no more"
            );
        }
        for core in &self.cores {
            core.outbox.send(ToWorker::Drain(Duration::ZERO)).expect("an empty queue");
        }
        let until = self.net.now() + Duration::from_secs(30);
        let is_busy =
            |core: &Core| core.worker.driver_stats().connections > 0 || !core.worker.is_drained();
        while self.cores.iter().any(is_busy) {
            self.round();
            assert!(self.net.now() < until, "connections stay");
        }
        for core in &self.cores {
            assert_eq!(core.counters.read(Counter::Bugs), 0);
        }
        assert_eq!(self.resources.shared.permits.used(&self.address), 0, "permits are missing");
        let reports = self.cores.iter().map(|core| core.worker.report());
        let backends: Vec<_> = reports.map(|report| report.figures.backends[0].clone()).collect();
        let open: u64 = backends.iter().map(|it| it.connections + it.idle).sum();
        assert_eq!(open, 0, "{backends:?}");
        backends.iter().map(|it| it.shipped).sum()
    }

    fn round(&mut self) {
        let now = self.net.now();
        if self.drains.take_if(|at| *at <= now).is_some() {
            let which = self.rng.between(0, 2);
            let within = millis(self.rng.pick(&[0, 5, 100]));
            self.cores[which].outbox.send(ToWorker::Drain(within)).expect("an empty queue");
        }
        for client in &mut self.clients {
            if !client.step(&self.net, &mut self.rng, now) {
                self.failed += usize::from(client.state != Asking::Gone);
                client.state = Asking::Gone;
            }
        }
        self.trouble();
        let net = &self.net;
        self.servers.retain_mut(|serving| serving.step(net, &mut self.logins));
        let first = self.rng.between(0, 2);
        for which in [first, 1 - first] {
            let core = &mut self.cores[which];
            // The turn must not jump over what others are about to do. Some take longer than others.
            core.waker.wake();
            if self.rng.percent(70) {
                core.worker.turn().expect("a driver that goes on");
            }
        }
        while let Some(peer) = self.net.accept(SocketAddr::from(SERVER)) {
            self.servers.push(Serving::new(peer));
        }
        let used = self.resources.shared.permits.used(&self.address);
        assert!(used <= CONNECTIONS_MAX, "{used} connections");
        self.net.advance(Duration::from_micros(self.rng.between(5, 400) as u64));
    }

    /// A connection ends, or its server says something nobody asked for.
    fn trouble(&mut self) {
        if !self.is_troubled || self.servers.is_empty() || !self.rng.percent(3) {
            return;
        }
        let which = self.rng.between(0, self.servers.len());
        match self.rng.between(0, 3) {
            0 => {
                let serving = self.servers.swap_remove(which);
                self.net.reset(serving.peer);
            }
            1 => self.net.fin(self.servers[which].peer),
            _ => {
                let serving = &mut self.servers[which];
                frame(&mut serving.output, 0, |out| out.put_slice(b"\xFF\x2F\x0FYou have to go"));
            }
        }
    }
}

impl Client {
    fn new(net: &FakeNet, rng: &mut Rng) -> Self {
        let peer = net.dial(SocketAddr::from(LISTEN)).expect("it listens");
        let mut asks = Vec::new();
        for _ in 0..rng.between(3, 20) {
            let number = rng.between(0, 1_000_000);
            if rng.percent(50) {
                asks.extend([Ask::Begin, Ask::Number(number), Ask::Commit].into_iter().rev());
            } else {
                asks.push(Ask::Number(number));
            }
        }
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { peer, input, output, asks, state: Asking::Greeting, wakes: Time::ZERO }
    }

    /// False when its connection has ended.
    fn step(&mut self, net: &FakeNet, rng: &mut Rng, now: Time) -> bool {
        if self.state == Asking::Gone {
            return false;
        }
        if !read(net, self.peer, &mut self.input) {
            net.close(self.peer);
            return false;
        }
        while let Some((_, seq, payload)) = take_packet(&mut self.input) {
            if !self.on_packet(seq, &payload) {
                net.close(self.peer);
                return false;
            }
            if self.state == Asking::Nothing {
                self.wakes = now + Duration::from_micros(rng.pick(&[0, 100, 2_000, 20_000]));
            }
        }
        if self.state == Asking::Nothing && now >= self.wakes {
            let Some(ask) = self.asks.pop() else {
                net.close(self.peer);
                self.state = Asking::Gone;
                return false;
            };
            let text = match ask {
                Ask::Begin => "BEGIN".to_owned(),
                Ask::Number(number) => format!("SELECT {number}"),
                Ask::Commit => "COMMIT".to_owned(),
            };
            frame(&mut self.output, 0, |out| {
                out.put_u8(Command::Query.as_byte());
                out.put_slice(text.as_bytes());
            });
            self.state = Asking::Answer(ask, 0);
        }
        write(net, self.peer, &mut self.output);
        true
    }

    /// False when it was an error.
    fn on_packet(&mut self, seq: u8, payload: &[u8]) -> bool {
        if payload.first() == Some(&0xFF) {
            // Whatever happens to connections, there is room for others.
            let code = ErrPacket::parse(payload).map_or(0, |err| err.code);
            assert_ne!(code, 1040, "{}", payload.escape_ascii());
            return false;
        }
        self.state = match self.state {
            Asking::Greeting => {
                let greeting = Greeting::parse(payload).expect("a greeting");
                LoginRequest {
                    capabilities: capabilities().intersection(greeting.capabilities),
                    packet_bytes_max: 1 << 24,
                    collation: 45,
                    user: b"empty".to_vec(),
                    auth_response: Vec::new(),
                    database: None,
                    plugin: Some(greeting.plugin),
                    connect_attrs: None,
                    zstd_level: ZSTD_LEVEL_DEFAULT,
                }
                .encode(seq + 1, &mut self.output);
                Asking::Login
            }
            Asking::Login => {
                assert_eq!(payload.first(), Some(&OkPacket::OK), "{}", payload.escape_ascii());
                Asking::Nothing
            }
            Asking::Answer(Ask::Begin | Ask::Commit, _) => {
                assert_eq!(payload.first(), Some(&OkPacket::OK), "{}", payload.escape_ascii());
                Asking::Nothing
            }
            // A count, a definition, a row, the end.
            Asking::Answer(ask @ Ask::Number(number), place) => {
                if place == 2 {
                    assert_eq!(payload.get(1..), Some(number.to_string().as_bytes()));
                }
                if place < 3 { Asking::Answer(ask, place + 1) } else { Asking::Nothing }
            }
            Asking::Nothing | Asking::Gone => {
                panic!("unasked: {}", payload.escape_ascii());
            }
        };
        true
    }
}

impl Serving {
    fn new(peer: FakePeer) -> Self {
        let mut output = BytesMut::new();
        greeting().encode(0, &mut output);
        let (logged_in, in_transaction) = (false, false);
        Self { peer, input: BytesMut::new(), output, logged_in, in_transaction }
    }

    /// False when its connection has ended.
    fn step(&mut self, net: &FakeNet, logins: &mut usize) -> bool {
        if !read(net, self.peer, &mut self.input) {
            net.close(self.peer);
            return false;
        }
        while let Some((_, seq, payload)) = take_packet(&mut self.input) {
            if self.logged_in {
                if payload.first() == Some(&Command::Quit.as_byte()) {
                    net.close(self.peer);
                    return false;
                }
                if payload.first() == Some(&Command::ResetConnection.as_byte()) {
                    self.in_transaction = false;
                    self.ok(OkPacket::OK, 1);
                    continue;
                }
                let text = String::from_utf8(payload[1..].to_vec()).expect("text");
                self.answer(&text);
            } else {
                *logins += 1;
                self.logged_in = true;
                self.ok(OkPacket::OK, seq + 1);
            }
        }
        write(net, self.peer, &mut self.output);
        true
    }

    fn ok(&mut self, header: u8, seq: u8) {
        let within = if self.in_transaction { Status::IN_TRANS.0 } else { 0 };
        let status = Status(Status::AUTOCOMMIT.0 | within);
        let ok = OkPacket { header, ..OkPacket::nothing(status) };
        ok.encode(capabilities(), seq, &mut self.output);
    }

    fn answer(&mut self, text: &str) {
        let Some(asked) = text.strip_prefix("SELECT ") else {
            match text {
                "BEGIN" => assert!(!std::mem::replace(&mut self.in_transaction, true)),
                "COMMIT" => assert!(std::mem::replace(&mut self.in_transaction, false)),
                _ => assert!(text.starts_with("SET SESSION session_track"), "{text}"),
            }
            return self.ok(OkPacket::OK, 1);
        };
        let columns = columns(asked);
        let count = u8::try_from(columns.len()).expect("few");
        let mut seq = 1;
        let mut packet = |put: &dyn Fn(&mut BytesMut)| {
            frame(&mut self.output, seq, put);
            seq += 1;
        };
        packet(&|out| out.put_u8(count));
        for _ in &columns {
            packet(&|out| {
                out.put_slice(b"\x03def\0\0\0\x01a\0\x0C\xFF\0\0\x04\0\0\xFD\0\0\0\0\0");
            });
        }
        packet(&|out| {
            for column in &columns {
                match *column {
                    "DATABASE()" => out.put_u8(0xFB),
                    "CURRENT_ROLE()" => put_lenenc_bytes(out, b"NONE"),
                    number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                        put_lenenc_bytes(out, number.as_bytes());
                    }
                    switch if switch.contains("autocommit") => put_lenenc_bytes(out, b"ON"),
                    switch if switch.starts_with("IF(") => put_lenenc_bytes(out, b"OFF"),
                    "@@wait_timeout" => put_lenenc_bytes(out, b"28800"),
                    _ => put_lenenc_bytes(out, b"0"),
                }
            }
        });
        self.ok(OkPacket::END, seq);
    }
}

/// What a SELECT without a table asks for.
fn columns(asked: &str) -> Vec<&str> {
    let (mut columns, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, byte) in asked.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                columns.push(asked[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    columns.push(asked[start..].trim());
    columns
}

/// False at the end.
fn read(net: &FakeNet, peer: FakePeer, input: &mut BytesMut) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match net.read(peer, &mut buffer) {
            PeerRead::Nothing => return true,
            PeerRead::Bytes(count) => input.extend_from_slice(&buffer[..count]),
            PeerRead::Eof | PeerRead::Reset => return false,
        }
    }
}

fn write(net: &FakeNet, peer: FakePeer, output: &mut BytesMut) {
    let count = net.write(peer, output);
    drop(output.split_to(count));
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

fn parsed() -> Config {
    match config::parse(CONFIG, &Offline) {
        Ok(config) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}

#[test]
fn connections_change_workers_and_no_permit_is_lost() {
    let (mut shipped, mut in_calm) = (0, 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut world = World::new(seed);
        let of_seed = world.run();
        shipped += of_seed;
        in_calm += if world.is_calm { of_seed } else { 0 };
    }
    assert!(in_calm > SEEDS && shipped - in_calm > SEEDS, "{in_calm} of {shipped}");
}
