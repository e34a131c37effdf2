//! Who may take how much of `--max-memory`.
//!
//! ```text
//! the program, its tables | kernel's buffers | queue to the analysis | evidence | connections | findings
//!    32 MiB, 64 MiB            a quarter            an eighth           7/32         1/3          2/3
//!                                                                                     of what is left
//! ```
//!
//! Shares are of what the program itself leaves. A part that needs less than its share takes what it
//! needs, and the rest is for connections.

use super::evidence;

const MIB: u64 = 1 << 20;

/// The least that `--max-memory` can be: with less, every share is so small that most of the traffic
/// would be left out.
pub const MEMORY_MIN: u64 = 160 * MIB;
/// What the program takes without a packet: its code, tables, libraries and stacks. Measured: 31 MiB as
/// built for tests, 20 MiB as released.
const PROGRAM: u64 = 32 * MIB;
/// What tables of fixed bounds come to that do not depend on how many connections there are at once: what
/// health checks are recognised by, twice, as early verdicts have their own; legs; other connections to
/// judge by; and what the allocator keeps of it. Measured with floods of one request each on 8 000 connections.
const TABLES: u64 = 64 * MIB;
/// Memory that the kernel keeps packets in for us, of each interface, when nothing is said.
const RING: u64 = 16 * MIB;
/// Less than this holds a few packets only: they have up to 64 KiB where the kernel puts them together.
const RING_MIN: u64 = MIB;
/// Packets that wait for the analysis at most, bytes.
const QUEUE: u64 = 64 * MIB;
/// Bytes that a finding takes in the report, with its request, evidence and texts; an estimate.
const FINDING: u64 = 4096;
/// Bytes that a connection takes in the list of a report; an estimate.
const FLOW: u64 = 1536;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    /// Interfaces captured on.
    pub(super) interfaces: usize,
    /// The kernel's buffer of each, bytes, where the user says.
    pub(super) ring: Option<u64>,
    /// Evidence is written.
    pub(super) evidence: bool,
    /// Memory to look back, where only what failed is written, bytes.
    pub(super) look_back: Option<u64>,
}

/// What each may take, bytes where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// The kernel's buffer of each interface.
    pub(super) ring: u64,
    /// Packets on their way to the analysis.
    pub(super) queue: u64,
    /// Packets on their way to the evidence; as many are being written meanwhile.
    pub(super) evidence: u64,
    /// What came before a failure.
    pub(super) look_back: u64,
    /// Packets of an evidence file that can be put in order when it is complete.
    pub(super) sorted: usize,
    /// Connections that are followed, and what they wait for.
    pub(super) connections: Option<u64>,
    /// Findings in the report.
    pub(super) findings: Option<usize>,
    /// Connections listed in the report.
    pub(super) flows: Option<usize>,
}

impl Shares {
    /// Divides `max`. `Err`: the least that is needed.
    pub(super) fn divide(max: Option<u64>, wishes: Wishes) -> Result<Shares, u64> {
        let interfaces = (wishes.interfaces as u64).max(1);
        let wanted = wishes.ring.unwrap_or(RING);
        let look_back = wishes.look_back.unwrap_or(0);
        let Some(max) = max else {
            return Ok(Shares {
                ring: wanted,
                queue: QUEUE,
                evidence: evidence::QUEUE,
                look_back,
                sorted: evidence::SORTED_MAX,
                connections: None,
                findings: None,
                flows: None,
            });
        };
        let needed = MEMORY_MIN.max(PROGRAM + TABLES + 4 * interfaces * RING_MIN);
        if max < needed {
            return Err(needed);
        }
        let all = max - PROGRAM - TABLES;
        let ring = wanted.min(all / 4 / interfaces);
        let queue = QUEUE.min(all / 8);
        let (evidence, look_back, sorted) = match wishes.evidence {
            true => (evidence::QUEUE.min(all / 32), look_back.min(all / 8), all / 32 / SORTED),
            false => (0, 0, 0),
        };
        let taken = ring * interfaces + queue + 2 * evidence + look_back + sorted * SORTED;
        // What else grows, and what the allocator cannot give out again, gets twice as much.
        let third = all.saturating_sub(taken) / 3;
        Ok(Shares {
            ring,
            queue,
            evidence,
            look_back,
            sorted: usize::try_from(sorted).unwrap_or(usize::MAX).min(evidence::SORTED_MAX),
            connections: Some(third),
            findings: usize::try_from(third / 2 / FINDING).ok(),
            flows: usize::try_from(third / 2 / FLOW).ok(),
        })
    }

    /// What to say when less is taken than asked for.
    pub(super) fn less_than(&self, wishes: &Wishes) -> Option<String> {
        let lowered = [
            ("--buffer-size", wishes.ring, self.ring),
            ("--look-back", wishes.look_back, self.look_back),
        ];
        let lowered: Vec<String> = lowered
            .into_iter()
            .filter(|(_, wished, got)| wished.is_some_and(|wished| wished > *got))
            .map(|(name, _, got)| format!("{name} is {} MiB", got >> 20))
            .collect();
        (!lowered.is_empty()).then(|| format!("within --max-memory, {}", lowered.join(" and ")))
    }
}

/// Bytes for each packet that is to be put in order.
const SORTED: u64 = 24;

/// Of `--max-memory`, so much is in use when connections begin to be left out, in sixteenths: what a
/// step does takes a while, and memory that is given back to the allocator stays in use.
const FULL: u64 = 12;

/// Whether so much memory is too much.
pub(super) fn is_full(used: u64, max: u64) -> bool {
    used > max / 16 * FULL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(shares: &Shares, interfaces: u64) -> u64 {
        PROGRAM
            + TABLES
            + shares.ring * interfaces
            + shares.queue
            + 2 * shares.evidence
            + shares.look_back
            + shares.sorted as u64 * SORTED
            + 3 * shares.connections.unwrap()
    }

    #[test]
    fn shares_come_to_no_more_than_the_limit() {
        for mib in [160, 161, 200, 256, 512, 1024, 65_536] {
            for interfaces in [1, 2, 8] {
                for (evidence, look_back) in [(false, None), (true, None), (true, Some(64 << 20))] {
                    let wishes = Wishes { interfaces, ring: None, evidence, look_back };
                    let shares = Shares::divide(Some(mib * MIB), wishes).unwrap();
                    assert!(sum(&shares, interfaces as u64) <= mib * MIB, "{mib} {shares:?}");
                    assert!(shares.ring >= RING_MIN && shares.queue >= 8 * MIB, "{shares:?}");
                    assert!(shares.connections.unwrap() >= 4 * MIB, "{mib} {shares:?}");
                }
            }
        }
    }

    #[test]
    fn with_the_usual_limit_nothing_is_less_than_without_one() {
        let wishes =
            Wishes { interfaces: 2, ring: None, evidence: true, look_back: Some(64_000_000) };
        let limited = Shares::divide(Some(1024 * MIB), wishes).unwrap();
        let free = Shares::divide(None, wishes).unwrap();
        let same = Shares { connections: None, findings: None, flows: None, ..limited };
        assert_eq!(same, free);
    }

    #[test]
    fn many_interfaces_need_more() {
        let many = Wishes { interfaces: 64, ..Wishes::default() };
        let needed = Shares::divide(Some(MEMORY_MIN), many).unwrap_err();
        assert_eq!(needed, 352 * MIB);
        assert_eq!(Shares::divide(Some(needed), many).unwrap().ring, RING_MIN);
        assert_eq!(Shares::divide(Some(MEMORY_MIN - 1), Wishes::default()), Err(MEMORY_MIN));
    }
}
