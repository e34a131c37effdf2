//! what the target sends does not reach the load balancer.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::flow::{Ending, Vantage};
use crate::phrase;
use crate::tcp::Side;
use crate::words::Phrase;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "return-path-blocked",
    summary: "what the target sends does not reach the load balancer",
    explanation: "\
        What the load balancer sends reaches the target, and what the target sends does not \
        come back. Either the SYN-ACK is sent again and again while the SYN is repeated as \
        well, or the connection opened and the response is repeated and never acknowledged. \
        A FIN that comes without the response before it tells of it too: its sequence number \
        counts the bytes that were lost.\n\n\
        At the target this is plain to see: SYN in, SYN-ACK out, SYN in again, SYN-ACK out \
        again. At the load balancer only its own packets are seen, so that it looks like \
        connect-timeout or response-timeout.\n\n\
        Rules that keep no state are the usual reason: an AWS network ACL that admits the \
        target's port but not the way back to the load balancer's ephemeral ports 1024-65535. \
        Others are routing that sends the answer another way (a second network interface, a \
        default route through a VPN or firewall that never saw the SYN), a NAT in one \
        direction only, and client IP preservation where a target is reached through its own \
        load balancer.\n\n\
        If only large packets are lost on the way back, it is mtu-blackhole. If the target \
        sends no SYN-ACK at all, it is connect-timeout-host.",
    seen_as: &[
        ("AWS ALB", "504"),
        ("HAProxy", "503 or 504, termination state sC; sH when the response is lost"),
        (
            "nginx",
            "504, upstream timed out (110: Connection timed out) while connecting to upstream, or \
             while reading response header",
        ),
        ("Envoy", "503, flag UF; 504, flag UT when the response is lost"),
        ("GCP", "502 or 503, failed_to_connect_to_backend or backend_timeout"),
        ("Azure", "502"),
    ],
    responsible: Responsible::Network,
    typical_status: Some(504),
    confirm: &[
        "Capture at both ends: the SYN-ACK leaves the target and does not arrive at the load \
         balancer",
        "Run ip route get <load balancer address> at the target: is it the interface by which the \
         SYN came",
        "Look for REJECT from the target's port to ports 1024-65535 in the VPC flow logs",
        "List the outbound rules of the network ACL at the target's subnet and the inbound rules \
         at the load balancer's",
    ],
    fix: &[
        "Allow the way back: outbound ports 1024-65535 in the network ACL of the target's subnet, \
         inbound in that of the load balancer's",
        "Route the answer back by the interface on which the request came (policy routing: ip \
         rule, ip route table)",
        "Keep both directions on the same stateful firewall, or take the firewall out of one path \
         consistently",
        "Switch client IP preservation off (preserve_client_ip.enabled = false) where a target \
         reaches itself through a Network Load Balancer",
    ],
    wireshark: &[
        ("tcp.analysis.retransmission", "what was repeated"),
        ("tcp.flags.syn == 1 and tcp.flags.ack == 1", "SYN-ACKs that were captured"),
    ],
    references: &[
        "RFC 9293, 3.5 (establishing a connection): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.5",
        "RFC 9293, 3.8.1 (retransmission time-out): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.8.1",
        "AWS, troubleshoot your ALB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html",
        "AWS, troubleshoot your NLB: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html",
        "AWS, network ACLs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html",
    ],
    detect,
};

fn detect(case: &Case<'_>) -> Option<Verdict> {
    match case.exchange {
        Some(_) => {
            let lost = response_lost(case).or_else(|| lost_before_close(case));
            lost.or_else(|| lost_before_acknowledgment(case))
        }
        None => handshake_lost(case),
    }
}

/// SYN-ACKs repeated, and SYN as well: the first way works, the way back does not.
fn handshake_lost(case: &Case<'_>) -> Option<Verdict> {
    let opening = &case.flow.opening;
    let (syn, syn_ack, last) = (opening.syn?, opening.syn_ack?, opening.last_syn_ack()?);
    let answered = opening.ack.is_some()
        || case.flow.half(Side::Client).payload_bytes > 0
        || case.flow.endings.iter().any(|ending| ending.side == Side::Client);
    // The next SYN-ACK comes a second after the last at the earliest (RFC 6298, 2.1).
    let waited = case.wider.now().nanos_since(last.at).max(
        // A SYN repeated long after the first SYN-ACK shows the same.
        opening.last_syn().map_or(0, |syn| syn.at.nanos_since(syn_ack.at)),
    );
    if answered || opening.syn_acks < 2 || waited < 500_000_000 {
        return None;
    }
    // There the SYN-ACK was captured where the load balancer should have taken it.
    let arrived = case.flow.vantage == Vantage::Client;
    Some(Verdict {
        confidence: if opening.syns > 1 && !arrived {
            Confidence::Certain
        } else {
            Confidence::Possible
        },
        evidence: vec![
            Evidence {
                mark: syn_ack,
                side: Side::Server,
                what: What::SynAck,
                note: phrase!("SYN-ACK, sent {syn_acks} times", syn_acks = opening.syn_acks),
            },
            case.silence(Side::Client, last, phrase!("no ACK ever came back")),
            Evidence {
                mark: syn,
                side: Side::Client,
                what: What::Syn,
                note: phrase!("SYN, sent {syns} times", syns = opening.syns),
            },
        ],
        summary: if arrived {
            phrase!(
                "{syn_acks} SYN-ACK reached the capture point beside the load balancer, and it acknowledged none: its own firewall or routing may drop them",
                syn_acks = opening.syn_acks
            )
        } else {
            phrase!(
                "the target answered {syns} SYN with {syn_acks} SYN-ACK, and none was acknowledged",
                syns = opening.syns,
                syn_acks = opening.syn_acks
            )
        },
        responsible: arrived.then_some(Responsible::Unknown),
    })
}

/// The response was sent, repeated, and never acknowledged.
fn response_lost(case: &Case<'_>) -> Option<Verdict> {
    case.failed().or(case.undelivered())?;
    let response = case.response()?;
    let lost = case.flow.lost(Side::Server).filter(|lost| lost.offset < response.end)?;
    if case.flow.half(Side::Server).acked > response.start {
        return None;
    }
    let mut evidence = vec![Evidence {
        mark: lost.mark,
        side: Side::Server,
        what: What::Retransmission,
        note: phrase!(
            "the response, sent {times} times, never acknowledged",
            times = lost.times + 1
        ),
    }];
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "the target sent its response {times} times and none was acknowledged",
            times = lost.times + 1
        ),
        responsible: None,
    })
}

/// The target's FIN or RST came, and what the target had sent before it did not.
fn lost_before_close(case: &Case<'_>) -> Option<Verdict> {
    case.failed()?;
    let by_server = |ending: &&Ending| ending.side == Side::Server;
    let close = if case.gave_up() {
        // That of a target which closes behind the load balancer tells as much.
        case.flow.endings.iter().filter(by_server).find_map(|ending| case.lost_before(ending))
    } else {
        case.closed_by_server().and_then(|close| case.lost_before(close))
    }?;
    let (bytes, name) = (close.missing, case.name(close));
    let mut evidence = vec![case.ending(
        close,
        phrase!(
            "its sequence number counts {bytes} bytes before it that were lost: the load balancer \
             never acknowledged them",
            bytes
        ),
    )];
    evidence.extend(case.asked(phrase!("the request")));
    let told = phrase!(
        "the target sent {bytes} bytes of its response before its {name}, and only the {name} arrived",
        bytes,
        name
    );
    Some(only_small_came(case, bytes, evidence, told))
}

/// The target acknowledged what it was sent, with a sequence number behind bytes of its own that never came.
fn lost_before_acknowledgment(case: &Case<'_>) -> Option<Verdict> {
    case.failed().filter(|_| case.gave_up())?;
    let (mark, bytes) = case.flow.half(Side::Server).never_came()?;
    let what = if bytes == 1 {
        // FIN takes a sequence number, too.
        phrase!("a byte or its FIN")
    } else {
        phrase!("{bytes} bytes of its response", bytes)
    };
    let mut evidence = vec![Evidence {
        mark,
        side: Side::Server,
        what: What::Ack,
        note: phrase!(
            "its sequence number tells that the target had sent {what}: the load balancer never acknowledged them",
            what = what.clone()
        ),
    }];
    evidence.extend(case.asked(phrase!("the request")));
    let told = phrase!(
        "the target sent {what}, and only its acknowledgments arrived",
        what = what.clone()
    );
    Some(only_small_came(case, bytes, evidence, told))
}

/// What told that `bytes` were lost is small: where they fill a packet, that may be the reason.
fn only_small_came(case: &Case<'_>, bytes: u64, evidence: Vec<Evidence>, told: Phrase) -> Verdict {
    /// So much fills a segment on the narrowest path that IPv6 allows (1280, RFC 8200, 5), bytes.
    const FULL: u64 = 1_200;
    let full = bytes >= FULL;
    Verdict {
        confidence: if full { Confidence::Possible } else { Confidence::Likely },
        evidence,
        summary: if full {
            phrase!("{told}; if only large packets are lost, it is mtu-blackhole", told)
        } else {
            told
        },
        // What the target's own host drops on the way out is not captured there either.
        responsible: (case.vantage() == Vantage::Server).then_some(Responsible::TargetHost),
    }
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, END, MS, S, Scene, mark};
    use crate::flow::{Ending, Grade, Vantage};
    use crate::tcp::Side;

    fn repeated_syn_acks() -> Scene {
        Scene::syn().with(|scene| {
            let opening = &mut scene.flow.opening;
            opening.syns = 3;
            opening.odd_mut().last_syn = Some(mark(3 * S));
            opening.syn_ack = Some(mark(MS));
            opening.odd_mut().last_syn_ack = Some(mark(3 * S + MS));
            opening.syn_acks = 3;
            scene.flow.half_mut(Side::Client).packets = 3;
            scene.flow.half_mut(Side::Server).packets = 3;
            scene.wider.advance(mark(10 * S).at);
        })
    }

    #[test]
    fn syn_acks_that_nobody_acknowledges() {
        assert_eq!(repeated_syn_acks().cause(), Some("return-path-blocked"));
    }

    #[test]
    fn a_syn_ack_that_arrived_was_not_lost_for_certain() {
        let far = repeated_syn_acks().with(|scene| scene.flow.vantage = Vantage::Server);
        let near = repeated_syn_acks().with(|scene| scene.flow.vantage = Vantage::Client);
        let sure = |scene: &Scene| scene.rule("return-path-blocked").unwrap().confidence;
        assert_eq!((sure(&far), sure(&near)), (Confidence::Certain, Confidence::Possible));
    }

    #[test]
    fn an_acknowledged_syn_ack_got_through() {
        let scene = repeated_syn_acks().with(|scene| scene.flow.opening.ack = Some(mark(4 * S)));
        assert!(scene.rule("return-path-blocked").is_none());
    }

    #[test]
    fn a_response_that_nobody_acknowledges() {
        let scene = Scene::answered_in_part().repeated(Side::Server, 500, 180, 3);
        assert_eq!(scene.cause(), Some("return-path-blocked"));
    }

    #[test]
    fn a_fin_behind_bytes_that_never_came_is_no_close_without_a_response() {
        let lost = |scene: Scene| {
            scene.with(|scene| {
                let fin = &mut scene.flow.endings[0];
                (fin.offset, fin.missing) = (Some(1400), 720);
            })
        };
        let unanswered = lost(Scene::asked().target_fin(ASKED + 5 * MS, END));
        assert_eq!(unanswered.cause(), Some("return-path-blocked"));
        let cut = lost(Scene::answered_in_part().target_fin(ASKED + 20 * MS, END));
        assert_eq!(cut.cause(), Some("return-path-blocked"));
        // A RST is not obeyed there, but asked for again.
        let reset = |stamped: bool| {
            lost(Scene::asked().target_rst(ASKED + 5 * MS, END)).with(|scene| {
                let again = Ending { offset: Some(0), missing: 0, ..scene.flow.endings[0] };
                scene.flow.endings[0].grade = Grade::InWindow;
                scene.flow.endings[0].unstamped = !stamped;
                scene.flow.endings.push(again);
            })
        };
        assert_eq!(reset(true).cause(), Some("return-path-blocked"));
        assert_ne!(reset(false).cause(), Some("return-path-blocked"), "anybody's");
        // What the load balancer acknowledges, only the capture has missed.
        let taken = cut.with(|scene| scene.flow.half_mut(Side::Server).acked = 1400);
        assert!(taken.rule("return-path-blocked").is_none());
    }

    #[test]
    fn an_acknowledgment_behind_bytes_that_never_came_tells_of_them() {
        let scene = |seconds: i64, bytes: u64| {
            Scene::asked().balancer_fin(ASKED + seconds * S, seconds * S).with(|scene| {
                let server = scene.flow.half_mut(Side::Server);
                server.trouble_mut().ahead = Some((mark(ASKED + 60 * S + MS), server.sent + bytes));
            })
        };
        let sure = |bytes| {
            let verdict = scene(60, bytes).rule("return-path-blocked");
            verdict.map(|verdict| verdict.confidence)
        };
        assert_eq!(scene(60, 1).cause(), Some("return-path-blocked"));
        let (likely, possible) = (Some(Confidence::Likely), Some(Confidence::Possible));
        assert_eq!([sure(1), sure(300), sure(20_000), sure(0)], [likely, likely, possible, None]);
        assert_eq!(scene(60, 300).cause(), Some("return-path-blocked"));
        // What came or was acknowledged since was only late, or missed by the capture.
        let acked = scene(60, 300).with(|scene| scene.flow.half_mut(Side::Server).acked += 300);
        assert_eq!(acked.cause(), Some("response-timeout"));
        // Who left before a timer ended may have left it under way.
        let mut left = scene(60, 300);
        left.flow.endings[0].mark = mark(ASKED + 100 * MS);
        assert!(left.rule("return-path-blocked").is_none());
    }

    #[test]
    fn a_request_that_nobody_acknowledges_is_the_other_way() {
        let scene = Scene::asked().repeated(Side::Client, 100, 200, 3).balancer_fin(ASKED + S, S);
        assert!(scene.rule("return-path-blocked").is_none());
    }
}
