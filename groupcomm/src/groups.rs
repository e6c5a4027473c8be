//! All groups of a member: one group map, one delivery of the view's frames, and the groups that it
//! is in itself.
//!
//! Every member of the configuration goes through every frame, since it keeps the group map; only
//! members of a group look at its messages. What comes out are [`Output`]s, in the order in which
//! the node's objects must hear of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use live_objects::{Member, ObjectId, ObjectType, Order, Port, View};

use crate::delivery::{Delivery, Next, Place, SEQUENCER};
use crate::live::{Live, Message, Told};
use crate::map::{Effect, Ended, Map, Regrouped};
use crate::wire::{Class, Frame, Item, Part};

/// What a member's groups bring about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Output {
    /// A group's members will change. What this member has half said in it is to be said anew.
    Regrouping { object: ObjectId },
    /// An opening of this member is in its group.
    Joined { object: ObjectId, group: u32, session: u32, number: u64 },
    /// The object has another type.
    Refused { object: ObjectId, session: u32, held: ObjectType },
    /// A group that this member is in tells it something.
    Told { object: ObjectId, told: Told },
    /// Nobody is known to hold the group's state: who does is to say so, and who does not.
    Orphaned { object: ObjectId, group: u32 },
    /// Snapshots up to this number are wanted no more.
    Complete { object: ObjectId, cut: u64 },
}

/// The groups of a member.
pub(crate) struct Groups {
    me: Member,
    map: Option<Map>,
    members: Vec<Member>,
    delivery: Delivery,
    /// How far each stream is stable.
    stable: Vec<u64>,
    /// For each class, the group map under which each member sends by now.
    marks: [Vec<Marks>; 2],
    lives: BTreeMap<u32, Live>,
    /// Groups with a change that is not installed yet.
    changing: BTreeSet<u32>,
    /// Messages of which parts have come, by group and place of the sender.
    partials: BTreeMap<(u32, usize), Partial>,
    /// Up to this map all changes are held by everybody.
    settled: u64,
    /// Those that are not known to be, in order.
    unsettled: VecDeque<Unsettled>,
    must_mark: bool,
    outputs: Vec<Output>,
    /// What made no sense.
    pub(crate) absurd: u64,
}

/// Under which group map a member sends.
#[derive(Default)]
struct Marks {
    /// As far as its stream is stable.
    map: u64,
    /// Beyond that.
    unstable: VecDeque<(u64, Place)>,
}

/// What one frame changed in the group map, if not everybody is known to hold that.
struct Unsettled {
    /// The map's number since then.
    number: u64,
    place: Place,
    /// Whether others wait for this member to pass it.
    must_mark: bool,
    /// What comes about when all hold it.
    outputs: Vec<Output>,
}

struct Partial {
    message: u64,
    bytes: BytesMut,
}

impl Groups {
    pub(crate) fn new(me: Member) -> Self {
        Self {
            me,
            map: None,
            members: Vec::new(),
            delivery: Delivery::new(0),
            stable: Vec::new(),
            marks: [Vec::new(), Vec::new()],
            lives: BTreeMap::new(),
            changing: BTreeSet::new(),
            partials: BTreeMap::new(),
            settled: 0,
            unsettled: VecDeque::new(),
            must_mark: false,
            outputs: Vec::new(),
            absurd: 0,
        }
    }

    pub(crate) fn map(&self) -> Option<&Map> {
        self.map.as_ref()
    }

    /// The number of the map that this member sends under, if it knows any.
    pub(crate) fn settled(&self) -> Option<u64> {
        self.map.as_ref().map(|_| self.settled)
    }

    /// Whether others wait for this member to send something under that map.
    pub(crate) fn must_mark(&self) -> bool {
        self.must_mark
    }

    /// This member sends something under that map.
    pub(crate) fn marked(&mut self) {
        self.must_mark = false;
    }

    /// How many bytes of messages wait to be delivered.
    pub(crate) fn bytes(&self) -> usize {
        self.delivery.bytes()
    }

    /// What came about since it was last asked.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Takes in the next frame of a stream.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.delivery.push(frame);
    }

    /// Delivers what can be.
    pub(crate) fn deliver(&mut self) {
        while let Some(map) = &self.map
            && let Some(next) = self.delivery.next(map.number())
        {
            match next {
                Next::Mark { class, place, map } => self.on_mark(class, place, map),
                Next::Part { place, map, part } => self.on_part(place, map, part),
                Next::Changes { place, changes } => {
                    let by = self.members[place.origin];
                    let map = self.map.as_mut().expect("it was just looked at");
                    let effects = map.apply(by, &changes);
                    self.on_effects(effects, Some(place));
                }
            }
        }
        self.settle(is_stable);
        for group in self.changing.clone() {
            self.install_passed(group);
        }
    }

    /// What everybody holds comes about.
    fn settle(&mut self, is_settled: impl Fn(&[u64], Place) -> bool) {
        while let Some(change) = self.unsettled.front()
            && is_settled(&self.stable, change.place)
        {
            let change = self.unsettled.pop_front().expect("there is one");
            self.settled = change.number;
            self.must_mark |= change.must_mark;
            self.outputs.extend(change.outputs);
        }
    }

    /// So far each stream of the view is stable.
    pub(crate) fn on_stable(&mut self, stable: Vec<u64>) {
        if self.stable == stable {
            return;
        }
        self.stable = stable;
        for marks in self.marks.iter_mut().flatten() {
            while let Some((map, place)) = marks.unstable.front()
                && is_stable(&self.stable, *place)
            {
                marks.map = *map;
                marks.unstable.pop_front();
            }
        }
    }

    /// No more frames come in this view: all that came is delivered, and all changes installed.
    pub(crate) fn end_view(&mut self) {
        self.delivery.close();
        self.deliver();
        self.settle(|_, _| true);
        for group in std::mem::take(&mut self.changing) {
            self.install(group, u64::MAX, |_| None);
        }
        self.partials.clear();
        self.must_mark = false;
    }

    /// A view begins, and the one before ended there. With `map`, what is known of the groups;
    /// without, that is to come.
    pub(crate) fn begin_view(&mut self, view: &View, ended: Option<Ended<'_>>, map: Option<Map>) {
        self.members.clone_from(&view.members);
        self.delivery = Delivery::new(view.members.len());
        self.stable = vec![0; view.members.len()];
        let marks = || view.members.iter().map(|_| Marks::default()).collect();
        self.marks = [marks(), marks()];
        if let Some(mut map) = map.or_else(|| self.map.take()) {
            let effects = map.install(view, ended);
            self.settled = map.number();
            self.map = Some(map);
            self.on_effects(effects, None);
        }
    }

    /// The groups as they were at the beginning of the present view.
    pub(crate) fn adopt(&mut self, map: Map) {
        self.settled = map.number();
        self.map = Some(map);
    }

    /// This member is in no view.
    pub(crate) fn step_out(&mut self) {
        *self = Self { absurd: self.absurd, ..Self::new(self.me) };
    }

    fn on_mark(&mut self, class: Class, place: Place, map: u64) {
        let marks = &mut self.marks[class as usize][place.origin];
        let last = marks.unstable.back().map_or(marks.map, |(map, _)| *map);
        if map > last {
            marks.unstable.push_back((map, place));
        }
    }

    fn on_part(&mut self, place: Place, map: u64, part: Part) {
        let Place { origin, ordered_by, .. } = place;
        let from = self.members[origin];
        let Some((number, bytes)) = self.assemble(origin, &part) else { return };
        let Some(live) = self.lives.get_mut(&part.group) else { return };
        let message = Message { from, number, session: None, ordered_by, bytes };
        let told = live.on_message(map, message);
        self.absurd += std::mem::take(&mut live.absurd);
        let object = live.object;
        self.outputs.extend(told.map(|told| Output::Told { object, told }));
    }

    /// The message that a part is the last of.
    fn assemble(&mut self, origin: usize, part: &Part) -> Option<(u64, Bytes)> {
        let key = (part.group, origin);
        if part.offset == 0 {
            self.partials.remove(&key);
            if part.last {
                return Some((part.message, part.bytes.clone()));
            }
            let bytes = BytesMut::from(&part.bytes[..]);
            self.partials.insert(key, Partial { message: part.message, bytes });
            return None;
        }
        let partial = self.partials.get_mut(&key);
        let fits = |partial: &&mut Partial| {
            let len = partial.bytes.len();
            let is_next = partial.message == part.message && len == part.offset as usize;
            is_next && len + part.bytes.len() <= Port::COMMAND_BYTES_MAX
        };
        let Some(partial) = partial.filter(fits) else {
            self.absurd += 1;
            return None;
        };
        partial.bytes.extend_from_slice(&part.bytes);
        if !part.last {
            return None;
        }
        let partial = self.partials.remove(&key).expect("it was there just now");
        Some((partial.message, partial.bytes.freeze()))
    }

    /// What changed in the map, by what stands there; or, at a view's beginning, by nobody, so that
    /// nobody's stream is waited for.
    fn on_effects(&mut self, effects: Vec<Effect>, place: Option<Place>) {
        let number = self.map.as_ref().map_or(0, Map::number);
        let (at, outputs) = (place.unwrap_or(NOWHERE), Vec::new());
        let mut change = Unsettled { number, place: at, must_mark: false, outputs };
        for effect in effects {
            match effect {
                Effect::Regrouped(regrouped) => self.on_regrouped(regrouped, place, &mut change),
                Effect::Refused { object, by, held } if by.member == self.me => {
                    self.outputs.push(Output::Refused { object, session: by.session, held });
                }
                Effect::Refused { .. } => {}
                Effect::Cut { group, by } => {
                    let held = self.map.as_ref().and_then(|map| map.group(group));
                    let Some(held) = held else { continue };
                    let Some(session) = held.session_of(self.me) else { continue };
                    let live = self.lives.get_mut(&group).expect("this member is in it");
                    live.on_cut(number, by, held.members(), session);
                    self.changing.insert(group);
                    change.must_mark = true;
                }
                Effect::Orphaned { group } => {
                    let object = self.lives.get(&group).map(|live| live.object);
                    let output = |object| Output::Orphaned { object, group };
                    self.outputs.extend(object.map(output));
                }
                Effect::Complete { group } => {
                    let object = self.lives.get(&group).map(|live| live.object);
                    let output = |object| Output::Complete { object, cut: number };
                    self.outputs.extend(object.map(output));
                }
            }
        }
        // A view's beginning is held by all who are in it.
        self.unsettled.extend(place.map(|_| change));
    }

    fn on_regrouped(&mut self, regrouped: Regrouped, place: Option<Place>, change: &mut Unsettled) {
        let group = regrouped.group;
        let is_mine = |members: &[Member]| members.contains(&self.me);
        let (was_in, is_in) = (is_mine(&regrouped.before), is_mine(&regrouped.after));
        for (sender, member) in self.members.iter().enumerate() {
            if !regrouped.after.contains(member) {
                self.partials.remove(&(group, sender));
            }
        }
        if !was_in && !is_in {
            return;
        }
        change.must_mark |= was_in;
        let outputs = if place.is_some() { &mut change.outputs } else { &mut self.outputs };
        let map = self.map.as_ref().expect("it was changed just now");
        let session = map.group(group).and_then(|held| held.session_of(self.me));
        if let Some(session) = session {
            let held = map.group(group).expect("somebody is in it");
            let class = class_of(&held.ty);
            let object = held.object;
            self.lives.entry(group).or_insert_with(|| Live::new(class, object, self.me));
            outputs.push(Output::Regrouping { object });
            let number = regrouped.number;
            outputs.push(Output::Joined { object, group, session, number });
        }
        let Some(live) = self.lives.get_mut(&group) else { return };
        live.on_change(regrouped, session);
        if place.is_some() {
            self.changing.insert(group);
        } else {
            self.install(group, u64::MAX, |_| None);
        }
    }

    /// Installs what every member's stream has stably passed.
    fn install_passed(&mut self, group: u32) {
        let class = self.lives[&group].class as usize;
        let marks: Vec<u64> = self.marks[class].iter().map(|marks| marks.map).collect();
        let members = self.members.clone();
        let place = |member| members.iter().position(|other| *other == member);
        self.install(group, self.settled, |member| place(member).map(|place| marks[place]));
    }

    fn install(&mut self, group: u32, settled: u64, map_of: impl Fn(Member) -> Option<u64>) {
        let live = self.lives.get_mut(&group).expect("a group with a change is lived");
        let object = live.object;
        let told = live.install(settled, map_of);
        self.outputs.extend(told.into_iter().map(|told| Output::Told { object, told }));
        if !live.is_changing() {
            self.changing.remove(&group);
            if !live.is_in() {
                self.lives.remove(&group);
            }
        }
    }

    /// Whether somebody is still to get a state from this member.
    pub(crate) fn is_needed(&self) -> bool {
        self.map.as_ref().is_some_and(|map| map.awaits_state_of(self.me))
    }

    /// A planted bug: what a frame holds is told once more.
    pub(crate) fn deliver_again(&mut self, frame: &Frame) {
        let from = self.members[usize::from(frame.origin)];
        for item in &frame.items {
            let Item::Part(part) = item else { continue };
            let bytes = part.bytes.clone();
            let live = self.lives.get(&part.group).filter(|live| live.is_in());
            if let Some(live) = live.filter(|_| part.offset == 0 && part.last) {
                let message = Message { from, number: 0, session: None, ordered_by: 0, bytes };
                let (object, told) = (live.object, Told::Message(message));
                self.outputs.push(Output::Told { object, told });
            }
        }
    }
}

fn is_stable(stable: &[u64], place: Place) -> bool {
    stable[place.origin] >= place.number && stable[SEQUENCER] >= place.ordered_by
}

/// Where something stands that no frame brought.
const NOWHERE: Place = Place { origin: SEQUENCER, number: 0, ordered_by: 0 };

/// In which order the messages of a type are delivered.
pub(crate) fn class_of(ty: &ObjectType) -> Class {
    match ty.properties.order {
        Order::Total => Class::Total,
        Order::Any | Order::Fifo => Class::Fifo,
    }
}
