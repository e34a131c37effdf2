//! the target closed an idle keep-alive connection in the moment the load balancer reused it.

use super::case::span;
use super::{Case, Cause, Confidence, Coverage, Evidence, Responsible, Verdict, What};
use crate::flow::{Ending, EndingKind};
use crate::tcp::Side;
use crate::words::Phrase;
use crate::{phrase, word};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "keepalive-race",
    summary: "the target closed an idle keep-alive connection in the moment the load balancer reused it",
    explanation: "\
        Load balancers keep connections to targets open between requests and reuse them. The \
        target closes a connection that has been idle for its own keep-alive time-out. When \
        the load balancer picks that connection in the same moment, request and FIN cross on \
        the wire: the target never saw the request, the load balancer sees a connection that \
        ends right after it asked, and answers 502. HTTP permits either side to close an idle \
        connection at any time, so nobody broke a rule; two timers are in the wrong order.\n\n\
        Captured at the load balancer, the request leaves first and the FIN arrives within \
        about one round trip. Captured at the target, the order is the opposite: FIN out, then \
        the request in, and at once a bare RST (no ACK flag), because the socket is gone. The \
        acknowledgment number on the FIN is the same on both sides and proves the case: it \
        does not cover the first byte of the request.\n\n\
        Do not confuse it with target-fin-no-response, where the FIN acknowledges the request: \
        there the target had received it and gave up, which is a fault of the program and not \
        of a timer. If the request already lay unread in the target's socket when it closed, \
        there is no FIN but a RST that covers the request: target-rst-no-response. In \
        stale-flow-reset there is no FIN either, and its RST carries no ACK flag. A close of \
        the target that comes after the same idle time on many connections is a timer; one \
        that comes after the same number of requests is a cap on requests per connection, \
        which races in the same way unless the last response says Connection: close.\n\n\
        Some proxies hide it. nginx repeats a GET on another connection but not a POST or \
        PATCH that has been sent; HAProxy and Apache may drop their own client without any \
        answer so that the client repeats. The number of races in the packets can therefore be \
        higher than the number of 502s. nginx keeps connections to upstreams by default since \
        1.29.7, so that races can begin with an upgrade.",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -; Classic Load Balancers report 504"),
        (
            "HAProxy",
            "502, termination state SH; or, if not the first request of its client connection, no \
             answer and no log line (2.6)",
        ),
        (
            "nginx",
            "502, upstream prematurely closed connection while reading response header from \
             upstream; or recv() failed (104: Connection reset by peer)",
        ),
        ("Envoy", "503, flag UC, upstream_reset_before_response_started{connection_termination}"),
        ("Apache", "502, AH01102; or no answer to a client whose connection is reused"),
        ("GCP", "502 or 503, backend_connection_closed_before_data_sent_to_client"),
        ("Azure", "502, ERRORINFO_UPSTREAM_CLOSED_CONNECTION; Front Door OriginConnectionAborted"),
    ],
    responsible: Responsible::TargetApp,
    typical_status: Some(502),
    confirm: &[
        "Compare the idle time before the close across all findings: a value that repeats (5, 20, \
         60, 75 s) is the target's keep-alive time-out",
        "Look up that value in the target's settings and the load balancer's idle time-out; the \
         target's must be the longer one",
        "Capture at the target: the FIN leaves before the request arrives, and a RST without ACK \
         answers the request",
        "Look for the request in the target's access log: after a race there is no line for it",
    ],
    fix: &[
        "Set the target's keep-alive (idle) time-out longer than the load balancer's idle \
         time-out, for example 75 s against the 60 s of an ALB",
        "In Node.js set server.keepAliveTimeout = 75000 and server.headersTimeout = 76000 \
         (versions up to 25 close after 5 s)",
        "In gunicorn set --keep-alive 75 with gthread or async workers (default 2 s); in uvicorn \
         set --timeout-keep-alive 75 (default 5 s)",
        "In Apache as target set KeepAliveTimeout 75 (default 5 s) and MaxKeepAliveRequests 0; in \
         nginx as target keep keepalive_timeout at 75s or more",
        "In Tomcat set keepAliveTimeout=\"75000\" and maxKeepAliveRequests=\"-1\" on the \
         connector; in Spring Boot set server.tomcat.keep-alive-timeout=75s",
        "In Go set http.Server.IdleTimeout to 75 s: if it is 0, ReadTimeout counts instead",
        "Behind a Google Cloud load balancer set the target above 600 s (620 s), because the load \
         balancer's 600 s are fixed",
        "Where the target cannot be changed, shorten the reuse: keepalive_timeout in the nginx \
         upstream block, idle_timeout of the Envoy cluster, idle_timeout.timeout_seconds of the \
         ALB",
        "Let the proxy repeat requests that are safe to repeat: HAProxy retry-on conn-failure \
         empty-response, Envoy retry_on: reset",
    ],
    wireshark: &[
        ("tcp.flags.fin == 1", "who closed: its ACK number does not cover the request"),
        ("tcp.flags.reset == 1 and tcp.flags.ack == 0", "RST of a socket that is gone"),
        ("http.request and tcp.time_delta > 1", "requests after a pause on their connection"),
    ],
    references: &[
        "RFC 9112, 9.5 (failures and time-outs): \
         https://www.rfc-editor.org/rfc/rfc9112#section-9.5",
        "RFC 9112, 9.3.1 (retrying requests): https://www.rfc-editor.org/rfc/rfc9112#section-9.3.1",
        "RFC 9293, 3.5.2 (reset generation): https://www.rfc-editor.org/rfc/rfc9293#section-3.5.2",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "nginx, upstream module: https://nginx.org/en/docs/http/ngx_http_upstream_module.html",
        "Google Cloud, request distribution: \
         https://cloud.google.com/load-balancing/docs/https/request-distribution",
        "Node.js, http server: https://nodejs.org/api/http.html",
        "Gunicorn settings: https://docs.gunicorn.org/en/stable/settings.html",
    ],
    detect,
};

/// The request had reached the target's socket when the program closed it at the end of its idle
/// time, without having read it: the kernel acknowledges and resets. Told from a crash by the idle
/// time after which the same server closes its other connections.
fn unread(case: &Case<'_>, close: &Ending) -> Option<Verdict> {
    // Who had read all of it closes with FIN.
    if close.kind != EndingKind::Rst || !case.closes_on_arrival(close) {
        return None;
    }
    let idle = case.exchange?.idle_before? + case.since_request(close.mark);
    if !case.wider.closes_after(case.flow.server, idle) {
        return None;
    }
    let name = case.name(close);
    let mut evidence = vec![case.ending(
        close,
        phrase!(
            "{name} after {idle}, when this server closes its idle connections too",
            name,
            idle = span(idle)
        ),
    )];
    let how = if close.ack_flag {
        word!("with the request unread in its socket")
    } else {
        word!("with a FIN that is not in the capture")
    };
    evidence.extend(case.asked(phrase!("the request that nobody read")));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "the target closed at the end of its idle time of {idle}, {how}",
            idle = span(idle),
            how
        ),
        responsible: None,
    })
}

/// When the target closed fairly: how the load balancer could have known.
fn fair_warning(case: &Case<'_>, close: &Ending) -> Option<Phrase> {
    /// Time for a load balancer to notice what its kernel knows, nanoseconds.
    const NOTICED: i64 = 200_000_000;
    let known_for = -case.since_request(close.mark);
    if case.request()?.after_close {
        Some(phrase!("its answer before had announced the close (Connection: close)"))
    } else if known_for > NOTICED + 2 * case.round_trip() {
        Some(phrase!(
            "the load balancer had its close for {known_for} and used it still",
            known_for = span(known_for)
        ))
    } else {
        None
    }
}

/// In TLS the close begins with close_notify: the target says it, waits for that of its peer, and its
/// FIN or RST comes when the request has arrived.
fn notified(case: &Case<'_>, close: &Ending) -> Option<Verdict> {
    let request = case.request()?;
    let alert = case.flow.tls.as_ref()?.alerts.iter().find(|alert| {
        alert.side == Side::Server
            && !alert.in_handshake
            && !alert.is_fatal()
            && alert.mark.at < close.mark.at
            && alert.acked.is_some_and(|acked| acked <= request.start)
    })?;
    let what = if alert.is_close() {
        word!("close_notify")
    } else {
        word!("an alert, which must be close_notify,")
    };
    let mut evidence = vec![Evidence {
        mark: alert.mark,
        side: Side::Server,
        what: What::TlsAlert,
        note: phrase!("{what} of the target: it does not acknowledge the request", what),
    }];
    evidence
        .extend(case.asked(phrase!("the request that the target had not received when it closed")));
    let name = case.name(close);
    evidence.push(case.ending(close, phrase!("{name} that follows the close_notify", name)));
    let since = case.since_request(alert.mark);
    let idle = case.exchange?.idle_before.map_or(Phrase::default(), |idle| {
        phrase!(" after {idle} of idle", idle = span((idle + since).max(0)))
    });
    let order = if since < 0 {
        phrase!("left {since} before the request came", since = span(-since))
    } else {
        phrase!("came {since} after the request left", since = span(since))
    };
    Some(Verdict {
        confidence: if alert.is_close() { Confidence::Certain } else { Confidence::Likely },
        evidence,
        summary: phrase!(
            "the target closed the idle connection{idle}; its close_notify {order}",
            idle,
            order
        ),
        responsible: None,
    })
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let request = case.unanswered()?;
    let close = case.close_of(Side::Server)?;
    if !case.reused() || case.foreign(close) {
        return None;
    }
    if case.coverage(close) != Coverage::Nothing {
        return notified(case, close).or_else(|| unread(case, close));
    }
    if let Some(client) = case.closed_by_client()
        && client.mark.at < request.first.at
    {
        return None; // the client had closed its side itself
    }
    let warning = fair_warning(case, close);
    let name = case.name(close);
    let order = if close.mark.at < request.first.at {
        phrase!(
            "left {since} before the request came",
            since = span(-case.since_request(close.mark))
        )
    } else {
        phrase!("came {since} after the request left", since = span(case.since_request(close.mark)))
    };
    let mut evidence = vec![case.ending(
        close,
        phrase!("{name} of the target: its ACK number does not cover the request", name),
    )];
    evidence
        .extend(case.asked(phrase!("the request that the target had not received when it closed")));
    if let Some(reset) = case.bare_reset_after(close) {
        evidence.push(
            case.ending(reset, phrase!("RST without ACK: the target's socket was already gone")),
        );
    }
    let idle = case.exchange?.idle_before.map_or(Phrase::default(), |idle| {
        phrase!(
            " after {idle} of idle",
            idle = span((idle + case.since_request(close.mark)).max(0))
        )
    });
    Some(Verdict {
        confidence: if case.exchange?.ordinal > 1 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        evidence,
        summary: match &warning {
            Some(warning) => {
                phrase!("the target closed the connection{idle}; {warning}", idle, warning)
            }
            None => phrase!(
                "the target closed the idle connection{idle}; its {name} {order}",
                idle,
                name,
                order
            ),
        },
        responsible: warning.map(|_| Responsible::LoadBalancer),
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, END, MS, START, Scene, mark};
    use crate::cause::{Confidence, What};
    use crate::tcp::Side;

    #[test]
    fn at_the_load_balancer_the_fin_comes_after_the_request_and_does_not_cover_it() {
        let scene = Scene::asked().target_fin(ASKED + 5 * MS, START).bare_rst(ASKED + 10 * MS);
        assert_eq!(scene.cause(), Some("keepalive-race"));
        let verdict = scene.rule("keepalive-race").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Certain);
        let what: Vec<_> = verdict.evidence.iter().map(|evidence| evidence.what).collect();
        assert_eq!(what, [What::Fin, What::Request, What::Rst]);
    }

    #[test]
    fn a_close_notify_that_crosses_the_request_is_the_close() {
        let scene = |acked| {
            let scene = Scene::asked().target_fin(ASKED + 50 * MS, END);
            scene.secret_alert(Side::Server, ASKED + 5 * MS).with(|scene| {
                let alert = &mut scene.tls().alerts[0];
                (alert.acked, alert.in_handshake) = (Some(acked), false);
            })
        };
        assert_eq!(scene(START).cause(), Some("keepalive-race"));
        let verdict = scene(START).rule("keepalive-race").expect("it fits");
        assert_eq!(verdict.evidence[0].what, What::TlsAlert);
        assert!(scene(END).rule("keepalive-race").is_none(), "it had the request");
    }

    #[test]
    fn at_the_target_the_fin_leaves_before_the_request_comes() {
        let scene = Scene::asked().target_fin(ASKED - 5 * MS, START).bare_rst(ASKED + MS);
        assert_eq!(scene.cause(), Some("keepalive-race"));
    }

    #[test]
    fn a_reset_that_crosses_the_request_races_as_well() {
        let scene = Scene::asked().target_rst(ASKED + 5 * MS, START);
        assert_eq!(scene.cause(), Some("keepalive-race"));
    }

    /// A server that closed its other connections after these idle times, milliseconds.
    fn closed_after(scene: &mut Scene, idles: &[i64]) {
        for idle in idles {
            let mut other = Scene::syn().target_fin(ASKED + idle * MS, START);
            other.flow.ended_by = Some(Side::Server);
            other.flow.half_mut(Side::Server).last_data = Some(mark(ASKED));
            scene.wider.learn(&other.flow, 0, false);
        }
    }

    #[test]
    fn a_reset_that_covers_the_request_at_the_end_of_a_short_idle_time_is_that_of_the_timer() {
        let cause = |idle: i64, others: &[i64]| {
            let scene = Scene::asked().target_rst(ASKED + MS, END).with(|scene| {
                closed_after(scene, others);
                scene.exchange().idle_before = Some(idle * MS);
            });
            scene.cause()
        };
        let (race, crash) = (Some("keepalive-race"), Some("target-rst-no-response"));
        // A busy host is late.
        let others = [50, 50, 51, 51, 52, 55, 80];
        assert_eq!([cause(50, &others), cause(62, &others)], [race, race]);
        // No timer is early, and what is late by far has lost its own.
        assert_eq!([cause(40, &others), cause(300, &others)], [crash, crash]);
        assert_eq!(cause(62, &[20, 33, 52, 61, 75, 90, 140]), crash, "no timer");
        assert_eq!(cause(50, &[50, 50, 51]), crash, "chance");
    }

    #[test]
    fn who_has_read_the_request_closes_with_fin() {
        let scene = Scene::asked().target_fin(ASKED + MS, END).with(|scene| {
            closed_after(scene, &[5000, 5000, 5001]);
        });
        assert_eq!(scene.cause(), Some("target-fin-no-response"));
    }

    #[test]
    fn a_fin_that_covers_the_request_is_no_race() {
        let scene = Scene::asked().target_fin(ASKED + 5 * MS, END);
        assert_eq!(scene.cause(), Some("target-fin-no-response"));
    }

    #[test]
    fn a_new_connection_cannot_race() {
        let scene = Scene::asked_first().target_fin(ASKED + 5 * MS, START);
        assert!(scene.rule("keepalive-race").is_none());
    }

    #[test]
    fn a_connection_that_the_load_balancer_had_closed_is_no_race() {
        let scene =
            Scene::asked().balancer_fin(ASKED - 9 * MS, 0).target_fin(ASKED - 5 * MS, START);
        assert!(scene.rule("keepalive-race").is_none());
    }
}
