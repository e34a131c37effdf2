//! From the facts of one check to its outcome.
//!
//! What the prober's own log would say, from packets: the prober's reaction decides wherever it
//! shows. What a blind spot may hide is no outcome.

use super::outcome::Outcome;
use super::settings::{Origin, Protocol, Settings};
use super::vendor::SECOND;
use crate::blind::{BlindSpot, BlindSpots};
use crate::cause::{Confidence, What};
use crate::flow::{Ending, EndingKind};
use crate::probe::{Prober, Shape, Sighting};
use crate::report::words;
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use crate::words::Phrase;
use crate::{phrase, word};

/// What one check found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// `None`: the capture does not show it.
    pub outcome: Option<Outcome>,
    /// How sure the outcome is.
    pub confidence: Confidence,
    /// The frame that decided it.
    pub decisive: Mark,
    /// What that frame is.
    pub what: What,
    /// What else is to say, a sentence without its full stop; empty when there is nothing.
    pub note: Phrase,
}

/// What is known beside the check itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The settings of its target group as far as they are known.
    pub settings: &'a Settings,
    /// Whose check it is.
    pub prober: Option<&'a Prober>,
    /// Time of the newest packet.
    pub until: Timestamp,
    /// Nanoseconds between its checks, where they are regular: with the next one it has given the
    /// last one up.
    pub period: Option<i64>,
    /// The same prober also sends checks with data to this target.
    pub talks: bool,
    /// Connections to the target's host are captured, and none of its packets.
    pub one_way: bool,
    /// Bytes of the body with which checks have passed so far, where they were nearly always as many.
    pub body: Option<u64>,
}

/// A prober that closes sooner than this after its request closes its sending side only, and still
/// reads the answer (`Connection: close` clients, netcat).
pub(super) const HALF_CLOSE: i64 = SECOND / 5;
/// Share of a time-out within which a close counts as that time-out.
const NEAR: f64 = 0.1;
/// A peer is given this long to answer before its silence at the end of a capture says anything,
/// when no time-out is known.
pub(super) const PATIENCE: i64 = 3 * SECOND;
/// A first packet is repeated after 1 s (RFC 6298, 2.1): what comes later than this was lost before.
const LATE: i64 = SECOND * 9 / 10;
impl Context<'_> {
    /// The outcome of `check`.
    pub fn judge(&self, check: &Sighting) -> Judged {
        let mut judged = self.decide(check);
        let hidden = [
            BlindSpot::Gap,
            BlindSpot::OneDirection,
            BlindSpot::Snaplen,
            BlindSpot::Evicted,
            BlindSpot::KernelDrops,
        ];
        if hidden.into_iter().any(|spot| check.blind_spots.has(spot)) {
            judged.confidence = judged.confidence.min(Confidence::Likely);
        }
        judged
    }

    fn decide(&self, check: &Sighting) -> Judged {
        let marks = &check.marks;
        match check.shape {
            Shape::Refused => self.refused(check),
            Shape::Unanswered => self.unanswered(check),
            _ if check.request.is_some() => self.http(check),
            _ if check.is_tls() => self.tls(check),
            Shape::Unseen => unknown(marks.last, word!("the capture does not show what was asked")),
            Shape::Data if check.proxy.is_some() && check.opening.is_empty() => self.connect(check),
            Shape::Data => self.other_data(check),
            _ => self.connect(check),
        }
    }

    fn refused(&self, check: &Sighting) -> Judged {
        let rst = check.ending(Side::Server).map_or(check.marks.last, |ending| ending.mark);
        let after = rst.at.nanos_since(check.marks.last_syn.unwrap_or(check.marks.first).at);
        sure(Outcome::Refused, rst, phrase!("RST {after} after SYN", after = s(after)))
    }

    fn unanswered(&self, check: &Sighting) -> Judged {
        let last_syn = check.marks.last_syn.unwrap_or(check.marks.first);
        if let Some(icmp) = &check.icmp {
            // Linux ends connect() at once on any such error while it waits for SYN-ACK.
            let note =
                phrase!("an ICMP error of {reporter} answered the SYN", reporter = icmp.reporter);
            return Judged { what: What::Icmp, ..sure(Outcome::Refused, icmp.mark, note) };
        }
        let waited = self.until.nanos_since(check.began());
        if waited < self.patience() {
            return unknown(last_syn, word!("the capture ended before the SYN could be answered"));
        }
        let (confidence, note) = match check.marks.syns {
            // What is not answered is repeated (RFC 6298, 2.1), unless the prober gives up before that.
            0 | 1 if self.one_way => (
                Confidence::Possible,
                phrase!(
                    "one SYN; the target's packets are not in the capture: it may have refused it"
                ),
            ),
            0 | 1 => (Confidence::Certain, phrase!("one SYN, no answer")),
            n if self.one_way => (Confidence::Likely, phrase!("{n} SYN, no answer", n)),
            n => (Confidence::Certain, phrase!("{n} SYN, no answer", n)),
        };
        Judged { confidence, ..sure(Outcome::ConnectTimeout, last_syn, note) }
    }

    /// How long to wait before silence is one.
    pub(super) fn patience(&self) -> i64 {
        let timeout = self.settings.timeout.as_ref().map_or(PATIENCE, |timeout| timeout.value);
        self.period.map_or(timeout, |period| timeout.min(period))
    }

    pub(super) fn speaks(&self) -> Option<Protocol> {
        self.settings.protocol.as_ref().map(|protocol| protocol.value)
    }

    /// A handshake without data.
    fn connect(&self, check: &Sighting) -> Judged {
        let marks = &check.marks;
        let accepted = marks.syn_ack.unwrap_or(marks.first);
        let reset = check.ending(Side::Client).map(|end| end.mark.at.nanos_since(marks.first.at));
        if let (Shape::HalfOpen, Some(after)) = (check.shape, reset)
            && after > self.patience().min(LATE)
        {
            // Nobody half-opens so slowly: the SYN-ACK came to a socket that was closed by then.
            let note = phrase!(
                "the prober answers a SYN-ACK with RST after {after}: it had given up",
                after = s(after)
            );
            return sure(Outcome::ConnectTimeout, marks.last_syn.unwrap_or(accepted), note);
        }
        if check.shape == Shape::Abandoned {
            return self.unacknowledged(check, accepted);
        }
        let given = self.settings.protocol.as_ref().is_some_and(|protocol| {
            protocol.origin == Origin::Given && protocol.value != Protocol::Tcp
        });
        if given || self.talks {
            return sure(Outcome::ProbeNoData, accepted, word!("a connection without data"));
        }
        if let (Some(late), Some(ack)) = (check.given_up_after(), marks.ack)
            && let Some(timeout) = self.given_timeout()
            && near(late, timeout)
        {
            let note = phrase!(
                "accepted, then silent until the prober gave up after {late}",
                late = s(late)
            );
            return Judged { confidence: Confidence::Likely, ..sure(Outcome::Timeout, ack, note) };
        }
        let note = match check.shape {
            Shape::HandshakeReset | Shape::HalfOpen => {
                word!("reset inside the handshake: the program never saw the connection")
            }
            _ => "",
        };
        match self.connect_time_over(check) {
            Some(judged) => judged,
            None => {
                // The answer may not be captured, only what answers it.
                let what = if marks.syn_ack.is_some() { What::SynAck } else { What::Syn };
                Judged { what, ..sure(Outcome::Pass, accepted, note) }
            }
        }
    }

    /// The target accepted, and nothing shows that the prober ever learned of it.
    fn unacknowledged(&self, check: &Sighting, accepted: Mark) -> Judged {
        if self.until.nanos_since(check.began()) < self.patience() {
            return unknown(
                accepted,
                word!("the capture ended before an acknowledgment could come"),
            );
        }
        Judged {
            what: What::SynAck,
            confidence: Confidence::Likely,
            ..sure(
                Outcome::ConnectTimeout,
                accepted,
                word!(
                    "SYN-ACK without an acknowledgment: the way back to the prober may be blocked"
                ),
            )
        }
    }

    /// A SYN-ACK that came after the time-out the user gave.
    fn connect_time_over(&self, check: &Sighting) -> Option<Judged> {
        let (timeout, took) = (self.given_timeout()?, check.connect_time()?);
        if took <= timeout {
            return None;
        }
        let note =
            phrase!("the SYN-ACK came after {took}, later than the time-out", took = s(took));
        let at = check.marks.syn_ack.unwrap_or(check.marks.first);
        Some(Judged { confidence: Confidence::Likely, ..sure(Outcome::ConnectTimeout, at, note) })
    }

    pub(super) fn given_timeout(&self) -> Option<i64> {
        let timeout = self.settings.timeout.as_ref()?;
        (timeout.origin == Origin::Given).then_some(timeout.value)
    }

    /// The prober said something and not a byte came back.
    pub(super) fn no_answer(
        &self,
        check: &Sighting,
        closed: Outcome,
        timed_out: Outcome,
        asked: &'static str,
    ) -> Judged {
        let client = check.ending(Side::Client);
        if check.closed_by == Some(Side::Server)
            && let Some(end) = check.ending(Side::Server)
        {
            let how = if end.kind == EndingKind::Rst { "RST" } else { "FIN" };
            let note = phrase!("{how} instead of an answer to the {asked}", how, asked);
            return Judged { what: closing(end), ..sure(closed, end.mark, note) };
        }
        if let (Some(Side::Client), Some(end)) = (check.closed_by, client) {
            let after = end.mark.at.nanos_since(check.began());
            let asked_at = check.marks.request_last.unwrap_or(check.marks.first);
            // A half close says that no more is asked, not that nobody waits: what the target did
            // then decides.
            if end.kind == EndingKind::Fin
                && end.mark.at.nanos_since(asked_at.at) < HALF_CLOSE
                && !check.gone
                && let Some(server) = check.ending(Side::Server)
            {
                return sure(
                    closed,
                    server.mark,
                    phrase!("closed without an answer to the {asked}", asked),
                );
            }
            return sure(
                timed_out,
                end.mark,
                phrase!("the prober gave up after {after}", after = s(after)),
            );
        }
        let asked_at = check.marks.request_last.unwrap_or(check.marks.last);
        let waited = self.until.nanos_since(asked_at.at);
        if waited < self.patience() || check.blind_spots.has(BlindSpot::OneDirection) {
            return unknown(asked_at, word!("the capture ended before an answer could come"));
        }
        let note = phrase!(
            "no answer to the {asked} for {waited} until the capture ended",
            asked,
            waited = s(waited)
        );
        Judged { confidence: Confidence::Likely, ..sure(timed_out, asked_at, note) }
    }
}

pub(super) fn sure(outcome: Outcome, decisive: Mark, note: impl Into<Phrase>) -> Judged {
    Judged {
        outcome: Some(outcome),
        confidence: Confidence::Certain,
        decisive,
        what: match outcome {
            Outcome::Pass | Outcome::StatusMismatch | Outcome::GrpcMismatch => What::Response,
            Outcome::BodyMismatch | Outcome::Malformed => What::Response,
            Outcome::Refused => What::Rst,
            Outcome::ProbeNoData => What::SynAck,
            Outcome::TlsFailed => What::TlsAlert,
            Outcome::Closed => What::Fin,
            Outcome::ConnectTimeout | Outcome::TlsTimeout | Outcome::Timeout => What::Silence,
        },
        note: note.into(),
    }
}

/// What ended a connection.
pub(super) fn closing(end: &Ending) -> What {
    match end.kind {
        EndingKind::Fin => What::Fin,
        EndingKind::Rst => What::Rst,
    }
}

pub(super) fn unknown(decisive: Mark, note: impl Into<Phrase>) -> Judged {
    let (confidence, what) = (Confidence::Possible, What::Silence);
    Judged { outcome: None, confidence, decisive, what, note: note.into() }
}

pub(super) fn near(nanos: i64, timeout: i64) -> bool {
    (nanos - timeout).abs() as f64 <= timeout as f64 * NEAR
}

pub(super) fn s(nanos: i64) -> Phrase {
    words::seconds(nanos as f64 / SECOND as f64)
}

/// Blind spots that say why an outcome is not known.
pub fn hides(spots: BlindSpots) -> Option<&'static str> {
    spots.iter().next().map(BlindSpot::meaning)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::settings::{Defaults, Estimates, RawGroup, Settings};
    use super::super::testing::{MS, attempt, closed, sighting, silent};
    use super::*;
    use crate::http;
    use crate::probe::{ProxyCommand, ProxyHeader};
    use crate::tcp::Side::{Client, Server};

    pub(in crate::health) fn settings(prober: &str, given: &[(&'static str, &str)]) -> Settings {
        let raw = |key: &str| {
            let (_, text) = given.iter().find(|(name, _)| *name == key)?;
            let place = super::super::settings::Place::Flag("--hc");
            Some(super::super::settings::Raw { text: (*text).to_owned(), place })
        };
        let (timeout, matcher, protocol) = (raw("timeout"), raw("matcher"), raw("protocol"));
        let group = RawGroup { timeout, matcher, protocol, ..RawGroup::default() }.check().unwrap();
        Settings::new(Some(&group), prober, &Defaults::default(), &Estimates::default())
    }

    pub(in crate::health) fn context(settings: &Settings, until: Timestamp) -> Context<'_> {
        Context {
            settings,
            prober: None,
            until,
            period: None,
            talks: false,
            one_way: false,
            body: None,
        }
    }

    pub(in crate::health) fn judge_as(check: &Sighting, settings: &Settings) -> Judged {
        let until = Timestamp(1_000 * SECOND);
        context(settings, until).judge(check)
    }

    /// Id and confidence of the outcome, as an Application Load Balancer without known settings.
    pub(in crate::health) fn alb(check: &Sighting) -> (&'static str, &'static str) {
        let judged = judge_as(check, &settings("aws-alb", &[]));
        (judged.outcome.map_or("none", Outcome::id), judged.confidence.id())
    }

    #[test]
    fn connections_that_fail_are_told_apart() {
        assert_eq!(alb(&attempt(1, Shape::Refused)), ("hc-refused", "certain"));
        assert_eq!(alb(&attempt(1, Shape::Unanswered)), ("hc-connect-timeout", "certain"));
        let half = |ms| closed(attempt(1, Shape::HalfOpen), Client, EndingKind::Rst, ms);
        assert_eq!(alb(&half(1_100)).0, "hc-connect-timeout", "the SYN-ACK came too late");
        assert_eq!(alb(&half(2)).0, "hc-pass");
        assert_eq!(alb(&attempt(1, Shape::Abandoned)), ("hc-connect-timeout", "likely"));
        let settings = settings("aws-alb", &[]);
        let until = Timestamp(SECOND + 300 * MS);
        let context = context(&settings, until);
        let judged = context.judge(&attempt(1, Shape::Unanswered));
        assert_eq!(judged.outcome, None, "the capture ends 300 ms after the SYN");
        let given_up = Context { period: Some(200 * MS), ..context };
        let judged = given_up.judge(&attempt(1, Shape::Unanswered));
        assert_eq!(judged.outcome, Some(Outcome::ConnectTimeout), "the next check is due");
    }

    #[test]
    fn where_the_targets_packets_are_not_captured_silence_is_not_certain() {
        let settings = settings("aws-alb", &[]);
        let until = Timestamp(1_000 * SECOND);
        let context = Context { one_way: true, ..context(&settings, until) };
        let mut check = attempt(1, Shape::Unanswered);
        let judged = context.judge(&check);
        assert_eq!(judged.outcome, Some(Outcome::ConnectTimeout));
        assert_eq!(judged.confidence, Confidence::Possible, "a refusal looks the same");
        check.marks.syns = 3;
        assert_eq!(context.judge(&check).confidence, Confidence::Likely);
    }

    #[test]
    fn a_close_by_the_target_and_one_by_the_prober_differ() {
        use EndingKind::{Fin, Rst};
        let check = |side, kind, ms| alb(&asked(closed(silent(1), side, kind, ms)));
        assert_eq!(check(Server, Rst, 20), ("hc-closed", "certain"));
        assert_eq!(check(Server, Fin, 20), ("hc-closed", "certain"));
        assert_eq!(check(Client, Fin, 5_000), ("hc-timeout", "certain"));
        assert_eq!(check(Client, Rst, 5_000), ("hc-timeout", "certain"));
        assert_eq!(alb(&asked(silent(1))), ("hc-timeout", "likely"), "nobody closed");
    }

    /// With a request, as that of an answered check.
    fn asked(mut check: Sighting) -> Sighting {
        check.request = sighting(1, 200).request;
        check
    }

    #[test]
    fn a_connection_without_data_is_a_tcp_check_or_a_test() {
        let fin = closed(attempt(1, Shape::ConnectFin), Client, EndingKind::Fin, 2);
        let tcp = settings("aws-nlb", &[]);
        assert_eq!(judge_as(&fin, &tcp).outcome, Some(Outcome::Pass));
        let http = settings("aws-nlb", &[("protocol", "http")]);
        assert_eq!(judge_as(&fin, &http).outcome, Some(Outcome::ProbeNoData));
        let reset = closed(attempt(1, Shape::HandshakeReset), Client, EndingKind::Rst, 2);
        let judged = judge_as(&reset, &settings("haproxy", &[]));
        assert_eq!(judged.outcome, Some(Outcome::Pass));
        assert!(judged.note.contains("never saw"), "{judged:?}");
        let mut local = closed(attempt(1, Shape::Data), Client, EndingKind::Fin, 2);
        local.proxy = Some(ProxyHeader { version: 2, command: ProxyCommand::Local });
        assert_eq!(judge_as(&local, &tcp).outcome, Some(Outcome::Pass));
    }

    #[test]
    fn blind_spots_lower_the_confidence_or_hide_the_outcome() {
        let mut gap = sighting(1, 503);
        gap.blind_spots.add(BlindSpot::Gap);
        assert_eq!(alb(&gap), ("hc-status-mismatch", "likely"));
        let mut hidden = sighting(1, 503);
        hidden.state = http::State::Unknown;
        assert_eq!(alb(&hidden).0, "none");
        assert_eq!(alb(&attempt(1, Shape::Unseen)).0, "none");
    }
}
