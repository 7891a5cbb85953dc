//! Backend connections: logging in to them and lending them to sessions.
//!
//! Purpose: what a backend connection is between its connect and its end, without its socket.
//! Never: open a socket, keep a clock, or know a client.
#![forbid(unsafe_code)]

mod change;
mod init;
mod lease;
mod login;
mod ping;
mod recycle;
mod shelf;

pub use change::{BackendChange, ChangeStep};
pub use init::{InitError, InitQuery};
pub use lease::Lease;
pub use login::{BackendLogin, Established, LoginError, LoginStep, TlsWish};
pub use ping::Ping;
pub use recycle::{Identity, NoAnswer, Opening, Recycle, RecycleStep};
pub use shelf::{Keep, PoolKey, Shelf, Times};
