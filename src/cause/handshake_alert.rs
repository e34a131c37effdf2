//! What an alert in a TLS handshake tells, and what is wrong with the certificate that it is about.

use super::handshake::{Attempt, Failure};
use super::handshake_words::{
    covers, day, described, ending, is_about_certificates, phrase, versions,
};
use super::{Confidence, Evidence, Responsible, What};
use crate::tcp::Side;
use crate::time::Timestamp;
use crate::tls::{Alert, version_name};
use crate::words::Phrase;
use crate::{phrase, word};

/// TLS 1.2 on the wire.
const TLS12: u16 = 0x0303;
/// Alerts that a summary explains (RFC 8446, 6).
const HANDSHAKE_FAILURE: u8 = 40;
const CERTIFICATE_EXPIRED: u8 = 45;
const PROTOCOL_VERSION: u8 = 70;
const INSUFFICIENT_SECURITY: u8 = 71;
const UNRECOGNIZED_NAME: u8 = 112;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Time for a server to look at the client's last flight, beside a round trip, nanoseconds.
const LOOKED_AT: i64 = 1_000_000_000;

impl Attempt<'_> {
    /// The client took the handshake of TLS 1.3 for complete, and the server refused what came with
    /// its last flight: no certificate, or one that it does not accept.
    pub fn refused(&self) -> Option<Failure> {
        let tls = self.tls;
        let (done, certificate) = tls.established.zip(tls.client_certificate)?;
        let alert = tls.alerts.iter().find(|alert| {
            alert.side == Side::Server
                && !alert.in_handshake
                && (alert.said.is_none() || alert.is_fatal())
        })?;
        let known = match alert.said {
            Some((_, code)) => is_about_certificates(code),
            None => {
                let soon = alert.mark.at.nanos_since(done.at) <= self.round_trip + LOOKED_AT;
                soon && tls.data[1].is_none() && !self.hidden
            }
        };
        if !tls.is_13() || !known || tls.midway {
            return None;
        }
        let said = match alert.said {
            Some((_, code)) => phrase(code),
            None => phrase!("an encrypted alert"),
        };
        let (asks, sent) = if certificate.empty {
            (
                word!("the target demands a client certificate and the load balancer sent none"),
                word!("empty"),
            )
        } else {
            (word!("the target refuses the load balancer's certificate"), word!("a certificate"))
        };
        let mut evidence = vec![
            self.alert(
                alert,
                phrase!("{said} in answer to the end of the handshake", said = &said),
            ),
            Evidence {
                mark: certificate.mark,
                side: Side::Client,
                what: What::TlsHello,
                note: phrase!("the load balancer's Certificate message: {sent}", sent),
            },
        ];
        evidence.extend(self.close.map(|close| ending(close, phrase!("the connection ends"))));
        evidence.extend(self.hellos());
        Some(Failure {
            confidence: match alert.said {
                Some(_) => Confidence::Certain,
                None => Confidence::Likely,
            },
            evidence,
            summary: phrase!("{asks}: {said} where its answer should be", asks, said),
            responsible: Responsible::Configuration,
        })
    }

    pub(super) fn by_alert(&self, alert: &Alert) -> Failure {
        let code = alert.said.map_or(0, |(_, code)| code);
        let said = phrase(code);
        let (summary, responsible) = match alert.side {
            Side::Server => self.told_by_target(code, &said),
            Side::Client => self.told_by_balancer(code, &said),
        };
        let mut evidence = vec![self.alert(alert, said)];
        evidence.extend(self.hellos());
        evidence.extend(self.papers(alert.side, code));
        Failure { confidence: Confidence::Certain, evidence, summary, responsible }
    }

    /// An alert of the target: what it means for the load balancer's hello.
    fn told_by_target(&self, code: u8, said: &Phrase) -> (Phrase, Responsible) {
        let (tls, hello) = (self.tls, self.tls.client_hello.as_deref());
        let frame = self.asked.map_or(0, |mark| mark.frame.number());
        let configuration = Responsible::Configuration;
        let certificate = tls.client_certificate;
        if let Some(sent) = certificate
            && (is_about_certificates(code) || (sent.empty && code == HANDSHAKE_FAILURE))
        {
            let what = if sent.empty {
                word!("the target demands a client certificate and the load balancer sent none")
            } else {
                word!("the target refuses the load balancer's certificate")
            };
            return (phrase!("{what}: {said}", what, said), configuration);
        }
        let what = match (code, hello) {
            (PROTOCOL_VERSION, Some(hello)) => phrase!(
                "the hello in frame {frame} offers {versions}; the target speaks none of it{only}",
                frame,
                versions = versions(hello),
                only = // All older ones are offered: only a newer one is left.
                if hello.versions == [TLS12] && !hello.versions_listed {
                    word!(", so TLS 1.3 only")
                } else {
                    ""
                }
            ),
            (HANDSHAKE_FAILURE | INSUFFICIENT_SECURITY, Some(hello))
                if tls.server_hello.is_none() =>
            {
                phrase!(
                    "the target accepts none of the {suites} cipher suites, or no other parameter, of the \
                     hello in frame {frame}{nameless}",
                    suites = hello.suites.len(),
                    frame,
                    nameless = if hello.sni.is_none() {
                        word!(", which names no server (no SNI)")
                    } else {
                        ""
                    }
                )
            }
            (UNRECOGNIZED_NAME, Some(hello)) => match &hello.sni {
                Some(name) => {
                    phrase!(
                        "the hello in frame {frame} asks for {name}, which the target does not serve",
                        frame,
                        name
                    )
                }
                None => phrase!(
                    "the hello in frame {frame} names no server (no SNI), and the target wants one",
                    frame
                ),
            },
            (NO_APPLICATION_PROTOCOL, Some(hello)) => phrase!(
                "the hello in frame {frame} offers {names} by ALPN; the target speaks none of it",
                frame,
                names = hello.alpn.join(", ")
            ),
            _ => {
                return (
                    phrase!("the target broke the handshake off: {said}", said),
                    Responsible::TargetApp,
                );
            }
        };
        (phrase!("{what}: {said}", what, said), configuration)
    }

    /// An alert of the load balancer: what it means for the target's hello and certificate.
    fn told_by_balancer(&self, code: u8, said: &Phrase) -> (Phrase, Responsible) {
        let server = self.tls.server_hello.as_ref();
        match (code, server) {
            (PROTOCOL_VERSION, Some(server)) => (
                phrase!(
                    "the target's hello in frame {frame} chooses {version}, which the load balancer does not \
                     accept: {said}",
                    frame = server.mark.frame.number(),
                    version = version_name(server.version),
                    said
                ),
                Responsible::Configuration,
            ),
            _ if is_about_certificates(code) => (
                phrase!(
                    "the load balancer refuses the target's certificate: {said}{remark}",
                    said,
                    remark = self.remark().unwrap_or_default()
                ),
                self.whose_certificate(code),
            ),
            _ => (
                phrase!(
                    "the load balancer broke the handshake off: {said}{remark}",
                    said,
                    remark = self.remark().unwrap_or_default()
                ),
                Responsible::LoadBalancer,
            ),
        }
    }

    fn whose_certificate(&self, code: u8) -> Responsible {
        if code == CERTIFICATE_EXPIRED || self.is_out_of_time() {
            Responsible::TargetApp
        } else {
            Responsible::Configuration
        }
    }

    /// An alert that is encrypted: TLS 1.3 behind the server's hello.
    pub(super) fn by_secret_alert(&self, alert: &Alert) -> Failure {
        let (summary, responsible) = match alert.side {
            Side::Client => (
                phrase!(
                    "the load balancer answered the target's hello and certificate with an encrypted \
                     alert: it accepts the certificate not, or another part of the handshake{remark}",
                    remark = self.remark().unwrap_or_default()
                ),
                Responsible::Configuration,
            ),
            Side::Server => (
                phrase!("the target broke the handshake off with an encrypted alert"),
                Responsible::TargetApp,
            ),
        };
        let note = phrase!("an encrypted alert instead of Finished");
        let mut evidence = vec![self.alert(alert, note)];
        evidence.extend(self.close.map(|close| ending(close, phrase!("the connection ends"))));
        evidence.extend(self.hellos());
        evidence.extend(self.papers(alert.side, 0));
        Failure { confidence: Confidence::Likely, evidence, summary, responsible }
    }

    /// The target's certificate, where it matters for what `side` did with this alert.
    pub(super) fn papers(&self, side: Side, code: u8) -> Option<Evidence> {
        let certificate = self.tls.certificate.as_deref().filter(|_| side == Side::Client)?;
        let matters = code == 0 || is_about_certificates(code) || self.is_out_of_time();
        matters.then(|| Evidence {
            mark: certificate.mark,
            side: Side::Server,
            what: What::TlsHello,
            note: described(certificate),
        })
    }

    /// When the certificate was looked at.
    fn now(&self) -> Timestamp {
        self.last().map_or(Timestamp(0), |mark| mark.at)
    }

    pub(super) fn is_out_of_time(&self) -> bool {
        self.tls.certificate.as_deref().is_some_and(|it| it.is_out_of_time(self.now()))
    }

    /// What is wrong with the certificate as anybody can see, whatever the alert says.
    pub(super) fn remark(&self) -> Option<Phrase> {
        let certificate = self.tls.certificate.as_deref()?;
        let now = self.now();
        if now > certificate.not_after {
            return Some(phrase!(
                "; the certificate had expired on {day}",
                day = day(certificate.not_after)
            ));
        }
        if now < certificate.not_before {
            let from = day(certificate.not_before);
            return Some(phrase!("; the certificate is valid only from {day} on", day = from));
        }
        let name = self.tls.client_hello.as_deref()?.sni.as_deref()?;
        let fits =
            certificate.names.is_empty() || certificate.names.iter().any(|it| covers(it, name));
        (!fits).then(|| phrase!("; the certificate is not for {name}", name = name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::cause::fixture::{HELLO, MS, S, Scene, mark};
    use crate::cause::{Confidence, Responsible, Verdict, What};
    use crate::flow::EndingKind::Fin;
    use crate::tcp::Side::{Client, Server};
    use crate::time::Timestamp;
    use crate::tls::{Certificate, ClientCertificate};

    #[track_caller]
    fn verdict(scene: &Scene) -> Verdict {
        assert_eq!(scene.cause(), Some("tls-handshake-failed"));
        scene.rule("tls-handshake-failed").expect("it fits")
    }

    #[track_caller]
    fn says(scene: &Scene, responsible: Responsible, words: &[&str]) {
        let verdict = verdict(scene);
        for word in words {
            assert!(verdict.summary.contains(word), "{word}: {}", verdict.summary);
        }
        assert_eq!(verdict.responsible, Some(responsible), "{}", verdict.summary);
        assert_eq!(verdict.confidence, Confidence::Certain);
        assert_eq!(verdict.evidence[0].what, What::TlsAlert);
        assert_eq!(verdict.evidence[1].what, What::TlsHello);
    }

    fn certificate(valid_until: i64) -> Certificate {
        Certificate {
            mark: mark(HELLO + 50 * MS),
            subject: "CN=app.test".into(),
            issuer: "CN=nobody".into(),
            not_before: Timestamp(-S),
            not_after: Timestamp(valid_until),
            names: vec!["*.app.test".into()],
        }
    }

    #[test]
    fn alerts_of_the_target_are_read_against_the_hello() {
        let configuration = Responsible::Configuration;
        let scene = |code| Scene::hello().alert(Server, code);
        says(
            &scene(70),
            configuration,
            &["TLS 1.2 and lower", "so TLS 1.3 only", "protocol_version"],
        );
        let newest = scene(70).with(|scene| {
            let hello = scene.tls().client_hello.as_mut().expect("a hello");
            (hello.versions, hello.versions_listed) = (vec![0x0304], true);
        });
        says(&newest, configuration, &["offers TLS 1.3; the target speaks none of it: alert 70"]);
        says(&scene(40), configuration, &["none of the 2 cipher suites", "no SNI"]);
        says(&scene(112), configuration, &["names no server (no SNI)"]);
        let named = scene(112).with(|scene| {
            scene.tls().client_hello.as_mut().expect("a hello").sni = Some("b.test".into());
        });
        says(&named, configuration, &["asks for b.test"]);
        says(&scene(80), Responsible::TargetApp, &["alert 80, internal_error"]);
    }

    #[test]
    fn a_client_certificate_that_is_missing_or_refused() {
        let scene = |empty, code| {
            let scene = Scene::hello().server_hello(0x0303).with(|scene| {
                let mark = mark(HELLO + 60 * MS);
                scene.tls().certificate_request = Some(mark);
                scene.tls().client_certificate = Some(ClientCertificate { mark, empty });
            });
            match code {
                Some(code) => scene.alert(Server, code),
                None => scene.close(Server, Fin, HELLO + 80 * MS, Some(300)),
            }
        };
        let missing = &["demands a client certificate and the load balancer sent none"];
        says(&scene(true, Some(40)), Responsible::Configuration, missing);
        says(&scene(true, Some(116)), Responsible::Configuration, missing);
        says(&scene(false, Some(48)), Responsible::Configuration, &["refuses the load balancer's"]);
        let silent = verdict(&scene(true, None));
        assert_eq!(silent.confidence, Confidence::Likely);
        assert!(silent.summary.contains("demands a client certificate"), "{}", silent.summary);
    }

    #[test]
    fn alerts_of_the_load_balancer_are_about_the_certificate() {
        let scene = |code, until| {
            let scene = Scene::hello().server_hello(0x0303);
            let scene = scene.with(|scene| {
                scene.tls().certificate = Some(Box::new(certificate(until)));
            });
            scene.alert(Client, code)
        };
        let expired = scene(45, 0);
        says(&expired, Responsible::TargetApp, &["expired on 1970-01-01", "certificate_expired"]);
        let note = &verdict(&expired).evidence[3].note;
        assert!(note.contains("CN=app.test, issued by CN=nobody"), "{note}");
        says(&scene(48, 100 * S), Responsible::Configuration, &["unknown_ca"]);
        says(&scene(80, 0), Responsible::LoadBalancer, &["expired on 1970-01-01"]);
        let stranger = scene(42, 100 * S).with(|scene| {
            scene.tls().client_hello.as_mut().expect("a hello").sni = Some("b.test".into());
        });
        says(&stranger, Responsible::Configuration, &["the certificate is not for b.test"]);
        let fitting = scene(42, 100 * S).with(|scene| {
            scene.tls().client_hello.as_mut().expect("a hello").sni = Some("a.APP.test".into());
        });
        assert!(!verdict(&fitting).summary.contains("not for"));
        let old = Scene::hello().server_hello(0x0301).alert(Client, 70);
        says(&old, Responsible::Configuration, &["chooses TLS 1.0"]);
    }

    #[test]
    fn encrypted_alerts_tell_less() {
        let refused = Scene::hello().server_hello(0x0304).secret_alert(Client, HELLO + 60 * MS);
        let refused = verdict(&refused);
        assert_eq!(refused.confidence, Confidence::Likely);
        assert!(refused.summary.contains("encrypted alert"), "{}", refused.summary);
    }
}
