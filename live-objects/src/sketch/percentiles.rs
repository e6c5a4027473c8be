//! Where values lie, in very few bytes: a histogram by logarithms whose buckets grow together.
//!
//! As in DDSketch a value is counted in the bucket of its logarithm. Where there are too many
//! buckets each two neighbours become one, all of them at once, as in UDDSketch (Epicoco, Melle,
//! Cafaro, Pulimeno and Morleo, IEEE Access 8, 2020): the error doubles at every quantile, and no
//! quantile is lost. [`Quantiles`](super::Quantiles), which lets the lowest buckets collapse, is
//! the better one for an aggregate of its own; here, in a cell of a query, there is room for some
//! dozens of bytes, and of a dozen buckets the lowest would be most.
//!
//! Buckets are bounded by their bytes. What is written is never shorter with more values in it, and
//! never longer at the next level; so the level of many values is the least at which all of them
//! fit, however they were merged: the order does not show, to the last bit.
//!
//! Invariant: keys ascend, no count is 0, and what is written fits at no lower level.

use bytes::{Buf, BufMut, BytesMut};

use super::SketchError;
use crate::varint::{put_varint, take_varint, varint_len};

/// How many of some values lie where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Percentiles {
    /// How often neighbours became one.
    level: u8,
    /// Counts by key.
    buckets: Vec<(i32, u32)>,
}

impl Percentiles {
    /// What it takes at the highest level, whatever is in it: a level, how many buckets there are,
    /// and those of what is below 0, of 0, and of what is above it.
    pub(super) const LEN_MIN: usize = 2 + 3 * 6;

    pub(crate) fn of(value: f64) -> Self {
        Self { level: 0, buckets: vec![(key(value), 1)] }
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The value below which this part of them lies: of n values in order, counted from 0, the one
    /// at q (n - 1), rounded down. None if there are none.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count().checked_sub(1)?;
        let rank = (q * last as f64) as u64;
        let mut below = 0;
        let is_beyond = |(_, count): &&(i32, u32)| {
            below += u64::from(*count);
            below > rank
        };
        let bucket = self.buckets.iter().find(is_beyond).or(self.buckets.last());
        bucket.map(|(key, _)| value(*key, self.level))
    }

    /// By how much a quantile may be off, as a part of it.
    pub(crate) fn error(&self) -> f64 {
        (LN_GAMMA * f64::from(1_u32 << self.level) / 2.0).tanh()
    }

    /// Both, in so many bytes.
    pub(crate) fn merged(&self, other: &Self, len_max: usize) -> Self {
        let level = self.level.max(other.level);
        let [one, other] = [self, other].map(|it| {
            let mut at_level = it.clone();
            (it.level..level).for_each(|_| at_level.coarsen());
            at_level.buckets
        });
        let mut buckets = [one, other].concat();
        buckets.sort_unstable_by_key(|(key, _)| *key);
        let mut both = Self { level, buckets };
        both.join();
        while both.encoded_len() > len_max {
            both.coarsen();
        }
        both
    }

    /// Each two neighbours become one.
    fn coarsen(&mut self) {
        assert!(self.level < LEVEL_MAX, "at the highest level it fits");
        self.level += 1;
        for (key, _) in &mut self.buckets {
            *key = key.signum() * ((key.abs() + 1) / 2);
        }
        self.join();
    }

    /// Buckets of the same key become one.
    fn join(&mut self) {
        self.buckets.dedup_by(|next, before| {
            let is_same = next.0 == before.0;
            if is_same {
                before.1 = before.1.saturating_add(next.1);
            }
            is_same
        });
    }

    pub(super) fn encoded_len(&self) -> usize {
        let first = self
            .buckets
            .first()
            .map_or(0, |(key, count)| varint_len(zigzag(*key)) + varint_len(u64::from(*count)));
        let further = self.buckets.windows(2).map(|pair| {
            let steps = steps(pair[0].0, pair[1].0);
            varint_len(u64::from(pair[1].1) << 1) + if steps > 0 { varint_len(steps) } else { 0 }
        });
        1 + varint_len(self.buckets.len() as u64) + first + further.sum::<usize>()
    }

    /// ```text
    ///  level u8, buckets v, of the first: key z, count v, and of each further one:
    ///  count × 2 v, of the key above the last, or count × 2 + 1 v, keys between v
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.level);
        put_varint(out, self.buckets.len() as u64);
        let Some((first, count)) = self.buckets.first() else { return };
        put_varint(out, zigzag(*first));
        put_varint(out, u64::from(*count));
        for pair in self.buckets.windows(2) {
            let steps = steps(pair[0].0, pair[1].0);
            put_varint(out, u64::from(pair[1].1) << 1 | u64::from(steps > 0));
            if steps > 0 {
                put_varint(out, steps);
            }
        }
    }

    pub(super) fn take(bytes: &mut &[u8], len_max: usize) -> Result<Self, SketchError> {
        let level = bytes.try_get_u8()?;
        if level > LEVEL_MAX {
            return Err(SketchError::Unsound("a level that is none"));
        }
        let key_max = i64::from((KEY_MAX + (1 << level) - 1) >> level);
        let checked = |key: i64, count: u64| {
            if key.unsigned_abs() > key_max.unsigned_abs() {
                return Err(SketchError::Unsound("a bucket that is none"));
            }
            let count = u32::try_from(count).ok().filter(|count| *count > 0);
            let count = count.ok_or(SketchError::Unsound("a count that is none"))?;
            Ok((key as i32, count))
        };
        let mut buckets: Vec<(i32, u32)> = Vec::new();
        for _ in 0..take_varint(bytes)? {
            let bucket = match buckets.last() {
                None => {
                    let key = take_varint(bytes)?;
                    let key = (key >> 1) as i64 ^ -((key & 1) as i64);
                    checked(key, take_varint(bytes)?)?
                }
                Some((before, _)) => {
                    let count = take_varint(bytes)?;
                    let steps = if count & 1 == 0 { 0 } else { take_varint(bytes)? };
                    let steps = steps.min(2 * KEY_MAX as u64) as i64;
                    checked(i64::from(*before) + 1 + steps, count >> 1)?
                }
            };
            buckets.push(bucket);
        }
        let taken = Self { level, buckets };
        if taken.encoded_len() > len_max {
            return Err(SketchError::Unsound("more buckets than there may be"));
        }
        Ok(taken)
    }
}

/// How many buckets lie between two.
fn steps(before: i32, key: i32) -> u64 {
    (key - before - 1) as u64
}

const fn zigzag(key: i32) -> u64 {
    ((key << 1) ^ (key >> 31)) as u32 as u64
}

/// The bucket that a value is in at the lowest level. The least of normal numbers are as good as 0.
fn key(value: f64) -> i32 {
    let magnitude = value.abs();
    if magnitude < f64::MIN_POSITIVE {
        return 0;
    }
    let key = (magnitude.ln() / LN_GAMMA).ceil() as i32 + ONE;
    if value < 0.0 { -key } else { key }
}

/// A value that is as near as can be to all in this bucket.
fn value(key: i32, level: u8) -> f64 {
    if key == 0 {
        return 0.0;
    }
    let width = i64::from(key.abs()) << level;
    let ends = [width - (1 << level), width].map(|of| {
        // At high levels buckets reach further than numbers do.
        let of = of.clamp((ONE - NUMBERS).into(), (ONE + NUMBERS).into());
        (of - i64::from(ONE)) as f64 * LN_GAMMA
    });
    let [lowest, highest] = ends;
    let apart = highest - lowest;
    // The harmonic mean of both ends, by logarithms, as it overflows otherwise.
    let beyond = if apart > 50.0 { apart } else { apart.exp().ln_1p() };
    let middle = (highest + core::f64::consts::LN_2 - beyond).exp().min(f64::MAX);
    if key < 0 { -middle } else { middle }
}

/// ln γ: at the lowest level a quantile is told to 2 %.
const LN_GAMMA: f64 = 0.04;

/// The key of the bucket that ends with 1. Those of the least numbers are above 0.
const ONE: i32 = 1 << 15;

/// How far from that of 1 the keys of the least and the greatest numbers are, at most.
const NUMBERS: i32 = 17_745;

/// No value has a key beyond this, on either side.
const KEY_MAX: i32 = ONE + NUMBERS;

/// Here all above 0 are in one bucket.
const LEVEL_MAX: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(values: &[f64], len_max: usize) -> Percentiles {
        let none = Percentiles::default();
        values.iter().fold(none, |sum, value| sum.merged(&Percentiles::of(*value), len_max))
    }

    #[test]
    fn a_key_beyond_all_is_refused() {
        let mut bytes = vec![0, 1];
        // The least number there is, as it is written.
        bytes.extend([0xff; 9]);
        bytes.extend([1, 1]);
        let taken = Percentiles::take(&mut &bytes[..], 99);
        assert!(matches!(taken, Err(SketchError::Unsound("a bucket that is none"))));
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let any = prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL;
        let usual = -1e3..1e6_f64;
        prop::collection::vec(prop_oneof![any, usual.clone(), usual], 1..60)
    }

    proptest! {
        #[test]
        fn every_quantile_is_as_near_as_it_says(
            values in values(), len_max in Percentiles::LEN_MIN..300, q in 0.0..=1.0_f64,
        ) {
            let mut values = values;
            let sketch = all(&values, len_max);
            values.sort_by(f64::total_cmp);
            let truth = values[(q * (values.len() - 1) as f64) as usize];
            let told = sketch.quantile(q).unwrap();
            let bound = 1.0001 * sketch.error() * truth.abs() + 1e-307;
            prop_assert!((told - truth).abs() <= bound, "{told} for {truth} at {}", sketch.level);
        }

        /// However they are merged, all come to the same.
        #[test]
        fn the_order_does_not_show(
            values in values(), cut: prop::sample::Index, len_max in Percentiles::LEN_MIN..120,
        ) {
            let (one, other) = values.split_at(cut.index(values.len()));
            let both = all(one, len_max).merged(&all(other, len_max), len_max);
            let mut turned = values.clone();
            turned.reverse();
            prop_assert_eq!(&both, &all(&turned, len_max));
            let mut out = BytesMut::new();
            both.put(&mut out);
            prop_assert_eq!(out.len(), both.encoded_len());
            prop_assert!(out.len() <= len_max);
            prop_assert_eq!(Percentiles::take(&mut &out[..], len_max), Ok(both));
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            if let Ok(taken) = Percentiles::take(&mut &bytes[..], 99) {
                let merged = taken.merged(&Percentiles::of(1.0), 99);
                prop_assert!(merged.quantile(0.5).unwrap().is_finite());
            }
        }
    }

    #[test]
    fn golden_bytes() {
        let mut out = BytesMut::new();
        all(&[1.0, 1.0, 1.05, 10.0, -1.0, 0.0], 99).put(&mut out);
        let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0005ffff030103ffff0105ffff0103010337");
    }

    #[test]
    fn whatever_is_in_it_the_highest_level_takes_it() {
        let mut full = Percentiles { level: LEVEL_MAX, buckets: Vec::new() };
        full.buckets = vec![(-1, u32::MAX), (0, u32::MAX), (1, u32::MAX)];
        assert!(full.encoded_len() <= Percentiles::LEN_MIN);
        assert_eq!(full.merged(&full, Percentiles::LEN_MIN), full);
        assert!(full.quantile(0.0).unwrap() < 0.0 && full.quantile(0.5) == Some(0.0));
        let all = all(&[f64::MIN, f64::MAX, f64::MIN_POSITIVE, -1e-300, 0.0], 20);
        assert!([0.0, 0.2, 0.9, 1.0].iter().all(|q| all.quantile(*q).unwrap().is_finite()));
    }

    #[test]
    fn damage_is_refused() {
        let take = |bytes: &[u8]| Percentiles::take(&mut &bytes[..], 99);
        assert!(take(&[0, 1, 2, 1]).is_ok());
        assert!(take(&[17, 1, 2, 1]).is_err(), "a level");
        assert!(take(&[0, 1, 2, 0]).is_err(), "a count of 0");
        assert!(take(&[16, 1, 4, 1]).is_err(), "a key beyond the last");
        assert_eq!(take(&[0, 2, 2, 1]), Err(SketchError::Truncated));
        assert!(take(&[0, 2, 2, 1, 3, 0xff, 0xff, 0xff, 0xff, 1]).is_err(), "steps");
        assert!(take(&[0, 1, 2, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err(), "a count too large");
        let long = [&[0, 100, 0, 1][..], &[2; 99]].concat();
        assert!(take(&long).is_err(), "too long");
    }
}
