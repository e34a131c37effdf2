//! The states of a target over time, and what its checks say of one whose past is not known.

use super::super::names::Names;
use super::super::page::Page;
use crate::cause::Confidence;
use crate::health::{Entry, ProberHealth, Setting, State, Target};
use crate::report::words;
use crate::words::Phrase;
use crate::{phrase, word};
use std::io;

/// States of a timeline that are shown, the first and the last ones.
const STATES_MAX: usize = 12;

pub(super) fn timeline(page: &mut Page<'_>, target: &Target, names: &Names) -> io::Result<()> {
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

/// Who checks: with the path where the target is checked by several of that name, as by a readiness and a
/// liveness probe.
fn named(prober: &ProberHealth, target: &Target) -> Phrase {
    let name = Phrase::listed(&prober.name);
    let namesakes = target.probers.iter().filter(|other| other.name == prober.name).count();
    match &prober.settings.path {
        Some(path) if namesakes > 1 => phrase!("{name} ({path})", name, path = &path.value),
        _ => name,
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
        Some(prober) if several => phrase!(", by {prober}", prober = named(prober, target)),
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
