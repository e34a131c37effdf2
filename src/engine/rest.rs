//! What is left of a conversation while its flow rests.

use super::Talk;
use crate::probe::Watch;
use crate::shorthand::{Reader, Shorthand, Writer};
use crate::tcp::Attached;
use crate::tls::Session;

/// What is left of a [`Talk`] while its flow rests, beside its fields in shorthand.
#[derive(Debug)]
pub(super) struct RestingTalk {
    watch: Watch,
    tls: Option<Box<Session>>,
}

impl Talk {
    /// Its fields, in shorthand; not those of [`RestingTalk`].
    fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Talk { conversation, longest_wait, client_gap, buffered, is_second, .. } = self;
        conversation.fields(shorthand);
        shorthand.i64(longest_wait);
        shorthand.flag(client_gap);
        shorthand.u32(buffered);
        shorthand.flag(is_second);
    }
}

impl Attached for Talk {
    type Resting = RestingTalk;

    fn can_rest(&self) -> bool {
        self.conversation.can_rest() && self.suspects.is_empty()
    }

    fn rest(&mut self, writer: &mut Writer<'_>) -> RestingTalk {
        self.fields(writer);
        RestingTalk { watch: std::mem::take(&mut self.watch), tls: self.tls.take() }
    }

    fn wake(resting: RestingTalk, reader: &mut Reader<'_>) -> Talk {
        let RestingTalk { watch, tls } = resting;
        let mut talk = Talk { watch, tls, ..Talk::new(None) };
        talk.fields(reader);
        talk
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::tests::{Flows, says};
    use crate::engine::{Engine, Options};
    use crate::packet::Flags;

    #[test]
    fn a_flow_that_rests_is_smaller() {
        let mut engine = Engine::new(Options::default()).rest_beyond(0);
        let mut number = 0;
        let mut say = |engine: &mut Engine, port, ours: bool, flags, seq, ack, payload: &[u8]| {
            // A million packets between those of one connection.
            number += 1_000_000;
            let mut segment = says(port, number, seq, flags, payload);
            segment.ack = ack;
            if !ours {
                std::mem::swap(&mut segment.src, &mut segment.dst);
            }
            engine.segment(&segment, &mut Flows::default());
        };
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        for port in 1..=100 {
            say(&mut engine, port, true, Flags::SYN, 0, 0, b"");
            say(&mut engine, port, false, Flags::SYN | Flags::ACK, 0, 1, b"");
            let (mut asked, mut told) = (1, 1);
            for _ in 0..10 {
                say(&mut engine, port, true, Flags::ACK, asked, told, request);
                asked += request.len() as u32;
                say(&mut engine, port, false, Flags::ACK, told, asked, answer);
                told += answer.len() as u32;
            }
            say(&mut engine, port, true, Flags::ACK, asked, told, b"");
        }
        for port in 101..=300 {
            say(&mut engine, port, true, Flags::SYN, 0, 0, b"");
        }
        let (memory, count) = engine.table.at_rest();
        assert_eq!(count, 100);
        // What the allocator adds to two pieces, and what the table has per flow: slots, times, keys
        // and stream numbers.
        const BESIDE: usize = 2 * 16 + 96;
        let each = memory / count + BESIDE;
        assert!(each <= 440, "{each}");
    }
}
