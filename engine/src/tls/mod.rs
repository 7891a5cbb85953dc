//! TLS as bytes in, bytes out.
//!
//! Purpose: certificates and keys of the configuration made ready for use, and the encryption of
//! one connection toward a client or a server, by rustls with ring.
//! Never: own a socket, wait, or log. Random bytes, and the date that certificates and tickets are
//! held against, are rustls' own affair.
//!
//! Reading order: `context` (what is made of a configuration), `stream` (one connection), `error`,
//! `verify` and `names` (other sides' certificates), `choose` (ours), `self_signed`.
#![forbid(unsafe_code)]

mod choose;
mod context;
mod error;
mod names;
mod self_signed;
mod stream;
mod verify;

pub use context::{ClientContext, Contexts, ServerContext};
pub use error::TlsError;
pub use names::CertificateNames;
pub use self_signed::SelfSigned;
pub use stream::Stream;

#[cfg(test)]
mod tests;
