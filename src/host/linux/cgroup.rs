//! The memory limit of a process's control group and how often one of its processes was killed for it, of both
//! versions of control groups.

use super::files;
use crate::host::facts::{GroupMemory, Seen};
use std::path::{Path, PathBuf};

/// A limit as large as this is none: version 1 writes the largest number of pages for it.
const NO_LIMIT: u64 = 1 << 60;
/// Groups above a group that are read: the kernel itself allows no endless nesting, and systemd
/// and Kubernetes together nest six deep.
const DEPTH_MAX: usize = 32;

/// Where a version keeps its groups and what it calls things.
struct Version {
    mounts: &'static [&'static str],
    limit: &'static str,
    used: &'static str,
    /// Of the file `memory.stat`: bytes of files that were read and lie idle.
    idle: &'static str,
    /// File with the count of kills.
    kills: &'static str,
}

const V1: Version = Version {
    mounts: &["/sys/fs/cgroup/memory"],
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    idle: "total_inactive_file",
    kills: "memory.oom_control",
};
const V2: Version = Version {
    mounts: &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
    limit: "memory.max",
    used: "memory.current",
    idle: "inactive_file",
    kills: "memory.events",
};

/// Memory of the group that `text` of `/proc/PID/cgroup` names.
pub(super) fn memory(text: &str) -> Seen<GroupMemory> {
    let (version, group) = group(text).ok_or("it is in no control group for memory")?;
    let folder = version
        .mounts
        .iter()
        .map(|mount| Path::new(mount).join(group.trim_start_matches('/')))
        .find(|folder| folder.is_dir())
        .ok_or("its control group is not visible here")?;
    Ok(read(&version, folder, group))
}

/// The group for memory: that of version 1 where it has that controller, else that of version 2.
fn group(text: &str) -> Option<(Version, &str)> {
    let mut unified = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.split(',').any(|name| name == "memory") {
            return Some((V1, group));
        }
        if controllers.is_empty() {
            unified = Some(group);
        }
    }
    Some((V2, unified?))
}

fn read(version: &Version, folder: PathBuf, group: &str) -> GroupMemory {
    let mut memory = GroupMemory { group: group.to_owned(), ..GroupMemory::default() };
    let text = |folder: &Path, name: &str| files::read(folder.join(name).to_str()?).ok();
    let number = |folder: &Path, name: &str| text(folder, name)?.trim().parse::<u64>().ok();
    // The tightest limit of the group and of those above it counts, with the use of that group.
    let mut tightest = folder.clone();
    let mut at = Some(folder.as_path());
    for _ in 0..DEPTH_MAX {
        let Some(here) =
            at.filter(|here| !version.mounts.iter().any(|top| here == &Path::new(top)))
        else {
            break;
        };
        let limit = number(here, version.limit).filter(|limit| *limit < NO_LIMIT);
        if let Some(limit) = limit.filter(|limit| memory.limit.is_none_or(|tight| *limit < tight)) {
            memory.limit = Some(limit);
            tightest = here.to_owned();
        }
        at = here.parent();
    }
    let idle = text(&tightest, "memory.stat").and_then(|stat| files::value(&stat, version.idle));
    memory.used =
        number(&tightest, version.used).map(|used| used.saturating_sub(idle.unwrap_or(0)));
    memory.oom_kills =
        text(&folder, version.kills).and_then(|text| files::value(&text, "oom_kill"));
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_group_of_either_version_is_found() {
        let of = |text| group(text).map(|(version, group)| (version.limit, group));
        let hybrid = "9:name=systemd:/\n4:cpu,memory:/docker/ab\n0::/system.slice\n";
        assert_eq!(of(hybrid), Some(("memory.limit_in_bytes", "/docker/ab")));
        assert_eq!(of("0::/kubepods/a:b\n"), Some(("memory.max", "/kubepods/a:b")));
        assert_eq!(of("1:name=systemd:/\n"), None);
    }

    #[test]
    fn the_tightest_limit_above_counts() {
        let place = tempfile::tempdir().unwrap();
        let pod = place.path().join("pod");
        let inner = pod.join("web");
        fs::create_dir_all(&inner).unwrap();
        let write = |folder: &Path, name: &str, text: &str| {
            fs::write(folder.join(name), text).unwrap();
        };
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.events", "low 0\noom 3\noom_kill 2\n");
        write(&pod, "memory.max", "1000000\n");
        write(&pod, "memory.current", "950000\n");
        write(&pod, "memory.stat", "anon 1\ninactive_file 50000\n");
        let memory = read(&V2, inner, "/pod/web");
        assert_eq!((memory.limit, memory.used), (Some(1_000_000), Some(900_000)));
        assert_eq!(memory.oom_kills, Some(2));
    }

    #[test]
    fn a_group_without_files_tells_nothing() {
        let place = tempfile::tempdir().unwrap();
        let memory = read(&V1, place.path().to_owned(), "/");
        assert_eq!((memory.limit, memory.used, memory.oom_kills), (None, None, None));
    }
}
