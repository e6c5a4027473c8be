//! The configuration: which view this member is in, and how it gets to the next.
//!
//! A view ends with a *flush* of the regions that lose a member, and of the one that carries
//! changes of the group map: their streams are wedged as members promise, those who stay gather
//! what they miss of all that is held, and where the streams end is agreed on with the next view.
//! All other regions go on as if nothing were.
//!
//! The members of a view change it together, by Paxos among themselves (`change`). The *leader* is
//! the most senior member that is believed up; if two believe they are, Paxos keeps them from harm
//! and the higher ballot prevails. Joins, leaves and deaths that become known while a change is
//! under way go into the next one together: a hundred joins are a few views.
//!
//! What a view change costs is counted in its members; a node outside of the configuration is told
//! the present view now and then, which is how one that was removed while it slept finds out. And
//! whoever knows of a later view than a message speaks of says so, in that view or not: those who
//! are in it may have nobody else to hear it from.
//!
//! Invariants: a member installs views of one cluster, each number once and upwards. It is in each
//! view that it installs.

mod leading;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use live_objects::{ClusterId, Epoch, Member, NodeId, Rng, Time, View};
use rand::RngExt;
use rand::seq::IteratorRandom;

use crate::change::{Acceptor, Attempt};
use crate::config::{self, Config, Mutation};
use crate::control::{Ballot, Control, Cut};
use crate::founding::{Answer, Founding};
use crate::holdings::Ends;
use crate::peers::Peers;
use crate::regions::Regions;

/// What a member hears from its configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// A view, and where the one before it ended, whether or not this member was in that.
    Installed(Decision),
    Outside,
    /// Another cluster was founded, and this node is in it.
    Foreign(ClusterId, NodeId),
}

/// A view as it was decided, and where the one before it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Decision {
    pub(crate) view: View,
    pub(crate) cut: Cut,
}

/// A node's part in the configuration.
pub(crate) struct Configuration {
    me: Member,
    config: Config,
    rng: Rng,
    wish: Wish,
    /// The view this node is in.
    view: Option<Decision>,
    /// The last view that this node heard of while it is in none. Those who are in it may not have
    /// heard of it themselves, if whoever decided it left or died.
    past: Option<Decision>,
    acceptor: Acceptor,
    /// Who is to hear that this member has all that the view ends with, once it has.
    gathering: Option<(NodeId, Ballot, Ends)>,
    attempt: Option<Attempt>,
    /// Who kept attempts waiting: whoever does so again is left out of the next view.
    slow: BTreeSet<Member>,
    /// Who does not get what the present view ends with: is left out.
    stuck: BTreeSet<Member>,
    /// How many attempts to change the present view were in vain.
    in_vain: u32,
    /// Before then no new attempt is made.
    rests_until: Time,
    /// The highest round that anybody was heard to have promised.
    rounds: u32,
    peers: Peers,
    /// The election of a founder, while there is no cluster.
    founding: Option<Founding>,
    /// Other clusters that this node heard of, as far as it was said.
    foreign: BTreeSet<ClusterId>,
    joining: BTreeMap<NodeId, Member>,
    leaving: BTreeSet<Member>,
    wakes_at: Time,
    tells_at: Time,
    pub(crate) out: Vec<(NodeId, Control)>,
    pub(crate) news: Vec<News>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// Nobody here has opened an object.
    Nothing,
    In,
    Out,
}

impl Configuration {
    pub(crate) fn new(me: Member, config: Config, rng: Rng) -> Self {
        Self {
            me,
            config,
            rng,
            wish: Wish::Nothing,
            view: None,
            past: None,
            acceptor: Acceptor::default(),
            gathering: None,
            attempt: None,
            slow: BTreeSet::new(),
            stuck: BTreeSet::new(),
            in_vain: 0,
            rests_until: Time::ZERO,
            rounds: 0,
            peers: Peers::new(me),
            founding: match config.founding {
                config::Founding::Expect(nodes) => Some(Founding::new(me, nodes)),
                config::Founding::Wait | config::Founding::Alone => None,
            },
            foreign: BTreeSet::new(),
            joining: BTreeMap::new(),
            leaving: BTreeSet::new(),
            wakes_at: Time::ZERO,
            tells_at: Time::ZERO,
            out: Vec::new(),
            news: Vec::new(),
        }
    }

    pub(crate) fn view(&self) -> Option<&View> {
        self.view.as_ref().map(|decision| &decision.view)
    }

    /// This node wants to be in.
    pub(crate) fn enter(&mut self, now: Time) {
        if self.wish != Wish::Nothing {
            return;
        }
        self.wish = Wish::In;
        self.wakes_at = now;
        if self.config.founding == config::Founding::Alone && self.past.is_none() {
            self.found(vec![self.me]);
        }
    }

    /// Founds a cluster of these members, this one among them.
    fn found(&mut self, members: Vec<Member>) {
        let cluster = ClusterId::from_bytes(self.rng.random());
        let view = View { epoch: Epoch { cluster, number: 1 }, members };
        let cut = Cut { is_reset: true, ..Cut::default() };
        for other in self.others(&view) {
            self.out.push((other, Control::Told(view.clone(), cut.clone())));
        }
        self.install(Decision { view, cut });
    }

    /// This node wants to be out.
    pub(crate) fn leave(&mut self, now: Time) {
        if self.wish == Wish::Out {
            return;
        }
        self.wish = Wish::Out;
        self.wakes_at = now;
        self.leaving.insert(self.me);
    }

    /// Whether nobody counts on this node.
    pub(crate) fn is_out(&self) -> bool {
        self.view().is_none_or(|view| view.members == [self.me])
    }

    pub(crate) fn on_alive(&mut self, now: Time, member: Member) {
        self.peers.on_alive(member);
        self.wakes_at = self.wakes_at.min(now + TICK);
    }

    pub(crate) fn on_gone(&mut self, now: Time, member: Member) {
        self.peers.on_gone(member);
        if self.joining.get(&member.node) == Some(&member) {
            self.joining.remove(&member.node);
        }
        if self.view().is_some_and(|view| view.has(member)) {
            self.wakes_at = now;
        }
    }

    pub(crate) fn on_message(
        &mut self,
        now: Time,
        from: NodeId,
        message: Control,
        regions: &mut Regions,
    ) {
        match message {
            Control::Join(member) => self.on_join(now, member),
            Control::Leave(member) => self.on_leave(now, member),
            Control::Told(view, cut) => self.learn(now, from, Decision { view, cut }, regions),
            Control::Stand(candidate) => self.on_stand(from, candidate),
            Control::Vote(voter, candidate) => self.on_vote_to_found(voter, candidate),
            Control::GiveUp(candidate) => {
                if let Some(founding) = &mut self.founding {
                    founding.on_give_up(candidate);
                }
            }
            Control::Prepare(epoch, ballot, going) => {
                let Some(epoch) = self.present(from, epoch) else { return };
                let answer = match self.acceptor.prepare(ballot) {
                    Ok(accepted) => {
                        let forgets = self.config.plants(Mutation::ForgetAccepted);
                        let accepted = accepted.filter(|_| !forgets);
                        let holdings = regions.wedge(&going.into_iter().collect());
                        Control::Promise(epoch, ballot, accepted, holdings)
                    }
                    Err(promised) => Control::Outbid(epoch, promised),
                };
                self.wakes_at = self.wakes_at.min(now + WEDGED);
                self.out.push((from, answer));
            }
            Control::Gather(epoch, ballot, ends) => {
                if self.present(from, epoch).is_some() {
                    self.gathering = Some((from, ballot, ends));
                    self.on_progress(now, regions);
                }
            }
            Control::Gathered(epoch, ballot) => {
                if self.present(from, epoch).is_some() {
                    self.on_vote(now, ballot, |attempt| attempt.on_gathered(from), regions);
                }
            }
            Control::Accept(epoch, ballot, value) => {
                let Some(epoch) = self.present(from, epoch) else { return };
                let answer = match self.acceptor.accept(ballot, value) {
                    Ok(()) => Control::Accepted(epoch, ballot),
                    Err(promised) => Control::Outbid(epoch, promised),
                };
                self.out.push((from, answer));
            }
            Control::Promise(epoch, ballot, accepted, holdings) => {
                if self.present(from, epoch).is_some() {
                    let vote = |it: &mut Attempt| it.on_promise(from, accepted, holdings);
                    self.on_vote(now, ballot, vote, regions);
                }
            }
            Control::Accepted(epoch, ballot) => {
                if self.present(from, epoch).is_some() {
                    self.on_vote(now, ballot, |attempt| attempt.on_accepted(from), regions);
                }
            }
            Control::Outbid(epoch, promised) => {
                if self.present(from, epoch).is_some() {
                    self.on_outbid(now, promised);
                }
            }
            // Of state, which is no business of the configuration.
            Control::Pull(..) | Control::Chunk(_) | Control::Lacking(_) => {}
        }
    }

    /// Frames have come in: goes on with whatever waited for them.
    pub(crate) fn on_progress(&mut self, now: Time, regions: &mut Regions) {
        let Some(view) = self.view().cloned() else { return };
        if let Some((from, ballot, ends)) = self.gathering.take() {
            match self.acceptor.follow(ballot) {
                Err(promised) => self.out.push((from, Control::Outbid(view.epoch, promised))),
                Ok(()) if self.gathers(&ends, &view, regions) => {
                    self.out.push((from, Control::Gathered(view.epoch, ballot)));
                }
                Ok(()) => self.gathering = Some((from, ballot, ends)),
            }
        }
        self.advance(now, &view, regions);
    }

    /// Sees to it that this member holds all that its regions end with. Tells whether it does.
    fn gathers(&self, ends: &Ends, view: &View, regions: &mut Regions) -> bool {
        regions.gather(ends, view) || self.config.plants(Mutation::SkipRepair)
    }

    pub(crate) fn next_wake(&self) -> Option<Time> {
        (self.wish != Wish::Nothing).then_some(self.wakes_at)
    }

    pub(crate) fn on_wake(&mut self, now: Time, regions: &mut Regions) {
        if self.wish == Wish::Nothing || self.wakes_at > now {
            return;
        }
        let Some(view) = self.view().cloned() else {
            self.ask_in();
            self.wakes_at = now + ASK;
            return;
        };
        if self.is_leader(&view) {
            self.lead(now, &view, regions);
        } else {
            self.attempt = None;
            self.follow(&view);
        }
        let Some(view) = self.view().cloned() else { return };
        let is_busy = self.needs_change(&view, regions) || self.acceptor.is_wedged();
        self.wakes_at = now + if is_busy { TICK } else { TELL };
    }

    /// Tells a node the last view that this one knows.
    fn tell(&mut self, node: NodeId) {
        if let Some(Decision { view, cut }) = self.latest().cloned() {
            self.out.push((node, Control::Told(view, cut)));
        }
    }

    /// A follower's turn: what the leader may not know is said again, and if a change does not come
    /// to its end somebody else is asked whether it did.
    fn follow(&mut self, view: &View) {
        let leader = self.leader(view);
        if self.is_amiss(view) || !self.leaving.is_empty() {
            // A leader that did not hear of this view leads in none.
            self.tell(leader);
        }
        let joins = self.joining.values().map(|member| Control::Join(*member));
        let leaves = self.leaving.iter().map(|member| Control::Leave(*member));
        self.out.extend(joins.chain(leaves).map(|message| (leader, message)));
        if self.acceptor.is_wedged() {
            let others = view.members.iter().filter(|member| **member != self.me);
            if let Some(other) = others.choose(&mut self.rng) {
                let is_leaving = self.wish == Wish::Out;
                let ask = if is_leaving { Control::Leave } else { Control::Join };
                self.out.push((other.node, ask(self.me)));
            }
        }
    }

    /// Outside: asks somebody to be let in; and if there may be no cluster yet, to elect it.
    fn ask_in(&mut self) {
        if self.wish != Wish::In {
            return;
        }
        if let Some(node) = self.peers.any(&mut self.rng) {
            self.out.push((node, Control::Join(self.me)));
        }
        let founding = self.founding.as_mut().filter(|_| self.past.is_none());
        if let Some(stand) = founding.and_then(|founding| founding.stand(&self.peers)) {
            let others = self.peers.nodes().map(|node| (node, stand.clone()));
            self.out.extend(others);
            // It may expect nobody but itself.
            self.on_vote_to_found(self.me, self.me);
        }
    }

    fn on_stand(&mut self, from: NodeId, candidate: Member) {
        if self.latest().is_some() {
            self.tell(candidate.node);
            return;
        }
        let Some(founding) = self.founding.as_mut().filter(|_| self.wish == Wish::In) else {
            return;
        };
        if candidate == self.me {
            return;
        }
        let answer = founding.on_stand(candidate, &self.peers);
        if from != candidate.node && !founding.stands() {
            // It was passed on by one who still holds to this node.
            self.out.push((from, Control::GiveUp(self.me)));
        }
        match answer {
            Answer::Vote => {}
            Answer::GiveUp => {
                let give_up = Control::GiveUp(self.me);
                self.out.extend(self.peers.nodes().map(|node| (node, give_up.clone())));
            }
            Answer::Pass(vote) => {
                if vote.node != from && vote != self.me {
                    self.out.push((vote.node, Control::Stand(candidate)));
                }
                return;
            }
        }
        self.out.push((candidate.node, Control::Vote(self.me, candidate)));
    }

    fn on_vote_to_found(&mut self, voter: Member, candidate: Member) {
        if self.latest().is_some() {
            self.tell(voter.node);
            return;
        }
        let founding = self.founding.as_mut().filter(|_| self.wish == Wish::In);
        if let Some(members) = founding.and_then(|it| it.on_vote(voter, candidate, &self.peers)) {
            self.found(members);
        }
    }

    fn on_join(&mut self, now: Time, member: Member) {
        let Some(latest) = self.latest().filter(|_| member != self.me) else { return };
        let is_in = latest.view.has(member);
        // It may be in, or have been removed, without knowing.
        self.tell(member.node);
        if !is_in && self.view.is_some() && self.joining.len() < JOINING_MAX {
            self.joining.insert(member.node, member);
            self.wakes_at = self.wakes_at.min(now + TICK);
        }
    }

    fn on_leave(&mut self, now: Time, member: Member) {
        let Some(latest) = self.latest() else { return };
        if !latest.view.has(member) {
            self.tell(member.node);
        } else if self.view.is_some() {
            self.leaving.insert(member);
            self.wakes_at = self.wakes_at.min(now + TICK);
        }
    }

    /// Says whether a message is about the present view, and from one of its members; whoever is
    /// behind is told.
    fn present(&mut self, from: NodeId, epoch: Epoch) -> Option<Epoch> {
        let latest = &self.latest()?.view;
        if self.view.is_some() && latest.epoch == epoch {
            return is_in(latest, from).then_some(epoch);
        }
        if latest.epoch.cluster == epoch.cluster && latest.epoch.number > epoch.number {
            self.tell(from);
        }
        None
    }

    /// The last view that this node knows of, in it or not.
    fn latest(&self) -> Option<&Decision> {
        self.view.as_ref().or(self.past.as_ref())
    }

    /// Takes in a view that was decided.
    fn learn(&mut self, now: Time, from: NodeId, told: Decision, regions: &Regions) {
        let before = self.latest().map(|latest| latest.view.epoch);
        let epoch = told.view.epoch;
        if before.is_some_and(|before| before.cluster != epoch.cluster) {
            self.on_foreign(epoch.cluster, from);
            return;
        }
        if before.is_some_and(|before| before.number >= epoch.number) {
            return;
        }
        self.wakes_at = now;
        let is_in = told.view.has(self.me);
        if let Some(present) = self.view() {
            let follows = present.epoch.number + 1 == epoch.number;
            let Decision { view, cut } = &told;
            let skips_repair = self.config.plants(Mutation::SkipRepair);
            let may_end = || regions.admit(view, cut) && (skips_repair || regions.hold(view, cut));
            if follows && is_in && may_end() {
                self.install(told);
                return;
            }
            self.step_out();
        }
        if is_in && self.wish != Wish::Nothing {
            self.install(told);
        } else if self.wish != Wish::Nothing {
            self.past = Some(told);
        }
    }

    /// Another cluster was founded apart from this one.
    fn on_foreign(&mut self, cluster: ClusterId, from: NodeId) {
        if self.foreign.len() < FOREIGN_MAX && self.foreign.insert(cluster) {
            self.news.push(News::Foreign(cluster, from));
        }
    }

    fn step_out(&mut self) {
        self.view = None;
        self.attempt = None;
        self.gathering = None;
        self.joining.clear();
        self.news.push(News::Outside);
    }

    fn install(&mut self, decision: Decision) {
        let view = &decision.view;
        assert!(view.has(self.me), "a member is in its own views");
        self.acceptor = Acceptor::default();
        self.past = None;
        self.attempt = None;
        self.gathering = None;
        self.slow.clear();
        self.stuck.clear();
        self.in_vain = 0;
        self.rounds = 0;
        self.joining.retain(|_, member| !view.has(*member));
        self.leaving.retain(|member| view.has(*member));
        self.news.push(News::Installed(decision.clone()));
        self.view = Some(decision);
    }

    fn joiners(&self) -> impl Iterator<Item = Member> {
        self.joining.values().copied().filter(|member| self.peers.is_known(*member))
    }

    /// Whether another view is wanted. Nobody is let go by a member that does not know the group
    /// map: it may be the one who leaves that it is to be had from.
    fn needs_change(&self, view: &View, regions: &Regions) -> bool {
        let leaves = regions.has_map() && view.members.iter().any(|m| self.leaving.contains(m));
        leaves || self.is_amiss(view)
    }

    /// Whether somebody is in who is gone, or out who asked to be let in.
    fn is_amiss(&self, view: &View) -> bool {
        let is_gone = |member: &Member| !self.peers.is_up(*member);
        view.members.iter().any(is_gone) || self.joiners().any(|member| !view.has(member))
    }

    /// Whether this node is in a view most of whose members it believes gone.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.view().is_some_and(|view| !self.believes_in_quorum(view))
    }

    /// Whether a quorum is believed up. Who was cut off comes back with old suspicions; if it led a
    /// change then, it would leave out those who just promised to follow.
    fn believes_in_quorum(&self, view: &View) -> bool {
        let is_up = |member: &&Member| self.peers.is_up(**member);
        let up: BTreeSet<NodeId> =
            view.members.iter().filter(is_up).map(|member| member.node).collect();
        self.is_quorum(view, |node| up.contains(&node))
    }

    fn is_quorum(&self, view: &View, nodes: impl Fn(NodeId) -> bool) -> bool {
        match self.config.mutation {
            Some(Mutation::MinorityView) => true,
            _ => view.is_quorum(nodes),
        }
    }

    fn is_leader(&self, view: &View) -> bool {
        self.leader(view) == self.me.node
    }

    /// The most senior member that is up and stays: whoever decides on a view should be there to
    /// tell of it. If all leave, the most senior of them.
    fn leader(&self, view: &View) -> NodeId {
        let seniors = || view.members.iter().filter(|member| self.peers.is_up(**member));
        let stays = seniors().find(|member| !self.leaving.contains(*member));
        stays.or_else(|| seniors().next()).map_or(self.me.node, |leader| leader.node)
    }

    fn others(&self, view: &View) -> Vec<NodeId> {
        let others = view.members.iter().filter(|member| **member != self.me);
        others.map(|member| member.node).collect()
    }
}

fn is_in(view: &View, node: NodeId) -> bool {
    view.members.iter().any(|member| member.node == node)
}

/// How often somebody who waits for a change does something about it.
const TICK: Duration = Duration::from_millis(100);
/// How often an outsider asks to be let in.
const ASK: Duration = Duration::from_millis(300);
/// How often the leader tells an outsider the present view.
const TELL: Duration = Duration::from_secs(1);
/// How long a member that promised waits before it asks what became of it.
const WEDGED: Duration = Duration::from_millis(500);
/// How many other clusters a node tells of.
const FOREIGN_MAX: usize = 16;
/// The most that wait to be let in, as one member knows of.
const JOINING_MAX: usize = 1_024;
