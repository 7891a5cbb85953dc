//! Proving who a client is, and to a backend who Weir is.
//!
//! Purpose: the password exchanges of both sides as state machines over payloads.
//! Never: do I/O, make randomness, or keep a password that a client told longer than the
//! configuration allows.
//! `mysql_clear_password` is never asked for and never answered.
#![forbid(unsafe_code)]

mod backend;
mod claim;
mod client;
mod plugin;
mod proof;
mod remembered;
mod rsa_key;
mod scramble;
mod seed;

pub use backend::{AuthError, BackendAuth, BackendStep};
pub use claim::{Account, Channel, Claim};
pub use client::{ClientAuth, ClientStep};
pub use plugin::Plugin;
pub use proof::Proof;
pub use remembered::{Remembered, Retention};
pub use rsa_key::{KeyError, RsaKey, Sealed};
pub use seed::Seed;

#[cfg(test)]
mod tests;
