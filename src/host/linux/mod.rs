//! How the host is read: procfs, sock_diag, control groups. Each part that cannot be read says why, and takes
//! no other part with it.

mod addresses;
mod cgroup;
mod diag;
mod files;
mod proc_tcp;
mod process;

use super::addresses::Addresses;
use super::census::{Census, Counting, State};
use super::counters::Counters;
use super::facts::{Alive, Facts, LISTENERS_MAX, Limits, Listener, OWNERS_MAX, Process, Seen};
use crate::time::Timestamp;
use diag::{Diag, Found};
use process::Users;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

/// The ephemeral range of a kernel that was left as it is; used only where it cannot be read.
pub(super) const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// The clock of the host: what is read of a host has no other time.
#[expect(clippy::disallowed_methods, reason = "what the host says has the time of the host")]
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Sleeps until a second after `begun`.
pub(super) fn rest_of_a_second(begun: Timestamp) {
    let passed = now().nanos_since(begun);
    let left = 1_000_000_000_i64.saturating_sub(passed).clamp(0, 1_000_000_000);
    thread::sleep(Duration::from_nanos(left.unsigned_abs()));
}

/// Reads the host. Opened before privileges are dropped it goes on working; only the files of
/// other users' processes, and with them the names of new owners, are closed to it then.
#[derive(Debug)]
pub(super) struct Reader {
    diag: io::Result<Diag>,
    users: Users,
}

impl Reader {
    pub(super) fn new() -> Reader {
        Reader { diag: Diag::open(), users: Users::read() }
    }

    pub(super) fn counters(&self) -> Seen<Counters> {
        let snmp = files::read("/proc/net/snmp")?;
        Ok(Counters::parse(&files::read("/proc/net/netstat")?, &snmp))
    }

    /// Everything; processes only of `ports`, or of all when there are none.
    pub(super) fn facts(&mut self, ports: &[u16]) -> Facts {
        let at = now();
        let limits = files::limits();
        let booted = booted(at);
        let (listeners, listeners_left_out) = self.listeners_with_owners(ports, booted);
        let listening = listeners.iter().flatten().map(|listener| listener.port).collect();
        Facts {
            at,
            booted,
            namespace: fs::read_link("/proc/self/ns/net")
                .ok()
                .map(|link| link.display().to_string()),
            census: self.census(limits.ephemeral.clone().unwrap_or(EPHEMERAL), &listening),
            listeners,
            listeners_left_out,
            before: Err(String::new()),
            counters: self.counters(),
            between: 0.0,
            limits,
            conntrack: files::conntrack(),
            oom_kills: files::oom_kills(),
            files: files::open_files(),
            firewall: files::firewall(),
        }
    }

    /// Sockets that listen, without their owners.
    pub(super) fn listeners(&mut self) -> (Seen<Vec<Listener>>, u64) {
        let (mut listeners, mut left_out) = (Vec::new(), 0);
        let read = self.sockets(true, &mut |found| {
            if found.state != State::Listen {
            } else if listeners.len() < LISTENERS_MAX {
                listeners.push(listener(&found));
            } else {
                left_out += 1;
            }
        });
        if let Err(error) = read {
            return (Err(format!("the sockets of this host: {error}")), 0);
        }
        listeners.sort_by_key(|one| (one.port, one.address, one.inode));
        (Ok(listeners), left_out)
    }

    fn listeners_with_owners(
        &mut self,
        ports: &[u16],
        booted: Option<Timestamp>,
    ) -> (Seen<Vec<Listener>>, u64) {
        let (mut listeners, left_out) = self.listeners();
        if let Ok(listeners) = &mut listeners {
            let wanted =
                listeners.iter_mut().filter(|one| ports.is_empty() || ports.contains(&one.port));
            self.name_owners(wanted.collect(), booted);
        }
        (listeners, left_out)
    }

    /// Finds who holds these listeners.
    pub(super) fn name_owners(&self, listeners: Vec<&mut Listener>, booted: Option<Timestamp>) {
        let inodes: BTreeSet<u64> = listeners.iter().map(|listener| listener.inode).collect();
        if inodes.is_empty() {
            return;
        }
        let owners = process::owners(&inodes);
        for listener in listeners {
            let owners = match &owners {
                Ok(owners) => owners,
                Err(error) => {
                    listener.owners = Err(format!("/proc: {error}"));
                    continue;
                }
            };
            let pids = owners.of.get(&listener.inode).map(Vec::as_slice).unwrap_or_default();
            // The lowest number is mostly the oldest; of those many, the start decides.
            let mut found: Vec<Process> = pids
                .iter()
                .filter_map(|pid| process::process(*pid, booted.unwrap_or_default(), &self.users))
                .collect();
            found.sort_by_key(|process| (process.started, process.pid));
            listener.owners_left_out = found.len().saturating_sub(OWNERS_MAX);
            found.truncate(OWNERS_MAX);
            listener.owners = match found.is_empty() {
                false => Ok(found),
                true => Err(self.why_unnamed(listener, owners)),
            };
        }
    }

    /// Whether a process runs.
    pub(super) fn alive(&self, pid: i32) -> Option<Alive> {
        process::alive(pid)
    }

    /// Who took over from a process, by its name alone.
    pub(super) fn successor(&self, of: &Process, booted: Option<Timestamp>) -> Option<Process> {
        let pid = process::named(&of.name, of.birth)?;
        process::process(pid, booted.unwrap_or_default(), &self.users)
    }

    /// Addresses of this host.
    pub(super) fn addresses(&self) -> Addresses {
        addresses::read()
    }

    /// When the host was started.
    pub(super) fn booted(&self, at: Timestamp) -> Option<Timestamp> {
        booted(at)
    }

    pub(super) fn oom_kills(&self) -> Seen<u64> {
        files::oom_kills()
    }

    pub(super) fn limits(&self) -> Limits {
        files::limits()
    }

    /// Sockets of this host in any state, without a look at each.
    pub(super) fn how_many(&self) -> Seen<u64> {
        files::sockets()
    }

    fn why_unnamed(&self, listener: &Listener, owners: &process::Owners) -> String {
        let user = self.users.name(listener.uid);
        if owners.unreadable > 0 {
            format!("needs root to name the process of user {user}")
        } else if owners.cut {
            "its process has too many open files to be found".to_owned()
        } else {
            format!(
                "no process here holds it: one of another container, or the kernel (user {user})"
            )
        }
    }

    pub(super) fn census(
        &mut self,
        ephemeral: RangeInclusive<u16>,
        listening: &BTreeSet<u16>,
    ) -> Seen<Census> {
        let mut counting = Counting::new(ephemeral, listening);
        self.sockets(false, &mut |found| counting.add(found.state, found.local, found.remote))
            .map_err(|error| format!("the sockets of this host: {error}"))?;
        Ok(counting.finish())
    }

    /// Through sock_diag, or from /proc where that is not to be had.
    fn sockets(&mut self, listening: bool, each: &mut dyn FnMut(Found)) -> io::Result<()> {
        let Ok(diag) = &self.diag else { return proc_tcp::sockets(each) };
        let mut any = false;
        let told = diag.sockets(listening, &mut |found| {
            any = true;
            each(found);
        });
        match told {
            Ok(()) => Ok(()),
            Err(error) => {
                // Answers that are still on their way would be taken for those to the next question.
                self.diag = Diag::open();
                match any {
                    // Counted in part already: another source would count them twice.
                    true => Err(error),
                    false => proc_tcp::sockets(each),
                }
            }
        }
    }
}

fn listener(found: &Found) -> Listener {
    Listener {
        address: found.local.ip(),
        port: found.local.port(),
        v6_only: match found.local.ip() {
            IpAddr::V4(_) => None,
            IpAddr::V6(_) => found.v6_only,
        },
        waiting: found.receive_queue,
        backlog: found.backlog,
        uid: found.uid,
        inode: found.inode,
        owners: Err("was not asked for".to_owned()),
        owners_left_out: 0,
    }
}

/// When the host was started, by its clock of today.
fn booted(at: Timestamp) -> Option<Timestamp> {
    let uptime = files::uptime()?;
    Some(at.after(-((uptime * 1e9) as i64)))
}
