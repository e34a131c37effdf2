//! the target closed before it had received the whole request.

use super::case::SHORTEST_TIMER;
use super::{Case, Cause, Confidence, Coverage, Responsible, Verdict};
use crate::blind::BlindSpot;
use crate::flow::{Ending, EndingKind};
use crate::http::State;
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-closed-during-request",
    summary: "the target closed before it had received the whole request",
    explanation: "\
        The target closed while the load balancer was still sending the request: an upload, a \
        large POST, a slow client. The usual reasons are a limit on the size of the body, a \
        time-out for reading it, authentication that fails before the body is read, or a \
        crash.\n\n\
        On the wire the FIN or RST acknowledges only part of what was sent, or all that was \
        sent of a request whose Content-Length or last chunk was not reached yet. Often a \
        complete early response, such as 413 or 401, comes first. If the program closes at \
        once after it, with body bytes unread, the kernel follows the response with a RST, and \
        the RST can destroy the response on the other side before it is read: the target logs \
        413 and the load balancer reports 502. RFC 9112 asks servers to close in two steps for \
        that reason.\n\n\
        At the target the request bytes come in, the close goes out and later request bytes \
        are answered with RST. At the load balancer the same packets are seen with more of the \
        request already sent.\n\n\
        If the ACK number of the close covers the whole request, the cause is \
        target-fin-no-response or target-rst-no-response. If it covers none of it, the target \
        closed before the request came: keepalive-race. A target that stops reading without \
        closing is target-not-reading.",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -"),
        ("HAProxy", "502, termination state SH; the early status with SD when it got through"),
        (
            "nginx",
            "502, (104: Connection reset by peer) or (32: Broken pipe) while sending request to \
             upstream; or the early status",
        ),
        ("Envoy", "503, flag UC; or the early status"),
        ("Apache", "502, AH01097 pass request body failed (104, 32)"),
        (
            "GCP",
            "502 or 503, backend_early_response_with_non_error_status; 4xx or 5xx, \
             aborted_request_due_to_backend_early_response",
        ),
        ("Azure", "502, ERRORINFO_UPSTREAM_CLOSED_CONNECTION; Front Door OriginConnectionAborted"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Look in the capture for an early response of the target (413, 401, 408) before its close",
        "Compare the bytes received with the target's limits (nginx client_max_body_size 1m by \
         default, Tomcat maxPostSize and maxSwallowSize 2 MB)",
        "Compare the time from request to close with its read time-outs (nginx \
         client_body_timeout 60s, Node.js requestTimeout 300 s)",
        "Look in the target's log for 413, body too large, read time-out, or a crash at this time",
    ],
    fix: &[
        "Raise the target's body limit or read time-out (nginx client_max_body_size, \
         client_body_timeout), or let it read the body before it answers",
        "Close in two steps after an early answer: shut down the sending side, go on reading, \
         then close (nginx lingering_close on or always)",
        "In Tomcat raise maxSwallowSize, so that a rejected upload is read to its end instead of \
         being reset",
        "Enforce the same limit at the load balancer, so that an upload that is too large never \
         reaches the target",
        "Let clients send Expect: 100-continue for large uploads, where the load balancer passes \
         it on (an ALB answers it itself)",
    ],
    wireshark: &[
        ("tcp.flags.fin == 1 or tcp.flags.reset == 1", "who closed, and when"),
        ("http.request.method in {\"POST\", \"PUT\", \"PATCH\"}", "requests with a body"),
    ],
    references: &[
        "RFC 9112, 9.6 (tear-down, two-step close): \
         https://www.rfc-editor.org/rfc/rfc9112#section-9.6",
        "RFC 9110, 15.5.14 (413 Content Too Large): \
         https://www.rfc-editor.org/rfc/rfc9110#section-15.5.14",
        "RFC 9110, 10.1.1 (Expect): https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1",
        "RFC 9293, 3.6.1 (close with unread data sends RST): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1",
        "nginx, core module: https://nginx.org/en/docs/http/ngx_http_core_module.html",
        "Google Cloud, load balancer logging: \
         https://cloud.google.com/load-balancing/docs/https/https-logging-monitoring",
    ],
    detect,
};

/// Time in which a program reads what has come for it, busy as it may be, nanoseconds.
const TIME_TO_READ: i64 = 500_000_000;

/// The target closed with the request's body still unread in its socket: the kernel sends RST on
/// its own right after the answer, which may overtake it in the load balancer.
fn body_unread(case: &Case<'_>) -> bool {
    /// Time between an answer and the close that follows it in the same program, nanoseconds.
    const AT_ONCE: i64 = 10_000_000;
    let (Some(request), Some(response)) = (case.request(), case.response()) else { return false };
    // A reset behind a later request answers that one.
    let last = case.exchange.is_some_and(|exchange| case.flow.requests <= exchange.ordinal);
    if !response.complete || !last {
        return false;
    }
    let body = request.first.frame != request.last.frame;
    body && case.flow.endings.iter().any(|ending| {
        let after = ending.mark.at.nanos_since(response.last.at);
        ending.side == Side::Server
            && ending.kind == EndingKind::Rst
            && ending.ack_flag
            && (0..AT_ONCE).contains(&after)
    })
}

/// The client had acknowledged the whole answer, and its program had time to read it before a RST came: no reset
/// overtakes that one. Who goes on with the body for as long reads only when it has sent all (Apache).
fn had_time_to_read(case: &Case<'_>) -> bool {
    let (Some(request), Some(response)) = (case.request(), case.response()) else { return false };
    let taken = response.complete && case.flow.half(Side::Server).acked >= response.end;
    let time = case.round_trip() + TIME_TO_READ;
    let reset = |it: &Ending| it.side == Side::Server && it.kind == EndingKind::Rst;
    let soon = |it: &Ending| reset(it) && it.mark.at.nanos_since(response.last.at) < time;
    let stopped = request.last.at.nanos_since(response.last.at) < time;
    taken && stopped && !case.flow.endings.iter().any(soon)
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.request()?;
    let close = case.closed_by_server()?;
    let coverage = case.coverage(close);
    // A request whose end was not captured may have been complete.
    let unseen = [BlindSpot::Snaplen, BlindSpot::Gap]
        .into_iter()
        .any(|spot| case.exchange.is_some_and(|exchange| exchange.blind_spots.has(spot)));
    let answered_early =
        case.response().is_some_and(|response| response.first.at <= request.last.at);
    let early = (!request.complete && !unseen)
        || coverage == Coverage::Part
        || answered_early
        || body_unread(case);
    if !early || coverage == Coverage::Nothing {
        return None;
    }
    if case.is_encrypted() && case.failed().is_none() {
        return None; // which record answers what is not known
    }
    // A complete early answer may reach the load balancer's program before the RST does.
    let answered = case.exchange?.state == State::Answered;
    let reset = close.kind == EndingKind::Rst
        || case.bare_reset_after(close).is_some()
        || body_unread(case);
    let confidence = if answered && reset {
        if had_time_to_read(case) {
            return None;
        }
        Confidence::Possible
    } else if case.failed().is_some() {
        // Behind a window of zero it may have been given up before.
        let shut = case.window_shut().map_or(0, |since| close.mark.at.nanos_since(since.at));
        if shut < SHORTEST_TIMER { Confidence::Certain } else { Confidence::Likely }
    } else {
        return None;
    };
    let name = case.name(close);
    let mut evidence =
        vec![case.ending(close, phrase!("{name} while the request was still sent", name))];
    evidence.extend(case.asked(phrase!("the request")));
    evidence.extend(case.answered(phrase!("what the target answered before")));
    let received = close.acked.map_or(0, |acked| acked.saturating_sub(request.start));
    Some(Verdict {
        confidence,
        evidence,
        summary: match request.end - request.start {
            // It took everything from the wire, and closed with some of it unread.
            sent if answered && received >= sent => phrase!(
                "the target answered before it had the whole request and closed ({name}): a reset may overtake the answer",
                name
            ),
            sent => phrase!(
                "the target closed ({name}) after {received} bytes of a request of which {sent} were sent",
                name,
                received,
                sent
            ),
        },
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, END, MS, START, Scene, mark};
    use crate::tcp::Side;

    #[test]
    fn a_close_that_covers_a_part_of_the_request() {
        let scene = Scene::asked().target_rst(ASKED + MS, START + 50);
        assert_eq!(scene.cause(), Some("target-closed-during-request"));
    }

    #[test]
    fn a_close_before_the_rest_of_the_request_was_sent() {
        let scene = Scene::asked()
            .with(|scene| scene.request().complete = false)
            .target_fin(ASKED + MS, END);
        assert_eq!(scene.cause(), Some("target-closed-during-request"));
    }

    #[test]
    fn a_reset_long_after_the_answer_was_taken_overtakes_nothing() {
        let told = |reset: i64, last: i64| {
            let scene = Scene::answered(413).target_rst(reset, END - 50).with(|scene| {
                scene.request().last = mark(last);
                scene.flow.half_mut(Side::Server).acked = 10_000;
            });
            scene.rule("target-closed-during-request").is_some()
        };
        let early = ASKED + 12 * MS;
        assert!(told(ASKED + 11 * MS, early));
        assert!(!told(ASKED + 900 * MS, early));
        // Who still sends has not read it.
        assert!(told(ASKED + 900 * MS, ASKED + 899 * MS));
    }

    #[test]
    fn a_close_that_covers_the_whole_request_is_no_interruption() {
        let scene = Scene::asked().target_fin(ASKED + MS, END);
        assert_eq!(scene.cause(), Some("target-fin-no-response"));
    }

    #[test]
    fn a_close_that_covers_nothing_is_a_race() {
        let scene = Scene::asked()
            .with(|scene| scene.request().complete = false)
            .target_fin(ASKED + MS, START);
        assert_eq!(scene.cause(), Some("keepalive-race"));
    }
}
