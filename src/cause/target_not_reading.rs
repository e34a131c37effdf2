//! the target's receive window is zero: its program does not read the request.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::http::Request;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-not-reading",
    summary: "the target's receive window is zero: its program does not read the request",
    explanation: "the target's receive window is zero: its program does not read the request.",
    seen_as: &[],
    responsible: Responsible::TargetApp,
    typical_status: Some(504),
    confirm: &[],
    fix: &["find out why the target stopped reading (blocked worker, overload, body not consumed)"],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.unanswered()?;
    let server = case.flow.half(Side::Server);
    let since = server.zero_window_since?;
    if since.at < request.first.at || case.closed_by_server().is_some() {
        return None;
    }
    let until = case.closed_by_client().map_or(case.flow.last, |close| close.mark);
    let waited = until.at.nanos_since(since.at);
    if waited < 500_000_000 {
        return None;
    }
    let mut evidence = vec![Evidence {
        mark: since,
        side: Side::Server,
        what: What::ZeroWindow,
        note: "the target advertises a window of 0 and never opens it again".to_owned(),
    }];
    evidence.extend(case.asked("the request"));
    if let Some(close) = case.closed_by_client() {
        evidence.push(case.ending(close, "the load balancer gives up"));
    }
    Some(Verdict {
        confidence: Confidence::Certain,
        evidence,
        summary: format!(
            "the target stopped reading after {} bytes of the request and kept its window at 0 \
             for {}",
            server_received(case, request),
            span(waited)
        ),
        responsible: None,
    })
}

/// Request bytes that the target acknowledged.
fn server_received(case: &Case<'_>, request: &Request) -> u64 {
    case.flow.half(Side::Client).acked.saturating_sub(request.start)
}
