//! MySQL's GTID sets: `uuid:1-5:7`, and since 8.3 with tags, `uuid:1-5:tag:1-3`.
//!
//! Purpose: parse, print, merge, compare and count them.
//! Never: hold two intervals that touch: equal sets are equal values.

use std::collections::BTreeMap;
use std::fmt;

use super::{GTID_PARTS_MAX, GtidError};

/// A set of MySQL's global transaction ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MySqlGtids {
    sources: BTreeMap<Source, Vec<Interval>>,
}

/// Who numbers the transactions. Ordered as servers print them: the one without a tag first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    uuid: [u8; UUID_BYTES],
    /// In lower case; empty for none.
    tag: Box<str>,
}

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Interval {
    first: u64,
    last: u64,
}

impl MySqlGtids {
    /// Reads a set as servers write and accept it: with line breaks behind commas, and with sources
    /// and tags that nothing follows.
    ///
    /// # Errors
    /// [`GtidError`].
    pub fn parse(text: &str) -> Result<Self, GtidError> {
        let mut sources: BTreeMap<Source, Vec<Interval>> = BTreeMap::new();
        let mut parts = 0_usize;
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let mut words = item.split(':').map(str::trim);
            let uuid = words.next().and_then(uuid).ok_or(GtidError::Malformed)?;
            let mut source = Source { uuid, tag: Box::default() };
            for word in words {
                if let Some(tag) = tag(word) {
                    source.tag = tag;
                    continue;
                }
                parts += 1;
                if parts > GTID_PARTS_MAX {
                    return Err(GtidError::TooMany);
                }
                // Servers take one that ends before it begins, for nothing.
                if let Some(interval) = interval(word).ok_or(GtidError::Malformed)? {
                    sources.entry(source.clone()).or_default().push(interval);
                }
            }
        }
        for intervals in sources.values_mut() {
            join(intervals);
        }
        Ok(Self { sources })
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many transactions.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.sources.values().flatten().map(Interval::count).fold(0, u64::saturating_add)
    }

    /// Takes in everything of another set.
    ///
    /// # Errors
    /// [`GtidError::TooMany`]; nothing was taken in then.
    pub fn merge(&mut self, other: &Self) -> Result<(), GtidError> {
        if self.parts() + other.parts() > GTID_PARTS_MAX {
            let mut merged = self.clone();
            merged.take(other);
            if merged.parts() > GTID_PARTS_MAX {
                return Err(GtidError::TooMany);
            }
            *self = merged;
        } else {
            self.take(other);
        }
        Ok(())
    }

    fn take(&mut self, other: &Self) {
        for (source, added) in &other.sources {
            match self.sources.get_mut(source) {
                None => {
                    self.sources.insert(source.clone(), added.clone());
                }
                Some(intervals) => {
                    intervals.extend_from_slice(added);
                    join(intervals);
                }
            }
        }
    }

    /// How many intervals.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.sources.values().map(Vec::len).sum()
    }

    /// Takes in what came before, of each source of which `known` has one interval, from 1 on.
    pub fn fill(&mut self, known: &Self) {
        for (source, intervals) in &mut self.sources {
            if let Some([whole]) = known.sources.get(source).map(Vec::as_slice)
                && whole.first == 1
                && let Some(last) = intervals.last().map(|it| it.last)
            {
                intervals.push(Interval { first: 1, last: whole.last.min(last) });
                join(intervals);
            }
        }
    }

    /// How many transactions of `other` are not in here.
    #[must_use]
    pub fn missing(&self, other: &Self) -> u64 {
        let missing = other.sources.iter().map(|(source, wanted)| {
            missing(self.sources.get(source).map_or(&[], Vec::as_slice), wanted)
        });
        missing.fold(0, u64::saturating_add)
    }

    /// Whether everything of `other` is in here.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.sources.iter().all(|(source, wanted)| {
            let had = self.sources.get(source).map_or(&[][..], Vec::as_slice);
            // Intervals do not touch, so each wanted one is in one of those.
            wanted.iter().all(|wanted| {
                let place = had.partition_point(|it| it.last < wanted.last);
                had.get(place).is_some_and(|it| it.first <= wanted.first)
            })
        })
    }
}

impl Interval {
    const fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// As servers print it, without their line breaks.
impl fmt::Display for MySqlGtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = None;
        for (Source { uuid, tag }, intervals) in &self.sources {
            if before != Some(uuid) {
                f.write_str(if before.is_some() { "," } else { "" })?;
                for (at, byte) in uuid.iter().enumerate() {
                    f.write_str(if DASHES.contains(&at) { "-" } else { "" })?;
                    write!(f, "{byte:02x}")?;
                }
                before = Some(uuid);
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            for Interval { first, last } in intervals {
                write!(f, ":{first}")?;
                if last > first {
                    write!(f, "-{last}")?;
                }
            }
        }
        Ok(())
    }
}

/// Sorts intervals and joins those that overlap or touch.
fn join(intervals: &mut Vec<Interval>) {
    intervals.sort_unstable();
    intervals.dedup_by(|next, kept| {
        let touches = next.first <= kept.last.saturating_add(1);
        if touches {
            kept.last = kept.last.max(next.last);
        }
        touches
    });
}

/// How many numbers of `wanted` are not in `had`.
fn missing(had: &[Interval], wanted: &[Interval]) -> u64 {
    let mut had = had.iter().copied().peekable();
    let mut missing = 0_u64;
    for wanted in wanted {
        missing = missing.saturating_add(wanted.count());
        while let Some(interval) = had.peek() {
            let (first, last) = (interval.first.max(wanted.first), interval.last.min(wanted.last));
            if first <= last {
                missing = missing.saturating_sub(last - first + 1);
            }
            // It may reach into the next one wanted.
            if interval.last > wanted.last {
                break;
            }
            had.next();
        }
    }
    missing
}

/// 36 characters with dashes, or 32 without.
fn uuid(text: &str) -> Option<[u8; UUID_BYTES]> {
    let text = text.as_bytes();
    let mut digits = [0; 2 * UUID_BYTES];
    let has_dashes = text.len() == DIGITS_AND_DASHES;
    if !has_dashes && text.len() != digits.len() {
        return None;
    }
    let mut slots = digits.iter_mut();
    for (at, byte) in text.iter().enumerate() {
        if has_dashes && DASH_CHARS.contains(&at) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        *slots.next()? = u8::try_from(char::from(*byte).to_digit(16)?).ok()?;
    }
    let mut uuid = [0; UUID_BYTES];
    for (byte, pair) in uuid.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair;
        *byte = high << 4 | low;
    }
    Some(uuid)
}

fn tag(text: &str) -> Option<Box<str>> {
    let mut bytes = text.bytes();
    let starts = bytes.next().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    let goes_on = bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    (starts && goes_on && text.len() <= TAG_CHARS_MAX)
        .then(|| text.to_ascii_lowercase().into_boxed_str())
}

/// `Some(None)` for one that is empty.
#[expect(clippy::option_option, reason = "malformed and empty differ")]
fn interval(text: &str) -> Option<Option<Interval>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first == 0 {
        return None;
    }
    Some((first <= last).then_some(Interval { first, last }))
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= NUMBER_MAX)
}

const UUID_BYTES: usize = 16;
/// Bytes of a UUID with a dash before them.
const DASHES: [usize; 4] = [4, 6, 8, 10];
const DASH_CHARS: [usize; 4] = [8, 13, 18, 23];
const DIGITS_AND_DASHES: usize = 36;
const TAG_CHARS_MAX: usize = 32;
/// Servers number up to 2⁶³ − 2.
const NUMBER_MAX: u64 = i64::MAX as u64 - 1;
