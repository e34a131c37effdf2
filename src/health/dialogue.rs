//! Answers of databases and directories to the first message of a check, as far as their
//! first bytes say whether they are content.

use crate::phrase;
use crate::words::Phrase;

/// What the first bytes of an answer say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The server is ready.
    Ready,
    /// The server refuses, in these words.
    Refusal(Phrase),
}

/// Reads `answer`, the target's first bytes, by the protocol of `opening`, the prober's; `None`
/// where either is not known or decides nothing.
pub(super) fn read(opening: &[u8], answer: &[u8]) -> Option<Reply> {
    postgresql(opening, answer)
        .or_else(|| redis(opening, answer))
        .or_else(|| ldap(opening, answer))
        .or_else(|| mysql(opening, answer))
}

/// A StartupMessage of version 3.0 is answered by an authentication request or an ErrorResponse
/// (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
fn postgresql(opening: &[u8], answer: &[u8]) -> Option<Reply> {
    match (opening.get(4..8)?, answer.first()?) {
        ([0, 3, 0, 0], b'R') => Some(Reply::Ready),
        ([0, 3, 0, 0], b'E') => Some(Reply::Refusal(phrase!("PostgreSQL answers with an error"))),
        _ => None,
    }
}

/// PING is answered by PONG (<https://redis.io/docs/latest/commands/ping/>). After an error a check may
/// wait on.
fn redis(opening: &[u8], answer: &[u8]) -> Option<Reply> {
    let pings = opening == b"*1\r\n$4\r\nPING\r\n" || opening == b"PING\r\n";
    (pings && answer.starts_with(b"+PONG")).then_some(Reply::Ready)
}

/// The result code of a BindResponse (RFC 4511, 4.2.2).
fn ldap(opening: &[u8], answer: &[u8]) -> Option<Reply> {
    match (opening, answer) {
        (
            [0x30, _, 0x02, 0x01, id, 0x60, ..],
            [0x30, _, 0x02, 0x01, same, 0x61, _, 0x0a, 0x01, code, ..],
        ) if id == same => Some(match code {
            0 => Reply::Ready,
            code => Reply::Refusal(phrase!(
                "LDAP answers with result code {code}",
                code = code.to_string()
            )),
        }),
        _ => None,
    }
}

/// The server speaks first: an error packet in place of its greeting
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_err_packet.html>). What it
/// says behind a greeting is not kept.
fn mysql(opening: &[u8], answer: &[u8]) -> Option<Reply> {
    match (opening, answer) {
        ([_, _, 0, 1, ..], [_, _, 0, 0, 0xff, low, high, ..]) => {
            let code = u16::from_le_bytes([*low, *high]);
            Some(Reply::Refusal(phrase!("MySQL answers with error {code}", code)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Openings of HAProxy 2.6: `pgsql-check`, `redis-check`, `ldap-check` and `mysql-check`.
    #[test]
    fn answers_say_whether_the_server_is_ready() {
        let ready = |opening: &[u8], answer: &[u8]| {
            read(opening, answer).map(|reply| reply == Reply::Ready)
        };
        let startup = b"\0\0\0\x12\0\x03\0\0user\0hap\0\0";
        assert_eq!(ready(startup, b"R\0\0\0\x0c\0\0\0\x05abcd"), Some(true));
        assert_eq!(ready(startup, b"E\0\0\0\x20SFATAL\0C57P03\0"), Some(false));
        assert_eq!(ready(startup, b"N"), None);
        let ping = b"*1\r\n$4\r\nPING\r\n";
        assert_eq!(ready(ping, b"+PONG\r\n"), Some(true));
        assert_eq!(ready(ping, b"-LOADING\r\n"), None);
        let bind = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";
        assert_eq!(ready(bind, b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0"), Some(true));
        assert_eq!(
            ready(bind, b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x33\x04\0\x04\0"),
            Some(false)
        );
        let login = b"\x25\0\0\x01\0\x82\0\0\0\x80\0\x01\x21";
        assert_eq!(ready(login, b"\x17\0\0\0\xff\x10\x04Too many connections"), Some(false));
        assert_eq!(ready(login, b"\x4a\0\0\0\x0a8.0.30\0"), None);
        for short in [&b""[..], b"R", b"\x30\x0c"] {
            assert_eq!(ready(b"", short), None);
            assert_eq!(ready(short, b""), None);
        }
    }
}
