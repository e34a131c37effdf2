//! How far a log's clock is from the capture's.
//!
//! Each pair of a line and an exchange that surely belong together says between which two
//! offsets the truth lies: a request is captured between the moments at which its proxy had it
//! and was done with it. The offset that most pairs allow is taken, so that a few wrong pairs
//! change nothing.
//!
//! Where no line is sure to belong to an exchange, all pairs that may belong together are taken: the
//! right ones agree on one offset, the wrong ones are spread.

use super::both::both;
use crate::cause::Confidence;

/// Narrowest slack that is given to each pair: clocks of programs tick in milliseconds,
/// nanoseconds.
const SLACK: i64 = 2_000_000;
/// How often the slack is widened fourfold until half of the pairs agree: up to 2 s.
const WIDENINGS: u32 = 5;
/// Pairs that are compared; more make no better estimate.
pub(super) const PAIRS_MAX: usize = 1 << 14;
/// Sure pairs that make an estimate certain when nearly all of them agree.
const PAIRS_FOR_CERTAIN: usize = 5;
/// Fewest exchanges whose pairs decide where none of them is sure.
const EXCHANGES_FOR_GUESS: usize = 3;
/// Twice the pairs by which the commonest offset has to be ahead of the next, beside half as many
/// again: a few agree by chance.
const BY_CHANCE: usize = 6;
/// How often the slack is widened where no pair is sure: up to 128 ms, or anything would fit.
const WIDENINGS_OF_GUESSES: u32 = 3;
/// How far clocks that are kept in step may be off, nanoseconds: where several offsets are as
/// common, one within it is preferred.
const IN_STEP: i64 = 1_000_000_000;

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
    /// How sure the offset is; `None`: nothing tells it.
    pub certainty: Option<Confidence>,
}

/// A pair of line and exchange that may belong together, and the offsets that it allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    pub(super) seen: u32,
    pub(super) low: i64,
    pub(super) high: i64,
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
        let (edges, mut slack) = (Edges::new(spans.iter().copied()), SLACK);
        for _ in 0..=WIDENINGS {
            if let Some(best) = edges.peak(slack, i64::MIN, i64::MAX)
                && best.count * 2 >= spans.len()
            {
                let (offset, room, agreeing) = (best.middle(), best.room(), best.count);
                let sure = spans.len() >= PAIRS_FOR_CERTAIN && agreeing * 10 >= spans.len() * 9;
                return Clock {
                    offset,
                    tolerance: slack * 2 + room,
                    pairs: spans.len() as u64,
                    agreeing: agreeing as u64,
                    certainty: Some(if sure { Confidence::Certain } else { Confidence::Likely }),
                };
            }
            slack *= 4;
        }
        Clock::unknown()
    }

    /// Estimated from pairs of which only some belong together: the offset that most of them allow, if
    /// it is that of at least half of the exchanges. It is likely when no other is nearly as common.
    /// Where others are, as with requests that are all alike, the one that is nearest to none at all is
    /// possible, unless another is more common.
    pub(super) fn guess(guesses: &[Guess]) -> Clock {
        let exchanges = distinct(guesses.iter().map(|guess| guess.seen));
        if exchanges < EXCHANGES_FOR_GUESS {
            return Clock::unknown();
        }
        let mut widths: Vec<i64> =
            guesses.iter().map(|guess| guess.high.saturating_sub(guess.low)).collect();
        let middle = widths.len() / 2;
        let width = *widths.select_nth_unstable(middle).1;
        let edges = Edges::new(guesses.iter().map(|guess| (guess.low, guess.high)));
        let mut slack = SLACK;
        for _ in 0..=WIDENINGS_OF_GUESSES {
            if let Some(best) = edges.peak(slack, i64::MIN, i64::MAX)
                && let Some(clock) = pick(guesses, &edges, best, slack, width, exchanges)
            {
                return clock;
            }
            slack *= 4;
        }
        Clock::unknown()
    }

    /// Whether it was estimated.
    pub fn is_known(&self) -> bool {
        self.certainty.is_some()
    }

    /// Whether lines may be told apart by their times.
    pub(super) fn is_likely(&self) -> bool {
        self.certainty >= Some(Confidence::Likely)
    }
}

/// The clock that guesses speak for, if one of half of the exchanges agrees.
fn pick(
    guesses: &[Guess],
    edges: &Edges,
    best: Peak,
    slack: i64,
    width: i64,
    exchanges: usize,
) -> Option<Clock> {
    let beside = width.saturating_add(slack.saturating_mul(2)).saturating_add(best.room());
    let others = [
        edges.peak(slack, i64::MIN, best.middle().saturating_sub(beside)),
        edges.peak(slack, best.middle().saturating_add(beside), i64::MAX),
    ];
    let next = others.iter().flatten().map(|peak| peak.count).max().unwrap_or(0);
    let (chosen, certainty) = if best.count * 2 >= next * 3 + BY_CHANCE {
        (best, Confidence::Likely)
    } else if best.count * 10 >= next * 11 {
        (best, Confidence::Possible)
    } else {
        let near = edges.peak(slack, -IN_STEP, IN_STEP)?;
        if near.count * 10 < best.count * 9 {
            return None;
        }
        (near, Confidence::Possible)
    };
    let fits = |guess: &&Guess| {
        guess.low.saturating_sub(slack) <= chosen.middle()
            && chosen.middle() <= guess.high.saturating_add(slack)
    };
    let agreeing = distinct(guesses.iter().filter(fits).map(|guess| guess.seen));
    (agreeing * 2 >= exchanges && agreeing >= EXCHANGES_FOR_GUESS).then(|| Clock {
        offset: chosen.middle(),
        tolerance: slack * 2 + chosen.room(),
        pairs: exchanges as u64,
        agreeing: agreeing as u64,
        certainty: Some(certainty),
    })
}

fn distinct(seen: impl Iterator<Item = u32>) -> usize {
    let mut seen: Vec<u32> = seen.collect();
    // Those of one exchange follow each other, so that few are left to sort.
    seen.dedup();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

/// Where most spans overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peak {
    from: i64,
    to: i64,
    count: usize,
}

impl Peak {
    /// How far it is from its middle to either end.
    fn room(self) -> i64 {
        self.to.saturating_sub(self.from) / 2
    }

    fn middle(self) -> i64 {
        self.from.saturating_add(self.room())
    }
}

/// Where spans begin and where they end, each in order.
struct Edges {
    lows: Vec<i64>,
    highs: Vec<i64>,
}

impl Edges {
    fn new(spans: impl Iterator<Item = (i64, i64)> + Clone + Sync) -> Edges {
        let lows = || sorted(spans.clone().map(|(low, _)| low));
        let highs = || sorted(spans.clone().map(|(_, high)| high));
        let (lows, highs) = both(spans.size_hint().0, lows, highs);
        Edges { lows, highs }
    }

    /// Where most spans overlap between two offsets, each widened by `slack`. At the same place, spans
    /// begin before others end.
    fn peak(&self, slack: i64, least: i64, most: i64) -> Option<Peak> {
        let mut lows = self.lows.iter().map(|low| low.saturating_sub(slack)).peekable();
        let mut highs = self.highs.iter().map(|high| high.saturating_add(slack)).peekable();
        let (mut open, mut best) = (0_usize, None::<Peak>);
        loop {
            let begins = match (lows.peek(), highs.peek()) {
                (Some(low), high) => high.is_none_or(|high| low <= high),
                (None, Some(_)) => false,
                (None, None) => return best,
            };
            let Some(at) = (if begins { lows.next() } else { highs.next() }) else { return best };
            open = if begins { open + 1 } else { open.saturating_sub(1) };
            if open <= best.map_or(0, |best| best.count) {
                continue;
            }
            let next = lows.peek().into_iter().chain(highs.peek()).min().copied().unwrap_or(at);
            let (from, to) = (at.max(least), next.min(most));
            if from <= to {
                best = Some(Peak { from, to, count: open });
            }
        }
    }
}

fn sorted(numbers: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// The middle of where most of the spans overlap, each widened by `slack`; how far it is from there to
/// either end; and how many overlap.
pub(super) fn most(spans: &[(i64, i64)], slack: i64) -> Option<(i64, i64, usize)> {
    let best = Edges::new(spans.iter().copied()).peak(slack, i64::MIN, i64::MAX)?;
    Some((best.middle(), best.room(), best.count))
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

    /// Requests at these times, all alike, logged so much earlier: each may be any line's.
    fn alike(times: &[i64], behind: i64) -> Vec<Guess> {
        let mut guesses = Vec::new();
        for (seen, at) in (0..).zip(times) {
            for logged in times {
                let apart = at - logged + behind;
                guesses.push(Guess { seen, low: apart, high: apart + MS / 2 });
            }
        }
        guesses
    }

    #[test]
    fn the_commonest_difference_of_requests_that_are_alike_is_the_clocks() {
        let times: Vec<i64> = (0..60).map(|n| (n * 97 + n * n * 13 % 89) * MS).collect();
        let clock = Clock::guess(&alike(&times, 3_200 * MS));
        assert!((clock.offset - 3_200 * MS).abs() < 5 * MS, "{clock:?}");
        assert_eq!((clock.certainty, clock.agreeing), (Some(Confidence::Likely), 60));
    }

    #[test]
    fn of_requests_at_equal_intervals_clocks_in_step_are_only_possible() {
        let times: Vec<i64> = (0..60).map(|n| n * 5_000 * MS).collect();
        let clock = Clock::guess(&alike(&times, 3 * MS));
        assert!((clock.offset - 3 * MS).abs() < 5 * MS, "{clock:?}");
        assert_eq!(clock.certainty, Some(Confidence::Possible));
        // One interval off or none: nothing tells.
        let clock = Clock::guess(&alike(&times, 2_500 * MS));
        assert_eq!(clock.certainty, None, "{clock:?}");
    }

    #[test]
    fn two_exchanges_tell_no_clock() {
        assert!(!Clock::guess(&alike(&[0, 70 * MS], 0)).is_known());
        assert!(!Clock::guess(&[]).is_known());
    }

    proptest! {
        #[test]
        fn any_guesses(ends: Vec<(u32, i64, i64)>) {
            let guess = |(seen, a, b): (u32, i64, i64)| Guess { seen, low: a.min(b), high: a.max(b) };
            let guesses: Vec<_> = ends.into_iter().map(guess).collect();
            let clock = Clock::guess(&guesses);
            prop_assert!(clock.agreeing <= clock.pairs);
        }

        /// Where most spans overlap, as many as there are at its ends, and nowhere more.
        #[test]
        fn a_peak_is_where_most_spans_overlap(
            ends in prop::collection::vec((-50..50_i64, -50..50_i64), 0..20),
            slack in 0..5_i64,
            (one, other) in (-60..60_i64, -60..60_i64),
        ) {
            let spans: Vec<_> = ends.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            let (least, most) = (one.min(other), one.max(other));
            let over = |at: i64| {
                spans.iter().filter(|(low, high)| (low - slack..=high + slack).contains(&at)).count()
            };
            let best = (least..=most).map(over).max().unwrap_or(0);
            let peak = Edges::new(spans.iter().copied()).peak(slack, least, most);
            prop_assert_eq!(peak.map_or(0, |peak| peak.count), best);
            if let Some(peak) = peak {
                prop_assert!(least <= peak.from && peak.to <= most);
                prop_assert_eq!((over(peak.from), over(peak.middle())), (best, best));
            }
        }

        #[test]
        fn any_spans(ends: Vec<(i64, i64)>) {
            let spans: Vec<_> = ends.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            let clock = Clock::estimate(&spans);
            prop_assert!(clock.agreeing <= clock.pairs);
        }
    }
}
