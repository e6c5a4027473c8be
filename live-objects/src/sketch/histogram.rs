//! How many values lie in each of some ranges that the application chose: exact.
//!
//! Counts can be added only where the ranges are the same. Of two histograms with others the one of
//! more values is kept, so that all come to the same, and who chose other bounds than most is not
//! counted.
//!
//! Invariant: bounds are finite, ascend, and there is one more count than there are bounds.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

use super::SketchError;
use crate::aggregate::{NotFinite, finite};
use crate::varint::{put_varint, take_varint, varint_len};

/// How many values lie up to each bound, and above all of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Histogram {
    bounds: Arc<[f64]>,
    counts: Box<[u64]>,
}

/// Bounds are never NaN.
impl Eq for Histogram {}

impl Histogram {
    /// The most bounds, so that a histogram fits into a packet whatever it counts.
    pub const BOUNDS_MAX: usize = 48;

    /// Of no values. The ranges are up to the first bound and with it, from there up to the second
    /// and with it, and so on, and above the last.
    pub fn new(bounds: &[f64]) -> Result<Self, BoundsError> {
        if bounds.len() > Self::BOUNDS_MAX {
            return Err(BoundsError::Many(bounds.len()));
        }
        let is_finite = bounds.iter().all(|bound| bound.is_finite());
        if !is_finite || !bounds.is_sorted_by(|one, next| one < next) {
            return Err(BoundsError::Order);
        }
        Ok(Self { bounds: bounds.into(), counts: vec![0; bounds.len() + 1].into() })
    }

    /// Counts a value in.
    pub fn record(&mut self, value: f64) -> Result<(), NotFinite> {
        let value = finite(value)?;
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at] = self.counts[at].saturating_add(1);
        Ok(())
    }

    /// Where ranges end.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// How many values lie in each range.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many values are in it.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    pub(super) fn prevails_over(&self, other: &Self) -> bool {
        let bounds = |it: &Self| it.bounds.iter().map(|bound| bound.to_bits()).collect::<Vec<_>>();
        (self.count(), bounds(self)) >= (other.count(), bounds(other))
    }

    pub(super) fn merged(&self, other: &Self) -> Self {
        if self.bounds != other.bounds {
            return if self.prevails_over(other) { self.clone() } else { other.clone() };
        }
        let both = self.counts.iter().zip(&other.counts);
        let counts = both.map(|(one, other)| one.saturating_add(*other)).collect();
        Self { bounds: Arc::clone(&self.bounds), counts }
    }

    pub(super) fn size(&self) -> usize {
        size_of_val(self.bounds()) + size_of_val(self.counts())
    }

    pub(super) fn encoded_len(&self) -> usize {
        1 + self.bounds.len() * 8
            + self.counts.iter().map(|count| varint_len(*count)).sum::<usize>()
    }

    /// ```text
    ///  bounds u8, bound f64 …, count v …
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.bounds.len() as u8);
        self.bounds.iter().for_each(|bound| out.put_f64(*bound));
        self.counts.iter().for_each(|count| put_varint(out, *count));
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        let len = usize::from(bytes.try_get_u8()?);
        let bounds: Result<Vec<f64>, _> = (0..len).map(|_| bytes.try_get_f64()).collect();
        let mut taken = Self::new(&bounds?)
            .map_err(|_| SketchError::Unsound("bounds that do not ascend, or too many"))?;
        for count in &mut taken.counts {
            *count = take_varint(bytes)?;
        }
        Ok(taken)
    }
}

/// Why values cannot be counted within such bounds. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BoundsError {
    /// There are too many.
    #[error("{0} bounds: choose {max} at most", max = Histogram::BOUNDS_MAX)]
    Many(usize),
    /// They do not ascend, or one is not finite.
    #[error("bounds have to ascend, and to be finite: put them in order, each once")]
    Order,
}

#[cfg(test)]
mod tests {
    use super::super::Sketch;
    use super::super::tests::{bytes, part_laws};
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Histogram {
        let mut sketch = Histogram::new(&[-1.0, 0.0, 2.5]).unwrap();
        values.iter().for_each(|value| sketch.record(*value).unwrap());
        sketch
    }

    proptest! {
        #[test]
        fn parts_merge(parts: [Vec<i8>; 3]) {
            let sketch = |values: &Vec<i8>| {
                of(&values.iter().map(|value| f64::from(*value) / 32.0).collect::<Vec<_>>())
            };
            let [one, two, three] = [0, 1, 2].map(|at| Sketch::Histogram(sketch(&parts[at])));
            part_laws(&[one.clone(), two.clone(), three.clone()])?;
            let whole = one.merged(&two).merged(&three);
            prop_assert_eq!(&whole, &one.merged(&two.merged(&three)));
            prop_assert_eq!(&whole, &Sketch::Histogram(sketch(&parts.concat())));
        }
    }

    #[test]
    fn values_lie_up_to_bounds_and_with_them() {
        let sketch = of(&[-7.0, -1.0, 0.0, 2.4, 2.5, 2.6, 1e9]);
        assert_eq!(sketch.counts(), [2, 1, 2, 2]);
        let golden = "03bff00000000000000000000000000000400400000000000002010202";
        assert_eq!(bytes(&Sketch::Histogram(sketch)), golden);
        assert_eq!(Histogram::new(&[]).unwrap().counts(), [0]);
    }

    #[test]
    fn of_two_with_other_ranges_the_larger_stays() {
        let mut other = Histogram::new(&[1.0]).unwrap();
        let one = of(&[5.0]);
        let both = |other: &Histogram| {
            assert_eq!(one.merged(other), other.merged(&one));
            one.merged(other)
        };
        assert_eq!(both(&other), one);
        (0..2).for_each(|_| other.record(1.0).unwrap());
        assert_eq!(both(&other), other);
        assert!(!Sketch::Histogram(one.clone()).mixes_with(&Sketch::Histogram(other.clone())));
    }

    #[test]
    fn the_largest_fits() {
        let bounds: Vec<f64> = (0..=Histogram::BOUNDS_MAX).map(|bound| bound as f64).collect();
        let error = Histogram::new(&bounds).expect_err("one too many");
        assert_eq!(error, BoundsError::Many(49));
        let mut most = Histogram::new(&bounds[1..]).unwrap();
        most.counts.fill(u64::MAX);
        assert!(most.encoded_len() <= Sketch::LEN_MAX, "{} bytes", most.encoded_len());
        assert_eq!(most.merged(&most), most);
    }

    #[test]
    fn damage_is_refused() {
        for bounds in [&[1.0, 1.0][..], &[2.0, 1.0], &[f64::NAN], &[f64::INFINITY]] {
            assert_eq!(Histogram::new(bounds), Err(BoundsError::Order));
        }
        let take = |bytes: &[u8]| Histogram::take(&mut &bytes[..]);
        assert!(take(&[0, 5]).is_ok());
        assert_eq!(take(&[0]), Err(SketchError::Truncated));
        assert!(take(&[&[1][..], &f64::NAN.to_be_bytes(), &[1, 1]].concat()).is_err());
    }
}
