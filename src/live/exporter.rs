//! Gives what becomes known to the metrics.

use super::analyse::{Follower, Standing};
use super::evidence::QUEUE;
use super::metrics::{Capture, Metrics};

impl Follower for Metrics {
    fn standing(&mut self, standing: &Standing) {
        self.set_capture(&Capture {
            packets: standing.packets,
            kernel_drops: standing.kernel_drops,
            interface_drops: standing.interface_drops,
            queue_drops: standing.queue_drops,
            encrypted_requests: standing.encrypted_requests,
            connections_left_out: standing.flows_left_out,
            connections_evicted: standing.evicted_flows,
            queue_bytes: standing.queue.0,
            queue_bytes_max: standing.queue.1,
            memory: standing.memory.0,
        });
        if let Some(evidence) = &standing.evidence {
            self.set_evidence(evidence, QUEUE);
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
