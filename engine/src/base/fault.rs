//! What went wrong with a session, in the terms every layer needs.
//!
//! Purpose: answer whose fault it was and which error the client may see.
//! Never: carry server internals or secrets to a client.

use std::borrow::Cow;

/// Who is to blame. Each has its own counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The client broke the protocol or went away.
    Client,
    /// The backend broke the protocol, refused or went away.
    Backend,
    /// A limit of the configuration was reached.
    Limit,
    /// An impossible state of Weir itself: closes the session and fails tests.
    Bug,
}

/// The end of a session, and what to tell its client where the protocol allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who is to blame.
    pub blame: Blame,
    /// MySQL error number.
    pub code: u16,
    /// SQLSTATE, five characters.
    pub sqlstate: [u8; 5],
    /// Text the client may see.
    pub message: Cow<'static, str>,
}
