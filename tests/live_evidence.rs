//! `why502 live -w` when it is killed and when the disk is full. In a network namespace, so as root;
//! without root it says that it skips.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::process::Command;
use support::space::{Live, PROGRAM, Space, can_run, has};

/// A server on port 8080 that answers with so many bytes, or resets, and its client.
const TRAFFIC: &str = r#"
import socket, struct, sys, threading
listener = socket.create_server(("127.0.0.1", 8080))
def serve():
    while True:
        connection, _ = listener.accept()
        path = connection.recv(65536).split()[1].decode().lstrip("/")
        if path == "rst":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % int(path))
            connection.sendall(bytes(int(path)))
        connection.close()
threading.Thread(target=serve, daemon=True).start()
for path in sys.argv[1:]:
    try:
        client = socket.create_connection(("127.0.0.1", 8080), timeout=5)
        client.sendall(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        while client.recv(1 << 16):
            pass
        client.close()
    except OSError:
        pass
"#;

#[test]
fn what_was_written_before_a_kill_can_be_analysed() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    let folder = tempfile::tempdir().unwrap();
    let evidence = folder.path().join("evidence");
    let write = evidence.to_str().unwrap();
    let args = [
        "-i",
        "lo",
        "-p",
        "8080",
        "-w",
        write,
        "--ring",
        "4x1MB",
        "--min-free",
        "1MiB",
        "--user",
        "root",
    ];
    let mut live = Live::start(&space, &args);
    space.python(TRAFFIC, &["300000", "rst", "300000", "rst", "rst"]);
    for _ in 0..3 {
        live.wait_for("target-rst-no-response");
    }
    // Blocks are stored within a second.
    std::thread::sleep(std::time::Duration::from_millis(1200));
    live.signal("KILL");
    let (code, _) = live.end();
    assert_eq!(code, None, "killed");
    let output = Command::new(PROGRAM).args(["--format", "json"]).arg(&evidence).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["summary"]["by_cause"]["target-rst-no-response"], 3, "{report:#}");
    assert!(report["captures"].as_array().unwrap().iter().all(|it| it["damaged_at"].is_null()));
}

#[test]
fn a_full_disk_ends_the_writing_and_not_the_analysis() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    let folder = tempfile::tempdir().unwrap();
    let write = folder.path().to_str().unwrap();
    // A file system of 8 MiB in a mount namespace of its own, a quarter of which stays free.
    let script = "mount -t tmpfs -o size=8m none \"$1\" && exec \"$2\" live -i lo -p 8080 --user root \
                  -w \"$1\" --ring 100x1MB --min-free 25%";
    let missing = "were not written for want of space";
    let mut command = space.command("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", write, PROGRAM]);
    let mut live = Live::of(&mut command);
    space.python(TRAFFIC, &["20000000"]);
    live.wait_for("! why502: evidence is not written until there is more space");
    space.python(TRAFFIC, &["rst"]);
    live.wait_for("target-rst-no-response");
    live.signal("TERM");
    let (code, lines) = live.end();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(has(&lines, "1 of 2 requests failed: 1 target-rst-no-response"), "{lines:#?}");
    // How much is missing stands in the report, too.
    let report = lines.iter().position(|line| line.contains("What could not be seen")).unwrap();
    let said = lines[report..].join(" ");
    assert!(said.contains("evidence: ") && said.contains(missing), "{lines:#?}");
}

/// What is written after rights were given up is written as another user, and that is said.
#[test]
fn a_directory_that_its_user_may_not_write_is_said_with_what_to_do() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    let folder = tempfile::tempdir().unwrap();
    let write = folder.path().to_str().unwrap();
    let args = ["live", "-i", "lo", "-w", write, "--min-free", "1MiB", "--user", "nobody"];
    let output = space.command(PROGRAM).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in ["writes as nobody", &format!("chown nobody {write}"), "--user"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
