//! HAProxy's `option httplog` and `option tcplog`, with or without a syslog prefix (HAProxy
//! Configuration Manual, 8.2.2 and 8.2.3).
//!
//! ```text
//! client [accept date] frontend backend/server TR/Tw/Tc/Tr/Ta status bytes - - ---- a/f/b/s/r s/b {..} "request"
//! client [accept date] frontend backend/server Tw/Tc/Tt bytes -- a/f/b/s/r s/b
//! ```
//!
//! Addresses with a port behind the frontend, wherever a `log-format` puts them, are taken for
//! `%bi:%bp` and then `%si:%sp`.

use super::fields::split;
use super::line::{Attempt, Line, Tries, is_failure};
use super::text::{endpoint, milliseconds, number, status, unescape};
use super::time::common;
use crate::time::Timestamp;

/// An entry of an HTTP frontend.
pub(super) fn http<'a>(text: &'a [u8], fields: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    let (mut line, at) = head(text, fields)?;
    let times = times(fields[at + 4]);
    let &[request, wait, connect, answer, total] = times.as_slice() else { return None };
    let code = status(fields.get(at + 5)?)?;
    let state = *fields.get(at + 9)?;
    if state.len() != 4 {
        return None;
    }
    let last = fields[fields.len() - 1];
    // Before a bad request there is none: "<BADREQ>".
    let (quoted, tail) = quoted(text)?;
    let began = line.began?;
    let sum = |times: &[Option<i64>]| times.iter().copied().sum::<Option<i64>>();
    line.sent = sum(&[request, wait, connect]).map(|until| began.after(until));
    line.ended = total.map(|total| began.after(total));
    line.status = Some(code);
    let unescaped = unescape(quoted);
    line.request(unescaped);
    let server = fields[at + 3];
    let named = !server.ends_with(b"<NOSRV>") && !server.ends_with(b"<STATS>");
    // Without an answer the status is the proxy's own.
    let answered = answer.is_some().then_some(code).filter(|code| *code > 0);
    addresses(&mut line, &fields[at + 5..], tail, named.then_some(answered));
    finish(&mut line, state, named);
    let counts = fields.get(at + 10).and_then(|counts| counts.rsplit(|byte| *byte == b'/').next());
    if named {
        line.server = group_and_name(server);
        let begins = sum(&[request, wait]).map(|until| began.after(until));
        line.tries = begins.and_then(|from| tries(from, connect, line.ended?, counts?, state));
    }
    if line.failed {
        line.says("status_code", fields[at + 5]);
        line.says("termination_state", state);
        line.says("server", server);
        line.says("TR/Tw/Tc/Tr/Ta", fields[at + 4]);
        if let Some(retries) = counts.filter(|it| *it != b"0" && *it != last) {
            line.says("retries", retries);
        }
    }
    Some(line)
}

/// An entry of a TCP frontend.
pub(super) fn tcp<'a>(text: &'a [u8], fields: &mut Vec<&'a [u8]>) -> Option<Line<'a>> {
    let (mut line, at) = head(text, fields)?;
    let times = times(fields[at + 4]);
    let &[wait, connect, total] = times.as_slice() else { return None };
    super::text::number(fields.get(at + 5)?.strip_prefix(b"+").unwrap_or(fields[at + 5]))?;
    let state = *fields.get(at + 6)?;
    if state.len() != 2 {
        return None;
    }
    let began = line.began?;
    line.sent = wait.zip(connect).map(|(wait, connect)| began.after(wait + connect));
    line.ended = total.map(|total| began.after(total));
    let server = fields[at + 3];
    let named = !server.ends_with(b"<NOSRV>");
    addresses(&mut line, &fields[at + 5..], b"", named.then_some(None));
    finish(&mut line, state, named);
    if line.failed {
        line.says("termination_state", state);
        line.says("server", server);
        line.says("Tw/Tc/Tt", fields[at + 4]);
    }
    Some(line)
}

/// Client, time, and where the client is among the fields.
fn head<'a>(text: &'a [u8], fields: &mut Vec<&'a [u8]>) -> Option<(Line<'a>, usize)> {
    // Captured headers in braces may hold a lone quote: what counts comes before them.
    if !split(text, true, fields) {
        let plain = memchr::memchr(b'{', text).unwrap_or(text.len());
        if !split(&text[..plain], true, fields) {
            return None;
        }
    }
    // Behind a syslog prefix, whose length varies: the client is followed by the date.
    let dated = |n: usize| {
        let client = endpoint(fields[n])?;
        Some((client, common(fields[n + 1])?))
    };
    let (at, (client, date)) =
        (0..fields.len().saturating_sub(6)).find_map(|n| Some((n, dated(n)?)))?;
    let line = Line {
        began: Some(date.at),
        resolution: date.resolution,
        client: Some(client),
        ..Line::default()
    };
    Some((line, at))
}

/// Timers; `None` for a phase that was not reached: -1, and less where retries moved the start of the next phase
/// behind the end.
fn times(field: &[u8]) -> Vec<Option<i64>> {
    let one = |time: &[u8]| match time.strip_prefix(b"-") {
        Some(below) => milliseconds(below).map(|_| None),
        None => milliseconds(time).map(Some),
    };
    field.split(|byte| *byte == b'/').map(one).collect::<Option<_>>().unwrap_or_default()
}

/// `backend/server`.
fn group_and_name(server: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = memchr::memchr(b'/', server)?;
    Some((&server[..slash], &server[slash + 1..]))
}

/// The connections that it tried from some time on: `retries` of them failed, and the last one as well where it took
/// no time to be made. It waits between them (a second at most after a refusal, else `timeout connect`), so that all
/// are as far apart.
pub(super) fn tries(
    from: Timestamp,
    connect: Option<i64>,
    ended: Timestamp,
    retries: &[u8],
    state: &[u8],
) -> Option<Tries> {
    // The last of them went to another server: "+2".
    let retries = number(retries.strip_prefix(b"+").unwrap_or(retries))?;
    let retries = u16::try_from(retries).ok()?;
    let until = connect.map_or(ended, |connect| from.after(connect));
    let failed = retries.saturating_add(u16::from(connect.is_none()));
    // Where it waited for an answer in vain, also the last time.
    let steps = if connect.is_none() && state.starts_with(b"s") { failed } else { retries };
    let step = until.nanos_since(from).max(0) / i64::from(steps.max(1));
    Some(Tries { from, until, failed, step })
}

/// What stands in the last quotes, and what follows them.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let from = memchr::memmem::find(text, b" \"")? + 2;
    let to = memchr::memrchr(b'"', text).filter(|to| *to >= from)?;
    Some((&text[from..to], &text[to + 1..]))
}

/// The proxy's own address towards the server, and the server's.
fn addresses<'a>(
    line: &mut Line<'a>,
    fields: &[&'a [u8]],
    tail: &'a [u8],
    sent: Option<Option<u16>>,
) {
    let tail = tail.split(|byte| *byte == b' ');
    let mut found = fields
        .iter()
        .copied()
        .chain(tail)
        .filter(|field| field.contains(&b':'))
        .filter_map(endpoint);
    line.local = found.next().filter(|it| it.port > 0);
    let target = found.find(|it| Some(*it) != line.local);
    line.undispatched = sent.is_none();
    if let Some(status) = sent {
        line.attempts.push(Attempt { target, status });
    }
}

/// What the termination state says: who ended the session, and in which phase.
pub(super) fn finish(line: &mut Line<'_>, state: &[u8], named: bool) {
    let refused = line.status.is_some_and(|status| (400..500).contains(&status));
    let normal = matches!(state, [b'-', b'-', ..] | [b'L', b'R' | b'C', ..])
        // A rule refused the request, as it was meant to.
        || (refused && matches!(state, [b'P', b'R' | b'T', ..]));
    line.failed = !normal || line.status.is_some_and(is_failure);
    line.own_cause = match (state[0], state[1]) {
        (b'R', _) => Some("local-port-exhaustion"),
        (b's', b'Q') | (b'P', b'C') => Some("lb-overload"),
        (b'P', b'R' | b'T') => Some("lb-policy"),
        (b'c', b'R' | b'H') => Some("client-request-timeout"),
        (b'S' | b's', b'C') if !named => Some("lb-no-target"),
        _ => None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Endpoint;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    const PLAIN: &str = "203.0.113.7:53504 [21/Nov/2026:10:35:40.876] front back/t1 0/0/1/-1/50 502 217 - - \
        SH-- 1/1/0/0/0 0/0 \"GET /h/length/017df3ca49 HTTP/1.1\"";

    fn read(text: &str) -> Line<'_> {
        http(text.as_bytes(), &mut Vec::new()).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn an_http_entry_with_any_prefix() {
        for prefix in [
            "",
            "<134>Nov 21 10:35:40 lb1 haproxy[1234]: ",
            "2026-11-21T10:35:40+00:00 lb1 haproxy[1]: ",
        ] {
            let text = format!("{prefix}{PLAIN}");
            let line = read(&text);
            assert_eq!(line.client, Some(Endpoint::v4([203, 0, 113, 7], 53_504)), "{prefix}");
            assert_eq!(line.began, Some(Timestamp(1_795_257_340_876_000_000)));
            assert_eq!(line.sent, Some(Timestamp(1_795_257_340_877_000_000)));
            assert_eq!(line.ended, Some(Timestamp(1_795_257_340_926_000_000)));
            assert_eq!((line.status, line.failed, line.undispatched), (Some(502), true, false));
            assert_eq!(line.attempts[..], [Attempt { target: None, status: None }]);
            assert_eq!(&*line.path, b"/h/length/017df3ca49");
        }
    }

    #[test]
    fn an_entry_counts_its_connections() {
        let tries = |times: &str, counts: &str, state: &str| {
            let text = PLAIN.replace("0/0/1/-1/50", times).replace("1/1/0/0/0", counts);
            let line = read(&text.replace("SH--", state)).tries.unwrap();
            let since = |at: Timestamp| at.nanos_since(Timestamp(1_795_257_340_876_000_000));
            let ms = |nanos: i64| nanos / 1_000_000;
            (ms(since(line.from)), ms(since(line.until)), line.failed, ms(line.step))
        };
        assert_eq!(tries("5/2/1/9/50", "1/1/0/0/0", "----"), (7, 8, 0, 1));
        assert_eq!(tries("0/0/2022/9/2050", "1/1/0/0/+2", "----"), (0, 2022, 2, 1011));
        // The last one was refused at once, or waited for as long as the others.
        assert_eq!(tries("0/0/-1/-1/2000", "1/1/0/0/2", "SC--"), (0, 2000, 3, 1000));
        assert_eq!(tries("0/0/-1/-1/3000", "1/1/0/0/2", "sC--"), (0, 3000, 3, 1000));
        let line = read(PLAIN);
        assert_eq!(line.server, Some((&b"back"[..], &b"t1"[..])));
        let unsent = PLAIN.replace("back/t1", "back/<NOSRV>");
        assert_eq!((read(&unsent).server, read(&unsent).tries), (None, None));
    }

    #[test]
    fn a_phase_that_retries_kept_from_being_reached_is_any_negative_number() {
        let text = PLAIN.replace("0/0/1/-1/50 502", "0/13/-6/-1/13 503").replace("SH--", "SC--");
        let line = read(&text);
        assert_eq!((line.status, line.failed, line.sent), (Some(503), true, None));
        assert_eq!(line.ended, Some(Timestamp(1_795_257_340_889_000_000)));
        assert_eq!(line.attempts[..], [Attempt { target: None, status: None }]);
        let text =
            "203.0.113.7:33313 [21/Nov/2026:10:35:40.655] fnt bck/srv1 1/-6/7 0 SC 0/0/0/0/3 0/0";
        assert!(tcp(text.as_bytes(), &mut Vec::new()).is_some_and(|line| line.failed));
        let odd = PLAIN.replace("0/0/1/-1/50 502", "0/13/-/-1/13 503");
        assert!(http(odd.as_bytes(), &mut Vec::new()).is_none());
    }

    #[test]
    fn addresses_of_the_servers_side_may_stand_anywhere() {
        for text in [
            PLAIN.replace("0/0 \"", "0/0 10.0.0.5:40000 10.0.0.9:80 \""),
            format!("{PLAIN} 10.0.0.5:40000 10.0.0.9:80"),
        ] {
            let line = read(&text);
            assert_eq!(line.local, Some(Endpoint::v4([10, 0, 0, 5], 40_000)), "{text}");
            assert_eq!(line.attempts[0].target, Some(Endpoint::v4([10, 0, 0, 9], 80)));
        }
    }

    #[test]
    fn captured_headers_and_odd_requests() {
        let line_text = PLAIN.replace(
            "0/0 \"GET /h/length/017df3ca49",
            "0/0 {shop.example|Moz\"illa [x]} {} \"GET /a\"b",
        );
        assert_eq!(&*read(&line_text).path, b"/a\"b");
        let text =
            PLAIN.replace("GET /h/length/017df3ca49 HTTP/1.1", "<BADREQ>").replace("SH--", "cR--");
        let line = read(&text);
        assert_eq!((line.path.len(), line.own_cause), (0, Some("client-request-timeout")));
    }

    #[test]
    fn states_that_name_a_cause() {
        for (state, server, wanted) in [
            ("SC--", "back/<NOSRV>", Some("lb-no-target")),
            ("SC--", "back/t1", None),
            ("sQ--", "back/<NOSRV>", Some("lb-overload")),
            ("RC--", "back/t1", Some("local-port-exhaustion")),
            ("PR--", "back/<NOSRV>", Some("lb-policy")),
            ("SH--", "back/t1", None),
        ] {
            let text = PLAIN.replace("SH--", state).replace("back/t1", server);
            let line = read(&text);
            assert_eq!(line.own_cause, wanted, "{state}");
            assert_eq!(line.undispatched, server.ends_with('>'));
        }
    }

    #[test]
    fn a_tcp_entry() {
        let text = "203.0.113.7:33313 [21/Nov/2026:10:35:40.655] fnt bck/srv1 0/0/5007 212 sD 0/0/0/0/3 0/0";
        let line = tcp(text.as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!(line.ended, Some(Timestamp(1_795_257_345_662_000_000)));
        assert!(line.failed && line.status.is_none());
        assert!(tcp(PLAIN.as_bytes(), &mut Vec::new()).is_none());
        assert!(http(text.as_bytes(), &mut Vec::new()).is_none());
    }

    proptest! {
        #[test]
        fn damage_is_no_panic(at in 0..PLAIN.len(), byte: u8, cut in 0..PLAIN.len()) {
            let mut text = PLAIN.as_bytes().to_vec();
            text[at] = byte;
            let _ = http(&text, &mut Vec::new());
            let _ = tcp(&text[..cut], &mut Vec::new());
        }
    }
}
