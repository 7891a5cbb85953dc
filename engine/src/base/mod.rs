//! Words every other module speaks: time, ids, GTIDs, slabs, bounded queues, faults.
//!
//! Purpose: the smallest shared vocabulary, so that peers need not import each other.
//! Never: a clock, a socket, a thread, an allocation that grows without a bound.
#![forbid(unsafe_code)]

mod address;
mod consistency;
mod fault;
mod gtid;
mod ids;
mod line;
mod queue;
mod slab;
mod time;

pub use address::Address;
pub use consistency::Consistency;
pub use fault::{Blame, Fault};
pub use gtid::{GTID_PARTS_MAX, GtidError, Gtids, MariaDbPosition, MySqlGtids};
pub use ids::{BackendId, ClusterId, ConnectionId, EndpointId, WorkerId};
pub use line::{Line, Ticket};
pub use queue::{BoundedQueue, Full};
pub use slab::{Key, Slab};
pub use time::Time;
