//! A RST answered a SYN: did the target send it, or somebody on the path in its name.
//!
//! Several servers may share an address, as behind a load balancer whose targets answer clients themselves. Where
//! nothing of a connection is at the other place, one of those may have refused it: that is certain only of a RST
//! that comes from elsewhere by its time to live.

use super::absent::Absence;
use super::point::{Landmark, Point};
use super::retell::{Elsewhere, NEAR, becomes};
use crate::cause::{Confidence, Finding, Responsible, What};
use crate::flow::Vantage;
use crate::packet::Endpoint;
use crate::phrase;
use crate::tcp::Side;
use crate::words::Phrase;
use hashbrown::{HashMap, HashSet};

/// A SYN and the RST that answered it.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    syn: Landmark,
    rst: Landmark,
}

/// What another place, nearer to the server, shows of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    /// The SYN never got there, nor did the RST come from there.
    Forged,
    /// One of them is there.
    There,
    /// Neither, and it may not have been captured.
    Neither,
    /// Neither, and nothing follows.
    Nothing,
}

/// Tells findings of refused connections anew.
pub fn refusals(findings: &mut [Finding], here: &Point, places: &[Elsewhere<'_>]) {
    // The TTLs that RSTs have which the server in whose name they came did not send.
    let mut forged: HashMap<Endpoint, u8> = HashMap::new();
    let mut sent: HashSet<Endpoint> = HashSet::new();
    let mut open: Vec<(usize, Refusal, Shown)> = Vec::new();
    for (n, finding) in findings.iter_mut().enumerate() {
        let Some(refusal) = refusal(finding, here) else { continue };
        let beyond = places.iter().filter(|place| is_beyond(finding, place));
        let shown = beyond.map(|place| show(&refusal, here, place)).min();
        let server = finding.server;
        match shown {
            Some(Shown::Forged) => {
                forged.insert(server, refusal.rst.ttl);
                let usual = here.sender(server.ip).map(|it| it.ttl);
                never_sent(finding, usual.is_some_and(|usual| usual != refusal.rst.ttl));
            }
            Some(Shown::There) => drop(sent.insert(server)),
            Some(shown) => open.push((n, refusal, shown)),
            None => {}
        }
    }
    for (n, refusal, shown) in open {
        let (finding, rst) = (&mut findings[n], refusal.rst);
        let usual = here.sender(rst.src.ip).map(|it| it.ttl).filter(|usual| *usual != rst.ttl);
        let alike = forged.get(&rst.src) == Some(&rst.ttl) && !sent.contains(&rst.src);
        doubt(finding, rst, shown, usual, alike);
    }
}

fn refusal(finding: &Finding, here: &Point) -> Option<Refusal> {
    let guilty = finding.evidence.first().filter(|guilty| guilty.what == What::Rst)?;
    let rst = here.at_frame(guilty.mark.frame).filter(|it| it.src == finding.server)?;
    let of = || here.between(finding.client, finding.server);
    let before = |it: &&Landmark| (0..=NEAR).contains(&rst.mark.at.nanos_since(it.mark.at));
    let asked = |it: &&Landmark| {
        it.is_syn() && it.src == finding.client && rst.ack == it.seq.wrapping_add(1)
    };
    let syn = of().filter(before).filter(asked).last()?;
    let answered = |it: &Landmark| it.is_syn_ack() && it.ack == rst.ack;
    let answered = of().filter(before).any(answered);
    (!answered).then_some(Refusal { syn: *syn, rst: *rst })
}

/// Whether this place is on the server's side.
fn is_beyond(finding: &Finding, place: &Elsewhere<'_>) -> bool {
    place.is_toward(Side::Server).unwrap_or(finding.vantage == Vantage::Client)
}

fn show(refusal: &Refusal, here: &Point, place: &Elsewhere<'_>) -> Shown {
    let Refusal { syn, rst } = refusal;
    let found = |it: &Landmark| place.point.find(it, place.clocks).is_some();
    if found(syn) || found(rst) {
        return Shown::There;
    }
    // Had the server answered, its answer would have been there before it was here.
    match place.absence(here, (syn.src, syn.dst), (syn.mark.at, rst.mark.at)) {
        Absence::Proof => Shown::Forged,
        Absence::Hint => Shown::Neither,
        Absence::Nothing => Shown::Nothing,
    }
}

/// The other place captured, and nothing of this connection is there. `foreign`: the server's packets are known, and have
/// another time to live than the RST. Another server of the address is as far away, if there is one.
fn never_sent(finding: &mut Finding, foreign: bool) {
    let sender = finding.server.socket();
    let (confidence, summary) = match foreign {
        true => (
            Confidence::Certain,
            phrase!(
                "the SYN that this RST answers never reached the other capture point, nor did {sender} send the RST there, whose packets have another time to live: something on the path refused",
                sender
            ),
        ),
        false => (
            Confidence::Likely,
            phrase!(
                "the SYN that this RST answers never reached the other capture point, nor did {sender} send the RST there: something on the path refused, unless another host has the same address",
                sender
            ),
        ),
    };
    becomes(finding, "injected-reset", Responsible::Network, confidence, summary);
}

/// A refusal that the other place does not show, and may not have been able to. `usual`: the TTL of the
/// server's other packets, if it is not that of the RST; `alike`: RSTs like this one were forged.
fn doubt(finding: &mut Finding, rst: Landmark, shown: Shown, usual: Option<u8>, alike: bool) {
    let (sender, ttl) = (rst.src.socket(), rst.ttl);
    let summary = finding.summary.clone();
    match (shown, usual) {
        (Shown::Neither, _) if alike => injected(
            finding,
            phrase!(
                "neither this RST nor its SYN is at the other capture point, which may not have captured them; other RSTs like it did not come from {sender}",
                sender
            ),
        ),
        (Shown::Neither, Some(usual)) => injected(
            finding,
            phrase!(
                "neither this RST nor its SYN is at the other capture point, which may not have captured them; its time to live is {ttl}, that of other packets of {sender} {usual}",
                ttl,
                sender,
                usual
            ),
        ),
        (Shown::Neither, None) => doubtful(
            finding,
            phrase!(
                "{summary}; neither this RST nor its SYN is at the other capture point, which may not have captured them",
                summary
            ),
        ),
        (_, Some(usual)) => doubtful(
            finding,
            phrase!(
                "{summary}; but its time to live is {ttl}, that of other packets of {sender} {usual}",
                summary,
                ttl,
                sender,
                usual
            ),
        ),
        _ => {}
    }
}

fn injected(finding: &mut Finding, summary: Phrase) {
    becomes(finding, "injected-reset", Responsible::Network, Confidence::Likely, summary);
}

fn doubtful(finding: &mut Finding, summary: Phrase) {
    finding.confidence = finding.confidence.min(Confidence::Likely);
    finding.summary = summary;
}

#[cfg(test)]
mod tests {
    use super::super::clocks::clocks;
    use super::super::testing::{
        MS, N, Path, Places, RST, SERVER, SYN, SYN_ACK, finding, mark, paths, places, told,
    };
    use super::*;

    /// Connection `n` is refused at `at`: on the path, or by the server.
    fn refuse(places: &mut Places, n: u16, at: i64, by_server: bool) {
        places.at_clients(n, at, true, SYN);
        places.at_clients(n, at + MS, false, RST);
        if by_server {
            places.at_servers(n, at, true, SYN);
            places.at_servers(n, at + MS, false, RST);
        }
    }

    /// What becomes of all refusals at the clients, in the order of time.
    fn all(places: &Places) -> Vec<(&'static str, Confidence)> {
        let compared = clocks(&places.clients, &places.servers).unwrap();
        let place = Elsewhere { point: &places.servers, clocks: &compared };
        let resets = places.clients.landmarks.iter().filter(|it| it.is_rst());
        let finding = |rst: &Landmark| Finding {
            client: rst.dst,
            confidence: Confidence::Certain,
            ..finding("connect-refused", rst.mark, What::Rst, SERVER)
        };
        let mut findings: Vec<Finding> = resets.map(finding).collect();
        refusals(&mut findings, &places.clients, &[place]);
        findings.iter().map(|it| (it.cause.id, it.confidence)).collect()
    }

    const REFUSED: (&str, Confidence) = ("connect-refused", Confidence::Certain);
    const DOUBTED: (&str, Confidence) = ("connect-refused", Confidence::Likely);
    const LIKELY: (&str, Confidence) = ("injected-reset", Confidence::Likely);
    const FORGED: (&str, Confidence) = ("injected-reset", Confidence::Certain);

    #[test]
    fn a_reset_for_a_syn_that_never_arrived_was_injected() {
        for path in paths() {
            for arrived in [false, true] {
                let places = places(path, |it| refuse(it, N, 500 * MS, arrived));
                // Behind a NAT another server may have refused.
                let wanted = match path.nat {
                    _ if arrived => REFUSED,
                    Some(_) => DOUBTED,
                    None => LIKELY,
                };
                assert_eq!(all(&places), [wanted], "{path:?}");
                let rst = places.clients.landmarks.iter().find(|it| it.is_rst()).unwrap();
                let finding = finding("connect-refused", rst.mark, What::Rst, SERVER);
                let (id, ..) = told(&finding, &places.clients, &places.servers);
                assert_eq!(id, wanted.0, "{path:?}");
            }
        }
    }

    /// The other place shows nothing until the path lets something through, as if it began to capture then.
    #[test]
    fn what_was_refused_before_the_other_place_shows_anything_is_no_longer_certain() {
        for path in paths() {
            let mut some = Places::new(path);
            refuse(&mut some, 1, 100 * MS, false);
            some.whole(2, 200 * MS);
            assert_eq!(all(&some), [DOUBTED], "{path:?}");
            let mut nearer = Places::new(path);
            refuse(&mut nearer, 1, 100 * MS, false);
            nearer.clients.landmarks[1].ttl += 1;
            nearer.whole(2, 200 * MS);
            assert_eq!(all(&nearer), [LIKELY], "{path:?}");
            // The same happens while it captures for sure.
            refuse(&mut some, 3, 250 * MS, false);
            some.whole(4, 300 * MS);
            let wanted = if path.nat.is_some() { [DOUBTED; 2] } else { [LIKELY; 2] };
            assert_eq!(all(&some), wanted, "{path:?}");
        }
    }

    #[test]
    fn what_was_refused_before_the_other_place_began_stays() {
        for path in paths() {
            let mut places = Places::new(path);
            // The server answers here, and nothing of that is there: it did not capture yet.
            places.at_clients(1, 0, true, SYN);
            places.at_clients(1, 5 * MS, false, SYN_ACK);
            refuse(&mut places, N, 100 * MS, false);
            places.whole(2, 200 * MS);
            assert_eq!(all(&places), [REFUSED], "{path:?}");
            // But who sent it is not the server's neighbour.
            places.clients.landmarks[3].ttl += 1;
            assert_eq!(all(&places), [DOUBTED], "{path:?}");
        }
    }

    #[test]
    fn a_capture_that_loses_packets_proves_nothing() {
        let path = Path::new(2 * MS, 3_000 * MS);
        let lossy = places(path, |it| {
            refuse(it, N, 500 * MS, false);
            // Its SYN is at both places, its answer only here.
            it.both(8, 600 * MS, true, SYN);
            it.at_clients(8, 606 * MS, false, SYN_ACK);
        });
        let told = all(&lossy);
        assert_ne!(told, [LIKELY]);
        let whole = places(path, |it| {
            refuse(it, N, 500 * MS, false);
            it.both(8, 600 * MS, true, SYN);
            it.both(8, 606 * MS, false, SYN_ACK);
        });
        assert_eq!(all(&whole), [LIKELY]);
    }

    #[test]
    fn a_reset_from_elsewhere_by_its_time_to_live_is_proved() {
        for nearer in [false, true] {
            let mut places = places(Path::new(2 * MS, 0), |it| {
                it.whole(2, 300 * MS);
                refuse(it, N, 500 * MS, false);
            });
            if let Some(rst) = places.clients.landmarks.iter_mut().find(|it| it.is_rst()) {
                rst.ttl += u8::from(nearer);
            }
            assert_eq!(all(&places), [if nearer { FORGED } else { LIKELY }]);
        }
    }

    /// Of two ways to a server, or two servers behind one address, the other place shows one.
    #[test]
    fn nothing_follows_from_a_place_that_does_not_show_all() {
        let path = Path::new(2 * MS, 3_000 * MS);
        let places = places(path, |it| {
            it.at_clients(8, 470 * MS, true, SYN);
            it.at_clients(8, 475 * MS, false, SYN_ACK);
            refuse(it, N, 500 * MS, false);
        });
        assert_eq!(all(&places), [REFUSED]);
    }

    /// Packets at the clients, as if they were of connections to another port.
    fn of_port(port: u16, places: &Places) -> Vec<Landmark> {
        let moved = |end: Endpoint| match end == SERVER {
            true => Endpoint { port, ..end },
            false => Endpoint { port: end.port + port, ..end },
        };
        let one = |it: &Landmark| Landmark {
            mark: mark(0, it.mark.frame.number() + 1_000 * u64::from(port), it.mark.at.0),
            src: moved(it.src),
            dst: moved(it.dst),
            seq: it.seq + u32::from(port),
            ack: it.ack + u32::from(port),
            ..*it
        };
        places.clients.landmarks.iter().map(one).collect()
    }

    /// What was captured at the target shows one port, and another is refused.
    #[test]
    fn another_port_may_not_have_been_captured() {
        let path = Path::new(2 * MS, 0);
        let shown = places(path, |_| ());
        let mut refused = Places::new(path);
        refuse(&mut refused, N, 500 * MS, false);
        let refused = of_port(99, &refused);
        let with = |more: &[Landmark]| {
            let (mut clients, mut all) = (Point::default(), shown.clients.landmarks.clone());
            all.extend(more);
            all.extend(&refused);
            all.sort_by_key(|it| it.mark.at);
            all.into_iter().for_each(|it| clients.add(it));
            let compared = clocks(&clients, &shown.servers).unwrap();
            let place = Elsewhere { point: &shown.servers, clocks: &compared };
            let (rst, server) = (refused[1].mark, Endpoint { port: 99, ..SERVER });
            let mut findings = vec![finding("connect-refused", rst, What::Rst, server)];
            (findings[0].client, findings[0].confidence) = (refused[0].src, Confidence::Certain);
            refusals(&mut findings, &clients, &[place]);
            (findings[0].cause.id, findings[0].confidence)
        };
        assert_eq!(with(&[]), DOUBTED);
        // Nor does it show a third one, which works.
        let third = of_port(98, &places(path, |_| ()));
        assert_eq!(with(&third), REFUSED);
    }

    #[test]
    fn who_captured_ports_on_both_sides_captured_what_lies_between() {
        let shown = places(Path::new(2 * MS, 0), |_| ());
        let knows = |ports: &[u16]| {
            let mut servers = Point::default();
            for port in ports {
                of_port(*port, &shown).into_iter().for_each(|it| servers.add(it));
            }
            servers.knows_ports_around(Endpoint { port: 99, ..SERVER })
        };
        assert!(knows(&[80, 98, 100]));
        assert!(!knows(&[80, 90, 98]) && !knows(&[98, 100]), "a range, or a list of two");
    }

    #[test]
    fn a_reset_that_has_passed_fewer_routers_than_the_syn_ack_came_from_nearer() {
        let nearer = |ttl: u8| {
            let places = places(Path::new(2 * MS, 0), |it| {
                it.both(N, 500 * MS, true, SYN);
                it.both(N, 506 * MS, false, SYN_ACK);
                it.at_clients(N, 530 * MS, false, RST);
            });
            let rst = places.clients.landmarks.iter().find(|it| it.is_rst()).unwrap();
            let mark = rst.mark;
            let mut point = Point::default();
            for it in &places.clients.landmarks {
                point.add(Landmark { ttl: if it.is_rst() { ttl } else { 63 }, ..*it });
            }
            point.shows_nearer_reset(&finding("injected-reset", mark, What::Rst, SERVER))
        };
        assert_eq!([64, 255, 63, 62, 119].map(nearer), [true, true, false, false, false]);
    }
}
