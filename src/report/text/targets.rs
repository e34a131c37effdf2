//! Targets and their health: a strip of checks, the states, the settings, what to ask and to change.

mod checks;
mod settings;
mod states;

use super::names::Names;
use super::page::{Ink, LABEL, Page};
use crate::health::{Health, Note, ProberHealth, State, Target};
use crate::packet::Endpoint;
use crate::report::words;
use crate::time::Mark;
use crate::words::{Phrase, columns, left, plural};
use crate::{phrase, word};
use std::io;

pub(in crate::report) use checks::took;
pub(in crate::report) use settings::settings;
pub(in crate::report) use states::{leaning, state};

use checks::{latency, outcomes, strip};
use states::timeline;

/// Targets that are shown in full; the others' state is in one line each.
const FULL_MAX: usize = 8;
/// Addresses of checks that are shown.
const SOURCES_MAX: usize = 4;
/// Servers whose handshakes are pointed out.
const HINTS_MAX: usize = 3;

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
    let reason = target.decisive().and_then(|entry| entry.reason);
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
    let unknown = prober.verdict.prober.is_none();
    let role = match (prober.verdict.relayed, prober.balances) {
        (false, false) if unknown => {
            word!(", beside a known load balancer: the state leaves it out")
        }
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
