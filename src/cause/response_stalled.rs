//! the response began, stopped, and the load balancer gave up.

use super::case::span;
use super::wider::clearly_over;
use super::{Case, Cause, Responsible, Verdict};
use crate::phrase;
use crate::tcp::Side;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "response-stalled",
    summary: "the response began, stopped, and the load balancer gave up",
    explanation: "\
        The target began to answer, stopped in the middle, and kept the connection open. After \
        its time-out the load balancer closed it.\n\n\
        If the header was complete the client has its status already and sees a download that \
        hangs and breaks off; if it was not, the client gets a 504. Reasons: the target waits \
        for its own upstream or database between two parts of the body; it announced a \
        Content-Length larger than what it wrote and believes to be done, so that both sides \
        wait; output is buffered and the last piece was never flushed; a stream of events is \
        quiet for longer than the load balancer permits; or the packets themselves were lost.\n\n\
        The capture shows response bytes, a silence of constant length, and FIN or RST of the \
        load balancer, the same at both ends, unless the target went on sending and nothing \
        arrived: then the target's capture shows retransmissions, and it is \
        return-path-blocked or mtu-blackhole.\n\n\
        If the target closes first it is response-body-truncated. If the load balancer closes \
        after no length that looks like a timer, it is client-abort. With no byte at all it is \
        response-timeout.",
    seen_as: &[
        ("AWS ALB", "504 when Content-Length is larger than the body sent"),
        ("HAProxy", "the target's status, termination state sD; 504, sH within the header"),
        (
            "nginx",
            "the target's status, upstream timed out (110: Connection timed out) while reading \
             upstream; 504 within the header",
        ),
        ("Envoy", "the target's status, flag UT"),
        ("Apache", "the target's status (70007); 502 within the header"),
        ("GCP", "backend_timeout or backend_connection_closed_after_partial_response_sent"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(504),
    confirm: &[
        "Compare Content-Length with the body bytes in the finding: missing by the same number \
         each time means a wrong length",
        "Ask the target directly and watch where it stops: curl -sN --trace-time -v \
         http://<target>:<port><path> -o /dev/null",
        "Capture at the target: does it go on sending (then the path loses it) or is it silent",
        "Look at what the worker waits for (py-spy dump, jstack, strace -p) during such a request",
    ],
    fix: &[
        "Find out what the target waits for in the middle of its response (its own upstream, a \
         lock, an unflushed buffer, a wrong Content-Length)",
        "Correct Content-Length: compute it after compression, in bytes",
        "For event streams and long polls send a comment or heartbeat more often than the load \
         balancer's time-out, for example every 15 s",
        "Raise the load balancer's idle limit where pauses are meant: ALB \
         idle_timeout.timeout_seconds, nginx proxy_read_timeout, HAProxy timeout server or \
         timeout tunnel",
    ],
    wireshark: &[
        ("tcp.len > 0 and tcp.time_delta > 5", "bytes after a pause on their connection"),
        ("tcp.analysis.zero_window", "a receiver that is full"),
    ],
    references: &[
        "RFC 9112, 6.3 (message body length): https://www.rfc-editor.org/rfc/rfc9112#section-6.3",
        "RFC 9112, 8 (incomplete messages): https://www.rfc-editor.org/rfc/rfc9112#section-8",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
        "nginx, proxy module: https://nginx.org/en/docs/http/ngx_http_proxy_module.html",
        "Envoy, time-outs: https://www.envoyproxy.io/docs/envoy/latest/faq/configuration/timeouts",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let response = case.response().filter(|_| !case.had_enough())?;
    let close = case.closed_by_client()?;
    // Otherwise the load balancer's client may be the one that stopped.
    let sent = case.sent_whole()?;
    let silence = case.silence_before(close.mark);
    let bytes = response.end - response.start;
    let gives_up = case.ending(close, phrase!("the load balancer gives up"));
    // A timer of silence that let a longer pause of this very response pass is none.
    let by_silence = case.timer(silence).filter(|_| response.pause <= clearly_over(silence));
    let (confidence, summary, mut evidence) = match by_silence {
        Some(confidence) => {
            let summary = phrase!(
                "the response stopped after {bytes} bytes; {silence} later the load balancer closed",
                bytes,
                silence = span(silence)
            );
            let note = phrase!("no byte for {silence}", silence = span(silence));
            (confidence, summary, vec![case.silence(Side::Server, response.last, note), gives_up])
        }
        None => {
            let summary = phrase!(
                "the response was not whole {age} after the request, with {bytes} bytes so far; then the load \
                 balancer closed, as it did with others after that time",
                age = span(case.age_at(close.mark)),
                bytes
            );
            (case.whole_timer(close)?, summary, vec![gives_up])
        }
    };
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict { confidence: confidence.min(sent), evidence, summary, responsible: None })
}

#[cfg(test)]
mod tests {
    use crate::cause::What;
    use crate::cause::fixture::{ASKED, MS, S, Scene, mark};
    use crate::time::Timestamp;

    #[test]
    fn the_response_stops_and_a_timer_ends_it() {
        let scene = Scene::answered_in_part().balancer_fin(ASKED + 10 * MS + 60 * S, 60 * S);
        assert_eq!(scene.cause(), Some("response-stalled"));
    }

    #[test]
    fn without_a_timer_it_is_the_client() {
        let scene = Scene::answered_in_part().balancer_fin(ASKED + 200 * MS, 190 * MS);
        assert_eq!(scene.cause(), Some("client-abort"));
    }

    #[test]
    fn a_timer_for_the_whole_response_does_not_mind_bytes_that_come() {
        // The last byte came 130 ms before the close, as often before.
        let dribble = |ages: [i64; 2]| {
            Scene::answered_in_part().balancer_fin(ASKED + 5 * S + 70 * MS, 130 * MS).with(
                |scene| {
                    let client = scene.flow.client;
                    for (nth, age) in ages.into_iter().enumerate() {
                        let at = Timestamp(ASKED + 20 * S * (nth as i64 + 1));
                        scene.wider.learn_cut(client, (nth as i64 + 1) * 200 * MS, age, at);
                    }
                },
            )
        };
        let same = dribble([5 * S + 71 * MS, 5 * S + 68 * MS]);
        assert_eq!(same.cause(), Some("response-stalled"));
        assert_eq!(dribble([2 * S, 3 * S]).cause(), Some("client-abort"));
        assert_eq!(dribble([5 * S + 70 * MS, 9 * S]).cause(), Some("client-abort"));
    }

    /// An event stream, the last event 90 ms before the close, cut as two others 1.3 s after the request.
    fn events(media: &str) -> Scene {
        Scene::answered_in_part().balancer_fin(ASKED + 1300 * MS, 90 * MS).with(|scene| {
            scene.response().head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n\r\n").into_bytes();
            scene.response().last = mark(ASKED + 1210 * MS);
            let client = scene.flow.client;
            for at in [20 * S, 40 * S] {
                scene.wider.learn_cut(client, 90 * MS, 1300 * MS, Timestamp(ASKED + at));
            }
        })
    }

    #[test]
    fn an_event_stream_ends_when_its_reader_leaves() {
        assert_eq!(events("text/event-stream").cause(), None);
        assert_eq!(events("Text/Event-Stream; charset=utf-8").cause(), None);
        let whole = events("text/html");
        assert_eq!(whole.cause(), Some("response-stalled"));
        let guilty = whole.rule("response-stalled").map(|verdict| verdict.evidence[0].what);
        assert_eq!(guilty, Some(What::Fin), "bytes came to the end");
    }

    #[test]
    fn a_pause_that_was_sat_out_refutes_a_shorter_timer() {
        let paused = |pause| {
            Scene::answered_in_part()
                .balancer_fin(ASKED + 10 * MS + S, S)
                .with(|scene| scene.response().pause = pause)
        };
        assert_eq!(paused(300 * MS).cause(), Some("response-stalled"));
        assert_eq!(paused(2 * S).cause(), Some("client-abort"));
    }

    #[test]
    fn without_a_byte_it_is_no_stall() {
        let scene = Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S);
        assert!(scene.rule("response-stalled").is_none());
    }
}
