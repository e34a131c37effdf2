//! HTTP/1 exchanges of one connection (RFC 9112), from two ordered byte streams with gaps.
//!
//! Knows offsets in a stream, not sequence numbers; knows nothing of causes.

mod body;
mod client;
mod conversation;
mod detect;
mod head;
mod loss;
mod pending;
mod pool;
#[cfg(test)]
mod properties;
mod queue;
mod recurring;
mod rest;
mod scan;
#[cfg(test)]
mod script;
mod server;
mod unasked;

pub use conversation::Conversation;
pub use detect::likely_side;
pub use head::{Headers, RequestHead, ResponseHead};
pub use pool::Pool;
pub(crate) use recurring::Recurring;
pub(crate) use scan::sample;

use crate::blind::BlindSpots;
use crate::time::Mark;
use crate::word;

/// One request and what came back for it.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Position on its connection, from 1, as far as the capture shows.
    pub ordinal: u32,
    /// The request; `None` for a response that nobody asked for.
    pub request: Option<Request>,
    /// The final response, or as much of it as came.
    pub response: Option<Response>,
    /// Interim (1xx) responses so far; they are no part of [`Exchange::response`].
    pub interim: u16,
    /// How it ended.
    pub state: State,
    /// Nanoseconds between the last byte of the exchange before (or the handshake) and the first
    /// byte of this request; `None` when the capture does not show what came before.
    pub idle_before: Option<i64>,
    /// What could hide another truth about this exchange.
    pub blind_spots: BlindSpots,
}

/// How an exchange stands. Every request ends in exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The request is out and its final response is not complete; only while the flow lives.
    #[default]
    Outstanding,
    /// The final response is complete.
    Answered,
    /// Part of a response came.
    Cut,
    /// No byte of a response came.
    Unanswered,
    /// The blind spots of the exchange hide what happened.
    Unknown,
}

/// A request as seen so far.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Frame of its first byte.
    pub first: Mark,
    /// Frame of the last byte seen.
    pub last: Mark,
    /// Offset of its first byte in the client's stream.
    pub start: u64,
    /// Offset behind the last byte seen.
    pub end: u64,
    /// How much of the server's stream the client had received when it sent the first byte.
    pub acked: Option<u64>,
    /// The head as sent, at most [`HEAD_KEPT`] bytes of it.
    pub head: Vec<u8>,
    /// The head is complete.
    pub head_complete: bool,
    /// Head and body are complete.
    pub complete: bool,
    /// It came although the answer before it had announced the close of the connection.
    pub after_close: bool,
}

/// A final response as seen so far.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Frame of its first byte.
    pub first: Mark,
    /// Frame of the last byte seen.
    pub last: Mark,
    /// Longest time between two pieces of it, nanoseconds.
    pub pause: i64,
    /// Offset of its first byte in the server's stream.
    pub start: u64,
    /// Offset behind the last byte seen.
    pub end: u64,
    /// How much of the client's stream the server had received when it sent the first byte. When
    /// this does not reach the request's first byte, the server had not seen the request.
    pub acked: Option<u64>,
    /// Status code; `None` until the status line has been read.
    pub status: Option<u16>,
    /// The head as sent, at most [`HEAD_KEPT`] bytes of it.
    pub head: Vec<u8>,
    /// Length of the head so far, bytes.
    pub head_len: u64,
    /// The head is complete.
    pub head_complete: bool,
    /// How the length of the body is known.
    pub framing: Framing,
    /// Body bytes so far, without chunk framing.
    pub body: u64,
    /// How the body of a 5xx or a 400 begins, as sent, at most [`BODY_KEPT`] bytes; empty for other statuses.
    pub body_start: Vec<u8>,
    /// Head and body are complete.
    pub complete: bool,
    /// It says `Connection: close`, or its version and framing imply it.
    pub closes: bool,
    /// Interim (1xx) responses before it.
    pub interim: u16,
    /// It began before any request waited for an answer.
    pub unsolicited: bool,
    /// What is wrong with its bytes.
    pub fault: Option<Fault>,
}

/// Statuses with which a gateway speaks for a server (RFC 9110, 15.6.3 to 15.6.5).
pub fn is_gateway_error(status: u16) -> bool {
    (502..=504).contains(&status)
}

impl Response {
    /// More of it came, up to the offset `end`.
    fn extend(&mut self, mark: Mark, end: u64) {
        self.pause = self.pause.max(mark.at.nanos_since(self.last.at));
        self.last = mark;
        self.end = end;
    }
}

/// How the end of a response body is told (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// The head is not complete.
    #[default]
    Unknown,
    /// No body follows (HEAD, 204, 304, CONNECT).
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The close of the connection ends it.
    UntilClose,
}

/// What makes a response invalid, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The frame that carries the offending byte.
    pub mark: Mark,
    /// Offset of the offending byte from the first byte of the response.
    pub offset: u64,
    /// What is wrong.
    pub kind: FaultKind,
    /// The offending bytes, escaped, at most 60 characters.
    pub sample: String,
}

/// Kinds of invalid response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The bytes are no status line at all.
    NotHttp,
    /// A TLS record answers a plaintext request.
    Tls,
    /// An HTTP/2 frame answers an HTTP/1 request.
    Http2,
    /// `HTTP/` with a version other than 1.0 or 1.1.
    Version,
    /// The status is not three digits from 100 to 599.
    Status,
    /// A control byte or white space in a header name or before its colon, or no name at all.
    HeaderName,
    /// A visible byte in a header name that no token may contain (RFC 9110, 5.1), such as `(`.
    HeaderToken,
    /// A header line without a colon.
    NoColon,
    /// NUL or another control character in a header value.
    HeaderValue,
    /// A folded header line (RFC 9112, 5.2).
    Folded,
    /// `Content-Length` that is no number, or negative.
    ContentLength,
    /// Several `Content-Length` values that differ.
    ContentLengths,
    /// `Content-Length` and `Transfer-Encoding` together.
    LengthAndCoding,
    /// A transfer coding other than `chunked`.
    Coding,
    /// A chunk size that is no hexadecimal number, or no CRLF after a chunk.
    Chunk,
    /// The head is longer than [`HEAD_MAX`].
    HeadTooLarge,
}

impl FaultKind {
    /// Whether the proxies measured (HAProxy 2.6, nginx 1.22, Apache 2.4, Envoy) all refuse it.
    /// The others pass at least through one of them, so that they are a failure only when the
    /// client's reaction shows it.
    pub fn refused_by_all(self) -> bool {
        matches!(
            self,
            FaultKind::HeaderName | FaultKind::NoColon | FaultKind::HeadTooLarge | FaultKind::Chunk
        )
    }

    /// Whether it is no HTTP/1 at all.
    pub fn is_no_response(self) -> bool {
        matches!(self, FaultKind::Http2 | FaultKind::NotHttp | FaultKind::Tls)
    }

    /// Whether it leaves no status to pass on. A proxy that goes on regardless (nginx 1.22 takes
    /// the bytes for an HTTP/0.9 body, status 009) still gives its client no valid answer.
    pub fn hides_status(self) -> bool {
        matches!(self, FaultKind::NotHttp | FaultKind::Status)
    }

    /// In words, as part of a sentence.
    pub fn what(self) -> &'static str {
        match self {
            FaultKind::NotHttp => word!("not an HTTP status line"),
            FaultKind::Tls => word!("a TLS record instead of an HTTP response"),
            FaultKind::Http2 => word!("an HTTP/2 frame instead of an HTTP/1 response"),
            FaultKind::Version => word!("an unknown HTTP version"),
            FaultKind::Status => word!("a status that is not three digits from 100 to 599"),
            FaultKind::HeaderName => word!("an illegal character in a header name"),
            FaultKind::HeaderToken => word!("a character in a header name that RFC 9110 forbids"),
            FaultKind::NoColon => word!("a header line without a colon"),
            FaultKind::HeaderValue => word!("a control character in a header value"),
            FaultKind::Folded => word!("a folded header line"),
            FaultKind::ContentLength => word!("an invalid Content-Length"),
            FaultKind::ContentLengths => word!("two different Content-Length values"),
            FaultKind::LengthAndCoding => word!("both Content-Length and Transfer-Encoding"),
            FaultKind::Coding => word!("an unknown transfer coding"),
            FaultKind::Chunk => word!("broken chunked framing"),
            FaultKind::HeadTooLarge => word!("a header section over the limit"),
        }
    }
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// No byte seen yet.
    #[default]
    Unknown,
    /// HTTP/1.
    Http1,
    /// HTTP/1 that switched to another protocol (101, or CONNECT with 2xx).
    Upgraded,
    /// TLS.
    Tls,
    /// HTTP/2 with prior knowledge (`PRI * HTTP/2.0`).
    Http2,
    /// Something else.
    Other,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Protocol; 6] = [
        Protocol::Unknown,
        Protocol::Http1,
        Protocol::Upgraded,
        Protocol::Tls,
        Protocol::Http2,
        Protocol::Other,
    ];
}

/// Bytes of a message head that are kept for the report.
pub const HEAD_KEPT: usize = 4096;
/// Bytes kept of the body of a 5xx or a 400: error pages that proxies make themselves are shorter, or name their
/// maker by then (Apache's with its address line takes about 400).
pub const BODY_KEPT: usize = 512;
/// Longest head that is read; the largest limit of a common proxy is Envoy's 80 KiB.
pub const HEAD_MAX: usize = 96 * 1024;
/// Requests that may wait for their responses on one connection before the oldest is given up.
pub const PENDING_MAX: usize = 1024;
