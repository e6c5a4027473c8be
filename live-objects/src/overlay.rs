//! Overlays: who has whom for a neighbour, by a rank function.
//!
//! Each member of an overlay tells its *profile*, a point of a few numbers, and a [`Rank`] says
//! which of others are the right neighbours for one that stands there. That is the ranking method
//! of T-Man (Jelasity, Montresor and Babaoglu, "T-Man: Gossip-based fast overlay topology
//! construction", Computer Networks 53, 2009, section 3), but that a function picks the first few,
//! and who comes after them is whom it would pick without them. So a ring can have one neighbour on
//! each side, which no distance to the member tells apart.
//!
//! A rank is code. Its name is in the type of an overlay, so that who opens the same name by
//! another rank is refused, as for any other type; two ranks must not share one. The ready-made
//! ranks are in `overlay/ranks.rs`.
//!
//! Invariants: a profile has 1 to [`Profile::NUMBERS_MAX`] finite numbers; whatever a rank says,
//! [`Ranking::choose`] gives [`NEIGHBOURS_MAX`] different ones at most, of those that there are.

mod ranks;

use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

pub use self::ranks::{KNearest, Random, Ring, Tree};
use crate::node::{Member, NodeId};

/// The most neighbours of a member.
pub const NEIGHBOURS_MAX: usize = 16;

/// Where a member stands: a point. What its numbers mean is up to the rank.
#[derive(Clone, Copy, PartialEq)]
pub struct Profile {
    /// Beyond those that were given, zeros.
    numbers: [f64; Self::NUMBERS_MAX],
    len: u8,
}

/// Its numbers are finite.
impl Eq for Profile {}

impl Profile {
    /// The most numbers of a profile.
    pub const NUMBERS_MAX: usize = 4;

    /// The point of these numbers: 1 to [`Profile::NUMBERS_MAX`], all finite.
    pub fn new(numbers: &[f64]) -> Result<Self, NoProfile> {
        if numbers.is_empty() || numbers.len() > Self::NUMBERS_MAX {
            return Err(NoProfile::Len(numbers.len()));
        }
        if let Some(odd) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(NoProfile::Number(*odd));
        }
        let mut profile = Self { numbers: [0.0; Self::NUMBERS_MAX], len: numbers.len() as u8 };
        // A zero below zero is zero, so that equal profiles are written alike.
        for (held, number) in profile.numbers.iter_mut().zip(numbers) {
            *held = number + 0.0;
        }
        Ok(profile)
    }

    /// For whom any place is as good as another: its id, as a number from 0 to 1.
    pub fn of_node(node: NodeId) -> Self {
        let high = (u128::from_be_bytes(*node.as_bytes()) >> 64) as u64;
        // So many bits are exact, and the number stays below 1.
        let number = (high >> 11) as f64 / (1_u64 << 53) as f64;
        Self { numbers: [number, 0.0, 0.0, 0.0], len: 1 }
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[f64] {
        &self.numbers[..usize::from(self.len)]
    }

    /// One of its numbers, or 0 if it has not so many.
    pub fn number(&self, index: usize) -> f64 {
        self.numbers().get(index).copied().unwrap_or(0.0)
    }

    /// The square of how far another is away in a straight line.
    pub fn distance_squared(&self, other: &Self) -> f64 {
        let both = self.numbers.iter().zip(&other.numbers);
        both.map(|(one, other)| (one - other) * (one - other)).sum()
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}

/// Numbers cannot be a profile. Nothing changed.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum NoProfile {
    /// There are none, or too many.
    #[error("a profile of {0} numbers: choose 1 to {max}", max = Profile::NUMBERS_MAX)]
    Len(usize),
    /// One is infinite, or none.
    #[error("{0} cannot be in a profile: choose finite numbers")]
    Number(f64),
}

/// Who stands where. T-Man calls it a node descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Who.
    pub member: Member,
    /// Where.
    pub profile: Profile,
}

/// Which of others are the right neighbours of a member: the shape of an overlay.
///
/// For an overlay to come about as it should, whom it chooses must not depend on those that it does
/// not choose: without one of these it chooses the same. Then whoever knows the right ones among
/// others knows that they are right, and needs to know nobody else.
///
/// ```
/// use std::borrow::Cow;
/// use live_objects::overlay::{Descriptor, Rank};
///
/// /// A row of members from left to right: the next on each side.
/// #[derive(Debug)]
/// struct Row;
///
/// impl Rank for Row {
///     fn name(&self) -> Cow<'static, str> {
///         "example.row".into()
///     }
///
///     fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
///         let place = |index: &usize| others[*index].profile.number(0);
///         let mine = me.profile.number(0);
///         let all = 0..others.len();
///         let left = all.clone().filter(|index| place(index) < mine);
///         let right = all.filter(|index| place(index) > mine);
///         let next = [
///             left.max_by(|one, other| place(one).total_cmp(&place(other))),
///             right.min_by(|one, other| place(one).total_cmp(&place(other))),
///         ];
///         next.into_iter().flatten().collect()
///     }
/// }
/// ```
pub trait Rank: fmt::Debug + Send + Sync + 'static {
    /// What it is called in the types of overlays. Another name for another rule, or other numbers
    /// in it.
    fn name(&self) -> Cow<'static, str>;

    /// Whom `me` should have for neighbours, the first the most: by their places among `others`,
    /// [`NEIGHBOURS_MAX`] at most. `me` is not among them, each member is there once, and they are
    /// in the order of their ids.
    fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize>;
}

/// A rank as a value: as equal as its name.
#[derive(Clone, Debug)]
pub struct Ranking(Arc<dyn Rank>);

impl Ranking {
    /// By this rank.
    pub fn new(rank: impl Rank) -> Self {
        Self(Arc::new(rank))
    }

    /// The name of the rank.
    pub fn name(&self) -> Cow<'static, str> {
        self.0.name()
    }

    /// Whom `me` should have for neighbours, of others in the order of their ids. If a rank names
    /// one twice, or that is not there, or too many, this passes it over.
    pub fn choose(&self, me: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::new();
        for index in self.0.choose(me, others) {
            if index < others.len() && !chosen.contains(&index) && chosen.len() < NEIGHBOURS_MAX {
                chosen.push(index);
            }
        }
        chosen
    }

    /// The `count` best for `me`, the best first: those that it would choose, then those that it
    /// would choose without them, and so on.
    pub fn best(
        &self,
        me: &Descriptor,
        mut others: Vec<Descriptor>,
        count: usize,
    ) -> Vec<Descriptor> {
        let mut best = Vec::with_capacity(count.min(others.len()));
        while best.len() < count {
            let mut chosen = self.choose(me, &others);
            if chosen.is_empty() {
                break;
            }
            best.extend(chosen.iter().map(|index| others[*index]));
            chosen.sort_unstable();
            for index in chosen.into_iter().rev() {
                others.remove(index);
            }
        }
        best.truncate(count);
        best
    }
}

impl PartialEq for Ranking {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Ranking {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::node::Incarnation;

    /// Who stands there, of an id that begins and ends so.
    pub(crate) fn descriptor(first: u64, last: u64, numbers: &[f64]) -> Descriptor {
        let node = NodeId::from_bytes((u128::from(first) << 64 | u128::from(last)).to_be_bytes());
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Descriptor { member: Member { node, incarnation }, profile: Profile::new(numbers).unwrap() }
    }

    #[test]
    fn a_profile_is_a_few_finite_numbers() {
        let profile = Profile::new(&[1.5, -0.0]).unwrap();
        assert_eq!(profile.numbers(), [1.5, 0.0]);
        assert_eq!(profile.number(1).to_bits(), 0, "zeros are written alike");
        assert_eq!((profile.number(2), profile.number(99)), (0.0, 0.0));
        assert_eq!(Profile::new(&[]), Err(NoProfile::Len(0)));
        assert_eq!(Profile::new(&[0.0; 5]), Err(NoProfile::Len(5)));
        for odd in [f64::NAN, f64::INFINITY] {
            let refused = Profile::new(&[0.0, odd]).unwrap_err().to_string();
            assert!(refused.contains("choose finite numbers"), "{refused}");
        }
    }

    #[test]
    fn an_id_is_a_place_from_0_to_1() {
        let place = |bytes| Profile::of_node(NodeId::from_bytes(bytes)).number(0);
        assert_eq!(place([0; 16]), 0.0);
        assert!(place([0xff; 16]) < 1.0);
        let mut half = [0; 16];
        half[0] = 0x80;
        assert_eq!(place(half), 0.5);
    }

    /// A rank that goes wrong in every way.
    #[derive(Debug)]
    struct Wild;

    impl Rank for Wild {
        fn name(&self) -> Cow<'static, str> {
            "wild".into()
        }

        fn choose(&self, _: &Descriptor, others: &[Descriptor]) -> Vec<usize> {
            let all = (0..others.len()).rev();
            [usize::MAX, 0, 0].into_iter().chain(all).collect()
        }
    }

    #[test]
    fn whatever_a_rank_says_some_that_are_there_come_of_it() {
        let me = descriptor(0, 0, &[0.0]);
        let others: Vec<Descriptor> = (1..30).map(|id| descriptor(id, 0, &[0.0])).collect();
        let wild = Ranking::new(Wild);
        let chosen = wild.choose(&me, &others);
        assert_eq!((chosen.len(), chosen[0], chosen[1]), (NEIGHBOURS_MAX, 0, 28));
        assert!(wild.choose(&me, &[]).is_empty());
        assert_eq!(wild.best(&me, others.clone(), 99).len(), 29);
        assert_eq!(wild.best(&me, others, 3).len(), 3);
    }

    #[test]
    fn a_rank_is_as_equal_as_its_name() {
        assert_eq!(Ranking::new(KNearest::<8>), Ranking::new(KNearest::<8>));
        assert_ne!(Ranking::new(KNearest::<8>), Ranking::new(KNearest::<7>));
    }
}
