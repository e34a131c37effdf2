//! How the clocks of two places differ, and which of the two is nearer to the servers.

use super::absent::misses;
use super::point::{DELAY_MAX, Landmark, Point};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use hashbrown::HashMap;

/// Pairs from which the drift of the clocks is told: fewer do not show it.
const PAIRS_FOR_DRIFT: usize = 40;
/// Time that these have to span, nanoseconds.
const SPAN_FOR_DRIFT: i64 = 1_000_000_000;
/// One packet in so many may have another difference of times than the others: repeated and forged ones.
const FEW: usize = 50;
/// Differences of a packet's time that captures of microseconds do not show, nanoseconds.
const UNCERTAIN: i64 = 2_000;
/// Clocks are compared no better, nanoseconds: packets of one direction alone have their delay in the difference.
const EXACT: i64 = 50_000_000;

/// How the clocks of two places differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clocks {
    /// What the other place's clock is ahead at `since`, nanoseconds.
    pub offset: i64,
    /// Time of this place from which drift is counted.
    pub since: Timestamp,
    /// By how much that changes, nanoseconds in a second; `None` with too few pairs.
    pub drift: Option<f64>,
    /// Packets that were found at both places.
    pub pairs: usize,
    /// Whether the other place is nearer to the servers; `None`: the packets do not show it.
    pub nearer_server: Option<bool>,
    /// Packets have other addresses or ports there: a NAT lies between the two.
    pub renamed: bool,
    /// Packets of connections that are at both places passed the other one, and its capture lacks them.
    pub misses: bool,
    /// The clocks do not run alike, so that nothing follows from times.
    pub jumps: bool,
}

impl Clocks {
    /// A time of this place by the other's clock.
    pub fn there(&self, at: Timestamp) -> Timestamp {
        at.after(self.ahead(at))
    }

    /// The same as it is told: as it is, where the clocks differ by no more than they are compared.
    pub fn told(&self, at: Timestamp) -> Timestamp {
        if self.ahead(at).abs() <= EXACT { at } else { self.there(at) }
    }

    fn ahead(&self, at: Timestamp) -> i64 {
        let drifted = self.drift.map_or(0.0, |drift| drift * at.since(self.since));
        self.offset.saturating_add(drifted as i64)
    }
}

/// A packet at both places.
#[derive(Clone, Copy, Debug)]
struct Pair {
    at: Timestamp,
    /// What its time there is later.
    ahead: i64,
    /// It went from client to server.
    up: bool,
    /// What its TTL there is less.
    hops: i16,
    connection: (Endpoint, Endpoint),
    /// It has other addresses or ports there.
    renamed: bool,
}

/// Compares the clocks by the packets that are at both places: those of both directions of a
/// connection have about the same delay, so that the middle of their differences is that of the
/// clocks.
pub fn clocks(here: &Point, there: &Point) -> Option<Clocks> {
    let pairs = pairs(here, there);
    if pairs.is_empty() {
        return None;
    }
    let nearer_server = by_hops(&pairs).or_else(|| by_time(&pairs));
    let middles = middles(&pairs);
    let drift = drift(&middles);
    let since = middles.first().map_or(pairs[0].at, |(at, _)| *at);
    // Without the drift, the least difference of each direction has the least delay in it.
    let level = |pair: &Pair| {
        let drifted = drift.map_or(0.0, |drift| drift * pair.at.since(since));
        pair.ahead.saturating_sub(drifted as i64)
    };
    let offset = offset(pairs.iter().map(|pair| (level(pair), pair.up)))?;
    let renamed = pairs.iter().any(|pair| pair.renamed);
    let even = Clocks {
        offset,
        since,
        drift,
        pairs: pairs.len(),
        nearer_server,
        renamed,
        misses: false,
        jumps: false,
    };
    let off = |pair: &&Pair| pair.ahead.saturating_sub(even.ahead(pair.at)).abs() > DELAY_MAX;
    let jumps = pairs.iter().filter(off).count() * FEW > pairs.len();
    let misses = misses(here, there, &even);
    Some(Clocks { misses, jumps, ..even })
}

fn pairs(here: &Point, there: &Point) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (place, landmark) in here.landmarks.iter().enumerate() {
        let list = there.same(landmark);
        // What was repeated without a timestamp is paired in its order, if nothing is missing.
        let nth = here.rank(place, list.len());
        if let Some(other) = nth.and_then(|nth| there.landmarks.get(*list.get(nth)?)) {
            pairs.push(Pair {
                at: landmark.mark.at,
                ahead: other.mark.at.nanos_since(landmark.mark.at),
                up: goes_up(landmark, here),
                hops: i16::from(landmark.ttl) - i16::from(other.ttl),
                connection: match goes_up(landmark, here) {
                    true => (landmark.src, landmark.dst),
                    false => (landmark.dst, landmark.src),
                },
                renamed: (landmark.src, landmark.dst) != (other.src, other.dst),
            });
        }
    }
    pairs
}

/// Whether a packet goes from client to server: by the SYN, else by the ports.
fn goes_up(landmark: &Landmark, point: &Point) -> bool {
    if landmark.is_syn() || landmark.is_syn_ack() {
        return landmark.is_syn();
    }
    let mut opening = point.between(landmark.src, landmark.dst).filter(|it| it.is_syn());
    opening.next().map_or(landmark.src.port > landmark.dst.port, |syn| syn.src == landmark.src)
}

/// Packets lose TTL from router to router.
fn by_hops(pairs: &[Pair]) -> Option<bool> {
    let toward = pairs.iter().map(|pair| if pair.up { pair.hops } else { -pair.hops });
    let (mut later, mut earlier) = (0_usize, 0_usize);
    for hops in toward {
        later += usize::from(hops > 0);
        earlier += usize::from(hops < 0);
    }
    vote(later, earlier)
}

/// A SYN is nearer to the server later, its answer earlier: whatever the clocks say, the sum of both is
/// the way between the places and back.
fn by_time(pairs: &[Pair]) -> Option<bool> {
    let mut ways: HashMap<(Endpoint, Endpoint), [Option<i64>; 2]> = HashMap::new();
    for pair in pairs {
        let way = &mut ways.entry(pair.connection).or_default()[usize::from(pair.up)];
        way.get_or_insert(pair.ahead);
    }
    let (mut later, mut earlier) = (0, 0);
    for way in ways.values() {
        let [Some(down), Some(up)] = way else { continue };
        let both = up.saturating_sub(*down);
        later += usize::from(both > UNCERTAIN);
        earlier += usize::from(both < -UNCERTAIN);
    }
    vote(later, earlier)
}

/// Nine in ten decide.
fn vote(later: usize, earlier: usize) -> Option<bool> {
    let all = later + earlier;
    (all > 0 && later.max(earlier) * 10 >= all * 9).then_some(later > earlier)
}

/// For each connection with packets of both directions, the middle of their first differences; where
/// there is none, the differences of one direction. In the order of time.
fn middles(pairs: &[Pair]) -> Vec<(Timestamp, i64)> {
    let mut open: HashMap<(Endpoint, Endpoint), [Option<i64>; 2]> = HashMap::new();
    let mut middles = Vec::new();
    for pair in pairs {
        let way = open.entry(pair.connection).or_default();
        way[usize::from(pair.up)] = Some(pair.ahead);
        if let [Some(down), Some(up)] = *way {
            middles.push((pair.at, down.saturating_add((up - down) / 2)));
            *way = [None, None];
        }
    }
    if middles.is_empty() {
        let up = pairs[0].up;
        let one = pairs.iter().filter(|pair| pair.up == up);
        middles = one.map(|pair| (pair.at, pair.ahead)).collect();
    }
    middles.sort_unstable();
    middles
}

/// From the middle of the first third to that of the last.
fn drift(middles: &[(Timestamp, i64)]) -> Option<f64> {
    if middles.len() < PAIRS_FOR_DRIFT {
        return None;
    }
    let third = middles.len() / 3;
    let median = |part: &[(Timestamp, i64)]| {
        let mut ahead: Vec<i64> = part.iter().map(|(_, ahead)| *ahead).collect();
        ahead.sort_unstable();
        (part[part.len() / 2].0, ahead[ahead.len() / 2])
    };
    let (early, late) = (median(&middles[..third]), median(&middles[middles.len() - third..]));
    let spans = late.0.nanos_since(early.0) >= SPAN_FOR_DRIFT;
    spans.then(|| (late.1 - early.1) as f64 / late.0.since(early.0))
}

/// The middle between the least differences of both directions.
fn offset(pairs: impl Iterator<Item = (i64, bool)> + Clone) -> Option<i64> {
    // The packets of one direction come later there, those of the other earlier.
    let bounds = |way: bool| {
        let of = pairs.clone().filter(move |pair| pair.1 == way).map(|pair| pair.0);
        of.clone().min().zip(of.max())
    };
    let middle = |one: i64, other: i64| one.saturating_add((other - one) / 2);
    match (bounds(true), bounds(false)) {
        (Some(up), Some(down)) if up.0 >= down.1 => Some(middle(down.1, up.0)),
        (Some(up), Some(down)) if down.0 >= up.1 => Some(middle(up.1, down.0)),
        (Some(up), Some(down)) => Some(middle(up.0, down.0)),
        (Some((least, _)), None) | (None, Some((least, _))) => Some(least),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Path, Places, SERVER};
    use super::*;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn compared(path: Path, connections: u16, every: i64) -> (Clocks, Clocks) {
        let mut places = Places::new(path);
        for n in 0..connections {
            places.whole(n, i64::from(n) * every);
        }
        let clocks = |one, other| clocks(one, other).unwrap();
        (clocks(&places.clients, &places.servers), clocks(&places.servers, &places.clients))
    }

    #[test]
    fn delays_of_both_directions_cancel_out() {
        let (clocks, back) = compared(Path::new(3 * MS, 1_000 * MS), 1, 0);
        assert_eq!((clocks.offset, clocks.pairs, clocks.drift), (1_000 * MS, 4, None));
        assert_eq!((back.offset, back.pairs), (-1_000 * MS, 4));
        assert_eq!((clocks.nearer_server, back.nearer_server), (Some(true), Some(false)));
    }

    #[test]
    fn a_drift_is_no_delay() {
        let path = Path { drift: 50_000.0, ..Path::new(MS / 5, -7_000 * MS) };
        let (clocks, back) = compared(path, 400, 1_500 * MS);
        assert!((clocks.drift.unwrap() - 50_000.0).abs() < 500.0, "{clocks:?}");
        let late = Timestamp(590_000 * MS);
        let wanted = path.there(late.0);
        assert!((clocks.there(late).0 - wanted).abs() < MS / 2, "{clocks:?}");
        assert_eq!((clocks.nearer_server, back.nearer_server), (Some(true), Some(false)));
    }

    #[test]
    fn places_without_anything_between_them_have_no_order() {
        let (clocks, back) = compared(Path::new(0, 5 * MS), 20, 100 * MS);
        assert_eq!((clocks.nearer_server, back.nearer_server), (None, None));
        // A router between them is one, however near.
        let (clocks, _) = compared(Path { hops: 1, ..Path::new(0, 0) }, 1, 0);
        assert_eq!(clocks.nearer_server, Some(true));
    }

    #[test]
    fn a_clock_that_jumps_is_noticed() {
        let path = Path::new(2 * MS, 0);
        for jump in [0, 4_000 * MS, 83 * 86_400_000 * MS, -60_000 * MS] {
            let mut places = Places::new(path);
            (0..30).for_each(|n| places.whole(n, i64::from(n) * 100 * MS));
            places.path.ahead = jump;
            (30..60).for_each(|n| places.whole(n, i64::from(n) * 100 * MS));
            let clocks = clocks(&places.clients, &places.servers).unwrap();
            assert_eq!(clocks.jumps, jump.abs() > 5_000 * MS, "{jump} {clocks:?}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_measured(
            delay in 10_000..80_000_000_i64,
            ahead in -3_600_000_000_000..3_600_000_000_000_i64,
            drift in -100_000.0..100_000.0_f64,
            hops in 0..3_u8,
            connections in 1..120_u16,
            translated: bool,
        ) {
            let nat = translated.then(|| {
                (Endpoint::v4([192, 0, 2, 1], 0), Endpoint { port: 8080, ..SERVER })
            });
            let path = Path { drift, hops, nat, ..Path::new(delay, ahead) };
            let (clocks, back) = compared(path, connections, 250 * MS);
            prop_assert_eq!((clocks.nearer_server, back.nearer_server), (Some(true), Some(false)));
            prop_assert_eq!(clocks.pairs, usize::from(connections) * 4);
            // Without the drift, which few packets do not show, the middle of a second.
            let middle = Timestamp(i64::from(connections) * 125 * MS);
            let off = clocks.there(middle).0 - path.there(middle.0);
            prop_assert!(off.abs() < 5 * MS + delay / 4, "{} {:?}", off, clocks);
        }
    }
}
