//! What others ask of this node (`question`), and what it answers: from what it keeps, and at once.
//!
//! A question comes in a datagram, and its answer goes in one if it fits; if not whoever asked is
//! told so, and asks again over a link, where an answer is as many messages as it takes.
//!
//! A question is short, and looks through much: so what is looked at ends with the room that there
//! is for the answer, and is bounded in a round. Whoever is not answered asks another.

use std::collections::BTreeMap;

use live_objects::{Io, NodeId, Target, Via};

use crate::agent::{Agent, len_max, send};
use crate::control::Control;
use crate::question::{Answer, Question, Verdict};
use crate::records::{Collection, Record, Sought, place};
use crate::wire::{HEAD_LEN, Leg, Packet, SECTION_LEN};

/// What came in the packet of a question.
#[derive(Clone, Copy, Default)]
pub(in crate::agent) struct Beside<'a> {
    pub(in crate::agent) records: &'a [Record],
    /// Whether this node keeps them all.
    pub(in crate::agent) are_kept: bool,
}

/// How many records were looked at in this round, for questions that came in datagrams.
#[derive(Default)]
pub(super) struct Work {
    all: usize,
    of: BTreeMap<NodeId, usize>,
}

impl Work {
    /// Whether one more question of this one is answered.
    fn has_left(&self, from: NodeId) -> bool {
        self.all < WORK_MAX && self.of.get(&from).is_none_or(|his| *his < WORK_MAX / ONE_OF)
    }

    /// A question of this one took as much.
    fn add(&mut self, from: NodeId, looked: usize) {
        self.all += looked;
        *self.of.entry(from).or_default() += looked;
    }

    pub(super) fn on_round(&mut self) {
        *self = Self::default();
    }
}

/// What is answered.
struct Found {
    verdict: Verdict,
    records: Vec<Record>,
    /// Whether there is more than has room.
    is_cut: bool,
    /// How many records were looked at.
    looked: usize,
}

impl Found {
    fn new(verdict: Verdict) -> Self {
        Self { verdict, records: Vec::new(), is_cut: false, looked: 0 }
    }

    /// With these, as far as they have room.
    fn with(mut self, records: impl Iterator<Item = Record>, bytes_max: usize) -> Self {
        let mut bytes = 0;
        for record in records {
            bytes += record.encoded_len();
            if bytes > bytes_max {
                self.is_cut = true;
                break;
            }
            self.records.push(record);
        }
        self
    }
}

impl Agent {
    /// Somebody asks.
    pub(in crate::agent) fn on_ask(
        &mut self,
        from: NodeId,
        (number, question): (u32, &Question),
        beside: Beside<'_>,
        io: &mut Io<'_>,
    ) {
        if !self.errands.work.has_left(from) {
            return io.count("gossip.questions_full");
        }
        let Some(len_max) = len_max(from, io) else { return };
        let mut packet = Packet::new(Leg::Answer { number });
        if let Question::Search { object, bits, matching } = question {
            packet.clue = Some(self.clue(*object, *bits, matching));
        }
        let depth = self.shelves.depth.code();
        packet.answer = Some(Answer { verdict: Verdict::Long, depth });
        let room = len_max.checked_sub(packet.encoded_len());
        let records_room = room.unwrap_or(0).saturating_sub(SECTION_LEN);
        let Found { verdict, records, is_cut, looked } =
            self.answer(from, question, beside, records_room);
        self.errands.work.add(from, 1 + looked);
        if room.is_none() {
            // The path takes less than others do. Whoever asks will ask another.
            return io.count("gossip.answer_too_long");
        }
        if !is_cut {
            packet.answer = Some(Answer { verdict, depth });
            packet.news.records = records;
        }
        self.said_bytes += packet.encoded_len() + HEAD_LEN;
        send(&packet, from, io);
    }

    /// Somebody asks over a link.
    pub(in crate::agent) fn on_long_ask(
        &mut self,
        from: NodeId,
        number: u32,
        question: &Question,
        io: &mut Io<'_>,
    ) {
        if !self.may_answer(from, Collection::Entries, io) {
            return;
        }
        let Found { verdict, records, .. } =
            self.answer(from, question, Beside::default(), ANSWER_BYTES_MAX);
        let answer = Answer { verdict, depth: self.shelves.depth.code() };
        for piece in Control::answer(number, answer, records) {
            if io.send(Target::Node(from), Via::Bulk, piece.encode()).is_err() {
                // Whoever asks will ask another.
                io.count("gossip.answer_unsent");
                return;
            }
        }
    }

    /// What this node has to say, in no more than so many bytes of records.
    fn answer(
        &self,
        from: NodeId,
        question: &Question,
        beside: Beside<'_>,
        bytes_max: usize,
    ) -> Found {
        let records = &self.shelves.entries.records;
        match question {
            Question::Find { object, sought: Sought::Key(key) }
                if !records.keeps(place(*object, key)) =>
            {
                Found::new(Verdict::Not)
            }
            Question::Find { object, sought } => {
                let mut looked = 0;
                let found = records.sought(*object, sought).inspect(|_| looked += 1);
                let kept = found.filter(|record| records.keeps(record.key.place()));
                let found = Found::new(Verdict::Whole).with(kept, bytes_max);
                Found { looked, ..found }
            }
            Question::Keep => {
                // Somebody may have said more in his name than he did: he sees some of it.
                let his = beside.records.iter().filter(|record| record.key.publisher == from);
                let above = his.filter_map(|said| {
                    let held = records.record(&said.key)?;
                    (held.precedence() > said.precedence()).then_some(held)
                });
                let verdict = if beside.are_kept { Verdict::Whole } else { Verdict::Not };
                Found { is_cut: false, ..Found::new(verdict).with(above, bytes_max) }
            }
            Question::Claim => {
                let (me, claims) = (self.knowledge.members().me(), &self.shelves.claims.records);
                let own = beside.records.iter().filter(|record| record.key.publisher == me);
                // If it is not so it was overruled when it was heard.
                let own: Vec<_> = own.filter_map(|record| claims.record(&record.key)).collect();
                let is_so = own.iter().any(|claim| claim.value.is_some());
                let verdict = if is_so { Verdict::Whole } else { Verdict::Not };
                Found::new(verdict).with(own.into_iter(), bytes_max)
            }
            Question::Check { depth, count, sum } => {
                let looked = records.keys_of(from).count();
                let part = self.shelves.depth.part(self.knowledge.members().me());
                let (kept, kept_sum) = records.sum_of(from, part);
                let is_same =
                    self.shelves.depth.code() == *depth && (kept, kept_sum) == (*count, *sum);
                if is_same {
                    return Found { looked, ..Found::new(Verdict::Whole) };
                }
                // Where more is kept than he published somebody else wrote in his name: he sees
                // what.
                let his = records.keys_of(from).filter(|key| part.has(key.place()));
                let his = his.filter(|_| kept >= *count).filter_map(|key| records.record(key));
                Found { looked, ..Found::new(Verdict::Not).with(his, bytes_max) }
            }
            // What is known of it stands beside.
            Question::Search { .. } | Question::Why(_) => Found::new(Verdict::Whole),
        }
    }
}

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 512 << 10;

/// How many records are looked at in a round for questions in datagrams: some hundredth of a
/// second's work. One can have the fourth part: thousands of lookups, or several comparisons of all
/// that it may publish.
const WORK_MAX: usize = 1 << 17;
const ONE_OF: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use crate::records::{RecordKey, Version};
    use live_objects::ObjectId;

    fn record(key: u8) -> Record {
        let object = ObjectId::from_bytes([1; ObjectId::LEN]);
        let publisher = entry(1, 1).member;
        let key = RecordKey { object, key: vec![key].into(), publisher: publisher.node };
        let (incarnation, version) = (publisher.incarnation, Version::at_start(1_000));
        Record { key, incarnation, version, value: Some("value".into()) }
    }

    /// Whoever asks for all that there is has little more than an answer looked at.
    #[test]
    fn no_more_is_looked_at_than_has_room() {
        let room = 3 * record(0).encoded_len();
        let mut looked = 0;
        let many = (0..100).map(record).inspect(|_| looked += 1);
        let found = Found::new(Verdict::Whole).with(many, room);
        assert_eq!((found.records.len(), found.is_cut), (3, true));
        assert_eq!(looked, 4);
        let found = Found::new(Verdict::Whole).with((0..3).map(record), room);
        assert_eq!((found.records.len(), found.is_cut), (3, false));
    }

    #[test]
    fn so_much_is_looked_at_in_a_round_and_for_one_a_quarter() {
        let mut work = Work::default();
        for node in 1..=ONE_OF as u8 {
            let from = entry(node, 1).member.node;
            assert!(work.has_left(from));
            work.add(from, WORK_MAX / ONE_OF - 1);
            assert!(work.has_left(from));
            work.add(from, 1);
            assert!(!work.has_left(from));
        }
        let from = entry(9, 1).member.node;
        assert!(!work.has_left(from));
        work.on_round();
        assert!(work.has_left(from));
    }
}
