//! Which rows go into a packet: those of a few numbers in turn, all others as they are asked for.
//!
//! A row of a number takes some 15 bytes, so that a packet has room for a few tens of them. One of
//! a sketch takes a third of a packet, and so do many numbers; they would go by the other when they
//! are not needed. So nobody tells of these unasked: each side says which rows it *wants*, and the
//! other gives as many of them as there is room for, of sketches first those that know most.
//!
//! ```text
//!  probe  a few numbers, wants         ▶
//!                                      ◀  wanted rows, a few numbers, wants   ack
//!  rest   wanted rows                  ▶
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
use std::ops::Bound::{Excluded, Unbounded};

use super::{Aggregates, Branch};
use crate::wire::Naming;
use crate::wire::rows::{Rows, Title};
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
    /// And those of a few numbers.
    pub(super) with_numbers: bool,
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
        // Of many there are always some that lack members.
        let is_lacking = self.is_lacking() || held.iter().any(|(_, (is_lacking, _))| *is_lacking);
        if is_lacking && !self.are_many() {
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
        let mut rows = self.tell_wanted(asked, len_max.min(asked.wanted_len_max));
        let are_some_asked = rows.is_some();
        if asked.with_numbers && !self.are_many() {
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
        let mut rows = Rows::new(round, self.subjects, mark);
        // Numbers go on behind the last one that was told at this level.
        let last = self.told.get(&level).copied();
        let begin = last.map_or(0, |last| asked_for.partition_point(|subject| *subject <= last));
        let mut wanted: Vec<(usize, Subject, Title, Row)> = Vec::new();
        for (place, subject) in asked_for.iter().enumerate() {
            let mark = self.branch(*subject).table.own_mark(level, round);
            let is_wanted = asked.wants & bit(place) != 0;
            let is_long = subject.summary.has_sketches();
            if is_wanted && (!is_long || is_worth_its_room(mark, asked.members, round)) {
                let row = self.branch(*subject).table.own(level, round);
                // Several may be asked for the same at once: they should not all say the same.
                let turn =
                    if is_long { place + self.turn } else { place + asked_for.len() - begin };
                let turn = turn % asked_for.len();
                let title = self.title(*subject, asked.naming);
                wanted.extend(title.map(|title| (turn, *subject, title, row)));
            }
        }
        // Sketches come first, and of these the ones that know most; numbers, which fit where no
        // sketch does, in turn.
        wanted.sort_by_key(|(turn, subject, _, row)| {
            let is_long = subject.summary.has_sketches();
            (Reverse(if is_long { row.mark.leaves } else { 0 }), *turn)
        });
        for (_, subject, title, row) in wanted {
            // Where a long one finds no room a shorter one may.
            let is_told = rows.add(title, row, len_max);
            self.turn = self.turn.wrapping_add(is_told.into());
            if is_told && !subject.summary.has_sketches() {
                self.told.insert(level, subject);
            }
        }
        // Nobody wants what is gone. It is told to whoever has not heard that it is.
        let from = self.turn % ended.len().max(1);
        let ended = ended[from..].iter().chain(&ended[..from]).copied();
        for subject in ended.filter(|_| asked.naming == Naming::InFull) {
            let row = self.branch(subject).table.own(level, round);
            let title = Title::Handle(subject.handle(), subject.summary);
            self.turn = self.turn.wrapping_add(rows.add(title, row, len_max).into());
        }
        Some(rows)
    }

    /// Of a few numbers each has its turn.
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

    /// Those that are asked for in which there are no shares any more, since not long ago.
    fn ended(&self, round: Round) -> Vec<Subject> {
        let is_ended = |branch: &Branch| !branch.has_shares && !branch.is_over(round);
        let all = self.branches.iter().filter(|(subject, branch)| {
            let is_one = matches!(self.handles.get(&subject.handle()), Some(Some(_)));
            self.is_asked_for(**subject) && is_one && is_ended(branch)
        });
        all.map(|(subject, _)| *subject).collect()
    }

    /// Those that are asked for in which there are shares: the same ones, in the same order, at all
    /// who have the same digest.
    fn asked_for(&self) -> Vec<Subject> {
        let asked_for = self
            .branches
            .iter()
            .filter(|(subject, branch)| self.is_asked_for(**subject) && branch.has_shares);
        asked_for.map(|(subject, _)| *subject).collect()
    }

    fn is_asked_for(&self, subject: Subject) -> bool {
        subject.summary.has_sketches() || self.are_many()
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

/// One part in so many of the rows is wanted where none lacks members.
const OLDEST_PART: usize = 8;

/// A row that lacks one member in so many is as good as whole,
const LACKING_PART: u32 = 32;

/// and what lacks more is told in one round of so many.
const LACKING_EVERY: u64 = 4;
