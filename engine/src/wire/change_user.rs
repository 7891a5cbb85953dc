//! COM_CHANGE_USER: a login on a connection that already has one.
//!
//! Purpose: the command as clients send it and as servers take it.
//! Never: keep its authentication response: servers answer with a switch and a new nonce, so it is
//! only read past.

use bytes::{BufMut, BytesMut};

use crate::wire::capability::Capabilities;
use crate::wire::command::Command;
use crate::wire::login::attrs_are_whole;
use crate::wire::reader::{Malformed, Reader};
use crate::wire::writer::{frame, put_lenenc_bytes, put_nul_bytes};

/// The command.
///
/// ```text
/// 11 | user NUL | response length 1, response (NUL-terminated without SECURE_CONNECTION)
///    | database NUL | collation 2 | plugin NUL | attributes, length-encoded
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeUser {
    /// Account name.
    pub user: Vec<u8>,
    /// Default schema; never empty.
    pub database: Option<Vec<u8>>,
    /// Collation's id; 0 if the client did not say one.
    pub collation: u16,
    /// Plugin the client would like; never empty.
    pub plugin: Option<Vec<u8>>,
    /// Connection attributes without the length before all of them; checked to be whole.
    pub connect_attrs: Option<Vec<u8>>,
}

impl ChangeUser {
    /// Reads one from a client with `capabilities`. Everything after the response may be missing.
    ///
    /// # Errors
    /// It is another command, or ends inside the user name or the response.
    pub fn parse(payload: &[u8], capabilities: Capabilities) -> Result<Self, Malformed> {
        let mut reader = Reader::named(payload, "COM_CHANGE_USER ends early");
        if reader.u8()? != Command::ChangeUser.as_byte() {
            return Err(Malformed::new("COM_CHANGE_USER does not begin with 11"));
        }
        let user = reader.nul_bytes()?.to_vec();
        if capabilities.contains(Capabilities::SECURE_CONNECTION) {
            let length = reader.u8()?;
            reader.bytes(usize::from(length))?;
        } else {
            reader.nul_bytes()?;
        }
        let has = |flag| capabilities.contains(flag);
        let database = reader.nul_bytes_or_rest();
        let collation = reader.u16().unwrap_or(0);
        let plugin = has(Capabilities::PLUGIN_AUTH).then(|| reader.nul_bytes_or_rest());
        let attrs = has(Capabilities::CONNECT_ATTRS).then(|| reader.lenenc_bytes());
        let attrs = attrs.and_then(Result::ok).filter(|attrs| attrs_are_whole(attrs));
        let said = |field: Option<&[u8]>| field.filter(|f| !f.is_empty()).map(<[u8]>::to_vec);
        Ok(Self {
            user,
            database: said(Some(database)),
            collation,
            plugin: said(plugin),
            connect_attrs: attrs.map(<[u8]>::to_vec),
        })
    }

    /// Appends it as a command with an empty response, for a server with `capabilities`, of which
    /// SECURE_CONNECTION is taken for granted.
    pub fn encode(&self, capabilities: Capabilities, out: &mut BytesMut) {
        frame(out, 0, |out| {
            out.put_u8(Command::ChangeUser.as_byte());
            put_nul_bytes(out, &self.user);
            out.put_u8(0);
            put_nul_bytes(out, self.database.as_deref().unwrap_or_default());
            out.put_u16_le(self.collation);
            if capabilities.contains(Capabilities::PLUGIN_AUTH) {
                put_nul_bytes(out, self.plugin.as_deref().unwrap_or_default());
            }
            if capabilities.contains(Capabilities::CONNECT_ATTRS) {
                put_lenenc_bytes(out, self.connect_attrs.as_deref().unwrap_or_default());
            }
        });
    }
}
