//! What a seed makes of a world before its first moment.
//!
//! Purpose: limits, dialect, clients, troubles and what control will do.
//! Never: decide anything later than that.

use std::collections::VecDeque;
use std::time::Duration;

use weir::auth::Plugin;
use weir::config::{self, Config, Offline};
use weir::io::Faults;
use weir::wire::{Capabilities, Greeting, Status};

use crate::check::Fate;
use crate::client::{Leave, Plan};
use crate::login::Way;
use crate::rng::Rng;
use crate::server::{Trouble, What};

/// What control does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// A snapshot in which the other server is the primary.
    Publish,
    Refuse(usize),
    BlackHole(usize),
    Heal(usize),
    Drain(Duration),
}

/// One client of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) arrives: Duration,
    pub(crate) way: Way,
    pub(crate) plan: Plan,
}

/// A world's plan.
#[derive(Debug)]
pub(crate) struct Scheme {
    pub(crate) clients: Vec<Planned>,
    /// By time.
    pub(crate) acts: VecDeque<(Duration, Act)>,
    pub(crate) unreached_at_first: bool,
    /// Servers may fail logins.
    login_troubles: bool,
    /// Servers may fail sessions.
    troubles: bool,
    session_bytes: usize,
    worker_bytes: usize,
    small_bytes: usize,
    small_count: usize,
    large_bytes: usize,
    large_count: usize,
    clients_max: usize,
    handshakes_max: usize,
    pipelined_max: usize,
    /// What each direction of a connection holds.
    pipe_bytes: usize,
    delay_max: Duration,
    capabilities: Capabilities,
    plugin: Plugin,
}

impl Scheme {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let small_bytes = rng.pick(&[512, 2048, 8192]);
        let large_bytes = rng.pick(&[16 << 10, 64 << 10]);
        let session_bytes = large_bytes * rng.between(1, 4);
        let eager_drain = rng.percent(15);
        let mut scheme = Self {
            clients: Vec::new(),
            acts: VecDeque::new(),
            unreached_at_first: rng.percent(5),
            login_troubles: rng.percent(25),
            troubles: rng.percent(60),
            session_bytes,
            worker_bytes: (64 << 10) * rng.between(1, 20) + session_bytes,
            small_bytes,
            small_count: rng.pick(&[8, 16, 64, 256]),
            large_bytes,
            large_count: rng.pick(&[1, 4, 64]),
            clients_max: rng.pick(&[3, 100, 100, 100]),
            handshakes_max: rng.pick(&[2, 100, 100, 100]),
            pipelined_max: rng.pick(&[2, 64, 64]),
            pipe_bytes: rng.pick(&[2 << 10, 16 << 10, 64 << 10]),
            delay_max: Duration::from_micros(rng.pick(&[1, 100, 500])),
            capabilities: capabilities(rng),
            plugin: rng.pick(&[Plugin::NativePassword, Plugin::CachingSha2]),
        };
        for _ in 0..rng.between(1, 9) {
            scheme.clients.push(client(rng));
        }
        if rng.percent(20) {
            scheme.press();
        }
        scheme.draw_acts(eager_drain, rng);
        scheme
    }

    /// Everything is narrow and everybody wants much: back-pressure on all sides.
    fn press(&mut self) {
        self.small_bytes = 512;
        self.large_bytes = 16 << 10;
        self.session_bytes = self.large_bytes;
        self.pipe_bytes = 2 << 10;
        self.pipelined_max = 64;
        for client in &mut self.clients {
            client.way = Way::Right;
            client.plan.heavy = true;
            client.plan.ahead = 8;
        }
    }

    fn draw_acts(&mut self, drains: bool, rng: &mut Rng) {
        let mut acts = Vec::new();
        let at = |rng: &mut Rng| Duration::from_micros(rng.between(0, 200_000) as u64);
        if self.unreached_at_first || rng.percent(20) {
            acts.push((at(rng), Act::Publish));
        }
        if self.login_troubles && rng.percent(40) {
            let (start, backend) = (at(rng), rng.between(0, 2));
            let hole = rng.percent(50);
            acts.push((start, if hole { Act::BlackHole(backend) } else { Act::Refuse(backend) }));
            acts.push((start + at(rng), Act::Heal(backend)));
        }
        if drains {
            let within = rng.pick(&[0, 1, 50, 2_000, 10_000]);
            acts.push((at(rng), Act::Drain(Duration::from_millis(within))));
        }
        acts.sort_by_key(|(at, _)| *at);
        self.acts = acts.into();
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults { pipe_bytes: self.pipe_bytes, delay_max: self.delay_max, ..Faults::all() }
    }

    /// What this world's limits and troubles allow to happen to a client.
    pub(crate) fn fate(&self, client: &Planned) -> Fate {
        let mut fate = Fate::default();
        let count = self.clients.len();
        if count > self.clients_max || count > self.handshakes_max {
            fate.login_codes.push(1040);
        }
        if self.unreached_at_first {
            fate.login_codes.push(1105);
        }
        if self.login_troubles {
            fate.login_codes.extend([1040, 1044, 1045, 1049, 1105]);
        }
        // A client that sends commands with its login does not wait for answers either.
        if client.plan.ahead > self.pipelined_max {
            fate.allow(&[1105]);
        }
        fate
    }

    /// What goes wrong on the next backend connection.
    pub(crate) fn trouble(&self, rng: &mut Rng) -> Trouble {
        if self.login_troubles && rng.percent(20) {
            return rng.pick(&[
                Trouble::ErrInPlaceOfGreeting,
                Trouble::NonsenseInPlaceOfGreeting,
                Trouble::DropsLogin,
                Trouble::HangsInLogin,
                Trouble::RefusesAccount(1045),
                Trouble::RefusesAccount(1049),
            ]);
        }
        if !self.troubles || rng.percent(60) {
            return Trouble::None;
        }
        let hang = Duration::from_millis(rng.between(1, 8_000) as u64);
        let what = rng.pick(&[
            What::Reset,
            What::Fin,
            What::Cut { reset: false },
            What::Cut { reset: true },
            What::Unasked,
            What::NoAnswer,
            What::Nonsense,
            What::Hang(hang),
        ]);
        Trouble::After(rng.between(0, 6), what)
    }

    pub(crate) fn greeting(&self) -> Greeting {
        Greeting {
            version: b"8.0.40-model".to_vec(),
            connection_id: 7,
            nonce: *b"01234567890123456789",
            capabilities: self.capabilities,
            collation: 45,
            status: Status::AUTOCOMMIT,
            plugin: self.plugin.name().as_bytes().to_vec(),
        }
    }

    pub(crate) fn config(&self) -> Config {
        let text = format!(
            r#"
[limits]
login_timeout_ms = 10000
connect_timeout_ms = 5000
clients_max = {}
handshakes_max = {}
pipelined_commands_max = {}
session_buffer_bytes = {}
worker_buffer_bytes = {}
receive_buffers = {}
receive_buffer_bytes = {}
large_buffer_bytes = {}
large_buffers_max = {}
{REST}"#,
            self.clients_max,
            self.handshakes_max,
            self.pipelined_max,
            self.session_bytes,
            self.worker_bytes,
            self.small_count,
            self.small_bytes,
            self.large_bytes,
            self.large_count,
        );
        match config::parse(&text, &Offline) {
            Ok(config) => config,
            Err(problems) => panic!("{problems:?}"),
        }
    }
}

fn client(rng: &mut Rng) -> Planned {
    let way = rng.pick(&[
        Way::Right,
        Way::Right,
        Way::Right,
        Way::Right,
        Way::Right,
        Way::Right,
        Way::RightAndEager,
        Way::RightAndEager,
        Way::WrongPassword,
        Way::UnknownUser,
        Way::HalfOpen,
        Way::Nonsense,
        Way::Misnumbered,
    ]);
    let leave = rng.pick(&[
        Leave::Quit,
        Leave::Quit,
        Leave::Quit,
        Leave::Fin,
        Leave::Fin,
        Leave::FinInside,
        Leave::Reset,
        Leave::Misnumbered,
        Leave::Nonsense,
    ]);
    let ahead = rng.pick(&[1, 1, 2, 5]);
    // Two of an eager client go with its login.
    let ahead = if way == Way::RightAndEager { ahead.max(2) } else { ahead };
    Planned {
        arrives: Duration::from_micros(rng.between(0, 100_000) as u64),
        way,
        plan: Plan {
            asks: rng.between(0, 25),
            heavy: rng.percent(25),
            ahead,
            leave,
            hasty: rng.percent(40),
        },
    }
}

fn capabilities(rng: &mut Rng) -> Capabilities {
    let modern = rng.percent(85);
    Capabilities::from_bits(0x00FF_F7DF)
        .without(Capabilities::SSL)
        .without(Capabilities::COMPRESS)
        .set(Capabilities::LONG_PASSWORD, rng.percent(70))
        .set(Capabilities::DEPRECATE_EOF, modern)
        .set(Capabilities::SESSION_TRACK, modern || rng.percent(50))
        .union(Capabilities::PLUGIN_AUTH)
}

/// The accounts of `login`, whose hashes are those of its password.
const REST: &str = r#"
[[cluster]]
name = "main"
monitor = { user = "monitor", password = "" }
[[cluster.backend]]
name = "db1"
address = "127.0.0.1:3306"
role = "primary"
[[cluster.backend]]
name = "db2"
address = "127.0.0.1:3307"
role = "replica"
[[endpoint]]
name = "app"
listen = "127.0.0.1:6033"
cluster = "main"
pooling = "none"
[[user]]
name = "plain"
password = "s3cret"
[[user]]
name = "native"
password_native = "*B865CAE8F340F6CE1485A06F4492BB49718DF1EC"
[[user]]
name = "sha2"
password_sha2 = "0ac1e49b32a8f7829e79b4ad9e9f3d35ef0aca0662c4835279619bf49249cd77"
[[user]]
name = "empty"
password = ""
"#;
