//! The table of one aggregate at one node: a tree of zones, of which each node keeps its own branch
//! (Astrolabe: van Renesse, Birman and Vogels, TOCS 2003), with two halves a zone.
//!
//! ```text
//!  node 101…   level 0: sibling zone 0…    beside its own zone 1…,
//!              level 1: sibling zone 11…   beside its own zone 10…,
//!              level 2: sibling zone 100…  beside its own zone 101…, which is made of what is
//!                       deeper, and in the end of its leaf: its share, stamped each round
//! ```
//!
//! Two nodes are in each other's sibling zones at just one level. When they meet, each *tells* the
//! other the row of its own zone there, which it computes from its leaf and all deeper levels. A
//! row of a zone is taken from a member of that zone and from nobody else, so that nobody can lie
//! about zones that it is not in. (In Astrolabe rows are passed on by anybody. Pairs that take what
//! is theirs to tell, level by level, are recursive doubling, as in an all-reduce: log2 n meetings
//! are enough for everybody to know all, and no way of gossiping has fewer.)
//!
//! All add up the same halves, so all come to the same sum, to the last bit.
//!
//! Invariant: what is held of a sibling zone came from a member of it, is within the limits, and is
//! not older than [`WINDOW`] rounds on average.

pub(crate) mod place;
pub(crate) mod row;
#[cfg(test)]
mod tests;

use live_objects::{NodeId, Summary};

use self::row::{Round, Row, WINDOW};

/// What one node knows of one aggregate.
pub(crate) struct Table {
    summary: Summary,
    share: Option<f64>,
    /// What this node's leaf is stamped with at least: a share that is set within a round counts as
    /// the next round's, since others may have what it was before with the stamp of this one.
    set_in: Round,
    siblings: Vec<Option<Held>>,
}

/// What is held of a sibling zone.
#[derive(Clone, Copy)]
struct Held {
    row: Row,
    /// Who told it.
    teller: NodeId,
    /// The teller is gone. What it told is worth less than it says.
    is_orphaned: bool,
}

impl Held {
    /// What it is worth against another's row. Where the teller is gone, any that knows of most of
    /// the zone is better: he may have lied. One that has just come and knows hardly anybody is not.
    fn worth(&self, round: Round, known: u32) -> i128 {
        let worth = self.row.worth(round, known);
        if self.is_orphaned { worth * 3 / 4 } else { worth }
    }
}

/// A row that a member told of its own zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) row: Row,
    pub(crate) teller: NodeId,
    pub(crate) level: usize,
    /// How many members are known to be in the zone.
    pub(crate) known: u32,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It was taken, and says what was known.
    Same,
    /// It was taken, and says something a little different.
    Moved,
    /// It was taken, and says something new.
    News,
    /// What is held is worth more.
    Worse,
    /// It is of a later round than can be.
    Ahead,
    /// It speaks of more members than can be there.
    Crowded,
}

impl Table {
    /// A table that knows nothing.
    pub(crate) fn new(summary: Summary, round: Round) -> Self {
        Self { summary, share: None, set_in: round, siblings: Vec::new() }
    }

    /// Sets or takes back this node's share.
    pub(crate) fn set(&mut self, share: Option<f64>, round: Round) {
        if self.share != share {
            self.set_in = round.next();
        }
        self.share = share;
    }

    /// Takes a row, if it is worth at least what is held.
    pub(crate) fn take(&mut self, told: Told, round: Round) -> Taken {
        let Told { row, teller, level, known } = told;
        if row.is_ahead(round) {
            return Taken::Ahead;
        }
        if row.mark.leaves > crowd(known) {
            return Taken::Crowded;
        }
        if level >= self.siblings.len() {
            self.siblings.resize(level + 1, None);
        }
        let slot = &mut self.siblings[level];
        if slot.is_some_and(|held| held.worth(round, known) > row.worth(round, known)) {
            return Taken::Worse;
        }
        let before = slot.map_or(Row::default(), |held| held.row);
        let is_first = slot.replace(Held { row, teller, is_orphaned: false }).is_none();
        if is_first || before.has_moved(&row) {
            Taken::News
        } else if (before.count, before.number) == (row.count, row.number) {
            Taken::Same
        } else {
            Taken::Moved
        }
    }

    /// A member of the sibling zone at this level is gone, and so many are left. Who told what is
    /// held may have been lying, if it was not just unlucky.
    pub(crate) fn on_down(&mut self, level: usize, node: NodeId, known: u32) {
        let Some(slot) = self.siblings.get_mut(level) else { return };
        if known == 0 {
            *slot = None;
        }
        if let Some(held) = slot.as_mut().filter(|held| held.teller == node) {
            held.is_orphaned = true;
        }
    }

    /// Forgets what is too old.
    pub(crate) fn forget(&mut self, round: Round) {
        let is_old = |held: &mut Held| held.row.age(round) >= 16 * WINDOW as i64;
        for slot in &mut self.siblings {
            slot.take_if(is_old);
        }
    }

    /// The row of this node's own zone beside the sibling zone of this level.
    pub(crate) fn own(&self, level: usize, round: Round) -> Row {
        let deeper = self.siblings.get(level + 1..).unwrap_or_default();
        self.above(deeper, round)
    }

    /// The row of all.
    pub(crate) fn root(&self, round: Round) -> Row {
        self.above(&self.siblings, round)
    }

    /// Of each of these levels, the deepest first, what is held there and the row of this node's
    /// own zone beside it.
    pub(crate) fn beside(
        &self,
        levels: impl Iterator<Item = usize>,
        round: Round,
    ) -> impl Iterator<Item = (usize, Row, Row)> {
        let mut own = self.leaf(round);
        levels.map(move |level| {
            let held = self.siblings.get(level).copied().flatten();
            let (held, beside) = (held.map_or(Row::default(), |held| held.row), own);
            own = own.merged(held, self.summary);
            (level, held, beside)
        })
    }

    fn above(&self, siblings: &[Option<Held>], round: Round) -> Row {
        let rows = siblings.iter().rev().flatten().map(|held| held.row);
        rows.fold(self.leaf(round), |own, row| own.merged(row, self.summary))
    }

    fn leaf(&self, round: Round) -> Row {
        Row::leaf(self.share, round.max(self.set_in))
    }
}

/// How many leaves a row may have at most where so many members are known: others may know of
/// newcomers first.
fn crowd(known: u32) -> u32 {
    known.saturating_mul(2).saturating_add(CROWD)
}

const CROWD: u32 = 64;
