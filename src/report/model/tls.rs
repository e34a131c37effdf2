//! Mirror of a TLS handshake.

use super::{Time, nanos_as_s};
use crate::flow;
use crate::report::terms;
use crate::time::Mark;
use crate::tls::{self, alert_name, cipher_name, version_name};
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// What a connection shows of its TLS.
#[derive(Serialize, JsonSchema)]
pub(in crate::report) struct Tls<'a> {
    /// Frame in which the last ClientHello begins.
    client_hello_frame: Option<u64>,
    /// Versions offered, highest first. Before TLS 1.3 a client names its highest only and means
    /// every lower one, too.
    offered: Vec<Cow<'static, str>>,
    /// Cipher suites offered, at most 128.
    ciphers_offered: Vec<Cow<'static, str>>,
    /// Name of the server that the client asks for.
    sni: Option<&'a str>,
    /// Application protocols offered.
    alpn_offered: &'a [Box<str>],
    /// Frame in which a HelloRetryRequest begins.
    retry_frame: Option<u64>,
    /// Frame in which the ServerHello begins.
    server_hello_frame: Option<u64>,
    /// Version in use.
    version: Option<Cow<'static, str>>,
    /// Cipher suite in use, IANA's name.
    cipher: Option<Cow<'static, str>>,
    /// Application protocol in use; TLS 1.3 encrypts it.
    alpn: Option<&'a str>,
    /// A session of before goes on.
    resumed: bool,
    /// The server's own certificate; TLS 1.3 encrypts it.
    certificate: Option<Certificate<'a>>,
    /// The server demanded a certificate of the client; TLS 1.3 encrypts that.
    client_certificate_requested: bool,
    /// What the client answered, as far as it shows.
    #[schemars(extend("enum" = ["sent", "empty", null]))]
    client_certificate: Option<&'static str>,
    /// Frame that ends the client's part of the handshake.
    established_frame: Option<u64>,
    /// From the first byte of the ClientHello to `established_frame`.
    handshake_s: Option<f64>,
    /// What was seen of the handshake, in the order of time.
    steps: Vec<Step>,
    alerts: Vec<Alert>,
    /// First bytes of a side that are no TLS at all.
    foreign: Option<Foreign<'a>>,
    /// The beginning was not captured.
    midway: bool,
    /// Requests that could be told by the lengths of encrypted records alone; `requests` of the
    /// flow does not count them.
    encrypted_requests: u32,
    /// Keys were at hand, and what they open was read.
    decrypted: bool,
}

/// The server's own certificate. It is read, never verified.
#[derive(Serialize, JsonSchema)]
struct Certificate<'a> {
    /// Frame of its last byte.
    frame: u64,
    /// As RFC 4514 writes it.
    subject: &'a str,
    issuer: &'a str,
    not_before: Time,
    not_after: Time,
    /// DNS names that it is good for.
    names: &'a [Box<str>],
}

/// A step of the handshake.
#[derive(Serialize, JsonSchema)]
struct Step {
    #[schemars(extend("enum" = ["client-hello", "hello-retry-request", "server-hello", "certificate",
        "certificate-request", "client-certificate", "client-finished", "server-finished",
        "client-data", "server-data"]))]
    what: &'static str,
    frame: u64,
    time: Time,
}

/// The steps that were seen, in the order of time.
fn steps(tls: &tls::Handshake) -> Vec<Step> {
    let [client_finished, server_finished] = tls.finished;
    let [client_data, server_data] = tls.data;
    let mut seen: Vec<(&'static str, Mark)> = [
        ("client-hello", tls.client_hello.as_ref().map(|hello| hello.mark)),
        ("hello-retry-request", tls.retry),
        ("server-hello", tls.server_hello.as_ref().map(|hello| hello.mark)),
        ("certificate", tls.certificate.as_ref().map(|certificate| certificate.mark)),
        ("certificate-request", tls.certificate_request),
        ("client-certificate", tls.client_certificate.map(|certificate| certificate.mark)),
        ("client-finished", client_finished),
        ("server-finished", server_finished),
        ("client-data", client_data),
        ("server-data", server_data),
    ]
    .into_iter()
    .filter_map(|(what, mark)| Some((what, mark?)))
    .collect();
    seen.sort_by_key(|(_, mark)| (mark.at, mark.frame));
    let step = |(what, mark): (&'static str, Mark)| Step {
        what,
        frame: mark.frame.number(),
        time: Time(mark.at),
    };
    seen.into_iter().map(step).collect()
}

/// An alert.
#[derive(Serialize, JsonSchema)]
struct Alert {
    frame: u64,
    time: Time,
    #[schemars(extend("enum" = ["client", "server"]))]
    side: &'static str,
    /// 1 warning, 2 fatal; null when it cannot be read.
    level: Option<u8>,
    /// Number of what it reports; null when it cannot be read.
    code: Option<u8>,
    /// IANA's name of it.
    description: Option<Cow<'static, str>>,
    encrypted: bool,
}

/// Bytes that are no TLS.
#[derive(Serialize, JsonSchema)]
struct Foreign<'a> {
    frame: u64,
    #[schemars(extend("enum" = ["client", "server"]))]
    side: &'static str,
    /// The bytes, escaped.
    sample: &'a str,
}

impl<'a> Tls<'a> {
    pub(in crate::report) fn of(flow: &'a flow::Flow) -> Option<Tls<'a>> {
        flow.tls.as_deref().map(Tls::new)
    }

    fn new(tls: &'a tls::Handshake) -> Tls<'a> {
        let (client, server) = (tls.client_hello.as_deref(), tls.server_hello.as_ref());
        let began = client.map(|hello| hello.mark.at);
        let took = tls.established.zip(began).map(|(done, began)| done.at.nanos_since(began));
        Tls {
            client_hello_frame: client.map(|hello| hello.mark.frame.number()),
            offered: client.map_or_else(Vec::new, |hello| {
                hello.versions.iter().map(|version| version_name(*version)).collect()
            }),
            ciphers_offered: client.map_or_else(Vec::new, |hello| {
                hello.suites.iter().map(|suite| cipher_name(*suite)).collect()
            }),
            sni: client.and_then(|hello| hello.sni.as_deref()),
            alpn_offered: client.map_or(&[], |hello| &hello.alpn),
            retry_frame: tls.retry.map(|mark| mark.frame.number()),
            server_hello_frame: server.map(|hello| hello.mark.frame.number()),
            version: server.map(|hello| version_name(hello.version)),
            cipher: server.map(|hello| cipher_name(hello.suite)),
            alpn: server.and_then(|hello| hello.alpn.as_deref()),
            resumed: tls.resumed(),
            certificate: tls.certificate.as_deref().map(|certificate| Certificate {
                frame: certificate.mark.frame.number(),
                subject: &certificate.subject,
                issuer: &certificate.issuer,
                not_before: Time(certificate.not_before),
                not_after: Time(certificate.not_after),
                names: &certificate.names,
            }),
            client_certificate_requested: tls.certificate_request.is_some(),
            client_certificate: tls
                .client_certificate
                .map(|certificate| if certificate.empty { "empty" } else { "sent" }),
            established_frame: tls.established.map(|mark| mark.frame.number()),
            handshake_s: took.map(nanos_as_s),
            steps: steps(tls),
            alerts: tls.alerts.iter().map(Alert::new).collect(),
            foreign: tls.foreign.as_deref().map(|foreign| Foreign {
                frame: foreign.mark.frame.number(),
                side: terms::side(foreign.side),
                sample: &foreign.sample,
            }),
            midway: tls.midway,
            encrypted_requests: tls.turns,
            decrypted: tls.decrypted,
        }
    }
}

impl Alert {
    fn new(alert: &tls::Alert) -> Alert {
        Alert {
            frame: alert.mark.frame.number(),
            time: Time(alert.mark.at),
            side: terms::side(alert.side),
            level: alert.said.map(|(level, _)| level),
            code: alert.said.map(|(_, code)| code),
            description: alert.said.map(|(_, code)| alert_name(code)),
            encrypted: alert.encrypted,
        }
    }
}
