//! What a worker starts from, and what control keeps of it.
//!
//! Purpose: let control start workers without knowing how they work.
//! Never: start anything.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::Sender;

use crate::base::WorkerId;
use crate::bus::{FromWorker, Outbox, Resources};
use crate::config::Config;
use crate::observe::Counters;
use crate::topology::Snapshot;

/// How sockets are driven, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

/// What a worker's thread starts from.
#[derive(Debug)]
pub struct Seed {
    /// Which worker it is.
    pub id: WorkerId,
    /// How it drives its sockets.
    pub driver: DriverKind,
    /// The CPU it is pinned to; `None` where pinning is not possible.
    pub cpu: Option<usize>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The picture to start with.
    pub snapshot: Arc<Snapshot>,
    /// What it shares with the other workers.
    pub resources: Arc<Resources>,
    /// Its counters; it alone writes them.
    pub counters: Arc<Counters>,
    /// One bound socket per endpoint, in the configuration's order.
    pub listeners: Vec<OwnedFd>,
    /// Where its one report goes when it ends.
    pub reports: Sender<FromWorker>,
}

/// A worker that runs.
#[derive(Debug)]
pub struct Spawned {
    /// Its mail.
    pub outbox: Outbox,
    /// The kernel's number of its thread, if it could be had.
    pub thread_number: Option<u32>,
    /// Its thread, which ends after its report.
    pub thread: JoinHandle<()>,
}
