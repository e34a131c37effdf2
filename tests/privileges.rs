//! What rights `why502 live` has while it captures. In a network namespace, so as root; without root it
//! says that it skips.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::path::Path;
use std::process::Command;
use support::space::{Live, PROGRAM, Space, can_run, has};

/// What the kernel says of each thread of a process, by the name of the field.
fn of_threads(id: u32, field: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let value = |task: &Path| {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    };
    tasks.map(|task| value(&task.unwrap().path())).collect()
}

#[test]
fn every_thread_has_given_up_what_it_does_not_need() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    let folder = tempfile::tempdir().unwrap();
    let opened = Command::new("chmod").arg("777").arg(folder.path()).status().unwrap();
    assert!(opened.success());
    let evidence = folder.path().to_str().unwrap();
    let args = ["-i", "lo", "--all-ports", "--metrics", "0", "-w", evidence, "--min-free", "1MiB"];
    let mut live = Live::start(&space, &args);
    let said = live.seen[0].clone();
    assert!(said.ends_with(", starts no programs (seccomp)"), "{said}");
    live.wait_for("metrics at ");
    space.sh("timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/1' || true");
    live.wait_for("connect-refused");
    let threads = of_threads(live.id(), "Seccomp");
    assert!(threads.len() >= 6 && threads.iter().all(|mode| mode == "2"), "{threads:?}");
    assert!(of_threads(live.id(), "NoNewPrivs").iter().all(|it| it == "1"));
    // CAP_NET_RAW, to open the interface again, and nothing else.
    assert!(of_threads(live.id(), "CapEff").iter().all(|it| it == "0000000000002000"));
    assert!(of_threads(live.id(), "Uid").iter().all(|it| !it.contains("\t0")));
    live.signal("TERM");
    let (code, lines) = live.end();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(has(&lines, "packets of evidence"), "{lines:#?}");
}

#[test]
fn a_limit_of_memory_that_cannot_be_kept_is_refused() {
    for (args, why) in [
        (&["--max-memory", "64MiB"][..], "160MiB at least"),
        (&["--max-memory", "1k"], "not a size"),
    ] {
        let output = Command::new(PROGRAM).arg("live").args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn an_address_in_use_is_said_once() {
    if !can_run() {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = ["live", "-i", "lo", "-p", "1", "--metrics", &address];
    let output = Command::new(PROGRAM).args(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("Address already in use").count(), 1, "{said}");
}
