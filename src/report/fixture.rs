//! Hand-made reports for the tests of this folder, and how outputs are compared with files.

use super::{Pattern, PatternKind, Report, Style};
use crate::blind::BlindSpot;
use crate::capture::{CaptureInfo, LinkType};
use crate::cause::{Cause, Confidence, Evidence, Finding, Kind, PacketFacts, Responsible, What};
use crate::flow::{Ended, Flow, Vantage};
use crate::health::settings::{Place, Raw};
use crate::health::{Health, Setup, Silent, Watch, testing as checked};
use crate::http::{Exchange, Protocol, Request, Response, State};
use crate::packet::Endpoint;
use crate::probe::{Shape, Sighting};
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use serde_json::Value;

const MS: i64 = 1_000_000;
const START: i64 = 1_763_719_200_000 * MS;

pub(super) static RACE: Cause = Cause {
    id: "keepalive-race",
    summary: "the server closed an idle keep-alive connection while the next request was on its way",
    explanation: "The server closes connections that have been idle for its keep-alive time-out. The client \
        reuses one in that very moment: its request meets a closed socket, which answers with RST.\n\n\
        Nothing crashed, and the request was never seen by the program.",
    seen_as: &[("AWS ALB", "502, target_status_code -"), ("HAProxy", "502 SH--")],
    responsible: Responsible::Configuration,
    typical_status: Some(502),
    confirm: &["Compare the idle time before the failures with the server's keep-alive time-out."],
    fix: &[
        "Set the server's keep-alive time-out longer than the load balancer's idle time-out (ALB: 60 s by \
         default), for example nginx: keepalive_timeout 75s.",
        "Let the load balancer retry idempotent requests.",
    ],
    wireshark: &[("tcp.flags.fin == 1", "who closed")],
    references: &["RFC 9112, 9.3.1"],
    detect: |_| None,
};

pub(super) static REFUSED: Cause = Cause {
    id: "connect-refused",
    summary: "the server refused the connection: nothing listens on that port",
    explanation: "A SYN to a port without a listener is answered with RST.",
    seen_as: &[("nginx", "connect() failed (111: Connection refused)")],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &["Run ss -ltn on the target."],
    fix: &["Start the program, or correct the port in the target group."],
    wireshark: &[],
    references: &[],
    detect: |_| None,
};

pub(super) static CAUSES: [&Cause; 2] = [&REFUSED, &RACE];

pub(super) fn mark(file: u32, frame: u64, ms: i64) -> Mark {
    Mark { frame: FrameId::new(file, frame), at: Timestamp(START + ms * MS) }
}

fn exchange(file: u32, frame: u64, ms: i64) -> Exchange {
    let head = b"POST /api/orders?id=7 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8\r\n\
        X-Amzn-Trace-Id: Root=1-2\r\n\r\n";
    let request = Request {
        first: mark(file, frame, ms),
        last: mark(file, frame, ms),
        start: 412,
        end: 824,
        head: head.to_vec(),
        head_complete: true,
        complete: true,
        ..Request::default()
    };
    Exchange {
        ordinal: 2,
        request: Some(request),
        state: State::Unanswered,
        idle_before: Some(5_002 * MS),
        ..Exchange::default()
    }
}

/// The server's FIN left 0.2 s before the request of stream `stream` arrived.
pub(crate) fn race(stream: u32) -> Finding {
    let frame = 100 + u64::from(stream) * 10;
    let ms = i64::from(stream) * 1000;
    Finding {
        cause: &RACE,
        kind: Kind::Request,
        joined: None,
        flow: u64::from(stream),
        stream: Some(stream),
        client: Endpoint::v4([10, 0, 1, 7], 40_000 + stream as u16),
        server: Endpoint::v4([10, 0, 2, 9], 8080),
        responsible: Responsible::Configuration,
        confidence: if stream == 3 { Confidence::Likely } else { Confidence::Certain },
        vantage: Vantage::Server,
        exchange: Some(Box::new(exchange(0, frame + 2, ms))),
        evidence: vec![
            Evidence {
                mark: mark(0, frame, ms - 1),
                side: Side::Server,
                what: What::Fin,
                note: "closed by the server before it had seen the request".into(),
            },
            Evidence {
                mark: mark(0, frame + 2, ms),
                side: Side::Client,
                what: What::Request,
                note: "sent before the client could know of the close".into(),
            },
            Evidence {
                mark: mark(0, frame + 3, ms + 1),
                side: Side::Server,
                what: What::Rst,
                note: "the closed socket refuses the request".into(),
            },
        ],
        packets: vec![
            PacketFacts { ack: Some(true), payload: Some(0) },
            PacketFacts::default(),
            PacketFacts { ack: Some(false), payload: Some(0) },
        ],
        outstanding: Some(-MS),
        idle_before: Some(5_002 * MS),
        blind_spots: if stream == 3 { BlindSpot::NoHandshake.into() } else { Default::default() },
        summary: "the server closed after 5.00 s of idle, 1.00 ms before the request arrived"
            .into(),
        host: None,
    }
}

/// A refused connection.
pub(crate) fn refused(file: u32, frame: u64) -> Finding {
    Finding {
        cause: &REFUSED,
        kind: Kind::Connection,
        joined: None,
        flow: 90,
        stream: Some(90),
        responsible: Responsible::TargetApp,
        exchange: None,
        evidence: vec![
            Evidence {
                mark: mark(file, frame + 1, 9_001),
                side: Side::Server,
                what: What::Rst,
                note: "answers the SYN".into(),
            },
            Evidence {
                mark: mark(file, frame, 9_000),
                side: Side::Client,
                what: What::Syn,
                note: "asks for a connection".into(),
            },
        ],
        packets: vec![PacketFacts { ack: Some(true), payload: Some(0) }],
        outstanding: None,
        idle_before: None,
        blind_spots: Default::default(),
        confidence: Confidence::Certain,
        summary: "SYN answered with RST after 1.00 ms".into(),
        ..race(1)
    }
}

fn capture(path: &str) -> CaptureInfo {
    CaptureInfo {
        path: path.into(),
        format: "pcapng",
        compression: Some("gzip"),
        packets: 12_000,
        bytes: 8_123_456,
        first: Some(mark(0, 1, 0).at),
        last: Some(mark(0, 12_000, 600_250).at),
        link_types: vec![LinkType(1)],
        ..CaptureInfo::default()
    }
}

fn flow(id: u64) -> Flow {
    let mut flow = Flow {
        id,
        stream: Some(id as u32),
        client: Endpoint::v4([10, 0, 1, 7], 40_001),
        server: Endpoint::v6([0xfd; 16], 8080),
        first: mark(0, 90, 0),
        last: mark(0, 113, 1_001),
        history: "ShADadfr".into(),
        vantage: Vantage::Server,
        requests: 2,
        responses: 1,
        protocol: Protocol::Http1,
        ended: Ended::Rst,
        ended_by: Some(Side::Server),
        ..Flow::default()
    };
    flow.opening.syn = Some(mark(0, 90, 0));
    let ack = Mark { at: flow.first.at.after(310_000), ..flow.first };
    flow.opening.ack = Some(ack);
    flow.opening.timed = true;
    flow.half_mut(Side::Client).packets = 6;
    flow.half_mut(Side::Server).payload_bytes = 512;
    flow
}

/// One target that became unhealthy, and one of which checks are expected in vain.
fn health() -> Health {
    let raw = |text: &str| Raw { text: text.into(), place: Place::Flag("--expect-target") };
    let expected = ["10.0.2.9:8080", "10.0.2.10:8080"].map(|at| raw(at).target().unwrap());
    let mut watch = Watch::new(Setup { expected: expected.to_vec(), ..Setup::default() });
    for at in [0, 100 * 1_000 * MS] {
        watch.advance(Timestamp(at));
    }
    let mut checks: Vec<Sighting> = (1..8).map(|n| checked::sighting(n * 10, 200)).collect();
    checks.extend([80, 90].map(|at| checked::sighting(at, 503)));
    checks.push(checked::attempt(98, Shape::Unanswered));
    for check in checks {
        watch.check(checked::recognised(check), &mut Silent);
    }
    watch.finish(&[])
}

/// Four requests failed for one reason, one connection for another, and much is not seen.
pub(crate) fn report() -> Report {
    let mut report = Report {
        captures: vec![capture("/data/lb/web.pcapng.gz")],
        flows: vec![flow(0), flow(1)],
        findings: vec![race(1), race(2), race(3), race(7), refused(0, 300)],
        health: health(),
        probes: [(1, "aws-alb".into())].into(),
        ..Report::default()
    };
    let mut answered = exchange(0, 95, 10);
    answered.state = State::Answered;
    answered.idle_before = None;
    answered.response = Some(Response {
        first: mark(0, 97, 41),
        last: mark(0, 98, 42),
        status: Some(200),
        end: 1500,
        complete: true,
        ..Response::default()
    });
    report.exchanges = vec![(1, answered), (1, exchange(0, 112, 1000))];
    report.patterns = vec![
        Pattern {
            cause: "keepalive-race",
            kind: PatternKind::IdleTime { median_s: 5.002, range_s: (4.98, 5.03) },
            findings: 4,
            of: 4,
        },
        Pattern {
            cause: "keepalive-race",
            kind: PatternKind::OneTarget { server: Endpoint::v4([10, 0, 2, 9], 8080), others: 3 },
            findings: 4,
            of: 4,
        },
    ];
    let summary = &mut report.summary;
    summary.packets = 12_000;
    summary.flows = 812;
    summary.exchanges = 4_310;
    summary.failed_requests = 4;
    summary.failed_connections = 1;
    summary.unknown_requests = 3;
    summary.by_cause = [("keepalive-race", 4), ("connect-refused", 1)].into();
    summary.skipped = [("arp".to_owned(), 12), ("udp".to_owned(), 2_431)].into();
    summary.blind_spots = [(BlindSpot::NoHandshake, 9), (BlindSpot::CaptureEnd, 3)].into();
    summary.protocols = [(Protocol::Http1, 809), (Protocol::Tls, 3)].into();
    report
}

/// The same in three files, two of which have the same name.
pub(super) fn several_files() -> Report {
    let mut report = report();
    report.captures = vec![capture("a/web.pcap"), capture("b/web.pcap"), capture("db.pcap")];
    report.captures[1].damaged_at = Some(1_234_567);
    report.captures[1].kernel_drops = 17;
    report.captures[2].cut_frames = 40;
    report.captures[2].warnings = vec!["the last packet is cut off".into()];
    report.findings.push(refused(2, 400));
    report.warnings = vec!["a/web.pcap and b/web.pcap overlap in time".into()];
    report.summary.bounds = [("findings kept", 3)].into();
    report
}

/// What a format writes.
pub(super) fn written(format: &str, report: &Report, style: &Style) -> String {
    let mut out = Vec::new();
    (super::format(format).unwrap().write)(report, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Compares with a file of this folder; `UPDATE_SNAPSHOTS=1` or `UPDATE_SCHEMA=1` rewrites it.
pub(super) fn same_as_file(name: &str, text: &str) {
    let path = format!("{}/src/report/{name}", env!("CARGO_MANIFEST_DIR"));
    let variable = if name.starts_with("schema") { "UPDATE_SCHEMA" } else { "UPDATE_SNAPSHOTS" };
    if std::env::var_os(variable).is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == text, "{name} differs; {variable}=1 cargo test rewrites it. Now:\n{text}");
}

/// Panics unless `value` obeys `schema`, for the keywords that our schemas use.
pub(crate) fn obeys(value: &Value, schema: &Value, root: &Value, at: &str) {
    let Some(schema) = schema.as_object() else {
        assert_eq!(schema, &Value::Bool(true), "{at}");
        return;
    };
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$ref" => {
                let target = rule.as_str().unwrap().trim_start_matches('#').to_owned();
                obeys(value, root.pointer(&target).unwrap(), root, at);
            }
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "null" => value.is_null(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    "boolean" => value.is_boolean(),
                    other => panic!("{at}: unknown type {other}"),
                };
                let fits = rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is));
                assert!(fits, "{at}: {value} is not {rule}");
            }
            "enum" => {
                assert!(rule.as_array().unwrap().contains(value), "{at}: {value} not in {rule}")
            }
            "const" => assert_eq!(rule, value, "{at}"),
            "required" => {
                for name in rule.as_array().unwrap() {
                    assert!(value.get(name.as_str().unwrap()).is_some(), "{at}: no {name}");
                }
            }
            "properties" => {
                for (name, member) in value.as_object().unwrap() {
                    let known = rule
                        .get(name)
                        .unwrap_or_else(|| panic!("{at}: {name} is not in the schema"));
                    obeys(member, known, root, &format!("{at}.{name}"));
                }
            }
            "additionalProperties" => {
                for (name, member) in value.as_object().unwrap() {
                    obeys(member, rule, root, &format!("{at}.{name}"));
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    obeys(item, rule, root, &format!("{at}[]"));
                }
            }
            "anyOf" | "oneOf" => one_of(value, rule.as_array().unwrap(), root, at),
            "minimum" => {
                assert!(value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()), "{at}");
            }
            "minItems" | "maxItems" => {
                assert_eq!(value.as_array().unwrap().len() as u64, rule.as_u64().unwrap())
            }
            "maximum" => {
                assert!(value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()), "{at}");
            }
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            other => panic!("{at}: this test does not know the keyword {other}"),
        }
    }
}

/// Picks the variant by its `record` constant or by null, so that its errors are precise.
fn one_of(value: &Value, variants: &[Value], root: &Value, at: &str) {
    let fits = |variant: &&Value| match variant.pointer("/properties/record/const") {
        Some(name) => value.get("record") == Some(name),
        None => (variant["type"] == "null") == value.is_null(),
    };
    let variant =
        variants.iter().find(fits).unwrap_or_else(|| panic!("{at}: no variant for {value}"));
    let mut value = value.clone();
    if let Some(record) = value.as_object_mut().and_then(|members| members.remove("record")) {
        obeys(&record, &variant["properties"]["record"], root, at);
        obeys(&value, &serde_json::json!({ "$ref": variant["$ref"] }), root, at);
    } else {
        obeys(&value, variant, root, at);
    }
}
