//! Digests, by which two nodes find out whether they know the same, and then what one lacks.
//!
//! Every entry has a 64-bit hash. Members are split into 16 buckets by the first hex digit of their
//! ids; a bucket's digest is the exclusive or of the hashes in it, so it does not depend on the
//! order in which things were learned, and one change is one operation. The digest of all is that
//! of the buckets together. Its eight bytes go with each probe and answer; only if they differ do
//! the buckets follow, of four bytes each, and then the hashes of a range of entries, of four bytes
//! each too.
//!
//! Tombstones are not counted in a digest: nodes forget them at different times, and two tables
//! that differ in nothing else agree. What one believes up and another buried, or never met, does
//! differ.
//!
//! The hash is no secret and resists nobody; it is written down here since all nodes must compute
//! the same. It is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), once for each
//! word.

use live_objects::NodeId;

use crate::entry::{Entry, Standing};

/// The number of buckets.
pub(crate) const BUCKETS: usize = 16;

/// The digests of all buckets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Digest([u64; BUCKETS]);

impl Digest {
    /// Counts an entry in if it was not counted, and out if it was; a tombstone is never counted.
    pub(crate) fn toggle(&mut self, entry: &Entry) {
        if entry.standing.is_up() {
            self.0[bucket_of(entry.member.node)] ^= hash(entry);
        }
    }

    /// The digest of all.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().fold(0, |total, bucket| total ^ bucket)
    }

    /// The digests of the buckets as they travel.
    pub(crate) fn buckets(&self) -> [u32; BUCKETS] {
        self.0.map(|bucket| bucket as u32)
    }
}

/// The bucket that a node is in.
fn bucket_of(node: NodeId) -> usize {
    usize::from(node.as_bytes()[0] >> 4)
}

/// The hash of an entry as it travels in an inventory.
pub(crate) fn short_hash(entry: &Entry) -> u32 {
    hash(entry) as u32
}

/// A hash of a member at its generation, however it stands.
pub(crate) fn grave_hash(entry: &Entry) -> u32 {
    hash_as(entry, Standing::Left) as u32
}

fn hash(entry: &Entry) -> u64 {
    hash_as(entry, entry.standing)
}

fn hash_as(Entry { member, generation, .. }: &Entry, standing: Standing) -> u64 {
    let [node_high, node_low] = halves(member.node.as_bytes());
    let [life_high, life_low] = halves(member.incarnation.as_bytes());
    [node_high, node_low, life_high, life_low, (*generation).into(), standing as u64]
        .into_iter()
        .fold(0, |hash, word| mix(hash ^ word))
}

/// An id as two words.
pub(crate) fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_be_bytes(*bytes);
    [(both >> 64) as u64, both as u64]
}

/// The finaliser.
pub(crate) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::{entries, entry};
    use proptest::prelude::*;

    /// Two builds that hash differently would exchange their tables forever.
    #[test]
    fn golden_hash() {
        assert_eq!(hash(&entry(1, 7)), 0x7fd1_72c1_ebdc_48d4);
    }

    #[test]
    fn what_is_believed_of_a_member_shows() {
        let of = |entry: &Entry| {
            let mut digest = Digest::default();
            digest.toggle(entry);
            digest
        };
        let alive = entry(1, 7);
        assert_ne!(of(&alive), of(&entry(1, 8)));
        assert_ne!(of(&alive), of(&alive.as_standing(Standing::Suspect)));
        assert_eq!(of(&alive.as_standing(Standing::Faulty)), Digest::default());
    }

    proptest! {
        #[test]
        fn order_does_not_show(told in prop::collection::vec(entries(), 0..20)) {
            let (mut forth, mut back) = (Digest::default(), Digest::default());
            told.iter().for_each(|entry| forth.toggle(entry));
            told.iter().rev().for_each(|entry| back.toggle(entry));
            prop_assert_eq!(&forth, &back);
            told.iter().for_each(|entry| back.toggle(entry));
            prop_assert_eq!(back, Digest::default());
        }
    }
}
