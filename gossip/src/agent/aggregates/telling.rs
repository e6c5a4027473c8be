//! Which rows go into a packet: those of numbers in turn, those of sketches as they are asked for.
//!
//! A row of a number takes some 15 bytes, so that a packet has room for about all there are. One of
//! a sketch takes a third of a packet, and would go by the other when it is not needed. So nobody
//! tells of a sketch unasked: each side says which rows it *wants*, and the other gives as many of
//! these as there is room for, first those that know most.
//!
//! ```text
//!  probe  numbers, wants               ▶
//!                                      ◀  wanted sketches, numbers, wants   ack
//!  rest   wanted sketches              ▶
//! ```
//!
//! What a node has said in a round bounds what it tells of sketches; who got none asks again. For
//! the same reason rows that lack members are mostly not told: they would be again when they do
//! not.
//!
//! Wanted are rows that lack members; if none at any level does, the eighth that is oldest, so that
//! there is room for who lacks some still. A want is a bit of 64, by the place of the subject among
//! all that are of sketches, which is the same for all who take part in the same: a digest says
//! whether they do. (Where each told in turn what it had, most of it was known already or still
//! lacked members, and 100 nodes had not half of all after 40 rounds.)

use std::cmp::Reverse;
use std::ops::Bound::{Excluded, Unbounded};

use super::{Aggregates, Branch};
use crate::wire::rows::{Rows, Title};
use crate::zones::row::{Mark, Round, Row, Subject};

/// Which rows a packet tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) round: Round,
    /// At which it is.
    pub(super) level: usize,
    pub(super) naming: Naming,
    /// Those of these sketches.
    pub(super) wants: u64,
    /// So many bytes of them at most.
    pub(super) sketches_len_max: usize,
    /// How many members are known to be in this node's own zone.
    pub(super) members: u32,
    /// And those of numbers.
    pub(super) with_numbers: bool,
}

/// How subjects are named in a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Naming {
    /// To those who know them.
    Short,
    InFull,
}

impl Aggregates {
    /// Which sketches are wanted of the sibling zone at this level, in which so many members are
    /// known. None if there are no sketches.
    pub(super) fn wants(&self, round: Round, level: usize, known: u32) -> Option<u64> {
        let sketches = self.sketches();
        let held = |(place, subject): (usize, &Subject)| {
            (bit(place), self.branches[subject].table.held(level))
        };
        let mut held: Vec<_> = sketches.iter().enumerate().map(held).collect();
        let is_lacking = |mark: Mark| mark.leaves != known;
        if self.is_lacking() || held.iter().any(|(_, mark)| is_lacking(*mark)) {
            held.retain(|(_, mark)| is_lacking(*mark));
        } else {
            held.sort_by_key(|(_, mark)| Reverse(mark.age(round)));
            held.truncate(held.len().div_ceil(OLDEST_PART));
        }
        let wants = held.into_iter().fold(0, |wants, (bit, _)| wants | bit);
        (!sketches.is_empty()).then_some(wants)
    }

    /// What goes into a packet to a member in the sibling zone at this level. If it is of sketches
    /// there may be no row in it: it says all the same who knows which handles.
    pub(super) fn tell(&mut self, asked: Asked, len_max: usize) -> Option<Rows> {
        let mut rows = self.tell_sketches(asked, len_max.min(asked.sketches_len_max));
        let is_of_sketches = rows.is_some();
        if asked.with_numbers {
            rows = self.tell_numbers(rows, asked, len_max);
        }
        rows.filter(|rows| rows.section_len() <= len_max)
            .filter(|rows| is_of_sketches || !rows.told.is_empty())
    }

    /// None if there are no sketches.
    fn tell_sketches(&mut self, asked: Asked, len_max: usize) -> Option<Rows> {
        let Asked { round, level, .. } = asked;
        let (sketches, ended) = (self.sketches(), self.ended(round));
        let first = *sketches.first().or(ended.first())?;
        let mark = self.branch(first).table.own_mark(level, round);
        let mut rows = Rows::new(round, self.subjects, mark);
        let mut wanted: Vec<(usize, Title, Row)> = Vec::new();
        for (place, subject) in sketches.iter().enumerate() {
            let mark = self.branch(*subject).table.own_mark(level, round);
            let is_wanted = asked.wants & bit(place) != 0;
            if is_wanted && is_worth_its_room(mark, asked.members, round) {
                let row = self.branch(*subject).table.own(level, round);
                // Several may be asked for the same at once: they should not all say the same.
                let turn = (place + self.turn) % sketches.len();
                wanted.extend(self.title(*subject, asked.naming).map(|title| (turn, title, row)));
            }
        }
        wanted.sort_by_key(|(turn, _, row)| (Reverse(row.mark.leaves), *turn));
        for (_, title, row) in wanted {
            // Where a long one finds no room a shorter one may.
            self.turn = self.turn.wrapping_add(rows.add(title, row, len_max).into());
        }
        // Nobody wants what is gone. It is told to whoever has not heard that it is.
        for subject in ended.into_iter().filter(|_| asked.naming == Naming::InFull) {
            let row = self.branch(subject).table.own(level, round);
            rows.add(Title::Handle(subject.handle(), subject.summary), row, len_max);
        }
        Some(rows)
    }

    /// Of many numbers each has its turn.
    fn tell_numbers(
        &mut self,
        mut rows: Option<Rows>,
        asked: Asked,
        len_max: usize,
    ) -> Option<Rows> {
        let Asked { round, level, naming, .. } = asked;
        let told = self.told.get(&level).map_or(Unbounded, |told| Excluded(*told));
        let after = self.branches.range((told, Unbounded)).map(|(subject, _)| *subject);
        let all = after.chain(self.branches.keys().copied()).take(self.branches.len());
        let numbers: Vec<Subject> = all.filter(|it| !it.summary.has_sketches()).collect();
        for subject in numbers {
            if !self.branch(subject).is_worth_telling(round) {
                continue;
            }
            let Some(title) = self.title(subject, naming) else { continue };
            let row = self.branch(subject).table.own(level, round);
            let subjects = self.subjects;
            let rows = rows.get_or_insert_with(|| Rows::new(round, subjects, row.mark));
            if !rows.add(title, row, len_max) {
                break;
            }
            self.told.insert(level, subject);
        }
        rows
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

    /// Those of sketches in which there are no shares any more, since not long ago.
    fn ended(&self, round: Round) -> Vec<Subject> {
        let is_ended = |branch: &Branch| !branch.has_shares && !branch.is_over(round);
        let all = self.branches.iter().filter(|(subject, branch)| {
            let is_one = matches!(self.handles.get(&subject.handle()), Some(Some(_)));
            subject.summary.has_sketches() && is_one && is_ended(branch)
        });
        all.map(|(subject, _)| *subject).collect()
    }

    /// Those of sketches in which there are shares: the same ones, in the same order, at all who
    /// have the same digest.
    fn sketches(&self) -> Vec<Subject> {
        let sketches = self
            .branches
            .iter()
            .filter(|(subject, branch)| subject.summary.has_sketches() && branch.has_shares);
        sketches.map(|(subject, _)| *subject).collect()
    }
}

/// A row that lacks members will have to be told again. It waits, but not for ever: somebody may
/// never take part, and where members come and go some are always lacking.
pub(super) fn is_worth_its_room(mark: Mark, members: u32, round: Round) -> bool {
    let lacking = members.saturating_sub(mark.leaves);
    lacking <= members / LACKING_PART || u64::from(round).is_multiple_of(LACKING_EVERY)
}

/// Which bit of 64 stands for it.
const fn bit(place: usize) -> u64 {
    1 << (place % 64)
}

/// One part in so many of the rows is wanted where none lacks members.
const OLDEST_PART: usize = 8;

/// A row that lacks one member in so many is as good as whole,
const LACKING_PART: u32 = 32;

/// and what lacks more is told in one round of so many.
const LACKING_EVERY: u64 = 4;
