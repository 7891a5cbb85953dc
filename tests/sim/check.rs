//! What may happen to a client, and what did.
//!
//! Purpose: say for every end of a session whether the script gave cause for it, and keep the last
//! steps for whoever has to find out.
//! Never: decide what happens.

use std::collections::VecDeque;
use std::fmt::Write;

use weir::base::Time;

use crate::script::Ask;

/// What must not happen: the end of a run, with the reason.
#[derive(Debug)]
pub(crate) struct Violation(pub(crate) String);

pub(crate) type Checked<T = ()> = Result<T, Violation>;

pub(crate) fn violation<T>(what: impl Into<String>) -> Checked<T> {
    Err(Violation(what.into()))
}

/// What the script allows to happen to one client.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Its session may end before everything is answered.
    pub(crate) may_end: bool,
    /// ERR codes it may end with.
    pub(crate) codes: Vec<u16>,
    /// The same, only while it logs in.
    pub(crate) login_may_end: bool,
    pub(crate) login_codes: Vec<u16>,
    /// It went away without saying so: commands may never arrive.
    pub(crate) lost: bool,
    /// It may receive any bytes: one of the ends sent nonsense.
    pub(crate) anything: bool,
    /// An ERR may have any sequence id: the server sent one unasked.
    pub(crate) any_seq: bool,
    /// Commands sent that its server must see, oldest first.
    pub(crate) sent: VecDeque<Ask>,
}

impl Fate {
    /// The session may end now, with one of these errors or without.
    pub(crate) fn allow(&mut self, codes: &[u16]) {
        self.may_end = true;
        self.codes.extend(codes);
    }
}

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Client(usize),
    Server(usize),
    Control,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    at: Time,
    who: Who,
    what: &'static str,
    count: u64,
}

/// All steps of a run as one number, and the last ones in full.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    last: VecDeque<Step>,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, at: Time, who: Who, what: &'static str, count: usize) {
        let count = count as u64;
        let number = match who {
            Who::Control => 0,
            Who::Client(index) => 1 + 2 * index as u64,
            Who::Server(index) => 2 + 2 * index as u64,
        };
        let letters = what.bytes().map(u64::from);
        for word in [at.as_nanos(), number, count].into_iter().chain(letters) {
            // FNV-1a over words.
            self.hash = (self.hash ^ word).wrapping_mul(0x100_0000_01b3);
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(Step { at, who, what, count });
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last_steps(&self) -> String {
        let mut text = String::new();
        for Step { at, who, what, count } in &self.last {
            let at = at.as_nanos() / 1000;
            writeln!(text, "{at:>10} µs  {who:?} {what} {count}").expect("memory");
        }
        text
    }
}

const LAST: usize = 80;
