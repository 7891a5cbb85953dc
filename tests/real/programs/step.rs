//! What a program consists of.
//!
//! Purpose: commands with statements named by slots, as a person and as the server reads them.

use std::fmt;

use bytes::BytesMut;
use weir::wire::{Command, put_lenenc_bytes};

use crate::differential::dialogue::Asked;

/// How many prepared statements a program has at a time.
pub(super) const SLOTS: usize = 4;

/// A command, or several at once.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Query(String),
    Prepare {
        slot: usize,
        sql: String,
    },
    Execute {
        slot: usize,
        cursor: bool,
        /// Whether the parameters' types are sent; the server remembers those sent last.
        types: bool,
        values: Vec<Value>,
    },
    /// A piece of the last parameter.
    LongData {
        slot: usize,
        parameter: u16,
        piece: &'static str,
    },
    Fetch {
        slot: usize,
        rows: u32,
    },
    /// COM_STMT_RESET.
    Rewind(usize),
    Close(usize),
    InitDb(String),
    Ping,
    ResetConnection,
    /// To the same account, in that schema.
    ChangeUser(Option<String>),
    /// COM_SET_OPTION.
    MultiStatements(bool),
    /// Sent without waiting for replies.
    Together(Vec<Step>),
}

/// Of a parameter; `None` is NULL.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(Option<i64>),
    Double(Option<f64>),
    Text(Option<&'static str>),
    /// Sent before, in pieces.
    Long,
}

impl Step {
    /// As it is sent, or nothing where it concerns a statement that is not there; `slots` says
    /// which of the statements prepared so far each slot has.
    pub(super) fn asked(&self, slots: &[Option<usize>; SLOTS]) -> Vec<Asked> {
        let plain = |command: Command, rest: &[u8]| {
            vec![Asked { payload: [&[command.as_byte()], rest].concat(), statement: None }]
        };
        let of = |slot: usize, command: Command, rest: &[u8]| {
            let ask = |ordinal| Asked {
                payload: [&[command.as_byte(), 0, 0, 0, 0], rest].concat(),
                statement: Some(ordinal),
            };
            slots[slot].map(ask).into_iter().collect()
        };
        match self {
            Self::Query(sql) => plain(Command::Query, sql.as_bytes()),
            Self::Prepare { sql, .. } => plain(Command::StmtPrepare, sql.as_bytes()),
            Self::Execute { slot, cursor, types, values } => {
                of(*slot, Command::StmtExecute, &execution(*cursor, *types, values))
            }
            Self::LongData { slot, parameter, piece } => {
                let rest = [&parameter.to_le_bytes(), piece.as_bytes()].concat();
                of(*slot, Command::StmtSendLongData, &rest)
            }
            Self::Fetch { slot, rows } => of(*slot, Command::StmtFetch, &rows.to_le_bytes()),
            Self::Rewind(slot) => of(*slot, Command::StmtReset, b""),
            Self::Close(slot) => of(*slot, Command::StmtClose, b""),
            Self::InitDb(name) => plain(Command::InitDb, name.as_bytes()),
            Self::Ping => plain(Command::Ping, b""),
            // A conversation of its own.
            Self::ChangeUser(_) => Vec::new(),
            Self::ResetConnection => plain(Command::ResetConnection, b""),
            Self::MultiStatements(on) => plain(Command::SetOption, &[u8::from(!on), 0]),
            Self::Together(steps) => steps.iter().flat_map(|step| step.asked(slots)).collect(),
        }
    }

    /// Whether others may be sent behind it before its reply has come.
    pub(super) fn can_be_together(&self) -> bool {
        match self {
            // What follows would be taken for the file.
            Self::Query(sql) => !sql.contains("LOAD DATA"),
            // Which statement its slot has is known when the reply has come.
            Self::Prepare { .. } | Self::ChangeUser(_) | Self::Together(_) => false,
            Self::Execute { .. }
            | Self::LongData { .. }
            | Self::Fetch { .. }
            | Self::Rewind(_)
            | Self::Close(_)
            | Self::InitDb(_)
            | Self::Ping
            | Self::ResetConnection
            | Self::MultiStatements(_) => true,
        }
    }
}

/// What follows the id in a COM_STMT_EXECUTE.
fn execution(cursor: bool, types: bool, values: &[Value]) -> Vec<u8> {
    let mut rest = vec![u8::from(cursor), 1, 0, 0, 0];
    if values.is_empty() {
        return rest;
    }
    let mut nulls = vec![0_u8; values.len().div_ceil(8)];
    let is_null =
        |value: &Value| matches!(value, Value::Int(None) | Value::Double(None) | Value::Text(None));
    for (at, _) in values.iter().enumerate().filter(|(_, value)| is_null(value)) {
        nulls[at / 8] |= 1 << (at % 8);
    }
    rest.extend(nulls);
    rest.push(u8::from(types));
    if types {
        rest.extend(values.iter().flat_map(|value| match value {
            Value::Int(_) => [0x08, 0],
            Value::Double(_) => [0x05, 0],
            Value::Text(_) => [0xFD, 0],
            Value::Long => [0xFC, 0],
        }));
    }
    for value in values {
        match value {
            Value::Int(Some(number)) => rest.extend(number.to_le_bytes()),
            Value::Double(Some(number)) => rest.extend(number.to_le_bytes()),
            Value::Text(Some(text)) => {
                let mut out = BytesMut::new();
                put_lenenc_bytes(&mut out, text.as_bytes());
                rest.extend_from_slice(&out);
            }
            Value::Int(None) | Value::Double(None) | Value::Text(None) | Value::Long => {}
        }
    }
    rest
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(sql) => write!(f, "{sql}"),
            Self::Prepare { slot, sql } => write!(f, "[{slot}] prepare: {sql}"),
            Self::Execute { slot, cursor, types, values } => {
                let cursor = if *cursor { " with a cursor" } else { "" };
                let types = if *types { "" } else { ", types as before" };
                write!(f, "[{slot}] execute{cursor}: {values:?}{types}")
            }
            Self::LongData { slot, parameter, piece } => {
                write!(f, "[{slot}] long data of parameter {parameter}: {piece:?}")
            }
            Self::Fetch { slot, rows } => write!(f, "[{slot}] fetch {rows}"),
            Self::Rewind(slot) => write!(f, "[{slot}] reset the statement"),
            Self::Close(slot) => write!(f, "[{slot}] close"),
            Self::InitDb(name) => write!(f, "COM_INIT_DB {name}"),
            Self::Ping => write!(f, "COM_PING"),
            Self::ResetConnection => write!(f, "COM_RESET_CONNECTION"),
            Self::ChangeUser(schema) => write!(f, "COM_CHANGE_USER, schema {schema:?}"),
            Self::MultiStatements(on) => write!(f, "COM_SET_OPTION multi-statements: {on}"),
            Self::Together(steps) => {
                write!(f, "at once:")?;
                steps.iter().try_for_each(|step| write!(f, "\n        {step}"))
            }
        }
    }
}
