//! Commands and the whole of their replies.
//!
//! Purpose: find the end of every reply by the rules of the protocol, written here a second time,
//! and keep each of its packets.
//! Never: look at rows.

use anyhow::{Context, Result, bail};
use weir::wire::{Capabilities, Command, Status};
use weir_tests::RawClient;

/// A packet: sequence id and payload.
type Packet = (u8, Vec<u8>);

/// Everything a command is answered by.
pub(crate) type Reply = Vec<Packet>;

/// What a client sends to a server that asks for a file.
pub(crate) const FILE: &[u8] = b"1\tone\n2\ttwo\n3\tthree\n";

/// Beginnings of ERR 1243 and 1421, whose texts have the statement's id.
const NAME_STATEMENTS: [[u8; 3]; 2] = [[0xFF, 0xDB, 0x04], [0xFF, 0x8D, 0x05]];

/// Commands sent together.
pub(crate) struct Step {
    /// For a person.
    pub(crate) what: String,
    pub(crate) commands: Vec<Asked>,
}

/// A command.
#[derive(Clone)]
pub(crate) struct Asked {
    /// As a packet's payload.
    pub(crate) payload: Vec<u8>,
    /// Which of the statements prepared so far it concerns; its id belongs at the second byte.
    pub(crate) statement: Option<usize>,
}

/// A client, and the statements it has prepared.
pub(crate) struct Dialogue {
    client: RawClient,
    statements: Vec<[u8; 4]>,
    /// Of the packet read last.
    seq: u8,
}

impl Dialogue {
    pub(crate) const fn new(client: RawClient) -> Self {
        Self { client, statements: Vec::new(), seq: 0 }
    }

    /// The client, between two steps.
    pub(crate) const fn client(&mut self) -> &mut RawClient {
        &mut self.client
    }

    /// Sends the commands of a step and reads the replies of all.
    pub(crate) fn run(&mut self, step: &Step) -> Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        for asked in &step.commands {
            let mut payload = asked.payload.clone();
            if let Some(ordinal) = asked.statement {
                let id = self.statements.get(ordinal).context("no such statement")?;
                payload.get_mut(1..5).context("no room for its id")?.copy_from_slice(id);
            }
            put_packets(&mut bytes, 0, &payload);
        }
        self.client.send(&bytes)?;
        step.commands.iter().map(|asked| self.reply(&asked.payload)).collect()
    }

    fn reply(&mut self, command: &[u8]) -> Result<Reply> {
        let mut reply = Reply::new();
        let byte = *command.first().context("an empty command")?;
        match Command::from_byte(byte) {
            Some(Command::StmtSendLongData | Command::StmtClose | Command::Quit) => {}
            Some(Command::FieldList) => self.definitions_until_end(&mut reply)?,
            Some(Command::StmtFetch) => drop(self.rows(&mut reply)?),
            Some(Command::Statistics) => {
                let (_, text) = self.packet(&mut reply)?;
                let words: Vec<u8> = text
                    .iter()
                    .copied()
                    .filter(|byte| !byte.is_ascii_digit() && *byte != b'.')
                    .collect();
                reply = vec![(self.seq, words)];
            }
            Some(Command::StmtPrepare) => self.prepared(&mut reply)?,
            // Everything else is answered as a query is.
            _ => self.results(&mut reply)?,
        }
        if let Some((_, error)) = reply.last_mut()
            && NAME_STATEMENTS.iter().any(|code| error.starts_with(code))
        {
            error.retain(|byte| !byte.is_ascii_digit());
        }
        Ok(reply)
    }

    /// One or several results.
    fn results(&mut self, reply: &mut Reply) -> Result<()> {
        loop {
            let (_, head) = self.packet(reply)?;
            let status = match head.first().context("an empty packet")? {
                0x00 | 0xFE => end_status(&head, self.client.capabilities)?,
                0xFF => return Ok(()),
                0xFB => {
                    self.send_file()?;
                    continue;
                }
                _ => self.result_set(&head, reply)?,
            };
            match status {
                Some(status) if status.contains(Status::MORE_RESULTS) => {}
                _ => return Ok(()),
            }
        }
    }

    /// What follows the count of columns; the status at the end, or nothing after an error.
    fn result_set(&mut self, head: &[u8], reply: &mut Reply) -> Result<Option<Status>> {
        let capabilities = self.client.capabilities;
        let flagged =
            Capabilities::OPTIONAL_RESULTSET_METADATA.union(Capabilities::MARIADB_CACHE_METADATA);
        let (columns, rest) = lenenc(head)?;
        if !capabilities.intersects(flagged) || rest == [1] {
            for _ in 0..columns {
                self.packet(reply)?;
            }
        }
        if !capabilities.contains(Capabilities::DEPRECATE_EOF) {
            let (_, eof) = self.packet(reply)?;
            let status = end_status(&eof, capabilities)?.context("no EOF after the columns")?;
            forget_figures(reply)?;
            if status.contains(Status::CURSOR_EXISTS) {
                return Ok(Some(status));
            }
            if status.contains(Status::PS_OUT_PARAMS) {
                return self.out_params(reply);
            }
        }
        self.rows(reply)
    }

    /// Values of OUT parameters. Where EOF is not deprecated, MySQL forgets to say at their end what
    /// they were and that more follows; Weir, which asks it for the newer protocol, knows.
    fn out_params(&mut self, reply: &mut Reply) -> Result<Option<Status>> {
        let Some(status) = self.rows(reply)? else { return Ok(None) };
        let (_, eof) = reply.last_mut().context("no reply")?;
        let more = status.with(Status::MORE_RESULTS).with(Status::PS_OUT_PARAMS);
        eof.get_mut(3..5).context("a short EOF")?.copy_from_slice(&more.0.to_le_bytes());
        Ok(Some(more))
    }

    fn rows(&mut self, reply: &mut Reply) -> Result<Option<Status>> {
        loop {
            let (length, row) = self.packet(reply)?;
            match row.first() {
                Some(0xFF) => return Ok(None),
                Some(0xFE) if length < 0xFF_FFFF => {
                    return end_status(&row, self.client.capabilities);
                }
                _ => {}
            }
        }
    }

    fn prepared(&mut self, reply: &mut Reply) -> Result<()> {
        let (_, ok) = self.packet(reply)?;
        if ok.first() == Some(&0xFF) {
            return Ok(());
        }
        let (_, first) = reply.first_mut().context("no reply")?;
        let id = first.get_mut(1..5).context("a short answer to a PREPARE")?;
        self.statements.push(id.try_into()?);
        id.fill(0);
        let count = |at: usize| -> Result<u16> {
            Ok(u16::from_le_bytes(ok.get(at..at + 2).context("counts")?.try_into()?))
        };
        // The last byte says whether definitions follow, where that was negotiated.
        let optional = self.client.capabilities.contains(Capabilities::OPTIONAL_RESULTSET_METADATA);
        if optional && ok.get(12) == Some(&0) {
            return Ok(());
        }
        for definitions in [count(7)?, count(5)?] {
            for _ in 0..definitions {
                self.packet(reply)?;
            }
            if definitions > 0 && !self.client.capabilities.contains(Capabilities::DEPRECATE_EOF) {
                self.packet(reply)?;
            }
        }
        Ok(())
    }

    fn definitions_until_end(&mut self, reply: &mut Reply) -> Result<()> {
        loop {
            let (length, packet) = self.packet(reply)?;
            match packet.first() {
                Some(0xFF) => return Ok(()),
                Some(0xFE) if length < 0xFF_FFFF => return Ok(()),
                _ => {}
            }
        }
    }

    fn send_file(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        put_packets(&mut bytes, self.seq.wrapping_add(1), FILE);
        put_packets(&mut bytes, self.seq.wrapping_add(2), b"");
        self.client.send(&bytes)
    }

    /// Reads a packet with its continuations: its length and its beginning. The reply keeps every
    /// byte.
    fn packet(&mut self, reply: &mut Reply) -> Result<(usize, Vec<u8>)> {
        let (seq, payload) = self.client.packet()?;
        self.seq = seq;
        let mut length = payload.len();
        let mut full = length == 0xFF_FFFF;
        reply.push((seq, payload.clone()));
        while full {
            let (seq, payload) = self.client.packet()?;
            self.seq = seq;
            length += payload.len();
            full = payload.len() == 0xFF_FFFF;
            reply.push((seq, payload));
        }
        Ok((length, payload))
    }
}

/// Status of an OK or EOF packet; nothing if it is an error.
fn end_status(packet: &[u8], capabilities: Capabilities) -> Result<Option<Status>> {
    let bits = |bytes: Option<&[u8]>| -> Result<Status> {
        Ok(Status(u16::from_le_bytes(bytes.context("no status")?.try_into()?)))
    };
    match packet.first() {
        Some(0xFF) => Ok(None),
        Some(0xFE) if !capabilities.contains(Capabilities::DEPRECATE_EOF) => {
            bits(packet.get(3..5)).map(Some)
        }
        Some(0x00 | 0xFE) => {
            // COM_SET_OPTION and COM_DEBUG end with an EOF also where it is deprecated.
            if packet.len() == 5 {
                return bits(packet.get(3..5)).map(Some);
            }
            let (_, rest) = lenenc(packet.get(1..).context("short")?)?;
            let (_, rest) = lenenc(rest)?;
            bits(rest.get(..2)).map(Some)
        }
        _ => bail!("not the end of a reply: {packet:02x?}"),
    }
}

/// Forgets what an EOF behind columns says about the rows to come: it exists only where Weir makes
/// it, because it asks the server for the protocol without, and there such figures come last.
fn forget_figures(reply: &mut Reply) -> Result<()> {
    let (_, eof) = reply.last_mut().context("no reply")?;
    let [_, warnings @ .., low, high] = eof.as_mut_slice() else { bail!("a short EOF") };
    warnings.fill(0);
    let known = Status(u16::from_le_bytes([*low, *high])).common(KNOWN_EARLY);
    [*low, *high] = known.0.to_le_bytes();
    Ok(())
}

/// What an EOF behind columns is right about: not what the statement will turn out to have done,
/// nor what comes after the rows.
const KNOWN_EARLY: Status =
    Status::AUTOCOMMIT.with(Status::CURSOR_EXISTS).with(Status::NO_BACKSLASH_ESCAPES);

/// A length-encoded integer and what follows it.
fn lenenc(bytes: &[u8]) -> Result<(u64, &[u8])> {
    let (first, rest) = bytes.split_first().context("no length-encoded integer")?;
    let width = match first {
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        0xFB | 0xFF => bail!("not a length-encoded integer"),
        small => return Ok((u64::from(*small), rest)),
    };
    let (digits, rest) = rest.split_at_checked(width).context("a short integer")?;
    Ok((digits.iter().rev().fold(0, |value, digit| value << 8 | u64::from(*digit)), rest))
}

/// Appends a payload as packets, as many as it needs.
fn put_packets(out: &mut Vec<u8>, mut seq: u8, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(0xFF_FFFF));
        let length = u32::try_from(piece.len()).unwrap_or_default().to_le_bytes();
        out.extend_from_slice(length.get(..3).unwrap_or_default());
        out.push(seq);
        out.extend_from_slice(piece);
        if piece.len() < 0xFF_FFFF {
            return;
        }
        (seq, rest) = (seq.wrapping_add(1), after);
    }
}

/// The first packet of some replies that differs from the others', with the packet's place.
pub(crate) fn shown(replies: &[Reply], others: &[Reply]) -> String {
    let (mine, theirs) = (replies.concat(), others.concat());
    let at = mine.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    match mine.get(at) {
        None => format!("ends after {at} packets"),
        Some((seq, payload)) => {
            let other = theirs.get(at).map(|(_, other)| other.as_slice()).unwrap_or_default();
            let same = payload.iter().zip(other).take_while(|(a, b)| a == b).count();
            let from = same.saturating_sub(20);
            let part = payload.get(from..payload.len().min(from + 100)).unwrap_or_default();
            format!(
                "packet {at}, sequence id {seq}, {} bytes, from byte {from}: {}",
                payload.len(),
                part.escape_ascii()
            )
        }
    }
}
