//! What becomes of each failing line, and where log and packets say different things.

use super::entry::{Entry, Place, Words};
use super::fit::Leg;
use super::kind::{Kind, Lines};
use super::line::is_failure;
use super::logs::{Logs, Tie, ordinal};
use super::seen::{Capture, Known, Seen, Shows};
use super::servers::ServerNames;
use super::tie::{Tied, Ties};
use crate::cause::{Confidence, Finding};
use crate::packet::Endpoint;
use crate::time::Timestamp;
use crate::word;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

/// Failing lines that are listed; further ones are counted.
pub const FAILING_MAX: usize = 20_000;
/// Disagreements that are listed; further ones are counted.
pub const DISAGREEMENTS_MAX: usize = 10_000;

/// Causes after which a client has the target's status all the same.
const PASSED_ON: [&str; 4] =
    ["response-body-truncated", "target-own-5xx", "response-malformed", "response-stalled"];

/// A line that tells of a failure.
#[derive(Clone, Debug)]
pub struct Failing {
    /// The line.
    pub place: Place,
    /// Its kind.
    pub kind: Kind,
    /// Its time, by the clock of the capture.
    pub at: Timestamp,
    /// What it says.
    pub words: Words,
    /// Status given to the client.
    pub status: Option<u16>,
    /// The cause that it names and packets cannot: its id.
    pub own_cause: Option<&'static str>,
    /// Why it is tied to nothing.
    pub why_not: Option<WhyNot>,
}

impl Failing {
    /// What it is tied to, attempts at targets first.
    pub fn ties<'a>(&self, logs: &'a Logs) -> impl Iterator<Item = &'a Tie> {
        logs.at(self.place)
    }
}

/// Why no packets belong to a failing line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhyNot {
    /// It is of another time.
    OtherTime,
    /// It says that the request went to no target.
    Undispatched,
    /// Its target is not in the capture.
    OtherTarget,
    /// What went to its target is encrypted.
    Encrypted,
    /// It fits several exchanges equally well.
    Ambiguous,
    /// What went to its target was cut off when it was captured.
    Cut,
    /// Its target is in the capture, no request for the same is.
    NotCaptured,
    /// No request for the same is in the capture; nothing tells which target it went to.
    Nowhere,
}

impl WhyNot {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            WhyNot::OtherTime => "other-time",
            WhyNot::Undispatched => "undispatched",
            WhyNot::OtherTarget => "other-target",
            WhyNot::Encrypted => "encrypted",
            WhyNot::Ambiguous => "ambiguous",
            WhyNot::Cut | WhyNot::NotCaptured | WhyNot::Nowhere => "not-captured",
        }
    }

    /// In words.
    pub fn what(self) -> &'static str {
        match self {
            WhyNot::OtherTime => word!("not of the time of the capture"),
            WhyNot::Undispatched => word!("sent to no target"),
            WhyNot::OtherTarget => word!("its target is not in the capture"),
            WhyNot::Encrypted => word!("what went to its target is encrypted"),
            WhyNot::Ambiguous => word!("fits several requests equally well"),
            WhyNot::Cut => word!("the requests to its target were cut by the snap length"),
            WhyNot::NotCaptured => word!(
                "its target is in the capture, no request for the same is: it was not captured, or the proxy wrote its path anew"
            ),
            WhyNot::Nowhere => word!(
                "no request for the same is in the capture: its target is not in it, it was not captured, or the proxy wrote its path anew"
            ),
        }
    }
}

/// Log and packets say different things of one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The line.
    pub place: Place,
    /// [`Flow::id`](crate::flow::Flow::id).
    pub flow: u64,
    /// Position of the request on its connection.
    pub ordinal: u32,
    /// What differs, a sentence without full stop.
    pub what: String,
}

/// Adds what is to be told of the lines of one log; how many failing ones are of another time.
pub(super) fn explain(
    (entries, ties, capture): (&[Entry], &Ties, &Capture),
    findings: &[Finding],
    lines: &Lines,
    logs: &mut Logs,
) -> u64 {
    let mut other_time = 0;
    let mut causes: HashMap<(u64, u32), &'static str, FixedState> = HashMap::default();
    for finding in findings {
        causes.insert((finding.flow, ordinal(finding)), finding.cause.id);
        // Where the proxy refused the answer of its target, that is said of its own answer.
        let refused = finding.joined.as_ref().filter(|joined| joined.this.is_none());
        let attempts = refused.into_iter().flat_map(|joined| &joined.attempts);
        for attempt in attempts.filter(|attempt| attempt.ends.status.is_some()) {
            causes.entry((attempt.ends.flow, attempt.ends.ordinal)).or_insert(finding.cause.id);
        }
    }
    let servers = Servers::of(capture, ties);
    for group in ties.tied.chunk_by(|one, next| one.entry == next.entry) {
        let differ = disagreements(&entries[group[0].entry], group, capture, &causes);
        disagree(differ, logs);
    }
    for (n, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.failed) {
        let from = ties.tied.partition_point(|tied| tied.entry < n);
        let to = ties.tied.partition_point(|tied| tied.entry <= n);
        let ambiguous = || ties.ambiguous.binary_search(&n).is_ok();
        let why_not = (from == to).then(|| why_not(entry, ambiguous(), ties, capture, &servers));
        if why_not == Some(WhyNot::OtherTime) {
            other_time += 1;
            continue;
        }
        let back = ties.tied[from..to].iter().any(|tied| tied.leg == Leg::Back);
        if logs.failing.len() >= FAILING_MAX {
            *logs.bounds.entry("failing log lines not listed").or_default() += 1;
            continue;
        }
        logs.failing.push(Failing {
            place: entry.place,
            kind: entry.kind,
            at: entry.at().after(ties.clock.offset),
            words: entry.words(lines).unwrap_or_default(),
            status: entry.status,
            // Packets of an attempt know better.
            own_cause: entry.own_cause().filter(|_| !back),
            why_not,
        });
    }
    other_time
}

/// Lists disagreements.
pub(super) fn disagree(differ: Vec<Disagreement>, logs: &mut Logs) {
    for one in differ {
        if logs.disagreements.len() < DISAGREEMENTS_MAX {
            logs.disagreements.push(one);
        } else {
            *logs.bounds.entry("disagreements not listed").or_default() += 1;
        }
    }
}

/// Disagreements are in the order of flows, one of each line and exchange; ties know theirs.
pub(super) fn number(logs: &mut Logs) {
    logs.disagreements.sort_by_key(|it| (it.flow, it.ordinal, it.place));
    logs.disagreements.dedup_by_key(|it| (it.flow, it.ordinal, it.place));
    for tie in &mut logs.ties {
        let key = (tie.flow, tie.ordinal, tie.place);
        tie.disagreement = logs
            .disagreements
            .binary_search_by_key(&key, |it| (it.flow, it.ordinal, it.place))
            .ok();
    }
}

/// The servers of a capture, and what can be read of the requests to them: of one all of whose requests are cut or
/// encrypted, nothing.
struct Servers {
    shows: HashMap<Endpoint, Shows, FixedState>,
    /// Those that are the proxy itself.
    fronts: HashSet<Endpoint, FixedState>,
}

impl Servers {
    fn of(capture: &Capture, ties: &Ties) -> Servers {
        let mut shows: HashMap<Endpoint, Shows, FixedState> = HashMap::default();
        for flow in capture.flows.values() {
            let known = shows.entry(flow.server).or_default();
            *known = (*known).max(flow.shows);
        }
        let fronts = ties.tied.iter().filter(|tied| tied.leg == Leg::Front);
        let fronts = fronts.filter_map(|tied| capture.flows.get(tied.flow));
        Servers { shows, fronts: fronts.map(|flow| flow.server).collect() }
    }

    /// What is shown of the requests of a line to its targets.
    fn shown(&self, entry: &Entry, names: &ServerNames) -> Target {
        let address = entry.server.and_then(|name| names.address(name));
        let named = entry.attempts.iter().filter_map(|attempt| attempt.target).chain(address);
        let known: Vec<Shows> = named.filter_map(|at| self.shows.get(&at).copied()).collect();
        let knows_address = entry.names_targets() || address.is_some();
        let mut targets =
            self.shows.iter().filter(|(server, _)| !self.fronts.contains(*server)).peekable();
        if let Some(name) = entry.server.filter(|_| !knows_address)
            && targets.peek().is_some()
            && targets.clone().all(|(server, _)| !names.may_be(name, *server))
        {
            // All that are there are others.
            return Target::Other;
        }
        match (knows_address, known.iter().max()) {
            (true, Some(shows)) => Target::Known(*shows),
            (true, None) => Target::Other,
            (false, _) => Target::Any(targets.map(|(_, shows)| *shows).max().unwrap_or_default()),
        }
    }
}

/// What the capture has of the target of a line.
enum Target {
    /// It is not there.
    Other,
    Known(Shows),
    /// It may be any of those that are there.
    Any(Shows),
}

fn why_not(
    entry: &Entry,
    ambiguous: bool,
    ties: &Ties,
    capture: &Capture,
    servers: &Servers,
) -> WhyNot {
    let (from, to) = capture.span.unwrap_or_default();
    let clock = &ties.clock;
    let slack = clock.tolerance.saturating_add(entry.resolution);
    let until = entry.until().after(clock.offset);
    let at = entry.at().after(clock.offset);
    if until < from.after(-slack) || at > to.after(slack) || capture.span.is_none() {
        return WhyNot::OtherTime;
    }
    if entry.undispatched {
        return WhyNot::Undispatched;
    }
    if ambiguous {
        return WhyNot::Ambiguous;
    }
    match servers.shown(entry, &ties.servers) {
        Target::Other => WhyNot::OtherTarget,
        Target::Known(Shows::Sealed) | Target::Any(Shows::Sealed) => WhyNot::Encrypted,
        Target::Known(Shows::Cut) | Target::Any(Shows::Cut) => WhyNot::Cut,
        Target::Known(_) => WhyNot::NotCaptured,
        Target::Any(_) => WhyNot::Nowhere,
    }
}

/// What a line and the exchanges tied to it say differently.
fn disagreements(
    entry: &Entry,
    group: &[Tied],
    capture: &Capture,
    causes: &HashMap<(u64, u32), &'static str, FixedState>,
) -> Vec<Disagreement> {
    let exchanges = || {
        group.iter().filter(|tied| tied.certainty >= Confidence::Likely).filter_map(|tied| {
            let seen = &capture.seen[tied.seen?];
            Some((tied, seen, capture.flows.get(tied.flow)?))
        })
    };
    let attempts = exchanges().filter(|(tied, ..)| tied.leg == Leg::Back).count();
    exchanges()
        .filter_map(|(tied, seen, flow)| {
            let cause = causes.get(&(seen.flow, seen.ordinal)).copied();
            let what = match tied.leg {
                Leg::Front => front(entry, seen),
                Leg::Back => back(entry, seen, flow, cause, attempts == 1),
            }?;
            let (flow, ordinal) = (seen.flow, seen.ordinal);
            Some(Disagreement { place: entry.place, flow, ordinal, what })
        })
        .collect()
}

fn front(entry: &Entry, seen: &Seen) -> Option<String> {
    let (logged, seen_status) = (entry.status.filter(|it| *it > 0)?, seen.status?);
    (logged != seen_status).then(|| {
        format!("the log says that the client was given {logged}, the packets show {seen_status}")
    })
}

fn back(
    entry: &Entry,
    seen: &Seen,
    flow: &Known,
    cause: Option<&str>,
    alone: bool,
) -> Option<String> {
    let target = flow.server.socket();
    let logged = entry.answer_of(flow.server);
    match (logged, seen.status) {
        (Some(logged), Some(shown)) if logged != shown && !is_made_up(entry, logged) && alone => {
            Some(format!("the log says that {target} answered {logged}, the packets show {shown}"))
        }
        (None, Some(shown))
            if seen.whole && cause == Some("target-own-5xx") && alone && says_answers(entry) =>
        {
            let given = entry.status.filter(|given| *given > 0)?;
            Some(format!(
                "the log says {given} and no answer of {target}, the packets show its whole {shown}"
            ))
        }
        (None, Some(shown)) if seen.whole && cause.is_none() && alone => {
            let given = entry.status.filter(|given| is_failure(*given) && *given != shown)?;
            // Without the target's status in the log, a client that left says nothing of it.
            (given >= 500).then(|| {
                format!(
                    "the log says {given}, the packets show a whole {shown} from {target} and no fault"
                )
            })
        }
        (_, None) if alone && cause.is_some_and(|cause| !PASSED_ON.contains(&cause)) => {
            let given = entry.status.filter(|given| !is_failure(*given))?;
            let cause = cause.unwrap_or_default();
            Some(format!("the log says {given}, the packets show a failure of {target} ({cause})"))
        }
        _ => None,
    }
}

/// nginx logs a status of the upstream that it made up when there was no answer, or none that it
/// could read.
fn is_made_up(entry: &Entry, logged: u16) -> bool {
    let nginx = matches!(entry.kind, Kind::Format | Kind::Json);
    nginx && matches!(logged, 502 | 504 | 9)
}

/// Whether a log always has the status of its target, where that answered.
fn says_answers(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::Alb | Kind::Clb | Kind::HaproxyHttp)
}

#[cfg(test)]
mod tests {
    use super::super::servers::ServerName;
    use super::super::testing::{Made, logged, tie};
    use super::*;

    const T: ([u8; 4], u16) = ([10, 0, 0, 9], 8080);

    fn differ(entries: &mut [Entry], made: &Made) -> Vec<String> {
        let mut logs = Logs::default();
        let ties = tie(entries, &made.0, &[]);
        explain((entries, &ties, &made.0), &[], &Lines::default(), &mut logs);
        logs.disagreements.into_iter().map(|it| it.what).collect()
    }

    #[test]
    fn a_log_that_contradicts_the_packets_is_told() {
        let mut made = Made::default();
        made.request("/a", T, (0, 40), Some(200));
        made.request("/b", T, (1_000, 1_040), Some(200));
        made.request("/c", T, (2_000, 2_040), Some(200));
        let mut entries = [
            logged(1, "/a", (0, 41), 200, T),
            logged(2, "/b", (1_000, 1_041), 502, T),
            logged(3, "/c", (2_000, 2_041), 200, T),
        ];
        entries[2].kind = Kind::Alb;
        entries[2].attempts[0].status = Some(404);
        assert_eq!(
            differ(&mut entries, &made),
            [
                "the log says 502, the packets show a whole 200 from 10.0.0.9:8080 and no fault",
                "the log says that 10.0.0.9:8080 answered 404, the packets show 200"
            ]
        );
        assert!(differ(&mut entries[..1], &made).is_empty());
    }

    #[test]
    fn a_failing_line_that_went_nowhere_says_so() {
        let mut made = Made::default();
        made.request("/a", T, (0, 5_000), Some(200));
        let mut unsent = logged(2, "/b", (1_000, 1_001), 503, T);
        unsent.attempts.clear();
        unsent.undispatched = true;
        unsent.tell_cause("lb-no-target");
        let mut entries = [
            logged(1, "/a", (0, 5_001), 200, T),
            unsent,
            logged(3, "/b", (1_000, 1_041), 502, ([10, 0, 0, 8], 80)),
            logged(4, "/b", (1_000, 1_041), 502, T),
            logged(5, "/b", (91_000, 91_041), 502, T),
        ];
        let mut logs = Logs::default();
        let ties = tie(&mut entries, &made.0, &[]);
        assert_eq!(explain((&entries, &ties, &made.0), &[], &Lines::default(), &mut logs), 1);
        let why: Vec<_> = logs.failing.iter().map(|it| it.why_not).collect();
        let wanted = [WhyNot::Undispatched, WhyNot::OtherTarget, WhyNot::NotCaptured].map(Some);
        assert_eq!(why, wanted);
        assert_eq!(logs.failing[0].own_cause, Some("lb-no-target"));
    }

    /// Why a failing line of 10.0.0.9 is tied to nothing, or with another name than that of the target.
    fn why(entry: Entry, change: impl Fn(&mut Known)) -> Option<WhyNot> {
        let mut made = Made::default();
        for n in 0..10 {
            made.request(&format!("/{n}"), T, (n * 100, n * 100 + 40), Some(200));
        }
        made.0.flows.0.iter_mut().for_each(|(_, flow)| change(flow));
        let mut entries: Vec<Entry> = (0..10)
            .map(|n| {
                let path = format!("/{n}");
                let mut line = logged(n as u64, &path, (n * 100, n * 100 + 41), 200, T);
                line.server = Some(ServerName::new((b"b", b"s1")));
                line
            })
            .collect();
        entries.push(entry);
        let mut logs = Logs::default();
        let ties = tie(&mut entries, &made.0, &[]);
        explain((&entries, &ties, &made.0), &[], &Lines::default(), &mut logs);
        logs.failing.first()?.why_not
    }

    #[test]
    fn a_reason_rests_on_what_is_known_of_the_target() {
        let failed = || logged(20, "/gone", (500, 541), 502, T);
        assert_eq!(why(failed(), |_| {}), Some(WhyNot::NotCaptured));
        // A connection that carried nothing says nothing of the others.
        let last = |flow: &Known| flow.first.at == super::super::testing::ms(900);
        for (shows, wanted) in [
            (Shows::Sealed, WhyNot::Encrypted),
            (Shows::Cut, WhyNot::Cut),
            (Shows::Nothing, WhyNot::NotCaptured),
        ] {
            let change =
                |flow: &mut Known| flow.shows = if last(flow) { Shows::Nothing } else { shows };
            assert_eq!(why(failed(), change), Some(wanted));
        }
        let nameless = |server: Option<&str>| {
            let mut entry = failed();
            entry.attempts[0].target = None;
            entry.server = server.map(|name| ServerName::new((b"b", name.as_bytes())));
            entry
        };
        assert_eq!(why(nameless(None), |_| {}), Some(WhyNot::Nowhere));
        assert_eq!(why(nameless(Some("s1")), |_| {}), Some(WhyNot::NotCaptured));
        assert_eq!(why(nameless(Some("s2")), |_| {}), Some(WhyNot::OtherTarget));
    }

    #[test]
    fn an_answer_that_the_log_does_not_know_is_told() {
        let mut made = Made::default();
        made.request("/a", T, (0, 40), Some(502));
        made.request("/b", T, (1_000, 1_040), Some(200));
        let mut entries =
            [logged(1, "/a", (0, 41), 502, T), logged(2, "/b", (1_000, 1_041), 200, T)];
        entries[0].kind = Kind::Alb;
        let ties = tie(&mut entries, &made.0, &[]);
        let tied = ties.tied.iter().find(|it| it.entry == 0).unwrap();
        let (seen, flow) = (&made.0.seen[tied.seen.unwrap()], made.0.flows.get(tied.flow).unwrap());
        let told = |entry: &Entry| back(entry, seen, flow, Some("target-own-5xx"), true);
        let wanted =
            "the log says 502 and no answer of 10.0.0.9:8080, the packets show its whole 502";
        assert_eq!(told(&entries[0]).as_deref(), Some(wanted));
        // Where the log has no such field, it says nothing.
        entries[0].kind = Kind::Json;
        assert_eq!(told(&entries[0]), None);
    }
}
