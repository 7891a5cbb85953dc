//! A model server: one connection, every answer known beforehand, and troubles.
//!
//! Purpose: check that what arrives is what the client sent, in order, and answer it.
//! Never: tell the client's model what it does, except that it now has cause to fail.

mod trouble;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use weir::auth::{Claim, ClientAuth, ClientStep, Plugin};
use weir::base::Time;
use weir::config::Config;
use weir::io::{FakePeer, PeerRead};
use weir::wire::{Capabilities, Command, ErrPacket, Greeting, LoginRequest, OkPacket, Status};

use crate::check::{Checked, Who, violation};
use crate::client::Around;
use crate::dialect::{Writer, err, upload};
use crate::hands::{Hands, Pace};
use crate::login::take_packet;
use crate::rng::Rng;
use crate::script::{Ask, Kind};

pub(crate) use trouble::{Trouble, What};

#[derive(Debug)]
enum State {
    Greeting,
    AwaitLogin,
    Authenticating(Box<LoginRequest>, ClientAuth),
    Serving,
    /// The client's file is to be these bytes.
    Uploading(Ask, BytesMut),
    /// Nothing more will be said.
    Ending,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Server {
    number: usize,
    peer: FakePeer,
    config: Arc<Config>,
    greeting: Greeting,
    trouble: Trouble,
    rng: Rng,
    hands: Hands,
    input: BytesMut,
    state: State,
    /// Which client's session it is.
    owner: Option<usize>,
    writer: Writer,
    answered: usize,
    hangs_until: Option<Time>,
    reset_after: bool,
}

impl Server {
    pub(crate) fn new(
        number: usize,
        peer: FakePeer,
        config: Arc<Config>,
        greeting: Greeting,
        trouble: Trouble,
        rng: Rng,
    ) -> Self {
        let mut rng = rng;
        Self {
            number,
            peer,
            config,
            greeting,
            trouble,
            hands: Hands::new(peer, Pace::draw(&mut rng), rng.fork()),
            rng,
            input: BytesMut::new(),
            state: State::Greeting,
            owner: None,
            writer: Writer::new(Capabilities::NONE),
            answered: 0,
            hangs_until: None,
            reset_after: false,
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("{:?} of {:?}, {:?}", self.state, self.owner, self.trouble)
    }

    /// One step; `None` when the connection is over, else whether anything moved.
    pub(crate) fn step(&mut self, around: &mut Around<'_>) -> Checked<Option<bool>> {
        if self.hangs_until.is_some_and(|until| around.now < until) && !around.healed {
            return Ok(Some(false));
        }
        self.hangs_until = None;
        // A half-closed client that went away meanwhile shows only when there is something to send
        // to it: until the server ends, Weir cannot know.
        if around.healed && matches!(self.state, State::Ending) {
            self.hands.fin_after = true;
        }
        if matches!(self.state, State::Greeting) {
            self.greet(around);
        }
        let mut moved = false;
        let mut buffer = [0; 16 << 10];
        match self.hands.read(around, &mut buffer) {
            PeerRead::Nothing => {}
            PeerRead::Bytes(count) => {
                moved = true;
                around.trace.note(around.now, Who::Server(self.number), "reads", count);
                self.input.extend_from_slice(&buffer[..count]);
            }
            PeerRead::Eof | PeerRead::Reset => {
                around.trace.note(around.now, Who::Server(self.number), "sees the end", 0);
                around.net.close(self.peer);
                return Ok(None);
            }
        }
        self.take_in(around)?;
        let wrote = self.hands.write(around.net);
        if wrote > 0 {
            moved = true;
            around.trace.note(around.now, Who::Server(self.number), "writes", wrote);
        }
        if self.reset_after && self.hands.out.is_empty() {
            around.trace.note(around.now, Who::Server(self.number), "resets", 0);
            around.net.reset(self.peer);
            return Ok(None);
        }
        Ok(Some(moved))
    }

    fn greet(&mut self, around: &mut Around<'_>) {
        self.state = State::AwaitLogin;
        match self.trouble {
            Trouble::ErrInPlaceOfGreeting => {
                ErrPacket { code: 1040, sqlstate: *b"08004", message: b"Too many connections" }
                    .encode_as_greeting(&mut self.hands.out);
                self.end_with_fin();
            }
            Trouble::NonsenseInPlaceOfGreeting => {
                self.hands.out.extend_from_slice(&[3, 0, 0, 0, 9, b'o', 0]);
                self.state = State::Ending;
            }
            Trouble::HangsInLogin => {
                self.hangs_until = Some(around.now + Duration::from_secs(15));
                self.greeting.encode(0, &mut self.hands.out);
            }
            Trouble::None
            | Trouble::DropsLogin
            | Trouble::RefusesAccount(_)
            | Trouble::After(..) => self.greeting.encode(0, &mut self.hands.out),
        }
    }

    fn end_with_fin(&mut self) {
        self.state = State::Ending;
        self.hands.fin_after = true;
    }

    fn end_with_reset(&mut self) {
        self.state = State::Ending;
        self.reset_after = true;
    }

    /// Handles everything that has arrived whole.
    fn take_in(&mut self, around: &mut Around<'_>) -> Checked {
        loop {
            match &self.state {
                State::Ending => {
                    self.input.clear();
                    return Ok(());
                }
                State::Uploading(..) => {
                    if !self.take_upload(around)? {
                        return Ok(());
                    }
                    continue;
                }
                State::Greeting
                | State::AwaitLogin
                | State::Authenticating(..)
                | State::Serving => {}
            }
            let Some((first, last, payload)) = take_packet(&mut self.input) else {
                return Ok(());
            };
            match &self.state {
                State::Serving => {
                    if first != 0 {
                        return violation(format!("a command numbered {first}"));
                    }
                    self.on_command(&payload, last, around)?;
                }
                State::AwaitLogin | State::Authenticating(..) => {
                    self.on_login(&payload, last, around)?;
                }
                State::Greeting | State::Uploading(..) | State::Ending => {}
            }
        }
    }

    fn on_login(&mut self, payload: &[u8], seq: u8, around: &mut Around<'_>) -> Checked {
        let seq = seq.wrapping_add(1);
        let mut out = BytesMut::new();
        let (request, auth, step) = match std::mem::replace(&mut self.state, State::Ending) {
            State::Authenticating(request, mut auth) => {
                let step = auth.on_packet(payload, seq, &mut out);
                (request, auth, step)
            }
            State::Greeting
            | State::AwaitLogin
            | State::Serving
            | State::Uploading(..)
            | State::Ending => {
                let Ok(request) = LoginRequest::parse(payload) else {
                    return violation("a login request that does not parse");
                };
                let plugin = Plugin::from_name(&self.greeting.plugin);
                let user = self.config.user(&request.user).cloned();
                let (auth, step) = ClientAuth::start(
                    &request,
                    Claim::of(user),
                    self.greeting.nonce,
                    plugin.unwrap_or(Plugin::NativePassword),
                    seq,
                    &mut out,
                );
                (Box::new(request), auth, step)
            }
        };
        let next = auth.next_seq();
        self.hands.out.extend_from_slice(&out);
        match step {
            ClientStep::Continue => self.state = State::Authenticating(request, auth),
            ClientStep::Open(_) => return violation("the server has no RSA key"),
            ClientStep::Denied | ClientStep::CannotTell => {
                return violation("a proven account was denied by the server");
            }
            ClientStep::Accepted(_) => self.on_proven(&request, next, around)?,
        }
        Ok(())
    }

    fn on_proven(&mut self, request: &LoginRequest, seq: u8, around: &mut Around<'_>) -> Checked {
        let name = request.database.as_deref().and_then(|name| std::str::from_utf8(name).ok());
        let Some(owner) = name.and_then(|name| name.parse().ok()) else {
            return violation("the schema did not reach the server");
        };
        self.owner = Some(owner);
        let wanted = Capabilities::DEPRECATE_EOF.union(Capabilities::SESSION_TRACK);
        let offered = self.greeting.capabilities.intersection(wanted);
        if !request.capabilities.contains(offered) {
            return violation("a backend was not asked for what is always asked for");
        }
        self.writer = Writer::new(request.capabilities.intersection(self.greeting.capabilities));
        match self.trouble {
            Trouble::RefusesAccount(code) => {
                err(code, seq, &mut self.hands.out);
                self.end_with_fin();
                return Ok(());
            }
            Trouble::DropsLogin => {
                self.end_with_reset();
                return Ok(());
            }
            Trouble::None
            | Trouble::ErrInPlaceOfGreeting
            | Trouble::NonsenseInPlaceOfGreeting
            | Trouble::HangsInLogin
            | Trouble::After(..) => {}
        }
        OkPacket {
            header: OkPacket::OK,
            affected_rows: 0,
            last_insert_id: 0,
            status: Status::AUTOCOMMIT,
            warnings: 0,
            info: b"",
            trackers: b"",
        }
        .encode(request.capabilities, seq, &mut self.hands.out);
        self.state = State::Serving;
        self.trouble_between(around);
        Ok(())
    }

    fn on_command(&mut self, payload: &[u8], last: u8, around: &mut Around<'_>) -> Checked {
        let owner = self.owner.unwrap_or_default();
        let fate = &mut around.fates[owner];
        if payload == [Command::Quit.as_byte()] {
            let complete = fate.sent.is_empty() || fate.lost || fate.may_end;
            self.end_with_fin();
            return if complete { Ok(()) } else { violation("COM_QUIT came before commands") };
        }
        if fate.anything {
            // A client that sends nonsense may have hit a command by chance.
            self.end_with_fin();
            return Ok(());
        }
        let Some(ask) = fate.sent.pop_front() else {
            return violation(format!("client {owner} never sent this: {}", show(payload)));
        };
        if ask.payload() != payload || last.wrapping_add(1) != ask.answer_seq() {
            return violation(format!("instead of {ask:?} came {last}: {}", show(payload)));
        }
        if ask.kind() == Kind::Silent {
            return Ok(());
        }
        self.writer.begin(&ask);
        if !self.trouble_inside(&ask, around) {
            self.go_on(ask, around);
        }
        Ok(())
    }

    /// Writes the answer, or up to where the client has to send a file.
    fn go_on(&mut self, ask: Ask, around: &mut Around<'_>) {
        if self.writer.write(&mut self.hands.out) {
            let mut file = BytesMut::new();
            self.writer.seq = upload(&ask, self.writer.seq, &mut file);
            self.state = State::Uploading(ask, file);
            return;
        }
        self.answered += 1;
        self.state = State::Serving;
        self.trouble_between(around);
    }

    /// Compares a file with what it has to be; whether it is complete.
    fn take_upload(&mut self, around: &mut Around<'_>) -> Checked<bool> {
        let State::Uploading(ask, file) = &mut self.state else { return Ok(false) };
        let count = self.input.len().min(file.len());
        let (got, want) = (self.input.split_to(count), file.split_to(count));
        if got != want {
            return violation(format!("a file of {ask:?} arrived changed"));
        }
        if !file.is_empty() {
            return Ok(false);
        }
        let ask = *ask;
        self.go_on(ask, around);
        Ok(true)
    }
}

fn show(payload: &[u8]) -> String {
    payload[..payload.len().min(40)].escape_ascii().to_string()
}
