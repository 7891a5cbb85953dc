//! What a worker keeps per session.
//!
//! Purpose: tie a session to its client's and its backend's connection.
//! Never: hold bytes; those are in the driver or nowhere.

use crate::base::{BackendId, EndpointId, Time};
use crate::io::{ConnId, RecvMode};
use crate::pool::{BackendLogin, Lease};
use crate::session::Session;
use crate::wire::Side;

/// A session and its connections.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Session,
    pub(super) endpoint: EndpointId,
    pub(super) client: Link,
    pub(super) backend: Option<BackendLink>,
    /// Position in the worker's list of logins in progress.
    pub(super) login_slot: Option<usize>,
}

/// One connection of a session.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    /// How it receives while nothing holds it back.
    pub(super) mode: RecvMode,
    /// Receiving is stopped because the other side does not take bytes fast enough.
    pub(super) held_back: bool,
    /// Full small buffers received in a row.
    pub(super) full_in_a_row: u8,
}

/// The backend's side of a session.
#[derive(Debug)]
pub(super) struct BackendLink {
    pub(super) link: Link,
    pub(super) id: BackendId,
    pub(super) connected: bool,
    pub(super) stage: Stage,
}

/// How far a backend connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Connecting or logging in, to be over by then.
    Login(Box<BackendLogin>, Time),
    /// Lent to the session.
    Leased(Lease),
}

impl Link {
    pub(super) const fn new(conn: ConnId) -> Self {
        Self { conn, mode: RecvMode::Small, held_back: false, full_in_a_row: 0 }
    }
}

impl Entry {
    pub(super) fn link(&self, side: Side) -> Option<&Link> {
        match side {
            Side::Client => Some(&self.client),
            Side::Backend => self.backend.as_ref().map(|backend| &backend.link),
        }
    }

    pub(super) fn link_mut(&mut self, side: Side) -> Option<&mut Link> {
        match side {
            Side::Client => Some(&mut self.client),
            Side::Backend => self.backend.as_mut().map(|backend| &mut backend.link),
        }
    }
}
