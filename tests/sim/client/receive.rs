//! What a client receives, against what it is owed.
//!
//! Purpose: compare byte for byte, and judge an ERR or an end that comes instead.
//! Never: forgive a byte that the script gave no cause for.

use weir::wire::ErrPacket;
use weir::wire::frame::Header;

use super::{Around, Leave, Talk};
use crate::check::{Checked, Fate, violation};
use crate::dialect::upload;
use crate::script::Ask;

impl Talk {
    /// Compares what came with what must come.
    pub(super) fn receive(&mut self, bytes: &[u8], fate: &Fate) -> Checked {
        let mut rest = bytes;
        while !rest.is_empty() {
            if !self.instead.is_empty() || self.at == self.expected.len() {
                self.instead.extend_from_slice(rest);
                break;
            }
            let want = &self.expected[self.at..];
            let same = rest.iter().zip(want).take_while(|(got, want)| got == want).count();
            rest = &rest[same..];
            self.advance(same);
            if !rest.is_empty() && self.at < self.expected.len() {
                // Another frame than expected: from its beginning on it is judged as a whole.
                let start = self.frame_at;
                self.instead.extend_from_slice(&self.expected[start..self.at]);
                self.begun &= start > 0;
                self.at = start;
                self.instead.extend_from_slice(rest);
                break;
            }
            self.answered();
        }
        if self.instead.is_empty() || fate.may_end || fate.anything {
            return Ok(());
        }
        // Whatever it is, nothing gave cause for it yet; causes come before their effects.
        self.judge(fate)
    }

    fn advance(&mut self, count: usize) {
        self.at += count;
        self.begun |= count > 0;
        while let Some(header) = self.expected.get(self.frame_at..).and_then(Header::peek) {
            let next = self.frame_at + 4 + header.payload_bytes;
            if next > self.at {
                return;
            }
            self.frame_at = next;
        }
    }

    /// What was expected has come, whole.
    fn answered(&mut self) {
        if self.at < self.expected.len() {
            return;
        }
        self.expected.clear();
        (self.at, self.frame_at) = (0, 0);
        if std::mem::take(&mut self.asked_for_file) {
            let ask = self.pending[0];
            self.writer.seq = upload(&ask, self.writer.seq, &mut self.hands.out);
            self.asked_for_file = self.writer.write(&mut self.expected);
            return;
        }
        self.pending.pop_front();
        self.begun = false;
        self.expect();
    }

    /// Whether the bytes that came instead of an answer are errors that may come.
    fn judge(&self, fate: &Fate) -> Checked {
        let mut rest = &self.instead[..];
        let mut wanted_seq = self.expected.get(self.frame_at + 3).copied();
        // Nobody knows how much of a long command has gone by.
        let unsure = |ask: &Ask| ask.answer_seq() > 1;
        if self.pending.front().is_some_and(unsure) || fate.any_seq {
            wanted_seq = None;
        }
        while !rest.is_empty() {
            let whole = Header::peek(rest)
                .and_then(|header| Some((header.seq, rest.get(4..4 + header.payload_bytes)?)));
            let Some((seq, payload)) = whole else {
                return violation(format!(
                    "bytes that are no packet, instead of what {} wants: {}",
                    self.describe(),
                    rest[..rest.len().min(60)].escape_ascii()
                ));
            };
            rest = &rest[4 + payload.len()..];
            let code = ErrPacket::parse(payload).map_or(0, |err| err.code);
            if !fate.codes.contains(&code) {
                return violation(format!(
                    "number {seq}, {} instead of what {} wants",
                    payload[..payload.len().min(100)].escape_ascii(),
                    self.describe()
                ));
            }
            if wanted_seq.take().is_some_and(|wanted| wanted != seq) {
                return violation(format!("ERR {code} numbered {seq}: {}", self.describe()));
            }
        }
        Ok(())
    }

    /// Whether the session may end like this.
    pub(super) fn over(&self, in_order: bool, around: &Around<'_>) -> Checked {
        let fate = &around.fates[self.id];
        if fate.anything {
            return Ok(());
        }
        if in_order {
            self.judge(fate)?;
        }
        let leaving = self.left && matches!(self.plan.leave, Leave::Quit | Leave::Fin);
        if fate.may_end || leaving && self.pending.is_empty() {
            return Ok(());
        }
        match around.drain {
            Some((_, cut)) if around.now >= cut => Ok(()),
            // What was asked too late is not answered; what is being answered is.
            Some(_) if in_order && !self.begun => Ok(()),
            Some(_) | None => violation(format!("ended without cause: {}", self.describe())),
        }
    }
}
