//! What operators and their programs may ask, and what they are told.
//!
//! Purpose: a request in, a page or an answer out.
//! Never: touch a socket, or gather the figures of a page; `control` does both.
#![forbid(unsafe_code)]

mod explain;
mod http;
mod query;
mod readiness;

pub use explain::{Ask, STATEMENT_BYTES_MAX, explain};
pub use http::{Answer, Page, route};
pub use readiness::{Phase, readiness};
