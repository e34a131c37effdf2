//! Buffers that serve one message after another, whatever the connection.
//!
//! A connection holds some only while a message of it is on its way, so that a million idle
//! connections need none, and no request needs an allocation.

use super::Exchange;
use super::pending::Pending;
use super::recurring::Recurring;
use super::scan::{Method, Scan};
use crate::tcp::At;

/// Buffers of a kind that wait for use; more are on their way on few captures at once.
const KEPT_MAX: usize = 64;
/// Longest line of which the room is kept, bytes.
const LINE_KEPT: usize = 1024;

/// Buffers that wait for the next message.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they are lent as boxes, which must not be made anew")]
pub struct Pool {
    pendings: Vec<Box<Pending>>,
    drafts: Vec<Box<Draft>>,
    /// Heads of requests, as they are with nothing wrong.
    pub(super) requests: Recurring<(Method, Scan)>,
    /// The same of responses, with their status.
    pub(super) responses: Recurring<(Option<u16>, Scan)>,
}

/// A head that is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// What its lines say.
    pub(super) scan: Scan,
    /// A line that began in an earlier segment.
    pub(super) carry: Vec<u8>,
    /// Where `carry` began, while it may still turn out not to be HTTP.
    pub(super) from: Option<At>,
}

/// Where exchanges go once nothing can change them any more, and where buffers come from.
pub(super) struct Outlet<'a> {
    pub(super) pool: &'a mut Pool,
    pub(super) give: &'a mut dyn FnMut(&Exchange),
}

impl Pool {
    /// A blank exchange.
    pub(super) fn pending(&mut self) -> Box<Pending> {
        self.pendings.pop().unwrap_or_default()
    }

    /// Takes back an exchange that is not needed any more.
    pub(super) fn keep_pending(&mut self, mut pending: Box<Pending>) {
        if self.pendings.len() < KEPT_MAX {
            pending.clear();
            self.pendings.push(pending);
        }
    }

    /// A blank draft.
    pub(super) fn draft(&mut self) -> Box<Draft> {
        self.drafts.pop().unwrap_or_default()
    }

    /// Takes back a draft that is not needed any more.
    pub(super) fn keep_draft(&mut self, draft: Option<Box<Draft>>) {
        if let Some(mut draft) = draft
            && self.drafts.len() < KEPT_MAX
            && draft.carry.capacity() <= LINE_KEPT
        {
            draft.carry.clear();
            draft.scan = Scan::default();
            draft.from = None;
            self.drafts.push(draft);
        }
    }
}
