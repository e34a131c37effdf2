//! An answer that left the target and never came: nobody gave up for another reason.

use super::lost::{JUDGED, Sent, Way};
use super::retell::becomes;
use crate::cause::{Confidence, Finding, Responsible};
use crate::phrase;
use crate::tcp::Side;
use crate::time::Timestamp;

/// What a target sent that never came here, whatever was repeated.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Its segments that left before anybody gave up, and all that left.
    missing: usize,
    sent: usize,
    /// How long before the client gave up the first of them left, nanoseconds; `None`: it did not.
    waited: Option<i64>,
}

impl Answer {
    /// Of the segments that left the other place since `from`, and all that is known of both places. Times
    /// by one clock.
    pub(super) fn new(
        way: &Way,
        here: &[(Sent, Timestamp)],
        there: &[(Sent, Timestamp)],
        from: Timestamp,
    ) -> Answer {
        let of_client = || here.iter().chain(there).filter(|(it, _)| it.from == Side::Client);
        // FIN or RST.
        let closes = |(it, at): &&(Sent, Timestamp)| it.flags & 0x05 != 0 && *at >= from;
        let gave_up = of_client().filter(closes).map(|(_, at)| *at).min();
        let behind = |one: u32, other: u32| one.wrapping_sub(other).cast_signed() > 0;
        // What was repeated and came, or was captured nowhere and was acknowledged.
        let acknowledged =
            |seq: u32| of_client().any(|(it, _)| it.flags & 0x14 == 0x10 && behind(it.ack, seq));
        let came = |seq: u32| {
            let of_server = here.iter().filter(|(it, _)| it.from == Side::Server && it.len > 0);
            let holds =
                |it: &Sent| !behind(it.seq, seq) && behind(it.seq.wrapping_add(it.len), seq);
            of_server.clone().any(|(it, _)| holds(it))
        };
        let is_data = |it: &&Sent| it.len > u32::from(it.flags & 0x01);
        let never = |it: &&Sent| !came(it.seq) && !acknowledged(it.seq);
        let before = |it: &&Sent| gave_up.is_none_or(|gave_up| it.mark.at < gave_up);
        let missing = || way.missing.iter().filter(is_data).filter(before).filter(never);
        let first = missing().map(|it| it.mark.at).min();
        Answer {
            missing: missing().count(),
            sent: way.sent,
            waited: first.and_then(|first| Some(gave_up?.nanos_since(first))),
        }
    }
}

/// An answer that the target sent in time, and that never came here: nobody else is to blame.
pub(super) fn overrule(finding: &mut Finding, answer: &Answer) {
    let (n, all) = (answer.missing, answer.sent);
    if n == 0 {
        return;
    }
    let summary = phrase!(
        "the target's answer left the other capture point, and {n} of {all} segments never came here: lost on the way back",
        n,
        all
    );
    // Else it may have been on its way.
    let sure = answer.waited.is_some_and(|waited| waited >= JUDGED);
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    becomes(finding, "return-path-blocked", Responsible::Network, confidence, summary);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MS, SERVER, finding, mark};
    use super::*;
    use crate::cause::What;

    const ACK: u8 = 0x10;
    const FIN: u8 = 0x11;

    /// A segment at `at` milliseconds: the target's answers begin with 1 000, the client's acknowledge it.
    fn sent(at: i64, from: Side, seq: u32, len: u32, flags: u8) -> (Sent, Timestamp) {
        let ack = if from == Side::Client { seq } else { 0 };
        let mark = mark(1, 1 + at.unsigned_abs(), at * MS);
        (Sent { mark, from, seq, ack, len, flags, clock: None, ttl: 64 }, mark.at)
    }

    /// What is told of a client that gave up, if the target's side shows `there` and the client's `here`.
    fn told(here: &[(Sent, Timestamp)], there: &[(Sent, Timestamp)]) -> (&'static str, Confidence) {
        let data = |it: &&(Sent, Timestamp)| it.0.from == Side::Server && it.0.len > 0;
        let came = |it: &&(Sent, Timestamp)| here.iter().any(|(here, _)| here.mark == it.0.mark);
        let missing = there.iter().filter(data).filter(|it| !came(it)).map(|(it, _)| *it);
        let mut way = Way::default();
        way.sent = there.iter().filter(data).count();
        way.missing = missing.collect();
        let guilty = mark(0, 9, 300 * MS);
        let mut finding = finding("client-abort", guilty, What::Fin, SERVER);
        overrule(&mut finding, &Answer::new(&way, here, there, Timestamp(0)));
        (finding.cause.id, finding.confidence)
    }

    #[test]
    fn an_answer_that_left_in_time_and_never_came_overrules_whoever_gave_up() {
        let gave_up = sent(300, Side::Client, 1_000, 1, FIN);
        let answer = sent(20, Side::Server, 1_000, 200, ACK);
        let blocked = "return-path-blocked";
        assert_eq!(told(&[gave_up], &[answer, gave_up]), (blocked, Confidence::Certain));
        let repeated = sent(240, Side::Server, 1_000, 200, ACK);
        assert_eq!(told(&[gave_up], &[answer, repeated, gave_up]).0, blocked);
        // It may have been on its way.
        let late = sent(290, Side::Server, 1_000, 200, ACK);
        assert_eq!(told(&[gave_up], &[late, gave_up]), (blocked, Confidence::Likely));
    }

    #[test]
    fn what_left_too_late_or_came_after_all_overrules_nothing() {
        let gave_up = sent(300, Side::Client, 1_000, 1, FIN);
        let as_it_was = ("client-abort", Confidence::Likely);
        let late = sent(320, Side::Server, 1_000, 200, ACK);
        assert_eq!(told(&[gave_up], &[gave_up, late]), as_it_was);
        assert_eq!(told(&[gave_up], &[gave_up]), as_it_was);
        // A repetition came.
        let (lost, again) =
            (sent(20, Side::Server, 1_000, 200, ACK), sent(240, Side::Server, 1_000, 200, ACK));
        assert_eq!(told(&[again, gave_up], &[lost, again, gave_up]), as_it_was);
        // The capture missed it, but its receiver did not.
        let acknowledged = sent(25, Side::Client, 1_200, 0, ACK);
        let gave_up = sent(300, Side::Client, 1_200, 1, FIN);
        assert_eq!(told(&[gave_up], &[lost, acknowledged, gave_up]), as_it_was);
    }
}
