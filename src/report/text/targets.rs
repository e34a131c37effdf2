//! Targets and their health: a strip of checks, the states, the settings, what to ask and to change.

use super::names::Names;
use super::page::{Ink, LABEL, Page, WIDTH};
use crate::cause::Confidence;
use crate::health::{
    Check, Effect, Entry, Health, Note, Origin, Outcome, ProberHealth, Setting, Settings, State,
    Target,
};
use crate::report::words;
use std::collections::BTreeMap;
use std::io;

/// Targets that are shown in full; the others' state is in one line each.
const FULL_MAX: usize = 8;
/// Lines of a strip; what does not fit is folded.
const STRIP_LINES: usize = 3;
/// States of a timeline that are shown, the first and the last ones.
const STATES_MAX: usize = 12;
/// Addresses of checks that are shown.
const SOURCES_MAX: usize = 4;
/// Servers whose handshakes are pointed out.
const HINTS_MAX: usize = 3;
/// Runs of failed checks that are listed, where not everything is wanted.
const FAILED_MAX: usize = 6;

pub(super) fn targets(
    page: &mut Page<'_>,
    targets: &[Target],
    all: bool,
    names: &Names,
) -> io::Result<()> {
    if targets.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.heading("Targets and their health checks")?;
    let mut order: Vec<&Target> = targets.iter().collect();
    order.sort_by_key(|target| (!is_bad(target), !target.expected, target.server));
    let shown = if all { order.len() } else { order.len().min(FULL_MAX) };
    for target in &order[..shown] {
        page.blank()?;
        one(page, target, all, names)?;
    }
    if shown < order.len() {
        page.blank()?;
        for target in &order[shown..] {
            page.line(&format!("{}: {}", target.server.socket(), brief(target)))?;
        }
    }
    Ok(())
}

/// What only the reader can say: whether handshakes that never succeed are health checks.
pub(super) fn hints(page: &mut Page<'_>, health: &Health) -> io::Result<()> {
    for hint in hint_texts(health) {
        page.blank()?;
        page.paragraph("", &hint)?;
    }
    Ok(())
}

/// One sentence or two for each server whose handshakes are pointed out.
pub(in crate::report) fn hint_texts(health: &Health) -> impl Iterator<Item = String> {
    health.failed_handshakes.iter().take(HINTS_MAX).map(|(server, count)| {
        let server = server.socket();
        format!(
            "{} to {server} at a steady pace all failed in the TLS handshake. If these are health \
             checks, say so, and they are judged: --expect-target {server} --hc-protocol https",
            words::plural(*count, "connection")
        )
    })
}

/// Whether it is what the reader looks for.
pub(in crate::report) fn is_bad(target: &Target) -> bool {
    target.absence.is_some() || !matches!(target.state, State::Healthy | State::Unknown)
}

/// `unhealthy (Target.Timeout), 12 of 40 checks failed`
pub(in crate::report) fn brief(target: &Target) -> String {
    let reason = target.timeline.last().and_then(|entry| entry.reason);
    let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
    let state = match target.state {
        State::Unknown => "state not known".to_owned(),
        state => format!("{}{reason}", state.id()),
    };
    match (target.checks(), target.failed()) {
        (0, _) => "no health checks".to_owned(),
        (1, 0) => format!("{state}, 1 check, passed"),
        (n, 0) => format!("{state}, none of {} checks failed", words::count(n)),
        (n, failed) => {
            format!("{state}, {} of {} failed", words::count(failed), words::plural(n, "check"))
        }
    }
}

fn one(page: &mut Page<'_>, target: &Target, all: bool, names: &Names) -> io::Result<()> {
    let ink = match (is_bad(target), target.state) {
        (true, _) => Ink::Bad,
        (_, State::Healthy) => Ink::Good,
        _ => Ink::Label,
    };
    let server = page.paint(ink, &target.server.socket().to_string());
    let group = target.group.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    page.line(&format!("{server}{}: {}", words::clean(&group), brief(target)))?;
    if let Some(absence) = &target.absence {
        let frame = absence
            .mark
            .map_or(String::new(), |mark| format!(" (frame {})", names.frame(mark.frame)));
        page.field("Missing", &format!("{}{frame}", words::sentence(&absence.text)))?;
        for (n, step) in (1..).zip(&absence.steps) {
            page.hanging(&format!("{:LABEL$}{n}. ", ""), step)?;
        }
    }
    for prober in &target.probers {
        self::prober(page, prober, all, names)?;
    }
    timeline(page, target, names)?;
    users(page, target)?;
    notes(page, "Note", &target.remarks, names)?;
    triage(page, target, names)?;
    notes(page, "Advice", &target.advice, names)
}

fn prober(page: &mut Page<'_>, prober: &ProberHealth, all: bool, names: &Names) -> io::Result<()> {
    page.field("Checked by", &checked_by(prober))?;
    strip(page, prober)?;
    outcomes(page, prober, all, names)?;
    latency(page, prober)?;
    page.field("Settings", &settings(&prober.settings))
}

/// Who checks, from where, and why that is known.
pub(in crate::report) fn checked_by(prober: &ProberHealth) -> String {
    let sources: Vec<String> =
        prober.nodes.iter().take(SOURCES_MAX).map(|node| node.source.to_string()).collect();
    let more = prober.nodes.len().saturating_sub(SOURCES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let role = match (prober.verdict.relayed, prober.balances) {
        (true, _) => ", forwarded by a proxy: no check of the load balancer's own",
        (false, true) => "",
        (false, false) => ", no load balancer: decides no traffic",
    };
    let why = prober.verdict.reasons.first().map_or(String::new(), |reason| {
        format!("; {} that these are checks: {}", prober.verdict.confidence.id(), reason.what)
    });
    format!("{} from {}{more}{role}{why}", prober.name, sources.join(", "))
}

/// One sign per check, in the order of time; long series are folded to runs, the middle left out.
fn strip(page: &mut Page<'_>, prober: &ProberHealth) -> io::Result<()> {
    let left_out = prober.total.saturating_sub(prober.checks.len() as u64);
    let signs: Vec<Sign> = prober.checks.iter().map(Sign::of).collect();
    let width = WIDTH - LABEL;
    let room = width * STRIP_LINES;
    let mut cells: Vec<(String, Option<Ink>)> = if signs.len() <= room {
        signs.iter().map(|sign| (sign.letter.to_string(), sign.ink)).collect()
    } else {
        runs(&signs)
    };
    let length = |cells: &[(String, Option<Ink>)]| -> usize {
        cells.iter().map(|(text, _)| text.chars().count()).sum()
    };
    if length(&cells) > room {
        // The newest are those that matter now.
        let mut dropped = 0;
        while length(&cells) > room - 16 {
            cells.remove(0);
            dropped += 1;
        }
        cells.insert(0, (format!("({dropped} earlier) "), Some(Ink::Faint)));
    }
    if left_out > 0 {
        page.field("", &format!("{} earlier are only counted", words::plural(left_out, "check")))?;
    }
    let mut label = "  Checks";
    let mut line = String::new();
    let mut used = 0;
    let last = cells.len().saturating_sub(1);
    for (n, (text, ink)) in cells.iter().enumerate() {
        let len = text.chars().count();
        if used + len > width && used > 0 {
            put(page, &mut label, &mut line)?;
            used = 0;
        }
        line.push_str(&ink.map_or_else(|| text.clone(), |ink| page.paint(ink, text)));
        used += len;
        if n == last {
            put(page, &mut label, &mut line)?;
        }
    }
    let mut legend: BTreeMap<char, &str> = BTreeMap::new();
    for sign in &signs {
        legend.insert(sign.letter, sign.word);
    }
    let legend: Vec<String> =
        legend.iter().map(|(letter, word)| format!("{letter} {word}")).collect();
    let legend = page.paint(Ink::Faint, &legend.join("  "));
    page.line(&format!("{:LABEL$}{legend}", ""))
}

fn put(page: &mut Page<'_>, label: &mut &str, line: &mut String) -> io::Result<()> {
    let pad = " ".repeat(LABEL - label.len());
    let first = page.paint(Ink::Label, label);
    page.line(&format!("{first}{pad}{line}"))?;
    *label = "";
    line.clear();
    Ok(())
}

/// A check in the strip.
#[derive(Clone, Copy)]
struct Sign {
    letter: char,
    word: &'static str,
    ink: Option<Ink>,
}

impl Sign {
    fn of(check: &Check) -> Sign {
        let Some(outcome) = check.outcome else {
            return Sign { letter: '?', word: "not decidable", ink: Some(Ink::Faint) };
        };
        let ink = match outcome.effect() {
            Effect::Pass => Some(Ink::Good),
            Effect::Fail => Some(Ink::Bad),
            Effect::None => Some(Ink::Faint),
        };
        let word = match outcome {
            Outcome::TlsFailed | Outcome::TlsTimeout => "hc-tls-*",
            Outcome::StatusMismatch | Outcome::BodyMismatch | Outcome::GrpcMismatch => {
                "hc-*-mismatch"
            }
            outcome => outcome.id(),
        };
        Sign { letter: outcome.letter(), word, ink }
    }
}

/// `+1204 R6 +88`
fn runs(signs: &[Sign]) -> Vec<(String, Option<Ink>)> {
    signs
        .chunk_by(|a, b| a.letter == b.letter)
        .map(|run| (format!("{}{} ", run[0].letter, run.len()), run[0].ink))
        .collect()
}

/// How many of each outcome, with the frames of those that failed.
fn outcomes(
    page: &mut Page<'_>,
    prober: &ProberHealth,
    all: bool,
    names: &Names,
) -> io::Result<()> {
    let counts: Vec<(u64, &str)> =
        prober.by_outcome.iter().map(|(outcome, n)| (*n, outcome.id())).collect();
    let known: u64 = counts.iter().map(|(n, _)| n).sum();
    let mut text = words::counted(counts, usize::MAX);
    if known < prober.total {
        let hidden = words::count(prober.total - known);
        let and = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{and}{hidden} not decidable"));
    }
    page.field("Outcomes", &text)?;
    // Runs of the same outcome tell more than each of its checks.
    let runs: Vec<&[Check]> = prober
        .checks
        .chunk_by(|a, b| a.outcome == b.outcome && !all)
        .filter(|run| run[0].outcome.is_some_and(|it| it.effect() == Effect::Fail))
        .collect();
    let shown = if all { runs.len() } else { runs.len().min(FAILED_MAX) };
    for run in &runs[..shown] {
        let check = &run[0];
        let outcome = check.outcome.map_or("", Outcome::id);
        let sure = match check.confidence {
            Confidence::Certain => String::new(),
            confidence => format!(" ({})", confidence.id()),
        };
        let more = match run {
            [_, .., last] => format!(
                "; {} in a row until frame {}",
                words::count(run.len() as u64),
                names.frame(last.decisive.frame)
            ),
            _ => String::new(),
        };
        let (frame, time) = (names.frame(check.decisive.frame), words::time(check.began));
        let text = format!("{time} frame {frame} {outcome}{sure}: {}{more}", check.note);
        page.hanging(&format!("{:LABEL$}", ""), &text)?;
    }
    if shown < runs.len() {
        let left = words::count((runs.len() - shown) as u64);
        page.line(&format!("{:LABEL$}and {left} more times (--all lists each check)", ""))?;
    }
    Ok(())
}

fn latency(page: &mut Page<'_>, prober: &ProberHealth) -> io::Result<()> {
    took(prober).map_or(Ok(()), |text| page.field("Latency", &text))
}

/// How long passed checks took.
pub(in crate::report) fn took(prober: &ProberHealth) -> Option<String> {
    let mut took: Vec<i64> = prober
        .checks
        .iter()
        .filter(|check| check.outcome == Some(Outcome::Pass))
        .filter_map(|check| check.latency)
        .collect();
    took.sort_unstable();
    let longest = took.last()?;
    let s = |nanos: i64| words::seconds(nanos as f64 / 1e9);
    let timeout =
        prober.settings.timeout.as_ref().map_or(String::new(), |timeout| {
            format!("; the time-out is {}", with(timeout, |t| s(*t)))
        });
    let median = took.get(took.len() / 2)?;
    Some(format!("median {}, longest {} of passed checks{timeout}", s(*median), s(*longest)))
}

/// A value, and how it is known where the user did not say it.
fn with<T>(setting: &Setting<T>, show: impl Fn(&T) -> String) -> String {
    match setting.origin {
        Origin::Given => show(&setting.value),
        origin => format!("{} ({})", show(&setting.value), origin.id()),
    }
}

pub(in crate::report) fn settings(settings: &Settings) -> String {
    let s = |nanos: &i64| words::seconds(*nanos as f64 / 1e9);
    let n = |n: &u32| n.to_string();
    let mut parts = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            parts.push(format!("{name} {value}"));
        }
    };
    add("protocol", settings.protocol.as_ref().map(|it| with(it, |it| it.id().to_owned())));
    add("port", settings.port.as_ref().map(|it| with(it, ToString::to_string)));
    add("path", settings.path.as_ref().map(|it| with(it, Clone::clone)));
    add("interval", settings.interval.as_ref().map(|it| with(it, s)));
    add("time-out", settings.timeout.as_ref().map(|it| with(it, s)));
    add("healthy after", settings.healthy.as_ref().map(|it| with(it, n)));
    add("unhealthy after", settings.unhealthy.as_ref().map(|it| with(it, n)));
    add("matcher", settings.matcher.as_ref().map(|it| with(it, ToString::to_string)));
    let thresholds = settings.healthy.is_none() || settings.unhealthy.is_none();
    if thresholds {
        parts.push("thresholds not known, two in a row assumed".to_owned());
    }
    parts.join(", ")
}

fn timeline(page: &mut Page<'_>, target: &Target, names: &Names) -> io::Result<()> {
    let entries = &target.timeline;
    let several = target.probers.len() > 1;
    let mut label = "States";
    let head = STATES_MAX / 2;
    for (n, entry) in entries.iter().enumerate() {
        if entries.len() > STATES_MAX && n == head {
            let left = entries.len() - STATES_MAX;
            page.field("", &format!("({left} changes left out)"))?;
        }
        if entries.len() > STATES_MAX && n >= head && n < entries.len() - head {
            continue;
        }
        let first = entries[..n].iter().all(|before| before.prober != entry.prober);
        page.field(label, &state(entry, target, first, several, names))?;
        label = "";
    }
    let undecided = entries.len() == 1 && entries[0].state == State::Unknown;
    if let (true, Some(node)) = (undecided, leaning(target)) {
        page.field("", &node)?;
    }
    Ok(())
}

/// What the checks say so far of a target whose past is not known.
pub(in crate::report) fn leaning(target: &Target) -> Option<String> {
    let prober = target.deciding().next()?;
    let node = prober.nodes.first()?;
    let needed = |setting: &Option<Setting<u32>>| {
        setting.as_ref().map_or(crate::health::state::ASSUMED, |setting| setting.value)
    };
    match node.in_a_row {
        (0, 0) => None,
        (passes, 0) => Some(format!(
            "the last {passes} checks of {} passed; {} in a row would prove it healthy whatever it was before",
            node.source,
            needed(&prober.settings.healthy)
        )),
        (_, failures) => Some(format!(
            "the last {failures} checks of {} failed; {} in a row would prove it unhealthy whatever it was before",
            node.source,
            needed(&prober.settings.unhealthy)
        )),
    }
}

pub(in crate::report) fn state(
    entry: &Entry,
    target: &Target,
    first: bool,
    several: bool,
    names: &Names,
) -> String {
    let reason = entry.reason.map_or(String::new(), |reason| format!(", {reason}"));
    let sure = match entry.confidence {
        Confidence::Certain => String::new(),
        confidence => format!(" ({})", confidence.id()),
    };
    let whose = match target.probers.get(entry.prober) {
        Some(prober) if several => format!(", by {}", prober.name),
        _ => String::new(),
    };
    let note = if entry.note.is_empty() { String::new() } else { format!(": {}", entry.note) };
    let state = match entry.state {
        State::Unknown if first => "not known at first",
        State::Unknown => "not known any more: checks were missing before",
        state => state.id(),
    };
    let (time, frame) = (words::time(entry.mark.at), names.frame(entry.mark.frame));
    format!("{time} frame {frame} {state}{reason}{sure}{whose}{note}")
}

fn users(page: &mut Page<'_>, target: &Target) -> io::Result<()> {
    others(target).map_or(Ok(()), |text| page.field("Others", &text))
}

/// Traffic of a target that is no check.
pub(in crate::report) fn others(target: &Target) -> Option<String> {
    let users = &target.users;
    if users.connections == 0 && users.failed == 0 {
        return None;
    }
    let mut text = format!(
        "{}, {}",
        words::plural(users.connections, "connection"),
        words::plural(users.requests, "request")
    );
    if users.failed > 0 {
        text.push_str(&format!("; {} failed", words::count(users.failed)));
        for (n, state) in
            [(users.failed_while_healthy, "healthy"), (users.failed_while_unhealthy, "unhealthy")]
        {
            if n > 0 {
                text.push_str(&format!(", {} while it was {state}", words::count(n)));
            }
        }
    }
    Some(text)
}

fn notes(page: &mut Page<'_>, label: &str, notes: &[Note], names: &Names) -> io::Result<()> {
    let mut label = label;
    for note in notes {
        let frame =
            note.mark.map_or(String::new(), |mark| format!(" (frame {})", names.frame(mark.frame)));
        page.field(label, &format!("{}{frame}", words::sentence(&note.text)))?;
        label = "";
    }
    Ok(())
}

fn triage(page: &mut Page<'_>, target: &Target, names: &Names) -> io::Result<()> {
    let width = target.triage.iter().map(|point| point.question.len()).max().unwrap_or(0);
    let mut label = "Triage";
    for point in &target.triage {
        let frame = point
            .mark
            .map_or(String::new(), |mark| format!(" (frame {})", names.frame(mark.frame)));
        let pad = " ".repeat(LABEL - 2 - label.len());
        let first = format!("  {label}{pad}{:width$}  ", point.question);
        page.hanging(&first, &format!("{}: {}{frame}", point.answer.words(), point.why))?;
        label = "";
    }
    Ok(())
}
