//! Statements about Weir's own variables, on an endpoint that splits.
//!
//! Purpose: answer them, as a server would that has such variables.
//! Never: answer out of turn, or tell a server of them.

use bytes::{BufMut, BytesMut};

use crate::base::Fault;
use crate::route::Mode;
use crate::session::ledger::{Entry, Ledger};
use crate::session::relay::Relay;
use crate::session::shared::Ruling;
use crate::share::{CONSISTENCY, Own, own};
use crate::wire::{
    Capabilities, Command, Edits, ErrPacket, OkPacket, Side, Status, code, encode_eof, frame,
    put_lenenc_bytes, query_text_at,
};

impl Relay {
    /// Answers a command about a variable of Weir's own.
    pub(super) fn rule_own(
        &mut self,
        command: Command,
        payload: &[u8],
        edits: &mut Edits,
        ledger: &mut Ledger,
    ) -> Result<Option<Ruling>, Fault> {
        let client = self.reply.dialect().client;
        let is_idle = self.owed.is_empty();
        let Some(sharing) = self.sharing.as_deref_mut() else { return Ok(None) };
        if command != Command::Query || sharing.router.mode() != Mode::ReadWrite {
            return Ok(None);
        }
        let text = query_text_at(payload, client).ok().and_then(|at| payload.get(at..));
        let Some(own) = text.and_then(|text| own(text, sharing.mode)) else { return Ok(None) };
        if !is_idle {
            // After the answers to what came before.
            sharing.awaits_answers = true;
            return Ok(Some(Ruling::Again));
        }
        let level = sharing.router.causal.level_set().name();
        match own {
            Own::Set(level) => {
                sharing.router.causal.set_level(level);
                self.send_ok(1, &[], edits);
            }
            Own::Odd(word) => {
                let word = String::from_utf8_lossy(&word);
                let text =
                    format!("Variable '{CONSISTENCY}' can't be set to the value of '{word}'");
                self.say_own_error(code::WRONG_VALUE_FOR_VAR, &text, edits, ledger);
            }
            Own::Global => {
                let text = format!(
                    "Variable '{CONSISTENCY}' is a SESSION variable and can't be used with SET GLOBAL"
                );
                self.say_own_error(code::LOCAL_VARIABLE, &text, edits, ledger);
            }
            Own::Show(is_there) => {
                let row = [CONSISTENCY.as_bytes(), level.as_bytes()];
                let rows: &[&[&[u8]]] = if is_there { &[&row] } else { &[] };
                self.send_rows(&[b"Variable_name", b"Value"], rows, edits);
            }
            Own::Select(column) => self.send_rows(&[&column], &[&[level.as_bytes()]], edits),
        }
        self.is_answered(ledger);
        Ok(Some(Ruling::Done))
    }

    fn say_own_error(&mut self, code: u16, text: &str, edits: &mut Edits, ledger: &mut Ledger) {
        let packet = ErrPacket { code, sqlstate: *b"42000", message: text.as_bytes() };
        edits.send(Side::Client, |out| packet.encode(1, out));
        ledger.enter(Entry::OwnError(code));
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.row_count = -1;
            sharing.is_fresh = true;
        }
    }

    /// A result of short texts.
    fn send_rows(&mut self, columns: &[&[u8]], rows: &[&[&[u8]]], edits: &mut Edits) {
        let client = self.reply.dialect().client;
        let definitions: Vec<_> = columns.iter().map(|name| column(name, client)).collect();
        let definitions: Vec<&[u8]> = definitions.iter().map(|it| &it[..]).collect();
        self.send_result(&definitions, rows, edits);
    }

    /// A result of Weir's own, of columns that are defined like this.
    pub(super) fn send_result(
        &mut self,
        definitions: &[&[u8]],
        rows: &[&[&[u8]]],
        edits: &mut Edits,
    ) {
        let client = self.reply.dialect().client;
        let status = self.reply.status().of_the_session();
        edits.send(Side::Client, |out| put_result(definitions, rows, client, status, out));
        if let Some(sharing) = self.sharing.as_deref_mut() {
            sharing.row_count = -1;
            sharing.found_rows = Some(rows.len() as u64);
            sharing.is_fresh = true;
        }
    }
}

/// A result, as packets: column count, definitions, rows, end.
fn put_result(
    definitions: &[&[u8]],
    rows: &[&[&[u8]]],
    client: Capabilities,
    status: Status,
    out: &mut BytesMut,
) {
    let is_new = client.contains(Capabilities::DEPRECATE_EOF);
    let mut seqs = 1_u8..;
    let mut seq = || seqs.next().unwrap_or(0);
    frame(out, seq(), |out| {
        out.put_u8(u8::try_from(definitions.len()).unwrap_or(u8::MAX));
        if client.contains(Capabilities::OPTIONAL_RESULTSET_METADATA) {
            out.put_u8(1);
        }
    });
    for definition in definitions {
        frame(out, seq(), |out| out.put_slice(definition));
    }
    if !is_new {
        encode_eof(status, 0, seq(), out);
    }
    for row in rows {
        frame(out, seq(), |out| row.iter().for_each(|value| put_lenenc_bytes(out, value)));
    }
    if is_new {
        let end = OkPacket { header: OkPacket::END, ..OkPacket::nothing(status) };
        end.encode(client, seq(), out);
    } else {
        encode_eof(status, 0, seq(), out);
    }
}

/// The definition of a column of short texts, in utf8mb4.
fn column(name: &[u8], client: Capabilities) -> BytesMut {
    const COLLATION: u16 = 45;
    const CHARS: u32 = 64 * 4;
    const VAR_STRING: u8 = 0xFD;
    let mut out = BytesMut::new();
    for text in [&b"def"[..], b"", b"", b"", name, b""] {
        put_lenenc_bytes(&mut out, text);
    }
    if client.contains(Capabilities::MARIADB_EXTENDED_METADATA) {
        put_lenenc_bytes(&mut out, b"");
    }
    out.put_u8(0x0C);
    out.put_u16_le(COLLATION);
    out.put_u32_le(CHARS);
    out.put_u8(VAR_STRING);
    out.put_slice(&[0; 5]);
    out
}
