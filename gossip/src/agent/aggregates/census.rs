//! The census: one aggregate more, in which all have a share that keep a part of the cluster alone
//! (`population`). So each knows how many members there are in zones of which it keeps few.

use live_objects::{NodeId, ObjectId, Summary};

use super::{Aggregates, Hold};
use crate::zones::body::Body;
use crate::zones::row::{Round, Row, Subject};
use crate::zones::{Headcount, Told};

/// How many members are in the sibling zone of a level, by the word of one of them.
pub(in crate::agent) struct Counted {
    pub(in crate::agent) level: usize,
    pub(in crate::agent) count: u32,
    pub(in crate::agent) teller: NodeId,
}

impl Aggregates {
    /// From now on this node is counted, or not any more: whoever keeps a part of the cluster takes
    /// part in the census (`population`).
    pub(in crate::agent) fn take_part_in_census(&mut self, round: Round, takes_part: bool) {
        let share = [Body::default()];
        let hold = if takes_part { Hold::Share(&share) } else { Hold::Not };
        self.hold(round, CENSUS, &hold);
    }

    /// This node is counted from now on, and knows what the census came to at others before it
    /// started: of that it has nothing to tell.
    pub(in crate::agent) fn know_census(&mut self, round: Round, beside: &[Counted]) {
        self.take_part_in_census(round, true);
        for Counted { level, count, teller } in beside {
            let row = Row::of_leaves(*count, round);
            let known = Headcount::all(*count);
            self.take((CENSUS, false), Told { row, teller: *teller, level: *level, known }, round);
        }
        (self.hurries_until, self.moves_until) = (Round::FIRST, Round::FIRST);
    }

    /// How many members the census knows of in the sibling zone of this level.
    pub(in crate::agent) fn census_at(&self, level: usize) -> u32 {
        self.branches.get(&CENSUS).map_or(0, |branch| branch.table.held(level).leaves)
    }
}

/// The count of all who keep a part of the cluster. No name has this id.
pub(super) const CENSUS: Subject =
    Subject::new(ObjectId::from_bytes([0xff; ObjectId::LEN]), Summary::Count);
