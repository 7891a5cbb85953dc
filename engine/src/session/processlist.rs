//! The answer to SHOW PROCESSLIST, as a client is to see it.
//!
//! Purpose: put Weir's ids and the clients' addresses into the rows of sessions, leave out
//! connections that no session has, and add the sessions that have no connection.
//! Never: touch the rows of threads that are not Weir's, or show an account more than its server
//! would.

use std::collections::{HashMap, HashSet};

use bytes::{BufMut, BytesMut};

use crate::wire::frame::{HEADER_BYTES, Header};
use crate::wire::{Capabilities, Malformed, Reader, frame, put_lenenc_bytes};

/// What this process knows of a server's threads, and of sessions that have none.
#[derive(Debug, Default)]
pub struct Threads {
    /// Those of sessions, by the server's ids.
    pub seated: HashMap<u32, Seated>,
    /// All that serve this process, whether a session has them or not.
    pub own: HashSet<u32>,
    /// Sessions that have no thread, or had none a moment ago.
    pub apart: Vec<Apart>,
    /// The account that asks.
    pub asker: Vec<u8>,
}

/// A session that has a thread.
#[derive(Clone, Debug)]
pub struct Seated {
    /// The id its client knows.
    pub id: u32,
    /// Its client's address, as servers write it.
    pub host: String,
}

/// A session that has a thread only while it needs one.
#[derive(Clone, Debug)]
pub struct Apart {
    /// Its id, and its client's address.
    pub seated: Seated,
    /// The thread that it has by now.
    pub thread: Option<u32>,
    /// Its account.
    pub user: Vec<u8>,
    /// Its schema; empty if none.
    pub schema: Vec<u8>,
    /// Since its last command.
    pub seconds: u64,
}

/// An answer that is no list of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Odd;

impl From<Malformed> for Odd {
    fn from(_: Malformed) -> Self {
        Self
    }
}

/// Appends the answer `reply`, which is whole and ended well, as the client is to see it.
///
/// # Errors
/// [`Odd`]; nothing was appended.
pub(super) fn rewrite(
    reply: &[u8],
    client: Capabilities,
    threads: &Threads,
    out: &mut BytesMut,
) -> Result<(), Odd> {
    let mut packets = Packets(reply);
    let count = packets.next_packet()?;
    let columns = Columns::read(count, &mut packets)?;
    if !client.contains(Capabilities::DEPRECATE_EOF) {
        packets.next_packet()?;
    }
    let head_bytes = reply.len() - packets.0.len();
    let mut rows = Vec::new();
    let end = loop {
        let packet = packets.next_packet()?;
        match packet.first() {
            // Only a value of 16 MiB begins so, too.
            Some(0xFE) => break packet,
            // A report of progress.
            Some(0xFF) => {}
            Some(_) | None => rows.push(columns.fields(packet)?),
        }
    };
    if !packets.0.is_empty() {
        return Err(Odd);
    }
    let head = reply.get(..head_bytes).unwrap_or_default();
    let mut seq = Packets(head).last_seq();
    out.put_slice(head);
    for (_, row) in columns.shown(&rows, threads) {
        seq = seq.wrapping_add(1);
        frame(out, seq, |out| out.put_slice(&row));
    }
    frame(out, seq.wrapping_add(1), |out| out.put_slice(end));
    Ok(())
}

/// Packets of one frame, one behind the other.
struct Packets<'a>(&'a [u8]);

impl<'a> Packets<'a> {
    fn next_packet(&mut self) -> Result<&'a [u8], Odd> {
        let header = Header::peek(self.0).filter(|header| !header.is_continued()).ok_or(Odd)?;
        let rest =
            self.0.get(HEADER_BYTES..).and_then(|it| it.split_at_checked(header.payload_bytes));
        let (payload, rest) = rest.ok_or(Odd)?;
        self.0 = rest;
        Ok(payload)
    }

    fn last_seq(mut self) -> u8 {
        let mut seq = 0;
        while let Some(header) = Header::peek(self.0)
            && self.next_packet().is_ok()
        {
            seq = header.seq;
        }
        seq
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Id,
    User,
    Host,
    Db,
    Command,
    Time,
    State,
    Progress,
    /// Whatever else a server counts.
    Number,
    /// Info, and whatever else a server tells.
    Other,
}

/// The columns of a list, in order.
struct Columns(Vec<Column>);

type Fields<'a> = Vec<Option<&'a [u8]>>;

impl Columns {
    fn read(count: &[u8], packets: &mut Packets<'_>) -> Result<Self, Odd> {
        let mut reader = Reader::new(count);
        let count = usize::try_from(reader.lenenc_int()?).map_err(|_| Odd)?;
        let columns = if reader.u8() == Ok(DEFINITIONS_LEFT_OUT) {
            if !(USUAL.len() - 1..=USUAL.len()).contains(&count) {
                return Err(Odd);
            }
            USUAL.iter().take(count).copied().collect()
        } else {
            let mut columns = Vec::new();
            for _ in 0..count {
                columns.push(Column::read(packets.next_packet()?)?);
            }
            columns
        };
        let has = |wanted: &Column| columns.iter().filter(|it| *it == wanted).count() == 1;
        if [Column::Id, Column::User, Column::Host].iter().all(has) {
            Ok(Self(columns))
        } else {
            Err(Odd)
        }
    }

    fn fields<'a>(&self, row: &'a [u8]) -> Result<Fields<'a>, Odd> {
        let mut reader = Reader::new(row);
        let mut fields = Vec::with_capacity(self.0.len());
        for _ in &self.0 {
            if reader.remaining().first() == Some(&NULL) {
                reader.u8()?;
                fields.push(None);
            } else {
                fields.push(Some(reader.lenenc_bytes()?));
            }
        }
        if reader.is_empty() { Ok(fields) } else { Err(Odd) }
    }

    fn value<'a>(&self, fields: &Fields<'a>, column: Column) -> Option<&'a [u8]> {
        let at = self.0.iter().position(|it| *it == column)?;
        fields.get(at).copied().flatten()
    }

    /// The rows to be seen, by their ids, in the order of these.
    fn shown(&self, rows: &[Fields<'_>], threads: &Threads) -> Vec<(u64, BytesMut)> {
        let mut shown = Vec::with_capacity(rows.len());
        let mut seen = HashSet::new();
        for fields in rows {
            let digits = self.value(fields, Column::Id).map(str::from_utf8);
            let id: Option<u64> = digits.and_then(|it| it.ok()?.parse().ok());
            let thread = id.and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
            let seated = threads.seated.get(&thread);
            seen.insert(thread);
            if let Some(seated) = seated {
                shown.push((u64::from(seated.id), self.row(fields, Some(seated))));
            } else if !threads.own.contains(&thread) {
                shown.push((id.unwrap_or(0), self.row(fields, None)));
            }
        }
        // Without the PROCESS privilege an account sees the threads of one name only: its own.
        let mut users = rows.iter().map(|fields| self.value(fields, Column::User));
        let first = users.next();
        let sees_all = users.any(|user| Some(user) != first);
        for apart in &threads.apart {
            if apart.thread.is_some_and(|thread| seen.contains(&thread)) {
                continue;
            }
            if sees_all || apart.user == threads.asker {
                shown.push((u64::from(apart.seated.id), self.apart(apart)));
            }
        }
        shown.sort_by_key(|(id, _)| *id);
        shown
    }

    /// The row of a thread, which may be a session's.
    fn row(&self, fields: &Fields<'_>, seated: Option<&Seated>) -> BytesMut {
        let mut row = BytesMut::new();
        for (column, value) in self.0.iter().zip(fields) {
            match (column, seated) {
                (Column::Id, Some(seated)) => put(&mut row, seated.id.to_string().as_bytes()),
                (Column::Host, Some(seated)) => put(&mut row, seated.host.as_bytes()),
                (_, _) => put_or_null(&mut row, *value),
            }
        }
        row
    }

    /// The row of a session that has no thread: it sleeps.
    fn apart(&self, apart: &Apart) -> BytesMut {
        let mut row = BytesMut::new();
        for column in &self.0 {
            match column {
                Column::Id => put(&mut row, apart.seated.id.to_string().as_bytes()),
                Column::User => put(&mut row, &apart.user),
                Column::Host => put(&mut row, apart.seated.host.as_bytes()),
                Column::Db if apart.schema.is_empty() => row.put_u8(NULL),
                Column::Db => put(&mut row, &apart.schema),
                Column::Command => put(&mut row, b"Sleep"),
                Column::Time => put(&mut row, apart.seconds.to_string().as_bytes()),
                Column::State => put(&mut row, b""),
                Column::Progress => put(&mut row, b"0.000"),
                Column::Number => put(&mut row, b"0"),
                Column::Other => row.put_u8(NULL),
            }
        }
        row
    }
}

impl Column {
    /// Reads a definition.
    ///
    /// ```text
    /// catalog, schema, table, org_table, name, org_name, … | charset 2 | length 4 | type 1
    ///   | flags 2 | decimals 1 | 0 2
    /// ```
    fn read(definition: &[u8]) -> Result<Self, Odd> {
        let mut reader = Reader::new(definition);
        for _ in 0..4 {
            reader.lenenc_bytes()?;
        }
        let name = reader.lenenc_bytes()?;
        let known = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        if let Some((_, column)) = known {
            return Ok(*column);
        }
        let [_, _, _, _, _, _, kind, ..] = *definition.last_chunk::<12>().ok_or(Odd)?;
        Ok(if NUMBERS.contains(&kind) { Self::Number } else { Self::Other })
    }
}

fn put(row: &mut BytesMut, value: &[u8]) {
    put_lenenc_bytes(row, value);
}

fn put_or_null(row: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(value) => put(row, value),
        None => row.put_u8(NULL),
    }
}

/// Behind the count of columns: the client does not want their definitions.
const DEFINITIONS_LEFT_OUT: u8 = 0;

/// In the place of a value's length.
const NULL: u8 = 0xFB;

/// Column types of numbers: DECIMAL to DOUBLE, LONGLONG, INT24, NEWDECIMAL.
const NUMBERS: [u8; 9] = [0, 1, 2, 3, 4, 5, 8, 9, 0xF6];

const NAMES: [(&[u8], Column); 8] = [
    (b"Id", Column::Id),
    (b"User", Column::User),
    (b"Host", Column::Host),
    (b"db", Column::Db),
    (b"Command", Column::Command),
    (b"Time", Column::Time),
    (b"State", Column::State),
    (b"Progress", Column::Progress),
];

/// What MariaDB sends; MySQL has no Progress.
const USUAL: [Column; 9] = [
    Column::Id,
    Column::User,
    Column::Host,
    Column::Db,
    Column::Command,
    Column::Time,
    Column::State,
    Column::Other,
    Column::Progress,
];

#[cfg(test)]
mod tests;
