//! Mirrors of a target, its checks and the changes of its state.

use super::{Address, BlindSpotId, Time, blind_spots, nanos_as_s};
use crate::health::{self, Outcome, Setting, State};
use crate::packet::Endpoint;
use crate::probe::{Reason, RequestFacts};
use crate::time::Mark;
use crate::words::Phrase;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Id of a health check's outcome.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct OutcomeId(#[schemars(extend("enum" = Outcome::ALL.map(Outcome::id)))] &'static str);

/// State of a target in the words of Elastic Load Balancing; `unknown`: what it was before the
/// capture is not known, and the checks since do not decide it.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct StateId(#[schemars(extend("enum" = State::ALL.map(State::id)))] &'static str);

/// A value and how it is known.
#[derive(Serialize, JsonSchema)]
struct Known<T> {
    value: T,
    /// `given` by the user, `estimated` from the packets, or the vendor's `default`.
    #[schemars(extend("enum" = ["given", "estimated", "default"]))]
    origin: &'static str,
}

fn known<T, U>(setting: Option<&Setting<T>>, read: impl Fn(&T) -> U) -> Option<Known<U>> {
    setting.map(|setting| Known { value: read(&setting.value), origin: setting.origin.id() })
}

/// Settings of health checks; null where nothing is known.
#[derive(Serialize, JsonSchema)]
struct Settings<'a> {
    /// Kind of load balancer, as `--lb-type` calls it.
    lb_type: Option<&'static str>,
    protocol: Option<Known<&'static str>>,
    port: Option<Known<u16>>,
    path: Option<Known<&'a str>>,
    /// Between two checks of one source.
    interval_s: Option<Known<f64>>,
    timeout_s: Option<Known<f64>>,
    /// Passed checks in a row that make an unhealthy target healthy.
    healthy_threshold: Option<Known<u32>>,
    /// Failed checks in a row that make a healthy target unhealthy.
    unhealthy_threshold: Option<Known<u32>>,
    /// Status codes that pass.
    matcher: Option<Known<String>>,
    /// What is odd about them.
    notes: Vec<&'a str>,
}

/// What a check asked.
#[derive(Serialize, JsonSchema)]
struct Asked<'a> {
    method: &'a str,
    target: &'a str,
    version: &'a str,
    host: Option<&'a str>,
    user_agent: Option<&'a str>,
    connection: Option<&'a str>,
    x_forwarded_for: Option<&'a str>,
    x_forwarded_proto: Option<&'a str>,
    x_forwarded_port: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn new(request: &'a RequestFacts) -> Asked<'a> {
        Asked {
            method: &request.method,
            target: &request.target,
            version: &request.version,
            host: request.host.as_deref(),
            user_agent: request.user_agent.as_deref(),
            connection: request.connection.as_deref(),
            x_forwarded_for: request.forwarded_for.as_deref(),
            x_forwarded_proto: request.forwarded_proto.as_deref(),
            x_forwarded_port: request.forwarded_port.as_deref(),
        }
    }
}

/// A health check and what it found out.
#[derive(Serialize, JsonSchema)]
struct Check<'a> {
    /// Id of its flow.
    flow: u64,
    /// Its request, or its first packet where there is none.
    frame: u64,
    file: u32,
    /// When it began.
    time: Time,
    /// Who checked.
    source: Address,
    /// Null where the capture does not show it.
    outcome: Option<OutcomeId>,
    status: Option<u16>,
    /// From the last byte of the request to the first byte of the answer; without a request from
    /// SYN to SYN-ACK.
    latency_s: Option<f64>,
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    confidence: &'static str,
    /// Wireshark's `tcp.stream`.
    stream: Option<u32>,
    /// Position of the request on its connection, from 1; 0 without a request.
    ordinal: u32,
    /// The frame that decided the outcome, in the file `decided_file`.
    decided_frame: u64,
    decided_file: u32,
    decided_at: Time,
    /// What else is to say.
    note: Option<&'a str>,
    request: Option<Asked<'a>>,
    /// Head and body.
    request_bytes: u64,
    /// Body bytes of the answer.
    body_bytes: Option<u64>,
    /// Head and body of the answer.
    sent_bytes: Option<u64>,
    /// From the first byte of the request to the last byte of the answer.
    duration_s: Option<f64>,
    /// From SYN to SYN-ACK.
    connect_s: Option<f64>,
    /// From the start of the check until the prober gave up.
    gave_up_after_s: Option<f64>,
    /// `Server` of the answer.
    server_header: Option<&'a str>,
    /// `Location` of the answer.
    location: Option<&'a str>,
    content_type: Option<&'a str>,
    /// Round-trip time of the handshake, else of data.
    rtt_s: Option<f64>,
    rtt_variation_s: Option<f64>,
    /// Where the capture was taken.
    #[schemars(extend("enum" = ["client", "server", "between", "unknown"]))]
    vantage: &'static str,
    blind_spots: Vec<BlindSpotId>,
}

impl<'a> Check<'a> {
    fn new(check: &'a health::Check) -> Check<'a> {
        Check {
            flow: check.flow,
            frame: check.frame.frame.number(),
            file: check.frame.frame.file(),
            time: Time(check.began),
            source: check.source.into(),
            outcome: check.outcome.map(|outcome| OutcomeId(outcome.id())),
            status: check.status,
            latency_s: check.latency.map(nanos_as_s),
            confidence: check.confidence.id(),
            stream: check.stream,
            ordinal: check.ordinal,
            decided_frame: check.decisive.frame.number(),
            decided_file: check.decisive.frame.file(),
            decided_at: Time(check.decisive.at),
            note: Some(check.note.as_str()).filter(|note| !note.is_empty()),
            request: check.request.as_deref().map(Asked::new),
            request_bytes: check.request_len,
            body_bytes: check.body,
            sent_bytes: check.sent,
            duration_s: check.duration.map(nanos_as_s),
            connect_s: check.connect.map(nanos_as_s),
            gave_up_after_s: check.gave_up_after.map(nanos_as_s),
            server_header: check.text(|texts| &texts.server),
            location: check.text(|texts| &texts.location),
            content_type: check.text(|texts| &texts.content_type),
            rtt_s: check.rtt.map(nanos_as_s),
            rtt_variation_s: check.rtt_variation.map(nanos_as_s),
            vantage: check.vantage.id(),
            blind_spots: blind_spots(check.blind_spots),
        }
    }
}

/// A change of a target's state: what it is from that frame on.
#[derive(Serialize, JsonSchema)]
struct Change<'a> {
    time: Time,
    /// The frame that caused it.
    frame: u64,
    file: u32,
    state: StateId,
    /// Reason code of Elastic Load Balancing, word of HAProxy or Envoy, else id of the outcome.
    reason: Option<&'static str>,
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    confidence: &'static str,
    /// In words, where the state does not follow from thresholds.
    note: Option<&'a str>,
}

impl<'a> Change<'a> {
    fn new(entry: &'a health::Entry) -> Change<'a> {
        Change {
            time: Time(entry.mark.at),
            frame: entry.mark.frame.number(),
            file: entry.mark.frame.file(),
            state: StateId(entry.state.id()),
            reason: entry.reason,
            confidence: entry.confidence.id(),
            note: Some(entry.note.as_str()).filter(|note| !note.is_empty()),
        }
    }
}

/// A change, and by whose checks.
#[derive(Serialize, JsonSchema)]
struct TimelineEntry<'a> {
    #[serde(flatten)]
    change: Change<'a>,
    /// Index in `probers`.
    prober: usize,
}

/// A source of checks and what it holds of the target.
#[derive(Serialize, JsonSchema)]
struct Node<'a> {
    source: String,
    checks: u64,
    state: StateId,
    /// Passed and failed checks in a row at the end; one of them is 0.
    passes_in_a_row: u32,
    failures_in_a_row: u32,
    interval_s: Option<f64>,
    timeline: Vec<Change<'a>>,
}

/// A prober and its checks of a target.
#[derive(Serialize, JsonSchema)]
struct Prober<'a> {
    /// `why502 probers` lists them; `unknown` when only its behaviour gives it away.
    id: &'a str,
    name: &'a str,
    /// How sure it is that these are checks.
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    confidence: &'static str,
    /// What speaks for it and against it.
    reasons: Vec<String>,
    /// Whether it decides what traffic the target gets.
    balances: bool,
    /// It came through a proxy that forwards requests of others.
    relayed: bool,
    /// Addresses that the checks come from.
    sources: Vec<String>,
    settings: Settings<'a>,
    nodes: Vec<Node<'a>>,
    /// All checks, also those that are not listed.
    total: u64,
    by_outcome: BTreeMap<&'static str, u64>,
    /// The newest, in the order of time.
    checks: Vec<Check<'a>>,
    /// The target's state over time, as this prober's checks change it.
    timeline: Vec<Change<'a>>,
}

/// Something to know of a target.
#[derive(Serialize, JsonSchema)]
struct Note<'a> {
    id: &'static str,
    text: &'a str,
    /// The frame that shows it.
    frame: Option<u64>,
    file: Option<u32>,
}

impl<'a> Note<'a> {
    fn new(id: &'static str, text: &'a str, mark: Option<Mark>) -> Note<'a> {
        Note {
            id,
            text,
            frame: mark.map(|mark| mark.frame.number()),
            file: mark.map(|mark| mark.frame.file()),
        }
    }
}

/// A question of the triage and its answer.
#[derive(Serialize, JsonSchema)]
struct Point<'a> {
    #[serde(flatten)]
    note: Note<'a>,
    question: &'static str,
    #[schemars(extend("enum" = ["yes", "no", "cannot-be-seen"]))]
    answer: &'static str,
}

/// Expected checks that are missing.
#[derive(Serialize, JsonSchema)]
struct Absence<'a> {
    #[serde(flatten)]
    note: Note<'a>,
    /// What to look at, in this order.
    steps: Vec<&'a str>,
}

/// Traffic of a target that is no check.
#[derive(Serialize, JsonSchema)]
struct Users {
    /// Connections that are remembered.
    connections: u64,
    /// Requests on them.
    requests: u64,
    /// Connections to it that are not remembered: the counts above are the least that there were.
    connections_forgotten: u64,
    failed: u64,
    failed_while_healthy: u64,
    failed_while_unhealthy: u64,
}

/// A target and its health.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Target<'a> {
    server: Address,
    /// Name of its target group, where it was given.
    group: Option<&'a str>,
    /// Whether checks of it are expected.
    expected: bool,
    state: StateId,
    probers: Vec<Prober<'a>>,
    /// Its state over time.
    timeline: Vec<TimelineEntry<'a>>,
    absence: Option<Absence<'a>>,
    triage: Vec<Point<'a>>,
    /// What is worth knowing of its health.
    remarks: Vec<Note<'a>>,
    /// What to change about its checks.
    advice: Vec<Note<'a>>,
    users: Users,
}

impl<'a> Target<'a> {
    /// The mirror; without the checks one by one where they were written already.
    pub(in crate::report) fn new(target: &'a health::Target, checks: bool) -> Target<'a> {
        let note = |note: &'a health::Note| Note::new(note.id, &note.text, note.mark);
        let users = target.users;
        Target {
            server: target.server.into(),
            group: target.group.as_deref(),
            expected: target.expected,
            state: StateId(target.state.id()),
            probers: (0..target.probers.len()).map(|at| prober(target, at, checks)).collect(),
            timeline: target
                .timeline
                .iter()
                .map(|entry| TimelineEntry { change: Change::new(entry), prober: entry.prober })
                .collect(),
            absence: target.absence.as_ref().map(|absence| Absence {
                note: Note::new(absence.id, &absence.text, absence.mark),
                steps: absence.steps.iter().map(Phrase::as_str).collect(),
            }),
            triage: target
                .triage
                .iter()
                .map(|point| Point {
                    note: Note::new(point.id, &point.why, point.mark),
                    question: point.question,
                    answer: point.answer.id(),
                })
                .collect(),
            remarks: target.remarks.iter().map(note).collect(),
            advice: target.advice.iter().map(note).collect(),
            users: Users {
                connections: users.connections,
                requests: users.requests,
                connections_forgotten: users.forgotten,
                failed: users.failed,
                failed_while_healthy: users.failed_while_healthy,
                failed_while_unhealthy: users.failed_while_unhealthy,
            },
        }
    }
}

/// The prober at this place in the target's list.
fn prober(target: &health::Target, at: usize, checks: bool) -> Prober<'_> {
    let prober = &target.probers[at];
    let by_outcome = prober.by_outcome.iter().map(|(outcome, n)| (outcome.id(), *n)).collect();
    Prober {
        id: &prober.id,
        name: &prober.name,
        confidence: prober.verdict.confidence.id(),
        reasons: prober.verdict.reasons.iter().map(Reason::to_string).collect(),
        balances: prober.balances,
        relayed: prober.verdict.relayed,
        sources: prober.nodes.iter().map(|node| node.source.to_string()).collect(),
        settings: settings(&prober.settings),
        nodes: prober
            .nodes
            .iter()
            .map(|node| Node {
                source: node.source.to_string(),
                checks: node.checks,
                state: StateId(node.state.id()),
                passes_in_a_row: node.in_a_row.0,
                failures_in_a_row: node.in_a_row.1,
                interval_s: node.interval.map(nanos_as_s),
                timeline: node.timeline.iter().map(Change::new).collect(),
            })
            .collect(),
        total: prober.total,
        by_outcome,
        checks: prober.checks.iter().filter(|_| checks).map(Check::new).collect(),
        timeline: target
            .timeline
            .iter()
            .filter(|entry| entry.prober == at)
            .map(Change::new)
            .collect(),
    }
}

fn settings(settings: &health::Settings) -> Settings<'_> {
    Settings {
        lb_type: settings.vendor.map(|vendor| vendor.id),
        protocol: known(settings.protocol.as_ref(), |protocol| protocol.id()),
        port: known(settings.port.as_ref(), |port| *port),
        path: settings
            .path
            .as_ref()
            .map(|path| Known { value: path.value.as_str(), origin: path.origin.id() }),
        interval_s: known(settings.interval.as_ref(), |nanos| nanos_as_s(*nanos)),
        timeout_s: known(settings.timeout.as_ref(), |nanos| nanos_as_s(*nanos)),
        healthy_threshold: known(settings.healthy.as_ref(), |n| *n),
        unhealthy_threshold: known(settings.unhealthy.as_ref(), |n| *n),
        matcher: known(settings.matcher.as_ref(), ToString::to_string),
        notes: settings.notes.iter().map(Phrase::as_str).collect(),
    }
}

/// A health check as a record of its own.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct CheckRecord<'a> {
    /// Who was checked.
    server: Address,
    prober: &'a str,
    #[serde(flatten)]
    check: Check<'a>,
}

impl<'a> CheckRecord<'a> {
    pub(in crate::report) fn new(
        server: Endpoint,
        prober: &'a str,
        check: &'a health::Check,
    ) -> CheckRecord<'a> {
        CheckRecord { server: server.into(), prober, check: Check::new(check) }
    }
}

/// A change of a target's state as a record of its own.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Transition<'a> {
    /// The checked address and port.
    server: Address,
    /// By whose checks.
    prober: &'a str,
    #[serde(flatten)]
    change: Change<'a>,
}

impl<'a> Transition<'a> {
    pub(in crate::report) fn new(
        server: Endpoint,
        prober: &'a str,
        entry: &'a health::Entry,
    ) -> Transition<'a> {
        Transition { server: server.into(), prober, change: Change::new(entry) }
    }
}
