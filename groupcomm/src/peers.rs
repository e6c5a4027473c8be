//! Whom the failure detector believes up, and whom it has given up.
//!
//! Those given up are remembered whether or not they are in the view, the last of them in order: a
//! view that is yet to come may hold them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use live_objects::{Member, NodeId, Rng};
use rand::seq::IteratorRandom;

/// What one member believes of all others.
pub(crate) struct Peers {
    me: Member,
    up: BTreeMap<NodeId, Member>,
    gone: BTreeSet<Member>,
    gone_in_order: VecDeque<Member>,
}

impl Peers {
    pub(crate) fn new(me: Member) -> Self {
        Self { me, up: BTreeMap::new(), gone: BTreeSet::new(), gone_in_order: VecDeque::new() }
    }

    pub(crate) fn on_alive(&mut self, member: Member) {
        if self.gone.remove(&member) {
            self.gone_in_order.retain(|gone| *gone != member);
        }
        self.up.insert(member.node, member);
    }

    pub(crate) fn on_gone(&mut self, member: Member) {
        if self.up.get(&member.node) == Some(&member) {
            self.up.remove(&member.node);
        }
        if self.gone.insert(member) {
            self.gone_in_order.push_back(member);
        }
        if self.gone_in_order.len() > GONE_MAX {
            let forgotten = self.gone_in_order.pop_front().expect("more than none");
            self.gone.remove(&forgotten);
        }
    }

    /// Not given up, nor known to have started again. Whoever was not heard of yet is trusted.
    pub(crate) fn is_up(&self, member: Member) -> bool {
        let is_replaced = self.up.get(&member.node).is_some_and(|up| *up != member);
        member == self.me || !is_replaced && !self.gone.contains(&member)
    }

    /// Whether this member was heard of, in this very life, and not given up.
    pub(crate) fn is_known(&self, member: Member) -> bool {
        self.up.get(&member.node) == Some(&member)
    }

    /// All others that are up.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.up.keys().copied().filter(|node| *node != self.me.node)
    }

    /// One of the others that are up, at random.
    pub(crate) fn any(&self, rng: &mut Rng) -> Option<NodeId> {
        self.nodes().choose(rng)
    }
}

/// How many that are gone are remembered.
const GONE_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::Incarnation;

    fn member(number: usize, life: u8) -> Member {
        let node = NodeId::from_public_key(&number.to_be_bytes());
        Member { node, incarnation: Incarnation::from_bytes([life; Incarnation::LEN]) }
    }

    #[test]
    fn those_who_are_gone_are_remembered_up_to_a_number() {
        let mut peers = Peers::new(member(0, 1));
        (1..=GONE_MAX + 1).for_each(|number| peers.on_gone(member(number, 1)));
        assert_eq!((peers.gone.len(), peers.gone_in_order.len()), (GONE_MAX, GONE_MAX));
        assert!(peers.is_up(member(1, 1)), "the first is forgotten first");
        peers.on_alive(member(2, 1));
        assert_eq!((peers.gone.len(), peers.gone_in_order.len()), (GONE_MAX - 1, GONE_MAX - 1));
    }

    #[test]
    fn a_life_ends_with_the_next() {
        let mut peers = Peers::new(member(0, 1));
        assert!(peers.is_up(member(1, 1)) && !peers.is_known(member(1, 1)), "trusted unheard");
        peers.on_alive(member(1, 2));
        assert!(!peers.is_up(member(1, 1)) && peers.is_known(member(1, 2)));
        peers.on_gone(member(1, 1));
        assert!(peers.is_known(member(1, 2)), "the news is old");
    }
}
