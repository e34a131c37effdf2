//! Whether an exchange can be an attempt for another one, and how much speaks for it.

use super::leg::Leg;
use crate::cause::Tells;
use crate::http::State;
use crate::join::Ends;
use crate::tcp::Side;

/// Disorder between the packets of two interfaces of one host, nanoseconds.
pub(in crate::join) const SLACK: i64 = 100_000;

/// From a proxy's answer to the FIN of a client until an attempt that it had decided on by then, nanoseconds.
const LEAVING: i64 = 1_000_000;

/// Time in which a proxy hands on an answer, nanoseconds.
const AT_ONCE: i64 = 20_000_000;

/// Statuses below 500 after which proxies can be told to ask another target
/// (nginx `proxy_next_upstream`, HAProxy `retry-on`).
const RETRIED: [u16; 5] = [403, 404, 408, 425, 429];

/// How two properties compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alike {
    /// They differ.
    Other,
    /// At least one of them is not known.
    Unknown,
    /// Part of them is the same.
    Part,
    /// They are the same.
    Same,
}

impl Alike {
    fn of(one: u64, other: u64) -> Alike {
        match (one, other) {
            (0, _) | (_, 0) => Alike::Unknown,
            _ if one == other => Alike::Same,
            _ => Alike::Other,
        }
    }
}

/// How alike the two legs are. The order of the fields is that of their weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Likeness {
    /// Both carry the same identifying header.
    pub(super) id: bool,
    /// Both have a header that no other request at the proxy has.
    pub(super) marked: bool,
    /// The back leg says for whom it asks: this client.
    pub(super) client: Alike,
    /// Path and query.
    pub(super) target: Alike,
    /// Headers that differ between clients, and the length of the body.
    pub(super) request: Alike,
    /// The responses.
    pub(super) answer: Alike,
}

/// Whether `back` can be an attempt for `front`: same proxy, within its time.
pub(super) fn is_possible(front: &Leg, back: &Leg) -> bool {
    let (asked, made) = (&front.ends, &back.ends);
    // Whoever hands on bytes opens a connection before a request has come.
    let since = if made.ordinal == 0 { front.since() } else { asked.asked.at };
    let begins_within =
        made.asked.at >= since && made.asked.at.nanos_since(front.asked_until()) <= slack(front);
    // What the client has got, the proxy had before.
    let answer_in_time = match (asked.answered, made.answered) {
        (Some(seen), Some(given))
            if asked.status == made.status && made.ordinal > 0 && !made.left_before_answer() =>
        {
            given.at.nanos_since(seen.at) <= SLACK
        }
        // Nothing tells whether that answer is a failure: it is not one that came later.
        (Some(seen), None) if asked.is_unread() && made.closed_by == Some(Side::Server) => {
            made.over.at.nanos_since(seen.at) <= SLACK
        }
        _ => true,
    };
    begins_within
        && answer_in_time
        && asked.flow != made.flow
        && asked.server != made.server
        && front.at_the_host_of(back)
        && method_fits(front, back)
        && !(was_only(asked) && not_the_last(asked, made))
}

/// The proxy says that it has tried once.
fn was_only(asked: &Ends) -> bool {
    asked.own_page.is_some_and(|page| page.again == Some(false))
}

/// Whether the page of the proxy tells of another end of the last attempt than this one can have had. A page that came
/// from a proxy behind it tells of that one's attempts.
pub(in crate::join) fn not_the_last(asked: &Ends, made: &Ends) -> bool {
    let page = asked.own_page.filter(|_| made.own_page != asked.own_page);
    match page.map(|page| page.tells) {
        None | Some(Tells::Nothing) => false,
        // It asked nobody.
        Some(Tells::Limit | Tells::NoTarget) => true,
        Some(Tells::Refused | Tells::Silent | Tells::Unconnected) => made.ordinal > 0,
        Some(Tells::Ended) => made.ordinal == 0,
    }
}

/// How long after the end of a request its proxy may have begun an attempt: who answers a client that left does so
/// while the attempt is under way.
pub(super) fn slack(front: &Leg) -> i64 {
    if front.kept.is_some() { LEAVING } else { SLACK }
}

/// A proxy that caches may ask with GET for a HEAD.
fn method_fits(front: &Leg, back: &Leg) -> bool {
    let (asked, made) = (front.sketch.method, back.sketch.method);
    Alike::of(asked, made) != Alike::Other || front.sketch.is_head
}

pub(super) fn compare(front: &Leg, back: &Leg) -> Likeness {
    let (asked, made) = (&front.sketch, &back.sketch);
    let client = match made.forwarded {
        None => Alike::Unknown,
        Some(whom) if whom == front.ends.client.ip => Alike::Same,
        // Handed on as it came.
        whom if whom == asked.forwarded => Alike::Part,
        Some(_) => Alike::Other,
    };
    let target = match Alike::of(asked.target, made.target) {
        _ if asked.cut != made.cut => Alike::Unknown,
        // The rest may differ.
        Alike::Same if asked.cut => Alike::Part,
        Alike::Other if Alike::of(asked.tail, made.tail) == Alike::Same => Alike::Part,
        alike => alike,
    };
    let request = match (Alike::of(asked.print, made.print), Alike::of(asked.length, made.length)) {
        (print, Alike::Other) => print.min(Alike::Part),
        (print, _) => print,
    };
    // An answer that was not handed on at once is not the one that the client got.
    let handed_on = || {
        front
            .ends
            .answered
            .zip(back.ends.answered)
            .is_some_and(|(seen, given)| seen.at.nanos_since(given.at) <= AT_ONCE)
    };
    let answer = match (front.ends.status, status_given(&front.ends, &back.ends)) {
        (Some(seen), Some(given)) if seen == given => match Alike::of(asked.reply, made.reply) {
            // Requests without any header of their own say nothing where the path was written anew.
            Alike::Same if target == Alike::Other && (asked.print <= 1 || !handed_on()) => {
                Alike::Part
            }
            Alike::Same => Alike::Same,
            _ => Alike::Part,
        },
        (Some(_), Some(_)) if back.ends.state == State::Answered => Alike::Other,
        _ => Alike::Unknown,
    };
    let marked = front.unique.iter().any(|own| *own != 0 && made.own.contains(own));
    Likeness { id: asked.shares_id(made), marked, client, target, request, answer }
}

/// How far the end of an attempt is from what the request's client saw then, nanoseconds; the smaller, the
/// more likely one is the cause of the other.
pub(super) fn ends_apart(front: &Leg, back: &Leg) -> i64 {
    /// Nothing is to be seen of a failed attempt but the next one.
    const RETRY: i64 = 1_000_000;
    let (asked, made) = (&front.ends, &back.ends);
    let seen = asked.answered.unwrap_or(asked.over).at;
    let status = status_given(asked, made);
    if passes_on(back) || (status.is_some() && status == asked.status) {
        return match made.answered {
            // An answer that cannot be read is handed on in its moment like any other.
            Some(given) if status == asked.status || asked.is_unread() => {
                seen.nanos_since(given.at).abs()
            }
            _ => i64::MAX,
        };
    }
    let after = seen.nanos_since(made.over.at);
    match asked.failed() && !not_the_last(asked, made) {
        true => after.abs(),
        // Whoever tried again needed time for it.
        false if after < -SLACK => i64::MAX,
        false => RETRY,
    }
}

/// The status that the proxy may have had from this attempt: none from an answer that began when it had closed,
/// unless its client got the same after that, and none that is the client's by coincidence.
pub(super) fn status_given(asked: &Ends, made: &Ends) -> Option<u16> {
    if wrote_its_own(asked, made) {
        return None;
    }
    let handed_on = || {
        let later =
            asked.answered.zip(made.answered).is_some_and(|(seen, given)| seen.at >= given.at);
        later && asked.status == made.status
    };
    made.status.filter(|_| !made.left_before_answer() || handed_on())
}

/// The client got the status of this answer, but on a page that the proxy itself has written: of another attempt.
pub(super) fn wrote_its_own(asked: &Ends, made: &Ends) -> bool {
    asked.own_page.is_some() && made.own_page.is_none() && asked.status == made.status
}

/// Whether a proxy hands on the answer of this attempt instead of trying again.
pub(super) fn passes_on(back: &Leg) -> bool {
    !back.ends.left_before_answer()
        && matches!(back.ends.state, State::Answered | State::Unknown)
        && back.ends.status.is_some_and(|status| status < 500 && !RETRIED.contains(&status))
}

impl Likeness {
    /// Whether anything but time speaks for it, and nothing says that it is for somebody else.
    pub(super) fn is_plausible(&self) -> bool {
        let named = self.client >= Alike::Part;
        self.id
            || match self.target {
                Alike::Same | Alike::Part => {
                    self.client != Alike::Other || self.request == Alike::Same
                }
                // A rewritten path: the rest has to be that client's, or the very answer.
                Alike::Other if self.marked => self.client != Alike::Other,
                Alike::Other => {
                    self.request == Alike::Same
                        && self.client != Alike::Other
                        && (named || self.answer == Alike::Same)
                }
                // Nothing can be read on one side.
                Alike::Unknown => self.client != Alike::Other,
            }
    }
}
