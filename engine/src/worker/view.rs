//! What a worker says of its sessions.
//!
//! Purpose: descriptions, for people who ask.
//! Never: describe more than were asked for: a worker has other things to do.

use crate::base::Key;
use crate::bus::{SessionQuestion, SessionView, SharedView};
use crate::io::Driver;
use crate::share::Pin;
use crate::worker::Worker;
use crate::worker::entry::Entry;

impl<D: Driver> Worker<D> {
    /// Answers a question about sessions.
    pub(super) fn describe(&self, question: &SessionQuestion) {
        let views = match question.id {
            Some(id) => {
                let key = self.ids.get(&id).copied();
                let entry = key.and_then(|key| Some((key, self.sessions.get(key)?)));
                entry.into_iter().map(|(key, entry)| self.view_of(key, entry)).collect()
            }
            None => {
                let sessions = self.sessions.iter().take(question.count_max);
                sessions.map(|(key, entry)| self.view_of(key, entry)).collect()
            }
        };
        // Who asked may have stopped waiting.
        drop(question.to.try_send(views));
    }

    fn view_of(&self, key: Key, entry: &Entry) -> SessionView {
        let endpoint = self.config.endpoint(entry.endpoint);
        let backend = entry.backend.as_deref();
        let lease = backend.and_then(|backend| backend.lease());
        SessionView {
            id: entry.session.id().get(),
            user: entry.seats.user().map(text),
            client: entry.address.map(|address| address.to_string()),
            endpoint: endpoint.map_or_else(String::new, |it| it.name.clone()),
            worker: self.id.0,
            age_seconds: self.ledger.now().since(entry.accepted).as_secs(),
            is_logging_in: entry.session.is_logging_in(),
            backend: backend.map(|backend| backend.name.to_string()),
            thread: lease.map(|lease| lease.server_thread_id),
            is_waiting: entry.waiting.is_some() || self.keeps_input(key),
            in_transaction: entry.session.in_transaction(),
            shared: shared(entry),
        }
    }
}

fn shared(entry: &Entry) -> Option<SharedView> {
    let (settings, base) = (entry.session.settings()?, entry.session.base_settings()?);
    let pins = entry.session.pins();
    let held = Pin::ALL.iter().filter(|(pin, _)| pins & pin.bit() != 0);
    let changed = settings.changed_from(base);
    Some(SharedView {
        pins: held.map(|(_, name)| *name).collect(),
        schema: text(settings.schema()),
        settings: changed.map(|(name, value)| (text(name), text(value))).collect(),
        user_variables: settings.user_names().map(text).collect(),
        prepared_statements: entry.session.prepared_statements(),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
