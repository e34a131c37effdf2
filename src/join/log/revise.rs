//! What failing lines make of verdicts. Packets that prove a cause stand, and a line that says otherwise is told as a
//! disagreement. Where packets leave the cause open, as the answer of a proxy to its client does, the line decides.

use super::account::{self, Account};
use super::entry::{Entry, Place};
use super::explain::Disagreement;
use super::fit::Leg;
use super::kind::Lines;
use super::line::Line;
use super::logs::ordinal;
use super::seen::Capture;
use super::tie::{By, Tied, Ties};
use crate::blind::BlindSpots;
use crate::cause::{
    Cause, Confidence, Evidence, Finding, Kind, PacketFacts, Responsible, What, by_id, span,
};
use crate::packet::Endpoint;
use crate::phrase;
use crate::tcp::Side;
use crate::time::Timestamp;
use crate::words::Phrase;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Causes that one leg alone gives to an answer that a proxy may have made.
const ANSWERED: [&str; 8] = [
    "target-own-5xx",
    "inconclusive",
    "lb-no-target",
    "lb-overload",
    "lb-policy",
    "lambda-target",
    "local-port-exhaustion",
    "client-request-timeout",
];
/// Causes that say how an answer of a proxy broke off, not why.
const BROKE_OFF: [&str; 6] = [
    "response-body-truncated",
    "response-header-truncated",
    "response-stalled",
    "response-timeout",
    "target-fin-no-response",
    "target-rst-no-response",
];
/// Causes that leave open why the proxy ended its connection to a target.
const GAVE_UP: [&str; 5] =
    ["lb-cut", "client-abort", "response-timeout", "response-stalled", "inconclusive"];
/// Causes that say why it did.
const WHY_GIVEN_UP: [&str; 5] =
    ["client-abort", "response-timeout", "response-stalled", "target-not-reading", "lb-cut"];

/// A line that tells of a finding.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Index of the finding.
    finding: usize,
    account: Account,
    place: Place,
    /// Its time by the clock of the capture.
    at: Timestamp,
    /// How sure it is that it tells of this finding.
    certainty: Confidence,
    /// The packets of the finding are those of the proxy with its client.
    front: bool,
    /// It says that the request was sent to no target.
    undispatched: bool,
    /// It tells of several attempts.
    retried: bool,
    /// The last target that it names.
    target: Option<Endpoint>,
    /// Value of the field that says it.
    value: String,
}

/// The findings of a report, by the exchanges that lines are tied to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    by_exchange: HashMap<(u64, u32), Vec<usize>, FixedState>,
}

impl Findings {
    pub(super) fn new(findings: &[Finding]) -> Findings {
        let mut known = Findings::default();
        for (n, finding) in findings.iter().enumerate() {
            if finding.kind == Kind::HealthCheck {
                continue;
            }
            let own = (finding.flow, ordinal(finding));
            known.by_exchange.entry(own).or_default().push(n);
            let front = finding.joined.as_ref().map(|it| (it.front.flow, it.front.ordinal));
            let is_attempt = finding.kind == Kind::Attempt;
            if let Some(front) = front.filter(|front| *front != own && !is_attempt) {
                known.by_exchange.entry(front).or_default().push(n);
            }
        }
        known
    }

    /// Lines of one log that tell of them.
    pub(super) fn told(
        &self,
        (entries, ties, capture): (&[Entry], &Ties, &Capture),
    ) -> BTreeSet<Place> {
        let told = ties.tied.iter().filter(|tied| {
            let ordinal = tied.seen.map_or(0, |n| capture.seen[n].ordinal);
            self.by_exchange.contains_key(&(tied.flow, ordinal))
        });
        told.map(|tied| entries[tied.entry].place).collect()
    }

    /// What the lines of one log say of them.
    pub(super) fn said(
        &self,
        findings: &[Finding],
        (entries, ties, capture): (&[Entry], &Ties, &Capture),
        lines: &Lines,
    ) -> Vec<Said> {
        let mut said = Vec::new();
        let writer = Writer::new(ties, capture);
        for tied in ties.tied.iter().filter(|tied| tied.certainty >= Confidence::Likely) {
            let entry = &entries[tied.entry];
            if !entry.failed {
                continue;
            }
            let ordinal = tied.seen.map_or(0, |n| capture.seen[n].ordinal);
            let Some(told) = self.by_exchange.get(&(tied.flow, ordinal)) else { continue };
            let mut fields = Vec::new();
            let line = entry.text().and_then(|it| lines.read(entry.kind, it, &mut fields));
            let Some((line, account)) =
                line.and_then(|line| account::of(entry.kind, &line).map(|it| (line, it)))
            else {
                continue;
            };
            let value = line.said.iter().rev().find(|(name, _)| *name == account.field);
            for finding in told {
                let own = findings[*finding].flow == tied.flow;
                let is_attempt = findings[*finding].kind == Kind::Attempt;
                // A line tells of the last attempt; of the client's leg, one of another proxy further out.
                if tied.leg == Leg::Back && (is_attempt || !own) {
                    continue;
                }
                if own && !writer.tells_of(tied, &findings[*finding]) {
                    continue;
                }
                said.push(Said {
                    finding: *finding,
                    account,
                    place: entry.place,
                    at: entry.until().after(ties.clock.offset),
                    certainty: tied.certainty,
                    front: own && tied.leg == Leg::Front,
                    undispatched: entry.undispatched,
                    retried: was_retried(&line),
                    target: entry.attempts.iter().rev().find_map(|attempt| attempt.target),
                    value: value
                        .map_or_else(|| "-".to_owned(), |(_, value)| super::entry::clean(value)),
                });
            }
        }
        said
    }
}

/// The proxy that wrote a log, as far as its lines name connections by their ports or requests by their ids.
#[derive(Debug, Default)]
struct Writer {
    /// The connection of its client that each line names.
    fronts: HashMap<usize, u64, FixedState>,
    /// Where its clients ask it.
    listeners: HashSet<Endpoint, FixedState>,
}

impl Writer {
    fn new(ties: &Ties, capture: &Capture) -> Writer {
        let mut writer = Writer::default();
        for tied in ties.tied.iter().filter(|tied| tied.leg == Leg::Front && tied.by >= By::Port) {
            writer.fronts.insert(tied.entry, tied.flow);
            writer.listeners.extend(capture.flows.get(tied.flow).map(|flow| flow.server));
        }
        writer
    }

    /// Whether a line that is tied so can tell of this finding: one of this proxy.
    fn tells_of(&self, tied: &Tied, finding: &Finding) -> bool {
        if self.listeners.is_empty() || tied.by >= By::Port {
            return true;
        }
        let Some(front) = finding.joined.as_ref().map(|joined| &joined.front) else {
            return tied.leg == Leg::Back || self.listeners.contains(&finding.server);
        };
        let names = self.fronts.get(&tied.entry);
        self.listeners.contains(&front.server) && names.is_none_or(|flow| *flow == front.flow)
    }
}

/// Whether a line says that there were attempts before the one that decided: several targets, a count of retries,
/// Envoy's flag that it may try no further one.
fn was_retried(line: &Line<'_>) -> bool {
    let says = |(name, value): &(&str, Cow<'_, [u8]>)| match *name {
        "retries" => true,
        "response_flags" => value.split(|byte| *byte == b',').any(|flag| flag == b"URX"),
        _ => false,
    };
    line.attempts.len() > 1 || line.said.iter().any(says)
}

/// Revises findings by what lines say of them; `path` names the file of a line. Where both disagree.
pub(super) fn revise(
    findings: &mut Vec<Finding>,
    mut said: Vec<Said>,
    path: impl Fn(Place) -> String,
) -> Vec<Disagreement> {
    // Of several attempts the last one decided.
    said.sort_by_key(|it| (it.finding, it.account.cause() != "inconclusive", it.at, it.place));
    let (mut differ, mut attempts) = (Vec::new(), Vec::new());
    for group in said.chunk_by(|one, next| one.finding == next.finding) {
        let Some(said) = group.last() else { continue };
        let (mut said, finding) = (said.clone(), &mut findings[said.finding]);
        if said.undispatched
            && !said.front
            && let Some(attempt) = came_to_the_client(finding)
        {
            // What seemed an attempt for it was none.
            attempts.push(attempt);
            said.front = true;
        }
        let packets_prove = !said.front;
        if said.account.causes.contains(&finding.cause.id) {
            confirm(finding, &said);
        } else if decides(finding, &said) {
            replace(finding, &said);
        } else if packets_prove && contradicts(finding, &said) {
            finding.confidence = match finding.confidence {
                Confidence::Certain => Confidence::Certain,
                _ => Confidence::Possible,
            };
            differ.push(Disagreement {
                place: said.place,
                flow: finding.flow,
                ordinal: ordinal(finding),
                what: format!(
                    "the log says that {}, the packets show {}",
                    said.account.what, finding.cause.id
                ),
            });
        } else {
            continue;
        }
        prove(finding, &said, path(said.place));
    }
    findings.append(&mut attempts);
    differ
}

/// Requests that the capture leaves open: those of which a line tells have failed as it says, but for lines of
/// which others are `told`; `path` names the file of a line.
pub(super) fn decide(
    mut open: Vec<Finding>,
    mut said: Vec<Said>,
    told: &BTreeSet<Place>,
    path: impl Fn(Place) -> String,
) -> Vec<Finding> {
    said.retain(|said| !told.contains(&said.place));
    // A line tells of the last attempt at a target, and of that rather than of the request that it was made for.
    let asked = |said: &Said| open[said.finding].evidence.first().map(|it| it.mark.at);
    said.sort_by_key(|it| (it.place, !it.front, asked(it)));
    let last: Vec<&Said> =
        said.chunk_by(|one, next| one.place == next.place).filter_map(<[Said]>::last).collect();
    let mut decided = BTreeSet::new();
    for said in last {
        if decided.insert(said.finding) {
            let finding = &mut open[said.finding];
            replace(finding, said);
            // No packet shows it.
            finding.confidence = finding.confidence.min(Confidence::Likely);
            prove(finding, said, path(said.place));
        }
    }
    let open = open.into_iter().enumerate();
    open.filter(|(n, _)| decided.contains(n)).map(|(_, finding)| finding).collect()
}

/// The failure of a request, told on the connection of its client, in place of an attempt that may have been
/// made for it. That attempt by itself.
fn came_to_the_client(finding: &mut Finding) -> Option<Finding> {
    let joined = finding.joined.as_ref()?;
    // Others of the request's attempts may be less sure than this one.
    let this = joined.this.and_then(|this| joined.attempts.get(this));
    if this.map_or(joined.certainty, |attempt| attempt.certainty) > Confidence::Possible {
        return None;
    }
    let (front, exchange) = (joined.front.clone(), joined.exchange.clone()?);
    let answer = front.answered?;
    let attempt = Finding { kind: Kind::Attempt, joined: None, ..finding.clone() };
    let status = front.status.unwrap_or_default();
    let note = phrase!("the answer of the proxy: {status}", status);
    finding.cause = by_id("inconclusive")?;
    (finding.flow, finding.stream) = (front.flow, front.stream);
    (finding.client, finding.server) = (front.client, front.server);
    finding.evidence =
        vec![Evidence { mark: answer, side: Side::Server, what: What::Response, note }];
    finding.packets = vec![PacketFacts::default()];
    finding.outstanding = Some(answer.at.nanos_since(front.asked.at));
    finding.idle_before = exchange.idle_before;
    finding.blind_spots = exchange.blind_spots;
    (finding.exchange, finding.joined) = (Some(exchange), None);
    Some(attempt)
}

/// Log and packets say the same, each by itself.
fn confirm(finding: &mut Finding, said: &Said) {
    let mut sure = said.certainty;
    if said.front {
        sure = sure.min(said.account.confidence);
    } else if finding.blind_spots != BlindSpots::default() {
        sure = sure.min(Confidence::Likely);
    }
    finding.confidence = finding.confidence.max(sure);
    if finding.responsible == Responsible::Unknown {
        finding.responsible = said.account.responsible.unwrap_or(finding.cause.responsible);
    }
}

/// Whether the line says what the packets leave open.
fn decides(finding: &Finding, said: &Said) -> bool {
    let (known, told) = (finding.cause.id, said.account.cause());
    if told == "inconclusive" {
        // A proxy without a target to ask says so.
        let asked_nobody = said.account.responsible.is_some() && known == "lb-no-target";
        return said.front && (known == "target-own-5xx" || asked_nobody);
    }
    if said.front {
        let of_client = told == "client-abort" || told == "target-own-5xx";
        return ANSWERED.contains(&known) || (BROKE_OFF.contains(&known) && !of_client);
    }
    known == "inconclusive" || (GAVE_UP.contains(&known) && WHY_GIVEN_UP.contains(&told))
}

/// Whether packets that prove a cause and the line cannot both be right.
fn contradicts(finding: &Finding, said: &Said) -> bool {
    let told = said.account.cause();
    let alone = finding.joined.as_ref().is_none_or(|joined| joined.attempts.len() < 2);
    let of_target = [
        &account::CLOSED[..],
        &account::SILENT,
        &account::REFUSED,
        &account::UNANSWERED,
        &account::OWN,
    ];
    // A target that closes while it is still being asked may have begun its answer.
    let both =
        told == "response-body-truncated" && finding.cause.id == "target-closed-during-request";
    let is_of_target = |cause| of_target.iter().any(|family| family.contains(&cause));
    alone
        && finding.kind != Kind::Attempt
        && !said.retried
        && !both
        && is_of_target(told)
        && is_of_target(finding.cause.id)
}

/// The line decides: cause, who has to act, how sure.
fn replace(finding: &mut Finding, said: &Said) {
    let Some(cause): Option<&'static Cause> = by_id(said.account.cause()) else { return };
    let what = match said.target.filter(|_| said.front) {
        Some(target) => {
            phrase!("{what} ({target})", what = said.account.what, target = target.socket())
        }
        None => Phrase::fixed(said.account.what),
    };
    let exchange = finding.exchange.as_deref();
    let asked = exchange.and_then(|exchange| exchange.request.as_ref());
    let answer = exchange.and_then(|exchange| exchange.response.as_ref());
    let status = answer.and_then(|answer| answer.status).filter(|status| *status >= 500);
    finding.summary = match (status.filter(|_| said.front), asked, answer) {
        (Some(status), Some(asked), Some(answer)) if cause.id != "target-own-5xx" => {
            let waited = span(answer.first.at.nanos_since(asked.first.at));
            phrase!(
                "the proxy answered {status} after {waited}; its log says that {what}",
                status,
                waited,
                what
            )
        }
        _ => {
            let told = finding.summary.clone();
            phrase!("{told}; the log says that {what}", told, what)
        }
    };
    if finding.cause.id == "target-own-5xx"
        && let Some(status) = status
        && let Some(first) = finding.evidence.first_mut()
    {
        first.note = phrase!("the answer of the proxy: {status}", status);
    }
    finding.cause = cause;
    finding.responsible = said.account.responsible.unwrap_or(cause.responsible);
    finding.confidence = said.certainty.min(said.account.confidence);
}

/// Names the line as evidence, beside the guilty packet.
fn prove(finding: &mut Finding, said: &Said, file: String) {
    let Some(first) = finding.evidence.first() else { return };
    let (field, line) = (said.account.field, said.place.line);
    let value = said.value.clone();
    let note = phrase!("log line {line} of {file}: {field} {value}", line, file, field, value);
    let (mark, side) = (first.mark, first.side);
    finding.evidence.insert(1, Evidence { mark, side, what: What::LogLine, note });
    finding.packets.resize(finding.evidence.len() - 1, PacketFacts::default());
    finding.packets.insert(1, PacketFacts::default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn said(front: bool, cause: &'static [&'static str], confidence: Confidence) -> Said {
        let account = Account {
            causes: cause,
            confidence,
            what: "the target closed",
            field: "termination_state",
            responsible: None,
        };
        Said {
            finding: 0,
            account,
            place: Place { file: 0, line: 12 },
            at: Timestamp(0),
            certainty: Confidence::Certain,
            front,
            undispatched: false,
            retried: false,
            target: None,
            value: "SH--".into(),
        }
    }

    fn finding(cause: &str, confidence: Confidence) -> Finding {
        let mut finding = fixture::race(2);
        finding.cause = by_id(cause).unwrap();
        (finding.responsible, finding.confidence) = (finding.cause.responsible, confidence);
        finding.blind_spots = BlindSpots::default();
        finding
    }

    fn told(finding: &mut Finding, said: Said) -> Vec<Disagreement> {
        let mut findings = vec![finding.clone()];
        let differ = revise(&mut findings, vec![said], |_| "ha.log".into());
        *finding = findings.remove(0);
        assert!(findings.is_empty());
        differ
    }

    #[test]
    fn the_line_says_what_made_a_proxy_answer() {
        let mut it = finding("target-own-5xx", Confidence::Certain);
        assert!(told(&mut it, said(true, &account::CLOSED, Confidence::Possible)).is_empty());
        assert_eq!((it.cause.id, it.confidence), ("target-fin-no-response", Confidence::Possible));
        assert!(it.summary.contains("the log says that the target closed"), "{}", it.summary);
        let line = &it.evidence[1];
        assert_eq!(line.what, What::LogLine);
        assert_eq!(&*line.note, "log line 12 of ha.log: termination_state SH--");
        assert_eq!((line.mark, it.packets.len()), (it.evidence[0].mark, it.evidence.len()));
    }

    #[test]
    fn a_line_that_says_the_same_makes_surer() {
        let mut it = finding("response-timeout", Confidence::Possible);
        told(&mut it, said(false, &account::SILENT, Confidence::Likely));
        assert_eq!((it.cause.id, it.confidence), ("response-timeout", Confidence::Certain));
        let mut it = finding("response-timeout", Confidence::Possible);
        it.blind_spots.add(crate::blind::BlindSpot::Gap);
        told(&mut it, said(false, &account::SILENT, Confidence::Likely));
        assert_eq!(it.confidence, Confidence::Likely);
    }

    #[test]
    fn the_line_tells_who_ended_the_wait() {
        let mut it = finding("lb-cut", Confidence::Likely);
        told(&mut it, said(false, &account::LEFT, Confidence::Certain));
        assert_eq!((it.cause.id, it.responsible), ("client-abort", Responsible::Client));
    }

    #[test]
    fn packets_that_prove_a_cause_stand_against_the_line() {
        let mut it = finding("target-rst-no-response", Confidence::Certain);
        let differ = told(&mut it, said(false, &account::SILENT, Confidence::Likely));
        assert_eq!((it.cause.id, it.confidence), ("target-rst-no-response", Confidence::Certain));
        assert!(differ[0].what.ends_with("the packets show target-rst-no-response"));
        // The last of several attempts.
        let mut it = finding("target-rst-no-response", Confidence::Certain);
        let retried = Said { retried: true, ..said(false, &account::SILENT, Confidence::Likely) };
        assert!(told(&mut it, retried).is_empty());
        assert!(it.evidence.iter().all(|evidence| evidence.what != What::LogLine));
    }

    #[test]
    fn a_target_that_closed_while_it_was_asked_may_have_begun_its_answer() {
        const CUT: [&str; 1] = ["response-body-truncated"];
        let mut it = finding("target-closed-during-request", Confidence::Possible);
        assert!(told(&mut it, said(false, &CUT, Confidence::Likely)).is_empty());
        assert_eq!(it.confidence, Confidence::Possible);
    }

    #[test]
    fn a_line_says_whether_there_were_attempts_before() {
        let line = |name, value: &'static [u8]| Line {
            said: vec![(name, Cow::Borrowed(value))],
            ..Line::default()
        };
        assert!(was_retried(&line("retries", b"2")));
        assert!(was_retried(&line("response_flags", b"URX,UF")));
        assert!(!was_retried(&line("response_flags", b"UF")));
    }

    #[test]
    fn a_client_that_left_is_seen_on_its_own_connection() {
        let mut it = finding("client-abort", Confidence::Certain);
        assert!(told(&mut it, said(true, &account::SILENT, Confidence::Likely)).is_empty());
        assert_eq!(
            (it.cause.id, it.evidence.len()),
            ("client-abort", fixture::race(2).evidence.len())
        );
    }

    #[test]
    fn a_line_tells_nothing_of_what_another_proxy_did() {
        let finding = finding("response-timeout", Confidence::Possible);
        let tied = Tied {
            entry: 3,
            seen: None,
            flow: finding.flow,
            leg: Leg::Front,
            certainty: Confidence::Likely,
            by: By::Request,
            distance: 0,
        };
        let mut writer = Writer::default();
        // Nothing is known of who wrote it.
        assert!(writer.tells_of(&tied, &finding));
        writer.listeners.insert(Endpoint { port: 81, ..finding.server });
        assert!(!writer.tells_of(&tied, &finding));
        assert!(writer.tells_of(&Tied { by: By::Port, ..tied }, &finding));
        writer.listeners.insert(finding.server);
        assert!(writer.tells_of(&tied, &finding));
    }
}
