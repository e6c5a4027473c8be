//! One change of view: an instance of Paxos (Lamport, 1998) whose acceptors are the members of the
//! view that is to be changed, and whose value is the list of members of the next, with the *trim*:
//! how far each stream of the old view goes.
//!
//! What Paxos leaves open is settled here for views. A leader proposes only members of the old view
//! that *promised* in its ballot, so whoever is in two views in a row knew the first when the
//! second was decided: nobody skips a view. It says first who may be left out, those who are gone
//! or ask for it, and whoever promises wedges the regions that these are in and no others. All
//! others are to promise; who does not for long is left out in another attempt.
//!
//! The trim is the most that those who promised hold between them, so that whatever was delivered
//! by a member of the next view, or was stable, lies within it. Those who stay *gather* what they
//! miss of that before anything is proposed: a view that may have been decided is one that all its
//! members can install, whoever dies.

use std::collections::{BTreeMap, BTreeSet};

use live_objects::{Member, NodeId, Time, View};

use crate::control::{Ballot, Cut, Proposal};
use crate::holdings::{End, Ends, Holdings, ends};

/// What a member has promised about the present view.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Acceptor {
    promised: Option<Ballot>,
    accepted: Option<(Ballot, Proposal)>,
}

impl Acceptor {
    /// Promises, or says what was promised to somebody higher. What was accepted goes with a
    /// promise.
    pub(crate) fn prepare(&mut self, ballot: Ballot) -> Result<Option<(Ballot, Proposal)>, Ballot> {
        self.follow(ballot).map(|()| self.accepted.clone())
    }

    /// Accepts, or says what was promised to somebody higher.
    pub(crate) fn accept(&mut self, ballot: Ballot, value: Proposal) -> Result<(), Ballot> {
        self.follow(ballot)?;
        self.accepted = Some((ballot, value));
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

    /// Whether this ballot was promised, and none higher.
    pub(crate) fn follow(&mut self, ballot: Ballot) -> Result<(), Ballot> {
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
    /// Who may be left out.
    going: BTreeSet<Member>,
    promises: BTreeMap<NodeId, Promise>,
    /// What is to be proposed, once enough have promised.
    value: Option<Proposal>,
    /// When it was chosen.
    chosen_at: Option<Time>,
    /// Where regions end with that, unless it was proposed before.
    ends: Ends,
    /// Who stays and has not gathered all of it yet.
    lacking: BTreeSet<NodeId>,
    /// Who accepted it, once it was proposed.
    accepted: Option<BTreeSet<NodeId>>,
}

/// What a member said when it promised.
#[derive(Debug)]
struct Promise {
    accepted: Option<(Ballot, Proposal)>,
    holdings: Holdings,
}

impl Attempt {
    pub(crate) fn new(ballot: Ballot, began: Time, going: BTreeSet<Member>) -> Self {
        Self {
            ballot,
            began,
            going,
            promises: BTreeMap::new(),
            value: None,
            chosen_at: None,
            ends: Ends::new(),
            lacking: BTreeSet::new(),
            accepted: None,
        }
    }

    /// Who may be left out.
    pub(crate) fn going(&self) -> &BTreeSet<Member> {
        &self.going
    }

    /// Somebody promised. What it holds counts as long as nothing is chosen.
    pub(crate) fn on_promise(
        &mut self,
        from: NodeId,
        accepted: Option<(Ballot, Proposal)>,
        holdings: Holdings,
    ) {
        if self.value.is_none() {
            self.promises.insert(from, Promise { accepted, holdings });
        }
    }

    /// Somebody has all that its regions end with.
    pub(crate) fn on_gathered(&mut self, from: NodeId) {
        self.lacking.remove(&from);
    }

    /// Where regions end, and who is to gather what it misses of that.
    pub(crate) fn gathering(&self) -> (&Ends, &BTreeSet<NodeId>) {
        (&self.ends, &self.lacking)
    }

    /// Somebody accepted the proposal.
    pub(crate) fn on_accepted(&mut self, from: NodeId) {
        if let Some(accepted) = &mut self.accepted {
            accepted.insert(from);
        }
    }

    /// What is to be proposed, if it came to that.
    pub(crate) fn value(&self) -> Option<&Proposal> {
        self.value.as_ref()
    }

    /// When it was chosen, if it was.
    pub(crate) fn chosen_at(&self) -> Option<Time> {
        self.chosen_at
    }

    /// Whether it was proposed.
    pub(crate) fn is_proposed(&self) -> bool {
        self.accepted.is_some()
    }

    pub(crate) fn has_promised(&self, node: NodeId) -> bool {
        self.promises.contains_key(&node)
    }

    pub(crate) fn has_accepted(&self, node: NodeId) -> bool {
        self.accepted.as_ref().is_some_and(|accepted| accepted.contains(&node))
    }

    /// Enough have promised: chooses what was accepted in the highest ballot before, which may have
    /// been decided already, or else what `wished` makes of the members that promised.
    pub(crate) fn choose(
        &mut self,
        now: Time,
        view: &View,
        wished: impl FnOnce(Vec<Member>, &BTreeSet<Member>) -> Vec<Member>,
    ) {
        assert!(self.value.is_none(), "one proposal a ballot");
        self.chosen_at = Some(now);
        let accepted = self.promises.values().filter_map(|promise| promise.accepted.as_ref());
        if let Some((_, value)) = accepted.max_by_key(|(ballot, _)| *ballot) {
            self.value = Some(value.clone());
            return;
        }
        let members = view.members.iter().copied();
        let promised = members.filter(|member| self.has_promised(member.node));
        let promised: Vec<Member> = promised.collect();
        let mut members = wished(promised.clone(), &self.going);
        if !members.iter().any(|member| self.has_map(*member, view)) {
            // Whoever alone knows the group map may not leave before somebody else does.
            let knowing = promised.into_iter().filter(|member| self.has_map(*member, view));
            members.extend(knowing);
        }
        let is_reset = !members.iter().any(|member| self.has_map(*member, view));
        let holdings = (0..).zip(&view.members).filter_map(|(place, member)| {
            Some((place, &self.promises.get(&member.node)?.holdings))
        });
        self.ends = ends(holdings);
        let stays = |member: &&Member| view.has(**member);
        let lacks = |node: &NodeId| !self.promises[node].holdings.reach(&self.ends);
        self.lacking = members.iter().filter(stays).map(|it| it.node).filter(lacks).collect();
        let lasts = |ends: &Vec<End>| ends.iter().map(|end| (end.of, end.last)).collect();
        let trim = self.ends.iter().map(|(region, ends)| (*region, lasts(ends))).collect();
        self.value = Some(Proposal { members, cut: Cut { trim, is_reset } });
    }

    fn has_map(&self, member: Member, view: &View) -> bool {
        let promise = self.promises.get(&member.node).filter(|_| view.has(member));
        promise.is_some_and(|promise| promise.holdings.has_map)
    }

    /// All who stay hold all that is needed: what was chosen is proposed.
    pub(crate) fn propose(&mut self) -> Proposal {
        assert!(self.lacking.is_empty(), "nobody goes on without what the view ends with");
        self.accepted = Some(BTreeSet::new());
        self.value.clone().expect("it was chosen before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holdings::Held;
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

    fn value(members: &[u8]) -> Proposal {
        let members = members.iter().map(|byte| member(*byte)).collect();
        Proposal { members, cut: Cut::default() }
    }

    fn holds(prefixes: &[u64]) -> Holdings {
        let streams = prefixes.iter().map(|&prefix| Held { of: 0, prefix, beyond: vec![] });
        Holdings { has_map: true, regions: [(0, streams.collect())].into() }
    }

    fn attempt(round: u32) -> Attempt {
        Attempt::new(ballot(round, 1), Time::ZERO, BTreeSet::new())
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
        assert_eq!(acceptor.accept(ballot(1, 9), value(&[])), Err(ballot(2, 1)));
        assert_eq!(acceptor.accept(ballot(2, 1), value(&[1])), Ok(()));
        assert_eq!(acceptor.prepare(ballot(2, 2)), Ok(Some((ballot(2, 1), value(&[1])))));
        assert!(acceptor.is_wedged());
        assert_eq!(acceptor.next_round(), 3);
    }

    #[test]
    fn what_may_have_been_decided_is_proposed_again() {
        let mut attempt = attempt(5);
        attempt.on_promise(member(1).node, Some((ballot(2, 2), value(&[2]))), holds(&[]));
        attempt.on_promise(member(2).node, Some((ballot(3, 3), value(&[3]))), holds(&[]));
        attempt.on_promise(member(3).node, None, holds(&[9]));
        attempt.choose(Time::ZERO, &view(), |_, _| unreachable!("something was accepted before"));
        assert_eq!(attempt.propose(), value(&[3]));
    }

    #[test]
    fn only_who_promised_is_proposed() {
        let mut attempt = attempt(1);
        attempt.on_promise(member(3).node, None, holds(&[]));
        attempt.on_promise(member(1).node, None, holds(&[]));
        attempt.choose(Time::ZERO, &view(), |mut members, _| {
            members.push(member(7));
            members
        });
        assert_eq!(attempt.propose().members, [member(1), member(3), member(7)]);
    }

    #[test]
    fn who_alone_knows_the_map_stays_and_with_the_last_of_them_it_is_lost() {
        let without = Holdings { has_map: false, ..holds(&[]) };
        let chosen = |first: Holdings| {
            let mut attempt = attempt(1);
            attempt.on_promise(member(1).node, None, first);
            attempt.on_promise(member(2).node, None, without.clone());
            attempt.choose(Time::ZERO, &view(), |promised, _| promised[1..].to_vec());
            attempt.propose()
        };
        let value = chosen(holds(&[]));
        assert_eq!((value.members, value.cut.is_reset), (vec![member(2), member(1)], false));
        let value = chosen(without.clone());
        assert_eq!((value.members, value.cut.is_reset), (vec![member(2)], true));
    }

    #[test]
    fn the_trim_is_what_those_who_promised_hold_between_them() {
        let held = |of, prefix, beyond: &[(u64, u64)]| Held { of, prefix, beyond: beyond.to_vec() };
        let with = |streams| Holdings { has_map: true, regions: [(0, streams)].into() };
        let mut attempt = attempt(1);
        let first = with(vec![held(0, 3, &[(6, 7)]), held(1, 0, &[(2, 9)])]);
        let second = with(vec![held(0, 4, &[(5, 5), (9, 9)]), held(1, 0, &[])]);
        attempt.on_promise(member(1).node, None, first);
        attempt.on_promise(member(2).node, None, second);
        attempt.choose(Time::ZERO, &view(), |members, _| members);
        let ends = vec![End { of: 0, last: 7, holder: 1 }, End { of: 1, last: 0, holder: 1 }];
        let lacking = [member(1).node, member(2).node].into();
        assert_eq!(attempt.gathering(), (&[(0, ends)].into(), &lacking));
        lacking.iter().for_each(|node| attempt.on_gathered(*node));
        assert_eq!(
            attempt.propose().cut,
            Cut { trim: [(0, vec![(0, 7), (1, 0)])].into(), is_reset: false }
        );
    }
}
