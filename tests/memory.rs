//! What it takes stays within bounds: `why502 live --max-memory` when the analysis cannot keep up (in a
//! network namespace, so as root; without root it says that it skips), and a report with more failures
//! than are kept in memory.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;
#[path = "../benches/traffic/mod.rs"]
mod traffic;

use serde_json::Value;
use std::thread::JoinHandle;
use std::time::Duration;
use support::say;
use support::space::{Live, Space, can_run};
use why502::cause::Finding;
use why502::flow::Flow;
use why502::report::{Records, Style, format};
use why502::run::{Listener, Settings, analyse};

/// Sends frames of connections with one request each, as fast as it can: more than a program that is
/// not optimised can analyse.
const FLOOD: &str = r#"
import socket, struct, sys, time
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("one", 0))
def frame(src, dst, sport, dport, seq, ack, flags, payload):
    ether = b"\x02\0\0\0\0\2\x02\0\0\0\0\1\x08\0"
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, src, dst)
    return ether + ip + struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 65535, 0, 0) + payload
server, end, n = bytes([192, 0, 2, 2]), time.time() + float(sys.argv[1]), 0
answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1200\r\n\r\n" + b"x" * 1200
while time.time() < end:
    for _ in range(100):
        src, port = bytes([10, n >> 16 & 255, n >> 8 & 255, n & 255]), 1024 + n * 7919 % 60000
        asked = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n
        n += 1
        for it in [(src, server, port, 8080, 999, 0, 2, b""), (server, src, 8080, port, 4999, 1000, 18, b""),
                   (src, server, port, 8080, 1000, 5000, 24, asked),
                   (server, src, 8080, port, 5000, 1000 + len(asked), 24, answer)]:
            try:
                out.send(frame(*it))
            except OSError:
                pass
"#;

/// What of a program that is built for tests the limit counts with, KiB: without optimisation it has several times
/// the code, of which kernels map more or less around what is run.
const COUNTED: u64 = 31 << 10;

/// A field of the status of a process, KiB.
fn status(id: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Resident memory of a process at its peak, KiB; known when it has ended.
fn peak(id: u32) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(kib) = status(id, "VmHWM:") {
            peak = kib;
            std::thread::sleep(Duration::from_millis(5));
        }
        peak
    })
}

#[test]
fn memory_stays_below_its_limit_when_the_analysis_cannot_keep_up() {
    if !can_run() {
        return;
    }
    let space = Space::new(
        "ip link add one mtu 9000 type veth peer name two mtu 9000 && ip link set one up && \
         ip link set two up",
    );
    let folder = tempfile::tempdir().unwrap();
    for (limit, evidence) in [(160, false), (160, true), (256, true)] {
        let path = folder.path().join("report.json");
        let write = folder.path().join(limit.to_string());
        let max = format!("{limit}MiB");
        let mut args = vec!["-i", "one", "-p", "8080", "--max-memory", &max, "--format", "json"];
        args.extend(["--user", "root", "-o", path.to_str().unwrap()]);
        if evidence {
            args.extend(["-w", write.to_str().unwrap(), "--keep-findings", "--min-free", "1MiB"]);
        }
        let live = Live::start(&space, &args);
        let mapped = status(live.id(), "RssFile:").unwrap_or(0);
        let peak = peak(live.id());
        space.python(FLOOD, &["6"]);
        live.signal("TERM");
        let (code, lines) = live.end();
        assert_eq!(code, Some(0), "{lines:#?}");
        let peak = peak.join().unwrap() - mapped.saturating_sub(COUNTED);
        let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let packets = report["summary"]["packets"].as_u64().unwrap();
        let left_out = "packets of connections that were left out to keep up";
        let left_out = report["summary"]["bounds"][left_out].as_u64().unwrap_or(0);
        say(&format!(
            "{limit} MiB: {} MiB at its peak, {packets} packets, {left_out} left out",
            peak / 1024
        ));
        assert!(packets > 10_000, "{packets}");
        assert!(peak < limit * 1024, "{peak} KiB of {limit} MiB");
    }
}

/// Passes what is told on to a format that is written while captures are read.
struct Told<'a>(Box<dyn Records + 'a>);

impl Listener for Told<'_> {
    fn flow(&mut self, flow: &Flow, tunnels: &[String]) {
        self.0.flow(flow, tunnels);
    }

    fn unlisted(&mut self, finding: &Finding) -> bool {
        self.0.unlisted(finding)
    }
}

#[test]
fn a_json_report_lists_more_failures_than_are_kept_in_memory() {
    const CONNECTIONS: u64 = 3_000;
    let capture = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(capture.path(), traffic::in_memory("refused", CONNECTIONS).unwrap()).unwrap();
    let settings = Settings { findings_max: Some(1_000), streamed: true, ..Settings::default() };
    let mut written = Vec::new();
    {
        let start = format("json").unwrap().stream.unwrap();
        let mut told = Told(start(&mut written, &Style::default(), false));
        let report = analyse(&[capture.path().to_owned()], &settings, &mut told).unwrap();
        assert_eq!((report.findings.len(), report.flows.len()), (1_000, 0));
        told.0.finish(&report).unwrap();
    }
    let report: Value = serde_json::from_slice(&written).unwrap();
    // Each connection has two packets, the second of which is its RST.
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len() as u64, CONNECTIONS);
    for (number, finding) in (0..).zip(findings) {
        assert_eq!(finding["cause"], "connect-refused");
        assert_eq!(finding["flow"].as_u64(), Some(number));
        assert_eq!(finding["evidence"][0]["frame"].as_u64(), Some(2 * number + 2));
    }
    let flows = report["flows"].as_array().unwrap();
    assert_eq!(flows.len() as u64, CONNECTIONS);
    assert!((0..).zip(flows).all(|(id, flow)| flow["id"].as_u64() == Some(id)));
    assert_eq!(report["summary"]["findings"].as_u64(), Some(CONNECTIONS));
    assert_eq!(report["summary"]["bounds"].as_object().map(|bounds| bounds.len()), Some(0));
}
