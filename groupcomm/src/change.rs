//! One change of view: an instance of Paxos (Lamport, 1998) whose acceptors are the members of the
//! view that is to be changed, and whose value is the list of members of the next.
//!
//! What Paxos leaves open is settled here for views. A leader proposes only members of the old view
//! that *promised* in its ballot, so whoever is in two views in a row knew the first when the
//! second was decided: nobody skips a view. It waits for every member that is believed up, up to a
//! limit, so that nobody is left out for being a little slow.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Member, NodeId, Time, View};

use crate::control::Ballot;

/// What a member has promised about the present view.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Acceptor {
    promised: Option<Ballot>,
    accepted: Option<(Ballot, Vec<Member>)>,
}

impl Acceptor {
    /// Promises, or says what was promised to somebody higher. What was accepted goes with a
    /// promise.
    pub(crate) fn prepare(
        &mut self,
        ballot: Ballot,
    ) -> Result<Option<(Ballot, Vec<Member>)>, Ballot> {
        self.follow(ballot).map(|()| self.accepted.clone())
    }

    /// Accepts, or says what was promised to somebody higher.
    pub(crate) fn accept(&mut self, ballot: Ballot, members: Vec<Member>) -> Result<(), Ballot> {
        self.follow(ballot)?;
        self.accepted = Some((ballot, members));
        Ok(())
    }

    /// Whether a change was begun: a member that promised delivers nothing more in the old view.
    pub(crate) fn is_wedged(&self) -> bool {
        self.promised.is_some()
    }

    /// A round above all that were promised.
    pub(crate) fn next_round(&self) -> u32 {
        self.promised.map_or(1, |ballot| ballot.round.saturating_add(1))
    }

    fn follow(&mut self, ballot: Ballot) -> Result<(), Ballot> {
        if let Some(promised) = self.promised.filter(|promised| *promised > ballot) {
            return Err(promised);
        }
        self.promised = Some(ballot);
        Ok(())
    }
}

/// A leader's attempt to change the present view.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) ballot: Ballot,
    pub(crate) began: Time,
    promises: BTreeMap<NodeId, Option<(Ballot, Vec<Member>)>>,
    /// What is proposed, once enough have promised, and who accepted it.
    proposed: Option<(Vec<Member>, BTreeSet<NodeId>)>,
}

impl Attempt {
    pub(crate) fn new(ballot: Ballot, began: Time) -> Self {
        Self { ballot, began, promises: BTreeMap::new(), proposed: None }
    }

    pub(crate) fn on_promise(&mut self, from: NodeId, accepted: Option<(Ballot, Vec<Member>)>) {
        self.promises.insert(from, accepted);
    }

    /// Somebody accepted the proposal.
    pub(crate) fn on_accepted(&mut self, from: NodeId) {
        if let Some((_, accepted)) = &mut self.proposed {
            accepted.insert(from);
        }
    }

    /// What is proposed, if it came to that.
    pub(crate) fn proposed(&self) -> Option<&Vec<Member>> {
        self.proposed.as_ref().map(|(members, _)| members)
    }

    pub(crate) fn has_promised(&self, node: NodeId) -> bool {
        self.promises.contains_key(&node)
    }

    pub(crate) fn has_accepted(&self, node: NodeId) -> bool {
        self.proposed.as_ref().is_some_and(|(_, accepted)| accepted.contains(&node))
    }

    /// Enough have promised: proposes what was accepted in the highest ballot before, which may
    /// have been decided already, or else what `wished` makes of the members that promised.
    pub(crate) fn propose(
        &mut self,
        view: &View,
        wished: impl FnOnce(Vec<Member>) -> Vec<Member>,
    ) -> Vec<Member> {
        assert!(self.proposed.is_none(), "one proposal a ballot");
        let accepted = self.promises.values().flatten().max_by_key(|(ballot, _)| *ballot);
        let promised = || {
            let members = view.members.iter().copied();
            members.filter(|member| self.has_promised(member.node)).collect()
        };
        let members = accepted.map_or_else(|| wished(promised()), |(_, members)| members.clone());
        self.proposed = Some((members.clone(), BTreeSet::new()));
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::{ClusterId, Epoch, Incarnation};

    fn member(byte: u8) -> Member {
        Member {
            node: NodeId::from_bytes([byte; NodeId::LEN]),
            incarnation: Incarnation::from_bytes([0; Incarnation::LEN]),
        }
    }

    fn ballot(round: u32, leader: u8) -> Ballot {
        Ballot { round, leader: member(leader).node }
    }

    fn view() -> View {
        let epoch = Epoch { cluster: ClusterId::from_bytes([1; 16]), number: 1 };
        View { epoch, members: vec![member(1), member(2), member(3)] }
    }

    #[test]
    fn a_promise_binds() {
        let mut acceptor = Acceptor::default();
        assert!(!acceptor.is_wedged());
        assert_eq!(acceptor.prepare(ballot(2, 1)), Ok(None));
        assert_eq!(acceptor.prepare(ballot(1, 9)), Err(ballot(2, 1)));
        assert_eq!(acceptor.accept(ballot(1, 9), vec![]), Err(ballot(2, 1)));
        assert_eq!(acceptor.accept(ballot(2, 1), vec![member(1)]), Ok(()));
        assert_eq!(acceptor.prepare(ballot(2, 2)), Ok(Some((ballot(2, 1), vec![member(1)]))));
        assert!(acceptor.is_wedged());
        assert_eq!(acceptor.next_round(), 3);
    }

    #[test]
    fn what_may_have_been_decided_is_proposed_again() {
        let mut attempt = Attempt::new(ballot(5, 1), Time::ZERO);
        attempt.on_promise(member(1).node, Some((ballot(2, 2), vec![member(2)])));
        attempt.on_promise(member(2).node, Some((ballot(3, 3), vec![member(3)])));
        attempt.on_promise(member(3).node, None);
        let wished = |_| unreachable!("something was accepted before");
        assert_eq!(attempt.propose(&view(), wished), [member(3)]);
    }

    #[test]
    fn only_who_promised_is_proposed() {
        let mut attempt = Attempt::new(ballot(1, 1), Time::ZERO);
        attempt.on_promise(member(3).node, None);
        attempt.on_promise(member(1).node, None);
        let mut with_joiner = attempt.propose(&view(), |mut members| {
            members.push(member(7));
            members
        });
        assert_eq!(with_joiner.pop(), Some(member(7)));
        assert_eq!(with_joiner, [member(1), member(3)]);
    }
}
