//! Mirrors of a request, a response and the two together.

use super::{BlindSpotId, Time, blind_spots, nanos_as_s};
use crate::http;
use crate::report::request;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// The request of an exchange.
#[derive(Serialize, JsonSchema)]
pub(super) struct Request<'a> {
    /// Frame of its first byte.
    frame: u64,
    file: u32,
    time: Time,
    method: Option<Cow<'a, str>>,
    /// As in the request line.
    target: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    /// `X-Amzn-Trace-Id`, else `X-Request-Id`, else `traceparent`.
    trace_id: Option<Cow<'a, str>>,
    /// Position on its connection, from 1.
    ordinal: u32,
    /// Bytes captured of head and body.
    bytes: u64,
    /// Whether head and body are complete.
    complete: bool,
}

/// The response of an exchange, or as much of it as came.
#[derive(Serialize, JsonSchema)]
pub(super) struct Response<'a> {
    /// Frame of its first byte.
    frame: u64,
    file: u32,
    time: Time,
    status: Option<u16>,
    /// Bytes captured of head and body.
    bytes: u64,
    /// Whether head and body are complete.
    complete: bool,
    fault: Option<Fault<'a>>,
}

/// What makes a response invalid.
#[derive(Serialize, JsonSchema)]
struct Fault<'a> {
    /// Frame of the offending byte.
    frame: u64,
    file: u32,
    /// Offset of the offending byte from the first byte of the response.
    offset: u64,
    what: &'static str,
    /// The offending bytes, escaped.
    sample: &'a str,
}

pub(super) fn request(exchange: &http::Exchange) -> Option<Request<'_>> {
    let request = exchange.request.as_ref()?;
    let head = request::read(&request.head);
    Some(Request {
        frame: request.first.frame.number(),
        file: request.first.frame.file(),
        time: Time(request.first.at),
        method: head.method,
        target: head.target,
        host: head.host,
        user_agent: head.user_agent,
        trace_id: head.trace_id,
        ordinal: exchange.ordinal,
        bytes: request.end.saturating_sub(request.start),
        complete: request.complete,
    })
}

pub(super) fn response(exchange: &http::Exchange) -> Option<Response<'_>> {
    let response = exchange.response.as_ref()?;
    Some(Response {
        frame: response.first.frame.number(),
        file: response.first.frame.file(),
        time: Time(response.first.at),
        status: response.status,
        bytes: response.end.saturating_sub(response.start),
        complete: response.complete,
        fault: response.fault.as_ref().map(|fault| Fault {
            frame: fault.mark.frame.number(),
            file: fault.mark.frame.file(),
            offset: fault.offset,
            what: fault.kind.what(),
            sample: &fault.sample,
        }),
    })
}

/// A request and what came back, failed or not; listed with `--all`.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Exchange<'a> {
    /// Id of its flow.
    flow: u64,
    request: Option<Request<'a>>,
    response: Option<Response<'a>>,
    /// How it ended.
    #[schemars(extend("enum" = ["outstanding", "answered", "cut", "unanswered", "unknown"]))]
    state: &'static str,
    /// From the request's first byte to the response's first byte.
    latency_s: Option<f64>,
    idle_before_s: Option<f64>,
    blind_spots: Vec<BlindSpotId>,
}

impl<'a> Exchange<'a> {
    pub(in crate::report) fn new((flow, exchange): &'a (u64, http::Exchange)) -> Exchange<'a> {
        let asked = exchange.request.as_ref().map(|request| request.first.at);
        let answered = exchange.response.as_ref().map(|response| response.first.at);
        Exchange {
            flow: *flow,
            request: request(exchange),
            response: response(exchange),
            state: state(exchange.state),
            latency_s: asked.zip(answered).map(|(from, to)| nanos_as_s(to.nanos_since(from))),
            idle_before_s: exchange.idle_before.map(nanos_as_s),
            blind_spots: blind_spots(exchange.blind_spots),
        }
    }
}

/// Stable id.
pub(super) fn state(state: http::State) -> &'static str {
    match state {
        http::State::Outstanding => "outstanding",
        http::State::Answered => "answered",
        http::State::Cut => "cut",
        http::State::Unanswered => "unanswered",
        http::State::Unknown => "unknown",
    }
}
