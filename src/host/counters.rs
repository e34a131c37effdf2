//! Counters of the kernel that explain failures, from `/proc/net/netstat` and `/proc/net/snmp`.
//!
//! They count for the whole network namespace since it was made, for every port together.

use std::collections::BTreeMap;

/// A counter that explains something.
#[derive(Debug, PartialEq, Eq)]
pub struct Counter {
    /// Group and name, as the kernel writes them.
    pub group: &'static str,
    /// Name.
    pub name: &'static str,
    /// What one more of it means.
    pub means: &'static str,
    /// What it says when it moves.
    pub kind: Kind,
}

/// What a counter tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections did not reach the program.
    Overflow,
    /// The kernel ran out of memory for TCP.
    Memory,
    /// Something that also happens on hosts that are well.
    Usual,
}

const fn counter(
    group: &'static str,
    name: &'static str,
    kind: Kind,
    means: &'static str,
) -> Counter {
    Counter { group, name, means, kind }
}

/// What is read of the many that there are. Meanings: Documentation/networking/snmp_counter.rst of the kernel.
pub const COUNTERS: &[Counter] = &[
    counter("TcpExt", "ListenOverflows", Kind::Overflow, "a connection met a full accept queue"),
    counter("TcpExt", "ListenDrops", Kind::Overflow, "a SYN or a finished handshake was dropped"),
    counter(
        "TcpExt",
        "TCPReqQFullDrop",
        Kind::Overflow,
        "the queue of half-open connections was full: SYN dropped",
    ),
    counter(
        "TcpExt",
        "TCPReqQFullDoCookies",
        Kind::Overflow,
        "the queue of half-open connections was full: SYN cookie sent",
    ),
    counter(
        "TcpExt",
        "TCPBacklogDrop",
        Kind::Overflow,
        "a socket's backlog was full: packet dropped",
    ),
    counter(
        "TcpExt",
        "TCPAbortOnMemory",
        Kind::Memory,
        "a connection was reset for want of memory",
    ),
    counter("TcpExt", "TCPMemoryPressures", Kind::Memory, "TCP came under memory pressure"),
    counter("TcpExt", "RcvPruned", Kind::Usual, "received data was thrown away for want of buffer"),
    counter(
        "TcpExt",
        "TCPRcvQDrop",
        Kind::Usual,
        "a packet was dropped: no room in the receive queue",
    ),
    counter(
        "TcpExt",
        "TCPTimeWaitOverflow",
        Kind::Memory,
        "there were too many sockets in TIME_WAIT",
    ),
    counter(
        "TcpExt",
        "TCPAbortOnData",
        Kind::Usual,
        "a RST was sent: data came for a socket that was closed or closed with linger 0",
    ),
    counter(
        "TcpExt",
        "TCPAbortOnClose",
        Kind::Usual,
        "a RST was sent: the program closed with data unread",
    ),
    counter(
        "TcpExt",
        "TCPAbortOnTimeout",
        Kind::Usual,
        "a connection was given up after retransmissions without answer",
    ),
    counter("TcpExt", "TCPAbortOnLinger", Kind::Usual, "a connection was cut in its linger time"),
    counter("TcpExt", "TCPTimeouts", Kind::Usual, "a retransmission timer ran out"),
    counter("TcpExt", "PAWSActive", Kind::Usual, "a SYN was refused for its timestamp"),
    counter("Tcp", "AttemptFails", Kind::Usual, "an attempt to connect failed, of either side"),
    counter("Tcp", "EstabResets", Kind::Usual, "an established connection was reset"),
    counter("Tcp", "OutRsts", Kind::Usual, "a RST was sent"),
    counter("Tcp", "RetransSegs", Kind::Usual, "a segment was sent again"),
];

/// One reading of them, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    /// Reads the texts of `/proc/net/netstat` and `/proc/net/snmp`. Counters that a kernel does not
    /// have are left out.
    pub fn parse(netstat: &str, snmp: &str) -> Counters {
        let mut found = BTreeMap::new();
        for text in [netstat, snmp] {
            let mut lines = text.lines();
            while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
                read_group(names, values, &mut found);
            }
        }
        Counters(found)
    }

    /// The value of a counter.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// By how much a counter has grown since `before`.
    pub fn grown(&self, before: &Counters, name: &str) -> Option<u64> {
        Some(self.get(name)?.saturating_sub(before.get(name)?))
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, value)| (*name, *value))
    }
}

/// A line of names and the line of values below it, both behind the name of the group.
fn read_group(names: &str, values: &str, found: &mut BTreeMap<&'static str, u64>) {
    let (Some((group, names)), Some((same, values))) =
        (names.split_once(':'), values.split_once(':'))
    else {
        return;
    };
    if group != same {
        return;
    }
    for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
        let known = COUNTERS.iter().find(|known| known.group == group && known.name == name);
        if let (Some(known), Ok(value)) = (known, value.parse()) {
            found.insert(known.name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETSTAT: &str = "\
TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPAbortOnData NotKnown
TcpExt: 1 37 40 18041 5
IpExt: InNoRoutes ListenOverflows
IpExt: 3 9
";
    const SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm MaxConn OutRsts RetransSegs
Tcp: 1 -1 42 7
";

    #[test]
    fn counters_are_found_by_group_and_name() {
        let counters = Counters::parse(NETSTAT, SNMP);
        assert_eq!(counters.get("ListenOverflows"), Some(37));
        assert_eq!(counters.get("TCPAbortOnData"), Some(18_041));
        assert_eq!(counters.get("OutRsts"), Some(42));
        assert_eq!(counters.get("NotKnown"), None);
        assert_eq!(counters.get("TCPTimeouts"), None, "this kernel does not have it");
        assert_eq!(counters.iter().count(), 5);
    }

    #[test]
    fn growth_needs_both_readings_and_is_never_negative() {
        let before = Counters::parse(NETSTAT, "");
        let now = Counters::parse(&NETSTAT.replace(" 37 40 ", " 39 1 "), SNMP);
        assert_eq!(now.grown(&before, "ListenOverflows"), Some(2));
        assert_eq!(now.grown(&before, "ListenDrops"), Some(0));
        assert_eq!(now.grown(&before, "OutRsts"), None);
    }

    #[test]
    fn odd_text_gives_no_counters() {
        for text in ["", "TcpExt:", "TcpExt: ListenDrops\nTcp: 3\n", "no colon\nnor here\n"] {
            assert_eq!(Counters::parse(text, text), Counters::default(), "{text}");
        }
    }
}
