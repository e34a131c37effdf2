//! Small files of /proc and /sys: one number, a range, a table, each bounded.

use crate::host::facts::{Conntrack, Limits, Seen};
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::RangeInclusive;

/// Bytes read of a file: the longest, `/proc/net/netstat`, has 5 KB; connection tracking has a line per processor.
const FILE_MAX: u64 = 1 << 20;

/// The text of a file, or why it cannot be read.
pub(super) fn read(path: &str) -> Seen<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
        .map_err(|error| why(path, &error))?;
    Ok(text)
}

/// Why a file cannot be read, in the words of a report.
pub(super) fn why(path: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("needs root to read {path}"),
        io::ErrorKind::NotFound => format!("there is no {path} here"),
        _ => format!("{path}: {error}"),
    }
}

/// A file that holds one number.
pub(super) fn number(path: &str) -> Seen<u64> {
    read(path)?.trim().parse().map_err(|_| format!("{path} holds no number"))
}

/// Limits of the kernel for this network namespace.
pub(super) fn limits() -> Limits {
    Limits {
        somaxconn: number("/proc/sys/net/core/somaxconn").ok(),
        ephemeral: ephemeral(),
        reserved: reserved(),
        time_wait_max: number("/proc/sys/net/ipv4/tcp_max_tw_buckets").ok(),
        time_wait_reuse: number("/proc/sys/net/ipv4/tcp_tw_reuse").ok(),
    }
}

fn ephemeral() -> Seen<RangeInclusive<u16>> {
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    range(&read(path)?).ok_or_else(|| format!("{path} holds no range"))
}

/// Two ports with white space between them.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_ascii_whitespace().map(str::parse);
    let (low, high) = (words.next()?.ok()?, words.next()?.ok()?);
    (low <= high).then_some(low..=high)
}

fn reserved() -> u64 {
    let (Ok(range), Ok(text)) = (ephemeral(), read("/proc/sys/net/ipv4/ip_local_reserved_ports"))
    else {
        return 0;
    };
    reserved_in(&range, &text)
}

/// Ports of `range` among `8080,9148-9150`.
fn reserved_in(range: &RangeInclusive<u16>, text: &str) -> u64 {
    let part = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let low = low.trim().parse::<u16>().ok()?.max(*range.start());
        let high = high.trim().parse::<u16>().ok()?.min(*range.end());
        (low <= high).then(|| u64::from(high - low) + 1)
    };
    text.split(',').filter_map(part).sum()
}

/// Connection tracking of this network namespace; `None` where the module is not loaded.
pub(super) fn conntrack() -> Seen<Option<Conntrack>> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_max";
    if fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let max = number(path)?;
    let count = number("/proc/sys/net/netfilter/nf_conntrack_count")?;
    let table = read("/proc/net/stat/nf_conntrack").unwrap_or_default();
    let (dropped, insert_failed) = (column(&table, "drop"), column(&table, "insert_failed"));
    Ok(Some(Conntrack { count, max, dropped, insert_failed }))
}

/// Sum of a column of hexadecimal numbers, a line per processor below a line of titles.
fn column(table: &str, title: &str) -> Option<u64> {
    let mut lines = table.lines();
    let at = lines.next()?.split_ascii_whitespace().position(|word| word == title)?;
    lines.map(|line| u64::from_str_radix(line.split_ascii_whitespace().nth(at)?, 16).ok()).sum()
}

/// Processes killed for want of memory, of the whole host.
pub(super) fn oom_kills() -> Seen<u64> {
    let path = "/proc/vmstat";
    value(&read(path)?, "oom_kill")
        .ok_or_else(|| "this kernel does not count it in /proc/vmstat".to_owned())
}

/// The number behind a name, in a file of a name and a number on each line.
pub(super) fn value(text: &str, name: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(line)
}

/// TCP sockets of this network namespace, those in TIME_WAIT among them.
pub(super) fn sockets() -> Seen<u64> {
    Ok(socket_count(&read("/proc/net/sockstat")?)
        + socket_count(&read("/proc/net/sockstat6").unwrap_or_default()))
}

/// `TCP: inuse 5 orphan 0 tw 2 alloc 8 mem 1`.
fn socket_count(text: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("TCP: ").or_else(|| line.strip_prefix("TCP6: ")));
    let words: Vec<_> = line.unwrap_or_default().split_ascii_whitespace().collect();
    let value = |pair: &[&str]| match pair {
        ["inuse" | "tw", value] => value.parse().unwrap_or(0),
        _ => 0,
    };
    words.chunks(2).map(value).sum()
}

/// Open files of the host, and how many there may be.
pub(super) fn open_files() -> Seen<(u64, u64)> {
    let path = "/proc/sys/fs/file-nr";
    let text = read(path)?;
    let mut words = text.split_ascii_whitespace().map(str::parse::<u64>);
    match (words.next(), words.nth(1)) {
        (Some(Ok(open)), Some(Ok(max))) => Ok((open, max)),
        _ => Err(format!("{path} holds no numbers")),
    }
}

/// Tables of iptables. Those of nftables are told by netlink to root only: not read.
pub(super) fn firewall() -> Seen<Vec<String>> {
    let mut tables = Vec::new();
    for path in ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"] {
        match read(path) {
            Ok(text) => tables.extend(text.lines().map(str::to_owned)),
            Err(_) if fs::metadata(path).is_err() => {}
            Err(why) => return Err(why),
        }
    }
    tables.sort();
    tables.dedup();
    Ok(tables)
}

/// Seconds since the start of the host.
pub(super) fn uptime() -> Option<f64> {
    read("/proc/uptime").ok()?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_reserved_ports() {
        assert_eq!(range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!((range("5\n"), range("60999 32768")), (None, None));
        let reserved = |text: &str| reserved_in(&(40_000..=40_009), text);
        assert_eq!(reserved("\n"), 0);
        assert_eq!(reserved("8080,40001-40003,40009-50000\n"), 4);
    }

    #[test]
    fn columns_of_each_processor_are_added() {
        let table = "entries  clashres found new invalid ignore delete drop early_drop\n\
            00000010 0 0 0 0 0 0 0000000a 0\n00000010 0 0 0 0 0 0 00000006 0\n";
        assert_eq!(column(table, "drop"), Some(16));
        assert_eq!(column(table, "insert_failed"), None);
        assert_eq!(column("", "drop"), None);
    }

    #[test]
    fn sockets_in_use_and_in_time_wait_are_counted() {
        let text = "sockets: used 20\nTCP: inuse 5 orphan 1 tw 2 alloc 9 mem 55\nUDP: inuse 3\n";
        assert_eq!(
            (socket_count(text), socket_count("TCP6: inuse 4\n"), socket_count("")),
            (7, 4, 0)
        );
    }

    #[test]
    fn a_value_has_its_whole_name() {
        let text = "low 0\nhigh 12\nmax 3\noom 4\noom_kill 2\noom_group_kill 7\n";
        assert_eq!((value(text, "oom_kill"), value(text, "oom")), (Some(2), Some(4)));
        assert_eq!(value(text, "oom_"), None);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert_eq!(read("/proc/no/such"), Err("there is no /proc/no/such here".to_owned()));
        assert!(number("/proc/net/snmp").unwrap_err().contains("holds no number"));
        assert_eq!(
            why("/proc/1/fd", &io::ErrorKind::PermissionDenied.into()),
            "needs root to read /proc/1/fd"
        );
    }
}
