//! The table: what this node believes of every node it has heard of, itself included.
//!
//! A table only ever takes the greater of what it holds and what it hears ([`Entry::precedence`]),
//! so two tables that heard the same are the same. The one exception is this node's own entry,
//! which nobody else writes: whatever is said of this node that is not what it says itself makes it
//! raise its generation above that.
//!
//! Of a large cluster it keeps a part (`view`), and passes over what is said of the others.
//!
//! Who is faulty or left stays as a *tombstone*, or an old rumor would bring it back to life. There
//! are at most [`TOMBSTONES_MAX`], the oldest goes first, but none for the sake of one that was
//! never known here. Of those that went so a hash stays for long (`graves`); should a rumor older
//! than that turn up, the failure detector buries its member again.
//!
//! Invariants: this node has a row. `up` counts the rows that are up, `tombstones` holds the
//! others, each once. The digest is that of the rows.

mod graves;
mod partial;
mod rows;

use core::cmp::Ordering;
use std::collections::VecDeque;

use live_objects::{Member, NodeId};

pub(crate) use self::graves::GRAVES_MAX;
use self::graves::Graves;
pub(crate) use self::partial::Common;
use self::rows::{Row, Rows};
use crate::digest::Digest;
use crate::entry::{Credential, Entry, Generation, Standing, Telling};
use crate::records::affinity::Depth;
use crate::view::View;

/// The most members that are up. What is heard of more is refused. No view is larger.
pub(crate) const MEMBERS_MAX: usize = 65_536;

/// The most tombstones.
pub(crate) const TOMBSTONES_MAX: usize = 1_024;

/// Everything that this node believes.
pub(crate) struct Members {
    me: NodeId,
    view: View,
    rows: Rows,
    up: usize,
    /// The oldest first.
    tombstones: VecDeque<NodeId>,
    graves: Graves,
    digest: Digest,
}

/// What became of an entry that was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Merged {
    /// The table knew better.
    Stale,
    /// The table knew just that.
    Known,
    /// The table changed.
    Changed(Change),
    /// It would have been one member too many.
    Refused,
    /// It is of a member that others keep.
    Elsewhere,
    /// It says that somebody is up of whom this node once knew that it is gone.
    Buried(Entry),
    /// It was brief, and of a member that is not known; or of one that is gone, and no more of
    /// these are kept.
    Unplaced,
    /// It spoke of this node, and this node overrode it.
    Refuted,
    /// It spoke of this node at a generation that cannot be overridden.
    Outbid,
}

/// What was believed of a node, and what is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) before: Option<Entry>,
    pub(crate) after: Entry,
}

impl Change {
    /// Whether it makes a member of a node that was none.
    pub(crate) fn is_arrival(&self) -> bool {
        !self.was_up() && self.after.standing.is_up()
    }

    /// Whether it says of a node that was never known here that it is gone.
    pub(crate) fn is_of_stranger(&self) -> bool {
        self.before.is_none() && !self.after.standing.is_up()
    }

    /// How much of it is news to those who know what this node knew before.
    pub(crate) fn telling(&self) -> Telling {
        let known = self.before.as_ref().is_some_and(|before| before.member == self.after.member);
        if known { Telling::Brief } else { Telling::Whole }
    }

    /// Whether the node was one before.
    pub(crate) fn was_up(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.standing.is_up())
    }
}

impl Members {
    /// A table that knows its own node alone.
    pub(crate) fn new(own: Entry) -> Self {
        let me = own.member.node;
        let (rows, tombstones) = (Rows::default(), VecDeque::new());
        let (view, digest) = (View::new(me, Depth::default()), Digest::default());
        let graves = Graves::default();
        let mut members = Self { me, view, rows, up: 1, tombstones, graves, digest };
        members.put(own);
        members
    }

    /// This node.
    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    /// What this node says of itself.
    pub(crate) fn own(&self) -> Entry {
        self.of(self.me).expect("this node has a row")
    }

    /// What is believed of a node, but for what it shows.
    pub(crate) fn of(&self, node: NodeId) -> Option<Entry> {
        self.rows.get(node).map(Row::entry)
    }

    /// Whether this very member is known, in this life, whatever became of it.
    pub(crate) fn knows(&self, member: Member) -> bool {
        self.rows.get(member.node).is_some_and(|row| row.incarnation == member.incarnation)
    }

    /// How a node stands.
    pub(crate) fn standing(&self, node: NodeId) -> Option<Standing> {
        self.rows.get(node).map(|row| row.standing)
    }

    /// Whether a node is believed up.
    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        self.standing(node).is_some_and(Standing::is_up)
    }

    /// How many rows there are, tombstones included.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many are up, this node included.
    pub(crate) fn up_count(&self) -> usize {
        self.up
    }

    /// Who is up, this node included, by id.
    pub(crate) fn up(&self) -> impl Iterator<Item = Member> {
        self.rows.from(None).filter(|row| row.standing.is_up()).map(Row::member)
    }

    /// How many are up whose ids are below a node's.
    pub(crate) fn up_below(&self, node: NodeId) -> usize {
        self.rows.up_below(node)
    }

    /// Who is up and has so many of these below.
    pub(crate) fn up_at(&self, rank: usize) -> Option<NodeId> {
        self.rows.up_at(rank).map(|row| row.node)
    }

    /// Who is not, the oldest tombstone first.
    pub(crate) fn tombstones(&self) -> &VecDeque<NodeId> {
        &self.tombstones
    }

    /// The digest of who is up.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// All entries behind that of `node`, or all, by id.
    pub(crate) fn after(&self, node: Option<NodeId>) -> impl Iterator<Item = Entry> {
        let rows = self.rows.from(node);
        rows.skip_while(move |row| Some(row.node) == node).map(Row::entry)
    }

    /// All entries of the nodes from the one to the other, both included, by id.
    pub(crate) fn between(&self, from: NodeId, to: NodeId) -> impl Iterator<Item = Entry> {
        self.rows.from(Some(from)).take_while(move |row| row.node <= to).map(Row::entry)
    }

    /// Who is up of the nodes from the one to the other, both included, and how they stand, by id.
    pub(crate) fn up_between(
        &self,
        from: NodeId,
        to: NodeId,
    ) -> impl Iterator<Item = (NodeId, Standing)> {
        let range = self.rows.from(Some(from)).take_while(move |row| row.node <= to);
        let standings = range.map(|row| (row.node, row.standing));
        standings.filter(|(_, standing)| standing.is_up())
    }

    /// Takes in what was heard.
    pub(crate) fn merge(&mut self, entry: Entry) -> Merged {
        let node = entry.member.node;
        if node == self.me {
            return self.refute(&entry);
        }
        let before = self.of(node);
        let entry = match &before {
            Some(before) if entry.is_brief() && before.member == entry.member => {
                Entry { addresses: before.addresses.clone(), ..entry }
            }
            _ => entry,
        };
        if entry.is_brief() && entry.standing.is_up() {
            return Merged::Unplaced;
        }
        match before.as_ref().map(|before| before.precedence().cmp(&entry.precedence())) {
            Some(Ordering::Greater) => return Merged::Stale,
            Some(Ordering::Equal) => return Merged::Known,
            Some(Ordering::Less) | None => {}
        }
        let change = Change { before, after: entry };
        if change.before.is_none() && !self.keeps(&change.after) {
            return Merged::Elsewhere;
        }
        if change.before.is_none() && change.is_arrival() && self.graves.has(&change.after) {
            return Merged::Buried(change.after);
        }
        if change.is_arrival() && self.up == MEMBERS_MAX {
            return Merged::Refused;
        }
        if change.is_of_stranger() && self.tombstones.len() == TOMBSTONES_MAX {
            self.graves.add_stranger(&change.after);
            return Merged::Unplaced;
        }
        if let Some(before) = &change.before {
            self.digest.toggle(before);
        }
        self.put(change.after.clone());
        self.count(&change);
        Merged::Changed(change)
    }

    /// The hashes of those of whom no tombstone is left, the oldest first.
    pub(crate) fn buried(&self) -> impl Iterator<Item = u32> {
        self.graves.hashes()
    }

    /// Another has buried members with these hashes.
    pub(crate) fn on_buried(&mut self, hashes: &[u32]) {
        hashes.iter().for_each(|hash| self.graves.add_hash(*hash));
    }

    /// A member says this of itself, or objected: it is not gone, whatever was known here.
    pub(crate) fn on_objection(&mut self, entry: &Entry) {
        self.graves.open(entry);
    }

    /// Says good-bye in this node's name.
    pub(crate) fn leave(&mut self) {
        let generation = self.own().generation.raised();
        self.rewrite_own(generation, Standing::Left);
    }

    fn refute(&mut self, said: &Entry) -> Merged {
        let own = self.own();
        if said.says(&own) {
            return Merged::Known;
        }
        if said.generation < own.generation {
            return Merged::Stale;
        }
        let raised = said.generation.raised();
        self.rewrite_own(raised, own.standing);
        if raised > said.generation { Merged::Refuted } else { Merged::Outbid }
    }

    fn rewrite_own(&mut self, generation: Generation, standing: Standing) {
        let own = self.own();
        self.digest.toggle(&own);
        self.put(Entry { generation, standing, ..own });
    }

    fn put(&mut self, entry: Entry) {
        self.digest.toggle(&entry);
        self.rows.put(Row::of(entry));
    }

    /// Keeps count of who is up and who is a tombstone.
    fn count(&mut self, change: &Change) {
        let node = change.after.member.node;
        match (change.was_up(), change.after.standing.is_up()) {
            (true, false) => {
                self.up -= 1;
                self.bury(node);
            }
            (false, true) => {
                self.up += 1;
                if change.before.is_some() {
                    self.tombstones.retain(|tombstone| *tombstone != node);
                }
            }
            (false, false) if change.before.is_none() => self.bury(node),
            (true, true) | (false, false) => {}
        }
        assert_eq!(self.rows.len(), self.up + self.tombstones.len(), "a row is up or a tombstone");
    }

    fn bury(&mut self, node: NodeId) {
        self.tombstones.push_back(node);
        if self.tombstones.len() > TOMBSTONES_MAX {
            let oldest = self.tombstones.pop_front().expect("just seen to hold more than none");
            let entry = self.of(oldest).expect("a tombstone has a row");
            self.graves.add(&entry);
            self.rows.remove(oldest);
        }
    }
}

impl Row {
    fn of(entry: Entry) -> Self {
        let Entry { member, generation, standing, addresses, accuser, .. } = entry;
        let Member { node, incarnation } = member;
        Self { node, incarnation, generation, addresses, standing, accuser }
    }

    fn member(&self) -> Member {
        Member { node: self.node, incarnation: self.incarnation }
    }

    fn entry(&self) -> Entry {
        Entry {
            member: self.member(),
            generation: self.generation,
            standing: self.standing,
            addresses: self.addresses.clone(),
            credential: Credential::default(),
            accuser: self.accuser,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::{entry, standings};
    use live_objects::Incarnation;
    use proptest::prelude::*;

    fn table() -> Members {
        Members::new(entry(0, 5))
    }

    fn all(members: &Members) -> Vec<Entry> {
        members.after(None).collect()
    }

    fn recomputed(members: &Members) -> Digest {
        let mut digest = Digest::default();
        members.after(None).for_each(|entry| digest.toggle(&entry));
        digest
    }

    /// What a few nodes say of a few others: often the same nodes, lives and generations.
    fn hearsay() -> impl Strategy<Value = Vec<Entry>> {
        let said = (1..4_u8, 0..3_u64, standings(), 0..2_u8).prop_map(
            |(node, generation, standing, life)| {
                let mut said = entry(node, generation).as_standing(standing);
                said.member.incarnation = Incarnation::from_bytes([life; Incarnation::LEN]);
                said
            },
        );
        prop::collection::vec(said, 0..20)
    }

    proptest! {
        /// Commutative, associative, idempotent: neither order nor repetition nor detours matter.
        #[test]
        fn order_and_repetition_do_not_matter(said in hearsay(), cut in 0..20_usize) {
            let hear = |said: &[&[Entry]]| {
                let mut members = table();
                said.concat().into_iter().for_each(|entry| drop(members.merge(entry)));
                members
            };
            let once = hear(&[&said]);
            let (head, tail) = said.split_at(cut.min(said.len()));
            let reversed: Vec<Entry> = said.iter().rev().cloned().collect();
            let by_detour = [all(&hear(&[tail])), all(&hear(&[head]))].concat();
            for other in [hear(&[tail, head, tail]), hear(&[&reversed]), hear(&[&by_detour])] {
                prop_assert_eq!(all(&other), all(&once));
                prop_assert_eq!(other.digest(), once.digest());
            }
            prop_assert_eq!(&recomputed(&once), once.digest());
            prop_assert_eq!(once.up().count(), once.up_count());
        }
    }

    /// Who is known is known by a brief word; who is not, or lives another life, is not made up.
    #[test]
    fn a_brief_word_is_about_who_is_known() {
        let mut members = table();
        assert_eq!(members.merge(entry(1, 1).brief()), Merged::Unplaced);
        members.merge(entry(1, 1));
        members.merge(entry(1, 2).as_standing(Standing::Suspect).brief());
        assert_eq!(
            members.of(entry(1, 1).member.node),
            Some(entry(1, 2).as_standing(Standing::Suspect))
        );
        let mut later = entry(1, 3);
        later.member.incarnation = Incarnation::from_bytes([9; Incarnation::LEN]);
        assert_eq!(members.merge(later.brief()), Merged::Unplaced);
        assert!(matches!(members.merge(later), Merged::Changed(_)));
        let gone = entry(2, 1).as_standing(Standing::Faulty).brief();
        assert!(matches!(members.merge(gone), Merged::Changed(_)));
        assert_eq!(members.merge(entry(2, 2).brief()), Merged::Unplaced);
        assert!(matches!(members.merge(entry(2, 2)), Merged::Changed(_)));
    }

    #[test]
    fn a_change_tells_what_was_before() {
        let mut members = table();
        let (alive, faulty) = (entry(1, 1), entry(1, 1).as_standing(Standing::Faulty));
        let arrival = Change { before: None, after: alive.clone() };
        assert!(arrival.is_arrival());
        assert_eq!(members.merge(alive.clone()), Merged::Changed(arrival));
        let departure = Change { before: Some(alive.clone()), after: faulty.clone() };
        assert_eq!(members.merge(faulty), Merged::Changed(departure));
        assert_eq!(members.merge(alive), Merged::Stale, "a tombstone keeps old rumors down");
        assert_eq!((members.up_count(), members.tombstones().len()), (1, 1));
        assert!(matches!(members.merge(entry(1, 2)), Merged::Changed(back) if back.is_arrival()));
        assert_eq!((members.up_count(), members.tombstones().len()), (2, 0));
    }

    #[test]
    fn only_this_node_writes_its_own_entry() {
        let mut members = table();
        let own = members.own();
        assert_eq!(members.merge(own.clone()), Merged::Known);
        assert_eq!(members.merge(entry(0, 4).as_standing(Standing::Left)), Merged::Stale);
        assert_eq!(members.own(), own);
        assert_eq!(members.merge(entry(0, 5).as_standing(Standing::Suspect)), Merged::Refuted);
        assert_eq!(members.own(), Entry { generation: own.generation.raised(), ..own });
        let mut former_life = entry(0, 9);
        former_life.member.incarnation = Incarnation::from_bytes([9; 16]);
        assert_eq!(members.merge(former_life), Merged::Refuted);
        assert_eq!(members.own().generation, Generation::try_from(10).unwrap());
        assert_eq!(&recomputed(&members), members.digest());
    }

    #[test]
    fn an_entry_that_cannot_be_overridden_does_no_more_harm_than_that() {
        let mut members = table();
        let last = entry(0, Generation::MAX.into()).as_standing(Standing::Suspect);
        assert_eq!(members.merge(last), Merged::Outbid);
        assert_eq!(members.own().generation, Generation::MAX);
        assert_eq!(members.own().standing, Standing::Alive);
    }

    #[test]
    fn a_range_includes_both_ends() {
        let mut members = table();
        let node = |node| entry(node, 1).member.node;
        (1..=5).for_each(|node| drop(members.merge(entry(node, 1))));
        let between = |from, to| members.between(from, to).count();
        assert_eq!(between(node(2), node(4)), 3);
        assert_eq!(between(node(4), node(2)), 0);
        assert_eq!(between(NodeId::from_bytes([0xff; 16]), NodeId::from_bytes([0xff; 16])), 0);
    }

    fn numbered(number: usize, standing: Standing) -> Entry {
        let mut numbered = entry(1, 1).as_standing(standing);
        let mut node = [0xff; NodeId::LEN];
        node[..8].copy_from_slice(&number.to_be_bytes());
        numbered.member.node = NodeId::from_bytes(node);
        numbered
    }

    #[test]
    fn the_oldest_tombstone_goes_first() {
        let mut members = table();
        for number in 0..=TOMBSTONES_MAX {
            members.merge(numbered(number, Standing::Alive));
            members.merge(numbered(number, Standing::Faulty));
        }
        let stranger = members.merge(numbered(9_999, Standing::Faulty));
        assert_eq!(stranger, Merged::Unplaced, "nobody gives way to whom nobody knew");
        assert_eq!(members.tombstones().len(), TOMBSTONES_MAX);
        assert_eq!(members.of(numbered(0, Standing::Faulty).member.node), None);
        assert_eq!(members.tombstones()[0], numbered(1, Standing::Faulty).member.node);
    }

    #[test]
    fn who_was_buried_long_ago_stays_so_by_what_others_say() {
        let mut members = table();
        for number in 0..=TOMBSTONES_MAX {
            members.merge(numbered(number, Standing::Alive));
            members.merge(numbered(number, Standing::Faulty));
        }
        let gone = numbered(0, Standing::Alive);
        assert_eq!(members.of(gone.member.node), None, "there is no tombstone of it");
        assert_eq!(members.merge(gone.clone()), Merged::Buried(gone.clone()));
        let suspect = gone.as_standing(Standing::Suspect);
        assert_eq!(members.merge(suspect.clone()), Merged::Buried(suspect));
        let objection = Entry { generation: gone.generation.raised(), ..gone.clone() };
        assert!(matches!(members.merge(objection), Merged::Changed(_)));
        members.merge(numbered(9_999, Standing::Alive));
        members.merge(numbered(9_999, Standing::Left));
        let next = numbered(1, Standing::Alive);
        assert_eq!(members.merge(next.clone()), Merged::Buried(next.clone()));
        members.on_objection(&next);
        assert!(matches!(members.merge(next), Merged::Changed(_)), "it is there after all");
    }

    #[test]
    fn a_full_table_refuses_newcomers_and_keeps_its_members() {
        let mut members = table();
        for number in 1..MEMBERS_MAX {
            assert!(matches!(members.merge(numbered(number, Standing::Alive)), Merged::Changed(_)));
        }
        assert_eq!(members.merge(numbered(0, Standing::Alive)), Merged::Refused);
        let suspected = members.merge(numbered(1, Standing::Suspect));
        assert!(matches!(suspected, Merged::Changed(_)), "members are still heard of");
        members.merge(numbered(1, Standing::Left));
        assert!(matches!(members.merge(numbered(0, Standing::Alive)), Merged::Changed(_)));
    }
}
