//! From TOML text to a checked [`Config`].
//!
//! Purpose: accept a file as a whole or report everything wrong with it at once.
//! Never: read a file, an environment or a clock; callers hand in text and a [`Lookup`].
#![forbid(unsafe_code)]

mod address;
mod check;
mod default;
mod diff;
mod expand;
mod found;
mod fuzz;
mod init_query;
mod network;
mod page;
mod problem;
mod raw;
mod routing;
mod rule;
mod secret;
mod tls;
mod types;
mod user;
mod words;

pub use check::parse;
pub use diff::{Diff, diff};
pub use found::{Found, with_found};
pub use fuzz::fuzz;
pub use network::Network;
pub use page::{reference, sample};
pub use problem::Problem;
pub use routing::{Policy, PrimaryReads, Routing};
pub use rule::{Pattern, Rule, RuleAction, RuleLimit, RuleMatch, RuleTarget};
pub use tls::{BackendTls, Certificates, EndpointTls, Identity, PrivateKey, TlsMode};
pub use types::{
    Admin, Backend, BackendCompression, ClientCompression, Cluster, Config, DriverChoice, Endpoint,
    EndpointAuth, EndpointMode, Limits, Log, LogFormat, LogLevel, Monitor, Pool, Pooling, Role,
    Secret, User, UserRules, Workers,
};

use std::net::IpAddr;

/// What a configuration may refer to outside of itself. Asked only while a text is parsed.
pub trait Lookup {
    /// The content of an environment variable; `None` when it is not set.
    fn variable(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    /// Why it cannot be read, for the person who named it.
    fn file(&self, path: &str) -> Result<String, String>;

    /// The addresses of a host name, preferred ones first.
    ///
    /// # Errors
    /// Why there are none, for the person who named it.
    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String>;
}

/// A [`Lookup`] that finds nothing but `localhost`: for tests, simulation and texts that stand
/// for themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Lookup for Offline {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn file(&self, _path: &str) -> Result<String, String> {
        Err("there are no files here".to_owned())
    }

    fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if host == "localhost" {
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        } else {
            Err("there is no name service here".to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
