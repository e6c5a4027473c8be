//! Suspicions that run, and when each becomes a verdict.
//!
//! SWIM (DSN 2002, section 4.2): a member that does not answer is suspected first, and declared
//! faulty only if it does not object within a span. Every node that hears of a suspicion lets the
//! span run for itself, so a verdict needs no node in particular to stay alive. Unlike in SWIM it
//! goes by no other's verdict: that one may come from beyond a partition (`knowledge`).
//!
//! Invariant: a node has at most one suspicion, so there are no more than members.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use live_objects::{NodeId, Time};

use crate::members::MEMBERS_MAX;

/// All suspicions that run at this node.
#[derive(Default)]
pub(crate) struct Suspicions {
    ends: BTreeMap<NodeId, Time>,
    queue: BTreeSet<(Time, NodeId)>,
}

impl Suspicions {
    /// The node may object until `end`. A suspicion that ran before, of a lower generation, is
    /// void.
    pub(crate) fn start(&mut self, node: NodeId, end: Time) {
        self.clear(node);
        self.ends.insert(node, end);
        self.queue.insert((end, node));
        assert!(self.ends.len() <= MEMBERS_MAX, "only members are suspected");
    }

    /// The suspicion, if one runs, was overridden.
    pub(crate) fn clear(&mut self, node: NodeId) {
        if let Some(end) = self.ends.remove(&node) {
            self.queue.remove(&(end, node));
        }
    }

    /// All have so much more time.
    pub(crate) fn postpone(&mut self, by: Duration) {
        self.queue.clear();
        for (node, end) in &mut self.ends {
            *end = *end + by;
            self.queue.insert((*end, *node));
        }
    }

    /// A node whose time is up, until there is none.
    pub(crate) fn due(&mut self, now: Time) -> Option<NodeId> {
        let (end, node) = *self.queue.first()?;
        (end <= now).then(|| {
            self.clear(node);
            node
        })
    }

    /// When the next node's time is up.
    pub(crate) fn next_end(&self) -> Option<Time> {
        self.queue.first().map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; NodeId::LEN])
    }

    const fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn verdicts_come_in_order_of_time() {
        let mut suspicions = Suspicions::default();
        suspicions.start(node(1), at(30));
        suspicions.start(node(2), at(20));
        assert_eq!(suspicions.next_end(), Some(at(20)));
        assert_eq!(suspicions.due(at(19)), None);
        assert_eq!(suspicions.due(at(30)), Some(node(2)));
        assert_eq!(suspicions.due(at(30)), Some(node(1)));
        assert_eq!((suspicions.due(at(99)), suspicions.next_end()), (None, None));
    }

    #[test]
    fn an_objection_ends_a_suspicion() {
        let mut suspicions = Suspicions::default();
        suspicions.start(node(1), at(10));
        suspicions.clear(node(1));
        suspicions.clear(node(2));
        assert_eq!(suspicions.due(at(10)), None);
    }

    #[test]
    fn a_new_suspicion_replaces_the_old() {
        let mut suspicions = Suspicions::default();
        suspicions.start(node(1), at(10));
        suspicions.start(node(1), at(20));
        assert_eq!(suspicions.due(at(10)), None);
        assert_eq!(suspicions.due(at(20)), Some(node(1)));
        assert_eq!(suspicions.due(at(20)), None);
    }

    #[test]
    fn every_member_can_be_suspected_at_once() {
        let mut suspicions = Suspicions::default();
        for number in 0..MEMBERS_MAX as u64 {
            let mut id = [0; NodeId::LEN];
            id[..8].copy_from_slice(&number.to_be_bytes());
            suspicions.start(NodeId::from_bytes(id), at(number));
        }
        assert_eq!(std::iter::from_fn(|| suspicions.due(Time::MAX)).count(), MEMBERS_MAX);
    }
}
