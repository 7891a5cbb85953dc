//! Proving who a client is, and to a backend who Weir is.
//!
//! Purpose: the password exchanges of both sides as state machines over payloads.
//! Never: do I/O, make randomness, or keep a clear password longer than its configuration does.
#![forbid(unsafe_code)]
