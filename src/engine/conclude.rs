//! The end of a flow: what it was, and which of its exchanges failed and why.

use super::output::Found;
use super::suspicion::{is_open, suspicious, unfinished, worth_a_look};
use super::{DEFERRED_MAX, Engine, Options, Output, Shared, Talk, leave_open};
use crate::blind::BlindSpot;
use crate::cause::{Case, judge, needs_wider};
use crate::flow::{Ended, Ending, EndingKind, Flow};
use crate::http::{Exchange, Response, State};
use crate::join::legs::Leg;
use crate::tcp::{Connection, Entry, Side};
use crate::tls::KeyLog;
use std::sync::Arc;
use thin_vec::ThinVec;

impl Engine {
    /// The capture is over: gives out everything that is left.
    pub fn finish(&mut self, out: &mut impl Output) {
        for entry in self.table.drain() {
            self.conclude(entry, out);
        }
        self.wider.seal();
        for (flow, exchange) in std::mem::take(&mut self.deferred) {
            self.decide(&flow, exchange.as_ref(), out);
        }
    }

    /// A flow is over.
    pub(super) fn conclude(&mut self, mut entry: Box<Entry<Talk>>, out: &mut impl Output) {
        // Closed flows have lain still for seconds: those that end next come from memory meanwhile.
        if let Some(later) = self.table.over_after(1) {
            later.connection.warm();
            later.attached.warm();
        }
        if let Some(next) = self.table.over_after(0) {
            next.connection.warm_beyond();
            next.attached.watch.warm();
        }
        let Entry { connection, attached: talk } = &mut *entry;
        self.buffered -= talk.buffered as usize;
        if talk.is_second {
            self.table.recycle(entry);
            return;
        }
        self.shared.complete(&self.keys, self.options, connection, talk);
        self.shared.seen.drain(..).for_each(|seen| out.seen(seen));
        let too_late = connection.may_be_too_late();
        for exchange in &self.shared.fresh {
            if self.options.exchanges {
                out.exchange(connection.flow.id, exchange);
            }
            if is_open(exchange, too_late) {
                let (flow, exchange) = (&connection.flow, Some(exchange));
                out.undecided(&Case { flow, exchange, wider: &self.wider });
            }
        }
        let cases = self.shared.cases(connection, talk);
        let flow = &mut connection.flow;
        if flow.ended == Ended::CaptureEnd && cases.iter().any(unfinished) {
            flow.blind_spots.add(BlindSpot::CaptureEnd);
        }
        let cut = cases.iter().any(|it| it.state == State::Cut);
        self.wider.learn(flow, talk.longest_wait, cut);
        self.shared.legs.extend(Leg::of_connection(flow, &self.shared.roles));
        self.shared.give_legs(flow, out);
        out.flow(flow);
        if let Some(tap) = &mut self.shared.tap {
            tap.conclude(std::mem::take(&mut talk.watch), flow, &mut Found(out));
        }
        let bare = is_bare(flow, &cases);
        if let Some(early) = &mut self.early {
            let failures: Vec<u32> =
                bare.then_some(0).into_iter().chain(cases.iter().map(|it| it.ordinal)).collect();
            for ordinal in early.refute(flow.id, &failures) {
                out.refuted(flow, ordinal);
            }
        }
        if bare {
            self.weigh(flow, None, out);
        }
        for exchange in cases {
            self.weigh(flow, Some(exchange), out);
        }
        self.table.recycle(entry);
    }

    /// Judges a case now, or keeps it until all flows are known.
    fn weigh(&mut self, flow: &Flow, exchange: Option<Exchange>, out: &mut impl Output) {
        let case = Case { flow, exchange: exchange.as_ref(), wider: &self.wider };
        if !needs_wider(&case) {
            self.decide(flow, exchange.as_ref(), out);
            return;
        }
        let patience = exchange.is_some() && case.window_shut().is_none() && !case.unheard();
        if let Some(close) = case.closed_by_client().filter(|_| patience) {
            let silence = case.silence_before(close.mark);
            let age = case.age_at(close.mark);
            self.wider.learn_cut(flow.client, silence, age, close.mark.at);
        }
        if self.deferred.len() < DEFERRED_MAX {
            self.deferred.push((flow.clone(), exchange));
        } else {
            self.shared.counts.judged_early += 1;
            self.decide(flow, exchange.as_ref(), out);
        }
    }

    fn decide(&mut self, flow: &Flow, exchange: Option<&Exchange>, out: &mut impl Output) {
        let case = Case { flow, exchange, wider: &self.wider };
        let ordinal = exchange.map_or(0, |exchange| exchange.ordinal);
        let told = self.early.as_mut().is_some_and(|early| early.settle(flow.id, ordinal));
        match judge(&case) {
            Some(finding) => out.finding(finding),
            None => {
                if told {
                    out.refuted(flow, ordinal);
                }
                let asked = exchange.filter(|exchange| {
                    exchange.request.is_some()
                        && !case.had_enough()
                        && !exchange.blind_spots.has(BlindSpot::Encrypted)
                });
                let Some(undecided) = asked.filter(|exchange| unfinished(exchange)) else { return };
                let Shared { counts, undecided: known, .. } = &mut self.shared;
                leave_open(counts, known, (flow.id, undecided.ordinal));
                out.undecided(&case);
            }
        }
    }
}

impl Shared {
    /// A connection is over: completes its facts. What was still open goes to `fresh`.
    pub(super) fn complete(
        &mut self,
        keys: &KeyLog,
        options: Options,
        connection: &mut Connection,
        talk: &mut Talk,
    ) {
        let mut sink = self.sink(keys, options, connection, talk);
        connection.finish(&mut sink);
        sink.finish();
        let undelivered = talk.conversation.last().filter(|last| {
            let response = last.response.as_ref();
            response.is_some_and(|response| is_undelivered(&connection.flow, response))
                && !suspicious(last)
                && talk.suspects.iter().all(|known| known.ordinal != last.ordinal)
        });
        talk.suspects.extend(undelivered.cloned());
        talk.describe(&mut connection.flow);
        connection.flow.tls = talk.tls.take().map(|mut tls| Arc::new(tls.facts()));
        if let Some(tls) = &connection.flow.tls {
            self.counts.tls_flows += 1;
            self.counts.opened_flows += u64::from(tls.decrypted);
        }
        options.settle_vantage(&mut connection.flow);
    }

    /// Hands on the legs of a flow.
    pub(super) fn give_legs(&mut self, flow: &Flow, out: &mut impl Output) {
        for mut leg in self.legs.drain(..) {
            leg.belongs_to(flow, &self.roles);
            out.leg(leg);
        }
    }

    /// The exchanges of a complete connection that may have failed.
    pub(super) fn cases(&mut self, connection: &Connection, talk: &mut Talk) -> ThinVec<Exchange> {
        let mut cases = std::mem::take(&mut talk.suspects);
        let closed = connection.may_be_too_late();
        cases.extend(self.fresh.drain(..).filter(|fresh| worth_a_look(fresh, closed)));
        cases
    }
}

/// Whether the load balancer may not have got this response: it was repeated at the end, or met by RST with
/// nothing of it acknowledged.
fn is_undelivered(flow: &Flow, response: &Response) -> bool {
    let refuses = |ending: &Ending| {
        let is_reset = (ending.side, ending.kind) == (Side::Client, EndingKind::Rst);
        is_reset && ending.mark.at >= response.first.at
    };
    let unread = flow.half(Side::Server).acked <= response.start;
    flow.lost(Side::Server).is_some_and(|lost| lost.offset < response.end)
        || (unread && flow.endings.iter().any(refuses))
}

/// Whether the connection itself is the case: no request was made on it.
pub(super) fn is_bare(flow: &Flow, cases: &[Exchange]) -> bool {
    let encrypted = |case: &Exchange| case.blind_spots.has(BlindSpot::Encrypted);
    flow.requests == 0 && !cases.iter().any(encrypted)
}
