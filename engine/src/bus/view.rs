//! Sessions as people see them.
//!
//! Purpose: a worker's copy of what it knows of each, for a page.
//! Never: hold a value that a client has given a user variable, or a text.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::mpsc::Sender;

/// Which sessions are asked for, and where the answers go.
#[derive(Clone, Debug)]
pub struct SessionQuestion {
    /// The one with that id, or any.
    pub id: Option<u32>,
    /// So many at most.
    pub count_max: usize,
    /// A channel without room, or without receiver, is passed over.
    pub to: Sender<Vec<SessionView>>,
}

/// A session at one moment. The fields' names are those on the page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SessionView {
    /// As in CONNECTION_ID().
    pub id: u32,
    /// Account name, once it is known.
    pub user: Option<String>,
    /// IP address of the client; none for a unix socket.
    pub client: Option<String>,
    /// Name of the endpoint.
    pub endpoint: String,
    /// Which worker has it.
    pub worker: u16,
    /// Since it was accepted.
    pub age_seconds: u64,
    /// It has not logged in yet.
    pub is_logging_in: bool,
    /// Name of the backend it has a connection to at the moment.
    pub backend: Option<String>,
    /// The server's id of that connection.
    pub thread: Option<u32>,
    /// It waits for a connection.
    pub is_waiting: bool,
    /// A transaction is open, or will be with the next statement.
    pub in_transaction: bool,
    /// What a session has that has connections only while it needs them.
    pub shared: Option<SharedView>,
}

/// What is known of a session with `pooling = "transaction"`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SharedView {
    /// Why it keeps its connection.
    pub pins: Vec<&'static str>,
    /// The default schema.
    pub schema: String,
    /// System variables that are not as they were at the login.
    pub settings: BTreeMap<String, String>,
    /// Names of user variables that it carries.
    pub user_variables: Vec<String>,
    /// Prepared statements that are open.
    pub prepared_statements: usize,
}
