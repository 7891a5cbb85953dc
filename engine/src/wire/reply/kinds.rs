//! What a reply walk is told and what it tells.
//!
//! Purpose: the shapes of replies, what two sides agreed on, and what bytes came to.
//! Never: hold bytes.

use crate::wire::Capabilities;
use crate::wire::reader::Malformed;

/// The shape of the reply a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// One OK, EOF or ERR.
    Ok,
    /// OK, ERR, a file request, or result sets.
    Query,
    /// A statement header with parameter and column definitions, or ERR.
    Prepare,
    /// Column definitions up to an EOF, or ERR.
    FieldList,
    /// Rows up to an EOF, or ERR.
    Fetch,
    /// One frame of text.
    Statistics,
    /// Frames without end (binlog), up to an EOF or ERR.
    Stream,
    /// Nothing was asked: a server that is about to close the connection says why in an ERR.
    Unasked,
}

/// What the two sides of a session negotiated, as far as replies differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The client's capabilities.
    pub client: Capabilities,
    /// The backend's capabilities.
    pub backend: Capabilities,
}

/// What a reply came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyEvent {
    /// The reply is complete; `failed` when it ended in an ERR.
    End {
        /// An ERR ended it.
        failed: bool,
    },
    /// The backend asks for a local file: the client sends data frames up to an empty one, then
    /// the reply goes on.
    LocalInfile,
}

/// Why bytes of a backend are not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A control frame above [`super::CONTROL_BYTES_MAX`].
    TooLong,
    /// A control frame that does not parse.
    Malformed(Malformed),
    /// A sequence id that is not the one after the last.
    OutOfOrder,
}

impl From<Malformed> for ReplyError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// How far a [`super::ReplyWalk::feed`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Bytes of the input that were used, all of them unless there is an event.
    pub used: usize,
    /// What happened after those bytes.
    pub event: Option<ReplyEvent>,
}
