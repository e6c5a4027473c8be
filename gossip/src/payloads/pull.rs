//! One payload under way: what there is of it, who supplies it, who is asked next.
//!
//! Invariant: there is one supplier at a time, and what it brings goes on where the one before it
//! ended.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use live_objects::{NodeId, Time};

use super::LIFE_PERIODS;

/// A payload that is being pulled.
pub(super) struct Pull {
    len: usize,
    bytes: Vec<u8>,
    supplier: Option<Supplier>,
    /// Who announced it, as long as it was not asked; it may be waited for.
    teller: Option<NodeId>,
    /// Who else may have it, the one who said so last first.
    others: VecDeque<NodeId>,
    /// Who gave what there is.
    givers: BTreeSet<NodeId>,
    /// Who gave what was wrong: they are not asked again.
    wrong: BTreeSet<NodeId>,
    wrongs: u32,
    /// Since when nobody is asked.
    idle_since: Time,
    pace: Pace,
}

/// Whether it comes fast enough to be whole in its life.
struct Pace {
    is_slow: bool,
    /// When that was looked at, and how much there was.
    since: Time,
    had: usize,
}

struct Supplier {
    node: NodeId,
    /// By when it must have brought a little more than there was.
    deadline: Time,
    had: usize,
    accepts: Accepts,
    /// Whether it said since it was asked that it will have it, and how often it was asked.
    says_later: bool,
    asked: u32,
}

/// What whoever asks is content with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Accepts {
    /// That it is to come.
    Later,
    /// Pieces, now or never.
    Pieces,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub(crate) to: NodeId,
    /// Of what is needed, where it begins. At its end nothing more is.
    pub(crate) offset: usize,
    pub(crate) accepts: Accepts,
}

/// What a piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    Part,
    Last,
    Unasked,
    Amiss,
}

impl Pull {
    pub(super) fn new(len: usize, teller: NodeId, now: Time) -> Self {
        Self {
            len,
            bytes: Vec::new(),
            supplier: None,
            teller: Some(teller),
            others: VecDeque::new(),
            givers: BTreeSet::new(),
            wrong: BTreeSet::new(),
            wrongs: 0,
            idle_since: now,
            pace: Pace { is_slow: false, since: now, had: 0 },
        }
    }

    /// Whether too little came lately for all of it to come in time.
    pub(super) const fn is_slow(&self) -> bool {
        self.pace.is_slow
    }

    /// It is pulled no more: what whoever was asked is told.
    pub(super) fn end(self) -> Option<Ask> {
        let (offset, accepts) = (self.len, Accepts::Pieces);
        self.supplier.map(|supplier| Ask { to: supplier.node, offset, accepts })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// This one may have it too.
    pub(super) fn offer(&mut self, node: NodeId) {
        let is_asked = self.supplier.as_ref().is_some_and(|supplier| supplier.node == node);
        if is_asked || self.teller == Some(node) || self.wrong.contains(&node) {
            return;
        }
        self.others.retain(|other| *other != node);
        self.others.push_front(node);
        self.others.truncate(OTHERS_MAX);
    }

    /// Whom to ask, if nobody is asked and somebody can be. The origin is left alone for a moment,
    /// until it is heard who else has it.
    pub(super) fn ask(
        &mut self,
        now: Time,
        period: Duration,
        origin: NodeId,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Option<Ask> {
        if self.supplier.is_some() {
            return None;
        }
        let (teller, others, wrong) = (self.teller.take(), &mut self.others, &self.wrong);
        let teller = teller.filter(|node| is_up(*node)).map(|node| (node, Accepts::Later));
        let is_good = |node: &NodeId| is_up(*node) && !wrong.contains(node);
        let mut other = || std::iter::from_fn(|| others.pop_front()).find(is_good);
        let is_time = self.idle_since + period * ORIGIN_PERIODS <= now;
        let origin = Some(origin).filter(|origin| is_time && is_good(origin));
        let next = teller.or_else(|| Some((other().or(origin)?, Accepts::Pieces)));
        let (node, accepts) = next?;
        let (deadline, had) = (now + period * PATIENCE_PERIODS, self.bytes.len());
        let supplier = Supplier { node, deadline, had, accepts, says_later: false, asked: 1 };
        self.supplier = Some(supplier);
        Some(Ask { to: node, offset: had, accepts })
    }

    /// A round passed. Who waits itself is asked again; who brings hardly anything, no more.
    pub(super) fn on_round(&mut self, now: Time, period: Duration) -> Option<Ask> {
        let offset = self.bytes.len();
        if self.pace.since + period * PATIENCE_PERIODS <= now {
            let came = offset.saturating_sub(self.pace.had);
            let is_slow = came < self.len / PACES;
            self.pace = Pace { is_slow, since: now, had: offset };
        }
        let supplier = self.supplier.as_mut().filter(|supplier| supplier.deadline <= now)?;
        let to = supplier.node;
        if offset >= supplier.had + LITTLE {
            (supplier.had, supplier.deadline) = (offset, now + period * PATIENCE_PERIODS);
            return None;
        }
        if supplier.says_later && supplier.asked < ASKED_MAX {
            supplier.deadline = now + period * PATIENCE_PERIODS;
            (supplier.says_later, supplier.asked) = (false, supplier.asked + 1);
            return Some(Ask { to, offset, accepts: Accepts::Later });
        }
        self.lose(to, now);
        Some(Ask { to, offset: self.len, accepts: Accepts::Pieces })
    }

    pub(super) fn on_later(&mut self, from: NodeId, until: Time) {
        let supplier = self.supplier.as_mut().filter(|supplier| supplier.node == from);
        if let Some(supplier) = supplier.filter(|supplier| supplier.accepts == Accepts::Later) {
            supplier.says_later = true;
            supplier.deadline = until;
        }
    }

    /// Nothing more comes from this one, until it says anew that it has it.
    pub(super) fn lose(&mut self, node: NodeId, now: Time) {
        if self.supplier.take_if(|supplier| supplier.node == node).is_some() {
            self.idle_since = now;
        }
    }

    /// The link to this one is down. It may be back, and is asked behind all others.
    pub(super) fn on_link_down(&mut self, node: NodeId, now: Time) {
        if self.supplier.as_ref().is_some_and(|supplier| supplier.node == node) {
            self.lose(node, now);
            self.others.retain(|other| *other != node);
            self.others.truncate(OTHERS_MAX - 1);
            self.others.push_back(node);
        }
    }

    /// This one could not be asked just now.
    pub(super) fn postpone(&mut self, node: NodeId) {
        match self.supplier.take_if(|supplier| supplier.node == node) {
            Some(Supplier { accepts: Accepts::Later, .. }) => self.teller = Some(node),
            Some(_) => self.offer(node),
            None => {}
        }
    }

    pub(super) fn on_piece(
        &mut self,
        from: NodeId,
        offset: usize,
        piece: &[u8],
        now: Time,
    ) -> Piece {
        if self.supplier.as_ref().is_none_or(|supplier| supplier.node != from) {
            return Piece::Unasked;
        }
        let Some(known) = self.bytes.len().checked_sub(offset) else { return Piece::Unasked };
        if piece.is_empty() || piece.len() > self.len - offset {
            self.lose(from, now);
            self.wrong.insert(from);
            return Piece::Amiss;
        }
        // What was under way when it was asked for again comes twice.
        let Some(new) = piece.get(known..).filter(|new| !new.is_empty()) else {
            return Piece::Unasked;
        };
        self.bytes.extend_from_slice(new);
        self.givers.insert(from);
        if self.bytes.len() == self.len { Piece::Last } else { Piece::Part }
    }

    /// It is not what was announced: it begins anew, from others. Who of several lied nobody can
    /// tell; that it was the origin is the least likely.
    pub(super) fn on_wrong(&mut self, origin: NodeId, now: Time) {
        if self.givers.len() > 1 {
            self.givers.remove(&origin);
        }
        self.bytes = Vec::new();
        self.supplier = None;
        self.idle_since = now;
        self.wrong.append(&mut self.givers);
        self.wrongs += 1;
    }

    /// Whether there is no use in asking on.
    pub(super) const fn is_hopeless(&self) -> bool {
        self.wrongs >= WRONGS_MAX
    }
}

/// How many others are remembered that may have a payload.
const OTHERS_MAX: usize = 8;

/// In so many periods a supplier must have brought a little, in bytes.
pub(super) const PATIENCE_PERIODS: u32 = 5;
const LITTLE: usize = 4 << 10;

/// Of a payload this part must come in the patience for a supplier, or it is slow: so it is whole
/// by the end of its life.
const PACES: usize = (LIFE_PERIODS / PATIENCE_PERIODS) as usize;

/// How often whoever will have it is asked for it.
const ASKED_MAX: u32 = 24;

/// For how many periods the origin is left alone when a supplier is lost.
const ORIGIN_PERIODS: u32 = 2;

/// How often a payload comes wrong before it is given up.
const WRONGS_MAX: u32 = 3;
