//! What a login leaves behind: enough to log in to a backend as the same user.
//!
//! Purpose: carry it from the client's side to the backend's.
//! Never: be printed.

use std::fmt;
use std::sync::Arc;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::config::{Secret, User};

/// Enough to log in to a backend as this user. `Debug` hides it. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum Proof {
    /// There is no password.
    Empty,
    /// The password is known: by the configuration, or because the client sent it. Whoever drops
    /// the account last wipes it.
    Clear(#[zeroize(skip)] Arc<User>),
    /// SHA1(password), taken out of a correct answer: `mysql_native_password` only.
    NativeStage1([u8; 20]),
    /// SHA256(password), taken out of a correct answer: `caching_sha2_password` only.
    Sha2Stage1([u8; 32]),
}

impl Proof {
    /// The account with its password, where that is known.
    #[must_use]
    pub const fn account(&self) -> Option<&Arc<User>> {
        match self {
            Self::Clear(user) => Some(user),
            Self::Empty | Self::NativeStage1(_) | Self::Sha2Stage1(_) => None,
        }
    }

    /// The password, where it is known.
    pub(crate) fn password(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Clear(user) => match &user.secret {
                Secret::Empty => Some(&[]),
                Secret::Clear(password) => Some(password),
                Secret::NativeHash(_) | Secret::Sha2Hash(_) => None,
            },
            Self::NativeStage1(_) | Self::Sha2Stage1(_) => None,
        }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Proof::Empty",
            Self::Clear(_) => "Proof::Clear(…)",
            Self::NativeStage1(_) => "Proof::NativeStage1(…)",
            Self::Sha2Stage1(_) => "Proof::Sha2Stage1(…)",
        })
    }
}
