//! What gives way when a table of records is full.
//!
//! To what is shown gives way what is not, the oldest first; and after that what is of *strangers*,
//! whom this node does not know, so that nobody here could tell whether they are up, or are at all:
//! to others, and to that of other strangers, again the oldest first. So what somebody makes up
//! keeps nobody out for longer than it is made up. A part of the table is for none of them. A
//! publisher who has too much makes room of his own.
//!
//! Invariant: `spare` has each row that is not shown and published, and each of a stranger that is,
//! so that what gives way is found without a search, however often somebody asks for room.

use std::collections::BTreeSet;

use live_objects::{NodeId, ObjectId};

use super::row::Row;
use super::{RecordKey, Records, first_of};

/// What may give way, the oldest first.
#[derive(PartialEq, Eq, Default, Debug)]
pub(super) struct Spare {
    /// What is not shown, or withdrawn: of all, and of each publisher.
    hidden: BTreeSet<(Option<NodeId>, u64, RecordKey)>,
    /// What is shown of strangers.
    strange: BTreeSet<(u64, RecordKey)>,
}

impl Spare {
    /// Takes a row in if it is not there and may give way, and out if it is there.
    pub(super) fn toggle(&mut self, key: &RecordKey, row: &Row) {
        if !row.is_published() {
            for of in [None, Some(key.publisher)] {
                flip(&mut self.hidden, (of, row.since, key.clone()));
            }
        } else if !row.is_watched {
            flip(&mut self.strange, (row.since, key.clone()));
        }
    }

    /// The oldest that is not shown, of all or of one.
    fn hidden_of(&self, of: Option<NodeId>) -> Option<RecordKey> {
        let first = (of, 0, first_of(ObjectId::from_bytes([0; ObjectId::LEN]), &[]));
        let oldest = self.hidden.range(first..).next();
        oldest.filter(|(whose, ..)| *whose == of).map(|(_, _, key)| key.clone())
    }
}

fn flip<T: Ord>(set: &mut BTreeSet<T>, item: T) {
    if !set.remove(&item) {
        set.insert(item);
    }
}

impl Records {
    pub(super) fn has_room(&self, key: &RecordKey) -> bool {
        self.has_room_of(key, Self::PUBLISHER_MAX)
    }

    fn has_room_of(&self, key: &RecordKey, publisher_max: usize) -> bool {
        let of_publisher = self.count_of(key.publisher);
        self.rows.contains_key(key) || self.rows.len() < Self::MAX && of_publisher < publisher_max
    }

    /// Sees that there is room for what is shown: something gives way, of the publisher if he has
    /// too much. What was withdrawn and comes back is withdrawn again.
    pub(super) fn make_room(&mut self, key: &RecordKey, is_watched: bool) -> bool {
        let publisher_max = if is_watched { Self::PUBLISHER_MAX } else { Self::STRANGER_MAX };
        let held = self.rows.get(key);
        let is_one_more = !is_watched && !held.is_some_and(Row::is_published);
        let has_room = self.has_room_of(key, publisher_max);
        if !has_room {
            let is_his = self.count_of(key.publisher) >= publisher_max;
            let hidden = self.spare.hidden_of(is_his.then_some(key.publisher));
            match hidden {
                Some(hidden) => self.remove(&hidden),
                None if is_his => return false,
                None => self.cut_strange(),
            }
        }
        if is_one_more && self.spare.strange.len() >= Self::STRANGERS_MAX {
            self.cut_strange();
        }
        self.has_room_of(key, publisher_max)
    }

    /// The oldest that is shown of strangers gives way, if there is any.
    fn cut_strange(&mut self) {
        if let Some((_, key)) = self.spare.strange.first().cloned() {
            self.remove(&key);
            self.given_way.push(key);
        }
    }

    /// What was shown, and gave way since this was asked last.
    pub(crate) fn take_given_way(&mut self) -> Vec<RecordKey> {
        std::mem::take(&mut self.given_way)
    }
}
