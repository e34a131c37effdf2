//! The analysis thread: batches in, verdicts out.

use super::batch::{Batch, Packet, Room};
use super::budget;
use super::clock;
use super::evidence;
use super::keeper::Keeper;
use super::keys::KeyFiles;
use super::lines::Lines;
use super::merge::Merge;
use super::outage::Outages;
use super::overload::{self, Load, Overload};
use super::run::Event;
use crate::blind::BlindSpot;
use crate::capture::{CaptureInfo, Direction, Frame, LIVE, LinkType};
use crate::cause::{Confidence, Finding};
use crate::flow::Flow;
use crate::health::{Check, Entry};
use crate::host::{self, Watching};
use crate::http::{Exchange, State};
use crate::join::log::Logs;
use crate::packet::Endpoint;
use crate::report::{Report, Told, Withdrawn, words};
use crate::run::{Analysis, Listener};
use crate::time::{FrameId, Mark, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// Between two counts of how things stand, nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// How the capture goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Now.
    pub now: Timestamp,
    /// Packets taken in.
    pub packets: u64,
    /// Connections.
    pub flows: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that cannot be read without keys.
    pub encrypted_requests: u64,
    /// Requests whose outcome a blind spot hides.
    pub unknown_requests: u64,
    /// Packets that the kernel dropped because its buffer was full.
    pub kernel_drops: u64,
    /// Packets that the interface dropped.
    pub interface_drops: u64,
    /// Packets that the queue to the analysis had no room for.
    pub queue_drops: u64,
    /// Connections left out as the analysis could not keep up.
    pub flows_left_out: u64,
    /// Bytes that wait for the analysis, and for how many there is room.
    pub queue: (u64, u64),
    /// Bytes of memory used, and the limit, where they are known.
    pub memory: (Option<u64>, Option<u64>),
    /// Flows dropped as there were too many at once.
    pub evicted_flows: u64,
    /// The same of each interface.
    pub interfaces: Vec<Seen>,
    /// What was written as evidence, if it is.
    pub evidence: Option<evidence::Counters>,
}

/// What was seen at an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets taken in.
    pub packets: u64,
    /// Packets that the kernel dropped because its buffer was full.
    pub kernel_drops: u64,
    /// Packets that the interface dropped.
    pub interface_drops: u64,
    /// Packets that the queue to the analysis had no room for.
    pub queue_drops: u64,
}

impl Standing {
    /// Packets that existed and were not seen.
    pub fn lost(&self) -> u64 {
        self.kernel_drops + self.interface_drops + self.queue_drops
    }
}

/// A listener that wants to know how the capture goes on, too.
pub trait Follower: Listener {
    /// A packet was analysed; `flow` is the flow that it is part of. What it led to was told before.
    fn packet(&mut self, frame: &Frame<'_>, flow: Option<u64>) {
        let _ = (frame, flow);
    }
    /// About once a second, also when nothing is captured.
    fn standing(&mut self, standing: &Standing) {
        let _ = standing;
    }
    /// Something happened on this host.
    fn host(&mut self, event: &host::Event) {
        let _ = event;
    }
    /// The user asks how things stand.
    fn summary(&mut self, standing: &Standing, captures: &[CaptureInfo]) {
        let _ = (standing, captures);
    }
}

/// What is shared with the other threads.
#[derive(Clone)]
pub(super) struct Shared {
    /// End.
    pub(super) stop: Arc<AtomicBool>,
    /// The user asks how things stand.
    pub(super) asked: Arc<AtomicBool>,
    /// For packets that wait.
    pub(super) room: Room,
    /// When interfaces gave nothing.
    pub(super) outages: Outages,
}

/// Tells several, and lowers what is told when packets are missing.
struct Fan {
    lines: Lines,
    keeper: Option<Keeper>,
    others: Vec<Box<dyn Follower + Send>>,
    host: Option<Watching>,
    dropped: bool,
    outages: Outages,
    /// Flows of which packets may be missing as an interface gave nothing.
    interrupted: u64,
}

impl Fan {
    fn each(&mut self, mut tell: impl FnMut(&mut dyn Follower)) {
        tell(&mut self.lines);
        self.keeper.iter_mut().for_each(|keeper| tell(keeper));
        self.others.iter_mut().for_each(|other| tell(&mut **other));
    }

    /// A finding as it is told, where that differs: less sure when packets are missing, and with
    /// what this host says of it.
    fn dressed(&self, finding: &Finding) -> Option<Finding> {
        let host = self.host.as_ref().and_then(|host| host.sentence(finding));
        let interrupted = interrupts(&self.outages, finding);
        if host.is_none() && !self.dropped && !interrupted {
            return None;
        }
        let mut finding = finding.clone();
        finding.host = host;
        if interrupted {
            doubt(&mut finding);
        }
        if self.dropped {
            finding.blind_spots.add(BlindSpot::KernelDrops);
            finding.confidence = finding.confidence.min(Confidence::Likely);
        }
        Some(finding)
    }
}

/// Whether packets that speak for or against the finding may be missing, as its interface gave
/// nothing for a while.
fn interrupts(outages: &Outages, finding: &Finding) -> bool {
    let evidence = finding.evidence.iter().map(|evidence| evidence.mark);
    let request = finding.exchange.as_ref().and_then(|exchange| exchange.request.as_ref());
    let idle = finding.idle_before.unwrap_or_default();
    let asked = request.map(|request| request.first.at.after(-idle));
    let Some(last) = evidence.clone().max_by_key(|mark| mark.at) else { return false };
    let first = evidence.map(|mark| mark.at).chain(asked).min().unwrap_or(last.at);
    outages.hides(last.frame.file() as usize, first, last.at)
}

/// Makes a finding as unsure as a gap in the capture does: an exchange that is complete stands for
/// itself.
fn doubt(finding: &mut Finding) {
    finding.blind_spots.add(BlindSpot::Gap);
    let complete = finding.exchange.as_ref().is_some_and(|it| it.state == State::Answered);
    if !complete {
        finding.confidence = finding.confidence.min(Confidence::Likely);
    }
}

/// Whether packets of the flow may be missing, as its interface gave nothing for a while.
fn interrupts_flow(outages: &Outages, flow: &Flow) -> bool {
    outages.hides(flow.first.frame.file() as usize, flow.first.at, flow.last.at)
}

impl Listener for Fan {
    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        let known = flow.blind_spots.has(BlindSpot::Gap);
        self.interrupted += u64::from(!known && interrupts_flow(&self.outages, flow));
        self.each(|it| it.flow(flow, tunnels));
    }
    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.each(|it| it.exchange(flow, exchange));
    }
    fn finding(&mut self, finding: &Finding) {
        let dressed = self.dressed(finding);
        self.each(|it| it.finding(dressed.as_ref().unwrap_or(finding)));
    }
    fn early(&mut self, finding: &Finding) {
        let dressed = self.dressed(finding);
        self.each(|it| it.early(dressed.as_ref().unwrap_or(finding)));
    }
    fn revised(&mut self, finding: &Finding, before: Told) {
        let dressed = self.dressed(finding);
        self.each(|it| it.revised(dressed.as_ref().unwrap_or(finding), before));
    }
    fn withdrawn(&mut self, withdrawn: &Withdrawn) {
        self.each(|it| it.withdrawn(withdrawn));
    }
    fn explained(&mut self, finding: &Finding, before: Option<Told>, logs: &Logs) {
        let dressed = self.dressed(finding);
        self.each(|it| it.explained(dressed.as_ref().unwrap_or(finding), before, logs));
    }
    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        self.each(|it| it.check(server, prober, check));
    }
    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        self.each(|it| it.transition(server, prober, entry));
    }
}

/// The thread's own.
pub(super) struct Job {
    analysis: Analysis,
    /// Key logs that grow.
    keys: KeyFiles,
    fan: Fan,
    shared: Shared,
    events: Sender<Event>,
    captures: Vec<CaptureInfo>,
    /// Drops by interface: kernel, interface, queue.
    drops: Vec<[u64; 3]>,
    overload: Overload,
    memory_max: Option<u64>,
    stop_after: Option<u64>,
    counted: Timestamp,
    standing: Standing,
}

/// What the thread is made of.
pub(super) struct Parts {
    pub(super) analysis: Analysis,
    pub(super) keys: KeyFiles,
    pub(super) lines: Lines,
    pub(super) keeper: Option<Keeper>,
    pub(super) others: Vec<Box<dyn Follower + Send>>,
    /// This host, where it can be watched.
    pub(super) host: Option<Watching>,
    pub(super) shared: Shared,
    pub(super) events: Sender<Event>,
    /// Names and link types of the interfaces.
    pub(super) interfaces: Vec<(String, LinkType)>,
    pub(super) memory_max: Option<u64>,
    pub(super) stop_after: Option<u64>,
}

impl Job {
    pub(super) fn new(parts: Parts) -> Job {
        let Parts {
            analysis, keys, lines, keeper, others, host, shared, events, interfaces, ..
        } = parts;
        let (memory_max, stop_after) = (parts.memory_max, parts.stop_after);
        let drops = vec![[0; 3]; interfaces.len()];
        let captures = interfaces.into_iter().map(|(name, link)| CaptureInfo {
            path: name,
            format: LIVE,
            link_types: vec![link],
            ..CaptureInfo::default()
        });
        Job {
            analysis,
            keys,
            fan: Fan {
                lines,
                keeper,
                others,
                host,
                dropped: false,
                outages: shared.outages.clone(),
                interrupted: 0,
            },
            shared,
            events,
            captures: captures.collect(),
            drops,
            overload: Overload::default(),
            memory_max,
            stop_after,
            counted: clock::now(),
            standing: Standing::default(),
        }
    }

    /// Analyses until all interfaces are over, and gives the report.
    pub(super) fn run(mut self, batches: &Receiver<Batch>, warnings: Vec<String>) -> Report {
        /// Between two looks at the clock when nothing comes.
        const PAUSE: Duration = Duration::from_millis(200);
        let mut merge = Merge::new(self.captures.len(), self.shared.room.filled().1);
        loop {
            match batches.recv_timeout(PAUSE) {
                Ok(batch) => self.take(batch, &mut merge, false),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = clock::now();
            if now.nanos_since(self.counted) >= SECOND {
                self.count(now);
            }
            if self.shared.asked.swap(false, Ordering::Relaxed) {
                self.count(now);
                let (standing, captures) = (&self.standing, &self.captures);
                self.fan.each(|it| it.summary(standing, captures));
            }
            if self.stop_after.is_some_and(|enough| self.fan.lines.failures() >= enough) {
                self.stop_after = None;
                let _ = self.events.send(Event::Enough);
            }
        }
        self.take(Batch { interface: usize::MAX, ..Batch::default() }, &mut merge, true);
        self.count(clock::now());
        let mut warnings = warnings;
        let left_out = self.analysis.flows_left_out();
        let followed = self.analysis.totals().flows;
        warnings.extend(overload::sampled(left_out, followed));
        let Job { analysis, mut fan, mut captures, .. } = self;
        for (interface, capture) in captures.iter_mut().enumerate() {
            capture.warnings.extend(fan.outages.words(interface));
        }
        let mut report = analysis.finish(captures, warnings, &mut fan);
        let outages = &fan.outages;
        report.findings.iter_mut().filter(|it| interrupts(outages, it)).for_each(doubt);
        for flow in report.flows.iter_mut().filter(|flow| interrupts_flow(outages, flow)) {
            flow.blind_spots.add(BlindSpot::Gap);
        }
        if fan.interrupted > 0 {
            *report.summary.blind_spots.entry(BlindSpot::Gap).or_default() += fan.interrupted;
        }
        if let Some(host) = fan.host.take() {
            let history = host.finish();
            for finding in &mut report.findings {
                finding.host = history.sentence(finding);
            }
            report.host = Some(history);
        }
        if let Some(keeper) = fan.keeper.take() {
            let (counters, notices) = keeper.finish();
            report.warnings.extend(counters.missing());
            notices.iter().for_each(|notice| fan.lines.aside(notice));
            fan.lines.aside(&format!(
                "{} of evidence in {}",
                words::plural(counters.packets, "packet"),
                words::plural(counters.files, "file"),
            ));
        }
        let unwritten = fan.lines.unwritten();
        if unwritten > 0 {
            fan.lines.aside(&format!("{unwritten} lines were not written as nobody read them"));
        }
        report
    }

    fn take(&mut self, batch: Batch, merge: &mut Merge, all: bool) {
        if let Some(drops) = self.drops.get_mut(batch.interface) {
            drops[2] += batch.lost;
            if let Some(seen) = batch.drops {
                (drops[0], drops[1]) = (seen.kernel, seen.interface);
            }
            let lost = drops.iter().sum();
            if let Some(capture) = self.captures.get_mut(batch.interface) {
                capture.kernel_drops = lost;
            }
            self.fan.dropped |= lost > 0;
        }
        merge.push(batch);
        let Job { analysis, fan, captures, keys, .. } = self;
        // A program writes the keys before it sends what they are needed for.
        keys.read(|lines| analysis.secrets(lines));
        merge.drain(all, |batch, packet| frame(batch, packet, captures, analysis, fan));
        let upto = merge.upto();
        if upto > Timestamp::default() {
            analysis.tick(upto, fan);
        }
    }

    /// Once a second.
    fn count(&mut self, now: Timestamp) {
        self.counted = now;
        let used = memory();
        let over = self.memory_max.zip(used).is_some_and(|(max, used)| budget::is_full(used, max));
        let (waiting, room) = self.shared.room.filled();
        let load = Load { waiting, room, memory: over };
        if let Some(step) = self.overload.weigh(load, now) {
            self.analysis.leave_out(step);
            let why = match over {
                true => "nearly all memory that --max-memory allows is in use",
                false => "the analysis cannot keep up",
            };
            self.fan.lines.aside(&overload::words(step, why));
        }
        let sum = |which: usize| self.drops.iter().map(|drops| drops[which]).sum();
        let before = self.standing.lost();
        let summary = self.analysis.totals();
        let interfaces = self.captures.iter().zip(&self.drops).map(|(capture, drops)| Seen {
            packets: capture.packets,
            kernel_drops: drops[0],
            interface_drops: drops[1],
            queue_drops: drops[2],
        });
        self.standing = Standing {
            now,
            packets: self.analysis.packets(),
            flows: summary.flows,
            requests: summary.exchanges,
            encrypted_requests: summary.encrypted,
            unknown_requests: summary.unknown,
            kernel_drops: sum(0),
            interface_drops: sum(1),
            queue_drops: sum(2),
            flows_left_out: self.analysis.flows_left_out(),
            queue: (waiting as u64, room as u64),
            memory: (used, self.memory_max),
            evicted_flows: summary.evicted,
            interfaces: interfaces.collect(),
            evidence: self.fan.keeper.as_ref().map(Keeper::counters),
        };
        let notices = self.fan.keeper.as_ref().map(Keeper::notices);
        notices.into_iter().flatten().for_each(|notice| self.fan.lines.aside(&notice));
        if before == 0 && self.standing.lost() > 0 {
            let Standing { kernel_drops, interface_drops, queue_drops, .. } = &self.standing;
            let text = format!(
                "packets are missing from the capture ({kernel_drops} dropped by the kernel, \
                 {interface_drops} by the interface, {queue_drops} by our queue): verdicts are less \
                 sure from now on; --buffer-size and a narrower --port or --filter help"
            );
            self.fan.lines.aside(&text);
        }
        let standing = &self.standing;
        self.fan.each(|it| it.standing(standing));
        if let Some(host) = &self.fan.host {
            self.analysis.set_local(host.addresses());
        }
        let events: Vec<_> = self.fan.host.iter().flat_map(Watching::events).collect();
        for event in &events {
            self.fan.each(|it| it.host(event));
        }
    }
}

/// Takes in one packet.
fn frame(
    batch: &Batch,
    packet: &Packet,
    captures: &mut [CaptureInfo],
    analysis: &mut Analysis,
    fan: &mut Fan,
) {
    let Some(capture) = captures.get_mut(batch.interface) else { return };
    let bytes = batch.bytes_of(packet);
    capture.packets += 1;
    capture.bytes += bytes.len() as u64;
    capture.first = Some(capture.first.map_or(packet.at, |first| first.min(packet.at)));
    capture.last = capture.last.max(Some(packet.at));
    capture.cut_frames += u64::from(packet.wire_len > packet.len);
    let link = batch.link.unwrap_or(LinkType::ETHERNET);
    if !capture.link_types.contains(&link) {
        capture.link_types.push(link);
    }
    let frame = Frame {
        mark: Mark { frame: FrameId::new(batch.interface as u32, capture.packets), at: packet.at },
        link,
        bytes,
        wire_len: packet.wire_len,
        direction: Direction::Unknown,
    };
    let flow = analysis.frame(&frame, fan);
    let frame = Frame { direction: analysis.direction(), ..frame };
    if let Some(keeper) = &mut fan.keeper {
        keeper.packet(&frame, flow);
    }
}

/// Bytes of memory that this process uses.
fn memory() -> Option<u64> {
    let pages = procfs::process::Process::myself().ok()?.statm().ok()?.resident;
    Some(pages * procfs::page_size())
}
