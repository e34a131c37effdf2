//! One case, packet by packet: client on the left, server on the right, time downwards. The client's
//! line is thick while its request is outstanding.

use super::names::Names;
use super::page::{Ink, Page};
use super::table;
use crate::blind::BlindSpot;
use crate::cause::{Finding, PacketFacts, What};
use crate::http::{Exchange, Framing};
use crate::report::{terms, words};
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use crate::words::{Lang, Phrase, columns, plural, right};
use crate::{phrase, word};
use std::io;

/// Columns between the two sides.
const INNER: usize = 52;
/// The same where the page is too narrow for them.
const INNER_MIN: usize = 20;
/// Columns of the time, of both lines with the spaces at them, of a frame number of seven digits and
/// of the mark behind it.
const OUTER: usize = TIME + 4 + 7 + " <== guilty".len();
/// Columns of the time.
const TIME: usize = 12;
/// Pieces of evidence that get a line of explanation.
const NOTES_MAX: usize = 6;

/// One row.
pub(in crate::report) struct Row {
    pub(in crate::report) mark: Mark,
    pub(in crate::report) side: Side,
    pub(in crate::report) label: Phrase,
    /// Nothing was sent: the label stands in the middle, without an arrow.
    pub(in crate::report) silent: bool,
    pub(in crate::report) guilty: bool,
}

pub(in crate::report) fn ladder(
    page: &mut Page<'_>,
    finding: &Finding,
    names: &Names,
) -> io::Result<()> {
    let rows = rows(finding);
    let Some(first) = rows.first() else { return Ok(()) };
    let request = finding.exchange.as_ref().and_then(|exchange| exchange.request.as_ref());
    let zero = request.map_or(first.mark.at, |request| request.first.at);

    let inner = page.width().saturating_sub(OUTER).clamp(INNER_MIN, INNER);
    title(page, finding, inner)?;
    if let Some(idle) = finding.idle_before.filter(|idle| *idle > 0 && request.is_some()) {
        let idle = words::seconds(idle as f64 / 1e9);
        let label = middle(&page.say(phrase!("idle for {idle}", idle = &idle)), '·', inner);
        let time = right(&format!("-{}", page.say(idle)), TIME);
        let row = format!("{time} │{label}│");
        let row = page.paint(Ink::Faint, &row);
        page.line(&row)?;
    }
    for row in &rows {
        let time = right(&relative(row.mark.at, zero, page.lang()), TIME);
        let label = page.say(&row.label);
        let frame = names.frame(row.mark.frame);
        let (drawn, frame) = match row.silent {
            true => (middle(&label, '·', inner), page.say(phrase!("after {frame}", frame))),
            false => (arrow(row.side, &label, inner), frame),
        };
        let line = match outstanding(finding, row.mark.at) {
            true => format!("{time} ┃{drawn}│ {frame}"),
            false => format!("{time} │{drawn}│ {frame}"),
        };
        if row.guilty {
            let guilty = page.say(word!("guilty"));
            let line = page.paint(Ink::Guilty, &format!("{line} <== {guilty}"));
            page.line(&line)?;
        } else {
            page.line(&line)?;
        }
    }
    if let Some(span) = finding.outstanding.filter(|span| *span > 0) {
        let span =
            page.say(phrase!("outstanding for {span}", span = words::seconds(span as f64 / 1e9)));
        page.line(&format!("{:TIME$} ┃ {span}", ""))?;
    }
    notes(page, finding, names)
}

/// Whether the request was on its way or waited for its response at that time.
fn outstanding(finding: &Finding, at: Timestamp) -> bool {
    let request = finding.exchange.as_ref().and_then(|exchange| exchange.request.as_ref());
    request.zip(finding.outstanding).is_some_and(|(request, span)| {
        span > 0 && (0..=span).contains(&at.nanos_since(request.first.at))
    })
}

/// Which connection this is, and the names of the two sides above their lines.
fn title(page: &mut Page<'_>, finding: &Finding, inner: usize) -> io::Result<()> {
    let stream = match finding.stream {
        Some(stream) => format!("tcp.stream {stream}").into(),
        None => phrase!("no tcp.stream"),
    };
    let place = terms::vantage(finding.vantage);
    let flow = finding.flow;
    // There is no file yet that has the stream.
    let title = match page.is_live() {
        true => phrase!("flow {flow}, captured {place}", flow, place),
        false => phrase!("flow {flow}, {stream}, captured {place}", flow, stream, place),
    };
    page.paragraph("    ", title)?;
    let (client, server) =
        (finding.client.socket().to_string(), finding.server.socket().to_string());
    let (left, right) = (page.say(word!("client")), page.say(word!("server")));
    let head = |left: &str, right: &str| {
        let gap = (inner + 2).saturating_sub(columns(left) + columns(right));
        format!("{:TIME$} {left}{:gap$}{right}", "", "")
    };
    let sides = page.paint(Ink::Label, &head(&left, &right));
    page.line(&sides)?;
    if client.len() + server.len() + 2 <= inner + 2 {
        page.line(&head(&client, &server))
    } else {
        page.line(&head(&client, ""))?;
        let gap = (inner + 2).saturating_sub(server.len());
        page.line(&format!("{:TIME$} {:gap$}{server}", "", ""))
    }
}

/// What the evidence proves, the guilty packet first.
fn notes(page: &mut Page<'_>, finding: &Finding, names: &Names) -> io::Result<()> {
    let shown =
        finding.evidence.iter().take(NOTES_MAX).filter(|evidence| !evidence.note.is_empty());
    for evidence in shown {
        let frame = match evidence.what {
            What::LogLine => page.say(phrase!("log line")),
            _ => page.say(phrase!("frame {n}", n = names.frame(evidence.mark.frame))),
        };
        page.hanging(&format!("    {frame}: "), &evidence.note)?;
    }
    match finding.evidence.len().saturating_sub(NOTES_MAX) {
        0 => Ok(()),
        n => page
            .paragraph("    ", phrase!("and {packets}", packets = plural(n as u64, "more packet"))),
    }
}

/// What is known of the case, in the order of time.
pub(in crate::report) fn rows(finding: &Finding) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    if let Some(exchange) = &finding.exchange {
        exchange_rows(exchange, &mut rows);
    }
    let shape = |n: usize| finding.packets.get(n).copied().unwrap_or_default();
    let packets = finding.evidence.iter().enumerate().filter(|(_, it)| it.what != What::LogLine);
    for (n, evidence) in packets {
        let guilty = n == 0;
        let silent = evidence.what == What::Silence;
        let same = rows.iter_mut().find(|row| {
            !silent
                && !row.silent
                && row.mark.frame == evidence.mark.frame
                && row.side == evidence.side
        });
        match same {
            Some(row) => {
                row.guilty |= guilty;
                if !matches!(evidence.what, What::Request | What::Response) {
                    let also = packet(evidence.what, shape(n));
                    if row.label != also {
                        row.label = phrase!("{label} + {also}", label = &row.label, also);
                    }
                }
            }
            None => rows.push(Row {
                mark: evidence.mark,
                side: evidence.side,
                label: match silent {
                    true => phrase!("{side} stays silent", side = terms::side(evidence.side)),
                    false => packet(evidence.what, shape(n)),
                },
                silent,
                guilty,
            }),
        }
    }
    rows.sort_by_key(|row| (row.mark.at, row.mark.frame, row.silent));
    rows
}

fn exchange_rows(exchange: &Exchange, rows: &mut Vec<Row>) {
    let mut push =
        |side, mark, label| rows.push(Row { mark, side, label, silent: false, guilty: false });
    if let Some(request) = &exchange.request {
        let bytes = phrase!("{n} B", n = words::count(request.end.saturating_sub(request.start)));
        let line = table::request_line(exchange);
        let line = if line.is_empty() { phrase!("request") } else { line };
        if request.first.frame == request.last.frame {
            let more = if request.complete { "" } else { word!(", not complete") };
            push(
                Side::Client,
                request.first,
                phrase!("{line}, {bytes}{more}", line = line.shortened(28), bytes, more),
            );
        } else {
            let end = if request.complete {
                word!("end of request")
            } else {
                word!("more of the request")
            };
            push(Side::Client, request.first, line.shortened(40));
            push(Side::Client, request.last, phrase!("{end}, {bytes} so far", end, bytes));
        }
    }
    if let Some(response) = &exchange.response {
        let encrypted = exchange.blind_spots.has(BlindSpot::Encrypted);
        let unread = if encrypted { phrase!("encrypted response") } else { phrase!("response") };
        let status = response.status.map_or(unread, |status| format!("HTTP {status}").into());
        let body = match response.framing {
            Framing::Length(length) if !response.complete => {
                phrase!(
                    "{n} of {all} B",
                    n = words::count(response.body),
                    all = words::count(length)
                )
            }
            _ => phrase!("{n} B", n = words::count(response.end.saturating_sub(response.start))),
        };
        let state = match (response.complete, response.head_complete) {
            (true, _) => "",
            (false, true) if matches!(response.framing, Framing::Length(_)) => "",
            (false, true) => word!(", not complete"),
            (false, false) if encrypted => word!(", record not complete"),
            (false, false) => word!(", head not complete"),
        };
        if response.first.frame == response.last.frame {
            push(
                Side::Server,
                response.first,
                phrase!("{status}, {body}{state}", status, body, state),
            );
        } else {
            push(Side::Server, response.first, status);
            push(Side::Server, response.last, phrase!("{body}{state}", body, state));
        }
    }
}

/// Its flags or what it is, and its length: `FIN, ACK`, `RST`, `retransmission, 1 448 B`.
fn packet(what: What, shape: PacketFacts) -> Phrase {
    let name = match what {
        What::Syn => "SYN",
        What::SynAck => "SYN, ACK",
        What::Rst => "RST",
        What::Fin => "FIN",
        What::Ack => "ACK",
        What::Request => word!("request"),
        What::Response => word!("response"),
        What::Retransmission => word!("retransmission"),
        What::ZeroWindow => word!("window 0"),
        What::Icmp => word!("ICMP error"),
        What::TlsAlert => word!("TLS alert"),
        What::TlsHello => word!("TLS hello"),
        What::Silence => word!("silence"),
        What::LogLine => word!("log line"),
    };
    let ack = if shape.ack == Some(true) { ", ACK" } else { "" };
    match shape.payload {
        None | Some(0) => phrase!("{name}{ack}", name, ack),
        Some(payload) => {
            phrase!("{name}{ack}, {n} B", name, ack, n = words::count(u64::from(payload)))
        }
    }
}

/// ` ── RST ─────▶ ` from the client, ` ◀───── RST ── ` from the server.
fn arrow(from: Side, label: &str, inner: usize) -> String {
    let label = words::shorten(label, inner - 9);
    let rest = "─".repeat(inner - 7 - columns(&label));
    match from {
        Side::Client => format!(" ── {label} {rest}▶ "),
        Side::Server => format!(" ◀{rest} {label} ── "),
    }
}

fn middle(label: &str, fill: char, inner: usize) -> String {
    let label = format!(" {} ", words::shorten(label, inner - 6));
    let rest = inner - 2 - columns(&label);
    let fill = |n: usize| fill.to_string().repeat(n);
    format!(" {}{label}{} ", fill(rest / 2), fill(rest - rest / 2))
}

/// Signed time from `zero`.
pub(super) fn relative(at: Timestamp, zero: Timestamp, lang: Lang) -> String {
    match at.since(zero) {
        s if s > 0.0 => format!("+{}", words::seconds(s).in_lang(lang)),
        s if s < 0.0 => words::seconds(s).in_lang(lang).into_owned(),
        _ => phrase!("{n} s", n = 0_u8).in_lang(lang).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Evidence;
    use crate::http::Response;
    use crate::report::{Style, fixture};

    fn shown(finding: &Finding) -> Vec<String> {
        let mut out = Vec::new();
        let names = Names::new(&[]);
        ladder(&mut Page::new(Style::default(), &mut out), finding, &names).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_narrow_page_has_a_narrow_ladder() {
        for (width, longest) in [(78, 78), (58, 58), (20, 54)] {
            let (mut out, names) = (Vec::new(), Names::new(&[]));
            let mut page = Page::live(width, Style::default(), &mut out);
            ladder(&mut page, &fixture::race(2), &names).unwrap();
            let text = String::from_utf8(out).unwrap();
            let rows = text.lines().filter(|line| line.contains(['▶', '◀']));
            assert_eq!(rows.clone().count(), 3, "{text}");
            for row in rows {
                assert!(row.chars().count() <= longest, "{width}: {row}");
            }
        }
    }

    #[test]
    fn rows_are_in_the_order_of_time_and_one_is_guilty() {
        let lines = shown(&fixture::race(2));
        let frames: Vec<&str> = lines
            .iter()
            .filter(|line| line.contains(['▶', '◀']))
            .filter_map(|line| line.rsplit('│').next())
            .map(str::trim)
            .collect();
        assert_eq!(frames, ["120 <== guilty", "122", "123"]);
    }

    #[test]
    fn a_packet_is_drawn_once() {
        let mut finding = fixture::race(2);
        finding.evidence[2].what = What::Fin;
        let response = Response {
            first: finding.evidence[2].mark,
            last: finding.evidence[2].mark,
            status: Some(200),
            head_complete: true,
            framing: Framing::Length(4096),
            body: 812,
            ..Response::default()
        };
        finding.exchange.as_mut().unwrap().response = Some(response);
        let lines = shown(&finding);
        let of_frame: Vec<&String> = lines.iter().filter(|line| line.ends_with("│ 123")).collect();
        assert_eq!(of_frame.len(), 1);
        assert!(of_frame[0].contains("HTTP 200, 812 of 4 096 B + FIN ──"), "{of_frame:?}");
    }

    #[test]
    fn silence_is_no_arrow() {
        let mut finding = fixture::race(2);
        let last = finding.evidence[1].mark;
        let silence = Evidence {
            mark: last,
            side: Side::Server,
            what: What::Silence,
            note: "no answer for 60.0 s".into(),
        };
        finding.evidence.insert(0, silence);
        let lines = shown(&finding);
        let row = lines.iter().find(|line| line.contains("guilty")).unwrap();
        assert!(
            row.contains("· server stays silent ·") && row.ends_with("│ after 122 <== guilty"),
            "{row}"
        );
        assert_eq!(lines.iter().filter(|line| line.contains("guilty")).count(), 1);
    }

    #[test]
    fn flags_lengths_and_the_outstanding_span_are_shown() {
        let mut finding = fixture::race(2);
        for evidence in &mut finding.evidence {
            evidence.mark.at = evidence.mark.at.after(5_000_000);
        }
        finding.evidence[1].what = What::Retransmission;
        finding.evidence[1].mark = fixture::mark(0, 125, 2_005);
        finding.packets[1].payload = Some(1_448);
        finding.outstanding = Some(4_000_000);
        let lines = shown(&finding);
        let has = |parts: [&str; 2]| {
            assert!(
                lines.iter().any(|line| parts.iter().all(|it| line.contains(it))),
                "{lines:#?}"
            );
        };
        has([" FIN, ACK ── │ 120 <== guilty", "+4.00 ms ┃ ◀"]);
        has([" RST ── │ 123", "+6.00 ms │ ◀"]);
        has(["retransmission, 1 448 B ─", "+5.00 ms │ ── "]);
        has(["0 s ┃ ── POST /api/orders", "▶ │ 122"]);
        has(["┃ outstanding for 4.00 ms", ""]);
    }

    #[test]
    fn the_lines_of_both_sides_are_straight() {
        let lines = shown(&fixture::race(2));
        let columns = |line: &str| -> Vec<usize> {
            let lines = line.chars().enumerate().filter(|(_, c)| matches!(c, '│' | '┃'));
            lines.map(|(column, _)| column).collect()
        };
        for line in lines.iter().filter(|line| line.contains('│')) {
            assert_eq!(columns(line), [TIME + 1, TIME + 2 + INNER], "{line}");
        }
    }
}
