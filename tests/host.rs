//! What the host says, of states that are made real in network namespaces of their own: an accept queue
//! that overflows, ports that run out, a program that is stopped. Needs unshare(1) with the right to make
//! such a namespace, and Python; says so and passes where they are missing.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use support::say;

const WHY502: &str = env!("CARGO_BIN_EXE_why502");

/// `unshare` with what it needs here to make a network namespace; `None` where it cannot.
fn unshare() -> Option<Command> {
    let works = |flag: &str| {
        let mut test = Command::new("unshare");
        test.args([flag, "ip", "link"]).stdout(Stdio::null()).stderr(Stdio::null());
        test.status().is_ok_and(|status| status.success())
    };
    let flag = ["-n", "-rn"].into_iter().find(|flag| works(flag))?;
    let mut command = Command::new("unshare");
    command.args([flag, "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    Some(command)
}

/// What a scene is, and what `args` of why502 say of it.
struct Seen {
    scene: Value,
    out: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

fn seen(scene: &str, args: &[&str]) -> Option<Seen> {
    let Some(mut command) = unshare() else {
        say("host: unshare cannot make a network namespace here: nothing was tried");
        return None;
    };
    let scenes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/scenes.py");
    command.arg("python3").arg(scenes).args([scene, WHY502]).args(args);
    let output = command.env("LANG", "C.UTF-8").output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    let err = String::from_utf8(err).unwrap();
    assert!(output.status.success(), "{scene}: {err}");
    let scene = err.lines().next().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
    Some(Seen { scene, out })
}

fn triage(scene: &str) -> Option<Seen> {
    seen(scene, &["host", "--port", "8080", "--format", "json"])
}

/// The verdict and the text of a question, about the port or the host.
fn answer(host: &Value, question: &str) -> (String, String) {
    let lists = [&host["ports"][0]["answers"], &host["host"]["answers"]];
    let all = lists.into_iter().flat_map(|list| list.as_array().unwrap());
    let found = all.clone().find(|line| line["question"] == question);
    let found = found.unwrap_or_else(|| panic!("no answer to {question} in {host:#}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("verdict"), text("text"))
}

#[track_caller]
fn assert_answer(host: &Value, question: &str, verdict: &str, words: &str) {
    let (found, text) = answer(host, question);
    assert_eq!(found, verdict, "{question}: {text}");
    assert!(text.contains(words), "{question}: {text}");
}

#[test]
fn a_port_that_listens_names_its_process() {
    let Some(seen) = triage("idle") else { return };
    let host = seen.json();
    assert_eq!(host["schema"], "why502.host/1");
    let process = &host["ports"][0]["listeners"][0]["processes"][0];
    assert_eq!(process["pid"], seen.scene["pid"]);
    assert_eq!(process["name"], "python3");
    assert!(process["open_files"].as_u64().unwrap() >= 4, "{process}");
    assert_answer(&host, "listening", "ok", "127.0.0.1:8080");
    assert_answer(&host, "address", "look", "only on 127.0.0.1");
    assert_answer(&host, "accept-queue", "ok", "0 of 50");
    assert_answer(&host, "overflow", "ok", "none");
    assert_answer(&host, "ephemeral-ports", "ok", "no connection");
}

#[test]
fn nothing_listens() {
    let Some(seen) = seen("nothing", &["host", "--port", "8080"]) else { return };
    assert!(seen.out.starts_with("Port 8080: bad: nothing listens on port 8080"), "{}", seen.out);
}

/// The kernel counts queues that overflow for all ports together.
#[test]
fn a_queue_of_another_port_is_not_this_ports() {
    let args = ["host", "--port", "8081", "--format", "json"];
    let Some(seen) = seen("beside", &args) else { return };
    let host = seen.json();
    assert_answer(&host, "accept-queue", "ok", "0 of 50");
    let words = "the queue of port 8080 is full, that of port 8081 is not";
    assert_answer(&host, "overflow", "look", words);
    let answer = host["answer"].as_str().unwrap();
    assert!(!answer.contains("ListenOverflows") && !answer.contains("bad"), "{answer}");
}

#[test]
fn an_accept_queue_overflows() {
    let Some(seen) = triage("overflow") else { return };
    let host = seen.json();
    let listener = &host["ports"][0]["listeners"][0];
    assert_eq!((&listener["waiting"], &listener["backlog"]), (&2.into(), &1.into()), "{listener}");
    assert_answer(&host, "accept-queue", "bad", "python3");
    assert_answer(&host, "overflow", "bad", "ListenOverflows +");
    assert!(host["host"]["counters"]["ListenOverflows"]["grown"].as_u64().unwrap() > 0);
    let answer = host["answer"].as_str().unwrap();
    assert!(answer.starts_with("Port 8080: bad: the accept queue is full"), "{answer}");
}

#[test]
fn ports_run_out_towards_one_destination() {
    let Some(seen) = triage("exhausted") else { return };
    assert_eq!(seen.scene["failed"], "EADDRNOTAVAIL", "the scene is real");
    let host = seen.json();
    assert_answer(&host, "ephemeral-ports", "bad", "10 of 10 (100 %) used from 127.0.0.1");
    assert_eq!(host["host"]["ephemeral"]["destinations"][0]["used"], 10);
}

#[test]
fn ports_in_time_wait_are_used() {
    let Some(seen) = triage("time_wait") else { return };
    assert_eq!(seen.scene["failed"], "EADDRNOTAVAIL", "the scene is real");
    let host = seen.json();
    assert_answer(&host, "ephemeral-ports", "bad", "10 of them in TIME_WAIT");
    assert_answer(&host, "time-wait", "ok", "10 of");
    assert_eq!(host["host"]["sockets"]["TIME_WAIT"], 10);
}

#[test]
fn sockets_of_ipv6_are_told_apart() {
    let Some(seen) = triage("only_v6") else { return };
    assert_answer(&seen.json(), "address", "look", "no IPv4");
    let host = triage("dual").unwrap().json();
    assert_answer(&host, "address", "ok", "IPv4 and IPv6");
    assert_eq!(host["ports"][0]["listeners"][0]["waiting"], 1, "an IPv4 connection of it");
}

#[test]
fn a_program_that_is_stopped() {
    let Some(seen) = triage("stopped") else { return };
    let pid = seen.scene["pid"].as_u64().unwrap();
    assert_answer(&seen.json(), "application", "bad", &format!("(pid {pid}) is stopped"));
}

#[test]
fn a_program_without_files_left() {
    let Some(seen) = triage("files") else { return };
    assert_answer(&seen.json(), "open-files", "bad", "of 32 files open");
}

/// Lines of events behind the table.
fn events(scene: &str) -> Option<(Seen, Vec<Value>)> {
    let seen = seen(scene, &["host", "--port", "8080", "--format", "json", "--watch", "6"])?;
    let lines = seen.out.lines().filter(|line| line.starts_with("{\""));
    let events = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    Some((seen, events))
}

#[test]
fn a_process_that_is_killed_and_started_again() {
    let Some((seen, events)) = events("restart") else { return };
    let ids: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gone", "listens"], "{events:#?}");
    let (first, second) = (&seen.scene["first"], &seen.scene["second"]);
    let text = |n: usize| events[n]["text"].as_str().unwrap();
    let gone = format!("nothing listens on port 8080 any more; python3 (pid {first}) has ended");
    assert_eq!(text(0), gone);
    assert_eq!(text(1), format!("python3 (pid {second}) listens on port 8080"));
}

#[test]
fn an_overflow_is_told_in_its_second() {
    let Some((_, events)) = events("bursts") else { return };
    let of = |id: &str| events.iter().find(|event| event["event"] == id);
    let full = of("queue-full").unwrap_or_else(|| panic!("{events:#?}"));
    assert!(full["text"].as_str().unwrap().contains("2 connections wait, 1 may"), "{full}");
    let overflow = of("overflow").unwrap_or_else(|| panic!("{events:#?}"));
    assert!(overflow["text"].as_str().unwrap().contains("ListenOverflows +"), "{overflow}");
    assert_eq!(overflow["port"], Value::Null);
}

#[test]
fn a_live_capture_says_since_when_nothing_listens() {
    let args = ["live", "-i", "lo", "--port", "8080", "--duration", "8s", "--format", "json", "-q"];
    let Some(seen) = seen("refused", &args) else { return };
    assert_eq!(seen.scene["failed"], "ECONNREFUSED", "the scene is real");
    let report = seen.json();
    let finding = &report["findings"][0];
    assert_eq!(finding["cause"], "connect-refused", "{report:#}");
    let host = finding["host"].as_str().unwrap();
    assert!(host.starts_with("nothing listened on port 8080 since "), "{host}");
    let ended = format!("python3 (pid {}) has ended", seen.scene["first"]);
    assert!(host.ends_with(&ended), "{host}");
    let events = report["host"]["events"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["event"] == "gone").count(), 1, "{events:#?}");
    assert_eq!(report["host"]["ports"][0]["listens"], false);
}
