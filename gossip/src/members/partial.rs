//! What a table keeps in a partial view (`view`): all of the neighbourhood, and of each other zone
//! a few contacts, those that rank first. In a whole view that is everybody.
//!
//! Invariant: beside whoever was heard of last there may be one contact too many, until it is let
//! go in the same step; elsewhere there is none.

use live_objects::{Member, NodeId};

use super::{Members, Row, Rows};
use crate::digest::Digest;
use crate::entry::{Entry, Standing};
use crate::records::affinity::{Depth, Part};
use crate::roster::Roster;
use crate::view::{self, CONTACTS, View, rank};

/// What all of one neighbourhood know when they start from a roster: they share its rows, until
/// one of them hears something new.
#[derive(Default)]
pub(crate) struct Common {
    rows: Rows,
    digest: Digest,
}

impl<'a> FromIterator<&'a Entry> for Common {
    fn from_iter<I: IntoIterator<Item = &'a Entry>>(entries: I) -> Self {
        let mut common = Self::default();
        for entry in entries {
            common.digest.toggle(entry);
            common.rows.put(Row::of(entry.clone()));
        }
        common
    }
}

impl Members {
    /// Which part of the cluster is kept.
    pub(crate) const fn view(&self) -> View {
        self.view
    }

    /// Whether this life of a node may be a member: it is, or nobody here could tell.
    pub(crate) fn may_be(&self, member: Member) -> bool {
        match self.rows.get(member.node) {
            Some(row) => row.standing.is_up() && row.incarnation == member.incarnation,
            None => !self.view.is_near(member.node),
        }
    }

    /// Whether a node is believed up, or nobody here could tell.
    pub(crate) fn may_be_up(&self, node: NodeId) -> bool {
        self.standing(node).map_or(!self.view.is_near(node), |standing| standing.is_up())
    }

    /// Whether somebody is to be kept who is not.
    pub(super) fn keeps(&self, entry: &Entry) -> bool {
        let node = entry.member.node;
        if self.view.is_near(node) {
            return true;
        }
        let (near, around) = (self.view.near(), self.view.around(node));
        let own = rank(near, node);
        let before = self.up_between(around.first, around.last);
        let before = before.filter(|(contact, _)| rank(near, *contact) < own).count();
        entry.standing.is_up() && before < CONTACTS
    }

    /// Lets go of the contact in a node's zone that ranks last, if there is one too many.
    pub(crate) fn let_go_beside(&mut self, node: NodeId) -> Option<Entry> {
        if self.view.is_near(node) {
            return None;
        }
        let (near, around) = (self.view.near(), self.view.around(node));
        let contacts = self.up_between(around.first, around.last).map(|(contact, _)| contact);
        let mut contacts: Vec<NodeId> = contacts.collect();
        contacts.sort_unstable_by_key(|contact| rank(near, *contact));
        contacts.get(CONTACTS).map(|last| self.let_go(*last))
    }

    /// Keeps another part from now on. Gives who was up and is let go.
    pub(crate) fn turn_to(&mut self, depth: Depth) -> Vec<Entry> {
        self.view = View::new(self.me, depth);
        let far = |row: &&Row| row.standing.is_up() && !self.view.is_near(row.node);
        let far: Vec<NodeId> = self.rows.from(None).filter(far).map(|row| row.node).collect();
        let mut gone = Vec::new();
        for node in far {
            while let Some(entry) = self.let_go_beside(node) {
                gone.push(entry);
            }
        }
        gone
    }

    /// Keeps its part of a roster that this node is in, and nobody else.
    pub(crate) fn know(&mut self, roster: &Roster) {
        assert_eq!(self.rows.len(), 1, "this node has just started");
        self.rewrite_own(Roster::GENERATION, Standing::Alive);
        let own = self.rows.get(self.me).expect("this node has a row").clone();
        self.view = View::new(self.me, roster.depth());
        let Common { rows, digest } = roster.common(self.me);
        (self.rows, self.digest) = (rows.clone(), digest.clone());
        // It is there already, and its block is not to be written for nothing. Addresses do not
        // show in the digest.
        if self.rows.get(self.me) != Some(&own) {
            self.rows.put(own);
        }
        self.up = self.rows.len();
    }

    /// The contacts of another neighbourhood among the members of this one; and those who would
    /// have been, if they were not gone.
    pub(crate) fn contacts_of(&self, theirs: Part) -> Vec<Entry> {
        let near = self.view.near();
        let rows = self.rows.from(Some(near.first)).take_while(|row| row.node <= near.last);
        let mut ranked: Vec<(u64, &Row)> = rows.map(|row| (rank(theirs, row.node), row)).collect();
        // Of some hundreds few rank before the last contact: only those are put in order.
        let mut first = [u64::MAX; CONTACTS + 1];
        for (rank, _) in ranked.iter().filter(|(_, row)| row.standing.is_up()) {
            if *rank < first[CONTACTS] {
                first[CONTACTS] = *rank;
                first.sort_unstable();
            }
        }
        ranked.retain(|(rank, _)| *rank < first[CONTACTS]);
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, row)| row.entry()).collect()
    }

    /// A hash of the contacts that are kept around a node.
    pub(crate) fn contacts_hash(&self, node: NodeId) -> u32 {
        let around = self.view.around(node);
        let rows = self.rows.from(Some(around.first)).take_while(|row| row.node <= around.last);
        view::hash(rows.filter(|row| row.standing.is_up()).map(Row::member))
    }

    fn let_go(&mut self, node: NodeId) -> Entry {
        let entry = self.of(node).expect("a contact has a row");
        self.digest.toggle(&entry);
        self.rows.remove(node);
        self.up -= 1;
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use crate::members::Merged;
    use live_objects::Rng;
    use proptest::prelude::*;
    use rand::RngExt;

    fn numbered(id: u128) -> Entry {
        let mut numbered = entry(1, 1);
        numbered.member.node = NodeId::from_bytes(id.to_be_bytes());
        numbered
    }

    fn all(members: &Members) -> Vec<NodeId> {
        members.up().map(|member| member.node).collect()
    }

    fn roster(ids: &[u128]) -> Roster {
        let member = |id: &u128| (numbered(*id).member, Vec::new(), bytes::Bytes::new());
        Roster::new(ids.iter().map(member), 200)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever comes first, and whether it is heard of or known from a roster: the same are
        /// kept, of each other neighbourhood no more than there is room for.
        #[test]
        fn the_same_are_kept_whatever_comes_first(seed: [u8; 32], count in 201..400_usize) {
            let mut rng = Rng::from_seed(seed);
            let ids: Vec<u128> = (0..count).map(|_| rng.random()).collect();
            let roster = roster(&ids);
            let depth = roster.depth();
            prop_assert!(depth.bits() > 0);
            let mut known = Members::new(numbered(ids[0]));
            known.know(&roster);
            let mut heard = Members::new(numbered(ids[0]));
            heard.turn_to(depth);
            let mut late = Members::new(numbered(ids[0]));
            for id in &ids[1..] {
                let merged = heard.merge(numbered(*id));
                if let Some(last) = heard.let_go_beside(numbered(*id).member.node) {
                    prop_assert!(matches!(merged, Merged::Changed(_)));
                    prop_assert_ne!(last.member.node, numbered(*id).member.node);
                }
            }
            ids[1..].iter().rev().for_each(|id| drop(late.merge(numbered(*id))));
            let gone = late.turn_to(depth).len();
            prop_assert_eq!(late.up_count() + gone, count);
            prop_assert_eq!(all(&heard), all(&late));
            prop_assert_eq!(all(&heard), all(&known));
            prop_assert_eq!(heard.digest(), late.digest());
            prop_assert_eq!(heard.up_count(), all(&heard).len());
            let view = heard.view();
            for place in depth.places().filter(|place| !view.near().has(*place)) {
                let part = depth.part(place);
                let there: Vec<u128> =
                    ids.iter().copied().filter(|id| part.has(numbered(*id).member.node)).collect();
                let kept = heard.up_between(part.first, part.last).map(|(node, _)| node);
                let kept: Vec<NodeId> = kept.collect();
                prop_assert_eq!(kept.len(), there.len().min(CONTACTS));
                // They are those whom their neighbours name.
                let mut one = Members::new(numbered(there[0]));
                one.turn_to(depth);
                there[1..].iter().for_each(|id| drop(one.merge(numbered(*id))));
                let named = one.contacts_of(view.near());
                let mut named: Vec<NodeId> = named.iter().map(|it| it.member.node).collect();
                named.sort_unstable();
                prop_assert_eq!(kept, named);
            }
        }
    }

    #[test]
    fn nobody_keeps_what_is_said_of_the_departed_far_away() {
        let ids: Vec<u128> = (1..=400_u128).map(|number| number << 119).collect();
        let mut members = Members::new(numbered(ids[0]));
        members.turn_to(roster(&ids).depth());
        let far = numbered(*ids.last().unwrap());
        assert!(!members.view().is_near(far.member.node));
        assert!(members.may_be(far.member) && members.may_be_up(far.member.node));
        assert_eq!(members.merge(far.as_standing(Standing::Left)), Merged::Elsewhere);
        assert!(matches!(members.merge(far.clone()), Merged::Changed(_)));
        members.merge(far.as_standing(Standing::Faulty));
        assert!(!members.may_be(far.member) && !members.may_be_up(far.member.node));
        let near = numbered(ids[1]);
        assert!(!members.may_be_up(near.member.node), "all that are near are known");
    }
}
