//! Stands: who takes part in an overlay, and where it stands, as far as a node knows.
//!
//! T-Man (Jelasity, Montresor and Babaoglu, Computer Networks 53, 2009, section 3) calls this a
//! node's view. The node keeps those that its rank finds best for itself, far more than it has
//! neighbours, and tells another those that the rank finds best for *him*: so everybody comes
//! nearer to where he belongs with each exchange, by way of those who are nearer than he is. Some
//! are kept by a lot of the node's own, wherever they stand, as offers are (`offers`), so that
//! overlays that began apart come together. A rank is always shown all who are known, and what it
//! says is thinned out afterwards: whom it chooses depends on those that it chooses beside them.
//!
//! A stand carries the round in which its owner last said so, its *stamp*: of two the later holds,
//! and one that is too old is forgotten. Who takes part no more says that as a stand too, which is
//! told and forgotten like any other.
//!
//! Invariant: when something was taken in and [`Stands::trim`] was called, at most [`STANDS_MAX`]
//! are kept, each owner's once, and none of this node.

use std::collections::BTreeMap;

use live_objects::overlay::{Descriptor, Profile, Ranking};
use live_objects::{Member, NodeId};

use crate::digest::halves;
use crate::offers::{Taken, lot};
use crate::zones::row::Round;

/// Where a member stands, or stood until it left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stand {
    /// The first half of its id: enough to tell some members apart, of which all are known.
    pub(crate) owner: u64,
    /// A short hash of the owner's incarnation: where it stood in a former life does not hold.
    pub(crate) life: u16,
    pub(crate) stamp: Round,
    pub(crate) profile: Profile,
    pub(crate) is_withdrawn: bool,
}

/// Somebody who is to be told of others.
#[derive(Clone, Copy)]
pub(crate) struct Whom<'a> {
    pub(crate) at: Descriptor,
    /// Of whom he has told himself.
    pub(crate) knows: &'a [u64],
}

/// What is known of the stands in one overlay.
pub(crate) struct Stands {
    me: NodeId,
    known: BTreeMap<NodeId, Known>,
}

#[derive(Clone, Copy)]
struct Known {
    stand: Stand,
    member: Member,
    /// When this node last began to meet it, for the overlay's sake.
    met: Option<Round>,
}

impl Known {
    fn descriptor(&self) -> Descriptor {
        Descriptor { member: self.member, profile: self.stand.profile }
    }
}

impl Stands {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self { me, known: BTreeMap::new() }
    }

    /// Takes in what `member` said of itself, or others of it.
    pub(crate) fn take(&mut self, stand: Stand, member: Member) -> Taken {
        let owner = member.node;
        assert_ne!(owner, self.me, "a node knows itself where it stands");
        assert_eq!(stand.owner, halves(owner.as_bytes())[0], "it is the owner");
        let known = self.known.get(&owner).filter(|known| known.stand.life == stand.life);
        if known.is_some_and(|known| known.stand.stamp >= stand.stamp) {
            return Taken::No;
        }
        let says = |stand: &Stand| (stand.profile, stand.is_withdrawn);
        let is_same = known.is_some_and(|known| says(&known.stand) == says(&stand));
        let met = known.and_then(|known| known.met);
        self.known.insert(owner, Known { stand, member, met });
        if is_same { Taken::Renewed } else { Taken::New }
    }

    /// Forgets all but the best for `me` and some by lot.
    pub(crate) fn trim(&mut self, me: &Descriptor, ranking: &Ranking) {
        if self.known.len() <= STANDS_MAX {
            return;
        }
        let salt = halves(self.me.as_bytes())[1];
        let mut kept: Vec<NodeId> = self.known.keys().copied().collect();
        kept.sort_by_cached_key(|owner| lot(*owner, salt));
        kept.truncate(DRAWN);
        // Of all: whom a rank chooses depends on those that it chooses beside them.
        let all = self.known.values().map(Known::descriptor).collect();
        let best = ranking.best(me, all, STANDS_MAX - DRAWN);
        kept.extend(best.iter().map(|it| it.member.node));
        kept.sort_unstable();
        self.known.retain(|owner, _| kept.binary_search(owner).is_ok());
        assert!(self.known.len() <= STANDS_MAX, "the best and the drawn may be the same");
    }

    /// A member is gone, or is in another life. Tells whether anything was known of it.
    pub(crate) fn forget(&mut self, owner: NodeId) -> bool {
        self.known.remove(&owner).is_some()
    }

    pub(crate) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// What is older than so many rounds is forgotten, and what is ahead of this one. Tells whether
    /// anything was.
    pub(crate) fn expire(&mut self, round: Round, rounds_max: u64) -> bool {
        let before = self.known.len();
        self.known.retain(|_, Known { stand, .. }| {
            round.since(stand.stamp.into()) <= rounds_max && !stand.stamp.is_ahead_of(round)
        });
        self.known.len() < before
    }

    /// How many take part.
    pub(crate) fn count(&self) -> usize {
        self.valid().count()
    }

    /// Where a member stands or stood.
    pub(crate) fn descriptor(&self, owner: NodeId) -> Option<Descriptor> {
        self.known.get(&owner).map(Known::descriptor)
    }

    /// The right neighbours of whoever stands there, of those who are known.
    pub(crate) fn neighbours(&self, me: &Descriptor, ranking: &Ranking) -> Vec<Descriptor> {
        let all: Vec<Descriptor> = self.valid().map(Known::descriptor).collect();
        ranking.choose(me, &all).into_iter().map(|index| all[index]).collect()
    }

    /// What is of most use to `whom`, the best first, and then a few by their lots; none of those
    /// that he has told himself.
    pub(crate) fn best_for(
        &self,
        Whom { at: whom, knows }: Whom<'_>,
        ranking: &Ranking,
        salt: u64,
        count: usize,
    ) -> Vec<Stand> {
        let others = self.known.values().map(Known::descriptor);
        let others = others.filter(|it| it.member.node != whom.member.node).collect();
        let ranked = count - count / DRAWN_PART;
        let best = ranking.best(&whom, others, ranked + knows.len());
        let best = best.iter().map(|it| self.known[&it.member.node].stand);
        let is_new = |stand: &Stand| !knows.contains(&stand.owner);
        let mut told: Vec<Stand> = best.filter(is_new).take(ranked).collect();
        let owners: Vec<u64> = told.iter().map(|stand| stand.owner).collect();
        let his = halves(whom.member.node.as_bytes())[0];
        let is_left =
            |stand: &Stand| is_new(stand) && stand.owner != his && !owners.contains(&stand.owner);
        told.extend(self.some(salt, count - told.len(), is_left));
        told
    }

    /// Some by their lots, of those that are so.
    pub(crate) fn some(
        &self,
        salt: u64,
        count: usize,
        is_so: impl Fn(&Stand) -> bool,
    ) -> Vec<Stand> {
        let mut some: Vec<&Known> =
            self.known.values().filter(|known| is_so(&known.stand)).collect();
        some.sort_by_cached_key(|known| lot(known.member.node, salt));
        some.truncate(count);
        some.into_iter().map(|known| known.stand).collect()
    }

    /// Whom to meet in this round: of the `count` best that one that was not met for the longest
    /// time, those first that never were. In the same round nobody is met twice.
    pub(crate) fn meet(
        &mut self,
        me: &Descriptor,
        ranking: &Ranking,
        round: Round,
        count: usize,
    ) -> Option<NodeId> {
        let all = self.valid().map(Known::descriptor).collect();
        let best = ranking.best(me, all, count);
        let owners = best.iter().map(|it| it.member.node);
        let met = |owner: &NodeId| self.known[owner].met;
        let stalest = owners.filter(|owner| met(owner) != Some(round)).min_by_key(met)?;
        self.known.get_mut(&stalest).expect("it is among them").met = Some(round);
        Some(stalest)
    }

    /// Those who take part, by id.
    fn valid(&self) -> impl Iterator<Item = &Known> {
        self.known.values().filter(|known| !known.stand.is_withdrawn)
    }
}

/// How many stands are kept of one overlay.
pub(crate) const STANDS_MAX: usize = 64;

/// How many of them by lot.
const DRAWN: usize = 16;

/// Of those that are told one in so many is drawn by lot.
const DRAWN_PART: usize = 8;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::zones::row::tests::round;
    use live_objects::Incarnation;
    use live_objects::overlay::{KNearest, Ring, Tree};
    use proptest::prelude::*;

    pub(crate) fn profiles() -> impl Strategy<Value = Profile> {
        prop::collection::vec(-1e9..1e9, 1..=Profile::NUMBERS_MAX)
            .prop_map(|numbers: Vec<f64>| Profile::new(&numbers).unwrap())
    }

    /// Any that can be told in this round.
    pub(crate) fn stands(of: Round) -> impl Strategy<Value = Stand> {
        let age = 0..=u64::from(of).min(0x7fff);
        (any::<u64>(), any::<u16>(), age, profiles(), any::<bool>()).prop_map(
            move |(owner, life, age, profile, is_withdrawn)| Stand {
                owner,
                life,
                stamp: of.shifted(-(age as i64)),
                profile,
                is_withdrawn,
            },
        )
    }

    fn member(number: u16) -> Member {
        let node = NodeId::from_public_key(&number.to_be_bytes());
        Member { node, incarnation: Incarnation::from_bytes([1; 16]) }
    }

    fn half(number: u16) -> u64 {
        halves(member(number).node.as_bytes())[0]
    }

    /// Of a member that stands so many thousandths up.
    fn stand(number: u16, stamp: u64) -> Stand {
        let owner = half(number);
        let profile = Profile::new(&[f64::from(number) / 1_000.0]).unwrap();
        Stand { owner, life: 7, stamp: round(stamp), profile, is_withdrawn: false }
    }

    fn descriptor(number: u16) -> Descriptor {
        Descriptor { member: member(number), profile: stand(number, 1).profile }
    }

    fn known(numbers: impl Iterator<Item = u16>) -> Stands {
        let mut stands = Stands::new(member(0).node);
        for number in numbers {
            stands.take(stand(number, 5), member(number));
        }
        stands
    }

    #[test]
    fn the_later_word_of_an_owner_holds() {
        let mut stands = known(0..0);
        let mut take = |stand| stands.take(stand, member(1));
        assert_eq!(take(stand(1, 5)), Taken::New);
        assert_eq!(take(stand(1, 5)), Taken::No);
        assert_eq!(take(stand(1, 4)), Taken::No);
        assert_eq!(take(stand(1, 6)), Taken::Renewed);
        let moved = Profile::new(&[0.5]).unwrap();
        assert_eq!(take(Stand { profile: moved, ..stand(1, 7) }), Taken::New);
        assert_eq!(take(Stand { is_withdrawn: true, ..stand(1, 8) }), Taken::New);
        assert_eq!(take(stand(1, 7)), Taken::No, "it left");
        assert_eq!(take(Stand { life: 8, ..stand(1, 1) }), Taken::New);
        assert_eq!(stands.count(), 1);
        assert!(stands.forget(member(1).node) && !stands.forget(member(1).node));
    }

    #[test]
    fn the_best_are_kept_and_some_by_lot() {
        let mut stands = known(0..0);
        let (me, ranking) = (descriptor(0), Ranking::new(Ring));
        for number in 1..1_000 {
            stands.take(stand(number, 5), member(number));
            stands.trim(&me, &ranking);
        }
        assert!((STANDS_MAX - DRAWN..=STANDS_MAX).contains(&stands.count()));
        let near = (1..=24).chain(976..1_000);
        assert!(near.into_iter().all(|near| stands.descriptor(member(near).node).is_some()));
        let neighbours = stands.neighbours(&me, &ranking);
        assert_eq!(neighbours, [1, 999].map(descriptor));
        stands.take(Stand { is_withdrawn: true, ..stand(1, 6) }, member(1));
        assert_eq!(stands.neighbours(&me, &ranking), [2, 999].map(descriptor));
        stands.forget_all();
        assert_eq!(stands.neighbours(&me, &ranking), []);
    }

    /// Of all that were ever heard of, in whatever order.
    #[test]
    fn the_right_neighbours_are_never_forgotten_for_others() {
        let by_id = |number| {
            let member = member(number);
            Descriptor { member, profile: Profile::of_node(member.node) }
        };
        let mut all: Vec<Descriptor> = (1..300).map(by_id).collect();
        all.sort_by_key(|it| it.member.node);
        for ranking in [Ranking::new(Ring), Ranking::new(Tree), Ranking::new(KNearest::<4>)] {
            for number in 300..340 {
                let me = by_id(number);
                let mut stands = Stands::new(me.member.node);
                let others = all.iter().cycle().skip(usize::from(number) * 7);
                for Descriptor { member, profile } in others.take(all.len()).copied() {
                    let owner = halves(member.node.as_bytes())[0];
                    stands.take(Stand { owner, profile, ..stand(1, 5) }, member);
                    stands.trim(&me, &ranking);
                }
                let right = ranking.choose(&me, &all).into_iter().map(|index| all[index]);
                assert_eq!(stands.neighbours(&me, &ranking), right.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn each_is_told_what_is_best_for_him() {
        let (stands, ranking) = (known(1..50), Ranking::new(KNearest::<4>));
        let told = |salt, knows: &[u64]| -> Vec<u64> {
            let told = stands.best_for(Whom { at: descriptor(30), knows }, &ranking, salt, 8);
            told.iter().map(|stand| stand.owner).collect()
        };
        let owners = told(1, &[]);
        assert!([27, 28, 29, 31, 32, 33].iter().all(|near| owners.contains(&half(*near))));
        assert!(owners.len() == 8 && !owners.contains(&half(30)));
        assert!((2..9).any(|salt| told(salt, &[]) != owners), "one is drawn by lot");
        assert!(!told(1, &[half(29)]).contains(&half(29)), "he knows him");
        assert_eq!(
            stands.best_for(Whom { at: descriptor(1), knows: &[] }, &ranking, 1, 99).len(),
            48
        );
    }

    #[test]
    fn the_best_are_met_in_turn() {
        let (mut stands, ranking) = (known(1..50), Ranking::new(KNearest::<4>));
        let mut meet = |at| stands.meet(&descriptor(0), &ranking, round(at), 3);
        let [first, second] = [9, 9].map(&mut meet);
        let third = meet(10);
        assert_eq!([first, second, third], [1, 2, 3].map(|number| Some(member(number).node)));
        assert_eq!([11, 11, 11, 11].map(meet), [first, second, third, None]);
    }

    #[test]
    fn old_stands_are_forgotten() {
        let mut stands = known(0..0);
        for number in 1..=9 {
            stands.take(stand(number, number.into()), member(number));
        }
        assert!(stands.expire(round(14), 10));
        assert_eq!(stands.count(), 6);
        assert!(!stands.expire(round(14), 10));
    }
}
