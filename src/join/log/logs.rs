//! Reads the logs of a run when all flows are known, and keeps what they say of them.

use super::both::both;
use super::clients::drop_others;
use super::clock::Clock;
use super::entry::{Entry, Place, Words};
use super::explain::{self, Disagreement, Failing};
use super::fit::Leg;
use super::follow;
use super::format::{Format, FormatError};
use super::gather::{ENTRIES_MAX, Found, Gathered, Job, Known, Reading};
use super::kind::{Kind, Lines};
use super::read::{self, LogError, LogFile};
use super::revise::{Findings, decide, revise};
use super::seen::{Capture, Seen};
use super::tie::{By, Ties, tie};
use super::upstream::tie_errors;
use super::within::{find_connections, find_requests};
use crate::cause::{Case, Confidence, Finding, undecided};
use crate::flow::Flow;
use crate::http::State;
use crate::join::Correlation;
use crate::packet::Endpoint;
use crate::time::{Mark, Timestamp};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Ties that are kept for the report; those of findings and failing lines come first.
pub const TIES_MAX: usize = 200_000;
/// Requests that packets leave open and that are compared with lines, about 1 KB each; with more, those that came
/// last are not.
const OPEN_MAX: usize = 10_000;
/// Why a file was not read whose lines are of no kind.
const UNKNOWN_KIND: &str =
    "its lines are of no known kind of log; --log-kind or --log-format tells it";

/// Why nothing comes of a file without lines.
const EMPTY: &str = "it is empty";
/// Why nothing comes of a directory without them.
const NO_LOG: &str = "there is no log in it";
/// The same of a file that is read live.
const NOT_WRITTEN: &str = "no line was written to it during the capture";

/// Which logs a run shall read.
#[derive(Clone, Debug, Default)]
pub struct LogSettings {
    /// Files and directories.
    pub files: Vec<PathBuf>,
    /// Their kind, where the user knows it.
    pub kind: Option<Kind>,
    /// Forms of lines beside the known ones.
    pub formats: Vec<String>,
    /// Keep what belongs together although nothing failed.
    pub all: bool,
    /// They grow while the capture goes on: they are opened at once and read when it is over.
    pub grow: bool,
}

/// Why logs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// A file or directory.
    #[error("the log {0}")]
    File(#[from] LogError),
    /// A format.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Takes in what a capture shows while the logs are read.
#[derive(Debug)]
pub struct Watch {
    settings: LogSettings,
    lines: Arc<Lines>,
    reading: Reading,
    capture: Capture,
    /// Requests that the packets leave open, at most [`OPEN_MAX`].
    open: Vec<Finding>,
    /// How many more there were.
    lost: u64,
}

/// What the logs say.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// The files, in the order of [`Place::file`].
    pub files: Vec<LogFile>,
    /// What came of each log: files of one kind that the user named together.
    pub sources: Vec<Source>,
    /// What of the things that the user named is no log, and why.
    pub unused: Vec<(String, String)>,
    /// Lines and flows that belong together, by flow and ordinal: those of findings and of failing lines, and
    /// all with `--all`.
    pub ties: Vec<Tie>,
    /// The same in the order of the lines, attempts at targets first.
    by_place: Vec<usize>,
    /// Lines that tell of a failure, in their order, at most [`FAILING_MAX`](explain::FAILING_MAX).
    pub failing: Vec<Failing>,
    /// Where log and packets say different things.
    pub disagreements: Vec<Disagreement>,
    /// Requests that the packets leave open and that failed by what a line says.
    pub decided: u64,
    /// Time of the first and of the last packet of any flow of the capture.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Bounds that were reached, by name, and how often.
    pub bounds: BTreeMap<&'static str, u64>,
}

/// One log.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Index in what the user named.
    pub named: u32,
    /// As the user named it.
    pub path: String,
    /// Its kind.
    pub kind: Option<Kind>,
    /// Files of it.
    pub files: u64,
    /// Lines.
    pub lines: u64,
    /// Lines that could not be read.
    pub bad: u64,
    /// The first of those.
    pub first_bad: Option<Place>,
    /// Lines that are copies of others; each is one of these lines, and counts nowhere else.
    pub copies: u64,
    /// Lines of the time of the capture.
    pub in_time: u64,
    /// Time of the earliest and of the latest line, by the log's own clock.
    pub range: Option<(Timestamp, Timestamp)>,
    /// Lines tied to a flow, at least likely.
    pub joined: u64,
    /// Lines tied to a flow, no more than possible.
    pub possible: u64,
    /// Lines that fit several exchanges equally well.
    pub ambiguous: u64,
    /// Lines that tell of a failure.
    pub failing: u64,
    /// Those of them that are tied to a flow.
    pub failing_joined: u64,
    /// Those of them that are of another time than the capture.
    pub failing_other_time: u64,
    /// Its clock.
    pub clock: Clock,
}

/// A line and what it tells of.
#[derive(Clone, Debug)]
pub struct Tie {
    /// The line.
    pub place: Place,
    /// Its kind.
    pub kind: Kind,
    /// [`Flow::id`].
    pub flow: u64,
    /// Wireshark's `tcp.stream`.
    pub stream: Option<u32>,
    /// Position of the request on its connection; 0 for the connection as a whole.
    pub ordinal: u32,
    /// The side that opened the connection.
    pub client: Endpoint,
    /// The side that accepted.
    pub server: Endpoint,
    /// First packet of the request, or of the connection.
    pub mark: Mark,
    /// First packet of the response.
    pub answered: Option<Mark>,
    /// Last packet of the response, of a request without one, or of the connection.
    pub over: Mark,
    /// How the request ended.
    pub state: State,
    /// Status that the packets show.
    pub seen_status: Option<u16>,
    /// On which side of the proxy.
    pub leg: Leg,
    /// How sure.
    pub certainty: Confidence,
    /// What tied it.
    pub by: By,
    /// Status that the log has for the client; 0 where it says that none was sent.
    pub status: Option<u16>,
    /// Status that the log has of this target.
    pub target_status: Option<u16>,
    /// What a failing line says.
    pub words: Option<Box<Words>>,
    /// Index in [`Logs::disagreements`].
    pub disagreement: Option<usize>,
}

impl Logs {
    /// The lines that tell of a request, or with ordinal 0 of a connection that failed before any.
    pub fn of(&self, flow: u64, ordinal: u32) -> &[Tie] {
        let from = self.ties.partition_point(|tie| (tie.flow, tie.ordinal) < (flow, ordinal));
        let to = self.ties.partition_point(|tie| (tie.flow, tie.ordinal) <= (flow, ordinal));
        &self.ties[from..to]
    }

    /// Brings all lists into their order.
    fn order(&mut self) {
        self.ties.sort_by_key(|tie| (tie.flow, tie.ordinal, tie.place));
        explain::number(self);
        self.failing.sort_by_key(|failing| failing.place);
        self.by_place = (0..self.ties.len()).collect();
        let ties = &self.ties;
        self.by_place.sort_by_key(|n| (ties[*n].place, Reverse(ties[*n].leg), *n));
    }

    /// What a line is tied to, attempts at targets first.
    pub fn at(&self, place: Place) -> impl Iterator<Item = &Tie> {
        let from = self.by_place.partition_point(|n| self.ties[*n].place < place);
        let to = self.by_place.partition_point(|n| self.ties[*n].place <= place);
        self.by_place[from..to].iter().map(|n| &self.ties[*n])
    }

    /// The lines that tell of a finding, on either side of the proxy.
    pub fn of_finding(&self, finding: &Finding) -> Vec<&Tie> {
        let mut found: Vec<&Tie> = Vec::new();
        for (flow, ordinal) in parts(finding) {
            for tie in self.of(flow, ordinal) {
                if found.iter().all(|known| known.place != tie.place) {
                    found.push(tie);
                }
            }
        }
        found
    }

    /// Files that could not be read, or not to their end, or whose kind is not known; and why.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|file| {
            let unknown = (file.kind.is_none() && file.lines_seen).then_some(UNKNOWN_KIND);
            Some((file.path.as_str(), file.error.as_deref().or(unknown)?))
        })
    }

    /// All ties, in the order of the lines, attempts at targets first.
    pub(super) fn by_line(&self) -> impl Iterator<Item = &Tie> {
        self.by_place.iter().map(|n| &self.ties[*n])
    }

    /// Path of the file of a line.
    pub fn path(&self, place: Place) -> &str {
        self.files.get(place.file as usize).map_or("", |file| &file.path)
    }
}

pub(super) fn ordinal(finding: &Finding) -> u32 {
    finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal)
}

/// Flows and ordinals that a finding is about: its own, then what the other leg of a proxy shows of it.
fn parts(finding: &Finding) -> Vec<(u64, u32)> {
    let mut parts = vec![(finding.flow, ordinal(finding))];
    if let Some(joined) = &finding.joined {
        parts.extend(joined.attempts.iter().map(|it| (it.ends.flow, it.ends.ordinal)));
        parts.push((joined.front.flow, joined.front.ordinal));
    }
    parts
}

impl Watch {
    /// Finds the files and reads the formats; `None` without logs.
    pub fn new(settings: LogSettings) -> Result<Option<Watch>, LogsError> {
        if settings.files.is_empty() {
            return Ok(None);
        }
        let formats =
            settings.formats.iter().map(|text| Format::new(text)).collect::<Result<_, _>>()?;
        let files = read::files(&settings.files)?;
        let lines = Arc::new(Lines { formats });
        let growing = settings.grow.then(|| follow::open(&files).map(Arc::new)).transpose()?;
        let (kind, most) = (settings.kind, ENTRIES_MAX);
        let job = Job { files, kind, lines: Arc::clone(&lines), most, growing };
        let reading = Reading::start(job);
        let capture = Capture::with_room();
        Ok(Some(Watch { settings, lines, reading, capture, open: Vec::new(), lost: 0 }))
    }

    /// A flow is over.
    pub fn flow(&mut self, flow: &Flow) {
        self.capture.flow(flow);
    }

    /// An exchange is final.
    pub fn seen(&mut self, seen: Seen) {
        self.capture.add(seen);
    }

    /// What came of a request cannot be told from its packets; a line may tell.
    pub fn undecided(&mut self, case: &Case<'_>) {
        match self.open.len() < OPEN_MAX {
            true => self.open.extend(undecided(case)),
            false => self.lost += 1,
        }
    }

    /// Requests at these positions of these connections are nothing that a log tells of.
    pub fn leave_out(&mut self, which: impl Fn(u64, u32) -> bool) {
        self.open.retain(|finding| !which(finding.flow, ordinal(finding)));
    }

    /// All flows are known: ties the logs to them. `findings` are those of the report; what lines say of them
    /// revises them. `correlations` say which attempts packets have tied to which request.
    pub fn finish(self, findings: &mut Vec<Finding>, correlations: &[Correlation]) -> Logs {
        let Watch { settings, lines, reading, mut capture, open, lost } = self;
        capture.lost += lost;
        capture.settle();
        let known = Arc::new(Known::new(capture));
        let gathered = reading.finish(&known);
        let (settings, lines) = (&settings, &*lines);
        let tied = Tied { settings, lines, capture: &known.capture, correlations };
        tied.logs(gathered, findings, open)
    }
}

/// What logs are compared with.
struct Tied<'a> {
    settings: &'a LogSettings,
    lines: &'a Lines,
    capture: &'a Capture,
    correlations: &'a [Correlation],
}

impl Tied<'_> {
    fn logs(&self, gathered: Gathered, findings: &mut Vec<Finding>, open: Vec<Finding>) -> Logs {
        let span = self.capture.span;
        let mut logs = Logs { files: gathered.files, span, ..Logs::default() };
        let empty = if self.settings.grow { NOT_WRITTEN } else { EMPTY };
        for file in &mut logs.files {
            if file.kind.is_none() && !file.lines_seen && file.error.is_none() {
                file.error = Some(empty.to_owned());
            }
        }
        let without_request = findings.iter().filter(|finding| finding.exchange.is_none());
        let mut broken: Vec<u64> = without_request.map(|finding| finding.flow).collect();
        broken.sort_unstable();
        broken.dedup();
        let (mut bounded, mut said) = (0, Vec::new());
        let told = Findings::new(findings);
        let (mut told_lines, mut said_of_open) = (BTreeSet::new(), Vec::new());
        let asked = Findings::new(&open);
        for ((named, kind), mut found) in gathered.sources {
            found.keep_near(self.capture);
            let mut ties = tie(&mut found.entries, found.paths, self.capture, &broken);
            tie_errors(&found.entries, &mut ties, self.capture, self.lines);
            find_requests(&found.entries, &mut ties, self.capture);
            find_connections(&found.entries, &mut ties, self.capture);
            drop_others(&found.entries, &mut ties, self.capture, self.correlations);
            let with = (&found.entries[..], &ties, self.capture);
            let (mut source, other_time) = both(
                found.entries.len(),
                || self.source(named, kind, &found, &ties),
                || explain::explain(with, findings, self.lines, &mut logs),
            );
            source.failing_other_time += other_time;
            said.append(&mut told.said(findings, with, self.lines));
            if !open.is_empty() {
                told_lines.extend(told.told(with));
                said_of_open.append(&mut asked.said(&open, with, self.lines));
            }
            bounded += self.keep(&found.entries, &ties, findings, &mut logs);
            logs.sources.push(source);
        }
        let path = |place| logs.path(place).to_owned();
        let differ = revise(findings, said, path);
        let mut decided = decide(open, said_of_open, &told_lines, path);
        logs.decided = decided.len() as u64;
        findings.append(&mut decided);
        explain::disagree(differ, &mut logs);
        logs.order();
        logs.unused = self.unused(&logs);
        for (name, count) in [
            ("log lines not kept", gathered.dropped),
            ("failing log lines of which the text was not kept", gathered.textless),
            ("log lines of other requests whose time was not kept", gathered.timeless),
            ("ties of log lines not listed", bounded),
            ("exchanges and flows not compared with logs", self.capture.lost),
        ] {
            if count > 0 {
                *logs.bounds.entry(name).or_default() += count;
            }
        }
        logs
    }

    fn unused(&self, logs: &Logs) -> Vec<(String, String)> {
        let is_used = |n: u32| logs.sources.iter().any(|source| source.named == n);
        let unused = (0..).zip(&self.settings.files).filter(|(n, _)| !is_used(*n));
        let named = unused.map(|(_, path)| path.display().to_string());
        let why = |path: &str| logs.unread().find(|(file, _)| *file == path).map(|(_, why)| why);
        let told = |path: String| {
            let why = why(&path).unwrap_or(NO_LOG).to_owned();
            (path, why)
        };
        named.map(told).collect()
    }

    fn source(&self, named: u32, kind: Kind, found: &Found, ties: &Ties) -> Source {
        let (from, to) = self.capture.span.unwrap_or_default();
        let clock = &ties.clock;
        // Times that a log cuts off may be later.
        let cut_off = found.entries.iter().map(|entry| entry.resolution).max().unwrap_or(0);
        let inside = |at: Timestamp, until: Timestamp| {
            until.after(clock.offset) >= from.after(-clock.tolerance.saturating_add(cut_off))
                && at.after(clock.offset) <= to.after(clock.tolerance)
        };
        let in_time = found.times.iter().filter(|at| inside(**at, **at)).count();
        let mut source = Source { in_time: in_time as u64, ..Source::default() };
        // Ties are in the order of the entries, too.
        let mut tied = ties.tied.chunk_by(|one, next| one.entry == next.entry).peekable();
        let mut ambiguous = ties.ambiguous.iter().peekable();
        for (n, entry) in found.entries.iter().enumerate() {
            let tied = tied.next_if(|tied| tied[0].entry == n);
            let sure = tied.and_then(|tied| tied.iter().map(|tied| tied.certainty).max());
            let is_ambiguous = ambiguous.next_if_eq(&&n).is_some();
            match sure {
                Some(Confidence::Possible) => source.possible += 1,
                Some(_) => source.joined += 1,
                None => source.ambiguous += u64::from(is_ambiguous),
            }
            source.failing_joined += u64::from(entry.failed && sure.is_some());
            // Of what is not captured only the beginning counts.
            let until = if entry.wanted { entry.until() } else { entry.at() };
            let fits = sure.is_some() || is_ambiguous;
            source.in_time += u64::from(fits || inside(entry.at(), until));
        }
        Source {
            named,
            path: self
                .settings
                .files
                .get(named as usize)
                .map_or_else(String::new, |path| path.display().to_string()),
            kind: Some(kind),
            files: found.files,
            lines: found.lines,
            bad: found.bad,
            first_bad: found.first_bad,
            copies: found.copies,
            range: found.range,
            failing: found.failing,
            failing_other_time: found.far_failing,
            clock: ties.clock,
            ..source
        }
    }

    /// Keeps the ties that matter for the report; how many more there were.
    fn keep(&self, entries: &[Entry], ties: &Ties, findings: &[Finding], logs: &mut Logs) -> u64 {
        let found: HashSet<(u64, u32), FixedState> = findings.iter().flat_map(parts).collect();
        let flows: HashSet<u64, FixedState> = found.iter().map(|(flow, _)| *flow).collect();
        let mut dropped = 0;
        for tied in &ties.tied {
            let entry = &entries[tied.entry];
            if !(entry.failed || self.settings.all || flows.contains(&tied.flow)) {
                continue;
            }
            let seen = tied.seen.map(|n| &self.capture.seen[n]);
            let ordinal = seen.map_or(0, |seen| seen.ordinal);
            let matters = entry.failed || found.contains(&(tied.flow, ordinal));
            if !(matters || self.settings.all) {
                continue;
            }
            let Some(flow) = self.capture.flows.get(tied.flow) else { continue };
            if logs.ties.len() >= TIES_MAX {
                dropped += 1;
                continue;
            }
            logs.ties.push(Tie {
                place: entry.place,
                kind: entry.kind,
                flow: tied.flow,
                stream: flow.stream,
                ordinal,
                client: flow.client,
                server: flow.server,
                mark: seen.map_or(flow.first, |seen| seen.first),
                answered: seen.and_then(|seen| seen.answered),
                over: seen.map_or(flow.over, |seen| seen.over),
                state: seen.map_or(State::Unanswered, |seen| seen.state),
                seen_status: seen.and_then(|seen| seen.status),
                leg: tied.leg,
                certainty: tied.certainty,
                by: tied.by,
                status: entry.status,
                target_status: entry.answer_of(flow.server),
                words: entry.words(self.lines).map(Box::new),
                disagreement: None,
            });
        }
        dropped
    }
}

#[cfg(test)]
impl Logs {
    /// A log whose line 7 tells of that finding, and whose line 9 went to no target.
    pub(crate) fn sample(finding: &Finding) -> Logs {
        let words = |said: &str| Words {
            request: "GET /a".into(),
            fields: vec![("elb_status_code", said.to_owned()), ("error_reason", "-".to_owned())],
        };
        let place = |line| Place { file: 0, line };
        let failing = |line, why_not, own_cause| explain::Failing {
            place: place(line),
            kind: Kind::Alb,
            at: Timestamp(0),
            words: words("502"),
            status: Some(502),
            own_cause,
            why_not,
        };
        let clock = Clock {
            offset: -3_200_000_000,
            tolerance: 4_000_000,
            pairs: 12,
            agreeing: 11,
            certainty: Some(Confidence::Certain),
        };
        let mut logs = Logs {
            files: vec![LogFile {
                path: "logs/alb.gz".into(),
                kind: Some(Kind::Alb),
                lines: 20,
                bad: 1,
                first_bad: Some(3),
                lines_seen: true,
                errors: None,
                error: Some("cut short".into()),
            }],
            sources: vec![Source {
                path: "logs".into(),
                kind: Some(Kind::Alb),
                files: 1,
                lines: 20,
                bad: 1,
                first_bad: Some(place(3)),
                copies: 0,
                in_time: 19,
                range: Some((Timestamp(0), Timestamp(60_000_000_000))),
                joined: 17,
                possible: 1,
                ambiguous: 1,
                failing: 3,
                failing_joined: 1,
                failing_other_time: 1,
                clock,
                named: 0,
            }],
            ties: vec![Tie {
                place: place(7),
                kind: Kind::Alb,
                flow: finding.flow,
                stream: finding.stream,
                ordinal: ordinal(finding),
                client: finding.client,
                server: finding.server,
                mark: finding.evidence[0].mark,
                answered: None,
                over: finding.evidence[0].mark,
                state: State::Unanswered,
                seen_status: None,
                leg: Leg::Back,
                certainty: Confidence::Certain,
                by: By::Id,
                status: Some(502),
                target_status: None,
                words: Some(Box::new(words("502"))),
                disagreement: None,
            }],
            failing: vec![
                failing(9, Some(explain::WhyNot::Undispatched), Some("lb-no-target")),
                failing(7, None, None),
            ],
            disagreements: vec![Disagreement {
                place: place(7),
                flow: finding.flow,
                ordinal: ordinal(finding),
                what: "the log says 502, the packets show 200".into(),
            }],
            ..Logs::default()
        };
        logs.order();
        logs
    }
}
