//! The streams of one region: each member numbers its frames 1, 2, 3, … and sends them to all
//! others by datagram. A frame is kept until it is *stable*, held by every member; whoever misses
//! one asks any holder for it (a NAK), since a frame is the same wherever it is kept. A sender
//! hears from each member how far it got, and is the one who knows what is stable; it says so in
//! its next frame or, if there is none, in a *tail*.
//!
//! When a view is to be changed the streams of regions that lose members are *wedged*: what a
//! member holds then is what it promises to hold, so it delivers and acknowledges nothing more
//! until the *trim* says how far each stream goes. What lies beyond the trim was never sent.
//!
//! Invariants: what a member acknowledged it holds until all members do. A wedged member
//! acknowledges nothing that it did not promise.

mod pace;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{Member, NodeId, Rng, Time};
use rand::RngExt;
use rand::seq::IteratorRandom;

use self::pace::Pace;
use crate::wire::{Frame, Packet, RANGES_MAX, Tag};

/// A member's part in the streams of a region.
pub(crate) struct Streams {
    tag: Tag,
    members: Arc<[Member]>,
    others: Vec<NodeId>,
    me: usize,
    sequencer: usize,
    rng: Rng,
    streams: Vec<Stream>,
    own: Own,
    is_wedged: bool,
    /// Where the streams end, and who holds most of each, as long as frames up to there are
    /// missing.
    goal: Option<Vec<(u64, NodeId)>>,
    /// Nothing more is acknowledged until what was received is consumed.
    is_choked: bool,
    /// Frames in order, to be delivered.
    fresh: VecDeque<Frame>,
    /// How many bytes of frames are kept.
    kept_bytes: usize,
    out: Vec<(NodeId, Bytes)>,
    /// When there is something to do next, as the last step left it.
    wakes_at: Option<Time>,
}

/// One stream as it is received, or, of this member's own, sent.
#[derive(Default)]
struct Stream {
    /// All frames up to here have come.
    prefix: u64,
    /// Frames that may be asked for, by number.
    kept: BTreeMap<u64, Bytes>,
    /// Frames that came too early, by number.
    early: BTreeMap<u64, Frame>,
    /// The highest number heard of.
    last: u64,
    /// How far all members hold it, as its sender said.
    stable: u64,
    /// How far this member has said that it holds it, and whether that is to be said again.
    acknowledged: u64,
    is_asked: bool,
    /// When what is missing is asked for next, and how often it was.
    ask_at: Option<Time>,
    asked: u32,
    /// When its sender is asked what is stable, if nothing is heard, and how often it was.
    query_at: Option<Time>,
    queried: u32,
}

/// What a member knows as the sender of a stream.
struct Own {
    /// How far each member got.
    acknowledged: Vec<u64>,
    /// Who holds all that it needs, whatever comes.
    is_done: Vec<bool>,
    stable: u64,
    /// The stable number that everybody was told of.
    told_stable: u64,
    /// Whether what became stable is to be told at once.
    is_awaited: bool,
    unstable_bytes: usize,
    pace: Pace,
    /// When it is to be found out who does not keep up.
    pace_at: Option<Time>,
    tail_at: Option<Time>,
    tails: u32,
}

impl Streams {
    /// The streams of these members, of which this is one, and the sequencer another or the same.
    pub(crate) fn new(
        tag: Tag,
        members: impl Into<Arc<[Member]>>,
        me: Member,
        sequencer: usize,
        rng: Rng,
    ) -> Self {
        let members: Arc<[Member]> = members.into();
        let place = members.iter().position(|member| *member == me);
        let others = members.iter().filter(|member| **member != me);
        Self {
            tag,
            others: others.map(|member| member.node).collect(),
            me: place.expect("only members have streams"),
            sequencer,
            rng,
            streams: members.iter().map(|_| Stream::default()).collect(),
            own: Own::new(members.len()),
            members,
            is_wedged: false,
            goal: None,
            is_choked: false,
            fresh: VecDeque::new(),
            kept_bytes: 0,
            out: Vec::new(),
            wakes_at: None,
        }
    }

    pub(crate) fn tag(&self) -> Tag {
        self.tag
    }

    pub(crate) fn members(&self) -> &Arc<[Member]> {
        &self.members
    }

    /// This member's place among them.
    pub(crate) fn me(&self) -> usize {
        self.me
    }

    /// The place of the member whose stream is the total order.
    pub(crate) fn sequencer(&self) -> usize {
        self.sequencer
    }

    /// The others, as targets.
    pub(crate) fn others(&self) -> &[NodeId] {
        &self.others
    }

    pub(crate) fn is_wedged(&self) -> bool {
        self.is_wedged
    }

    /// How many bytes of frames are kept that not all are known to hold.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The next frame to be delivered, in the order of its stream.
    pub(crate) fn next_fresh(&mut self) -> Option<Frame> {
        self.fresh.pop_front()
    }

    /// How far a stream is known to be stable.
    pub(crate) fn stable(&self, place: usize) -> u64 {
        if place == self.me {
            self.own.stable
        } else {
            self.streams.get(place).map_or(0, |stream| stream.stable)
        }
    }

    /// How far each stream has come.
    pub(crate) fn prefixes(&self) -> Vec<u64> {
        self.streams.iter().map(|stream| stream.prefix).collect()
    }

    /// Whether the credit lets this member cut another frame.
    pub(crate) fn has_credit(&self) -> bool {
        self.own.pace.has_room() && self.own.unstable_bytes < UNSTABLE_BYTES_MAX
    }

    /// Whether all that was sent is held by everybody, as far as this member knows.
    pub(crate) fn is_stable(&self) -> bool {
        let mut streams = self.streams.iter().enumerate();
        let is_stable = |(place, stream): (usize, &Stream)| {
            stream.prefix == stream.last && self.stable(place) == stream.prefix
        };
        self.fresh.is_empty() && streams.all(is_stable)
    }

    /// Acknowledges nothing new, or goes on.
    pub(crate) fn set_choked(&mut self, is_choked: bool) {
        self.is_choked = is_choked;
    }

    /// What becomes stable from now on is waited for by an application.
    pub(crate) fn await_stable(&mut self) {
        self.own.is_awaited = true;
    }

    /// The number of this member's next frame.
    pub(crate) fn next_number(&self) -> u64 {
        self.streams[self.me].prefix + 1
    }

    /// How far this member's own stream is stable.
    pub(crate) fn own_stable(&self) -> u64 {
        self.own.stable
    }

    /// Whether a frame came before.
    pub(crate) fn has(&self, frame: &Frame) -> bool {
        let stream = self.streams.get(usize::from(frame.origin));
        stream.is_some_and(|it| frame.number <= it.prefix || it.early.contains_key(&frame.number))
    }

    /// Takes in a frame that this member has cut. The caller sends it to the others.
    pub(crate) fn cast(&mut self, now: Time, frame: Frame, bytes: Bytes) {
        assert!(!self.is_wedged, "a wedged member cuts no frames");
        let stream = &mut self.streams[self.me];
        assert_eq!(frame.number, stream.prefix + 1, "frames are numbered one by one");
        stream.prefix = frame.number;
        stream.last = frame.number;
        self.own.told_stable = self.own.stable;
        self.own.acknowledged[self.me] = frame.number;
        if self.members.len() > 1 {
            self.own.unstable_bytes += bytes.len();
            self.own.pace.cast(now, bytes.len());
            self.kept_bytes += bytes.len();
            stream.kept.insert(frame.number, bytes);
            self.own.tails = 0;
            self.own.tail_at = Some(now + self.own.pause());
        } else {
            self.own.stable = frame.number;
            self.own.told_stable = frame.number;
        }
        self.fresh.push_back(frame);
        if self.own.is_done.contains(&true) {
            self.settle(now);
        }
    }

    /// Takes in a packet of this view. Tells whether it made sense.
    pub(crate) fn on_packet(
        &mut self,
        now: Time,
        from: NodeId,
        packet: Packet,
        bytes: Bytes,
    ) -> bool {
        let Some(from) = self.members.iter().position(|member| member.node == from) else {
            return false;
        };
        match packet {
            Packet::Data(frame) => return self.on_data(now, from, frame, bytes),
            Packet::Ack(number) => self.on_ack(now, from, number),
            Packet::Nak { origin, ranges } => {
                let Some(stream) = self.streams.get(usize::from(origin)) else { return false };
                let wanted =
                    ranges.iter().flat_map(|(first, last)| stream.kept.range(first..=last));
                let node = self.members[from].node;
                self.out.extend(wanted.take(REPAIRS_MAX).map(|(_, bytes)| (node, bytes.clone())));
            }
            Packet::Tail { last, stable } => {
                let stream = &mut self.streams[from];
                stream.last = stream.last.max(last);
                self.kept_bytes -= stream.set_stable(stable);
                // If not all of it is, the sender may lack what this member said of it.
                stream.is_asked |= stable < last;
            }
            Packet::Query => {
                let tail = Packet::Tail { last: self.next_number() - 1, stable: self.own.stable };
                self.out.push((self.members[from].node, tail.encode(self.tag)));
            }
            Packet::Done => {
                // Everybody holds all that it sent, and it wants no more of anybody.
                let stream = &mut self.streams[from];
                stream.last = stream.prefix;
                self.kept_bytes -= stream.set_stable(stream.prefix);
                self.own.is_done[from] = true;
                self.settle(now);
            }
        }
        true
    }

    fn on_data(&mut self, now: Time, from: usize, frame: Frame, bytes: Bytes) -> bool {
        let origin = usize::from(frame.origin);
        if origin == self.me || origin >= self.streams.len() {
            return origin == self.me;
        }
        let is_wedged = self.is_wedged;
        let stream = &mut self.streams[origin];
        if from == origin {
            self.kept_bytes -= stream.set_stable(frame.stable);
        }
        stream.last = stream.last.max(frame.number);
        if frame.number <= stream.prefix || stream.early.contains_key(&frame.number) {
            // Its sender does not know that it came.
            stream.is_asked = true;
            return true;
        }
        if frame.number > stream.prefix + AHEAD_MAX {
            return true;
        }
        self.kept_bytes += bytes.len();
        stream.kept.insert(frame.number, bytes);
        stream.early.insert(frame.number, frame);
        if !is_wedged {
            stream.advance(&mut self.fresh);
        }
        if stream.prefix == stream.last {
            stream.ask_at = None;
        } else {
            stream.ask_at.get_or_insert(now + ASK);
        }
        true
    }

    fn on_ack(&mut self, now: Time, from: usize, number: u64) {
        let last = self.streams[self.me].prefix;
        let acknowledged = &mut self.own.acknowledged[from];
        if number <= *acknowledged || number > last {
            return;
        }
        *acknowledged = number;
        self.own.pace.on_ack(now, from, number);
        self.settle(now);
    }

    /// Finds out who does not keep up.
    fn look(&mut self, now: Time) {
        let Own { acknowledged, is_done, pace, pace_at, .. } = &mut self.own;
        let others = lacking(acknowledged, is_done, self.me);
        let had_room = pace.has_room();
        *pace_at = pace.look(now, others.clone());
        pace.settle(others, &self.streams[self.me].kept);
        if !had_room && pace.has_room() {
            *pace_at = Some(now);
        }
    }

    /// Lets go of what all hold by now.
    fn settle(&mut self, now: Time) {
        let Own { acknowledged, is_done, pace, .. } = &mut self.own;
        pace.settle(lacking(acknowledged, is_done, self.me), &self.streams[self.me].kept);
        let counts = self.own.acknowledged.iter().zip(&self.own.is_done);
        let counts = counts.filter(|(_, is_done)| !**is_done).map(|(number, _)| *number);
        let stable = counts.min().expect("this member is not done");
        if stable > self.own.stable {
            self.own.stable = stable;
            let kept = &mut self.streams[self.me].kept;
            let rest = kept.split_off(&(stable + 1));
            let freed: usize = std::mem::replace(kept, rest).values().map(Bytes::len).sum();
            self.own.unstable_bytes -= freed;
            self.kept_bytes -= freed;
            self.own.tails = 0;
            self.own.tail_at = Some(now + TAIL);
        }
    }

    /// No member is lost after all: what waited goes on.
    pub(crate) fn unwedge(&mut self) {
        self.is_wedged = false;
        self.goal = None;
        self.streams.iter_mut().for_each(|stream| stream.advance(&mut self.fresh));
    }

    /// No more is delivered. Returns what this member holds.
    /// Of each stream how far, and which ranges beyond that.
    pub(crate) fn wedge(&mut self) -> Vec<(u64, Vec<(u64, u64)>)> {
        self.is_wedged = true;
        let mut ranges = RANGES_PROMISED_MAX;
        let streams = self.streams.iter().map(|stream| {
            let mut beyond: Vec<(u64, u64)> = Vec::new();
            for &number in stream.early.keys() {
                match beyond.last_mut() {
                    Some((_, last)) if *last + 1 == number => *last = number,
                    _ => beyond.push((number, number)),
                }
            }
            beyond.truncate(ranges);
            ranges -= beyond.len();
            (stream.prefix, beyond)
        });
        streams.collect()
    }

    /// Sees to it that this member holds every frame of streams that end so, which this node holds
    /// most of. Tells whether it does already.
    pub(crate) fn gather(&mut self, ends: &[(u64, NodeId)]) -> bool {
        let is_held = self.holds(ends.iter().map(|(last, _)| *last));
        let goal = (!is_held).then(|| ends.to_vec());
        if goal.is_some() && goal != self.goal {
            for stream in &mut self.streams {
                (stream.ask_at, stream.asked) = (None, 0);
            }
        }
        self.goal = goal;
        is_held
    }

    /// Whether this member holds each stream up to such a number.
    pub(crate) fn holds(&self, lasts: impl Iterator<Item = u64>) -> bool {
        self.streams.iter().zip(lasts).all(|(stream, last)| stream.missing(last).is_empty())
    }

    /// Whether a trim can be this view's: it cuts off nothing that this member delivered.
    pub(crate) fn admits(&self, trim: &[u64]) -> bool {
        trim.len() == self.streams.len()
            && self.streams.iter().zip(trim).all(|(stream, trim)| stream.prefix <= *trim)
    }

    /// Delivers what the trim lets through, and drops the rest. What is missing is passed over,
    /// which the caller has seen to that nothing is.
    pub(crate) fn finish_at(&mut self, trim: &[u64]) {
        for (stream, &trim) in self.streams.iter_mut().zip(trim) {
            let rest = stream.early.split_off(&(trim + 1));
            drop(rest);
            self.fresh.extend(std::mem::take(&mut stream.early).into_values());
        }
    }

    /// What is to be sent now: repairs, acknowledgements, questions, tails.
    pub(crate) fn finish(&mut self, now: Time) -> Vec<(NodeId, Bytes)> {
        let me = self.me;
        for place in (0..self.streams.len()).filter(|place| *place != me) {
            self.acknowledge(place);
            self.ask(now, place);
            self.query(now, place);
        }
        self.tell(now);
        self.look(now);
        let timers = self.streams.iter().flat_map(|stream| [stream.ask_at, stream.query_at]);
        self.wakes_at = timers.chain([self.own.tail_at, self.own.pace_at]).flatten().min();
        std::mem::take(&mut self.out)
    }

    pub(crate) fn next_wake(&self) -> Option<Time> {
        self.wakes_at
    }

    fn acknowledge(&mut self, place: usize) {
        let stream = &mut self.streams[place];
        let asked = std::mem::take(&mut stream.is_asked);
        let may_more = !self.is_wedged && !self.is_choked;
        if may_more && stream.prefix > stream.acknowledged {
            stream.acknowledged = stream.prefix;
        } else if !asked {
            return;
        }
        let packet = Packet::Ack(stream.acknowledged);
        self.out.push((self.members[place].node, packet.encode(self.tag)));
    }

    /// Asks for what is missing of a stream: whoever is known to hold it, or somebody at random and
    /// its sender in turn.
    fn ask(&mut self, now: Time, place: usize) {
        let stream = &mut self.streams[place];
        let end = self.goal.as_ref().and_then(|goal| goal.get(place)).copied();
        let until = end.map_or(stream.last, |(last, _)| last);
        let missing = if self.is_wedged && end.is_none() { vec![] } else { stream.missing(until) };
        if missing.is_empty() {
            stream.ask_at = None;
            stream.asked = 0;
            return;
        }
        // A gap may close by itself, since datagrams overtake each other; a trim is known to be.
        let first_at = if end.is_some() { now } else { now + ASK };
        let ask_at = *stream.ask_at.get_or_insert(first_at);
        if now < ask_at {
            return;
        }
        let sender = self.members[place].node;
        let likely = end.map_or(sender, |(_, holder)| holder);
        let is_likely_ones_turn = stream.asked.is_multiple_of(2) == end.is_some();
        let others = self.others.iter().copied().filter(|other| *other != sender);
        let other = others.choose(&mut self.rng).filter(|_| !is_likely_ones_turn);
        let origin = u16::try_from(place).expect("a view has at most 1,024 members");
        let packet = Packet::Nak { origin, ranges: missing };
        self.out.push((other.unwrap_or(likely), packet.encode(self.tag)));
        let pause = ASK_AGAIN * 2_u32.pow(stream.asked.min(3));
        stream.asked += 1;
        stream.ask_at = Some(now + pause.mul_f64(self.rng.random_range(0.8..1.2)));
    }

    /// Asks a sender what is stable, if it should be and nothing was heard.
    fn query(&mut self, now: Time, place: usize) {
        let stream = &mut self.streams[place];
        if self.is_wedged || stream.stable == stream.prefix {
            stream.query_at = None;
            stream.queried = 0;
            return;
        }
        let query_at = *stream.query_at.get_or_insert(now + QUERY);
        if now >= query_at {
            self.out.push((self.members[place].node, Packet::Query.encode(self.tag)));
            stream.query_at = Some(now + QUERY * 2_u32.pow(stream.queried.min(3)));
            stream.queried += 1;
        }
    }

    /// Tells those who did not hear of this member's last frames that they are, and all what is
    /// stable.
    fn tell(&mut self, now: Time) {
        let Some(last) = self.streams.get(self.me).map(|stream| stream.prefix) else { return };
        let own = &mut self.own;
        let is_news = own.stable > own.told_stable;
        if own.is_awaited && is_news {
            own.tail_at = Some(now);
        }
        if own.tail_at.is_none_or(|at| now < at) {
            return;
        }
        let tail = Packet::Tail { last, stable: own.stable }.encode(self.tag);
        for (place, member) in self.members.iter().enumerate() {
            let lacks = own.acknowledged[place] < last;
            if place != self.me && !own.is_done[place] && (is_news || lacks) {
                self.out.push((member.node, tail.clone()));
            }
        }
        own.told_stable = own.stable;
        own.is_awaited &= own.stable < last;
        let pause = own.pause() * 2_u32.pow(own.tails.min(4));
        own.tails += 1;
        own.tail_at = (own.stable < last).then_some(now + pause);
    }
}

/// How far each of the others has come who wants more, by its place.
fn lacking<'a>(
    acknowledged: &'a [u64],
    is_done: &'a [bool],
    me: usize,
) -> impl Iterator<Item = (usize, u64)> + Clone + 'a {
    let all = acknowledged.iter().copied().zip(is_done).enumerate();
    let wanting = all.filter(move |(place, (_, is_done))| *place != me && !**is_done);
    wanting.map(|(place, (number, _))| (place, number))
}

impl Own {
    /// How long it is silent after its last frame, at first.
    fn pause(&self) -> Duration {
        if self.is_awaited { TAIL_AWAITED } else { TAIL }
    }

    fn new(members: usize) -> Self {
        Self {
            acknowledged: vec![0; members],
            is_done: vec![false; members],
            stable: 0,
            told_stable: 0,
            is_awaited: false,
            unstable_bytes: 0,
            pace: Pace::new(members),
            pace_at: None,
            tail_at: None,
            tails: 0,
        }
    }
}

impl Stream {
    /// Tells how many bytes need not be kept any more.
    fn set_stable(&mut self, stable: u64) -> usize {
        // What this member does not hold is not stable, whatever the sender says.
        let stable = stable.min(self.prefix);
        if stable <= self.stable {
            return 0;
        }
        self.stable = stable;
        self.query_at = None;
        self.queried = 0;
        let rest = self.kept.split_off(&(stable + 1));
        std::mem::replace(&mut self.kept, rest).values().map(Bytes::len).sum()
    }

    /// Hands out what follows without a gap.
    fn advance(&mut self, fresh: &mut VecDeque<Frame>) {
        while let Some(frame) = self.early.remove(&(self.prefix + 1)) {
            self.prefix += 1;
            self.asked = 0;
            fresh.push_back(frame);
        }
    }

    /// The first ranges of frames that have not come, up to and with `until`.
    fn missing(&self, until: u64) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut next = self.prefix + 1;
        let ends = self.early.keys().copied().chain([until.saturating_add(1)]);
        for number in ends {
            if next > until || ranges.len() == RANGES_MAX {
                break;
            }
            if number > next {
                ranges.push((next, until.min(number - 1)));
            }
            next = number + 1;
        }
        ranges
    }
}

/// How many bytes of frames a member keeps for those who do not keep up.
const UNSTABLE_BYTES_MAX: usize = 16 << 20;
/// How far ahead of what is missing a frame is kept.
const AHEAD_MAX: u64 = 4_096;
/// How many ranges of frames beyond gaps are promised.
const RANGES_PROMISED_MAX: usize = 512;
/// How many frames answer one NAK.
const REPAIRS_MAX: usize = 64;
/// How long a gap may close by itself.
const ASK: Duration = Duration::from_millis(10);
/// How long an answer is waited for, at first.
const ASK_AGAIN: Duration = Duration::from_millis(60);
/// How long it may take until frames are heard to be stable, at first.
const QUERY: Duration = Duration::from_millis(100);
/// How long after its last frame a member that has no more to send tells of it, at first.
const TAIL: Duration = Duration::from_millis(40);
/// The same, if somebody waits until they are stable.
const TAIL_AWAITED: Duration = Duration::from_millis(20);
