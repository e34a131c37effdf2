//! An analysis that frames are pushed into: from captures or from an interface.

mod collect;
mod legs;
mod told;
mod unsure;

use super::checks::{self, Checks};
use super::{Listener, Patient, RunError, Settings, direction, keys};
use crate::blind::BlindSpot;
use crate::capture::{CaptureInfo, Direction, Filter, Frame};
use crate::cause::Confidence;
use crate::engine::Engine;
use crate::host::Addresses;
use crate::join::legs::Legs;
use crate::join::log;
use crate::packet::{Decoder, Endpoint, Packet, Segment, Skip, TunnelId};
use crate::pattern::patterns;
use crate::phrase;
use crate::probe::Catalogue;
use crate::report::{Report, Summary, Told};
use crate::time::Timestamp;
use crate::tls::Lines;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use collect::{Collector, Early, Results, ordinal};

/// Takes in frames one by one and tells what they show; [`Analysis::finish`] gives the report.
pub struct Analysis {
    /// `None`: lent, see [`Analysis::lend_decoder`].
    decoder: Option<Box<Decoder>>,
    engine: Engine,
    filter: Option<Filter>,
    results: Results,
    skipped: HashMap<Skip, u64>,
    packets: u64,
    /// Which way the last frame went.
    direction: Direction,
    /// See [`Analysis::leave_out`].
    left_out: u8,
    packets_left_out: u64,
    flows_left_out: u64,
    /// Keys that came with the packets.
    carried: Lines,
    odd_keys: Vec<String>,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// TCP flows.
    pub flows: u64,
    /// Requests.
    pub exchanges: u64,
    /// Requests that cannot be read.
    pub encrypted: u64,
    /// Requests whose outcome a blind spot hides.
    pub unknown: u64,
    /// Flows dropped as there were too many at once.
    pub evicted: u64,
}

impl Analysis {
    /// An analysis that has seen nothing; `filter` is that of the settings.
    pub fn new(settings: Settings, filter: Option<Filter>) -> Result<Analysis, RunError> {
        let (keys, odd_keys) = keys::read(&settings.keylogs)?;
        let logs = log::Watch::new(settings.logs.clone())?;
        let probers = match &settings.probers {
            Some(probers) => Arc::clone(probers),
            None => Catalogue::built_in()?,
        };
        let mut engine = Engine::new(settings.engine_options())
            .watch_probers(Arc::clone(&probers))
            .with_keys(keys);
        let early = settings.early.then(|| Early {
            checks: Checks::new(&settings, Arc::clone(&probers)).without_waiting(),
            told: told::Told::default(),
            sighted: HashMap::new(),
            now: Timestamp::default(),
            fresh: VecDeque::new(),
        });
        if early.is_some() {
            engine = engine.give_early(Arc::clone(&probers));
        }
        Ok(Analysis {
            decoder: Some(Box::new(settings.decoder())),
            engine,
            filter,
            results: Results {
                checks: Checks::new(&settings, probers),
                legs: Legs::new(settings.exchanges),
                held: Vec::new(),
                unsure: VecDeque::new(),
                joined: Timestamp::default(),
                settings,
                report: Report::default(),
                servers: BTreeSet::new(),
                found: HashMap::new(),
                early,
                logs,
            },
            skipped: HashMap::new(),
            packets: 0,
            direction: Direction::Unknown,
            left_out: 0,
            packets_left_out: 0,
            flows_left_out: 0,
            carried: Lines::default(),
            odd_keys,
        })
    }

    /// Takes in keys of TLS sessions that come with the packets.
    pub fn secrets(&mut self, secrets: &[u8]) {
        self.carried.add(self.engine.add_keys(secrets));
    }

    /// Takes in the next frame and says which flow it is part of.
    pub fn frame(&mut self, frame: &Frame<'_>, listener: &mut dyn Listener) -> Option<u64> {
        self.direction = frame.direction;
        if self.filter.as_mut().is_some_and(|filter| !filter.matches(frame)) {
            self.packets += 1;
            *self.results.report.summary.skipped.entry("filtered".to_owned()).or_default() += 1;
            return None;
        }
        let mut decoder = self.decoder.take()?;
        let flow = self.packet(frame.mark.at, &mut decoder.decode(frame), None, listener);
        if self.results.report.tunnels.len() != decoder.tunnel_names().len() {
            self.name_tunnels(decoder.tunnel_names().to_vec());
        }
        self.decoder = Some(decoder);
        flow
    }

    /// Where the connection of a segment is that is soon to come in; see [`Engine::look_up`].
    #[inline]
    pub(super) fn look_up(&self, segment: &Segment<'_>, before: Option<u32>) -> Option<u32> {
        self.engine.look_up(segment, before)
    }

    /// Connections are soon to be opened between these; see [`Engine::look_out`].
    pub(super) fn look_out(&self, opened: impl Iterator<Item = (Endpoint, Endpoint, TunnelId)>) {
        self.engine.look_out(opened);
    }

    /// Takes in what the next frame, of the time `at`, was decoded to; see [`Analysis::frame`].
    /// `likely` is what [`Analysis::look_up`] told of it.
    pub(super) fn packet(
        &mut self,
        at: Timestamp,
        packet: &mut Packet<'_>,
        likely: Option<u32>,
        listener: &mut dyn Listener,
    ) -> Option<u64> {
        let results = &mut self.results;
        self.packets += 1;
        results.advance(at);
        if results.unsure.front().is_some_and(|unsure| unsure.0 <= at) {
            Collector { results, listener }.settle_unsure(at);
        }
        if let Packet::Tcp(segment) = packet {
            segment.direction = direction::of(segment, &results.settings.local);
            self.direction = segment.direction;
        }
        let belongs = match packet {
            Packet::Tcp(segment)
                if self.left_out > 0
                    && is_left_out(segment, self.left_out)
                    && !self.engine.follows(segment) =>
            {
                self.packets_left_out += 1;
                self.flows_left_out += u64::from(segment.flags.syn() && !segment.flags.ack());
                None
            }
            Packet::Tcp(segment) => {
                let mut collector = Collector { results, listener };
                Some(self.engine.segment_at(segment, likely, &mut collector))
            }
            Packet::Icmp(error) => self.engine.icmp(error),
            Packet::Skip(skip) => {
                *self.skipped.entry(*skip).or_default() += 1;
                None
            }
        };
        belongs.map(|belongs| belongs.flow)
    }

    /// Which way the last frame went, as far as it or the addresses of the host tell.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// From now on these are the addresses of the host that captures.
    pub fn set_local(&mut self, local: Addresses) {
        self.results.settings.local = local;
    }

    /// The tunnels met so far, by number.
    pub(super) fn name_tunnels(&mut self, names: Vec<String>) {
        self.results.report.tunnels = names;
    }

    /// Lends the decoder to who decodes elsewhere; until it is back, [`Analysis::frame`] takes nothing.
    pub(super) fn lend_decoder(&mut self) -> Option<Box<Decoder>> {
        self.decoder.take()
    }

    /// See [`Analysis::lend_decoder`].
    pub(super) fn take_decoder_back(&mut self, decoder: Box<Decoder>) {
        self.decoder = Some(decoder);
    }

    /// Time has come to `now`, maybe without a frame: no frame from before it is to come. Early
    /// verdicts come with it.
    pub fn tick(&mut self, now: Timestamp, listener: &mut dyn Listener) {
        let results = &mut self.results;
        results.advance(now);
        let mut collector = Collector { results, listener };
        self.engine.tick(now, &mut collector);
        collector.settle_fresh(now);
        collector.settle_unsure(now);
        collector.join_old_legs(now);
    }

    /// From now on follows only one new connection in two to the power of `steps`, chosen by a hash
    /// of its addresses and ports. Those that are followed stay so.
    pub fn leave_out(&mut self, steps: u8) {
        self.left_out = steps.min(63);
    }

    /// SYNs of connections that [`Analysis::leave_out`] left out.
    pub fn flows_left_out(&self) -> u64 {
        self.flows_left_out
    }

    /// Frames taken in.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Flows and requests so far.
    pub fn totals(&self) -> Totals {
        let counts = self.engine.counts();
        Totals {
            flows: self.engine.flows(),
            exchanges: counts.exchanges,
            encrypted: counts.encrypted,
            unknown: counts.unknown,
            evicted: counts.evicted_flows,
        }
    }

    /// Counts so far. Verdicts that wait for the end are not in them.
    pub fn summary(&self) -> Summary {
        let mut summary = self.results.report.summary.clone();
        self.count(&mut summary);
        summary
    }

    fn count(&self, summary: &mut Summary) {
        let counts = self.engine.counts();
        summary.packets = self.packets;
        summary.flows = self.engine.flows();
        summary.exchanges = counts.exchanges;
        summary.encrypted_requests = counts.encrypted;
        summary.unknown_requests = counts.unknown;
        for (skip, count) in &self.skipped {
            *summary.skipped.entry(skip.name().into_owned()).or_default() += count;
        }
        let decoded = self.decoder.as_ref().map(|decoder| decoder.counters()).unwrap_or_default();
        for (name, count) in [
            ("tunnels counted as one", decoded.tunnels_shared),
            ("fragments dropped", decoded.datagrams_evicted),
            ("flows dropped", counts.evicted_flows),
            ("stream numbers uncertain", counts.forgotten_pairs),
            ("connections not compared with others", counts.forgotten_lessons),
            ("flows that gave up what they waited for", counts.released_flows),
            ("TLS sessions whose keys were forgotten", counts.forgotten_keys),
            ("connections not looked at as legs of a proxy", counts.forgotten_roles),
            ("verdicts without the rest of the capture", counts.judged_early),
            ("packets of connections that were left out to keep up", self.packets_left_out),
            ("verdicts told at the end of their connection only", self.engine.looks_missed()),
        ] {
            if count > 0 {
                *summary.bounds.entry(name).or_default() += count;
            }
        }
    }

    /// There are no more frames: tells what is left and gives the report. `captures` are those that
    /// frames came from, `warnings` what was odd about them as a whole.
    pub fn finish(
        mut self,
        captures: Vec<CaptureInfo>,
        warnings: Vec<String>,
        listener: &mut dyn Listener,
    ) -> Report {
        let mut collector = Collector { results: &mut self.results, listener };
        self.engine.finish(&mut collector);
        collector.settle_fresh(Timestamp(i64::MAX));
        collector.recognise_rest();
        collector.settle_unsure(Timestamp(i64::MAX));
        collector.join_legs();
        collector.withdraw_rest();
        let mut report = std::mem::take(&mut self.results.report);
        self.count(&mut report.summary);
        let Analysis { engine, results, filter, carried, mut odd_keys, .. } = self;
        let Results { settings, servers, checks, early, mut logs, .. } = results;
        let undecided = engine.undecided().iter();
        let checked = undecided.filter(|asked| checks.knows(asked.0, asked.1)).count();
        let unknown = &mut report.summary.unknown_requests;
        *unknown = unknown.saturating_sub(checked as u64);
        if let Some(logs) = &mut logs {
            logs.leave_out(|flow, ordinal| checks.knows(flow, ordinal));
        }
        odd_keys.extend(keys::odd("decryption secrets in the captures", &carried));
        match early {
            // Those that were not told yet, then those of the report.
            Some(early) => {
                early.checks.finish(&mut Report::default(), listener);
                checks.finish(&mut report, &mut Patient);
                for finding in &report.findings {
                    if let Some(before) = early.told.otherwise(finding) {
                        listener.revised(finding, before);
                    }
                }
            }
            None => checks.finish(&mut report, listener),
        }
        for finding in checks::missing(&report, &settings.causes) {
            if settings.early || logs.is_none() {
                listener.finding(&finding);
            }
            report.summary.count(&finding);
            report.findings.push(finding);
        }
        report.captures = captures;
        report.causes.clone_from(&settings.causes);
        report.warnings = warnings.into_iter().map(Into::into).collect();
        if !settings.keylogs.is_empty() {
            let counts = engine.counts();
            odd_keys.extend(keys::unused(counts.tls_flows, counts.opened_flows));
        }
        let odd_filters = filter.iter().flat_map(|filter| filter.warnings().to_vec());
        report.warnings.extend(odd_keys.into_iter().chain(odd_filters).map(Into::into));
        report.warnings.extend(engine.translated().map(|(count, ends)| {
            let [before, after] =
                ends.map(|(client, server)| format!("{} → {}", client.socket(), server.socket()));
            phrase!(
                "{n} connections were captured a second time, behind a translation of their addresses (NAT), the first, {before}, as {after}: each is told once, by the addresses that the capture shows first",
                n = count,
                before = before,
                after = after
            )
        }));
        report.requests = engine.requests().clone();
        if report.had_kernel_drops() {
            for finding in &mut report.findings {
                finding.blind_spots.add(BlindSpot::KernelDrops);
                finding.confidence = finding.confidence.min(Confidence::Likely);
            }
        }
        let logs = logs.map(|logs| revise(logs, &mut report, &settings, listener));
        report.flows.sort_unstable_by_key(|flow| flow.id);
        report.findings.sort_by_key(|finding| {
            let guilty = finding.evidence.first().map(|evidence| evidence.mark);
            (guilty.map(|mark| (mark.at, mark.frame)), finding.flow)
        });
        report.patterns = patterns(&report.findings, &servers);
        report.servers = servers;
        if let Some(logs) = logs {
            let dropped = log::correlate(&logs, &report.findings, &mut report.correlations);
            if dropped > 0 {
                *report.summary.bounds.entry("correlations not listed").or_default() += dropped;
            }
            report.logs = Some(logs);
        }
        report
    }
}

/// All flows are known: reads the logs, revises the findings of the report by them, and tells them.
fn revise(
    logs: log::Watch,
    report: &mut Report,
    settings: &Settings,
    listener: &mut dyn Listener,
) -> log::Logs {
    let before: Vec<Told> = report.findings.iter().map(Told::of).collect();
    let mut findings = std::mem::take(&mut report.findings);
    findings.iter().for_each(|finding| report.summary.uncount(finding));
    let logs = logs.finish(&mut findings, &report.correlations);
    let unknown = &mut report.summary.unknown_requests;
    *unknown = unknown.saturating_sub(logs.decided);
    let causes = &settings.causes;
    // What lines bring to light was not told before.
    let before = before.into_iter().map(Some).chain(std::iter::repeat(None));
    for (finding, before) in findings.into_iter().zip(before) {
        // What was told live stays.
        if !(settings.early || causes.is_empty() || causes.contains(&finding.cause.id)) {
            continue;
        }
        if !settings.early {
            listener.explained(&finding, None, &logs);
        } else if !logs.of_finding(&finding).is_empty() {
            listener.explained(&finding, before, &logs);
        }
        report.summary.count(&finding);
        report.findings.push(finding);
    }
    logs
}

/// Whether the connection of `segment` is one of those that are not followed. Both directions have
/// the same hash.
fn is_left_out(segment: &Segment<'_>, steps: u8) -> bool {
    let state = FixedState::default();
    let both = state.hash_one(segment.src) ^ state.hash_one(segment.dst);
    both.trailing_zeros() < u32::from(steps)
}
