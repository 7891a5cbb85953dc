//! Real MariaDB and MySQL through a real Weir, with real clients, on both drivers.
//!
//! Purpose: what a user would notice. Every test starts its own Weir as a process and looks at it
//! from outside; most share one server and keep to a database of their own.
//! Never: pass without a server; the target is built only with the feature `real`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its own thread"
)]

mod blob;
mod capabilities;
mod causal;
mod causal_held;
mod causal_levels;
mod causal_load;
mod causal_outcomes;
mod causal_writes;
mod chatter;
mod classes;
mod clients;
mod commands;
mod differential;
mod drain;
mod dump;
mod explain;
mod failure;
mod fixture;
mod gtid_mode;
mod keeping;
mod leak;
mod limits;
mod load;
mod local;
mod login;
mod orm;
mod pooling;
mod processlist;
mod programs;
mod protocol;
mod proxy;
mod readers;
mod reload;
mod rules;
mod rust;
mod shapes;
mod sharing;
mod shipping;
mod split;
mod split_live;
mod stall;
mod storm;
mod tls;
mod told;
mod topology;
mod transport;
