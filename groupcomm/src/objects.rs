//! The open objects of a node that are groups: how far each is, and what it has to tell its
//! application.
//!
//! An object waits until its join is in the group map, is joined while its node is in the primary
//! partition, and waits again when it was outside. What its application has no room for waits here,
//! in order; so does what follows a state that is still being fetched.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use live_objects::{
    Closure, Event, Io, Kind, Member, ObjectId, ObjectType, Refusal, ReplicatedEvent, Signal, Spec,
    Time, TopicEvent, View,
};

use crate::control::What;
use crate::map::{Change, Map, Regrouped, Speaker};
use crate::transfer::Pull;

/// An open object.
pub(crate) struct Object {
    pub(crate) spec: Arc<Spec>,
    /// Which opening this is in the node's life.
    pub(crate) session: u32,
    phase: Phase,
    /// The group that it joined last.
    joined: Option<u32>,
    /// Whether the application was told that it is open.
    is_opened: bool,
    /// The group map with which it joined: changes before that are an earlier opening's.
    joined_at: u64,
    /// Whether a view was installed since it joined.
    has_view: bool,
    /// Whether the application was told that most others are out of reach.
    is_cut_off: bool,
    /// Of a replicated state: whether the replica was given one since it joined.
    has_state: bool,
    /// The state that is being fetched, and what comes after it.
    pub(crate) pull: Option<Pull>,
    later: VecDeque<Event>,
    events: VecDeque<Event>,
    events_bytes: usize,
    /// Since when its application has read nothing of what waits.
    stalls_since: Option<Time>,
    /// The first command that is not stable, and the first that was not taken whole.
    pub(crate) unstable: u64,
    pub(crate) untaken: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Its join is not in the map yet, since then.
    Waiting(Time),
    Joined(u32),
    /// It was refused, or closed for being slow.
    Over,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Objects {
    objects: BTreeMap<ObjectId, Object>,
    /// The objects by the groups that they joined last.
    by_group: BTreeMap<u32, ObjectId>,
    sessions: u32,
    /// Whether most members of the view were believed gone when it was last said.
    is_cut_off: bool,
    /// Those that may have something to tell, and those that fetch their state.
    touched: BTreeSet<ObjectId>,
    pulling: BTreeSet<ObjectId>,
    closes_at: Option<Time>,
    /// Those that were asked to be opened, and when they are refused if nothing comes of it.
    opening: BTreeSet<(Time, ObjectId)>,
}

impl Objects {
    pub(crate) fn get(&mut self, object: ObjectId) -> Option<&mut Object> {
        let open = self.objects.get_mut(&object)?;
        self.touched.insert(object);
        Some(open)
    }

    /// The object of a group that this node has joined.
    pub(crate) fn of_group(&self, group: u32) -> Option<ObjectId> {
        let object = *self.by_group.get(&group)?;
        let is_in = |open: &&Object| open.phase == Phase::Joined(group);
        self.objects.get(&object).filter(is_in).map(|_| object)
    }

    /// An opening is in its group, under this group map. Tells whether that is still wanted, of an
    /// object that is open.
    pub(crate) fn on_joined(
        &mut self,
        object: ObjectId,
        session: u32,
        group: u32,
        number: u64,
    ) -> Option<bool> {
        let open = self.objects.get_mut(&object).filter(|open| open.session == session)?;
        self.touched.insert(object);
        let before = open.joined.replace(group);
        let is_wanted = open.on_joined(group, number);
        self.forget_group(before, object);
        self.by_group.insert(group, object);
        Some(is_wanted)
    }

    /// An object is no more in the group that it joined. Groups are numbered anew when their map is
    /// lost: it may be another's by now.
    fn forget_group(&mut self, group: Option<u32>, object: ObjectId) {
        if let Some(group) = group.filter(|group| self.by_group.get(group) == Some(&object)) {
            self.by_group.remove(&group);
        }
    }

    /// Whether an object waits for nothing but this command to become stable, or is not open.
    pub(crate) fn is_next(&self, object: ObjectId, message: u64) -> bool {
        self.objects.get(&object).is_none_or(|open| message <= open.unstable)
    }

    /// All that are open.
    pub(crate) fn ids(&self) -> Vec<ObjectId> {
        self.objects.keys().copied().collect()
    }

    /// The application opened one: this is to be said to the others.
    pub(crate) fn open(&mut self, now: Time, object: ObjectId, spec: Arc<Spec>) -> Change {
        let session = self.sessions;
        self.sessions += 1;
        let ty = spec.ty.clone();
        self.opening.insert((now + OPENING, object));
        self.objects.insert(
            object,
            Object {
                spec,
                session,
                phase: Phase::Waiting(now),
                joined: None,
                is_opened: false,
                joined_at: 0,
                has_view: false,
                is_cut_off: false,
                has_state: false,
                pull: None,
                later: VecDeque::new(),
                events: VecDeque::new(),
                events_bytes: 0,
                stalls_since: None,
                unstable: 0,
                untaken: 0,
            },
        );
        Change::Join { object, ty, session }
    }

    /// The application closed one: this is to be said to the others, who may know of it even if it
    /// was refused.
    pub(crate) fn close(&mut self, object: ObjectId) -> Option<Change> {
        let closed = self.objects.remove(&object)?;
        self.forget_group(closed.joined, object);
        self.touched.remove(&object);
        self.pulling.remove(&object);
        Some(Change::Leave { object, session: closed.session })
    }

    /// What is to be said so that the map becomes as the objects are.
    pub(crate) fn reconcile(&self, me: Member, map: &Map) -> Vec<Change> {
        let mut changes = Vec::new();
        for (object, session) in map.seats_of(me) {
            let is_it = |open: &&Object| open.session == session && open.phase != Phase::Over;
            if self.objects.get(&object).filter(is_it).is_none() {
                changes.push(Change::Leave { object, session });
            }
        }
        for (object, open) in &self.objects {
            let (object, session) = (*object, open.session);
            match open.phase {
                Phase::Waiting(_) => {
                    changes.push(Change::Join { object, ty: open.spec.ty.clone(), session });
                }
                Phase::Joined(group) => {
                    let Some(held) = map.group(group) else { continue };
                    let holds = || held.holders().any(|holder| holder == me);
                    if !held.has(Speaker { member: me, session }) {
                        changes.push(Change::Join { object, ty: open.spec.ty.clone(), session });
                    } else if let Some(answer) = held.answer(group, open.has_state) {
                        changes.push(answer);
                    } else if open.has_state && !holds() {
                        changes.push(Change::Restored { group });
                    }
                }
                Phase::Over => {}
            }
        }
        changes
    }

    /// This node is in no view: its objects join again when it is back.
    pub(crate) fn step_out(&mut self, now: Time) {
        self.touched.extend(self.objects.keys());
        for object in self.objects.values_mut() {
            if let Phase::Joined(_) = object.phase {
                object.phase = Phase::Waiting(now);
                object.give_up_pull();
                // It may have been told of no view yet, and have said something all the same.
                object.push(if object.is_replicated() {
                    Event::Replicated(ReplicatedEvent::Outside)
                } else {
                    Event::Topic(TopicEvent::Outside)
                });
                object.has_view = false;
                object.is_cut_off = false;
                object.has_state = false;
            }
        }
    }

    /// Most members of the view are believed gone, or are not. Whom that is news to is told.
    pub(crate) fn on_reach(&mut self, is_cut_off: bool) {
        if !std::mem::replace(&mut self.is_cut_off, is_cut_off) && !is_cut_off {
            return;
        }
        for (id, object) in &mut self.objects {
            if object.has_view && object.is_cut_off != is_cut_off {
                object.is_cut_off = is_cut_off;
                object.push(match (object.is_replicated(), is_cut_off) {
                    (false, true) => Event::Topic(TopicEvent::CutOff),
                    (false, false) => Event::Topic(TopicEvent::Reached),
                    (true, true) => Event::Replicated(ReplicatedEvent::CutOff),
                    (true, false) => Event::Replicated(ReplicatedEvent::Reached),
                });
                self.touched.insert(*id);
            }
        }
    }

    /// Refuses what was asked to be opened too long ago: no primary partition is in reach.
    pub(crate) fn on_no_primary(&mut self, now: Time) {
        while let Some((at, id)) = self.opening.pop_first() {
            if now < at {
                self.opening.insert((at, id));
                return;
            }
            let object = self.objects.get_mut(&id).filter(|object| !object.is_opened);
            if let Some(object) = object
                && matches!(object.phase, Phase::Waiting(since) if now >= since + OPENING)
            {
                object.refuse(Refusal::NoPrimary);
                self.touched.insert(id);
            }
        }
    }

    /// When the next is to be refused for want of a primary partition.
    pub(crate) fn refuses_at(&self) -> Option<Time> {
        self.opening.first().map(|(at, _)| *at)
    }

    /// Those that fetch their state.
    pub(crate) fn pulling(&self) -> Vec<ObjectId> {
        self.pulling.iter().copied().collect()
    }

    /// When the next fetch is to go on.
    pub(crate) fn pulls_at(&self) -> Option<Time> {
        let pulling = self.pulling.iter().filter_map(|object| self.objects.get(object));
        let ready = pulling.filter(|object| object.may_pull());
        ready.filter_map(|object| object.pull.as_ref().map(Pull::next_wake)).min()
    }

    /// How many bytes wait for applications to read.
    pub(crate) fn bytes(&self) -> usize {
        let touched = self.touched.iter().filter_map(|object| self.objects.get(object));
        touched.map(|object| object.events_bytes).sum()
    }

    /// Tells the applications what they have room for. If so much waits that others are held up,
    /// whoever has not read for long is closed, which is to be said.
    pub(crate) fn flush(
        &mut self,
        now: Time,
        holds_up: bool,
        io: &mut Io<'_>,
    ) -> Vec<(ObjectId, Change)> {
        let mut changes = Vec::new();
        self.closes_at = None;
        for id in std::mem::take(&mut self.touched) {
            let object = self.objects.get_mut(&id).expect("a closed object is touched no more");
            object.flush(now, id, io);
            if !object.events.is_empty() {
                self.touched.insert(id);
            }
            if let Some(since) = object.stalls_since.filter(|_| holds_up) {
                if now < since + STALL && object.events_bytes >= STALL_BYTES {
                    self.closes_at = self.closes_at.into_iter().chain([since + STALL]).min();
                } else if object.events_bytes >= STALL_BYTES && object.is_joined() {
                    changes.push((id, Change::Leave { object: id, session: object.session }));
                    object.close_slow();
                }
            }
            if object.pull.is_some() {
                self.pulling.insert(id);
            } else {
                self.pulling.remove(&id);
            }
        }
        changes
    }

    /// When the next is closed that does not read.
    pub(crate) fn closes_at(&self) -> Option<Time> {
        self.closes_at
    }
}

impl Object {
    pub(crate) fn is_replicated(&self) -> bool {
        self.spec.ty.kind == Kind::Replicated
    }

    pub(crate) fn has_state(&self) -> bool {
        self.has_state
    }

    /// Whether its commands may be taken.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.phase, Phase::Joined(_))
    }

    pub(crate) fn group(&self) -> Option<u32> {
        if let Phase::Joined(group) = self.phase { Some(group) } else { None }
    }

    /// It is in its group, under this group map. Tells whether that is still wanted.
    fn on_joined(&mut self, group: u32, number: u64) -> bool {
        if self.phase == Phase::Joined(group) || self.phase == Phase::Over {
            return self.phase != Phase::Over;
        }
        self.phase = Phase::Joined(group);
        self.joined_at = number;
        if !std::mem::replace(&mut self.is_opened, true) {
            self.push(Event::Opened);
        }
        true
    }

    pub(crate) fn on_refused(&mut self, held: ObjectType) {
        self.refuse(Refusal::Held { held });
    }

    /// Its group's members change, here and now.
    pub(crate) fn on_installed(&mut self, now: Time, view: View, change: &Regrouped) {
        if !self.is_joined() || change.number < self.joined_at {
            return;
        }
        self.has_view = true;
        self.is_cut_off = false;
        if !self.is_replicated() {
            self.push(Event::Topic(TopicEvent::View(view)));
            return;
        }
        self.push(Event::Replicated(ReplicatedEvent::View(view)));
        if change.founded {
            assert!(!self.has_state, "a state is founded when all have said that they have none");
            self.give_up_pull();
            self.has_state = true;
            self.push(Event::Replicated(ReplicatedEvent::Founded));
        } else if !self.has_state && self.pull.is_none() {
            let what = What::State { group: change.group, cut: change.number };
            self.pull = Some(Pull::new(what, now));
        } else if change.snapshot {
            self.push(Event::Replicated(ReplicatedEvent::Freeze { cut: change.number }));
        }
    }

    /// A message of its group, which counts once it is in a view. If it was its own: which.
    pub(crate) fn on_message(&mut self, from: Member, own: Option<u64>, bytes: Bytes) {
        if !self.has_view || !self.is_joined() {
            return;
        }
        self.push(if self.is_replicated() {
            Event::Replicated(ReplicatedEvent::Update { from, own, bytes })
        } else {
            Event::Topic(TopicEvent::Message { from, own, bytes })
        });
    }

    /// Its commands up to and with this one are stable.
    pub(crate) fn on_stable(&mut self, message: u64) {
        if self.phase == Phase::Over {
            return;
        }
        self.push(if self.is_replicated() {
            Event::Replicated(ReplicatedEvent::Stable { message })
        } else {
            Event::Topic(TopicEvent::Stable { message })
        });
    }

    /// A snapshot is made of its group's state as it is now. If this very member asked for it, that
    /// is what it fetches from now on, and what it held back is part of it.
    pub(crate) fn on_cut(&mut self, now: Time, cut: u64, is_own: bool) {
        if !is_own {
            self.push(Event::Replicated(ReplicatedEvent::Freeze { cut }));
        } else if let (Some(_), Some(group)) = (&self.pull, self.group()) {
            self.give_up_pull();
            self.pull = Some(Pull::new(What::State { group, cut }, now));
        }
    }

    /// A planted bug: what follows the state that is being fetched is forgotten.
    pub(crate) fn drop_later(&mut self) {
        let is_update =
            |event: &Event| matches!(event, Event::Replicated(ReplicatedEvent::Update { .. }));
        let later = self.later.iter().filter(|event| is_update(event));
        self.events_bytes -= later.map(len).sum::<usize>();
        self.later.retain(|event| !is_update(event));
    }

    /// A piece of the state came.
    pub(crate) fn on_piece(&mut self, offset: u64, bytes: Bytes, last: bool) {
        let event = Event::Replicated(ReplicatedEvent::Restore { offset, bytes, last });
        self.events_bytes += len(&event);
        self.events.push_back(event);
        if last {
            self.has_state = true;
            self.give_up_pull();
        }
    }

    /// Whether its application has read so much that more of the state may be fetched.
    pub(crate) fn may_pull(&self) -> bool {
        self.events.is_empty()
    }

    fn flush(&mut self, now: Time, id: ObjectId, io: &mut Io<'_>) {
        while let Some(event) = self.events.front() {
            if io.emit(id, event.clone()).is_err() {
                self.stalls_since.get_or_insert(now);
                return;
            }
            match event {
                Event::Opened => io.signal(Signal::Open(id, Arc::clone(&self.spec))),
                Event::Closed(_) => io.signal(Signal::Closed(id)),
                _ => {}
            }
            self.stalls_since = None;
            self.events_bytes -= len(event);
            self.events.pop_front();
        }
    }

    /// Nothing more is told, but that.
    fn close_slow(&mut self) {
        self.phase = Phase::Over;
        self.pull = None;
        self.later.clear();
        self.events.clear();
        self.events_bytes = 0;
        self.stalls_since = None;
        self.push(Event::Closed(Closure::TooSlow));
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.phase = Phase::Over;
        self.push(Event::Refused(refusal));
    }

    /// Nothing is fetched any more: what was held back is told.
    fn give_up_pull(&mut self) {
        self.pull = None;
        self.events.append(&mut self.later);
    }

    fn push(&mut self, event: Event) {
        self.events_bytes += len(&event);
        let queue = if self.pull.is_some() { &mut self.later } else { &mut self.events };
        queue.push_back(event);
    }
}

/// About what an event takes.
fn len(event: &Event) -> usize {
    EVENT_BYTES
        + match event {
            Event::Topic(TopicEvent::Message { bytes, .. })
            | Event::Replicated(
                ReplicatedEvent::Update { bytes, .. } | ReplicatedEvent::Restore { bytes, .. },
            ) => bytes.len(),
            _ => 0,
        }
}

const EVENT_BYTES: usize = 64;
/// How long an application may read nothing while it holds up others, and how much must wait for it
/// before it is said to.
const STALL: Duration = Duration::from_secs(30);
const STALL_BYTES: usize = 1 << 20;
/// How long an object waits to be opened without a primary partition in reach.
const OPENING: Duration = Duration::from_secs(10);
