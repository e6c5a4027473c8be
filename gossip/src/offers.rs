//! Offers: who offers itself under one name, as far as a node knows.
//!
//! Nobody knows all offers. As in T-Man (Jelasity, Montresor and Babaoglu, Computer Networks 53,
//! 2009) a node keeps those that rank best by its own distance, and tells others those of them that
//! rank best by theirs, so that each finds its neighbours by way of neighbours. Some are kept by a
//! lot of the node's own, whatever their distance, so that worlds that began apart come together.
//! (T-Man takes its random ones from a service for peers; here they are the ones whose hash with
//! this node's is the least, which is as even a choice among all that were ever heard of.)
//!
//! An offer carries the round in which its owner last said so, its *stamp*: of two the later holds,
//! and one that is too old is forgotten. What is withdrawn is an offer without a load, told and
//! forgotten like any other.
//!
//! Invariant: at most [`OFFERS_MAX`] are kept, each owner's once, and none of this node.

use std::collections::BTreeMap;

use core::time::Duration;

use live_objects::{Load, NodeId};

use crate::coordinate::Coordinate;
use crate::digest::{halves, mix};
use crate::zones::row::Round;

/// What a member offers, or withdrew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offer {
    pub(crate) owner: NodeId,
    /// A short hash of the owner's incarnation: what was offered in a former life does not hold.
    pub(crate) life: u16,
    pub(crate) stamp: Round,
    pub(crate) coordinate: Coordinate,
    /// None if it is withdrawn.
    pub(crate) load: Option<Load>,
}

/// What is known of the offers under one name.
pub(crate) struct Offers {
    me: NodeId,
    known: BTreeMap<NodeId, Offer>,
}

/// What became of an offer that was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// Nothing was known of it, or the opposite.
    New,
    /// It is known by a later stamp now.
    Renewed,
    /// It was known, or others are kept.
    No,
}

impl Offers {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self { me, known: BTreeMap::new() }
    }

    /// All, withdrawn or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Offer> {
        self.known.values()
    }

    /// Those that hold.
    pub(crate) fn valid(&self) -> impl Iterator<Item = &Offer> {
        self.all().filter(|offer| offer.load.is_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes an offer in; `distance` is from here, as far as that is known.
    pub(crate) fn take(&mut self, offer: Offer, distance: impl Fn(&Offer) -> Duration) -> Taken {
        assert_ne!(offer.owner, self.me, "a node knows itself what it offers");
        let known = self.known.get(&offer.owner).copied();
        if known.is_some_and(|known| known.life == offer.life && known.stamp >= offer.stamp) {
            return Taken::No;
        }
        self.known.insert(offer.owner, offer);
        if self.known.len() > OFFERS_MAX {
            let least = self.least(distance);
            self.known.remove(&least);
            if least == offer.owner {
                return Taken::No;
            }
        }
        let is_same = known.is_some_and(|known| known.load.is_some() == offer.load.is_some());
        if is_same { Taken::Renewed } else { Taken::New }
    }

    /// A member is gone, or is in another life. Tells whether anything was known of it.
    pub(crate) fn forget(&mut self, owner: NodeId) -> bool {
        self.known.remove(&owner).is_some()
    }

    /// What is older than so many rounds is forgotten, and what is ahead of this one.
    pub(crate) fn expire(&mut self, round: Round, rounds_max: u64) -> bool {
        let before = self.known.len();
        self.known.retain(|_, offer| {
            round.since(offer.stamp.into()) <= rounds_max && !offer.stamp.is_ahead_of(round)
        });
        self.known.len() < before
    }

    /// What is of most use to someone, the best first, and then one by its lot. `distance` is from
    /// there; without it all go by their lots.
    pub(crate) fn best_for(
        &self,
        whom: NodeId,
        salt: u64,
        distance: Option<impl Fn(&Offer) -> Duration>,
        count: usize,
    ) -> Vec<Offer> {
        let others = || self.all().filter(|offer| offer.owner != whom);
        let mut best: Vec<&Offer> = Vec::new();
        if let Some(distance) = distance {
            best = others().collect();
            best.sort_by_cached_key(|offer| (distance(offer), offer.owner));
            best.truncate(count.saturating_sub(1));
        }
        let mut rest: Vec<&Offer> =
            others().filter(|offer| best.iter().all(|it| it.owner != offer.owner)).collect();
        rest.sort_by_cached_key(|offer| lot(offer.owner, salt));
        rest.truncate(count - best.len());
        best.into_iter().chain(rest).copied().collect()
    }

    /// The one that is to go: the furthest but for those that are kept by lot.
    fn least(&self, distance: impl Fn(&Offer) -> Duration) -> NodeId {
        let salt = halves(self.me.as_bytes())[1];
        let mut owners: Vec<NodeId> = self.known.keys().copied().collect();
        owners.sort_by_cached_key(|owner| lot(*owner, salt));
        let others = owners[DRAWN..].iter().map(|owner| &self.known[owner]);
        let furthest = others.max_by_key(|offer| (distance(offer), offer.owner));
        furthest.expect("more are known than are kept by lot").owner
    }
}

/// A hash by which some are as good as any others.
pub(crate) fn lot(owner: NodeId, salt: u64) -> u64 {
    let [high, low] = halves(owner.as_bytes());
    mix(high ^ mix(low ^ mix(salt)))
}

/// How many offers are kept under one name.
pub(crate) const OFFERS_MAX: usize = 32;

/// How many of them by lot.
const DRAWN: usize = 8;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::coordinate::DIMENSIONS;
    use crate::coordinate::tests::coordinates;
    use crate::zones::row::tests::round;
    use proptest::prelude::*;

    pub(crate) fn loads() -> impl Strategy<Value = Option<Load>> {
        let loads = prop::num::f32::POSITIVE | prop::num::f32::ZERO;
        prop::option::of(loads.prop_filter_map("finite", |load| Load::new(load).ok()))
    }

    /// Any that can be told in this round.
    pub(crate) fn offers(of: Round) -> impl Strategy<Value = Offer> {
        let age = 0..=u64::from(of).min(0x7fff);
        (any::<[u8; 16]>(), any::<u16>(), age, coordinates(), loads()).prop_map(
            move |(owner, life, age, coordinate, load)| Offer {
                owner: NodeId::from_bytes(owner),
                life,
                stamp: of.shifted(-(age as i64)),
                coordinate,
                load,
            },
        )
    }

    fn node(number: u16) -> NodeId {
        NodeId::from_public_key(&number.to_be_bytes())
    }

    /// The offer of a node that stands so many steps from the origin.
    fn offer(number: u16, stamp: u64) -> Offer {
        let mut axes = [0; DIMENSIONS];
        axes[0] = number as i16 * 32;
        let coordinate = Coordinate { axes, height: 64, error: 9 };
        let load = Some(Load::IDLE);
        Offer { owner: node(number), life: 7, stamp: round(stamp), coordinate, load }
    }

    fn from_origin(offer: &Offer) -> Duration {
        offer.coordinate.distance(&Coordinate { axes: [0; DIMENSIONS], height: 64, error: 9 })
    }

    fn take(offers: &mut Offers, offer: Offer) -> Taken {
        offers.take(offer, from_origin)
    }

    #[test]
    fn the_later_word_of_an_owner_holds() {
        let mut offers = Offers::new(node(0));
        assert_eq!(take(&mut offers, offer(1, 5)), Taken::New);
        assert_eq!(take(&mut offers, offer(1, 5)), Taken::No);
        assert_eq!(take(&mut offers, offer(1, 4)), Taken::No);
        assert_eq!(take(&mut offers, offer(1, 6)), Taken::Renewed);
        assert_eq!(take(&mut offers, Offer { load: None, ..offer(1, 7) }), Taken::New);
        assert_eq!(take(&mut offers, offer(1, 6)), Taken::No, "it is withdrawn");
        assert_eq!((offers.valid().count(), offers.all().count()), (0, 1));
        assert_eq!(take(&mut offers, offer(1, 8)), Taken::New);
        assert_eq!(take(&mut offers, Offer { life: 8, ..offer(1, 1) }), Taken::Renewed);
        assert!(offers.forget(node(1)) && !offers.forget(node(1)) && offers.is_empty());
    }

    #[test]
    fn the_nearest_are_kept_and_some_by_lot() {
        let mut offers = Offers::new(node(0));
        for number in (1..=500).rev() {
            take(&mut offers, offer(number, 5));
        }
        assert_eq!(offers.all().count(), OFFERS_MAX);
        assert!((1..=24).all(|number| offers.all().any(|offer| offer.owner == node(number))));
        assert_eq!(take(&mut offers, offer(499, 6)), Taken::No, "others are kept");
        let far = |offers: &Offers| -> Vec<NodeId> {
            let far = offers.all().filter(|it| from_origin(it) > Duration::from_millis(100));
            far.map(|offer| offer.owner).collect()
        };
        assert!(far(&offers).len() >= 4);
        let mut other = Offers::new(node(999));
        for number in 1..=500 {
            take(&mut other, offer(number, 5));
        }
        assert_ne!(far(&offers), far(&other), "each has a lot of its own");
    }

    #[test]
    fn each_is_told_what_is_near_to_him() {
        let mut offers = Offers::new(node(0));
        for number in 1..=20 {
            take(&mut offers, offer(number, 5));
        }
        let there = offer(15, 5).coordinate;
        let distance = |offer: &Offer| offer.coordinate.distance(&there);
        let told = offers.best_for(node(15), 1, Some(distance), 4);
        let owners: Vec<NodeId> = told.iter().map(|offer| offer.owner).collect();
        assert!([14, 16].iter().all(|near| owners[..2].contains(&node(*near))), "{owners:?}");
        assert!(owners.len() == 4 && !owners.contains(&node(15)));
        let any = |salt| offers.best_for(node(15), salt, None::<fn(&Offer) -> Duration>, 4);
        assert!(any(1).len() == 4 && any(1) != any(2));
        assert_eq!(offers.best_for(node(1), 1, Some(distance), 99).len(), 19);
    }

    #[test]
    fn old_offers_are_forgotten() {
        let mut offers = Offers::new(node(0));
        for number in 1..=9 {
            take(&mut offers, offer(number, number.into()));
        }
        assert!(offers.expire(round(14), 10));
        assert_eq!(offers.all().map(|offer| u64::from(offer.stamp)).min(), Some(4));
        assert!(!offers.expire(round(14), 10));
    }
}
