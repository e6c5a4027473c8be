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
//! All add up the same halves, so all come to the same sum, to the last bit; and the same sketch.
//! That takes its time, so what levels come to is kept until a deeper one says something else.
//! Marks and stamps change with every row and every round, and are added up each time: so they
//! stand side by side, two words a level. (Of a machine with many nodes, or a simulated world, none
//! of this is in the cache when a node's turn comes, and what a table costs is how much it reads.)
//!
//! A node whose clock was ahead for a while took what was stamped ahead, and said so of its own
//! share. Neither outlasts that: the one is forgotten, the other is stamped anew.
//!
//! Invariant: what is held of a sibling zone came from a member of it, is within the limits, no
//! more than two rounds ahead, and at the beginning of a round not older than [`WINDOW`] rounds on
//! average.

pub(crate) mod body;
pub(crate) mod filter;
pub(crate) mod place;
pub(crate) mod row;
#[cfg(test)]
mod tests;

use core::num::NonZeroU32;

use live_objects::{NodeId, Summary};

use self::body::Body;
use self::row::{Mark, Round, Row, Total, Trust, WINDOW};

/// What one node knows of one aggregate, or of a part of it.
pub(crate) struct Table {
    /// How numbers are summed up. There is one way only in which other bodies are.
    summary: Summary,
    share: Option<Body>,
    /// What this node's leaf is stamped with at least: a share that is set within a round counts as
    /// the next round's, since others may have what it was before with the stamp of this one.
    set_in: Round,
    siblings: Vec<Option<Held>>,
    /// By level, the mark and the oldest stamp of what is held there.
    stamps: Vec<Stamps>,
    /// By level, what is held there and deeper comes to with the leaf. Where there is one, there is
    /// one at each deeper level.
    merged: Vec<Option<Total>>,
}

/// What is held of a sibling zone, but for its stamps.
#[derive(Clone)]
struct Held {
    total: Total,
    /// Who told it.
    teller: NodeId,
    /// The teller is gone. What it told is trusted less.
    is_orphaned: bool,
}

/// The mark of a row, and the stamp of its oldest share, if there is any, in two words.
#[derive(Clone, Copy, Default)]
struct Stamps {
    sum: u64,
    leaves: u32,
    /// Nobody's is of round 0, which is said by whoever does not know the round.
    least: Option<NonZeroU32>,
}

impl Stamps {
    fn of(row: &Row) -> Self {
        let Mark { stamps: sum, leaves } = row.mark;
        let least =
            u32::try_from(row.least).expect("a row is read with stamps of rounds that there are");
        let least = NonZeroU32::new(least).filter(|_| row.count > 0);
        Self { sum, leaves, least }
    }

    const fn mark(self) -> Mark {
        Mark { stamps: self.sum, leaves: self.leaves }
    }

    /// The least stamp; 0 if there is no share.
    fn least(self) -> u64 {
        self.least.map_or(0, |least| least.get().into())
    }

    fn merged(self, other: Self) -> Self {
        let Mark { stamps: sum, leaves } = self.mark().merged(other.mark());
        let least = [self.least, other.least].into_iter().flatten().min();
        Self { sum, leaves, least }
    }

    /// Whether it is too old, or of rounds that are yet to come.
    fn is_void(&self, round: Round) -> bool {
        let mark = self.mark();
        let is_held = mark.leaves > 0;
        is_held && mark.age(round) >= 16 * WINDOW as i64 || mark.is_ahead(self.least(), round)
    }
}

/// A row that a member told of its own zone.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) row: Row,
    pub(crate) teller: NodeId,
    pub(crate) level: usize,
    pub(crate) known: Headcount,
}

impl Told {
    /// Why a row can be nobody's, if so.
    pub(crate) fn refused(&self, round: Round) -> Option<Taken> {
        if self.row.is_ahead(round) {
            Some(Taken::Ahead)
        } else if self.row.mark.leaves > self.known.leaves_max {
            Some(Taken::Crowded)
        } else {
            None
        }
    }
}

/// How many members are known to be in a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Headcount {
    pub(crate) count: u32,
    /// How many leaves a row may have: others may know of newcomers first, and what they tell then
    /// is taken a little later. So nobody can speak of many more than there are.
    pub(crate) leaves_max: u32,
    /// Whether nobody is known to have come or gone for some rounds, so that a row of just as many
    /// is of all.
    pub(crate) is_settled: bool,
    /// Whether there may be more: who has no table yet goes by what he is told.
    pub(crate) is_open: bool,
}

impl Headcount {
    /// They are known one by one.
    pub(crate) const fn all(count: u32) -> Self {
        let leaves_max = count.saturating_add(count / CROWD_PART).saturating_add(CROWD);
        Self { count, leaves_max, is_settled: false, is_open: false }
    }

    /// So many are known already.
    pub(crate) const fn open(count: u32) -> Self {
        Self { leaves_max: Row::LEAVES_MAX, is_open: true, ..Self::all(count) }
    }

    /// Where somebody tells of so many leaves.
    fn told_of(self, leaves: u32) -> Self {
        let count = if self.is_open { self.count.max(leaves) } else { self.count };
        Self { count, ..self }
    }
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
    /// What is held is better.
    Worse,
    /// It is of a later round than can be.
    Ahead,
    /// It speaks of more members than can be there.
    Crowded,
}

impl Table {
    /// A table that knows nothing.
    pub(crate) fn new(summary: Summary, round: Round) -> Self {
        let (siblings, stamps, merged) = (Vec::new(), Vec::new(), Vec::new());
        Self { summary, share: None, set_in: round, siblings, stamps, merged }
    }

    /// One of filters.
    pub(crate) fn of_filters(round: Round) -> Self {
        Self::new(Summary::Count, round)
    }

    /// Sets or takes back this node's share. Tells whether it was another.
    pub(crate) fn set(&mut self, share: Option<Body>, round: Round) -> bool {
        let is_other = self.share != share;
        if is_other {
            self.set_in = round.next();
            self.share = share;
            self.merged.clear();
        }
        is_other
    }

    /// Whether it knows of any share.
    pub(crate) fn has_shares(&self) -> bool {
        self.share.is_some() || self.stamps.iter().any(|held| held.least.is_some())
    }

    /// Takes a row, unless what is held is better.
    pub(crate) fn take(&mut self, told: Told, round: Round) -> Taken {
        if let Some(refused) = told.refused(round) {
            return refused;
        }
        let Told { row, teller, level, known } = told;
        let held = self.siblings.get(level).and_then(Option::as_ref);
        // Where the teller is gone, any that knows of most of the zone is better: he may have lied.
        // One that has just come and knows hardly anybody is not.
        let is_orphaned = held.is_some_and(|held| held.is_orphaned);
        let trust = if is_orphaned { Trust::Less } else { Trust::Full };
        let mark = self.held(level);
        let known = known.told_of(mark.leaves.max(row.mark.leaves));
        if held.is_some() && mark.is_better(row.mark, round, known, trust) {
            return Taken::Worse;
        }
        let (total, stamps) = (row.total(), Stamps::of(&row));
        let is_same = held.is_some_and(|held| held.total == total);
        let is_news = held.is_none_or(|held| held.total.has_moved(&total));
        self.hold(level, Some((stamps, Held { total, teller, is_orphaned: false })));
        if is_same {
            return Taken::Same;
        }
        self.on_change(level);
        if is_news { Taken::News } else { Taken::Moved }
    }

    /// A member of the sibling zone at this level is gone, and so many are left. Who told what is
    /// held may have been lying, if it was not just unlucky.
    pub(crate) fn on_down(&mut self, level: usize, node: NodeId, known: u32) {
        let Some(slot) = self.siblings.get_mut(level) else { return };
        if let Some(held) = slot.as_mut().filter(|held| held.teller == node) {
            held.is_orphaned = true;
        }
        if known == 0 {
            self.hold(level, None);
            self.on_change(level);
        }
    }

    /// Forgets what is too old, or of rounds that are yet to come.
    pub(crate) fn forget(&mut self, round: Round) {
        for level in 0..self.stamps.len() {
            if self.stamps[level].is_void(round) {
                self.hold(level, None);
                self.on_change(level);
            }
        }
    }

    /// The row of this node's own zone beside the sibling zone of this level.
    pub(crate) fn own(&mut self, level: usize, round: Round) -> Row {
        self.from(level + 1, round)
    }

    /// Its mark alone.
    pub(crate) fn own_mark(&self, level: usize, round: Round) -> Mark {
        self.stamps_from(level + 1, &self.leaf(round)).mark()
    }

    /// The mark of what is held of the sibling zone of this level.
    pub(crate) fn held(&self, level: usize) -> Mark {
        self.stamps.get(level).map_or(Mark::default(), |held| held.mark())
    }

    /// What is held of the sibling zone of this level comes to.
    pub(crate) fn held_total(&self, level: usize) -> Option<&Total> {
        self.siblings.get(level).and_then(Option::as_ref).map(|held| &held.total)
    }

    /// The row of all.
    pub(crate) fn root(&mut self, round: Round) -> Row {
        self.from(0, round)
    }

    /// Of each of these levels, the deepest first, the marks of what is held there and of this
    /// node's own zone beside it.
    pub(crate) fn beside(
        &self,
        levels: impl Iterator<Item = usize>,
        round: Round,
    ) -> impl Iterator<Item = (usize, Mark, Mark)> {
        let mut own = self.leaf(round).mark;
        levels.map(move |level| {
            let (held, beside) = (self.held(level), own);
            own = own.merged(held);
            (level, held, beside)
        })
    }

    /// The row of what is held at this level and at all deeper ones, and of the leaf.
    fn from(&mut self, level: usize, round: Round) -> Row {
        let leaf = self.leaf(round);
        let stamps = self.stamps_from(level, &leaf);
        let Total { count, body } = self.merged_from(level, &leaf);
        Row { mark: stamps.mark(), count, least: stamps.least(), body }
    }

    fn stamps_from(&self, level: usize, leaf: &Row) -> Stamps {
        let deeper = self.stamps.get(level..).unwrap_or_default();
        deeper.iter().fold(Stamps::of(leaf), |all, held| all.merged(*held))
    }

    fn merged_from(&mut self, level: usize, leaf: &Row) -> Total {
        let levels = self.siblings.len();
        self.merged.resize(levels, None);
        let is_known = |deeper: &usize| self.merged[*deeper].is_some();
        let known = (level..levels).find(is_known).unwrap_or(levels);
        let known_total = self.merged.get(known).cloned().flatten();
        let mut total = known_total.unwrap_or_else(|| leaf.total());
        for level in (level..known).rev() {
            if let Some(held) = &self.siblings[level] {
                total = total.merged(held.total.clone(), self.summary);
            }
            self.merged[level] = Some(total.clone());
        }
        total
    }

    /// Holds this of the sibling zone of a level, or nothing.
    fn hold(&mut self, level: usize, held: Option<(Stamps, Held)>) {
        if level >= self.siblings.len() {
            self.siblings.resize(level + 1, None);
            self.stamps.resize(level + 1, Stamps::default());
        }
        let (stamps, held) = held.unzip();
        self.stamps[level] = stamps.unwrap_or_default();
        self.siblings[level] = held;
    }

    /// What is held at this level says something else.
    fn on_change(&mut self, level: usize) {
        self.merged.iter_mut().take(level + 1).for_each(|total| *total = None);
    }

    fn leaf(&self, round: Round) -> Row {
        Row::leaf(self.share.clone(), round.max(self.set_in.min(round.next())))
    }
}

const CROWD_PART: u32 = 4;
const CROWD: u32 = 16;
