//! A backend's `init_query` on one connection.
//!
//! Purpose: say it, take its answer off the stream, and keep what its server reports of the session
//! afterwards.
//! Never: let the connection be used after an answer that is not all good, or keep rows.

use std::fmt;

use bytes::BytesMut;

use crate::pool::login::LOGIN_PACKET_BYTES_MAX;
use crate::share::{query, track};
use crate::wire::frame::Assembler;
use crate::wire::{
    Capabilities, Command, EofPacket, ErrPacket, Malformed, OkPacket, Reader, Status, frame,
};

/// Bytes of results that are read and dropped.
const RESULT_BYTES_MAX: usize = 64 << 10;

/// Why a connection cannot be used after its `init_query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitError {
    /// In the server's words.
    Refused(u16, String),
    /// It answers with more than is read of it.
    TooLong,
    /// It asks for a file.
    File,
    /// It leaves a transaction open.
    Transaction,
    /// The server's bytes are no answer.
    Malformed,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code, text) => write!(f, "its init_query failed: error {code}: {text}"),
            Self::TooLong => f.write_str("its init_query has a result above 64 KiB"),
            Self::File => f.write_str("its init_query asks for a file of the client"),
            Self::Transaction => f.write_str("its init_query leaves a transaction open"),
            Self::Malformed => f.write_str("its init_query has no answer that can be read"),
        }
    }
}

impl From<Malformed> for InitError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// An OK, an ERR or a count of columns.
    First,
    Definitions(u64),
    EndOfDefinitions,
    Rows,
}

/// Its answer, one packet after the other.
#[derive(Debug)]
pub(super) struct InitReply {
    capabilities: Capabilities,
    stage: Stage,
    bytes: usize,
    trackers: BytesMut,
}

impl InitReply {
    /// That of a connection with `capabilities`.
    pub(super) const fn new(capabilities: Capabilities, trackers: BytesMut) -> Self {
        Self { capabilities, stage: Stage::First, bytes: 0, trackers }
    }

    /// One packet; whether it was the last.
    pub(super) fn on_packet(&mut self, payload: &[u8]) -> Result<bool, InitError> {
        self.bytes += payload.len();
        if self.bytes > RESULT_BYTES_MAX {
            return Err(InitError::TooLong);
        }
        let first = payload.first().copied().ok_or(InitError::Malformed)?;
        if first == ERR {
            let error = ErrPacket::parse(payload)?;
            // A report of progress, to those who asked for them.
            let reports = self.capabilities.contains(Capabilities::MARIADB_PROGRESS);
            if reports && error.code == u16::MAX {
                return Ok(false);
            }
            let text = String::from_utf8_lossy(error.message).into_owned();
            return Err(InitError::Refused(error.code, text));
        }
        let has_eof = !self.capabilities.contains(Capabilities::DEPRECATE_EOF);
        self.stage = match self.stage {
            Stage::First if first == OkPacket::OK => return self.on_ok(payload),
            Stage::First if first == FILE => return Err(InitError::File),
            Stage::First => {
                let mut reader = Reader::new(payload);
                let count = reader.lenenc_int()?;
                // The byte that says whether definitions follow.
                let has_definitions = reader.u8() != Ok(0);
                Stage::Definitions(if has_definitions { count } else { 0 })
            }
            Stage::Definitions(left) => Stage::Definitions(left.saturating_sub(1)),
            Stage::EndOfDefinitions => Stage::Rows,
            Stage::Rows if first == OkPacket::END && has_eof => {
                let status = EofPacket::parse(payload)?.status;
                return self.on_end(status);
            }
            Stage::Rows if first == OkPacket::END => return self.on_ok(payload),
            Stage::Rows => Stage::Rows,
        };
        if self.stage == Stage::Definitions(0) {
            self.stage = if has_eof { Stage::EndOfDefinitions } else { Stage::Rows };
        }
        Ok(false)
    }

    fn on_ok(&mut self, payload: &[u8]) -> Result<bool, InitError> {
        let ok = OkPacket::parse(payload, self.capabilities)?;
        self.trackers.extend_from_slice(ok.trackers);
        self.on_end(ok.status)
    }

    /// The end of a result; there may be others, of a procedure.
    fn on_end(&mut self, status: Status) -> Result<bool, InitError> {
        self.stage = Stage::First;
        if status.contains(Status::MORE_RESULTS) {
            return Ok(false);
        }
        if status.contains(Status::IN_TRANS) {
            return Err(InitError::Transaction);
        }
        Ok(true)
    }
}

/// It on its way, with what comes before it.
#[derive(Debug)]
pub struct InitQuery {
    assembler: Assembler,
    /// OKs that come before.
    oks: u8,
    reply: InitReply,
}

impl InitQuery {
    /// Says it on a connection with `capabilities`, after a reset if it `resets`; and before sessions
    /// share it, the server reports what it sets: `tracks` is for a MariaDB, or not. What is to be
    /// sent is appended to `out`, to leave in one piece.
    #[must_use]
    pub fn begin(
        text: &str,
        resets: bool,
        tracks: Option<bool>,
        capabilities: Capabilities,
        out: &mut BytesMut,
    ) -> Self {
        if resets {
            frame(out, 0, |out| out.extend_from_slice(&[Command::ResetConnection.as_byte()]));
        }
        if let Some(is_mariadb) = tracks {
            query(out, capabilities, &track(is_mariadb));
        }
        query(out, capabilities, text.as_bytes());
        Self {
            assembler: Assembler::new(LOGIN_PACKET_BYTES_MAX),
            oks: u8::from(resets) + u8::from(tracks.is_some()),
            reply: InitReply::new(capabilities, BytesMut::new()),
        }
    }

    /// Feeds bytes of the server: whether all is said and answered.
    ///
    /// # Errors
    /// Why the connection cannot be used.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> Result<bool, InitError> {
        self.assembler.push(bytes);
        while let Some(packet) = self.assembler.next_packet().map_err(|_| InitError::TooLong)? {
            if self.oks > 0 {
                if packet.payload.first() != Some(&OkPacket::OK) {
                    return Err(InitError::Malformed);
                }
                self.oks -= 1;
            } else if self.reply.on_packet(&packet.payload)? {
                return if self.assembler.is_empty() {
                    Ok(true)
                } else {
                    Err(InitError::Malformed)
                };
            }
        }
        Ok(false)
    }

    /// What the server reported of the session: trackers, one list behind the other.
    #[must_use]
    pub fn take_trackers(&mut self) -> BytesMut {
        std::mem::take(&mut self.reply.trackers)
    }
}

const ERR: u8 = 0xFF;
const FILE: u8 = 0xFB;

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Capabilities = Capabilities::SESSION_TRACK.union(Capabilities::DEPRECATE_EOF);
    const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
    const MORE: &[u8] = &[0xFE, 0, 0, 10, 0, 0, 0];
    const END: &[u8] = &[0xFE, 0, 0, 2, 0, 0, 0];
    const OLD_EOF: &[u8] = &[0xFE, 0, 0, 2, 0];
    const REFUSED: &[u8] = b"\xFF\xA9\x04#HY000Unknown system variable 'x'";

    fn packets(payloads: &[&[u8]]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for payload in payloads {
            frame(&mut out, 1, |out| out.extend_from_slice(payload));
        }
        out.to_vec()
    }

    /// How it ends, whatever the pieces.
    fn check(capabilities: Capabilities, said: &[&[u8]], expected: &Result<bool, InitError>) {
        let said = packets(said);
        for piece in 1..=said.len() {
            let mut out = BytesMut::new();
            let mut init = InitQuery::begin("DO 1", true, Some(true), capabilities, &mut out);
            let mut last = Ok(false);
            for bytes in said.chunks(piece) {
                assert_eq!(last, Ok(false), "over before its end, in pieces of {piece}");
                last = init.on_bytes(bytes);
                if last.is_err() {
                    break;
                }
            }
            assert_eq!(last, *expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn it_leaves_in_one_piece_with_what_comes_before() {
        let mut out = BytesMut::new();
        drop(InitQuery::begin("DO 1", true, None, NEW, &mut out));
        assert_eq!(out[..], *b"\x01\0\0\0\x1F\x05\0\0\0\x03DO 1");
        out.clear();
        drop(InitQuery::begin("DO 1", false, Some(true), NEW, &mut out));
        assert!(out[4..].starts_with(b"\x03SET SESSION session_track_schema"));
        assert!(out.ends_with(b"\x05\0\0\0\x03DO 1"));
    }

    #[test]
    fn an_ok_or_results_end_it() {
        check(NEW, &[OK, OK, OK], &Ok(true));
        check(NEW, &[OK, OK], &Ok(false));
        let result: &[&[u8]] = &[OK, OK, &[2], b"\x03def", b"\x03def", b"\x01a\x01b", b"\xFB\xFB"];
        check(NEW, &[result, &[END]].concat(), &Ok(true));
        check(NEW, result, &Ok(false));
        let old = Capabilities::NONE;
        check(old, &[OK, OK, &[1], b"\x03def", OLD_EOF, b"\x01a", OLD_EOF], &Ok(true));
        check(old, &[OK, OK, &[1], b"\x03def", OLD_EOF], &Ok(false));
        // Those of a procedure, and its own end.
        check(NEW, &[OK, OK, &[1], b"\x03def", MORE, &[1], b"\x03def", MORE, OK], &Ok(true));
        // Whether definitions follow is said where that was asked for.
        check(NEW, &[OK, OK, &[1, 0], b"\x01a", END], &Ok(true));
        check(NEW, &[OK, OK, &[1, 1], b"\x03def", b"\x01a", END], &Ok(true));
    }

    #[test]
    fn progress_is_no_error_to_those_who_asked_for_it() {
        let progress: &[u8] = b"\xFF\xFF\xFF\x01\x01\x01\0\0\0";
        let asked = NEW.union(Capabilities::MARIADB_PROGRESS);
        check(asked, &[OK, OK, progress, OK], &Ok(true));
        let (mut init, said) = (InitReply::new(NEW, BytesMut::new()), progress);
        assert!(matches!(init.on_packet(said), Err(InitError::Refused(0xFFFF, _))));
    }

    #[test]
    fn anything_else_is_an_error_with_its_reason() {
        let text = "Unknown system variable 'x'".to_owned();
        let refused = InitError::Refused(1193, text);
        assert_eq!(
            refused.to_string(),
            "its init_query failed: error 1193: Unknown system variable 'x'"
        );
        check(NEW, &[OK, OK, REFUSED], &Err(refused.clone()));
        check(NEW, &[OK, OK, &[1], b"\x03def", REFUSED], &Err(refused));
        check(NEW, &[OK, REFUSED], &Err(InitError::Malformed));
        check(NEW, &[OK, OK, b"\xFBfile"], &Err(InitError::File));
        check(NEW, &[OK, OK, &[0, 0, 0, 3, 0, 0, 0]], &Err(InitError::Transaction));
        check(NEW, &[OK, OK, &[0, 0]], &Err(InitError::Malformed));
        check(NEW, &[OK, OK, b""], &Err(InitError::Malformed));
        let mut init = InitQuery::begin("DO 1", false, None, NEW, &mut BytesMut::new());
        assert_eq!(init.on_bytes(&packets(&[OK, OK])), Err(InitError::Malformed), "unasked");
    }

    #[test]
    fn a_result_without_end_is_not_read_to_its_end() {
        let mut init = InitQuery::begin("DO 1", false, None, NEW, &mut BytesMut::new());
        assert_eq!(init.on_bytes(&packets(&[&[1], b"\x03def"])), Ok(false));
        let row = packets(&[&[b'a'; 1024]]);
        let ends = (0..64).map(|_| init.on_bytes(&row)).find(Result::is_err);
        assert_eq!(ends, Some(Err(InitError::TooLong)));
        let mut init = InitQuery::begin("DO 1", false, None, NEW, &mut BytesMut::new());
        assert_eq!(init.on_bytes(b"\xFF\xFF\xFF\0"), Err(InitError::TooLong));
    }

    #[test]
    fn what_the_server_reports_is_kept() {
        let mut init = InitQuery::begin("DO 1", false, None, NEW, &mut BytesMut::new());
        let tracked = b"\0\0\0\x02\x40\0\0\0\x0e\0\x0c\x09time_zone\x01Z";
        assert_eq!(init.on_bytes(&packets(&[tracked])), Ok(true));
        assert_eq!(init.take_trackers()[..], *b"\0\x0c\x09time_zone\x01Z");
    }
}
