//! Load for measuring proxies: a server that answers instantly, clients that ask it, and the
//! proxy process's own accounting in between.
//!
//! Purpose: make the proxy the thing measured, and check every byte it relays while doing so.
//! Never: share code with the engine; a mistake made twice would not be seen.
#![forbid(unsafe_code)]

pub mod protocol;

pub mod login;

pub mod check;

pub mod answers;

pub mod responder;

pub mod pace;

pub mod client;

pub mod generator;

pub mod process;

pub mod syscalls;

pub mod machine;

pub mod stats;

pub mod tls;
