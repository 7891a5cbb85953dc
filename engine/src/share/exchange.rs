//! Words of Weir's own on a connection, between two commands of its sessions.
//!
//! Purpose: bring a connection from what it is set to to what a session has set, or ask it; all in
//! one piece, with the answers taken off the stream.
//! Never: let a client's command follow before every answer is there: a write must not run in
//! another schema because a USE before it has failed.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::share::query;
use crate::share::question::Question;
use crate::share::settings::Settings;
use crate::wire::frame::Assembler;
use crate::wire::{Capabilities, Command, Malformed, OkPacket, PrepareOk, frame};

/// Errors and OKs are short; a row of a question has its own bound.
const PACKET_BYTES_MAX: usize = 64 << 10;

/// What an exchange came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// More has to come.
    Wait,
    /// Everything was done.
    Done,
    /// The payload of the server's first ERR.
    Refused(BytesMut),
}

/// An exchange on its way.
#[derive(Debug)]
pub struct Exchange {
    assembler: Assembler,
    /// OKs that have to come before the answer to the question.
    oks: usize,
    question: Option<Question>,
    /// OKs that have to come behind it.
    oks_behind: usize,
    refused: Option<BytesMut>,
    is_answered: bool,
    prepare: Option<Prepare>,
}

/// A COM_STMT_PREPARE among them.
#[derive(Debug)]
struct Prepare {
    /// OKs that are still to come when its answer comes.
    oks_behind: usize,
    capabilities: Capabilities,
    /// Definitions and EOFs of its answer that have not come yet.
    packets_left: usize,
    answer: Option<PrepareOk>,
    /// It was this that was refused first.
    is_refused: bool,
}

/// What is said, in its order.
#[derive(Debug, Default)]
pub struct Words {
    commands: VecDeque<BytesMut>,
    /// Which of them is a COM_STMT_PREPARE, and what was negotiated.
    prepare: Option<(usize, Capabilities)>,
    /// What is said behind the question, to clear the warnings it causes.
    closes: bool,
}

/// A word in an exchange.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// COM_RESET_CONNECTION.
    Reset,
    /// A statement that is answered by an OK.
    Statement(&'a [u8]),
    /// COM_INIT_DB.
    Schema(&'a [u8]),
    /// COM_STMT_PREPARE; at most one in an exchange.
    Prepare(&'a [u8]),
}

impl Words {
    /// Adds one.
    pub fn say(&mut self, step: Step<'_>, capabilities: Capabilities) {
        let mut out = BytesMut::new();
        match step {
            Step::Reset => command(&mut out, Command::ResetConnection, b""),
            Step::Statement(text) => query(&mut out, capabilities, text),
            Step::Schema(schema) => command(&mut out, Command::InitDb, schema),
            Step::Prepare(text) => {
                self.prepare = Some((self.commands.len(), capabilities));
                command(&mut out, Command::StmtPrepare, text);
            }
        }
        self.commands.push_back(out);
    }

    /// What brings a connection from one set of settings to another. The schema comes last: it
    /// clears the warnings that deprecated variables cause.
    pub fn tune(&mut self, from: &Settings, to: &Settings, capabilities: Capabilities) {
        if let Some(set) = from.set_to(to) {
            self.say(Step::Statement(&set), capabilities);
        }
        if from.schema() != to.schema() && !to.schema().is_empty() {
            self.say(Step::Schema(to.schema()), capabilities);
        }
    }

    /// Clears the warnings that the question causes.
    pub const fn close(&mut self) {
        self.closes = true;
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Says them all, and asks; appended to `out`, to leave in one piece.
    #[must_use]
    pub fn send(self, question: Option<Question>, out: &mut BytesMut) -> Exchange {
        let oks = self.commands.len();
        for command in self.commands {
            out.extend_from_slice(&command);
        }
        if let Some(question) = &question {
            query(out, question.capabilities(), &question.text());
            if self.closes {
                query(out, question.capabilities(), b"DO 0");
            }
        }
        let is_answered = question.is_none();
        let oks_behind = usize::from(self.closes && !is_answered);
        let assembler = Assembler::new(PACKET_BYTES_MAX);
        let prepare = self.prepare.map(|(place, capabilities)| Prepare {
            oks_behind: oks - place,
            capabilities,
            packets_left: 0,
            answer: None,
            is_refused: false,
        });
        Exchange { assembler, oks, question, oks_behind, refused: None, is_answered, prepare }
    }
}

impl Exchange {
    /// Feeds bytes of the server.
    ///
    /// # Errors
    /// They are no answers: nothing is known of the connection any more.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<Exchanged, Malformed> {
        const ERR: u8 = 0xFF;
        self.assembler.push(bytes);
        while !self.is_over() {
            let packet = self.assembler.next_packet();
            let packet = packet.map_err(|_| Malformed::new("answer to Weir's own words"))?;
            let Some(packet) = packet else { return Ok(Exchanged::Wait) };
            if self.takes_for_prepare(&packet.payload)? {
                continue;
            }
            match packet.payload.first() {
                Some(&OkPacket::OK) if self.oks > 0 => self.oks -= 1,
                Some(&OkPacket::OK) if self.is_answered => self.oks_behind -= 1,
                Some(&ERR) if self.oks > 0 => {
                    self.oks -= 1;
                    self.refused.get_or_insert(packet.payload);
                }
                Some(&ERR) if self.is_answered => {
                    self.oks_behind -= 1;
                    self.refused.get_or_insert(packet.payload);
                }
                Some(&ERR) => {
                    self.is_answered = true;
                    self.refused.get_or_insert(packet.payload);
                }
                Some(_) | None => match &mut self.question {
                    Some(question) if self.oks == 0 => {
                        self.is_answered = question.on_packet(&packet)?;
                    }
                    Some(_) | None => return Err(Malformed::new("answer to Weir's own words")),
                },
            }
        }
        if !self.assembler.is_empty() {
            return Err(Malformed::new("packet behind the answers to Weir's own words"));
        }
        Ok(self.refused.take().map_or(Exchanged::Done, Exchanged::Refused))
    }

    /// Whether a packet belongs to the answer to the COM_STMT_PREPARE.
    fn takes_for_prepare(&mut self, payload: &[u8]) -> Result<bool, Malformed> {
        let Some(prepare) = &mut self.prepare else { return Ok(false) };
        if prepare.packets_left > 0 {
            prepare.packets_left -= 1;
            return Ok(true);
        }
        if prepare.oks_behind != self.oks || self.oks == 0 {
            return Ok(false);
        }
        if payload.first() != Some(&OkPacket::OK) {
            prepare.is_refused = self.refused.is_none();
            return Ok(false);
        }
        let answer = PrepareOk::parse(payload)?;
        prepare.packets_left = answer.packets_behind(payload, prepare.capabilities);
        prepare.answer = Some(answer);
        self.oks -= 1;
        Ok(true)
    }

    /// What the server made of the COM_STMT_PREPARE, if it did.
    #[must_use]
    pub fn prepared(&self) -> Option<PrepareOk> {
        self.prepare.as_ref().and_then(|prepare| prepare.answer)
    }

    /// Whether it was the COM_STMT_PREPARE that was refused, and nothing before it.
    #[must_use]
    pub fn is_prepare_refused(&self) -> bool {
        self.prepare.as_ref().is_some_and(|prepare| prepare.is_refused)
    }

    fn is_over(&self) -> bool {
        let is_defined = self.prepare.as_ref().is_none_or(|prepare| prepare.packets_left == 0);
        self.oks == 0 && is_defined && self.is_answered && self.oks_behind == 0
    }

    /// The question, answered if the exchange is done.
    pub const fn question(&self) -> Option<&Question> {
        self.question.as_ref()
    }
}

fn command(out: &mut BytesMut, command: Command, rest: &[u8]) {
    frame(out, 0, |out| {
        out.extend_from_slice(&[command.as_byte()]);
        out.extend_from_slice(rest);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Asked;

    const CAPABILITIES: Capabilities = Capabilities::DEPRECATE_EOF;
    const OK: &[u8] = b"\x07\0\0\x01\0\0\0\x02\0\0\0";

    fn err(code: u16) -> Vec<u8> {
        let mut bytes = b"\x0b\0\0\x01\xFF".to_vec();
        bytes.extend(code.to_le_bytes());
        bytes.extend(b"#HY000no");
        bytes
    }

    fn exchange(question: Option<Question>) -> (Exchange, BytesMut) {
        let mut to = Settings::default();
        to.set_schema(b"shop");
        to.set_variable(b"sql_mode", b"");
        let (mut words, mut out) = (Words::default(), BytesMut::new());
        words.tune(&Settings::default(), &to, CAPABILITIES);
        (words.send(question, &mut out), out)
    }

    #[test]
    fn settings_come_before_the_schema() {
        let (_, out) = exchange(None);
        assert_eq!(&out[..], b"\x1a\0\0\0\x03SET SESSION sql_mode = ''\x05\0\0\0\x02shop");
        let mut words = Words::default();
        words.tune(&Settings::default(), &Settings::default(), CAPABILITIES);
        assert!(words.is_empty());
    }

    #[test]
    fn all_answers_are_waited_for_also_behind_an_error() {
        let bytes = [&err(1231)[..], OK].concat();
        for cut in 0..bytes.len() {
            let (mut exchange, _) = exchange(None);
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(exchange.on_bytes(head).unwrap(), Exchanged::Wait, "cut at {cut}");
            let Exchanged::Refused(payload) = exchange.on_bytes(tail).unwrap() else {
                unreachable!("not refused");
            };
            assert_eq!(payload[1..3], 1231u16.to_le_bytes());
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let (mut one, _) = exchange(None);
        assert!(one.on_bytes(b"\x01\0\0\x01\x03").is_err());
        let (mut two, _) = exchange(None);
        assert!(two.on_bytes(&[OK, OK, OK].concat()).is_err());
        let question = Question::new(vec![Asked::Schema], CAPABILITIES);
        let (mut asking, _) = exchange(Some(question));
        let answered = asking.on_bytes(&[OK, OK, &err(1046)].concat()).unwrap();
        assert!(matches!(answered, Exchanged::Refused(_)));
    }
}
