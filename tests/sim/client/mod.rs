//! A model client after its login: asks, reads, and compares every byte.
//!
//! Purpose: know exactly what must arrive, whatever the dialect, and notice anything else.
//! Never: forgive a byte that the script gave no cause for.

mod receive;

use std::collections::VecDeque;

use bytes::BytesMut;
use weir::base::Time;
use weir::io::{FakeNet, FakePeer, PeerRead};
use weir::wire::{Capabilities, ErrPacket};

use crate::check::{Checked, Fate, Trace, Who};
use crate::dialect::Writer;
use crate::hands::{Hands, Pace};
use crate::rng::Rng;
use crate::script::{Ask, Kind};

/// How a client leaves when it has asked everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Quit,
    Fin,
    /// FIN in the middle of a command.
    FinInside,
    Reset,
    /// A command with a wrong sequence id.
    Misnumbered,
    /// Random bytes.
    Nonsense,
}

/// What it intends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) asks: usize,
    /// Much in both directions.
    pub(crate) heavy: bool,
    /// Commands sent ahead of their answers.
    pub(crate) ahead: usize,
    pub(crate) leave: Leave,
    /// Leaves when so many commands are left to ask, answered or not.
    pub(crate) hasty: bool,
}

/// What the world tells an actor.
pub(crate) struct Around<'a> {
    pub(crate) net: &'a FakeNet,
    pub(crate) fates: &'a mut [Fate],
    pub(crate) trace: &'a mut Trace,
    pub(crate) now: Time,
    /// No new trouble, and what hangs goes on.
    pub(crate) healed: bool,
    /// Draining since its first time, and cut from its second.
    pub(crate) drain: Option<(Time, Time)>,
}

/// Both directions of a logged-in client.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) id: usize,
    peer: FakePeer,
    rng: Rng,
    plan: Plan,
    hands: Hands,
    writer: Writer,
    /// Asked and not wholly answered, oldest first.
    pending: VecDeque<Ask>,
    /// What must come next: the answer to the oldest, up to its end or a file request.
    expected: BytesMut,
    /// Where in it the next byte belongs.
    at: usize,
    /// Where in it the current frame begins.
    frame_at: usize,
    /// A byte of the answer to the oldest has come.
    begun: bool,
    /// After `expected` the client has to send a file.
    asked_for_file: bool,
    /// What came instead of an expected frame: an ERR, or a violation.
    instead: BytesMut,
    left: bool,
    gives_up: Option<Time>,
}

impl Talk {
    pub(crate) fn new(id: usize, peer: FakePeer, caps: Capabilities, plan: Plan, rng: Rng) -> Self {
        let mut rng = rng;
        let pace = Pace::draw(&mut rng);
        Self {
            id,
            peer,
            plan,
            hands: Hands::new(peer, pace, rng.fork()),
            rng,
            writer: Writer::new(caps),
            pending: VecDeque::new(),
            expected: BytesMut::new(),
            at: 0,
            frame_at: 0,
            begun: false,
            asked_for_file: false,
            instead: BytesMut::new(),
            left: false,
            gives_up: None,
        }
    }

    /// Takes what the login left: bytes not yet written, and bytes already received.
    pub(crate) fn take_over(&mut self, out: &[u8], input: &[u8], fate: &Fate) -> Checked {
        self.hands.out.extend_from_slice(out);
        self.receive(input, fate)
    }

    /// Takes what is to be written, to send it with a login.
    pub(crate) fn early(&mut self) -> BytesMut {
        self.hands.out.split()
    }

    pub(crate) fn describe(&self) -> String {
        let frame = self.expected.get(self.frame_at..).unwrap_or_default();
        format!(
            "client {} (asked {:?}, {} of {} bytes of an answer, next frame {}, {} to write, left \
             {})",
            self.id,
            self.pending,
            self.at,
            self.expected.len(),
            frame[..frame.len().min(40)].escape_ascii(),
            self.hands.out.len(),
            self.left
        )
    }

    /// One step; `None` when the session is over, else whether anything moved.
    pub(crate) fn step(&mut self, around: &mut Around<'_>) -> Checked<Option<bool>> {
        let mut moved = false;
        let mut buffer = [0; 16 << 10];
        match self.hands.read(around, &mut buffer) {
            PeerRead::Nothing => {}
            PeerRead::Bytes(count) => {
                moved = true;
                around.trace.note(around.now, Who::Client(self.id), "reads", count);
                self.receive(&buffer[..count], &around.fates[self.id])?;
            }
            end @ (PeerRead::Eof | PeerRead::Reset) => {
                around.trace.note(around.now, Who::Client(self.id), "sees the end", self.at);
                self.over(end == PeerRead::Eof, around)?;
                around.net.close(self.peer);
                return Ok(None);
            }
        }
        self.ask(around);
        let wrote = self.hands.write(around.net);
        if wrote > 0 {
            moved = true;
            around.trace.note(around.now, Who::Client(self.id), "writes", wrote);
        }
        if self.leaves(around) || self.gives_up(around) {
            around.fates[self.id].lost = true;
            around.net.reset(self.peer);
            return Ok(None);
        }
        Ok(Some(moved))
    }

    /// Where what bytes say decides nothing any more, somebody has to end it.
    fn gives_up(&mut self, around: &mut Around<'_>) -> bool {
        if !around.fates[self.id].anything {
            return false;
        }
        let at = *self.gives_up.get_or_insert(around.now + std::time::Duration::from_millis(500));
        around.now > at
    }

    /// Queues the next command when it is time.
    fn ask(&mut self, around: &mut Around<'_>) {
        if self.left || !self.hands.out.is_empty() {
            return;
        }
        let held = self.asked_for_file || self.pending.back().is_some_and(Ask::uploads);
        if held || self.plan.asks == 0 || self.pending.len() >= self.plan.ahead {
            return;
        }
        self.plan.asks -= 1;
        let ask = Ask::draw(&mut self.rng, self.plan.heavy);
        around.trace.note(around.now, Who::Client(self.id), "asks", ask.payload_bytes);
        self.queue(ask, &mut around.fates[self.id]);
    }

    pub(crate) fn queue(&mut self, ask: Ask, fate: &mut Fate) {
        let payload = ask.payload();
        weir::wire::frame(&mut self.hands.out, 0, |out| out.extend_from_slice(&payload));
        match ask.kind() {
            Kind::Quit => return,
            Kind::Silent => return fate.sent.push_back(ask),
            Kind::Refused => {}
            Kind::Query
            | Kind::Prepare
            | Kind::FieldList
            | Kind::Fetch
            | Kind::Statistics
            | Kind::Simple => fate.sent.push_back(ask),
        }
        self.pending.push_back(ask);
        if self.pending.len() == 1 {
            self.expect();
        }
    }

    /// Prepares the answer to the oldest command.
    fn expect(&mut self) {
        let Some(ask) = self.pending.front() else { return };
        if ask.kind() == Kind::Refused {
            ErrPacket { code: 1047, sqlstate: *b"08S01", message: b"Unknown command" }
                .encode(ask.answer_seq(), &mut self.expected);
            return;
        }
        self.writer.begin(ask);
        self.asked_for_file = self.writer.write(&mut self.expected);
    }

    /// Leaves as planned when the time has come; whether it is gone for good.
    fn leaves(&mut self, around: &mut Around<'_>) -> bool {
        let done = self.plan.asks == 0 && (self.plan.hasty || self.pending.is_empty());
        if self.left || !done || !self.hands.out.is_empty() || self.asked_for_file {
            return false;
        }
        if self.pending.back().is_some_and(Ask::uploads) {
            return false;
        }
        self.left = true;
        let fate = &mut around.fates[self.id];
        around.trace.note(around.now, Who::Client(self.id), "leaves", self.plan.leave as usize);
        match self.plan.leave {
            Leave::Quit => self.queue(Ask::quit(), fate),
            Leave::Fin => around.net.fin(self.peer),
            Leave::FinInside => {
                // Begun is enough to be one too many.
                fate.allow(&[1105]);
                let command = [20, 0, 0, 0, 3, b'S', b'E', b'L'];
                let cut = self.rng.between(1, command.len());
                self.hands.out.extend_from_slice(&command[..cut]);
                self.hands.fin_after = true;
            }
            Leave::Reset => return true,
            Leave::Misnumbered => {
                fate.allow(&[1156]);
                self.hands.out.extend_from_slice(&[1, 0, 0, 7, 14]);
            }
            Leave::Nonsense => {
                fate.allow(&[1047, 1156, 1105]);
                fate.anything = true;
                let bytes: Vec<u8> = (0..200).map(|_| self.rng.next().to_le_bytes()[0]).collect();
                self.hands.out.extend_from_slice(&bytes);
            }
        }
        false
    }
}
