//! `why502 live` when an interface goes down, loses its carrier or vanishes. In a network namespace, so
//! as root; without root it says that it skips.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use support::space::{Live, Space, can_run, has};

const PAIR: &str =
    "ip link add one type veth peer name two && ip link set one up && ip link set two up";

/// Until packets pass: the kernel looks at carriers once a second.
const SETTLE: &str = "sleep 1.2";

/// Puts SYNs and RSTs of port 8080 on the wire, of connections by their client's port.
const SEND: &str = r#"
import socket, struct, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("two", 0))
what, port = sys.argv[1], int(sys.argv[2])
client, server = (bytes([192, 0, 2, 1]), port), (bytes([192, 0, 2, 2]), 8080)
(source, destination), seq, ack, flags = {
    "syn": ((client, server), 1000, 0, 2), "refused": ((server, client), 0, 1001, 20)}[what]
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, source[0], destination[0])
tcp = struct.pack("!HHIIBBHHH", source[1], destination[1], seq, ack, 0x50, flags, 65535, 0, 0)
out.send(b"\x02\0\0\0\0\2\x02\0\0\0\0\1\x08\0" + ip + tcp)
"#;

fn finding(report: &Value, port: u64) -> (String, Vec<Value>) {
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|it| it["client"]["port"] == port);
    let finding = finding.unwrap_or_else(|| panic!("{port}: {findings:#?}"));
    assert_eq!(finding["cause"], "connect-refused");
    let spots = finding["blind_spots"].as_array().unwrap().clone();
    (finding["confidence"].as_str().unwrap().to_owned(), spots)
}

/// Of a capture of all interfaces every link counts, not only that of the default route.
#[test]
fn every_link_of_any_is_watched() {
    if !can_run() {
        return;
    }
    let more =
        "ip link add three type veth peer name four && ip link set three up && ip link set four up";
    let route = "ip addr add 198.51.100.1/24 dev three && ip route add default via 198.51.100.2";
    let space = Space::new(&format!("{PAIR} && {more} && {route} && {SETTLE}"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let args = ["-i", "any", "-p", "8080", "--format", "json", "-o", path.to_str().unwrap()];
    let mut live = Live::start(&space, &args);
    space.python(SEND, &["syn", "1111"]);
    space.sh("ip link set one down");
    live.wait_for("one: is down: no packets");
    space.sh(&format!("ip link set one up && {SETTLE}"));
    live.wait_for("one: gives packets again, after ");
    space.python(SEND, &["refused", "1111"]);
    // A link of a container that goes away hides nothing that comes later.
    space.sh("ip link set four down && ip link delete three && sleep 0.5");
    space.python(SEND, &["syn", "2222"]);
    space.python(SEND, &["refused", "2222"]);
    live.wait_for("2222 >");
    live.signal("TERM");
    let (code, lines) = live.end();
    assert_eq!(code, Some(0), "{lines:#?}");
    let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let warnings = report["captures"][0]["warnings"].to_string();
    assert!(warnings.contains("one: down from 2"), "{warnings}");
    let (first, second) = (finding(&report, 1111), finding(&report, 2222));
    assert_eq!((first.0.as_str(), first.1.contains(&"gap".into())), ("likely", true));
    assert_eq!((second.0.as_str(), second.1.contains(&"gap".into())), ("certain", false));
}

#[test]
fn an_interface_that_was_down_is_a_blind_spot_of_what_spans_that_time() {
    if !can_run() {
        return;
    }
    let space = Space::new(PAIR);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let args = ["-i", "one", "-p", "8080", "--format", "json", "-o", path.to_str().unwrap()];
    let mut live = Live::start(&space, &args);
    space.python(SEND, &["syn", "1111"]);
    space.sh("ip link set one down");
    live.wait_for("one: is down: no packets");
    space.sh(&format!("sleep 3 && ip link set one up && {SETTLE}"));
    let again = live.wait_for("one: gives packets again, after ");
    assert!(again.contains("after 3."), "{again}");
    space.python(SEND, &["refused", "1111"]);
    space.python(SEND, &["syn", "2222"]);
    space.python(SEND, &["refused", "2222"]);
    live.wait_for("2222 >");
    // The other end's carrier is ours.
    space.sh("ip link set two down");
    live.wait_for("one: is without carrier: no packets");
    space.sh(&format!("ip link set two up && {SETTLE}"));
    live.wait_for("one: gives packets again");
    // Deleted and made anew: it has to be opened again.
    space.python(SEND, &["syn", "3333"]);
    space.sh("ip link delete one");
    live.wait_for("one: The interface disappeared");
    space.sh(PAIR);
    live.wait_for("one: is captured on again, after ");
    space.sh(SETTLE);
    space.python(SEND, &["refused", "3333"]);
    space.python(SEND, &["syn", "4444"]);
    space.python(SEND, &["refused", "4444"]);
    live.wait_for("4444 >");
    live.signal("TERM");
    let (code, lines) = live.end();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert!(has(&lines, "! why502: one: down from "), "{lines:#?}");

    let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let warnings = report["captures"][0]["warnings"].as_array().unwrap();
    let starts = ["down from 2", "without carrier from 2", "gone from 2"];
    assert_eq!(warnings.len(), starts.len(), "{warnings:?}");
    for (warning, start) in warnings.iter().zip(starts) {
        let warning = warning.as_str().unwrap();
        assert!(warning.starts_with(start) && warning.contains("Z to 2"), "{warning}");
        assert!(warning.ends_with(": what passed meanwhile is not in the capture"), "{warning}");
    }
    for (port, confidence, hidden) in [
        (1111, "likely", true),
        (2222, "certain", false),
        (3333, "likely", true),
        (4444, "certain", false),
    ] {
        let (said, spots) = finding(&report, port);
        assert_eq!((said.as_str(), spots.contains(&"gap".into())), (confidence, hidden), "{port}");
    }
    assert_eq!(report["summary"]["blind_spots"]["gap"], 2, "flows");
    let flows = report["flows"].as_array().unwrap();
    let gaps = |flow: &&Value| flow["blind_spots"].as_array().unwrap().contains(&"gap".into());
    assert_eq!(flows.iter().filter(gaps).count(), 2);
}
