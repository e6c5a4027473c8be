//! Which keys are heaviest: Misra and Gries (1982), merged as in "Mergeable summaries" (Agarwal et
//! al., PODS 2012, section 3).
//!
//! Some keys have counters; what a key has is at least what its counter says, and at most *missed*
//! more. Counters of two sketches are added. If that is more than there is room for, the heaviest
//! are kept, and from each goes what the heaviest of the others has: of k counters and a total
//! weight of n, missed is then n / (k + 1) at most, and where few keys are heavy it is far less.
//!
//! Room goes by bytes: keys may be of any length up to [`TopK::KEY_LEN_MAX`]. A key is in the part
//! of its hash modulo [`TopK::PARTS`], so that both parts together hold 80 short keys, or 46 of the
//! longest. Of 100,000 draws of 10,000 keys by Zipf's law, merged up a tree of a thousand, 80
//! counters miss 0.54 % and find the ten heaviest; 256 would miss 0.2 %, for thrice the bytes.
//!
//! Invariant: keys ascend, no counter is 0, and a part has at most [`PART_COUNTERS_MAX`] and is no
//! longer than [`Sketch::LEN_MAX`].

use core::cmp::Reverse;
use core::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{Sketch, SketchError, hash};
use crate::varint::{VARINT_LEN_MAX, put_varint, take_varint, varint_len};

/// The heaviest of some keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TopK {
    /// By key.
    counters: Vec<Counter>,
    total: u64,
    missed: u64,
}

/// A key, and how heavy it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heavy {
    /// Which.
    pub key: Bytes,
    /// Its weight, at least.
    pub weight: u64,
    /// How much more that may be.
    pub bound: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counter {
    key: Key,
    weight: u64,
}

/// It takes no allocation: there are tens of thousands in a node's tables.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// What is beyond the end is 0.
    bytes: [u8; TopK::KEY_LEN_MAX],
    len: u8,
}

impl TopK {
    /// The longest key, in bytes.
    pub const KEY_LEN_MAX: usize = 32;
    /// The most counters of a share. When it has more, half of them go.
    pub const COUNTERS_MAX: usize = 1_024;
    pub(crate) const PARTS: u8 = 2;

    /// Of no keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to the weight of a key.
    pub fn add(&mut self, key: &[u8], weight: u64) -> Result<(), LongKey> {
        let key = Key::new(key)?;
        if weight == 0 {
            return Ok(());
        }
        self.total = self.total.saturating_add(weight);
        match self.counters.binary_search_by(|counter| counter.key.cmp(&key)) {
            Ok(at) => {
                let counter = &mut self.counters[at];
                counter.weight = counter.weight.saturating_add(weight);
            }
            Err(at) => self.counters.insert(at, Counter { key, weight }),
        }
        if self.counters.len() > Self::COUNTERS_MAX {
            self.shrink(Self::COUNTERS_MAX / 2, usize::MAX);
        }
        Ok(())
    }

    /// The sum of all weights.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// All keys that have counters, the heaviest first, and of equal ones in their order.
    pub fn heaviest(&self) -> Vec<Heavy> {
        let mut counters: Vec<&Counter> = self.counters.iter().collect();
        counters.sort_by_key(|counter| (Reverse(counter.weight), counter.key));
        let heavy = |counter: &Counter| Heavy {
            key: Bytes::copy_from_slice(counter.key.as_bytes()),
            weight: counter.weight,
            bound: self.missed,
        };
        counters.into_iter().map(heavy).collect()
    }

    /// How much any key may have beside what its counter says.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    pub(super) fn is_of_part(&self, part: u8) -> bool {
        self.counters.iter().all(|counter| counter.key.is_in(part))
    }

    pub(super) fn parts(&self) -> Vec<Self> {
        let of = |part: u8| {
            let is_in = |counter: &&Counter| counter.key.is_in(part);
            let counters: Vec<Counter> = self.counters.iter().filter(is_in).copied().collect();
            // What was lost is anywhere.
            let total = counters.iter().fold(0, |sum: u64, it| sum.saturating_add(it.weight));
            let lost =
                self.counters.iter().fold(self.total, |lost, it| lost.saturating_sub(it.weight));
            let total = if part == 0 { total.saturating_add(lost) } else { total };
            let mut part = Self { counters, total, missed: self.missed };
            part.shrink(PART_COUNTERS_MAX, Sketch::LEN_MAX);
            part
        };
        (0..Self::PARTS).map(of).collect()
    }

    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut both = self.sum(other);
        both.shrink(Self::COUNTERS_MAX, usize::MAX);
        both
    }

    pub(super) fn merged(&self, other: &Self) -> Self {
        let mut both = self.sum(other);
        both.shrink(PART_COUNTERS_MAX, Sketch::LEN_MAX);
        both
    }

    pub(super) fn size(&self) -> usize {
        size_of_val(self.counters.as_slice())
    }

    fn sum(&self, other: &Self) -> Self {
        let mut counters = [&self.counters[..], &other.counters].concat();
        // Stable, and quick where two runs are in order.
        counters.sort_by_key(|counter| counter.key);
        counters.dedup_by(|next, kept| {
            let is_same = next.key == kept.key;
            if is_same {
                kept.weight = kept.weight.saturating_add(next.weight);
            }
            is_same
        });
        let total = self.total.saturating_add(other.total);
        Self { counters, total, missed: self.missed.saturating_add(other.missed) }
    }

    /// Keeps so many counters at most, and so many bytes.
    fn shrink(&mut self, counters_max: usize, len_max: usize) {
        if self.counters.len() <= counters_max && self.encoded_len() <= len_max {
            return;
        }
        let mut order: Vec<&Counter> = self.counters.iter().collect();
        order.sort_by_key(|counter| (Reverse(counter.weight), counter.key));
        let mut len = 2 * VARINT_LEN_MAX;
        let fits = |counter: &&&Counter| {
            len += counter.encoded_len();
            len <= len_max
        };
        let kept = order.iter().take(counters_max).take_while(fits).count();
        // All fit after all, if it was the head that seemed too long.
        let Some(less) = order.get(kept).map(|counter| counter.weight) else { return };
        self.counters.retain_mut(|counter| {
            counter.weight = counter.weight.saturating_sub(less);
            counter.weight > 0
        });
        self.missed = self.missed.saturating_add(less);
    }

    pub(super) fn encoded_len(&self) -> usize {
        let counters = self.counters.iter().map(Counter::encoded_len).sum::<usize>();
        varint_len(self.total) + varint_len(self.missed) + counters
    }

    /// ```text
    ///  total v, missed v, and of each counter, by key: length u8, key, weight v
    /// ```
    pub(super) fn put(&self, out: &mut BytesMut) {
        put_varint(out, self.total);
        put_varint(out, self.missed);
        for Counter { key, weight } in &self.counters {
            out.put_u8(key.len);
            out.put_slice(key.as_bytes());
            put_varint(out, *weight);
        }
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Result<Self, SketchError> {
        let (total, missed) = (take_varint(bytes)?, take_varint(bytes)?);
        let mut counters: Vec<Counter> = Vec::new();
        while !bytes.is_empty() {
            let len = usize::from(bytes.try_get_u8()?);
            let key = bytes.split_off(..len).ok_or(SketchError::Truncated)?;
            let key = Key::new(key).map_err(|_| SketchError::Unsound("a key that is too long"))?;
            let weight = take_varint(bytes)?;
            if weight == 0 || counters.last().is_some_and(|last| last.key >= key) {
                return Err(SketchError::Unsound("counters out of order, or of nothing"));
            }
            counters.push(Counter { key, weight });
        }
        if counters.len() > PART_COUNTERS_MAX {
            return Err(SketchError::Unsound("more counters than a part has"));
        }
        Ok(Self { counters, total, missed })
    }
}

impl Counter {
    fn encoded_len(&self) -> usize {
        1 + usize::from(self.key.len) + varint_len(self.weight)
    }
}

impl Key {
    fn new(key: &[u8]) -> Result<Self, LongKey> {
        let mut bytes = [0; TopK::KEY_LEN_MAX];
        let place = bytes.get_mut(..key.len()).ok_or(LongKey(key.len()))?;
        place.copy_from_slice(key);
        Ok(Self { bytes, len: key.len() as u8 })
    }

    /// Whether it is in a part.
    fn is_in(&self, part: u8) -> bool {
        hash(self.as_bytes()) % u64::from(TopK::PARTS) == u64::from(part)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

/// A key is too long. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a key of {0} bytes: it may have {max} at most", max = TopK::KEY_LEN_MAX)]
pub struct LongKey(usize);

/// The most counters of a part.
const PART_COUNTERS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::super::tests::{bytes, part_laws};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Added = Vec<(u16, u16)>;

    fn name(key: u16) -> String {
        format!("{key:0width$}", width = usize::from(key % 32))
    }

    fn of(added: &Added) -> TopK {
        let mut sketch = TopK::new();
        for (key, weight) in added {
            sketch.add(name(*key).as_bytes(), u64::from(*weight)).unwrap();
        }
        sketch
    }

    fn added() -> impl Strategy<Value = Added> {
        prop::collection::vec((prop_oneof![0..40_u16, 0..2_000_u16], any::<u16>()), 0..400)
    }

    /// What every key has lies within the bounds, in all parts together.
    fn check(parts: &[TopK], added: &[&Added]) -> Result<(), TestCaseError> {
        let mut truth: BTreeMap<Bytes, u64> = BTreeMap::new();
        let mut total = 0;
        for (key, weight) in added.iter().flat_map(|added| added.iter()) {
            *truth.entry(name(*key).into()).or_default() += u64::from(*weight);
            total += u64::from(*weight);
        }
        prop_assert_eq!(parts.iter().map(TopK::total).sum::<u64>(), total);
        for part in parts {
            for Heavy { key, weight, bound } in part.heaviest() {
                let truth = truth.remove(&key).expect("nothing is made up");
                prop_assert!((weight..=weight + bound).contains(&truth));
            }
        }
        let missed = parts.iter().map(TopK::missed).max().unwrap_or(0);
        prop_assert!(truth.values().all(|weight| *weight <= missed));
        prop_assert!(missed <= total / 20);
        Ok(())
    }

    proptest! {
        #[test]
        fn parts_merge_within_their_bounds(one in added(), two in added(), three in added()) {
            let all = [&one, &two, &three];
            let [one, two, three] = all.map(|added| of(added).parts());
            let mut whole = Vec::new();
            for ((one, two), three) in one.iter().zip(&two).zip(&three) {
                part_laws(&[one, two, three].map(|part| Sketch::TopK(part.clone())))?;
                whole.push(one.merged(two).merged(three));
            }
            check(&whole, &all)?;
        }
    }

    #[test]
    fn a_share_has_so_many_counters() {
        let mut sketch = TopK::new();
        for key in 0..=TopK::COUNTERS_MAX {
            sketch.add(&key.to_be_bytes(), 1 + (key < 9) as u64).unwrap();
        }
        let heaviest = sketch.heaviest();
        assert_eq!((heaviest.len(), sketch.missed()), (9, 1));
        assert_eq!(sketch.total(), 1_025 + 9);
        assert!(heaviest.iter().all(|heavy| (heavy.weight, heavy.bound) == (1, 1)));
        assert_eq!(sketch.parts().iter().map(TopK::total).sum::<u64>(), sketch.total());
    }

    #[test]
    fn golden_bytes() {
        let mut sketch = TopK::new();
        sketch.add(b"b", 300).unwrap();
        sketch.add(b"", 1).unwrap();
        sketch.add(b"b", 0).unwrap();
        assert_eq!(sketch.heaviest()[0].key, "b");
        assert_eq!(bytes(&Sketch::TopK(sketch)), "ad02000001 0162ac02".replace(' ', ""));
        assert_eq!(TopK::new().add(&[0; 33], 1), Err(LongKey(33)));
    }

    #[test]
    fn damage_is_refused() {
        let take = |bytes: &[u8]| TopK::take(&mut &bytes[..]);
        assert!(take(&[0, 0, 1, 7, 1, 1, 8, 1]).is_ok());
        assert!(take(&[0, 0, 1, 8, 1, 1, 7, 1]).is_err(), "out of order");
        assert!(take(&[0, 0, 1, 7, 0]).is_err(), "of nothing");
        assert_eq!(take(&[0, 0, 9, 7]), Err(SketchError::Truncated));
        assert!(take(&[&[0, 0, 33][..], &[7; 33], &[1]].concat()).is_err(), "a long key");
        let many: Vec<u8> = (0..=40).flat_map(|key| [1, key, 1]).collect();
        assert!(take(&[&[0, 0][..], &many].concat()).is_err(), "too many");
    }
}
