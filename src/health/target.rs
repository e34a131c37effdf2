//! What is reported of a target: plain data, made at the end of a run.

use super::outcome::Outcome;
use super::settings::Settings;
use super::state::{Change, State};
use super::traffic::Seen;
use crate::blind::BlindSpots;
use crate::cause::{Confidence, What};
use crate::flow::Vantage;
use crate::packet::Endpoint;
use crate::probe::{RequestFacts, ResponseTexts, Verdict};
use crate::time::{Mark, Timestamp};
use crate::words::Phrase;
use crate::{phrase, word};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One check and what it found out.
#[derive(Clone, Debug)]
pub struct Check {
    /// [`crate::flow::Flow::id`] of its connection.
    pub flow: u64,
    /// Wireshark's stream number.
    pub stream: Option<u32>,
    /// Position of its request on the connection, from 1; 0 without a request.
    pub ordinal: u32,
    /// The connection carries nothing else.
    pub alone: bool,
    /// Its request, or else its first packet.
    pub frame: Mark,
    /// When it began.
    pub began: Timestamp,
    /// When it was over: the end of the answer, or else the last packet of its connection.
    pub over: Timestamp,
    /// Who checked.
    pub source: Endpoint,
    /// Who was checked.
    pub target: Endpoint,
    /// What it found out; `None`: the capture does not show it.
    pub outcome: Option<Outcome>,
    /// How sure the outcome is.
    pub confidence: Confidence,
    /// The frame that decided it.
    pub decisive: Mark,
    /// What that frame is.
    pub what: What,
    /// What else is to say.
    pub note: Phrase,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Nanoseconds from the last byte of the request to the first byte of the answer; for a check
    /// without data from SYN to SYN-ACK.
    pub latency: Option<i64>,
    /// Nanoseconds from the first byte of the request to the last byte of the answer.
    pub duration: Option<i64>,
    /// Nanoseconds from the start of the check until the prober gave up.
    pub gave_up_after: Option<i64>,
    /// Nanoseconds from SYN to SYN-ACK.
    pub connect: Option<i64>,
    /// What it asked.
    pub request: Option<Arc<RequestFacts>>,
    /// Bytes of the request.
    pub request_len: u64,
    /// Body bytes of the answer.
    pub body: Option<u64>,
    /// Bytes of head and body of the answer.
    pub sent: Option<u64>,
    /// What the headers of the answer say.
    pub texts: Option<Arc<ResponseTexts>>,
    /// Payload bytes that came back, of any protocol.
    pub answered: u64,
    /// First answer of the target's TCP: SYN-ACK.
    pub accepted: Option<Mark>,
    /// First SYN.
    pub syn: Option<Mark>,
    /// The check began with a TLS hello.
    pub tls: bool,
    /// Nanoseconds from the answer to the first FIN or RST, when that was the target's.
    pub left_open: Option<i64>,
    /// Round-trip time of the handshake, nanoseconds.
    pub rtt: Option<i64>,
    /// Its mean deviation.
    pub rtt_variation: Option<i64>,
    /// Where the capture was taken.
    pub vantage: Vantage,
    /// What could hide another truth.
    pub blind_spots: BlindSpots,
}

impl Check {
    /// A header of the answer, if there is one.
    pub fn text(&self, of: impl FnOnce(&ResponseTexts) -> &Option<Box<str>>) -> Option<&str> {
        of(self.texts.as_deref()?).as_deref()
    }

    /// A connection without data as a connection test.
    pub(super) fn test(seen: &Seen, target: Endpoint) -> Check {
        Check {
            flow: seen.flow,
            stream: seen.stream,
            ordinal: 0,
            alone: true,
            frame: seen.first,
            began: seen.first.at,
            over: seen.answer.unwrap_or(seen.first).at,
            source: Endpoint { ip: seen.client, port: seen.port },
            target,
            outcome: Some(Outcome::ProbeNoData),
            confidence: Confidence::Likely,
            decisive: seen.answer.unwrap_or(seen.first),
            what: What::SynAck,
            note: phrase!("a connection without data"),
            status: None,
            latency: seen.answer.map(|mark| mark.at.nanos_since(seen.first.at)),
            duration: None,
            gave_up_after: None,
            connect: seen.answer.map(|mark| mark.at.nanos_since(seen.first.at)),
            request: None,
            request_len: 0,
            body: None,
            sent: None,
            texts: None,
            answered: 0,
            accepted: seen.answer,
            syn: Some(seen.first),
            tls: false,
            left_open: None,
            rtt: None,
            rtt_variation: None,
            vantage: seen.vantage,
            blind_spots: BlindSpots::NONE,
        }
    }
}

/// An entry of a timeline: the state from that frame on.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The frame that caused it.
    pub mark: Mark,
    /// The state from then on.
    pub state: State,
    /// The vendor's word for it, or the outcome's id.
    pub reason: Option<&'static str>,
    /// How sure it is.
    pub confidence: Confidence,
    /// Index of the prober in [`Target::probers`].
    pub prober: usize,
    /// In words, where the state does not come from thresholds.
    pub note: Phrase,
}

/// A target as one source of checks sees it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its address.
    pub source: IpAddr,
    /// Checks of it.
    pub checks: u64,
    /// The state it holds the target to be in.
    pub state: State,
    /// Results of the same kind in a row at the end: passes and failures.
    pub in_a_row: (u32, u32),
    /// Nanoseconds between its checks.
    pub interval: Option<i64>,
    /// Its view of the target over time.
    pub timeline: Vec<Entry>,
}

/// The checks of one prober at one target: all sources that ask the same thing.
#[derive(Clone, Debug)]
pub struct ProberHealth {
    /// Id of the prober; `unknown` when only its behaviour gives it away.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why it is one, and how sure that is.
    pub verdict: Arc<Verdict>,
    /// Whether it decides what traffic the target gets.
    pub balances: bool,
    /// Settings that hold for it.
    pub settings: Settings,
    /// Where its checks come from.
    pub nodes: Vec<Node>,
    /// All its checks.
    pub total: u64,
    /// Of these, with a request.
    pub asked: u64,
    /// Its checks by outcome.
    pub by_outcome: BTreeMap<Outcome, u64>,
    /// Its newest checks, in the order of time.
    pub checks: Vec<Check>,
    /// The state of the target by its checks.
    pub state: State,
    /// Changes of that state.
    pub changes: Vec<Change>,
}

/// Something to know, with the frame that shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// Stable kebab-case id.
    pub id: &'static str,
    /// One sentence without its full stop.
    pub text: Phrase,
    /// The frame that shows it.
    pub mark: Option<Mark>,
}

/// An answer of the triage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// The capture cannot show it.
    Unseen,
}

impl Answer {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Answer::Yes => word!("yes"),
            Answer::No => word!("no"),
            Answer::Unseen => "cannot-be-seen",
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Answer::Yes => word!("yes"),
            Answer::No => word!("no"),
            Answer::Unseen => word!("cannot be seen from here"),
        }
    }
}

/// One question of the triage.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Stable id.
    pub id: &'static str,
    /// The question.
    pub question: &'static str,
    /// Its answer.
    pub answer: Answer,
    /// Why, a sentence without its full stop.
    pub why: Phrase,
    /// The frame that shows it.
    pub mark: Option<Mark>,
}

/// Checks that were expected and are not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Absence {
    /// Stable id.
    pub id: &'static str,
    /// What is missing, a sentence without its full stop.
    pub text: Phrase,
    /// What to look at, in this order.
    pub steps: Vec<Phrase>,
    /// The last packet before the silence, or the one that shows the difference.
    pub mark: Option<Mark>,
}

/// Requests and connections of others than probers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Connections that are remembered.
    pub connections: u64,
    /// Requests on them.
    pub requests: u64,
    /// Connections to it that are not remembered, of others and of probers.
    pub forgotten: u64,
    /// Requests and connections that failed.
    pub failed: u64,
    /// Of these, while the target counted as healthy.
    pub failed_while_healthy: u64,
    /// Of these, while it counted as unhealthy.
    pub failed_while_unhealthy: u64,
}

/// A target and its health.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub server: Endpoint,
    /// Name of its target group.
    pub group: Option<String>,
    /// The user expects checks of it.
    pub expected: bool,
    /// Who checks it.
    pub probers: Vec<ProberHealth>,
    /// Its state over time, as a whole.
    pub timeline: Vec<Entry>,
    /// Its state at the end.
    pub state: State,
    /// Expected checks that are missing.
    pub absence: Option<Absence>,
    /// The questions to ask first.
    pub triage: Vec<Point>,
    /// What is worth knowing of its health.
    pub remarks: Vec<Note>,
    /// What to change about its checks.
    pub advice: Vec<Note>,
    /// Its other traffic.
    pub users: Users,
}

impl Target {
    /// Probers that decide what traffic it gets, or all when there are none.
    pub fn deciding(&self) -> impl Iterator<Item = &ProberHealth> {
        let any = self.probers.iter().any(|prober| prober.balances);
        self.probers.iter().filter(move |prober| prober.balances || !any)
    }

    /// The entry that its state at the end comes from: of probers that disagree, one of those that still say so.
    pub fn decisive(&self) -> Option<&Entry> {
        let says = |entry: &&Entry| entry.state == self.state;
        let still = |entry: &&Entry| {
            says(entry) && self.probers.get(entry.prober).is_some_and(|it| it.state == self.state)
        };
        self.timeline.iter().rfind(still).or_else(|| self.timeline.iter().rfind(says))
    }

    /// Whether its state was known and what followed its last check leaves it open.
    pub fn is_lost(&self) -> bool {
        let last = self.timeline.last();
        let open = |entry: &Entry| entry.state == State::Unknown && !entry.note.is_empty();
        self.state == State::Unknown && self.timeline.len() > 1 && last.is_some_and(open)
    }

    /// Checks of all its probers.
    pub fn checks(&self) -> u64 {
        self.probers.iter().map(|prober| prober.total).sum()
    }

    /// Checks of one effect.
    pub fn failed(&self) -> u64 {
        self.probers
            .iter()
            .flat_map(|prober| &prober.by_outcome)
            .filter(|(outcome, _)| outcome.effect() == super::outcome::Effect::Fail)
            .map(|(_, n)| n)
            .sum()
    }
}

/// Everything about health checks in a run.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Targets, by address.
    pub targets: Vec<Target>,
    /// Checks of them all.
    pub checks: u64,
    /// Of these, with a request.
    pub asked: u64,
    /// Checks by outcome.
    pub by_outcome: BTreeMap<Outcome, u64>,
    /// Connections that may be checks and are not sure enough to be counted.
    pub possible: u64,
    /// Of these, connections to a server that came at a steady pace and all failed in the TLS
    /// handshake.
    pub failed_handshakes: BTreeMap<Endpoint, u64>,
    /// The same of those that all failed before any data.
    pub failed_attempts: BTreeMap<Endpoint, u64>,
    /// Bounds that were reached, by name, and how often.
    pub bounds: BTreeMap<&'static str, u64>,
}
