//! Which server of a cluster a statement goes to.
//!
//! Purpose: from what a session needs, and the picture of the servers, to one of them.
//! Never: be hopeful: a server of which something is not known gets no read that may go elsewhere.
#![forbid(unsafe_code)]

mod aim;
mod balance;
mod draw;
mod field;
mod limit;
mod positions;
mod rules;
mod splits;
mod why;

pub use aim::{Aim, Wish};
pub use balance::{Asked, Balance, Load, NoServer};
pub use draw::{Able, Among, Draw, Miss};
pub use field::{Candidate, Field, Unfit};
pub use limit::{Bell, Bucket, Gate, Joined, Slot, Turn};
pub use positions::{Fresh, Poll, Polled, Positions, Stamp, WRITTEN_PARTS_MAX};
pub use rules::{Asker, Decision, Ends, RULED_BYTES_MAX, Rule, Rules, Statement, Step};
pub use splits::{CLASSIFY_BYTES_MAX, Mode, Splits};
pub use why::Why;
