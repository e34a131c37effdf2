//! What the engine's ids mean, in words.

use super::words::{clean, count, plural, seconds, time};
use super::{Pattern, PatternKind};
use crate::cause::{Confidence, Finding, Kind, Responsible};
use crate::flow::{Ended, Vantage};
use crate::http::Protocol;
use crate::tcp::Side;
use crate::words::Phrase;
use crate::{phrase, word};

/// Who has to act, in words.
pub fn responsible(who: Responsible) -> &'static str {
    match who {
        Responsible::TargetApp => word!("the program that serves the requests on the target"),
        Responsible::TargetHost => {
            word!("the target's host: its operating system, firewall or limits")
        }
        Responsible::Network => word!("the network between load balancer and target"),
        Responsible::LoadBalancer => word!("the load balancer (or proxy)"),
        Responsible::Client => word!("the client of the load balancer"),
        Responsible::Configuration => word!("settings of load balancer and target that do not fit"),
        Responsible::Unknown => word!("the packets do not say who"),
    }
}

/// Who has to act, in a word: the id, which has a word in other languages.
pub(super) fn who(who: Responsible) -> &'static str {
    match who {
        Responsible::TargetApp => word!("target-app"),
        Responsible::TargetHost => word!("target-host"),
        Responsible::Network => word!("network"),
        Responsible::LoadBalancer => word!("load-balancer"),
        Responsible::Client => word!("client"),
        Responsible::Configuration => word!("configuration"),
        Responsible::Unknown => word!("unknown"),
    }
}

/// What a confidence means.
pub fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain => {
            word!("the packets show it and nothing unseen could hide another truth")
        }
        Confidence::Likely => word!("it fits best; another truth would need a coincidence"),
        Confidence::Possible => word!("the packets allow it; other causes fit as well"),
    }
}

/// Where the capture was taken, to follow "captured".
pub fn vantage(vantage: Vantage) -> &'static str {
    match vantage {
        Vantage::Unknown => word!("at an unknown place"),
        Vantage::Client => word!("at the client's side (load balancer)"),
        Vantage::Server => word!("at the server's side (target)"),
        Vantage::Between => word!("between client and server"),
    }
}

/// Stable id of a side.
pub fn side(side: Side) -> &'static str {
    match side {
        Side::Client => word!("client"),
        Side::Server => word!("server"),
    }
}

/// What failed, as a noun.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => word!("request"),
        Kind::Connection => word!("connection"),
        Kind::HealthCheck => word!("health check"),
        Kind::Attempt => word!("attempt"),
    }
}

/// Stable id of what a flow carries.
pub fn protocol_id(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unknown => "no-data",
        Protocol::Http1 => "http1",
        Protocol::Upgraded => "upgraded",
        Protocol::Tls => "tls",
        Protocol::Http2 => "http2",
        Protocol::Other => "other",
    }
}

/// Stable id of how a flow ended.
pub fn ended_id(ended: Ended) -> &'static str {
    match ended {
        Ended::CaptureEnd => "capture-end",
        Ended::Fin => "fin",
        Ended::Rst => "rst",
        Ended::Timeout => "timeout",
    }
}

/// What flows carry, to follow "40 flows".
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unknown => word!("without data"),
        Protocol::Http1 => word!("of HTTP/1"),
        Protocol::Upgraded => word!("that left HTTP"),
        Protocol::Tls => word!("of TLS"),
        Protocol::Http2 => word!("of HTTP/2"),
        Protocol::Other => word!("of other protocols"),
    }
}

/// Names of reasons to skip a frame that carry a number.
const NUMBERED: [(&str, &str); 6] = [
    ("link-type-", word!("of link type ")),
    ("ethertype-", word!("of EtherType ")),
    ("llc-", word!("of 802.2 service ")),
    ("ppp-protocol-", word!("of PPP protocol ")),
    ("address-family-", word!("of address family ")),
    ("ip-protocol-", word!("of IP protocol ")),
];

/// A [`crate::packet::Skip::name`] in words, to follow a number of packets; a name that it does
/// not know stays as it is.
pub(super) fn skipped(name: &str) -> Phrase {
    let words = match name {
        "filtered" => word!("not let through by the filter"),
        "arp" => "ARP",
        "udp" => "UDP",
        "quic" => word!("QUIC (HTTP/3, encrypted)"),
        "dtls" => word!("DTLS (TLS over UDP)"),
        "vxlan-8472" => word!("of VXLAN on port 8472 (read with --vxlan-port 8472)"),
        "icmp" => "ICMP",
        "icmpv6" => "ICMPv6",
        "fragment" => word!("IP fragments that could not be put together"),
        "cut-header" => word!("with a header cut by the snap length"),
        "malformed" => word!("with a header that contradicts itself"),
        "too-deep" => word!("with more encapsulation than the bound"),
        "ip-protocol-2" => "IGMP",
        "ip-protocol-50" => word!("ESP (encrypted IPsec)"),
        "ip-protocol-132" => "SCTP",
        "ethertype-0x88cc" => "LLDP",
        "llc-0x42" => word!("spanning tree"),
        _ => {
            return NUMBERED
                .iter()
                .find_map(|(prefix, words)| {
                    Some(phrase!(
                        "{words}{number}",
                        words = *words,
                        number = name.strip_prefix(prefix)?.to_owned()
                    ))
                })
                .unwrap_or_else(|| clean(name).replace('-', " ").into());
        }
    };
    Phrase::fixed(words)
}

/// ` (4.98–5.03 s)`; both units when they differ, nothing when both ends look the same.
fn range((low, high): (f64, f64)) -> Phrase {
    let (low, high) = (seconds(low), seconds(high));
    if low == high {
        return Phrase::default();
    }
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => {
            phrase!(" ({number}–{high})", number = number.to_owned(), high)
        }
        _ => phrase!(" ({low} – {high})", low, high),
    }
}

/// A pattern as one sentence without its full stop.
pub(super) fn pattern(pattern: &Pattern) -> Phrase {
    let some = if pattern.of == 1 {
        phrase!("the one")
    } else if pattern.findings == pattern.of {
        phrase!("all {n}", n = count(pattern.of))
    } else {
        phrase!("{n} of {all}", n = count(pattern.findings), all = count(pattern.of))
    };
    match &pattern.kind {
        PatternKind::IdleTime { median_s, range_s } => {
            let idle = phrase!(
                "{some} after {idle} of idle{range}",
                some,
                idle = seconds(*median_s),
                range = range(*range_s)
            );
            // Only there did the server itself close for being idle.
            match pattern.cause {
                "keepalive-race" => {
                    phrase!(
                        "{idle}: the server's keep-alive time-out is {setting}",
                        idle,
                        setting = setting(*median_s)
                    )
                }
                "stale-flow-reset" | "l4-lb-reset" | "injected-reset" | "request-unacked" => {
                    phrase!("{idle}: something drops connections that are idle that long", idle)
                }
                // The target or its client acted on the request, however long the pause before it.
                _ => idle,
            }
        }
        PatternKind::OutstandingTime { median_s, range_s } => phrase!(
            "{some} after {wait} without an answer{range}: a time-out of {setting}",
            some,
            wait = seconds(*median_s),
            range = range(*range_s),
            setting = setting(*median_s)
        ),
        PatternKind::Burst { from, within_s, goes_away } => {
            let burst = phrase!(
                "{some} within {within} from {from}",
                some,
                within = seconds(*within_s),
                from = time(*from)
            );
            match goes_away {
                true => phrase!("{burst}: a restart, a deployment?", burst),
                false => burst,
            }
        }
        PatternKind::OneTarget { server, others } => phrase!(
            "{some} at {server}, none at {others} of the same port",
            some,
            server = server.socket(),
            others = plural(*others, "other target")
        ),
        PatternKind::RequestCap { ordinal } => phrase!(
            "{some} after {requests} on the connection: the server's limit of requests per connection",
            some,
            requests = plural(u64::from(*ordinal), "request")
        ),
    }
}

/// The setting behind a measured time: `5 s` when it lies within 2 % of whole seconds.
fn setting(s: f64) -> Phrase {
    let whole = s.round();
    if whole >= 1.0 && (s - whole).abs() <= whole * 0.02 {
        phrase!("{n} s", n = whole.to_string())
    } else {
        phrase!("about {time}", time = seconds(s))
    }
}

/// What to change first.
pub(super) fn fix(finding: &Finding) -> &'static str {
    let own_answer =
        finding.cause.id == "inconclusive" && finding.responsible == Responsible::LoadBalancer;
    match own_answer {
        true => word!(
            "Look the request up in the proxy's log, which has its reason: HAProxy's termination state, Envoy's response flags, the error log of nginx and Apache"
        ),
        false => finding.cause.fix.first().copied().unwrap_or(word!("not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Skip;

    #[test]
    fn in_english_who_has_to_act_is_the_id() {
        use Responsible::{Client, Configuration, LoadBalancer, Network, Unknown};
        for it in [Client, Configuration, LoadBalancer, Network, Unknown] {
            assert_eq!(who(it), it.id());
        }
        assert_eq!(who(Responsible::TargetApp), Responsible::TargetApp.id());
        assert_eq!(who(Responsible::TargetHost), Responsible::TargetHost.id());
    }

    #[test]
    fn a_setting_is_named_only_near_whole_seconds() {
        assert_eq!((setting(5.02).as_str(), setting(4.5).as_str()), ("5 s", "about 4.50 s"));
    }

    #[test]
    fn only_a_race_tells_the_servers_time_out() {
        let of = |cause| {
            let kind = PatternKind::IdleTime { median_s: 1.2, range_s: (1.2, 1.2) };
            super::pattern(&Pattern { cause, kind, findings: 4, of: 4 })
        };
        assert!(of("keepalive-race").ends_with("the server's keep-alive time-out is about 1.20 s"));
        assert_eq!(
            of("stale-flow-reset"),
            "all 4 after 1.20 s of idle: something drops connections that are idle that long"
        );
    }

    #[test]
    fn a_range_names_a_common_unit_once() {
        assert_eq!(range((4.98, 5.03)), " (4.98–5.03 s)");
        assert_eq!(range((0.9, 1.1)), " (900 ms – 1.10 s)");
    }

    #[test]
    fn every_skip_has_words() {
        for skip in [Skip::IpProtocol(17), Skip::Quic, Skip::Dtls, Skip::Fragment, Skip::Llc(0x42)]
        {
            let name = skip.name();
            assert_ne!(skipped(&name).as_str(), name.replace('-', " "), "{name}");
        }
        assert_eq!(skipped(&Skip::IpProtocol(4).name()), "of IP protocol 4");
        assert_eq!(skipped(&Skip::EtherType(0x8899).name()), "of EtherType 0x8899");
        assert_eq!(skipped("something-new"), "something new");
    }
}
