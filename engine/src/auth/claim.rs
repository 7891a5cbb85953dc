//! Who a client says it is, and what is known of that account.
//!
//! Purpose: everything the exchange with a client depends on, gathered before it begins.
//! Never: ask anybody; the session fills it in.

use std::sync::Arc;

use crate::auth::rsa_key::RsaKey;
use crate::config::User;

/// The account a client names.
#[derive(Clone, Debug)]
pub enum Account {
    /// An account of the configuration.
    Listed(Arc<User>),
    /// Not of the configuration: the backend decides.
    PassThrough,
    /// Nobody that may log in, whatever the client knows.
    Nobody,
}

/// How a client can be asked for its password itself.
#[derive(Clone, Debug, Default)]
pub enum Channel {
    /// It cannot: others may listen, and there is no key to seal it for.
    #[default]
    Open,
    /// Others may listen: sealed for this key.
    Sealed(Arc<RsaKey>),
    /// Nobody can listen, as in TLS or a unix socket: as it is.
    Secure,
}

/// A client's claim to an account.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The account.
    pub account: Account,
    /// The account with its password, where the configuration does not have that and a client has
    /// told it before.
    pub remembered: Option<Arc<User>>,
    /// How the client can be asked for its password.
    pub channel: Channel,
    /// Whoever gives a wrong answer is asked for its password, so that accounts of the configuration
    /// and others look the same.
    pub asks_all: bool,
}

impl Claim {
    /// A claim to a user, or to nobody, of which nothing is remembered, by a client that is not
    /// asked for its password.
    #[must_use]
    pub fn of(user: Option<Arc<User>>) -> Self {
        let account = user.map_or(Account::Nobody, Account::Listed);
        Self { account, remembered: None, channel: Channel::Open, asks_all: false }
    }
}
