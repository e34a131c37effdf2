//! Targets and their health: a strip of checks, the states, the settings, what to ask and to change.

use super::names::Names;
use super::page::{Ink, LABEL, Page, WIDTH};
use crate::cause::Confidence;
use crate::health::{
    Check, Effect, Entry, Health, Note, Origin, Outcome, ProberHealth, Setting, Settings, State,
    Target,
};
use crate::packet::Endpoint;
use crate::report::words;
use crate::time::Mark;
use crate::words::{Phrase, columns, left, plural};
use crate::{phrase, word};
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
    page.heading(word!("Targets and their health checks"))?;
    let mut order: Vec<&Target> = targets.iter().collect();
    order.sort_by_key(|target| rank(target));
    let shown = if all { order.len() } else { order.len().min(FULL_MAX) };
    for target in &order[..shown] {
        page.blank()?;
        one(page, target, all, names)?;
    }
    if shown < order.len() {
        page.blank()?;
        for target in &order[shown..] {
            let brief = page.say(brief(target));
            page.line(&format!("{}: {brief}", target.server.socket()))?;
        }
    }
    Ok(())
}

/// What only the reader can say: whether connections that never succeed are health checks.
pub(super) fn hints(page: &mut Page<'_>, health: &Health) -> io::Result<()> {
    for hint in hint_texts(health) {
        page.blank()?;
        page.paragraph("", hint)?;
    }
    Ok(())
}

/// One sentence or two for each server whose connections are pointed out.
pub(in crate::report) fn hint_texts(health: &Health) -> impl Iterator<Item = Phrase> {
    let handshakes = health.failed_handshakes.iter().map(|(server, count)| {
        let server = server.socket();
        phrase!("{connections} to {server} at a steady pace all failed in the TLS handshake. If these are health \
             checks, say so, and they are judged: --expect-target {server} --hc-protocol https", connections = plural(*count, "connection"), server)
    });
    let attempts = health.failed_attempts.iter().map(|(server, count)| {
        let server = server.socket();
        phrase!("{connections} to {server} at a steady pace all failed before any data. If these are health \
             checks, say so, and they are judged: --expect-target {server} --hc-protocol http", connections = plural(*count, "connection"), server)
    });
    handshakes.take(HINTS_MAX).chain(attempts.take(HINTS_MAX))
}

/// Whether it is what the reader looks for.
pub(in crate::report) fn is_bad(target: &Target) -> bool {
    target.absence.is_some() || !matches!(target.state, State::Healthy | State::Unknown)
}

/// The order in which targets are of interest: bad ones, those of which nothing is known any more, expected
/// ones, by address.
pub(in crate::report) fn rank(target: &Target) -> (bool, bool, bool, Endpoint) {
    (!is_bad(target), !target.is_lost(), !target.expected, target.server)
}

/// `unhealthy (Target.Timeout), 12 of 40 checks failed`
pub(in crate::report) fn brief(target: &Target) -> Phrase {
    // What the end of the checks says of it comes behind the state that they say.
    let entry = target.timeline.iter().rfind(|entry| entry.state == target.state);
    let reason = entry.and_then(|entry| entry.reason);
    let reason = reason.map_or(Phrase::default(), |reason| phrase!(" ({reason})", reason));
    let state = match target.state {
        State::Unknown => phrase!("state not known"),
        state => phrase!("{state}{reason}", state = state.id(), reason),
    };
    match (target.checks(), target.failed()) {
        (0, _) => phrase!("no health checks"),
        (1, 0) => phrase!("{state}, 1 check, passed", state),
        (n, 0) => phrase!("{state}, none of {n} checks failed", state, n = words::count(n)),
        (n, failed) => {
            phrase!(
                "{state}, {failed} of {checks} failed",
                state,
                failed = words::count(failed),
                checks = plural(n, "check")
            )
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
    let brief = page.say(brief(target));
    page.line(&format!("{server}{}: {brief}", words::clean(&group)))?;
    if let Some(absence) = &target.absence {
        let text = pointed(page, &absence.text, absence.mark, names);
        page.field(word!("Missing"), text)?;
        for (n, step) in (1..).zip(&absence.steps) {
            page.hanging(&format!("{:LABEL$}{n}. ", ""), step)?;
        }
    }
    for prober in &target.probers {
        self::prober(page, prober, all, names)?;
    }
    timeline(page, target, names)?;
    users(page, target)?;
    notes(page, word!("Note"), &target.remarks, names)?;
    triage(page, target, names)?;
    notes(page, word!("Advice"), &target.advice, names)
}

fn prober(page: &mut Page<'_>, prober: &ProberHealth, all: bool, names: &Names) -> io::Result<()> {
    page.field(word!("Checked by"), checked_by(prober))?;
    strip(page, prober)?;
    outcomes(page, prober, all, names)?;
    latency(page, prober)?;
    page.field(word!("Settings"), settings(&prober.settings))
}

/// Who checks, from where, and why that is known.
pub(in crate::report) fn checked_by(prober: &ProberHealth) -> Phrase {
    let sources: Vec<Phrase> =
        prober.nodes.iter().take(SOURCES_MAX).map(|node| node.source.to_string().into()).collect();
    let more = prober.nodes.len().saturating_sub(SOURCES_MAX);
    let more = if more > 0 { phrase!(" and {n} more", n = more) } else { Phrase::default() };
    let role = match (prober.verdict.relayed, prober.balances) {
        (true, _) => word!(", forwarded by a proxy: no check of the load balancer's own"),
        (false, true) => "",
        (false, false) => word!(", no load balancer: decides no traffic"),
    };
    let why = prober.verdict.reasons.first().map_or(Phrase::default(), |reason| {
        phrase!(
            "; {confidence} that these are checks: {what}",
            confidence = prober.verdict.confidence.id(),
            what = &reason.what
        )
    });
    phrase!(
        "{prober} from {sources}{more}{role}{why}",
        prober = Phrase::listed(&prober.name),
        sources = Phrase::list(sources, ", "),
        more,
        role,
        why
    )
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
        cells.iter().map(|(text, _)| columns(text)).sum()
    };
    if length(&cells) > room {
        // The newest are those that matter now.
        let mut dropped = 0;
        while length(&cells) > room - 16 {
            cells.remove(0);
            dropped += 1;
        }
        let dropped = page.say(phrase!("({n} earlier) ", n = dropped));
        cells.insert(0, (dropped, Some(Ink::Faint)));
    }
    if left_out > 0 {
        page.field(
            "",
            phrase!("{checks} earlier are only counted", checks = plural(left_out, "check")),
        )?;
    }
    let checks = format!("  {}", page.say(word!("Checks")));
    let mut label = checks.as_str();
    let mut line = String::new();
    let mut used = 0;
    let last = cells.len().saturating_sub(1);
    for (n, (text, ink)) in cells.iter().enumerate() {
        let len = columns(text);
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
        legend.iter().map(|(letter, word)| format!("{letter} {}", page.say(*word))).collect();
    let legend = page.paint(Ink::Faint, &legend.join("  "));
    page.line(&format!("{:LABEL$}{legend}", ""))
}

fn put(page: &mut Page<'_>, label: &mut &str, line: &mut String) -> io::Result<()> {
    let pad = " ".repeat(LABEL.saturating_sub(columns(label)));
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
            return Sign { letter: '?', word: word!("not decidable"), ink: Some(Ink::Faint) };
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
    let counts: Vec<(u64, &'static str)> =
        prober.by_outcome.iter().map(|(outcome, n)| (*n, outcome.id())).collect();
    let known: u64 = counts.iter().map(|(n, _)| n).sum();
    let hidden = prober.total.saturating_sub(known);
    let hidden = (hidden > 0).then_some((hidden, word!("not decidable")));
    let text = words::counted(counts.into_iter().chain(hidden), usize::MAX);
    page.field(word!("Outcomes"), text)?;
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
            Confidence::Certain => Phrase::default(),
            confidence => phrase!(" ({confidence})", confidence = confidence.id()),
        };
        let more = match run {
            [_, .., last] => phrase!(
                "; {n} in a row until frame {frame}",
                n = words::count(run.len() as u64),
                frame = names.frame(last.decisive.frame)
            ),
            _ => Phrase::default(),
        };
        let (frame, time) = (names.frame(check.decisive.frame), words::time(check.began));
        let text = phrase!(
            "{time} frame {frame} {outcome}{sure}: {note}{more}",
            time,
            frame,
            outcome,
            sure,
            note = &check.note,
            more
        );
        page.hanging(&format!("{:LABEL$}", ""), text)?;
    }
    if shown < runs.len() {
        let left = words::count((runs.len() - shown) as u64);
        let text = page.say(phrase!("and {n} more times (--all lists each check)", n = left));
        page.line(&format!("{:LABEL$}{text}", ""))?;
    }
    Ok(())
}

fn latency(page: &mut Page<'_>, prober: &ProberHealth) -> io::Result<()> {
    took(prober).map_or(Ok(()), |text| page.field(word!("Latency"), text))
}

/// How long passed checks took.
pub(in crate::report) fn took(prober: &ProberHealth) -> Option<Phrase> {
    let mut took: Vec<i64> = prober
        .checks
        .iter()
        .filter(|check| check.outcome == Some(Outcome::Pass))
        .filter_map(|check| check.latency)
        .collect();
    took.sort_unstable();
    let longest = took.last()?;
    let s = |nanos: i64| words::seconds(nanos as f64 / 1e9);
    let timeout = prober.settings.timeout.as_ref().map_or(Phrase::default(), |timeout| {
        phrase!("; the time-out is {value}", value = with(timeout, |t| s(*t)))
    });
    let median = took.get(took.len() / 2)?;
    Some(phrase!(
        "median {median}, longest {longest} of passed checks{timeout}",
        median = s(*median),
        longest = s(*longest),
        timeout
    ))
}

/// A value, and how it is known where the user did not say it.
fn with<T>(setting: &Setting<T>, show: impl Fn(&T) -> Phrase) -> Phrase {
    match setting.origin {
        Origin::Given => show(&setting.value),
        origin => phrase!("{value} ({origin})", value = show(&setting.value), origin = origin.id()),
    }
}

pub(in crate::report) fn settings(settings: &Settings) -> Phrase {
    let s = |nanos: &i64| words::seconds(*nanos as f64 / 1e9);
    let n = |n: &u32| n.to_string().into();
    let mut parts = Vec::new();
    let mut add = |name: &'static str, value: Option<Phrase>| {
        if let Some(value) = value {
            parts.push(phrase!("{name} {value}", name, value));
        }
    };
    add(
        word!("protocol"),
        settings.protocol.as_ref().map(|it| with(it, |it| it.id().to_owned().into())),
    );
    add(word!("port"), settings.port.as_ref().map(|it| with(it, |it| it.to_string().into())));
    add(word!("path"), settings.path.as_ref().map(|it| with(it, |it| it.clone().into())));
    add("interval", settings.interval.as_ref().map(|it| with(it, s)));
    add("time-out", settings.timeout.as_ref().map(|it| with(it, s)));
    add(word!("healthy after"), settings.healthy.as_ref().map(|it| with(it, n)));
    add(word!("unhealthy after"), settings.unhealthy.as_ref().map(|it| with(it, n)));
    add(word!("matcher"), settings.matcher.as_ref().map(|it| with(it, |it| it.to_string().into())));
    let thresholds = settings.healthy.is_none() || settings.unhealthy.is_none();
    if thresholds {
        parts.push(phrase!("thresholds not known, two in a row assumed"));
    }
    Phrase::list(parts, ", ")
}

fn timeline(page: &mut Page<'_>, target: &Target, names: &Names) -> io::Result<()> {
    let entries = &target.timeline;
    let several = target.probers.len() > 1;
    let mut label = word!("States");
    let head = STATES_MAX / 2;
    for (n, entry) in entries.iter().enumerate() {
        if entries.len() > STATES_MAX && n == head {
            let left = entries.len() - STATES_MAX;
            page.field("", phrase!("({n} changes left out)", n = left))?;
        }
        if entries.len() > STATES_MAX && n >= head && n < entries.len() - head {
            continue;
        }
        let first = entries[..n].iter().all(|before| before.prober != entry.prober);
        page.field(label, state(entry, target, first, several, names))?;
        label = "";
    }
    let undecided = entries.len() == 1 && entries[0].state == State::Unknown;
    if let (true, Some(node)) = (undecided, leaning(target)) {
        page.field("", node)?;
    }
    Ok(())
}

/// What the checks say so far of a target whose past is not known.
pub(in crate::report) fn leaning(target: &Target) -> Option<Phrase> {
    let prober = target.deciding().next()?;
    let node = prober.nodes.first()?;
    let needed = |setting: &Option<Setting<u32>>| {
        setting.as_ref().map_or(crate::health::state::ASSUMED, |setting| setting.value)
    };
    match node.in_a_row {
        (0, 0) => None,
        (passes, 0) => Some(phrase!(
            "the last {passes} checks of {source} passed; {needed} in a row would prove it healthy whatever it was before",
            passes,
            source = node.source,
            needed = needed(&prober.settings.healthy)
        )),
        (_, failures) => Some(phrase!(
            "the last {failures} checks of {source} failed; {needed} in a row would prove it unhealthy whatever it was before",
            failures,
            source = node.source,
            needed = needed(&prober.settings.unhealthy)
        )),
    }
}

pub(in crate::report) fn state(
    entry: &Entry,
    target: &Target,
    first: bool,
    several: bool,
    names: &Names,
) -> Phrase {
    let reason = entry.reason.map_or(Phrase::default(), |reason| phrase!(", {reason}", reason));
    let sure = match entry.confidence {
        Confidence::Certain => Phrase::default(),
        confidence => phrase!(" ({confidence})", confidence = confidence.id()),
    };
    let whose = match target.probers.get(entry.prober) {
        Some(prober) if several => phrase!(", by {prober}", prober = Phrase::listed(&prober.name)),
        _ => Phrase::default(),
    };
    let note = if entry.note.is_empty() {
        Phrase::default()
    } else {
        phrase!(": {note}", note = &entry.note)
    };
    let state = match entry.state {
        State::Unknown if first => word!("not known at first"),
        State::Unknown if !entry.note.is_empty() => word!("not known any more"),
        State::Unknown => word!("not known any more: checks were missing before"),
        state => state.id(),
    };
    let (time, frame) = (words::time(entry.mark.at), names.frame(entry.mark.frame));
    phrase!(
        "{time} frame {frame} {state}{reason}{sure}{whose}{note}",
        time,
        frame,
        state,
        reason,
        sure,
        whose,
        note
    )
}

fn users(page: &mut Page<'_>, target: &Target) -> io::Result<()> {
    others(target).map_or(Ok(()), |text| page.field(word!("Others"), text))
}

/// Traffic of a target that is no check.
pub(in crate::report) fn others(target: &Target) -> Option<Phrase> {
    let users = &target.users;
    if users.connections == 0 && users.failed == 0 {
        return None;
    }
    let mut text = phrase!(
        "{connections}, {requests}",
        connections = plural(users.connections, "connection"),
        requests = plural(users.requests, "request")
    );
    if users.forgotten > 0 {
        text = phrase!("at least {traffic}", traffic = text);
    }
    if users.failed > 0 {
        text = phrase!("{traffic}; {n} failed", traffic = text, n = words::count(users.failed));
        for (n, state) in
            [(users.failed_while_healthy, "healthy"), (users.failed_while_unhealthy, "unhealthy")]
        {
            if n > 0 {
                let n = words::count(n);
                text = phrase!("{traffic}, {n} while it was {state}", traffic = text, n, state);
            }
        }
    }
    Some(text)
}

fn notes(
    page: &mut Page<'_>,
    label: &'static str,
    notes: &[Note],
    names: &Names,
) -> io::Result<()> {
    let mut label = label;
    for note in notes {
        page.field(label, pointed(page, &note.text, note.mark, names))?;
        label = "";
    }
    Ok(())
}

/// A sentence, and the frame that shows it.
fn pointed(page: &Page<'_>, text: &Phrase, mark: Option<Mark>, names: &Names) -> String {
    let frame =
        mark.map_or(Phrase::default(), |mark| phrase!(" (frame {n})", n = names.frame(mark.frame)));
    format!("{}{}", words::sentence(text, page.lang()), page.say(frame))
}

fn triage(page: &mut Page<'_>, target: &Target, names: &Names) -> io::Result<()> {
    let width = target.triage.iter().map(|point| columns(&page.say(point.question))).max();
    let width = width.unwrap_or(0);
    let mut label = page.say(word!("Triage"));
    for point in &target.triage {
        let frame = point
            .mark
            .map_or(Phrase::default(), |mark| phrase!(" (frame {n})", n = names.frame(mark.frame)));
        let question = left(&page.say(point.question), width);
        let first = format!("  {}{question}  ", left(&label, LABEL - 2));
        let (answer, why) = (point.answer.words(), &point.why);
        page.hanging(&first, phrase!("{answer}: {why}{frame}", answer, why, frame))?;
        label.clear();
    }
    Ok(())
}
