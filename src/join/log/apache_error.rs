//! Apache's error log: what `mod_proxy` says of targets, and of the connection of its client.
//!
//! ```text
//! [Sat Nov 21 10:35:40.087285 2026] [proxy_http:error] [pid 1:tid 2] (104)Connection reset by peer:
//!   [client 203.0.113.7:47163] AH01102: error reading status line from remote server 10.0.0.9:8080
//! ```
//!
//! The numbers of messages: <https://github.com/apache/httpd/tree/2.4.x/modules/proxy>.

use super::line::{Attempt, Line};
use super::text::{endpoint, host};
use super::time::apache_error;
use memchr::memmem::find;
use std::borrow::Cow;

/// What a message tells of a request, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// No connection to the target could be made.
    NotConnected,
    /// The same, of the request that needed it; the reason is in the line before.
    NoBackend,
    /// No status line came.
    NoStatusLine,
    /// The response broke off.
    BrokenResponse,
    /// Its head is no HTTP.
    Malformed,
    /// The request could not be sent on.
    NotSent,
    /// No target may be asked.
    NoTarget,
    /// A rule forbids the request.
    Forbidden,
}

/// The event of a numbered message. Those that only follow such an event (AH00898) or speak of no request are
/// none.
pub(super) fn event(message: &[u8]) -> Option<Event> {
    let number: [u8; 5] = message.get(find(message, b"AH")? + 2..)?.get(..5)?.try_into().ok()?;
    Some(match &number {
        b"00957" => Event::NotConnected,
        b"01114" => Event::NoBackend,
        b"01102" => Event::NoStatusLine,
        b"01110" => Event::BrokenResponse,
        b"01106" | b"01107" | b"01108" => Event::Malformed,
        b"01084" | b"01097" => Event::NotSent,
        b"00940" | b"01166" | b"01167" => Event::NoTarget,
        b"01630" | b"01797" => Event::Forbidden,
        _ => return None,
    })
}

/// An entry. Those that speak of no failure are read and tell nothing.
pub(super) fn error(text: &[u8]) -> Option<Line<'_>> {
    let rest = text.strip_prefix(b"[")?;
    let close = rest.iter().position(|byte| *byte == b']')?;
    let time = apache_error(&rest[..close])?;
    let mut rest = rest[close + 1..].trim_ascii_start();
    // Module and level, process and thread.
    let mut level = false;
    while let Some(group) = rest.strip_prefix(b"[").filter(|group| !group.starts_with(b"client ")) {
        let close = group.iter().position(|byte| *byte == b']')?;
        level |= group[..close].contains(&b':') || group[..close].is_ascii();
        rest = group[close + 1..].trim_ascii_start();
    }
    if !level {
        return None;
    }
    let mut line = Line {
        began: Some(time.at),
        ended: Some(time.at),
        resolution: time.resolution,
        ..Line::default()
    };
    let message = match find(rest, b"[client ") {
        Some(at) => {
            let client = &rest[at + 8..];
            let end = client.iter().position(|byte| *byte == b']')?;
            line.client = endpoint(&client[..end]).or_else(|| host(&client[..end]));
            let after = client[end + 1..].trim_ascii_start();
            if at == 0 { Cow::Borrowed(after) } else { Cow::Owned([&rest[..at], after].concat()) }
        }
        None => Cow::Borrowed(rest),
    };
    let Some(event) = event(&message) else { return Some(line) };
    line.failed = true;
    line.own_cause = match event {
        Event::NoTarget => Some("lb-no-target"),
        Event::Forbidden => Some("lb-policy"),
        Event::NotConnected if find(&message, b"(99)").is_some() => Some("local-port-exhaustion"),
        _ => None,
    };
    line.undispatched = matches!(event, Event::NoTarget | Event::Forbidden);
    if let Some(target) = target(&message) {
        line.attempts.push(Attempt { target: Some(target), status: None });
    }
    line.says("error", message);
    Some(line)
}

/// `10.0.0.9:8080` behind `remote server ` or `attempt to connect to `.
fn target(message: &[u8]) -> Option<crate::packet::Endpoint> {
    let behind = |words: &[u8]| {
        let named = &message[find(message, words)? + words.len()..];
        let end = named.iter().position(|byte| *byte == b' ').unwrap_or(named.len());
        endpoint(&named[..end])
    };
    behind(b"remote server ").or_else(|| behind(b"attempt to connect to "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;

    #[test]
    fn a_target_that_reset_the_connection() {
        let line = error(
            b"[Sat Nov 21 10:35:40.087285 2026] [proxy_http:error] [pid 10557:tid 10582] (104)Connection reset by \
              peer: [client 203.0.113.7:47163] AH01102: error reading status line from remote server 10.0.0.9:8080",
        )
        .unwrap();
        assert_eq!(line.ended, Some(Timestamp(1_795_257_340_087_285_000)));
        assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 47_163)));
        assert_eq!(line.attempts[0].target, Some(Endpoint::v4([10, 0, 0, 9], 8080)));
        assert_eq!(
            &*line.said[0].1,
            b"(104)Connection reset by peer: AH01102: error reading status line from remote server 10.0.0.9:8080"
        );
        assert!(line.failed && !line.undispatched);
    }

    #[test]
    fn what_follows_an_event_and_notices_tell_nothing() {
        for text in [
            "[Sat Nov 21 10:35:40.087344 2026] [proxy:error] [pid 1:tid 2] [client 203.0.113.7:47163] AH00898: Error \
             reading from remote server returned by /one/fin",
            "[Sat Nov 21 10:35:40 2026] [mpm_event:notice] [pid 1:tid 2] AH00489: Apache/2.4.62 configured",
        ] {
            let line = error(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert!(!line.failed && line.said.is_empty(), "{text}");
        }
        for bad in [
            "",
            "[Sat Nov 21",
            "[Sat Nov 31 10:35:40 2026] [a:error] x",
            "[Sat Nov 21 10:35:40 2026] x",
        ] {
            assert!(error(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn no_target_and_no_connection() {
        let begin = "[Sat Nov 21 10:35:40.087344 2026] [proxy:error] [pid 1:tid 2]";
        let text = format!(
            "{begin} [client 203.0.113.7:47163] AH01167: balancer://b: All workers are in error state"
        );
        let line = error(text.as_bytes()).unwrap();
        assert_eq!((line.own_cause, line.undispatched), (Some("lb-no-target"), true));
        let text = format!(
            "{begin} (111)Connection refused: AH00957: http: attempt to connect to 10.0.0.9:80 (10.0.0.9:80) failed"
        );
        let line = error(text.as_bytes()).unwrap();
        assert_eq!((line.client, line.own_cause), (None, None));
        assert!(line.failed && line.attempts[0].target == Some(Endpoint::v4([10, 0, 0, 9], 80)));
    }
}
