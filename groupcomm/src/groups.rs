//! All groups of a member: one group map, and the groups that it is in itself.
//!
//! Every member of the configuration goes through the root's frames, since it keeps the group map;
//! of all others only those of its regions come to it. What comes out are [`Output`]s, in the order
//! in which the node's objects must hear of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use live_objects::{Member, ObjectId, ObjectType, Order, View};

use crate::config::{Config, Mutation};
use crate::delivery::Place;
use crate::live::{Live, Message, Told};
use crate::map::{Change, Effect, Ended, Map, Regrouped, Seated};
use crate::region::Heard;
use crate::regions::{ROOT, Regions};
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
    config: Config,
    map: Option<Map>,
    lives: BTreeMap<u32, Live>,
    /// Groups with a change that is not installed yet, and those of them that may be now.
    changing: BTreeSet<u32>,
    due: BTreeSet<u32>,
    /// Those that wait until the stream of a member in a region passes a change.
    waiting: BTreeMap<(u32, Member), BTreeSet<u32>>,
    /// What changed and is not known to be held by everybody, in order.
    unsettled: VecDeque<Unsettled>,
    /// Up to this map all changes are held by everybody.
    settled: u64,
    outputs: Vec<Output>,
    /// Whose message came last, and its place in the view.
    heard: Option<(Member, usize)>,
    pub(crate) tally: Tally,
}

/// What came, since it was last counted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Messages of groups that this member is in, or parts of them.
    pub(crate) wanted: usize,
    /// The same of groups that only share a region with some of this member's.
    pub(crate) unwanted: usize,
    /// What made no sense.
    pub(crate) absurd: usize,
}

/// What changed in the group map at once, if not everybody is known to hold that.
struct Unsettled {
    /// The map's number since then.
    number: u64,
    /// Where in the root that stands.
    places: Vec<Place>,
    sequels: Sequels,
}

/// What comes about when everybody holds that something changed.
#[derive(Default)]
struct Sequels {
    groups: Vec<Sequel>,
    /// Regions of this member that no group is in any more.
    idle: Vec<u32>,
}

/// What a group of this member comes to when everybody holds that it changed.
struct Sequel {
    group: u32,
    object: ObjectId,
    /// In which region it was, if this member sent there.
    from: Option<u32>,
    to: Option<u32>,
    /// In which opening this member is in it from then on, if its members have changed.
    joins: Option<u32>,
}

impl Groups {
    pub(crate) fn new(me: Member, config: Config) -> Self {
        Self {
            me,
            config,
            map: None,
            lives: BTreeMap::new(),
            changing: BTreeSet::new(),
            due: BTreeSet::new(),
            waiting: BTreeMap::new(),
            unsettled: VecDeque::new(),
            settled: 0,
            outputs: Vec::new(),
            heard: None,
            tally: Tally::default(),
        }
    }

    pub(crate) fn map(&self) -> Option<&Map> {
        self.map.as_ref()
    }

    /// In which region this member sends what it says in a group.
    pub(crate) fn region_of(&self, group: u32) -> Option<u32> {
        self.lives.get(&group)?.sends_in
    }

    /// In which order what is said in groups of a type is to be delivered.
    pub(crate) fn class_of(&self, ty: &ObjectType) -> Class {
        if self.config.plants(Mutation::SkipOrder) { Class::Fifo } else { class_of(ty) }
    }

    /// Whether a group waits for what comes in a region.
    pub(crate) fn awaits(&self, region: u32) -> bool {
        let mut changing = self.changing.iter().filter_map(|group| self.lives.get(group));
        changing.any(|live| live.awaited().any(|awaited| awaited == region))
    }

    /// What came about since it was last asked.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Delivers what can be.
    pub(crate) fn deliver(&mut self, regions: &mut Regions) {
        while let Some(map) = &self.map
            && let Some((region, heard)) = regions.hear(map.number())
        {
            match heard {
                Heard::Part { from, map, ordered_by, part } => {
                    self.on_part((region, from), map, ordered_by, part);
                }
                Heard::Changes { changes, places } if region == ROOT => {
                    self.on_changes(&changes, places, regions);
                }
                Heard::Changes { .. } => self.tally.absurd += 1,
            }
        }
        while let Some(change) = self.unsettled.front()
            && regions.get(ROOT).is_none_or(|root| root.has_settled(&change.places))
        {
            let change = self.unsettled.pop_front().expect("there is one");
            self.settle(change.number, change.sequels, regions);
        }
        for passed in regions.passed() {
            self.due.extend(self.waiting.remove(&passed).unwrap_or_default());
        }
        self.install_due(regions);
    }

    /// Streams that were waited for may have come to their end.
    pub(crate) fn look_again(&mut self) {
        self.waiting.clear();
        self.due.clone_from(&self.changing);
    }

    fn on_part(&mut self, by: (u32, Member), map: u64, ordered_by: u64, part: Part) {
        let Some(live) = self.lives.get_mut(&part.group) else {
            self.tally.unwanted += 1;
            return;
        };
        let place = match self.heard {
            Some((member, place)) if member == by.1 => Some(place),
            _ => self.map.as_ref().and_then(|map| map.place(by.1)),
        };
        self.heard = place.map(|place| (by.1, place));
        if !place.is_some_and(|place| live.speakers.contains(place)) {
            self.tally.absurd += 1;
            return;
        }
        self.tally.wanted += 1;
        let told = live.on_part(by, map, ordered_by, part);
        self.tally.absurd += std::mem::take(&mut live.absurd);
        let object = live.object;
        self.outputs.extend(told.map(|told| Output::Told { object, told }));
    }

    fn on_changes(
        &mut self,
        changes: &[(Member, Vec<Change>)],
        places: Vec<Place>,
        regions: &mut Regions,
    ) {
        let map = self.map.as_mut().expect("the root is gone through with a map");
        let effects = map.apply(changes);
        let number = map.number();
        let sequels = self.on_effects(effects, regions);
        self.unsettled.push_back(Unsettled { number, places, sequels });
        regions.on_map();
    }

    /// A view begins, and these streams ended there of those that it leaves out. With `map`, what
    /// is known of the groups; without, that is to come.
    pub(crate) fn begin_view(
        &mut self,
        view: &View,
        ended: &[Ended],
        map: Option<Map>,
    ) -> Vec<Effect> {
        let Some(mut map) = map.or_else(|| self.map.take()) else { return Vec::new() };
        let effects = map.install(view, ended);
        self.heard = None;
        for (group, live) in &mut self.lives {
            // Those who are gone have said all that they ever will.
            let before: Vec<usize> = live.before().filter_map(|member| map.place(member)).collect();
            live.speakers.clear();
            live.speakers.grow(view.members.len());
            live.speakers.extend(before);
            live.speakers.extend(map.group(*group).into_iter().flat_map(Seated::places));
        }
        self.map = Some(map);
        effects
    }

    /// A view has begun: its effects on groups are held by all who are in it.
    pub(crate) fn on_begun(&mut self, effects: Vec<Effect>, regions: &mut Regions) {
        let Some(number) = self.map.as_ref().map(Map::number) else { return };
        let sequels = self.on_effects(effects, regions);
        self.settle(number, sequels, regions);
        self.look_again();
        self.install_due(regions);
        regions.on_map();
    }

    /// The groups as they were at the beginning of the present view.
    pub(crate) fn adopt(&mut self, map: Map) {
        self.settled = map.number();
        self.map = Some(map);
    }

    /// This member is in no view.
    pub(crate) fn step_out(&mut self) {
        *self = Self { tally: self.tally, ..Self::new(self.me, self.config) };
    }

    /// What changed in the map. Resequels what groups of this member come to when all hold that.
    fn on_effects(&mut self, effects: Vec<Effect>, regions: &mut Regions) -> Sequels {
        let number = self.map.as_ref().map_or(0, Map::number);
        let mut sequels = Sequels::default();
        for effect in effects {
            match effect {
                Effect::Regrouped(regrouped) => {
                    sequels.groups.extend(self.on_regrouped(regrouped));
                }
                Effect::Refused { object, by, held } if by.member == self.me => {
                    self.outputs.push(Output::Refused { object, session: by.session, held });
                }
                Effect::Refused { .. } => {}
                Effect::Cut { group, by } => sequels.groups.extend(self.on_cut(group, by, number)),
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
                Effect::Moved { group, from, to } => {
                    sequels.groups.extend(self.on_moved(group, (from, to), number, regions));
                }
                Effect::Opened { region: id } => {
                    let map = self.map.as_ref().expect("it was changed just now");
                    let region = map.region(id).expect("it is open");
                    if region.members.binary_search(&self.me).is_ok() {
                        regions.open(id, region);
                    }
                }
                Effect::Idle { region } => {
                    sequels.idle.extend(regions.get(region).map(|_| region));
                }
            }
        }
        sequels
    }

    fn on_regrouped(&mut self, regrouped: Regrouped) -> Option<Sequel> {
        let Regrouped { group, from, to, .. } = regrouped;
        let is_mine = |members: &[Member]| members.contains(&self.me);
        let (was_in, is_in) = (is_mine(&regrouped.before), is_mine(&regrouped.after));
        if !was_in && !is_in {
            return None;
        }
        let map = self.map.as_ref().expect("it was changed just now");
        let joins = map.group(group).and_then(|held| held.session_of(self.me));
        if joins.is_some() {
            let held = map.group(group).expect("somebody is in it");
            let (class, object) = (class_of(&held.ty), held.object);
            self.lives.entry(group).or_insert_with(|| Live::new(class, object, self.me));
        }
        let live = self.lives.get_mut(&group)?;
        live.speakers.extend(map.group(group).into_iter().flat_map(Seated::places));
        live.on_change(regrouped, joins);
        self.changing.insert(group);
        let (object, from) = (live.object, from.filter(|_| was_in));
        Some(Sequel { group, object, from, to: to.filter(|_| is_in), joins })
    }

    /// A group is in another region.
    fn on_moved(
        &mut self,
        group: u32,
        (from, to): (u32, u32),
        number: u64,
        regions: &Regions,
    ) -> Option<Sequel> {
        self.map.as_ref()?.group(group)?.session_of(self.me)?;
        let before = regions.get(from).map(|region| Arc::clone(region.streams.members()));
        let live = self.lives.get_mut(&group).expect("this member is in it");
        live.on_move(number, before.unwrap_or_default(), from);
        self.changing.insert(group);
        Some(Sequel { group, object: live.object, from: Some(from), to: Some(to), joins: None })
    }

    /// A snapshot is wanted of a group's state.
    fn on_cut(&mut self, group: u32, by: Member, number: u64) -> Option<Sequel> {
        let held = self.map.as_ref()?.group(group)?;
        let session = held.session_of(self.me)?;
        let region = self.map.as_ref()?.region_of(group);
        let live = self.lives.get_mut(&group).expect("this member is in it");
        live.on_cut(number, by, held.members().into(), (region, session));
        self.changing.insert(group);
        Some(Sequel { group, object: live.object, from: region, to: region, joins: None })
    }

    /// Everybody holds what changed up to this map.
    fn settle(&mut self, number: u64, sequels: Sequels, regions: &mut Regions) {
        self.settled = number;
        for region in sequels.idle {
            if let Some(region) = regions.get_mut(region) {
                region.set_idle(number);
            }
        }
        for Sequel { group, object, from, to, joins } in sequels.groups {
            self.due.insert(group);
            if let Some(region) = from.and_then(|from| regions.get_mut(from)) {
                region.mark(number);
            }
            if let Some(region) = to.and_then(|to| regions.get_mut(to)) {
                region.concern(number);
            }
            if let Some(live) = self.lives.get_mut(&group) {
                live.sends_in = to;
            }
            if joins.is_some() || from != to {
                self.outputs.push(Output::Regrouping { object });
            }
            if let Some(session) = joins {
                self.outputs.push(Output::Joined { object, group, session, number });
            }
        }
    }

    fn install_due(&mut self, regions: &mut Regions) {
        for group in std::mem::take(&mut self.due) {
            if self.changing.contains(&group) {
                self.install(group, regions);
            }
        }
    }

    /// Installs what every member's stream has stably passed.
    fn install(&mut self, group: u32, regions: &mut Regions) {
        let live = self.lives.get_mut(&group).expect("a group with a change is lived");
        let (object, class) = (live.object, live.class);
        let (awaited, before): (Vec<u32>, usize) = (live.awaited().collect(), live.changes());
        let awaits_marks = !self.config.plants(Mutation::SkipMarks);
        let told = live.install(self.settled, |region, member| {
            let region = region.filter(|_| awaits_marks)?;
            regions.get(region)?.passed(class, member)
        });
        if let Some(awaits) = live.awaits() {
            self.waiting.entry(awaits).or_default().insert(group);
        }
        if live.changes() == before {
            return;
        }
        // Regions that this waited for may be of no use any more.
        awaited.into_iter().for_each(|region| regions.touch(region));
        if live.changes() == 0 {
            self.changing.remove(&group);
            if !live.is_in() {
                self.lives.remove(&group);
            }
        }
        self.outputs.extend(told.into_iter().map(|told| Output::Told { object, told }));
    }

    /// Whether somebody is still to get a state from this member.
    pub(crate) fn is_needed(&self) -> bool {
        self.map.as_ref().is_some_and(|map| map.awaits_state_of(self.me))
    }

    /// A planted bug: what a frame of a member holds is told once more.
    pub(crate) fn deliver_again(&mut self, from: Member, frame: &Frame) {
        for item in &frame.items {
            let Item::Part(part) = item else { continue };
            let bytes = part.bytes.clone();
            let live = self.lives.get(&part.group).filter(|live| live.is_in());
            if let Some(live) = live.filter(|_| part.offset == 0 && part.last) {
                let (number, session, ordered_by, region) = (0, None, 0, ROOT);
                let message = Message { from, number, session, ordered_by, region, bytes };
                let (object, told) = (live.object, Told::Message(message));
                self.outputs.push(Output::Told { object, told });
            }
        }
    }
}

/// In which order the messages of a type are delivered.
fn class_of(ty: &ObjectType) -> Class {
    match ty.properties.order {
        Order::Total => Class::Total,
        Order::Any | Order::Fifo => Class::Fifo,
    }
}
