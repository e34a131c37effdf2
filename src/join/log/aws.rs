//! Access logs of AWS: Application, Classic and (TLS listeners of) Network Load Balancers.
//!
//! Fields by position, separated by spaces, as in the user guides: "Access logs for your Application
//! Load Balancer", "Access logs for your Classic Load Balancer", "Access logs for your Network Load
//! Balancer".

use super::fields::{Fields, split};
use super::line::{Attempt, Line, is_failure};
use super::text::{endpoint, host, is_even, is_none, origin_form, request_line, seconds, status};
use super::time::iso;
use std::borrow::Cow;

/// What the first field of an entry may be.
const ALB_TYPES: [&[u8]; 6] = [b"http", b"https", b"h2", b"grpcs", b"ws", b"wss"];
/// Statuses by which an Application Load Balancer itself refuses a request ("Troubleshoot your
/// Application Load Balancers").
const ALB_POLICY: [u16; 16] =
    [400, 401, 403, 405, 413, 414, 463, 464, 500, 501, 505, 507, 561, 301, 302, 429];

/// An entry of an Application Load Balancer's access log: 33 documented fields, `ip_address` of
/// the node as the 34th, and any that may follow.
///
/// All lines are read up to the reason of an error; what stands behind says more of a request that failed.
pub(super) fn alb<'a>(text: &'a [u8], all: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    let mut fields = Fields::new(text, false);
    let kind = fields.next()?;
    if !ALB_TYPES.contains(&kind) {
        return None;
    }
    let mut line = Line::default();
    let times = access(&mut line, &mut fields)?;
    let (_agent, _cipher, _protocol) = (fields.next()?, fields.next()?, fields.next()?);
    let _target_group = fields.next()?;
    // Here the entries of 2016 ended, when these logs began; each later field came behind the last.
    let mut later = || fields.next().unwrap_or(b"-");
    line.trace = or_empty(later()).into();
    let (_domain, _certificate, _rule) = (later(), later(), later());
    let has_created = !fields.rest().is_empty();
    let created = fields.time();
    if has_created && created.is_none() {
        // A quote or a space is lost before it: other fields stand where those that tell a cause should.
        return None;
    }
    let mut later = || fields.next().unwrap_or(b"-");
    let (actions, _redirect, reason) = (later(), later(), later());
    let lambda = reason.starts_with(b"Lambda");
    line.failed |= lambda || line.status.is_some_and(|code| matches!(code, 463 | 464));
    // Quotes of an even number are closed, unless one is escaped.
    let whole = line.failed || !is_even(b'"', fields.rest());
    if fields.is_unclosed() || (whole && !split(text, false, all)) {
        return None;
    }
    let ended = line.ended?;
    if let Some(created) = created {
        line.began = Some(created.at);
        line.resolution = line.resolution.max(created.resolution);
    } else if let [Some(before), Some(target), Some(after)] = times {
        line.began = Some(ended.after(-(before + target + after)));
    }
    // The times between are in milliseconds.
    line.resolution = line.resolution.max(1_000_000);
    line.sent = line.began.zip(times[0]).map(|(began, before)| began.after(before));
    let waf = actions.starts_with(b"waf");
    line.own_cause = match line.status {
        _ if lambda => Some("lambda-target"),
        Some(408) if line.undispatched => Some("client-request-timeout"),
        Some(503) if line.undispatched && !fixed(actions) => Some("lb-no-target"),
        Some(code)
            if line.undispatched
                && (!is_none(reason) || fixed(actions) || waf || ALB_POLICY.contains(&code)) =>
        {
            Some("lb-policy")
        }
        _ => None,
    };
    if line.failed {
        let at = |n: usize| all.get(n - 1).copied().unwrap_or(b"-");
        line.node = host(at(34));
        line.says("elb_status_code", at(9));
        line.says("target_status_code", at(10));
        line.says("target:port", at(5));
        for (n, name, usual) in [
            (6, "request_processing_time", ""),
            (7, "target_processing_time", ""),
            (8, "response_processing_time", ""),
            (25, "error_reason", "-"),
            (23, "actions_executed", "forward"),
            (28, "classification", "-"),
            (29, "classification_reason", "-"),
            (33, "request_transform_status", "-"),
            (35, "target_error_code", "-"),
            (36, "elb_error_code", "-"),
        ] {
            let value = at(n);
            let unusual = !is_none(value) && value != usual.as_bytes();
            if n == 25 || (unusual && (n > 8 || value.starts_with(b"-1"))) {
                line.says(name, value);
            }
        }
    }
    Some(line)
}

/// Whether a rule made the answer.
fn fixed(actions: &[u8]) -> bool {
    let made: [&[u8]; 2] = [b"fixed-response", b"redirect"];
    made.iter().any(|action| memchr::memmem::find(actions, action).is_some())
}

/// An entry of a Classic Load Balancer's access log. Those of TCP listeners have no statuses.
pub(super) fn clb<'a>(text: &'a [u8], all: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    let mut fields = Fields::new(text, false);
    let mut line = Line::default();
    let times = access(&mut line, &mut fields)?;
    if !split(text, false, all) {
        return None;
    }
    // The time is that of the request's arrival; the duration follows from the three times.
    line.began = line.ended.take();
    if let [Some(before), Some(target), Some(after)] = times {
        line.sent = line.began.map(|began| began.after(before));
        line.ended = line.began.map(|began| began.after(before + target + after));
    }
    if line.undispatched {
        line.own_cause = match line.status {
            Some(503) => Some("lb-no-target"),
            Some(408) => Some("client-request-timeout"),
            Some(400 | 405) => Some("lb-policy"),
            _ => None,
        };
    }
    if line.failed {
        line.says("elb_status_code", all[7]);
        line.says("backend_status_code", all[8]);
        line.says("backend:port", all[3]);
    }
    Some(line)
}

/// What both have in common: time, name, client, target, three times, two statuses, two counts, and the
/// request line. The three times.
fn access<'a>(line: &mut Line<'a>, fields: &mut Fields<'a>) -> Option<[Option<i64>; 3]> {
    let time = fields.time()?;
    // Network Load Balancers have other fields.
    if fields.next()?.starts_with(b"net/") {
        return None;
    }
    line.client = match fields.endpoint() {
        Ok(client) => Some(client),
        Err(field) => unless_none(field, |it| endpoint(it).or_else(|| host(it)))?,
    };
    let target = match fields.endpoint() {
        Ok(target) => Some(target),
        Err(field) => unless_none(field, endpoint)?,
    };
    let mut duration = || match fields.seconds() {
        Ok(nanos) => Some(Some(nanos)),
        // Phases that were not reached.
        Err(field) => (is_none(field) || field.starts_with(b"-1")).then_some(None),
    };
    let seconds = [duration()?, duration()?, duration()?];
    let mut code = || match fields.status() {
        Ok(code) => Some(Some(code)),
        Err(field) => is_none(field).then_some(None),
    };
    let (given, answered) = (code()?, code()?);
    let (_received, _sent) = (fields.next()?, fields.next()?);
    let (method, path) = request_line(fields.next()?);
    line.ended = Some(time.at);
    line.resolution = time.resolution;
    line.undispatched = target.is_none();
    (line.status, line.failed) = (given, given.is_some_and(is_failure));
    if target.is_some() {
        line.attempts.push(Attempt { target, status: answered });
    }
    line.method = method.into();
    line.path = origin_form(path).into();
    Some(seconds)
}

/// What a field says: `Some(None)` where it says that there is nothing, `None` where it cannot be read.
fn unless_none<T>(field: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if is_none(field) { Some(None) } else { read(field).map(Some) }
}

fn or_empty(field: &[u8]) -> &[u8] {
    if is_none(field) { b"" } else { field }
}

/// An entry of a Network Load Balancer's access log, which only TLS listeners write. The
/// destination is the listener, not the target.
pub(super) fn nlb<'a>(text: &'a [u8], fields: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    if !split(text, false, fields) || fields.len() < 16 || fields[0] != b"tls" {
        return None;
    }
    let ended = iso(fields[2])?;
    let began = fields.get(21).and_then(|created| iso(created)).map(|created| created.at);
    let mut line = Line {
        ended: Some(ended.at),
        began,
        resolution: ended.resolution,
        client: Some(endpoint(fields[5])?),
        ..Line::default()
    };
    endpoint(fields[6])?;
    // Without a handshake time there was no handshake; an alert says why.
    line.failed = is_none(fields[8]) || !is_none(fields[11]);
    if line.failed {
        line.says("tls_handshake_time", fields[8]);
        line.says("incoming_tls_alert", fields[11]);
        line.says("tls_protocol_version", fields[15]);
    }
    Some(line)
}

/// An entry of an Application Load Balancer's connection log: the client's side only.
pub(super) fn connection<'a>(text: &'a [u8], fields: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    if !split(text, false, fields) || fields.len() < 12 {
        return None;
    }
    let began = iso(fields[0])?;
    let address = host(fields[1])?;
    let port = |field| super::text::number(field).and_then(|port| u16::try_from(port).ok());
    let client = crate::packet::Endpoint { port: port(fields[2])?, ..address };
    port(fields[3])?;
    let mut line = Line {
        began: Some(began.at),
        resolution: began.resolution,
        client: Some(client),
        node: fields.get(14).and_then(|ip| host(ip)),
        ..Line::default()
    };
    let verified = fields[10];
    line.failed = verified.starts_with(b"Failed");
    line.own_cause = line.failed.then_some("lb-policy");
    if line.failed {
        line.says("tls_verify_status", verified);
        line.says("tls_protocol", fields[4]);
        line.says("listener_port", fields[3]);
    }
    Some(line)
}

/// An entry of an Application Load Balancer's health check log.
pub(super) fn health_check<'a>(text: &'a [u8], fields: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    if !split(text, false, fields) || fields.len() < 8 {
        return None;
    }
    let began = iso(fields[1])?;
    let passed = match fields[5] {
        b"PASS" => true,
        b"FAIL" => false,
        _ => return None,
    };
    let code = status(fields[6]).filter(|code| *code > 0);
    let target = endpoint(fields[3]);
    if target.is_none() && fields[0] != b"lambda" {
        return None;
    }
    let mut line = Line {
        began: Some(began.at),
        ended: seconds(fields[2]).map(|latency| began.at.after(latency)),
        resolution: began.resolution,
        node: fields.get(9).and_then(|ip| host(ip)),
        attempts: smallvec::smallvec![Attempt { target, status: code }],
        failed: !passed,
        ..Line::default()
    };
    if line.failed {
        line.says("status", fields[5]);
        line.says("status_code", Cow::Borrowed(fields[6]));
        line.says("reason_code", fields[7]);
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;

    type Read = for<'a> fn(&'a [u8], &mut Vec<&'a [u8]>) -> Option<Line<'a>>;

    fn read(with: Read, text: &str) -> Option<Line<'_>> {
        with(text.as_bytes(), &mut Vec::new())
    }

    fn said(line: &Line<'_>) -> String {
        let one = |(name, value): &(&str, Cow<'_, [u8]>)| {
            format!("{name}={}", String::from_utf8_lossy(value))
        };
        line.said.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// 33 fields, of our own values.
    fn entry(status: &str, target: &str, times: &str, reason: &str) -> String {
        let answered = if status == "502" || target == "-" { "-" } else { status };
        format!(
            "https 2026-11-21T10:35:35.250000Z app/shop/0123456789abcdef 203.0.113.7:40001 {target} \
             {times} {status} {answered} 210 337 \"GET https://shop.example:443/cart?id=7 HTTP/1.1\" \
             \"Mozilla/5.0 (X11) \\\"odd\\\"\" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 \
             arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/0123456789abcdef \
             \"Self=1-6a20c001-000000000000000000000002;Root=1-6a20c001-000000000000000000000001\" \
             \"shop.example\" \"-\" 1 2026-11-21T10:35:35.000000Z \"forward\" \"-\" \"{reason}\" \
             \"{target}\" \"{answered}\" \"-\" \"-\" TID_0123456789abcdef0123456789abcdef \"-\" \"-\" \"-\""
        )
    }

    #[test]
    fn an_alb_entry_says_when_the_request_went_to_which_target() {
        let text = entry("200", "10.0.0.9:8080", "0.002 0.120 0.001", "-");
        let line = read(alb, &text).unwrap();
        assert_eq!(line.began, Some(Timestamp(1_795_257_335_000_000_000)));
        assert_eq!(line.sent, Some(Timestamp(1_795_257_335_002_000_000)));
        assert_eq!(line.ended, Some(Timestamp(1_795_257_335_250_000_000)));
        assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 40_001)));
        let target = Some(Endpoint::v4([10, 0, 0, 9], 8080));
        assert_eq!(line.attempts[..], [Attempt { target, status: Some(200) }]);
        assert_eq!((&*line.method, &*line.path), (&b"GET"[..], &b"/cart?id=7"[..]));
        assert!(line.trace.starts_with(b"Self=1-6a20c001"));
        assert!(!line.failed && !line.undispatched && line.said.is_empty());
    }

    #[test]
    fn a_502_names_the_fields_that_matter() {
        let text = entry("502", "10.0.0.9:8080", "0.002 -1 -1", "-");
        let line = read(alb, &text).unwrap();
        assert_eq!(
            said(&line),
            "elb_status_code=502 target_status_code=- target:port=10.0.0.9:8080 \
             target_processing_time=-1 response_processing_time=-1 error_reason=-"
        );
        assert_eq!((line.failed, line.own_cause), (true, None));
        assert_eq!(line.attempts[0].status, None);
    }

    #[test]
    fn causes_that_only_the_log_knows() {
        for (status, reason, wanted) in [
            ("503", "-", Some("lb-no-target")),
            ("502", "LambdaUnhandled", Some("lambda-target")),
            ("408", "-", Some("client-request-timeout")),
            ("500", "WAFConnectionError", Some("lb-policy")),
            ("561", "AuthTokenEpRequestFailed", Some("lb-policy")),
            ("464", "-", Some("lb-policy")),
            ("502", "-", None),
            ("460", "-", None),
        ] {
            let text = entry(status, "-", "-1 -1 -1", reason);
            let line = read(alb, &text).unwrap();
            assert!(line.undispatched && line.failed, "{status}");
            assert_eq!(line.own_cause, wanted, "{status} {reason}");
        }
    }

    #[test]
    fn older_and_newer_entries_are_read() {
        let whole = entry("502", "10.0.0.9:8080", "0.002 -1 -1", "-");
        let newer = format!("{whole} 10.0.0.5 SomethingNew - \"and more\"");
        let line = read(alb, &newer).unwrap();
        assert_eq!(line.node, Some(Endpoint::v4([10, 0, 0, 5], 0)));
        assert!(said(&line).ends_with("target_error_code=SomethingNew"), "{}", said(&line));
        let old: Vec<&str> = whole.split(" \"Self").take(1).collect();
        let line = read(alb, old[0]).unwrap();
        assert_eq!((line.sent, line.began), (None, None));
        assert!(line.trace.is_empty());
    }

    #[test]
    fn a_damaged_entry_is_none() {
        let whole = entry("200", "10.0.0.9:8080", "0.002 0.120 0.001", "-");
        for cut in [0, 20, 80, 120, 190] {
            assert!(read(alb, &whole[..cut]).is_none(), "{cut}");
        }
        for (from, to) in [
            ("10.0.0.9:8080 0", "10.0.0:8080 0"),
            (" 200 200 ", " 2x0 200 "),
            ("2026-11-21T10:35:35.2", "2026-1"),
            ("\"GET", "GET"),
            ("\"Mozilla", "Mozilla"),
            ("\"shop.example\" \"-\"", "\"shop.example\""),
        ] {
            assert!(read(alb, &whole.replacen(from, to, 1)).is_none(), "{to}");
        }
    }

    #[test]
    fn a_classic_entry_has_the_time_of_arrival() {
        let text = "2026-11-21T10:35:35.000000Z shop 203.0.113.7:40001 10.0.0.9:80 0.000073 0.001048 \
            0.000057 200 200 0 29 \"GET http://shop.example:80/cart HTTP/1.1\" \"curl/7.88\" - -";
        let line = read(clb, text).unwrap();
        assert_eq!(line.began, Some(Timestamp(1_795_257_335_000_000_000)));
        assert_eq!(line.ended, Some(Timestamp(1_795_257_335_001_178_000)));
        let text = "2026-11-21T10:35:35.000000Z shop 203.0.113.7:40001 - -1 -1 -1 504 0 0 0 \
            \"POST https://shop.example:443/log HTTP/1.1\" \"Mozilla/5.0 (compatible)\" - -";
        let line = read(clb, text).unwrap();
        assert!(line.failed && line.undispatched);
        assert_eq!(said(&line), "elb_status_code=504 backend_status_code=0 backend:port=-");
        let tcp = "2026-11-21T10:35:35.000000Z shop 203.0.113.7:40001 10.0.0.9:80 0.001069 0.000028 \
            0.000041 - - 82 305 \"- - - \" \"-\" - -";
        let line = read(clb, tcp).unwrap();
        assert_eq!((line.status, line.failed, line.path.is_empty()), (None, false, true));
    }

    #[test]
    fn connections_of_clients() {
        let text = "2026-11-21T10:35:35.514108Z 203.0.113.7 36280 443 TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256 \
            4.036 \"CN=shop.example,O=Shop\" NotBefore=2026-01-01T00:00:00Z;NotAfter=2027-01-01T00:00:00Z \
            FEF257372D5C14D4 Failed:ClientCertExpired TID_0123456789abcdef";
        let line = read(connection, text).unwrap();
        assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 36_280)));
        assert_eq!(
            said(&line),
            "tls_verify_status=Failed:ClientCertExpired tls_protocol=TLSv1.2 listener_port=443"
        );
        let text = "tls 2.0 2026-11-21T10:35:40 net/shop/0123456789abcdef 0123456789abcdef \
            203.0.113.7:51341 10.0.0.5:443 5000 - 98 0 48 - - - - - - - - - 2026-11-21T10:35:35";
        let line = read(nlb, text).unwrap();
        assert_eq!(line.began, Some(Timestamp(1_795_257_335_000_000_000)));
        assert!(line.failed && said(&line).contains("incoming_tls_alert=48"));
    }

    #[test]
    fn health_checks_are_tied_by_target_and_time() {
        let text = "http 2026-11-21T10:35:35.901409Z 1.121980746 10.0.0.9:80 shop FAIL 502 TargetError \
            app/shop/0123456789abcdef 10.0.0.5";
        let line = read(health_check, text).unwrap();
        assert_eq!(line.attempts[0].target, Some(Endpoint::v4([10, 0, 0, 9], 80)));
        assert_eq!(line.node, Some(Endpoint::v4([10, 0, 0, 5], 0)));
        assert_eq!(said(&line), "status=FAIL status_code=502 reason_code=TargetError");
        let text = "http 2026-11-21T10:35:35.901409Z 0.019 10.0.0.9:80 shop PASS 200 -";
        assert!(!read(health_check, text).unwrap().failed);
        let text = "http 2026-11-21T10:35:35.901409Z 0.019 10.0.0.9:80 shop MAYBE 200 -";
        assert!(read(health_check, text).is_none());
    }
}
