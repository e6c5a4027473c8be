//! Who is entitled to what: a member to rows that it can have computed, of its own zone; an
//! aggregate to a place among those that others relay.
//!
//! Whose zone a row is of is not said in it, so nobody can speak of another's. What can be said of
//! others is in sketches, and is looked at here. And whoever has an aggregate open claims its name
//! (`claims`): one that nobody claims, a *stray*, was made up, or is told of by those who have not
//! heard yet that it is over, or by those whose claim is under way. A few of these are relayed; of
//! some more it is remembered that they are over.
//!
//! Invariant: of strays that this node does not hold no more than [`STRAYS_MAX`] are left when a
//! round begins, beside [`OVER_MAX`] that are over.

use std::collections::BTreeSet;

use live_objects::sketch::Sketch;
use live_objects::{NodeId, ObjectId};

use super::{Aggregates, Branch, RELAYED_MAX};
use crate::zones::Told;
use crate::zones::body::Body;
use crate::zones::place::level;
use crate::zones::row::Subject;

impl Aggregates {
    /// A round of claims begins.
    pub(in crate::agent) fn drop_strays(&mut self, is_claimed: impl Fn(ObjectId) -> bool) {
        let strays = self
            .branches
            .iter()
            .filter(|(subject, branch)| !branch.is_held && !is_claimed(subject.object));
        let is_over = |(_, branch): &(&Subject, &Branch)| branch.had_shares && !branch.has_shares;
        let (over, strays): (Vec<_>, Vec<_>) = strays.partition(is_over);
        self.strays = strays.len().min(STRAYS_MAX);
        let beyond = strays.into_iter().skip(STRAYS_MAX).chain(over.into_iter().skip(OVER_MAX));
        let beyond: Vec<Subject> = beyond.map(|(subject, _)| *subject).collect();
        let wholes: BTreeSet<Subject> = beyond.into_iter().map(Subject::whole).collect();
        wholes.into_iter().for_each(|subject| self.end(subject));
    }
}

/// Why a row cannot have been computed by whoever told it, if it cannot: a sketch holds what
/// belongs into its part, or what it is merged to could be read by nobody; and those whose values
/// are highest are members of the teller's own zone, each once.
pub(super) fn fault(subject: Subject, told: &Told, me: NodeId) -> Option<&'static str> {
    let Body::Sketch(sketch) = &told.row.body else { return None };
    if told.row.count > 0 && !sketch.is_of_part(subject.part) {
        return Some("gossip.row_unfit");
    }
    let Sketch::Highest(highest) = &**sketch else { return None };
    let nodes: BTreeSet<NodeId> = highest.entries().iter().map(|high| high.node).collect();
    let is_own = nodes.iter().all(|node| level(me, *node) == told.level);
    let is_each_once = nodes.len() == highest.entries().len();
    (!is_own || !is_each_once).then_some("gossip.row_of_others")
}

/// How many strays are relayed, or parts of them.
pub(in crate::agent) const STRAYS_MAX: usize = 32;

/// Of how many strays it is remembered that they are over, or of parts of them.
const OVER_MAX: usize = RELAYED_MAX / 4;
