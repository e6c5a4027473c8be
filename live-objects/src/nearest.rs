//! Nearest: what a member that offers itself says, and what one that asks is told.
//!
//! How near is not all: if each takes the nearest, one that is near to many is taken by all of
//! them. So whoever asks may name an aggregate, the mean of all loads, and members well above it
//! are passed over. The bound is that of consistent hashing with bounded loads (Mirrokni, Thorup
//! and Zadimoghaddam, SODA 2018), where no server takes more than 1 + ε times the mean, and what
//! would be more goes to the next one. There one that is full takes nothing; here, where far may be
//! far worse than loaded, one that is much nearer is taken all the same.

use core::time::Duration;

use thiserror::Error;

use crate::node::Member;

/// How loaded a member is that offers itself: 0 if it is idle, and it counts as one round trip
/// further away for each 1 that it has. A number that is finite and not below 0.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Load(f32);

/// It is never NaN.
impl Eq for Load {}

impl Load {
    /// Of a member that is idle.
    pub const IDLE: Self = Self(0.0);

    /// The number, if it is a load.
    pub const fn new(number: f32) -> Result<Self, NoLoad> {
        // A zero below zero is zero, so that equal loads are written alike.
        if number == 0.0 {
            Ok(Self::IDLE)
        } else if number.is_finite() && number > 0.0 {
            Ok(Self(number))
        } else {
            Err(NoLoad(number))
        }
    }

    /// The number.
    pub const fn number(self) -> f32 {
        self.0
    }
}

/// A number cannot be a load. Nothing changed.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
#[error("{0} cannot be a load: choose a finite number, 0 or above")]
pub struct NoLoad(f32);

/// A member that offers itself, as this node knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Near {
    /// Who.
    pub member: Member,
    /// How long a round trip to it takes: as was measured, or else as its coordinate foretells.
    pub round_trip: Duration,
    /// By how much that may be off.
    pub error: Duration,
    /// Whether it was measured.
    pub is_measured: bool,
    /// What its coordinate foretells, measured or not.
    pub foretold: Duration,
    /// What it said of its load.
    pub load: Load,
}

impl Near {
    /// By what it is ranked: its round trip, and that again for each 1 of its load.
    pub fn cost(&self) -> Duration {
        let nanos = self.round_trip.as_nanos() as f64 * (1.0 + f64::from(self.load.number()));
        // A cast saturates.
        Duration::from_nanos(nanos as u64)
    }

    /// Puts members in order, the best first: by their [cost](Self::cost), those behind all others
    /// whose load is above [`BALANCE`](Self::BALANCE) times the mean, unless the best of the others
    /// costs [`MUCH_NEARER`](Self::MUCH_NEARER) times as much as they do or more.
    pub fn balance(all: &mut [Self], mean: Option<f64>) {
        let bound = mean.map_or(f64::INFINITY, |mean| mean * Self::BALANCE);
        let is_above = |near: &Self| f64::from(near.load.number()) > bound;
        let best = all.iter().filter(|near| !is_above(near)).map(Self::cost).min();
        let is_passed_over = |near: &Self| {
            is_above(near)
                && best.is_some_and(|best| near.cost().saturating_mul(Self::MUCH_NEARER) > best)
        };
        all.sort_by_cached_key(|near| (is_passed_over(near), near.cost(), near.member.node));
    }

    /// By how much the load of one that is taken may be above the mean of all.
    pub const BALANCE: f64 = 1.25;
    /// How many times nearer one is that is taken whatever its load.
    pub const MUCH_NEARER: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Incarnation, NodeId};

    fn near(millis: u64, load: f32) -> Near {
        Near {
            member: Member {
                node: NodeId::from_bytes([1; NodeId::LEN]),
                incarnation: Incarnation::from_bytes([1; Incarnation::LEN]),
            },
            round_trip: Duration::from_millis(millis),
            error: Duration::ZERO,
            is_measured: true,
            foretold: Duration::ZERO,
            load: Load::new(load).unwrap(),
        }
    }

    #[test]
    fn who_is_above_the_mean_is_passed_over_unless_it_is_much_nearer() {
        let order = |mean: Option<f64>, mut all: Vec<Near>| {
            Near::balance(&mut all, mean);
            let millis = all.iter().map(|near| near.round_trip.as_millis());
            millis.collect::<Vec<_>>()
        };
        let (light, heavy) = (near(40, 0.5), near(15, 1.3));
        assert_eq!(order(None, vec![light, heavy]), [15, 40]);
        assert_eq!(order(Some(1.0), vec![heavy, light]), [40, 15]);
        assert_eq!(order(Some(1.04), vec![light, heavy]), [15, 40], "1.3 is 1.25 times that");
        // For 3 times 10 there is one for 60 or more, and that is twice as far.
        assert_eq!(order(Some(1.0), vec![light, near(10, 2.0)]), [10, 40]);
        assert_eq!(order(Some(1.0), vec![near(39, 0.5), near(10, 2.0)]), [39, 10]);
        assert_eq!(order(Some(0.0), vec![near(10, 0.1), near(20, 0.0)]), [20, 10]);
        let all = vec![near(30, 9.0), near(20, 9.0)];
        assert_eq!(order(Some(1.0), all), [20, 30], "where all are above, nobody is passed over");
        let far = near(u64::MAX / 2_000_000, f32::MAX);
        assert_eq!(order(Some(1.0), vec![far, light]), [40, far.round_trip.as_millis()]);
    }

    #[test]
    fn a_load_is_a_number_that_can_be() {
        assert_eq!(Load::new(0.5).map(Load::number), Ok(0.5));
        assert_eq!(Load::new(-0.0).map(|load| load.number().to_bits()), Ok(0));
        assert_eq!(Load::new(-1.0), Err(NoLoad(-1.0)));
        assert!(Load::new(f32::NAN).is_err() && Load::new(f32::INFINITY).is_err());
    }

    #[test]
    fn a_loaded_member_loses_to_an_idle_one_a_bit_further_away() {
        assert!(near(15, 0.0).cost() < near(10, 1.0).cost());
        assert!(near(15, 0.0).cost() > near(10, 0.25).cost());
        assert_eq!(near(u64::MAX / 2_000_000, f32::MAX).cost(), Duration::from_nanos(u64::MAX));
    }
}
