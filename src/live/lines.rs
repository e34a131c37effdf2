//! One line for each thing that becomes known.

use super::analyse::{Follower, Standing};
use crate::capture::CaptureInfo;
use crate::cause::{Finding, Kind};
use crate::health::{Check, Effect, Entry, State};
use crate::host::Event;
use crate::join::log::Logs;
use crate::packet::Endpoint;
use crate::report::{Style, Told, Withdrawn, ndjson, words};
use crate::run::Listener;
use crate::time::{Mark, Timestamp};
use hashbrown::{HashMap, HashSet};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc::{SyncSender, TrySendError};

/// Lines that wait to be written; what comes beyond is counted and not written.
pub(super) const WAITING_MAX: usize = 1 << 12;
/// Verdicts remembered, so that only a change is told again.
const KNOWN_MAX: usize = 1 << 16;
/// Characters of a line's summary; the report has all of it.
const SUMMARY_MAX: usize = 160;

/// What is written, and where to.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// To where lines go.
    Told(Vec<u8>),
    /// For people who watch: to standard error.
    Aside(String),
}

/// Form of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// The records of the `ndjson` format.
    Ndjson,
    /// None.
    Quiet,
}

/// What was said of a failure.
#[derive(Clone, Copy, Debug)]
struct Known {
    told: Told,
    /// It counts as a failure of users.
    is_failure: bool,
}

/// Tells everything as lines, and keeps count of what was told.
pub(super) struct Lines {
    form: Form,
    style: Style,
    zone: TimeZone,
    out: SyncSender<Line>,
    /// By interface.
    names: Vec<String>,
    known: HashMap<(u64, u32), Known>,
    /// Failed health checks that were told as such, by flow and ordinal: the failure itself comes once
    /// more, maybe before it is recognised as that of a check.
    checks: HashSet<(u64, u32)>,
    by_cause: BTreeMap<&'static str, u64>,
    failures: u64,
    failed_checks: u64,
    unwritten: u64,
}

impl Lines {
    pub(super) fn new(
        form: Form,
        style: Style,
        zone: TimeZone,
        names: Vec<String>,
        out: SyncSender<Line>,
    ) -> Lines {
        Lines {
            form,
            style,
            zone,
            out,
            names,
            known: HashMap::new(),
            checks: HashSet::new(),
            by_cause: BTreeMap::new(),
            failures: 0,
            failed_checks: 0,
            unwritten: 0,
        }
    }

    /// Failures told so far, each counted once.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Lines that nobody read in time.
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    fn send(&mut self, line: Line) {
        if let Err(TrySendError::Full(_)) = self.out.try_send(line) {
            self.unwritten += 1;
        }
    }

    fn say(&mut self, at: Timestamp, text: &str) {
        let mut line = format!("{} {}\n", self.time(at), words::clean(text));
        if self.style.ascii {
            line = words::ascii(&line, self.style.lang);
        }
        self.send(Line::Told(line.into_bytes()));
    }

    /// What is not about the packets: to standard error.
    pub(super) fn aside(&mut self, text: &str) {
        self.send(Line::Aside(text.to_owned()));
    }

    /// Time of day where this runs.
    fn time(&self, at: Timestamp) -> String {
        match jiff::Timestamp::from_nanosecond(i128::from(at.0)) {
            Ok(at) => at.to_zoned(self.zone.clone()).strftime("%H:%M:%S%.3f").to_string(),
            Err(_) => at.to_string(),
        }
    }

    fn found(&mut self, finding: &Finding, early: bool) {
        let said = Told::of(finding);
        let ordinal = finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal);
        let key = (finding.flow, ordinal);
        let told_as_check =
            if early { self.checks.contains(&key) } else { self.checks.remove(&key) };
        let check = told_as_check || finding.kind == Kind::HealthCheck;
        let known = self.known.get(&key).copied();
        if early {
            if known.is_some() || self.known.len() < KNOWN_MAX {
                self.known.insert(key, Known { told: said, is_failure: !check });
            }
        } else {
            self.known.remove(&key);
        }
        if check && known.is_some_and(|known| known.is_failure) {
            self.failures = self.failures.saturating_sub(1);
        }
        let before = known.map(|known| known.told);
        match before {
            None => self.count(finding.cause.id, check),
            Some(before) if before.cause != said.cause => self.recount(before.cause, said.cause),
            Some(_) => {}
        }
        match self.form {
            Form::Quiet => {}
            Form::Ndjson => {
                let mut line = Vec::new();
                // Writing into memory does not fail.
                let _ = ndjson::write_live(finding, early, before, &mut line);
                self.send(Line::Told(line));
            }
            // The line of the check says it.
            Form::Text if check && (told_as_check || !early) => {}
            Form::Text if before == Some(said) => {}
            Form::Text => {
                let text = self.finding_text(finding, before);
                let at = finding.evidence.first().map_or(Timestamp::default(), |it| it.mark.at);
                self.say(at, &text);
            }
        }
    }

    fn count(&mut self, cause: &'static str, check: bool) {
        *self.by_cause.entry(cause).or_default() += 1;
        self.failures += u64::from(!check);
    }

    fn uncount(&mut self, known: Known) {
        if let Some(count) = self.by_cause.get_mut(known.told.cause) {
            *count = count.saturating_sub(1);
        }
        self.failures = self.failures.saturating_sub(u64::from(known.is_failure));
    }

    fn recount(&mut self, before: &'static str, now: &'static str) {
        if let Some(count) = self.by_cause.get_mut(before) {
            *count = count.saturating_sub(1);
        }
        *self.by_cause.entry(now).or_default() += 1;
    }

    fn finding_text(&self, finding: &Finding, before: Option<Told>) -> String {
        let mut text = String::new();
        let paint = |text: &str| match self.style.color {
            true => format!("{RED}{text}{PLAIN}"),
            false => text.to_owned(),
        };
        if let Some(Told { cause, responsible, confidence }) = before {
            let _ = write!(text, "revised, was {cause} ({confidence}, {responsible}): ");
        }
        if finding.kind == Kind::HealthCheck {
            text.push_str("check ");
        }
        let _ = write!(
            text,
            "{} ({}, {}) {} > {}",
            paint(finding.cause.id),
            finding.confidence.id(),
            finding.responsible.id(),
            finding.client.socket(),
            finding.server.socket(),
        );
        let request = finding.exchange.as_ref().and_then(|exchange| exchange.request.as_ref());
        if let Some(line) = request.and_then(|request| request.head.split(|b| *b == b'\n').next()) {
            let line = String::from_utf8_lossy(line);
            let line = line.trim_end().trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
            let line = line.trim_end_matches("HTTP/").trim_end();
            let _ = write!(text, " {}", words::shorten(line, 60));
        }
        let _ = write!(text, ": {}", words::shorten(&finding.summary, SUMMARY_MAX));
        if let Some(host) = &finding.host {
            let _ = write!(text, "; {host}");
        }
        if let Some(guilty) = finding.evidence.first() {
            let _ = write!(text, " [{}]", self.packet(guilty.mark));
        }
        text
    }
}

impl Lines {
    fn withdrawn_text(&self, withdrawn: &Withdrawn) -> String {
        let Told { cause, responsible, confidence } = withdrawn.told;
        let mut text = format!(
            "withdrawn, was {cause} ({confidence}, {responsible}): {} > {}",
            withdrawn.client.socket(),
            withdrawn.server.socket(),
        );
        if !withdrawn.asked.is_empty() {
            let _ = write!(text, " {}", words::shorten(&withdrawn.asked, 60));
        }
        let _ = write!(text, ": {} [{}]", withdrawn.reason(), self.packet(withdrawn.guilty));
        text
    }

    /// Its interface and number there.
    fn packet(&self, mark: Mark) -> String {
        let name = self.names.get(mark.frame.file() as usize).map_or("", String::as_str);
        format!("{name} packet {}", mark.frame.number())
    }
}

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

impl Listener for Lines {
    fn early(&mut self, finding: &Finding) {
        self.found(finding, true);
    }

    fn finding(&mut self, finding: &Finding) {
        self.found(finding, false);
    }

    fn revised(&mut self, finding: &Finding, before: Told) {
        let said = Told::of(finding);
        if before.cause != said.cause {
            self.recount(before.cause, said.cause);
        }
        match finding.kind {
            Kind::HealthCheck => self.failures = self.failures.saturating_sub(1),
            _ => self.failures += 1,
        }
        match self.form {
            Form::Quiet => {}
            Form::Ndjson => {
                let mut line = Vec::new();
                // Writing into memory does not fail.
                let _ = ndjson::write_live(finding, false, Some(before), &mut line);
                self.send(Line::Told(line));
            }
            Form::Text => {
                let text = self.finding_text(finding, Some(before));
                let at = finding.evidence.first().map_or(Timestamp::default(), |it| it.mark.at);
                self.say(at, &text);
            }
        }
    }

    fn withdrawn(&mut self, withdrawn: &Withdrawn) {
        let mut withdrawn = withdrawn.clone();
        if let Some(known) = self.known.remove(&(withdrawn.flow, withdrawn.ordinal)) {
            self.uncount(known);
            withdrawn.told = known.told;
        }
        match self.form {
            Form::Quiet => {}
            Form::Ndjson => {
                let mut line = Vec::new();
                // Writing into memory does not fail.
                let _ = ndjson::write_withdrawn(&withdrawn, &mut line);
                self.send(Line::Told(line));
            }
            // The line of the check says it.
            Form::Text if withdrawn.is_check => {}
            Form::Text => self.say(withdrawn.guilty.at, &self.withdrawn_text(&withdrawn)),
        }
    }

    fn explained(&mut self, finding: &Finding, before: Option<Told>, logs: &Logs) {
        let said = Told::of(finding);
        if let Some(before) = before.filter(|before| before.cause != said.cause) {
            self.recount(before.cause, said.cause);
        }
        match self.form {
            Form::Quiet => {}
            Form::Ndjson => {
                let mut line = Vec::new();
                // Writing into memory does not fail.
                let _ = ndjson::write_explained(finding, before, logs, &mut line);
                self.send(Line::Told(line));
            }
            Form::Text if before == Some(said) || finding.kind == Kind::HealthCheck => {}
            Form::Text => {
                let text = self.finding_text(finding, before);
                let at = finding.evidence.first().map_or(Timestamp::default(), |it| it.mark.at);
                self.say(at, &text);
            }
        }
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        let failed = check.outcome.is_some_and(|outcome| outcome.effect() == Effect::Fail);
        self.failed_checks += u64::from(failed);
        let key = (check.flow, check.ordinal);
        let mut before = None;
        if let Some(known) = self.known.get_mut(&key).filter(|known| known.is_failure) {
            // It was not recognised as a check when its failure was told.
            known.is_failure = false;
            before = Some(known.told.cause);
            self.failures = self.failures.saturating_sub(1);
        }
        if failed && self.checks.len() < KNOWN_MAX {
            self.checks.insert(key);
        }
        match (self.form, check.outcome) {
            (Form::Ndjson, _) => {
                let mut line = Vec::new();
                let _ = ndjson::write_check(server, prober, check, &mut line);
                self.send(Line::Told(line));
            }
            (Form::Text, Some(outcome)) if failed => {
                let note = match check.note.as_str() {
                    "" => outcome.cause().summary,
                    note => note,
                };
                let before =
                    before.map(|cause| format!("revised, was {cause}: ")).unwrap_or_default();
                let text = format!(
                    "{before}check {} of {} by {prober} from {}: {} [packet {}]",
                    outcome.id(),
                    server.socket(),
                    check.source.addr(),
                    words::shorten(note, SUMMARY_MAX),
                    check.decisive.frame.number(),
                );
                self.say(check.decisive.at, &text);
            }
            _ => {}
        }
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        match self.form {
            Form::Quiet => {}
            // That nothing is known yet is no news to people.
            Form::Text if entry.state == State::Unknown => {}
            Form::Ndjson => {
                let mut line = Vec::new();
                let _ = ndjson::write_transition(server, prober, entry, &mut line);
                self.send(Line::Told(line));
            }
            Form::Text => {
                let reason = entry.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                let state = entry.state.id();
                let text = format!("target {} is {state}{reason} by {prober}", server.socket());
                self.say(entry.mark.at, &text);
            }
        }
    }
}

impl Follower for Lines {
    fn host(&mut self, event: &Event) {
        match self.form {
            Form::Quiet => {}
            Form::Ndjson => {
                let mut line = Vec::new();
                let _ = ndjson::write_host(event, &mut line);
                self.send(Line::Told(line));
            }
            Form::Text => self.say(event.at, &format!("this host: {}", event.text())),
        }
    }

    fn summary(&mut self, standing: &Standing, captures: &[CaptureInfo]) {
        let mut text = format!(
            "{} in {}, {} and {} since {}",
            words::plural(standing.packets, "packet"),
            words::plural(standing.flows, "connection"),
            words::plural(standing.requests, "request"),
            words::plural(self.failed_checks, "failed health check"),
            captures
                .iter()
                .filter_map(|capture| capture.first)
                .min()
                .map_or_else(|| "nothing was captured yet".to_owned(), |first| self.time(first)),
        );
        let causes: Vec<String> = self
            .by_cause
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(cause, count)| format!("{} {cause}", words::count(*count)))
            .collect();
        match causes.as_slice() {
            [] => text.push_str("; nothing failed"),
            causes => {
                let _ = write!(text, "; failures: {}", causes.join(", "));
            }
        }
        if standing.lost() > 0 {
            let _ = write!(
                text,
                "; dropped: {} by the kernel, {} by the interface, {} by our queue",
                standing.kernel_drops, standing.interface_drops, standing.queue_drops
            );
        }
        self.aside(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Timeline;
    use crate::report::{RECORD_SCHEMA, Why, fixture};
    use crate::run::{Analysis, Settings};
    use std::path::Path;
    use std::sync::mpsc;

    /// The lines of a capture as live would tell it, with a tick every tenth of a second.
    fn told(capture: &str) -> Vec<String> {
        told_as(Form::Text, capture)
    }

    fn told_as(form: Form, capture: &str) -> Vec<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(capture);
        let (out, lines) = mpsc::sync_channel(10_000);
        let names = vec!["lo".to_owned()];
        let mut told = Lines::new(form, Style::default(), TimeZone::UTC, names, out);
        let settings = Settings { early: true, ..Settings::default() };
        let mut analysis = Analysis::new(settings, None).unwrap();
        let mut timeline = Timeline::open(&[path]).unwrap();
        let mut now = None;
        while timeline.step().unwrap() {
            let Some(frame) = timeline.frame() else { break };
            let mut tick = now.unwrap_or(frame.mark.at);
            while tick < frame.mark.at {
                tick = frame.mark.at.min(tick.after(100_000_000));
                analysis.tick(tick, &mut told);
            }
            now = Some(tick);
            analysis.frame(&frame, &mut told);
        }
        for second in 1..4 {
            analysis.tick(now.unwrap().after(second * 1_000_000_000), &mut told);
        }
        analysis.finish(timeline.captures().to_vec(), Vec::new(), &mut told);
        let text = |line| match line {
            Line::Told(line) => Some(String::from_utf8(line).unwrap()),
            _ => None,
        };
        lines.try_iter().filter_map(text).collect()
    }

    #[test]
    fn a_failed_check_is_told_once_and_not_as_a_failure_of_users() {
        let lines = told("checks-and-users/direct-fail-open-lb.pcap");
        let checks =
            lines.iter().filter(|line| line.contains(" check hc-status-mismatch ")).count();
        assert_eq!(checks, 16, "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("target-own-5xx")), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains(" is unhealthy ")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains(" is unknown")), "{lines:#?}");
    }

    #[test]
    fn what_is_withdrawn_is_said_and_counts_no_more() {
        let finding = fixture::report().findings.remove(0);
        let withdrawn = Withdrawn { why: Why::Answered, ..Withdrawn::of(&finding) };
        for form in [Form::Text, Form::Ndjson] {
            let (out, lines) = mpsc::sync_channel(10);
            let mut told = Lines::new(form, Style::default(), TimeZone::UTC, Vec::new(), out);
            told.early(&finding);
            assert_eq!(told.failures(), 1);
            told.withdrawn(&withdrawn);
            assert_eq!((told.failures(), told.by_cause[finding.cause.id]), (0, 0));
            let Some(Line::Told(line)) = lines.try_iter().nth(1) else { panic!("{form:?}") };
            let line = String::from_utf8(line).unwrap();
            if form == Form::Text {
                let was = format!(" withdrawn, was {} (", finding.cause.id);
                assert!(
                    line.contains(&was) && line.contains("the answer came after all"),
                    "{line}"
                );
                continue;
            }
            let record: serde_json::Value = serde_json::from_str(&line).unwrap();
            let schema = serde_json::from_str(RECORD_SCHEMA).unwrap();
            fixture::obeys(&record, &schema, &schema, "record");
            assert_eq!(
                (&record["record"], &record["why"]),
                (&"withdrawn".into(), &"answered".into())
            );
            assert_eq!(record["told_before"]["cause"], finding.cause.id);
        }
    }

    #[test]
    fn what_was_told_before_is_marked_and_every_change_of_it_is_told() {
        let (mut again, mut surer) = (0, 0);
        for capture in [
            "response-timeout/nginx-no-response-lb.pcap",
            "target-fin-no-response/nginx-read-fin-lb.pcap",
        ] {
            let mut last: HashMap<(String, String), String> = HashMap::new();
            let mut changes = 0;
            for line in told_as(Form::Ndjson, capture) {
                let record: serde_json::Value = serde_json::from_str(&line).unwrap();
                if record["record"] != "finding" || record["kind"] == "health-check" {
                    continue;
                }
                let of = |it: &serde_json::Value| {
                    ["cause", "responsible", "confidence"].map(|key| it[key].to_string()).join(" ")
                };
                let key = (record["flow"].to_string(), record["request"]["ordinal"].to_string());
                let before = last.insert(key, of(&record));
                let marked = Some(&record["told_before"]).filter(|told| !told.is_null());
                assert_eq!(marked.map(of), before, "{line}");
                again += usize::from(before.as_ref() == Some(&of(&record)));
                changes += usize::from(before.as_ref().is_some_and(|told| *told != of(&record)));
                let only_surer = marked.is_some_and(|told| told["cause"] == record["cause"]);
                surer += usize::from(only_surer && before != Some(of(&record)));
            }
            let lines = told(capture);
            let revised = lines.iter().filter(|line| line.contains(" revised, was ")).count();
            assert_eq!(revised, changes, "{lines:#?}");
        }
        assert!(again > 0 && surer > 0, "{again} {surer}");
    }
}
