//! What servers say, packet by packet.
//!
//! Purpose: build whole replies whose bytes a test then expects at the other end.
//! Never: choose what a reply says.

use bytes::{BufMut, BytesMut};
use weir::wire::frame::PAYLOAD_BYTES_MAX;
use weir::wire::{
    Capabilities, ErrPacket, OkPacket, Status, encode_eof, frame, put_lenenc_bytes, put_lenenc_int,
    sqlstate,
};

/// Packets in order, numbered one after the other.
#[derive(Clone, Debug)]
pub struct Packets {
    out: BytesMut,
    seq: u8,
    capabilities: Capabilities,
}

impl Packets {
    /// A reply whose first packet has sequence id `seq`, to a peer with these capabilities.
    #[must_use]
    pub fn new(seq: u8, capabilities: Capabilities) -> Self {
        Self { out: BytesMut::new(), seq, capabilities }
    }

    /// Any payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        frame(&mut self.out, self.seq, |out| out.put_slice(payload));
        // A payload of 16 MiB or more takes several frames, each with an id of its own.
        for _ in 0..=payload.len() / PAYLOAD_BYTES_MAX {
            self.seq = self.seq.wrapping_add(1);
        }
        self
    }

    /// OK.
    #[must_use]
    pub fn ok(self) -> Self {
        self.ok_with(OkPacket::OK, Status::AUTOCOMMIT)
    }

    /// ERR.
    #[must_use]
    pub fn error(mut self, code: u16, text: &str) -> Self {
        let packet = ErrPacket { code, sqlstate: sqlstate(code), message: text.as_bytes() };
        packet.encode(self.seq, &mut self.out);
        self.seq = self.seq.wrapping_add(1);
        self
    }

    /// A result set of one text column, without its end.
    #[must_use]
    pub fn rows<R: AsRef<[u8]>>(self, rows: impl IntoIterator<Item = R>) -> Self {
        let flagged =
            Capabilities::OPTIONAL_RESULTSET_METADATA.union(Capabilities::MARIADB_CACHE_METADATA);
        // One column; where that was negotiated, a byte says that its definition follows.
        let count: &[u8] = if self.capabilities.intersects(flagged) { &[1, 1] } else { &[1] };
        let mut packets = self.payload(count).payload(&column());
        if !packets.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            packets = packets.eof(Status::AUTOCOMMIT);
        }
        rows.into_iter().fold(packets, |packets, row| packets.row(row.as_ref()))
    }

    /// One more row.
    #[must_use]
    pub fn row(self, value: &[u8]) -> Self {
        let mut payload = BytesMut::new();
        put_lenenc_bytes(&mut payload, value);
        self.payload(&payload)
    }

    /// The end of a result set; with [`Status::MORE_RESULTS`] another one follows.
    #[must_use]
    pub fn end(self, status: Status) -> Self {
        if self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            self.ok_with(OkPacket::END, status)
        } else {
            self.eof(status)
        }
    }

    /// A whole result set of one text column.
    #[must_use]
    pub fn result_set<R: AsRef<[u8]>>(self, rows: impl IntoIterator<Item = R>) -> Self {
        self.rows(rows).end(Status::AUTOCOMMIT)
    }

    /// Sequence id of a packet that would follow.
    #[must_use]
    pub const fn next_seq(&self) -> u8 {
        self.seq
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        self.out.to_vec()
    }

    fn eof(mut self, status: Status) -> Self {
        encode_eof(status, 0, self.seq, &mut self.out);
        self.seq = self.seq.wrapping_add(1);
        self
    }

    fn ok_with(mut self, header: u8, status: Status) -> Self {
        let packet = OkPacket { header, ..OkPacket::nothing(status) };
        packet.encode(self.capabilities, self.seq, &mut self.out);
        self.seq = self.seq.wrapping_add(1);
        self
    }
}

/// Definition of a column `c` of type LONG_BLOB.
fn column() -> BytesMut {
    let mut out = BytesMut::new();
    for text in [&b"def"[..], b"", b"", b"", b"c", b""] {
        put_lenenc_bytes(&mut out, text);
    }
    put_lenenc_int(&mut out, 0x0C);
    out.put_u16_le(63);
    out.put_u32_le(u32::MAX);
    out.put_slice(&[0xFB, 0, 0, 0, 0, 0]);
    out
}
