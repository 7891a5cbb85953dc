//! Faults of both sides of a session.
//!
//! Purpose: each with its words, in one place.
//! Never: decide what a fault ends.

use crate::base::{Blame, Fault};
use crate::wire::reply::ReplyError;
use crate::wire::{ErrPacket, code, fault};

/// The client numbered a packet wrongly, before or after its login.
pub(super) fn out_of_order() -> Fault {
    fault(Blame::Client, code::NET_PACKETS_OUT_OF_ORDER, "Got packets out of order")
}

pub(super) fn unexpected(what: &str) -> Fault {
    fault(Blame::Bug, code::UNKNOWN_ERROR, format!("weir: {what} came unasked"))
}

pub(super) fn not_a_reply(error: ReplyError) -> Fault {
    let text = match error {
        ReplyError::TooLong => "weir: the backend sent a status packet above 1 MiB".to_owned(),
        ReplyError::Malformed(malformed) => format!("weir: the backend sent a {malformed}"),
        ReplyError::OutOfOrder => "weir: the backend sent packets out of order".to_owned(),
    };
    fault(Blame::Backend, code::MALFORMED_PACKET, text)
}

/// The server's own words, in answer to the command it kept from running.
pub(super) fn told(err: &[u8]) -> Fault {
    match ErrPacket::parse(err) {
        Ok(packet) => packet.to_fault(Blame::Client),
        Err(malformed) => not_a_reply(ReplyError::Malformed(malformed)),
    }
}

pub(super) fn too_far_ahead() -> Fault {
    fault(
        Blame::Limit,
        code::NET_PACKET_TOO_LARGE,
        "weir: too many bytes sent ahead of a backend connection",
    )
}
