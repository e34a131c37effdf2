//! Connections that a capture shows twice: a host that translates addresses (NAT, RFC 3022) passes their packets on
//! with other addresses, and a capture of all its interfaces has them before and after it.
//!
//! They are one connection. It is told once, by the addresses that come first in the capture: those that its client
//! used, unless the packets of several interfaces were written each in turn. Another copy is followed only so far that
//! its packets are known to be its own.

use crate::blind::BlindSpot;
use crate::packet::{Endpoint, Flags, Segment, TcpOptions};
use crate::tcp::{At, Side, StreamSink};
use crate::time::Timestamp;

/// SYNs and answers that are remembered, about 100 bytes each: many more than come while a host passes one on, as
/// one takes the place of another with the same remainder.
const REMEMBERED: usize = 1 << 12;
/// How long a host takes to pass a packet on at most, nanoseconds: a tenth of the time after which a SYN is
/// repeated (RFC 6298, 2.1).
const WITHIN: i64 = 100_000_000;

/// SYNs and answers to them that were captured just before.
#[derive(Debug, Default)]
pub(super) struct Translations {
    /// By their sequence number.
    recent: Vec<Option<Syn>>,
    /// Those numbers: side by side in memory, so that nearly no SYN has to be compared with an older one.
    numbers: Vec<u32>,
    /// Connections that were captured a second time.
    pub(super) count: u64,
    /// Flows that are copies of them: some have more than one.
    pub(super) copies: u64,
    /// Client and server of the first of them, before and after the translation.
    pub(super) first: Option<[(Endpoint, Endpoint); 2]>,
}

/// A connection that was captured just before with other addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Client and server by which it is told.
    pub(super) told: (Endpoint, Endpoint),
    /// Client and server before and after the translation.
    pub(super) translation: [(Endpoint, Endpoint); 2],
}

/// What of a SYN, or of an answer to one, a translation leaves as it is, and its addresses.
#[derive(Clone, Copy, Debug)]
struct Syn {
    at: Timestamp,
    from: Endpoint,
    to: Endpoint,
    seq: u32,
    ack: u32,
    flags: Flags,
    window: u16,
    options: TcpOptions,
    ip_id: Option<u16>,
    ttl: u8,
}

impl Syn {
    fn of(segment: &Segment<'_>) -> Syn {
        Syn {
            at: segment.mark.at,
            from: segment.src,
            to: segment.dst,
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            window: segment.window,
            options: segment.options,
            ip_id: segment.ip_id,
            ttl: segment.ttl,
        }
    }

    /// Whether this packet has become the other one on its way through a host.
    fn became(&self, later: &Syn) -> bool {
        let passed = later.at.nanos_since(self.at);
        // Who forwards counts down by one, who sends by itself does not.
        let hops = self.ttl.wrapping_sub(later.ttl);
        // The maximum segment size may be lowered on the way.
        let stays = |syn: &Syn| {
            let TcpOptions { timestamp, window_scale, .. } = syn.options;
            (syn.seq, syn.ack, syn.flags, syn.window, syn.ip_id, timestamp, window_scale)
        };
        // Where nothing else is random, a sender of many SYNs may number them all alike.
        let is_random = self.options.timestamp.is_some() || self.from.port == later.from.port;
        (0..WITHIN).contains(&passed)
            && hops <= 1
            && is_random
            && stays(self) == stays(later)
            && (self.from.ip, self.to.ip) != (later.from.ip, later.to.ip)
    }
}

impl Translations {
    /// The connection that this SYN opens, when it was captured just before with other addresses.
    ///
    /// A capture of several interfaces may hold the packets of each in turn: time tells which copy came first
    /// through the host, and the one that came first in the file is kept.
    pub(super) fn original(&mut self, segment: &Segment<'_>) -> Option<Known> {
        let syn = Syn::of(segment);
        let before = self.copy_of(&syn)?;
        let [told, again] = [before, syn].map(|syn| (syn.from, syn.to));
        let translation = if before.became(&syn) { [told, again] } else { [again, told] };
        Some(Known { told, translation })
    }

    /// Whether this answer to a SYN was captured just before with other addresses. A host that translates both
    /// ends of a connection may show the answer between the two: with addresses that no SYN had.
    pub(super) fn answered_before(&mut self, segment: &Segment<'_>) -> bool {
        let answers = segment.flags.ack() && (segment.flags.syn() || segment.flags.rst());
        answers && self.copy_of(&Syn::of(segment)).is_some()
    }

    /// The same packet with other addresses. One that is met for the first time is remembered.
    fn copy_of(&mut self, syn: &Syn) -> Option<Syn> {
        if self.recent.is_empty() {
            self.recent.resize(REMEMBERED, None);
            self.numbers.resize(REMEMBERED, 0);
        }
        // Initial sequence numbers are random (RFC 6528); who refuses a connection has none and acknowledges it.
        let place = syn.seq.wrapping_add(syn.ack) as usize % REMEMBERED;
        if std::mem::replace(&mut self.numbers[place], syn.seq) == syn.seq
            && let Some(before) = self.recent[place]
            && (before.became(syn) || syn.became(&before))
        {
            return Some(before);
        }
        self.recent[place] = Some(*syn);
        None
    }
}

/// Hears nothing of a connection.
pub(super) struct Unheard;

impl StreamSink for Unheard {
    fn data(&mut self, _: Side, _: At, _: &[u8]) {}
    fn gap(&mut self, _: Side, _: At, _: u64, _: BlindSpot) {}
    fn ended(&mut self, _: Side) {}
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Flows, says};
    use super::super::{Engine, Options, Output};
    use super::*;
    use crate::capture::Direction;
    use crate::cause::Finding;
    use crate::flow::{Flow, Vantage};
    use crate::http::Exchange;
    use crate::packet::{Flags, IcmpError};
    use crate::probe::Catalogue;

    const POD: Endpoint = Endpoint::v4([10, 244, 0, 7], 8080);

    fn syn(number: u64, change: impl FnOnce(&mut Segment<'_>)) -> Segment<'static> {
        let mut segment = says(40_000, number, 77, Flags::SYN, b"");
        segment.options.timestamp = Some((5, 0));
        (segment.ip_id, segment.direction) = (Some(9), Direction::Inbound);
        change(&mut segment);
        segment
    }

    /// The same with another target.
    fn passed_on(number: u64, change: impl FnOnce(&mut Segment<'_>)) -> Segment<'static> {
        syn(number, |segment| {
            (segment.dst, segment.ttl, segment.direction) = (POD, 63, Direction::Outbound);
            change(segment);
        })
    }

    #[test]
    fn what_a_host_passes_on_with_other_addresses_is_one_connection() {
        let (mut engine, mut out) = (Engine::new(Options::default()), Flows::default());
        let first = syn(1, |_| {});
        let server = first.dst;
        engine.segment(&first, &mut out);
        engine.segment(&passed_on(2, |_| {}), &mut out);
        let mut answer = passed_on(3, |it| (it.flags, it.ack, it.seq) = (Flags(0x12), 78, 500));
        (answer.src, answer.dst) = (answer.dst, answer.src);
        engine.segment(&answer, &mut out);
        answer.src = server;
        engine.segment(&answer, &mut out);
        assert_eq!(engine.flows(), 1);
        let (count, [before, after]) = engine.translated().unwrap();
        assert_eq!((count, before, after), (1, (first.src, server), (first.src, POD)));
        engine.finish(&mut out);
        let flows: Vec<_> = out.0.iter().map(|flow| (flow.server, flow.vantage)).collect();
        assert_eq!(flows, [(server, Vantage::Between)]);
    }

    /// The packets of each interface in turn, as dumpcap writes them: the one behind the translation first.
    #[test]
    fn which_copy_comes_first_in_the_file_does_not_matter() {
        let (mut engine, mut out) = (Engine::new(Options::default()), Flows::default());
        let (first, second) = (syn(1, |_| {}), passed_on(2, |_| {}));
        engine.segment(&second, &mut out);
        engine.segment(&first, &mut out);
        assert_eq!(engine.flows(), 1);
        let (count, [before, after]) = engine.translated().unwrap();
        assert_eq!((count, before, after), (1, (first.src, first.dst), (first.src, POD)));
        engine.finish(&mut out);
        assert_eq!(out.0.iter().map(|flow| flow.server).collect::<Vec<_>>(), [POD]);
    }

    /// Behind a bridge the answer is seen once with the client's own address and the target's.
    #[test]
    fn an_answer_between_two_translations_is_no_connection_of_its_own() {
        const HOST: Endpoint = Endpoint::v4([10, 244, 0, 1], 40_000);
        for answer in [Flags::SYN | Flags::ACK, Flags::RST | Flags::ACK] {
            let (mut engine, mut out) = (Engine::new(Options::default()), Flows::default());
            let first = syn(1, |_| {});
            engine.segment(&first, &mut out);
            engine.segment(&passed_on(2, |it| it.src = HOST), &mut out);
            for (number, (src, dst)) in
                (3..).zip([(POD, HOST), (POD, first.src), (first.dst, first.src)])
            {
                let answer = passed_on(number, |it| {
                    (it.src, it.dst, it.flags) = (src, dst, Flags(answer));
                    (it.seq, it.ack) = (500, 78);
                });
                engine.segment(&answer, &mut out);
            }
            assert_eq!((engine.flows(), engine.translated().unwrap().0), (1, 1));
        }
    }

    #[test]
    fn what_differs_otherwise_or_comes_late_is_a_connection_of_its_own() {
        let changes: [fn(&mut Segment<'_>); 7] = [
            |it| it.ip_id = Some(10),
            |it| it.options.timestamp = Some((6, 0)),
            |it| it.seq += 1,
            |it| it.ack += 1,
            |it| it.ttl = 60,
            |it| it.window += 1,
            |it| it.mark.at = it.mark.at.after(WITHIN),
        ];
        for change in changes {
            let mut translations = Translations::default();
            assert_eq!(translations.original(&syn(1, |_| {})), None);
            assert_eq!(translations.original(&passed_on(2, change)), None);
        }
        let mut translations = Translations::default();
        assert_eq!(translations.original(&syn(1, |_| {})), None);
        // A plain router changes no address: its copies are those of one connection anyway.
        assert_eq!(translations.original(&syn(2, |it| it.ttl = 63)), None);
        assert!(translations.original(&passed_on(3, |it| it.ttl = 62)).is_some());
    }

    /// Counts what is told early.
    #[derive(Default)]
    struct Told(u32);

    impl Output for Told {
        fn flow(&mut self, _: &Flow) {}
        fn exchange(&mut self, _: u64, _: &Exchange) {}
        fn finding(&mut self, _: Finding) {}
        fn early(&mut self, _: Finding) {
            self.0 += 1;
        }
    }

    #[test]
    fn an_error_about_a_second_copy_is_not_told_as_another_failure() {
        let told = |both: bool| {
            let probers = Catalogue::built_in().unwrap();
            let mut engine = Engine::new(Options::default()).give_early(probers);
            let (first, mut out) = (syn(1, |_| {}), Told::default());
            let second = passed_on(2, |_| {});
            if both {
                engine.segment(&first, &mut out);
            }
            engine.segment(&second, &mut out);
            engine.icmp(&IcmpError {
                mark: second.mark,
                reporter: [10, 244, 0, 1].into(),
                tunnel: second.tunnel,
                v6: false,
                kind: 3,
                code: 1,
                mtu: None,
                src: second.src,
                dst: second.dst,
                seq: second.seq,
                flags: Some(second.flags),
                quoted_tcp: 20,
            });
            engine.tick(second.mark.at.after(1_000_000_000), &mut out);
            out.0
        };
        assert_eq!([false, true].map(told), [1, 0]);
    }

    #[test]
    fn what_a_host_only_passes_on_is_no_address_of_its_own() {
        let local = |passed: bool| {
            let (mut engine, mut out) = (Engine::new(Options::default()), Flows::default());
            let first = syn(1, |_| {});
            engine.segment(&first, &mut out);
            if passed {
                engine.segment(&syn(2, |it| it.direction = Direction::Outbound), &mut out);
            }
            let mut answer = syn(3, |it| (it.flags, it.ack, it.seq) = (Flags(0x12), 78, 500));
            (answer.src, answer.dst) = (first.dst, first.src);
            // To the host that accepts it leaves, to one between it comes in.
            answer.direction = if passed { Direction::Inbound } else { Direction::Outbound };
            engine.segment(&answer, &mut out);
            [first.src, first.dst].map(|end| engine.shared.roles.knows_local(end.ip))
        };
        assert_eq!((local(false), local(true)), ([false, true], [false, false]));
    }

    #[test]
    fn a_server_is_passed_on_to_by_a_host_that_its_packets_reach_before_they_leave() {
        let (inbound, outbound) = (Direction::Inbound, Direction::Outbound);
        let forwards = |first: Direction, second: Segment<'static>| {
            let (mut engine, mut out) = (Engine::new(Options::default()), Flows::default());
            let before = syn(1, |it| it.direction = first);
            engine.segment(&before, &mut out);
            engine.segment(&second, &mut out);
            engine.wider.forwards(before.dst)
        };
        assert!(forwards(inbound, syn(2, |it| (it.ttl, it.direction) = (63, outbound))));
        assert!(forwards(inbound, passed_on(2, |_| {})));
        // What a host says to itself leaves first; what is only repeated goes one way.
        assert!(!forwards(outbound, syn(2, |it| it.direction = inbound)));
        assert!(!forwards(inbound, syn(2, |_| {})));
    }
}
