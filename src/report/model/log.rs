//! Mirrors of what logs say.

use super::{Time, nanos_as_s};
use crate::cause::Confidence;
use crate::join::log::{self, Kind, Place, Tie, WhyNot, Words};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Id of a kind of log.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct KindId(#[schemars(extend("enum" = Kind::ALL.map(Kind::id)))] &'static str);

/// A log line that tells of a request or a connection.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct LogLine<'a> {
    /// As named on the command line, or as found in a directory named there.
    file: &'a str,
    /// From 1.
    line: u64,
    kind: KindId,
    /// `front`: this is the connection of the client that the log names. `back`: the proxy's to a
    /// target.
    #[schemars(extend("enum" = ["front", "back"]))]
    leg: &'static str,
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    certainty: &'static str,
    /// The strongest of what tied it: an id that both have, a port, the request and the time, or
    /// addresses and time.
    #[schemars(extend("enum" = ["id", "port", "request", "time"]))]
    tied_by: &'static str,
    /// Status that the log has for the client; 0 where it says that none was sent.
    status: Option<u16>,
    /// Status that the log has of this target.
    target_status: Option<u16>,
    /// What a failing line says, by the names of the log's own fields.
    fields: BTreeMap<&'static str, &'a str>,
    /// What the packets show differently.
    disagreement: Option<&'a str>,
}

impl<'a> LogLine<'a> {
    pub(in crate::report) fn new(logs: &'a log::Logs, tie: &'a Tie) -> LogLine<'a> {
        let disagreement = tie.disagreement.and_then(|n| logs.disagreements.get(n));
        LogLine {
            file: logs.path(tie.place),
            line: tie.place.line,
            kind: KindId(tie.kind.id()),
            leg: leg(tie.leg),
            certainty: tie.certainty.id(),
            tied_by: tie.by.id(),
            status: tie.status,
            target_status: tie.target_status,
            fields: tie.words.as_deref().map(fields).unwrap_or_default(),
            disagreement: disagreement.map(|it| it.what.as_str()),
        }
    }
}

/// Stable id.
fn leg(leg: log::Leg) -> &'static str {
    match leg {
        log::Leg::Front => "front",
        log::Leg::Back => "back",
    }
}

fn fields(words: &Words) -> BTreeMap<&'static str, &str> {
    words.fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// A place in a log.
#[derive(Serialize, JsonSchema)]
struct LogPlace<'a> {
    file: &'a str,
    /// From 1.
    line: u64,
}

fn place(logs: &log::Logs, place: Place) -> LogPlace<'_> {
    LogPlace { file: logs.path(place), line: place.line }
}

/// Files of one kind that were named together.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct LogSource<'a> {
    /// As named on the command line.
    path: &'a str,
    kind: Option<KindId>,
    files: u64,
    /// Lines, without blank ones and comments.
    lines: u64,
    /// Lines that could not be read.
    bad: u64,
    first_bad: Option<LogPlace<'a>>,
    /// Lines that are copies of others, as of a file beside its compressed copy; they count nowhere else.
    copies: u64,
    /// Lines of the time of the capture.
    in_time: u64,
    /// Time of the earliest line, by the log's own clock.
    first: Option<Time>,
    /// Time of the latest line, by the log's own clock.
    last: Option<Time>,
    /// Lines tied to a flow, certain or likely.
    joined: u64,
    /// Lines tied to a flow, no more than possible.
    possible: u64,
    /// Lines that fit several exchanges equally well.
    ambiguous: u64,
    /// Lines that tell of a failure.
    failing: u64,
    /// Those of them that are tied to a flow.
    failing_joined: u64,
    /// Those of them that are of another time than the capture; they are not listed.
    failing_other_time: u64,
    /// Seconds to add to the log's times to have those of the capture; null when it could not be
    /// estimated and both were taken as equal.
    clock_offset_s: Option<f64>,
    /// How far the two may still differ.
    clock_tolerance_s: f64,
    /// Pairs of line and exchange that the estimate rests on.
    clock_pairs: u64,
    /// Those of them that agree.
    clock_agreeing: u64,
    /// How sure the offset is: `certain` and `likely` by pairs that surely belong together, `likely` and
    /// `possible` by the difference that is most common among pairs that may; null without an offset.
    #[schemars(extend("enum" = ["certain", "likely", "possible", null]))]
    clock_certainty: Option<&'static str>,
}

impl<'a> LogSource<'a> {
    pub(in crate::report) fn new(logs: &'a log::Logs, source: &'a log::Source) -> LogSource<'a> {
        let clock = &source.clock;
        LogSource {
            path: &source.path,
            kind: source.kind.map(|kind| KindId(kind.id())),
            files: source.files,
            lines: source.lines,
            bad: source.bad,
            first_bad: source.first_bad.map(|first| place(logs, first)),
            copies: source.copies,
            in_time: source.in_time,
            first: source.range.map(|(first, _)| Time(first)),
            last: source.range.map(|(_, last)| Time(last)),
            joined: source.joined,
            possible: source.possible,
            ambiguous: source.ambiguous,
            failing: source.failing,
            failing_joined: source.failing_joined,
            failing_other_time: source.failing_other_time,
            clock_offset_s: clock.is_known().then(|| nanos_as_s(clock.offset)),
            clock_tolerance_s: nanos_as_s(clock.tolerance),
            clock_pairs: clock.pairs,
            clock_agreeing: clock.agreeing,
            clock_certainty: clock.certainty.map(Confidence::id),
        }
    }
}

/// A flow that a failing line tells of.
#[derive(Serialize, JsonSchema)]
struct LogFlow {
    /// Id of the flow.
    flow: u64,
    /// Wireshark's `tcp.stream`.
    stream: Option<u32>,
    /// First frame of the request, or of the connection that failed before one.
    frame: u64,
    /// Index in `captures` of that frame.
    file: u32,
    /// Position of the request on its connection; 0 for the connection as a whole.
    ordinal: u32,
    #[schemars(extend("enum" = ["front", "back"]))]
    leg: &'static str,
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    certainty: &'static str,
}

/// A log line that tells of a failure.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct FailingLine<'a> {
    file: &'a str,
    /// From 1.
    line: u64,
    kind: KindId,
    /// By the clock of the capture.
    time: Time,
    /// Method and target.
    request: Option<&'a str>,
    /// Status given to the client; 0 where the log says that none was sent.
    status: Option<u16>,
    /// What it says, by the names of the log's own fields.
    fields: BTreeMap<&'static str, &'a str>,
    /// Id of the cause that this line names and packets cannot.
    cause: Option<&'static str>,
    /// What it is tied to, attempts at targets first.
    flows: Vec<LogFlow>,
    /// Why it is tied to nothing.
    #[schemars(extend("enum" = ["undispatched", "other-target", "encrypted", "ambiguous", "not-captured", null]))]
    why_not: Option<&'static str>,
}

impl<'a> FailingLine<'a> {
    pub(in crate::report) fn new(
        logs: &'a log::Logs,
        failing: &'a log::Failing,
    ) -> FailingLine<'a> {
        let flows = failing.ties(logs).map(|tie| LogFlow {
            flow: tie.flow,
            stream: tie.stream,
            frame: tie.mark.frame.number(),
            file: tie.mark.frame.file(),
            ordinal: tie.ordinal,
            leg: leg(tie.leg),
            certainty: tie.certainty.id(),
        });
        FailingLine {
            file: logs.path(failing.place),
            line: failing.place.line,
            kind: KindId(failing.kind.id()),
            time: Time(failing.at),
            request: Some(failing.words.request.as_str()).filter(|text| !text.is_empty()),
            status: failing.status,
            fields: fields(&failing.words),
            cause: failing.own_cause,
            flows: flows.collect(),
            why_not: failing.why_not.map(WhyNot::id),
        }
    }
}

/// Where log and packets say different things.
#[derive(Serialize, JsonSchema)]
struct Disagreement<'a> {
    file: &'a str,
    /// From 1.
    line: u64,
    flow: u64,
    ordinal: u32,
    what: &'a str,
}

/// What the logs given with `--log` say.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Logs<'a> {
    sources: Vec<LogSource<'a>>,
    /// Files that could not be read, or not to their end, or whose kind is not known.
    unread: Vec<Unread<'a>>,
    /// Lines that tell of a failure, of the time of the capture, in their order.
    failing: Vec<FailingLine<'a>>,
    disagreements: Vec<Disagreement<'a>>,
    /// Memory bounds that were reached, by name, and how often.
    bounds: &'a BTreeMap<&'static str, u64>,
}

/// A log file that could not be read.
#[derive(Serialize, JsonSchema)]
struct Unread<'a> {
    file: &'a str,
    why: &'a str,
}

impl<'a> Logs<'a> {
    pub(in crate::report) fn new(logs: &'a log::Logs) -> Logs<'a> {
        Logs {
            sources: logs.sources.iter().map(|source| LogSource::new(logs, source)).collect(),
            unread: logs.unread().map(|(file, why)| Unread { file, why }).collect(),
            failing: logs.failing.iter().map(|failing| FailingLine::new(logs, failing)).collect(),
            disagreements: logs
                .disagreements
                .iter()
                .map(|it| Disagreement {
                    file: logs.path(it.place),
                    line: it.place.line,
                    flow: it.flow,
                    ordinal: it.ordinal,
                    what: &it.what,
                })
                .collect(),
            bounds: &logs.bounds,
        }
    }
}
