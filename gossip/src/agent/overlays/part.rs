//! A node's part in one overlay: where it stands, whom it knows, and who are its neighbours.
//!
//! It hurries while there is something to find out, or to tell: for some rounds after it took its
//! place, and after its neighbours changed. Who leaves goes on for a few rounds as one that stands
//! no more, so that his neighbours hear it first, and says so to whoever asks until nobody can know
//! any more that he stood there.

use std::sync::Arc;

use live_objects::overlay::{Descriptor, Profile, Ranking};
use live_objects::{Kind, Member, NodeId, Spec};

use crate::agent::nearest::life;
use crate::digest::halves;
use crate::stands::{Stand, Stands};
use crate::zones::row::Round;

/// This node's part in one overlay.
pub(super) struct Part {
    pub(super) spec: Arc<Spec>,
    pub(super) is_open: bool,
    /// Where it stands, or stood until it left.
    pub(super) place: Option<Place>,
    /// Since that round it takes part no more, until nobody can know that it did.
    pub(super) withdrawn: Option<Round>,
    pub(super) stands: Stands,
    pub(super) neighbours: Vec<Descriptor>,
    /// Whether the application knows them.
    pub(super) is_told: bool,
    /// Until this round there is something to find out, or to tell.
    pub(super) hurries_until: Round,
}

pub(super) struct Place {
    pub(super) me: Descriptor,
    pub(super) ranking: Ranking,
}

impl Part {
    pub(super) const fn new(spec: Arc<Spec>, me: NodeId) -> Self {
        Self {
            spec,
            is_open: true,
            place: None,
            withdrawn: None,
            stands: Stands::new(me),
            neighbours: Vec::new(),
            is_told: false,
            hurries_until: Round::FIRST,
        }
    }

    /// Whether that rank is the one that its type names.
    pub(super) fn is_by(&self, ranking: &Ranking) -> bool {
        matches!(&self.spec.ty.kind, Kind::Overlay(name) if *name == ranking.name())
    }

    pub(super) fn stand(&mut self, member: Member, profile: Profile, ranking: Ranking) {
        self.place = Some(Place { me: Descriptor { member, profile }, ranking });
        // Whoever is told to stand is told whom that makes its neighbours, even if nobody.
        self.is_told = false;
    }

    /// Where it stands, if it takes part.
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref().filter(|_| self.withdrawn.is_none())
    }

    pub(super) fn is_moving(&self, round: Round) -> bool {
        self.place.is_some() && round <= self.hurries_until
    }

    pub(super) fn hurry(&mut self, round: Round, rounds: i64) {
        self.hurries_until = self.hurries_until.max(round.shifted(rounds));
    }

    /// Whom to meet.
    pub(super) fn meet(&mut self, round: Round) -> Option<NodeId> {
        let Place { me, ranking } = self.place.as_ref()?;
        let neighbours = self.neighbours.len().max(1);
        let is_moving = round <= self.hurries_until && self.withdrawn.is_none();
        let count = if is_moving { neighbours.max(MET_MAX) } else { neighbours };
        self.stands.meet(me, ranking, round, count)
    }

    /// What this node says of itself.
    pub(super) fn own(&self, round: Round) -> Option<Stand> {
        let Descriptor { member, profile } = self.place.as_ref()?.me;
        let is_withdrawn = self.withdrawn.is_some();
        let stamp = self.withdrawn.unwrap_or(round);
        Some(Stand { owner: half(member.node), life: life(member), stamp, profile, is_withdrawn })
    }
}

/// The first half of an id, by which stands name their owners.
pub(super) fn half(node: NodeId) -> u64 {
    halves(node.as_bytes())[0]
}

/// Of how many of the best one is met in each round while it hurries, those that were not met for
/// longest first. T-Man calls it ψ.
const MET_MAX: usize = 10;
