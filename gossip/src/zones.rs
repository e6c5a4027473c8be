//! The table of one aggregate at one node: a tree of zones, of which each node keeps its own branch
//! (Astrolabe: van Renesse, Birman and Vogels, TOCS 2003).
//!
//! ```text
//!  node a5c…   level 0:  0  1  …  a* …  f     a* is made of level 1
//!              level 1:  0  …  5* …     f     5* is made of level 2
//!              level 2:  0  …     c*    f     c* is its leaf: its share, stamped each round
//! ```
//!
//! For every level a node has a row for each zone beside its own and computes the row of its own
//! from the level below, in the order of the digits, so that all come to the same sum. Two nodes
//! have the levels in common whose zones they are both in, and give each other the rows that win.
//! Where the levels end is up to the node: at the longest beginning that its id has in common with
//! any other's. Nothing is ever taken off a table, so that what is known of a zone only grows; a
//! table has at most 16 rows a level.
//!
//! For its own zones a node keeps the better of what it computed and what it heard from others in
//! them, and overtakes the latter in a round or two, since all leaves are stamped anew each round.
//! If it does not, those who stamped the row are gone and forgotten. It outbids them then: it adds
//! what is missing to the *base* of its leaf, and so to all its zones.
//!
//! Invariant: the row of a zone of this node's own is never below what it computed for it.

pub(crate) mod place;
pub(crate) mod row;
#[cfg(test)]
mod tests;

use live_objects::{NodeId, Summary};

use self::place::{DIGITS, FANOUT, digit};
use self::row::{Round, Row};

/// What one node knows of one aggregate.
pub(crate) struct Table {
    me: NodeId,
    summary: Summary,
    levels: Vec<Level>,
    share: Option<f64>,
    round: Round,
    /// What this node's leaf is stamped with at least: a share that is set within a round counts as
    /// the next round's, since others may have what it was before with the stamp of this one.
    set_in: Round,
    /// What this node's leaf counts for beside its stamp.
    base: u64,
}

#[derive(Clone, Default)]
struct Level {
    rows: [Row; FANOUT],
    /// What was heard of the zone that this node is in itself, and in which round.
    heard: Option<(Row, Round)>,
}

/// Whom this node knows in a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Living {
    /// Members that are up.
    Some,
    /// Members that are gone.
    None,
    /// Nobody has been heard of there.
    Unknown,
}

impl Table {
    /// A table that knows nothing but this node, of whom others know that have `depth` digits in
    /// common with it.
    pub(crate) fn new(me: NodeId, summary: Summary, depth: usize, round: Round) -> Self {
        let mut table =
            Self { me, summary, levels: Vec::new(), share: None, round, set_in: round, base: 0 };
        table.deepen(depth);
        table
    }

    /// There is a node that has so many digits in common with this one.
    pub(crate) fn deepen(&mut self, depth: usize) {
        assert!(depth < DIGITS, "no other node has the same id");
        if depth >= self.levels.len() {
            self.levels.resize(depth + 1, Level::default());
            self.compute();
        }
    }

    /// Sets or takes back this node's share.
    pub(crate) fn set(&mut self, share: Option<f64>) {
        if self.share != share {
            self.set_in = self.round.next();
        }
        self.share = share;
        self.compute();
    }

    /// The round goes on. In the zones of levels from `alone` on this node knows nobody else.
    pub(crate) fn stamp(&mut self, round: Round, alone: usize) {
        assert!(round >= self.round, "rounds go on");
        self.round = round;
        self.compute();
        for at in (0..self.levels.len()).rev() {
            let patience = if at >= alone { ALONE_PATIENCE } else { PATIENCE };
            let Some((heard, since)) = self.levels[at].heard else { continue };
            if round.since(since.into()) >= patience {
                let missing = heard.mark.stamps - self.computed(at).mark.stamps + 1;
                self.base = (self.base + missing).min(Row::STAMPS_MAX);
                self.compute();
            }
        }
    }

    /// Takes in a row. Tells whether it won.
    pub(crate) fn hear(&mut self, at: usize, zone: usize, row: Row, living: Living) -> bool {
        assert!(zone < FANOUT, "a digit");
        if at >= self.levels.len() || !row.is_known() {
            return false;
        }
        let row = match living {
            Living::Some => row,
            Living::None => Row { mark: row.mark, ..Row::default() },
            Living::Unknown if row.count == 0 => row,
            Living::Unknown => return false,
        };
        let held = &self.levels[at].rows[zone];
        if row.precedence(held).is_le() {
            return false;
        }
        if zone == digit(self.me, at) {
            self.levels[at].heard = Some((row, self.round));
        } else {
            self.levels[at].rows[zone] = row;
        }
        true
    }

    /// All that this node knew in a zone beside its own are gone.
    pub(crate) fn bury(&mut self, at: usize, zone: usize) {
        if let Some(level) = self.levels.get_mut(at) {
            level.rows[zone] = level.rows[zone].buried(self.round);
            self.compute();
        }
    }

    /// Computes the rows of this node's own zones: once after rows were heard.
    pub(crate) fn compute(&mut self) {
        for at in (0..self.levels.len()).rev() {
            let computed = self.computed(at);
            let level = &mut self.levels[at];
            level.heard = level.heard.filter(|(heard, _)| heard.precedence(&computed).is_gt());
            let own = level.heard.map_or(computed, |(heard, _)| heard);
            level.rows[digit(self.me, at)] = own;
        }
    }

    /// The rows of each level, the root's first.
    pub(crate) fn levels(&self) -> impl ExactSizeIterator<Item = &[Row; FANOUT]> {
        self.levels.iter().map(|level| &level.rows)
    }

    /// The row of all.
    pub(crate) fn root(&self) -> Row {
        self.merged(0)
    }

    fn computed(&self, at: usize) -> Row {
        if at + 1 == self.levels.len() {
            Row::leaf(self.share, self.round.max(self.set_in), self.base)
        } else {
            self.merged(at + 1)
        }
    }

    fn merged(&self, at: usize) -> Row {
        let rows = self.levels[at].rows.iter();
        rows.fold(Row::default(), |sum, row| sum.merged(*row, self.summary))
    }
}

/// For how many rounds a row about one's own zone that cannot be overtaken is believed.
const PATIENCE: u64 = 8;

/// The same where this node knows nobody else who could have made it; somebody may have come of
/// whom it is about to hear.
const ALONE_PATIENCE: u64 = 2;
