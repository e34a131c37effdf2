//! Hand-made flows for the tests of the rules: one connection, its last exchange, and what ended it.

use super::{ALL, Case, Verdict, Wider};
use crate::flow::{Ending, EndingKind, Flow, Retransmission};
use crate::http::{Exchange, Fault, FaultKind, Framing, Request, Response, State};
use crate::packet::{Endpoint, IcmpError};
use crate::tcp::Side;
use crate::time::{FrameId, Mark, Timestamp};
use crate::tls::{Alert, ClientHello, Handshake, ServerHello};
use std::sync::Arc;

/// A millisecond in nanoseconds.
pub(super) const MS: i64 = 1_000_000;
/// A second in nanoseconds.
pub(super) const S: i64 = 1_000_000_000;
/// When the request's only segment is captured; marks are nanoseconds from the first packet.
pub(super) const ASKED: i64 = 10 * S;
/// When the ClientHello leaves.
pub(super) const HELLO: i64 = 10 * MS;
/// Offset of the request's first byte: another request came before it.
pub(super) const START: u64 = 100;
/// Offset behind the request.
pub(super) const END: u64 = 300;
/// The target's usual time to live.
pub(super) const TTL: u8 = 64;

/// A frame at `at` nanoseconds; frame numbers follow time.
pub(super) fn mark(at: i64) -> Mark {
    let number = u64::try_from(at / 1000 + 1).expect("tests count time from 0");
    Mark { frame: FrameId::new(0, number), at: Timestamp(at) }
}

/// One connection of a load balancer to a target, and what its capture tells.
#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) flow: Flow,
    pub(super) exchange: Option<Exchange>,
    pub(super) wider: Wider,
}

impl Scene {
    /// Only a SYN so far.
    pub(super) fn syn() -> Scene {
        let mut scene = Scene::default();
        let flow = &mut scene.flow;
        flow.client = Endpoint::v4([10, 0, 1, 7], 40_001);
        flow.server = Endpoint::v4([10, 0, 2, 9], 8080);
        flow.opening.syn = Some(mark(0));
        flow.opening.syns = 1;
        flow.half_mut(Side::Client).packets = 1;
        scene
    }

    /// A second request, fully acknowledged and unanswered, after 5 s of idle.
    pub(super) fn asked() -> Scene {
        let mut scene = Scene::syn();
        let flow = &mut scene.flow;
        flow.opening.syn_ack = Some(mark(MS));
        flow.opening.syn_acks = 1;
        flow.opening.ack = Some(mark(2 * MS));
        flow.opening.timed = true;
        flow.last = mark(ASKED);
        let client = flow.half_mut(Side::Client);
        client.packets = 4;
        client.sent = END;
        client.acked = END;
        let server = flow.half_mut(Side::Server);
        server.packets = 4;
        server.ttl = TTL;
        scene.exchange = Some(Exchange {
            ordinal: 2,
            request: Some(Request {
                first: mark(ASKED),
                last: mark(ASKED),
                start: START,
                end: END,
                head_complete: true,
                complete: true,
                ..Request::default()
            }),
            state: State::Unanswered,
            idle_before: Some(5 * S),
            ..Exchange::default()
        });
        scene
    }

    /// A ClientHello of TLS 1.2, acknowledged and not answered.
    pub(super) fn hello() -> Scene {
        let mut scene = Scene::asked();
        scene.exchange = None;
        let flow = &mut scene.flow;
        flow.last = mark(HELLO);
        flow.opening.asked = Some(mark(HELLO));
        let client = flow.half_mut(Side::Client);
        client.last_data = Some(mark(HELLO));
        (client.sent, client.acked) = (300, 300);
        scene.tls().client_hello = Some(Box::new(ClientHello {
            mark: mark(HELLO),
            versions: vec![0x0303],
            suites: vec![0xc02f, 0xc030],
            ..ClientHello::default()
        }));
        scene
    }

    pub(super) fn tls(&mut self) -> &mut Handshake {
        Arc::make_mut(self.flow.tls.get_or_insert_default())
    }

    pub(super) fn server_says(&mut self, at: i64, bytes: u64) {
        self.flow.opening.answered.get_or_insert(mark(at));
        let server = self.flow.half_mut(Side::Server);
        server.last_data = Some(mark(at));
        server.sent += bytes;
        server.acked = server.sent;
    }

    /// The target answers with its hello and flight, 50 ms later.
    pub(super) fn server_hello(self, version: u16) -> Scene {
        self.with(|scene| {
            let mark = mark(HELLO + 50 * MS);
            scene.server_says(HELLO + 50 * MS, 3000);
            scene.tls().server_hello =
                Some(ServerHello { mark, version, ..ServerHello::default() });
        })
    }

    /// The load balancer completes the handshake.
    pub(super) fn established(self) -> Scene {
        self.with(|scene| {
            let mark = mark(HELLO + 51 * MS);
            scene.flow.half_mut(Side::Client).last_data = Some(mark);
            scene.tls().established = Some(mark);
            scene.tls().finished[0] = Some(mark);
        })
    }

    /// A fatal alert in clear, 55 ms after the ClientHello.
    pub(super) fn alert(self, side: Side, code: u8) -> Scene {
        self.with(|scene| scene.alarm(side, HELLO + 55 * MS, Some((2, code))))
    }

    /// An encrypted alert.
    pub(super) fn secret_alert(self, side: Side, at: i64) -> Scene {
        self.with(|scene| scene.alarm(side, at, None))
    }

    fn alarm(&mut self, side: Side, at: i64, said: Option<(u8, u8)>) {
        let mark = mark(at);
        match side {
            Side::Server => self.server_says(at, 7),
            Side::Client => self.flow.half_mut(side).last_data = Some(mark),
        }
        let in_handshake = self.tls().established.is_none_or(|done| done.at > mark.at);
        let encrypted = said.is_none();
        self.tls().alerts.push(Alert { mark, side, said, encrypted, in_handshake, acked: None });
    }

    /// The same on a connection that was opened for this request.
    pub(super) fn asked_first() -> Scene {
        Scene::asked().with(|scene| {
            let exchange = scene.exchange();
            exchange.ordinal = 1;
            exchange.idle_before = Some(0);
        })
    }

    /// [`Scene::asked`], and a 200 whose header is complete and whose body lacks 900 of 1000
    /// bytes, 10 ms later.
    pub(super) fn answered_in_part() -> Scene {
        Scene::asked().with(|scene| {
            let exchange = scene.exchange();
            exchange.state = State::Cut;
            exchange.response = Some(Response {
                first: mark(ASKED + 10 * MS),
                last: mark(ASKED + 10 * MS),
                start: 500,
                end: 680,
                acked: Some(END),
                status: Some(200),
                head_len: 80,
                head_complete: true,
                framing: Framing::Length(1000),
                body: 100,
                ..Response::default()
            });
            scene.flow.last = mark(ASKED + 10 * MS);
        })
    }

    /// [`Scene::asked`] and a complete response with this status.
    pub(super) fn answered(status: u16) -> Scene {
        Scene::answered_in_part().with(|scene| {
            scene.exchange().state = State::Answered;
            let response = scene.response();
            response.status = Some(status);
            response.body = 1000;
            response.complete = true;
        })
    }

    /// Changes something.
    pub(super) fn with(mut self, change: impl FnOnce(&mut Scene)) -> Scene {
        change(&mut self);
        self
    }

    pub(super) fn exchange(&mut self) -> &mut Exchange {
        self.exchange.as_mut().expect("the scene has an exchange")
    }

    pub(super) fn request(&mut self) -> &mut Request {
        self.exchange().request.as_mut().expect("the scene has a request")
    }

    pub(super) fn response(&mut self) -> &mut Response {
        self.exchange().response.as_mut().expect("the scene has a response")
    }

    /// The response's bytes are invalid.
    pub(super) fn fault(self, kind: FaultKind) -> Scene {
        self.with(|scene| {
            let response = scene.response();
            response.fault =
                Some(Fault { mark: response.first, offset: 0, kind, sample: "..".to_owned() });
        })
    }

    /// A router answers with this ICMP error after a millisecond.
    pub(super) fn icmp(self, kind: u8, code: u8, mtu: Option<u32>) -> Scene {
        self.with(|scene| {
            let (src, dst) = (scene.flow.client, scene.flow.server);
            scene.flow.icmp.push(IcmpError {
                mark: mark(MS),
                reporter: [10, 0, 2, 1].into(),
                tunnel: scene.flow.tunnel,
                v6: false,
                kind,
                code,
                mtu,
                src,
                dst,
                seq: 0,
                flags: None,
                quoted_tcp: 20,
            });
        })
    }

    /// `side` closes at `at`; `acked` is `None` for a RST without ACK flag.
    pub(super) fn close(self, side: Side, kind: EndingKind, at: i64, acked: Option<u64>) -> Scene {
        self.with(|scene| {
            scene.flow.endings.push(Ending {
                ack_flag: acked.is_some(),
                acked,
                ttl: TTL,
                ..Ending::example(mark(at), side, kind)
            });
            scene.flow.last = mark(at.max(scene.flow.last.at.0));
        })
    }

    /// FIN of the target.
    pub(super) fn target_fin(self, at: i64, acked: u64) -> Scene {
        self.close(Side::Server, EndingKind::Fin, at, Some(acked))
    }

    /// RST,ACK of the target.
    pub(super) fn target_rst(self, at: i64, acked: u64) -> Scene {
        self.close(Side::Server, EndingKind::Rst, at, Some(acked))
    }

    /// RST without ACK in the target's name.
    pub(super) fn bare_rst(self, at: i64) -> Scene {
        self.close(Side::Server, EndingKind::Rst, at, None)
            .with(|scene| scene.flow.half_mut(Side::Client).acked = START)
    }

    /// FIN of the load balancer, which the wider knowledge learns as a cut after `silence`.
    pub(super) fn balancer_fin(self, at: i64, silence: i64) -> Scene {
        self.close(Side::Client, EndingKind::Fin, at, Some(500)).with(|scene| {
            let client = scene.flow.client;
            scene.wider.learn_cut(client, silence, at - ASKED, Timestamp(at));
        })
    }

    /// `side` repeated `len` bytes at `offset` and its peer never acknowledged them.
    pub(super) fn repeated(self, side: Side, offset: u64, len: u32, times: u16) -> Scene {
        self.with(|scene| {
            let half = scene.flow.half_mut(side);
            half.acked = offset;
            half.trouble_mut().retransmission =
                Some(Retransmission { mark: mark(ASKED + S), offset, len, times });
        })
    }

    /// What the rule of this cause says, without regard to the order of the rules.
    pub(super) fn rule(&self, id: &str) -> Option<Verdict> {
        let cause = super::by_id(id).expect("the id of a cause");
        (cause.detect)(&self.case())
    }

    /// The first cause whose rule fits.
    pub(super) fn cause(&self) -> Option<&'static str> {
        let case = self.case();
        ALL.iter().find(|cause| (cause.detect)(&case).is_some()).map(|cause| cause.id)
    }

    fn case(&self) -> Case<'_> {
        Case { flow: &self.flow, exchange: self.exchange.as_ref(), wider: &self.wider }
    }
}
