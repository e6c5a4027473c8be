//! Messages of topics: which were heard, and which are passed on.
//!
//! A message is a rumor (Demers et al., PODC 1987, section 1.4): whoever hears it first pushes it
//! at once to a few members drawn by chance, and then lets it ride on the exchanges until it was
//! passed on as often as a change of the membership is. The push is fast and misses a share of the
//! nodes, e^-3 of three pushes; the exchanges find most of those. Nothing is asked for, and nothing
//! is repaired: a message that all forgot before a node heard it is lost to that node.
//!
//! Every node passes messages on, whether it holds their topic or not, so that a topic needs no
//! tree, and its holders need not know of each other.
//!
//! Invariants: a message is kept at most once. What is kept is at most [`KEPT_BYTES_MAX`] long; the
//! oldest go first.

mod windows;

use std::collections::BTreeMap;

use bytes::Bytes;
use live_objects::{Member, NodeId, ObjectId, Rng};

pub(crate) use self::windows::Novelty;
use self::windows::Windows;
use crate::queue::Queue;

/// The longest message of a topic, in bytes: with what goes with it, it fits into one packet.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_000;

/// To how many members a message is pushed by each node that hears it first.
pub(crate) const FANOUT: usize = 3;

/// Which message this is: the number is its origin's own, in one of its lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct MessageId {
    pub(crate) origin: Member,
    pub(crate) number: u64,
}

/// A message of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) object: ObjectId,
    /// The hash of the type that its sender has the topic open with.
    pub(crate) ty: u64,
    /// At most [`MESSAGE_BYTES_MAX`].
    pub(crate) bytes: Bytes,
}

/// The messages that travel by way of this node.
pub(crate) struct News {
    windows: Windows,
    /// By the order in which they were heard.
    kept: BTreeMap<u64, Message>,
    places: BTreeMap<MessageId, u64>,
    queue: Queue<u64>,
    bytes: usize,
    next_place: u64,
    /// Those that nobody was told of yet.
    unpushed: Vec<u64>,
    /// How often a message counts as passed on when somebody turns out to know it.
    feedback: u32,
}

impl News {
    pub(crate) fn new(feedback: u32, rng: Rng) -> Self {
        Self {
            windows: Windows::default(),
            kept: BTreeMap::new(),
            places: BTreeMap::new(),
            queue: Queue::new(rng),
            bytes: 0,
            next_place: 0,
            unpushed: Vec::new(),
            feedback,
        }
    }

    /// Heard of this message. One that was known is passed on less.
    pub(crate) fn hear(&mut self, id: MessageId, round: u64) -> Novelty {
        let novelty = self.windows.hear(id, round);
        let Some(place) = self.places.get(&id) else { return novelty };
        // What is still kept is known, even if its origin's window was forgotten meanwhile.
        self.queue.raise(place, self.feedback);
        Novelty::Known
    }

    /// A new message is to be passed on. Says how many had to give way.
    #[must_use]
    pub(crate) fn keep(&mut self, message: Message) -> usize {
        let place = self.next_place;
        self.next_place += 1;
        self.bytes += kept_bytes(&message);
        let former = self.places.insert(message.id, place);
        assert!(former.is_none(), "a message is new once");
        self.kept.insert(place, message);
        self.queue.add(place);
        self.unpushed.push(place);
        let mut gave_way = 0;
        while self.bytes > KEPT_BYTES_MAX {
            let oldest = *self.kept.keys().next().expect("what is kept has a length");
            self.queue.remove(&oldest);
            self.drop(oldest);
            gave_way += 1;
        }
        gave_way
    }

    /// The messages to be pushed that were not yet, and are still kept. They count as passed on
    /// [`FANOUT`] times.
    pub(crate) fn unpushed(&mut self) -> Vec<Message> {
        let unpushed = std::mem::take(&mut self.unpushed);
        unpushed.iter().for_each(|place| self.queue.raise(place, FANOUT as u32));
        unpushed.iter().filter_map(|place| self.kept.get(place).cloned()).collect()
    }

    /// Adds to a packet what fits into `room` bytes and is news to its receiver: not what that node
    /// sent itself, nor what it just told.
    pub(crate) fn pick(
        &mut self,
        to: NodeId,
        told: &[Message],
        room: usize,
        sent_max: u32,
    ) -> Vec<Message> {
        let (mut room, mut picked) = (room, Vec::new());
        let kept = &self.kept;
        self.queue.offer(sent_max, |place| {
            let message = &kept[place];
            let is_known = message.id.origin.node == to || told.contains(message);
            let rest = room.checked_sub(message.encoded_len()).filter(|_| !is_known);
            room = rest.unwrap_or(room);
            rest.inspect(|_| picked.push(message.clone())).is_some()
        });
        for place in self.queue.done(sent_max) {
            self.drop(place);
        }
        picked
    }

    /// Whether any message is to be passed on.
    pub(crate) fn is_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Forgets which messages of those who are gone were heard.
    pub(crate) fn forget(&mut self, round: u64, is_here: impl Fn(Member) -> bool) {
        self.windows.forget(round, is_here);
    }

    fn drop(&mut self, place: u64) {
        let message = self.kept.remove(&place).expect("what is in the queue is kept");
        self.places.remove(&message.id);
        self.bytes -= kept_bytes(&message);
    }
}

fn kept_bytes(message: &Message) -> usize {
    size_of::<Message>() + message.bytes.len()
}

/// What all messages that are passed on may take together, in bytes.
const KEPT_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entry::tests::entry;
    use live_objects::{Incarnation, Rng};
    use proptest::prelude::*;

    pub(crate) fn message(origin: u8, number: u64, bytes: &'static [u8]) -> Message {
        Message {
            id: MessageId { origin: entry(origin, 1).member, number },
            object: ObjectId::from_bytes([3; ObjectId::LEN]),
            ty: 4,
            bytes: Bytes::from_static(bytes),
        }
    }

    /// Any message at all.
    pub(crate) fn messages() -> impl Strategy<Value = Message> {
        let bytes = prop::collection::vec(any::<u8>(), 0..40);
        (any::<([[u8; 16]; 3], u64, u64)>(), bytes).prop_map(|((ids, number, ty), bytes)| {
            let [node, incarnation, object] = ids;
            let node = NodeId::from_bytes(node);
            let origin = Member { node, incarnation: Incarnation::from_bytes(incarnation) };
            let id = MessageId { origin, number };
            Message { id, object: ObjectId::from_bytes(object), ty, bytes: bytes.into() }
        })
    }

    fn news() -> News {
        News::new(3, Rng::from_seed([7; 32]))
    }

    fn keep(news: &mut News, message: &Message) {
        assert_eq!(news.hear(message.id, 0), Novelty::New);
        assert_eq!(news.keep(message.clone()), 0);
    }

    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    #[test]
    fn a_message_is_passed_on_so_often_and_then_forgotten() {
        let (mut news, first) = (news(), message(1, 0, b"first"));
        keep(&mut news, &first);
        assert_eq!(news.unpushed(), std::slice::from_ref(&first));
        assert_eq!(news.unpushed(), []);
        for _ in FANOUT..5 {
            assert_eq!(news.pick(node(2), &[], 999, 5), std::slice::from_ref(&first));
        }
        assert_eq!(news.pick(node(2), &[], 999, 5), []);
        assert_eq!((news.kept.len(), news.places.len(), news.bytes), (0, 0, 0));
        assert_eq!(news.hear(first.id, 0), Novelty::Known, "which it was is remembered");
    }

    #[test]
    fn nobody_is_told_what_he_said_or_knows() {
        let (mut news, first) = (news(), message(1, 0, b"first"));
        keep(&mut news, &first);
        assert_eq!(news.pick(node(1), &[], 999, 9), []);
        assert_eq!(news.pick(node(2), std::slice::from_ref(&first), 999, 9), []);
        assert_eq!(news.pick(node(2), &[], first.encoded_len() - 1, 9), []);
        assert_eq!(news.hear(first.id, 0), Novelty::Known);
        assert_eq!(news.pick(node(2), &[], 999, 3), [], "who hears it again passes it on less");
    }

    #[test]
    fn what_is_kept_is_known_though_its_window_is_forgotten() {
        let (mut news, last) = (news(), message(1, u64::MAX - 1, b"last"));
        keep(&mut news, &last);
        news.forget(u64::MAX, |_| false);
        assert_eq!(news.hear(last.id, 0), Novelty::Known);
    }

    #[test]
    fn the_oldest_give_way() {
        let mut news = news();
        let long: &'static [u8] = &[7; MESSAGE_BYTES_MAX];
        let count = KEPT_BYTES_MAX / kept_bytes(&message(1, 0, long));
        (0..count as u64).for_each(|number| keep(&mut news, &message(1, number, long)));
        assert_eq!(news.keep(message(2, 0, long)), 1);
        assert!(news.bytes <= KEPT_BYTES_MAX);
        assert!(!news.places.contains_key(&message(1, 0, long).id));
        assert_eq!(news.unpushed().len(), count, "what is gone is not pushed");
    }
}
