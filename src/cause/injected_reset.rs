//! a RST that the host in whose name it came did not send.

use super::case::span;
use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::flow::{Ending, EndingKind, Grade};
use crate::phrase;
use crate::tcp::Side;
use crate::words::Phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "injected-reset",
    summary: "a RST that the host in whose name it came did not send",
    explanation: "\
        A RST that carries the target's address and port (or, captured at the target, the load \
        balancer's) killed the connection, but it does not look like the other packets of that \
        host. Firewalls, intrusion-prevention systems and other boxes in the path end \
        connections in this way: they forge a RST to each side with the right sequence number. \
        The load balancer believes that the target has reset, and the target that the load \
        balancer has.\n\n\
        What gives it away is what the box cannot or does not copy: the time to live (it \
        stands fewer or more hops away than the host in whose name it speaks), the IP \
        identification, the window, TCP options such as timestamps, or the time: a RST that \
        arrives sooner after the request than half the shortest round trip to the target \
        cannot have come from there. None of these alone is proof: routes change, and load \
        balancers in front of a target may answer with another time to live.\n\n\
        Who has sent RST has forgotten the connection and sends nothing more on it. So where \
        ACKs or even the answer of the host still come, often met by RST of the side that \
        believed the first one, that host did not send it.\n\n\
        The other proof is a second capture. At the target the RST does not leave, or a RST arrives \
        there that the load balancer never sent. If the target did send it, the cause is \
        target-rst-no-response. If the RST has no ACK flag and the connection was idle, the \
        sender has merely forgotten the connection: stale-flow-reset.",
    seen_as: &[
        ("AWS ALB", "502, target_status_code -"),
        ("HAProxy", "502, termination state SH"),
        (
            "nginx",
            "502, recv() failed (104: Connection reset by peer) while reading response header \
             from upstream",
        ),
        ("Envoy", "503, flag UC"),
        ("GCP", "502 or 503, backend_connection_closed_before_data_sent_to_client"),
        ("Azure", "Front Door OriginConnectionAborted"),
    ],
    responsible: Responsible::Network,
    typical_status: Some(502),
    confirm: &[
        "Capture at both ends at the same time: the RST arrives at the load balancer and never \
         left the target",
        "Compare ip.ttl, ip.id, tcp.window_size_value and the TCP options of the RST with the \
         target's packets before it",
        "Look in the logs of every firewall or intrusion-prevention system on the path for this \
         connection",
        "See whether the resets follow a content (one URL, one header, one payload): then it is \
         inspection",
    ],
    fix: &[
        "Find the device between (firewall, IDS, proxy) that resets this flow; capture at the \
         target to prove that the RST never left there",
        "Exempt the traffic between load balancer and targets from inspection, or correct the \
         rule that matched",
        "Encrypt this leg with TLS, so that a device cannot match on content",
    ],
    wireshark: &[
        ("tcp.flags.reset == 1", "RSTs, to compare ip.ttl and ip.id with the packets before"),
        ("tcp.len > 0 or tcp.flags.reset == 1", "data that goes on after a RST"),
    ],
    references: &[
        "RFC 5961, 3 (blind resets): https://www.rfc-editor.org/rfc/rfc5961#section-3",
        "RFC 3360 (inappropriate TCP resets considered harmful): \
         https://www.rfc-editor.org/rfc/rfc3360",
        "RFC 9293, 3.5.3 (reset processing): https://www.rfc-editor.org/rfc/rfc9293#section-3.5.3",
        "HAProxy, session state at disconnection (8.5): \
         https://docs.haproxy.org/2.6/configuration.html#8.5",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    of_a_stranger(case).or_else(|| at_both_ends(case))
}

/// A RST in the target's name that the load balancer ignored, and then a RST without ACK, by which the target says
/// that it has no such connection: what was forged for its end worked.
fn at_both_ends(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let forged = case.forged()?;
    let forgot = |it: &&Ending| {
        (it.side, it.kind, it.ack_flag) == (Side::Server, EndingKind::Rst, false)
            && it.grade != Grade::Outside
    };
    let closed = |it: &&Ending| (it.side, it.kind) == (Side::Server, EndingKind::Fin);
    let forgot = case.flow.endings.iter().find(forgot)?;
    if case.flow.endings.iter().any(|it| closed(&it)) {
        return None;
    }
    let mut evidence = vec![
        case.ending(
            forged,
            phrase!("RST that its receiver ignores, unlike the other segments of the target"),
        ),
        case.ending(
            forgot,
            phrase!("the target has no such connection any more, and never closed it"),
        ),
    ];
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "somebody sends RSTs on this connection in the target's name: the load balancer ignored one, and the \
             target has forgotten the connection without having closed it"
        ),
        responsible: None,
    })
}

/// The RST that ended the connection is not of the one in whose name it came.
fn of_a_stranger(case: &Case<'_>) -> Option<Verdict> {
    let refusal = case.refusal();
    if case.failed().is_none() && case.handshaking().is_none() && refusal.is_none() {
        return None;
    }
    let close = case.close().filter(|close| close.kind == EndingKind::Rst)?;
    let alien = case.alien(close);
    let fast = close.side == Side::Server && case.too_fast(close);
    let (refused, went_on) = (case.refused_too_fast(), close.belied);
    // A refusal with another time to live may be that of the host which forwards to the target.
    let foreign = alien && refusal.is_none();
    if !(foreign || fast || refused.is_some() || went_on.is_some()) {
        return None;
    }
    let mut note = Vec::new();
    if let Some(mark) = went_on {
        note.push(phrase!(
            "its sender went on {after} later",
            after = span(mark.at.nanos_since(close.mark.at))
        ));
    }
    if alien {
        note.push(other_ttl(case, close));
    }
    if fast {
        note.push(phrase!("sooner than the target could answer"));
    }
    if let Some(usual) = refused {
        note.push(phrase!(
            "sooner than the target could answer, whose SYN-ACKs take {usual} at least",
            usual = span(usual)
        ));
    }
    let note = Phrase::list(note, "; ");
    let mut evidence = vec![case.ending(close, note.clone())];
    evidence.extend(
        case.asked(phrase!("the request"))
            .or_else(|| case.greeted(phrase!("the ClientHello")))
            .or_else(|| case.called(phrase!("the load balancer tries to connect"))),
    );
    evidence.extend(went_on.map(|mark| Evidence {
        mark,
        side: close.side,
        what: if case.overtaken() { What::Response } else { What::Ack },
        note: phrase!(
            "the one in whose name the RST came goes on, which nobody does who has sent RST"
        ),
    }));
    Some(Verdict {
        // Bytes behind its sequence number were sent after it, in whatever order they were captured.
        confidence: if case.overtaken() { Confidence::Certain } else { Confidence::Likely },
        evidence,
        summary: phrase!("the RST does not fit the host in whose name it came: {note}", note),
        responsible: None,
    })
}

/// How the time to live of a RST differs.
pub(super) fn other_ttl(case: &Case<'_>, close: &Ending) -> Phrase {
    let (least, greatest) = case.usual_ttl(close).unwrap_or_default();
    let usual = if least == greatest { least.to_string() } else { format!("{least}–{greatest}") };
    phrase!(
        "time to live {ttl} where its sender's other packets have {usual}",
        ttl = close.ttl,
        usual
    )
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{ASKED, END, MS, S, Scene, TTL, mark};
    use crate::flow::Grade;

    fn reset(ttl: u8) -> Scene {
        Scene::asked_first()
            .target_rst(ASKED + MS, END)
            .with(|scene| scene.flow.endings[0].ttl = ttl)
    }

    #[test]
    fn another_time_to_live_is_another_sender() {
        assert_eq!(reset(TTL + 60).cause(), Some("injected-reset"));
    }

    #[test]
    fn who_goes_on_has_not_sent_a_reset() {
        let belied = reset(TTL).with(|scene| scene.flow.endings[0].belied = Some(mark(ASKED + S)));
        assert_eq!(belied.cause(), Some("injected-reset"));
        let bare = Scene::asked()
            .bare_rst(ASKED + MS)
            .with(|scene| scene.flow.endings[0].belied = Some(mark(ASKED + S)));
        assert_eq!(bare.cause(), Some("injected-reset"), "nobody forgot the connection");
    }

    #[test]
    fn a_forged_reset_that_was_ignored_explains_why_the_target_forgot_the_connection() {
        let scene = |unstamped: bool| {
            Scene::asked().target_rst(ASKED - MS, END).bare_rst(ASKED + MS).with(|scene| {
                let forged = &mut scene.flow.endings[0];
                (forged.grade, forged.unstamped) = (Grade::Outside, unstamped);
            })
        };
        assert_eq!(scene(true).cause(), Some("injected-reset"));
        assert_eq!(scene(false).cause(), Some("stale-flow-reset"));
    }

    #[test]
    fn the_usual_time_to_live_is_the_target() {
        assert_eq!(reset(TTL).cause(), Some("target-rst-no-response"));
        assert_eq!(
            reset(TTL - 1).cause(),
            Some("target-rst-no-response"),
            "routes differ by a hop"
        );
    }
}
