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

    /// Whether the two were captured at two places: one sent it, and the other got it, or somebody between them counted
    /// down; or so much time lies between them as no host takes to pass a packet on, or as only two clocks differ.
    fn is_elsewhere(&self, other: &Seen) -> bool {
        const PASSED_ON: i64 = 1_000_000;
        // Who forwards counts down.
        let got = |sent: &Seen, it: &Seen| {
            sent.is_sent() && (it.direction == Direction::Inbound || it.ttl < sent.ttl)
        };
        let routed = self.ttl != other.ttl && self.lacks_direction(other);
        let apart = other.at.nanos_since(self.at).abs();
        got(self, other) || got(other, self) || routed || apart > PASSED_ON
    }

    fn lacks_direction(&self, other: &Seen) -> bool {
        [self, other].iter().any(|it| it.direction == Direction::Unknown)
    }
}

/// Whether packets take some time from one of two captures to the other, and back, by the medians of SYNs and of the
/// answers to them: what clocks differ cancels out. Each is whether it answers, and both copies of it.
///
/// Two captures on one interface have a packet that came at one time, and one that leaves within a few microseconds.
fn lie_apart(pairs: &[(bool, Seen, Seen)]) -> bool {
    /// Between the two ends of a virtual cable 10 microseconds and more.
    const ROUND_TRIP: i64 = 6_000;
    let later = |answers: bool| {
        let of = pairs
            .iter()
            .filter(|(answer, here, there)| *answer == answers && here.lacks_direction(there));
        let mut later: Vec<i64> =
            of.map(|(_, here, there)| there.at.nanos_since(here.at)).collect();
        later.sort_unstable();
        (later.len() >= ENOUGH).then(|| later[later.len() / 2])
    };
    later(false).zip(later(true)).is_some_and(|(there, back)| (there - back).abs() >= ROUND_TRIP)
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
    let both = here.iter().filter_map(|(key, seen)| Some((key.1 > 0, *seen, *there.get(key)?)));
    let both: Vec<(bool, Seen, Seen)> = both.collect();
    let elsewhere: Vec<bool> =
        both.iter().map(|(_, here, there)| here.is_elsewhere(there)).collect();
    let apart = elsewhere.iter().filter(|it| **it).count();
    // On one host there are hardly any. On two, not all show it.
    let two = (apart >= ENOUGH && apart * 3 > elsewhere.len()) || lie_apart(&both);
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
        assert!(seen(0, Unknown, 64).is_elsewhere(&seen(20_000, Unknown, 63)));
        // Two interfaces of a host that says so, and two captures of one.
        assert!(!seen(0, Inbound, 64).is_elsewhere(&seen(20_000, Outbound, 63)));
        assert!(!seen(0, Unknown, 64).is_elsewhere(&seen(4_000, Unknown, 64)));
        assert!(!sent.is_elsewhere(&sent));
        // Longer than any host takes.
        assert!(seen(0, Unknown, 64).is_elsewhere(&seen(700_000_000, Unknown, 64)));
    }

    #[test]
    fn what_takes_time_there_and_back_lies_apart() {
        let apart = |there: i64, back: i64, direction| {
            let pair = |n: i64| {
                let later = if n % 2 == 0 { there } else { back };
                (n % 2 == 1, seen(n, direction, 64), seen(n + later, direction, 64))
            };
            lie_apart(&(0..6).map(pair).collect::<Vec<_>>())
        };
        let unknown = Direction::Unknown;
        // The two ends of a cable in one machine, also by clocks that differ.
        assert!(apart(11_000, -2_000, unknown) && apart(911_000, 898_000, unknown));
        // Two captures of one interface: what it sends has two times.
        assert!(!apart(-3_000, 0, unknown) && !apart(4_000, 1_000, unknown));
        // Where directions are told, they decide.
        assert!(!apart(11_000, -2_000, Direction::Inbound));
    }
}
