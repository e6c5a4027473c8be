//! What a node has to do with groups that are not its own (`records/affinity`): to look for what
//! they keep, to have them keep what it publishes, to see now and then that they still do.
//!
//! Each is a question to one member of the group (`question`). A list is a question to each group;
//! what comes is told as it comes. What is published is brought to one member, who pushes it on to
//! others of the group, and brought to another if it is not told in time that the first has it.
//! After that the group looks after it by itself; its publisher asks every minute or so whether the
//! sum of what it published is what they keep, and brings it all again if not; if they keep more,
//! they tell what, and it withdraws what others wrote in its name.

mod answering;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use live_objects::{Evidence, Io, NodeId, ObjectId, Rng, Target, Time, Told, Via};
use tracing::trace;

pub(super) use self::answering::Beside;
use super::directory::Asked;
use super::searches::Zone;
use super::{Agent, len_max, send};
use crate::control::Control;
use crate::knowledge::Source;
use crate::question::{Answer, Clue, QUESTIONS_MAX, Question, Questions, Verdict};
use crate::records::affinity::{Depth, Part};
use crate::records::{Record, RecordKey, Records, Sought, place};
use crate::wire::{HEAD_LEN, Leg, PACKET_LEN_MAX, Packet};

/// What is under way.
pub(super) struct Errands {
    questions: Questions<About>,
    searches: BTreeMap<Asked, Search>,
    /// Entries of this node that are to be brought to those who keep them, and when.
    due: Due,
}

/// What is to be brought, each once.
#[derive(Default)]
struct Due {
    order: BTreeSet<(u64, RecordKey)>,
    rounds: BTreeMap<RecordKey, u64>,
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

/// A command that is being answered.
struct Search {
    sought: Sought,
    /// Groups that are still to be asked.
    rest: VecDeque<(NodeId, Depth)>,
    /// How many are asked now.
    under_way: usize,
    told: Told,
}

impl Errands {
    pub(super) fn new(rng: Rng) -> Self {
        let questions = Questions::new(rng);
        Self { questions, searches: BTreeMap::new(), due: Due::default() }
    }

    /// Whether no more searches can begin.
    pub(super) fn is_full(&self) -> bool {
        self.questions.is_full() || self.searches.len() >= QUESTIONS_MAX
    }

    /// An object is closed: what it asked is asked for nobody. Its next life counts its commands
    /// from 0 again, and must not be given answers to those of this one.
    pub(super) fn forget(&mut self, object: ObjectId) {
        self.searches.retain(|asked, _| asked.object != object);
        self.questions.retain(|about| about.asked().is_none_or(|asked| asked.object != object));
    }

    /// A search has ended before all were asked.
    pub(super) fn forget_search(&mut self, asked: Asked) {
        self.questions.retain(|about| about.asked() != Some(asked));
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.questions.next_deadline()
    }

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
    /// Asks those who keep it for what is sought.
    pub(super) fn ask_others(&mut self, now: Time, asked: Asked, sought: Sought, io: &mut Io<'_>) {
        let (own, depth) = (self.knowledge.members().me(), self.shelves.depth);
        let rest = match &sought {
            Sought::Key(key) => VecDeque::from([(place(asked.object, key), depth)]),
            // This node's own group is answered for.
            Sought::Prefix(_) => {
                let groups = depth.places().filter(|place| !depth.part(own).has(*place));
                groups.map(|place| (place, depth)).collect()
            }
        };
        let search = Search { sought, rest, under_way: 0, told: Told::All };
        self.errands.searches.insert(asked, search);
        self.go_on_searching(now, asked, io);
    }

    /// Asks the next groups, or tells that that was all.
    fn go_on_searching(&mut self, now: Time, asked: Asked, io: &mut Io<'_>) {
        let Some(search) = self.errands.searches.get_mut(&asked) else { return };
        let mut next = Vec::new();
        while search.under_way < UNDER_WAY_MAX
            && let Some(group) = search.rest.pop_front()
        {
            search.under_way += 1;
            next.push(group);
        }
        if search.under_way == 0 {
            let told = search.told;
            self.errands.searches.remove(&asked);
            self.directories.answer(asked, Vec::new(), told, io);
            return;
        }
        for (place, depth) in next {
            let about = About::Find { asked, place, depth };
            let number = self.errands.questions.open(about, self.askable(place), now);
            self.put_question(now, number, io);
        }
    }

    /// An entry of this node is to be kept by others.
    pub(super) fn deliver_entry(&mut self, key: RecordKey, max: usize, io: &mut Io<'_>) {
        self.errands.bring([(self.rounds, key)], max, io);
    }

    /// There are more groups from now on, or fewer: what this node publishes is kept by others.
    pub(super) fn on_groups_change(&mut self) {
        let (me, round) = (self.knowledge.members().me(), self.rounds);
        let records = &self.shelves.entries.records;
        let away = records.keys_of(me).filter(|key| !records.keeps(key.place()));
        let mut due = Due::default();
        for key in away {
            // A node publishes no more than that.
            due.add(round, key.clone(), DUE_MAX);
        }
        self.errands.due = due;
    }

    pub(super) fn on_round_of_errands(&mut self, now: Time, io: &mut Io<'_>) {
        let mut bytes = 0;
        while bytes < DELIVERED_BYTES_MAX && !self.errands.questions.is_full() {
            let Some((due, first)) = self.errands.due.order.first().cloned() else { break };
            if due > self.rounds {
                break;
            }
            bytes += self.deliver(now, &first, io);
        }
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
                let search = &self.errands.searches[asked];
                Question::Find { object: asked.object, sought: search.sought.clone() }
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
            About::Check(_) => {
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
            About::Keep(_) | About::Search { .. } | About::Why { .. } => {}
        }
        if last {
            self.errands.questions.remove(number);
            self.on_answered(now, about, Some((from, answer)), io);
        }
    }

    fn tell_found(&mut self, asked: Asked, mut records: Vec<Record>, io: &mut Io<'_>) {
        let Some(search) = self.errands.searches.get(&asked) else { return };
        // This node's own were told at once. Nobody has a say in what else was asked for.
        let me = self.knowledge.members().me();
        records.retain(|Record { key, value, .. }| {
            let is_sought = match &search.sought {
                Sought::Key(sought) => key.key == *sought,
                Sought::Prefix(sought) => key.key.starts_with(sought),
            };
            key.object == asked.object && key.publisher != me && is_sought && value.is_some()
        });
        let listings = self.listings(records, io);
        if !listings.is_empty() {
            self.directories.answer(asked, listings, Told::Part, io);
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
                let Some(search) = self.errands.searches.get_mut(&asked) else { return };
                search.under_way -= 1;
                match (answer, &search.sought) {
                    // Whoever answers may think of more groups, and keep less.
                    (Some((from, Answer { depth: theirs, .. })), Sought::Prefix(_)) => {
                        match depth.beside(place, Depth::from_code(theirs), from) {
                            Some(rest) => search.rest.extend(rest),
                            None => search.told = Told::Some,
                        }
                    }
                    (Some((_, Answer { verdict: Verdict::Whole, .. })), Sought::Key(_)) => {}
                    (_, Sought::Key(_)) | (None, Sought::Prefix(_)) => search.told = Told::Some,
                }
                self.go_on_searching(now, asked, io);
            }
            About::Keep(keys) if verdict != Some(Verdict::Whole) => {
                let again = self.rounds + AGAIN_ROUNDS;
                self.errands.bring(keys.into_iter().map(|key| (again, key)), DUE_MAX, io);
            }
            About::Check(part) if verdict == Some(Verdict::Not) => {
                let (me, round) = (self.knowledge.members().me(), self.rounds);
                let own = self.shelves.entries.records.keys_of(me);
                let lacking = own.filter(|key| part.has(key.place()));
                let lacking: Vec<_> = lacking.map(|key| (round, key.clone())).collect();
                self.errands.bring(lacking, DUE_MAX, io);
            }
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

/// How many groups are asked at one time for one command.
const UNDER_WAY_MAX: usize = 32;

/// How many entries wait to be brought to others, at most: twice as many as a node may publish.
pub(super) const DUE_MAX: usize = 2 * Records::PUBLISHER_MAX;

/// How many bytes of entries are brought to others in a period.
const DELIVERED_BYTES_MAX: usize = 2_400;

/// How many bytes of them go into a packet, beside the question.
const ROOM_FOR_ENTRIES: usize = PACKET_LEN_MAX - 64;

/// Among how many that are due others of the same group are looked for.
const BESIDE_MAX: usize = 64;

/// After how many rounds an entry that nobody said to keep is brought again.
const AGAIN_ROUNDS: u64 = 5;

/// How often a group is asked whether it keeps what it should; and one that should keep nothing, in
/// one of so many turns.
const CHECK_ROUNDS: u64 = 300;
const SELDOM: u64 = 10;

/// How long an answer over a link may take, in periods.
const LONG_PERIODS: u32 = 10;

#[cfg(test)]
mod tests {
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
