//! What is kept of an exchange to find its other leg.

use super::roles::Roles;
use super::sketch::{OWN_MAX, Sketch};
use crate::cause::{own_page, refusal};
use crate::flow::{Ending, EndingKind, Flow};
use crate::http::{Exchange, Request, Response, State, is_gateway_error};
use crate::join::Ends;
use crate::packet::Endpoint;
use crate::tcp::Side;
use crate::time::{Mark, Timestamp};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// From the end of the handshake to a request that the connection was opened for, nanoseconds.
const AT_ONCE: i64 = 5_000_000;

/// One exchange of a host that may be a proxy.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Between whom, when, and how it ended.
    pub ends: Ends,
    /// Last byte of the request seen.
    pub whole: Mark,
    /// Its response has something wrong, or came before the whole request.
    pub odd: bool,
    /// Whether the client's and the server's address are known as the capturing host's.
    pub local: [bool; 2],
    /// What identifies it.
    pub sketch: Sketch,
    /// Times that it was left for later, without its counterpart.
    pub waited: u8,
    /// When its connection was opened, where its server may be a proxy that hands on bytes and does not wait for a
    /// request: it is the first one, and its server closed without an answer.
    pub opened: Option<Timestamp>,
    /// When its connection was opened, where its request is the first one and followed at once: for it, unless its client
    /// keeps a pool.
    pub fresh: Option<Timestamp>,
    /// How long its server kept the connection after a FIN of its client, which may have ended one direction only.
    pub kept: Option<Timestamp>,
    /// Its opening ended with an ICMP error. One that comes while the opener still calls the kernel, as from a host that
    /// is very near, is kept for the time-out (Linux, `tcp_v4_err` with a socket that is owned).
    pub soft: bool,
    /// Those of the own headers that no other request at its server has; 0 in place of the others.
    pub unique: [u64; OWN_MAX],
}

impl Leg {
    /// Of a finished exchange.
    pub fn of(exchange: &Exchange) -> Option<Leg> {
        let request = exchange.request.as_ref()?;
        let response = exchange.response.as_ref();
        Some(Leg {
            ends: Ends {
                flow: 0,
                stream: None,
                ordinal: exchange.ordinal,
                client: Endpoint::default(),
                server: Endpoint::default(),
                asked: request.first,
                answered: response.map(|response| response.first),
                over: response.map_or(request.last, |response| response.last),
                closed_by: None,
                status: response.and_then(|response| response.status),
                head_len: response.map_or(0, |response| response.head_len),
                state: exchange.state,
                own_page: own_page(exchange),
            },
            whole: request.last,
            odd: response
                .is_some_and(|response| is_odd(response) || may_be_early(request, response)),
            local: [false; 2],
            sketch: Sketch::of(exchange),
            waited: 0,
            opened: None,
            fresh: None,
            kept: None,
            soft: false,
            unique: [0; OWN_MAX],
        })
    }

    /// Of a connection that failed before it carried a request.
    pub fn of_connection(flow: &Flow, roles: &Roles) -> Option<Leg> {
        if !roles.may_be_leg(flow.client.ip, flow.server) {
            return None;
        }
        let syn = flow.opening.syn.filter(|_| flow.requests == 0)?;
        let closed = flow.closed_first().is_some_and(|close| close.side == Side::Server);
        let opened = flow.opening.syn_ack.is_some() && !was_given_up(flow);
        if opened && !closed && flow.tls.is_none() {
            // A check, or one opened in advance.
            return None;
        }
        let mut leg = Leg {
            ends: Ends {
                flow: 0,
                stream: None,
                ordinal: 0,
                client: flow.client,
                server: flow.server,
                asked: syn,
                answered: None,
                over: flow.last,
                closed_by: None,
                status: None,
                head_len: 0,
                state: State::Unanswered,
                own_page: None,
            },
            whole: syn,
            odd: false,
            local: [false; 2],
            sketch: Sketch::default(),
            waited: 0,
            opened: None,
            fresh: None,
            kept: None,
            soft: false,
            unique: [0; OWN_MAX],
        };
        leg.belongs_to(flow, roles);
        Some(leg)
    }

    /// Fills in what its connection tells.
    pub fn belongs_to(&mut self, flow: &Flow, roles: &Roles) {
        let ends = &mut self.ends;
        (ends.flow, ends.stream) = (flow.id, flow.stream);
        (ends.client, ends.server) = (flow.client, flow.server);
        self.local = [roles.knows_local(flow.client.ip), roles.knows_local(flow.server.ip)];
        let acked = flow.opening.ack.filter(|_| ends.ordinal == 1);
        let at_once = acked.filter(|ack| ends.asked.at.nanos_since(ack.at) <= AT_ONCE);
        self.fresh = at_once.and(flow.opening.syn).map(|syn| syn.at);
        // What comes behind a RST reaches nobody, whoever sent that in the server's name.
        let deaf = |it: &&Ending| {
            it.belied.is_some()
                && it.side == Side::Server
                && it.mark.at >= ends.asked.at
                && ends.answered.is_some_and(|answered| it.mark.at < answered.at)
        };
        if let Some(reset) = flow.endings.iter().find(deaf) {
            (ends.answered, ends.status, ends.head_len) = (None, None, 0);
            ends.own_page = None;
            (ends.state, ends.closed_by, ends.over) =
                (State::Unanswered, Some(Side::Server), reset.mark);
            (self.odd, self.sketch.reply) = (false, 0);
            return;
        }
        let first = flow.closed_first().filter(|close| close.mark.at >= ends.asked.at);
        if ends.state == State::Answered {
            // Who has left does not read the rest.
            let left = first.filter(|it| it.side == Side::Client && it.mark.at < ends.over.at);
            if let Some(close) = left {
                (ends.closed_by, ends.over) = (Some(Side::Client), close.mark);
            }
            return;
        }
        ends.closed_by = first.map(|close| close.side);
        let end = first.map_or(flow.last, |close| close.mark);
        if end.at > ends.over.at {
            ends.over = end;
        }
        if let Some(syn) =
            flow.opening.last_syn().filter(|_| ends.ordinal == 0 && was_given_up(flow))
        {
            (ends.over, ends.closed_by) = (syn, None);
        }
        // Whoever opens a connection learns of it as of a RST.
        let unopened = ends.ordinal == 0 && flow.opening.syn_ack.is_none() && first.is_none();
        if let Some(icmp) = refusal(flow).filter(|_| unopened) {
            (ends.over, ends.closed_by, self.soft) = (icmp.mark, Some(Side::Server), true);
        }
        if ends.ordinal == 1 && ends.answered.is_none() && ends.closed_by == Some(Side::Server) {
            self.opened = flow.opening.syn.map(|syn| syn.at);
        }
        let half = |close: &&Ending| close.side == Side::Client && close.kind == EndingKind::Fin;
        if ends.answered.is_none() && first.filter(half).is_some() {
            let server = flow.endings.iter().find(|ending| ending.side == Side::Server);
            self.kept = Some(server.map_or(flow.last.at, |close| close.mark.at));
        }
    }

    /// From when on attempts for it may have been begun.
    pub fn since(&self) -> Timestamp {
        self.opened.unwrap_or(self.ends.asked.at)
    }

    /// When it was begun, as an attempt: when its connection was opened for it.
    pub fn begun(&self) -> Timestamp {
        self.fresh.unwrap_or(self.ends.asked.at)
    }

    /// When the last attempt for it may have been begun.
    pub fn asked_until(&self) -> Timestamp {
        let answered = self.ends.answered.map(|answered| answered.at);
        answered
            .unwrap_or_else(|| self.kept.map_or(self.ends.over.at, |it| it.max(self.ends.over.at)))
    }

    /// Until when its proxy worked on it: until the answer began, where its client closed before.
    pub fn until(&self) -> Timestamp {
        self.asked_until().max(self.ends.over.at)
    }

    /// Its server closed the connection without an answer.
    pub fn was_dropped(&self) -> bool {
        self.ends.answered.is_none() && self.ends.closed_by == Some(Side::Server)
    }

    /// It did not end as a client likes it, or its client did not wait for the end.
    pub fn is_suspect(&self) -> bool {
        self.ends.failed() || self.odd || self.ends.closed_by.is_some()
    }

    /// Whether it was accepted at the host that opened `other`.
    pub fn at_the_host_of(&self, other: &Leg) -> bool {
        self.ends.server.ip == other.ends.client.ip || (self.local[1] && other.local[0])
    }

    /// Its request could be read.
    pub fn is_readable(&self) -> bool {
        self.sketch.target != 0
    }
}

/// A SYN-ACK came when its receiver waited no longer: it answered with the RST of a host that has no such connection.
fn was_given_up(flow: &Flow) -> bool {
    let gone = |close: &Ending| close.side == Side::Client && !close.ack_flag;
    flow.opening.ack.is_none() && flow.closed_first().is_some_and(gone)
}

/// Answered as proxies answer for themselves: kept even where no proxy is known so far.
pub fn speaks_for_others(exchange: &Exchange) -> bool {
    let status = exchange.response.as_ref().and_then(|response| response.status);
    status.is_some_and(is_gateway_error)
}

/// Something that proxies may refuse.
fn is_odd(response: &Response) -> bool {
    /// The least limit of a common load balancer for response headers (ALB), bytes.
    const HEAD_LIMIT: u64 = 32 * 1024;
    response.fault.is_some() || response.unsolicited || response.head_len > HEAD_LIMIT
}

/// The answer refuses a request that was sent in parts: its target may not have read all of it.
fn may_be_early(request: &Request, response: &Response) -> bool {
    let parts = request.first.frame != request.last.frame;
    parts && (response.first.at <= request.last.at || response.status.is_some_and(|it| it >= 400))
}

/// Finds out which of the headers of each request no other request at its server has.
pub(super) fn find_unique(legs: &mut [Leg]) {
    let mut times: HashMap<(u64, Endpoint), u32, FixedState> = HashMap::default();
    for leg in legs.iter() {
        for own in leg.sketch.own.iter().filter(|own| **own != 0) {
            *times.entry((*own, leg.ends.server)).or_default() += 1;
        }
    }
    for leg in legs {
        let once = |own: u64| own != 0 && times.get(&(own, leg.ends.server)) == Some(&1);
        leg.unique = leg.sketch.own.map(|own| if once(own) { own } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Grade;
    use crate::packet::{IcmpError, TunnelId};

    /// A flow in whose opening SYN, SYN-ACK and ACK came at these milliseconds, and which ended so.
    fn flow(opening: [Option<i64>; 3], ends: &[(Side, EndingKind, bool, i64)]) -> Flow {
        let mark = |ms: i64| Mark { at: Timestamp(ms * 1_000_000), ..Mark::default() };
        let [client, server] = [1, 2].map(|host| Endpoint::v4([10, 0, 0, host], 80));
        let mut flow = Flow { client, server, last: mark(9_000), ..Flow::default() };
        let [syn, syn_ack, ack] = opening.map(|ms| ms.map(mark));
        (flow.opening.syn, flow.opening.syn_ack, flow.opening.ack) = (syn, syn_ack, ack);
        flow.endings.extend(ends.iter().map(|(side, kind, ack_flag, ms)| Ending {
            ack_flag: *ack_flag,
            ..Ending::example(mark(*ms), *side, *kind)
        }));
        flow
    }

    #[test]
    fn a_syn_ack_that_comes_when_nobody_waits_any_more_opens_nothing() {
        let mut roles = Roles::default();
        let [client, server] = [1, 2].map(|host| Endpoint::v4([10, 0, 0, host], 80));
        roles.opened(Endpoint { port: 9, ..server }, client);
        roles.opened(client, server);
        let of = |ack_flag| {
            let ends = [(Side::Client, EndingKind::Rst, ack_flag, 7_000)];
            let mut flow = flow([Some(0), Some(7_000), None], &ends);
            flow.opening.odd_mut().last_syn =
                Some(Mark { at: Timestamp(1_000_000_000), ..Mark::default() });
            Leg::of_connection(&flow, &roles)
        };
        // Its kernel has no such socket; a check that has seen enough resets its own.
        let late = of(false).unwrap();
        assert_eq!((late.ends.over.at, late.ends.closed_by), (Timestamp(1_000_000_000), None));
        assert!(of(true).is_none());
    }

    #[test]
    fn an_icmp_error_refuses_a_connection_as_a_reset_does() {
        let flow = flow([Some(0), None, None], &[]);
        let icmp = |kind, code| IcmpError {
            mark: Mark { at: Timestamp(2_000_000), ..Mark::default() },
            reporter: [10, 0, 0, 254].into(),
            tunnel: TunnelId::default(),
            v6: false,
            kind,
            code,
            mtu: None,
            src: flow.client,
            dst: flow.server,
            seq: 0,
            flags: None,
            quoted_tcp: 20,
        };
        let mut roles = Roles::default();
        roles.opened(Endpoint { port: 9, ..flow.server }, flow.client);
        roles.opened(flow.client, flow.server);
        let of = |kind, code| {
            let mut flow = flow.clone();
            flow.icmp.push(icmp(kind, code));
            let leg = Leg::of_connection(&flow, &roles).unwrap();
            (leg.ends.over.at.0 / 1_000_000, leg.ends.closed_by)
        };
        // Prohibited by a rule; fragmentation needed answers no SYN.
        assert_eq!(of(3, 13), (2, Some(Side::Server)));
        assert_eq!(of(3, 4), (9_000, None));
    }

    #[test]
    fn a_fin_of_the_client_leaves_the_proxy_time_until_it_closes_itself() {
        let asked = |ends: &[(Side, EndingKind, bool, i64)]| {
            let request = Request::default();
            let exchange = Exchange {
                ordinal: 1,
                request: Some(request),
                state: State::Unanswered,
                ..Exchange::default()
            };
            let mut leg = Leg::of(&exchange).unwrap();
            leg.belongs_to(&flow([Some(0), Some(1), Some(2)], ends), &Roles::default());
            (leg.opened.is_some(), leg.asked_until().0 / 1_000_000)
        };
        let (client, server) = (Side::Client, Side::Server);
        let (fin, rst) = (EndingKind::Fin, EndingKind::Rst);
        assert_eq!(asked(&[(client, fin, true, 100), (server, fin, true, 400)]), (false, 400));
        assert_eq!(asked(&[(client, rst, true, 100)]), (false, 100));
        // Dropped by its server, which may have gone on to a target when the connection was opened.
        assert_eq!(asked(&[(server, fin, true, 100)]), (true, 100));
    }

    #[test]
    fn a_connection_whose_first_request_follows_at_once_was_opened_for_it() {
        let fresh = |ordinal, asked: i64| {
            let at = Mark { at: Timestamp(asked * 1_000_000), ..Mark::default() };
            let request = Request { first: at, last: at, ..Request::default() };
            let exchange = Exchange { ordinal, request: Some(request), ..Exchange::default() };
            let mut leg = Leg::of(&exchange).unwrap();
            leg.belongs_to(&flow([Some(10), Some(11), Some(12)], &[]), &Roles::default());
            leg.begun().0 / 1_000_000
        };
        assert_eq!([fresh(1, 13), fresh(1, 50), fresh(2, 13)], [10, 50, 13]);
    }

    #[test]
    fn an_answer_behind_a_reset_reaches_no_proxy() {
        let at = |time| Mark { at: Timestamp(time), ..Mark::default() };
        let exchange = Exchange {
            ordinal: 1,
            request: Some(Request { first: at(10), last: at(10), ..Request::default() }),
            response: Some(Response {
                first: at(30),
                last: at(30),
                status: Some(200),
                ..Response::default()
            }),
            state: State::Answered,
            ..Exchange::default()
        };
        let ends = |belied| {
            let mut flow = Flow::default();
            flow.endings.push(Ending {
                grade: Grade::Contradicted,
                belied,
                ..Ending::example(at(20), Side::Server, EndingKind::Rst)
            });
            let mut leg = Leg::of(&exchange).unwrap();
            leg.belongs_to(&flow, &Roles::default());
            (leg.ends.status, leg.ends.state, leg.ends.closed_by, leg.ends.over)
        };
        let cut = (None, State::Unanswered, Some(Side::Server), at(20));
        assert_eq!(ends(Some(at(30))), cut);
        assert_eq!(ends(None), (Some(200), State::Answered, None, at(30)));
    }
}
