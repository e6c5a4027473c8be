//! Long messages: which payloads are announced here, which are pulled, and from whom; which are
//! kept, and given to whom.
//!
//! What is too long for a packet is announced along the broadcast tree (`news`), and whoever holds
//! its topic *pulls* the payload from whoever announced it, over their link. So the payload takes
//! the way that the announcement took, and crosses each branch once; who passes announcements on
//! and does not hold the topic pulls a payload as soon as somebody below asks for it, and not
//! otherwise. (Plumtree, SRDS 2007, section 3.4, tells by IHAVE what is pulled by GRAFT, to spare
//! copies; the draft of GossipSub v2.0 does so on the tree itself, by IANNOUNCE and INEED, which
//! "guarantees that each node will receive exactly one copy". Where IWANT goes to whoever says that
//! he has a message that is still under way, it comes several times.)
//!
//! Here one is asked at a time: first whoever announced it, who says *later* as long as it has not
//! got all of it itself. If that one is gone, brings hardly anything, or has it not, another is
//! asked for the rest: whoever else told that it has it, then the origin. Those must have it
//! already, so that no two wait for each other. What is given on was checked against the hash
//! before (store and forward: the tree is two or three hops high, and nobody passes on a lie). If
//! the whole is not what was announced, those who gave it are not asked for it again.
//!
//! What comes too slowly to be whole in its life gives way while others wait, and waits behind
//! them: who announced it here only passed that on, and whoever makes up origins and announces in
//! all their names what never comes must not have all the room.
//!
//! Invariants: at most [`PAYLOADS_MAX`] are known of, and one of this node's own; [`PULLS_MAX`] of
//! them are pulled at a time and [`PULLED_LEN_MAX`] bytes in all, a quarter of that of what one
//! announced or says to have said; those kept are at most [`KEPT_LEN_MAX`] long together. None is
//! known for longer than [`LIFE_PERIODS`] and the [`WAITED_PERIODS_MAX`] that it may have waited
//! for room, so that no announcement is new twice in the life of a payload.

mod gives;
mod parts;
mod pull;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use live_objects::{NodeId, Time};

use self::gives::Gives;
pub(crate) use self::gives::PIECE_LEN_MAX;
use self::parts::{Parts, Share};
use self::pull::Pull;
pub(crate) use self::pull::{Accepts, Ask};
use crate::news::{Announcement, MessageId, Topic};

/// The payloads of which this node knows.
pub(crate) struct Payloads {
    period: Duration,
    now: Time,
    all: BTreeMap<MessageId, Payload>,
    /// Those that wait for room to be pulled, the first first.
    wanted: VecDeque<MessageId>,
    pulled: BTreeSet<MessageId>,
    gives: Gives,
}

struct Payload {
    topic: Topic,
    announcement: Announcement,
    /// Who announced it here first; nobody did if it is this node's own.
    teller: Option<NodeId>,
    heard_at: Time,
    /// For how many periods it waited for room, as far as that counts.
    waited: u32,
    /// When it was last of use to anybody.
    used_at: Time,
    /// Who is to get it as soon as it is here, and from where on.
    waiting: BTreeMap<NodeId, usize>,
    /// How many bytes of it each got.
    given: BTreeMap<NodeId, usize>,
    stage: Stage,
}

enum Stage {
    /// Nobody asked for it.
    Announced,
    /// There is no room to pull it yet.
    Wanted,
    Pulled(Pull),
    Kept(Bytes),
}

/// What is answered to whoever needs a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// Pieces of it are on their way.
    Pieces,
    /// It is to come.
    Later,
    /// Ask somebody else.
    Lacking,
}

/// What became of a piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// More is to come.
    Part,
    /// Nobody asked this one for it, or it is here already.
    Unasked,
    /// The supplier says what cannot be: somebody else is asked.
    Amiss,
    /// All of it came, and it is not what was announced.
    Wrong,
    Whole(Topic, Bytes),
}

/// Those who wait for a payload that will not come.
pub(crate) type Waiting = Vec<(NodeId, MessageId)>;

impl Payloads {
    pub(crate) fn new(period: Duration) -> Self {
        Self {
            period,
            now: Time::ZERO,
            all: BTreeMap::new(),
            wanted: VecDeque::new(),
            pulled: BTreeSet::new(),
            gives: Gives::default(),
        }
    }

    pub(crate) fn age(&mut self, now: Time) {
        self.now = now;
    }

    /// Whether the next round goes on with any.
    pub(crate) fn is_moving(&self) -> bool {
        !self.wanted.is_empty() || !self.pulled.is_empty() || !self.gives.is_empty()
    }

    /// How many bytes of the messages that this node said itself are being given.
    pub(crate) fn own_given_len(&self) -> usize {
        let given = self.gives.ids().filter_map(|id| self.all.get(&id));
        let own = |it: &&Payload| it.teller.is_none() && it.topic != Topic::METADATA;
        given.filter(own).map(|it| it.announcement.len()).sum()
    }

    /// A payload of this node's own. Those that gave way to it are told of.
    pub(crate) fn keep_own(
        &mut self,
        id: MessageId,
        (topic, announcement): (Topic, Announcement),
        bytes: Bytes,
    ) -> Waiting {
        let payload = self.payload(topic, announcement, None);
        let before = self.all.insert(id, Payload { stage: Stage::Kept(bytes), ..payload });
        assert!(before.is_none(), "what this node says has a number of its own");
        self.make_room(id)
    }

    /// Whether it is known of.
    pub(crate) fn has(&self, id: MessageId) -> bool {
        self.all.contains_key(&id)
    }

    /// The whole of it, if that is here already.
    pub(crate) fn whole(&self, id: MessageId) -> Option<Bytes> {
        match &self.all.get(&id)?.stage {
            Stage::Kept(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// A payload that is kept elsewhere as well, since somebody may need it.
    pub(crate) fn offer(
        &mut self,
        id: MessageId,
        (topic, announcement): (Topic, Announcement),
        bytes: Bytes,
    ) {
        if self.all.len() < PAYLOADS_MAX || self.let_go_of_one() {
            let payload = self.payload(topic, announcement, None);
            self.all.insert(id, Payload { stage: Stage::Kept(bytes), ..payload });
        }
    }

    /// Somebody announced a payload that was not announced before. Says whether there is room.
    #[must_use]
    pub(crate) fn announce(
        &mut self,
        id: MessageId,
        (topic, announcement): (Topic, Announcement),
        teller: NodeId,
    ) -> bool {
        let his = self.all.values().filter(|payload| payload.teller == Some(teller)).count();
        let is_known = self.all.contains_key(&id);
        let has_room = his < PAYLOADS_MAX / ONE_OF
            && (is_known || self.all.len() < PAYLOADS_MAX || self.let_go_of_one());
        if has_room && !is_known {
            let payload = self.payload(topic, announcement, Some(teller));
            self.all.insert(id, payload);
        }
        has_room
    }

    /// Of those that were announced and nobody wants, the one that was heard of first gives way, or
    /// whoever announces many would keep out all others. Says whether there was one.
    fn let_go_of_one(&mut self) -> bool {
        let is_idle = |payload: &Payload| {
            matches!(payload.stage, Stage::Announced) && payload.waiting.is_empty()
        };
        let idle = self.all.iter().filter(|(_, payload)| is_idle(payload));
        let first = idle.min_by_key(|(id, payload)| (payload.heard_at, **id)).map(|(id, _)| *id);
        first.is_some_and(|id| self.all.remove(&id).is_some())
    }

    fn payload(&self, topic: Topic, announcement: Announcement, teller: Option<NodeId>) -> Payload {
        Payload {
            topic,
            announcement,
            teller,
            heard_at: self.now,
            waited: 0,
            used_at: self.now,
            waiting: BTreeMap::new(),
            given: BTreeMap::new(),
            stage: Stage::Announced,
        }
    }

    /// Somebody here, or below, is to get it.
    pub(crate) fn want(&mut self, id: MessageId) {
        if let Some(payload) = self.all.get_mut(&id)
            && matches!(payload.stage, Stage::Announced)
        {
            payload.stage = Stage::Wanted;
            self.wanted.push_back(id);
            self.start_pulls();
        }
    }

    /// Pulls what is wanted, as far as there is room: of one teller, and of one origin, no more
    /// than its part.
    fn start_pulls(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let mut parts = self.parts();
        for id in std::mem::take(&mut self.wanted) {
            if parts.fits(&self.share(id)) {
                parts.add(&self.share(id));
                self.start_pull(id);
            } else {
                self.wanted.push_back(id);
            }
        }
    }

    fn start_pull(&mut self, id: MessageId) {
        let payload = self.all.get_mut(&id).expect("what is wanted is known of");
        let teller = payload.teller.expect("nobody wants what it said itself");
        payload.stage = Stage::Pulled(Pull::new(payload.announcement.len(), teller, self.now));
        self.pulled.insert(id);
    }

    /// What is slow gives way to what waits, and waits behind that. Says who is told so, since he
    /// is not asked any more.
    fn give_way(&mut self) -> Vec<(MessageId, Ask)> {
        let is_slow =
            |id: &&MessageId| matches!(&self.all[*id].stage, Stage::Pulled(pull) if pull.is_slow());
        let mut slow: Vec<MessageId> = self.pulled.iter().filter(is_slow).copied().collect();
        if slow.is_empty() || self.wanted.is_empty() {
            return Vec::new();
        }
        // Those first that were pulled for longest.
        slow.sort_by_key(|id| (self.all[id].heard_at, *id));
        let mut shares: Vec<Share> = slow.iter().map(|id| self.share(*id)).collect();
        let mut parts = self.parts();
        let mut asks = Vec::new();
        let mut behind = Vec::new();
        for id in std::mem::take(&mut self.wanted) {
            let Some(gone) = parts.replace(&self.share(id), &shares) else {
                self.wanted.push_back(id);
                continue;
            };
            self.start_pull(id);
            // From the last on, so that the places of the others stay.
            for place in gone.into_iter().rev() {
                shares.remove(place);
                let slow = slow.remove(place);
                let payload = self.all.get_mut(&slow).expect("what is pulled is known of");
                let before = std::mem::replace(&mut payload.stage, Stage::Wanted);
                let Stage::Pulled(pull) = before else { unreachable!("it is pulled") };
                asks.extend(pull.end().map(|ask| (slow, ask)));
                self.pulled.remove(&slow);
                behind.push(slow);
            }
        }
        self.wanted.extend(behind);
        asks
    }

    /// What all that is pulled takes.
    fn parts(&self) -> Parts {
        let mut parts = Parts::default();
        self.pulled.iter().for_each(|id| parts.add(&self.share(*id)));
        parts
    }

    fn share(&self, id: MessageId) -> Share {
        let Payload { announcement, teller, .. } = &self.all[&id];
        let teller = teller.expect("nobody wants what it said itself");
        Share { teller, origin: id.origin.node, len: announcement.len() }
    }

    /// Somebody else has it as well, or will.
    pub(crate) fn also_has(&mut self, id: MessageId, node: NodeId) {
        if let Some(pull) = self.pull(id) {
            pull.offer(node);
        }
    }

    /// Whom to ask for what is pulled from nobody just now.
    pub(crate) fn asks(&mut self, is_up: impl Fn(NodeId) -> bool) -> Vec<(MessageId, Ask)> {
        let (now, period) = (self.now, self.period);
        let mut asks = Vec::new();
        for id in &self.pulled {
            let payload = self.all.get_mut(id).expect("what is pulled is known of");
            let Stage::Pulled(pull) = &mut payload.stage else { unreachable!("it is pulled") };
            asks.extend(pull.ask(now, period, id.origin.node, &is_up).map(|ask| (*id, ask)));
        }
        asks
    }

    /// A round passed: who is asked and brings hardly anything is asked again, or given up, and
    /// told so, and what is slow gives way to what waits. What is known for too long, or was of no
    /// use for a while, is forgotten.
    pub(crate) fn on_round(&mut self) -> (Vec<(MessageId, Ask)>, Waiting) {
        let (now, period) = (self.now, self.period);
        let is_over = |payload: &Payload| {
            let is_idle = !matches!(payload.stage, Stage::Wanted | Stage::Pulled(_));
            payload.heard_at + period * (LIFE_PERIODS + payload.waited) <= now
                || is_idle && payload.used_at + period * KEEP_PERIODS <= now
        };
        let over = self.all.iter().filter(|(_, payload)| is_over(payload)).map(|(id, _)| *id);
        let over: Vec<MessageId> = over.collect();
        let waiting = over.into_iter().flat_map(|id| self.forget(id)).collect();
        let mut asks = Vec::new();
        for id in &self.pulled {
            let payload = self.all.get_mut(id).expect("what is pulled is known of");
            let Stage::Pulled(pull) = &mut payload.stage else { unreachable!("it is pulled") };
            asks.extend(pull.on_round(now, period).map(|ask| (*id, ask)));
        }
        for id in &self.wanted {
            let waited = &mut self.all.get_mut(id).expect("what is wanted is known of").waited;
            *waited = WAITED_PERIODS_MAX.min(*waited + 1);
        }
        self.start_pulls();
        asks.extend(self.give_way());
        (asks, waiting)
    }

    /// An ask found no room on its way: somebody is asked later.
    pub(crate) fn on_unsent(&mut self, id: MessageId, to: NodeId) {
        if let Some(pull) = self.pull(id) {
            pull.postpone(to);
        }
    }

    /// Whom this node asked will have it.
    pub(crate) fn on_later(&mut self, from: NodeId, id: MessageId) {
        let until = self.now + self.period * pull::PATIENCE_PERIODS;
        if let Some(pull) = self.pull(id) {
            pull.on_later(from, until);
        }
    }

    /// Whom this node asked has it not.
    pub(crate) fn on_lacking(&mut self, from: NodeId, id: MessageId) {
        let now = self.now;
        if let Some(pull) = self.pull(id) {
            pull.lose(from, now);
        }
    }

    /// The link to this peer is down: nothing is known of what was under way.
    pub(crate) fn on_link_down(&mut self, peer: NodeId) {
        let now = self.now;
        self.gives.end_all(peer);
        for payload in self.all.values_mut() {
            payload.waiting.remove(&peer);
            if let Stage::Pulled(pull) = &mut payload.stage {
                pull.on_link_down(peer, now);
            }
        }
    }

    /// A piece came.
    pub(crate) fn on_piece(
        &mut self,
        from: NodeId,
        id: MessageId,
        offset: usize,
        bytes: &[u8],
    ) -> Came {
        let now = self.now;
        let Some(pull) = self.pull(id) else { return Came::Unasked };
        let came = pull.on_piece(from, offset, bytes, now);
        if came != pull::Piece::Last {
            return match came {
                pull::Piece::Unasked => Came::Unasked,
                pull::Piece::Amiss => Came::Amiss,
                _ => Came::Part,
            };
        }
        let payload = self.all.get_mut(&id).expect("it is pulled");
        let Stage::Pulled(pull) = &mut payload.stage else { unreachable!("it was just seen") };
        if !payload.announcement.is_of(pull.bytes()) {
            pull.on_wrong(id.origin.node, now);
            return Came::Wrong;
        }
        let whole = Bytes::from(pull.take());
        payload.stage = Stage::Kept(whole.clone());
        payload.used_at = now;
        self.pulled.remove(&id);
        let topic = payload.topic;
        for (to, offset) in std::mem::take(&mut payload.waiting) {
            // Who finds no room asks again.
            let _ = self.gives.start(to, id, offset, now);
        }
        self.start_pulls();
        Came::Whole(topic, whole)
    }

    /// Whether this was asked for so often and was wrong that it is given up, and who waits for it.
    pub(crate) fn give_up(&mut self, id: MessageId) -> Option<Waiting> {
        let is_hopeless = self.pull(id).is_some_and(|pull| pull.is_hopeless());
        is_hopeless.then(|| self.forget(id))
    }

    /// Somebody needs a payload from `offset` on, and takes a `Later` or not. Who needs nothing of
    /// it gets no more.
    pub(crate) fn on_need(
        &mut self,
        from: NodeId,
        (id, offset): (MessageId, usize),
        accepts: Accepts,
    ) -> Option<Reply> {
        let now = self.now;
        let Some(payload) = self.all.get_mut(&id) else { return Some(Reply::Lacking) };
        if offset >= payload.announcement.len() {
            payload.waiting.remove(&from);
            self.gives.end(from, id);
            return None;
        }
        if let Stage::Kept(_) = payload.stage {
            let his = payload.given.get(&from).copied().unwrap_or(0);
            let has_room = payload.given.len() < RECEIVERS_MAX || his > 0;
            if !has_room || his >= payload.announcement.len() * GIVEN_MAX {
                return Some(Reply::Lacking);
            }
            payload.used_at = now;
            let is_given = self.gives.start(from, id, offset, now);
            return Some(if is_given { Reply::Pieces } else { Reply::Lacking });
        }
        let is_known = payload.waiting.contains_key(&from);
        let can_wait = accepts == Accepts::Later && payload.teller != Some(from);
        if !can_wait || !is_known && payload.waiting.len() >= WAITING_MAX {
            return Some(Reply::Lacking);
        }
        payload.waiting.insert(from, offset);
        self.want(id);
        Some(Reply::Later)
    }

    /// To whom something is to be given.
    pub(crate) fn receivers(&self) -> Vec<NodeId> {
        self.gives.receivers()
    }

    /// The next piece for this peer, of at most `len_max` bytes.
    pub(crate) fn next_piece(
        &mut self,
        to: NodeId,
        len_max: usize,
    ) -> Option<(MessageId, usize, Bytes)> {
        loop {
            let (id, offset) = self.gives.next(to)?;
            if let Some(Payload { stage: Stage::Kept(bytes), .. }) = self.all.get(&id) {
                let end = bytes.len().min(offset + len_max);
                return Some((id, offset, bytes.slice(offset..end)));
            }
            self.gives.end(to, id);
        }
    }

    /// This piece is on its way.
    pub(crate) fn on_given(&mut self, to: NodeId, id: MessageId, len: usize) {
        let now = self.now;
        let payload = self.all.get_mut(&id).expect("it was just given");
        payload.used_at = now;
        *payload.given.entry(to).or_default() += len;
        self.gives.moved(to, len, payload.announcement.len(), now);
    }

    /// Gives up those to whom nothing can be given; says how many.
    #[must_use]
    pub(crate) fn end_stalled(&mut self) -> usize {
        let before = self.now;
        let patience = self.period * KEEP_PERIODS;
        self.gives.end_stalled(|moved_at| moved_at + patience <= before)
    }

    fn pull(&mut self, id: MessageId) -> Option<&mut Pull> {
        match &mut self.all.get_mut(&id)?.stage {
            Stage::Pulled(pull) => Some(pull),
            _ => None,
        }
    }

    /// Those heard first give way to this one, if there is no room for it. Says who waits for them.
    pub(crate) fn make_room(&mut self, newest: MessageId) -> Waiting {
        let len = |payload: &Payload| match &payload.stage {
            Stage::Kept(bytes) => bytes.len(),
            _ => 0,
        };
        let mut kept: usize = self.all.values().map(len).sum();
        let mut waiting = Vec::new();
        while kept > KEPT_LEN_MAX || self.all.len() > PAYLOADS_MAX {
            if kept <= KEPT_LEN_MAX && self.let_go_of_one() {
                continue;
            }
            let kept_others = |it: &(&MessageId, &Payload)| *it.0 != newest && len(it.1) > 0;
            let all = self.all.iter().filter(kept_others);
            let first = all.min_by_key(|(id, payload)| (payload.heard_at, **id));
            let Some((id, payload)) = first else { break };
            let (id, freed) = (*id, len(payload));
            waiting.extend(self.forget(id));
            kept -= freed;
        }
        waiting
    }

    fn forget(&mut self, id: MessageId) -> Waiting {
        let payload = self.all.remove(&id).expect("it is known of");
        self.pulled.remove(&id);
        self.wanted.retain(|wanted| *wanted != id);
        let given = self.gives.end_of(id);
        payload.waiting.into_keys().chain(given).map(|node| (node, id)).collect()
    }
}

/// The most payloads of which a node knows.
const PAYLOADS_MAX: usize = 1_024;

/// The most that are pulled at a time, and how long they are together, in bytes.
const PULLS_MAX: usize = 64;
const PULLED_LEN_MAX: usize = 16 << 20;

/// One can have the fourth part of these.
const ONE_OF: usize = 4;

/// How long those that are kept are together, in bytes.
const KEPT_LEN_MAX: usize = 32 << 20;

/// How many get one payload, and how often each can: who asks for ever gets it no more.
const RECEIVERS_MAX: usize = 1_024;
const GIVEN_MAX: usize = 3;

/// The most who wait for one payload: more than a node tells, in any cluster.
const WAITING_MAX: usize = 256;

/// For how many periods a payload is kept that is of no use to anybody, and one is given that
/// nobody takes.
const KEEP_PERIODS: u32 = 25;

/// For how many periods a payload is known at most, beside those in which it waited for room:
/// together fewer than what was heard is remembered for.
const LIFE_PERIODS: u32 = 150;
const WAITED_PERIODS_MAX: u32 = 40;

#[cfg(test)]
mod tests;
