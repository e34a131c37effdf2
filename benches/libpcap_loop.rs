//! The least that a program can do which reads captures through libpcap: read every packet and
//! count. `libpcap_loop FILE` is what `make bench` compares with.

use std::io::{self, Error, Write};

fn main() -> io::Result<()> {
    let Some(path) = std::env::args().nth(1) else {
        return Err(Error::other("libpcap_loop FILE"));
    };
    // `cargo bench` runs every target with its own arguments.
    if path == "--bench" {
        return Ok(());
    }
    let mut capture = pcap::Capture::from_file(path).map_err(Error::other)?;
    let (mut packets, mut bytes) = (0_u64, 0_u64);
    loop {
        match capture.next_packet() {
            Ok(packet) => {
                packets += 1;
                bytes += packet.data.len() as u64;
            }
            Err(pcap::Error::NoMorePackets) => break,
            Err(error) => return Err(Error::other(error)),
        }
    }
    writeln!(io::stdout(), "{packets} packets, {bytes} bytes")
}
