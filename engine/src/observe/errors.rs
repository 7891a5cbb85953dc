//! Which errors clients were told, by number.
//!
//! Purpose: one count per error number, whatever numbers servers think of.
//! Never: grow past a bound; what comes after is counted together.

/// Counts by error number, at most [`ErrorCodes::CODES_MAX`] of them.
#[derive(Clone, Debug, Default)]
pub struct ErrorCodes {
    /// In order of first appearance. Searched from the front: there are few, and errors are rare.
    counts: Vec<(u16, u64)>,
    other: u64,
}

impl ErrorCodes {
    /// Numbers counted apart. A number once counted apart stays so, so that no count goes back.
    pub const CODES_MAX: usize = 64;

    /// Counts an error so many times.
    pub fn count(&mut self, code: u16, times: u32) {
        self.add(code, u64::from(times));
    }

    /// All counts; `None` stands for the numbers that are not counted apart.
    pub fn iter(&self) -> impl Iterator<Item = (Option<u16>, u64)> {
        let apart = self.counts.iter().map(|(code, count)| (Some(*code), *count));
        apart.chain((self.other > 0).then_some((None, self.other)))
    }

    /// Sets the counts to the sum of these, keeping the numbers counted apart so far.
    pub fn set_to_sum<'e>(&mut self, parts: impl Iterator<Item = &'e Self>) {
        self.other = 0;
        for (_, count) in &mut self.counts {
            *count = 0;
        }
        for part in parts {
            for (code, count) in &part.counts {
                self.add(*code, *count);
            }
            self.other += part.other;
        }
    }

    fn add(&mut self, code: u16, amount: u64) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(found, _)| *found == code) {
            *count += amount;
        } else if self.counts.len() < Self::CODES_MAX {
            self.counts.push((code, amount));
        } else {
            self.other += amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(codes: impl IntoIterator<Item = u16>) -> ErrorCodes {
        let mut errors = ErrorCodes::default();
        codes.into_iter().for_each(|code| errors.count(code, 1));
        errors
    }

    #[test]
    fn counts_by_number_up_to_a_bound() {
        assert_eq!(
            of([1045, 1064, 1045]).iter().collect::<Vec<_>>(),
            [(Some(1045), 2), (Some(1064), 1)]
        );
        let many = of(0..1000);
        assert_eq!(many.iter().count(), ErrorCodes::CODES_MAX + 1);
        assert_eq!(many.iter().last(), Some((None, 1000 - 64)));
    }

    #[test]
    fn sums_never_go_back_whichever_numbers_come_first() {
        let low = of(0..64);
        let mut sum = ErrorCodes::default();
        sum.set_to_sum([&low].into_iter());
        let before: Vec<_> = sum.iter().collect();
        // Another worker, listed first, has other numbers.
        let high = of(1000..1100);
        sum.set_to_sum([&high, &low].into_iter());
        let after: Vec<_> = sum.iter().collect();
        for (code, count) in before {
            assert!(after.contains(&(code, count)), "{code:?} was {count}, now {after:?}");
        }
        assert_eq!(after.last(), Some(&(None, 100)));
        assert_eq!(after.iter().map(|(_, count)| count).sum::<u64>(), 164);
    }
}
