//! What goes wrong on a server's connection.
//!
//! Purpose: fail between answers and inside them.
//! Never: without telling the client's fate that there is cause now.

use std::time::Duration;

use bytes::BytesMut;

use super::{Server, State};
use crate::check::Who;
use crate::client::Around;
use crate::dialect::err;
use crate::script::Ask;

/// What goes wrong on a connection, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    ErrInPlaceOfGreeting,
    NonsenseInPlaceOfGreeting,
    DropsLogin,
    HangsInLogin,
    RefusesAccount(u16),
    /// When so many commands were answered, or while the last of them is.
    After(usize, What),
}

/// What goes wrong after the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Reset,
    Fin,
    /// The answer ends in the middle, with a reset or a FIN.
    Cut {
        reset: bool,
    },
    /// An ERR nobody asked for, then FIN.
    Unasked,
    /// A frame that cannot be there.
    NoAnswer,
    Nonsense,
    Hang(Duration),
}

impl Server {
    /// Trouble after an answer.
    pub(super) fn trouble_between(&mut self, around: &mut Around<'_>) {
        let Trouble::After(answers, what) = self.trouble else { return };
        if answers != self.answered || around.healed {
            return;
        }
        let fate = &mut around.fates[self.owner.unwrap_or_default()];
        around.trace.note(around.now, Who::Server(self.number), "makes trouble", answers);
        match what {
            What::Reset => {
                fate.allow(&[1053, 1105]);
                self.end_with_reset();
            }
            What::Fin => {
                fate.allow(&[1053, 1105]);
                self.end_with_fin();
            }
            What::Unasked => {
                // Weir may still refuse a command after it.
                fate.allow(&[1047, 1053, 1105, 1927]);
                fate.any_seq = true;
                err(1927, 0, &mut self.hands.out);
                self.end_with_fin();
            }
            What::Hang(time) => {
                if answers == 0 {
                    fate.login_codes.push(1105);
                }
                self.hangs_until = Some(around.now + time);
            }
            What::Cut { .. } | What::NoAnswer | What::Nonsense => {}
        }
    }

    /// Trouble in place of an answer; whether there was any.
    pub(super) fn trouble_inside(&mut self, ask: &Ask, around: &mut Around<'_>) -> bool {
        let Trouble::After(answers, what) = self.trouble else { return false };
        if answers != self.answered || around.healed {
            return false;
        }
        let fate = &mut around.fates[self.owner.unwrap_or_default()];
        match what {
            What::Reset | What::Fin | What::Unasked | What::Hang(_) => return false,
            What::Cut { reset } => {
                fate.allow(&[1053]);
                let mut answer = BytesMut::new();
                self.writer.write(&mut answer);
                answer.truncate(self.rng.between(0, answer.len()));
                self.hands.out.extend_from_slice(&answer);
                if reset { self.end_with_reset() } else { self.end_with_fin() }
            }
            What::NoAnswer => {
                fate.allow(&[1835]);
                // Two megabytes that would have to be looked at as a whole.
                self.hands.out.extend_from_slice(&[0, 0, 0x20, ask.answer_seq(), 0xFE]);
                self.state = State::Ending;
            }
            What::Nonsense => {
                fate.allow(&[]);
                fate.anything = true;
                let bytes =
                    (0..self.rng.between(5, 3_000)).map(|_| self.rng.next().to_le_bytes()[2]);
                let bytes: Vec<u8> = bytes.collect();
                self.hands.out.extend_from_slice(&bytes);
                self.state = State::Ending;
            }
        }
        around.trace.note(around.now, Who::Server(self.number), "spoils an answer", self.answered);
        true
    }
}
