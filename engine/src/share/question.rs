//! Asking a server what a connection is set to.
//!
//! Purpose: one SELECT for everything that neither trackers nor texts tell, and its one row.
//! Never: be asked twice: the question itself is the statement before the next one.

use bytes::BytesMut;

use crate::wire::frame::{Assembler, Packet};
use crate::wire::{Capabilities, Malformed, OkPacket, Reader};

/// A row longer than this is no answer.
const ROW_BYTES_MAX: usize = 64 << 10;

/// One thing that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The default schema.
    Schema,
    /// The active roles, where the server has any.
    Roles,
    /// LAST_INSERT_ID().
    LastInsertId,
    /// FOUND_ROWS() of the statement before.
    FoundRows,
    /// Warnings and errors that are still to be asked for: MariaDB keeps them over statements
    /// without a table, as this one.
    Warnings,
    /// A system variable of the session.
    Variable(&'static [u8]),
    /// A system variable of the session that trackers report as ON or OFF.
    Switch(&'static [u8]),
    /// A user variable, by name without `@`.
    User(Box<[u8]>),
    /// The collation of utf8mb4 where none is named.
    Utf8mb4Collation,
    /// `@@version_comment`.
    VersionComment,
    /// Whether the server has applied that, after a while at most: 0 if it has.
    Applied {
        /// What.
        gtids: Box<[u8]>,
        /// How long it may take, in milliseconds.
        wait_ms: u64,
        /// In MariaDB's words.
        is_mariadb: bool,
    },
}

/// A question on its way.
#[derive(Debug)]
pub struct Question {
    asked: Vec<Asked>,
    assembler: Assembler,
    capabilities: Capabilities,
    /// Definitions and rows so far.
    stage: Stage,
    /// Of each column.
    kinds: Vec<ColumnKind>,
    answers: Vec<Option<Vec<u8>>>,
    /// The definition of [`Asked::VersionComment`], which is kept.
    definition: Option<BytesMut>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Count,
    Definitions,
    EndOfDefinitions,
    Row,
    End,
    Over,
}

/// What a column is, as far as it matters to the literal that gives its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnKind {
    Integer,
    Unsigned,
    Decimal,
    Double,
    Text,
}

impl Question {
    /// The question for these.
    #[must_use]
    pub fn new(asked: Vec<Asked>, capabilities: Capabilities) -> Self {
        Self {
            asked,
            assembler: Assembler::new(ROW_BYTES_MAX),
            capabilities,
            stage: Stage::Count,
            kinds: Vec::new(),
            answers: Vec::new(),
            definition: None,
        }
    }

    /// Of the connection it is asked on.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = b"SELECT ".to_vec();
        for (place, asked) in self.asked.iter().enumerate() {
            if place > 0 {
                text.extend_from_slice(b", ");
            }
            let mut put = |parts: &[&[u8]]| parts.iter().for_each(|it| text.extend_from_slice(it));
            match asked {
                Asked::Schema => put(&[b"DATABASE()"]),
                Asked::Roles => put(&[b"CURRENT_ROLE()"]),
                Asked::LastInsertId => put(&[b"LAST_INSERT_ID()"]),
                Asked::FoundRows => put(&[b"FOUND_ROWS()"]),
                Asked::Warnings => put(&[b"@@warning_count"]),
                Asked::Variable(name) => put(&[b"@@", name]),
                Asked::Switch(name) => put(&[b"IF(@@", name, b", 'ON', 'OFF')"]),
                Asked::Utf8mb4Collation => put(&[b"COLLATION(CONVERT('' USING utf8mb4))"]),
                Asked::VersionComment => put(&[b"@@version_comment"]),
                Asked::Applied { gtids, wait_ms, is_mariadb } => {
                    let function: &[u8] = if *is_mariadb {
                        b"MASTER_GTID_WAIT"
                    } else {
                        b"WAIT_FOR_EXECUTED_GTID_SET"
                    };
                    let seconds = format!("{}.{:03}", wait_ms / 1000, wait_ms % 1000);
                    put(&[function, b"('", gtids, b"', ", seconds.as_bytes(), b")"]);
                }
                Asked::User(name) => {
                    put(&[b"@`", name, b"`, HEX(@`", name, b"`), COLLATION(@`", name, b"`)"]);
                }
            }
        }
        text
    }

    /// Feeds bytes of the server; whether the answer is there.
    ///
    /// # Errors
    /// They are no answer, or a refusal: nothing is known.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        self.assembler.push(bytes);
        loop {
            let packet = self.assembler.next_packet();
            let packet = packet.map_err(|_| Malformed::new("answer to a question"))?;
            let Some(packet) = packet else { return Ok(false) };
            if self.on_packet(&packet)? {
                return Ok(true);
            }
        }
    }

    /// One packet of the answer; whether it was the last.
    ///
    /// # Errors
    /// As [`Self::on_bytes`].
    pub fn on_packet(&mut self, packet: &Packet) -> Result<bool, Malformed> {
        let payload = &*packet.payload;
        let first = payload.first().copied();
        let odd = || Malformed::new("answer to a question");
        if first == Some(0xFF) {
            return Err(odd());
        }
        self.stage = match self.stage {
            Stage::Count => {
                let mut reader = Reader::new(payload);
                let count = reader.lenenc_int()?;
                let wanted: usize = self.asked.iter().map(columns).sum();
                // The byte that says whether definitions follow.
                if count != wanted as u64 || reader.u8() == Ok(0) {
                    return Err(odd());
                }
                Stage::Definitions
            }
            Stage::Definitions => {
                if self.place_of(&Asked::VersionComment) == Some(self.kinds.len()) {
                    self.definition = Some(packet.payload.clone());
                }
                self.kinds.push(self.kind_of(payload)?);
                let wanted: usize = self.asked.iter().map(columns).sum();
                if self.kinds.len() < wanted {
                    Stage::Definitions
                } else if self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
                    Stage::Row
                } else {
                    Stage::EndOfDefinitions
                }
            }
            Stage::EndOfDefinitions => Stage::Row,
            Stage::Row => {
                let mut reader = Reader::new(payload);
                for _ in 0..self.kinds.len() {
                    self.answers.push(nullable(&mut reader)?);
                }
                Stage::End
            }
            Stage::End if first == Some(OkPacket::END) => Stage::Over,
            Stage::End | Stage::Over => return Err(odd()),
        };
        Ok(self.stage == Stage::Over)
    }

    /// The payload of the definition of [`Asked::VersionComment`].
    pub fn version_comment_definition(&self) -> Option<&[u8]> {
        self.definition.as_deref()
    }

    /// The first column of what was asked for.
    fn place_of(&self, wanted: &Asked) -> Option<usize> {
        let place = self.asked.iter().position(|asked| asked == wanted)?;
        Some(self.asked.iter().take(place).map(columns).sum())
    }

    /// What was asked for, with what the server said.
    pub fn answers(&self) -> impl Iterator<Item = (&Asked, Option<Vec<u8>>)> {
        let mut at = 0;
        self.asked.iter().map(move |asked| {
            let answer = if matches!(asked, Asked::User(_)) {
                self.literal_at(at)
            } else {
                self.answers.get(at).cloned().flatten()
            };
            at += columns(asked);
            (asked, answer)
        })
    }

    /// What the server said to that.
    #[must_use]
    pub fn answer_to(&self, wanted: &Asked) -> Option<Vec<u8>> {
        self.answers().find(|(asked, _)| *asked == wanted)?.1
    }

    /// The literal that gives the value of a user variable.
    fn literal_at(&self, at: usize) -> Option<Vec<u8>> {
        let kind = self.kinds.get(at)?;
        let answer = |at: usize| self.answers.get(at).map(Option::as_deref);
        let Some(value) = answer(at)? else { return Some(b"NULL".to_vec()) };
        Some(match kind {
            ColumnKind::Integer => value.to_vec(),
            ColumnKind::Unsigned => [b"CAST(", value, b" AS UNSIGNED)"].concat(),
            // Without a point it would be an integer.
            ColumnKind::Decimal if value.contains(&b'.') => value.to_vec(),
            ColumnKind::Decimal => [value, b"."].concat(),
            ColumnKind::Double if value.contains(&b'e') => value.to_vec(),
            ColumnKind::Double => [value, b"e0"].concat(),
            ColumnKind::Text => {
                let (hex, collation) = (answer(at + 1)??, answer(at + 2)??);
                text_literal(hex, collation)?
            }
        })
    }

    fn kind_of(&self, definition: &[u8]) -> Result<ColumnKind, Malformed> {
        const UNSIGNED: u16 = 0x20;
        let mut reader = Reader::named(definition, "a column definition ends early");
        for _ in 0..6 {
            reader.lenenc_bytes()?;
        }
        if self.capabilities.contains(Capabilities::MARIADB_EXTENDED_METADATA) {
            reader.lenenc_bytes()?;
        }
        // Their length, the character set and the width.
        reader.bytes(1 + 2 + 4)?;
        let kind = reader.u8()?;
        let flags = reader.u16()?;
        Ok(match kind {
            0x01 | 0x02 | 0x03 | 0x08 | 0x09 if flags & UNSIGNED != 0 => ColumnKind::Unsigned,
            0x01 | 0x02 | 0x03 | 0x08 | 0x09 => ColumnKind::Integer,
            0x00 | 0xF6 => ColumnKind::Decimal,
            0x04 | 0x05 => ColumnKind::Double,
            _ => ColumnKind::Text,
        })
    }
}

/// A string as a literal that means the same under all settings. `None` for a collation whose
/// character set its name does not tell.
pub(super) fn text_literal(hex: &[u8], collation: &[u8]) -> Option<Vec<u8>> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if !collation.iter().all(is_name) || !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let charset = collation.split(|byte| *byte == b'_').next()?;
    if charset == b"binary" {
        return Some([b"x'", hex, b"'"].concat());
    }
    Some([b"_", charset, b" x'", hex, b"' COLLATE ", collation].concat())
}

const fn columns(asked: &Asked) -> usize {
    if matches!(asked, Asked::User(_)) { 3 } else { 1 }
}

fn nullable(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, Malformed> {
    if reader.remaining().first() == Some(&0xFB) {
        reader.u8()?;
        return Ok(None);
    }
    reader.lenenc_bytes().map(|value| Some(value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[seq], payload].concat()
    }

    fn column(kind: u8, flags: u16) -> Vec<u8> {
        let mut payload = b"\x03def\0\0\0\x01x\0\x0c".to_vec();
        payload.extend([45, 0, 20, 0, 0, 0, kind]);
        payload.extend(flags.to_le_bytes());
        payload.extend([0, 0, 0]);
        payload
    }

    fn text(value: Option<&str>) -> Vec<u8> {
        value.map_or(vec![0xFB], |value| {
            [&[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
        })
    }

    fn answer(kinds: &[(u8, u16)], row: &[Option<&str>]) -> Vec<u8> {
        let mut bytes = packet(1, &[u8::try_from(kinds.len()).unwrap()]);
        let mut seq = 1;
        for (kind, flags) in kinds {
            seq += 1;
            bytes.extend(packet(seq, &column(*kind, *flags)));
        }
        bytes.extend(packet(seq + 1, &row.iter().flat_map(|it| text(*it)).collect::<Vec<_>>()));
        bytes.extend(packet(seq + 2, b"\xFE\0\0\x02\0\0\0"));
        bytes
    }

    fn user(kind: u8, flags: u16, value: Option<&str>, collation: &str) -> Option<String> {
        let hex = value.map(|it| it.bytes().map(|byte| format!("{byte:02X}")).collect::<String>());
        let asked = vec![Asked::User((*b"v").into())];
        let mut question = Question::new(asked, Capabilities::DEPRECATE_EOF);
        assert_eq!(question.text(), b"SELECT @`v`, HEX(@`v`), COLLATION(@`v`)");
        let kinds = [(kind, flags), (0xFD, 0), (0xFD, 0)];
        let bytes = answer(&kinds, &[value, hex.as_deref(), Some(collation)]);
        assert!(question.on_bytes(&bytes).unwrap());
        let literal = question.answers().next().unwrap().1;
        literal.map(|it| String::from_utf8(it).unwrap())
    }

    #[test]
    fn a_value_keeps_its_type() {
        for (kind, flags, value, literal) in [
            (0x08, 0, Some("-5"), "-5"),
            (0x08, 0x20, Some("5"), "CAST(5 AS UNSIGNED)"),
            (0xF6, 0, Some("5.00"), "5.00"),
            (0xF6, 0, Some("5"), "5."),
            (0x05, 0, Some("0.1"), "0.1e0"),
            (0x05, 0, Some("1e-7"), "1e-7"),
            (0xFB, 0, None, "NULL"),
            (0xFD, 0, Some("it's"), "_utf8mb4 x'69742773' COLLATE utf8mb4_bin"),
        ] {
            assert_eq!(user(kind, flags, value, "utf8mb4_bin").as_deref(), Some(literal));
        }
        assert_eq!(user(0xFC, 0, Some("a"), "binary").as_deref(), Some("x'61'"));
        assert_eq!(user(0xFD, 0, Some("a"), "a' b"), None);
    }

    #[test]
    fn answers_come_in_any_pieces() {
        let bytes = answer(
            &[(0xFD, 0), (0xFD, 0), (0x08, 0)],
            &[None, Some("ON"), Some("18446744073709551615")],
        );
        for cut in 0..bytes.len() {
            let asked = vec![Asked::Schema, Asked::Switch(b"autocommit"), Asked::LastInsertId];
            let mut question = Question::new(asked, Capabilities::DEPRECATE_EOF);
            let (head, tail) = bytes.split_at(cut);
            assert!(!question.on_bytes(head).unwrap(), "cut at {cut}");
            assert!(question.on_bytes(tail).unwrap(), "cut at {cut}");
            let answers: Vec<_> = question.answers().map(|(_, answer)| answer).collect();
            let expected = [None, Some(b"ON".to_vec()), Some(b"18446744073709551615".to_vec())];
            assert_eq!(answers, expected);
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [
            packet(1, b"\xFF\x48\x04#HY000no"),
            packet(1, b"\x02"),
            packet(1, b"\x01\0"),
            packet(1, b""),
        ] {
            let mut question = Question::new(vec![Asked::Schema], Capabilities::DEPRECATE_EOF);
            assert!(question.on_bytes(&bytes).is_err());
        }
    }
}
