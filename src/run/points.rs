//! Reads what was captured at a second place, for [`crate::join::points`].

use super::{RunError, Settings};
use crate::capture::{CaptureInfo, Timeline};
use crate::cause::Confidence;
use crate::http::State;
use crate::join::points::{Point, clocks, remark, retell};
use crate::join::{Attempt, CORRELATIONS_MAX, Correlation, Elsewhere, Ends, TiedBy};
use crate::packet::Packet;
use crate::report::Report;
use std::path::PathBuf;

/// Tells the findings of `report`, which is on `captures`, anew with what `beside` shows.
pub(super) fn compare(
    report: &mut Report,
    captures: &[PathBuf],
    beside: &[PathBuf],
    settings: &Settings,
) -> Result<(), RunError> {
    let (here, _) = read(captures, settings)?;
    let (there, mut infos) = read(beside, settings)?;
    let clocks = clocks(&here, &there);
    report.warnings.push(remark(clocks, &infos));
    for (name, lost) in
        [("packets not compared with the other capture point", here.lost + there.lost)]
    {
        if lost > 0 {
            *report.summary.bounds.entry(name).or_default() += lost;
        }
    }
    let file = report.captures.len() as u32;
    report.captures.append(&mut infos);
    let Some(clocks) = clocks else { return Ok(()) };
    let mut findings = std::mem::take(&mut report.findings);
    for finding in &mut findings {
        report.summary.uncount(finding);
        let frames = retell(finding, &here, &there, clocks, file);
        report.summary.count(finding);
        let Some(guilty) = finding.evidence.first().map(|it| it.mark) else { continue };
        if frames.is_empty() || report.correlations.len() >= CORRELATIONS_MAX {
            continue;
        }
        let exchange = finding.exchange.as_deref();
        let request = exchange.and_then(|exchange| exchange.request.as_ref());
        let response = exchange.and_then(|exchange| exchange.response.as_ref());
        report.correlations.push(Correlation {
            front: None,
            back: vec![Attempt {
                ends: Ends {
                    flow: finding.flow,
                    stream: finding.stream,
                    ordinal: exchange.map_or(0, |exchange| exchange.ordinal),
                    client: finding.client,
                    server: finding.server,
                    asked: request.map_or(guilty, |request| request.first),
                    answered: response.map(|response| response.first),
                    over: guilty,
                    closed_by: None,
                    status: response.and_then(|response| response.status),
                    state: exchange.map_or(State::Unanswered, |exchange| exchange.state),
                },
                cause: Some(finding.cause.id),
                certainty: Confidence::Certain,
                by: TiedBy::Id,
            }],
            log: Vec::new(),
            other_vantage: frames
                .into_iter()
                .map(|frame| Elsewhere { frame, missing: false })
                .collect(),
            certainty: Confidence::Certain,
        });
    }
    report.findings = findings;
    Ok(())
}

/// What was captured at one place. Several files are taken for one after the other.
fn read(paths: &[PathBuf], settings: &Settings) -> Result<(Point, Vec<CaptureInfo>), RunError> {
    let mut timeline = Timeline::open(paths)?;
    let mut decoder = settings.decoder();
    let mut point = Point::default();
    while let Some(frame) = timeline.next_frame()? {
        if let Packet::Tcp(segment) = decoder.decode(&frame) {
            point.segment(&segment);
        }
    }
    Ok((point, timeline.captures().to_vec()))
}
