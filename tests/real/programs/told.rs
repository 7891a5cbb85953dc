//! Replies as a person reads them.
//!
//! Purpose: a line for each packet, with everything that is in it, so that what is compared can
//! also be understood.
//! Never: leave out what a client can see, but for some flags, and ids that differ in every run.

use anyhow::{Context, Result, ensure};
use weir::wire::{Capabilities, Command, EofPacket, ErrPacket, OkPacket, Reader, Status, Tracker};

use crate::differential::dialogue::Reply;

/// What the optimizer or the clock decides, and what says that a statement was prepared anew inside
/// of the server: no client has a use for that, and on another connection it is not so.
const NOT_COMPARED: Status = Status::NO_GOOD_INDEX_USED
    .with(Status::NO_INDEX_USED)
    .with(Status::QUERY_WAS_SLOW)
    .with(Status::METADATA_CHANGED);

/// The lines of the reply to a command.
pub(super) fn told(command: u8, reply: &Reply, capabilities: Capabilities) -> Result<Vec<String>> {
    let mut teller = Teller {
        capabilities,
        at: match Command::from_byte(command) {
            Some(Command::StmtPrepare) => At::Prepared,
            Some(Command::StmtFetch) => At::Rows,
            _ => At::Head,
        },
        is_text: command == Command::Query.as_byte(),
        types: Vec::new(),
    };
    let line = |(seq, payload): &(u8, Vec<u8>)| {
        let line = teller.line(payload).with_context(|| format!("{payload:02x?}"))?;
        Ok(without_ids(&format!("{seq:3} {line}")))
    };
    reply.iter().map(line).collect()
}

/// What comes next.
enum At {
    Prepared,
    Definitions,
    Head,
    /// So many columns.
    Columns(u64),
    /// The EOF behind them.
    Eof,
    Rows,
}

struct Teller {
    capabilities: Capabilities,
    at: At,
    is_text: bool,
    /// Of the columns of this result.
    types: Vec<u8>,
}

impl Teller {
    fn line(&mut self, payload: &[u8]) -> Result<String> {
        if payload.first() == Some(&0xFF) {
            let error = ErrPacket::parse(payload)?;
            let [state, message] =
                [&error.sqlstate[..], error.message].map(String::from_utf8_lossy);
            return Ok(format!("ERROR {} ({state}): {message}", error.code));
        }
        let deprecated = self.capabilities.contains(Capabilities::DEPRECATE_EOF);
        match self.at {
            At::Prepared => {
                self.at = At::Definitions;
                Ok(format!("prepared {}", payload.escape_ascii()))
            }
            // The statement's warnings were counted at its beginning.
            At::Definitions if payload.first() == Some(&0xFE) => Ok("EOF".to_owned()),
            At::Definitions => column(payload).map(|(line, _)| line),
            At::Head if payload.first() == Some(&0x00) => self.end(payload),
            // COM_SET_OPTION.
            At::Head if payload.first() == Some(&0xFE) => self.end(payload),
            At::Head if payload.first() == Some(&0xFB) => Ok("wants a file".to_owned()),
            At::Head => {
                let count = Reader::new(payload).lenenc_int()?;
                self.at = At::Columns(count);
                self.types.clear();
                Ok(format!("{count} columns"))
            }
            At::Columns(left) => {
                self.at = match left {
                    1 if deprecated => At::Rows,
                    1 => At::Eof,
                    _ => At::Columns(left - 1),
                };
                let (line, kind) = column(payload)?;
                self.types.push(kind);
                Ok(line)
            }
            At::Eof => {
                let eof = EofPacket::parse(payload)?;
                self.at =
                    if eof.status.contains(Status::CURSOR_EXISTS) { At::Head } else { At::Rows };
                self.end_of(payload)
            }
            At::Rows if payload.first() == Some(&0xFE) => {
                self.at = At::Head;
                self.end(payload)
            }
            At::Rows if self.is_text => row(payload),
            // Which columns a cursor has was said when it was opened.
            At::Rows if self.types.is_empty() => Ok(format!("row {}", payload.escape_ascii())),
            At::Rows => binary_row(payload, &self.types),
        }
    }

    /// An OK, or the end of rows.
    fn end(&self, payload: &[u8]) -> Result<String> {
        if payload.first() == Some(&0xFE) && payload.len() == 5 {
            return self.end_of(payload);
        }
        let ok = OkPacket::parse(payload, self.capabilities)?;
        // MySQL may set the flag without anything behind it.
        let announced =
            if ok.trackers.is_empty() { Status::SESSION_STATE_CHANGED } else { Status::default() };
        let mut line = format!(
            "OK {} affected, id {}, {:?}, {} warnings, {:?}",
            ok.affected_rows,
            ok.last_insert_id,
            ok.status.without(NOT_COMPARED).without(announced),
            ok.warnings,
            String::from_utf8_lossy(ok.info),
        );
        // Servers have no order for them.
        let mut trackers = Vec::new();
        for tracker in ok.trackers() {
            match tracker? {
                // In every run another one.
                Tracker::Gtids(_) | Tracker::SystemVariable { name: b"last_gtid", .. } => {
                    trackers.push(", a GTID".to_owned());
                }
                Tracker::SystemVariable { name, value } => {
                    let [name, value] = [name, value].map(<[u8]>::escape_ascii);
                    trackers.push(format!(", {name} = {value}"));
                }
                Tracker::Schema(name) => trackers.push(format!(", in {}", name.escape_ascii())),
                other @ (Tracker::StateChange(_)
                | Tracker::TransactionCharacteristics(_)
                | Tracker::TransactionState(_)
                | Tracker::Unknown { .. }) => trackers.push(format!(", {other:?}")),
            }
        }
        trackers.sort_unstable();
        line.extend(trackers);
        Ok(line)
    }

    /// An EOF. What MariaDB says of trackers there is stale.
    fn end_of(&self, payload: &[u8]) -> Result<String> {
        let eof = EofPacket::parse(payload)?;
        let status = eof.status.without(NOT_COMPARED).without(Status::SESSION_STATE_CHANGED);
        Ok(format!("EOF {status:?}, {} warnings", eof.warnings))
    }
}

/// A definition, and its type.
fn column(payload: &[u8]) -> Result<(String, u8)> {
    let mut reader = Reader::new(payload);
    let mut names = Vec::new();
    for _ in 0..6 {
        names.push(String::from_utf8_lossy(reader.lenenc_bytes()?).into_owned());
    }
    ensure!(reader.u8()? == 0x0C, "the length of what follows");
    let (set, length, kind) = (reader.u16()?, reader.u32()?, reader.u8()?);
    let (flags, decimals) = (reader.u16()?, reader.u8()?);
    let name = names.get(4).cloned().unwrap_or_default();
    if ["ROW_COUNT()", "FOUND_ROWS()"].iter().any(|it| name.to_ascii_uppercase().contains(it)) {
        // A number stands for them, which is shorter than they may be.
        return Ok((format!("column {}: a number", names.join(".")), kind));
    }
    // A NULL has the type of what gave it, which no literal has.
    if name.contains('@') {
        return Ok((format!("column {}: of a user variable", names.join(".")), kind));
    }
    // Which collation of utf8mb4 the results have shows nowhere else.
    let set = if matches!(set, 46 | 224 | 255) { 45 } else { set };
    let line = format!(
        "column {}: type {kind:#04x}, set {set}, length {length}, flags {flags:#06x}, \
         decimals {decimals}, rest {:?}",
        names.join("."),
        reader.rest(),
    );
    Ok((line, kind))
}

fn row(payload: &[u8]) -> Result<String> {
    let mut reader = Reader::new(payload);
    let mut values = Vec::new();
    while let Some(first) = reader.remaining().first() {
        if *first == 0xFB {
            reader.u8()?;
            values.push("NULL".to_owned());
        } else {
            values.push(text(reader.lenenc_bytes()?));
        }
    }
    Ok(format!("row {}", values.join(", ")))
}

fn binary_row(payload: &[u8], types: &[u8]) -> Result<String> {
    let mut reader = Reader::new(payload);
    ensure!(reader.u8()? == 0, "the beginning of a row");
    // The first two bits are nobody's.
    let nulls = reader.bytes((types.len() + 9) / 8)?;
    let mut values = Vec::new();
    for (at, kind) in types.iter().enumerate() {
        if nulls[(at + 2) / 8] & 1 << ((at + 2) % 8) != 0 {
            values.push("NULL".to_owned());
            continue;
        }
        values.push(match kind {
            0x01 => format!("{}", reader.u8()?),
            0x02 | 0x0D => format!("{}", reader.u16()?),
            0x03 | 0x09 => format!("{}", reader.u32()?),
            0x04 => format!("{}", f32::from_bits(reader.u32()?)),
            0x05 => format!("{}", f64::from_bits(reader.u64()?)),
            0x08 => format!("{}", reader.u64()?),
            _ => text(reader.lenenc_bytes()?),
        });
    }
    ensure!(reader.is_empty(), "more than its columns");
    Ok(format!("binary row {}", values.join(", ")))
}

fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("b\"{}\"", value.escape_ascii()),
    }
}

/// Without the ids of statements that errors 1243 and 1421 name.
fn without_ids(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = NAMES_OF_IDS.iter().filter_map(|name| after(rest, name)).min() {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        rest = behind.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    out + rest
}

fn after(text: &str, what: &str) -> Option<usize> {
    text.find(what).map(|at| at + what.len())
}

const NAMES_OF_IDS: [&str; 2] = ["The statement (", "statement handler ("];
