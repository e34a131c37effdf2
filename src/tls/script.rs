//! Scripted connections for the tests of this module.

use super::{Handshake, Inner, KeyLog, Session, Tickets};
use crate::blind::BlindSpot;
use crate::http::{Conversation, Exchange, Pool};
use crate::packet::Endpoint;
use crate::tcp::{At, Side};
use crate::time::{FrameId, Mark, Timestamp};

/// A record.
pub(super) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &(body.len() as u16).to_be_bytes()[..], body].concat()
}

/// A handshake message.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

fn with_extensions(head: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = extensions.concat();
    [head, &(extensions.len() as u16).to_be_bytes(), &extensions].concat()
}

/// A ClientHello that asks for `app.test` and offers these versions and protocols.
pub(super) fn client_hello(versions: &[u16], alpn: &[&str]) -> Vec<u8> {
    let mut head = vec![3, 3];
    head.extend([7; 32]);
    head.extend([0, 0, 6, 0x13, 0x01, 0xc0, 0x2f, 0xda, 0xda, 1, 0]);
    let name = b"app.test";
    let sni = [&[0, name.len() as u8 + 3, 0, 0, name.len() as u8][..], name].concat();
    let mut extensions = vec![extension(0, &sni)];
    if !alpn.is_empty() {
        let names: Vec<u8> =
            alpn.iter().flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat()).collect();
        let list = [&(names.len() as u16).to_be_bytes()[..], &names].concat();
        extensions.push(extension(16, &list));
    }
    if versions.contains(&0x0304) {
        let list: Vec<u8> = versions.iter().flat_map(|version| version.to_be_bytes()).collect();
        extensions.push(extension(43, &[&[list.len() as u8], &list[..]].concat()));
    }
    message(1, &with_extensions(&head, &extensions))
}

/// A ServerHello.
pub(super) fn server_hello(version: u16) -> Vec<u8> {
    let mut head = vec![3, 3];
    head.extend([9; 32]);
    head.push(0);
    head.extend(if version == 0x0304 { [0x13, 0x01] } else { [0xc0, 0x2f] });
    head.push(0);
    let chosen = (version == 0x0304).then(|| extension(43, &version.to_be_bytes()));
    message(2, &with_extensions(&head, chosen.as_slice()))
}

/// Plays a connection.
pub(super) struct Script {
    session: Session,
    conversation: Conversation,
    pool: Pool,
    log: KeyLog,
    /// What is known of session tickets.
    pub(super) tickets: Tickets,
    sent: [u64; 2],
    frame: u64,
    waited: i64,
    /// What was given out.
    pub(super) exchanges: Vec<Exchange>,
}

impl Script {
    pub(super) fn new() -> Script {
        Script::of(Session::new())
    }

    pub(super) fn of(session: Session) -> Script {
        Script {
            session,
            conversation: Conversation::new(Some(Mark::default())),
            pool: Pool::default(),
            log: KeyLog::default(),
            tickets: Tickets::default(),
            sent: [0; 2],
            frame: 0,
            waited: 0,
            exchanges: Vec::new(),
        }
    }

    /// These keys are known.
    pub(super) fn with_keys(mut self, log: KeyLog) -> Script {
        self.log = log;
        self
    }

    fn next(&mut self) -> Mark {
        self.frame += 1;
        let at = Timestamp(self.frame as i64 * 1000 + self.waited);
        Mark { frame: FrameId::new(0, self.frame), at }
    }

    /// Bytes in one segment that acknowledges everything; `acked` says otherwise.
    fn segment(&mut self, side: Side, bytes: &[u8], acked: Option<u64>) -> &mut Script {
        let mark = self.next();
        let at = At {
            mark,
            offset: self.sent[side as usize],
            acked: Some(acked.unwrap_or(self.sent[(!side) as usize])),
        };
        self.sent[side as usize] += bytes.len() as u64;
        let exchanges = &mut self.exchanges;
        let mut give = |exchange: &Exchange| exchanges.push(exchange.clone());
        let (conversation, pool) = (&mut self.conversation, &mut self.pool);
        let (tickets, server) = (&mut self.tickets, Endpoint::default());
        self.session.data(
            side,
            at,
            bytes,
            &mut Inner { log: &self.log, tickets, server, conversation, pool, give: &mut give },
        );
        self
    }

    pub(super) fn client(&mut self, bytes: &[u8]) -> &mut Script {
        self.segment(Side::Client, bytes, None)
    }

    pub(super) fn server(&mut self, bytes: &[u8]) -> &mut Script {
        self.segment(Side::Server, bytes, None)
    }

    /// The server sends before it has received what the client sent last.
    pub(super) fn server_crossing(&mut self, bytes: &[u8], acked: u64) -> &mut Script {
        self.segment(Side::Server, bytes, Some(acked))
    }

    /// Nothing happens for so many nanoseconds.
    pub(super) fn wait(&mut self, nanos: i64) -> &mut Script {
        self.waited += nanos;
        self
    }

    /// Bytes that the client has sent so far.
    pub(super) fn client_sent(&self) -> u64 {
        self.sent[0]
    }

    pub(super) fn gap(&mut self, side: Side, len: u64) -> &mut Script {
        let mark = self.next();
        let at = At { mark, offset: self.sent[side as usize], acked: None };
        self.sent[side as usize] += len;
        let exchanges = &mut self.exchanges;
        let mut give = |exchange: &Exchange| exchanges.push(exchange.clone());
        let (conversation, pool) = (&mut self.conversation, &mut self.pool);
        let (tickets, server) = (&mut self.tickets, Endpoint::default());
        let inner =
            &mut Inner { log: &self.log, tickets, server, conversation, pool, give: &mut give };
        self.session.gap(side, at, len, BlindSpot::Gap, inner);
        self
    }

    /// A whole handshake of TLS 1.2 or 1.3.
    pub(super) fn handshake(&mut self, version: u16) -> &mut Script {
        let change = record(20, &[1]);
        self.client(&record(22, &client_hello(&[version], &[])));
        self.server(&record(22, &server_hello(version)));
        if version == 0x0304 {
            self.server(&[change.clone(), record(23, &[0; 900])].concat());
            self.client(&[change, record(23, &[0; 53])].concat())
        } else {
            self.client(
                &[record(22, &message(16, &[1])), change.clone(), record(22, &[0; 40])].concat(),
            );
            self.server(&[change, record(22, &[0; 40])].concat())
        }
    }

    /// The connection is over.
    pub(super) fn finish(&mut self) -> Handshake {
        let exchanges = &mut self.exchanges;
        let mut give = |exchange: &Exchange| exchanges.push(exchange.clone());
        let (conversation, pool) = (&mut self.conversation, &mut self.pool);
        let (tickets, server) = (&mut self.tickets, Endpoint::default());
        self.session.finish(&mut Inner {
            log: &self.log,
            tickets,
            server,
            conversation,
            pool,
            give: &mut give,
        });
        self.session.facts()
    }

    /// The states of all exchanges.
    pub(super) fn states(&mut self) -> Vec<crate::http::State> {
        self.finish();
        self.exchanges.iter().map(|exchange| exchange.state).collect()
    }
}
