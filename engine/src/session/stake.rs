//! What a backend's verdict on a login means for the memory of passwords.
//!
//! Purpose: find what is known of an account before its client proves it, and learn from the backend
//! afterwards.
//! Never: remember a password that no backend has taken.

use std::sync::Arc;

use crate::auth::{Account, Channel, Claim, ClientAuth, Proof, Remembered, Retention};
use crate::base::{Fault, Time};
use crate::config::{Config, Secret, User};
use crate::session::login::{LoginContext, access_denied};
use crate::wire::code;

impl LoginContext {
    /// What is known of the account a client names.
    pub(super) fn claim(&self, name: &[u8]) -> Claim {
        let channel = match &self.rsa_key {
            _ if self.is_secure => Channel::Secure,
            Some(key) => Channel::Sealed(Arc::clone(key)),
            None => Channel::Open,
        };
        let asks_all = self.pass_through;
        let user = self.config.user(name);
        if user.is_some_and(|user| !user.may_come_from(self.client, self.is_local)) {
            return Claim { account: Account::Nobody, remembered: None, channel, asks_all };
        }
        let Some(user) = user else {
            let remembered = if self.pass_through {
                self.remembered.recall(self.cluster_name(), name, self.now)
            } else {
                None
            };
            let account = if self.pass_through { Account::PassThrough } else { Account::Nobody };
            return Claim { account, remembered, channel, asks_all };
        };
        let remembered = match &user.secret {
            Secret::Empty | Secret::Clear(_) => None,
            secret @ (Secret::NativeHash(_) | Secret::Sha2Hash(_)) => {
                self.remembered.recall_for(self.cluster_name(), name, secret, self.now)
            }
        };
        Claim { account: Account::Listed(Arc::clone(user)), remembered, channel, asks_all }
    }

    fn cluster_name(&self) -> &str {
        self.config.cluster(self.cluster).map_or("", |cluster| &cluster.name)
    }
}

/// An account whose password was told by a client, now or before, or that only the backend knows.
#[derive(Debug)]
pub(super) struct Stake {
    remembered: Arc<Remembered>,
    config: Arc<Config>,
    cluster: String,
    name: Vec<u8>,
    /// The account with its password, if it has one.
    account: Option<Arc<User>>,
    now: Time,
    /// The password was told now.
    is_new: bool,
    /// What is said in place of a backend's refusal, which names Weir's host and not the client's.
    denied: Option<Fault>,
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
        let user = context.config.user(name);
        let account = proof.account();
        let is_told =
            account.is_some_and(|account| user.is_none_or(|user| !Arc::ptr_eq(user, account)));
        let denied = user.is_none().then(|| access_denied(context, name, auth.used_password()));
        (is_told || denied.is_some()).then(|| {
            Box::new(Self {
                remembered: Arc::clone(&context.remembered),
                config: Arc::clone(&context.config),
                cluster: context.cluster_name().to_owned(),
                name: name.to_vec(),
                account: account.cloned(),
                now: context.now,
                is_new: auth.has_told(),
                denied,
            })
        })
    }

    /// The backend let the account in.
    pub(super) fn accepted(&self) {
        if let Some(account) = &self.account
            && self.is_new
        {
            let limits = &self.config.limits;
            let retention = Retention {
                len_max: limits.remembered_users_max,
                keep: limits.remembered_users_keep,
            };
            self.remembered.remember(&self.cluster, &self.name, account, self.now, retention);
        }
    }

    /// What is said of an account that only the backend knows, when it cannot be proven there: MySQL
    /// asks clients of accounts it does not have for plugins by chance.
    pub(super) const fn denied(&self) -> Option<&Fault> {
        self.denied.as_ref()
    }

    /// The backend refused the account with that error. What the client is told, if not the same.
    pub(super) fn refused(&self, error: u16) -> Option<&Fault> {
        if !matches!(error, code::ACCESS_DENIED_ERROR | code::ACCESS_DENIED_NO_PASSWORD_ERROR) {
            return None;
        }
        if let Some(account) = &self.account {
            self.remembered.forget(&self.cluster, &self.name, account);
        }
        self.denied.as_ref()
    }
}
