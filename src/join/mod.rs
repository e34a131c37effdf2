//! What one flow cannot say: both legs of a proxy, and what else tells of the same request.
//!
//! Everything here works on flows and exchanges that are over, in bounded memory; nothing looks into
//! TCP. [`legs`] ties the exchanges of a proxy's clients to those that the proxy made of them,
//! [`log`] log lines to exchanges, [`points`] two captures of the same connections to each other.

pub mod legs;
pub mod log;
pub mod points;

use crate::cause::{Confidence, OwnPage};
use crate::http::{Exchange, State};
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::{FrameId, Mark};

/// Correlations kept for the report; further ones are only counted.
pub const CORRELATIONS_MAX: usize = 100_000;
/// Attempts kept of one request; proxies give up after a few.
pub const ATTEMPTS_MAX: usize = 16;

/// Everything that tells of one request of a proxy's client.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// What the client of the proxy asked and saw; `None` when that leg is not in the capture.
    pub front: Option<Ends>,
    /// What the proxy asked its targets for it, in the order of time.
    pub back: Vec<Attempt>,
    /// Log lines that tell of it.
    pub log: Vec<LogLine>,
    /// The same packets in captures taken elsewhere.
    pub other_vantage: Vec<Elsewhere>,
    /// How sure it is that all of this belongs together: the least sure part decides.
    pub certainty: Confidence,
}

/// An exchange, or a connection that failed before one: between whom, when, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// [`Flow::id`](crate::flow::Flow::id).
    pub flow: u64,
    /// Wireshark's `tcp.stream`.
    pub stream: Option<u32>,
    /// Position on its connection, from 1; 0 when the connection failed before any request.
    pub ordinal: u32,
    /// Who opened the connection.
    pub client: Endpoint,
    /// Who accepted it.
    pub server: Endpoint,
    /// First byte of the request, or the first SYN of a connection without one.
    pub asked: Mark,
    /// First byte of the response.
    pub answered: Option<Mark>,
    /// Last byte of the response, or the end of the connection if that came first.
    pub over: Mark,
    /// Who closed the connection first, when that was before the end of the response.
    pub closed_by: Option<Side>,
    /// Status of the response.
    pub status: Option<u16>,
    /// Bytes of the response's head, as far as they came.
    pub head_len: u64,
    /// How it ended.
    pub state: State,
    /// What the response tells, when it is a gateway error on a page that only the proxy itself writes.
    pub own_page: Option<OwnPage>,
}

impl Ends {
    /// Its client had closed the connection when the response began. Whoever closes only the sending direction
    /// still reads it.
    pub fn left_before_answer(&self) -> bool {
        let late = self.answered.is_some_and(|answered| answered.at > self.over.at);
        late && self.closed_by == Some(Side::Client)
    }

    /// A response came whose status could not be read.
    pub fn is_unread(&self) -> bool {
        self.answered.is_some() && self.status.is_none()
    }

    /// Its client had no whole response, or one that tells of a failure.
    pub fn failed(&self) -> bool {
        self.state != State::Answered || self.status.is_none_or(|status| status >= 500)
    }
}

/// One try of a proxy to have a request answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The exchange between the proxy and its target.
    pub ends: Ends,
    /// Id of the cause, when the attempt failed.
    pub cause: Option<&'static str>,
    /// How sure it is that it belongs to that request.
    pub certainty: Confidence,
    /// What tied it.
    pub by: TiedBy,
    /// It may as well be a request that a client made itself, on the host of the proxy.
    pub own: bool,
}

/// What ties an attempt to the request that it is for, the strongest of what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TiedBy {
    /// Only the order in which they came.
    Order,
    /// No other request was under way.
    Time,
    /// The answers are alike.
    Answer,
    /// The requests are alike.
    Request,
    /// A header that names the request: `X-Request-Id`, `traceparent` and their like.
    Id,
}

impl TiedBy {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            TiedBy::Order => "order",
            TiedBy::Time => "time",
            TiedBy::Answer => "answer",
            TiedBy::Request => "request",
            TiedBy::Id => "id",
        }
    }
}

/// A line of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The file, as named by the user or found in a directory.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// Id of the kind of log.
    pub kind: &'static str,
}

/// The same packet at another capture point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The frame; its file is the other capture.
    pub frame: FrameId,
    /// Whether it is the packet, or the last one before it where that is missing.
    pub missing: bool,
}

/// What the client of a proxy saw of a failure behind it.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The request of the proxy's client.
    pub front: Ends,
    /// That exchange as a whole, where it failed.
    pub exchange: Option<Box<Exchange>>,
    /// The attempts made for it.
    pub attempts: Vec<Attempt>,
    /// Which of them the finding is about; `None`: the request of the client itself.
    pub this: Option<usize>,
    /// What became of the request.
    pub outcome: Outcome,
    /// How sure it is that they belong together.
    pub certainty: Confidence,
}

/// What a failure behind a proxy meant for the proxy's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The client's request failed by it.
    Failed,
    /// The proxy tried again and the client saw success.
    Masked,
    /// The proxy tried again; a later attempt decided.
    Retried,
    /// The proxy took it all the same: the client got a whole response.
    PassedOn,
}

impl Outcome {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Outcome::Failed => "failed",
            Outcome::Masked => "masked-by-retry",
            Outcome::Retried => "tried-again",
            Outcome::PassedOn => "passed-on",
        }
    }
}
