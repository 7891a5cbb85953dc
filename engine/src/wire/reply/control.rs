//! Control frames, and what their bytes mean.
//!
//! Purpose: hold one while it is decided on.
//! Never: decide.

use crate::wire::Capabilities;
use crate::wire::edit::Edits;
use crate::wire::frame::HEADER_BYTES;

/// With these, the count of a result's columns has a byte behind it.
pub(super) const FLAGGED_COUNT: Capabilities =
    Capabilities::OPTIONAL_RESULTSET_METADATA.union(Capabilities::MARIADB_CACHE_METADATA);

/// A control frame, header included, and where its bytes are.
pub(super) struct Frame<'a> {
    pub(super) bytes: &'a mut [u8],
    /// In the input, so that it can be forwarded; otherwise it was put together from pieces.
    pub(super) in_input: bool,
}

impl Frame<'_> {
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    pub(super) fn payload_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(HEADER_BYTES..).unwrap_or_default()
    }

    pub(super) fn leave_out(&self, edits: &mut Edits) {
        if self.in_input {
            edits.discard(self.bytes.len());
        }
    }
}
