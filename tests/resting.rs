//! A flow that was written down to save memory, and read again, is the flow that it was.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod support;

use std::path::Path;
use support::lab::{runs, shipped};
use why502::capture::Timeline;
use why502::cause::Finding;
use why502::engine::{Engine, Options, Output};
use why502::flow::Flow;
use why502::http::Exchange;
use why502::packet::{Decoder, DecoderOptions, Packet};
use why502::probe::{Catalogue, Habit, Sighting};
use why502::tcp::REST_BEYOND;

/// All that an engine gives out, in order.
#[derive(Default)]
struct Told(Vec<String>);

impl Output for Told {
    fn flow(&mut self, flow: &Flow) {
        self.0.push(format!("{flow:?}"));
    }
    fn exchange(&mut self, flow: u64, exchange: &Exchange) {
        self.0.push(format!("{flow} {exchange:?}"));
    }
    fn finding(&mut self, finding: Finding) {
        self.0.push(format!("{finding:?}"));
    }
    fn sighting(&mut self, sighting: Sighting) {
        self.0.push(format!("{sighting:?}"));
    }
    fn habit(&mut self, flow: &Flow, habit: Habit) {
        self.0.push(format!("{} {habit:?}", flow.id));
    }
}

fn told(capture: &Path, awake: usize) -> Vec<String> {
    let mut timeline = Timeline::open(&[capture.to_owned()]).unwrap();
    let mut decoder = Decoder::new(DecoderOptions::default());
    let options = Options { exchanges: true, ..Options::default() };
    let mut engine =
        Engine::new(options).watch_probers(Catalogue::built_in().unwrap()).rest_beyond(awake);
    let mut told = Told::default();
    while let Some(frame) = timeline.next_frame().unwrap() {
        match decoder.decode(&frame) {
            Packet::Tcp(segment) => _ = engine.segment(&segment, &mut told),
            Packet::Icmp(error) => _ = engine.icmp(&error),
            Packet::Skip(_) => {}
        }
    }
    engine.finish(&mut told);
    told.0
}

#[test]
fn flows_that_rest_after_every_packet_tell_the_same() {
    for run in runs(&shipped()) {
        for capture in [&run.lb, &run.target] {
            let (always, never) = (told(capture, 0), told(capture, REST_BEYOND));
            let other = always.iter().zip(&never).find(|(one, other)| one != other);
            assert_eq!(other, None, "{}", capture.display());
            assert_eq!(always.len(), never.len(), "{}", capture.display());
        }
    }
}
