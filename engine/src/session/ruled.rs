//! Rules, and the command that comes next.
//!
//! Purpose: do what rules say of a command before anything else is decided about it: once, however
//! often it has to come again.
//! Never: wait with a connection that others could use, or outside of the order of commands.

use std::sync::Arc;

use bytes::BytesMut;

use crate::base::{Blame, Fault, Time};
use crate::config::{RuleAction, RuleTarget};
use crate::route::{Aim, Asker, Decision, Ends, Rule, Slot, Statement as Asked, Step, Wish};
use crate::session::ledger::Ledger;
use crate::session::relay::Relay;
use crate::session::shared::Ruling;
use crate::session::sharing::Sharing;
use crate::session::state::Action;
use crate::session::statements::Statement;
use crate::sql::timed;
use crate::wire::{Command, Edits, code, fault, frame, query_text_at};

/// What a command waits for.
#[derive(Clone, Debug)]
pub enum Hold {
    /// For a time.
    Until(Time),
    /// For its turn among those who run at the same time, until then.
    Turn(Arc<Rule>, Time),
}

/// Who a session is for rules, and what they said.
#[derive(Debug)]
pub(super) struct Ruled {
    asker: Asker,
    /// Boxed: most commands are under no rule.
    next: Option<Box<Next>>,
}

/// Of the command that comes next.
#[derive(Debug, Default)]
struct Next {
    /// It has become another text, and does so once.
    is_rewritten: bool,
    decision: Option<Decision>,
    /// Itself, to be ended by its server if it takes long.
    timed: Option<Vec<u8>>,
    /// Why it does not go.
    refused: Option<Fault>,
    slots: Vec<Slot>,
}

/// What a decision comes to for now.
enum Passage {
    /// It has passed.
    Goes,
    /// It has to wait.
    Holds(Hold),
    /// It is refused.
    Refused(Fault),
    /// The same, when those before it have their answers.
    Waits,
    /// It is another text.
    Becomes(Vec<u8>),
    /// It is the same text, which says how long it may take.
    Timed(Vec<u8>),
}

impl Ruled {
    pub(super) const fn new(asker: Asker) -> Self {
        Self { asker, next: None }
    }

    pub(super) fn set_user(&mut self, user: &[u8]) {
        self.asker.user = user.into();
    }

    /// It has its turn.
    pub(super) fn admit(&mut self, slot: Slot) {
        let Some(next) = &mut self.next else { return };
        next.slots.push(slot);
        if let Some(decision) = &mut next.decision {
            decision.steps.pop_front();
        }
    }

    /// The command goes: its places.
    pub(super) fn end(&mut self) -> Vec<Slot> {
        self.next.take().map_or_else(Vec::new, |next| next.slots)
    }

    /// Where rules send it.
    fn to(&self) -> Option<&RuleTarget> {
        self.next.as_ref()?.decision.as_ref()?.to.as_ref()
    }
}

impl Next {
    fn pass(&mut self, now: Time) -> Passage {
        if let Some(fault) = self.refused.take() {
            return Passage::Refused(fault);
        }
        let Some(decision) = &mut self.decision else { return Passage::Goes };
        match decision.ends.take() {
            Some(Ends::Rejected(rule)) => {
                rule.rejected();
                return Passage::Refused(refusal(&rule));
            }
            Some(Ends::TooLong(rule)) => {
                rule.rejected();
                let text = format!("weir: rule '{}' makes this statement too long", rule.name());
                return Passage::Refused(fault(Blame::Limit, code::NET_PACKET_TOO_LARGE, text));
            }
            Some(Ends::Rewritten(text)) => return Passage::Becomes(text),
            None => {}
        }
        if let Some(text) = self.timed.take() {
            return Passage::Timed(text);
        }
        while let Some(step) = decision.steps.front_mut() {
            match step {
                Step::Until(time) if now < *time => return Passage::Holds(Hold::Until(*time)),
                Step::Until(_) => {}
                Step::Delay(rule, time) => {
                    rule.waits();
                    *step = Step::Until(now + *time);
                    continue;
                }
                Step::Bucket(rule) => match rule.begins(now) {
                    None => return refused_by(rule),
                    Some(begins) if begins > now => {
                        rule.waits();
                        *step = Step::Until(begins);
                        continue;
                    }
                    Some(_) => {}
                },
                Step::Gate(rule) => match (rule.gate().enter(), rule.limit()) {
                    (Some(slot), _) => self.slots.push(slot),
                    (None, Some(limit)) if !limit.wait.is_zero() => {
                        return Passage::Holds(Hold::Turn(Arc::clone(rule), now + limit.wait));
                    }
                    (None, _) => return refused_by(rule),
                },
            }
            decision.steps.pop_front();
        }
        Passage::Goes
    }
}

impl Relay {
    /// Before anything else of a command: what rules say of it. `None`: it goes on.
    pub(super) fn obey(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Option<Ruling>, Fault> {
        if !is_ruled(command) {
            return Ok(None);
        }
        let text_at = if command == Command::Query {
            query_text_at(payload, self.reply.dialect().client).ok()
        } else {
            (command == Command::StmtPrepare).then_some(1)
        };
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(None) };
        decide(sharing, command, payload, text_at, ledger);
        match self.pass(ledger.now()) {
            Passage::Goes => self.leave_as_ruled(ledger),
            Passage::Holds(hold) => {
                self.hold(hold, edits, ledger.now());
                Ok(Some(Ruling::Again))
            }
            Passage::Waits => Ok(Some(Ruling::Again)),
            Passage::Refused(fault) => {
                self.deny(fault);
                self.answer_denied(1, edits, ledger);
                Ok(Some(Ruling::Done))
            }
            Passage::Becomes(text) => {
                let head = text_at.and_then(|at| payload.get(..at)).unwrap_or_default();
                self.replace(head, &text, Next { is_rewritten: true, ..Next::default() });
                Ok(Some(Ruling::Replaced))
            }
            Passage::Timed(text) => {
                let head = text_at.and_then(|at| payload.get(..at)).unwrap_or_default();
                let next = self.sharing.as_deref_mut().and_then(|it| it.ruled.next.take());
                self.replace(head, &text, next.map(|next| *next).unwrap_or_default());
                Ok(Some(Ruling::Replaced))
            }
        }
    }

    /// The same of a command too long to be held, of which the text is not known unless it is an
    /// execution. `None`: it goes on. False: it has to wait.
    pub(super) fn obey_long(
        &mut self,
        command: Option<Command>,
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Option<bool> {
        let command = command.filter(|command| is_ruled(*command))?;
        let sharing = self.sharing.as_deref_mut()?;
        let head = sharing.head.take();
        decide(sharing, command, head.as_deref().unwrap_or_default(), None, ledger);
        sharing.head = head;
        match self.pass(ledger.now()) {
            Passage::Goes | Passage::Becomes(_) | Passage::Timed(_) => None,
            Passage::Holds(hold) => {
                self.hold(hold, edits, ledger.now());
                Some(false)
            }
            Passage::Waits => Some(false),
            Passage::Refused(fault) => {
                self.deny(fault);
                Some(true)
            }
        }
    }

    /// The command that comes next is over, or goes without being under rules.
    pub(super) fn forget_ruled(&mut self) {
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.ruled.next = None;
        }
    }

    /// A command that needs a connection is for the servers that rules say, if it may go there.
    pub(super) fn aim_as_ruled(&mut self) {
        let Some(sharing) = self.sharing.as_deref_mut().filter(|it| it.lent.is_none()) else {
            return;
        };
        let Some(to) = sharing.ruled.to() else { return };
        let aim = &mut sharing.router.aim;
        let mut wish = match aim {
            Aim::Primary => return,
            Aim::Reads => Wish::default(),
            Aim::Wished(wish) => std::mem::take(&mut **wish),
        };
        *aim = match to {
            RuleTarget::Primary => Aim::Primary,
            RuleTarget::Replica => {
                wish.replica = true;
                Aim::Wished(Box::new(wish))
            }
            RuleTarget::Backend(name) => {
                wish.backend = Some(name.as_bytes().into());
                Aim::Wished(Box::new(wish))
            }
        };
    }

    fn pass(&mut self, now: Time) -> Passage {
        let is_idle = self.owed.is_empty();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Passage::Goes };
        let Some(next) = sharing.ruled.next.as_deref_mut() else { return Passage::Goes };
        match next.pass(now) {
            Passage::Refused(fault) if !is_idle => {
                // Each has its answer in its turn.
                next.refused = Some(fault);
                sharing.awaits_answers = true;
                Passage::Waits
            }
            passage @ (Passage::Goes
            | Passage::Waits
            | Passage::Holds(_)
            | Passage::Refused(_)
            | Passage::Becomes(_)
            | Passage::Timed(_)) => passage,
        }
    }

    /// A command waits. A connection that nothing else needs goes first.
    fn hold(&mut self, hold: Hold, edits: &mut Edits, now: Time) {
        let is_idle = self.owed.is_empty();
        let in_transaction = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        if sharing.lent.is_some() && !in_transaction {
            if !is_idle {
                sharing.awaits_answers = true;
                return;
            }
            self.settle(edits);
        }
        let is_talking = self.wait.is_some();
        let Some(sharing) = self.sharing.as_deref_mut().filter(|_| !is_talking) else { return };
        if sharing.action.is_none() {
            sharing.since.get_or_insert(now);
            sharing.action = Some(Action::Hold(hold));
        }
    }

    fn deny(&mut self, fault: Fault) {
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.denied = Some(fault);
        }
    }

    /// A command with a connection to a replica, which rules send to the primary.
    fn leave_as_ruled(&mut self, ledger: &mut Ledger) -> Result<Option<Ruling>, Fault> {
        let in_transaction = self.is_in_transaction();
        let Some(sharing) = self.sharing.as_deref() else { return Ok(None) };
        let stays = sharing.ruled.to() != Some(&RuleTarget::Primary)
            || sharing.lent.is_none()
            || !sharing.router.at_replica()
            || in_transaction;
        if stays {
            return Ok(None);
        }
        self.leave_when_idle(ledger)?;
        Ok(Some(Ruling::Again))
    }

    /// The command comes again with another text, before all that is behind it.
    fn replace(&mut self, head: &[u8], text: &[u8], next: Next) {
        let since = self.command_since;
        let Some(sharing) = self.sharing.as_deref_mut() else { return };
        sharing.ruled.next = Some(Box::new(next));
        let behind = std::mem::take(&mut sharing.ahead);
        frame(&mut sharing.ahead, 0, |out: &mut BytesMut| {
            out.extend_from_slice(head);
            out.extend_from_slice(text);
        });
        sharing.ahead.extend_from_slice(&behind);
        sharing.since = Some(since);
        sharing.action = Some(Action::Resume);
    }
}

/// Asks the rules about a command, unless that was done.
fn decide(
    sharing: &mut Sharing,
    command: Command,
    payload: &[u8],
    text_at: Option<usize>,
    ledger: &Ledger,
) {
    let Sharing { ruled, carried, statements, mode, is_mariadb, .. } = sharing;
    let next = ruled.next.get_or_insert_default();
    if next.decision.is_some() {
        return;
    }
    let runs = command != Command::StmtPrepare;
    let is_new = matches!(command, Command::Query | Command::StmtPrepare);
    let text = if is_new {
        text_at.and_then(|at| payload.get(at..))
    } else {
        statements.meant(payload, *is_mariadb).and_then(Statement::text)
    };
    next.decision = Some(ledger.decide(&Asked {
        asker: &ruled.asker,
        schema: carried.settings.schema(),
        text,
        mode: *mode,
        is_new,
        rewrites: is_new && !next.is_rewritten,
        runs,
    }));
    let timeout = next.decision.as_ref().and_then(|decision| decision.timeout);
    next.timed = timeout.zip(text).and_then(|(time, text)| timed(text, *mode, time));
}

/// Commands that bring a statement, or run one.
const fn is_ruled(command: Command) -> bool {
    matches!(
        command,
        Command::Query | Command::StmtPrepare | Command::StmtExecute | Command::StmtBulkExecute
    )
}

/// What a rule says to whom it rejects.
fn refusal(rule: &Rule) -> Fault {
    let (code, message) = match rule.action() {
        RuleAction::Reject { code, message } => (*code, message.as_deref()),
        RuleAction::Route(_)
        | RuleAction::Rewrite { .. }
        | RuleAction::Limit(_)
        | RuleAction::Delay(_)
        | RuleAction::Timeout(_) => (code::UNKNOWN_ERROR, None),
    };
    let text = message.map_or_else(
        || format!("weir: rule '{}' rejects this statement", rule.name()),
        |message| format!("weir: {message}"),
    );
    fault(Blame::Client, code, text)
}

fn refused_by(rule: &Rule) -> Passage {
    Passage::Refused(over(rule))
}

/// What a rule says to whom there is no room for.
#[must_use]
pub fn over(rule: &Rule) -> Fault {
    rule.rejected();
    let name = rule.name();
    let text = format!("weir: rule '{name}': too many of these statements; try again later");
    fault(Blame::Limit, code::CON_COUNT_ERROR, text)
}
