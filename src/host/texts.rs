//! Every sentence about the host, in one place.

use super::census::{Outgoing, State, States};
use super::event::{Event, Happening};
use super::facts::{Conntrack, GroupMemory, Limits, Listener, Process};
use crate::report::words::{count, plural, seconds};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Ports named where nothing listens on the one asked for.
const PORTS_NAMED: usize = 8;

/// `nginx (pid 812)`.
pub fn process(process: &Process) -> String {
    format!("{} (pid {})", process.name, process.pid)
}

fn processes(n: u64) -> String {
    format!("{} process{}", count(n), if n == 1 { "" } else { "es" })
}

fn someone(who: Option<&Process>) -> String {
    who.map_or_else(|| "a process that cannot be named".to_owned(), process)
}

/// What became of who listened.
fn ended(who: Option<&Process>, has_ended: bool) -> String {
    match who {
        Some(who) if has_ended => format!("; {} has ended", process(who)),
        Some(who) => format!("; {} closed it and still runs", process(who)),
        None => String::new(),
    }
}

fn counts(grown: &[(&'static str, u64)]) -> String {
    let parts: Vec<_> = grown.iter().map(|(name, by)| format!("{name} +{}", count(*by))).collect();
    parts.join(", ")
}

/// Time of day, UTC.
pub fn clock(at: Timestamp) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(at.0)) {
        Ok(at) => at.strftime("%H:%M:%S UTC").to_string(),
        Err(_) => at.to_string(),
    }
}

/// What happened, without when.
pub(super) fn event(event: &Event) -> String {
    let port = event.port.map_or_else(String::new, |port| format!("port {port}"));
    match &event.what {
        Happening::Gone { who, ended: has_ended } => {
            format!("nothing listens on {port} any more{}", ended(who.as_deref(), *has_ended))
        }
        Happening::Listens { who } => format!("{} listens on {port}", someone(who.as_deref())),
        Happening::Restarted { before, now } => format!(
            "{} listens on {port} in place of {}",
            someone(now.as_deref()),
            someone(before.as_deref())
        ),
        Happening::Ended { who, left } => {
            format!("{}, which held {port}, has ended; {left} others hold it", process(who))
        }
        Happening::Stopped { who } => {
            format!("{} was stopped: {port} answers nothing until it gets SIGCONT", process(who))
        }
        Happening::Continued { who } => format!("{} runs again", process(who)),
        Happening::QueueFull { waiting, backlog } => format!(
            "the accept queue of {port} is full: {} connections wait, {} may",
            count((*waiting).into()),
            count((*backlog).into())
        ),
        Happening::QueueFree => format!("the accept queue of {port} has room again"),
        Happening::FilesFull { who, files } => format!(
            "{} has {} files open, as many as it may, and accepts no further connection on {port}",
            process(who),
            count(*files)
        ),
        Happening::FilesFree { who } => format!("{} may open files again", process(who)),
        Happening::Counted { grown } => format!("{} (of all ports together)", counts(grown)),
        Happening::OomKills { killed } => {
            format!("{} killed for want of memory", processes(*killed))
        }
        Happening::PortsOut { outgoing: one, ports } => {
            format!("hardly a port is left: {}", outgoing(one, *ports))
        }
    }
}

/// How long ago, in words: `3 d 4 h`.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let passed = now.since(then).max(0.0).floor();
    if passed < 1.0 { "less than 1 s".to_owned() } else { seconds(passed).to_string() }
}

/// `10.0.0.5:8080`, `[::]:8080`.
pub fn address(listener: &Listener) -> String {
    std::net::SocketAddr::new(listener.address, listener.port).to_string()
}

pub(super) fn application(process: &Process, more: usize, at: Timestamp) -> String {
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{} (pid {}, user {}){more}, for {}: {}",
        process.name,
        process.pid,
        process.user,
        ago(at, process.started),
        process.command
    )
}

pub(super) fn stopped(one: &Process) -> String {
    format!(
        "{} is stopped (state {}): it answers nothing until it gets SIGCONT",
        process(one),
        one.state
    )
}

pub(super) fn dead(one: &Process) -> String {
    format!("{} has ended and its parent has not noticed (state Z)", process(one))
}

pub(super) fn waits_for_device(one: &Process) -> String {
    format!("{} waits for a disk or another device (state D)", process(one))
}

pub(super) fn young(one: &Process, at: Timestamp) -> String {
    format!("{} was started {} ago: {}", process(one), ago(at, one.started), one.command)
}

pub(super) fn nothing_listens(port: u16, others: &[u16]) -> String {
    let named: Vec<_> = others.iter().take(PORTS_NAMED).map(u16::to_string).collect();
    let others = match others.len() {
        0 => "; no port does".to_owned(),
        n if n > PORTS_NAMED => {
            format!("; {} and {} other ports do", named.join(", "), n - PORTS_NAMED)
        }
        _ => format!("; these ports do: {}", named.join(", ")),
    };
    format!("nothing listens on port {port} in this network namespace{others}")
}

pub(super) const NO_LISTENER: &str = "nothing listens, so there is nothing to look at";

pub(super) fn listens(sockets: &[&Listener]) -> String {
    let mut shown: Vec<String> = sockets.iter().map(|one| address(one)).collect();
    shown.dedup();
    let more = shown.len().saturating_sub(4);
    shown.truncate(4);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "yes: {}{more}{}",
        shown.join(", "),
        match sockets.len() {
            1 => String::new(),
            n => format!(" ({n} sockets)"),
        }
    )
}

pub(super) fn only_loopback(address: IpAddr) -> String {
    format!("only on {address}: connections from other hosts are refused")
}

pub(super) fn only_v6() -> String {
    "every IPv6 address and no IPv4 one (IPV6_V6ONLY): connections over IPv4 are refused".to_owned()
}

pub(super) fn every_address(v4: bool, v6: bool) -> String {
    match (v4, v6) {
        (true, true) => "every address, IPv4 and IPv6".to_owned(),
        _ => "every IPv4 address, no IPv6".to_owned(),
    }
}

pub(super) fn some_addresses(addresses: &[IpAddr]) -> String {
    let shown: Vec<_> = addresses.iter().take(4).map(IpAddr::to_string).collect();
    let more = addresses.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}: connections to other addresses are refused", shown.join(", "))
}

/// The accept queue of one socket.
pub fn queue(listener: &Listener, limits: &Limits) -> String {
    let Some(backlog) = listener.backlog else {
        let waiting = plural(listener.waiting.into(), "connection");
        return format!("{waiting} to accept; how many may wait the kernel does not say here");
    };
    let origin = match limits.somaxconn {
        Some(limit) if limit == u64::from(backlog) => " (somaxconn)",
        _ => "",
    };
    format!(
        "{} of {}{origin} wait to be accepted",
        count(listener.waiting.into()),
        count(backlog.into())
    )
}

pub(super) fn queue_full(listener: &Listener, limits: &Limits) -> String {
    let whose = match listener.owners.as_deref() {
        Ok([first, ..]) => format!(": {} does not accept them", process(first)),
        _ => String::new(),
    };
    format!(
        "the accept queue is full, new connections are dropped: {}{whose}",
        queue(listener, limits)
    )
}

pub(super) fn half_open(states: &States) -> String {
    let n = states.get(State::SynReceived);
    if n == 0 { String::new() } else { format!("; {} half open (SYN_RECV)", count(n)) }
}

pub(super) fn open_files(one: &Process, open: u64, max: Option<u64>) -> String {
    let max = max.map_or_else(|| "any number".to_owned(), |max| count(max).to_string());
    format!("{} has {} of {max} open", process(one), count(open))
}

pub(super) fn files_at_limit(one: &Process, open: u64, max: u64) -> String {
    format!(
        "{} has {} of {} files open and can take no further connection: accept() fails (EMFILE)",
        process(one),
        count(open),
        count(max)
    )
}

pub(super) fn host_files(open: u64, max: u64) -> String {
    if max > i64::MAX as u64 / 2 {
        format!("{} open on this host, without limit", count(open))
    } else {
        format!("{} of {} open on this host", count(open), count(max))
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..=1_048_575 => format!("{} KiB", n >> 10),
        1_048_576..=10_737_418_239 => format!("{} MiB", n >> 20),
        _ => format!("{} GiB", n >> 30),
    }
}

pub(super) fn memory(memory: &GroupMemory) -> String {
    let used = memory.used.map_or_else(|| "an unknown amount".to_owned(), bytes);
    match memory.limit {
        Some(limit) => format!("{used} of {} in use by its control group", bytes(limit)),
        None => format!("{used} in use by its control group, which has no limit"),
    }
}

pub(super) fn group_kills(one: &Process, kills: u64, memory_text: &str) -> String {
    format!(
        "{} killed for want of memory in the control group of {}; {memory_text}",
        processes(kills),
        process(one)
    )
}

pub(super) fn overflows_now(grown: &[(&str, u64, &str)], between: f64) -> String {
    let parts: Vec<_> =
        grown.iter().map(|(name, n, means)| format!("{name} +{} ({means})", count(*n))).collect();
    format!("in the last {} {}", seconds(between), parts.join(", "))
}

pub(super) fn overflows_before(totals: &[(&str, u64)]) -> String {
    let parts: Vec<_> = totals.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
    format!("none in the last second; since the start {}, of all ports together", parts.join(", "))
}

/// `port 80`, `ports 80 and 443`.
fn ports(list: &[u16]) -> String {
    let names: Vec<String> = list.iter().map(u16::to_string).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("ports {} and {last}", rest.join(", ")),
        _ => format!("port {}", names.concat()),
    }
}

/// That queues which overflow are those of these ports: as they are full, or as no other listens.
pub(super) fn overflow_of(of: &[u16], full: bool) -> String {
    match full {
        true => format!("; a queue of {} is full", ports(of)),
        false => format!("; it is {}: no other port listens", ports(of)),
    }
}

/// That they may be those of others.
pub(super) fn overflow_elsewhere(of: &[u16], full: &BTreeSet<u16>) -> String {
    let shown: Vec<u16> = full.iter().copied().take(4).collect();
    match shown.is_empty() {
        true => format!(
            ", of all ports together: no queue is full now, also not that of {}; which port's it was is \
             not counted",
            ports(of)
        ),
        false => format!(
            ", of all ports together: the queue of {} is full, that of {} is not",
            ports(&shown),
            ports(of)
        ),
    }
}

pub(super) const NO_OVERFLOW: &str = "none since the start";

pub(super) fn resets(sent: u64, total: u64, others: &[(&str, u64)]) -> String {
    let parts: Vec<_> = others.iter().map(|(name, n)| format!("{name} +{}", count(*n))).collect();
    let others = if parts.is_empty() {
        String::new()
    } else {
        format!("; moved in it: {}", parts.join(", "))
    };
    format!(
        "{} sent in the last second, {} since the start{others}",
        plural(sent, "RST"),
        count(total)
    )
}

/// Ports towards one destination.
pub fn outgoing(one: &Outgoing, ports: u64) -> String {
    let waiting = match one.time_wait {
        0 => String::new(),
        n => format!(", {} of them in TIME_WAIT", count(n)),
    };
    let percent = one.used.saturating_mul(100) / ports.max(1);
    format!(
        "{} of {} ({percent} %) used from {} to {}{waiting}",
        count(one.used),
        count(ports),
        one.source,
        one.destination
    )
}

pub(super) fn ports_exhausted(one: &Outgoing, ports: u64) -> String {
    format!(
        "no port is left for connections to {}, they fail (EADDRNOTAVAIL): {}",
        one.destination,
        outgoing(one, ports)
    )
}

pub(super) const NO_OUTGOING: &str = "no connection of this host uses one";

pub(super) fn time_wait(n: u64, max: Option<u64>) -> String {
    match max {
        Some(max) => format!("{} of {} sockets", count(n), count(max)),
        None => plural(n, "socket").to_string(),
    }
}

pub(super) fn conntrack(table: &Conntrack) -> String {
    let lost = [("dropped", table.dropped), ("not entered", table.insert_failed)];
    let lost: Vec<_> = lost
        .into_iter()
        .filter_map(|(word, n)| {
            n.filter(|n| *n > 0).map(|n| format!("{} {word} since the start", count(n)))
        })
        .collect();
    let lost = if lost.is_empty() { String::new() } else { format!("; {}", lost.join(", ")) };
    match table.max {
        0 => format!("{} in the table, which has no limit{lost}", count(table.count)),
        max => format!("{} of {} in the table{lost}", count(table.count), count(max)),
    }
}

pub(super) fn conntrack_full(table: &Conntrack) -> String {
    format!("the table is full, packets of new connections are dropped: {}", conntrack(table))
}

pub(super) const NO_CONNTRACK: &str = "no connection is tracked here";

pub(super) const NO_MEMORY_TROUBLE: &str = "no want of memory since the start";

pub(super) fn oom_kills(n: u64) -> String {
    match n {
        0 => "none since this host was started".to_owned(),
        n => format!(
            "{} killed for want of memory since this host was started: see dmesg or journalctl -k",
            processes(n)
        ),
    }
}

pub(super) fn firewall(tables: &[String]) -> String {
    match tables.is_empty() {
        true => "no table of iptables is loaded; rules of nftables: nft list ruleset".to_owned(),
        false => format!(
            "tables of iptables are loaded ({}); their rules: iptables-save, nft list ruleset",
            tables.join(", ")
        ),
    }
}

/// The first line when nothing is wrong.
/// `overflows`: queues of some port do.
pub(super) fn all_well(port: Option<u16>, unseen: usize, overflows: bool) -> String {
    let place = port.map_or_else(String::new, |port| format!(" of port {port}"));
    let unseen = match unseen {
        0 => String::new(),
        n => format!("; {} cannot be seen", plural(n as u64, "answer")),
    };
    let overflows = match overflows {
        true => " for sure: queues overflow, of all ports together",
        false => "",
    };
    format!("This host shows nothing that explains failures{place}{overflows}{unseen}")
}

/// The first line when something is.
pub(super) fn worst(place: &str, grade: &str, says: &str, more: usize) -> String {
    let more = match more {
        0 => String::new(),
        n => format!(" (and {n} more to look at)"),
    };
    format!("{place}: {grade}: {says}{more}")
}

/// What the history of a host says of a finding.
pub(super) mod about {
    use super::{clock, counts, ended, ports, process, someone};
    use crate::host::census::Outgoing;
    use crate::host::facts::Process;
    use crate::time::Timestamp;

    pub(in crate::host) fn absent(
        port: u16,
        since: Option<Timestamp>,
        who: Option<&Process>,
        has_ended: bool,
    ) -> String {
        match since {
            Some(since) => format!(
                "nothing listened on port {port} since {}{}",
                clock(since),
                ended(who, has_ended)
            ),
            None => format!("nothing listened on port {port}, since before the capture began"),
        }
    }

    pub(in crate::host) fn began(port: u16, at: Timestamp, who: Option<&Process>) -> String {
        format!("{} began to listen on port {port} at {}", someone(who), clock(at))
    }

    pub(in crate::host) fn other_address(port: u16, addresses: &[String]) -> String {
        format!("port {port} listens on {} only", addresses.join(", "))
    }

    pub(in crate::host) fn refused_though(port: u16, who: Option<&Process>) -> String {
        format!(
            "{} listened on port {port} all the time: look for a firewall rule that rejects, or for \
             net.ipv4.tcp_abort_on_overflow",
            someone(who)
        )
    }

    /// Whose accept queue was full when some overflowed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(in crate::host) enum Full {
        /// That of the port in question.
        Own,
        /// Those of other ports.
        Others(Vec<u16>),
        /// None, of those that are watched, the port in question among them.
        None,
        /// The port in question is not watched.
        Unseen,
    }

    pub(in crate::host) fn overflow(
        grown: &[(&'static str, u64)],
        [from, to]: [Timestamp; 2],
        full: &Full,
    ) -> String {
        let full = match full {
            Full::Own => ": the accept queue of this port was full".to_owned(),
            Full::Others(others) => format!(
                " (of all ports together: the accept queue of {} was full, that of this port not)",
                ports(others)
            ),
            Full::None => {
                " (of all ports together; no accept queue was seen full, that of this port neither)"
                    .to_owned()
            }
            Full::Unseen => " (of all ports together)".to_owned(),
        };
        let when = match to.since(from) {
            ..1.5 => format!("at {}", clock(to)),
            _ => format!("from {} to {}", clock(from), clock(to)),
        };
        format!("{} {when}{full}", counts(grown))
    }

    pub(in crate::host) const NO_OVERFLOW: &str =
        "no queue of this host overflowed at that time (ListenOverflows did not move)";

    pub(in crate::host) fn no_overflow_but(port: u16) -> String {
        format!("{NO_OVERFLOW}: look at the firewall for port {port}")
    }

    pub(in crate::host) fn since(text: &str, at: Timestamp) -> String {
        format!("{text} (since {})", clock(at))
    }

    pub(in crate::host) fn at(text: &str, at: Timestamp) -> String {
        format!("{text}, at {}", clock(at))
    }

    pub(in crate::host) fn sent_here(what: &str, port: u16, who: Option<&Process>) -> String {
        match who {
            Some(who) => format!(
                "this host sent the {what}; {}, which holds port {port}, did not end then and nothing \
                 was killed for want of memory: look at its log for this time",
                process(who)
            ),
            None => {
                format!("this host sent the {what}: look at the log of what serves port {port}")
            }
        }
    }

    pub(in crate::host) fn sent_by_client(what: &str) -> String {
        format!("this host, which opened the connection, sent the {what}")
    }

    pub(in crate::host) fn sent_elsewhere(what: &str, address: std::net::IpAddr) -> String {
        format!("the {what} came from {address}, not from this host")
    }

    pub(in crate::host) fn restarted_before(text: &str, at: Timestamp) -> String {
        format!("{text} at {}: the new process knows no older connection", clock(at))
    }

    pub(in crate::host) fn ports_out(one: &Outgoing, ports: u64, at: Timestamp) -> String {
        format!("{} at {}", super::outgoing(one, ports), clock(at))
    }
}
