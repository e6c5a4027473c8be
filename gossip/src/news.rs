//! Messages of topics: which were heard, which are kept, and which others are told that they are.
//!
//! A message goes along a tree to everybody at once (`tree`), one copy each. Whoever missed it,
//! since a packet was lost or somebody in between was down, is helped by *lazy repair*: a while
//! after it heard a message a node lets its hash ride on exchanges, a *have*; who lacks it *wants*
//! it, and gets it. (Plumtree: Leitão, Pereira and Rodrigues, SRDS 2007, section 3.4. There haves
//! go to the same neighbours whenever a message passes; here to whom the exchanges are with anyway,
//! so that those below a broken branch each help themselves at once, and there is no tree to mend.)
//!
//! A have waits for a round trip and some more before it is told, so that the tree is done when it
//! is: who wants earlier would get a copy more. It is told a few times, fewer where others turn out
//! to know it, and given for some seconds. A message that all forgot before a node heard of it is
//! lost to that node.
//!
//! Every node passes messages on, whether it holds their topic or not, so that a topic needs no
//! tree of its own, and its holders need not know of each other.
//!
//! Invariants: a message is kept at most once. What is kept is at most [`KEPT_BYTES_MAX`] long, and
//! no more than [`KEPT_MAX`] are; the oldest go first.

mod announcement;
mod tree;
mod wants;
mod windows;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use live_objects::{Member, NodeId, ObjectId, Rng, Time};

pub(crate) use self::announcement::{Announcement, Content, PAYLOAD_LEN_MAX};
pub(crate) use self::tree::{Reach, Tree};
use self::wants::Wants;
pub(crate) use self::windows::Novelty;
use self::windows::Windows;
use crate::config::Config;
use crate::digest::{halves, mix};
use crate::members::Members;
use crate::queue::Queue;
use crate::wire::Naming;

/// The longest message of a topic that is told whole, in bytes: with what goes with it, it fits
/// into one packet. A longer one is announced.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_000;

/// How many haves, or wants, a packet brings at most that are looked at.
pub(crate) const HAVES_MAX: usize = 64;

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
    pub(crate) topic: Topic,
    pub(crate) content: Content,
}

/// Which topic: a hash of the object, and of the type that its sender has it open with, of
/// [`Topic::LEN`] bytes: of a thousand topics two have the same in one cluster of half a billion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Topic(u64);

/// A message as it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pushed {
    pub(crate) origin: Origin,
    pub(crate) number: u64,
    pub(crate) topic: Topic,
    pub(crate) content: Content,
    /// To whom its receiver is to pass it on.
    pub(crate) reach: Reach,
}

/// What the origin of a message is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    InFull(Member),
    /// By how its id and its incarnation begin, to those who know the member.
    Short {
        node: [u8; SHORT_NODE_LEN],
        incarnation: [u8; SHORT_INCARNATION_LEN],
    },
}

impl Topic {
    pub(crate) const LEN: usize = 6;
    /// What is no topic, of no message that travels: metadata of nodes.
    pub(crate) const METADATA: Self = Self(u64::MAX);

    /// The topic that is this object with a type of this hash.
    pub(crate) fn new(object: ObjectId, ty: u64) -> Self {
        let [high, low] = halves(object.as_bytes());
        Self([high, low, ty].into_iter().fold(0, |hash, word| mix(hash ^ word)) >> 16)
    }
}

impl From<u64> for Topic {
    fn from(hash: u64) -> Self {
        Self(hash)
    }
}

impl From<Topic> for u64 {
    fn from(topic: Topic) -> Self {
        topic.0
    }
}

impl Pushed {
    pub(crate) fn new(message: &Message, reach: Reach, naming: Naming) -> Self {
        let MessageId { origin, number } = message.id;
        let Message { topic, content, .. } = message;
        // Beside a payload the name in full is short.
        let naming = if content.is_announced() { Naming::InFull } else { naming };
        let origin = Origin::new(origin, naming);
        Self { origin, number, topic: *topic, content: content.clone(), reach }
    }

    /// The message, which is of this member.
    pub(crate) fn message_of(&self, origin: Member) -> Message {
        let id = MessageId { origin, number: self.number };
        Message { id, topic: self.topic, content: self.content.clone() }
    }
}

impl Origin {
    fn new(member: Member, naming: Naming) -> Self {
        match naming {
            Naming::InFull => Self::InFull(member),
            Naming::Short => {
                let node = begin_of(member.node.as_bytes());
                Self::Short { node, incarnation: begin_of(member.incarnation.as_bytes()) }
            }
        }
    }

    pub(crate) const fn naming(&self) -> Naming {
        match self {
            Self::InFull(_) => Naming::InFull,
            Self::Short { .. } => Naming::Short,
        }
    }

    /// The member that is called so, as far as this node knows it.
    pub(crate) fn member(&self, members: &Members) -> Option<Member> {
        let (node, incarnation) = match self {
            Self::InFull(member) => return Some(*member),
            Self::Short { node, incarnation } => (node, incarnation),
        };
        let end = |rest: u8| {
            let mut id = [rest; NodeId::LEN];
            id[..SHORT_NODE_LEN].copy_from_slice(node);
            NodeId::from_bytes(id)
        };
        let up = members.up_between(end(0), end(u8::MAX)).map(|(node, _)| node);
        let mut held = up.take(ALIKE_MAX).filter_map(|node| Some(members.of(node)?.member));
        held.find(|member| member.incarnation.as_bytes().starts_with(incarnation))
    }
}

fn begin_of<const LEN: usize>(id: &[u8; NodeId::LEN]) -> [u8; LEN] {
    id[..LEN].try_into().expect("it is a part")
}

impl MessageId {
    /// What it is called for short, among those who may have it. Should two messages of the same
    /// seconds be called alike, whoever misses one of them misses it for good.
    pub(crate) fn short(self) -> u32 {
        let [node_high, node_low] = halves(self.origin.node.as_bytes());
        let [life_high, life_low] = halves(self.origin.incarnation.as_bytes());
        let words = [node_high, node_low, life_high, life_low, self.number];
        words.into_iter().fold(0, |hash, word| mix(hash ^ word)) as u32
    }
}

/// The messages that travel by way of this node.
pub(crate) struct News {
    /// For how long a message is kept, and how old it is when haves are told of it.
    keep_for: Duration,
    ripe_after: Duration,
    windows: Windows,
    now: Time,
    /// By the order in which they were heard.
    kept: BTreeMap<u64, Kept>,
    places: BTreeMap<u32, u64>,
    bytes: usize,
    next_place: u64,
    /// Those from this place on were heard so lately that haves are not told of them.
    next_ripe: u64,
    /// Those of which haves are told.
    haves: Queue<u64>,
    /// Who was told which of them and has not answered yet, the first to be told first.
    unanswered: VecDeque<(NodeId, Vec<u64>)>,
    /// Those that were not passed on yet, how they came, and how long they are.
    unpushed: Vec<(u64, Reach, Naming)>,
    unpushed_bytes: usize,
    pub(crate) wants: Wants,
}

struct Kept {
    message: Message,
    heard_at: Time,
}

impl News {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        Self {
            keep_for: config.period * KEEP_PERIODS,
            // When it is busy a message waits for others on its way, once for each of two hops.
            ripe_after: config.ack_timeout + config.period / 2,
            windows: Windows::default(),
            now: Time::ZERO,
            kept: BTreeMap::new(),
            places: BTreeMap::new(),
            bytes: 0,
            next_place: 0,
            next_ripe: 0,
            haves: Queue::new(rng),
            unanswered: VecDeque::new(),
            unpushed: Vec::new(),
            unpushed_bytes: 0,
            wants: Wants::new(config.ack_timeout),
        }
    }

    /// Time has passed: haves are told of what is old enough, and what is too old is forgotten.
    pub(crate) fn age(&mut self, now: Time) {
        self.now = now;
        while self.ripens_at().is_some_and(|at| at <= now) {
            self.haves.add(self.next_ripe);
            self.next_ripe += 1;
        }
        let keep_for = self.keep_for;
        let is_over = |kept: &Kept| kept.heard_at + keep_for <= now;
        while self.kept.first_key_value().is_some_and(|(_, kept)| is_over(kept)) {
            self.drop_oldest();
        }
    }

    /// When the next message is old enough that haves are told of it.
    fn ripens_at(&self) -> Option<Time> {
        self.kept.get(&self.next_ripe).map(|kept| kept.heard_at + self.ripe_after)
    }

    /// When something is to be done next.
    pub(crate) fn next_wake(&self) -> Option<Time> {
        self.ripens_at().into_iter().chain(self.wants.next_deadline()).min()
    }

    /// How many haves are to be told, as far as a packet takes them.
    pub(crate) fn haves_len(&self) -> usize {
        self.haves.len().min(HAVES_MAX)
    }

    /// Whether there are haves to be told.
    pub(crate) fn is_telling(&self) -> bool {
        !self.haves.is_quiet(TOLD_MAX)
    }

    /// Heard of this message.
    pub(crate) fn hear(
        &mut self,
        id: MessageId,
        round: u64,
        is_here: impl Fn(Member) -> bool,
    ) -> Novelty {
        let novelty = self.windows.hear(id, round, is_here);
        // What is still kept is known, even if its origin's window was forgotten meanwhile.
        if self.has(id) { Novelty::Known } else { novelty }
    }

    /// A new message is to be passed on, and kept for those who miss it. Says how many had to give
    /// way.
    #[must_use]
    pub(crate) fn keep(&mut self, message: Message, reach: Reach, naming: Naming) -> usize {
        let place = self.next_place;
        self.next_place += 1;
        self.bytes += kept_bytes(&message);
        assert!(!self.has(message.id), "a message is new once");
        self.places.insert(message.id.short(), place);
        if reach != Reach::NONE {
            self.unpushed.push((place, reach, naming));
            self.unpushed_bytes += message.content.told_len();
        }
        self.kept.insert(place, Kept { message, heard_at: self.now });
        let mut gave_way = 0;
        while self.bytes > KEPT_BYTES_MAX || self.kept.len() > KEPT_MAX {
            self.drop_oldest();
            gave_way += 1;
        }
        gave_way
    }

    /// How long the messages are that were not passed on yet, all together; none if there are none.
    pub(crate) fn unpushed_bytes(&self) -> Option<usize> {
        (!self.unpushed.is_empty()).then_some(self.unpushed_bytes)
    }

    /// The messages to be passed on that were not yet, and are still kept, and how they came.
    pub(crate) fn take_unpushed(&mut self) -> Vec<(Message, Reach, Naming)> {
        self.unpushed_bytes = 0;
        let unpushed = std::mem::take(&mut self.unpushed);
        let message = |(place, reach, naming): (u64, Reach, Naming)| {
            Some((self.kept.get(&place)?.message.clone(), reach, naming))
        };
        unpushed.into_iter().filter_map(message).collect()
    }

    /// The haves to be told in a packet that has `room` for so many, beside those that its receiver
    /// just told. They count as told when it [answers](Self::on_answer).
    pub(crate) fn haves(&mut self, to: NodeId, told: &[u32], room: usize) -> Vec<u32> {
        let mut haves = Vec::new();
        let kept = &self.kept;
        let places = self.haves.offer_uncounted(TOLD_MAX, |place| {
            let short = kept[place].message.id.short();
            let tells = haves.len() < room.min(HAVES_MAX) && !told.contains(&short);
            tells.then(|| haves.push(short)).is_some()
        });
        if !places.is_empty() {
            if self.unanswered.len() == UNANSWERED_MAX {
                self.unanswered.pop_front();
            }
            self.unanswered.push_back((to, places));
        }
        haves
    }

    /// Whoever was told of haves is there.
    pub(crate) fn on_answer(&mut self, from: NodeId) {
        let haves = &mut self.haves;
        self.unanswered.retain(|(to, places)| {
            let is_his = *to == from;
            if is_his {
                places.iter().for_each(|place| haves.raise(place, 1));
            }
            !is_his
        });
        self.haves.done(TOLD_MAX);
    }

    /// What is wanted of what somebody has: what this node lacks, and asks nobody for just now.
    /// What it has itself it need not tell so often.
    pub(crate) fn wants(&mut self, from: NodeId, haves: &[u32]) -> Vec<u32> {
        let mut wants = Vec::new();
        for have in haves.iter().take(HAVES_MAX) {
            if let Some(place) = self.places.get(have) {
                self.haves.raise(place, 1);
            } else if self.wants.ask(*have, from, self.now) {
                wants.push(*have);
            }
        }
        wants
    }

    /// Which of what somebody has was announced here.
    pub(crate) fn announced<'a>(
        &'a self,
        haves: &'a [u32],
    ) -> impl Iterator<Item = MessageId> + 'a {
        let places = haves.iter().take(HAVES_MAX).filter_map(|have| self.places.get(have));
        let messages = places.map(|place| &self.kept[place].message);
        messages.filter(|message| message.content.is_announced()).map(|message| message.id)
    }

    /// What somebody wants, as far as it is kept. Whoever misses one is helped in person.
    pub(crate) fn wanted(&self, wants: &[u32]) -> Vec<Pushed> {
        let places = wants.iter().take(HAVES_MAX).filter_map(|want| self.places.get(want));
        let messages = places.map(|place| &self.kept[place].message);
        messages.map(|message| Pushed::new(message, Reach::NONE, Naming::InFull)).collect()
    }

    /// Forgets which messages of those who are silent were heard.
    pub(crate) fn forget(&mut self, round: u64, is_here: impl Fn(Member) -> bool) {
        self.windows.forget(round, is_here);
    }

    /// How many origins gave way to others since this was asked last.
    pub(crate) fn take_given_way(&mut self) -> usize {
        self.windows.take_given_way()
    }

    fn has(&self, id: MessageId) -> bool {
        let place = self.places.get(&id.short());
        place.is_some_and(|place| self.kept[place].message.id == id)
    }

    fn drop_oldest(&mut self) {
        let (place, Kept { message, .. }) = self.kept.pop_first().expect("some are kept");
        // If two are called alike the name is the later one's.
        let short = message.id.short();
        if self.places.get(&short) == Some(&place) {
            self.places.remove(&short);
        }
        self.haves.remove(&place);
        self.next_ripe = self.next_ripe.max(place + 1);
        self.bytes -= kept_bytes(&message);
    }
}

fn kept_bytes(message: &Message) -> usize {
    size_of::<Kept>() + message.content.told_len()
}

/// What all messages that are kept may take together, in bytes.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The most messages that are kept.
const KEPT_MAX: usize = 16_384;

/// For how many periods a message is kept, for those who miss it.
const KEEP_PERIODS: u32 = 25;

/// How often a have is told, or heard from others.
const TOLD_MAX: u32 = 8;

/// By how many bytes of an id and of an incarnation a member is called for short: of 10,000 two are
/// called alike in one cluster of a billion.
pub(crate) const SHORT_NODE_LEN: usize = 5;
pub(crate) const SHORT_INCARNATION_LEN: usize = 2;

/// Among how many who are called alike a member is sought, or whoever makes up members of such ids
/// has all of them looked through for each message. Up to so many of them hide nobody.
const ALIKE_MAX: usize = 64;

/// To how many packets of haves an answer is waited for.
const UNANSWERED_MAX: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::entry::tests::entry;
    use bytes::Bytes;
    use live_objects::{Incarnation, Rng};
    use proptest::prelude::*;

    pub(crate) fn message(origin: u8, number: u64, bytes: &'static [u8]) -> Message {
        Message {
            id: MessageId { origin: entry(origin, 1).member, number },
            topic: Topic(4),
            content: Content::Whole(Bytes::from_static(bytes)),
        }
    }

    /// Any message at all, with any reach.
    pub(crate) fn pushes() -> impl Strategy<Value = Pushed> {
        let reaches = 0..=u8::from(Reach::NONE);
        (messages(), reaches, any::<bool>()).prop_map(|(message, reach, is_short)| {
            let reach = Reach::try_from(reach).expect("no longer than an id");
            Pushed::new(&message, reach, if is_short { Naming::Short } else { Naming::InFull })
        })
    }

    fn messages() -> impl Strategy<Value = Message> {
        let bytes = prop::collection::vec(any::<u8>(), 0..40);
        ((any::<([[u8; 16]; 2], u64)>(), 0..1_u64 << 48), bytes).prop_map(
            |(((ids, number), topic), bytes)| {
                let [node, incarnation] = ids;
                let node = NodeId::from_bytes(node);
                let origin = Member { node, incarnation: Incarnation::from_bytes(incarnation) };
                let id = MessageId { origin, number };
                let content = if number % 3 == 0 {
                    Content::Announced(Announcement::of(&vec![
                        7;
                        MESSAGE_BYTES_MAX + 1 + bytes.len()
                    ]))
                } else {
                    Content::Whole(bytes.into())
                };
                Message { id, topic: Topic(topic), content }
            },
        )
    }

    /// Also one whose id begins as another's does.
    #[test]
    fn who_is_called_for_short_is_found_among_members() {
        let mut members = Members::new(entry(9, 1));
        let mut alike = entry(1, 1);
        alike.member.incarnation = Incarnation::from_bytes([0xee; Incarnation::LEN]);
        let mut id = *alike.member.node.as_bytes();
        id[NodeId::LEN - 1] ^= 1;
        alike.member.node = NodeId::from_bytes(id);
        let known = [entry(1, 1), alike];
        known.iter().for_each(|entry| drop(members.merge(entry.clone())));
        for Entry { member, .. } in &known {
            let [short, full] = [Naming::Short, Naming::InFull].map(|it| Origin::new(*member, it));
            assert_eq!([short, full].map(|it| it.member(&members)), [Some(*member); 2]);
        }
        let stranger = entry(2, 1).member;
        assert_eq!(Origin::new(stranger, Naming::Short).member(&members), None);
        assert_eq!(Origin::new(stranger, Naming::InFull).member(&members), Some(stranger));
        let restarted = Member { incarnation: stranger.incarnation, ..known[0].member };
        assert_eq!(Origin::new(restarted, Naming::Short).member(&members), None);
    }

    /// Made-up members whose ids begin alike are not all looked through for each message.
    #[test]
    fn among_many_who_are_called_alike_few_are_looked_at() {
        let mut members = Members::new(entry(9, 1));
        let alike = |last: u8| {
            let mut alike = entry(1, 1);
            let mut id = *alike.member.node.as_bytes();
            id[NodeId::LEN - 1] = last;
            alike.member.node = NodeId::from_bytes(id);
            alike.member.incarnation = Incarnation::from_bytes([last; Incarnation::LEN]);
            alike
        };
        (1..100).for_each(|last| drop(members.merge(alike(last))));
        let found = |last: u8| Origin::new(alike(last).member, Naming::Short).member(&members);
        assert_eq!((1..100).filter(|last| found(*last).is_some()).count(), ALIKE_MAX);
    }

    fn news() -> News {
        News::new(&Config::default(), Rng::from_seed([7; 32]))
    }

    fn node(number: u8) -> NodeId {
        entry(number, 1).member.node
    }

    fn keep(news: &mut News, message: &Message) {
        assert_eq!(news.hear(message.id, 0, |_| true), Novelty::New);
        assert_eq!(news.keep(message.clone(), Reach::ALL, Naming::Short), 0);
    }

    fn at(periods: u32) -> Time {
        Time::ZERO + Config::default().period * periods
    }

    #[test]
    fn a_message_is_passed_on_once_and_kept_for_a_while() {
        let (mut news, first) = (news(), message(1, 0, b"first"));
        keep(&mut news, &first);
        assert_eq!(news.unpushed_bytes(), Some(5));
        assert_eq!(news.take_unpushed(), [(first.clone(), Reach::ALL, Naming::Short)]);
        assert_eq!((news.unpushed_bytes(), news.take_unpushed()), (None, Vec::new()));
        let wants = [first.id.short(), 7];
        let pushed = Pushed::new(&first, Reach::NONE, Naming::InFull);
        assert_eq!(news.wanted(&wants), [pushed]);
        news.age(at(KEEP_PERIODS - 1));
        assert_eq!(news.wanted(&wants).len(), 1);
        news.age(at(KEEP_PERIODS));
        assert_eq!(news.wanted(&wants), []);
        assert_eq!((news.kept.len(), news.places.len(), news.bytes), (0, 0, 0));
        assert!(!news.is_telling());
        assert_eq!(news.hear(first.id, 0, |_| true), Novelty::Known, "which it was is remembered");
    }

    #[test]
    fn haves_are_told_when_they_are_ripe_and_a_few_times() {
        let (mut news, first) = (news(), message(1, 0, b"first"));
        let have = [first.id.short()];
        keep(&mut news, &first);
        let ripe = Time::ZERO + Config::default().ack_timeout + Config::default().period / 2;
        assert_eq!(news.next_wake(), Some(ripe));
        assert!(news.haves(node(2), &[], 9).is_empty() && !news.is_telling());
        news.age(ripe);
        assert!(news.is_telling() && news.next_wake().is_none());
        assert!(news.haves(node(2), &[], 0).is_empty(), "there is no room");
        assert!(news.haves(node(2), &have, 9).is_empty(), "the other has it");
        assert!(news.wants(node(2), &have).is_empty());
        for _ in 0..2 * UNANSWERED_MAX {
            assert_eq!(news.haves(node(3), &[], 9), have, "nobody is there to hear it");
        }
        assert_eq!(news.unanswered.len(), UNANSWERED_MAX);
        for _ in 1..TOLD_MAX {
            assert_eq!(news.haves(node(2), &[], 9), have);
            news.on_answer(node(2));
        }
        assert!(news.haves(node(2), &[], 9).is_empty() && !news.is_telling());
        assert_eq!(news.wanted(&have).len(), 1, "it is given for longer");
    }

    #[test]
    fn what_came_after_it_was_asked_for_goes_no_further() {
        let (mut news, first) = (news(), message(1, 0, b"first"));
        let have = [first.id.short()];
        assert_eq!(news.wants(node(2), &have), have);
        assert!(news.wants(node(3), &have).is_empty(), "one is asked at a time");
        assert_eq!(news.keep(first, Reach::NONE, Naming::InFull), 0);
        assert!(news.take_unpushed().is_empty() && news.wants(node(2), &have).is_empty());
    }

    #[test]
    fn a_packet_is_looked_at_so_far() {
        let mut news = news();
        let all: Vec<u32> = (0..2 * HAVES_MAX as u64)
            .map(|number| {
                let message = message(1, number, b"one");
                keep(&mut news, &message);
                message.id.short()
            })
            .collect();
        news.age(at(1));
        assert_eq!(news.haves(node(2), &[], usize::MAX).len(), HAVES_MAX);
        assert_eq!(news.wanted(&all).len(), HAVES_MAX);
        let unknown: Vec<u32> = (0..2 * HAVES_MAX as u32).collect();
        assert_eq!(news.wants(node(2), &unknown).len(), HAVES_MAX);
    }

    #[test]
    fn what_is_kept_is_known_though_its_window_is_forgotten() {
        let (mut news, last) = (news(), message(1, u64::MAX - 1, b"last"));
        keep(&mut news, &last);
        news.forget(u64::MAX, |_| true);
        assert_eq!(news.hear(last.id, 0, |_| true), Novelty::Known);
    }

    #[test]
    fn the_oldest_give_way() {
        for (long, most) in [(MESSAGE_BYTES_MAX, KEPT_BYTES_MAX), (1, usize::MAX)] {
            let long: &'static [u8] = &[7; MESSAGE_BYTES_MAX][..long];
            let mut news = news();
            let count = (most / kept_bytes(&message(1, 0, long))).min(KEPT_MAX);
            (0..count as u64).for_each(|number| keep(&mut news, &message(1, number, long)));
            assert_eq!(news.keep(message(2, 0, long), Reach::ALL, Naming::Short), 1);
            assert!(news.bytes <= KEPT_BYTES_MAX && news.kept.len() <= KEPT_MAX);
            assert!(!news.places.contains_key(&message(1, 0, long).id.short()));
            assert_eq!(news.take_unpushed().len(), count, "what is gone is not pushed");
            news.age(at(1));
            assert!(news.is_telling());
        }
    }
}
