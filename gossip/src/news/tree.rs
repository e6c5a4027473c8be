//! The trees along which messages go: from any source, built and mended by nobody.
//!
//! Ids are hashes, so the zones (`zones/place.rs`) are a balanced tree that is always there. A
//! message is told with a *reach*: for which zone, of so many leading bits of its own id, the
//! receiver is to pass it on. Who has to pass it on splits that zone into parts, one a value of the
//! next bits, tells one *contact* in each part but its own, with the part for a reach, and goes on
//! with its own part, until that is so small that it tells all who are in it. The source starts
//! with the zone of all. So n members hear of a message by n - 1 sends, after two hops where they
//! are a thousand and three where they are ten thousand, whoever says it; and nothing is kept a
//! topic or a source. (El-Ansary, Alima, Brand and Haridi, "Efficient broadcast in structured P2P
//! networks", IPTPS 2003, do so along the fingers of a ring. Plumtree, SRDS 2007, grows a tree from
//! one source by cutting links over which copies came; another source's messages take detours.)
//!
//! Who the contact is in a part all nodes find alike: from the source's id comes which of a few
//! *trees* it uses, and in each tree a part has one contact. So the messages of many sources come
//! to a node by few others, several in a packet when there are many. With a tree more for each
//! member of a part the load would be even, and each message a packet of its own; four are in
//! between. In a partial view (`view`) only contacts are known of other neighbourhoods: a zone is
//! split down to these first, and those of one neighbourhood find the contacts alike. Who is
//! suspected is passed over. How a zone is split is for each node to say: a reach
//! is in bits, so that others need not split alike.
//!
//! Invariant: what is told lies within the zone that is split, and each part of it is told once.

use live_objects::NodeId;

use crate::digest::{halves, mix};
use crate::entry::{Absurd, Standing};
use crate::members::Members;

/// For which zone a message is to be passed on: that of so many leading bits of a node's own id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Reach(u8);

impl Reach {
    /// To all there are.
    pub(crate) const ALL: Self = Self(0);
    /// To nobody.
    pub(crate) const NONE: Self = Self(BITS);
}

impl TryFrom<u8> for Reach {
    type Error = Absurd;

    fn try_from(bits: u8) -> Result<Self, Absurd> {
        if bits > BITS { Err(Absurd::Reach(bits)) } else { Ok(Self(bits)) }
    }
}

impl From<Reach> for u8 {
    fn from(reach: Reach) -> Self {
        reach.0
    }
}

/// Which tree: all messages of one source go along one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tree(u64);

/// All ids from the one to the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Zone {
    from: u128,
    to: u128,
}

impl Tree {
    pub(crate) fn of(source: NodeId) -> Self {
        let [high, low] = halves(source.as_bytes());
        Self(mix(high ^ mix(low)) % TREES)
    }

    /// Whom to tell what came with this reach, and with which.
    pub(crate) fn below(self, reach: Reach, members: &Members) -> Vec<(NodeId, Reach)> {
        let me = members.me();
        let mut below = Vec::new();
        let Reach(mut bits) = reach;
        // Of zones larger than that only contacts are known.
        let near = members.view().depth().bits() as u8;
        while bits < near {
            let digit = DIGIT_BITS.min(near - bits);
            bits += digit;
            below.extend(self.beside(digit, Zone::of(me, bits), bits, members));
        }
        while bits < BITS {
            let zone = Zone::of(me, bits);
            let others = zone.up(members).map(|(node, _)| node).filter(|node| *node != me);
            let some: Vec<NodeId> = others.take(LEAVES_MAX + 1).collect();
            if some.len() <= LEAVES_MAX {
                below.extend(some.into_iter().map(|node| (node, Reach::NONE)));
                break;
            }
            assert!(bits + DIGIT_BITS <= BITS, "a zone of fewer bits has no more ids than that");
            bits += DIGIT_BITS;
            below.extend(self.beside(DIGIT_BITS, Zone::of(me, bits), bits, members));
        }
        below
    }

    /// The contacts in the other parts of the zone of one digit less.
    fn beside(
        self,
        digit: u8,
        own: Zone,
        bits: u8,
        members: &Members,
    ) -> impl Iterator<Item = (NodeId, Reach)> {
        let others = own.and_its_like(digit).filter(move |part| *part != own);
        let contacts = others.filter_map(move |part| self.contact(part, members));
        contacts.map(move |contact| (contact, Reach(bits)))
    }

    /// The contact in a zone, if anybody is there: one that is not suspected, if there is one.
    fn contact(self, zone: Zone, members: &Members) -> Option<NodeId> {
        zone.up(members).next()?;
        let [high, low] = [zone.from >> 64, zone.from].map(|half| half as u64);
        let start = [high, low, self.0].into_iter().fold(0, |hash, word| mix(hash ^ word));
        let start = u128::from(start) << 64 | u128::from(mix(start));
        let start = zone.from | start & (zone.to - zone.from);
        let up = || Zone { from: start, ..zone }.up(members).chain(zone.up(members));
        let fine = up().find(|(_, standing)| *standing == Standing::Alive);
        let (contact, _) = fine.or_else(|| up().next())?;
        Some(contact)
    }
}

impl Zone {
    /// The zone of so many bits that a node is in.
    fn of(node: NodeId, bits: u8) -> Self {
        let id = u128::from_be_bytes(*node.as_bytes());
        let rest = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
        Self { from: id & !rest, to: id | rest }
    }

    /// The parts of the zone of one digit less of which this is one.
    fn and_its_like(self, digit: u8) -> impl Iterator<Item = Self> {
        let rest = self.to - self.from;
        let bits = BITS - digit - rest.count_ones() as u8;
        let whole = Self::of(NodeId::from_bytes(self.from.to_be_bytes()), bits);
        (0..1 << digit).map(move |value: u128| {
            let from = whole.from | value << rest.count_ones();
            Self { from, to: from | rest }
        })
    }

    fn up(self, members: &Members) -> impl Iterator<Item = (NodeId, Standing)> {
        let [from, to] = [self.from, self.to].map(|id| NodeId::from_bytes(id.to_be_bytes()));
        members.up_between(from, to)
    }
}

/// The bits of an id.
const BITS: u8 = 8 * NodeId::LEN as u8;

/// By how many bits a zone is split: into 32 parts. With 16 it would be three hops, and not two,
/// to a thousand members.
const DIGIT_BITS: u8 = 5;

/// A zone of so many others is not split: all of them are told at once. It holds twice what is to
/// be expected in a part of a cluster of a thousand.
const LEAVES_MAX: usize = 64;

/// How many trees there are. It is a part of the wire: all nodes must find the same contacts.
const TREES: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::entry::tests::entry;
    use crate::records::affinity::Depth;
    use live_objects::Rng;
    use proptest::prelude::*;
    use rand::RngExt;
    use std::collections::{BTreeMap, BTreeSet};

    fn numbered(id: u128) -> Entry {
        let mut numbered = entry(1, 1);
        numbered.member.node = node(id);
        numbered
    }

    fn node(id: u128) -> NodeId {
        NodeId::from_bytes(id.to_be_bytes())
    }

    /// What a node at this place knows if it knows all of these.
    fn members(me: u128, ids: &BTreeSet<u128>) -> Members {
        let mut members = Members::new(numbered(me));
        ids.iter().filter(|id| **id != me).for_each(|id| drop(members.merge(numbered(*id))));
        members
    }

    /// How often each member is told, and after how many hops the last is, if `source` says
    /// something and nothing is lost.
    fn told(source: u128, ids: &BTreeSet<u128>) -> (BTreeMap<NodeId, usize>, usize) {
        told_by(source, |me| members(me, ids))
    }

    /// The same, by what each knows.
    fn told_by(
        source: u128,
        members: impl Fn(u128) -> Members,
    ) -> (BTreeMap<NodeId, usize>, usize) {
        let mut told = BTreeMap::from([(node(source), 0)]);
        let mut now = vec![(source, Reach::ALL)];
        let mut hops = 0;
        while !now.is_empty() {
            let mut next = Vec::new();
            for (me, reach) in now {
                for (to, reach) in Tree::of(node(source)).below(reach, &members(me)) {
                    *told.entry(to).or_default() += 1;
                    next.push((u128::from_be_bytes(*to.as_bytes()), reach));
                }
            }
            now = next.into_iter().filter(|(_, reach)| *reach != Reach::NONE).collect();
            hops += 1;
        }
        (told, hops)
    }

    fn ids(count: usize, rng: &mut Rng) -> BTreeSet<u128> {
        (0..count).map(|_| rng.random()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// From any source, wherever the ids lie: even if most begin alike.
        #[test]
        fn all_are_told_once(count in 1..200_usize, alike in 0..=128_u32, seed: [u8; 32]) {
            let mut rng = Rng::from_seed(seed);
            let rest = u128::MAX.checked_shr(alike).unwrap_or(0);
            let spread = count / 4 + 1;
            let near = ids(count, &mut rng).into_iter().map(|id| id & rest);
            let ids: BTreeSet<u128> = near.chain(ids(spread, &mut rng)).collect();
            for source in [ids.first(), ids.last()].into_iter().flatten() {
                let (told, _) = told(*source, &ids);
                prop_assert_eq!(told.len(), ids.len());
                prop_assert_eq!(told.values().sum::<usize>(), ids.len() - 1);
                prop_assert_eq!(told[&node(*source)], 0);
            }
        }
    }

    /// Who knows but a few of each other neighbourhood tells one of each part all the same.
    #[test]
    fn all_are_told_once_where_nobody_knows_all() {
        let ids = ids(600, &mut Rng::from_seed([5; 32]));
        let depth = Depth::default().among(ids.len());
        assert!(depth.bits() > 1);
        let (told, hops) = told_by(*ids.first().unwrap(), |me| {
            let mut members = members(me, &ids);
            members.turn_to(depth);
            assert!(members.up_count() < ids.len() / 3);
            members
        });
        assert_eq!((told.len(), told.values().sum::<usize>()), (600, 599));
        assert_eq!(hops, 2);
    }

    #[test]
    fn a_thousand_hear_after_two_hops() {
        let ids = ids(1_000, &mut Rng::from_seed([5; 32]));
        let (told, hops) = told(*ids.first().unwrap(), &ids);
        assert_eq!((told.len(), hops), (1_000, 2));
    }

    /// In a part of a part there are so few that all are told at once.
    #[test]
    fn ten_thousand_hear_after_three_hops() {
        let mut parts = vec![0; 1 << (2 * DIGIT_BITS)];
        for id in ids(10_000, &mut Rng::from_seed([5; 32])) {
            parts[(id >> (BITS - 2 * DIGIT_BITS)) as usize] += 1;
        }
        assert!(parts.iter().all(|count| *count <= LEAVES_MAX));
    }

    /// All messages of a tree come to a part of the cluster by one member of it.
    #[test]
    fn a_contact_is_the_same_for_all_until_it_is_suspected() {
        let ids = ids(200, &mut Rng::from_seed([5; 32]));
        let (first, last) = (*ids.first().unwrap(), *ids.last().unwrap());
        let mut members = members(first, &ids);
        let others = self::members(last, &ids);
        let tree = Tree(2);
        let in_part = |contact: NodeId, members: &Members| {
            Zone::of(contact, DIGIT_BITS).up(members).map(|(node, _)| node).collect::<Vec<_>>()
        };
        let below = tree.below(Reach::ALL, &members);
        assert!(
            below.iter().filter(|told| tree.below(Reach::ALL, &others).contains(told)).count() > 20
        );
        assert_ne!(Tree(1).below(Reach::ALL, &members), below);
        let (contact, reach) = below[0];
        assert_eq!(reach, Reach(DIGIT_BITS));
        let all = in_part(contact, &members);
        assert!(all.len() > 1);
        // One after the other is suspected: the last is told all the same.
        for _ in 0..all.len() {
            let (contact, _) = tree.below(Reach::ALL, &members)[0];
            assert!(all.contains(&contact));
            let suspected = members.of(contact).unwrap().as_standing(Standing::Suspect);
            members.merge(suspected);
        }
        assert!(all.iter().all(|node| members.standing(*node) == Some(Standing::Suspect)));
        assert!(all.contains(&tree.below(Reach::ALL, &members)[0].0));
        assert!(tree.below(Reach::NONE, &members).is_empty());
    }

    #[test]
    fn every_tree_has_its_sources() {
        let ids = ids(1_000, &mut Rng::from_seed([5; 32]));
        let of = |tree| ids.iter().filter(|id| Tree::of(node(**id)) == tree).count();
        assert!((0..TREES).all(|tree| (200..300).contains(&of(Tree(tree)))));
    }

    /// It is a part of the wire.
    #[test]
    fn golden_contacts() {
        assert_eq!(Tree::of(node(7)), Tree(1));
    }
}
