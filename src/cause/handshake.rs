//! How a TLS handshake came to nothing: by an alert, by a close, by silence.
//!
//! Root causes and the outcomes of health checks are told from the same facts here.

use super::case::span;
use super::handshake_words::{chosen, ending, kind, name, offered};
use super::{Case, Confidence, Evidence, Responsible, Verdict, What};
use crate::blind::BlindSpot;
use crate::flow::Ending;
use crate::tcp::Side;
use crate::time::Mark;
use crate::tls::{Alert, Handshake};
use crate::words::Phrase;
use crate::{phrase, word};

/// Shortest time-out that anybody configures for a handshake, nanoseconds: a close sooner than this
/// is a reaction to what came, a later one follows a wait.
const SHORTEST: i64 = 900_000_000;
/// Time in which a server that lives answers a hello, beside a round trip, nanoseconds: who closes
/// later than this without an answer has waited for it.
const REACTION: i64 = 100_000_000;
/// A server that lives answers a hello sooner than this, nanoseconds: verifying, signing and a
/// loaded machine included.
const SURELY_STUCK: i64 = 5_000_000_000;

/// A handshake, and what its connection did around it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What it shows.
    pub tls: &'a Handshake,
    /// First payload of the client: where its hello begins.
    pub asked: Option<Mark>,
    /// Last payload of `[client, server]`, see [`in_time`].
    pub said: [Option<Mark>; 2],
    /// First FIN or RST of either side.
    pub close: Option<&'a Ending>,
    /// Round-trip time, nanoseconds; 0 when it is not known.
    pub round_trip: i64,
    /// Bytes are missing, so that an absence proves nothing.
    pub hidden: bool,
    /// Something that was sent was not acknowledged: the path may have lost it.
    pub unacked: bool,
}

/// What became of a handshake that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How sure it is.
    pub confidence: Confidence,
    /// The guilty packet first; never empty.
    pub evidence: Vec<Evidence>,
    /// One sentence.
    pub summary: Phrase,
    /// Who has to act.
    pub responsible: Responsible,
}

/// The last payload of the server that came before its client had closed, as far as the first and
/// the last one tell.
pub fn in_time(first: Option<Mark>, last: Option<Mark>, close: Option<&Ending>) -> Option<Mark> {
    let gone = close.filter(|close| close.side == Side::Client).map(|close| close.mark.at);
    let timely = |mark: &Mark| gone.is_none_or(|gone| mark.at <= gone);
    last.filter(timely).or(first.filter(timely))
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Verdict {
        Verdict {
            confidence: failure.confidence,
            evidence: failure.evidence,
            summary: failure.summary,
            responsible: Some(failure.responsible),
        }
    }
}

impl<'a> Attempt<'a> {
    /// The handshake of a flow that carries TLS.
    pub(super) fn of(case: &Case<'a>) -> Option<Attempt<'a>> {
        let flow = case.flow;
        let [client, server] = &flow.halves;
        let hides = |spot| match spot {
            BlindSpot::Snaplen => server.sent > 0,
            BlindSpot::Gap
            | BlindSpot::OneDirection
            | BlindSpot::Evicted
            | BlindSpot::KernelDrops => true,
            _ => false,
        };
        let close = case.close();
        let answer = in_time(flow.opening.answered, server.last_data, close);
        let whole = answer == server.last_data;
        Some(Attempt {
            tls: flow.tls.as_deref()?,
            asked: flow.opening.asked,
            said: [client.last_data, answer],
            close,
            round_trip: case.round_trip(),
            hidden: flow.blind_spots.iter().any(hides),
            unacked: client.acked < client.sent
                || (whole && server.acked < server.sent)
                || close.is_some_and(|close| case.lost_before(close).is_some()),
        })
    }

    /// The handshake was broken off: by an alert, a FIN or a RST.
    pub fn broken(&self) -> Option<Failure> {
        if self.tls.established.is_some() {
            return None;
        }
        // It says so in clear, whatever else is missing.
        let told = |alert: &&Alert| alert.is_fatal() && alert.in_handshake && self.is_timely(alert);
        if let Some(alert) = self.tls.alerts.iter().find(told) {
            return Some(self.by_alert(alert));
        }
        if self.is_unsure() {
            return None;
        }
        let secret = |alert: &&Alert| alert.said.is_none() && self.is_timely(alert);
        let secret = self.tls.alerts.iter().find(secret);
        secret.map(|alert| self.by_secret_alert(alert)).or_else(|| self.by_close(self.close?))
    }

    /// The handshake stopped, and somebody gave up waiting.
    pub fn stalled(&self) -> Option<Failure> {
        let close = self.close?;
        let asked = self.asked?;
        let told =
            |alert: &Alert| (alert.is_fatal() || alert.said.is_none()) && self.is_timely(alert);
        let over = self.tls.established.is_some() || self.tls.alerts.iter().any(told);
        if over || self.is_unsure() || self.unacked {
            return None;
        }
        let last = self.last()?;
        let silence = close.mark.at.nanos_since(last.at);
        let by_server = close.side == Side::Server;
        let waited = if self.said[1].is_none() { self.round_trip + REACTION } else { SHORTEST };
        if silence < waited || (by_server && self.said[1].is_none()) {
            return None;
        }
        let (side, stopped, responsible) = self.waits_for(by_server);
        let note = match self.said[1] {
            None => word!("no byte of an answer to the ClientHello"),
            Some(_) => word!("no further byte of the handshake"),
        };
        let who = name(close.side);
        let gave_up = close.mark.at.nanos_since(asked.at);
        let mut evidence = vec![
            Evidence {
                mark: last,
                side,
                what: What::Silence,
                note: phrase!("{note} for {silence}", note, silence = span(silence)),
            },
            ending(
                close,
                phrase!(
                    "{who} gives up {gave_up} after the ClientHello",
                    who,
                    gave_up = span(gave_up)
                ),
            ),
        ];
        evidence.extend(self.hellos());
        Some(Failure {
            confidence: if silence >= SURELY_STUCK || is_whole_second(gave_up) {
                Confidence::Likely
            } else {
                Confidence::Possible
            },
            evidence,
            summary: phrase!(
                "{stopped}; {who} gave up after {gave_up}",
                stopped,
                who,
                gave_up = span(gave_up)
            ),
            responsible,
        })
    }

    /// The server closed when it had not received all of the client's last flight, behind which the
    /// request begins at `start`: in TLS 1.3 the client sends both at once.
    pub fn crossed(&self, start: u64) -> Option<Failure> {
        let close = self.close.filter(|close| close.side == Side::Server)?;
        let open = close.acked.is_some_and(|acked| acked < start);
        if !open || self.hidden || self.tls.midway || !self.tls.is_13() {
            return None;
        }
        let how = kind(close);
        let note = phrase!("its ACK number does not cover the load balancer's Finished");
        let mut evidence = vec![ending(close, note)];
        evidence.extend(self.hellos());
        Some(Failure {
            confidence: Confidence::Certain,
            evidence,
            summary: phrase!(
                "the target sent {how} in the middle of the handshake, {progress}; the load balancer's \
                 Finished and request crossed it",
                how,
                progress = self.progress()
            ),
            responsible: Responsible::TargetApp,
        })
    }

    /// It came before the other side had closed.
    fn is_timely(&self, alert: &Alert) -> bool {
        let close = self.close.filter(|close| close.side != alert.side);
        close.is_none_or(|close| alert.mark.at <= close.mark.at)
    }

    /// What the handshake came to cannot be told.
    fn is_unsure(&self) -> bool {
        let tls = self.tls;
        // A TLS 1.3 client sends its last flight at once: it has accepted what the server sent.
        let last_flight = tls.is_13() && tls.client_certificate.is_some();
        self.hidden || tls.midway || tls.unread || tls.foreign.is_some() || last_flight
    }

    /// The latest byte of the handshake.
    pub(super) fn last(&self) -> Option<Mark> {
        self.said.into_iter().flatten().max_by_key(|mark| (mark.at, mark.frame))
    }

    /// Who kept silent, in words, and who has to act. After the server's flight nothing tells whether
    /// it is complete: then it is the one who did not give up.
    fn waits_for(&self, server_gave_up: bool) -> (Side, Phrase, Responsible) {
        match self.said {
            [_, None] => (
                Side::Server,
                phrase!("the target acknowledged the ClientHello and did not answer it"),
                Responsible::TargetApp,
            ),
            [Some(client), Some(server)] if client.at > server.at => (
                Side::Server,
                phrase!(
                    "the target stopped in the middle of the handshake, {progress}",
                    progress = self.progress()
                ),
                Responsible::TargetApp,
            ),
            _ if server_gave_up => (
                Side::Client,
                phrase!(
                    "the load balancer did not go on with the handshake when the target had answered"
                ),
                Responsible::LoadBalancer,
            ),
            _ => (
                Side::Server,
                phrase!(
                    "the handshake stopped behind the target's bytes, {progress}",
                    progress = self.progress()
                ),
                Responsible::Unknown,
            ),
        }
    }

    /// How far it came.
    fn progress(&self) -> &'static str {
        let tls = self.tls;
        match (&tls.server_hello, tls.finished[0]) {
            (_, Some(_)) if !tls.is_13() => word!("after the load balancer's Finished"),
            (Some(_), _) => word!("after its hello"),
            (None, _) if tls.retry.is_some() => word!("after it had asked for another hello"),
            (None, _) => word!("inside its first flight"),
        }
    }

    fn by_close(&self, close: &Ending) -> Option<Failure> {
        let (asked, last) = (self.asked?, self.last()?);
        let silence = close.mark.at.nanos_since(last.at);
        let after = span(close.mark.at.nanos_since(asked.at));
        let answer = if self.said[1].is_none() { self.round_trip + REACTION } else { SHORTEST };
        let waited = silence >= answer;
        let how = kind(close);
        let (confidence, note, summary, responsible) = match (close.side, self.said[1]) {
            (Side::Server, None) if close.mark.at < asked.at => (
                Confidence::Certain,
                phrase!("before the ClientHello came"),
                phrase!(
                    "the target sent {how} {before} before the ClientHello came",
                    how,
                    before = span(asked.at.nanos_since(close.mark.at))
                ),
                Responsible::TargetApp,
            ),
            (Side::Server, None) => (
                Confidence::Certain,
                phrase!("in answer to the ClientHello"),
                phrase!(
                    "the target sent {how} {after} after the ClientHello, and no byte of TLS",
                    how,
                    after
                ),
                Responsible::TargetApp,
            ),
            (Side::Server, Some(_)) if !self.demanded().is_empty() => (
                Confidence::Likely,
                phrase!("in answer to an empty client certificate"),
                phrase!(
                    "the target demands a client certificate, the load balancer sent none, and the \
                     target sent {how}",
                    how
                ),
                Responsible::Configuration,
            ),
            (Side::Server, Some(_)) if !waited => (
                Confidence::Certain,
                phrase!("before the handshake was over"),
                phrase!(
                    "the target sent {how} in the middle of the handshake, {progress}",
                    how,
                    progress = self.progress()
                ),
                Responsible::TargetApp,
            ),
            (Side::Client, Some(_)) if !waited && self.is_out_of_time() => (
                Confidence::Likely,
                phrase!("in answer to the target's certificate"),
                phrase!(
                    "the load balancer sent {how} when it had the target's certificate{remark}",
                    how,
                    remark = self.remark().unwrap_or_default()
                ),
                Responsible::TargetApp,
            ),
            (Side::Client, said) if !waited => (
                Confidence::Possible,
                phrase!("before the handshake was over"),
                match said {
                    Some(_) => phrase!(
                        "the load balancer sent {how} in the middle of the handshake, when the \
                         target had answered: it does not accept the answer, or its own client left",
                        how
                    ),
                    None => phrase!(
                        "the load balancer sent {how} {after} after its ClientHello, before any \
                         answer: its own client may have left",
                        how,
                        after
                    ),
                },
                Responsible::LoadBalancer,
            ),
            _ => return None,
        };
        let mut evidence = vec![ending(close, note)];
        evidence.extend(self.demanded());
        evidence.extend(self.hellos());
        evidence.extend(self.papers(close.side, 0));
        Some(Failure { confidence, evidence, summary, responsible })
    }

    /// The demand for a client certificate, and the empty answer.
    fn demanded(&self) -> Vec<Evidence> {
        let asked = self.tls.certificate_request;
        let sent = self.tls.client_certificate.filter(|sent| sent.empty);
        let Some((asked, sent)) = asked.zip(sent) else { return Vec::new() };
        let evidence = |mark, side, note| Evidence { mark, side, what: What::TlsHello, note };
        vec![
            evidence(
                sent.mark,
                Side::Client,
                phrase!("a Certificate message without a certificate"),
            ),
            evidence(asked, Side::Server, phrase!("the target asks for a client certificate")),
        ]
    }

    pub(super) fn alert(&self, alert: &Alert, note: Phrase) -> Evidence {
        Evidence { mark: alert.mark, side: alert.side, what: What::TlsAlert, note }
    }

    /// Both hellos as far as they came.
    pub(super) fn hellos(&self) -> Vec<Evidence> {
        let hello = |mark, side, note| Evidence { mark, side, what: What::TlsHello, note };
        let client = match self.tls.client_hello.as_deref() {
            Some(client) => Some(hello(client.mark, Side::Client, offered(client))),
            None => self.asked.map(|mark| hello(mark, Side::Client, phrase!("the ClientHello"))),
        };
        let server = self.tls.server_hello.as_ref();
        let server = server.map(|server| hello(server.mark, Side::Server, chosen(server)));
        client.into_iter().chain(server).collect()
    }
}

/// Time-outs are set in whole seconds.
fn is_whole_second(nanos: i64) -> bool {
    const SECOND: i64 = 1_000_000_000;
    /// How much later a timer fires, and how long after the SYN the hello left.
    const OFF: i64 = SECOND / 20;
    let off = (nanos + SECOND / 2).rem_euclid(SECOND) - SECOND / 2;
    off.abs() <= OFF.max(nanos / 200)
}

#[cfg(test)]
mod tests {
    use crate::blind::BlindSpot;
    use crate::cause::fixture::{HELLO, MS, S, Scene, mark};
    use crate::cause::{Confidence, Responsible, What};
    use crate::flow::EndingKind::{Fin, Rst};
    use crate::tcp::Side::{Client, Server};
    use crate::tls::Alert;

    #[test]
    fn a_close_by_the_target_is_a_failure_and_says_how_far_it_came() {
        for kind in [Fin, Rst] {
            let scene = Scene::hello().close(Server, kind, HELLO + 50 * MS, Some(300));
            let verdict = scene.rule("tls-handshake-failed").expect("it fits");
            assert_eq!(verdict.confidence, Confidence::Certain);
            assert!(verdict.summary.contains("no byte of TLS"), "{}", verdict.summary);
            assert_eq!(verdict.evidence[1].what, What::TlsHello);
        }
        let scene = Scene::hello().server_hello(0x0303);
        let scene = scene.close(Server, Rst, HELLO + 60 * MS, Some(300));
        assert_eq!(scene.cause(), Some("tls-handshake-failed"));
        let verdict = scene.rule("tls-handshake-failed").expect("it fits");
        assert!(verdict.summary.contains("after its hello"), "{}", verdict.summary);
    }

    #[test]
    fn a_close_by_the_load_balancer_is_one_at_once_and_a_time_out_later() {
        let at = |after| Scene::hello().close(Client, Fin, HELLO + after, Some(0));
        let verdict = at(50 * MS).rule("tls-handshake-failed").expect("it fits");
        assert_eq!(verdict.confidence, Confidence::Possible);
        assert_eq!(at(10 * S).cause(), Some("tls-handshake-timeout"));
        let timer = at(10 * S).rule("tls-handshake-timeout").expect("it fits");
        assert_eq!(timer.confidence, Confidence::Likely);
        assert_eq!(timer.evidence[0].what, What::Silence);
        assert_eq!(timer.responsible, Some(Responsible::TargetApp));
        let odd = at(1_430 * MS).rule("tls-handshake-timeout").expect("it fits");
        assert_eq!(odd.confidence, Confidence::Possible, "no timer: its client may have left");
    }

    #[test]
    fn a_handshake_that_stops_half_way_is_a_time_out() {
        let scene = Scene::hello().server_hello(0x0303);
        let ours = scene.close(Server, Fin, HELLO + 60 * S, Some(300));
        let verdict = ours.rule("tls-handshake-timeout").expect("it fits");
        assert_eq!(verdict.responsible, Some(Responsible::LoadBalancer));
        assert!(ours.rule("tls-handshake-failed").is_none());
    }

    #[test]
    fn what_was_not_acknowledged_was_lost_on_the_path() {
        let scene =
            Scene::hello().repeated(Client, 0, 300, 5).close(Client, Fin, HELLO + 10 * S, Some(0));
        assert_eq!(scene.cause(), Some("request-unacked"));
        let large = Scene::hello().with(|scene| {
            scene.flow.half_mut(Client).sent = 1900;
        });
        let large = large.repeated(Client, 0, 1448, 5).close(Client, Fin, HELLO + 10 * S, Some(0));
        assert_eq!(large.cause(), Some("mtu-blackhole"));
        let certificate = Scene::hello().server_hello(0x0303).repeated(Server, 0, 1448, 5);
        let certificate = certificate.close(Client, Fin, HELLO + 10 * S, Some(0));
        assert_eq!(certificate.cause(), Some("mtu-blackhole"));
    }

    #[test]
    fn completed_handshakes_are_no_failures_however_they_end() {
        for side in [Client, Server] {
            for kind in [Fin, Rst] {
                for after in [40 * MS, 10 * S] {
                    let scene = Scene::hello().server_hello(0x0304).established();
                    let scene = scene.close(side, kind, HELLO + after, Some(300));
                    assert_eq!(scene.cause(), None, "{side:?} {kind:?}");
                    // The regular close, or so it may be.
                    let scene = scene.secret_alert(side, HELLO + after - MS);
                    assert_eq!(scene.cause(), None, "{side:?} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn what_comes_after_the_load_balancer_gave_up_is_too_late() {
        let late = Scene::hello().close(Client, Fin, HELLO + 10 * S, Some(0)).with(|scene| {
            scene.server_says(HELLO + 11 * S, 7);
            scene.flow.half_mut(Server).acked = 0;
            let mark = mark(HELLO + 11 * S);
            let said = Some((2, 50));
            let (side, encrypted, in_handshake) = (Server, false, true);
            scene.tls().alerts.push(Alert {
                mark,
                side,
                said,
                encrypted,
                in_handshake,
                acked: None,
            });
        });
        assert_eq!(late.cause(), Some("tls-handshake-timeout"));
    }

    #[test]
    fn what_may_be_hidden_proves_nothing() {
        for spot in [BlindSpot::Gap, BlindSpot::OneDirection, BlindSpot::Evicted] {
            let scene = Scene::hello().with(|scene| scene.flow.blind_spots.add(spot));
            let failed = scene.close(Server, Rst, HELLO + 50 * MS, Some(300));
            assert_eq!(failed.cause(), None);
        }
        let midway = Scene::hello().with(|scene| scene.tls().midway = true);
        assert_eq!(midway.close(Server, Rst, HELLO + 50 * MS, Some(300)).cause(), None);
        let cut = Scene::hello().with(|scene| scene.flow.blind_spots.add(BlindSpot::Snaplen));
        let cut = cut.close(Server, Rst, HELLO + 50 * MS, Some(300));
        assert_eq!(cut.cause(), Some("tls-handshake-failed"), "the target sent nothing at all");
        let early = Scene::hello().with(|scene| scene.tls().unread = true);
        assert_eq!(early.close(Client, Rst, HELLO + 50 * MS, Some(300)).cause(), None);
    }
}
