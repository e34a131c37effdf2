//! An analysis that frames are pushed into: from captures or from an interface.

mod legs;
mod unsure;

use super::checks::{self, Checks};
use super::{Listener, Patient, RunError, SAME_PACKET, SERVERS_MAX, Settings, direction, keys};
use crate::blind::BlindSpot;
use crate::capture::{CaptureInfo, Direction, Filter, Frame};
use crate::cause::{Confidence, Finding, Kind, Responsible};
use crate::engine::{Engine, Output};
use crate::flow::Flow;
use crate::host::Addresses;
use crate::http::Exchange;
use crate::join::legs::{Leg, Legs};
use crate::join::log;
use crate::packet::{Decoder, Endpoint, Packet, Segment, Skip};
use crate::pattern::patterns;
use crate::probe::{Catalogue, Habit, Sighting};
use crate::report::{Report, Summary, Told, failed_at};
use crate::time::Timestamp;
use crate::tls::Lines;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Flows listed when there is no end to them: about 100 MB.
const FLOWS_LISTED_MAX: usize = 100_000;
/// Early verdicts remembered until their connection is over, so that none is told twice.
const EARLY_MAX: usize = 1 << 16;

/// How long a failure that was decided at once waits before it is told, nanoseconds: by then a check is
/// recognised as one, so that it is not told as the failure of a user, and one second is kept.
const RECOGNISED: i64 = 700_000_000;

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

/// What is known so far.
struct Results {
    settings: Settings,
    report: Report,
    servers: BTreeSet<Endpoint>,
    /// File, stream and ordinal of findings, with their flow and time.
    found: HashMap<(u32, u32, u32), (u64, Timestamp)>,
    checks: Checks,
    legs: Legs,
    /// Findings of legs, until it is known what their proxy's clients saw; see [`legs`].
    held: Vec<Finding>,
    /// Findings of connections that may have been checks, and until when they wait; see [`unsure`].
    unsure: VecDeque<(Timestamp, Finding)>,
    /// When old legs were tied last.
    joined: Timestamp,
    early: Option<Early>,
    logs: Option<log::Watch>,
}

/// What is told before connections are over.
struct Early {
    /// Health checks by what was told early: what the report says of them must not depend on it.
    checks: Checks,
    /// By flow and ordinal.
    told: HashMap<(u64, u32), (&'static str, Responsible, Confidence)>,
    /// Flows and ordinals of possible checks that were told.
    sighted: HashMap<(u64, u32), ()>,
    /// Capture time.
    now: Timestamp,
    /// Failures that were decided at once, and when they are told; at most [`EARLY_MAX`].
    fresh: VecDeque<(Timestamp, Finding)>,
}

/// Collects what the engine gives out, and passes it on.
struct Collector<'a> {
    results: &'a mut Results,
    listener: &'a mut dyn Listener,
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
            told: HashMap::new(),
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
        let flow = self.packet(frame.mark.at, decoder.decode(frame), listener);
        if self.results.report.tunnels.len() != decoder.tunnel_names().len() {
            self.name_tunnels(decoder.tunnel_names().to_vec());
        }
        self.decoder = Some(decoder);
        flow
    }

    /// Takes in what the next frame, of the time `at`, was decoded to; see [`Analysis::frame`].
    pub(super) fn packet(
        &mut self,
        at: Timestamp,
        mut packet: Packet<'_>,
        listener: &mut dyn Listener,
    ) -> Option<u64> {
        let results = &mut self.results;
        self.packets += 1;
        results.advance(at);
        if results.unsure.front().is_some_and(|unsure| unsure.0 <= at) {
            Collector { results, listener }.settle_unsure(at);
        }
        if let Packet::Tcp(segment) = &mut packet {
            segment.direction = direction::of(segment, &results.settings.local);
            self.direction = segment.direction;
        }
        let belongs = match packet {
            Packet::Tcp(segment)
                if self.left_out > 0
                    && is_left_out(&segment, self.left_out)
                    && !self.engine.follows(&segment) =>
            {
                self.packets_left_out += 1;
                self.flows_left_out += u64::from(segment.flags.syn() && !segment.flags.ack());
                None
            }
            Packet::Tcp(segment) => {
                Some(self.engine.segment(&segment, &mut Collector { results, listener }))
            }
            Packet::Icmp(error) => self.engine.icmp(&error),
            Packet::Skip(skip) => {
                *self.skipped.entry(skip).or_default() += 1;
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
        let mut report = std::mem::take(&mut self.results.report);
        self.count(&mut report.summary);
        let Analysis { engine, results, filter, carried, mut odd_keys, .. } = self;
        let Results { settings, servers, checks, early, logs, .. } = results;
        odd_keys.extend(keys::odd("decryption secrets in the captures", &carried));
        match early {
            // Those that were not told yet, then those of the report.
            Some(early) => {
                early.checks.finish(&mut Report::default(), listener);
                checks.finish(&mut report, &mut Patient);
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
        report.warnings = warnings.into_iter().map(Into::into).collect();
        if !settings.keylogs.is_empty() {
            let counts = engine.counts();
            odd_keys.extend(keys::unused(counts.tls_flows, counts.opened_flows));
        }
        let odd_filters = filter.iter().flat_map(|filter| filter.warnings().to_vec());
        report.warnings.extend(odd_keys.into_iter().chain(odd_filters).map(Into::into));
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

impl Results {
    fn advance(&mut self, at: Timestamp) {
        self.checks.advance(at);
        if let Some(early) = &mut self.early {
            early.checks.advance(at);
            early.now = at;
        }
    }

    /// Whether the same failure was found on the same packets inside or outside a tunnel: one
    /// stream to Wireshark, two flows to us.
    fn seen_elsewhere(&mut self, finding: &Finding) -> bool {
        let Some((stream, guilty)) = finding.stream.zip(finding.evidence.first()) else {
            return false;
        };
        let key = (guilty.mark.frame.file(), stream, ordinal(finding));
        if self.found.len() >= self.settings.findings_max() && !self.found.contains_key(&key) {
            return false;
        }
        let (flow, at) = *self.found.entry(key).or_insert((finding.flow, guilty.mark.at));
        flow != finding.flow && guilty.mark.at.nanos_since(at).abs() < SAME_PACKET
    }

    fn is_wanted(&self, finding: &Finding) -> bool {
        let causes = &self.settings.causes;
        causes.is_empty() || causes.contains(&finding.cause.id)
    }
}

impl Output for Collector<'_> {
    fn flow(&mut self, flow: &Flow) {
        let Results { report, servers, checks, legs, early, settings, logs, .. } =
            &mut *self.results;
        legs.hides(flow.server, flow.protocol);
        for spot in flow.blind_spots.iter() {
            *report.summary.blind_spots.entry(spot).or_default() += 1;
        }
        if servers.len() < SERVERS_MAX {
            servers.insert(flow.server);
        }
        *report.summary.protocols.entry(flow.protocol).or_default() += 1;
        self.listener.flow(flow, &report.tunnels);
        checks.flow(flow);
        if let Some(early) = early {
            early.checks.flow(flow);
        }
        if let Some(logs) = logs {
            logs.flow(flow);
        }
        let flows_max =
            settings.flows_max.map_or(FLOWS_LISTED_MAX, |max| max.min(FLOWS_LISTED_MAX));
        if settings.flows && (early.is_none() || report.flows.len() < flows_max) {
            report.flows.push(flow.clone());
        } else if settings.flows {
            *report.summary.bounds.entry("flows not listed").or_default() += 1;
        }
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        if let Some(logs) = &mut self.results.logs {
            logs.exchange(flow, exchange);
        }
        if !self.results.settings.exchanges {
            return;
        }
        self.listener.exchange(flow, exchange);
        if !self.results.settings.streamed {
            self.results.report.exchanges.push((flow, exchange.clone()));
        }
    }

    fn sighting(&mut self, sighting: Sighting) {
        let Results { report, checks, early, .. } = &mut *self.results;
        match early {
            Some(early) => {
                if early.sighted.remove(&(sighting.flow, sighting.ordinal)).is_none() {
                    early.checks.sighting(sighting.clone(), &mut Report::default(), self.listener);
                }
                checks.sighting(sighting, report, &mut Patient);
            }
            None => checks.sighting(sighting, report, self.listener),
        }
    }

    fn early_sighting(&mut self, sighting: Sighting) -> Option<Timestamp> {
        let early = self.results.early.as_mut()?;
        let silent = early.checks.may_be_answered_until(&sighting);
        if silent.is_some_and(|until| until > early.now) {
            return silent;
        }
        if early.sighted.len() < EARLY_MAX
            && early.sighted.insert((sighting.flow, sighting.ordinal), ()).is_none()
        {
            early.checks.sighting(sighting, &mut Report::default(), self.listener);
        }
        None
    }

    fn leg(&mut self, leg: Leg) {
        self.results.checks.leg(&leg);
        if let Some(early) = &mut self.results.early {
            early.checks.leg(&leg);
        }
        self.add_leg(leg);
    }

    fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.results.checks.habit(flow, habit);
        if let Some(early) = &mut self.results.early {
            early.checks.habit(flow, habit);
        }
    }

    fn early(&mut self, mut finding: Finding) {
        let is_wanted = self.results.is_wanted(&finding);
        let Some(early) = &mut self.results.early else { return };
        let key = (finding.flow, ordinal(&finding));
        let verdict = (finding.cause.id, finding.responsible, finding.confidence);
        let known = early.told.get(&key);
        if known == Some(&verdict) || (known.is_none() && early.told.len() >= EARLY_MAX) {
            return;
        }
        if !early.checks.settle(&mut finding) || !is_wanted {
            return;
        }
        if early.checks.expects(&finding) {
            finding.kind = Kind::HealthCheck;
        }
        early.told.insert(key, verdict);
        self.listener.early(&finding);
    }

    fn finding(&mut self, finding: Finding) {
        if let Some(early) = &mut self.results.early
            && early.told.remove(&(finding.flow, ordinal(&finding))).is_none()
            && early.fresh.len() < EARLY_MAX.min(self.results.settings.findings_max())
        {
            early.fresh.push_back((early.now.after(RECOGNISED), finding));
            return;
        }
        if let Some(finding) = self.is_unsure(finding) {
            self.settle(finding);
        }
    }
}

impl Collector<'_> {
    /// Tells the failures whose time has come.
    fn settle_fresh(&mut self, now: Timestamp) {
        while let Some(early) = &mut self.results.early
            && early.fresh.front().is_some_and(|fresh| fresh.0 <= now)
            && let Some((_, finding)) = early.fresh.pop_front()
        {
            let mut told = finding.clone();
            let failed = early.checks.settle(&mut told) && self.results.is_wanted(&told);
            // Its other leg, or what makes it a check, may be long in coming.
            let waits = self.results.legs.concerns(finding.flow, ordinal(&finding))
                || self.may_wait(&finding);
            if failed && waits {
                self.listener.early(&told);
            }
            if let Some(finding) = self.is_unsure(finding) {
                self.settle(finding);
            }
        }
    }

    /// All connections are known.
    fn recognise_rest(&mut self) {
        let Results { report, checks, early, .. } = &mut *self.results;
        match early {
            // Those that were not told yet, then those of the report.
            Some(early) => {
                early.checks.recognise_rest(&mut Report::default(), self.listener);
                checks.recognise_rest(report, &mut Patient);
            }
            None => checks.recognise_rest(report, self.listener),
        }
    }

    fn settle(&mut self, mut finding: Finding) {
        let elsewhere = self.results.seen_elsewhere(&finding);
        if elsewhere || !self.results.checks.settle(&mut finding) {
            return;
        }
        if self.results.legs.concerns(finding.flow, ordinal(&finding)) {
            self.hold(finding);
        } else {
            self.is_alone(&mut finding);
            self.give(finding);
        }
    }

    /// Everything about this finding is known.
    fn give(&mut self, mut finding: Finding) {
        // While it was held it may have been recognised as that of a check.
        if !self.results.checks.settle(&mut finding) {
            return;
        }
        let listed = self.results.report.findings.len() < self.results.settings.findings_max();
        // Its log line may give it another cause.
        let waits = listed && self.results.logs.is_some() && !self.results.settings.early;
        if !waits && !self.results.is_wanted(&finding) {
            return;
        }
        match &self.results.early {
            // It may be known as that of a check by what was told early.
            Some(early) => {
                let mut told = finding.clone();
                if early.checks.settle(&mut told) {
                    self.listener.finding(&told);
                }
            }
            None if waits => {}
            None => self.listener.finding(&finding),
        }
        let Results { report, .. } = &mut *self.results;
        report.summary.count(&finding);
        if listed {
            report.findings.push(finding);
        } else if !self.listener.unlisted(&finding) {
            *report.summary.bounds.entry("findings not listed").or_default() += 1;
            if let Some(at) = failed_at(&finding) {
                let key = (finding.cause.id, finding.kind.id());
                report.unlisted.entry(key).or_default().add(at);
            }
        }
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
    let logs = logs.finish(&mut findings);
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

/// Position of the failed request on its connection, 0 without one.
fn ordinal(finding: &Finding) -> u32 {
    finding.exchange.as_ref().map_or(0, |exchange| exchange.ordinal)
}
