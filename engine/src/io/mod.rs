//! The kernel's edge: connections, buffers, timers and wake-ups behind one completion contract.
//!
//! Purpose: give workers bytes and take bytes from them, with as few system calls as possible.
//! Never: know about MySQL, sessions or policy.
//!
//! Read [`driver`](Driver) first: the contract. `uring` and `epoll` fulfil it with the kernel,
//! `fake` with a simulated network.
#![expect(unsafe_code, reason = "rings, receive buffers and raw sockets; see each SAFETY note")]

mod buf;
mod choose;
mod clock;
mod driver;
mod epoll;
mod fake;
mod listen;
mod options;
mod out;
mod process;
mod socket;
#[cfg(test)]
mod suite;
mod sys;
mod timer;
mod uring;
mod wake;

pub use buf::{BufferSizes, Chunk, Pool};
pub use choose::{Choice, Preference, choose};
pub use driver::{CloseMode, ConnId, Driver, DriverStats, EndReason, Event, RecvMode, Token};
pub use epoll::Epoll;
pub use fake::{Fake, FakeNet, FakePeer, Faults, PeerRead};
pub use listen::{bind, unbind};
pub use options::DriverOptions;
pub use process::{raise_open_files, random, thread_number};
pub use socket::Socket;
pub use uring::{Features, Unavailable, Uring, probe_uring};
pub use wake::Waker;
