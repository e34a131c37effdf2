//! Which endpoint of one host is behind which: where proxy and targets share an address, as on
//! loopback, nothing but time tells.

use super::compare::{compare, is_possible};
use super::leg::Leg;
use super::tie::UNDER_WAY_MAX;
use crate::packet::{Address, Endpoint};
use hashbrown::{HashMap, HashSet};

/// Pairs of endpoints that are looked at; a host has few that are asked and ask.
const PAIRS_MAX: usize = 1 << 12;

/// Endpoints of one address of which the second is not asked for requests at the first. What a proxy asks its
/// target lies within what it was asked itself; what lies within by chance does so seldom.
pub(super) fn not_behind(legs: &[Leg]) -> HashSet<(Endpoint, Endpoint)> {
    let mut of_address: HashMap<Address, Endpoint> = HashMap::new();
    let shared = legs
        .iter()
        .map(|leg| leg.ends.server)
        .any(|server| *of_address.entry(server.ip).or_insert(server) != server);
    if !shared {
        return HashSet::new();
    }
    let within = within(legs);
    let mut most: HashMap<Endpoint, u64> = HashMap::new();
    for ((_, back), times) in &within {
        let known = most.entry(*back).or_default();
        *known = (*known).max(*times);
    }
    let is_chance = |(front, back): &(Endpoint, Endpoint), times: u64| {
        let reverse = within.get(&(*back, *front)).copied().unwrap_or(0);
        reverse > times || most.get(back).is_some_and(|most| *most > 2 * times)
    };
    within.iter().filter(|(pair, times)| is_chance(pair, **times)).map(|(pair, _)| *pair).collect()
}

/// How many exchanges of the second endpoint lie within alike ones of the first.
fn within(legs: &[Leg]) -> HashMap<(Endpoint, Endpoint), u64> {
    let mut within: HashMap<(Endpoint, Endpoint), u64> = HashMap::new();
    let mut under_way: Vec<usize> = Vec::new();
    let mut around: HashSet<Endpoint> = HashSet::new();
    for (at, leg) in legs.iter().enumerate().filter(|(_, leg)| leg.ends.ordinal > 0) {
        let ends = &leg.ends;
        under_way.retain(|front| legs[*front].ends.over.at >= ends.asked.at);
        around.clear();
        for front in under_way.iter().map(|front| &legs[*front]) {
            let server = front.ends.server;
            if server.ip == ends.server.ip
                && !around.contains(&server)
                && front.ends.over.at >= ends.over.at
                && is_possible(front, leg)
                && compare(front, leg).is_plausible()
            {
                around.insert(server);
            }
        }
        for server in &around {
            let pair = (*server, ends.server);
            if within.len() < PAIRS_MAX || within.contains_key(&pair) {
                *within.entry(pair).or_default() += 1;
            }
        }
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.remove(0);
        }
        under_way.push(at);
    }
    // What is within nothing at all has its pair, too, so that both directions are compared.
    let pairs: Vec<(Endpoint, Endpoint)> = within.keys().copied().collect();
    for (front, back) in pairs {
        within.entry((back, front)).or_default();
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::legs::testing::leg;

    fn at(port: u16, flow: u64, asked: i64, over: i64) -> Leg {
        let mut leg = leg(flow, 7, asked, over, 200);
        leg.ends.client = Endpoint::v4([127, 0, 0, 1], 50_000 + flow as u16);
        leg.ends.server = Endpoint::v4([127, 0, 0, 1], port);
        leg
    }

    #[test]
    fn targets_of_one_proxy_are_behind_it_and_not_behind_each_other() {
        // Once a request at one target lies within one at the other, and once behind a late client.
        let mut legs = Vec::new();
        for n in 0..4 {
            let from = n * 100;
            let flow = 10 * n as u64;
            legs.extend([at(80, flow, from, from + 50), at(9001, flow + 1, from + 5, from + 45)]);
            legs.extend([
                at(80, flow + 2, from + 1, from + 60),
                at(9002, flow + 3, from + 8, from + 55),
            ]);
        }
        legs.push(at(9002, 50, 310, 320));
        legs.sort_by_key(|leg| leg.ends.asked.at);
        let [proxy, one, two] = [80, 9001, 9002].map(|port| Endpoint::v4([127, 0, 0, 1], port));
        let apart = not_behind(&legs);
        assert!(!apart.contains(&(proxy, one)) && !apart.contains(&(proxy, two)), "{apart:?}");
        assert!(apart.contains(&(one, proxy)) && apart.contains(&(two, proxy)), "{apart:?}");
        assert!(apart.contains(&(one, two)), "{apart:?}");
    }
}
