//! Findings told anew with what other places show.

use super::absent::Absence;
use super::clocks::Clocks;
use super::point::{Landmark, Point};
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Evidence, Finding, PacketFacts, Responsible, What, by_id};
use crate::flow::Vantage;
use crate::phrase;
use crate::tcp::Side;
use crate::time::{FrameId, Mark};
use crate::words::Phrase;

/// How long a SYN may take to the other place, nanoseconds: a place that goes on for so long would show it.
const ON_ITS_WAY: i64 = 100_000_000;
/// How far from a finding a SYN of its connection may be, nanoseconds: ports are used again.
pub(super) const NEAR: i64 = 120_000_000_000;

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
    pub(super) fn is_toward(&self, side: Side) -> Option<bool> {
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

/// SYNs that nobody answered, beside a capture without any packet: what keeps SYNs from a host mostly keeps all from it. A
/// server that was heard here would show that nothing was captured there; what is there and no TCP that can be read, as
/// in a tunnel, may hold the SYNs.
pub fn nothing_arrived(finding: &mut Finding, here: &Point, others: &[&Point]) {
    let silent = finding.cause.id == "connect-timeout" && !here.hears(finding.server.ip);
    if !silent || others.is_empty() || !others.iter().all(|point| point.is_empty()) {
        return;
    }
    let told = finding.summary.clone();
    let confidence = finding.confidence.min(Confidence::Likely);
    let summary = phrase!(
        "{told}; the other capture has no packet at all: if it was taken there at that time, they were lost on the way",
        told
    );
    becomes(finding, "connect-timeout-path", Responsible::Network, confidence, summary);
}

/// What a place tells of a SYN that nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It is not there: surely, or as far as that shows.
    Lost(Absence),
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
            Told::Lost(_) => 0,
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
    let told = places.iter().filter_map(|place| tell(&syns, here, place));
    let told = told.min_by_key(Told::rank);
    let Some(told) = told else { return Vec::new() };
    let n = syns.len();
    let (id, who, proof, summary) = match told {
        Told::Lost(absence) => {
            let (confidence, summary) = match absence {
                Absence::Proof => (
                    Confidence::Certain,
                    phrase!(
                        "{n} SYN left and none reached the other capture point: they were lost on the path between the two",
                        n
                    ),
                ),
                _ => (
                    Confidence::Likely,
                    phrase!(
                        "{n} SYN left and none is at the other capture point, which may not have captured them: they were lost on the path between the two",
                        n
                    ),
                ),
            };
            becomes(finding, "connect-timeout-path", Responsible::Network, confidence, summary);
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
        Told::Ignored(_) if places.iter().any(|place| place.clocks.misses) => Confidence::Likely,
        _ => Confidence::Certain,
    };
    becomes(finding, id, who, confidence, summary);
    add(finding, mark, side, what, phrase!("seen at the other capture point"));
    vec![mark.frame]
}

/// What one place tells. It does not matter which of the two is nearer to the target, but where that
/// shows, it has to fit.
fn tell(syns: &[&Landmark], here: &Point, place: &Elsewhere<'_>) -> Option<Told> {
    let there = place.point;
    let seen = syns.iter().find_map(|syn| Some((*syn, there.find(syn, place.clocks)?)));
    let Some((syn, seen)) = seen else {
        if place.is_toward(Side::Server) == Some(false) {
            return None;
        }
        let absence = |syn: &&Landmark| {
            let times = (syn.mark.at, syn.mark.at.after(ON_ITS_WAY));
            place.absence(here, (syn.src, syn.dst), times)
        };
        let lost = syns.iter().map(absence).max().filter(|lost| *lost != Absence::Nothing);
        return lost.map(Told::Lost);
    };
    match (here.answer(syn), there.answer(seen)) {
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

/// A RST came here: did the side that it names send it, whose side the other place is on.
fn reset(finding: &mut Finding, rst: &Landmark, here: &Point, place: &Elsewhere<'_>) {
    let sender = if rst.src == finding.server { Side::Server } else { Side::Client };
    let from_there = place.is_toward(sender).unwrap_or(match finding.vantage {
        Vantage::Client => sender == Side::Server,
        Vantage::Server => sender == Side::Client,
        Vantage::Between | Vantage::Unknown => false,
    });
    let there = place.point;
    let at = place.clocks.there(rst.mark.at);
    let captured = there.span().is_some_and(|(first, last)| first <= at && at <= last);
    if !from_there || !captured || there.find(rst, place.clocks).is_some() {
        return;
    }
    // The connection has to be known there, or nothing follows from an absence.
    let Some(name) = there.name((finding.client, finding.server), here, place.clocks) else {
        return;
    };
    let from = if sender == Side::Server { name.1 } else { name.0 };
    let Some(last) = there.between(name.0, name.1).last() else { return };
    if there.between(name.0, name.1).any(|it| it.is_rst() && it.src == from) {
        return;
    }
    if there.lost > 0 || place.clocks.misses {
        let summary = finding.summary.clone();
        finding.summary = phrase!(
            "{summary}; this RST is not at the other capture point, which lacks other packets, too: {sender} may not have sent it",
            summary,
            sender = rst.src.socket()
        );
        finding.blind_spots.add(BlindSpot::Gap);
        finding.confidence = finding.confidence.min(Confidence::Likely);
        return;
    }
    let summary = phrase!(
        "the capture at the side of {sender} shows that it never sent this RST",
        sender = rst.src.socket()
    );
    // Of a request it is known whether it got there, see `lost`.
    let compared = finding.exchange.is_some() && place.clocks.nearer_server.is_some();
    let sure = compared && !there.dropped;
    let sure = if sure { Confidence::Certain } else { Confidence::Likely };
    let side = if last.src == name.1 { Side::Server } else { Side::Client };
    let mark = last.mark;
    becomes(finding, "injected-reset", Responsible::Network, sure, summary);
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
    use super::super::testing::{
        FIN, MS, N, Path, RST, SERVER, SYN, SYN_ACK, client, finding, paths, places, told,
    };
    use super::*;
    use crate::time::Timestamp;

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
            // Behind a NAT there may be another server.
            let sure = if path.nat.is_some() { Confidence::Likely } else { Confidence::Certain };
            assert_eq!(told, ("connect-timeout-path", sure, 0), "{path:?}");
        }
    }

    #[test]
    fn beside_an_empty_capture_syns_were_likely_lost_on_the_path() {
        let told = |change: &dyn Fn(&mut Point, &mut Point)| {
            let (mut here, mut there) = (Point::default(), Point::default());
            let places = places(Path::new(2 * MS, 0), |it| {
                it.at_clients(N, 500 * MS, true, SYN);
            });
            let syn = *places.clients.between(client(N), SERVER).next().unwrap();
            here.add(syn);
            change(&mut here, &mut there);
            let mut finding = finding("connect-timeout", syn.mark, What::Syn, SERVER);
            nothing_arrived(&mut finding, &here, &[&there]);
            (finding.cause.id, finding.confidence)
        };
        let path = ("connect-timeout-path", Confidence::Likely);
        assert_eq!(told(&|_, _| ()), path);
        let unknown = told(&|_, there| there.dropped = true);
        assert_eq!(unknown.0, "connect-timeout");
        let tunnel = told(&|_, there| there.reach(Timestamp(500 * MS)));
        assert_eq!(tunnel.0, "connect-timeout", "what came there could not be read");
        let answer = places(Path::new(2 * MS, 0), |it| it.both(N, 500 * MS, false, SYN_ACK));
        let landmarks = &answer.clients.landmarks;
        assert!(landmarks.iter().any(|it| it.src.ip == SERVER.ip));
        let heard = told(&|here, _| landmarks.iter().for_each(|it| here.add(*it)));
        assert_eq!(heard.0, "connect-timeout", "it answers others, which are not there either");
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
                let mut finding = finding("target-rst-no-response", rst.mark, What::Rst, SERVER);
                let (id, sure, _) = told(&finding, &places.clients, &places.servers);
                let wanted = if injected { "injected-reset" } else { "target-rst-no-response" };
                assert_eq!((id, sure), (wanted, Confidence::Likely), "{path:?}");
                // Of a request it is known whether the host got it that the other place shows.
                finding.exchange = Some(Box::default());
                let (id, sure, _) = told(&finding, &places.clients, &places.servers);
                assert_eq!((id, sure == Confidence::Certain), (wanted, injected), "{path:?}");
            }
        }
    }

    #[test]
    fn a_reset_that_a_place_which_misses_packets_does_not_show_is_doubted() {
        for path in paths() {
            let places = places(path, |it| {
                it.both(N, 500 * MS, true, SYN);
                it.both(N, 506 * MS, false, SYN_ACK);
                it.at_clients(N, 530 * MS, false, RST);
                it.both(8, 600 * MS, true, SYN);
                it.at_clients(8, 606 * MS, false, SYN_ACK);
                it.both(8, 700 * MS, true, FIN);
            });
            let rst = places.clients.landmarks.iter().find(|it| it.is_rst()).unwrap();
            let mut finding = finding("target-rst-no-response", rst.mark, What::Rst, SERVER);
            let compared = clocks(&places.clients, &places.servers).unwrap();
            let place = Elsewhere { point: &places.servers, clocks: &compared };
            retell(&mut finding, &places.clients, &[place]);
            assert_eq!(finding.cause.id, "target-rst-no-response", "{path:?}");
            assert!(finding.confidence < Confidence::Certain, "{path:?}");
            if compared.nearer_server == Some(true) {
                assert!(finding.blind_spots.has(BlindSpot::Gap), "{path:?}");
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
                ("connect-timeout-path", Confidence::Certain)
            );
        }
    }
}
