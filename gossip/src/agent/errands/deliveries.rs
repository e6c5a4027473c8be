//! Bringing what this node publishes to those who keep it.
//!
//! An entry is brought to one member of its group, who pushes it on to others of the group, and
//! brought to another if it is not told in time that the first has it. After that the group looks
//! after it by itself; its publisher asks every minute or so whether the sum of what it published
//! is what they keep, and brings it all again if not; if they keep more, they tell what, and it
//! withdraws what others wrote in its name.
//!
//! What has a version of which all believe its publisher alone, because others wrote in its name
//! before, the group cannot pass on. The publisher brings it to each of them in turn, *by hand*.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Io, NodeId, Time};

use super::{About, Errands};
use crate::agent::Agent;
use crate::records::affinity::Part;
use crate::records::{RecordKey, Records, Version};
use crate::wire::PACKET_LEN_MAX;

/// What is to be brought, each once.
#[derive(Default)]
pub(super) struct Due {
    order: BTreeSet<(u64, RecordKey)>,
    rounds: BTreeMap<RecordKey, u64>,
}

impl Due {
    /// Says whether there was room: of what is there already the earlier round holds.
    fn add(&mut self, round: u64, key: RecordKey, max: usize) -> bool {
        match self.rounds.get(&key).copied() {
            Some(before) if before <= round => return true,
            Some(before) => drop(self.order.remove(&(before, key.clone()))),
            None if self.rounds.len() >= max => return false,
            None => {}
        }
        self.order.insert((round, key.clone()));
        self.rounds.insert(key, round);
        true
    }

    fn remove(&mut self, item: &(u64, RecordKey)) {
        self.order.remove(item);
        self.rounds.remove(&item.1);
    }
}

impl Errands {
    /// Entries are to be brought to those who keep them, each from a round on, if no more than so
    /// many wait then. What is one too many is brought when it turns out that it is not kept.
    fn bring(
        &mut self,
        due: impl IntoIterator<Item = (u64, RecordKey)>,
        max: usize,
        io: &mut Io<'_>,
    ) {
        for (round, key) in due {
            if !self.due.add(round, key, max) {
                io.count("gossip.deliveries_full");
            }
        }
    }
}

impl Agent {
    /// An entry of this node is to be kept by others.
    pub(in crate::agent) fn deliver_entry(&mut self, key: RecordKey, max: usize, io: &mut Io<'_>) {
        self.errands.bring([(self.rounds, key)], max, io);
    }

    /// An entry of this node is to be brought to each that keeps it, since they believe nobody else
    /// of it.
    pub(in crate::agent) fn bring_by_hand(&mut self, key: RecordKey) {
        // A node publishes no more than half of that.
        if self.errands.by_hand.len() < DUE_MAX {
            self.errands.by_hand.insert(key, None);
        }
    }

    /// The same, of all such entries in a part, unless that is being done.
    fn bring_all_by_hand(&mut self, part: Part) {
        let (me, records) = (self.knowledge.members().me(), &self.shelves.entries.records);
        let own = records.keys_of(me).filter(|key| part.has(key.place()));
        let own = own.filter(|key| records.version(key) > Some(Version::HEARSAY_MAX));
        for key in own.cloned().collect::<Vec<_>>() {
            if !self.errands.by_hand.contains_key(&key) {
                self.bring_by_hand(key);
            }
        }
    }

    /// Brings some entries to the next that keeps each of them, by id.
    fn go_round(&mut self, now: Time, io: &mut Io<'_>) {
        let keys: Vec<RecordKey> = self.errands.by_hand.keys().take(BY_HAND_MAX).cloned().collect();
        for key in keys {
            if self.errands.questions.is_full() {
                return;
            }
            let (members, last) = (self.knowledge.members(), self.errands.by_hand[&key]);
            let part = self.shelves.depth.part(key.place());
            let rest = members.up_between(last.unwrap_or(part.first), part.last);
            let is_next = |node: &NodeId| Some(*node) != last && *node != members.me();
            let Some(next) = rest.map(|(node, _)| node).find(is_next) else {
                // Whoever was away is found when it is asked for.
                self.errands.by_hand.remove(&key);
                continue;
            };
            self.errands.by_hand.insert(key.clone(), Some(next));
            let to = Part { first: next, last: next };
            let number = self.errands.questions.open(About::Keep(vec![key]), to, now);
            self.put_question(now, number, io);
        }
    }

    /// There are more groups from now on, or fewer: what this node publishes is kept by others.
    pub(in crate::agent) fn on_groups_change(&mut self) {
        let (me, round) = (self.knowledge.members().me(), self.rounds);
        let records = &self.shelves.entries.records;
        let away = records.keys_of(me).filter(|key| !records.keeps(key.place()));
        let mut due = Due::default();
        for key in away {
            // A node publishes no more than that.
            due.add(round, key.clone(), DUE_MAX);
        }
        self.errands.due = due;
        self.bring_all_by_hand(Part::ALL);
    }

    pub(in crate::agent) fn on_round_of_errands(&mut self, now: Time, io: &mut Io<'_>) {
        self.errands.work.on_round();
        let mut bytes = 0;
        while bytes < DELIVERED_BYTES_MAX && !self.errands.questions.is_full() {
            let Some((due, first)) = self.errands.due.order.first().cloned() else { break };
            if due > self.rounds {
                break;
            }
            bytes += self.deliver(now, &first, io);
        }
        self.go_round(now, io);
        self.check(now, io);
    }

    /// Brings an entry to somebody who is to keep it, and with it others of that group. Gives how
    /// many bytes that took.
    fn deliver(&mut self, now: Time, first: &RecordKey, io: &mut Io<'_>) -> usize {
        let (depth, round) = (self.shelves.depth, self.rounds);
        let (part, among) = (depth.part(first.place()), self.askable(first.place()));
        let records = &self.shelves.entries.records;
        let due = self.errands.due.order.iter().take_while(|(due, _)| *due <= round);
        let beside = due.filter(|(_, key)| part.has(key.place())).take(BESIDE_MAX);
        let mut room = ROOM_FOR_ENTRIES;
        let mut together = Vec::new();
        for item in beside.cloned().collect::<Vec<_>>() {
            let len = records.record(&item.1).map_or(0, |record| record.encoded_len());
            if together.is_empty() || len <= room {
                room = room.saturating_sub(len);
                self.errands.due.remove(&item);
                together.push(item.1);
            }
        }
        let about = About::Keep(together);
        let number = self.errands.questions.open(about, among, now);
        self.put_question(now, number, io)
    }

    /// Each group in its turn is asked whether it keeps what this node published there.
    fn check(&mut self, now: Time, io: &mut Io<'_>) {
        let depth = self.shelves.depth;
        let every = CHECK_ROUNDS.max(depth.groups().into());
        // Who slept for longer asks each once.
        let first = (self.rounds_before + 1).max((self.rounds + 1).saturating_sub(every));
        for round in first..=self.rounds {
            let Some(place) = depth.places().nth((round % every) as usize) else { continue };
            let part = depth.part(place);
            let me = self.knowledge.members().me();
            let records = &self.shelves.entries.records;
            let (count, _) = records.sum_of(me, part);
            // What others publish there in its name it looks for more seldom.
            let is_turn = records.len() > 0 && (round / every).is_multiple_of(SELDOM);
            let is_due = count > 0 || is_turn;
            if !is_due || part.has(me) || self.errands.questions.is_full() {
                continue;
            }
            let about = About::Check(part);
            let number = self.errands.questions.open(about, self.askable(place), now);
            self.put_question(now, number, io);
        }
    }

    /// Nobody said to keep these.
    pub(super) fn bring_again(&mut self, keys: Vec<RecordKey>, io: &mut Io<'_>) {
        let again = self.rounds + AGAIN_ROUNDS;
        self.errands.bring(keys.into_iter().map(|key| (again, key)), DUE_MAX, io);
    }

    /// Of what this node published in this part some is not kept.
    pub(super) fn bring_all(&mut self, part: Part, io: &mut Io<'_>) {
        let (me, round) = (self.knowledge.members().me(), self.rounds);
        let own = self.shelves.entries.records.keys_of(me);
        let lacking = own.filter(|key| part.has(key.place()));
        let lacking: Vec<_> = lacking.map(|key| (round, key.clone())).collect();
        self.errands.bring(lacking, DUE_MAX, io);
        self.bring_all_by_hand(part);
    }
}

/// How many entries wait to be brought to others, at most: twice as many as a node may publish.
pub(in crate::agent) const DUE_MAX: usize = 2 * Records::PUBLISHER_MAX;

/// How many bytes of entries are brought to others in a period.
const DELIVERED_BYTES_MAX: usize = 2_400;

/// How many bytes of them go into a packet, beside the question.
const ROOM_FOR_ENTRIES: usize = PACKET_LEN_MAX - 64;

/// How many entries are brought by hand in a round, to one each.
const BY_HAND_MAX: usize = 8;

/// Among how many that are due others of the same group are looked for.
const BESIDE_MAX: usize = 64;

/// After how many rounds an entry that nobody said to keep is brought again.
const AGAIN_ROUNDS: u64 = 5;

/// How often a group is asked whether it keeps what it should; and one that should keep nothing, in
/// one of so many turns.
const CHECK_ROUNDS: u64 = 300;
const SELDOM: u64 = 10;

#[cfg(test)]
mod tests {
    use live_objects::ObjectId;

    use super::*;

    #[test]
    fn each_is_due_once_and_no_more_than_so_many() {
        let object = ObjectId::from_bytes([1; 16]);
        let publisher = NodeId::from_bytes([2; 16]);
        let key = |key: u8| RecordKey { object, key: vec![key].into(), publisher };
        let mut due = Due::default();
        assert!(due.add(5, key(1), 2) && due.add(7, key(1), 2), "it is there already");
        assert!(due.add(9, key(2), 2) && !due.add(1, key(3), 2), "one too many");
        assert!(due.add(3, key(2), 2), "it is earlier");
        let order: Vec<_> = due.order.iter().cloned().collect();
        assert_eq!(order, [(3, key(2)), (5, key(1))]);
        due.remove(&order[0]);
        assert!(due.add(4, key(3), 2));
        assert_eq!((due.order.len(), due.rounds.len()), (2, 2));
    }
}
