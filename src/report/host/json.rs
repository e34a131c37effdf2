//! The triage as JSON. Mirrors what was read, so that the engine's types can change and the format stays.

use crate::host::{Answer, Facts, Listener, PortTriage, Process, States, Triage};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Schema of the triage. Fields may be added; those that are there stay.
pub const SCHEMA: &str = "why502.host/1";

#[derive(Serialize)]
struct Host<'a> {
    schema: &'static str,
    time: String,
    booted: Option<String>,
    network_namespace: Option<&'a str>,
    answer: &'a str,
    ports: Vec<Port<'a>>,
    host: Whole<'a>,
}

#[derive(Serialize)]
struct Port<'a> {
    port: u16,
    verdict: &'static str,
    answers: Vec<Line<'a>>,
    listeners: Vec<Socket<'a>>,
    sockets: Option<BTreeMap<&'static str, u64>>,
}

#[derive(Serialize)]
struct Line<'a> {
    question: &'static str,
    verdict: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
struct Socket<'a> {
    address: String,
    ipv6_only: Option<bool>,
    waiting: u32,
    backlog: Option<u32>,
    uid: u32,
    inode: u64,
    processes: Vec<Program<'a>>,
    processes_left_out: usize,
    processes_unseen: Option<&'a str>,
}

#[derive(Serialize)]
struct Program<'a> {
    pid: i32,
    name: &'a str,
    command: &'a str,
    user: &'a str,
    state: char,
    started: String,
    open_files: Option<u64>,
    open_files_max: Option<u64>,
    memory_group: Option<&'a str>,
    memory_used_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    memory_oom_kills: Option<u64>,
}

#[derive(Serialize)]
struct Whole<'a> {
    answers: Vec<Line<'a>>,
    /// Seconds between the two readings of the counters.
    between_s: f64,
    counters: BTreeMap<&'static str, Count>,
    sockets: Option<BTreeMap<&'static str, u64>>,
    listeners_left_out: u64,
    ephemeral: Ephemeral,
    time_wait_max: Option<u64>,
    somaxconn: Option<u64>,
    conntrack: Option<Table>,
    oom_kills: Option<u64>,
    open_files: Option<u64>,
    open_files_max: Option<u64>,
}

#[derive(Serialize)]
struct Count {
    total: u64,
    grown: Option<u64>,
}

#[derive(Serialize)]
struct Ephemeral {
    first: Option<u16>,
    last: Option<u16>,
    ports: Option<u64>,
    destinations: Vec<Destination>,
    connections_left_out: u64,
}

#[derive(Serialize)]
struct Destination {
    source: String,
    destination: String,
    used: u64,
    time_wait: u64,
}

#[derive(Serialize)]
struct Table {
    count: u64,
    max: u64,
    dropped: Option<u64>,
    insert_failed: Option<u64>,
}

/// Writes the triage as JSON, schema `why502.host/1`.
pub fn json(triage: &Triage, out: &mut dyn Write) -> io::Result<()> {
    let facts = &triage.facts;
    let host = Host {
        schema: SCHEMA,
        time: facts.at.to_string(),
        booted: facts.booted.map(|booted| booted.to_string()),
        network_namespace: facts.namespace.as_deref(),
        answer: &triage.answer,
        ports: triage.ports.iter().map(|port| of_port(triage, port)).collect(),
        host: whole(&triage.host, facts),
    };
    serde_json::to_writer_pretty(&mut *out, &host)?;
    out.write_all(b"\n")
}

fn lines(answers: &[Answer]) -> Vec<Line<'_>> {
    let line = |answer: &'_ Answer| (answer.question.id(), answer.grade.id());
    answers
        .iter()
        .map(|answer| {
            let (question, verdict) = line(answer);
            Line { question, verdict, text: &answer.says }
        })
        .collect()
}

fn by_state(states: &States) -> BTreeMap<&'static str, u64> {
    states.iter().map(|(state, count)| (state.id(), count)).collect()
}

fn of_port<'a>(triage: &'a Triage, port: &'a PortTriage) -> Port<'a> {
    let states =
        triage.facts.census.as_ref().ok().and_then(|census| census.of_port.get(&port.port));
    Port {
        port: port.port,
        verdict: port.grade.id(),
        answers: lines(&port.answers),
        listeners: triage.listeners(port.port).into_iter().map(socket).collect(),
        sockets: states.map(by_state),
    }
}

fn socket(listener: &Listener) -> Socket<'_> {
    Socket {
        address: listener.address.to_string(),
        ipv6_only: listener.v6_only,
        waiting: listener.waiting,
        backlog: listener.backlog,
        uid: listener.uid,
        inode: listener.inode,
        processes: listener.owners.iter().flatten().map(program).collect(),
        processes_left_out: listener.owners_left_out,
        processes_unseen: listener.owners.as_ref().err().map(String::as_str),
    }
}

fn program(process: &Process) -> Program<'_> {
    let memory = process.memory.as_ref().ok();
    Program {
        pid: process.pid,
        name: &process.name,
        command: &process.command,
        user: &process.user,
        state: process.state,
        started: process.started.to_string(),
        open_files: process.files.as_ref().ok().copied(),
        open_files_max: process.files_max.as_ref().ok().copied().flatten(),
        memory_group: memory.map(|memory| memory.group.as_str()),
        memory_used_bytes: memory.and_then(|memory| memory.used),
        memory_limit_bytes: memory.and_then(|memory| memory.limit),
        memory_oom_kills: memory.and_then(|memory| memory.oom_kills),
    }
}

fn whole<'a>(answers: &'a [Answer], facts: &'a Facts) -> Whole<'a> {
    let census = facts.census.as_ref().ok();
    let before = facts.before.as_ref().ok();
    let counters = facts.counters.iter().flat_map(|counters| {
        counters.iter().map(move |(name, total)| {
            let grown = before.and_then(|before| counters.grown(before, name));
            (name, Count { total, grown })
        })
    });
    let range = facts.limits.ephemeral.as_ref().ok();
    Whole {
        answers: lines(answers),
        between_s: facts.between,
        counters: counters.collect(),
        sockets: census.map(|census| by_state(&census.states)),
        listeners_left_out: facts.listeners_left_out,
        ephemeral: Ephemeral {
            first: range.map(|range| *range.start()),
            last: range.map(|range| *range.end()),
            ports: facts.limits.ephemeral_ports(),
            destinations: census
                .iter()
                .flat_map(|census| &census.busiest)
                .map(|one| Destination {
                    source: one.source.to_string(),
                    destination: one.destination.to_string(),
                    used: one.used,
                    time_wait: one.time_wait,
                })
                .collect(),
            connections_left_out: census.map_or(0, |census| census.left_out),
        },
        time_wait_max: facts.limits.time_wait_max,
        somaxconn: facts.limits.somaxconn,
        conntrack: facts.conntrack.as_ref().ok().copied().flatten().map(|table| Table {
            count: table.count,
            max: table.max,
            dropped: table.dropped,
            insert_failed: table.insert_failed,
        }),
        oom_kills: facts.oom_kills.as_ref().ok().copied(),
        open_files: facts.files.as_ref().ok().map(|(open, _)| *open),
        open_files_max: facts.files.as_ref().ok().map(|(_, max)| *max),
    }
}
