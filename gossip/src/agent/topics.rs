//! Best-effort topics: what holders say, what they hear, and what every node passes on.
//!
//! A message is taken from its feed as a budget of bytes a period allows, so that a fast sender
//! waits with its own feed and not with everybody's. At the end of the step in which it was first
//! heard it is pushed ([`Push`](crate::wire::Leg::Push)) to a few members, several in one packet;
//! from then on it rides on exchanges, in the room that membership leaves.
//!
//! A holder that reads too slowly misses messages, and is told how many before it hears the next.
//!
//! Invariant: a holder hears a message at most once, and nothing of another type than its own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use live_objects::{Command, Event, Io, Member, NodeId, ObjectId, Rng, TopicEvent};

use super::{Agent, len_max, send};
use crate::news::{FANOUT, Message, MessageId, News, Novelty};
use crate::wire::{Leg, Packet, SECTION_LEN};

/// The open topics, and the messages that travel.
pub(super) struct Topics {
    open: BTreeMap<ObjectId, Topic>,
    /// Those whose feeds hold more than was taken, in the order of their turns.
    waiting: VecDeque<ObjectId>,
    pub(super) news: News,
    next_number: u64,
    /// What may still be taken, and pushed, in this period, in bytes.
    take_left: usize,
    push_left: usize,
}

struct Topic {
    ty: u64,
    /// How many messages found no room since the application last kept up.
    missed: u64,
}

impl Topics {
    pub(super) fn new(feedback: u32, rng: Rng) -> Self {
        Self {
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            news: News::new(feedback, rng),
            next_number: 0,
            take_left: TAKE_BYTES_MAX,
            push_left: PUSH_BYTES_MAX,
        }
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

    fn keep(&mut self, message: Message, io: &mut Io<'_>) {
        for _ in 0..self.news.keep(message) {
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
    pub(super) fn hear_messages(&mut self, messages: &[Message], io: &mut Io<'_>) {
        for message in messages {
            match self.topics.news.hear(message.id, self.rounds) {
                Novelty::New => {
                    self.topics.deliver(message, None, io);
                    self.topics.keep(message.clone(), io);
                }
                Novelty::Known => io.count("gossip.message_known"),
                Novelty::Refused => io.count("gossip.origins_full"),
            }
        }
    }

    /// Pushes what was first heard in this step.
    pub(super) fn push(&mut self, io: &mut Io<'_>) {
        let messages = self.topics.news.unpushed();
        if messages.is_empty() {
            return;
        }
        let members = self.knowledge.members();
        for to in self.partners.some(FANOUT, members, &[]) {
            if let Some(len_max) = len_max(to, io) {
                self.push_to(to, &messages, len_max, io);
            }
        }
    }

    fn push_to(&mut self, to: NodeId, messages: &[Message], len_max: usize, io: &mut Io<'_>) {
        let mut packet = Packet::new(Leg::Push);
        let room = len_max - packet.encoded_len() - SECTION_LEN;
        let mut left = room;
        let news = messages.iter().filter(|message| message.id.origin.node != to);
        for message in news.filter(|message| message.encoded_len() <= room) {
            if message.encoded_len() > left {
                let full = std::mem::replace(&mut packet, Packet::new(Leg::Push));
                self.push_packet(to, &full, io);
                left = room;
            }
            left -= message.encoded_len();
            packet.news.messages.push(message.clone());
        }
        if !packet.news.messages.is_empty() {
            self.push_packet(to, &packet, io);
        }
    }

    fn push_packet(&mut self, to: NodeId, packet: &Packet, io: &mut Io<'_>) {
        match self.topics.push_left.checked_sub(packet.encoded_len()) {
            Some(left) => {
                self.topics.push_left = left;
                send(packet, to, io);
            }
            None => io.count("gossip.push_full"),
        }
    }

    /// Takes from the feeds, each in its turn, what this period has room for.
    fn take_sends(&mut self, io: &mut Io<'_>) {
        while self.topics.take_left > 0 {
            let Some(object) = self.topics.waiting.pop_front() else { return };
            let stop_at = self.topics.take_left.saturating_sub(TURN_BYTES_MAX);
            while let Some(taken) = io.take(object, usize::MAX) {
                io.release(object, taken.message);
                match taken.command {
                    Command::Send(bytes) => self.say_message(object, taken.message, bytes, io),
                    _ => io.count("gossip.unknown_command"),
                }
                if self.topics.take_left <= stop_at {
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
        let novelty = self.topics.news.hear(id, self.rounds);
        self.topics.deliver(&message, Some(command), io);
        // Who comes later is not to hear what was said before. With too many origins to remember
        // this one is not, but it is new all the same.
        if !is_alone && novelty != Novelty::Known {
            self.topics.keep(message, io);
        }
    }
}

/// What is taken from all feeds in a period, in bytes: the rest waits there.
const TAKE_BYTES_MAX: usize = 32 << 10;

/// What is taken from one feed before the next has its turn, in bytes.
const TURN_BYTES_MAX: usize = 4 << 10;

/// What is pushed in a period, in bytes: the rest travels on exchanges alone.
const PUSH_BYTES_MAX: usize = 128 << 10;

/// After how many rounds it is looked whose messages need not be remembered.
const FORGET_ROUNDS: u64 = 50;
