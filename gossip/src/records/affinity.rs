//! Who keeps which records: affinity groups, as in Kelips (Gupta, Birman, Linga, Demers and van
//! Renesse, IPTPS 2003).
//!
//! In a cluster of n nodes there are about √n groups, and every node is in one. A key is at home in
//! one of them, all of whose members keep what is published under it, and gossip about it among
//! themselves. Since every node knows all members, or some of each group (`view`), what is asked
//! is found in one hop, a node keeps about √n times its share, and a group loses nothing as long as
//! any of its members is left.
//!
//! Kelips hashes a node's address to find its group. Here a group is a *zone* (`zones`): all nodes
//! whose ids begin with the same bits, and the keys whose hashes do. So two nodes that do not agree
//! on how many groups there are, since one knows of more members, differ by a bit: the smaller
//! group of the one is a half of the larger one of the other, and whoever is in both keeps the key
//! in either's eyes. That is whom to ask ([`Depth::askable`]).
//!
//! Up to [`ALL_KEEP_MAX`] members there is one group, and all keep all.

use live_objects::NodeId;

use crate::zones::place::zone;

/// How many bits of its members' ids name a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Depth(u32);

impl Depth {
    /// What is best for so many members: 2^depth is about the root of that, and a group has about
    /// [`GROUP_MIN`] members at least.
    fn best(members: usize) -> u32 {
        if members <= ALL_KEEP_MAX {
            return 0;
        }
        let root = (2 * members).ilog2() / 2;
        root.min((members / GROUP_MIN).ilog2())
    }

    /// Where there are so many members from now on. It changes only if a tenth more, or fewer,
    /// would change it too.
    pub(crate) fn among(self, members: usize) -> Self {
        let slack = members / 10;
        let is_still_good =
            (Self::best(members - slack)..=Self::best(members + slack)).contains(&self.0);
        if is_still_good { self } else { Self(Self::best(members)) }
    }

    /// How many groups there are.
    pub(crate) fn groups(self) -> u32 {
        1 << self.0
    }

    /// How many bits name a group.
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The part of the keys that is kept by the group of this node, or place.
    pub(crate) fn part(self, place: NodeId) -> Part {
        let (first, last) = zone(place, self.0);
        Part { first, last }
    }

    /// Who keeps what is at home in a place even in the eyes of those who think of more groups.
    pub(crate) fn askable(self, place: NodeId) -> Part {
        let (first, last) = zone(place, self.0 + u32::from(self.0 > 0));
        Part { first, last }
    }

    /// A place in each group.
    pub(crate) fn places(self) -> impl Iterator<Item = NodeId> {
        let place = move |group: u32| {
            let bits = u128::from(group).checked_shl(u128::BITS - self.0).unwrap_or(0);
            NodeId::from_bytes(bits.to_be_bytes())
        };
        (0..self.groups()).map(place)
    }

    /// Somebody who thinks of another number of groups answered for his own, where that of a place
    /// was asked: the parts of it that are his group no more. None, if these are too many.
    pub(crate) fn beside(
        self,
        place: NodeId,
        theirs: Self,
        from: NodeId,
    ) -> Option<Vec<(NodeId, Self)>> {
        let finer = theirs.0.saturating_sub(self.0);
        let part = self.part(place);
        let parts = (0..1_u128 << finer.min(FINER_MAX)).map(|part_of| {
            let bits = part_of.checked_shl(u128::BITS - theirs.0).unwrap_or(0);
            NodeId::from_bytes((u128::from_be_bytes(*part.first.as_bytes()) | bits).to_be_bytes())
        });
        let rest = parts.filter(|place| !theirs.part(*place).has(from));
        (finer <= FINER_MAX).then(|| rest.map(|place| (place, theirs)).collect())
    }

    /// As it travelled.
    pub(crate) fn from_code(code: u8) -> Self {
        Self(u32::from(code).min(DEPTH_MAX))
    }

    /// As it travels.
    pub(crate) fn code(self) -> u8 {
        self.0 as u8
    }
}

/// A part of the keys, and of the nodes: those of one zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) first: NodeId,
    pub(crate) last: NodeId,
}

impl Part {
    pub(crate) const ALL: Self = Self {
        first: NodeId::from_bytes([0; NodeId::LEN]),
        last: NodeId::from_bytes([0xff; NodeId::LEN]),
    };

    /// Whether a node, or the place of a key, is in it.
    pub(crate) fn has(&self, place: NodeId) -> bool {
        (self.first..=self.last).contains(&place)
    }
}

/// The most bits. So many would be best for four billion members.
const DEPTH_MAX: u32 = 16;

/// How many bits more somebody may think of who is asked. Tables differ by a few members.
const FINER_MAX: u32 = 2;

/// In clusters of up to so many nodes all keep all.
const ALL_KEEP_MAX: usize = 128;

/// About how many members a group has at least: should half of all nodes crash at once, a group of
/// so many is gone once in 2^32 times.
const GROUP_MIN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_are_about_the_root_and_not_small() {
        let depth = |members| Depth::default().among(members).0;
        let depths = [1, 128, 200, 1_000, 4_000, 10_000, 65_536].map(depth);
        assert_eq!(depths, [0, 0, 2, 4, 6, 7, 8]);
        for members in 129..70_000 {
            let groups = 1_usize << Depth::best(members);
            assert!(members / groups >= GROUP_MIN && groups * groups <= 2 * members, "{members}");
        }
    }

    proptest! {
        #[test]
        fn a_few_more_or_fewer_change_nothing(members in 1..70_000_usize, few in 0..1_000_usize) {
            let depth = Depth(Depth::best(members));
            let few = few % (members / 12 + 1);
            prop_assert_eq!(depth.among(members + few), depth);
            prop_assert_eq!(depth.among(members - few), depth);
        }

        /// Whoever thinks of one bit more keeps what whoever is asked is asked for.
        #[test]
        fn who_is_asked_keeps_it(members in 129..70_000_usize, key: [u8; 16], node: [u8; 16]) {
            let (key, node) = (NodeId::from_bytes(key), NodeId::from_bytes(node));
            let depth = Depth(Depth::best(members));
            prop_assert_eq!(depth.part(key).has(node), depth.part(node).has(key));
            let finer = Depth(depth.0 + 1);
            if depth.askable(key).has(node) {
                prop_assert!(depth.part(node).has(key) && finer.part(node).has(key));
            }
        }
    }

    #[test]
    fn who_keeps_less_leaves_a_rest() {
        let node = |first: u8| NodeId::from_bytes([first; NodeId::LEN]);
        let (two, three) = (Depth(2), Depth(3));
        assert_eq!(two.beside(node(0x50), two, node(0x40)), Some(vec![]));
        assert_eq!(three.beside(node(0x50), two, node(0x40)), Some(vec![]));
        let rest = two.beside(node(0x50), three, node(0x40)).expect("a half");
        assert_eq!(rest.len(), 1);
        assert!(two.part(node(0x50)).has(rest[0].0) && !three.part(node(0x40)).has(rest[0].0));
        assert_eq!(two.beside(node(0x50), Depth(4), node(0x40)).map(|rest| rest.len()), Some(3));
        assert_eq!(two.beside(node(0x50), Depth(9), node(0x40)), None);
        assert_eq!(Depth::from_code(u8::MAX), Depth(DEPTH_MAX));
        let places: Vec<NodeId> = two.places().collect();
        assert_eq!(places.iter().map(|it| it.as_bytes()[0]).collect::<Vec<_>>(), [0, 64, 128, 192]);
        assert_eq!(Depth::default().places().count(), 1);
    }

    #[test]
    fn one_group_is_all() {
        let depth = Depth::default();
        assert_eq!(depth.groups(), 1);
        assert_eq!(depth.part(NodeId::from_bytes([7; 16])), Part::ALL);
        assert_eq!(depth.askable(NodeId::from_bytes([7; 16])), Part::ALL);
    }
}
