//! SYNs reach the target host and no SYN-ACK leaves it.

use super::connect_timeout::unanswered;
use super::{Case, Cause, Responsible, Verdict};
use crate::flow::Vantage;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "connect-timeout-host",
    summary: "SYNs reach the target host and no SYN-ACK leaves it",
    explanation: "SYNs reach the target host and no SYN-ACK leaves it.",
    seen_as: &[],
    responsible: Responsible::TargetHost,
    typical_status: Some(504),
    confirm: &[],
    fix: &[
        "look at the host's listen queue (ss -ltn, nstat TcpExtListenOverflows) and its firewall",
    ],
    references: &[],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    if case.vantage() != Vantage::Server {
        return None;
    }
    let verdict = unanswered(case)?;
    Some(Verdict {
        summary: format!(
            "{}; the capture was taken at the target, so they arrived there",
            verdict.summary
        ),
        ..verdict
    })
}
