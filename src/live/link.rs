//! Watches whether interfaces are up, through rtnetlink: libpcap goes on in silence when one is set
//! down and up again. Needs no right.

use super::clock;
use super::outage::{self, Outages, Reason};
use super::run::Event;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

/// Group of the messages about interfaces (`RTNLGRP_LINK` of linux/rtnetlink.h).
const LINKS: u32 = 1;
/// Room for one read, bytes: a message about an interface has one or two thousand.
const READ: usize = 32 << 10;
/// Between two looks at whether it is over, milliseconds.
const PATIENCE: u16 = 200;

/// An interface that is watched.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// Its name.
    pub(super) name: String,
    /// Which capture it belongs to.
    pub(super) interface: usize,
    /// It had a carrier once: some never have, and give packets all the same.
    pub(super) had_carrier: bool,
    /// The capture is of `any`, to which this link belongs.
    pub(super) of_any: bool,
}

/// Watches interfaces.
pub(super) struct Links {
    socket: Socket,
    watched: Vec<Watched>,
    outages: Outages,
}

/// What a message says of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Up,
    NoCarrier,
    Down,
    Gone,
}

impl Links {
    /// From now on the kernel keeps what happens for us.
    pub(super) fn open(watched: Vec<Watched>, outages: Outages) -> io::Result<Links> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.add_membership(LINKS)?;
        socket.set_non_blocking(true)?;
        Ok(Links { socket, watched, outages })
    }

    /// Watches until `stop`, and tells what people should know.
    pub(super) fn run(mut self, stop: &Arc<AtomicBool>, events: &Sender<Event>) {
        let mut buffer: Vec<u8> = Vec::with_capacity(READ);
        while !stop.load(Ordering::Relaxed) {
            let mut files = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if !poll(&mut files, PollTimeout::from(PATIENCE)).is_ok_and(|ready| ready > 0) {
                continue;
            }
            buffer.clear();
            // What was lost because too much happened at once is said by the next change.
            if self.socket.recv(&mut buffer, 0).is_err() {
                continue;
            }
            let now = clock::now();
            for message in messages(&buffer) {
                let Some((name, said)) = read(message) else { continue };
                for text in self.hear(&name, said, now) {
                    let _ = events.send(Event::Trouble(text));
                }
            }
        }
    }

    fn hear(&mut self, name: &str, said: Said, now: crate::time::Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        for watched in self.watched.iter_mut().filter(|watched| watched.name == name) {
            let interface = watched.interface;
            let link = if watched.of_any { name } else { "" };
            let reason = match said {
                // Links of containers come and go: one that is no more gives nothing to anybody.
                Said::Gone if watched.of_any => {
                    self.outages.up(interface, link, now);
                    continue;
                }
                Said::Up => {
                    watched.had_carrier = true;
                    let lasted = self.outages.up(interface, link, now);
                    told.extend(lasted.map(|lasted| outage::ends(name, lasted)));
                    continue;
                }
                Said::NoCarrier if !watched.had_carrier => continue,
                Said::NoCarrier => Reason::NoCarrier,
                Said::Down => Reason::Down,
                Said::Gone => Reason::Gone,
            };
            if self.outages.begin_of(interface, link, reason, now) {
                told.push(outage::begins(name, reason));
            }
        }
        told
    }
}

/// The messages in what was read.
fn messages(mut bytes: &[u8]) -> Vec<RouteNetlinkMessage> {
    /// They begin at multiples of it (`NLMSG_ALIGNTO`).
    const ALIGN: usize = 4;
    let mut found = Vec::new();
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) {
        let length = (message.header.length as usize).next_multiple_of(ALIGN);
        if let NetlinkPayload::InnerMessage(inner) = message.payload {
            found.push(inner);
        }
        match bytes.get(length..) {
            Some(rest) if length > 0 && !rest.is_empty() => bytes = rest,
            _ => break,
        }
    }
    found
}

fn read(message: RouteNetlinkMessage) -> Option<(String, Said)> {
    let name = |link: &LinkMessage| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
    };
    match message {
        RouteNetlinkMessage::NewLink(link) => {
            let flags = link.header.flags;
            let said = match (flags.contains(LinkFlags::Up), flags.contains(LinkFlags::Running)) {
                (false, _) => Said::Down,
                (true, false) => Said::NoCarrier,
                (true, true) => Said::Up,
            };
            Some((name(&link)?, said))
        }
        RouteNetlinkMessage::DelLink(link) => Some((name(&link)?, Said::Gone)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use netlink_packet_core::NetlinkHeader;

    fn link(name: &str, flags: LinkFlags) -> RouteNetlinkMessage {
        let mut link = LinkMessage::default();
        link.header.flags = flags;
        link.attributes.push(LinkAttribute::IfName(name.to_owned()));
        RouteNetlinkMessage::NewLink(link)
    }

    fn bytes(of: Vec<RouteNetlinkMessage>) -> Vec<u8> {
        let mut all = Vec::new();
        for message in of {
            let mut message =
                NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn what_the_kernel_says_of_a_link_is_read() {
        let up = LinkFlags::Up | LinkFlags::Running;
        let all = bytes(vec![
            link("one", up),
            link("two", LinkFlags::Up),
            link("one", LinkFlags::empty()),
        ]);
        let said: Vec<_> = messages(&all).into_iter().filter_map(read).collect();
        let expected = [("one", Said::Up), ("two", Said::NoCarrier), ("one", Said::Down)]
            .map(|(name, said)| (name.to_owned(), said));
        assert_eq!(said, expected);
        for cut in 0..all.len() {
            messages(&all[..cut]);
        }
    }

    #[test]
    fn a_link_of_any_that_is_deleted_hides_nothing_any_more() {
        let name = "veth".to_owned();
        let watched = Watched { name, interface: 0, had_carrier: true, of_any: true };
        let outages = Outages::default();
        let Ok(mut links) = Links::open(vec![watched], outages.clone()) else { return };
        let at = |second: i64| Timestamp(second * 1_000_000_000);
        assert_eq!(links.hear("veth", Said::Down, at(1)).len(), 1);
        assert!(links.hear("veth", Said::Gone, at(2)).is_empty());
        assert!(outages.hides(0, at(1), at(2)) && !outages.hides(0, at(3), at(4)));
    }

    #[test]
    fn a_link_that_never_had_a_carrier_is_not_missed() {
        let name = "one".to_owned();
        let watched = Watched { name, interface: 0, had_carrier: false, of_any: false };
        let outages = Outages::default();
        let Ok(mut links) = Links::open(vec![watched], outages.clone()) else { return };
        let mut hear =
            |said, second: i64| links.hear("one", said, Timestamp(second * 1_000_000_000));
        assert!(hear(Said::NoCarrier, 1).is_empty());
        assert!(hear(Said::Up, 2).is_empty());
        assert_eq!(hear(Said::NoCarrier, 3).len(), 1);
        assert_eq!(hear(Said::Up, 5), ["one: gives packets again, after 2.0 s"]);
        assert!(links.hear("two", Said::Down, Timestamp(0)).is_empty(), "not watched");
        assert_eq!(outages.words(0).len(), 1);
    }
}
