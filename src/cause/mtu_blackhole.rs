//! full-size packets vanish while small ones pass.

use super::{Case, Cause, Confidence, Evidence, Responsible, Verdict, What};
use crate::phrase;
use crate::tcp::Side;
use crate::time::Mark;

/// See [`Cause::explanation`].
pub(super) const CAUSE: Cause = Cause {
    id: "mtu-blackhole",
    summary: "full-size packets vanish while small ones pass",
    explanation: "\
        Small packets pass, full-size ones vanish. The handshake and short requests work; a \
        large upload, a long cookie or a big response hangs until a time-out. A link on the \
        way carries less than the sender believes (a tunnel, VPN, overlay network, or jumbo \
        frames of 9001 bytes meeting 1500), and the ICMP message that should say so is \
        filtered or never sent. The sender repeats the same large segment and never learns \
        why.\n\n\
        The side that sends large segments sees them repeated and not acknowledged, while \
        smaller ones before and after are. The other side sees the handshake and perhaps later \
        small segments, with a hole in the sequence numbers. When ICMP fragmentation needed \
        (type 3 code 4) or ICMPv6 packet too big (type 2) is in the capture, the path did \
        tell, and the sender ignored it or never got it.\n\n\
        If segments of every size are lost it is request-unacked or return-path-blocked. \
        Captures taken at the sender may show segments larger than the MTU (up to 64 KB): that \
        is segmentation offload and no fault; the network card cuts them before they leave.",
    seen_as: &[
        ("HAProxy", "504, termination state sH; sD within the body"),
        ("nginx", "504, upstream timed out (110: Connection timed out)"),
        ("Envoy", "504, flag UT"),
        ("GCP", "502 or 503, backend_timeout"),
        ("Azure", "504 (v1: 502), ERRORINFO_UPSTREAM_TIMED_OUT"),
    ],
    responsible: Responsible::Network,
    typical_status: Some(504),
    confirm: &[
        "Try the sizes: ping -M do -s 1472 <target> (1500 bytes), then -s 1372; for jumbo frames \
         -s 8973",
        "Run tracepath -n <target> in both directions: it prints the MTU of each hop",
        "Compare the MSS in SYN and SYN-ACK with the interface: ip link show, ip route get \
         <target>",
        "Run tcpdump -ni any 'icmp[0] == 3 and icmp[1] == 4' at the sender: does the message \
         arrive",
    ],
    fix: &[
        "Let ICMP fragmentation needed (type 3 code 4; ICMPv6 type 2) through security groups, \
         network ACLs and firewalls to the sender",
        "Clamp the MSS at the tunnel or router: iptables -t mangle -A FORWARD -p tcp --tcp-flags \
         SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        "Set the right MTU on interfaces in front of the narrow link (ip link set dev eth0 mtu \
         1500; container network MTU = host MTU minus overlay header)",
        "Set net.ipv4.tcp_mtu_probing = 1, so that Linux finds the size by itself when ICMP is \
         filtered",
    ],
    wireshark: &[
        ("tcp.analysis.retransmission and tcp.len > 1200", "large packets that were repeated"),
        ("(icmp.type == 3 and icmp.code == 4) or icmpv6.type == 2", "packet too big"),
        ("tcp.options.mss_val", "segment sizes that were agreed"),
    ],
    references: &[
        "RFC 9293, 3.7.2 (path MTU discovery): \
         https://www.rfc-editor.org/rfc/rfc9293#section-3.7.2",
        "RFC 1191 (path MTU discovery): https://www.rfc-editor.org/rfc/rfc1191",
        "RFC 2923, 2.1 (black hole detection): https://www.rfc-editor.org/rfc/rfc2923#section-2.1",
        "RFC 4821 (packetization layer path MTU discovery): https://www.rfc-editor.org/rfc/rfc4821",
        "AWS, MTU of EC2 instances: \
         https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/network_mtu.html",
        "AWS, how Elastic Load Balancing works: \
         https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/how-elastic-load-balancing-works.html",
    ],
    detect,
};

/// Time after which what is not acknowledged has been repeated: the first retransmission time-out
/// (RFC 6298, 2.1), nanoseconds.
const REPEATED: i64 = 1_000_000_000;
/// Payload below which size is not the reason: what carries IPv6 carries packets of 1280 bytes
/// (RFC 8200, 5), and tunnels and private lines hardly ever less.
const LARGE: u32 = 1200;
fn detect(case: &Case<'_>) -> Option<Verdict> {
    let failed = case.failed().or(case.undelivered()).is_some() || case.handshaking().is_some();
    if !failed || case.closed_by_server().is_some() {
        return None;
    }
    never_acknowledged(case).or_else(|| never_arrived(case)).or_else(|| only_counted(case))
}

/// As seen on the sender's side of the hole: large segments leave again and again.
fn never_acknowledged(case: &Case<'_>) -> Option<Verdict> {
    let (side, lost) = [Side::Client, Side::Server].into_iter().find_map(|side| {
        let lost = case.flow.lost(side)?;
        // When the other side repeats too, small segments do not arrive either.
        let one_way = case.flow.lost(!side).is_none() && !case.repeats(!side);
        let large = lost.len >= LARGE && case.flow.half(side).largest_acked < lost.len;
        // A retransmission joins segments: the first that is missing may have been a small one.
        let before = case.request().and_then(|request| request.start.checked_sub(lost.offset));
        let small_first = side == Side::Client
            && before.is_some_and(|bytes| (1..u64::from(LARGE)).contains(&bytes));
        (large && one_way && !small_first).then_some((side, lost))
    })?;
    let told = case.flow.icmp.iter().find(|icmp| icmp.mtu.is_some());
    let small = case.flow.half(side).largest_acked > 0 || case.flow.opening.ack.is_some();
    if told.is_none() && !small {
        return None;
    }
    let mut evidence = vec![Evidence {
        mark: lost.mark,
        side,
        what: What::Retransmission,
        note: phrase!(
            "{bytes} bytes, sent {times} times, never acknowledged",
            bytes = lost.len,
            times = lost.times + 1
        ),
    }];
    evidence.extend(told.map(|icmp| Evidence {
        mark: icmp.mark,
        side: !side,
        what: What::Icmp,
        note: phrase!(
            "{reporter} says the path carries {mtu} bytes",
            reporter = icmp.reporter,
            mtu = icmp.mtu.unwrap_or(0)
        ),
    }));
    evidence.extend(
        case.asked(phrase!("the request")).or_else(|| case.greeted(phrase!("the ClientHello"))),
    );
    Some(Verdict {
        confidence: if told.is_some() { Confidence::Certain } else { Confidence::Likely },
        evidence,
        summary: phrase!(
            "segments of {bytes} bytes were repeated {times} times and never acknowledged; smaller ones pass",
            bytes = lost.len,
            times = lost.times
        ),
        responsible: None,
    })
}

/// As seen on the receiver's side: the small last segment of something larger arrives, what
/// belongs before it never does.
fn never_arrived(case: &Case<'_>) -> Option<Verdict> {
    let (side, last, hole) = [Side::Client, Side::Server].into_iter().find_map(|side| {
        let half = case.flow.half(side);
        let hole = half.sent.checked_sub(half.trouble().stranded + half.acked)?;
        let small = half.trouble().stranded > 0 && half.largest < LARGE && hole >= u64::from(LARGE);
        // By then the sender has repeated them.
        let repeated = |last: &Mark| case.wider.now().nanos_since(last.at) >= REPEATED;
        Some((side, half.last_data.filter(|_| small).filter(repeated)?, hole))
    })?;
    let mut evidence = vec![Evidence {
        mark: last,
        side,
        what: if side == Side::Client { What::Request } else { What::Response },
        note: phrase!(
            "the {bytes} bytes before it never arrive, though a sender repeats such bytes",
            bytes = hole
        ),
    }];
    evidence.extend(
        case.asked(phrase!("the request")).or_else(|| case.greeted(phrase!("the ClientHello"))),
    );
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "{bytes} bytes in the middle never arrived while segments of at most {largest} bytes did",
            bytes = hole,
            largest = case.flow.half(side).largest
        ),
        responsible: None,
    })
}

/// As seen on the receiver's side when nothing of the response arrives: the target's acknowledgments, which are small,
/// have sequence numbers behind it.
fn only_counted(case: &Case<'_>) -> Option<Verdict> {
    let half = case.flow.half(Side::Server);
    let large = |bytes: u64| bytes >= u64::from(LARGE) && half.largest < LARGE;
    let (mark, bytes) = half.never_came().filter(|(_, bytes)| large(*bytes) && case.gave_up())?;
    let mut evidence = vec![Evidence {
        mark,
        side: Side::Server,
        what: What::Ack,
        note: phrase!(
            "its sequence number counts {bytes} bytes that never arrive, and it does",
            bytes
        ),
    }];
    evidence.extend(case.asked(phrase!("the request")));
    Some(Verdict {
        confidence: Confidence::Likely,
        evidence,
        summary: phrase!(
            "the target sent {bytes} bytes that never arrived, while its acknowledgments did",
            bytes
        ),
        responsible: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::cause::Confidence;
    use crate::cause::fixture::{ASKED, END, MS, S, START, Scene, mark};
    use crate::tcp::Side;
    use crate::time::Timestamp;

    #[test]
    fn full_size_segments_vanish() {
        let scene = Scene::asked().repeated(Side::Client, START, 1448, 3);
        assert_eq!(scene.cause(), Some("mtu-blackhole"));
    }

    #[test]
    fn a_router_that_says_so_makes_it_certain() {
        let scene = Scene::asked().repeated(Side::Client, START, 1448, 3).icmp(3, 4, Some(1400));
        let verdict = scene.rule("mtu-blackhole").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Certain);
    }

    #[test]
    fn small_segments_vanish_for_another_reason() {
        let scene = Scene::asked().repeated(Side::Client, START, 200, 3);
        assert_eq!(scene.cause(), Some("request-unacked"));
    }

    #[test]
    fn a_small_segment_before_the_request_vanishes_for_another_reason() {
        let scene = Scene::asked().with(|scene| {
            let request = scene.exchange().request.as_mut().expect("a request");
            (request.start, request.end) = (START + 80, START + 1093);
        });
        assert_eq!(scene.repeated(Side::Client, START, 1093, 3).cause(), Some("request-unacked"));
    }

    #[test]
    fn a_target_that_closes_hears_us() {
        let scene =
            Scene::asked().repeated(Side::Client, START, 1448, 3).target_fin(ASKED + MS, END);
        assert!(scene.rule("mtu-blackhole").is_none());
    }

    #[test]
    fn an_acknowledgment_counts_the_large_segments_that_vanish() {
        let scene = |bytes: u64, largest: u32| {
            Scene::asked().balancer_fin(ASKED + 60 * S, 60 * S).with(|scene| {
                let server = scene.flow.half_mut(Side::Server);
                server.largest = largest;
                server.trouble_mut().ahead = Some((mark(ASKED + 60 * S + MS), server.sent + bytes));
            })
        };
        assert_eq!(scene(20_000, 365).cause(), Some("mtu-blackhole"));
        assert_eq!(scene(20_000, 1448).cause(), Some("return-path-blocked"), "large ones passed");
        assert_eq!(scene(700, 365).cause(), Some("return-path-blocked"), "that is small");
    }

    #[test]
    fn what_was_never_repeated_may_just_be_missing_from_the_capture() {
        let hole = |seen_until: i64| {
            let scene = Scene::asked().with(|scene| {
                let half = scene.flow.half_mut(Side::Server);
                (half.sent, half.acked, half.largest) = (4000, 1000, 500);
                half.last_data = Some(mark(ASKED + MS));
                half.trouble_mut().stranded = 500;
                scene.wider.advance(Timestamp(ASKED + seen_until));
            });
            scene.rule("mtu-blackhole").is_some()
        };
        assert!(hole(2_000 * MS) && !hole(7 * MS));
    }
}
