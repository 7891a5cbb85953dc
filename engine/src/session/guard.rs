//! What a user may not do although its backend would let it.
//!
//! Purpose: keep a session in the schemas that its user may enter.
//! Never: say what a statement may name: `other.table` is the server's grants' to refuse.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::{Blame, Fault};
use crate::config::User;
use crate::session::login::{LoginContext, host_of, shown_name};
use crate::sql::{Kind, LexMode, Lexer, Token, Unsure};
use crate::wire::{code, fault};

/// The bounds of one session, for users that have any.
#[derive(Debug)]
pub(super) struct Guard {
    user: Arc<User>,
    /// As errors name the account.
    account: String,
    /// Texts of refusals that wait for their turn, in its order. As many as commands may be
    /// pipelined.
    refusals: VecDeque<String>,
}

impl Guard {
    /// The bounds of that user; `None` if it has none.
    pub(super) fn of(context: &LoginContext, name: &[u8]) -> Option<Box<Self>> {
        let user = context.config.user(name)?;
        user.rules.schemas.as_ref()?;
        let account = format!("'{}'@'{}'", shown_name(name), host_of(context));
        Some(Box::new(Self { user: Arc::clone(user), account, refusals: VecDeque::new() }))
    }

    /// What is said to a login with that schema, if it may not be.
    pub(super) fn denied(&self, schema: Option<&[u8]>) -> Option<Fault> {
        let text = self.refusal_of(schema?)?;
        Some(fault(Blame::Client, code::DBACCESS_DENIED_ERROR, text))
    }

    /// Whether COM_INIT_DB with that payload is refused, which is said when its turn comes.
    pub(super) fn refuses_schema(&mut self, payload: &[u8]) -> bool {
        let refusal = self.refusal_of(payload.get(1..).unwrap_or_default());
        self.will_say(refusal)
    }

    /// Whether a text is refused, as [`Self::refuses_schema`].
    pub(super) fn refuses_text(&mut self, text: &[u8], backslash_escapes: bool) -> bool {
        let named = schemas_used(text, backslash_escapes);
        let refusal = named.iter().find_map(|name| self.refusal_of(name));
        self.will_say(refusal)
    }

    /// The text of the refusal whose turn it is.
    pub(super) fn say(&mut self) -> String {
        self.refusals.pop_front().unwrap_or_default()
    }

    fn will_say(&mut self, refusal: Option<String>) -> bool {
        let refuses = refusal.is_some();
        self.refusals.extend(refusal);
        refuses
    }

    /// The server's own words.
    fn refusal_of(&self, schema: &[u8]) -> Option<String> {
        let allowed = self.user.rules.schemas.as_ref()?;
        if allowed.iter().any(|name| name.as_bytes() == schema) {
            return None;
        }
        let (account, schema) = (&self.account, shown_name(schema));
        Some(format!("Access denied for user {account} to database '{schema}'"))
    }
}

/// The schemas that USE statements of a text name. Behind what cannot be read for sure none is found:
/// this bounds where sessions are, and does not replace grants.
fn schemas_used(text: &[u8], backslash_escapes: bool) -> Vec<Vec<u8>> {
    let mut lexer = Lexer::new(text, LexMode::unknown(backslash_escapes));
    let mut names = Vec::new();
    let mut is_start = true;
    loop {
        match lexer.next_token() {
            Ok(Some(token)) if is_start && is_use(text, token) => {
                match lexer.next_token() {
                    Ok(Some(name)) => names.push(name_of(text, name)),
                    // A name that is cut off or reads differently under other settings.
                    Err(Unsure) => names.push(Vec::new()),
                    Ok(None) => {}
                }
                is_start = false;
            }
            Ok(Some(token)) => is_start = token.kind == Kind::Sign(b';'),
            Ok(None) | Err(Unsure) => return names,
        }
    }
}

fn is_use(text: &[u8], token: Token) -> bool {
    let word = text.get(token.start..token.end).unwrap_or_default();
    token.kind == Kind::Word && word.eq_ignore_ascii_case(b"USE")
}

/// A name without its quotes, of which two in a row stand for one.
fn name_of(text: &[u8], token: Token) -> Vec<u8> {
    let name = text.get(token.start..token.end).unwrap_or_default();
    let quote = match (token.kind, name.first()) {
        (Kind::Quoted | Kind::Text, Some(quote)) => *quote,
        _ => return name.to_vec(),
    };
    let inner = name.get(1..name.len().saturating_sub(1)).unwrap_or_default();
    let mut plain = Vec::with_capacity(inner.len());
    let mut after_quote = false;
    for byte in inner {
        after_quote = *byte == quote && !after_quote;
        if !after_quote {
            plain.push(*byte);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_use_of_a_text_is_found() {
        let used = |text: &str| -> Vec<String> {
            let names = schemas_used(text.as_bytes(), true);
            names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
        };
        for (text, names) in [
            ("USE shop", &["shop"][..]),
            ("use shop;", &["shop"]),
            (" /* x */ Use`shop`", &["shop"]),
            ("/*!40101 USE shop */", &["shop"]),
            ("-- x\nUSE shop", &["shop"]),
            ("USE `a``b`", &["a`b"]),
            ("USE \"shop\"", &["shop"]),
            ("SELECT 1; USE one; USE `two`", &["one", "two"]),
            ("USE 1shop", &["1shop"]),
            ("SELECT * FROM t USE INDEX (i)", &[]),
            ("SELECT 'x; USE shop'", &[]),
            ("USED", &[]),
            ("USE", &[]),
            ("USE `shop", &[""]),
            ("", &[]),
        ] {
            assert_eq!(used(text), names, "{text}");
        }
    }
}
