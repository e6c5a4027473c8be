//! Best-effort topics: what holders say, what they hear, and what every node passes on.
//!
//! A message is taken from its feed as a budget of bytes a period allows, so that a fast sender
//! waits with its own feed and not with everybody's. At the end of the step in which it was first
//! heard it is pushed ([`Push`](crate::wire::Leg::Push)) along the tree, several in one packet.
//! What the tree missed is found on exchanges: a probe and its answer say what their senders have,
//! who lacks some of it wants it, and wants are answered at once, by pushes.
//!
//! A holder that reads too slowly misses messages, and is told how many before it hears the next.
//!
//! Invariant: a holder hears a message at most once, and nothing of another type than its own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use live_objects::{Command, Event, Io, Member, NodeId, ObjectId, Rng, Time, TopicEvent};

use super::{Agent, len_max, send};
use crate::config::Config;
use crate::entry::Standing;
use crate::knowledge::Draft;
use crate::news::{
    Contacts, HAVES_MAX, MESSAGE_BYTES_MAX, Message, MessageId, News, Novelty, Pushed, Reach,
};
use crate::wire::{HASH_LEN, Leg, MESSAGE_LEN_MIN, Packet, SECTION_LEN};

/// The open topics, and the messages that travel.
pub(super) struct Topics {
    open: BTreeMap<ObjectId, Topic>,
    /// Those whose feeds hold more than was taken, in the order of their turns.
    waiting: VecDeque<ObjectId>,
    pub(super) news: News,
    contacts: Contacts,
    next_number: u64,
    /// What may still be taken, and pushed, in this period, in bytes.
    take_left: usize,
    push_left: usize,
    /// What was taken in this step, in bytes.
    taken: usize,
}

struct Topic {
    ty: u64,
    /// How many messages found no room since the application last kept up.
    missed: u64,
}

impl Topics {
    pub(super) fn new(config: &Config, rng: &Rng) -> Self {
        Self {
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            news: News::new(config, rng.fork("haves")),
            contacts: Contacts::new(rng.fork("contacts")),
            next_number: 0,
            take_left: TAKE_BYTES_MAX,
            push_left: PUSH_BYTES_MAX,
            taken: 0,
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
        self.open.insert(object, Topic { ty, missed: 0 });
    }

    pub(super) fn close(&mut self, object: ObjectId) {
        self.open.remove(&object);
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

    fn deliver(&mut self, message: &Message, own: Option<u64>, io: &mut Io<'_>) {
        let Some(topic) = self.open.get_mut(&message.object) else { return };
        if topic.ty != message.ty {
            io.count("gossip.message_of_other_type");
            return;
        }
        let (from, bytes) = (message.id.origin, message.bytes.clone());
        let event = Event::Topic(TopicEvent::Message { from, own, bytes });
        if topic.missed > 0 || io.emit(message.object, event).is_err() {
            topic.missed += 1;
            io.count("gossip.message_missed");
        }
    }

    fn keep(&mut self, message: Message, reach: Reach, io: &mut Io<'_>) {
        for _ in 0..self.news.keep(message, reach) {
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
            let is_here =
                |origin: Member| members.of(origin.node).is_some_and(|held| held.member == origin);
            self.topics.news.forget(self.rounds, is_here);
        }
        self.take_sends(io);
    }

    /// Takes in the messages of a packet.
    pub(super) fn hear_messages(&mut self, messages: &[Pushed], io: &mut Io<'_>) {
        for Pushed { message, reach } in messages {
            let was_asked = self.topics.news.wants.came(message.id.short());
            match self.topics.news.hear(message.id, self.rounds) {
                Novelty::New => {
                    if was_asked {
                        io.count("gossip.message_repaired");
                    }
                    self.topics.deliver(message, None, io);
                    self.topics.keep(message.clone(), *reach, io);
                }
                Novelty::Known => io.count("gossip.message_known"),
                Novelty::Refused => io.count("gossip.origins_full"),
            }
        }
    }

    /// Adds to a probe or its answer what this node has, and wants of what the other has.
    pub(super) fn add_haves(&mut self, packet: &mut Packet, draft: Draft<'_>, len_max: usize) {
        let theirs = draft.answers.map_or(&[][..], |answered| &answered.news.haves);
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
        let news = &mut self.topics.news;
        news.on_answer(from);
        let is_answered = matches!(packet.leg, Leg::Probe { .. });
        let haves = if is_answered { &[][..] } else { &packet.news.haves };
        let (wants, wanted) = (news.wants(from, haves), news.wanted(&packet.news.wants));
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

    /// Pushes what was first heard in this step to whom it is to be passed on.
    pub(super) fn push(&mut self, io: &mut Io<'_>) {
        let messages = self.topics.news.unpushed();
        self.topics.taken = 0;
        let members = self.knowledge.members();
        let mut reaches: Vec<Reach> = messages.iter().map(|pushed| pushed.reach).collect();
        reaches.sort_unstable();
        reaches.dedup();
        let mut below: BTreeMap<NodeId, Vec<Pushed>> = BTreeMap::new();
        for came_with in reaches {
            for (to, reach) in self.topics.contacts.below(came_with, members) {
                let came = messages.iter().filter(|pushed| pushed.reach == came_with);
                let news = came.filter(|pushed| pushed.message.id.origin.node != to);
                let pushed = news.map(|pushed| Pushed { reach, ..pushed.clone() });
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
        let room = len_max - packet.encoded_len() - SECTION_LEN;
        packet.news.wants = wants;
        let mut left = (len_max - SECTION_LEN).saturating_sub(packet.encoded_len());
        for pushed in messages.iter().filter(|pushed| pushed.message.encoded_len() <= room) {
            let len = pushed.message.encoded_len();
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
        let below = self.topics.contacts.below(Reach::ALL, self.knowledge.members());
        let push_max = self.topics.push_left / below.len().max(1);
        let take_max = push_max.saturating_sub(MESSAGE_LEN_MIN + MESSAGE_BYTES_MAX);
        while self.topics.take_left > 0 && self.topics.taken < take_max {
            let Some(object) = self.topics.waiting.pop_front() else { return };
            let stop_at = self.topics.take_left.saturating_sub(TURN_BYTES_MAX);
            while let Some(taken) = io.take(object, usize::MAX) {
                io.release(object, taken.message);
                match taken.command {
                    Command::Send(bytes) => self.say_message(object, taken.message, bytes, io),
                    _ => io.count("gossip.unknown_command"),
                }
                if self.topics.take_left <= stop_at || self.topics.taken >= take_max {
                    self.topics.waiting.push_back(object);
                    break;
                }
            }
        }
    }

    fn say_message(&mut self, object: ObjectId, command: u64, bytes: Bytes, io: &mut Io<'_>) {
        let members = self.knowledge.members();
        let id = MessageId { origin: members.own().member, number: self.topics.next_number };
        let ty = self.topics.open.get(&object).expect("it has commands, so it is open").ty;
        let message = Message { id, object, ty, bytes };
        let is_alone = members.up_count() < 2;
        self.topics.next_number += 1;
        self.topics.take_left = self.topics.take_left.saturating_sub(message.encoded_len());
        self.topics.taken += message.encoded_len();
        let novelty = self.topics.news.hear(id, self.rounds);
        self.topics.deliver(&message, Some(command), io);
        // Who comes later is not to hear what was said before. With too many origins to remember
        // this one is not, but it is new all the same.
        if !is_alone && novelty != Novelty::Known {
            self.topics.keep(message, Reach::ALL, io);
        }
    }
}

/// What is taken from all feeds in a period, in bytes: the rest waits there.
const TAKE_BYTES_MAX: usize = 32 << 10;

/// What is taken from one feed before the next has its turn, in bytes.
const TURN_BYTES_MAX: usize = 4 << 10;

/// What is pushed in a period, in bytes. Of what comes from others the rest is left to be wanted.
const PUSH_BYTES_MAX: usize = 1 << 20;

/// Among how many members one is sought that is not suspected.
const ANOTHER_OF: usize = 4;

/// After how many rounds it is looked whose messages need not be remembered.
const FORGET_ROUNDS: u64 = 50;
