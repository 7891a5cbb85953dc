//! Messages between the control thread and the workers.
//!
//! Purpose: the only way the two sides talk; everything large travels as an `Arc`.
//! Never: block a worker, or grow without a bound.

mod census;
mod directory;
mod hosts;
mod opener;
mod parcel;
mod permits;
mod report;
mod resources;
mod seed;
mod view;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use crate::base::WorkerId;
use crate::config::Config;
use crate::io::Waker;
use crate::topology::Snapshot;

pub use census::Census;
pub use directory::{Client, Connection, Directory, Place, Rest, Sight, Target};
pub use hosts::Hosts;
pub use opener::{NotOpened, Opener};
pub use parcel::{Contents, Parcel, Promise, Wish};
pub use permits::{Desk, Opened, Permit, Permits};
pub use report::Report;
pub use resources::{Bound, Resources, Shared};
pub use seed::{DriverKind, Seed, Spawned};
pub use view::{SessionQuestion, SessionView, SharedView};

/// Messages one worker may have waiting. Snapshots are the only frequent ones, a few a second.
const WAITING_MAX: usize = 256;

/// What control tells a worker.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// The configuration changed, and with it all that depends on it.
    Config(NewConfig),
    /// The picture changed.
    Snapshot(Arc<Snapshot>),
    /// Accept no more; end every session when it is at rest, at the latest after this long.
    Drain(Duration),
    /// Say how things stand. A channel without room, or without receiver, is passed over.
    Report(Sender<Box<Report>>),
    /// Describe sessions.
    Sessions(SessionQuestion),
}

/// A configuration with the picture and the resources made for it: ids in the picture are positions
/// in the configuration, so that neither may be used without the other.
#[derive(Clone, Debug)]
pub struct NewConfig {
    /// The configuration.
    pub config: Arc<Config>,
    /// The picture of its backends.
    pub snapshot: Arc<Snapshot>,
    /// What all workers share.
    pub resources: Arc<Resources>,
}

/// What a worker tells control.
#[derive(Debug)]
pub enum FromWorker {
    /// The worker's last session is over, after [`ToWorker::Drain`]: its last figures.
    Drained(WorkerId, Box<Report>),
    /// The worker cannot go on.
    Failed(WorkerId, std::io::Error),
}

/// The worker's end.
#[derive(Debug)]
pub struct Inbox(Receiver<ToWorker>);

/// Control's end: sends and wakes the worker.
#[derive(Clone, Debug)]
pub struct Outbox {
    sender: SyncSender<ToWorker>,
    waker: Waker,
}

/// A message could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The worker has not taken its last messages yet; send again later.
    Busy,
    /// The worker has ended.
    Gone,
}

/// The two ends of one worker's mail; `waker` belongs to the worker's driver.
#[must_use]
pub fn mail(waker: Waker) -> (Outbox, Inbox) {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    (Outbox { sender, waker }, Inbox(receiver))
}

impl Outbox {
    /// Sends without waiting.
    ///
    /// # Errors
    /// [`SendError::Busy`] when the queue is full, [`SendError::Gone`] when the worker ended.
    pub fn send(&self, message: ToWorker) -> Result<(), SendError> {
        self.sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => SendError::Busy,
            TrySendError::Disconnected(_) => SendError::Gone,
        })?;
        self.waker.wake();
        Ok(())
    }
}

impl Inbox {
    /// The next message, if any.
    #[must_use]
    pub fn next(&self) -> Option<ToWorker> {
        self.0.try_recv().ok()
    }
}
