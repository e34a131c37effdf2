//! What recognition says of a candidate.

use super::prober::{Prober, Timer};
use super::sighting::Sighting;
use crate::cause::Confidence;
use crate::words::Phrase;
use std::fmt;
use std::sync::Arc;

/// A candidate that is a check, possibly at least.
#[derive(Clone, Debug)]
pub struct Recognised {
    /// Its facts.
    pub sighting: Sighting,
    /// Checks of the same kind, from the same source to the same target.
    pub group: GroupId,
    /// Groups that differ in nothing but their source: the nodes of one load balancer, several
    /// proxies with the same settings.
    pub checker: CheckerId,
    /// What is known of the group when this is given out. Later members may come with a better
    /// verdict; that of the last one given out holds for the whole group.
    pub verdict: Arc<Verdict>,
}

/// A group of checks: one source, one target, the same thing asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

/// All groups of one target in which the same thing is asked, whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckerId(pub u32);

/// Whether it is a check, and whose.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whose check it is; `None` when only its behaviour gives it away.
    pub prober: Option<Arc<Prober>>,
    /// How sure it is that this is a check.
    pub confidence: Confidence,
    /// The same as a number: ten times the decimal logarithm of the odds.
    pub decibans: i32,
    /// What speaks for it and against it, the winning fingerprint first.
    pub reasons: Vec<Reason>,
    /// It came through a proxy that forwards requests of others: ordinary traffic for the target's
    /// load balancer.
    pub relayed: bool,
    /// It names a prober of a cloud or cluster and comes from an address that such a prober does
    /// not have.
    pub unexpected_source: bool,
    /// Seconds between checks, when they are regular.
    pub period: Option<f64>,
}

impl Verdict {
    /// Id of the prober; `None` when only its behaviour gives it away.
    pub fn prober_id(&self) -> Option<&str> {
        self.prober.as_ref().map(|prober| &*prober.id)
    }
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What was seen, such as `path /healthz`.
    pub what: Phrase,
    /// How much it counts, decibans; negative when it speaks against a check.
    pub decibans: i32,
}

impl Verdict {
    /// Whether its prober counts the time to the next check from the end of one, so that a check that
    /// nobody answers delays it.
    pub(super) fn is_from_end(&self) -> bool {
        self.prober.as_ref().is_some_and(|prober| prober.defaults.timer == Some(Timer::End))
    }

    /// Whether its prober may check more often, or less, while checks fail: those that do count the time to
    /// the next check from the end of one (HAProxy, Envoy), or it is not known whose it is.
    pub(super) fn may_change_rhythm(&self) -> bool {
        self.prober.is_none() || self.is_from_end()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:+})", self.what, self.decibans)
    }
}
