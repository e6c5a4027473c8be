//! What is being given to whom: to each peer one payload after the other, as its link has room.
//!
//! Invariant: at most [`GIVES_MAX`] are given at a time, and [`GIVES_OF_ONE_MAX`] to one peer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use live_objects::{NodeId, Time};

use crate::news::MessageId;

/// What is being given.
#[derive(Default)]
pub(super) struct Gives {
    peers: BTreeMap<NodeId, Peer>,
    count: usize,
}

struct Peer {
    /// Never empty; of the first `at` bytes are on their way.
    gives: VecDeque<Give>,
    /// When something was last taken.
    moved_at: Time,
}

struct Give {
    id: MessageId,
    at: usize,
}

impl Gives {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A peer is to get a payload from here on. Says whether there is room for that.
    #[must_use]
    pub(super) fn start(&mut self, to: NodeId, id: MessageId, at: usize, now: Time) -> bool {
        self.end(to, id);
        let his = self.peers.get(&to).map_or(0, |peer| peer.gives.len());
        let has_room = self.count < GIVES_MAX && his < GIVES_OF_ONE_MAX;
        if has_room {
            let fresh = || Peer { gives: VecDeque::new(), moved_at: now };
            self.peers.entry(to).or_insert_with(fresh).gives.push_back(Give { id, at });
            self.count += 1;
        }
        has_room
    }

    /// What this peer gets next, and from where on.
    pub(super) fn next(&self, to: NodeId) -> Option<(MessageId, usize)> {
        let give = self.peers.get(&to)?.gives.front().expect("a peer with nothing to get is gone");
        Some((give.id, give.at))
    }

    /// So much more of the first, which is so long, is on its way.
    pub(super) fn moved(&mut self, to: NodeId, len: usize, whole: usize, now: Time) {
        let peer = self.peers.get_mut(&to).expect("something was given to it");
        peer.moved_at = now;
        let give = peer.gives.front_mut().expect("a peer with nothing to get is gone");
        give.at += len;
        if give.at == whole {
            let id = give.id;
            self.end(to, id);
        }
    }

    pub(super) fn end(&mut self, to: NodeId, id: MessageId) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let before = peer.gives.len();
        peer.gives.retain(|give| give.id != id);
        self.count -= before - peer.gives.len();
        if peer.gives.is_empty() {
            self.peers.remove(&to);
        }
    }

    /// Nobody gets this one any more. Says who would have.
    pub(super) fn end_of(&mut self, id: MessageId) -> Vec<NodeId> {
        let gets = |peer: &Peer| peer.gives.iter().any(|give| give.id == id);
        let those = self.peers.iter().filter(|(_, peer)| gets(peer)).map(|(to, _)| *to);
        let those: Vec<NodeId> = those.collect();
        those.iter().for_each(|to| self.end(*to, id));
        those
    }

    pub(super) fn end_all(&mut self, to: NodeId) {
        self.count -= self.peers.remove(&to).map_or(0, |peer| peer.gives.len());
    }

    /// Ends what is given to those who took nothing for too long; says how many payloads that was.
    pub(super) fn end_stalled(&mut self, is_stalled: impl Fn(Time) -> bool) -> usize {
        let before = self.count;
        let stalled = self.peers.iter().filter(|(_, peer)| is_stalled(peer.moved_at));
        let stalled: Vec<NodeId> = stalled.map(|(to, _)| *to).collect();
        stalled.into_iter().for_each(|to| self.end_all(to));
        before - self.count
    }

    pub(super) fn receivers(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Which payloads are given to anybody.
    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        let all = self.peers.values().flat_map(|peer| peer.gives.iter().map(|give| give.id));
        all.collect::<BTreeSet<_>>().into_iter()
    }
}

/// The most that is given at a time, to all and to one.
pub(super) const GIVES_MAX: usize = 1_024;
pub(super) const GIVES_OF_ONE_MAX: usize = 32;

/// How long a piece is at most, in bytes.
pub(crate) const PIECE_LEN_MAX: usize = 32 << 10;
