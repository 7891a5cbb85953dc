//! A client's side of the handshake.
//!
//! Purpose: the login request, as real connectors send it and as servers take it, and the wish for
//! TLS that may come before it.
//! Never: judge who may log in.

use std::fmt;

use bytes::{BufMut, BytesMut};

use crate::wire::capability::Capabilities;
use crate::wire::reader::{Malformed, Reader};
use crate::wire::writer::{frame, put_lenenc_bytes, put_nul_bytes};

/// A client's wish to go on in TLS, in place of its login request: the fixed beginning of one.
///
/// ```text
/// capabilities 4 | largest packet 4 | collation 1 | 00 * 19 | MariaDB's capabilities 4
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SslRequest {
    /// What the client wants; it says so again in its login request, which alone counts.
    pub capabilities: Capabilities,
    /// Largest packet the client takes, in bytes.
    pub packet_bytes_max: u32,
    /// Collation's id, low byte.
    pub collation: u8,
}

impl SslRequest {
    /// Reads one; `None` if the payload is something else, such as a login request.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let request = fixed_part(&mut reader).ok()?;
        let needed = Capabilities::SSL.union(Capabilities::PROTOCOL_41);
        (reader.is_empty() && request.capabilities.contains(needed)).then_some(request)
    }

    /// Appends it as a packet with sequence id `seq`, which is 1.
    pub fn encode(&self, seq: u8, out: &mut BytesMut) {
        let needed = Capabilities::SSL.union(Capabilities::PROTOCOL_41);
        let request = Self { capabilities: self.capabilities.union(needed), ..*self };
        frame(out, seq, |out| put_fixed_part(out, &request));
    }
}

fn fixed_part(reader: &mut Reader<'_>) -> Result<SslRequest, Malformed> {
    let base = reader.u32()?;
    let packet_bytes_max = reader.u32()?;
    let collation = reader.u8()?;
    reader.bytes(19)?;
    let capabilities = Capabilities::from_halves(base, reader.u32()?);
    Ok(SslRequest { capabilities, packet_bytes_max, collation })
}

fn put_fixed_part(out: &mut BytesMut, request: &SslRequest) {
    let SslRequest { capabilities, packet_bytes_max, collation } = *request;
    let mysql = capabilities.contains(Capabilities::LONG_PASSWORD);
    out.put_u32_le(capabilities.base());
    out.put_u32_le(packet_bytes_max);
    out.put_u8(collation);
    out.put_bytes(0, 19);
    out.put_u32_le(if mysql { 0 } else { capabilities.extended() });
}

/// A client's answer to the greeting ("handshake response 41").
///
/// ```text
/// capabilities 4 | largest packet 4 | collation 1 | 00 * 19
///    | MariaDB's capabilities 4 (MySQL: 00 * 4) | user NUL | auth response (three forms)
///    | database NUL | plugin NUL | attributes, length-encoded | zstd level 1
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct LoginRequest {
    /// What the client wants of what the server offered. CONNECT_WITH_DB, PLUGIN_AUTH and
    /// CONNECT_ATTRS say what was in the packet; when encoding, the fields decide.
    pub capabilities: Capabilities,
    /// Largest packet the client takes, in bytes.
    pub packet_bytes_max: u32,
    /// Collation's id, low byte.
    pub collation: u8,
    /// Account name.
    pub user: Vec<u8>,
    /// The plugin's answer to the greeting's nonce.
    pub auth_response: Vec<u8>,
    /// Default schema; never empty.
    pub database: Option<Vec<u8>>,
    /// Plugin the answer was made by; never empty.
    pub plugin: Option<Vec<u8>>,
    /// Connection attributes (length-encoded names and values) without the length before all of
    /// them; checked to be whole.
    pub connect_attrs: Option<Vec<u8>>,
    /// Level of zstd, 1 to 22; without [`Capabilities::ZSTD`] it is not in the packet.
    pub zstd_level: u8,
}

/// The level clients and servers have that were told none.
pub const ZSTD_LEVEL_DEFAULT: u8 = 3;
const ZSTD_LEVEL_MAX: u8 = 22;

impl LoginRequest {
    /// Reads one.
    ///
    /// What real connectors leave out at the end (a last NUL, an announced database or plugin) is
    /// taken as not said, and so are attributes that are not whole.
    ///
    /// # Errors
    /// The client speaks a protocol before 4.1 or asks for TLS, or the packet ends inside the user
    /// name or the authentication response.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "a login request ends early");
        let mut peek = reader;
        if u64::from(peek.u16()?) & Capabilities::PROTOCOL_41.bits() == 0 {
            return Err(Malformed::new("the client speaks a protocol before 4.1"));
        }
        let SslRequest { capabilities, packet_bytes_max, collation } = fixed_part(&mut reader)?;
        if capabilities.contains(Capabilities::SSL) && reader.is_empty() {
            return Err(Malformed::new("the client asks for TLS, which was not offered"));
        }
        let user = reader.nul_bytes()?.to_vec();
        let auth_response = auth_response(&mut reader, capabilities)?.to_vec();
        let has = |flag| capabilities.contains(flag);
        let database = has(Capabilities::CONNECT_WITH_DB).then(|| reader.nul_bytes_or_rest());
        let plugin = has(Capabilities::PLUGIN_AUTH).then(|| reader.nul_bytes_or_rest());
        let attrs = has(Capabilities::CONNECT_ATTRS).then(|| reader.lenenc_bytes());
        let attrs = attrs.and_then(Result::ok).filter(|attrs| attrs_are_whole(attrs));
        let zstd_level = match reader.u8() {
            Ok(level @ 1..=ZSTD_LEVEL_MAX) if has(Capabilities::ZSTD) => level,
            _ => ZSTD_LEVEL_DEFAULT,
        };
        let said = |field: Option<&[u8]>| field.filter(|f| !f.is_empty()).map(<[u8]>::to_vec);
        Ok(Self {
            capabilities,
            packet_bytes_max,
            collation,
            user,
            auth_response,
            database: said(database),
            plugin: said(plugin),
            connect_attrs: attrs.map(<[u8]>::to_vec),
            zstd_level,
        })
    }

    /// Appends it as a packet with sequence id `seq` (1, or 2 after TLS).
    ///
    /// The authentication response always has its length before it: in one byte, or length-encoded
    /// with PLUGIN_AUTH_LENENC, which a response of more than 250 bytes turns on.
    pub fn encode(&self, seq: u8, out: &mut BytesMut) {
        let long = self.auth_response.len() > 250;
        let capabilities = self
            .capabilities
            .union(Capabilities::PROTOCOL_41)
            .union(Capabilities::SECURE_CONNECTION)
            .union(if long { Capabilities::PLUGIN_AUTH_LENENC } else { Capabilities::NONE })
            .set(Capabilities::CONNECT_WITH_DB, self.database.is_some())
            .set(Capabilities::PLUGIN_AUTH, self.plugin.is_some())
            .set(Capabilities::CONNECT_ATTRS, self.connect_attrs.is_some());
        let Self { packet_bytes_max, collation, .. } = *self;
        frame(out, seq, |out| {
            put_fixed_part(out, &SslRequest { capabilities, packet_bytes_max, collation });
            put_nul_bytes(out, &self.user);
            // Up to 250 bytes the one-byte length and the length-encoded one are the same.
            put_lenenc_bytes(out, &self.auth_response);
            if let Some(database) = &self.database {
                put_nul_bytes(out, database);
            }
            if let Some(plugin) = &self.plugin {
                put_nul_bytes(out, plugin);
            }
            if let Some(attrs) = &self.connect_attrs {
                put_lenenc_bytes(out, attrs);
            }
            if capabilities.contains(Capabilities::ZSTD) {
                out.put_u8(self.zstd_level);
            }
        });
    }
}

/// The response in the form the capabilities say; empty if the packet ends before it. Servers look
/// at SECURE_CONNECTION first: without it PLUGIN_AUTH_LENENC means nothing.
fn auth_response<'a>(
    reader: &mut Reader<'a>,
    capabilities: Capabilities,
) -> Result<&'a [u8], Malformed> {
    if reader.is_empty() {
        Ok(&[])
    } else if !capabilities.contains(Capabilities::SECURE_CONNECTION) {
        Ok(reader.nul_bytes_or_rest())
    } else if capabilities.contains(Capabilities::PLUGIN_AUTH_LENENC) {
        reader.lenenc_bytes()
    } else {
        let length = reader.u8()?;
        reader.bytes(usize::from(length))
    }
}

/// Whether the bytes are names and values, each whole: a backend would refuse others.
pub(crate) fn attrs_are_whole(attrs: &[u8]) -> bool {
    let mut reader = Reader::new(attrs);
    while !reader.is_empty() {
        if reader.lenenc_bytes().is_err() || reader.lenenc_bytes().is_err() {
            return false;
        }
    }
    true
}

/// Leaves out the authentication response: with the nonce it allows guessing the password.
impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest")
            .field("capabilities", &self.capabilities)
            .field("packet_bytes_max", &self.packet_bytes_max)
            .field("collation", &self.collation)
            .field("user", &self.user.escape_ascii().to_string())
            .field("auth_response_len", &self.auth_response.len())
            .field("database", &self.database.as_ref().map(|d| d.escape_ascii().to_string()))
            .field("plugin", &self.plugin.as_ref().map(|p| p.escape_ascii().to_string()))
            .finish_non_exhaustive()
    }
}
