//! the target's receive window is zero: its program does not read the request.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::http::Request;
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "target-not-reading",
    summary: "the target's receive window is zero: its program does not read the request",
    explanation: "\
        The target's receive window fell to 0: its program has stopped reading, the socket's \
        buffer is full, and TCP tells the sender to wait. The load balancer still has request \
        bytes to send, probes the window from time to time, gets the answer \"still 0\", and \
        gives up at its time-out.\n\n\
        The host is alive (its kernel answers every probe), the path is good, and the program \
        does not read: a worker that hangs, a process that is stopped or starved of CPU, a \
        handler that never consumes the body, or a disk to which the upload is written and \
        which does not keep up. A short phase of window 0 during a large upload is normal; \
        here it did not open again.\n\n\
        Both ends see the same: zero-window segments of the target, window probes of the load \
        balancer, then the load balancer's FIN or RST. Its FIN waits behind the bytes for which \
        there is no window: it may come long after the load balancer gave up, or never, when the \
        target ends the connection. HAProxy measured here gave up without an answer to its \
        client.\n\n\
        If the request is complete and acknowledged and only the answer is missing, it is \
        response-timeout. If probes get no answer, the host is gone: request-unacked. If the \
        target closes within 5 s instead of stalling, it is target-closed-during-request.",
    seen_as: &[
        ("HAProxy", "-1, termination state sD, no answer"),
        (
            "nginx",
            "504, upstream timed out (110: Connection timed out) while sending request to upstream",
        ),
        ("Apache", "504, AH01097"),
        ("Envoy", "503, flag UC, once the target resets: no time-out of its own"),
        ("GCP", "502 or 503, backend_timeout"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(504),
    confirm: &[
        "Run ss -tnpi at the target: a Recv-Q that stays full on this connection shows bytes that \
         the program does not read, and which one",
        "Look at what that process does: py-spy dump, jstack, strace -p, cat /proc/<pid>/stack; \
         state T is stopped, D waits for disk",
        "Look at CPU throttling of the container: nr_throttled in /sys/fs/cgroup/cpu.stat",
        "Look at the disk to which uploads are written: iostat -x 1, df -h",
    ],
    fix: &[
        "Find out why the program stopped reading (blocked worker, starved CPU, body not \
         consumed, slow disk) and free it",
        "Read request bodies in a thread or task of their own, or stream them, instead of \
         blocking the accepting loop",
        "Let the proxy buffer uploads, so that a slow reader does not hold it (nginx \
         proxy_request_buffering on)",
        "Set a read time-out and a body limit in the target, so that it ends such requests itself",
        "Raise the CPU limit of the container, or the throughput of the disk",
    ],
    wireshark: &[
        ("tcp.analysis.zero_window", "receive windows of zero"),
        ("tcp.analysis.zero_window_probe or tcp.analysis.window_full", "the sender waits and asks"),
    ],
    references: &[
        "RFC 9293, 3.8.6.1 (zero-window probing): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6.1",
        "RFC 9293, 3.8.6 (managing the window): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.8.6",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
    ],
    detect,
};

/// A program that reads nothing for so long is stuck, whatever ends the connection then. When the load
/// balancer gave up does not show: its FIN waits behind the bytes for which there is no window.
const STUCK: i64 = 5_000_000_000;

fn detect(case: &Case<'_>) -> Option<Verdict> {
    /// A window is shut for shorter times in every large upload, nanoseconds.
    const SHUT: i64 = 500_000_000;
    let request = case.unanswered()?;
    let since = case.window_shut()?;
    let close = case.close();
    let waited = close.map_or(case.flow.last, |close| close.mark).at.nanos_since(since.at);
    let ended_by_target = case.closed_by_server();
    if since.at < request.first.at || waited < if ended_by_target.is_some() { STUCK } else { SHUT }
    {
        return None;
    }
    let mut evidence = vec![Evidence {
        mark: since,
        side: Side::Server,
        what: What::ZeroWindow,
        note: phrase!("the target advertises a window of 0 and never opens it again"),
    }];
    evidence.extend(case.asked(phrase!("the request")));
    evidence.extend(close.map(|close| match close.side {
        Side::Client => case.ending(close, phrase!("the load balancer gives up")),
        Side::Server => case.ending(
            close,
            phrase!(
                "the target closes: whether the load balancer had given up before does not show"
            ),
        ),
    }));
    Some(Verdict {
        confidence: match ended_by_target {
            Some(_) => Confidence::Likely,
            None => Confidence::Certain,
        },
        evidence,
        summary: phrase!(
            "the target stopped reading after {bytes} bytes of the request and kept its window at 0 \
             for {waited}",
            bytes = server_received(case, request),
            waited = span(waited)
        ),
        responsible: None,
    })
}

/// Request bytes that the target acknowledged.
fn server_received(case: &Case<'_>, request: &Request) -> u64 {
    case.flow.half(Side::Client).acked.saturating_sub(request.start)
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, END, MS, S, Scene, mark};
    use crate::tcp::Side;

    fn window_shut() -> Scene {
        Scene::asked().with(|scene| {
            scene.request().complete = false;
            let server = scene.flow.half_mut(Side::Server);
            server.trouble_mut().zero_window_since = Some(mark(ASKED + 10 * MS));
        })
    }

    #[test]
    fn a_window_that_never_opens_again() {
        let scene = window_shut().balancer_fin(ASKED + 60 * S, 60 * S);
        assert_eq!(scene.cause(), Some("target-not-reading"));
    }

    #[test]
    fn a_window_that_is_shut_for_a_moment_is_normal() {
        let scene = window_shut().balancer_fin(ASKED + 300 * MS, 300 * MS);
        assert!(scene.rule("target-not-reading").is_none());
    }

    #[test]
    fn a_target_that_closes_long_after_it_stopped_reading_had_stopped() {
        let closed = |at| window_shut().target_rst(at, END - 50);
        let stuck = closed(ASKED + 9 * S);
        assert_eq!(stuck.cause(), Some("target-not-reading"));
        let confidence = stuck.rule("target-not-reading").map(|verdict| verdict.confidence);
        assert_eq!(confidence, Some(Confidence::Likely));
        let confidence = |at| {
            let scene = closed(at);
            assert_eq!(scene.cause(), Some("target-closed-during-request"));
            scene.rule("target-closed-during-request").map(|verdict| verdict.confidence)
        };
        assert_eq!(confidence(ASKED + 300 * MS), Some(Confidence::Certain));
        assert_eq!(confidence(ASKED + 2 * S), Some(Confidence::Likely), "given up on before?");
    }

    #[test]
    fn an_open_window_is_read_from() {
        let scene = Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S);
        assert_eq!(scene.cause(), Some("response-timeout"));
    }
}
