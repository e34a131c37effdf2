//! Which packets are kept when only those of flows that failed are wanted.

use super::look_back::{LookBack, Taken};
use super::queue::{Packet, Remark};
use crate::time::Timestamp;
use hashbrown::HashSet;
use std::collections::VecDeque;

/// Packets of a failed flow are kept for so long after its end, nanoseconds: the ACKs and RSTs that
/// answer it.
const LINGER: i64 = 5_000_000_000;
/// Failed flows that are followed at the same time; of further ones only the look-back is kept.
const FOLLOWED_MAX: usize = 1 << 16;
/// Flows remembered as over, in case their verdict comes later than their end, and as many that
/// have failed, in case that is told again.
const REMEMBERED_MAX: usize = 1 << 16;

/// The flows of which something was said last.
#[derive(Debug, Default)]
struct Recent {
    flows: HashSet<u64>,
    in_order: VecDeque<u64>,
}

impl Recent {
    /// Remembers a flow; `false` if it had been remembered.
    fn add(&mut self, flow: u64) -> bool {
        if !self.flows.insert(flow) {
            return false;
        }
        self.in_order.push_back(flow);
        if self.in_order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.flows.remove(&oldest);
        }
        true
    }
}

/// The flows of which packets are kept.
#[derive(Debug)]
pub(super) struct Keeper {
    look_back: LookBack,
    followed: HashSet<u64>,
    /// Followed flows that are over, and until when their packets are kept, in its order.
    ending: VecDeque<(Timestamp, u64)>,
    over: Recent,
    failed: Recent,
    newest: Timestamp,
    /// Failed flows of which only the look-back was kept.
    not_followed: u64,
}

impl Keeper {
    /// Looks back over at most so many bytes.
    pub(super) fn new(look_back: usize) -> Keeper {
        Keeper {
            look_back: LookBack::new(look_back),
            followed: HashSet::new(),
            ending: VecDeque::new(),
            over: Recent::default(),
            failed: Recent::default(),
            newest: Timestamp::default(),
            not_followed: 0,
        }
    }

    /// Whether a packet is to be written at once; if not, it is held in case its flow fails.
    pub(super) fn wants(&mut self, packet: Packet, bytes: &[u8]) -> bool {
        self.newest = self.newest.max(packet.at);
        while let Some((until, flow)) = self.ending.front().copied()
            && until < self.newest
        {
            self.followed.remove(&flow);
            self.ending.pop_front();
        }
        let Some(flow) = packet.flow else { return false };
        let is_followed = self.followed.contains(&flow);
        if !is_followed {
            self.look_back.hold(flow, packet, bytes);
        }
        is_followed
    }

    /// A flow has failed: gives out its packets so far, each with its comments, and keeps what
    /// follows. `None` when that had been said before.
    pub(super) fn failed(
        &mut self,
        flow: u64,
        mut remarks: Vec<Remark>,
        mut each: impl FnMut(&Packet, &[u8], &[String]),
    ) -> Option<Taken> {
        if !self.failed.add(flow) {
            return None;
        }
        if self.followed.len() < FOLLOWED_MAX {
            self.followed.insert(flow);
            if self.over.flows.contains(&flow) {
                self.end(flow);
            }
        } else {
            self.not_followed += 1;
        }
        Some(self.look_back.take(flow, |packet, bytes| {
            let comments: Vec<String> = remarks
                .extract_if(.., |remark| remark.at == packet.at)
                .map(|remark| remark.text)
                .collect();
            each(packet, bytes, &comments);
        }))
    }

    /// A flow is over.
    pub(super) fn over(&mut self, flow: u64) {
        if self.followed.contains(&flow) {
            self.end(flow);
        }
        self.over.add(flow);
    }

    fn end(&mut self, flow: u64) {
        self.ending.push_back((self.newest.after(LINGER), flow));
    }

    /// Bytes in use for looking back, and packets that left it before anybody asked for them.
    pub(super) fn look_back(&self) -> (u64, u64) {
        (self.look_back.used() as u64, self.look_back.evicted())
    }

    /// Failed flows of which only the look-back was kept.
    pub(super) fn not_followed(&self) -> u64 {
        self.not_followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Direction;

    const SECOND: i64 = 1_000_000_000;

    fn packet(flow: Option<u64>, at: i64) -> Packet {
        let direction = Direction::Unknown;
        Packet { interface: 0, at: Timestamp(at), wire_len: 1, len: 1, flow, direction }
    }

    #[test]
    fn a_failed_flow_is_kept_from_its_beginning_to_some_seconds_after_its_end() {
        let mut keeper = Keeper::new(10_000);
        assert!(!keeper.wants(packet(Some(1), 0), b"a"));
        assert!(!keeper.wants(packet(Some(2), 1), b"b"));
        assert!(!keeper.wants(packet(None, 1), b"x"));
        let remark = |at, text: &str| Remark { at: Timestamp(at), text: text.to_owned() };
        let mut seen = Vec::new();
        let remarks = vec![remark(0, "guilty"), remark(0, "proof"), remark(9, "another")];
        let taken = keeper.failed(1, remarks, |packet, bytes, comments| {
            seen.push((packet.at.0, bytes.to_vec(), comments.to_vec()));
        });
        assert_eq!(taken, Some(Taken { packets: 1, is_incomplete: false }));
        assert_eq!(seen, [(0, b"a".to_vec(), vec!["guilty".to_owned(), "proof".to_owned()])]);
        assert_eq!(keeper.failed(1, vec![], |_, _, _| panic!("told twice")), None);
        assert!(keeper.wants(packet(Some(1), SECOND), b"c"));
        assert!(!keeper.wants(packet(Some(2), SECOND), b"d"));
        keeper.over(1);
        assert!(keeper.wants(packet(Some(1), 6 * SECOND), b"e"));
        assert!(!keeper.wants(packet(Some(1), 7 * SECOND), b"f"));
        assert_eq!(keeper.failed(1, vec![], |_, _, _| panic!("told again at the end")), None);
        assert!(keeper.followed.is_empty() && keeper.ending.is_empty());
    }

    #[test]
    fn a_verdict_that_comes_after_the_end_follows_no_longer_than_that() {
        let mut keeper = Keeper::new(10_000);
        keeper.wants(packet(Some(1), 0), b"a");
        keeper.over(1);
        let mut packets = 0;
        keeper.failed(1, vec![], |_, _, _| packets += 1);
        assert_eq!(packets, 1);
        assert!(!keeper.wants(packet(Some(1), 6 * SECOND), b"b"));
        assert!(keeper.followed.is_empty());
    }

    #[test]
    fn what_is_remembered_of_flows_has_bounds() {
        let mut keeper = Keeper::new(10_000);
        for flow in 0..=(REMEMBERED_MAX as u64) {
            keeper.over(flow);
        }
        let over = &keeper.over;
        assert_eq!((over.flows.len(), over.in_order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        for flow in 0..=(FOLLOWED_MAX as u64) {
            keeper.failed(1_000_000 + flow, vec![], |_, _, _| ());
        }
        assert_eq!((keeper.followed.len(), keeper.not_followed()), (FOLLOWED_MAX, 1));
    }
}
