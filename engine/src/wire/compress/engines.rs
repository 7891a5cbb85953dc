//! The compressors and decompressors of one worker.
//!
//! Purpose: lend them for as long as an envelope takes, and keep a few for the next.
//! Never: carry anything from one envelope to the next.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{Algorithm, PIECE_BYTES, ZSTD_LEVEL_MAX};
use crate::wire::Malformed;

/// What compressing takes, shared by the connections of one worker. Made when first needed: 330 KiB
/// for zlib, up to 900 KiB for zstd, and the decoders kept.
#[derive(Default)]
pub struct Engines {
    /// Where an envelope's content is put together.
    pub(super) piece: Vec<u8>,
    zlib: Option<Compress>,
    zstd: Option<(CCtx<'static>, u8)>,
    zlib_decoders: Vec<Decompress>,
    zstd_decoders: Vec<DCtx<'static>>,
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engines")
            .field("zlib_decoders", &self.zlib_decoders.len())
            .field("zstd_decoders", &self.zstd_decoders.len())
            .finish_non_exhaustive()
    }
}

impl Engines {
    /// Compresses `plain` into `packed`; how many bytes that took, or `None` if it does not fit.
    pub(super) fn pack(
        &mut self,
        algorithm: Algorithm,
        plain: &[u8],
        packed: &mut [u8],
    ) -> Option<usize> {
        match algorithm {
            Algorithm::Zlib => self.pack_zlib(plain, packed),
            Algorithm::Zstd { level } => self.pack_zstd(level, plain, packed),
        }
    }

    fn pack_zlib(&mut self, plain: &[u8], packed: &mut [u8]) -> Option<usize> {
        // The servers' own level.
        let engine = self.zlib.get_or_insert_with(|| Compress::new(Compression::new(6), true));
        engine.reset();
        let status = engine.compress(plain, packed, FlushCompress::Finish).ok()?;
        (status == Status::StreamEnd).then(|| usize::try_from(engine.total_out()).ok())?
    }

    fn pack_zstd(&mut self, level: u8, plain: &[u8], packed: &mut [u8]) -> Option<usize> {
        let level = level.clamp(1, ZSTD_LEVEL_MAX);
        if self.zstd.is_none() {
            self.zstd = Some((CCtx::try_create()?, 0));
        }
        let (engine, set) = self.zstd.as_mut()?;
        if *set != level {
            engine.set_parameter(CParameter::CompressionLevel(i32::from(level))).ok()?;
            *set = level;
        }
        engine.compress2(packed, plain).ok()
    }

    /// A decoder at the start of an envelope.
    ///
    /// # Errors
    /// There is no memory for one.
    pub(super) fn decoder(&mut self, algorithm: Algorithm) -> Result<Decoder, Malformed> {
        match algorithm {
            Algorithm::Zlib => {
                Ok(Decoder::Zlib(self.zlib_decoders.pop().unwrap_or_else(|| Decompress::new(true))))
            }
            Algorithm::Zstd { .. } => match self.zstd_decoders.pop() {
                Some(decoder) => Ok(Decoder::Zstd(decoder)),
                None => new_zstd_decoder().map(Decoder::Zstd).ok_or(NO_DECODER),
            },
        }
    }

    /// Takes a decoder back.
    pub(super) fn give_back(&mut self, decoder: Decoder) {
        match decoder {
            Decoder::Zlib(mut decoder) => {
                if self.zlib_decoders.len() < DECODERS_KEPT {
                    decoder.reset(true);
                    self.zlib_decoders.push(decoder);
                }
            }
            Decoder::Zstd(mut decoder) => {
                if self.zstd_decoders.len() < DECODERS_KEPT
                    && decoder.sizeof() <= ZSTD_DECODER_BYTES_KEPT
                    && decoder.reset(ResetDirective::SessionOnly).is_ok()
                {
                    self.zstd_decoders.push(decoder);
                }
            }
        }
    }
}

/// A decoder somewhere in an envelope.
pub(super) enum Decoder {
    Zlib(Decompress),
    Zstd(DCtx<'static>),
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib(_) => "Zlib",
            Self::Zstd(_) => "Zstd",
        })
    }
}

/// What a step of a decoder came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) read: usize,
    pub(super) written: usize,
    /// The compressed stream is over.
    pub(super) ended: bool,
}

impl Decoder {
    /// Decodes from `input` to `output`, as far as either goes.
    ///
    /// # Errors
    /// The input is not a compressed stream.
    pub(super) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Progress, Malformed> {
        match self {
            Self::Zlib(decoder) => {
                let before = (decoder.total_in(), decoder.total_out());
                let status = decoder
                    .decompress(input, output, FlushDecompress::None)
                    .map_err(|_| Malformed::new("a compressed packet is no zlib stream"))?;
                let since = |now: u64, then: u64| usize::try_from(now - then).unwrap_or(usize::MAX);
                Ok(Progress {
                    read: since(decoder.total_in(), before.0),
                    written: since(decoder.total_out(), before.1),
                    ended: status == Status::StreamEnd,
                })
            }
            Self::Zstd(decoder) => {
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(output);
                let hint = decoder
                    .decompress_stream(&mut output, &mut input)
                    .map_err(|_| Malformed::new("a compressed packet is no zstd frame"))?;
                Ok(Progress { read: input.pos(), written: output.pos(), ended: hint == 0 })
            }
        }
    }
}

fn new_zstd_decoder() -> Option<DCtx<'static>> {
    let mut decoder = DCtx::try_create()?;
    // A frame may name a window of 128 MiB; no envelope needs more than its own 16.
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).ok()?;
    Some(decoder)
}

const NO_DECODER: Malformed = Malformed::new("there is no memory to decompress a packet");

/// Decoders of each kind a worker keeps: as many as envelopes are usually read half-way at once.
const DECODERS_KEPT: usize = 8;

/// A decoder whose last window was larger is let go.
const ZSTD_DECODER_BYTES_KEPT: usize = 512 << 10;

/// 16 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

const _: () = assert!(PIECE_BYTES < 1 << 24, "an envelope's length has three bytes");
