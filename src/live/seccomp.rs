//! System calls that a process which reads packets never needs, forbidden.
//!
//! A list of what is forbidden rather than of what is allowed: libpcap, the C library and the thread
//! library change the calls that they use from version to version, and one that is missing from a list
//! of allowed ones would end a capture in the middle of an incident. Together with the rights and files
//! that are given up before, this keeps a process that a hostile packet has taken over from running
//! programs, from other processes, and from the parts of the kernel in which most holes are found.
//!
//! A call that is forbidden fails with `EPERM`. Numbers of the x32 ABI are not looked at; Debian, Ubuntu
//! and Red Hat have it switched off.

use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};
use std::collections::BTreeMap;

/// What is forbidden.
const FORBIDDEN: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Another view of the system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_quotactl,
    // libpcap attaches its classic filters by setsockopt, not by this.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keys of the kernel's rings.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The clock and names of the host.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Devices, and what a process is.
    libc::SYS_mknodat,
    libc::SYS_personality,
    libc::SYS_vhangup,
];

/// The same where only x86 has them.
#[cfg(target_arch = "x86_64")]
const OF_X86: &[c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_mknod,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_X86: &[c_long] = &[];

/// Forbids them to all threads of this process and to those that it starts; it has to have forgone new
/// rights before. `Err`: why that cannot be done here.
pub(super) fn forbid() -> Result<(), String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let errno = SeccompAction::Errno(libc::EPERM as u32);
    let calls: BTreeMap<c_long, _> =
        FORBIDDEN.iter().chain(OF_X86).map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, errno, arch);
    let program: Result<BpfProgram, _> = filter.and_then(BpfProgram::try_from);
    let program = program.map_err(|error| error.to_string())?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set in the process that plays the role below.
    const ROLE: &str = "WHY502_TEST_SECCOMP";

    /// In a process of its own, as there is no way back.
    #[test]
    fn no_program_can_be_started_any_more_and_the_rest_goes_on() {
        if std::env::var_os(ROLE).is_none() {
            let name =
                "live::seccomp::tests::no_program_can_be_started_any_more_and_the_rest_goes_on";
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(ROLE, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&child.stdout);
            assert!(child.status.success() && text.contains("1 passed"), "{child:?}");
            return;
        }
        let waiting = std::sync::Arc::new(std::sync::Barrier::new(2));
        let before = std::thread::spawn({
            let waiting = waiting.clone();
            move || {
                waiting.wait();
                Command::new("true").status().map_err(|error| error.raw_os_error())
            }
        });
        nix::sys::prctl::set_no_new_privs().unwrap();
        forbid().unwrap();
        waiting.wait();
        let refused = Err(Some(libc::EPERM));
        let status = || Command::new("true").status().map_err(|error| error.raw_os_error());
        assert_eq!(before.join().unwrap().map(|_| ()), refused, "a thread from before");
        assert_eq!(std::thread::spawn(status).join().unwrap().map(|_| ()), refused);
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(own.contains("Seccomp:\t2\n"), "{own}");
        std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        std::fs::write(tempfile::tempdir().unwrap().path().join("file"), "text").unwrap();
    }
}
