//! Reads what was captured at other places, for [`crate::join::points`].

use super::{RunError, Settings};
use crate::capture::{CaptureInfo, Timeline};
use crate::cause::{Confidence, Finding};
use crate::http::State;
use crate::join::points::{
    Clocks, Connection, Elsewhere, Point, Traffic, clocks, remark, retell, tell_losses,
};
use crate::join::{Attempt, CORRELATIONS_MAX, Correlation, Ends, TiedBy};
use crate::packet::{Packet, Segment};
use crate::report::Report;
use crate::time::{FrameId, Timestamp};
use std::path::PathBuf;

/// Capture points beside the first.
const PLACES_MAX: usize = 8;

/// Another capture point: files that were captured there one after the other.
struct Place {
    files: Vec<PathBuf>,
    point: Point,
    clocks: Option<Clocks>,
    /// Index of its first file in the list of captures.
    first: u32,
}

/// Tells the findings of `report`, which is on `captures`, anew with what `beside` shows.
pub(super) fn compare(
    report: &mut Report,
    captures: &[PathBuf],
    beside: &[PathBuf],
    settings: &Settings,
) -> Result<(), RunError> {
    let mut here = Point::default();
    read(captures, settings, |segment| here.segment(segment))?;
    let mut lost = here.lost;
    let mut places = Vec::new();
    for files in split(beside)?.into_iter().take(PLACES_MAX) {
        let mut point = Point::default();
        let infos = read(&files, settings, |segment| point.segment(segment))?;
        let clocks = clocks(&here, &point);
        report.warnings.push(remark(clocks.as_ref(), &infos));
        report.warnings.extend(unseen(&here, &point, clocks.as_ref(), &infos));
        lost += point.lost;
        let first = report.captures.len() as u32;
        report.captures.extend(infos);
        places.push(Place { files, point, clocks, first });
    }
    let compared: Vec<(&Place, Elsewhere<'_>)> = places
        .iter()
        .filter_map(|place| {
            let clocks = place.clocks.as_ref()?;
            Some((place, Elsewhere { point: &place.point, clocks, file: place.first }))
        })
        .collect();
    let all: Vec<Elsewhere<'_>> = compared.iter().map(|(_, elsewhere)| *elsewhere).collect();
    let mut findings = std::mem::take(&mut report.findings);
    let mut frames: Vec<Vec<FrameId>> = Vec::with_capacity(findings.len());
    for finding in &mut findings {
        report.summary.uncount(finding);
        frames.push(retell(finding, &here, &all));
    }
    for (place, elsewhere) in &compared {
        let place = (*place, elsewhere);
        lost += losses(&mut findings, &mut frames, captures, &here, place, settings)?;
    }
    for (finding, mut frames) in findings.iter().zip(frames) {
        report.summary.count(finding);
        frames.sort_unstable();
        frames.dedup();
        if frames.is_empty() || report.correlations.len() >= CORRELATIONS_MAX {
            continue;
        }
        report.correlations.extend(correlation(finding, frames));
    }
    report.findings = findings;
    if lost > 0 {
        let name = "packets not compared with the other capture point";
        *report.summary.bounds.entry(name).or_default() += lost;
    }
    Ok(())
}

/// Tells of failed requests which of their segments were lost. How many were not compared.
fn losses(
    findings: &mut [Finding],
    frames: &mut [Vec<FrameId>],
    captures: &[PathBuf],
    here: &Point,
    (place, elsewhere): (&Place, &Elsewhere<'_>),
    settings: &Settings,
) -> Result<u64, RunError> {
    if elsewhere.clocks.nearer_server.is_none() {
        return Ok(0);
    }
    let concerned = |finding: &&Finding| finding.exchange.is_some();
    let ends = |finding: &Finding| (finding.client, finding.server);
    let name = |of: Connection| place.point.name(of, here, elsewhere.clocks).unwrap_or(of);
    let mut mine = Traffic::of(findings.iter().filter(concerned).map(ends));
    if mine.is_empty() {
        return Ok(0);
    }
    let mut its = Traffic::of(findings.iter().filter(concerned).map(|it| name(ends(it))));
    read(captures, settings, |segment| mine.segment(segment))?;
    read(&place.files, settings, |segment| its.segment(segment))?;
    for (finding, frames) in findings.iter_mut().zip(frames) {
        if finding.exchange.is_some() {
            let name = name(ends(finding));
            frames.extend(tell_losses(finding, &mine, &its, name, elsewhere));
        }
    }
    Ok(mine.lost + its.lost)
}

/// Connections that were tried at the other place and never got here, where this place is the nearer
/// to the targets: the report, which is on this place, does not have them.
fn unseen(
    here: &Point,
    there: &Point,
    clocks: Option<&Clocks>,
    infos: &[CaptureInfo],
) -> Option<String> {
    clocks.filter(|clocks| clocks.nearer_server == Some(false))?;
    let servers: std::collections::BTreeSet<_> = here.opened().map(|it| it.1).collect();
    let known: std::collections::BTreeSet<_> = here.opened().collect();
    let missing = there.opened().filter(|it| servers.contains(&it.1) && !known.contains(it));
    let missing: std::collections::BTreeSet<_> = missing.collect();
    let name = infos.first().map_or("", |info| info.path.as_str());
    (!missing.is_empty()).then(|| {
        format!(
            "{} connections that were tried at the other capture point never got here; named first, {name} \
             tells them",
            missing.len()
        )
    })
}

fn correlation(finding: &Finding, frames: Vec<FrameId>) -> Option<Correlation> {
    let guilty = finding.evidence.first()?.mark;
    let exchange = finding.exchange.as_deref();
    let request = exchange.and_then(|exchange| exchange.request.as_ref());
    let response = exchange.and_then(|exchange| exchange.response.as_ref());
    let elsewhere = |frame| crate::join::Elsewhere { frame, missing: false };
    Some(Correlation {
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
        other_vantage: frames.into_iter().map(elsewhere).collect(),
        certainty: Confidence::Certain,
    })
}

/// Files by the place that they were captured at: those of one place follow each other in time, those
/// of several are of the same time.
fn split(beside: &[PathBuf]) -> Result<Vec<Vec<PathBuf>>, RunError> {
    if beside.len() < 2 {
        return Ok(vec![beside.to_vec()]);
    }
    let mut spans = Vec::new();
    for path in beside {
        let mut timeline = Timeline::open(std::slice::from_ref(path))?;
        let mut span: Option<(Timestamp, Timestamp)> = None;
        while let Some(frame) = timeline.next_frame()? {
            let at = frame.mark.at;
            let (first, last) = span.unwrap_or((at, at));
            span = Some((first.min(at), last.max(at)));
        }
        spans.push((span.unwrap_or_default(), path.clone()));
    }
    spans.sort();
    let mut places: Vec<(Timestamp, Vec<PathBuf>)> = Vec::new();
    for ((first, last), path) in spans {
        match places.iter_mut().find(|(until, _)| *until <= first) {
            Some((until, files)) => {
                *until = last;
                files.push(path);
            }
            None => places.push((last, vec![path])),
        }
    }
    Ok(places.into_iter().map(|(_, files)| files).collect())
}

/// Hands over all TCP segments of captures of one place.
fn read(
    paths: &[PathBuf],
    settings: &Settings,
    mut take: impl FnMut(&Segment<'_>),
) -> Result<Vec<CaptureInfo>, RunError> {
    let mut timeline = Timeline::open(paths)?;
    let mut decoder = settings.decoder();
    while let Some(frame) = timeline.next_frame()? {
        if let Packet::Tcp(segment) = decoder.decode(&frame) {
            take(&segment);
        }
    }
    Ok(timeline.captures().to_vec())
}
