//! One case with both legs of a proxy: the client, the load balancer and the target side by side, time
//! downwards.

use super::ladder::{Row, relative, rows};
use super::names::Names;
use super::page::{Ink, Page};
use super::table;
use crate::cause::{Confidence, Finding};
use crate::http::State;
use crate::join::{Attempt, Joined, Outcome};
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::words::{Phrase, columns, right, shorten};
use crate::{phrase, word};
use std::io;

/// Columns between two lines.
const INNER: usize = 33;
/// Columns of the time.
const TIME: usize = 12;

/// Between which two a packet travels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
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
    title(page, finding, joined)?;
    for (lane, row) in all_rows(finding, joined) {
        let time = right(&relative(row.mark.at, zero, page.lang()), TIME);
        let label = page.say(&row.label);
        let frame = names.frame(row.mark.frame);
        let (drawn, frame) = match row.silent {
            true => (middle(&label), page.say(phrase!("after {frame}", frame))),
            false => (arrow(row.side, &label), frame),
        };
        let blank = " ".repeat(INNER);
        let (front, back) = match lane {
            Lane::Front => (drawn.as_str(), blank.as_str()),
            Lane::Back => (blank.as_str(), drawn.as_str()),
        };
        let mut line = format!("{time} │{front}│{back}│ {frame}");
        if row.guilty {
            let guilty = page.say(word!("<== guilty"));
            line = page.paint(Ink::Guilty, &format!("{line} {guilty}"));
        }
        page.line(&line)?;
    }
    page.paragraph("    ", outcome(joined))
}

/// The packets of both legs, in the order of time.
fn all_rows(finding: &Finding, joined: &Joined) -> Vec<(Lane, Row)> {
    let own = if joined.this.is_some() { Lane::Back } else { Lane::Front };
    let mut all: Vec<(Lane, Row)> = rows(finding).into_iter().map(|row| (own, row)).collect();
    let mut push = |lane, side, mark, label: Phrase| {
        all.push((lane, Row { mark, side, label, silent: false, guilty: false }));
    };
    if own == Lane::Back {
        let front = &joined.front;
        let line = joined.exchange.as_deref().map(table::request_line).unwrap_or_default();
        let asked = if line.is_empty() { phrase!("request") } else { line };
        push(Lane::Front, Side::Client, front.asked, asked);
        match (front.answered, front.status) {
            (Some(mark), Some(status)) => {
                push(Lane::Front, Side::Server, mark, format!("HTTP {status}").into());
            }
            (Some(mark), None) => push(Lane::Front, Side::Server, mark, phrase!("response")),
            (None, _) => {}
        }
        if front.state != State::Answered
            && let Some(side) = front.closed_by
        {
            push(Lane::Front, side, front.over, phrase!("close"));
        }
    }
    for (nth, attempt) in joined.attempts.iter().enumerate() {
        if Some(nth) == joined.this {
            continue;
        }
        let what = if attempt.ends.ordinal == 0 { "SYN" } else { "request" };
        let to = attempt.ends.server.socket();
        push(Lane::Back, Side::Client, attempt.ends.asked, phrase!("{what} to {to}", what, to));
        match (attempt.ends.answered, attempt.ends.status) {
            (Some(mark), Some(status)) => {
                push(Lane::Back, Side::Server, mark, format!("HTTP {status}").into());
            }
            (Some(mark), None) => push(Lane::Back, Side::Server, mark, phrase!("response")),
            (None, _) => {
                let cause = attempt.cause.map_or(phrase!("close"), |id| id.to_owned().into());
                push(
                    Lane::Back,
                    attempt.ends.closed_by.unwrap_or(Side::Server),
                    attempt.ends.over,
                    cause,
                );
            }
        }
    }
    all.sort_by_key(|(_, row)| (row.mark.at, row.mark.frame, row.silent));
    all
}

/// Which connections these are, and the names of the three above their lines.
fn title(page: &mut Page<'_>, finding: &Finding, joined: &Joined) -> io::Result<()> {
    let stream = |flow: u64, stream: Option<u32>| match stream {
        Some(stream) => phrase!("flow {flow}, tcp.stream {stream}", flow, stream),
        None => phrase!("flow {flow}", flow),
    };
    let front = stream(joined.front.flow, joined.front.stream);
    let shown = joined.this.and_then(|this| joined.attempts.get(this));
    let back = match shown.or(joined.attempts.last()) {
        Some(_) if joined.this.is_some() => stream(finding.flow, finding.stream),
        Some(attempt) => stream(attempt.ends.flow, attempt.ends.stream),
        None => phrase!("none"),
    };
    let title = phrase!("client's leg: {front}; target's leg: {back}", front, back);
    page.paragraph("    ", title)?;
    let target = shown.or(joined.attempts.last()).map(|attempt: &Attempt| attempt.ends.server);
    let head = |left: &str, middle: &str, right: &str| {
        let width = INNER + 1;
        let (left, middle) = (shorten(left, width - 2), shorten(middle, width - 2));
        let gap = (width + 1).saturating_sub(columns(&middle) / 2 + columns(&left));
        let first = format!("{left}{:gap$}{middle}", "");
        let rest = (2 * width + 1).saturating_sub(columns(&first) + columns(right));
        format!("{:TIME$} {first}{:rest$}{right}", "", "")
    };
    let [client, balancer, server] =
        [word!("client"), word!("load balancer"), word!("target")].map(|it| page.say(it));
    let sides = page.paint(Ink::Label, &head(&client, &balancer, &server));
    page.line(&sides)?;
    let named = |endpoint: Option<Endpoint>| {
        endpoint.map_or(String::new(), |endpoint| endpoint.socket().to_string())
    };
    let proxy = named(Some(joined.front.server));
    page.line(&head(&named(Some(joined.front.client)), &proxy, &named(target)))
}

/// What became of the request, and how sure it is that the legs belong together.
fn outcome(joined: &Joined) -> Phrase {
    let saw = match joined.front.status {
        Some(status) => phrase!("the client saw {status}", status),
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
    phrase!("{what}{attempt}{sure}", what, attempt, sure)
}

fn arrow(from: Side, label: &str) -> String {
    let label = shorten(label, INNER - 8);
    let rest = "─".repeat(INNER - 6 - columns(&label));
    match from {
        Side::Client => format!(" ─ {label} {rest}▶ "),
        Side::Server => format!(" ◀{rest} {label} ─ "),
    }
}

fn middle(label: &str) -> String {
    let label = format!(" {} ", shorten(label, INNER - 6));
    let rest = INNER - 2 - columns(&label);
    format!(" {}{label}{} ", "·".repeat(rest / 2), "·".repeat(rest - rest / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::{Ends, TiedBy};
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
            state: State::Answered,
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
                state: State::Answered,
            },
            cause: None,
            certainty: Confidence::Certain,
            by: TiedBy::Request,
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

    fn shown(outcome: Outcome) -> Vec<String> {
        let finding = fixture::race(2);
        let joined = joined(&finding, outcome);
        let mut out = Vec::new();
        let mut page = Page::new(Style::default(), &mut out);
        lanes(&mut page, &finding, &joined, &Names::new(&[])).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
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
}
