//! The questions of a triage and how the facts answer each.

mod of_host;
mod of_port;

use super::facts::{Facts, Listener};
use super::texts;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What is asked, in the order in which one asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Question {
    Listening,
    Application,
    Address,
    Queue,
    Files,
    Memory,
    Overflow,
    Ports,
    TimeWait,
    Conntrack,
    HostFiles,
    TcpMemory,
    OomKills,
    Resets,
    Firewall,
}

impl Question {
    /// Stable id.
    pub fn id(self) -> &'static str {
        match self {
            Question::Listening => "listening",
            Question::Application => "application",
            Question::Address => "address",
            Question::Queue => "accept-queue",
            Question::Files => "open-files",
            Question::Memory => "memory",
            Question::Overflow => "overflow",
            Question::Ports => "ephemeral-ports",
            Question::TimeWait => "time-wait",
            Question::Conntrack => "conntrack",
            Question::HostFiles => "host-files",
            Question::TcpMemory => "tcp-memory",
            Question::OomKills => "oom-kills",
            Question::Resets => "resets",
            Question::Firewall => "firewall",
        }
    }

    /// The question for people.
    pub fn text(self) -> &'static str {
        match self {
            Question::Listening => "port listening?",
            Question::Application => "application up?",
            Question::Address => "on which address?",
            Question::Queue => "accept queue?",
            Question::Files => "open files?",
            Question::Memory => "memory?",
            Question::Overflow => "queues overflow?",
            Question::Ports => "ephemeral ports?",
            Question::TimeWait => "TIME_WAIT?",
            Question::Conntrack => "tracking table?",
            Question::HostFiles => "files of the host?",
            Question::TcpMemory => "memory of TCP?",
            Question::OomKills => "OOM kills?",
            Question::Resets => "resets sent?",
            Question::Firewall => "firewall?",
        }
    }
}

impl Question {
    /// Of answers that are equally bad, the lower one tells more: an address that nobody can reach
    /// explains a failure, a program that was started a while ago may be as it should be.
    fn weight(self) -> u8 {
        match self {
            Question::Address => 0,
            Question::Application => 2,
            _ => 1,
        }
    }
}

/// How bad an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing is wrong with it.
    Ok,
    /// This host does not tell.
    Unseen,
    /// It may explain failures.
    Look,
    /// It makes connections fail now.
    Bad,
}

impl Grade {
    /// Stable id, and the word for people.
    pub fn id(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Unseen => "cannot be seen",
            Grade::Look => "look",
            Grade::Bad => "bad",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// How bad it is.
    pub grade: Grade,
    /// The answer, with its figures.
    pub says: String,
}

impl Answer {
    fn new(question: Question, grade: Grade, says: impl Into<String>) -> Answer {
        Answer { question, grade, says: says.into() }
    }
}

/// The answers about one port.
#[derive(Clone, Debug)]
pub struct PortTriage {
    /// The port.
    pub port: u16,
    /// The worst of its answers.
    pub grade: Grade,
    /// In the order of the questions.
    pub answers: Vec<Answer>,
}

impl PortTriage {
    /// The answer that decides its grade.
    pub fn worst(&self) -> Option<&Answer> {
        let worst = self.answers.iter().filter(|answer| answer.grade == self.grade);
        worst.min_by_key(|answer| answer.question.weight())
    }

    /// The answer to a question.
    pub fn answer(&self, question: Question) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.question == question)
    }
}

/// All answers.
#[derive(Clone, Debug)]
pub struct Triage {
    /// The answer in one line.
    pub answer: String,
    /// Whether ports were asked for; otherwise every port that listens is in `ports`.
    pub asked: bool,
    /// By port when they were asked for, otherwise the worst first.
    pub ports: Vec<PortTriage>,
    /// What holds for the whole host.
    pub host: Vec<Answer>,
    /// What it rests on.
    pub facts: Facts,
}

impl Triage {
    /// The sockets that listen on a port.
    pub fn listeners(&self, port: u16) -> Vec<&Listener> {
        on(&self.facts, port)
    }
}

/// The sockets that listen on a port.
fn on(facts: &Facts, port: u16) -> Vec<&Listener> {
    facts.listeners.iter().flatten().filter(|listener| listener.port == port).collect()
}

/// Answers every question about `ports`, or about every port that listens when there are none.
pub(crate) fn judge(facts: Facts, ports: &[u16]) -> Triage {
    let asked = !ports.is_empty();
    let wanted: BTreeSet<u16> = match asked {
        true => ports.iter().copied().collect(),
        false => facts.listeners.iter().flatten().map(|listener| listener.port).collect(),
    };
    let mut ports: Vec<_> = wanted
        .into_iter()
        .map(|port| {
            let answers = of_port::answers(&facts, port);
            let grade = answers.iter().map(|answer| answer.grade).max().unwrap_or(Grade::Ok);
            PortTriage { port, grade, answers }
        })
        .collect();
    if !asked {
        ports.sort_by_key(|one| (Reverse(one.grade), one.port));
    }
    let of_asked: Vec<u16> = ports.iter().filter(|_| asked).map(|one| one.port).collect();
    let host = of_host::answers(&facts, &of_asked);
    let answer = headline(&ports, &host, asked);
    Triage { answer, asked, ports, host, facts }
}

/// The worst answer; that of a port before that of the host. Where no port was asked for, one that only
/// this host can reach comes last: most hosts have some that are meant so. Where one was, queues that
/// overflow are told of here only as its own: [`of_host::answers`] says whether they are.
fn headline(ports: &[PortTriage], host: &[Answer], asked: bool) -> String {
    let all = || {
        let of_ports = ports
            .iter()
            .flat_map(|one| one.answers.iter().map(move |answer| (Some(one.port), answer)));
        of_ports.chain(host.iter().map(|answer| (None, answer)))
    };
    let odd = |grade| grade == Grade::Bad || grade == Grade::Look;
    let rank = |(port, answer): &(Option<u16>, &Answer)| {
        let expected = !asked && answer.question == Question::Address;
        (Reverse(answer.grade), expected, port.is_none(), answer.question.weight())
    };
    let others = |answer: &Answer| {
        asked && answer.question == Question::Overflow && answer.grade == Grade::Look
    };
    let worst = all().filter(|(_, answer)| odd(answer.grade) && !others(answer)).min_by_key(rank);
    let place = |port: Option<u16>| match port {
        Some(port) => format!("Port {port}"),
        None => "This host".to_owned(),
    };
    match worst {
        Some((port, answer)) => {
            let more = all().filter(|(_, answer)| odd(answer.grade)).count() - 1;
            texts::worst(&place(port), answer.grade.id(), &answer.says, more)
        }
        None => {
            let unseen = all().filter(|(_, answer)| answer.grade == Grade::Unseen).count();
            let port = match ports {
                [one] if asked => Some(one.port),
                _ => None,
            };
            texts::all_well(port, unseen, host.iter().any(others))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::counters::Counters;
    use crate::host::facts::{Conntrack, GroupMemory};
    use crate::host::fixture::{counters, facts, listener, process};
    use crate::host::{Census, Outgoing};

    fn graded(facts: &Facts, question: Question) -> (Grade, String) {
        let triage = judge(facts.clone(), &[8080]);
        let answers = triage.ports[0].answers.iter().chain(&triage.host);
        let answer = answers.into_iter().find(|answer| answer.question == question).unwrap();
        (answer.grade, answer.says.clone())
    }

    #[track_caller]
    fn assert_says(facts: &Facts, question: Question, grade: Grade, words: &str) {
        let (found, says) = graded(facts, question);
        assert_eq!(found, grade, "{says}");
        assert!(says.contains(words), "{says}");
    }

    #[test]
    fn a_host_that_is_well_says_so() {
        let triage = judge(facts(), &[8080]);
        let answers = triage.ports[0].answers.iter().chain(&triage.host);
        for answer in answers {
            let firewall = answer.question == Question::Firewall;
            assert_eq!(
                answer.grade,
                if firewall { Grade::Unseen } else { Grade::Ok },
                "{answer:?}"
            );
        }
        assert_eq!(
            triage.answer,
            "This host shows nothing that explains failures of port 8080; 1 answer cannot be seen"
        );
    }

    #[test]
    fn a_port_where_nothing_listens_is_bad() {
        let triage = judge(facts(), &[9]);
        assert_eq!(triage.ports[0].grade, Grade::Bad);
        assert!(
            triage.answer.starts_with("Port 9: bad: nothing listens on port 9"),
            "{}",
            triage.answer
        );
        let mut blind = facts();
        blind.listeners = Err("no sock_diag".to_owned());
        assert_eq!(judge(blind, &[9]).ports[0].grade, Grade::Unseen, "not seen is not absent");
        let mut many = facts();
        many.listeners_left_out = 3;
        assert_eq!(judge(many, &[9]).ports[0].grade, Grade::Unseen);
    }

    #[test]
    fn the_address_decides_who_can_connect() {
        for (addresses, grade, words) in [
            (&["127.0.0.1"][..], Grade::Look, "only on 127.0.0.1"),
            (&["127.0.0.1", "::1"], Grade::Look, "only on 127.0.0.1"),
            (&["0.0.0.0"], Grade::Ok, "every IPv4 address, no IPv6"),
            (&["::"], Grade::Ok, "IPv4 and IPv6"),
            (&["10.0.0.5"], Grade::Ok, "10.0.0.5: connections to other addresses"),
            (&["127.0.0.1", "10.0.0.5"], Grade::Ok, "10.0.0.5, 127.0.0.1"),
        ] {
            let mut facts = facts();
            facts.listeners = Ok(addresses.iter().map(|address| listener(address)).collect());
            assert_says(&facts, Question::Address, grade, words);
        }
        let mut only = facts();
        only.listeners = Ok(vec![Listener { v6_only: Some(true), ..listener("::") }]);
        assert_says(&only, Question::Address, Grade::Look, "no IPv4");
    }

    fn with(change: impl FnOnce(&mut Listener)) -> Facts {
        let mut facts = facts();
        let mut one = listener("0.0.0.0");
        change(&mut one);
        facts.listeners = Ok(vec![one]);
        facts
    }

    #[test]
    fn a_queue_is_full_one_above_its_backlog() {
        assert_says(&with(|one| one.waiting = 2), Question::Queue, Grade::Ok, "2 of 128");
        assert_says(&with(|one| one.waiting = 64), Question::Queue, Grade::Look, "64 of 128");
        assert_says(&with(|one| one.waiting = 129), Question::Queue, Grade::Bad, "nginx (pid 812)");
        let unknown = with(|one| (one.waiting, one.backlog) = (3, None));
        assert_says(&unknown, Question::Queue, Grade::Unseen, "does not say");
    }

    fn with_process(change: impl FnOnce(&mut crate::host::Process)) -> Facts {
        with(|one| {
            let mut owner = process();
            change(&mut owner);
            one.owners = Ok(vec![owner]);
        })
    }

    #[test]
    fn the_process_tells_whether_the_application_is_up() {
        let question = Question::Application;
        assert_says(&facts(), question, Grade::Ok, "nginx (pid 812, user www)");
        assert_says(&with_process(|one| one.state = 'T'), question, Grade::Bad, "SIGCONT");
        assert_says(&with_process(|one| one.state = 'D'), question, Grade::Look, "device");
        let young = with_process(|one| one.started = facts().at.after(-12_000_000_000));
        assert_says(&young, question, Grade::Look, "started 12.0 s ago");
        let unnamed = with(|one| one.owners = Err("needs root".to_owned()));
        assert_says(&unnamed, question, Grade::Unseen, "needs root");
    }

    #[test]
    fn open_files_and_memory_near_their_limits() {
        let files =
            |open, max| with_process(|one| (one.files, one.files_max) = (Ok(open), Ok(max)));
        assert_says(&files(1024, Some(1024)), Question::Files, Grade::Bad, "EMFILE");
        assert_says(&files(950, Some(1024)), Question::Files, Grade::Look, "950 of 1 024");
        assert_says(&files(950, None), Question::Files, Grade::Ok, "any number");
        let memory = |used, oom_kills| {
            with_process(|one| {
                one.memory = Ok(GroupMemory {
                    used: Some(used),
                    limit: Some(100 << 20),
                    oom_kills: Some(oom_kills),
                    ..GroupMemory::default()
                });
            })
        };
        assert_says(&memory(50 << 20, 0), Question::Memory, Grade::Ok, "50 MiB of 100 MiB");
        assert_says(&memory(95 << 20, 0), Question::Memory, Grade::Look, "95 MiB of 100 MiB");
        assert_says(&memory(50 << 20, 2), Question::Memory, Grade::Look, "2 processes killed");
    }

    #[test]
    fn counters_that_move_are_bad_and_old_ones_to_look_at() {
        let mut facts = facts();
        facts.before = Ok(counters(&[("ListenOverflows", 5)]));
        facts.counters = Ok(counters(&[("ListenOverflows", 5)]));
        assert_says(&facts, Question::Overflow, Grade::Look, "ListenOverflows 5");
        facts.counters = Ok(counters(&[("ListenOverflows", 42)]));
        assert_says(&facts, Question::Overflow, Grade::Bad, "ListenOverflows +37");
        // Only one port listens, so that it is the one.
        assert_says(&facts, Question::Overflow, Grade::Bad, "no other port listens");
        facts.counters = Err("no netstat".to_owned());
        assert_says(&facts, Question::Overflow, Grade::Unseen, "no netstat");
        facts.counters = Ok(counters(&[("OutRsts", 9)]));
        facts.before = Ok(Counters::default());
        assert_says(&facts, Question::Resets, Grade::Ok, "9 since the start");
    }

    #[test]
    fn queues_of_other_ports_do_not_head_the_answer() {
        let mut facts = facts();
        facts.before = Ok(counters(&[("ListenOverflows", 5)]));
        facts.counters = Ok(counters(&[("ListenOverflows", 42)]));
        let other = |waiting| {
            let socket = Listener { port: 9000, waiting, ..listener("0.0.0.0") };
            Listener { inode: 2, ..socket }
        };
        facts.listeners = Ok(vec![listener("0.0.0.0"), other(129)]);
        let question = Question::Overflow;
        assert_says(
            &facts,
            question,
            Grade::Look,
            "the queue of port 9000 is full, that of port 8080 is not",
        );
        let triage = judge(facts.clone(), &[8080]);
        let answer = "This host shows nothing that explains failures of port 8080 for sure: queues \
                      overflow, of all ports together";
        assert!(triage.answer.starts_with(answer), "{}", triage.answer);
        // Of the port whose queue is full, and of all of them, it is the answer.
        let triage = judge(facts.clone(), &[9000]);
        assert!(triage.answer.starts_with("Port 9000: bad: the accept queue is full"));
        assert!(triage.host.iter().any(|it| it.question == question && it.grade == Grade::Bad));
        facts.listeners = Ok(vec![listener("0.0.0.0"), other(0)]);
        assert_says(&facts, question, Grade::Look, "which port's it was is not counted");
        let triage = judge(facts, &[]);
        assert!(triage.answer.contains("ListenOverflows +37"), "{}", triage.answer);
    }

    #[test]
    fn ports_run_out_towards_one_destination() {
        let used = |used, time_wait, reuse| {
            let mut facts = facts();
            let one = Outgoing {
                source: "10.0.0.2".parse().unwrap(),
                destination: "10.0.0.5:8080".parse().unwrap(),
                used,
                time_wait,
            };
            facts.census = Ok(Census { busiest: vec![one], ..Census::default() });
            facts.limits.ephemeral = Ok(40_000..=40_999);
            facts.limits.time_wait_reuse = Some(reuse);
            facts
        };
        let question = Question::Ports;
        assert_says(&used(500, 0, 2), question, Grade::Ok, "500 of 1 000 (50 %)");
        assert_says(&used(850, 0, 2), question, Grade::Look, "(85 %)");
        assert_says(&used(1000, 990, 2), question, Grade::Bad, "990 of them in TIME_WAIT");
        assert_says(&used(1000, 990, 1), question, Grade::Ok, "(100 %)");
    }

    #[test]
    fn a_full_tracking_table_is_bad() {
        let table = |count, max, dropped| {
            let mut facts = facts();
            let dropped = Some(dropped);
            facts.conntrack = Ok(Some(Conntrack { count, max, dropped, insert_failed: None }));
            facts
        };
        let question = Question::Conntrack;
        assert_says(&table(10, 100, 0), question, Grade::Ok, "10 of 100");
        assert_says(&table(10, 100, 3), question, Grade::Look, "3 dropped");
        assert_says(&table(99, 100, 0), question, Grade::Bad, "is full");
        assert_says(&table(99, 0, 0), question, Grade::Ok, "no limit");
    }

    #[test]
    fn without_ports_the_worst_comes_first() {
        let mut facts = facts();
        let mut full = Listener { port: 9000, waiting: 200, ..listener("0.0.0.0") };
        full.inode = 2;
        facts.listeners = Ok(vec![listener("0.0.0.0"), full]);
        let triage = judge(facts, &[]);
        let ports: Vec<_> = triage.ports.iter().map(|one| (one.port, one.grade)).collect();
        assert_eq!(ports, [(9000, Grade::Bad), (8080, Grade::Ok)]);
        assert!(
            triage.answer.starts_with("Port 9000: bad: the accept queue is full"),
            "{}",
            triage.answer
        );
    }

    #[test]
    fn an_address_that_nobody_reaches_comes_before_a_recent_start() {
        let mut facts = with_process(|one| one.started = facts().at.after(-12_000_000_000));
        facts.listeners.as_mut().unwrap()[0].address = "127.0.0.1".parse().unwrap();
        let triage = judge(facts.clone(), &[8080]);
        let answer = "Port 8080: look: only on 127.0.0.1: connections from other hosts are refused";
        assert!(triage.answer.starts_with(answer), "{}", triage.answer);
        assert_eq!(triage.ports[0].worst().unwrap().question, Question::Address);
        // In the list of all ports it is marked, and does not head the answer.
        let triage = judge(facts, &[]);
        assert_eq!(triage.ports[0].worst().unwrap().question, Question::Address);
        let answer = "Port 8080: look: nginx (pid 812) was started 12.0 s ago";
        assert!(triage.answer.starts_with(answer), "{}", triage.answer);
    }
}
