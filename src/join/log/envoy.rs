//! Envoy's default access log, and Istio's (Envoy documentation, "Access logging", default format string).
//!
//! ```text
//! [START_TIME] "METHOD PATH PROTOCOL" RESPONSE_CODE RESPONSE_FLAGS BYTES_RECEIVED BYTES_SENT DURATION
//!   X-ENVOY-UPSTREAM-SERVICE-TIME "X-FORWARDED-FOR" "USER-AGENT" "X-REQUEST-ID" "AUTHORITY" "UPSTREAM_HOST"
//! ```
//!
//! Istio has the response code's details, the connection's and the transport failure behind the flags, and
//! the addresses of both sides behind the upstream's.

use super::fields::split;
use super::format::proxy_words;
use super::line::{Field, Line};
use super::text::is_none;

use Field::{Client, DurationMs, ForwardedFor, Local, Other, RequestId, Status, Targets, Words};

const FLAGS: Field = Words("response_flags");
const DEFAULT: [Field; 12] = [
    Field::Request,
    Status,
    FLAGS,
    Other,
    Other,
    DurationMs,
    Other,
    ForwardedFor,
    Other,
    RequestId,
    Other,
    Targets,
];
const ISTIO: [Field; 19] = [
    Field::Request,
    Status,
    FLAGS,
    Words("response_code_details"),
    Other,
    Words("upstream_transport_failure_reason"),
    Other,
    Other,
    DurationMs,
    Other,
    ForwardedFor,
    Other,
    RequestId,
    Other,
    Targets,
    Other,
    Local,
    Other,
    Client,
];

/// A line in one of the two formats.
pub(super) fn envoy<'a>(text: &'a [u8], fields: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    if text.first() != Some(&b'[') || !split(text, true, fields) {
        return None;
    }
    let layout: &[Field] = match fields.len() {
        13 => &DEFAULT,
        20.. => &ISTIO,
        _ => return None,
    };
    let mut line = Line::default();
    let taken = line.take(Field::Began, fields[0].into())
        && layout.iter().zip(&fields[1..]).all(|(field, value)| line.take(*field, (*value).into()));
    if !taken || line.began.is_none() || line.status.is_none() {
        return None;
    }
    line.undispatched = line.attempts.is_empty();
    line.complete();
    proxy_words(&mut line);
    Some(line)
}

/// Whether flags tell of a failure of serving. With a 4xx they tell of the request: no route for it, a
/// rule or a limit that refused it; what tells of time-outs does not.
pub(super) fn tells_of_failure(flags: &[u8], status: Option<u16>) -> bool {
    let refused = status.is_some_and(|status| (400..500).contains(&status));
    let late = |flag: &[u8]| matches!(flag, b"SI" | b"DT" | b"UMSDR" | b"DC" | b"UT");
    !is_none(flags) && (!refused || flags.split(|byte| *byte == b',').any(late))
}

/// The cause that flags tell, where no packet to a target could: its id. `asked`: the line names a target.
pub(super) fn own_cause(flags: &[u8], asked: bool) -> Option<&'static str> {
    let has = |wanted: &[&str]| {
        flags.split(|byte| *byte == b',').any(|flag| wanted.iter().any(|it| it.as_bytes() == flag))
    };
    if has(&["UH", "NC", "LH"]) {
        Some("lb-no-target")
    } else if asked || has(&["UC", "UF", "UT", "UR", "UPE"]) {
        // An attempt was made; that none followed, as a limit was reached, came after.
        None
    } else if has(&["UO", "OM", "DO"]) {
        Some("lb-overload")
    } else if has(&["NR", "NFCF", "RL", "RLSE", "UAEX", "DPE", "FI", "IH", "RFCF"]) {
        Some("lb-policy")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;

    fn read(text: &str) -> Option<Line<'_>> {
        envoy(text.as_bytes(), &mut Vec::new())
    }

    #[test]
    fn the_default_format() {
        let text = "[2026-11-21T10:35:40.565Z] \"GET /a?b=c HTTP/1.1\" 503 UF 0 91 12 - \"-\" \"curl/7.88\" \
            \"3c1a8d0e-0000-4000-8000-00000000000a\" \"shop.example\" \"10.0.0.9:8080\"";
        let line = read(text).unwrap();
        assert_eq!(line.began, Some(Timestamp(1_795_257_340_565_000_000)));
        assert_eq!(line.ended, Some(Timestamp(1_795_257_340_577_000_000)));
        assert_eq!((line.status, line.failed, line.undispatched), (Some(503), true, false));
        assert_eq!(line.attempts[0].target, Some(Endpoint::v4([10, 0, 0, 9], 8080)));
        assert_eq!(&*line.request_id, b"3c1a8d0e-0000-4000-8000-00000000000a");
        assert!(read(&text[..60]).is_none());
    }

    #[test]
    fn a_request_that_no_host_got() {
        let text = "[2026-11-21T10:35:40.565Z] \"GET / HTTP/1.1\" 503 UH 0 19 0 - \"-\" \"-\" \"-\" \"-\" \"-\"";
        let line = read(text).unwrap();
        assert!(line.undispatched);
        assert_eq!(line.own_cause, Some("lb-no-target"));
        assert_eq!(own_cause(b"UF,URX", true), None);
        assert_eq!(own_cause(b"UO", false), Some("lb-overload"));
        assert_eq!((own_cause(b"UO,UC", false), own_cause(b"UO", true)), (None, None));
    }

    #[test]
    fn istios_format_names_both_sides() {
        let text = "[2026-11-21T10:35:40.565Z] \"GET / HTTP/1.1\" 200 - via_upstream - \"-\" 0 91 12 11 \"-\" \
            \"curl/7.88\" \"id\" \"shop\" \"10.0.0.9:8080\" outbound|80||shop 10.0.0.5:40000 10.0.0.6:80 \
            203.0.113.7:50000 - default";
        let line = read(text).unwrap();
        assert_eq!(line.local, Some(Endpoint::v4([10, 0, 0, 5], 40_000)));
        assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 50_000)));
        assert!(!line.failed && line.said.is_empty());
    }
}
