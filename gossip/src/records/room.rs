//! What gives way when a table of records is full.
//!
//! To what is shown gives way what is not, the oldest first, a part of it at once; and to what is
//! of somebody this node knows, after that, what may be of nobody. A publisher who has too much
//! makes room of his own.

use super::row::Row;
use super::{RecordKey, Records};

impl Records {
    pub(super) fn has_room(&self, key: &RecordKey) -> bool {
        let of_publisher = self.count_of(key.publisher);
        self.rows.contains_key(key)
            || self.rows.len() < Self::MAX && of_publisher < Self::PUBLISHER_MAX
    }

    /// Sees that there is room for what is shown: some of what is not gives way, of the publisher
    /// if he has too much, the oldest first. What was withdrawn and comes back is withdrawn again.
    /// To what is watched gives way, after that, what may be of nobody.
    pub(super) fn make_room(&mut self, key: &RecordKey, is_watched: bool, round: u64) -> bool {
        if self.has_room(key) {
            return true;
        }
        let is_full = self.rows.len() >= Self::MAX;
        let crammed_in = usize::from(!is_watched);
        if is_full && self.crammed_in[crammed_in] == Some(round) {
            return false;
        }
        let all = self.rows.keys().filter(|_| is_full);
        let his = self.keys_of(key.publisher).filter(|_| !is_full);
        let is_spare = |row: &Row| !row.is_published() || is_watched && !row.is_watched;
        let spare = all.chain(his).filter(|key| is_spare(&self.rows[*key]));
        let mut spare: Vec<((bool, u64), RecordKey)> = spare
            .map(|key| ((self.rows[key].is_published(), self.rows[key].since), key.clone()))
            .collect();
        if is_full && spare.is_empty() {
            // It is not looked for again before the next round.
            self.crammed_in[crammed_in] = Some(round);
            return false;
        }
        spare.sort_unstable();
        let hidden = spare.partition_point(|((is_published, _), _)| !is_published);
        spare.truncate(if hidden > 0 { hidden.div_ceil(SPARED_PART) } else { GIVEN_WAY_MAX });
        for ((is_published, _), key) in spare {
            self.remove(&key);
            if is_published {
                self.given_way.push(key);
            }
        }
        self.has_room(key)
    }

    /// What was shown, and gave way since this was asked last.
    pub(crate) fn take_given_way(&mut self) -> Vec<RecordKey> {
        std::mem::take(&mut self.given_way)
    }
}

/// One part in so many of what is not shown gives way at once: to look for it takes a while.
const SPARED_PART: usize = 16;

/// How much of what is shown gives way at a time.
pub(super) const GIVEN_WAY_MAX: usize = 64;
