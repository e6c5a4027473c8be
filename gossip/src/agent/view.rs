//! Which part of the cluster this node keeps, and what neighbourhoods tell each other (`view`).
//!
//! A node looks now and then how many members there are (`population`), and keeps all, or a
//! neighbourhood that is as large as that number asks for. Nodes think of other numbers while
//! members come and go; where more than one size is good they all go by the largest neighbourhood
//! that they hear of, so that those of one neighbourhood have the same.
//!
//! Two of different neighbourhoods meet at the levels of aggregates, and at least for the census:
//!
//! ```text
//!  probe  hash of the contacts I have of yours  ▶
//!                                               ◀  my hash, and, if yours is another than that of
//!                                                  those that rank first here: these         ack
//!  rest   my contacts, if your hash is wrong; and, if you named me yours, those I have
//!         that you did not name: you may not know them                                         ▶
//! ```
//!
//! That last part is how two clusters that were founded apart become one, and both sides of a
//! partition. Who is in a neighbourhood of another size, or in a whole view, is told one contact.
//!
//! A newcomer is told how many bits the neighbourhoods have by whom it pulls from, and who of its
//! own it can pull from.

use live_objects::{Io, NodeId, Signal, Target, Time, Via};
use tracing::trace;

use super::aggregates::Counted;
use super::{Agent, Noted, with_shown};
use crate::control::Control;
use crate::entry::{Entry, Standing};
use crate::knowledge::Source;
use crate::members::Change;
use crate::population::{Population, crowd, expected};
use crate::records::affinity::{Depth, Part};
use crate::roster::Roster;
use crate::wire::Packet;
use crate::zones::Headcount;
use crate::zones::place::sibling;

/// What this node goes by.
#[derive(Default)]
pub(super) struct Outlook {
    population: Population,
    /// How many members there are beyond the neighbourhood.
    beyond: usize,
    /// The largest neighbourhood of those who were heard since it was looked last.
    heard: Option<Depth>,
    looked_at: u64,
    is_turn_of_ring: bool,
}

impl Agent {
    /// How many members there are, about, if this node does not know all.
    pub(super) fn cluster_size(&self) -> usize {
        self.partners.near_count(self.knowledge.members()) + self.outlook.beyond
    }

    /// Who keeps what is at home in a place: of a part of those this node may have no contact.
    pub(super) fn askable(&self, place: NodeId) -> Part {
        let depth = self.shelves.depth;
        let is_partial = self.knowledge.members().view().is_partial();
        if is_partial { depth.part(place) } else { depth.askable(place) }
    }

    pub(super) fn on_round_of_view(&mut self, now: Time, io: &mut Io<'_>) {
        let members = self.knowledge.members();
        let is_full = members.up_count() > self.config.whole_while_all();
        let is_partial = members.view().is_partial();
        if is_partial {
            self.count_members();
        }
        if (is_partial || !is_full) && self.rounds < self.outlook.looked_at + LOOK_ROUNDS {
            return;
        }
        self.outlook.looked_at = self.rounds;
        let depth = self.best_depth();
        self.outlook.heard = None;
        if depth != self.knowledge.members().view().depth() {
            self.turn_to(now, depth, io);
        }
    }

    /// Whether the exchange of this round is with whoever's turn it is in the neighbourhood: by the
    /// levels of aggregates alone half of them would be with contacts.
    pub(super) fn is_turn_of_ring(&mut self) -> bool {
        let is_partial = self.knowledge.members().view().is_partial();
        self.outlook.is_turn_of_ring = is_partial && !self.outlook.is_turn_of_ring;
        self.outlook.is_turn_of_ring
    }

    fn count_members(&mut self) {
        let members = self.knowledge.members();
        let near = self.partners.near_count(members) as u32;
        let bits = members.view().depth().bits() as usize;
        let census: Vec<u32> = (0..bits).map(|level| self.aggregates.census_at(level)).collect();
        let rounds = self.rounds - self.rounds_before;
        let counts = self.outlook.population.on_rounds(rounds, near, &census);
        self.outlook.beyond = counts.iter().map(|count| *count as usize).sum();
        let known = |(level, count): (usize, u32)| Headcount {
            leaves_max: crowd(expected(near, bits - level - 1)),
            ..Headcount::all(count)
        };
        self.partners.set_above(counts.into_iter().enumerate().map(known).collect());
    }

    /// The size of neighbourhood that is best for as many members as there are.
    fn best_depth(&self) -> Depth {
        let (own, size) = (self.knowledge.members().view().depth(), self.cluster_size());
        let (whole, whole_max) = (Depth::default(), self.config.whole_max);
        let heard = self.outlook.heard.unwrap_or(own);
        let kept_max = if heard == whole { self.config.whole_while_all() } else { whole_max };
        if own == whole && size <= kept_max {
            // Where all others keep a part there are more than this node will ever hear of.
            return heard;
        }
        // Who has let go of the others is not to know all again for a few less, unless others do.
        let slack = if heard == whole { 0 } else { whole_max / 10 };
        if size <= whole_max - slack {
            return whole;
        }
        if heard < own && heard != whole && heard.among(size) == heard {
            return heard;
        }
        self.shelves.depth.among(size)
    }

    /// This node is one of a roster, and knows the others of it.
    pub(super) fn know(&mut self, now: Time, roster: &Roster, io: &mut Io<'_>) {
        self.is_expected = true;
        self.pulls.end();
        self.knowledge.know(roster);
        let me = self.knowledge.members().me();
        for Entry { member, addresses, credential, .. } in roster.part_of(me) {
            if member.node != me {
                self.partners.insert(member.node);
                io.introduce(*member, &Vec::from(addresses.clone()), credential.bytes());
                io.signal(Signal::Alive(*member));
            }
        }
        let bits = roster.depth().bits();
        if bits > 0 {
            let there = |level| {
                let (first, last) = sibling(me, level);
                roster.those(Part { first, last })
            };
            let above = (0..bits as usize).map(|level| there(level).len() as u32);
            self.outlook.population.set(above.collect());
            let levels = self.partners.counts().map(|(level, _)| level);
            let counted = levels.filter_map(|level| {
                let (count, first) = (there(level).len() as u32, there(level).first()?);
                Some(Counted { level, count, teller: first.member.node })
            });
            let counted: Vec<Counted> = counted.collect();
            self.aggregates.know_census(self.clock.at(now), &counted);
            self.count_members();
        }
    }

    /// From now on this node keeps a neighbourhood of another size, or all.
    pub(super) fn turn_to(&mut self, now: Time, depth: Depth, io: &mut Io<'_>) {
        let before = self.knowledge.members().view().depth();
        trace!(?before, ?depth, "the view changes");
        io.count("gossip.view_changed");
        self.outlook.population = Population::default();
        if before.bits() == 0 {
            // They were all known a moment ago.
            let counts = (0..depth.bits() as usize).map(|level| self.partners.count(level));
            self.outlook.population.set(counts.collect());
        }
        for entry in self.knowledge.turn_to(depth) {
            self.on_let_go(entry);
        }
        if depth < before {
            self.pulls.start_over(self.rounds);
        }
        self.outlook.beyond = 0;
        self.partners.set_above(Vec::new());
        self.aggregates.take_part_in_census(self.clock.at(now), depth.bits() > 0);
        if depth.bits() > 0 {
            self.count_members();
        }
        self.pace.on_news(now);
    }

    /// A contact is kept no more, though it may be well.
    pub(super) fn on_let_go(&mut self, entry: Entry) {
        let member = entry.member;
        self.partners.remove(member.node);
        self.clock.forget(member.node);
        self.seeds.on_down(member.node);
        self.shelves.all().into_iter().for_each(|shelf| shelf.records.unwatch(member.node));
        self.suspicions.clear(member.node);
        let after = Entry { standing: Standing::Left, ..entry.clone() };
        let change = Change { before: Some(entry), after };
        self.on_nearest_change(&change);
        self.on_overlays_change(&change);
        self.noted.push(Noted::LetGo(member));
    }

    /// Whoever says this keeps a part of the cluster, or all.
    pub(super) fn hear_scope(&mut self, packet: &Packet) {
        if packet.digest.is_some() {
            let depth = packet.scope.map_or(Depth::default(), |scope| scope.depth);
            self.outlook.heard = Some(self.outlook.heard.unwrap_or(depth).min(depth));
        }
    }

    /// Tells a peer that pulls who of its neighbourhood is known here, if this node does not know
    /// all. Says whether that is all it gets.
    pub(super) fn refer(&self, to: NodeId, io: &mut Io<'_>) -> bool {
        let view = self.knowledge.members().view();
        if !view.is_partial() {
            return false;
        }
        let entries = if view.is_near(to) {
            Vec::new()
        } else {
            let around = view.around(to);
            let members = self.knowledge.members();
            let known = members.between(around.first, around.last);
            let up = known.filter(|entry| entry.standing.is_up() && entry.member.node != to);
            up.map(|entry| with_shown(entry, io)).collect()
        };
        let message = Control::View { depth: view.depth().code(), entries };
        if io.send(Target::Node(to), Via::Bulk, message.encode()).is_err() {
            // It asks somebody else when its patience ends.
            io.count("gossip.view_unsent");
        }
        !view.is_near(to)
    }

    /// A peer of which this node wanted a table keeps but a part of it.
    pub(super) fn on_view(
        &mut self,
        now: Time,
        from: NodeId,
        (code, entries): (u8, Vec<Entry>),
        io: &mut Io<'_>,
    ) {
        if !self.pulls.asks(from) {
            return io.count("gossip.unsolicited");
        }
        let depth = Depth::from_code(code);
        let is_whole = !self.knowledge.members().view().is_partial();
        if self.pulls.is_newcomer() && is_whole && depth.bits() > 0 {
            self.turn_to(now, depth, io);
        }
        let source = self.table();
        let nodes: Vec<NodeId> = entries.iter().map(|entry| entry.member.node).collect();
        for entry in entries {
            self.hear(now, entry, (from, source), io);
        }
        if depth.part(from).has(self.knowledge.members().me()) {
            return;
        }
        // There is nothing more to be had from there.
        self.pulls.on_busy(from);
        let members = self.knowledge.members();
        let is_near = |node: &NodeId| members.view().is_near(*node) && members.is_up(*node);
        if source == Source::Newcomer {
            nodes.into_iter().filter(is_near).for_each(|node| self.pulls.offer(node));
        }
    }
}

/// How often a node looks whether it should keep another part, in rounds: one that keeps too many
/// looks at once.
const LOOK_ROUNDS: u64 = 10;
