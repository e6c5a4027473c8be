//! The configuration: which view this member is in, and how it gets to the next.
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

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use live_objects::{ClusterId, Epoch, Member, NodeId, Rng, Time, View};
use rand::RngExt;
use rand::seq::IteratorRandom;

use crate::change::{Acceptor, Attempt};
use crate::config::{Config, Mutation};
use crate::control::{Ballot, Control, MEMBERS_MAX};

/// What a member hears from its configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Installed(View),
    Outside,
}

/// A node's part in the configuration.
pub(crate) struct Configuration {
    me: Member,
    config: Config,
    rng: Rng,
    wish: Wish,
    /// The view this node is in.
    view: Option<View>,
    /// The last view that this node heard of while it is in none. Those who are in it may not have
    /// heard of it themselves, if whoever decided it left or died.
    past: Option<View>,
    acceptor: Acceptor,
    attempt: Option<Attempt>,
    /// Before then no new attempt is made.
    rests_until: Time,
    /// The highest round that anybody was heard to have promised.
    rounds: u32,
    /// Whom the failure detector believes up, and whom it has given up: the last of them in order,
    /// whether or not they are in the view, since a view that is yet to come may hold them.
    up: BTreeMap<NodeId, Member>,
    gone: BTreeSet<Member>,
    gone_in_order: VecDeque<Member>,
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
            attempt: None,
            rests_until: Time::ZERO,
            rounds: 0,
            up: BTreeMap::new(),
            gone: BTreeSet::new(),
            gone_in_order: VecDeque::new(),
            joining: BTreeMap::new(),
            leaving: BTreeSet::new(),
            wakes_at: Time::ZERO,
            tells_at: Time::ZERO,
            out: Vec::new(),
            news: Vec::new(),
        }
    }

    pub(crate) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// This node wants to be in.
    pub(crate) fn enter(&mut self, now: Time) {
        if self.wish != Wish::Nothing {
            return;
        }
        self.wish = Wish::In;
        self.wakes_at = now;
        if self.config.found && self.past.is_none() {
            let cluster = ClusterId::from_bytes(self.rng.random());
            self.install(View { epoch: Epoch { cluster, number: 1 }, members: vec![self.me] });
        }
    }

    /// This node wants to be out.
    pub(crate) fn leave(&mut self, now: Time) {
        self.wish = Wish::Out;
        self.wakes_at = now;
        self.leaving.insert(self.me);
    }

    /// Whether nobody counts on this node.
    pub(crate) fn is_out(&self) -> bool {
        self.view.as_ref().is_none_or(|view| view.members == [self.me])
    }

    pub(crate) fn on_alive(&mut self, now: Time, member: Member) {
        if self.gone.remove(&member) {
            self.gone_in_order.retain(|gone| *gone != member);
        }
        self.up.insert(member.node, member);
        self.wakes_at = self.wakes_at.min(now + TICK);
    }

    pub(crate) fn on_gone(&mut self, now: Time, member: Member) {
        if self.up.get(&member.node) == Some(&member) {
            self.up.remove(&member.node);
        }
        if self.joining.get(&member.node) == Some(&member) {
            self.joining.remove(&member.node);
        }
        if self.gone.insert(member) {
            self.gone_in_order.push_back(member);
        }
        if self.gone_in_order.len() > GONE_MAX {
            let forgotten = self.gone_in_order.pop_front().expect("more than none");
            self.gone.remove(&forgotten);
        }
        if self.view.as_ref().is_some_and(|view| view.has(member)) {
            self.wakes_at = now;
        }
    }

    pub(crate) fn on_message(&mut self, now: Time, from: NodeId, message: Control) {
        match message {
            Control::Join(member) => self.on_join(now, member),
            Control::Leave(member) => self.on_leave(now, member),
            Control::Told(view) => self.learn(now, view),
            Control::Prepare(epoch, ballot) => {
                let Some(epoch) = self.present(from, epoch) else { return };
                let answer = match self.acceptor.prepare(ballot) {
                    Ok(accepted) => Control::Promise(epoch, ballot, accepted),
                    Err(promised) => Control::Outbid(epoch, promised),
                };
                self.wakes_at = self.wakes_at.min(now + WEDGED);
                self.out.push((from, answer));
            }
            Control::Accept(epoch, ballot, members) => {
                let Some(epoch) = self.present(from, epoch) else { return };
                let answer = match self.acceptor.accept(ballot, members) {
                    Ok(()) => Control::Accepted(epoch, ballot),
                    Err(promised) => Control::Outbid(epoch, promised),
                };
                self.out.push((from, answer));
            }
            Control::Promise(epoch, ballot, accepted) => {
                if self.present(from, epoch).is_some() {
                    self.on_vote(now, ballot, |attempt| attempt.on_promise(from, accepted));
                }
            }
            Control::Accepted(epoch, ballot) => {
                if self.present(from, epoch).is_some() {
                    self.on_vote(now, ballot, |attempt| attempt.on_accepted(from));
                }
            }
            Control::Outbid(epoch, promised) => {
                if self.present(from, epoch).is_some() {
                    self.on_outbid(now, promised);
                }
            }
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Time> {
        (self.wish != Wish::Nothing).then_some(self.wakes_at)
    }

    pub(crate) fn on_wake(&mut self, now: Time) {
        if self.wish == Wish::Nothing || self.wakes_at > now {
            return;
        }
        let Some(view) = self.view.clone() else {
            self.ask_in();
            self.wakes_at = now + ASK;
            return;
        };
        if self.is_leader(&view) {
            self.lead(now, &view);
        } else {
            self.attempt = None;
            self.follow(&view);
        }
        let is_busy = self.needs_change(&view) || self.acceptor.is_wedged();
        self.wakes_at = now + if is_busy { TICK } else { TELL };
    }

    /// The leader's turn: begins a change if one is needed, drives the one under way, tells
    /// outsiders.
    fn lead(&mut self, now: Time, view: &View) {
        let needs = self.needs_change(view) || self.acceptor.is_wedged();
        let may_begin = now >= self.rests_until && self.believes_in_quorum(view);
        if self.attempt.is_none() && needs && may_begin {
            self.begin(now, view);
        }
        self.advance(now, view);
        self.repeat(view);
        if now >= self.tells_at {
            self.tells_at = now + TELL;
            let outsiders = self.up.keys().filter(|node| !is_in(view, **node));
            if let Some(node) = outsiders.choose(&mut self.rng).copied() {
                self.out.push((node, Control::Told(view.clone())));
            }
        }
    }

    /// A follower's turn: what the leader may not know is said again, and if a change does not come
    /// to its end somebody else is asked whether it did.
    fn follow(&mut self, view: &View) {
        let leader = self.leader(view);
        if self.needs_change(view) {
            // A leader that did not hear of this view leads in none.
            self.out.push((leader, Control::Told(view.clone())));
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

    /// Outside: asks somebody to be let in.
    fn ask_in(&mut self) {
        if self.wish == Wish::In
            && let Some(node) = self.up.keys().copied().choose(&mut self.rng)
        {
            self.out.push((node, Control::Join(self.me)));
        }
    }

    fn on_join(&mut self, now: Time, member: Member) {
        let Some(latest) = self.latest().cloned().filter(|_| member != self.me) else { return };
        let is_in = latest.has(member);
        // It may be in, or have been removed, without knowing.
        self.out.push((member.node, Control::Told(latest)));
        if !is_in && self.view.is_some() && self.joining.len() < JOINING_MAX {
            self.joining.insert(member.node, member);
            self.wakes_at = self.wakes_at.min(now + TICK);
        }
    }

    fn on_leave(&mut self, now: Time, member: Member) {
        let Some(latest) = self.latest().cloned() else { return };
        if !latest.has(member) {
            self.out.push((member.node, Control::Told(latest)));
        } else if self.view.is_some() {
            self.leaving.insert(member);
            self.wakes_at = self.wakes_at.min(now + TICK);
        }
    }

    /// Says whether a message is about the present view, and from one of its members; whoever is
    /// behind is told.
    fn present(&mut self, from: NodeId, epoch: Epoch) -> Option<Epoch> {
        let latest = self.latest()?;
        if self.view.is_some() && latest.epoch == epoch {
            return is_in(latest, from).then_some(epoch);
        }
        if latest.epoch.cluster == epoch.cluster && latest.epoch.number > epoch.number {
            self.out.push((from, Control::Told(latest.clone())));
        }
        None
    }

    /// The last view that this node knows of, in it or not.
    fn latest(&self) -> Option<&View> {
        self.view.as_ref().or(self.past.as_ref())
    }

    fn on_vote(&mut self, now: Time, ballot: Ballot, vote: impl FnOnce(&mut Attempt)) {
        let Some(view) = self.view.clone() else { return };
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.ballot == ballot) {
            vote(attempt);
            self.advance(now, &view);
        }
    }

    fn on_outbid(&mut self, now: Time, promised: Ballot) {
        self.rounds = self.rounds.max(promised.round);
        if self.attempt.take_if(|attempt| attempt.ballot < promised).is_some() {
            // Two leaders that outbid each other in step would do so for ever.
            self.rests_until = now + TICK.mul_f64(self.rng.random_range(1.0..8.0));
        }
    }

    fn begin(&mut self, now: Time, view: &View) {
        let round = self.acceptor.next_round().max(self.rounds.saturating_add(1));
        let ballot = Ballot { round, leader: self.me.node };
        let accepted = self.acceptor.prepare(ballot).expect("the highest round of all");
        let mut attempt = Attempt::new(ballot, now);
        attempt.on_promise(self.me.node, accepted);
        self.attempt = Some(attempt);
        assert!(view.has(self.me), "a member is in its view");
    }

    /// Proposes when enough have promised, decides when enough have accepted.
    fn advance(&mut self, now: Time, view: &View) {
        let Some(mut attempt) = self.attempt.take() else { return };
        if attempt.proposed().is_none() && self.may_propose(now, view, &attempt) {
            let members = attempt.propose(view, |promised| self.wished(promised));
            if self.acceptor.accept(attempt.ballot, members.clone()).is_ok() {
                attempt.on_accepted(self.me.node);
            }
            for other in self.others(view) {
                let members = members.clone();
                self.out.push((other, Control::Accept(view.epoch, attempt.ballot, members)));
            }
        }
        match attempt.proposed() {
            Some(members) if self.is_quorum(view, |node| attempt.has_accepted(node)) => {
                let members = members.clone();
                self.decide(now, view, members);
            }
            _ => self.attempt = Some(attempt),
        }
    }

    /// Says again what was not answered.
    fn repeat(&mut self, view: &View) {
        let Some(attempt) = &self.attempt else { return };
        for other in self.others(view) {
            let message = match attempt.proposed() {
                None if !attempt.has_promised(other) => {
                    Control::Prepare(view.epoch, attempt.ballot)
                }
                Some(members) if !attempt.has_accepted(other) => {
                    Control::Accept(view.epoch, attempt.ballot, members.clone())
                }
                _ => continue,
            };
            // It cannot answer before it has the view that is to be changed.
            self.out.push((other, Control::Told(view.clone())));
            self.out.push((other, message));
        }
    }

    fn decide(&mut self, now: Time, view: &View, members: Vec<Member>) {
        let number = view.epoch.number + 1;
        let next = View { epoch: Epoch { number, ..view.epoch }, members };
        let both: BTreeSet<NodeId> =
            view.members.iter().chain(&next.members).map(|member| member.node).collect();
        for node in both.into_iter().filter(|node| *node != self.me.node) {
            self.out.push((node, Control::Told(next.clone())));
        }
        self.learn(now, next);
    }

    /// Takes in a view that was decided.
    fn learn(&mut self, now: Time, told: View) {
        let before = self.latest().map(|view| view.epoch);
        let is_later = before.is_none_or(|before| {
            before.cluster == told.epoch.cluster && before.number < told.epoch.number
        });
        if !is_later {
            return;
        }
        let skipped = before.is_some_and(|before| before.number + 1 < told.epoch.number);
        if self.view.is_some() && (skipped || !told.has(self.me)) {
            self.step_out();
        }
        if told.has(self.me) && self.wish != Wish::Nothing {
            self.past = None;
            self.install(told);
        } else if self.wish != Wish::Nothing {
            self.past = Some(told);
        }
        self.wakes_at = now;
    }

    fn step_out(&mut self) {
        self.view = None;
        self.attempt = None;
        self.joining.clear();
        self.news.push(News::Outside);
    }

    fn install(&mut self, view: View) {
        assert!(view.has(self.me), "a member is in its own views");
        self.acceptor = Acceptor::default();
        self.attempt = None;
        self.rounds = 0;
        self.joining.retain(|_, member| !view.has(*member));
        self.leaving.retain(|member| view.has(*member));
        self.news.push(News::Installed(view.clone()));
        self.view = Some(view);
    }

    /// Those who promised and are neither leaving nor gone, then the joiners.
    fn wished(&self, promised: Vec<Member>) -> Vec<Member> {
        let stays = |member: &Member| self.is_up(*member) && !self.leaving.contains(member);
        let mut members: Vec<Member> = promised.into_iter().filter(stays).collect();
        for joiner in self.joiners() {
            let is_new = members.iter().all(|member| member.node != joiner.node);
            if is_new && members.len() < MEMBERS_MAX {
                members.push(joiner);
            }
        }
        members
    }

    fn joiners(&self) -> impl Iterator<Item = Member> {
        let is_up = |member: &Member| self.up.get(&member.node) == Some(member);
        self.joining.values().copied().filter(is_up)
    }

    fn needs_change(&self, view: &View) -> bool {
        let is_lost = |member: &Member| !self.is_up(*member) || self.leaving.contains(member);
        view.members.iter().any(is_lost) || self.joiners().any(|member| !view.has(member))
    }

    /// A quorum has promised, and so has everybody else who is believed up, or it took too long.
    fn may_propose(&self, now: Time, view: &View, attempt: &Attempt) -> bool {
        let has_promised = |node| attempt.has_promised(node);
        let mut awaited = view.members.iter().filter(|member| self.is_up(**member));
        let waited = now >= attempt.began + PATIENCE;
        self.believes_in_quorum(view)
            && self.is_quorum(view, has_promised)
            && (waited || awaited.all(|m| has_promised(m.node)))
    }

    /// Whether a quorum is believed up. Who was cut off comes back with old suspicions; if it led a
    /// change then, it would leave out those who just promised to follow.
    fn believes_in_quorum(&self, view: &View) -> bool {
        let is_up = |member: &&Member| self.is_up(**member);
        let up: BTreeSet<NodeId> =
            view.members.iter().filter(is_up).map(|member| member.node).collect();
        self.is_quorum(view, |node| up.contains(&node))
    }

    fn is_quorum(&self, view: &View, nodes: impl Fn(NodeId) -> bool) -> bool {
        match self.config.mutation {
            Some(Mutation::MinorityView) => true,
            None => view.is_quorum(nodes),
        }
    }

    fn is_leader(&self, view: &View) -> bool {
        self.leader(view) == self.me.node
    }

    /// The most senior member that is up and stays: whoever decides on a view should be there to
    /// tell of it. If all leave, the most senior of them.
    fn leader(&self, view: &View) -> NodeId {
        let seniors = || view.members.iter().filter(|member| self.is_up(**member));
        let stays = seniors().find(|member| !self.leaving.contains(*member));
        stays.or_else(|| seniors().next()).map_or(self.me.node, |leader| leader.node)
    }

    /// Not given up, nor known to have started again. Whoever was not heard of yet is trusted.
    fn is_up(&self, member: Member) -> bool {
        let is_replaced = self.up.get(&member.node).is_some_and(|up| *up != member);
        member == self.me || !is_replaced && !self.gone.contains(&member)
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
/// How long a leader waits for members beyond a quorum.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many that are gone are remembered.
const GONE_MAX: usize = 1_024;
/// The most that wait to be let in, as one member knows of.
const JOINING_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use live_objects::Incarnation;

    fn member(number: usize) -> Member {
        let node = NodeId::from_public_key(&number.to_be_bytes());
        Member { node, incarnation: Incarnation::from_bytes([1; Incarnation::LEN]) }
    }

    /// Member 0, who founded a cluster.
    fn founder() -> Configuration {
        let config = Config { found: true, mutation: None };
        let mut founder = Configuration::new(member(0), config, Rng::from_seed([7; 32]));
        founder.enter(Time::ZERO);
        founder
    }

    #[test]
    fn a_stranger_wedges_nobody() {
        let mut founder = founder();
        let epoch = founder.view().expect("it founded").epoch;
        let stranger = member(1).node;
        let ballot = Ballot { round: 9, leader: stranger };
        founder.on_message(Time::ZERO, stranger, Control::Prepare(epoch, ballot));
        founder.on_message(Time::ZERO, stranger, Control::Accept(epoch, ballot, vec![]));
        assert!(!founder.acceptor.is_wedged());
        assert_eq!(founder.out, []);
    }

    #[test]
    fn a_view_of_another_cluster_is_not_taken_in() {
        let mut founder = founder();
        let epoch = Epoch { cluster: ClusterId::from_bytes([0; 16]), number: 99 };
        let view = View { epoch, members: vec![member(0), member(1)] };
        founder.on_message(Time::ZERO, member(1).node, Control::Told(view));
        assert_eq!(founder.view().expect("its own").members, [member(0)]);
    }

    #[test]
    fn those_who_wait_to_be_let_in_are_bounded() {
        let mut founder = founder();
        for number in 1..=JOINING_MAX + 1 {
            let joiner = member(number);
            founder.on_message(Time::ZERO, joiner.node, Control::Join(joiner));
        }
        assert_eq!(founder.joining.len(), JOINING_MAX);
    }

    /// The failure detector may be faster than a view: who is gone before it is let in is let out.
    #[test]
    fn a_member_that_was_gone_before_its_view_came_is_not_trusted() {
        let mut founder = founder();
        let epoch = founder.view().expect("it founded").epoch;
        founder.on_gone(Time::ZERO, member(1));
        let view =
            View { epoch: Epoch { number: 2, ..epoch }, members: vec![member(0), member(1)] };
        founder.on_message(Time::ZERO, member(1).node, Control::Told(view.clone()));
        assert_eq!(founder.view(), Some(&view));
        assert!(founder.needs_change(&view));
    }

    #[test]
    fn those_who_are_gone_are_remembered_up_to_a_number() {
        let mut founder = founder();
        (1..=GONE_MAX + 1).for_each(|number| founder.on_gone(Time::ZERO, member(number)));
        assert_eq!((founder.gone.len(), founder.gone_in_order.len()), (GONE_MAX, GONE_MAX));
        assert!(!founder.gone.contains(&member(1)), "the first is forgotten first");
        founder.on_alive(Time::ZERO, member(2));
        assert_eq!((founder.gone.len(), founder.gone_in_order.len()), (GONE_MAX - 1, GONE_MAX - 1));
    }

    #[test]
    fn a_view_holds_no_more_than_it_may() {
        let mut founder = founder();
        for number in 1..=MEMBERS_MAX {
            let joiner = member(number);
            founder.on_alive(Time::ZERO, joiner);
            founder.on_message(Time::ZERO, joiner.node, Control::Join(joiner));
        }
        founder.on_wake(Time::ZERO);
        assert_eq!(founder.view().expect("it leads").members.len(), MEMBERS_MAX);
    }
}
