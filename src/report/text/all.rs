//! `--all`: every finding and every exchange, one line each.

use super::names::Names;
use super::page::{Ink, Page, WIDTH};
use super::table::request_line;
use crate::cause::Finding;
use crate::http::{Exchange, State};
use crate::report::words;
use crate::words::{columns, left, right};
use crate::{phrase, word};
use std::io;

/// Lists every finding.
pub(super) fn findings(page: &mut Page<'_>, findings: &[Finding], names: &Names) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.heading(phrase!("All {found}", found = words::plural(findings.len() as u64, "finding")))?;
    let frames = findings.iter().filter_map(|finding| Some(finding.evidence.first()?.mark));
    let width = names.widest(frames);
    for finding in findings {
        let (frame, time) = finding.evidence.first().map_or(Default::default(), |guilty| {
            (names.frame(guilty.mark.frame), words::time(guilty.mark.at))
        });
        let verdict = format!("{} ({})", finding.cause.id, page.say(finding.confidence.id()));
        let asked = page.say(finding.exchange.as_deref().map(request_line).unwrap_or_default());
        let subject = if asked.is_empty() { finding.server.socket().to_string() } else { asked };
        let start = format!("  {frame:>width$}  {time}  {}  ", left(&verdict, 28));
        listed(page, &start, &subject, "")?;
    }
    Ok(())
}

/// Lists every exchange.
pub(super) fn exchanges(
    page: &mut Page<'_>,
    exchanges: &[(u64, Exchange)],
    names: &Names,
) -> io::Result<()> {
    if exchanges.is_empty() {
        return Ok(());
    }
    page.blank()?;
    page.heading(phrase!(
        "All {found}",
        found = words::plural(exchanges.len() as u64, "exchange")
    ))?;
    let first = |exchange: &Exchange| {
        let asked = exchange.request.as_ref().map(|request| request.first);
        asked.or(exchange.response.as_ref().map(|response| response.first))
    };
    let width = names.widest(exchanges.iter().filter_map(|(_, exchange)| first(exchange)));
    let [frame, time, status, first_byte, request] =
        [word!("frame"), word!("time"), word!("status"), word!("first byte"), word!("request")]
            .map(|it| page.say(it));
    let (width, status_width) = (width.max(columns(&frame)), columns(&status));
    let head = format!(
        "  {}  {}  {status}  {}  {request}",
        right(&frame, width),
        left(&time, 27),
        right(&first_byte, 10)
    );
    let head = page.paint(Ink::Faint, &head);
    page.line(&head)?;
    for (_, exchange) in exchanges {
        let asked = exchange.request.as_ref().map(|request| request.first);
        let answered = exchange.response.as_ref().map(|response| response.first);
        let (frame, time) = first(exchange)
            .map_or(Default::default(), |mark| (names.frame(mark.frame), words::time(mark.at)));
        let status = exchange.response.as_ref().and_then(|response| response.status);
        let status = status.map_or("-".to_owned(), |status| status.to_string());
        let latency = asked.zip(answered).map_or("-".to_owned(), |(asked, answered)| {
            page.say(words::seconds(answered.at.since(asked.at)))
        });
        let state = match exchange.state {
            State::Answered => "",
            State::Outstanding => word!("outstanding"),
            State::Cut => word!("cut"),
            State::Unanswered => word!("unanswered"),
            State::Unknown => word!("not decidable"),
        };
        let start = format!(
            "  {frame:>width$}  {time:27}  {status:>status_width$}  {}  ",
            right(&latency, 10)
        );
        let asked = page.say(request_line(exchange));
        listed(page, &start, &asked, state)?;
    }
    Ok(())
}

/// One line; what does not fit is cut from `text`.
fn listed(page: &mut Page<'_>, start: &str, text: &str, end: &str) -> io::Result<()> {
    let end = if end.is_empty() { String::new() } else { format!("  {}", page.say(end)) };
    let room = WIDTH.saturating_sub(columns(start) + columns(&end));
    page.line(&format!("{start}{}{end}", words::shorten(text, room)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Style, fixture};

    #[test]
    fn an_exchange_shows_status_latency_and_how_it_ended() {
        let mut out = Vec::new();
        let report = fixture::report();
        let mut page = Page::new(Style::default(), &mut out);
        exchanges(&mut page, &report.exchanges, &Names::new(&report.captures)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> =
            text.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0][2..], ["200", "31.0", "ms", "POST", "/api/orders?id=7"]);
        assert_eq!(rows[1][2..], ["-", "-", "POST", "/api/orders?id=7", "unanswered"]);
    }
}
