//! The compressed protocol: what stands between a socket (or TLS) and MySQL's packets once both
//! sides agreed on `CLIENT_COMPRESS` or `CLIENT_ZSTD_COMPRESSION_ALGORITHM`.
//!
//! Purpose: take packets out of their compressed envelopes and put them in, in bounded pieces, and
//! keep both kinds of sequence ids as servers and clients expect them.
//! Never: keep a packet whole, or memory for a connection that is at rest.
//!
//! ```text
//! 0         3     4           7                7+n
//! | n (LE)  | seq | plain (LE) | n bytes         |   plain = 0: the n bytes are as they are
//! ```
//!
//! An envelope holds any stretch of the stream of packets: several of them, or a part of one. Each
//! is compressed by itself, so the machinery (up to a few hundred KiB) belongs to [`Engines`], one
//! per worker, and a connection borrows it while an envelope is being read. At rest a connection
//! costs 0.3 KiB and what its last input needed, at most [`KEPT_BYTES`]. In the middle of an
//! envelope it holds a decoder: 47 KiB for zlib; for zstd 155 KiB and the frame's window, which the
//! sender chooses: what the envelope holds, so at most 16 MiB.
//!
//! # Sequence ids
//! Envelopes are counted by themselves, from 0 in each command; answers go on from the client's
//! last. Servers and clients check these numbers and hardly ever those of the packets inside. The
//! numbers inside are set back to the envelope's whenever a server flushes (`net_flush` in
//! `sql/net_serv.cc`), and so is the client's count. [`Codec`] gives the machines above numbers as
//! on a plain connection, and the far side numbers it accepts:
//! - to a client, an answer's first packet has the number of its envelope, and so has every packet
//!   that begins an envelope and ends in it;
//! - to a server, packets keep their numbers, which it does not look at.

mod codec;
mod deflate;
mod engines;
mod inflate;
mod order;

pub use codec::Codec;
pub use engines::Engines;

/// How both sides agreed to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `CLIENT_COMPRESS`.
    Zlib,
    /// `CLIENT_ZSTD_COMPRESSION_ALGORITHM` (MySQL 8.0.18).
    Zstd {
        /// The level the client asked for, 1 to 22. Weir compresses with at most
        /// [`ZSTD_LEVEL_MAX`]: a level is the sender's business, and one session must not stop the
        /// worker for milliseconds at a time.
        level: u8,
    },
}

/// The highest zstd level Weir compresses with; readers do not notice.
pub const ZSTD_LEVEL_MAX: u8 = 6;

/// Bytes of an envelope's header.
const HEADER_BYTES: usize = 7;

/// Shorter contents are not worth compressing: `MIN_COMPRESS_LENGTH` of both servers.
const PACKED_BYTES_MIN: usize = 50;

/// Most plain bytes Weir puts into one envelope. Beyond this nothing is gained, and the receiver
/// waits for the last byte of an envelope before it sees the first.
const PIECE_BYTES: usize = 64 << 10;

/// Input memory a connection keeps when everything in it was used.
const KEPT_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests;
