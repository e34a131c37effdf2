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
use std::io;

/// Columns between the two sides.
const INNER: usize = 52;
/// Columns of the time.
const TIME: usize = 12;
/// Pieces of evidence that get a line of explanation.
const NOTES_MAX: usize = 6;

/// One row.
pub(in crate::report) struct Row {
    pub(in crate::report) mark: Mark,
    pub(in crate::report) side: Side,
    pub(in crate::report) label: String,
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

    title(page, finding)?;
    if let Some(idle) = finding.idle_before.filter(|idle| *idle > 0 && request.is_some()) {
        let label = middle(&format!("idle for {}", words::seconds(idle as f64 / 1e9)), '·');
        let time = format!("-{}", words::seconds(idle as f64 / 1e9));
        let row = format!("{time:>TIME$} │{label}│");
        let row = page.paint(Ink::Faint, &row);
        page.line(&row)?;
    }
    for row in &rows {
        let time = relative(row.mark.at, zero);
        let frame = names.frame(row.mark.frame);
        let (drawn, frame) = match row.silent {
            true => (middle(&row.label, '·'), format!("after {frame}")),
            false => (arrow(row.side, &row.label), frame),
        };
        let line = match outstanding(finding, row.mark.at) {
            true => format!("{time:>TIME$} ┃{drawn}│ {frame}"),
            false => format!("{time:>TIME$} │{drawn}│ {frame}"),
        };
        if row.guilty {
            let line = page.paint(Ink::Guilty, &format!("{line} <== guilty"));
            page.line(&line)?;
        } else {
            page.line(&line)?;
        }
    }
    if let Some(span) = finding.outstanding.filter(|span| *span > 0) {
        let span = words::seconds(span as f64 / 1e9);
        page.line(&format!("{:TIME$} ┃ outstanding for {span}", ""))?;
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
fn title(page: &mut Page<'_>, finding: &Finding) -> io::Result<()> {
    let stream = match finding.stream {
        Some(stream) => format!("tcp.stream {stream}"),
        None => "no tcp.stream".to_owned(),
    };
    let place = terms::vantage(finding.vantage);
    page.paragraph("    ", &format!("flow {}, {stream}, captured {place}", finding.flow))?;
    let (client, server) =
        (finding.client.socket().to_string(), finding.server.socket().to_string());
    let (left, right) = ("client", "server");
    let head = |left: &str, right: &str| {
        let gap = (INNER + 2).saturating_sub(left.chars().count() + right.chars().count());
        format!("{:TIME$} {left}{:gap$}{right}", "", "")
    };
    let sides = page.paint(Ink::Label, &head(left, right));
    page.line(&sides)?;
    if client.len() + server.len() + 2 <= INNER + 2 {
        page.line(&head(&client, &server))
    } else {
        page.line(&head(&client, ""))?;
        let gap = (INNER + 2).saturating_sub(server.len());
        page.line(&format!("{:TIME$} {:gap$}{server}", "", ""))
    }
}

/// What the evidence proves, the guilty packet first.
fn notes(page: &mut Page<'_>, finding: &Finding, names: &Names) -> io::Result<()> {
    let shown =
        finding.evidence.iter().take(NOTES_MAX).filter(|evidence| !evidence.note.is_empty());
    for evidence in shown {
        page.hanging(&format!("    frame {}: ", names.frame(evidence.mark.frame)), &evidence.note)?;
    }
    match finding.evidence.len().saturating_sub(NOTES_MAX) {
        0 => Ok(()),
        n => page.line(&format!("    and {}", words::plural(n as u64, "more packet"))),
    }
}

/// What is known of the case, in the order of time.
pub(in crate::report) fn rows(finding: &Finding) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    if let Some(exchange) = &finding.exchange {
        exchange_rows(exchange, &mut rows);
    }
    let shape = |n: usize| finding.packets.get(n).copied().unwrap_or_default();
    for (n, evidence) in finding.evidence.iter().enumerate() {
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
                        row.label = format!("{} + {also}", row.label);
                    }
                }
            }
            None => rows.push(Row {
                mark: evidence.mark,
                side: evidence.side,
                label: match silent {
                    true => format!("{} stays silent", terms::side(evidence.side)),
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
        let bytes = format!("{} B", words::count(request.end.saturating_sub(request.start)));
        let line = table::request_line(exchange);
        let line = if line.is_empty() { "request".to_owned() } else { line };
        if request.first.frame == request.last.frame {
            let more = if request.complete { "" } else { ", not complete" };
            push(
                Side::Client,
                request.first,
                format!("{}, {bytes}{more}", words::shorten(&line, 28)),
            );
        } else {
            let end = if request.complete { "end of request" } else { "more of the request" };
            push(Side::Client, request.first, words::shorten(&line, 40));
            push(Side::Client, request.last, format!("{end}, {bytes} so far"));
        }
    }
    if let Some(response) = &exchange.response {
        let encrypted = exchange.blind_spots.has(BlindSpot::Encrypted);
        let unread = if encrypted { "encrypted response" } else { "response" };
        let status = response.status.map_or(unread.to_owned(), |status| format!("HTTP {status}"));
        let body = match response.framing {
            Framing::Length(length) if !response.complete => {
                format!("{} of {} B", words::count(response.body), words::count(length))
            }
            _ => format!("{} B", words::count(response.end.saturating_sub(response.start))),
        };
        let state = match (response.complete, response.head_complete) {
            (true, _) => "",
            (false, true) if matches!(response.framing, Framing::Length(_)) => "",
            (false, true) => ", not complete",
            (false, false) if encrypted => ", record not complete",
            (false, false) => ", head not complete",
        };
        if response.first.frame == response.last.frame {
            push(Side::Server, response.first, format!("{status}, {body}{state}"));
        } else {
            push(Side::Server, response.first, status);
            push(Side::Server, response.last, format!("{body}{state}"));
        }
    }
}

/// Its flags or what it is, and its length: `FIN, ACK`, `RST`, `retransmission, 1 448 B`.
fn packet(what: What, shape: PacketFacts) -> String {
    let name = match what {
        What::Syn => "SYN",
        What::SynAck => "SYN, ACK",
        What::Rst => "RST",
        What::Fin => "FIN",
        What::Ack => "ACK",
        What::Request => "request",
        What::Response => "response",
        What::Retransmission => "retransmission",
        What::ZeroWindow => "window 0",
        What::Icmp => "ICMP error",
        What::TlsAlert => "TLS alert",
        What::TlsHello => "TLS hello",
        What::Silence => "silence",
    };
    let ack = if shape.ack == Some(true) { ", ACK" } else { "" };
    match shape.payload {
        None | Some(0) => format!("{name}{ack}"),
        Some(payload) => format!("{name}{ack}, {} B", words::count(u64::from(payload))),
    }
}

/// ` ── RST ─────▶ ` from the client, ` ◀───── RST ── ` from the server.
fn arrow(from: Side, label: &str) -> String {
    let label = words::shorten(label, INNER - 9);
    let rest = "─".repeat(INNER - 7 - label.chars().count());
    match from {
        Side::Client => format!(" ── {label} {rest}▶ "),
        Side::Server => format!(" ◀{rest} {label} ── "),
    }
}

fn middle(label: &str, fill: char) -> String {
    let label = format!(" {} ", words::shorten(label, INNER - 6));
    let rest = INNER - 2 - label.chars().count();
    let fill = |n: usize| fill.to_string().repeat(n);
    format!(" {}{label}{} ", fill(rest / 2), fill(rest - rest / 2))
}

/// Signed time from `zero`.
fn relative(at: Timestamp, zero: Timestamp) -> String {
    match at.since(zero) {
        s if s > 0.0 => format!("+{}", words::seconds(s)),
        s if s < 0.0 => words::seconds(s),
        _ => "0 s".to_owned(),
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
