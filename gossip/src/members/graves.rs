//! Of whom no tombstone is left: those who were buried before the last thousand.
//!
//! Whoever missed a verdict goes on believing that its member is up. While others have a tombstone
//! of it they know better; once it had to give way to later ones they would take the word of the
//! one who missed it for that of a newcomer, and tell all. In a cluster where ten of ten thousand
//! come and go in each round, everybody would be back after a hundred rounds, buried again after
//! some twenty, and so on. So of each a hash is kept for long after.
//!
//! What is buried is a member at one *generation*: if it objects after all, nothing is in its way.
//! Who knows less than half of the members and pulls a table is told these hashes first.
//!
//! Of whom a node never knew it believes the verdict of others, and anybody can invent such. So
//! those for whom there is no tombstone left have a place of their own, of which newcomers are not
//! told.
//!
//! Invariant: both parts of a ring hold the same, at most as many as it has room for.

use std::collections::{BTreeSet, VecDeque};

use crate::digest::grave_hash;
use crate::entry::Entry;

/// Those who were buried.
pub(super) struct Graves {
    known: Ring,
    strangers: Ring,
}

/// The last of some hashes.
struct Ring {
    /// The oldest first.
    order: VecDeque<u32>,
    hashes: BTreeSet<u32>,
    max: usize,
}

impl Default for Graves {
    fn default() -> Self {
        Self { known: Ring::of(GRAVES_MAX), strangers: Ring::of(STRANGERS_MAX) }
    }
}

impl Graves {
    /// Of those who were known, the oldest first.
    pub(super) fn hashes(&self) -> impl Iterator<Item = u32> {
        self.known.order.iter().copied()
    }

    /// Remembers that a member is gone.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.known.add(grave_hash(entry));
    }

    /// Remembers that a member with this hash is.
    pub(super) fn add_hash(&mut self, hash: u32) {
        self.known.add(hash);
    }

    /// Remembers that others say so of one who was never known.
    pub(super) fn add_stranger(&mut self, entry: &Entry) {
        self.strangers.add(grave_hash(entry));
    }

    /// Whether a member is gone, at that generation. Of a million who are not it says so of five at
    /// most: these object once they hear of it, and are another generation.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        let rings = [&self.known, &self.strangers];
        if rings.iter().all(|ring| ring.hashes.is_empty()) {
            return false;
        }
        hashes(entry).iter().any(|hash| rings.iter().any(|ring| ring.hashes.contains(hash)))
    }

    /// A member is there at this generation: it said so itself, or objected.
    pub(super) fn open(&mut self, entry: &Entry) {
        for hash in hashes(entry) {
            self.known.remove(hash);
            self.strangers.remove(hash);
        }
    }
}

/// By which a member may be buried, at its generation: whoever leaves says so at the next one.
fn hashes(entry: &Entry) -> [u32; 2] {
    let left = Entry { generation: entry.generation.raised(), ..entry.brief() };
    [grave_hash(entry), grave_hash(&left)]
}

impl Ring {
    const fn of(max: usize) -> Self {
        Self { order: VecDeque::new(), hashes: BTreeSet::new(), max }
    }

    fn add(&mut self, hash: u32) {
        if !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > self.max {
            let oldest = self.order.pop_front().expect("just seen to hold more than none");
            self.hashes.remove(&oldest);
        }
    }

    fn remove(&mut self, hash: u32) {
        if self.hashes.remove(&hash) {
            self.order.retain(|other| *other != hash);
        }
    }
}

/// Of how many that were known a hash is kept.
pub(crate) const GRAVES_MAX: usize = 8_192;

/// Of how many others.
const STRANGERS_MAX: usize = 1_024;

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
        assert!(!has(&graves, 5) && graves.known.order.is_empty());
    }

    #[test]
    fn who_left_is_gone_at_the_generation_before_too() {
        let mut graves = Graves::default();
        graves.add(&entry(1, 6).as_standing(Standing::Left));
        let has = |generation| graves.has(&entry(1, generation));
        assert_eq!([4, 5, 6, 7].map(has), [false, true, true, false]);
        // Its own word opens the grave, whichever of the two it is.
        graves.open(&entry(1, 5));
        assert!(!graves.has(&entry(1, 5)) && !graves.has(&entry(1, 6)));
    }

    #[test]
    fn strangers_take_nobodys_place() {
        let mut graves = Graves::default();
        graves.add(&entry(1, 5));
        for number in 0..2 * GRAVES_MAX as u64 {
            graves.add_stranger(&entry(2, 2 * number));
        }
        assert!(graves.has(&entry(1, 5)) && !graves.has(&entry(2, 0)));
        assert!(graves.has(&entry(2, 4 * GRAVES_MAX as u64 - 2)));
        assert_eq!(graves.strangers.order.len(), STRANGERS_MAX);
        assert_eq!(graves.hashes().count(), 1, "newcomers are not told of them");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut graves = Graves::default();
        for number in 0..=GRAVES_MAX as u64 {
            graves.add(&entry(1, 2 * number));
            graves.add(&entry(1, 2 * number));
        }
        let known = &graves.known;
        assert_eq!((known.order.len(), known.hashes.len()), (GRAVES_MAX, GRAVES_MAX));
        assert!(!graves.has(&entry(1, 0)) && graves.has(&entry(1, 2)));
        let told: Vec<u32> = graves.hashes().collect();
        let mut others = Graves::default();
        told.iter().for_each(|hash| others.add_hash(*hash));
        assert!(others.has(&entry(1, 2)) && !others.has(&entry(1, 0)));
    }
}
