//! What sessions ask for after their login: other connections' threads, another account.
//!
//! Purpose: fetch what only a worker has, drive the change on the backend connection, and let the
//! session go on.
//! Never: wait; the client's later commands are kept by the session meanwhile.

use bytes::BytesMut;

use crate::auth::BackendAuth;
use crate::base::{EndpointId, Fault, Key};
use crate::bus::Target;
use crate::io::Driver;
use crate::observe::Counter;
use crate::pool::{BackendChange, ChangeStep, LoginError};
use crate::session::{ChangeRequest, LoginContext, Thread};
use crate::wire::{Side, code};
use crate::worker::Worker;
use crate::worker::entry::Stage;
use crate::worker::traffic::Input;

impl<D: Driver> Worker<D> {
    /// Looks up where other connections are, for a KILL.
    pub(super) fn find_threads(&mut self, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let directory = &self.resources.directory;
        let own = directory.find(entry.session.id().get()).map(|place| place.server);
        let ids = entry.session.threads_asked_for();
        let asker = entry.seats.user().unwrap_or_default().to_vec();
        let threads: Vec<Thread> = ids
            .iter()
            .map(|id| match directory.aim_at(*id, &asker) {
                None => Thread::Unknown,
                Some(Target::At(place)) if Some(&place.server) == own.as_ref() => {
                    Thread::Here(place.thread)
                }
                Some(Target::At(_)) => Thread::Elsewhere,
                Some(Target::Apart { is_own }) => Thread::Apart { is_own },
            })
            .collect();
        self.edits.clear();
        let decided = entry.session.on_threads(&threads, &mut self.edits, &mut self.ledger);
        if let Ok((_, Some(killed))) = &decided {
            directory.kill(*killed);
        }
        self.go_on(key, decided.map(|(rest, _)| rest));
    }

    /// Lets a session ask its client who it is now.
    pub(super) fn identify(&mut self, key: Key) {
        let Some(entry) = self.sessions.get(key) else { return };
        let (endpoint, address, id) = (entry.endpoint, entry.address, entry.session.id());
        let is_encrypted = entry.client.is_encrypted();
        let context = self.login_context(endpoint, address, id);
        let accounts = self.accounts_of(key);
        let context = context.map(|context| {
            let is_secure = context.is_secure || is_encrypted;
            LoginContext { accounts, is_secure, ..context }
        });
        self.edits.clear();
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let asked = context.and_then(|context| entry.session.on_identity(context, &mut self.edits));
        self.watch(key);
        self.send_edits(key);
        match asked {
            Ok(()) => self.act(key),
            Err(fault) => self.fail(key, &fault),
        }
    }

    /// Changes the account on a session's backend connection, or resets it.
    pub(super) fn change_user(&mut self, key: Key, request: ChangeRequest) {
        if let Some((command, _)) = &request.user
            && let Err(fault) = self.take_seat(key, &command.user)
        {
            self.fail(key, &fault);
            return;
        }
        let next = request.user.as_ref().map(|(command, _)| command.user.as_slice());
        let own = self.sessions.get(key).and_then(|entry| entry.seats.user());
        let endpoint = self.sessions.get(key).map_or(EndpointId(0), |entry| entry.endpoint);
        let read_only = next.or(own).is_some_and(|name| self.is_read_only(endpoint, name));
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        let Some(lease) = backend.lease().copied() else { return };
        let mut out = BytesMut::new();
        let change = match request.user {
            Some((command, proof)) => {
                let secure = backend.link.is_encrypted() || backend.address.is_unix();
                let auth = BackendAuth::new(proof, secure, self.nonces.seed());
                BackendChange::user(&command, auth, lease.capabilities, &mut out)
            }
            None => {
                if request.is_denied {
                    self.counters.increment(Counter::LoginsDenied);
                }
                BackendChange::reset(&mut out)
            }
        };
        let change = change
            .with_read_only(read_only.then_some(lease.capabilities))
            .with_init(backend.init.clone(), lease.capabilities);
        backend.stage = Stage::Changing(Box::new(change), lease);
        self.send_to_backend(key, &out);
    }

    pub(super) fn on_backend_change(&mut self, key: Key, bytes: &[u8]) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        let Stage::Changing(change, lease) = &mut backend.stage else { return };
        let lease = *lease;
        let mut out = BytesMut::new();
        let step = change.on_bytes(bytes, &mut out);
        self.send_to_backend(key, &out);
        if let ChangeStep::Failed(error) = step {
            if matches!(error, LoginError::Init(_)) {
                self.counters.increment(Counter::BackendInitFailures);
            }
            if !self.deny_stranger(key, &error) {
                let text = if let LoginError::Init(error) = &error {
                    error.to_string()
                } else {
                    format!("cannot change the account on it: {error}")
                };
                self.fail_backend(key, code::UNKNOWN_ERROR, &text);
            }
            return;
        }
        self.edits.clear();
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let Some(backend) = &mut entry.backend else { return };
        let changed = matches!(step, ChangeStep::Done(_));
        let rest = match step {
            ChangeStep::Wait | ChangeStep::Failed(_) => return,
            ChangeStep::Done(ok) => {
                backend.stage = Stage::Leased(lease);
                entry.session.on_user_changed(&ok, &mut self.edits, &mut self.ledger)
            }
            ChangeStep::Refused(err) => {
                backend.stage = Stage::Leased(lease);
                entry.session.on_user_refused(&err, &mut self.edits, &mut self.ledger)
            }
        };
        self.settle_seat(key, changed);
        if let Some(entry) = self.sessions.get_mut(key)
            && let Some(user) = entry.seats.user()
        {
            entry.session.set_user(user);
        }
        self.tell_positions(key);
        self.login_over(key);
        self.go_on(key, rest);
    }

    /// Sends what a session wrote, then feeds it what its client sent meanwhile.
    pub(super) fn go_on(&mut self, key: Key, rest: Result<BytesMut, Fault>) {
        self.send_edits(key);
        if let Some(entry) = self.sessions.get(key) {
            self.book(entry.endpoint);
        }
        match rest {
            Ok(rest) if rest.is_empty() => {
                self.act(key);
                if self.draining {
                    self.end_if_at_rest(key);
                }
            }
            Ok(mut rest) => {
                self.act(key);
                self.feed(key, Side::Client, Input::Decoded(&mut rest));
            }
            Err(fault) => self.fail(key, &fault),
        }
    }

    /// A session has failed while its client sends a file: its backend is not needed any more, and
    /// the client is read on for a while.
    pub(super) fn part(&mut self, key: Key) {
        self.watch(key);
        let Some(entry) = self.sessions.get(key) else { return };
        self.resources.directory.remove(entry.session.id());
        self.drop_backend(key);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        // Nothing is held back for it any more.
        entry.client.held_by.set(Side::Backend, false);
        if entry.client.held_by.is_empty() {
            self.driver.set_recv(entry.client.conn, entry.client.mode);
        }
    }
}
