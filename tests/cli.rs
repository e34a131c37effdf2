//! The program as a user meets it: a process with arguments, streams and an exit code.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::contract;
use support::lab::shipped;
use tempfile::TempDir;
use why502::cause::ALL;

/// A folder of its own and an environment without anything of the person who runs the tests.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_why502"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.command(args).output().unwrap())
    }
}

struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    fn of(output: Output) -> Outcome {
        Outcome {
            code: output.status.code().expect("ended by itself"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// The report of a run that has nothing to complain about.
    #[track_caller]
    fn report(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{}", self.out);
        self.out
    }

    /// The words of a run that could not do what it was told.
    #[track_caller]
    fn refusal(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (2, ""), "{}", self.err);
        self.err
    }
}

fn run(args: &[&str]) -> Outcome {
    Place::new().run(args)
}

fn shipped_as_text(capture: &str) -> String {
    let path = shipped().join(capture);
    assert!(path.exists(), "{}", path.display());
    path.to_str().unwrap().to_owned()
}

fn demo() -> String {
    shipped_as_text("demo/nginx-demo-lb.pcap")
}

fn healthy() -> String {
    shipped_as_text("healthy/nginx-healthy-close-lb.pcap")
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&run(&[args, &["--format", "json"]].concat()).report()).unwrap()
}

fn array<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().unwrap_or_else(|| panic!("{name} is no array"))
}

fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn the_first_line_is_the_answer() {
    let text = run(&[&demo()]).report();
    assert_eq!(
        text.lines().next(),
        Some("12 of 411 requests failed: 11 keepalive-race, 1 response-timeout")
    );
    assert!(text.contains("1 connection failed before a request: 1 connect-refused"), "{text}");
    assert!(widest(&text) <= 100, "{} columns", widest(&text));
}

#[test]
fn the_answer_for_a_healthy_capture_is_that_nothing_failed() {
    let text = run(&[&healthy()]).report();
    assert_eq!(text.lines().next(), Some("no failed request among 12"));
    assert!(!text.contains("why502 explain"), "{text}");
}

#[test]
fn the_exit_code_tells_of_findings_only_when_asked() {
    assert_eq!(run(&[&demo()]).code, 0);
    assert_eq!(run(&["--exit-code", &demo()]).code, 1);
    assert_eq!(run(&["--exit-code", &healthy()]).code, 0);
    assert_eq!(run(&["--exit-code", "--cause", "lb-cut", &demo()]).code, 0);
    assert_eq!(run(&["--exit-code", "no-such-file"]).code, 2);
}

#[test]
fn a_refusal_names_the_file_and_what_to_do() {
    let place = Place::new();
    fs::write(place.path("notes.txt"), "Tuesday: it is DNS again\n").unwrap();
    fs::write(place.path("empty.pcap"), "").unwrap();
    fs::write(place.path("keys.log"), "CLIENT_RANDOM 00 00\n").unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    let demo = demo();
    for (args, words) in [
        (&["gone.pcap"][..], &["gone.pcap", "no such file", "check the name"][..]),
        (&["notes.txt"], &["notes.txt", "not a pcap or pcapng capture", "tcpdump"]),
        (&["empty.pcap"], &["empty.pcap", "empty"]),
        (&["folder"], &["folder", "no capture"]),
        (&["-f", "host nowhere and", &demo], &["host nowhere and", "tcpdump"]),
        (&["-o", "no/such/report", &demo], &["no/such/report", "cannot be written"]),
        (&["-o", "folder", &demo], &["folder", "cannot be written", "directory"]),
        (&["--nonsense", &demo], &["--nonsense", "--help"]),
        (&["--format", "xml", &demo], &["xml", "text, json, ndjson, html"]),
        (&["--cause", "keepalive-rase", &demo], &["keepalive-rase", "'keepalive-race'"]),
        (&["--vantage", "moon", &demo], &["moon", "client, server, between, auto"]),
        (&["--vxlan-port", "70000", &demo], &["70000"]),
        (&["--keylog", "gone.keys", &demo], &["gone.keys", "cannot be read", "No such file"]),
        (&["--keylog", "notes.txt", &demo], &["notes.txt", "no TLS session key", "line 1"]),
        (&["keys.log"], &["keys.log", "--keylog"]),
        (&[], &["<CAPTURE>", "--help"]),
    ] {
        let text = place.run(args).refusal();
        for word in words {
            assert!(text.contains(word), "{args:?} does not say {word:?}: {text}");
        }
        assert!(!text.contains("panicked") && !text.contains('\u{1b}'), "{text}");
    }
    let mut left: Vec<_> =
        fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["empty.pcap", "folder", "keys.log", "notes.txt"], "nothing is left behind");
}

#[test]
fn a_bad_file_among_good_ones_is_told_of_and_the_rest_is_read() {
    let place = Place::new();
    fs::copy(demo(), place.path("good.pcap")).unwrap();
    fs::write(place.path("bad.pcap"), "no capture at all, but some text").unwrap();
    let outcome = place.run(&["."]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.err.starts_with("why502: .: left out 1 "), "{}", outcome.err);
    assert!(outcome.out.starts_with("12 of 411 requests failed"), "{}", outcome.out);
    let quiet = place.run(&["--quiet", "."]);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""));
}

#[test]
fn a_damaged_capture_is_told_of_on_standard_error_and_in_the_report() {
    let place = Place::new();
    let bytes = fs::read(demo()).unwrap();
    fs::write(place.path("cut.pcap"), &bytes[..bytes.len() / 2 + 7]).unwrap();
    let outcome = place.run(&["cut.pcap"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert!(outcome.err.starts_with("why502: cut.pcap: "), "{}", outcome.err);
    let report = place.run(&["--format", "json", "-q", "cut.pcap"]).report();
    let report: Value = serde_json::from_str(&report).unwrap();
    let damaged_at = report["captures"][0]["damaged_at"].as_u64().unwrap();
    assert!(damaged_at <= bytes.len() as u64 / 2 + 7, "{damaged_at}");
    assert!(damaged_at > bytes.len() as u64 / 2 - 2000, "{damaged_at}");
}

#[test]
fn lines_that_are_no_keys_are_told_of_wherever_they_come_from() {
    let place = Place::new();
    let keys = format!("CLIENT_RANDOM {} {}\noops\n", "0a".repeat(32), "1b".repeat(48));
    fs::write(place.path("keys.log"), &keys).unwrap();
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let length = (keys.len() as u32).to_le_bytes();
    let secrets = [&0x544c_534b_u32.to_le_bytes()[..], &length, keys.as_bytes()].concat();
    let capture = [block(0x0a0d_0d0a, &section), block(10, &secrets)].concat();
    fs::write(place.path("keys.pcapng"), capture).unwrap();
    let outcome = place.run(&["--keylog", "keys.log", "keys.pcapng"]);
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    let odd = "1 of 2 lines are no lines of a TLS key log and were left out; \
               the first is line 2: \"oops\" is no label of a key log";
    for place in ["keys.log", "decryption secrets in the captures"] {
        assert!(outcome.err.contains(&format!("why502: {place}: {odd}\n")), "{}", outcome.err);
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    let demo = demo();
    for args in [
        &[demo.as_str(), "--all"][..],
        &[&demo, "--format", "json"],
        &[&demo, "--format", "ndjson"],
        &[&demo, "--format", "csv", "--csv-table", "flows"],
        &["slice", &demo, "-q", "--annotate", "-w", "-"],
        &["explain"],
        &["explain", "keepalive-race"],
        &["completions", "bash"],
        &["man"],
        &["schema"],
        &["--help"],
    ] {
        // A reader that takes nothing, and one that takes the first bytes of a long report.
        for taken in [0, 64] {
            let mut command = place.command(args);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            out.read_exact(&mut vec![0; taken]).unwrap();
            drop(out);
            let outcome = Outcome::of(child.wait_with_output().unwrap());
            assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{args:?} {taken}");
        }
    }
}

#[test]
fn a_report_never_replaces_what_it_is_made_from() {
    let place = Place::new();
    let capture = shipped().join("demo/nginx-demo-lb.pcap");
    let before = fs::read(&capture).unwrap();
    let beside = place.path("beside.pcap");
    fs::create_dir(place.path("folder")).unwrap();
    for name in ["a.pcap", "beside.pcap", "folder/b.pcap"] {
        fs::write(place.path(name), &before).unwrap();
    }
    std::os::unix::fs::symlink(place.path("a.pcap"), place.path("link")).unwrap();
    for args in [
        &["-o", "a.pcap", "a.pcap"][..],
        &["-o", "link", "a.pcap"],
        &["--format", "json", "-o", "a.pcap", "link"],
        &["-o", "beside.pcap", "--beside", "beside.pcap", "a.pcap"],
        &["-o", "folder/b.pcap", "folder"],
    ] {
        let outcome = place.run(args);
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(outcome.err.contains("never replaces its input"), "{}", outcome.err);
    }
    for path in [place.path("a.pcap"), beside, place.path("folder/b.pcap")] {
        assert!(fs::read(path).unwrap() == before);
    }
    assert_eq!(fs::read_dir(place.path("folder")).unwrap().count(), 1);
}

#[test]
fn two_captures_of_the_same_connections_are_two_places() {
    let demo = |name: &str| shipped().join("demo").join(name).to_string_lossy().into_owned();
    let (here, there) = (demo("nginx-demo-lb.pcap"), demo("nginx-demo-target.pcap"));
    let place = Place::new();
    let named = place.run(&["-q", "--format", "csv", &here, "--beside", &there]).report();
    assert_eq!(place.run(&["-q", "--format", "csv", &here, &there]).report(), named);
    let said = place.run(&["--no-progress", &here, &there]).err;
    assert!(said.contains("captured at two places"), "{said}");
}

#[test]
fn output_goes_to_a_file() {
    let place = Place::new();
    for format in ["text", "json", "ndjson", "csv", "markdown", "html"] {
        let printed = place.run(&["--format", format, &demo()]).report();
        let outcome = place.run(&["--format", format, "-o", "report", &demo()]);
        assert_eq!(outcome.report(), "");
        assert_eq!(fs::read_to_string(place.path("report")).unwrap(), printed, "{format}");
    }
    // A run that fails leaves the old report as it is.
    let before = fs::read(place.path("report")).unwrap();
    place.run(&["-o", "report", "no-such-file"]).refusal();
    assert_eq!(fs::read(place.path("report")).unwrap(), before);
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 1);
}

#[test]
fn csv_has_a_row_for_everything_that_json_lists() {
    let demo = shipped_as_text("health-checks/haproxy-check-flap-lb.pcap");
    let report = json(&[&demo]);
    let probers = array(&report, "targets").iter().flat_map(|target| array(target, "probers"));
    let rows = |args: &[&str]| {
        let text = run(&[&[demo.as_str(), "--format", "csv"], args].concat()).report();
        csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).count()
    };
    assert_eq!(rows(&[]), array(&report, "findings").len());
    assert_eq!(rows(&["--csv-table", "flows"]), array(&report, "flows").len());
    let checks = probers.map(|prober| array(prober, "checks").len()).sum::<usize>();
    assert!(checks > 0);
    assert_eq!(rows(&["--csv-table", "checks"]), checks);
    assert!(run(&[&demo, "--csv-table", "flows"]).refusal().contains("--format csv"));
}

#[test]
fn json_has_every_field_of_the_contract() {
    let mut captures = vec![demo(), healthy()];
    let folder = shipped();
    captures.extend(
        ["response-malformed/nginx-garbage-lb", "connect-unreachable/haproxy-router-icmp-lb"]
            .map(|name| folder.join(name).with_extension("pcap").to_str().unwrap().to_owned()),
    );
    for capture in &captures {
        for more in [&[][..], &["--all"]] {
            let report = json(&[&[capture.as_str()], more].concat());
            let faults = contract::report_faults(&report);
            assert!(faults.is_empty(), "{capture}: {faults:#?}");
        }
    }
}

#[test]
fn the_contract_check_sees_what_is_wrong() {
    let report = json(&[&demo()]);
    for (pointer, wrong) in [
        ("/schema", Value::from("why502.report/2")),
        ("/tool", Value::Null),
        ("/captures/0/packets", Value::from("1")),
        ("/captures/0/first", Value::from("2026-11-21 10:00:00")),
        ("/captures/0/link_types/0", Value::Null),
        ("/summary/by_cause/keepalive-race", Value::from(1.5)),
        ("/flows/0/client/port", Value::Null),
        ("/flows/0/ended", Value::from("reset")),
        ("/findings/0/stream", Value::from("0")),
        ("/findings/0/request/time", Value::Null),
        ("/findings/0/evidence", Value::Array(Vec::new())),
        ("/findings/0/evidence/0/what", Value::from("hope")),
    ] {
        let mut broken = report.clone();
        *broken.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = wrong;
        assert_eq!(contract::report_faults(&broken).len(), 1, "{pointer}");
    }
    let mut broken = report;
    broken["findings"][0].as_object_mut().unwrap().remove("fix");
    assert_eq!(contract::report_faults(&broken), ["findings[0].fix: missing"]);
}

/// Every field that the shipped schema requires is there, and no field that it does not know.
#[test]
fn json_has_the_fields_of_the_shipped_schema() {
    let schema: Value = serde_json::from_str(&run(&["schema"]).report()).unwrap();
    let report = json(&["--all", &demo()]);
    let mut unknown = Vec::new();
    same_fields(&report, &schema, &schema, "report", &mut unknown);
    assert_eq!(unknown, [] as [String; 0]);
    let records: Value = serde_json::from_str(&run(&["schema", "ndjson"]).report()).unwrap();
    let names: Vec<&str> = array(&records, "oneOf")
        .iter()
        .map(|kind| kind["properties"]["record"]["const"].as_str().unwrap())
        .collect();
    let flows = ["capture", "flow", "exchange", "finding", "withdrawn", "correlation"];
    let others = ["check", "transition", "host", "log", "log-line", "target", "summary"];
    assert_eq!(names, [&flows[..], &others].concat());
}

fn same_fields(value: &Value, schema: &Value, root: &Value, path: &str, faults: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let inner = root.pointer(reference.trim_start_matches('#')).unwrap();
        return same_fields(value, inner, root, path, faults);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let inner = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return same_fields(value, inner.unwrap(), root, path, faults);
    }
    if let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) {
        for required in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(required.as_str().unwrap()) {
                faults.push(format!("{path}: {required} is missing"));
            }
        }
        for (name, inner) in fields {
            match known.get(name) {
                Some(schema) => same_fields(inner, schema, root, &format!("{path}.{name}"), faults),
                None => faults.push(format!("{path}: {name} is unknown")),
            }
        }
    }
    for item in value.as_array().into_iter().flatten() {
        same_fields(item, &schema["items"], root, &format!("{path}[]"), faults);
    }
}

#[test]
fn the_counts_of_the_summary_are_those_of_the_lists() {
    let report = json(&["--all", &demo()]);
    let summary = &report["summary"];
    assert_eq!(summary["findings"], array(&report, "findings").len());
    assert_eq!(summary["flows"], array(&report, "flows").len());
    assert_eq!(summary["exchanges"], array(&report, "exchanges").len());
    assert_eq!(summary["packets"], report["captures"][0]["packets"]);
    for (cause, count) in summary["by_cause"].as_object().unwrap() {
        let found = array(&report, "findings").iter().filter(|finding| finding["cause"] == **cause);
        assert_eq!(*count, found.count(), "{cause}");
    }
    let times: Vec<&str> = array(&report, "findings")
        .iter()
        .map(|finding| finding["evidence"][0]["time"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
}

/// The capture goes on, and what is final is told already.
#[test]
fn ndjson_from_a_pipe_does_not_wait_for_its_end() {
    let mut child = Place::new()
        .command(&["--format", "ndjson", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let capture = fs::read(demo()).unwrap();
    let writer = std::thread::spawn(move || {
        stdin.write_all(&capture).unwrap();
        stdin
    });
    let (tell, told) = std::sync::mpsc::channel();
    let stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let _ = tell.send(line);
    });
    let line = told.recv_timeout(std::time::Duration::from_secs(30));
    drop(writer.join().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    let record: Value = serde_json::from_str(&line.expect("a line before the end")).unwrap();
    assert!(matches!(record["record"].as_str(), Some("flow" | "finding")), "{record}");
}

#[test]
fn ndjson_has_one_record_per_line() {
    let text = run(&["--format", "ndjson", "--all", &demo()]).report();
    let report = json(&["--all", &demo()]);
    let mut lists: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut last = "";
    for line in text.lines() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let name = record.as_object_mut().unwrap().remove("record").expect("a record's name");
        let list = match name.as_str().unwrap() {
            "capture" => "captures",
            "flow" => "flows",
            "exchange" => "exchanges",
            "finding" => "findings",
            "summary" => "summary",
            other => panic!("{other}"),
        };
        lists.entry(list).or_default().push(record);
        last = list;
    }
    assert_eq!(last, "summary");
    let summary = lists.remove("summary").unwrap();
    assert_eq!(contract::faults("summary", &summary[0], contract::SUMMARY), [] as [String; 0]);
    assert_eq!(lists.len(), 4, "captures, flows, exchanges and findings");
    // They come when they are final; the report has them in order.
    let by_text = |mut records: Vec<Value>| {
        records.sort_by_key(Value::to_string);
        records
    };
    for (list, records) in lists {
        assert_eq!(by_text(records), by_text(array(&report, list).to_vec()), "{list}");
    }
}

#[test]
fn a_report_is_the_same_in_every_run() {
    for format in ["text", "json", "ndjson", "html", "csv", "markdown"] {
        let args = ["--format", format, "--all", &demo()];
        assert_eq!(run(&args).report(), run(&args).report(), "{format}");
    }
}

#[test]
fn causes_select() {
    let causes = |args: &[&str]| -> Vec<String> {
        let report = json(&[args, &[&demo()]].concat());
        let findings = array(&report, "findings").iter();
        let mut causes: Vec<_> =
            findings.map(|finding| finding["cause"].as_str().unwrap().to_owned()).collect();
        causes.sort();
        causes.dedup();
        causes
    };
    assert_eq!(causes(&[]), ["connect-refused", "keepalive-race", "response-timeout"]);
    assert_eq!(causes(&["--cause", "connect-refused"]), ["connect-refused"]);
    assert_eq!(
        causes(&["--cause", "connect-refused", "--cause", "response-timeout"]),
        ["connect-refused", "response-timeout"]
    );
    assert_eq!(causes(&["--cause", "lb-cut"]), [] as [&str; 0]);
}

#[test]
fn all_lists_what_went_well_too() {
    let demo = demo();
    assert!(json(&[&demo])["exchanges"].is_null());
    let report = json(&["--all", &demo]);
    let answered = |exchange: &&Value| exchange["state"] == "answered";
    assert_eq!(array(&report, "exchanges").iter().filter(answered).count(), 399);
    let (short, long) = (run(&[&demo]).report(), run(&["--all", &demo]).report());
    let listed = |text: &str| {
        let targets =
            array(&report, "exchanges").iter().map(|exchange| &exchange["request"]["target"]);
        targets.filter(|target| text.contains(target.as_str().unwrap())).count()
    };
    assert!(listed(&short) < 30, "{}", listed(&short));
    assert_eq!(listed(&long), 411);
    assert!(widest(&long) <= 100, "{} columns", widest(&long));
}

#[test]
fn a_filter_selects_packets_and_keeps_their_numbers() {
    let whole = json(&[&demo()]);
    let race = &array(&whole, "findings")[0];
    let port = race["client"]["port"].as_u64().unwrap();
    let part = json(&["--filter", &format!("tcp port {port}"), &demo()]);
    assert_eq!(array(&part, "flows").len(), 1);
    let findings = array(&part, "findings");
    assert!(!findings.is_empty());
    for name in ["cause", "evidence", "request"] {
        assert_eq!(findings[0][name], race[name], "{name}");
    }
    let kept = part["flows"][0]["packets"].as_object().unwrap().values();
    let kept: u64 = kept.map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(part["summary"]["packets"], whole["summary"]["packets"]);
    assert_eq!(
        part["summary"]["skipped"]["filtered"],
        whole["summary"]["packets"].as_u64().unwrap() - kept
    );
}

#[test]
fn the_vantage_can_be_given() {
    let vantages = |given: &str| -> Vec<String> {
        let report = json(&["--vantage", given, &demo()]);
        let flows = array(&report, "flows").iter();
        let mut names: Vec<_> =
            flows.map(|flow| flow["vantage"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    for (given, seen) in [
        ("client", "client"),
        ("lb", "client"),
        ("server", "server"),
        ("target", "server"),
        ("between", "between"),
    ] {
        assert_eq!(vantages(given), [seen], "{given}");
    }
    // A connection that was refused shows no vantage.
    assert_eq!(vantages("auto"), ["client", "unknown"], "the demo was captured at the balancer");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let place = Place::new();
    let colored = |args: &[&str], no_color: Option<&str>| {
        let mut command = place.command(args);
        no_color.map(|value| command.env("NO_COLOR", value));
        command.env("TERM", "xterm-256color");
        Outcome::of(command.output().unwrap()).report().contains('\u{1b}')
    };
    let demo = demo();
    assert!(!colored(&[&demo], None), "a pipe is no terminal");
    assert!(colored(&[&demo, "--color", "always"], None));
    assert!(colored(&[&demo, "--color", "always"], Some("1")), "an option outranks NO_COLOR");
    assert!(!colored(&[&demo, "--color", "never"], None));
    assert!(!colored(&[&demo], Some("1")));
    assert!(!colored(&["explain", "lb-cut"], None));
    assert!(!colored(&["--help"], None));
    for format in ["json", "ndjson"] {
        assert!(!colored(&[&demo, "--color", "always", "--format", format], None), "{format}");
    }
}

/// The words are the same with and without colours, and none of them needs a colour.
#[test]
fn colours_change_nothing_else() {
    let plain = run(&[&demo()]).report();
    let colored = run(&[&demo(), "--color", "always"]).report();
    let mut stripped = String::new();
    let mut parts = colored.split('\u{1b}');
    stripped.push_str(parts.next().unwrap());
    for part in parts {
        stripped.push_str(part.split_once('m').expect("an SGR sequence").1);
    }
    assert_eq!(stripped, plain);
}

/// On a terminal, which `script` pretends to be.
#[test]
fn a_terminal_gets_colours_unless_no_color_is_set() {
    let place = Place::new();
    let colored = |no_color: bool| {
        let program = env!("CARGO_BIN_EXE_why502");
        let mut command = Command::new("script");
        command.args(["-qec", &format!("'{program}' --no-progress '{}'", demo()), "/dev/null"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8").current_dir(place.0.path()).stdin(Stdio::null());
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let output = command.output().ok().filter(|output| output.status.success());
        output.map(|output| output.stdout.contains(&0x1b))
    };
    match colored(false) {
        Some(with) => assert_eq!((with, colored(true)), (true, Some(false))),
        None => {
            let required = std::env::var_os("WHY502_SKIP").is_some_and(|skip| skip == "never");
            assert!(!required, "script (of util-linux) gives no terminal here");
            support::say("skipped: script (of util-linux) gives no terminal here");
        }
    }
}

#[test]
fn ascii_where_nothing_else_can_be_shown() {
    let place = Place::new();
    let demo = demo();
    assert!(!place.run(&[&demo]).report().is_ascii(), "arrows are drawn in UTF-8");
    for args in [&[demo.as_str(), "--ascii"][..], &[&demo, "--ascii", "--all"]] {
        let text = place.run(args).report();
        assert!(text.is_ascii() && widest(&text) <= 100, "{text}");
    }
    for locale in ["C", "POSIX", "de_DE.ISO-8859-1"] {
        let outcome = Outcome::of(place.command(&[&demo]).env("LANG", locale).output().unwrap());
        assert!(outcome.report().is_ascii(), "{locale}");
    }
    assert!(place.run(&["explain", "keepalive-race", "--ascii"]).code == 2, "no option of explain");
}

#[test]
fn every_cause_is_explained() {
    let list = run(&["explain"]).report();
    for cause in ALL {
        assert_eq!(
            list.lines().filter(|line| line.split(' ').next() == Some(cause.id)).count(),
            1,
            "{}",
            cause.id
        );
        let text = run(&["explain", cause.id]).report();
        let first = text.lines().next().unwrap();
        assert!(first.contains(cause.id), "{first}");
        for heading in ["Who has to act", "How to fix it"] {
            assert!(text.contains(heading), "{}: {heading}", cause.id);
        }
    }
    let text = run(&["explain", "keepalive-rase"]).refusal();
    assert!(text.contains("keepalive-race"), "{text}");
    let text = run(&["explain", "bad-luck"]).refusal();
    assert!(text.contains("bad-luck") && text.contains("why502 explain"), "{text}");
}

#[test]
fn completions_are_made_for_shells() {
    for (shell, start) in
        [("bash", "_why502() {"), ("zsh", "#compdef why502"), ("fish", "complete -c why502")]
    {
        let script = run(&["completions", shell]).report();
        assert!(script.contains(start), "{shell}");
        for word in ["exit-code", "ndjson", "keepalive-race", "explain"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        let mut check = Command::new(shell);
        let path = Place::new();
        fs::write(path.path("script"), &script).unwrap();
        check.arg("-n").arg(path.path("script"));
        if let Ok(output) = check.output() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{shell}: {words}");
        }
    }
    run(&["completions", "cmd.exe"]).refusal();
}

#[test]
fn the_manual_page_is_one() {
    let page = run(&["man"]).report();
    for word in [".TH why502 1", ".SH NAME", ".SH OPTIONS", "vantage", "Exit codes", "keepalive"] {
        assert!(page.contains(word), "{word}");
    }
}

#[test]
fn help_fits_a_screen() {
    let long = run(&["--help"]).report();
    assert!(widest(&long) <= 100, "{} columns", widest(&long));
    let short = run(&["-h"]).report();
    assert!((24..=40).contains(&short.lines().count()), "{} lines", short.lines().count());
    assert!(widest(&short) <= 100, "{} columns", widest(&short));
    for option in [
        "--format",
        "--output",
        "--filter",
        "--cause",
        "--all",
        "--vantage",
        "--exit-code",
        "--color",
        "--ascii",
        "--quiet",
    ] {
        assert!(short.contains(option) && long.contains(option), "{option}");
    }
    let version = run(&["--version"]).report();
    assert_eq!(version, format!("why502 {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["explain", "host", "completions", "man", "schema"] {
        assert!(widest(&run(&[command, "--help"]).report()) <= 100, "{command}");
    }
}

#[test]
fn a_file_called_like_a_command_can_be_read() {
    let place = Place::new();
    for name in ["explain", "man", "schema", "live"] {
        fs::copy(demo(), place.path(name)).unwrap();
        let text = place.run(&[&format!("./{name}")]).report();
        assert!(text.starts_with("12 of 411 requests failed"), "{text}");
    }
    fs::copy(demo(), place.path("-dash.pcap")).unwrap();
    let text = place.run(&["--", "-dash.pcap"]).report();
    assert!(text.starts_with("12 of 411 requests failed"), "{text}");
}

/// Paths are bytes; a report has to be text.
#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_text_is_read_and_shown_without_control_characters() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    for name in [&b"caf\xe9.pcap"[..], b"bell\x07\x1b[31m.pcap"] {
        let name = std::ffi::OsStr::from_bytes(name);
        let path: &Path = name.as_ref();
        fs::copy(demo(), place.0.path().join(path)).unwrap();
        for format in ["text", "json"] {
            let output = place.command(&["--format", format]).arg("--").arg(path).output().unwrap();
            let text = Outcome::of(output).report();
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{name:?} {format}");
        }
    }
}

#[test]
fn what_went_wrong_is_said_once() {
    let place = Place::new();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/demo/nginx-demo-lb.pcap");
    let gone = "No such file or directory (os error 2)";
    for args in [
        &["--log", "nonexistent.log", demo][..],
        &["--keylog", "nonexistent.keys", demo],
        &["--probers", "nonexistent.toml", demo],
    ] {
        let outcome = place.run(args);
        assert_eq!(outcome.code, 2, "{args:?}");
        assert_eq!(outcome.err.matches(gone).count(), 1, "{}", outcome.err);
    }
}
