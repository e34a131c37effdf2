//! One TCP connection between a load balancer and a target.

use super::capture::{ACK, Capture, FIN, Host, PSH, SYN, Segment};
use std::io::{self, Write};

/// The side that opens connections.
pub const CLIENT: usize = 0;
/// The side that accepts them.
pub const SERVER: usize = 1;
/// Payload of a full segment on Ethernet.
pub const MSS: usize = 1460;
/// The port that targets listen on.
const PORT: u16 = 8080;

/// Where both sides of a connection stand.
#[derive(Clone)]
pub struct Talk {
    hosts: [Host; 2],
    next: [u32; 2],
}

impl Talk {
    /// Connection `number`: 50 000 of them per load balancer, then the next load balancer; 256
    /// targets.
    pub fn new(number: u64) -> Talk {
        let (balancer, port) = (number / 50_000, number % 50_000);
        let client = ([10, 0, (balancer >> 8) as u8, balancer as u8], 10_000 + port as u16);
        let server = ([10, 1, 0, number as u8], PORT);
        let first = (number as u32).wrapping_mul(0x9e37_79b9);
        Talk { hosts: [client, server], next: [first, !first] }
    }

    /// `side` sends a segment.
    pub fn send<W: Write>(
        &mut self,
        capture: &mut Capture<W>,
        side: usize,
        flags: u8,
        payload: &[u8],
    ) -> io::Result<()> {
        let segment = self.segment(side, flags, payload);
        let length =
            payload.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.next[side] = self.next[side].wrapping_add(length);
        capture.segment(&segment)
    }

    /// The next segment of `side`, not sent yet.
    pub fn segment<'a>(&self, side: usize, flags: u8, payload: &'a [u8]) -> Segment<'a> {
        let ack = if flags & ACK != 0 { self.next[1 - side] } else { 0 };
        let (from, to) = (self.hosts[side], self.hosts[1 - side]);
        Segment { from, to, seq: self.next[side], ack, flags, payload }
    }

    /// `side` has sent so many bytes that are not captured, or were written otherwise.
    pub fn skip(&mut self, side: usize, bytes: usize) {
        self.next[side] = self.next[side].wrapping_add(bytes as u32);
    }

    /// SYN, SYN-ACK, ACK.
    pub fn open<W: Write>(&mut self, capture: &mut Capture<W>) -> io::Result<()> {
        self.send(capture, CLIENT, SYN, b"")?;
        self.send(capture, SERVER, SYN | ACK, b"")?;
        self.send(capture, CLIENT, ACK, b"")
    }

    /// A request, its acknowledgment, the response in full segments of which every second one is
    /// acknowledged.
    pub fn exchange<W: Write>(
        &mut self,
        capture: &mut Capture<W>,
        request: &[u8],
        response: &[u8],
    ) -> io::Result<()> {
        self.send(capture, CLIENT, PSH | ACK, request)?;
        self.send(capture, SERVER, ACK, b"")?;
        let count = response.len().div_ceil(MSS);
        for (index, part) in response.chunks(MSS).enumerate() {
            let last = index + 1 == count;
            self.send(capture, SERVER, if last { PSH | ACK } else { ACK }, part)?;
            if last || index % 2 == 1 {
                self.send(capture, CLIENT, ACK, b"")?;
            }
        }
        Ok(())
    }

    /// FIN of the server, FIN of the client, and its acknowledgment.
    pub fn close<W: Write>(&mut self, capture: &mut Capture<W>) -> io::Result<()> {
        self.send(capture, SERVER, FIN | ACK, b"")?;
        self.send(capture, CLIENT, FIN | ACK, b"")?;
        self.send(capture, SERVER, ACK, b"")
    }
}

/// A response with `body` bytes of text that no two numbers share.
pub fn response(number: u64, body: usize, more: &str) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: application/json\r\nContent-Length: {body}\r\n{more}\r\n"
    )
    .into_bytes();
    let end = bytes.len() + body;
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < end {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(format!("{{\"item\": {}, \"name\": \"order\"}}, ", state >> 40).as_bytes());
    }
    bytes.truncate(end);
    bytes
}
