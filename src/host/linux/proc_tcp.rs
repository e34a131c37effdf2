//! Sockets from `/proc/net/tcp` and `tcp6`, where sock_diag is not to be had (gVisor, a strict seccomp
//! profile). It tells neither how long a queue may grow nor whether a socket takes IPv6 only.

use super::diag::Found;
use crate::host::census::State;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes read of one file: 10 million sockets of 150 bytes.
const FILE_MAX: u64 = 1_500_000_000;

/// Tells `each` every TCP socket.
pub(super) fn sockets(each: &mut dyn FnMut(Found)) -> io::Result<()> {
    read("/proc/net/tcp", each)?;
    // A host without IPv6 does not have it.
    match read("/proc/net/tcp6", each) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn read(path: &str, each: &mut dyn FnMut(Found)) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?.take(FILE_MAX));
    let mut line = String::new();
    while file.read_line(&mut line)? > 0 {
        if let Some(found) = socket(&line) {
            each(found);
        }
        line.clear();
    }
    Ok(())
}

/// A line of the table (Documentation/networking/proc_net_tcp.rst of the kernel); the line of titles is none.
fn socket(line: &str) -> Option<Found> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (endpoint(words.next()?)?, endpoint(words.next()?)?);
    let state = State::from_number(u8::from_str_radix(words.next()?, 16).ok()?)?;
    let (_, receive_queue) = words.next()?.split_once(':')?;
    let receive_queue = u32::from_str_radix(receive_queue, 16).ok()?;
    // Behind the queues: timer, retransmissions, user, probes, inode.
    let mut words = words.skip(2);
    let (uid, inode) = (words.next()?.parse().ok()?, words.nth(1)?.parse().ok()?);
    Some(Found { state, local, remote, receive_queue, backlog: None, v6_only: None, uid, inode })
}

/// An address in the byte order of the machine, by words of 32 bits, and the port.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(n)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_either_family_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000    33        0 86421 1 0000000000000000 100 0 0 10 0\n";
        let found = socket(line).unwrap();
        assert_eq!((found.state, found.local), (State::Listen, "127.0.0.1:8080".parse().unwrap()));
        assert_eq!((found.receive_queue, found.backlog), (3, None));
        assert_eq!((found.uid, found.inode), (33, 86_421));
        let line = "   1: 0000000000000000FFFF00000200000A:C350 0000000000000000FFFF00000500000A:1F90 06 00000000:00000000 03:00001773 00000000     0        0 0 3 0000000000000000\n";
        let found = socket(line).unwrap();
        assert_eq!(found.state, State::TimeWait);
        assert_eq!(found.local, "[::ffff:10.0.0.2]:50000".parse().unwrap());
        assert_eq!(found.remote, "[::ffff:10.0.0.5]:8080".parse().unwrap());
    }

    #[test]
    fn what_is_no_socket_is_passed_over() {
        let title = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        for line in [title, "", "0: 7F:1 0:0 0A", "0: é100007F:1F90 00000000:0000 0A 0:0"] {
            assert_eq!(socket(line), None, "{line}");
        }
    }

    #[test]
    fn the_table_of_this_host_holds_what_it_listens_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let mut seen = false;
        sockets(&mut |found| seen |= found.local == own && found.state == State::Listen).unwrap();
        assert!(seen);
    }
}
