//! The outcome of a check that is made in TLS and cannot be read: from its handshake, and from
//! whether anything came back.

use super::judge::{Context, Judged, s, sure};
use super::outcome::Outcome;
use super::settings::{Origin, Protocol};
use crate::blind::BlindSpot;
use crate::cause::{Attempt, Confidence, Failure, What, in_time};
use crate::http::State;
use crate::probe::Sighting;
use crate::tcp::Side;
use crate::tls::Handshake;
use crate::{phrase, word};

impl Context<'_> {
    /// The outcome of a check that begins with a ClientHello.
    pub(super) fn tls(&self, check: &Sighting) -> Judged {
        let Some(tls) = check.tls.as_deref() else {
            return self.no_answer(
                check,
                Outcome::TlsFailed,
                Outcome::TlsTimeout,
                word!("TLS hello"),
            );
        };
        if let Some(foreign) = &tls.foreign
            && foreign.side == Side::Server
        {
            let note = phrase!(
                "the answer to the TLS hello is no TLS: {sample}",
                sample = &foreign.sample
            );
            let judged = sure(Outcome::TlsFailed, foreign.mark, note);
            return Judged { what: What::Response, ..judged };
        }
        let attempt = attempt(check, tls);
        if let Some(answer) = check.marks.response_first.filter(|_| attempt.said[1].is_some())
            && is_hello_check(tls)
        {
            return sure(
                Outcome::Pass,
                answer,
                word!("any TLS record passes this check, an alert too"),
            );
        }
        // What the prober itself breaks off without a word is how some checks end.
        let own = |failure: &Failure| {
            let first = failure.evidence.first();
            first.is_some_and(|it| it.side == Side::Client && it.what != What::TlsAlert)
        };
        let broken = attempt.broken().filter(|failure| !own(failure));
        if let Some(failure) = broken.or_else(|| attempt.refused()) {
            return found(Outcome::TlsFailed, failure);
        }
        let Some(answer) = check.marks.response_first.filter(|_| attempt.said[1].is_some()) else {
            return self.no_answer(
                check,
                Outcome::TlsFailed,
                Outcome::TlsTimeout,
                word!("TLS hello"),
            );
        };
        if let Some(failure) = attempt.stalled() {
            return found(Outcome::TlsTimeout, failure);
        }
        if let Some(judged) = self.without_answer(check, tls) {
            return Judged { confidence: judged.confidence.min(Confidence::Likely), ..judged };
        }
        if tls.last_turn == Some(State::Cut)
            && let Some(end) = check.ending(Side::Server)
            && check.closed_by == Some(Side::Server)
        {
            let judged =
                sure(Outcome::Closed, end.mark, word!("closed inside an encrypted answer"));
            return Judged { confidence: Confidence::Likely, ..judged };
        }
        self.passed(tls, answer)
    }

    /// The prober asked, and nothing came back, or not before it gave up.
    fn without_answer(&self, check: &Sighting, tls: &Handshake) -> Option<Judged> {
        let what = word!("encrypted request");
        let close = check.closed_by.and_then(|side| check.ending(side));
        let silent = tls.last_turn == Some(State::Unanswered);
        let Some(close) = close.filter(|close| close.side == Side::Client) else {
            return silent.then(|| self.no_answer(check, Outcome::Closed, Outcome::Timeout, what));
        };
        // Its last bytes say that it closes: those before them are what it asked.
        let late = tls.last_data.is_some_and(|last| last > close.mark.at) && tls.turns > 0;
        let after = s(close.mark.at.nanos_since(check.began()));
        let note = match (silent, late) {
            (true, _) => {
                phrase!("no answer to the {what}; the prober gave up after {after}", what, after)
            }
            (false, true) => {
                phrase!("the prober gave up after {after}; an answer came too late", after)
            }
            (false, false) => return None,
        };
        Some(sure(Outcome::Timeout, close.mark, note))
    }

    /// The handshake was made, and what the prober asked was answered.
    fn passed(&self, tls: &Handshake, answer: crate::time::Mark) -> Judged {
        let tested = tls.established.is_some() && tls.data[Side::Client as usize].is_none();
        let given = self.settings.protocol.as_ref().is_some_and(|protocol| {
            let data = matches!(protocol.value, Protocol::Https | Protocol::Grpc);
            data && protocol.origin == Origin::Given
        });
        if tested && given {
            return sure(Outcome::ProbeNoData, answer, word!("a TLS handshake without data"));
        }
        let (confidence, note) = match (self.speaks(), tested) {
            (Some(Protocol::Tls), _) => (Confidence::Likely, ""),
            (_, true) => (Confidence::Possible, word!("a TLS handshake, and no data behind it")),
            (_, false) => {
                (Confidence::Possible, word!("TLS was agreed; the answer inside is encrypted"))
            }
        };
        Judged { confidence, ..sure(Outcome::Pass, answer, note) }
    }
}

/// HAProxy's `option ssl-hello-chk`: an SSLv3 hello from a template, which asks only whether TLS is spoken.
/// What begins like an alert or a handshake passes it (`^15|^16` in its src/tcpcheck.c): servers of today
/// refuse SSLv3, all with an alert.
fn is_hello_check(tls: &Handshake) -> bool {
    const TEMPLATE: &[u8] = b"HAPROXYSSLCHK\nHAPROXYSSLCHK\n";
    tls.client_hello.as_ref().is_some_and(|hello| hello.random.ends_with(TEMPLATE))
}

/// The handshake of a check, as root causes look at it.
fn attempt<'a>(check: &'a Sighting, tls: &'a Handshake) -> Attempt<'a> {
    let marks = &check.marks;
    let hidden = [
        BlindSpot::Gap,
        BlindSpot::OneDirection,
        BlindSpot::Snaplen,
        BlindSpot::Evicted,
        BlindSpot::KernelDrops,
    ];
    let close = check.closed_by.and_then(|side| check.ending(side));
    Attempt {
        tls,
        asked: marks.request_first,
        said: [marks.request_last, in_time(marks.response_first, marks.response_last, close)],
        close,
        round_trip: check.round_trip.unwrap_or(0),
        hidden: hidden.into_iter().any(|spot| check.blind_spots.has(spot)),
        unacked: false,
    }
}

fn found(outcome: Outcome, failure: Failure) -> Judged {
    let Failure { confidence, evidence, summary, .. } = failure;
    let guilty = evidence.first();
    let judged = sure(outcome, guilty.map_or_else(Default::default, |it| it.mark), summary);
    Judged { confidence, what: guilty.map_or(judged.what, |it| it.what), ..judged }
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::{alb, judge_as, settings};
    use super::super::testing::{MS, closed, mark, silent};
    use super::super::vendor::SECOND;
    use super::*;
    use crate::flow::EndingKind;
    use crate::http;
    use crate::tls::{Alert, ClientHello, Foreign, ServerHello};
    use std::sync::Arc;

    /// A hello of TLS 1.2 without an answer.
    fn hello() -> Sighting {
        let mut check = silent(1);
        check.protocol = http::Protocol::Tls;
        with(&mut check, |tls| {
            let versions = vec![0x0303];
            let mark = mark(SECOND + 2 * MS);
            tls.client_hello = Some(Box::new(ClientHello { mark, versions, ..Default::default() }));
        });
        check
    }

    fn with(check: &mut Sighting, change: impl FnOnce(&mut Handshake)) {
        change(Arc::make_mut(check.tls.get_or_insert_default()));
    }

    /// The target sends bytes.
    fn answered(mut check: Sighting, change: impl FnOnce(&mut Handshake)) -> Sighting {
        let at = mark(SECOND + 4 * MS);
        (check.marks.response_first, check.marks.response_last) = (Some(at), Some(at));
        with(&mut check, change);
        check
    }

    fn alert(side: Side, code: u8) -> Alert {
        let said = Some((2, code));
        let mark = mark(SECOND + 4 * MS);
        Alert { mark, side, said, encrypted: false, in_handshake: true, acked: None }
    }

    #[test]
    fn an_alert_fails_the_check_and_says_why() {
        let old = answered(hello(), |tls| tls.alerts.push(alert(Side::Server, 70)));
        let judged = judge_as(&old, &settings("aws-nlb", &[]));
        assert_eq!((judged.outcome, judged.what), (Some(Outcome::TlsFailed), What::TlsAlert));
        for word in ["protocol_version", "TLS 1.2 and lower", "TLS 1.3 only"] {
            assert!(judged.note.contains(word), "{judged:?}");
        }
        let own = answered(hello(), |tls| tls.alerts.push(alert(Side::Client, 48)));
        assert_eq!(alb(&own), ("hc-tls-failed", "certain"), "the prober verifies");
        let plain = answered(hello(), |tls| {
            let sample = "HTTP/1.1 400".to_owned();
            let (mark, side) = (mark(SECOND + 4 * MS), Side::Server);
            tls.foreign = Some(Box::new(Foreign { mark, side, http: true, first: true, sample }));
        });
        assert_eq!(alb(&plain), ("hc-tls-failed", "certain"));
    }

    #[test]
    fn an_alert_passes_the_hello_check_of_haproxy() {
        let mut check = answered(hello(), |tls| {
            tls.alerts.push(alert(Side::Server, 40));
            let hello = tls.client_hello.as_mut().expect("the check says hello");
            hello.random[4..].copy_from_slice(b"HAPROXYSSLCHK\nHAPROXYSSLCHK\n");
        });
        check = closed(check, Side::Client, EndingKind::Rst, 5);
        assert_eq!(alb(&check), ("hc-pass", "certain"));
        (check.marks.response_first, check.marks.response_last) = (None, None);
        with(&mut check, |tls| tls.alerts.clear());
        let hung = closed(check.clone(), Side::Client, EndingKind::Rst, 5_000);
        assert_eq!(alb(&hung), ("hc-tls-timeout", "certain"));
        let broken = closed(check, Side::Server, EndingKind::Rst, 5);
        assert_eq!(alb(&broken), ("hc-tls-failed", "certain"));
    }

    #[test]
    fn silence_and_closes_are_told_apart() {
        let gone = closed(hello(), Side::Client, EndingKind::Fin, 5_000);
        assert_eq!(alb(&gone), ("hc-tls-timeout", "certain"));
        let broken = closed(hello(), Side::Server, EndingKind::Rst, 5);
        assert_eq!(alb(&broken), ("hc-tls-failed", "certain"));
        let half = answered(hello(), |tls| tls.server_hello = Some(ServerHello::default()));
        let stuck = closed(half.clone(), Side::Client, EndingKind::Fin, 5_000);
        assert_eq!(alb(&stuck), ("hc-tls-timeout", "likely"));
        let content = closed(half, Side::Client, EndingKind::Rst, 6);
        assert_eq!(alb(&content), ("hc-pass", "possible"), "all it wanted to know");
    }

    /// A handshake that was completed.
    fn made() -> Sighting {
        answered(hello(), |tls| {
            tls.server_hello = Some(ServerHello { version: 0x0303, ..Default::default() });
            tls.established = Some(mark(SECOND + 6 * MS));
        })
    }

    #[test]
    fn what_follows_the_handshake_is_judged_by_whether_it_was_answered() {
        let asked = |last| {
            let mut check = made();
            with(&mut check, |tls| {
                tls.data = [Some(mark(SECOND + 7 * MS)); 2];
                (tls.turns, tls.last_turn) = (1, Some(last));
            });
            check
        };
        assert_eq!(alb(&asked(State::Answered)), ("hc-pass", "possible"), "the rest is encrypted");
        let crashed = closed(asked(State::Unanswered), Side::Server, EndingKind::Fin, 20);
        assert_eq!(alb(&crashed), ("hc-closed", "likely"));
        let slow = closed(asked(State::Unanswered), Side::Client, EndingKind::Fin, 5_000);
        assert_eq!(alb(&slow), ("hc-timeout", "likely"));
        let mut late = closed(asked(State::Answered), Side::Client, EndingKind::Fin, 5_000);
        with(&mut late, |tls| tls.last_data = Some(mark(SECOND + 5_500 * MS).at));
        assert_eq!(alb(&late), ("hc-timeout", "likely"));
        let torn = closed(asked(State::Cut), Side::Server, EndingKind::Rst, 20);
        assert_eq!(alb(&torn), ("hc-closed", "likely"));
    }

    #[test]
    fn a_handshake_without_data_is_a_test_where_checks_carry_data() {
        let test = closed(made(), Side::Client, EndingKind::Fin, 8);
        assert_eq!(alb(&test), ("hc-pass", "possible"));
        let judge = |protocol| judge_as(&test, &settings("aws-nlb", &[("protocol", protocol)]));
        assert_eq!(judge("https").outcome, Some(Outcome::ProbeNoData));
        assert_eq!(judge("tls").outcome, Some(Outcome::Pass));
    }
}
