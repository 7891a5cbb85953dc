//! A model client until it is logged in, or is not.
//!
//! Purpose: log in in every way clients do, right and wrong, and judge the answer.
//! Never: ask anything; [`Talk`] does.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use weir::auth::{BackendAuth, BackendStep, Plugin, Proof, Seed};
use weir::config::{Secret, User};
use weir::io::{FakePeer, PeerRead};
use weir::wire::frame::Header;
use weir::wire::{Capabilities, ErrPacket, Greeting, LoginRequest, OkPacket, ZSTD_LEVEL_DEFAULT};

use crate::check::{Checked, Who, violation};
use crate::client::{Around, Plan, Talk};
use crate::hands::{Hands, Pace};
use crate::rng::Rng;
use crate::script::{Ask, FRAME_MAX};

/// How a client logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Right,
    /// And sends commands before it is told that it is in.
    RightAndEager,
    WrongPassword,
    UnknownUser,
    /// Stops in the middle.
    HalfOpen,
    Nonsense,
    Misnumbered,
}

/// What became of a step.
pub(crate) enum Entered {
    Not { moved: bool },
    In(Box<Talk>),
    Over,
}

/// A login in progress.
#[derive(Debug)]
pub(crate) struct Entering {
    id: usize,
    peer: FakePeer,
    way: Way,
    user: &'static str,
    plan: Plan,
    rng: Rng,
    hands: Hands,
    input: BytesMut,
    auth: BackendAuth,
    capabilities: Capabilities,
    next_seq: u8,
    greeted: bool,
    /// An ERR came; the end must follow.
    refused: bool,
    talk: Option<Box<Talk>>,
}

/// The accounts, and what the configuration knows of each.
pub(crate) const USERS: [&str; 4] = ["plain", "native", "sha2", "empty"];
pub(crate) const PASSWORD: &str = "s3cret";

impl Entering {
    pub(crate) fn new(id: usize, peer: FakePeer, way: Way, plan: Plan, rng: Rng) -> Self {
        let mut rng = rng;
        let user = rng.pick(&USERS);
        let secret = match (way, user) {
            (Way::WrongPassword, _) => Secret::Clear("wrong".into()),
            (_, "empty") => Secret::Empty,
            _ => Secret::Clear(PASSWORD.into()),
        };
        let account = User::new(user.to_owned(), secret);
        Self {
            id,
            peer,
            way,
            user: if way == Way::UnknownUser { "nobody" } else { user },
            plan,
            hands: Hands::new(peer, Pace::draw(&mut rng), rng.fork()),
            rng,
            input: BytesMut::new(),
            auth: BackendAuth::new(
                Proof::Clear(Arc::new(account)),
                false,
                Seed::new([9; Seed::BYTES]),
            ),
            capabilities: Capabilities::NONE,
            next_seq: 0,
            greeted: false,
            refused: false,
            talk: None,
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("logging in {:?}, greeted {}, refused {}", self.way, self.greeted, self.refused)
    }

    pub(crate) fn step(&mut self, around: &mut Around<'_>) -> Checked<Entered> {
        let mut moved = false;
        let mut buffer = [0; 4096];
        match self.hands.read(around, &mut buffer) {
            PeerRead::Nothing => {}
            PeerRead::Bytes(count) => {
                moved = true;
                around.trace.note(around.now, Who::Client(self.id), "reads its login", count);
                self.input.extend_from_slice(&buffer[..count]);
            }
            PeerRead::Eof | PeerRead::Reset => return self.over(around),
        }
        while let Some((_, seq, payload)) = take_packet(&mut self.input) {
            if let Some(talk) = self.on_packet(seq, &payload, around)? {
                return Ok(Entered::In(talk));
            }
        }
        let wrote = self.hands.write(around.net);
        if wrote > 0 {
            around.trace.note(around.now, Who::Client(self.id), "writes its login", wrote);
        }
        Ok(Entered::Not { moved: moved || wrote > 0 })
    }

    fn on_packet(
        &mut self,
        seq: u8,
        payload: &[u8],
        around: &mut Around<'_>,
    ) -> Checked<Option<Box<Talk>>> {
        if self.refused {
            return violation("bytes after the ERR that ended a login");
        }
        let wanted = std::mem::replace(&mut self.next_seq, seq.wrapping_add(1));
        if payload.first() == Some(&0xFF) {
            self.refused = true;
            return self.on_err(payload, around).map(|()| None);
        }
        if wanted != seq {
            return violation(format!("login packet {seq} instead of {wanted}"));
        }
        if !self.greeted {
            self.greeted = true;
            return self.on_greeting(payload, around).map(|()| None);
        }
        let mut answer = BytesMut::new();
        match self.auth.on_packet(payload, self.next_seq, &mut answer) {
            BackendStep::Continue => {
                if !answer.is_empty() {
                    self.next_seq = self.next_seq.wrapping_add(1);
                    self.hands.out.extend_from_slice(&answer);
                }
                Ok(None)
            }
            BackendStep::Ready => self.on_ok(payload, around).map(Some),
            other @ (BackendStep::Refused | BackendStep::Failed(_)) => {
                violation(format!("a login was answered by {other:?}"))
            }
        }
    }

    fn on_ok(&mut self, payload: &[u8], around: &mut Around<'_>) -> Checked<Box<Talk>> {
        if !matches!(self.way, Way::Right | Way::RightAndEager) {
            return violation(format!("{:?} was let in", self.way));
        }
        if OkPacket::parse(payload, self.capabilities).is_err() {
            return violation("the OK of a login does not parse");
        }
        around.trace.note(around.now, Who::Client(self.id), "is in", 0);
        let mut talk = match self.talk.take() {
            Some(talk) => talk,
            None => self.new_talk(),
        };
        talk.take_over(&self.hands.out, &self.input, &around.fates[self.id])?;
        Ok(talk)
    }

    fn new_talk(&mut self) -> Box<Talk> {
        let rng = self.rng.fork();
        Box::new(Talk::new(self.id, self.peer, self.capabilities, self.plan, rng))
    }

    fn on_err(&self, payload: &[u8], around: &Around<'_>) -> Checked {
        let code = ErrPacket::parse(payload).map_or(0, |err| err.code);
        let fate = &around.fates[self.id];
        let own: &[u16] = match self.way {
            Way::Right | Way::RightAndEager => &[],
            Way::WrongPassword | Way::UnknownUser => &[1045],
            Way::HalfOpen => &[1159],
            Way::Nonsense => &[1043, 1045, 1153, 1156, 1159],
            Way::Misnumbered => &[1156],
        };
        if own.contains(&code) || fate.login_codes.contains(&code) || fate.codes.contains(&code) {
            return Ok(());
        }
        violation(format!("{}: {}", self.describe(), payload.escape_ascii()))
    }

    fn over(&self, around: &Around<'_>) -> Checked<Entered> {
        around.net.close(self.peer);
        let fate = &around.fates[self.id];
        let told = self.refused || self.way == Way::Nonsense;
        if told || fate.may_end || fate.login_may_end || around.drain.is_some() {
            return Ok(Entered::Over);
        }
        violation(format!("closed without a word: {}", self.describe()))
    }

    fn on_greeting(&mut self, payload: &[u8], around: &mut Around<'_>) -> Checked {
        let Ok(greeting) = Greeting::parse(payload) else {
            return violation("the greeting does not parse");
        };
        self.capabilities = self.wishes().intersection(greeting.capabilities);
        let named = self.rng.pick(&[Plugin::NativePassword, Plugin::CachingSha2]);
        let plugin = named.name().as_bytes();
        let answer = self.auth.first_response(plugin, &greeting.nonce);
        let Ok(auth_response) = answer else { return violation("no answer to the greeting") };
        let seq = if self.way == Way::Misnumbered { 5 } else { self.next_seq };
        let mut bytes = BytesMut::new();
        LoginRequest {
            capabilities: self.capabilities,
            packet_bytes_max: 1 << 24,
            collation: 45,
            user: self.user.as_bytes().to_vec(),
            auth_response,
            // Tells the model server whose session it has.
            database: Some(self.id.to_string().into_bytes()),
            plugin: Some(plugin.to_vec()),
            connect_attrs: self.rng.percent(50).then(|| b"\x03_os\x05Linux".to_vec()),
            zstd_level: ZSTD_LEVEL_DEFAULT,
        }
        .encode(seq, &mut bytes);
        self.next_seq = seq.wrapping_add(1);
        match self.way {
            Way::HalfOpen => bytes.truncate(self.rng.between(0, bytes.len())),
            Way::Nonsense => {
                let count = self.rng.between(1, 300);
                bytes = (0..count).map(|_| self.rng.next().to_le_bytes()[3]).collect();
            }
            Way::Right | Way::RightAndEager | Way::WrongPassword | Way::UnknownUser => {}
            Way::Misnumbered => {}
        }
        self.hands.out.extend_from_slice(&bytes);
        // Who is asked to switch plugins must not have sent anything after its request.
        let fits = match self.user {
            "native" => named == Plugin::NativePassword,
            "sha2" => named == Plugin::CachingSha2,
            _ => true,
        };
        if self.way == Way::RightAndEager && fits {
            let mut talk = self.new_talk();
            for _ in 0..2 {
                let ask = Ask::draw(&mut self.rng, false);
                if ask.payload_bytes < 4_000 && !ask.uploads() {
                    talk.queue(ask, &mut around.fates[self.id]);
                }
            }
            self.hands.out.extend_from_slice(&talk.early());
            self.talk = Some(talk);
        }
        Ok(())
    }

    fn wishes(&mut self) -> Capabilities {
        let always = Capabilities::LONG_PASSWORD
            .union(Capabilities::PROTOCOL_41)
            .union(Capabilities::LONG_FLAG)
            .union(Capabilities::TRANSACTIONS)
            .union(Capabilities::SECURE_CONNECTION)
            .union(Capabilities::PLUGIN_AUTH)
            .union(Capabilities::CONNECT_WITH_DB)
            .union(Capabilities::CONNECT_ATTRS)
            .union(Capabilities::LOCAL_FILES)
            .union(Capabilities::MULTI_STATEMENTS)
            .union(Capabilities::MULTI_RESULTS)
            .union(Capabilities::PS_MULTI_RESULTS);
        always
            .set(Capabilities::SESSION_TRACK, self.rng.percent(50))
            .set(Capabilities::DEPRECATE_EOF, self.rng.percent(50))
            .set(Capabilities::PLUGIN_AUTH_LENENC, self.rng.percent(50))
    }
}

/// The next whole packet: sequence ids of its first and last frame, and its payload.
pub(crate) fn take_packet(input: &mut BytesMut) -> Option<(u8, u8, BytesMut)> {
    let first = Header::peek(input)?;
    let mut end = 4 + first.payload_bytes;
    let mut last = first;
    while last.is_continued() {
        last = Header::peek(input.get(end..)?)?;
        end += 4 + last.payload_bytes;
    }
    if end > input.len() {
        return None;
    }
    let mut packet = input.split_to(end);
    if !first.is_continued() {
        packet.advance(4);
        return Some((first.seq, last.seq, packet));
    }
    let frames = packet.chunks(4 + FRAME_MAX).flat_map(|frame| &frame[4..]);
    let payload = frames.copied().collect();
    Some((first.seq, last.seq, payload))
}
