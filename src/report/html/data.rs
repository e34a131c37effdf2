//! The data block: what the scripts of the page draw and list, as JSON.
//!
//! Findings and checks are rows of numbers; `fields` names their columns, texts are numbers in
//! `texts`, times are nanoseconds since `base`. A browser reads 100 000 of them in a second or two;
//! as objects they would take ten times the room.

use super::escape::Escaped;
use super::text::Texts;
use super::words::Words;
use super::{series, targets};
use crate::blind::BlindSpot;
use crate::cause::{Confidence, Evidence, Finding, Kind, Responsible, What};
use crate::flow::Vantage;
use crate::health::{Check, Effect, Outcome, State, Target};
use crate::report::text::lanes::{self, Lane};
use crate::report::text::names::Names;
use crate::report::text::{Group, ladder};
use crate::report::words;
use crate::report::{Report, filter, request, terms};
use crate::tcp::Side;
use crate::time::Timestamp;
use crate::words::{Lang, Phrase, Say};
use serde::Serialize;
use serde_json::json;
use std::io::{self, Write};

/// Bytes of data after which findings come without their packets.
pub(super) const PACKETS_BYTES_MAX: usize = 40_000_000;
/// Packets drawn of one finding; the rules give a handful.
const ROWS_MAX: usize = 24;

/// Characters of a request line where there is little room.
const SHORT: usize = 80;

/// Columns of a finding.
const FINDING: [&str; 27] = [
    "t",
    "group",
    "confidence",
    "responsible",
    "vantage",
    "file",
    "frame",
    "flow",
    "stream",
    "client",
    "server",
    "asked",
    "host",
    "trace",
    "ordinal",
    "status",
    "zero",
    "outstanding",
    "idle",
    "spots",
    "summary",
    "filter",
    // Of both legs: the zero of their times, who took part, what became of the request.
    "front",
    "visitor",
    "proxy",
    "target",
    "outcome",
];
/// Columns of a packet of a finding.
const PACKET: [&str; 6] = ["dt", "file", "frame", "flags", "label", "note"];
/// Columns of a check.
const CHECK: [&str; 10] = [
    "t",
    "prober",
    "source",
    "outcome",
    "status",
    "latency",
    "file",
    "frame",
    "confidence",
    "note",
];

/// Flags of a packet.
const FROM_SERVER: i64 = 1;
const SILENT: i64 = 2;
const GUILTY: i64 = 4;
/// Between client and proxy, where both legs are drawn.
const FRONT: i64 = 8;

pub(super) const CONFIDENCES: [Confidence; 3] =
    [Confidence::Certain, Confidence::Likely, Confidence::Possible];
const RESPONSIBLES: [Responsible; 7] = [
    Responsible::TargetApp,
    Responsible::TargetHost,
    Responsible::Network,
    Responsible::LoadBalancer,
    Responsible::Client,
    Responsible::Configuration,
    Responsible::Unknown,
];
const VANTAGES: [Vantage; 4] =
    [Vantage::Unknown, Vantage::Client, Vantage::Server, Vantage::Between];

type Row = Vec<Option<i64>>;

/// Number of `item` in one of the tables above.
fn position<T: PartialEq>(table: &[T], item: &T) -> Option<i64> {
    table.iter().position(|other| other == item).map(|at| at as i64)
}

/// Writes the object; once it has `room` bytes, findings come without their packets.
pub(super) fn write(
    report: &Report,
    groups: &[Group<'_>],
    order: &[&Target],
    names: &Names,
    language: &Words,
    room: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let lang = language.lang;
    let mut block =
        Block { out: Escaped::new(out), texts: Texts::default(), base: base(report), lang };
    block.out.write_all(b"{")?;
    block.member("base", &block.base.0.to_string())?;
    block.member("words", &language.script)?;
    block.member(
        "files",
        &(0..report.captures.len()).map(|file| names.file(file as u32)).collect::<Vec<_>>(),
    )?;
    block.member(
        "groups",
        &groups
            .iter()
            .map(|group| {
                json!({
                    "id": group.cause.id,
                    "kind": group.kind.id(),
                    "noun": terms::kind(group.kind).say(lang),
                    "count": group.count,
                })
            })
            .collect::<Vec<_>>(),
    )?;
    let with = |id: &'static str, meaning: &'static str| [id.into(), meaning.say(lang)];
    block.member("confidences", &CONFIDENCES.map(|it| with(it.id(), terms::confidence(it))))?;
    block.member("responsibles", &RESPONSIBLES.map(|it| with(it.id(), terms::responsible(it))))?;
    block.member("vantages", &VANTAGES.map(|it| with(it.id(), terms::vantage(it))))?;
    block.member("spots", &BlindSpot::ALL.map(|it| with(it.id(), it.meaning())))?;
    block.member(
        "outcomes",
        &Outcome::ALL.map(|it| {
            json!({
                "id": it.id(), "summary": it.cause().summary.say(lang), "effect": effect(it),
            })
        }),
    )?;
    block.member("states", &State::ALL.map(State::id))?;
    block.member("fields", &json!({ "finding": FINDING, "packet": PACKET, "check": CHECK }))?;
    block.member("time", &series::series(report, groups, block.base))?;
    block.targets(order)?;
    block.findings(report, groups, room)?;
    let Block { mut out, texts, .. } = block;
    out.write_all(b"\"texts\":")?;
    serde_json::to_writer(&mut out, texts.all())?;
    out.write_all(b"}")
}

/// What times count from: the whole second of the first packet.
fn base(report: &Report) -> Timestamp {
    let first = report.captures.iter().filter_map(|capture| capture.first).min();
    let first = first.or_else(|| Some(report.findings.first()?.evidence.first()?.mark.at));
    const S: i64 = 1_000_000_000;
    Timestamp(first.map_or(0, |first| first.0.div_euclid(S).saturating_mul(S)))
}

fn effect(outcome: Outcome) -> &'static str {
    match outcome.effect() {
        Effect::Pass => "pass",
        Effect::Fail => "fail",
        Effect::None => "none",
    }
}

struct Block<'a> {
    out: Escaped<'a>,
    texts: Texts,
    base: Timestamp,
    lang: Lang,
}

impl Block<'_> {
    fn member(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        write!(self.out, "\"{name}\":")?;
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b",\n")
    }

    fn since(&self, at: Timestamp) -> Option<i64> {
        Some(at.nanos_since(self.base))
    }

    fn findings(&mut self, report: &Report, groups: &[Group<'_>], room: usize) -> io::Result<()> {
        self.out.write_all(b"\"findings\":[")?;
        let mut without = 0_u64;
        for (n, finding) in report.findings.iter().enumerate() {
            let fits = self.out.written + self.texts.bytes < room;
            without += u64::from(!fits);
            let row = self.finding(finding, groups, fits);
            let packets = if fits { self.packets(finding) } else { Vec::new() };
            self.out.write_all(if n > 0 { b",\n" } else { b"\n" })?;
            serde_json::to_writer(&mut self.out, &(row, packets))?;
        }
        self.out.write_all(b"],\n")?;
        self.member("withoutPackets", &without)
    }

    /// The row of a finding; where it does not fit, with what tells it from others only.
    fn finding(&mut self, finding: &Finding, groups: &[Group<'_>], fits: bool) -> Row {
        let guilty = finding.evidence.first().map(|evidence| evidence.mark).unwrap_or_default();
        let group = groups
            .iter()
            .position(|group| group.cause.id == finding.cause.id && group.kind == finding.kind);
        let exchange = finding.exchange.as_deref();
        let asked = exchange.and_then(|exchange| exchange.request.as_ref());
        let head = asked.map(|request| request::read(&request.head)).unwrap_or_default();
        let line = [head.method.as_deref(), head.target.as_deref()];
        let line = line.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let line = if fits { line } else { words::shorten(&line, SHORT) };
        let spots = BlindSpot::ALL.iter().enumerate();
        let spots = spots.filter(|(_, spot)| finding.blind_spots.has(**spot));
        let filter = filter::of_finding(finding);
        // The page builds this one itself.
        let usual = finding.stream.is_some_and(|id| filter == format!("tcp.stream eq {id}"));
        let status = exchange.and_then(|exchange| exchange.response.as_ref()?.status);
        let joined = finding.joined.as_deref().filter(|_| fits);
        let ends = joined.map_or([None; 3], lanes::ends);
        let [visitor, proxy, target] =
            ends.map(|end| end.map(|end| self.texts.number(&end.socket().to_string())));
        vec![
            self.since(guilty.at),
            group.map(|group| group as i64),
            position(&CONFIDENCES, &finding.confidence),
            position(&RESPONSIBLES, &finding.responsible),
            position(&VANTAGES, &finding.vantage),
            Some(i64::from(guilty.frame.file())),
            Some(guilty.frame.number() as i64),
            Some(finding.flow as i64),
            finding.stream.map(i64::from),
            Some(self.texts.number(&finding.client.socket().to_string())),
            Some(self.texts.number(&finding.server.socket().to_string())),
            self.texts.maybe(&line),
            head.host.filter(|_| fits).and_then(|host| self.texts.maybe(&host)),
            head.trace_id.filter(|_| fits).and_then(|id| self.texts.maybe(&id)),
            exchange.map(|exchange| i64::from(exchange.ordinal)),
            status.map(i64::from),
            asked.map(|request| request.first.at.nanos_since(guilty.at)),
            finding.outstanding,
            finding.idle_before,
            Some(spots.fold(0, |bits, (n, _)| bits | 1 << n)),
            if fits { self.texts.maybe(&finding.summary.say(self.lang)) } else { None },
            if usual { None } else { self.texts.maybe(&filter) },
            joined.map(|joined| joined.front.asked.at.nanos_since(guilty.at)),
            visitor,
            proxy,
            target,
            joined.and_then(|joined| self.texts.maybe(&lanes::outcome(joined).say(self.lang))),
        ]
    }

    /// The rows of its ladder, one after the other.
    fn packets(&mut self, finding: &Finding) -> Row {
        let Some(guilty) = finding.evidence.first() else { return Vec::new() };
        let mut cells = Vec::new();
        let rows: Vec<(Lane, ladder::Row)> = match &finding.joined {
            Some(joined) => lanes::all_rows(finding, joined),
            None => ladder::rows(finding).into_iter().map(|row| (Lane::Back, row)).collect(),
        };
        for (lane, row) in rows.iter().take(ROWS_MAX) {
            let own = finding.joined.as_ref().is_none_or(|joined| lanes::own(joined) == *lane);
            let proves = |evidence: &&Evidence| {
                own && evidence.mark.frame == row.mark.frame
                    && evidence.side == row.side
                    && (evidence.what == What::Silence) == row.silent
            };
            let notes: Vec<Phrase> = finding
                .evidence
                .iter()
                .filter(proves)
                .map(|evidence| evidence.note.clone())
                .filter(|note| !note.is_empty())
                .collect();
            let flags = [
                (row.side == Side::Server, FROM_SERVER),
                (row.silent, SILENT),
                (row.guilty, GUILTY),
                (*lane == Lane::Front, FRONT),
            ];
            let flags = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
            cells.extend([
                Some(row.mark.at.nanos_since(guilty.mark.at)),
                Some(i64::from(row.mark.frame.file())),
                Some(row.mark.frame.number() as i64),
                Some(flags),
                Some(self.texts.number(&row.label.say(self.lang))),
                self.texts.maybe(&Phrase::list(notes, "; ").say(self.lang)),
            ]);
        }
        cells
    }

    fn targets(&mut self, order: &[&Target]) -> io::Result<()> {
        self.out.write_all(b"\"targets\":[")?;
        for (n, target) in order.iter().take(targets::FULL_MAX).enumerate() {
            let checks = target.probers.iter().enumerate().flat_map(|(prober, health)| {
                health.checks.iter().map(move |check| (prober, check))
            });
            let mut checks: Vec<(usize, &Check)> = checks.collect();
            checks.sort_by_key(|(prober, check)| (check.began, check.frame.frame, *prober));
            let checks: Vec<Row> =
                checks.into_iter().map(|(prober, check)| self.check(prober, check)).collect();
            let states: Vec<Row> = target
                .timeline
                .iter()
                .map(|entry| {
                    let reason = entry.reason.and_then(|reason| self.texts.maybe(reason));
                    vec![self.since(entry.mark.at), position(&State::ALL, &entry.state), reason]
                })
                .collect();
            let probers: Vec<String> = target
                .probers
                .iter()
                .map(|prober| words::clean(&prober.name.say(self.lang)))
                .collect();
            self.out.write_all(if n > 0 { b",\n" } else { b"\n" })?;
            serde_json::to_writer(
                &mut self.out,
                &json!({
                    "name": target.server.socket().to_string(),
                    "state": position(&State::ALL, &target.state),
                    "probers": probers,
                    "total": target.checks(),
                    "states": states,
                    "checks": checks,
                }),
            )?;
        }
        self.out.write_all(b"],\n")?;
        self.member("moreTargets", &order.len().saturating_sub(targets::FULL_MAX))
    }

    fn check(&mut self, prober: usize, check: &Check) -> Row {
        vec![
            self.since(check.began),
            Some(prober as i64),
            Some(self.texts.number(&check.source.socket().to_string())),
            check.outcome.and_then(|outcome| position(&Outcome::ALL, &outcome)),
            check.status.map(i64::from),
            check.latency,
            Some(i64::from(check.decisive.frame.file())),
            Some(check.decisive.frame.number() as i64),
            position(&CONFIDENCES, &check.confidence),
            self.texts.maybe(&check.note.say(self.lang)),
        ]
    }
}

/// Whether a finding counts among the requests.
pub(super) fn is_request(finding: &Finding) -> bool {
    finding.exchange.as_ref().is_some_and(|exchange| exchange.request.is_some())
        || finding.kind == Kind::Request
}
