//! From TOML text to a checked [`Config`].
//!
//! Purpose: accept a file as a whole or report everything wrong with it at once.
//! Never: read a file, an environment or a clock; callers hand in text.
#![forbid(unsafe_code)]

mod types;

pub use types::{
    Backend, Cluster, Config, DriverChoice, Endpoint, EndpointMode, Limits, Log, LogFormat,
    LogLevel, Monitor, Pooling, Role, Secret, User, Workers,
};
