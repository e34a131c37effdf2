//! Segments of failed connections that left one place and never got to the other.

use super::answer::{Answer, overrule};
use super::point::{Connection, DELAY_MAX, Point, SEGMENTS_MAX, passed_on};
use super::retell::{Elsewhere, add};
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Finding, Responsible, What};
use crate::packet::Segment;
use crate::phrase;
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use hashbrown::HashMap;

/// How long before a failed request and after its last packet segments are compared, nanoseconds.
const AROUND: i64 = 1_000_000_000;
/// How much earlier than it left a segment may seem to have arrived: clocks are compared no better,
/// nanoseconds.
const EARLY: i64 = 50_000_000;

/// How long a place has to go on capturing after a segment left the other, for that to be missing,
/// nanoseconds.
pub(super) const JUDGED: i64 = 100_000_000;
/// Segments of a connection among which the second copy of one is looked for: as many as a router gets before it
/// has sent the first on.
const NEIGHBOURS: usize = 64;
/// Segments with one timestamp that are compared with a segment.
const PARTS_MAX: usize = 1 << 12;

/// A segment of a connection that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) mark: Mark,
    pub(super) from: Side,
    pub(super) seq: u32,
    pub(super) ack: u32,
    /// Bytes of payload, and one each for SYN and FIN.
    pub(super) len: u32,
    pub(super) flags: u8,
    pub(super) clock: Option<u32>,
    pub(super) ttl: u8,
}

/// What makes segments copies of one packet. Each transmission has a timestamp of its own, as far as the
/// sender's clock shows it.
type Same = (u32, u32, u32, u8, Option<u32>);

impl Sent {
    fn same(&self) -> Same {
        (self.seq, self.ack, self.len, self.flags, self.clock)
    }
}

/// All segments of connections that failed, at one place.
#[derive(Debug, Default)]
pub struct Traffic {
    of: HashMap<Connection, Vec<Sent>>,
    kept: usize,
    /// Time of the last segment of any connection.
    until: Timestamp,
    /// Segments that were not kept.
    pub lost: u64,
}

impl Traffic {
    /// Will keep the segments of these connections.
    pub fn of(connections: impl Iterator<Item = Connection>) -> Traffic {
        Traffic { of: connections.map(|it| (it, Vec::new())).collect(), ..Traffic::default() }
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Takes in a segment.
    pub fn segment(&mut self, segment: &Segment<'_>) {
        self.until = self.until.max(segment.mark.at);
        let up = self.of.get_mut(&(segment.src, segment.dst)).map(|list| (list, Side::Client));
        let (list, from) = match up {
            Some(found) => found,
            None => match self.of.get_mut(&(segment.dst, segment.src)) {
                Some(list) => (list, Side::Server),
                None => return,
            },
        };
        let flags = segment.flags;
        let sent = Sent {
            mark: segment.mark,
            from,
            seq: segment.seq,
            ack: if flags.ack() { segment.ack } else { 0 },
            len: segment.payload_len + u32::from(flags.syn()) + u32::from(flags.fin()),
            flags: flags.0 & 0x17,
            clock: segment.options.timestamp.map(|(value, _)| value),
            ttl: segment.ttl,
        };
        let is_before = |before: &Sent| {
            (before.from, before.same()) == (from, sent.same())
                && passed_on((before.mark.at, before.ttl), (sent.mark.at, sent.ttl))
        };
        if list.iter().rev().take(NEIGHBOURS).any(is_before) {
            return;
        }
        if self.kept >= SEGMENTS_MAX {
            self.lost += 1;
            return;
        }
        self.kept += 1;
        list.push(sent);
    }

    /// Segments of a connection between two times.
    fn between(
        &self,
        connection: Connection,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = &Sent> {
        let all = self.of.get(&connection).into_iter().flatten();
        all.filter(move |it| from <= it.mark.at && it.mark.at <= to)
    }

    fn knows(&self, connection: Connection) -> bool {
        self.of.get(&connection).is_some_and(|list| !list.is_empty())
    }
}

/// What became of the segments that one side sent.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Those that carry data or FIN and were sent at the one place.
    pub(super) sent: usize,
    /// Those of them that are not at the other.
    pub(super) missing: Vec<Sent>,
    /// Acknowledgments without data that are not at the other.
    unheard: Vec<Sent>,
    /// The last packet of that side that got to the other place.
    last: Option<Mark>,
    /// The last one that got there before.
    before: Option<Mark>,
    /// Sequence number of the first that carries data and got there.
    first_data: Option<u32>,
    /// What the last that got there acknowledges.
    acknowledged: Option<u32>,
}

/// Tells of a finding whether segments were lost between this place and another, and on which way.
/// `name` is what the connection is called there, `point` this place. Gives the frames there that prove it.
pub fn tell_losses(
    finding: &mut Finding,
    here: &Traffic,
    there: &Traffic,
    name: Connection,
    (point, place): (&Point, &Elsewhere<'_>),
) -> Vec<FrameId> {
    let Some(nearer_server) = place.clocks.nearer_server else { return Vec::new() };
    let this = (finding.client, finding.server);
    if !there.knows(name) || here.lost + there.lost > 0 {
        if finding.cause.id == "injected-reset" {
            finding.confidence = finding.confidence.min(Confidence::Likely);
        }
        return Vec::new();
    }
    let request = finding.exchange.as_deref().and_then(|it| it.request.as_ref());
    let begin = request.map(|it| it.first.at);
    let times = || finding.evidence.iter().map(|it| it.mark.at).filter(|at| Some(*at) >= begin);
    let Some(from) = begin.or_else(|| times().min()) else { return Vec::new() };
    let to = times().max().unwrap_or(from).after(AROUND);
    let from = from.after(-AROUND / 1_000);
    let there_at = |at: Timestamp| place.clocks.there(at);
    let wide = (from.after(-DELAY_MAX), to.after(DELAY_MAX));
    let mine: Vec<Sent> = here.between(this, wide.0, wide.1).copied().collect();
    let its: Vec<Sent> = there.between(name, there_at(wide.0), there_at(wide.1)).copied().collect();
    // What this place saw leaving toward the other, and what the other saw leaving toward this: times of
    // both by the other's clock.
    let (away, back) = match nearer_server {
        true => (Side::Client, Side::Server),
        false => (Side::Server, Side::Client),
    };
    let by_its = |list: &[Sent]| -> Vec<(Sent, Timestamp)> {
        list.iter().map(|it| (*it, there_at(it.mark.at))).collect()
    };
    let (mine, its) = (by_its(&mine), its.iter().map(|it| (*it, it.mark.at)).collect::<Vec<_>>());
    let during = |until: Timestamp| Span { from: there_at(from), to: there_at(to), until };
    let sent_here = compare(&mine, &its, away, during(there.until));
    let sent_there = compare(&its, &mine, back, during(there_at(here.until)));
    let mut frames = Vec::new();
    for (way, side, is_here) in [(&sent_here, away, true), (&sent_there, back, false)] {
        frames.extend(tell(finding, way, side, is_here));
    }
    match finding.cause.id {
        "request-unacked" => {
            let (to, back) = match nearer_server {
                true => (&sent_here, &sent_there),
                false => (&sent_there, &sent_here),
            };
            // Beyond a router the place does not tell of the host.
            let at_host = !nearer_server || place.point.is_at(name.1.ip) != Some(false);
            decide(finding, to, back, at_host);
        }
        // What the RST answers may have gone to another host with the same address, which is no nearer.
        "injected-reset"
            if (sent_here.last.is_none() || !sent_here.missing.is_empty())
                && !point.shows_nearer_reset(finding) =>
        {
            let summary = finding.summary.clone();
            finding.confidence = finding.confidence.min(Confidence::Likely);
            finding.summary = phrase!(
                "{summary}; what came before it is not all there: another host with the same address may have got it, and have sent this",
                summary
            );
        }
        "response-timeout" | "response-stalled" | "client-abort" | "lb-cut" | "inconclusive"
            if nearer_server =>
        {
            overrule(finding, &Answer::new(&sent_there, &mine, &its, there_at(from)));
        }
        _ => {}
    }
    frames
}

/// When segments are compared, by one clock.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// When they left.
    from: Timestamp,
    to: Timestamp,
    /// Last packet of any connection at the place where they should arrive.
    until: Timestamp,
}

/// Which of the segments that one side sent are at the other place, too. With times by one clock.
fn compare(
    sent: &[(Sent, Timestamp)],
    arrived: &[(Sent, Timestamp)],
    from: Side,
    span: Span,
) -> Way {
    let mut way = Way::default();
    // The end of a capture hides what arrives, but its sender repeats nothing that arrived.
    let mut copies: HashMap<u32, u32> = HashMap::new();
    for (it, _) in sent.iter().filter(|(it, _)| it.from == from && it.len > 0) {
        *copies.entry(it.seq).or_default() += 1;
    }
    let judged = |it: &Sent, left: Timestamp| {
        left.after(JUDGED) <= span.until || copies.get(&it.seq).is_some_and(|many| *many > 1)
    };
    let mut free: HashMap<Same, Vec<(Mark, Timestamp)>> = HashMap::new();
    way.before = arrived
        .iter()
        .filter(|(it, at)| it.from == from && *at <= span.from)
        .map(|(it, _)| it.mark)
        .next_back();
    let mut parts: HashMap<Option<u32>, Vec<(Sent, Timestamp)>> = HashMap::new();
    for (it, at) in arrived.iter().filter(|(it, _)| it.from == from) {
        free.entry(it.same()).or_default().push((it.mark, *at));
        if it.len > 0 {
            parts.entry(it.clock).or_default().push((*it, *at));
        }
    }
    let leaves = |(it, left): &&(Sent, Timestamp)| {
        it.from == from && span.from <= *left && *left <= span.to && judged(it, *left)
    };
    for (it, left) in sent.iter().filter(leaves) {
        // A SYN is none of the request's, however near.
        let is_data = it.len > 0 && it.flags & 0x02 == 0;
        way.sent += usize::from(is_data);
        let in_time = |at: Timestamp| (-EARLY..=DELAY_MAX).contains(&at.nanos_since(*left));
        // Each packet there is that of one here.
        let copies = free.get_mut(&it.same());
        let exact = copies.and_then(|copies| {
            let place = copies.iter().position(|(_, at)| in_time(*at))?;
            Some(copies.remove(place).0)
        });
        let split = || {
            let parts = parts.get(&it.clock).filter(|_| it.len > 0)?;
            covering(it, parts, in_time)
        };
        match exact.or_else(split) {
            Some(mark) => {
                way.last = later(way.last, mark);
                if it.flags & 0x10 != 0 {
                    way.acknowledged = Some(it.ack);
                }
                if is_data {
                    way.first_data = way.first_data.or(Some(it.seq));
                }
            }
            None if is_data => way.missing.push(*it),
            None if it.len == 0 && it.flags & 0x04 == 0 => way.unheard.push(*it),
            None => {}
        }
    }
    way
}

fn later(one: Option<Mark>, other: Mark) -> Option<Mark> {
    one.filter(|one| (one.at, one.frame) > (other.at, other.frame)).or(Some(other))
}

/// Network cards split segments and put them together (TSO, GRO), so that the same bytes are in other
/// packets: the last of those that hold all bytes of a segment, with the same timestamp.
fn covering(
    sent: &Sent,
    parts: &[(Sent, Timestamp)],
    in_time: impl Fn(Timestamp) -> bool,
) -> Option<Mark> {
    // With so many without a timestamp nothing is told apart: it is not taken for lost.
    if parts.len() > PARTS_MAX {
        return parts.last().map(|(part, _)| part.mark);
    }
    // Where a part lies in the segment.
    let place = |part: &Sent| {
        let from = i64::from(part.seq.wrapping_sub(sent.seq) as i32);
        (from, from + i64::from(part.len))
    };
    let inside = |(part, at): &(Sent, Timestamp)| {
        let (from, to) = place(part);
        let touches = from < i64::from(sent.len) && to > 0 && in_time(*at);
        touches.then_some((from, to, part.mark))
    };
    let mut inside: Vec<(i64, i64, Mark)> = parts.iter().filter_map(inside).collect();
    inside.sort_unstable_by_key(|(from, to, mark)| (*from, *to, mark.frame));
    let (mut upto, mut last) = (0, None);
    for (from, to, mark) in inside {
        if from > upto {
            return None;
        }
        upto = upto.max(to);
        last = later(last, mark);
    }
    last.filter(|_| upto >= i64::from(sent.len))
}

/// Adds the first segment that was lost, at the place that it left, and the last packet that got to the
/// other.
fn tell(finding: &mut Finding, way: &Way, side: Side, is_here: bool) -> Vec<FrameId> {
    let Some(first) = way.missing.first() else { return Vec::new() };
    let (n, all) = (way.missing.len(), way.sent);
    let left = first.mark;
    let note = match (side, is_here) {
        (Side::Client, true) => phrase!(
            "the first of {n} of {all} segments that left here and never reached the other capture point: lost on the way to the target",
            n,
            all
        ),
        (Side::Client, false) => phrase!(
            "the first of {n} of {all} segments that left the other capture point and never came here: lost on the way to the target",
            n,
            all
        ),
        (Side::Server, true) => phrase!(
            "the first of {n} of {all} segments that left here and never reached the other capture point: lost on the way back",
            n,
            all
        ),
        (Side::Server, false) => phrase!(
            "the first of {n} of {all} segments that left the other capture point and never came here: lost on the way back",
            n,
            all
        ),
    };
    match finding.evidence.iter_mut().find(|it| it.mark.frame == left.frame) {
        Some(evidence) => evidence.note = note,
        None => add(finding, left, side, What::Retransmission, note),
    }
    let mut frames = Vec::new();
    if !is_here {
        frames.push(left.frame);
    }
    if let Some(mark) = way.last.or(way.before) {
        if is_here {
            frames.push(mark.frame);
        }
        let note = phrase!("the last packet of that side that came through");
        add(finding, mark, side, What::Silence, note);
    }
    frames
}

/// A request that was never acknowledged: lost, ignored, or its acknowledgments were.
fn decide(finding: &mut Finding, to: &Way, back: &Way, at_host: bool) {
    let (n, all) = (to.missing.len(), to.sent);
    let mut ends = false;
    // What comes back may be an answer to something else, such as a challenge (RFC 5961, 3.2).
    let unheard_of =
        |seq: u32| back.acknowledged.is_none_or(|ack| ack.wrapping_sub(seq).cast_signed() <= 0);
    let (who, summary) = if all > 0 && n == all {
        (
            Responsible::Network,
            phrase!(
                "all {n} segments of the request that left were lost between the two capture points: none reached the one at the target's side",
                n
            ),
        )
    } else if to.first_data.is_some() && !(back.missing.is_empty() && back.unheard.is_empty()) {
        (
            Responsible::Network,
            phrase!(
                "the request reached the capture point at the target's side, and its acknowledgments were lost on the way back"
            ),
        )
    } else if at_host && to.first_data.is_some_and(unheard_of) {
        // It may have been about to.
        ends = finding.blind_spots.has(BlindSpot::CaptureEnd);
        (
            Responsible::TargetHost,
            phrase!(
                "the request reached the capture point at the target's side, and nothing acknowledged it there"
            ),
        )
    } else {
        if to.first_data.is_some() && finding.responsible == Responsible::Unknown {
            // It arrived, and what became of it there does not show.
            finding.confidence = Confidence::Possible;
        }
        return;
    };
    finding.responsible = who;
    finding.confidence = if ends { Confidence::Likely } else { Confidence::Certain };
    finding.summary = summary;
}
