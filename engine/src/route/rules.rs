//! What rules say of a statement.
//!
//! Purpose: try the rules of a configuration in their order, the cheap questions first.
//! Never: send anything to a server that the statement could not go to without them.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regex::bytes::Regex;

use crate::base::{EndpointId, Time};
use crate::config::{self, Config, RuleAction, RuleLimit, RuleTarget};
use crate::route::limit::{Bucket, Gate};
use crate::sql::{LexMode, digest};

/// Longer statements are not read for rules, and none is made longer.
pub const RULED_BYTES_MAX: usize = 16 << 10;

/// The rules in force.
#[derive(Debug)]
pub struct Rules(Vec<Arc<Rule>>);

/// One of them, with what is counted of it over all workers.
#[derive(Debug)]
pub struct Rule {
    config: Arc<config::Rule>,
    /// Of sessions of which endpoint; `None` within if it is not there before a restart.
    endpoint: Option<Option<EndpointId>>,
    /// What stays when the rule of that name is another one.
    kept: Arc<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    counts: Counts,
    bucket: Bucket,
    gate: Arc<Gate>,
}

/// What came of a rule.
#[derive(Debug, Default)]
struct Counts {
    matches: AtomicU64,
    rejected: AtomicU64,
    waits: AtomicU64,
}

/// Whose statement it is.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Its account.
    pub user: Box<[u8]>,
    /// Where its client is.
    pub address: Option<IpAddr>,
    /// Where it has come in.
    pub endpoint: EndpointId,
    /// That splits reads and writes, so that where they go can be said.
    pub may_route: bool,
}

/// A statement, as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Whose it is.
    pub asker: &'a Asker,
    /// The schema its session is in.
    pub schema: &'a [u8],
    /// `None` if it is not known, or too long.
    pub text: Option<&'a [u8]>,
    /// How that is read.
    pub mode: LexMode,
    /// It comes as text.
    pub is_new: bool,
    /// It may become another text.
    pub rewrites: bool,
    /// It is to run, and not only prepared to.
    pub runs: bool,
}

/// What becomes of a statement.
#[derive(Debug, Default)]
pub struct Decision {
    /// Where it goes, if it may.
    pub to: Option<RuleTarget>,
    /// What it has to pass first, in this order.
    pub steps: VecDeque<Step>,
    /// It does not go at all.
    pub ends: Option<Ends>,
    /// Its server is to end it if it takes longer.
    pub timeout: Option<Duration>,
}

/// What a statement has to pass.
#[derive(Debug)]
pub enum Step {
    /// So many in a second.
    Bucket(Arc<Rule>),
    /// So many at the same time.
    Gate(Arc<Rule>),
    /// So long.
    Delay(Arc<Rule>, Duration),
    /// It has to wait until then.
    Until(Time),
}

/// Why a statement does not go.
#[derive(Debug)]
pub enum Ends {
    /// It is refused.
    Rejected(Arc<Rule>),
    /// It has become this text.
    Rewritten(Vec<u8>),
    /// The text it has become is too long.
    TooLong(Arc<Rule>),
}

impl Rules {
    /// The rules of a configuration, which go on with what is counted of those before. `None`
    /// without any.
    #[must_use]
    pub fn renewed(before: Option<&Self>, config: &Config) -> Option<Arc<Self>> {
        let old = before.map_or(&[][..], |it| &it.0);
        let rules = config.rules.iter().map(|rule| {
            let known = old.iter().find(|known| known.config.name == rule.name);
            let kept = known.map(|known| Arc::clone(&known.kept)).unwrap_or_default();
            let endpoint = rule.about.endpoint.as_ref().map(|name| {
                let named = config.endpoints.iter().zip(0..).find(|(it, _)| it.name == *name);
                named.map(|(_, id)| EndpointId(id))
            });
            Arc::new(Rule { config: Arc::clone(rule), endpoint, kept })
        });
        let rules: Vec<_> = rules.collect();
        for rule in &rules {
            rule.kept.gate.set_max(rule.concurrent_max());
        }
        for gone in old.iter().filter(|it| !rules.iter().any(|new| new.name() == it.name())) {
            // Nobody waits for what is no bound any more.
            gone.kept.gate.set_max(u32::MAX);
        }
        (!rules.is_empty()).then(|| Arc::new(Self(rules)))
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// What becomes of a statement. Rules that have a say in it are counted.
    #[must_use]
    pub fn decide(&self, statement: &Statement<'_>) -> Decision {
        let mut decision = Decision::default();
        let fingerprint = OnceCell::new();
        for rule in &self.0 {
            if !rule.holds(statement, &fingerprint) {
                continue;
            }
            let action = &rule.config.action;
            match action {
                RuleAction::Rewrite { .. } if !statement.rewrites => continue,
                RuleAction::Rewrite { replace } => {
                    rule.matched();
                    let regex = rule.config.about.regex.as_ref();
                    let text = regex.zip(statement.text);
                    let new = text.and_then(|(it, text)| rewritten(it.regex(), text, replace));
                    let ends = match new {
                        Some(text) => Ends::Rewritten(text),
                        None => Ends::TooLong(Arc::clone(rule)),
                    };
                    // All that was found so far is found again of the new text.
                    return Decision { ends: Some(ends), ..Decision::default() };
                }
                RuleAction::Reject { .. } => {
                    decision.ends = Some(Ends::Rejected(Arc::clone(rule)));
                }
                RuleAction::Route(_) if !statement.asker.may_route => {}
                RuleAction::Route(target) => {
                    decision.to.get_or_insert_with(|| target.clone());
                }
                RuleAction::Limit(_) | RuleAction::Delay(_) if !statement.runs => {}
                RuleAction::Timeout(_) if !statement.is_new => continue,
                RuleAction::Timeout(time) => {
                    let least = decision.timeout.map_or(*time, |other| other.min(*time));
                    decision.timeout = Some(least);
                }
                RuleAction::Limit(limit) => {
                    if limit.per_second > 0 {
                        decision.steps.push_back(Step::Bucket(Arc::clone(rule)));
                    }
                    if limit.concurrent > 0 {
                        decision.steps.push_back(Step::Gate(Arc::clone(rule)));
                    }
                }
                RuleAction::Delay(time) => {
                    decision.steps.push_back(Step::Delay(Arc::clone(rule), *time));
                }
            }
            if statement.runs || !matches!(action, RuleAction::Limit(_) | RuleAction::Delay(_)) {
                rule.matched();
            }
            if !rule.config.continues {
                break;
            }
        }
        decision
    }
}

impl Rule {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What it does.
    #[must_use]
    pub fn action(&self) -> &RuleAction {
        &self.config.action
    }

    /// Its bound, if it is one.
    #[must_use]
    pub fn limit(&self) -> Option<&RuleLimit> {
        match &self.config.action {
            RuleAction::Limit(limit) => Some(limit),
            RuleAction::Route(_)
            | RuleAction::Reject { .. }
            | RuleAction::Rewrite { .. }
            | RuleAction::Delay(_)
            | RuleAction::Timeout(_) => None,
        }
    }

    /// When a statement may begin that comes now, if that is soon enough.
    #[must_use]
    pub fn begins(&self, now: Time) -> Option<Time> {
        let RuleLimit { per_second, burst, wait, .. } = *self.limit()?;
        self.kept.bucket.take(now, per_second, burst, wait)
    }

    /// Where those are who run at the same time.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.kept.gate
    }

    /// A statement was refused because of it.
    pub fn rejected(&self) {
        self.kept.counts.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// A statement waits because of it.
    pub fn waits(&self) {
        self.kept.counts.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// How many statements it had a say in, were refused, and had to wait.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        let Counts { matches, rejected, waits } = &self.kept.counts;
        [matches, rejected, waits].map(|it| it.load(Ordering::Relaxed))
    }

    fn matched(&self) {
        self.kept.counts.matches.fetch_add(1, Ordering::Relaxed);
    }

    fn concurrent_max(&self) -> u32 {
        match self.limit() {
            Some(limit) if limit.concurrent > 0 => limit.concurrent,
            Some(_) | None => u32::MAX,
        }
    }

    fn holds(&self, statement: &Statement<'_>, fingerprint: &OnceCell<u64>) -> bool {
        let about = &self.config.about;
        let Statement { asker, schema, text, mode, .. } = *statement;
        let text = text.filter(|text| text.len() <= RULED_BYTES_MAX);
        self.endpoint.is_none_or(|endpoint| endpoint == Some(asker.endpoint))
            && about.user.as_ref().is_none_or(|user| user.as_bytes() == &*asker.user)
            && about.schema.as_ref().is_none_or(|name| name.as_bytes() == schema)
            && (about.networks.is_empty()
                || asker
                    .address
                    .is_some_and(|it| about.networks.iter().any(|net| net.contains(it))))
            && about.digest.is_none_or(|wanted| {
                let own = |text| *fingerprint.get_or_init(|| digest(text, mode, 0).fingerprint);
                text.is_some_and(|text| own(text) == wanted)
            })
            && about
                .regex
                .as_ref()
                .is_none_or(|it| text.is_some_and(|text| it.regex().is_match(text)))
    }
}

/// A text with all finds replaced; `None` if that is too long.
fn rewritten(regex: &Regex, text: &[u8], replace: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for found in regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.extend_from_slice(text.get(at..whole.start()).unwrap_or_default());
        found.expand(replace.as_bytes(), &mut out);
        at = whole.end();
        if out.len() > RULED_BYTES_MAX {
            return None;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    (out.len() <= RULED_BYTES_MAX).then_some(out)
}

#[cfg(test)]
mod tests;
