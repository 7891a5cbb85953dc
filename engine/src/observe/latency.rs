//! How long things took: a histogram per thing.
//!
//! Purpose: quantiles over any time and any number of workers, for an addition to an array each.
//! Never: read a clock, or forget: counts only grow, so that differences are rates.

use hdrhistogram::Histogram;

/// Durations in microseconds, from 1 µs to an hour, in the slots of an HDR histogram of two
/// significant digits.
///
/// ```text
/// slot      0 … 255   256 … 383   384 … 511   512 …
/// holds µs  one each  two each    four each   eight each, and so on
/// ```
///
/// A value is off by at most 1 %. There are as many slots as the longest duration needs, 26 KiB at
/// most; three digits would take 188 KiB, which each worker has per endpoint and copies at every
/// scrape. The array is kept here and not in a [`Histogram`], whose own accounts cost a relayed
/// query 85 instructions; it becomes one where it is looked at.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    counts: Vec<u64>,
    /// Exact, unlike what could be computed from the counts.
    sum_nanos: u64,
}

/// Upper bounds of the buckets shown to Prometheus, as it writes seconds and in microseconds. Never
/// change them: series with other bounds cannot be added up.
pub const BUCKETS: [(&str, u64); 19] = [
    ("0.00005", 50),
    ("0.0001", 100),
    ("0.00025", 250),
    ("0.0005", 500),
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
    ("10", 10_000_000),
    ("30", 30_000_000),
    ("60", 60_000_000),
];

impl Latency {
    /// Counts a duration in nanoseconds so many times. What took longer than an hour counts as little more than one.
    pub fn record(&mut self, nanos: u64, times: u32) {
        let times = u64::from(times);
        // Full after 584 years.
        self.sum_nanos = self.sum_nanos.wrapping_add(nanos.wrapping_mul(times));
        let slot = slot_of(nanos / NANOS_PER_MICRO);
        match self.counts.get_mut(slot) {
            Some(count) => *count += times,
            None => self.first_in(slot, times),
        }
    }

    #[cold]
    fn first_in(&mut self, slot: usize, times: u64) {
        let slot = slot.min(slot_of(MICROS_MAX));
        // In steps, so that this is over after a few.
        let slots = (slot + 1).next_multiple_of(SLOTS_STEP);
        if let Some(more) = slots.checked_sub(self.counts.len()) {
            self.counts.reserve_exact(more);
            self.counts.resize(slots, 0);
        }
        if let Some(count) = self.counts.get_mut(slot) {
            *count += times;
        }
    }

    /// Adds what another histogram counted.
    pub fn add(&mut self, other: &Self) {
        self.sum_nanos = self.sum_nanos.wrapping_add(other.sum_nanos);
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in nanoseconds.
    #[must_use]
    pub const fn sum_nanos(&self) -> u64 {
        self.sum_nanos
    }

    /// Per bound of [`BUCKETS`], how many took no longer, in microseconds rounded down to what the
    /// slots tell apart.
    #[must_use]
    pub fn buckets(&self) -> [u64; BUCKETS.len()] {
        BUCKETS.map(|(_, bound)| self.counts.iter().take(slot_of(bound) + 1).sum())
    }

    /// As a histogram in microseconds, for other programs; `None` while nothing was counted.
    #[must_use]
    pub fn to_histogram(&self) -> Option<Histogram<u64>> {
        // The bounds are constants that do fit, and every slot is one of the histogram.
        let mut histogram = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).ok()?;
        for (slot, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            histogram.record_n(least_of(slot), *count).ok()?;
        }
        (!histogram.is_empty()).then_some(histogram)
    }
}

/// The slot of a duration in microseconds.
fn slot_of(micros: u64) -> usize {
    let halvings = (u64::BITS - micros.leading_zeros()).saturating_sub(SLOT_BITS);
    // At most 255 is left of it.
    let rest = usize::try_from(micros >> halvings).unwrap_or(usize::MAX);
    ((halvings as usize) << (SLOT_BITS - 1)) + rest
}

/// The least duration in microseconds that a slot holds.
const fn least_of(slot: usize) -> u64 {
    let halvings = (slot >> (SLOT_BITS - 1)).saturating_sub(1);
    ((slot - (halvings << (SLOT_BITS - 1))) as u64) << halvings
}

const DIGITS: u8 = 2;
/// Up to two to the power of this, each microsecond has a slot: enough for two digits.
const SLOT_BITS: u32 = 8;
const SLOTS_STEP: usize = 256;
const MICROS_MAX: u64 = 3_600_000_000;
const NANOS_PER_MICRO: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for micros in micros {
            latency.record(micros.saturating_mul(1_000), 1);
        }
        latency
    }

    #[test]
    fn bounds_have_the_names_prometheus_would_print() {
        for (name, micros) in BUCKETS {
            let seconds: f64 = name.parse().unwrap();
            assert_eq!(format!("{:.0}", seconds * 1e6), micros.to_string(), "{name}");
            assert_eq!(seconds.to_string(), name);
        }
        assert!(BUCKETS.is_sorted_by_key(|(_, micros)| *micros));
    }

    #[test]
    fn each_duration_counts_from_its_bucket_on() {
        let latency = of(&[0, 1, 50, 51, 1_000, 60_000_000, 3_000_000_000, u64::MAX / 2_000]);
        let buckets = latency.buckets();
        let at = |name: &str| {
            let place = BUCKETS.iter().position(|(found, _)| *found == name).unwrap();
            buckets[place]
        };
        assert_eq!(["0.00005", "0.0001", "0.0005", "0.001"].map(at), [3, 4, 4, 5]);
        assert_eq!(["30", "60"].map(at), [5, 6]);
        assert!(buckets.is_sorted());
        assert_eq!(latency.count(), 8);
    }

    #[test]
    fn many_at_once_count_as_many() {
        let mut latency = of(&[7]);
        latency.record(300_000_000, 4);
        assert_eq!((latency.count(), latency.sum_nanos()), (5, 1_200_007_000));
        assert_eq!(
            latency.to_histogram(),
            of(&[7, 300_000, 300_000, 300_000, 300_000]).to_histogram()
        );
    }

    #[test]
    fn a_bound_takes_what_cannot_be_told_from_it() {
        // 500 and 501 µs share a slot; 504 do not.
        let buckets = of(&[500, 501, 504]).buckets();
        assert_eq!(buckets[3], 2);
    }

    #[test]
    fn slots_are_those_of_a_histogram() {
        let reference = Histogram::<u64>::new_with_bounds(1, MICROS_MAX, DIGITS).unwrap();
        let mut last = 0;
        for slot in 0..reference.distinct_values() {
            let least = least_of(slot);
            assert_eq!(reference.lowest_equivalent(least), least, "slot {slot}");
            assert_eq!(slot_of(least), slot);
            assert_eq!(slot_of(reference.highest_equivalent(least)), slot);
            assert!(slot == 0 || least == reference.next_non_equivalent(last), "slot {slot}");
            last = least;
        }
        assert!(slot_of(MICROS_MAX) < reference.distinct_values());
    }

    #[test]
    fn values_are_within_one_percent() {
        for micros in [1, 99, 255, 256, 1_023, 70_001, 2_999_999, 3_599_999_999_u64] {
            let latency = of(&[micros]);
            let found = latency.to_histogram().unwrap().max();
            assert!(found.abs_diff(micros) * 100 <= micros, "{micros} became {found}");
            assert_eq!(latency.sum_nanos(), micros * 1_000);
        }
    }

    #[test]
    fn sums_are_what_one_histogram_would_have_counted() {
        let (one, two) = (of(&[10, 2_000]), of(&[30, 4_000_000]));
        let mut sum = Latency::default();
        for part in [&one, &Latency::default(), &two, &one] {
            sum.add(part);
        }
        let all = of(&[10, 2_000, 30, 4_000_000, 10, 2_000]);
        assert_eq!(sum.buckets(), all.buckets());
        assert_eq!((sum.count(), sum.sum_nanos()), (6, all.sum_nanos()));
        assert_eq!(sum.to_histogram(), all.to_histogram());
        let mut reference = Histogram::<u64>::new_with_bounds(1, MICROS_MAX, DIGITS).unwrap();
        for micros in [10, 2_000, 30, 4_000_000, 10, 2_000] {
            reference.record(micros).unwrap();
        }
        assert_eq!(sum.to_histogram(), Some(reference));
    }

    #[test]
    fn room_is_taken_for_what_was_seen() {
        assert!(Latency::default().to_histogram().is_none());
        let bytes = |micros| of(&[micros]).counts.capacity() * size_of::<u64>();
        assert_eq!(bytes(200), 2 << 10);
        assert!(bytes(100_000) <= 12 << 10);
        assert!(bytes(u64::MAX) <= 28 << 10);
    }
}
