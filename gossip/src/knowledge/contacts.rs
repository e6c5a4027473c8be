//! What neighbourhoods tell each other (`view`): which members of the one the other should know.
//!
//! Between two of one neighbourhood everything is as between any two that keep all, since they keep
//! the same. Digests of others, who keep something else, say nothing; so these name contacts, and
//! only if a hash of these shows that they are not known. How that goes is drawn in `agent::view`.

use live_objects::NodeId;
use rand::seq::IteratorRandom;

use super::Knowledge;
use crate::entry::{Entry, Standing, Telling};
use crate::records::affinity::{Depth, Part};
use crate::view;
use crate::wire::scope::Scope;
use crate::wire::{Leg, Packet};

impl Knowledge {
    /// Whether the sender of a packet keeps the same members.
    pub(crate) fn is_like(&self, from: NodeId, packet: &Packet) -> bool {
        let view = self.members.view();
        let depth = packet.scope.map_or(Depth::default(), |scope| scope.depth);
        depth == view.depth() && view.is_near(from)
    }

    pub(super) fn scope(&self, to: NodeId) -> Option<Scope> {
        let view = self.members.view();
        view.is_partial()
            .then(|| Scope { depth: view.depth(), contacts: self.members.contacts_hash(to) })
    }

    /// Whom another neighbourhood should know of this one, if a packet from there shows that it
    /// does not.
    pub(super) fn contacts_for(&mut self, to: NodeId, packet: &Packet) -> Vec<Entry> {
        let view = self.members.view();
        let depth = packet.scope.map_or(Depth::default(), |scope| scope.depth);
        let mut contacts = self.members.contacts_of(depth.part(to));
        if depth != view.depth() {
            return contacts.into_iter().choose(&mut self.rng).into_iter().collect();
        }
        let up = contacts.iter().filter(|entry| entry.standing.is_up());
        if packet.scope.map(|scope| scope.contacts) == Some(view::hash(up.map(|it| it.member))) {
            contacts.clear();
        }
        contacts
    }

    /// What the answer of another neighbourhood shows that it lacks, if anything.
    pub(crate) fn acquaint(
        &mut self,
        number: u32,
        from: NodeId,
        answer: &Packet,
        len_max: usize,
    ) -> Option<Packet> {
        let view = self.members.view();
        if view.is_near(from) || answer.digest.is_none() {
            return None;
        }
        let mut lacking = self.contacts_for(from, answer);
        if !answer.entries.is_empty() {
            let around = view.around(from);
            let is_named = |entry: &Entry| {
                answer.entries.iter().any(|named| named.member.node == entry.member.node)
            };
            let known = self.members.between(around.first, around.last);
            let others = known.filter(|entry| entry.member.node != from && !is_named(entry));
            lacking.extend(others.filter(|entry| entry.standing == Standing::Alive));
        }
        let mut packet = Packet::new(Leg::Rest { number });
        self.add(lacking, &mut packet, len_max);
        (!packet.entries.is_empty()).then_some(packet)
    }

    pub(super) fn add(&self, entries: Vec<Entry>, packet: &mut Packet, len_max: usize) {
        let mut room = packet.room(len_max);
        for entry in entries {
            let entry = Telling::Whole.of(entry);
            let Some(left) = room.checked_sub(self.entry_len(&entry)) else { break };
            room = left;
            packet.entries.push(entry);
        }
    }

    /// Asks for what this node lacks of a zone that both keep, where the one keeps more than the
    /// other: their digests are of no use then. A lean answer does not say what its sender keeps.
    pub(crate) fn ask_beside(
        &mut self,
        number: u32,
        from: NodeId,
        answer: &Packet,
        len_max: usize,
    ) -> Option<Packet> {
        answer.digest?;
        let view = self.members.view();
        let depth = answer.scope.map_or(Depth::default(), |scope| scope.depth);
        if depth == view.depth() || !view.is_near(from) || !depth.part(from).has(self.members.me())
        {
            return None;
        }
        let depth = depth.max(view.depth());
        let Part { first, last } = depth.part(from);
        let bits = u128::MAX.checked_shr(depth.bits()).unwrap_or(0);
        Some(self.ask_between(number, (first, last), bits, len_max))
    }
}
