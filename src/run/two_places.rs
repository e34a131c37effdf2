//! Recognises two captures of the same connections that were taken on two hosts, before the analysis.

use super::Settings;
use crate::capture::{Direction, Timeline};
use crate::packet::{Endpoint, Packet, Segment};
use crate::phrase;
use crate::time::Timestamp;
use crate::words::Phrase;
use hashbrown::HashMap;
use std::path::PathBuf;

/// Frames looked at in each: seconds of traffic, read in less than one.
const FRAMES: u64 = 100_000;
/// Packets that are in both from which they show two hosts.
const ENOUGH: usize = 3;

/// A packet that opens a connection, as one capture has it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Timestamp,
    direction: Direction,
    ttl: u8,
}

impl Seen {
    /// It left its sender: the host that captured.
    fn is_sent(&self) -> bool {
        /// What systems begin to count with.
        const INITIAL: [u8; 3] = [64, 128, 255];
        self.direction == Direction::Outbound && INITIAL.contains(&self.ttl)
    }

    /// Whether the two were captured on two hosts: one sent it, and the other got it; or so much time lies between
    /// them as no host takes to pass a packet on, or as only two clocks differ.
    fn is_elsewhere(&self, other: &Seen) -> bool {
        const PASSED_ON: i64 = 1_000_000;
        // Who forwards counts down.
        let got = |sent: &Seen, it: &Seen| {
            sent.is_sent() && (it.direction == Direction::Inbound || it.ttl < sent.ttl)
        };
        got(self, other) || got(other, self) || other.at.nanos_since(self.at).abs() > PASSED_ON
    }
}

/// What of a SYN or an answer to one stays as it is on its way: sequence and acknowledgment number and the sender's
/// timestamp (RFC 7323, 3), or the addresses without it, as a NAT may change those.
type Key = (u32, u32, Result<u32, (Endpoint, Endpoint)>);
type Openings = HashMap<Key, Seen>;

/// What to say when two captures are of the same connections on two hosts: each packet is in both, so that they are
/// not one timeline, but two places.
pub fn two_places(captures: &[PathBuf], settings: &Settings) -> Option<Phrase> {
    let [one, other] = captures else { return None };
    // What is read twice cannot be a pipe.
    if !settings.beside.is_empty() || !one.is_file() || !other.is_file() {
        return None;
    }
    let (here, there) = (openings(one, settings), openings(other, settings));
    let both = here.iter().filter_map(|(key, seen)| Some((seen, there.get(key)?)));
    let elsewhere: Vec<bool> = both.map(|(here, there)| here.is_elsewhere(there)).collect();
    let apart = elsewhere.iter().filter(|it| **it).count();
    // On one host there are hardly any. A capture that does not tell directions shows it of SYNs only.
    let two = apart >= ENOUGH && apart * 3 > elsewhere.len();
    two.then(|| {
        phrase!(
            "{one} and {other} hold the same connections, captured at two places: read as {one} --beside {other}",
            one = one.display().to_string(),
            other = other.display().to_string()
        )
    })
}

/// As far as the capture can be read; the analysis tells what is wrong with it.
fn openings(path: &PathBuf, settings: &Settings) -> Openings {
    let (mut decoder, mut openings) = (settings.decoder(), Openings::new());
    let Ok(mut timeline) = Timeline::open(std::slice::from_ref(path)) else { return openings };
    for _ in 0..FRAMES {
        let Ok(Some(frame)) = timeline.next_frame() else { break };
        if let Packet::Tcp(segment) = decoder.decode(&frame)
            && segment.flags.syn()
        {
            let Segment { mark, direction, ttl, .. } = segment;
            let ack = if segment.flags.ack() { segment.ack } else { 0 };
            let stamp = segment.options.timestamp.map(|(value, _)| value);
            let key = (segment.seq, ack, stamp.ok_or((segment.src, segment.dst)));
            openings.entry(key).or_insert(Seen { at: mark.at, direction, ttl });
        }
    }
    openings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: i64, direction: Direction, ttl: u8) -> Seen {
        Seen { at: Timestamp(at), direction, ttl }
    }

    #[test]
    fn what_one_host_sent_and_another_got_was_captured_at_two_places() {
        use Direction::{Inbound, Outbound, Unknown};
        let sent = seen(0, Outbound, 64);
        assert!(sent.is_elsewhere(&seen(40_000, Inbound, 64)));
        assert!(seen(40_000, Inbound, 63).is_elsewhere(&sent));
        assert!(sent.is_elsewhere(&seen(40_000, Unknown, 63)), "behind a router");
        // Two interfaces of a host that passes it on, two captures of one host, and a file that continues another.
        assert!(!seen(0, Inbound, 64).is_elsewhere(&seen(20_000, Outbound, 63)));
        assert!(!seen(0, Unknown, 64).is_elsewhere(&seen(20_000, Unknown, 63)));
        assert!(!sent.is_elsewhere(&sent));
        // Longer than any host takes.
        assert!(seen(0, Unknown, 64).is_elsewhere(&seen(700_000_000, Unknown, 64)));
    }
}
