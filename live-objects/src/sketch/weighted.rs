//! The mean of some values of which some count for more than others.
//!
//! It is the sum of each value times its weight, over the sum of the weights. Two numbers that are
//! told in two aggregates would be of different moments, and their quotient of none.
//!
//! Invariant: both numbers are finite, and no weight is below 0.

use thiserror::Error;

use super::moments::stay_finite;
use crate::aggregate::{NotFinite, finite};

/// Some values with their weights.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Weighted {
    /// Each value times its weight, added up.
    pub sum: f64,
    /// All weights.
    pub weight: f64,
}

impl Weighted {
    /// A value that counts for so much.
    pub fn new(value: f64, weight: f64) -> Result<Self, WeightError> {
        if !weight.is_finite() || weight < 0.0 {
            return Err(WeightError::Weight(weight));
        }
        Ok(Self { sum: finite(finite(value)? * weight)?, weight })
    }

    /// The two as one.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self {
            sum: stay_finite(self.sum + other.sum),
            weight: stay_finite(self.weight + other.weight),
        }
    }

    /// What a unit of weight has in the mean. None where nothing has any.
    pub fn mean(self) -> Option<f64> {
        (self.weight > 0.0).then(|| stay_finite(self.sum / self.weight))
    }
}

/// A value and a weight that cannot be a share. Nothing changed.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum WeightError {
    /// The value, or what it comes to with its weight.
    #[error(transparent)]
    Value(#[from] NotFinite),
    /// The weight.
    #[error("a weight of {0}: choose a finite one, 0 or more")]
    Weight(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weighs_more_counts_for_more() {
        let all = [(1.0, 3.0), (5.0, 1.0), (100.0, 0.0)].map(|(v, w)| Weighted::new(v, w).unwrap());
        let [one, two, none] = all;
        assert_eq!(one.joined(two).joined(none).mean(), Some(2.0));
        assert_eq!(one.joined(two), two.joined(one));
        assert_eq!((none.mean(), Weighted::default().mean()), (None, None));
    }

    #[test]
    fn what_cannot_be_weighed_is_refused() {
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Weighted::new(1.0, weight), Err(WeightError::Weight(_))), "{weight}");
        }
        for (value, weight) in [(f64::NAN, 1.0), (f64::INFINITY, 0.0), (1e300, 1e300)] {
            assert!(matches!(Weighted::new(value, weight), Err(WeightError::Value(_))), "{value}");
        }
        let most = Weighted::new(f64::MAX, 1.0).unwrap();
        assert_eq!(most.joined(most), Weighted { sum: f64::MAX, weight: 2.0 });
        let least = Weighted { sum: f64::MAX, weight: f64::MIN_POSITIVE };
        assert_eq!(least.mean(), Some(f64::MAX), "no infinite mean");
    }
}
