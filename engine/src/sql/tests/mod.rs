//! Statements taken apart, and what is found in them.

mod classes;
mod connections;
mod digests;
mod findings;
mod lexer;
mod naive;
mod plain;
mod tables;
