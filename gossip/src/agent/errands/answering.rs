//! What others ask of this node (`question`), and what it answers: from what it keeps, and at once.
//!
//! A question comes in a datagram, and its answer goes in one if it fits; if not whoever asked is
//! told so, and asks again over a link, where an answer is as many messages as it takes.

use live_objects::{Io, NodeId, Target, Via};

use crate::agent::{Agent, len_max, send};
use crate::control::Control;
use crate::question::{Answer, Question, Verdict};
use crate::records::{Collection, Record, Sought, place};
use crate::wire::{HEAD_LEN, Leg, PACKET_LEN_MAX, Packet, SECTION_LEN};

/// What came in the packet of a question.
#[derive(Clone, Copy, Default)]
pub(in crate::agent) struct Beside<'a> {
    pub(in crate::agent) records: &'a [Record],
    /// Whether this node keeps them all.
    pub(in crate::agent) are_kept: bool,
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
        let Some(len_max) = len_max(from, io) else { return };
        let mut packet = Packet::new(Leg::Answer { number });
        if let Question::Search { object, bits, matching } = question {
            packet.clue = Some(self.clue(*object, *bits, matching));
        }
        let (verdict, records) = self.answer(from, question, beside);
        let answer = Answer { verdict, depth: self.shelves.depth.code() };
        packet.answer = Some(answer);
        if packet.encoded_len() > len_max {
            // The path takes less than others do. Whoever asks will ask another.
            return io.count("gossip.answer_too_long");
        }
        let room = len_max.saturating_sub(packet.encoded_len() + SECTION_LEN);
        if records.iter().map(Record::encoded_len).sum::<usize>() <= room {
            packet.news.records = records;
        } else {
            packet.answer = Some(Answer { verdict: Verdict::Long, ..answer });
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
        let (verdict, records) = self.answer(from, question, Beside::default());
        let answer = Answer { verdict, depth: self.shelves.depth.code() };
        for piece in Control::answer(number, answer, records) {
            if io.send(Target::Node(from), Via::Bulk, piece.encode()).is_err() {
                // Whoever asks will ask another.
                io.count("gossip.answer_unsent");
                return;
            }
        }
    }

    fn answer(
        &self,
        from: NodeId,
        question: &Question,
        beside: Beside<'_>,
    ) -> (Verdict, Vec<Record>) {
        let records = &self.shelves.entries.records;
        match question {
            Question::Find { object, sought: Sought::Key(key) }
                if !records.keeps(place(*object, key)) =>
            {
                (Verdict::Not, Vec::new())
            }
            Question::Find { object, sought } => {
                let found = records.sought(*object, sought);
                let kept = found.filter(|record| records.keeps(record.key.place()));
                (Verdict::Whole, kept.take_while(fits(ANSWER_BYTES_MAX)).collect())
            }
            Question::Keep => {
                // Somebody may have said more in his name than he did: he sees what.
                let his = beside.records.iter().filter(|record| record.key.publisher == from);
                let above = his.filter_map(|said| {
                    let held = records.record(&said.key)?;
                    (held.precedence() > said.precedence()).then_some(held)
                });
                let above = above.take_while(fits(PACKET_LEN_MAX / 2)).collect();
                (if beside.are_kept { Verdict::Whole } else { Verdict::Not }, above)
            }
            Question::Claim => {
                let (me, claims) = (self.knowledge.members().me(), &self.shelves.claims.records);
                let own = beside.records.iter().filter(|record| record.key.publisher == me);
                // If it is not so it was overruled when it was heard.
                let own: Vec<_> = own.filter_map(|record| claims.record(&record.key)).collect();
                let is_so = own.iter().any(|claim| claim.value.is_some());
                (if is_so { Verdict::Whole } else { Verdict::Not }, own)
            }
            Question::Check { depth, count, sum } => {
                let part = self.shelves.depth.part(self.knowledge.members().me());
                let (kept, kept_sum) = records.sum_of(from, part);
                let is_same =
                    self.shelves.depth.code() == *depth && (kept, kept_sum) == (*count, *sum);
                if is_same {
                    return (Verdict::Whole, Vec::new());
                }
                // Where more is kept than he published somebody else wrote in his name: he sees
                // what.
                let his = records.keys_of(from).filter(|key| part.has(key.place()));
                let his = his.filter(|_| kept >= *count).filter_map(|key| records.record(key));
                (Verdict::Not, his.take_while(fits(ANSWER_BYTES_MAX)).collect())
            }
            // What is known of it stands beside.
            Question::Search { .. } | Question::Why(_) => (Verdict::Whole, Vec::new()),
        }
    }
}

/// Whether one record more fits into an answer of so many bytes; the first does in any case.
fn fits(bytes_max: usize) -> impl FnMut(&Record) -> bool {
    let mut bytes = 0;
    move |record| {
        let is_first = bytes == 0;
        bytes += record.encoded_len();
        is_first || bytes <= bytes_max
    }
}

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 512 << 10;
