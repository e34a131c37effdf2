//! the target closed (FIN) after the whole request without one byte of response.

use super::case::span;
use super::{Case, Cause, Confidence, Coverage, Responsible, Verdict};
use crate::flow::{Ending, EndingKind};
use crate::{phrase, word};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-fin-no-response",
    summary: "the target closed (FIN) after the whole request without one byte of response",
    explanation: "\
        The target received the whole request, acknowledged it and then closed its side with \
        FIN, without one byte of response. A load balancer can make nothing of that but a 502.\n\n\
        A FIN says only that the last descriptor of the socket was closed; it does not mean \
        that anybody closed it on purpose. When a process that has read the request is killed \
        (SIGKILL, out of memory, segmentation fault), the kernel closes its sockets and sends \
        exactly the FIN,ACK of a close() in the code. Crash, worker time-out and a handler \
        that returns without an answer therefore look the same in the packets, and the \
        target's logs have to tell them apart. Time helps: a gap between request and FIN that \
        is always 30 s, 60 s or 120 s is a worker time-out (gunicorn kills a silent worker \
        after 30 s); many connections that close in one instant mean that a whole process \
        died.\n\n\
        It looks the same at the load balancer and at the target, except for the transit time. \
        The nearest neighbour is keepalive-race: there the acknowledgment number on the FIN \
        does not cover the request, the target closed before it came, and the cure is a timer. \
        Had request bytes been unread in the socket, the kernel would have sent RST instead of \
        FIN: see target-rst-no-response.",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -"),
        ("HAProxy", "502, termination state SH"),
        (
            "nginx",
            "502, upstream prematurely closed connection while reading response header from \
             upstream",
        ),
        ("Envoy", "503, flag UC, upstream_reset_before_response_started{connection_termination}"),
        ("Apache", "502, AH01102 error reading status line from remote server"),
        ("GCP", "502 or 503, backend_connection_closed_before_data_sent_to_client"),
        ("Azure", "502, ERRORINFO_UPSTREAM_CLOSED_CONNECTION; Front Door OriginConnectionAborted"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Run journalctl -k | grep -iE 'oom|killed process|segfault' for the time of the FIN",
        "Compare the start times of the workers with that time: ps -eo pid,lstart,cmd",
        "Look in the application's log for a worker time-out, a restart, or an exception without \
         an answer (gunicorn: WORKER TIMEOUT)",
        "Compare the time from request to FIN across the findings: equal values are a time-out, \
         one common instant is a restart",
    ],
    fix: &[
        "Read the target's log at this time: the handler or worker ended without answering \
         (crash, out of memory, worker time-out, restart)",
        "If the gap is a worker time-out, make the request faster or raise the limit (gunicorn \
         --timeout, 30 s by default; php-fpm request_terminate_timeout)",
        "If the process was killed for memory, raise the container's or unit's memory limit or \
         lower the number of workers",
        "If it was a restart or deployment, take the target out of rotation first and stop \
         gracefully: preStop delay, deregistration delay, SIGTERM before SIGKILL",
        "Answer every request, also a rejected one, with a status instead of closing the socket \
         (nginx return 444 closes without an answer)",
    ],
    wireshark: &[
        ("http.request and !http.response_in", "requests without a response"),
        ("tcp.flags.fin == 1", "who closed: its ACK number covers the request"),
    ],
    references: &[
        "RFC 9110, 15.6.3 (502 Bad Gateway): https://www.rfc-editor.org/rfc/rfc9110#section-15.6.3",
        "RFC 9112, 9.5 (failures and time-outs): \
         https://www.rfc-editor.org/rfc/rfc9112#section-9.5",
        "RFC 9293, 3.6 (closing a connection): https://www.rfc-editor.org/rfc/rfc9293#section-3.6",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "Gunicorn settings: https://docs.gunicorn.org/en/stable/settings.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    closed_without_a_byte(case, EndingKind::Fin)
}

/// A RST in the very moment in which the request came on a connection that had lain idle: the program may have closed
/// that one just then. Its kernel resets what it has not read; who has read all closes with FIN.
fn maybe_unread(case: &Case<'_>, close: &Ending) -> bool {
    /// From the arrival of a request to the close of a program that was about to, nanoseconds.
    const MOMENT: i64 = 1_000_000;
    /// Programs do not close a connection of their own accord after a shorter rest, nanoseconds.
    const IDLE: i64 = 1_000_000_000;
    let idle = case.exchange.and_then(|exchange| exchange.idle_before);
    close.kind == EndingKind::Rst
        && idle.is_some_and(|idle| idle >= IDLE)
        && case.closes_on_arrival(close)
        && case.since_request(close.mark) <= case.round_trip() + MOMENT
}

/// The target closed in this way after the request and before any byte of a response.
pub(super) fn closed_without_a_byte(case: &Case<'_>, kind: EndingKind) -> Option<Verdict> {
    case.unanswered()?;
    let close = case.cut_by_server().filter(|close| close.kind == kind)?;
    let (name, coverage) = (case.name(close), case.coverage(close));
    let asked = case.what_was_asked();
    let mut evidence = vec![case.ending(
        close,
        match coverage {
            Coverage::All => {
                word!("its ACK number covers the whole request: the target had received it")
            }
            Coverage::Nothing => {
                word!("its ACK number does not cover the request: closed before it came")
            }
            _ => word!("answers the request"),
        },
    )];
    evidence.extend(case.asked(phrase!("the request")));
    let unread = coverage == Coverage::All && maybe_unread(case, close);
    Some(Verdict {
        confidence: if coverage == Coverage::All && !unread {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        evidence,
        summary: if unread {
            phrase!(
                "the target sent {name} {after} after the {asked}, and no byte of a response; or it closed the idle \
                 connection in that moment, with the request unread (keepalive-race)",
                name,
                after = span(case.outstanding(close.mark)),
                asked
            )
        } else if coverage == Coverage::Nothing {
            phrase!(
                "the target sent {name} before the {asked} reached it, on a fresh connection",
                name,
                asked
            )
        } else {
            phrase!(
                "the target sent {name} {after} after the {asked}, and no byte of a response",
                name,
                after = span(case.outstanding(close.mark)),
                asked
            )
        },
        // Its answer before had announced the close: the client should not have asked again.
        responsible: case
            .request()
            .is_some_and(|request| request.after_close)
            .then_some(Responsible::LoadBalancer),
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, END, MS, START, Scene};
    use crate::flow::EndingKind;
    use crate::tcp::Side;
    use crate::time::FrameId;

    #[test]
    fn a_fin_that_covers_the_request() {
        let scene = Scene::asked().target_fin(ASKED + 5 * MS, END);
        assert_eq!(scene.cause(), Some("target-fin-no-response"));
        let verdict = scene.rule("target-fin-no-response").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Certain);
    }

    /// Numbers of frames are compared only within a file: each direction may have its own.
    #[test]
    fn who_closed_first_is_told_by_time_in_several_files() {
        for files in [[0, 1], [1, 0]] {
            let mut scene = Scene::asked().target_fin(ASKED + 5 * MS, END).close(
                Side::Client,
                EndingKind::Fin,
                ASKED + 6 * MS,
                Some(1),
            );
            for (ending, file) in scene.flow.endings.iter_mut().zip(files) {
                ending.mark.frame = FrameId::new(file, 7);
            }
            assert_eq!(scene.cause(), Some("target-fin-no-response"), "{files:?}");
        }
    }

    #[test]
    fn a_fin_that_does_not_cover_the_request_is_a_race() {
        let scene = Scene::asked().target_fin(ASKED + 5 * MS, START);
        assert_eq!(scene.cause(), Some("keepalive-race"));
    }

    #[test]
    fn a_reset_in_the_moment_in_which_the_request_came_may_be_that_of_an_idle_connection() {
        let confidence = |after: i64| {
            let verdict =
                Scene::asked().target_rst(ASKED + after, END).rule("target-rst-no-response");
            verdict.map(|verdict| verdict.confidence)
        };
        assert_eq!(confidence(2 * MS), Some(Confidence::Likely));
        assert_eq!(confidence(5 * MS), Some(Confidence::Certain));
    }

    #[test]
    fn a_reset_is_no_fin() {
        let scene = Scene::asked().target_rst(ASKED + 5 * MS, END);
        assert!(scene.rule("target-fin-no-response").is_none());
    }

    #[test]
    fn a_byte_of_response_is_a_response() {
        let scene = Scene::answered_in_part().target_fin(ASKED + 20 * MS, END);
        assert!(scene.rule("target-fin-no-response").is_none());
    }
}
