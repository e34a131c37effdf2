//! Gives packets and failures to the evidence on disk.

use super::analyse::{Follower, Standing};
use super::evidence::{
    Counters, Evidence, EvidenceError, Interface, Kernel, Options, Remark, remarks,
};
use crate::capture::Frame;
use crate::cause::Finding;
use crate::flow::Flow;
use crate::report::Told;
use crate::run::Listener;
use std::mem;

/// Words about flows kept back until their packet is written, of one packet: more would have to come
/// of one packet than it can tell.
const WORDS_MAX: usize = 1 << 12;

/// What is to say of a flow.
enum Word {
    Failed(u64, Vec<Remark>),
    Over(u64),
}

/// Keeps evidence.
pub(super) struct Keeper {
    evidence: Evidence,
    /// Said by the analysis of a packet before that packet is given on.
    words: Vec<Word>,
}

impl Keeper {
    pub(super) fn start(
        options: Options,
        interfaces: Vec<Interface>,
    ) -> Result<Keeper, EvidenceError> {
        Ok(Keeper { evidence: Evidence::start(options, interfaces)?, words: Vec::new() })
    }

    fn say(&mut self, word: Word) {
        self.words.push(word);
        if self.words.len() >= WORDS_MAX {
            self.speak();
        }
    }

    fn speak(&mut self) {
        for word in mem::take(&mut self.words) {
            match word {
                Word::Failed(flow, remarks) => self.evidence.failed(flow, remarks),
                Word::Over(flow) => self.evidence.over(flow),
            }
        }
    }

    /// What the user should know.
    pub(super) fn notices(&self) -> Vec<String> {
        self.evidence.notices().iter().map(ToString::to_string).collect()
    }

    pub(super) fn counters(&self) -> Counters {
        self.evidence.counters()
    }

    /// Ends the files, and tells what was written and what the user should know.
    pub(super) fn finish(mut self) -> (Counters, Vec<String>) {
        self.speak();
        let (counters, notices) = self.evidence.finish();
        (counters, notices.iter().map(ToString::to_string).collect())
    }
}

impl Listener for Keeper {
    fn flow(&mut self, flow: &Flow, _: &[String]) {
        self.say(Word::Over(flow.id));
    }

    fn early(&mut self, finding: &Finding) {
        self.say(Word::Failed(finding.flow, remarks(finding)));
    }

    fn finding(&mut self, finding: &Finding) {
        self.say(Word::Failed(finding.flow, remarks(finding)));
    }

    fn revised(&mut self, _: &Finding, _: Told) {
        // Its packets are kept.
    }
}

impl Follower for Keeper {
    fn packet(&mut self, frame: &Frame<'_>, flow: Option<u64>) {
        self.evidence.packet(frame, flow);
        self.speak();
    }

    fn standing(&mut self, standing: &Standing) {
        self.speak();
        for (interface, seen) in (0..).zip(&standing.interfaces) {
            let counters = Kernel {
                received: seen.packets + seen.queue_drops,
                dropped: seen.kernel_drops,
                dropped_by_interface: seen.interface_drops,
            };
            self.evidence.kernel(interface, counters);
        }
    }
}
