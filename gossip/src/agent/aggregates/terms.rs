//! Which terms there are in which zone: one aggregate more, whose body is a filter
//! (`zones/filter`). It is there only once somebody describes itself in a catalog.
//!
//! Filters are as long as sketches, but seldom other than they were. So what is told of a zone is
//! mostly the digest of its filter, and each side says which digest it holds of the other's:
//!
//! ```text
//!  probe  digest of mine, of what I hold of yours   ▶
//!                              ◀  the same, or my filter if you hold another   ack
//!  rest   my filter, if you hold another   ▶
//! ```
//!
//! A digest that is held is as good as the filter: what is held of the zone is fresh again.

use std::sync::Arc;

use live_objects::{Io, NodeId, ObjectId, Predicate, Time};
use tracing::trace;

use super::telling::is_worth_its_room;
use super::{Aggregates, Branch, HURRIED_ROUNDS, ROUND_BYTES_MAX};
use crate::agent::Agent;
use crate::knowledge::Draft;
use crate::wire::terms::{TermsSection, digest};
use crate::wire::{HEAD_LEN, Leg, Packet};
use crate::zones::body::Body;
use crate::zones::filter::{Filter, Term};
use crate::zones::place::level;
use crate::zones::row::Round;
use crate::zones::{Headcount, Table, Told};

impl Aggregates {
    /// What this node says of itself, in all catalogs, has these terms from now on.
    pub(in crate::agent) fn describe(&mut self, own: Option<Filter>, round: Round) {
        if own.is_none() && self.terms.is_none() {
            return;
        }
        let branch =
            self.terms.get_or_insert_with(|| Branch::new(Table::of_filters(round), 0, round));
        branch.is_held = own.is_some();
        // Mostly it is a load that is another, which is no term.
        if branch.table.set(own.map(|own| Body::Filter(Arc::new(own))), round) {
            branch.update(round);
            self.hurries_until = round.shifted(HURRIED_ROUNDS);
        }
    }

    /// Whether somebody may match in the sibling zone at this level, in which so many members are
    /// known: who is not in the row may.
    pub(in crate::agent) fn may_match(
        &self,
        level: usize,
        known: u32,
        sought: &Sought<'_>,
    ) -> bool {
        // Whoever has lived for some rounds has heard of it, if anybody describes itself.
        let Some(branch) = &self.terms else { return sought.is_young };
        match branch.table.held_total(level) {
            Some(held) if branch.table.held(level).leaves >= known => match &held.body {
                Body::Filter(filter) if held.count > 0 => sought.may_be_in(filter),
                _ => false,
            },
            _ => true,
        }
    }

    /// Takes what a member tells of its zone. Gives what to count, if it cannot be taken.
    fn take_terms(
        &mut self,
        section: &TermsSection,
        told: (NodeId, usize, Headcount),
        round: Round,
    ) -> Option<&'static str> {
        if self.terms.is_none() && section.row.count == 0 {
            return None;
        }
        let branch =
            self.terms.get_or_insert_with(|| Branch::new(Table::of_filters(round), 0, round));
        let (teller, level, known) = told;
        let mut row = section.row.clone();
        if section.digest.is_some() {
            let held = branch.table.held_total(level);
            // Whoever told it is told what is held, and tells the whole.
            let held = held.filter(|held| digest(held.count, &held.body) == section.digest)?;
            row.body = held.body.clone();
        }
        let taken = branch.table.take(Told { row, teller, level, known }, round);
        branch.update(round);
        self.note(taken, round)
    }

    /// What to tell at this level of a zone of so many members, who hold this of it, if that is
    /// known.
    fn terms_for(
        &mut self,
        level: usize,
        members: u32,
        theirs: Option<u32>,
        round: Round,
    ) -> Option<(TermsSection, TermsSection)> {
        let branch = self.terms.as_mut().filter(|branch| branch.is_worth_telling(round))?;
        let held = branch.table.held_total(level);
        let held = held.and_then(|held| digest(held.count, &held.body)).unwrap_or(0);
        let row = branch.table.own(level, round);
        let brief = TermsSection::brief(held, row.clone());
        let is_known = theirs.is_none_or(|theirs| brief.digest.unwrap_or(theirs) == theirs);
        let is_wanted = !is_known && is_worth_its_room(row.mark, members, round);
        let whole = if is_wanted { TermsSection::whole(held, row) } else { brief.clone() };
        Some((whole, brief))
    }
}

impl Agent {
    pub(super) fn hear_terms(&mut self, now: Time, from: NodeId, packet: &Packet, io: &mut Io<'_>) {
        let Some(section) = &packet.terms else { return };
        let level = level(self.knowledge.members().me(), from);
        let told = (from, level, self.partners.known(level));
        if let Some(why) = self.aggregates.take_terms(section, told, self.clock.at(now)) {
            trace!(?from, ?section, why, "a row of terms was not taken");
            io.count(why);
        }
    }

    /// Adds to a packet to a member of the sibling zone at this level what it has room for, where
    /// this node's own zone is of so many members.
    pub(super) fn tell_terms(
        &mut self,
        draft: Draft<'_>,
        packet: &mut Packet,
        (level, members): (usize, u32),
        len_max: usize,
    ) {
        let theirs = match (draft.leg, draft.answers) {
            (Leg::Probe { .. }, _) => None,
            (Leg::Ack { .. }, Some(asked)) => {
                Some(asked.terms.as_ref().map_or(0, |terms| terms.held))
            }
            (Leg::Rest { .. }, Some(Packet { leg: Leg::Ack { .. }, terms: Some(terms), .. })) => {
                Some(terms.held)
            }
            _ => return,
        };
        let terms = self.aggregates.terms_for(level, members, theirs, packet.round);
        let Some((whole, brief)) = terms else { return };
        if matches!(draft.leg, Leg::Rest { .. }) && whole == brief {
            return;
        }
        let said = self.said_bytes + packet.encoded_len() + HEAD_LEN;
        let room = len_max.saturating_sub(packet.encoded_len());
        let room_for_whole = room.min(ROUND_BYTES_MAX.saturating_sub(said));
        if whole.section_len(packet.round) <= room_for_whole {
            packet.terms = Some(whole);
        } else if brief.section_len(packet.round) <= room {
            packet.terms = Some(brief);
        }
    }
}

/// What is looked for, as far as filters tell of it.
pub(in crate::agent) struct Sought<'a> {
    object: ObjectId,
    matching: &'a Predicate,
    /// Whether this node has lived for so few rounds that it may not have heard of anybody yet.
    is_young: bool,
}

impl<'a> Sought<'a> {
    pub(in crate::agent) fn new(object: ObjectId, matching: &'a Predicate, is_young: bool) -> Self {
        Self { object, matching, is_young }
    }

    fn may_be_in(&self, filter: &Filter) -> bool {
        let is_there = |name: &str, value: &_| {
            let term = Term::of(self.object, name, value);
            term.is_none_or(|term| filter.has(term))
        };
        filter.has(Term::presence(self.object)) && self.matching.may_match(is_there)
    }
}
