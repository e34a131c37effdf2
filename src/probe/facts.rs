//! What a candidate check said and was told: heads and PROXY headers as plain facts.

use super::evidence::EvidenceSet;
use crate::http::{Fault, Framing};
use crate::packet::Endpoint;
use std::sync::Arc;

/// Header values are kept up to this many bytes; the longest User-Agent of a known prober has 140.
pub const VALUE_KEPT: usize = 512;
/// Header names kept of one request; ordinary checks have fewer than ten.
pub const NAMES_MAX: usize = 64;

/// A request head as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Method, as sent.
    pub method: Box<str>,
    /// Request target, as sent, query included.
    pub target: Box<str>,
    /// `HTTP/1.1`; empty for a request of HTTP/0.9.
    pub version: Box<str>,
    /// `Host`.
    pub host: Option<Box<str>>,
    /// `User-Agent`.
    pub user_agent: Option<Box<str>>,
    /// `Connection`.
    pub connection: Option<Box<str>>,
    /// `X-Forwarded-For`.
    pub forwarded_for: Option<Box<str>>,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: Option<Box<str>>,
    /// `X-Forwarded-Port`.
    pub forwarded_port: Option<Box<str>>,
    /// Names of all headers in their order, in lower case; at most [`NAMES_MAX`].
    pub names: Box<[Box<str>]>,
    /// Values of [`RequestFacts::names`], in the same order.
    pub values: Box<[Box<str>]>,
    /// How header names are written.
    pub case: HeaderCase,
    /// Bytes of the head, the empty line included.
    pub head_len: u32,
    /// The head is complete and was kept whole.
    pub whole: bool,
    /// Hash of the head's bytes: the same for requests that are the same byte for byte.
    pub digest: u64,
    /// Hash of method, path, what its query says, and User-Agent.
    pub(super) topic: u64,
    /// The same with Host.
    pub(super) asked: u64,
    /// What in the head speaks for a check and against one.
    pub(super) signs: EvidenceSet,
    /// Conditions of fingerprints on the User-Agent that hold.
    pub(super) agent_rules: Arc<[u16]>,
    /// The User-Agent names a known prober.
    pub(super) named: bool,
}

impl RequestFacts {
    /// Value of the first header called `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let index = self.names.iter().position(|known| &**known == name)?;
        Some(&self.values[index])
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&*self.target, |(path, _)| path)
    }

    /// Parts of the query that say what is asked: all but values with a digit, which may be a time or a number
    /// against caches. Probes for liveness and readiness may differ in nothing else.
    pub(super) fn query_words(&self) -> impl Iterator<Item = &str> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').map(|part| match part.split_once('=') {
            Some((name, value)) if value.bytes().any(|byte| byte.is_ascii_digit()) => name,
            None if part.bytes().all(|byte| byte.is_ascii_digit()) => "",
            _ => part,
        })
    }

    /// What is asked for as people configure it: with the query, unless that changes.
    pub fn configured(&self) -> &str {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        if self.query_words().eq(query.split('&')) { &self.target } else { self.path() }
    }

    /// Whether a proxy says in it that it passes the request on for somebody else.
    pub fn is_forwarded(&self) -> bool {
        ["x-forwarded-for", "forwarded", "via", "x-forwarded-proto", "x-forwarded-host"]
            .into_iter()
            .any(|name| self.header(name).is_some())
    }
}

/// How header names are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderCase {
    /// There is no header.
    #[default]
    None,
    /// All in lower case.
    Lower,
    /// Each-Word-Capitalised.
    Canonical,
    /// Neither.
    Mixed,
}

/// A response as far as it came.
#[derive(Clone, Debug, Default)]
pub struct ResponseFacts {
    /// Status code; `None` until the status line is complete.
    pub status: Option<u16>,
    /// Body bytes without chunk framing.
    pub body: u64,
    /// Bytes of the head.
    pub head_len: u64,
    /// Bytes of head and body as sent, chunk framing included (nginx `$bytes_sent`).
    pub sent: u64,
    /// How the length of the body is told.
    pub framing: Framing,
    /// The head is complete.
    pub head_complete: bool,
    /// Head and body are complete.
    pub complete: bool,
    /// It announces the close of the connection.
    pub closes: bool,
    /// What is wrong with its bytes.
    pub fault: Option<Fault>,
    /// What its headers say. Shared between responses that say the same.
    pub texts: Arc<ResponseTexts>,
    /// `grpc-status`, where a header carries it.
    pub grpc_status: Option<u32>,
}

/// Header values of a response, each up to [`VALUE_KEPT`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseTexts {
    /// `Server`.
    pub server: Option<Box<str>>,
    /// `Location`: where a redirect points.
    pub location: Option<Box<str>>,
    /// `Content-Type`.
    pub content_type: Option<Box<str>>,
    /// `x-envoy-upstream-healthchecked-cluster`: Envoy's health check filter answered.
    pub healthchecked_cluster: Option<Box<str>>,
}

/// A PROXY protocol header (<https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// 1 or 2.
    pub version: u8,
    /// What it says of the connection.
    pub command: ProxyCommand,
}

/// On whose behalf a connection with a PROXY header was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyCommand {
    /// The proxy's own: version 2 LOCAL.
    Local,
    /// Of unknown origin: version 1 UNKNOWN, version 2 PROXY with family UNSPEC.
    Unknown,
    /// Made for the first endpoint, which had asked the second.
    Proxy(Endpoint, Endpoint),
}
