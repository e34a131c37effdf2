//! The checks of one prober: a strip of their outcomes, how many of each, how long they took.

use super::super::names::Names;
use super::super::page::{Ink, LABEL, Page, WIDTH};
use super::settings::with;
use crate::cause::Confidence;
use crate::health::{Check, Effect, Outcome, ProberHealth};
use crate::report::words;
use crate::words::{Phrase, columns, plural};
use crate::{phrase, word};
use std::collections::BTreeMap;
use std::io;

/// Lines of a strip; what does not fit is folded.
const STRIP_LINES: usize = 3;
/// Runs of failed checks that are listed, where not everything is wanted.
const FAILED_MAX: usize = 6;

/// One sign per check, in the order of time; long series are folded to runs, the middle left out.
pub(super) fn strip(page: &mut Page<'_>, prober: &ProberHealth) -> io::Result<()> {
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
pub(super) fn outcomes(
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

pub(super) fn latency(page: &mut Page<'_>, prober: &ProberHealth) -> io::Result<()> {
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
