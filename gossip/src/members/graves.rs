//! Of whom no tombstone is left: those who were buried before the last thousand.
//!
//! Whoever missed a verdict goes on believing that its member is up. While others have a tombstone
//! of it they know better; once it had to give way to later ones they would take the word of the
//! one who missed it for that of a newcomer, and tell all. In a cluster where ten of ten thousand
//! come and go in each round, everybody would be back after a hundred rounds, buried again after
//! some twenty, and so on. So of each a hash is kept for long after.
//!
//! What is buried is a member at one *generation*: if it objects after all, nothing is in its way.
//! A newcomer is told these hashes before it is told of any member.
//!
//! Invariant: both hold the same, at most [`GRAVES_MAX`].

use std::collections::{BTreeSet, VecDeque};

use crate::digest::grave_hash;
use crate::entry::Entry;

/// Those who were buried.
#[derive(Default)]
pub(super) struct Graves {
    /// The oldest first.
    order: VecDeque<u32>,
    hashes: BTreeSet<u32>,
}

impl Graves {
    /// The oldest first.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u32> {
        self.order.iter().copied()
    }

    /// Remembers that a member is gone.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.add_hash(grave_hash(entry));
    }

    /// Remembers that a member with this hash is.
    pub(super) fn add_hash(&mut self, hash: u32) {
        if !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > GRAVES_MAX {
            let oldest = self.order.pop_front().expect("just seen to hold more than none");
            self.hashes.remove(&oldest);
        }
    }

    /// Whether a member is gone, at that generation. Of a million who are not it says so of four at
    /// most: these object once they hear of it, and are another generation.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        if self.hashes.is_empty() {
            return false;
        }
        // Whoever leaves says so at the next generation.
        let left = Entry { generation: entry.generation.raised(), ..entry.brief() };
        self.hashes.contains(&grave_hash(entry)) || self.hashes.contains(&grave_hash(&left))
    }

    /// A member said itself that it is there.
    pub(super) fn open(&mut self, entry: &Entry) {
        let hash = grave_hash(entry);
        if self.hashes.remove(&hash) {
            self.order.retain(|other| *other != hash);
        }
    }
}

/// Of how many a hash is kept.
pub(crate) const GRAVES_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Standing;
    use crate::entry::tests::entry;

    #[test]
    fn a_member_is_buried_at_its_generation_however_it_stood() {
        let mut graves = Graves::default();
        graves.add(&entry(1, 5).as_standing(Standing::Left));
        let has = |graves: &Graves, generation| graves.has(&entry(1, generation));
        assert!(has(&graves, 5) && graves.has(&entry(1, 5).as_standing(Standing::Suspect)));
        assert!(!has(&graves, 6) && !graves.has(&entry(2, 5)), "it objected, or is another");
        graves.open(&entry(1, 5));
        assert!(!has(&graves, 5) && graves.order.is_empty());
    }

    #[test]
    fn who_left_is_gone_at_the_generation_before_too() {
        let mut graves = Graves::default();
        graves.add(&entry(1, 6).as_standing(Standing::Left));
        let has = |generation| graves.has(&entry(1, generation));
        assert_eq!([4, 5, 6, 7].map(has), [false, true, true, false]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut graves = Graves::default();
        for number in 0..=GRAVES_MAX as u64 {
            graves.add(&entry(1, 2 * number));
            graves.add(&entry(1, 2 * number));
        }
        assert_eq!((graves.order.len(), graves.hashes.len()), (GRAVES_MAX, GRAVES_MAX));
        assert!(!graves.has(&entry(1, 0)) && graves.has(&entry(1, 2)));
        let told: Vec<u32> = graves.hashes().collect();
        let mut others = Graves::default();
        told.iter().for_each(|hash| others.add_hash(*hash));
        assert!(others.has(&entry(1, 2)) && !others.has(&entry(1, 0)));
    }
}
