//! How a cluster comes to be when no one node is told to found it: so many nodes *expect* each
//! other, and elect a founder.
//!
//! Each stands; whoever hears of one with a lower id that stands gives up for it. One founds the
//! cluster when as many as are expected have voted for it, itself included, and its first view
//! holds them all. A node votes for one at a time, and takes its vote back only when that one gave
//! up or died: so of exactly as many nodes as are expected, no two groups can ever
//! found two clusters, whatever is lost or late. (Of more nodes two groups can, if neither hears of
//! the other: both then learn that the other is a foreign cluster.)

use std::collections::BTreeMap;

use live_objects::{Member, NodeId};

use crate::control::{Control, MEMBERS_MAX};
use crate::peers::Peers;

/// One node's part in an election.
pub(crate) struct Founding {
    me: Member,
    /// How many nodes are expected.
    expected: usize,
    /// For whom this node has voted.
    vote: Option<Member>,
    /// Who voted for this node, each in its last life.
    votes: BTreeMap<NodeId, Member>,
}

impl Founding {
    pub(crate) fn new(me: Member, expected: u16) -> Self {
        Self { me, expected: usize::from(expected), vote: None, votes: BTreeMap::new() }
    }

    /// Stands, unless this node has voted for another: asks for votes.
    pub(crate) fn stand(&mut self, peers: &Peers) -> Option<Control> {
        if self.voted(peers).is_some_and(|vote| vote != self.me) {
            return None;
        }
        self.vote = Some(self.me);
        self.votes.insert(self.me.node, self.me);
        Some(Control::Stand(self.me))
    }

    /// Whether this node has voted for itself.
    pub(crate) fn stands(&self) -> bool {
        self.vote == Some(self.me)
    }

    /// Somebody stands: votes, gives up for it, or lets the one it voted for know.
    pub(crate) fn on_stand(&mut self, candidate: Member, peers: &Peers) -> Answer {
        match self.voted(peers) {
            Some(vote) if vote == self.me && candidate.node < self.me.node => {
                self.votes.clear();
                self.vote = Some(candidate);
                Answer::GiveUp
            }
            Some(vote) if vote != candidate => Answer::Pass(vote),
            _ => {
                self.vote = Some(candidate);
                Answer::Vote
            }
        }
    }

    /// The one who stood gave up.
    pub(crate) fn on_give_up(&mut self, candidate: Member) {
        self.vote.take_if(|vote| *vote == candidate && candidate != self.me);
    }

    /// Somebody voted for this node. Returns the members of the first view, this one first, if
    /// enough have who live.
    pub(crate) fn on_vote(
        &mut self,
        voter: Member,
        candidate: Member,
        peers: &Peers,
    ) -> Option<Vec<Member>> {
        if candidate != self.me || self.vote != Some(self.me) || self.votes.len() == MEMBERS_MAX {
            return None;
        }
        self.votes.insert(voter.node, voter);
        let others = self.votes.values().filter(|it| **it != self.me && peers.is_up(**it));
        let members: Vec<Member> = [self.me].into_iter().chain(others.copied()).collect();
        (members.len() >= self.expected).then_some(members)
    }

    /// For whom this node has voted, if that one lives.
    fn voted(&self, peers: &Peers) -> Option<Member> {
        self.vote.filter(|vote| peers.is_up(*vote))
    }
}

/// What is answered to one who stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Vote,
    /// This node stood itself: those who voted for it are free, and it votes.
    GiveUp,
    /// This node has voted for that one, which is to hear of it.
    Pass(Member),
}

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::Incarnation;

    fn member(node: u8) -> Member {
        let incarnation = Incarnation::from_bytes([1; Incarnation::LEN]);
        Member { node: NodeId::from_bytes([node; NodeId::LEN]), incarnation }
    }

    /// A node that knows of these, and expects three.
    fn node(me: u8, known: &[u8]) -> (Founding, Peers) {
        let mut peers = Peers::new(member(me));
        known.iter().for_each(|node| peers.on_alive(member(*node)));
        (Founding::new(member(me), 3), peers)
    }

    #[test]
    fn who_stands_founds_with_enough_votes() {
        let (mut founding, peers) = node(1, &[2, 3]);
        assert_eq!(founding.stand(&peers), Some(Control::Stand(member(1))));
        let mut vote = |voter, candidate| founding.on_vote(voter, candidate, &peers);
        let incarnation = Incarnation::from_bytes([0; Incarnation::LEN]);
        let before = Member { incarnation, ..member(3) };
        assert_eq!(vote(before, member(1)), None);
        assert_eq!(vote(member(3), member(1)), None, "one vote each");
        assert_eq!(vote(member(2), member(2)), None, "not for this node");
        let elected = vote(member(2), member(1));
        assert_eq!(elected, Some(vec![member(1), member(2), member(3)]));
        let (mut voter, peers) = node(2, &[1]);
        assert_eq!(voter.on_stand(member(1), &peers), Answer::Vote);
        assert_eq!(voter.stand(&peers), None);
    }

    #[test]
    fn a_vote_is_given_once_until_its_candidate_gives_up_or_is_gone() {
        let (mut founding, mut peers) = node(5, &[2, 3]);
        assert_eq!(founding.on_stand(member(3), &peers), Answer::Vote);
        assert_eq!(founding.on_stand(member(2), &peers), Answer::Pass(member(3)));
        founding.on_give_up(member(3));
        assert_eq!(founding.on_stand(member(2), &peers), Answer::Vote);
        peers.on_gone(member(2));
        assert_eq!(founding.on_stand(member(3), &peers), Answer::Vote);
    }

    #[test]
    fn who_stands_gives_up_for_a_lower_one_and_counts_no_vote_after_that() {
        let (mut founding, peers) = node(2, &[3]);
        founding.stand(&peers).unwrap();
        assert_eq!(founding.on_stand(member(3), &peers), Answer::Pass(member(2)));
        assert_eq!(founding.on_stand(member(1), &peers), Answer::GiveUp);
        assert_eq!(founding.on_vote(member(3), member(2), &peers), None);
        assert_eq!(founding.on_vote(member(4), member(2), &peers), None);
    }
}
