//! A conversation in few bytes, while no message is under way.

use super::Protocol;
use super::conversation::{Conversation, Phase, Reader};
use crate::blind::BlindSpot;
use crate::shorthand::Shorthand;

/// Where a direction may be while nothing happens.
const PHASES: [Phase; 6] = [
    Phase::Start,
    Phase::Opaque,
    Phase::Tunnel,
    Phase::Lost(BlindSpot::CaptureStart),
    Phase::Lost(BlindSpot::Gap),
    Phase::Lost(BlindSpot::Snaplen),
];

impl Conversation {
    /// Whether [`Conversation::fields`] say everything: no message is under way, and no exchange is
    /// kept.
    pub(crate) fn can_rest(&self) -> bool {
        let rests = |reader: &Reader| reader.draft.is_none() && PHASES.contains(&reader.phase);
        rests(&self.client)
            && rests(&self.server)
            && self.queue.is_empty()
            && self.early.is_none()
            && self.last.is_none()
    }

    /// Its fields, in shorthand.
    pub(crate) fn fields(&mut self, shorthand: &mut impl Shorthand) {
        let Conversation {
            protocol,
            proxied,
            unseen,
            response_since,
            client,
            server,
            queue: _,
            early: _,
            last: _,
            closing,
            last_byte,
            requests,
            responses,
            http1_answer,
        } = self;
        shorthand.one_of(&Protocol::ALL, protocol);
        // In `one_of` so that no blind spot needs to be the default one.
        let mut why = unseen.unwrap_or(BlindSpot::ALL[0]);
        let mut is_midway = unseen.is_some();
        shorthand.flag(&mut is_midway);
        shorthand.one_of(&BlindSpot::ALL, &mut why);
        *unseen = is_midway.then_some(why);
        for flag in [proxied, response_since, closing, http1_answer] {
            shorthand.flag(flag);
        }
        for Reader { phase, draft: _, end } in [client, server] {
            shorthand.one_of(&PHASES, phase);
            shorthand.u64(end);
        }
        shorthand.option(last_byte, Shorthand::time);
        shorthand.u32(requests);
        shorthand.u32(responses);
    }
}
