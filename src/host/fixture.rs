//! A host that is well, for unit tests.

use super::census::Census;
use super::counters::Counters;
use super::facts::{Facts, GroupMemory, Limits, Listener, Process};
use crate::time::Timestamp;

const AT: Timestamp = Timestamp(1_800_000_000_000_000_000);
const DAY: i64 = 86_400_000_000_000;

pub(crate) fn counters(values: &[(&str, u64)]) -> Counters {
    let of = |group: &str| {
        let known = super::counters::COUNTERS.iter().filter(|known| known.group == group);
        let value = |name| values.iter().find(|value| value.0 == name).map_or(0, |value| value.1);
        let (mut names, mut numbers) = (format!("{group}:"), format!("{group}:"));
        for counter in known {
            names += &format!(" {}", counter.name);
            numbers += &format!(" {}", value(counter.name));
        }
        format!("{names}\n{numbers}\n")
    };
    Counters::parse(&of("TcpExt"), &of("Tcp"))
}

pub(crate) fn process() -> Process {
    Process {
        pid: 812,
        name: "nginx".to_owned(),
        command: "nginx: master process".to_owned(),
        user: "www".to_owned(),
        state: 'S',
        birth: 100,
        started: AT.after(-2 * DAY),
        files: Ok(20),
        files_max: Ok(Some(1024)),
        memory: Ok(GroupMemory {
            group: "/web".to_owned(),
            used: Some(50 << 20),
            limit: Some(500 << 20),
            oom_kills: Some(0),
        }),
    }
}

pub(crate) fn listener(address: &str) -> Listener {
    Listener {
        address: address.parse().unwrap(),
        port: 8080,
        v6_only: None,
        waiting: 0,
        backlog: Some(128),
        uid: 33,
        inode: 1,
        owners: Ok(vec![process()]),
        owners_left_out: 0,
    }
}

pub(crate) fn facts() -> Facts {
    Facts {
        at: AT,
        booted: Some(AT.after(-3 * DAY)),
        namespace: None,
        listeners: Ok(vec![listener("0.0.0.0")]),
        listeners_left_out: 0,
        census: Ok(Census::default()),
        before: Ok(counters(&[])),
        counters: Ok(counters(&[])),
        between: 1.0,
        limits: Limits {
            somaxconn: Some(4096),
            ephemeral: Ok(32_768..=60_999),
            reserved: 0,
            time_wait_max: Some(131_072),
            time_wait_reuse: Some(2),
        },
        conntrack: Ok(None),
        oom_kills: Ok(0),
        files: Ok((1000, i64::MAX as u64)),
        firewall: Ok(Vec::new()),
    }
}
