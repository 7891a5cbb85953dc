//! A backend connection in the hands of one session.
//!
//! Purpose: say which server, which of its threads, and what was negotiated there.
//! Never: outlive the session that holds it (sessions do not share connections yet).

use crate::base::BackendId;
use crate::wire::Capabilities;

/// A backend connection lent to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The server.
    pub backend: BackendId,
    /// The server's own id of the connection, as its process list shows it.
    pub server_thread_id: u32,
    /// What was negotiated with the server.
    pub capabilities: Capabilities,
}
