//! Pattern plots: times of the findings of one cause as a histogram, failures per target as bars.
//!
//! Drawn as SVG here, so that they print and need no script. Sizes are attributes: the page's
//! policy allows no inline style.

use super::words::Words;
use crate::cause::{Finding, What};
use crate::packet::Endpoint;
use crate::report::text::Group;
use crate::report::{Pattern, PatternKind, Report, words};
use maud::{Markup, html};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Fewer values are no distribution.
const FEW: usize = 3;
/// Most bars of a histogram.
const BARS: usize = 24;
/// Targets that get a bar.
const TARGETS_MAX: usize = 8;
/// Labels on the axis of a histogram.
const TICKS: usize = 6;
/// Shortest time worth a histogram, nanoseconds: below it is latency, no timer.
const TIMER: i64 = 100_000_000;

/// Every plot that says something of this group.
pub(super) fn plots(group: &Group<'_>, report: &Report, words: &Words) -> Markup {
    let patterns = || report.patterns.iter().filter(|it| it.cause == group.cause.id);
    let idle = patterns().find_map(|pattern: &Pattern| match pattern.kind {
        PatternKind::IdleTime { median_s, .. } => Some(median_s),
        _ => None,
    });
    let outstanding = patterns().find_map(|pattern: &Pattern| match pattern.kind {
        PatternKind::OutstandingTime { median_s, .. } => Some(median_s),
        _ => None,
    });
    let idle_matters =
        idle.is_some() || matches!(group.cause.id, "keepalive-race" | "stale-flow-reset");
    // Only there did the server itself close for being idle.
    let race = group.cause.id == "keepalive-race";
    let label = if race { words.learned_timeout } else { words.learned };
    let idles: Vec<i64> = group.findings.iter().filter_map(|it| idled(it)).collect();
    let waits: Vec<i64> = group.findings.iter().filter_map(|it| waited(it)).collect();
    html! {
        @if idle_matters {
            (histogram(words.idle_plot, &idles, idle.map(|s| (label, s)), words))
        }
        @if outstanding.is_some() || !idle_matters {
            @let learned = outstanding.map(|s| (words.learned_timeout, s));
            (histogram(words.outstanding_plot, &waits, learned, words))
        }
        (per_target(group, words))
    }
}

/// How long the connection lay idle until the guilty packet, as the pattern counts it.
fn idled(finding: &Finding) -> Option<i64> {
    Some(finding.idle_before? + finding.outstanding?)
}

/// How long the request waited until somebody closed, else until the guilty packet.
fn waited(finding: &Finding) -> Option<i64> {
    let request = finding.exchange.as_ref()?.request.as_ref()?;
    let end = finding
        .evidence
        .iter()
        .find(|evidence| matches!(evidence.what, What::Fin | What::Rst))
        .or(finding.evidence.first())?;
    Some(end.mark.at.nanos_since(request.last.at))
}

/// Counts per span of one width from 0, and the width; what lies beyond the last span is counted
/// apart.
#[derive(Debug, PartialEq)]
struct Bins {
    /// Nanoseconds.
    width: i64,
    counts: Vec<u64>,
    beyond: u64,
}

/// Spans of 1, 2 or 5 times a power of ten that reach a bit beyond the 98th percentile: a few
/// stragglers must not press all others into one bar.
fn bins(values: &[i64]) -> Option<Bins> {
    let mut values: Vec<i64> = values.iter().copied().filter(|value| *value >= 0).collect();
    values.sort_unstable();
    if values.len() < FEW {
        return None;
    }
    let most = *values.get((values.len() * 98).div_ceil(100) - 1)?;
    if most < TIMER {
        return None;
    }
    let mut width = 1_000_000;
    for factor in [2, 5, 10].iter().cycle() {
        if most / width < BARS as i64 - 2 {
            break;
        }
        width = match factor {
            2 => width * 2,
            5 => width / 2 * 5,
            _ => width * 2,
        };
    }
    let bars = (most / width + 2) as usize;
    let mut counts = vec![0; bars];
    let mut beyond = 0;
    for value in values {
        match counts.get_mut((value / width) as usize) {
            Some(count) => *count += 1,
            None => beyond += 1,
        }
    }
    Some(Bins { width, counts, beyond })
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 96.0;
const LEFT: f64 = 34.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 20.0;

fn histogram(title: &str, values: &[i64], learned: Option<(&str, f64)>, words: &Words) -> Markup {
    let Some(bins) = bins(values) else { return html! {} };
    let highest = bins.counts.iter().copied().max().unwrap_or(1).max(1);
    let reach = bins.width as f64 / 1e9 * bins.counts.len() as f64;
    let step = (WIDTH - LEFT) / bins.counts.len() as f64;
    let floor = TOP + HEIGHT;
    let at = |s: f64| LEFT + (WIDTH - LEFT) * (s / reach).clamp(0.0, 1.0);
    let learned =
        learned.map(|(label, s)| (at(s), format!("{label} {}", words.say(words::seconds(s)))));
    html! {
        figure .plot {
            figcaption { (title) }
            svg viewBox={ "0 0 " (WIDTH) " " (floor + BOTTOM) } role="img" aria-label=(title) {
                line .axis x1=(LEFT) x2=(WIDTH) y1=(floor) y2=(floor) {}
                text .tick x=(LEFT - 6.0) y=(TOP + 4.0) text-anchor="end" { (words.say(words::count(highest))) }
                text .tick x=(LEFT - 6.0) y=(floor) text-anchor="end" { "0" }
                @for (n, count) in bins.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    @let height = (HEIGHT * *count as f64 / highest as f64).max(2.0);
                    @let from = bins.width as f64 / 1e9 * n as f64;
                    rect .bar x=(round(LEFT + step * n as f64 + 0.5)) y=(round(floor - height))
                        width=(round((step - 1.0).max(1.0))) height=(round(height)) {
                        title {
                            (words.say(words::seconds(from))) " – " (words.say(words::seconds(from + bins.width as f64 / 1e9)))
                            ": " (words.say(words::count(*count)))
                        }
                    }
                }
                @for n in (0..=bins.counts.len()).step_by(bins.counts.len().div_ceil(TICKS).max(1)) {
                    @let s = bins.width as f64 / 1e9 * n as f64;
                    text .tick x=(round(at(s))) y=(floor + 14.0) text-anchor=(anchor(at(s), 18.0)) {
                        @if n == 0 { "0" } @else { (words.say(words::seconds(s))) }
                    }
                }
                @if let Some((x, label)) = &learned {
                    line .learned x1=(round(*x)) x2=(round(*x)) y1=(TOP - 4.0) y2=(floor) {}
                    text .learned x=(round(*x)) y=(TOP - 7.0) text-anchor=(anchor(*x, 75.0)) { (label) }
                }
            }
            @if bins.beyond > 0 {
                p .small { "+ " (words.say(words::count(bins.beyond))) " " (words.longer) }
            }
        }
    }
}

/// Which part of a label stands at `x`, so that one of twice `half` pixels stays inside.
fn anchor(x: f64, half: f64) -> &'static str {
    if x < half {
        "start"
    } else if x + half > WIDTH {
        "end"
    } else {
        "middle"
    }
}

/// A tenth of a pixel is enough.
fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// Bars of the targets with most failures; nothing where there is only one.
fn per_target(group: &Group<'_>, words: &Words) -> Markup {
    let mut counts: BTreeMap<Endpoint, u64> = BTreeMap::new();
    for finding in &group.findings {
        *counts.entry(finding.server).or_default() += 1;
    }
    if counts.len() < 2 {
        return html! {};
    }
    let mut counts: Vec<(Endpoint, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(server, n)| (Reverse(*n), *server));
    let highest = counts.first().map_or(1, |(_, n)| *n);
    let others: u64 = counts.iter().skip(TARGETS_MAX).map(|(_, n)| n).sum();
    html! {
        figure .plot {
            figcaption { (words.per_target_plot) }
            table .bars {
                @for (server, n) in counts.iter().take(TARGETS_MAX) {
                    tr {
                        th scope="row" { (server.socket()) }
                        td .number { (words.say(words::count(*n))) }
                        td .grow { (bar(*n, highest)) }
                    }
                }
                @if counts.len() > TARGETS_MAX {
                    tr {
                        th scope="row" { (counts.len() - TARGETS_MAX) " " (words.other_targets) }
                        td .number { (words.say(words::count(others))) }
                        td {}
                    }
                }
            }
        }
    }
}

/// A horizontal bar, `n` of `highest`.
pub(super) fn bar(n: u64, highest: u64) -> Markup {
    let share = n as f64 / highest.max(1) as f64 * 100.0;
    html! {
        svg .share viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect .bar x="0" y="0" width=(round(share.max(1.0))) height="8" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::words::EN;

    const S: i64 = 1_000_000_000;

    #[test]
    fn the_spans_are_round_and_hold_all_values() {
        let values: Vec<i64> = (0..40).map(|n| 5 * S + n * 2_000_000).collect();
        let bins = bins(&values).unwrap();
        assert_eq!(bins.width, S / 2);
        assert_eq!((bins.counts.iter().sum::<u64>(), bins.beyond, bins.counts.len()), (40, 0, 12));
        assert_eq!(bins.counts[10], 40);
    }

    #[test]
    fn a_straggler_does_not_hide_the_others() {
        let mut values = vec![5 * S; 100];
        values.push(3_600 * S);
        let bins = bins(&values).unwrap();
        assert_eq!((bins.counts.len() <= BARS, bins.beyond), (true, 1));
        assert!(
            histogram("t", &values, Some(("median", 5.0)), &EN)
                .into_string()
                .contains("+ 1 longer")
        );
    }

    #[test]
    fn latency_and_single_values_are_no_distribution() {
        assert_eq!(bins(&[5 * S, 5 * S]), None);
        assert_eq!(bins(&[1_000_000; 50]), None);
        assert_eq!(bins(&[-S; 50]), None);
        assert!(bins(&[i64::MAX; 3]).is_some());
    }
}
