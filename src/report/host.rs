//! `why502 host`: the triage of this host, as text and as JSON.

mod events;
mod json;

pub use events::{event_json, event_text};
pub use json::{SCHEMA, json};

use super::text::page::{Ink, Page, WIDTH};
use super::{Style, words};
use crate::host::{Answer, Grade, PortTriage, Question, Triage};
use std::io::{self, Write};

/// Ports of a list of all that listen; further ones are counted. JSON has all of them.
const PORTS_SHOWN: usize = 50;
/// Columns of a question.
const QUESTION: usize = 20;
/// Columns of a grade.
const GRADE: usize = 16;
/// Columns of a port.
const PORT: usize = 7;

/// Writes the triage as text: the answer, then a line for each question.
pub fn text(triage: &Triage, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let mut page = Page::new(*style, out);
    let worst = triage.ports.iter().map(|port| port.grade);
    let worst = worst.chain(triage.host.iter().map(|answer| answer.grade)).max();
    let ink = match worst {
        Some(Grade::Bad) => Ink::Bad,
        Some(Grade::Look) => Ink::Cause,
        _ => Ink::Good,
    };
    for line in words::wrap(&words::clean(&triage.answer), WIDTH) {
        let line = page.paint(ink, &line);
        page.line(&line)?;
    }
    if triage.asked {
        for port in &triage.ports {
            page.blank()?;
            page.heading(format!("Port {}", port.port))?;
            for answer in &port.answers {
                line(&mut page, answer.question.text(), QUESTION, answer)?;
            }
        }
    } else {
        page.blank()?;
        page.heading("Ports that listen")?;
        for port in triage.ports.iter().take(PORTS_SHOWN) {
            port_line(&mut page, port)?;
        }
        let more = triage.ports.len().saturating_sub(PORTS_SHOWN);
        if more > 0 {
            page.line(&format!("  and {}", words::plural(more as u64, "more port")))?;
        }
    }
    page.blank()?;
    page.heading("This host")?;
    for answer in &triage.host {
        line(&mut page, answer.question.text(), QUESTION, answer)?;
    }
    Ok(())
}

/// A port in the list of all: who listens, or what is wrong with it.
fn port_line(page: &mut Page<'_>, port: &PortTriage) -> io::Result<()> {
    let says = |question| port.answer(question).map(|answer| answer.says.as_str());
    let worst =
        port.worst().filter(|worst| worst.grade == Grade::Bad || worst.grade == Grade::Look);
    let says = match worst {
        Some(worst) if worst.question == Question::Application => worst.says.clone(),
        Some(worst) => [Some(worst.says.as_str()), says(Question::Application)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; "),
        None => [Question::Application, Question::Queue]
            .into_iter()
            .filter_map(says)
            .collect::<Vec<_>>()
            .join("; "),
    };
    let question = port.worst().map_or(Question::Listening, |worst| worst.question);
    let answer = Answer { question, grade: port.grade, says };
    line(page, &port.port.to_string(), PORT, &answer)
}

/// One line of the table.
fn line(page: &mut Page<'_>, label: &str, width: usize, answer: &Answer) -> io::Result<()> {
    let label = format!("  {label:width$}{:GRADE$}", answer.grade.id());
    let columns = label.chars().count();
    match answer.grade {
        Grade::Bad => page.hanging_painted(Ink::Bad, &label, columns, &answer.says),
        Grade::Look => page.hanging_painted(Ink::Cause, &label, columns, &answer.says),
        Grade::Unseen => page.hanging_painted(Ink::Faint, &label, columns, &answer.says),
        Grade::Ok => page.hanging(&label, &answer.says),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::{facts, listener};
    use crate::host::judge;

    fn written(triage: &Triage) -> String {
        let mut out = Vec::new();
        text(triage, &Style { ascii: true, ..Style::default() }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_first_line_is_the_answer_and_each_question_has_a_line() {
        let mut facts = facts();
        let command = "nginx \u{1b}[31m -g 'daemon off;'".to_owned();
        if let Ok(owners) = &mut facts.listeners.as_mut().unwrap()[0].owners {
            owners[0].command = command;
        }
        let page = written(&judge(facts, &[8080, 9]));
        assert!(page.starts_with("Port 9: bad: nothing listens on port 9"), "{page}");
        assert!(page.contains("  accept queue?       ok              0 of 128"), "{page}");
        assert!(page.contains("  firewall?           cannot be seen  "), "{page}");
        assert!(!page.contains('\u{1b}'), "a command line drives no terminal");
        assert!(page.lines().all(|line| line.len() <= 100), "{page}");
    }

    #[test]
    fn all_ports_take_one_line_each() {
        let mut facts = facts();
        facts.listeners = Ok((0..80_u16)
            .map(|n| crate::host::Listener { port: 1000 + n, ..listener("0.0.0.0") })
            .collect());
        let page = written(&judge(facts, &[]));
        assert!(page.contains("  1000   ok              nginx (pid 812, user www)"), "{page}");
        assert!(page.contains("  and 30 more ports"), "{page}");
    }

    #[test]
    fn json_holds_answers_and_figures() {
        let mut out = Vec::new();
        json(&judge(facts(), &[8080]), &mut out).unwrap();
        let host: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(host["schema"], SCHEMA);
        let port = &host["ports"][0];
        assert_eq!((&port["port"], &port["verdict"]), (&8080.into(), &"ok".into()));
        assert_eq!(port["listeners"][0]["backlog"], 128);
        assert_eq!(port["listeners"][0]["processes"][0]["pid"], 812);
        assert_eq!(host["host"]["counters"]["ListenOverflows"]["grown"], 0);
        assert_eq!(host["host"]["ephemeral"]["ports"], 28_232);
    }
}
