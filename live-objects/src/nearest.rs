//! Nearest: what a member that offers itself says, and what one that asks is told.

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Incarnation, NodeId};

    #[test]
    fn a_load_is_a_number_that_can_be() {
        assert_eq!(Load::new(0.5).map(Load::number), Ok(0.5));
        assert_eq!(Load::new(-0.0).map(|load| load.number().to_bits()), Ok(0));
        assert_eq!(Load::new(-1.0), Err(NoLoad(-1.0)));
        assert!(Load::new(f32::NAN).is_err() && Load::new(f32::INFINITY).is_err());
    }

    #[test]
    fn a_loaded_member_loses_to_an_idle_one_a_bit_further_away() {
        let near = |millis, load| Near {
            member: Member {
                node: NodeId::from_bytes([1; NodeId::LEN]),
                incarnation: Incarnation::from_bytes([1; Incarnation::LEN]),
            },
            round_trip: Duration::from_millis(millis),
            error: Duration::ZERO,
            is_measured: true,
            foretold: Duration::ZERO,
            load: Load::new(load).unwrap(),
        };
        assert!(near(15, 0.0).cost() < near(10, 1.0).cost());
        assert!(near(15, 0.0).cost() > near(10, 0.25).cost());
        assert_eq!(near(u64::MAX / 2_000_000, f32::MAX).cost(), Duration::from_nanos(u64::MAX));
    }
}
