//! Weir: a MySQL and MariaDB proxy.
//!
//! Modules in reading order, lowest layer first; each imports only from lower ranks
//! (ARCHITECTURE.md has the table, `cargo xtask tidy` enforces it).

pub mod base;

pub mod wire;

pub mod sql;

pub mod share;

pub mod config;

pub mod observe;

pub mod io;

pub mod tls;

pub mod auth;

pub mod topology;

pub mod route;

pub mod pool;

pub mod session;

pub mod bus;

pub mod admin;

pub mod worker;

pub mod control;

pub mod fuzz;

#[cfg(test)]
mod testdata;
