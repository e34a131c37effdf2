//! the request met a connection that nobody at the other end knew any more.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::flow::{Ending, EndingKind};
use crate::tcp::Side;
use crate::{phrase, word};

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "stale-flow-reset",
    summary: "the request met a connection that nobody at the other end knew any more",
    explanation: "\
        The load balancer sent a request on a connection that it held for open, and a RST came \
        back at once without any FIN before. Whoever sent it has no such connection: a host \
        that rebooted or took over the address, a NAT or firewall whose entry expired while \
        the connection was idle, a connection-tracking table that lost it. TCP answers a \
        segment for a connection that does not exist with a RST that carries no ACK flag and \
        takes its sequence number from the segment it answers.\n\n\
        In the load balancer's capture the RST follows the request, sometimes sooner than the \
        target could possibly have answered (less than half the known round trip): then a \
        device in between sent it. The target's capture decides: if neither the request nor \
        the RST is there, the path is guilty; if the request arrives and the RST leaves, the \
        host has forgotten the connection.\n\n\
        In Kubernetes, packets that connection tracking judges INVALID can escape address \
        translation, and stale entries are left behind by rollouts; the RST then comes from a \
        host that never owned the flow.\n\n\
        Neighbours: keepalive-race has a FIN of the target first, and its RST is only the \
        echo. A RST with ACK that covers the request is target-rst-no-response: that target \
        knew the connection. If the idle time passed a known limit of a layer-4 load balancer \
        or NAT gateway it is reported as l4-lb-reset. If the middle device drops instead of \
        resetting, the request is repeated in vain: request-unacked.",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -"),
        ("HAProxy", "502, termination state SH"),
        (
            "nginx",
            "502, recv() failed (104: Connection reset by peer) while reading response header \
             from upstream",
        ),
        ("Envoy", "503, flag UC"),
        ("Apache", "502"),
        ("GCP", "502 or 503, backend_connection_closed_before_data_sent_to_client"),
        ("Azure", "502, ERRORINFO_UPSTREAM_CLOSED_CONNECTION; Front Door OriginConnectionAborted"),
    ],
    responsible: Responsible::TargetHost,
    typical_status: Some(502),
    confirm: &[
        "Capture at the target at the same time: no request and no RST there means that a device \
         between them answered",
        "Run uptime, who -b and, for containers, docker ps or kubectl get pod -o wide at the \
         target: did the host or the address change hands",
        "Compare the idle times before the resets: all above one value means a table entry with \
         that life time",
        "On NAT hosts and Kubernetes nodes look at conntrack -S, and at conntrack -L | grep \
         <port> for the flow",
    ],
    fix: &[
        "Find what forgot the connection (target restart, NAT, conntrack, firewall) and let the \
         load balancer drop idle connections sooner than that",
        "Shorten reuse at the proxy: keepalive_timeout in the nginx upstream block, idle_timeout \
         of the Envoy cluster, pool-purge-delay in HAProxy",
        "Send TCP keep-alives on idle connections: nginx proxy_socket_keepalive on, HAProxy \
         option srvtcpka, with net.ipv4.tcp_keepalive_time below the device's limit",
        "Raise the table's life time, for example \
         net.netfilter.nf_conntrack_tcp_timeout_established",
        "When replacing targets, drain and close connections before the address is taken away or \
         given to another host",
    ],
    wireshark: &[
        (
            "tcp.flags.reset == 1 and tcp.flags.ack == 0",
            "RST of a host that knows no such connection",
        ),
        ("http.request and tcp.time_delta > 60", "requests after a long pause on their connection"),
    ],
    references: &[
        "RFC 9293, 3.5.1 (half-open connections): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.5.1",
        "RFC 9293, 3.5.2 (reset generation): https://www.rfc-editor.org/rfc/rfc9293#section-3.5.2",
        "RFC 5382, 5 (NAT time-outs for TCP): https://www.rfc-editor.org/rfc/rfc5382#section-5",
        "Kubernetes, debugging an intermittent connection reset: \
         https://kubernetes.io/blog/2019/03/29/kube-proxy-subtleties-debugging-an-intermittent-connection-reset/",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
    ],
    detect,
};

/// Idle time from which a device on the path may have forgotten a connection, nanoseconds. A RST in
/// the middle of an active one is rather injected.
const QUIET: i64 = 1_000_000_000;

/// The RST that answers a request on a reused connection which its receiver does not know: it
/// carries no ACK, or came sooner than the target could have answered; and no FIN came before.
pub(super) fn stale<'a>(case: &Case<'a>) -> Option<&'a Ending> {
    let request = case.unanswered()?;
    let close = case.closed_by_server()?;
    if case.flow.half(Side::Client).acked > request.start {
        return None; // the target had received some of it
    }
    // Somebody who goes on knows it, and one whose RST did not end it had known it until then.
    let reset = close.kind == EndingKind::Rst
        && close.belied.is_none()
        && case.lost_before(close).is_none()
        && case.forged().is_none();
    let idle = case.exchange?.idle_before.unwrap_or(0);
    let nobody = !close.ack_flag || (case.too_fast(close) && idle >= QUIET);
    (reset && nobody && case.reused()).then_some(close)
}

fn detect(case: &Case<'_>) -> Option<Verdict> {
    let close = stale(case)?;
    let fast = case.too_fast(close);
    let mut evidence = vec![case.ending(
        close,
        if close.ack_flag {
            word!("RST sooner than the target could answer")
        } else {
            word!("RST without ACK: its sender has no such connection, and no FIN came before")
        },
    )];
    evidence.extend(case.asked(phrase!("the request on the reused connection")));
    let near = if fast { word!("; nearer than the target: its round trip is longer") } else { "" };
    Some(Verdict {
        // A FIN that the capture or the network lost would make it a keep-alive race.
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "the {asked} on an idle connection was reset {after} later, without any FIN before{near}",
            asked = case.what_was_asked(),
            after = span(case.outstanding(close.mark)),
            near
        ),
        responsible: fast.then_some(Responsible::Network),
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Responsible;
    use crate::cause::fixture::{ASKED, END, MS, START, Scene, mark};
    use crate::flow::Grade;
    use crate::tcp::Side;

    #[test]
    fn a_reset_without_ack_and_no_fin_before() {
        let scene = Scene::asked().bare_rst(ASKED + MS);
        assert_eq!(scene.cause(), Some("stale-flow-reset"));
    }

    #[test]
    fn a_reset_sooner_than_the_target_can_answer_comes_from_the_path() {
        let scene = Scene::asked().target_rst(ASKED + MS, END).with(|scene| {
            let opening = &mut scene.flow.opening;
            (opening.syn, opening.syn_ack) = (Some(mark(0)), Some(mark(50 * MS)));
            scene.flow.half_mut(Side::Client).acked = 0;
        });
        assert_eq!(scene.cause(), Some("stale-flow-reset"));
        let verdict = scene.rule("stale-flow-reset").expect("it fits");
        assert_eq!(verdict.responsible, Some(Responsible::Network));
    }

    #[test]
    fn behind_a_fin_the_reset_is_the_echo_of_a_race() {
        let scene = Scene::asked().target_fin(ASKED - MS, START).bare_rst(ASKED + MS);
        assert!(scene.rule("stale-flow-reset").is_none());
        assert_eq!(scene.cause(), Some("keepalive-race"));
    }

    #[test]
    fn behind_a_reset_whose_bytes_were_lost_it_is_no_stranger() {
        let scene =
            Scene::asked().target_rst(ASKED + MS, END).bare_rst(ASKED + 2 * MS).with(|scene| {
                let reset = &mut scene.flow.endings[0];
                (reset.grade, reset.offset, reset.missing) = (Grade::InWindow, Some(1400), 720);
            });
        assert_eq!(scene.cause(), Some("return-path-blocked"));
    }

    #[test]
    fn a_reset_that_covers_the_request_comes_from_the_target() {
        let scene = Scene::asked().target_rst(ASKED + MS, END);
        assert_eq!(scene.cause(), Some("target-rst-no-response"));
    }
}
