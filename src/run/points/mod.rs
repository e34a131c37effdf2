//! Analyses captures of several places, for [`crate::join::points`].

mod apart;
mod read;

use super::{Listener, RunError, Settings, analyse_timeline};
use crate::capture::Timeline;
use crate::cause::{Confidence, Finding};
use crate::http::State;
use crate::join::points::{
    self, Before, Clocks, Closes, Connection, Connections, Elsewhere, Known, Point, Traffic,
    clocks, close_unseen, nothing_arrived, refusals, retell, tell_losses, tells_both, told_before,
};
use crate::join::{Attempt, CORRELATIONS_MAX, Correlation, Ends, TiedBy};
use crate::packet::Endpoint;
use crate::pattern::patterns;
use crate::phrase;
use crate::report::{Report, failed_at};
use crate::time::FrameId;
use crate::words::Phrase;
use apart::{Apart, Base};
use read::{named, read, split, stored};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Capture points beside the first.
const PLACES_MAX: usize = 8;

/// A capture point: files that were captured there one after the other.
struct Place {
    files: Vec<PathBuf>,
    /// Their names, for people.
    name: Phrase,
    point: Point,
    /// Number of its first file among the captures of all places.
    first: u32,
    connections: Connections,
    /// What failed here and is told as seen here.
    findings: Vec<Finding>,
    /// What failed here and is told as seen at another place.
    elsewhere: Vec<Finding>,
    /// Frames of other places that belong to these.
    frames: Vec<Vec<FrameId>>,
}

/// How the clocks of places compare: the second place's as seen from the first; `None`: nothing is
/// comparable.
struct Compared(Vec<Vec<Option<Clocks>>>);

impl Compared {
    fn new(places: &[Place]) -> Compared {
        let row = |here: usize| {
            let pair = |there: usize| {
                let two = (here != there).then_some((&places[here].point, &places[there].point));
                two.and_then(|(here, there)| clocks(here, there))
            };
            (0..places.len()).map(pair).collect()
        };
        Compared((0..places.len()).map(row).collect())
    }

    /// As it was measured.
    fn measured(&self, here: usize, there: usize) -> Option<&Clocks> {
        self.0.get(here)?.get(there)?.as_ref()
    }

    /// As far as it can be built on.
    fn get(&self, here: usize, there: usize) -> Option<&Clocks> {
        self.measured(here, there).filter(|clocks| !clocks.jumps)
    }

    /// The place nearest to the clients, as far as that shows; else the first.
    fn nearest_clients(&self) -> usize {
        let nearer = |best: usize, place: usize| {
            let side = self.get(best, place).and_then(|clocks| clocks.nearer_server);
            if side == Some(false) { place } else { best }
        };
        (0..self.0.len()).fold(0, nearer)
    }
}

/// Analyses `captures` and those that [`Settings::beside`] names.
pub(super) fn analyse(
    captures: &[PathBuf],
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<Report, RunError> {
    stored(captures)?;
    stored(&settings.beside)?;
    let groups = split(&settings.beside)?;
    let left_out = groups.len().saturating_sub(PLACES_MAX);
    let mut infos = Vec::new();
    let mut places = Vec::new();
    for files in std::iter::once(captures.to_vec()).chain(groups).take(1 + PLACES_MAX) {
        let (mut point, first) = (Point::default(), infos.len() as u32);
        let its = read(&files, first, settings, |at, segment| {
            point.reach(at);
            segment.into_iter().for_each(|segment| point.segment(segment));
        })?;
        point.dropped = its.iter().any(|capture| capture.kernel_drops > 0);
        let name = named(&its);
        infos.extend(its);
        let (findings, elsewhere, frames) = (Vec::new(), Vec::new(), Vec::new());
        let connections = Connections::default();
        places.push(Place { files, name, point, first, connections, findings, elsewhere, frames });
    }
    let compared = Compared::new(&places);
    let base = compared.nearest_clients();
    let (mut report, mut servers) = of_base(&mut places, base, settings, listener)?;
    let mut flows = report.summary.flows;
    if base != 0 {
        report.warnings.push(points::base(&places[base].name));
    }
    if left_out > 0 {
        report.warnings.push(phrase!(
            "{n} further capture points were left out: at most {max} are compared",
            n = left_out,
            max = PLACES_MAX
        ));
    }
    let mut order = vec![base];
    for other in (0..places.len()).filter(|place| *place != base) {
        let clocks = compared.measured(base, other);
        report.warnings.extend(points::compared(&places[other].name, clocks));
        let mut its = of_other(&mut places, &order, other, &compared, settings)?;
        let of_engine = its.report.summary.flows;
        its.renumber(flows);
        places[other].findings.iter_mut().for_each(|finding| finding.flow += flows);
        flows += of_engine;
        its.take_in(&mut report, &mut servers, &places[other].name);
        order.push(other);
    }
    for place in &order {
        tell(&mut places, *place, &compared, settings, &mut report)?;
    }
    collect(&mut report, places, settings);
    report.captures = infos;
    report.causes.clone_from(&settings.causes);
    report.patterns = patterns(&report.findings, &servers);
    Ok(report)
}

/// What is asked of the analysis of one place.
fn settings_of(place: usize, settings: &Settings) -> Settings {
    let mut settings = Settings { beside: Vec::new(), causes: Vec::new(), ..settings.clone() };
    if place > 0 {
        // What is said of the captures that were named first.
        settings.vantage = None;
        settings.local = crate::host::Addresses::default();
    }
    settings
}

/// The report of the place that findings are told of, and its servers.
fn of_base(
    places: &mut [Place],
    base: usize,
    settings: &Settings,
    listener: &mut dyn Listener,
) -> Result<(Report, BTreeSet<Endpoint>), RunError> {
    let of = settings_of(base, settings);
    let place = &mut places[base];
    let mut timeline = Timeline::open(&place.files)?;
    timeline.number_from(place.first);
    let mut seen = Base::new(listener);
    let mut report = analyse_timeline(&mut timeline, of.filter()?, &of, &mut seen)?;
    place.connections = seen.connections;
    place.findings = std::mem::take(&mut report.findings);
    // They are counted when everything about them is known.
    place.findings.iter().for_each(|finding| report.summary.uncount(finding));
    place.frames = vec![Vec::new(); place.findings.len()];
    Ok((report, seen.servers))
}

/// What a further place adds to those of `order`.
fn of_other(
    places: &mut [Place],
    order: &[usize],
    other: usize,
    compared: &Compared,
    settings: &Settings,
) -> Result<apart::Addition, RunError> {
    let mut of = settings_of(other, settings);
    of.logs = crate::join::log::LogSettings::default();
    // Asked for to count them.
    of.exchanges = true;
    of.streamed = true;
    of.flows = false;
    let place = &places[other];
    let known: Vec<(Known<'_>, Option<&Clocks>)> = order
        .iter()
        .map(|earlier| {
            let known = &places[*earlier];
            let (point, connections) = (&known.point, &known.connections);
            let known = Known::new(point, connections, known.findings.iter());
            (known, compared.get(other, *earlier))
        })
        .collect();
    let mut timeline = Timeline::open(&place.files)?;
    timeline.number_from(place.first);
    let mut apart = Apart::new(&place.point, &known, settings);
    let mut report = analyse_timeline(&mut timeline, of.filter()?, &of, &mut apart)?;
    let mut findings = std::mem::take(&mut report.findings);
    let (mut addition, connections) = apart.finish(report);
    let mut elsewhere = Vec::new();
    findings.retain(|finding| {
        let told = known.iter().map(|(known, clocks)| known.tells(finding, &place.point, *clocks));
        let told: Vec<Option<bool>> = told.collect();
        let unclear = !told.contains(&Some(true)) && told.contains(&None);
        addition.added.unclear += u64::from(unclear);
        if told.contains(&Some(true)) {
            elsewhere.push(finding.clone());
        }
        told.iter().all(|told| *told == Some(false))
    });
    let of_before: Vec<Option<(usize, Before)>> = findings
        .iter()
        .map(|finding| {
            let before = |(known, clocks): &(Known<'_>, Option<&Clocks>)| {
                told_before(finding, known, &place.point, *clocks)
            };
            order.iter().zip(&known).find_map(|(place, known)| Some((*place, before(known)?)))
        })
        .collect();
    addition.added.findings = findings.len() as u64;
    for finding in &mut findings {
        let summary = std::mem::take(&mut finding.summary);
        finding.summary = phrase!("{summary} (seen only in {files})", summary, files = &place.name);
    }
    drop(known);
    told_once(places, &mut findings, of_before, |place| compared.get(place, other));
    let place = &mut places[other];
    place.connections = connections;
    place.frames = vec![Vec::new(); findings.len()];
    place.findings = findings;
    place.elsewhere = elsewhere;
    Ok(addition)
}

/// Failures behind a proxy, and what the places before tell of the same: `of_before` says which finding of which
/// place that is, `clocks` how times of a place are by the clock of these findings.
fn told_once<'a>(
    places: &mut [Place],
    findings: &mut [Finding],
    of_before: Vec<Option<(usize, Before)>>,
    clocks: impl Fn(usize) -> Option<&'a Clocks>,
) {
    let mut merged = BTreeSet::new();
    for (finding, before) in findings.iter_mut().zip(of_before) {
        let Some((place, Before { at, is_it })) = before else { continue };
        let again = merged.contains(&(place, at));
        if tells_both(finding, &places[place].findings[at], is_it && !again, clocks(place)) {
            merged.insert((place, at));
        }
    }
    // Backwards, so that positions stay.
    for (place, at) in merged.into_iter().rev() {
        places[place].findings.remove(at);
        places[place].frames.remove(at);
    }
}

/// Tells the findings of one place anew with what all others show.
fn tell(
    places: &mut [Place],
    here: usize,
    compared: &Compared,
    settings: &Settings,
    report: &mut Report,
) -> Result<(), RunError> {
    let mut findings = std::mem::take(&mut places[here].findings);
    let mut frames = std::mem::take(&mut places[here].frames);
    let others = || (0..places.len()).filter_map(|it| Some((it, compared.get(here, it)?)));
    let closes: Vec<Closes<'_>> = places.iter().map(|it| Closes::of(&it.elsewhere)).collect();
    let all: Vec<Elsewhere<'_>> =
        others().map(|(other, clocks)| Elsewhere { point: &places[other].point, clocks }).collect();
    let place = &places[here];
    let unseen = |finding: &mut Finding, frames: &mut Vec<FrameId>| {
        for ((other, _), elsewhere) in others().zip(&all) {
            if let Some(back) = compared.get(other, here) {
                frames.extend(close_unseen(finding, &place.point, back, elsewhere, &closes[other]));
            }
        }
    };
    let points: Vec<&Point> =
        (0..places.len()).filter(|it| *it != here).map(|it| &places[it].point).collect();
    for (finding, frames) in findings.iter_mut().zip(&mut frames) {
        if finding.exchange.is_none() {
            unseen(finding, frames);
            nothing_arrived(finding, &place.point, &points);
        }
        frames.extend(retell(finding, &place.point, &all));
    }
    refusals(&mut findings, &place.point, &all);
    let mut lost = place.point.lost;
    for ((other, _), elsewhere) in others().zip(&all) {
        let two = (place, (&places[other], elsewhere));
        lost += losses(&mut findings, &mut frames, two, settings)?;
    }
    for (finding, frames) in findings.iter_mut().zip(&mut frames) {
        // Of an answer that was lost, it is told that it was, not how it ended.
        if finding.exchange.is_some() {
            unseen(finding, frames);
        }
        by_the_clock_here(finding, here, places, compared);
    }
    if lost > 0 {
        let name = "packets not compared with the other capture point";
        *report.summary.bounds.entry(name).or_default() += lost;
    }
    drop(closes);
    places[here].findings = findings;
    places[here].frames = frames;
    Ok(())
}

/// Packets of other places get the times that the clock here had then: those of one finding are compared.
fn by_the_clock_here(finding: &mut Finding, here: usize, places: &[Place], compared: &Compared) {
    for evidence in &mut finding.evidence {
        let file = evidence.mark.frame.file();
        let at = places.partition_point(|place| place.first <= file).saturating_sub(1);
        if let Some(clocks) = compared.get(at, here) {
            evidence.mark.at = clocks.told(evidence.mark.at);
        }
    }
}

/// Puts the findings of all places into the report, as far as they are wanted.
fn collect(report: &mut Report, places: Vec<Place>, settings: &Settings) {
    for place in places {
        for (finding, mut frames) in place.findings.into_iter().zip(place.frames) {
            if !settings.causes.is_empty() && !settings.causes.contains(&finding.cause.id) {
                continue;
            }
            report.summary.count(&finding);
            if report.findings.len() >= settings.findings_max() {
                *report.summary.bounds.entry("findings not listed").or_default() += 1;
                if let Some(at) = failed_at(&finding) {
                    let key = (finding.cause.id, finding.kind.id());
                    report.unlisted.entry(key).or_default().add(at);
                }
                continue;
            }
            frames.sort_unstable();
            frames.dedup();
            if !frames.is_empty() && report.correlations.len() < CORRELATIONS_MAX {
                report.correlations.extend(correlation(&finding, frames));
            }
            report.findings.push(finding);
        }
    }
    report.findings.sort_by_key(|finding| {
        let guilty = finding.evidence.first().map(|evidence| evidence.mark);
        (guilty.map(|mark| (mark.at, mark.frame)), finding.flow)
    });
}

/// Tells of failed requests which of their segments were lost. How many were not compared.
fn losses(
    findings: &mut [Finding],
    frames: &mut [Vec<FrameId>],
    (here, (there, elsewhere)): (&Place, (&Place, &Elsewhere<'_>)),
    settings: &Settings,
) -> Result<u64, RunError> {
    if elsewhere.clocks.nearer_server.is_none() {
        return Ok(0);
    }
    let concerned = |finding: &&Finding| finding.exchange.is_some();
    let ends = |finding: &Finding| (finding.client, finding.server);
    let name = |of: Connection| there.point.name(of, &here.point, elsewhere.clocks).unwrap_or(of);
    let mut mine = Traffic::of(findings.iter().filter(concerned).map(ends));
    if mine.is_empty() {
        return Ok(0);
    }
    let mut its = Traffic::of(findings.iter().filter(concerned).map(|it| name(ends(it))));
    for (place, traffic) in [(here, &mut mine), (there, &mut its)] {
        read(&place.files, place.first, settings, |_, segment| {
            segment.into_iter().for_each(|segment| traffic.segment(segment));
        })?;
    }
    for (finding, frames) in findings.iter_mut().zip(frames) {
        if finding.exchange.is_some() {
            let name = name(ends(finding));
            frames.extend(tell_losses(finding, &mine, &its, name, (&here.point, elsewhere)));
        }
    }
    Ok(mine.lost + its.lost)
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
                head_len: response.map_or(0, |response| response.head_len),
                state: exchange.map_or(State::Unanswered, |exchange| exchange.state),
                own_page: None,
            },
            cause: Some(finding.cause.id),
            certainty: Confidence::Certain,
            by: TiedBy::Id,
            own: false,
        }],
        log: Vec::new(),
        other_vantage: frames.into_iter().map(elsewhere).collect(),
        certainty: Confidence::Certain,
    })
}
