//! What is said of which packet.

use super::Place;
use crate::cause::{Confidence, Finding, What};
use crate::join::Ends;
use crate::packet::Address;
use crate::report::{Report, terms, words};
use crate::time::{FrameId, Mark, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Comments of one packet; the guilty packet of many findings says how many more there are.
const COMMENTS_MAX: usize = 8;
/// Longest note in a comment, characters.
const NOTE_MAX: usize = 1_000;

/// Why a packet is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// By its place in the finding's evidence; the first is the guilty one.
    Evidence(u8),
    Request,
    RequestEnd,
    Response,
    ResponseEnd,
    /// Of the request of the proxy's client.
    Front(Part),
    /// Of an attempt that the finding is not about.
    Attempt(Part),
}

/// A packet of the other leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Asked,
    Answered,
    Over,
}

/// One finding's word on one packet.
#[derive(Clone, Copy, Debug)]
struct Remark {
    finding: u32,
    role: Role,
    /// Time of the packet, to make sure that it is the same.
    at: Timestamp,
}

/// Everything that is to be said, by frame.
pub(super) struct Remarks<'a> {
    report: &'a Report,
    by_frame: BTreeMap<FrameId, Vec<Remark>>,
    /// A finding of each flow that has one.
    of_flow: BTreeMap<u64, u32>,
    /// Addresses of the two sides of each of these flows, the smaller one first.
    hosts: BTreeSet<[Address; 2]>,
}

impl<'a> Remarks<'a> {
    pub(super) fn new(report: &'a Report) -> Remarks<'a> {
        let mut by_frame: BTreeMap<FrameId, Vec<Remark>> = BTreeMap::new();
        let mut of_flow = BTreeMap::new();
        for (finding, it) in (0..).zip(&report.findings) {
            of_flow.entry(it.flow).or_insert(finding);
            for (leg, _) in other_legs(it) {
                of_flow.entry(leg.flow).or_insert(finding);
            }
            for (mark, role) in roles(it) {
                let remarks = by_frame.entry(mark.frame).or_default();
                // Evidence says more than that it is the request.
                let known = remarks
                    .iter()
                    .any(|other| other.finding == finding && !matches!(role, Role::Evidence(_)));
                if !known {
                    remarks.push(Remark { finding, role, at: mark.at });
                }
            }
        }
        let ends = report.findings.iter().flat_map(|it| {
            let legs = other_legs(it).into_iter().map(|(leg, _)| (leg.client, leg.server));
            legs.chain([(it.client, it.server)])
        });
        let hosts = ends.map(|(client, server)| pair([client.ip, server.ip])).collect();
        Remarks { report, by_frame, of_flow, hosts }
    }

    /// Whether a connection has a finding.
    pub(super) fn has_flow(&self, flow: u64) -> bool {
        self.of_flow.contains_key(&flow)
    }

    /// Whether a connection between these hosts has a finding.
    pub(super) fn has_hosts(&self, hosts: [Address; 2]) -> bool {
        self.hosts.contains(&pair(hosts))
    }

    /// The comments on a frame, none of which is given again. An error names a frame that is not the
    /// one that was analysed.
    pub(super) fn of_frame(&mut self, mark: Mark, place: &Place) -> Result<Vec<String>, FrameId> {
        let Some(remarks) = self.by_frame.remove(&mark.frame) else { return Ok(Vec::new()) };
        if remarks.iter().any(|remark| remark.at != mark.at) {
            return Err(mark.frame);
        }
        let shown = remarks.iter().take(COMMENTS_MAX);
        let mut comments: Vec<String> = shown
            .filter_map(|remark| {
                let finding = self.report.findings.get(remark.finding as usize)?;
                Some(self.comment(finding, &role_text(finding, remark.role), mark, place))
            })
            .collect();
        if let Some(more @ 1..) = remarks.len().checked_sub(COMMENTS_MAX) {
            comments.push(format!("and part of {}", words::plural(more as u64, "more finding")));
        }
        Ok(comments)
    }

    /// The comment on a packet that opened the connection of a finding, or belongs to its TLS.
    pub(super) fn handshake(&self, mark: Mark, place: &Place) -> String {
        let flow = place.belongs.map_or(0, |belongs| belongs.flow);
        let number = self.of_flow.get(&flow).copied().unwrap_or_default();
        let Some(finding) = self.report.findings.get(number as usize) else { return String::new() };
        let what = match (place.opens, place.ack) {
            (true, true) => "SYN, ACK of its connection",
            (true, false) => "SYN of its connection",
            (false, _) => "its TLS, to be followed",
        };
        self.comment(finding, &format!("context: {what}"), mark, place)
    }

    /// Whether every remark was given.
    pub(super) fn is_done(&self) -> bool {
        self.by_frame.is_empty()
    }

    /// A frame that was not met.
    pub(super) fn first_left(&self) -> Option<FrameId> {
        self.by_frame.keys().next().copied()
    }

    /// `keepalive-race, guilty packet: FIN of the target [certain, target-app]; why502 flow 2, frame
    /// 540 of web.pcap, tcp.stream 2`, on one line.
    fn comment(&self, finding: &Finding, role: &str, mark: Mark, place: &Place) -> String {
        let frame = mark.frame;
        let captures = &self.report.captures;
        let path = captures.get(frame.file() as usize).map_or("?", |capture| &capture.path);
        let guilty = finding.evidence.first().map(|guilty| guilty.mark.frame.file());
        let stream = match place.belongs {
            Some(belongs) if belongs.flow == finding.flow => belongs.stream,
            Some(belongs)
                if other_legs(finding).iter().any(|(leg, _)| leg.flow == belongs.flow) =>
            {
                belongs.stream
            }
            _ => finding.stream.filter(|_| guilty == Some(frame.file())),
        };
        let stream = stream.map_or(String::new(), |stream| format!(", tcp.stream {stream}"));
        words::clean(&format!(
            "{}, frame {} of {path}{stream}",
            told(finding, role),
            frame.number(),
        ))
    }
}

/// `keepalive-race, guilty packet: FIN of the target [certain, target-app]; why502 flow 2`.
fn told(finding: &Finding, role: &str) -> String {
    format!(
        "{}, {role} [{}, {}]; why502 flow {}",
        finding.cause.id,
        finding.confidence.id(),
        finding.responsible.id(),
        finding.flow,
    )
}

/// The comments on the packets of a finding that was met in no file: the time of each packet, and
/// what is to be said of it.
pub(crate) fn of_packets(finding: &Finding) -> Vec<(Timestamp, String)> {
    let mut frames = BTreeSet::new();
    let comment = |role| words::clean(&told(finding, &role_text(finding, role)));
    roles(finding)
        .into_iter()
        // Evidence says more than that it is the request.
        .filter(|(mark, role)| frames.insert(mark.frame) || matches!(role, Role::Evidence(_)))
        .map(|(mark, role)| (mark.at, comment(role)))
        .collect()
}

fn pair([one, other]: [Address; 2]) -> [Address; 2] {
    if one <= other { [one, other] } else { [other, one] }
}

/// An exchange's ends, and what each of its parts is called.
type OtherLeg<'a> = (&'a Ends, fn(Part) -> Role);

/// What the capture shows of the same request beside the finding's own connection: the request of the proxy's
/// client, and attempts that are more than possibly for it.
fn other_legs(finding: &Finding) -> Vec<OtherLeg<'_>> {
    let Some(joined) = &finding.joined else { return Vec::new() };
    let front: OtherLeg = (&joined.front, Role::Front);
    let attempts = joined.attempts.iter().filter(|it| it.certainty > Confidence::Possible);
    let attempts = attempts.map(|it| (&it.ends, Role::Attempt as fn(Part) -> Role));
    [front].into_iter().chain(attempts).filter(|(leg, _)| leg.flow != finding.flow).collect()
}

/// The packets of a finding: those that prove it, then those that it is about.
fn roles(finding: &Finding) -> Vec<(Mark, Role)> {
    let evidence = (0..=u8::MAX).zip(&finding.evidence);
    let mut roles: Vec<(Mark, Role)> =
        evidence.map(|(n, evidence)| (evidence.mark, Role::Evidence(n))).collect();
    let exchange = finding.exchange.as_deref();
    if let Some(request) = exchange.and_then(|exchange| exchange.request.as_ref()) {
        roles.extend([(request.first, Role::Request), (request.last, Role::RequestEnd)]);
    }
    if let Some(response) = exchange.and_then(|exchange| exchange.response.as_ref()) {
        roles.extend([(response.first, Role::Response), (response.last, Role::ResponseEnd)]);
    }
    for (leg, role) in other_legs(finding) {
        roles.push((leg.asked, role(Part::Asked)));
        roles.extend(leg.answered.map(|mark| (mark, role(Part::Answered))));
        roles.push((leg.over, role(Part::Over)));
    }
    // Frames are counted from 1; what was never seen has none.
    roles.retain(|(mark, _)| mark.frame.number() > 0);
    roles
}

fn role_text(finding: &Finding, role: Role) -> String {
    let (number, evidence) = match role {
        Role::Evidence(n) => match finding.evidence.get(usize::from(n)) {
            Some(evidence) => (n, evidence),
            None => return "proof".to_owned(),
        },
        Role::Request => return "context: the request".to_owned(),
        Role::RequestEnd => return "context: the end of the request".to_owned(),
        Role::Response => return "context: the response".to_owned(),
        Role::ResponseEnd => return "context: the end of the response".to_owned(),
        Role::Front(part) => {
            return match part {
                Part::Asked => "context: the request of the proxy's client",
                Part::Answered => "context: what the proxy answered its client",
                Part::Over => "context: the end of the client's leg",
            }
            .to_owned();
        }
        Role::Attempt(part) => {
            return match part {
                Part::Asked => "context: another attempt for the same request",
                Part::Answered => "context: the answer to another attempt",
                Part::Over => "context: the end of another attempt",
            }
            .to_owned();
        }
    };
    let what = if number == 0 { "guilty packet" } else { "proof" };
    let note = words::shorten(&evidence.note, NOTE_MAX);
    let note = if note.is_empty() { evidence.what.id().to_owned() } else { note };
    match evidence.what {
        What::Silence => {
            let who = terms::side(evidence.side);
            format!("{what}: silence of the {who} after this packet: {note}")
        }
        What::LogLine => format!("context: {note}"),
        _ => format!("{what}: {note}"),
    }
}
