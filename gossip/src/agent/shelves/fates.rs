//! What became of members in a step, as far as that shows or hides what they publish.
//!
//! Who publishes much may change as often as a packet has entries. So changes are added up, and it
//! is seen once to what such a member publishes, if it is up in another life than before, or in
//! none.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Incarnation, NodeId};

use crate::entry::Entry;
use crate::members::Change;

/// In which life a member was up before it changed, and is after all changes, if in any.
#[derive(Default)]
pub(super) struct Fate {
    /// Whether nothing was known of it.
    is_first: bool,
    before: Option<Incarnation>,
    pub(super) after: Option<Incarnation>,
    /// The lives that are over.
    pub(super) replaced: BTreeSet<Incarnation>,
}

impl Fate {
    /// Whether nothing that it publishes is shown or hidden by that.
    fn is_as_before(&self) -> bool {
        !self.is_first && self.before == self.after && self.replaced.is_empty()
    }
}

/// Of all members that changed.
#[derive(Default)]
pub(super) struct Fates(BTreeMap<NodeId, Fate>);

impl Fates {
    pub(super) fn add(&mut self, Change { before, after }: &Change) {
        let life = |entry: &Entry| entry.standing.is_up().then_some(entry.member.incarnation);
        let fate = self.0.entry(after.member.node).or_insert_with(|| Fate {
            is_first: before.is_none(),
            before: before.as_ref().and_then(life),
            ..Fate::default()
        });
        fate.after = life(after);
        let former = before.as_ref().map(|before| before.member.incarnation);
        fate.replaced.extend(former.filter(|former| *former != after.member.incarnation));
    }

    /// Those by which something is shown or hidden.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (NodeId, Fate)> + use<> {
        std::mem::take(&mut self.0).into_iter().filter(|(_, fate)| !fate.is_as_before())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Standing;
    use crate::entry::tests::entry;

    /// However often a member changes in a packet, it is seen to once, if at all, what it
    /// publishes: who publishes much could have others do little else.
    #[test]
    fn who_is_up_as_before_shows_and_hides_nothing() {
        let mut fates = Fates::default();
        let mut last = entry(1, 1);
        fates.add(&Change { before: None, after: last.clone() });
        assert_eq!(fates.take().count(), 1);
        let mut change = |fates: &mut Fates, generation: u64, standing: Standing| {
            let after = entry(1, generation).as_standing(standing);
            fates.add(&Change { before: Some(last.clone()), after: after.clone() });
            last = after;
        };
        for generation in 1..=12 {
            change(&mut fates, generation, Standing::Suspect);
            change(&mut fates, generation + 1, Standing::Alive);
        }
        assert_eq!(fates.take().count(), 0);
        for generation in 13..=24 {
            change(&mut fates, generation, Standing::Left);
            change(&mut fates, generation + 1, Standing::Alive);
        }
        assert_eq!(fates.take().count(), 0);
        change(&mut fates, 25, Standing::Left);
        let gone: Vec<Fate> = fates.take().map(|(_, fate)| fate).collect();
        assert!(gone.len() == 1 && gone[0].after.is_none());
    }
}
