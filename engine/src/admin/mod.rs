//! What operators and their programs may ask, and what they are told.
//!
//! Purpose: a request in, a page or an answer out.
//! Never: touch a socket, or gather the figures of a page; `control` does both.
#![forbid(unsafe_code)]

mod http;
mod readiness;

pub use http::{Answer, Page, route};
pub use readiness::{Phase, readiness};
