//! Tables, over streams: how a newcomer gets to know all who are there.
//!
//! A newcomer *pulls*: it says who it is and what it knows, by hashes, and gets in pieces, as the
//! link has room for them, what it lacks. Whoever is asked asks back for what it lacks itself, so
//! that both know the same in the end. A newcomer pulls from one peer at a time, those it met
//! first, and then one at random of all it knows by then, until a pull brings hardly anything; so
//! where a thousand start together what each knows about doubles with each pull, and nobody is sent
//! the same twice. (A node that gave out much in this period gives the next a few members only, for
//! it to ask: else the one seed of thousands would give its table to all of them.)
//!
//! If a link goes down, or brings nothing for a while, the next peer is asked. A node that has a
//! table pulls too when a link comes up to somebody it does not know: that may be another cluster,
//! and the two are to become one.
//!
//! A giver has so much time, and gives so many bytes, in a round. While several ask one of them has
//! a quarter of that: of bytes at least one table, and if that was more it waits for as many rounds
//! as that comes to. Who is sent away is told of others whom it may ask, once a round.
//!
//! A giver walks its table by id, so rows may come and go meanwhile. Those that come behind its
//! back travel as news anyway.

use std::collections::{BTreeMap, VecDeque};

use live_objects::NodeId;

/// The tables that this node gets.
#[derive(Default)]
pub(crate) struct Pulls {
    from: Option<Pull>,
    /// Whom it may ask next.
    candidates: VecDeque<NodeId>,
    /// Who may be of another cluster, and for how many rounds nobody else said who that is.
    strangers: VecDeque<(NodeId, u32)>,
    has_table: bool,
    /// How often it pulled again since it has one, and from whom last.
    again: u32,
    again_from: Option<NodeId>,
    /// In how many rounds of its life it may do so, if that is not over.
    early_until: u64,
}

struct Pull {
    peer: NodeId,
    /// In how many rounds it ends.
    patience: u32,
    /// How many members it has brought that are up and were not known.
    gain: usize,
    /// Up to which node was asked.
    asked: NodeId,
}

/// What is to follow a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// More will come, or it was no pull of this node.
    Wait,
    /// The nodes behind this one are to be asked for.
    Ask(NodeId),
    Done,
}

impl Pulls {
    /// Whether this node may still lack much.
    pub(crate) fn is_newcomer(&self) -> bool {
        !self.has_table
    }

    /// Whether nobody was asked, nor can be.
    pub(crate) fn is_idle(&self) -> bool {
        self.from.is_none() && self.candidates.is_empty()
    }

    /// This peer could be asked.
    pub(crate) fn offer(&mut self, peer: NodeId) {
        let is_asked = self.from.as_ref().is_some_and(|from| from.peer == peer);
        let is_known = self.candidates.contains(&peer) || is_asked;
        if !is_known && self.candidates.len() < CANDIDATES_MAX {
            self.candidates.push_back(peer);
        }
    }

    /// Nobody here knows this peer. Most such are newcomers, of whom others tell in a moment; who
    /// has a table waits for that.
    pub(crate) fn meet(&mut self, peer: NodeId) {
        if !self.has_table {
            return self.offer(peer);
        }
        let is_met = self.strangers.iter().any(|(stranger, _)| *stranger == peer);
        if !is_met && self.strangers.len() < CANDIDATES_MAX {
            self.strangers.push_back((peer, 0));
        }
    }

    /// A peer turns out to know other things. In the first rounds that is a reason to pull again:
    /// exchanges bring a few entries at a time, and where all start together much is missing here
    /// and there.
    pub(crate) fn on_difference(&mut self, peer: NodeId, rounds: u64) {
        let is_early = rounds < self.early_until.max(AGAIN_ROUNDS);
        if self.has_table && is_early && self.again < AGAIN_MAX && self.is_idle() {
            self.again += 1;
            self.again_from = Some(peer);
            self.offer(peer);
        }
    }

    /// This node lacks hardly anything.
    pub(crate) fn end(&mut self) {
        self.has_table = true;
    }

    /// From this round of its life on it lacks much again.
    pub(crate) fn start_over(&mut self, rounds: u64) {
        (self.again, self.early_until) = (0, rounds + AGAIN_ROUNDS);
    }

    /// Whether this peer is asked for its table.
    pub(crate) fn asks(&self, peer: NodeId) -> bool {
        self.from.as_ref().is_some_and(|from| from.peer == peer)
    }

    /// From whom it wants to pull again, whether or not that peer is known.
    pub(crate) fn again_from(&self) -> Option<NodeId> {
        self.again_from
    }

    /// Whom to ask now, if anybody: the next that is wanted.
    pub(crate) fn next(&mut self, mut is_wanted: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        if self.from.is_some() {
            return None;
        }
        let peer =
            std::iter::from_fn(|| self.candidates.pop_front()).find(|peer| is_wanted(*peer))?;
        self.from = Some(Pull { peer, patience: PATIENCE_ROUNDS, gain: 0, asked: LAST });
        Some(peer)
    }

    /// The peer was asked for nodes up to this one.
    pub(crate) fn asked(&mut self, up_to: NodeId) {
        self.from.iter_mut().for_each(|from| from.asked = up_to);
    }

    /// The peer could not be asked now; it is to be asked again.
    pub(crate) fn postpone(&mut self, peer: NodeId) {
        self.on_down(peer);
        self.candidates.push_front(peer);
    }

    /// A piece came from this peer that brought so many members, to a table of so many.
    pub(crate) fn on_piece(
        &mut self,
        peer: NodeId,
        gain: usize,
        known: usize,
        is_last: bool,
    ) -> Then {
        let Some(from) = self.from.as_mut().filter(|from| from.peer == peer) else {
            return Then::Wait;
        };
        from.patience = PATIENCE_ROUNDS;
        from.gain += gain;
        if !is_last {
            return Then::Wait;
        }
        if from.asked < LAST {
            return Then::Ask(from.asked);
        }
        self.has_table |= from.gain <= GAIN_LITTLE.max(known / KNOWN_PER_GAIN);
        self.from = None;
        Then::Done
    }

    /// The peer has no time: somebody else is to be asked, of whom it may just have told.
    pub(crate) fn on_busy(&mut self, peer: NodeId) {
        self.from.take_if(|from| from.peer == peer);
    }

    /// The link to this peer is down.
    pub(crate) fn on_down(&mut self, peer: NodeId) {
        self.candidates.retain(|candidate| *candidate != peer);
        self.strangers.retain(|(stranger, _)| *stranger != peer);
        self.from.take_if(|from| from.peer == peer);
    }

    /// A round passed. Says whether that was too many without a piece.
    pub(crate) fn on_round(&mut self) -> bool {
        self.strangers.iter_mut().for_each(|(_, rounds)| *rounds += 1);
        // Those are first who were met first.
        while self.strangers.front().is_some_and(|(_, rounds)| *rounds >= STRANGER_ROUNDS) {
            let (peer, _) = self.strangers.pop_front().expect("it was just seen");
            self.offer(peer);
        }
        self.from.as_mut().is_some_and(|from| {
            from.patience -= 1;
            from.patience == 0
        }) && self.from.take().is_some()
    }
}

/// The tables that this node gives.
#[derive(Default)]
pub(crate) struct Gives {
    gives: BTreeMap<(NodeId, Which), Give>,
    /// How many bytes were given in this round, and how many entries compared with what others
    /// know.
    given: usize,
    compared: usize,
    /// What those took of that who asked in this round, or owe since the last.
    spent: BTreeMap<NodeId, Spent>,
    /// How many asked in this round, and for how many rounds more they are taken for several.
    askers: usize,
    several_for: u32,
}

/// What one peer took of a round.
#[derive(Default)]
struct Spent {
    given: usize,
    compared: usize,
    /// What it was given before beyond its part.
    owed: usize,
    /// What it began to get.
    started: Vec<Which>,
    has_asked: bool,
    is_sent_away: bool,
}

/// Of which entries, told by their hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Which {
    /// All but these.
    Others,
    /// These.
    These,
}

/// What a peer is to get.
pub(crate) struct Give {
    which: Which,
    /// In order.
    hashes: Vec<u32>,
    /// Behind which node it goes on, if not at the first.
    pub(crate) behind: Option<NodeId>,
    /// Where it ends.
    pub(crate) up_to: NodeId,
}

impl Give {
    /// Of the nodes behind `behind` up to `up_to`.
    pub(crate) fn new(
        which: Which,
        mut hashes: Vec<u32>,
        behind: Option<NodeId>,
        up_to: NodeId,
    ) -> Self {
        hashes.sort_unstable();
        Self { which, hashes, behind, up_to }
    }

    /// Whether an entry of this hash is to be given.
    pub(crate) fn has(&self, hash: u32) -> bool {
        self.hashes.binary_search(&hash).is_ok() == (self.which == Which::These)
    }
}

impl Gives {
    /// A peer is to get something; what it was to get of that kind before is void. Says whether it
    /// can: others should ask somebody else.
    #[must_use]
    pub(crate) fn start(&mut self, peer: NodeId, give: Give) -> bool {
        let key = (peer, give.which);
        let has_room = self.gives.len() < GIVES_MAX || self.gives.contains_key(&key);
        let is_greedy = self.are_several()
            && self.spent.get(&peer).is_some_and(|spent| {
                let has_begun = spent.started.contains(&give.which);
                spent.owed > 0 || has_begun && spent.given >= ROUND_BYTES_MAX / ONE_OF
            });
        let can = has_room && self.given < ROUND_BYTES_MAX && !is_greedy;
        if can {
            if let Some(spent) = self.spent(peer)
                && !spent.started.contains(&give.which)
            {
                spent.started.push(give.which);
            }
            self.gives.insert(key, give);
        }
        can
    }

    /// What this peer is to get next, if anything.
    pub(crate) fn next(&mut self, peer: NodeId) -> Option<&mut Give> {
        let range = (peer, Which::Others)..=(peer, Which::These);
        self.gives.range_mut(range).next().map(|(_, give)| give)
    }

    /// Whether there is time to compare so many entries with what this peer knows, as it asks.
    #[must_use]
    pub(crate) fn compare(&mut self, peer: NodeId, entries: usize) -> bool {
        let is_new = self.spent(peer).is_some_and(|spent| !spent.has_asked);
        self.askers += usize::from(is_new);
        let his_max = ROUND_COMPARED_MAX / if self.are_several() { ONE_OF } else { 1 };
        let has_time = self.compared < ROUND_COMPARED_MAX;
        let can = has_time && self.spent.get(&peer).is_none_or(|spent| spent.compared < his_max);
        let entries = if can { entries } else { 0 };
        self.compared += entries;
        if let Some(spent) = self.spent(peer) {
            spent.has_asked = true;
            spent.compared += entries;
        }
        can
    }

    /// So many bytes were given to this peer.
    pub(crate) fn gave(&mut self, peer: NodeId, bytes: usize) {
        self.given += bytes;
        self.spent(peer).into_iter().for_each(|spent| spent.given += bytes);
    }

    /// This peer is sent away. Says whether it is for the first time in this round.
    #[must_use]
    pub(crate) fn send_away(&mut self, peer: NodeId) -> bool {
        self.spent(peer).is_none_or(|spent| !std::mem::replace(&mut spent.is_sent_away, true))
    }

    fn are_several(&self) -> bool {
        self.askers > 1 || self.several_for > 0
    }

    /// What this peer took, if there is room to remember it.
    fn spent(&mut self, peer: NodeId) -> Option<&mut Spent> {
        let has_room = self.spent.len() < SPENT_MAX || self.spent.contains_key(&peer);
        has_room.then(|| self.spent.entry(peer).or_default())
    }

    /// The peer has got the first of what it was to get.
    pub(crate) fn end_first(&mut self, peer: NodeId) {
        if let Some(which) = self.next(peer).map(|give| give.which) {
            self.gives.remove(&(peer, which));
        }
    }

    /// The link to this peer is down.
    pub(crate) fn end(&mut self, peer: NodeId) {
        self.gives.remove(&(peer, Which::Others));
        self.gives.remove(&(peer, Which::These));
    }

    pub(crate) fn on_round(&mut self) {
        (self.given, self.compared) = (0, 0);
        let rest = self.several_for.saturating_sub(1);
        self.several_for = if self.askers > 1 { PATIENCE_ROUNDS } else { rest };
        self.askers = 0;
        self.spent.retain(|_, spent| {
            let owed = (spent.owed + spent.given).saturating_sub(ROUND_BYTES_MAX / ONE_OF);
            *spent = Spent { owed, ..Spent::default() };
            owed > 0
        });
    }
}

/// The last of all nodes that can be.
pub(crate) const LAST: NodeId = NodeId::from_bytes([0xff; NodeId::LEN]);

/// The most peers that wait to be asked for their tables.
pub(crate) const CANDIDATES_MAX: usize = 64;

/// The most tables that are given at the same time.
pub(crate) const GIVES_MAX: usize = 1_024;

/// Who gave so many bytes in a round begins to give nobody else a whole table: some seven tables of
/// a thousand members.
pub(crate) const ROUND_BYTES_MAX: usize = 1 << 20;

/// Who compared so many entries in a round compares no more: a tenth of a second's work, some
/// sixteen pulls where a table is full.
const ROUND_COMPARED_MAX: usize = 1 << 20;

/// While several ask one has the fourth part of these.
const ONE_OF: usize = 4;

/// Of how many peers it is known what they took.
const SPENT_MAX: usize = 1_024;

/// How often a node that has a table pulls again, and in which rounds of its life.
const AGAIN_MAX: u32 = 8;
const AGAIN_ROUNDS: u64 = 25;

/// For how many rounds a stranger may be a newcomer.
const STRANGER_ROUNDS: u32 = 4;

/// How many rounds a pull waits for the next piece: a link that is up may still bring nothing.
pub(crate) const PATIENCE_ROUNDS: u32 = 25;

/// A pull that brought no more than so many members, or one for so many that are known, was the
/// last: what is missing then is found by exchanges.
const GAIN_LITTLE: usize = 4;
const KNOWN_PER_GAIN: usize = 512;

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
    fn one_at_a_time_until_a_pull_brings_little() {
        let mut pulls = Pulls::default();
        (1..=3).for_each(|peer| pulls.offer(node(peer)));
        assert_eq!(pulls.next(|_| true), Some(node(1)));
        assert_eq!(pulls.next(|_| true), None);
        assert_eq!(pulls.on_piece(node(2), 0, 9, true), Then::Wait, "nobody asked it");
        pulls.on_down(node(1));
        assert_eq!(pulls.next(|_| true), Some(node(2)));
        assert_eq!(pulls.on_piece(node(2), GAIN_LITTLE, 9, false), Then::Wait);
        assert_eq!(pulls.on_piece(node(2), 1, 9, true), Then::Done);
        assert!(pulls.is_newcomer(), "there may be more where that came from");
        assert_eq!(pulls.next(|_| true), Some(node(3)));
        assert_eq!(pulls.on_piece(node(3), GAIN_LITTLE, 9, true), Then::Done);
        assert!(!pulls.is_newcomer());
        pulls.offer(node(4));
        assert_eq!(pulls.next(|peer| peer != node(4)), None);
        assert!(pulls.is_idle(), "who was not wanted is forgotten");
    }

    #[test]
    fn who_has_a_table_pulls_again_a_few_times() {
        let mut pulls = Pulls::default();
        pulls.on_difference(node(1), 1);
        assert!(pulls.is_idle(), "a newcomer pulls anyway");
        pulls.has_table = true;
        for _ in 0..AGAIN_MAX {
            pulls.on_difference(node(1), 1);
            pulls.on_difference(node(2), 1);
            assert_eq!(pulls.next(|_| true), Some(node(1)));
            assert_eq!(pulls.on_piece(node(1), 0, 9, true), Then::Done);
        }
        pulls.on_difference(node(1), 1);
        assert!(pulls.is_idle());
    }

    #[test]
    fn who_is_here_for_long_does_not_pull_again() {
        let mut pulls = Pulls { has_table: true, ..Pulls::default() };
        pulls.on_difference(node(1), AGAIN_ROUNDS);
        assert!(pulls.is_idle());
        pulls.on_difference(node(1), AGAIN_ROUNDS - 1);
        assert!(!pulls.is_idle());
    }

    #[test]
    fn a_stranger_has_some_rounds_to_become_known() {
        let mut pulls = Pulls::default();
        pulls.meet(node(1));
        assert_eq!(pulls.next(|_| true), Some(node(1)), "who has no table asks anybody");
        pulls.on_piece(node(1), 0, 9, true);
        pulls.meet(node(2));
        for _ in 1..STRANGER_ROUNDS {
            pulls.on_round();
            assert_eq!(pulls.next(|_| true), None);
        }
        pulls.on_round();
        assert_eq!(pulls.next(|_| true), Some(node(2)));
        (0..2 * CANDIDATES_MAX as u16).for_each(|peer| pulls.meet(node(peer % 100)));
        assert_eq!(pulls.strangers.len(), CANDIDATES_MAX);
        pulls.on_down(node(7));
        assert_eq!(pulls.strangers.len(), CANDIDATES_MAX - 1);
    }

    #[test]
    fn who_was_sent_away_is_as_new_as_before() {
        let mut pulls = Pulls::default();
        pulls.offer(node(1));
        pulls.next(|_| true);
        pulls.on_busy(node(2));
        assert!(!pulls.is_idle());
        pulls.on_busy(node(1));
        assert!(pulls.is_idle() && pulls.is_newcomer());
    }

    #[test]
    fn in_a_large_table_little_is_more() {
        let mut pulls = Pulls::default();
        pulls.offer(node(1));
        pulls.next(|_| true);
        pulls.on_piece(node(1), 19, 10_000, true);
        assert!(!pulls.is_newcomer());
    }

    #[test]
    fn a_long_table_is_asked_for_in_parts() {
        let mut pulls = Pulls::default();
        pulls.offer(node(1));
        pulls.next(|_| true);
        pulls.asked(node(500));
        assert_eq!(pulls.on_piece(node(1), 0, 9, true), Then::Ask(node(500)));
        pulls.asked(LAST);
        assert_eq!(pulls.on_piece(node(1), 0, 9, true), Then::Done);
    }

    #[test]
    fn patience_ends_unless_pieces_come() {
        let mut pulls = Pulls::default();
        pulls.offer(node(1));
        pulls.next(|_| true);
        assert!(!(1..PATIENCE_ROUNDS).any(|_| pulls.on_round()));
        pulls.on_piece(node(2), 1, 1, false);
        pulls.on_piece(node(1), 1, 1, false);
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

    fn give(which: Which) -> Give {
        Give::new(which, vec![7, 3], None, LAST)
    }

    #[test]
    fn tables_are_given_to_so_many_at_a_time() {
        let mut gives = Gives::default();
        assert!((0..GIVES_MAX as u16).all(|peer| gives.start(node(peer), give(Which::Others))));
        assert!(!gives.start(node(GIVES_MAX as u16), give(Which::Others)));
        gives.next(node(1)).unwrap().behind = Some(node(9));
        assert!(gives.start(node(1), give(Which::Others)), "who asks again begins again");
        assert_eq!(gives.next(node(1)).unwrap().behind, None);
        gives.end(node(1));
        assert!(gives.next(node(1)).is_none());
        assert!(gives.start(node(GIVES_MAX as u16), give(Which::These)));
    }

    #[test]
    fn so_much_is_given_in_a_round() {
        let mut gives = Gives::default();
        gives.gave(node(2), ROUND_BYTES_MAX);
        assert!(!gives.start(node(1), give(Which::Others)));
        gives.on_round();
        assert!(gives.start(node(1), give(Which::Others)));
    }

    #[test]
    fn so_much_is_compared_in_a_round() {
        let mut gives = Gives::default();
        assert!(gives.compare(node(1), ROUND_COMPARED_MAX - 1) && gives.compare(node(1), 65_536));
        assert!(!gives.compare(node(1), 1));
        gives.on_round();
        assert!(gives.compare(node(1), 1));
    }

    /// Nobody takes all the time, or all that is given, who is not the only one to ask.
    #[test]
    fn while_several_ask_one_has_a_quarter() {
        let mut gives = Gives::default();
        let compared = |gives: &mut Gives, peer: u16| {
            (0..200).take_while(|_| gives.compare(node(peer), 10_000)).count()
        };
        assert_eq!(compared(&mut gives, 1), 105, "nobody else asks");
        assert!(!gives.compare(node(2), 10_000));
        gives.on_round();
        assert_eq!([1, 2].map(|peer| compared(&mut gives, peer)), [27, 27]);
        for _ in 0..PATIENCE_ROUNDS {
            gives.on_round();
            assert_eq!(compared(&mut gives, 1), 27, "the other may come back");
        }
        gives.on_round();
        assert_eq!(compared(&mut gives, 1), 105);
    }

    #[test]
    fn who_got_a_long_table_waits_while_several_ask() {
        let mut gives = Gives::default();
        let asks = |gives: &mut Gives, peer: u16, which: Which| {
            gives.compare(node(peer), 1) && gives.start(node(peer), give(which))
        };
        assert!(asks(&mut gives, 1, Which::Others) && asks(&mut gives, 2, Which::Others));
        let part = ROUND_BYTES_MAX / ONE_OF;
        gives.gave(node(1), part);
        assert!(!asks(&mut gives, 1, Which::Others) && asks(&mut gives, 1, Which::These));
        gives.on_round();
        assert!(asks(&mut gives, 1, Which::Others) && asks(&mut gives, 2, Which::Others));
        gives.gave(node(1), 3 * part);
        for _ in 1..3 {
            gives.on_round();
            assert!(!asks(&mut gives, 1, Which::Others) && asks(&mut gives, 2, Which::Others));
        }
        gives.on_round();
        assert!(asks(&mut gives, 1, Which::Others));
        // A node that nobody else asks gives without end.
        let mut gives = Gives::default();
        gives.gave(node(1), 3 * part);
        assert!((0..9).all(|_| asks(&mut gives, 1, Which::Others)));
    }

    #[test]
    fn once_a_round_one_is_told_whom_else_to_ask() {
        let mut gives = Gives::default();
        assert_eq!([1, 1, 2].map(|peer| gives.send_away(node(peer))), [true, false, true]);
        gives.on_round();
        assert!(gives.send_away(node(1)));
    }

    #[test]
    fn of_so_many_it_is_known_what_they_took() {
        let mut gives = Gives::default();
        assert!((0..2 * SPENT_MAX as u16).all(|peer| gives.compare(node(peer), 1)));
        assert_eq!(gives.spent.len(), SPENT_MAX);
        gives.on_round();
        assert!(gives.spent.is_empty());
    }

    #[test]
    fn what_is_lacking_is_given_before_what_was_asked_for() {
        let mut gives = Gives::default();
        assert!(
            gives.start(node(1), give(Which::These)) && gives.start(node(1), give(Which::Others))
        );
        let has = |give: &Give| [3, 5, 7].map(|hash| give.has(hash));
        assert_eq!(gives.next(node(1)).map(|give| has(give)), Some([false, true, false]));
        gives.end_first(node(1));
        assert_eq!(gives.next(node(1)).map(|give| has(give)), Some([true, false, true]));
        gives.end_first(node(1));
        assert!(gives.next(node(1)).is_none());
    }
}
