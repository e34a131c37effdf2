//! Two captures of the same connections, taken at two places: what one of them could not decide.
//!
//! Only segments that open or end a connection are compared. They are the same packet at both places when
//! addresses, ports, sequence and acknowledgment number are; where a NAT lies between them, when
//! sequence number, acknowledgment number and the sender's timestamp are, and no other segment has
//! these.

use crate::capture::CaptureInfo;
use crate::cause::{Confidence, Evidence, Finding, PacketFacts, Responsible, What, by_id};
use crate::flow::Vantage;
use crate::packet::{Address, Endpoint, Segment};
use crate::phrase;
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use crate::words::Phrase;
use hashbrown::{HashMap, HashSet};

/// Segments kept of each place; they take about 100 bytes each.
pub const SEGMENTS_MAX: usize = 1 << 20;
/// Pairs from which the drift of the clocks is told: fewer do not show it.
const PAIRS_FOR_DRIFT: usize = 40;
/// How far the places' times of a packet may lie apart beyond the clocks' difference, nanoseconds.
const DELAY_MAX: i64 = 5_000_000_000;

/// A segment that opens or ends a connection.
#[derive(Clone, Copy, Debug)]
struct Landmark {
    mark: Mark,
    src: Endpoint,
    dst: Endpoint,
    seq: u32,
    ack: u32,
    /// SYN, FIN, RST and ACK.
    flags: u8,
    /// The sender's timestamp (RFC 7323, 3).
    clock: Option<u32>,
}

/// What makes a landmark the same at both places.
type Exact = (Endpoint, Endpoint, u32, u32, u8, Option<u32>);
/// The same across NAT.
type Translated = (u32, u32, u8, Option<u32>);

impl Landmark {
    fn exact(&self) -> Exact {
        (self.src, self.dst, self.seq, self.ack, self.flags, self.clock)
    }

    fn translated(&self) -> Translated {
        (self.seq, self.ack, self.flags, self.clock)
    }
}

/// What was captured at one place.
#[derive(Debug, Default)]
pub struct Point {
    landmarks: Vec<Landmark>,
    by_frame: HashMap<FrameId, usize>,
    exact: HashMap<Exact, Vec<usize>>,
    translated: HashMap<Translated, Vec<usize>>,
    hosts: HashSet<Address>,
    span: Option<(Timestamp, Timestamp)>,
    /// Landmarks that were not kept.
    pub lost: u64,
}

impl Point {
    /// Takes in a segment.
    pub fn segment(&mut self, segment: &Segment<'_>) {
        let at = segment.mark.at;
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        let flags = segment.flags;
        if !(flags.syn() || flags.fin() || flags.rst()) {
            return;
        }
        if self.landmarks.len() >= SEGMENTS_MAX {
            self.lost += 1;
            return;
        }
        let landmark = Landmark {
            mark: segment.mark,
            src: segment.src,
            dst: segment.dst,
            seq: segment.seq,
            ack: if flags.ack() { segment.ack } else { 0 },
            flags: flags.0 & 0x17,
            clock: segment.options.timestamp.map(|(value, _)| value),
        };
        let place = self.landmarks.len();
        self.hosts.extend([segment.src.ip, segment.dst.ip]);
        self.by_frame.insert(segment.mark.frame, place);
        self.exact.entry(landmark.exact()).or_default().push(place);
        self.translated.entry(landmark.translated()).or_default().push(place);
        self.landmarks.push(landmark);
    }

    /// The same packet here, when `offset` is what this place's clock is ahead.
    fn find(&self, other: &Landmark, offset: i64) -> Option<&Landmark> {
        let expected = other.mark.at.after(offset);
        let near = |place: &&usize| {
            self.landmarks[**place].mark.at.nanos_since(expected).abs() <= DELAY_MAX
        };
        let apart = |place: &&usize| self.landmarks[**place].mark.at.nanos_since(expected).abs();
        let exact = self.exact.get(&other.exact()).into_iter().flatten();
        let found = exact.filter(near).min_by_key(apart).or_else(|| {
            let list = self.translated.get(&other.translated()).filter(|list| list.len() == 1)?;
            list.first().filter(near)
        });
        found.map(|place| &self.landmarks[*place])
    }

    /// Whether this place captured at that time of its own clock, with a margin for the path.
    fn covers(&self, at: Timestamp) -> bool {
        self.span.is_some_and(|(first, last)| first <= at && at <= last.after(DELAY_MAX))
    }
}

/// How the clocks of two places differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clocks {
    /// What the other place's clock is ahead, nanoseconds.
    pub offset: i64,
    /// By how much that changes, nanoseconds in a second; `None` with too few pairs.
    pub drift: Option<f64>,
    /// Packets that were found at both places.
    pub pairs: usize,
}

/// Compares the clocks by the packets that are at both places: the least difference of each direction
/// has the least delay in it, and the delays of both directions are taken for equal.
pub fn clocks(here: &Point, there: &Point) -> Option<Clocks> {
    let mut pairs: Vec<(Timestamp, i64, bool)> = Vec::new();
    for (place, landmark) in here.landmarks.iter().enumerate() {
        let same = here.exact.get(&landmark.exact()).map_or(&[][..], Vec::as_slice);
        let list = there.exact.get(&landmark.exact());
        let list = list.or_else(|| there.translated.get(&landmark.translated()));
        let list = list.map_or(&[][..], Vec::as_slice);
        // What was repeated without a timestamp is paired in its order, if nothing is missing.
        let nth = same.iter().position(|it| *it == place).filter(|_| same.len() == list.len());
        if let Some(other) = nth.and_then(|nth| there.landmarks.get(*list.get(nth)?)) {
            let ahead = other.mark.at.nanos_since(landmark.mark.at);
            pairs.push((landmark.mark.at, ahead, landmark.src.port > landmark.dst.port));
        }
    }
    let (offset, count) = (offset(&pairs)?, pairs.len());
    let half = count / 2;
    let drift = (count >= PAIRS_FOR_DRIFT).then(|| {
        let middle = |part: &[(Timestamp, i64, bool)]| {
            let at = part[part.len() / 2].0;
            self::offset(part).map(|offset| (at, offset))
        };
        let (early, late) = middle(&pairs[..half]).zip(middle(&pairs[half..]))?;
        let seconds = late.0.since(early.0);
        (seconds > 1.0).then(|| (late.1 - early.1) as f64 / seconds)
    });
    Some(Clocks { offset, drift: drift.flatten(), pairs: count })
}

/// The middle between the least differences of both directions.
fn offset(pairs: &[(Timestamp, i64, bool)]) -> Option<i64> {
    let of = |way: bool| pairs.iter().filter(move |pair| pair.2 == way).map(|pair| pair.1);
    // The packets of one direction come later there, those of the other earlier.
    let bounds = |way: bool| of(way).min().zip(of(way).max());
    match (bounds(true), bounds(false)) {
        (Some(up), Some(down)) if up.0 >= down.1 => Some((up.0 + down.1) / 2),
        (Some(up), Some(down)) if down.0 >= up.1 => Some((down.0 + up.1) / 2),
        (Some(up), Some(down)) => Some((up.0 + down.0) / 2),
        (Some((least, _)), None) | (None, Some((least, _))) => Some(least),
        (None, None) => None,
    }
}

/// Tells a finding of one place anew with what the other shows; `file` is the other's place in the
/// list of captures. Gives the frames there that prove it.
pub fn retell(
    finding: &mut Finding,
    here: &Point,
    there: &Point,
    clocks: Clocks,
    file: u32,
) -> Vec<FrameId> {
    let landmarks: Vec<(usize, Landmark)> = finding
        .evidence
        .iter()
        .enumerate()
        .filter_map(|(nth, evidence)| {
            let place = here.by_frame.get(&evidence.mark.frame)?;
            Some((nth, here.landmarks[*place]))
        })
        .collect();
    let elsewhere =
        |mark: Mark| Mark { frame: FrameId::new(file, mark.frame.number()), at: mark.at };
    let mut frames: Vec<FrameId> = Vec::new();
    for (_, landmark) in &landmarks {
        if let Some(found) = there.find(landmark, clocks.offset) {
            frames.push(elsewhere(found.mark).frame);
        }
    }
    if finding.cause.id.starts_with("connect-timeout") || finding.cause.id == "return-path-blocked"
    {
        frames.extend(connecting(finding, here, there, clocks, elsewhere));
    } else if finding.evidence.first().is_some_and(|guilty| guilty.what == What::Rst)
        && let Some((0, rst)) = landmarks.first()
    {
        reset(finding, rst, there, clocks, elsewhere);
    }
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// Nobody answered SYN here: did it arrive there, and did an answer leave.
fn connecting(
    finding: &mut Finding,
    here: &Point,
    there: &Point,
    clocks: Clocks,
    elsewhere: impl Fn(Mark) -> Mark,
) -> Vec<FrameId> {
    let syns: Vec<&Landmark> =
        here.landmarks
            .iter()
            .filter(|it| {
                it.flags & 0x12 == 0x02 && it.src == finding.client && it.dst == finding.server
            })
            .filter(|it| {
                finding.evidence.iter().any(|evidence| {
                    it.mark.at.nanos_since(evidence.mark.at).abs() <= 120_000_000_000
                })
            })
            .collect();
    let Some(first) = syns.first() else { return Vec::new() };
    let seen = syns.iter().find_map(|syn| there.find(syn, clocks.offset));
    let Some(seen) = seen else {
        let watched = there.hosts.contains(&finding.server.ip)
            && there.covers(first.mark.at.after(clocks.offset));
        if watched && finding.vantage != Vantage::Server {
            let summary = phrase!(
                "{n} SYN left and none reached the other capture point: they were lost on the path between the two",
                n = syns.len()
            );
            becomes(finding, "connect-timeout", Responsible::Network, summary);
        }
        return Vec::new();
    };
    let answer = there.landmarks.iter().find(|it| {
        it.flags & 0x12 == 0x12
            && it.src == seen.dst
            && it.dst == seen.src
            && it.ack == seen.seq.wrapping_add(1)
    });
    let (id, who, proof, what, side, summary) = match answer {
        Some(answer) => (
            "return-path-blocked",
            Responsible::Network,
            answer.mark,
            What::SynAck,
            Side::Server,
            phrase!(
                "the other capture point shows SYN arriving and its SYN-ACK leaving, which never came back"
            ),
        ),
        None => (
            "connect-timeout-host",
            Responsible::TargetHost,
            seen.mark,
            What::Syn,
            Side::Client,
            phrase!(
                "the other capture point shows SYN arriving at the target's host, which answered nothing"
            ),
        ),
    };
    let mark = elsewhere(proof);
    becomes(finding, id, who, summary);
    finding.evidence.push(Evidence {
        mark,
        side,
        what,
        note: phrase!("seen at the other capture point"),
    });
    finding.packets.resize(finding.evidence.len(), PacketFacts::default());
    vec![mark.frame]
}

/// A RST came here from the other side: did the other side send it.
fn reset(
    finding: &mut Finding,
    rst: &Landmark,
    there: &Point,
    clocks: Clocks,
    elsewhere: impl Fn(Mark) -> Mark,
) {
    let from_there = match finding.vantage {
        Vantage::Client => rst.src == finding.server,
        Vantage::Server => rst.src == finding.client,
        Vantage::Between | Vantage::Unknown => false,
    };
    if !from_there || there.lost > 0 || !there.covers(rst.mark.at.after(clocks.offset)) {
        return;
    }
    if there.find(rst, clocks.offset).is_some() {
        return;
    }
    // The connection has to be known there, or nothing follows from an absence.
    let same = |it: &&Landmark| {
        (it.src == rst.src && it.dst == rst.dst) || (it.src == rst.dst && it.dst == rst.src)
    };
    let Some(last) = there.landmarks.iter().rfind(same) else { return };
    let any =
        there.landmarks.iter().filter(same).any(|it| it.flags & 0x04 != 0 && it.src == rst.src);
    if any {
        return;
    }
    let summary = phrase!(
        "the capture at the side of {sender} shows that it never sent this RST",
        sender = rst.src.socket()
    );
    let mark = elsewhere(last.mark);
    becomes(finding, "injected-reset", Responsible::Network, summary);
    finding.evidence.push(Evidence {
        mark,
        side: if last.src == finding.server { Side::Server } else { Side::Client },
        what: What::Silence,
        note: phrase!(
            "the last packet of this connection at the other capture point that opens or ends it"
        ),
    });
    finding.packets.resize(finding.evidence.len(), PacketFacts::default());
}

fn becomes(finding: &mut Finding, id: &str, who: Responsible, summary: Phrase) {
    if let Some(cause) = by_id(id) {
        finding.cause = cause;
        finding.responsible = who;
        finding.confidence = Confidence::Certain;
        finding.summary = summary;
    }
}

/// What is to say of the other captures as a whole.
pub fn remark(clocks: Option<Clocks>, captures: &[CaptureInfo]) -> String {
    let names: Vec<&str> = captures.iter().map(|capture| capture.path.as_str()).collect();
    let names = names.join(", ");
    match clocks {
        None => {
            format!("{names}: no packet of the other capture point is in it; nothing was compared")
        }
        Some(Clocks { offset, drift, pairs }) => {
            let drift =
                drift.map_or(String::new(), |drift| format!(", drift {:.1} µs/s", drift / 1e3));
            format!(
                "{names}: another capture point of the same connections, {pairs} packets found at both, its \
                 clock {:+.3} ms apart{drift}",
                offset as f64 / 1e6
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landmark(number: u64, nanos: i64, src: Endpoint, dst: Endpoint, seq: u32) -> Landmark {
        let mark = Mark { frame: FrameId::new(0, number), at: Timestamp(nanos) };
        Landmark { mark, src, dst, seq, ack: 0, flags: 2, clock: Some(7) }
    }

    fn point(landmarks: &[Landmark]) -> Point {
        let mut point = Point::default();
        for (place, landmark) in landmarks.iter().enumerate() {
            point.exact.entry(landmark.exact()).or_default().push(place);
            point.translated.entry(landmark.translated()).or_default().push(place);
            point.landmarks.push(*landmark);
        }
        point
    }

    #[test]
    fn delays_of_both_directions_cancel_out() {
        let (client, server) =
            (Endpoint::v4([10, 0, 0, 1], 40_000), Endpoint::v4([10, 0, 0, 2], 80));
        // 3 ms each way, the other clock 1 s ahead.
        let here =
            point(&[landmark(1, 0, client, server, 1), landmark(2, 7_000_000, server, client, 2)]);
        let there = point(&[
            landmark(1, 1_003_000_000, client, server, 1),
            landmark(2, 1_004_000_000, server, client, 2),
        ]);
        let clocks = clocks(&here, &there).unwrap();
        assert_eq!((clocks.offset, clocks.pairs, clocks.drift), (1_000_000_000, 2, None));
    }

    #[test]
    fn a_nat_is_seen_through() {
        let server = Endpoint::v4([10, 0, 0, 2], 80);
        let here = landmark(1, 0, Endpoint::v4([10, 0, 0, 1], 40_000), server, 99);
        let there = point(&[landmark(5, 10, Endpoint::v4([192, 0, 2, 1], 1024), server, 99)]);
        assert_eq!(there.find(&here, 0).map(|it| it.mark.frame.number()), Some(5));
        // Two that look alike decide nothing.
        let other = landmark(6, 11, Endpoint::v4([192, 0, 2, 1], 1025), server, 99);
        let there = point(&[there.landmarks[0], other]);
        assert!(there.find(&here, 0).is_none());
    }
}
