//! The ranks that come with LO/GO, and what a right neighbour is in each.
//!
//! - [`Ring`]: the next member on each side of a circle, whose places are what is left of the first
//!   number of a profile when whole turns are taken off. Right: each has its successor and its
//!   predecessor among all who take part.
//! - [`Tree`]: a binary search tree by the first number, in which whoever is above another has the
//!   higher *lot*, the last half of its id. There is just one such tree of any members (a treap:
//!   Seidel and Aragon, "Randomized search trees", Algorithmica 16, 1996), some 2 ln n deep, so
//!   whoever goes leaves a tree again. (T-Man's own tree is that of the numbers 1 to n, which
//!   somebody must give out, and which falls apart with its first node.) Right: each has, on either
//!   side, the nearest of those with higher lots, of which the one with the lower lot is its
//!   *parent*; and those that have it for a parent, its *children*.
//! - [`KNearest`]: those that are least far away in a straight line. Right: there is none nearer.
//! - [`Random`]: some by lot. None is wrong; who is there gives way to a better lot, ever more
//!   seldom.
//!
//! Members that stand at the same place are told apart by their ids.

use core::cmp::Ordering;
use std::borrow::Cow;

use super::{Descriptor, NEIGHBOURS_MAX, Rank};
use crate::node::NodeId;

/// A ring: a successor and a predecessor each, which are one where there are but two members.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ring;

impl Rank for Ring {
    fn name(&self) -> Cow<'static, str> {
        "ring".into()
    }

    fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
        let all = || 0..others.len();
        let order = |one: &usize, other: &usize| ahead(me, &others[*one], &others[*other]);
        let (successor, predecessor) = (all().min_by(order), all().max_by(order));
        let is_another = |it: &usize| Some(*it) != successor;
        successor.into_iter().chain(predecessor.filter(is_another)).collect()
    }
}

impl Ring {
    /// Who comes next after `me`, of others.
    pub fn successor<'a>(me: &Descriptor, others: &'a [Descriptor]) -> Option<&'a Descriptor> {
        others.iter().min_by(|one, other| ahead(me, one, other))
    }

    /// After whom `me` comes next, of others.
    pub fn predecessor<'a>(me: &Descriptor, others: &'a [Descriptor]) -> Option<&'a Descriptor> {
        others.iter().max_by(|one, other| ahead(me, one, other))
    }
}

/// Which of two comes first, going once around from `me`.
fn ahead(me: &Descriptor, one: &Descriptor, other: &Descriptor) -> Ordering {
    let turn = |it: &Descriptor| (it.profile.number(0).rem_euclid(1.0), it.member.node);
    let order = |(one, id): (f64, NodeId), (other, its): (f64, NodeId)| {
        one.total_cmp(&other).then(id.cmp(&its))
    };
    let is_behind = |it| order(turn(it), turn(me)).is_lt();
    is_behind(one).cmp(&is_behind(other)).then(order(turn(one), turn(other)))
}

/// A binary tree that comes about by itself of any members, in the order of their places.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tree;

impl Rank for Tree {
    fn name(&self) -> Cow<'static, str> {
        "tree".into()
    }

    fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
        let sides = [Ordering::Less, Ordering::Greater].map(|side| {
            let there = || (0..others.len()).filter(|index| in_row(&others[*index], me) == side);
            // Which of two is nearer to `me`.
            let nearer = |one: &usize, other: &usize| match side {
                Ordering::Less => in_row(&others[*other], &others[*one]),
                _ => in_row(&others[*one], &others[*other]),
            };
            let is_higher = |index: &usize| lot(&others[*index]) > lot(me);
            let above = there().filter(is_higher).min_by(nearer);
            let is_within = |index: &usize| above.is_none_or(|above| nearer(index, &above).is_lt());
            let below = there().filter(is_within).max_by_key(|index| lot(&others[*index]));
            (above, below)
        });
        let mut above: Vec<usize> = sides.iter().filter_map(|(above, _)| *above).collect();
        above.sort_by_key(|index| lot(&others[*index]));
        above.into_iter().chain(sides.iter().filter_map(|(_, below)| *below)).collect()
    }
}

impl Tree {
    /// Whom `me` is a child of, of its neighbours. None of whoever is at the root.
    pub fn parent<'a>(me: &Descriptor, neighbours: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let above = neighbours.iter().filter(|it| lot(it) > lot(me));
        above.min_by_key(|it| lot(it))
    }

    /// Its children, of its neighbours: two at the most, the one before it first.
    pub fn children(me: &Descriptor, neighbours: &[Descriptor]) -> Vec<Descriptor> {
        let below = neighbours.iter().filter(|it| lot(it) < lot(me));
        let mut children: Vec<Descriptor> = below.copied().collect();
        children.sort_by(in_row);
        children
    }
}

fn in_row(one: &Descriptor, other: &Descriptor) -> Ordering {
    let order = one.profile.number(0).total_cmp(&other.profile.number(0));
    order.then(one.member.node.cmp(&other.member.node))
}

/// Ids are hashes: the last half says nothing of the first, by which places may have been chosen.
fn lot(of: &Descriptor) -> (u64, NodeId) {
    let all = u128::from_be_bytes(*of.member.node.as_bytes());
    (all as u64, of.member.node)
}

/// The `K` nearest, [`NEIGHBOURS_MAX`] at most.
#[derive(Clone, Copy, Default, Debug)]
pub struct KNearest<const K: usize>;

impl<const K: usize> Rank for KNearest<K> {
    fn name(&self) -> Cow<'static, str> {
        const { assert!(K >= 1 && K <= NEIGHBOURS_MAX, "choose 1 to 16 neighbours") };
        format!("{K} nearest").into()
    }

    fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
        let far = |it: &Descriptor| me.profile.distance_squared(&it.profile);
        least(others, K, |one, other| far(one).total_cmp(&far(other)))
    }
}

/// `K` by lot, [`NEIGHBOURS_MAX`] at most.
#[derive(Clone, Copy, Default, Debug)]
pub struct Random<const K: usize>;

impl<const K: usize> Rank for Random<K> {
    fn name(&self) -> Cow<'static, str> {
        const { assert!(K >= 1 && K <= NEIGHBOURS_MAX, "choose 1 to 16 neighbours") };
        format!("{K} random").into()
    }

    fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
        let salt = mixed(lot(me).0);
        let drawn = |it: &Descriptor| mixed(lot(it).0 ^ salt);
        least(others, K, |one, other| drawn(one).cmp(&drawn(other)))
    }
}

/// The first `count` by an order; of equals those with the lesser ids.
fn least(
    others: &[Descriptor],
    count: usize,
    order: impl Fn(&Descriptor, &Descriptor) -> Ordering,
) -> Vec<usize> {
    let order =
        |one: &usize, other: &usize| order(&others[*one], &others[*other]).then(one.cmp(other));
    let mut all: Vec<usize> = (0..others.len()).collect();
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::Ranking;
    use crate::overlay::tests::descriptor;
    use proptest::prelude::*;

    /// Some members; some stand at the same place, and those of few are often not far apart.
    fn members(numbers: usize) -> impl Strategy<Value = Vec<Descriptor>> {
        let place = prop_oneof![(0..9_u8).prop_map(|at| f64::from(at) / 4.0), -1.5..1.5_f64];
        let one = (any::<u64>(), any::<u64>(), prop::collection::vec(place, numbers));
        prop::collection::vec(one, 2..40).prop_map(|all| {
            let mut all: Vec<Descriptor> =
                all.iter().map(|(first, last, place)| descriptor(*first, *last, place)).collect();
            all.sort_by_key(|it| it.member.node);
            all.dedup_by_key(|it| it.member.node);
            all
        })
    }

    fn others(all: &[Descriptor], me: usize) -> Vec<Descriptor> {
        [&all[..me], &all[me + 1..]].concat()
    }

    fn chosen(ranking: &Ranking, me: &Descriptor, others: &[Descriptor]) -> Vec<Descriptor> {
        ranking.choose(me, others).into_iter().map(|index| others[index]).collect()
    }

    fn neighbours(ranking: &Ranking, all: &[Descriptor]) -> Vec<Vec<Descriptor>> {
        (0..all.len()).map(|me| chosen(ranking, &all[me], &others(all, me))).collect()
    }

    proptest! {
        /// Whoever follows successors comes by all, once, in the order of their places.
        #[test]
        fn a_ring_goes_by_all(all in members(1)) {
            prop_assume!(all.len() >= 2);
            let of = neighbours(&Ranking::new(Ring), &all);
            let at = |it: &Descriptor| all.iter().position(|one| one == it).unwrap();
            let (mut here, mut turns, mut seen) = (0, 0, vec![false; all.len()]);
            for _ in 0..all.len() {
                prop_assert!(!std::mem::replace(&mut seen[here], true));
                prop_assert!(of[here].len() == 2.min(all.len() - 1));
                let next = Ring::successor(&all[here], &of[here]).unwrap();
                let back = &of[at(next)];
                prop_assert_eq!(Ring::predecessor(next, back), Some(&all[here]));
                let place = |it: &Descriptor| it.profile.number(0).rem_euclid(1.0);
                turns += usize::from(
                    (place(next), next.member) <= (place(&all[here]), all[here].member),
                );
                here = at(next);
            }
            prop_assert_eq!((here, turns), (0, 1));
        }

        /// One root, and all others have a parent that has them for a child; in order, and no
        /// cycles, since lots grow upwards.
        #[test]
        fn a_tree_is_one(all in members(1)) {
            let of = neighbours(&Ranking::new(Tree), &all);
            let at = |it: &Descriptor| all.iter().position(|one| one == it).unwrap();
            let mut roots = 0;
            for (me, neighbours) in all.iter().zip(&of) {
                let Some(parent) = Tree::parent(me, neighbours) else {
                    roots += 1;
                    continue;
                };
                prop_assert!(lot(parent) > lot(me));
                prop_assert!(Tree::children(parent, &of[at(parent)]).contains(me));
                let children = Tree::children(me, neighbours);
                prop_assert!(children.len() <= 2);
                for child in &children {
                    prop_assert_eq!(Tree::parent(child, &of[at(child)]), Some(me));
                }
                if let [before, after] = &children[..] {
                    prop_assert!(in_row(before, me).is_lt() && in_row(me, after).is_lt());
                }
            }
            prop_assert_eq!(roots, 1);
        }

        #[test]
        fn the_nearest_are_nearest(all in members(2)) {
            let of = neighbours(&Ranking::new(KNearest::<4>), &all);
            for (me, chosen) in of.iter().enumerate() {
                let far = |it: &Descriptor| all[me].profile.distance_squared(&it.profile);
                let others = others(&all, me);
                prop_assert_eq!(chosen.len(), 4.min(others.len()));
                let furthest = chosen.iter().map(far).fold(0.0, f64::max);
                let nearer = others.iter().filter(|it| far(it) < furthest);
                prop_assert!(nearer.filter(|it| !chosen.contains(it)).count() == 0);
            }
        }

        /// What the word of a rank is: without one that was not chosen, the same are.
        #[test]
        fn who_is_not_chosen_does_not_count(all in members(2), which: prop::sample::Index) {
            let ranks = [
                Ranking::new(Ring),
                Ranking::new(Tree),
                Ranking::new(KNearest::<3>),
                Ranking::new(Random::<3>),
            ];
            let (me, others) = (all[0], others(&all, 0));
            for ranking in ranks {
                let before = chosen(&ranking, &me, &others);
                let mut fewer = others.clone();
                fewer.retain(|it| before.contains(it) || *it != others[which.index(others.len())]);
                prop_assert_eq!(chosen(&ranking, &me, &fewer), before, "{:?}", ranking);
            }
        }
    }

    #[test]
    fn names_are_part_of_types() {
        let names = [Ring.name(), Tree.name(), KNearest::<8>.name(), Random::<3>.name()];
        assert_eq!(names, ["ring", "tree", "8 nearest", "3 random"]);
    }

    #[test]
    fn each_has_lots_of_its_own() {
        let all: Vec<Descriptor> = (0..20).map(|id| descriptor(id, id * id, &[0.0])).collect();
        let of = neighbours(&Ranking::new(Random::<4>), &all);
        assert!(of.iter().all(|chosen| chosen.len() == 4));
        let again = |one: &Descriptor| of.iter().filter(|chosen| chosen.contains(one)).count();
        assert!(all.iter().all(|one| again(one) < 12), "nobody is everybody's neighbour");
    }
}
