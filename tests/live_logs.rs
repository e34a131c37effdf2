//! `why502 live --log`: the lines that are written during a capture are joined at its end, also when the
//! log is renamed meanwhile. In a network namespace of its own, so as root; without root it says that it skips.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::process::Command;
use support::say;

const PROGRAM: &str = env!("CARGO_BIN_EXE_why502");

/// A server that writes a line of each request and resets some of them.
const TRAFFIC: &str = r#"
import datetime, json, os, socket, struct, subprocess, sys, threading, time
program, log = sys.argv[1:]
def write(client, path, status):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    with open(log, "a") as out:
        out.write(json.dumps({"time": now, "client": f"127.0.0.1:{client}", "status": status,
                              "request": f"GET {path} HTTP/1.1"}) + "\n")
listener = socket.create_server(("127.0.0.1", 8080), backlog=50)
def serve():
    while True:
        connection, peer = listener.accept()
        path = connection.recv(65536).split(b" ")[1].decode()
        if "/rst" in path:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        write(peer[1], path, 502 if "/rst" in path else 200)
        connection.close()
threading.Thread(target=serve, daemon=True).start()
write(1, "/old", 200)
live = subprocess.Popen([program, "live", "-i", "lo", "--port", "8080", "--log", log, "--format", "json", "--all",
                         "--duration", "6s"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
while b"captures" not in live.stderr.readline():
    pass
for n in range(30):
    if n == 15:
        os.rename(log, log + ".1")
        time.sleep(1.5)
    with socket.create_connection(("127.0.0.1", 8080), timeout=3) as client:
        client.sendall(f"GET /{'rst' if n % 5 == 0 else 'ok'}/{n} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        try:
            while client.recv(4096):
                pass
        except OSError:
            pass
    time.sleep(0.02)
report, _ = live.communicate(timeout=60)
os.write(1, report)
"#;

#[test]
fn lines_that_are_written_during_the_capture_are_joined_also_of_a_new_file() {
    let ours = Command::new("unshare").args(["--net", "true"]).output();
    if !ours.is_ok_and(|output| output.status.success()) {
        let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
        assert!(!required, "no network namespace can be made");
        return say("skipped: no network namespace can be made (root is needed)");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    // Rights are given up before the log is renamed and another one takes its place.
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).unwrap();
    let output = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec python3 -c \"$0\" \"$@\"",
            TRAFFIC,
            PROGRAM,
        ])
        .arg(&log)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = &report["logs"]["sources"][0];
    assert_eq!((source["lines"].as_u64(), source["bad"].as_u64()), (Some(31), Some(0)), "{source}");
    assert_eq!(source["joined"].as_u64(), Some(30), "{source}");
    assert_eq!(source["clock_certainty"], "certain", "{source}");
    assert_eq!(report["logs"]["disagreements"].as_array().map(Vec::len), Some(0));
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 6, "{findings:?}");
    for finding in findings {
        let line = &finding["log"][0];
        assert_eq!(
            (line["status"].as_u64(), &line["tied_by"]),
            (Some(502), &Value::from("port")),
            "{finding}"
        );
    }
}
