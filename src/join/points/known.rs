//! What one place knows of a connection or failure that another place shows.

use super::clocks::Clocks;
use super::point::{Connection, DELAY_MAX, Landmark, Point};
use crate::cause::Finding;
use crate::flow::Flow;
use crate::join::{Ends, Outcome};
use crate::time::Timestamp;
use hashbrown::{HashMap, HashSet};

/// Connections remembered of a place, about 50 bytes each; of those beyond it is not known whether the
/// place has them.
const CONNECTIONS_MAX: usize = 1 << 20;

/// Every connection of a place, with a handshake or without.
#[derive(Debug, Default)]
pub struct Connections {
    of: HashSet<Connection>,
    /// Those that were not kept.
    pub lost: u64,
}

impl Connections {
    /// Takes in a flow.
    pub fn flow(&mut self, flow: &Flow) {
        if self.of.len() < CONNECTIONS_MAX {
            self.of.insert((flow.client, flow.server));
        } else {
            self.lost += 1;
        }
    }

    fn has(&self, connection: Connection) -> bool {
        self.of.contains(&connection) || self.of.contains(&(connection.1, connection.0))
    }
}

/// What a place knows of another's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// It is there, under this name, in this time of its clock.
    Known(Connection, (Timestamp, Timestamp)),
    /// It is not there.
    Unknown,
    /// Nothing shows whether it is there.
    Unclear,
}

/// A failure that a place tells of.
#[derive(Clone, Copy, Debug)]
struct Failure {
    /// Its position among the findings.
    at: usize,
    guilty: Timestamp,
    asked: Option<Timestamp>,
}

/// A finding of the place before a proxy, on a request that the proxy got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its position among the findings.
    pub at: usize,
    /// It tells how that request failed; else how the one failed that it was made for.
    pub is_it: bool,
}

/// What a place knows, compared with what others show.
#[derive(Debug)]
pub struct Known<'a> {
    point: &'a Point,
    connections: &'a Connections,
    failures: HashMap<Connection, Vec<Failure>>,
    /// What proxies asked for the requests that failed.
    attempts: HashMap<Connection, Vec<Failure>>,
    /// When requests that failed were sent, by their heads.
    heads: HashMap<&'a [u8], Vec<Timestamp>>,
}

impl<'a> Known<'a> {
    /// By what the place captured and the failures that it tells of.
    pub fn new(
        point: &'a Point,
        connections: &'a Connections,
        findings: impl Iterator<Item = &'a Finding>,
    ) -> Known<'a> {
        let mut failures: HashMap<Connection, Vec<Failure>> = HashMap::new();
        let mut attempts: HashMap<Connection, Vec<Failure>> = HashMap::new();
        let mut heads: HashMap<&[u8], Vec<Timestamp>> = HashMap::new();
        for (at, finding) in findings.enumerate() {
            let Some(failure) = failure(at, finding) else { continue };
            failures.entry((finding.client, finding.server)).or_default().push(failure);
            if let Some(front) = finding.joined.as_ref().filter(|it| it.outcome == Outcome::Failed)
            {
                // Told of what is behind the proxy, it is the failure of the request before it as well.
                let (front, asked) = (&front.front, Some(front.front.asked.at));
                let told = failures.entry((front.client, front.server)).or_default();
                told.push(Failure { asked, ..failure });
            }
            for ends in finding.joined.iter().flat_map(|it| &it.attempts).map(|it| &it.ends) {
                let asked = Some(ends.asked.at);
                let made = attempts.entry((ends.client, ends.server)).or_default();
                made.push(Failure { asked, ..failure });
            }
            if let Some((head, at)) = head(finding) {
                heads.entry(head).or_default().push(at);
            }
        }
        Known { point, connections, failures, attempts, heads }
    }

    /// Whether this place, too, tells of a failure that `there` shows; `None`: nothing shows whether the
    /// connection is here.
    pub fn tells(&self, finding: &Finding, there: &Point, clocks: Option<&Clocks>) -> Option<bool> {
        let failure = failure(0, finding)?;
        let of = (finding.client, finding.server);
        match self.name(of, failure.guilty, there, clocks) {
            Name::Known(name, (from, to)) => {
                let mine = self.failures.get(&name).into_iter().flatten();
                let here = |at: Timestamp| clocks.map_or(at, |clocks| clocks.there(at));
                Some(mine.into_iter().any(|it| match (it.asked, failure.asked) {
                    (Some(mine), Some(its)) => mine.nanos_since(here(its)).abs() <= DELAY_MAX,
                    _ => from.after(-DELAY_MAX) <= it.guilty && it.guilty <= to.after(DELAY_MAX),
                }))
            }
            Name::Unknown => Some(false),
            // Where nothing else tells, the same request at the same time is the same.
            Name::Unclear => {
                let (head, at) = head(finding)?;
                let at = clocks.map_or(at, |clocks| clocks.there(at));
                let same = self.heads.get(head).into_iter().flatten();
                let told = same.into_iter().any(|it| it.nanos_since(at).abs() <= DELAY_MAX);
                told.then_some(true)
            }
        }
    }

    /// Which of the findings of this place is about a request that `there` shows as well, one that a proxy asked
    /// others for.
    pub(super) fn failed(
        &self,
        front: &Ends,
        there: &Point,
        clocks: Option<&Clocks>,
    ) -> Option<Before> {
        let (of, asked) = ((front.client, front.server), front.asked.at);
        let Name::Known(name, _) = self.name(of, asked, there, clocks) else { return None };
        let asked = clocks.map_or(asked, |clocks| clocks.there(asked));
        let apart = |it: &Failure| Some((it.asked?.nanos_since(asked).abs(), it.at));
        let nearest = |known: &HashMap<Connection, Vec<Failure>>| {
            let (apart, at) = known.get(&name)?.iter().filter_map(apart).min()?;
            (apart <= DELAY_MAX).then_some(at)
        };
        let this = nearest(&self.failures).map(|at| Before { at, is_it: true });
        this.or_else(|| Some(Before { at: nearest(&self.attempts)?, is_it: false }))
    }

    /// Whether a connection that `there` shows is surely not here.
    pub fn lacks(&self, flow: &Flow, there: &Point, clocks: Option<&Clocks>) -> bool {
        let of = (flow.client, flow.server);
        self.name(of, flow.first.at, there, clocks) == Name::Unknown
    }

    /// What a connection that `there` shows at `at` is called here.
    fn name(&self, of: Connection, at: Timestamp, there: &Point, clocks: Option<&Clocks>) -> Name {
        let here = |at: Timestamp| clocks.map_or(at, |clocks| clocks.there(at));
        let span = there.span_of(of, at);
        let (from, to) = span.unwrap_or((Timestamp(i64::MIN), Timestamp(i64::MAX)));
        let during = |it: &&Landmark| (from..=to).contains(&it.mark.at);
        let mine = clocks.and_then(|clocks| {
            there.between(of.0, of.1).filter(during).find_map(|it| {
                let found = self.point.find(it, clocks)?;
                let same_way = it.src == of.0;
                let ends = if same_way { (found.src, found.dst) } else { (found.dst, found.src) };
                Some(self.point.original(ends))
            })
        });
        if let Some(name) = mine {
            return Name::Known(name, (here(from), here(to)));
        }
        if self.point.lost > 0 || there.lost > 0 || self.connections.lost > 0 {
            return Name::Unclear;
        }
        let covered = |clocks: &Clocks| self.point.covers(clocks.there(from));
        if span.is_some() && clocks.is_some_and(covered) {
            // Its SYN would be here.
            return Name::Unknown;
        }
        if self.connections.has(of) {
            return Name::Known(of, (here(from), here(to)));
        }
        match clocks {
            // With nothing in common, only addresses tell.
            None => Name::Unknown,
            Some(clocks) if span.is_none() && clocks.renamed => Name::Unclear,
            Some(_) => Name::Unknown,
        }
    }
}

fn failure(at: usize, finding: &Finding) -> Option<Failure> {
    let guilty = finding.evidence.first()?.mark.at;
    let request = finding.exchange.as_deref().and_then(|exchange| exchange.request.as_ref());
    Some(Failure { at, guilty, asked: request.map(|request| request.first.at) })
}

fn head(finding: &Finding) -> Option<(&[u8], Timestamp)> {
    let request = finding.exchange.as_deref()?.request.as_ref()?;
    (!request.head.is_empty()).then_some((&request.head[..], request.first.at))
}

impl Point {
    /// From the first SYN of the connection that lived at `at` until ports are used again. `None`: it
    /// has no SYN here.
    fn span_of(&self, of: Connection, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let syns = || self.between(of.0, of.1).filter(|it| it.is_syn() && it.src == of.0);
        let last = syns().filter(|it| it.mark.at <= at).last()?;
        let first = syns().find(|it| it.seq == last.seq)?;
        let next = syns().find(|it| it.mark.at > at && it.seq != last.seq);
        Some((first.mark.at, next.map_or(Timestamp(i64::MAX), |it| it.mark.at.after(-1))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::clocks::clocks;
    use super::super::testing::{Path, Places, SERVER, SYN, client};
    use super::*;
    use crate::packet::Endpoint;

    const MS: i64 = 1_000_000;

    /// What the servers' place says of the connections `numbers` of the clients' place, at 500 ms.
    fn names(places: &Places, numbers: [u16; 3]) -> [Name; 3] {
        let clocks = clocks(&places.clients, &places.servers);
        let connections = Connections::default();
        let known = Known::new(&places.servers, &connections, std::iter::empty());
        let at = Timestamp(500 * MS);
        numbers.map(|n| known.name((client(n), SERVER), at, &places.clients, clocks.as_ref()))
    }

    fn paths() -> [Path; 2] {
        let nat = Some((Endpoint::v4([192, 0, 2, 1], 0), Endpoint::v4([10, 9, 9, 9], 8080)));
        [Path::new(2 * MS, 3_000 * MS), Path { nat, ..Path::new(2 * MS, 3_000 * MS) }]
    }

    #[test]
    fn what_arrived_is_known_under_its_name_and_what_got_lost_is_not() {
        for path in paths() {
            let mut places = Places::new(path);
            places.whole(1, 0);
            places.at_clients(2, 400 * MS, true, SYN);
            places.whole(3, 900 * MS);
            let [one, two, three] = names(&places, [1, 2, 9]);
            let named = path.nat.map_or((client(1), SERVER), |(source, server)| {
                (Endpoint { port: 20_001, ..source }, server)
            });
            assert!(matches!(one, Name::Known(name, _) if name == named), "{path:?} {one:?}");
            assert_eq!(two, Name::Unknown, "{path:?}");
            // Nothing is known of a connection that never opened or ended while this was captured.
            let unclear = if path.nat.is_some() { Name::Unclear } else { Name::Unknown };
            assert_eq!(three, unclear, "{path:?}");
        }
    }

    #[test]
    fn ports_that_are_used_again_are_other_connections() {
        for path in paths() {
            let mut places = Places::new(path);
            places.whole(1, 0);
            // The same addresses and ports, another sequence number: it got lost.
            let lost = Landmark {
                seq: 77,
                mark: crate::time::Mark {
                    frame: crate::time::FrameId::new(0, 99),
                    at: Timestamp(450 * MS),
                },
                ..places.clients.landmarks[0]
            };
            places.clients.add(lost);
            places.whole(3, 900 * MS);
            assert_eq!(names(&places, [1; 3])[0], Name::Unknown, "{path:?}");
        }
    }

    #[test]
    fn with_nothing_in_common_only_addresses_tell() {
        let mut places = Places::new(Path::new(2 * MS, 0));
        places.at_clients(2, 400 * MS, true, SYN);
        let mut connections = Connections::default();
        connections.of.insert((client(4), SERVER));
        let known = Known::new(&places.servers, &connections, std::iter::empty());
        let name = |n: u16| known.name((client(n), SERVER), Timestamp(0), &places.clients, None);
        assert_eq!(name(2), Name::Unknown);
        assert!(matches!(name(4), Name::Known(..)));
    }
}
