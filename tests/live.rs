//! `why502 live` on real interfaces: in network namespaces of our own, so as root. Without root it
//! says that it skips.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::say;
use support::space::{Live, PROGRAM, Space, can_run, has};

/// Exit code of `lab.py` on a machine that lacks something it needs.
const LAB_CANNOT_RUN: i32 = 2;
/// From the proof to the line: one second is promised, and a busy machine takes another.
const PROMISED_S: f64 = 2.0;

/// Requests to a server of `space` that fails as the paths say.
fn traffic(space: &Space, paths: &[&str]) {
    space.python(TRAFFIC, paths);
}

/// A server on port 8080 that answers, resets or closes, and its client.
const TRAFFIC: &str = r#"
import socket, struct, sys, threading, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 8080))
listener.listen(50)
def serve():
    while True:
        connection, _ = listener.accept()
        asked = connection.recv(65536)
        if b"/rst" in asked:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif b"/fin" not in asked:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.close()
threading.Thread(target=serve, daemon=True).start()
for path in sys.argv[1:]:
    try:
        client = socket.create_connection(("127.0.0.1", 1 if path == "/refused" else 8080), timeout=3)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        while client.recv(4096):
            pass
        client.close()
    except OSError:
        pass
    time.sleep(0.05)
"#;

#[test]
fn failures_are_told_as_they_happen_and_a_signal_ends_it_with_the_report() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    let mut live = Live::start(&space, &["-i", "lo", "-p", "8080,1"]);
    let said = &live.seen[0];
    assert!(said.contains("port 1, 8080 on lo; runs as nobody, keeps CAP_NET_RAW only"), "{said}");
    traffic(&space, &["/ok", "/rst", "/refused"]);
    live.wait_for(" target-rst-no-response (certain, target-app) ");
    live.wait_for(" connect-refused (certain, target-app) ");
    live.signal("USR1");
    let summary = live.wait_for("! why502: ");
    assert!(summary.contains("1 connect-refused, 1 target-rst-no-response"), "{summary}");
    live.signal("TERM");
    let (code, lines) = live.end();
    assert_eq!(code, Some(0));
    assert!(has(&lines, "1 of 2 requests failed: 1 target-rst-no-response"), "{lines:#?}");
    assert!(!has(&lines, "revised"), "{lines:#?}");
}

#[test]
fn it_ends_by_itself_after_so_many_failures_or_so_long() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    let live = Live::start(&space, &["-i", "lo", "-p", "8080", "--stop-after", "2", "--exit-code"]);
    traffic(&space, &["/rst", "/ok", "/fin"]);
    let (code, lines) = live.end();
    assert_eq!(code, Some(1));
    assert!(has(&lines, "2 of 3 requests failed"), "{lines:#?}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let path = path.to_str().unwrap();
    let args = ["-i", "lo", "--all-ports", "--duration", "3s", "--format", "json", "-o", path];
    let live = Live::start(&space, &args);
    traffic(&space, &["/fin"]);
    let (code, lines) = live.end();
    assert_eq!(code, Some(0));
    assert!(has(&lines, "target-fin-no-response"), "{lines:#?}");
    let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(report["captures"][0]["path"], "lo");
    assert_eq!(report["captures"][0]["format"], "live");
    assert_eq!(report["findings"][0]["cause"], "target-fin-no-response");
}

#[test]
fn an_interface_may_go_down_vanish_and_come_back() {
    if !can_run() {
        return;
    }
    const PAIR: &str = "ip link add one type veth peer name two && ip link set one up && \
                        ip link set two up && ip address replace 192.0.2.1/24 dev one";
    const SYN: &str = "ip neighbour replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev one && \
                       timeout 1.5 bash -c 'exec 3<>/dev/tcp/192.0.2.9/8080' ; true";
    let space = Space::new(PAIR);
    let args = ["-i", "one", "-i", "lo", "-p", "8080", "--format", "ndjson"];
    let mut live = Live::start(&space, &args);
    space.sh("ip link set one down && sleep 0.5 && ip link set one up");
    space.sh(SYN);
    space.sh("ip link delete one");
    live.wait_for("! why502: one: ");
    space.sh(PAIR);
    live.wait_for("one: is captured on again");
    space.sh(SYN);
    // The other interface went on all the time.
    traffic(&space, &["/rst"]);
    live.wait_for("target-rst-no-response");
    std::thread::sleep(Duration::from_secs(3));
    live.signal("INT");
    let (code, lines) = live.end();
    assert_eq!(code, Some(0));
    let timeouts: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line.contains("\"connect-timeout"))
        .filter_map(|line| line.split("\"flow\":").nth(1)?.split(',').next())
        .collect();
    assert_eq!(timeouts.len(), 2, "{lines:#?}");
}

#[test]
fn without_rights_it_says_what_would_give_them() {
    if !can_run() {
        return;
    }
    // Somewhere that an unprivileged user may go.
    let folder = tempfile::Builder::new().prefix("why502-live").tempdir_in("/tmp").unwrap();
    let program = folder.path().join("why502");
    std::fs::copy(PROGRAM, &program).unwrap();
    let open = ["755".as_ref(), folder.path().as_os_str(), program.as_os_str()];
    assert!(Command::new("chmod").args(open).status().unwrap().success());
    let drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(drop).arg(&program).arg("live").args(args).output().unwrap()
    };
    let output = as_nobody(&["-i", "lo", "-p", "80"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("lo: capturing needs rights that this user lacks"), "{said}");
    let setcap = format!("sudo setcap cap_net_raw+ep {}", program.display());
    assert!(said.contains(&setcap), "{said}");
    assert!(said.contains(&format!("sudo {} live", program.display())), "{said}");

    // The right given to the program is enough, and is given up.
    if Command::new("setcap").arg("cap_net_raw+ep").arg(&program).status().is_err() {
        return say("not tried with setcap, which is not installed");
    }
    let output = as_nobody(&["-i", "any", "-p", "80", "--duration", "500ms"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("on any; without capabilities, cannot gain rights"), "{said}");
}

#[test]
fn what_cannot_be_captured_is_said() {
    if !can_run() {
        return;
    }
    let space = Space::new("true");
    for (args, why) in [
        (&["-i", "none0"][..], "none0: cannot be captured on"),
        (&["-i", "lo", "-f", "tcp port"], "'tcp port' is not a libpcap filter"),
        (&[], "no interface has a default route"),
        (&["-i", "lo", "--user", "nobody-here"], "nobody-here: no such user"),
        (&["-i", "lo", "-o", "/none/report"], "/none/report: cannot be written"),
    ] {
        let output = space.command(PROGRAM).arg("live").args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
}

/// One failure: client, position of the request, cause.
type Failure = (String, u64, String);

fn failure(finding: &Value) -> Failure {
    let client = format!("{}:{}", finding["client"]["ip"], finding["client"]["port"]);
    let ordinal = finding["request"]["ordinal"].as_u64().unwrap_or(0);
    (client, ordinal, finding["cause"].as_str().unwrap().to_owned())
}

/// What `why502` says of a capture file made on the host with these addresses, record by record.
fn offline(path: &Path, local: &str) -> Vec<Value> {
    let mut command = Command::new(PROGRAM);
    command.args(["--format", "ndjson"]).arg(path);
    for address in local.lines() {
        command.args(["--local", address]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Seconds since 1970.
fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_nanosecond() as f64 / 1e9
}

/// How well one live run agrees with the file of the same packets.
#[derive(Debug, Default)]
struct Agreement {
    failures: usize,
    checks: usize,
    /// From the proof to the line, seconds.
    delays: Vec<f64>,
    late: Vec<String>,
}

fn compare(live: &Path, agreement: &mut Agreement) {
    let text = std::fs::read_to_string(live).unwrap();
    let lines: Vec<(f64, Value)> = text
        .lines()
        .map(|line| {
            let (at, record) = line.split_once(' ').unwrap();
            (at.parse().unwrap(), serde_json::from_str(record).unwrap())
        })
        .collect();
    let of = |kind: &'static str| lines.iter().filter(move |(_, it)| it["record"] == kind);
    let local = std::fs::read_to_string(live.with_extension("live.local")).unwrap();
    let file = offline(&live.with_extension("pcap"), &local);
    let wanted: BTreeSet<Failure> =
        file.iter().filter(|it| it["record"] == "finding").map(failure).collect();
    let last: BTreeSet<Failure> = of("finding")
        .filter(|(_, finding)| finding["early"].is_null())
        .map(|(_, finding)| failure(finding))
        .collect();
    assert_eq!(last, wanted, "{}", live.display());
    agreement.failures += wanted.len();
    let check = |it: &Value| (it["frame"].to_string(), it["outcome"].to_string());
    let checks: BTreeSet<_> = of("check").map(|(_, it)| check(it)).collect();
    let in_file: BTreeSet<_> =
        file.iter().filter(|it| it["record"] == "check").map(check).collect();
    assert_eq!(checks, in_file, "{}", live.display());
    agreement.checks += checks.len();

    let mut first: BTreeMap<(String, u64), f64> = BTreeMap::new();
    for (at, finding) in of("finding") {
        let (client, ordinal, _) = failure(finding);
        first.entry((client, ordinal)).or_insert(*at);
    }
    for (_, finding) in of("finding").filter(|(_, finding)| finding["early"].is_null()) {
        let (client, ordinal, cause) = failure(finding);
        let evidence = finding["evidence"].as_array().unwrap();
        let proof = evidence.iter().map(|it| seconds(&it["time"])).fold(0.0, f64::max);
        let delay = first[&(client, ordinal)] - proof;
        agreement.delays.push(delay);
        if delay > PROMISED_S {
            agreement.late.push(format!("{cause} {delay:.1} s"));
        }
    }
}

#[test]
fn faults_have_the_same_cause_live_as_in_the_file_and_are_told_within_a_second() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab.py");
    let only = "read-fin,think-rst,body-fin,no-response,app-503,garbage,race-fin,refused,net-drop,nlb-http";
    let output = Command::new("python3")
        .arg(lab)
        .args(["--only", only, "--proxy", "nginx,haproxy,direct", "--jobs", "2", "--out"])
        .arg(folder.path())
        .env("WHY502_LIVE", PROGRAM)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(LAB_CANNOT_RUN) {
        let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
        assert!(!required, "{said}");
        return say(&format!("skipped: {}", said.trim_end()));
    }
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    let mut lives = Vec::new();
    find(folder.path(), &mut lives);
    assert!(lives.len() >= 20, "{lives:?}");
    let mut agreement = Agreement::default();
    lives.iter().for_each(|live| compare(live, &mut agreement));
    agreement.delays.sort_by(f64::total_cmp);
    let (half, all) = (agreement.delays.len() / 2, agreement.delays.last());
    say(&format!(
        "{} failures and {} checks are the same; told {:.2} s after their proof, at most {:.2} s",
        agreement.failures,
        agreement.checks,
        agreement.delays[half],
        all.unwrap(),
    ));
    assert!(agreement.failures > 40 && agreement.checks > 10, "{agreement:?}");
    // Silence is decided by more silence, and cuts by other cuts.
    assert!(agreement.late.len() * 10 <= agreement.failures, "{agreement:?}");
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "live") {
            found.push(path);
        }
    }
}
