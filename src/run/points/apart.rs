//! What is at one place and at no other.

use super::super::Settings;
use crate::cause::Finding;
use crate::flow::Flow;
use crate::health::{Check, Entry, Target};
use crate::http::Exchange;
use crate::join::points::{Added, Clocks, Connections, Known, Point};
use crate::over_time::OverTime;
use crate::packet::Endpoint;
use crate::report::{Report, Summary};
use crate::run::{Listener, SERVERS_MAX};
use crate::words::Phrase;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeSet;

/// Flows remembered that are at no other place, 8 bytes each.
const APART_MAX: usize = 1 << 20;

/// Remembers the connections of the place that findings are told of, and passes everything on.
pub(super) struct Base<'a> {
    listener: &'a mut dyn Listener,
    pub(super) connections: Connections,
    pub(super) servers: BTreeSet<Endpoint>,
}

impl<'a> Base<'a> {
    pub(super) fn new(listener: &'a mut dyn Listener) -> Base<'a> {
        Base { listener, connections: Connections::default(), servers: BTreeSet::new() }
    }
}

impl Listener for Base<'_> {
    fn progress(&mut self, read: u64, total: Option<u64>) -> bool {
        self.listener.progress(read, total)
    }

    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        self.connections.flow(flow);
        if self.servers.len() < SERVERS_MAX {
            self.servers.insert(flow.server);
        }
        self.listener.flow(flow, tunnels);
    }

    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.listener.exchange(flow, exchange);
    }

    fn unlisted(&mut self, finding: &Finding) -> bool {
        self.listener.unlisted(finding)
    }

    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        self.listener.check(server, prober, check);
    }

    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        self.listener.transition(server, prober, entry);
    }
}

/// Collects what is at this place and at none that was looked at before.
pub(super) struct Apart<'a> {
    point: &'a Point,
    known: &'a [(Known<'a>, Option<&'a Clocks>)],
    list_flows: bool,
    list_exchanges: bool,
    connections: Connections,
    /// Of flows that are not over: when requests were sent, and, if they are listed, all of them.
    pending: HashMap<u64, (OverTime, Vec<Exchange>)>,
    addition: Addition,
}

/// What a place adds to the report on others.
#[derive(Default)]
pub(super) struct Addition {
    pub(super) added: Added,
    /// The whole report on this place, without its findings.
    pub(super) report: Report,
    flows: Vec<Flow>,
    exchanges: Vec<(u64, Exchange)>,
    requests: OverTime,
    /// Flows that are at no other place.
    apart: HashSet<u64>,
    servers: BTreeSet<Endpoint>,
    /// Requests in them that a proxy made for those of its clients.
    back: u64,
    /// What these flows add to the counts.
    counts: Summary,
    lost: u64,
}

impl<'a> Apart<'a> {
    pub(super) fn new(
        point: &'a Point,
        known: &'a [(Known<'a>, Option<&'a Clocks>)],
        settings: &Settings,
    ) -> Apart<'a> {
        Apart {
            point,
            known,
            list_flows: settings.flows,
            list_exchanges: settings.exchanges && !settings.streamed,
            connections: Connections::default(),
            pending: HashMap::new(),
            addition: Addition::default(),
        }
    }

    /// The captures of this place are read.
    pub(super) fn finish(self, report: Report) -> (Addition, Connections) {
        let made = report.correlations.iter().filter(|it| it.front.is_some());
        let asked = made.flat_map(|it| &it.back).map(|it| &it.ends).filter(|it| it.ordinal > 0);
        let back = asked.filter(|it| self.addition.apart.contains(&it.flow)).count() as u64;
        (Addition { report, back, ..self.addition }, self.connections)
    }
}

impl Listener for Apart<'_> {
    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        let (sent, list) = self.pending.entry(flow).or_default();
        if let Some(request) = &exchange.request {
            // By the clock of the place that is told of.
            let clocks = self.known.first().and_then(|(_, clocks)| *clocks);
            sent.add(clocks.map_or(request.first.at, |clocks| clocks.there(request.first.at)));
        }
        if self.list_exchanges {
            list.push(exchange.clone());
        }
    }

    fn flow(&mut self, flow: &Flow, _tunnels: &[String]) {
        self.connections.flow(flow);
        let addition = &mut self.addition;
        let (sent, exchanges) = self.pending.remove(&flow.id).unwrap_or_default();
        if !self.known.iter().all(|(known, clocks)| known.lacks(flow, self.point, *clocks)) {
            return;
        }
        if addition.apart.len() >= APART_MAX {
            addition.lost += 1;
            return;
        }
        addition.apart.insert(flow.id);
        *addition.counts.protocols.entry(flow.protocol).or_default() += 1;
        for spot in flow.blind_spots.iter() {
            *addition.counts.blind_spots.entry(spot).or_default() += 1;
        }
        addition.added.flows += 1;
        addition.added.requests += u64::from(flow.requests);
        addition.requests.merge(&sent);
        addition.exchanges.extend(exchanges.into_iter().map(|exchange| (flow.id, exchange)));
        if addition.servers.len() < SERVERS_MAX {
            addition.servers.insert(flow.server);
        }
        if self.list_flows {
            addition.flows.push(flow.clone());
        }
    }
}

impl Addition {
    /// Gives flows further numbers than the `before` that others have.
    pub(super) fn renumber(&mut self, before: u64) {
        self.flows.iter_mut().for_each(|flow| flow.id += before);
        self.exchanges.iter_mut().for_each(|(flow, _)| *flow += before);
        let probes = std::mem::take(&mut self.report.probes);
        self.report.probes = probes.into_iter().map(|(id, prober)| (id + before, prober)).collect();
        self.apart = self.apart.iter().map(|flow| flow + before).collect();
        let targets = self.report.health.targets.iter_mut();
        let checks = targets.flat_map(|target| &mut target.probers).flat_map(|it| &mut it.checks);
        checks.for_each(|check| check.flow += before);
    }

    /// Puts it into the report on the others.
    pub(super) fn take_in(
        mut self,
        into: &mut Report,
        servers: &mut BTreeSet<Endpoint>,
        name: &Phrase,
    ) {
        let summary = &mut into.summary;
        summary.packets += self.report.summary.packets;
        summary.flows += self.added.flows;
        summary.exchanges += self.added.requests;
        summary.back_exchanges += self.back;
        for (protocol, count) in &self.counts.protocols {
            *summary.protocols.entry(*protocol).or_default() += count;
        }
        for (spot, count) in &self.counts.blind_spots {
            *summary.blind_spots.entry(*spot).or_default() += count;
        }
        for (reason, count) in &self.report.summary.skipped {
            *summary.skipped.entry(reason.clone()).or_default() += count;
        }
        for (bound, count) in &self.report.summary.bounds {
            *summary.bounds.entry(bound).or_default() += count;
        }
        if self.lost > 0 {
            *summary.bounds.entry("flows of other capture points not looked at").or_default() +=
                self.lost;
        }
        into.requests.merge(&self.requests);
        self.add_targets(into);
        let of_flows = self.report.probes.into_iter().filter(|(id, _)| self.apart.contains(id));
        into.probes.extend(of_flows);
        into.flows.append(&mut self.flows);
        into.exchanges.append(&mut self.exchanges);
        servers.extend(self.servers);
        into.warnings.append(&mut self.report.warnings);
        into.warnings.extend(self.added.remarks(name));
    }

    /// Adds targets whose checks are at no other place.
    fn add_targets(&mut self, into: &mut Report) {
        for target in std::mem::take(&mut self.report.health.targets) {
            let is_apart = |target: &Target| -> u64 {
                let checks = target.probers.iter().flat_map(|prober| &prober.checks);
                checks.filter(|check| self.apart.contains(&check.flow)).count() as u64
            };
            let health = &mut into.health;
            let listed: usize = target.probers.iter().map(|prober| prober.checks.len()).sum();
            let apart = is_apart(&target);
            let known = health.targets.iter().any(|it| it.server == target.server);
            if apart == 0 {
                continue;
            }
            if known || apart < listed as u64 {
                self.added.checks += apart;
                continue;
            }
            health.checks += target.checks();
            for prober in &target.probers {
                health.asked += prober.asked;
                for (outcome, count) in &prober.by_outcome {
                    *health.by_outcome.entry(*outcome).or_default() += count;
                }
            }
            health.targets.push(target);
        }
        into.health.targets.sort_by_key(|target| target.server);
    }
}
