//! How the program ends when something is wrong or somebody ends it, and what it leaves behind.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use support::lab::shipped;

fn why502(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_why502"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    fs::read_dir(folder).unwrap().map(|entry| name(entry).into_string().unwrap()).collect()
}

#[test]
fn a_signal_ends_it_as_usual_and_nothing_is_left() {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        for args in [&["-", "-o", "report.txt"][..], &["slice", "-", "-w", "proof.pcapng"]] {
            let folder = tempfile::tempdir().unwrap();
            let mut child = why502(folder.path(), args)
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // A capture that goes on.
            let mut pipe = child.stdin.take().unwrap();
            let capture = fs::read(shipped().join("demo/nginx-demo-lb.pcap")).unwrap();
            pipe.write_all(&capture[..capture.len() / 2]).unwrap();
            let waits = (0..200).find(|_| {
                sleep(Duration::from_millis(50));
                names(folder.path()).iter().any(|name| name.ends_with(".tmp"))
            });
            assert!(waits.is_some(), "{args:?}: {:?}", names(folder.path()));
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
            assert_eq!(child.wait().unwrap().signal(), Some(number), "{args:?}");
            assert_eq!(names(folder.path()), [""; 0], "{args:?}");
        }
    }
}

#[test]
fn a_capture_without_a_whole_header_is_a_failure_and_the_others_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let whole = shipped().join("connect-refused/nginx-refused-lb.pcap");
    fs::write(folder.path().join("ten.pcap"), &fs::read(&whole).unwrap()[..10]).unwrap();
    for others in [&[][..], &[whole.to_str().unwrap()]] {
        let run = why502(folder.path(), &["ten.pcap"]).args(others).output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert_eq!(run.status.code(), Some(2), "{err}");
        let said =
            "ten.pcap: the file header at offset 0 promises 24 bytes, the file ends after 10";
        assert!(err.contains(said), "{err}");
        assert_eq!(out.contains("connect-refused"), !others.is_empty(), "{out}");
    }
    // A capture that ends within a packet is one all the same.
    fs::write(folder.path().join("cut.pcap"), &fs::read(&whole).unwrap()[..30]).unwrap();
    let run = why502(folder.path(), &["cut.pcap"]).output().unwrap();
    assert_eq!(run.status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_live_capture_that_is_refused_leaves_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["live", "-i", "nosuchinterface", "-w", "evidence", "-o", "report.txt"];
    let run = why502(folder.path(), &args).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(!names(folder.path()).contains(&"report.txt".to_owned()), "{:?}", names(folder.path()));
    // What was there stays.
    fs::write(folder.path().join("report.txt"), "yesterday's").unwrap();
    why502(folder.path(), &args).output().unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("report.txt")).unwrap(), "yesterday's");
}
