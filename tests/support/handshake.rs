//! How a TLS handshake came to its end, against what the lab knows of it.

use serde_json::Value;
use why502::cause::{Finding, What};
use why502::report::Report;
use why502::tcp::Side;
use why502::tls::alert_name;

/// Words of which one has to be said, in small letters, by the lab's word for what ended a
/// handshake. What a load balancer does not like about a certificate it says with an alert, or not
/// at all; TLS 1.3 hides it.
const WORDS: [(&str, &[&str]); 8] = [
    ("closed", &["fin"]),
    ("reset", &["rst"]),
    ("alert", &["handshake_failure"]),
    ("version", &["protocol_version"]),
    ("cipher", &["handshake_failure"]),
    ("name", &["unrecognized_name"]),
    ("client-certificate", &["client certificate"]),
    ("stalled", &["gave up"]),
];

/// What a finding says otherwise than the truth's `tls`.
pub fn complaints(truth: &Value, finding: &Finding, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    let by = if truth["by"] == "lb" { Side::Client } else { Side::Server };
    let ends = |what| matches!(what, What::TlsAlert | What::Fin | What::Rst | What::Response);
    let ended = finding.evidence.iter().find(|evidence| ends(evidence.what));
    if ended.is_none_or(|evidence| evidence.side != by) {
        wrong.push(format!("not said that {} ended it: {}", truth["by"], finding.summary));
    }
    let notes = finding.evidence.iter().map(|evidence| evidence.note.as_str());
    let text = notes.chain([finding.summary.as_str()]).collect::<Vec<_>>().join("; ");
    let text = text.to_lowercase();
    let reason = truth["reason"].as_str().unwrap_or_default();
    let words = WORDS.iter().find(|(known, _)| *known == reason).map(|(_, words)| *words);
    if words.is_some_and(|words| !words.iter().any(|word| text.contains(word))) {
        wrong.push(format!("nothing of {reason}: {text}"));
    }
    let Some(code) = truth["alert"].as_u64().map(|code| code as u8) else { return wrong };
    let flow = report.flows.iter().find(|flow| flow.id == finding.flow);
    let alerts = flow.and_then(|flow| flow.tls.as_ref()).map(|tls| &tls.alerts);
    let secret = truth["encrypted"] == Value::Bool(true);
    let alert = alerts.into_iter().flatten().find(|alert| {
        let said = alert.said.map(|(_, code)| code);
        alert.side == by
            && alert.encrypted == secret
            && (said == Some(code) || (secret && said.is_none()))
    });
    let Some(alert) = alert else {
        wrong.push(format!("no alert {code} of {}", truth["by"]));
        return wrong;
    };
    let frame = alert.mark.frame;
    let shown = |evidence: &why502::cause::Evidence| {
        evidence.what == What::TlsAlert && evidence.mark.frame == frame
    };
    if !finding.evidence.iter().any(shown) {
        wrong.push(format!("alert {code} in frame {} is no evidence", frame.number()));
    }
    if alert.said.is_some() && !text.contains(alert_name(code).as_ref()) {
        wrong.push(format!("alert {code} is not named: {text}"));
    }
    wrong
}
