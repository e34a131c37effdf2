//! Counts per span of time, in bounded memory, whatever the order of the times.
//!
//! The spans are aligned to the epoch and each width divides the next one, so that the result
//! depends only on the times, never on their order, and two counts can be brought to one width.

use crate::time::Timestamp;
use std::collections::VecDeque;

/// Most spans that are kept: about as many as a chart has columns to show them in.
pub const SPANS_MAX: usize = 600;

const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;
const MIN: i64 = 60 * S;
const H: i64 = 60 * MIN;
const DAY: i64 = 24 * H;

/// Widths of a span, nanoseconds; each divides the next. [`SPANS_MAX`] of the last cover more than
/// a [`Timestamp`] can hold.
const WIDTHS: [i64; 23] = [
    MS,
    2 * MS,
    10 * MS,
    20 * MS,
    100 * MS,
    200 * MS,
    S,
    2 * S,
    10 * S,
    20 * S,
    MIN,
    2 * MIN,
    10 * MIN,
    20 * MIN,
    H,
    2 * H,
    6 * H,
    12 * H,
    DAY,
    2 * DAY,
    10 * DAY,
    100 * DAY,
    1000 * DAY,
];

/// How many of something happened when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverTime {
    /// Index in [`WIDTHS`].
    width: usize,
    /// Number of the first span, counted from the epoch.
    first: i64,
    /// Never more than [`SPANS_MAX`].
    counts: VecDeque<u64>,
}

impl OverTime {
    /// Counts one at this time.
    pub fn add(&mut self, at: Timestamp) {
        self.put(at, 1);
    }

    /// Makes the spans reach to this time.
    pub fn reach(&mut self, at: Timestamp) {
        self.put(at, 0);
    }

    fn put(&mut self, at: Timestamp, n: u64) {
        let mut span = self.span(at);
        if self.counts.is_empty() {
            self.first = span;
        }
        let last = |this: &OverTime| this.first + this.counts.len() as i64 - 1;
        while last(self).max(span) - self.first.min(span) >= SPANS_MAX as i64 {
            self.coarsen();
            span = self.span(at);
        }
        while span < self.first {
            self.counts.push_front(0);
            self.first -= 1;
        }
        let index = (span - self.first) as usize;
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count += n;
        }
    }

    /// Number of the span that holds `at`.
    fn span(&self, at: Timestamp) -> i64 {
        at.0.div_euclid(self.width())
    }

    /// Nanoseconds of a span.
    pub fn width(&self) -> i64 {
        WIDTHS[self.width]
    }

    /// Start of the first span; `None` when nothing was counted.
    pub fn start(&self) -> Option<Timestamp> {
        (!self.counts.is_empty()).then(|| Timestamp(self.first.saturating_mul(self.width())))
    }

    /// One count per span, from [`OverTime::start`] on.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = u64> {
        self.counts.iter().copied()
    }

    /// Puts neighbouring spans together: the next width. The last width covers all there is, so it is never left.
    pub fn coarsen(&mut self) {
        let narrow = self.width();
        self.width = (self.width + 1).min(WIDTHS.len() - 1);
        let factor = self.width() / narrow;
        let first = self.first.div_euclid(factor);
        let mut counts: VecDeque<u64> = VecDeque::new();
        for (span, count) in (self.first..).zip(&self.counts) {
            let index = (span.div_euclid(factor) - first) as usize;
            if index >= counts.len() {
                counts.resize(index + 1, 0);
            }
            if let Some(sum) = counts.get_mut(index) {
                *sum += count;
            }
        }
        (self.first, self.counts) = (first, counts);
    }

    /// Adds what `other` counted.
    pub fn merge(&mut self, other: &OverTime) {
        let mut other = other.clone();
        while other.width < self.width {
            other.coarsen();
        }
        while self.width < other.width {
            self.coarsen();
        }
        for (span, count) in (other.first..).zip(&other.counts) {
            self.put(Timestamp(span.saturating_mul(other.width())), *count);
        }
    }

    /// Gives all the same spans.
    pub fn align(series: &mut [OverTime]) {
        let mut whole = OverTime::default();
        for one in series.iter() {
            whole.merge(one);
        }
        for one in series.iter_mut() {
            while one.width < whole.width {
                one.coarsen();
            }
            let mut counts = VecDeque::from(vec![0; whole.counts.len()]);
            for (span, count) in (one.first..).zip(&one.counts) {
                if let Some(same) = counts.get_mut((span - whole.first) as usize) {
                    *same = *count;
                }
            }
            (one.first, one.counts) = (whole.first, counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[i64]) -> OverTime {
        let mut counted = OverTime::default();
        times.iter().for_each(|at| counted.add(Timestamp(*at)));
        counted
    }

    #[test]
    fn each_width_divides_the_next_and_the_last_covers_all_times() {
        assert!(WIDTHS.windows(2).all(|pair| pair[1] % pair[0] == 0 && pair[1] > pair[0]));
        let last = WIDTHS[WIDTHS.len() - 1];
        assert!(i64::MAX.div_euclid(last) - i64::MIN.div_euclid(last) < SPANS_MAX as i64);
    }

    #[test]
    fn nothing_is_lost_and_memory_is_bounded() {
        let times: Vec<i64> = (0..5_000).map(|n| n * 37 * MS).collect();
        let counted = of(&times);
        assert_eq!((counted.counts().sum::<u64>(), counted.width()), (5_000, S));
        assert!(counted.counts().len() <= SPANS_MAX && counted.counts().len() > SPANS_MAX / 8);
        assert_eq!(counted.start(), Some(Timestamp(0)));
        assert_eq!(counted.counts().next(), Some(28));
    }

    #[test]
    fn the_order_of_the_times_does_not_matter() {
        let mut times: Vec<i64> = (0..900).map(|n| n * n * MS - 40 * S).collect();
        let forward = of(&times);
        times.reverse();
        assert_eq!(of(&times), forward);
        times.rotate_left(333);
        assert_eq!(of(&times), forward);
    }

    #[test]
    fn any_time_is_taken() {
        let counted = of(&[i64::MIN, 0, i64::MAX, -1]);
        assert_eq!(counted.counts().sum::<u64>(), 4);
        assert!(OverTime::default().start().is_none());
    }

    #[test]
    fn series_are_brought_to_the_same_spans() {
        let mut series = [of(&[0, 10 * S]), of(&[3_600 * S]), OverTime::default()];
        series[0].reach(Timestamp(-S));
        OverTime::align(&mut series);
        let shape = |one: &OverTime| (one.start(), one.width(), one.counts().len());
        assert_eq!(shape(&series[0]), shape(&series[1]));
        assert_eq!(shape(&series[0]), shape(&series[2]));
        let sums: Vec<u64> = series.iter().map(|one| one.counts().sum()).collect();
        assert_eq!(sums, [2, 1, 0]);
        assert_eq!((series[0].width(), series[0].start()), (10 * S, Some(Timestamp(-10 * S))));
    }
}
