//! Whom to start an exchange with.
//!
//! A protocol that wants an exchange at a level (`zones`) names it, and gets the members that are
//! there in turn. The failure detector wants each member to be probed by somebody in each turn: all
//! members stand in a ring, by id, and each meets the one that is so many places further on, a
//! number that all draw alike from the round that it is. So the next probe of a member is never
//! further away than two periods, and half of one on average, while who probes it is a matter of
//! chance. (SWIM, DSN 2002, section 4.3, has each node go through a list of its own in an order of
//! its own: of n members each is then probed within 2n - 1 periods by every other, but in more than
//! a third of the periods by nobody.) Nodes that do not know the same members, or the same round,
//! meet as by chance. That all share one exchange is what MiCA (Princehouse and others, SRDS 2012)
//! calls a merge of correlated protocols.
//!
//! In a partial view (`view`) the ring is of the neighbourhood, and so is whoever is drawn by
//! chance; at the levels above it the contacts have their turns, and how many members are there is
//! an estimate (`population`).
//!
//! Nothing is kept of the members here but their number: partners are drawn from the table by rank.
//! A level's members have their turns in strides, so that each has one before any has two; if their
//! number changes on the way, as by chance.
//!
//! Invariant: a level's `up` is the number of its members in the table that are up.

use core::ops::Range;

use live_objects::{NodeId, Rng};
use rand::RngExt;

use crate::digest::mix;
use crate::entry::Standing;
use crate::members::Members;
use crate::records::affinity::Part;
use crate::zones::Headcount;
use crate::zones::place::{level, sibling, zone};
use crate::zones::row::Round;

/// How many members are up, but for this node, by level, and whose turn it is.
pub(crate) struct Partners {
    me: NodeId,
    rng: Rng,
    levels: Vec<Level>,
    /// Of the levels above the neighbourhood, how many there are.
    above: Vec<Headcount>,
}

/// How long the turn lasts in which each member is to be probed once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// This round.
    Short(Round),
    /// The so many rounds to which this one belongs.
    Long(Round, u32),
}

#[derive(Default)]
struct Level {
    up: u32,
    pass: Pass,
}

/// A pass through all members of a level: each is so many ranks behind the last.
#[derive(Default)]
struct Pass {
    /// How many members there were when it began.
    of: u32,
    left: u32,
    rank: u32,
    stride: u32,
}

impl Partners {
    pub(crate) fn new(me: NodeId, rng: Rng) -> Self {
        Self { me, rng, levels: Vec::new(), above: Vec::new() }
    }

    /// A member has come.
    pub(crate) fn insert(&mut self, node: NodeId) {
        let at = level(self.me, node);
        if at >= self.levels.len() {
            self.levels.resize_with(at + 1, Level::default);
        }
        self.levels[at].up += 1;
    }

    /// A member has gone.
    pub(crate) fn remove(&mut self, node: NodeId) {
        self.levels[level(self.me, node)].up -= 1;
    }

    /// How many there are at the levels above the neighbourhood, the root's first.
    pub(crate) fn set_above(&mut self, above: Vec<Headcount>) {
        self.above = above;
    }

    /// How many there are at a level.
    pub(crate) fn count(&self, level: usize) -> u32 {
        self.known(level).count
    }

    /// The same, and how many there may be.
    pub(crate) fn known(&self, level: usize) -> Headcount {
        let up = self.levels.get(level).map_or(0, |level| level.up);
        let above = self.above.get(level).filter(|_| up > 0);
        above.map_or(Headcount::all(up), |above| Headcount { count: above.count.max(up), ..*above })
    }

    /// How many of the neighbourhood are up, this node included. The table knows too, but would
    /// have to look for where it begins and ends.
    pub(crate) fn near_count(&self, members: &Members) -> usize {
        let bits = members.view().depth().bits() as usize;
        1 + self.levels.iter().skip(bits).map(|level| level.up as usize).sum::<usize>()
    }

    /// The levels at which there is anybody, the root's first, and how many.
    pub(crate) fn counts(&self) -> impl DoubleEndedIterator<Item = (usize, u32)> {
        let counts = (0..self.levels.len()).map(|level| (level, self.count(level)));
        counts.filter(|(_, count)| *count > 0)
    }

    /// Whose turn it is, of all in the neighbourhood.
    pub(crate) fn next(&self, turn: Turn, members: &Members) -> Option<NodeId> {
        let ring = self.near(members);
        let others = ring.len().checked_sub(1).filter(|others| *others > 0)?;
        let (salt, turn) = match turn {
            Turn::Short(round) => (0, u64::from(round)),
            Turn::Long(round, len) => (u64::from(len), u64::from(round) / u64::from(len)),
        };
        let further = 1 + mix(salt ^ mix(turn)) as usize % others;
        members.up_at(ring.start + (members.up_below(self.me) - ring.start + further) % ring.len())
    }

    /// Whose turn it is, of a level.
    pub(crate) fn next_at(&mut self, level: usize, members: &Members) -> Option<NodeId> {
        let Level { up, pass } = self.levels.get_mut(level).filter(|level| level.up > 0)?;
        let rank = pass.next(*up, &mut self.rng);
        let (first, _) = sibling(self.me, level);
        members.up_at(members.up_below(first) + rank as usize)
    }

    /// Up to `count` members of the neighbourhood at random, none of them one of `except`.
    pub(crate) fn some(
        &mut self,
        count: usize,
        members: &Members,
        except: &[NodeId],
    ) -> Vec<NodeId> {
        self.draw(self.near(members), count, members, |node| !except.contains(&node))
    }

    /// As [`Partners::some`], but of a part of them, and none that is suspected.
    pub(crate) fn some_of(
        &mut self,
        part: Part,
        count: usize,
        members: &Members,
        except: &[NodeId],
    ) -> Vec<NodeId> {
        let is_well = |node| members.standing(node) == Some(Standing::Alive);
        let is_good = |node| is_well(node) && !except.contains(&node);
        self.draw(ranks(part, members), count, members, is_good)
    }

    /// The smallest zone of this node in which there are more than so many members, or that of all.
    pub(crate) fn zone_of(&self, members: u32) -> Part {
        let mut known = 1;
        let mut is_enough = |count: u32| {
            known += count;
            known > members
        };
        let mut counts = self.counts().rev();
        let bits = counts.find(|(_, count)| is_enough(*count)).map_or(0, |(level, _)| level);
        let (first, last) = zone(self.me, bits as u32);
        Part { first, last }
    }

    /// Up to `count` members, first those that are in the most zones that this node is in.
    pub(crate) fn beside(&self, count: usize, members: &Members) -> Vec<NodeId> {
        let levels = self.counts().rev().map(|(level, _)| sibling(self.me, level));
        let nodes = levels.flat_map(|(first, last)| members.up_between(first, last));
        nodes.map(|(node, _)| node).take(count).collect()
    }

    /// The ranks of the neighbourhood's members.
    fn near(&self, members: &Members) -> Range<usize> {
        let view = members.view();
        let first = if view.is_partial() { members.up_below(view.near().first) } else { 0 };
        first..first + self.near_count(members)
    }

    fn draw(
        &mut self,
        ranks: Range<usize>,
        count: usize,
        members: &Members,
        is_good: impl Fn(NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut some = Vec::with_capacity(count);
        if ranks.is_empty() {
            return some;
        }
        // Most draws hit, where there are members enough.
        for _ in 0..DRAWS_MAX.max(8 * count) {
            let rank = self.rng.random_range(ranks.clone());
            let node = members.up_at(rank).expect("so many are up");
            if node != self.me && is_good(node) && !some.contains(&node) {
                some.push(node);
                if some.len() == count {
                    break;
                }
            }
        }
        some
    }
}

fn ranks(part: Part, members: &Members) -> Range<usize> {
    let first = members.up_below(part.first);
    first..members.up_below(part.last) + usize::from(members.is_up(part.last))
}

impl Pass {
    /// The next rank of so many.
    fn next(&mut self, of: u32, rng: &mut Rng) -> u32 {
        if self.left == 0 || self.of != of {
            // With a stride that has no divisor in common with them all have their turn.
            let is_coprime = |stride: &u32| gcd(*stride, of) == 1;
            let from = rng.random_range(1..=of);
            let stride = (from..=of).chain(1..from).find(is_coprime).expect("1 is coprime to all");
            *self = Self { of, left: of, rank: rng.random_range(0..of), stride };
        }
        self.left -= 1;
        self.rank = ((u64::from(self.rank) + u64::from(self.stride)) % u64::from(of)) as u32;
        self.rank
    }
}

fn gcd(mut one: u32, mut other: u32) -> u32 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

const DRAWS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Standing;
    use crate::entry::tests::entry;
    use crate::records::affinity::Depth;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, prop_assert_ne, proptest};

    /// Nodes that are spread over all levels.
    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    struct Known {
        members: Members,
        partners: Partners,
    }

    impl Known {
        fn of(me: u8, seed: [u8; 32]) -> Self {
            let partners = Partners::new(node(me), Rng::from_seed(seed));
            Self { members: Members::new(entry(me, 1)), partners }
        }

        fn new(others: u8, seed: [u8; 32]) -> Self {
            let mut known = Self::of(0, seed);
            (1..=others).for_each(|other| known.come(other, 1));
            known
        }

        fn come(&mut self, other: u8, generation: u64) {
            self.members.merge(entry(other, generation));
            self.partners.insert(node(other));
        }

        fn go(&mut self, other: u8) {
            self.members.merge(entry(other, 1).as_standing(Standing::Left));
            self.partners.remove(node(other));
        }

        fn next(&self, round: u64) -> Option<NodeId> {
            let round = Round::FIRST.shifted(round as i64);
            self.partners.next(Turn::Short(round), &self.members)
        }
    }

    proptest! {
        /// Whoever knows the same, and that it is the same turn, meets another than the others do.
        #[test]
        fn in_a_turn_everybody_is_probed_once(n in 2..40_u8, seed: [u8; 32], round in 0..99_u64) {
            let nodes: Vec<u8> = (0..n).collect();
            let mut met: Vec<NodeId> = Vec::new();
            for me in &nodes {
                let mut known = Known::of(*me, seed);
                nodes.iter().filter(|other| *other != me).for_each(|other| known.come(*other, 1));
                let later = 4 + 5 * round as i64 + i64::from(*me % 5);
                let long = Turn::Long(Round::FIRST.shifted(later), 5);
                let partner = known.partners.next(long, &known.members).unwrap();
                prop_assert_ne!(partner, node(*me));
                prop_assert!(known.next(round).is_some_and(|short| short != node(*me)));
                met.push(partner);
            }
            met.sort();
            met.dedup();
            prop_assert_eq!(met.len(), nodes.len());
        }

        #[test]
        fn of_a_level_everyone_has_a_turn(n in 1..40_u8, seed: [u8; 32], skip in 0..80_usize) {
            let mut known = Known::new(n, seed);
            let counts: Vec<_> = known.partners.counts().collect();
            for (at, count) in counts {
                for _ in 0..skip {
                    known.partners.next_at(at, &known.members);
                }
                let turns = 2 * count - 1;
                let next = |_| known.partners.next_at(at, &known.members).unwrap();
                let mut met: Vec<NodeId> = (0..turns).map(next).collect();
                met.sort();
                met.dedup();
                prop_assert_eq!(met.len(), count as usize);
            }
        }

        #[test]
        fn some_are_up_and_all_different(n in 1..9_u8, seed: [u8; 32]) {
            let mut known = Known::new(n, seed);
            known.go(1);
            let some = known.partners.some(3, &known.members, &[node(2)]);
            prop_assert!(some.len() <= 3 && some.iter().all(|node| known.members.is_up(*node)));
            prop_assert!(some.iter().all(|one| ![node(0), node(1), node(2)].contains(one)));
            prop_assert!((1..some.len()).all(|i| !some[..i].contains(&some[i])));
        }

        #[test]
        fn counts_are_of_those_who_are_up(
            story in prop::collection::vec((1..20_u8, 0..9_u8), 0..60),
            seed: [u8; 32],
        ) {
            let mut known = Known::new(0, seed);
            let mut lives = [0_u64; 20];
            for (other, turns) in story {
                let is_up = lives[usize::from(other)] % 2 == 1;
                lives[usize::from(other)] += 1;
                let generation = lives[usize::from(other)].div_ceil(2);
                if is_up {
                    let left = entry(other, generation).as_standing(Standing::Left);
                    known.members.merge(left);
                    known.partners.remove(node(other));
                } else {
                    known.come(other, generation);
                }
                for round in 0..turns {
                    let next = known.next(round.into());
                    prop_assert!(next.is_none_or(|next| known.members.is_up(next)));
                }
            }
            let counts: Vec<_> = known.partners.counts().collect();
            for (at, count) in counts {
                let is_there = |node: &NodeId| *node != node_0() && level(node_0(), *node) == at;
                let up = known.members.up().map(|member| member.node).filter(is_there);
                prop_assert_eq!(up.count(), count as usize);
                prop_assert!(known.partners.next_at(at, &known.members).is_some());
            }
        }
    }

    fn node_0() -> NodeId {
        node(0)
    }

    #[test]
    fn the_departed_are_passed_over_and_newcomers_are_met() {
        let mut known = Known::new(3, [7; 32]);
        let first = known.next(0).unwrap();
        let gone = (1..=3).find(|other| node(*other) != first).unwrap();
        known.go(gone);
        known.come(4, 1);
        let met: Vec<NodeId> = (0..20).filter_map(|round| known.next(round)).collect();
        assert!(!met.contains(&node(gone)));
        assert!(met.contains(&node(4)));
    }

    #[test]
    fn a_zone_has_more_members_than_are_asked_for_and_its_half_has_not() {
        let known = Known::new(60, [7; 32]);
        let up = |part: Part| known.members.up_between(part.first, part.last).count();
        for members in [0, 1, 5, 30, 59] {
            let zone = known.partners.zone_of(members);
            assert!(zone.has(node_0()) && up(zone) > members as usize, "{zone:?} for {members}");
            let half = level(node_0(), zone.last) as u32 + 1;
            let (first, last) = crate::zones::place::zone(node_0(), half);
            assert!(up(Part { first, last }) <= members.max(1) as usize);
        }
        assert_eq!(up(known.partners.zone_of(1_000)), 61);
    }

    #[test]
    fn those_beside_are_the_ones_at_the_deepest_levels() {
        let known = Known::new(60, [7; 32]);
        let mut all: Vec<NodeId> = (1..=60).map(node).collect();
        all.sort_by_key(|other| core::cmp::Reverse(level(node_0(), *other)));
        let beside = known.partners.beside(4, &known.members);
        let levels = |nodes: &[NodeId]| -> Vec<usize> {
            nodes.iter().map(|other| level(node_0(), *other)).collect()
        };
        assert_eq!(levels(&beside), levels(&all[..4]));
        assert_eq!(known.partners.beside(100, &known.members).len(), 60);
    }

    #[test]
    fn the_neighbourhood_is_of_the_deeper_levels() {
        let mut known = Known::new(60, [7; 32]);
        assert_eq!(known.partners.near_count(&known.members), 61);
        let depth = Depth::default().among(1_000);
        for gone in known.members.turn_to(depth) {
            known.partners.remove(gone.member.node);
        }
        let near = depth.part(node_0());
        let there = known.members.up_between(near.first, near.last).count();
        assert!(depth.bits() > 1 && there > 1 && there < known.members.up_count());
        assert_eq!(known.partners.near_count(&known.members), there);
        let ranks = known.partners.near(&known.members);
        let of_ranks: Vec<NodeId> = ranks.filter_map(|rank| known.members.up_at(rank)).collect();
        assert!(of_ranks.len() == there && of_ranks.iter().all(|other| near.has(*other)));
    }

    #[test]
    fn alone_there_is_nobody_to_probe() {
        let mut known = Known::new(0, [7; 32]);
        assert_eq!(known.next(0), None);
        assert_eq!(known.partners.next_at(0, &known.members), None);
        assert_eq!(known.partners.some(3, &known.members, &[]), []);
        assert_eq!(known.partners.beside(3, &known.members), []);
        assert!(known.partners.zone_of(3).has(node_0()));
    }
}
