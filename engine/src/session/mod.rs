//! A client's logical connection: what it negotiated, what it asked, what it still waits for.
//!
//! Purpose: relay between a client and the backend it was lent, command by command.
//! Never: touch a socket, choose a backend, read a clock or log; it is fed bytes and asks for things.
#![forbid(unsafe_code)]

mod causal;
mod change;
mod chatter;
mod course;
mod exchanged;
mod faults;
mod guard;
mod header;
mod ledger;
mod lending;
mod listing;
mod login;
mod owed;
mod own;
mod parting;
mod prepared;
mod processlist;
mod reading;
mod relay;
mod routing;
mod ruled;
mod shared;
mod sharing;
mod stake;
mod state;
mod statements;
mod text;
mod waits;

pub use causal::{Awaited, Demand};
pub use change::ChangeRequest;
pub use ledger::{Entry, Ledger};
pub use lending::Terms;
pub use login::{LeaseRequest, LoginContext};
pub use processlist::{Apart, Seated, Threads};
pub use routing::{Arrival, Reached};
pub use ruled::{Hold, over};
pub use state::{Action, Session, Tally};
pub use text::Thread;

#[cfg(test)]
mod tests;
