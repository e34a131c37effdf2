//! Traffic as load balancers and targets have it every day.

use super::capture::{ACK, Capture, PSH, RST, SYN};
use super::talk::{CLIENT, MSS, SERVER, Talk, response};
use std::io::{self, Write};

/// Keep-alive connections that are in use at once.
const POOL: u64 = 64;
/// A request of a load balancer.
const REQUEST: &[u8] = b"GET /api/orders/4711?page=2 HTTP/1.1\r\nHost: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: application/json\r\n\
    X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n\r\n";
/// A health check: with its answer, ten packets of 80 bytes on average.
const CHECK: &[u8] = b"GET /health HTTP/1.1\r\nHost: 10.1.0.9:8080\r\nConnection: close\r\n\
    User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n";
const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\
    Content-Length: 2\r\n\r\nok";

/// 64 keep-alive connections in turn, 8 KB bodies.
pub fn keep_alive<W: Write>(capture: &mut Capture<W>, requests: u64) -> io::Result<()> {
    let responses: Vec<Vec<u8>> = (0..POOL).map(|number| response(number, 8192, "")).collect();
    let mut pool: Vec<Talk> = (0..POOL).map(Talk::new).collect();
    for talk in &mut pool {
        talk.open(capture)?;
    }
    for number in 0..requests {
        let talk = &mut pool[(number % POOL) as usize];
        talk.exchange(capture, REQUEST, &responses[(number * 7 % POOL) as usize])?;
    }
    pool.iter_mut().try_for_each(|talk| talk.close(capture))
}

/// Health checks, each on its own connection.
pub fn checks<W: Write>(capture: &mut Capture<W>, connections: u64) -> io::Result<()> {
    for number in 0..connections {
        let mut talk = Talk::new(number);
        talk.open(capture)?;
        talk.exchange(capture, CHECK, HEALTHY)?;
        talk.close(capture)?;
    }
    Ok(())
}

/// 64 KB responses whose segments arrive in groups of eight, each group backwards.
pub fn reordered<W: Write>(capture: &mut Capture<W>, responses: u64) -> io::Result<()> {
    let body = response(1, 1 << 16, "");
    for number in 0..responses {
        let mut talk = Talk::new(number);
        talk.open(capture)?;
        talk.send(capture, CLIENT, PSH | ACK, REQUEST)?;
        let parts: Vec<&[u8]> = body.chunks(MSS).collect();
        let first = talk.segment(SERVER, ACK, b"");
        for group in (0..parts.len()).collect::<Vec<_>>().chunks(8) {
            for &index in group.iter().rev() {
                let seq = first.seq.wrapping_add((index * MSS) as u32);
                let mut segment = first;
                (segment.seq, segment.payload) = (seq, parts[index]);
                capture.segment(&segment)?;
            }
        }
        talk.skip(SERVER, body.len());
        talk.send(capture, CLIENT, ACK, b"")?;
        talk.close(capture)?;
    }
    Ok(())
}

/// Keep-alive connections of users that are all alive at once: each is opened and used, then each is
/// used again.
pub fn live_flows<W: Write>(capture: &mut Capture<W>, connections: u64) -> io::Result<()> {
    used_twice(capture, connections, REQUEST)
}

/// The same of a prober that keeps its connections: of each it is kept what was asked and answered.
pub fn live_checks<W: Write>(capture: &mut Capture<W>, connections: u64) -> io::Result<()> {
    used_twice(capture, connections, CHECK)
}

fn used_twice<W: Write>(
    capture: &mut Capture<W>,
    connections: u64,
    request: &[u8],
) -> io::Result<()> {
    let answer = response(1, 64, "");
    let mut talks: Vec<Talk> = (0..connections).map(Talk::new).collect();
    for talk in &mut talks {
        talk.open(capture)?;
        talk.exchange(capture, request, &answer)?;
    }
    talks.iter_mut().try_for_each(|talk| talk.exchange(capture, request, &answer))
}

/// Connections whose SYN is answered with RST.
pub fn refused<W: Write>(capture: &mut Capture<W>, connections: u64) -> io::Result<()> {
    for number in 0..connections {
        let mut talk = Talk::new(number);
        talk.send(capture, CLIENT, SYN, b"")?;
        talk.send(capture, SERVER, RST | ACK, b"")?;
    }
    Ok(())
}

/// Connections whose target answers the request with RST.
pub fn failures<W: Write>(capture: &mut Capture<W>, connections: u64) -> io::Result<()> {
    for number in 0..connections {
        let mut talk = Talk::new(number);
        talk.open(capture)?;
        talk.send(capture, CLIENT, PSH | ACK, REQUEST)?;
        talk.send(capture, SERVER, ACK, b"")?;
        talk.send(capture, SERVER, RST | ACK, b"")?;
    }
    Ok(())
}
