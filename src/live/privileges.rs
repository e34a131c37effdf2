//! Gives up the rights that only opening an interface needs.
//!
//! What reads packets reads hostile bytes. After the devices are open the process changes to an
//! unprivileged user, gives up all capabilities, can gain none any more (`no_new_privs`), may touch
//! only the files that it needs (Landlock, where the kernel has it), and may not start programs, look
//! into other processes or mount ([`super::seccomp`]). To open an interface again
//! that went away needs `CAP_NET_RAW`, which a capture of named interfaces keeps.

use super::evidence::EvidenceError;
use super::run::LiveError;
use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use nix::unistd::{Gid, Uid, User as Account, geteuid, setgroups, setresgid, setresuid};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

/// Whom to run as once everything is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// Who called sudo, else `nobody`.
    #[default]
    Usual,
    /// This one.
    Named(String),
}

/// Rights that are kept, and where files are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    /// An interface may have to be opened again.
    pub(super) reopen: bool,
    /// Other processes are looked at, for what the host knows.
    pub(super) host: bool,
    /// Directories in which files come that are read.
    pub(super) reads: Vec<PathBuf>,
    /// Directories in which files are made and removed.
    pub(super) writes: Vec<PathBuf>,
    /// The terminal is drawn on and asked for its size.
    pub(super) terminal: bool,
}

/// An account by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// Whom to change to; `None` when this process is not root.
    pub(super) fn settle(&self) -> Result<Option<Id>, LiveError> {
        if !geteuid().is_root() {
            return match self {
                User::Usual => Ok(None),
                User::Named(_) => Err(LiveError::NotRoot),
            };
        }
        let account = match self {
            User::Named(name) => {
                let unknown = || LiveError::NoUser(name.clone());
                let account = match name.parse() {
                    Ok(number) => Account::from_uid(Uid::from_raw(number)),
                    Err(_) => Account::from_name(name),
                };
                account.ok().flatten().ok_or_else(unknown)?
            }
            User::Usual => {
                let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
                let sudo = sudo.filter(|uid| *uid != 0).map(Uid::from_raw);
                let caller = sudo.and_then(|uid| Account::from_uid(uid).ok().flatten());
                let nobody = || Account::from_name("nobody").ok().flatten();
                caller.or_else(nobody).ok_or_else(|| LiveError::NoUser("nobody".to_owned()))?
            }
        };
        Ok(Some(Id { name: account.name, uid: account.uid.as_raw(), gid: account.gid.as_raw() }))
    }
}

/// Makes a directory for files that are written after rights were given up, and makes it the user's.
/// One that exists is left as it is.
pub(super) fn make_directory(path: &Path, user: Option<&Id>) -> Result<(), LiveError> {
    if path.exists() {
        return Ok(());
    }
    let failed = |source| EvidenceError::Directory { directory: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    if let Some(id) = user {
        chown(path, Some(id.uid), Some(id.gid)).map_err(failed)?;
    }
    Ok(())
}

/// Gives up what is not needed any more, and tells what became of it. Threads that run already keep
/// what they have, so it comes before the others are started.
pub(super) fn drop(user: Option<&Id>, needs: &Needs) -> Result<String, LiveError> {
    let failed = |what: &'static str| {
        move |error: &dyn std::fmt::Display| LiveError::Privileges(what, error.to_string())
    };
    let mut keep = CapsHashSet::new();
    if needs.reopen {
        keep.insert(Capability::CAP_NET_RAW);
    }
    if needs.host {
        keep.extend([Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH]);
    }
    let had = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let keep: CapsHashSet = keep.intersection(&had).copied().collect();
    let mut said = Vec::new();
    if let Some(id) = user {
        if !keep.is_empty() {
            nix::sys::prctl::set_keepcaps(true).map_err(|error| failed("keep rights")(&error))?;
        }
        let (uid, gid) = (Uid::from_raw(id.uid), Gid::from_raw(id.gid));
        setgroups(&[gid]).map_err(|error| failed("leave groups")(&error))?;
        setresgid(gid, gid, gid).map_err(|error| failed("change the group")(&error))?;
        setresuid(uid, uid, uid).map_err(|error| failed("change the user")(&error))?;
        said.push(format!("runs as {}", id.name));
    }
    let set = |set| caps::set(None, set, &keep).map_err(|error| failed("give up rights")(&error));
    // Ambient rights are gone with those that are permitted.
    set(CapSet::Effective)?;
    set(CapSet::Permitted)?;
    let _ = caps::clear(None, CapSet::Inheritable);
    nix::sys::prctl::set_no_new_privs().map_err(|error| failed("forgo new rights")(&error))?;
    let mut names: Vec<String> = keep.iter().map(ToString::to_string).collect();
    names.sort();
    said.push(match names.as_slice() {
        [] => "without capabilities".to_owned(),
        names => format!("keeps {} only", names.join(" and ")),
    });
    said.push("cannot gain rights".to_owned());
    if !needs.host {
        // Landlock forbids to look into other processes, whatever the rights.
        said.push(confine(needs).to_owned());
    }
    said.push(match super::seccomp::forbid() {
        Ok(()) => "starts no programs (seccomp)".to_owned(),
        Err(why) => format!("may start programs (no seccomp here: {why})"),
    });
    Ok(said.join(", "))
}

/// What is read after the start: counters, interfaces, the time zone.
const READS: [&str; 5] = ["/proc", "/sys/class/net", "/sys/devices", "/etc", "/usr/share/zoneinfo"];

/// Confines the process to the files that it needs.
fn confine(needs: &Needs) -> &'static str {
    match landlock(needs) {
        Ok(RulesetStatus::FullyEnforced) => "sees only the files it needs",
        Ok(RulesetStatus::PartiallyEnforced) => "sees little more than the files it needs",
        Ok(RulesetStatus::NotEnforced) | Err(_) => "sees files as its user does (no Landlock here)",
    }
}

fn landlock(needs: &Needs) -> Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V3;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .create()?;
    let terminal = needs.terminal.then(|| PathBuf::from("/dev/tty"));
    let rights: [(Vec<PathBuf>, BitFlags<AccessFs>); 3] = [
        (
            READS.iter().map(PathBuf::from).chain(needs.reads.clone()).collect(),
            AccessFs::from_read(abi),
        ),
        (needs.writes.clone(), AccessFs::from_all(abi)),
        (terminal.into_iter().collect(), AccessFs::ReadFile | AccessFs::WriteFile),
    ];
    for (paths, access) in rights {
        for path in paths {
            if let Ok(path) = PathFd::new(&path) {
                rules = rules.add_rule(PathBeneath::new(path, access))?;
            }
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}
