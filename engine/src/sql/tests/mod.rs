//! Statements taken apart, and what is found in them.

mod connections;
mod digests;
mod findings;
mod lexer;
mod naive;
mod tables;
