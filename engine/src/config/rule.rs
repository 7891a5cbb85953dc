//! What an operator wants done with certain statements.
//!
//! Purpose: the values of a `[[rule]]`, and what has to hold between its keys.
//! Never: look at a statement; `route` does.

use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use super::check::milliseconds;
use super::network::{self, Network};
use super::problem::nearest;
use super::raw::{At, Document, Table};
use super::types::{Backend, Endpoint, Pooling};

/// One rule. They are tried in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in errors and metrics.
    pub name: String,
    /// Whose statements, and which, it is about.
    pub about: RuleMatch,
    /// What becomes of them.
    pub action: RuleAction,
    /// The rules behind it are tried, too.
    pub continues: bool,
}

/// What a statement has to be for a rule to hold; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleMatch {
    /// The account its client logged in with.
    pub user: Option<String>,
    /// The schema its session is in.
    pub schema: Option<String>,
    /// Where its client is; empty is everywhere.
    pub networks: Vec<Network>,
    /// The name of the endpoint it came to.
    pub endpoint: Option<String>,
    /// Its digest.
    pub digest: Option<u64>,
    /// What is in its text.
    pub regex: Option<Pattern>,
}

/// A regular expression that is compiled.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a text.
    ///
    /// # Errors
    /// Why that cannot be, for the person who wrote it.
    pub fn new(text: &str) -> Result<Self, String> {
        RegexBuilder::new(text)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
            .map(Self)
            .map_err(|error| {
                if matches!(error, regex::Error::CompiledTooBig(_)) {
                    return "is too large a regular expression".to_owned();
                }
                // In several lines, it ends with the one that says it.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                format!("is no regular expression: {}", last.trim_start_matches("error: "))
            })
    }

    /// The expression.
    #[must_use]
    pub const fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// What becomes of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// It goes there, if it may.
    Route(RuleTarget),
    /// It is answered with an error.
    Reject {
        /// Its number.
        code: u16,
        /// Its text; `None` for one of Weir's.
        message: Option<String>,
    },
    /// What the expression finds in it is replaced by this.
    Rewrite {
        /// With `$1` and so on for what groups found.
        replace: String,
    },
    /// So many of them, and no more.
    Limit(RuleLimit),
    /// It waits for so long first.
    Delay(Duration),
    /// Its server ends it if it takes longer.
    Timeout(Duration),
}

/// Which servers are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleTarget {
    /// The primary.
    Primary,
    /// A replica, and not the primary although it takes reads.
    Replica,
    /// The server of that name, if it is fit.
    Backend(String),
}

/// How many statements may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleLimit {
    /// In a second, on average; 0 is no bound.
    pub per_second: u32,
    /// Of those, at once after a pause; at least one.
    pub burst: u32,
    /// At the same time; 0 is no bound.
    pub concurrent: u32,
    /// How long one waits for its turn.
    pub wait: Duration,
    /// How many wait for those at the same time.
    pub waiters_max: usize,
}

/// The words of `action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActionWord {
    Route,
    Reject,
    Rewrite,
    Limit,
    Delay,
    Timeout,
}

impl ActionWord {
    /// The keys that say more about it.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Route => &["to"],
            Self::Reject => &["code", "message"],
            Self::Rewrite => &["replace"],
            Self::Limit => &["per_second", "burst", "concurrent", "wait_ms", "waiters_max"],
            Self::Delay => &["delay_ms"],
            Self::Timeout => &["timeout_ms"],
        }
    }

    const ALL: [(Self, &'static str); 6] = [
        (Self::Route, "route"),
        (Self::Reject, "reject"),
        (Self::Rewrite, "rewrite"),
        (Self::Limit, "limit"),
        (Self::Delay, "delay"),
        (Self::Timeout, "timeout"),
    ];
}

impl super::words::Word for ActionWord {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("route", Self::Route),
        ("reject", Self::Reject),
        ("rewrite", Self::Rewrite),
        ("limit", Self::Limit),
        ("delay", Self::Delay),
        ("timeout", Self::Timeout),
    ];
    const DEFAULT: Option<Self> = None;
}

/// What a rule may refer to.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) document: &'a Document<'a>,
    pub(super) endpoints: &'a [Endpoint],
    pub(super) backends: &'a [Backend],
    /// There may be backends that the file does not name.
    pub(super) discovers: bool,
}

impl Known<'_> {
    /// A rule of that name.
    pub(super) fn rule(self, table: &Table<'_>, name: String) -> Rule {
        let about = self.about(table);
        let word = table.word::<ActionWord>("action");
        let action = word.and_then(|word| {
            self.reject_others(table, word);
            self.action(table, word, &about)
        });
        let continues = table.flag("continue");
        if continues && matches!(word, Some(ActionWord::Reject | ActionWord::Rewrite)) {
            let message = "is for rules that let the statement go on as it is; what is rewritten is \
                           tried against all rules again anyway";
            self.document.reject(&table.place_of("continue"), message);
        }
        // Seen by nobody if it is not the file's.
        let action = action.unwrap_or(RuleAction::Delay(Duration::ZERO));
        Rule { name, about, action, continues }
    }

    fn about(self, table: &Table<'_>) -> RuleMatch {
        let text = |key| table.text(key).map(|it| it.value);
        let endpoint = table.text("endpoint");
        if let Some(At { value, place }) = &endpoint {
            match self.endpoints.iter().find(|it| it.name == *value) {
                None => {
                    let names: Vec<_> = self.endpoints.iter().map(|it| it.name.as_str()).collect();
                    let message = format!("is no endpoint of this file{}", guess(value, &names));
                    self.document.reject(place, message);
                }
                Some(endpoint) if endpoint.pooling != Pooling::Transaction => {
                    let message = "must be an endpoint with pooling = \"transaction\": statements of \
                                   others are not looked at";
                    self.document.reject(place, message);
                }
                Some(_) => {}
            }
        }
        RuleMatch {
            user: text("user"),
            schema: text("schema"),
            networks: network::list(self.document, table, "network"),
            endpoint: endpoint.map(|it| it.value),
            digest: table.text("digest").and_then(|At { value, place }| {
                let is_hex = value.len() == 16 && value.bytes().all(|it| it.is_ascii_hexdigit());
                let digest = u64::from_str_radix(&value, 16).ok().filter(|_| is_hex);
                if digest.is_none() {
                    table.reject_value("digest", &place);
                }
                digest
            }),
            regex: table.text("regex").and_then(|At { value, place }| {
                Pattern::new(&value).map_err(|message| self.document.reject(&place, message)).ok()
            }),
        }
    }

    /// A key of another action says nothing, which whoever wrote it has not meant.
    fn reject_others(self, table: &Table<'_>, word: ActionWord) {
        for (other, name) in ActionWord::ALL.into_iter().filter(|(other, _)| *other != word) {
            for key in other.keys() {
                if let Some(At { place, .. }) = table.mixed(key) {
                    let message = format!("is for action = \"{name}\"");
                    self.document.reject(&place, message);
                }
            }
        }
    }

    fn action(self, table: &Table<'_>, word: ActionWord, about: &RuleMatch) -> Option<RuleAction> {
        Some(match word {
            ActionWord::Route => RuleAction::Route(self.target(table)?),
            ActionWord::Reject => {
                RuleAction::Reject { code: table.integer("code").value, message: message(table) }
            }
            ActionWord::Rewrite => {
                if about.regex.is_none() && table.mixed("regex").is_none() {
                    let message = "is missing: what it finds is what is replaced";
                    self.document.reject(&table.place_of("regex"), message);
                }
                let Some(replace) = table.text("replace") else {
                    self.missing(table, "replace");
                    return None;
                };
                RuleAction::Rewrite { replace: replace.value }
            }
            ActionWord::Limit => {
                let (per_second, burst) = (table.integer("per_second"), table.integer("burst"));
                let concurrent = table.integer("concurrent");
                if per_second.value == 0 && concurrent.value == 0 {
                    let message = "limits nothing: give per_second or concurrent";
                    self.document.reject(&table.place(), message);
                }
                let burst: u32 = burst.value;
                RuleAction::Limit(RuleLimit {
                    per_second: per_second.value,
                    burst: if burst == 0 { per_second.value.max(1) } else { burst },
                    concurrent: concurrent.value,
                    wait: milliseconds(table, "wait_ms"),
                    waiters_max: table.integer("waiters_max").value,
                })
            }
            ActionWord::Delay => {
                if table.mixed("delay_ms").is_none() {
                    self.missing(table, "delay_ms");
                }
                RuleAction::Delay(milliseconds(table, "delay_ms"))
            }
            ActionWord::Timeout => {
                let time = milliseconds(table, "timeout_ms");
                if time.is_zero() {
                    self.missing(table, "timeout_ms");
                }
                RuleAction::Timeout(time)
            }
        })
    }

    fn target(self, table: &Table<'_>) -> Option<RuleTarget> {
        let Some(At { value, place }) = table.text("to") else {
            self.missing(table, "to");
            return None;
        };
        match value.as_str() {
            "primary" => Some(RuleTarget::Primary),
            "replica" => Some(RuleTarget::Replica),
            other => {
                let Some(name) = other.strip_prefix("backend ") else {
                    table.reject_value("to", &place);
                    return None;
                };
                let names: Vec<_> = self.backends.iter().map(|it| it.name.as_str()).collect();
                if !names.contains(&name) && !self.discovers {
                    let message = format!("is no backend of this file{}", guess(name, &names));
                    self.document.reject(&place, message);
                }
                Some(RuleTarget::Backend(name.to_owned()))
            }
        }
    }

    fn missing(self, table: &Table<'_>, key: &str) {
        let message = format!("is missing: {}", table.accepted(key));
        self.document.reject(&table.place_of(key), message);
    }
}

fn message(table: &Table<'_>) -> Option<String> {
    let At { value, place } = table.text("message")?;
    if !(1..=MESSAGE_BYTES_MAX).contains(&value.len()) || value.contains(char::is_control) {
        table.reject_value("message", &place);
    }
    Some(value)
}

fn guess(wanted: &str, names: &[&str]) -> String {
    nearest(wanted, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Clients cut messages at 512 bytes.
const MESSAGE_BYTES_MAX: usize = 400;
/// A compiled expression, and what is kept of its states while it is used.
const REGEX_BYTES_MAX: usize = 1 << 20;
