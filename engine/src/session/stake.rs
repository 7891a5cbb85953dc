//! What a backend's verdict on a login means for the memory of passwords.
//!
//! Purpose: find what is known of an account before its client proves it, and learn from the backend
//! afterwards.
//! Never: remember a password that no backend has taken.

use std::sync::Arc;

use crate::auth::{Account, Channel, Claim, ClientAuth, Proof, Remembered, Retention};
use crate::base::Time;
use crate::config::{Config, Secret, User};
use crate::session::login::LoginContext;
use crate::wire::code;

impl LoginContext {
    /// What is known of the account a client names.
    pub(super) fn claim(&self, name: &[u8]) -> Claim {
        let channel = match &self.rsa_key {
            _ if self.is_secure => Channel::Secure,
            Some(key) => Channel::Sealed(Arc::clone(key)),
            None => Channel::Open,
        };
        let Some(user) = self.config.user(name) else {
            return Claim { account: Account::Nobody, remembered: None, channel };
        };
        let remembered = match &user.secret {
            Secret::Empty | Secret::Clear(_) => None,
            secret @ (Secret::NativeHash(_) | Secret::Sha2Hash(_)) => {
                self.remembered.recall_for(self.cluster_name(), name, secret, self.now)
            }
        };
        Claim { account: Account::Listed(Arc::clone(user)), remembered, channel }
    }

    fn cluster_name(&self) -> &str {
        self.config.cluster(self.cluster).map_or("", |cluster| &cluster.name)
    }
}

/// An account whose password was told by a client, now or before.
#[derive(Debug)]
pub(super) struct Stake {
    remembered: Arc<Remembered>,
    config: Arc<Config>,
    cluster: String,
    name: Vec<u8>,
    account: Arc<User>,
    now: Time,
    /// It was told now.
    is_new: bool,
}

impl Stake {
    /// What is at stake when a backend judges this proof; nothing for a password that the
    /// configuration has.
    pub(super) fn of(
        context: &LoginContext,
        auth: &ClientAuth,
        name: &[u8],
        proof: &Proof,
    ) -> Option<Box<Self>> {
        let account = proof.account()?;
        let is_configured =
            context.config.user(name).is_some_and(|user| Arc::ptr_eq(user, account));
        (!is_configured).then(|| {
            Box::new(Self {
                remembered: Arc::clone(&context.remembered),
                config: Arc::clone(&context.config),
                cluster: context.cluster_name().to_owned(),
                name: name.to_vec(),
                account: Arc::clone(account),
                now: context.now,
                is_new: auth.has_told(),
            })
        })
    }

    /// The backend let the account in.
    pub(super) fn accepted(&self) {
        if self.is_new {
            let limits = &self.config.limits;
            let retention = Retention {
                len_max: limits.remembered_users_max,
                keep: limits.remembered_users_keep,
            };
            let Self { cluster, name, account, .. } = self;
            self.remembered.remember(cluster, name, account, self.now, retention);
        }
    }

    /// The backend refused the account with that error.
    pub(super) fn refused(&self, error: u16) {
        if matches!(error, code::ACCESS_DENIED_ERROR | code::ACCESS_DENIED_NO_PASSWORD_ERROR) {
            self.remembered.forget(&self.cluster, &self.name, &self.account);
        }
    }
}
