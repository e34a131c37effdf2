//! How far a log's clock is from the capture's.
//!
//! Each pair of a line and an exchange that surely belong together says between which two
//! offsets the truth lies: a request is captured between the moments at which its proxy had it
//! and was done with it. The offset that most pairs allow is taken, so that a few wrong pairs
//! change nothing.

/// Narrowest slack that is given to each pair: clocks of programs tick in milliseconds,
/// nanoseconds.
const SLACK: i64 = 2_000_000;
/// How often the slack is widened fourfold until half of the pairs agree: up to 2 s.
const WIDENINGS: u32 = 5;
/// Pairs that are compared; more make no better estimate.
pub(super) const PAIRS_MAX: usize = 1 << 17;

/// The clock of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds to add to the log's times to have those of the capture.
    pub offset: i64,
    /// How far times may still differ, nanoseconds.
    pub tolerance: i64,
    /// Pairs that the estimate rests on; 0: none, the clocks are taken as equal.
    pub pairs: u64,
    /// How many of them agree.
    pub agreeing: u64,
}

impl Clock {
    /// Tolerance where nothing is known, nanoseconds.
    const UNKNOWN: i64 = 2_000_000_000;

    /// Equal clocks, for want of better knowledge.
    pub(super) fn unknown() -> Clock {
        Clock { tolerance: Clock::UNKNOWN, ..Clock::default() }
    }

    /// Estimated from the offsets that each pair allows, lowest and highest.
    pub(super) fn estimate(spans: &[(i64, i64)]) -> Clock {
        let mut slack = SLACK;
        for _ in 0..=WIDENINGS {
            if let Some((offset, room, agreeing)) = most(spans, slack)
                && agreeing * 2 >= spans.len()
            {
                return Clock {
                    offset,
                    tolerance: slack * 2 + room,
                    pairs: spans.len() as u64,
                    agreeing: agreeing as u64,
                };
            }
            slack *= 4;
        }
        Clock::unknown()
    }

    /// Whether it was estimated.
    pub fn is_known(&self) -> bool {
        self.pairs > 0
    }
}

/// The middle of where most of the spans overlap, each widened by `slack`; how far it is from there to
/// either end; and how many overlap.
fn most(spans: &[(i64, i64)], slack: i64) -> Option<(i64, i64, usize)> {
    let mut edges = Vec::with_capacity(spans.len() * 2);
    for (low, high) in spans {
        edges.push((low.saturating_sub(slack), false));
        edges.push((high.saturating_add(slack), true));
    }
    // At the same place, spans begin before others end.
    edges.sort_unstable();
    let (mut open, mut best) = (0, (0, 0, 0));
    for (n, (at, ends)) in edges.iter().enumerate() {
        if *ends {
            open -= 1;
            continue;
        }
        open += 1;
        if open > best.0 {
            let next = edges.get(n + 1).map_or(*at, |(next, _)| *next);
            best = (open, *at, next);
        }
    }
    let (count, from, to) = best;
    let room = to.saturating_sub(from) / 2;
    (count > 0).then(|| (from.saturating_add(room), room, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn most_pairs_decide() {
        let mut spans: Vec<(i64, i64)> =
            (0..100).map(|n| (3_200 * MS - n % 3 * MS, 3_200 * MS + n % 5 * MS)).collect();
        spans.extend((0..40).map(|n| (n * 7_000 * MS, n * 7_000 * MS)));
        let clock = Clock::estimate(&spans);
        assert!((clock.offset - 3_200 * MS).abs() < 5 * MS, "{clock:?}");
        assert_eq!((clock.pairs, clock.agreeing >= 100), (140, true));
    }

    #[test]
    fn whole_seconds_give_more_than_their_resolution() {
        // The truth is 250 ms; each pair knows it only to a second.
        let spans: Vec<(i64, i64)> = (0..200)
            .map(|n| {
                let part = n * 37 % 1000 * MS;
                (250 * MS - part, 250 * MS - part + 1000 * MS)
            })
            .collect();
        let clock = Clock::estimate(&spans);
        assert!((clock.offset - 250 * MS).abs() < 20 * MS, "{clock:?}");
    }

    #[test]
    fn without_agreement_there_is_no_estimate() {
        let spans: Vec<(i64, i64)> = (0..10).map(|n| (n * 60_000 * MS, n * 60_000 * MS)).collect();
        assert!(!Clock::estimate(&spans).is_known());
        assert!(!Clock::estimate(&[]).is_known());
        assert!(Clock::estimate(&[(5, 5)]).is_known());
    }

    proptest! {
        #[test]
        fn any_spans(ends: Vec<(i64, i64)>) {
            let spans: Vec<_> = ends.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            let clock = Clock::estimate(&spans);
            prop_assert!(clock.agreeing <= clock.pairs);
        }
    }
}
