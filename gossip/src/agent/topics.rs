//! Best-effort topics: what holders say, what they hear, and what every node passes on.
//!
//! A message is taken from its feed as a budget of bytes a period allows, so that a fast sender
//! waits with its own feed and not with everybody's. At the end of the step in which it was first
//! heard it is pushed ([`Push`](crate::wire::Leg::Push)) along its source's tree, several in one
//! packet. If messages were pushed within the last period it waits for others, until there is a
//! packet full of them or that period is over: a packet's head is longer than many a message
//! (Nagle, RFC 896). What the tree missed is found on exchanges: a probe and its answer say what
//! their senders have, who lacks some of it wants it, and wants are answered at once, by pushes.
//!
//! What is too long for a packet is announced in this way, and pulled (`payloads`).
//!
//! A holder that reads too slowly misses messages, and is told how many before it hears the next.
//!
//! Invariant: a holder hears a message at most once, as long as its origin is remembered
//! (`news::windows`), and nothing of another type than its own.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use live_objects::{Command, Event, Io, NodeId, ObjectId, Rng, Time, TopicEvent};
use tracing::trace;

use super::{Agent, len_max, send};
use crate::config::Config;
use crate::entry::Standing;
use crate::knowledge::Draft;
use crate::news::{
    Content, HAVES_MAX, MESSAGE_BYTES_MAX, Message, MessageId, News, Novelty, Pushed, Reach, Topic,
    Tree,
};
use crate::wire::{HASH_LEN, Leg, MESSAGE_HEAD_LEN_MAX, Naming, Packet, SECTION_LEN};

/// The open topics, and the messages that travel.
pub(super) struct Topics {
    open: BTreeMap<ObjectId, Open>,
    /// Their objects.
    objects: BTreeMap<Topic, ObjectId>,
    /// Those whose feeds hold more than was taken, in the order of their turns.
    waiting: VecDeque<ObjectId>,
    pub(super) news: News,
    /// Until when what is to be pushed waits for more, and for how long it does.
    pushes_at: Time,
    gap: Duration,
    next_number: u64,
    /// What may still be taken, and pushed, in this period, in bytes.
    take_left: usize,
    push_left: usize,
    /// What was taken in this step, in bytes.
    taken: usize,
    /// What was said of long messages beyond what a period allows, in bytes.
    pub(super) owed: usize,
}

struct Open {
    topic: Topic,
    /// How many messages found no room since the application last kept up.
    missed: u64,
}

impl Topics {
    pub(super) fn new(config: &Config, rng: &Rng) -> Self {
        Self {
            open: BTreeMap::new(),
            objects: BTreeMap::new(),
            waiting: VecDeque::new(),
            news: News::new(config, rng.fork("haves")),
            pushes_at: Time::ZERO,
            gap: config.period,
            next_number: 0,
            take_left: TAKE_BYTES_MAX,
            push_left: PUSH_BYTES_MAX,
            taken: 0,
            owed: 0,
        }
    }

    /// Whether there is anything that the next round goes on with.
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || self.news.is_telling()
    }

    pub(super) fn has(&self, object: ObjectId) -> bool {
        self.open.contains_key(&object)
    }

    /// A topic is carried from now on, with the type of this hash.
    pub(super) fn open(&mut self, object: ObjectId, ty: u64) {
        let topic = Topic::new(object, ty);
        self.open.insert(object, Open { topic, missed: 0 });
        self.objects.insert(topic, object);
    }

    pub(super) fn close(&mut self, object: ObjectId) {
        if let Some(Open { topic, .. }) = self.open.remove(&object) {
            self.objects.remove(&topic);
        }
        self.waiting.retain(|waiting| *waiting != object);
    }

    /// The application has caught up: it is told first what it missed.
    pub(super) fn on_drained(&mut self, object: ObjectId, io: &mut Io<'_>) {
        let Some(topic) = self.open.get_mut(&object).filter(|topic| topic.missed > 0) else {
            return;
        };
        let lagged = Event::Topic(TopicEvent::Lagged { missed: topic.missed });
        if io.emit(object, lagged).is_ok() {
            topic.missed = 0;
        }
    }

    /// Whether somebody here has this topic open.
    pub(super) fn is_open(&self, topic: Topic) -> bool {
        self.objects.contains_key(&topic)
    }

    /// The topic that an open object is.
    pub(super) fn topic(&self, object: ObjectId) -> Topic {
        self.open.get(&object).expect("it has commands, so it is open").topic
    }

    pub(super) fn deliver(
        &mut self,
        (id, topic): (MessageId, Topic),
        bytes: Bytes,
        own: Option<u64>,
        io: &mut Io<'_>,
    ) {
        let Some(object) = self.objects.get(&topic) else { return };
        let topic = self.open.get_mut(object).expect("it has an object while it is open");
        let from = id.origin;
        let event = Event::Topic(TopicEvent::Message { from, own, bytes });
        if topic.missed > 0 || io.emit(*object, event).is_err() {
            topic.missed += 1;
            io.count("gossip.message_missed");
        }
    }

    /// When something is to be done next.
    pub(super) fn next_wake(&self) -> Option<Time> {
        let pushes_at = self.news.unpushed_bytes().map(|_| self.pushes_at);
        pushes_at.into_iter().chain(self.news.next_wake()).min()
    }

    fn keep(&mut self, message: Message, reach: Reach, naming: Naming, io: &mut Io<'_>) {
        for _ in 0..self.news.keep(message, reach, naming) {
            io.count("gossip.messages_full");
        }
    }
}

impl Agent {
    /// A topic's feed holds something.
    pub(super) fn on_sends(&mut self, object: ObjectId, io: &mut Io<'_>) {
        if !self.topics.waiting.contains(&object) {
            self.topics.waiting.push_back(object);
        }
        self.take_sends(io);
    }

    pub(super) fn on_round_of_topics(&mut self, io: &mut Io<'_>) {
        self.topics.take_left = TAKE_BYTES_MAX;
        self.topics.push_left = PUSH_BYTES_MAX;
        if self.is_time(FORGET_ROUNDS) {
            let members = self.knowledge.members();
            self.topics.news.forget(self.rounds, |origin| members.knows(origin));
        }
        self.take_sends(io);
    }

    /// Takes in the messages of a packet.
    pub(super) fn hear_messages(&mut self, from: NodeId, messages: &[Pushed], io: &mut Io<'_>) {
        for pushed in messages {
            let Some(origin) = pushed.origin.member(self.knowledge.members()) else {
                trace!(origin = ?pushed.origin, "a message of one who is not known");
                io.count("gossip.origin_unknown");
                continue;
            };
            let message = &pushed.message_of(origin);
            let was_asked = self.topics.news.wants.came(message.id.short());
            if self.is_in_own_name(message.id) {
                io.count("gossip.message_forged");
                continue;
            }
            match self.hear_message(message.id) {
                Novelty::New => {
                    if was_asked {
                        io.count("gossip.message_repaired");
                    }
                    self.hear_content(from, message, io);
                    let naming = pushed.origin.naming();
                    self.topics.keep(message.clone(), pushed.reach, naming, io);
                }
                Novelty::Known => {
                    if message.content.is_announced() {
                        self.payloads.also_has(message.id, from);
                    }
                    io.count("gossip.message_known");
                }
                Novelty::Refused => io.count("gossip.origins_full"),
            }
        }
        for _ in 0..self.topics.news.take_given_way() {
            io.count("gossip.origins_full");
        }
    }

    fn hear_content(&mut self, from: NodeId, message: &Message, io: &mut Io<'_>) {
        let Message { id, topic, content } = message;
        match (self.soft.of_topic(*topic), content) {
            (None, Content::Whole(bytes)) => {
                self.topics.deliver((*id, *topic), bytes.clone(), None, io);
            }
            (None, Content::Announced(announcement)) => {
                self.hear_announcement(from, *id, (*topic, *announcement), io);
            }
            (Some(object), Content::Whole(bytes)) => self.hear_delta(object, *id, bytes, io),
            (Some(_), Content::Announced(_)) => io.count("gossip.delta_unreadable"),
        }
    }

    /// What a node hears of messages in a round, in bytes, is what one passes on, by average.
    pub(super) fn heard_pushes(&self) -> usize {
        let [now, before] = self.heard_pushes;
        now.max(before)
    }

    /// Whether somebody else said it in this node's name. What this node says next has a higher
    /// number, so that it is new to those who heard the other.
    fn is_in_own_name(&mut self, id: MessageId) -> bool {
        let next = &mut self.topics.next_number;
        let is_own = id.origin == self.knowledge.members().own().member;
        let is_forged = is_own && id.number >= *next;
        if is_forged && id.number < NUMBERS_MAX {
            *next = id.number + 1;
        }
        is_forged
    }

    /// Heard of this message.
    fn hear_message(&mut self, id: MessageId) -> Novelty {
        let members = self.knowledge.members();
        self.topics.news.hear(id, self.rounds, |origin| members.knows(origin))
    }

    /// Adds to a probe or its answer what this node has, and wants of what the other has.
    pub(super) fn add_haves(&mut self, packet: &mut Packet, draft: Draft<'_>, len_max: usize) {
        let theirs = draft.answers.map_or(&[][..], |answered| &answered.news.haves);
        self.note_haves(draft.to, theirs);
        let room =
            |packet: &Packet| len_max.saturating_sub(packet.encoded_len() + SECTION_LEN) / HASH_LEN;
        let wanted = &theirs[..theirs.len().min(room(packet))];
        packet.news.wants = self.topics.news.wants(draft.to, wanted);
        packet.news.haves = self.topics.news.haves(draft.to, theirs, room(packet));
        if draft.answers.is_some() {
            // Who asked just now will hear it.
            self.topics.news.on_answer(draft.to);
        }
    }

    /// Answers what a packet wants, and what it has if it is not answered otherwise.
    pub(super) fn answer_haves(&mut self, from: NodeId, packet: &Packet, io: &mut Io<'_>) {
        let is_answered = matches!(packet.leg, Leg::Probe { .. });
        let haves = if is_answered { &[][..] } else { &packet.news.haves };
        self.note_haves(from, haves);
        let news = &mut self.topics.news;
        news.on_answer(from);
        let (wants, mut wanted) = (news.wants(from, haves), news.wanted(&packet.news.wants));
        // Whoever wants much, or says so, leaves half of what a period has room for to what is new.
        if self.topics.push_left < PUSH_BYTES_MAX / 2 {
            wanted.drain(..).for_each(|_| io.count("gossip.push_full"));
        }
        self.push_to(from, wants, &wanted, io);
    }

    /// Asks again for what did not come.
    pub(super) fn ask_again(&mut self, now: Time, io: &mut Io<'_>) {
        for (from, wants) in self.topics.news.wants.due(now) {
            for wants in wants.chunks(HAVES_MAX) {
                self.push_to(from, wants.to_vec(), &[], io);
            }
        }
    }

    /// Tells another what this node has, since whom it told does not answer.
    pub(super) fn tell_another(&mut self, except: NodeId, io: &mut Io<'_>) {
        if !self.topics.news.is_telling() {
            return;
        }
        let members = self.knowledge.members();
        let others = self.partners.some(ANOTHER_OF, members, &[except]);
        let is_fine = |node: &NodeId| members.standing(*node) == Some(Standing::Alive);
        if let Some(to) = others.into_iter().find(is_fine)
            && let Some(len_max) = len_max(to, io)
        {
            let mut packet = Packet::new(Leg::Push);
            let room = (len_max - packet.encoded_len() - SECTION_LEN) / HASH_LEN;
            packet.news.haves = self.topics.news.haves(to, &[], room);
            self.push_packet(to, &packet, io);
        }
    }

    /// What a probe or its answer leaves to haves and wants, in bytes, however much news of members
    /// there is.
    pub(super) fn haves_reserved(&self, draft: Draft<'_>) -> usize {
        let wants = draft.answers.map_or(0, |answered| answered.news.haves.len().min(HAVES_MAX));
        let sections = [self.topics.news.haves_len(), wants].into_iter().filter(|len| *len > 0);
        sections.map(|len| SECTION_LEN + len * HASH_LEN).sum()
    }

    /// Pushes what was first heard to whom it is to be passed on, unless it waits for more.
    pub(super) fn push(&mut self, now: Time, io: &mut Io<'_>) {
        self.topics.taken = 0;
        let Some(unpushed_bytes) = self.topics.news.unpushed_bytes() else { return };
        if now < self.topics.pushes_at && unpushed_bytes < FULL_BYTES {
            return;
        }
        self.topics.pushes_at = now + self.topics.gap;
        let mut alike: BTreeMap<(Tree, Reach), Vec<(Message, Naming)>> = BTreeMap::new();
        for (message, reach, naming) in self.topics.news.take_unpushed() {
            let tree = Tree::of(message.id.origin.node);
            alike.entry((tree, reach)).or_default().push((message, naming));
        }
        let mut below: BTreeMap<NodeId, Vec<Pushed>> = BTreeMap::new();
        for ((tree, came_with), messages) in alike {
            for (to, reach) in tree.below(came_with, self.knowledge.members()) {
                let others = messages.iter().filter(|(message, _)| message.id.origin.node != to);
                let pushed = others.map(|(message, naming)| Pushed::new(message, reach, *naming));
                below.entry(to).or_default().extend(pushed);
            }
        }
        for (to, messages) in below {
            self.push_to(to, Vec::new(), &messages, io);
        }
    }

    /// Pushes wants and messages, in as many packets as they take, if there are any.
    fn push_to(&mut self, to: NodeId, wants: Vec<u32>, messages: &[Pushed], io: &mut Io<'_>) {
        if wants.is_empty() && messages.is_empty() {
            return;
        }
        let Some(len_max) = len_max(to, io) else { return };
        let mut packet = Packet::new(Leg::Push);
        // Those in short have a section of their own, and so have those that are announced.
        let room = len_max - packet.encoded_len() - 2 * SECTION_LEN;
        let takes = |pushed: &Pushed| {
            let section = if pushed.content.is_announced() { SECTION_LEN } else { 0 };
            pushed.encoded_len() + section
        };
        packet.news.wants = wants;
        let mut left = (len_max - 2 * SECTION_LEN).saturating_sub(packet.encoded_len());
        for pushed in messages.iter().filter(|pushed| takes(pushed) <= room) {
            let len = takes(pushed);
            if len > left {
                let full = std::mem::replace(&mut packet, Packet::new(Leg::Push));
                self.push_packet(to, &full, io);
                left = room;
            }
            left -= len;
            packet.news.messages.push(pushed.clone());
        }
        if !packet.news.messages.is_empty() || !packet.news.wants.is_empty() {
            self.push_packet(to, &packet, io);
        }
    }

    fn push_packet(&mut self, to: NodeId, packet: &Packet, io: &mut Io<'_>) {
        match self.topics.push_left.checked_sub(packet.encoded_len()) {
            Some(left) => {
                self.topics.push_left = left;
                packet.news.messages.iter().for_each(|_| io.count("gossip.message_pushed"));
                send(packet, to, io);
            }
            None => io.count("gossip.push_full"),
        }
    }

    /// Takes from the feeds, each in its turn, what this period has room for: no more than can be
    /// pushed to all who have to hear it from this node.
    fn take_sends(&mut self, io: &mut Io<'_>) {
        if self.topics.waiting.is_empty() {
            return;
        }
        let members = self.knowledge.members();
        let below = Tree::of(members.me()).below(Reach::ALL, members);
        let push_max = self.topics.push_left / below.len().max(1);
        let take_max = push_max.saturating_sub(MESSAGE_HEAD_LEN_MAX + MESSAGE_BYTES_MAX);
        // Feeds whose next message is longer than may be said now.
        let mut blocked = Vec::new();
        while self.topics.take_left > 0 && self.topics.taken < take_max {
            let Some(object) = self.topics.waiting.pop_front() else { break };
            let stop_at = self.topics.take_left.saturating_sub(TURN_BYTES_MAX);
            while let Some(mut taken) = io.take(object, MESSAGE_BYTES_MAX) {
                let is_long = !taken.last;
                if is_long {
                    io.rewind(object, taken.message);
                    if !self.can_announce() {
                        blocked.push(object);
                        break;
                    }
                    taken = io.take(object, usize::MAX).expect("it was just there");
                }
                io.release(object, taken.message);
                match taken.command {
                    Command::Send(bytes) if is_long => {
                        self.say_long(object, (taken.message, bytes), io);
                    }
                    Command::Send(bytes) => self.say_message(object, taken.message, bytes, io),
                    _ => io.count("gossip.unknown_command"),
                }
                if self.topics.take_left <= stop_at || self.topics.taken >= take_max {
                    self.topics.waiting.push_back(object);
                    break;
                }
            }
        }
        self.topics.waiting.extend(blocked);
    }

    fn say_message(&mut self, object: ObjectId, command: u64, bytes: Bytes, io: &mut Io<'_>) {
        let topic = self.topics.topic(object);
        let message = self.message(topic, Content::Whole(bytes.clone()));
        self.topics.deliver((message.id, topic), bytes, Some(command), io);
        self.tell_all(message, io);
    }

    /// Says what an object that is no topic has to say, if this period has room for that.
    pub(super) fn say_delta(&mut self, topic: Topic, bytes: Bytes, io: &mut Io<'_>) -> bool {
        let has_room = self.topics.take_left > 0;
        if has_room {
            let message = self.message(topic, Content::Whole(bytes));
            self.tell_all(message, io);
        }
        has_room
    }

    /// A message of this node, which counts from now on.
    pub(super) fn message(&mut self, topic: Topic, content: Content) -> Message {
        let origin = self.knowledge.members().own().member;
        let id = MessageId { origin, number: self.topics.next_number };
        let message = Message { id, topic, content };
        self.topics.next_number += 1;
        let len = Pushed::new(&message, Reach::ALL, self.naming()).encoded_len();
        self.topics.take_left = self.topics.take_left.saturating_sub(len);
        self.topics.taken += len;
        message
    }

    /// What this node is called: who has just come is not known to all by its name for short, nor
    /// is anybody where nobody knows all.
    fn naming(&self) -> Naming {
        let is_partial = self.knowledge.members().view().is_partial();
        if self.rounds < NEW_ROUNDS || is_partial { Naming::InFull } else { Naming::Short }
    }

    pub(super) fn tell_all(&mut self, message: Message, io: &mut Io<'_>) {
        let is_alone = self.knowledge.members().up_count() < 2;
        let novelty = self.hear_message(message.id);
        // Who comes later is not to hear what was said before. With too many origins to remember
        // this one is not, but it is new all the same.
        if !is_alone && novelty != Novelty::Known {
            self.topics.keep(message, Reach::ALL, self.naming(), io);
        }
    }
}

/// What is taken from all feeds in a period, in bytes: the rest waits there.
const TAKE_BYTES_MAX: usize = 32 << 10;

/// What is taken from one feed before the next has its turn, in bytes.
const TURN_BYTES_MAX: usize = 4 << 10;

/// What is pushed in a period, in bytes. Of what comes from others the rest is left to be wanted.
const PUSH_BYTES_MAX: usize = 1 << 20;

/// For how many rounds a node says in full who it is.
const NEW_ROUNDS: u64 = 50;

/// What waits to be pushed waits no longer if it is so long, in bytes: about a packet.
const FULL_BYTES: usize = 900;

/// No node that counts its messages comes to this number: nor does one go beyond it by what others
/// say in its name.
const NUMBERS_MAX: u64 = 1 << 62;

/// Among how many members one is sought that is not suspected.
const ANOTHER_OF: usize = 4;

/// After how many rounds it is looked whose messages need not be remembered.
const FORGET_ROUNDS: u64 = 50;
