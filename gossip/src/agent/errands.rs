//! What a node has to do with groups that are not its own (`records/affinity`): to look for what
//! they keep (`lookups`), to have them keep what it publishes, to see now and then that they still
//! do (`deliveries`). Other errands are of a search, of what a witness saw, of who claims a name.
//!
//! Each is a question to one member of the group, or of the zone, or to the node itself
//! (`question`); if he does not answer in time another is asked. This file asks, and hands each
//! answer to whom it is for; `answering` is the other end.

mod answering;
mod deliveries;
mod lookups;

use std::collections::BTreeMap;

use live_objects::{Evidence, Io, NodeId, ObjectId, Rng, Target, Time, Via};
use tracing::trace;

pub(super) use self::answering::Beside;
use self::answering::Work;
pub(super) use self::deliveries::DUE_MAX;
use self::deliveries::Due;
use self::lookups::Lookup;
use super::directory::Asked;
use super::searches::Zone;
use super::{Agent, len_max, send};
use crate::control::Control;
use crate::knowledge::Source;
use crate::question::{Answer, Clue, QUESTIONS_MAX, Question, Questions, Verdict};
use crate::records::affinity::{Depth, Part};
use crate::records::{Record, RecordKey};
use crate::wire::{HEAD_LEN, Leg, Packet};

/// What is under way.
pub(super) struct Errands {
    questions: Questions<About>,
    lookups: BTreeMap<Asked, Lookup>,
    /// Entries of this node that are to be brought to those who keep them, and when.
    due: Due,
    /// And those that it brings to each of them itself, and to whom last.
    by_hand: BTreeMap<RecordKey, Option<NodeId>>,
    /// What others' questions took.
    work: Work,
}

/// For what a question is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum About {
    /// For a command: what is sought, in the group of this place by so many bits.
    Find { asked: Asked, place: NodeId, depth: Depth },
    /// For a search, in a zone of so many bits.
    Search { asked: Asked, bits: u8 },
    /// So that these are kept.
    Keep(Vec<RecordKey>),
    /// Whether this part is kept.
    Check(Part),
    /// For a command: what a witness saw of a node.
    Why { asked: Asked, node: NodeId },
    /// Whether who is said to claim an object's name does.
    Claim { object: ObjectId, key: RecordKey },
}

/// A piece of an answer, and whether it is the last.
pub(super) struct Piece {
    pub(super) number: u32,
    pub(super) answer: Answer,
    pub(super) records: Vec<Record>,
    pub(super) last: bool,
}

impl Errands {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            questions: Questions::new(rng),
            lookups: BTreeMap::new(),
            due: Due::default(),
            by_hand: BTreeMap::new(),
            work: Work::default(),
        }
    }

    /// Whether no more commands can be answered.
    pub(super) fn is_full(&self) -> bool {
        self.questions.is_full() || self.lookups.len() >= QUESTIONS_MAX
    }

    /// Whether entries are brought by hand, to one after another.
    pub(super) fn is_going_round(&self) -> bool {
        !self.by_hand.is_empty()
    }

    /// An object is closed: what it asked is asked for nobody. Its next life counts its commands
    /// from 0 again, and must not be given answers to those of this one.
    pub(super) fn forget(&mut self, object: ObjectId) {
        self.lookups.retain(|asked, _| asked.object != object);
        self.questions.retain(|about| about.asked().is_none_or(|asked| asked.object != object));
    }

    /// A search has ended before all were asked.
    pub(super) fn forget_search(&mut self, asked: Asked) {
        self.questions.retain(|about| about.asked() != Some(asked));
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.questions.next_deadline()
    }
}

impl About {
    /// For which command, if it is for one.
    fn asked(&self) -> Option<Asked> {
        match self {
            Self::Find { asked, .. } | Self::Search { asked, .. } | Self::Why { asked, .. } => {
                Some(*asked)
            }
            Self::Keep(_) | Self::Check(_) | Self::Claim { .. } => None,
        }
    }
}

impl Agent {
    pub(super) fn on_deadlines_of_errands(&mut self, now: Time, io: &mut Io<'_>) {
        while let Some(number) = self.errands.questions.due(now) {
            self.put_question(now, number, io);
        }
    }

    /// Asks somebody in a zone what it knows of a search.
    pub(super) fn put_search(&mut self, now: Time, asked: Asked, zone: Zone, io: &mut Io<'_>) {
        let Zone { part, bits } = zone;
        let number = self.errands.questions.open(About::Search { asked, bits }, part, now);
        self.put_question(now, number, io);
    }

    /// Asks a witness what it saw of a node.
    pub(super) fn put_why(
        &mut self,
        now: Time,
        (asked, node): (Asked, NodeId),
        witness: NodeId,
        io: &mut Io<'_>,
    ) {
        let witness = Part { first: witness, last: witness };
        let number = self.errands.questions.open(About::Why { asked, node }, witness, now);
        self.put_question(now, number, io);
    }

    /// Asks who is said to claim an object's name whether he does. Tells whether he can be asked.
    pub(super) fn put_claim(
        &mut self,
        now: Time,
        object: ObjectId,
        key: RecordKey,
        io: &mut Io<'_>,
    ) -> bool {
        if self.errands.questions.is_full() {
            return false;
        }
        let claimant = Part { first: key.publisher, last: key.publisher };
        let number = self.errands.questions.open(About::Claim { object, key }, claimant, now);
        self.put_question(now, number, io);
        self.errands.questions.get(number).is_some()
    }

    /// Puts a question to somebody who was not asked yet, or gives it up. Gives how many bytes that
    /// took.
    fn put_question(&mut self, now: Time, number: u32, io: &mut Io<'_>) -> usize {
        let Some(open) = self.errands.questions.get(number).cloned() else { return 0 };
        let members = self.knowledge.members();
        // Where nobody else is left, as in a zone of one, whoever did not answer is asked again.
        let excepted = [&open.asked[..], &[]];
        let to = excepted
            .into_iter()
            .filter(|_| !open.is_in_vain())
            .find_map(|except| self.partners.some_of(open.among, 1, members, except).pop());
        if !open.asked.is_empty() {
            io.count("gossip.question_again");
        }
        let Some(to) = to else {
            trace!(?open, "nobody answered");
            io.count("gossip.question_in_vain");
            self.errands.questions.remove(number);
            self.on_answered(now, open.about, None, io);
            return 0;
        };
        let mut packet = Packet::new(Leg::Ask { number });
        packet.question = Some(self.question(&open.about));
        if let About::Keep(keys) = &open.about {
            let records = &self.shelves.entries.records;
            packet.news.records = keys.iter().filter_map(|key| records.record(key)).collect();
        }
        if let About::Claim { key, .. } = &open.about {
            packet.news.records.extend(self.shelves.claims.records.record(key));
        }
        if let About::Search { .. } = open.about {
            io.count("gossip.search_asked");
        }
        let len = packet.encoded_len();
        self.errands.questions.ask(number, to, now + self.config.ack_timeout);
        // A packet that is too long for the path is one that nobody answers.
        if len_max(to, io).is_some_and(|len_max| len <= len_max) {
            self.said_bytes += len + HEAD_LEN;
            send(&packet, to, io);
        }
        len
    }

    fn question(&self, about: &About) -> Question {
        match about {
            About::Find { asked, .. } => {
                let lookup = &self.errands.lookups[asked];
                Question::Find { object: asked.object, sought: lookup.sought().clone() }
            }
            About::Search { asked, bits } => {
                let matching = self.searches.matching(*asked).clone();
                Question::Search { object: asked.object, bits: *bits, matching }
            }
            About::Keep(_) => Question::Keep,
            About::Check(part) => {
                let me = self.knowledge.members().me();
                let (count, sum) = self.shelves.entries.records.sum_of(me, *part);
                Question::Check { depth: self.shelves.depth.code(), count, sum }
            }
            About::Why { node, .. } => Question::Why(*node),
            About::Claim { .. } => Question::Claim,
        }
    }

    /// An answer came, in a datagram.
    pub(super) fn on_answer_to_ask(
        &mut self,
        now: Time,
        from: NodeId,
        packet: &Packet,
        io: &mut Io<'_>,
    ) {
        let (Leg::Answer { number }, Some(answer)) = (packet.leg, packet.answer) else {
            return io.count("gossip.malformed");
        };
        let about = self.errands.questions.get(number).map(|open| &open.about);
        if let Some(About::Search { bits, .. }) = about {
            let is_clue = |clue: &Clue| Self::is_clue_to(*bits, clue);
            match packet.clue.as_ref().filter(|clue| is_clue(clue)) {
                Some(clue) => self.on_answer_to_search(now, from, (number, clue), io),
                None => io.count("gossip.clue_amiss"),
            }
            return;
        }
        if answer.verdict == Verdict::Long {
            let Some(open) = self.errands.questions.get(number) else { return };
            if open.asked.last() != Some(&from) || open.is_prolonged() {
                return;
            }
            let question = self.question(&open.about);
            let asked = Control::Ask { number, question }.encode();
            if io.send(Target::Node(from), Via::Control, asked).is_ok() {
                self.errands.questions.postpone(number, now + LONG_PERIODS * self.config.period);
            }
            return;
        }
        if let Some(About::Why { .. }) = about {
            return self.on_answer_to_why(now, from, (number, packet.evidence.as_deref()), io);
        }
        let records = packet.news.records.clone();
        self.on_piece_of_answer(now, from, Piece { number, answer, records, last: true }, io);
    }

    fn on_answer_to_search(
        &mut self,
        now: Time,
        from: NodeId,
        (number, clue): (u32, &Clue),
        io: &mut Io<'_>,
    ) {
        match self.errands.questions.answered(number, from, now) {
            Some(About::Search { asked, .. }) => {
                self.errands.questions.remove(number);
                self.on_clue(now, asked, (from, clue.clone()), io);
            }
            _ => io.count("gossip.unsolicited"),
        }
    }

    fn on_answer_to_why(
        &mut self,
        now: Time,
        from: NodeId,
        (number, evidence): (u32, Option<&[Evidence]>),
        io: &mut Io<'_>,
    ) {
        let Some(evidence) = evidence else { return io.count("gossip.evidence_amiss") };
        match self.errands.questions.answered(number, from, now) {
            Some(About::Why { asked, .. }) => {
                self.errands.questions.remove(number);
                self.on_testimony(now, asked, (from, evidence), io);
            }
            _ => io.count("gossip.unsolicited"),
        }
    }

    pub(super) fn on_piece_of_answer(
        &mut self,
        now: Time,
        from: NodeId,
        Piece { number, answer, records, last }: Piece,
        io: &mut Io<'_>,
    ) {
        let until = now + LONG_PERIODS * self.config.period;
        let about = self.errands.questions.get(number).map(|open| &open.about);
        if let Some(About::Search { .. } | About::Why { .. }) = about {
            return io.count("gossip.clue_amiss");
        }
        let Some(about) = self.errands.questions.answered(number, from, until) else {
            return io.count("gossip.unsolicited");
        };
        match &about {
            About::Find { asked, .. } => self.tell_found(*asked, records, io),
            About::Check(_) | About::Keep(_) => {
                // What is not its own, it withdraws.
                let me = self.knowledge.members().me();
                let own: Vec<Record> =
                    records.into_iter().filter(|it| it.key.publisher == me).collect();
                self.hear_records(from, &own, Source::News, io);
            }
            About::Claim { object, key } => {
                let his: Vec<_> = records.into_iter().filter(|it| it.key == *key).collect();
                self.hear_records(from, &his, Source::News, io);
                self.on_claimant(*object, his.last());
            }
            About::Search { .. } | About::Why { .. } => {}
        }
        if last {
            self.errands.questions.remove(number);
            self.on_answered(now, about, Some((from, answer)), io);
        }
    }

    /// A question was answered, or nobody answers it.
    fn on_answered(
        &mut self,
        now: Time,
        about: About,
        answer: Option<(NodeId, Answer)>,
        io: &mut Io<'_>,
    ) {
        let verdict = answer.map(|(_, answer)| answer.verdict);
        match about {
            About::Find { asked, place, depth } => {
                self.on_group_answered(now, (asked, place, depth), answer, io);
            }
            About::Keep(keys) if verdict != Some(Verdict::Whole) => self.bring_again(keys, io),
            About::Check(part) if verdict == Some(Verdict::Not) => self.bring_all(part, io),
            About::Search { asked, .. } => self.on_no_clue(asked),
            About::Why { asked, .. } => self.on_no_testimony(asked, io),
            About::Claim { object, key } if verdict.is_none() => {
                let claimed = self.shelves.claims.records.record(&key);
                self.on_claimant(object, claimed.as_ref());
            }
            About::Claim { .. } | About::Keep(_) | About::Check(_) => {}
        }
    }
}

/// How long an answer over a link may take, in periods.
const LONG_PERIODS: u32 = 10;
