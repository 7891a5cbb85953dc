//! What an operator wants to hear of.
//!
//! Purpose: name what an observation changed, once.
//! Never: log it; the control thread does.

use std::sync::Arc;

use crate::config::Role;
use crate::topology::survey::Question;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The backend answers, again or as another server.
    Answers(Arc<str>),
    /// The backend does not answer any more.
    Silent(Arc<str>),
    /// The backend's role in force is another one.
    Role(Arc<str>, Role),
    /// Replication runs again.
    Replicates(Arc<str>),
    /// A thread of replication does not run, and what the server says of it.
    Stopped(Arc<str>, Box<str>),
    /// The backend does not answer a question.
    Refused {
        /// Its name.
        backend: Arc<str>,
        /// Which question.
        question: Question,
        /// What the monitor account lacks, if that is the reason.
        grant: Option<String>,
        /// The server's words.
        message: String,
    },
    /// No server of the cluster takes writes.
    NoPrimary(Arc<str>),
    /// More than one does.
    TwoPrimaries {
        /// The cluster.
        cluster: Arc<str>,
        /// The one that is used.
        primary: Arc<str>,
        /// The first of the others.
        other: Arc<str>,
    },
}
