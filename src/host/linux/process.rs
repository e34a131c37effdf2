//! Which processes hold a listening socket, and what is known of each.
//!
//! The only user of `procfs`. Whose process it is, its name and its start anybody may read; which
//! files it holds only its user and root.

use super::{cgroup, files};
use crate::host::facts::{Alive, Process, Seen};
use crate::time::Timestamp;
use procfs::process::LimitValue;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

/// Open files looked at in all processes together: about a second's work.
const FILES_MAX: usize = 1 << 20;
/// Open files of one process that are looked at: the first. Listening sockets are opened early and
/// have low numbers; a proxy with a million connections would take all the time.
const FILES_OF_PROCESS_MAX: usize = 1 << 14;
/// Characters of a command line that are kept.
const COMMAND_MAX: usize = 120;

/// Who holds which socket.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// Processes by inode of the socket.
    pub(super) of: BTreeMap<u64, Vec<i32>>,
    /// Processes whose files may not be read.
    pub(super) unreadable: usize,
    /// Whether not all files were looked at.
    pub(super) cut: bool,
}

/// Finds the processes that hold these sockets.
pub(super) fn owners(inodes: &BTreeSet<u64>) -> io::Result<Owners> {
    let mut owners = Owners::default();
    let mut left = FILES_MAX;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        match sockets_of(pid, inodes, &mut left) {
            Ok((held, cut)) => {
                owners.cut |= cut;
                for inode in held {
                    owners.of.entry(inode).or_default().push(pid);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => owners.unreadable += 1,
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    Ok(owners)
}

/// Which of the sockets a process holds, and whether not all its files were looked at.
fn sockets_of(
    pid: i32,
    inodes: &BTreeSet<u64>,
    left: &mut usize,
) -> io::Result<(BTreeSet<u64>, bool)> {
    let mut held = BTreeSet::new();
    for (n, file) in fs::read_dir(format!("/proc/{pid}/fd"))?.enumerate() {
        if *left == 0 || n >= FILES_OF_PROCESS_MAX {
            return Ok((held, true));
        }
        *left -= 1;
        // A file may be closed meanwhile.
        let Some(link) = file.ok().and_then(|file| fs::read_link(file.path()).ok()) else {
            continue;
        };
        held.extend(link.to_str().and_then(socket_inode).filter(|inode| inodes.contains(inode)));
    }
    Ok((held, false))
}

/// `socket:[86421]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Whether a process runs, which anybody may ask; `None` when there is none of that number or it has ended.
pub(super) fn alive(pid: i32) -> Option<Alive> {
    let stat = procfs::process::Process::new(pid).ok()?.stat().ok()?;
    let ended = matches!(stat.state, 'Z' | 'X');
    let files = || open_files(pid).ok();
    (!ended).then(|| Alive { birth: stat.starttime, state: stat.state, files: files() })
}

/// The oldest process of that name that was started after `birth`: where nobody may see who holds
/// a socket, who took over from a process that has ended.
pub(super) fn named(name: &str, birth: u64) -> Option<i32> {
    let processes = procfs::process::all_processes().ok()?;
    processes
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|stat| stat.comm == name && stat.starttime > birth && stat.state != 'Z')
        .map(|stat| (stat.starttime, stat.pid))
        .min()
        .map(|(_, pid)| pid)
}

/// What is known of a process; `booted` is when the host was started.
pub(super) fn process(pid: i32, booted: Timestamp, users: &Users) -> Option<Process> {
    let process = procfs::process::Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let words = process.cmdline().unwrap_or_default();
    let command = if words.is_empty() { format!("[{}]", stat.comm) } else { words.join(" ") };
    let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
    let limits = process.limits().map_err(|error| format!("its limits: {error}"));
    let cgroup = format!("/proc/{pid}/cgroup");
    Some(Process {
        pid,
        name: stat.comm,
        command: crate::report::words::shorten(&command, COMMAND_MAX),
        user: process.uid().map_or_else(|_| "unknown".to_owned(), |uid| users.name(uid)),
        state: stat.state,
        birth: stat.starttime,
        started: booted.after(ticks_to_nanos(stat.starttime)),
        files: open_files(pid),
        files_max: limits.map(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(max) => Some(max),
            LimitValue::Unlimited => None,
        }),
        memory: files::read(&cgroup).and_then(|text| cgroup::memory(&text)),
    })
}

fn ticks_to_nanos(ticks: u64) -> i64 {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(procfs::ticks_per_second().max(1));
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// How many files a process has open. Since Linux 6.2 that is the size of the folder; before, its
/// entries are counted.
fn open_files(pid: i32) -> Seen<u64> {
    let path = format!("/proc/{pid}/fd");
    let size = fs::metadata(&path).map_err(|error| files::why(&path, &error))?.len();
    if size > 0 {
        return Ok(size);
    }
    let entries = fs::read_dir(&path).map_err(|error| files::why(&path, &error))?;
    Ok(entries.take(FILES_MAX).count() as u64)
}

/// Names of users, from `/etc/passwd`.
#[derive(Debug, Default)]
pub(super) struct Users(BTreeMap<u32, String>);

impl Users {
    pub(super) fn read() -> Users {
        Users::parse(&files::read("/etc/passwd").unwrap_or_default())
    }

    fn parse(text: &str) -> Users {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
        };
        Users(text.lines().filter_map(user).collect())
    }

    /// The name of a user, or its number.
    pub(super) fn name(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_or_numbers() {
        let users = Users::parse("root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:33::/:/bin/sh\n");
        assert_eq!((users.name(33), users.name(4711)), ("web".to_owned(), "4711".to_owned()));
    }

    #[test]
    fn links_to_sockets_have_an_inode() {
        assert_eq!(socket_inode("socket:[86421]"), Some(86_421));
        assert_eq!((socket_inode("pipe:[4]"), socket_inode("/tmp/socket:[4]")), (None, None));
    }

    #[test]
    fn this_process_is_known() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = process(own, Timestamp(0), &Users::default()).unwrap();
        assert!(found.files.unwrap() >= 3);
        assert!(found.started > Timestamp(0), "some ticks after the start of the host");
        assert!(found.files_max.unwrap().is_none_or(|max| max > 0));
        let now = alive(own).unwrap();
        assert_eq!(now.birth, found.birth);
        assert_eq!(named(&found.name, found.birth.saturating_sub(1)), Some(own));
        assert_eq!(alive(i32::MAX), None);
        assert_eq!(process(i32::MAX, Timestamp(0), &Users::default()), None);
    }
}
