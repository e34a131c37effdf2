//! Hand-made checks for the tests of this folder.

use super::outcome::Outcome;
use super::target::Check;
use crate::blind::BlindSpots;
use crate::cause::{Confidence, What};
use crate::flow::{Ending, EndingKind, Vantage};
use crate::packet::Endpoint;
use crate::probe::{
    Catalogue, CheckerId, GroupId, Reason, Recognised, RequestFacts, ResponseFacts, Shape,
    Sighting, Verdict,
};
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use std::sync::{Arc, LazyLock};

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MS: i64 = SECOND / 1000;

/// A frame of that time; its number is the time in milliseconds.
pub(crate) fn mark(nanos: i64) -> Mark {
    Mark { frame: FrameId::new(0, (nanos / MS) as u64), at: Timestamp(nanos) }
}

/// A check at that second by a node; the letter is that of its outcome, `?` one that is not known.
pub(crate) fn check(second: i64, node: u8, letter: char) -> Check {
    let at = second * SECOND;
    Check {
        flow: second as u64,
        stream: Some(second as u32),
        ordinal: 1,
        alone: true,
        frame: mark(at),
        began: Timestamp(at),
        over: Timestamp(at),
        source: Endpoint::v4([10, 0, 1, node], 40_000 + (second % 20_000) as u16),
        target: Endpoint::v4([10, 0, 2, 9], 8080),
        outcome: Outcome::ALL.into_iter().find(|outcome| outcome.letter() == letter),
        confidence: Confidence::Certain,
        decisive: mark(at),
        what: What::Response,
        note: Default::default(),
        status: None,
        latency: None,
        duration: None,
        gave_up_after: None,
        connect: None,
        request: None,
        request_len: 0,
        body: None,
        sent: None,
        texts: None,
        answered: 0,
        accepted: None,
        syn: None,
        tls: false,
        left_open: None,
        rtt: None,
        rtt_variation: None,
        vantage: Vantage::Unknown,
        blind_spots: BlindSpots::NONE,
    }
}

/// An answered HTTP check that began at that second, asking for `/health`, answered after 10 ms
/// with `status`, closed by the prober.
pub(crate) fn sighting(second: i64, status: u16) -> Sighting {
    let at = second * SECOND;
    let head =
        "GET /health HTTP/1.1\r\nHost: 10.0.2.9:8080\r\nUser-Agent: ELB-HealthChecker/2.0\r\n\r\n";
    let mut request = RequestFacts::default();
    request.method = "GET".into();
    request.target = "/health".into();
    request.version = "HTTP/1.1".into();
    request.host = Some("10.0.2.9:8080".into());
    request.user_agent = Some("ELB-HealthChecker/2.0".into());
    request.names = ["host".into(), "user-agent".into()].into();
    request.values = ["10.0.2.9:8080".into(), "ELB-HealthChecker/2.0".into()].into();
    request.head_len = head.len() as u32;
    request.whole = true;
    let response = ResponseFacts {
        status: Some(status),
        body: 2,
        head_len: 60,
        sent: 62,
        head_complete: true,
        complete: true,
        ..ResponseFacts::default()
    };
    let mut check = silent(second);
    check.request = Some(Arc::new(request));
    check.request_len = head.len() as u64;
    check.request_complete = true;
    check.response = Some(Box::new(response));
    check.state = crate::http::State::Answered;
    check.payload = [head.len() as u64, 62];
    check.marks.response_first = Some(mark(at + 12 * MS));
    check.marks.response_last = Some(mark(at + 12 * MS));
    closed(check, Side::Client, EndingKind::Fin, 13)
}

/// A connection that was accepted and on which something was sent, and nothing came back.
pub(crate) fn silent(second: i64) -> Sighting {
    let at = second * SECOND;
    let mut check = Sighting {
        flow: second as u64,
        stream: Some(second as u32),
        source: Endpoint::v4([10, 0, 1, 7], 40_000 + (second % 20_000) as u16),
        target: Endpoint::v4([10, 0, 2, 9], 8080),
        ordinal: 1,
        shape: Shape::Data,
        payload: [80, 0],
        state: crate::http::State::Unanswered,
        vantage: Vantage::Client,
        ..Sighting::default()
    };
    check.marks.first = mark(at);
    check.marks.last = mark(at + 13 * MS);
    check.marks.syn = Some(mark(at));
    check.marks.last_syn = Some(mark(at));
    check.marks.syns = 1;
    check.marks.syn_ack = Some(mark(at + MS));
    check.marks.ack = Some(mark(at + MS));
    check.marks.request_first = Some(mark(at + 2 * MS));
    check.marks.request_last = Some(mark(at + 2 * MS));
    check
}

/// The same with its first close: who, how, and milliseconds after the start.
pub(crate) fn closed(mut check: Sighting, side: Side, kind: EndingKind, ms: i64) -> Sighting {
    let mark = mark(check.marks.first.at.0 + ms * MS);
    check.endings = [None, None];
    check.endings[side as usize] = Some(Ending::example(mark, side, kind));
    check.closed_by = Some(side);
    if mark.at > check.marks.last.at {
        check.marks.last = mark;
    }
    check
}

/// An attempt without payload.
pub(crate) fn attempt(second: i64, shape: Shape) -> Sighting {
    let mut check = silent(second);
    let accepted = shape.is_accepted();
    check.shape = shape;
    check.ordinal = 0;
    check.payload = [0, 0];
    check.marks.request_first = None;
    check.marks.request_last = None;
    if !accepted {
        (check.marks.syn_ack, check.marks.ack) = (None, None);
    }
    check.state = crate::http::State::Outstanding;
    if shape == Shape::Refused {
        return closed(check, Side::Server, EndingKind::Rst, 1);
    }
    check
}

/// A check of an Application Load Balancer that is surely one.
pub(crate) fn recognised(sighting: Sighting) -> Recognised {
    static KNOWN: LazyLock<Catalogue> =
        LazyLock::new(|| Catalogue::load([]).expect("tested where it is"));
    let prober = Arc::clone(KNOWN.prober("aws-alb").expect("known"));
    let reason = Reason { what: "User-Agent ELB-HealthChecker/2.0".into(), decibans: 45 };
    let verdict = Verdict {
        prober: Some(prober),
        confidence: Confidence::Certain,
        decibans: 40,
        reasons: vec![reason],
        relayed: false,
        unexpected_source: false,
        period: Some(10.0),
    };
    let (group, checker) = (GroupId(1), CheckerId(1));
    Recognised { sighting, group, checker, verdict: Arc::new(verdict) }
}
