//! A server's side of the handshake.
//!
//! Purpose: the greeting, and the packets that steer authentication.
//! Never: check or make a password scramble: that is `auth`.

use bytes::{BufMut, BytesMut};

use crate::wire::capability::Capabilities;
use crate::wire::reader::{Malformed, Reader};
use crate::wire::status::Status;
use crate::wire::writer::{frame, put_nul_bytes};

/// Bytes of a server's random challenge.
pub const NONCE_LEN: usize = 20;

/// The first packet of a connection, version 10.
///
/// ```text
/// 0A | version NUL | connection id 4 | nonce 8 | 00 | capabilities 2 | collation 1 | status 2
///    | capabilities 2 | nonce length 1 (21) | 00 * 6 | MariaDB's capabilities 4 (MySQL: 00 * 4)
///    | nonce 12 | 00 | plugin NUL
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The server's version, as text.
    pub version: Vec<u8>,
    /// Id of the connection.
    pub connection_id: u32,
    /// Random bytes the password scramble is made with.
    pub nonce: [u8; NONCE_LEN],
    /// What the server can do. The extended half is there only without LONG_PASSWORD.
    pub capabilities: Capabilities,
    /// Default collation's id, low byte.
    pub collation: u8,
    /// Status flags.
    pub status: Status,
    /// Authentication plugin the nonce is for; empty if the server has no plugins.
    pub plugin: Vec<u8>,
}

impl Greeting {
    /// Reads one.
    ///
    /// # Errors
    /// The payload ends early, is not version 10, or comes from a server before 4.1.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "a greeting ends early");
        if reader.u8()? != 10 {
            return Err(Malformed::new("a greeting is not of protocol version 10"));
        }
        let version = reader.nul_bytes()?.to_vec();
        let connection_id = reader.u32()?;
        let nonce_head: [u8; 8] = reader.array()?;
        reader.u8()?;
        let low = reader.u16()?;
        let collation = reader.u8()?;
        let status = Status(reader.u16()?);
        let high = reader.u16()?;
        let nonce_len = reader.u8()?;
        reader.bytes(6)?;
        let extended = reader.u32()?;
        let base = u32::from(low) | (u32::from(high) << 16);
        let capabilities = Capabilities::from_halves(base, extended);
        if !capabilities.contains(Capabilities::PROTOCOL_41.union(Capabilities::SECURE_CONNECTION))
        {
            return Err(Malformed::new("the server speaks a protocol before 4.1"));
        }
        let nonce_tail: [u8; 12] = reader.array()?;
        // The rest of the challenge: its NUL, which old servers leave out of the count, and what a
        // longer one may hold. The two scrambles Weir makes use the first twenty bytes.
        let after = usize::from(nonce_len).saturating_sub(NONCE_LEN).max(1);
        reader.bytes(after.min(reader.remaining().len()))?;
        let plugin = if capabilities.contains(Capabilities::PLUGIN_AUTH) {
            reader.nul_bytes_or_rest().to_vec()
        } else {
            Vec::new()
        };
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(nonce_head.iter().chain(&nonce_tail)) {
            *to = *from;
        }
        Ok(Self { version, connection_id, nonce, capabilities, collation, status, plugin })
    }

    /// Appends it as a packet with sequence id `seq` (0 on a real connection). The bits PROTOCOL_41
    /// and SECURE_CONNECTION are always said, PLUGIN_AUTH exactly when there is a plugin.
    pub fn encode(&self, seq: u8, out: &mut BytesMut) {
        let capabilities = self
            .capabilities
            .union(Capabilities::PROTOCOL_41)
            .union(Capabilities::SECURE_CONNECTION)
            .set(Capabilities::PLUGIN_AUTH, !self.plugin.is_empty());
        let [a, b, c, d] = capabilities.base().to_le_bytes();
        let extended = if capabilities.contains(Capabilities::LONG_PASSWORD) {
            0
        } else {
            capabilities.extended()
        };
        let (nonce_head, nonce_tail) = self.nonce.split_at(8);
        frame(out, seq, |out| {
            out.put_u8(10);
            put_nul_bytes(out, &self.version);
            out.put_u32_le(self.connection_id);
            out.put_slice(nonce_head);
            out.put_u8(0);
            out.put_slice(&[a, b]);
            out.put_u8(self.collation);
            out.put_u16_le(self.status.0);
            out.put_slice(&[c, d]);
            out.put_u8(if self.plugin.is_empty() { 0 } else { 21 });
            out.put_bytes(0, 6);
            out.put_u32_le(extended);
            out.put_slice(nonce_tail);
            out.put_u8(0);
            if !self.plugin.is_empty() {
                put_nul_bytes(out, &self.plugin);
            }
        });
    }
}

/// A server's wish to authenticate by another plugin.
///
/// ```text
/// FE | plugin NUL | data, to the end: the nonce and a NUL
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthSwitch<'a> {
    /// The plugin.
    pub plugin: &'a [u8],
    /// What the plugin begins with, its trailing NUL included.
    pub data: &'a [u8],
}

impl<'a> AuthSwitch<'a> {
    /// Reads one. The single byte FE of servers before 5.5 asks for `mysql_old_password`.
    ///
    /// # Errors
    /// The payload does not begin with FE, or its plugin's name does not end.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "an authentication switch ends early");
        if reader.u8()? != 0xFE {
            return Err(Malformed::new("an authentication switch does not begin with FE"));
        }
        if reader.is_empty() {
            return Ok(Self { plugin: b"mysql_old_password", data: &[] });
        }
        Ok(Self { plugin: reader.nul_bytes()?, data: reader.rest() })
    }

    /// Appends it as a packet with sequence id `seq`.
    pub fn encode(&self, seq: u8, out: &mut BytesMut) {
        frame(out, seq, |out| {
            out.put_u8(0xFE);
            put_nul_bytes(out, self.plugin);
            out.put_slice(self.data);
        });
    }
}

/// A step of the plugin in use, between the login request and its answer.
///
/// ```text
/// 01 | data, to the end
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthMoreData<'a> {
    /// The plugin's bytes.
    pub data: &'a [u8],
}

impl<'a> AuthMoreData<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// The payload does not begin with 01.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "an authentication step is empty");
        if reader.u8()? != 0x01 {
            return Err(Malformed::new("an authentication step does not begin with 01"));
        }
        Ok(Self { data: reader.rest() })
    }

    /// Appends it as a packet with sequence id `seq`.
    pub fn encode(&self, seq: u8, out: &mut BytesMut) {
        frame(out, seq, |out| {
            out.put_u8(0x01);
            out.put_slice(self.data);
        });
    }
}
