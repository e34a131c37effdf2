//! One reading of the host: plain data, as the kernel gives it.

use super::census::Census;
use super::counters::Counters;
use crate::time::Timestamp;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// A fact, or why it cannot be seen.
pub type Seen<T> = Result<T, String>;

/// Listening sockets that are kept; further ones are counted only. A host has tens, one that
/// listens on every port has 65 535.
pub const LISTENERS_MAX: usize = 10_000;
/// Processes named for one listening socket: the oldest, which is the one that opened it, and the
/// first of its workers. Further ones are counted only.
pub const OWNERS_MAX: usize = 8;

/// What one reading found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When it was read, by the clock of the host.
    pub at: Timestamp,
    /// When the host was started.
    pub booted: Option<Timestamp>,
    /// The network namespace, as `/proc/self/ns/net` names it.
    pub namespace: Option<String>,
    /// Sockets that listen, by port and address.
    pub listeners: Seen<Vec<Listener>>,
    /// Sockets that listen and are not in the list.
    pub listeners_left_out: u64,
    /// Sockets by state and destination.
    pub census: Seen<Census>,
    /// Counters of an earlier reading.
    pub before: Seen<Counters>,
    /// Counters now.
    pub counters: Seen<Counters>,
    /// Seconds between the two.
    pub between: f64,
    /// Limits of the kernel.
    pub limits: Limits,
    /// The table of connection tracking; `None` where nothing is tracked.
    pub conntrack: Seen<Option<Conntrack>>,
    /// Processes killed for want of memory since the start of the host.
    pub oom_kills: Seen<u64>,
    /// Open files of the whole host, and how many there may be.
    pub files: Seen<(u64, u64)>,
    /// Tables of iptables that hold rules, such as `filter` and `nat`.
    pub firewall: Seen<Vec<String>>,
}

/// A socket that listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Address on which it listens; unspecified: on all.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Whether an IPv6 socket takes IPv6 only; `None` where the kernel did not say.
    pub v6_only: Option<bool>,
    /// Connections that are established and wait to be accepted.
    pub waiting: u32,
    /// How many may wait: the smaller of what the program asked for and of `somaxconn` at that time.
    /// The kernel takes one more.
    pub backlog: Option<u32>,
    /// Who opened it.
    pub uid: u32,
    /// Its inode: a new one with each new socket.
    pub inode: u64,
    /// Processes that hold it, the oldest first.
    pub owners: Seen<Vec<Process>>,
    /// Processes that hold it and are not in the list.
    pub owners_left_out: usize,
}

impl Listener {
    /// Whether the accept queue takes no further connection (`sk_acceptq_is_full` of the kernel).
    pub fn is_full(&self) -> bool {
        self.backlog.is_some_and(|backlog| self.waiting > backlog)
    }

    /// Whether a connection to `address` would reach it.
    pub fn takes(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match self.address.to_canonical() {
            own if own == address => true,
            IpAddr::V4(own) => own.is_unspecified() && address.is_ipv4(),
            IpAddr::V6(own) => {
                own.is_unspecified() && (address.is_ipv6() || self.v6_only != Some(true))
            }
        }
    }
}

/// A process that holds a listening socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its name, at most 15 bytes (`comm`).
    pub name: String,
    /// Its command line, cut.
    pub command: String,
    /// Name or number of its user.
    pub user: String,
    /// State letter of `/proc/PID/stat`: `R` running, `S` sleeping, `D` waiting for a device,
    /// `T` stopped, `Z` dead and not yet waited for.
    pub state: char,
    /// Ticks of the kernel from the start of the host to its own: with its number they name one
    /// process for ever.
    pub birth: u64,
    /// When it was started.
    pub started: Timestamp,
    /// Open files.
    pub files: Seen<u64>,
    /// How many it may open; `None`: any number.
    pub files_max: Seen<Option<u64>>,
    /// Memory of its control group.
    pub memory: Seen<GroupMemory>,
}

/// A process that runs, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    /// As [`Process::birth`].
    pub birth: u64,
    /// State letter.
    pub state: char,
    /// Open files, where they can be counted.
    pub files: Option<u64>,
}

/// Memory of a control group that has a limit, or of one without.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupMemory {
    /// The group, as `/proc/PID/cgroup` names it.
    pub group: String,
    /// Bytes that cannot be given back at once: in use, without files that were read and lie idle.
    pub used: Option<u64>,
    /// Bytes that it may use; `None`: any number.
    pub limit: Option<u64>,
    /// Processes of it that were killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// Limits of the kernel.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest accept queue that a program can ask for.
    pub somaxconn: Option<u64>,
    /// Ports for connections that this host opens.
    pub ephemeral: Seen<RangeInclusive<u16>>,
    /// How many ports of that range are reserved.
    pub reserved: u64,
    /// Sockets in TIME_WAIT that the kernel keeps; it drops further ones at once.
    pub time_wait_max: Option<u64>,
    /// Whether a port in TIME_WAIT is used again for connections to the same place: 0 never,
    /// 1 always, 2 on loopback.
    pub time_wait_reuse: Option<u64>,
}

impl Limits {
    /// Ports that connections to one place can have.
    pub fn ephemeral_ports(&self) -> Option<u64> {
        let range = self.ephemeral.as_ref().ok()?;
        let all = u64::from(*range.end()).saturating_sub(u64::from(*range.start())) + 1;
        Some(all.saturating_sub(self.reserved).max(1))
    }
}

/// The table of connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections in it.
    pub count: u64,
    /// How many it takes.
    pub max: u64,
    /// Packets dropped because it was full, since the start.
    pub dropped: Option<u64>,
    /// Connections that could not be entered, since the start.
    pub insert_failed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(address: &str, v6_only: Option<bool>) -> Listener {
        Listener {
            address: address.parse().unwrap(),
            port: 80,
            v6_only,
            waiting: 0,
            backlog: Some(2),
            uid: 0,
            inode: 1,
            owners: Ok(Vec::new()),
            owners_left_out: 0,
        }
    }

    #[test]
    fn a_listener_takes_what_is_sent_to_its_address() {
        let to = |listener: &Listener, address: &str| listener.takes(address.parse().unwrap());
        assert!(to(&on("0.0.0.0", None), "10.0.0.1") && !to(&on("0.0.0.0", None), "fd00::1"));
        assert!(to(&on("::", Some(false)), "10.0.0.1") && to(&on("::", Some(false)), "fd00::1"));
        assert!(!to(&on("::", Some(true)), "10.0.0.1") && to(&on("::", Some(true)), "fd00::1"));
        assert!(!to(&on("127.0.0.1", None), "10.0.0.1") && to(&on("127.0.0.1", None), "127.0.0.1"));
        assert!(to(&on("::ffff:10.0.0.1", None), "10.0.0.1"));
    }

    #[test]
    fn the_queue_is_full_one_above_the_backlog() {
        assert!(!Listener { waiting: 2, ..on("::", None) }.is_full());
        assert!(Listener { waiting: 3, ..on("::", None) }.is_full());
        assert!(!Listener { waiting: 3, backlog: None, ..on("::", None) }.is_full());
    }

    #[test]
    fn a_range_of_one_port_has_one() {
        let limits = |range, reserved| Limits {
            somaxconn: None,
            ephemeral: Ok(range),
            reserved,
            time_wait_max: None,
            time_wait_reuse: None,
        };
        assert_eq!(limits(40_000..=40_000, 0).ephemeral_ports(), Some(1));
        assert_eq!(limits(32_768..=60_999, 2).ephemeral_ports(), Some(28_230));
    }
}
