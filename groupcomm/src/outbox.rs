//! What a member sends: frames cut just in time from the feeds of its objects, as far as its credit
//! goes.
//!
//! What cannot be sent is not taken, and the application's `send` waits with it. A command stays in
//! its feed until it is *stable*, so that what was not said whole when a group or a view changed is
//! simply taken again: a message is sent in the view in which its last part is cut. Commands of an
//! object become stable one after another, even if it has moved from one region to another between
//! them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use live_objects::{Io, ObjectId, Time};

use crate::config::Mutation;
use crate::groups::Groups;
use crate::map::Change;
use crate::objects::Objects;
use crate::regions::{ROOT, Regions};
use crate::sending::Awaiting;
use crate::wire::{PART_LEN, Part};

/// What a member has to send and what became of it.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Changes of the map to be said.
    changes: VecDeque<Change>,
    /// Objects of which a command was cut in part, and in which region.
    halves: BTreeMap<ObjectId, (u64, u32)>,
    /// Regions in which commands wait to be stable.
    waiting: BTreeSet<u32>,
    /// Commands of regions that closed: everybody who goes on has them.
    closed: Vec<Awaiting>,
    /// Those of regions that went on without this member.
    past: Vec<Past>,
    /// Whose turn it is, and how many bytes it took in it.
    turn: Option<(ObjectId, usize)>,
    /// Some object had more than its turn took.
    is_hungry: bool,
}

/// What was cut in a region that went on without this member.
struct Past {
    region: u32,
    /// So far its stream was known to be stable.
    stable: u64,
    awaiting: Vec<Awaiting>,
}

/// What sending goes by.
pub(crate) struct With<'a> {
    pub(crate) regions: &'a mut Regions,
    pub(crate) groups: &'a Groups,
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

    /// Whether more could be sent at once.
    pub(crate) fn is_hungry(&self) -> bool {
        self.is_hungry
    }

    /// A step begins to send.
    pub(crate) fn begin(&mut self) {
        self.is_hungry = false;
    }

    /// Cuts frames and sends them, if there is something to send and credit for it.
    pub(crate) fn cut(&mut self, now: Time, io: &mut Io<'_>, mut with: With<'_>) -> bool {
        let mut has_sent = false;
        if with.regions.has_map() {
            has_sent |= self.cut_changes(now, io, with.regions);
            while self.fill(now, io, &mut with, &mut has_sent) {}
        }
        // Those that were filled in part, and those that have orders or marks to send.
        for id in with.regions.touched() {
            has_sent |= with.regions.get_mut(id).is_some_and(|region| region.flush(now, io));
        }
        has_sent
    }

    fn cut_changes(&mut self, now: Time, io: &mut Io<'_>, regions: &mut Regions) -> bool {
        let mut has_sent = false;
        while !self.changes.is_empty()
            && let Some(root) = regions.get_mut(ROOT)
            && let Some(draft) = root.draft(now, io)
        {
            while self.changes.front().is_some_and(|change| draft.change(change)) {
                self.changes.pop_front();
            }
            root.streams.await_stable();
            if !root.flush(now, io) {
                break;
            }
            has_sent = true;
        }
        has_sent
    }

    /// Takes a little of the object whose turn it is. Tells whether there was one.
    fn fill(
        &mut self,
        now: Time,
        io: &mut Io<'_>,
        with: &mut With<'_>,
        has_sent: &mut bool,
    ) -> bool {
        let Some((id, taken_bytes)) = self.next_turn(io) else { return false };
        // If nothing comes of it, it is another's turn.
        self.turn = None;
        let Some(object) = with.objects.get(id).filter(|object| object.is_joined()) else {
            return true;
        };
        let group = object.group().expect("it is joined");
        let Some(region_id) = with.groups.region_of(group) else { return true };
        let Some(region) = with.regions.get_mut(region_id) else { return true };
        let Some(room) = region.draft(now, io).map(|draft| draft.room()) else { return true };
        if room <= PART_LEN + SLICE_MIN {
            *has_sent |= region.flush(now, io);
            self.turn = Some((id, taken_bytes));
            return true;
        }
        let Some(taken) = io.take(id, room - PART_LEN) else { return true };
        let bytes: Bytes = taken.command.payload().clone();
        self.turn = Some((id, taken_bytes + bytes.len()));
        let class = with.groups.class_of(&object.spec.ty);
        let message = taken.message;
        let offset = u32::try_from(taken.offset).expect("a message is shorter than 4 GiB");
        let frame = region.streams.next_number();
        let draft = region.draft(now, io).expect("it was there just now");
        draft.part(&Part { class, group, message, offset, last: taken.last, bytes });
        if taken.last {
            object.untaken = message + 1;
            self.halves.remove(&id);
            region.sending.wait(class, id, message, frame);
            self.waiting.insert(region_id);
        } else {
            self.halves.insert(id, (message, region_id));
        }
        true
    }

    /// Whose turn it is.
    fn next_turn(&mut self, io: &mut Io<'_>) -> Option<(ObjectId, usize)> {
        if self.turn.is_some_and(|(_, bytes)| bytes >= TURN_BYTES) {
            self.turn = None;
            self.is_hungry = true;
        }
        self.turn.or_else(|| io.waiting().map(|object| (object, 0)))
    }

    /// A message of this member was delivered of a region that is closed.
    pub(crate) fn on_delivered(&mut self, object: ObjectId, message: u64, ordered_by: u64) {
        let is_it = |it: &&mut Awaiting| it.object == object && it.message == message;
        if let Some(it) = self.closed.iter_mut().find(is_it) {
            it.ordered_by = Some(ordered_by);
        }
    }

    /// Tells the objects which of their commands have become stable.
    pub(crate) fn confirm(
        &mut self,
        mutation: Option<Mutation>,
        io: &mut Io<'_>,
        regions: &mut Regions,
        objects: &mut Objects,
    ) {
        if mutation == Some(Mutation::AckBeforeStable) {
            for region in regions.iter_mut() {
                region.sending.untold().for_each(|it| tell(it, objects));
            }
        }
        loop {
            let is_next =
                |it: &Awaiting| it.ordered_by.is_some() && objects.is_next(it.object, it.message);
            let closed = self.closed.iter().position(is_next);
            let mut stable: Vec<Awaiting> =
                closed.map(|place| self.closed.remove(place)).into_iter().collect();
            for id in self.waiting.clone() {
                let Some(region) = regions.get_mut(id) else { continue };
                let (own, ordered) = (region.streams.own_stable(), region.ordered());
                let is_next = |it: &Awaiting| objects.is_next(it.object, it.message);
                stable.extend(region.sending.next_stable(own, ordered, is_next));
                if !region.sending.is_waiting() {
                    self.waiting.remove(&id);
                }
            }
            if stable.is_empty() {
                return;
            }
            for mut it in stable {
                tell(&mut it, objects);
                io.release(it.object, it.message);
            }
        }
    }

    /// Regions close with the view. What this member said there is as good as stable when it is
    /// delivered: everybody who goes on has it. What it has half said is taken again.
    pub(crate) fn close(
        &mut self,
        closed: &[u32],
        io: &mut Io<'_>,
        regions: &mut Regions,
        objects: &mut Objects,
    ) {
        for id in closed {
            self.waiting.remove(id);
            if let Some(region) = regions.get_mut(*id) {
                self.closed.extend(region.sending.take());
            }
        }
        let is_lost = |(_, (_, region)): &(&ObjectId, &(u64, u32))| closed.contains(region);
        let lost: Vec<ObjectId> = self.halves.iter().filter(is_lost).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|object| self.on_regrouping(object, io, objects));
    }

    /// This member is in no view: what became of all it sent is known when it is back.
    pub(crate) fn step_out(&mut self, regions: &mut Regions) {
        let mut past = std::mem::take(&mut self.past);
        let awaiting = std::mem::take(&mut self.closed);
        past.push(Past { region: ROOT, stable: u64::MAX, awaiting });
        for id in std::mem::take(&mut self.waiting) {
            let Some(region) = regions.get_mut(id) else { continue };
            let awaiting = region.sending.take().collect();
            past.push(Past { region: id, stable: region.streams.own_stable(), awaiting });
        }
        past.retain(|past| !past.awaiting.is_empty());
        *self = Self { past, ..Self::default() };
    }

    /// This member is back. Tells which of its commands were delivered without it, of each object
    /// the first that was not, given the last frame of each of its streams as far as that is known.
    pub(crate) fn return_from(
        &mut self,
        fate: impl Fn(u32) -> Option<u64>,
    ) -> BTreeMap<ObjectId, u64> {
        let mut delivered = BTreeMap::new();
        for Past { region, stable, awaiting } in std::mem::take(&mut self.past) {
            let last = fate(region).unwrap_or(0).max(stable);
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
        if let Some((message, _)) = self.halves.remove(&object) {
            rewind(object, message, io, objects);
        }
    }

    /// An object is closed: nothing that it said is waited for.
    pub(crate) fn forget(&mut self, object: ObjectId, regions: &mut Regions) {
        self.halves.remove(&object);
        regions.iter_mut().for_each(|region| region.sending.forget(object));
        self.closed.retain(|it| it.object != object);
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

/// How many bytes an object may say before it is another's turn.
const TURN_BYTES: usize = 32 << 10;
/// No less of a message is cut into the end of a frame.
const SLICE_MIN: usize = 64;
