//! Which rows go into a packet: those of numbers in turn, those of sketches as they are asked for.
//!
//! A row of a number takes 8 to 15 bytes, so that a packet has room for a few tens of them. Of many
//! numbers each has its *turn*, in groups, by the round, which all know: for as many rounds as it
//! takes a row to come from a leaf to all, packets tell of one group alone, and in the first of
//! these the exchange that a node starts is at one level after the other, the deepest first, at all
//! nodes alike. So what is new goes up the tree at once, as by recursive doubling. (While each
//! level told of all numbers, some of them in each packet, it waited at every level anew, and of
//! 256 numbers at 300 nodes half of the members had not come to the root after 90 s.) Which group a
//! number is in goes by a hash, and each has a digest of its own: one number that is over, and not
//! everywhere, has its group told by names, which are long, and no other.
//!
//! A row of a sketch takes up to 900 bytes of a packet: they would go by the other when they are
//! not needed. So nobody tells of these unasked: each side says which rows it *wants*, and the
//! other gives as many of them as there is room for, first those that know most.
//!
//! ```text
//!  probe  numbers, wants         ▶
//!                                ◀  wanted rows, numbers, wants   ack
//!  rest   wanted rows            ▶
//! ```
//!
//! What a node has said in a round bounds what it tells so; who got none asks again. For the same
//! reason rows of sketches that lack members are mostly not told: they would be again when they do
//! not.
//!
//! Wanted are rows that lack members; if none at any level does, the eighth that is oldest, so that
//! there is room for who lacks some still. A want is a bit of 64, by the place of the subject among
//! all that are asked for, which is the same for all who take part in the same: a digest says
//! whether they do. (Where each told in turn what it had, most of it was known already or still
//! lacked members, and 100 nodes had not half of all after 40 rounds.)

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Aggregates, Branch};
use crate::partners::Partners;
use crate::wire::Naming;
use crate::wire::rows::{Rows, Subjects, Title};
use crate::zones::row::{Mark, Round, Row, Subject};

/// Which rows a packet tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) round: Round,
    /// At which it is.
    pub(super) level: usize,
    pub(super) naming: Naming,
    /// Those that are asked for.
    pub(super) wants: u64,
    /// So many bytes of them at most.
    pub(super) wanted_len_max: usize,
    /// How many members are known to be in this node's own zone.
    pub(super) members: u32,
    /// And those of numbers.
    pub(super) with_numbers: bool,
    /// Whether the receiver has the same digest, as far as is known.
    pub(super) is_agreed: bool,
}

impl Aggregates {
    /// Which rows are wanted of the sibling zone at this level, in which so many members are known.
    /// None if none are told for being asked for.
    pub(super) fn wants(&self, round: Round, level: usize, known: u32) -> Option<u64> {
        let asked = self.asked_for();
        // By the bit: whether any of its rows lacks members, and how old the oldest is.
        let mut held: BTreeMap<u64, (bool, i64)> = BTreeMap::new();
        for (place, subject) in asked.iter().enumerate() {
            let mark = self.branches[subject].table.held(level);
            let need = (mark.leaves != known, mark.age(round));
            let most = held.entry(bit(place)).or_insert(need);
            *most = need.max(*most);
        }
        let mut held: Vec<(u64, (bool, i64))> = held.into_iter().collect();
        let is_lacking = self.is_lacking() || held.iter().any(|(_, (is_lacking, _))| *is_lacking);
        if is_lacking {
            held.retain(|(_, (is_lacking, _))| *is_lacking);
        } else {
            held.sort_by_key(|(_, need)| Reverse(*need));
            held.truncate(held.len().div_ceil(OLDEST_PART));
        }
        let wants = held.into_iter().fold(0, |wants, (bit, _)| wants | bit);
        (!asked.is_empty()).then_some(wants)
    }

    /// What goes into a packet to a member in the sibling zone at this level. If any are asked for
    /// there may be no row in it: it says all the same who knows which handles.
    pub(super) fn tell(&mut self, asked: Asked, len_max: usize) -> Option<Rows> {
        let wanted_len_max = len_max.min(asked.wanted_len_max);
        let mut rows = self.tell_wanted(asked, wanted_len_max);
        let are_some_asked = rows.is_some();
        if asked.with_numbers {
            let len_max = if self.are_many() { wanted_len_max } else { len_max };
            rows = self.tell_numbers(rows, asked, len_max);
        }
        rows.filter(|rows| rows.section_len() <= len_max)
            .filter(|rows| are_some_asked || !rows.told.is_empty())
    }

    /// None if none are asked for.
    fn tell_wanted(&mut self, asked: Asked, len_max: usize) -> Option<Rows> {
        let Asked { round, level, .. } = asked;
        let (asked_for, ended) = (self.asked_for(), self.ended(round));
        let first = *asked_for.first().or(ended.first())?;
        let mark = self.branch(first).table.own_mark(level, round);
        let mut rows = Rows::new(round, self.digest(round), mark);
        let mut wanted: Vec<(usize, Title, Row)> = Vec::new();
        for (place, subject) in asked_for.iter().enumerate() {
            let mark = self.branch(*subject).table.own_mark(level, round);
            let is_wanted = asked.wants & bit(place) != 0;
            if is_wanted && is_worth_its_room(mark, asked.members, round) {
                let row = self.branch(*subject).table.own(level, round);
                // Several may be asked for the same at once: they should not all say the same.
                let turn = (place + self.rotation) % asked_for.len();
                let title = self.title(*subject, asked.naming);
                wanted.extend(title.map(|title| (turn, title, row)));
            }
        }
        wanted.sort_by_key(|(turn, _, row)| (Reverse(row.mark.leaves), *turn));
        for (_, title, row) in wanted {
            // Where a long one finds no room a shorter one may.
            self.rotation = self.rotation.wrapping_add(rows.add(title, row, len_max).into());
        }
        // Nobody wants what is gone. It is told to whoever has not heard that it is.
        let from = self.rotation % ended.len().max(1);
        let ended = ended[from..].iter().chain(&ended[..from]).copied();
        for subject in ended.filter(|_| asked.naming == Naming::InFull) {
            let row = self.branch(subject).table.own(level, round);
            let title = Title::Handle(subject.handle(), subject.summary);
            self.rotation = self.rotation.wrapping_add(rows.add(title, row, len_max).into());
        }
        Some(rows)
    }

    /// Of those numbers whose turn it is, beginning behind the last that was told at this level.
    fn tell_numbers(
        &mut self,
        mut rows: Option<Rows>,
        asked: Asked,
        len_max: usize,
    ) -> Option<Rows> {
        let Asked { round, level, .. } = asked;
        let all = self.numbers_to(asked);
        let told = self.told.get(&level).copied();
        let begin = told.map_or(0, |told| all.partition_point(|(subject, _)| *subject <= told));
        let subjects = self.digest(round);
        for (subject, title) in all[begin..].iter().chain(&all[..begin]).copied() {
            let row = self.branch(subject).table.own(level, round);
            let rows = rows.get_or_insert_with(|| Rows::new(round, subjects, row.mark));
            if !rows.add(title, row, len_max) {
                break;
            }
            self.told.insert(level, subject);
        }
        rows
    }

    /// Of which numbers to tell, in order, and what they are called: where they are many, by their
    /// places, to whoever has the same.
    fn numbers_to(&self, asked: Asked) -> Vec<(Subject, Title)> {
        let Asked { round, naming, .. } = asked;
        let has_places = self.are_many() && naming == Naming::Short && asked.is_agreed;
        let mut next_place = 0;
        let mut told = Vec::new();
        for subject in self.numbers_in_turn(round) {
            let branch = &self.branches[&subject];
            let place = next_place;
            next_place += u16::from(branch.has_shares);
            let title = if branch.has_shares && has_places {
                Some(Title::Place(place, subject.summary))
            } else if self.are_many() && !branch.has_shares {
                // To whoever has not heard that it is over.
                self.title(subject, Naming::Short)
            } else {
                self.title(subject, naming)
            };
            let is_told = branch.is_worth_telling(round);
            told.extend(title.filter(|_| is_told).map(|title| (subject, title)));
        }
        told
    }

    /// The numbers whose turn it is in this round, in order. Which group a number is in goes by its
    /// handle, so that one that is not known everywhere is amiss in its own group alone.
    pub(super) fn numbers_in_turn(&self, round: Round) -> Vec<Subject> {
        let groups = self.numbers.div_ceil(TURN_OF).max(1);
        let group = u64::from(round) / self.turn.rounds % groups as u64;
        let is_in_turn = |subject: &Subject| u64::from(subject.handle()) % groups as u64 == group;
        let numbers = self.branches.keys().filter(|subject| !subject.summary.has_sketches());
        numbers.copied().filter(is_in_turn).collect()
    }

    /// Of those, the ones in which there are shares, by their places: the same at all who have the
    /// same digest.
    pub(super) fn places(&self, round: Round) -> Vec<Subject> {
        let in_turn = self.numbers_in_turn(round).into_iter();
        in_turn.filter(|subject| self.branches[subject].has_shares).collect()
    }

    /// A digest of all in which there are shares; where numbers are many, of those whose turn it is
    /// and of sketches.
    pub(super) fn digest(&self, round: Round) -> Subjects {
        if !self.are_many() {
            return self.subjects;
        }
        let told = self.places(round).into_iter().chain(self.asked_for());
        told.map(|subject| self.branches[&subject].hash).collect()
    }

    /// What it is called in a packet. Nothing if it is best not spoken of.
    fn title(&self, subject: Subject, naming: Naming) -> Option<Title> {
        match (self.handles.get(&subject.handle()), naming) {
            (Some(Some(_)), Naming::Short) => {
                Some(Title::Handle(subject.handle(), subject.summary))
            }
            // What is named in full is taken for alive.
            _ => self.branches[&subject].has_shares.then_some(Title::Full(subject)),
        }
    }

    fn branch(&mut self, subject: Subject) -> &mut Branch {
        self.branches.get_mut(&subject).expect("it was just seen")
    }

    /// Sketches in which there are no shares any more, since not long ago.
    fn ended(&self, round: Round) -> Vec<Subject> {
        let is_ended = |branch: &Branch| !branch.has_shares && !branch.is_over(round);
        let all = self.branches.iter().filter(|(subject, branch)| {
            let is_one = matches!(self.handles.get(&subject.handle()), Some(Some(_)));
            subject.summary.has_sketches() && is_one && is_ended(branch)
        });
        all.map(|(subject, _)| *subject).collect()
    }

    /// Sketches in which there are shares: the same ones, in the same order, at all who have the
    /// same digest.
    fn asked_for(&self) -> Vec<Subject> {
        let shared = self.branches.iter().filter(|(_, branch)| branch.has_shares);
        let subjects = shared.map(|(subject, _)| *subject);
        subjects.filter(|subject| subject.summary.has_sketches()).collect()
    }
}

/// How long a turn is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    rounds: u64,
}

impl Turn {
    /// Among so many members. That is the same at all, but in the moment in which these grow beyond
    /// a limit.
    pub(super) const fn among(members: u32) -> Self {
        let rounds = match members {
            ..=256 => 12,
            257..=4_096 => 16,
            _ => 24,
        };
        Self { rounds }
    }

    /// The level whose turn it is. The last rounds are free, and so is one whose level is empty.
    pub(super) fn level(self, round: Round, partners: &Partners) -> Option<usize> {
        let passed = u64::from(round) % self.rounds;
        let deepest = self.rounds - 1 - FREE_ROUNDS;
        let due = deepest.checked_sub(passed)? as usize;
        let mut levels = partners.counts().map(|(level, _)| level);
        // In the first round all that are deeper have their turn.
        let is_due = |level: &usize| *level == due || passed == 0 && *level > due;
        levels.rfind(is_due)
    }
}

/// A row of a sketch that lacks members will have to be told again. It waits, but not for ever:
/// somebody may never take part, and where members come and go some are always lacking.
pub(super) fn is_worth_its_room(mark: Mark, members: u32, round: Round) -> bool {
    let lacking = members.saturating_sub(mark.leaves);
    lacking <= members / LACKING_PART || u64::from(round).is_multiple_of(LACKING_EVERY)
}

/// Which bit of 64 stands for it.
const fn bit(place: usize) -> u64 {
    1 << (place % 64)
}

/// Of many numbers about so many have their turn together: their rows take a quarter of a packet.
const TURN_OF: usize = 24;

/// A turn has a round for each level at which there may be anybody, and some in which what was lost
/// on the way is made good.
const FREE_ROUNDS: u64 = 3;

/// One part in so many of the rows is wanted where none lacks members.
const OLDEST_PART: usize = 8;

/// A row that lacks one member in so many is as good as whole,
const LACKING_PART: u32 = 32;

/// and what lacks more is told in one round of so many.
const LACKING_EVERY: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::aggregates::Hold;
    use crate::zones::body::Body;
    use crate::zones::{Headcount, Told};
    use live_objects::{Name, NodeId, ObjectId, Rng, Summary};

    /// A turn of any length begins in it.
    const ROUND: u64 = 48 * 100_000;

    /// Those of one who knows another at each of these levels.
    fn partners(levels: &[usize]) -> Partners {
        let me = NodeId::from_bytes([0; NodeId::LEN]);
        let mut partners = Partners::new(me, Rng::from_seed([7; 32]));
        for level in levels {
            let mut id = [0; NodeId::LEN];
            id[level / 8] = 0x80 >> (level % 8);
            partners.insert(NodeId::from_bytes(id));
        }
        partners
    }

    #[test]
    fn in_a_turn_each_level_has_a_round_from_the_deepest_to_the_root() {
        let partners = partners(&[0, 1, 2, 5, 11, 14]);
        let turn = Turn::among(1_000);
        let round = |passed: u64| Round::try_from(ROUND + passed).unwrap();
        let due: Vec<_> = (0..turn.rounds).map(|at| turn.level(round(at), &partners)).collect();
        let mut expected = vec![None; 16];
        expected[0] = Some(14);
        for level in [11, 5, 2, 1, 0] {
            expected[12 - level] = Some(level);
        }
        assert_eq!(due, expected);
        assert_eq!(turn.level(round(turn.rounds), &partners), Some(14));
    }

    /// Whoever has set its share of these averages.
    fn holding(numbers: usize) -> Aggregates {
        let mut aggregates = Aggregates::new(core::time::Duration::from_millis(200));
        let round = Round::try_from(ROUND).unwrap();
        for number in 0..numbers {
            let object: ObjectId = format!("/{number}").parse::<Name>().unwrap().id();
            let subject = Subject::new(object, Summary::Average);
            aggregates.hold(round, subject, &Hold::Share(&[Body::Number(1.0)]));
        }
        aggregates
    }

    /// Where the other side knows hardly more there is little to gain, however much is lacking.
    #[test]
    fn what_the_zone_beside_lacks_itself_cannot_be_gained() {
        let partners = partners(&[1, 1, 1, 1, 0, 0, 0, 0]);
        let round = Round::try_from(ROUND).unwrap();
        let mut aggregates = holding(1);
        let subject = *aggregates.branches.keys().next().unwrap();
        let teller = NodeId::from_bytes([0x40; NodeId::LEN]);
        let known = Headcount::all(4);
        let told = |leaves| Told { row: Row::of_leaves(leaves, round), teller, level: 1, known };
        aggregates.take((subject, false), told(1), round);
        let urgent = |aggregates: &mut Aggregates| {
            aggregates.on_round(round, &partners).expect("rows are lacking").urgent
        };
        assert_eq!(urgent(&mut aggregates), [1, 0]);
        aggregates.take((subject, false), told(4), round);
        assert_eq!(urgent(&mut aggregates), [0, 1]);
    }

    #[test]
    fn all_numbers_have_their_turns_in_groups() {
        let aggregates = holding(70);
        let rounds = aggregates.turn.rounds;
        let turns = (0..3 * rounds).step_by(rounds as usize).map(|passed| {
            let of = |at| aggregates.places(Round::try_from(ROUND + passed + at).unwrap());
            assert_eq!(of(0), of(rounds - 1));
            assert!(!of(0).is_empty());
            of(0)
        });
        let mut all: Vec<Subject> = turns.flatten().collect();
        all.sort();
        assert_eq!(all, aggregates.branches.keys().copied().collect::<Vec<_>>());
    }

    /// Anybody can make up two of which the one hides the other where handles are added up.
    #[test]
    fn what_has_the_handle_of_another_is_in_the_digest_all_the_same() {
        let round = Round::try_from(ROUND).unwrap();
        let of = |number: u64| {
            let object = ObjectId::from_bytes((u128::from(number) << 64).to_be_bytes());
            Subject::new(object, Summary::Average)
        };
        let mut first = BTreeMap::new();
        let (one, other) = (0..)
            .find_map(|number| Some((first.insert(of(number).handle(), number)?, number)))
            .unwrap();
        for numbers in [1, 110] {
            let (without, mut with) = (holding(numbers), holding(numbers));
            for number in [one, other] {
                with.hold(round, of(number), &Hold::Share(&[Body::Number(1.0)]));
            }
            let group = |at: &Aggregates, turn: u64| {
                at.digest(Round::try_from(ROUND + turn * at.turn.rounds).unwrap())
            };
            assert!((0..5).any(|turn| group(&without, turn) != group(&with, turn)));
        }
    }

    /// Those who do not agree about one number agree about all others, in their turns.
    #[test]
    fn one_that_is_not_known_everywhere_disturbs_no_others() {
        let (some, more) = (holding(110), holding(111));
        let is_same = |turn: &u64| {
            let round = Round::try_from(ROUND + turn * some.turn.rounds).unwrap();
            some.digest(round) == more.digest(round)
        };
        assert_eq!((0..5).filter(is_same).count(), 4);
    }
}
