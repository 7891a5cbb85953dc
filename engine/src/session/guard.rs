//! What a user may not do although its backend would let it.
//!
//! Purpose: keep a session in the schemas that its user may enter, and a reader from becoming a
//! writer.
//! Never: say what a statement may name: `other.table` is the server's grants' to refuse; or judge
//! what writes: the server does, in a session that may only read.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::{Blame, Fault};
use crate::config::{Pooling, Secret, User, UserRules};
use crate::session::login::{LoginContext, host_of, shown_name};
use crate::session::text;
use crate::sql::{Findings, Flags, Item, Kind, LexMode, Lexer, Target, Token, Unsure, unquoted};
use crate::wire::{code, fault};

/// The bounds of one session, for users that have any.
#[derive(Debug)]
pub(super) struct Guard {
    user: Arc<User>,
    /// As errors name the account.
    account: String,
    /// Refusals that wait for their turn, in its order. As many as commands may be pipelined.
    refusals: VecDeque<Denial>,
}

impl Guard {
    /// The bounds of that user; `None` if it has none.
    pub(super) fn of(context: &LoginContext, name: &[u8]) -> Option<Box<Self>> {
        let known = context.config.user(name);
        let is_bounded = known.is_some_and(|it| it.rules.schemas.is_some() || it.rules.read_only);
        let shares = context.pooling == Pooling::Transaction && !is_bounded;
        let user = match known {
            _ if context.reads_only && !shares => {
                let rules = known.map(|user| user.rules.clone()).unwrap_or_default();
                let rules = UserRules { read_only: true, ..rules };
                Arc::new(User { rules, ..User::new(shown_name(name), Secret::Empty) })
            }
            Some(user) if is_bounded => Arc::clone(user),
            Some(_) | None => return None,
        };
        let account = format!("'{}'@'{}'", shown_name(name), host_of(context));
        Some(Box::new(Self { user, account, refusals: VecDeque::new() }))
    }

    /// The session may only read.
    pub(super) fn is_for_reading(&self) -> bool {
        self.user.rules.read_only
    }

    /// The longest statement that is looked at.
    pub(super) fn text_bytes_max(&self) -> usize {
        if self.is_for_reading() { READER_TEXT_BYTES_MAX } else { text::TEXT_BYTES_MAX }
    }

    /// What is said to a login with that schema, if it may not be.
    pub(super) fn denied(&self, schema: Option<&[u8]>) -> Option<Fault> {
        let denial = self.refusal_of(schema?)?;
        Some(fault(Blame::Client, denial.code, denial.text))
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
        let refusal = refusal.or_else(|| self.refusal_of_writer(text, backslash_escapes));
        self.will_say(refusal)
    }

    /// A statement is too long to be looked at, which is said when its turn comes.
    pub(super) fn refuse_long(&mut self) {
        let text = format!(
            "weir: {} is read_only: statements above {READER_TEXT_BYTES_MAX} bytes cannot be \
             checked",
            self.account
        );
        self.refusals.push_back(Denial { code: code::OPTION_PREVENTS_STATEMENT, text });
    }

    /// The refusal whose turn it is.
    pub(super) fn say(&mut self) -> Option<Denial> {
        self.refusals.pop_front()
    }

    fn will_say(&mut self, refusal: Option<Denial>) -> bool {
        let refuses = refusal.is_some();
        self.refusals.extend(refusal);
        refuses
    }

    /// The server's own words.
    fn refusal_of(&self, schema: &[u8]) -> Option<Denial> {
        let allowed = self.user.rules.schemas.as_ref()?;
        if allowed.iter().any(|name| name.as_bytes() == schema) {
            return None;
        }
        let (account, schema) = (&self.account, shown_name(schema));
        let text = format!("Access denied for user {account} to database '{schema}'");
        Some(Denial { code: code::DBACCESS_DENIED_ERROR, text })
    }

    fn refusal_of_writer(&self, text: &[u8], backslash_escapes: bool) -> Option<Denial> {
        if !self.is_for_reading() || !may_let_write(text, backslash_escapes) {
            return None;
        }
        let text = format!(
            "weir: {} is read_only, and this statement may end that; leave transaction_read_only, \
             READ WRITE, PREPARE and EXECUTE out of it",
            self.account
        );
        Some(Denial { code: code::OPTION_PREVENTS_STATEMENT, text })
    }
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) code: u16,
    pub(super) text: String,
}

/// The longest statement of a reader: all of it has to be looked at.
const READER_TEXT_BYTES_MAX: usize = 1 << 20;

/// Words without which no statement ends that a session may only read. All of them are rare.
const TELLING: [&[u8]; 4] = [b"_READ_ONLY", b"WRITE", b"PREPARE", b"EXECUTE"];

/// Whether a statement could let a session write that may only read. Where it cannot be read for
/// sure, it could.
fn may_let_write(text: &[u8], backslash_escapes: bool) -> bool {
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    if !TELLING.into_iter().any(has) {
        return false;
    }
    let mode = LexMode::unknown(backslash_escapes);
    let findings = Findings::looked_for(text, mode);
    let hidden = Flags::UNSURE | Flags::PREPARE | Flags::EXECUTE | Flags::READ_WRITE;
    let is_the_mode = |name: &[u8]| {
        let known = [&b"transaction_read_only"[..], b"tx_read_only"];
        known.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    let sets_it = |item: &Item| {
        matches!(item, Item::Assigned(Target::System(_, name), _)
            if is_the_mode(&unquoted(name.of(text))))
    };
    findings.flags.intersects(hidden)
        || findings.items.iter().any(sets_it)
        || says_read_write(text, mode)
}

/// READ WRITE, wherever it stands: `SET TRANSACTION READ WRITE`, `START TRANSACTION READ WRITE`.
fn says_read_write(text: &[u8], mode: LexMode) -> bool {
    let mut lexer = Lexer::new(text, mode);
    let mut after_read = false;
    loop {
        let Ok(token) = lexer.next_token() else { return true };
        let Some(token) = token else { return false };
        let word = text.get(token.start..token.end).unwrap_or_default();
        if after_read && word.eq_ignore_ascii_case(b"WRITE") {
            return true;
        }
        after_read = token.kind == Kind::Word && word.eq_ignore_ascii_case(b"READ");
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
    fn what_could_let_a_reader_write() {
        for (sql, could) in [
            ("SELECT 1", false),
            ("SELECT 'READ WRITE', 'PREPARE'", false),
            ("SELECT @@transaction_read_only", false),
            ("SELECT `execute`, \"prepare\" FROM t", false),
            ("START TRANSACTION READ ONLY", false),
            ("SET SESSION TRANSACTION READ WRITE", true),
            ("START TRANSACTION READ/**/WRITE", true),
            ("SET @@transaction_read_only = 0", true),
            ("SET @a = 1, SESSION `TX_READ_ONLY` = 0", true),
            ("/*!50700 SET tx_read_only = 0 */", true),
            ("SELECT 1; PREPARE p FROM @a", true),
            ("EXECUTE IMMEDIATE @a", true),
            // Where the quoted ends depends on settings that are not known.
            (r#"SELECT "\"; SET tx_read_only = 0; -- ""#, true),
        ] {
            assert_eq!(may_let_write(sql.as_bytes(), true), could, "{sql}");
        }
    }

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
