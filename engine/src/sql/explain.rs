//! What is seen in a text, for people.
//!
//! Purpose: the words of `weir explain` for what a text says by itself.
//! Never: know where an endpoint would send it.

use serde::Serialize;

use crate::sql::classify::{Hints, Nodes, Role, classify_fully};
use crate::sql::digest::digest;
use crate::sql::findings::Findings;
use crate::sql::mode::LexMode;

/// A text as it is seen.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// What kind of statement it is.
    pub class: &'static str,
    /// Where it goes on an endpoint that splits: `primary` or `replicas`.
    pub nodes: &'static str,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in some more.
    pub because: &'static str,
    /// What was found in it.
    pub flags: Vec<&'static str>,
    /// What its comments ask for.
    pub hints: Vec<String>,
    /// How many statements it is.
    pub statements: u32,
    /// What it has in common with others like it, as a number in hexadecimal.
    pub digest: String,
    /// The same as text.
    pub text: String,
    /// That text is cut.
    pub is_cut: bool,
}

impl Explained {
    /// Looks at a text.
    #[must_use]
    pub fn of(text: &[u8], mode: LexMode) -> Self {
        let found = classify_fully(text, mode);
        let digest = digest(text, mode, DIGEST_BYTES_MAX);
        Self {
            class: found.class.name(),
            nodes: match found.nodes() {
                Nodes::Primary => "primary",
                Nodes::Replicas => "replicas",
            },
            reason: found.reason.name(),
            because: found.reason.text(),
            flags: found.marks.names().collect(),
            hints: words(&found.hints),
            statements: Findings::looked_for(text, mode).statements,
            digest: format!("{:016x}", digest.fingerprint),
            text: String::from_utf8_lossy(&digest.text).into_owned(),
            is_cut: digest.truncated,
        }
    }

    /// What is said of the text, by name. `nodes` and `reason` are in their place, but an endpoint
    /// may know better.
    #[must_use]
    pub fn facts(&self) -> [(&'static str, String); 8] {
        let listed = |words: &[String]| match words {
            [] => "none".to_owned(),
            words => words.join(", "),
        };
        let flags: Vec<String> = self.flags.iter().map(ToString::to_string).collect();
        let cut = if self.is_cut { " …" } else { "" };
        [
            ("class", self.class.to_owned()),
            ("nodes", self.nodes.to_owned()),
            ("reason", format!("{} ({})", self.reason, self.because)),
            ("flags", listed(&flags)),
            ("hints", listed(&self.hints)),
            ("statements", self.statements.to_string()),
            ("digest", self.digest.clone()),
            ("text", format!("{}{cut}", self.text)),
        ]
    }
}

fn words(hints: &Hints<'_>) -> Vec<String> {
    let mut words = Vec::new();
    match hints.role {
        Some(Role::Primary) => words.push("primary".to_owned()),
        Some(Role::Replica) => words.push("replica".to_owned()),
        None => {}
    }
    if let Some(name) = hints.backend {
        words.push(format!("backend={}", String::from_utf8_lossy(name)));
    }
    if let Some(lag) = hints.max_lag_ms {
        words.push(format!("max_lag_ms={lag}"));
    }
    if let Some(level) = hints.consistency {
        words.push(format!("consistency={}", level.name()));
    }
    if hints.odd {
        words.push("one that cannot be read".to_owned());
    }
    words
}

/// Longer digests are cut.
const DIGEST_BYTES_MAX: usize = 2048;
