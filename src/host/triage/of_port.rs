//! Questions about one port.

use super::{Answer, Grade, Question, on};
use crate::host::census::State;
use crate::host::facts::{Facts, Listener, Process};
use crate::host::texts;
use std::net::IpAddr;

/// A process that was started less than this many seconds ago may be one that was restarted.
const YOUNG: f64 = 300.0;
/// Per cent of a limit from which one should look.
const NEAR: u64 = 90;

pub(super) fn answers(facts: &Facts, port: u16) -> Vec<Answer> {
    if let Err(why) = &facts.listeners {
        return vec![Answer::new(Question::Listening, Grade::Unseen, why)];
    }
    let sockets = on(facts, port);
    if sockets.is_empty() {
        return absent(facts, port);
    }
    let processes: Vec<&Process> =
        sockets.iter().flat_map(|one| one.owners.iter().flatten()).collect();
    vec![
        Answer::new(Question::Listening, Grade::Ok, texts::listens(&sockets)),
        application(facts, &sockets, &processes),
        address(&sockets),
        queue(facts, port, &sockets),
        files(&sockets, &processes),
        memory(&sockets, &processes),
    ]
}

fn absent(facts: &Facts, port: u16) -> Vec<Answer> {
    let mut others: Vec<_> = facts.listeners.iter().flatten().map(|one| one.port).collect();
    others.dedup();
    let (grade, says) = match facts.listeners_left_out {
        0 => (Grade::Bad, texts::nothing_listens(port, &others)),
        n => (Grade::Unseen, format!("{n} sockets that listen were not looked at")),
    };
    vec![
        Answer::new(Question::Listening, grade, says),
        Answer::new(Question::Application, Grade::Unseen, texts::NO_LISTENER),
    ]
}

/// Why nothing is known of the processes.
fn unnamed(question: Question, sockets: &[&Listener]) -> Answer {
    let why = sockets.iter().find_map(|one| one.owners.as_ref().err());
    Answer::new(question, Grade::Unseen, why.map_or("", String::as_str))
}

fn application(facts: &Facts, sockets: &[&Listener], processes: &[&Process]) -> Answer {
    let answer = |grade, says| Answer::new(Question::Application, grade, says);
    let in_state = |states: &[char]| processes.iter().find(|one| states.contains(&one.state));
    if let Some(stopped) = in_state(&['T', 't']) {
        return answer(Grade::Bad, texts::stopped(stopped));
    }
    if let Some(dead) = in_state(&['Z', 'X']) {
        return answer(Grade::Bad, texts::dead(dead));
    }
    if let Some(waits) = in_state(&['D']) {
        return answer(Grade::Look, texts::waits_for_device(waits));
    }
    let Some(oldest) = processes.iter().min_by_key(|one| (one.started, one.pid)) else {
        return unnamed(Question::Application, sockets);
    };
    if facts.at.since(oldest.started) < YOUNG {
        return answer(Grade::Look, texts::young(oldest, facts.at));
    }
    let mut pids: Vec<_> = processes.iter().map(|one| one.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let left_out = sockets.iter().map(|one| one.owners_left_out).max().unwrap_or(0);
    answer(Grade::Ok, texts::application(oldest, pids.len() - 1 + left_out, facts.at))
}

fn address(sockets: &[&Listener]) -> Answer {
    let answer = |grade, says| Answer::new(Question::Address, grade, says);
    let canonical = |one: &&Listener| one.address.to_canonical();
    let mut addresses: Vec<IpAddr> = sockets.iter().map(canonical).collect();
    addresses.sort();
    addresses.dedup();
    let v4 = sockets.iter().any(|one| match one.address {
        IpAddr::V4(own) => own.is_unspecified(),
        IpAddr::V6(own) => own.is_unspecified() && one.v6_only != Some(true),
    });
    let v6 = addresses.iter().any(|own| own.is_ipv6() && own.is_unspecified());
    match addresses.as_slice() {
        [own, rest @ ..] if own.is_loopback() && rest.iter().all(IpAddr::is_loopback) => {
            answer(Grade::Look, texts::only_loopback(*own))
        }
        _ if v4 => answer(Grade::Ok, texts::every_address(true, v6)),
        [_] if v6 => answer(Grade::Look, texts::only_v6()),
        some => answer(Grade::Ok, texts::some_addresses(some)),
    }
}

fn queue(facts: &Facts, port: u16, sockets: &[&Listener]) -> Answer {
    let answer = |grade, says: String| Answer::new(Question::Queue, grade, says);
    let states = facts.census.as_ref().ok().and_then(|census| census.of_port.get(&port));
    let half_open = states.map(texts::half_open).unwrap_or_default();
    if let Some(full) = sockets.iter().find(|one| one.is_full()) {
        return answer(Grade::Bad, texts::queue_full(full, &facts.limits) + &half_open);
    }
    let Some(longest) = sockets.iter().max_by_key(|one| one.waiting) else {
        return answer(Grade::Unseen, String::new());
    };
    let text = texts::queue(longest, &facts.limits) + &half_open;
    let syn_received = states.map_or(0, |states| states.get(State::SynReceived));
    match longest.backlog {
        None => answer(if longest.waiting == 0 { Grade::Ok } else { Grade::Unseen }, text),
        Some(backlog) if longest.waiting > 0 && longest.waiting >= backlog.div_ceil(2) => {
            answer(Grade::Look, text)
        }
        // The queue of half-open connections has the same limit (inet_csk_reqsk_queue_is_full).
        Some(backlog) if syn_received > 0 && syn_received >= u64::from(backlog) => {
            answer(Grade::Look, text)
        }
        Some(_) => answer(Grade::Ok, text),
    }
}

fn files(sockets: &[&Listener], processes: &[&Process]) -> Answer {
    let answer = |grade, says| Answer::new(Question::Files, grade, says);
    let share = |one: &&Process| {
        let (open, max) = (*one.files.as_ref().ok()?, *one.files_max.as_ref().ok()?);
        Some((open.saturating_mul(1000) / max.unwrap_or(u64::MAX).max(1), open, max))
    };
    let nearest =
        processes.iter().filter_map(|one| Some((share(one)?, one))).max_by_key(|one| one.0);
    match nearest {
        Some(((_, open, Some(max)), one)) if open >= max => {
            answer(Grade::Bad, texts::files_at_limit(one, open, max))
        }
        Some(((thousandths, open, max), one)) => {
            let grade = if thousandths >= NEAR * 10 { Grade::Look } else { Grade::Ok };
            answer(grade, texts::open_files(one, open, max))
        }
        None => {
            let why =
                |one: &&Process| one.files.as_ref().err().or(one.files_max.as_ref().err()).cloned();
            match processes.iter().find_map(why) {
                Some(why) => answer(Grade::Unseen, why),
                None => unnamed(Question::Files, sockets),
            }
        }
    }
}

fn memory(sockets: &[&Listener], processes: &[&Process]) -> Answer {
    let answer = |grade, says| Answer::new(Question::Memory, grade, says);
    let known = processes.iter().filter_map(|one| Some((one.memory.as_ref().ok()?, one)));
    let kills = known.clone().find(|(memory, _)| memory.oom_kills.is_some_and(|kills| kills > 0));
    if let Some((memory, one)) = kills {
        let text = texts::group_kills(one, memory.oom_kills.unwrap_or(0), &texts::memory(memory));
        return answer(Grade::Look, text);
    }
    let near = known.clone().find(|(memory, _)| {
        memory.used.zip(memory.limit).is_some_and(|(used, limit)| used / NEAR >= limit / 100)
    });
    if let Some((memory, _)) = near {
        return answer(Grade::Look, texts::memory(memory));
    }
    if let Some((memory, _)) = known.clone().next() {
        return answer(Grade::Ok, texts::memory(memory));
    }
    match processes.iter().find_map(|one| one.memory.as_ref().err()) {
        Some(why) => answer(Grade::Unseen, why.clone()),
        None => unnamed(Question::Memory, sockets),
    }
}
