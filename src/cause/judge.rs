//! From a case to a finding: the first rule that fits, and what blind spots leave of its
//! confidence.

use super::author::asked_proxy;
use super::wider::Language;
use super::{
    ALL, Case, Cause, Confidence, Evidence, Finding, Kind, PacketFacts, Responsible, Verdict, What,
    inconclusive, injected_reset,
};
use crate::blind::{BlindSpot, BlindSpots};
use crate::flow::{Ending, EndingKind, Flow};
use crate::http::{Exchange, State};
use crate::phrase;
use crate::tcp::Side;
use crate::tls::Handshake;

/// Whether the verdict rests on what other flows tell, so that it should wait for them: the client
/// closed first while a request was outstanding, the server closed in the moment that it came or
/// instead of a first answer, no TLS version is in common, nobody answered a SYN, or somebody refused it in the
/// name of a host of which little is known by now.
pub fn needs_wider(case: &Case<'_>) -> bool {
    match case.exchange {
        Some(_) if case.failed().is_none() => false,
        Some(exchange) => case.close().is_some_and(|close| {
            // Whether this port speaks HTTP in this form at all, others tell.
            let first = exchange.ordinal == 1 && case.response().is_none();
            let strange =
                first && !case.wider.speaks(case.flow.server, Language::in_clear(case.flow));
            close.side == Side::Client || case.closes_on_arrival(close) || strange
        }),
        None => {
            let mute = case.flow.half(Side::Server).sent == 0 && case.flow.tls.is_some();
            let versions = case.handshaking().is_some_and(Handshake::has_no_version_in_common);
            let closed = mute && case.closed_by_server().is_some();
            let unknown = || case.wider.answers_in(case.flow.server).is_none();
            let refused = case.refusal().is_some() && unknown();
            case.flow.half(Side::Server).packets == 0 || closed || versions || refused
        }
    }
}

/// The finding that a case amounts to, if it is one.
pub fn judge(case: &Case<'_>) -> Option<Finding> {
    let (mut cause, mut verdict) =
        ALL.iter().find_map(|cause| (cause.detect)(case).map(|verdict| (*cause, verdict)))?;
    let blind_spots = blind_spots(case);
    let mut confidence = weigh(&verdict, blind_spots, case);
    if confidence.is_none() {
        // Of a connection without a request it leaves no finding at all.
        (cause, verdict) = (&inconclusive::CAUSE, (inconclusive::CAUSE.detect)(case)?);
        confidence = Some(verdict.confidence);
    }
    if cause.id != injected_reset::CAUSE.id && doubtful(case.flow, &verdict) {
        let guilty = verdict.evidence.first_mut()?;
        guilty.note = phrase!(
            "{note}; without the timestamp that its sender's other segments have, so perhaps of somebody else",
            note = guilty.note.clone()
        );
        let in_its_name =
            guilty.side == Side::Server && cause.responsible == Responsible::TargetApp;
        if in_its_name {
            verdict.summary = phrase!(
                "{told}; or a device on the way did in its name, as this RST lacks the timestamp of the target's other segments",
                told = verdict.summary
            );
        }
        confidence = confidence.map(|known| match known {
            Confidence::Certain if !in_its_name => Confidence::Likely,
            _ => Confidence::Possible,
        });
    }
    if let Some(proxy) = asked_proxy(case, cause) {
        confidence = confidence.map(|known| known.min(Confidence::Likely));
        verdict.responsible.get_or_insert(Responsible::Unknown);
        verdict.summary = phrase!(
            "{told}; {proxy} was asked, and what it asked in its turn may have failed",
            told = verdict.summary,
            proxy
        );
    }
    finding(case, cause, Verdict { confidence: confidence?, ..verdict }, blind_spots)
}

/// The request of a case that its capture leaves open, for who knows more of it: a log.
pub fn undecided(case: &Case<'_>) -> Option<Finding> {
    let asked = phrase!("the request, of which the capture does not show what came");
    let verdict = Verdict {
        confidence: Confidence::Possible,
        evidence: vec![case.asked(asked)?],
        summary: phrase!(
            "the capture does not show what came of the {asked}",
            asked = case.what_was_asked()
        ),
        responsible: None,
    };
    finding(case, &inconclusive::CAUSE, verdict, blind_spots(case))
}

fn finding(
    case: &Case<'_>,
    cause: &'static Cause,
    verdict: Verdict,
    blind_spots: BlindSpots,
) -> Option<Finding> {
    let (flow, guilty) = (case.flow, verdict.evidence.first()?);
    // Silence lasts until somebody ends it.
    let ended = match guilty.what {
        What::Silence => case.close().map_or(flow.last, |close| close.mark),
        _ => guilty.mark,
    };
    Some(Finding {
        cause,
        kind: if case.exchange.is_some() { Kind::Request } else { Kind::Connection },
        flow: flow.id,
        stream: flow.stream,
        client: flow.client,
        server: flow.server,
        responsible: verdict.responsible.unwrap_or(cause.responsible),
        confidence: verdict.confidence,
        vantage: case.vantage(),
        exchange: case.exchange.map(|exchange| Box::new(exchange.clone())),
        outstanding: case.request().map(|_| case.since_request(ended)),
        idle_before: case.exchange.and_then(|exchange| exchange.idle_before),
        blind_spots,
        summary: verdict.summary,
        packets: verdict.evidence.iter().map(|evidence| packet(flow, evidence)).collect(),
        evidence: verdict.evidence,
        host: None,
        joined: None,
    })
}

/// What could hide another truth: of the connection, of the exchange, of the capture as a whole.
fn blind_spots(case: &Case<'_>) -> BlindSpots {
    let mut blind_spots = case.flow.blind_spots;
    if let Some(exchange) = case.exchange {
        blind_spots = blind_spots.with(exchange.blind_spots);
    }
    // What argues from an absence needs a capture that misses nothing.
    if case.response().is_none() && case.wider.lossy() {
        blind_spots.add(BlindSpot::Gap);
    }
    blind_spots
}

/// Whether the guilty packet is a RST that ends a connection and lacks the timestamp that the other segments of
/// its sender carry: a TCP that uses them puts one into such a RST, too (RFC 7323, 3.2, recommends it; those that
/// descend from BSD do not always), and who forges one often does not.
fn doubtful(flow: &Flow, verdict: &Verdict) -> bool {
    let is_it = |ending: &Ending, guilty: &Evidence| {
        ending.mark == guilty.mark && ending.side == guilty.side && ending.kind == EndingKind::Rst
    };
    verdict.evidence.first().is_some_and(|guilty| {
        flow.endings.iter().any(|it| is_it(it, guilty) && it.ack_flag && it.unstamped)
    })
}

/// What the flow remembers of a packet.
fn packet(flow: &Flow, evidence: &Evidence) -> PacketFacts {
    let is_ending = |ending: &&Ending| ending.mark == evidence.mark && ending.side == evidence.side;
    match evidence.what {
        What::Fin | What::Rst => {
            let ending = flow.endings.iter().find(is_ending);
            PacketFacts {
                ack: ending.map(|ending| ending.ack_flag),
                payload: ending.map(|ending| ending.payload),
            }
        }
        What::Retransmission => {
            let last = flow.half(evidence.side).trouble().retransmission;
            let last = last.filter(|last| last.mark == evidence.mark);
            PacketFacts { ack: None, payload: last.map(|last| last.len) }
        }
        _ => PacketFacts::default(),
    }
}

/// What blind spots leave of a rule's confidence; `None` when it was the least one before.
///
/// A missing handshake hides nothing about an exchange that others on the same connection
/// preceded, and a complete exchange stands for itself. One direction alone leaves little.
fn weigh(verdict: &Verdict, spots: BlindSpots, case: &Case<'_>) -> Option<Confidence> {
    let confidence = verdict.confidence;
    let absence = verdict
        .evidence
        .first()
        .is_some_and(|guilty| matches!(guilty.what, What::Silence | What::Retransmission));
    let complete = case.exchange.is_some_and(|exchange| {
        exchange.state == State::Answered && !exchange.blind_spots.has(BlindSpot::Gap)
    });
    // The rule rests on the status line, which is there.
    let known = |exchange: &Exchange| matches!(exchange.state, State::Unknown | State::Answered);
    let status_read = case.exchange.is_some_and(known)
        && verdict.evidence.first().is_some_and(|guilty| guilty.what == What::Response);
    let seasoned = !absence && case.exchange.is_some_and(|exchange| exchange.ordinal > 1);
    let lowered = spots.iter().any(|spot| match spot {
        BlindSpot::NoHandshake | BlindSpot::CaptureStart => !complete && !seasoned,
        BlindSpot::Snaplen if status_read => false,
        BlindSpot::Snaplen | BlindSpot::Gap | BlindSpot::KernelDrops => !complete,
        // What rules say of bytes that cannot be read allows for that.
        BlindSpot::Encrypted => false,
        // It hides what was to come: not what had come before another request on the same connection.
        BlindSpot::CaptureEnd => !complete && !status_read,
        BlindSpot::OneDirection | BlindSpot::Evicted => true,
    });
    let encrypted = spots.has(BlindSpot::Encrypted);
    let confidence = if encrypted { confidence.min(Confidence::Likely) } else { confidence };
    match confidence {
        _ if !lowered => Some(confidence),
        Confidence::Possible => None,
        _ if spots.has(BlindSpot::OneDirection) => Some(Confidence::Possible),
        _ => Some(Confidence::Likely),
    }
}
