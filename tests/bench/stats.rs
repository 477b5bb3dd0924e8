//! What do many samples say? The median and the spread; means are left out, because one neighbour's burst moves them.

use std::time::Duration;

/// Samples of one thing.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples {
    microseconds: Vec<u64>,
}

impl Samples {
    pub(crate) fn push(&mut self, took: Duration) {
        self.microseconds.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn push_microseconds(&mut self, took: u64) {
        self.microseconds.push(took);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.microseconds.extend(other.microseconds);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.microseconds.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.microseconds.len()
    }

    /// The value that `percent` of the samples do not exceed, in milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.microseconds.clone();
        sorted.sort_unstable();
        let place = sorted.len().saturating_sub(1) * percent / 100;
        Duration::from_micros(sorted.get(place).copied().unwrap_or_default()).as_secs_f64() * 1000.0
    }

    pub(crate) fn median_ms(&self) -> f64 {
        self.percentile_ms(50)
    }
}
