//! SQL text, as far as a proxy must read it.
//!
//! Purpose: find in a statement what must not reach a server as it was written.
//! Never: parse SQL; where the text is not surely understood, the answer is "leave it alone".
#![forbid(unsafe_code)]

mod connections;
mod lex;

pub use connections::{Finding, Place, Put, find, may_name_connections, render};
pub use lex::{Kind, Lexer, Token, Unsure};

#[cfg(test)]
mod tests;
