//! Mirrors of what belongs to one request of a proxy's client.

use super::exchange::{Request, request};
use super::{Address, Time};
use crate::join;
use schemars::JsonSchema;
use serde::Serialize;

/// Connections, log lines and other captures that tell of one request.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Correlation<'a> {
    /// What the client of the proxy asked and saw; null when that leg is not in the capture.
    front: Option<Ends>,
    /// What the proxy asked its targets for it, in the order of time.
    back: Vec<Attempt>,
    log: Vec<LogLine<'a>>,
    /// The same packets in captures taken elsewhere.
    other_vantage: Vec<Elsewhere>,
    /// How sure it is that all of this belongs together.
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    certainty: &'static str,
}

/// An exchange of a proxy with its client or with a target.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Ends {
    /// Id of its flow.
    flow: u64,
    /// Wireshark's `tcp.stream`.
    stream: Option<u32>,
    /// Position on its connection, from 1; 0 when the connection failed before any request.
    ordinal: u32,
    /// First frame of the request, or the SYN of a connection without one.
    frame: u64,
    /// Index in `captures`.
    file: u32,
    time: Time,
    client: Address,
    server: Address,
    /// First frame of the response.
    response_frame: Option<u64>,
    /// What the client, or the proxy, saw.
    status: Option<u16>,
    /// How it ended.
    #[schemars(extend("enum" = ["outstanding", "answered", "cut", "unanswered", "unknown"]))]
    state: &'static str,
}

/// One try of a proxy to have a request answered.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Attempt {
    #[serde(flatten)]
    ends: Ends,
    /// Id of the cause, when the attempt failed.
    cause: Option<&'static str>,
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    certainty: &'static str,
    /// The strongest of what tied it: a header that names the request, alike requests, alike answers,
    /// no other request under way, or only the order.
    #[schemars(extend("enum" = ["id", "request", "answer", "time", "order"]))]
    tied_by: &'static str,
}

/// A line of a log file.
#[derive(Serialize, JsonSchema)]
struct LogLine<'a> {
    file: &'a str,
    /// From 1.
    line: u64,
    /// Id of the kind of log.
    kind: &'static str,
}

/// The same packet at another capture point.
#[derive(Serialize, JsonSchema)]
struct Elsewhere {
    /// Index in `captures`.
    capture: u32,
    frame: u64,
    /// It is not there; `frame` is the last one before it.
    missing: bool,
}

/// What a failure behind a proxy meant for the proxy's client.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Joined<'a> {
    /// `failed`: the client's request failed by it. `masked-by-retry`: the proxy tried again and the
    /// client saw success. `tried-again`: a later attempt decided. `passed-on`: the client got a whole
    /// response all the same.
    #[schemars(extend("enum" = ["failed", "masked-by-retry", "tried-again", "passed-on"]))]
    outcome: &'static str,
    front: Ends,
    /// What the client of the proxy asked, where its own request failed.
    request: Option<Request<'a>>,
    attempts: Vec<Attempt>,
    /// Index in `attempts` of the one that the finding is about; null: the client's own request.
    attempt: Option<usize>,
    #[schemars(extend("enum" = ["certain", "likely", "possible"]))]
    certainty: &'static str,
}

impl<'a> Correlation<'a> {
    pub(in crate::report) fn new(correlation: &'a join::Correlation) -> Correlation<'a> {
        Correlation {
            front: correlation.front.as_ref().map(ends),
            back: correlation.back.iter().map(attempt).collect(),
            log: correlation
                .log
                .iter()
                .map(|line| LogLine { file: &line.file, line: line.line, kind: line.kind })
                .collect(),
            other_vantage: correlation
                .other_vantage
                .iter()
                .map(|it| Elsewhere {
                    capture: it.frame.file(),
                    frame: it.frame.number(),
                    missing: it.missing,
                })
                .collect(),
            certainty: correlation.certainty.id(),
        }
    }
}

impl<'a> Joined<'a> {
    pub(in crate::report) fn new(joined: &'a join::Joined) -> Joined<'a> {
        Joined {
            outcome: joined.outcome.id(),
            front: ends(&joined.front),
            request: joined.exchange.as_deref().and_then(request),
            attempts: joined.attempts.iter().map(attempt).collect(),
            attempt: joined.this,
            certainty: joined.certainty.id(),
        }
    }
}

fn ends(ends: &join::Ends) -> Ends {
    Ends {
        flow: ends.flow,
        stream: ends.stream,
        ordinal: ends.ordinal,
        frame: ends.asked.frame.number(),
        file: ends.asked.frame.file(),
        time: Time(ends.asked.at),
        client: ends.client.into(),
        server: ends.server.into(),
        response_frame: ends.answered.map(|mark| mark.frame.number()),
        status: ends.status,
        state: super::exchange::state(ends.state),
    }
}

fn attempt(attempt: &join::Attempt) -> Attempt {
    Attempt {
        ends: ends(&attempt.ends),
        cause: attempt.cause,
        certainty: attempt.certainty.id(),
        tied_by: attempt.by.id(),
    }
}
