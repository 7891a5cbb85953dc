//! Random numbers that a seed repeats.
//!
//! Purpose: every decision of a simulated world.
//! Never: read the clock or the system's generator.

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A generator of its own, so that one actor's decisions do not move another's.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// A number from `low` up to, but not including, `high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        let span = (high - low).max(1) as u64;
        low + usize::try_from(self.next() % span).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.between(0, 100) < percent
    }

    /// True once in so many cases.
    pub(crate) fn one_in(&mut self, cases: usize) -> bool {
        self.between(0, cases) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.between(0, from.len())]
    }
}
