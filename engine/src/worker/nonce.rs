//! Nonces for greetings.
//!
//! Purpose: unpredictable bytes without a system call per client.
//! Never: hand out a byte twice.

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
        if self.used + NONCE_BYTES > STOCK_BYTES {
            (self.fill)(&mut self.stock);
            self.used = 0;
        }
        let mut nonce = [0; NONCE_BYTES];
        let stock = self.stock.iter().skip(self.used);
        for (byte, random) in nonce.iter_mut().zip(stock) {
            *byte = match random & 0x7F {
                0 => 1,
                b'$' => b'%',
                other => other,
            };
        }
        self.used += NONCE_BYTES;
        nonce
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
