//! The mean of some numbers, and how far they are from it.
//!
//! Moments are merged as Chan, Golub and LeVeque do it (1979): each side has its mean and the sum
//! of squares around that. Their square around the common mean is what the two means' distance
//! adds. (The sums of the values and of their squares, which would do too, cancel each other out
//! where the mean is large.) The common mean is the weighted one, as they advise for sides of about
//! the same size; that is also the same from both sides.
//!
//! Invariant: both numbers stay finite, if they are.

/// The mean of some numbers, and the sum of the squares of how far they are from it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The sum of squares.
    pub squares: f64,
}

impl Moments {
    /// Of `count` numbers and `others` more as one. There is one at least.
    pub fn merged(self, count: f64, other: Self, others: f64) -> Self {
        let all = count + others;
        let (one, two) = (count / all, others / all);
        let apart = self.mean - other.mean;
        let squares = (self.squares + other.squares) + (apart * apart) * (one * two) * all;
        Self {
            mean: stay_finite(self.mean * one + other.mean * two),
            squares: stay_finite(squares),
        }
    }
}

/// A sum of finite numbers may be infinite, and is never NaN.
pub(super) fn stay_finite(sum: f64) -> f64 {
    sum.clamp(f64::MIN, f64::MAX)
}
