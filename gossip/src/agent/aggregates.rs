//! Aggregates: what an exchange carries of them, and whom it is started with.
//!
//! Rows travel in the exchanges of the failure detector, and only where they win:
//!
//! ```text
//!  probe  digests: what is known of the zones that both are in   ▶
//!                ◀  answers: the rows that are newer there, and which it lacks itself  ack
//!  rest   answers: those                                         ▶
//! ```
//!
//! Membership goes first into a packet; what does not fit then waits for another exchange, and of
//! many aggregates each has its turn. A probe that is repeated carries digests again, so what the
//! network lost is mended within the period.
//!
//! Two members that are picked at random have no zone in common but the root, and what is known at
//! the root is only as good as what is known below. So while there is an aggregate the levels take
//! turns: of a node whose zones go down to level 3, every fourth exchange is the failure detector's
//! own, and one is with a random member of its zone at each of the three levels. And since a node
//! knows who is up, it sees at which levels its tables lack members: while some do below the root,
//! every other exchange is at the deepest of these, which fills the tree from its leaves upwards.
//!
//! Measured with 1,000 nodes and 5 % lost, in rounds until an average is exact, and the age of the
//! oldest share at the worst node in rounds 41 to 60:
//!
//! | partners | exact | age |
//! |---|---|---|
//! | half at the root, half at any level | 24 | not taken |
//! | half of all where members lack, else half at a distance by rank (log-uniform) | 14 | 50 |
//! | as it is here | 15 | 18 |
//!
//! A member is probed as often as before, on average. One that has fewer levels than those around
//! it gets about half of its share; by reckoning, it is suspected up to a period later.
//!
//! A share that is set is news: for three rounds its node starts a second exchange, with any
//! member, and its leaf is stamped as the next round's at once.
//!
//! Rounds: a node that hears of a later round begins its next one a whole period after that. Else
//! each could begin one as soon as it hears of another's, and rounds would go by several a period.
//!
//! All members take part in every aggregate they hear of, so that anybody can be a partner; those
//! who do not hold it relay. It is heard of from those who know of a share in it, and who does not
//! hold it forgets it when there has been none for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use core::time::Duration;

use live_objects::{Estimate, Io, NodeId, Rng, Time};
use rand::seq::IteratorRandom;
use tracing::trace;

use super::Agent;
use crate::entry::{Entry, Standing};
use crate::knowledge::Draft;
use crate::members::{Change, Members};
use crate::wire::rows::{self, Answers, Digest, Digests, Shelf};
use crate::wire::{Leg, Packet};
use crate::zones::place::{DIGITS, FANOUT, common, digit, sibling, zone};
use crate::zones::row::{Round, Row, Subject};
use crate::zones::{Living, Table};

/// The aggregates that this node takes part in.
pub(super) struct Aggregates {
    period: Duration,
    round: Round,
    /// This node does not begin the next round before.
    next_round_at: Time,
    tables: BTreeMap<Subject, Branch>,
    /// Up to which one had its turn in a probe.
    told: Option<Subject>,
    /// Those whose tables changed since it was asked last.
    changed: BTreeSet<Subject>,
    /// For how many rounds this node starts a second exchange: it has set a share.
    hurried_rounds: u32,
    rng: Rng,
}

/// This node's part in one aggregate.
struct Branch {
    table: Table,
    is_held: bool,
    /// For how many rounds there has been no share.
    empty_rounds: u32,
}

impl Aggregates {
    pub(super) fn new(period: Duration, rng: Rng) -> Self {
        let (round, next_round_at) = (Round::FIRST, Time::ZERO);
        let (tables, changed) = (BTreeMap::new(), BTreeSet::new());
        Self { period, round, next_round_at, tables, told: None, changed, hurried_rounds: 0, rng }
    }

    /// This node set its share, or gave it back, or holds the aggregate no longer.
    pub(super) fn hold(&mut self, subject: Subject, hold: Hold, members: &Members) {
        let share = if let Hold::Share(share) = hold { Some(share) } else { None };
        if share.is_some() {
            self.hurried_rounds = HURRIED_ROUNDS;
            self.tables.entry(subject).or_insert_with(|| Branch::new(subject, members, self.round));
        }
        if let Some(branch) = self.tables.get_mut(&subject) {
            branch.is_held = hold != Hold::Not;
            branch.table.set(share);
        }
        self.changed.insert(subject);
    }

    /// Which aggregates may have other estimates than when this was asked last.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Subject> {
        std::mem::take(&mut self.changed)
    }

    /// Whether there is nothing to tell of any aggregate.
    pub(super) fn is_idle(&self) -> bool {
        self.tables.is_empty()
    }

    /// What this node knows of an aggregate.
    pub(super) fn estimate(&self, subject: Subject) -> Estimate {
        let root = self.tables.get(&subject).map_or(Row::default(), |branch| branch.table.root());
        let rounds = if root.count > 0 { self.round.since(root.least) } else { 0 };
        let age = self.period.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        Estimate { value: root.value(subject.summary), members: root.count.into(), age }
    }

    /// A round begins.
    fn on_round(&mut self, now: Time, members: &Members) {
        self.tables.retain(|_, branch| branch.is_held || branch.empty_rounds < EMPTY_ROUNDS_MAX);
        for branch in self.tables.values_mut() {
            let is_empty = branch.table.root().count == 0;
            branch.empty_rounds = if is_empty { branch.empty_rounds + 1 } else { 0 };
        }
        if self.next_round_at <= now {
            self.begin(self.round.next(), members);
        }
    }

    /// The deepest level at which there are members of whom some table does not know.
    fn lacking(&self, members: &Members) -> Option<usize> {
        let mut known = vec![[0_u32; FANOUT]; DIGITS];
        let me = members.me();
        for node in members.up().map(|member| member.node).filter(|node| *node != me) {
            let at = common(me, node);
            known[at][digit(node, at)] += 1;
        }
        let lacks = |rows: &[Row; FANOUT], known: &[u32; FANOUT]| {
            rows.iter().zip(known).any(|(row, known)| row.mark.leaves < *known)
        };
        let deepest = |branch: &Branch| {
            let levels = branch.table.levels().zip(&known).enumerate();
            levels.filter(|(_, (rows, known))| lacks(rows, known)).map(|(level, _)| level).last()
        };
        self.tables.values().filter_map(deepest).max()
    }

    /// Somebody is in this round.
    fn hear_round(&mut self, now: Time, round: Round, members: &Members) {
        if round > self.round {
            self.next_round_at = now + self.period;
            self.begin(round, members);
        }
    }

    /// This node's leaves are stamped anew.
    fn begin(&mut self, round: Round, members: &Members) {
        self.round = round;
        let alone = reach(members, Standing::is_up);
        self.tables.values_mut().for_each(|branch| branch.table.stamp(round, alone));
        self.changed.extend(self.tables.keys());
    }

    fn on_change(&mut self, change: &Change, members: &Members) {
        let Entry { member, standing, .. } = &change.after;
        let at = common(members.me(), member.node);
        if standing.is_up() {
            self.tables.values_mut().for_each(|branch| branch.table.deepen(at));
        } else if change.was_up() {
            let zone = digit(member.node, at);
            if living(members, at, zone) != Living::Some {
                self.tables.values_mut().for_each(|branch| branch.table.bury(at, zone));
                self.changed.extend(self.tables.keys());
            }
        }
    }

    /// Takes part in an aggregate, if there are not too many. Tells whether it does.
    fn join(&mut self, subject: Subject, members: &Members) -> bool {
        if self.tables.contains_key(&subject) {
            return true;
        }
        if self.tables.len() >= RELAYED_MAX {
            return false;
        }
        self.tables.insert(subject, Branch::new(subject, members, self.round));
        true
    }

    /// What goes into a probe to a member that has the first `shared` levels in common.
    fn digests(&mut self, shared: usize, len_max: usize) -> Option<Digests> {
        let mut digests = Digests::new(self.round);
        let told = self.told.map_or(Unbounded, Excluded);
        let after = self.tables.range((told, Unbounded));
        let all = after.chain(&self.tables).take(self.tables.len().min(DIGESTS_MAX));
        for (subject, branch) in all {
            let mark = |rows: &[Row; 16]| rows.map(|row| row.mark);
            let mut digest = Digest {
                subject: *subject,
                introduces: branch.table.root().count > 0,
                levels: branch.table.levels().take(shared).map(mark).collect(),
            };
            let room = len_max.saturating_sub(digests.section_len());
            // A table may be deeper than a packet is long.
            while digest.encoded_len(self.round) > room && digest.levels.len() > 1 {
                digest.levels.pop();
            }
            if digest.encoded_len(self.round) > room {
                break;
            }
            self.told = Some(*subject);
            digests.objects.push(digest);
        }
        (!digests.objects.is_empty()).then_some(digests)
    }

    /// What goes into the ack: rows that are newer here, and which ones are newer there.
    fn answer(&self, asked: &Digests, shared: usize, len_max: usize) -> Option<Answers> {
        let mut answers = Answers::new(self.round);
        for Digest { subject, levels: theirs, .. } in &asked.objects {
            let Some(branch) = self.tables.get(subject) else { continue };
            let levels = branch.table.levels().zip(theirs).take(shared);
            for (level, (ours, theirs)) in levels.enumerate() {
                let mut shelf = Shelf { level: level as u8, wanted: 0, rows: Vec::new() };
                for (zone, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                    if ours.mark.stamps > theirs.stamps {
                        shelf.rows.push((zone as u8, *ours));
                    } else if ours.mark.stamps < theirs.stamps {
                        shelf.wanted |= 1 << zone;
                    }
                }
                answers.add(*subject, shelf, len_max);
            }
        }
        (!answers.objects.is_empty()).then_some(answers)
    }

    /// What goes into the rest: the rows that were asked for.
    fn supply(&self, asked: &Answers, shared: usize, len_max: usize) -> Option<Answers> {
        let mut answers = Answers::new(self.round);
        for answer in &asked.objects {
            let Some(branch) = self.tables.get(&answer.subject) else { continue };
            let is_shared = |shelf: &&Shelf| usize::from(shelf.level) < shared;
            for Shelf { level, wanted, .. } in answer.shelves.iter().filter(is_shared) {
                let Some(ours) = branch.table.levels().nth((*level).into()) else { continue };
                let wanted = rows::zones(*wanted).filter(|zone| ours[*zone].is_known());
                let rows = wanted.map(|zone| (zone as u8, ours[zone])).collect();
                let shelf = Shelf { level: *level, wanted: 0, rows };
                answers.add(answer.subject, shelf, len_max);
            }
        }
        (!answers.objects.is_empty()).then_some(answers)
    }
}

/// What a node has to do with an aggregate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Hold {
    /// It has it open, and set a share.
    Share(f64),
    /// It has it open.
    Open,
    /// It has not.
    Not,
}

impl Branch {
    fn new(subject: Subject, members: &Members, round: Round) -> Self {
        let depth = reach(members, |_| true);
        let table = Table::new(members.me(), subject.summary, depth, round);
        Self { table, is_held: false, empty_rounds: 0 }
    }
}

impl Agent {
    /// A round begins. Gives its partner, if it is not to be the one whose turn it is.
    pub(super) fn on_aggregates_round(&mut self, now: Time) -> Option<NodeId> {
        let members = self.knowledge.members();
        self.aggregates.on_round(now, members);
        if self.aggregates.is_idle() || members.up_count() < 2 {
            return None;
        }
        let levels = reach(members, Standing::is_up);
        let lacking = self.aggregates.lacking(members).filter(|level| *level > 0);
        let turns = if lacking.is_some() { self.rounds / 2 } else { self.rounds };
        let level = match lacking {
            Some(lacking) if self.rounds.is_multiple_of(2) => lacking.min(levels),
            _ => (turns % (levels as u64 + 1)) as usize,
        };
        if level == 0 {
            return None;
        }
        let (first, last) = zone(members.me(), level);
        let others = members
            .standings(first, last)
            .filter(|(node, standing)| standing.is_up() && *node != members.me());
        others.choose(&mut self.aggregates.rng).map(|(node, _)| node)
    }

    /// With whom a second exchange is to be, since this node has set a share of late.
    pub(super) fn hurried(&mut self, partner: Option<NodeId>) -> Option<NodeId> {
        let aggregates = &mut self.aggregates;
        aggregates.hurried_rounds = aggregates.hurried_rounds.checked_sub(1)?;
        let members = self.knowledge.members();
        let known: Vec<_> = partner.into_iter().chain([members.me()]).collect();
        self.partners.some(1, members, &known).pop()
    }

    pub(super) fn on_aggregates_change(&mut self, change: &Change) {
        self.aggregates.on_change(change, self.knowledge.members());
    }

    /// Takes in what a packet says of aggregates.
    pub(super) fn hear_aggregates(
        &mut self,
        now: Time,
        from: NodeId,
        packet: &Packet,
        io: &mut Io<'_>,
    ) {
        let members = self.knowledge.members();
        let shared = shared_levels(members, from);
        if shared == 0 {
            return;
        }
        if let Some(digests) = &packet.digests {
            self.aggregates.hear_round(now, digests.round, members);
            let introduced = digests.objects.iter().filter(|digest| digest.introduces);
            for Digest { subject, .. } in introduced {
                if !self.aggregates.join(*subject, members) {
                    io.count("gossip.aggregates_full");
                }
            }
        }
        let Some(answers) = &packet.answers else { return };
        self.aggregates.hear_round(now, answers.round, members);
        let ahead = u64::from(answers.round) + Round::AHEAD_MAX;
        for answer in &answers.objects {
            let Some(branch) = self.aggregates.tables.get_mut(&answer.subject) else { continue };
            let is_shared = |shelf: &&Shelf| usize::from(shelf.level) < shared;
            for Shelf { level, rows, .. } in answer.shelves.iter().filter(is_shared) {
                for (zone, row) in rows {
                    if row.least > ahead {
                        trace!(?from, ?row, "a row from the future");
                        io.count("gossip.row_ahead");
                        continue;
                    }
                    let (at, zone) = (usize::from(*level), usize::from(*zone));
                    branch.table.hear(at, zone, *row, living(members, at, zone));
                }
            }
            branch.table.compute();
            self.aggregates.changed.insert(answer.subject);
        }
    }

    /// Adds to a packet what it has room for.
    pub(super) fn tell_aggregates(
        &mut self,
        draft: Draft<'_>,
        packet: &mut Packet,
        len_max: usize,
    ) {
        let shared = shared_levels(self.knowledge.members(), draft.to);
        let room = len_max - packet.encoded_len();
        if matches!(draft.leg, Leg::Probe { .. }) {
            packet.digests = self.aggregates.digests(shared, room);
        } else if let Some(asked) = draft.answers.and_then(|answered| answered.digests.as_ref()) {
            packet.answers = self.aggregates.answer(asked, shared, room);
        }
    }

    /// Adds to a packet, which need not be there, the rows that another asked for.
    pub(super) fn supply_aggregates(
        &self,
        to: NodeId,
        asked: &Packet,
        rest: Option<Packet>,
        len_max: usize,
    ) -> Option<Packet> {
        let (Leg::Ack { number } | Leg::Rest { number }) = asked.leg else { return rest };
        let Some(asked) = &asked.answers else { return rest };
        let room = len_max - rest.as_ref().map_or(0, Packet::encoded_len);
        let empty = Packet::new(Leg::Rest { number });
        let room = if rest.is_none() { room - empty.encoded_len() } else { room };
        let shared = shared_levels(self.knowledge.members(), to);
        let answers = self.aggregates.supply(asked, shared, room);
        if answers.is_none() {
            return rest;
        }
        Some(Packet { answers, ..rest.unwrap_or(empty) })
    }
}

/// How many levels a node has in common with a member; with others, none.
fn shared_levels(members: &Members, other: NodeId) -> usize {
    let is_partner = other != members.me() && members.is_up(other);
    if is_partner { common(members.me(), other) + 1 } else { 0 }
}

/// With how many digits of this node's id another's begins, at most, of those that stand so.
fn reach(members: &Members, is_so: impl Fn(Standing) -> bool) -> usize {
    let me = members.me();
    let (first, last) = zone(me, 0);
    let is_other = |(node, standing): &(NodeId, Standing)| *node != me && is_so(*standing);
    let before = members.standings(first, me).rev().find(is_other);
    let behind = members.standings(me, last).find(is_other);
    let nearest = before.into_iter().chain(behind);
    nearest.map(|(node, _)| common(me, node)).max().unwrap_or(0)
}

/// Whom this node knows in a zone beside its own, or in its own.
fn living(members: &Members, at: usize, zone: usize) -> Living {
    let (first, last) = sibling(members.me(), at, zone);
    let mut living = Living::Unknown;
    for (_, standing) in members.standings(first, last) {
        if standing.is_up() {
            return Living::Some;
        }
        living = Living::None;
    }
    living
}

/// Of so many aggregates, at most, a probe brings digests: their answers should fit a packet.
const DIGESTS_MAX: usize = 4;

/// For how many rounds a node starts a second exchange, after it set a share.
const HURRIED_ROUNDS: u32 = 3;

/// A node that takes part in so many aggregates joins no more of them for others' sake.
pub(super) const RELAYED_MAX: usize = 1_024;

/// Who does not hold an aggregate forgets it when for so many rounds there was no share in it.
pub(super) const EMPTY_ROUNDS_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;

    #[test]
    fn rounds_go_by_one_a_period_whoever_begins_them() {
        let (period, members) = (Duration::from_millis(200), Members::new(entry(0, 1)));
        let mut aggregates = Aggregates::new(period, Rng::from_seed([7; 32]));
        let mut at = Time::ZERO;
        let mut rounds_after = |aggregates: &mut Aggregates| {
            at = at + period;
            aggregates.on_round(at, &members);
            aggregates.round.since(Round::FIRST.into())
        };
        assert_eq!([1, 2, 3].map(|_| rounds_after(&mut aggregates)), [1, 2, 3]);
        let round = Round::try_from(u64::from(Round::FIRST) + 9).unwrap();
        let heard_at = Time::ZERO + period * 3 + period / 2;
        aggregates.hear_round(heard_at, round, &members);
        assert_eq!([4, 5, 6].map(|_| rounds_after(&mut aggregates)), [9, 10, 11]);
    }

    #[test]
    fn the_end_of_all_rounds_is_no_panic() {
        let members = Members::new(entry(0, 1));
        let mut aggregates = Aggregates::new(Duration::from_millis(200), Rng::from_seed([7; 32]));
        let subject = Subject {
            object: live_objects::ObjectId::from_bytes([1; 16]),
            summary: live_objects::Summary::Sum,
        };
        aggregates.hold(subject, Hold::Share(1.0), &members);
        aggregates.hear_round(Time::ZERO, Round::MAX, &members);
        (1..9).for_each(|_| aggregates.on_round(Time::MAX, &members));
        assert_eq!(aggregates.estimate(subject).members, 1);
    }
}
