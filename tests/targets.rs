//! Health of targets, from captures written packet by packet through the whole program.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::fs;
use std::process::Command;
use support::wire::{Address, OK, UNAVAILABLE, Wire, asks};
use why502::packet::Flags;

const TARGET: Address = ([10, 0, 2, 9], 8080);
const NODE: [u8; 4] = [10, 0, 1, 7];
const OTHER_NODE: [u8; 4] = [10, 0, 1, 8];
const THRESHOLDS: [&str; 4] = ["--hc-healthy", "2", "--hc-unhealthy", "2"];

/// What the program says about a capture: status, standard output, standard error.
fn run(wire: Wire, args: &[&str], config: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (capture, settings) = (folder.path().join("a.pcap"), folder.path().join("why502.toml"));
    fs::write(&capture, wire.pcap()).unwrap();
    fs::write(&settings, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_why502"))
        .args(args)
        .args(["--no-progress", "--config"])
        .arg(&settings)
        .arg(&capture)
        .env("LANG", "C.UTF-8")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(wire: Wire, args: &[&str]) -> Value {
    let (status, out, err) = run(wire, &[&["--format", "json"], args].concat(), "");
    assert_eq!(status, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn text(wire: Wire, args: &[&str]) -> String {
    let (status, out, err) = run(wire, args, "");
    assert_eq!(status, 0, "{err}");
    for line in out.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    out
}

/// Ids of notes of a target.
fn ids<'a>(target: &'a Value, list: &str) -> Vec<&'a str> {
    target[list].as_array().unwrap().iter().map(|note| note["id"].as_str().unwrap()).collect()
}

fn states(target: &Value) -> Vec<&str> {
    let timeline = target["timeline"].as_array().unwrap();
    timeline.iter().map(|entry| entry["state"].as_str().unwrap()).collect()
}

/// Checks every 10 s: `+` passes, `M` is a 503, `R` refused, `X` closed, `S` silent.
fn series(wire: &mut Wire, node: [u8; 4], letters: &str, first_ms: i64) {
    for (n, letter) in (0..).zip(letters.chars()) {
        let ms = first_ms + n * 10_000;
        let asked = asks(TARGET, "/health");
        match letter {
            '+' => wire.check(ms, node, TARGET, OK),
            'M' => wire.check(ms, node, TARGET, UNAVAILABLE),
            'R' => wire
                .connect(ms, node, TARGET)
                .flags(0, Flags::SYN)
                .flags(1, Flags::RST | Flags::ACK)
                .end(),
            'X' => wire
                .connect(ms, node, TARGET)
                .open()
                .say(0, asked)
                .wait(2)
                .flags(1, Flags::RST | Flags::ACK)
                .end(),
            _ => wire
                .connect(ms, node, TARGET)
                .open()
                .say(0, asked)
                .flags(1, Flags::ACK)
                .wait(5_000)
                .flags(0, Flags::FIN | Flags::ACK)
                .flags(1, Flags::ACK)
                .end(),
        }
    }
}

#[test]
fn every_check_has_its_outcome_and_every_state_its_frame() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "+++RRXS++MM++", 0);
    let report = json(wire, &THRESHOLDS);
    let target = &report["targets"][0];
    let prober = &target["probers"][0];
    assert_eq!(prober["id"], "aws-alb");
    let outcomes: Vec<&str> = prober["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["outcome"].as_str().unwrap())
        .collect();
    let (pass, refused, wrong) = ("hc-pass", "hc-refused", "hc-status-mismatch");
    let wanted = [
        pass,
        pass,
        pass,
        refused,
        refused,
        "hc-closed",
        "hc-timeout",
        pass,
        pass,
        wrong,
        wrong,
        pass,
        pass,
    ];
    assert_eq!(outcomes, wanted);
    let (unhealthy, healthy) = ("unhealthy", "healthy");
    assert_eq!(states(target), ["unknown", healthy, unhealthy, healthy, unhealthy, healthy]);
    let down = &target["timeline"][2];
    assert_eq!(down["reason"], "Target.FailedHealthChecks");
    let fifth = &prober["checks"][4];
    assert_eq!(down["frame"], fifth["decided_frame"]);
    assert_eq!(target["timeline"][4]["reason"], "Target.ResponseCodeMismatch");
    assert_eq!(report["summary"]["health_checks"], 13);
    assert_eq!(report["summary"]["by_outcome"][pass], 7);
    let settings = &prober["settings"];
    assert_eq!(settings["interval_s"]["value"].as_f64().unwrap().round(), 10.0);
    assert_eq!(settings["interval_s"]["origin"], "estimated");
    assert_eq!(settings["timeout_s"]["value"].as_f64().unwrap().round(), 5.0);
    assert_eq!(
        (&settings["path"]["value"], &settings["healthy_threshold"]["origin"]),
        (&Value::from("/health"), &Value::from("given"))
    );
}

#[test]
fn failing_checks_are_findings_of_their_own_kind_and_no_failed_requests() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "++RXSM+", 0);
    let report = json(wire, &[]);
    let findings = report["findings"].as_array().unwrap();
    let kinds: Vec<&str> = findings.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["health-check"; 4], "{findings:#?}");
    let causes: Vec<&str> = findings.iter().map(|it| it["cause"].as_str().unwrap()).collect();
    assert_eq!(
        causes,
        ["connect-refused", "target-rst-no-response", "response-timeout", "target-own-5xx"]
    );
    let summary = &report["summary"];
    assert_eq!(
        (&summary["failed_requests"], &summary["failed_connections"], &summary["failed_checks"]),
        (&Value::from(0), &Value::from(0), &Value::from(4))
    );
    let flows = report["flows"].as_array().unwrap();
    assert!(flows.iter().all(|flow| flow["probe"] == "aws-alb"));
}

#[test]
fn a_status_that_no_cause_knows_is_a_finding_too() {
    let mut wire = Wire::default();
    for n in 0..4 {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        wire.check(n * 10_000, NODE, TARGET, answer);
    }
    let report = json(wire, &[]);
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["cause"], &finding["kind"]),
        (&Value::from("hc-status-mismatch"), &Value::from("health-check"))
    );
    assert_eq!(finding["request"]["target"], "/health");
    assert_eq!(finding["response"]["status"], 404);
    assert_eq!(report["summary"]["by_cause"]["hc-status-mismatch"], 4);
    let target = &report["targets"][0];
    let path = target["triage"].as_array().unwrap().iter().find(|it| it["id"] == "path-and-port");
    assert_eq!(path.unwrap()["answer"], "no");
    assert!(ids(target, "remarks").contains(&"no-check-passed"));
}

#[test]
fn a_matcher_that_accepts_the_error_makes_it_no_failure() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "MMMM", 0);
    let report = json(wire, &["--hc-matcher", "200-599"]);
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    assert_eq!(report["summary"]["by_outcome"]["hc-pass"], 4);
}

#[test]
fn two_nodes_decide_by_majority_and_are_told_apart() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "+++RRR", 0);
    series(&mut wire, OTHER_NODE, "++++++", 5_000);
    let report = json(wire, &THRESHOLDS);
    let target = &report["targets"][0];
    assert_eq!(states(target), ["unknown", "healthy"], "split in halves: as before");
    let nodes = target["probers"][0]["nodes"].as_array().unwrap();
    let held: Vec<&str> = nodes.iter().map(|node| node["state"].as_str().unwrap()).collect();
    assert_eq!(held, ["unhealthy", "healthy"]);
    assert_eq!(nodes[0]["failures_in_a_row"], 3);
}

/// A kubelet asks for readiness and for life; only the first fails for a while.
#[test]
fn each_of_two_probes_has_its_own_states_and_is_named_by_its_path() {
    let probed = || {
        let mut wire = Wire::default();
        for n in 0..12 {
            for (path, after_ms) in [("/ready", 0), ("/live", 3_000)] {
                let fails = path == "/ready" && (4..8).contains(&n);
                wire.connect(n * 10_000 + after_ms, NODE, TARGET)
                    .open()
                    .say(
                        0,
                        format!(
                            "GET {path} HTTP/1.1\r\nHost: 10.0.2.9:8080\r\n\
                             User-Agent: kube-probe/1.29\r\nAccept: */*\r\n\
                             Connection: close\r\n\r\n"
                        ),
                    )
                    .wait(5)
                    .say(1, if fails { UNAVAILABLE } else { OK })
                    .close();
            }
        }
        wire
    };
    let report = json(probed(), &[]);
    let probers = report["targets"][0]["probers"].as_array().unwrap();
    let changes: Vec<(&str, Vec<&str>)> = probers
        .iter()
        .map(|prober| (prober["settings"]["path"]["value"].as_str().unwrap(), states(prober)))
        .collect();
    let ready = vec!["unknown", "healthy", "unhealthy", "healthy"];
    assert_eq!(changes, [("/ready", ready), ("/live", vec!["unknown", "healthy"])]);
    let said = text(probed(), &[]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("by Kubernetes kubelet probe (/ready)"), "{said}");
    assert!(said.contains("by Kubernetes kubelet probe (/live)"), "{said}");
}

#[test]
fn nothing_arrives_at_an_expected_target() {
    let mut wire = Wire::default();
    wire.alive(0);
    wire.alive(300_000);
    let text = text(wire, &["--lb-type", "alb", "--expect-target", "10.0.2.9:8080"]);
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("no health check from any load balancer arrived at 10.0.2.9:8080"),
        "{text}"
    );
    assert!(text.contains("in 10 intervals of 30 s"), "{text}");
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in\n{text}"));
    let order =
        ["egress: TCP 8080", "ingress: TCP 8080", "Network ACLs", "Port: is 8080", "Registration:"];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{text}");
}

#[test]
fn silence_for_less_than_an_interval_proves_nothing() {
    let mut wire = Wire::default();
    wire.alive(0);
    wire.alive(12_000);
    let report = json(wire, &["--lb-type", "alb", "--expect-target", "10.0.2.9:8080"]);
    assert_eq!(report["targets"][0]["absence"]["id"], "capture-too-short");
}

#[test]
fn syns_without_answer_are_told_by_where_they_were_seen() {
    for (vantage, id) in [("lb", "syn-leaves-unanswered"), ("target", "syn-arrives-unanswered")] {
        let mut wire = Wire::default();
        for n in 0..5 {
            wire.connect(n * 10_000, NODE, TARGET).flags(0, Flags::SYN);
        }
        let args = ["--vantage", vantage, "--expect-target", "10.0.2.9:8080"];
        let report = json(wire, &args);
        assert_eq!(report["targets"][0]["absence"]["id"], id);
    }
}

#[test]
fn checks_that_stop_while_users_go_on_are_pointed_out() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "++++++", 0);
    for n in 0..12 {
        let request = format!(
            "GET /page/{n} HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 203.0.113.{n}\r\n\r\n"
        );
        let connection = wire.connect(n * 10_000 + 3_000, NODE, TARGET).open();
        connection.say(0, request).wait(5).say(1, OK).close().end();
    }
    let report = json(wire, &[]);
    let target = &report["targets"][0];
    assert_eq!(target["absence"]["id"], "checks-stopped");
    assert!(target["absence"]["text"].as_str().unwrap().contains("other traffic goes on"));
    assert_eq!(*states(target).last().unwrap(), "unavailable");
}

/// Of one direction only: that checks arrive is seen, what they are answered is not, and they are no requests of users.
#[test]
fn checks_without_their_answers_arrive_all_the_same() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "++++++", 0);
    let report = json(wire, &["-f", "dst port 8080"]);
    let target = &report["targets"][0];
    assert_eq!(target["probers"][0]["checks"].as_array().unwrap().len(), 6);
    let points = target["triage"].as_array().unwrap();
    let why = |id: &str| points.iter().find(|it| it["id"] == id).unwrap()["text"].as_str().unwrap();
    let no_answers = "checks arrive; how they were answered is not in the capture";
    assert_eq!([why("app-up"), why("path-and-port")], [no_answers; 2]);
    assert_eq!(why("lb-egress"), "its checks come through");
    assert_eq!(report["summary"]["unknown_requests"], 0);
}

#[test]
fn checks_that_their_prober_resets_once_they_passed_are_no_undecidable_requests() {
    let mut wire = Wire::default();
    for turn in 0..10 {
        let check = wire.connect(turn * 2_000, NODE, TARGET).open();
        let check = check.say(0, "OPTIONS / HTTP/1.0\r\n\r\n").wait(1);
        check.say(1, "HTTP/1.0 200 OK\r\n").flags(0, Flags::RST | Flags::ACK).end();
    }
    let report = json(wire, &[]);
    assert_eq!(report["targets"][0]["probers"][0]["by_outcome"]["hc-pass"], 10);
    assert_eq!(report["summary"]["unknown_requests"], 0);
}

#[test]
fn a_target_that_mostly_refuses_is_told_from_one_that_nothing_reaches() {
    let absence = |accepted: i64| {
        let mut wire = Wire::default();
        for n in 0..8 {
            let syn = wire.connect(n * 7_300, NODE, TARGET).flags(0, Flags::SYN);
            syn.flags(1, Flags::RST | Flags::ACK).end();
        }
        for n in 0..accepted {
            wire.connect(60_000 + n * 1_700, [203, 0, 113, 9], TARGET).open().say(0, "x").close();
        }
        let report = json(wire, &["--expect-target", "10.0.2.9:8080", "--hc-interval", "5"]);
        report["targets"][0]["absence"]["id"].clone()
    };
    assert_eq!((absence(0), absence(1)), ("refused".into(), "refused".into()));
    assert_eq!(absence(20), "no-check-recognised", "nobody can say of what says x");
}

#[test]
fn traffic_to_an_unhealthy_target_is_failing_open_and_users_may_notice_first() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "++++++++RRRRRR", 0);
    for n in 0..8 {
        let ms = n * 10_000 + 76_000;
        let request =
            format!("GET /p/{n} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n");
        let connection = wire.connect(ms, NODE, TARGET).open().say(0, request).wait(3);
        connection.flags(1, Flags::RST | Flags::ACK).end();
    }
    let report = json(wire, &THRESHOLDS);
    let target = &report["targets"][0];
    let remarks = ids(target, "remarks");
    assert!(remarks.contains(&"fail-open") && remarks.contains(&"passive-lead"), "{target:#}");
    let users = &target["users"];
    assert_eq!(
        (&users["failed"], &users["failed_while_healthy"]),
        (&Value::from(8), &Value::from(2))
    );
    assert_eq!(report["summary"]["failed_requests"], 8);
}

#[test]
fn connections_that_end_with_the_targets_health_are_the_load_balancers_doing() {
    let remarks = |until: i64| {
        let mut wire = Wire::default();
        series(&mut wire, NODE, "+++++RRRR", 0);
        for n in 0..3 {
            let asked = "GET /p HTTP/1.1\r\nHost: shop.example\r\n\r\n";
            let connection = wire.connect(30_000 + n, [203, 0, 113, 7 + n as u8], TARGET);
            let idle = connection.open().say(0, asked).wait(3).say(1, OK).wait(until - 30_000);
            idle.flags(0, Flags::RST | Flags::ACK).end();
        }
        let report = json(wire, &THRESHOLDS);
        assert_eq!(report["summary"]["failed_requests"], 0);
        ids(&report["targets"][0], "remarks").contains(&"taken-out")
    };
    assert!(remarks(62_000), "two seconds after the second failure");
    assert!(!remarks(48_000) && !remarks(75_000), "before it, and long after it");
}

#[test]
fn slow_redirected_and_heavy_checks_get_advice() {
    let mut wire = Wire::default();
    let page = "x".repeat(20_000);
    let heavy = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20000\r\n\r\n{page}"
    );
    for n in 0..4 {
        let asked = asks(TARGET, "/");
        let mut connection =
            wire.connect(n * 10_000, NODE, TARGET).open().say(0, asked).wait(3_000);
        for part in heavy.as_bytes().chunks(1_400) {
            connection = connection.say(1, part).flags(0, Flags::ACK);
        }
        connection.close().end();
    }
    let report = json(wire, &["--hc-timeout", "5"]);
    let target = &report["targets"][0];
    let advice = ids(target, "advice");
    assert!(advice.contains(&"root-path") && advice.contains(&"big-body"), "{advice:?}");
    assert!(ids(target, "remarks").contains(&"slow-checks"), "{target:#}");
    let mut wire = Wire::default();
    let moved =
        "HTTP/1.1 301 Moved Permanently\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n";
    for n in 0..4 {
        wire.check(n * 10_000, NODE, TARGET, moved);
    }
    let report = json(wire, &[]);
    assert!(ids(&report["targets"][0], "advice").contains(&"redirect"));
}

#[test]
fn a_target_that_was_never_checked_before_is_initial() {
    let mut wire = Wire::default();
    wire.alive(0);
    series(&mut wire, NODE, "MMM++", 65_000);
    let report = json(wire, &["--hc-interval", "10"]);
    let target = &report["targets"][0];
    assert_eq!(states(target), ["initial", "unhealthy"]);
    assert_eq!(target["timeline"][0]["reason"], "Elb.InitialHealthChecking");
    let mut wire = Wire::default();
    wire.alive(0);
    series(&mut wire, NODE, "M+++", 65_000);
    let report = json(wire, &["--hc-interval", "10"]);
    assert_eq!(states(&report["targets"][0]), ["initial", "healthy"], "one pass ends it");
}

#[test]
fn users_alone_make_no_target() {
    let mut wire = Wire::default();
    for n in 0..40 {
        let ms = n * n * 137 % 90_000;
        let request =
            format!("GET /p{n} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\n\r\n");
        let client = [203, 0, 113, (n % 7) as u8];
        wire.connect(ms, client, TARGET).open().say(0, request).wait(5).say(1, OK).close().end();
    }
    let report = json(wire, &[]);
    assert_eq!(report["targets"], Value::Array(Vec::new()));
    assert_eq!(report["summary"]["health_checks"], 0);
}

#[test]
fn ndjson_has_checks_transitions_and_targets() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "++RR", 0);
    let args = [&["--format", "ndjson"][..], &THRESHOLDS].concat();
    let (status, out, _) = run(wire, &args, "");
    assert_eq!(status, 0);
    let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| records.iter().filter(|record| record["record"] == kind).count();
    assert_eq!((of("check"), of("transition"), of("target"), of("summary")), (4, 3, 1, 1));
    let check = records.iter().find(|record| record["record"] == "check").unwrap();
    assert_eq!(
        (&check["prober"], &check["server"]["port"]),
        (&Value::from("aws-alb"), &Value::from(8080))
    );
    let last = records.iter().rfind(|record| record["record"] == "transition").unwrap();
    assert_eq!(
        (&last["state"], &last["reason"]),
        (&Value::from("unhealthy"), &Value::from("Target.FailedHealthChecks"))
    );
}

#[test]
fn settings_of_a_file_hold_for_its_targets_and_bad_ones_are_refused() {
    let group = |interval: u32| {
        format!(
            "[[target-group]]\nname = \"web\"\nlb-type = \"alb\"\ntargets = [\"10.0.2.9:8080\"]\n\
             interval = {interval}\ntimeout = 5\n"
        )
    };
    let checked = || {
        let mut wire = Wire::default();
        series(&mut wire, NODE, "+++", 0);
        wire
    };
    let (status, out, err) = run(checked(), &["--format", "json"], &group(10));
    assert_eq!(status, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let target = &report["targets"][0];
    assert_eq!((&target["group"], &target["expected"]), (&Value::from("web"), &Value::from(true)));
    assert_eq!(target["probers"][0]["settings"]["timeout_s"]["origin"], "given");
    let (status, _, err) = run(checked(), &[], &group(1));
    assert_eq!(status, 2);
    assert!(
        err.contains("why502.toml:5: interval 1: AWS Application Load Balancer")
            && err.contains("from 5 s to 300 s"),
        "{err}"
    );
    let (status, _, err) = run(checked(), &["--lb-type", "nlb", "--hc-unhealthy", "11"], "");
    assert_eq!(status, 2);
    assert!(err.contains("--hc-unhealthy 11") && err.contains("from 2 to 10"), "{err}");
}

#[test]
fn the_report_shows_a_strip_and_fits() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, &"+".repeat(60), 0);
    series(&mut wire, NODE, "RRRR", 600_000);
    let text = text(wire, &THRESHOLDS);
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("target 10.0.2.9:8080 is unhealthy (Target.FailedHealthChecks) since"),
        "{text}"
    );
    assert!(text.contains(&format!("Checks        {}RRRR", "+".repeat(60))), "{text}");
    for question in [
        "Application up?",
        "Port listening?",
        "Check path and port right?",
        "Target ingress open?",
        "Load balancer egress open?",
    ] {
        assert!(text.contains(question), "{question}");
    }
    assert!(text.contains("5 s (user guide) and 6 s (API reference"), "{text}");
}

#[test]
fn what_is_said_of_checks_that_stop_agrees_with_the_traffic_that_goes_on() {
    let capture = "captures/absent-checks/direct-checks-stop-lb.pcap";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(capture);
    let output = Command::new(env!("CARGO_BIN_EXE_why502")).arg(path).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for text in [
        "198.51.100.20:8080: healthy, none of 12 checks failed",
        "while other traffic goes on",
        "draining, Target.DeregistrationInProgress",
    ] {
        assert!(said.contains(text), "{said}");
    }
    assert!(!said.contains("nothing else"), "{said}");
}

/// A port of another host that refuses every check from the first on.
const DOWN: Address = ([10, 0, 2, 10], 8080);

fn refuse(wire: &mut Wire, ms: i64) {
    wire.connect(ms, NODE, DOWN).flags(0, Flags::SYN).flags(1, Flags::RST | Flags::ACK).end();
}

#[test]
fn a_target_that_is_down_from_the_start_is_known_by_the_checks_of_another() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "++++++++", 0);
    for turn in 0..8 {
        refuse(&mut wire, turn * 10_000 + 3_000);
    }
    // A user's.
    refuse(&mut wire, 38_400);
    let report = json(wire, &THRESHOLDS);
    let target = &report["targets"][1];
    assert_eq!(
        (&target["server"]["ip"], states(target)),
        (&"10.0.2.10".into(), vec!["unknown", "unhealthy"])
    );
    let prober = &target["probers"][0];
    assert_eq!((&prober["id"], &prober["confidence"]), (&"aws-alb".into(), &"likely".into()));
    assert_eq!(prober["checks"].as_array().unwrap().len(), 8);
    assert_eq!(target["timeline"][1]["frame"], prober["checks"][1]["frame"].as_u64().unwrap() + 1);
    let findings = report["findings"].as_array().unwrap();
    let kind = |kind: &str| findings.iter().filter(|one| one["kind"] == kind).count();
    assert_eq!((kind("health-check"), kind("connection")), (8, 1));
}

#[test]
fn streamed_records_name_the_checks_of_a_target_that_was_never_up() {
    let mut wire = Wire::default();
    series(&mut wire, NODE, "++++++++", 0);
    for turn in 0..8 {
        refuse(&mut wire, turn * 10_000 + 3_000);
    }
    let (_, out, _) = run(wire, &["--format", "ndjson"], "");
    let records = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kinds: Vec<Value> = records
        .filter(|record| record["record"] == "finding")
        .map(|record| record["kind"].clone())
        .collect();
    assert_eq!(kinds, vec![Value::from("health-check"); 8]);
}

#[test]
fn where_every_target_is_down_the_reader_is_asked() {
    let twelve = || {
        let mut wire = Wire::default();
        (0..12).for_each(|turn| refuse(&mut wire, turn * 10_000));
        wire
    };
    let plain = text(twelve(), &[]).replace("\n", " ");
    assert!(
        plain.contains("12 connections to 10.0.2.10:8080 at a steady pace all failed"),
        "{plain}"
    );
    let said = ["--expect-target", "10.0.2.10:8080", "--hc-protocol", "http"];
    let report = json(twelve(), &said);
    assert_eq!(states(&report["targets"][0]), ["unknown", "unhealthy"]);
    assert_eq!(report["summary"]["by_outcome"]["hc-refused"], 12);
}
