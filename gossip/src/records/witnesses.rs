//! Who of many holders says that a name is held, and how many holders there are by that.
//!
//! Each holder of a name draws a *lot*, a hash of who it is and of the name, which all compute
//! alike. Those with the lowest lots are the name's *witnesses*: they say that they hold it, and
//! what others say is dropped wherever the witnesses are known. So a name costs the same however
//! many hold it, and all nodes come to know the same few of them. Of `n` lots in `0..1` the `k`-th
//! lowest is expected at `k / (n + 1)`, from which `n` is told within some 40 % (bottom-k sketches:
//! Bar-Yossef et al., "Counting distinct elements in a data stream", RANDOM 2002; Cohen and Kaplan,
//! "Summarizing data using bottom-k sketches", PODC 2007). Below `k` it is exact.
//!
//! Whoever may be a witness of a name of which few are known waits the longer to say so the higher
//! its lot is, as receivers of multicast keep from all asking at once (Nonnenmacher and Biersack,
//! "Scalable feedback for large groups", 1999).
//!
//! Nor is a name gone through for all that it is claimed for: of very many types those count whose
//! claimants have the lowest lots.
//!
//! Invariant: `lowest` is sorted, each once, and no longer than [`WITNESSES_MAX`].

use std::collections::BTreeMap;

use bytes::Bytes;
use live_objects::{Member, NodeId, ObjectId};

use super::row::Row;
use super::{RecordKey, Records, place};
use crate::digest::{halves, mix};

/// How many witnesses a name has at most, for each type that it is claimed for.
pub(crate) const WITNESSES_MAX: usize = 8;

/// The lot of a member that claims what is at home in this place.
pub(crate) fn lot(place: NodeId, member: Member) -> u64 {
    let ids = [member.node.as_bytes(), member.incarnation.as_bytes(), place.as_bytes()];
    ids.into_iter().flat_map(halves).fold(0, |hash, word| mix(hash ^ word))
}

/// The lowest lots of those who claim a name for one type.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Lots {
    lowest: Vec<u64>,
}

impl Lots {
    pub(crate) fn insert(&mut self, lot: u64) {
        if let Err(position) = self.lowest.binary_search(&lot) {
            self.lowest.insert(position, lot);
            self.lowest.truncate(WITNESSES_MAX);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        other.lowest.iter().for_each(|lot| self.insert(*lot));
    }

    /// How many members hold the name, by expectation.
    pub(crate) fn holders(&self) -> u64 {
        match self.lowest[..] {
            [.., highest] if self.lowest.len() == WITNESSES_MAX => {
                let share = (highest as f64 + 1.0) / LOTS;
                ((WITNESSES_MAX - 1) as f64 / share).max(WITNESSES_MAX as f64) as u64
            }
            _ => self.lowest.len() as u64,
        }
    }

    /// For how many rounds a holder with this lot keeps its claim to itself, of so many members
    /// that are up; for good if there are witnesses enough.
    pub(crate) fn waits(&self, lot: u64, up: usize) -> Option<u64> {
        let is_beyond = |highest: &u64| *highest < lot;
        if self.lowest.len() == WITNESSES_MAX && self.lowest.last().is_some_and(is_beyond) {
            return None;
        }
        // So many have lower lots, if all hold the name.
        let before = lot as f64 / LOTS * up as f64;
        let rank = before / WITNESSES_MAX as f64;
        if rank <= FIRST_PART {
            return Some(0);
        }
        let told = (up as f64).log2();
        Some((rank.log2() * ROUNDS_PER_DOUBLING).max(told) as u64)
    }
}

impl FromIterator<u64> for Lots {
    fn from_iter<I: IntoIterator<Item = u64>>(lots: I) -> Self {
        let mut of = Self::default();
        lots.into_iter().for_each(|lot| of.insert(lot));
        of
    }
}

impl Records {
    /// Of those who publish the same under a key all are dropped but the witnesses, and of all that
    /// is published there all but what the lowest lots are for. What this node publishes stays, but
    /// is nothing to others. Gives those who are none. Of what does not count the oldest is dropped
    /// where it is very much: it would be gone through with each that is heard.
    pub(crate) fn cut_to_witnesses(&mut self, object: ObjectId, key: &[u8]) -> Vec<NodeId> {
        let (mut counted, mut others) = (0, 0);
        for (_, row) in self.of_key(object, key) {
            *(if row.counts() { &mut counted } else { &mut others }) += 1;
        }
        if others > UNCOUNTED_MAX {
            self.cut_uncounted(object, key);
        }
        if counted <= WITNESSES_MAX {
            return Vec::new();
        }
        let place = place(object, key);
        let mut by_value: BTreeMap<&Bytes, Vec<(u64, &RecordKey)>> = BTreeMap::new();
        for (at, row) in self.of_key(object, key).filter(|(_, row)| row.counts()) {
            let value = row.value.as_ref().expect("what counts has a value");
            by_value.entry(value).or_default().push((lot(place, row.member(at)), at));
        }
        let mut values: Vec<Vec<(u64, &RecordKey)>> = by_value.into_values().collect();
        values.iter_mut().for_each(|published| published.sort_unstable());
        // No two have the same lowest, since no publisher is there twice.
        values.sort_unstable();
        let mut cut: Vec<RecordKey> = Vec::new();
        for (rank, published) in values.into_iter().enumerate() {
            let left = if rank < VALUES_MAX { WITNESSES_MAX } else { 0 };
            cut.extend(published.into_iter().skip(left).map(|(_, at)| at.clone()));
        }
        for at in &cut {
            if at.publisher == self.me.node {
                self.keep_back(at);
            } else {
                self.remove(at);
            }
        }
        cut.into_iter().map(|at| at.publisher).collect()
    }

    /// Drops the oldest under a key of what is withdrawn or hidden, so that half of the most is
    /// left.
    fn cut_uncounted(&mut self, object: ObjectId, key: &[u8]) {
        let is_spare =
            |(at, row): &(&RecordKey, &Row)| !row.counts() && at.publisher != self.me.node;
        let spare = self.of_key(object, key).filter(is_spare);
        let mut spare: Vec<(u64, RecordKey)> =
            spare.map(|(at, row)| (row.since, at.clone())).collect();
        spare.sort_unstable();
        spare.truncate(spare.len().saturating_sub(UNCOUNTED_MAX / 2));
        spare.iter().for_each(|(_, at)| self.remove(at));
    }

    /// The lots of those who publish something in an object under a key, and what.
    pub(crate) fn lots_at(
        &self,
        object: ObjectId,
        key: &[u8],
    ) -> impl Iterator<Item = (NodeId, u64, &Bytes)> {
        let place = place(object, key);
        let shown = self.of_key(object, key).filter(|(_, row)| row.is_shown);
        shown.filter_map(move |(at, row)| {
            Some((at.publisher, lot(place, row.member(at)), row.value.as_ref()?))
        })
    }

    /// What this node publishes there is nothing to others from now on.
    pub(super) fn keep_back(&mut self, key: &RecordKey) {
        self.toggle(key);
        let row = self.rows.get_mut(key).expect("it was just there");
        row.is_kept = false;
        self.queue.remove(&row.hash);
        self.toggle(key);
    }
}

/// For how many types a name is known to be claimed, at most: for those with the lowest lots, which
/// are those of many holders, mostly. Who makes up members may choose their lots, but does not have
/// others go through very many.
pub(super) const VALUES_MAX: usize = 16;

/// How much is kept under one key, at most, that is withdrawn, or whose publishers are not up. Of a
/// name that many hold each of its witnesses may withdraw it in turn.
pub(super) const UNCOUNTED_MAX: usize = 1_024;

/// How many lots there are.
const LOTS: f64 = u64::MAX as f64;

/// So many times as many as there are to be say their claims at once. If all hold the name, that
/// they are too few happens once in a hundred; and the others hear of them before it is their turn.
/// (Of those who hold a name that only a part of all does, some tens may say so in one round.)
const FIRST_PART: f64 = 2.0;

/// In so many rounds twice as many as before say their claims, while there are witnesses too few.
const ROUNDS_PER_DOUBLING: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::tests::record;
    use live_objects::Incarnation;

    fn lots(members: u64) -> Vec<u64> {
        let place = record(1, b"key", 1).key.place();
        let id = |number: u64| u128::from(number).to_be_bytes();
        let member = |number: u64| Member {
            node: NodeId::from_bytes(id(number)),
            incarnation: Incarnation::from_bytes(id(mix(number))),
        };
        (0..members).map(|number| lot(place, member(number))).collect()
    }

    #[test]
    fn few_are_counted_and_many_are_estimated() {
        for holders in 0..=WITNESSES_MAX as u64 - 1 {
            assert_eq!(lots(holders).into_iter().collect::<Lots>().holders(), holders);
        }
        for holders in [100, 1_000, 10_000] {
            let told = lots(holders).into_iter().collect::<Lots>().holders();
            assert!((holders / 2..holders * 2).contains(&told), "{holders}: {told}");
        }
    }

    /// It is a part of the wire: all nodes must drop the same claims.
    #[test]
    fn golden_lot() {
        assert_eq!(lots(1), [0x11be_b8d8_9c8e_9063]);
    }

    #[test]
    fn only_the_lowest_speak_at_once_and_the_others_later_or_never() {
        let mut all = lots(1_000);
        all.sort_unstable();
        let none = Lots::default();
        let at_once = all.iter().filter(|lot| none.waits(**lot, 1_000) == Some(0)).count();
        assert!((8..32).contains(&at_once), "{at_once}");
        let soonest = all.iter().filter_map(|lot| none.waits(*lot, 1_000)).filter(|wait| *wait > 0);
        assert_eq!(soonest.min(), Some(9), "the first are told to all before others speak");
        let longest = none.waits(u64::MAX, 1_000).expect("nobody else speaks");
        assert!((15..25).contains(&longest), "{longest}");
        let known: Lots = all[1..=WITNESSES_MAX].iter().copied().collect();
        assert_eq!(known.waits(all[0], 1_000), Some(0));
        assert_eq!(known.waits(all[WITNESSES_MAX], 1_000), Some(0), "it is one of them");
        assert!(all[WITNESSES_MAX + 1..].iter().all(|lot| known.waits(*lot, 1_000).is_none()));
        assert!((0..WITNESSES_MAX).all(|few| none.waits(all[few], few) == Some(0)));
    }
}
