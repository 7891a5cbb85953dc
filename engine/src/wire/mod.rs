//! MySQL's bytes to typed values and back.
//!
//! Purpose: everything that knows the protocol's layouts, and nothing that knows policy.
//! Never: do I/O, keep session state, log, or panic on any bytes.
#![forbid(unsafe_code)]
