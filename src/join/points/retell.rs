//! Findings told anew with what other places show.

use super::clocks::Clocks;
use super::point::{Landmark, Point};
use crate::cause::{Confidence, Evidence, Finding, PacketFacts, Responsible, What, by_id};
use crate::flow::Vantage;
use crate::packet::Endpoint;
use crate::phrase;
use crate::tcp::Side;
use crate::time::{FrameId, Mark};
use crate::words::Phrase;

/// How far from a finding a SYN of its connection may be, nanoseconds: ports are used again.
const NEAR: i64 = 120_000_000_000;

/// Another place.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere<'a> {
    /// What was captured there.
    pub point: &'a Point,
    /// How its clock differs.
    pub clocks: &'a Clocks,
}

impl Elsewhere<'_> {
    /// Whether it is nearer to the client or the server than this place, as far as that shows.
    fn is_toward(&self, side: Side) -> Option<bool> {
        self.clocks.nearer_server.map(|server| server == (side == Side::Server))
    }
}

/// Tells a finding of one place anew with what others show. Gives the frames there that prove it.
pub fn retell(finding: &mut Finding, here: &Point, places: &[Elsewhere<'_>]) -> Vec<FrameId> {
    let evidence = finding.evidence.iter().map(|evidence| here.at_frame(evidence.mark.frame));
    let landmarks: Vec<Option<Landmark>> = evidence.map(Option::<&Landmark>::copied).collect();
    let mut frames: Vec<FrameId> = Vec::new();
    for place in places {
        let found = landmarks.iter().flatten().filter_map(|it| place.point.find(it, place.clocks));
        frames.extend(found.map(|found| found.mark.frame));
    }
    let id = finding.cause.id;
    if id.starts_with("connect-timeout") || id == "return-path-blocked" {
        frames.extend(connecting(finding, here, places));
    } else if finding.evidence.first().is_some_and(|guilty| guilty.what == What::Rst)
        && let Some(Some(rst)) = landmarks.first()
    {
        for place in places {
            reset(finding, rst, here, place);
        }
    }
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// What a place tells of a SYN that nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It never got there.
    Lost,
    /// Its answer left here, and never got to the other place, where the SYN was.
    AnswerLost(Mark),
    /// Its answer was there, and never got here.
    AnswerLostHere(Mark),
    /// It got to the host, which answered nothing.
    Ignored(Mark),
    /// It got past the place, and no answer came by.
    Passed(Mark),
}

impl Told {
    /// Of what several places tell, the first is so.
    fn rank(&self) -> u8 {
        match self {
            Told::Lost => 0,
            Told::AnswerLost(_) => 1,
            Told::AnswerLostHere(_) => 2,
            Told::Ignored(_) => 3,
            Told::Passed(_) => 4,
        }
    }
}

/// Nobody answered SYN here: did it get to the others, and did an answer leave.
fn connecting(finding: &mut Finding, here: &Point, places: &[Elsewhere<'_>]) -> Vec<FrameId> {
    let near = |it: &&Landmark| {
        finding
            .evidence
            .iter()
            .any(|evidence| it.mark.at.nanos_since(evidence.mark.at).abs() <= NEAR)
    };
    let (client, server) = (finding.client, finding.server);
    let syns: Vec<&Landmark> = here
        .between(client, server)
        .filter(|it| it.is_syn() && it.src == client)
        .filter(near)
        .collect();
    let told = places.iter().filter_map(|place| tell(&syns, server, here, place));
    let told = told.min_by_key(Told::rank);
    let Some(told) = told else { return Vec::new() };
    let n = syns.len();
    let (id, who, proof, summary) = match told {
        Told::Lost => {
            let summary = phrase!(
                "{n} SYN left and none reached the other capture point: they were lost on the path between the two",
                n
            );
            becomes(finding, "connect-timeout", Responsible::Network, Confidence::Certain, summary);
            return Vec::new();
        }
        Told::AnswerLost(mark) => (
            "return-path-blocked",
            Responsible::Network,
            (mark, Side::Client, What::Syn),
            phrase!(
                "SYN passed the other capture point, its SYN-ACK left here and never got there: it was lost on its way back"
            ),
        ),
        Told::AnswerLostHere(mark) => (
            "return-path-blocked",
            Responsible::Network,
            (mark, Side::Server, What::SynAck),
            phrase!(
                "the other capture point shows SYN arriving and its SYN-ACK leaving, which never came back"
            ),
        ),
        Told::Ignored(mark) => (
            "connect-timeout-host",
            Responsible::TargetHost,
            (mark, Side::Client, What::Syn),
            phrase!(
                "the other capture point shows SYN arriving at the target's host, which answered nothing"
            ),
        ),
        Told::Passed(mark) => (
            "connect-timeout",
            finding.responsible,
            (mark, Side::Client, What::Syn),
            phrase!(
                "SYN passed the other capture point on its way, and no answer came by: it was lost beyond, or the target's host answered nothing"
            ),
        ),
    };
    let (mark, side, what) = proof;
    let confidence = match told {
        Told::Passed(_) => finding.confidence,
        _ => Confidence::Certain,
    };
    becomes(finding, id, who, confidence, summary);
    add(finding, mark, side, what, phrase!("seen at the other capture point"));
    vec![mark.frame]
}

/// What one place tells. It does not matter which of the two is nearer to the target, but where that
/// shows, it has to fit.
fn tell(syns: &[&Landmark], server: Endpoint, here: &Point, place: &Elsewhere<'_>) -> Option<Told> {
    let first = syns.first()?;
    let there = place.point;
    let seen = syns.iter().find_map(|syn| Some((*syn, there.find(syn, place.clocks)?)));
    let Some((syn, seen)) = seen else {
        let watched = there.knows(server.ip) || place.knows_by_another_name(server, here);
        let lost = watched
            && there.lost == 0
            && there.covers(place.clocks.there(first.mark.at))
            && place.is_toward(Side::Server) != Some(false);
        return lost.then_some(Told::Lost);
    };
    let answer = |point: &Point, syn: &Landmark| {
        let of = |it: &&Landmark| {
            it.is_syn_ack() && it.src == syn.dst && it.ack == syn.seq.wrapping_add(1)
        };
        point.between(syn.src, syn.dst).find(of).map(|it| it.mark)
    };
    match (answer(here, syn), answer(there, seen)) {
        (Some(_), None) => {
            let fits = place.is_toward(Side::Client) != Some(false);
            fits.then_some(Told::AnswerLost(seen.mark))
        }
        (None, Some(mark)) => {
            let fits = place.is_toward(Side::Server) != Some(false);
            fits.then_some(Told::AnswerLostHere(mark))
        }
        (Some(_), Some(_)) => None,
        (None, None) => {
            let mark = seen.mark;
            // Where the host itself was captured, it is that capture which tells.
            let here_is_nearer = place.is_toward(Side::Client) == Some(true);
            let at_host = match here_is_nearer {
                true => here.is_at(syn.dst.ip),
                false => there.is_at(seen.dst.ip),
            };
            Some(if at_host == Some(false) { Told::Passed(mark) } else { Told::Ignored(mark) })
        }
    }
}

impl Elsewhere<'_> {
    /// Whether other connections to this server are there under another address.
    fn knows_by_another_name(&self, server: Endpoint, here: &Point) -> bool {
        let to = here.landmarks.iter().filter(|it| it.is_syn() && it.dst == server);
        to.take(64).any(|syn| self.point.find(syn, self.clocks).is_some())
    }
}

/// A RST came here: did the side that it names send it, whose side the other place is on.
fn reset(finding: &mut Finding, rst: &Landmark, here: &Point, place: &Elsewhere<'_>) {
    let sender = if rst.src == finding.server { Side::Server } else { Side::Client };
    let from_there = place.is_toward(sender).unwrap_or(match finding.vantage {
        Vantage::Client => sender == Side::Server,
        Vantage::Server => sender == Side::Client,
        Vantage::Between | Vantage::Unknown => false,
    });
    let there = place.point;
    if !from_there || there.lost > 0 || !there.covers(place.clocks.there(rst.mark.at)) {
        return;
    }
    if there.find(rst, place.clocks).is_some() {
        return;
    }
    // The connection has to be known there, or nothing follows from an absence.
    let of = (finding.client, finding.server);
    let Some(name) = there.name(of, here, place.clocks) else {
        let asked = |it: &&Landmark| {
            it.is_syn()
                && it.src == finding.client
                && (0..=NEAR).contains(&rst.mark.at.nanos_since(it.mark.at))
        };
        let syns: Vec<&Landmark> =
            here.between(finding.client, finding.server).filter(asked).collect();
        // What never got there was not answered there.
        if sender == Side::Server && tell(&syns, finding.server, here, place) == Some(Told::Lost) {
            let summary = phrase!(
                "the SYN that this RST answers never reached the other capture point, nor did {sender} send the RST there",
                sender = rst.src.socket()
            );
            becomes(finding, "injected-reset", Responsible::Network, Confidence::Certain, summary);
        }
        return;
    };
    let from = if sender == Side::Server { name.1 } else { name.0 };
    let Some(last) = there.between(name.0, name.1).last() else { return };
    if there.between(name.0, name.1).any(|it| it.is_rst() && it.src == from) {
        return;
    }
    let summary = phrase!(
        "the capture at the side of {sender} shows that it never sent this RST",
        sender = rst.src.socket()
    );
    let side = if last.src == name.1 { Side::Server } else { Side::Client };
    let mark = last.mark;
    becomes(finding, "injected-reset", Responsible::Network, Confidence::Certain, summary);
    let note = phrase!(
        "the last packet of this connection at the other capture point that opens or ends it"
    );
    add(finding, mark, side, What::Silence, note);
}

/// Adds a frame of another place to the evidence.
pub(super) fn add(finding: &mut Finding, mark: Mark, side: Side, what: What, note: Phrase) {
    if finding.evidence.iter().all(|evidence| evidence.mark.frame != mark.frame) {
        finding.evidence.push(Evidence { mark, side, what, note });
        finding.packets.resize(finding.evidence.len(), PacketFacts::default());
    }
}

pub(super) fn becomes(
    finding: &mut Finding,
    id: &str,
    who: Responsible,
    confidence: Confidence,
    summary: Phrase,
) {
    if let Some(cause) = by_id(id) {
        finding.cause = cause;
        finding.responsible = who;
        finding.confidence = confidence;
        finding.summary = summary;
    }
}

#[cfg(test)]
mod tests {
    use super::super::clocks::clocks;
    use super::super::testing::{FIN, Path, Places, RST, SERVER, SYN, SYN_ACK, client};
    use super::*;
    use crate::blind::BlindSpots;
    use crate::cause::Kind;

    const MS: i64 = 1_000_000;
    /// The connection that fails, among others.
    const N: u16 = 7;

    /// Ten connections that work, around one that is made by `with` at 500 ms.
    fn places(path: Path, with: impl Fn(&mut Places)) -> Places {
        let mut places = Places::new(path);
        for n in 0..5 {
            places.whole(n, i64::from(n) * 90 * MS);
        }
        with(&mut places);
        for n in 10..15 {
            places.whole(n, i64::from(n) * 90 * MS);
        }
        places
    }

    fn finding(id: &str, at: Mark, what: What, server: Endpoint) -> Finding {
        let side = if what == What::Syn { Side::Client } else { Side::Server };
        Finding {
            cause: by_id(id).unwrap(),
            kind: Kind::Connection,
            flow: 1,
            stream: None,
            client: client(N),
            server,
            responsible: Responsible::Unknown,
            confidence: Confidence::Likely,
            vantage: Vantage::Unknown,
            exchange: None,
            evidence: vec![Evidence { mark: at, side, what, note: Phrase::default() }],
            packets: Vec::new(),
            outstanding: None,
            idle_before: None,
            blind_spots: BlindSpots::default(),
            summary: Phrase::default(),
            host: None,
            joined: None,
        }
    }

    /// What becomes of a finding at one place with the other beside it.
    fn told(finding: &Finding, here: &Point, there: &Point) -> (&'static str, Confidence, usize) {
        let mut finding = finding.clone();
        let clocks = clocks(here, there).unwrap();
        let place = Elsewhere { point: there, clocks: &clocks };
        let frames = retell(&mut finding, here, &[place]);
        let own = finding.evidence[0].mark.frame.file();
        assert!(frames.iter().all(|frame| frame.file() != own));
        (finding.cause.id, finding.confidence, frames.len())
    }

    fn paths() -> Vec<Path> {
        let nat = Some((Endpoint::v4([192, 0, 2, 1], 0), Endpoint::v4([10, 9, 9, 9], 8080)));
        let plain = Path::new(2 * MS, 3_000 * MS);
        vec![
            plain,
            Path { hops: 2, ..plain },
            Path { nat, ..plain },
            Path { nat, hops: 1, ..plain },
        ]
    }

    #[test]
    fn syns_that_got_lost_were_lost_on_the_path() {
        for path in paths() {
            let places = places(path, |it| {
                it.at_clients(N, 500 * MS, true, SYN);
                it.at_clients(N, 1_500 * MS, true, SYN);
            });
            let syn = places.clients.between(client(N), SERVER).next().unwrap().mark;
            let finding = finding("connect-timeout", syn, What::Syn, SERVER);
            let told = told(&finding, &places.clients, &places.servers);
            assert_eq!(told, ("connect-timeout", Confidence::Certain, 0), "{path:?}");
        }
    }

    #[test]
    fn syns_that_arrived_were_ignored_by_the_host() {
        for path in paths() {
            let places = places(path, |it| it.both(N, 500 * MS, true, SYN));
            let syn = places.clients.between(client(N), SERVER).next().unwrap().mark;
            let finding = finding("connect-timeout", syn, What::Syn, SERVER);
            let told = told(&finding, &places.clients, &places.servers);
            assert_eq!(told, ("connect-timeout-host", Confidence::Certain, 1), "{path:?}");
        }
    }

    #[test]
    fn a_place_short_of_the_host_does_not_accuse_the_host() {
        // The servers' packets have passed a router before they come to that place.
        let places = places(Path::new(2 * MS, 0), |it| it.both(N, 500 * MS, true, SYN));
        let mut passing = Point::default();
        for landmark in &places.servers.landmarks {
            passing.add(Landmark { ttl: landmark.ttl - 3, ..*landmark });
        }
        let syn = places.clients.between(client(N), SERVER).next().unwrap().mark;
        let finding = finding("connect-timeout", syn, What::Syn, SERVER);
        let told = told(&finding, &places.clients, &passing);
        assert_eq!(told, ("connect-timeout", Confidence::Likely, 1));
    }

    #[test]
    fn an_answer_that_got_lost_is_told_from_either_side() {
        for path in paths() {
            let places = places(path, |it| {
                it.both(N, 500 * MS, true, SYN);
                it.at_servers(N, 506 * MS, false, SYN_ACK);
            });
            let server = path.nat.map_or(SERVER, |(_, server)| server);
            let syn = places.clients.between(client(N), SERVER).next().unwrap().mark;
            let at_client = finding("connect-timeout", syn, What::Syn, SERVER);
            let wanted = ("return-path-blocked", Confidence::Certain, 2);
            let found = told(&at_client, &places.clients, &places.servers);
            assert_eq!((found.0, found.1), (wanted.0, wanted.1), "{path:?}");
            let answer = places
                .servers
                .landmarks
                .iter()
                .rfind(|it| it.is_syn_ack() && it.mark.at.0 < 520 * MS + path.ahead);
            let answer = answer.unwrap();
            let mut at_server = finding("return-path-blocked", answer.mark, What::SynAck, server);
            (at_server.client, at_server.server) = (answer.dst, answer.src);
            let found = told(&at_server, &places.servers, &places.clients);
            assert_eq!((found.0, found.1), (wanted.0, wanted.1), "{path:?}");
        }
    }

    #[test]
    fn a_reset_for_a_syn_that_never_arrived_was_injected() {
        for path in paths() {
            for arrived in [false, true] {
                let places = places(path, |it| {
                    it.at_clients(N, 500 * MS, true, SYN);
                    it.at_clients(N, 501 * MS, false, RST);
                    if arrived {
                        it.at_servers(N, 500 * MS, true, SYN);
                        it.at_servers(N, 501 * MS, false, RST);
                    }
                });
                let rst = places.clients.landmarks.iter().find(|it| it.is_rst()).unwrap();
                let finding = finding("connect-refused", rst.mark, What::Rst, SERVER);
                let (id, sure, _) = told(&finding, &places.clients, &places.servers);
                let wanted = match arrived {
                    true => ("connect-refused", Confidence::Likely),
                    false => ("injected-reset", Confidence::Certain),
                };
                assert_eq!((id, sure), wanted, "{path:?}");
            }
        }
    }

    #[test]
    fn a_reset_that_the_other_place_did_not_send_was_injected() {
        for path in paths() {
            for injected in [true, false] {
                let places = places(path, |it| {
                    it.both(N, 500 * MS, true, SYN);
                    it.both(N, 506 * MS, false, SYN_ACK);
                    it.at_clients(N, 530 * MS, false, RST);
                    match injected {
                        true => it.both(N, 560 * MS, false, FIN),
                        false => drop(it.at_servers(N, 530 * MS, false, RST)),
                    }
                });
                let rst = places.clients.landmarks.iter().find(|it| it.is_rst()).unwrap();
                let finding = finding("target-rst-no-response", rst.mark, What::Rst, SERVER);
                let (id, sure, _) = told(&finding, &places.clients, &places.servers);
                let wanted = if injected { "injected-reset" } else { "target-rst-no-response" };
                assert_eq!((id, sure == Confidence::Certain), (wanted, injected), "{path:?}");
            }
        }
    }

    #[test]
    fn of_three_places_the_one_that_the_packet_did_not_reach_decides() {
        let path = Path::new(2 * MS, 0);
        // It passed the middle, and never came to the servers.
        let all = places(path, |it| {
            it.both(N, 500 * MS, true, SYN);
        });
        let far = places(path, |_| ());
        let mut middle = Point::default();
        for landmark in &all.servers.landmarks {
            middle.add(Landmark { ttl: landmark.ttl - 1, ..*landmark });
        }
        let syn = all.clients.between(client(N), SERVER).next().unwrap().mark;
        for order in [[&middle, &far.servers], [&far.servers, &middle]] {
            let mut finding = finding("connect-timeout", syn, What::Syn, SERVER);
            let compared = order.map(|point| clocks(&all.clients, point).unwrap());
            let places = [0, 1].map(|n| Elsewhere { point: order[n], clocks: &compared[n] });
            retell(&mut finding, &all.clients, &places);
            assert_eq!(
                (finding.cause.id, finding.confidence),
                ("connect-timeout", Confidence::Certain)
            );
        }
    }
}
