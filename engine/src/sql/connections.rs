//! Where a statement speaks of connections by number.
//!
//! Purpose: a client knows its connection, and others', by the ids Weir gave out; servers know them
//! by their own. Find the places where one has to stand for the other: `CONNECTION_ID()`,
//! `@@pseudo_thread_id`, and the number in `KILL`; and the statement that is answered with ids.
//! Never: touch a string, a comment, a quoted name, or text that runs later on its own (stored
//! programs, views, defaults, `PREPARE … FROM '…'`).
//!
//! An item of a select list is named by its text. One that gets a number put in gets its old text
//! as an alias as well, so that applications find their column.

use std::ops::Range;

use crate::sql::lex::{Kind, Lexer, Token, Unsure};
use crate::sql::mode::LexMode;
use crate::sql::processlist;

/// The longest alias servers take for a column, in characters; longer names are not kept.
const ALIAS_BYTES_MAX: usize = 250;

/// Parentheses inside each other; deeper text is left alone.
const DEPTH_MAX: usize = 64;

/// Places of one statement text; a text with more is left alone.
const PLACES_MAX: usize = 64;

/// What a statement text has of connection ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that has to change.
    Nothing,
    /// These places, in their order.
    Places(Vec<Place>),
    /// The whole text is SHOW PROCESSLIST.
    Threads,
    /// A KILL whose connection is neither a number nor `CONNECTION_ID()`. The server would take
    /// its value for one of its own ids, and end a stranger's statement.
    OddKill,
}

/// A part of a statement text and what to put in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bytes replaced; empty where something is put in between.
    pub range: Range<usize>,
    /// What comes there.
    pub put: Put,
}

/// What comes in the place of a part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The id of the client's own connection.
    OwnId,
    /// The server's id of the connection that clients know by this one.
    ThreadOf(u32),
    /// What ROW_COUNT() gives.
    RowCount,
    /// What FOUND_ROWS() gives.
    FoundRows,
    /// ` AS` and this text as a quoted name.
    Alias(Range<usize>),
}

/// What of the statement before is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    /// ROW_COUNT().
    pub row_count: bool,
    /// FOUND_ROWS().
    pub found_rows: bool,
}

/// What stands for the places.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// For [`Put::OwnId`].
    pub own_id: u32,
    /// For each [`Put::ThreadOf`], in order.
    pub threads: &'a [u32],
    /// For [`Put::RowCount`].
    pub row_count: i64,
    /// For [`Put::FoundRows`].
    pub found_rows: u64,
}

/// Whether a text may hold anything [`find`] looks for. Costs one pass over the text, many bytes at
/// a time; a false alarm costs a [`find`].
#[inline]
#[must_use]
pub fn may_name_connections(text: &[u8]) -> bool {
    // KILL may follow a comment or a semicolon, SHOW PROCESSLIST a comment; everything else has an
    // underscore before an "id".
    let odd_start = match text {
        [b'k' | b'K', b'i' | b'I', ..] | [b's' | b'S', b'h' | b'H', ..] => true,
        [first, ..] => !first.is_ascii_alphabetic(),
        [] => false,
    };
    (odd_start || has_mark(text)) && look_closer(text)
}

/// Whether there is a semicolon, or an underscore before an `i`.
#[inline]
fn has_mark(text: &[u8]) -> bool {
    const STEP: usize = 32;
    let mut seen = [0; STEP];
    // The compiler makes vector instructions of this, which it cannot of a search that stops early.
    let mut look = |block: &[u8; STEP], next: &[u8; STEP]| {
        for ((seen, byte), next) in seen.iter_mut().zip(block).zip(next) {
            let before_i = u8::from(*byte == b'_') & u8::from(*next | 0x20 == b'i');
            *seen |= before_i | u8::from(*byte == b';');
        }
    };
    let Some((last, head)) = text.split_last() else { return false };
    let (blocks, _) = head.as_chunks();
    let (nexts, _) = text.get(1..).unwrap_or_default().as_chunks();
    for (block, next) in blocks.iter().zip(nexts) {
        look(block, next);
    }
    // The last bytes, together with some that were seen.
    let (Some(block), Some(next)) = (head.last_chunk(), text.last_chunk()) else {
        return text.iter().any(|byte| matches!(byte, b';' | b'_'));
    };
    look(block, next);
    *last == b';' || seen.iter().fold(0, |all, mark| all | mark) != 0
}

#[cold]
fn look_closer(text: &[u8]) -> bool {
    begins_with_kill(text)
        || processlist::may_begin(text)
        || memchr::memchr2_iter(b'_', b';', text).any(|at| match text.get(at..) {
            Some([b';', rest @ ..]) => begins_with_kill(rest),
            Some([_, b'i' | b'I', b'd' | b'D', ..]) => {
                let before = at.checked_sub(1).and_then(|before| text.get(before));
                matches!(before, Some(b'n' | b'N' | b'd' | b'D'))
            }
            Some(_) | None => false,
        })
}

/// Whether the first word is KILL or cannot be told at a glance.
fn begins_with_kill(text: &[u8]) -> bool {
    let mut lexer = Lexer::new(text, LexMode::unknown(true));
    match lexer.next_token() {
        Ok(Some(token)) => matches!(token.kind, Kind::Word) && is(text, token, b"KILL"),
        Ok(None) => false,
        Err(Unsure) => true,
    }
}

/// Finds the places.
///
/// # Errors
/// [`Unsure`]: the text has to be left as it is.
pub fn find(text: &[u8], mode: LexMode) -> Result<Finding, Unsure> {
    find_with(text, mode, Previous::default())
}

/// The same, with the places of the first statement that depend on the statement before it:
/// ROW_COUNT() and FOUND_ROWS().
///
/// # Errors
/// As [`find`].
pub fn find_with(text: &[u8], mode: LexMode, previous: Previous) -> Result<Finding, Unsure> {
    let mut lexer = Lexer::new(text, mode);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token()? {
        tokens.push(token);
    }
    if processlist::is_all(text, &tokens) {
        return Ok(Finding::Threads);
    }
    let (places, levels) = (Vec::new(), Vec::new());
    let mut search = Search { text, tokens: &tokens, places, levels, previous };
    let mut at = 0;
    while at < tokens.len() {
        at = match search.statement(at)? {
            Some(next) => next,
            None => return Ok(Finding::OddKill),
        };
        search.previous = Previous::default();
        if search.places.len() > PLACES_MAX {
            return Err(Unsure);
        }
    }
    if search.places.is_empty() {
        return Ok(Finding::Nothing);
    }
    search.places.sort_by_key(|place| (place.range.start, place.range.end));
    Ok(Finding::Places(search.places))
}

/// The text with its places filled in.
#[must_use]
pub fn render(text: &[u8], places: &[Place], known: Known<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 32 * places.len());
    let mut threads = known.threads.iter();
    let mut done = 0;
    for Place { range, put } in places {
        out.extend_from_slice(text.get(done..range.start).unwrap_or_default());
        done = range.end;
        match put {
            // In parentheses, for it may be negative.
            Put::RowCount => {
                out.extend_from_slice(format!("({})", known.row_count).as_bytes());
            }
            Put::FoundRows => {
                // With the call, for MySQL warns that it is deprecated.
                let number = known.found_rows;
                out.extend_from_slice(format!("({number} + 0 * FOUND_ROWS())").as_bytes());
            }
            Put::OwnId => {
                out.extend_from_slice(known.own_id.to_string().as_bytes());
                // `CONNECTION_ID()AS a` has no space, but `7AS` would be a name.
                let next = text.get(range.end).copied().unwrap_or_default();
                if next.is_ascii_alphanumeric() || matches!(next, b'_' | b'$' | b'.' | 0x80..) {
                    out.push(b' ');
                }
            }
            // No connection has this id.
            Put::ThreadOf(_) => {
                let thread = threads.next().copied().unwrap_or(0);
                out.extend_from_slice(thread.to_string().as_bytes());
            }
            Put::Alias(name) => {
                out.extend_from_slice(b" AS `");
                for byte in text.get(name.clone()).unwrap_or_default() {
                    out.push(*byte);
                    if *byte == b'`' {
                        out.push(b'`');
                    }
                }
                out.push(b'`');
            }
        }
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
    out
}

struct Search<'a> {
    text: &'a [u8],
    tokens: &'a [Token],
    places: Vec<Place>,
    /// One per open parenthesis, and the statement itself.
    levels: Vec<Level>,
    /// What depends on the statement before is looked for.
    previous: Previous,
}

/// What is between two parentheses.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// The item of a select list that is being read.
    item: Option<Item>,
    /// Something is replaced in it, which changes the text of every item around it.
    replaced: bool,
}

/// An item of a select list.
#[derive(Clone, Copy, Debug, Default)]
struct Item {
    /// Its first token, once there is one.
    first: Option<usize>,
    /// Something is replaced in it.
    replaced: bool,
    /// It has an AS.
    named: bool,
}

impl Search<'_> {
    /// Reads the statement that begins at a token; where the next one begins. `None`: see
    /// [`Finding::OddKill`].
    fn statement(&mut self, first: usize) -> Result<Option<usize>, Unsure> {
        if self.is_word(first, b"KILL") {
            return Ok(self.kill(first + 1));
        }
        let end = self.end_of_statement(first);
        let mut live = true;
        if self.is_word(first, b"CREATE") || self.is_word(first, b"ALTER") {
            // Their bodies have semicolons of their own.
            if (first..end).any(|at| self.is_one_of(at, &STORED)) {
                return Ok(Some(self.tokens.len()));
            }
            if self.is_word(first, b"ALTER") || (first..end).any(|at| self.is_word(at, b"VIEW")) {
                return Ok(Some(end + 1));
            }
            // Defaults are kept for later, but what is selected is wanted now.
            live = false;
        }
        if (first..end).any(|at| self.is_one_of(at, &SERVERS_OWN)) {
            return Ok(Some(end + 1));
        }
        let sets = self.is_word(first, b"SET");
        self.levels.clear();
        self.levels.push(Level::default());
        let mut at = first;
        while at < end {
            live = live || self.is_word(at, b"SELECT");
            at = if live { self.token(at, end, sets)? } else { at + 1 };
        }
        self.end_item(end);
        Ok(Some(end + 1))
    }

    /// One token of a statement, or the few that are replaced as one; the token after them.
    fn token(&mut self, at: usize, end: usize, sets: bool) -> Result<usize, Unsure> {
        if let Some(after) = self.replaced(at, sets) {
            self.part_of_item(at, true);
            return Ok(after.min(end));
        }
        match self.sign(at) {
            Some(b')') => self.close(at),
            Some(b',') if self.has_item() => {
                self.end_item(at);
                self.begin_item();
            }
            Some(b'(') => {
                self.part_of_item(at, false);
                if self.levels.len() >= DEPTH_MAX {
                    return Err(Unsure);
                }
                self.levels.push(Level::default());
            }
            _ if self.is_plain(at, &[b"SELECT", b"RETURNING"]) => {
                self.end_item(at);
                self.begin_item();
            }
            _ if self.is_plain(at, &ENDS_OF_LISTS) => self.end_item(at),
            _ => self.part_of_item(at, false),
        }
        Ok(at + 1)
    }

    fn has_item(&self) -> bool {
        self.levels.last().is_some_and(|level| level.item.is_some())
    }

    fn begin_item(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.item = Some(Item::default());
        }
    }

    fn part_of_item(&mut self, at: usize, replaced: bool) {
        let is_modifier = self.is_one_of(at, &MODIFIERS);
        let is_as = self.is_word(at, b"AS");
        let Some(level) = self.levels.last_mut() else { return };
        level.replaced |= replaced;
        let Some(item) = &mut level.item else { return };
        if item.first.is_none() && !is_modifier {
            item.first = Some(at);
        }
        item.replaced |= replaced;
        item.named |= is_as;
    }

    /// A closing parenthesis.
    fn close(&mut self, at: usize) {
        self.end_item(at);
        if self.levels.len() < 2 {
            return;
        }
        let inner = self.levels.pop().is_some_and(|level| level.replaced);
        if let Some(level) = self.levels.last_mut() {
            level.replaced |= inner;
            if let Some(item) = &mut level.item {
                item.replaced |= inner;
            }
        }
    }

    /// Notes the replacement that begins at a token; the token after it.
    fn replaced(&mut self, at: usize, sets: bool) -> Option<usize> {
        let (last, put) = if let Some(put) = self.function(at) {
            let own = !self.is_part(at);
            let call = self.sign(at + 1) == Some(b'(') && self.sign(at + 2) == Some(b')');
            ((own && call).then_some(at + 2)?, put)
        } else {
            (self.variable(at, sets)?, Put::OwnId)
        };
        let range = self.tokens.get(at)?.start..self.tokens.get(last)?.end;
        self.places.push(Place { range, put });
        Some(last + 1)
    }

    /// What stands for a function without arguments.
    fn function(&self, at: usize) -> Option<Put> {
        if self.is_word(at, b"CONNECTION_ID") {
            Some(Put::OwnId)
        } else if self.previous.row_count && self.is_word(at, b"ROW_COUNT") {
            Some(Put::RowCount)
        } else if self.previous.found_rows && self.is_word(at, b"FOUND_ROWS") {
            Some(Put::FoundRows)
        } else {
            None
        }
    }

    /// The last token of a `@@pseudo_thread_id` that begins here and is read, not set.
    fn variable(&self, at: usize, sets: bool) -> Option<usize> {
        if self.tokens.get(at)?.kind != Kind::System {
            return None;
        }
        let scoped = self.sign(at + 2) == Some(b'.')
            && (self.is_word(at + 1, b"SESSION") || self.is_word(at + 1, b"LOCAL"));
        let last = if scoped { at + 3 } else { at + 1 };
        if !self.is_word(last, b"PSEUDO_THREAD_ID") {
            return None;
        }
        let assigned = match self.tokens.get(last + 1).map(|token| token.kind) {
            Some(Kind::Sign(b'=')) => sets,
            Some(Kind::Assign) => true,
            Some(_) | None => false,
        };
        (!assigned).then_some(last)
    }

    /// What follows a KILL. The server itself knows best what its `CONNECTION_ID()` is, and users
    /// and query ids are the server's in any case.
    fn kill(&mut self, first: usize) -> Option<usize> {
        let mut at = first;
        at += usize::from(self.is_word(at, b"HARD") || self.is_word(at, b"SOFT"));
        let end = self.end_of_statement(at);
        if self.is_word(at, b"USER") {
            return Some(end + 1);
        }
        let query = self.is_word(at, b"QUERY");
        if query && self.is_word(at + 1, b"ID") {
            return Some(end + 1);
        }
        at += usize::from(query || self.is_word(at, b"CONNECTION"));
        if self.is_word(at, b"CONNECTION_ID") && self.sign(at + 1) == Some(b'(') {
            return (end == at + 3).then_some(end + 1);
        }
        let mut last = end;
        while self.sign(at) == Some(b'(') && last > at + 1 && self.sign(last - 1) == Some(b')') {
            (at, last) = (at + 1, last - 1);
        }
        if at >= last {
            // Not even a number: the server says what is wrong.
            return Some(end + 1);
        }
        let token = *self.tokens.get(at)?;
        if token.kind != Kind::Number || last != at + 1 {
            return None;
        }
        let digits = std::str::from_utf8(self.text.get(token.start..token.end)?).ok()?;
        // No connection has a longer one, and the server says so.
        let Ok(id) = digits.parse() else { return Some(end + 1) };
        self.places.push(Place { range: token.start..token.end, put: Put::ThreadOf(id) });
        Some(end + 1)
    }

    /// An item of a select list, if one is being read, ends before a token.
    fn end_item(&mut self, end: usize) {
        let Some(item) = self.levels.last_mut().and_then(|level| level.item.take()) else { return };
        if let Some(first) = item.first
            && item.replaced
            && !item.named
            && first < end
            && !self.has_name(first, end)
            && let (Some(from), Some(to)) = (self.tokens.get(first), self.tokens.get(end - 1))
            && self.can_be_name(from.start..to.end)
        {
            let put = Put::Alias(from.start..to.end);
            self.places.push(Place { range: to.end..to.end, put });
        }
    }

    /// Whether a text can be quoted as a name. What looks like a backtick may be half a letter.
    fn can_be_name(&self, range: Range<usize>) -> bool {
        let text = self.text.get(range).unwrap_or_default();
        text.len() <= ALIAS_BYTES_MAX
            && !text.windows(2).any(|pair| matches!(pair, [0x80..=0xFF, b'`']))
    }

    /// Whether an item has, or may have, a name without AS; or a comment, which servers leave out
    /// of a column's name.
    fn has_name(&self, first: usize, end: usize) -> bool {
        let comment =
            self.tokens.get(first + 1..end).unwrap_or_default().iter().any(|t| t.after_comment);
        let (Some(last), Some(before)) = (
            end.checked_sub(1).filter(|last| *last > first),
            end.checked_sub(2).and_then(|before| self.tokens.get(before)),
        ) else {
            return comment;
        };
        let Some(token) = self.tokens.get(last) else { return true };
        let could_be_name = matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Text);
        let behind_value = match before.kind {
            Kind::Sign(sign) => sign == b')',
            Kind::Word => !OPERATORS.iter().any(|word| is(self.text, *before, word)),
            Kind::System | Kind::Assign => false,
            Kind::Number | Kind::Hex | Kind::Quoted | Kind::Text | Kind::Variable => true,
        };
        comment || could_be_name && behind_value
    }

    /// The semicolon that ends the statement a token is in, or the end.
    fn end_of_statement(&self, from: usize) -> usize {
        let rest = self.tokens.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|token| token.kind != Kind::Sign(b';')).count();
        from + count
    }

    fn sign(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at)?.kind {
            Kind::Sign(sign) => Some(sign),
            Kind::Word
            | Kind::Number
            | Kind::Hex
            | Kind::Quoted
            | Kind::Text
            | Kind::Variable
            | Kind::System
            | Kind::Assign => None,
        }
    }

    /// A part of a name with dots, or the name of a variable.
    fn is_part(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.tokens.get(before));
        matches!(before.map(|token| token.kind), Some(Kind::Sign(b'.') | Kind::System))
    }

    /// One of these words, and no part of a longer name.
    fn is_plain(&self, at: usize, words: &[&[u8]]) -> bool {
        self.is_one_of(at, words) && !self.is_part(at) && self.sign(at + 1) != Some(b'.')
    }

    fn is_one_of(&self, at: usize, words: &[&[u8]]) -> bool {
        words.iter().any(|word| self.is_word(at, word))
    }

    fn is_word(&self, at: usize, word: &[u8]) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| token.kind == Kind::Word && is(self.text, *token, word))
    }
}

pub(super) fn is(text: &[u8], token: Token, word: &[u8]) -> bool {
    text.get(token.start..token.end).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word))
}

/// CREATE and ALTER of these have statements inside.
const STORED: [&[u8]; 5] = [b"PROCEDURE", b"FUNCTION", b"TRIGGER", b"EVENT", b"PACKAGE"];

/// A statement with one of these compares ids with those that the server itself gives out.
const SERVERS_OWN: [&[u8]; 8] = [
    b"PROCESSLIST",
    b"PERFORMANCE_SCHEMA",
    b"PROCESSLIST_ID",
    b"INNODB_TRX",
    b"TRX_MYSQL_THREAD_ID",
    b"METADATA_LOCK_INFO",
    b"IS_USED_LOCK",
    b"SYS",
];

/// They stand between SELECT and the first item.
const MODIFIERS: [&[u8]; 11] = [
    b"ALL",
    b"DISTINCT",
    b"DISTINCTROW",
    b"HIGH_PRIORITY",
    b"STRAIGHT_JOIN",
    b"SQL_SMALL_RESULT",
    b"SQL_BIG_RESULT",
    b"SQL_BUFFER_RESULT",
    b"SQL_CACHE",
    b"SQL_NO_CACHE",
    b"SQL_CALC_FOUND_ROWS",
];

/// They end a select list.
const ENDS_OF_LISTS: [&[u8]; 19] = [
    b"FROM",
    b"INTO",
    b"WHERE",
    b"UNION",
    b"EXCEPT",
    b"INTERSECT",
    b"MINUS",
    b"GROUP",
    b"HAVING",
    b"WINDOW",
    b"QUALIFY",
    b"ORDER",
    b"LIMIT",
    b"OFFSET",
    b"FETCH",
    b"PROCEDURE",
    b"FOR",
    b"LOCK",
    b"ON",
];

/// A word behind one of these is an operand and no name.
const OPERATORS: [&[u8]; 22] = [
    b"DIV",
    b"MOD",
    b"AND",
    b"OR",
    b"XOR",
    b"NOT",
    b"LIKE",
    b"REGEXP",
    b"RLIKE",
    b"IN",
    b"IS",
    b"BETWEEN",
    b"COLLATE",
    b"BINARY",
    b"ESCAPE",
    b"INTERVAL",
    b"SOUNDS",
    b"CASE",
    b"WHEN",
    b"THEN",
    b"ELSE",
    b"OF",
];
