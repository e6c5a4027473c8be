//! Aggregates: what an exchange carries of them, and at which level it is.
//!
//! Rows travel in the exchanges of the failure detector. Each of the two tells what its own zone
//! comes to, beside the sibling zone in which the other is:
//!
//! ```text
//!  probe  rows of my zone    ▶
//!                            ◀  rows of mine   ack
//!  rest   rows, their subjects named in full   ▶   only if the two take part in different ones
//! ```
//!
//! Membership goes first into a packet, but for some room that is kept for rows; what does not fit
//! then waits for another exchange at that level, and of many aggregates each has its turn. A probe
//! that is repeated carries rows again, so what the network lost is mended within the period.
//!
//! Whom a node meets decides what it gets to know. Since it knows who is up, it sees at which
//! levels its rows lack members, or have too many: the deepest of these is next, so that the tree
//! fills from its leaves upwards, but those that lack a good part come before the others. Where
//! nothing is lacking the level is next whose row is oldest, compared with the node's own zone
//! beside it, which is what the other side knows of itself by expectation. (By age alone the root
//! would be next for ever: what is known of many is older than what is known of few.)
//!
//! A node that lacks rows, or heard of something new, starts up to six more exchanges in a round,
//! at the levels that gain most, unless it told many rows in the last; so does a node that set its
//! share. These are *lean*: they carry rows alone, so that they cost the same, and bring the same,
//! however many members come and go. (While they carried news too, of 1,000 members of which ten
//! were replaced in each round some lacked half of all for ten rounds.) Who has just got its table
//! asks one member of each zone at once. While a row anywhere moves at all, nobody near it rests
//! (`pace`), and where there are aggregates rest is shorter, so that shares that do not move do not
//! seem too old.
//!
//! Simulated by a model of these rules (random ids, 5 % lost, no other traffic), the round from
//! which on all nodes are exact; and in the steady state the mean age of a share and that of the
//! oldest, in rounds:
//!
//! | nodes | exact, one exchange a round | exact, two | age, one | age, two |
//! |---|---|---|---|---|
//! | 1,000 | 12 | 9 | 13, 47 | 6, 22 |
//! | 10,000 | 15 | 13 | 22, 76 | 11, 38 |
//! | 100,000 | 21 | 17 | 25, 59 | 16, 53 |
//!
//! That is so of numbers; what is told of sketches, which take more room, is asked for (`telling`).
//!
//! All members take part in every aggregate they hear of, so that anybody can be a partner; those
//! who do not hold it relay. It is heard of from those who know of a share in it, and who does not
//! hold it forgets it when there has been none for a while. Of those that nobody claims to have
//! open (`claims`) a node relays few, so that what somebody makes up, as many as that are, leaves
//! room for the others, and goes with him.

mod census;
mod entitled;
mod packets;
mod telling;
pub(super) mod terms;

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use core::time::Duration;

use live_objects::sketch::Sketch;
use live_objects::{Estimate, NodeId, Time};

use self::census::CENSUS;
pub(super) use self::census::Counted;
pub(super) use self::entitled::STRAYS_MAX;
pub(super) use self::packets::ROUND_BYTES_MAX;
use self::telling::Turn;
use super::Agent;
use super::claims::Claims;
use super::queries::Queries;
use crate::members::Change;
use crate::partners::Partners;
use crate::wire::rows::{Subjects, Title};
use crate::zones::body::Body;
use crate::zones::place::level;
use crate::zones::row::{Round, Row, Subject};
use crate::zones::{Table, Taken, Told};

/// The aggregates that this node takes part in.
pub(super) struct Aggregates {
    period: Duration,
    branches: BTreeMap<Subject, Branch>,
    /// Subjects by their handles; none where two have the same.
    handles: BTreeMap<u32, Option<Subject>>,
    /// A digest of those in which there are shares, and how many of these are numbers.
    subjects: Subjects,
    numbers: usize,
    /// Whether whoever was heard last had the same digest.
    is_agreed: bool,
    /// Which terms there are, if anybody describes itself in a catalog.
    terms: Option<Branch>,
    /// Up to which one had its turn, by level.
    told: BTreeMap<usize, Subject>,
    /// How many rows of sketches were told, and of what there is no more.
    rotation: usize,
    /// For how long a group of many numbers has its turn.
    turn: Turn,
    /// Those whose estimates may be others since it was asked last.
    changed: BTreeSet<Subject>,
    /// Until this round the node hurries: it has set a share, or a row is news.
    hurries_until: Round,
    /// Until this round it does not rest: a row has moved.
    moves_until: Round,
    /// Until this round counts of members may be of some who have gone, and lack some who came.
    unsettled_until: Round,
    /// For how many rounds it has lacked rows.
    lacking_rounds: u32,
    /// How many of them are strays.
    strays: usize,
}

/// This node's part in one aggregate.
struct Branch {
    table: Table,
    /// Of its subject, if it has one.
    hash: u64,
    is_held: bool,
    /// Whether there are shares in it, and whether there ever were.
    has_shares: bool,
    had_shares: bool,
    /// Since which round there have been none.
    empty_since: Round,
}

/// At which levels the exchanges of a round should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Levels {
    pub(super) first: usize,
    /// Whether it is that level's turn, and nothing else's.
    pub(super) is_due: bool,
    /// Of more, if that is urgent, as there is most to gain.
    pub(super) urgent: Vec<usize>,
    /// Those of which nothing is known, though members are there.
    pub(super) empty: Vec<usize>,
}

/// What the rows of all aggregates have most need of.
struct Wanted {
    /// The deepest level at which a row lacks a good part of the members that are known to be
    /// there; or else, any of them.
    lacking: Option<usize>,
    /// Levels, as there is most to gain.
    gaining: Vec<usize>,
    empty: Vec<usize>,
}

impl Aggregates {
    pub(super) fn new(period: Duration) -> Self {
        Self {
            period,
            branches: BTreeMap::new(),
            handles: BTreeMap::new(),
            subjects: Subjects::NONE,
            numbers: 0,
            is_agreed: false,
            terms: None,
            told: BTreeMap::new(),
            rotation: 0,
            turn: Turn::among(1),
            changed: BTreeSet::new(),
            hurries_until: Round::FIRST,
            moves_until: Round::FIRST,
            unsettled_until: Round::FIRST,
            lacking_rounds: 0,
            strays: 0,
        }
    }

    /// This node set its share, or gave it back, or holds the aggregate no longer.
    pub(super) fn hold(&mut self, round: Round, subject: Subject, hold: &Hold<'_>) {
        for part in subject.parts() {
            let share = match hold {
                Hold::Share(parts) => {
                    Some(parts[usize::from(part.part)].clone()).filter(|body| !body.is_empty())
                }
                Hold::Open | Hold::Not => None,
            };
            if share.is_some() {
                self.insert(part, round);
            }
            if let Some(branch) = self.branches.get_mut(&part) {
                branch.is_held = *hold != Hold::Not;
                branch.table.set(share, round);
                self.hurries_until = round.shifted(HURRIED_ROUNDS);
                self.on_branch(part, round);
            }
        }
        self.changed.insert(subject.whole());
    }

    /// This node takes no part in it from now on, whatever others say of it.
    pub(super) fn end(&mut self, subject: Subject) {
        for part in subject.parts() {
            if self.branches.remove(&part).is_some_and(|branch| branch.has_shares) {
                self.on_shares(part, false);
            }
        }
        self.rename();
        self.changed.insert(subject.whole());
    }

    /// Which aggregates may have other estimates than when this was asked last.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Subject> {
        std::mem::take(&mut self.changed)
    }

    /// In how many it takes part, each part of one counted.
    pub(super) fn len(&self) -> usize {
        self.branches.len()
    }

    /// Whether there is nothing to tell of any aggregate.
    pub(super) fn is_idle(&self) -> bool {
        self.branches.is_empty() && self.terms.is_none()
    }

    /// How much of a packet the news of members leaves to rows, in bytes.
    pub(super) fn reserved(&self) -> usize {
        let rows = RESERVED_HEAD + self.branches.len() * RESERVED_ROW;
        if self.is_idle() { 0 } else { rows.min(RESERVED_MAX) }
    }

    /// Whether there are more numbers than fit beside news.
    pub(super) const fn are_many(&self) -> bool {
        self.numbers > FEW
    }

    /// Whether any of them is of sketches.
    pub(super) fn has_sketches(&self) -> bool {
        self.branches.keys().any(|subject| subject.summary.has_sketches())
    }

    /// Whether packets of this round have room for a sketch, whatever else there is to say.
    pub(super) fn is_turn_of_sketches(&self, rounds: u64) -> bool {
        rounds % 4 == 1 && self.has_sketches()
    }

    /// Whether there is something new to tell.
    pub(super) fn is_moving(&self, round: Round) -> bool {
        let is_lacking = self.is_lacking();
        let until = self.hurries_until.max(self.moves_until);
        !self.is_idle() && (is_lacking || round <= until)
    }

    /// Whether rows lack members, and not for so long that it will have to do without them.
    fn is_lacking(&self) -> bool {
        (1..=LACKING_ROUNDS_MAX).contains(&self.lacking_rounds)
    }

    /// What this node knows of an aggregate: of one in parts, as much as of the part of which it
    /// knows least.
    pub(super) fn estimate(&mut self, round: Round, subject: Subject) -> Estimate {
        let summary = subject.summary;
        let (mut sketches, mut value) = (Vec::new(), None);
        let (mut members, mut oldest) = (u32::MAX, 0);
        for part in subject.parts() {
            let branch = self.branches.get_mut(&part);
            let root = branch.map_or(Row::default(), |branch| branch.table.root(round));
            members = members.min(root.count);
            if root.count > 0 {
                oldest = oldest.max(round.since(root.least));
            }
            value = root.value(summary);
            if let (Body::Sketch(sketch), true) = (root.body, root.count > 0) {
                sketches.push(sketch);
            }
        }
        let age = self.period.saturating_mul(u32::try_from(oldest).unwrap_or(u32::MAX));
        if sketches.is_empty() {
            Estimate::of_number(value, members.into(), age)
        } else {
            Estimate::of_sketches(sketches, members.into(), age)
        }
    }

    /// The parts of a query's answer that this node knows; how many members were heard in the one
    /// in which the fewest were, and how old the oldest word is.
    pub(super) fn parts(&mut self, round: Round, subject: Subject) -> Parts {
        let mut parts = Parts { sketches: Vec::new(), heard: None, age: Duration::ZERO };
        for part in subject.parts() {
            let Some(branch) = self.branches.get_mut(&part) else { continue };
            let root = branch.table.root(round);
            if let (Body::Sketch(sketch), true) = (root.body, root.count > 0) {
                parts.sketches.push(sketch);
                parts.heard = Some(parts.heard.unwrap_or(u32::MAX).min(root.mark.leaves));
                let age = u32::try_from(round.since(root.least)).unwrap_or(u32::MAX);
                parts.age = parts.age.max(self.period.saturating_mul(age));
            }
        }
        parts
    }

    /// A round of exchanges begins. Gives the levels at which they should be, if it matters.
    pub(super) fn on_round(&mut self, round: Round, partners: &Partners) -> Option<Levels> {
        self.forget(round);
        let up = partners.counts().map(|(_, count)| count).fold(1, u32::saturating_add);
        self.turn = Turn::among(up);
        let Wanted { lacking, gaining, empty } = self.wanted(round, partners);
        self.lacking_rounds = lacking.map_or(0, |_| self.lacking_rounds.saturating_add(1));
        // A member that never takes part, for whatever reason, must not keep the others waiting.
        let is_patient = self.lacking_rounds <= LACKING_ROUNDS_MAX;
        let first = lacking.filter(|_| is_patient || self.lacking_rounds.is_multiple_of(2));
        let is_urgent = lacking.is_some() && is_patient || round <= self.hurries_until;
        let first = first.or_else(|| gaining.first().copied())?;
        let urgent = if is_urgent { gaining } else { Vec::new() };
        let due = if self.are_many() { self.turn.level(round, partners) } else { None };
        Some(Levels { first: due.unwrap_or(first), is_due: due.is_some(), urgent, empty })
    }

    /// Whether the exchange of this round is with whoever's turn it is among all: where rows lack
    /// members for long, who is at other levels would not be probed.
    pub(super) const fn is_turn_of_all(&self) -> bool {
        self.lacking_rounds > LACKING_ROUNDS_MAX / 4 && self.lacking_rounds.is_multiple_of(4)
    }

    /// At which levels nothing is known, though members are there.
    pub(super) fn empty(&self, round: Round, partners: &Partners) -> Vec<usize> {
        self.wanted(round, partners).empty
    }

    fn wanted(&self, round: Round, partners: &Partners) -> Wanted {
        let counts: Vec<(usize, u32)> = partners.counts().collect();
        let mut lacking = None;
        let mut are_empty = vec![false; counts.len()];
        let mut gains: Vec<Option<i64>> = vec![None; counts.len()];
        let numbers = self.numbers_in_turn(round);
        let numbers = numbers.iter().map(|subject| &self.branches[subject]);
        let sketches = self.branches.iter().filter(|(it, _)| it.summary.has_sketches());
        let branches = sketches.map(|(_, branch)| branch).chain(&self.terms);
        for branch in numbers.chain(branches).filter(|branch| branch.has_shares) {
            let levels = counts.iter().rev().map(|(level, _)| *level);
            let of_levels = branch.table.beside(levels, round);
            let mut beside = 1;
            for (at, (level, held, own)) in (0..counts.len()).rev().zip(of_levels) {
                let (_, known) = counts[at];
                if held.leaves != known {
                    // While members come and go the last few are lacking all the time.
                    let is_much = held.leaves.abs_diff(known) > known / MUCH_PART;
                    lacking = lacking.max(Some((is_much, level)));
                }
                are_empty[at] |= held.leaves == 0;
                let gain = held.age_among(known, round) - own.age_among(beside, round);
                gains[at] = gains[at].max(Some(gain));
                beside = beside.saturating_add(known);
            }
        }
        let levels = || counts.iter().map(|(level, _)| *level);
        let gains = levels().zip(gains);
        let mut gains: Vec<_> = gains.filter_map(|(level, gain)| Some((gain?, level))).collect();
        gains.sort_unstable_by_key(|gain| Reverse(*gain));
        let gaining = gains.into_iter().map(|(_, level)| level).collect();
        let empty = levels().zip(are_empty).filter(|(_, is_empty)| *is_empty);
        let empty = empty.map(|(level, _)| level).collect();
        Wanted { lacking: lacking.map(|(_, level)| level), gaining, empty }
    }

    fn forget(&mut self, round: Round) {
        // A clock that was ahead, and is not any more, leaves nobody in a hurry until then.
        self.hurries_until = self.hurries_until.min(round.shifted(HURRIED_ROUNDS));
        self.moves_until = self.moves_until.min(round.shifted(MOVED_ROUNDS));
        self.unsettled_until = self.unsettled_until.min(round.shifted(SETTLING_ROUNDS));
        let is_over = |branch: &Branch| {
            let is_empty = !branch.has_shares && branch.is_over(round);
            is_empty && !branch.is_held
        };
        if let Some(branch) = &mut self.terms {
            branch.table.forget(round);
            branch.update(round);
        }
        self.terms.take_if(|branch| is_over(branch));
        let subjects: Vec<Subject> = self.branches.keys().copied().collect();
        for subject in subjects {
            let branch = self.branches.get_mut(&subject).expect("it was just seen");
            branch.table.forget(round);
            if is_over(branch) {
                self.branches.remove(&subject);
                self.rename();
            } else {
                self.on_branch(subject, round);
                self.changed.insert(subject.whole());
            }
        }
    }

    /// Takes part in an aggregate.
    fn insert(&mut self, subject: Subject, round: Round) {
        if self.branches.contains_key(&subject) {
            return;
        }
        let table = Table::new(subject.summary, round);
        self.branches.insert(subject, Branch::new(table, subject.hash(), round));
        self.rename();
    }

    /// Finds the handles anew.
    fn rename(&mut self) {
        self.handles.clear();
        for subject in self.branches.keys() {
            let known = self.handles.insert(subject.handle(), Some(*subject));
            if known.is_some() {
                self.handles.insert(subject.handle(), None);
            }
        }
    }

    /// A branch may have got shares, or have lost the last.
    fn on_branch(&mut self, subject: Subject, round: Round) {
        let branch = self.branches.get_mut(&subject).expect("it changed");
        if branch.update(round) {
            let has_shares = branch.has_shares;
            self.on_shares(subject, has_shares);
        }
    }

    /// A subject has got shares, or has lost the last.
    fn on_shares(&mut self, subject: Subject, has_shares: bool) {
        if !subject.summary.has_sketches() {
            self.numbers = if has_shares { self.numbers + 1 } else { self.numbers - 1 };
        }
        let shared = self.branches.values().filter(|branch| branch.has_shares);
        self.subjects = shared.map(|branch| branch.hash).collect();
    }

    fn on_down(&mut self, round: Round, level: usize, node: NodeId, known: u32) {
        if let Some(branch) = &mut self.terms {
            branch.table.on_down(level, node, known);
            branch.update(round);
        }
        let subjects: Vec<Subject> = self.branches.keys().copied().collect();
        for subject in subjects {
            let branch = self.branches.get_mut(&subject).expect("it was just seen");
            branch.table.on_down(level, node, known);
            self.on_branch(subject, round);
            self.changed.insert(subject.whole());
        }
    }

    /// Whose row it is, if this node takes part in that, or may do; and whether it does not yet,
    /// and nobody claims to have it open.
    fn named(
        &self,
        (title, places): (Title, &[Subject]),
        queries: &Queries,
        claims: &Claims,
    ) -> Result<(Subject, bool), &'static str> {
        let known = |subject| (subject, false);
        match title {
            Title::Place(place, summary) => {
                let named = places.get(usize::from(place)).copied();
                let named = named.filter(|it| self.branches.contains_key(it));
                named.filter(|it| it.summary == summary).map(known).ok_or("gossip.row_unplaced")
            }
            Title::Handle(handle, summary) => {
                let named = self.handles.get(&handle).copied().flatten();
                named.filter(|it| it.summary == summary).map(known).ok_or("gossip.row_unknown")
            }
            Title::Full(subject) if !queries.is_asked(subject) => Err("gossip.row_unasked"),
            Title::Full(subject) => {
                if self.branches.contains_key(&subject) {
                    return Ok(known(subject));
                }
                let is_stray = subject != CENSUS && !claims.is_claimed(subject.object);
                if self.branches.len() >= RELAYED_MAX || is_stray && self.strays >= STRAYS_MAX {
                    return Err("gossip.aggregates_full");
                }
                Ok((subject, is_stray))
            }
        }
    }

    /// Takes a row, and part in what it is of. Gives what to count, if it is not taken, and is not
    /// just old.
    fn take(
        &mut self,
        (subject, is_new_stray): (Subject, bool),
        told: Told,
        round: Round,
    ) -> Option<&'static str> {
        if !self.branches.contains_key(&subject) {
            if let Some(refused) = told.refused(round) {
                return self.note(refused, round);
            }
            self.strays += usize::from(is_new_stray);
            self.insert(subject, round);
        }
        let branch = self.branches.get_mut(&subject).expect("it was just seen");
        let taken = branch.table.take(told, round);
        if matches!(taken, Taken::Same | Taken::Moved | Taken::News) {
            self.on_branch(subject, round);
        }
        // How old it is is told in each round.
        if matches!(taken, Taken::Moved | Taken::News) {
            self.changed.insert(subject.whole());
        }
        self.note(taken, round)
    }

    /// A row was taken, or not. Gives what to count, if it is not just old.
    fn note(&mut self, taken: Taken, round: Round) -> Option<&'static str> {
        match taken {
            Taken::Ahead => return Some("gossip.row_ahead"),
            Taken::Crowded => return Some("gossip.row_crowded"),
            Taken::Worse | Taken::Same => {}
            Taken::Moved => self.moves_until = round.shifted(MOVED_ROUNDS),
            Taken::News => {
                self.moves_until = round.shifted(MOVED_ROUNDS);
                self.hurries_until = self.hurries_until.max(self.moves_until);
            }
        }
        None
    }
}

/// What this node knows of the answer to a query.
pub(super) struct Parts {
    pub(super) sketches: Vec<Arc<Sketch>>,
    pub(super) heard: Option<u32>,
    pub(super) age: Duration,
}

/// What a node has to do with an aggregate.
#[derive(PartialEq, Debug)]
pub(super) enum Hold<'a> {
    /// It has it open, and set a share, of these parts.
    Share(&'a [Body]),
    /// It has it open.
    Open,
    /// It has not.
    Not,
}

impl Branch {
    fn new(table: Table, hash: u64, round: Round) -> Self {
        let (is_held, has_shares, had_shares) = (false, false, false);
        Self { table, hash, is_held, has_shares, had_shares, empty_since: round }
    }

    /// It may have got shares, or have lost the last. Tells whether it did.
    fn update(&mut self, round: Round) -> bool {
        let before = std::mem::replace(&mut self.has_shares, self.table.has_shares());
        if self.has_shares != before {
            self.empty_since = round;
        }
        self.empty_since = self.empty_since.min(round);
        self.had_shares |= self.has_shares;
        self.has_shares != before
    }

    fn is_worth_telling(&self, round: Round) -> bool {
        self.has_shares || !self.is_over(round)
    }

    /// Whether it has been without a share for long.
    fn is_over(&self, round: Round) -> bool {
        round.since(self.empty_since.into()) >= EMPTY_ROUNDS_MAX
    }
}

impl Agent {
    pub(super) fn on_aggregates_change(&mut self, now: Time, change: &Change) {
        let (node, round) = (change.after.member.node, self.clock.at(now));
        let is_departure = change.was_up() && !change.after.standing.is_up();
        if is_departure {
            let level = level(self.knowledge.members().me(), node);
            self.aggregates.on_down(round, level, node, self.partners.count(level));
        }
        if is_departure || change.is_arrival() {
            self.aggregates.unsettled_until = round.shifted(SETTLING_ROUNDS);
        }
    }
}

/// Of numbers so many are a few: they fit into what news leaves. Of more some have their turn.
const FEW: usize = 20;

/// About what rows take that have to go on however many members come and go: their head, each, and
/// at most.
const RESERVED_HEAD: usize = 40;
const RESERVED_ROW: usize = 24;
const RESERVED_MAX: usize = 300;

/// For how many rounds a node hurries that set a share.
const HURRIED_ROUNDS: i64 = 3;

/// For how many rounds a node does not rest of which a row moved.
const MOVED_ROUNDS: i64 = 1;

/// For how many rounds counts of members are not trusted after somebody came or went.
const SETTLING_ROUNDS: i64 = 16;

/// A row lacks a good part of the members that are known if it is off by more than one in so many.
const MUCH_PART: u32 = 8;

/// For how many rounds a node prefers levels whose rows lack members to all others.
const LACKING_ROUNDS_MAX: u32 = 64;

/// A node that takes part in so many aggregates joins no more of them for others' sake.
pub(super) const RELAYED_MAX: usize = 1_024;

/// Who does not hold an aggregate forgets it when for so many rounds there was no share in it.
pub(super) const EMPTY_ROUNDS_MAX: u64 = 32;
