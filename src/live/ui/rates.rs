//! How many of something happened in each of the last seconds.

use crate::time::Timestamp;
use std::collections::VecDeque;

/// Seconds that are kept: on a line of 61 columns, 5 s in each.
pub const WINDOW: usize = 300;

const SECOND: i64 = 1_000_000_000;

/// Seconds that a column may stand for; each divides [`WINDOW`].
const SPANS: [usize; 8] = [1, 2, 3, 5, 10, 15, 30, 60];

/// Counts of the last [`WINDOW`] seconds of capture time.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    /// The second of the first count, since the epoch.
    first: i64,
    /// Never more than [`WINDOW`].
    counts: VecDeque<u32>,
}

impl Rates {
    /// Counts one; older ones than the window are left out.
    pub fn add(&mut self, at: Timestamp) {
        if let Some(count) = self.place(at) {
            *count = count.saturating_add(1);
        }
    }

    /// Takes one back.
    pub fn take(&mut self, at: Timestamp) {
        let index = usize::try_from(second(at) - self.first);
        if let Some(count) = index.ok().and_then(|index| self.counts.get_mut(index)) {
            *count = count.saturating_sub(1);
        }
    }

    /// The count of that second.
    fn place(&mut self, at: Timestamp) -> Option<&mut u32> {
        let second = second(at);
        if self.counts.is_empty() {
            self.first = second;
        }
        let last = self.first + self.counts.len() as i64 - 1;
        if second > last {
            let new = (second - last) as usize;
            if new >= WINDOW {
                self.counts.clear();
                self.first = second;
                self.counts.push_back(0);
            } else {
                self.counts.extend(std::iter::repeat_n(0, new));
                let old = self.counts.len().saturating_sub(WINDOW);
                self.counts.drain(..old);
                self.first += old as i64;
            }
        } else if second < self.first {
            let new = (self.first - second) as usize;
            if new + self.counts.len() > WINDOW {
                return None;
            }
            (0..new).for_each(|_| self.counts.push_front(0));
            self.first = second;
        }
        self.counts.get_mut((second - self.first) as usize)
    }

    /// Sum of the seconds from `from` on, `until` left out, both in seconds since the epoch.
    fn sum(&self, from: i64, until: i64) -> u64 {
        let index = |second: i64| (second - self.first).clamp(0, self.counts.len() as i64) as usize;
        let (from, until) = (index(from), index(until));
        self.counts.range(from..until.max(from)).map(|count| u64::from(*count)).sum()
    }

    /// How many in the `seconds` up to `now`.
    pub fn recent(&self, now: Timestamp, seconds: i64) -> u64 {
        let until = second(now) + 1;
        self.sum(until - seconds, until)
    }

    /// Mean rate per second over the last `seconds` that are over by `now`.
    pub fn per_second(&self, now: Timestamp, seconds: i64) -> f64 {
        let until = second(now);
        self.sum(until - seconds, until) as f64 / seconds as f64
    }

    /// Rates per second, one for each column, the oldest first; the last column may have just begun.
    /// Columns begin at whole multiples of their span, so that they keep what they show.
    pub fn columns(&self, now: Timestamp, span: usize, columns: usize) -> Vec<f64> {
        let span = span.max(1) as i64;
        let newest = second(now).div_euclid(span);
        (0..columns as i64)
            .rev()
            .map(|back| {
                let from = (newest - back) * span;
                let passed = if back == 0 { second(now) + 1 - from } else { span };
                self.sum(from, from + span) as f64 / passed.max(1) as f64
            })
            .collect()
    }
}

/// Seconds for each column, so that so many seconds fit so many columns.
pub fn span(seconds: usize, columns: usize) -> usize {
    let fits = |span: &usize| seconds.div_ceil(*span) < columns;
    SPANS.into_iter().find(fits).unwrap_or(SPANS[SPANS.len() - 1])
}

fn second(at: Timestamp) -> i64 {
    at.0.div_euclid(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * SECOND + 5)
    }

    fn of(seconds: &[i64]) -> Rates {
        let mut rates = Rates::default();
        seconds.iter().for_each(|second| rates.add(at(*second)));
        rates
    }

    #[test]
    fn the_order_of_times_does_not_matter() {
        for rates in [of(&[10, 12, 12, 15]), of(&[15, 12, 10, 12])] {
            assert_eq!(rates.columns(at(15), 1, 6), [1.0, 0.0, 2.0, 0.0, 0.0, 1.0]);
            assert_eq!(rates.recent(at(15), 60), 4);
            assert_eq!(rates.recent(at(15), 3), 1);
        }
    }

    #[test]
    fn the_window_moves_and_stays_bounded() {
        let mut rates = of(&[0, 100, 299, 301]);
        assert_eq!(rates.recent(at(301), 1_000), 3);
        rates.add(at(0));
        assert_eq!(rates.recent(at(301), 1_000), 3);
        rates.add(at(5_000));
        assert_eq!(rates.counts.len(), 1);
        rates.add(at(5_000 - WINDOW as i64 + 1));
        rates.add(at(5_000 - WINDOW as i64));
        assert_eq!((rates.counts.len(), rates.recent(at(5_000), 1_000)), (WINDOW, 2));
    }

    #[test]
    fn time_without_events_counts_as_well() {
        let rates = of(&[10, 10, 11, 19]);
        assert_eq!(rates.per_second(at(20), 10), 0.4);
        assert_eq!(rates.per_second(at(40), 10), 0.0);
        assert_eq!(rates.recent(at(40), 10), 0);
    }

    #[test]
    fn a_column_keeps_what_it_shows_until_it_leaves() {
        let rates = of(&[10, 11, 12, 13, 14, 15]);
        assert_eq!(rates.columns(at(15), 5, 3), [0.0, 1.0, 1.0]);
        assert_eq!(rates.columns(at(17), 5, 3), [0.0, 1.0, 1.0 / 3.0]);
        assert_eq!(rates.columns(at(20), 5, 3), [1.0, 0.2, 0.0]);
    }

    #[test]
    fn what_is_taken_back_is_gone() {
        let mut rates = of(&[10, 10]);
        rates.take(at(10));
        rates.take(at(9));
        rates.take(at(11));
        assert_eq!(rates.recent(at(10), 60), 1);
    }

    #[test]
    fn the_window_fits_the_columns() {
        for (columns, expected) in [(301, 1), (300, 2), (101, 3), (64, 5), (40, 10), (3, 60)] {
            assert_eq!(span(WINDOW, columns), expected, "{columns}");
        }
        assert_eq!([span(40, 41), span(41, 41), span(0, 1)], [1, 2, 1]);
        assert!(SPANS.iter().all(|span| WINDOW.is_multiple_of(*span)));
    }
}
