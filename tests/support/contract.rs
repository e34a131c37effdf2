//! The fields of the JSON report that other programs rely on: names and types. Fields may be added,
//! these stay.

use serde_json::Value;

/// Type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    Object,
    Array,
    Text,
    /// A whole number from 0.
    Count,
    /// Seconds.
    Seconds,
    /// RFC 3339 in UTC with nanoseconds.
    Time,
    /// Object of whole numbers.
    Counts,
    /// One of these words.
    Word(&'static [&'static str]),
}

use Type::{Array, Count, Counts, Object, Seconds, Text, Time, Word};

const SIDES: Type = Word(&["client", "server"]);
const VANTAGES: Type = Word(&["client", "server", "between", "unknown"]);
const BLIND_SPOTS: Type = Word(&[
    "no-handshake",
    "gap",
    "snaplen",
    "one-direction",
    "encrypted",
    "capture-start",
    "capture-end",
    "kernel-drops",
    "evicted",
]);
const RESPONSIBLE: Type = Word(&[
    "target-app",
    "target-host",
    "network",
    "load-balancer",
    "client",
    "configuration",
    "unknown",
]);
const WHAT: Type = Word(&[
    "syn",
    "syn-ack",
    "rst",
    "fin",
    "ack",
    "request",
    "response",
    "retransmission",
    "zero-window",
    "icmp",
    "tls-alert",
    "tls-hello",
    "silence",
]);

/// Path, type. `?` behind a name: may be null; `[]`: each item.
pub const REPORT: &[(&str, Type)] = &[
    ("schema", Word(&["why502.report/1"])),
    ("tool", Object),
    ("tool.name", Word(&["why502"])),
    ("tool.version", Text),
    ("captures", Array),
    ("summary", Object),
    ("flows", Array),
    ("findings", Array),
    ("targets", Array),
    ("correlations", Array),
];

pub const CAPTURE: &[(&str, Type)] = &[
    ("path", Text),
    ("format", Text),
    ("compression?", Text),
    ("packets", Count),
    ("bytes", Count),
    ("first?", Time),
    ("last?", Time),
    ("link_types", Array),
    ("link_types[]", Count),
    ("damaged_at?", Count),
    ("warnings", Array),
    ("warnings[]", Text),
];

pub const SUMMARY: &[(&str, Type)] = &[
    ("packets", Count),
    ("flows", Count),
    ("exchanges", Count),
    ("findings", Count),
    ("by_cause", Counts),
    ("health_checks", Count),
    ("by_outcome", Counts),
    ("skipped", Counts),
    ("blind_spots", Counts),
];

pub const FLOW: &[(&str, Type)] = &[
    ("id", Count),
    ("stream?", Count),
    ("client", Object),
    ("client.ip", Text),
    ("client.port", Count),
    ("server", Object),
    ("server.ip", Text),
    ("server.port", Count),
    ("first_frame", Count),
    ("last_frame", Count),
    ("start", Time),
    ("duration_s", Seconds),
    ("packets", Object),
    ("packets.client", Count),
    ("packets.server", Count),
    ("payload_bytes", Object),
    ("payload_bytes.client", Count),
    ("payload_bytes.server", Count),
    ("history", Text),
    ("rtt_s?", Seconds),
    ("vantage", VANTAGES),
    ("requests", Count),
    ("responses", Count),
    ("ended", Word(&["fin", "rst", "timeout", "capture-end"])),
    ("ended_by?", SIDES),
    ("probe?", Text),
    ("blind_spots", Array),
    ("blind_spots[]", BLIND_SPOTS),
];

pub const FINDING: &[(&str, Type)] = &[
    ("cause", Text),
    ("kind", Word(&["request", "connection", "health-check"])),
    ("flow", Count),
    ("stream?", Count),
    ("client", Object),
    ("client.ip", Text),
    ("client.port", Count),
    ("server", Object),
    ("server.ip", Text),
    ("server.port", Count),
    ("responsible", RESPONSIBLE),
    ("confidence", Word(&["certain", "likely", "possible"])),
    ("typical_status?", Count),
    ("request?", Object),
    ("request.frame", Count),
    ("request.time", Time),
    ("request.method?", Text),
    ("request.target?", Text),
    ("request.host?", Text),
    ("request.user_agent?", Text),
    ("request.trace_id?", Text),
    ("request.ordinal", Count),
    ("response?", Object),
    ("response.frame", Count),
    ("response.time", Time),
    ("response.status?", Count),
    ("evidence", Array),
    ("evidence[]", Object),
    ("evidence[].frame", Count),
    ("evidence[].time", Time),
    ("evidence[].side", SIDES),
    ("evidence[].what", WHAT),
    ("evidence[].note", Text),
    ("timing", Object),
    ("timing.outstanding_s?", Seconds),
    ("timing.idle_before_s?", Seconds),
    ("blind_spots", Array),
    ("blind_spots[]", BLIND_SPOTS),
    ("display_filter", Text),
    ("summary", Text),
    ("fix", Text),
];

/// What a whole report breaks, in words.
pub fn report_faults(report: &Value) -> Vec<String> {
    let mut faults = faults("report", report, REPORT);
    let lists = [("captures", CAPTURE), ("flows", FLOW), ("findings", FINDING)];
    for (list, fields) in lists {
        for (index, item) in report[list].as_array().into_iter().flatten().enumerate() {
            faults.extend(self::faults(&format!("{list}[{index}]"), item, fields));
        }
    }
    faults.extend(self::faults("summary", &report["summary"], SUMMARY));
    for finding in report["findings"].as_array().into_iter().flatten() {
        if finding["evidence"].as_array().is_none_or(Vec::is_empty) {
            faults.push("a finding without evidence".to_owned());
        }
    }
    faults
}

/// What one record breaks.
pub fn faults(name: &str, record: &Value, fields: &[(&str, Type)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, kind) in fields {
        let nullable = path.ends_with('?');
        let steps: Vec<&str> = path.trim_end_matches('?').split('.').collect();
        check(record, &steps, nullable, *kind, &format!("{name}.{path}"), &mut faults);
    }
    faults
}

fn check(
    value: &Value,
    steps: &[&str],
    nullable: bool,
    kind: Type,
    path: &str,
    faults: &mut Vec<String>,
) {
    let Some((step, rest)) = steps.split_first() else {
        let absent = nullable && value.is_null();
        if !absent && !fits(value, kind) {
            faults.push(format!("{path}: {value} is no {kind:?}"));
        }
        return;
    };
    let Some(inner) = value.get(step.trim_end_matches("[]")) else {
        faults.push(format!("{path}: missing"));
        return;
    };
    if !step.ends_with("[]") {
        // Whether an object may be null is told in its own line.
        if rest.is_empty() || !inner.is_null() {
            check(inner, rest, nullable, kind, path, faults);
        }
        return;
    }
    for item in inner.as_array().into_iter().flatten() {
        check(item, rest, nullable, kind, path, faults);
    }
}

fn fits(value: &Value, kind: Type) -> bool {
    match kind {
        Object => value.is_object(),
        Array => value.is_array(),
        Text => value.is_string(),
        Count => value.is_u64(),
        Seconds => value.is_number(),
        Time => value.as_str().is_some_and(is_time),
        Counts => value.as_object().is_some_and(|counts| counts.values().all(Value::is_u64)),
        Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
    }
}

fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            _ => byte == wanted,
        })
}
