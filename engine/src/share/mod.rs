//! What lets many sessions use few backend connections without noticing each other.
//!
//! Purpose: know what a session has set, what a connection is set to, what makes the one the other,
//! and why a session must keep its connection.
//! Never: guess: what the server does not report and the text does not tell is a pin, with a name.
#![forbid(unsafe_code)]

mod carried;
mod chatter;
mod effects;
mod exchange;
mod lent;
mod own;
mod pins;
mod prepared;
mod question;
mod settings;
mod traits;
mod variables;

pub use carried::{Answered, Carried};
pub use chatter::{Charsets, Chatter, Circumstances, chatter};
pub use effects::Effects;
pub use exchange::{Exchange, Exchanged, Step, Words};
pub use lent::Lent;
pub use own::{CONSISTENCY, Own, own};
pub use pins::{Pin, Pins};
pub use prepared::{Prepared, Source, StatementBudget, Types, Variant, Wanted};
pub use question::{Asked, Question};
pub use settings::Settings;
pub use traits::{Traits, VersionComment, asked_of_server, base};
pub use variables::track;

use bytes::{BufMut, BytesMut};

use crate::wire::{Capabilities, Command, frame};

/// Appends a COM_QUERY as a connection with `capabilities` expects it.
pub fn query(out: &mut BytesMut, capabilities: Capabilities, text: &[u8]) {
    frame(out, 0, |out| {
        out.put_u8(Command::Query.as_byte());
        if capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
            // No attributes, in one set.
            out.put_slice(&[0, 1]);
        }
        out.put_slice(text);
    });
}
