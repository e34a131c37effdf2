//! The outcome of a check that asks in HTTP, or in bytes that are not read.

use super::dialogue::{self, Reply};
use super::judge::{Context, HALF_CLOSE, Judged, closing, near, s, sure, unknown};
use super::outcome::Outcome;
use super::settings::{Origin, Protocol};
use crate::blind::BlindSpot;
use crate::cause::Confidence;
use crate::flow::{Ending, EndingKind};
use crate::http;
use crate::probe::{Close, ResponseFacts, Sighting};
use crate::tcp::Side;
use crate::time::Mark;
use crate::words::Phrase;
use crate::{phrase, word};

/// Statuses that probers accept of which nothing is known; most of them do.
const USUAL: (u16, u16) = (200, 399);

impl Context<'_> {
    pub(super) fn http(&self, check: &Sighting) -> Judged {
        let cut = check.state == http::State::Unknown;
        if cut && !is_status_read(check) {
            return unknown(check.marks.last, word!("a blind spot hides the answer"));
        }
        let Some((response, first)) = check.response.as_deref().zip(check.marks.response_first)
        else {
            return self.no_answer(check, Outcome::Closed, Outcome::Timeout, word!("request"));
        };
        if let Some(fault) = &response.fault
            && (fault.kind.refused_by_all() || fault.kind.hides_status())
        {
            let note =
                phrase!("{what}: {sample}", what = fault.kind.what(), sample = &fault.sample);
            return sure(Outcome::Malformed, fault.mark, note);
        }
        if let Some(late) = self.too_late(check, first) {
            return late;
        }
        let Some(status) = response.status else {
            return self.inside_the_head(check, first);
        };
        let matched = self.status(check, response, status, first);
        if matched.outcome == Some(Outcome::Pass) && !response.complete && !cut {
            return self.incomplete(check, first).unwrap_or(matched);
        }
        self.unlike_others(response, matched)
    }

    /// A status that passes, with another body than that of the checks before: a prober that was told what the
    /// body has to say (HAProxy's `http-check expect string`, the `match` of NGINX Plus) may fail it.
    fn unlike_others(&self, response: &ResponseFacts, matched: Judged) -> Judged {
        let Some(usual) = self.body.filter(|usual| *usual != response.body) else { return matched };
        if matched.outcome != Some(Outcome::Pass)
            || !self.prober.is_none_or(|prober| prober.defaults.body)
        {
            return matched;
        }
        let note = phrase!(
            "the body has {bytes} bytes, not {usual} as before: a prober that expects a text in it may fail it",
            bytes = response.body,
            usual
        );
        Judged { confidence: matched.confidence.min(Confidence::Likely), note, ..matched }
    }

    /// An answer that came after the prober had given up, or after the time-out that the user gave.
    fn too_late(&self, check: &Sighting, first: Mark) -> Option<Judged> {
        let asked = check.marks.request_first?;
        let latency = first.at.nanos_since(asked.at);
        let gone = check.ending(Side::Client).filter(|end| {
            let waited = end.mark.at.nanos_since(asked.at);
            let half = end.kind == EndingKind::Fin && waited < HALF_CLOSE && !check.gone;
            end.mark.at < first.at && check.closed_by == Some(Side::Client) && !half
        });
        if let Some(end) = gone.or_else(|| check.crossed_by()) {
            let gave_up = end.mark.at.nanos_since(check.began());
            let note = phrase!(
                "the prober gave up after {gave_up}; the answer came {latency} after the request, too late",
                gave_up = s(gave_up),
                latency = s(latency)
            );
            return Some(sure(Outcome::Timeout, end.mark, note));
        }
        let timeout = self.given_timeout()?;
        let whole = first.at.nanos_since(check.began());
        (whole > timeout).then(|| {
            let note = phrase!(
                "the answer came after {whole}, later than the time-out of {timeout}",
                whole = s(whole),
                timeout = s(timeout)
            );
            Judged { confidence: Confidence::Likely, ..sure(Outcome::Timeout, first, note) }
        })
    }

    /// Bytes came, but no status line.
    fn inside_the_head(&self, check: &Sighting, first: Mark) -> Judged {
        match (check.closed_by, check.ending(Side::Server)) {
            (Some(Side::Server), Some(end)) => {
                let note = word!("closed inside the response header");
                Judged { what: closing(end), ..sure(Outcome::Closed, end.mark, note) }
            }
            _ => match check.given_up_after() {
                Some(after) => {
                    let end = check.ending(Side::Client).map_or(first, |end| end.mark);
                    let note = phrase!(
                        "gave up after {after} inside the response header",
                        after = s(after)
                    );
                    sure(Outcome::Timeout, end, note)
                }
                None => unknown(first, word!("the capture ended inside the response header")),
            },
        }
    }

    /// A status that passes, and a body that did not come whole.
    fn incomplete(&self, check: &Sighting, first: Mark) -> Option<Judged> {
        let last = check.marks.response_last.unwrap_or(first);
        let content_with_status =
            self.prober.is_some_and(|prober| prober.defaults.close.contains(&Close::RstMidBody));
        let head_complete = check.response.as_ref().is_some_and(|response| response.head_complete);
        match check.closed_by {
            // No status counts before the header is complete (RFC 9112, 8), whatever the prober is content with.
            Some(Side::Server) if !head_complete => {
                let end = check.ending(Side::Server)?;
                let note = word!("closed inside the response header");
                Some(Judged { what: closing(end), ..sure(Outcome::Closed, end.mark, note) })
            }
            Some(Side::Server) if !content_with_status => {
                let end = check.ending(Side::Server)?;
                let note =
                    word!("closed inside the body; a prober that wants the status only passes it");
                let (confidence, what) = (Confidence::Possible, closing(end));
                Some(Judged { confidence, what, ..sure(Outcome::Closed, end.mark, note) })
            }
            Some(Side::Client) => {
                let end = check.ending(Side::Client)?;
                let (after, idle) = (check.given_up_after()?, end.mark.at.nanos_since(last.at));
                let known = self.settings.timeout.as_ref().map(|timeout| timeout.value);
                let timed = known.is_some_and(|timeout| near(after, timeout));
                if !timed || idle < HALF_CLOSE {
                    return None;
                }
                let note = phrase!(
                    "the body stalled and the prober gave up after {after}",
                    after = s(after)
                );
                let confidence = Confidence::Likely;
                Some(Judged { confidence, ..sure(Outcome::Timeout, end.mark, note) })
            }
            _ => None,
        }
    }

    fn status(
        &self,
        check: &Sighting,
        response: &ResponseFacts,
        status: u16,
        first: Mark,
    ) -> Judged {
        if let (Some(Protocol::Grpc), Some(code), Some(matcher)) =
            (self.speaks(), response.grpc_status, &self.settings.matcher)
        {
            let passes = u16::try_from(code).is_ok_and(|code| matcher.value.accepts(code));
            let outcome = if passes { Outcome::Pass } else { Outcome::GrpcMismatch };
            return sure(outcome, first, phrase!("grpc-status {code}", code));
        }
        let (passes, sure_of_it) = match &self.settings.matcher {
            Some(matcher) if matcher.origin == Origin::Given => {
                (matcher.value.accepts(status), true)
            }
            Some(matcher) => {
                let passes = matcher.value.accepts(status);
                let range = self.settings.vendor.map(|vendor| vendor.matcher_range);
                let settable = range.is_none_or(|(low, high)| (low..=high).contains(&status));
                (passes, (passes && status == 200) || (!passes && !settable))
            }
            None => ((USUAL.0..=USUAL.1).contains(&status), status == 200),
        };
        let confidence = if sure_of_it { Confidence::Certain } else { Confidence::Likely };
        if passes {
            return Judged { confidence, ..sure(Outcome::Pass, first, "") };
        }
        let expected = match &self.settings.matcher {
            Some(matcher) => {
                let whose = match matcher.origin {
                    Origin::Given => word!("the matcher"),
                    _ => word!("the default matcher"),
                };
                phrase!("{whose} is {value}", whose, value = matcher.value.to_string())
            }
            None => phrase!("most probers accept {low}-{high}", low = USUAL.0, high = USUAL.1),
        };
        let place = match (&response.texts.location, &check.request) {
            (Some(to), _) if (300..400).contains(&status) => phrase!(", redirects to {to}", to),
            _ => Phrase::default(),
        };
        let note = phrase!("status {status}{place}; {expected}", status, place, expected);
        Judged { confidence, ..sure(Outcome::StatusMismatch, first, note) }
    }

    /// The close of a prober that did not close with the answer, as it does when that says what it expects
    /// (HAProxy's `tcp-check expect`: its manual, and `tcpcheck_eval_expect` in src/tcpcheck.c).
    fn waited_for_more<'c>(&self, check: &'c Sighting) -> Option<&'c Ending> {
        let end = check.ending(Side::Client).filter(|_| check.closed_by == Some(Side::Client))?;
        let last = check.marks.response_last?;
        let tcp =
            self.prober.is_some_and(|prober| prober.defaults.tcp) && !check.opening.is_empty();
        (tcp && end.mark.at.nanos_since(last.at) >= HALF_CLOSE).then_some(end)
    }

    /// Bytes of another protocol: HTTP/2, or a dialogue of which no more is read than how it begins.
    pub(super) fn other_data(&self, check: &Sighting) -> Judged {
        let asked = if check.protocol == http::Protocol::Http2 { "HTTP/2" } else { word!("bytes") };
        let Some(answer) = check.marks.response_first else {
            return self.no_answer(check, Outcome::Closed, Outcome::Timeout, asked);
        };
        let reply = dialogue::read(&check.opening, &check.answer);
        if let Some(Reply::Refusal(note)) = reply {
            // What others than those who speak the protocol to check it expect, nobody knows.
            let confidence = match self.prober {
                Some(prober) if prober.defaults.tcp => Confidence::Likely,
                _ => Confidence::Possible,
            };
            return Judged { confidence, ..sure(Outcome::StatusMismatch, answer, note) };
        }
        if let Some(end) = self.waited_for_more(check) {
            let after = end.mark.at.nanos_since(check.began());
            let note = phrase!(
                "answered, but the prober waited for more and gave up after {after}",
                after = s(after)
            );
            let confidence = Confidence::Likely;
            return Judged { confidence, ..sure(Outcome::Timeout, end.mark, note) };
        }
        let (confidence, note) = match reply {
            Some(_) => (Confidence::Likely, ""),
            None => (Confidence::Possible, word!("answered; what the answer says is not read")),
        };
        Judged { confidence, ..sure(Outcome::Pass, answer, note) }
    }
}

/// The snap length cut the answer behind its status line, which says enough; a gap may hide whose it is.
fn is_status_read(check: &Sighting) -> bool {
    let status = check.response.as_ref().and_then(|response| response.status);
    let spots = check.blind_spots;
    status.is_some() && spots.has(BlindSpot::Snaplen) && !spots.has(BlindSpot::Gap)
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::{alb, context, judge_as, settings};
    use super::super::testing::{MS, closed, mark, sighting, silent};
    use super::super::vendor::SECOND;
    use super::*;
    use crate::http::{Fault, FaultKind};
    use crate::tcp::Side::{Client, Server};
    use std::sync::Arc;

    #[test]
    fn a_status_line_tells_where_the_rest_was_not_captured() {
        let cut = |status, spot| {
            let mut check = sighting(1, status);
            check.state = http::State::Unknown;
            check.response.as_mut().unwrap().complete = false;
            check.blind_spots.add(spot);
            closed(check, Server, EndingKind::Fin, 14)
        };
        assert_eq!(alb(&cut(200, BlindSpot::Snaplen)), ("hc-pass", "likely"));
        assert_eq!(alb(&cut(503, BlindSpot::Snaplen)), ("hc-status-mismatch", "likely"));
        let gap = judge_as(&cut(200, BlindSpot::Gap), &settings("aws-alb", &[]));
        assert_eq!(gap.outcome, None, "it may answer another request");
    }

    #[test]
    fn an_answer_passes_or_not_by_the_matcher() {
        assert_eq!(alb(&sighting(1, 200)), ("hc-pass", "certain"));
        assert_eq!(alb(&sighting(1, 404)), ("hc-status-mismatch", "likely"), "may be set to pass");
        assert_eq!(alb(&sighting(1, 503)), ("hc-status-mismatch", "certain"), "may not");
        let given = settings("aws-alb", &[("matcher", "200,404")]);
        let judged = judge_as(&sighting(1, 404), &given);
        assert_eq!((judged.outcome, judged.confidence), (Some(Outcome::Pass), Confidence::Certain));
        let judged = judge_as(&sighting(1, 302), &settings("", &[]));
        assert_eq!((judged.outcome, judged.confidence), (Some(Outcome::Pass), Confidence::Likely));
        let mut redirect = sighting(1, 302);
        let texts = &mut redirect.response.as_mut().unwrap().texts;
        Arc::make_mut(texts).location = Some("/login".into());
        let judged = judge_as(&redirect, &settings("aws-alb", &[]));
        assert_eq!(judged.note, "status 302, redirects to /login; the default matcher is 200");
    }

    #[test]
    fn another_body_than_usual_may_fail_where_the_prober_can_match_it() {
        let catalogue = crate::probe::Catalogue::load([]).unwrap();
        let settings = settings("", &[]);
        let until = crate::time::Timestamp(1_000 * SECOND);
        let judge = |prober: &str, body| {
            let check = sighting(1, 200);
            let usual = check.response.as_ref().unwrap().body;
            let prober = catalogue.prober(prober).map(|prober| &**prober);
            let body = Some(usual + body);
            let judged = Context { prober, body, ..context(&settings, until) }.judge(&check);
            (judged.outcome, judged.confidence)
        };
        assert_eq!(judge("haproxy", 0), (Some(Outcome::Pass), Confidence::Certain));
        assert_eq!(judge("haproxy", 9), (Some(Outcome::Pass), Confidence::Likely));
        assert_eq!(judge("nobody", 9), (Some(Outcome::Pass), Confidence::Likely));
        assert_eq!(judge("aws-alb", 9), (Some(Outcome::Pass), Confidence::Certain));
    }

    #[test]
    fn a_prober_that_waits_on_expected_another_answer() {
        let catalogue = crate::probe::Catalogue::load([]).unwrap();
        let settings = settings("haproxy", &[]);
        let until = crate::time::Timestamp(1_000 * SECOND);
        let prober = catalogue.prober("haproxy").map(|prober| &**prober);
        let judge = |ms| {
            let mut check = silent(1);
            check.ordinal = 0;
            check.opening = b"PING\r\n".as_slice().into();
            check.marks.response_first = Some(mark(SECOND + 3 * MS));
            check.marks.response_last = check.marks.response_first;
            let check = closed(check, Client, EndingKind::Rst, ms);
            let judged = Context { prober, ..context(&settings, until) }.judge(&check);
            (judged.outcome, judged.confidence)
        };
        assert_eq!(judge(4), (Some(Outcome::Pass), Confidence::Possible));
        assert_eq!(judge(1_003), (Some(Outcome::Timeout), Confidence::Likely));
    }

    #[test]
    fn a_refusal_in_the_words_of_a_database_is_no_pass() {
        let catalogue = crate::probe::Catalogue::load([]).unwrap();
        let settings = settings("haproxy", &[]);
        let until = crate::time::Timestamp(1_000 * SECOND);
        let judge = |answer: &[u8], prober| {
            let mut check = silent(1);
            check.ordinal = 0;
            check.opening = b"\0\0\0\x12\0\x03\0\0user\0hap\0\0".as_slice().into();
            check.answer = answer.into();
            check.marks.response_first = Some(mark(SECOND + 3 * MS));
            check.marks.response_last = check.marks.response_first;
            let check = closed(check, Client, EndingKind::Rst, 4);
            let prober = catalogue.prober(prober).map(|prober| &**prober);
            let judged = Context { prober, ..context(&settings, until) }.judge(&check);
            (judged.outcome, judged.confidence)
        };
        assert_eq!(judge(b"R\0\0\0\x0c", "haproxy"), (Some(Outcome::Pass), Confidence::Likely));
        let refused = Some(Outcome::StatusMismatch);
        assert_eq!(judge(b"E\0\0\0\x20SFATAL", "haproxy"), (refused, Confidence::Likely));
        assert_eq!(judge(b"E\0\0\0\x20SFATAL", "nobody"), (refused, Confidence::Possible));
    }

    #[test]
    fn an_answer_after_the_prober_gave_up_is_too_late() {
        let mut late = closed(sighting(1, 200), Client, EndingKind::Fin, 1_000);
        late.marks.response_first = Some(mark(SECOND + 1_500 * MS));
        let judged = judge_as(&late, &settings("aws-alb", &[]));
        assert_eq!(judged.outcome, Some(Outcome::Timeout));
        assert!(judged.note.contains("gave up after 1.00 s; the answer came 1.50 s"), "{judged:?}");
        let half = closed(sighting(1, 200), Client, EndingKind::Fin, 3);
        assert_eq!(alb(&half), ("hc-pass", "certain"), "it only says that it asks no more");
        let gone = Sighting { gone: true, ..half };
        assert_eq!(alb(&gone), ("hc-timeout", "certain"), "no socket was left to read the answer");
        // Seen at the target: the answer had left when the close arrived, which does not acknowledge it.
        let crossing = |kind, acked, gone| {
            let mut check = closed(sighting(1, 200), Client, kind, 25);
            check.endings[0].as_mut().unwrap().acked = acked;
            alb(&Sighting { gone, ..check })
        };
        assert_eq!(crossing(EndingKind::Fin, Some(0), true), ("hc-timeout", "certain"));
        assert_eq!(crossing(EndingKind::Rst, Some(0), false), ("hc-timeout", "certain"));
        assert_eq!(
            crossing(EndingKind::Fin, Some(0), false),
            ("hc-pass", "certain"),
            "it reads on"
        );
        assert_eq!(crossing(EndingKind::Fin, Some(62), true), ("hc-pass", "certain"));
        assert_eq!(crossing(EndingKind::Rst, None, false), ("hc-pass", "certain"));
        let slow = settings("aws-alb", &[("timeout", "5ms")]);
        assert_eq!(judge_as(&sighting(1, 200), &slow).outcome, Some(Outcome::Timeout));
    }

    #[test]
    fn a_prober_that_resets_after_the_status_line_is_content() {
        let mut cut = closed(sighting(1, 200), Client, EndingKind::Rst, 14);
        cut.response.as_mut().unwrap().complete = false;
        assert_eq!(alb(&cut), ("hc-pass", "certain"));
        let mut crashed = closed(sighting(1, 200), Server, EndingKind::Rst, 14);
        crashed.response.as_mut().unwrap().complete = false;
        assert_eq!(alb(&crashed), ("hc-closed", "possible"));
        crashed.response.as_mut().unwrap().head_complete = false;
        assert_eq!(alb(&crashed), ("hc-closed", "certain"), "the header is no answer yet");
        let mut stalled = closed(sighting(1, 200), Client, EndingKind::Fin, 5_000);
        stalled.response.as_mut().unwrap().complete = false;
        assert_eq!(alb(&stalled), ("hc-timeout", "likely"), "at the default time-out of 5 s");
    }

    #[test]
    fn bytes_that_are_no_http_are_malformed() {
        let mut wrong = sighting(1, 200);
        let response = wrong.response.as_mut().unwrap();
        response.status = None;
        response.fault = Some(Fault {
            mark: mark(SECOND + 12 * MS),
            offset: 0,
            kind: FaultKind::NotHttp,
            sample: "SSH-2.0".into(),
        });
        assert_eq!(alb(&wrong), ("hc-malformed", "certain"));
    }
}
