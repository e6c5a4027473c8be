//! What a member sends: frames cut just in time from the feeds of its objects, as far as its credit
//! goes.
//!
//! What cannot be sent is not taken, and the application's `send` waits with it. A command stays in
//! its feed until it is *stable*, so that what a change of view cut off is simply taken again: a
//! message is sent in the view in which its last part is cut. An update counts as stable when the
//! frame that gave it its place in the total order is so too: else its order, and with it the reply
//! to it, might not outlive this member.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use live_objects::{Io, ObjectId, Target, Time, Via};

use crate::config::Mutation;
use crate::delivery::SEQUENCER;
use crate::groups::{Groups, class_of};
use crate::map::Change;
use crate::objects::Objects;
use crate::streams::Streams;
use crate::wire::{
    Class, FrameWriter, Header, ORDER_LEN, PACKET_LEN_MAX, PART_LEN, Packet, Part, Tag,
};

/// What a member has to send and what became of it.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Changes of the map to be said.
    changes: VecDeque<Change>,
    /// Of the sequencer: how far each member's frames are to be ordered.
    orders: BTreeMap<u16, u64>,
    /// The number of each member's last ordered frame, and the map that it was cut under.
    ordered: BTreeMap<u16, (u64, u64)>,
    /// Frames that are not stable, and which command of which object each holds some of.
    sent: VecDeque<(u64, Vec<(ObjectId, u64)>)>,
    /// Objects of which a command was cut in part.
    halves: BTreeMap<ObjectId, u64>,
    /// Commands that were wholly cut and are not stable, by class.
    awaiting: [VecDeque<Awaiting>; 2],
    /// Those of views that went on without this member.
    past: Vec<Past>,
    /// Whose turn it is, and how many bytes it took in it.
    turn: Option<(ObjectId, usize)>,
    /// Some object had more than its turn took.
    is_hungry: bool,
}

/// A command on its way to being stable.
struct Awaiting {
    object: ObjectId,
    message: u64,
    frame: u64,
    /// The sequencer's frame that gave it its place, once it has one.
    ordered_by: Option<u64>,
    is_told: bool,
}

/// What was cut in a view that went on without this member.
struct Past {
    tag: Tag,
    /// So far its stream was known to be stable.
    stable: u64,
    awaiting: Vec<Awaiting>,
}

/// A frame that is being filled, and which command of which object it holds some of.
struct Draft {
    writer: FrameWriter,
    number: u64,
    parts: Vec<(ObjectId, u64)>,
}

/// What sending goes by.
pub(crate) struct With<'a> {
    pub(crate) streams: &'a mut Streams,
    pub(crate) groups: &'a mut Groups,
    pub(crate) objects: &'a mut Objects,
}

impl Outbox {
    /// This is to be said in the group map.
    pub(crate) fn say(&mut self, change: Change) {
        self.changes.push_back(change);
    }

    /// Nothing is to be said in the group map that was not said yet.
    pub(crate) fn drop_changes(&mut self) {
        self.changes.clear();
    }

    /// Of the sequencer: a frame came, which has to have a place in the total order for what it
    /// holds, for the map that it was cut under, or because many before it have none.
    pub(crate) fn order(&mut self, origin: u16, number: u64, map: u64, has_total: bool) {
        let ordered = self.ordered.entry(origin).or_default();
        if has_total || map > ordered.1 || number >= ordered.0 + UNORDERED_MAX {
            *ordered = (number, map);
            self.orders.insert(origin, number);
        }
    }

    /// Whether more could be sent at once.
    pub(crate) fn is_hungry(&self) -> bool {
        self.is_hungry
    }

    /// A step begins to send.
    pub(crate) fn begin(&mut self) {
        self.is_hungry = false;
    }

    /// Cuts a frame and sends it, if there is something to send and credit for it.
    pub(crate) fn cut(&mut self, now: Time, io: &mut Io<'_>, with: With<'_>) -> bool {
        let With { streams, groups, objects } = with;
        if streams.is_wedged() || !streams.has_credit() {
            return false;
        }
        let others = streams.others();
        let len_max = others.iter().map(|node| io.datagram_max(*node)).min();
        let len_max = len_max.unwrap_or(PACKET_LEN_MAX).min(PACKET_LEN_MAX);
        let (writer, number) = (FrameWriter::new(len_max), streams.next_number());
        let mut draft = Draft { writer, number, parts: Vec::new() };
        while let Some((origin, until)) = self.orders.first_key_value()
            && draft.writer.room() >= ORDER_LEN
        {
            draft.writer.order(*origin, *until);
            self.orders.pop_first();
            streams.await_stable();
        }
        let map = groups.settled();
        if map.is_some() {
            while self.changes.front().is_some_and(|change| draft.writer.change(change)) {
                self.changes.pop_front();
                streams.await_stable();
            }
            self.fill(&mut draft, io, objects);
        }
        if draft.writer.is_empty() && !groups.must_mark() {
            return false;
        }
        if groups.must_mark() {
            streams.await_stable();
            groups.marked();
        }
        let origin = u16::try_from(streams.me()).expect("a view has at most 1,024 members");
        let (stable, map) = (streams.own_stable(), map.unwrap_or(0));
        let bytes = draft.writer.seal(streams.tag(), Header { origin, number, stable, map });
        let (_, packet) = Packet::decode(bytes.clone()).expect("what was written can be read");
        let Packet::Data(frame) = packet else { unreachable!("it was written as data") };
        self.sent.push_back((number, draft.parts));
        streams.cast(now, frame, bytes.clone());
        if io.send(Target::Nodes(&others), Via::Datagram, bytes).is_err() {
            io.count("groupcomm.no_room");
        }
        true
    }

    /// Takes from the objects, in turns, what there is room for.
    fn fill(&mut self, draft: &mut Draft, io: &mut Io<'_>, objects: &mut Objects) {
        let Draft { writer, number: frame, parts } = draft;
        while writer.room() > PART_LEN + SLICE_MIN {
            let Some((id, taken_bytes)) = self.next_turn(io, objects) else { return };
            let Some(object) = objects.get(id).filter(|object| object.is_joined()) else {
                self.turn = None;
                continue;
            };
            let Some(taken) = io.take(id, writer.room() - PART_LEN) else {
                self.turn = None;
                continue;
            };
            let bytes: Bytes = taken.command.payload().clone();
            self.turn = Some((id, taken_bytes + bytes.len()));
            let class = class_of(&object.spec.ty);
            let message = taken.message;
            let offset = u32::try_from(taken.offset).expect("a message is shorter than 4 GiB");
            let group = object.group().expect("it is joined");
            writer.part(&Part { class, group, message, offset, last: taken.last, bytes });
            parts.push((id, message));
            if taken.last {
                object.untaken = message + 1;
                self.halves.remove(&id);
                let awaiting = Awaiting {
                    object: id,
                    message,
                    frame: *frame,
                    ordered_by: None,
                    is_told: false,
                };
                self.awaiting[class as usize].push_back(awaiting);
            } else {
                self.halves.insert(id, message);
            }
        }
    }

    /// Whose turn it is.
    fn next_turn(&mut self, io: &mut Io<'_>, objects: &mut Objects) -> Option<(ObjectId, usize)> {
        if self.turn.is_some_and(|(_, bytes)| bytes >= TURN_BYTES) {
            self.turn = None;
            self.is_hungry = true;
        }
        while self.turn.is_none() {
            let object = io.waiting()?;
            if objects.get(object).is_some_and(|object| object.is_joined()) {
                self.turn = Some((object, 0));
            }
        }
        self.turn
    }

    /// A message of this member was delivered here, with this place in the total order.
    pub(crate) fn on_delivered(&mut self, object: ObjectId, message: u64, ordered_by: u64) {
        for awaiting in &mut self.awaiting {
            let is_it = |it: &&mut Awaiting| it.object == object && it.message == message;
            if let Some(it) = awaiting.iter_mut().find(is_it) {
                it.ordered_by = Some(ordered_by);
            }
        }
    }

    /// Tells the objects which of their commands have become stable.
    pub(crate) fn confirm(
        &mut self,
        streams: &Streams,
        mutation: Option<Mutation>,
        io: &mut Io<'_>,
        objects: &mut Objects,
    ) {
        let stable = streams.own_stable();
        while self.sent.front().is_some_and(|(number, _)| *number <= stable) {
            self.sent.pop_front();
        }
        let ordered = streams.stable(SEQUENCER);
        for (class, awaiting) in [Class::Fifo, Class::Total].into_iter().zip(&mut self.awaiting) {
            if mutation == Some(Mutation::AckBeforeStable) {
                for it in awaiting.iter_mut().filter(|it| it.ordered_by.is_some() && !it.is_told) {
                    tell(it, objects);
                }
            }
            let is_stable = |it: &Awaiting| {
                let by = it.ordered_by;
                it.frame <= stable && by.is_some_and(|by| class == Class::Fifo || by <= ordered)
            };
            let count = awaiting.iter().take_while(|it| is_stable(it)).count();
            for mut it in awaiting.drain(..count) {
                tell(&mut it, objects);
                io.release(it.object, it.message);
            }
        }
    }

    /// The view is over, and this member's stream went so far in it. What was delivered is as good
    /// as stable: everybody who goes on has it. The rest is taken again.
    pub(crate) fn end_view(&mut self, trim: u64, io: &mut Io<'_>, objects: &mut Objects) {
        for awaiting in std::mem::take(&mut self.awaiting) {
            for mut it in awaiting.into_iter().filter(|it| it.frame <= trim) {
                tell(&mut it, objects);
                io.release(it.object, it.message);
            }
        }
        let cut_off = self.sent.iter().filter(|(number, _)| *number > trim);
        let lost = cut_off.flat_map(|(_, parts)| parts.iter().copied());
        let mut again: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for (object, message) in lost.chain(std::mem::take(&mut self.halves)) {
            let first = again.entry(object).or_insert(message);
            *first = message.min(*first);
        }
        for (object, message) in again {
            rewind(object, message, io, objects);
        }
        *self = Self { past: std::mem::take(&mut self.past), ..Self::default() };
    }

    /// This member is in no view: what became of all it sent is known when it is back.
    pub(crate) fn step_out(&mut self, streams: &Streams) {
        let awaiting: Vec<Awaiting> = self.awaiting.iter_mut().flat_map(std::mem::take).collect();
        let mut past = std::mem::take(&mut self.past);
        if !awaiting.is_empty() {
            past.push(Past { tag: streams.tag(), stable: streams.own_stable(), awaiting });
        }
        *self = Self { past, ..Self::default() };
    }

    /// This member is back. Tells which of its commands were delivered without it, of each object
    /// the first that was not, given the last frame of each of its streams as far as that is known.
    pub(crate) fn return_from(
        &mut self,
        fate: impl Fn(Tag) -> Option<u64>,
    ) -> BTreeMap<ObjectId, u64> {
        let mut delivered = BTreeMap::new();
        for Past { tag, stable, awaiting } in std::mem::take(&mut self.past) {
            let last = fate(tag).unwrap_or(0).max(stable);
            for it in awaiting.iter().filter(|it| it.frame <= last) {
                let end = delivered.entry(it.object).or_insert(0);
                *end = (it.message + 1).max(*end);
            }
        }
        delivered
    }

    /// An object's group changes: what was said of a message in part is said anew.
    pub(crate) fn on_regrouping(
        &mut self,
        object: ObjectId,
        io: &mut Io<'_>,
        objects: &mut Objects,
    ) {
        if let Some(message) = self.halves.remove(&object) {
            rewind(object, message, io, objects);
        }
    }

    /// An object is closed: nothing that it said is waited for.
    pub(crate) fn forget(&mut self, object: ObjectId) {
        self.halves.remove(&object);
        self.sent.iter_mut().for_each(|(_, parts)| parts.retain(|(of, _)| *of != object));
        self.awaiting.iter_mut().for_each(|queue| queue.retain(|it| it.object != object));
        self.past.iter_mut().for_each(|past| past.awaiting.retain(|it| it.object != object));
        self.turn.take_if(|(of, _)| *of == object);
    }
}

/// Takes again from a command on.
pub(crate) fn rewind(object: ObjectId, message: u64, io: &mut Io<'_>, objects: &mut Objects) {
    if let Some(open) = objects.get(object) {
        open.untaken = open.untaken.min(message);
        io.rewind(object, message);
    }
}

fn tell(it: &mut Awaiting, objects: &mut Objects) {
    if let Some(open) = objects.get(it.object)
        && !std::mem::replace(&mut it.is_told, true)
    {
        open.unstable = open.unstable.max(it.message + 1);
        open.on_stable(it.message);
    }
}

/// So many frames of a member that hold nothing for the total order are ordered together.
const UNORDERED_MAX: u64 = 64;
/// How many bytes an object may say before it is another's turn.
const TURN_BYTES: usize = 32 << 10;
/// No less of a message is cut into the end of a frame.
const SLICE_MIN: usize = 64;
