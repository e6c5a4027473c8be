//! Whom to start an exchange with.
//!
//! Members are listed by the level at which they are in this node's sibling zone (`zones`). A
//! protocol that wants an exchange at a level names it; the failure detector wants them all in turn,
//! so that its turns go to levels in proportion to how many members they have. (That is what MiCA,
//! Princehouse and others, SRDS 2012, calls a merge of correlated protocols: each shapes whom it
//! meets, and all share the exchange.)
//!
//! SWIM (DSN 2002, section 4.3): a node goes through its list of members in turn, shuffles it when
//! it is through, and puts newcomers at random places in it, so that of n members each is probed
//! within 2n - 1 turns. So it is here, a list a level. Who went is passed over, and taken off with
//! the next shuffle.
//!
//! Invariant: a level's count is that of the members in it that are up; its list has each of them
//! once.

use live_objects::{NodeId, Rng};
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::members::Members;
use crate::zones::place::level;

/// The members that are up, but for this node, by level.
pub(crate) struct Partners {
    me: NodeId,
    rng: Rng,
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    up: u32,
    /// All who are up, and some who went.
    order: Vec<NodeId>,
    next: usize,
    /// How many turns are owed to it, times the number of all members.
    owed: i64,
}

impl Partners {
    pub(crate) fn new(me: NodeId, rng: Rng) -> Self {
        Self { me, rng, levels: Vec::new() }
    }

    /// A member has come: it gets a place in the rest of this pass or, if the place drawn is in the
    /// part that is done, in the next.
    pub(crate) fn insert(&mut self, node: NodeId) {
        let at = level(self.me, node);
        if at >= self.levels.len() {
            self.levels.resize_with(at + 1, Level::default);
        }
        let Level { up, order, next, .. } = &mut self.levels[at];
        *up += 1;
        let place = self.rng.random_range(0..=order.len());
        order.push(node);
        let last = order.len() - 1;
        if place >= *next {
            order.swap(place, last);
        } else {
            order.swap(*next, last);
            *next += 1;
        }
    }

    /// A member that was one before has come back.
    pub(crate) fn reinsert(&mut self, node: NodeId) {
        if let Some(Level { up, order, .. }) = self.levels.get_mut(level(self.me, node))
            && order.contains(&node)
        {
            *up += 1;
        } else {
            self.insert(node);
        }
    }

    /// A member has gone.
    pub(crate) fn remove(&mut self, node: NodeId) {
        let at = level(self.me, node);
        self.levels[at].up -= 1;
    }

    /// How many there are at a level.
    pub(crate) fn count(&self, level: usize) -> u32 {
        self.levels.get(level).map_or(0, |level| level.up)
    }

    /// The levels at which there is anybody, the root's first, and how many.
    pub(crate) fn counts(&self) -> impl DoubleEndedIterator<Item = (usize, u32)> {
        let counts = self.levels.iter().map(|level| level.up).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    /// Whose turn it is, of all.
    pub(crate) fn next(&mut self, members: &Members) -> Option<NodeId> {
        let all: i64 = self.levels.iter().map(|level| i64::from(level.up)).sum();
        self.levels.iter_mut().for_each(|level| level.owed += i64::from(level.up));
        let owed = self.levels.iter_mut().filter(|level| level.up > 0);
        let most = owed.max_by_key(|level| level.owed)?;
        most.owed -= all;
        most.next(members, &mut self.rng)
    }

    /// Whose turn it is, of a level.
    pub(crate) fn next_at(&mut self, level: usize, members: &Members) -> Option<NodeId> {
        self.levels.get_mut(level)?.next(members, &mut self.rng)
    }

    /// Up to `count` members at random, none of them one of `except`.
    pub(crate) fn some(
        &mut self,
        count: usize,
        members: &Members,
        except: &[NodeId],
    ) -> Vec<NodeId> {
        let mut some = Vec::with_capacity(count);
        let all: usize = self.levels.iter().map(|level| level.order.len()).sum();
        if all == 0 {
            return some;
        }
        // Most draws hit; a list so full of the departed that all miss is drawn up anew soon.
        for _ in 0..DRAWS_MAX.max(8 * count) {
            let mut place = self.rng.random_range(0..all);
            let orders = self.levels.iter().map(|level| &level.order);
            let node = orders
                .filter_map(|order| {
                    let node = order.get(place).copied();
                    place = place.wrapping_sub(order.len());
                    node
                })
                .next()
                .expect("the place is within all");
            if members.is_up(node) && !except.contains(&node) && !some.contains(&node) {
                some.push(node);
                if some.len() == count {
                    break;
                }
            }
        }
        some
    }
}

impl Level {
    fn next(&mut self, members: &Members, rng: &mut Rng) -> Option<NodeId> {
        if let Some(partner) = self.next_of_pass(members) {
            return Some(partner);
        }
        self.order.retain(|node| members.is_up(*node));
        if self.order.len() > self.up as usize {
            // Somebody went, was forgotten, and came back as a newcomer.
            self.order.sort_unstable();
            self.order.dedup();
        }
        self.order.shuffle(rng);
        self.next = 0;
        assert_eq!(self.order.len(), self.up as usize, "a list has all who are up");
        self.next_of_pass(members)
    }

    fn next_of_pass(&mut self, members: &Members) -> Option<NodeId> {
        let rest = &self.order[self.next..];
        let found = rest.iter().position(|node| members.is_up(*node));
        self.next += found.map_or(rest.len(), |found| found + 1);
        found.map(|_| self.order[self.next - 1])
    }
}

const DRAWS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Standing;
    use crate::entry::tests::entry;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    /// Nodes that are spread over all levels.
    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    struct Known {
        members: Members,
        partners: Partners,
    }

    impl Known {
        fn new(others: u8, seed: [u8; 32]) -> Self {
            let partners = Partners::new(node(0), Rng::from_seed(seed));
            let mut known = Self { members: Members::new(entry(0, 1)), partners };
            (1..=others).for_each(|other| known.come(other, 1));
            known
        }

        fn come(&mut self, other: u8, generation: u64) {
            self.members.merge(entry(other, generation));
            if generation == 1 {
                self.partners.insert(node(other));
            } else {
                self.partners.reinsert(node(other));
            }
        }

        fn go(&mut self, other: u8) {
            self.members.merge(entry(other, 1).as_standing(Standing::Left));
            self.partners.remove(node(other));
        }

        fn next(&mut self) -> Option<NodeId> {
            self.partners.next(&self.members)
        }
    }

    proptest! {
        /// SWIM 4.3: whenever one begins to count, every member is probed within 2n - 1 turns; of
        /// the levels one may come a few turns late.
        #[test]
        fn everyone_is_probed_within_twice_the_members(
            n in 1..40_u8,
            seed: [u8; 32],
            skip in 0..80_usize,
        ) {
            let mut known = Known::new(n, seed);
            (0..skip).for_each(|_| assert!(known.next().is_some()));
            let late = 2 * known.partners.counts().count();
            let turns = 2 * usize::from(n) - 1 + late;
            let mut probed: Vec<NodeId> = (0..turns).map(|_| known.next().unwrap()).collect();
            probed.sort();
            probed.dedup();
            prop_assert_eq!(probed.len(), usize::from(n));
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
                for _ in 0..turns {
                    known.next();
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
        let first = known.next().unwrap();
        let gone = (1..=3).find(|other| node(*other) != first).unwrap();
        known.go(gone);
        known.come(4, 1);
        let met: Vec<NodeId> = (0..8).filter_map(|_| known.next()).collect();
        assert!(!met.contains(&node(gone)));
        assert!(met.contains(&node(4)));
    }

    #[test]
    fn alone_there_is_nobody_to_probe() {
        let mut known = Known::new(0, [7; 32]);
        assert_eq!(known.next(), None);
        assert_eq!(known.partners.next_at(0, &known.members), None);
        assert_eq!(known.partners.some(3, &known.members, &[]), []);
    }
}
