//! What the engine gives out.

use crate::cause::{Case, Finding};
use crate::flow::Flow;
use crate::http::Exchange;
use crate::join::legs::Leg;
use crate::join::log::Seen;
use crate::probe::{Habit, Sighting, Sightings};
use crate::time::Timestamp;

/// Receives results as soon as they are final.
pub trait Output {
    /// A flow is over.
    fn flow(&mut self, flow: &Flow);
    /// An exchange is final; only with [`Options::exchanges`](super::Options::exchanges).
    fn exchange(&mut self, flow: u64, exchange: &Exchange);
    /// What logs are compared with; only with [`Options::logs`](super::Options::logs).
    fn seen(&mut self, seen: Seen) {
        let _ = seen;
    }
    /// Something failed.
    fn finding(&mut self, finding: Finding);
    /// A request that can be read, and what came of it cannot be told.
    fn undecided(&mut self, case: &Case<'_>) {
        let _ = case;
    }
    /// Something may be a health check; only with [`Engine::watch_probers`](super::Engine::watch_probers).
    fn sighting(&mut self, sighting: Sighting) {
        let _ = sighting;
    }
    /// A verdict on a connection that is not over; only with [`Engine::give_early`](super::Engine::give_early). The same
    /// failure comes again as a finding, mostly with the same verdict.
    fn early(&mut self, finding: Finding) {
        let _ = finding;
    }
    /// What was told early of this request of the connection (0: of the connection itself) is no failure, as packets
    /// that came since show.
    fn refuted(&mut self, flow: &Flow, ordinal: u32) {
        let _ = (flow, ordinal);
    }
    /// The same of what may be a health check. Says when to look at its connection again, if it is too
    /// early to tell.
    fn early_sighting(&mut self, sighting: Sighting) -> Option<Timestamp> {
        let _ = sighting;
        None
    }
    /// An exchange of a host that may be a proxy is final.
    fn leg(&mut self, leg: Leg) {
        let _ = leg;
    }
    /// What the client of `flow` uses to send; only with [`Engine::watch_probers`](super::Engine::watch_probers).
    fn habit(&mut self, flow: &Flow, habit: Habit) {
        let _ = (flow, habit);
    }
}

/// Hands on what the tap finds.
pub(super) struct Found<'a, O>(pub(super) &'a mut O);

impl<O: Output> Sightings for Found<'_, O> {
    fn sighting(&mut self, sighting: Sighting) {
        self.0.sighting(sighting);
    }
    fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.0.habit(flow, habit);
    }
}

/// The connection that a packet is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belongs {
    /// [`Flow::id`].
    pub flow: u64,
    /// Wireshark's `tcp.stream` in the packet's file.
    pub stream: Option<u32>,
}

impl From<&Flow> for Belongs {
    fn from(flow: &Flow) -> Belongs {
        Belongs { flow: flow.id, stream: flow.stream }
    }
}

/// Counts that belong to no single flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests.
    pub exchanges: u64,
    /// Requests that cannot be read, see [`crate::tls`]; not counted as exchanges.
    pub encrypted: u64,
    /// Requests whose outcome a blind spot hides.
    pub unknown: u64,
    /// Flows dropped to stay within [`Limits`](crate::tcp::Limits).
    pub evicted_flows: u64,
    /// Address pairs that stream numbering forgot.
    pub forgotten_pairs: u64,
    /// What was not remembered of other flows to judge by.
    pub forgotten_lessons: u64,
    /// Flows that gave up what they waited for to stay within [`BUFFERED_MAX`](super::BUFFERED_MAX).
    pub released_flows: u64,
    /// Cases judged early because [`DEFERRED_MAX`](super::DEFERRED_MAX) or [`SUSPECTS_MAX`](super::SUSPECTS_MAX) was reached.
    pub judged_early: u64,
    /// TLS connections.
    pub tls_flows: u64,
    /// TLS connections that keys opened.
    pub opened_flows: u64,
    /// TLS sessions whose keys were forgotten to stay within [`SESSIONS_MAX`](crate::tls::SESSIONS_MAX).
    pub forgotten_keys: u64,
    /// Times that a host's part in a connection was not remembered, see
    /// [`Roles`](crate::join::legs::Roles).
    pub forgotten_roles: u64,
}
