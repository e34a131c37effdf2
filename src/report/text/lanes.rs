//! One case with both legs of a proxy: the client, the load balancer and the target side by side, time
//! downwards.

use super::ladder::{Row, relative, rows};
use super::names::Names;
use super::page::{Ink, Page};
use super::table;
use crate::cause::{Confidence, Finding};
use crate::http::State;
use crate::join::{Attempt, Ends, Joined, Outcome};
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::Mark;
use crate::words::{Phrase, columns, plural, right, shorten};
use crate::{phrase, word};
use std::io;

/// Columns between two lines, and the same where the page is narrow.
const INNER: usize = 33;
const INNER_MIN: usize = 14;
/// Columns of the time.
const TIME: usize = 12;

/// Between which two a packet travels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Lane {
    /// Client and load balancer.
    Front,
    /// Load balancer and target.
    Back,
}

pub(in crate::report) fn lanes(
    page: &mut Page<'_>,
    finding: &Finding,
    joined: &Joined,
    names: &Names,
) -> io::Result<()> {
    let zero = joined.front.asked.at;
    let rows: Vec<(Lane, Row, String)> = all_rows(finding, joined)
        .into_iter()
        .map(|(lane, row)| {
            let frame = names.frame(row.mark.frame);
            let mut right = match row.silent {
                true => page.say(phrase!("after {frame}", frame)),
                false => frame,
            };
            if row.guilty {
                right = format!("{right} {guilty}", guilty = page.say(word!("<== guilty")));
            }
            (lane, row, right)
        })
        .collect();
    let outer = rows.iter().map(|(.., right)| columns(right)).max().unwrap_or(0) + TIME + 5;
    let inner = (page.width().saturating_sub(outer) / 2).clamp(INNER_MIN, INNER);
    title(page, finding, joined, inner)?;
    for (lane, row, frame) in rows {
        let time = right(&relative(row.mark.at, zero, page.lang()), TIME);
        let label = page.say(&row.label);
        let drawn = match row.silent {
            true => middle(&label, inner),
            false => arrow(row.side, &label, inner),
        };
        let blank = " ".repeat(inner);
        let (front, back) = match lane {
            Lane::Front => (drawn.as_str(), blank.as_str()),
            Lane::Back => (blank.as_str(), drawn.as_str()),
        };
        let mut line = format!("{time} │{front}│{back}│ {frame}");
        if row.guilty {
            line = page.paint(Ink::Guilty, &line);
        }
        page.line(&line)?;
    }
    page.paragraph("    ", outcome(joined))
}

/// Attempts that are drawn: what a finding is about, and others that are more than possible.
fn drawn(joined: &Joined) -> impl Iterator<Item = (usize, &Attempt)> {
    joined.attempts.iter().enumerate().filter(|(nth, attempt)| {
        Some(*nth) == joined.this || attempt.certainty > Confidence::Possible
    })
}

/// Where the connection of the finding itself is.
pub(in crate::report) fn own(joined: &Joined) -> Lane {
    if joined.this.is_some() { Lane::Back } else { Lane::Front }
}

/// The packets of both legs, in the order of time.
pub(in crate::report) fn all_rows(finding: &Finding, joined: &Joined) -> Vec<(Lane, Row)> {
    let own = own(joined);
    let mut all: Vec<(Lane, Row)> = rows(finding).into_iter().map(|row| (own, row)).collect();
    let mut push = |lane, side, mark, label: Phrase, silent| {
        all.push((lane, Row { mark, side, label, silent, guilty: false }));
    };
    if own == Lane::Back {
        let front = &joined.front;
        let line = joined.exchange.as_deref().map(table::request_line).unwrap_or_default();
        let asked = if line.is_empty() { phrase!("request") } else { line };
        push(Lane::Front, Side::Client, front.asked, asked, false);
        answer(front, |side, mark, label| push(Lane::Front, side, mark, label, false));
        if front.state != State::Answered
            && let Some(side) = front.closed_by
        {
            push(Lane::Front, side, front.over, phrase!("close"), false);
        }
    }
    for (_, attempt) in drawn(joined).filter(|(nth, _)| Some(*nth) != joined.this) {
        let ends = &attempt.ends;
        let to = ends.server.socket();
        let label = match ends.ordinal {
            0 => phrase!("SYN to {to}", to),
            _ => phrase!("request to {to}", to),
        };
        push(Lane::Back, Side::Client, ends.asked, label, false);
        answer(ends, |side, mark, label| push(Lane::Back, side, mark, label, false));
        if ends.answered.is_none() {
            let silent = ends.ordinal == 0 && ends.closed_by.is_none();
            let end = || if silent { phrase!("no answer") } else { phrase!("close") };
            let cause = attempt.cause.map_or_else(end, |id| id.to_owned().into());
            push(Lane::Back, ends.closed_by.unwrap_or(Side::Server), ends.over, cause, silent);
        }
    }
    all.sort_by_key(|(_, row)| (row.mark.at, row.mark.frame, row.silent));
    all
}

/// The beginning of the response, if there is one.
fn answer(ends: &Ends, push: impl FnOnce(Side, Mark, Phrase)) {
    match (ends.answered, ends.status) {
        (Some(mark), Some(status)) => push(Side::Server, mark, format!("HTTP {status}").into()),
        (Some(mark), None) => push(Side::Server, mark, phrase!("response")),
        (None, _) => {}
    }
}

/// Client, proxy and target, as far as they are known.
pub(in crate::report) fn ends(joined: &Joined) -> [Option<Endpoint>; 3] {
    let shown = joined.this.and_then(|this| joined.attempts.get(this));
    let target = shown.or_else(|| drawn(joined).last().map(|(_, attempt)| attempt));
    [Some(joined.front.client), Some(joined.front.server), target.map(|it| it.ends.server)]
}

/// Which connections these are, and the names of the three above their lines.
fn title(page: &mut Page<'_>, finding: &Finding, joined: &Joined, inner: usize) -> io::Result<()> {
    let stream = |flow: u64, stream: Option<u32>| match stream {
        Some(stream) => phrase!("flow {flow}, tcp.stream {stream}", flow, stream),
        None => phrase!("flow {flow}", flow),
    };
    let front = stream(joined.front.flow, joined.front.stream);
    let last = drawn(joined).last();
    let back = match (joined.this, last) {
        (Some(_), _) => stream(finding.flow, finding.stream),
        (None, Some((_, attempt))) => stream(attempt.ends.flow, attempt.ends.stream),
        (None, None) => phrase!("none"),
    };
    let title = phrase!("client's leg: {front}; target's leg: {back}", front, back);
    page.paragraph("    ", title)?;
    let head = |left: &str, middle: &str, right: &str| {
        let width = inner + 1;
        let (left, middle) = (shorten(left, 2 * width), shorten(middle, 2 * width));
        let gap = (width + 1).saturating_sub(columns(&middle) / 2 + columns(&left));
        let first = format!("{left}{:gap$}{middle}", "");
        let rest = (2 * width + 1).saturating_sub(columns(&first) + columns(right));
        format!("{:TIME$} {first}{:rest$}{right}", "", "")
    };
    let [client, balancer, server] =
        [word!("client"), word!("load balancer"), word!("target")].map(|it| page.say(it));
    let sides = page.paint(Ink::Label, &head(&client, &balancer, &server));
    page.line(&sides)?;
    let [client, proxy, target] =
        ends(joined).map(|end| end.map_or(String::new(), |end| end.socket().to_string()));
    let half = inner + 1;
    let side = columns(&client).max(columns(&target));
    if side + columns(&proxy) / 2 + 2 <= half {
        return page.line(&head(&client, &proxy, &target));
    }
    for (client, proxy, target) in
        [(client.as_str(), "", ""), ("", proxy.as_str(), ""), ("", "", target.as_str())]
    {
        page.line(head(client, proxy, target).trim_end())?;
    }
    Ok(())
}

/// What became of the request, and how sure it is that the legs belong together.
pub(in crate::report) fn outcome(joined: &Joined) -> Phrase {
    let saw = match joined.front.status {
        Some(_) if joined.front.left_before_answer() => phrase!("the client had left"),
        Some(status) => phrase!("the client saw {status}", status),
        None if joined.front.answered.is_some() => {
            phrase!("what the client got cannot be read")
        }
        None => phrase!("the client got no answer"),
    };
    let what = match joined.outcome {
        Outcome::Failed => saw,
        Outcome::Masked => phrase!("masked by a retry: {saw}", saw),
        Outcome::Retried => phrase!("tried again without success: {saw}", saw),
        Outcome::PassedOn => phrase!("passed on all the same: {saw}", saw),
    };
    let of = joined.attempts.len();
    let attempt = match joined.this {
        Some(this) if of > 1 => phrase!(" (attempt {n} of {of})", n = this + 1, of),
        _ => Phrase::default(),
    };
    let sure = match joined.certainty {
        _ if of == 0 => word!(", and no target was asked"),
        Confidence::Certain => "",
        Confidence::Likely => word!("; the legs are likely those of one request"),
        Confidence::Possible => word!("; the legs may be those of one request"),
    };
    let more = match of - drawn(joined).count() {
        0 => Phrase::default(),
        n => phrase!(
            "; not drawn: {what} that may belong to it",
            what = plural(n as u64, "more attempt")
        ),
    };
    phrase!("{what}{attempt}{sure}{more}", what, attempt, sure, more)
}

fn arrow(from: Side, label: &str, inner: usize) -> String {
    let label = shorten(label, inner - 8);
    let rest = "─".repeat((inner - 6).saturating_sub(columns(&label)));
    match from {
        Side::Client => format!(" ─ {label} {rest}▶ "),
        Side::Server => format!(" ◀{rest} {label} ─ "),
    }
}

fn middle(label: &str, inner: usize) -> String {
    let label = format!(" {} ", shorten(label, inner - 6));
    let rest = (inner - 2).saturating_sub(columns(&label));
    format!(" {}{label}{} ", "·".repeat(rest / 2), "·".repeat(rest - rest / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::TiedBy;
    use crate::report::{Style, fixture};

    fn joined(finding: &Finding, outcome: Outcome) -> Joined {
        let front = Ends {
            flow: 1,
            stream: Some(1),
            ordinal: 1,
            client: Endpoint::v4([203, 0, 113, 7], 50_000),
            server: Endpoint::v4([10, 0, 1, 7], 80),
            asked: fixture::mark(0, 119, 1_998),
            answered: Some(fixture::mark(0, 124, 2_003)),
            over: fixture::mark(0, 124, 2_003),
            closed_by: None,
            status: Some(if outcome == Outcome::Failed { 502 } else { 200 }),
            head_len: 200,
            state: State::Answered,
            own_page: None,
        };
        let attempt = |server: Endpoint, frame, ms, status: Option<u16>| Attempt {
            ends: Ends {
                flow: finding.flow,
                stream: finding.stream,
                ordinal: 2,
                client: finding.client,
                server,
                asked: fixture::mark(0, frame, ms),
                answered: status.map(|_| fixture::mark(0, frame + 1, ms + 1)),
                over: fixture::mark(0, frame + 1, ms + 1),
                closed_by: None,
                status,
                head_len: 200,
                state: State::Answered,
                own_page: None,
            },
            cause: None,
            certainty: Confidence::Certain,
            by: TiedBy::Request,
            own: false,
        };
        let mut attempts = vec![attempt(finding.server, 122, 2_000, None)];
        if outcome == Outcome::Masked {
            attempts.push(attempt(Endpoint::v4([10, 0, 2, 10], 8080), 124, 2_001, Some(200)));
        }
        Joined {
            front,
            exchange: None,
            attempts,
            this: Some(0),
            outcome,
            certainty: Confidence::Certain,
        }
    }

    #[test]
    fn a_connection_that_nobody_answered_was_closed_by_nobody() {
        let finding = fixture::race(2);
        let mut joined = joined(&finding, Outcome::Failed);
        joined.this = None;
        let label = |joined: &Joined| {
            let rows = all_rows(&finding, joined);
            let (_, last) = rows.last().unwrap();
            (last.label.to_string(), last.silent)
        };
        assert_eq!(label(&joined), ("close".to_owned(), false));
        joined.attempts[0].ends.ordinal = 0;
        assert_eq!(label(&joined), ("no answer".to_owned(), true));
    }

    fn drawn_as(finding: &Finding, joined: &Joined, style: Style) -> String {
        let mut out = Vec::new();
        let mut page = Page::new(style, &mut out);
        lanes(&mut page, finding, joined, &Names::new(&[])).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn shown(outcome: Outcome) -> Vec<String> {
        let finding = fixture::race(2);
        let text = drawn_as(&finding, &joined(&finding, outcome), Style::default());
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn both_legs_stand_side_by_side() {
        let lines = shown(Outcome::Failed);
        let row = |text: &str| lines.iter().find(|line| line.contains(text)).unwrap().clone();
        let lane = |line: &str| -> Vec<bool> {
            line.split('│').skip(1).take(2).map(|lane| !lane.trim().is_empty()).collect()
        };
        assert_eq!(lane(&row("HTTP 502")), [true, false]);
        assert_eq!(lane(&row("<== guilty")), [false, true]);
        assert!(lines.last().unwrap().contains("the client saw 502"), "{lines:#?}");
        assert!(row("203.0.113.7:50000").contains("10.0.1.7:80"));
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
    }

    #[test]
    fn a_retry_shows_what_hid_the_failure() {
        let lines = shown(Outcome::Masked);
        assert!(lines.iter().any(|line| line.contains("request to 10.0.2.10:8080")), "{lines:#?}");
        let last = lines.last().unwrap();
        assert!(last.contains("masked by a retry: the client saw 200 (attempt 1 of 2)"), "{last}");
    }

    #[test]
    fn what_is_only_possible_is_named_and_not_drawn() {
        let finding = fixture::race(2);
        let mut joined = joined(&finding, Outcome::Masked);
        joined.attempts[1].certainty = Confidence::Possible;
        let text = drawn_as(&finding, &joined, Style::default());
        assert!(!text.contains("request to 10.0.2.10:8080"), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("not drawn: 1 more attempt that may belong to it"), "{text}");
    }

    #[test]
    fn lanes_fit_the_page_in_every_language() {
        let mut finding = fixture::race(2);
        finding.client = Endpoint::v6([0xfd; 16], 65_535);
        finding.server = finding.client;
        for evidence in &mut finding.evidence {
            evidence.mark.frame = crate::time::FrameId::new(0, 1_234_567);
        }
        let mut joined = joined(&finding, Outcome::Masked);
        joined.attempts[1].ends.server = finding.client;
        joined.front.client = finding.client;
        for lang in [crate::words::Lang::En, crate::words::Lang::Ja] {
            let text = drawn_as(&finding, &joined, Style { lang, ..Style::default() });
            for line in text.lines() {
                assert!(columns(line) <= crate::report::text::page::WIDTH, "{line}");
            }
            assert!(lang == crate::words::Lang::En || !text.contains("request"), "{text}");
        }
    }
}
