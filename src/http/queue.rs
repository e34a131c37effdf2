//! The exchanges of one connection that wait for their responses, oldest first.
//!
//! Most connections have none or one: that one needs no buffer, and an empty queue two words.

use super::pending::Pending;
use std::collections::VecDeque;

/// Oldest first. `more` is used only while `first` is.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "the buffer is rare and the box is a third of its size")]
pub(super) struct Queue {
    first: Option<Box<Pending>>,
    more: Option<Box<VecDeque<Box<Pending>>>>,
}

impl Queue {
    fn behind(&self) -> usize {
        self.more.as_ref().map_or(0, |more| more.len())
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.behind()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        self.first.as_deref()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Pending> {
        self.first.as_deref_mut()
    }

    /// The one behind the front.
    pub(super) fn second(&self) -> Option<&Pending> {
        self.more.as_ref()?.front().map(|pending| &**pending)
    }

    pub(super) fn back(&self) -> Option<&Pending> {
        let last = self.more.as_ref().and_then(|more| more.back());
        last.map(|pending| &**pending).or(self.first.as_deref())
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut Pending> {
        match self.more.as_mut().and_then(|more| more.back_mut()) {
            Some(last) => Some(last),
            None => self.first.as_deref_mut(),
        }
    }

    pub(super) fn push_back(&mut self, pending: Box<Pending>) {
        if self.first.is_none() {
            self.first = Some(pending);
        } else {
            self.more.get_or_insert_default().push_back(pending);
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Box<Pending>> {
        let next = self.more.as_mut().and_then(|more| more.pop_front());
        if next.is_none() {
            self.more = None;
        }
        std::mem::replace(&mut self.first, next)
    }

    pub(super) fn pop_back(&mut self) -> Option<Box<Pending>> {
        match self.more.as_mut().and_then(|more| more.pop_back()) {
            Some(last) => Some(last),
            None => self.first.take(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pending> {
        let more = self.more.iter().flat_map(|more| more.iter());
        self.first.as_deref().into_iter().chain(more.map(|pending| &**pending))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        let more = self.more.iter_mut().flat_map(|more| more.iter_mut());
        self.first.as_deref_mut().into_iter().chain(more.map(|pending| &mut **pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordinals(queue: &Queue) -> Vec<u32> {
        queue.iter().map(|pending| pending.exchange.ordinal).collect()
    }

    #[test]
    fn keeps_the_order_from_both_ends() {
        let mut queue = Queue::default();
        for ordinal in 1..=4 {
            let mut pending = Box::<Pending>::default();
            pending.exchange.ordinal = ordinal;
            queue.push_back(pending);
        }
        assert_eq!((ordinals(&queue), queue.len()), (vec![1, 2, 3, 4], 4));
        let ordinal = |pending: Option<&Pending>| pending.map(|pending| pending.exchange.ordinal);
        assert_eq!(ordinal(queue.second()), Some(2));
        assert_eq!(ordinal(queue.pop_front().as_deref()), Some(1));
        assert_eq!(ordinal(queue.pop_back().as_deref()), Some(4));
        assert_eq!((ordinal(queue.front()), ordinal(queue.back())), (Some(2), Some(3)));
        assert_eq!(queue.pop_front().map(|pending| pending.exchange.ordinal), Some(2));
        assert_eq!(ordinals(&queue), [3]);
        queue.iter_mut().for_each(|pending| pending.exchange.ordinal = 7);
        assert_eq!(queue.back_mut().map(|pending| pending.exchange.ordinal), Some(7));
        assert_eq!(ordinal(queue.pop_back().as_deref()), Some(7));
        assert!(queue.is_empty() && queue.pop_front().is_none() && queue.second().is_none());
        assert!(queue.more.is_none());
    }
}
