//! Whom a node keeps of a cluster that is too large to be known whole: its *partial view*.
//!
//! Up to [`Config::whole_max`](crate::Config::whole_max) members everybody knows everybody, and in
//! a cluster that grows up to a tenth more. In a larger one a node keeps all members of its own
//! zone, its *neighbourhood*, and of each other zone of that size a few *contacts*. That is Kelips'
//! division (Gupta, Birman, Linga, Demers and van Renesse, IPTPS 2003), and the zones are those of
//! `records::affinity`: about the root of the members are in one, and a node keeps about that many
//! and [`CONTACTS`] times as many more.
//!
//! In Kelips each node has contacts of its own. Here a whole neighbourhood has the same ones: of
//! each zone those that *rank* first, by a hash of the two, among its members that are up. So all
//! of a neighbourhood keep the same table, and everything that is for tables that are the same goes
//! on in it as it did in the whole cluster: news, digests, suspicions, verdicts, pulls. None of
//! that passes between neighbourhoods. What does is the contacts: who meets somebody of another
//! zone hears which they are from him, who alone knows them all, unless a hash says that they are
//! known already (`agent::view`).
//!
//! So a crash is seen by the neighbourhood, which probes its members in a ring (`partners`), and by
//! those of whom it was a contact, when they meet it or when its neighbours tell them.
//!
//! Invariant: of each other zone there are at most [`CONTACTS`] that are up, those who rank first
//! of all that were heard of.

use live_objects::{Member, NodeId};

use crate::digest::{halves, mix};
use crate::records::affinity::{Depth, Part};
use crate::zones::place::level;

/// How many contacts a neighbourhood has in each other one: should half of all nodes crash at once,
/// it has none left in one of sixteen, until somebody from there comes along.
pub(crate) const CONTACTS: usize = 4;

/// The view of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct View {
    me: NodeId,
    depth: Depth,
}

impl View {
    pub(crate) const fn new(me: NodeId, depth: Depth) -> Self {
        Self { me, depth }
    }

    /// How many bits the ids of a neighbourhood have in common. With none it is all there are.
    pub(crate) const fn depth(self) -> Depth {
        self.depth
    }

    pub(crate) const fn is_partial(self) -> bool {
        self.depth.bits() > 0
    }

    /// The neighbourhood.
    pub(crate) fn near(self) -> Part {
        self.depth.part(self.me)
    }

    pub(crate) fn is_near(self, node: NodeId) -> bool {
        level(self.me, node) >= self.depth.bits() as usize
    }

    /// The neighbourhood of another, if he has such a view too.
    pub(crate) fn around(self, node: NodeId) -> Part {
        self.depth.part(node)
    }
}

/// How a member ranks among the contacts of a neighbourhood; the least is the first.
pub(crate) fn rank(neighbourhood: Part, node: NodeId) -> u64 {
    let [high, low] = halves(neighbourhood.first.as_bytes());
    let [node_high, node_low] = halves(node.as_bytes());
    mix(mix(mix(high) ^ low ^ node_high) ^ node_low)
}

/// What two compare to see whether the one knows the contacts that the other would name. No order
/// shows.
pub(crate) fn hash(members: impl Iterator<Item = Member>) -> u32 {
    let hash = |member: Member| {
        let ([a, b], [c, d]) =
            (halves(member.node.as_bytes()), halves(member.incarnation.as_bytes()));
        [a, b, c, d].into_iter().fold(0, |hash, word| mix(hash ^ word))
    };
    members.fold(0, |all, member| all ^ hash(member) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use proptest::prelude::*;

    proptest! {
        /// Neither neighbourhoods nor members are all the same to each other.
        #[test]
        fn each_neighbourhood_ranks_in_its_own_way(one: [u8; 16], other: [u8; 16], node: [u8; 16]) {
            let depth = Depth::from_code(8);
            let [one, other, node] = [one, other, node].map(NodeId::from_bytes);
            let (here, there) = (depth.part(one), depth.part(other));
            prop_assert_eq!(rank(here, node) == rank(there, node), here == there);
            let view = View::new(one, depth);
            prop_assert_eq!(view.is_near(node), here.has(node));
            prop_assert_eq!(view.is_near(other), here == there);
        }
    }

    #[test]
    fn golden_rank() {
        let part = Depth::from_code(4).part(NodeId::from_bytes([0x5a; 16]));
        assert_eq!(rank(part, NodeId::from_bytes([7; 16])), 14_022_793_809_368_421_297);
    }

    #[test]
    fn a_hash_tells_lives_apart_and_no_order() {
        let [a, b] = [1, 2].map(|node| entry(node, 1).member);
        let again = Member { incarnation: b.incarnation, ..a };
        assert_eq!(hash([a, b].into_iter()), hash([b, a].into_iter()));
        assert_ne!(hash([a].into_iter()), hash([b].into_iter()));
        assert!(a == again || hash([a].into_iter()) != hash([again].into_iter()));
        assert_eq!(hash([].into_iter()), 0);
    }
}
