//! Nonces for greetings, and seeds for logins.
//!
//! Purpose: unpredictable bytes without a system call per client.
//! Never: hand out a byte twice.

use crate::auth::Seed;

/// Fills a buffer with unpredictable bytes.
type Fill = Box<dyn FnMut(&mut [u8]) + Send>;

const STOCK_BYTES: usize = 2000;
const NONCE_BYTES: usize = 20;

/// A stock of random bytes, refilled when used up.
pub struct NonceSource {
    fill: Fill,
    stock: [u8; STOCK_BYTES],
    used: usize,
}

impl std::fmt::Debug for NonceSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceSource")
    }
}

impl NonceSource {
    /// Takes bytes from `fill`: the kernel's generator, or a seeded one in simulation.
    #[must_use]
    pub fn new(fill: Fill) -> Self {
        Self { fill, stock: [0; STOCK_BYTES], used: STOCK_BYTES }
    }

    /// The next nonce: 20 bytes of 7 bits, none of them NUL or `$`, as servers make them
    /// (some connectors treat nonces as text).
    pub(super) fn next(&mut self) -> [u8; NONCE_BYTES] {
        self.take::<NONCE_BYTES>().map(|random| match random & 0x7F {
            0 => 1,
            b'$' => b'%',
            other => other,
        })
    }

    /// The next seed for a login's own randomness.
    pub(super) fn seed(&mut self) -> Seed {
        Seed::new(self.take())
    }

    /// Bytes of the stock, which are wiped there: a seed opens what was sealed with it.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > STOCK_BYTES {
            (self.fill)(&mut self.stock);
            self.used = 0;
        }
        let mut taken = [0; N];
        for (byte, random) in taken.iter_mut().zip(self.stock.iter_mut().skip(self.used)) {
            *byte = std::mem::take(random);
        }
        self.used += N;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_text_and_never_repeat_their_source() {
        let mut next = 0u8;
        let mut source = NonceSource::new(Box::new(move |bytes| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_add(1);
            }
        }));
        let nonces: Vec<_> = (0..200).map(|_| source.next()).collect();
        assert!(nonces.iter().flatten().all(|b| (1..0x80).contains(b) && *b != b'$'));
        assert_ne!(nonces[0], nonces[1]);
    }
}
