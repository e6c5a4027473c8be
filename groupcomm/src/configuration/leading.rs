//! The leader's part in a change of view: who may be left out, how long it waits for whom, and what
//! it says again.
//!
//! It makes one attempt after the other (`change`), each with more patience than the last, since
//! whoever is left out for being slow has to be let in again.

use std::collections::BTreeSet;
use std::time::Duration;

use live_objects::{Epoch, Member, NodeId, Time, View};
use rand::RngExt;
use rand::seq::IteratorRandom;

use super::{Configuration, Decision, TELL, TICK, is_in};
use crate::change::Attempt;
use crate::control::{Ballot, Control, MEMBERS_MAX, Proposal};
use crate::regions::Regions;

impl Configuration {
    /// The leader's turn: begins a change if one is needed, drives the one under way, tells
    /// outsiders.
    pub(super) fn lead(&mut self, now: Time, view: &View, regions: &mut Regions) {
        self.give_up(now, view);
        let needs = self.needs_change(view, regions) || self.acceptor.is_wedged();
        let may_begin = now >= self.rests_until && self.believes_in_quorum(view);
        if self.attempt.is_none() && needs && may_begin {
            self.begin(now, view, regions);
        }
        self.advance(now, view, regions);
        if self.view().is_none_or(|present| present.epoch != view.epoch) {
            return;
        }
        self.repeat(view);
        if now >= self.tells_at {
            self.tells_at = now + TELL;
            let outsiders = self.peers.nodes().filter(|node| !is_in(view, *node));
            if let Some(node) = outsiders.choose(&mut self.rng) {
                self.tell(node);
            }
        }
    }

    /// Gives up an attempt of which nothing may come, so that another is made, with more patience.
    /// That may leave out who has not promised, though a quorum has. It finds other holders of what
    /// is to be gathered, should those be gone; who lacks something even so is left out at last.
    fn give_up(&mut self, now: Time, view: &View) {
        let Some(attempt) = self.attempt.as_ref().filter(|attempt| !attempt.is_proposed()) else {
            return;
        };
        let patience = PATIENCE * 2_u32.pow(self.in_vain.min(2));
        let has_promised = |node| attempt.has_promised(node);
        let (_, lacking) = attempt.gathering();
        let others = view.members.iter().copied().filter(|member| *member != self.me);
        if let Some(at) = attempt.chosen_at() {
            let lacking: Vec<Member> = others.filter(|it| lacking.contains(&it.node)).collect();
            if now < at + patience && lacking.iter().all(|member| self.peers.is_up(*member)) {
                return;
            }
            if self.in_vain >= IN_VAIN_MAX {
                self.stuck.extend(lacking);
            }
        } else if now >= attempt.began + patience && self.is_quorum(view, has_promised) {
            self.slow.extend(others.filter(|member| !has_promised(member.node)));
        } else {
            return;
        }
        self.in_vain += 1;
        self.attempt = None;
    }

    fn begin(&mut self, now: Time, view: &View, regions: &mut Regions) {
        let round = self.acceptor.next_round().max(self.rounds.saturating_add(1));
        let ballot = Ballot { round, leader: self.me.node };
        let accepted = self.acceptor.prepare(ballot).expect("the highest round of all");
        let stays = |member: &Member| self.stays(*member) && !self.slow.contains(member);
        let going = view.members.iter().copied().filter(|member| !stays(member)).collect();
        let holdings = regions.wedge(&going);
        let mut attempt = Attempt::new(ballot, now, going);
        attempt.on_promise(self.me.node, accepted, holdings);
        self.attempt = Some(attempt);
        assert!(view.has(self.me), "a member is in its view");
    }

    pub(super) fn on_vote(
        &mut self,
        now: Time,
        ballot: Ballot,
        vote: impl FnOnce(&mut Attempt),
        regions: &mut Regions,
    ) {
        let Some(view) = self.view().cloned() else { return };
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.ballot == ballot) {
            vote(attempt);
            self.advance(now, &view, regions);
        }
    }

    pub(super) fn on_outbid(&mut self, now: Time, promised: Ballot) {
        self.rounds = self.rounds.max(promised.round);
        if self.attempt.take_if(|attempt| attempt.ballot < promised).is_some() {
            // Two leaders that outbid each other in step would do so for ever.
            self.rests_until = now + TICK.mul_f64(self.rng.random_range(1.0..8.0));
        }
    }

    /// Chooses when enough have promised, proposes when it holds what the view is to end with,
    /// decides when enough have accepted.
    pub(super) fn advance(&mut self, now: Time, view: &View, regions: &mut Regions) {
        let Some(mut attempt) = self.attempt.take() else { return };
        if attempt.value().is_none() && self.may_choose(view, &attempt) {
            attempt.choose(now, view, |promised, going| self.wished(promised, going));
            let (ends, lacking) = attempt.gathering();
            for other in lacking.iter().filter(|node| **node != self.me.node) {
                let gather = Control::Gather(view.epoch, attempt.ballot, ends.clone());
                self.out.push((*other, gather));
            }
        }
        let (ends, lacking) = attempt.gathering();
        if lacking.contains(&self.me.node) && self.gathers(ends, view, regions) {
            attempt.on_gathered(self.me.node);
        }
        let has_gathered = attempt.gathering().1.is_empty();
        if attempt.value().is_some() && !attempt.is_proposed() && has_gathered {
            let value = attempt.propose();
            if self.acceptor.accept(attempt.ballot, value.clone()).is_ok() {
                attempt.on_accepted(self.me.node);
            }
            for other in self.others(view) {
                let value = value.clone();
                self.out.push((other, Control::Accept(view.epoch, attempt.ballot, value)));
            }
        }
        let is_decided = self.is_quorum(view, |node| attempt.has_accepted(node));
        match attempt.value().cloned().filter(|_| attempt.is_proposed() && is_decided) {
            Some(value) => self.decide(now, view, value, regions),
            None => self.attempt = Some(attempt),
        }
    }

    /// A quorum has promised, and so has everybody who may not be left out.
    fn may_choose(&self, view: &View, attempt: &Attempt) -> bool {
        let has_promised = |node| attempt.has_promised(node);
        let mut awaited = view.members.iter().filter(|member| !attempt.going().contains(*member));
        self.believes_in_quorum(view)
            && self.is_quorum(view, has_promised)
            && awaited.all(|member| has_promised(member.node))
    }

    /// Those who promised and stay, or may not be left out, then the joiners.
    fn wished(&self, promised: Vec<Member>, going: &BTreeSet<Member>) -> Vec<Member> {
        let stays = |member: &Member| self.stays(*member) || !going.contains(member);
        let mut members: Vec<Member> = promised.into_iter().filter(stays).collect();
        for joiner in self.joiners() {
            let is_new = members.iter().all(|member| member.node != joiner.node);
            if is_new && members.len() < MEMBERS_MAX {
                members.push(joiner);
            }
        }
        members
    }

    /// Whether a member is neither gone nor leaving, and can go on.
    pub(super) fn stays(&self, member: Member) -> bool {
        let is_stuck = self.stuck.contains(&member);
        self.peers.is_up(member) && !self.leaving.contains(&member) && !is_stuck
    }

    /// Says again what was not answered.
    fn repeat(&mut self, view: &View) {
        let Some(attempt) = self.attempt.take() else { return };
        for other in self.others(view) {
            let message = match attempt.value() {
                Some(value) if attempt.is_proposed() => {
                    if attempt.has_accepted(other) {
                        continue;
                    }
                    Control::Accept(view.epoch, attempt.ballot, value.clone())
                }
                Some(_) => {
                    let (ends, lacking) = attempt.gathering();
                    if !lacking.contains(&other) {
                        continue;
                    }
                    Control::Gather(view.epoch, attempt.ballot, ends.clone())
                }
                None if !attempt.has_promised(other) => {
                    let going = attempt.going().iter().copied().collect();
                    Control::Prepare(view.epoch, attempt.ballot, going)
                }
                None => continue,
            };
            // It cannot answer before it has the view that is to be changed.
            self.tell(other);
            self.out.push((other, message));
        }
        self.attempt = Some(attempt);
    }

    fn decide(&mut self, now: Time, view: &View, value: Proposal, regions: &Regions) {
        let number = view.epoch.number + 1;
        let Proposal { members, cut } = value;
        let next = View { epoch: Epoch { number, ..view.epoch }, members };
        let both: BTreeSet<NodeId> =
            view.members.iter().chain(&next.members).map(|member| member.node).collect();
        for node in both.into_iter().filter(|node| *node != self.me.node) {
            self.out.push((node, Control::Told(next.clone(), cut.clone())));
        }
        self.learn(now, self.me.node, Decision { view: next, cut }, regions);
    }
}

/// How long a leader waits for members beyond a quorum to promise, and for all to gather, at first.
const PATIENCE: Duration = Duration::from_secs(1);
/// After so many attempts in vain whoever does not gather what it lacks is left out.
const IN_VAIN_MAX: u32 = 2;
