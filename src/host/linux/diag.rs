//! Sockets through sock_diag (netlink): complete, without a text of a hundred megabytes on busy hosts, and the only
//! place that tells how long the queue of a listener may grow. Needs no right.
//!
//! The only user of the netlink crates.

use crate::host::census::State;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_SOCK_DIAG};
use std::io;
use std::net::SocketAddr;

/// Room for one read: the kernel fills at most 32 KiB at once when a reader asks for that much.
const READ: usize = 32 << 10;
/// Sockets of one dump; the kernel's tables hold a few million at most, and a dump that never ends
/// must not hold us.
const SOCKETS_MAX: usize = 1 << 24;

/// A socket of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Of a listener: connections that wait to be accepted.
    pub(super) receive_queue: u32,
    /// Of a listener: how many may wait. `/proc/net/tcp` does not tell.
    pub(super) backlog: Option<u32>,
    pub(super) v6_only: Option<bool>,
    pub(super) uid: u32,
    pub(super) inode: u64,
}

/// A netlink socket. It goes on working when privileges are dropped after it was opened.
#[derive(Debug)]
pub(super) struct Diag(Socket);

impl Diag {
    pub(super) fn open() -> io::Result<Diag> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        Ok(Diag(socket))
    }

    /// Tells `each` every TCP socket, or only those that listen.
    pub(super) fn sockets(
        &self,
        only_listening: bool,
        each: &mut dyn FnMut(Found),
    ) -> io::Result<()> {
        let mut left = SOCKETS_MAX;
        for family in [AF_INET, AF_INET6] {
            self.ask(family, only_listening)?;
            self.dump(each, &mut left)?;
        }
        Ok(())
    }

    fn ask(&self, family: u8, only_listening: bool) -> io::Result<()> {
        let states = match only_listening {
            true => StateFlags::LISTEN,
            // Those of handshakes, number 12, are asked for as SYN_RECV.
            false => StateFlags::all(),
        };
        let socket_id = match family {
            AF_INET => SocketId::new_v4(),
            _ => SocketId::new_v6(),
        };
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id,
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(drop)
    }

    /// Reads answers until the kernel says that it is done.
    fn dump(&self, each: &mut dyn FnMut(Found), left: &mut usize) -> io::Result<()> {
        let mut bytes: Vec<u8> = Vec::with_capacity(READ);
        loop {
            bytes.clear();
            if self.0.recv(&mut bytes, 0)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(|error| {
                        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
                    })?;
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        let room = left.checked_sub(1).ok_or(io::ErrorKind::FileTooLarge)?;
                        *left = room;
                        each_found(&response.header, &response.nlas, each);
                    }
                    _ => {}
                }
                // Messages begin at multiples of four bytes (netlink(7), NLMSG_ALIGN).
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length.max(4)..).unwrap_or_default();
            }
        }
    }
}

fn each_found(
    header: &netlink_packet_sock_diag::inet::InetResponseHeader,
    attributes: &[Nla],
    each: &mut dyn FnMut(Found),
) {
    let Some(state) = State::from_number(header.state) else { return };
    let id = &header.socket_id;
    let v6_only = attributes.iter().find_map(|attribute| match attribute {
        Nla::SkV6Only(only) => Some(*only),
        _ => None,
    });
    each(Found {
        state,
        local: SocketAddr::new(id.source_address, id.source_port),
        remote: SocketAddr::new(id.destination_address, id.destination_port),
        receive_queue: header.recv_queue,
        backlog: Some(header.send_queue),
        v6_only,
        uid: header.uid,
        inode: u64::from(header.inode),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_listener_and_its_connections_are_found() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let own = listener.local_addr().unwrap();
        let client = TcpStream::connect(own).unwrap();
        let diag = Diag::open().unwrap();
        let mut listening = Vec::new();
        diag.sockets(true, &mut |found| listening.push(found)).unwrap();
        assert!(listening.iter().all(|found| found.state == State::Listen));
        let found = listening.iter().find(|found| found.local == own).unwrap();
        // A socket bound to an address of IPv6 takes nothing else.
        assert_eq!((found.receive_queue, found.v6_only), (1, Some(true)));
        assert!(found.backlog.unwrap() > 0 && found.inode > 0, "{found:?}");
        let mut all = Vec::new();
        diag.sockets(false, &mut |found| all.push(found)).unwrap();
        let opened = client.local_addr().unwrap();
        let pair = |found: &&Found| found.local == opened && found.remote == own;
        assert_eq!(all.iter().find(pair).unwrap().state, State::Established);
    }
}
