//! The authentication plugins Weir speaks.
//!
//! Purpose: their names, and the facts about their answers that both sides need.
//! Never: name one that Weir cannot check and answer.

use crate::config::Secret;

/// An authentication plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plugin {
    /// `mysql_native_password`: SHA-1, all MariaDB and MySQL before 9.0.
    NativePassword,
    /// `caching_sha2_password`: SHA-256, MySQL from 8.0.
    CachingSha2,
}

impl Plugin {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NativePassword => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
        }
    }

    /// The plugin of that name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::NativePassword, Self::CachingSha2]
            .into_iter()
            .find(|plugin| plugin.name().as_bytes() == name)
    }

    /// Whether an answer of this plugin can be checked against `secret`.
    #[must_use]
    pub const fn fits(self, secret: &Secret) -> bool {
        match secret {
            Secret::Empty | Secret::Clear(_) => true,
            Secret::NativeHash(_) => matches!(self, Self::NativePassword),
            Secret::Sha2Hash(_) => matches!(self, Self::CachingSha2),
        }
    }

    /// Whether an answer looks like one of this plugin: no password, or a scramble's length.
    pub(crate) fn could_have_made(self, answer: &[u8]) -> bool {
        self.says_no_password(answer)
            || match self {
                Self::NativePassword => answer.len() == 20,
                Self::CachingSha2 => answer.len() == 32,
            }
    }

    /// Whether an answer says that there is no password. MySQL's client sends a zero byte for it
    /// with `caching_sha2_password`, others send nothing.
    pub(crate) fn says_no_password(self, answer: &[u8]) -> bool {
        match self {
            Self::NativePassword => answer.is_empty(),
            Self::CachingSha2 => matches!(answer, [] | [0]),
        }
    }
}

/// `caching_sha2_password`: the scramble was right, an OK follows.
pub(crate) const FAST_AUTH_OK: u8 = 0x03;

/// `caching_sha2_password`: the server wants the password itself.
pub(crate) const FULL_AUTH_WANTED: u8 = 0x04;

/// `caching_sha2_password`: the client wants the server's RSA key.
pub(crate) const KEY_REQUEST: u8 = 0x02;
