//! Serves metrics, and tells them how the capture goes on.

use super::analyse::{Follower, Standing};
use super::evidence;
use super::metrics::{Capture, Metrics, Server, TARGETS};
use super::run::LiveError;
use std::net::SocketAddr;

/// Metrics, and who serves them.
pub(super) fn serve(address: SocketAddr) -> Result<(Metrics, Server), LiveError> {
    let metrics = Metrics::new(TARGETS).map_err(|error| LiveError::Metrics(error.to_string()))?;
    let server = metrics.serve(address)?;
    Ok((metrics, server))
}

/// Where metrics are, and for whom.
pub(super) fn words(address: SocketAddr) -> String {
    let who = if address.ip().is_loopback() { "" } else { ", for everybody who reaches it" };
    format!("metrics at http://{address}/metrics{who}")
}

impl Follower for Metrics {
    fn standing(&mut self, standing: &Standing) {
        let (queue_bytes, queue_bytes_max) = standing.queue;
        self.set_capture(&Capture {
            packets: standing.packets,
            kernel_drops: standing.kernel_drops,
            interface_drops: standing.interface_drops,
            queue_drops: standing.queue_drops,
            encrypted_requests: standing.encrypted_requests,
            connections_left_out: standing.flows_left_out,
            connections_evicted: standing.evicted_flows,
            queue_bytes,
            queue_bytes_max,
            memory: standing.memory.0,
        });
        if let Some(counters) = &standing.evidence {
            self.set_evidence(counters, evidence::QUEUE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::evidence::Counters;

    #[test]
    fn how_the_capture_goes_on_is_in_the_metrics() {
        let mut metrics = Metrics::new(1).unwrap();
        metrics.standing(&Standing {
            packets: 4321,
            kernel_drops: 17,
            evidence: Some(Counters { packets: 99, ..Counters::default() }),
            ..Standing::default()
        });
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        for value in [" 4321\n", " 17\n", " 99\n"] {
            assert!(text.contains(value), "{value}: {text}");
        }
    }
}
