//! Whether things come in a regular rhythm.

/// Arrivals kept of a group: enough for a rhythm of four interleaved probers, several times over.
pub(super) const ARRIVALS_MAX: usize = 64;
/// Arrivals that make a rhythm; fewer fit by chance.
const ARRIVALS_MIN: usize = 5;
/// An interval fits when it is within this share of the period or a small multiple of it.
const FIT: f64 = 0.10;
/// Multiples of the period that are allowed: lost packets and restarts leave holes.
const MULTIPLES: u32 = 3;
/// Share of intervals that have to fit.
const FITTING: f64 = 0.80;
/// Median deviation from the period, as a share of it, up to which there is a rhythm.
const DEVIATION: f64 = 0.05;
/// The same for an exact one.
const DEVIATION_EXACT: f64 = 0.02;
/// Probers behind one address that may be interleaved.
const LAGS: usize = 4;
/// What fits of interleaved ones; a sum of intervals is smoother than one, so this is stricter.
const LAG_FIT: f64 = 0.015;
/// Share of intervals that have to fit, of interleaved ones.
const LAG_FITTING: f64 = 0.85;
/// Shortest and longest period of a check, seconds.
const PERIODS: std::ops::RangeInclusive<f64> = 0.2..=900.0;
/// Periods that people configure, seconds.
const ROUND: [f64; 15] =
    [0.5, 1.0, 2.0, 3.0, 5.0, 6.0, 9.0, 10.0, 15.0, 20.0, 30.0, 35.0, 60.0, 120.0, 300.0];
/// What a round period may be off, as a share of it.
const ROUND_WITHIN: f64 = 0.02;

/// Checks from which a few steps that come again and again are no chance.
const PACED_MIN: usize = 12;
/// Different steps of one prober.
const PACES_MAX: usize = 3;
/// How often each of them comes at least.
const PACE_MIN: usize = 3;
/// What steps of one timer may be apart, seconds and as a share of them.
const PACE_WITHIN: f64 = 0.005;
const PACE_SHARE: f64 = 0.005;

/// A regular rhythm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rhythm {
    /// Seconds from one to the next of the same prober.
    pub(super) period: f64,
    /// How well established it is.
    pub(super) strength: Strength,
    /// The period is one that people configure.
    pub(super) round: bool,
}

/// How well established a rhythm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// From 5 arrivals on.
    Weak,
    /// From 7 arrivals on.
    Moderate,
    /// From 9 arrivals on, deviating by 2 % at most.
    Strong,
}

/// The rhythm of `arrivals` (nanoseconds, ascending), if they have one. `duration` is how long each
/// takes, typically, in seconds: timers that count from the end of a check come that much later.
pub(super) fn rhythm(arrivals: &[i64], duration: f64) -> Option<Rhythm> {
    if arrivals.len() < ARRIVALS_MIN {
        return None;
    }
    let (period, deviation) = plain(arrivals).or_else(|| interleaved(arrivals))?;
    if !PERIODS.contains(&period) {
        return None;
    }
    let strength = match arrivals.len() {
        9.. if deviation <= DEVIATION_EXACT => Strength::Strong,
        7.. => Strength::Moderate,
        _ => Strength::Weak,
    };
    let round = [period, period - duration].into_iter().any(is_round);
    Some(Rhythm { period, strength, round })
}

/// Whether people configure such a period.
fn is_round(period: f64) -> bool {
    ROUND.iter().any(|round| (period - round).abs() <= round * ROUND_WITHIN)
}

fn plain(arrivals: &[i64]) -> Option<(f64, f64)> {
    let gaps = gaps(arrivals, 1);
    let (period, deviation) = spread(&gaps)?;
    let fits = |gap: &&f64| {
        (1..=MULTIPLES).any(|times| {
            let whole = f64::from(times) * period;
            (**gap - whole).abs() <= FIT * whole
        })
    };
    let fitting = gaps.iter().filter(fits).count() as f64;
    (fitting >= FITTING * gaps.len() as f64 && deviation <= DEVIATION)
        .then_some((period, deviation))
}

/// The rhythm of checks whose prober has several timers, in a few steps that come again and again: HAProxy's `inter`,
/// `fastinter` and `downinter`, Envoy's `interval` and `unhealthy_interval`. `checks` (ascending) are when each began
/// and was over; such timers run from the end of a check. With how many different steps there are.
pub(super) fn paced(checks: &[(i64, i64)]) -> Option<(Rhythm, usize)> {
    if checks.len() < PACED_MIN {
        return None;
    }
    let step = |pair: &[(i64, i64)]| pair[1].0.saturating_sub(pair[0].1) as f64 / 1e9;
    let mut steps: Vec<f64> = checks.windows(2).map(step).filter(|step| *step > 0.0).collect();
    steps.sort_unstable_by(f64::total_cmp);
    let mut paces: Vec<&[f64]> = steps
        .chunk_by(|one, next| next - one <= PACE_WITHIN.max(one * PACE_SHARE))
        .filter(|pace| pace.len() >= PACE_MIN && is_narrow(pace))
        .collect();
    paces.sort_by_key(|pace| std::cmp::Reverse(pace.len()));
    paces.truncate(PACES_MAX);
    let fitting: usize = paces.iter().map(|pace| pace.len()).sum();
    let period = median(paces.first()?.to_vec())?;
    let longest = paces.iter().filter_map(|pace| pace.last()).copied().fold(0.0, f64::max);
    // What is longer are outages, in which others of them failed.
    let short = steps.iter().filter(|step| **step <= longest).count();
    let regular = fitting as f64 >= FITTING * short as f64 && 2 * fitting >= checks.len();
    let rhythm = Rhythm { period, strength: Strength::Moderate, round: is_round(period) };
    (regular && PERIODS.contains(&period)).then_some((rhythm, paces.len()))
}

/// Whether steps are as equal as a timer makes them.
fn is_narrow(steps: &[f64]) -> bool {
    let (first, last) = (steps[0], steps[steps.len() - 1]);
    last - first <= (4.0 * PACE_WITHIN).max(4.0 * PACE_SHARE * first)
}

/// Several probers behind one address: each `lag`-th arrival is regular.
fn interleaved(arrivals: &[i64]) -> Option<(f64, f64)> {
    (2..=LAGS).find_map(|lag| {
        let gaps = gaps(arrivals, lag);
        if gaps.len() < (3 * lag).max(6) {
            return None;
        }
        let (period, deviation) = spread(&gaps)?;
        let fitting = gaps.iter().filter(|gap| (**gap - period).abs() <= LAG_FIT * period).count();
        (fitting as f64 >= LAG_FITTING * gaps.len() as f64).then_some((period, deviation))
    })
}

/// Seconds between each arrival and the one `lag` later.
fn gaps(arrivals: &[i64], lag: usize) -> Vec<f64> {
    let later = arrivals.iter().skip(lag);
    later
        .zip(arrivals)
        .map(|(later, earlier)| later.saturating_sub(*earlier) as f64 / 1e9)
        .collect()
}

/// Median, and median deviation from it as a share of it.
fn spread(gaps: &[f64]) -> Option<(f64, f64)> {
    let middle = median(gaps.to_vec())?;
    let off = median(gaps.iter().map(|gap| (gap - middle).abs()).collect())?;
    (middle > 0.0).then(|| (middle, off / middle))
}

pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn every(period: i64, count: i64) -> Vec<i64> {
        (0..count).map(|turn| turn * period).collect()
    }

    /// Numbers from 0 to 1 that look random, the same in every run.
    fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        })
    }

    fn series(seed: u64, count: usize, gap: impl Fn(f64) -> f64) -> Vec<i64> {
        let gaps = noise(seed).map(|random| (gap(random) * 1e9) as i64);
        gaps.take(count)
            .scan(0, |at, gap| {
                *at += gap;
                Some(*at)
            })
            .collect()
    }

    #[test]
    fn a_metronome_is_recognised_from_five_arrivals_on() {
        assert_eq!(rhythm(&every(2 * SECOND, 4), 0.0), None);
        for (count, strength) in
            [(5, Strength::Weak), (7, Strength::Moderate), (9, Strength::Strong)]
        {
            let found = rhythm(&every(2 * SECOND, count), 0.0);
            assert_eq!(found, Some(Rhythm { period: 2.0, strength, round: true }));
        }
        let odd = rhythm(&every(2_300_000_000, 9), 0.0);
        assert_eq!(odd.map(|rhythm| rhythm.round), Some(false));
    }

    #[test]
    fn a_timer_that_counts_from_the_end_is_round_without_the_duration() {
        let found = rhythm(&every(3_002_000_000, 9), 1.002).unwrap();
        assert!(found.round && (found.period - 3.002).abs() < 1e-9);
        assert!(!rhythm(&every(2_702_000_000, 9), 0.002).unwrap().round);
        assert!(rhythm(&every(2_702_000_000, 9), 0.7).unwrap().round);
    }

    #[test]
    fn lost_arrivals_and_a_little_jitter_do_not_matter() {
        let mut lossy = every(10 * SECOND, 13);
        lossy.retain(|at| ![3, 8].contains(&(at / (10 * SECOND))));
        assert!(rhythm(&lossy, 0.0).is_some());
        assert!(rhythm(&series(7, 12, |random| 9.7 + 0.6 * random), 0.0).is_some());
    }

    #[test]
    fn three_backends_behind_one_address_are_regular_at_their_lag() {
        let mut arrivals: Vec<i64> = (0..8)
            .flat_map(|turn| [0, 310_000_000, 1_700_000_000].map(|at| turn * 2 * SECOND + at))
            .collect();
        arrivals.sort_unstable();
        assert!((rhythm(&arrivals, 0.0).unwrap().period - 2.0).abs() < 0.01);
    }

    /// When checks with such steps, in milliseconds from the end of one to the start of the next, began and were over.
    fn stepping(steps: &[i64]) -> Vec<(i64, i64)> {
        let mut at = 0;
        let check = |step: &i64| {
            let began = at;
            at += (step + 3) * SECOND / 1000;
            (began, began + 3 * SECOND / 1000)
        };
        steps.iter().map(check).collect()
    }

    #[test]
    fn a_prober_with_several_timers_is_regular_in_each() {
        let outage = [402, 401, 701, 702, 701, 401, 401];
        let steps = [&[1001; 5][..], &outage, &[1001; 5], &outage, &[1002; 5]].concat();
        assert_eq!(rhythm(&stepping(&steps).iter().map(|it| it.0).collect::<Vec<_>>(), 0.0), None);
        let (found, timers) = paced(&stepping(&steps)).unwrap();
        assert_eq!(timers, 3);
        assert!(found.round && (found.period - 1.001).abs() < 0.002, "{found:?}");
        // Checks of outages are missing.
        let holes = [&[1001; 5][..], &[5_317], &[1001; 6], &[4_100], &[1002; 5]].concat();
        assert_eq!(paced(&stepping(&holes)).map(|(_, timers)| timers), Some(1));
        assert_eq!(paced(&stepping(&steps[..11])), None, "too few");
        let found = (0..1000).filter(|seed| {
            let by_chance = series(*seed, 40, |random| 0.3 + random);
            paced(&by_chance.iter().map(|at| (*at, *at)).collect::<Vec<_>>()).is_some()
        });
        assert_eq!(found.count(), 0);
    }

    #[test]
    fn what_comes_by_chance_has_no_rhythm() {
        for (what, gap, bound) in [
            ("Poisson", (|random: f64| -(1.0 - random).ln()) as fn(f64) -> f64, 3),
            ("a polite poller", |random| 0.7 + 0.6 * random, 20),
        ] {
            let found = (0..1000)
                .filter(|seed| {
                    rhythm(&series(*seed, 9, gap), 0.0)
                        .is_some_and(|rhythm| rhythm.strength == Strength::Strong)
                })
                .count();
            assert!(found <= bound, "{what}: {found} of 1000");
        }
    }

    #[test]
    fn bursts_and_equal_times_are_none() {
        assert_eq!(rhythm(&[5; 20], 0.0), None);
        assert_eq!(rhythm(&every(SECOND / 10, 20), 0.0), None);
        assert_eq!(rhythm(&[i64::MIN, -1, 0, 1, i64::MAX], 0.0), None);
    }
}
