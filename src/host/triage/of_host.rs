//! Questions about the whole host, or rather about this network namespace of it.

use super::{Answer, Grade, Question};
use crate::host::census::{Outgoing, State};
use crate::host::counters::{COUNTERS, Counters, Kind};
use crate::host::facts::{Facts, Limits, Seen};
use crate::host::texts;
use std::collections::BTreeSet;

/// Per cent of a limit from which one should look.
const NEAR: u64 = 80;
/// Per cent from which it counts as reached: the last free ports are found late or not at all.
const REACHED: u64 = 98;

/// `asked` are the ports that were asked for.
pub(super) fn answers(facts: &Facts, asked: &[u16]) -> Vec<Answer> {
    vec![
        overflow(facts, asked),
        ports(facts),
        time_wait(facts),
        conntrack(facts),
        host_files(facts),
        tcp_memory(facts),
        oom_kills(facts),
        resets(facts),
        Answer::new(
            Question::Firewall,
            Grade::Unseen,
            match &facts.firewall {
                Ok(tables) => texts::firewall(tables),
                Err(why) => why.clone(),
            },
        ),
    ]
}

/// `part` of `whole` in per cent, rounded down.
fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100) / whole.max(1)
}

fn readings(facts: &Facts) -> Seen<(&Counters, Option<&Counters>)> {
    let now = facts.counters.as_ref().map_err(String::clone)?;
    Ok((now, facts.before.as_ref().ok()))
}

/// The counters of a kind: those that moved between the readings, and those that are not zero.
type Moved = (Vec<(&'static str, u64, &'static str)>, Vec<(&'static str, u64)>);

fn moved(now: &Counters, before: Option<&Counters>, kind: Kind) -> Moved {
    let of_kind = || COUNTERS.iter().filter(move |counter| counter.kind == kind);
    let grown = of_kind()
        .filter_map(|one| Some((one.name, now.grown(before?, one.name)?, one.means)))
        .filter(|(_, grown, _)| *grown > 0)
        .collect();
    let totals = of_kind()
        .filter_map(|one| Some((one.name, now.get(one.name)?)))
        .filter(|(_, total)| *total > 0)
        .collect();
    (grown, totals)
}

fn counted(facts: &Facts, question: Question, kind: Kind, none: &str) -> Answer {
    let (now, before) = match readings(facts) {
        Ok(readings) => readings,
        Err(why) => return Answer::new(question, Grade::Unseen, why),
    };
    let (grown, totals) = moved(now, before, kind);
    if !grown.is_empty() {
        let says = texts::overflows_now(&grown, facts.between);
        return Answer::new(question, Grade::Bad, says);
    }
    match totals.is_empty() {
        true => Answer::new(question, Grade::Ok, none),
        false => Answer::new(question, Grade::Look, texts::overflows_before(&totals)),
    }
}

/// The kernel counts the queues of all ports together: whose it was shows only where it is full now, or is
/// the only one.
fn overflow(facts: &Facts, ports: &[u16]) -> Answer {
    let mut answer = counted(facts, Question::Overflow, Kind::Overflow, texts::NO_OVERFLOW);
    if answer.grade != Grade::Bad || ports.is_empty() {
        return answer;
    }
    let listeners = || facts.listeners.iter().flatten();
    let full: BTreeSet<u16> = listeners().filter(|it| it.is_full()).map(|it| it.port).collect();
    let others = facts.listeners_left_out > 0 || listeners().any(|it| !ports.contains(&it.port));
    let own = ports.iter().any(|port| full.contains(port));
    if own || !others {
        answer.says += &texts::overflow_of(ports, own);
        return answer;
    }
    answer.grade = Grade::Look;
    answer.says += &texts::overflow_elsewhere(ports, &full);
    answer
}

fn tcp_memory(facts: &Facts) -> Answer {
    counted(facts, Question::TcpMemory, Kind::Memory, texts::NO_MEMORY_TROUBLE)
}

fn resets(facts: &Facts) -> Answer {
    let (now, before) = match readings(facts) {
        Ok(readings) => readings,
        Err(why) => return Answer::new(Question::Resets, Grade::Unseen, why),
    };
    let (grown, _) = moved(now, before, Kind::Usual);
    let sent = grown.iter().find(|(name, ..)| *name == "OutRsts").map_or(0, |(_, n, _)| *n);
    let others: Vec<_> = grown
        .iter()
        .filter(|(name, ..)| *name != "OutRsts")
        .map(|(name, n, _)| (*name, *n))
        .collect();
    let text = texts::resets(sent, now.get("OutRsts").unwrap_or(0), &others);
    Answer::new(Question::Resets, Grade::Ok, text)
}

/// Ports that a new connection there cannot have: those in use, without those in TIME_WAIT that the
/// kernel gives out again (`tcp_tw_reuse`: 1 always, 2 on loopback).
pub(super) fn taken(one: &Outgoing, limits: &Limits) -> u64 {
    match limits.time_wait_reuse {
        Some(1) => one.used - one.time_wait,
        Some(2) if one.destination.ip().is_loopback() => one.used - one.time_wait,
        _ => one.used,
    }
}

fn ports(facts: &Facts) -> Answer {
    let answer = |grade, says| Answer::new(Question::Ports, grade, says);
    let census = match &facts.census {
        Ok(census) => census,
        Err(why) => return answer(Grade::Unseen, why.clone()),
    };
    let Some(ports) = facts.limits.ephemeral_ports() else {
        return answer(Grade::Unseen, facts.limits.ephemeral.clone().err().unwrap_or_default());
    };
    let Some(busiest) = census.busiest.iter().max_by_key(|one| taken(one, &facts.limits)) else {
        return answer(Grade::Ok, texts::NO_OUTGOING.to_owned());
    };
    match percent(taken(busiest, &facts.limits), ports) {
        REACHED.. => answer(Grade::Bad, texts::ports_exhausted(busiest, ports)),
        NEAR.. => answer(Grade::Look, texts::outgoing(busiest, ports)),
        _ => answer(Grade::Ok, texts::outgoing(busiest, ports)),
    }
}

fn time_wait(facts: &Facts) -> Answer {
    let answer = |grade, says| Answer::new(Question::TimeWait, grade, says);
    let waiting = match &facts.census {
        Ok(census) => census.states.get(State::TimeWait),
        Err(why) => return answer(Grade::Unseen, why.clone()),
    };
    let max = facts.limits.time_wait_max;
    let near = max.is_some_and(|max| percent(waiting, max) >= NEAR);
    answer(if near { Grade::Look } else { Grade::Ok }, texts::time_wait(waiting, max))
}

fn conntrack(facts: &Facts) -> Answer {
    let answer = |grade, says| Answer::new(Question::Conntrack, grade, says);
    match &facts.conntrack {
        Err(why) => answer(Grade::Unseen, why.clone()),
        Ok(None) => answer(Grade::Ok, texts::NO_CONNTRACK.to_owned()),
        Ok(Some(table)) => {
            let share = if table.max == 0 { 0 } else { percent(table.count, table.max) };
            let lost = table.dropped.unwrap_or(0) > 0;
            match share {
                REACHED.. => answer(Grade::Bad, texts::conntrack_full(table)),
                share if share >= NEAR || lost => answer(Grade::Look, texts::conntrack(table)),
                _ => answer(Grade::Ok, texts::conntrack(table)),
            }
        }
    }
}

fn host_files(facts: &Facts) -> Answer {
    let answer = |grade, says| Answer::new(Question::HostFiles, grade, says);
    match &facts.files {
        Err(why) => answer(Grade::Unseen, why.clone()),
        Ok((open, max)) => {
            let grade = match percent(*open, *max) {
                REACHED.. => Grade::Bad,
                NEAR.. => Grade::Look,
                _ => Grade::Ok,
            };
            answer(grade, texts::host_files(*open, *max))
        }
    }
}

fn oom_kills(facts: &Facts) -> Answer {
    match &facts.oom_kills {
        Err(why) => Answer::new(Question::OomKills, Grade::Unseen, why.clone()),
        Ok(n) => {
            let grade = if *n > 0 { Grade::Look } else { Grade::Ok };
            Answer::new(Question::OomKills, grade, texts::oom_kills(*n))
        }
    }
}
