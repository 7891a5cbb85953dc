//! A backend connection that belongs to nobody, as far as sessions can tell.
//!
//! Purpose: what it is set to, while it lies idle and while a session has it.
//! Never: know its socket.

use std::sync::Arc;

use bytes::BytesMut;

use crate::share::prepared::{Prepared, StatementBudget};
use crate::share::settings::Settings;
use crate::wire::Capabilities;

/// What a session is lent.
#[derive(Debug)]
pub struct Lent {
    /// What the connection is set to.
    pub settings: Arc<Settings>,
    /// What was negotiated on it.
    pub capabilities: Capabilities,
    /// LAST_INSERT_ID() there, where that is known.
    pub last_insert_id: Option<u64>,
    /// Statements that are prepared there.
    pub prepared: Prepared,
    /// Nothing is known of it any more: it is reset before anybody else gets it.
    pub is_unknown: bool,
    /// The command under way there, if it can be asked again elsewhere.
    pub copy: BytesMut,
}

impl Lent {
    /// A connection with these settings.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        capabilities: Capabilities,
        statements: StatementBudget,
    ) -> Self {
        let prepared = Prepared::new(statements);
        Self {
            settings,
            capabilities,
            last_insert_id: Some(0),
            prepared,
            is_unknown: false,
            copy: BytesMut::new(),
        }
    }
}
