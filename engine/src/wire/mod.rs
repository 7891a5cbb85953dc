//! MySQL's bytes to typed values and back.
//!
//! Purpose: everything that knows the protocol's layouts, and nothing that knows policy.
//! Parsers take one whole payload, without the four bytes of its frame header; encoders append
//! whole frames.
//! Never: do I/O, keep session state, log, or panic on any bytes.
#![forbid(unsafe_code)]

mod attributes;
mod capability;
mod change_user;
mod command;
pub mod compress;
mod edit;
mod error;
pub mod frame;
mod handshake;
mod login;
mod ok;
mod prepared;
pub mod proxy;
mod reader;
pub mod reply;
pub mod request;
mod status;
mod tracker;
mod writer;

pub use attributes::query_text_at;
pub use capability::Capabilities;
pub use change_user::ChangeUser;
pub use command::Command;
pub use edit::{Edit, Edits, Side};
pub use error::{ErrPacket, code, fault, sqlstate};
pub use handshake::{AuthMoreData, AuthSwitch, Greeting, NONCE_LEN};
pub use login::{LoginRequest, SslRequest, ZSTD_LEVEL_DEFAULT};
pub use ok::{EofPacket, OkPacket, encode_eof};
pub use prepared::{
    Bound, Execution, PrepareOk, execution_has_cursor, set_statement_id, statement_id, with_types,
};
pub use reader::{Malformed, Reader};
pub use status::Status;
pub use tracker::{Tracker, Trackers};
pub use writer::{frame, put_lenenc_bytes, put_lenenc_int, put_nul_bytes, put_u24};

#[cfg(test)]
mod tests;
