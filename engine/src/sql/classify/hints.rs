//! Wishes in comments.
//!
//! Purpose: read `weir:` hints, and those of other proxies that applications already carry.
//! Never: take a wish for more than one; where a statement may run is decided by the statement.
//!
//! A hint is a comment of its own, at the beginning, behind the first word or at the end, as each
//! proxy has its habit. The first of each kind counts.

use crate::base::Consistency;

/// Which kind of server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The primary.
    Primary,
    /// A replica.
    Replica,
}

/// What a text's comments ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints<'a> {
    /// `weir:primary`, `weir:replica`, and others' words for them.
    pub role: Option<Role>,
    /// `weir:backend=NAME`.
    pub backend: Option<&'a [u8]>,
    /// `weir:max_lag_ms=NUMBER`.
    pub max_lag_ms: Option<u64>,
    /// `weir:consistency=LEVEL`.
    pub consistency: Option<Consistency>,
    /// There is a `weir:` hint that cannot be read.
    pub odd: bool,
}

impl<'a> Hints<'a> {
    /// No wishes.
    pub const NONE: Self =
        Self { role: None, backend: None, max_lag_ms: None, consistency: None, odd: false };

    /// Reads what stands between two tokens: blanks, comments, marks of versioned comments.
    pub(super) fn read(&mut self, mut gap: &'a [u8]) {
        loop {
            gap = gap.trim_ascii_start();
            let (comment, rest) = if let Some(behind) = gap.strip_prefix(b"/*") {
                let Some(end) = memchr::memmem::find(behind, b"*/") else { return };
                let (inside, rest) = behind.split_at(end);
                (inside, rest.get(2..).unwrap_or_default())
            } else if let Some(behind) = gap.strip_prefix(b"#").or_else(|| gap.strip_prefix(b"--"))
            {
                let end = memchr::memchr2(b'\n', 0, behind).unwrap_or(behind.len());
                behind.split_at(end)
            } else if let Some(behind) = gap.strip_prefix(b"*/") {
                gap = behind;
                continue;
            } else {
                return;
            };
            // What is left out for its version is no hint.
            if !comment.starts_with(b"!") && !comment.starts_with(b"M!") {
                self.comment(comment.trim_ascii());
            }
            gap = rest;
        }
    }

    fn comment(&mut self, comment: &'a [u8]) {
        let first = comment.split(is_blank).next().unwrap_or_default();
        if begins(first, b"weir:") {
            let words = comment.split(|byte| is_blank(byte) || *byte == b',');
            for word in words.filter(|word| begins(word, b"weir:")) {
                self.own(word.get(5..).unwrap_or_default());
            }
        } else if first.eq_ignore_ascii_case(b"FORCE_MASTER") && first == comment {
            self.ask(Role::Primary);
        } else if first.eq_ignore_ascii_case(b"FORCE_SLAVE") && first == comment {
            self.ask(Role::Replica);
        } else if begins(first, b"FORCE_NODE=") && first == comment {
            let name = first.get(11..).unwrap_or_default();
            let inside = name.strip_prefix(b"'").and_then(|name| name.strip_suffix(b"'"));
            self.at(inside.unwrap_or(name));
        } else if first.eq_ignore_ascii_case(b"maxscale") {
            self.maxscale(comment);
        } else if first.eq_ignore_ascii_case(b"vt+") {
            let mut words = comment.split(is_blank).filter(|word| !word.is_empty());
            let role = words.find(|word| begins(word, b"ROLE="));
            match role.and_then(|role| role.get(5..)) {
                Some(role) if is_one_of(role, &[b"PRIMARY", b"MASTER"]) => self.ask(Role::Primary),
                Some(role) if is_one_of(role, &[b"REPLICA", b"RDONLY"]) => self.ask(Role::Replica),
                Some(_) | None => {}
            }
        }
    }

    /// A hint of ours, behind its `weir:`.
    fn own(&mut self, hint: &'a [u8]) {
        let end = memchr::memchr(b'=', hint).unwrap_or(hint.len());
        let (name, value) = hint.split_at(end);
        let value = value.get(1..).unwrap_or_default();
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"primary") && value.is_empty() {
            self.ask(Role::Primary);
        } else if is(b"replica") && value.is_empty() {
            self.ask(Role::Replica);
        } else if is(b"backend") && !value.is_empty() {
            self.at(value);
        } else if is(b"max_lag_ms")
            && let Some(number) = number(value)
        {
            self.max_lag_ms = self.max_lag_ms.or(Some(number));
        } else if is(b"consistency")
            && let Some(level) = level(value)
        {
            self.consistency = self.consistency.or(Some(level));
        } else {
            self.odd = true;
        }
    }

    /// `maxscale route to master`, `slave` or `server NAME`; `maxscale max_slave_replication_lag=5`,
    /// in seconds.
    fn maxscale(&mut self, comment: &'a [u8]) {
        let mut words = comment.split(is_blank).filter(|word| !word.is_empty()).skip(1);
        let first = words.next().unwrap_or_default();
        if first.eq_ignore_ascii_case(b"route") {
            let to = words.next().unwrap_or_default();
            let whom = words.next().unwrap_or_default();
            if !to.eq_ignore_ascii_case(b"to") {
                return;
            }
            match words.next() {
                None if whom.eq_ignore_ascii_case(b"master") => self.ask(Role::Primary),
                None if whom.eq_ignore_ascii_case(b"slave") => self.ask(Role::Replica),
                Some(name) if whom.eq_ignore_ascii_case(b"server") => self.at(name),
                Some(_) | None => {}
            }
        } else if begins(first, b"max_slave_replication_lag=") {
            let seconds = number(first.get(26..).unwrap_or_default());
            let lag = seconds.and_then(|seconds| seconds.checked_mul(1000));
            self.max_lag_ms = self.max_lag_ms.or(lag);
        }
    }

    fn ask(&mut self, role: Role) {
        self.role = self.role.or(Some(role));
    }

    fn at(&mut self, backend: &'a [u8]) {
        self.backend = self.backend.or(Some(backend));
    }
}

fn level(value: &[u8]) -> Option<Consistency> {
    let is_named = |level: &Consistency| level.name().as_bytes().eq_ignore_ascii_case(value);
    Consistency::ALL.into_iter().find(is_named)
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

fn begins(word: &[u8], with: &[u8]) -> bool {
    word.get(..with.len()).is_some_and(|first| first.eq_ignore_ascii_case(with))
}

fn is_one_of(word: &[u8], known: &[&[u8]]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(word))
}

const fn is_blank(byte: &u8) -> bool {
    byte.is_ascii_whitespace()
}
