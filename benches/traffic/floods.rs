//! Traffic that tries to fill every table and buffer.

use super::capture::{ACK, Capture, PSH, SYN};
use super::talk::{CLIENT, SERVER, Talk, response};
use std::io::{self, Write};

/// Connections over which a flood of segments is spread.
const SPREAD: u64 = 64;

/// SYNs, none from the same address and port, none answered.
pub fn syns<W: Write>(capture: &mut Capture<W>, packets: u64) -> io::Result<()> {
    (0..packets).try_for_each(|number| Talk::new(number).send(capture, CLIENT, SYN, b""))
}

/// Segments of which every second one is missing, so that each leaves a hole behind it that is
/// never filled.
pub fn holes<W: Write>(capture: &mut Capture<W>, packets: u64) -> io::Result<()> {
    let payload = [b'x'; 700];
    let mut talks = opened(capture)?;
    for talk in &mut talks {
        talk.send(capture, CLIENT, PSH | ACK, b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")?;
        talk.send(capture, SERVER, ACK, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")?;
    }
    for number in 0..packets {
        let talk = &mut talks[(number % SPREAD) as usize];
        talk.skip(SERVER, payload.len());
        talk.send(capture, SERVER, ACK, &payload)?;
    }
    Ok(())
}

/// Request heads that never end.
pub fn endless_heads<W: Write>(capture: &mut Capture<W>, packets: u64) -> io::Result<()> {
    let lines = "X-More: abcdefghijklmnopqrstuvwxyz0123456789\r\n".repeat(30);
    let mut talks = opened(capture)?;
    for talk in &mut talks {
        talk.send(capture, CLIENT, PSH | ACK, b"GET / HTTP/1.1\r\nHost: shop.example\r\n")?;
    }
    for number in 0..packets {
        let talk = &mut talks[(number % SPREAD) as usize];
        talk.send(capture, CLIENT, PSH | ACK, lines.as_bytes())?;
    }
    Ok(())
}

/// Requests on one connection before the first of them is answered, then all answers.
pub fn pipelined<W: Write>(capture: &mut Capture<W>, requests: u64) -> io::Result<()> {
    let answer = response(1, 64, "");
    let mut talk = Talk::new(0);
    talk.open(capture)?;
    for number in 0..requests {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        talk.send(capture, CLIENT, PSH | ACK, request.as_bytes())?;
    }
    for _ in 0..requests {
        talk.send(capture, SERVER, PSH | ACK, &answer)?;
    }
    talk.close(capture)
}

/// Open connections.
fn opened<W: Write>(capture: &mut Capture<W>) -> io::Result<Vec<Talk>> {
    let mut talks: Vec<Talk> = (0..SPREAD).map(Talk::new).collect();
    talks.iter_mut().try_for_each(|talk| talk.open(capture))?;
    Ok(talks)
}
