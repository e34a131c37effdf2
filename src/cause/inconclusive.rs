//! the request failed and the packets do not say why.

use super::case::span;
use super::{Case, Cause, Confidence, Responsible, Verdict};
use crate::phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "inconclusive",
    summary: "the request failed and the packets do not say why",
    explanation: "\
        A request was outstanding and the connection ended, but no rule fits what was \
        captured, or the capture could not see enough to choose. It is better to say so than \
        to guess: a wrong cause sends people to the wrong team.\n\n\
        Usual reasons are blind spots of the capture, and the finding lists them: it began in \
        the middle of the connection, dropped packets, cut them short (snap length), saw only \
        one direction, or ended first; or the bytes are encrypted, so that an answer and an \
        alert look alike.\n\n\
        Two captures at once, at the load balancer and at the target, settle nearly every such \
        case: they show whether a packet left, arrived or was made up on the way.",
    seen_as: &[],
    responsible: Responsible::Unknown,
    typical_status: None,
    confirm: &[
        "Read the blind spots of the finding: they name what is missing",
        "Capture whole packets, both directions, at both ends: tcpdump -ni any -s 0 -w cap.pcapng \
         'host <target> and port <port>'",
        "Start the capture before the connections are opened, and check tcpdump's last line for \
         packets dropped by kernel",
        "Look for the request in the logs of the load balancer and of the target by time and path",
    ],
    fix: &[
        "Capture again without the blind spots named here: whole packets, both directions, from \
         before the connection opens",
        "Capture at the load balancer and at the target at the same time, and give both files to \
         why502",
        "If the kernel dropped packets, filter narrower, raise tcpdump's buffer (-B 65536) and \
         write to a fast disk",
        "For encrypted legs capture where the bytes are in clear, for example between the TLS \
         proxy and the application",
    ],
    wireshark: &[
        (
            "tcp.analysis.lost_segment or tcp.analysis.ack_lost_segment",
            "packets that the capture missed",
        ),
        ("http.request and !http.response_in", "requests without a response"),
    ],
    references: &[
        "tcpdump manual: https://www.tcpdump.org/manpages/tcpdump.1.html",
        "AWS, ALB access logs: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    case.failed().filter(|_| !case.had_enough())?;
    let close = case.close()?;
    let mut evidence =
        vec![case.ending(close, phrase!("the connection ends with the request outstanding"))];
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict {
        confidence: Confidence::Possible,
        evidence,
        summary: phrase!(
            "the connection ended {after} after the {asked}; no rule fits what was seen",
            after = span(case.outstanding(close.mark)),
            asked = case.what_was_asked()
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, MS, Scene};

    #[test]
    fn a_failed_request_with_a_close_is_never_left_out() {
        let verdict = Scene::asked().target_fin(ASKED + MS, 300).rule("inconclusive");
        assert_eq!(verdict.map(|verdict| verdict.confidence), Some(Confidence::Possible));
    }

    #[test]
    fn an_answered_request_is_no_failure() {
        assert!(
            Scene::answered(200).target_fin(ASKED + 20 * MS, 300).rule("inconclusive").is_none()
        );
    }
}
