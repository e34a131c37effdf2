//! Candidates of one kind, and the verdict on them together.
//!
//! A single connection says little: what makes a check is that the same comes again. So verdicts
//! belong to groups: the same source, the same target, the same thing asked.

mod beat;
mod times;

use beat::Gap;
pub(super) use beat::{Beat, Due};

use super::catalogue::{Catalogue, Rule};
use super::chain::Attempt;
use super::evidence::{
    CERTAIN, CLUES, Evidence, EvidenceSet, LIKELY, POSSIBLE, PRIOR, TELLING_CLUES, WITHOUT_CLUE,
};
use super::file::On;
use super::head::hash;
use super::period::{ARRIVALS_MAX, Strength, median, paced, rhythm};
use super::prober::Class;
use super::rule::words;
use super::sighting::{Scope, Sighting};
use super::verdict::{CheckerId, GroupId, Reason, Verdict};
use crate::cause::Confidence;
use crate::packet::Address;
use crate::phrase;
use crate::words::Phrase;
use std::collections::VecDeque;
use std::sync::Arc;

/// Members from which a group is more than single cases.
const GROUP: u32 = 3;
/// What first bytes have to count so that they are nobody else's, decibans.
const TELLING: i32 = 20;
/// What a fingerprint has to count for a verdict on a single one, decibans.
pub(super) const STRONG: i32 = 36;
/// What smaller groups without such a fingerprint, programs for any purpose, and what is relayed
/// reach at most.
const POSSIBLE_ONLY: i32 = LIKELY - 1;
/// What encrypted checks reach at most: nothing says what they are about.
const LIKELY_ONLY: i32 = CERTAIN - 1;
/// Times a check took that are remembered.
const DURATIONS: usize = 16;
/// Bytes by which signatures of one key differ in length.
const SIGNATURE: u64 = 8;
/// Same requests and connections that say something.
const FIVE: u32 = 5;

/// What the rest of the capture says of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    /// Its source sends what users send.
    pub(super) users: bool,
    /// Its source forwards requests of others.
    pub(super) forwards: bool,
    /// Different paths that its source asks for with this User-Agent.
    pub(super) paths: usize,
    /// Targets that its source asks the same.
    pub(super) targets: usize,
    /// Sources that ask its target the same.
    pub(super) sources: usize,
    /// Ports of its target's host that refused its source.
    pub(super) refused: usize,
    /// Its source checks this target in other ways, too.
    pub(super) checks: bool,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its members are held back.
    #[default]
    Open,
    /// They are given out.
    Given,
    /// They are none.
    Vetoed,
}

/// Candidates of one kind.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) checker: CheckerId,
    pub(super) standing: Standing,
    pub(super) held: Vec<Sighting>,
    pub(super) members: u32,
    pub(super) verdict: Option<Arc<Verdict>>,
    /// Failed connection attempts, of which nothing else is known.
    pub(super) attempts: bool,
    /// Hashes for [`Around`]: source and User-Agent, source and what is asked.
    pub(super) asks: (u64, u64),
    /// What is asked, without what differs between targets.
    pub(super) shape: u64,
    /// Groups of checks of the same source that its attempts were compared with.
    pub(super) siblings: usize,
    on: Option<On>,
    rules: Vec<u16>,
    digest: u64,
    evidence: Tally,
    /// How members ended: by FIN, by RST, by the server first.
    ends: [u16; 3],
    same_request: u32,
    same_answer: u32,
    answer: (Option<u16>, u64, [u64; 2]),
    kept: u32,
    /// Requests whose head was not captured to its end.
    cut: u32,
    arrivals: Vec<i64>,
    /// When each of them was over.
    overs: Vec<i64>,
    /// Those of them that are failed attempts, at most as many.
    tried: Vec<Attempt>,
    /// What its timer does, as far as its members show it.
    pub(super) beat: Option<Beat>,
    /// By how many nanoseconds its timer is off, where that is much.
    pub(super) spread: Option<i64>,
    /// Members that were answered and are forgotten, with what came next long after them.
    gaps: VecDeque<Gap>,
    /// What else its timer takes, nanoseconds, as its answered members show.
    paces: Vec<i64>,
    durations: Vec<f64>,
    waits: Vec<f64>,
}

/// How many members have each piece of evidence.
#[derive(Debug)]
struct Tally([u16; Evidence::ALL.len()]);

impl Default for Tally {
    fn default() -> Tally {
        Tally([0; Evidence::ALL.len()])
    }
}

/// The verdict before words are made of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement {
    pub(super) decibans: i32,
    pub(super) rule: Option<u16>,
    evidence: EvidenceSet,
    net: Option<usize>,
    period: Option<f64>,
}

impl Group {
    /// A group without members.
    pub(super) fn new(
        id: GroupId,
        checker: CheckerId,
        asks: (u64, u64),
        shape: u64,
        attempts: bool,
    ) -> Group {
        Group { id, checker, asks, shape, attempts, ..Group::default() }
    }

    /// Adds what `sighting` says. The sighting itself is given out or held by the caller.
    pub(super) fn add(&mut self, sighting: &Sighting, catalogue: &Catalogue) {
        self.members = self.members.saturating_add(1);
        let began = sighting.began().0;
        let last = sighting.marks.response_last.unwrap_or(sighting.marks.last).at.0;
        self.arrive(began, last);
        if self.members > ARRIVALS_MAX as u32 && self.standing == Standing::Given {
            return;
        }
        let said = || hash((&sighting.opening, sighting.payload[0]));
        let digest = sighting.request.as_ref().map_or_else(said, |facts| facts.digest);
        let answer =
            (sighting.status(), sighting.response.as_ref().map_or(0, |r| r.body), sighting.payload);
        if self.members == 1 {
            self.on = Some(sighting.on());
            if !self.attempts {
                self.rules = catalogue.fitting(sighting);
            }
            self.digest = digest;
            self.answer = answer;
        }
        self.same_request += u32::from(digest == self.digest);
        self.same_answer += u32::from(match sighting.on() {
            On::Http => (answer.0, answer.1) == (self.answer.0, self.answer.1),
            _ => answer.2[1].abs_diff(self.answer.2[1]) <= SIGNATURE,
        });
        self.cut += u32::from(sighting.request.as_ref().is_some_and(|facts| !facts.whole));
        self.kept += u32::from(sighting.scope == Scope::Exchange);
        for evidence in sighting.evidence().iter() {
            let count = &mut self.evidence.0[evidence as usize];
            *count = count.saturating_add(1);
        }
        if let Some(ends) = sighting.ends() {
            let count = &mut self.ends[ends as usize];
            *count = count.saturating_add(1);
        }
        push(&mut self.durations, last.saturating_sub(began));
        if let Some(silence) = sighting.silence() {
            push(&mut self.waits, silence);
        }
    }

    /// Whether it should be judged again now that it has grown.
    pub(super) fn is_due(&self, catalogue: &Catalogue) -> bool {
        let strong = |rule: &u16| {
            let rule = &catalogue.rules[usize::from(*rule)];
            rule.when.db >= STRONG || catalogue.probers()[rule.prober].veto
        };
        match self.members {
            1 => self.rules.iter().any(strong),
            3..=9 => true,
            members => {
                (self.attempts || members <= ARRIVALS_MAX as u32) && members.is_multiple_of(8)
            }
        }
    }

    /// What it amounts to. `failed` are the times of failed attempts that may belong to it.
    pub(super) fn judge(
        &self,
        catalogue: &Catalogue,
        source: Address,
        around: Around,
        failed: &[i64],
    ) -> Judgement {
        let (mut evidence, period) = self.gather(around, failed);
        let holds = |number: &&u16| {
            let rule = &catalogue.rules[usize::from(**number)];
            let ends = rule.when.ends.iter().map(|ends| u32::from(self.ends[*ends as usize]));
            rule.needs.iter().all(|need| evidence.has(need))
                && (rule.when.ends.is_empty() || 2 * ends.sum::<u32>() > self.members)
        };
        let order = |number: &u16| {
            let rule = &catalogue.rules[usize::from(*number)];
            let veto = catalogue.probers()[rule.prober].veto;
            (veto, rule.when.db, rule.when.rank, std::cmp::Reverse(*number))
        };
        let rule = self.rules.iter().filter(holds).copied().max_by_key(order);
        let won = rule.map(|number| &catalogue.rules[usize::from(number)]);
        let named = won.map(|rule| &catalogue.probers()[rule.prober]);
        let tool = named.is_some_and(|prober| prober.tool);
        let external = named.is_some_and(|prober| prober.external);
        if external && evidence.has(Evidence::Forwarded) {
            // That is how it comes.
            evidence.unset(Evidence::Forwarded);
        }
        let inside = |rule: &Rule, net: usize| rule.inside.contains(&net);
        let net = (0..catalogue.nets.len())
            .filter(|net| catalogue.nets[*net].db != 0 && catalogue.nets[*net].holds(source))
            .filter(|net| !won.is_some_and(|rule| inside(rule, *net)))
            .max_by_key(|net| catalogue.nets[*net].db);
        let strength = won.map_or(0, |rule| rule.when.db);
        let weak = strength < STRONG;
        if !weak || evidence.has(Evidence::HandshakeReset) {
            // A prober whose targets are down is refused at many ports, too. Who scans ports neither signs
            // as a prober nor takes the trouble to acknowledge what it resets.
            evidence.unset(Evidence::PortSweep);
        }
        let weights: i32 = evidence.iter().map(Evidence::weight).sum();
        let total = PRIOR + weights + strength + net.map_or(0, |net| catalogue.nets[net].db);
        let mut bound = i32::MAX;
        if named.is_some_and(|prober| prober.veto) {
            bound = POSSIBLE - 1;
        }
        if weak && (self.members < GROUP || !evidence.has(Evidence::Periodic)) {
            bound = bound.min(POSSIBLE_ONLY);
        }
        if weak && [Evidence::ScrapePath, Evidence::PortSweep].iter().any(|e| evidence.has(*e)) {
            bound = bound.min(POSSIBLE - 1);
        }
        if self.attempts {
            bound = bound.min(WITHOUT_CLUE);
        }
        // A proxy may be made of one, where its fingerprint asks for a path that is made for checks. Others
        // run beside proxies: cron jobs and pollers.
        let contrast = evidence.has(Evidence::UnforwardedFromForwarder)
            && won.is_some_and(|rule| rule.needs.has(Evidence::PathStrong));
        let plain = won.is_none() || tool;
        if weak && 2 * self.cut > self.members.min(ARRIVALS_MAX as u32) {
            // The User-Agent of a client may have been what is missing.
            let telling = evidence.any_of(TELLING_CLUES);
            bound = bound.min(if telling { LIKELY_ONLY } else { POSSIBLE_ONLY });
        }
        match self.on {
            Some(On::Http) if plain && !evidence.any_of(CLUES) => bound = bound.min(WITHOUT_CLUE),
            Some(On::Http) if tool && !contrast => bound = bound.min(POSSIBLE_ONLY),
            // Pollers and client libraries with a heartbeat are as regular.
            Some(On::Payload) if plain || strength < TELLING => bound = bound.min(POSSIBLE_ONLY),
            // What it says may be anybody's: only how it says it is a prober's.
            Some(On::Payload) if won.is_some_and(|rule| rule.when.says_anything()) => {
                bound = bound.min(LIKELY_ONLY)
            }
            Some(On::Tls) if plain => bound = bound.min(POSSIBLE_ONLY),
            Some(On::Tls) if weak => bound = bound.min(LIKELY_ONLY),
            _ => {}
        }
        if evidence.has(Evidence::Forwarded) {
            bound = bound.min(POSSIBLE_ONLY);
        }
        Judgement { decibans: total.min(bound), rule, evidence, net, period }
    }

    /// What most members have, and what only a group can have.
    fn gather(&self, around: Around, failed: &[i64]) -> (EvidenceSet, Option<f64>) {
        let mut found = EvidenceSet::default();
        let looked_at = self.members.min(ARRIVALS_MAX as u32);
        for evidence in Evidence::ALL {
            let count = u32::from(self.evidence.0[*evidence as usize]);
            found.set(*evidence, 2 * count > looked_at);
        }
        let http = self.on == Some(On::Http);
        let payload = self.on == Some(On::Payload);
        let most = |count: u32| count >= FIVE && 10 * count >= 9 * looked_at;
        found.set(Evidence::IdenticalRequests, (http || payload) && most(self.same_request));
        found.set(Evidence::IdenticalResponses, http && most(self.same_answer));
        let tls = self.on == Some(On::Tls);
        found.set(Evidence::EqualSizes, (tls || payload) && most(self.same_answer));
        found.set(Evidence::DedicatedConnection, http && most(self.kept));
        found.set(
            Evidence::UnforwardedFromForwarder,
            http && around.forwards && !found.has(Evidence::Forwarded),
        );
        found.set(Evidence::VariedPaths, http && around.paths >= 4);
        found.set(Evidence::TargetSweep, around.targets >= 3);
        found.set(Evidence::Fleet, around.sources >= 3 && !around.users);
        found.set(Evidence::PortSweep, around.refused >= 5);
        let bare = self.on == Some(On::Bare) && !self.attempts;
        found.set(
            Evidence::KnownChecker,
            bare && around.checks && found.has(Evidence::ClosedAtOnce),
        );
        if let Some(wait) = median(self.waits.clone())
            && wait >= 1.0
            && self.waits.len() >= GROUP as usize
            && self.waits.iter().all(|one| (one - wait).abs() <= 0.05 * wait)
            && found.has(Evidence::IdleBeforeClose)
        {
            found.set(Evidence::ConstantWait, true);
            found.unset(Evidence::IdleBeforeClose);
        }
        let took = self.took();
        let rhythm = rhythm(&self.arrivals, took).or_else(|| {
            let mut all = [&self.arrivals, failed].concat();
            all.sort_unstable();
            rhythm(&all, took).filter(|_| !failed.is_empty())
        });
        // HTTP says enough by itself, and handshakes of an outage may have been meant for more.
        let handshakes = found.has(Evidence::TlsHandshakeOnly);
        let rhythm = rhythm.or_else(|| {
            let answered = self.arrivals.iter().copied().zip(self.overs.iter().copied());
            let mut all: Vec<_> = answered.chain(failed.iter().map(|at| (*at, *at))).collect();
            all.sort_unstable();
            let (rhythm, timers) = paced(&all).filter(|_| payload || (tls && !handshakes))?;
            found.set(Evidence::SeveralTimers, timers > 1);
            Some(rhythm)
        });
        if let Some(rhythm) = rhythm {
            found.set(Evidence::Periodic, true);
            found.set(Evidence::PeriodicLong, rhythm.strength >= Strength::Moderate);
            found.set(Evidence::PeriodicExact, rhythm.strength >= Strength::Strong);
            found.set(Evidence::RoundPeriod, rhythm.round);
            found.set(Evidence::RefusedPeriodic, self.attempts);
        }
        (found, rhythm.map(|rhythm| rhythm.period))
    }
}

impl Judgement {
    /// Whether its members keep a rhythm.
    pub(super) fn has_period(&self) -> bool {
        self.period.is_some()
    }

    /// How sure it is; `None` below possible.
    pub(super) fn confidence(&self) -> Option<Confidence> {
        match self.decibans {
            CERTAIN.. => Some(Confidence::Certain),
            LIKELY.. => Some(Confidence::Likely),
            POSSIBLE.. => Some(Confidence::Possible),
            _ => None,
        }
    }

    /// Whether a look-alike that is known to be none fits.
    pub(super) fn is_veto(&self, catalogue: &Catalogue) -> bool {
        self.rule
            .is_some_and(|rule| catalogue.probers()[catalogue.rules[usize::from(rule)].prober].veto)
    }

    /// The verdict, in the words of `example`, one of the members.
    pub(super) fn verdict(&self, catalogue: &Catalogue, example: &Sighting) -> Option<Verdict> {
        let confidence = self.confidence()?;
        let rule = self.rule.map(|rule| &catalogue.rules[usize::from(rule)]);
        let prober = rule.map(|rule| &catalogue.probers()[rule.prober]);
        let mut reasons = Vec::new();
        if let Some(rule) = rule {
            let what = words(rule, example);
            reasons.push(Reason { what, decibans: rule.when.db });
        }
        if let Some(net) = self.net {
            let net = &catalogue.nets[net];
            let what = phrase!("from the network {net}", net = net.id.to_string());
            reasons.push(Reason { what, decibans: net.db });
        }
        for evidence in self.evidence.iter() {
            let mut what = Phrase::fixed(evidence.words());
            match (evidence, self.period, &example.request) {
                (Evidence::Periodic, Some(period), _) => {
                    what = phrase!("a rhythm of {period} s", period = format!("{period:.3}"))
                }
                (Evidence::PathStrong | Evidence::PathWeak, _, Some(facts)) => {
                    what = phrase!("{what}: {path}", what, path = facts.path().to_owned());
                }
                _ => {}
            }
            reasons.push(Reason { what, decibans: evidence.weight() });
        }
        let at_home = prober.is_none_or(|prober| {
            let inside = |net: &usize| catalogue.nets[*net].holds(example.source.ip);
            prober.from.is_empty() || prober.from.iter().any(inside)
        });
        let local = prober.is_some_and(|prober| prober.class == Class::Local);
        Some(Verdict {
            prober: prober.map(Arc::clone),
            confidence,
            decibans: self.decibans,
            reasons,
            relayed: example.request.as_ref().is_some_and(|facts| facts.is_forwarded()),
            unexpected_source: !at_home && !local,
            period: self.period,
        })
    }
}

/// Adds nanoseconds as seconds.
fn push(list: &mut Vec<f64>, nanos: i64) {
    if list.len() == DURATIONS {
        list.remove(0);
    }
    list.push(nanos as f64 / 1e9);
}
