//! Log lines among what else tells of the same request.

use super::fit::Leg;
use super::logs::{Logs, Tie};
use super::tie::By;
use crate::cause::{Confidence, Finding};
use crate::join::{Attempt, CORRELATIONS_MAX, Correlation, Ends, LogLine, TiedBy};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

/// Adds log lines to correlations, and correlations for what only log lines bring together. How many of
/// the latter there was no room for.
pub(crate) fn correlate(
    logs: &Logs,
    findings: &[Finding],
    correlations: &mut Vec<Correlation>,
) -> u64 {
    let mut known: HashSet<(u64, u32), FixedState> = HashSet::default();
    for correlation in correlations.iter_mut() {
        let front = correlation.front.iter().map(|it| (it.flow, it.ordinal));
        let parts: Vec<_> = front
            .chain(correlation.back.iter().map(|it| (it.ends.flow, it.ends.ordinal)))
            .collect();
        for (flow, ordinal) in &parts {
            for tie in logs.of(*flow, *ordinal).iter().filter(|tie| is_sure(tie)) {
                let line = line(logs, tie);
                if !correlation.log.contains(&line) {
                    correlation.log.push(line);
                    correlation.certainty = correlation.certainty.min(tie.certainty);
                }
            }
        }
        known.extend(parts);
    }
    let causes: HashMap<(u64, u32), &'static str, FixedState> =
        findings.iter().map(|it| ((it.flow, super::logs::ordinal(it)), it.cause.id)).collect();
    let mut dropped = 0;
    let ties: Vec<&Tie> = logs.by_line().filter(|tie| is_sure(tie)).collect();
    for group in ties.chunk_by(|one, next| one.place == next.place) {
        if group.iter().any(|tie| known.contains(&(tie.flow, tie.ordinal))) {
            continue;
        }
        if correlations.len() >= CORRELATIONS_MAX {
            dropped += 1;
            continue;
        }
        let cause = |tie: &Tie| causes.get(&(tie.flow, tie.ordinal)).copied();
        correlations.push(Correlation {
            front: group.iter().find(|tie| tie.leg == Leg::Front).map(|tie| ends(tie)),
            back: group
                .iter()
                .filter(|tie| tie.leg == Leg::Back)
                .map(|tie| attempt(tie, cause(tie)))
                .collect(),
            log: group.first().map(|tie| line(logs, tie)).into_iter().collect(),
            other_vantage: Vec::new(),
            certainty: group.iter().map(|tie| tie.certainty).min().unwrap_or(Confidence::Possible),
        });
    }
    dropped
}

fn is_sure(tie: &Tie) -> bool {
    tie.certainty >= Confidence::Likely
}

fn line(logs: &Logs, tie: &Tie) -> LogLine {
    let file = logs.path(tie.place).to_owned();
    LogLine { file, line: tie.place.line, kind: tie.kind.id() }
}

fn ends(tie: &Tie) -> Ends {
    Ends {
        flow: tie.flow,
        stream: tie.stream,
        ordinal: tie.ordinal,
        client: tie.client,
        server: tie.server,
        asked: tie.mark,
        answered: tie.answered,
        over: tie.over,
        closed_by: None,
        status: tie.seen_status,
        head_len: 0,
        state: tie.state,
        own_page: None,
    }
}

fn attempt(tie: &Tie, cause: Option<&'static str>) -> Attempt {
    Attempt {
        ends: ends(tie),
        cause,
        certainty: tie.certainty,
        own: false,
        by: match tie.by {
            By::Id => TiedBy::Id,
            By::Port | By::Request => TiedBy::Request,
            By::Time => TiedBy::Time,
        },
    }
}
