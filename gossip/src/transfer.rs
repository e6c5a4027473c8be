//! Whole tables, from those who have one to those who have none.
//!
//! A newcomer *pulls*: it says who it is over the link to a peer, and gets the peer's table in
//! pieces, as the link has room for them. It pulls from one peer at a time, and if that link goes
//! down, or brings nothing for a while, from the next. A node that has a table pulls too when a
//! link comes up to somebody it does not know: that may be another cluster, and the two are to
//! become one.
//!
//! A giver keeps no more of a transfer than the last node it told of: it walks its table by id, so
//! rows may come and go meanwhile. Those that come behind its back travel as news anyway.

use std::collections::{BTreeMap, VecDeque};

use live_objects::NodeId;

/// The tables that this node gets.
#[derive(Default)]
pub(crate) struct Pulls {
    /// Whom it gets one from, and in how many rounds its patience ends.
    from: Option<(NodeId, u32)>,
    /// Whom it may ask next.
    candidates: VecDeque<NodeId>,
    has_table: bool,
}

impl Pulls {
    /// Whether this node has not had a whole table yet.
    pub(crate) fn is_newcomer(&self) -> bool {
        !self.has_table
    }

    /// Whether nobody was asked, nor can be.
    pub(crate) fn is_idle(&self) -> bool {
        self.from.is_none() && self.candidates.is_empty()
    }

    /// This peer could be asked.
    pub(crate) fn offer(&mut self, peer: NodeId) {
        let is_known =
            self.candidates.contains(&peer) || self.from.is_some_and(|(from, _)| from == peer);
        if !is_known && self.candidates.len() < CANDIDATES_MAX {
            self.candidates.push_back(peer);
        }
    }

    /// Whom to ask now, if anybody: the next that is wanted.
    pub(crate) fn next(&mut self, mut is_wanted: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        if self.from.is_some() {
            return None;
        }
        let peer =
            std::iter::from_fn(|| self.candidates.pop_front()).find(|peer| is_wanted(*peer))?;
        self.from = Some((peer, PATIENCE_ROUNDS));
        Some(peer)
    }

    /// The peer could not be asked now; it is to be asked again.
    pub(crate) fn postpone(&mut self, peer: NodeId) {
        self.on_down(peer);
        self.candidates.push_front(peer);
    }

    /// A piece came from this peer.
    pub(crate) fn on_piece(&mut self, peer: NodeId) {
        if let Some((_, patience)) = self.from.as_mut().filter(|(from, _)| *from == peer) {
            *patience = PATIENCE_ROUNDS;
        }
    }

    /// The last piece came from this peer.
    pub(crate) fn on_last(&mut self, peer: NodeId) {
        if self.from.take_if(|(from, _)| *from == peer).is_some() {
            self.has_table = true;
        }
    }

    /// The link to this peer is down.
    pub(crate) fn on_down(&mut self, peer: NodeId) {
        self.candidates.retain(|candidate| *candidate != peer);
        self.from.take_if(|(from, _)| *from == peer);
    }

    /// A round passed. Says whether that was too many without a piece.
    pub(crate) fn on_round(&mut self) -> bool {
        self.from.as_mut().is_some_and(|(_, patience)| {
            *patience -= 1;
            *patience == 0
        }) && self.from.take().is_some()
    }
}

/// The tables that this node gives: to whom, and the last node told of.
#[derive(Default)]
pub(crate) struct Gives(BTreeMap<NodeId, Option<NodeId>>);

impl Gives {
    /// A peer is to get the table, from the beginning. Says whether it can.
    #[must_use]
    pub(crate) fn start(&mut self, peer: NodeId) -> bool {
        let has_room = self.0.len() < GIVES_MAX || self.0.contains_key(&peer);
        if has_room {
            self.0.insert(peer, None);
        }
        has_room
    }

    /// The last node that this peer was told of, if it is being given the table.
    pub(crate) fn told(&self, peer: NodeId) -> Option<Option<NodeId>> {
        self.0.get(&peer).copied()
    }

    /// The peer was told of all up to and with `node`.
    pub(crate) fn advance(&mut self, peer: NodeId, node: NodeId) {
        self.0.insert(peer, Some(node));
    }

    /// The peer has the whole table, or its link is down.
    pub(crate) fn end(&mut self, peer: NodeId) {
        self.0.remove(&peer);
    }
}

/// The most peers that wait to be asked for their tables.
pub(crate) const CANDIDATES_MAX: usize = 64;

/// The most peers that are given the table at the same time. Others ask somebody else.
pub(crate) const GIVES_MAX: usize = 1_024;

/// How many rounds a pull waits for the next piece: a link that is up may still bring nothing.
pub(crate) const PATIENCE_ROUNDS: u32 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        let [high, low] = number.to_be_bytes();
        let mut bytes = [0; NodeId::LEN];
        (bytes[0], bytes[1]) = (high, low);
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn one_at_a_time_until_there_is_a_table() {
        let mut pulls = Pulls::default();
        (1..=3).for_each(|peer| pulls.offer(node(peer)));
        assert_eq!(pulls.next(|_| true), Some(node(1)));
        assert_eq!(pulls.next(|_| true), None);
        pulls.on_last(node(2));
        assert!(pulls.is_newcomer(), "nobody asked it");
        pulls.on_down(node(1));
        assert_eq!(pulls.next(|_| true), Some(node(2)));
        pulls.on_last(node(2));
        assert!(!pulls.is_newcomer());
        assert_eq!(pulls.next(|peer| peer != node(3)), None);
        assert!(pulls.is_idle(), "who was not wanted is forgotten");
    }

    #[test]
    fn patience_ends_unless_pieces_come() {
        let mut pulls = Pulls::default();
        pulls.offer(node(1));
        pulls.next(|_| true);
        assert!(!(1..PATIENCE_ROUNDS).any(|_| pulls.on_round()));
        pulls.on_piece(node(2));
        pulls.on_piece(node(1));
        assert!(!(1..PATIENCE_ROUNDS).any(|_| pulls.on_round()));
        assert!(pulls.on_round());
        assert!(pulls.is_idle() && !pulls.on_round());
    }

    #[test]
    fn who_could_not_be_asked_stays_first() {
        let mut pulls = Pulls::default();
        (1..=2).for_each(|peer| pulls.offer(node(peer)));
        let first = pulls.next(|_| true).unwrap();
        pulls.postpone(first);
        assert_eq!(pulls.next(|_| true), Some(first));
    }

    #[test]
    fn candidates_are_few() {
        let mut pulls = Pulls::default();
        (0..2 * CANDIDATES_MAX as u16).for_each(|peer| pulls.offer(node(peer % 100)));
        assert_eq!(pulls.candidates.len(), CANDIDATES_MAX);
    }

    #[test]
    fn a_table_is_given_to_so_many_at_a_time() {
        let mut gives = Gives::default();
        assert!((0..GIVES_MAX as u16).all(|peer| gives.start(node(peer))));
        assert!(!gives.start(node(GIVES_MAX as u16)));
        gives.advance(node(1), node(9));
        assert_eq!(gives.told(node(1)), Some(Some(node(9))));
        assert!(gives.start(node(1)), "who asks again begins again");
        assert_eq!(gives.told(node(1)), Some(None));
        gives.end(node(1));
        assert_eq!(gives.told(node(1)), None);
        assert!(gives.start(node(GIVES_MAX as u16)));
    }
}
