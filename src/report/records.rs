//! Formats that are written while captures are read.

use super::{Report, Style};
use crate::cause::Finding;
use crate::flow::Flow;
use crate::health::{Check, Entry};
use crate::http::Exchange;
use crate::join::log::Logs;
use crate::packet::Endpoint;
use std::io::{self, Write};

/// Is told what becomes known and writes what its format shows of it.
pub trait Records {
    /// Whether writing still makes sense.
    fn is_open(&self) -> bool;
    /// A flow is over; `tunnels` as in [`Report::tunnels`].
    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        let _ = (flow, tunnels);
    }
    /// An exchange of a flow is final.
    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        let _ = (flow, exchange);
    }
    /// Something failed.
    fn finding(&mut self, finding: &Finding) {
        let _ = finding;
    }
    /// Something failed that the report does not list as there is too much; whether this does.
    fn unlisted(&mut self, finding: &Finding) -> bool {
        let _ = finding;
        false
    }
    /// Something failed, and its log lines are known.
    fn explained(&mut self, finding: &Finding, logs: &Logs) {
        let _ = logs;
        self.finding(finding);
    }
    /// The outcome of a health check of `server` is known.
    fn check(&mut self, server: Endpoint, prober: &str, check: &Check) {
        let _ = (server, prober, check);
    }
    /// The state of `server` has changed.
    fn transition(&mut self, server: Endpoint, prober: &str, entry: &Entry) {
        let _ = (server, prober, entry);
    }
    /// Writes what is known only at the end. The first error of all is given here.
    fn finish(self: Box<Self>, report: &Report) -> io::Result<()>;
}

/// Begins such a format: where to, how it shall look, and whether somebody waits for each record so
/// that nothing may stay in a buffer.
pub type Start = for<'a> fn(&'a mut dyn Write, &Style, bool) -> Box<dyn Records + 'a>;
