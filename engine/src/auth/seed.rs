//! Randomness for code that may not ask for any.
//!
//! Purpose: stretch unpredictable bytes, handed in, to what the RSA padding and blinding use up.
//! Never: ask the operating system, or be the source of anything that outlives one exchange but
//! the key made at the start.

use std::fmt;

use rsa::rand_core::{CryptoRng, Error, RngCore};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Unpredictable bytes for one exchange. `Debug` hides them: with them a sealed password opens.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; Self::BYTES]);

impl Seed {
    /// Bytes of a seed.
    pub const BYTES: usize = 32;

    /// A seed of these bytes, used for nothing else.
    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The seed's bytes, stretched.
    pub(crate) fn stream(&self) -> SeedStream {
        SeedStream { seed: self.clone(), blocks: 0, block: [0; 32], used: 32 }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// SHA256(seed + 0), SHA256(seed + 1), … one after another.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SeedStream {
    seed: Seed,
    blocks: u64,
    block: [u8; 32],
    used: usize,
}

impl SeedStream {
    fn byte(&mut self) -> u8 {
        if self.used >= self.block.len() {
            let counter = self.blocks.to_le_bytes();
            self.block =
                Sha256::new().chain_update(self.seed.0).chain_update(counter).finalize().into();
            self.blocks += 1;
            self.used = 0;
        }
        let byte = self.block.get(self.used).copied().unwrap_or_default();
        self.used += 1;
        byte
    }
}

impl RngCore for SeedStream {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.byte();
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

/// As good as what it is made of.
impl CryptoRng for SeedStream {}
