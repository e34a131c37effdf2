//! Whether a host that is asked at one address asks others from another one: a proxy with an interface
//! on each side, of which each was captured to a file of its own.
//!
//! The requests of its back leg lie within those of its front leg that ask for the same: they carry the same
//! id, or name the same target, or one that ends alike where the proxy writes paths anew. Where many
//! are under way, others do so by chance; moved by some time, those still do and the proxy's own do not.

use super::leg::Leg;
use crate::http::Exchange;
use crate::packet::{Address, Endpoint};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Exchanges that are compared; they take about 100 bytes each.
const EXCHANGES_MAX: usize = 1 << 16;
/// Pairs of addresses that are compared.
const PAIRS_MAX: usize = 1 << 10;
/// Exchanges that lie within others, fewer of which prove nothing.
const FEW: usize = 8;
/// By how much exchanges are moved to see what chance does, nanoseconds. None is a multiple of another, as
/// checks come at a steady pace.
const MOVES: [i64; 6] =
    [-7_310_000_000, -2_930_000_000, -610_000_000, 610_000_000, 2_930_000_000, 7_310_000_000];
/// Requests of the front leg for the same thing that are looked at for one of the back leg, those that
/// began last.
const LOOK_BACK: usize = 256;
/// How much may lie outside: two interfaces tell times of one clock, nanoseconds.
const SLACK: i64 = 200_000;

/// What requests for the same have in common, each with the method: an identifying header, path and query, or
/// the last part of the path and the query.
const KEYS: usize = 3;

/// An exchange, as far as it is compared.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// What it asks for, see [`KEYS`].
    asks: [u64; KEYS],
    from: Timestamp,
    to: Timestamp,
    /// Which capture shows it.
    file: u32,
}

/// What is looked at.
#[derive(Debug, Default)]
pub struct OneHost {
    /// Of connections that are not over, by flow.
    pending: BTreeMap<u64, Vec<Seen>>,
    kept: usize,
    /// By the address that was asked.
    fronts: BTreeMap<Address, Vec<Seen>>,
    /// By the address that asked.
    backs: BTreeMap<Address, Vec<Seen>>,
    /// Addresses that were asked or that asked, whatever is known of the requests.
    served: BTreeSet<Address>,
    asked: BTreeSet<Address>,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Where it is asked.
    pub front: Address,
    /// From where it asks.
    pub back: Address,
    /// Exchanges of the back leg that lie within one of the front leg which asks for the same.
    pub within: usize,
    /// Chance does not explain it.
    pub sure: bool,
}

impl OneHost {
    /// Takes in an exchange of a connection that is not over.
    pub fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        if exchange.response.is_none() || self.kept >= EXCHANGES_MAX {
            return;
        }
        let Some(leg) = Leg::of(exchange).filter(Leg::is_readable) else { return };
        let sketch = &leg.sketch;
        let tail = if sketch.tail == 0 { sketch.target } else { sketch.tail };
        self.kept += 1;
        self.pending.entry(flow).or_default().push(Seen {
            asks: [sketch.ids[0], sketch.target, tail]
                .map(|key| if key == 0 { 0 } else { key ^ sketch.method }),
            from: leg.ends.asked.at,
            to: leg.ends.over.at,
            file: leg.ends.asked.frame.file(),
        });
    }

    /// A connection is over.
    pub fn flow(&mut self, id: u64, client: Endpoint, server: Endpoint) {
        self.served.insert(server.ip);
        self.asked.insert(client.ip);
        let seen = self.pending.remove(&id).unwrap_or_default();
        self.fronts.entry(server.ip).or_default().extend(&seen);
        self.backs.entry(client.ip).or_default().extend(seen);
    }

    /// The addresses that belong to one host, the likeliest first.
    pub fn pairs(mut self) -> Vec<Pair> {
        let lists = self.fronts.values_mut().chain(self.backs.values_mut());
        lists.for_each(|list| list.sort_unstable_by_key(|it| (it.from, it.to)));
        // An address that does both needs no second one.
        let fronts = self.fronts.iter().filter(|(front, _)| !self.asked.contains(*front));
        let backs = || self.backs.iter().filter(|(back, _)| !self.served.contains(*back));
        let pairs = fronts.flat_map(|front| backs().map(move |back| (front, back)));
        let mut found: Vec<Pair> = pairs
            .filter(|((front, asked), (back, asks))| {
                front != back && asked.len().min(asks.len()) >= FEW
            })
            .take(PAIRS_MAX)
            .filter_map(|((front, asked), (back, asks))| compare(*front, asked, *back, asks))
            .collect();
        found
            .sort_unstable_by_key(|it| (!it.sure, std::cmp::Reverse(it.within), it.front, it.back));
        found
    }
}

/// By the first key that proves it, or else by the one that most speaks for it.
fn compare(front: Address, asked: &[Seen], back: Address, asks: &[Seen]) -> Option<Pair> {
    let by = |key: usize| {
        let (within, sure) = compare_by(key, asked, asks)?;
        Some(Pair { front, back, within, sure })
    };
    let pairs = || (0..KEYS).filter_map(by);
    pairs().find(|pair| pair.sure).or_else(|| pairs().max_by_key(|pair| pair.within))
}

/// How many exchanges of `asks` lie within one of `asked` with the same key, and whether chance does not
/// explain it.
fn compare_by(key: usize, asked: &[Seen], asks: &[Seen]) -> Option<(usize, bool)> {
    let mut open: BTreeMap<u64, Vec<&Seen>> = BTreeMap::new();
    for it in asked.iter().filter(|it| it.asks[key] != 0) {
        open.entry(it.asks[key]).or_default().push(it);
    }
    let within = |moved: i64, slack: i64| {
        let inside = |it: &&Seen| {
            let (from, to) = (it.from.after(moved), it.to.after(moved));
            let same = open.get(&it.asks[key]).map_or(&[][..], Vec::as_slice);
            let began = same.partition_point(|front| front.from <= from.after(slack));
            let around = |front: &&&Seen| front.to.after(slack) >= to && front.file != it.file;
            same[..began].iter().rev().take(LOOK_BACK).any(|front| around(&front))
        };
        asks.iter().filter(inside).count()
    };
    let found = within(0, SLACK);
    // Where most begin or end outside by that little, it is the other way round: what is asked here is for those.
    if found < FEW || within(0, 0) * 2 < found {
        return None;
    }
    let by_chance = MOVES.iter().map(|moved| within(*moved, SLACK)).max().unwrap_or(0);
    // What chance finds is a small part of it, or it is all that was asked: then people can tell.
    let sure = by_chance * 4 <= found && found * 2 >= asks.len().min(asked.len());
    (sure || found * 10 >= asks.len() * 9).then_some((found, sure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Request, Response};
    use crate::time::{FrameId, Mark};

    const MS: i64 = 1_000_000;

    fn exchange(file: u32, path: &str, from: i64, to: i64) -> Exchange {
        let mark = |at| Mark { frame: FrameId::new(file, 1), at: Timestamp(at) };
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let request = Request { first: mark(from), head, ..Request::default() };
        let response = Response { last: mark(to), ..Response::default() };
        Exchange { request: Some(request), response: Some(response), ..Exchange::default() }
    }

    fn at(last: u8) -> Endpoint {
        Endpoint::v4([10, 0, last, 1], 80)
    }

    /// `paths` to choose from, one request each `every` that takes `takes`; the back leg begins `later`
    /// and takes `back`.
    fn found(paths: i64, every: i64, takes: i64, later: i64, back: i64) -> Vec<Pair> {
        let mut host = OneHost::default();
        for n in 0..200_i64 {
            // No steady pace.
            let (path, from) = (format!("/{}", n * 7 % paths), n * every + n * n % 17 * every / 9);
            host.exchange(1, &exchange(0, &path, from, from + takes));
            host.exchange(2, &exchange(1, &path, from + later, from + later + back));
        }
        host.flow(1, at(1), at(2));
        host.flow(2, at(3), at(4));
        host.pairs()
    }

    #[test]
    fn requests_within_requests_are_those_of_a_proxy() {
        let pairs = found(200, 50 * MS, 20 * MS, MS, 18 * MS);
        let wanted = Pair { front: at(2).ip, back: at(3).ip, within: 200, sure: true };
        assert_eq!(pairs, [wanted]);
    }

    #[test]
    fn rewritten_paths_and_ids_tell_of_a_proxy_too() {
        let two = |front: &dyn Fn(i64) -> String, back: &dyn Fn(i64) -> String| {
            let mut host = OneHost::default();
            for n in 0..200_i64 {
                let from = n * 50 * MS + n * n % 17 * 5 * MS;
                host.exchange(1, &exchange(0, &front(n), from, from + 20 * MS));
                host.exchange(2, &exchange(1, &back(n), from + MS, from + 19 * MS));
            }
            host.flow(1, at(1), at(2));
            host.flow(2, at(3), at(4));
            host.pairs()
        };
        let wanted = [Pair { front: at(2).ip, back: at(3).ip, within: 200, sure: true }];
        assert_eq!(two(&|n| format!("/shop/{n}?a"), &|n| format!("/v2/internal/{n}?a")), wanted);
        assert_eq!(two(&|n| format!("/shop/{n}"), &|n| format!("/shop.php?item={n}")), []);
        let with_id =
            |path: String, n: i64| format!("{path} HTTP/1.1\r\nX-Request-Id: 1234567{n}\r\nA:");
        let of_id =
            two(&|n| with_id(format!("/shop/{n}"), n), &|n| with_id("/shop.php".to_owned(), n));
        assert_eq!(of_id, wanted);
    }

    #[test]
    fn a_proxy_that_goes_on_at_once_is_not_taken_for_its_target() {
        // The client of the front leg asks within less than the slack around what the target is asked.
        let mut host = OneHost::default();
        for n in 0..40_i64 {
            let from = n * 50 * MS + n * n % 17 * 5 * MS;
            host.exchange(1, &exchange(0, &format!("/{n}"), from, from + MS));
            host.exchange(2, &exchange(1, &format!("/{n}"), from + MS / 10, from + MS * 9 / 10));
        }
        host.flow(1, at(1), at(2));
        host.flow(2, at(3), at(4));
        let found: Vec<(Address, Address)> =
            host.pairs().iter().map(|pair| (pair.front, pair.back)).collect();
        assert_eq!(found, [(at(2).ip, at(3).ip)]);
    }

    #[test]
    fn many_of_the_same_at_once_are_not_sure() {
        let pairs = found(1, 100 * MS, 400 * MS, MS, 50 * MS);
        assert_eq!(pairs.len(), 1);
        assert!(!pairs[0].sure, "{pairs:?}");
    }

    #[test]
    fn requests_of_others_are_nothing() {
        // Those of the other host come after the answers.
        assert_eq!(found(200, 50 * MS, 20 * MS, 30 * MS, 18 * MS), []);
        let mut one = OneHost::default();
        for n in 0..100 {
            one.exchange(1, &exchange(0, "/", n * 900 * MS, n * 900 * MS + 9 * MS));
            one.exchange(2, &exchange(1, "/", n * 700 * MS, n * 700 * MS + 3 * MS));
        }
        one.flow(1, at(1), at(2));
        one.flow(2, at(3), at(4));
        assert!(one.pairs().iter().all(|pair| !pair.sure));
    }
}
