//! Session trackers: what an OK packet says changed in the session.
//!
//! Purpose: walk the entries, one typed value at a time, without copying.
//! Never: keep what they say, or fail on a kind it does not know.

use bytes::{BufMut, BytesMut};

use crate::wire::reader::{Malformed, Reader};
use crate::wire::writer::put_lenenc_bytes;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracker<'a> {
    /// A system variable has this value now.
    SystemVariable {
        /// Its name.
        name: &'a [u8],
        /// Its value, as text.
        value: &'a [u8],
    },
    /// The default schema is this one now; empty if none.
    Schema(&'a [u8]),
    /// Something else changed (user variables, temporary tables, prepared statements): "1".
    StateChange(&'a [u8]),
    /// MySQL: transactions of this session were committed under these GTIDs.
    Gtids(&'a [u8]),
    /// SQL that re-creates the characteristics of the transaction; empty if they are the usual.
    TransactionCharacteristics(&'a [u8]),
    /// Eight characters saying what the transaction did so far.
    TransactionState(&'a [u8]),
    /// A kind not known here.
    Unknown {
        /// Its number.
        kind: u8,
        /// Its contents.
        data: &'a [u8],
    },
}

impl Tracker<'_> {
    /// Appends it as servers write it.
    pub fn put(&self, out: &mut BytesMut) {
        let mut data = BytesMut::new();
        let kind = match self {
            Self::SystemVariable { name, value } => {
                put_lenenc_bytes(&mut data, name);
                put_lenenc_bytes(&mut data, value);
                0
            }
            Self::Schema(schema) => {
                put_lenenc_bytes(&mut data, schema);
                1
            }
            // Alone among them it has no second length.
            Self::StateChange(change) => {
                data.put_slice(change);
                2
            }
            Self::Gtids(set) => {
                data.put_u8(0);
                put_lenenc_bytes(&mut data, set);
                3
            }
            Self::TransactionCharacteristics(text) => {
                put_lenenc_bytes(&mut data, text);
                4
            }
            Self::TransactionState(state) => {
                put_lenenc_bytes(&mut data, state);
                5
            }
            Self::Unknown { kind, data: unread } => {
                data.put_slice(unread);
                *kind
            }
        };
        out.put_u8(kind);
        put_lenenc_bytes(out, &data);
    }
}

/// Walks the entries of [`crate::wire::OkPacket::trackers`]: `{kind 1, length lenenc, data}`.
#[derive(Clone, Debug)]
pub struct Trackers<'a> {
    entries: Reader<'a>,
    /// What is left of a system variables entry, which may hold several.
    variables: Reader<'a>,
}

impl<'a> Trackers<'a> {
    /// Walks that many.
    #[must_use]
    pub const fn new(trackers: &'a [u8]) -> Self {
        let what = "a session tracker runs past its end";
        Self { entries: Reader::named(trackers, what), variables: Reader::named(&[], what) }
    }

    fn step(&mut self) -> Result<Tracker<'a>, Malformed> {
        if self.variables.is_empty() {
            let kind = self.entries.u8()?;
            let data = self.entries.lenenc_bytes()?;
            let mut reader = Reader::named(data, "a session tracker runs past its end");
            match kind {
                0 => self.variables = reader,
                1 => return reader.lenenc_bytes().map(Tracker::Schema),
                // Alone among them it has no second length.
                2 => return Ok(Tracker::StateChange(data)),
                3 => {
                    if reader.u8()? != 0 {
                        return Err(Malformed::new("a GTID tracker has an unknown encoding"));
                    }
                    return reader.lenenc_bytes().map(Tracker::Gtids);
                }
                4 => return reader.lenenc_bytes().map(Tracker::TransactionCharacteristics),
                5 => return reader.lenenc_bytes().map(Tracker::TransactionState),
                kind => return Ok(Tracker::Unknown { kind, data }),
            }
        }
        let name = self.variables.lenenc_bytes()?;
        let value = self.variables.lenenc_bytes()?;
        Ok(Tracker::SystemVariable { name, value })
    }
}

impl<'a> Iterator for Trackers<'a> {
    type Item = Result<Tracker<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.variables.is_empty() && self.entries.is_empty() {
            return None;
        }
        let item = self.step();
        if item.is_err() {
            // What follows a broken entry cannot be trusted.
            *self = Self::new(&[]);
        }
        Some(item)
    }
}
