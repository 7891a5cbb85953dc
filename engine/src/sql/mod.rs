//! SQL text, as far as a proxy must read it.
//!
//! Purpose: find in a statement what must not reach a server as it was written, what it does to its
//! connection, where it may run, and what makes it the same as others.
//! Never: parse SQL, but where a parse takes back a doubt; where the text is not surely understood, the
//! answer is "leave it alone", or "to the primary".
#![forbid(unsafe_code)]

mod classify;
mod connections;
mod digest;
mod explain;
mod findings;
mod found_rows;
mod glance;
mod lex;
mod mode;
mod pieces;
mod processlist;
mod slow;
mod state;
mod timed;
mod words;

pub use classify::{
    Class, Classified, Hints, Marks, Nodes, Reason, Role, classify, classify_fully,
};
pub use connections::{
    Finding, Known, Place, Previous, Put, find, find_with, may_name_connections, render,
};
pub use digest::{Digest, DigestInPieces, digest};
pub use explain::Explained;
pub use findings::{
    Findings, FindingsInPieces, Flags, Item, Scope, Span, Target, Value, ValueKind, unquoted,
};
pub use found_rows::FoundRows;
pub use glance::may_matter;
pub use lex::{Kind, Lexer, Token, Unsure};
pub use mode::{Charset, DoubleQuotes, LexMode, Server};
pub use pieces::{Pieces, Sink, whole};
pub use timed::timed;

#[cfg(test)]
mod tests;
