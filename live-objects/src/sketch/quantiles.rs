//! Where values lie: DDSketch (Masson, Rim and Lee, PVLDB 12(12), 2019).
//!
//! A value is counted in the bucket of its logarithm. Buckets grow by the factor γ = (1 + α) / (1 -
//! α), and the one that a quantile is in tells it to a relative error of α, here 1 %. Buckets of
//! negative values lie mirrored below the one of 0, so that keys are in the order of the values.
//! Merging adds counts, and is exact.
//!
//! Where there are too many buckets the lowest *collapse* into one, as in the paper (section 2.2),
//! which goes by their number. A part goes by its bytes: most counts are small, so that a part
//! holds some 400 to 900 buckets where a bound by number would have to allow for the longest. Parts
//! are interleaved: a bucket is in the part of its key modulo [`Quantiles::PARTS`]. Quantiles above
//! what collapsed are not touched.
//!
//! Crates such as `sketches-ddsketch` are not used: they bound bins by number and keep them to
//! themselves, and what comes out of them has no bound in bytes.
//!
//! Invariant: keys ascend, no count is 0, and a part is at most [`Sketch::LEN_MAX`] bytes long.

use bytes::{Buf, BufMut, BytesMut};

use super::{Sketch, SketchError};
use crate::aggregate::{NotFinite, finite};
use crate::varint::{VARINT_LEN_MAX, put_varint, take_varint, varint_len};

/// How many of some values lie where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quantiles {
    /// Counts by key.
    buckets: Vec<(i32, u64)>,
    /// Whether the lowest bucket holds values that lie lower.
    is_collapsed: bool,
}

impl Quantiles {
    /// By how much a quantile may be off, as a part of it.
    pub const ERROR: f64 = 0.01;
    /// The most buckets of a share: sixteen orders of magnitude. Of more the lowest collapse.
    pub const BUCKETS_MAX: usize = 2_048;
    pub(crate) const PARTS: u8 = 4;

    /// Of no values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a value in.
    pub fn record(&mut self, value: f64) -> Result<(), NotFinite> {
        let key = key(finite(value)?);
        match self.buckets.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(1),
            Err(at) => self.buckets.insert(at, (key, 1)),
        }
        self.collapse(Self::BUCKETS_MAX);
        Ok(())
    }

    /// How many values are in it.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The value below which this part of them lies, from 0 to 1: of n values in order, counted
    /// from 0, the one at q (n - 1), rounded down. None if there are none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        let last = self.count().checked_sub(1)?;
        let rank = (q * last as f64) as u64;
        let mut below: u64 = 0;
        let is_beyond = |(_, count): &&(i32, u64)| {
            below = below.saturating_add(*count);
            below > rank
        };
        self.buckets.iter().find(is_beyond).or(self.buckets.last()).map(|(key, _)| value(*key))
    }

    /// Whether a quantile may be off by more than [`Quantiles::ERROR`], since it is so low that it
    /// was not kept where.
    pub fn is_collapsed_at(&self, q: f64) -> bool {
        self.is_collapsed && self.quantile(q) == self.quantile(0.0)
    }

    /// How many values lie where: the middle of each bucket, ascending, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.buckets.iter().map(|(key, count)| (value(*key), *count))
    }

    /// What all parts are parts of.
    pub(crate) fn whole<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut whole = Self::new();
        for part in parts {
            whole.buckets.extend(&part.buckets);
            whole.is_collapsed |= part.is_collapsed;
        }
        whole.buckets.sort_unstable_by_key(|(key, _)| *key);
        whole
    }

    pub(super) fn is_of_part(&self, part: u8) -> bool {
        self.buckets.iter().all(|(key, _)| is_in(*key, part))
    }

    pub(super) fn parts(&self) -> Vec<Self> {
        let of = |part: u8| {
            let is_in = |(key, _): &&(i32, u64)| is_in(*key, part);
            let buckets = self.buckets.iter().filter(is_in).copied().collect();
            Self { buckets, is_collapsed: self.is_collapsed }.shrunk()
        };
        (0..Self::PARTS).map(of).collect()
    }

    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut both = self.sum(other);
        both.collapse(Self::BUCKETS_MAX);
        both
    }

    pub(super) fn merged(&self, other: &Self) -> Self {
        self.sum(other).shrunk()
    }

    pub(super) fn size(&self) -> usize {
        size_of_val(self.buckets.as_slice())
    }

    fn sum(&self, other: &Self) -> Self {
        let mut buckets = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        let (mut one, mut two) = (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        loop {
            let bucket = match (one.peek(), two.peek()) {
                (Some((key, count)), Some((same, more))) if key == same => {
                    let both = (*key, count.saturating_add(*more));
                    one.next();
                    two.next();
                    both
                }
                (Some(lower), Some(higher)) if lower.0 < higher.0 => *one.next().expect("peeked"),
                (_, Some(_)) => *two.next().expect("peeked"),
                (Some(_), None) => *one.next().expect("peeked"),
                (None, None) => break,
            };
            buckets.push(bucket);
        }
        Self { buckets, is_collapsed: self.is_collapsed | other.is_collapsed }
    }

    /// Keeps so many buckets.
    fn collapse(&mut self, buckets_max: usize) {
        let Some(over) = self.buckets.len().checked_sub(buckets_max).filter(|over| *over > 0)
        else {
            return;
        };
        let lowest = self.buckets.drain(..over);
        let count = lowest.fold(0_u64, |sum, (_, count)| sum.saturating_add(count));
        self.buckets[0].1 = self.buckets[0].1.saturating_add(count);
        self.is_collapsed = true;
    }

    /// Keeps as many buckets as fit into a part.
    fn shrunk(mut self) -> Self {
        if self.encoded_len() > Sketch::LEN_MAX {
            // The lowest that is kept may get any count.
            let mut len = HEAD_LEN_MAX + VARINT_LEN_MAX;
            let mut kept = 1;
            for pair in self.buckets.windows(2).rev() {
                len += bucket_len(pair[0].0, pair[1]);
                if len > Sketch::LEN_MAX {
                    break;
                }
                kept += 1;
            }
            self.collapse(kept);
        }
        self
    }

    pub(super) fn encoded_len(&self) -> usize {
        let Some((first, count)) = self.buckets.first() else { return 1 };
        let rest = self.buckets.windows(2).map(|pair| bucket_len(pair[0].0, pair[1]));
        1 + varint_len(zigzag(*first)) + varint_len(*count) + rest.sum::<usize>()
    }

    /// ```text
    ///  collapsed u8, and if there is a bucket: key z, count v, and of each further one:
    ///  count × 2 v, of a key that is PARTS above the last, or count × 2 + 1 v, steps beyond that v
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.is_collapsed.into());
        let Some((first, count)) = self.buckets.first() else { return };
        put_varint(out, zigzag(*first));
        put_varint(out, *count);
        for pair in self.buckets.windows(2) {
            let [(before, _), (key, count)] = [pair[0], pair[1]];
            let steps = steps(before, key);
            put_varint(out, doubled(count) | u64::from(steps > 0));
            if steps > 0 {
                put_varint(out, steps);
            }
        }
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        let is_collapsed = match bytes.try_get_u8()? {
            0 => false,
            1 => true,
            _ => return Err(SketchError::Unsound("a flag that is none")),
        };
        let mut buckets = Vec::new();
        if !bytes.is_empty() {
            let first = take_varint(bytes)?;
            let first = (first >> 1) as i64 ^ -((first & 1) as i64);
            buckets.push((checked(first)?, counted(take_varint(bytes)?)?));
        }
        while let Some((before, _)) = buckets.last().copied().filter(|_| !bytes.is_empty()) {
            let count = take_varint(bytes)?;
            let steps = if count & 1 == 0 { 0 } else { take_varint(bytes)?.min(KEY_MAX as u64) };
            let key = i64::from(before) + i64::from(STEP) * (steps as i64 + 1);
            buckets.push((checked(key)?, counted(count >> 1)?));
        }
        Ok(Self { buckets, is_collapsed })
    }
}

/// Whether a bucket is in a part.
fn is_in(key: i32, part: u8) -> bool {
    key.rem_euclid(STEP) == i32::from(part)
}

/// What a bucket takes after the one before it.
fn bucket_len(before: i32, (key, count): (i32, u64)) -> usize {
    let steps = steps(before, key);
    varint_len(doubled(count)) + if steps > 0 { varint_len(steps) } else { 0 }
}

/// How many buckets of a part lie between two of it.
fn steps(before: i32, key: i32) -> u64 {
    ((key - before) / STEP - 1) as u64
}

/// Counts travel with 63 bits.
fn doubled(count: u64) -> u64 {
    count.min(u64::MAX >> 1) << 1
}

const fn zigzag(key: i32) -> u64 {
    ((key << 1) ^ (key >> 31)) as u32 as u64
}

fn checked(key: i64) -> Result<i32, SketchError> {
    let is_any = key.unsigned_abs() <= KEY_MAX as u64;
    if is_any { Ok(key as i32) } else { Err(SketchError::Unsound("a bucket that is none")) }
}

fn counted(count: u64) -> Result<u64, SketchError> {
    if count == 0 { Err(SketchError::Unsound("an empty bucket")) } else { Ok(count) }
}

/// The bucket that a value is in. The least of normal numbers are as good as 0.
fn key(value: f64) -> i32 {
    let magnitude = value.abs();
    if magnitude < f64::MIN_POSITIVE {
        return 0;
    }
    let key = (magnitude.ln() / LN_GAMMA).ceil() as i32 + ONE;
    if value < 0.0 { -key } else { key }
}

/// A value that is at most [`Quantiles::ERROR`] from all in this bucket.
fn value(key: i32) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let highest = (f64::from(key.abs() - ONE) * LN_GAMMA).exp();
    let value = (highest * (1.0 - Quantiles::ERROR)).min(f64::MAX);
    if key < 0 { -value } else { value }
}

/// ln γ, of γ = 1.01 / 0.99.
const LN_GAMMA: f64 = 0.020_000_666_706_669_543;

/// The key of the bucket that ends with 1. Those of the least numbers are above 0.
const ONE: i32 = 36_000;

/// No value has a key beyond this, on either side.
const KEY_MAX: i32 = 2 * ONE;

/// How far apart the keys of neighbours in a part are.
const STEP: i32 = Quantiles::PARTS as i32;

/// A flag and the first key.
const HEAD_LEN_MAX: usize = 1 + 3;

#[cfg(test)]
mod tests {
    use super::super::tests::{bytes, part_laws};
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Quantiles {
        let mut sketch = Quantiles::new();
        values.iter().for_each(|value| sketch.record(*value).unwrap());
        sketch
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let any = prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL;
        let usual = -1e3..1e6_f64;
        prop::collection::vec(prop_oneof![any, usual.clone(), usual], 0..300)
    }

    proptest! {
        #[test]
        fn every_quantile_is_as_near_as_promised(values in values(), q in 0.0..=1.0_f64) {
            let mut values = values;
            let sketch = of(&values);
            values.sort_by(f64::total_cmp);
            let whole = Quantiles::whole(sketch.parts().iter());
            prop_assert_eq!(sketch.count(), values.len() as u64);
            let rank = (q * values.len().saturating_sub(1) as f64) as usize;
            match (sketch.quantile(q), values.get(rank)) {
                (Some(told), Some(truth)) => {
                    let error = (told - truth).abs();
                    let is_near = error <= 1.001 * Quantiles::ERROR * truth.abs() + 1e-307;
                    prop_assert!(is_near || sketch.is_collapsed_at(q), "{told} for {truth}");
                }
                (told, truth) => prop_assert_eq!(told, truth.copied()),
            }
            if whole.count() == sketch.count() && !whole.is_collapsed {
                prop_assert_eq!(whole, sketch);
            }
        }

        #[test]
        fn parts_merge(one in values(), two in values(), three in values()) {
            let [one, two, three] = [one, two, three].map(|values| of(&values).parts().remove(1));
            let [one, two, three] = [one, two, three].map(Sketch::Quantiles);
            part_laws(&[one.clone(), two.clone(), three.clone()])?;
            // As long as nothing collapses the order does not show at all.
            let left = one.merged(&two).merged(&three);
            let Sketch::Quantiles(it) = &left else { unreachable!("what it was made of") };
            if !it.is_collapsed {
                prop_assert_eq!(&left, &one.merged(&two.merged(&three)));
            }
        }
    }

    #[test]
    fn golden_bytes() {
        let Quantiles { buckets, .. } = of(&[1.0, 1.0, 10.0, -1.0, 0.0]);
        assert_eq!(buckets, [(-36_000, 1), (0, 1), (36_000, 2), (36_116, 1)]);
        let all = Sketch::Quantiles(of(&[1.0, 1.0, 10.0, -1.0, 0.0]).parts().remove(0));
        assert_eq!(bytes(&all), "00bfb2040103a74605a746031c");
        assert_eq!(bytes(&Sketch::Quantiles(Quantiles::new())), "00");
    }

    /// A part that is full keeps what is highest.
    #[test]
    fn the_lowest_collapse() {
        let mut sketch = Quantiles::new();
        for exponent in 0..3_000 {
            let value = 1.02_f64.powi(exponent);
            (0..exponent % 7).for_each(|_| sketch.record(value).unwrap());
        }
        assert!(sketch.buckets.len() <= Quantiles::BUCKETS_MAX && sketch.is_collapsed);
        let count = sketch.count();
        let mut part = sketch.parts().remove(2);
        for _ in 0..40 {
            part = part.merged(&part);
            assert!(part.encoded_len() <= Sketch::LEN_MAX);
        }
        let parts = sketch.parts();
        let whole = Quantiles::whole(parts.iter());
        assert_eq!(whole.count(), count);
        assert!(whole.is_collapsed_at(0.0) && !whole.is_collapsed_at(0.9));
        assert_eq!(whole.quantile(0.9), sketch.quantile(0.9));
    }

    #[test]
    fn only_numbers_are_recorded() {
        let mut sketch = Quantiles::new();
        assert!(sketch.record(f64::NAN).is_err() && sketch.record(f64::INFINITY).is_err());
        assert_eq!([sketch.quantile(0.5), of(&[1.0]).quantile(1.5)], [None, None]);
        for value in [f64::MAX, f64::MIN_POSITIVE, f64::MIN] {
            let told = of(&[value]).quantile(0.5).unwrap();
            assert!((told / value - 1.0).abs() <= 0.0101, "{told} for {value}");
        }
    }

    #[test]
    fn damage_is_refused() {
        let take = |bytes: &[u8]| Quantiles::take(&mut &bytes[..]);
        assert!(take(&[0, 0, 1, 2]).is_ok());
        assert!(take(&[2]).is_err(), "a flag of 2");
        assert!(take(&[0, 0, 0]).is_err(), "a count of 0");
        assert!(take(&[0, 0, 1, 0]).is_err(), "and another");
        assert_eq!(take(&[0, 0]), Err(SketchError::Truncated));
        assert!(take(&[0, 0xff, 0xff, 0xff, 1, 1]).is_err(), "a key of millions");
        assert!(take(&[0, 0, 1, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err(), "and steps");
    }
}
